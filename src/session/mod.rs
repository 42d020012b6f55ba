//! What we know about one client. Sans-IO: `handle_*` in, what to pass on out.
//!
//! ```text
//!   client ─► lane ─► machine ─► lane ─► server        judge turns it, for legs of every kind
//!                        │
//!                  conversation: front (the client's half), a link for each server
//! ```
//!
//! - [`machine`]: [`Session`]: the conversation, and what its commands mean to us.
//! - [`conversation`], [`front`], [`link`], `look`: the protocol at every byte.
//! - [`judge`], [`lane`], [`numbering`]: bytes in transit, judged and numbered.
//! - [`exchange`]: an authentication, from a login response to the verdict.
//! - [`portable`]: what is remembered of a session so that it can move, or have several links;
//!   [`routing`]: which of those a command is for; [`transaction`]: whose the reads of one are;
//!   [`wishes`]: what the client asks of us.
//!   [`state`]: what a server knows of it.
//! - `ids`, `change_user`: commands that name a connection, or another user.
//! - [`stamp`]: what is counted of each statement.
//! - [`snapshot`]: a session as bytes. - [`hot`]: what of it changes with each message, as words.

mod change_user;
pub mod conversation;
pub mod exchange;
pub mod front;
pub mod hot;
mod ids;
pub mod judge;
pub mod lane;
pub mod link;
mod look;
pub mod machine;
pub mod numbering;
pub mod portable;
pub mod programs;
pub mod routing;
pub mod snapshot;
pub mod stamp;
pub mod state;
pub mod transaction;
mod watched;
pub mod wishes;

pub use change_user::Account;
pub use ids::{Directory, OURS};
pub use lane::{Intake, Rewrite};
pub use machine::{Session, Want};
