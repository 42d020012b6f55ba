//! The same with MySQL: its GTIDs, its words, and that every statement puts away warnings.

use crate::pair::Pair;
use crate::support::com;

const WHO: &str = "SELECT name FROM p.who";

#[test]
fn mysql_reads_go_to_the_replica_and_all_else_to_the_primary() {
    let Some(pair) = Pair::start_mysql("causal_reads = \"off\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    assert_eq!(wire.run(WHO).text(), "replica");
    for sql in [
        "SELECT name FROM p.who FOR UPDATE",
        "SELECT name FROM p.who FOR SHARE",
        "/*FORCE_MASTER*/ SELECT name FROM p.who",
        "SELECT name INTO @x FROM p.who",
    ] {
        wire.run(sql);
        assert_eq!(wire.run(WHO).text(), "replica", "{sql}");
    }
    assert_eq!(wire.run("SELECT CONCAT(@x, name) FROM p.who").text(), "primaryreplica");
    wire.run("BEGIN");
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("COMMIT");
    wire.run("SET autocommit = 0");
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("COMMIT");
    wire.run("SET autocommit = 1");
    wire.run("CREATE TEMPORARY TABLE p.who (name VARCHAR(9)) SELECT 'mine' name");
    assert_eq!(wire.run(WHO).text(), "mine");
    assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run("USE mysql");
    assert_eq!(wire.query("SELECT user FROM user LIMIT 1").error(), None);
}

#[test]
fn mysql_reads_its_own_writes() {
    let Some(pair) = Pair::start_mysql("causal_reads = \"session\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    let mut split = 0;
    for n in 1..=100 {
        wire.run(&format!("UPDATE p.t SET n = {n} WHERE id = 1"));
        assert_eq!(wire.run("SELECT n FROM p.t WHERE id = 1").text(), n.to_string());
        split += u32::from(wire.run(WHO).text() == "replica");
    }
    assert!(split > 50, "{split} of 100 on the replica");
}

#[test]
fn mysql_answers_are_as_of_one_server() {
    let Some(pair) = Pair::start_mysql("causal_reads = \"session\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    let mut direct = pair.primary.admin();
    for sql in [
        "SELECT @a, n FROM t ORDER BY n",
        "SET @a = 'x', @b = 1.50",
        "SELECT @a, @b, n FROM t ORDER BY n",
        "SET NAMES latin1",
        "SELECT @a, 'e', COLLATION('e') FROM t LIMIT 1",
        "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
        "SELECT @a, 'e' FROM t LIMIT 1",
        "SET sql_mode = 'ANSI_QUOTES'",
        "SELECT \"n\" FROM \"t\" ORDER BY n",
        "SET sql_mode = ''",
        "SET time_zone = '+03:00', timestamp = 1000000000",
        "SELECT NOW(), n FROM t ORDER BY n",
        "SET sql_select_limit = 1",
        "SELECT n FROM t ORDER BY n",
        "SELECT FOUND_ROWS()",
        "SELECT ROW_COUNT()",
        "SELECT CAST('x' AS SIGNED), n FROM t ORDER BY n",
        "SHOW WARNINGS",
        "SELECT CAST('x' AS SIGNED), n FROM t ORDER BY n",
        "SET @a = 5",
        "SHOW WARNINGS",
        "SELECT nothing FROM t",
        "SHOW ERRORS",
        "USE mysql",
        "SELECT n FROM t",
        "USE p",
        "SELECT @a, n FROM t ORDER BY n",
    ] {
        let (expected, got) = (direct.query(sql), wire.query(sql));
        assert_eq!(expected.packets, got.packets, "{sql}");
    }
    wire.run("SET sql_select_limit = DEFAULT");
    assert_eq!(wire.run(WHO).text(), "replica");
}
