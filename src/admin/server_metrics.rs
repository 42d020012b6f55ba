//! Metrics by cluster and server: what SHOW PROXYCLUSTER, PROXYROUTE and PROXYCONGESTION show.
//!
//! Labels come from the config, which may name thousands of servers. Invariant: there are no more
//! than [`MOST`] rows of each metric, and one, `other`, for the rest.

use std::collections::HashMap;
use std::time::Duration;

use super::family::{Family, Labels};
use super::handles::Admin;
use crate::proxy::Proxy;

/// Servers, and clusters, that have rows of their own: those that the config names first.
const MOST: usize = 64;

/// Whom the row of all others names.
const OTHER: &str = "other";

/// One server, or all others.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    cluster: String,
    server: String,
    /// Role and state, of one server.
    is: Option<(&'static str, &'static str)>,
    lag: Option<Duration>,
    links: u64,
    reads: u64,
    writes: u64,
    failures: u64,
}

impl Row {
    /// With another one's numbers.
    fn with(mut self, more: &Self) -> Self {
        self.lag = self.lag.max(more.lag);
        self.links += more.links;
        self.reads += more.reads;
        self.writes += more.writes;
        self.failures += more.failures;
        self
    }

    fn labels(&self) -> Labels {
        vec![("cluster", self.cluster.clone()), ("server", self.server.clone())]
    }
}

/// All of them, at one moment. What is counted begins with each process, so that none is a counter
/// of its kind.
pub(super) fn gauges(admin: &Admin) -> Vec<Family<f64>> {
    let rows = bounded(servers(&admin.proxy));
    let family = |name, help, value: &dyn Fn(&Row) -> Option<f64>| {
        let samples = rows.iter().filter_map(|row| Some((row.labels(), value(row)?)));
        (name, help, samples.collect())
    };
    let states = rows.iter().filter_map(|row| {
        let (role, state) = row.is?;
        let more = [("role", role.to_owned()), ("state", state.to_owned())];
        Some(([row.labels(), more.to_vec()].concat(), 1.0))
    });
    vec![
        ("odp_server_state", "1 for the role and the state that a server has", states.collect()),
        family("odp_server_links", "Connections of sessions to a server", &|row| {
            Some(row.links as f64)
        }),
        family(
            "odp_server_reads",
            "SELECTs of sessions whose home a server is, since this process serves",
            &|row| Some(row.reads as f64),
        ),
        family(
            "odp_server_writes",
            "INSERTs, UPDATEs and DELETEs of sessions whose home a server is, since this process \
             serves",
            &|row| Some(row.writes as f64),
        ),
        family(
            "odp_server_failures",
            "How often a server could not be reached or did not answer a log-in, since this \
             process serves",
            &|row| Some(row.failures as f64),
        ),
        family(
            "odp_server_lag_seconds",
            "How far a replica was behind when it was asked, if it is known",
            &|row| Some(row.lag?.as_secs_f64()),
        ),
        (
            "odp_cluster_primary_epoch",
            "How often the primary of a cluster has changed",
            epochs(&admin.proxy),
        ),
    ]
}

fn servers(proxy: &Proxy) -> Vec<Row> {
    let failures = proxy.congestion().into_iter().map(|view| {
        let count = view.failures.alive.failures + view.failures.connect.failures;
        ((view.cluster, view.server), count)
    });
    let failures: HashMap<_, _> = failures.collect();
    let row = |(view, links): (crate::proxy::cluster::view::ServerView, usize)| {
        let key = (view.cluster, view.server);
        let failures = failures.get(&key).copied().unwrap_or_default();
        Row {
            cluster: key.0,
            server: key.1,
            is: Some((view.role, view.state)),
            lag: view.lag,
            links: links as u64,
            reads: view.reads,
            writes: view.writes,
            failures,
        }
    };
    proxy.servers().into_iter().map(row).collect()
}

/// The first rows, and one for what is behind them.
fn bounded(mut rows: Vec<Row>) -> Vec<Row> {
    if rows.len() > MOST {
        let others = rows.split_off(MOST);
        let (cluster, server) = (OTHER.to_owned(), OTHER.to_owned());
        let other = Row { cluster, server, ..Row::default() };
        rows.push(others.iter().fold(other, Row::with));
    }
    rows
}

fn epochs(proxy: &Proxy) -> Vec<(Labels, f64)> {
    let sample = |name: String, epoch: u64| (vec![("cluster", name)], epoch as f64);
    let mut clusters = proxy.clusters();
    let others = clusters.split_off(clusters.len().min(MOST));
    let mut samples: Vec<_> = clusters.into_iter().map(|it| sample(it.name, it.epoch)).collect();
    if !others.is_empty() {
        samples.push(sample(OTHER.to_owned(), others.iter().map(|it| it.epoch).sum()));
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_limit_is_one_row() {
        let row = |n: usize| Row {
            cluster: "main".into(),
            server: n.to_string(),
            is: Some(("replica", "online")),
            lag: n.is_multiple_of(2).then(|| Duration::from_secs(n as u64)),
            links: 1,
            reads: 2,
            writes: 3,
            failures: n as u64,
        };
        let few: Vec<Row> = (0..MOST).map(row).collect();
        assert_eq!(bounded(few.clone()), few);
        let rows = bounded((0..MOST + 3).map(row).collect());
        assert_eq!((&rows[..MOST], rows.len()), (&few[..], MOST + 1));
        let other = Row {
            cluster: OTHER.into(),
            server: OTHER.into(),
            is: None,
            lag: Some(Duration::from_secs(MOST as u64 + 2)),
            links: 3,
            reads: 6,
            writes: 9,
            failures: 3 * MOST as u64 + 3,
        };
        assert_eq!(rows[MOST], other);
    }
}
