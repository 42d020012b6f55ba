//! Other odp processes: asked, restarted one after the other, and known from outside when they
//! answer no more.
//!
//! ```text
//! roll     one or many proxies are restarted, so many at a time; progress: who watches that
//! status   how each of them is
//! members  which there are, as the config says; lines: connections to them that are kept
//! tasks    restarts of them that outlive a process
//! told     what the others tell of theirs
//! port     a client of admin ports; port::run_dir: the way that needs no password
//! rehearsals what each would not move, asked before a restart of several
//! hour     what all have counted in the last hour, in one sum
//! hung     one of this machine that does not answer is killed and started again
//!   owners    who listens there
//!   record    how a process was started, which it has left in its run_dir
//! switchover what the other proxies are told of one
//! settings what operators have altered, the same in all of the fleet; etcd: where that stands
//! tls      what a certificate must be by
//! ```
//! Prints nothing, and knows no arguments: those are the command line's.

pub(crate) mod etcd;
#[cfg(test)]
pub(crate) mod fake;
pub mod hour;
mod hung;
mod lines;
pub(crate) mod members;
mod owners;
pub(crate) mod port;
pub(crate) mod progress;
pub(crate) mod record;
mod rehearsals;
pub(crate) mod roll;
pub mod settings;
pub(crate) mod status;
pub(crate) mod switchover;
pub mod tasks;
pub(crate) mod tls;
mod told;
