//! The fleet as the API, pages and events have it: its proxies, its tasks, and what one is asked
//! by.
//!
//! A task of the fleet is called `fleet-N`: restarts of one proxy count from 1 too. So do the tasks
//! of each other proxy: one that another coordinates is called `fleet-N@PROXY`.

use std::collections::BTreeSet;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::door::{self, FLEET_TASK as PREFIX, show};
use super::reply::Problem;
use super::resource::{FLEET_STEP, FLEET_TASK};
use crate::admin::command::fleet;
use crate::admin::{Admin, Caller, Row, Table};
use crate::fleet::port::quoted;
use crate::fleet::tasks::{Mode, Request, serves, sessions};

/// What may be said of a restart.
pub(super) const OPTIONS: &str = "mode, exit_timeout, batch, canary, stop_on_failure or proxies";

/// The state of a proxy that may be restarted.
pub(super) const RUNNING: &str = "RUNNING";

/// The state of a proxy that does not answer.
pub(super) const UNREACHABLE: &str = "UNREACHABLE";

/// The name of a task.
pub(super) fn name(id: u64) -> String {
    format!("{PREFIX}{id}")
}

/// The number of a task that has this name.
pub(super) fn number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (self::name(number) == name).then_some(number)
}

/// The name of one that another proxy coordinates.
pub(super) fn name_at(task: &str, proxy: &str) -> String {
    format!("{task}@{proxy}")
}

/// The number of a task that has such a name, and who coordinates it.
pub(super) fn number_at(name: &str) -> Option<(u64, &str)> {
    let (task, proxy) = name.split_once('@').filter(|(_, proxy)| !proxy.is_empty())?;
    Some((number(task)?, proxy))
}

/// A row is a proxy of it; none where there is no fleet.
pub(super) async fn members(admin: &Admin, caller: &Caller) -> Result<Table, Problem> {
    match admin.proxy.config().fleet.is_empty() {
        true => Ok(Table::default()),
        false => show(admin, caller, "SHOW FLEET").await.map(|table| named(table, "fleet_task")),
    }
}

/// The row of one that answers.
pub(super) async fn member(admin: &Admin, caller: &Caller, name: &str) -> Result<Table, Problem> {
    let unknown = || Problem::not_found(format!("there is no proxy '{name}'"));
    if admin.proxy.config().fleet.is_empty() {
        return Err(unknown());
    }
    let found = show(admin, caller, &format!("SHOW FLEET PROXY {}", quoted(name))).await?;
    let found = named(found, "fleet_task");
    let row = found.rows().next().ok_or_else(unknown)?;
    if row.text("state") == UNREACHABLE {
        let text = format!("{name} does not answer: {}", row.text("error"));
        return Err(Problem::new(StatusCode::BAD_GATEWAY, text));
    }
    Ok(found)
}

/// Rows of [`door::proxies`] of those that are not the one that answers.
pub(super) fn others(members: &Table) -> Vec<Vec<Option<String>>> {
    let others = members.rows().filter(|row| !is_local(row));
    others.flat_map(|row| door::member(&row).rows).collect()
}

/// Proxies of a cluster.
pub(super) struct Serving {
    pub running: String,
    pub all: String,
    pub sessions: String,
    /// With commas between.
    pub versions: String,
    /// The restart of the fleet that one of the others does, and which one.
    pub task: Option<(String, String)>,
}

impl Serving {
    /// Of a row of [`door::clusters`], which knows of this proxy only, and of the fleet as far as
    /// it is known.
    pub(super) fn of(cluster: &Row, members: Option<&Table>) -> Self {
        let Some(members) = members else {
            let text = |column| cluster.text(column).to_owned();
            let (running, all) = (text("proxies_running"), text("proxies"));
            let (sessions, versions) = (text("sessions"), text("versions"));
            return Self { running, all, sessions, versions, task: None };
        };
        let name = cluster.text("name");
        let serving = serving(members.clone(), name);
        let sessions = |row: Row| match is_local(&row) {
            true => cluster.text("sessions").parse().ok(),
            false => sessions(row.text("clusters"), row.text("cluster_sessions"), name),
        };
        let sessions: u64 = serving.rows().filter_map(sessions).sum();
        let versions: BTreeSet<_> = serving.rows().filter_map(|row| row.value("version")).collect();
        Self {
            running: running(&serving).to_string(),
            all: serving.rows.len().to_string(),
            sessions: sessions.to_string(),
            versions: versions.into_iter().collect::<Vec<_>>().join(","),
            task: tasks_of_others(&serving).into_iter().next(),
        }
    }
}

/// How many of them are RUNNING.
pub(super) fn running(members: &Table) -> usize {
    members.rows().filter(|row| row.text("state") == RUNNING).count()
}

