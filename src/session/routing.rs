//! Commands of a session with several links: whether the next one goes where the one before went.
//!
//! ```text
//!   command at hand ─► Router: for the current link ─► passed on, as ever
//!                         └─► for another one ─► Want::Route: the caller opens that link if it has
//!                                                to, tells it what it lacks, and turns to it
//! ```
//!
//! Asked only between two commands, with no answer outstanding: an answer may open a transaction.
//! Where a session has no router nothing of this is asked.

use std::fmt;
use std::sync::Arc;

use super::link::LinkId;
use crate::sql::analysis::Analysis;

/// Says where commands go.
pub trait Router: fmt::Debug + Send + Sync {
    /// Whether a command is for the link that has the client's commands.
    fn is_for_current(&self, command: &Command<'_>, standpoint: &Standpoint) -> bool;

    /// The session's links are to these servers from now on, by their addresses.
    fn handle_links(&self, servers: &[Arc<str>]);
}

/// A command, as far as it matters where it goes.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// A COM_QUERY.
    Text(Analysis<'a>),
    /// Any other: the home's.
    Other,
}

/// Where a session stands between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standpoint {
    /// Who has the client's commands.
    pub current: LinkId,
    /// The version of the session's state that this link was told.
    pub told: Option<u32>,
    /// The version that its home has.
    pub version: u32,
    /// Something was written since a reader was last known to have it all.
    pub has_written: bool,
    /// Something keeps the session on its home.
    pub is_pinned: bool,
    /// A transaction is open at home, or the next statement opens one.
    pub in_transaction: bool,
}
