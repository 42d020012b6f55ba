//! Random programs for clients that are told apart by nothing but how they are served: a generator
//! of commands, and who runs them.

use super::database::PASSWORD;
use super::raw::scramble;
use super::{Wire, com};

/// The generator of Steele and Vigna: seeds that differ by one give sequences that have nothing in
/// common.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// One command, or several that are sent at once.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Query(String),
    InitDb(&'static str),
    Ping,
    Reset,
    /// Into the slot.
    Prepare(usize, &'static str),
    /// Of the slot, with its parameters' types or those of the last time.
    Execute(usize, bool, u64),
    Close(usize),
    /// To the same user, with this default database.
    ChangeUser(&'static str),
    SetOption(u16),
    /// Of a table.
    FieldList(&'static str),
    /// Sent before the first answer is read.
    Together(Vec<Step>),
}

/// How many prepared statements a client keeps.
pub(crate) const SLOTS: usize = 3;

/// Types of parameters: MYSQL_TYPE_LONGLONG and MYSQL_TYPE_VAR_STRING.
const NUMBER: u8 = 8;
const TEXT: u8 = 253;

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

/// A command that needs nothing but the table `p.t` with the columns `n` and `s`, and changes
/// nothing of it.
pub(crate) fn step(random: &mut Random) -> Step {
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

/// Statements about statements.
const TEXTS: &[&str] = &[
    "PREPARE s FROM 'SELECT ? + 1, @a'",
    "PREPARE S FROM \"SELECT 'x', @a, 1/0\"",
    "PREPARE s FROM 'SELECT \\'x\\''",
    "PREPARE `s` FROM 'SELECT nothing FROM nowhere'",
    "PREPARE t FROM 'SET @a = ?'",
    "PREPARE t FROM 'SET sql_mode = ''ANSI_QUOTES'''",
    "PREPARE t FROM 'SELECT s FROM t WHERE n = ?'",
    "PREPARE u FROM 'SELECT n FROM p.t WHERE s = ''zwei'' OR n = ?'",
    "PREPARE u FROM @a",
    "EXECUTE s",
    "EXECUTE s USING @a",
    "EXECUTE S",
    "EXECUTE t",
    "EXECUTE t USING @b",
    "EXECUTE T USING @a",
    "EXECUTE u USING @a",
    "DEALLOCATE PREPARE s",
    "DROP PREPARE T",
];

/// A command of a client that prepares its statements by statements.
pub(crate) fn text(random: &mut Random) -> Step {
    Step::Query(random.of(TEXTS).to_owned())
}

/// A client that runs a program, and what of it both sides have in common.
#[derive(Default)]
pub(crate) struct Run {
    /// Ids of prepared statements, and the type of their parameter that was told; 0: none was.
    slots: [Option<(u32, u8)>; SLOTS],
}

impl Run {
    /// Runs a step; the payloads of its answer.
    pub(crate) fn step(&mut self, wire: &mut Wire, step: &Step) -> Vec<Vec<u8>> {
        let steps = match step {
            Step::Together(steps) => steps,
            step => std::slice::from_ref(step),
        };
        let sent: Vec<_> = steps.iter().map(|step| self.send(wire, step)).collect();
        let mut payloads = Vec::new();
        for (step, command) in steps.iter().zip(sent) {
            payloads.extend(command.map(|command| self.hear(wire, step, command)));
        }
        payloads.concat()
    }

    /// Sends a step; the command whose answer is to come.
    fn send(&mut self, wire: &mut Wire, step: &Step) -> Option<u8> {
        let (command, body) = match *step {
            Step::Query(ref sql) => (com::QUERY, sql.clone().into_bytes()),
            Step::InitDb(name) => (com::INIT_DB, name.into()),
            Step::Ping => (com::PING, Vec::new()),
            Step::Reset => {
                self.slots = Default::default();
                (com::RESET_CONNECTION, Vec::new())
            }
            Step::Prepare(slot, sql) => {
                self.close(wire, slot);
                (com::PREPARE, sql.into())
            }
            Step::Execute(slot, with_types, value) => {
                let (id, bound) = self.slots[slot]?;
                let mut body = id.to_le_bytes().to_vec();
                body.extend([0, 1, 0, 0, 0, 0]);
                let kind = match (with_types, bound) {
                    (false, 1..) => bound,
                    _ if value % 3 == 0 => TEXT,
                    _ => NUMBER,
                };
                let told = [1, kind, 0];
                body.extend(if with_types || bound == 0 { &told[..] } else { &[0] });
                match kind {
                    TEXT => {
                        let text = value.to_string();
                        body.push(u8::try_from(text.len()).expect("it is short"));
                        body.extend(text.into_bytes());
                    }
                    _ => body.extend(value.to_le_bytes()),
                }
                self.slots[slot] = Some((id, kind));
                (com::EXECUTE, body)
            }
            Step::Close(slot) => {
                self.close(wire, slot);
                return None;
            }
            Step::ChangeUser(database) => {
                self.slots = Default::default();
                (com::CHANGE_USER, change_user(wire, ["odp", PASSWORD, database]))
            }
            Step::SetOption(option) => (com::SET_OPTION, option.to_le_bytes().to_vec()),
            Step::FieldList(table) => (com::FIELD_LIST, [table.as_bytes(), b"\0"].concat()),
            Step::Together(_) => return None,
        };
        wire.command(command, &body);
        Some(command)
    }

    fn hear(&mut self, wire: &mut Wire, step: &Step, command: u8) -> Vec<Vec<u8>> {
        let mut reply = wire.reply(command);
        if let Step::Prepare(slot, _) = *step
            && reply.error().is_none()
        {
            let id = &mut reply.packets[0].payload[1..5];
            let told = u32::from_le_bytes(id.try_into().expect("4 bytes"));
            self.slots[slot] = Some((told, 0));
            id.fill(0);
        }
        reply.packets.into_iter().map(|packet| packet.payload).collect()
    }

    fn close(&mut self, wire: &mut Wire, slot: usize) {
        if let Some((id, _)) = self.slots[slot].take() {
            wire.command(com::CLOSE, &id.to_le_bytes());
        }
    }
}

/// COM_CHANGE_USER to this user, password, database, answering the last challenge at once.
pub(crate) fn change_user(wire: &Wire, [user, password, database]: [&str; 3]) -> Vec<u8> {
    let plugin = wire.greeting.plugin.clone();
    let auth = scramble(&plugin, &wire.salt, password).unwrap_or_default();
    let length = u8::try_from(auth.len()).expect("a proof is short");
    let parts: [&[u8]; 10] = [
        user.as_bytes(),
        &[0],
        &[length],
        &auth,
        database.as_bytes(),
        &[0],
        &45u16.to_le_bytes(),
        &plugin,
        &[0],
        // No attributes.
        &[0],
    ];
    parts.concat()
}

/// What an answer looks like to people.
pub(crate) fn shown(payloads: &[Vec<u8>]) -> Vec<String> {
    let shown = |payload: &Vec<u8>| payload[..payload.len().min(2000)].escape_ascii().to_string();
    payloads.iter().map(|payload| format!("{} {}", payload.len(), shown(payload))).collect()
}

/// A number that somebody may have set in the environment.
pub(crate) fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
