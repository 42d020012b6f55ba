//! The expressions of a statement: which functions are called, which variables are named.
//!
//! It goes from token to token and keeps what stands before. A word behind a dot, or behind `@`, is
//! a name; any other may be a keyword, so it is taken for one.

use super::Class;
use super::bits::{Asks, Changes};
use super::functions::{self, Call};
use super::hints::Hints;
use super::key::{is_one_of, key};
use super::wishes::Variable;
use crate::sql::is;
use crate::sql::lexer::{Extent, Lexer, Modes, Shape, Token};

/// Statements within statements, as EXPLAIN and SET STATEMENT have them.
pub(super) const DEEPEST: u8 = 4;

/// What stands before a token. What more is to be known of it stands beside it in [`Scan`]: with
/// all of it in here, copying it took longer than the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    /// A word.
    Word,
    /// A name of several parts, or in quotes.
    Name,
    /// A dot in a name.
    Dot,
    /// `@`
    At,
    /// `@@`
    System {
        is_global: bool,
    },
    /// A variable, or anything else behind which a parenthesis is no call.
    Other,
}

const DELETE: u64 = key(b"delete");
const FOR: u64 = key(b"for");
const FROM: u64 = key(b"from");
const INSERT: u64 = key(b"insert");
const INTO: u64 = key(b"into");
const LOCK: u64 = key(b"lock");
const NEXT: u64 = key(b"next");
const PREVIOUS: u64 = key(b"previous");
const REPLACE: u64 = key(b"replace");
const SHARE: u64 = key(b"share");
const TABLE: u64 = key(b"table");
const UPDATE: u64 = key(b"update");
const VALUE: u64 = key(b"value");
const WITH: u64 = key(b"with");

/// Which clauses a query has that make it more than a read.
#[derive(Clone, Copy, Default)]
pub(super) struct Clauses {
    pub(super) is_locking: bool,
    pub(super) has_into: bool,
    /// UPDATE, DELETE, INSERT or REPLACE, not as a function or a clause.
    pub(super) writes: bool,
    pub(super) has_procedure: bool,
}

/// Who is told what a text calls: a name, or None where it has none that can be told.
pub(super) type Listener<'a> = &'a mut dyn FnMut(Option<&[u8]>);

