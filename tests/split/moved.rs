//! Sessions that are split, and moved meanwhile: to and fro between the primary and its replica, by
//! operators who also drain servers, take that back, and turn the split off and on.
//!
//! `ODP_TEST_PROGRAMS` is how many random programs are run, `ODP_TEST_SEED` the first one's seed,
//! `ODP_TEST_SECONDS` for how long, whatever their number.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::differential::{Tally, scene, seeds, tally_of};
use crate::pair::Pair;
use crate::support::programs::{Random, Step, number};
use crate::support::{Wire, com};

/// Seeds that have failed once.
const FAILED: &[u64] = &[6, 8, 19];

const WHO: &str = "SELECT name FROM p.who";

/// An operator who does something between every third pair of steps.
struct Operator<'a> {
    pair: &'a Pair,
    admin: Wire,
    random: Random,
    moves: &'a Cell<usize>,
    /// ROW_COUNT() is of a write: nobody can bring that about elsewhere.
    is_of_write: bool,
    /// There are warnings, which keep it only until its next statement.
    is_warned: bool,
    has_moved: bool,
}

impl Operator<'_> {
    fn alter(&mut self, what: &str) {
        self.admin.run(&format!("ALTER CLUSTER main {what}"));
    }

    /// Then it would be waited for, in vain.
    fn is_in_transaction(&mut self, wire: &Wire) -> bool {
        let id = wire.greeting.connection_id;
        let sql = format!("SHOW PROXYSESSION ATTRIBUTE {id} LIKE 'transact_state'");
        self.admin.run(&sql).named_rows()[0]["value"] == "in_trans"
    }

    /// Whether warnings may be lost.
    fn meddle(&mut self, wire: &Wire, (step, answer): (&Step, &[Vec<u8>]), next: &Step) -> bool {
        self.is_of_write = counts_write(step, answer).unwrap_or(self.is_of_write);
        self.is_warned = warns(answer) || self.is_warned && !puts_warnings_away(step);
        let may_be_asked = !matches!(next, Step::Query(sql) if !sql.contains("ROW_COUNT"));
        let may_move = !(self.is_of_write && may_be_asked);
        if self.random.below(3) == 0 && may_move {
            self.operate(wire);
        }
        self.has_moved && self.is_warned
    }

    fn operate(&mut self, wire: &Wire) {
        let servers = [self.pair.replica.address(), self.pair.primary.address()];
        let server = &servers[self.random.below(2)];
        match self.random.below(10) {
            0 => self.alter(&format!("DRAIN SERVER '{server}'")),
            1 | 2 => self.alter(&format!("ONLINE SERVER '{server}'")),
            3 => {
                let split = self.random.of(&["off", "on", "on"]).to_owned();
                self.alter(&format!("SET read_write_split = '{split}'"));
            }
            _ if self.is_in_transaction(wire) => {}
            _ => {
                let id = wire.greeting.connection_id;
                let said = self.admin.query(&format!("MOVE PROXYSESSION {id} TO '{server}'"));
                let is_moved = said.error().is_none();
                self.has_moved |= is_moved;
                self.moves.set(self.moves.get() + usize::from(is_moved));
            }
        }
    }
}

/// As the next program finds it.
impl Drop for Operator<'_> {
    fn drop(&mut self) {
        for server in [self.pair.replica.address(), self.pair.primary.address()] {
            self.alter(&format!("ONLINE SERVER '{server}'"));
        }
        self.alter("SET read_write_split = 'on'");
    }
}

/// Whether ROW_COUNT() is of a write behind a step with this answer; None: what it was before.
fn counts_write(step: &Step, answer: &[Vec<u8>]) -> Option<bool> {
    match step {
        Step::Prepare(..) | Step::Close(_) | Step::SetOption(_) => None,
        Step::Execute(..) if answer.is_empty() => None,
        Step::Together(_) => Some(true),
        Step::Query(sql) if [";", "CALL", "RETURNING"].iter().any(|it| sql.contains(it)) => {
            Some(true)
        }
        _ => Some(answer.last().is_some_and(|it| matches!(it[..], [0, 1..=255, ..]))),
    }
}

