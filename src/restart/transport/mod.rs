//! Between two processes: messages and sockets, and how one of them finds the other.

pub(super) mod channel;
pub(super) mod disguise;
pub(super) mod door;
#[cfg(any(test, feature = "crash-points"))]
pub(crate) mod later;
pub(super) mod parcels;
