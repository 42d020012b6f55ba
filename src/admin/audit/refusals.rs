//! What those are refused who may change nothing: so many a minute have an entry, and it tells how
//! many before it had none. Nobody who may only look can push out what others have done.

use std::time::{Duration, Instant};

/// How many have an entry.
const MOST: u32 = 30;

/// In this time.
const WINDOW: Duration = Duration::from_secs(60);

/// How many there were.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    since: Option<Instant>,
    count: u32,
    left_out: u64,
}

impl Refusals {
    /// One more. If it has an entry: how many before it had none.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count += 1;
        if self.count > MOST {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_have_an_entry_and_the_next_one_tells_of_the_rest() {
        let (mut refusals, begun) = (Refusals::default(), Instant::now());
        for _ in 0..MOST {
            assert_eq!(refusals.count(begun), Some(0));
        }
        for _ in 0..5 {
            assert_eq!(refusals.count(begun), None);
        }
        assert_eq!(refusals.count(begun + WINDOW), Some(5));
        assert_eq!(refusals.count(begun + WINDOW), Some(0));
    }
}
