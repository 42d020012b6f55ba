//! [`Proxy`]: the rooms of the data plane put together. Holds no protocol and no rule of its own: it
//! leads each session from one room to the next, and answers for all of them.
//!
//! A session's task is here, from its first byte until it ends or is given out. Beside that:
//!
//! - `handover`: as the restart sees it; `inheritance`: sessions that outlive the process that
//!   carried them; `peer`: the data plane of the other generation, while two live.
//! - `suspicion`: a session's task as the journal knows of it.
//! - `shown`, `running`: clusters, servers, statements under way, for people; `switching`: for who
//!   wants another primary.
//! - `deadlines`: silent sessions, the end of a drain.

mod deadlines;
mod handover;
mod inheritance;
mod peer;
mod running;
mod shown;
mod suspicion;
mod switching;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use deadlines::Drain;
use peer::Peer;
pub use running::Running;
use suspicion::Suspected;
use tokio::sync::{Notify, Semaphore, mpsc, watch as signal};

use super::accounts::taught::Taught;
use super::cluster::loops::Trail;
use super::handshake::rsa::OwnKey;
use super::history::{self, History};
use super::in_force::{Author, InForce, NotAltered, Unfitting};
use super::lock::lock;
use super::login::{self, Admitted, LocalLogin, Login, Refusal, told_to_go};
use super::moves::drain::{self, Watched};
use super::moves::look::Unseen;
use super::moves::{self, Orders, Stays, fence, lost};
use super::relay::pause::FrozenAt;
use super::relay::{Ambient, Exit, MOST_LINGERING, Relay, close_at_once, close_lingering, parcel};
use super::sessions::Sessions;
use super::sessions::handle::{Due, Handle, Signal, Stage};
use super::sessions::limits::Seat;
use super::sessions::view::{Gauges, SessionView, VariablesView};
use super::split::{self, Rules};
use super::switchover::elsewhere::Elsewhere;
use crate::config::Config;
use crate::config::alterations::Alterations;
use crate::error::ClientError;
use crate::journal::Journal;
use crate::metrics::Totals;
use crate::metrics::pauses::Pauses;
use crate::net::listen::{Gate, Listener};
use crate::net::stream::{Keepalive, Stream};
use crate::net::tls::settings::{Settings, SettingsError};
use crate::session::OURS;
use crate::session::portable::Pins;
use crate::task::{self, Panicked};
use crate::wire::id::SessionId;

/// Bits of an id that count connections; above them stands the generation.
const SEQUENCE_BITS: u32 = 24;

/// The data plane.
#[derive(Debug)]
pub struct Proxy {
    myself: Weak<Self>,
    in_force: Arc<InForce>,
    sessions: Arc<Sessions>,
    peer: Peer,
    orders: Arc<Orders>,
    own_key: OwnKey,
    trail: Trail,
    generation: u64,
    next_id: AtomicU32,
    listeners: Vec<Arc<Listener>>,
    /// What those were last set to.
    tuned: Mutex<Option<Keepalive>>,
    gates: Gates,
    local_logins: mpsc::UnboundedSender<LocalLogin>,
    /// Where sessions are on record, if they are.
    journal: Option<Arc<Journal>>,
    /// Something else was put in force.
    changed: Notify,
    drain: signal::Sender<Drain>,
    /// Who is refused may take a moment to read why.
    lingering: Arc<Semaphore>,
    history: Arc<History>,
    /// Switchovers that other proxies carry out.
    elsewhere: Elsewhere,
}

/// How a session comes to be relayed.
enum Beginning {
    /// Its server has given its verdict on the log-in.
    LogIn,
    /// It was frozen, in another process or here.
    Thaw {
        /// At this instant, if that is known.
        frozen_at: Option<FrozenAt>,
    },
}

