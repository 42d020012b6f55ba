//! How long sessions stood still in restarts: from freezing to going on.
//!
//! [`Pauses`] are numbers at rest, to be added up, handed on and shown; a [`PauseClock`] is where
//! they are counted. Bounds are four to an octave, so a percentile is at most a quarter above the
//! truth, and never below.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The upper bound of the first bucket.
const FIRST_US: u64 = 50;

/// From 50 µs to 13 s.
const OCTAVES: usize = 18;

/// Buckets in each octave.
const STEPS: usize = 4;

/// Those with a bound; one more holds what is longer.
const BOUNDED: usize = OCTAVES * STEPS + 1;

/// The upper bound of each bucket in microseconds; of the last there is none.
const BOUNDS_US: [u64; BOUNDED + 1] = {
    let mut bounds = [u64::MAX; BOUNDED + 1];
    let mut at = 0;
    while at < BOUNDED {
        let (octave, step) = (at / STEPS, (at % STEPS) as u64);
        bounds[at] = (FIRST_US << octave) * (STEPS as u64 + step) / STEPS as u64;
        at += 1;
    }
    bounds
};

/// Where pauses are counted, by any number of threads at once and without a lock.
#[derive(Debug)]
pub struct PauseClock {
    buckets: [AtomicU64; BOUNDED + 1],
    sum_us: AtomicU64,
    max_us: AtomicU64,
}

impl Default for PauseClock {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            sum_us: AtomicU64::new(0),
            max_us: AtomicU64::new(0),
        }
    }
}

impl PauseClock {
    /// Counts a pause.
    pub fn record(&self, pause: Duration) {
        let pause_us = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(pause_us)].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(pause_us, Ordering::Relaxed);
        self.max_us.fetch_max(pause_us, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn pauses(&self) -> Pauses {
        let counts = BOUNDS_US.iter().zip(&self.buckets);
        let counts = counts.map(|(bound, count)| (*bound, count.load(Ordering::Relaxed)));
        Pauses {
            counts: counts.filter(|(_, count)| *count > 0).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
            max_us: self.max_us.load(Ordering::Relaxed),
        }
    }
}

/// How many pauses were how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pauses {
    /// By the upper bound of the bucket in microseconds; what is empty is left out. Another
    /// version may have had other bounds.
    #[serde(with = "pairs")]
    counts: BTreeMap<u64, u64>,
    sum_us: u64,
    max_us: u64,
}

impl Pauses {
    /// How many there were.
    pub fn count(&self) -> u64 {
        saturating_sum(self.counts.values())
    }

    /// All of them together, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The longest, in microseconds.
    pub fn max_us(&self) -> u64 {
        self.max_us
    }

    /// What this share of them does not exceed, in microseconds: the upper bound of its bucket, or
    /// the longest pause if that is less. 0 if there were none.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let rank = (share * self.count() as f64).ceil() as u64;
        let mut seen: u64 = 0;
        let reached = self.counts.iter().find(|(_, count)| {
            seen = seen.saturating_add(**count);
            seen >= rank
        });
        reached.map_or(0, |(bound, _)| self.max_us.min(*bound))
    }

    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        for (bound, count) in &other.counts {
            let sum = self.counts.entry(*bound).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// Takes over whatever is higher in others.
    pub fn raise_to(&mut self, other: &Self) {
        for (bound, count) in &other.counts {
            let known = self.counts.entry(*bound).or_default();
            *known = (*known).max(*count);
        }
        self.sum_us = self.sum_us.max(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    /// Those that came after `earlier`, which was counted in the same place. Their longest is not
    /// known any more if an earlier one was longer: then it is the bound of its bucket.
    pub fn since(&self, earlier: &Self) -> Self {
        let new = |(bound, count): (&u64, &u64)| {
            let before = earlier.counts.get(bound).copied().unwrap_or_default();
            (*bound, count.saturating_sub(before))
        };
        let counts: BTreeMap<_, _> =
            self.counts.iter().map(new).filter(|(_, count)| *count > 0).collect();
        let bound = counts.last_key_value().map_or(0, |(bound, _)| *bound);
        let sum_us = self.sum_us.saturating_sub(earlier.sum_us);
        Self { counts, sum_us, max_us: self.max_us.min(bound) }
    }

    /// The same by octaves, for those who draw them: upper bounds in microseconds, the last of them
    /// [`u64::MAX`], and how many there were from the bound before up to each.
    pub fn octaves(&self) -> Vec<(u64, u64)> {
        let bounds = BOUNDS_US[..BOUNDED].iter().step_by(STEPS).chain([&u64::MAX]);
        let mut below = 0;
        let octave = |bound: &u64| {
            let up_to = saturating_sum(self.counts.range(..=bound).map(|(_, count)| count));
            (*bound, up_to - std::mem::replace(&mut below, up_to))
        };
        bounds.map(octave).collect()
    }
}

/// The buckets as `BOUND:COUNT`, bounds in microseconds, for a column of a table.
impl std::fmt::Display for Pauses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, (bound, count)) in self.counts.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            write!(f, "{space}{bound}:{count}")?;
        }
        Ok(())
    }
}

