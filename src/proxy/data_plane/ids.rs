//! Ids of connections: of both generations while two live, none is given twice.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::session::OURS;
use crate::wire::id::SessionId;

/// Bits of an id that count connections; above them stands the generation.
const SEQUENCE_BITS: u32 = 24;

const SEQUENCE: u32 = (1 << SEQUENCE_BITS) - 1;

/// Those of one generation.
#[derive(Debug)]
pub(super) struct Ids {
    /// Counts up with each restart.
    generation: u64,
    next: AtomicU32,
}

impl Ids {
    pub(super) fn new(generation: u64) -> Self {
        Self { generation, next: AtomicU32::new(1) }
    }

    /// One for a connection that is no session, or is about to be one.
    pub(super) fn next(&self) -> SessionId {
        let generation = (self.generation as u32 & 0x7F) << SEQUENCE_BITS;
        let sequence = self.next.fetch_add(1, Ordering::Relaxed);
        SessionId(OURS | generation | sequence & SEQUENCE)
    }

    /// Goes on behind this one, which a process of the same generation has given.
    pub(super) fn go_on_behind(&self, id: u32) {
        self.next.fetch_max((id & SEQUENCE) + 1, Ordering::Relaxed);
    }
}
