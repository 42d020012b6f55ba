//! Counting what clients feel, cheaply for thousands of them, in bounded memory.
//!
//! Answers go to one of a few shards (a histogram a class, inside and outside restart windows);
//! troubles, which are rare, go to one journal. Each loss is counted exactly once, here.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::mix::Class;
use super::timeline::{Slice, Timeline, slice_width};
use crate::metrics::pauses::{PauseClock, Pauses};

/// Enough that two threads seldom meet.
const SHARDS: usize = 4;
/// Events that are kept with their time and text; more are only counted.
const MOST_EVENTS: usize = 500;
/// Different error texts, reasons and the like that are kept apart; the rest is "other".
const MOST_KINDS: usize = 64;
/// Longer latencies count as this, in microseconds.
const LONGEST: u64 = 120_000_000;

/// A connection of the load, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct ClientId(pub(super) u32);

/// Whether a session was in a transaction when something happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Transaction {
    /// None was open.
    None,
    /// One was open; the server rolls it back.
    Open,
    /// COMMIT was sent and not answered: nobody knows until somebody looks.
    Committing,
}

/// What kind of trouble an [`Event`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// A session was lost.
    Lost,
    /// A connect did not come to a session.
    ConnectFailed,
    /// A statement got an error.
    Failed,
    /// An answer was not the right one.
    Wrong,
}

/// One trouble, as the report lists it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    /// Milliseconds since the start.
    pub(super) at_ms: u64,
    pub(super) kind: Kind,
    pub(super) class: Class,
    pub(super) client: ClientId,
    pub(super) transaction: Transaction,
    pub(super) text: String,
}

/// The longest time that one connection waited for service, re-opening included.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Gap {
    pub(super) micros: u64,
    /// Milliseconds since the start, when the wait began.
    pub(super) at_ms: u64,
    pub(super) class: Class,
    pub(super) client: ClientId,
}

/// Latencies of one class, inside restart windows and outside them.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    pub(super) inside: Histogram<u64>,
    pub(super) outside: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let empty = || {
            Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are constants that fit")
        };
        Self { inside: empty(), outside: empty() }
    }
}

impl Latencies {
    /// Adds those of another part of the program.
    pub(super) fn add(&mut self, other: &Self) {
        self.inside.add(&other.inside).expect("all histograms have the same bounds");
        self.outside.add(&other.outside).expect("all histograms have the same bounds");
    }
}

/// What is rare: everything that went wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    /// Sessions lost, by class, transaction and reason.
    pub(super) lost: BTreeMap<(Class, Transaction, String), u64>,
    /// Connects that failed, by class and reason.
    pub(super) connects_failed: BTreeMap<(Class, String), u64>,
    /// Connects that this machine could not make.
    pub(super) connects_local: BTreeMap<String, u64>,
    /// Statements failed, by class, error number and text.
    pub(super) failed: BTreeMap<(Class, u16, String), u64>,
    /// Answers wrong, by class.
    pub(super) wrong: BTreeMap<Class, u64>,
    /// Deadlocks and the like, which the client simply tries again.
    pub(super) conflicts: u64,
    /// The first [`MOST_EVENTS`] troubles.
    pub(super) events: Vec<Event>,
    pub(super) longest_gap: Option<Gap>,
    /// The same on the time axis, until it is absorbed.
    slices: BTreeMap<usize, Slice>,
}

/// A shard: what a share of the clients was answered.
#[derive(Default)]
struct Shard {
    latencies: [Latencies; Class::ALL.len()],
    connects: Latencies,
    recent: BTreeMap<usize, Slice>,
    /// The longest that each client waited in the restart window that is open, in microseconds.
    waits: HashMap<u32, u64>,
}

/// What the live line shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) answers: u64,
    pub(super) connects: u64,
    pub(super) lost: u64,
    pub(super) connects_failed: u64,
    pub(super) failed: u64,
    pub(super) wrong: u64,
}

/// Everything that is counted.
pub(super) struct Tally {
    start: Instant,
    slice: Duration,
    /// Microseconds since the start at which the last window ended; MAX while one is open.
    window_end: AtomicU64,
    /// Microseconds since the start at which all clients were there; MAX until then. What is asked
    /// before is not measured: a crowd at the door is not what a proxy feels like.
    ready: AtomicU64,
    /// When they were told to end; MAX until then. A crowd at the exit is not measured either.
    over: AtomicU64,
    open: AtomicI64,
    shards: [Mutex<Shard>; SHARDS],
    journal: Mutex<Journal>,
    timeline: Mutex<Timeline>,
}

