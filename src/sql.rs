//! One-pass lexer: what kind of statement is this? Pure, and no more than the first few words.
//!
//! It never decides what a statement does, only what it starts with. What it does not know is
//! [`Statement::Other`], which is always safe: such a statement goes to the server as it came.
//! Executable comments (`/*! … */`) are not looked into.

use std::ops::Range;

/// What a statement is, as far as its first words tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement<'a> {
    /// SELECT.
    Select,
    /// `SELECT CONNECTION_ID()`, and nothing else.
    SelectConnectionId,
    /// INSERT or REPLACE.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// `USE database`.
    Use(&'a [u8]),
    /// `SHOW [FULL] PROCESSLIST`.
    ShowProcesslist,
    /// `KILL [HARD|SOFT] [CONNECTION|QUERY] id`.
    Kill(Kill),
    /// Anything else.
    Other,
}

/// A KILL by connection id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The connection id.
    pub id: u64,
    /// Where its digits stand in the statement.
    pub digits: Range<usize>,
}

/// Looks at the first words of a statement.
pub fn inspect(sql: &[u8]) -> Statement<'_> {
    let mut words = Words { sql, at: 0 };
    let Some(first) = words.next_word() else { return Statement::Other };
    // Sorted by how often they come; the first letter decides, the rest confirms.
    match first.first().map(u8::to_ascii_lowercase) {
        Some(b's') if is(first, b"select") => select(words),
        Some(b'i') if is(first, b"insert") => Statement::Insert,
        Some(b'u') if is(first, b"update") => Statement::Update,
        Some(b'd') if is(first, b"delete") => Statement::Delete,
        Some(b'r') if is(first, b"replace") => Statement::Insert,
        Some(b'u') if is(first, b"use") => use_database(words),
        Some(b's') if is(first, b"show") => show(words),
        Some(b'k') if is(first, b"kill") => kill(words),
        _ => Statement::Other,
    }
}

fn select(mut words: Words<'_>) -> Statement<'_> {
    // The usual SELECT leaves here: one comparison.
    if !words.next_word().is_some_and(|word| is(word, b"connection_id")) {
        return Statement::Select;
    }
    let call = words.next_symbol() == Some(b'(') && words.next_symbol() == Some(b')');
    if call && words.is_at_end() { Statement::SelectConnectionId } else { Statement::Select }
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

fn show(mut words: Words<'_>) -> Statement<'_> {
    let word = match words.next_word() {
        Some(full) if is(full, b"full") => words.next_word(),
        word => word,
    };
    let processlist = word.is_some_and(|word| is(word, b"processlist"));
    if processlist && words.is_at_end() { Statement::ShowProcesslist } else { Statement::Other }
}

fn kill(mut words: Words<'_>) -> Statement<'_> {
    let mut word = words.next_word();
    if word.is_some_and(|word| is(word, b"hard") || is(word, b"soft")) {
        word = words.next_word();
    }
    if word.is_some_and(|word| is(word, b"connection") || is(word, b"query")) {
        word = words.next_word();
    }
    // `KILL QUERY ID n` names a query and `KILL USER name` a user: no connection id there.
    let Some(digits) = word.filter(|word| word.iter().all(u8::is_ascii_digit)) else {
        return Statement::Other;
    };
    let end = words.at;
    let id = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    match id {
        Some(id) if words.is_at_end() => {
            Statement::Kill(Kill { id, digits: end - digits.len()..end })
        }
        _ => Statement::Other,
    }
}

fn is(word: &[u8], keyword: &[u8]) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

struct Words<'a> {
    sql: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    /// The next run of letters, digits, `_`, `$` and bytes of other alphabets; None at anything
    /// else.
    fn next_word(&mut self) -> Option<&'a [u8]> {
        self.skip_blank();
        let rest = &self.sql[self.at..];
        let is_word = |byte: u8| {
            byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
        };
        let end = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        self.at += end;
        (end > 0).then(|| &rest[..end])
    }

    fn next_symbol(&mut self) -> Option<u8> {
        self.skip_blank();
        let symbol = self.sql.get(self.at).copied();
        self.at += usize::from(symbol.is_some());
        symbol
    }

    /// Whether only blanks, comments and semicolons are left.
    fn is_at_end(&mut self) -> bool {
        self.skip_blank();
        while self.sql.get(self.at) == Some(&b';') {
            self.at += 1;
            self.skip_blank();
        }
        self.at == self.sql.len()
    }

    /// Skips white space and comments; stops at an executable or an unfinished comment.
    fn skip_blank(&mut self) {
        loop {
            let rest = &self.sql[self.at..];
            let skipped = match rest {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C, ..] => 1,
                [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => return,
                [b'/', b'*', comment @ ..] => match memchr::memmem::find(comment, b"*/") {
                    Some(end) => end + 4,
                    None => return,
                },
                [b'#', ..] => line(rest),
                // "The -- comment style requires the second dash to be followed by at least one
                // whitespace or control character"; at the end of the text stands one for servers.
                [b'-', b'-'] => 2,
                [b'-', b'-', blank, ..] if *blank == b' ' || blank.is_ascii_control() => line(rest),
                _ => return,
            };
            self.at += skipped;
        }
    }
}

fn line(rest: &[u8]) -> usize {
    memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kill(id: u64, digits: Range<usize>) -> Statement<'static> {
        Statement::Kill(Kill { id, digits })
    }

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
            ("select connection_id()", Statement::SelectConnectionId),
            ("SELECT CONNECTION_ID ( ) ;", Statement::SelectConnectionId),
            ("select connection_id() + 1", Statement::Select),
            ("select connection_id(), 1", Statement::Select),
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
            ("show processlist", Statement::ShowProcesslist),
            ("SHOW FULL PROCESSLIST;", Statement::ShowProcesslist),
            ("show processlist where 1", Statement::Other),
            ("show tables", Statement::Other),
            ("kill 5", kill(5, 5..6)),
            ("KILL QUERY 4294967295", kill(4_294_967_295, 11..21)),
            ("kill /* x */ connection 12 ; ", kill(12, 24..26)),
            ("kill hard query 7", kill(7, 16..17)),
            ("kill soft 7", kill(7, 10..11)),
            ("kill 7 --", kill(7, 5..6)),
            ("kill 7 --\u{1}x", kill(7, 5..6)),
            ("kill 7 --x", Statement::Other),
            ("kill query id 7", Statement::Other),
            ("kill user bob", Statement::Other),
            ("kill 5 + 5", Statement::Other),
            ("kill 5; select 1", Statement::Other),
            ("kill 99999999999999999999999", Statement::Other),
            ("kill", Statement::Other),
            ("", Statement::Other),
        ];
        for (sql, expected) in table {
            assert_eq!(inspect(sql.as_bytes()), *expected, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_told_without_panic(sql in proptest::collection::vec(any::<u8>(), 0..200)) {
            inspect(&sql);
        }

        #[test]
        fn the_digits_of_a_kill_are_its_id(id: u64, blanks in "[ \t\n]{1,3}") {
            let sql = format!("kill{blanks}query{blanks}{id}{blanks};");
            let Statement::Kill(kill) = inspect(sql.as_bytes()) else { panic!("no kill") };
            prop_assert_eq!(&sql[kill.digits.clone()], id.to_string());
            prop_assert_eq!(kill.id, id);
        }
    }
}
