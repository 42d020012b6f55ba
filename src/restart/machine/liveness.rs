//! Whether the other side still speaks. Pure.
//!
//! Only time in which this process ran itself counts: after both were frozen together (a paused
//! container), neither may take the other for dead.

use std::time::{Duration, Instant};

/// Clock of one side about the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    heard: Instant,
    ticked: Instant,
    silence: Duration,
    /// Notes that were sent since something was heard.
    told: u8,
}

/// A tick that is later than this means that this process itself did not run.
const LATE: Duration = Duration::from_secs(1);

/// Notes that may be on their way; with what else there is they fit into the socket.
const NOTES: u8 = 4;

impl Liveness {
    /// Begins now; silent after `silence` without a word.
    pub(crate) fn new(silence: Duration, now: Instant) -> Self {
        Self { heard: now, ticked: now, silence, told: 0 }
    }

    /// The other side has said something.
    pub(crate) fn handle_word(&mut self, now: Instant) {
        self.heard = now;
        self.ticked = now;
        self.told = 0;
    }

    /// A note was sent. After some the next one waits for a word: notes to a side that does not
    /// read would fill the socket, and leave no room for what it must hear when it wakes up.
    pub(crate) fn handle_told(&mut self) {
        self.told = self.told.saturating_add(1);
    }

    /// Whether a note may be sent.
    pub(crate) fn may_tell(&self) -> bool {
        self.told < NOTES
    }

    /// Time has passed; to be called several times a second.
    pub(crate) fn handle_tick(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.ticked);
        if gap > LATE {
            self.heard += gap;
        }
        self.ticked = now;
    }

    /// When the next tick is due. Whatever else happens does not put it off.
    pub(crate) fn next_tick(&self, every: Duration) -> Instant {
        self.ticked + every
    }

    /// Whether it has been silent for too long.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) >= self.silence
    }
}

/// The earlier of two instants that may be missing.
pub(crate) fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
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
    fn some_notes_and_then_a_word() {
        let start = Instant::now();
        let mut liveness = Liveness::new(Duration::from_secs(10), start);
        for _ in 0..NOTES {
            assert!(liveness.may_tell());
            liveness.handle_told();
        }
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
