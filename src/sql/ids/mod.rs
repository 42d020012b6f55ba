//! Where a statement names a connection by its id: in a KILL, or to have explained what the
//! connection runs. Pure.
//!
//! It may stand anywhere in a text: behind other statements, in a stored program, in an executable
//! comment, in the text of a PREPARE or an EXECUTE IMMEDIATE. KILL is a reserved word of every
//! server, so that word is a KILL. Invariant: what is found is an id, and nothing that could be
//! something else. So where servers would read on in different ways (a quote behind a backslash, a
//! comment that begins in an executable one), the search ends.

use std::ops::Range;

use memchr::{memchr, memchr2};

pub use super::lexer::Extent;
use super::lexer::{Charset, Known, Lexer, Modes, Token};
use super::{Statement, is};

/// Digits of the ids that are looked for, as those of proxies have: their highest bit is set.
const DIGITS: usize = 10;

/// A connection that a statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By this id, whose digits stand there.
    Id(u64, Range<usize>),
    /// By the first of the statement's parameters.
    Parameter,
}

/// Whether a statement of this kind may name a connection by an id of a proxy. Cheap, and mostly
/// no: see [`connections`] for the truth.
pub fn are_likely(kind: &Statement<'_>, sql: &[u8]) -> bool {
    let is_alone = match kind {
        Statement::Other => false,
        Statement::Select
        | Statement::Insert
        | Statement::Update
        | Statement::Delete
        | Statement::Use(_) => memchr(b';', sql).is_none(),
    };
    !is_alone && has_long_number(sql)
}

/// Whether somewhere stand as many digits as an id has.
fn has_long_number(sql: &[u8]) -> bool {
    let digits = |bytes: &mut dyn Iterator<Item = &u8>| {
        bytes.take_while(|byte| byte.is_ascii_digit()).take(DIGITS).count()
    };
    // So many digits in a row leave out none of these places.
    (DIGITS - 1..sql.len()).step_by(DIGITS).any(|at| {
        let (before, behind) = sql.split_at(at);
        behind[0].is_ascii_digit()
            && digits(&mut before.iter().rev()) + digits(&mut behind.iter()) >= DIGITS
    })
}

/// The connections that a text names, in their order.
pub fn connections(sql: &[u8], extent: Extent) -> Vec<Named> {
    let mut tokens = Tokens { lexer: Lexer::new(sql, extent, MODES) };
    let mut found = Vec::new();
    let mut before = Token::End;
    while let Some(token) = tokens.next_token() {
        if token == Token::End && tokens.lexer.words.at == sql.len() {
            break;
        }
        let mut ahead = tokens;
        let named = match token {
            // `t.kill` and `@kill` are names.
            Token::Word(_) if matches!(before, Token::Symbol(b'.' | b'@')) => None,
            Token::Word(word) if is(word, b"kill") => ahead.kill().map(|named| vec![named]),
            Token::Word(word) if is_explain(word) => ahead.explain().map(|named| vec![named]),
            Token::Word(word) if is(word, b"prepare") && begins(before) => ahead.prepare(),
            Token::Word(word) if is(word, b"execute") && begins(before) => ahead.execute(),
            _ => None,
        };
        before = token;
        if let Some(named) = named {
            found.extend(named);
            (tokens, before) = (ahead, Token::End);
        }
    }
    found
}

fn is_explain(word: &[u8]) -> bool {
    [&b"explain"[..], b"analyze", b"describe", b"desc"].iter().any(|known| is(word, known))
}

/// Whether a statement may begin behind this.
fn begins(before: Token<'_>) -> bool {
    const OPENERS: [&[u8]; 7] = [b"begin", b"atomic", b"then", b"else", b"do", b"loop", b"repeat"];
    match before {
        Token::End | Token::Symbol(b':') => true,
        Token::Word(word) => OPENERS.iter().any(|opener| is(word, opener)),
        Token::Number(_)
        | Token::Text(_)
        | Token::Comment(_)
        | Token::Parameter
        | Token::Symbol(_) => false,
    }
}

/// An id is one by any mode; texts of any character set are let pass.
const MODES: Modes = Modes {
    ansi_quotes: Known::Unknown,
    no_backslash_escapes: Known::Unknown,
    charset: Charset::Utf8,
};

/// The tokens of a text without its comments, as long as every server reads the same ones.
#[derive(Clone, Copy)]
struct Tokens<'a> {
    lexer: Lexer<'a>,
}

