//! Servers that are dead, or hang: what operators see, and where clients go.

use nix::sys::signal::Signal;

use crate::scene::{cells, command, open, port, refused, route, show, until_route};
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, until};

const DETECT: &str = "
server_detect_mode = 1
server_detect_refresh_interval = \"50ms\"
server_detect_timeout = \"300ms\"
congestion_failure_threshold = 2
congestion_retry_interval = \"1s\"
";

/// ODP's columns.
const CONGESTION: &[&str] = &[
    "cluster_name",
    "zone_name",
    "region_name",
    "zone_state",
    "server_ip",
    "cr_version",
    "server_state",
    "alive_congested",
    "last_alive_congested",
    "dead_congested",
    "last_dead_congested",
    "stat_alive_failures",
    "stat_conn_failures",
    "conn_last_fail_time",
    "conn_failure_events",
    "alive_last_fail_time",
    "alive_failure_events",
    "ref_count",
    "detect_congested",
    "last_detect_congested",
];

fn start() -> Option<([Database; 2], Proxy)> {
    let servers = [Database::start(Server::MariaDb)?, Database::start(Server::MariaDb)?];
    let mut options = Options::new(&servers.each_ref().map(Database::address));
    options.proxy = DETECT.into();
    let proxy = Proxy::start_with(&options);
    Some((servers, proxy))
}

fn congested(proxy: &Proxy) -> Vec<String> {
    let rows = show(proxy, "PROXYCONGESTION");
    cells(&rows, &["server_ip"]).into_iter().flatten().collect()
}

#[test]
fn a_dead_server_is_left_out_until_it_is_back() {
    let Some(([mut dead, other], proxy)) = start() else { return };
    assert_eq!(port(&mut open(&proxy, "odp").expect("both live")), dead.port);
    let mut admin = proxy.admin().expect("the proxy takes operators");
    let columns = admin.run("SHOW PROXYCONGESTION ALL").columns();
    assert_eq!(columns, CONGESTION);
    assert_eq!(congested(&proxy), Vec::<String>::new());
    let address = dead.address();
    dead.kill9();
    let row = until("the black list", || {
        let row = show(&proxy, "PROXYCONGESTION").pop()?;
        (row["detect_congested"] == "1").then_some(row)
    });
    assert_eq!((&*row["cluster_name"], &*row["server_ip"]), ("main", &*address));
    assert_eq!(row["server_state"], "LOST");
    assert_ne!(row["last_detect_congested"], "0");
    let row = route(&proxy, &address);
    assert_eq!((&*row["state"], &*row["links"]), ("lost", "0"));
    assert!(row["last_error"].contains(&address), "{row:?}");
    for _ in 0..5 {
        assert_eq!(port(&mut open(&proxy, "odp").expect("one lives")), other.port);
    }
    dead.start_again();
    until_route(&proxy, &address, "state", "online");
    until("an empty list", || congested(&proxy).is_empty().then_some(()));
    until("its clients again", || {
        let mut wire = open(&proxy, "odp").ok()?;
        (port(&mut wire) == dead.port).then_some(())
    });
}

#[test]
fn a_server_that_hangs_is_left_out() {
    let Some(([hung, other], proxy)) = start() else { return };
    let mut held = open(&proxy, "odp").expect("both live");
    assert_eq!(port(&mut held), hung.port);
    hung.process().signal(Signal::SIGSTOP);
    until_route(&proxy, &hung.address(), "state", "lost");
    for _ in 0..3 {
        assert_eq!(port(&mut open(&proxy, "odp").expect("one lives")), other.port);
    }
    hung.process().signal(Signal::SIGCONT);
    until_route(&proxy, &hung.address(), "state", "online");
    assert_eq!(port(&mut held), hung.port, "who was on it has waited");
}

