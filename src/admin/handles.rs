//! What commands act on.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::audit::Audit;
use crate::config::AdminUser;
use crate::fleet::settings::Standing;
use crate::fleet::tasks::Tasks;
use crate::proxy::Proxy;
use crate::restart::Lifecycle;

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

impl Admin {
    /// The admin user of this name.
    pub fn user(&self, name: &str) -> Option<AdminUser> {
        self.proxy.config().admin.user.iter().find(|user| user.name == name).cloned()
    }
}
