//! What stored programs of a server do to the sessions that run them.

use crate::sql::analysis::Changes;

/// Those of the server that a session's commands go to.
pub trait Programs {
    /// What triggers may change in a session.
    fn fired(&self) -> Changes;

    /// What stored routines of this name may change, of whatever schema.
    fn called(&self, name: &[u8]) -> Changes;

    /// One is being defined anew, or dropped.
    fn handle_definition(&self);
}

/// There are no triggers, and nothing is known of routines.
#[derive(Debug)]
pub struct Unread;

impl Programs for Unread {
    fn fired(&self) -> Changes {
        Changes::default()
    }

    fn called(&self, _name: &[u8]) -> Changes {
        Changes::ANYTHING
    }

    fn handle_definition(&self) {}
}
