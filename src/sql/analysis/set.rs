//! SET: a list of what is set, and the statements that begin with the same word.

use super::Class;
use super::bits::Changes;
use super::key::{is_one_of, key};
use super::scan::{Clauses, DEEPEST, Scan};
use crate::sql::is;
use crate::sql::lexer::Token;

impl<'a> Scan<'a> {
    /// Behind SET.
    pub(super) fn set(&mut self) -> Option<Class> {
        let mut token = self.next()?;
        if let Token::Word(word) = token
            && is(word, b"statement")
        {
            return self.set_statement();
        }
        self.begins_as(Class::Set);
        if let Token::Word(word) = token {
            if is_one_of!(key(word), b"role") {
                return self.other(Class::Set, Changes::ROLE);
            }
            if is_one_of!(key(word), b"default" | b"password") {
                self.rest()?;
                self.changes |= Changes::TRANSACTION;
                return Some(Class::Ddl);
            }
        }
        loop {
            let end = self.set_one(token)?;
            if end == Token::End {
                return Some(Class::Set);
            }
            token = self.next()?;
        }
    }

    /// One of the list, and the comma or the end behind it.
    fn set_one(&mut self, token: Token<'a>) -> Option<Token<'a>> {
        match token {
            Token::Symbol(b'@') => match self.next()? {
                Token::Symbol(b'@') => {
                    let word = self.next_word()?;
                    self.set_variable(word, Scope::Open)?;
                }
                name => {
                    self.changes |= Changes::USER_VARIABLES;
                    match name {
                        Token::Word(name) => self.see_user_variables_name(name),
                        Token::Text((start, end)) => {
                            self.see_user_variables_name(&self.lexer.words.sql[start..end]);
                        }
                        _ => {}
                    }
                    self.assignment()?;
                }
            },
            Token::Word(word) => {
                if is_one_of!(key(word), b"names" | b"charset" | b"char") || is(word, b"character")
                {
                    self.changes |= Changes::VARIABLES | Changes::LEXING;
                } else {
                    self.set_variable(word, Scope::Session)?;
                }
            }
            // A name in quotes may be any.
            Token::Text(_) => {
                self.call_anything();
                self.assignment()?;
            }
            _ => return None,
        }
        self.value()
    }

    /// `[scope] name =`, `[scope] TRANSACTION`, `scope.name =`.
    fn set_variable(&mut self, mut word: &'a [u8], mut scope: Scope) -> Option<()> {
        let is_system = scope == Scope::Open;
        if let Some(named) = Scope::named(word) {
            scope = named;
            if is_system {
                (self.next()? == Token::Symbol(b'.')).then_some(())?;
            }
            match self.next()? {
                Token::Word(next) => word = next,
                Token::Text(_) => {
                    self.call_anything();
                    return self.assignment();
                }
                // `SET SESSION @@x`, or what no server knows.
                _ => return None,
            }
        }
        if is(word, b"transaction") {
            self.changes |= match scope {
                Scope::Session | Scope::Open => Changes::NEXT_TRANSACTION,
                Scope::Own => Changes::VARIABLES,
                Scope::Global => Changes::default(),
            };
            // Its characteristics are a list too, up to the end.
            while self.next()? != Token::End {}
            return Some(());
        }
        if is(word, b"authorization") && scope == Scope::Own {
            self.changes |= BEGUN_ANEW;
            while self.next()? != Token::End {}
            return Some(());
        }
        if is(word, b"authorization") || is(word, b"resource") {
            return None;
        }
        self.changes |= changed_by(word, scope);
        self.assignment()
    }

    /// Up to the sign of an assignment.
    fn assignment(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                Token::Symbol(b'=') => return Some(()),
                Token::Symbol(b':') => {}
                // More of a name.
                Token::Symbol(b'.') | Token::Word(_) | Token::Text(_) | Token::Number(_) => {}
                _ => return None,
            }
        }
    }

    /// An expression, up to the comma that ends it, or the end.
    fn value(&mut self) -> Option<Token<'a>> {
        self.forget();
        let mut depth = 0_u32;
        loop {
            let token = self.next()?;
            match token {
                Token::End => return Some(token),
                Token::Symbol(b',') if depth == 0 => return Some(token),
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.see(token);
        }
    }

    /// `SET STATEMENT name = value, … FOR statement`
    fn set_statement(&mut self) -> Option<Class> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        // What stands in it decides.
        self.floor = Class::Unknown;
        self.changes |= Changes::VARIABLES;
        let mut depth = 0_u32;
        self.forget();
        loop {
            let token = self.next()?;
            match token {
                Token::End => return None,
                Token::Symbol(b'(') => depth += 1,
                Token::Symbol(b')') => depth = depth.checked_sub(1)?,
                Token::Word(word) if depth == 0 && is_one_of!(key(word), b"for") => break,
                _ => {}
            }
            self.see(token);
        }
        self.forget();
        self.clauses = Clauses::default();
        let class = self.statement()?;
        self.depth -= 1;
        Some(class)
    }
}

/// Whose value of a variable is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The session's, without a word.
    Session,
    /// The session's, or of some variables the next transaction's: `@@name`.
    Open,
    /// The session's: SESSION or LOCAL.
    Own,
    /// The server's: GLOBAL, PERSIST, PERSIST_ONLY.
    Global,
}

impl Scope {
    fn named(word: &[u8]) -> Option<Self> {
        let word_key = key(word);
        if is_one_of!(word_key, b"session" | b"local") {
            Some(Self::Own)
        } else if is_one_of!(word_key, b"global" | b"persist") || is(word, b"persist_only") {
            Some(Self::Global)
        } else {
            None
        }
    }
}

/// What SET SESSION AUTHORIZATION leaves nothing of.
const BEGUN_ANEW: Changes = Changes::IDENTITY
    .with(Changes::VARIABLES)
    .with(Changes::LEXING)
    .with(Changes::USER_VARIABLES)
    .with(Changes::SCHEMA)
    .with(Changes::ROLE)
    .with(Changes::LAST_INSERT_ID);

/// What setting a system variable changes.
fn changed_by(variable: &[u8], scope: Scope) -> Changes {
    if scope == Scope::Global {
        return Changes::default();
    }
    let is_any = |names: &[&[u8]]| names.iter().any(|name| is(variable, name));
    let more = match () {
        () if is_any(&[b"autocommit"]) => Changes::TRANSACTION,
        () if is_any(&[b"sql_mode", b"character_set_client"]) => Changes::LEXING,
        // Of these are the literals of a text, so of one that is prepared again, too.
        () if is_any(&[b"character_set_connection", b"collation_connection"]) => Changes::LEXING,
        () if is_any(&[b"last_insert_id", b"identity", b"insert_id"]) => Changes::LAST_INSERT_ID,
        () if is_any(&[b"rand_seed1", b"rand_seed2"]) => Changes::RANDOM_SEED,
        () if scope == Scope::Open
            && is_any(&[
                b"transaction_isolation",
                b"transaction_read_only",
                b"tx_isolation",
                b"tx_read_only",
            ]) =>
        {
            Changes::NEXT_TRANSACTION
        }
        () => Changes::default(),
    };
    Changes::VARIABLES | more
}