#[test]
fn a_server_is_lost_after_as_many_failures_as_the_threshold_says() {
    let Some(([hung, _other], proxy)) = start() else { return };
    let mut admin = proxy.admin().expect("the proxy takes operators");
    admin.run("ALTER PROXYCONFIG SET server_detect_fail_threshold = 1000");
    hung.process().signal(Signal::SIGSTOP);
    let row = until("a failure", || {
        let row = route(&proxy, &hung.address());
        (!row["last_error"].is_empty()).then_some(row)
    });
    assert_eq!(row["state"], "suspect");
    admin.run("ALTER PROXYCONFIG SET server_detect_fail_threshold = 2");
    until_route(&proxy, &hung.address(), "state", "lost");
    hung.process().signal(Signal::SIGCONT);
    until_route(&proxy, &hung.address(), "state", "online");
}

#[test]
fn nobody_is_told_that_a_server_is_up_that_nobody_has_asked() {
    let Some(mut database) = Database::start(Server::MariaDb) else { return };
    let mut options = Options::new(&[database.address()]);
    // A failure is forgotten at once, by who chooses a server.
    options.proxy = "congestion_retry_interval = \"1ms\"".into();
    let proxy = Proxy::start_with(&options);
    let address = database.address();
    let state = || {
        let congestion = show(&proxy, "PROXYCONGESTION ALL").remove(0);
        let state = route(&proxy, &address)["state"].clone();
        assert_eq!(congestion["server_state"], state.to_uppercase());
        state
    };
    assert_eq!(state(), "unknown");
    let client = open(&proxy, "odp").expect("it lives");
    assert_eq!(state(), "online");
    // Sessions on it tell a successor as much.
    proxy.restart();
    assert_eq!(route(&proxy, &address)["state"], "online");
    drop(client);
    database.kill9();
    assert_eq!(refused(open(&proxy, "odp")).0, 2003);
    until("the failure to be forgotten", || {
        let row = show(&proxy, "PROXYCONGESTION ALL").remove(0);
        (row["server_state"] == "SUSPECT").then_some(())
    });
    assert_eq!(state(), "suspect", "it has not answered since");
    database.start_again();
    drop(open(&proxy, "odp").expect("it is back"));
    assert_eq!(state(), "online");
}

/// ODP's `connect_observer_max_retries`.
#[test]
fn no_more_servers_are_tried_than_are_allowed() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    // Nobody listens there.
    let [one, other] = ["127.0.0.1:1", "127.0.0.1:2"].map(str::to_owned);
    let mut options = Options::new(&[one, other, database.address()]);
    // Who has failed is tried again at once, in the order of the config.
    options.proxy =
        "congestion_retry_interval = \"1ms\"\nconnect_observer_max_retries = 1\n".into();
    let proxy = Proxy::start_with(&options);
    assert_eq!(refused(open(&proxy, "odp")).0, 2003);
    command(&proxy, "ALTER PROXYCONFIG SET connect_observer_max_retries = 2");
    assert_eq!(port(&mut open(&proxy, "odp").expect("the third one lives")), database.port);
}

#[test]
fn without_detection_clients_find_out() {
    let Some([mut dead, other]) =
        Database::start(Server::MariaDb).zip(Database::start(Server::MariaDb)).map(<[_; 2]>::from)
    else {
        return;
    };
    let mut options = Options::new(&[dead.address(), other.address()]);
    options.proxy = "congestion_failure_threshold = 1".into();
    let proxy = Proxy::start_with(&options);
    let address = dead.address();
    dead.kill9();
    until("the black list", || {
        let mut wire = open(&proxy, "odp").expect("one lives");
        assert_eq!(port(&mut wire), other.port);
        (congested(&proxy) == [&*address]).then_some(())
    });
    let row = &show(&proxy, "PROXYCONGESTION")[0];
    assert_eq!((&*row["dead_congested"], &*row["server_state"]), ("1", "CONGESTED"));
    assert_ne!(row["stat_conn_failures"], "0");
    assert_ne!(row["conn_last_fail_time"], "0");
    drop(other);
    assert_eq!(refused(open(&proxy, "odp")).0, 2003);
}
