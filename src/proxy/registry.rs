//! Who is here: one [`Handle`] a session, found by the id its client was shown.
//!
//! A session's task writes its handle, everybody else reads it or raises a [`Signal`]. Sums over
//! the registry never go back: a session that ends is added to the ended ones and removed in one
//! step.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use tokio::sync::{oneshot, watch};

use super::elsewhere::Elsewhere;
use super::limits::{Limits, Seat};
use super::view::{ACTIVE, Gauges, SessionView};
use crate::metrics::{SessionCounters, Totals};
use crate::net::stream::Stream;
use crate::net::tls::keys::{Suite, Version};
use crate::restart::{Census, Class, Parcel, Replica};
use crate::wire::compressed::Compression;

const SHARDS: usize = 16;

/// What a session is asked to do. Raised by others, obeyed by its task at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Signal {
    /// Nothing.
    None,
    /// Stop where it stands and give itself out as a parcel.
    Freeze,
    /// Tell the client 4031 and close.
    Inactive,
    /// Tell the client 1053 and close.
    Shutdown,
    /// Close.
    Kill,
}

/// How far a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Before the server's OK.
    LoggingIn,
    /// Between two commands, outside a transaction.
    Idle,
    /// Between two commands, in a transaction or perhaps in one.
    IdleInTransaction,
    /// A command is under way.
    Active,
    /// A command is under way in a transaction.
    ActiveInTransaction,
    /// It is frozen and on its way to another process, or back.
    Moving,
    /// It has been told to go, and is on its way out.
    Closing,
}

impl Stage {
    fn from_u8(value: u8) -> Self {
        [
            Self::LoggingIn,
            Self::Idle,
            Self::IdleInTransaction,
            Self::Active,
            Self::ActiveInTransaction,
            Self::Moving,
        ]
        .into_iter()
        .find(|stage| *stage as u8 == value)
        .unwrap_or(Self::Closing)
    }

    fn name(self) -> &'static str {
        match self {
            Self::LoggingIn => "MCS_INIT",
            Self::Idle | Self::IdleInTransaction => "MCS_KEEP_ALIVE",
            Self::Active | Self::ActiveInTransaction => ACTIVE,
            Self::Moving => "MCS_MOVING",
            Self::Closing => "MCS_CLOSED",
        }
    }

    /// Whether a transaction is, or may be, open.
    pub fn is_in_transaction(self) -> bool {
        matches!(self, Self::IdleInTransaction | Self::ActiveInTransaction)
    }

    fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::ActiveInTransaction)
    }
}

/// What seldom changes in a session.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The client's address; as a PROXY header has it, if there was one.
    pub client: Box<str>,
    /// The user as the client gave it.
    pub user: Box<str>,
    /// The default database.
    pub database: Box<str>,
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The server's address; empty until one is chosen.
    pub server: Arc<str>,
    /// The session's id on that server.
    pub server_thread: u32,
    /// How the client's leg is compressed, and the server's.
    pub compression: [Option<Compression>; 2],
    /// What the client's connection speaks; None without TLS.
    pub client_tls: Option<Spoken>,
    /// What the server's connection speaks.
    pub server_tls: Option<Spoken>,
}

/// Version and cipher of a TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken(Version, Suite);

impl Spoken {
    /// What a connection speaks; None without TLS.
    pub fn on(stream: &Stream) -> Option<Self> {
        stream.tls().map(|tls| Self(tls.version(), tls.suite()))
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// A session as others see it.
#[derive(Debug)]
pub struct Handle {
    /// The id the client was shown.
    pub id: u32,
    /// When the client connected.
    pub born: Instant,
    /// Written by the session's task.
    pub counters: SessionCounters,
    stage: AtomicU8,
    signal: AtomicU8,
    waker: AtomicWaker,
    idle_seconds: AtomicU32,
    bytes_when_last_seen: AtomicU64,
    facts: Mutex<Facts>,
    seat: Mutex<Seat>,
    parcel: Mutex<Option<oneshot::Sender<Parcel>>>,
    is_copy_wanted: AtomicBool,
    copy: Mutex<Option<oneshot::Sender<Replica>>>,
}

impl Handle {
    /// A session that was born just now, or moved here with what it has counted.
    pub fn new(id: u32, client: Box<str>, born: Instant, counted: &Totals) -> Self {
        Self {
            id,
            born,
            counters: SessionCounters::resumed(counted),
            stage: AtomicU8::new(Stage::LoggingIn as u8),
            signal: AtomicU8::new(Signal::None as u8),
            waker: AtomicWaker::new(),
            idle_seconds: AtomicU32::new(0),
            bytes_when_last_seen: AtomicU64::new(0),
            facts: Mutex::new(Facts { client, ..Facts::default() }),
            seat: Mutex::default(),
            parcel: Mutex::default(),
            is_copy_wanted: AtomicBool::new(false),
            copy: Mutex::default(),
        }
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        Stage::from_u8(self.stage.load(Ordering::Relaxed))
    }

    /// Written by the session's task.
    #[inline]
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// What seldom changes.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        lock(&self.facts)
    }

    /// Where it is counted.
    pub fn seat(&self) -> MutexGuard<'_, Seat> {
        lock(&self.seat)
    }

