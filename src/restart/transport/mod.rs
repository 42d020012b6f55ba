//! Between two processes: messages and sockets, and how one of them finds the other.

pub mod channel;
pub mod disguise;
pub mod door;
#[cfg(any(test, feature = "crash-points"))]
pub mod later;
pub mod parcels;
