//! Some user variables of a session, by their names: what gives another session of the same kind of
//! server the same values.
//!
//! Asked so are those that a statement has just set, where the rest of the session is known.

use super::pull::select;
use super::question::{Answer, Errand, Of, Question, StateError, rows};
use super::user::{Kind, UserValue, put_reading, put_variable};

const WHAT: &str = "user variables";

/// Statements are no longer than that, whatever a server takes.
const LONGEST: usize = 64 << 10;

/// Asks for their types, then for their values.
pub struct Named {
    names: Vec<Vec<u8>>,
    kinds: Vec<Kind>,
    values: Option<Vec<UserValue>>,
    is_asked: bool,
}

impl Named {
    /// Of these names, in ASCII.
    pub fn new(names: Vec<Vec<u8>>) -> Self {
        let values = names.is_empty().then(Vec::new);
        Self { names, kinds: Vec::new(), values, is_asked: false }
    }

    /// The statements to tell another session; None if that can't be.
    pub fn assignments(&self) -> Option<Vec<Vec<u8>>> {
        let mut statements = Vec::new();
        for (name, value) in self.names.iter().zip(self.values.as_ref()?) {
            let all = value.assignments(name, LONGEST)?;
            statements.extend(all.iter().map(|it| [b"SET ", &it[..]].concat()));
        }
        Some(statements)
    }

    fn sql(&self) -> Vec<u8> {
        if self.kinds.is_empty() {
            let put = |sql: &mut Vec<u8>, name: &Vec<u8>| put_variable(sql, name);
            return select(&self.names, put, b" LIMIT 0");
        }
        let of: Vec<_> = self.names.iter().zip(&self.kinds).collect();
        select(&of, |sql, (name, kind)| put_reading(sql, name, **kind), b" LIMIT 1")
    }

    /// None if that is not what was asked.
    fn hear_values(&mut self, row: Vec<Option<Vec<u8>>>) -> Option<()> {
        if row.len() != self.kinds.len() * 3 {
            return None;
        }
        let mut row = row.into_iter();
        let mut next = || row.next().flatten();
        let value = |&kind: &Kind| {
            let (value, charset, collation) = (next(), next(), next());
            let [charset, collation] = [charset, collation].map(Option::unwrap_or_default);
            UserValue { kind, value, charset, collation }
        };
        self.values = Some(self.kinds.iter().map(value).collect());
        Some(())
    }
}

impl Errand for Named {
    fn ask(&mut self) -> Option<Question> {
        let asks = !self.is_asked && self.values.is_none();
        self.is_asked |= asks;
        asks.then(|| Question { of: Of::Session, sql: self.sql() })
    }

    fn hear(&mut self, answer: Answer) -> Result<(), StateError> {
        if !std::mem::take(&mut self.is_asked) {
            return Err(StateError::Unasked);
        }
        let mut result = rows(answer, WHAT)?;
        let told = match (self.kinds.is_empty(), result.rows.pop()) {
            (true, None) if result.columns.len() == self.names.len() => {
                self.kinds = result.columns.iter().map(Kind::of).collect();
                Some(())
            }
            (false, Some(row)) => self.hear_values(row),
            _ => None,
        };
        told.ok_or(StateError::Malformed { what: WHAT })
    }

    fn is_done(&self) -> bool {
        self.values.is_some()
    }
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("names", &self.names.len()).finish_non_exhaustive()
    }
}
