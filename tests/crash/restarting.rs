//! A crash of either side in the middle of a restart: whoever is left serves, in one pair, and no
//! session is in two places. What the dead had is lost but for what the other side takes back.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::scene::Scene;
use crate::support::{Login, Wire, until};

/// What must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// Nobody notices.
    Nothing,
    /// The dead take sessions with them.
    Losses,
}

fn crash(at: &str, expect: Expect) {
    let dir = tempfile::tempdir().expect("a directory");
    let spec = dir.path().join("crash");
    std::fs::write(&spec, "").expect("the directory is ours");
    let scene = Scene::start_with(|options| {
        let value = format!("@{}", spec.display());
        options.environment.push(("ODP_CRASH_AT".into(), value));
        options.proxy = "hot_upgrade_probation = \"1s\"\n".into();
    });
    let Some(scene) = scene else { return };
    let mut sessions = scene.innocents(40);
    let before = scene.proxy.process().living();
    std::fs::write(&spec, at).expect("the directory is ours");
    kill(Pid::from_raw(before[0] as i32), Signal::SIGUSR2).expect("it lives");
    let is_over = |log: &str| {
        let ends = ["restart undone", "takeover completed", "serving without the predecessor"];
        ends.iter().any(|end| log.contains(end))
    };
    until(&format!("one pair after {at}\n{}", scene.proxy.log()), || {
        let is_one = scene.proxy.process().living().len() == 2
            && scene.proxy.http_status("/readyz") == Some(200);
        let has_crashed = || scene.crashes().len() == 1;
        (is_one && (is_over(&scene.proxy.log()) || has_crashed())).then_some(())
    });
    std::fs::write(&spec, "").expect("the directory is ours");
    let mut lost = 0;
    for (n, wire) in sessions.iter_mut().enumerate() {
        match wire.try_query("SELECT @n") {
            Ok(reply) => assert_eq!(reply.text(), n.to_string(), "{at}"),
            Err(_) => lost += 1,
        }
    }
    eprintln!("{at}: sessions lost: {lost}");
    if expect == Expect::Nothing {
        assert_eq!(lost, 0, "{at}\n{}", scene.proxy.log());
    }
    let here = scene.admin().query("SHOW PROXYSESSION").named_rows();
    assert_eq!(here.len(), sessions.len() - lost, "{at}: {here:?}");
    // It is a pair as any other: its carrier may die, and it can be succeeded.
    sessions.retain_mut(|wire| wire.try_query("SELECT @n").is_ok());
    let mut late = Wire::open(&scene.proxy.address(), &Login::default()).expect("takes clients");
    late.run("SELECT 1");
    scene.kill(Signal::SIGKILL);
    scene.proxy.restart();
    for wire in sessions.iter_mut().chain([&mut late]) {
        wire.run("SELECT @n");
    }
}

/// `point!(name: "SIDE:POINT:N:WHAT", Outcome)` makes a test of it.
macro_rules! point {
    ($($name:ident: $spec:literal, $expect:ident;)+) => {
        $(
            #[test]
            fn $name() {
                crash($spec, Expect::$expect);
            }
        )+
    };
}

point! {
    the_successor_dies_before_it_has_anything: "successor:ready:1:kill", Nothing;
    the_successor_dies_while_sessions_move: "successor:parcels:2:kill", Nothing;
    the_successor_dies_once_it_accepts: "successor:accepted:1:kill", Nothing;
    the_successor_dies_on_probation: "successor:probation:1:kill", Nothing;
    the_successor_dies_at_the_commit: "successor:commit:1:kill", Nothing;
    the_successor_dies_when_it_has_confirmed: "successor:committed:1:kill", Nothing;
    the_predecessor_dies_when_the_successor_has_come: "predecessor:hello:1:kill", Nothing;
    the_predecessor_dies_when_it_has_given_its_listeners: "predecessor:warm:1:kill", Nothing;
    the_predecessor_dies_before_it_gives_sessions: "predecessor:ready:1:kill", Nothing;
    the_predecessor_dies_while_sessions_move: "predecessor:sent:2:kill", Losses;
    the_predecessor_dies_on_probation: "predecessor:probation:1:kill", Nothing;
    the_predecessor_dies_when_all_is_confirmed: "predecessor:committed:1:kill", Nothing;
}
