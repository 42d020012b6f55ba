//! The last hour of the whole fleet: each proxy keeps its own, and here they are one sum. Who asks
//! whom is told by `Hours`; the rest is pure.
//!
//! Samples are placed by their age, as clocks differ. Invariant: whose sample is not in a sum is
//! named beside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::lines::Lines;
use super::members::{Member, members};
use super::port::{Row, Trouble};
use crate::config::Config;

/// What a sum tells of, as a sample does.
const UNIT: u64 = 10;

/// So far back sums go.
const SPAN: u64 = 3600;

/// A sample tells of so long before and behind its end, if there is no nearer one.
const REACH: u64 = 25;

/// More was heard already when somebody is asked for what is new.
const OVERLAP: u64 = 30;

/// Two ages of one sample differ by no more.
const ROUNDING: i64 = 2;

/// What a proxy has counted in a unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    /// Its end, in seconds since the asking began.
    at: i64,
    queries: u64,
    errors: u64,
    sessions: u64,
    p50_us: u64,
    p99_us: u64,
}

/// What is known of one proxy's hour.
#[derive(Clone, Debug, Default)]
struct Hour {
    samples: VecDeque<Sample>,
    /// When it has answered last, in seconds since the asking began.
    heard: Option<i64>,
    /// It has not answered when it was last asked.
    is_silent: bool,
}

/// What all have counted in a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How long ago it ended, in seconds.
    pub ago_s: u64,
    /// What it tells of, in seconds.
    pub seconds: u64,
    /// Commands of clients.
    pub queries: u64,
    /// Answers that were errors.
    pub errors: u64,
    /// Clients at its end.
    pub sessions: u64,
    /// Of the slowest proxy: half of the statements took no longer.
    pub p50_us: u64,
    /// Of the slowest proxy: 99 of 100.
    pub p99_us: u64,
    /// How many proxies it is of.
    pub proxies: usize,
    /// Those that it is not of.
    pub missing: Vec<String>,
}

/// The hours of the fleet, as far as they were asked for.
#[derive(Debug)]
pub(super) struct Hours {
    began: Instant,
    known: Mutex<BTreeMap<String, Hour>>,
}

impl Hours {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), known: Mutex::default() }
    }

    /// Asks all for what is new, and sums up; the oldest sum first.
    pub(super) async fn ask(&self, config: &Config, lines: &Lines) -> anyhow::Result<Vec<Sum>> {
        let members = members(config).await?;
        let names: BTreeSet<String> = members.iter().map(|member| member.name.clone()).collect();
        let mut asking = JoinSet::new();
        for member in members {
            let (since, lines) = (self.since(&member.name), lines.clone());
            // Each is bounded by the deadlines of the client.
            asking.spawn(async move { (hour(&member, &lines, since).await, member.name) });
        }
        let answers = asking.join_all().await;
        let now = self.now();
        let mut known = self.known();
        known.retain(|name, _| names.contains(name));
        for (answer, name) in answers {
            let hour = known.entry(name).or_default();
            match answer {
                Ok(rows) => hour.hear(&rows, now),
                Err(trouble) => {
                    tracing::debug!(%trouble, "an hour of the fleet");
                    hour.is_silent = true;
                }
            }
            hour.forget(now);
        }
        Ok(sums(&known, now))
    }

    /// How many seconds somebody is asked for.
    fn since(&self, name: &str) -> u64 {
        let heard = self.known().get(name).and_then(|hour| hour.heard);
        let ago = heard.map(|heard| (self.now() - heard).unsigned_abs());
        ago.map_or(SPAN, |ago| (ago + OVERLAP).min(SPAN))
    }

    fn now(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_secs()).unwrap_or(i64::MAX)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Hour>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn hour(member: &Member, lines: &Lines, seconds: u64) -> Result<Vec<Row>, Trouble> {
    let (mut admin, _) = lines.open(member).await?;
    let rows = admin.history(Duration::from_secs(seconds)).await?;
    lines.keep(member, admin);
    Ok(rows)
}

impl Hour {
    /// Takes rows of SHOW PROXYHISTORY, the oldest first, of which some may be known.
    fn hear(&mut self, rows: &[Row], now: i64) {
        (self.heard, self.is_silent) = (Some(now), false);
        let known = self.samples.back().map(|it| it.at);
        for row in rows {
            let number = |name| row.number(name).unwrap_or_default();
            let at = now - i64::try_from(number("ago_s")).unwrap_or(i64::MAX);
            if known.is_some_and(|known| at <= known + ROUNDING) {
                continue;
            }
            self.samples.push_back(Sample {
                at,
                queries: number("queries"),
                errors: number("errors"),
                sessions: number("sessions"),
                p50_us: number("p50_us"),
                p99_us: number("p99_us"),
            });
        }
    }

