//! Some user variables of a session, by their names: what gives another session of the same kind of
//! server the same values.
//!
//! Asked so are those that a statement has just set, where the rest of the session is known.

use super::question::{Answer, Errand, Of, Question, StateError, rows};
use super::user::{Kind, UserValue, types_of, values_of, values_told};

const WHAT: &str = "user variables";

/// Statements are no longer than that, whatever a server takes.
const LONGEST: usize = 64 << 10;

/// Asks for their types, then for their values.
pub struct Named {
    names: Vec<Vec<u8>>,
    /// With their types, once those are known.
    typed: Vec<(Vec<u8>, Kind)>,
    values: Option<Vec<UserValue>>,
    is_asked: bool,
}

impl Named {
    /// Of these names, in ASCII.
    pub fn new(names: Vec<Vec<u8>>) -> Self {
        let values = names.is_empty().then(Vec::new);
        Self { names, typed: Vec::new(), values, is_asked: false }
    }

    /// The statements to tell another session; None if that can't be.
    pub fn assignments(&self) -> Option<Vec<Vec<u8>>> {
        let mut statements = Vec::new();
        for ((name, _), value) in self.typed.iter().zip(self.values.as_ref()?) {
            let all = value.assignments(name, LONGEST)?;
            statements.extend(all.iter().map(|it| [b"SET ", &it[..]].concat()));
        }
        Some(statements)
    }

    fn sql(&self) -> Vec<u8> {
        if self.typed.is_empty() { types_of(&self.names) } else { values_of(&self.typed) }
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
        let told = match (self.typed.is_empty(), result.rows.pop()) {
            (true, None) if result.columns.len() == self.names.len() => {
                let kinds = result.columns.iter().map(Kind::of);
                self.typed = std::mem::take(&mut self.names).into_iter().zip(kinds).collect();
                Some(())
            }
            (false, Some(row)) => {
                self.values = values_told(&self.typed, row);
                self.values.is_some().then_some(())
            }
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
        let count = self.names.len() + self.typed.len();
        f.debug_struct("Named").field("count", &count).finish_non_exhaustive()
    }
}
