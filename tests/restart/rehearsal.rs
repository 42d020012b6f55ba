//! RESTART REHEARSE: the new program says what it would refuse, and nothing moves.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use crate::scene::{Scene, restart};
use crate::support::{Database, Login, Proxy, Server, Wire, com, scratch, until};

/// Asks for one and waits for its end; its row.
fn rehearse(proxy: &Proxy, options: &str) -> BTreeMap<String, String> {
    let mut admin = proxy.admin().expect("the admin port");
    admin.run(&format!("RESTART REHEARSE {options}"));
    newest_ended(proxy)
}

fn newest_ended(proxy: &Proxy) -> BTreeMap<String, String> {
    until(&format!("the rehearsal to end\n{}", proxy.log()), || {
        let tasks = proxy.admin().ok()?.try_query("SHOW RESTART").ok()?.named_rows();
        let newest = tasks.into_iter().next()?;
        assert_eq!(newest["mode"], "REHEARSE", "{newest:?}");
        (newest["state"] != "IN_PROGRESS").then_some(newest)
    })
}

/// A program that is odp but for `rehearse`.
fn program(dir: &tempfile::TempDir, rehearse: &str) -> PathBuf {
    let path = dir.path().join("program");
    let built = env!("CARGO_BIN_EXE_odp");
    let text =
        format!("#!/bin/sh\nif [ $1 = rehearse ]; then {rehearse}; fi\nexec {built} \"$@\"\n");
    std::fs::write(&path, text).expect("the directory is ours");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    path
}

/// What SHOW PROXYSTAT counts.
fn counters(proxy: &Proxy) -> BTreeMap<String, u64> {
    let mut admin = proxy.admin().expect("the admin port");
    let rows = admin.run("SHOW PROXYSTAT").named_rows();
    let numbers = rows.into_iter().map(|row| (row["stat_name"].clone(), row["value"].parse()));
    let counts = numbers.filter(|(name, _)| !name.starts_with("current_"));
    counts.filter_map(|(name, value)| Some((name, value.ok()?))).collect()
}

fn only(proxy: &Proxy, pid: u32) {
    let alone = || (proxy.process().living() == [pid]).then_some(());
    until("the understudy to be gone", alone);
}

#[test]
fn a_rehearsal_judges_sessions_of_every_kind_and_moves_nothing() {
    let Some(mut scene) = Scene::start() else { return };
    let open = || Wire::open(&scene.proxy.address(), &Login::default()).expect("a session");
    let [mut in_transaction, mut reading, mut half] = [open(), open(), open()];
    in_transaction.run("BEGIN");
    in_transaction.run("INSERT INTO transfers VALUES (999, 1)");
    reading.command(com::QUERY, b"SELECT REPEAT('x', 1000) FROM seq_1_to_20000");
    half.send(b"\x09\0\0\0\x03SELE").expect("a session");
    // It is in the middle of its result: neither at the start nor done.
    let first = reading.take(100).expect("a result");
    let pid = scene.proxy.pid();
    let socket = || std::fs::metadata(scene.proxy.run_dir().join("handover.sock")).expect("there");
    let door = socket().ino();
    let before = counters(&scene.proxy);
    for _ in 0..3 {
        let task = rehearse(&scene.proxy, "");
        assert_eq!(task["state"], "COMPLETED", "{task:?}");
        assert!(task["detail"].contains(" sessions would move"), "{task:?}");
        let moved: u64 = task["moved"].parse().expect("a number");
        assert!(moved >= 33, "those that wait, at least: {task:?}");
        assert_eq!((&*task["new_pid"], &*task["disconnected"]), ("0", "0"), "{task:?}");
        scene.pressure.until_more(1);
    }
    only(&scene.proxy, pid);
    assert_eq!(socket().ino(), door);
    let after = counters(&scene.proxy);
    assert!(before.iter().all(|(name, value)| after[name] >= *value), "{before:?} {after:?}");
    assert!(after["client_requests"] > before["client_requests"]);
    assert!(!scene.proxy.log().contains("state=RESTARTING"), "{}", scene.proxy.log());
    assert_eq!(scene.waiting.dead(), 0);
    assert!(in_transaction.run("SELECT 1").in_transaction());
    in_transaction.run("ROLLBACK");
    half.send(b"CT 1").expect("a session");
    assert_eq!(half.reply(com::QUERY).text(), "1");
    let rest = reading.take(20_000_000).expect("the rest of the result");
    assert!([first, rest].concat().iter().filter(|byte| **byte == b'x').count() > 19_000_000);
    restart(&scene.proxy);
    scene.finish();
}