/// Whether an answer is an error, or counts warnings; or may, as it is not read to its end.
fn warns(answer: &[Vec<u8>]) -> bool {
    answer.last().is_some_and(|last| match last[..] {
        [0xFF, ..] => true,
        [0 | 0xFE, 0..=0xFA, 0..=0xFA, _, _, low, high, ..] => low > 0 || high > 0,
        [0 | 0xFE, ..] => true,
        _ => false,
    })
}

/// Whether the warnings of those before a step are surely gone behind it.
fn puts_warnings_away(step: &Step) -> bool {
    match step {
        Step::Query(sql) => sql.starts_with("SELECT") && sql.contains(" FROM p.t"),
        Step::Reset => true,
        _ => false,
    }
}

fn run(pair: &Pair, seeds: impl Iterator<Item = u64>, moves: &Cell<usize>) -> Tally {
    tally_of(pair, seeds, &["SELECT ROW_COUNT(), FOUND_ROWS()"], |seed| {
        let admin = pair.proxy.admin().expect("the proxy takes operators");
        // Another sequence than the program's.
        let random = Random(!seed);
        let mut operator = Operator {
            pair,
            admin,
            random,
            moves,
            is_of_write: false,
            is_warned: false,
            has_moved: false,
        };
        move |wire: &Wire, last: (&Step, &[Vec<u8>]), next: &Step| operator.meddle(wire, last, next)
    })
}

#[test]
fn nobody_can_tell_that_a_session_is_split_and_moved() {
    let Some(pair) = scene(Pair::start, "transaction_split = true") else { return };
    let until = Instant::now() + Duration::from_secs(number("ODP_TEST_SECONDS", 0));
    let (moves, mut first) = (Cell::new(0), number("ODP_TEST_SEED", 1));
    let mut all = run(&pair, seeds(FAILED, 12), &moves);
    while Instant::now() < until {
        first += 20;
        eprintln!("seeds from {first}, {} moves so far", moves.get());
        all = run(&pair, first..first + 20, &moves);
    }
    assert!(moves.get() > all.programs, "{moves:?} moves, {all:?}");
}

/// A home that is moved to a replica is read from when it has what the session has written.
#[test]
fn who_is_moved_to_a_replica_reads_what_it_has_written() {
    let Some(pair) = Pair::start("") else { return };
    pair.marked();
    let (mut wire, to) = (pair.open(), pair.replica.address());
    let holder = pair.hold_replica();
    wire.run("UPDATE p.t SET n = 77 WHERE id = 1");
    let id = wire.greeting.connection_id;
    let mut admin = pair.proxy.admin().expect("the proxy takes operators");
    admin.run(&format!("MOVE PROXYSESSION {id} TO '{to}'"));
    assert_eq!(wire.run("SELECT n FROM p.t WHERE id = 1").text(), "77");
    drop(holder);
    pair.until_caught_up();
    assert_eq!(wire.run(WHO).text(), "replica");
}

/// What its client has set by a command of its own goes along.
#[test]
fn who_is_moved_has_no_more_statements_in_one_than_before() {
    let Some(pair) = Pair::start("") else { return };
    let (mut wire, to) = (pair.open(), pair.replica.address());
    let id = wire.greeting.connection_id;
    let mut admin = pair.proxy.admin().expect("the proxy takes operators");
    for (option, error) in [(1, Some(1064)), (0, None)] {
        assert_eq!(wire.ask(com::SET_OPTION, &[option, 0]).error(), None);
        // An error would keep it.
        wire.run("SELECT n FROM p.t");
        admin.run(&format!("MOVE PROXYSESSION {id} TO '{to}'"));
        for _ in 0..2 {
            let got = wire.query("SET @a = 1; SET @b = 2").error();
            assert_eq!(got, error, "{option}");
        }
    }
}
