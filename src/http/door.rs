//! The one way to the proxy from here: tables of SHOW, and the changes that SQL asks for.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::oneshot;

use crate::admin::command::{Change, Command};
use crate::admin::{Admin, Answer, Caller, Row, Table, audited, execute};
use crate::error::ClientError;
use crate::task;

use super::reply::Problem;

/// The name of the proxy that answers.
pub(super) const LOCAL: &str = "local";

/// What names of the fleet's tasks begin with: restarts of one proxy count from 1 too.
pub(super) const FLEET_TASK: &str = "fleet-";

/// The rows of a statement.
pub(super) async fn show(admin: &Admin, caller: &Caller, sql: &str) -> Result<Table, Problem> {
    match execute(admin, caller, Command::parse(sql)?).await? {
        Answer::Rows(table) => Ok(table),
        Answer::Done { .. } => Err(ClientError::unknown_command().into()),
    }
}

/// So long somebody waits for a change that may take longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// So long it may take to write down that it was asked for.
const NOTED: Duration = Duration::from_secs(5);

/// What has become of a change.
pub(super) enum Changed {
    /// It is done.
    Done,
    /// It goes on; its entry in the audit tells how it ends.
    UnderWay(String),
}

/// Carries out a change that may take longer than connections last.
pub(super) async fn change_for_long(
    admin: &Arc<Admin>,
    caller: &Caller,
    change: Change,
) -> Result<Changed, Problem> {
    let (noted, carried_out) = carry_out(admin, caller, change);
    if let Ok(ended) = tokio::time::timeout(PATIENCE, carried_out).await {
        return ended.map(|_| Changed::Done);
    }
    let none = || Problem::new(StatusCode::GATEWAY_TIMEOUT, "it goes on: see the audit");
    let noted = tokio::time::timeout(NOTED, noted).await;
    noted.ok().and_then(Result::ok).map(Changed::UnderWay).ok_or_else(none)
}

/// The same, but nobody waits: it is under way however soon it ends, unless it is refused before
/// there is an entry.
pub(super) async fn change_unawaited(
    admin: &Arc<Admin>,
    caller: &Caller,
    change: Change,
) -> Result<Changed, Problem> {
    let (noted, carried_out) = carry_out(admin, caller, change);
    tokio::select! {
        biased;
        Ok(id) = noted => Ok(Changed::UnderWay(id)),
        ended = carried_out => ended.map(|_| Changed::Done),
    }
}

/// Carries out a change; a task's id, 0 for none.
///
/// Who asks may leave meanwhile: it is seen to its end, and that is in the audit.
pub(super) async fn change(
    admin: &Arc<Admin>,
    caller: &Caller,
    change: Change,
) -> Result<u64, Problem> {
    carry_out(admin, caller, change).1.await
}

/// The same, begun at once: its entry in the audit as soon as there is one, and what has become of
/// it.
fn carry_out(
    admin: &Arc<Admin>,
    caller: &Caller,
    change: Change,
) -> (oneshot::Receiver<String>, impl Future<Output = Result<u64, Problem>>) {
    let (admin, caller) = (admin.clone(), caller.clone());
    let (asked, noted) = oneshot::channel();
    let asked = move |id| drop(asked.send(id));
    let carried_out =
        task::spawn("console change", async move { audited(&admin, &caller, change, asked).await });
    let ended = async {
        let Ok(Ok(answer)) = carried_out.await else {
            let text = "it has failed in the middle: see the log";
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text));
        };
        match answer? {
            Answer::Done { id, .. } => Ok(id),
            Answer::Rows(_) => Ok(0),
        }
    };
    (noted, ended)
}

/// The columns of [`proxies`], and what they come from.
const PROXY: &[&str] = &[
    "name",
    "address",
    "status",
    "phase",
    "version",
    "generation",
    "pid",
    "uptime_s",
    "started_at",
    "sessions",
    "in_transaction",
    "last_restart",
    "last_restart_state",
    "last_restart_at",
    "last_restart_moved",
    "last_restart_pause_max_us",
    "error",
];

/// A row is a proxy. Each of its values is one of a SHOW of that proxy.
pub(super) async fn proxies(admin: &Admin, caller: &Caller) -> Result<Table, Problem> {
    let binary = show(admin, caller, "SHOW PROXYINFO BINARY").await?;
    let restarts = show(admin, caller, "SHOW RESTART").await?;
    let info = |name: &str| {
        let row = binary.rows().find(|row| row.text("name") == name);
        row.map(|row| row.text("info").to_owned())
    };
    let last = restarts.rows().find(|row| row.text("mode") != "REHEARSE");
    let of_last = |column: &str| last.and_then(|row| row.value(column)).map(str::to_owned);
    let mut table = Table::with_columns(PROXY);
    table.rows.push(vec![
        Some(LOCAL.to_owned()),
        info("address").map(|addresses| addresses.replace(',', ", ")),
        info("state"),
        info("phase").filter(|phase| !phase.is_empty()),
        info("version"),
        info("generation"),
        info("pid"),
        info("uptime_s"),
        info("started_at"),
        info("sessions"),
        info("in_transaction"),
        of_last("task_id"),
        of_last("state"),
        of_last("started_at"),
        of_last("moved"),
        of_last("pause_max_us"),
        None,
    ]);
    Ok(table)
}

