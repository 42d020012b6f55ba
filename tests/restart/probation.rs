//! The time after: the successor serves, and its predecessor could still go on in its place.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;

use crate::scene::{Scene, signal_pid};
use crate::support::proxy::Options;
use crate::support::{Database, Login, Proxy, Server, Wire, until};

/// Long enough for whatever a test does meanwhile.
const PROBATION: &str = "hot_upgrade_probation = \"60s\"\n";

/// The newest row of SHOW RESTART.
fn newest(proxy: &Proxy) -> Option<BTreeMap<String, String>> {
    let tasks = proxy.admin().ok()?.try_query("SHOW RESTART").ok()?;
    tasks.named_rows().into_iter().next()
}

/// Begins a restart and waits until the successor is on probation; its pid.
fn until_probation(proxy: &Proxy) -> u32 {
    let before = proxy.pid();
    signal_pid(before, Signal::SIGUSR2);
    until(&format!("the probation\n{}", proxy.log()), || {
        let task = newest(proxy)?;
        let is_it = task["old_pid"] == before.to_string() && task["phase"] == "PROBATION";
        is_it.then(|| task["new_pid"].parse().expect("a pid"))
    })
}

fn alone(proxy: &Proxy, pid: u32) {
    until("one process to be left", || (proxy.process().living() == [pid]).then_some(()));
}

/// T-9, C-17. What the successor has touched dies with it; the rest goes on, and nobody is refused.
#[test]
fn c_17_what_a_dead_successor_had_not_touched_goes_on() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    // Nobody comes after it.
    let lines = format!("crash_protection = false\n{PROBATION}");
    let proxy = Proxy::start_with_lines(&database, lines);
    let first = proxy.pid();
    let mut wires: Vec<_> = (0..40)
        .map(|n| {
            let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
            wire.run(&format!("SET @n = {n}"));
            wire
        })
        .collect();
    let successor = until_probation(&proxy);
    for wire in &mut wires[..10] {
        assert_eq!(wire.query("SELECT 'touched'").text(), "touched");
    }
    signal_pid(successor, Signal::SIGKILL);
    alone(&proxy, first);
    for (n, wire) in wires.iter_mut().enumerate() {
        let answer = wire.try_query("SELECT @n").map(|reply| reply.text());
        match n < 10 {
            true => assert!(answer.is_err(), "session {n} was touched: {answer:?}"),
            false => assert_eq!(answer.expect("it lives"), n.to_string(), "session {n}"),
        }
    }
    Wire::open(&proxy.address(), &Login::default()).expect("new sessions are served");
    let task = newest(&proxy).expect("a task");
    let detail = &task["detail"];
    assert!(detail.ends_with("of 40 sessions that it had, 30 go on here"), "{detail}");
    assert_eq!(task["state"], "FAILED");
}

/// C-18. The operator takes everything back although the successor serves, and nobody notices.
#[test]
fn c_18_rollback_on_probation_loses_nothing() {
    let change = |options: &mut Options| options.proxy = PROBATION.into();
    let Some(scene) = Scene::start_with(change) else { return };
    let first = scene.proxy.pid();
    for _ in 0..3 {
        until_probation(&scene.proxy);
        scene.pressure.until_more(2);
        let reply = scene.proxy.admin().expect("the admin").query("RESTART ROLLBACK");
        assert_eq!(reply.error(), None);
        alone(&scene.proxy, first);
        until("the rollback to be told", || {
            (newest(&scene.proxy)?["state"] == "ROLLED_BACK").then_some(())
        });
    }
    scene.finish();
}

/// Who orders the next restart does not wait for the end of the last one's probation.
#[test]
fn the_next_restart_ends_the_probation() {
    let change = |options: &mut Options| options.proxy = PROBATION.into();
    let Some(scene) = Scene::start_with(change) else { return };
    let mut before = scene.proxy.pid();
    for _ in 0..5 {
        let after = until_probation(&scene.proxy);
        until("two processes, not three", || {
            (scene.proxy.process().living() == [before, after]).then_some(())
        });
        before = after;
    }
    scene.finish();
}

/// Whichever of them is told: a service manager still takes the predecessor for the main process.
#[test]
fn a_stop_on_probation_stops_both() {
    let Some(database) = Database::start(Server::MariaDb) else { return };
    let mut options = Options::new(&[database.address()]);
    options.proxy = PROBATION.into();
    for tells_successor in [true, false] {
        let proxy = Proxy::start_with(&options);
        let first = proxy.pid();
        let mut wire = Wire::open(&proxy.address(), &Login::default()).expect("log in");
        let successor = until_probation(&proxy);
        signal_pid(if tells_successor { successor } else { first }, Signal::SIGTERM);
        assert_eq!(wire.packet().error(), Some(1053));
        until("the end of both", || proxy.process().living().is_empty().then_some(()));
        let left = std::fs::read_dir(proxy.run_dir()).expect("it stays").flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}
