//! Sessions with TLS on both legs: whatever happens to others happens to them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::sys::signal::Signal;
use odp::net::tls::record::Update;

use crate::ends::cells;
use crate::scene::{restart, signal_pid, until_said};
use crate::support::pki::Pki;
use crate::support::proxy::Options;
use crate::support::socket::wanted_suite;
use crate::support::{Database, Login, Proxy, Server, Wire, com, scratch, until};
use crate::terminator::{By, Terminator};

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
    let mut options = files.of_server().to_vec();
    options.extend(wanted_suite().iter().flat_map(|suite| server_options(suite)));
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let database = Database::start_with(Server::MariaDb, &options)?;
    let mut options = Options::new(&[database.address()]);
    options.rest = files.of_proxy("require");
    options.proxy = lines.into();
    let proxy = Proxy::start_with(&options);
    Some(Scene { database, proxy, _dir: dir })
}

/// Makes a server speak this suite, which OpenSSL has another name for.
fn server_options(suite: &str) -> [String; 2] {
    let (version, cipher) = match suite.strip_prefix("TLS13_") {
        Some(rest) => ("TLSv1.3", format!("TLS_{rest}")),
        None => {
            let short = suite.trim_start_matches("TLS_").trim_end_matches("_POLY1305_SHA256");
            let cipher = short.replace("_WITH", "").replace("AES_", "AES").replace('_', "-");
            let tail = if cipher.ends_with("CHACHA20") { "-POLY1305" } else { "" };
            ("TLSv1.2", cipher + tail)
        }
    };
    [format!("--tls-version={version}"), format!("--ssl-cipher={cipher}")]
}

fn open(proxy: &Proxy) -> Wire {
    let login = Login { tls: true, ..Login::default() };
    let mut wire = Wire::open(&proxy.address(), &login).expect("log in");
    assert!(!cipher(&mut wire).is_empty(), "the server's leg has TLS");
    wire
}

/// Of the server's leg.
fn cipher(wire: &mut Wire) -> String {
    let mut row = wire.run("SHOW STATUS LIKE 'Ssl_cipher'").named_rows().remove(0);
    row.remove("Value").expect("a value")
}

/// T-47: long answers and questions, each byte of them looked at, while process follows process.
///
/// `ODP_TEST_TLS_MEGABYTES` sets how many come down, half of it goes up (60 and 36 without it);
/// `ODP_TEST_TLS_SUITE` the suite of both legs, by rustls' name, such as
/// `TLS13_CHACHA20_POLY1305_SHA256`. For gigabytes take a release build.
#[test]
fn t_47_megabytes_over_tls_across_ten_restarts() {
    let wanted = std::env::var("ODP_TEST_TLS_MEGABYTES").ok();
    let wanted = wanted.map(|text| text.parse::<usize>().expect("ODP_TEST_TLS_MEGABYTES"));
    let (down, up) = wanted.map_or((60, 36), |down| (down, down / 2));
    let Some(Scene { proxy, database: _database, _dir }) = start("") else { return };
    let mut wire = open(&proxy);
    wire.set_recording(false);
    let began = Instant::now();
    let restarts = fetch(&mut wire, &proxy, down) + send(&mut wire, &proxy, up.div_ceil(12));
    let took = began.elapsed();
    let cipher = cipher(&mut wire);
    eprintln!("{down} MiB down, {up} up, {restarts} restarts, {took:.1?}, {cipher}");
}

/// One answer of so many rows of a megabyte, and twelve restarts within; their number.
fn fetch(wire: &mut Wire, proxy: &Proxy, rows: usize) -> usize {
    let query = format!("SELECT seq, REPEAT(CHAR(64 + seq % 61), {ROW}) FROM seq_1_to_{rows}");
    wire.command(com::QUERY, query.as_bytes());
    assert_eq!(wire.packet().payload, [2], "two columns");
    wire.packet();
    wire.packet();
    let (every, mut restarts) = (rows.div_ceil(12), 0);
    for row in 1..=rows {
        if row % every == 0 && row < rows {
            restart(proxy);
            restarts += 1;
        }
        let payload = wire.packet().payload;
        let digits = row.to_string();
        let text = &payload[payload.len() - ROW..];
        assert_eq!(&payload[1..=digits.len()], digits.as_bytes());
        assert!(text.iter().all(|byte| *byte == 64 + (row % 61) as u8), "row {row}");
    }
    assert_eq!(wire.packet().payload[0], 0xFE, "the end");
    restarts
}

