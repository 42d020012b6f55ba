//! What a monitoring system sees of servers.

use crate::pair::Pair;
use crate::support::{com, until};

#[test]
fn servers_have_metrics_of_their_own() {
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    wire.run("INSERT INTO p.t (n) VALUES (4)");
    wire.run("CREATE TABLE p.more (n INT)");
    wire.run("DROP TABLE p.more");
    assert_eq!(wire.run("SELECT name FROM p.who").text(), "replica");
    assert_eq!(wire.run("SELECT name FROM p.who FOR UPDATE").text(), "primary");
    // Prepared reads are counted where they are executed.
    let id = wire.prepare("SELECT name FROM p.who");
    let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
    assert_eq!(wire.ask(com::EXECUTE, &body).row_count(), 1);
    let [primary, replica] = [&pair.primary, &pair.replica].map(|server| {
        let address = server.address();
        move |name: &str, labels: &str, value: &str| {
            format!("{name}{{cluster=\"main\",server=\"{address}\"{labels}}} {value}\n")
        }
    });
    let role = |role: &str| format!(",role=\"{role}\",state=\"online\"");
    let expected = [
        primary("odp_server_state", &role("primary"), "1.0"),
        replica("odp_server_state", &role("replica"), "1.0"),
        primary("odp_server_links", "", "1.0"),
        replica("odp_server_links", "", "1.0"),
        primary("odp_server_writes", "", "3.0"),
        primary("odp_server_reads", "", "1.0"),
        replica("odp_server_reads", "", "2.0"),
        replica("odp_server_writes", "", "0.0"),
        replica("odp_server_failures", "", "0.0"),
        replica("odp_server_lag_seconds", "", "0.0"),
        "odp_cluster_primary_epoch{cluster=\"main\"} 1.0\n".to_owned(),
    ];
    let page = || pair.proxy.http_get("/metrics").expect("it never refuses");
    until("all of it", || {
        let page = page();
        let missing = expected.iter().find(|line| !page.contains(&***line));
        missing.inspect(|line| eprintln!("not there: {line}")).is_none().then_some(())
    });
}