    /// Asks the session for something and wakes it. A weaker signal does not replace a stronger
    /// one.
    pub fn raise(&self, signal: Signal) {
        self.signal.fetch_max(signal as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// What the session is asked for. Does not clear it.
    #[inline]
    pub fn signal(&self) -> Signal {
        match self.signal.load(Ordering::Acquire) {
            0 => Signal::None,
            1 => Signal::Freeze,
            2 => Signal::Inactive,
            3 => Signal::Shutdown,
            _ => Signal::Kill,
        }
    }

    /// From now on a signal wakes this task.
    pub fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Where the parcel goes once the session is frozen; dropped when the session ends before.
    pub fn order_parcel(&self) -> oneshot::Receiver<Parcel> {
        let (sender, receiver) = oneshot::channel();
        *lock(&self.parcel) = Some(sender);
        receiver
    }

    /// Who waits for the parcel.
    pub fn parcel_order(&self) -> Option<oneshot::Sender<Parcel>> {
        lock(&self.parcel).take()
    }

    /// Where a copy of the session comes, which goes on; dropped when there is none to be had.
    pub fn order_copy(&self) -> oneshot::Receiver<Replica> {
        let (sender, receiver) = oneshot::channel();
        *lock(&self.copy) = Some(sender);
        self.is_copy_wanted.store(true, Ordering::Release);
        self.waker.wake();
        receiver
    }

    /// Who waits for a copy.
    #[inline]
    pub fn copy_order(&self) -> Option<oneshot::Sender<Replica>> {
        if !self.is_copy_wanted.load(Ordering::Acquire) {
            return None;
        }
        self.is_copy_wanted.store(false, Ordering::Release);
        lock(&self.copy).take()
    }

    /// How long no byte has moved; to the second.
    pub fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds.load(Ordering::Relaxed).into())
    }

    /// Goes on from an idle time that was reached elsewhere.
    pub fn resume_idle(&self, idle: Duration) {
        let seconds = u32::try_from(idle.as_secs()).unwrap_or(u32::MAX);
        self.idle_seconds.store(seconds, Ordering::Relaxed);
        self.bytes_when_last_seen.store(self.bytes(), Ordering::Relaxed);
    }

    /// Called each second: has a byte moved since the last time?
    pub fn tick(&self) -> Duration {
        let bytes = self.bytes();
        let idle = match self.bytes_when_last_seen.swap(bytes, Ordering::Relaxed) == bytes {
            true => self.idle_seconds.load(Ordering::Relaxed).saturating_add(1),
            false => 0,
        };
        self.idle_seconds.store(idle, Ordering::Relaxed);
        Duration::from_secs(idle.into())
    }

    fn bytes(&self) -> u64 {
        self.counters.request_bytes.value() + self.counters.response_bytes.value()
    }

    /// The row that people see.
    pub fn view(&self) -> SessionView {
        let facts = self.facts().clone();
        let stage = self.stage();
        let tls = |spoken: Option<Spoken>| spoken.map(|it| it.to_string()).unwrap_or_default();
        SessionView {
            id: self.id,
            user: facts.user.into(),
            client: facts.client.into(),
            database: facts.database.into(),
            cluster: facts.cluster.to_string(),
            server: facts.server.to_string(),
            server_thread: facts.server_thread,
            client_compression: shown(facts.compression[0]),
            server_compression: shown(facts.compression[1]),
            commands: self.counters.client_requests.value(),
            transactions: self.counters.client_transactions.value(),
            state: stage.name().to_owned(),
            in_transaction: stage.is_in_transaction(),
            age: self.born.elapsed(),
            idle: self.idle(),
            pid: std::process::id(),
            client_tls: tls(facts.client_tls),
            server_tls: tls(facts.server_tls),
        }
    }
}

fn shown(compression: Option<Compression>) -> String {
    compression.map(|how| how.to_string()).unwrap_or_default()
}

#[derive(Debug, Default)]
struct Shard {
    sessions: HashMap<u32, Arc<Handle>>,
    ended: Totals,
}

/// Our ids by server and the id there.
type Threads = HashMap<(Arc<str>, u32), u32>;

