//! Where a session goes, and how long a server may take over it. Pure decisions over an immutable
//! view of the servers.
//!
//! - [`name`]: which cluster and tenant a user name names, and the account at the server.
//! - [`topology`]: the servers of a cluster as a decision sees them.
//! - [`roles`]: which of them is the primary, by what they say of themselves.
//! - [`congestion`]: the black list: whether a server may be tried, by how it failed.
//! - [`order`](mod@order): the order in which servers are tried.
//! - [`mod@decide`]: where a statement goes.
//! - [`budget`]: how long each server may take in one log-in.
//!
//! # Where a statement goes
//!
//! The first row that fits. [`decide`](decide::decide) is tested by this very table, each row and
//! each case, so its words are fixed. *Home* is on the primary: where it is not and nothing holds
//! it, it moves there first; if the primary can't be used it stays, and on a peer of a primary that
//! is to be left. Nothing is read on a server that is to be left while there is another one.
//! *Left behind*: the primary has
//! changed since the home's link was opened. *Routed*: by `@obproxy_route_addr`. *All writes* are
//! `write` and `other`, also hinted and forced, *all reads* likewise; *other* is whatever is
//! uncertain; *session* is of the session's own state. *In one on a replica*: a transaction is at
//! home, but its reads are there. *Transactions too* is `on` with `transaction_split`, *only
//! replicas* is `on` with `FOLLOWER_ONLY`.
//!
//! | session | split | statement | goes to | why |
//! |---|---|---|---|---|
//! | any | any | diagnostics | last used | diagnostics |
//! | in a transaction | transactions too | read, weak read | replica | split transaction |
//! | routed and in a transaction | any | any | home | transaction |
//! | in one and left behind | transactions too | read, weak read | replica | split transaction |
//! | in a transaction | any | any | home | transaction |
//! | in one that wrote | any | any | home | transaction |
//! | in one on a replica | any | all reads | replica | transaction |
//! | in one on a replica | any | any | home | transaction |
//! | in one and left behind | any | all writes, begin | refused | fenced |
//! | in one and left behind | any | any | old home | transaction |
//! | in one that wrote and left behind | any | all writes, begin, commit | refused | fenced |
//! | in one that wrote and left behind | any | begin read only | refused | fenced |
//! | in one that wrote and left behind | any | hinted begin read only | refused | fenced |
//! | in one that wrote and left behind | any | any | old home | transaction |
//! | pinned and in a transaction | any | any | home | transaction |
//! | pinned and left behind | any | all writes, begin | refused | fenced |
//! | pinned and left behind | any | any | old home | pinned |
//! | pinned | any | any | home | pinned |
//! | any | any | read hinted to nobody | refused | no such server |
//! | any | any | read hinted to a lost one | refused | unreachable |
//! | any | any | read hinted to a lost one and another | target | hint: target |
//! | any | any | hinted read, hinted other, hinted begin read only | target | hint: target |
//! | no roles, left behind and no primary | any | hinted write | target | hint: target |
//! | any | any | hinted write | refused | not the primary |
//! | left behind and primary lost | any | write hinted to the primary | refused | unreachable |
//! | primary lost | any | write hinted to the primary | refused | unreachable |
//! | any | any | write hinted to the primary | primary | hint: target |
//! | left behind and no primary | any | all writes, begin | refused | fenced |
//! | left behind and primary lost | any | all writes, begin | refused | fenced |
//! | any | any | session, begin, commit, rollback | home | session state |
//! | any | any | forced read, forced other, forced write | home | hint: primary |
//! | routed | any | write | refused | not the primary |
//! | routed | any | any | target | obproxy_route_addr |
//! | any | any | write, other | home | may write |
//! | any | off | read, weak read, strong read, begin read only | home | split is off |
//! | any | weak, on, only replicas | strong read | home | strong read |
//! | any | weak | read, begin read only | home | not a weak read |
//! | no replica, no roles | only replicas | read, weak read | refused | no replica |
//! | no replica, no roles | only replicas | begin read only | refused | no replica |
//! | no replica, no roles | weak, on | read, weak read, begin read only | home | no replica |
//! | any | weak | weak read | replica | read |
//! | any | on, only replicas | read, weak read, begin read only | replica | read |

pub mod budget;
pub mod congestion;
pub mod decide;
pub mod name;
pub mod order;
pub mod roles;
#[cfg(test)]
mod tests;
pub mod topology;

pub use budget::{Allotment, Budget};
