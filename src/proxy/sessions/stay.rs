//! Why a session has stayed when it was to move, and when that is tried again: what keeps it is
//! seldom gone a moment later, and a try costs servers a log-in and perhaps all of its state.
//!
//! Invariant: of a session that has changed since, nothing is known.

use std::time::{Duration, Instant};

use crate::session::portable::Pins;

/// Before the second try.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// What a session is like, as far as that may keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How often its state may have changed.
    pub version: u32,
    /// What keeps it for longer than a statement.
    pub pins: Pins,
}

/// What a try has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A log-in, or not even that.
    LogIn,
    /// The client was held up while servers told its state.
    Held,
}

/// That it has stayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Why.
    pub why: String,
    /// What it has cost to know.
    pub cost: Cost,
    mark: Mark,
    pause: Duration,
    until: Instant,
}

impl Stay {
    /// It has stayed once more.
    pub fn again(before: Option<&Self>, why: String, cost: Cost, mark: Mark, now: Instant) -> Self {
        let before = before.filter(|before| before.mark == mark);
        let pause = before.map_or(FIRST, |before| (before.pause * 2).min(LONGEST));
        Self { why, cost, mark, pause, until: now + pause }
    }

    /// Whether that is known of such a session.
    pub fn is_of(&self, mark: Mark) -> bool {
        self.mark == mark
    }

    /// Whether it is too soon to try again.
    pub fn is_fresh(&self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_the_session_changes() {
        let (mark, now) = (Mark { version: 3, pins: Pins::default() }, Instant::now());
        let again = |before: Option<&Stay>, mark| {
            Stay::again(before, "it is shy".into(), Cost::Held, mark, now)
        };
        let mut stay = again(None, mark);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = Duration::from_secs(seconds);
            assert!(stay.is_of(mark) && stay.is_fresh(now + pause / 2), "{seconds}");
            assert!(!stay.is_fresh(now + pause), "{seconds}");
            stay = again(Some(&stay), mark);
        }
        for other in [Mark { version: 4, ..mark }, Mark { pins: Pins::USER_LOCK, ..mark }] {
            assert!(!stay.is_of(other));
            assert!(!again(Some(&stay), other).is_fresh(now + FIRST));
        }
    }
}
