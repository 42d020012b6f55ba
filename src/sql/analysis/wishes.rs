//! What a client asks of the proxy by user variables: those of ODP, and no others.
//!
//! A text is read for it once more, and only one of which [`Changes::ROUTING`] is said: that one of
//! these variables is named in it, and that user variables are set. What is not surely known is
//! [`Value::Unknown`].
//!
//! [`Changes::ROUTING`]: super::Changes::ROUTING

use crate::sql::is;
use crate::sql::lexer::{Extent, Lexer, Modes, Token};

/// A user variable that says where statements go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `@obproxy_read_consistency`
    ProxyReadConsistency,
    /// `@ob_read_consistency`
    ReadConsistency,
    /// `@obproxy_route_addr`
    RouteAddress,
    /// `@proxy_session_ldc`
    Ldc,
}

impl Variable {
    /// By their numbers, with their names.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::ProxyReadConsistency, "obproxy_read_consistency"),
        (Self::ReadConsistency, "ob_read_consistency"),
        (Self::RouteAddress, "obproxy_route_addr"),
        (Self::Ldc, "proxy_session_ldc"),
    ];

    /// By what stands behind `@`.
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        let known = || Self::ALL.iter().find(|(_, known)| is(name, known.as_bytes()));
        // Few names are as long.
        (name.len() >= 17).then(known)?.map(|(variable, _)| *variable)
    }
}

/// What a variable is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// NULL
    Null,
    /// What stands there, in quotes or as a number.
    Literal(&'a [u8]),
    /// Anything else.
    Unknown,
}

/// Which variables a text sets, to what, in this order.
pub fn wishes(sql: &[u8], modes: Modes) -> Vec<(Variable, Value<'_>)> {
    let mut lexer = Lexer::new(sql, Extent::Whole, modes);
    let mut tokens = Vec::new();
    let is_whole = loop {
        match lexer.next_token() {
            Some(Token::End) => break true,
            Some(Token::Comment(_)) => {}
            Some(token) => tokens.push(token),
            None => break false,
        }
    };
    let list = match &tokens[..] {
        [Token::Word(set), list @ ..] if is_whole && is(set, b"set") => list,
        all => return named(sql, all).map(|variable| (variable, Value::Unknown)).collect(),
    };
    let list = list.strip_suffix(&[Token::Symbol(b';')]).unwrap_or(list);
    list_items(list).flat_map(|item| assignment(sql, item)).collect()
}

/// The items of a list, between the commas that stand in no parentheses.
fn list_items<'t, 'a>(list: &'t [Token<'a>]) -> impl Iterator<Item = &'t [Token<'a>]> {
    let mut depth = 0_u32;
    list.split(move |token| {
        match token {
            Token::Symbol(b'(') => depth += 1,
            Token::Symbol(b')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && *token == Token::Symbol(b',')
    })
}

/// `@name = value`; anything else that names one of them sets it to nobody knows what.
fn assignment<'a>(sql: &'a [u8], item: &[Token<'a>]) -> Vec<(Variable, Value<'a>)> {
    let set = match item {
        [Token::Symbol(b'@'), name, Token::Symbol(b'='), value] => Some((name, value)),
        [Token::Symbol(b'@'), name, Token::Symbol(b':'), Token::Symbol(b'='), value] => {
            Some((name, value))
        }
        _ => None,
    };
    let Some((name, value)) = set else {
        return named(sql, item).map(|variable| (variable, Value::Unknown)).collect();
    };
    let variable = Variable::named(text(sql, *name));
    variable.map(|variable| (variable, literal(sql, *value))).into_iter().collect()
}

fn literal<'a>(sql: &'a [u8], token: Token<'a>) -> Value<'a> {
    match token {
        Token::Word(word) if is(word, b"null") => Value::Null,
        Token::Number((start, end)) => Value::Literal(&sql[start..end]),
        Token::Text((start, end)) if sql[end] != b'`' => {
            let text = &sql[start..end];
            // As it stands there only if nothing is escaped in it.
            let is_plain = !text.iter().any(|byte| matches!(byte, b'\\' | b'\'' | b'"'));
            if is_plain { Value::Literal(text) } else { Value::Unknown }
        }
        _ => Value::Unknown,
    }
}

/// Which of them are named.
fn named<'t>(sql: &'t [u8], tokens: &'t [Token<'t>]) -> impl Iterator<Item = Variable> + 't {
    let pairs = tokens.windows(2).enumerate().filter(|(at, pair)| {
        // The second one of `@@` is another's.
        let is_user = *at == 0 || tokens[at - 1] != Token::Symbol(b'@');
        pair[0] == Token::Symbol(b'@') && is_user
    });
    pairs.filter_map(|(_, pair)| Variable::named(text(sql, pair[1])))
}

