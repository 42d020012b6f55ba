//! Homes that hear nothing while their sessions read on a replica, for longer than `wait_timeout`.

use std::time::{Duration, Instant};

use crate::lost::pair;
use crate::pair::Pair;
use crate::support::{Server, Wire, until};

const WHO: &str = "SELECT name FROM p.who";

/// What a session has as its `wait_timeout` here, in seconds.
const TIMEOUT: u32 = 4;

/// A session that reads on the replica, and its id on the primary.
fn reading(pair: &Pair, wire: &mut Wire) -> String {
    wire.run(&format!("SET @x = 'kept', wait_timeout = {TIMEOUT}"));
    let home = wire.run("SELECT CONNECTION_ID()").text();
    assert_eq!(wire.run(WHO).text(), "replica");
    let there = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {home}");
    assert_eq!(pair.primary.admin().run(&there).text(), "1");
    home
}

/// Reads for longer than a home without a word would live.
fn read_on(wire: &mut Wire) {
    let over = Instant::now() + Duration::from_secs(2 * u64::from(TIMEOUT));
    until("time to pass", || {
        assert_eq!(wire.run(WHO).text(), "replica");
        (Instant::now() > over).then_some(())
    });
}

fn writes_find_their_home(start: fn(&str) -> Option<Pair>) {
    let Some((pair, mut wire)) = pair(start) else { return };
    let home = reading(&pair, &mut wire);
    read_on(&mut wire);
    assert_eq!(wire.query("INSERT INTO p.t (n) VALUES (9)").error(), None);
    assert_eq!(wire.run("SELECT CONNECTION_ID()").text(), home, "it is the same one");
    assert_eq!(wire.run("SELECT @x").text(), "kept");
    // The successor asks anew how long that is.
    assert_eq!(wire.run(WHO).text(), "replica");
    pair.proxy.restart();
    read_on(&mut wire);
    assert_eq!(wire.run("SELECT CONNECTION_ID()").text(), home, "it is the same one");
}

#[test]
fn writes_find_their_home_mariadb() {
    writes_find_their_home(Pair::start);
}

#[test]
fn writes_find_their_home_mysql() {
    writes_find_their_home(Pair::start_mysql);
}

fn who_is_silent_is_not_kept(start: fn(&str) -> Option<Pair>) {
    let Some((pair, mut wire)) = pair(start) else { return };
    let home = reading(&pair, &mut wire);
    read_on(&mut wire);
    let last = String::from_utf8_lossy(&wire.until_closed()).into_owned();
    // As its server itself would say it.
    let is_told = last.contains("The client was disconnected by the server because of inactivity");
    assert_eq!(is_told, pair.primary.server == Server::MySql, "{last}");
    assert_eq!(last.is_empty(), !is_told, "{last}");
    let gone = format!("SELECT COUNT(*) = 0 FROM information_schema.processlist WHERE id = {home}");
    pair.primary.until_counted(&gone);
}

#[test]
fn who_is_silent_is_not_kept_mariadb() {
    who_is_silent_is_not_kept(Pair::start);
}

#[test]
fn who_is_silent_is_not_kept_mysql() {
    who_is_silent_is_not_kept(Pair::start_mysql);
}

/// Somebody has ended it there meanwhile: what was to be written is not, and the client knows.
#[test]
fn what_finds_no_home_is_not_executed() {
    let Some((pair, mut wire)) = pair(Pair::start) else { return };
    let home = reading(&pair, &mut wire);
    pair.primary.execute(&[&format!("KILL CONNECTION {home}")]);
    let gone = format!("SELECT COUNT(*) = 0 FROM information_schema.processlist WHERE id = {home}");
    pair.primary.until_counted(&gone);
    assert_eq!(wire.query("INSERT INTO p.t (n) VALUES (9)").error(), Some(2013));
    wire.until_closed();
    let count = "SELECT COUNT(*) FROM p.t WHERE n = 9";
    assert_eq!(pair.primary.admin().run(count).text(), "0");
}