/// A statement being read.
pub(super) struct Scan<'a> {
    pub(super) lexer: Lexer<'a>,
    last: Last,
    /// The last word, and its key.
    word: &'a [u8],
    key: u64,
    /// The key of the word before the last word, or before the name that is being read.
    before: u64,
    /// Where the last word, dot or `@` ends.
    end: usize,
    pub(super) clauses: Clauses,
    pub(super) changes: Changes,
    pub(super) asks: Asks,
    pub(super) hints: Hints<'a>,
    pub(super) name: Option<&'a [u8]>,
    /// What it is at least, whatever comes behind.
    pub(super) floor: Class,
    /// What stands behind its `;`.
    pub(super) following: Option<Lexer<'a>>,
    /// A `;` may stand in it.
    pub(super) may_have_body: bool,
    /// A variable is named that says where statements go.
    pub(super) names_wish: bool,
    /// How many statements stand around this one.
    pub(super) depth: u8,
    pub(super) listener: Option<Listener<'a>>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(sql: &'a [u8], extent: Extent, modes: Modes) -> Self {
        Self::of(Lexer::new(sql, extent, modes))
    }

    pub(super) fn of(lexer: Lexer<'a>) -> Self {
        Self {
            lexer,
            last: Last::Nothing,
            word: &[],
            key: 0,
            before: 0,
            end: 0,
            clauses: Clauses::default(),
            changes: Changes::default(),
            asks: Asks::default(),
            hints: Hints::default(),
            name: None,
            floor: Class::Unknown,
            following: None,
            may_have_body: false,
            names_wish: false,
            depth: 0,
            listener: None,
        }
    }

    /// The next token. None where one is not sure, or where a `;` may not end the statement.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        self.next_inline()
    }

    /// The same, for the loops in which statements are read: see [`Lexer::token`].
    #[inline(always)]
    pub(super) fn next_inline(&mut self) -> Option<Token<'a>> {
        let mut shape = self.lexer.next_shape()?;
        let is_usual = !matches!(shape, Shape::Comment | Shape::Symbol(b';'));
        if !is_usual || self.lexer.is_optional() {
            shape = self.next_that_counts(shape)?;
        }
        Some(self.lexer.token(shape))
    }

    /// The next token that is no comment and in none, be it this one.
    #[cold]
    fn next_that_counts(&mut self, mut shape: Shape) -> Option<Shape> {
        loop {
            match self.lexer.token(shape) {
                Token::Comment(comment) => self.hints.read(comment),
                Token::Symbol(b';') => return self.end_of_statement(),
                Token::Word(word) if self.lexer.is_optional() && is_harmless(word) => {}
                _ if self.lexer.is_optional() => return None,
                _ => return Some(shape),
            }
            shape = self.lexer.next_shape()?;
        }
    }

    /// Behind `;`.
    fn end_of_statement(&mut self) -> Option<Shape> {
        let mut ahead = self.lexer;
        loop {
            match ahead.next_token()? {
                Token::Comment(comment) => self.hints.read(comment),
                Token::End => {
                    self.lexer = ahead;
                    return Some(Shape::End);
                }
                _ => break,
            }
        }
        self.following = Some(self.lexer.end_here());
        (!self.may_have_body).then_some(Shape::End)
    }

    /// The next token, which is a word.
    pub(super) fn next_word(&mut self) -> Option<&'a [u8]> {
        match self.next()? {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    /// It begins like one of this class. What stands in another statement tells nothing of that.
    pub(super) fn begins_as(&mut self, class: Class) {
        if self.depth == 0 {
            self.floor = class;
        }
    }

    /// Nothing may come any more.
    pub(super) fn expect_end(&mut self) -> Option<()> {
        (self.next()? == Token::End).then_some(())
    }

    /// What follows is looked through to the end.
    pub(super) fn rest(&mut self) -> Option<()> {
        self.forget();
        self.tail()
    }

    /// The same, where what stands before may belong to it.
    pub(super) fn tail(&mut self) -> Option<()> {
        loop {
            let token = self.next_inline()?;
            if token == Token::End {
                return Some(());
            }
            self.see(token);
        }
    }

    /// What follows goes on behind a comma, and is looked through to the end.
    pub(super) fn go_on(&mut self) -> Option<()> {
        self.last = Last::Other;
        self.tail()
    }

    /// What comes next has nothing to do with what stands before.
    pub(super) fn forget(&mut self) {
        self.last = Last::Nothing;
    }

    /// Looks at a token of an expression or a clause.
    #[inline(always)]
    pub(super) fn see(&mut self, token: Token<'a>) {
        self.last = match token {
            Token::Word(word) => self.see_word(word),
            Token::Text((start, end)) => self.see_text(start, end),
            Token::Symbol(symbol) => self.see_symbol(symbol),
            Token::Number(_) | Token::Parameter | Token::Comment(_) | Token::End => Last::Other,
        };
    }

    #[inline(always)]
    fn see_word(&mut self, word: &'a [u8]) -> Last {
        let (start, end) = (self.lexer.start(), self.lexer.words.at);
        let before = match self.last {
            Last::At if self.end == start => {
                self.see_user_variables_name(word);
                return Last::Other;
            }
            Last::System { is_global } => return self.see_system_variable(word, is_global),
            Last::Dot => {
                self.see_part(word);
                // Behind a dot and a blank it may be a keyword after all.
                if self.end != start {
                    self.see_keyword(word, key(word), self.before);
                }
                return Last::Name;
            }
            Last::Word => context(self.word, self.key),
            Last::At | Last::Nothing | Last::Name | Last::Other => 0,
        };
        let key = key(word);
        self.see_keyword(word, key, before);
        (self.word, self.key, self.before, self.end) = (word, key, before, end);
        Last::Word
    }

    /// A word that may be a keyword.
    #[inline]
    fn see_keyword(&mut self, word: &[u8], key: u64, before: u64) {
        match key {
            0 => self.see_long_keyword(word),
            FROM if self.is_dual_next() => {}
            FROM | TABLE => self.asks |= Asks::TABLES,
            INTO => self.clauses.has_into = true,
            LOCK => self.clauses.is_locking = true,
            SHARE => self.clauses.is_locking |= before == FOR,
            UPDATE if before == FOR => self.clauses.is_locking = true,
            UPDATE | DELETE => self.clauses.writes = true,
            INSERT | REPLACE => self.clauses.writes |= self.lexer.next_byte() != Some(b'('),
            VALUE if before == NEXT || before == PREVIOUS => {
                self.changes |= Changes::SEQUENCE;
                self.asks |= Asks::SEQUENCE;
            }
            _ => {}
        }
    }

    /// Whether what follows is MySQL's table that is none.
    #[inline]
    fn is_dual_next(&self) -> bool {
        let words = &self.lexer.words;
        let mut ahead = words.sql[words.at..].iter().skip_while(|byte| byte.is_ascii_whitespace());
        matches!(ahead.next(), Some(b'd' | b'D')) && {
            let mut ahead = self.lexer;
            matches!(ahead.next_token(), Some(Token::Word(word)) if is(word, b"dual"))
        }
    }

    fn see_long_keyword(&mut self, word: &[u8]) {
        self.clauses.has_procedure |= is(word, b"procedure");
    }

    /// A part of a name, behind a dot.
    fn see_part(&mut self, word: &'a [u8]) {
        self.word = word;
        if is_one_of!(key(word), b"nextval" | b"currval") {
            self.changes |= Changes::SEQUENCE;
            self.asks |= Asks::SEQUENCE;
        }
    }

    /// Behind `@@`: a scope or a name.
    fn see_system_variable(&mut self, word: &'a [u8], is_global: bool) -> Last {
        let is_scope = self.lexer.next_byte() == Some(b'.');
        if is_scope && is_one_of!(key(word), b"session" | b"local") {
            return Last::System { is_global: false };
        }
        if is_scope {
            // The global value, or a part of a variable with several.
            self.asks |= Asks::SERVER;
            return Last::System { is_global: true };
        }
        self.asks |= match is_global {
            true => Asks::SERVER,
            false => asked_by(word),
        };
        Last::Other
    }

    fn see_text(&mut self, start: usize, end: usize) -> Last {
        let sql = self.lexer.words.sql;
        let is_name = sql[end] != b'\'';
        match self.last {
            Last::At => {
                self.see_user_variables_name(&sql[start..end]);
                Last::Other
            }
            // A variable's name in quotes.
            Last::System { .. } => {
                self.asks |= Asks::SERVER;
                Last::Other
            }
            Last::Dot => {
                self.see_part(&sql[start..end]);
                Last::Name
            }
            _ if !is_name => Last::Other,
            last => {
                if is_system_schema(&sql[start..end]) {
                    self.asks |= Asks::SERVER;
                }
                let is_behind = last == Last::Word;
                self.before = if is_behind { context(self.word, self.key) } else { 0 };
                self.word = &sql[start..end];
                Last::Name
            }
        }
    }

    fn see_symbol(&mut self, symbol: u8) -> Last {
        let end = self.lexer.words.at;
        match symbol {
            b'(' => self.see_open(),
            b'.' => self.see_dot(end),
            b'@' if self.last == Last::At && self.end + 1 == end => {
                Last::System { is_global: false }
            }
            b'@' => {
                self.see_user_variable();
                self.end = end;
                Last::At
            }
            b':' => {
                match self.lexer.next_byte() {
                    Some(b'=') => self.changes |= Changes::USER_VARIABLES,
                    _ => self.call_anything(),
                }
                Last::Other
            }
            _ => Last::Other,
        }
    }

    pub(super) fn see_user_variables_name(&mut self, name: &[u8]) {
        self.names_wish |= Variable::named(name).is_some();
    }

    fn see_user_variable(&mut self) {
        // The other half of `@@` is still to come.
        if self.lexer.next_byte() == Some(b'@') {
            return;
        }
        self.asks |= Asks::USER_VARIABLES;
        if self.last == Last::Word && self.key == INTO {
            self.changes |= Changes::USER_VARIABLES;
        }
    }

    fn see_dot(&mut self, end: usize) -> Last {
        match self.last {
            Last::Word if is_system_schema(self.word) => self.asks |= Asks::SERVER,
            Last::Word | Last::Name => {}
            // It goes on behind its scope.
            Last::System { .. } => return self.last,
            Last::Nothing | Last::Dot | Last::At | Last::Other => self.before = 0,
        }
        self.end = end;
        Last::Dot
    }

    /// An opening parenthesis: behind a name it is a call, unless what stands before tells of
    /// something else.
    fn see_open(&mut self) -> Last {
        let is_definition = is_one_of!(self.before, b"as" | b"table" | b"into" | b"with")
            || is_one_of!(self.before, b"insert" | b"replace" | b"ignore");
        match self.last {
            Last::Word | Last::Name if is_definition => {}
            Last::Word => self.see_call(self.word, self.end + 1 == self.lexer.words.at),
            // Names of functions that are no stored ones may stand there like this, too.
            Last::Name => {
                let is_stored = matches!(functions::call(self.word), Call::Unknown);
                self.call_routine(Some(self.word).filter(|_| is_stored));
            }
            // `@@x (` or `a.(`: no server knows it.
            Last::System { .. } | Last::Dot => self.call_anything(),
            Last::Nothing | Last::At | Last::Other => {}
        }
        Last::Other
    }

    fn see_call(&mut self, name: &[u8], is_adjacent: bool) {
        let has_arguments = self.lexer.next_byte() != Some(b')');
        match functions::call(name) {
            Call::Pure => {}
            Call::PureIfAdjacent if is_adjacent => {}
            Call::Asks(asks) => self.asks |= asks,
            Call::Changes(changes) => self.changes |= changes,
            Call::LastInsertId => {
                self.asks |= Asks::LAST_INSERT_ID;
                if has_arguments {
                    self.changes |= Changes::LAST_INSERT_ID;
                }
            }
            Call::ReleaseAllLocks => {
                self.asks |= Asks::SERVER;
                if self.is_only_call(name) {
                    self.changes |= Changes::USER_LOCKS_RELEASED;
                }
            }
            Call::Random if has_arguments => {}
            Call::Random => self.asks |= Asks::RANDOM,
            Call::PureIfAdjacent | Call::Unknown => self.call_routine(Some(name)),
        }
    }

    /// Whether all of the text is one SELECT or DO of this function, which surely calls it.
    fn is_only_call(&self, name: &[u8]) -> bool {
        let mut lexer = self.lexer.anew();
        let mut next = || loop {
            match lexer.next_token() {
                Some(Token::Comment(_)) => {}
                token => break token.filter(|_| lexer.comment() == 0),
            }
        };
        let is_verb = |word: &[u8]| is(word, b"select") || is(word, b"do");
        let is_call = matches!(next(), Some(Token::Word(verb)) if is_verb(verb))
            && next() == Some(Token::Word(name))
            && next() == Some(Token::Symbol(b'('))
            && next() == Some(Token::Symbol(b')'));
        let behind = is_call.then(&mut next).flatten();
        behind == Some(Token::End)
            || behind == Some(Token::Symbol(b';')) && next() == Some(Token::End)
    }

    /// A stored routine of this name, of whatever schema; None: of any name.
    pub(super) fn call_routine(&mut self, name: Option<&[u8]>) {
        self.changes |= Changes::CALLED;
        self.asks |= Asks::ANYTHING;
        if let Some(listener) = &mut self.listener {
            listener(name);
        }
    }

    pub(super) fn call_anything(&mut self) {
        self.changes |= Changes::ANYTHING;
        self.asks |= Asks::ANYTHING;
    }
}

