//! The order in which servers are tried.

use std::time::{Duration, Instant};

/// How long a server that could not be reached is tried last (ODP `congestion_retry_interval`).
pub const RETRY_AFTER: Duration = Duration::from_secs(20);

/// A server as the decision sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// When it last could not be reached; None if it could since.
    pub failed_at: Option<Instant>,
}

/// The order in which servers are tried: as configured, those that failed of late at the end.
pub fn order(candidates: &[Candidate], now: Instant) -> Vec<usize> {
    let failed = |at: usize| {
        candidates[at].failed_at.is_some_and(|failed| now.duration_since(failed) < RETRY_AFTER)
    };
    let (mut order, last): (Vec<_>, Vec<_>) = (0..candidates.len()).partition(|at| !failed(*at));
    order.extend(last);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_failed_of_late_come_last() {
        let start = Instant::now();
        let now = start + Duration::from_secs(60);
        let candidate = |ago: Option<u64>| Candidate {
            failed_at: ago.map(|seconds| now - Duration::from_secs(seconds)),
        };
        let table: &[(&[Option<u64>], &[usize])] = &[
            (&[], &[]),
            (&[None, None], &[0, 1]),
            (&[Some(5), None], &[1, 0]),
            (&[Some(20), None], &[0, 1]),
            (&[Some(1), Some(2)], &[0, 1]),
            (&[None, Some(0), None], &[0, 2, 1]),
        ];
        for (failures, expected) in table {
            let candidates: Vec<_> = failures.iter().copied().map(candidate).collect();
            assert_eq!(order(&candidates, now), *expected, "{failures:?}");
        }
    }
}
