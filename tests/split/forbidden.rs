//! What other proxies have done wrong where reads are split, one test each.

use crate::pair::Pair;
use crate::support::database::PASSWORD;
use crate::support::programs::change_user;
use crate::support::raw::status;
use crate::support::{Wire, com, until};

const WHO: &str = "SELECT name FROM p.who";

/// Asks with FOR UPDATE, so that it is the home that answers.
const HOME: &str = "SELECT name FROM p.who FOR UPDATE";

fn marked(lines: &str) -> Option<(Pair, Wire)> {
    let pair = Pair::start(lines)?;
    pair.marked();
    let mut wire = pair.open();
    assert_eq!(wire.run(WHO).text(), "replica");
    Some((pair, wire))
}

fn execute(wire: &mut Wire, id: u32) -> crate::support::Reply {
    let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0]].concat();
    wire.ask(com::EXECUTE, &body)
}

#[test]
fn b_1_what_is_set_is_set_once() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    wire.run("SET GLOBAL max_connections = 77");
    wire.run("SET @a = 1, GLOBAL slow_launch_time = 3");
    assert_eq!(wire.run(WHO).text(), "replica");
    let global = "SELECT CONCAT(@@global.max_connections, ' ', @@global.slow_launch_time)";
    assert_eq!(pair.primary.admin().run(global).text(), "77 3");
    assert_eq!(pair.replica.admin().run(global).text(), "500 2");
}

#[test]
fn b_2_several_statements_run_once() {
    let Some((pair, mut wire)) = marked("causal_reads = \"session\"") else { return };
    wire.run("INSERT INTO p.t (n) VALUES (100); SELECT n FROM p.t WHERE n = 100");
    wire.run("INSERT INTO p.t (n) VALUES (100)");
    assert_eq!(wire.run("SELECT COUNT(*) FROM p.t WHERE n = 100").text(), "2");
    pair.until_caught_up();
    for server in [&pair.primary, &pair.replica] {
        let count = server.admin().run("SELECT COUNT(*) FROM p.t WHERE n = 100").text();
        assert_eq!(count, "2");
    }
}

#[test]
fn b_4_statements_of_one_text_are_two() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    let first = wire.prepare("SELECT n FROM p.t WHERE id = 1");
    assert_eq!(wire.run(WHO).text(), "replica");
    let second = wire.prepare("SELECT n FROM p.t WHERE id = 1");
    assert_ne!(first, second);
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.command(com::CLOSE, &first.to_le_bytes());
    assert_eq!(wire.run(WHO).text(), "replica");
    assert_eq!(execute(&mut wire, second).row_count(), 1);
    assert_eq!(execute(&mut wire, first).error(), Some(1243));
    let count = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
                 WHERE VARIABLE_NAME = 'Prepared_stmt_count'";
    assert_eq!(pair.primary.admin().run(count).text(), "1");
    assert_eq!(pair.replica.admin().run(count).text(), "1");
    wire.command(com::CLOSE, &second.to_le_bytes());
    assert_eq!(execute(&mut wire, second).error(), Some(1243));
    let none = count.replace("VARIABLE_VALUE FROM", "VARIABLE_VALUE = 0 FROM");
    pair.primary.until_counted(&none);
    pair.replica.until_counted(&none);
}

/// Writes say which server has run them.
const WRITE: &str = "INSERT INTO p.w (server) SELECT @@server_id";

#[test]
fn b_7_an_old_primary_gets_no_write() {
    an_old_primary_gets_no_write(Pair::start);
}

