//! [`Session`] ⇄ [`SessionSnapshot`]: what crosses a restart.
//!
//! Fields have names, unknown ones are skipped, and new ones have defaults, so a neighbouring
//! version reads it. An unknown phase is an error: the session then stays where it is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::conversation::Conversation;
use super::ids::Statements;
use super::{Names, Session};

/// A session as it crosses a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    conversation: Conversation,
    user: Vec<u8>,
    database: Vec<u8>,
    #[serde(default)]
    names: VecDeque<Names>,
    #[serde(default, skip_serializing_if = "Statements::is_empty")]
    ids: Statements,
    query_attributes: bool,
}

impl From<Session> for SessionSnapshot {
    fn from(session: Session) -> Self {
        let Session { conversation, user, database, names, ids, query_attributes, .. } = session;
        Self { conversation, user, database, names, ids, query_attributes }
    }
}

impl From<SessionSnapshot> for Session {
    fn from(snapshot: SessionSnapshot) -> Self {
        let SessionSnapshot { conversation, user, database, names, ids, query_attributes } =
            snapshot;
        Self { conversation, user, database, names, ids, query_attributes, renamed: true }
    }
}
