//! Errands with answers from a table, and laws for any answer at all.

mod laws;
mod talk;

use super::question::{Answer, Errand, Of};
use crate::wire::kind;
use crate::wire::result::{Column, ResultSet};

/// A result set of bytes; `kinds` are its columns' types.
fn rows(kinds: &[u8], rows: &[&[Option<&str>]]) -> Answer {
    let column = |kind: &u8| Column { kind: *kind, charset: 63, ..Column::default() };
    let value = |value: &Option<&str>| value.map(|text| text.as_bytes().to_vec());
    Answer::Rows(ResultSet {
        columns: kinds.iter().map(column).collect(),
        rows: rows.iter().map(|row| row.iter().map(value).collect()).collect(),
    })
}

/// One row of strings.
fn row(values: &[Option<&str>]) -> Answer {
    rows(&vec![kind::VAR_STRING; values.len()], &[values])
}

fn err(code: u16, message: &str) -> Answer {
    Answer::Err { code, message: message.into() }
}

/// Asks one question after the other; each must be in the table, which has its answer.
fn talk(errand: &mut impl Errand, mut table: Vec<(&str, Answer)>) {
    table.reverse();
    while let Some(question) = errand.ask() {
        let sql = String::from_utf8(question.sql).expect("ours are UTF-8");
        let (expected, answer) = table.pop().unwrap_or_else(|| panic!("nobody expects {sql}"));
        let (of, expected) = match expected.strip_prefix("service: ") {
            Some(expected) => (Of::Service, expected),
            None => (Of::Session, expected),
        };
        assert_eq!(question.of, of, "{sql}");
        match expected.strip_suffix('…') {
            Some(start) => assert!(sql.starts_with(start), "{sql}\nis not\n{start}"),
            None => assert_eq!(sql, expected),
        }
        errand.hear(answer).expect("the table has answers");
    }
    assert!(errand.is_done() && table.is_empty(), "{table:?} was not asked");
}
