//! Random programs, directly on the primary and through the proxy that reads from its replica:
//! every answer is the same, byte for byte, and so is what they leave behind.
//!
//! `ODP_TEST_PROGRAMS` is how many are run, `ODP_TEST_SEED` the first one's seed.

use crate::pair::Pair;
use crate::support::programs::{Random, Run, SLOTS, Step, number, shown};
use crate::support::{Database, Login, Server, Wire};
use crate::vocabulary::{asks_what_was_found, leaves_marks, program};

/// Seeds that have failed once.
const FAILED: &[u64] = &[
    4, 7, 8, 12, 14, 15, 16, 17, 37, 77, 82, 1008, 1070, 1109, 1289, 5217, 5277, 5292, 100_020,
    100_023, 200_148, 200_262, 200_277, 302_166, 403_043, 660_264,
];

/// The same of MySQL.
const FAILED_OF_MYSQL: &[u64] = &[8, 1275, 690_017, 690_063];

/// What of a program's questions is answered by nobody.
const SCATTERED: &str = "this asks about statements that have run on different servers";

/// What of a transaction is answered by nobody any more.
const OTHER_TIME: &str = "this transaction reads from a replica";

/// What both begin with. Whoever runs this waits for who had the tables before.
const SETUP: &[&str] = &[
    "DROP TABLE IF EXISTS p.x",
    "TRUNCATE TABLE p.t",
    "INSERT INTO p.t (n, s) VALUES (1, 'one'), (2, 'two'), (2, 'zwei'), (3, NULL)",
];

/// What is looked at in the end: what the session is, and what it has written.
const AT_LAST: &[&str] = &[
    "SHOW WARNINGS",
    "ROLLBACK",
    "SELECT DATABASE(), CURRENT_USER(), CURRENT_ROLE(), LAST_INSERT_ID()",
    "SELECT VARIABLE_NAME, SESSION_VALUE FROM information_schema.SYSTEM_VARIABLES \
     WHERE VARIABLE_SCOPE IN ('SESSION', 'SESSION ONLY') AND VARIABLE_NAME NOT IN \
     ('CHARACTER_SET_DATABASE', 'COLLATION_DATABASE', 'GTID_SEQ_NO', 'LAST_GTID', \
      'PSEUDO_THREAD_ID', 'RAND_SEED1', 'RAND_SEED2', 'TIMESTAMP') \
     ORDER BY VARIABLE_NAME",
    // That of a number no function tells, and it depends on how it was set.
    "SELECT VARIABLE_NAME, VARIABLE_VALUE, VARIABLE_TYPE, \
     IF(VARIABLE_TYPE = 'VARCHAR', CHARACTER_SET_NAME, NULL) \
     FROM information_schema.USER_VARIABLES ORDER BY VARIABLE_NAME",
    "SELECT id, n, s FROM p.t ORDER BY id",
    "SELECT n FROM p.x",
];

/// The same of MySQL.
const AT_LAST_OF_MYSQL: &[&str] = &[
    "SHOW WARNINGS",
    "ROLLBACK",
    "SELECT DATABASE(), CURRENT_USER(), CURRENT_ROLE(), LAST_INSERT_ID()",
    "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.variables_by_thread \
     WHERE THREAD_ID = PS_CURRENT_THREAD_ID() AND VARIABLE_NAME NOT IN \
     ('pseudo_thread_id', 'rand_seed1', 'rand_seed2', 'timestamp', 'statement_id') \
     ORDER BY VARIABLE_NAME",
    "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.user_variables_by_thread \
     WHERE THREAD_ID = PS_CURRENT_THREAD_ID() ORDER BY VARIABLE_NAME",
    "SELECT id, n, s FROM p.t ORDER BY id",
    "SELECT n FROM p.x",
];

/// Both servers, and what the programs find there.
pub(crate) fn scene(start: fn(&str) -> Option<Pair>, lines: &str) -> Option<Pair> {
    let pair = start(&format!("causal_reads = \"session\"\n{lines}"))?;
    pair.marked();
    pair.primary.execute(&[
        "DROP TABLE p.t",
        "CREATE TABLE p.t (id INT PRIMARY KEY AUTO_INCREMENT, n INT, s VARCHAR(20)) \
         ENGINE = InnoDB",
        "CREATE VIEW p.v AS SELECT n FROM p.t WHERE n > 1",
        "CREATE PROCEDURE p.q(x INT) BEGIN SET @a = x; SELECT n FROM p.t ORDER BY id; \
         IF x IS NULL THEN SIGNAL SQLSTATE '45000'; END IF; END",
        "CREATE FUNCTION p.f(x INT) RETURNS INT NO SQL BEGIN SET @b = x; RETURN x + 1; END",
        "CREATE PROCEDURE p.sets(x INT, OUT twice INT) \
         BEGIN SET twice = 2 * x; SET SESSION div_precision_increment = x; CALL p.q(x); END",
    ]);
    // Who asks now sees the routines.
    pair.proxy.restart();
    pair.until_roles(&["replica", "primary"]);
    Some(pair)
}

