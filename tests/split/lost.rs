//! Replicas that die while they are read from: clients notice nothing but the time.

use std::net::Shutdown;

use nix::sys::signal::Signal;

use crate::pair::Pair;
use crate::support::raw::command_packets;
use crate::support::{Reply, Wire, com, until};

const WHO: &str = "SELECT name FROM p.who";

const WAITING: &str =
    "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for table%'";

pub(crate) fn pair(start: fn(&str) -> Option<Pair>) -> Option<(Pair, Wire)> {
    Some(reading(start("causal_reads = \"off\"")?))
}

/// The same behind a proxy that soon gives up who does not answer.
fn impatient() -> Option<(Pair, Wire)> {
    let lines = "server_detect_timeout = \"500ms\"\nserver_detect_fail_threshold = 2\n";
    Some(reading(Pair::start_with(lines)?))
}

/// With a client that has read from the replica.
fn reading(pair: Pair) -> (Pair, Wire) {
    pair.marked();
    let mut wire = pair.open();
    assert_eq!(wire.run(WHO).text(), "replica");
    (pair, wire)
}

/// Counts all combinations of so many rows.
fn count(rows: usize) -> String {
    let tables: Vec<String> = (0..rows).map(|n| format!("p.t t{n}")).collect();
    format!("SELECT COUNT(*) FROM {}", tables.join(", "))
}

/// Has the replica keep readers of `p.who` waiting, as long as this is there.
pub(crate) fn hold(pair: &Pair) -> Wire {
    let mut wire = pair.replica.admin();
    wire.run("LOCK TABLES p.who WRITE");
    wire
}

/// A read that waits on the replica.
pub(crate) fn start_reading(pair: &Pair, wire: &mut Wire) {
    wire.command(com::QUERY, WHO.as_bytes());
    pair.replica.until_counted(WAITING);
}

fn home_answers(start: fn(&str) -> Option<Pair>, end: fn(&mut Pair), by: &[&str]) {
    let Some((mut pair, mut wire)) = self::pair(start) else { return };
    let holder = hold(&pair);
    start_reading(&pair, &mut wire);
    end(&mut pair);
    let answer = wire.reply(com::QUERY).text();
    assert!(by.contains(&&*answer), "{answer}");
    assert_eq!(wire.query("INSERT INTO p.t (n) VALUES (9)").error(), None);
    assert_eq!(wire.run(WHO).text(), "primary");
    assert_eq!(pair.proxy.log().contains("is_asked_again=true"), answer == "primary");
    drop(holder);
}

#[test]
fn home_answers_what_a_killed_replica_does_not() {
    home_answers(Pair::start, |pair| pair.replica.kill9(), &["primary"]);
}

#[test]
fn home_answers_what_a_replica_that_shuts_down_does_not() {
    // It may end who holds the lock before who waits for it.
    home_answers(Pair::start, |pair| pair.replica.shut_down(), &["primary", "replica"]);
}

#[test]
fn home_answers_what_a_killed_mysql_does_not() {
    home_answers(Pair::start_mysql, |pair| pair.replica.kill9(), &["primary"]);
}

/// By whom its connection was ended is not known: the replica itself lives.
#[test]
fn home_answers_what_a_cut_connection_does_not() {
    let Some((pair, mut wire)) = self::pair(Pair::start) else { return };
    let holder = hold(&pair);
    start_reading(&pair, &mut wire);
    let mut admin = pair.replica.admin();
    let thread = WAITING.replace("COUNT(*)", "id");
    let thread = admin.run(&thread).text();
    admin.run(&format!("KILL CONNECTION {thread}"));
    assert_eq!(wire.reply(com::QUERY).text(), "primary");
    drop(holder);
    assert_eq!(wire.run(WHO).text(), "replica", "it is there as before");
}

/// The successor knows what was asked.
#[test]
fn home_answers_after_a_restart_as_well() {
    let Some((mut pair, mut wire)) = self::pair(Pair::start) else { return };
    let holder = hold(&pair);
    start_reading(&pair, &mut wire);
    pair.proxy.restart();
    pair.replica.kill9();
    assert_eq!(wire.reply(com::QUERY).text(), "primary");
    assert_eq!(wire.run(WHO).text(), "primary");
    drop(holder);
}

