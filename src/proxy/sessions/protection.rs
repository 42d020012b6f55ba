//! Whether a session would go on after a crash of the proxy, in words.

use std::fmt;

use crate::journal::Unregistered;
use crate::names::named;

/// Whether a session would go on after a crash, as people see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// `crash_protection` is off.
    #[default]
    Off,
    /// It is about to be on record.
    Soon,
    /// It would.
    Protected,
    /// It would not.
    Unprotected(Why),
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("false: crash_protection is off"),
            Self::Soon => f.write_str("false: not on record yet"),
            Self::Protected => f.write_str("true"),
            Self::Unprotected(why) => write!(f, "false: {why}"),
        }
    }
}

named! {
    /// Why a session would be lost in a crash; what is shown.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum Why {
        Uncounted = "a socket that is never at rest",
        SeveralServers = "more than seven servers",
        NoRoom = "no room in the journal",
        TooLarge = "too much is known of it",
    }
}

impl From<Unregistered> for Why {
    fn from(why: Unregistered) -> Self {
        match why {
            Unregistered::Full => Self::NoRoom,
            Unregistered::Uncounted => Self::Uncounted,
            Unregistered::TooManyLegs => Self::SeveralServers,
            Unregistered::TooLarge => Self::TooLarge,
        }
    }
}
