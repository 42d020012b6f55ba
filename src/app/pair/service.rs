//! What a proxy does for its pair while it serves: it says how it stands, and what it would leave.

use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use zeroize::Zeroizing;

use super::estate::Will;
use crate::app::ports::Ports;
use crate::journal::{Journal, Phase};
use crate::proxy::Proxy;
use crate::restart::notify::Notifier;
use crate::restart::task::{Mode, Request, State};
use crate::restart::{DataPlane as _, Lifecycle, Report, Standing, ended};
use crate::task;

/// Between two beats: much less than what a keeper takes for a hang.
const BEAT: Duration =
    Duration::from_millis(if cfg!(feature = "crash-points") { 50 } else { 1000 });

/// Between two tries to get a keeper.
const AGAIN: Duration = Duration::from_secs(60);

/// How old what is left may be.
const AGE: Duration = Duration::from_secs(1);

/// A proxy's pair.
#[derive(Clone, Debug)]
pub(in crate::app) struct Pair {
    /// What outlives the proxy.
    pub(in crate::app) journal: Arc<Journal>,
    /// The process that watches over it.
    pub(in crate::app) keeper: u32,
    /// What that is worth to the kernel when memory is short.
    pub(in crate::app) worth: Option<i32>,
    /// It has taken up what one before it has left.
    pub(super) is_heir: bool,
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
        if let Some(error) = self.journal.exposure() {
            tracing::info!(%error, "memfd_secret: keys are in memory like any other");
        }
        // Before anybody can give it something.
        if let Some(estate) = estate(proxy, ports, lifecycle) {
            self.journal.set_estate(&estate);
        }
        let (pair, asked) = (self.clone(), lifecycle.clone());
        task::keep("keeper", move || {
            let (pair, lifecycle) = (pair.clone(), asked.clone());
            async move { pair.outlive_keeper(&lifecycle).await }
        });
        let journal = self.journal.clone();
        task::keep("heartbeat", move || beat(journal.clone()));
        let (proxy, lifecycle, ports) = (proxy.clone(), lifecycle.clone(), ports.clone());
        task::keep("journal", move || {
            let (pair, proxy) = (self.clone(), proxy.clone());
            let (lifecycle, ports) = (lifecycle.clone(), ports.clone());
            async move { pair.keep_up(&proxy, &lifecycle, &ports).await }
        });
    }

    async fn keep_up(&self, proxy: &Proxy, lifecycle: &Lifecycle, ports: &Ports) {
        let mut standings = lifecycle.subscribe();
        let mut left = Zeroizing::default();
        loop {
            standings.mark_unchanged();
            if let Some(estate) = estate(proxy, ports, lifecycle).filter(|it| *it != left) {
                self.journal.set_estate(&estate);
                left = estate;
            }
            // Behind it: who comes after a process that serves finds what it left.
            let standing = *standings.borrow();
            if let Some(phase) = phase(standing) {
                self.journal.untie();
                self.journal.set_phase(phase);
            }
            // All branches are cancel safe.
            tokio::select! {
                changed = standings.changed() => if changed.is_err() { return },
                () = proxy.changed() => {}
                () = sleep(AGE) => {}
            }
        }
    }

    /// Waits for the keeper's death. A proxy goes on, and as soon as it is the one that serves it
    /// gives its sessions to a new pair. One that has not got that far by itself, and has no
    /// sessions yet, would be in the way of whoever is started in its place.
    async fn outlive_keeper(&self, lifecycle: &Lifecycle) {
        if let Err(error) = ended(self.keeper).await {
            tracing::error!(keeper = self.keeper, %error, "the keeper cannot be watched");
            return std::future::pending().await;
        }
        self.journal.set_alone();
        tracing::error!(keeper = self.keeper, "the keeper has died");
        let mut standings = lifecycle.subscribe();
        loop {
            let standing = *standings.borrow_and_update();
            match (standing.state, standing.phase) {
                (State::Starting, None) if !self.is_heir => std::process::exit(1),
                (State::Running, None) => {
                    // Who orders a stop now is to reach the one that can do it in order.
                    Notifier::from_environment().take_lead().await;
                    renew(lifecycle).await;
                    sleep(AGAIN).await;
                }
                // A restart that is under way may bring the new pair.
                _ => {
                    if standings.changed().await.is_err() {
                        return std::future::pending().await;
                    }
                }
            }
        }
    }
}

/// Begins a restart into a pair that has a keeper.
async fn renew(lifecycle: &Lifecycle) {
    let wish = Request::of(Mode::Restart).by("odp: its keeper has died");
    match lifecycle.restart(wish).await {
        Ok(task) => tracing::warn!(%task, "restarting for want of a keeper"),
        Err(reason) => tracing::error!(%reason, "no restart for want of a keeper"),
    }
}

/// Lets the keeper see that the runtime runs.
async fn beat(journal: Arc<Journal>) {
    loop {
        journal.beat();
        sleep(BEAT).await;
    }
}

/// What would be left now.
fn estate(proxy: &Proxy, ports: &Ports, lifecycle: &Lifecycle) -> Option<Zeroizing<Vec<u8>>> {
    let (config, listeners) = (proxy.config(), ports.listeners());
    let (legacy, counters) = (proxy.will(), proxy.counters(Report::Brief));
    let will = Will {
        generation: lifecycle.generation().0,
        config: config.text.as_str(),
        listeners: listeners.iter().map(|it| (it.name(), it.socket().as_raw_fd())).collect(),
        legacy: std::str::from_utf8(&legacy).unwrap_or_default(),
        counters: std::str::from_utf8(&counters).unwrap_or_default(),
        tasks: lifecycle.tasks(),
    };
    let written = will.write().inspect_err(|error| {
        tracing::error!(%error, "what would be left cannot be written down");
    });
    written.ok()
}

/// What a standing means for whoever would come after a crash, where there is no other process;
/// None: there is, or none is to come.
fn phase(standing: Standing) -> Option<Phase> {
    match (standing.state, standing.phase) {
        (State::Running | State::Offline, None) => Some(Phase::Serving),
        (State::Stopping, _) => Some(Phase::Restarting),
        // In a restart the data plane says it.
        (State::Starting | State::Restarting | State::Draining, _)
        | (State::Running | State::Offline, Some(_)) => None,
    }
}
