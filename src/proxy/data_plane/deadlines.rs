//! Background tasks of the data plane: silent sessions, and the end of a drain.
//!
//! They do not keep alive what they watch, and can be started again at any time.

use std::sync::Weak;
use std::time::{Duration, Instant};

use tokio::sync::watch::Receiver;

use crate::proxy::moves::Shared;
use crate::proxy::sessions::handle::{Due, Handle, Signal, Stage};
use crate::wire::flavour::Flavour;

/// Whether sessions are asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// No.
    No,
    /// At this instant, with 1053; None: when they end by themselves.
    Until(Option<Instant>),
}

/// Ends sessions that were silent for `default_inactivity_timeout`, once a second, and has those
/// that read elsewhere see to their homes. So no session needs a timer, and none reads the clock
/// for a packet.
pub(super) async fn silent_sessions(watched: Weak<Shared>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        let Some(shared) = watched.upgrade() else { return };
        let limit = shared.in_force.config().proxy.default_inactivity_timeout.0;
        for part in shared.sessions.registry.parts() {
            for handle in part {
                // A log-in has a deadline of its own.
                let watched = !matches!(handle.stage(), Stage::LoggingIn | Stage::Moving);
                if !watched {
                    continue;
                }
                let idle = handle.tick();
                if idle >= limit {
                    tracing::info!(id = handle.id.0, "session was silent for too long");
                    handle.raise(Signal::Inactive);
                } else if handle.is_overdue(idle) {
                    handle.raise(as_its_server(&shared, &handle));
                } else if handle.is_home_due(idle) {
                    handle.set_due(Due::Rest);
                }
            }
            // Ten thousand at once would be felt by those who speak.
            tokio::task::yield_now().await;
        }
    }
}

/// How its server ends a session that was silent for `wait_timeout`: MySQL says so unasked, MariaDB
/// just closes.
fn as_its_server(shared: &Shared, handle: &Handle) -> Signal {
    let (cluster, server) = {
        let facts = handle.facts();
        (facts.cluster.clone(), facts.server.clone())
    };
    let clusters = shared.in_force.clusters();
    let version = clusters.find(&cluster).and_then(|cluster| cluster.version_of(&server));
    match version.is_some_and(|version| Flavour::of(&version).is_mariadb()) {
        true => Signal::Kill,
        false => Signal::Inactive,
    }
}

/// Ends what is left when the time of a drain is over.
pub(super) async fn drain(watched: Weak<Shared>, mut drain: Receiver<Drain>) {
    loop {
        let now = *drain.borrow_and_update();
        let expired = async {
            match now {
                Drain::Until(Some(deadline)) => tokio::time::sleep_until(deadline.into()).await,
                Drain::No | Drain::Until(None) => std::future::pending().await,
            }
        };
        // Both branches are cancel safe.
        tokio::select! {
            changed = drain.changed() => if changed.is_err() { return },
            () = expired => {
                let Some(shared) = watched.upgrade() else { return };
                shared.sessions.disconnect_all();
                if drain.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
