//! A text that is read while it passes by: of no length that anybody has to hold.
//!
//! What stands between quotes and in comments is left out, and of the rest a window is kept: it is
//! read up to a comma, behind which nothing matters of what stood before. So that is told of lists,
//! as of rows and of what is looked for; of a text in which no comma comes for long nothing is.
//!
//! Invariant: what is told at the end is what [`analyse`](super::analyse) tells of all of it.

use memchr::{memchr, memchr2};

use super::key::{is_one_of, key};
use super::scan::Scan;
use super::{Asks, Changes, Class};
use crate::sql::lexer::{Charset, Extent, Known, Modes, Words};

/// A window is read at the first comma behind this.
const USUAL: usize = 512;

/// The longest window.
const MOST: usize = 1024;

/// So much is kept of what may be a name in quotes: those that mean something are shorter.
const NAME: usize = 64;

/// See above.
#[derive(Clone, Debug)]
pub struct Long {
    class: Class,
    modes: Modes,
    usual: usize,
    state: State,
    /// The byte that came last.
    last: u8,
    /// What was not read yet.
    window: Vec<u8>,
    /// Where in it the name in quotes begins that is being kept.
    name: usize,
    /// A window was read.
    is_begun: bool,
    asks: Asks,
    changes: Changes,
}

/// Where the text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    /// Behind `/`.
    Slash,
    /// Behind `-`.
    Dash,
    /// Behind `--`.
    Dashes,
    /// Between two of these quotes.
    Quoted(u8),
    /// There, behind a backslash.
    Escaped(u8),
    /// Behind the second one, if it does not stand for itself.
    Closed(u8),
    /// In a comment up to the end of its line.
    Line,
    /// Behind `/*`.
    Opened,
    /// In a comment.
    Comment,
    /// There, behind `*`.
    Star,
    /// It is not known what it is.
    Lost,
}

impl Long {
    /// A text that begins like this; None if no more can be told of such.
    pub fn new(class: Class, modes: Modes) -> Option<Self> {
        match class {
            Class::Write | Class::Select => Some(Self::with(class, modes, USUAL)),
            // What stands behind a comma is set, too: it is read as a whole, without its literals.
            Class::Set => Some(Self::with(class, modes, usize::MAX)),
            _ => None,
        }
    }

    fn with(class: Class, modes: Modes, usual: usize) -> Self {
        let (asks, changes) = (Asks::default(), Changes::default());
        let (state, window) = (State::Plain, Vec::new());
        Self {
            class,
            modes,
            usual,
            state,
            last: 0,
            window,
            name: 0,
            is_begun: false,
            asks,
            changes,
        }
    }

