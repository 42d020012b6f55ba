//! Transactions that read on a replica: READ ONLY ones, and others before they write.

use crate::pair::Pair;
use crate::support::raw::status;
use crate::support::{Wire, com};

const WHO: &str = "SELECT name FROM p.who";
const N: &str = "SELECT n FROM p.t WHERE id = 1";
const READ_ONLY: &str = "START TRANSACTION READ ONLY";
const SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

fn marked(lines: &str) -> Option<(Pair, Wire)> {
    let pair = Pair::start(&format!("causal_reads = \"session\"\n{lines}"))?;
    pair.marked();
    let wire = pair.open();
    Some((pair, wire))
}

/// The error of who wants a table of the replica's for itself, and waits so many seconds.
fn locked(pair: &Pair, table: &str, seconds: u32) -> Option<u16> {
    let mut wire = pair.replica.admin();
    wire.run(&format!("SET sql_log_bin = 0, lock_wait_timeout = {seconds}"));
    wire.query(&format!("ALTER TABLE {table} COMMENT 'looked at'")).error()
}

/// No transaction is left open on the replica, which has its tables for itself again.
fn until_nothing_is_open(pair: &Pair) {
    for table in ["p.who", "p.t"] {
        assert_eq!(locked(pair, table, 30), None, "{table}");
    }
}

fn write(pair: &Pair, n: u32) {
    pair.primary.execute(&[&format!("UPDATE p.t SET n = {n} WHERE id = 1")]);
    pair.until_caught_up();
}

