//! For sessions that nobody else is beside: also for a bench, which has this file for itself.

use odp::session::Directory;
use odp::wire::id::{SessionId, ThreadId};

/// A directory in which nobody stands.
pub(crate) struct Nobody;

impl Directory for Nobody {
    fn server_thread(&self, _: SessionId) -> Option<ThreadId> {
        None
    }
}
