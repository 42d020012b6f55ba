//! What servers are told in a switchover. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use crate::wire::flavour::Flavour;

/// In whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// GTIDs of domains, servers and numbers.
    MariaDb,
    /// Sets of GTIDs.
    MySql,
}

/// How far a server is, as GTIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position(String);

/// Whom a server is to replicate from.
#[derive(Clone, Debug)]
pub(super) struct Source<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// A name and a password; None: those that it has.
    pub(super) account: Option<(&'a str, &'a str)>,
}

impl Position {
    /// Of what a server has answered; None if it has written none, or it is none.
    pub(super) fn read(answer: &[u8]) -> Option<Self> {
        let text: Vec<u8> = answer.iter().copied().filter(|it| !it.is_ascii_whitespace()).collect();
        let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"-:,".contains(byte);
        let is_one = !text.is_empty() && text.iter().all(is_of_it);
        is_one.then(|| String::from_utf8(text).ok().map(Self)).flatten()
    }
}

impl Words {
    /// None: there is no switchover of such servers.
    pub(super) fn of(flavour: Flavour) -> Option<Self> {
        match flavour {
            Flavour::MariaDb { .. } => Some(Self::MariaDb),
            Flavour::MySql { .. } => Some(Self::MySql),
            Flavour::OceanBase => None,
        }
    }

    /// No write any more. A statement that runs is waited for, for so long.
    pub(super) fn fence(self, limit: Duration) -> [String; 2] {
        let wait = format!("SET SESSION lock_wait_timeout = {}", limit.as_secs().max(1));
        let read_only = match self {
            Self::MariaDb => "SET GLOBAL read_only = ON",
            Self::MySql => "SET GLOBAL super_read_only = ON",
        };
        [wait, read_only.into()]
    }

    /// Writes again.
    pub(super) fn open(self) -> &'static [&'static str] {
        match self {
            Self::MariaDb => &["SET GLOBAL read_only = OFF"],
            Self::MySql => &["SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"],
        }
    }

    /// Asks how far the primary is.
    pub(super) fn position(self) -> &'static str {
        match self {
            Self::MariaDb => "SELECT @@GLOBAL.gtid_binlog_pos",
            Self::MySql => "SELECT @@GLOBAL.gtid_executed",
        }
    }

    /// Waits until a replica is as far; it answers 0 then.
    pub(super) fn catch_up(self, position: &Position, limit: Duration) -> String {
        let (Position(position), seconds) = (position, limit.as_secs().max(1));
        match self {
            Self::MariaDb => format!("SELECT MASTER_GTID_WAIT('{position}', {seconds})"),
            Self::MySql => format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds})"),
        }
    }

    /// A replica receives and applies no more.
    pub(super) fn stop(self) -> &'static str {
        match self {
            Self::MariaDb => "STOP SLAVE",
            Self::MySql => "STOP REPLICA",
        }
    }

    /// It does again.
    pub(super) fn start(self) -> &'static str {
        match self {
            Self::MariaDb => "START SLAVE",
            Self::MySql => "START REPLICA",
        }
    }

    /// It was no replica.
    pub(super) fn forget(self) -> &'static str {
        match self {
            Self::MariaDb => "RESET SLAVE ALL",
            Self::MySql => "RESET REPLICA ALL",
        }
    }

    /// A replica gets another source. `was_at`: of what was the primary, how far it was.
    pub(super) fn follow(self, source: &Source<'_>, was_at: Option<&Position>) -> Vec<String> {
        let mut words = vec!["SET SESSION sql_mode = ''".to_owned()];
        match was_at {
            None => words.push(self.stop().into()),
            // What it has written is what it has.
            Some(Position(position)) if self == Self::MariaDb => {
                words.push(format!("SET GLOBAL gtid_slave_pos = '{position}'"));
            }
            Some(_) => {}
        }
        words.push(self.change(source));
        words.push(self.start().into());
        words
    }

    fn change(self, source: &Source<'_>) -> String {
        let (verb, prefix, how) = match self {
            Self::MariaDb => ("CHANGE MASTER TO", "MASTER", "MASTER_USE_GTID = slave_pos"),
            Self::MySql => (
                "CHANGE REPLICATION SOURCE TO",
                "SOURCE",
                "SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
            ),
        };
        let (host, port) = (quoted(source.host), source.port);
        let mut out = format!("{verb} {prefix}_HOST = {host}, {prefix}_PORT = {port}, {how}");
        if let Some((user, password)) = source.account {
            let (user, password) = (quoted(user), quoted(password));
            // Writing to a String does not fail.
            let _ = write!(out, ", {prefix}_USER = {user}, {prefix}_PASSWORD = {password}");
        }
        out
    }
}

/// A string where a backslash escapes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_gtids_and_nothing_else() {
        let mysql =
            b"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n3e11fa47-71ca-11e1-9e33-c80aa9429563:1";
        let one = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\
                   3e11fa47-71ca-11e1-9e33-c80aa9429563:1";
        assert_eq!(Position::read(mysql), Some(Position(one.into())));
        assert_eq!(Position::read(b"0-1-17,1-2-3"), Some(Position("0-1-17,1-2-3".into())));
        for none in [&b""[..], b" \n", b"0-1-17'", b"0-1-17;", b"\xff"] {
            assert_eq!(Position::read(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_was_the_primary_follows_from_where_it_was() {
        let source = Source { host: "10.0.0.2", port: 3306, account: Some(("s", r"a'b\c")) };
        let at = Position("0-1-17".into());
        let words = Words::MariaDb.follow(&source, Some(&at));
        assert_eq!(
            words[1..],
            [
                "SET GLOBAL gtid_slave_pos = '0-1-17'",
                "CHANGE MASTER TO MASTER_HOST = '10.0.0.2', MASTER_PORT = 3306, \
                 MASTER_USE_GTID = slave_pos, MASTER_USER = 's', MASTER_PASSWORD = 'a''b\\\\c'",
                "START SLAVE",
            ]
        );
        let source = Source { account: None, ..source };
        assert_eq!(
            Words::MySql.follow(&source, None)[1..],
            [
                "STOP REPLICA",
                "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '10.0.0.2', SOURCE_PORT = 3306, \
                 SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1",
                "START REPLICA",
            ]
        );
    }

    #[test]
    fn times_are_whole_seconds_and_never_for_ever() {
        let at = Position("0-1-17".into());
        // WAIT_FOR_EXECUTED_GTID_SET takes 0 for no limit.
        let words = Words::MySql.catch_up(&at, Duration::from_millis(10));
        assert_eq!(words, "SELECT WAIT_FOR_EXECUTED_GTID_SET('0-1-17', 1)");
        assert_eq!(
            Words::MariaDb.fence(Duration::from_secs(2)),
            ["SET SESSION lock_wait_timeout = 2", "SET GLOBAL read_only = ON"]
        );
    }
}