/// All sessions of this process.
#[derive(Debug)]
pub struct Registry {
    shards: [Mutex<Shard>; SHARDS],
    /// For those that want to be shown the client's id.
    threads: [Mutex<Threads>; SHARDS],
    hasher: RandomState,
    /// Those of the other generation.
    pub elsewhere: Elsewhere,
    /// Who may still come.
    pub limits: Limits,
    count: watch::Sender<usize>,
    named: watch::Sender<u64>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            threads: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            elsewhere: Elsewhere::default(),
            limits: Limits::default(),
            count: watch::Sender::new(0),
            named: watch::Sender::new(0),
        }
    }
}

impl Registry {
    /// How many sessions there are.
    pub fn len(&self) -> usize {
        *self.count.borrow()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are, and every change of it.
    pub fn population(&self) -> watch::Receiver<usize> {
        self.count.subscribe()
    }

    /// Changes when a session's id on its server becomes known.
    pub fn named(&self) -> watch::Receiver<u64> {
        self.named.subscribe()
    }

    /// How often such an id became known.
    pub fn named_count(&self) -> u64 {
        *self.named.borrow()
    }

    /// Adds a session unless its id is taken.
    #[must_use]
    pub fn insert(&self, handle: &Arc<Handle>) -> bool {
        let mut shard = lock(self.shard(handle.id));
        if shard.sessions.contains_key(&handle.id) {
            return false;
        }
        shard.sessions.insert(handle.id, handle.clone());
        drop(shard);
        self.count.send_modify(|count| *count += 1);
        true
    }

    /// Puts a session in the place of what it was before it was frozen. At no time is it missing.
    pub fn supersede(&self, before: &Handle, handle: &Arc<Handle>) {
        assert_eq!(before.id, handle.id, "a session keeps its id");
        let present = lock(self.shard(handle.id)).sessions.insert(handle.id, handle.clone());
        if present.is_none() {
            self.count.send_modify(|count| *count += 1);
        }
        self.limits.leave(std::mem::take(&mut *before.seat()));
    }

    /// Removes a session that has ended; what it counted stays in the sums.
    pub fn end(&self, handle: &Arc<Handle>) {
        self.remove(handle, |shard| shard.ended.add(&handle.counters.totals()));
    }

    /// Removes a session that another process goes on with, and counts on for.
    pub fn release(&self, handle: &Arc<Handle>) {
        self.remove(handle, |_| {});
    }

    fn remove(&self, handle: &Arc<Handle>, keep: impl FnOnce(&mut Shard)) {
        self.limits.leave(std::mem::take(&mut *handle.seat()));
        let mut shard = lock(self.shard(handle.id));
        // A session that was thawed has a new handle under the same id.
        if !shard.sessions.get(&handle.id).is_some_and(|present| Arc::ptr_eq(present, handle)) {
            return;
        }
        shard.sessions.remove(&handle.id);
        keep(&mut shard);
        drop(shard);
        let facts = handle.facts();
        lock(self.thread_shard(&facts.server, facts.server_thread))
            .remove(&(facts.server.clone(), facts.server_thread));
        drop(facts);
        self.count.send_modify(|count| *count -= 1);
    }

    /// The session's server and its id there are known now. The other generation is to be told.
    pub fn set_server(&self, handle: &Handle, server: &Arc<str>, thread: u32) {
        self.keep_server(handle, server, thread);
        self.named.send_modify(|named| *named += 1);
    }

    /// The same for a session that the other generation has given, and so knows.
    pub fn keep_server(&self, handle: &Handle, server: &Arc<str>, thread: u32) {
        let mut facts = handle.facts();
        facts.server = server.clone();
        facts.server_thread = thread;
        drop(facts);
        lock(self.thread_shard(server, thread)).insert((server.clone(), thread), handle.id);
    }

    /// A session by the id its client was shown.
    pub fn find(&self, id: u32) -> Option<Arc<Handle>> {
        lock(self.shard(id)).sessions.get(&id).cloned()
    }

    /// The id a client was shown, by its server and the id there; in either generation.
    pub fn connection(&self, server: &Arc<str>, thread: u32) -> Option<u32> {
        let key = (server.clone(), thread);
        let here = || lock(self.thread_shard(server, thread)).get(&key).copied();
        either_side(here, || self.elsewhere.connection(server, thread))
    }

    /// The id on this server of a session, by the id its client was shown; in either generation.
    pub fn server_thread(&self, id: u32, server: &Arc<str>) -> Option<u32> {
        let here = || {
            let handle = self.find(id)?;
            let facts = handle.facts();
            (facts.server == *server).then_some(facts.server_thread)
        };
        either_side(here, || self.elsewhere.server_thread(id, server))
    }

    /// How many sessions of this kind the other generation has. One that is here as well, on its
    /// way, is counted here.
    pub fn count_elsewhere(&self, is_meant: impl Fn(&SessionView) -> bool) -> usize {
        let mut count = 0;
        self.elsewhere.for_each(|view| {
            if is_meant(view) && !lock(self.shard(view.id)).sessions.contains_key(&view.id) {
                count += 1;
            }
        });
        count
    }

    /// Every session, in no order.
    pub fn all(&self) -> Vec<Arc<Handle>> {
        let shards = self.shards.iter();
        shards
            .flat_map(|shard| lock(shard).sessions.values().cloned().collect::<Vec<_>>())
            .collect()
    }

    /// Up to `n` sessions of a class that are not asked for anything, and none of `except`.
    pub fn of_class(&self, class: Class, n: usize, except: &HashSet<u32>) -> Vec<Arc<Handle>> {
        let fits = |handle: &Arc<Handle>| {
            let stage = handle.stage();
            let of_class = match class {
                Class::Idle => stage == Stage::Idle,
                Class::InTransaction => stage == Stage::IdleInTransaction,
                Class::Any => !matches!(stage, Stage::LoggingIn | Stage::Moving | Stage::Closing),
            };
            of_class && handle.signal() == Signal::None && !except.contains(&handle.id)
        };
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            let wanted = n - found.len();
            found.extend(
                shard.sessions.values().filter(|handle| fits(handle)).take(wanted).cloned(),
            );
        }
        found
    }