#[test]
fn what_is_behind_waits_and_is_asked_once() {
    let Some((mut pair, mut wire)) = self::pair(Pair::start) else { return };
    let holder = hold(&pair);
    let insert = "INSERT INTO p.t (n) VALUES (100)";
    let long = format!("{WHO} /* {} */", "x".repeat(6000));
    let texts = [&*long, insert, &*long, insert, WHO];
    let all: Vec<u8> =
        texts.iter().flat_map(|sql| command_packets(com::QUERY, sql.as_bytes())).collect();
    wire.send(&all).expect("it takes them");
    pair.replica.until_counted(WAITING);
    pair.replica.kill9();
    for sql in texts {
        let reply = wire.reply(com::QUERY);
        assert_eq!(reply.error(), None);
        assert!(sql == insert || reply.text() == "primary", "{:?}", reply.packets);
    }
    assert_eq!(wire.run("SELECT COUNT(*) FROM p.t WHERE n = 100").text(), "2");
    drop(holder);
}

/// Who says FIN behind a write has it run where writes are.
#[test]
fn what_stands_before_the_end_goes_where_it_belongs() {
    let Some((pair, mut wire)) = self::pair(Pair::start) else { return };
    let texts = [WHO, "INSERT INTO p.t (n) VALUES (100)", WHO];
    let all: Vec<u8> =
        texts.iter().flat_map(|sql| command_packets(com::QUERY, sql.as_bytes())).collect();
    wire.send(&all).expect("it takes them");
    wire.tcp().shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(wire.reply(com::QUERY).text(), "replica");
    assert_eq!(wire.reply(com::QUERY).error(), None);
    assert_eq!(wire.reply(com::QUERY).text(), "replica");
    wire.until_closed();
    pair.until_caught_up();
    for server in [&pair.primary, &pair.replica] {
        let count = "SELECT COUNT(*) FROM p.t WHERE n = 100";
        assert_eq!(server.admin().run(count).text(), "1");
    }
}

/// Of what the client has seen a part there is no second answer.
#[test]
fn an_answer_that_has_begun_ends_with_its_replica() {
    let Some((mut pair, mut wire)) = self::pair(Pair::start) else { return };
    let sql = count(9).replace("COUNT(*)", "REPEAT('x', 100000)");
    wire.command(com::QUERY, sql.as_bytes());
    assert_eq!(wire.packet().payload, [1]);
    pair.replica.kill9();
    let rest = wire.until_closed();
    assert!(rest.len() < 3_usize.pow(9) * 100_000, "not all of it was read");
}

/// The replica is gone between two commands, and what it would know is asked.
#[test]
fn what_only_a_lost_replica_knows_is_not_made_up() {
    let Some((mut pair, mut wire)) = self::pair(Pair::start) else { return };
    assert_eq!(wire.run("SELECT 1/0, name FROM p.who").row_count(), 1);
    assert_eq!(wire.run("SHOW WARNINGS").row_count(), 1);
    assert_eq!(wire.run("SELECT 1/0, name FROM p.who").row_count(), 1);
    pair.replica.kill9();
    assert_eq!(wire.ask(com::PING, b"").error(), None);
    assert_eq!(wire.query("SHOW WARNINGS").error(), Some(1105));
    assert_eq!(wire.ask(com::PING, b"").error(), None);
    assert_eq!(wire.run(WHO).text(), "primary");
    assert_eq!(wire.run("SHOW WARNINGS").row_count(), 0);
}

