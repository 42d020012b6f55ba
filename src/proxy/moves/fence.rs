//! Clusters that have another primary, or whose reads are split from now on: each of their sessions
//! is asked to see at once where its commands go. Who is left behind moves to the new primary with
//! its next command that is outside of a transaction; what may write goes over no link of an older
//! epoch.
//!
//! Who came before any primary was known stays where it is, as does who is moved by an operator
//! afterwards: nothing was written under an earlier one. Whose reads are split no more hears it of
//! each of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Shared;
use crate::proxy::cluster::Cluster;
use crate::proxy::in_force::InForce;
use crate::proxy::sessions::Sessions;
use crate::proxy::sessions::handle::{Due, Handle};
use crate::route::topology::Epoch;

/// How often it is looked if nobody says that something has changed.
const LOOK: Duration = Duration::from_millis(500);

/// What says where a session's commands go.
#[derive(Clone, Copy, Debug)]
struct Known {
    epoch: Epoch,
    is_split: bool,
}

impl Known {
    fn of(in_force: &InForce, cluster: &Cluster) -> Self {
        Self { epoch: cluster.topology().epoch(), is_split: in_force.splits(&cluster.name) }
    }

    /// What sessions have to hear that have begun under another.
    fn since(self, before: Self) -> Option<&'static str> {
        match () {
            () if before.epoch != Epoch::default() && before.epoch != self.epoch => {
                Some("another primary")
            }
            () if self.is_split && !before.is_split => Some("reads that are split"),
            () => None,
        }
    }
}

/// Sees to it that no session goes on as it did under an earlier primary, or before its reads were
/// split.
pub async fn watch(watched: Weak<Shared>) {
    let mut known = HashMap::new();
    loop {
        let Some(shared) = watched.upgrade() else { return };
        for (cluster, what) in changed(&shared.in_force, &mut known) {
            ask(&shared.sessions, &cluster);
            tracing::info!(cluster = &*cluster, "sessions hear of {what}");
        }
        // Cancel safe: a word that comes meanwhile is kept.
        let told = shared.in_force.new_primary().sessions.notified();
        let _ = tokio::time::timeout(LOOK, told).await;
    }
}

/// The clusters of which there is something to hear since this was last asked.
fn changed(
    in_force: &InForce,
    known: &mut HashMap<Arc<str>, Known>,
) -> Vec<(Arc<str>, &'static str)> {
    let clusters = in_force.clusters();
    let news = |cluster: &Arc<Cluster>| {
        let now = Known::of(in_force, cluster);
        let before = known.insert(cluster.name.clone(), now)?;
        Some((cluster.name.clone(), now.since(before)?))
    };
    clusters.iter().filter_map(news).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_hear_of_what_changes_where_their_commands_go() {
        let known = |(epoch, is_split)| Known { epoch: Epoch(epoch), is_split };
        for (before, now, expected) in [
            ((1, false), (1, false), None),
            ((1, true), (1, true), None),
            ((1, false), (2, false), Some("another primary")),
            ((1, false), (2, true), Some("another primary")),
            // None was known.
            ((0, false), (1, false), None),
            ((0, false), (1, true), Some("reads that are split")),
            ((1, false), (1, true), Some("reads that are split")),
            // They ask each time.
            ((1, true), (1, false), None),
        ] {
            assert_eq!(known(now).since(known(before)), expected, "{before:?} {now:?}");
        }
    }
}
