//! Words and tokens of a text, as every server reads them.
//!
//! Servers read one text in different ways: by their modes, their version, the client's character
//! set. Invariant: a token that comes out is one for each server that the [`Modes`] leave open;
//! where they would read on differently, or the text is cut off, nothing more comes out.

use memchr::{memchr, memchr2, memmem};

/// How much of a statement is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// More comes behind.
    Beginning,
}

/// Whether something holds, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Known {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It may.
    #[default]
    Unknown,
}

impl From<bool> for Known {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// The client's character set, as far as lexing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// ASCII, `utf8mb3` or `utf8mb4`.
    Utf8,
    /// Any other, or not known. A byte beyond ASCII may be a blank, or take the next one along.
    #[default]
    Other,
}

/// What the lexing of a statement depends on. By default nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// Whether `"x"` is a name: ANSI_QUOTES, or a mode with it in, as ANSI and ORACLE.
    pub ansi_quotes: Known,
    /// Whether `\` is a character like others: NO_BACKSLASH_ESCAPES, a status flag of each OK.
    pub no_backslash_escapes: Known,
    /// `character_set_client`.
    pub charset: Charset,
}

impl Modes {
    /// What servers and clients begin with today.
    pub const USUAL: Self =
        Self { ansi_quotes: Known::No, no_backslash_escapes: Known::No, charset: Charset::Utf8 };

    /// Whether `\` escapes what comes behind it between two of these quotes.
    pub(super) fn escapes(self, quote: u8) -> Known {
        let in_strings = match self.no_backslash_escapes {
            Known::Yes => Known::No,
            Known::No => Known::Yes,
            Known::Unknown => Known::Unknown,
        };
        match (quote, self.ansi_quotes) {
            (b'`', _) | (b'"', Known::Yes) => Known::No,
            (b'"', Known::Unknown) if in_strings == Known::Yes => Known::Unknown,
            _ => in_strings,
        }
    }
}

