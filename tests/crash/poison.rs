//! Sessions whose bytes kill the process, and deaths of which nobody knows why.

use nix::sys::signal::Signal;

use crate::scene::{Layered, Layers, Scene};
use crate::support::{Login, Wire, until};
use odp::wire::command::code;

/// What the client is told whose session is closed for it.
const DEADLY: u16 = 1105;

/// The bytes of these sessions.
const POISON: &[u8] = b"SELECT 'arsenic'";

/// What becomes of it who polls a session with those.
fn poisoned(what: &str) -> Option<Scene> {
    Scene::start_with(|options| {
        options.environment.push(("ODP_POISON".into(), format!("{what}:arsenic")));
    })
}

/// A session, with the id that people know it by.
pub(crate) fn open(scene: &Scene) -> (Wire, String) {
    let ids = || {
        let rows = scene.admin().query("SHOW PROXYSESSION").named_rows();
        rows.into_iter().map(|row| row["proxy_sessid"].clone()).collect::<Vec<_>>()
    };
    let before = ids();
    let wire = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    let id = ids().into_iter().find(|id| !before.contains(id)).expect("it is there");
    (wire, id)
}

/// It kills two processes, and nobody goes with it.
fn costs_two_deaths_and_itself(what: &str, is_how: impl Fn(&str) -> bool) {
    let Some(scene) = poisoned(what) else { return };
    let mut innocents = scene.innocents(30);
    for round in 1..=2 {
        let (mut poison, id) = open(&scene);
        poison.run("SELECT 1");
        poison.command(code::QUERY, POISON);
        assert_eq!(poison.reply(code::QUERY).error(), Some(DEADLY));
        poison.until_closed();
        let deaths = scene.after(2 * round);
        assert_eq!(deaths.len(), 2 * round, "{deaths:?}");
        for (death, lost) in deaths.iter().zip(["1", "0"]) {
            assert!(is_how(&death["how"]), "{death:?}");
            assert_eq!(death["suspect"], id, "{death:?}");
            assert_eq!((&death["sessions"][..], &death["lost"][..]), ("31", lost), "{death:?}");
        }
        assert_eq!(deaths[0]["reasons"], "the proxy died of it: 1");
        scene.ask_all(&mut innocents);
    }
}

#[test]
fn a_session_that_aborts_the_proxy_costs_two_deaths_and_itself() {
    costs_two_deaths_and_itself("abort", |how| how == "SIGABRT");
}

/// The end of its stack. Where Rust's runtime knows it for that, it aborts.
#[test]
fn a_session_that_makes_the_proxy_fault_costs_two_deaths_and_itself() {
    costs_two_deaths_and_itself("fault", |how| ["SIGSEGV", "SIGABRT"].contains(&how));
}

/// People are told where, and why, but not what was quoted.
#[test]
fn a_session_that_panics_on_the_way_out_of_a_panic_is_told_of_by_its_text() {
    costs_two_deaths_and_itself("twice", |how| {
        let place = how.strip_prefix("SIGABRT, panicked at src/proxy/relay/poison.rs:");
        place.is_some_and(|rest| rest.contains("99 is out of bounds") && !how.contains("arsenic"))
    });
}

/// An operator, or somebody else; as often as he likes.
#[test]
fn who_is_killed_by_somebody_suspects_nobody() {
    let Some(scene) = Scene::start() else { return };
    let mut innocents = scene.innocents(10);
    let mut gate = scene.database.admin();
    gate.run("CREATE TABLE gate (n INT)");
    let signals = [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS, Signal::SIGILL];
    for (round, signal) in signals.iter().cycle().take(8).enumerate() {
        gate.run("LOCK TABLES gate WRITE");
        // They are all at work when it comes.
        for wire in &mut innocents {
            wire.command(code::QUERY, b"SELECT COUNT(*) FROM p.gate");
        }
        scene.database.until_counted(
            "SELECT COUNT(*) = 10 FROM information_schema.processlist WHERE info LIKE '%p.gate'",
        );
        scene.kill(*signal);
        let crash = &scene.crashes()[0];
        assert_eq!((&crash["how"][..], &crash["suspect"][..]), (signal.as_str(), ""));
        assert_eq!(scene.crashes().len(), round + 1);
        gate.run("UNLOCK TABLES");
        for wire in &mut innocents {
            assert_eq!(wire.reply(code::QUERY).text(), "0");
        }
    }
    scene.ask_all(&mut innocents);
}

