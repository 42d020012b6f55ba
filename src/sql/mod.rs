//! What can be told from the text of a statement. Pure.
//!
//! [`inspect`] tells no more than the first few words: what a statement starts with. What it does
//! not know is [`Statement::Other`], which is always safe. [`analysis`] tells what a statement may
//! do to a session and what it asks of it, for those with more than one server. [`ids`] finds
//! where a statement names a connection, and [`digest`] what statements have in common that differ
//! in values only. The last three read the tokens of one lexer.

pub mod analysis;
pub mod digest;
pub mod ids;
mod lexer;

use lexer::Words;
pub use lexer::{Charset, Extent, Known, Modes};

/// What a statement is, as far as its first words tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement<'a> {
    /// SELECT.
    Select,
    /// INSERT or REPLACE.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// `USE database`.
    Use(&'a [u8]),
    /// Anything else.
    Other,
}

/// Looks at the first words of a statement.
pub fn inspect(sql: &[u8]) -> Statement<'_> {
    let mut words = Words { sql, at: 0 };
    let Some(first) = words.next_word() else { return Statement::Other };
    // Sorted by how often they come; the first letter decides, the rest confirms.
    match first.first().map(u8::to_ascii_lowercase) {
        Some(b's') if is(first, b"select") => Statement::Select,
        Some(b'i') if is(first, b"insert") => Statement::Insert,
        Some(b'u') if is(first, b"update") => Statement::Update,
        Some(b'd') if is(first, b"delete") => Statement::Delete,
        Some(b'r') if is(first, b"replace") => Statement::Insert,
        Some(b'u') if is(first, b"use") => use_database(words),
        _ => Statement::Other,
    }
}

/// Whether a statement that begins like [`Statement::Other`] changes definitions, accounts or
/// rights, by its first words.
pub fn is_definition(sql: &[u8]) -> bool {
    let mut words = Words { sql, at: 0 };
    let Some(first) = words.next_word() else { return false };
    let is_any = |known: &[&[u8]]| known.iter().any(|known| is(first, known));
    if is(first, b"drop") {
        return words.next_word().is_some_and(|second| !is(second, b"prepare"));
    }
    is_any(&[b"create", b"alter", b"truncate", b"rename", b"grant", b"revoke"])
}

/// What stands behind EXPLAIN ROUTE, if a statement begins so.
pub fn explains_route(sql: &[u8]) -> Option<&[u8]> {
    let mut words = Words { sql, at: 0 };
    let begins = is(words.next_word()?, b"explain") && is(words.next_word()?, b"route");
    // `EXPLAIN route` is about a table of that name.
    (begins && !words.is_at_end()).then(|| &sql[words.at..])
}

/// Whether what is defined by a text of a definition may be a stored program.
pub fn defines_program(sql: &[u8]) -> bool {
    const PROGRAMS: [&[u8]; 4] = [b"procedure", b"function", b"trigger", b"package"];
    // `CREATE DEFINER = 'a'@'b' OR REPLACE …`: it stands near the beginning.
    let beginning = &sql[..sql.len().min(300)];
    let mut words = beginning.split(|byte| !byte.is_ascii_alphanumeric());
    words.any(|word| PROGRAMS.iter().any(|known| is(word, known)))
}

fn use_database(mut words: Words<'_>) -> Statement<'_> {
    words.skip_blank();
    let rest = &words.sql[words.at..];
    let name = match rest.strip_prefix(b"`") {
        Some(quoted) => memchr::memchr(b'`', quoted).map(|end| {
            words.at += end + 2;
            &quoted[..end]
        }),
        None => words.next_word(),
    };
    // What stands behind may be another statement, or the rest of a name with a quote in it.
    match name.filter(|name| !name.is_empty()) {
        Some(name) if words.is_at_end() => Statement::Use(name),
        _ => Statement::Other,
    }
}

fn is(word: &[u8], keyword: &[u8]) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statements_are_told_by_their_first_words() {
        let table: &[(&str, Statement)] = &[
            ("select 1", Statement::Select),
            ("  /* hint */ SELECT c FROM t", Statement::Select),
            ("-- x\nselect 1", Statement::Select),
            ("# x\nselect 1", Statement::Select),
            ("(select 1)", Statement::Other),
            ("/*!50000 kill 5 */", Statement::Other),
            ("/* never ends kill 5", Statement::Other),
            ("selectx", Statement::Other),
            ("insert into t values (1)", Statement::Insert),
            ("REPLACE t set a=1", Statement::Insert),
            ("update t set a=1", Statement::Update),
            ("delete from t", Statement::Delete),
            ("use shop", Statement::Use(b"shop")),
            ("use `my shop`;", Statement::Use(b"my shop")),
            ("use `broken", Statement::Other),
            ("use a; use b", Statement::Other),
            ("use `a``b`", Statement::Other),
            ("use `a` -- x", Statement::Use(b"a")),
            ("use", Statement::Other),
            ("show tables", Statement::Other),
            ("kill 5", Statement::Other),
            ("", Statement::Other),
        ];
        for (sql, expected) in table {
            assert_eq!(inspect(sql.as_bytes()), *expected, "{sql}");
        }
    }

    #[test]
    fn definitions_are_told_by_their_first_words() {
        for sql in
            ["create table t (a int)", "/* x */ DROP VIEW v", "TRUNCATE t", "grant all on t to u"]
        {
            assert!(is_definition(sql.as_bytes()), "{sql}");
        }
        for sql in
            ["drop prepare s", "drop", "deallocate prepare s", "set @create = 1", "", "created"]
        {
            assert!(!is_definition(sql.as_bytes()), "{sql}");
        }
    }

    #[test]
    fn a_route_is_asked_for_by_two_words() {
        let asked = |sql: &'static str| explains_route(sql.as_bytes()).map(<[u8]>::trim_ascii);
        assert_eq!(asked("EXPLAIN ROUTE SELECT 1"), Some(&b"SELECT 1"[..]));
        assert_eq!(asked("/* x */ explain /* y */ route\tSELECT 1;"), Some(&b"SELECT 1;"[..]));
        for sql in ["EXPLAIN ROUTE", "EXPLAIN route ;", "EXPLAIN SELECT 1", "ROUTE SELECT 1", ""] {
            assert_eq!(asked(sql), None, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_told_without_panic(sql in proptest::collection::vec(any::<u8>(), 0..200)) {
            inspect(&sql);
        }
    }
}