    /// More of it, from the beginning on.
    pub fn handle(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.window.len() > MOST {
                self.state = State::Lost;
            }
            let skipped = match self.state {
                State::Lost => return,
                State::Plain => self.plain(bytes),
                State::Quoted(quote) => self.quoted(bytes, quote),
                State::Line => memchr(b'\n', bytes).unwrap_or(bytes.len()),
                State::Comment => memchr(b'*', bytes).unwrap_or(bytes.len()),
                _ => 0,
            };
            if skipped > 0 {
                self.last = bytes[skipped - 1];
                bytes = &bytes[skipped..];
                continue;
            }
            self.state = self.step(byte);
            self.last = byte;
            bytes = rest;
        }
    }

    /// It is over: its class, what it asks and what it changes; None: anything.
    pub fn end(mut self) -> Option<(Class, Asks, Changes)> {
        match self.state {
            State::Plain | State::Line | State::Dashes => {}
            State::Slash => self.window.push(b'/'),
            State::Dash => self.window.push(b'-'),
            State::Closed(quote) => self.window.push(quote),
            State::Quoted(_) | State::Escaped(_) | State::Lost => return None,
            State::Opened | State::Comment | State::Star => return None,
        }
        self.read()?;
        Some((self.class, self.asks, self.changes))
    }

    /// Keeps what stands there up to what may begin something else; how much that is.
    fn plain(&mut self, bytes: &[u8]) -> usize {
        let length = bytes.iter().position(|byte| is_special(*byte)).unwrap_or(bytes.len());
        // What is more is lost at the next step.
        let room = (MOST + 1).saturating_sub(self.window.len());
        self.window.extend_from_slice(&bytes[..length.min(room)]);
        length
    }

    /// Skips what stands between quotes, up to what may end it; how much that is.
    fn quoted(&mut self, bytes: &[u8], quote: u8) -> usize {
        let end = match self.modes.escapes(quote) {
            Known::No => memchr(quote, bytes),
            Known::Yes | Known::Unknown => memchr2(quote, b'\\', bytes),
        };
        let length = end.unwrap_or(bytes.len());
        if quote != b'\'' {
            let room = NAME.saturating_sub(self.window.len() - self.name);
            self.window.extend_from_slice(&bytes[..length.min(room)]);
        }
        length
    }

    /// What a byte makes of it that may begin or end something.
    fn step(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            (State::Plain, b'\'' | b'"' | b'`') => return self.open(byte),
            (State::Plain, b'/') => return State::Slash,
            (State::Plain, b'-') => return State::Dash,
            (State::Plain, b'#') => self.window.push(b' '),
            (State::Plain, _) => return self.comma(),
            (State::Slash, b'*') => return State::Opened,
            (State::Slash, _) => return self.behind(b'/', State::Plain, byte),
            (State::Dash, b'-') => return State::Dashes,
            (State::Dash, _) => return self.behind(b'-', State::Plain, byte),
            (State::Dashes, b'\n') => self.window.push(b' '),
            (State::Dashes, _) if byte == b' ' || byte.is_ascii_control() => self.window.push(b' '),
            // What is left out behind them would make a comment of them.
            (State::Dashes, _) if !byte.is_ascii() || is_special(byte) => return State::Lost,
            (State::Dashes, _) => return self.behind(b'-', State::Dash, byte),
            (State::Quoted(quote), _) => return self.close(quote, byte),
            (State::Escaped(quote), _) => {
                let is_sure = byte != quote || self.modes.escapes(quote) == Known::Yes;
                return if is_sure { State::Quoted(quote) } else { State::Lost };
            }
            (State::Closed(quote), _) if byte == quote => return State::Quoted(quote),
            (State::Closed(quote), _) => return self.behind(quote, State::Plain, byte),
            (State::Line, _) => return State::Plain,
            // Executable for some, or a hint.
            (State::Opened, b'!' | b'M' | b'+') => return State::Lost,
            (State::Opened | State::Comment | State::Star, b'*') => return State::Star,
            (State::Star, b'/') => {
                self.window.push(b' ');
                return State::Plain;
            }
            (State::Opened | State::Comment | State::Star, _) => return State::Comment,
            (State::Lost, _) => return State::Lost,
        }
        if byte == b'\n' { State::Plain } else { State::Line }
    }

    /// This stood there and begins nothing; what the byte behind it makes of it.
    fn behind(&mut self, symbol: u8, state: State, byte: u8) -> State {
        self.window.push(symbol);
        self.state = state;
        if is_special(byte) || state != State::Plain {
            return self.step(byte);
        }
        self.window.push(byte);
        State::Plain
    }

    fn open(&mut self, quote: u8) -> State {
        // It is a variable's name, or part of one, which matters.
        match self.window.trim_ascii_end().last() {
            Some(b'@') => return State::Lost,
            Some(b'.') if quote == b'\'' => return State::Lost,
            _ => {}
        }
        self.window.push(quote);
        self.name = self.window.len();
        State::Quoted(quote)
    }

    /// At a quote like the first one, or at a backslash.
    fn close(&self, quote: u8, byte: u8) -> State {
        // It may be the second half of a character.
        let is_half = byte == b'\\' || quote == b'`';
        match byte == b'\\' {
            _ if is_half && self.modes.charset == Charset::Other && !self.last.is_ascii() => {
                State::Lost
            }
            true => State::Escaped(quote),
            false => State::Closed(quote),
        }
    }

    fn comma(&mut self) -> State {
        self.window.push(b',');
        let is_read = self.window.len() < self.usual || self.read().is_some();
        if is_read { State::Plain } else { State::Lost }
    }

    /// Whether a text of this class is one of those that this is about.
    fn is_like(&self, class: Class, floor: Class) -> bool {
        match self.class {
            Class::Set => class == Class::Set,
            begun => floor == begun,
        }
    }

    /// Reads the window, up to its end.
    fn read(&mut self) -> Option<()> {
        let mut scan = Scan::new(&self.window, Extent::Whole, self.modes);
        match self.is_begun {
            true => scan.go_on()?,
            false => {
                let first = Words { sql: &self.window, at: 0 }.next_word();
                // What its variables are for stands where it is not looked for.
                let is_load = first.is_some_and(|word| is_one_of!(key(word), b"load"));
                let is_known =
                    scan.statement().is_some_and(|class| self.is_like(class, scan.floor))
                        && !is_load;
                is_known.then_some(())?;
            }
        }
        let clauses = scan.clauses;
        let is_other = clauses.has_procedure || clauses.writes && self.class == Class::Select;
        let is_sure = !scan.changes.intersects(Changes::ANYTHING.with(Changes::CALLED))
            && !scan.names_wish
            && !is_other
            && scan.following.is_none();
        self.asks |= scan.asks;
        self.changes |= scan.changes;
        self.is_begun = true;
        self.window.clear();
        is_sure.then_some(())
    }
}

