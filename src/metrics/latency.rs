//! How long statements take.
//!
//! [`Latencies`] are numbers at rest, to be added up, handed on and shown; a [`LatencyClock`] is
//! where they are counted. Buckets are log-linear, 16 to an octave, and a percentile is the middle
//! of its bucket: within 3.2 % of the truth. (The pauses of restarts have fewer, and their bounds.)

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Buckets in each octave, as a power of two.
const STEP_BITS: u32 = 4;

/// Buckets in each octave; below so many microseconds each has its own.
const STEPS: usize = 1 << STEP_BITS;

/// Up to 268 s; what is longer is in the last one.
const OCTAVES: usize = 24;

const BUCKETS: usize = STEPS * (1 + OCTAVES);

fn bucket(us: u64) -> usize {
    let octave = (63 - (us | 1).leading_zeros()).max(STEP_BITS) - STEP_BITS;
    let step = (us >> octave) as usize;
    // The highest bit of a step is set, but for the first octave.
    (octave as usize * STEPS + step).min(BUCKETS - 1)
}

/// The least of a bucket, in microseconds, and how many there are in it.
fn bounds(bucket: usize) -> (u64, u64) {
    match bucket.checked_sub(STEPS) {
        None => (bucket as u64, 1),
        Some(above) => {
            let (octave, step) = (above / STEPS, above % STEPS);
            (((STEPS + step) as u64) << octave, 1 << octave)
        }
    }
}

/// Where latencies are counted, by any number of threads at once and without a lock.
#[derive(Debug)]
pub struct LatencyClock {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for LatencyClock {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl LatencyClock {
    /// Counts one.
    #[inline]
    pub fn record(&self, us: u64) {
        self.buckets[bucket(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far is added to others.
    pub fn add_to(&self, latencies: &mut Latencies) {
        for (counted, count) in self.buckets.iter().zip(latencies.counts.iter_mut()) {
            *count += counted.load(Ordering::Relaxed);
        }
    }
}

/// How many took how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Latencies {
    counts: Box<[u64; BUCKETS]>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: Box::new([0; BUCKETS]) }
    }
}

/// By the least of the bucket in microseconds; what is empty is left out. Another version may have
/// other buckets.
impl From<Latencies> for Vec<(u64, u64)> {
    fn from(latencies: Latencies) -> Self {
        let counts = latencies.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(at, count)| (bounds(at).0, *count)).collect()
    }
}

impl From<Vec<(u64, u64)>> for Latencies {
    fn from(pairs: Vec<(u64, u64)>) -> Self {
        let mut latencies = Self::default();
        for (least, count) in pairs {
            let counted = &mut latencies.counts[bucket(least)];
            *counted = counted.saturating_add(count);
        }
        latencies
    }
}

impl Latencies {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What this share of them does not exceed, in microseconds; 0 if there were none.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let rank = ((share * self.count() as f64).ceil() as u64).max(1);
        let mut seen: u64 = 0;
        let reached = self.counts.iter().position(|count| {
            seen = seen.saturating_add(*count);
            seen >= rank
        });
        reached.map_or(0, |at| {
            let (least, width) = bounds(at);
            least + width / 2
        })
    }

    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count = count.saturating_add(*more);
        }
    }

    /// Those that came after `earlier`, which was counted in the same place.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.counts.iter_mut().zip(earlier.counts.iter()) {
            *count = count.saturating_sub(*before);
        }
        since
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(all: impl IntoIterator<Item = u64>) -> Latencies {
        let (clock, mut latencies) = (LatencyClock::default(), Latencies::default());
        all.into_iter().for_each(|us| clock.record(us));
        clock.add_to(&mut latencies);
        latencies
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let mut next = 0;
        for at in 0..BUCKETS {
            let (least, width) = bounds(at);
            assert_eq!(least, next, "{at}");
            assert_eq!((bucket(least), bucket(least + width - 1)), (at, at));
            next = least + width;
        }
        assert_eq!((bucket(next), bucket(u64::MAX)), (BUCKETS - 1, BUCKETS - 1));
        assert_eq!(next, 1 << 28, "268 s");
    }

    #[test]
    fn quantiles_are_those_of_a_sorted_list_within_a_thirtieth() {
        let latencies = of(1..=10_000);
        for share in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let (found, exact) = (latencies.quantile_us(share) as f64, share * 10_000.0);
            assert!((found - exact).abs() <= exact / 31.0, "{share}: {found}");
        }
        assert_eq!(Latencies::default().quantile_us(0.5), 0);
    }

    #[test]
    fn what_came_since_is_what_is_new() {
        let mut all = of([10, 20]);
        let before = all.clone();
        all.add(&of([500, 500]));
        let since = all.since(&before);
        assert_eq!((since.count(), since.quantile_us(0.5)), (2, 504));
    }

    proptest! {
        #[test]
        fn one_is_told_within_five_percent(us in 0u64..1 << 28) {
            let found = of([us]).quantile_us(0.5);
            prop_assert!(found.abs_diff(us) as f64 <= us as f64 * 0.05, "{us}: {found}");
        }

        #[test]
        fn json_keeps_them(all in proptest::collection::vec(any::<u64>(), 0..20)) {
            let latencies = of(all);
            let text = serde_json::to_string(&latencies).expect("plain data");
            prop_assert_eq!(serde_json::from_str::<Latencies>(&text).expect("the same"), latencies);
        }
    }
}
