//! [`Proxy`]: the rooms of the data plane put together. Holds no protocol and no rule of its own:
//! it begins sessions, and answers for all of them.
//!
//! - `life`: a session's task, from its first byte until it ends or is given out; `suspicion`: how
//!   the journal knows of it. `deadlines`: silent sessions, the end of a drain.
//! - `handover`: as the restart sees it; `inheritance`: sessions that outlive the process that
//!   carried them; `peer`: the data plane of the other generation, while two live.
//! - `ports`, `ids`: where clients come in, and who they are then.
//! - `record`, `shown`, `running`: crashes, clusters, servers, statements under way, for people.

mod deadlines;
mod handover;
mod ids;
mod inheritance;
mod life;
mod peer;
mod ports;
mod record;
mod running;
mod shown;
mod suspicion;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use deadlines::Drain;
use ids::Ids;
use life::Entry;
use peer::Peer;
pub use ports::Gates;
use ports::Ports;
use record::Record;
pub use running::Running;
use tokio::sync::{Notify, Semaphore, mpsc, watch as signal};

use super::cluster::loops::Trail;
use super::cluster::view::{ClusterView, CongestionView, ServerView};
use super::handshake::rsa::OwnKey;
use super::history::{self, History};
use super::in_force::{Author, InForce, NotAltered, Unfitting};
use super::login::LocalLogin;
use super::moves::look::Unseen;
use super::moves::{Shared, Stays, drain, fence, lost};
use super::relay::{MOST_LINGERING, close_at_once, close_lingering};
use super::sessions::handle::{Handle, Signal};
use super::sessions::limits::Seat;
use super::sessions::protection::Shown;
use super::sessions::view::{
    CrashTotals, CrashView, Gauges, SessionView, TraceView, VariablesView,
};
use super::switchover::elsewhere::Elsewhere;
use super::switchover::{NotSwitched, Others, Scene, Switched};
use crate::config::Config;
use crate::config::alterations::Alterations;
use crate::journal::Journal;
use crate::metrics::Totals;
use crate::metrics::pauses::Pauses;
use crate::net::listen::Listener;
use crate::net::stream::Stream;
use crate::net::tls::settings::{Settings, SettingsError};
use crate::session::portable::Pins;
use crate::task;
use crate::wire::id::SessionId;

/// The data plane.
#[derive(Debug)]
pub struct Proxy {
    myself: Weak<Self>,
    shared: Arc<Shared>,
    ports: Ports,
    ids: Ids,
    record: Record,
    peer: Peer,
    own_key: OwnKey,
    trail: Trail,
    local_logins: mpsc::UnboundedSender<LocalLogin>,
    /// Something else was put in force.
    changed: Notify,
    drain: signal::Sender<Drain>,
    /// Who is refused may take a moment to read why.
    lingering: Arc<Semaphore>,
    history: Arc<History>,
    /// Switchovers that other proxies carry out.
    elsewhere: Elsewhere,
}

/// What a data plane is made of.
pub struct Foundation {
    /// The config in force; others read it too.
    pub config: Arc<ArcSwap<Config>>,
    /// Certificates and keys in force.
    pub tls: Arc<Settings>,
    /// Counts up with each restart.
    pub generation: u64,
    /// Every listening socket.
    pub listeners: Vec<Arc<Listener>>,
    /// Open and close their accept loops.
    pub gates: Gates,
    /// Takes admin users that come to the clients' port.
    pub local_logins: mpsc::UnboundedSender<LocalLogin>,
    /// Where sessions are to be on record, if they are.
    pub journal: Option<Arc<Journal>>,
}

