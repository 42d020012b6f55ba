//! Which kind of server it is, from the version in its greeting.

use serde::{Deserialize, Serialize};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavour {
    /// MariaDB.
    MariaDb {
        /// 10 of 10.11.
        major: u16,
        /// 11 of 10.11.
        minor: u16,
    },
    /// MySQL, and whatever does not say that it is something else.
    MySql {
        /// 8 of 8.4.
        major: u16,
        /// 4 of 8.4.
        minor: u16,
    },
    /// OceanBase, and its small form.
    OceanBase,
}

/// What MariaDB puts in front of its version, so that old replicas take it for a MySQL.
const DISGUISE: &[u8] = b"5.5.5-";

impl Flavour {
    /// Of a version such as `5.5.5-10.11.6-MariaDB-log`.
    pub fn of(version: &[u8]) -> Self {
        let has = |word: &[u8]| {
            version.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word))
        };
        if has(b"oceanbase") || has(b"seekdb") {
            return Self::OceanBase;
        }
        if !has(b"mariadb") {
            let (major, minor) = numbers(version);
            return Self::MySql { major, minor };
        }
        let (major, minor) = numbers(version.strip_prefix(DISGUISE).unwrap_or(version));
        Self::MariaDb { major, minor }
    }

    /// Whether it is a MariaDB.
    pub fn is_mariadb(self) -> bool {
        matches!(self, Self::MariaDb { .. })
    }
}

fn numbers(version: &[u8]) -> (u16, u16) {
    let mut parts = version.split(|byte| !byte.is_ascii_digit());
    let mut next = || std::str::from_utf8(parts.next()?).ok()?.parse().ok();
    (next().unwrap_or(0), next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_tells_the_kind() {
        let table: &[(&[u8], Flavour)] = &[
            (b"5.5.5-10.11.6-MariaDB-log", Flavour::MariaDb { major: 10, minor: 11 }),
            (b"11.8.9-MariaDB", Flavour::MariaDb { major: 11, minor: 8 }),
            (b"9.7.4-2", Flavour::MySql { major: 9, minor: 7 }),
            (b"5.5.5-log", Flavour::MySql { major: 5, minor: 5 }),
            (b"5.7.25-OceanBase-v4.3.5.3", Flavour::OceanBase),
            (b"5.7.25-SeekDB", Flavour::OceanBase),
            (b"", Flavour::MySql { major: 0, minor: 0 }),
            (b"99999999.1", Flavour::MySql { major: 0, minor: 1 }),
        ];
        for (version, flavour) in table {
            assert_eq!(Flavour::of(version), *flavour, "{}", version.escape_ascii());
        }
    }
}