/// The blanks, comments and words of a text.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) sql: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Words<'a> {
    /// The next run of letters, digits, `_`, `$` and bytes of other alphabets; None at anything
    /// else.
    pub(super) fn next_word(&mut self) -> Option<&'a [u8]> {
        self.skip_blank();
        let word = self.run();
        (!word.is_empty()).then_some(word)
    }

    /// Whether only blanks, comments and semicolons are left.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.skip_blank();
        while self.sql.get(self.at) == Some(&b';') {
            self.at += 1;
            self.skip_blank();
        }
        self.at == self.sql.len()
    }

    /// Skips white space and comments; stops at an executable or an unfinished comment.
    pub(super) fn skip_blank(&mut self) {
        loop {
            let rest = &self.sql[self.at..];
            let skipped = match rest {
                [b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C, ..] => 1,
                [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] => return,
                [b'/', b'*', comment @ ..] => match memmem::find(comment, b"*/") {
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

    fn run(&mut self) -> &'a [u8] {
        let rest = &self.sql[self.at..];
        let end = rest.iter().position(|byte| !is_word(*byte)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

pub(super) fn is_word(byte: u8) -> bool {
    matches!(KINDS[usize::from(byte)], Kind::Letter | Kind::Digit | Kind::Dollar | Kind::High)
}

fn line(rest: &[u8]) -> usize {
    memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)
}

/// A piece of a text. Places are those in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name without quotes, or a keyword.
    Word(&'a [u8]),
    /// A number that stands there.
    Number((usize, usize)),
    /// What stands there between quotes; the last of them stands at its end.
    Text((usize, usize)),
    /// What stands in a comment that is not executable, and does not end with its line.
    Comment(&'a [u8]),
    /// `?`
    Parameter,
    /// Any other character.
    Symbol(u8),
    /// The end of the text.
    End,
}

/// A token without what it holds, which the lexer's places tell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Word,
    Number,
    Text,
    Comment,
    Parameter,
    Symbol(u8),
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    Letter,
    Digit,
    Dollar,
    High,
    Quote,
    Symbol,
    /// May begin something longer.
    Special,
    /// Nothing that every server knows.
    Strange,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Strange; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C => Kind::Blank,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Kind::Letter,
            b'0'..=b'9' => Kind::Digit,
            b'$' => Kind::Dollar,
            0x80.. => Kind::High,
            b'\'' | b'"' | b'`' => Kind::Quote,
            b'/' | b'*' | b'-' | b'#' | b'.' | b'?' => Kind::Special,
            // `\N` was NULL once, and brackets are names for some.
            b'\\' | b'[' | b']' => Kind::Strange,
            b'!'..=b'~' => Kind::Symbol,
            _ => Kind::Strange,
        };
        byte += 1;
    }
    kinds
};

/// No server that is spoken to is older: MySQL 5.6, MariaDB 10, which leaves out what is for 5.7 to
/// 9.9 of MySQL.
const KNOWN_TO_ALL: &[u8] = b"50600";

/// The tokens of a text, as long as every server reads the same ones.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'a> {
    pub(super) words: Words<'a>,
    extent: Extent,
    modes: Modes,
    /// Where the last token began.
    start: usize,
    /// Where the last word ended.
    word_end: usize,
    /// Executable comments that have begun.
    comments: u32,
    is_in_comment: bool,
    /// Every server executes what stands in the last one.
    is_for_all: bool,
    /// How many have been seen.
    pub(super) parameters: u32,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(sql: &'a [u8], extent: Extent, modes: Modes) -> Self {
        Self {
            words: Words { sql, at: 0 },
            extent,
            modes,
            start: 0,
            word_end: usize::MAX,
            comments: 0,
            is_in_comment: false,
            is_for_all: false,
            parameters: 0,
        }
    }

    /// The same text, from its beginning.
    pub(super) fn anew(&self) -> Self {
        Self::new(self.words.sql, self.extent, self.modes)
    }

    /// None where the text is cut off, or could go on in different ways.
    pub(super) fn next_token(&mut self) -> Option<Token<'a>> {
        self.next_shape().map(|shape| self.token(shape))
    }

    /// The last token, which is of this shape. Made where it is looked at: as what a call returns
    /// it went through memory, which took as long as all the rest.
    #[inline(always)]
    pub(super) fn token(&self, shape: Shape) -> Token<'a> {
        let (start, end) = (self.start, self.words.at);
        match shape {
            Shape::Word => Token::Word(&self.words.sql[start..end]),
            Shape::Number => Token::Number((start, end)),
            Shape::Text => Token::Text((start + 1, end - 1)),
            Shape::Comment => Token::Comment(&self.words.sql[start + 2..end - 2]),
            Shape::Parameter => Token::Parameter,
            Shape::Symbol(symbol) => Token::Symbol(symbol),
            Shape::End => Token::End,
        }
    }

    /// What the next token is.
    pub(super) fn next_shape(&mut self) -> Option<Shape> {
        loop {
            let sql = self.words.sql;
            let mut at = self.words.at;
            while at < sql.len() && KINDS[usize::from(sql[at])] == Kind::Blank {
                at += 1;
            }
            (self.words.at, self.start) = (at, at);
            let Some(&first) = sql.get(at) else {
                return (self.extent == Extent::Whole).then_some(Shape::End);
            };
            return match KINDS[usize::from(first)] {
                Kind::Letter | Kind::High => self.word(),
                Kind::Digit => self.number(),
                Kind::Quote => self.quoted(first),
                Kind::Symbol => self.symbol(first),
                Kind::Special => match self.special()? {
                    Some(shape) => Some(shape),
                    None => continue,
                },
                // `$$` begins a text of any language, up to the next one.
                Kind::Dollar | Kind::Strange | Kind::Blank => None,
            };
        }
    }

    /// Ends before the last token, which is a `;`. What is behind it.
    pub(super) fn end_here(&mut self) -> Self {
        let (sql, behind) = (self.words.sql, self.words.at);
        let following = Self::new(&sql[behind..], self.extent, self.modes);
        self.words = Words { sql: &sql[..self.start], at: self.start };
        self.extent = Extent::Whole;
        following
    }

    /// Where the last token began.
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// What comes behind the last token, be it a blank.
    pub(super) fn next_byte(&self) -> Option<u8> {
        self.words.sql.get(self.words.at).copied()
    }

    /// Which executable comment this is in; 0 is none.
    pub(super) fn comment(&self) -> u32 {
        if self.is_in_comment { self.comments } else { 0 }
    }

    /// Whether the last token is there for some servers only.
    #[inline(always)]
    pub(super) fn is_optional(&self) -> bool {
        self.is_in_comment && !self.is_for_all
    }

    fn symbol(&mut self, symbol: u8) -> Option<Shape> {
        self.words.at += 1;
        Some(Shape::Symbol(symbol))
    }

    fn may_go_on(&self) -> bool {
        self.extent == Extent::Beginning && self.words.at == self.words.sql.len()
    }

    #[inline]
    fn word(&mut self) -> Option<Shape> {
        let sql = self.words.sql;
        let (start, mut at, mut bits) = (self.start, self.start, 0);
        while at < sql.len() && is_word(sql[at]) {
            bits |= sql[at];
            at += 1;
        }
        (self.words.at, self.word_end) = (at, at);
        let word = &sql[start..at];
        let is_sure = bits < 0x80 || (self.modes.charset == Charset::Utf8 && is_name(word));
        (is_sure && !self.may_go_on()).then_some(Shape::Word)
    }

    /// What begins with a digit: "Identifiers may begin with a digit but unless quoted may not
    /// consist solely of digits". Behind a number that is one for sure a word may begin at once.
    fn number(&mut self) -> Option<Shape> {
        let start = self.start;
        self.word()?;
        let word = &self.words.sql[start..self.words.at];
        let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_float = matches!(word.get(digits), Some(b'e' | b'E'));
        if digits == word.len() {
            if self.next_byte() == Some(b'.') {
                self.words.at += 1;
                return self.fraction();
            }
        } else if is_float && self.has_exponent(start + digits) {
            self.words.at = start + digits;
            return self.fraction();
        } else if !is_based(word) {
            return Some(Shape::Word);
        }
        Some(Shape::Number)
    }

    fn has_exponent(&self, at: usize) -> bool {
        match &self.words.sql[at..] {
            [b'e' | b'E', b'+' | b'-', digit, ..] | [b'e' | b'E', digit, ..] => {
                digit.is_ascii_digit()
            }
            _ => false,
        }
    }

    /// Digits and an exponent.
    fn fraction(&mut self) -> Option<Shape> {
        let digits = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.words.at += digits(&self.words.sql[self.words.at..]);
        if self.has_exponent(self.words.at) {
            self.words.at += 2;
            self.words.at += digits(&self.words.sql[self.words.at..]);
        }
        let is_sure = !self.may_go_on() && !self.next_byte().is_some_and(is_word);
        is_sure.then_some(Shape::Number)
    }

    /// What stands between two of these quotes.
    fn quoted(&mut self, quote: u8) -> Option<Shape> {
        let sql = self.words.sql;
        let start = self.start + 1;
        let escapes = self.modes.escapes(quote);
        let mut at = start;
        let end = loop {
            let found = at + find_end(&sql[at..], quote, escapes)?;
            // It may be the second half of a character.
            let is_half = sql[found] == b'\\' || quote == b'`';
            if is_half && self.modes.charset == Charset::Other && !sql[found - 1].is_ascii() {
                return None;
            }
            match (sql[found], sql.get(found + 1)) {
                (b'\\', None) => return None,
                (b'\\', Some(next)) if *next == quote && escapes != Known::Yes => return None,
                (b'\\', Some(_)) => {}
                (_, Some(next)) if *next == quote => {}
                _ => break found,
            }
            at = found + 2;
        };
        self.words.at = end + 1;
        let is_sure = !self.is_in_comment || memmem::find(&sql[start..end], b"*/").is_none();
        (is_sure && !self.may_go_on()).then_some(Shape::Text)
    }

    /// A comment, or one of the characters with which one begins, or `.`, or `?`. Some(None) where
    /// nothing stands that counts: the marks of executable comments are blanks.
    fn special(&mut self) -> Option<Option<Shape>> {
        let rest = &self.words.sql[self.start..];
        let in_comment = self.is_in_comment;
        let skipped = match rest {
            [b'*', b'/', ..] if in_comment => {
                self.is_in_comment = false;
                2
            }
            // Who skips an executable comment sees none in it, and ends at the first mark.
            [b'#', ..] | [b'-', b'-', ..] | [b'/', b'*', ..] if in_comment => return None,
            [b'/', b'*', b'!', ..] => self.executable(3)?,
            [b'/', b'*', b'M', b'!', ..] => self.executable(4)?,
            [b'/', b'*', comment @ ..] => return self.skipped_comment(comment).map(Some),
            [b'#', ..] | [b'-', b'-'] => line(rest),
            [b'-', b'-', next, ..] if *next == b' ' || next.is_ascii_control() => line(rest),
            // It may be a blank.
            [b'-', b'-', next, ..] if !next.is_ascii() => return None,
            [b'/' | b'-' | b'*'] if self.extent == Extent::Beginning => return None,
            [b'?', ..] => {
                self.parameters += 1;
                self.words.at += 1;
                return Some(Some(Shape::Parameter));
            }
            [b'.', b'0'..=b'9', ..] if self.word_end != self.start => {
                self.words.at += 1;
                return self.fraction().map(Some);
            }
            [symbol, ..] => return Some(self.symbol(*symbol)),
            [] => 0,
        };
        self.words.at += skipped;
        Some(None)
    }

    /// The length of the mark with which an executable comment begins.
    fn executable(&mut self, mark: usize) -> Option<usize> {
        let rest = &self.words.sql[self.start..];
        let version = rest[mark..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        self.is_in_comment = true;
        self.is_for_all = match &rest[..mark + version] {
            [b'/', b'*', b'!'] => true,
            // Who reads five digits of six reads on at the last.
            [b'/', b'*', b'!', version @ ..] => version.len() == 5 && version < KNOWN_TO_ALL,
            _ => false,
        };
        self.comments += 1;
        Some(mark + version)
    }

    fn skipped_comment(&mut self, comment: &[u8]) -> Option<Shape> {
        let end = memmem::find(comment, b"*/")?;
        let comment = &comment[..end];
        self.words.at += end + 4;
        // Who knows hints reads names in them, and an end between quotes is none.
        let is_sure = comment.first() != Some(&b'+') || !ends_in_quotes(comment);
        is_sure.then_some(Shape::Comment)
    }
}

