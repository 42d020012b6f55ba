//! The data plane: takes clients, keeps their sessions, and gives them out in a restart.
//!
//! The only place where session, route and net meet. One task a session; the task owns the client's
//! socket and the server's, so a session can stop at one instant.

pub mod admission;
mod altered;
pub mod backend;
mod change_user;
mod compression;
mod courtesy;
mod elsewhere;
mod exchange;
mod farewell;
pub mod frontend;
pub mod handle;
mod health;
mod impersonation;
mod lane;
pub mod leg;
pub mod limits;
mod lobby;
pub mod login;
mod notes;
mod numbering;
pub mod opening;
pub mod parcel;
mod pause;
mod plane;
pub mod registry;
mod rsa;
#[cfg(test)]
mod tests;
mod trail;
pub mod view;
mod watch;
mod whole;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, watch as signal};

use crate::config::Config;
use crate::error::ClientError;
use crate::metrics::Totals;
use crate::metrics::pauses::{PauseClock, Pauses};
use crate::net::listen::{Gate, Listener};
use crate::net::stream::{Keepalive, Stream};
use crate::net::tls::settings::Settings;
use crate::session::OURS;
use crate::task::{self, Panicked};
pub use altered::NotAltered;
use altered::Origins;
use backend::Cluster;
use farewell::{MOST_PARTINGS, part_at_once, part_with};
use frontend::{Exit, Relay};
use handle::{Handle, Signal, Stage};
use limits::Seat;
use login::{Admitted, LocalLogin, Login, Refusal};
use notes::Outbox;
use pause::FrozenAt;
use registry::Registry;
use rsa::OwnKey;
use trail::Trail;
use view::{Gauges, SessionView};

/// Bits of an id that count connections; above them stands the generation.
const SEQUENCE_BITS: u32 = 24;

/// The data plane.
#[derive(Debug)]
pub struct Proxy {
    myself: Weak<Self>,
    config: Arc<ArcSwap<Config>>,
    cluster: ArcSwap<Cluster>,
    tls: Arc<Settings>,
    own_key: OwnKey,
    trail: Trail,
    registry: Registry,
    outbox: Outbox,
    generation: u64,
    next_id: AtomicU32,
    listeners: Vec<Arc<Listener>>,
    /// What those were last set to.
    tuned: Mutex<Option<Keepalive>>,
    gates: Gates,
    local_logins: mpsc::UnboundedSender<LocalLogin>,
    drain: signal::Sender<Drain>,
    /// Also held while the config in force is replaced.
    origins: Mutex<Origins>,
    refused: AtomicU64,
    /// Who is refused may take a moment to read why.
    partings: Arc<Semaphore>,
    disconnected: AtomicU64,
    /// Of sessions that arrived in this process, or came back to it.
    pauses: PauseClock,
    inherited: Mutex<Counted>,
    shown: Mutex<Shown>,
}

/// What people were told of the counters.
#[derive(Debug, Default)]
struct Shown {
    counted: Counted,
    /// Nobody is accepted here any more. Who still asks must not hear of more than the successor
    /// counts on from, or what it tells would go back.
    is_final: bool,
}

/// What one generation hands to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Counted {
    #[serde(flatten)]
    totals: Totals,
    pauses: Pauses,
}

impl Counted {
    fn add(&mut self, other: &Self) {
        self.totals.add(&other.totals);
        self.pauses.add(&other.pauses);
    }
}

/// Whether sessions are asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// No.
    No,
    /// At this instant, with 1053; None: when they end by themselves.
    Until(Option<Instant>),
}

/// How a session comes to be relayed.
enum Beginning {
    /// Its server has given its verdict on the log-in.
    LogIn,
    /// It was frozen, in another process or here, at this instant if that is known.
    Thaw(Option<FrozenAt>),
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
}

