//! Prepared reads: where they are executed, and what each server knows of them.

use crate::pair::Pair;
use crate::support::{Reply, Wire, com, until};

const WHO: &str = "SELECT name FROM p.who";

const COUNT: &str = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
                     WHERE VARIABLE_NAME = 'Prepared_stmt_count'";

fn marked(lines: &str) -> Option<(Pair, Wire)> {
    let pair = Pair::start(lines)?;
    pair.marked();
    let wire = pair.open();
    Some((pair, wire))
}

/// Executes a statement, with one parameter if these are its type, flag of types first, and value.
fn execute(wire: &mut Wire, id: u32, bound: &[u8]) -> Reply {
    let nulls: &[u8] = if bound.is_empty() { &[] } else { &[0] };
    let body = [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0], nulls, bound].concat();
    wire.ask(com::EXECUTE, &body)
}

/// Who answered: the last column of its only row.
fn who(wire: &mut Wire, id: u32, bound: &[u8]) -> &'static str {
    let reply = execute(wire, id, bound);
    assert_eq!((reply.error(), reply.row_count()), (None, 1));
    let is = |name: &[u8]| reply.packets.iter().any(|packet| packet.payload.ends_with(name));
    match (is(b"primary"), is(b"replica")) {
        (true, false) => "primary",
        (false, true) => "replica",
        both => panic!("{both:?}: {reply:?}"),
    }
}

#[test]
fn prepared_reads_go_where_texts_do() {
    let Some((pair, mut wire)) = marked("causal_reads = \"session\"") else { return };
    let id = wire.prepare(WHO);
    assert_eq!(pair.replica.admin().run(COUNT).text(), "0", "it is only prepared");
    for _ in 0..3 {
        assert_eq!(who(&mut wire, id, &[]), "replica");
    }
    assert_eq!(pair.replica.admin().run(COUNT).text(), "1", "once is enough");
    assert_eq!(wire.run(WHO).text(), "replica");
    wire.run("BEGIN");
    assert_eq!(who(&mut wire, id, &[]), "primary");
    wire.run("COMMIT");
    assert_eq!(who(&mut wire, id, &[]), "replica");
    for sql in [
        "/*FORCE_MASTER*/ SELECT name FROM p.who",
        "SELECT name FROM p.who FOR UPDATE",
        "SELECT @x := 1, name FROM p.who",
    ] {
        let other = wire.prepare(sql);
        assert_eq!(who(&mut wire, other, &[]), "primary", "{sql}");
    }
    // What was written is there.
    let write = wire.prepare("UPDATE p.t SET n = n + 1 WHERE id = 1");
    let read = wire.prepare("SELECT n, name FROM p.t, p.who WHERE id = 1");
    for n in 2..30u8 {
        assert_eq!(execute(&mut wire, write, &[]).error(), None);
        let reply = execute(&mut wire, read, &[]);
        let row = [&[0, 0, n, 0, 0, 0][..], b"\x07replica"].concat();
        assert!(reply.packets.iter().any(|it| it.payload == row), "{n}: {reply:?}");
    }
}

#[test]
fn each_server_is_told_the_types() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    let id = wire.prepare("SELECT name FROM p.who WHERE ? = '7'");
    let (types, again) = (&[1, 253, 0, 1, b'7'][..], &[0, 1, b'7'][..]);
    assert_eq!(who(&mut wire, id, types), "replica");
    assert_eq!(who(&mut wire, id, again), "replica");
    // The home has not heard of them.
    wire.run("SET @obproxy_read_consistency = 0");
    assert_eq!(who(&mut wire, id, again), "primary");
    assert_eq!(who(&mut wire, id, &[1, 1, 0, 7]), "primary");
    wire.run("SET @obproxy_read_consistency = NULL");
    assert_eq!(who(&mut wire, id, &[0, 7]), "replica");
    pair.proxy.restart();
    pair.until_roles(&["replica", "primary"]);
    assert_eq!(who(&mut wire, id, &[0, 7]), "replica", "behind a restart");
    assert_eq!(pair.replica.admin().run(COUNT).text(), "1", "it is the same one");
}

#[test]
fn a_statement_means_what_it_meant() {
    let Some((_pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    let id = wire.prepare("SELECT name FROM who");
    let quoted = wire.prepare("SELECT \"x\", name FROM p.who");
    wire.run("USE mysql");
    wire.run("USE information_schema");
    wire.run("CREATE DATABASE IF NOT EXISTS q");
    wire.run("USE q");
    assert_eq!(who(&mut wire, id, &[]), "replica", "in its own schema");
    assert_eq!(wire.run("SELECT DATABASE(), name FROM p.who").text(), "q");
    wire.run("SET sql_mode = 'ANSI_QUOTES'");
    assert_eq!(who(&mut wire, quoted, &[]), "primary", "in the mode of its time");
    wire.run("SET sql_mode = ''");
    let quoted = wire.prepare("SELECT \"x\", name FROM p.who");
    assert_eq!(who(&mut wire, quoted, &[]), "replica");
}

#[test]
fn what_is_with_the_home_alone_is_executed_there() {
    let Some((_pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    let id = wire.prepare("SELECT name FROM p.who WHERE ? = '7'");
    let types = &[1, 253, 0, 1, b'7'][..];
    assert_eq!(who(&mut wire, id, types), "replica");
    let long = [&id.to_le_bytes()[..], &[0, 0], b"7"].concat();
    wire.command(com::LONG_DATA, &long);
    assert_eq!(who(&mut wire, id, &[1, 253, 0]), "primary", "data were sent");
    assert_eq!(who(&mut wire, id, types), "replica");
}

#[test]
fn readers_forget_what_the_client_ends() {
    let Some((pair, mut wire)) = marked("causal_reads = \"off\"") else { return };
    let none = COUNT.replace("VARIABLE_VALUE FROM", "VARIABLE_VALUE = 0 FROM");
    let id = wire.prepare(WHO);
    assert_eq!(who(&mut wire, id, &[]), "replica");
    wire.command(com::CLOSE, &id.to_le_bytes());
    pair.replica.until_counted(&none);
    let mut id = wire.prepare(WHO);
    assert_eq!(who(&mut wire, id, &[]), "replica");
    assert_eq!(wire.ask(com::RESET_CONNECTION, b"").error(), None);
    pair.replica.until_counted(&none);
    // A replica that has lost it prepares it anew.
    let old = std::mem::replace(&mut id, wire.prepare(WHO));
    assert_eq!(who(&mut wire, id, &[]), "replica");
    let kill = "SELECT CONCAT('KILL ', ID) FROM information_schema.PROCESSLIST \
                WHERE USER = 'odp' AND COMMAND = 'Sleep'";
    let mut admin = pair.replica.admin();
    for row in admin.run(kill).rows() {
        admin.query(&String::from_utf8_lossy(row[0].as_deref().expect("a text")));
    }
    let again = || (who(&mut wire, id, &[]) == "replica").then_some(());
    until("reads from the replica", again);
    let unknown = if old == id { id + 1 } else { old };
    assert_eq!(execute(&mut wire, unknown, &[]).error(), Some(1243));
}
