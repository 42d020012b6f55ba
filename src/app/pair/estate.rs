//! What a proxy leaves beside its sessions: its listeners, what it would tell a successor.

use std::os::fd::{AsRawFd as _, RawFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::net::listen::Listener;
use crate::restart::task::Task;

/// See above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::app) struct Estate {
    /// The proxy's generation.
    pub(in crate::app) generation: u64,
    /// The text of the config in force.
    pub(in crate::app) config: String,
    /// Listening sockets: their names and descriptors.
    pub(super) listeners: Vec<(String, RawFd)>,
    /// As [`restart::DataPlane::legacy`](crate::restart::DataPlane::legacy) has it.
    pub(super) legacy: String,
    /// As [`restart::DataPlane::counters`](crate::restart::DataPlane::counters) has it.
    pub(super) counters: String,
    /// Restarts that there were.
    #[serde(default)]
    pub(in crate::app) tasks: Vec<Task>,
}

impl Estate {
    /// Of a proxy that listens there.
    pub(super) fn of(generation: u64, listeners: &[Arc<Listener>]) -> Self {
        let listener = |it: &Arc<Listener>| (it.name().to_owned(), it.socket().as_raw_fd());
        let listeners = listeners.iter().map(listener).collect();
        Self { generation, listeners, ..Self::default() }
    }
}
