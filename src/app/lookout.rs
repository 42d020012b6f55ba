//! Looks at every listening socket as a client would, and binds again what clients do not find.
//!
//! Invariant: of two generations one binds. The one that serves does, and not while it is giving
//! its sockets away: the successor would have the one that nobody finds.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;

use super::ports::Ports;
use crate::net::listen::{Listener, Unreachable};
use crate::restart::Standing;
use crate::restart::task::State;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// To see whether somebody listens where one of ours was, he is knocked at; not too often.
const KNOCK: Duration = Duration::from_secs(5);

/// What is wrong with which listener, told once, and when it was tried last to change that.
type Troubles = HashMap<String, (String, Instant)>;

/// Looks now and then, at every change of the lifecycle, and when it is told to. `bound` is called
/// when a socket was bound again.
pub(super) async fn watch(
    ports: Arc<Ports>,
    mut standings: watch::Receiver<Standing>,
    hint: Arc<Notify>,
    bound: Arc<dyn Fn() + Send + Sync>,
) {
    let mut troubles = Troubles::new();
    loop {
        let (all, seen, then) = (ports.clone(), standings.clone(), bound.clone());
        // A file system may take its time.
        let looked = spawn_blocking(move || {
            look(&all, &seen, &mut troubles, &*then);
            troubles
        });
        // After a panic everything is told once more.
        troubles = looked.await.unwrap_or_default();
        // All branches are cancel safe.
        tokio::select! {
            changed = standings.changed() => if changed.is_err() { return },
            () = hint.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn look(
    ports: &Ports,
    standings: &watch::Receiver<Standing>,
    troubles: &mut Troubles,
    bound: &dyn Fn(),
) {
    for listener in ports.listeners() {
        let Err(why) = listener.look() else {
            troubles.remove(listener.name());
            continue;
        };
        let is_accepting = ports.accepting().any(|other| Arc::ptr_eq(other, &listener));
        let known = troubles.get(listener.name());
        if matches!(why, Unreachable::Replaced)
            && known.is_some_and(|(_, tried_at)| tried_at.elapsed() < KNOCK)
        {
            continue;
        }
        let restored = if is_accepting { restore(&listener, standings) } else { None };
        let trouble = match restored {
            Some(Ok(())) => {
                tracing::warn!(listener = listener.name(), %why, "bound again");
                troubles.remove(listener.name());
                bound();
                continue;
            }
            Some(Err(error)) => format!("{why}; cannot bind it again: {error}"),
            None => why.to_string(),
        };
        if known.is_none_or(|(told, _)| *told != trouble) {
            tracing::error!(listener = listener.name(), trouble, "clients do not find a listener");
        }
        troubles.insert(listener.name().to_owned(), (trouble, Instant::now()));
    }
}

/// None: it is not the time for it.
fn restore(
    listener: &Listener,
    standings: &watch::Receiver<Standing>,
) -> Option<std::io::Result<()>> {
    // While this is held no handover begins.
    let standing = standings.borrow();
    may_bind(&standing).then(|| listener.restore())
}

fn may_bind(standing: &Standing) -> bool {
    match standing.state {
        State::Running | State::Offline => true,
        // As the successor, which serves; the predecessor does not take clients then.
        State::Draining => standing.takes_clients,
        State::Starting | State::Restarting | State::Stopping => false,
    }
}