/// So many questions of twelve megabytes, and a restart behind the first three, then behind every
/// tenth.
fn send(wire: &mut Wire, proxy: &Proxy, questions: usize) -> usize {
    let mut restarts = 0;
    for round in 0..questions {
        let text = "abc".repeat((4 << 20) + round);
        let length =
            wire.query(&format!("SELECT MD5('{text}') = MD5(REPEAT('abc', {}))", text.len() / 3));
        assert_eq!(length.text(), "1", "round {round}");
        if round < 3 || round % 10 == 0 {
            restart(proxy);
            restarts += 1;
        }
    }
    restarts
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

/// T-26, the other way: a server's new keys before, during and after a move, while it speaks, while
/// it listens and while nobody does; asking for ours, and not.
#[test]
fn t_26_a_server_changes_keys_around_restarts() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let dir = scratch();
    let files = Pki::new().write(dir.path());
    let [aes_128, aes_256, chacha, ..] = &cells()[..] else { panic!("TLS 1.3 has three") };
    for (by, cell) in
        [(By::Rustls, aes_256), (By::Ours(Update::Own), aes_128), (By::Ours(Update::Both), chacha)]
    {
        let front = Terminator::start(database.address(), by, *cell);
        let mut options = Options::new(std::slice::from_ref(&front.address));
        options.rest = files.of_proxy("require");
        let proxy = Proxy::start_with(&options);
        let login = Login { tls: true, ..Login::default() };
        let mut wire = Wire::open(&proxy.address(), &login).expect("log in");
        while_the_server_speaks(&mut wire, &proxy, &front);
        while_it_listens(&mut wire, &proxy, &front);
        while_nobody_speaks(&mut wire, &proxy, &front);
        match by {
            By::Ours(Update::Own) => assert_eq!(front.heard(), 0, "nobody asked"),
            By::Ours(Update::Both) => assert!(front.heard() >= 3, "{} answers", front.heard()),
            // It would not tell.
            By::Rustls => {}
        }
    }
}

fn while_the_server_speaks(wire: &mut Wire, proxy: &Proxy, front: &Terminator) {
    const ROWS: usize = 16;
    wire.command(
        com::QUERY,
        format!("SELECT REPEAT(CHAR(64 + seq), {ROW}) FROM seq_1_to_{ROWS}").as_bytes(),
    );
    assert_eq!(wire.packet().payload, [1], "one column");
    wire.packet();
    for row in 1..=ROWS {
        if row % 3 == 0 {
            front.update_keys();
        }
        if row % 6 == 0 {
            restart(proxy);
        }
        let payload = wire.packet().payload;
        assert_eq!(payload.len(), 4 + ROW, "row {row}");
        assert!(payload[4..].iter().all(|byte| *byte == 64 + row as u8), "row {row}");
    }
    assert_eq!(wire.packet().payload[0], 0xFE, "the end");
}

fn while_it_listens(wire: &mut Wire, proxy: &Proxy, front: &Terminator) {
    let text = "abc".repeat(ROW);
    let query = format!("SELECT MD5('{text}') = MD5(REPEAT('abc', {ROW}))");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            restart(proxy);
            is_over.store(true, Ordering::Release);
        });
        for round in 0.. {
            front.update_keys();
            assert_eq!(wire.query(&query).text(), "1", "round {round}");
            front.update_keys();
            assert_eq!(wire.query(&format!("SELECT {round}")).text(), round.to_string());
            if is_over.load(Ordering::Acquire) {
                break;
            }
        }
    });
}

fn while_nobody_speaks(wire: &mut Wire, proxy: &Proxy, front: &Terminator) {
    front.update_keys();
    restart(proxy);
    front.update_keys();
    front.update_keys();
    restart(proxy);
    assert_eq!(wire.query("SELECT 'after'").text(), "after");
}

/// A successor dies that has touched some sessions: a key must not encrypt two records with one
/// nonce, so those end; the others go on with the keys that they were frozen with.
#[test]
fn t_14_tls_goes_on_where_a_dead_successor_has_not_touched_it() {
    let Some(Scene { proxy, database: _database, _dir }) =
        start("crash_protection = false\nhot_upgrade_probation = \"60s\"\n")
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
