//! One session as others see it, and what they may ask of it.
//!
//! Invariant: the session's task writes its handle, everybody else reads it or raises a [`Signal`].

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use atomic_waker::AtomicWaker;
use tokio::sync::oneshot;

use super::limits::Seat;
use super::protection::Shown;
use super::stay::{Cost, Mark, Stay};
use super::trace::Trace;
use super::view::{SessionState, SessionView};
use super::vigil::Second;
use super::wait_timeout::WaitTimeout;
use crate::lock::lock;
use crate::metrics::{SessionCounters, Totals};
use crate::net::stream::Stream;
use crate::net::tls::keys::{Suite, Version};
use crate::restart::{Parcel, Replica};
use crate::session::portable::{LoggedInAs, Pins};
use crate::session::stamp::Stamp;
use crate::session::state::{Shown as Variable, Whose};
use crate::sql::digest::Digest;
use crate::wire::compressed::Compression;
use crate::wire::id::{SessionId, ThreadId};

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

impl Signal {
    /// By their numbers.
    const ALL: [Self; 5] = [Self::None, Self::Freeze, Self::Inactive, Self::Shutdown, Self::Kill];
}

/// What a session is asked to do as soon as it can, which may be never. A bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Due {
    /// What it is ordered, between two commands.
    Move = 1,
    /// To see where its commands go from now on: its cluster has another primary, or splits them.
    Fence = 2,
    /// To give a copy of itself.
    Copy = 4,
    /// To see to its home, which hears nothing as it reads elsewhere.
    Rest = 8,
    /// To wait no more for servers that do not answer.
    Lost = 16,
}

/// How far a session is.
///
/// ```text
///   LoggingIn ─► Idle ◄──► Active                               ┌─► another process
///                 ▲  ▲      ▲  ▲      any of these four ─► Moving ─► as it was
///                 ▼   ╲    ╱   ▼                        ─► Closing
///   IdleInTransaction ◄──► ActiveInTransaction
/// ```
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
    /// By their numbers.
    const ALL: [Self; 7] = [
        Self::LoggingIn,
        Self::Idle,
        Self::IdleInTransaction,
        Self::Active,
        Self::ActiveInTransaction,
        Self::Moving,
        Self::Closing,
    ];

    /// As people see it.
    fn shown(self) -> SessionState {
        match self {
            Self::LoggingIn => SessionState::LoggingIn,
            Self::Idle | Self::IdleInTransaction => SessionState::Idle,
            Self::Active | Self::ActiveInTransaction => SessionState::Active,
            Self::Moving => SessionState::Moving,
            Self::Closing => SessionState::Closing,
        }
    }

    /// Whether a transaction is, or may be, open.
    pub fn is_in_transaction(self) -> bool {
        matches!(self, Self::IdleInTransaction | Self::ActiveInTransaction)
    }

    /// Whether a command is under way.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Active | Self::ActiveInTransaction)
    }
}

/// What seldom changes in a session.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The client's address; as a PROXY header has it, if there was one.
    pub client: Box<str>,
    /// The user as the server knows it.
    pub user: Arc<str>,
    /// The default database.
    pub database: Box<str>,
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The tenant's name; empty if there is none.
    pub tenant: Arc<str>,
    /// The server's address; empty until one is chosen.
    pub server: Arc<str>,
    /// The session's id on that server.
    pub server_thread: ThreadId,
    /// Who has its commands, if that is not the home.
    pub reader: Option<Box<Reader>>,
    /// The servers of its connections beside the home's.
    pub further: Box<[Arc<str>]>,
    /// How the client's leg is compressed, and the server's.
    pub compression: [Option<Compression>; 2],
    /// What the client's connection speaks; None without TLS.
    pub client_tls: Option<Spoken>,
    /// What the server's connection speaks.
    pub server_tls: Option<Spoken>,
    /// The user of the system that the client is; None if it is not of this machine.
    pub client_uid: Option<u32>,
    /// How the client has logged in, if the session is one that can move.
    pub login: Option<LoggedInAs>,
    /// Where its statements went, if they are split.
    pub trace: Option<Arc<Trace>>,
    /// Whether it would go on after a crash.
    pub protection: Shown,
    /// What was last pulled of it.
    pub seen: Option<Arc<Seen>>,
    /// Why it has stayed when it was last to move.
    pub stay: Option<Arc<Stay>>,
}

/// What a session's variables were.
#[derive(Debug)]
pub struct Seen {
    /// When.
    pub at: SystemTime,
    /// Those that it had, or had changed.
    pub changed: Vec<Variable>,
}

/// No more than this is kept of what was seen of a session.
const MOST_SEEN: usize = 4096;

