//! Latency over time in bounded memory: one small histogram for each slice of the run.
//!
//! Invariant: the number of slices is fixed by the planned duration, never by what happens.

use std::time::Duration;

/// A slice is never shorter than this.
const FINEST: Duration = Duration::from_millis(100);
/// More slices than this and they become longer instead.
const MOST_SLICES: u128 = 6000;
/// Steps within a doubling; an error of at most 1/16.
const STEPS: usize = 8;
/// Doublings: 1 µs to 2²⁷ µs, which is two minutes; longer ones count as that.
const DOUBLINGS: usize = 27;

/// Counts of latencies in steps that grow with the value.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    counts: [u32; STEPS * DOUBLINGS],
    max: Duration,
}

impl Default for Steps {
    fn default() -> Self {
        Self { counts: [0; STEPS * DOUBLINGS], max: Duration::ZERO }
    }
}

impl Steps {
    fn record(&mut self, latency: Duration) {
        let step = &mut self.counts[step_of(latency)];
        *step = step.saturating_add(1);
        self.max = self.max.max(latency);
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
        self.max = self.max.max(other.max);
    }

    /// The latency that `quantile` (0 to 1) of them do not exceed; None if there are none.
    fn quantile(&self, quantile: f64) -> Option<Duration> {
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = ((total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return Some(end_of(step).min(self.max));
            }
        }
        None
    }
}

/// Values below 2 × STEPS have a step each; above, STEPS of them share each doubling.
fn step_of(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
    let doubling = micros.ilog2() as usize;
    let within = (((u128::from(micros) << 3) >> doubling) as usize) - STEPS;
    (doubling * STEPS + within).min(STEPS * DOUBLINGS - 1)
}

/// The largest latency that falls into a step.
fn end_of(step: usize) -> Duration {
    let (doubling, within) = (step / STEPS, (step % STEPS + STEPS + 1) as u64);
    Duration::from_micros((within << doubling).div_ceil(STEPS as u64))
}

/// What happened in one slice of the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Slice {
    latencies: Steps,
    /// Statements answered that were sent in this slice.
    pub(super) answers: u32,
    /// Connects that succeeded.
    pub(super) connects: u32,
    /// Connects that were refused, reset or not answered.
    pub(super) refused: u32,
    /// Sessions lost.
    pub(super) lost: u32,
    /// Statements failed.
    pub(super) failed: u32,
    /// Answers wrong.
    pub(super) wrong: u32,
}

impl Slice {
    /// Counts a statement that was answered.
    pub(super) fn answered(&mut self, latency: Duration) {
        self.answers += 1;
        self.latencies.record(latency);
    }

    /// Adds what another part of the program saw in the same slice.
    pub(super) fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.answers += other.answers;
        self.connects += other.connects;
        self.refused += other.refused;
        self.lost += other.lost;
        self.failed += other.failed;
        self.wrong += other.wrong;
    }

    /// See [`Steps::quantile`].
    pub(super) fn quantile(&self, quantile: f64) -> Option<Duration> {
        self.latencies.quantile(quantile)
    }

    /// The longest latency; None if nothing was answered.
    pub(super) fn max(&self) -> Option<Duration> {
        (self.answers > 0).then_some(self.latencies.max)
    }
}

/// All slices of a run.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    width: Duration,
    most: usize,
    slices: Vec<Slice>,
}

impl Timeline {
    /// For a run that is planned to last this long. What happens later goes to the last slice.
    pub(super) fn new(duration: Duration) -> Self {
        let width = slice_width(duration);
        // A restart under way at the end is waited for; it gets a minute of slices.
        let planned = (duration + Duration::from_secs(60)).as_millis() / width.as_millis() + 1;
        Self { width, most: planned as usize, slices: Vec::new() }
    }

    /// How long a slice is.
    pub(super) fn width(&self) -> Duration {
        self.width
    }

    /// Adds what happened in the slice with this number.
    pub(super) fn add(&mut self, number: usize, slice: &Slice) {
        let number = number.min(self.most - 1);
        if self.slices.len() <= number {
            self.slices.resize_with(number + 1, Slice::default);
        }
        self.slices[number].add(slice);
    }

    /// The slices, `together` of them at a time made one.
    pub(super) fn coarse(&self, together: usize) -> Vec<Slice> {
        let merge = |slices: &[Slice]| {
            let mut sum = Slice::default();
            slices.iter().for_each(|slice| sum.add(slice));
            sum
        };
        self.slices.chunks(together.max(1)).map(merge).collect()
    }

    /// The last slices made one.
    pub(super) fn last(&self, together: usize) -> Slice {
        let mut sum = Slice::default();
        self.slices.iter().rev().take(together).for_each(|slice| sum.add(slice));
        sum
    }

    /// How many slices there are.
    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }
}

/// The width of a slice in a run of this duration: whole tenths of a second.
pub(super) fn slice_width(duration: Duration) -> Duration {
    let tenths = duration.as_millis() / 100;
    FINEST * u32::try_from(tenths.div_ceil(MOST_SLICES).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_holds_its_values_and_grows_with_them() {
        let mut last = 0;
        for micros in 1..2_000_000_u64 {
            let latency = Duration::from_micros(micros);
            let step = step_of(latency);
            assert!(step >= last, "{micros}");
            assert!(end_of(step) >= latency, "{micros}: {:?}", end_of(step));
            assert!(end_of(step).as_micros() as f64 <= micros as f64 * 1.13 + 1.0, "{micros}");
            last = step;
        }
        assert_eq!(step_of(Duration::MAX), STEPS * DOUBLINGS - 1);
        assert_eq!(step_of(Duration::ZERO), 0);
    }

    #[test]
    fn quantiles_are_near_and_the_maximum_is_exact() {
        let mut slice = Slice::default();
        (1..=1000).for_each(|ms| slice.answered(Duration::from_millis(ms)));
        let p50 = slice.quantile(0.5).unwrap().as_millis();
        assert!((480..=570).contains(&p50), "{p50}");
        assert_eq!(slice.max(), Some(Duration::from_millis(1000)));
        assert_eq!(slice.quantile(1.0), slice.max());
        assert_eq!(Slice::default().quantile(0.5), None);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut timeline = Timeline::new(Duration::from_secs(10));
        timeline.add(usize::MAX, &Slice::default());
        assert!(timeline.len() <= 701);
        assert_eq!(slice_width(Duration::from_secs(3600)), Duration::from_millis(600));
        assert_eq!(slice_width(Duration::from_secs(10)), FINEST);
    }
}