/// What was begun before a switchover, and goes on behind it.
pub(crate) fn an_old_primary_gets_no_write(start: fn(&str) -> Option<Pair>) {
    let Some(pair) = start("causal_reads = \"session\"") else { return };
    pair.marked();
    let mut idle = pair.open();
    assert_eq!(idle.run(WHO).text(), "replica");
    pair.primary.execute(&["CREATE TABLE p.w (server INT) ENGINE = InnoDB"]);
    pair.until_caught_up();
    let [mut bound, mut transaction, mut manual, mut pinned, mut failed] =
        std::array::from_fn(|_| pair.open());
    idle.run("SET @a = 'kept'");
    let id = bound.prepare(WRITE);
    transaction.run("BEGIN");
    manual.run("SET autocommit = 0");
    pinned.run("DO GET_LOCK('l', 1)");
    failed.query("SELECT nothing");
    pair.switch_over();
    // Each writes at the new primary, or is told that it cannot.
    assert_eq!(idle.query(WRITE).error(), None);
    assert_eq!(idle.run("SELECT CONCAT(@a, name) FROM p.who FOR UPDATE").text(), "keptreplica");
    assert_eq!(execute(&mut bound, id).error(), None);
    assert_eq!(bound.run(HOME).text(), "replica");
    assert_eq!(manual.query(WRITE).error(), None);
    assert_eq!(manual.run("COMMIT").error(), None);
    assert_eq!(failed.query(WRITE).error(), None);
    for sql in [WRITE, "CREATE TABLE p.never (n INT)", "CALL p.nothing()"] {
        for wire in [&mut transaction, &mut pinned] {
            let reply = wire.query(sql);
            assert_eq!(reply.error(), Some(1290), "{sql}: {:?}", reply.last());
        }
    }
    transaction.run("ROLLBACK");
    assert_eq!(transaction.query(WRITE).error(), None);
    assert_eq!(pinned.ask(com::RESET_CONNECTION, b"").error(), None);
    assert_eq!(pinned.query(WRITE).error(), None);
    assert_eq!(pinned.run(HOME).text(), "replica");
    let count = "SELECT GROUP_CONCAT(server ORDER BY server) FROM p.w";
    assert_eq!(pair.replica.admin().run(count).text(), "2,2,2,2,2,2");
    // What was the primary is read from now.
    until("reads from the old primary", || (idle.run(WHO).text() == "primary").then_some(()));
    assert_eq!(idle.run("SELECT CONCAT(@a, name) FROM p.who").text(), "keptprimary");
}

#[test]
fn b_8_no_answer_of_ours_is_taken_for_the_clients() {
    let Some((_pair, mut wire)) = marked("causal_reads = \"session\"") else { return };
    let texts: Vec<String> = (1..=40)
        .flat_map(|n| {
            let set = format!("SET @a = {n}");
            let write = format!("UPDATE p.t SET n = {n} WHERE id = 1");
            [write, set, "SELECT @a + n FROM p.t WHERE id = 1".into()]
        })
        .collect();
    texts.iter().for_each(|text| wire.command(com::QUERY, text.as_bytes()));
    for at in 0..texts.len() {
        let reply = wire.reply(com::QUERY);
        assert_eq!(reply.error(), None, "{}", texts[at]);
        if at % 3 == 2 {
            assert_eq!(reply.text(), (at / 3 * 2 + 2).to_string(), "{}", texts[at - 2]);
        }
    }
    assert!(wire.is_drained());
}