/// Where a quote may end. Most texts are short.
#[inline]
fn find_end(rest: &[u8], quote: u8, escapes: Known) -> Option<usize> {
    const SHORT: usize = 16;
    let ends = |byte: &u8| *byte == quote || (*byte == b'\\' && escapes != Known::No);
    let short = &rest[..rest.len().min(SHORT)];
    if let Some(found) = short.iter().position(ends) {
        return Some(found);
    }
    let rest = &rest[short.len()..];
    let found = match escapes {
        Known::No => memchr(quote, rest),
        Known::Yes | Known::Unknown => memchr2(quote, b'\\', rest),
    };
    found.map(|found| short.len() + found)
}

/// Whether the bytes are a name by every version of UTF-8.
fn is_name(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok() && word.iter().all(|byte| *byte < 0xF0)
}

/// `0x1F` or `0b01`.
fn is_based(word: &[u8]) -> bool {
    match word {
        [b'0', b'x', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        [b'0', b'b', digits @ ..] => digits.iter().all(|digit| matches!(digit, b'0' | b'1')),
        _ => false,
    }
}

fn ends_in_quotes(text: &[u8]) -> bool {
    let mut open = None;
    for byte in text.iter().filter(|byte| matches!(byte, b'\'' | b'"' | b'`')) {
        open = match open {
            None => Some(byte),
            Some(quote) if quote == byte => None,
            Some(_) => open,
        };
    }
    open.is_some()
}