/// [`door::clusters`] with the proxies of the whole fleet.
pub(super) fn with_fleet(mut clusters: Table, members: Option<&Table>) -> Table {
    let all: Vec<_> = clusters.rows().map(|row| Serving::of(&row, members)).collect();
    let columns =
        ["proxies_running", "proxies", "sessions", "versions", "running_fleet_task", "coordinator"];
    let places = columns.map(|name| clusters.columns.iter().position(|column| column == name));
    for (row, serving) in clusters.rows.iter_mut().zip(all) {
        let Serving { running, all, sessions, versions, task } = serving;
        let (task, coordinator) = task.unzip();
        let known = [Some(running), Some(all), Some(sessions), Some(versions), task, coordinator];
        for (at, value) in places.into_iter().zip(known) {
            if let (Some(cell), Some(value)) = (at.and_then(|at| row.get_mut(at)), value) {
                *cell = Some(value);
            }
        }
    }
    clusters
}

/// A row is what all of it have counted in ten seconds; none where there is no fleet.
pub(super) async fn hour(admin: &Admin, caller: &Caller) -> Result<Table, Problem> {
    match admin.proxy.config().fleet.is_empty() {
        true => Ok(Table::default()),
        false => show(admin, caller, "SHOW FLEET HISTORY").await,
    }
}

/// Those of the members that a restart of a cluster is of: a task chooses them so, too.
pub(super) fn serving(mut members: Table, cluster: &str) -> Table {
    let serves = |row: Row| serves(row.value("clusters"), cluster);
    let wanted: Vec<_> = members.rows().map(serves).collect();
    let mut wanted = wanted.into_iter();
    members.rows.retain(|_| wanted.next().unwrap_or_default());
    members
}

/// Whether it is the one that answers.
pub(super) fn is_local(row: &Row) -> bool {
    row.text("is_local") == "yes"
}

/// Tasks that are under way, and which of the other members coordinate them: each proxy knows only
/// its own.
pub(super) fn tasks_of_others(members: &Table) -> Vec<(String, String)> {
    let others = members.rows().filter(|row| !is_local(row));
    let task = |row: Row| Some((row.value("fleet_task")?.to_owned(), row.text("name").to_owned()));
    others.filter_map(task).collect()
}

/// Its tasks, newest first, by their names.
pub(super) async fn tasks(admin: &Admin, caller: &Caller) -> Result<Table, Problem> {
    let table = show(admin, caller, "SHOW FLEET TASKS").await?;
    Ok(with_gaps(named(table, "task_id")))
}

/// Those that the other proxies coordinate, by their names, and a row for each that does not tell;
/// none where there is no fleet.
pub(super) async fn tasks_at_others(admin: &Admin, caller: &Caller) -> Result<Table, Problem> {
    match admin.proxy.config().fleet.is_empty() {
        true => Ok(Table::default()),
        false => tasks_at(admin, caller, "").await,
    }
}

/// The same of one of them, or of all.
async fn tasks_at(admin: &Admin, caller: &Caller, which: &str) -> Result<Table, Problem> {
    let sql = format!("SHOW FLEET TASKS OF OTHERS {which}");
    let mut table = with_gaps(show(admin, caller, &sql).await?);
    let names: Vec<_> = table
        .rows()
        .map(|row| {
            let number = row.value("task_id")?.parse().ok()?;
            Some(name_at(&name(number), row.text("coordinator")))
        })
        .collect();
    if let Some(at) = table.columns.iter().position(|column| column == "task_id") {
        for (row, name) in table.rows.iter_mut().zip(names) {
            row[at] = name;
        }
    }
    Ok(table)
}

/// A task that another proxy coordinates, which is asked now: its row, and what each proxy has gone
/// through; None: there is none of this name.
pub(super) async fn task_at(
    admin: &Admin,
    caller: &Caller,
    name: &str,
) -> Result<Option<(Table, Table)>, Problem> {
    let Some((number, proxy)) = number_at(name) else { return Ok(None) };
    if admin.proxy.config().fleet.is_empty() {
        return Ok(None);
    }
    let mut found = tasks_at(admin, caller, &quoted(proxy)).await?;
    if let Some(why) = found.rows().find_map(|row| row.value("error")) {
        let text = format!("{proxy} does not answer: {why}");
        return Err(Problem::new(StatusCode::BAD_GATEWAY, text));
    }
    let at = found.columns.iter().position(|column| column == "task_id");
    found.rows.retain(|row| at.and_then(|at| row[at].as_deref()) == Some(name));
    if found.rows.is_empty() {
        return Ok(None);
    }
    let sql = format!("SHOW FLEET TASK {}", quoted(&format!("{number}@{proxy}")));
    let steps = show(admin, caller, &sql).await?;
    Ok(Some((found, with_gaps(steps))))
}

/// Tasks of all proxies, the newest first: those of this one, and what was heard of others.
pub(super) fn with_others(mut own: Table, others: &Table) -> Table {
    let columns = own.columns.clone();
    own.columns.push("coordinator".into());
    own.rows.iter_mut().for_each(|row| row.push(None));
    let tasks = others.rows().filter(|row| row.value("task_id").is_some());
    own.rows.extend(tasks.map(|row| {
        let values = columns.iter().map(|column| row.value(column).map(str::to_owned));
        values.chain([row.value("coordinator").map(str::to_owned)]).collect()
    }));
    if let Some(at) = columns.iter().position(|column| column == "started_at") {
        own.rows.sort_by(|a, b| b[at].cmp(&a[at]));
    }
    own
}

