//! The statement in a PREPARE, where it stands there as a literal.

use std::borrow::Cow;

use crate::sql::is;
use crate::sql::lexer::{Extent, Known, Lexer, Modes, Token};

/// The text that `PREPARE name FROM '…'` prepares. None: it is something else than one literal in
/// quotes, or the modes leave open what it is.
pub fn prepared_text(sql: &[u8], modes: Modes) -> Option<Cow<'_, [u8]>> {
    let mut lexer = Lexer::new(sql, Extent::Whole, modes);
    let mut next = || loop {
        match lexer.next_token()? {
            Token::Comment(_) => {}
            token => return Some(token),
        }
    };
    let is_prepare = matches!(next()?, Token::Word(word) if is(word, b"prepare"));
    let is_named = matches!(next()?, Token::Word(_) | Token::Text(_));
    let is_from = matches!(next()?, Token::Word(word) if is(word, b"from"));
    let Token::Text((start, end)) = next()? else { return None };
    let mut last = next()?;
    while last == Token::Symbol(b';') {
        last = next()?;
    }
    let is_whole = is_prepare && is_named && is_from && last == Token::End && lexer.comment() == 0;
    // A name in ANSI_QUOTES is refused by the server.
    let quote = Some(sql[end]).filter(|quote| *quote != b'`')?;
    is_whole.then(|| unquoted(&sql[start..end], quote, modes))?
}

/// What a literal holds.
fn unquoted(text: &[u8], quote: u8, modes: Modes) -> Option<Cow<'_, [u8]>> {
    let has_escapes = text.contains(&b'\\');
    if !has_escapes && !text.contains(&quote) {
        return Some(Cow::Borrowed(text));
    }
    let escapes = match modes.no_backslash_escapes {
        Known::Yes => false,
        Known::No => true,
        Known::Unknown if has_escapes => return None,
        Known::Unknown => false,
    };
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        let (byte, behind) = (text[at], text.get(at + 1).copied());
        match (byte, behind) {
            (b'\\', Some(escaped)) if escapes => {
                match escaped {
                    b'0' => out.push(0),
                    b'b' => out.push(8),
                    b'n' => out.push(b'\n'),
                    b'r' => out.push(b'\r'),
                    b't' => out.push(b'\t'),
                    b'Z' => out.push(0x1A),
                    b'%' | b'_' => out.extend([b'\\', escaped]),
                    other => out.push(other),
                }
                at += 2;
            }
            _ => {
                out.push(byte);
                at += if byte == quote { 2 } else { 1 };
            }
        }
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_is_read_as_the_server_reads_it() {
        let open = Modes { no_backslash_escapes: Known::Unknown, ..Modes::USUAL };
        let plain = Modes { no_backslash_escapes: Known::Yes, ..Modes::USUAL };
        for (sql, modes, expected) in [
            ("PREPARE s FROM 'SELECT 1'", Modes::USUAL, Some("SELECT 1")),
            ("prepare `s` from \"SELECT 'x'\" ;", Modes::USUAL, Some("SELECT 'x'")),
            ("/* x */ PREPARE s FROM 'SELECT ''x'''", open, Some("SELECT 'x'")),
            (r"PREPARE s FROM 'SELECT \'x\'\n'", Modes::USUAL, Some("SELECT 'x'\n")),
            (r"PREPARE s FROM 'a\_b\\'", Modes::USUAL, Some(r"a\_b\")),
            (r"PREPARE s FROM 'a\'", plain, Some(r"a\")),
            (r"PREPARE s FROM 'a\nb'", open, None),
            ("PREPARE s FROM @x", Modes::USUAL, None),
            ("PREPARE s FROM `x`", Modes::USUAL, None),
            ("PREPARE s FROM 'a' 'b'", Modes::USUAL, None),
            ("PREPARE s FROM CONCAT('a')", Modes::USUAL, None),
            ("PREPARE s FROM _utf8mb4'a'", Modes::USUAL, None),
            ("PREPARE s FROM 'a'; SELECT 1", Modes::USUAL, None),
            ("PREPARE s", Modes::USUAL, None),
            ("SELECT 1", Modes::USUAL, None),
        ] {
            let text = prepared_text(sql.as_bytes(), modes);
            let expected = expected.map(str::as_bytes);
            assert_eq!(text.as_deref(), expected, "{sql}");
        }
    }
}