impl Proxy {
    /// A data plane without sessions. Its background task ends with the runtime.
    pub fn new(foundation: Foundation) -> Arc<Self> {
        let Foundation { config, tls, generation, listeners, gates, local_logins } = foundation;
        let cluster = Cluster::new(config.load().main_cluster(), None);
        let origins = Mutex::new(Origins::of(config.load_full()));
        let registry = Registry::default();
        let outbox = Outbox::new(&registry);
        let proxy = Arc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            config,
            cluster: ArcSwap::from_pointee(cluster),
            tls,
            own_key: OwnKey::default(),
            trail: Trail::new(),
            registry,
            outbox,
            generation,
            next_id: AtomicU32::new(1),
            listeners,
            tuned: Mutex::default(),
            gates,
            local_logins,
            drain: signal::Sender::new(Drain::No),
            origins,
            refused: AtomicU64::new(0),
            partings: Arc::new(Semaphore::new(MOST_PARTINGS)),
            disconnected: AtomicU64::new(0),
            pauses: PauseClock::default(),
            inherited: Mutex::default(),
            shown: Mutex::default(),
        });
        let watched = proxy.myself.clone();
        task::keep("silent sessions", move || watch::silent_sessions(watched.clone()));
        let watched = proxy.myself.clone();
        task::keep("drain deadline", move || watch::drain_deadline(watched.clone()));
        proxy
    }

    /// The config in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Certificates and keys in force.
    pub fn tls(&self) -> &Settings {
        &self.tls
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
    pub fn next_connection_id(&self) -> u32 {
        let generation = (self.generation as u32 & 0x7F) << SEQUENCE_BITS;
        let sequence = self.next_id.fetch_add(1, Ordering::Relaxed);
        OURS | generation | sequence & ((1 << SEQUENCE_BITS) - 1)
    }

    /// Every session of both generations, while two live, each once.
    pub fn sessions(&self) -> Vec<SessionView> {
        let row = |handle: &Arc<Handle>| (handle.id, handle.view());
        // In this order nobody is missed who goes there, or comes from there, meanwhile.
        let mut rows: BTreeMap<u32, SessionView> = self.registry.all().iter().map(row).collect();
        rows.extend(self.registry.elsewhere.all().into_iter().map(|view| (view.id, view)));
        let own = self.registry.all();
        rows.extend(own.iter().filter(|handle| handle.stage() != Stage::Moving).map(row));
        rows.into_values().collect()
    }

    /// Closes a session, in either generation; false if there is none with this id.
    pub fn kill(&self, id: u32) -> bool {
        if self.registry.elsewhere.has(id) {
            self.outbox.kill(id);
            return true;
        }
        let handle = self.registry.find(id);
        handle.inspect(|handle| handle.raise(Signal::Kill)).is_some()
    }

    /// Numbers of the moment, of both generations while two live.
    pub fn gauges(&self) -> Gauges {
        self.registry.gauges()
    }

    /// What was counted here and in predecessors. Never goes back, also while sessions move.
    pub fn totals(&self) -> Totals {
        let mut shown = self.shown();
        if !shown.is_final {
            let counted = self.counted(self.registry.totals());
            shown.counted.totals.raise_to(&counted.totals);
        }
        shown.counted.totals
    }

    /// How long sessions stood still in restarts, here and in predecessors. Never goes back.
    pub fn all_pauses(&self) -> Pauses {
        let mut shown = self.shown();
        if !shown.is_final {
            shown.counted.pauses.raise_to(&self.counted(Totals::default()).pauses);
        }
        shown.counted.pauses.clone()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        lock(&self.shown)
    }

    /// What these sessions counted, and all that no session counts, here and in predecessors.
    fn counted(&self, sessions: Totals) -> Counted {
        let mut counted = self.counted_here(sessions);
        counted.add(&lock(&self.inherited));
        counted
    }

    /// The same of this process alone.
    fn counted_here(&self, sessions: Totals) -> Counted {
        let mut totals = sessions;
        let refused = self.refused.load(Ordering::Relaxed);
        totals.refused_client_connections += refused;
        totals.total_client_connections += refused;
        Counted { totals, pauses: self.pauses.pauses() }
    }

    fn cluster(&self) -> Arc<Cluster> {
        self.cluster.load_full()
    }

    /// To be awaited before the process ends: servers are told of log-ins that will not be
    /// finished.
    pub async fn part_with_servers(&self) {
        self.cluster().parted().await;
    }

    /// Takes a client that has just connected. Does not block.
    pub fn take(self: &Arc<Self>, client: Stream) {
        let config = self.config.load();
        let address = client.peer();
        let peer = address.map_or_else(|| "unix".into(), |peer| peer.to_string());
        let seat = match self.admit_peer(&config, address) {
            Ok(seat) => seat,
            Err(error) => {
                tracing::info!(client = peer, %error, "client refused");
                self.refused.fetch_add(1, Ordering::Relaxed);
                let words = error.packet_before_greeting();
                match self.partings.clone().try_acquire_owned() {
                    Err(_) => part_at_once(&client, &words),
                    Ok(parting) => {
                        task::spawn("refusal", async move {
                            part_with(client, &words).await;
                            drop(parting);
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
        let entry = Entry::of(self.clone(), handle);
        task::spawn("session", entry.serve(client));
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
        let mut handle = Handle::new(0, client, born, &Totals::default());
        *handle.seat() = seat;
        loop {
            handle.id = self.next_connection_id();
            let shared = Arc::new(handle);
            if self.registry.insert(&shared) {
                shared.counters.total_client_connections.add(1);
                return shared;
            }
            // Somebody has had this id for 16 million connections.
            handle = Arc::into_inner(shared).expect("a handle that was not inserted has one owner");
        }
    }

    async fn log_in(&self, client: Stream, handle: &Arc<Handle>) -> Option<Relay> {
        let limit = self.config.load().proxy.login_timeout.0;
        let mut login = Login::new(self, handle, client);
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
    async fn turn(&self, relay: &mut Relay, handle: &Arc<Handle>) -> Exit {
        match relay.run(&self.registry, handle).await {
            Exit::Changing if !Box::pin(self.change_user(relay, handle)).await => Exit::Ended,
            exit => exit,
        }
    }

    /// Whether the session is somebody else's now.
    fn give_out(&self, relay: Relay, handle: &Arc<Handle>) -> bool {
        let frozen_at = FrozenAt::now();
        let parts = match relay.into_parts() {
            Ok(parts) => parts,
            Err(error) => {
                tracing::error!(id = handle.id, %error, "session lost: cannot leave the runtime");
                return false;
            }
        };
        let parcel = match parcel::pack(parts, handle, frozen_at) {
            Ok(parcel) => parcel,
            Err(error) => {
                tracing::error!(id = handle.id, %error, "session lost: cannot be packed");
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

    async fn serve(self, client: Stream) {
        // Boxed: a log-in is large and short, a session small and long.
        let Some(relay) = Box::pin(self.proxy.log_in(client, &self.handle)).await else { return };
        self.carry(relay, Beginning::LogIn).await;
    }

    /// Relays until the session ends or is given out.
    async fn carry(mut self, mut relay: Relay, beginning: Beginning) {
        let (proxy, handle) = (&self.proxy, &self.handle);
        if let Beginning::Thaw(frozen_at) = beginning {
            // The pause ends here, at the first poll of the relay: from now on a byte that comes is
            // a byte that moves, and an idle session has none.
            if let Some(pause) = frozen_at.and_then(FrozenAt::pause) {
                proxy.pauses.record(pause);
            }
        }
        loop {
            let turned = task::caught("relay", pin!(proxy.turn(&mut relay, handle))).await;
            match turned {
                Ok(Exit::Changing) => {}
                Ok(Exit::Frozen) => {
                    handle.set_stage(Stage::Moving);
                    // Then it has an entry of its own.
                    self.is_ours = !proxy.give_out(relay, handle);
                    return;
                }
                // After a panic, too, both connections are closed, whoever else holds them.
                Ok(Exit::Ended) | Err(Panicked) => return relay.close(),
            }
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_ours {
            self.proxy.registry.end(&self.handle);
        }
    }
}

/// A panic while a lock was held leaves plain data behind: going on is better than going down.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the session is asked to end.
async fn told_to_go(handle: &Handle) -> Refusal {
    std::future::poll_fn(|cx| {
        handle.listen(cx.waker());
        match handle.signal() {
            Signal::None | Signal::Freeze => std::task::Poll::Pending,
            _ => std::task::Poll::Ready(Refusal::Tell(ClientError::shutdown())),
        }
    })
    .await
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
