//! The last hour in samples: what the console's charts show. Kept where there is a console, and
//! handed on by restarts.
//!
//! Invariant: a statement is in one sample at most, whichever process has counted it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::moves::Shared;
use super::sessions::Sessions;
use crate::lock::lock;
use crate::metrics::latency::Latencies;

/// What a sample tells of.
pub const PERIOD: Duration = Duration::from_secs(10);

/// An hour.
const KEPT: usize = 360;

/// One of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u64; 8]", into = "[u64; 8]")]
pub struct Sample {
    /// Its end, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Commands of clients in it.
    pub queries: u64,
    /// Answers that were errors.
    pub errors: u64,
    /// Clients at its end.
    pub sessions: u64,
    /// How long statements took: half of them. 0: there were none, or nobody counts.
    pub p50_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// Of all time.
    all_queries: u64,
    all_errors: u64,
}

impl From<[u64; 8]> for Sample {
    fn from(numbers: [u64; 8]) -> Self {
        let [at_ms, queries, errors, sessions, p50_us, p99_us, all_queries, all_errors] = numbers;
        Self { at_ms, queries, errors, sessions, p50_us, p99_us, all_queries, all_errors }
    }
}

impl From<Sample> for [u64; 8] {
    fn from(sample: Sample) -> Self {
        let Sample { at_ms, queries, errors, sessions, p50_us, p99_us, .. } = sample;
        let Sample { all_queries, all_errors, .. } = sample;
        [at_ms, queries, errors, sessions, p50_us, p99_us, all_queries, all_errors]
    }
}

impl Sample {
    /// What comes behind another one, when so much was counted in all. Counters of predecessors may
    /// still be on their way: then it was as much as before.
    fn behind(before: Option<&Self>, all_queries: u64, all_errors: u64) -> Self {
        let (queries, errors) = before.map_or((0, 0), |it| (it.all_queries, it.all_errors));
        // Of the first nobody knows in which time.
        let since = |all: u64, known: u64| before.map_or(0, |_| all.saturating_sub(known));
        Self {
            queries: since(all_queries, queries),
            errors: since(all_errors, errors),
            all_queries: all_queries.max(queries),
            all_errors: all_errors.max(errors),
            ..Self::default()
        }
    }
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Sample>>);

impl History {
    /// All of them, the oldest first.
    pub fn samples(&self) -> Vec<Sample> {
        lock(&self.0).iter().copied().collect()
    }

    /// Goes on from those of a predecessor. What this process has seen before them was none of its
    /// sessions yet.
    pub(super) fn inherit(&self, samples: Vec<Sample>) {
        if !samples.is_empty() {
            *lock(&self.0) = samples.into_iter().take(KEPT).collect();
        }
    }

    /// When the last one has ended, since the Unix epoch.
    fn last(&self) -> Option<Duration> {
        lock(&self.0).back().map(|sample| Duration::from_millis(sample.at_ms))
    }

    fn add(&self, sample: impl FnOnce(Option<&Sample>) -> Sample) {
        let mut all = lock(&self.0);
        let sample = sample(all.back());
        if all.len() == KEPT {
            all.pop_front();
        }
        all.push_back(sample);
    }
}

/// How long until the next one is due. A successor goes on in time with its predecessor: a sample
/// of its own when it has just begun would tell of no session at all.
fn rest(last: Option<Duration>, now: Duration) -> Duration {
    last.map_or(Duration::ZERO, |last| {
        let since = now.saturating_sub(last).as_millis() % PERIOD.as_millis();
        PERIOD - Duration::from_millis(since as u64)
    })
}

/// Takes samples, as long as these sessions live.
pub(super) async fn take(watched: Weak<Shared>, history: Arc<History>) {
    let latencies = watched.upgrade().map(|shared| shared.in_force.digests().latencies());
    let Some(mut before) = latencies else { return };
    loop {
        let last = history.last();
        tokio::time::sleep(rest(last, now())).await;
        // Those of a predecessor may have come meanwhile.
        if history.last() != last {
            continue;
        }
        let Some(shared) = watched.upgrade() else { return };
        let latencies = shared.in_force.digests().latencies();
        sample(&shared.sessions, &latencies.since(&before), &history);
        before = latencies;
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn sample(sessions: &Sessions, latencies: &Latencies, history: &History) {
    let (totals, gauges) = (sessions.totals(), sessions.registry.gauges());
    history.add(|before| Sample {
        at_ms: u64::try_from(now().as_millis()).unwrap_or(u64::MAX),
        sessions: gauges.current_client_connections,
        p50_us: latencies.quantile_us(0.5),
        p99_us: latencies.quantile_us(0.99),
        ..Sample::behind(before, totals.client_requests, totals.server_error_responses)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_tell_what_came_in_them_also_behind_a_restart() {
        let history = History::default();
        let add = |history: &History, queries, errors| {
            history.add(|before| Sample::behind(before, queries, errors));
        };
        add(&history, 1000, 10);
        add(&history, 1500, 12);
        let of = |history: &History| {
            let samples = history.samples();
            samples.iter().map(|it| (it.queries, it.errors)).collect::<Vec<_>>()
        };
        assert_eq!(of(&history), [(0, 0), (500, 2)]);
        let told = serde_json::to_string(&history.samples()).expect("plain data");
        let next = History::default();
        next.inherit(serde_json::from_str(&told).expect("the same"));
        // The counters come later.
        add(&next, 7, 0);
        add(&next, 1600, 12);
        assert_eq!(of(&next), [(0, 0), (500, 2), (0, 0), (100, 0)]);
    }

    #[test]
    fn a_successor_counts_in_time_with_its_predecessor() {
        let history = History::default();
        let rest = |now_ms| rest(history.last(), Duration::from_millis(now_ms)).as_millis();
        assert_eq!(rest(77), 0, "the first is due at once");
        history.add(|before| Sample { at_ms: 77, ..Sample::behind(before, 0, 0) });
        // It has begun, and hears of its predecessor only then.
        history.inherit(vec![Sample { at_ms: 20_000, sessions: 7, ..Sample::default() }]);
        assert_eq!(history.samples().len(), 1);
        for (now_ms, expected) in
            [(20_000, 10_000), (21_500, 8500), (29_999, 1), (45_000, 5000), (19_000, 10_000)]
        {
            assert_eq!(rest(now_ms), expected, "{now_ms}");
        }
        history.inherit(Vec::new());
        assert_eq!(history.samples()[0].sessions, 7, "a predecessor without a console");
    }

    #[test]
    fn an_hour_is_kept() {
        let history = History::default();
        for queries in 0..2 * KEPT as u64 {
            history.add(|before| Sample::behind(before, queries, 0));
        }
        assert_eq!(history.samples().len(), KEPT);
        assert_eq!(history.samples()[0].all_queries, KEPT as u64);
    }
}
