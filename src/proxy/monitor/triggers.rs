//! What triggers of a server may do to the sessions that fire them. Pure.
//!
//! Only the account's own rights tell whether it sees all of them: information_schema leaves out
//! what one may not see, without a word.

use crate::sql::analysis::{Changes, fired as fired_by};
use crate::sql::{Charset, Known, Modes};
use crate::wire::flavour::Flavour;
use crate::wire::result::ResultSet;

/// Bytes of bodies that are read; of more nothing is known.
const MOST: u64 = 256 << 10;

/// The same of triggers: the limit in [`reading`].
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

/// Reads [`counting`].
pub(super) fn counted(set: &ResultSet) -> Counted {
    let number = |at: usize| -> Option<u64> {
        std::str::from_utf8(set.rows.first()?.get(at)?.as_deref()?).ok()?.parse().ok()
    };
    match (number(0), number(1), number(2)) {
        (_, _, None | Some(0)) | (None, _, _) => Counted::Hidden,
        (Some(0), _, _) => Counted::None,
        (Some(..=MOST_ROWS), Some(..=MOST), _) => Counted::Some,
        (Some(_), _, _) => Counted::TooMany,
    }
}

/// Reads [`reading`]: what any of them may change.
pub(super) fn fired(set: &ResultSet) -> Changes {
    let of = |row: &Vec<Option<Vec<u8>>>| match &row[..] {
        [Some(modes), Some(body)] => match modes_of(modes) {
            Some(modes) => fired_by(body, modes),
            None => Changes::ANYTHING,
        },
        _ => Changes::ANYTHING,
    };
    set.rows.iter().map(of).fold(Changes::default(), Changes::with)
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
            assert_eq!(fired(&set(&rows)), expected, "{rows:?}");
        }
    }
}