/// Whether something begins or ends there that is told apart.
fn is_special(byte: u8) -> bool {
    matches!(byte, b'\'' | b'"' | b'`' | b'/' | b'-' | b'#' | b',')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sql::analysis::analyse;
    use crate::sql::analysis::tests::modes;

    type Told = Option<(Class, Asks, Changes)>;

    /// What is told of a text in pieces of this length, with windows of this one.
    fn told(sql: &[u8], modes: Modes, piece: usize, usual: usize) -> Told {
        let class = match analyse(sql, Extent::Whole, modes).class {
            Class::Read | Class::LockingRead => Class::Select,
            class => class,
        };
        let mut long = Long::new(class, modes)?;
        long.usual = usual;
        sql.chunks(piece).for_each(|piece| long.handle(piece));
        long.end()
    }

    #[test]
    fn lists_are_read_to_their_end() {
        let of = |head: &str, row: &str, tail: &str| {
            let sql = [head, &[row; 500].join(","), tail].concat();
            told(sql.as_bytes(), Modes::USUAL, 1000, USUAL)
        };
        let written = Changes::DIAGNOSTICS | Changes::TRIGGERS;
        let inserted = written | Changes::LAST_INSERT_ID;
        let text = "x, y;".repeat(1000);
        for (head, row, tail, changes) in [
            ("INSERT INTO t VALUES ", "(1, 'a''b', NOW(), \"c\", -0.5e3)", "", Some(inserted)),
            ("INSERT INTO t (a) VALUES ", "('o\\'brien @x :=')", ";", Some(inserted)),
            ("SET @a = 'x", "y", "', @b = 1", Some(Changes::DIAGNOSTICS | Changes::USER_VARIABLES)),
            ("SET @a = 'x", "y", "', @@time_zone = 'UTC', @b = f(1)", None),
            ("SET @a = 'x", "y", "'; SET @b = 1", None),
            ("SET @obproxy_route_addr = 'x", "y", "'", None),
            ("REPLACE t VALUES ", &format!("('{text}')"), " -- end", Some(inserted)),
            ("INSERT INTO t VALUES ", "(1) /* a, b */", " # end", Some(inserted)),
            ("DELETE FROM t WHERE a IN (", "7", ")", Some(written)),
            ("UPDATE t SET a = 1 WHERE b IN (", "0x1F", ") LIMIT 9", Some(written)),
            ("SELECT a FROM t WHERE a IN (", "7", ")", Some(Changes::DIAGNOSTICS)),
            ("SELECT a FROM t WHERE a IN (", "7", ") FOR UPDATE", Some(Changes::DIAGNOSTICS)),
            (
                "SELECT a FROM t WHERE a IN (",
                "7",
                ") INTO @x",
                Some(Changes::DIAGNOSTICS | Changes::USER_VARIABLES),
            ),
            ("INSERT INTO t VALUES ", "(@x := 1)", "", Some(inserted | Changes::USER_VARIABLES)),
            (
                "INSERT INTO t VALUES ",
                "(GET_LOCK('a', 1))",
                "",
                Some(inserted.with(Changes::USER_LOCK_TAKEN)),
            ),
            ("INSERT INTO t VALUES ", "(1)", "; SELECT 1", None),
            ("INSERT INTO t VALUES ", "(f(1))", "", None),
            ("INSERT INTO t VALUES ", "(1)", ", ('open", None),
            ("INSERT INTO t VALUES ", "(1)", ", (@'x' := 1)", None),
            ("INSERT INTO t VALUES ", "(1)", " /*! , f(1) */", None),
            ("INSERT INTO t VALUES ", "(1)", ", (@obproxy_route_addr := 1)", None),
            ("SELECT a FROM t WHERE a IN (", "7", ") PROCEDURE x", None),
            ("SELECT ", "a + a", &" + a".repeat(MOST), None),
            ("LOAD DATA INFILE 'x' INTO TABLE t (", "a", ", @x)", None),
            ("SET ", "@a = 1", "", None),
        ] {
            let told = of(head, row, tail).map(|(_, _, changes)| changes);
            assert_eq!(told, changes, "{head}{row}, …{tail}");
        }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        const HEADS: &[&str] = &["INSERT INTO t VALUES (", "SELECT ", "DELETE FROM t WHERE a IN ("];
        const PIECES: &[&str] = &[
            "1",
            ",",
            ",",
            ",",
            "(",
            ")",
            " ",
            "'",
            "'",
            "\"",
            "`",
            "\\",
            "@",
            ":=",
            "-",
            "--",
            "/",
            "/*",
            "*/",
            "*",
            "#",
            "\n",
            ";",
            "x",
            "é",
            "\u{A0}",
            "nextval",
            ".",
            "INTO",
            "f",
            "COUNT",
            "now()",
            "FOR",
            "UPDATE",
            "!",
            "M",
            "+",
            "$",
            "obproxy_route_addr",
            "mysql",
        ];
        let pieces = proptest::collection::vec(0..PIECES.len(), 0..60);
        (0..HEADS.len(), pieces).prop_map(|(head, pieces)| {
            let pieces: String = pieces.into_iter().map(|at| PIECES[at]).collect();
            [HEADS[head], &pieces].concat().into_bytes()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn what_is_told_is_what_all_of_it_tells(
            sql in text(),
            modes in modes(),
            piece in 1..80_usize,
            usual in 1..40_usize,
        ) {
            let whole = analyse(&sql, Extent::Whole, modes);
            let long = told(&sql, modes, piece, usual);
            prop_assert_eq!(&long, &told(&sql, modes, 1, usual), "in whatever pieces");
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" (,)".contains(byte);
            if let Some((_, asks, changes)) = long {
                prop_assert_eq!(changes, whole.changes, "{}", sql.escape_ascii());
                prop_assert_eq!(asks, whole.asks, "{}", sql.escape_ascii());
            } else if sql.iter().all(is_plain) {
                let is_told = whole.changes.intersects(Changes::ANYTHING | Changes::CALLED);
                prop_assert!(is_told, "{}", sql.escape_ascii());
            }
        }
    }
}