/// The key of a word as what stands before a name. RECURSIVE is there for WITH.
#[inline]
fn context(word: &[u8], key: u64) -> u64 {
    if key == 0 && is(word, b"recursive") { WITH } else { key }
}

/// Databases in which each server keeps what is its own.
fn is_system_schema(name: &[u8]) -> bool {
    is_one_of!(key(name), b"mysql" | b"sys")
        || [&b"information_schema"[..], b"performance_schema", b"oceanbase"]
            .iter()
            .any(|known| is(name, known))
}

/// Words with which it makes no difference to a session whether they are there.
fn is_harmless(word: &[u8]) -> bool {
    is_one_of!(key(word), b"ignore")
        || [&b"sql_no_cache"[..], b"sql_cache", b"straight_join", b"high_priority"]
            .iter()
            .any(|known| is(word, known))
}

/// What `@@name` asks: only of these is it known that it is the session's own, and that it may
/// be the same on another server.
fn asked_by(variable: &[u8]) -> Asks {
    const DIAGNOSTICS: [&[u8]; 2] = [b"warning_count", b"error_count"];
    const LAST_INSERT_ID: [&[u8]; 2] = [b"last_insert_id", b"identity"];
    const SESSION: &[&[u8]] = &[
        b"auto_increment_increment",
        b"auto_increment_offset",
        b"autocommit",
        b"character_set_client",
        b"character_set_connection",
        b"character_set_results",
        b"collation_connection",
        b"completion_type",
        b"div_precision_increment",
        b"foreign_key_checks",
        b"group_concat_max_len",
        b"interactive_timeout",
        b"lc_messages",
        b"lc_time_names",
        b"lock_wait_timeout",
        b"max_join_size",
        b"net_read_timeout",
        b"net_write_timeout",
        b"sql_auto_is_null",
        b"sql_big_selects",
        b"sql_mode",
        b"sql_notes",
        b"sql_safe_updates",
        b"sql_select_limit",
        b"sql_warnings",
        b"time_zone",
        b"transaction_isolation",
        b"transaction_read_only",
        b"tx_isolation",
        b"tx_read_only",
        b"unique_checks",
        b"wait_timeout",
    ];
    let is_in = |names: &[&[u8]]| names.iter().any(|name| is(variable, name));
    match () {
        () if is_in(&DIAGNOSTICS) => Asks::DIAGNOSTICS.with(Asks::WARNINGS),
        () if is_in(&LAST_INSERT_ID) => Asks::LAST_INSERT_ID,
        () if is_in(SESSION) => Asks::VARIABLES,
        () => Asks::SERVER,
    }
}