/// A server that ends an idle connection may say so.
#[test]
fn a_replica_that_takes_its_leave_is_not_heard_by_the_client() {
    for start in [Pair::start, Pair::start_mysql] {
        let Some((pair, mut wire)) = self::pair(start) else { continue };
        let idle = "SELECT id FROM information_schema.processlist WHERE command = 'Sleep' \
                    AND db = 'p' AND user = 'odp' AND host LIKE '127.0.0.1%'";
        let mut admin = pair.replica.admin();
        // It has answered, and comes to rest behind that.
        let thread = until("it to sleep", || {
            let found = admin.run(idle);
            (found.row_count() == 1).then(|| found.text())
        });
        admin.run(&format!("KILL CONNECTION {thread}"));
        let there = format!("SELECT 1 FROM information_schema.processlist WHERE id = {thread}");
        until("it to be gone", || (admin.run(&there).row_count() == 0).then_some(()));
        assert_eq!(wire.ask(com::PING, b"").error(), None);
        assert_eq!(wire.run(WHO).text(), "replica");
    }
}

/// The home has prepared it, too, and is told of its parameters what the replica was told.
#[test]
fn home_executes_what_a_killed_replica_does_not() {
    let Some((mut pair, mut wire)) = self::pair(Pair::start) else { return };
    let id = wire.prepare("SELECT ? + 1, name FROM p.who");
    let body = |bound: &[u8]| [&id.to_le_bytes()[..], &[0, 1, 0, 0, 0, 0], bound].concat();
    let number = 41_u64.to_le_bytes();
    let first = wire.ask(com::EXECUTE, &body(&[&[1, 8, 0][..], &number].concat()));
    let ends = |reply: &Reply, with: &[u8]| {
        reply.packets.iter().any(|packet| packet.payload.ends_with(with))
    };
    assert!(ends(&first, b"replica"), "{first:?}");
    let holder = hold(&pair);
    wire.command(com::EXECUTE, &body(&[&[0][..], &number].concat()));
    pair.replica.until_counted(WAITING);
    pair.replica.kill9();
    let second = wire.reply(com::EXECUTE);
    let row = [&[0, 0][..], &42_u64.to_le_bytes(), b"\x07primary"].concat();
    assert!(ends(&second, &row), "{second:?}");
    drop(holder);
}

/// What the home has is of another time.
#[test]
fn nobody_answers_what_a_killed_replica_does_not_in_a_transaction() {
    let Some((mut pair, mut wire)) = self::pair(Pair::start) else { return };
    wire.run("START TRANSACTION READ ONLY");
    assert_eq!(wire.run("SELECT COUNT(*) FROM p.t WHERE id = 1").text(), "1");
    let holder = hold(&pair);
    start_reading(&pair, &mut wire);
    pair.replica.kill9();
    assert_eq!(wire.reply(com::QUERY).error(), Some(1105));
    wire.run("ROLLBACK");
    assert_eq!(wire.run(WHO).text(), "primary");
    drop(holder);
}

/// Its kernel goes on acknowledging what it does not read any more: only who asks it notices.
#[test]
fn home_answers_what_a_replica_that_hangs_does_not() {
    let Some((pair, mut wire)) = impatient() else { return };
    let holder = hold(&pair);
    start_reading(&pair, &mut wire);
    pair.replica.process().signal(Signal::SIGSTOP);
    assert_eq!(wire.reply(com::QUERY).text(), "primary");
    assert_eq!(wire.run(WHO).text(), "primary", "nobody reads there");
    pair.replica.process().signal(Signal::SIGCONT);
    drop(holder);
    pair.until_roles(&["replica", "primary"]);
    until("reads to go there again", || (wire.run(WHO).text() == "replica").then_some(()));
}

/// A primary that is gone is no place to read from, however far behind the replica may be.
#[test]
fn a_replica_answers_when_the_primary_hangs() {
    let Some((pair, mut wire)) = impatient() else { return };
    pair.primary.process().signal(Signal::SIGSTOP);
    let mut admin = pair.proxy.admin().expect("the proxy takes operators");
    let mut routes = || admin.run("SHOW PROXYROUTE").named_rows();
    until("the primary to be given up", || {
        routes().iter().any(|row| row["state"] == "lost").then_some(())
    });
    // Behind it the lag of who follows it is not known any more.
    pair.replica.execute(&["STOP SLAVE"]);
    until("the lag to be unknown", || (!routes()[0].contains_key("lag")).then_some(()));
    assert_eq!(wire.run(WHO).text(), "replica");
    pair.primary.process().signal(Signal::SIGCONT);
}
