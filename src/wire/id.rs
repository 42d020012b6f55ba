//! Ids of connections: 32 bits in a greeting, whoever has given them. Ours and a server's are two
//! types, so that nobody takes one for the other.

use std::fmt;

use serde::{Deserialize, Serialize};

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
shown_as_a_number!(SessionId ThreadId);
