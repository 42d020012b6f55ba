//! What stored programs of a server may do to the sessions that run them. Pure.
//!
//! Only the account's own rights tell whether it sees all triggers: information_schema leaves out
//! what one may not see, without a word. A routine of which it may not see the body is like one
//! that is not there: anything.

use std::collections::HashMap;

use crate::sql::analysis::{Changes, Program, program};
use crate::sql::{Charset, Known, Modes};
use crate::wire::flavour::Flavour;
use crate::wire::result::ResultSet;

/// Bytes of bodies that are read; of more nothing is known.
const MOST: u64 = 256 << 10;

/// The same of triggers: the limit in [`reading`]. More routines than that, or parameters of them,
/// are not read either.
const MOST_ROWS: u64 = 10_000;

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// There are none.
    None,
    /// There are so few that they can be read.
    Some,
    /// There are more.
    TooMany,
    /// The account may not see them.
    Hidden,
}

/// The same question in the words of each kind of server. A second must do for it: it is of no
/// account what a server is that answers late.
macro_rules! words {
    ($flavour:expr, $sql:literal) => {
        if $flavour.is_mariadb() {
            &[concat!("SET STATEMENT max_statement_time=1 FOR SELECT ", $sql)]
        } else {
            &[concat!("SELECT /*+ MAX_EXECUTION_TIME(1000) */ ", $sql)]
        }
    };
}

/// How many triggers there are, how long, and whether the account sees all of them.
pub(super) fn counting(flavour: Flavour) -> &'static [&'static str] {
    words!(
        flavour,
        "COUNT(*), SUM(LENGTH(ACTION_STATEMENT)), (SELECT COUNT(*) \
         FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'TRIGGER' \
         AND GRANTEE = CONCAT(\"'\", REPLACE(CURRENT_USER(), '@', \"'@'\"), \"'\")) \
         FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA <> 'sys'"
    )
}

/// Their bodies.
pub(super) fn reading(flavour: Flavour) -> &'static [&'static str] {
    words!(
        flavour,
        "SQL_MODE, ACTION_STATEMENT FROM information_schema.TRIGGERS \
         WHERE TRIGGER_SCHEMA <> 'sys' LIMIT 10000"
    )
}

/// How many routines there are, how long, and how many of them are in packages.
pub(super) fn counting_routines(flavour: Flavour) -> &'static [&'static str] {
    words!(
        flavour,
        "COUNT(*), SUM(LENGTH(ROUTINE_DEFINITION)), \
         SUM(ROUTINE_TYPE NOT IN ('PROCEDURE', 'FUNCTION')) \
         FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA <> 'sys'"
    )
}

/// Those: schema, name, type, SQL_MODE, body.
pub(super) fn reading_routines(flavour: Flavour) -> &'static [&'static str] {
    words!(
        flavour,
        "ROUTINE_SCHEMA, SPECIFIC_NAME, ROUTINE_TYPE, SQL_MODE, \
         IF(ROUTINE_BODY = 'SQL', ROUTINE_DEFINITION, NULL) FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA <> 'sys' LIMIT 10000"
    )
}

/// Their parameters: schema, name and type of the routine, name.
pub(super) fn reading_parameters(flavour: Flavour) -> &'static [&'static str] {
    words!(
        flavour,
        "SPECIFIC_SCHEMA, SPECIFIC_NAME, ROUTINE_TYPE, PARAMETER_NAME \
         FROM information_schema.PARAMETERS \
         WHERE SPECIFIC_SCHEMA <> 'sys' AND PARAMETER_NAME IS NOT NULL LIMIT 10000"
    )
}

/// Reads [`counting`].
pub(super) fn counted(set: &ResultSet) -> Counted {
    match numbers(set) {
        (_, _, None | Some(0)) | (None, _, _) => Counted::Hidden,
        (Some(0), _, _) => Counted::None,
        (Some(..=MOST_ROWS), Some(..=MOST), _) => Counted::Some,
        (Some(_), _, _) => Counted::TooMany,
    }
}

/// Reads [`counting_routines`]: whether there are some that can be read. Those of packages are
/// called by names that others have, too.
pub(super) fn can_read_routines(set: &ResultSet) -> bool {
    matches!(numbers(set), (Some(1..=MOST_ROWS), Some(..=MOST), Some(0)))
}