#[test]
fn b_9_without_autocommit_a_read_begins_a_transaction() {
    let Some((_pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    for (off, on) in [
        ("SET autocommit = 0", "SET autocommit = 1"),
        ("SET @@autocommit = OFF", "SET SESSION autocommit = ON"),
        ("SET @a = 1, autocommit = 0", "SET @@session.autocommit = 1, @a = 2"),
    ] {
        wire.run(off);
        for _ in 0..2 {
            let reply = wire.run(WHO);
            assert_eq!((reply.text().as_str(), reply.in_transaction()), ("primary", true), "{off}");
            wire.run("COMMIT");
        }
        wire.run(on);
        assert_eq!(wire.run(WHO).text(), "replica", "{on}");
    }
    let id = wire.prepare("SET autocommit = 0");
    assert_eq!(execute(&mut wire, id).error(), None);
    assert_eq!(wire.run(WHO).text(), "primary");
}

#[test]
fn b_10_a_block_is_no_transaction() {
    let Some((_pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    wire.run("BEGIN NOT ATOMIC SET @a = 1; END");
    let reply = wire.run(WHO);
    assert_eq!((reply.text().as_str(), reply.status() & status::IN_TRANS), ("primary", 0));
    assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run("BEGIN WORK");
    assert_eq!(wire.run(WHO).text(), "primary");
    wire.run("ROLLBACK WORK");
    assert_eq!(wire.run(WHO).text(), "replica");
}

#[test]
fn b_14_the_last_insert_id_is_the_sessions() {
    let Some((_pair, mut wire)) = marked("causal_reads = \"session\"") else { return };
    for id in 4..10 {
        wire.run("INSERT INTO p.t (n) VALUES (5)");
        assert_eq!(wire.run(WHO).text(), "replica");
        assert_eq!(wire.run("SELECT LAST_INSERT_ID()").text(), id.to_string());
        assert_eq!(wire.run("SELECT @@identity + 0 FROM p.t LIMIT 1").text(), id.to_string());
    }
    wire.run("SET sql_auto_is_null = 1");
    for id in 10..13 {
        wire.run("INSERT INTO p.t (n) VALUES (5)");
        assert_eq!(wire.run("SELECT id FROM p.t WHERE id IS NULL").text(), id.to_string());
        assert_eq!(wire.run(WHO).text(), "primary");
    }
    wire.run("SET sql_auto_is_null = 0");
    assert_eq!(wire.run(WHO).text(), "replica");
}

#[test]
fn b_16_a_read_only_transaction_is_not_waited_in() {
    let Some((_pair, mut wire)) = marked("causal_reads = \"session\"") else { return };
    for begin in ["START TRANSACTION READ ONLY", "START TRANSACTION WITH CONSISTENT SNAPSHOT"] {
        wire.run("UPDATE p.t SET n = n + 1 WHERE id = 1");
        wire.run(begin);
        let n = wire.run("SELECT n FROM p.t WHERE id = 1");
        assert_eq!((n.error(), n.in_transaction()), (None, true), "{begin}");
        wire.run("COMMIT");
        assert_eq!(wire.run("SELECT n FROM p.t WHERE id = 1").text(), n.text(), "{begin}");
        assert_eq!(wire.run(WHO).text(), "replica");
    }
}

/// What a replica has once waited for says nothing of what was written since.
#[test]
fn b_16_each_write_is_waited_for() {
    let lines = "causal_reads = \"session\"\ncausal_reads_timeout = \"50ms\"";
    let Some((pair, mut wire)) = marked(lines) else { return };
    wire.run("UPDATE p.t SET n = 7 WHERE id = 1");
    assert_eq!(wire.run("SELECT n FROM p.t WHERE id = 1").text(), "7");
    let _held = pair.hold_replica();
    let id = wire.prepare("UPDATE p.t SET n = n + 1 WHERE id = 1");
    for (at, write) in ["text", "bound", "procedure", "transaction"].into_iter().enumerate() {
        match write {
            "text" => drop(wire.run("UPDATE p.t SET n = n + 1 WHERE id = 1")),
            "bound" => drop(execute(&mut wire, id)),
            "procedure" => {
                wire.run("EXECUTE IMMEDIATE 'UPDATE p.t SET n = n + 1 WHERE id = 1'");
                assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
            }
            _ => {
                wire.run("BEGIN");
                wire.run("UPDATE p.t SET n = n + 1 WHERE id = 1");
                wire.run("COMMIT");
            }
        }
        let n = wire.run("SELECT n FROM p.t WHERE id = 1").text();
        assert_eq!(n, (8 + at).to_string(), "{write}");
    }
}

#[test]
fn b_20_what_failed_has_changed_nothing() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    let mut direct = pair.primary.admin();
    for sql in ["SET sql_mode = 'nonsense'", "USE nowhere", "SET @a = 1, sql_mode = 'nonsense'"] {
        assert!(wire.query(sql).error().is_some(), "{sql}");
    }
    let shown = "SELECT CONCAT_WS(' ', DATABASE(), @a, name) FROM p.who";
    // Whether a transaction is open is not known behind an error, until the home has answered.
    wire.run("SELECT 1");
    assert_eq!(wire.run(shown).text(), "p replica");
    assert_eq!(wire.query("USE nowhere").error(), Some(1049));
    wire.run("USE mysql");
    wire.run("USE p");
    assert_eq!(wire.run(shown).text(), "p replica");
    // But for what was done before it failed.
    for sql in ["SELECT @b := id, IF(id = 2, (SELECT id FROM p.t), 0) FROM p.t", "SELECT 1"] {
        assert_eq!(wire.query(sql).error(), direct.query(sql).error(), "{sql}");
    }
    let b = direct.run("SELECT @b, id FROM p.t LIMIT 1").packets;
    assert_eq!(wire.run("SELECT @b, id FROM p.t LIMIT 1").packets, b);
}

#[test]
fn b_22_a_list_of_fields_is_no_write() {
    let lines = "causal_reads = \"session\"\ncausal_reads_timeout = \"50ms\"";
    let Some((pair, mut wire)) = marked(lines) else { return };
    let _held = pair.hold_replica();
    pair.primary.execute(&["UPDATE p.t SET n = 5 WHERE id = 1"]);
    assert_eq!(wire.ask(com::FIELD_LIST, b"t\0").error(), None);
    assert_eq!(wire.ask(com::STATISTICS, b"").error(), None);
    assert_eq!(wire.run(WHO).text(), "replica");
}

/// A reader's link is the user's that made it.
#[test]
fn another_user_reads_with_rights_of_its_own() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    pair.primary
        .execute(&["CREATE USER other IDENTIFIED BY 'odp-secret'", "GRANT SELECT ON p.t TO other"]);
    pair.until_caught_up();
    let body = change_user(&wire, ["other", PASSWORD, "p"]);
    assert_eq!(wire.ask(com::CHANGE_USER, &body).error(), None);
    for _ in 0..2 {
        assert_eq!(wire.query(WHO).error(), Some(1142));
        assert_eq!(wire.run("SELECT CURRENT_USER() FROM p.t LIMIT 1").text(), "other@%");
    }
    let body = change_user(&wire, ["odp", PASSWORD, "p"]);
    assert_eq!(wire.ask(com::CHANGE_USER, &body).error(), None);
    assert_eq!(wire.run(WHO).text(), "replica");
    assert_eq!(wire.run("SELECT CURRENT_USER() FROM p.t LIMIT 1").text(), "odp@%");
}

#[test]
fn a_servers_own_tables_are_the_homes() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    for (server, name) in [(&pair.primary, "primary"), (&pair.replica, "replica")] {
        server.execute(&[
            "SET sql_log_bin = 0",
            "CREATE TABLE mysql.who (name VARCHAR(9))",
            &format!("INSERT INTO mysql.who VALUES ('{name}')"),
        ]);
    }
    for place in ["USE mysql", "use `MYSQL`", "USE mysql -- x", "/* x */ USE mysql;"] {
        if wire.query(place).error().is_none() {
            assert_eq!(wire.run("SELECT name FROM who").text(), "primary", "{place}");
        }
        wire.run("USE p");
        assert_eq!(wire.run("SELECT name FROM who").text(), "replica", "{place}");
    }
    assert_eq!(wire.ask(com::INIT_DB, b"mysql").error(), None);
    assert_eq!(wire.run("SELECT name FROM who").text(), "primary");
    wire.run("SET sql_mode = 'ANSI_QUOTES'");
    wire.run("USE p");
    wire.run("USE \"mysql\"");
    assert_eq!(wire.run("SELECT name FROM who").text(), "primary");
}

/// A link to a replica that was restarted is made anew, and nobody waits for it.
#[test]
fn a_replica_that_returns_is_read_from_again() {
    let Some((mut pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    wire.run("SET @a = 1");
    pair.replica.shut_down();
    for _ in 0..5 {
        assert_eq!(wire.run(WHO).text(), "primary");
        wire.run("SET @a = 2");
    }
    pair.replica.start_again();
    until("reads from the replica", || (wire.run(WHO).text() == "replica").then_some(()));
    assert_eq!(wire.run("SELECT CONCAT(@a, name) FROM p.who").text(), "2replica");
}

/// What a sequence gave last nobody else can tell, and it keeps no read from the replica.
#[test]
fn a_sequence_keeps_the_session_and_not_its_reads() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    pair.primary.execute(&["CREATE SEQUENCE p.numbers START WITH 5"]);
    assert_eq!(wire.run("SELECT NEXTVAL(p.numbers)").text(), "5");
    assert_eq!(wire.run(WHO).text(), "replica");
    assert_eq!(wire.run("SELECT LASTVAL(p.numbers)").text(), "5");
    assert_eq!(wire.run("SELECT PREVIOUS VALUE FOR p.numbers").text(), "5");
    assert_eq!(wire.run(WHO).text(), "replica");
    let id = wire.greeting.connection_id;
    let to = pair.replica.address();
    assert_eq!(pair.pins(&wire), "last value of a sequence");
    let mut admin = pair.proxy.admin().expect("the proxy takes operators");
    assert!(admin.query(&format!("MOVE PROXYSESSION {id} TO '{to}'")).error().is_some());
}
