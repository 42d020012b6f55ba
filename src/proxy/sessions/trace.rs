//! Where the last statements of a session went, and why: SHOW PROXYTRACE.
//!
//! Written by the session's task for each statement that is split, so without a lock: a number a
//! statement. No text is kept. Who reads while it is written may see a statement twice or not at
//! all.

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::vigil::Vigil;
use crate::metrics::Counter;

/// Statements that are remembered.
const REMEMBERED: usize = 32;

/// The last statements of one session.
#[derive(Debug)]
pub struct Trace {
    began: Instant,
    next: AtomicUsize,
    /// Milliseconds since then, plus one; server, kind and reason in the lowest bytes. 0: none.
    entries: [AtomicU64; REMEMBERED],
    /// Texts that were read elsewhere than at home.
    elsewhere: Counter,
    vigil: Vigil,
}

/// A statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// So long ago.
    pub ago: Duration,
    /// By its number in the cluster.
    pub server: u16,
    /// What it was, by its number.
    pub kind: u8,
    /// Why it went there, by its number.
    pub why: u8,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            next: AtomicUsize::new(0),
            entries: array::from_fn(|_| AtomicU64::new(0)),
            elsewhere: Counter::default(),
            vigil: Vigil::default(),
        }
    }
}

impl Trace {
    /// A statement goes to a server.
    pub fn record(&self, server: u16, kind: u8, why: u8) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX >> 33);
        let at = self.next.fetch_add(1, Ordering::Relaxed) % REMEMBERED;
        let entry = (elapsed + 1) << 32 | u64::from(server) << 16 | u64::from(kind) << 8;
        self.entries[at].store(entry | u64::from(why), Ordering::Relaxed);
    }

    /// A text is read elsewhere than at home.
    pub fn count_elsewhere(&self) {
        self.elsewhere.add(1);
    }

    /// What its home hears meanwhile.
    pub fn vigil(&self) -> &Vigil {
        &self.vigil
    }

    /// How many were.
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere.value()
    }

    /// The last ones, the youngest first.
    pub fn last(&self) -> Vec<Traced> {
        let (now, next) = (self.began.elapsed(), self.next.load(Ordering::Relaxed));
        let entry = |back: usize| {
            let at = next.wrapping_sub(back) % REMEMBERED;
            let entry = self.entries[at].load(Ordering::Relaxed);
            let at = Duration::from_millis((entry >> 32).checked_sub(1)?);
            let [why, kind, low, high, ..] = entry.to_le_bytes();
            let server = u16::from_le_bytes([low, high]);
            Some(Traced { ago: now.saturating_sub(at), server, kind, why })
        };
        (1..=REMEMBERED).filter_map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let trace = Trace::default();
        assert_eq!(trace.last(), []);
        for n in 0..40u8 {
            trace.record(u16::from(n) + 300, n, n + 1);
        }
        let last = trace.last();
        assert_eq!(last.len(), REMEMBERED);
        let youngest = last[0];
        assert_eq!((youngest.server, youngest.kind, youngest.why), (339, 39, 40));
        assert_eq!(last[REMEMBERED - 1].kind, 8);
    }
}
