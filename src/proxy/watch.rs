//! Background tasks of the data plane: silent sessions, and the end of a drain.
//!
//! They do not keep alive what they watch, and can be started again at any time.

use std::sync::Weak;
use std::time::Duration;

use super::handle::{Signal, Stage};
use super::{Drain, Proxy};

/// Ends sessions that were silent for `default_inactivity_timeout`, once a second. So no session
/// needs a timer, and none reads the clock for a packet.
pub async fn silent_sessions(proxy: Weak<Proxy>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        second.tick().await;
        let Some(proxy) = proxy.upgrade() else { return };
        let limit = proxy.config().proxy.default_inactivity_timeout.0;
        for handle in proxy.registry.all() {
            // A log-in has a deadline of its own.
            let watched = !matches!(handle.stage(), Stage::LoggingIn | Stage::Moving);
            if watched && handle.tick() >= limit {
                tracing::info!(id = handle.id, "session was silent for too long");
                handle.raise(Signal::Inactive);
            }
        }
    }
}

/// Ends what is left when the time of a drain is over.
pub async fn drain_deadline(proxy: Weak<Proxy>) {
    let Some(mut drain) = proxy.upgrade().map(|proxy| proxy.drain.subscribe()) else { return };
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
                let Some(proxy) = proxy.upgrade() else { return };
                proxy.disconnect_all();
                if drain.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
