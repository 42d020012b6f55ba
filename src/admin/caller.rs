//! Who asks, and by which way.

use serde::{Deserialize, Serialize};

use crate::config::Role;
use crate::wire::id::SessionId;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name, without tenant.
    pub user: String,
    /// The address.
    pub peer: String,
    /// What the user may do.
    pub role: Role,
    /// By which way.
    pub door: Door,
    /// The id of this connection.
    pub connection_id: SessionId,
}

impl Caller {
    /// As people are told.
    pub(super) fn who(&self) -> String {
        format!("{}@{}", self.user, self.peer)
    }
}

/// By which way a command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// As SQL: on the admin port, the clients' port or the control socket.
    Sql,
    /// By the API, with a token.
    Api,
    /// From somebody who has logged in to the console.
    Console,
    /// By a signal: whoever may send the process one.
    Signal,
}

impl Door {
    /// As the audit has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sql => "sql",
            Self::Api => "api",
            Self::Console => "console",
            Self::Signal => "signal",
        }
    }
}