impl Pauses {
    /// What `Display` has written, with the longest of them; None if it is something else. Their
    /// sum is not known.
    pub fn from_columns(buckets: &str, max_us: u64) -> Option<Self> {
        let bucket = |text: &str| {
            let (bound, count) = text.split_once(':')?;
            Some((bound.parse().ok()?, count.parse().ok()?))
        };
        let counts: Option<_> = buckets.split_whitespace().map(bucket).collect();
        Some(Self { counts: counts?, sum_us: 0, max_us })
    }
}

fn saturating_sum<'a>(counts: impl Iterator<Item = &'a u64>) -> u64 {
    counts.fold(0, |sum, count| sum.saturating_add(*count))
}

fn bucket(pause_us: u64) -> usize {
    BOUNDS_US.partition_point(|bound| *bound < pause_us)
}

/// A list of pairs: within a tagged enum the keys of a JSON object stay strings.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        counts: &BTreeMap<u64, u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(counts)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<u64, u64>, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pauses_of(pauses_us: &[u64]) -> Pauses {
        let clock = PauseClock::default();
        pauses_us.iter().for_each(|us| clock.record(Duration::from_micros(*us)));
        clock.pauses()
    }

    #[test]
    fn bounds_rise_from_50_us_by_a_quarter_of_an_octave() {
        assert_eq!(BOUNDS_US[..6], [50, 62, 75, 87, 100, 125]);
        assert_eq!(BOUNDS_US[BOUNDED - 1..], [50 << 18, u64::MAX]);
        assert!(BOUNDS_US.is_sorted());
        let buckets = [0, 1, 50, 51, 62, 63, 13_107_200, 13_107_201, u64::MAX].map(bucket);
        assert_eq!(buckets, [0, 0, 0, 1, 1, 2, BOUNDED - 1, BOUNDED, BOUNDED]);
    }

    #[test]
    fn nothing_counted_is_nothing_shown() {
        let none = Pauses::default();
        assert_eq!((none.count(), none.sum_us(), none.max_us()), (0, 0, 0));
        assert_eq!((none.quantile_us(0.5), none.quantile_us(1.0)), (0, 0));
        assert!(none.octaves().iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn quantiles_are_bounds_and_the_last_is_the_longest() {
        let mut all = vec![100; 98];
        all.extend([40, 730]);
        let pauses = pauses_of(&all);
        assert_eq!((pauses.count(), pauses.sum_us()), (100, 98 * 100 + 770));
        let shares = [0.001, 0.01, 0.02, 0.5, 0.99, 0.995, 1.0];
        let expected = [50, 50, 100, 100, 100, 730, 730];
        assert_eq!(shares.map(|share| pauses.quantile_us(share)), expected);
        assert_eq!(pauses_of(&[20_000_000]).quantile_us(0.5), 20_000_000);
    }

    #[test]
    fn octaves_end_with_what_has_no_bound() {
        let octaves = pauses_of(&[1, 60, 90, 200, 30_000_000]).octaves();
        assert_eq!(octaves[..4], [(50, 1), (100, 2), (200, 1), (400, 0)]);
        assert_eq!(octaves[octaves.len() - 2..], [(50 << 18, 0), (u64::MAX, 1)]);
    }

    #[test]
    fn what_came_since_has_a_longest_of_its_own() {
        let clock = PauseClock::default();
        clock.record(Duration::from_millis(800));
        let before = clock.pauses();
        assert_eq!(clock.pauses().since(&before), Pauses::default());
        clock.record(Duration::from_micros(90));
        let since = clock.pauses().since(&before);
        assert_eq!((since.count(), since.sum_us(), since.max_us()), (1, 90, 100));
        clock.record(Duration::from_secs(2));
        assert_eq!(clock.pauses().since(&before).max_us(), 2_000_000);
    }

    #[test]
    fn json_keeps_them_also_within_a_tagged_enum() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        enum Message {
            Told { pauses: Pauses },
        }
        let message = Message::Told { pauses: pauses_of(&[70, 90, 99_000_000]) };
        let text = serde_json::to_string(&message).expect("plain data");
        assert_eq!(serde_json::from_str::<Message>(&text).expect("the same"), message);
        let empty: Pauses = serde_json::from_str("{}").expect("all of it is optional");
        assert_eq!(empty, Pauses::default());
    }

    #[test]
    fn a_column_is_read_as_it_was_written() {
        let pauses = pauses_of(&[70, 70, 90, 99_000_000]);
        let text = pauses.to_string();
        assert_eq!(text, "75:2 100:1 18446744073709551615:1");
        let read = Pauses::from_columns(&text, pauses.max_us()).expect("as it was written");
        assert_eq!((read.counts, read.max_us), (pauses.counts, 99_000_000));
        assert_eq!(Pauses::from_columns("", 0), Some(Pauses::default()));
        for wrong in ["7", "7:", ":7", "7:x", "-1:1", "1:2:3"] {
            assert_eq!(Pauses::from_columns(wrong, 0), None, "{wrong}");
        }
    }

    #[test]
    fn absurd_numbers_of_another_process_do_no_harm() {
        let text = r#"{"counts":[[7,18446744073709551615],[8,5]],"sum_us":18446744073709551615}"#;
        let absurd: Pauses = serde_json::from_str(text).expect("numbers");
        let mut sum = pauses_of(&[7, 60]);
        sum.add(&absurd);
        sum.add(&absurd);
        assert_eq!((sum.count(), sum.sum_us()), (u64::MAX, u64::MAX));
        assert!(sum.quantile_us(0.99) <= sum.max_us());
        assert_eq!(sum.octaves().len(), OCTAVES + 2);
    }

    proptest! {
        #[test]
        fn sums_never_go_back_and_quantiles_never_flatter(
            one in proptest::collection::vec(0u64..13_000_000, 1..50),
            other in proptest::collection::vec(0u64..13_000_000, 0..50),
        ) {
            let (a, b) = (pauses_of(&one), pauses_of(&other));
            let mut sum = a.clone();
            sum.add(&b);
            let mut all = [&one[..], &other].concat();
            prop_assert_eq!(&sum, &pauses_of(&all));
            let mut raised = sum.clone();
            raised.raise_to(&a);
            prop_assert_eq!(&raised, &sum);
            prop_assert_eq!(sum.since(&a).counts, b.counts);
            all.sort_unstable();
            for share in [0.01, 0.5, 0.9, 0.99, 1.0] {
                let exact = all[(share * all.len() as f64).ceil() as usize - 1];
                let shown = sum.quantile_us(share);
                prop_assert!(exact <= shown, "{} < {}", shown, exact);
                prop_assert!(shown <= (exact + exact / 4 + 1).max(FIRST_US));
            }
        }
    }
}
