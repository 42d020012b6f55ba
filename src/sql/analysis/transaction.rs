//! What begins and ends transactions, XA's among them.

use super::bits::{Asks, Changes};
use super::key::{is_one_of, key};
use super::scan::Scan;
use super::statement::is_the;
use super::{Access, Class, Completion, Xa};
use crate::sql::is;
use crate::sql::lexer::Token;

impl<'a> Scan<'a> {
    pub(super) fn transaction(&mut self, key: u64) -> Option<Class> {
        self.changes |= Changes::TRANSACTION;
        if is_one_of!(key, b"begin") {
            return self.begin();
        }
        if is_one_of!(key, b"start") {
            return self.start();
        }
        let mut token = self.next()?;
        if is_the(token, b"work") {
            token = self.next()?;
        }
        if is_one_of!(key, b"rollback") && is_the(token, b"to") {
            self.rest()?;
            return Some(Class::Savepoint);
        }
        let completion = self.completion(token)?;
        match is_one_of!(key, b"commit") {
            true => Some(Class::Commit(completion)),
            false => Some(Class::Rollback(completion)),
        }
    }

    /// BEGIN: anything but WORK behind it makes it a block.
    fn begin(&mut self) -> Option<Class> {
        let token = self.next()?;
        match token {
            Token::End => {}
            Token::Word(word) if is_one_of!(key(word), b"work") => self.expect_end()?,
            _ => {
                self.begins_as(Class::Compound);
                return None;
            }
        }
        Some(Class::Begin { access: Access::Default, consistent_snapshot: false })
    }

    fn start(&mut self) -> Option<Class> {
        if !is(self.next_word()?, b"transaction") {
            return self.other(Class::Admin, Changes::TRANSACTION);
        }
        let (mut access, mut consistent_snapshot) = (Access::Default, false);
        let mut token = self.next()?;
        while token != Token::End {
            let Token::Word(word) = token else { return None };
            if is_one_of!(key(word), b"with") {
                let is_snapshot = is(self.next_word()?, b"consistent")
                    && is_one_of!(key(self.next_word()?), b"snapshot");
                consistent_snapshot = is_snapshot.then_some(true)?;
            } else if is_one_of!(key(word), b"read") {
                access = match key(self.next_word()?) {
                    mode if is_one_of!(mode, b"only") => Access::ReadOnly,
                    mode if is_one_of!(mode, b"write") => Access::ReadWrite,
                    _ => return None,
                };
            } else {
                return None;
            }
            token = self.next()?;
            if token == Token::Symbol(b',') {
                token = self.next()?;
            }
        }
        Some(Class::Begin { access, consistent_snapshot })
    }

    /// `[AND [NO] CHAIN] [[NO] RELEASE]`
    fn completion(&mut self, mut token: Token<'a>) -> Option<Completion> {
        let mut completion = Completion::default();
        if is_the(token, b"and") {
            token = self.next()?;
            let is_no = is_the(token, b"no");
            if is_no {
                token = self.next()?;
            }
            completion.chain = is_the(token, b"chain").then_some(Some(!is_no))?;
            token = self.next()?;
        }
        if token != Token::End {
            let is_no = is_the(token, b"no");
            if is_no {
                token = self.next()?;
            }
            completion.release = is_the(token, b"release").then_some(Some(!is_no))?;
            self.expect_end()?;
        }
        Some(completion)
    }

    pub(super) fn xa(&mut self) -> Option<Class> {
        let (verb, changes) = match key(self.next_word()?) {
            word if is_one_of!(word, b"start" | b"begin") => (Xa::Start, Changes::XA),
            word if is_one_of!(word, b"end") => (Xa::End, Changes::default()),
            word if is_one_of!(word, b"prepare") => (Xa::Prepare, Changes::default()),
            word if is_one_of!(word, b"commit") => (Xa::Commit, Changes::XA_ENDED),
            word if is_one_of!(word, b"rollback") => (Xa::Rollback, Changes::XA_ENDED),
            word if is_one_of!(word, b"recover") => {
                self.asks |= Asks::SERVER;
                self.rest()?;
                return Some(Class::Xa(Xa::Recover));
            }
            _ => return None,
        };
        self.changes |= changes | Changes::TRANSACTION;
        self.name = self.branch()?;
        Some(Class::Xa(verb))
    }

    /// The branch that XA names, as it stands there, and what is behind it.
    fn branch(&mut self) -> Option<Option<&'a [u8]>> {
        self.forget();
        let (mut from, mut to) = (None, 0);
        loop {
            let token = self.next()?;
            if token == Token::End {
                break;
            }
            from = from.or(Some(self.lexer.start()));
            // Behind it stand words, as ONE PHASE.
            if !matches!(token, Token::Word(_)) {
                to = self.lexer.words.at;
            }
            self.see(token);
        }
        Some(from.and_then(|from| self.lexer.words.sql.get(from..to)))
    }
}
