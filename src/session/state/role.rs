//! The role of a session, as CURRENT_ROLE() tells it and SET ROLE takes it.

use super::text::put_name;
use crate::wire::flavour::Flavour;

/// What roles are in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nobody asked, or the server has none.
    Unknown,
    /// None.
    None,
    /// MariaDB's one role.
    One(Vec<u8>),
    /// MySQL's roles: name and host.
    Many(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Role {
    /// Of CURRENT_ROLE(); None if it is not what a server says.
    pub fn parse(flavour: Flavour, told: Option<Vec<u8>>) -> Option<Self> {
        let Some(told) = told else { return Some(Self::None) };
        if flavour.is_mariadb() {
            return Some(Self::One(told));
        }
        if told == b"NONE" || told.is_empty() {
            return Some(Self::None);
        }
        let (mut roles, mut rest) = (Vec::new(), &told[..]);
        loop {
            let name = take_quoted(&mut rest)?;
            rest = rest.strip_prefix(b"@")?;
            roles.push((name, take_quoted(&mut rest)?));
            if rest.is_empty() {
                return Some(Self::Many(roles));
            }
            rest = rest.strip_prefix(b",")?;
        }
    }

    /// The statement that brings it into force; None if there is nothing to say.
    pub fn statement(&self) -> Option<Vec<u8>> {
        let mut sql = b"SET ROLE ".to_vec();
        match self {
            Self::Unknown => return None,
            Self::None => sql.extend(b"NONE"),
            Self::One(name) => put_name(&mut sql, name),
            Self::Many(roles) => {
                for (at, (name, host)) in roles.iter().enumerate() {
                    if at > 0 {
                        sql.push(b',');
                    }
                    put_name(&mut sql, name);
                    sql.push(b'@');
                    put_name(&mut sql, host);
                }
            }
        }
        Some(sql)
    }
}

/// A name in backquotes, or in the quotes that ANSI_QUOTES makes of them.
fn take_quoted(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let (&quote, mut behind) = rest.split_first().filter(|(quote, _)| b"`\"".contains(quote))?;
    let mut name = Vec::new();
    loop {
        let (&byte, next) = behind.split_first()?;
        behind = next;
        if byte != quote {
            name.push(byte);
        } else if behind.first() == Some(&quote) {
            name.push(quote);
            behind = &behind[1..];
        } else {
            *rest = behind;
            return Some(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MYSQL: Flavour = Flavour::MySql { major: 9, minor: 7 };
    const MARIADB: Flavour = Flavour::MariaDb { major: 10, minor: 11 };

    #[test]
    fn a_role_is_said_as_it_was_told_whatever_the_quotes_are() {
        type Case<'a> = (Flavour, Option<&'a [u8]>, Option<&'a str>);
        let table: &[Case] = &[
            (MYSQL, Some(b"NONE"), Some("SET ROLE NONE")),
            (MARIADB, None, Some("SET ROLE NONE")),
            (MARIADB, Some(b"a`b"), Some("SET ROLE `a``b`")),
            (MYSQL, Some(b"`a``b`@`%`,`c`@`h`"), Some("SET ROLE `a``b`@`%`,`c`@`h`")),
            (MYSQL, Some(b"\"a`b\"@\"%\""), Some("SET ROLE `a``b`@`%`")),
            (MYSQL, Some(b"`a`"), None),
            (MYSQL, Some(b"`a`@`b"), None),
            (MYSQL, Some(b"a@b"), None),
            (MYSQL, Some(b"`a`@`b`,"), None),
        ];
        for (flavour, told, statement) in table {
            let role = Role::parse(*flavour, told.map(<[u8]>::to_vec));
            let said = role.map(|role| role.statement().expect("it is known"));
            assert_eq!(said.as_deref(), statement.map(str::as_bytes), "{told:?}");
        }
    }
}
