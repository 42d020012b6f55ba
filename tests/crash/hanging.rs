//! A proxy that does not move any more, and one that only seems not to.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::poison::open;
use crate::scene::Scene;
use crate::support::Wire;
use odp::wire::command::code;

/// Who does not move for so long hangs.
const LIMIT: Duration = Duration::from_millis(5000);

fn start(workers: usize) -> Option<Scene> {
    Scene::start_with(|options| {
        options.proxy = format!("workers = {workers}\n");
        let variables = [
            ("ODP_POISON".into(), "hang:quicksand".into()),
            ("ODP_HANG_MS".into(), LIMIT.as_millis().to_string()),
        ];
        options.environment.extend(variables);
    })
}

/// Two deaths and itself, as a poison that kills at once.
fn is_ended(workers: usize) {
    let Some(scene) = start(workers) else { return };
    let mut innocents = scene.innocents(10);
    let (mut poison, id) = open(&scene);
    poison.run("SELECT 1");
    poison.command(code::QUERY, b"SELECT 'quicksand'");
    assert_eq!(poison.reply(code::QUERY).error(), Some(1105));
    let deaths = scene.after(2);
    assert_eq!(deaths.len(), 2, "{deaths:?}");
    for (death, lost) in deaths.iter().zip(["1", "0"]) {
        assert_eq!((&death["how"][..], &death["suspect"]), ("SIGABRT after a hang", &id));
        assert_eq!((&death["sessions"][..], &death["lost"][..]), ("11", lost), "{death:?}");
    }
    scene.ask_all(&mut innocents);
}

#[test]
fn a_worker_that_hangs_is_ended() {
    is_ended(2);
}

#[test]
fn the_only_worker_that_hangs_is_ended() {
    is_ended(1);
}

/// By an operator, or a debugger.
#[test]
fn who_is_stopped_does_not_hang() {
    let Some(scene) = start(2) else { return };
    let mut innocents: Vec<Wire> = scene.innocents(3);
    let carrier = scene.carrier();
    kill(Pid::from_raw(carrier as i32), Signal::SIGSTOP).expect("it lives");
    // Nothing is to happen meanwhile, so there is nothing to be awaited.
    std::thread::sleep(3 * LIMIT);
    kill(Pid::from_raw(carrier as i32), Signal::SIGCONT).expect("it lives");
    scene.ask_all(&mut innocents);
    assert_eq!((scene.carrier(), scene.crashes().len()), (carrier, 0));
}
