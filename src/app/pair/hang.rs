//! A proxy that does not move any more, as its keeper sees it. Pure.
//!
//! Two things are watched: threads that are at the same session for too long, and the beat of the
//! runtime, once there was one. Invariant: only what the keeper has seen stand still at each of its
//! looks counts; if it was late itself, nobody moved.

use std::time::{Duration, Instant};

use crate::journal::WORKERS;

/// Looks until something that does not move has hung.
const LOOKS: u32 = 10;

/// What does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hung {
    /// This thread.
    Worker(usize),
    /// All of it.
    Runtime,
}

/// See above.
#[derive(Debug)]
pub(super) struct Watch {
    every: Duration,
    looked: Instant,
    workers: [Seen; WORKERS],
    runtime: Seen,
}

/// Something, and since how many looks it was so.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    what: (u64, u64),
    looks: u32,
}

impl Watch {
    /// Who does not move for so long hangs.
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self {
            every: limit / LOOKS,
            looked: now,
            workers: [Seen::default(); WORKERS],
            runtime: Seen::default(),
        }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Instant {
        self.looked + self.every
    }

    /// Looks: at what each thread is (0: nothing) and how often it was at something, and how often
    /// the runtime has beaten.
    pub(super) fn look(
        &mut self,
        now: Instant,
        worker: impl Fn(usize) -> (u64, u64),
        beats: u64,
    ) -> Option<Hung> {
        let is_late = now.duration_since(self.looked) > self.every * 2;
        self.looked = now;
        if is_late {
            self.begin_again();
        }
        for (at, seen) in self.workers.iter_mut().enumerate() {
            let (session, times) = worker(at);
            if seen.is_still((session, times), session != 0) {
                return Some(Hung::Worker(at));
            }
        }
        self.runtime.is_still((beats, 0), beats != 0).then_some(Hung::Runtime)
    }

    /// Whether something has stood still for half of the time: whoever is let go just before the
    /// end of it would have had none to move.
    pub(super) fn is_slow(&self) -> bool {
        self.workers.iter().chain([&self.runtime]).any(|seen| seen.looks >= LOOKS / 2)
    }

    /// Whatever stood still may have had a reason.
    pub(super) fn begin_again(&mut self) {
        self.workers.iter_mut().chain([&mut self.runtime]).for_each(|seen| seen.looks = 0);
    }
}

impl Seen {
    /// Whether it has been so for too long, if it counts.
    fn is_still(&mut self, what: (u64, u64), counts: bool) -> bool {
        let is_same = counts && self.what == what;
        self.looks = if is_same { self.looks + 1 } else { 0 };
        self.what = what;
        self.looks >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy whose keeper looks after so many milliseconds each.
    struct Proxy {
        watch: Watch,
        now: Instant,
        worker: (u64, u64),
        beats: u64,
    }

    impl Proxy {
        fn new() -> Self {
            let now = Instant::now();
            let watch = Watch::new(Duration::from_secs(10), now);
            Self { watch, now, worker: (0, 0), beats: 0 }
        }

        fn after(&mut self, ms: u64) -> Option<Hung> {
            self.now += Duration::from_millis(ms);
            let worker = self.worker;
            self.watch.look(self.now, |at| if at == 3 { worker } else { (0, 9) }, self.beats)
        }

        fn all(&mut self, looks: u32) -> Vec<Option<Hung>> {
            (0..looks).map(|_| self.after(1000)).collect()
        }
    }

    #[test]
    fn a_thread_that_is_at_the_same_session_for_ten_seconds_hangs() {
        let mut proxy = Proxy::new();
        proxy.worker = (7, 1);
        assert_eq!(proxy.all(10), [None; 10]);
        assert_eq!(proxy.after(1000), Some(Hung::Worker(3)));
    }

    #[test]
    fn who_is_at_nothing_or_at_the_next_thing_does_not() {
        let mut proxy = Proxy::new();
        assert_eq!(proxy.all(30), [None; 30]);
        proxy.worker = (7, 1);
        assert_eq!(proxy.all(9), [None; 9]);
        // The same session once more.
        proxy.worker = (7, 2);
        assert_eq!(proxy.all(10), [None; 10]);
    }

    #[test]
    fn a_runtime_that_has_beaten_and_does_not_any_more_hangs() {
        let mut proxy = Proxy::new();
        assert_eq!(proxy.all(20), [None; 20]);
        for beats in 1..30 {
            proxy.beats = beats;
            assert_eq!(proxy.after(1000), None);
        }
        assert_eq!(proxy.all(9), [None; 9]);
        assert_eq!(proxy.after(1000), Some(Hung::Runtime));
    }

    #[test]
    fn a_keeper_that_was_late_has_seen_nothing() {
        let mut proxy = Proxy::new();
        proxy.worker = (7, 1);
        proxy.all(10);
        assert_eq!(proxy.after(60_000), None, "the machine was suspended");
        assert_eq!(proxy.all(9)[..8], [None; 8]);
        proxy.watch.begin_again();
        assert_eq!(proxy.all(9), [None; 9], "it was stopped meanwhile");
        assert_eq!(proxy.after(1000), Some(Hung::Worker(3)));
    }
}
