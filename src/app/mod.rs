//! What `odp run` is: a proxy from its start, or its takeover, to its end.
//!
//! ```text
//! run        puts it together, and lets it live
//!   pair       the process that was started, and the proxy, which may die
//!   ports      every listening socket, each with its accept loop
//!   lookout    looks at them as a client would
//!   signals    orders by signal
//!   keep       what operators have altered, on the disk
//!   share      the same in all of the fleet
//!   announce   what the service manager is told
//! rehearse   a successor that only judges
//! config     the config that it is to serve: what is wrong with it
//!   ourselves  servers in it that are the proxy itself
//!   remarks    what will go wrong some day
//! ```

mod announce;
pub(crate) mod config;
pub(crate) mod keep;
mod lookout;
mod ourselves;
mod pair;
mod ports;
pub(crate) mod rehearse;
pub(crate) mod remarks;
pub(crate) mod run;
mod share;
mod signals;