impl Seen {
    /// Of all variables; None if it is more than is kept.
    pub fn of(variables: &[Variable], at: SystemTime) -> Option<Arc<Self>> {
        let changed = variables.iter().filter(|shown| shown.whose != Whose::Server);
        let changed: Vec<_> = changed.cloned().collect();
        let value = |shown: &Variable| shown.value.as_ref().map_or(0, String::len);
        let sizes = changed.iter().map(|it| size_of_val(it) + it.name.len() + value(it));
        (sizes.sum::<usize>() <= MOST_SEEN).then(|| Arc::new(Self { at, changed }))
    }
}

impl Facts {
    /// The tenant as it is counted; None if there is none.
    pub fn full_tenant(&self) -> Option<String> {
        let Self { tenant, cluster, .. } = self;
        (!tenant.is_empty()).then(|| format!("{tenant}#{cluster}"))
    }
}

/// Another connection than the home's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The server's address.
    pub server: Arc<str>,
    /// The session's id on that server.
    pub thread: ThreadId,
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
    pub id: SessionId,
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
    /// What it is asked to do as soon as it can, a bit each.
    due: AtomicU8,
    pins: AtomicU32,
    /// How often its state may have changed.
    version: AtomicU32,
    /// Of a session that has moved.
    silence: WaitTimeout,
    /// Reads and writes before the session came to its server.
    statements_before: [AtomicU64; 2],
    copy: Mutex<Option<oneshot::Sender<Replica>>>,
    /// How many connections to servers it has.
    links: AtomicU32,
    /// Its slot in the journal, from 1 on; 0: none.
    slot: AtomicU32,
    /// How many commands it had had when it was to be killed; 0: never.
    killed_at: AtomicU64,
    /// The digest of the statement under way, and since when; 0: none.
    running: [AtomicU64; 2],
}

/// The sockets of a session with one server: its client's, and that one's.
pub const FEWEST_SOCKETS: u64 = 2;

