//! Statements by their shapes: how often, how long, how many errors, bytes and rows.
//!
//! ```text
//!   a command ─► digest ─► its entry, made by who comes first     (session::stamp, sql::digest)
//!   its answer has ended ─► the entry's cells of this worker
//! ```
//! Nobody waits for anybody: an entry is found without a lock, and counted in cells that few
//! workers share. Invariant: a table is never fuller than its limit; what finds no room in it is
//! counted together, and said to be.

mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use super::clock::monotonic_us;
use crate::metrics::latency::Latencies;
use crate::session::stamp::{Finished, Shapes};
use crate::sql::digest::{self, Digest};
use crate::sql::{Extent, Modes};
use table::Table;

/// What was counted of statements of one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Of those whose answer has ended.
    pub latencies: Latencies,
    /// Of them, those whose answer was an error.
    pub errors: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Rows of answers, and rows that were changed.
    pub rows: u64,
    /// All together, in microseconds.
    pub sum_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
    /// In microseconds of the host's clock that only goes forward; 0: never.
    first_us: u64,
    last_us: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        for (sum, more) in [
            (&mut self.errors, other.errors),
            (&mut self.bytes, other.bytes),
            (&mut self.rows, other.rows),
            (&mut self.sum_us, other.sum_us),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.max_us = self.max_us.max(other.max_us);
        self.last_us = self.last_us.max(other.last_us);
        self.first_us = match (self.first_us, other.first_us) {
            (0, first) | (first, 0) => first,
            (one, other) => one.min(other),
        };
    }
}

/// Statements of one shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// What it is known by; [`Digest::REST`] for all that have none of their own.
    pub digest: Digest,
    /// The shape.
    pub text: String,
    /// What was counted.
    pub tally: Tally,
}

impl Counted {
    /// How many were answered.
    pub fn count(&self) -> u64 {
        self.tally.latencies.count()
    }

    /// What this share of them did not exceed, in microseconds.
    pub fn quantile_us(&self, share: f64) -> u64 {
        self.tally.latencies.quantile_us(share).min(self.tally.max_us)
    }

    /// When one was first seen, and last.
    pub fn seen(&self) -> (SystemTime, SystemTime) {
        let (now, now_us) = (SystemTime::now(), monotonic_us());
        let at = |us: u64| now - Duration::from_micros(now_us.saturating_sub(us));
        (at(self.tally.first_us), at(self.tally.last_us))
    }
}

/// All that is counted of statements.
#[derive(Debug)]
pub struct Digests {
    table: ArcSwap<Table>,
    /// How many shapes have an entry; 0: nothing is counted.
    limit: AtomicUsize,
    /// What predecessors have counted was thrown away here.
    is_reset: AtomicBool,
}

impl Digests {
    /// A table for so many shapes; none: nothing is counted.
    pub fn new(limit: usize) -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::new(limit)),
            limit: AtomicUsize::new(limit),
            is_reset: AtomicBool::new(false),
        }
    }

    /// How many shapes have an entry; 0: nothing is counted.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// From now on there is room for so many.
    pub fn set_limit(&self, limit: usize) {
        if self.limit.swap(limit, Ordering::Relaxed) != limit {
            let table = Table::new(limit);
            if limit > 0 {
                table.inherit(&self.all());
            }
            self.table.store(Arc::new(table));
        }
    }

    /// Who counts, if anything is counted.
    #[inline]
    pub fn shapes(&self) -> Option<&dyn Shapes> {
        (self.limit() > 0).then_some(self as &dyn Shapes)
    }

    /// Counts statements whose answers have just ended.
    pub fn count(&self, finished: &[Finished]) {
        if self.limit() == 0 {
            return;
        }
        let (table, now_us) = (self.table.load(), monotonic_us());
        finished.iter().for_each(|it| table.count(it, now_us));
    }

    /// Every shape, with what was counted here and in predecessors, be it nothing yet; the rest is
    /// last, if there is any.
    pub fn all(&self) -> Vec<Counted> {
        self.table.load().all(table::Whose::All)
    }

    /// What only this process has counted.
    pub fn own(&self) -> Vec<Counted> {
        self.table.load().all(table::Whose::Own)
    }

    /// The text of a shape, if it has an entry.
    pub fn text(&self, digest: Digest) -> Option<String> {
        self.table.load().text(digest)
    }

    /// How long all statements of this process took.
    pub fn latencies(&self) -> Latencies {
        self.table.load().latencies()
    }

    /// Forgets everything.
    pub fn reset(&self) {
        self.is_reset.store(true, Ordering::Relaxed);
        self.table.store(Arc::new(Table::new(self.limit())));
    }

    /// Counts on from what predecessors have counted; a later call replaces an earlier one.
    pub fn inherit(&self, counted: &[Counted]) {
        if self.limit() > 0 && !self.is_reset.load(Ordering::Relaxed) {
            self.table.load().inherit(counted);
        }
    }

    /// Adds what a successor has counted that gives everything back.
    pub fn credit(&self, counted: &[Counted]) {
        if self.limit() > 0 {
            self.table.load().credit(counted);
        }
    }
}

impl Shapes for Digests {
    fn digest(&self, sql: &[u8], extent: Extent, modes: Modes) -> Digest {
        let digest = digest::digest(sql, extent, modes);
        self.table.load().know(digest, || digest::shape(sql, extent, modes));
        digest
    }

    fn now_us(&self) -> u64 {
        monotonic_us()
    }
}

#[cfg(test)]
mod tests;
