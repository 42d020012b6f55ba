//! What is wrong with a config that can be read.

/// Values that do not fit together, or one that fits nowhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The keys that it is about, such as `admin.user.1.password`; it is found at the first.
    pub(super) paths: Vec<String>,
    /// Key, value and what was expected.
    pub(super) text: String,
}

impl Flaw {
    /// At this key.
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { paths: vec![path.into()], text: text.into() }
    }

    /// It is about this one too.
    pub(crate) fn and(mut self, path: impl Into<String>) -> Self {
        self.paths.push(path.into());
        self
    }
}

/// Places of what stands before them already.
pub(super) fn repeated<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<usize> {
    let all: Vec<T> = all.collect();
    (0..all.len()).filter(|at| all[..*at].contains(&all[*at])).collect()
}
