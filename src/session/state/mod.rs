//! What a session is made of: pulled from one server, pushed to another, and compared. Sans-IO.
//!
//! ```text
//!   Survey ──► Inventory          once a server, on a fresh session of it
//!                  │
//!   Pull(source) ──► State ──► Push(target) ──► Pull(target) ──► State::differences
//! ```
//!
//! - [`question`]: the texts that errands give to be carried, and the answers that they take.
//! - [`variable`]: system variables, and which are what.
//! - [`inventory`]: what a server has. [`reading`]: many variables in one row.
//! - [`pull`], [`user`], [`role`]: the state; [`named`]: of it, user variables by their names.
//!   [`push`]: how another session gets it.
//! - [`shown`]: variables as people see them. [`glance`]: asked without touching the session;
//!   [`put_back`]: so that it does not notice that it was asked.
//! - [`text`]: literals that mean the same whatever the session's modes are.
//!
//! Nothing here knows a history: what is not seen in the server is not here. Temporary tables and
//! locks on MySQL without a service account, prepared statements, a one-shot SET TRANSACTION,
//! LASTVAL and `session_track_*` are their owners' business.

pub mod compare;
pub mod glance;
pub mod inventory;
pub mod named;
pub mod pull;
pub mod push;
pub mod put_back;
pub mod question;
pub mod reading;
pub mod role;
pub mod shown;
pub mod snapshot;
pub mod text;
pub mod user;
pub mod variable;

#[cfg(test)]
mod tests;

pub use compare::Subject;
pub use glance::Glance;
pub use inventory::{Inventory, Survey};
pub use named::Named;
pub use pull::{Pull, Scope};
pub use push::{Base, Push, Refusal};
pub use put_back::{PutBack, Warnings, counted, counting};
pub use question::{Answer, Errand, Of, Question, StateError};
pub use shown::{Shown, Whose};
pub use snapshot::{Diagnostics, Hidden, State};
