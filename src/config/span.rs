//! Durations as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::serde_by_text;

/// A duration as people write it: `"30s"`, `"1m 30s"`, `"100ms"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let span = humantime::parse_duration(text)
            .map_err(|_| format!("'{text}': expected a duration such as \"30s\" or \"100ms\""))?;
        // A year: long enough for anybody, short enough that no sum of instants overflows.
        if span > Duration::from_secs(366 * 86_400) {
            return Err(format!("'{text}': expected at most 366 days"));
        }
        Ok(Self(span))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

serde_by_text!(Span, "a duration such as \"30s\" or \"100ms\"");

/// `hot_upgrade_exit_timeout`: a duration, 0 (at once) or -1 (wait for ever).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitTimeout {
    /// -1: the predecessor goes when its last session is gone.
    Never,
    /// What is left then gets 1053.
    After(Duration),
}

impl FromStr for ExitTimeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "-1" {
            return Ok(Self::Never);
        }
        let span: Result<Span, _> = text.parse();
        span.map(|span| Self::After(span.0)).map_err(|error| format!("{error}, 0 or -1"))
    }
}

impl fmt::Display for ExitTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("-1"),
            Self::After(span) => Span(*span).fmt(f),
        }
    }
}

impl Serialize for ExitTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ExitTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExitTimeoutReader)
    }
}

/// Both -1 and "-1" are taken: the one is TOML's habit, the other ODP's.
struct ExitTimeoutReader;

impl Visitor<'_> for ExitTimeoutReader {
    type Value = ExitTimeout;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"30s\" or \"100ms\", 0 or -1")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ExitTimeout, E> {
        match number {
            -1 => Ok(ExitTimeout::Never),
            0 => Ok(ExitTimeout::After(Duration::ZERO)),
            number => Err(E::custom(format!("{number}: expected a duration, 0 or -1"))),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ExitTimeout, E> {
        text.parse().map_err(E::custom)
    }
}
