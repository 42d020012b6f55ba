//! Random programs, directly on one server and through the proxy with the session moved between any
//! two statements: every answer is the same, byte for byte.
//!
//! Between servers of two kinds the answer is that of a direct session of the kind that the session
//! is on just then.
//!
//! `ODP_TEST_PROGRAMS` is how many are run, `ODP_TEST_SEED` the first one's seed.

use crate::scene::Scene;
use crate::support::programs::{Random, Run, Step, number, shown, step, text};
use crate::support::{Login, Server, Wire};

/// Why a session may stay where it is in these programs.
const REASONS: &[&str] = &[
    "transaction",
    "warnings",
    "anything",
    "prepared under another",
    "pinned: PREPARE",
    "insert_id for the next statement",
];

/// Seeds that have failed once.
const FAILED: &[u64] = &[1454, 360_073, 362_032, 461_015, 462_001, 463_098, 464_037, 1_100_029];

/// A session that is asked directly.
struct Direct {
    wire: Wire,
    run: Run,
}

/// Statements of these two kinds of servers.
fn program(random: &mut Random, kinds: [Server; 2]) -> Vec<Step> {
    let length = 5 + random.below(56);
    let step = |_| match random.below(16) {
        0 => text(random),
        // MySQL's is not carried.
        1 if kinds == [Server::MariaDb; 2] => Step::Query("SELECT FOUND_ROWS()".into()),
        _ => step(random),
    };
    // Of a variable in a prepared statement MySQL tells the type that it had, or did not have, when
    // that was prepared; so it does after a move. So it is with the character set of NULL.
    let is_told_otherwise = |step: &Step| match step {
        Step::Prepare(_, sql) => sql.contains('@'),
        Step::Query(sql) => {
            sql.starts_with("PREPARE") && sql.contains(", @a") || sql.contains("CONCAT(@b")
        }
        _ => false,
    };
    // A session keeps the collation of its log-in, which is another one where it has begun there.
    let asks_collation = |step: &Step| match step {
        Step::Query(sql) => sql.starts_with("SELECT @@collation") || sql.contains("COLLATION(@"),
        _ => false,
    };
    let is_told = |step: &Step| match kinds {
        [Server::MySql, _] => !is_told_otherwise(step),
        [one, other] => one == other || !asks_collation(step),
    };
    // MySQL has a parameter stay of the type that it was bound to first, by a statement that the
    // server has prepared which the session is on.
    let bound = |mut step: Step| {
        if let (Step::Execute(slot, _, value), [Server::MySql, _]) = (&mut step, kinds) {
            *value = *value / 3 * 3 + u64::from(*slot != 0);
        }
        step
    };
    // MariaDB's threads tell a new session what one before it has found.
    let begun = Step::Query("SELECT 1".into());
    std::iter::once(begun).chain((0..length).map(step).filter(is_told).map(bound)).collect()
}

/// What is compared of an answer: of two kinds of servers not the definitions of columns, where
/// the session has another collation than one that has begun there.
fn compared(answer: &[Vec<u8>], kinds: [Server; 2]) -> Vec<String> {
    let is_compared = |packet: &&Vec<u8>| kinds[0] == kinds[1] || !packet.starts_with(b"\x03def");
    shown(&answer.iter().filter(is_compared).cloned().collect::<Vec<_>>())
}

fn run(scene: &Scene, seed: u64) -> Result<(usize, usize), String> {
    let kinds = scene.servers.each_ref().map(|server| server.server);
    let program = program(&mut Random(seed), kinds);
    let login = Login::default();
    let open = |place: usize| {
        let wire = Wire::open(&scene.servers[place].address(), &login);
        Direct { wire: wire.expect("the server is there"), run: Run::default() }
    };
    let mut direct = if kinds[0] == kinds[1] { vec![open(0)] } else { vec![open(0), open(1)] };
    let mut client = scene.open(&login);
    let mut other = Run::default();
    let (mut place, mut kept) = (0, 0);
    for (at, step) in program.iter().enumerate() {
        let mut expected = Vec::new();
        for Direct { wire, run } in &mut direct {
            expected.push(compared(&run.step(wire, step), kinds));
        }
        let expected = &expected[place.min(expected.len() - 1)];
        let got = compared(&other.step(&mut client.wire, step), kinds);
        if *expected != got {
            let (moves, before) = (client.moves, &program[..at]);
            return Err(format!(
                "seed {seed}, step {at}, {moves} moves: {step:?}\n{expected:#?}\n{got:#?}\n\
                 {before:#?}"
            ));
        }
        if client.attribute("transact_state") == "in_trans" {
            continue;
        }
        match client.move_to(1 - place) {
            Ok(()) => place = 1 - place,
            Err(error) => {
                if !REASONS.iter().any(|reason| error.contains(reason)) {
                    return Err(format!("seed {seed}, step {at}: {step:?}: {error}\n{program:#?}"));
                }
                kept += 1;
            }
        }
    }
    Ok((client.moves, kept))
}

#[test]
fn nobody_can_tell_whether_a_session_has_moved() {
    run_all(Scene::start(Server::MariaDb), 60);
}

#[test]
fn nobody_can_tell_whether_a_session_of_mysql_has_moved() {
    run_all(Scene::start(Server::MySql), 20);
}

#[test]
fn nobody_can_tell_how_often_a_session_has_changed_its_kind_of_server() {
    run_all(Scene::start_with([Server::MariaDb, Server::MariaDb11], ""), 20);
}

fn run_all(scene: Option<Scene>, programs: u64) {
    let Some(scene) = scene else { return };
    scene.setup(&[
        "CREATE TABLE p.t (n INT, s VARCHAR(20)) ENGINE = InnoDB",
        "INSERT INTO p.t VALUES (1, 'one'), (2, 'two'), (2, 'zwei'), (3, NULL)",
    ]);
    let (first, programs) = (number("ODP_TEST_SEED", 1), number("ODP_TEST_PROGRAMS", programs));
    let (mut moves, mut kept, mut failed) = (0, 0, Vec::new());
    for seed in FAILED.iter().copied().chain(first..first + programs) {
        match run(&scene, seed) {
            Ok((moved, stayed)) => (moves, kept) = (moves + moved, kept + stayed),
            Err(how) => failed.push(how),
        }
        assert!(failed.len() < 8, "{}", failed.join("\n"));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(moves > kept / 2, "{moves} moves, {kept} refused");
}
