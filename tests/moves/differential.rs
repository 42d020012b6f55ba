//! Random programs, directly on one server and through the proxy with the session moved between any
//! two statements: every answer is the same, byte for byte.
//!
//! `ODP_TEST_PROGRAMS` is how many are run, `ODP_TEST_SEED` the first one's seed.

use crate::scene::Scene;
use crate::support::{Login, Server, Wire, com};

/// The generator of Steele and Vigna: seeds that differ by one give sequences that have nothing in
/// common.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// One command.
#[derive(Clone, Debug)]
enum Step {
    Query(String),
    InitDb(&'static str),
    Ping,
    Reset,
    /// Into the slot.
    Prepare(usize, &'static str),
    /// Of the slot, with its parameters' types or those of the last time.
    Execute(usize, bool, u64),
    Close(usize),
}

const SLOTS: usize = 3;

const NAMES: &[&str] = &["a", "b", "`c d`", "E"];

const VALUES: &[&str] = &[
    "NULL",
    "0",
    "-9223372036854775808",
    "18446744073709551615",
    "1.50",
    "-0.000000000000000000000000000001",
    "99999999999999999999999999999999999999999999999999999999999999999",
    "1e0",
    "-5e-324",
    "1.7976931348623157e308",
    "''",
    "'it''s \"quoted\" `so`'",
    "_binary X'00FF27225C0A'",
    "_latin1'abc' COLLATE latin1_bin",
    "_ucs2 X'00E40041'",
    "_utf8mb4 X'F09F9880' COLLATE utf8mb4_unicode_ci",
    "DATE'2026-11-28'",
    "CAST('12:34:56.789' AS TIME(3))",
    "TRUE",
    "X'4142'",
    "REPEAT('long ', 500)",
];

const SETTINGS: &[&str] = &[
    "sql_mode = 'ANSI_QUOTES'",
    "sql_mode = 'NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT'",
    "sql_mode = ''",
    "sql_mode = 'STRICT_TRANS_TABLES'",
    "autocommit = 0",
    "autocommit = 1",
    "time_zone = '-08:00'",
    "time_zone = 'SYSTEM'",
    "timestamp = 1234567890.5",
    "timestamp = DEFAULT",
    "sql_select_limit = 2",
    "sql_select_limit = DEFAULT",
    "max_join_size = 1000",
    "group_concat_max_len = 10",
    "lc_time_names = 'fr_FR'",
    "lc_messages = 'de_DE'",
    "div_precision_increment = 2",
    "foreign_key_checks = 0",
    "unique_checks = 0",
    "sql_notes = 0",
    "collation_connection = 'utf8mb4_bin'",
    "character_set_results = NULL",
    "character_set_client = latin1",
    "default_week_format = 3",
    "max_statement_time = 100",
    "wait_timeout = 1000",
    "insert_id = 5",
    "last_insert_id = 12",
    "SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SESSION TRANSACTION READ ONLY",
    "SESSION TRANSACTION READ WRITE",
    "no_such_variable = 1",
    "sql_mode = 'nonsense'",
    "@a = 1, sql_mode = 'nonsense'",
];

const LOOKS: &[&str] = &[
    "SELECT @a, @b, @`c d`, @E",
    "SELECT HEX(@a), CHARSET(@a), COLLATION(@a), COERCIBILITY(@a)",
    "SELECT DATABASE()",
    "SELECT @@sql_mode, @@autocommit, @@time_zone, @@sql_select_limit",
    "SELECT @@character_set_client, @@character_set_results, @@character_set_connection",
    "SELECT @@collation_connection, COLLATION('x'), 'x' = 'X'",
    "SELECT \"a\"",
    "SELECT 'a\\'",
    "SELECT 'a\\n'",
    "SELECT 'a' || 'b'",
    "SELECT n, GROUP_CONCAT(s) FROM p.t GROUP BY n",
    "SELECT * FROM p.t ORDER BY n, s",
    "SELECT * FROM p.t a, p.t b, p.t c",
    "SELECT LAST_INSERT_ID(), @@identity",
    "SELECT 1/3, DAYNAME('2026-11-28'), WEEK('2026-11-28')",
    "SELECT NOW() > '2020-01-01', FROM_UNIXTIME(0)",
    "SELECT @@foreign_key_checks, @@unique_checks, @@sql_notes, @@wait_timeout",
    "SELECT @@tx_isolation, @@tx_read_only",
    "SELECT nothing FROM nowhere",
    "SELECT CONCAT(@b, 'x'), @a + 1",
    "SHOW SESSION VARIABLES LIKE 'lc%'",
    "SELECT LAST_INSERT_ID(33)",
    "SELECT 5 INTO @a",
    "SELECT @b := 7",
    "DO @E := 'x'",
    "SELECT CURRENT_USER(), CURRENT_ROLE()",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SELECT 1; SELECT 2",
];

const PREPARED: &[&str] =
    &["SELECT ?", "SELECT ? + 1, @a", "SELECT s FROM p.t WHERE n = ?", "SELECT nothing + ?"];

fn step(random: &mut Random) -> Step {
    match random.below(20) {
        0..=3 => Step::Query(format!("SET @{} = {}", random.of(NAMES), random.of(VALUES))),
        4..=6 => Step::Query(format!("SET {}", random.of(SETTINGS))),
        7 => Step::Query(format!(
            "SET NAMES {}",
            random.of(&["latin1", "utf8mb4", "utf8mb4 COLLATE utf8mb4_bin", "gbk", "binary"])
        )),
        8 => Step::InitDb(random.of(&["p", "mysql", "nowhere"])),
        9 => Step::Query(format!("USE {}", random.of(&["p", "`mysql`", "nowhere"]))),
        10 => match random.below(4) {
            0 => Step::Reset,
            _ => Step::Ping,
        },
        11 | 12 => Step::Prepare(random.below(SLOTS), random.of(PREPARED)),
        13..=15 => Step::Execute(random.below(SLOTS), random.below(2) == 0, random.next() >> 40),
        16 => Step::Close(random.below(SLOTS)),
        _ => Step::Query(random.of(LOOKS).to_owned()),
    }
}

/// A client that runs a program, and what of it both sides have in common.
struct Run {
    /// Ids of prepared statements, and whether their parameters' types were told.
    slots: [Option<(u32, bool)>; SLOTS],
}

impl Run {
    /// Runs a step; the payloads of its answer.
    fn step(&mut self, wire: &mut Wire, step: &Step) -> Vec<Vec<u8>> {
        let reply = match *step {
            Step::Query(ref sql) => wire.query(sql),
            Step::InitDb(name) => wire.ask(com::INIT_DB, name.as_bytes()),
            Step::Ping => wire.ask(com::PING, b""),
            Step::Reset => {
                self.slots = [None; SLOTS];
                wire.ask(com::RESET_CONNECTION, b"")
            }
            Step::Prepare(slot, sql) => {
                self.close(wire, slot);
                let mut reply = wire.ask(com::PREPARE, sql.as_bytes());
                if reply.error().is_none() {
                    let id = &mut reply.packets[0].payload[1..5];
                    let told = u32::from_le_bytes(id.try_into().expect("4 bytes"));
                    self.slots[slot] = Some((told, false));
                    id.fill(0);
                }
                reply
            }
            Step::Execute(slot, with_types, value) => {
                let Some((id, is_bound)) = self.slots[slot] else { return Vec::new() };
                let mut body = id.to_le_bytes().to_vec();
                body.extend([0, 1, 0, 0, 0, 0]);
                body.extend(if with_types || !is_bound { &[1, 8, 0][..] } else { &[0][..] });
                body.extend(value.to_le_bytes());
                self.slots[slot] = Some((id, true));
                wire.ask(com::EXECUTE, &body)
            }
            Step::Close(slot) => {
                self.close(wire, slot);
                return Vec::new();
            }
        };
        reply.packets.into_iter().map(|packet| packet.payload).collect()
    }

    fn close(&mut self, wire: &mut Wire, slot: usize) {
        if let Some((id, _)) = self.slots[slot].take() {
            wire.command(com::CLOSE, &id.to_le_bytes());
        }
    }
}

/// Why a session may stay where it is in these programs.
const REASONS: &[&str] = &["transaction", "warnings", "anything", "prepared under another"];

fn run(scene: &Scene, seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let length = 5 + random.below(56);
    let program: Vec<_> = (0..length).map(|_| step(&mut random)).collect();
    let login = Login::default();
    let mut direct = Wire::open(&scene.servers[0].address(), &login).expect("the server is there");
    let mut client = scene.open(&login);
    let (mut one, mut other) = (Run { slots: [None; SLOTS] }, Run { slots: [None; SLOTS] });
    let (mut place, mut kept) = (0, 0);
    for (at, step) in program.iter().enumerate() {
        let expected = one.step(&mut direct, step);
        let got = other.step(&mut client.wire, step);
        let shown = |payloads: &[Vec<u8>]| -> Vec<String> {
            payloads.iter().map(|payload| payload.escape_ascii().to_string()).collect()
        };
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

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
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
