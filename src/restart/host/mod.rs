//! The system as a restart uses it: processes, descriptors, sockets that somebody else may have
//! used, and the points at which a test lets this process die.

pub(crate) mod crash;
pub(super) mod fd;
pub(super) mod process;
