//! `session_handover = false`: the listeners move, the sessions drain.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::scene::{said, signal_pid, until_draining, until_said};
use crate::support::{Database, Login, Proxy, Server, Wire, com};

fn classic(database: &Database, timeout: &str) -> Proxy {
    let lines = format!("session_handover = false\nhot_upgrade_exit_timeout = \"{timeout}\"\n");
    Proxy::start_with_lines(database, lines)
}

#[test]
fn at_the_exit_timeout_sessions_get_1053_and_the_predecessor_exits_0() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = classic(&database, "1s");
    let mut idle = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let mut open = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    open.run("BEGIN");
    until_draining(&proxy);
    let mut new = Wire::open(&proxy.address(), &Login::default()).expect("the successor accepts");
    for wire in [&mut idle, &mut open] {
        let last = wire.try_packet().expect("a whole packet before the end");
        assert_eq!(last.error(), Some(1053), "{last:?}");
        assert_eq!(&last.payload[3..9], b"#08S01");
        assert!(wire.until_closed().is_empty(), "nothing after it");
    }
    assert!(proxy.process().wait().success());
    new.run("SELECT 1");
}

#[test]
fn an_answer_under_way_at_the_exit_timeout_ends_at_a_packet() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = classic(&database, "1s");
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    // More than all buffers hold, and the client does not read.
    wire.command(com::QUERY, b"SELECT REPEAT('x', 100000) FROM seq_1_to_1000");
    until_draining(&proxy);
    let mut packets = 0;
    // 1053 or the end of the connection, but never in the middle of a packet.
    let end = loop {
        match wire.try_packet() {
            Ok(packet) if packet.error().is_some() => break packet.error(),
            Ok(packet) => {
                packets += 1;
                let sizes = packet.payload.len();
                assert!(sizes < 200 || sizes == 100_004, "packet {packets} of {sizes} bytes");
            }
            Err(_) => break None,
        }
        if packets > 1002 {
            break Some(0);
        }
    };
    assert!(matches!(end, Some(1053 | 0)), "{end:?} after {packets} packets");
    assert!(proxy.process().wait().success());
}

#[test]
fn transactions_shorter_than_the_timeout_lose_nothing() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    database.execute(&["CREATE TABLE kept (n INT) ENGINE=InnoDB"]);
    let proxy = classic(&database, "1h");
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    wire.run("BEGIN");
    wire.run("INSERT INTO kept VALUES (1)");
    until_draining(&proxy);
    wire.run("INSERT INTO kept VALUES (2)");
    wire.run("COMMIT");
    drop(wire);
    // Empty: it does not wait for the hour.
    assert!(proxy.process().wait().success());
    let mut new = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    assert_eq!(new.run("SELECT SUM(n) FROM kept").text(), "3");
}

#[test]
fn a_classic_restart_before_the_last_one_has_drained_is_refused() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = classic(&database, "1h");
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    until_draining(&proxy);
    let refused = said(&proxy, "restart by signal refused");
    signal_pid(proxy.process().pid(), Signal::SIGUSR2);
    until_said(&proxy, "restart by signal refused", refused);
    wire.run("SELECT 1");
    wire.tcp().set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
}
