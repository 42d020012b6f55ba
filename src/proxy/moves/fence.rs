//! Clusters that have another primary: each of their sessions is asked to see at once where its
//! commands go from now on. Who is left behind moves to the new one with its next command that is
//! outside of a transaction; what may write goes over no link of an older epoch.
//!
//! Who came before any primary was known stays where it is, as does who is moved by an operator
//! afterwards: nothing was written under an earlier one.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Shared;
use crate::proxy::in_force::InForce;
use crate::proxy::sessions::Sessions;
use crate::proxy::sessions::handle::{Due, Handle};
use crate::route::topology::Epoch;

/// How often it is looked if nobody says that there is another primary.
const LOOK: Duration = Duration::from_millis(500);

/// Sees to it that no session goes on writing where it did under an earlier primary.
pub async fn watch(watched: Weak<Shared>) {
    let mut known = HashMap::new();
    loop {
        let Some(shared) = watched.upgrade() else { return };
        for cluster in changed(&shared.in_force, &mut known) {
            ask(&shared.sessions, &cluster);
            tracing::info!(cluster = &*cluster, "sessions hear of another primary");
        }
        // Cancel safe: a word that comes meanwhile is kept.
        let told = shared.in_force.new_primary().sessions.notified();
        let _ = tokio::time::timeout(LOOK, told).await;
    }
}

/// The clusters whose primary is another one than when this was last asked.
fn changed(in_force: &InForce, known: &mut HashMap<Arc<str>, Epoch>) -> Vec<Arc<str>> {
    let mut has_changed = |(name, epoch): &(Arc<str>, Epoch)| {
        let before = known.insert(name.clone(), *epoch).unwrap_or(*epoch);
        before != Epoch::default() && before != *epoch
    };
    let clusters = in_force.clusters();
    let all = clusters.iter().map(|it| (it.name.clone(), it.topology().epoch()));
    all.filter(|it| has_changed(it)).map(|(name, _)| name).collect()
}

/// Also those that are about to log in: to where, is not known yet.
fn ask(sessions: &Sessions, cluster: &str) {
    let is_of_it = |handle: &Arc<Handle>| {
        let facts = handle.facts();
        facts.cluster.is_empty() || *facts.cluster == *cluster
    };
    let all = sessions.registry.all().into_iter().filter(is_of_it);
    all.for_each(|handle| handle.set_due(Due::Fence));
}
