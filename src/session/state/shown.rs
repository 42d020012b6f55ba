//! A session's variables as people see them.

use super::inventory::Inventory;
use super::snapshot::State;
use super::text::put_hex;
use super::user::{Kind, UserValue};
use super::variable::{Origin, Value};

/// No more than this is shown of a value.
const MOST: usize = 1024;

/// A variable of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its name, without `@`.
    pub name: String,
    /// Its value; None is NULL.
    pub value: Option<String>,
    /// Whose it is.
    pub whose: Whose,
}

/// Whose a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A system variable that is as in any session.
    Server,
    /// A system variable that the session has changed.
    Session,
    /// A user variable.
    User,
}

/// It holds a client's values: it shows none of them.
impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown").field("whose", &self.whose).finish_non_exhaustive()
    }
}

impl Shown {
    /// A system variable.
    pub(super) fn system(name: &str, value: &Value, origin: Origin) -> Self {
        let whose = match origin {
            Origin::Server => Whose::Server,
            Origin::Session => Whose::Session,
        };
        Self { name: name.into(), value: value.text().map(text), whose }
    }

    /// A user variable.
    pub(super) fn user(name: &[u8], value: Option<&[u8]>) -> Self {
        Self { name: text(name), value: value.map(text), whose: Whose::User }
    }

    /// LAST_INSERT_ID().
    pub(super) fn last_insert_id(id: u64) -> Self {
        let origin = if id == 0 { Origin::Server } else { Origin::Session };
        Self::system(LAST_INSERT_ID, &Value::Number(id.to_string().into()), origin)
    }

    /// Whether it is LAST_INSERT_ID().
    pub fn is_last_insert_id(&self) -> bool {
        self.whose != Whose::User && self.name == LAST_INSERT_ID
    }
}

const LAST_INSERT_ID: &str = "last_insert_id";

impl State {
    /// The variables that are carried.
    pub fn shown(&self) -> Vec<Shown> {
        let system = self.variables.iter();
        let system = system.map(|(name, it)| Shown::system(name, &it.value, it.origin));
        let time = self
            .timestamp
            .iter()
            .map(|time| Shown::system("timestamp", &Value::Number(time.clone()), Origin::Session));
        let id = std::iter::once(Shown::last_insert_id(self.last_insert_id));
        let user = self.user_variables.iter().map(|(name, value)| of_user(name, value));
        system.chain(time).chain(id).chain(user).collect()
    }
}

fn of_user(name: &[u8], value: &UserValue) -> Shown {
    let is_foreign = value.kind == Kind::Geometry || is_wide(&value.charset);
    match &value.value {
        Some(bytes) if is_foreign => {
            Shown { name: text(name), value: Some(hex(bytes)), whose: Whose::User }
        }
        bytes => Shown::user(name, bytes.as_deref()),
    }
}

/// Whether bytes of this character set would be taken for others.
fn is_wide(charset: &[u8]) -> bool {
    [&b"ucs2"[..], b"utf16", b"utf16le", b"utf32"].contains(&charset)
}

/// UTF-8 as it is, anything else in hexadecimal.
fn text(bytes: &[u8]) -> String {
    let Ok(whole) = std::str::from_utf8(bytes) else { return hex(bytes) };
    let end = (0..=MOST.min(whole.len())).rev().find(|at| whole.is_char_boundary(*at));
    let shown = &whole[..end.unwrap_or_default()];
    if shown.len() < whole.len() { format!("{shown}…") } else { shown.into() }
}

fn hex(bytes: &[u8]) -> String {
    let mut shown = Vec::new();
    put_hex(&mut shown, &bytes[..bytes.len().min(MOST / 2)]);
    let more = if bytes.len() > MOST / 2 { "…" } else { "" };
    format!("{}{more}", String::from_utf8_lossy(&shown))
}

impl Inventory {
    /// A variable of a session as performance_schema tells it; None: it is not carried.
    pub(super) fn shown(&self, name: &str, value: Option<Vec<u8>>) -> Option<Shown> {
        let known = self.variable(name)?;
        let value = self.by_thread(name, value)?;
        let origin = if known.fresh == value { Origin::Server } else { Origin::Session };
        Some(Shown::system(name, &value, origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_text_if_it_is_one() {
        let long = "ä".repeat(MOST);
        for (bytes, expected) in [
            (&b"plain"[..], "plain".to_owned()),
            (b"", String::new()),
            (b"\xff\x00", "X'FF00'".to_owned()),
            (long.as_bytes(), format!("{}…", "ä".repeat(MOST / 2))),
        ] {
            assert_eq!(text(bytes), expected);
        }
        let shown = hex(&[1; MOST]);
        assert!(shown.ends_with("01'…") && shown.len() < MOST + 10);
    }

    #[test]
    fn nothing_is_told_of_a_value_in_passing() {
        let shown = Shown::user(b"secret_name", Some(b"secret_value"));
        assert!(!format!("{shown:?}").contains("secret"));
    }
}
