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
    /// A note was sent, and nothing was heard since.
    told: bool,
}

/// A tick that is later than this means that this process itself did not run.
const LATE: Duration = Duration::from_secs(1);

impl Liveness {
    /// Begins now; silent after `silence` without a word.
    pub fn new(silence: Duration, now: Instant) -> Self {
        Self { heard: now, ticked: now, silence, told: false }
    }

    /// The other side has said something.
    pub fn handle_word(&mut self, now: Instant) {
        self.heard = now;
        self.ticked = now;
        self.told = false;
    }

    /// A note was sent. The next one waits for a word: notes to a side that does not read would
    /// fill the socket, and leave no room for what it must hear when it wakes up.
    pub fn handle_told(&mut self) {
        self.told = true;
    }

    /// Whether a note may be sent.
    pub fn may_tell(&self) -> bool {
        !self.told
    }

    /// Time has passed; to be called several times a second.
    pub fn handle_tick(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.ticked);
        if gap > LATE {
            self.heard += gap;
        }
        self.ticked = now;
    }

    /// When the next tick is due. Whatever else happens does not put it off.
    pub fn next_tick(&self, every: Duration) -> Instant {
        self.ticked + every
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
    fn a_tick_is_due_when_it_is_due() {
        let start = Instant::now();
        let every = Duration::from_millis(100);
        let mut liveness = Liveness::new(Duration::from_secs(10), start);
        assert_eq!(liveness.next_tick(every), start + every);
        liveness.handle_tick(start + every);
        assert_eq!(liveness.next_tick(every), start + 2 * every);
    }

    #[test]
    fn one_note_waits_for_a_word() {
        let start = Instant::now();
        let mut liveness = Liveness::new(Duration::from_secs(10), start);
        assert!(liveness.may_tell());
        liveness.handle_told();
        liveness.handle_tick(start + Duration::from_millis(100));
        assert!(!liveness.may_tell());
        liveness.handle_word(start + Duration::from_millis(200));
        assert!(liveness.may_tell());
    }

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
