//! A proxy that does not move any more, and one that only seems not to.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::poison::open;
use crate::scene::Scene;
use crate::support::Wire;
#[cfg(target_arch = "x86_64")]
use crate::support::may_look_into_proxies;
#[cfg(target_arch = "x86_64")]
use crate::tracer::Traced;
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

/// Somebody holds it for longer than anybody may stand still; then it goes on as it was.
fn lives<T>(workers: usize, hold: impl FnOnce(Pid) -> T, let_go: impl FnOnce(T)) {
    let Some(scene) = start(workers) else { return };
    let mut innocents: Vec<Wire> = scene.innocents(3);
    let carrier = scene.carrier();
    let held = hold(Pid::from_raw(carrier as i32));
    // Nothing is to happen meanwhile, so there is nothing to be awaited.
    std::thread::sleep(3 * LIMIT);
    let_go(held);
    scene.ask_all(&mut innocents);
    assert_eq!((scene.carrier(), scene.crashes().len()), (carrier, 0));
}

/// By an operator.
#[test]
fn who_is_stopped_does_not_hang() {
    let stop = |carrier| {
        kill(carrier, Signal::SIGSTOP).expect("it lives");
        carrier
    };
    lives(2, stop, |carrier| kill(carrier, Signal::SIGCONT).expect("it lives"));
}

/// By a debugger that holds the thread that does all the work, and no other one.
#[cfg(target_arch = "x86_64")]
#[test]
fn who_has_a_thread_that_is_traced_does_not_hang() {
    if may_look_into_proxies() {
        lives(1, Traced::attach, drop);
    }
}
