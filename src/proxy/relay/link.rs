//! A server's side of a relay: its leg, and the bytes that come from it.

use std::io;
use std::sync::Arc;

use super::leg::Leg;
use crate::proxy::relay::leg::Parts as LegParts;
use crate::session::lane::{Lane, Source};
use crate::wire::id::ThreadId;

/// A connection to a server with what has come over it.
#[derive(Debug)]
pub struct Link {
    /// The connection.
    pub leg: Leg,
    /// Server to client.
    pub down: Lane,
    /// The server's address.
    pub server: Arc<str>,
    /// The session's id there.
    pub thread: ThreadId,
}

/// A link outside the runtime.
#[derive(Debug)]
pub struct Parts {
    /// The connection.
    pub leg: LegParts,
    /// Server to client.
    pub down: Lane,
    /// The server's address.
    pub server: Arc<str>,
    /// The session's id there.
    pub thread: ThreadId,
}

impl Link {
    /// Whether its server may still say something.
    pub fn is_open(&self) -> bool {
        self.down.source() == Source::Open
    }

    /// Takes it out of this runtime.
    pub fn into_parts(self) -> io::Result<Parts> {
        let Self { leg, down, server, thread } = self;
        Ok(Parts { leg: leg.into_parts()?, down, server, thread })
    }
}
