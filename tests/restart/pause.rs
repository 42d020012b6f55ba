//! How long sessions stand still in a restart: everyone who moved is counted, once, for ever.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::scene::restart;
use crate::support::pressure::Waiting;
use crate::support::{Database, Login, Proxy, Server, Wire, com, until};

/// Sessions of every class, all of which move.
const SESSIONS: usize = 40;

const RESTARTS: usize = 5;

#[test]
fn every_session_that_moves_counts_its_pause() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let mut waiting = Waiting::open(&proxy.address(), SESSIONS - 1);
    let mut sleeper = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    sleeper.command(com::QUERY, b"SELECT SLEEP(1000)");
    let counted = until("the statement to be counted", || {
        let counters = counters(&proxy);
        let connects = &counters["odp_new_client_connections_total{connectionResult=\"success\"}"];
        let selects = &counters["odp_sql_request_total{sqlType=\"SELECT\"}"];
        let expected = [SESSIONS, SESSIONS].map(|n| n.to_string());
        (*connects == expected[0] && *selects == expected[1]).then_some(counters)
    });
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| scrape_until(&proxy, &is_over));
        for number in 1..=RESTARTS {
            restart(&proxy);
            let newest = until("every pause to be counted", || {
                let task = tasks(&proxy).into_iter().next()?;
                (task["pause_count"] == SESSIONS.to_string()).then_some(task)
            });
            let us = |column: &str| newest[column].parse::<u64>().expect("microseconds");
            let (p50, p99) = (us("pause_p50_us"), us("pause_p99_us"));
            assert!(0 < p50 && p50 <= p99 && p99 <= us("pause_max_us"), "{newest:?}");
            let counted = pauses(&proxy).expect("metrics");
            assert_eq!(counted["count"], (number * SESSIONS) as f64, "{counted:?}");
            assert_eq!(counted["+Inf"], counted["count"]);
            assert!(counted["sum"] > 0.0);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(scraper.join().expect("counters never go back") > RESTARTS);
    });
    let counts: Vec<_> = tasks(&proxy).iter().map(|task| task["pause_count"].clone()).collect();
    assert_eq!(counts, vec![SESSIONS.to_string(); RESTARTS], "later generations remember");
    assert_eq!(counters(&proxy), counted, "what was counted is counted once");
    assert_eq!(waiting.dead(), 0);
}

/// Every counter by name and labels.
fn counters(proxy: &Proxy) -> BTreeMap<String, String> {
    let page = proxy.http_get("/metrics").expect("metrics");
    let samples = page.lines().filter_map(|line| line.rsplit_once(' '));
    let counters = samples.filter(|(name, _)| name.contains("_total{"));
    counters.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// How often it was answered; fails if a number goes back.
fn scrape_until(proxy: &Proxy, is_over: &AtomicBool) -> usize {
    let mut before = BTreeMap::new();
    let mut answers = 0;
    while !is_over.load(Ordering::Relaxed) {
        let Some(now) = pauses(proxy) else { continue };
        for (name, value) in &before {
            assert!(now[name] >= *value, "{name} goes from {value} to {}", now[name]);
        }
        before = now;
        answers += 1;
    }
    answers
}

/// The histogram: `sum`, `count` and the bounds.
fn pauses(proxy: &Proxy) -> Option<BTreeMap<String, f64>> {
    let page = proxy.http_get("/metrics")?;
    let lines = page.lines().filter_map(|line| line.strip_prefix("odp_restart_pause_seconds_"));
    let found: BTreeMap<_, _> = lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.trim_start_matches("bucket{le=\"").trim_end_matches("\"}");
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect();
    (!found.is_empty()).then_some(found)
}

fn tasks(proxy: &Proxy) -> Vec<BTreeMap<String, String>> {
    proxy.admin().expect("the admin port takes us").query("SHOW RESTART").named_rows()
}
