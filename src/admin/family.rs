//! A metric on its way to the page.

/// Names and values.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A metric: its name, what it means, and a value for each set of labels.
pub(super) type Family<T> = (&'static str, &'static str, Vec<(Labels, T)>);