/// MySQL's COM_INIT_DB, COM_SET_OPTION and COM_FIELD_LIST leave the warnings of the statement
/// before, be those another server's.
fn in_words(step: &mut Step) {
    match step {
        Step::InitDb(name) => *step = Step::Query(format!("USE {name}")),
        Step::SetOption(_) => *step = Step::Ping,
        Step::FieldList(table) => *step = Step::Query(format!("SHOW COLUMNS FROM {table}")),
        Step::Together(steps) => steps.iter_mut().for_each(in_words),
        _ => {}
    }
}

fn set_up(pair: &Pair) {
    pair.primary.execute(SETUP);
    pair.until_caught_up();
}

fn run_all(wire: &mut Wire, program: &[Step]) -> Vec<Vec<Vec<u8>>> {
    let mut run = Run::default();
    program.iter().map(|step| run.step(wire, step)).collect()
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub programs: usize,
    /// Those whose sessions read from the replica in the end.
    pub split: usize,
    pub steps: usize,
    /// Answers that were refused.
    pub refused: usize,
    /// Programs that have ended in a transaction which nobody could go on with.
    pub ended: usize,
}

/// Whether the replica has other data than the primary, though it has applied all: a temporary
/// table that was made in a transaction which ends with its connection stays on MariaDB's replicas,
/// as its end is logged before its beginning, and takes what is then written by its name.
fn has_diverged(pair: &Pair) -> bool {
    pair.until_caught_up();
    let data =
        |server: &Database| server.admin().run("SELECT id, n, s FROM p.t ORDER BY id").rows();
    data(&pair.primary) != data(&pair.replica)
}

/// Who does something to a session between two steps: the one before and what it was answered
/// directly, and the one that follows. Whether warnings may be lost by that.
pub(crate) type Meddler<'a> = &'a mut dyn FnMut(&Wire, (&Step, &[Vec<u8>]), &Step) -> bool;

/// Runs one program; or where it differs.
fn run(pair: &Pair, seed: u64, asked: &[&str], meddle: Meddler) -> Result<Tally, String> {
    let mut program = program(&mut Random(seed));
    let is_mysql = pair.primary.server == Server::MySql;
    if is_mysql {
        program.iter_mut().for_each(in_words);
    }
    let length = program.len();
    let at_last = if is_mysql { AT_LAST_OF_MYSQL } else { AT_LAST };
    program.extend(asked.iter().chain(at_last).map(|sql| Step::Query((*sql).to_owned())));
    program.extend((0..SLOTS).map(|slot| Step::Execute(slot, true, 5)));
    set_up(pair);
    let login = Login::default();
    let mut direct = Wire::open(&pair.primary.address(), &login).expect("the server is there");
    let expected = run_all(&mut direct, &program);
    drop(direct);
    set_up(pair);
    let mut wire = pair.open();
    let (mut one, mut has_failed, mut is_adrift, mut refused) = (Run::default(), false, false, 0);
    for (at, (step, expected_of)) in program.iter().zip(&expected).enumerate() {
        let last = at.checked_sub(1).map(|last| (&program[last], &expected[last][..]));
        let is_lost = last.is_some_and(|last| meddle(&wire, last, step)) && leaves_marks(step);
        let got = one.step(&mut wire, step);
        let (expected, got) = (shown(expected_of), shown(&got));
        // Of a query that has failed a server tells what one before it has found.
        let is_known = !asks_what_was_found(step) || !has_failed;
        // Or what nobody can answer, who is not told anything wrong.
        let is_refused = got.iter().any(|packet| packet.contains(SCATTERED));
        refused += usize::from(is_refused);
        if got.iter().any(|packet| packet.contains(OTHER_TIME)) {
            // That has left more: there they part.
            return Ok(Tally { programs: 1, split: 1, steps: at, refused, ended: 1 });
        }
        // That has left its marks on one side only.
        is_adrift = is_refused || is_adrift && leaves_marks(step);
        let is_known = is_known && !is_adrift && !is_lost;
        has_failed = got.last().is_some_and(|last| last.contains(" \\xff"));
        if expected != got && is_known && has_diverged(pair) {
            return Ok(Tally { programs: 1, split: 1, steps: at, refused, ended: 1 });
        }
        if expected != got && is_known {
            let before = &program[..at];
            return Err(format!(
                "seed {seed}, step {at}: {step:?}\n{expected:#?}\n{got:#?}\nbehind {before:#?}"
            ));
        }
    }
    wire.query("SET sql_mode = '', sql_select_limit = DEFAULT, max_join_size = DEFAULT");
    let who = wire.query("SELECT name FROM p.who");
    let is_split = who.error().is_none() && who.text() == "replica";
    let split = usize::from(is_split);
    Ok(Tally { programs: 1, split, steps: length, refused, ended: 0 })
}

