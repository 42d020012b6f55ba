//! Ids of connections and of prepared statements: 32 bits each, whoever has given them. What a
//! client knows and what a server knows are two types, so that nobody takes one for the other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::command;

/// What a client was shown: the proxy has given it, and it is the session's for life.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u32);

/// What a connection has on its server; 0 until the server has said it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThreadId(pub u32);

impl ThreadId {
    /// Whether the server has said it.
    pub fn is_known(self) -> bool {
        self.0 != 0
    }
}

/// A prepared statement, as its client knows it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientStatementId(pub u32);

/// A prepared statement, as a connection's server knows it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerStatementId(pub u32);

impl ClientStatementId {
    /// What was prepared last.
    pub const LATEST: Self = Self(command::LATEST);

    /// The one that a command names, by the id behind its first byte.
    pub fn named_by(head: &[u8]) -> Option<Self> {
        head.get(1..)?.first_chunk().map(|id| Self(u32::from_le_bytes(*id)))
    }
}

macro_rules! shown_as_a_number {
    ($($Id:ident)+) => {$(
        impl fmt::Display for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}
shown_as_a_number!(SessionId ThreadId ClientStatementId ServerStatementId);
