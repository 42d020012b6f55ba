//! What statements have in common that differ in their values only: a shape, and its digest. Pure.
//!
//! A shape is the tokens of a text with a `?` for each value; lists of values, and rows behind the
//! first, are folded away. Letters count as small ones but between quotes. Of several statements in
//! one text the first counts. Invariant: nothing that is, or could be, a value is in a shape: where
//! servers might read on differently it ends with `...`, as behind what is not at hand.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lexer::{Extent, Lexer, Modes, Shape, Token};

/// No more of a shape is kept as text. All of it counts.
pub const LONGEST_TEXT: usize = 1024;

/// What a shape is known by: the same in every process.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Digest(pub u64);

impl Digest {
    /// That of what has no shape of its own.
    pub const REST: Self = Self(0);
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The digest of a statement. Does not allocate.
pub fn digest(sql: &[u8], extent: Extent, modes: Modes) -> Digest {
    let mut hasher = Hasher(SEED);
    Walk::new(sql, extent, modes, &mut hasher).run();
    hasher.digest()
}

/// The shape of a statement, as it is written there.
pub fn shape(sql: &[u8], extent: Extent, modes: Modes) -> String {
    let mut text = Text::default();
    Walk::new(sql, extent, modes, &mut text).run();
    text.text
}

/// What the pieces of a shape come to.
trait Sink {
    /// A keyword, or a name without quotes.
    fn word(&mut self, word: &[u8], gap: Gap);
    /// What stands between backticks.
    fn name(&mut self, name: &[u8], gap: Gap);
    fn symbol(&mut self, symbol: u8, gap: Gap);
    fn value(&mut self, gap: Gap);
    /// What follows does not count.
    fn cut(&mut self);
}

/// What stands in front of a piece.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gap {
    None,
    Blank,
}

/// What was told last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    /// A symbol behind which a value may stand.
    Symbol,
    /// `(`
    Open,
    /// `(` and values.
    OpenValue,
    Value,
    Other,
}

/// Where the rows of a statement are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    No,
    /// VALUES came last, at this depth.
    Expected(u32),
    /// Within the first one.
    First(u32),
}

/// How far a list goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Folded {
    Done,
    /// It is cut off.
    Cut,
}

struct Walk<'a, 's, S> {
    lexer: Lexer<'a>,
    sink: &'s mut S,
    last: Last,
    rows: Rows,
    depth: u32,
    /// Where what was told last ends.
    end: usize,
}

impl<'a, 's, S: Sink> Walk<'a, 's, S> {
    fn new(sql: &'a [u8], extent: Extent, modes: Modes, sink: &'s mut S) -> Self {
        let lexer = Lexer::new(sql, extent, modes);
        Self { lexer, sink, last: Last::Other, rows: Rows::No, depth: 0, end: 0 }
    }

    fn run(&mut self) {
        if self.tell() == Folded::Cut {
            self.sink.cut();
        }
    }

    /// Tells all of it.
    fn tell(&mut self) -> Folded {
        loop {
            let Some(shape) = next(&mut self.lexer) else { return Folded::Cut };
            let gap = if self.lexer.start() == self.end { Gap::None } else { Gap::Blank };
            let folded = match shape {
                Shape::End => return Folded::Done,
                Shape::Symbol(b';') => return self.end_of_statement(),
                Shape::Symbol(b'-' | b'+') if self.is_sign() => {
                    // What stands in front of the value stands in front of its sign.
                    self.end = if gap == Gap::None { self.lexer.words.at } else { self.end };
                    continue;
                }
                Shape::Comment => Folded::Done,
                Shape::Symbol(symbol) => self.symbol(symbol, gap),
                Shape::Word if self.is_value_word() => self.value(gap),
                Shape::Word => self.word(gap),
                Shape::Text if self.is_name() => self.name(gap),
                Shape::Text | Shape::Number | Shape::Parameter => self.value(gap),
            };
            if folded == Folded::Cut {
                return Folded::Cut;
            }
            self.end = self.lexer.words.at;
        }
    }

    /// How servers read what follows the statement before may have told.
    fn end_of_statement(&mut self) -> Folded {
        loop {
            match next(&mut self.lexer) {
                Some(Shape::Symbol(b';')) => {}
                Some(Shape::End) => return Folded::Done,
                _ => {
                    self.sink.symbol(b';', Gap::None);
                    return Folded::Cut;
                }
            }
        }
    }

