//! What a text may have changed of which its server says that it cannot read it.
//!
//! A server reads all of a statement before it does anything of it. But programs may say the same
//! of a text of theirs, or in its place, when they have done something. Invariant: None wherever
//! the first statement of a text may run a procedure, a block or a stored function.

use super::functions::{self, Call};
use super::scan::Scan;
use super::{Changes, Class};
use crate::sql::is;
use crate::sql::lexer::{Extent, Modes, Words, is_word};

/// What a text may have changed at most, beside what is told of it without
/// [`Changes::ANYTHING`], that was answered by a syntax error and nothing else; None: anything.
pub fn unread(sql: &[u8], modes: Modes) -> Option<Changes> {
    let mut scan = Scan::new(sql, Extent::Whole, modes);
    let class = scan.statement();
    if scan.changes.intersects(Changes::ANYTHING.with(Changes::CALLED)) {
        return None;
    }
    let is_program = matches!(scan.floor, Class::Call | Class::Execute | Class::Compound);
    let is_sure = !is_program && begins_plainly(sql);
    let mut changes = Changes::default();
    for word in words(sql) {
        match () {
            // InnoDB says of what is searched for that it is no syntax.
            () if is(word, b"against") => return None,
            () if !is_sure && PROGRAMS.iter().any(|known| is(word, known)) => return None,
            () if WRITES.iter().any(|known| is(word, known)) => changes |= Changes::TRIGGERS,
            () => {}
        }
    }
    if sql.contains(&b'@') {
        changes |= Changes::USER_VARIABLES;
    }
    let read = match (&scan.following, class) {
        (Some(following), Some(_)) => sql.len() - following.words.sql.len(),
        (None, Some(_)) => sql.len(),
        (_, None) => scan.lexer.start(),
    };
    let mut opened = (read..sql.len()).filter(|at| sql[*at] == b'(');
    opened.all(|at| is_no_call(&sql[..at])).then_some(changes)
}

/// One of these stands wherever a program is run, unless it is a function.
const PROGRAMS: [&[u8]; 3] = [b"call", b"execute", b"end"];

/// One of these stands wherever a trigger is fired.
const WRITES: [&[u8]; 5] = [b"insert", b"update", b"delete", b"replace", b"load"];

/// Whether its first word says what it is, be it nothing: what another statement stands in does
/// not, nor what begins in an executable comment.
fn begins_plainly(sql: &[u8]) -> bool {
    let mut words = Words { sql, at: 0 };
    words.is_at_end() || words.next_word().is_some_and(|word| word.is_ascii() && !is(word, b"set"))
}

/// Whatever may be a word of a text, be it in quotes.
fn words(sql: &[u8]) -> impl Iterator<Item = &[u8]> {
    let runs = sql.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
    runs.map(|run| {
        // A version stands right before the first word of an executable comment.
        let digits = run.iter().take_while(|byte| byte.is_ascii_digit()).count();
        &run[digits..]
    })
}

/// Whether a parenthesis behind this surely calls no stored function.
fn is_no_call(before: &[u8]) -> bool {
    let Some(name_end) = without_blank(before) else { return false };
    let (rest, name) = split_word(name_end);
    if name.is_empty() {
        return !matches!(rest.last(), Some(b'`' | b'"' | b'/'));
    }
    let Some(rest) = without_blank(rest) else { return false };
    let (rest, word_before) = split_word(rest);
    let is_part = word_before.is_empty() && matches!(rest.last(), Some(b'.' | b'/'));
    match functions::call(name) {
        _ if is_part => false,
        Call::Pure => true,
        Call::PureIfAdjacent => name_end.len() == before.len(),
        _ => is(word_before, b"into"),
    }
}

/// What stands before the blanks at the end. None with a line's end in them: a comment may end
/// there, and what counts stands before that.
fn without_blank(text: &[u8]) -> Option<&[u8]> {
    let end = text.trim_ascii_end();
    (!text[end.len()..].contains(&b'\n')).then_some(end)
}

/// What a text ends in: a word, or nothing.
fn split_word(text: &[u8]) -> (&[u8], &[u8]) {
    let length = text.iter().rev().take_while(|byte| is_word(**byte)).count();
    text.split_at(text.len() - length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_runs_nothing() {
        const NOTHING: &[&str] = &[];
        for (sql, changes) in [
            ("SELEC 1", Some(NOTHING)),
            ("-- ping", Some(NOTHING)),
            ("/* ping */", Some(NOTHING)),
            ("", Some(NOTHING)),
            (";", Some(NOTHING)),
            ("SELEC count(*) FROM t WHERE x IN (1, (2))", Some(NOTHING)),
            ("SELECT 'call me', 'to the end", Some(NOTHING)),
            ("SELECT 1; SELEC 2", Some(NOTHING)),
            ("GO", Some(NOTHING)),
            ("SELEC @x", Some(&["user variables"])),
            ("INSERT INTO t (a) VALUES ('o'brien')", Some(&["triggers"])),
            ("UPDATE t SET a = 'it's'", Some(&["triggers"])),
            ("INSRT INTO t (a) VALUES (1)", Some(NOTHING)),
            // What may run something, and then say the same.
            ("CALL p(", None),
            ("CALL p()", None),
            ("/*!50000CALL p */", None),
            ("EXECUTE s FROM", None),
            ("EXECUTE IMMEDIATE 'SELEC'", None),
            ("BEGIN NOT ATOMIC SET @a = 1; EXECUTE s; END", None),
            ("l: LOOP SET @a = 1; END LOOP", None),
            ("SET STATEMENT a = 1 FOR CALL p", None),
            ("SELECT f(1)", None),
            ("SELEC f(1)", None),
            ("SELEC f /* */ (1)", None),
            ("SELEC f -- abs\n(1)", None),
            ("SELEC d.abs(1)", None),
            ("SELEC d . -- x\n abs(1)", None),
            ("SELEC `f`(1)", None),
            ("SELEC count (1)", None),
            ("SELEC 1 -- into\nf(1)", None),
            ("SELEC MATCH(a) AGAINST('+')", None),
        ] {
            let names: Option<Vec<_>> =
                unread(sql.as_bytes(), Modes::USUAL).map(|changes| changes.names().collect());
            assert_eq!(names.as_deref(), changes, "{sql}");
        }
    }
}