fn text<'a>(sql: &'a [u8], token: Token<'a>) -> &'a [u8] {
    match token {
        Token::Word(word) => word,
        Token::Text((start, end)) => &sql[start..end],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::analysis::{Changes, analyse};

    #[test]
    fn what_is_set_is_known_if_it_stands_there() {
        let table = [
            ("SET @ob_read_consistency = 'weak'", "ob_read_consistency = weak"),
            ("set @OB_Read_Consistency:=\"WEAK\";", "ob_read_consistency = WEAK"),
            ("SET @obproxy_read_consistency = 1", "obproxy_read_consistency = 1"),
            ("SET @`obproxy_route_addr` = 'a:1', @x = 2", "obproxy_route_addr = a:1"),
            ("SET @x = (1, 2), @'proxy_session_ldc' = NULL", "proxy_session_ldc = NULL"),
            (
                "SET @obproxy_route_addr = '', @ob_read_consistency = /* as it is */ 'strong' -- x",
                "obproxy_route_addr = , ob_read_consistency = strong",
            ),
            ("SET @ob_read_consistency = ?", "ob_read_consistency ?"),
            ("SET @ob_read_consistency = CONCAT('we', 'ak')", "ob_read_consistency ?"),
            ("SET @ob_read_consistency = -1", "ob_read_consistency ?"),
            ("SET @ob_read_consistency = 'we''ak'", "ob_read_consistency ?"),
            ("SET @ob_read_consistency = 'weak' 'er'", "ob_read_consistency ?"),
            ("SET @ob_read_consistency = _latin1'weak'", "ob_read_consistency ?"),
            ("SET @ob_read_consistency = @x", "ob_read_consistency ?"),
            ("SET @x = (SELECT @ob_read_consistency := 'weak')", "ob_read_consistency ?"),
            ("SELECT 'weak' INTO @ob_read_consistency", "ob_read_consistency ?"),
            ("SELECT @obproxy_route_addr := 'a:1', @x", "obproxy_route_addr ?"),
            ("GET DIAGNOSTICS @proxy_session_ldc = NUMBER", "proxy_session_ldc ?"),
            (
                "SET STATEMENT sql_mode = '' FOR SET @ob_read_consistency = 'weak'",
                "ob_read_consistency ?",
            ),
            ("SET @x = 'ob_read_consistency'", ""),
            ("SELECT @ob_read_consistency", ""),
            ("SELECT @@ob_read_consistency INTO @x", ""),
            ("SET @ob_read_consistency_ = 'weak'", ""),
        ];
        for (sql, expected) in table {
            let analysis = analyse(sql.as_bytes(), Extent::Whole, Modes::USUAL);
            let found = match analysis.changes.intersects(Changes::ROUTING) {
                true => wishes(sql.as_bytes(), Modes::USUAL),
                false => Vec::new(),
            };
            let shown: Vec<_> = found
                .iter()
                .map(|(variable, value)| {
                    let name = Variable::ALL[*variable as usize].1;
                    match value {
                        Value::Null => format!("{name} = NULL"),
                        Value::Literal(text) => format!("{name} = {}", text.escape_ascii()),
                        Value::Unknown => format!("{name} ?"),
                    }
                })
                .collect();
            assert_eq!(shown.join(", "), expected, "{sql}");
        }
    }
}