impl Handle {
    /// A session that was born just now, or moved here with what it has counted.
    pub fn new(id: SessionId, client: Box<str>, born: Instant, counted: &Totals) -> Self {
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
            due: AtomicU8::new(0),
            pins: AtomicU32::new(0),
            version: AtomicU32::new(0),
            silence: WaitTimeout::default(),
            statements_before: Default::default(),
            copy: Mutex::default(),
            // Its log-in makes one.
            links: AtomicU32::new(1),
            slot: AtomicU32::new(0),
            killed_at: AtomicU64::new(0),
            running: Default::default(),
        }
    }

    /// How many sockets it has.
    pub fn sockets(&self) -> u64 {
        1 + u64::from(self.links.load(Ordering::Relaxed))
    }

    /// Written by the session's task.
    pub fn set_links(&self, links: usize) {
        self.links.store(u32::try_from(links).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Where it is on record.
    #[inline]
    pub fn slot(&self) -> Option<u32> {
        self.slot.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Whether it would go on after a crash now.
    pub fn protection(&self) -> Shown {
        let shown = self.facts().protection.clone();
        shown.now(self.id.0, self.slot())
    }

    /// Written by the session's task.
    pub fn set_slot(&self, slot: Option<u32>) {
        self.slot.store(slot.map_or(0, |slot| slot + 1), Ordering::Relaxed);
    }

    /// Somebody has a server end what it does, or all of it.
    pub fn note_killed(&self) {
        self.killed_at.store(self.counters.client_requests.value(), Ordering::Relaxed);
    }

    /// Whether that was about its last command.
    pub fn is_killed(&self) -> bool {
        let killed_at = self.killed_at.load(Ordering::Relaxed);
        killed_at != 0 && killed_at == self.counters.client_requests.value()
    }

    /// How far it is.
    pub fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.stage.load(Ordering::Relaxed))]
    }

    /// Written by the session's task.
    #[inline]
    pub fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// Written by the session's task.
    #[inline]
    pub fn set_running(&self, stamp: Option<Stamp>) {
        let [digest, since] = &self.running;
        let since_us = stamp.map_or(0, |stamp| stamp.since_us);
        if since.load(Ordering::Relaxed) != since_us {
            digest.store(stamp.map_or(0, |stamp| stamp.digest.0), Ordering::Relaxed);
            since.store(since_us, Ordering::Release);
        }
    }

    /// The statement under way, if it is counted, and since when on the host's clock. (The digest
    /// may be the next one's already.)
    pub fn running(&self) -> Option<(Digest, u64)> {
        let [digest, since] = &self.running;
        let since_us = since.load(Ordering::Acquire);
        (since_us != 0).then(|| (Digest(digest.load(Ordering::Relaxed)), since_us))
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
        Signal::ALL[usize::from(self.signal.load(Ordering::Acquire))]
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

    /// Asks the session for something, and wakes it.
    pub fn set_due(&self, due: Due) {
        self.due.fetch_or(due as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// It is done, or wanted no more.
    pub fn set_done(&self, due: Due) {
        self.due.fetch_and(!(due as u8), Ordering::AcqRel);
    }

    /// Whether it is asked for that.
    #[inline]
    pub fn is_due(&self, due: Due) -> bool {
        self.due.load(Ordering::Acquire) & due as u8 != 0
    }

    /// Whether it is asked for anything.
    #[inline]
    pub fn is_anything_due(&self) -> bool {
        self.due.load(Ordering::Acquire) != 0
    }

    /// Statements that read and that write since the session is on its server, there.
    pub fn statements(&self) -> (u64, u64) {
        let (reads, writes) = self.all_statements();
        let [read, written] = &self.statements_before;
        let since =
            |all: u64, before: &AtomicU64| all.saturating_sub(before.load(Ordering::Relaxed));
        (since(reads, read), since(writes, written))
    }

    /// The session is on another server from now on.
    pub fn count_statements_anew(&self) {
        let (reads, writes) = self.all_statements();
        let [read, written] = &self.statements_before;
        read.store(reads, Ordering::Relaxed);
        written.store(writes, Ordering::Relaxed);
    }

    fn all_statements(&self) -> (u64, u64) {
        let counters = &self.counters;
        let writes = [
            &counters.client_insert_requests,
            &counters.client_update_requests,
            &counters.client_delete_requests,
            &counters.client_ddl_requests,
        ];
        let writes = writes.into_iter().map(|counter| counter.value()).sum();
        let elsewhere = self.facts().trace.as_ref().map_or(0, |trace| trace.elsewhere());
        (counters.client_select_requests.value().saturating_sub(elsewhere), writes)
    }

    /// What keeps the session where it is.
    pub fn pins(&self) -> Pins {
        Pins::from_bits(self.pins.load(Ordering::Relaxed))
    }

    /// Written by the session's task.
    pub fn set_pins(&self, pins: Pins) {
        self.pins.store(pins.bits(), Ordering::Relaxed);
    }

    /// Written by the session's task: how often its state may have changed.
    pub fn set_version(&self, version: u32) {
        self.version.store(version, Ordering::Relaxed);
    }

    fn mark(&self) -> Mark {
        let pins = self.pins().without(Pins::DIAGNOSTICS);
        Mark { version: self.version.load(Ordering::Relaxed), pins }
    }

    /// It has stayed for this; whether that is news.
    pub fn note_stay(&self, why: String, cost: Cost) -> bool {
        let (mark, now) = (self.mark(), Instant::now());
        let mut facts = self.facts();
        let before = facts.stay.as_deref().filter(|stay| stay.is_of(mark));
        let is_news = before.is_none_or(|before| before.why != why);
        let stay = Stay::again(before, why, cost, mark, now);
        facts.stay = Some(Arc::new(stay));
        is_news
    }

    /// Why it has stayed when it was last to move, if it is still as it was then.
    pub fn stay(&self) -> Option<Arc<Stay>> {
        let stay = self.facts().stay.clone();
        stay.filter(|stay| stay.is_of(self.mark()))
    }

    /// Where a copy of the session comes, which goes on; dropped when there is none to be had.
    pub fn order_copy(&self) -> oneshot::Receiver<Replica> {
        let (sender, receiver) = oneshot::channel();
        *lock(&self.copy) = Some(sender);
        self.set_due(Due::Copy);
        receiver
    }

    /// Who waits for a copy.
    pub fn copy_order(&self) -> Option<oneshot::Sender<Replica>> {
        if !self.is_due(Due::Copy) {
            return None;
        }
        self.set_done(Due::Copy);
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

    /// It has moved, and brought this `wait_timeout` along. Its new server counts anew from here.
    pub fn set_silence(&self, seconds: Option<u32>) {
        self.silence.set(seconds, self.version.load(Ordering::Relaxed));
    }

    /// Called each second: has its client been silent for so long that its server would have ended
    /// it, had it not moved? What the client has set since has its server count anew.
    pub fn is_overdue(&self, idle: Duration) -> bool {
        let limit = self.silence.of(self.version.load(Ordering::Relaxed));
        limit.is_some_and(|limit| idle >= limit)
            && matches!(self.stage(), Stage::Idle | Stage::IdleInTransaction)
    }

    /// Called each second: has its home to be seen to?
    pub fn is_home_due(&self, idle: Duration) -> bool {
        if self.links.load(Ordering::Relaxed) < 2 {
            return false;
        }
        let (trace, reads_elsewhere) = {
            let facts = self.facts();
            (facts.trace.clone(), facts.reader.is_some())
        };
        let second = Second { idle, bytes: self.bytes(), reads_elsewhere };
        trace.is_some_and(|trace| trace.vigil().tick(second))
    }

    fn bytes(&self) -> u64 {
        self.counters.request_bytes.value() + self.counters.response_bytes.value()
    }

    /// The row that people see.
    pub fn view(&self) -> SessionView {
        let facts = self.facts().clone();
        let stage = self.stage();
        SessionView {
            id: self.id,
            user: facts.user.to_string(),
            client: facts.client.into(),
            database: facts.database.into(),
            cluster: facts.cluster.to_string(),
            tenant: facts.tenant.to_string(),
            server: facts.server.to_string(),
            server_thread: facts.server_thread,
            client_compression: shown(facts.compression[0]),
            server_compression: shown(facts.compression[1]),
            commands: self.counters.client_requests.value(),
            transactions: self.counters.client_transactions.value(),
            state: stage.shown(),
            in_transaction: stage.is_in_transaction(),
            age: self.born.elapsed(),
            idle: self.idle(),
            pid: own_pid(),
            client_tls: shown(facts.client_tls),
            server_tls: shown(facts.server_tls),
            pins: self.pins().to_string(),
            stays: self.stay().map(|stay| stay.why.clone()).unwrap_or_default(),
            is_followed: facts.login.is_some(),
            readers: facts.further.iter().map(ToString::to_string).collect(),
            crash_protected: self.protection().to_string(),
        }
    }
}

/// Asked of the kernel once: a row is made of every session whenever the other generation is told.
/// Nobody asks before this process is the one that serves, so no copy of it made by a fork does.
fn own_pid() -> u32 {
    static PID: LazyLock<u32> = LazyLock::new(std::process::id);
    *PID
}

fn shown(what: Option<impl fmt::Display>) -> String {
    what.map(|what| what.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_tables() {
        for (number, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, number, "{stage:?}");
        }
        for (number, signal) in Signal::ALL.into_iter().enumerate() {
            assert_eq!(signal as usize, number, "{signal:?}");
        }
    }

    #[test]
    fn why_a_session_stays_is_news_once() {
        let handle = Handle::new(SessionId(1), "c".into(), Instant::now(), &Totals::default());
        let why = || handle.stay().map(|stay| stay.why.clone());
        assert_eq!(why(), None);
        for (note, is_news) in [("it is shy", true), ("it is shy", false), ("it is busy", true)] {
            assert_eq!(handle.note_stay(note.into(), Cost::Held), is_news, "{note}");
            assert_eq!(why().as_deref(), Some(note));
            assert_eq!(handle.view().stays, note);
        }
        // What comes and goes with a statement is no change.
        handle.set_pins(Pins::DIAGNOSTICS);
        assert!(!handle.note_stay("it is busy".into(), Cost::Held));
        handle.set_version(1);
        assert_eq!(why(), None);
        assert!(handle.note_stay("it is busy".into(), Cost::Held), "of what it is now");
    }

    #[test]
    fn who_has_moved_is_ended_as_its_server_would_have() {
        let handle = Handle::new(SessionId(1), "c".into(), Instant::now(), &Totals::default());
        let second = Duration::from_secs(1);
        handle.set_stage(Stage::Idle);
        assert!(!handle.is_overdue(second * 1000), "its server sees to it");
        handle.set_version(3);
        handle.set_silence(Some(8));
        for (seconds, stage, is_overdue) in [
            (7, Stage::Idle, false),
            (8, Stage::Idle, true),
            (8, Stage::IdleInTransaction, true),
            (8, Stage::Active, false),
        ] {
            handle.set_stage(stage);
            assert_eq!(handle.is_overdue(second * seconds), is_overdue, "{seconds} {stage:?}");
        }
        handle.set_stage(Stage::Idle);
        handle.set_version(4);
        assert!(!handle.is_overdue(second * 8));
    }

    #[test]
    fn a_weaker_signal_does_not_replace_a_stronger_one() {
        let handle = Handle::new(SessionId(1), "c".into(), Instant::now(), &Totals::default());
        for (raised, heard) in [
            (Signal::Freeze, Signal::Freeze),
            (Signal::Shutdown, Signal::Shutdown),
            (Signal::Inactive, Signal::Shutdown),
            (Signal::Kill, Signal::Kill),
            (Signal::Freeze, Signal::Kill),
        ] {
            handle.raise(raised);
            assert_eq!(handle.signal(), heard);
        }
    }
}