/// All latencies, merged.
pub(super) struct Merged {
    pub(super) classes: [Latencies; Class::ALL.len()],
    pub(super) connects: Latencies,
}

impl Merged {
    /// Those of all classes but the one that asks for large results.
    pub(super) fn statements(&self) -> Latencies {
        let mut statements = Latencies::default();
        for class in Class::ALL.into_iter().filter(|class| *class != Class::Result) {
            statements.add(&self.classes[class.index()]);
        }
        statements
    }
}

impl Tally {
    /// Starts the clock of a run that is planned to last this long.
    pub(super) fn start(duration: Duration) -> Self {
        Self {
            start: Instant::now(),
            slice: slice_width(duration),
            window_end: AtomicU64::new(0),
            ready: AtomicU64::new(u64::MAX),
            over: AtomicU64::new(u64::MAX),
            open: AtomicI64::new(0),
            shards: Default::default(),
            journal: Mutex::default(),
            timeline: Mutex::new(Timeline::new(duration)),
        }
    }

    /// Time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Sessions that are open now.
    pub(super) fn open_sessions(&self) -> i64 {
        self.open.load(Ordering::Relaxed)
    }

    /// All clients are there: from now on latencies are measured.
    pub(super) fn ready(&self) {
        self.ready.store(micros(self.elapsed()), Ordering::Relaxed);
    }

    /// The clients are told to end: from now on latencies are not measured any more.
    pub(super) fn over(&self) {
        self.over.store(micros(self.elapsed()), Ordering::Relaxed);
    }

    /// How long was measured; zero if that did not begin or did not end.
    pub(super) fn measured(&self) -> Duration {
        let (ready, over) = (&self.ready, &self.over);
        let (ready, over) = (ready.load(Ordering::Relaxed), over.load(Ordering::Relaxed));
        if ready == u64::MAX || over == u64::MAX {
            return Duration::ZERO;
        }
        Duration::from_micros(over.saturating_sub(ready))
    }

    fn is_measured(&self, since: Instant) -> bool {
        let since = micros(since.duration_since(self.start));
        let (ready, over) = (&self.ready, &self.over);
        ready.load(Ordering::Relaxed) <= since && since < over.load(Ordering::Relaxed)
    }

    /// A restart begins: what overlaps the time until [`Tally::window_closed`] is inside.
    pub(super) fn window_opened(&self) {
        self.window_end.store(u64::MAX, Ordering::Relaxed);
    }

    /// The restart is over. Answers with the longest wait of each client that was served in it.
    pub(super) fn window_closed(&self) -> Pauses {
        self.window_end.store(micros(self.elapsed()), Ordering::Relaxed);
        let clock = PauseClock::default();
        for shard in &self.shards {
            let waits = std::mem::take(&mut held(shard).waits);
            waits.into_values().for_each(|us| clock.record(Duration::from_micros(us)));
        }
        clock.pauses()
    }

    /// Whether a restart is under way.
    pub(super) fn in_window(&self) -> bool {
        self.window_end.load(Ordering::Relaxed) == u64::MAX
    }

    fn overlaps_window(&self, since: Instant) -> bool {
        self.window_end.load(Ordering::Relaxed) > micros(since.duration_since(self.start))
    }

    fn slice_of(&self, at: Instant) -> usize {
        (at.duration_since(self.start).as_micros() / self.slice.as_micros()) as usize
    }

    /// A statement that was sent at `since` got its answer now.
    pub(super) fn answered(&self, class: Class, client: ClientId, since: Instant) {
        if !self.is_measured(since) {
            return;
        }
        let latency = since.elapsed();
        let inside = self.overlaps_window(since);
        let mut shard = held(&self.shards[client.0 as usize % SHARDS]);
        let latencies = &mut shard.latencies[class.index()];
        let histogram = if inside { &mut latencies.inside } else { &mut latencies.outside };
        histogram.saturating_record(micros(latency).min(LONGEST));
        // Large results are a matter of bandwidth; among point selects they would be all of p99.
        if class != Class::Result {
            shard.recent.entry(self.slice_of(since)).or_default().answered(latency);
        }
    }

    /// A connect that began at `since` came to a session now.
    pub(super) fn connected(&self, client: ClientId, since: Instant) {
        self.open.fetch_add(1, Ordering::Relaxed);
        if !self.is_measured(since) {
            return;
        }
        let latency = micros(since.elapsed()).min(LONGEST);
        let inside = self.overlaps_window(since);
        let mut shard = held(&self.shards[client.0 as usize % SHARDS]);
        let latencies = &mut shard.connects;
        let histogram = if inside { &mut latencies.inside } else { &mut latencies.outside };
        histogram.saturating_record(latency);
        shard.recent.entry(self.slice_of(since)).or_default().connects += 1;
    }

