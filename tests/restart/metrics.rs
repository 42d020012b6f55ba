//! What a monitoring system sees: it scrapes without a pause while the proxy restarts.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::scene::{exit_timeout, restart, said, until_draining, until_said};
use crate::support::pressure::{EVERYTHING, Pressure, Tally, Waiting, Work, open_bank};
use crate::support::{Database, Login, Proxy, Server, Wire, com, until};

/// Samples by name and labels.
type Page = BTreeMap<String, f64>;

fn scrape(proxy: &Proxy) -> Page {
    let answer = proxy.http_get("/metrics").expect("the HTTP port never refuses");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body.ends_with("# EOF\n"), "a page is whole");
    let samples = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        (name.to_owned(), value.parse().expect("a number"))
    });
    samples.collect()
}

/// Those that may only grow.
fn is_counter(name: &str) -> bool {
    let name = name.split('{').next().unwrap_or(name);
    name.ends_with("_total") || name == "odp_generation"
}

/// Compares each page with the one before until told to stop; how many there were.
fn watch(proxy: &Proxy, sessions: &RangeInclusive<u64>, stop: &AtomicBool) -> usize {
    let mut before = Page::new();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let page = scrape(proxy);
        for (name, value) in before.iter().filter(|(name, _)| is_counter(name)) {
            let now = page.get(name).unwrap_or_else(|| panic!("{name} has gone"));
            assert!(now >= value, "page {count}: {name} went back from {value} to {now}");
        }
        for side in ["client", "server"] {
            let name = format!("odp_current_session{{sessionType=\"{side}\"}}");
            let now = page[&name] as u64;
            assert!(sessions.contains(&now), "page {count}: {now} {side} sessions: {page:#?}");
        }
        before = page;
        count += 1;
    }
    count
}

/// Sessions that only wait.
const WAITING: u64 = 100;

/// Restarts under a load while somebody scrapes; between `sessions` are there at any time. In the
/// end everything was counted once.
fn scraped(work: &[Work], sessions: RangeInclusive<u64>) {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    open_bank(&database);
    let proxy = Proxy::start(&database);
    let mut waiting = Waiting::open(&proxy.address(), WAITING as usize);
    let pressure = Pressure::start(&proxy.address(), work);
    let stop = AtomicBool::new(false);
    let restarts = 15;
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&proxy, &sessions, &stop));
        for _ in 0..restarts {
            if watching.is_finished() {
                break;
            }
            restart(&proxy);
        }
        stop.store(true, Ordering::Relaxed);
        let pages = watching.join().expect("every page is right");
        assert!(pages > restarts, "only {pages} pages were seen");
    });
    assert_eq!(scrape(&proxy)["odp_generation{}"], 1.0 + restarts as f64);
    check_sums(&proxy, &pressure.stop_clean());
    assert_eq!(waiting.dead(), 0);
}

/// What the clients did, and what was counted of it over all generations.
fn check_sums(proxy: &Proxy, tally: &Tally) {
    let sessions = |side| format!("odp_current_session{{sessionType=\"{side}\"}}");
    let page = until("only those to be left that wait", || {
        let page = scrape(proxy);
        let is_left = |side| page[&sessions(side)] == WAITING as f64;
        (is_left("client") && is_left("server")).then_some(page)
    });
    let done = |work| tally.answers.get(&work).copied().unwrap_or(0);
    let once = tally.answers.keys().filter(|work| **work != Work::Connect).count() as u64;
    let connects = WAITING + once + done(Work::Connect);
    // Who waits was asked for its id first, and every fifth has made a row.
    for (name, expected) in [
        ("odp_new_client_connections_total{connectionResult=\"success\"}", connects),
        ("odp_new_client_connections_total{connectionResult=\"failed\"}", 0),
        (
            "odp_sql_request_total{sqlType=\"SELECT\"}",
            WAITING + done(Work::Connect) + done(Work::Select),
        ),
        ("odp_sql_request_total{sqlType=\"INSERT\"}", WAITING / 5 + tally.acknowledged),
        ("odp_sql_request_total{sqlType=\"UPDATE\"}", 2 * tally.acknowledged),
        ("odp_sql_request_total{sqlType=\"DELETE\"}", 0),
    ] {
        assert_eq!(page[name], expected as f64, "{name}: {tally:?}");
    }
}

#[test]
fn t_27_counters_never_go_back_under_a_scrape_without_pause() {
    // 103 are there all the time. Those that connect and quit may still be counted when the next
    // ones come, and how many hangs on the machine: only twice as many would be wrong.
    scraped(&EVERYTHING, 103..=205);
}

#[test]
fn t_27_gauges_count_everybody_once_in_both_generations() {
    scraped(&[Work::Transfer, Work::Prepared, Work::Select], 103..=103);
}

#[test]
fn t_27_a_restart_that_is_rolled_back_counts_everything_once() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut options = exit_timeout(&database, "1h");
    options.proxy += "login_timeout = \"1h\"\n";
    let proxy = Proxy::start_with(&options);
    let open = |_| Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let mut wires: Vec<Wire> = (0..10).map(open).collect();
    let mut select = |times: usize| {
        for wire in &mut wires {
            (0..times).for_each(|_| drop(wire.run("SELECT 1")));
        }
    };
    let selects = || scrape(&proxy)["odp_sql_request_total{sqlType=\"SELECT\"}"];
    select(1);
    assert_eq!(selects(), 10.0);
    // It keeps the predecessor in DRAIN, while all others are at the successor.
    let straggler = Wire::connect(&proxy.address()).expect("a greeting");
    let pid = proxy.pid();
    until_draining(&proxy);
    select(3);
    assert_eq!(selects(), 40.0);
    // It comes and goes while only the successor counts.
    let mut guest = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    guest.run("SELECT 1");
    guest.command(com::QUIT, b"");
    guest.until_closed();
    let undone = said(&proxy, "restart undone");
    let reply = proxy.admin().expect("the admin port").query("RESTART ROLLBACK");
    assert_eq!(reply.error(), None, "{:?}", reply.last());
    until_said(&proxy, "restart undone", undone);
    assert_eq!(proxy.pid(), pid);
    assert_eq!(selects(), 41.0);
    drop(straggler);
    restart(&proxy);
    select(2);
    assert_eq!(selects(), 61.0);
}
