//! Commands → handles → rows: the admin port, the same commands on the clients' port, and what the
//! HTTP port shows and does.
//!
//! A command answers after it was judged: a refused one gets an ERR packet that says why. What
//! changes something is in the audit, whichever way it came.

pub mod audit;
pub mod command;
mod crash_metrics;
mod digests;
mod execute;
pub mod exposition;
pub mod fleet;
mod history;
mod like;
pub mod server;
mod server_metrics;
mod servers;
mod settings;
mod show;
mod spell;
pub mod switchover;
mod table;
mod token;
mod variables;

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub use audit::{Audit, Door};
pub use execute::{Answer, audited, execute};
pub use table::{Row, Table};

use crate::config::{AdminUser, Role};
use crate::fleet::settings::Standing;
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
    /// How what operators have altered is shared with the other proxies.
    pub settings: watch::Receiver<Standing>,
    /// When this process started.
    pub started: SystemTime,
    /// Who did what.
    pub audit: Audit,
    /// Commands and requests whose answers are not written yet: whoever ends the process waits for
    /// them, as long as that is reasonable.
    pub under_way: TaskTracker,
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
    /// By which way.
    pub door: Door,
    /// The id of this connection.
    pub connection_id: SessionId,
}

impl Caller {
    /// As people are told.
    fn who(&self) -> String {
        format!("{}@{}", self.user, self.peer)
    }
}

/// An instant as people are told.
pub fn timestamp(at: SystemTime) -> String {
    show::timestamp(at)
}

impl Admin {
    /// The admin user of this name.
    pub fn user(&self, name: &str) -> Option<AdminUser> {
        self.proxy.config().admin.user.iter().find(|user| user.name == name).cloned()
    }
}
