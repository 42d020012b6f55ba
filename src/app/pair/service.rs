//! What a proxy does for its pair while it serves: it says how it stands, and what it would leave.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::estate::Estate;
use crate::app::ports::Ports;
use crate::journal::{Journal, Phase};
use crate::proxy::Proxy;
use crate::restart::task::State;
use crate::restart::{DataPlane as _, Lifecycle, Standing};
use crate::task;

/// How old what is left may be.
const AGE: Duration = Duration::from_secs(1);

/// A proxy's pair.
#[derive(Clone, Debug)]
pub(in crate::app) struct Pair {
    /// What outlives the proxy.
    pub(in crate::app) journal: Arc<Journal>,
    /// The process that watches over it.
    pub(in crate::app) keeper: u32,
}

impl Pair {
    /// Keeps what is left up to date from now on.
    pub(in crate::app) fn serve(
        self,
        proxy: &Arc<Proxy>,
        lifecycle: &Lifecycle,
        ports: &Arc<Ports>,
    ) {
        tracing::info!(keeper = self.keeper, "sessions go on after a crash");
        let (proxy, lifecycle, ports) = (proxy.clone(), lifecycle.clone(), ports.clone());
        task::keep("journal", move || {
            let (pair, proxy) = (self.clone(), proxy.clone());
            let (lifecycle, ports) = (lifecycle.clone(), ports.clone());
            async move { pair.keep_up(&proxy, &lifecycle, &ports).await }
        });
    }

    async fn keep_up(&self, proxy: &Proxy, lifecycle: &Lifecycle, ports: &Ports) {
        let mut standings = lifecycle.subscribe();
        let mut left = Estate::default();
        loop {
            let standing = *standings.borrow_and_update();
            let estate = estate(proxy, ports, standing.generation.0);
            if estate != left {
                self.leave(&estate);
                left = estate;
            }
            // Behind it: who comes after a process that serves finds what it left.
            if let Some(phase) = phase(standing) {
                self.journal.set_phase(phase);
            }
            if let Ok(Err(_)) = timeout_at(Instant::now() + AGE, standings.changed()).await {
                return;
            }
        }
    }

    fn leave(&self, estate: &Estate) {
        match serde_json::to_vec(estate) {
            Ok(estate) => self.journal.set_estate(&estate),
            Err(error) => tracing::error!(%error, "what would be left cannot be written down"),
        }
    }
}

fn estate(proxy: &Proxy, ports: &Ports, generation: u64) -> Estate {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Estate {
        legacy: text(&proxy.will()),
        counters: text(&proxy.counters()),
        ..Estate::of(generation, &ports.listeners())
    }
}

/// What a standing means for whoever would come after a crash; None: as before.
fn phase(standing: Standing) -> Option<Phase> {
    match (standing.state, standing.phase) {
        (State::Starting, _) => None,
        (State::Running | State::Offline, None) => Some(Phase::Serving),
        (State::Running | State::Offline | State::Restarting | State::Draining, _)
        | (State::Stopping, _) => Some(Phase::Restarting),
    }
}
