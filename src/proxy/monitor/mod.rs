//! Servers asked for what they are: a connection to each, kept open, on which a few questions are
//! asked every so often.
//!
//! ```text
//!   Monitors ─► one task a server: connect, ask, sleep ─► Report ─► who watches
//! ```
//!
//! What comes of it is [`route`](crate::route)'s to judge. One server is one task, each of whose
//! rounds has a deadline, so that one that hangs delays no other. What changes is logged, and not
//! how often it was asked.
//!
//! - `watch`: who is watched, and the life of a watch.
//! - `order`: what it is told.
//! - `report`: what it tells.
//! - `round`: what is asked in one round, over a connection that is made when there is none.
//! - `question`: the questions, and which of them a server is spared.
//! - `reading`: what an answer says. `triggers`: what triggers do to sessions. Pure.
//! - `warm`: accounts that are logged in once where a server may not know them any more.
//! - `note`: what the log is told.
//! - `once`: the same questions by the way.

mod note;
pub(super) mod once;
pub mod order;
mod programs;
mod question;
mod reading;
pub mod report;
mod round;
mod warm;
pub mod watch;
