//! What questions to a session put away, put back: ROW_COUNT() and FOUND_ROWS(), on MariaDB.
//!
//! No statement makes ROW_COUNT() of a write but a write, and none makes warnings that are not its
//! own: a session that has either must not be asked by the way.

use std::collections::VecDeque;

use super::question::{Answer, Errand, Of, Question, StateError, rows};
use super::snapshot::Diagnostics;
use super::text::UNCUT;

/// So many rows are found once more; of more a statement would be felt.
const MOST: u64 = 100_000;

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
    const TEN: &str = "(SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 \
        UNION ALL SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 UNION ALL SELECT 1 \
        UNION ALL SELECT 1 UNION ALL SELECT 1)";
    let (mut factors, mut most) = (String::new(), 1);
    while most < rows {
        let comma = if factors.is_empty() { " FROM " } else { ", " };
        factors += &format!("{comma}{TEN} t{most}");
        most *= 10;
    }
    format!("{UNCUT}SELECT SQL_CALC_FOUND_ROWS 1 FROM (SELECT 1{factors} LIMIT {rows}) t LIMIT 1")
        .into_bytes()
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
}