/// The columns of SHOW FLEET for each of [`proxies`], where they have other names there.
const OF_MEMBER: [(&str, &str); 3] = [
    ("status", "state"),
    ("last_restart", "last_restart_id"),
    ("last_restart_state", "last_restart"),
];

/// A proxy of the fleet, as of [`proxies`].
pub(super) fn member(row: &Row) -> Table {
    let mut table = Table::with_columns(PROXY);
    let value = |column: &&str| {
        let other = OF_MEMBER.iter().find(|(own, _)| own == column);
        let value = row.value(other.map_or(column, |(_, theirs)| theirs));
        value.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    table.rows.push(PROXY.iter().map(value).collect());
    table
}

/// The columns of SHOW PROXYCONFIG DIFF that [`parameters`] has, too.
const OF_DIFF: [&str; 5] = ["in_file", "changed_by", "changed_at", "kept", "shared"];

/// A row is a parameter, with what the file says of it, and who has altered it.
pub(super) async fn parameters(admin: &Admin, caller: &Caller) -> Result<Table, Problem> {
    let mut table = show(admin, caller, "SHOW PROXYCONFIG").await?;
    let differences = show(admin, caller, "SHOW PROXYCONFIG DIFF").await?;
    let of = |row: &Row<'_>| {
        let name = row.text("name");
        let found = differences.rows().find(|it| it.text("name") == name);
        match found {
            Some(it) => OF_DIFF
                .map(|column| it.value(column).filter(|text| !text.is_empty()).map(str::to_owned)),
            None => [row.value("value").map(str::to_owned), None, None, None, None],
        }
    };
    let more: Vec<_> = table.rows().map(|row| of(&row)).collect();
    for (row, more) in table.rows.iter_mut().zip(more) {
        row.extend(more);
    }
    table.columns.extend(OF_DIFF.map(str::to_owned));
    Ok(table)
}

/// What becomes of changes that are in force: those that were made, and the next ones.
pub(super) fn troubles(admin: &Admin) -> Vec<String> {
    let in_force = admin.proxy.in_force();
    let kept = in_force.keeping().trouble();
    let shared = match admin.proxy.config().fleet.is_shared() {
        true => in_force.sharing().trouble(),
        false => None,
    };
    let kept = kept.map(|why| format!("What is changed while the proxy runs is not kept: {why}"));
    let shared =
        shared.map(|why| format!("What is changed does not reach the rest of the fleet: {why}"));
    kept.into_iter().chain(shared).collect()
}

/// The columns of [`clusters`].
const CLUSTER: &[&str] = &[
    "name",
    "kind",
    "is_default",
    "primary",
    "servers",
    "servers_online",
    "servers_unknown",
    "links",
    "sessions",
    "proxies",
    "proxies_running",
    "versions",
    "running_task",
    "running_fleet_task",
    "coordinator",
];

/// Everything about clusters, each asked for once.
pub(super) struct Overview {
    /// A row is a cluster, with what serves it.
    pub clusters: Table,
    /// As of [`proxies`].
    pub proxies: Table,
    /// SHOW PROXYROUTE.
    pub servers: Table,
}

/// A row is a cluster, with what serves it.
pub(super) async fn clusters(admin: &Admin, caller: &Caller) -> Result<Table, Problem> {
    Ok(overview(admin, caller).await?.clusters)
}

/// Everything about clusters.
pub(super) async fn overview(admin: &Admin, caller: &Caller) -> Result<Overview, Problem> {
    let clusters = show(admin, caller, "SHOW PROXYCLUSTER").await?;
    let servers = show(admin, caller, "SHOW PROXYROUTE").await?;
    let proxies = proxies(admin, caller).await?;
    let restarts = show(admin, caller, "SHOW RESTART").await?;
    let running = proxies.rows().filter(|row| row.text("status") == "RUNNING").count();
    let mut versions: Vec<&str> = proxies.rows().map(|row| row.text("version")).collect();
    versions.sort_unstable();
    versions.dedup();
    let fleet_tasks = show(admin, caller, "SHOW FLEET TASKS").await?;
    let is_under_way = |row: &Row| row.text("state") == "IN_PROGRESS";
    let task = restarts.rows().find(is_under_way);
    let fleet_task = fleet_tasks.rows().find(is_under_way);
    let mut table = Table::with_columns(CLUSTER);
    for row in clusters.rows() {
        let text = |column: &str| Some(row.text(column).to_owned());
        let name = row.text("cluster_name");
        let of_cluster = |route: &Row| route.text("cluster") == name;
        let count = |state: &str| {
            let is_in_it = |route: &Row| of_cluster(route) && route.text("state") == state;
            Some(servers.rows().filter(is_in_it).count().to_string())
        };
        let links = servers.rows().filter(of_cluster).map(|route| route.text("links"));
        let links: u64 = links.filter_map(|links| links.parse::<u64>().ok()).sum();
        table.rows.push(vec![
            text("cluster_name"),
            text("kind"),
            text("is_default"),
            text("primary").filter(|primary| !primary.is_empty()),
            text("servers"),
            count("online"),
            count("unknown"),
            Some(links.to_string()),
            text("sessions"),
            Some(proxies.rows().count().to_string()),
            Some(running.to_string()),
            Some(versions.join(",")),
            task.map(|row| row.text("task_id").to_owned()),
            fleet_task.map(|row| format!("{FLEET_TASK}{}", row.text("task_id"))),
            None,
        ]);
    }
    Ok(Overview { clusters: table, proxies, servers })
}