impl<'a> Tokens<'a> {
    /// None where the text is cut off, or could go on in different ways.
    fn next_token(&mut self) -> Option<Token<'a>> {
        loop {
            return match self.lexer.next_token()? {
                Token::Comment(_) => continue,
                // A statement ends there as one does at the end of the text.
                Token::Symbol(b';') => Some(Token::End),
                token => Some(token),
            };
        }
    }

    fn sql(&self) -> &'a [u8] {
        self.lexer.words.sql
    }

    /// Behind KILL: `[HARD | SOFT] [CONNECTION | QUERY] id`.
    fn kill(&mut self) -> Option<Named> {
        let comment = self.lexer.comment();
        let mut token = self.next_token()?;
        for words in [[b"hard".as_slice(), b"soft"], [b"connection", b"query"]] {
            if words.iter().any(|known| is_the(token, known)) {
                token = self.next_token()?;
            }
        }
        // `KILL QUERY ID n` names a query and `KILL USER name` a user.
        self.last_operand(token, comment)
    }

    /// Behind EXPLAIN: `[FORMAT = name] FOR [CONNECTION] id`.
    fn explain(&mut self) -> Option<Named> {
        let comment = self.lexer.comment();
        let mut token = self.next_token()?;
        if is_the(token, b"format") {
            token = self.next_token()?;
            if token == Token::Symbol(b'=') {
                token = self.next_token()?;
            }
            if matches!(token, Token::Word(_) | Token::Text(_)) {
                token = self.next_token()?;
            }
        }
        if !is_the(token, b"for") {
            return None;
        }
        token = self.next_token()?;
        if is_the(token, b"connection") {
            token = self.next_token()?;
        }
        self.last_operand(token, comment)
    }

    /// Behind PREPARE: `name FROM 'text'`.
    fn prepare(&mut self) -> Option<Vec<Named>> {
        let is_name = matches!(self.next_token()?, Token::Word(_) | Token::Text(_));
        if !is_name || !is_the(self.next_token()?, b"from") {
            return None;
        }
        let mut named = self.text()?;
        let is_all = self.next_token()? == Token::End;
        named.retain(|named| *named != Named::Parameter);
        is_all.then_some(named)
    }

    /// Behind EXECUTE: `IMMEDIATE 'text' [USING id]`.
    fn execute(&mut self) -> Option<Vec<Named>> {
        let comment = self.lexer.comment();
        if !is_the(self.next_token()?, b"immediate") {
            return None;
        }
        let mut named = self.text()?;
        let behind = self.next_token()?;
        let takes_id = named.contains(&Named::Parameter);
        named.retain(|named| *named != Named::Parameter);
        if is_the(behind, b"using") && takes_id {
            let token = self.next_token()?;
            named.extend(self.last_operand(token, comment));
        } else if behind != Token::End {
            return None;
        }
        Some(named)
    }

    /// What the text that comes next names.
    fn text(&mut self) -> Option<Vec<Named>> {
        let Token::Text((start, end)) = self.next_token()? else { return None };
        let inner = &self.sql()[start..end];
        let quote = self.sql()[end];
        // With a quote in it, or what escapes one, it is not what stands there.
        if quote == b'`' || memchr2(quote, b'\\', inner).is_some() {
            return None;
        }
        let moved = |named| match named {
            Named::Id(id, digits) => Named::Id(id, digits.start + start..digits.end + start),
            Named::Parameter => Named::Parameter,
        };
        Some(connections(inner, Extent::Whole).into_iter().map(moved).collect())
    }

    /// An id that is the last thing in its statement, perhaps in parentheses or quotes, and in no
    /// other comment than what it belongs to.
    fn last_operand(&mut self, mut token: Token<'a>, comment: u32) -> Option<Named> {
        let mut parentheses = 0;
        while token == Token::Symbol(b'(') {
            parentheses += 1;
            token = self.next_token()?;
        }
        let named = match token {
            Token::Number((start, end)) | Token::Text((start, end))
                if self.sql().get(end) != Some(&b'`') =>
            {
                let digits = std::str::from_utf8(&self.sql()[start..end]).ok()?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                Named::Id(digits.parse().ok().filter(|_| is_number)?, start..end)
            }
            Token::Parameter if self.lexer.parameters == 1 => Named::Parameter,
            _ => return None,
        };
        let is_together = self.lexer.comment() == comment;
        for _ in 0..parentheses {
            if self.next_token()? != Token::Symbol(b')') {
                return None;
            }
        }
        (is_together && self.next_token()? == Token::End).then_some(named)
    }
}

fn is_the(token: Token<'_>, keyword: &[u8]) -> bool {
    matches!(token, Token::Word(word) if is(word, keyword))
}

#[cfg(test)]
mod tests;
