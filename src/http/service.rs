//! What the HTTP port stands on: one for all of its connections.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::events::Hub;
use super::idempotency::Answers;
use super::look::Look;
use super::parts::Parts;
use super::who::Who;
use crate::admin::Admin;

/// Connections at most; one more is closed. They must not take the open files that clients need.
const MOST: usize = 1024;

/// What the HTTP port stands on.
pub struct Http {
    pub(super) admin: Arc<Admin>,
    pub(super) who: Arc<Who>,
    pub(super) hub: Hub,
    pub(super) look: Arc<Look>,
    pub(super) parts: Parts,
    pub(super) answers: Answers,
    pub(super) places: Arc<Semaphore>,
}

impl Http {
    /// That of this proxy.
    pub fn new(admin: Arc<Admin>) -> Self {
        let dir = admin.proxy.config().proxy.run_dir.clone();
        let look = Look::new(admin.clone());
        Self {
            who: Arc::new(Who::new(&dir)),
            hub: Hub::new(admin.clone(), look.clone()),
            look,
            parts: Parts::default(),
            answers: Answers::new(&dir),
            places: Arc::new(Semaphore::new(MOST)),
            admin,
        }
    }
}
