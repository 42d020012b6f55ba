//! Which server answers what, and that nobody can tell by the answer.

use crate::pair::Pair;
use crate::support::com;

const WHO: &str = "SELECT name FROM p.who";

#[test]
fn reads_go_to_the_replica_and_all_else_to_the_primary() {
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    let who = |wire: &mut crate::support::Wire, sql: &str| wire.run(sql).text();
    assert_eq!(who(&mut wire, WHO), "replica");
    assert_eq!(who(&mut wire, "SELECT name FROM p.who FOR UPDATE"), "primary");
    assert_eq!(who(&mut wire, "/*FORCE_MASTER*/ SELECT name FROM p.who"), "primary");
    assert_eq!(who(&mut wire, WHO), "replica");
    // Whatever is not surely a read.
    assert_eq!(who(&mut wire, "SELECT @x := name FROM p.who"), "primary");
    assert_eq!(who(&mut wire, "SELECT @@port"), Pair::port(&pair.primary));
    // A transaction is the primary's, also without autocommit.
    wire.run("BEGIN");
    assert_eq!(who(&mut wire, WHO), "primary");
    wire.run("COMMIT");
    assert_eq!(who(&mut wire, WHO), "replica");
    wire.run("SET autocommit = 0");
    assert_eq!(who(&mut wire, WHO), "primary");
    wire.run("SET autocommit = 1");
    assert_eq!(who(&mut wire, WHO), "replica");
    // What nobody can carry keeps it at home.
    wire.run("CREATE TEMPORARY TABLE p.who AS SELECT 'temporary' name");
    assert_eq!(who(&mut wire, WHO), "temporary");
    assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
    assert_eq!(who(&mut wire, WHO), "replica");
}

/// Of what a session is made its readers have, too.
#[test]
fn a_reader_is_told_what_the_session_is() {
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    let mut wire = pair.open();
    let mut direct = pair.primary.admin();
    for sql in [
        "USE p",
        "SELECT @a, n FROM t ORDER BY n",
        "SET @a = 'x', @b = 1.50",
        "SELECT @a, @b, n FROM t ORDER BY n",
        "SET NAMES latin1",
        "SELECT @a, 'e' FROM t LIMIT 1",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "SELECT @a, 'e' FROM t LIMIT 1",
        "SET sql_mode = 'ANSI_QUOTES'",
        "SELECT \"n\" FROM \"t\" ORDER BY n",
        "SET sql_mode = ''",
        "SELECT \"n\" FROM t ORDER BY n",
        "SET time_zone = '+03:00', timestamp = 1000000000",
        "SELECT NOW(), n FROM t ORDER BY n",
        "SET sql_select_limit = 1",
        "SELECT n FROM t ORDER BY n",
        "USE mysql",
        "SELECT n FROM t",
        "SHOW WARNINGS",
        "SELECT 1/0",
        "SHOW WARNINGS",
        "SELECT FOUND_ROWS()",
        "USE p",
        "SELECT n FROM t ORDER BY n",
        "SELECT FOUND_ROWS()",
    ] {
        let (expected, got) = (direct.query(sql), wire.query(sql));
        assert_eq!(expected.packets, got.packets, "{sql}");
    }
}

/// A replica that is gone is no trouble of the session's.
#[test]
fn a_replica_that_dies_is_done_without() {
    let Some(mut pair) = Pair::start("causal_reads = \"off\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    assert_eq!(wire.run(WHO).text(), "replica");
    pair.replica.kill9();
    for _ in 0..20 {
        assert_eq!(wire.run(WHO).text(), "primary");
    }
    assert_eq!(wire.run("INSERT INTO p.t (n) VALUES (9)").error(), None);
}

/// A session with several links is one after a restart.
#[test]
fn a_split_session_outlives_a_restart() {
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    wire.run("SET @a = 'kept'");
    assert_eq!(wire.run(WHO).text(), "replica");
    pair.proxy.restart();
    pair.until_roles(&["replica", "primary"]);
    assert_eq!(wire.run("SELECT @a, name FROM p.who").text(), "kept");
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run("SET @a = 'again'");
    assert_eq!(wire.run("SELECT @a, name FROM p.who").text(), "again");
    assert_eq!(wire.run("SELECT name FROM p.who FOR UPDATE").text(), "primary");
}

/// Who has read on the replica writes at home, also if nothing is split any more.
#[test]
fn a_session_that_was_split_writes_at_home() {
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    assert_eq!(wire.run(WHO).text(), "replica");
    let config = std::fs::read_to_string(pair.proxy.config()).expect("it is there");
    let config = config.replace("read_write_split = \"on\"", "read_write_split = \"off\"");
    std::fs::write(pair.proxy.config(), config).expect("it is ours");
    pair.proxy.restart();
    wire.run("UPDATE p.who SET name = 'written'");
    assert_eq!(wire.run(WHO).text(), "written");
    assert_eq!(pair.primary.admin().run(WHO).text(), "written");
}

/// Where a statement would go can be asked, and by whom it is answered is no server's affair.
#[test]
fn a_route_is_explained() {
    let Some(pair) = Pair::start("causal_reads = \"off\"") else { return };
    let mut wire = pair.open();
    let mut explain = |sql: &str| wire.run(sql).named_rows().remove(0);
    let route = explain("EXPLAIN ROUTE SELECT n FROM p.t");
    assert_eq!(route["server"], pair.replica.address(), "{route:?}");
    assert_eq!((&*route["role"], &*route["reason"]), ("replica", "read"), "{route:?}");
    assert_eq!(route["link"], "to be opened", "{route:?}");
    let route = explain("EXPLAIN ROUTE UPDATE p.t SET n = 1");
    assert_eq!(route["server"], pair.primary.address(), "{route:?}");
    assert_eq!((&*route["link"], &*route["reason"]), ("home", "may write"), "{route:?}");
    let route = explain("SELECT /*+ODP explain_route*/ n FROM p.t FOR UPDATE");
    assert_eq!(route["server"], pair.primary.address(), "{route:?}");
    let target = pair.replica.address();
    let route = explain(&format!(
        "EXPLAIN ROUTE INSERT /*+ TARGET_DB_SERVER='{target}' */ INTO p.t VALUES (9, 9)"
    ));
    assert!(route["refused"].contains("is not the primary"), "{route:?}");
    let sql = format!("INSERT /*+ TARGET_DB_SERVER='{target}' */ INTO p.t VALUES (9, 9)");
    assert_eq!(wire.query(&sql).error(), Some(1105), "it is refused in earnest");
    wire.run("SELECT n FROM p.t");
    let mut admin = pair.proxy.admin().expect("the proxy takes operators");
    let trace = admin.run("SHOW PROXYTRACE").named_rows().remove(0);
    assert_eq!(trace["server"], pair.replica.address(), "{trace:?}");
    assert_eq!((&*trace["statement"], &*trace["reason"]), ("read", "read"), "{trace:?}");
    assert_eq!(trace["proxy_sessid"], wire.greeting.connection_id.to_string());
    assert_eq!(wire.run("SELECT COUNT(*) FROM p.t WHERE id = 9").text(), "0");
}
