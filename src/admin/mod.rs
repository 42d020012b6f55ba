//! Commands → handles → rows: the admin port, the same commands on the clients' port, and HTTP.
//!
//! A command answers after it was judged: a refused one gets an ERR packet that says why.

mod command;
mod crash_metrics;
mod execute;
mod fleet;
pub mod http;
mod like;
pub mod server;
mod server_metrics;
mod servers;
mod show;
mod table;
mod token;
mod variables;

use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{AdminUser, Role};
use crate::fleet::tasks::Tasks;
use crate::proxy::Proxy;
use crate::restart::Lifecycle;
use crate::wire::id::SessionId;

/// What commands act on.
pub struct Admin {
    /// The data plane.
    pub proxy: Arc<Proxy>,
    /// The proxy's life.
    pub lifecycle: Lifecycle,
    /// Restarts of several proxies.
    pub fleet: Tasks,
    /// When this process started.
    pub started: SystemTime,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The name, without tenant.
    pub user: String,
    /// The address.
    pub peer: String,
    /// What the user may do.
    pub role: Role,
    /// The id of this connection.
    pub connection_id: SessionId,
}

/// An instant as people are told.
pub fn timestamp(at: SystemTime) -> String {
    show::timestamp(at)
}

impl Admin {
    fn user(&self, name: &str) -> Option<AdminUser> {
        self.proxy.config().admin.user.iter().find(|user| user.name == name).cloned()
    }
}
