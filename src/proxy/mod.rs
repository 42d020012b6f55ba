//! The data plane: takes clients, keeps their sessions, and gives them out in a restart.
//!
//! The only place where session, route and net meet. One task a session; the task owns the client's
//! socket and the server's, so a session can stop at one instant.
//!
//! - `data_plane`: what it is made of, and the life of a session: log-in, relay, end or handover.
//! - `handover`: the same as the restart sees it.
//! - `login`: from a client's connect to its server's verdict; COM_CHANGE_USER.
//! - `cluster`: servers: which there are, how each is reached, connections made in advance.
//! - `monitor`: servers asked for what they are.
//! - `moves`: sessions that go on with another server.
//! - `credentials`: who logs in to servers for us, and by what.
//! - `taught`: what log-ins have taught of an account, and how that crosses a restart.
//! - `service`: our own log-ins to servers, and what we ask there.
//! - `compression`: what each leg agrees on before it compresses.
//! - `rsa`: passwords under RSA, ours and the servers' keys.
//! - `split`: sessions whose reads go to replicas.
//! - `switchover`: another primary, and all sessions on it; `switching`: for who asks for that.
//! - `relay`: a session between two log-ins: bytes in, bytes out.
//! - `sessions`: who is here, what others see and want of them, limits, what was counted.
//! - `inheritance`: sessions that outlive the process that carried them.
//! - `digests`: statements by their shapes; `running`: those that are under way.
//! - `history`: the last hour, for charts. `shown`: clusters and servers, for people.
//! - `in_force`: the config with what operators have altered, certificates, servers.
//! - `keeping`: whether what they have altered would outlive the process.
//! - `peer`: the data plane of the other generation, while two live.
//! - `deadlines`: silent sessions, the end of a drain.

mod clock;
pub mod cluster;
mod compression;
pub mod credentials;
mod data_plane;
mod deadlines;
pub mod digests;
mod handover;
pub mod history;
mod in_force;
mod inheritance;
mod keeping;
mod lock;
pub mod login;
pub mod monitor;
pub mod moves;
mod packet_reader;
mod peer;
pub mod relay;
pub mod rsa;
pub mod running;
pub mod service;
pub mod sessions;
mod shown;
mod split;
mod suspicion;
mod switching;
pub mod switchover;
mod taught;
#[cfg(test)]
mod tests;

pub use data_plane::{Foundation, Gates, Proxy};
pub use in_force::{Author, Difference, InForce, NotAltered, Unfitting};
pub use keeping::Keeping;
