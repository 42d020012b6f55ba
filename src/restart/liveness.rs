//! Whether the other side still speaks. Pure.
//!
//! Only time in which this process ran itself counts: after both were frozen together (a paused
//! container), neither may take the other for dead.

use std::time::{Duration, Instant};

/// Clock of one side about the other.
#[derive(Clone, Copy, Debug)]
pub struct Liveness {
    heard: Instant,
    ticked: Instant,
    silence: Duration,
}

/// A tick that is later than this means that this process itself did not run.
const LATE: Duration = Duration::from_secs(1);

impl Liveness {
    /// Begins now; silent after `silence` without a word.
    pub fn new(silence: Duration, now: Instant) -> Self {
        Self { heard: now, ticked: now, silence }
    }

    /// The other side has said something.
    pub fn handle_word(&mut self, now: Instant) {
        self.heard = now;
        self.ticked = now;
    }

    /// Time has passed; to be called several times a second.
    pub fn handle_tick(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.ticked);
        if gap > LATE {
            self.heard += gap;
        }
        self.ticked = now;
    }

    /// Whether it has been silent for too long.
    pub fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= self.silence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_only_while_this_side_runs() {
        let start = Instant::now();
        let mut liveness = Liveness::new(Duration::from_secs(10), start);
        let hour = start + Duration::from_secs(3600);
        liveness.handle_tick(hour);
        assert!(!liveness.is_silent(hour));
        let mut now = hour;
        for _ in 0..99 {
            now += Duration::from_millis(100);
            liveness.handle_tick(now);
            assert!(!liveness.is_silent(now));
        }
        now += Duration::from_millis(200);
        liveness.handle_tick(now);
        assert!(liveness.is_silent(now));
    }
}
