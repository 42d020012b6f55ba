//! Where a statement names a connection by its id: in a KILL, or to have explained what the
//! connection runs. Pure.
//!
//! It may stand anywhere in a text: behind other statements, in a stored program, in an executable
//! comment, in the text of a PREPARE or an EXECUTE IMMEDIATE. KILL is a reserved word of every
//! server, so that word is a KILL. Invariant: what is found is an id, and nothing that could be
//! something else. So where servers would read on in different ways (a quote behind a backslash, a
//! comment that begins in an executable one), the search ends.

use std::ops::Range;

use memchr::{memchr, memchr2, memmem};

use super::{Statement, Words, is, is_word};

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

/// How much of a statement is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// More comes behind.
    Beginning,
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
    let mut lexer = Lexer::new(sql, extent);
    let mut found = Vec::new();
    let mut before = Token::End;
    while let Some(token) = lexer.next_token() {
        if token == Token::End && lexer.words.at == sql.len() {
            break;
        }
        let mut ahead = lexer;
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
            (lexer, before) = (ahead, Token::End);
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
        Token::Number(_) | Token::Text(_) | Token::Parameter | Token::Symbol(_) => false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a [u8]),
    /// Digits that stand there.
    Number((usize, usize)),
    /// What stands there between quotes.
    Text((usize, usize)),
    /// `?`
    Parameter,
    Symbol(u8),
    /// `;`, or the end of the text.
    End,
}

/// The tokens of a text, as long as every server reads the same ones.
#[derive(Clone, Copy)]
struct Lexer<'a> {
    words: Words<'a>,
    extent: Extent,
    /// Executable comments that have begun.
    comments: u32,
    is_in_comment: bool,
    /// How many have been seen.
    parameters: u32,
}

impl<'a> Lexer<'a> {
    fn new(sql: &'a [u8], extent: Extent) -> Self {
        let words = Words { sql, at: 0 };
        Self { words, extent, comments: 0, is_in_comment: false, parameters: 0 }
    }

    /// None where the text is cut off, or could go on in different ways.
    fn next_token(&mut self) -> Option<Token<'a>> {
        self.skip_blank()?;
        let sql = self.words.sql;
        let at = self.words.at;
        let Some(&first) = sql.get(at) else {
            return (self.extent == Extent::Whole).then_some(Token::End);
        };
        let token = match first {
            // `$$` begins a text of any language, up to the next one.
            b'$' => return None,
            b'\'' | b'"' | b'`' => Token::Text(self.quoted(first)?),
            _ if is_word(first) => {
                let word = self.words.next_word()?;
                match word.iter().all(u8::is_ascii_digit) {
                    true => Token::Number((at, self.words.at)),
                    false => Token::Word(word),
                }
            }
            _ => {
                self.words.at += 1;
                return Some(match first {
                    b'?' => {
                        self.parameters += 1;
                        Token::Parameter
                    }
                    b';' => Token::End,
                    symbol => Token::Symbol(symbol),
                });
            }
        };
        let may_go_on = self.extent == Extent::Beginning && self.words.at == sql.len();
        (!may_go_on).then_some(token)
    }

    /// The marks of executable comments are blanks: what stands between them counts, or does not.
    fn skip_blank(&mut self) -> Option<()> {
        loop {
            let at = self.words.at;
            let rest = &self.words.sql[at..];
            if self.is_in_comment {
                let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                self.words.at += blank;
                match rest[blank..] {
                    [b'*', b'/', ..] => {
                        self.is_in_comment = false;
                        self.words.at += 2;
                    }
                    // Who skips the comment sees none in it, and ends at the first mark.
                    [b'#', ..] | [b'-', b'-', ..] | [b'/', b'*', ..] => return None,
                    _ => return Some(()),
                }
                continue;
            }
            self.words.skip_blank();
            let rest = &self.words.sql[self.words.at..];
            let mark = match rest {
                [b'/', b'*', b'!', ..] => 3,
                [b'/', b'*', b'M', b'!', ..] => 4,
                [b'/', b'*', ..] => return None,
                _ => return Some(()),
            };
            let version = rest[mark..].iter().take(6).take_while(|byte| byte.is_ascii_digit());
            self.words.at += mark + version.count();
            self.is_in_comment = true;
            self.comments += 1;
        }
    }

    /// What stands between two of these quotes.
    fn quoted(&mut self, quote: u8) -> Option<(usize, usize)> {
        let sql = self.words.sql;
        let start = self.words.at + 1;
        let mut at = start;
        let end = loop {
            let rest = &sql[at..];
            let found = match quote {
                b'`' => memchr(quote, rest),
                _ => memchr2(quote, b'\\', rest),
            };
            let found = at + found?;
            match (sql[found], sql.get(found + 1)) {
                // By NO_BACKSLASH_ESCAPES, or as half of a character, it escapes nothing.
                (b'\\', next) if next.is_none_or(|next| *next == quote) => return None,
                (b'\\', _) => {}
                (_, Some(next)) if *next == quote => {}
                _ => break found,
            }
            at = found + 2;
        };
        self.words.at = end + 1;
        let is_sure = !self.is_in_comment || memmem::find(&sql[start..end], b"*/").is_none();
        is_sure.then_some((start, end))
    }

    /// Which executable comment this is in; 0 is none.
    fn comment(&self) -> u32 {
        if self.is_in_comment { self.comments } else { 0 }
    }

    /// Behind KILL: `[HARD | SOFT] [CONNECTION | QUERY] id`.
    fn kill(&mut self) -> Option<Named> {
        let comment = self.comment();
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
        let comment = self.comment();
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
        let comment = self.comment();
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
        let inner = &self.words.sql[start..end];
        let quote = self.words.sql[end];
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
                if self.words.sql.get(end) != Some(&b'`') =>
            {
                let digits = std::str::from_utf8(&self.words.sql[start..end]).ok()?;
                let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                Named::Id(digits.parse().ok().filter(|_| is_number)?, start..end)
            }
            Token::Parameter if self.parameters == 1 => Named::Parameter,
            _ => return None,
        };
        let is_together = self.comment() == comment;
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
