//! What questions to a session put away, put back: ROW_COUNT() and FOUND_ROWS(), on MariaDB.
//!
//! No statement makes ROW_COUNT() of a write but a write, and none makes warnings that are not its
//! own: a session that has either must not be asked by the way.

use std::collections::VecDeque;

use super::question::{Answer, Errand, Of, Question, StateError, rows};
use super::snapshot::Diagnostics;
use super::text::{SELECT, UNCUT, bytes_of};
use crate::wire::flavour::Flavour;

/// So many rows are found once more; of more a statement would be felt.
const MOST: u64 = 100_000;

/// The same where a client waits for nothing else.
const MOST_FOUND: u64 = 1_000_000;

/// So many where each of them is to be sent.
const MOST_SENT: u64 = 10_000;

/// So many where each of them is to be written down.
const MOST_OF_NO_TABLE: u64 = 1_000;

/// What tells ROW_COUNT() and FOUND_ROWS() of the statements before, and puts both away.
pub fn counting() -> Vec<u8> {
    bytes_of(&["CONCAT_WS(' ', ROW_COUNT(), FOUND_ROWS())"])
}

/// What that has told: both of them.
pub fn counted(told: &[u8]) -> Option<(i64, u64)> {
    let (rows, found) = std::str::from_utf8(told).ok()?.split_once(' ')?;
    Some((rows.parse().ok()?, found.parse().ok()?))
}

/// What becomes of warnings that a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warnings {
    /// Somebody may ask for them.
    Stay,
    /// Nobody does.
    MayGo,
}

/// Puts back what a session's diagnostics were.
#[derive(Debug)]
pub struct PutBack {
    queue: VecDeque<Vec<u8>>,
    asked: usize,
}

impl PutBack {
    /// What brings these about; None if nothing does.
    pub fn of(diagnostics: &Diagnostics) -> Option<Self> {
        let is_found = diagnostics.found_rows.is_some_and(|found| found <= MOST);
        let is_counted = matches!(diagnostics.row_count, Some(-1 | 0));
        let has_no_warnings = diagnostics.warning_count == Some(0);
        (is_found && is_counted && has_no_warnings).then(|| Self::what_can_be(diagnostics))
    }

    /// What has a session of this kind of server count the same, whatever was counted there; None
    /// if nothing does. On MariaDB what it warns of stays, if that is wanted.
    pub fn counts(
        (row_count, found): (i64, u64),
        flavour: Flavour,
        warnings: Warnings,
    ) -> Option<Self> {
        let (finding, most) = match (flavour.is_mariadb(), warnings) {
            (true, Warnings::Stay) => (sending_of_no_table(found), MOST_OF_NO_TABLE),
            (true, Warnings::MayGo) => (finding(found), MOST_FOUND),
            (false, _) => (sending(found), MOST_SENT),
        };
        let mut queue = VecDeque::from([finding]);
        if row_count == 0 {
            queue.push_back(b"DO 0".to_vec());
        }
        (found <= most && matches!(row_count, -1 | 0)).then_some(Self { queue, asked: 0 })
    }

    /// What brings about of these what can be, in a session that has no others.
    pub fn what_can_be(diagnostics: &Diagnostics) -> Self {
        let found = diagnostics.found_rows.filter(|found| *found <= MOST);
        let mut queue: VecDeque<_> = found.map(finding).into_iter().collect();
        if diagnostics.row_count == Some(0) {
            queue.push_back(b"DO 0".to_vec());
        }
        Self { queue, asked: 0 }
    }
}

/// A query that finds so many rows, and gives one.
fn finding(rows: u64) -> Vec<u8> {
    let from = rows_of_nothing(rows);
    format!("{UNCUT}SELECT SQL_CALC_FOUND_ROWS 1 FROM {from} LIMIT 1").into_bytes()
}

/// A query that gives so many rows: MySQL warns of who has them counted.
fn sending(rows: u64) -> Vec<u8> {
    format!("{SELECT}1 FROM {} LIMIT {rows}", rows_of_nothing(rows)).into_bytes()
}

/// The same of no table, be it one of nothing: on MariaDB the warnings of statements before stay.
fn sending_of_no_table(rows: u64) -> Vec<u8> {
    let more: String = (1..rows.min(MOST_OF_NO_TABLE)).map(|_| " UNION ALL SELECT 1").collect();
    format!("{UNCUT}SELECT 1{more} LIMIT {rows}").into_bytes()
}

