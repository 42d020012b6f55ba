//! Which sessions the other side has adopted so lately that they can still be taken back. Pure.
//!
//! Each is kept for the probation time, counted from its ack and not before the successor serves
//! clients: until then it has proved nothing.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The probation of one successor.
#[derive(Debug)]
pub(crate) struct Probation {
    span: Duration,
    serves_since: Option<Instant>,
    /// Batches by the time of their ack.
    parked: VecDeque<(Instant, Vec<u32>)>,
}

impl Probation {
    /// Of this length; zero is none.
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, serves_since: None, parked: VecDeque::new() }
    }

    /// Whether there is any.
    pub(crate) fn is_on(&self) -> bool {
        !self.span.is_zero()
    }

    /// The successor serves clients.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.serves_since = Some(now);
    }

    /// The successor has adopted these.
    pub(crate) fn park(&mut self, ids: Vec<u32>, now: Instant) {
        self.parked.push_back((now, ids));
    }

    /// When the oldest pass.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let &(oldest, _) = self.parked.front()?;
        Some(self.serves_since?.max(oldest) + self.span)
    }

    /// When the youngest pass, and with that the successor; None before it serves.
    pub(crate) fn until(&self) -> Option<Instant> {
        let since = self.serves_since?;
        let youngest = self.parked.back().map_or(since, |&(acked, _)| since.max(acked));
        Some(youngest + self.span)
    }

    /// Those that have passed.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<u32> {
        let mut due = Vec::new();
        while self.next_due().is_some_and(|until| now >= until)
            && let Some((_, ids)) = self.parked.pop_front()
        {
            due.extend(ids);
        }
        due
    }

    /// Whether nothing is left to wait for.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| now >= until)
    }

    /// All that were waiting.
    pub(crate) fn end(&mut self) -> Vec<u32> {
        self.parked.drain(..).flat_map(|(_, ids)| ids).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(5);

    #[test]
    fn nothing_passes_before_the_successor_serves() {
        let start = Instant::now();
        let mut probation = Probation::new(SPAN);
        probation.park(vec![1, 2], start);
        assert_eq!(probation.until(), None);
        assert!(probation.due(start + 10 * SPAN).is_empty());
        probation.begin(start + SPAN);
        assert_eq!(probation.until(), Some(start + 2 * SPAN));
        assert!(probation.due(start + SPAN).is_empty());
        assert!(!probation.is_over(start + SPAN));
        assert_eq!(probation.due(start + 2 * SPAN), [1, 2]);
        assert!(probation.is_over(start + 2 * SPAN));
    }

    #[test]
    fn who_comes_later_passes_later() {
        let start = Instant::now();
        let mut probation = Probation::new(SPAN);
        probation.park(vec![1], start);
        probation.begin(start);
        probation.park(vec![2], start + SPAN / 2);
        assert_eq!(probation.due(start + SPAN), [1]);
        assert!(!probation.is_over(start + SPAN));
        assert_eq!(probation.next_due(), Some(start + SPAN + SPAN / 2));
        assert_eq!(probation.until(), Some(start + SPAN + SPAN / 2));
        assert_eq!(probation.due(start + 2 * SPAN), [2]);
        assert!(probation.is_over(start + 2 * SPAN));
    }

    #[test]
    fn without_sessions_it_lasts_as_long() {
        let start = Instant::now();
        let mut probation = Probation::new(SPAN);
        probation.begin(start);
        assert!(!probation.is_over(start));
        assert!(probation.is_over(start + SPAN));
        assert_eq!(probation.next_due(), None);
        let mut none = Probation::new(Duration::ZERO);
        assert!(!none.is_on());
        none.begin(start);
        assert!(none.is_over(start));
    }
}