/// The first row.
fn numbers(set: &ResultSet) -> (Option<u64>, Option<u64>, Option<u64>) {
    let number =
        |at: usize| str::from_utf8(set.rows.first()?.get(at)?.as_deref()?).ok()?.parse().ok();
    (number(0), number(1), number(2))
}

/// Reads [`reading`]: what any of them may change, with the routines that they call.
pub(super) fn fired(set: &ResultSet, routines: &HashMap<Vec<u8>, Changes>) -> Changes {
    let of = |row: &Vec<Option<Vec<u8>>>| match &row[..] {
        [Some(modes), Some(body)] => with_calls(&read(modes, body, &[]), routines),
        _ => Changes::ANYTHING,
    };
    set.rows.iter().map(of).fold(Changes::default(), Changes::with)
}

/// Reads [`reading_routines`], with [`reading_parameters`]: what those of each name may change.
pub(super) fn routines(set: &ResultSet, parameters: &ResultSet) -> HashMap<Vec<u8>, Changes> {
    let mut named: HashMap<[&[u8]; 3], Vec<&[u8]>> = HashMap::new();
    for row in &parameters.rows {
        if let [Some(schema), Some(routine), Some(kind), Some(name)] = &row[..] {
            named.entry([schema, routine, kind]).or_default().push(name);
        }
    }
    let mut programs: HashMap<Vec<u8>, Program> = HashMap::new();
    for row in &set.rows {
        let [schema, Some(name), kind, modes, body] = &row[..] else { continue };
        let read = match (schema, kind, modes, body) {
            (Some(schema), Some(kind), Some(modes), Some(body)) => {
                let parameters = named.get(&[&schema[..], name, kind]);
                read(modes, body, parameters.map_or(&[], Vec::as_slice))
            }
            _ => Program::unknown(),
        };
        let program = programs.entry(name.to_ascii_lowercase()).or_default();
        program.changes |= read.changes;
        program.calls.extend(read.calls);
    }
    let own = |(name, program): (&Vec<u8>, &Program)| (name.clone(), program.changes);
    let mut known: HashMap<_, _> = programs.iter().map(own).collect();
    // Each round adds what is called by what is called, until there is nothing more.
    loop {
        let next: HashMap<_, _> = programs
            .iter()
            .map(|(name, program)| (name.clone(), with_calls(program, &known)))
            .collect();
        if next == known {
            return known;
        }
        known = next;
    }
}

/// What a program may change, and what it calls of these.
fn with_calls(program: &Program, known: &HashMap<Vec<u8>, Changes>) -> Changes {
    let called = |name| known.get(name).copied().unwrap_or(Changes::ANYTHING);
    program.calls.iter().map(called).fold(program.changes, Changes::with)
}

fn read(modes: &[u8], body: &[u8], parameters: &[&[u8]]) -> Program {
    match modes_of(modes) {
        Some(modes) => program(body, modes, parameters),
        None => Program::unknown(),
    }
}