    fn forget(&mut self, now: i64) {
        let oldest = now - (SPAN + REACH) as i64;
        let most = 2 * (SPAN / UNIT) as usize;
        while self.samples.front().is_some_and(|it| it.at < oldest) || self.samples.len() > most {
            self.samples.pop_front();
        }
    }

    /// What tells of an instant: the sample that ends there or behind it, or else the last one of
    /// who will have another.
    fn at(&self, instant: i64) -> Option<&Sample> {
        let behind = self.samples.partition_point(|sample| sample.at < instant);
        let last = self.samples.back().filter(|_| !self.is_silent);
        let nearest = self.samples.get(behind).or(last)?;
        ((nearest.at - instant).unsigned_abs() <= REACH).then_some(nearest)
    }
}

fn sums(known: &BTreeMap<String, Hour>, now: i64) -> Vec<Sum> {
    let ages = (0..SPAN / UNIT).rev().map(|unit| unit * UNIT);
    let sums = ages.map(|ago_s| sum(known, now - ago_s as i64, ago_s));
    sums.skip_while(|sum| sum.proxies == 0).collect()
}

fn sum(known: &BTreeMap<String, Hour>, instant: i64, ago_s: u64) -> Sum {
    let mut sum = Sum { ago_s, seconds: UNIT, ..Sum::default() };
    for (name, hour) in known {
        let Some(sample) = hour.at(instant) else {
            sum.missing.push(name.clone());
            continue;
        };
        sum.proxies += 1;
        sum.queries = sum.queries.saturating_add(sample.queries);
        sum.errors = sum.errors.saturating_add(sample.errors);
        sum.sessions = sum.sessions.saturating_add(sample.sessions);
        sum.p50_us = sum.p50_us.max(sample.p50_us);
        sum.p99_us = sum.p99_us.max(sample.p99_us);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ago_s: u64, queries: u64) -> Row {
        let fixed = [("errors", 1), ("sessions", 2), ("p50_us", 3), ("p99_us", 10 * queries)];
        let numbers = [("ago_s", ago_s), ("queries", queries)].into_iter().chain(fixed);
        Row(numbers.map(|(name, value)| (name.to_owned(), value.to_string())).collect())
    }

    fn hour(rows: &[Row], now: i64) -> Hour {
        let mut hour = Hour::default();
        hour.hear(rows, now);
        hour
    }

    #[test]
    fn a_sum_is_of_all_who_have_counted_and_names_who_has_not() {
        let a = hour(&[row(20, 100), row(10, 200), row(0, 300)], 1000);
        // Its samples end in between.
        let b = hour(&[row(16, 7), row(6, 8)], 1000);
        let known = [("a", a), ("b", b), ("c", Hour::default())];
        let known = known.map(|(name, hour)| (name.to_owned(), hour)).into();
        let sums = sums(&known, 1000);
        let shown: Vec<_> = sums.iter().map(|it| (it.ago_s, it.queries, it.proxies)).collect();
        let expected = [(40, 107, 2), (30, 107, 2), (20, 107, 2), (10, 208, 2), (0, 308, 2)];
        assert_eq!(shown, expected);
        let last = sums.last().expect("there are some");
        assert_eq!((last.errors, last.sessions, last.p50_us, last.p99_us), (2, 4, 3, 3000));
        assert!(sums.iter().all(|it| it.missing == ["c"]), "{sums:?}");
    }

    #[test]
    fn who_has_fallen_silent_is_missing_from_then_on() {
        let known = |is_silent| -> BTreeMap<_, _> {
            let hour = Hour { is_silent, ..hour(&[row(0, 100)], 1000) };
            [("a".to_owned(), hour)].into()
        };
        for (is_silent, now, expected) in
            [(false, 1000, 1), (false, 1025, 1), (false, 1026, 0), (true, 1000, 1), (true, 1001, 0)]
        {
            let sums = sums(&known(is_silent), now);
            let last = sums.last().expect("an hour");
            assert_eq!(last.proxies, expected, "{is_silent} {now}");
            assert_eq!(last.missing.len(), 1 - expected, "{is_silent} {now}");
        }
    }

    #[test]
    fn what_is_heard_twice_counts_once_and_old_samples_go() {
        let mut hour = hour(&[row(10, 1), row(0, 2)], 100);
        hour.hear(&[row(8, 2), row(0, 3)], 109);
        let counted: Vec<_> = hour.samples.iter().map(|it| (it.at, it.queries)).collect();
        assert_eq!(counted, [(90, 1), (100, 2), (109, 3)]);
        hour.forget(100 + (SPAN + REACH) as i64);
        assert_eq!(hour.samples.len(), 2);
        let empty: BTreeMap<String, Hour> = BTreeMap::new();
        assert!(sums(&empty, 5).is_empty());
    }
}
