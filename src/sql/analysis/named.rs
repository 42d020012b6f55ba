//! Which user variables a text names. Read once more, for the few texts of which that matters.

use crate::sql::is;
use crate::sql::lexer::{Extent, Lexer, Modes, Token};

/// A user variable that a text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserVariable<'a> {
    /// What stands behind `@`.
    pub name: &'a [u8],
    /// `=` stands behind it, or `INTO` before it: the text gives it a value, where it is no query.
    pub is_set: bool,
}

/// Those that are named, in their order; None where a name does not stand there plainly.
pub fn user_variables(sql: &[u8], modes: Modes) -> Option<Vec<UserVariable<'_>>> {
    let mut lexer = Lexer::new(sql, Extent::Whole, modes);
    let (mut variables, mut before) = (Vec::new(), [Token::End; 3]);
    loop {
        let token = lexer.next_token()?;
        // The second one of `@@` is a system variable's.
        let is_name = before[2] == Token::Symbol(b'@') && before[1] != Token::Symbol(b'@');
        let name = match token {
            Token::Comment(_) => continue,
            Token::Symbol(b'@') => None,
            Token::Word(name) if is_name => Some(plain(name)?),
            Token::Text((start, end)) if is_name => Some(plain(&sql[start..end])?),
            _ if is_name => return None,
            Token::End => return Some(variables),
            _ => None,
        };
        if let Some(name) = name {
            let is_target = matches!(before[1], Token::Word(word) if is(word, b"into"));
            let mut ahead = lexer;
            let is_assigned = ahead.next_token() == Some(Token::Symbol(b'='));
            variables.push(UserVariable { name, is_set: is_target || is_assigned });
        }
        before = [before[1], before[2], token];
    }
}

/// A name that is the same in every character set, with nothing escaped in it.
fn plain(name: &[u8]) -> Option<&[u8]> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b' ');
    name.iter().all(is_plain).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_told_by_their_names() {
        let named = |sql: &str| {
            let all = user_variables(sql.as_bytes(), Modes::USUAL)?;
            let shown = |it: &UserVariable| {
                format!("{}{}", it.name.escape_ascii(), if it.is_set { "=" } else { "" })
            };
            Some(all.iter().map(shown).collect::<Vec<_>>())
        };
        let some = |names: &[&str]| Some(names.iter().map(|&it| it.into()).collect::<Vec<_>>());
        for (sql, names) in [
            ("GET DIAGNOSTICS @n = NUMBER, @`r c` = ROW_COUNT", some(&["n=", "r c="])),
            ("GET DIAGNOSTICS CONDITION @i @'m' = MESSAGE_TEXT", some(&["i", "m="])),
            ("SELECT @@warning_count, /* @b */ '@c' INTO @a", some(&["a="])),
            ("SET @x = @@session.warning_count", some(&["x="])),
            ("SELECT 1", some(&[])),
            ("GET DIAGNOSTICS @`a``b` = NUMBER", None),
            ("GET DIAGNOSTICS @\u{e4} = NUMBER", None),
            ("SELECT @", None),
        ] {
            assert_eq!(named(sql), names, "{sql}");
        }
    }
}
