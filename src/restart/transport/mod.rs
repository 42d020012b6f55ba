//! Between two processes: messages and sockets, and how one of them finds the other.

pub(super) mod channel;
pub(super) mod disguise;
#[cfg(any(test, feature = "crash-points"))]
pub(crate) mod later;
pub(super) mod parcels;
pub(super) mod socket;