    /// What all sessions together have counted, ended ones included.
    pub fn totals(&self) -> Totals {
        self.totals_of(|_| true)
    }

    /// The same without those on their way to the other generation, which count on there.
    pub fn settled_totals(&self) -> Totals {
        self.totals_of(|handle| handle.stage() != Stage::Moving)
    }

    fn totals_of(&self, counts: impl Fn(&Handle) -> bool) -> Totals {
        let mut sum = Totals::default();
        for shard in &self.shards {
            let shard = lock(shard);
            sum.add(&shard.ended);
            let sessions = shard.sessions.values().filter(|handle| counts(handle));
            sessions.for_each(|handle| sum.add(&handle.counters.totals()));
        }
        sum
    }

    /// Numbers of the moment, of both generations while two live; nobody is counted twice.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = Gauges::default();
        let mut counted = HashSet::new();
        // In this order nobody is missed who goes there, or comes from there, meanwhile.
        self.count_own(&mut counted, &mut gauges);
        self.elsewhere.for_each(|view| {
            if counted.insert(view.id) {
                gauges.current_client_connections += 1;
                gauges.current_active_client_connections += u64::from(view.is_active());
                gauges.current_client_transactions += u64::from(view.in_transaction);
                gauges.current_server_connections += u64::from(view.server_thread != 0);
            }
        });
        self.count_own(&mut counted, &mut gauges);
        gauges
    }

    fn count_own(&self, counted: &mut HashSet<u32>, gauges: &mut Gauges) {
        for handle in self.all() {
            if counted.insert(handle.id) {
                let stage = handle.stage();
                gauges.current_client_connections += 1;
                gauges.current_active_client_connections += u64::from(stage.is_active());
                gauges.current_client_transactions += u64::from(stage.is_in_transaction());
                gauges.current_server_connections += u64::from(handle.facts().server_thread != 0);
            }
        }
    }

    /// Numbers for SHOW RESTART.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for handle in self.all() {
            let stage = handle.stage();
            census.sessions += 1;
            census.in_transaction += u64::from(stage.is_in_transaction());
            census.logging_in += u64::from(stage == Stage::LoggingIn);
        }
        census
    }

    /// Waits until there is no session.
    pub async fn emptied(&self) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`.
        let _ = count.wait_for(|count| *count == 0).await;
    }

    fn shard(&self, id: u32) -> &Mutex<Shard> {
        &self.shards[id as usize % SHARDS]
    }

    fn thread_shard(
        &self,
        server: &Arc<str>,
        thread: u32,
    ) -> &Mutex<HashMap<(Arc<str>, u32), u32>> {
        &self.threads[self.hasher.hash_one((server, thread)) as usize % SHARDS]
    }
}

/// A session that arrives is put here before it is taken from there: who has found it on neither
/// side has looked in between, and finds it here now.
fn either_side<T>(here: impl Fn() -> Option<T>, there: impl Fn() -> Option<T>) -> Option<T> {
    here().or_else(there).or_else(here)
}

/// A panic while a lock was held leaves plain data behind: going on is better than going down.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
