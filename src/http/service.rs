//! What the HTTP port stands on: one for all of its connections.

use std::sync::Arc;

use super::events::Hub;
use super::idempotency::Answered;
use super::store::Kept;
use super::who::Who;
use crate::admin::Admin;

/// What the HTTP port stands on.
pub struct Http {
    pub(super) admin: Arc<Admin>,
    pub(super) who: Who,
    pub(super) hub: Hub,
    pub(super) answered: Kept<Answered>,
}

impl Http {
    /// That of this proxy.
    pub fn new(admin: Arc<Admin>) -> Self {
        let dir = admin.proxy.config().proxy.run_dir.clone();
        Self {
            who: Who::new(&dir),
            hub: Hub::new(admin.clone()),
            answered: Kept::new(dir.join("console.requests")),
            admin,
        }
    }
}
