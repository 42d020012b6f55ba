//! A table: what a command shows.

/// A result set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
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
    pub(super) fn with_columns(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// The table without these columns.
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        let keeps: Vec<_> =
            self.columns.iter().map(|column| !names.contains(&column.as_str())).collect();
        let keep = |at: usize| keeps[at];
        self.columns = retained(self.columns, keep);
        self.rows = self.rows.into_iter().map(|row| retained(row, keep)).collect();
        self
    }

    /// Adds a row.
    pub(super) fn push<const N: usize>(&mut self, values: [String; N]) {
        self.rows.push(values.into_iter().map(Some).collect());
    }
}

fn retained<T>(values: Vec<T>, keep: impl Fn(usize) -> bool) -> Vec<T> {
    values.into_iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, value)| value).collect()
}
