//! The statements of a text, one after the other.

use super::Class;
use super::bits::{Asks, Changes};
use super::scan::{Clauses, Scan};
use crate::sql::is;
use crate::sql::lexer::{Extent, Lexer, Modes, Token};

/// What is told of a text with one statement only: which of several it was is not told, or which
/// came last.
const OF_ONE: Changes = Changes::ANYTHING
    .with(Changes::SCHEMA)
    .with(Changes::STATEMENTS)
    .with(Changes::EXECUTED)
    .with(Changes::HANDLER_OPENED)
    .with(Changes::HANDLER_CLOSED)
    .with(Changes::XA)
    .with(Changes::XA_ENDED)
    .with(Changes::IDENTITY);

/// Tells the names of the stored routines that a text calls, of which
/// [`Changes::CALLED`] is said; None of one whose name does not stand there plainly.
pub fn calls(sql: &[u8], modes: Modes, mut listener: impl FnMut(Option<&[u8]>)) {
    let mut scan = Scan::new(sql, Extent::Whole, modes);
    scan.listener = Some(&mut listener);
    scan.text();
}

/// The statements of a text, which its `;` are between. Of one that can be read in several ways, or
/// has a program in it, all is one.
pub fn statements(sql: &[u8]) -> Vec<&[u8]> {
    let mut lexer = Lexer::new(sql, Extent::Whole, Modes::USUAL);
    let (mut found, mut from) = (Vec::new(), 0);
    loop {
        match lexer.next_token() {
            Some(Token::Symbol(b';')) => {
                found.push(&sql[from..lexer.start()]);
                from = lexer.words.at;
            }
            // BEGIN … END, and whatever else has statements in it.
            Some(Token::Word(word)) if is(word, b"end") => return vec![sql],
            Some(Token::End) => break,
            Some(_) => {}
            None => return vec![sql],
        }
    }
    found.push(&sql[from..]);
    found.retain(|statement| !statement.trim_ascii().is_empty());
    found
}

impl Scan<'_> {
    /// Reads all of the text.
    pub(super) fn text(&mut self) -> Class {
        let first = self.statement();
        let is_one = self.following.is_none();
        match first {
            Some(class) if is_one => return class,
            None if is_one => {}
            Some(_) if self.others().is_some() => return Class::Multi,
            _ => self.name = None,
        }
        self.changes |= Changes::ANYTHING;
        self.asks |= Asks::ANYTHING;
        match self.floor {
            // The body of a stored program, or a statement behind the definition.
            floor @ (Class::Ddl | Class::Compound) if first.is_none() => floor,
            floor if is_one => floor,
            _ => Class::Multi,
        }
    }

    /// Reads the statements behind the first one. None where one is not understood, or does what is
    /// told of one alone.
    fn others(&mut self) -> Option<()> {
        let (mut changes, mut asks) = (Changes::SEVERAL, Asks::ANYTHING);
        loop {
            changes |= self.changes;
            asks |= self.asks;
            let Some(following) = self.following.take() else { break };
            // Those behind it may be read in another way.
            (!changes.intersects(OF_ONE.with(Changes::LEXING))).then_some(())?;
            self.lexer = following;
            (self.changes, self.asks) = (Changes::default(), Asks::default());
            (self.clauses, self.may_have_body) = (Clauses::default(), false);
            (self.floor, self.name) = (Class::Unknown, None);
            self.forget();
            self.statement()?;
        }
        if asks.intersects(Asks::USER_VARIABLES) {
            // A write that asks for one makes it.
            changes |= Changes::USER_VARIABLES;
        }
        if changes.intersects(Changes::VARIABLES) {
            // One may be of how transactions are.
            changes |= Changes::TRANSACTION;
        }
        (self.changes, self.asks, self.name) = (changes, asks, None);
        let is_plain = !self.names_wish && !self.hints.explain_route;
        (is_plain && !changes.intersects(OF_ONE)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::analysis::analyse;

    #[test]
    fn routines_are_told_by_name() {
        for (sql, expected) in [
            ("SELECT 1, COUNT(*), IF(a, 1, 2) FROM t WHERE b IN (1)", ""),
            ("SELECT f(1), db . G(2), `h i`(f(3))", "f G h_i f"),
            ("SELECT count (*), `abs`(1), db.now()", "count ? ?"),
            ("CALL p", "p"),
            ("CALL `d`.`p`(f(@x), ABS(1), (2))", "p f"),
            ("CALL `a``b`()", "?"),
            ("CALL p(); SELECT f(1); INSERT INTO t (a) VALUES (g(1))", "p f g"),
            ("/*!40101 CALL */ p(1)", "p"),
            ("DO f()", "f"),
        ] {
            let mut names = Vec::new();
            calls(sql.as_bytes(), Modes::USUAL, |name| {
                let name =
                    name.map_or("?".into(), |name| String::from_utf8_lossy(name).into_owned());
                names.push(name.replace(' ', "_"));
            });
            assert_eq!(names.join(" "), expected, "{sql}");
            let is_called = analyse(sql.as_bytes(), Extent::Whole, Modes::USUAL)
                .changes
                .intersects(Changes::CALLED);
            assert_eq!(is_called, !names.is_empty(), "{sql}");
        }
    }

    #[test]
    fn statements_end_at_what_stands_between_them() {
        for (sql, expected) in [
            ("", &[][..]),
            ("SET @a = 1", &["SET @a = 1"]),
            ("SET @a = ';' /* ; */; SET @b = 2 ;; ", &["SET @a = ';' /* ; */", " SET @b = 2 "]),
            ("SET @a = 'open; SET @b = 2", &["SET @a = 'open; SET @b = 2"]),
            ("BEGIN NOT ATOMIC SET @a = 1; END", &["BEGIN NOT ATOMIC SET @a = 1; END"]),
        ] {
            let found: Vec<_> = statements(sql.as_bytes())
                .into_iter()
                .map(|statement| String::from_utf8_lossy(statement).into_owned())
                .collect();
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn of_several_that_depend_on_each_other_nothing_is_told() {
        for (sql, is_told) in [
            ("SET @a = 1; SET time_zone = 'UTC'; SELECT @a", true),
            ("SELECT 1; SET NAMES latin1", true),
            ("SET sql_mode = 'ANSI_QUOTES'; SELECT \"a\"", false),
            ("USE a; SELECT 1", false),
            ("SELECT 1; USE a", false),
            ("PREPARE s FROM 'SELECT 1'; EXECUTE s", false),
            ("HANDLER t OPEN; HANDLER t READ FIRST", false),
            ("SELECT 1; XA START 'a'", false),
            ("SELECT 1; SET @obproxy_route_addr = 'a:1'", false),
            ("EXPLAIN ROUTE SELECT 1; SELECT 2", false),
            ("BEGIN; INSERT INTO t VALUES (1); COMMIT", true),
            ("BEGIN SELECT 1; END", false),
            ("CREATE TABLE t (n INT); DROP TABLE t", true),
            ("CREATE TRIGGER t BEFORE INSERT ON u FOR EACH ROW SET @x = 1; SELECT 1", false),
            ("IF 1 THEN SELECT 1; END IF", false),
            ("SELECT 1; SELECT 'open", false),
        ] {
            let analysis = analyse(sql.as_bytes(), Extent::Whole, Modes::USUAL);
            let is_anything = analysis.changes.intersects(Changes::ANYTHING);
            assert_eq!(!is_anything, is_told, "{sql}: {analysis:?}");
            assert_eq!(analysis.name, None, "{sql}");
        }
    }
}