#[test]
fn a_rehearsal_that_cannot_be_says_why() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start_with_lines(&database, "hot_upgrade_rollback_timeout = \"1s\"\n");
    let dir = scratch();
    let mut sessions: Vec<Wire> = (0..10)
        .map(|_| Wire::open(&proxy.address(), &Login::default()).expect("a session"))
        .collect();
    let pid = proxy.pid();
    for (rehearse_as, why) in [
        // Clap's answer to a subcommand that it does not know.
        ("exit 2", "cannot rehearse: it does not know the command"),
        ("exit 0", "ended without a word"),
        ("kill -9 $$", "ended without a word (signal: 9"),
        ("echo HELLO >&0; exit 0", "not a handover message"),
        ("exec sleep 3600", "the successor did not send HELLO in time"),
        // Ten sessions need 84.
        ("ulimit -n 80", "the successor may open 80 files (RLIMIT_NOFILE), 84 are needed"),
    ] {
        let binary = program(&dir, rehearse_as);
        let task = rehearse(&proxy, &format!("BINARY = '{}'", binary.display()));
        assert_eq!(task["state"], "FAILED", "{rehearse_as}: {task:?}");
        assert!(task["detail"].contains(why), "{rehearse_as}: {task:?}");
        only(&proxy, pid);
    }
    let config = dir.path().join("bad.toml");
    std::fs::write(&config, "[proxy]\nno_such_key = 1\n").expect("ours");
    let mut admin = proxy.admin().expect("the admin port");
    let reply = admin.query(&format!("RESTART REHEARSE CONFIG = '{}'", config.display()));
    assert_eq!(reply.error(), Some(1105), "{:?}", reply.last());
    let task = newest_ended(&proxy);
    assert!(task["detail"].contains("no_such_key"), "{task:?}");
    for wire in &mut sessions {
        wire.run("SELECT 1");
    }
}

#[test]
fn a_restart_does_not_wait_for_a_rehearsal() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start(&database);
    let dir = scratch();
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    let hung = format!("BINARY = '{}'", program(&dir, "exec sleep 3600").display());
    let mut admin = proxy.admin().expect("the admin port");
    admin.run(&format!("RESTART REHEARSE {hung}"));
    let second = admin.query("RESTART REHEARSE");
    assert_eq!(second.error(), Some(1105), "{:?}", second.last());
    let before = proxy.pid();
    admin.run(&format!("RESTART {hung}"));
    until("the successor to be the only one left", || {
        matches!(*proxy.process().living(), [one] if one != before).then_some(())
    });
    until("the end of it", || proxy.log().contains("takeover completed").then_some(()));
    let tasks = proxy.admin().expect("the admin port").run("SHOW RESTART").named_rows();
    let rehearsal = tasks.last().expect("the first task");
    assert_eq!((&*rehearsal["mode"], &*rehearsal["state"]), ("REHEARSE", "FAILED"), "{tasks:?}");
    assert!(rehearsal["detail"].contains("ended"), "{tasks:?}");
    wire.run("SELECT 1");
}

#[test]
fn a_rehearsal_is_refused_while_a_restart_is_under_way() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let proxy = Proxy::start_with_lines(
        &database,
        "session_handover = false\nhot_upgrade_exit_timeout = \"60s\"\n",
    );
    let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("a session");
    proxy.admin().expect("the admin port").run("RESTART");
    // The predecessor keeps the session, the successor has the admin port.
    until("the successor", || proxy.log().contains("phase=DRAIN generation=2").then_some(()));
    let reply = proxy.admin().expect("the admin port").query("RESTART REHEARSE");
    assert_eq!(reply.error(), Some(1105), "{:?}", reply.last());
    wire.send(b"\x01\0\0\0\x01").expect("a session");
    wire.until_closed();
    until("the end of it", || proxy.log().contains("takeover completed").then_some(()));
}
