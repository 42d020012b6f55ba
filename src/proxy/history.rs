//! The last hour in samples: what the console's charts show. Kept where there is a console, and
//! handed on by restarts.
//!
//! Invariant: a statement is in one sample at most, whichever process has counted it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;

use super::in_force::InForce;
use super::lock::lock;
use super::sessions::Sessions;
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

    /// Goes on from those of a predecessor.
    pub(super) fn inherit(&self, samples: Vec<Sample>) {
        let mut all = lock(&self.0);
        if all.is_empty() {
            all.extend(samples.into_iter().take(KEPT));
        }
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

/// Takes samples, as long as these sessions live.
pub(super) async fn take(sessions: Weak<Sessions>, in_force: Arc<InForce>, history: Arc<History>) {
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Latencies> = None;
    loop {
        period.tick().await;
        let Some(sessions) = sessions.upgrade() else { return };
        let latencies = in_force.digests().latencies();
        let new = before.replace(latencies.clone()).map(|before| latencies.since(&before));
        sample(&sessions, &new.unwrap_or_default(), &history);
    }
}

fn sample(sessions: &Sessions, latencies: &Latencies, history: &History) {
    let (totals, gauges) = (sessions.totals(), sessions.registry.gauges());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    history.add(|before| Sample {
        at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
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
    fn an_hour_is_kept() {
        let history = History::default();
        for queries in 0..2 * KEPT as u64 {
            history.add(|before| Sample::behind(before, queries, 0));
        }
        assert_eq!(history.samples().len(), KEPT);
        assert_eq!(history.samples()[0].all_queries, KEPT as u64);
    }
}