/// Who may come in.
#[derive(Clone, Debug)]
pub struct Gates {
    /// Clients.
    pub clients: Gate,
    /// Operators: admin and HTTP.
    pub control: Gate,
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
        let sessions = Arc::new(Sessions::default());
        let peer = Peer::new(&sessions.registry);
        let proxy = Arc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            in_force: Arc::new(InForce::new(config, tls)),
            sessions,
            peer,
            orders: Arc::default(),
            own_key: OwnKey::default(),
            trail: Trail::new(),
            generation,
            next_id: AtomicU32::new(1),
            listeners,
            tuned: Mutex::default(),
            gates,
            local_logins,
            journal,
            changed: Notify::new(),
            drain: signal::Sender::new(Drain::No),
            lingering: Arc::new(Semaphore::new(MOST_LINGERING)),
            history: Arc::default(),
            elsewhere: Elsewhere::default(),
        });
        let (watched, in_force) = (Arc::downgrade(&proxy.sessions), proxy.in_force.clone());
        task::keep("silent sessions", move || {
            deadlines::silent_sessions(watched.clone(), in_force.clone())
        });
        let watched = Watched {
            in_force: proxy.in_force.clone(),
            orders: proxy.orders.clone(),
            sessions: Arc::downgrade(&proxy.sessions),
        };
        let (fenced, awaited) = (watched.clone(), watched.clone());
        task::keep("servers to be left", move || drain::watch(watched.clone()));
        task::keep("new primaries", move || fence::watch(fenced.clone()));
        task::keep("lost servers", move || lost::watch(awaited.clone()));
        let (watched, drain) = (Arc::downgrade(&proxy.sessions), proxy.drain.subscribe());
        task::keep("drain deadline", move || deadlines::drain(watched.clone(), drain.clone()));
        if proxy.config().console.enabled {
            let (watched, in_force) = (Arc::downgrade(&proxy.sessions), proxy.in_force.clone());
            let kept = proxy.history.clone();
            task::keep("history", move || {
                history::take(watched.clone(), in_force.clone(), kept.clone())
            });
        }
        proxy
    }

    /// The config in force.
    pub fn config(&self) -> Arc<Config> {
        self.in_force.config()
    }

    /// Certificates and keys in force.
    pub fn tls(&self) -> &Settings {
        self.in_force.tls()
    }

    /// Alters parameters, by name; all of them or none. See `InForce::alter`.
    pub fn alter<'a>(
        &self,
        changes: impl Iterator<Item = (&'a str, &'a str)> + Clone,
        author: &Author,
    ) -> Result<(), NotAltered> {
        self.in_force.alter(changes, author)?;
        self.changed.notify_one();
        self.peer.altered();
        Ok(())
    }

    /// Takes what the fleet shares. See `InForce::take_shared`.
    pub fn take_shared(&self, seen: &Alterations, shared: Alterations) -> Option<Vec<Unfitting>> {
        let unfit = self.in_force.take_shared(seen, shared);
        self.changed.notify_one();
        unfit
    }

    /// The config in force, and what of it is not the file's.
    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Puts what the file says now in force. See `InForce::reload`.
    pub fn reload(&self, file: Config) -> Result<(), SettingsError> {
        let reloaded = self.in_force.reload(file);
        self.changed.notify_one();
        reloaded
    }

    /// Waits until something else is in force, or another server the primary. For one who waits;
    /// cancel safe.
    pub async fn changed(&self) {
        tokio::select! {
            () = self.changed.notified() => {}
            () = self.in_force.new_primary().heirs.notified() => {}
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
        self.listeners.iter().map(|listener| listener.local()).collect()
    }

    /// Whether clients and operators find every listener.
    pub fn is_reachable(&self) -> bool {
        self.listeners.iter().all(|listener| listener.is_reachable())
    }

    /// An id for a connection that is no session.
    pub fn next_connection_id(&self) -> SessionId {
        let generation = (self.generation as u32 & 0x7F) << SEQUENCE_BITS;
        let sequence = self.next_id.fetch_add(1, Ordering::Relaxed);
        SessionId(OURS | generation | sequence & ((1 << SEQUENCE_BITS) - 1))
    }

    /// Every session of both generations, while two live, each once.
    pub fn sessions(&self) -> Vec<SessionView> {
        drain::explained(&self.in_force, self.sessions.all())
    }

    /// Closes a session, in either generation; false if there is none with this id.
    pub fn kill(&self, id: SessionId) -> bool {
        if self.sessions.registry.other_generation.has(id) {
            self.peer.kill(id);
            return true;
        }
        let handle = self.sessions.registry.find(id);
        handle.inspect(|handle| handle.raise(Signal::Kill)).is_some()
    }

    /// Moves a session to another server of its cluster, by that one's address; done when it is
    /// there.
    ///
    /// # Errors
    ///
    /// Why it stays where it is; None: there is no such session.
    pub async fn move_session(&self, id: SessionId, address: &str) -> Result<(), Option<Stays>> {
        if self.sessions.registry.other_generation.has(id) {
            return Err(Some(Stays::Elsewhere));
        }
        let handle = self.sessions.registry.find(id).ok_or(None)?;
        let moved = self.moves().move_session(&handle, address, Pins::default()).await;
        moved.map_err(Some)
    }

    /// What a session's variables are; its client does not notice that they are looked at.
    ///
    /// # Errors
    ///
    /// Why it was not asked; None: there is no such session.
    pub async fn variables(&self, id: SessionId) -> Result<VariablesView, Option<Unseen>> {
        if self.sessions.registry.other_generation.has(id) {
            return Err(Some(Stays::Elsewhere.into()));
        }
        let handle = self.sessions.registry.find(id).ok_or(None)?;
        self.moves().look(&handle).await.map_err(Some)
    }

    fn moves(&self) -> moves::Surroundings<'_> {
        let Self { in_force, orders, .. } = self;
        moves::Surroundings { in_force, orders }
    }

    /// Numbers of the moment, of both generations while two live.
    pub fn gauges(&self) -> Gauges {
        self.sessions.registry.gauges()
    }

    /// What was counted here and in predecessors. Never goes back, also while sessions move.
    pub fn totals(&self) -> Totals {
        self.sessions.totals()
    }

    /// The last hour, where there is a console.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How long sessions stood still in restarts, here and in predecessors. Never goes back.
    pub fn all_pauses(&self) -> Pauses {
        self.sessions.counters.all_pauses()
    }

    /// Every session gets 1053 and is closed.
    pub fn disconnect_all(&self) {
        self.sessions.disconnect_all();
    }

    /// To be awaited before the process ends: servers are told of log-ins that will not be
    /// finished.
    pub async fn part_with_servers(&self) {
        self.in_force.clusters().parted().await;
    }

    /// Takes a client that has just connected. Does not block.
    pub fn take(self: &Arc<Self>, client: Stream) {
        let config = self.in_force.load();
        let address = client.peer();
        let peer = address.map_or_else(|| "unix".into(), |peer| peer.to_string());
        let seat = match self.sessions.admit_peer(&config, address) {
            Ok(seat) => seat,
            Err(error) => {
                tracing::info!(client = peer, %error, "client refused");
                self.sessions.counters.refused.fetch_add(1, Ordering::Relaxed);
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
        if let Err(error) = self.tune(&client, client_keepalive(&config)) {
            // The peer may be gone already; its log-in will tell.
            tracing::debug!(client = peer, %error, "socket options");
        }
        let handle = self.register(peer.into(), seat);
        Entry::of(self.clone(), handle).begin(|entry| entry.serve(client));
    }

    /// Clients have their socket options from the listening socket, unless they came before it had
    /// them.
    fn tune(&self, client: &Stream, keepalive: Keepalive) -> std::io::Result<()> {
        let before = lock(&self.tuned).replace(keepalive);
        if before != Some(keepalive) {
            self.listeners.iter().try_for_each(|listener| listener.tune(keepalive))?;
        } else if client.is_tuned() {
            return Ok(());
        }
        client.tune(keepalive)
    }

    fn register(&self, client: Box<str>, seat: Seat) -> Arc<Handle> {
        let born = Instant::now();
        let mut handle = Handle::new(SessionId::default(), client, born, &Totals::default());
        *handle.seat() = seat;
        loop {
            handle.id = self.next_connection_id();
            let shared = Arc::new(handle);
            if self.sessions.registry.insert(&shared) {
                shared.counters.total_client_connections.add(1);
                return shared;
            }
            // Somebody has had this id for 16 million connections.
            handle = Arc::into_inner(shared).expect("a handle that was not inserted has one owner");
        }
    }

    fn logins(&self) -> login::Surroundings<'_> {
        let Self { in_force, sessions, own_key, trail, orders, .. } = self;
        login::Surroundings { in_force, sessions, own_key, trail, orders }
    }

    async fn log_in(&self, client: Stream, handle: &Arc<Handle>) -> Option<Relay> {
        let limit = self.in_force.load().proxy.login_timeout.0;
        let mut login = Login::new(self.logins(), handle, client);
        let admitted = tokio::select! {
            biased;
            words = told_to_go(handle) => Err(words),
            admitted = login.run() => admitted,
            () = tokio::time::sleep(limit) => {
                Err(Refusal::Tell(ClientError::timed_out("log-in")))
            }
        };
        match admitted {
            Ok(Admitted::ByServer(relay)) => Some(*relay),
            Ok(Admitted::Locally { salt, response, user, compression }) => {
                let local = login.into_local(salt, *response, user, compression);
                if let Some(local) = local {
                    // Nobody takes them only while the process ends.
                    let _ = self.local_logins.send(local);
                }
                None
            }
            Err(refusal) => {
                login.refuse(refusal).await;
                None
            }
        }
    }

    /// Relays until the session ends, is frozen, or its user is another one.
    async fn turn(&self, relay: &mut Relay, handle: &Arc<Handle>, rules: Option<&Rules>) -> Exit {
        let accounts = |name: &[u8]| login::destination::account(&self.in_force, handle, name);
        let cluster = handle.facts().cluster.clone();
        let programs = self.in_force.programs(&cluster);
        let lost = |server: &str| self.in_force.is_lost(&cluster, server);
        let digests = self.in_force.digests();
        let ambient = Ambient { accounts: &accounts, programs: &programs, lost: &lost, digests };
        match relay.run(&self.sessions.registry, handle, ambient).await {
            Exit::Changing if !Box::pin(self.logins().change_user(relay, handle)).await => {
                Exit::Ended
            }
            Exit::Moving
                if !Box::pin(self.orders.carry_out(relay, handle, &self.sessions)).await =>
            {
                Exit::Ended
            }
            Exit::Routing if !Box::pin(self.route(relay, handle, rules)).await => Exit::Ended,
            Exit::Resting if !Box::pin(self.rest(relay, handle, rules)).await => Exit::Ended,
            exit => exit,
        }
    }

    /// Turns the session to the link that its next command is for; false if that has ended it.
    async fn route(&self, relay: &mut Relay, handle: &Arc<Handle>, rules: Option<&Rules>) -> bool {
        let Self { in_force, orders, sessions, .. } = self;
        match rules {
            Some(rules) => {
                let split = split::Surroundings { in_force, orders, sessions };
                split.route(relay, handle, rules).await
            }
            // Nobody else asks for it.
            None => false,
        }
    }

    /// Sees to the home of a session that reads elsewhere; false if that has ended it.
    async fn rest(&self, relay: &mut Relay, handle: &Handle, rules: Option<&Rules>) -> bool {
        handle.set_done(Due::Rest);
        match rules {
            Some(rules) => split::rest::see_to_home(relay, handle, rules).await,
            None => true,
        }
    }

    /// Sees to it that the session's reads go to replicas, if its cluster wants that, and that all
    /// else does not.
    fn split(&self, relay: &mut Relay, handle: &Handle) -> Option<Arc<Rules>> {
        relay.session().portable()?;
        let cluster = handle.facts().cluster.clone();
        let Self { in_force, sessions, .. } = self;
        // Who has several links is led to the right one, whatever the config says meanwhile.
        let is_wanted = relay.links().len() > 1
            || Rules::are_wanted(in_force, &cluster)
            || Rules::is_left_behind(in_force, &cluster, &relay.home().server);
        if !is_wanted {
            return None;
        }
        let rules = Arc::new(Rules::of(in_force, sessions, &cluster, handle.id.0.into()));
        relay.set_router(rules.clone());
        handle.facts().trace = Some(rules.trace().clone());
        Some(rules)
    }

    /// What is known of the session's account, if that is good for anything.
    fn taught(&self, relay: &Relay, handle: &Handle) -> Option<Taught> {
        relay.session().portable()?;
        let cluster = handle.facts().cluster.clone();
        self.in_force.clusters().find(&cluster)?.taught(relay.session().user())
    }

    /// Whether the session is somebody else's now.
    fn give_out(&self, mut relay: Relay, handle: &Arc<Handle>) -> bool {
        let frozen_at = FrozenAt::now();
        let taught = self.taught(&relay, handle);
        let slot = relay.give(handle);
        let parts = match relay.into_parts() {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!(id = handle.id.0, %error, "session lost: cannot leave the runtime");
                return false;
            }
        };
        let parcel = match parcel::pack(parts, handle, frozen_at, taught.as_ref(), slot) {
            Ok(parcel) => parcel,
            Err(error) => {
                tracing::error!(id = handle.id.0, %error, "session lost: cannot be packed");
                return false;
            }
        };
        let refused = match handle.parcel_order() {
            Some(order) => order.send(parcel).err(),
            None => Some(parcel),
        };
        // Nobody waits for it any more: it goes on here.
        refused.is_none_or(|parcel| self.go_on(parcel))
    }
}

