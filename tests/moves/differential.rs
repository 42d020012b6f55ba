//! Random programs, directly on one server and through the proxy with the session moved between any
//! two statements: every answer is the same, byte for byte.
//!
//! `ODP_TEST_PROGRAMS` is how many are run, `ODP_TEST_SEED` the first one's seed.

use crate::scene::Scene;
use crate::support::programs::{Random, Run, number, shown, step};
use crate::support::{Login, Server, Wire};

/// Why a session may stay where it is in these programs.
const REASONS: &[&str] = &["transaction", "warnings", "anything", "prepared under another"];

fn run(scene: &Scene, seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let length = 5 + random.below(56);
    let program: Vec<_> = (0..length).map(|_| step(&mut random)).collect();
    let login = Login::default();
    let mut direct = Wire::open(&scene.servers[0].address(), &login).expect("the server is there");
    let mut client = scene.open(&login);
    let (mut one, mut other) = (Run::default(), Run::default());
    let (mut place, mut kept) = (0, 0);
    for (at, step) in program.iter().enumerate() {
        let expected = one.step(&mut direct, step);
        let got = other.step(&mut client.wire, step);
        assert_eq!(
            shown(&expected),
            shown(&got),
            "seed {seed}, step {at}, {} moves: {step:?}\n{:#?}",
            client.moves,
            &program[..at]
        );
        if client.attribute("transact_state") == "in_trans" {
            continue;
        }
        match client.move_to(1 - place) {
            Ok(()) => place = 1 - place,
            Err(error) => {
                let is_known = REASONS.iter().any(|reason| error.contains(reason));
                assert!(is_known, "seed {seed}, step {at}: {step:?}: {error}\n{program:#?}");
                kept += 1;
            }
        }
    }
    (client.moves, kept)
}

#[test]
fn nobody_can_tell_whether_a_session_has_moved() {
    let Some(scene) = Scene::start(Server::MariaDb) else { return };
    scene.setup(&[
        "CREATE TABLE p.t (n INT, s VARCHAR(20)) ENGINE = InnoDB",
        "INSERT INTO p.t VALUES (1, 'one'), (2, 'two'), (2, 'zwei'), (3, NULL)",
    ]);
    let (first, programs) = (number("ODP_TEST_SEED", 1), number("ODP_TEST_PROGRAMS", 60));
    let (mut moves, mut kept) = (0, 0);
    for seed in first..first + programs {
        let (moved, stayed) = run(&scene, seed);
        (moves, kept) = (moves + moved, kept + stayed);
    }
    assert!(moves > kept, "{moves} moves, {kept} refused");
}