#[test]
fn a_read_only_transaction_reads_on_one_replica() {
    let Some((pair, mut wire)) = marked("") else { return };
    for begin in [READ_ONLY, SNAPSHOT] {
        let begun = wire.run(begin);
        let flags = status::IN_TRANS | status::IN_TRANS_READONLY;
        assert_eq!(begun.status() & flags, flags, "{begin}");
        let reply = wire.run(WHO);
        assert_eq!((&*reply.text(), reply.status() & flags), ("replica", flags), "{begin}");
        let before = wire.run(N).text();
        assert_eq!(locked(&pair, "p.who", 0), Some(1205), "{begin}");
        write(&pair, 70 + u32::from(begin == SNAPSHOT));
        assert_eq!(wire.run(N).text(), before, "all is of one time");
        // What the session is, is at home, and told the reader.
        let reply = wire.run("SET @a = 'told'");
        assert_eq!(reply.status() & flags, flags);
        assert_eq!(wire.run("SELECT CONCAT(@a, name) FROM p.who").text(), "toldreplica");
        assert_eq!(wire.run(N).text(), before);
        let id = wire.prepare(N);
        let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
        assert_eq!(wire.ask(com::EXECUTE, &body).status() & flags, flags);
        let insert = "INSERT INTO p.t (n) VALUES (1)";
        assert_eq!(wire.query(insert).error(), Some(1792), "{begin}");
        assert_eq!(wire.run(WHO).text(), "replica");
        assert_eq!(wire.run("COMMIT").status() & flags, 0, "{begin}");
        until_nothing_is_open(&pair);
        assert_ne!(wire.run(N).text(), before, "{begin}");
    }
    // One that is prepared is told from what would look at data, and ends the reader's as well.
    let commit = wire.prepare("COMMIT");
    wire.run(READ_ONLY);
    assert_eq!(wire.run(WHO).text(), "replica");
    let ended = wire.ask(com::EXECUTE, &[&commit.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat());
    assert_eq!((ended.error(), ended.in_transaction()), (None, false));
    until_nothing_is_open(&pair);
    // Of the time at which it began.
    wire.run(SNAPSHOT);
    write(&pair, 80);
    assert_eq!(wire.run(N).text(), "71");
    wire.run("ROLLBACK");
    assert_eq!(wire.run(N).text(), "80");
}

#[test]
fn what_ends_a_transaction_ends_the_readers() {
    let Some((pair, mut wire)) = marked("") else { return };
    for end in ["COMMIT", "ROLLBACK", "COMMIT AND CHAIN", "BEGIN", READ_ONLY, "SET @x = 1"] {
        wire.run(READ_ONLY);
        assert_eq!(wire.run(WHO).text(), "replica", "{end}");
        wire.run(end);
        if end == "SET @x = 1" {
            assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
        }
        until_nothing_is_open(&pair);
        wire.run("ROLLBACK");
        write(&pair, 90);
        assert_eq!(wire.run(N).text(), "90", "{end}");
        assert_eq!(wire.run(WHO).text(), "replica", "{end}");
    }
    // What ends it by the way must not wait for what the reader has open, nor its replica.
    wire.run(READ_ONLY);
    assert_eq!(wire.run(N).text(), "90");
    wire.run("ALTER TABLE p.t ADD COLUMN more INT");
    write(&pair, 91);
    until_nothing_is_open(&pair);
    assert_eq!(wire.run(N).text(), "91");
}

/// A reader's transaction begins as the session's next one would: one that is otherwise is the
/// home's.
#[test]
fn a_transaction_of_its_own_kind_is_the_homes() {
    let Some((_pair, mut wire)) = marked("transaction_split = true") else { return };
    let its_own: &[&[&str]] = &[
        &["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "BEGIN"],
        &["SET TRANSACTION READ ONLY", "BEGIN"],
        &["BEGIN", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"],
        &["BEGIN", "SET tx_isolation = 'SERIALIZABLE'"],
    ];
    for statements in its_own {
        statements.iter().for_each(|sql| drop(wire.run(sql)));
        assert_eq!(wire.run(WHO).text(), "primary", "{statements:?}");
        wire.run("COMMIT");
        for begin in ["BEGIN", READ_ONLY] {
            wire.run(begin);
            assert_eq!(wire.run(WHO).text(), "replica", "{statements:?}, {begin}");
            wire.run("COMMIT");
        }
    }
}

/// Data of two times are never mixed.
#[test]
fn a_transaction_is_of_one_time() {
    let Some((pair, mut wire)) = marked("") else { return };
    pair.primary.execute(&["CREATE FUNCTION p.f() RETURNS INT READS SQL DATA \
                            RETURN (SELECT n FROM p.t WHERE id = 1)"]);
    pair.until_caught_up();
    // Nothing was read yet: all of it is the home's.
    wire.run(READ_ONLY);
    wire.run("SET @a = (SELECT n FROM p.t WHERE id = 1)");
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("COMMIT");
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run(READ_ONLY);
    assert_eq!(wire.run(WHO).text(), "replica");
    for sql in ["SELECT p.f()", "SELECT n FROM p.t FOR UPDATE", "SET @a = (SELECT n FROM p.t)"] {
        assert_eq!(wire.query(sql).error(), Some(1105), "{sql}");
    }
    assert_eq!(wire.run(WHO).text(), "replica", "it goes on");
    wire.run("ROLLBACK");
    // Who tries again succeeds.
    wire.run(READ_ONLY);
    assert_eq!(wire.run(WHO).text(), "primary");
    assert_eq!(wire.query("SELECT p.f()").error(), None);
    wire.run("COMMIT");
}

#[test]
fn a_replica_that_dies_in_a_transaction_is_missed() {
    let Some((mut pair, mut wire)) = marked("") else { return };
    wire.run(READ_ONLY);
    assert_eq!(wire.run(WHO).text(), "replica");
    pair.replica.kill9();
    for _ in 0..2 {
        assert_eq!(wire.query(WHO).error(), Some(1105));
    }
    wire.run("ROLLBACK");
    assert_eq!(wire.run(WHO).text(), "primary");
    assert_eq!(wire.query("INSERT INTO p.t (n) VALUES (5)").error(), None);
    wire.run(READ_ONLY);
    assert_eq!(wire.run(WHO).text(), "primary");
}

#[test]
fn a_transaction_on_a_replica_outlives_a_restart() {
    let Some((pair, mut wire)) = marked("") else { return };
    wire.run("SET @a = 'kept'");
    wire.run(READ_ONLY);
    let before = wire.run(N).text();
    write(&pair, 60);
    pair.proxy.restart();
    pair.until_roles(&["replica", "primary"]);
    assert_eq!(wire.run(N).text(), before);
    assert_eq!(wire.run("SELECT CONCAT(@a, name) FROM p.who").text(), "keptreplica");
    wire.run("COMMIT");
    until_nothing_is_open(&pair);
    assert_eq!(wire.run(N).text(), "60");
}

#[test]
fn transactions_are_split_until_they_write() {
    let Some((pair, mut wire)) = marked("transaction_split = true") else { return };
    wire.run("BEGIN");
    let reply = wire.run(WHO);
    let flags = status::IN_TRANS | status::IN_TRANS_READONLY;
    assert_eq!((&*reply.text(), reply.status() & flags), ("replica", status::IN_TRANS));
    let before = wire.run(N).text();
    write(&pair, 50);
    assert_eq!(wire.run(N).text(), before, "all is of one time");
    wire.run("SAVEPOINT a");
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run("UPDATE p.t SET n = n + 1 WHERE id = 1");
    until_nothing_is_open(&pair);
    assert_eq!(wire.run(N).text(), "51", "its own");
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("ROLLBACK TO a");
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("COMMIT");
    assert_eq!(wire.run(WHO).text(), "replica");
    // What locks is no read, nor what may do anything.
    for sql in ["SELECT n FROM p.t FOR UPDATE", "CALL p.nothing()"] {
        wire.run("BEGIN");
        wire.query(sql);
        assert_eq!(wire.run(WHO).text(), "primary", "{sql}");
        wire.run("COMMIT");
        assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
    }
    wire.run("BEGIN");
    assert_eq!(wire.run("/*FORCE_MASTER*/ SELECT name FROM p.who").text(), "primary");
    assert_eq!(wire.run(WHO).text(), "primary", "what was read at home was read first");
    wire.run("COMMIT");
    wire.run("SET autocommit = 0");
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("COMMIT");
}
