//! Since when a session stands still, on a clock that both processes of a restart read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::proxy::clock::monotonic_us;

/// No session stands still for so long: whoever says so has another clock.
const LONGEST: Duration = Duration::from_secs(3600);

/// The instant at which a session was frozen. CLOCK_MONOTONIC is one for a whole host, whatever a
/// process calls the time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FrozenAt {
    /// Microseconds since that clock began.
    us: u64,
}

impl FrozenAt {
    /// Now.
    pub fn now() -> Self {
        Self { us: monotonic_us() }
    }

    /// How long ago that is; None if it cannot be true. What comes from another process may have
    /// been read in another time namespace.
    pub fn pause(self) -> Option<Duration> {
        self.pause_until(Self::now())
    }

    fn pause_until(self, now: Self) -> Option<Duration> {
        let pause = Duration::from_micros(now.us.checked_sub(self.us)?);
        (pause < LONGEST).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_later_than_it_begins_and_is_no_day_long() {
        let hour = 3_600_000_000;
        let now = FrozenAt { us: 100 * hour };
        let pause = |us| FrozenAt { us }.pause_until(now);
        assert_eq!(pause(now.us), Some(Duration::ZERO));
        assert_eq!(pause(now.us - 250), Some(Duration::from_micros(250)));
        assert_eq!(pause(now.us - hour + 1), Some(Duration::from_micros(hour - 1)));
        assert_eq!(pause(now.us - hour), None, "an hour is too long");
        assert_eq!(pause(0), None, "so are days");
        assert_eq!(pause(now.us + 1), None, "it was frozen after it was thawed");
        assert_eq!(pause(u64::MAX), None);
    }

    #[test]
    fn the_clock_goes_forward() {
        let before = FrozenAt::now();
        assert!(before.us > 0);
        assert!(before.pause().is_some());
    }
}
