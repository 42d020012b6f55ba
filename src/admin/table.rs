//! What commands answer: tables, and what stands in them.

use std::time::SystemTime;

use super::like::is_like;
use crate::wire::id::SessionId;

/// What drivers take for the server's version.
pub(super) const VERSION: &str = concat!("5.7.25-odp-", env!("CARGO_PKG_VERSION"));

/// What a command came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done {
        /// A task's id; 0 for none.
        id: u64,
        /// A text for people.
        info: String,
    },
    /// A result set.
    Rows(Table),
}

impl Answer {
    pub(super) fn done(info: impl Into<String>) -> Self {
        Self::Done { id: 0, info: info.into() }
    }
}

/// A result set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Names.
    pub columns: Vec<String>,
    /// Values; None is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Names of columns, and what stands in each of the row of a `T`.
pub(super) type Columns<T> = [(&'static str, fn(&T) -> String)];

impl Table {
    /// A row for each of these.
    pub(super) fn of<T>(columns: &Columns<T>, rows: &[T]) -> Self {
        let row = |of: &T| columns.iter().map(|(_, value)| Some(value(of))).collect();
        Self {
            columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            rows: rows.iter().map(row).collect(),
        }
    }

    /// A table without rows.
    pub fn with_columns(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// The table without these columns.
    pub fn without(mut self, names: &[&str]) -> Self {
        let keeps: Vec<_> =
            self.columns.iter().map(|column| !names.contains(&column.as_str())).collect();
        let keep = |at: usize| keeps[at];
        self.columns = retained(self.columns, keep);
        self.rows = self.rows.into_iter().map(|row| retained(row, keep)).collect();
        self
    }

    /// Its rows.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, values: [String; N]) {
        self.rows.push(values.into_iter().map(Some).collect());
    }
}

/// One row of a table, whose values have names.
#[derive(Clone, Copy, Debug)]
pub struct Row<'t> {
    columns: &'t [String],
    values: &'t [Option<String>],
}

impl<'t> Row<'t> {
    /// The value of a column; None: it is NULL, or there is no such column.
    pub fn value(&self, column: &str) -> Option<&'t str> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.values.get(at)?.as_deref()
    }

    /// The same, empty for none.
    pub fn text(&self, column: &str) -> &'t str {
        self.value(column).unwrap_or_default()
    }
}

/// What follows the words of a command that shows a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operands {
    /// Of a command that takes one.
    pub session: SessionId,
    pub like: Option<String>,
}

impl Operands {
    pub(super) fn matches(&self, name: &str) -> bool {
        self.like.as_deref().is_none_or(|pattern| is_like(pattern, name))
    }
}

/// An instant as people are told: UTC, to the millisecond.
pub fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

fn retained<T>(values: Vec<T>, keep: impl Fn(usize) -> bool) -> Vec<T> {
    values.into_iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, value)| value).collect()
}
