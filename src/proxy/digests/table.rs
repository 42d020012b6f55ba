//! A table of a fixed size that is read and added to without a lock; nothing leaves it.
//!
//! An entry stands in the first free place from the one that its digest says. Its cells, which are
//! made when they are first used, are several: threads spread over them, so that those of a busy
//! proxy do not count in the same place.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use super::{Counted, Tally};
use crate::lock::lock;
use crate::metrics::latency::{Latencies, LatencyClock};
use crate::session::stamp::Finished;
use crate::sql::digest::Digest;

/// Places in which a shape is counted; one takes 3 KiB.
const PLACES: usize = 4;

/// Places for each entry that there may be: at most half of them are taken.
const ROOM: usize = 2;

/// The text of what has no entry of its own.
const REST: &str = "(all other statements)";

#[derive(Debug)]
pub(super) struct Table {
    limit: usize,
    taken: AtomicUsize,
    entries: Box<[OnceLock<Box<Entry>>]>,
    rest: Entry,
    /// Of all.
    latencies: [OnceLock<Box<LatencyClock>>; PLACES],
}

/// Statements of one shape.
#[derive(Debug)]
struct Entry {
    digest: Digest,
    text: Box<str>,
    places: [OnceLock<Box<Cells>>; PLACES],
    /// Of predecessors, and of successors that came to nothing.
    before: Mutex<Before>,
}

#[derive(Debug, Default)]
struct Before {
    inherited: Tally,
    credited: Tally,
}

/// Where threads count.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells {
    errors: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    sum_us: AtomicU64,
    max_us: AtomicU64,
    first_us: AtomicU64,
    last_us: AtomicU64,
    latencies: LatencyClock,
}

/// Whose counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of this process and those before it.
    All,
    /// Of this process.
    Own,
}

/// The place of this thread.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    PLACE.with(|place| {
        if place.get() == usize::MAX {
            place.set(NEXT.fetch_add(1, Ordering::Relaxed) % PLACES);
        }
        place.get()
    })
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        let places = if limit == 0 { 0 } else { (limit * ROOM).next_power_of_two() };
        Self {
            limit,
            taken: AtomicUsize::new(0),
            entries: (0..places).map(|_| OnceLock::new()).collect(),
            rest: Entry::new(Digest::REST, REST.into()),
            latencies: Default::default(),
        }
    }

    /// The entry of a digest; `text`: makes it, if there is room.
    #[inline]
    fn entry(&self, digest: Digest, text: Option<&dyn Fn() -> String>) -> &Entry {
        let Some(mask) = self.entries.len().checked_sub(1).filter(|_| digest != Digest::REST)
        else {
            return &self.rest;
        };
        let mut at = digest.0 as usize & mask;
        // There is a free place always.
        loop {
            match self.entries[at].get() {
                Some(entry) if entry.digest == digest => return entry,
                Some(_) => at = (at + 1) & mask,
                None => {
                    let Some(text) = text else { return &self.rest };
                    if !self.make(at, digest, text) {
                        return &self.rest;
                    }
                }
            }
        }
    }

    /// Makes an entry in a free place, unless somebody else does; false where there is no room.
    #[cold]
    fn make(&self, at: usize, digest: Digest, text: &dyn Fn() -> String) -> bool {
        let take = |taken: usize| (taken < self.limit).then_some(taken + 1);
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return false;
        }
        let entry = Box::new(Entry::new(digest, text().into()));
        if self.entries[at].set(entry).is_err() {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        true
    }

    /// Sees to it that a shape has an entry, if there is room.
    #[inline]
    pub(super) fn know(&self, digest: Digest, text: impl Fn() -> String) {
        self.entry(digest, Some(&text));
    }

    #[inline]
    pub(super) fn count(&self, finished: &Finished, now_us: u64) {
        let us = now_us.saturating_sub(finished.stamp.since_us);
        let place = place();
        self.entry(finished.stamp.digest, None).cells(place).count(finished, us, now_us);
        self.latencies[place].get_or_init(Box::default).record(us);
    }

    fn known(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter_map(|entry| entry.get()).map(|entry| &**entry)
    }

    pub(super) fn all(&self, whose: Whose) -> Vec<Counted> {
        let all = self.known().chain([&self.rest]).map(|entry| entry.counted(whose));
        all.filter(|it| it.digest != Digest::REST || it.count() > 0).collect()
    }

    pub(super) fn text(&self, digest: Digest) -> Option<String> {
        Some(self.entry(digest, None).text.to_string())
    }

    pub(super) fn latencies(&self) -> Latencies {
        let mut latencies = Latencies::default();
        let clocks = self.latencies.iter().filter_map(|clock| clock.get());
        clocks.for_each(|clock| clock.add_to(&mut latencies));
        latencies
    }

    pub(super) fn inherit(&self, counted: &[Counted]) {
        let mut rest = Tally::default();
        for Counted { digest, text, tally } in counted {
            let entry = self.entry(*digest, Some(&|| text.clone()));
            match entry.digest == Digest::REST {
                true => rest.add(tally),
                false => lock(&entry.before).inherited = tally.clone(),
            }
        }
        lock(&self.rest.before).inherited = rest;
    }

    pub(super) fn credit(&self, counted: &[Counted]) {
        for Counted { digest, text, tally } in counted {
            let entry = self.entry(*digest, Some(&|| text.clone()));
            lock(&entry.before).credited.add(tally);
        }
    }
}

impl Entry {
    fn new(digest: Digest, text: Box<str>) -> Self {
        Self { digest, text, places: Default::default(), before: Mutex::default() }
    }

    #[inline]
    fn cells(&self, place: usize) -> &Cells {
        self.places[place].get_or_init(Box::default)
    }

    fn counted(&self, whose: Whose) -> Counted {
        let mut tally = Tally::default();
        if whose == Whose::All {
            let before = lock(&self.before);
            tally.add(&before.inherited);
            tally.add(&before.credited);
        }
        let cells = self.places.iter().filter_map(|cells| cells.get());
        cells.for_each(|cells| cells.add_to(&mut tally));
        Counted { digest: self.digest, text: self.text.to_string(), tally }
    }
}

impl Cells {
    /// A statement that took so long, and has just ended.
    #[inline]
    fn count(&self, Finished { stamp, is_error }: &Finished, us: u64, now_us: u64) {
        self.latencies.record(us);
        self.bytes.fetch_add(stamp.bytes(), Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
        if stamp.rows > 0 {
            self.rows.fetch_add(stamp.rows, Ordering::Relaxed);
        }
        if *is_error {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        if us > self.max_us.load(Ordering::Relaxed) {
            self.max_us.fetch_max(us, Ordering::Relaxed);
        }
        if self.first_us.load(Ordering::Relaxed) == 0 {
            self.first_us.store(now_us, Ordering::Relaxed);
        }
        self.last_us.store(now_us, Ordering::Relaxed);
    }

    fn add_to(&self, tally: &mut Tally) {
        let of = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let mut own = Tally {
            latencies: Latencies::default(),
            errors: of(&self.errors),
            bytes: of(&self.bytes),
            rows: of(&self.rows),
            sum_us: of(&self.sum_us),
            max_us: of(&self.max_us),
            first_us: of(&self.first_us),
            last_us: of(&self.last_us),
        };
        self.latencies.add_to(&mut own.latencies);
        tally.add(&own);
    }
}
