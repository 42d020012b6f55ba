//! Servers that are to be left by everybody: each of their sessions moves at its next boundary.
//!
//! Who cannot, now, is asked again: a pin may go, a transaction end. What keeps it is shown
//! (SHOW PROXYSESSION ATTRIBUTE, `pins`).

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Orders, Surroundings};
use crate::proxy::cluster::Cluster;
use crate::proxy::in_force::InForce;
use crate::proxy::sessions::Sessions;
use crate::proxy::sessions::handle::{Handle, Stage};
use crate::session::portable::Pins;
use crate::task;

/// How often it is looked who is still there.
const LOOK: Duration = Duration::from_millis(500);

/// After so long a silence nobody asks for the warnings of the statement before.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Sessions that move at once: each logs in, which costs the other server more than it does us.
const AT_ONCE: usize = 16;

/// What is looked at. It ends with the data plane.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Config, servers.
    pub in_force: Arc<InForce>,
    /// Who is to move where.
    pub orders: Arc<Orders>,
    /// Who is here.
    pub sessions: Weak<Sessions>,
}

/// Sees to it that servers are left that are drained.
pub async fn watch(watched: Watched) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(sessions) = watched.sessions.upgrade() else { return };
        let mut leaving = leaving(&watched.in_force, &sessions).into_iter();
        drop(sessions);
        let mut moving = JoinSet::new();
        loop {
            while moving.len() < AT_ONCE
                && let Some(leave) = leaving.next()
            {
                let watched = watched.clone();
                moving.spawn(task::caught("drain", Box::pin(leave.go(watched))));
            }
            if moving.join_next().await.is_none() {
                break;
            }
        }
    }
}

/// A session that is to leave its server, and where it may go.
struct Leave {
    handle: Arc<Handle>,
    to: Arc<str>,
    allowed: Pins,
}

impl Leave {
    async fn go(self, watched: Watched) {
        let Watched { in_force, orders, .. } = &watched;
        let moves = Surroundings { in_force, orders };
        let allowed = self.allowed;
        if let Err(why) = moves.move_session(&self.handle, &self.to, allowed).await {
            tracing::debug!(id = self.handle.id.0, %why, "stays on a server that is drained");
        }
    }
}

/// Every session on a server that is drained, that could leave it as far as is known.
fn leaving(in_force: &InForce, sessions: &Sessions) -> Vec<Leave> {
    let clusters = in_force.clusters();
    if !clusters.iter().any(|cluster| cluster.has_draining_servers()) {
        return Vec::new();
    }
    let leave = |handle: Arc<Handle>| {
        let (name, server, can) = {
            let facts = handle.facts();
            (facts.cluster.clone(), facts.server.clone(), facts.login.is_some())
        };
        let is_silent = handle.idle() >= FORGOTTEN;
        let allowed = if is_silent { Pins::DIAGNOSTICS } else { Pins::default() };
        let pins = handle.pins().without(allowed);
        let may = can && pins.is_empty() && is_between(handle.stage());
        let cluster: &Arc<Cluster> = clusters.find(&name).filter(|_| may)?;
        let to = cluster.refuge(&server)?;
        Some(Leave { handle, to, allowed })
    };
    sessions.registry.all().into_iter().filter_map(leave).collect()
}

/// Whether a session may come between two commands soon.
fn is_between(stage: Stage) -> bool {
    matches!(stage, Stage::Idle | Stage::Active)
}