/// The entry in the registry of a session under way. It goes with it, whatever ends it.
struct Entry {
    proxy: Arc<Proxy>,
    handle: Arc<Handle>,
    is_ours: bool,
}

impl Entry {
    fn of(proxy: Arc<Proxy>, handle: Arc<Handle>) -> Self {
        Self { proxy, handle, is_ours: true }
    }

    /// Starts its task.
    fn begin<F>(self, task: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self.proxy.journal.clone() {
            None => task::spawn("session", task(self)),
            Some(journal) => {
                let (handle, trial) = (self.handle.clone(), None);
                let task = Box::pin(task(self));
                task::spawn("session", Suspected { journal, handle, task, trial })
            }
        };
    }

    async fn serve(self, client: Stream) {
        // Boxed: a log-in is large and short, a session small and long.
        let Some(relay) = Box::pin(self.proxy.log_in(client, &self.handle)).await else { return };
        self.carry(relay.into(), Beginning::LogIn).await;
    }

    /// Relays until the session ends or is given out. Boxed: a future has its arguments twice.
    async fn carry(mut self, mut relay: Box<Relay>, beginning: Beginning) {
        let (proxy, handle) = (&self.proxy, &self.handle);
        if let Beginning::Thaw { frozen_at } = beginning {
            // The pause ends here, at the first poll of the relay: from now on a byte that comes is
            // a byte that moves, and an idle session has none.
            if let Some(pause) = frozen_at.and_then(FrozenAt::pause) {
                proxy.sessions.counters.pauses.record(pause);
            }
        }
        if let Some(journal) = &proxy.journal {
            relay.protect(handle, journal);
            // Before its client hears that it is logged in.
            relay.record_at_once(handle);
        }
        let mut rules = proxy.split(&mut relay, handle);
        loop {
            let turned =
                task::caught("relay", pin!(proxy.turn(&mut relay, handle, rules.as_deref()))).await;
            match turned {
                Ok(Exit::Changing | Exit::Moving | Exit::Routing | Exit::Resting) => {}
                Ok(Exit::Fencing) => {
                    handle.set_done(Due::Fence);
                    rules = rules.or_else(|| proxy.split(&mut relay, handle));
                }
                Ok(Exit::Frozen) => {
                    handle.set_stage(Stage::Moving);
                    // Then it has an entry of its own.
                    self.is_ours = !proxy.give_out(*relay, handle);
                    return;
                }
                Ok(Exit::Ended) => return relay.close(),
                Err(Panicked) => match relay.salvage() {
                    Ok(salvaged) => {
                        handle.set_stage(Stage::Moving);
                        // Then it has an entry of its own.
                        self.is_ours = !proxy.take_up(salvaged);
                        return;
                    }
                    // After a panic, too, both connections are closed, whoever else holds them.
                    Err(relay) => return relay.close(),
                },
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_ours {
            let (cluster, server) = {
                let facts = self.handle.facts();
                (facts.cluster.clone(), facts.server.clone())
            };
            if let Some(cluster) = self.proxy.in_force.clusters().find(&cluster) {
                cluster.count(&server, self.handle.statements());
            }
            self.proxy.sessions.registry.end(&self.handle);
        }
    }
}

fn client_keepalive(config: &Config) -> Keepalive {
    let proxy = &config.proxy;
    Keepalive {
        idle: proxy.client_tcp_keepidle.0,
        interval: proxy.client_tcp_keepintvl.0,
        count: proxy.client_tcp_keepcnt,
        user_timeout: proxy.client_tcp_user_timeout.0,
    }
}
