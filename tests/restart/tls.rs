//! Sessions with TLS on both legs: whatever happens to others happens to them.

use nix::sys::signal::Signal;

use crate::scene::{restart, signal_pid, until_said};
use crate::support::pki::Pki;
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, com, scratch, until};

const ROW: usize = 1 << 20;

/// A server and a proxy, both with certificates.
struct Scene {
    proxy: Proxy,
    database: Database,
    /// Successors read the files again.
    _dir: tempfile::TempDir,
}

/// TLS is required of the server, and offered to clients.
fn start(lines: &str) -> Option<Scene> {
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let options = files.of_server();
    let options = options.each_ref().map(String::as_str);
    let database = Database::start_with(Server::MariaDb, &options)?;
    let mut options = Options::new(&[database.address()]);
    options.rest = files.of_proxy("require");
    options.proxy = lines.into();
    let proxy = Proxy::start_with(&options);
    Some(Scene { database, proxy, _dir: dir })
}

fn open(proxy: &Proxy) -> Wire {
    let login = Login { tls: true, ..Login::default() };
    let mut wire = Wire::open(&proxy.address(), &login).expect("log in");
    let cipher = wire.run("SHOW STATUS LIKE 'Ssl_cipher'").named_rows().remove(0);
    assert!(!cipher["Value"].is_empty(), "the server's leg has TLS");
    wire
}

/// T-47: long answers and questions, each byte of them looked at, while process follows process.
#[test]
fn t_47_megabytes_over_tls_across_ten_restarts() {
    let Some(Scene { proxy, database: _database, _dir }) = start("") else { return };
    let mut wire = open(&proxy);
    let rows = 12 * 5;
    let query = format!("SELECT seq, REPEAT(CHAR(64 + seq), {ROW}) FROM seq_1_to_{rows}");
    wire.command(com::QUERY, query.as_bytes());
    assert_eq!(wire.packet().payload, [2], "two columns");
    wire.packet();
    wire.packet();
    for row in 1..=rows {
        if row % 5 == 0 && row < rows {
            restart(&proxy);
        }
        let payload = wire.packet().payload;
        let digits = row.to_string();
        let text = &payload[payload.len() - ROW..];
        assert_eq!(&payload[1..=digits.len()], digits.as_bytes());
        assert!(text.iter().all(|byte| *byte == 64 + row as u8), "row {row}");
    }
    assert_eq!(wire.packet().payload[0], 0xFE, "the end");
    for round in 0..3_u8 {
        let text = "abc".repeat((4 << 20) + usize::from(round));
        let length =
            wire.query(&format!("SELECT MD5('{text}') = MD5(REPEAT('abc', {}))", text.len() / 3));
        assert_eq!(length.text(), "1");
        restart(&proxy);
    }
}

/// T-26: new keys before, during and after a move, again and again.
#[test]
fn t_26_keys_change_around_restarts() {
    let Some(Scene { proxy, database: _database, _dir }) = start("") else { return };
    let mut wire = open(&proxy);
    for round in 0..3 {
        wire.update_keys();
        assert_eq!(wire.query("SELECT 'before'").text(), "before");
        wire.command(com::QUERY, format!("SELECT REPEAT('x', {ROW}) FROM seq_1_to_20").as_bytes());
        assert_eq!(wire.packet().payload, [1], "one column");
        wire.packet();
        wire.update_keys();
        for row in 0..20 {
            if row == 10 {
                // It is in flight, and so is what the proxy says with the old key.
                wire.update_keys();
                restart(&proxy);
            }
            assert_eq!(wire.packet().payload.len(), ROW + 4, "round {round}, row {row}");
        }
        assert_eq!(wire.packet().payload[0], 0xFE, "the end");
        wire.update_keys();
        restart(&proxy);
        wire.update_keys();
        wire.update_keys();
        assert_eq!(wire.query("SELECT 'after'").text(), "after");
    }
}

/// A successor dies that has touched some sessions: a key must not encrypt two records with one
/// nonce, so those end; the others go on with the keys that they were frozen with.
#[test]
fn t_14_tls_goes_on_where_a_dead_successor_has_not_touched_it() {
    let Some(Scene { proxy, database: _database, _dir }) =
        start("hot_upgrade_probation = \"60s\"\n")
    else {
        return;
    };
    let first = proxy.pid();
    let mut wires: Vec<_> = (0..12).map(|_| open(&proxy)).collect();
    for (n, wire) in wires.iter_mut().enumerate() {
        wire.run(&format!("SET @n = {n}"));
    }
    signal_pid(first, Signal::SIGUSR2);
    let successor = until("a successor on probation", || {
        let tasks = proxy.admin().ok()?.try_query("SHOW RESTART").ok()?.named_rows();
        let newest = tasks.into_iter().next()?;
        (newest["phase"] == "PROBATION").then(|| newest["new_pid"].parse().expect("a pid"))
    });
    for wire in &mut wires[..4] {
        assert_eq!(wire.query("SELECT 'touched'").text(), "touched");
    }
    signal_pid(successor, Signal::SIGKILL);
    until("the predecessor alone", || (proxy.process().living() == [first]).then_some(()));
    until_said(&proxy, "restart undone", 0);
    for (n, wire) in wires.iter_mut().enumerate() {
        let answer = wire.try_query("SELECT @n").map(|reply| reply.text());
        match n < 4 {
            true => assert!(answer.is_err(), "session {n} was touched: {answer:?}"),
            false => assert_eq!(answer.expect("it lives"), n.to_string(), "session {n}"),
        }
    }
    restart_with_rehearsal(&proxy, wires.split_off(4));
}

fn restart_with_rehearsal(proxy: &Proxy, mut wires: Vec<Wire>) {
    proxy.admin().expect("the admin port").run("RESTART REHEARSE");
    let detail = until("the rehearsal to end", || {
        let tasks = proxy.admin().ok()?.try_query("SHOW RESTART").ok()?.named_rows();
        let newest = tasks.into_iter().next()?;
        let is_over = newest["mode"] == "REHEARSE" && newest["state"] != "IN_PROGRESS";
        is_over.then(|| newest["detail"].clone())
    });
    assert!(detail.starts_with("8 of 8 sessions would move"), "{detail}");
    signal_pid(proxy.pid(), Signal::SIGUSR2);
    until("a successor", || (proxy.process().living().len() == 2).then_some(()));
    for wire in &mut wires {
        assert_eq!(wire.query("SELECT 'moved'").text(), "moved");
    }
}
