//! A keeper that dies in the middle of a restart, on either side: no session goes with it.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::{Mined, Scene};
use crate::support::until;

fn state_of(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// One of its processes that stands still at a crash point.
fn stopped(scene: &Scene) -> u32 {
    until(&format!("somebody to stop\n{}", scene.proxy.log()), || {
        let living = scene.proxy.process().all_living();
        living.into_iter().find(|pid| state_of(*pid).is_some_and(|(state, _)| state == 'T'))
    })
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("it lives");
}

/// Whose keeper dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Predecessor,
    Successor,
    Both,
}

/// While one side stands at this point; in the end there is a pair, and nobody was lost.
fn dies(at: &str, whose: Whose) {
    let Some(mined) = Mined::start("", "off") else { return };
    let scene = &mined.scene;
    let mut innocents = scene.innocents(40);
    let (old_keeper, old) = (scene.proxy.process().pid(), scene.carrier());
    mined.arm(at);
    signal(old_keeper, Signal::SIGUSR2);
    let stopped = stopped(scene);
    mined.disarm();
    let new = until("the successor", || {
        let living = scene.proxy.process().all_living();
        let is_new = |pid: &u32| {
            ![old_keeper, old].contains(pid)
                && state_of(*pid).is_some_and(|(_, parent)| ![old, old_keeper].contains(&parent))
        };
        living.into_iter().find(is_new)
    });
    let (_, new_keeper) = state_of(new).expect("it lives");
    if whose != Whose::Successor {
        signal(old_keeper, Signal::SIGKILL);
    }
    if whose != Whose::Predecessor {
        signal(new_keeper, Signal::SIGKILL);
    }
    signal(stopped, Signal::SIGCONT);
    let is_pair = |living: &[u32]| match living {
        [keeper, carrier] => {
            state_of(*carrier).is_some_and(|(_, parent)| parent == *keeper)
                && (whose == Whose::Predecessor || *keeper != new_keeper)
                && (whose == Whose::Successor || *keeper != old_keeper)
        }
        _ => false,
    };
    until(&format!("a pair\n{}", scene.proxy.log()), || {
        let living = scene.proxy.process().all_living();
        // Two may also be a proxy without a keeper and the one that it has started.
        let is_done = is_pair(&living)
            && scene.proxy.http_status("/readyz") == Some(200)
            && living.last() == Some(&scene.carrier());
        is_done.then_some(())
    });
    scene.ask_all(&mut innocents);
    scene.kill(Signal::SIGKILL);
    scene.ask_all(&mut innocents);
}

#[test]
fn the_predecessors_keeper_dies_while_sessions_move() {
    dies("successor:parcels:2:stop", Whose::Predecessor);
}

#[test]
fn the_successors_keeper_dies_while_sessions_move() {
    dies("successor:parcels:2:stop", Whose::Successor);
}

#[test]
fn both_keepers_die_while_sessions_move() {
    dies("predecessor:sent:2:stop", Whose::Both);
}

#[test]
fn both_keepers_die_before_the_commit() {
    dies("predecessor:commit:1:stop", Whose::Both);
}
