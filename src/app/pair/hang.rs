//! A proxy that does not move any more, as its keeper sees it. Pure.
//!
//! Two things are watched: threads that are at the same session for too long, and the beat of the
//! runtime, once there was one; of a proxy that others wait for, from its beginning. That one has
//! more time, and beats with each session that it takes up. Invariant: only what the keeper has
//! seen stand still at each of its looks counts; if it was late itself, nobody moved.

use std::time::{Duration, Instant};

use crate::journal::{Phase, WORKERS};

/// Looks until something that does not move has hung.
const LOOKS: u32 = 10;

/// The same of a proxy that comes after another one, until it serves: what it reads first may be
/// slow to come.
const LOOKS_AT_HEIRS: u32 = 6 * LOOKS;

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

    /// Looks: at what each thread is (0: nothing) and how often it was at something, and at the
    /// beats of a proxy that stands there.
    pub(super) fn look(
        &mut self,
        now: Instant,
        worker: impl Fn(usize) -> (u64, u64),
        (phase, beats): (Phase, u64),
    ) -> Option<Hung> {
        let is_late = now.duration_since(self.looked) > self.every * 2;
        self.looked = now;
        if is_late {
            self.begin_again();
        }
        for (at, seen) in self.workers.iter_mut().enumerate() {
            let (session, times) = worker(at);
            if seen.is_still((session, times), session != 0, LOOKS) {
                return Some(Hung::Worker(at));
            }
        }
        let (counts, most) = match phase {
            Phase::Resuming => (true, LOOKS_AT_HEIRS),
            Phase::Starting | Phase::Serving | Phase::Restarting => (beats != 0, LOOKS),
        };
        self.runtime.is_still((beats, 0), counts, most).then_some(Hung::Runtime)
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
    fn is_still(&mut self, what: (u64, u64), counts: bool, most: u32) -> bool {
        let is_same = counts && self.what == what;
        self.looks = if is_same { self.looks + 1 } else { 0 };
        self.what = what;
        self.looks >= most
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
        phase: Phase,
        beats: u64,
    }

    impl Proxy {
        fn new() -> Self {
            let now = Instant::now();
            let watch = Watch::new(Duration::from_secs(10), now);
            Self { watch, now, worker: (0, 0), phase: Phase::Serving, beats: 0 }
        }

        fn after(&mut self, ms: u64) -> Option<Hung> {
            self.now += Duration::from_millis(ms);
            let (worker, stands) = (self.worker, (self.phase, self.beats));
            self.watch.look(self.now, |at| if at == 3 { worker } else { (0, 9) }, stands)
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
    fn whoever_others_wait_for_has_no_time_without_end() {
        let mut proxy = Proxy::new();
        proxy.phase = Phase::Starting;
        assert_eq!(proxy.all(100), [None; 100], "nobody does");
        proxy.phase = Phase::Resuming;
        assert_eq!(proxy.all(40), [None; 40]);
        // It is slow, and takes sessions up.
        proxy.beats = 1;
        assert_eq!(proxy.all(60), [None; 60]);
        assert_eq!(proxy.after(1000), Some(Hung::Runtime));
        proxy.phase = Phase::Serving;
        proxy.beats = 2;
        assert_eq!(proxy.all(10), [None; 10]);
        assert_eq!(proxy.after(1000), Some(Hung::Runtime), "it is as others are then");
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
