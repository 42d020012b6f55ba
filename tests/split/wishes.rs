//! What a client asks of the proxy by ODP's user variables.

use crate::pair::Pair;
use crate::support::{Wire, com};

const WHO: &str = "SELECT name FROM p.who";

fn marked(lines: &str) -> Option<(Pair, Wire)> {
    let pair = Pair::start(lines)?;
    pair.marked();
    let wire = pair.open();
    Some((pair, wire))
}

fn execute(wire: &mut Wire, id: u32) {
    let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
    assert_eq!(wire.ask(com::EXECUTE, &body).error(), None);
}

#[test]
fn reads_are_as_new_as_is_asked() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    assert_eq!(wire.run(WHO).text(), "replica");
    for (set, who) in [
        ("SET @ob_read_consistency = 'strong'", "primary"),
        ("SET @ob_read_consistency = 'weak'", "replica"),
        ("SET @obproxy_read_consistency = 0", "primary"),
        ("SET @x = 1, @obproxy_read_consistency = NULL", "replica"),
        // Nobody knows what that is.
        ("SET @ob_read_consistency = CONCAT('we', 'ak')", "primary"),
        ("SELECT 'weak' INTO @ob_read_consistency", "primary"),
        ("SET @ob_read_consistency = NULL", "replica"),
    ] {
        wire.run(set);
        assert_eq!(wire.run(WHO).text(), who, "{set}");
    }
    // It is a user variable like others.
    wire.run("SET @obproxy_read_consistency = 1");
    assert_eq!(
        wire.run("SELECT CONCAT(@obproxy_read_consistency, name) FROM p.who").text(),
        "1replica"
    );
    assert!(wire.query("SET @obproxy_read_consistency = 0, @x = nothing").error().is_some());
    wire.run("SELECT 1");
    assert_eq!(wire.run(WHO).text(), "replica", "what failed has set nothing");
    let id = wire.prepare("SET @obproxy_read_consistency = 0");
    assert_eq!(wire.run(WHO).text(), "replica", "it is only prepared");
    execute(&mut wire, id);
    assert_eq!(wire.run(WHO).text(), "primary");
    assert_eq!(wire.run("SELECT /*+READ_CONSISTENCY(WEAK)*/ name FROM p.who").text(), "replica");
    pair.proxy.restart();
    pair.until_roles(&["replica", "primary"]);
    assert_eq!(wire.run(WHO).text(), "primary", "behind a restart");
    assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
    assert_eq!(wire.run(WHO).text(), "replica");
}

#[test]
fn weak_reads_may_be_asked_for_once() {
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    pair.marked();
    pair.splits("weak");
    let mut wire = pair.open();
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("SET @obproxy_read_consistency = 1");
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run("SET @obproxy_read_consistency = 0");
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("SET @obproxy_read_consistency = NULL, @ob_read_consistency = 'WEAK'");
    assert_eq!(wire.run(WHO).text(), "replica");
}

#[test]
fn a_server_may_be_asked_for() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    let [primary, replica] = [&pair.primary, &pair.replica].map(|server| server.address());
    wire.run(&format!("SET @obproxy_route_addr = '{primary}'"));
    assert_eq!(wire.run(WHO).text(), "primary");
    assert_eq!(wire.query("INSERT INTO p.t (n) VALUES (1)").error(), None);
    wire.run(&format!("SET @obproxy_route_addr = '{replica}', @ob_read_consistency = 'strong'"));
    assert_eq!(wire.run(WHO).text(), "replica");
    // Whoever names a server wants to hear what it says of itself, and writes nothing there.
    assert_eq!(wire.run("SELECT @@port").text(), Pair::port(&pair.replica));
    let shown = wire.run("SHOW VARIABLES LIKE 'port'").named_rows().remove(0);
    assert_eq!(shown["Value"], Pair::port(&pair.replica));
    for sql in ["INSERT INTO p.t (n) VALUES (1)", "SELECT NEXTVAL(p.s)", "CALL p.nothing()"] {
        assert_eq!(wire.query(sql).error(), Some(1105), "{sql}");
    }
    wire.run("BEGIN");
    assert_eq!(wire.run(WHO).text(), "primary", "a transaction stays where it is");
    wire.run("COMMIT");
    wire.run("SET @obproxy_route_addr = '127.0.0.1:1'");
    assert_eq!(wire.query(WHO).error(), Some(1105));
    wire.run("SET @obproxy_route_addr = NULL");
    assert_eq!(wire.run(WHO).text(), "primary", "strong");
    wire.run("SET @ob_read_consistency = NULL");
    assert_eq!(wire.run(WHO).text(), "replica");
}