impl Proxy {
    /// A data plane without sessions. Its background task ends with the runtime.
    pub fn new(foundation: Foundation) -> Arc<Self> {
        let Foundation { config, tls, generation, listeners, gates, .. } = foundation;
        let (local_logins, journal) = (foundation.local_logins, foundation.journal);
        let shared = Arc::new(Shared::new(InForce::new(config, tls)));
        let peer = Peer::new(&shared.sessions.registry);
        let proxy = Arc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            shared,
            ports: Ports::new(listeners, gates),
            ids: Ids::new(generation),
            record: Record::new(journal),
            peer,
            own_key: OwnKey::default(),
            trail: Trail::new(),
            local_logins,
            changed: Notify::new(),
            drain: signal::Sender::new(Drain::No),
            lingering: Arc::new(Semaphore::new(MOST_LINGERING)),
            history: Arc::default(),
            elsewhere: Elsewhere::default(),
        });
        proxy.watch();
        proxy
    }

    /// Starts what watches over all sessions.
    fn watch(&self) {
        let shared = || Arc::downgrade(&self.shared);
        let watched = shared();
        task::keep("silent sessions", move || deadlines::silent_sessions(watched.clone()));
        let watched = shared();
        task::keep("servers to be left", move || drain::watch(watched.clone()));
        let watched = shared();
        task::keep("new primaries", move || fence::watch(watched.clone()));
        let watched = shared();
        task::keep("lost servers", move || lost::watch(watched.clone()));
        let (watched, drain) = (shared(), self.drain.subscribe());
        task::keep("drain deadline", move || deadlines::drain(watched.clone(), drain.clone()));
        if self.config().console.enabled {
            let (watched, kept) = (shared(), self.history.clone());
            task::keep("history", move || history::take(watched.clone(), kept.clone()));
        }
    }

    /// The config in force.
    pub fn config(&self) -> Arc<Config> {
        self.shared.in_force.config()
    }

    /// Certificates and keys in force.
    pub fn tls(&self) -> &Settings {
        self.shared.in_force.tls()
    }

    /// Alters parameters, by name; all of them or none. See `InForce::alter`.
    pub fn alter<'a>(
        &self,
        changes: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        author: &Author,
    ) -> Result<(), NotAltered> {
        self.shared.in_force.alter(changes, author)?;
        self.changed.notify_one();
        self.peer.altered();
        Ok(())
    }

    /// Takes what the fleet shares. See `InForce::take_shared`.
    pub fn take_shared(&self, seen: &Alterations, shared: Alterations) -> Option<Vec<Unfitting>> {
        let unfit = self.shared.in_force.take_shared(seen, shared);
        self.changed.notify_one();
        unfit
    }

    /// The config in force, and what of it is not the file's.
    pub fn in_force(&self) -> &InForce {
        &self.shared.in_force
    }

    /// Puts what the file says now in force. See `InForce::reload`.
    pub fn reload(&self, file: Config) -> Result<(), SettingsError> {
        let reloaded = self.shared.in_force.reload(file);
        self.changed.notify_one();
        reloaded
    }

    /// Waits until something else is in force, or another server the primary. For one who waits;
    /// cancel safe.
    pub async fn changed(&self) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = self.shared.in_force.new_primary().heirs.notified() => {}
        }
    }

    /// Operators have ordered the config file to be read again, and may mean the other generation,
    /// too, which they do not see.
    pub fn pass_on_reload(&self) {
        self.peer.pass_on_reload();
    }

    /// Waits until the other generation passes such an order on. Cancel safe.
    pub async fn told_to_reload(&self) {
        self.peer.told_to_reload().await;
    }

    /// Where this process listens.
    pub fn listening(&self) -> Vec<String> {
        self.ports.listeners.iter().map(|listener| listener.local()).collect()
    }

    /// Whether clients and operators find every listener.
    pub fn is_reachable(&self) -> bool {
        self.ports.listeners.iter().all(|listener| listener.is_reachable())
    }

    /// An id for a connection that is no session.
    pub fn next_connection_id(&self) -> SessionId {
        self.ids.next()
    }

    /// Every session of both generations, while two live, each once.
    pub fn sessions(&self) -> Vec<SessionView> {
        drain::explained(&self.shared.in_force, self.shared.sessions.all())
    }

    /// Closes a session, in either generation; false if there is none with this id.
    pub fn kill(&self, id: SessionId) -> bool {
        if self.shared.sessions.registry.other_generation.has(id) {
            self.peer.kill(id);
            return true;
        }
        let handle = self.shared.sessions.registry.find(id);
        handle.inspect(|handle| handle.raise(Signal::Kill)).is_some()
    }

    /// Moves a session to another server of its cluster, by that one's address; done when it is
    /// there.
    ///
    /// # Errors
    ///
    /// Why it stays where it is; None: there is no such session.
    pub async fn move_session(&self, id: SessionId, address: &str) -> Result<(), Option<Stays>> {
        if self.shared.sessions.registry.other_generation.has(id) {
            return Err(Some(Stays::Elsewhere));
        }
        let handle = self.shared.sessions.registry.find(id).ok_or(None)?;
        let moved = self.shared.move_session(&handle, address, Pins::default()).await;
        moved.map_err(Some)
    }

    /// What a session's variables are; its client does not notice that they are looked at.
    ///
    /// # Errors
    ///
    /// Why it was not asked; None: there is no such session.
    pub async fn variables(&self, id: SessionId) -> Result<VariablesView, Option<Unseen>> {
        if self.shared.sessions.registry.other_generation.has(id) {
            return Err(Some(Stays::Elsewhere.into()));
        }
        let handle = self.shared.sessions.registry.find(id).ok_or(None)?;
        self.shared.look(&handle).await.map_err(Some)
    }

    /// Makes a replica of a cluster its primary, with all sessions. It goes on if nobody waits.
    ///
    /// # Errors
    ///
    /// Why nothing has changed.
    pub async fn switch_over(
        &self,
        cluster: &str,
        address: &str,
        force: bool,
        others: Option<Box<dyn Others>>,
    ) -> Result<Switched, NotSwitched> {
        Scene(self.shared.clone()).switch_over(cluster, address, force, others).await
    }

    /// Another proxy is about to make a replica the primary: each session is logged in there, and
    /// goes on meanwhile.
    ///
    /// # Errors
    ///
    /// Why they will not wait.
    pub async fn expect_switchover(
        &self,
        cluster: &str,
        address: &str,
        force: bool,
    ) -> Result<(), NotSwitched> {
        self.elsewhere.announce(Scene(self.shared.clone()), cluster, address, force).await
    }

    /// All of them wait now; how many.
    ///
    /// # Errors
    ///
    /// Why they do not.
    pub async fn wait_for_switchover(&self, cluster: &str) -> Result<usize, NotSwitched> {
        self.elsewhere.wait(cluster).await
    }

    /// It is over, however it has ended; done when they go on.
    pub async fn switchover_is_over(&self, cluster: &str) {
        self.elsewhere.over(cluster).await;
    }

    /// Every cluster.
    pub fn clusters(&self) -> Vec<ClusterView> {
        self.shared.in_force.clusters().views()
    }

    /// How many sessions each cluster has, by its name.
    pub fn sessions_by_cluster(&self) -> HashMap<Arc<str>, usize> {
        self.shared.sessions.registry.by_cluster()
    }

    /// Every server of every cluster, and how many connections sessions have to it.
    pub fn servers(&self) -> Vec<(ServerView, usize)> {
        shown::servers(&self.shared)
    }

    /// The black list.
    pub fn congestion(&self) -> Vec<CongestionView> {
        self.shared.in_force.clusters().congestion_views()
    }

    /// The last statements of all sessions that are split, those of a session the youngest first.
    pub fn traces(&self) -> Vec<TraceView> {
        shown::traces(&self.shared)
    }

    /// The slowest statements that are under way in this process, so many at most.
    pub fn running(&self, most: usize) -> Vec<Running> {
        running::running(&self.shared, most)
    }

    /// Crashes of this proxy and its predecessors, the last one first.
    pub fn crashes(&self) -> Vec<CrashView> {
        self.record.crashes()
    }

    /// What crashes have come to; None where nothing would go on after one.
    pub fn crash_totals(&self) -> Option<CrashTotals> {
        self.record.totals()
    }

    /// Sessions that would not go on after a crash now.
    pub fn unprotected_sessions(&self) -> usize {
        let is_unprotected =
            |handle: &&Arc<Handle>| !matches!(handle.protection(), Shown::Protected);
        self.shared.sessions.registry.all().iter().filter(is_unprotected).count()
    }

    /// Numbers of the moment, of both generations while two live.
    pub fn gauges(&self) -> Gauges {
        self.shared.sessions.registry.gauges()
    }

    /// What was counted here and in predecessors. Never goes back, also while sessions move.
    pub fn totals(&self) -> Totals {
        self.shared.sessions.totals()
    }

    /// The last hour, where there is a console.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How long sessions stood still in restarts, here and in predecessors. Never goes back.
    pub fn all_pauses(&self) -> Pauses {
        self.shared.sessions.counters.all_pauses()
    }

    /// Every session gets 1053 and is closed.
    pub fn disconnect_all(&self) {
        self.shared.sessions.disconnect_all();
    }

    /// To be awaited before the process ends: servers are told of log-ins that will not be
    /// finished.
    pub async fn part_with_servers(&self) {
        self.shared.in_force.clusters().parted().await;
    }

    /// Takes a client that has just connected. Does not block.
    pub fn take(self: &Arc<Self>, client: Stream) {
        let config = self.shared.in_force.load();
        let address = client.peer();
        let peer = address.map_or_else(|| "unix".into(), |peer| peer.to_string());
        let seat = match self.shared.sessions.admit_peer(&config, address) {
            Ok(seat) => seat,
            Err(error) => {
                tracing::info!(client = peer, %error, "client refused");
                self.shared.sessions.counters.refused.fetch_add(1, Ordering::Relaxed);
                let words = error.packet_before_greeting();
                match self.lingering.clone().try_acquire_owned() {
                    Err(_) => close_at_once(&client, &words),
                    Ok(place) => {
                        task::spawn("refusal", async move {
                            close_lingering(client, &words).await;
                            drop(place);
                        });
                    }
                }
                return;
            }
        };
        if let Err(error) = self.ports.tune(&client, &config.proxy) {
            // The peer may be gone already; its log-in will tell.
            tracing::debug!(client = peer, %error, "socket options");
        }
        let handle = self.register(peer.into(), seat);
        Entry::of(self.clone(), handle).begin(|entry| entry.serve(client));
    }

    fn register(&self, client: Box<str>, seat: Seat) -> Arc<Handle> {
        let born = Instant::now();
        let mut handle = Handle::new(SessionId::default(), client, born, &Totals::default());
        *handle.seat() = seat;
        loop {
            handle.id = self.ids.next();
            let shared = Arc::new(handle);
            if self.shared.sessions.registry.insert(&shared) {
                shared.counters.total_client_connections.add(1);
                return shared;
            }
            // Somebody has had this id for 16 million connections.
            handle = Arc::into_inner(shared).expect("a handle that was not inserted has one owner");
        }
    }
}