#[test]
fn nobody_can_tell_that_reads_are_split() {
    run_programs(scene(Pair::start, ""), FAILED, 100);
}

#[test]
fn nobody_can_tell_that_reads_of_mysql_are_split() {
    run_programs(scene(Pair::start_mysql, ""), FAILED_OF_MYSQL, 20);
}

#[test]
fn nobody_can_tell_that_transactions_are_split() {
    run_programs(scene(Pair::start, "transaction_split = true"), FAILED, 100);
}

/// A replica that is late is not read from, wherever a program has come to.
#[test]
fn nobody_can_tell_that_the_replica_is_late() {
    let lines = "transaction_split = true\ncausal_reads_timeout = \"2ms\"";
    run_programs(scene(Pair::start, lines), FAILED, 30);
}

/// Reads go to the replica and do not, by turns, wherever a program has come to.
#[test]
fn nobody_can_tell_when_reads_are_split() {
    let Some(pair) = scene(Pair::start, "transaction_split = true") else { return };
    let all = std::thread::scope(|scope| {
        let programs = scope.spawn(|| tally(&pair, FAILED, 30));
        let mut admin = pair.proxy.admin().expect("the proxy takes operators");
        while !programs.is_finished() {
            for split in ["off", "on"] {
                admin.run(&format!("ALTER CLUSTER main SET read_write_split = '{split}'"));
            }
        }
        programs.join().unwrap_or_else(|why| std::panic::resume_unwind(why))
    });
    assert!(all.split > 0 && all.split < all.programs, "{all:?}");
}

fn run_programs(pair: Option<Pair>, failed_once: &[u64], programs: u64) {
    let Some(pair) = pair else { return };
    let all = tally(&pair, failed_once, programs);
    assert!(all.programs < 100 || all.split > all.programs / 3, "{all:?}");
    assert!(all.programs < 100 || all.ended < all.programs / 5, "{all:?}");
    // One that asks how statements went that several servers have run.
    assert!(all.programs < 100 || all.refused < all.steps / 100, "{all:?}");
}

/// Runs those that have failed once, and so many others.
fn tally(pair: &Pair, failed_once: &[u64], programs: u64) -> Tally {
    tally_of(pair, seeds(failed_once, programs), &[], |_| {
        |_: &Wire, _: (&Step, &[Vec<u8>]), _: &Step| false
    })
}

/// Those that have failed once, and so many others.
pub(crate) fn seeds(failed_once: &[u64], programs: u64) -> impl Iterator<Item = u64> + '_ {
    let (first, programs) = (number("ODP_TEST_SEED", 1), number("ODP_TEST_PROGRAMS", programs));
    failed_once.iter().copied().chain(first..first + programs)
}

/// Runs these, each meddled with by who is made for its seed, and asked this in the end.
pub(crate) fn tally_of<F: FnMut(&Wire, (&Step, &[Vec<u8>]), &Step) -> bool>(
    pair: &Pair,
    seeds: impl Iterator<Item = u64>,
    asked: &[&str],
    meddler: impl Fn(u64) -> F,
) -> Tally {
    let (mut all, mut failed) = (Tally::default(), Vec::new());
    for seed in seeds {
        match run(pair, seed, asked, &mut meddler(seed)) {
            Ok(Tally { programs, split, steps, refused, ended }) => {
                all.ended += ended;
                all.programs += programs;
                all.split += split;
                all.steps += steps;
                all.refused += refused;
            }
            Err(how) => failed.push(how),
        }
        assert!(failed.len() < 8, "{}", failed.join("\n"));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    eprintln!("{all:?}");
    all
}
