//! Where a session goes, and how long a server may take over it. Pure decisions over an immutable
//! view of the servers.
//!
//! - [`name`]: which cluster and tenant a user name names, and the account at the server.
//! - [`budget`]: how long each server may take in one log-in.
//! - [`topology`]: the servers of a cluster as a decision sees them.
//! - [`roles`]: which of them is the primary, by what they say of themselves.
//! - [`congestion`]: the black list: whether a server may be tried, by how it failed.
//! - [`order`](mod@order): the order in which servers are tried.

pub mod budget;
pub mod congestion;
pub mod name;
pub mod order;
pub mod roles;
#[cfg(test)]
mod sample;
pub mod topology;

pub use budget::{Allotment, Budget};
pub use order::{Candidate, RETRY_AFTER, order};
