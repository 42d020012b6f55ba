//! What servers' answers say. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::route::roles::{Group, Replication, Run, Wsrep};
use crate::wire::result::ResultSet;

/// Replication, and how far it is behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Replicas {
    /// The first channel, which runs if all do.
    pub replication: Option<Replication>,
    /// That of the slowest.
    pub lag: Option<Duration>,
}

/// The first value.
pub(super) fn only(set: &ResultSet) -> Option<&[u8]> {
    set.rows.first()?.first()?.as_deref()
}

/// Whether a variable is on. MariaDB 12's read_only has more values than two, of which all but OFF
/// refuse writes.
pub(super) fn is_on(set: &ResultSet) -> Option<bool> {
    Some(!matches!(only(set)?, b"0" | b"OFF"))
}

/// Out of SHOW REPLICA STATUS, by whatever names.
pub(super) fn replicas(set: &ResultSet) -> Replicas {
    let column = |names: [&str; 2]| {
        let is_named = |name: &[u8]| names.iter().any(|it| it.as_bytes() == name);
        set.columns.iter().position(|column| is_named(&column.name))
    };
    let host = column(["Source_Host", "Master_Host"]);
    let port = column(["Source_Port", "Master_Port"]);
    let receives = column(["Replica_IO_Running", "Slave_IO_Running"]);
    let applies = column(["Replica_SQL_Running", "Slave_SQL_Running"]);
    let behind = column(["Seconds_Behind_Source", "Seconds_Behind_Master"]);
    let name = column(["Channel_Name", "Connection_name"]);
    let mut found = Replicas::default();
    for row in &set.rows {
        let text = |at: Option<usize>| {
            let value = row.get(at?)?.as_deref()?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        // A group's own channels have no source.
        if text(name).is_some_and(|name| name.starts_with("group_replication_")) {
            continue;
        }
        let (Some(host), Some(port)) = (text(host), text(port)) else { continue };
        let is_started = |at| !matches!(text(at).as_deref(), Some("No") | None);
        let run = match is_started(receives) && text(applies).as_deref() == Some("Yes") {
            true => Run::Running,
            false => Run::Stopped,
        };
        let lag = text(behind).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        found.add(source(&host, &port), run, lag);
    }
    found
}

/// `host:port`, as it is written in a config.
fn source(host: &str, port: &str) -> Arc<str> {
    match host.contains(':') {
        true => format!("[{host}]:{port}").into(),
        false => format!("{host}:{port}").into(),
    }
}

impl Replicas {
    fn add(&mut self, source: Arc<str>, run: Run, lag: Option<Duration>) {
        match &mut self.replication {
            None => {
                self.replication = Some(Replication { source, run });
                self.lag = lag;
            }
            Some(first) => {
                if run == Run::Stopped {
                    first.run = Run::Stopped;
                }
                self.lag = self.lag.zip(lag).map(|(one, other)| one.max(other));
            }
        }
    }
}

/// Out of SHOW GLOBAL STATUS LIKE 'wsrep%'.
pub(super) fn wsrep(set: &ResultSet) -> Wsrep {
    let value = |name: &str| {
        let row = set.rows.iter().find(|row| {
            row.first().and_then(Option::as_deref).is_some_and(|it| it == name.as_bytes())
        });
        row.and_then(|row| row.get(1)?.as_deref())
    };
    // "wsrep_local_state 4: Synced".
    let is_synced = value("wsrep_local_state") == Some(b"4")
        && value("wsrep_cluster_status") == Some(b"Primary")
        && value("wsrep_ready") == Some(b"ON");
    if is_synced { Wsrep::Synced } else { Wsrep::Unfit }
}

/// Out of the name of the server's group, and its state and role in it.
pub(super) fn group(set: &ResultSet) -> Option<Group> {
    let row = set.rows.first()?;
    let name = row.first()?.as_deref()?;
    if name.is_empty() {
        return None;
    }
    Some(match row.get(1)?.as_deref() {
        Some(b"ONLINE PRIMARY") => Group::Primary,
        Some(b"ONLINE SECONDARY") => Group::Secondary,
        Some(_) | None => Group::Unfit,
    })
}

/// Out of the age of what a member of a group applies, by the clock of whoever has written it: NULL
/// if it applies nothing.
pub(super) fn behind(set: &ResultSet) -> Option<Duration> {
    let Some(seconds) = only(set) else { return Some(Duration::ZERO) };
    let seconds: i64 = std::str::from_utf8(seconds).ok()?.parse().ok()?;
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::result::Column;

    /// A table: names, and rows; `-` is NULL.
    fn set(names: &str, rows: &[&str]) -> ResultSet {
        let column = |name: &str| Column { name: name.into(), ..Column::default() };
        let value = |text: &str| (text != "-").then(|| text.as_bytes().to_vec());
        ResultSet {
            columns: names.split(' ').map(column).collect(),
            rows: rows.iter().map(|row| row.split('|').map(value).collect()).collect(),
        }
    }

    const MYSQL: &str = "Source_Host Source_Port Replica_IO_Running Replica_SQL_Running \
        Seconds_Behind_Source Channel_Name";
    const MARIADB: &str = "Connection_name Slave_SQL_State Master_Host Master_Port \
        Slave_IO_Running Slave_SQL_Running Seconds_Behind_Master";

    #[test]
    fn a_variable_is_on_or_off() {
        for (value, expected) in [
            ("0", Some(false)),
            ("OFF", Some(false)),
            ("1", Some(true)),
            ("ON", Some(true)),
            // MariaDB 12.
            ("NO_LOCK", Some(true)),
            ("-", None),
        ] {
            assert_eq!(is_on(&set("x", &[value])), expected, "{value}");
        }
        assert_eq!(is_on(&set("x", &[])), None);
    }

    #[test]
    fn replication_runs_if_every_channel_does_and_is_as_late_as_the_slowest() {
        type Found = Option<(&'static str, Run, Option<u64>)>;
        let table: [(&str, &[&str], Found); 11] = [
            (MYSQL, &[], None),
            (MYSQL, &["a|3306|Yes|Yes|0|"], Some(("a:3306", Run::Running, Some(0)))),
            // It has no connection, and tries.
            (MYSQL, &["a|3306|Connecting|Yes|-|"], Some(("a:3306", Run::Running, None))),
            (MYSQL, &["a|3306|No|Yes|-|"], Some(("a:3306", Run::Stopped, None))),
            (MYSQL, &["a|3306|Yes|No|-|"], Some(("a:3306", Run::Stopped, None))),
            (MYSQL, &["fe80::1|3306|Yes|Yes|7|"], Some(("[fe80::1]:3306", Run::Running, Some(7)))),
            // A group's own.
            (MYSQL, &["-|0|No|Yes|0|group_replication_applier"], None),
            (MYSQL, &["a|1|Yes|Yes|3|x", "b|2|Yes|Yes|9|y"], Some(("a:1", Run::Running, Some(9)))),
            (MYSQL, &["a|1|Yes|Yes|3|x", "b|2|Yes|No|-|y"], Some(("a:1", Run::Stopped, None))),
            (MARIADB, &["|up to date|a|3306|Yes|Yes|12"], Some(("a:3306", Run::Running, Some(12)))),
            // What is not told is not taken for good.
            ("Master_Host Master_Port", &["a|3306"], Some(("a:3306", Run::Stopped, None))),
        ];
        for (names, rows, expected) in table {
            let Replicas { replication, lag } = replicas(&set(names, rows));
            let found = replication.map(|it| (it.source.to_string(), it.run, lag));
            let expected = expected
                .map(|(source, run, lag)| (source.to_owned(), run, lag.map(Duration::from_secs)));
            assert_eq!(found, expected, "{rows:?}");
        }
    }

    #[test]
    fn a_node_of_galera_is_fit_if_all_say_so() {
        let good = ["wsrep_local_state|4", "wsrep_cluster_status|Primary", "wsrep_ready|ON"];
        assert_eq!(wsrep(&set("Variable_name Value", &good)), Wsrep::Synced);
        for (at, bad) in
            ["wsrep_local_state|2", "wsrep_cluster_status|non-Primary", "wsrep_ready|OFF"]
                .iter()
                .enumerate()
        {
            let mut rows = good;
            rows[at] = bad;
            assert_eq!(wsrep(&set("Variable_name Value", &rows)), Wsrep::Unfit, "{bad}");
            let rows = [&good[..at], &good[at + 1..]].concat();
            assert_eq!(wsrep(&set("Variable_name Value", &rows)), Wsrep::Unfit, "without {bad}");
        }
    }

    #[test]
    fn a_member_of_a_group_has_a_place_in_it() {
        for (row, expected) in [
            ("|-", None),
            ("-|-", None),
            ("g|ONLINE PRIMARY", Some(Group::Primary)),
            ("g|ONLINE SECONDARY", Some(Group::Secondary)),
            ("g|RECOVERING SECONDARY", Some(Group::Unfit)),
            ("g|OFFLINE ", Some(Group::Unfit)),
            ("g|-", Some(Group::Unfit)),
        ] {
            assert_eq!(group(&set("name place", &[row])), expected, "{row}");
        }
    }

    #[test]
    fn a_member_of_a_group_is_behind_by_what_it_applies() {
        for (row, expected) in [("-", Some(0)), ("0", Some(0)), ("7", Some(7)), ("-3", Some(0))] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(behind(&set("behind", &[row])), expected, "{row}");
        }
        assert_eq!(behind(&set("behind", &["x"])), None);
    }
}
