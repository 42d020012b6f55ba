//! When a proxy that crashed is started again. Pure.

use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Who lived that long has not crashed because of how it was started: the count begins anew.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// Counts crashes in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    limit: u32,
    crashes: u32,
}

impl Backoff {
    /// Allows this many new starts in a row.
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, crashes: 0 }
    }

    /// How long to wait before the next start; None if there shall be none.
    pub(super) fn pause(&mut self, lived: Duration) -> Option<Duration> {
        if lived >= LONG_LIFE {
            self.crashes = 0;
        }
        if self.crashes >= self.limit {
            return None;
        }
        let factor = 2_u32.saturating_pow(self.crashes);
        self.crashes += 1;
        Some(FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_the_limit() {
        let mut backoff = Backoff::new(8);
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.pause(Duration::ZERO)).collect();
        let millis: Vec<_> = pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_long_life_is_forgiven() {
        let mut backoff = Backoff::new(1);
        assert!(backoff.pause(Duration::ZERO).is_some());
        assert!(backoff.pause(Duration::ZERO).is_none());
        assert_eq!(backoff.pause(LONG_LIFE), Some(FIRST_PAUSE));
    }
}
