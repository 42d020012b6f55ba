//! What triggers of servers may change in the sessions that fire them, as far as is known.

use std::sync::Mutex;

use super::Cluster;
use crate::proxy::lock::lock;
use crate::sql::analysis::Changes;

/// What triggers may do that nobody has seen: what they usually do, if they do anything to a
/// session. That they take no locks is said in the limits.
pub(in crate::proxy) const UNSEEN: Changes = Changes::USER_VARIABLES.with(Changes::VARIABLES);

/// What the triggers of a server may do; None: nobody has seen them.
#[derive(Debug, Default)]
pub(super) struct Fired(Mutex<Option<Changes>>);

impl Cluster {
    /// What triggers of one of its servers may change in a session; None: they cannot be seen.
    pub(in crate::proxy) fn hear_fired(&self, address: &str, fired: Option<Changes>) {
        if let Some(server) = self.server(address) {
            *lock(&server.fired.0) = fired;
        }
    }

    /// What triggers of one of its servers may change in a session, as far as is known.
    pub(in crate::proxy) fn fired(&self, address: &str) -> Changes {
        self.server(address).and_then(|server| *lock(&server.fired.0)).unwrap_or(UNSEEN)
    }
}
