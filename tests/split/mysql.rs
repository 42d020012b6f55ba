//! The same with MySQL: its GTIDs, its words, and that every statement puts away warnings.

use crate::forbidden::an_old_primary_gets_no_write;
use crate::pair::Pair;
use crate::support::raw::status;
use crate::support::{Reply, Wire, com, until};

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

/// Executes a statement without parameters.
fn execute(wire: &mut Wire, id: u32) -> Reply {
    wire.ask(com::EXECUTE, &[&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat())
}

/// Whether its only row ends with this name.
fn is_from(reply: &Reply, name: &str) -> bool {
    let has_name = |payload: &[u8]| payload.ends_with(name.as_bytes());
    reply.row_count() == 1 && reply.packets.iter().any(|packet| has_name(&packet.payload))
}

#[test]
fn mysql_prepared_reads_go_where_texts_do() {
    let Some(pair) = Pair::start_mysql("causal_reads = \"session\"") else { return };
    pair.marked();
    let count = |pair: &Pair| {
        let status = "SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'";
        pair.replica.admin().run(status).rows()[0][1].clone()
    };
    // What triggers do is asked in the second round. Until then a write may have set anything.
    until("the triggers to be seen", || {
        let mut wire = pair.open();
        let id = wire.prepare(WHO);
        wire.run("UPDATE p.t SET n = n WHERE id = 1");
        let is_there = is_from(&execute(&mut wire, id), "replica");
        wire.command(com::CLOSE, &id.to_le_bytes());
        is_there.then_some(())
    });
    until("its statement to be closed", || {
        (count(&pair).as_deref() == Some(&b"0"[..])).then_some(())
    });
    let mut wire = pair.open();
    let id = wire.prepare(WHO);
    assert_eq!(count(&pair).as_deref(), Some(&b"0"[..]), "it is only prepared");
    for _ in 0..3 {
        assert!(is_from(&execute(&mut wire, id), "replica"));
    }
    assert_eq!(count(&pair).as_deref(), Some(&b"1"[..]), "once is enough");
    wire.run("BEGIN");
    assert!(is_from(&execute(&mut wire, id), "primary"));
    wire.run("COMMIT");
    assert!(is_from(&execute(&mut wire, id), "replica"));
    for sql in [
        "/*FORCE_MASTER*/ SELECT name FROM p.who",
        "SELECT name FROM p.who FOR UPDATE",
        "SELECT name FROM p.who FOR SHARE",
        "SELECT name FROM p.who WHERE @a IS NULL",
    ] {
        let other = wire.prepare(sql);
        assert!(is_from(&execute(&mut wire, other), "primary"), "{sql}");
    }
    // What was written is there.
    let write = wire.prepare("UPDATE p.t SET n = n + 1 WHERE id = 1");
    let read = wire.prepare("SELECT n, name FROM p.t, p.who WHERE id = 1");
    let mut split = 0;
    for n in 2..30u8 {
        assert_eq!(execute(&mut wire, write).error(), None);
        let reply = execute(&mut wire, read);
        let row = |name: &[u8]| [&[0, 0, n, 0, 0, 0][..], name].concat();
        let has = |row: Vec<u8>| reply.packets.iter().any(|packet| packet.payload == row);
        let is_split = has(row(b"\x07replica"));
        assert!(is_split || has(row(b"\x07primary")), "{n}: {reply:?}");
        split += u32::from(is_split);
    }
    assert!(split > 14, "{split} of 28 on the replica");
    // In another mode it would be another statement there.
    wire.run("SET sql_mode = 'ANSI_QUOTES'");
    assert!(is_from(&execute(&mut wire, id), "primary"));
    pair.proxy.restart();
    pair.until_roles(&["replica", "primary"]);
    let again = wire.prepare(WHO);
    assert!(is_from(&execute(&mut wire, again), "replica"), "behind a restart");
    wire.command(com::CLOSE, &again.to_le_bytes());
    assert_eq!(execute(&mut wire, again).error(), Some(1243));
    assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
    until("the replica to have closed all", || {
        (count(&pair).as_deref() == Some(&b"0"[..])).then_some(())
    });
}

#[test]
fn mysql_reads_of_a_transaction_are_of_one_time() {
    let Some(pair) = Pair::start_mysql("causal_reads = \"session\"") else { return };
    pair.marked();
    let mut wire = pair.open();
    let read = "SELECT n FROM p.t WHERE id = 1";
    let flags = status::IN_TRANS | status::IN_TRANS_READONLY;
    for (n, begin) in [
        (70, "START TRANSACTION READ ONLY"),
        (71, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"),
    ] {
        assert_eq!(wire.run(begin).status() & flags, flags, "{begin}");
        let reply = wire.run(WHO);
        assert_eq!((&*reply.text(), reply.status() & flags), ("replica", flags), "{begin}");
        let before = wire.run(read).text();
        pair.primary.execute(&[&format!("UPDATE p.t SET n = {n} WHERE id = 1")]);
        pair.until_caught_up();
        assert_eq!(wire.run(read).text(), before, "{begin}");
        wire.run("SET @a = 'told'");
        assert_eq!(wire.run("SELECT CONCAT(@a, name) FROM p.who").text(), "toldreplica");
        assert_eq!(wire.run(read).text(), before, "{begin}");
        assert_eq!(wire.query("INSERT INTO p.t (n) VALUES (1)").error(), Some(1792), "{begin}");
        assert_eq!(wire.run("COMMIT").status() & flags, 0, "{begin}");
        assert_eq!(wire.run(read).text(), n.to_string(), "{begin}");
        // Nothing is left open there.
        let open = "SELECT COUNT(*) FROM information_schema.innodb_trx \
                    WHERE trx_mysql_thread_id <> CONNECTION_ID() AND trx_mysql_thread_id > 0";
        until("no transaction on the replica", || {
            (pair.replica.admin().run(open).text() == "0").then_some(())
        });
    }
}

#[test]
fn an_old_mysql_primary_gets_no_write() {
    an_old_primary_gets_no_write(Pair::start_mysql);
}
