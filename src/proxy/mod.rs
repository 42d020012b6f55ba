//! The data plane: takes clients, keeps their sessions, and gives them out in a restart.
//!
//! The only place where session, route and net meet. One task a session; the task owns the client's
//! socket and the server's, so a session can stop at one instant.
//!
//! The life of a session:
//!
//! - `data_plane`: what all is put together in, and for whom: sessions from their first byte to
//!   their last, restarts, operators.
//! - `login`: from a client's connect to its server's verdict; COM_CHANGE_USER.
//! - `relay`: a session between two log-ins: bytes in, bytes out.
//! - `split`: sessions whose reads go to replicas.
//! - `moves`: sessions that go on with another server.
//! - `switchover`: another primary, and all sessions on it.
//! - `sessions`: who is here, what others see and want of them, limits, what was counted.
//!
//! Servers:
//!
//! - `cluster`: which there are, how each is reached, connections made in advance.
//! - `monitor`: servers asked for what they are.
//! - `service`: our own log-ins to servers, and what we ask there.
//! - `accounts`: who logs in there, and what log-ins have taught of that.
//! - `handshake`: what log-ins of clients and of ours have in common.
//!
//! What all of them stand on:
//!
//! - `in_force`: the config with what operators have altered, certificates, servers.
//! - `digests`: statements by their shapes.
//! - `history`: the last hour, for charts.
//! - `clock`: time that other processes share.

pub mod accounts;
mod clock;
pub mod cluster;
mod data_plane;
pub mod digests;
pub mod handshake;
pub mod history;
mod in_force;
pub mod login;
pub mod monitor;
pub mod moves;
pub mod relay;
pub mod service;
pub mod sessions;
mod split;
pub mod switchover;

pub use data_plane::{Foundation, Gates, Proxy, Running};
pub use in_force::{Author, Difference, InForce, Keeping, NotAltered, Unfitting};
