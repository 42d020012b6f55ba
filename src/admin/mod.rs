//! Commands → handles → rows: the admin port, the same commands on the clients' port, and what the
//! HTTP port shows and does.
//!
//! A command answers after it was judged: a refused one gets an ERR packet that says why. What
//! changes something is in the audit, whichever way it came.

pub mod audit;
mod caller;
pub mod command;
mod crash_metrics;
mod digests;
mod execute;
pub mod exposition;
mod family;
mod fleet;
mod handles;
mod history;
mod like;
pub mod server;
mod server_metrics;
mod servers;
mod settings;
mod show;
mod table;
mod variables;

pub use audit::Audit;
pub use caller::{Caller, Door};
pub use execute::{audited, execute};
pub use handles::Admin;
pub use table::{Answer, Row, Table, timestamp};
