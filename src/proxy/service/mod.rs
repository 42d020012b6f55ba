//! Our own log-ins to servers: what a client of a database does, as far as the proxy is one.
//!
//! ```text
//!   Cluster::connect_to ─► Greeted ─► log_in ─► LoggedIn ─► its Leg: query, command, prepare
//! ```
//!
//! For the monitor of servers, and for sessions that want another server. A leg is a session's as
//! well: what is asked here is asked between two of its commands. There is no pool and no task in
//! here, and nothing waits longer than its caller says.
//!
//! - `proof`: what is answered to a challenge.
//! - `ed25519`, `parsec`: the same for the plugins of these names.
//! - `login`: from a server's greeting to a connection that takes commands.
//! - `exchange`: the part of it in which plugins speak.
//! - `client`: commands and their answers.
//! - `answer`: an answer put together from its packets.
//! - `error`: why there is none.

pub mod answer;
pub mod client;
mod ed25519;
pub mod error;
mod exchange;
pub mod login;
mod parsec;
mod proof;
