//! What is counted of each statement: its digest when it is asked, and how it went when its answer
//! has ended.
//!
//! Who counts is elsewhere ([`Shapes`]); here is what belongs to one session, which `machine` keeps
//! up to date. Where nobody counts nothing of it is there. Invariant: a stamp goes with its
//! command, also in a queue and across a restart, so that no answer is counted as another's.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::watched::Watched;
use crate::sql::digest::Digest;
use crate::sql::{Extent, Modes};
use crate::wire::id::ClientStatementId;

/// Prepared statements of a session that are told apart; those behind are counted with the rest.
pub(super) const MOST_PREPARED: usize = 4096;

/// Who counts statements.
pub trait Shapes: fmt::Debug {
    /// The digest of a statement that is asked now.
    fn digest(&self, sql: &[u8], extent: Extent, modes: Modes) -> Digest;

    /// Microseconds on a clock that goes on in other processes.
    fn now_us(&self) -> u64;
}

/// A statement under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// What it is counted as.
    pub digest: Digest,
    /// When it was asked, on the clock of [`Shapes`].
    pub since_us: u64,
    /// Rows that its answer has had so far.
    #[serde(default)]
    pub rows: u64,
    /// Bytes that its answer has had so far.
    #[serde(default)]
    bytes: i64,
}

impl Stamp {
    /// Of a statement that was asked then.
    pub fn new(digest: Digest, since_us: u64) -> Self {
        Self { digest, since_us, rows: 0, bytes: 0 }
    }

    /// So many bytes that are still to come are no part of its answer.
    pub(super) fn behind(self, rest: usize) -> Self {
        Self { bytes: self.bytes.saturating_sub_unsigned(rest as u64), ..self }
    }

    /// So many bytes have come.
    #[inline]
    pub(super) fn handle_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add_unsigned(bytes as u64);
    }

    /// The last packet of its answer has this payload, and tells of so many rows that were changed.
    pub(super) fn ended(self, payload: usize, changed: u64) -> Self {
        let bytes = self.bytes.saturating_add_unsigned(payload as u64);
        Self { rows: self.rows.saturating_add(changed), bytes, ..self }
    }

    /// Bytes of its answer.
    pub fn bytes(&self) -> u64 {
        self.bytes.max(0).unsigned_abs()
    }
}

/// A statement whose answer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What it was counted as, and what its answer has had.
    pub stamp: Stamp,
    /// Whether that was an error.
    pub is_error: bool,
}

/// What a session has of statements that are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Prepared statements, by the ids that the client knows.
    pub(super) prepared: Watched<Prepared>,
    /// Waits for who counts: one, but for clients that do not wait for answers.
    pub(super) finished: SmallVec<[Finished; 1]>,
}

impl Counted {
    /// That of a session that has these.
    pub(super) fn of(prepared: Prepared) -> Self {
        Self { prepared: prepared.into(), finished: SmallVec::new() }
    }
}

/// Digests of prepared statements.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PreparedState", into = "PreparedState")]
pub(super) struct Prepared {
    pub(super) known: BTreeMap<ClientStatementId, Digest>,
    /// Of the one that was prepared last.
    pub(super) latest: Digest,
}

/// As it crosses a restart.
#[derive(Clone, Serialize, Deserialize)]
struct PreparedState {
    known: Vec<(ClientStatementId, Digest)>,
    latest: Digest,
}

impl From<PreparedState> for Prepared {
    fn from(PreparedState { known, latest }: PreparedState) -> Self {
        Self { known: known.into_iter().take(MOST_PREPARED).collect(), latest }
    }
}

impl From<Prepared> for PreparedState {
    fn from(Prepared { known, latest }: Prepared) -> Self {
        Self { known: known.into_iter().collect(), latest }
    }
}

impl Prepared {
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.latest == Digest::REST
    }

    /// What executions of this one are counted as.
    pub(super) fn digest(&self, id: ClientStatementId) -> Digest {
        match id {
            ClientStatementId::LATEST => self.latest,
            _ => self.known.get(&id).copied().unwrap_or_default(),
        }
    }
}