/// Nobody else notices, and the process is the same.
fn goes_on_after_a_panic_of_its_task(layers: Layers) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("panic");
    std::fs::write(&file, "").expect("the directory is ours");
    let layered = Layered::start_with(layers, |options| {
        options.environment.push(("ODP_PANIC_IN".into(), file.display().to_string()));
    });
    let Some(layered) = layered else { return };
    let scene = &layered.scene;
    let carrier = scene.carrier();
    let mut innocents: Vec<Wire> = (0..5).map(|_| layered.open()).collect();
    for (n, wire) in innocents.iter_mut().enumerate() {
        wire.run(&format!("SET @n = {n}"));
        wire.run("BEGIN");
    }
    for _ in 0..3 {
        std::fs::write(&file, "relay").expect("the directory is ours");
        // Whoever is polled next panics; he has the question still to read.
        scene.ask_all(&mut innocents);
        until("the panic", || {
            let is_over = std::fs::read_to_string(&file).expect("it is there").is_empty();
            is_over.then_some(())
        });
        // It lives, and more than ten polls later it is no suspect any more.
        for _ in 0..12 {
            scene.ask_all(&mut innocents);
        }
    }
    assert_eq!(scene.carrier(), carrier);
    assert_eq!(scene.crashes().len(), 0);
    let metrics = scene.proxy.http_get("/metrics").expect("an answer");
    assert!(metrics.contains("odp_task_panics_total{task=\"relay\"} 3"), "{metrics}");
}

#[test]
fn a_session_whose_task_panics_goes_on() {
    goes_on_after_a_panic_of_its_task(Layers::Nothing);
}

#[test]
fn a_session_by_tls_1_3_whose_task_panics_goes_on() {
    goes_on_after_a_panic_of_its_task(Layers::Tls13);
}

#[test]
fn a_session_by_tls_1_2_whose_task_panics_goes_on() {
    goes_on_after_a_panic_of_its_task(Layers::Tls12);
}

#[test]
fn a_session_by_zlib_whose_task_panics_goes_on() {
    goes_on_after_a_panic_of_its_task(Layers::Zlib);
}

#[test]
fn a_session_by_zstd_whose_task_panics_goes_on() {
    goes_on_after_a_panic_of_its_task(Layers::Zstd);
}

#[test]
fn a_session_by_tls_and_zlib_whose_task_panics_goes_on() {
    goes_on_after_a_panic_of_its_task(Layers::TlsAndZlib);
}

#[test]
fn a_session_whose_task_panics_again_is_closed() {
    let Some(scene) = poisoned("panic") else { return };
    let carrier = scene.carrier();
    let mut innocents = scene.innocents(10);
    let (mut poison, _) = open(&scene);
    poison.run("SELECT 1");
    poison.command(code::QUERY, POISON);
    assert_eq!(poison.reply(code::QUERY).error(), Some(DEADLY));
    poison.until_closed();
    scene.ask_all(&mut innocents);
    assert_eq!(scene.carrier(), carrier);
    let metrics = scene.proxy.http_get("/metrics").expect("an answer");
    assert!(metrics.contains("odp_task_panics_total{task=\"relay\"} 2"), "{metrics}");
}

/// After three deaths everybody is closed in order, and after five it is given up.
#[test]
fn a_proxy_that_dies_of_nobody_knows_what_starts_empty_and_then_not_at_all() {
    let Some(scene) = poisoned("elsewhere") else { return };
    let mut innocents = scene.innocents(5);
    let (mut poison, _) = open(&scene);
    poison.run("SELECT 1");
    poison.command(code::QUERY, POISON);
    let deaths = scene.after(3);
    assert_eq!(deaths.len(), 3, "{deaths:?}");
    for (death, lost) in deaths.iter().zip(["6", "0", "0"]) {
        assert_eq!((&death["suspect"][..], &death["lost"][..]), ("", lost), "{death:?}");
    }
    assert_eq!(deaths[0]["reasons"], "the proxy died repeatedly: 6");
    for wire in &mut innocents {
        assert_eq!(wire.until_closed(), b"", "FIN, and nothing else");
    }
    scene.ask_all(&mut scene.innocents(3));
    for deaths in [4, 5] {
        let (mut poison, _) = open(&scene);
        poison.run("SELECT 1");
        poison.command(code::QUERY, POISON);
        match deaths {
            4 => assert_eq!(scene.after(4).len(), 4),
            _ => assert_eq!(scene.proxy.process().wait().code(), Some(134)),
        }
    }
}