/// None: a language of its own.
fn modes_of(sql_mode: &[u8]) -> Option<Modes> {
    let has = |mode: &[u8]| sql_mode.split(|byte| *byte == b',').any(|it| it == mode);
    (!has(b"ORACLE")).then(|| Modes {
        ansi_quotes: Known::from(has(b"ANSI_QUOTES")),
        no_backslash_escapes: Known::from(has(b"NO_BACKSLASH_ESCAPES")),
        charset: Charset::Utf8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rows: &[&[Option<&str>]]) -> ResultSet {
        let value = |value: &Option<&str>| value.map(|text| text.as_bytes().to_vec());
        let rows = rows.iter().map(|row| row.iter().map(value).collect()).collect();
        ResultSet { columns: Vec::new(), rows }
    }

    #[test]
    fn none_is_believed_only_of_who_sees_all() {
        for (row, expected) in [
            ([Some("0"), None, Some("1")], Counted::None),
            ([Some("0"), None, Some("0")], Counted::Hidden),
            ([Some("0"), None, None], Counted::Hidden),
            ([Some("2"), Some("100"), Some("1")], Counted::Some),
            ([Some("2"), Some("262145"), Some("1")], Counted::TooMany),
            ([Some("10001"), Some("100"), Some("1")], Counted::TooMany),
            ([Some("2"), Some("100"), Some("0")], Counted::Hidden),
            ([None, None, Some("1")], Counted::Hidden),
        ] {
            assert_eq!(counted(&set(&[&row])), expected, "{row:?}");
        }
        assert_eq!(counted(&set(&[])), Counted::Hidden);
    }

    #[test]
    fn all_bodies_count_and_each_is_read_in_its_modes() {
        for (rows, expected) in [
            (&[[Some(""), Some("SET NEW.n = 1")]][..], Changes::default()),
            (
                &[[Some(""), Some("SET NEW.n = 1")], [Some(""), Some("SET @x = 1")]],
                Changes::USER_VARIABLES,
            ),
            (&[[Some("A,ORACLE"), Some("NULL")]], Changes::ANYTHING),
            (&[[Some("A,NO_BACKSLASH_ESCAPES"), Some(r"SET NEW.s = '\'")]], Changes::default()),
            (&[[Some("A"), Some(r"SET NEW.s = '\'")]], Changes::ANYTHING),
            (&[[None, Some("SET NEW.n = 1")]], Changes::ANYTHING),
        ] {
            let rows: Vec<&[Option<&str>]> = rows.iter().map(|row| &row[..]).collect();
            assert_eq!(fired(&set(&rows), &HashMap::new()), expected, "{rows:?}");
        }
    }

    #[test]
    fn a_routine_changes_what_it_calls_changes() {
        let routine = |name: &'static str, kind: &'static str, body: &'static str| {
            [Some("p"), Some(name), Some(kind), Some(""), Some(body)]
        };
        let rows = [
            routine("plain", "PROCEDURE", "BEGIN INSERT INTO t VALUES (1); SET o = 1; END"),
            routine("Sets", "FUNCTION", "BEGIN SET @x = 1; RETURN 1; END"),
            routine("outer", "PROCEDURE", "BEGIN CALL inner_; SELECT sets(); END"),
            routine("inner_", "PROCEDURE", "BEGIN SET SESSION time_zone = 'UTC'; CALL outer; END"),
            routine("lost", "PROCEDURE", "CALL p.nowhere()"),
            // A function beside the procedure, with a parameter of no such name.
            routine("plain_too", "PROCEDURE", "SET o = 1"),
            routine("plain_too", "FUNCTION", "BEGIN SET o = 1; RETURN 1; END"),
        ];
        let parameters = [
            [Some("p"), Some("plain"), Some("PROCEDURE"), Some("o")],
            [Some("p"), Some("plain_too"), Some("PROCEDURE"), Some("O")],
        ];
        let rows: Vec<&[Option<&str>]> = rows.iter().map(|row| &row[..]).collect();
        let parameters: Vec<&[Option<&str>]> = parameters.iter().map(|row| &row[..]).collect();
        let known = routines(&set(&rows), &set(&parameters));
        let set_by_name = Changes::VARIABLES | Changes::LEXING | Changes::ROLE;
        for (name, expected) in [
            ("plain", Changes::default()),
            ("sets", Changes::USER_VARIABLES),
            ("inner_", set_by_name | Changes::USER_VARIABLES),
            ("outer", set_by_name | Changes::USER_VARIABLES),
            ("lost", Changes::ANYTHING),
            ("plain_too", set_by_name),
        ] {
            assert_eq!(known.get(name.as_bytes()), Some(&expected), "{name}");
        }
        let fires = [Some(""), Some("BEGIN CALL plain(1); SET NEW.n = Sets(); END")];
        assert_eq!(fired(&set(&[&fires]), &known), Changes::USER_VARIABLES);
        assert_eq!(fired(&set(&[&fires]), &HashMap::new()), Changes::ANYTHING);
    }

    #[test]
    fn routines_are_read_where_all_can_be() {
        for (row, expected) in [
            ([Some("2"), Some("100"), Some("0")], true),
            ([Some("2"), Some("100"), Some("1")], false),
            ([Some("2"), Some("262145"), Some("0")], false),
            ([Some("10001"), Some("100"), Some("0")], false),
            // None, or none that may be seen.
            ([Some("0"), None, None], false),
            ([Some("2"), None, Some("0")], false),
        ] {
            assert_eq!(can_read_routines(&set(&[&row])), expected, "{row:?}");
        }
    }
}