    fn symbol(&mut self, symbol: u8, gap: Gap) -> Folded {
        self.sink.symbol(symbol, gap);
        let before = self.last;
        self.last = Last::Symbol;
        if let Rows::Expected(depth) = self.rows {
            self.rows = if symbol == b'(' { Rows::First(depth) } else { Rows::No };
        }
        match symbol {
            b'(' => {
                self.depth += 1;
                self.last = Last::Open;
            }
            b')' => {
                self.depth = self.depth.saturating_sub(1);
                self.last = Last::Other;
                if self.rows == Rows::First(self.depth) {
                    self.rows = Rows::No;
                    return self.fold(skip_row);
                }
                if before == Last::OpenValue {
                    return self.fold(skip_values_in_parentheses);
                }
            }
            b'@' | b'.' => self.last = Last::Other,
            _ => {}
        }
        Folded::Done
    }

    /// Whether what came last is the sign of a number.
    fn is_sign(&self) -> bool {
        let mut ahead = self.lexer;
        matches!(self.last, Last::Symbol | Last::Open) && next(&mut ahead) == Some(Shape::Number)
    }

    fn word(&mut self, gap: Gap) -> Folded {
        let Token::Word(word) = self.lexer.token(Shape::Word) else { return Folded::Done };
        self.sink.word(word, gap);
        let is = |keyword: &[u8]| word.eq_ignore_ascii_case(keyword);
        // `VALUES ROW(1)` is MySQL's.
        self.rows = match self.rows {
            Rows::Expected(depth) if is(b"row") => Rows::Expected(depth),
            Rows::First(depth) => Rows::First(depth),
            _ if is(b"values") || is(b"value") => Rows::Expected(self.depth),
            _ => Rows::No,
        };
        self.last = Last::Other;
        Folded::Done
    }

    fn name(&mut self, gap: Gap) -> Folded {
        if let Token::Text((start, end)) = self.lexer.token(Shape::Text) {
            self.sink.name(&self.lexer.words.sql[start..end], gap);
        }
        self.last = Last::Other;
        Folded::Done
    }

    fn is_name(&self) -> bool {
        self.lexer.words.sql.get(self.lexer.start()) == Some(&b'`')
    }

    /// Whether the word that came last stands for a value.
    fn is_value_word(&self) -> bool {
        matches!(self.last, Last::Symbol | Last::Open) && is_value_word(&self.lexer)
    }

    fn value(&mut self, gap: Gap) -> Folded {
        if self.last == Last::Value || self.last == Last::OpenValue {
            // Texts that stand side by side are one.
            return Folded::Done;
        }
        self.sink.value(gap);
        self.last = if self.last == Last::Open { Last::OpenValue } else { Last::Value };
        self.fold(skip_value)
    }

