//! What operators have altered, as a table and as the file in `state_dir`.
//!
//! The file says of each parameter what the config's file said when it was altered, so that a
//! config that says something new wins. Half a file is none: it says how many there are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::document::Document;
use super::flaw::Flaw;

/// What the file begins with.
const HEAD: &str = "\
# What operators have changed by ALTER. odp writes this file, and reads it when it starts by\n\
# itself.\n";

/// A parameter that was altered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Altered {
    /// What the file of the config says.
    pub from: String,
    /// What is in force.
    pub value: String,
    /// Who has altered it, if that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
    /// When, in UTC.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub at: String,
    /// What the store of the fleet said when it was last looked at; None: nothing, or nobody has
    /// looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
}

/// What the store of the fleet says of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Which store: one that was emptied is another one.
    pub store: String,
    /// Its value there.
    pub value: String,
    /// Counts up with each change of it.
    pub revision: u64,
}

impl Altered {
    /// Whether the store of the fleet says the same.
    pub fn is_shared(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.value == self.value)
    }
}

/// All of them, by the names of parameters.
pub type Alterations = BTreeMap<String, Altered>;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlterationsFile {
    /// Of the proxy whose they are.
    pub run_dir: PathBuf,
    /// How many there are.
    count: usize,
    /// What was altered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameter: Alterations,
}

impl AlterationsFile {
    /// Of the proxy with this `run_dir`.
    pub fn new(run_dir: &Path, parameter: Alterations) -> Self {
        Self { run_dir: run_dir.to_owned(), count: parameter.len(), parameter }
    }

    /// Understands a text; `path` serves the errors.
    ///
    /// # Errors
    ///
    /// It is damaged: where, and what was expected.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut document = Document::new(text);
        let file: Option<Self> = document.read();
        if let Some(Self { count, parameter, .. }) = &file
            && *count != parameter.len()
        {
            let found = parameter.len();
            let text = format!("count = {count}: {found} are there; the file is not whole");
            document.judge(vec![Flaw::new("count", text)]);
        }
        let mistakes = document.into_mistakes();
        match file.filter(|_| mistakes.is_empty()) {
            Some(file) => Ok(file),
            None => Err(ConfigError::Wrong { path: path.into(), mistakes }),
        }
    }

    /// As it is written.
    pub fn text(&self) -> String {
        // Strings in tables: there is nothing that could not be written.
        format!("{HEAD}{}", toml::to_string(self).unwrap_or_default())
    }
}

/// Of two tables what was altered last, name by name.
pub fn latest(one: Alterations, other: Alterations) -> Alterations {
    let mut latest = one;
    for (name, altered) in other {
        if latest.get(&name).is_none_or(|known| known.at < altered.at) {
            latest.insert(name, altered);
        }
    }
    latest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn altered(value: &str, at: &str) -> Altered {
        let text = |text: &str| text.to_owned();
        let (from, value, by, at) = (text("1s"), text(value), text("root"), text(at));
        Altered { from, value, by, at, shared: None }
    }

    fn file() -> AlterationsFile {
        let names = ["connect_timeout", "cluster.a \"b\".init_sql"];
        let values = ["5s", "SET @a = 'x\\y\n\u{1}ü'"];
        let all = names.into_iter().zip(values).map(|(name, it)| (name.into(), altered(it, "2")));
        let mut all: Alterations = all.collect();
        let shared = Shared { store: "s".into(), value: "5s".into(), revision: u64::MAX >> 1 };
        all.entry("connect_timeout".into()).and_modify(|it| it.shared = Some(shared));
        AlterationsFile::new("/run/odp".as_ref(), all)
    }

    #[test]
    fn what_is_written_is_read() {
        let none = AlterationsFile::new("/run/odp".as_ref(), Alterations::new());
        for file in [file(), none] {
            let text = file.text();
            assert_eq!(AlterationsFile::parse(&text, "p".as_ref()).expect(&text), file);
        }
    }

    #[test]
    fn no_part_of_a_file_is_taken_for_the_file() {
        let text = file().text();
        let whole = AlterationsFile::parse(&text, "p".as_ref()).expect(&text);
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            if let Ok(part) = AlterationsFile::parse(&text[..end], "p".as_ref()) {
                // Only who has been altered by whom may be missing, and not that.
                let values = |file: &AlterationsFile| -> Vec<_> {
                    file.parameter.values().map(|it| (it.from.clone(), it.value.clone())).collect()
                };
                assert_eq!(values(&part), values(&whole), "{end}");
            }
        }
    }

    #[test]
    fn what_is_damaged_is_told_with_its_line() {
        for (text, expected) in [
            ("", "line 1, column 1: missing field `run_dir`"),
            ("run_dir = '/r'\ncount = 1\n", "line 2, column 9: count = 1: 0 are there"),
            ("run_dir = '/r'\ncount = 0\n\0", "line 3, column 1: "),
            (
                "run_dir = '/r'\ncount = 1\n[parameter.a]\nvalue = '1s'\n",
                "line 3, column 1: parameter.a: missing field `from`",
            ),
            ("run_dir = '/r'\ncount = 0\nparametr = {}\n", "did you mean `parameter`?"),
        ] {
            let error = AlterationsFile::parse(text, "p".as_ref()).expect_err(text).to_string();
            assert!(error.contains(expected), "{expected} is not in: {error}");
        }
    }

    #[test]
    fn of_two_tables_the_later_change_counts() {
        let table = |value: &str, at: &str| Alterations::from([("a".into(), altered(value, at))]);
        let time = ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:00.001Z"];
        for (one, other, expected) in
            [((time[0], "x"), (time[1], "y"), "y"), ((time[1], "x"), (time[0], "y"), "x")]
        {
            let latest = latest(table(one.1, one.0), table(other.1, other.0));
            assert_eq!(latest["a"].value, expected);
        }
        assert_eq!(latest(Alterations::new(), table("x", "")).len(), 1);
    }
}