/// Numbers of tasks in this column become their names.
fn named(mut table: Table, column: &str) -> Table {
    let at = table.columns.iter().position(|name| name == column);
    for id in table.rows.iter_mut().filter_map(|row| row.get_mut(at?)?.as_mut()) {
        id.insert_str(0, PREFIX);
    }
    table
}

/// What each proxy has gone through in a task.
pub(super) async fn steps(admin: &Admin, caller: &Caller, number: u64) -> Result<Table, Problem> {
    show(admin, caller, &format!("SHOW FLEET TASK {number}")).await.map(with_gaps)
}

/// What is not there is none, and no empty text.
fn with_gaps(mut table: Table) -> Table {
    for value in table.rows.iter_mut().flatten() {
        value.take_if(|text| text.is_empty());
    }
    table
}

/// A task with its steps; None: there is none of this name.
pub(super) async fn whole(
    admin: &Admin,
    caller: &Caller,
    name: &str,
) -> Result<Option<Value>, Problem> {
    let (tasks, steps) = match number(name) {
        Some(number) => {
            let tasks = tasks(admin, caller).await?;
            if !tasks.rows().any(|row| row.text("task_id") == name) {
                return Ok(None);
            }
            (tasks, steps(admin, caller, number).await?)
        }
        None => match task_at(admin, caller, name).await? {
            Some(both) => both,
            None => return Ok(None),
        },
    };
    let row = tasks.rows().find(|row| row.text("task_id") == name);
    Ok(row.map(|row| json!({"task": FLEET_TASK.value(&row), "steps": FLEET_STEP.values(&steps)})))
}

/// What a restart is asked by, from options by their names.
pub(super) fn request(options: &[(String, String)]) -> Result<Request, Problem> {
    let mut request = Request::default();
    for (name, value) in options {
        match (name.as_str(), value.as_str()) {
            ("mode", "restart") => {}
            ("mode", "force") => request.mode = Mode::Force,
            ("mode", _) => {
                let text = format!("mode = '{value}': expected restart or force");
                return Err(Problem::bad(text));
            }
            ("exit_timeout" | "batch" | "canary" | "stop_on_failure" | "proxies", value) => {
                fleet::set(&mut request, name, value)?;
            }
            _ => return Err(Problem::bad(format!("{name}: expected {OPTIONS}"))),
        }
        // None named would be all.
        if name == "proxies" && request.proxies.is_empty() {
            return Err(Problem::bad("proxies: expected the name of one at least"));
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Request, Problem> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        request(&options.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn names_are_those_of_fleets_tasks_only() {
        assert_eq!(number(&name(7)), Some(7));
        for other in ["7", "fleet-", "fleet-07", "fleet-+7", "fleet-x", "fleet-7/x"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn names_of_tasks_of_others_say_whose_they_are() {
        for proxy in ["b", "[::1]:2885", "a@b", "ä/ö"] {
            assert_eq!(number_at(&name_at(&name(7), proxy)), Some((7, proxy)));
        }
        for other in ["fleet-7", "fleet-7@", "7@b", "fleet-07@b", "@b", "fleet-7 @b"] {
            assert_eq!(number_at(other), None, "{other}");
        }
    }

    #[test]
    fn tasks_of_all_are_in_the_order_in_which_they_began() {
        let mut own = Table::with_columns(&["task_id", "started_at", "more"]);
        own.push(["fleet-2", "2026-01-03", ""].map(str::to_owned));
        own.push(["fleet-1", "2026-01-01", ""].map(str::to_owned));
        let mut others = Table::with_columns(&["started_at", "task_id", "coordinator", "error"]);
        others.push(["2026-01-02", "fleet-1@b", "b", ""].map(str::to_owned));
        others.rows.push(vec![None, None, Some("c".into()), Some("gone".into())]);
        let all = with_others(own, &others);
        let told: Vec<_> =
            all.rows().map(|row| (row.text("task_id"), row.value("coordinator"))).collect();
        assert_eq!(told, [("fleet-2", None), ("fleet-1@b", Some("b")), ("fleet-1", None)]);
    }

    #[test]
    fn a_restart_is_asked_by_names_of_options() {
        let request = of(&[("mode", "force"), ("batch", "3"), ("proxies", "a,b")]);
        let request = request.expect("it is understood");
        assert_eq!((request.mode, request.batch), (Mode::Force, 3));
        assert_eq!(request.proxies, ["a", "b"]);
        assert_eq!(of(&[]).expect("all of it is usual"), Request::default());
    }

    #[test]
    fn what_would_be_all_of_them_by_mistake_is_refused() {
        for (name, value) in [
            ("proxies", ""),
            ("proxies", " , "),
            ("batch", "0"),
            ("canary", "-1"),
            ("stop_on_failure", "perhaps"),
            ("mode", "rehearse"),
            ("binary", "/bin/sh"),
        ] {
            let problem = of(&[(name, value)]).expect_err(name);
            assert!(problem.detail.contains(name), "{name}: {}", problem.detail);
        }
    }
}
