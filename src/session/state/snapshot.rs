//! A session's state, as pulled.

use std::collections::BTreeMap;
use std::fmt;

use super::role::Role;
use super::user::UserValue;
use super::variable::Variable;
use crate::wire::flavour::Flavour;

/// Everything that was pulled of a session. It holds a client's values: it shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    /// The kind of server it comes from.
    pub flavour: Flavour,
    /// The default schema.
    pub schema: Option<Vec<u8>>,
    /// System variables by their names on that server.
    pub variables: BTreeMap<String, Variable>,
    /// Of which collation its statements are; None: of that which its character set has.
    pub collation: Option<Vec<u8>>,
    /// User variables by their names, in UTF-8.
    pub user_variables: BTreeMap<Vec<u8>, UserValue>,
    /// The role.
    pub role: Role,
    /// Whose session it is, by USER(); None: nobody asked.
    pub user: Option<Vec<u8>>,
    /// LAST_INSERT_ID().
    pub last_insert_id: u64,
    /// What `SET timestamp` has set, if it has.
    pub timestamp: Option<Vec<u8>>,
    /// What the last statement left behind, where the pull has destroyed it.
    pub diagnostics: Option<Diagnostics>,
    /// Why the session cannot be carried, if so.
    pub hidden: Vec<Hidden>,
}

/// What a statement leaves for SHOW WARNINGS and its functions; None is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// ROW_COUNT().
    pub row_count: Option<i64>,
    /// FOUND_ROWS().
    pub found_rows: Option<u64>,
    /// `@@warning_count`, which counts those too that were not kept.
    pub warning_count: Option<u64>,
    /// `@@error_count`.
    pub error_count: Option<u64>,
    /// The rows of SHOW WARNINGS.
    pub warnings: Vec<Warning>,
}

/// A row of SHOW WARNINGS, in the session's character set for results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Note, Warning or Error.
    pub level: Vec<u8>,
    /// Its number, in digits.
    pub code: Vec<u8>,
    /// Its text.
    pub message: Vec<u8>,
}

/// Why a session cannot be carried to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// It has temporary tables. On MariaDB 10: it has made one, and may have dropped it.
    TemporaryTables,
    /// It holds user locks, table locks or handlers.
    Locks,
    /// Its user variables cannot be listed.
    UserVariables,
    /// This user variable cannot be read.
    UserVariable(Vec<u8>),
    /// This variable is set, which is for the next statement.
    OfTheNext(&'static str),
    /// The server, or the want of a service account, does not let us see whether it has these.
    NotTold(&'static str),
}

impl Hidden {
    /// What it is about.
    pub fn what(&self) -> &'static str {
        match self {
            Self::TemporaryTables => "temporary tables",
            Self::Locks => "locks",
            Self::UserVariables => "user variables",
            Self::UserVariable(_) => "a user variable",
            Self::OfTheNext(what) | Self::NotTold(what) => what,
        }
    }

    /// Whether it keeps reads from going elsewhere, too.
    pub fn keeps_reads(&self) -> bool {
        !matches!(self, Self::OfTheNext(_))
    }
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TemporaryTables | Self::Locks => f.write_str(self.what()),
            Self::UserVariables => f.write_str("user variables that cannot be listed"),
            Self::UserVariable(name) => {
                write!(f, "user variable {} that cannot be read", name.escape_ascii())
            }
            Self::OfTheNext(name) => write!(f, "{name} for the next statement"),
            Self::NotTold(what) => write!(f, "{what} cannot be seen"),
        }
    }
}

impl State {
    /// Of a session of which nothing is known yet.
    pub(super) fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            schema: None,
            variables: BTreeMap::new(),
            collation: None,
            user_variables: BTreeMap::new(),
            role: Role::Unknown,
            user: None,
            last_insert_id: 0,
            timestamp: None,
            diagnostics: None,
            hidden: Vec::new(),
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("flavour", &self.flavour)
            .field("variables", &self.variables.len())
            .field("user_variables", &self.user_variables.len())
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}
