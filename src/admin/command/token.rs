//! The words of an admin statement.

use std::fmt;

/// A statement that has more of them is none of ours.
const MOST: usize = 512;

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Letters, digits, `_`, `$` and `.`: keywords, names, numbers; or a name in backticks.
    Word(String),
    /// A string in single or double quotes, without them.
    Text(String),
    /// `@@name`.
    Variable(String),
    /// `@name`.
    UserVariable(String),
    /// Anything else.
    Symbol(char),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text) | Self::Text(text) => write!(f, "'{text}'"),
            Self::Variable(name) => write!(f, "'@@{name}'"),
            Self::UserVariable(name) => write!(f, "'@{name}'"),
            Self::Symbol(symbol) => write!(f, "'{symbol}'"),
        }
    }
}

/// Takes a statement apart; comments are left out.
pub(super) fn tokens(sql: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = sql.trim_start();
    while let Some(first) = rest.chars().next() {
        if found.len() == MOST {
            return Err(format!("more than {MOST} words"));
        }
        let (token, length) = match first {
            '/' if rest.starts_with("/*") => {
                let end = rest[2..].find("*/").ok_or("a comment does not end")?;
                (None, 2 + end + 2)
            }
            '-' if is_dashes(rest) => (None, rest.find('\n').unwrap_or(rest.len())),
            '#' => (None, rest.find('\n').unwrap_or(rest.len())),
            '\'' | '"' => quoted(rest, first).map(|(text, n)| (Some(Token::Text(text)), n))?,
            '`' => quoted(rest, first).map(|(text, n)| (Some(Token::Word(text)), n))?,
            '@' if rest.starts_with("@@") => {
                let name = word(&rest[2..]);
                (Some(Token::Variable(name.to_owned())), 2 + name.len())
            }
            '@' => {
                let name = word(&rest[1..]);
                (Some(Token::UserVariable(name.to_owned())), 1 + name.len())
            }
            _ => match word(rest) {
                "" => (Some(Token::Symbol(first)), first.len_utf8()),
                name => (Some(Token::Word(name.to_owned())), name.len()),
            },
        };
        found.extend(token);
        rest = rest[length..].trim_start();
    }
    Ok(found)
}

/// Two dashes begin a comment only before a blank: `--1` is a number.
fn is_dashes(text: &str) -> bool {
    let behind = text.strip_prefix("--");
    behind.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

fn word(text: &str) -> &str {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || c == '.';
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

/// A string up to its closing quote; doubled quotes and backslashes stand for one.
fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut inside = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            _ if c == quote => match chars.peek() {
                Some((_, next)) if *next == quote => {
                    inside.push(quote);
                    chars.next();
                }
                _ => return Ok((inside, at + quote.len_utf8())),
            },
            '\\' if quote != '`' => {
                let escaped = chars.next().map(|(_, c)| c);
                // "\% and \_ are evaluated as such": LIKE needs to see the backslash.
                inside.extend(matches!(escaped, Some('%' | '_')).then_some('\\'));
                inside.extend(escaped);
            }
            _ => inside.push(c),
        }
    }
    Err(format!("a string that starts with {quote} does not end"))
}