/// A table of so many rows.
fn rows_of_nothing(rows: u64) -> String {
    const TEN: &str = "(SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 \
        UNION ALL SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 \
        UNION ALL SELECT 1 UNION ALL SELECT 1)";
    let (mut factors, mut most) = (String::new(), 1);
    while most < rows {
        let comma = if factors.is_empty() { " FROM " } else { ", " };
        factors += &format!("{comma}{TEN} t{most}");
        most *= 10;
    }
    format!("(SELECT 1{factors} LIMIT {rows}) t")
}

impl Errand for PutBack {
    fn ask(&mut self) -> Option<Question> {
        let sql = self.queue.pop_front()?;
        self.asked += 1;
        Some(Question { of: Of::Session, sql })
    }

    fn hear(&mut self, answer: Answer) -> Result<(), StateError> {
        self.asked = self.asked.checked_sub(1).ok_or(StateError::Unasked)?;
        match answer {
            Answer::Ok => Ok(()),
            answer => rows(answer, "what its last statement left").and(Ok(())),
        }
    }

    fn is_done(&self) -> bool {
        self.queue.is_empty() && self.asked == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_statement_can_bring_about_is_put_back() {
        let all = |row_count, found_rows, warnings| {
            PutBack::of(&Diagnostics {
                row_count,
                found_rows,
                warning_count: Some(warnings),
                error_count: Some(0),
                warnings: Vec::new(),
            })
        };
        for (row_count, found, warnings, statements) in [
            (Some(-1), Some(0), 0, 1),
            (Some(-1), Some(4), 0, 1),
            (Some(0), Some(MOST), 0, 2),
            (Some(0), Some(MOST + 1), 0, 0),
            (Some(3), Some(1), 0, 0),
            (Some(-1), Some(1), 1, 0),
            (None, Some(1), 0, 0),
            (Some(-1), None, 0, 0),
        ] {
            let put_back = all(row_count, found, warnings);
            let told = put_back.map_or(0, |mut it| std::iter::from_fn(|| it.ask()).count());
            assert_eq!(told, statements, "{row_count:?} {found:?} {warnings}");
        }
        let factors = |rows| String::from_utf8_lossy(&finding(rows)).matches(" t1").count();
        assert_eq!([0, 1, 2, 10, 11, MOST].map(factors), [0, 0, 1, 1, 2, 5]);
    }

    #[test]
    fn counts_are_brought_about_elsewhere() {
        let mysql = Flavour::of(b"8.4.2");
        let mariadb = Flavour::of(b"11.8.9-MariaDB");
        for (counts, flavour, warnings, statements) in [
            ((-1, 4), mariadb, Warnings::MayGo, 1),
            ((0, MOST_FOUND), mariadb, Warnings::MayGo, 2),
            ((0, MOST_FOUND + 1), mariadb, Warnings::MayGo, 0),
            ((3, 1), mariadb, Warnings::MayGo, 0),
            ((-1, MOST_OF_NO_TABLE), mariadb, Warnings::Stay, 1),
            ((-1, MOST_OF_NO_TABLE + 1), mariadb, Warnings::Stay, 0),
            ((-1, MOST_SENT), mysql, Warnings::MayGo, 1),
            ((-1, MOST_SENT + 1), mysql, Warnings::MayGo, 0),
        ] {
            let put_back = PutBack::counts(counts, flavour, warnings);
            let told = put_back.map_or(0, |mut it| std::iter::from_fn(|| it.ask()).count());
            assert_eq!(told, statements, "{counts:?} {flavour:?}");
        }
        assert_eq!(counted(b"-1 33"), Some((-1, 33)));
        assert_eq!(counted(b"33"), None);
        let none = String::from_utf8(sending_of_no_table(0)).expect("it is ASCII");
        assert!(none.ends_with("FOR SELECT 1 LIMIT 0"), "{none}");
        let three = String::from_utf8(sending_of_no_table(3)).expect("it is ASCII");
        assert!(three.ends_with("1 UNION ALL SELECT 1 UNION ALL SELECT 1 LIMIT 3"), "{three}");
    }
}