    /// Skips what goes on a list, each behind a comma.
    fn fold(&mut self, skip: fn(&mut Lexer<'_>) -> Option<bool>) -> Folded {
        loop {
            let mut ahead = self.lexer;
            match next(&mut ahead) {
                Some(Shape::Symbol(b',')) => {}
                None => return Folded::Cut,
                Some(_) => return Folded::Done,
            }
            match skip(&mut ahead) {
                None => return Folded::Cut,
                Some(false) => return Folded::Done,
                Some(true) => self.lexer = ahead,
            }
        }
    }
}

/// The next token that is no comment; None: it is not known.
fn next(lexer: &mut Lexer<'_>) -> Option<Shape> {
    loop {
        let shape = lexer.next_shape()?;
        if shape != Shape::Comment {
            return Some(shape);
        }
    }
}

/// Words that stand where values do.
fn is_value_word(lexer: &Lexer<'_>) -> bool {
    let Token::Word(word) = lexer.token(Shape::Word) else { return false };
    let words: [&[u8]; 4] = [b"null", b"default", b"true", b"false"];
    words.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Skips a value; whether there was one. None: it is not known.
fn skip_value(lexer: &mut Lexer<'_>) -> Option<bool> {
    let mut shape = next(lexer)?;
    if matches!(shape, Shape::Symbol(b'-' | b'+')) {
        shape = next(lexer)?;
        if shape != Shape::Number {
            return Some(false);
        }
    }
    let is_value = match shape {
        Shape::Number | Shape::Parameter => true,
        Shape::Text => lexer.words.sql.get(lexer.start()) != Some(&b'`'),
        Shape::Word => is_value_word(lexer),
        Shape::Comment | Shape::Symbol(_) | Shape::End => false,
    };
    if !is_value {
        return Some(false);
    }
    // `1 + a` is more than a value.
    let mut ahead = *lexer;
    Some(matches!(next(&mut ahead)?, Shape::Symbol(b',' | b')' | b';') | Shape::End | Shape::Word))
}

/// Skips `(1, 2)`; whether it was one.
fn skip_values_in_parentheses(lexer: &mut Lexer<'_>) -> Option<bool> {
    if next(lexer)? != Shape::Symbol(b'(') {
        return Some(false);
    }
    loop {
        if !skip_value(lexer)? {
            return Some(false);
        }
        match next(lexer)? {
            Shape::Symbol(b',') => {}
            Shape::Symbol(b')') => return Some(true),
            _ => return Some(false),
        }
    }
}

/// Skips a row of whatever; whether it was one.
fn skip_row(lexer: &mut Lexer<'_>) -> Option<bool> {
    let mut first = next(lexer)?;
    if let Token::Word(word) = lexer.token(first)
        && word.eq_ignore_ascii_case(b"row")
    {
        first = next(lexer)?;
    }
    if first != Shape::Symbol(b'(') {
        return Some(false);
    }
    let mut depth = 1u32;
    while depth > 0 {
        match next(lexer)? {
            Shape::Symbol(b'(') => depth += 1,
            Shape::Symbol(b')') => depth -= 1,
            Shape::End => return Some(false),
            _ => {}
        }
    }
    Some(true)
}

/// Comes to the digest. Eight bytes at a time: as fast as the lexer at least.
struct Hasher(u64);

const SEED: u64 = 0x6F64_7020_7368_6170;
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a piece is, so that `?` and a word of the same bytes differ.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Piece {
    Word = 1,
    Name,
    Symbol,
    Value,
    Cut,
}

impl Hasher {
    #[inline]
    fn mix(&mut self, bits: u64) {
        self.0 = (self.0.rotate_left(23) ^ bits).wrapping_mul(FACTOR);
    }

    #[inline]
    fn bytes(&mut self, piece: Piece, bytes: &[u8], fold: impl Fn(u64) -> u64) {
        self.mix(piece as u64 | (bytes.len() as u64) << 8);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.mix(fold(u64::from_le_bytes(chunk.try_into().expect("there are eight"))));
        }
        let mut last = 0;
        for byte in chunks.remainder().iter().rev() {
            last = last << 8 | u64::from(*byte);
        }
        self.mix(fold(last));
    }

    fn digest(&self) -> Digest {
        let mut hash = self.0 ^ self.0 >> 32;
        hash = hash.wrapping_mul(FACTOR);
        hash ^= hash >> 29;
        // That one is taken.
        Digest(hash.max(1))
    }
}

/// Eight bytes with their ASCII letters as small ones.
#[inline]
fn lower(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = bytes & (0x7F * ONES);
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let above_z = low + (0x7F - b'Z' as u64) * ONES;
    let is_upper = !bytes & (from_a ^ above_z) & (0x80 * ONES);
    bytes | is_upper >> 2
}

impl Sink for Hasher {
    #[inline]
    fn word(&mut self, word: &[u8], _gap: Gap) {
        self.bytes(Piece::Word, word, lower);
    }

    #[inline]
    fn name(&mut self, name: &[u8], _gap: Gap) {
        self.bytes(Piece::Name, name, |bytes| bytes);
    }

    #[inline]
    fn symbol(&mut self, symbol: u8, _gap: Gap) {
        self.mix(Piece::Symbol as u64 | u64::from(symbol) << 8);
    }

    #[inline]
    fn value(&mut self, _gap: Gap) {
        self.mix(Piece::Value as u64);
    }

    fn cut(&mut self) {
        self.mix(Piece::Cut as u64);
    }
}

/// Comes to a text.
#[derive(Default)]
struct Text {
    text: String,
    is_cut: bool,
}

const CUT: &str = "...";

impl Text {
    fn push(&mut self, piece: &str, gap: Gap) {
        if self.is_cut {
            return;
        }
        if self.text.len() + 1 + piece.len() + 1 + CUT.len() > LONGEST_TEXT {
            return self.cut();
        }
        if gap == Gap::Blank && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(piece);
    }

    /// What is no text, or does something to those who see it, is shown as something strange.
    fn push_bytes(&mut self, bytes: &[u8], gap: Gap) {
        let text = String::from_utf8_lossy(bytes);
        let text: String =
            text.chars().map(|it| if it.is_control() { '\u{FFFD}' } else { it }).collect();
        self.push(&text, gap);
    }
}

impl Sink for Text {
    fn word(&mut self, word: &[u8], gap: Gap) {
        self.push_bytes(word, gap);
    }

    fn name(&mut self, name: &[u8], gap: Gap) {
        self.push_bytes(&[b"`", name, b"`"].concat(), gap);
    }

    fn symbol(&mut self, symbol: u8, gap: Gap) {
        self.push_bytes(&[symbol], gap);
    }

    fn value(&mut self, gap: Gap) {
        self.push("?", gap);
    }

    fn cut(&mut self) {
        if !std::mem::replace(&mut self.is_cut, true) {
            self.text.push_str(if self.text.is_empty() { "..." } else { " ..." });
        }
    }
}

#[cfg(test)]
mod tests;
