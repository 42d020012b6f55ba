//! System variables: their values, and which of them are what.

use serde::{Deserialize, Serialize};

use super::text;

/// The value of a system variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// NULL, which a few of them may be.
    Null,
    /// A number, in digits.
    Number(Vec<u8>),
    /// Anything else, in UTF-8.
    Text(Vec<u8>),
}

impl Value {
    /// What there is to tell a server that has `there`: nothing if it is the same to it.
    pub(super) fn to_tell(&self, name: &str, there: &Self) -> Option<Self> {
        match (self, there) {
            (Self::Text(here), Self::Text(there)) if is_switches(name) => {
                Some(switches(here, there)).filter(|it| !it.is_empty()).map(Self::Text)
            }
            _ => (self != there).then(|| self.clone()),
        }
    }

    /// As the server writes it; None is NULL.
    pub fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Null => None,
            Self::Number(text) | Self::Text(text) => Some(text),
        }
    }

    /// How a SET takes it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend(b"NULL"),
            Self::Number(digits) => out.extend(digits),
            Self::Text(text) => text::put_string(out, text),
        }
    }
}

/// Who gave a variable its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is that of a fresh session.
    Server,
    /// It is not, so it is the session's own.
    Session,
}

/// A system variable of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// What it is.
    pub value: Value,
    /// Whose.
    pub origin: Origin,
}

/// What says what happened and not what is to be, what says where it happened, what is carried as
/// something else, and `session_track_*`, which is whoever's who turned the trackers on.
const NEVER_CARRIED: &[&str] = &[
    "character_set_database",
    "collation_database",
    "error_count",
    "external_user",
    "gtid_next",
    "gtid_seq_no",
    "identity",
    "in_transaction",
    "insert_id",
    "last_gtid",
    "last_insert_id",
    "max_allowed_packet",
    "max_user_connections",
    "net_buffer_length",
    "proxy_user",
    "pseudo_thread_id",
    "rand_seed1",
    "rand_seed2",
    "redirect_url",
    "statement_id",
    "timestamp",
    "warning_count",
    "wsrep_gtid_seq_no",
];

/// Of those, what holds for statements to come. Where it was set the session stays: it cannot be
/// told twice, and of some of it a server says no more once it was used.
const OF_THE_NEXT: &[&str] = &["gtid_next", "gtid_seq_no", "insert_id", "wsrep_gtid_seq_no"];

/// Carried if the session itself has changed them; else every server has its own.
const OF_THE_SERVER: &[&str] = &[
    "auto_increment_increment",
    "auto_increment_offset",
    "gtid_domain_id",
    "innodb_tmpdir",
    "server_id",
];

/// What a node of a Galera cluster sets anew for each statement, whatever the session has set.
pub const OF_THE_NODE: [&str; 2] = ["auto_increment_increment", "auto_increment_offset"];

const OF_THE_SERVER_PREFIXES: &[&str] = &["optimizer_", "wsrep_"];

/// Names of one variable in different servers.
const RENAMES: &[(&str, &str)] = &[
    ("tx_isolation", "transaction_isolation"),
    ("tx_read_only", "transaction_read_only"),
    ("storage_engine", "default_storage_engine"),
    ("pseudo_slave_mode", "pseudo_replica_mode"),
    ("old_alter_table", "alter_algorithm"),
];

/// When a variable is told to a session that learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// Before everything else: the values of others depend on it.
    First,
    /// In no order.
    Any,
    /// How statements are read and answered: always told, as ours are read otherwise. In the order
    /// of [`READING`].
    Reading,
    /// At the end, as it may stand in the way of what is told.
    Last,
}

/// Of [`Turn::Reading`], in the order in which they must be set.
pub const READING: &[&str] = &[
    "character_set_client",
    "character_set_results",
    "character_set_connection",
    "collation_connection",
    "sql_mode",
];

const LAST: &[&str] = &[
    "autocommit",
    "lc_messages",
    "max_execution_time",
    "max_join_size",
    "max_session_mem_used",
    "max_statement_time",
    "sql_big_selects",
    "sql_log_bin",
    "sql_select_limit",
    "transaction_isolation",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
];

/// What a SET of a variable changes by the way: it must be told behind it, changed or not.
pub fn dragged_along(name: &str) -> Option<&'static str> {
    match name {
        "character_set_server" => Some("collation_server"),
        "max_join_size" => Some("sql_big_selects"),
        _ => None,
    }
}

/// Whether it is part of what is carried.
pub fn is_carried(name: &str) -> bool {
    !NEVER_CARRIED.contains(&name) && !name.starts_with("session_track_")
}

/// Whether a session that has set it stays where it is; by its name here.
pub fn of_the_next(name: &str) -> Option<&'static str> {
    OF_THE_NEXT.iter().find(|it| **it == name).copied()
}

/// Whether a server is asked for it.
pub fn is_asked(name: &str) -> bool {
    is_carried(name) || of_the_next(name).is_some()
}

/// Whether every server has its own, as long as the session has not changed it.
pub fn is_of_the_server(name: &str) -> bool {
    let starts = |prefix: &&str| name.starts_with(prefix);
    OF_THE_SERVER.contains(&name) || OF_THE_SERVER_PREFIXES.iter().any(starts)
}

/// What it is called elsewhere.
pub fn other_name(name: &str) -> Option<&'static str> {
    RENAMES.iter().find_map(|&(one, other)| match () {
        () if one == name => Some(other),
        () if other == name => Some(one),
        () => None,
    })
}

/// Whether it is a list of `name=on` and `name=off` that grows with the versions, so that no server
/// takes another's as a whole.
pub fn is_switches(name: &str) -> bool {
    matches!(name, "optimizer_switch" | "optimizer_trace")
}

/// The switches of `here` that `there` has too and has otherwise.
pub fn switches(here: &[u8], there: &[u8]) -> Vec<u8> {
    let name = |switch: &[u8]| switch.split(|&byte| byte == b'=').next().map(<[u8]>::to_vec);
    let is_other = |switch: &&[u8]| {
        let mut there = there.split(|&byte| byte == b',').filter(|it| name(it) == name(switch));
        there.next().is_some_and(|it| it != *switch)
    };
    let switches: Vec<&[u8]> = here.split(|&byte| byte == b',').filter(is_other).collect();
    switches.join(&b',')
}

/// When it is told.
pub fn turn(name: &str) -> Turn {
    match name {
        "time_zone" | "character_set_server" | "collation_server" => Turn::First,
        name if READING.contains(&name) => Turn::Reading,
        name if LAST.contains(&name) => Turn::Last,
        _ => Turn::Any,
    }
}
