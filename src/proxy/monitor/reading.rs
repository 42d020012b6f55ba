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

/// Whether a variable is on. MariaDB 12's read_only has more values than two, and all but OFF refuse
/// writes.
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
