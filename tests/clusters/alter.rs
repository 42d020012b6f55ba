//! ALTER CLUSTER by an operator: what counts at once, what is refused, and what outlives what.

use nix::sys::signal::Signal;

use crate::scene::{account, cluster, command, open, order, port, show};
use crate::support::proxy::Options;
use crate::support::{Database, Proxy, Server, until};

fn start() -> Option<([Database; 2], Proxy)> {
    let servers = [Database::start(Server::MariaDb)?, Database::start(Server::MariaDb)?];
    let mut options = Options::new(&[servers[0].address()]);
    options.rest = format!("{}{}", account(), cluster("o", &servers[1].address(), ""));
    let proxy = Proxy::start_with(&options);
    Some((servers, proxy))
}

fn config(proxy: &Proxy, name: &str) -> String {
    let rows = show(proxy, &format!("PROXYCONFIG LIKE '{name}'"));
    rows[0]["value"].clone()
}

fn states(proxy: &Proxy) -> Vec<(String, String)> {
    let mut rows = show(proxy, "PROXYROUTE");
    rows.retain(|row| row["cluster"] == "main");
    rows.into_iter().map(|mut row| (row.remove("server"), row.remove("state"))).map(both).collect()
}

fn both((server, state): (Option<String>, Option<String>)) -> (String, String) {
    (server.expect("a column"), state.expect("a column"))
}

#[test]
fn what_is_altered_counts_at_once_and_outlives_reloads_and_restarts() {
    let Some(([first, second], proxy)) = start() else { return };
    let [one, two] = [first.address(), second.address()];
    let expected = [(one.clone(), "online".to_owned())];
    assert_eq!(states(&proxy), [(one.clone(), "unknown".to_owned())], "nobody has asked it");
    assert_eq!(port(&mut open(&proxy, "odp").expect("it lives")), first.port);
    command(&proxy, &format!("ALTER CLUSTER main ADD SERVER '{two}'"));
    command(&proxy, &format!("ALTER CLUSTER main DRAIN SERVER '{one}'"));
    command(&proxy, "ALTER CLUSTER main SET read_write_split = 'weak', max_replica_lag = '3s'");
    let check = |when: &str| {
        let draining = states(&proxy).swap_remove(0);
        assert_eq!(draining, (one.clone(), "draining".to_owned()), "{when}");
        assert_eq!(config(&proxy, "cluster.main.read_write_split"), "weak", "{when}");
        assert_eq!(config(&proxy, "cluster.main.max_replica_lag"), "3s", "{when}");
        assert_eq!(port(&mut open(&proxy, "odp").expect(when)), second.port, "{when}");
        let other = states(&proxy).swap_remove(1);
        assert_eq!(other, (two.clone(), "online".to_owned()), "{when}");
    };
    check("at once");
    // A reload that says something new elsewhere.
    let text = std::fs::read_to_string(proxy.config()).expect("the config");
    let text = text.replace("[admin]", "connect_timeout = \"7s\"\n[admin]");
    std::fs::write(proxy.config(), text).expect("the file is ours");
    proxy.process().signal(Signal::SIGHUP);
    until("the reload", || (config(&proxy, "connect_timeout") == "7s").then_some(()));
    check("after a reload");
    proxy.restart();
    check("after a restart");
    command(&proxy, &format!("ALTER CLUSTER main DROP SERVER '{two}'"));
    command(&proxy, &format!("ALTER CLUSTER main ONLINE SERVER '{one}'"));
    assert_eq!(port(&mut open(&proxy, "odp").expect("it lives")), first.port);
    assert_eq!(states(&proxy), expected);
}

#[test]
fn what_does_not_fit_is_refused_with_what_was_expected() {
    let Some(([first, second], proxy)) = start() else { return };
    let [one, two] = [first.address(), second.address()];
    let table = [
        ("mian SET read_write_split = 'on'".to_owned(), "did you mean \"main\""),
        ("main SET read_write_split = 'yes'".to_owned(), "expected one of"),
        ("main SET read_write_spilt = 'on'".to_owned(), "did you mean \"read_write_split\""),
        ("main SET service_password = 'x'".to_owned(), "changed in the file"),
        (format!("main ADD SERVER '{one}'"), "one of the servers already"),
        (format!("main DROP SERVER '{one}'"), "last server of the cluster"),
        (format!("main DROP SERVER '{two}'"), "no such server"),
        (format!("main DRAIN SERVER '{two}'"), "no such server"),
        ("main ADD SERVER 'h'".to_owned(), "expected HOST:PORT"),
        ("main ADD SERVER".to_owned(), "expected a server"),
        ("main MEND SERVER 'h:1'".to_owned(), "expected SET, ADD SERVER"),
    ];
    for (what, part) in table {
        let error = order(&proxy, &format!("ALTER CLUSTER {what}")).expect(&what);
        assert!(error.contains(part), "{what}: {error}");
    }
    assert_eq!(states(&proxy), [(one, "unknown".to_owned())]);
    // Only managers may.
    let login = crate::support::Login {
        user: "watch".into(),
        password: crate::support::proxy::ADMIN_PASSWORD.into(),
        database: None,
        ..Default::default()
    };
    let mut viewer = crate::support::Wire::open(&proxy.admin_address(), &login).expect("a viewer");
    let reply = viewer.query("ALTER CLUSTER main SET read_write_split = 'on'");
    assert_eq!(reply.error(), Some(1227));
}