    /// A session ended, for whatever reason.
    pub(super) fn disconnected(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// A client that wanted service since `since` has got it now.
    pub(super) fn served(&self, class: Class, client: ClientId, since: Instant) {
        let micros = micros(since.elapsed());
        if self.in_window() && self.is_measured(since) {
            let waits = &mut held(&self.shards[client.0 as usize % SHARDS]).waits;
            let longest = waits.entry(client.0).or_default();
            *longest = micros.max(*longest);
        }
        // Below a millisecond nothing is a gap, and no lock is worth it.
        if micros < 1000 || !self.is_measured(since) {
            return;
        }
        let at_ms = since.duration_since(self.start).as_millis() as u64;
        let longest = &mut held(&self.journal).longest_gap;
        if longest.as_ref().is_none_or(|gap| gap.micros < micros) {
            *longest = Some(Gap { micros, at_ms, class, client });
        }
    }

    /// A session is gone.
    pub(super) fn lost(&self, who: (Class, ClientId), transaction: Transaction, reason: &str) {
        let mut journal = held(&self.journal);
        bump(&mut journal.lost, (who.0, transaction, reason.into()), |key| key.2 = other());
        self.now(&mut journal).lost += 1;
        self.note(&mut journal, Kind::Lost, who, transaction, reason);
    }

    /// A connect came to nothing.
    pub(super) fn connect_failed(&self, who: (Class, ClientId), reason: &str) {
        let mut journal = held(&self.journal);
        bump(&mut journal.connects_failed, (who.0, reason.into()), |key| key.1 = other());
        self.now(&mut journal).refused += 1;
        self.note(&mut journal, Kind::ConnectFailed, who, Transaction::None, reason);
    }

    /// This machine could not even try.
    pub(super) fn connect_local(&self, reason: &str) {
        bump(&mut held(&self.journal).connects_local, reason.into(), |key| *key = other());
    }

    /// A statement got an error.
    pub(super) fn failed(
        &self,
        who: (Class, ClientId),
        transaction: Transaction,
        code: u16,
        text: &str,
    ) {
        let mut journal = held(&self.journal);
        bump(&mut journal.failed, (who.0, code, text.into()), |key| key.2 = other());
        self.now(&mut journal).failed += 1;
        self.note(&mut journal, Kind::Failed, who, transaction, &format!("error {code} {text}"));
    }

    /// An answer was not the right one.
    pub(super) fn wrong(&self, who: (Class, ClientId), transaction: Transaction, text: &str) {
        let mut journal = held(&self.journal);
        *journal.wrong.entry(who.0).or_default() += 1;
        self.now(&mut journal).wrong += 1;
        self.note(&mut journal, Kind::Wrong, who, transaction, text);
    }

    /// A deadlock or a lock wait that took too long.
    pub(super) fn conflict(&self) {
        held(&self.journal).conflicts += 1;
    }

    fn now<'a>(&self, journal: &'a mut Journal) -> &'a mut Slice {
        journal.slices.entry(self.slice_of(Instant::now())).or_default()
    }

    fn note(
        &self,
        journal: &mut Journal,
        kind: Kind,
        (class, client): (Class, ClientId),
        transaction: Transaction,
        text: &str,
    ) {
        if journal.events.len() < MOST_EVENTS {
            let at_ms = self.elapsed().as_millis() as u64;
            let text = text.to_owned();
            journal.events.push(Event { at_ms, kind, class, client, transaction, text });
        }
    }

    /// Moves what the shards have seen to the timeline, and says what there is so far.
    pub(super) fn absorb(&self) -> Totals {
        let mut totals = Totals::default();
        let mut timeline = held(&self.timeline);
        for shard in &self.shards {
            let mut shard = held(shard);
            for latencies in &shard.latencies {
                totals.answers += latencies.inside.len() + latencies.outside.len();
            }
            totals.connects += shard.connects.inside.len() + shard.connects.outside.len();
            let recent = std::mem::take(&mut shard.recent);
            recent.iter().for_each(|(number, slice)| timeline.add(*number, slice));
        }
        let mut journal = held(&self.journal);
        let slices = std::mem::take(&mut journal.slices);
        slices.iter().for_each(|(number, slice)| timeline.add(*number, slice));
        totals.lost = journal.lost.values().sum();
        totals.connects_failed = journal.connects_failed.values().sum();
        totals.failed = journal.failed.values().sum();
        totals.wrong = journal.wrong.values().sum();
        totals
    }

    /// The timeline as of the last [`Tally::absorb`].
    pub(super) fn timeline(&self) -> Timeline {
        held(&self.timeline).clone()
    }

    /// The 99th percentile of what was sent within the last whole second, for the live line.
    pub(super) fn recent_p99(&self) -> Option<Duration> {
        let timeline = held(&self.timeline);
        let together = (1000 / self.slice.as_millis().max(1)).max(1) as usize;
        timeline.last(together).quantile(0.99)
    }

    /// A copy of the journal.
    pub(super) fn journal(&self) -> Journal {
        held(&self.journal).clone()
    }

    /// All latencies.
    pub(super) fn merged(&self) -> Merged {
        let mut merged = Merged { classes: Default::default(), connects: Latencies::default() };
        for shard in &self.shards {
            let shard = held(shard);
            merged.connects.add(&shard.connects);
            for (sum, part) in merged.classes.iter_mut().zip(&shard.latencies) {
                sum.add(part);
            }
        }
        merged
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn other() -> String {
    "other".into()
}

/// Counts `key`, or what `rest` makes of it when there are too many different ones already.
fn bump<K: Ord>(counts: &mut BTreeMap<K, u64>, mut key: K, rest: impl FnOnce(&mut K)) {
    if counts.len() >= MOST_KINDS && !counts.contains_key(&key) {
        rest(&mut key);
    }
    *counts.entry(key).or_default() += 1;
}

/// Counting goes on even if a thread died while it counted: numbers have no halves.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: (Class, ClientId) = (Class::Select, ClientId(7));

    #[test]
    fn a_statement_that_overlaps_a_restart_counts_as_inside() {
        let tally = Tally::start(Duration::from_secs(1));
        tally.answered(WHO.0, WHO.1, Instant::now());
        assert_eq!(tally.absorb().answers, 0, "nobody is ready yet");
        tally.ready();
        tally.answered(WHO.0, WHO.1, Instant::now());
        let before = Instant::now();
        tally.window_opened();
        assert!(tally.in_window());
        tally.answered(WHO.0, WHO.1, before);
        std::thread::sleep(Duration::from_millis(1));
        tally.window_closed();
        tally.answered(WHO.0, WHO.1, before);
        std::thread::sleep(Duration::from_millis(1));
        tally.answered(WHO.0, WHO.1, Instant::now());
        let merged = tally.merged();
        let latencies = &merged.classes[WHO.0.index()];
        assert_eq!((latencies.inside.len(), latencies.outside.len()), (2, 2));
    }

    #[test]
    fn each_client_has_one_longest_wait_in_a_restart() {
        let tally = Tally::start(Duration::from_secs(1));
        tally.ready();
        let since = Instant::now();
        tally.served(Class::Select, ClientId(1), since);
        tally.window_opened();
        for client in [1, 2, 2, 2] {
            tally.served(Class::Select, ClientId(client), since);
        }
        let waits = tally.window_closed();
        assert_eq!(waits.count(), 2);
        assert!(waits.max_us() <= micros(since.elapsed()));
        tally.served(Class::Select, ClientId(3), since);
        assert_eq!(tally.window_closed().count(), 0);
    }

    #[test]
    fn each_trouble_is_counted_where_it_belongs() {
        let tally = Tally::start(Duration::from_secs(1));
        tally.lost(WHO, Transaction::Open, "reset");
        tally.connect_failed(WHO, "refused");
        tally.failed(WHO, Transaction::None, 1146, "no such table");
        tally.wrong(WHO, Transaction::None, "expected 1, got 2");
        let totals = tally.absorb();
        assert_eq!((totals.lost, totals.connects_failed), (1, 1));
        assert_eq!((totals.failed, totals.wrong), (1, 1));
        let slice = &tally.timeline().coarse(usize::MAX)[0];
        assert_eq!((slice.lost, slice.refused, slice.failed, slice.wrong), (1, 1, 1, 1));
        assert_eq!(tally.journal().events.len(), 4);
    }

    #[test]
    fn different_reasons_are_bounded() {
        let tally = Tally::start(Duration::from_secs(1));
        (0..1000).for_each(|n| tally.lost(WHO, Transaction::None, &format!("reason {n}")));
        let journal = tally.journal();
        assert_eq!(journal.lost.len(), MOST_KINDS + 1);
        assert_eq!(journal.lost.values().sum::<u64>(), 1000);
        assert_eq!(journal.events.len(), MOST_EVENTS);
    }
}
