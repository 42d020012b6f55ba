//! Servers that do not answer, as far as they are asked: who waits for an answer of one is told
//! that it is lost, as if it had closed. What only reads runs once more at home.
//!
//! Its kernel may go on acknowledging what a process does not read any more, so nobody else would
//! ever say so. Who has asked it nothing stays: it may come back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Shared;
use crate::proxy::sessions::handle::{Due, Handle, Stage};

/// How often it is looked who waits.
const LOOK: Duration = Duration::from_millis(500);

/// Sees to it that nobody waits for a server that is lost.
pub async fn watch(watched: Weak<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(shared) = watched.upgrade() else { return };
        ask(&shared);
    }
}

fn ask(shared: &Shared) {
    let clusters = shared.in_force.clusters();
    let lost: HashMap<&str, Vec<Arc<str>>> =
        clusters.iter().map(|cluster| (&*cluster.name, cluster.lost())).collect();
    if lost.values().all(Vec::is_empty) {
        return;
    }
    let waits = |handle: &Arc<Handle>| {
        let is_active = matches!(handle.stage(), Stage::Active | Stage::ActiveInTransaction);
        let facts = handle.facts();
        let Some(lost) = lost.get(&*facts.cluster).filter(|_| is_active) else { return false };
        facts.further.iter().chain([&facts.server]).any(|server| lost.contains(server))
    };
    for handle in shared.sessions.registry.all().into_iter().filter(waits) {
        handle.set_due(Due::Lost);
    }
}
