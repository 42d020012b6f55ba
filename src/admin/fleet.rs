//! SHOW FLEET: tasks over several proxies, and how each proxy is.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::handles::Admin;
use super::table::{Columns, Operands, Table, timestamp};
use crate::error::{ClientError, chain};
use crate::fleet::hour::Sum;
use crate::fleet::tasks::{Rehearsal, Step, StepState, Task, Told};

/// A row is a task.
const TASKS: &Columns<Task> = &[
    ("task_id", |task| task.id.to_string()),
    ("mode", |task| task.request.mode.to_string()),
    ("state", |task| task.state.to_string()),
    ("stage", |task| task.stage.to_string()),
    ("started_by", |task| task.by.clone()),
    ("started_at", |task| time(task.started_at_ms)),
    ("ended_at", |task| task.ended_at_ms.map(time).unwrap_or_default()),
    ("proxies", |task| task.steps.len().to_string()),
    ("done", |task| count(task, StepState::Done)),
    ("failed", |task| count(task, StepState::Failed)),
    ("detail", |task| task.detail.clone()),
    ("rollback_refused", |task| task.why_no_roll_back().unwrap_or_default()),
];

/// Rows that have to be asked for.
pub(super) type Asked<'a> = Pin<Box<dyn Future<Output = Result<Table, ClientError>> + Send + 'a>>;

/// The tasks that this proxy coordinates, a row each.
pub(super) fn tasks<'a>(admin: &'a Admin, _: &'a Operands) -> Asked<'a> {
    Box::pin(async { Ok(Table::of(TASKS, &admin.fleet.list().await)) })
}

/// The tasks that the other proxies coordinate, a row each, or only that one; and a row for whoever
/// does not tell.
pub(super) fn tasks_of_others<'a>(admin: &'a Admin, operands: &'a Operands) -> Asked<'a> {
    Box::pin(async {
        let told = admin.fleet.of_others(operands.like.as_deref()).await;
        let told = told.map_err(|error| ClientError::refused(chain(error.as_ref())))?;
        let names = TASKS.iter().map(|(name, _)| *name);
        let columns: Vec<_> = names.clone().chain(["coordinator", "error"]).collect();
        let mut table = Table::with_columns(&columns);
        for Told { name, answer } in told {
            let name = Some(name);
            match answer {
                Ok(tasks) => table.rows.extend(tasks.iter().map(|task| {
                    let values = names.clone().map(|name| task.text(name).map(str::to_owned));
                    values.chain([name.clone(), None]).collect()
                })),
                Err(trouble) => {
                    let mut row = vec![None; TASKS.len()];
                    row.extend([name, Some(chain(&trouble))]);
                    table.rows.push(row);
                }
            }
        }
        Ok(table)
    })
}

/// Every proxy of a task with what it has gone through, a row each. It is one of this proxy, by its
/// number; or one of another, by `NUMBER@NAME`.
pub(super) fn steps<'a>(admin: &'a Admin, operands: &'a Operands) -> Asked<'a> {
    Box::pin(async {
        let asked = operands.like.as_deref();
        let of_another = asked.and_then(|asked| asked.split_once('@'));
        if let Some((number, name)) = of_another
            && let Ok(task) = number.parse()
        {
            let told = admin.fleet.steps_of(name, task).await;
            let told = told.map_err(|error| ClientError::refused(chain(error.as_ref())))?;
            let mut table = Table::with_columns(&STEPS);
            // It may be of another version.
            table.rows.extend(
                told.iter().map(|row| STEPS.map(|name| row.text(name).map(str::to_owned)).to_vec()),
            );
            return Ok(table);
        }
        let tasks = admin.fleet.list().await;
        let found = match asked {
            Some(asked) => tasks.iter().find(|task| asked.parse() == Ok(task.id)),
            None => tasks.first(),
        };
        let none = || format!("there is no fleet task {}", asked.unwrap_or_default());
        let task = found.ok_or_else(|| ClientError::refused(none().trim_end()))?;
        Ok(steps_of(task))
    })
}

/// Columns of what a proxy has gone through.
const STEPS: [&str; 8] =
    ["proxy", "address", "coordinates", "state", "phase", "begun_at", "ended_at", "detail"];

fn steps_of(task: &Task) -> Table {
    let mut table = Table::with_columns(&STEPS);
    for step in &task.steps {
        let Step { proxy, address, state, phases, .. } = step;
        let coordinates = if step.coordinates { "yes" } else { "no" };
        let mut push = |phase: &str, begun: String, ended: String, detail: &str| {
            let (proxy, address) = (proxy.clone(), address.clone());
            let fixed = [proxy, address, coordinates.into(), state.to_string()];
            let [proxy, address, coordinates, state] = fixed;
            let (phase, detail) = (phase.into(), detail.into());
            table.push([proxy, address, coordinates, state, phase, begun, ended, detail]);
        };
        for (at, phase) in phases.iter().enumerate() {
            // What is going on now stands with the last.
            let is_last = at + 1 == phases.len();
            let detail = if is_last { &step.detail } else { &phase.detail };
            let ended = phase.ended_at_ms.map(time).unwrap_or_default();
            push(&phase.name, time(phase.begun_at_ms), ended, detail);
        }
        if phases.is_empty() {
            push("", String::new(), String::new(), &step.detail);
        }
    }
    table
}

/// How each proxy is, or only the one that is named.
pub(super) fn members<'a>(admin: &'a Admin, operands: &'a Operands) -> Asked<'a> {
    const OF_PROXY: [&str; 6] = ["state", "version", "generation", "pid", "uptime_s", "sessions"];
    const MORE: [&str; 2] = ["address", "in_transaction"];
    const OF_LAST: [(&str, &str); 3] = [
        ("last_restart_at", "started_at"),
        ("last_restart_moved", "moved"),
        ("last_restart_pause_max_us", "pause_max_us"),
    ];
    const LATEST: [&str; 2] = ["phase", "started_at"];
    Box::pin(async {
        let mut columns = vec!["name"];
        columns.extend(OF_PROXY);
        columns.extend(["last_restart", "clusters", "error"]);
        columns.extend(MORE);
        columns.extend(OF_LAST.map(|(column, _)| column));
        columns.push("is_local");
        let before_latest = columns.len();
        columns.extend(LATEST);
        columns.extend(["last_restart_id", "fleet_task", "cluster_sessions"]);
        let mut table = Table::with_columns(&columns);
        let members = admin.fleet.members(operands.like.as_deref()).await;
        let members = members.map_err(|error| ClientError::refused(chain(error.as_ref())))?;
        for member in members {
            let mut row = vec![Some(member.name)];
            match member.answer {
                Ok(status) => {
                    let text = |name| status.proxy.text(name).map(str::to_owned);
                    let last = |name| status.last.as_ref()?.text(name).map(str::to_owned);
                    row.extend(OF_PROXY.map(text));
                    row.extend([last("state"), status.clusters.clone(), None]);
                    row.extend(MORE.map(text));
                    row.extend(OF_LAST.map(|(_, name)| last(name)));
                    let is_local = admin.fleet.is_this(&status);
                    row.push(Some(if is_local { "yes" } else { "no" }.into()));
                    row.extend(LATEST.map(text));
                    let of_fleet = text("fleet_task").filter(|id| !id.is_empty());
                    row.extend([last("task_id"), of_fleet, status.cluster_sessions]);
                }
                Err(trouble) => {
                    row.push(Some("UNREACHABLE".into()));
                    row.resize(OF_PROXY.len() + 3, None);
                    row.push(Some(chain(&trouble)));
                    row.resize(before_latest - 1, None);
                    row.push(Some("no".into()));
                    row.resize(columns.len(), None);
                }
            }
            table.rows.push(row);
        }
        Ok(table)
    })
}

/// A row is what a proxy would not move.
pub(super) const REHEARSALS: &Columns<Rehearsal> = &[
    ("proxy", |it| it.proxy.clone()),
    ("state", |it| it.state.to_string()),
    ("started_at", |it| timestamp(it.started_at)),
    ("sessions", |it| it.sessions.to_string()),
    ("moved", |it| it.moved.to_string()),
    ("draining", |it| it.draining.to_string()),
    ("detail", |it| it.detail.clone()),
];

/// A row is a sum of what all have counted in ten seconds.
const SUMS: &Columns<Sum> = &[
    ("time", |sum| timestamp(SystemTime::now() - Duration::from_secs(sum.ago_s))),
    ("ago_s", |sum| sum.ago_s.to_string()),
    ("seconds", |sum| sum.seconds.to_string()),
    ("queries", |sum| sum.queries.to_string()),
    ("errors", |sum| sum.errors.to_string()),
    ("sessions", |sum| sum.sessions.to_string()),
    ("p50_us", |sum| sum.p50_us.to_string()),
    ("p99_us", |sum| sum.p99_us.to_string()),
    ("proxies", |sum| sum.proxies.to_string()),
    ("missing", |sum| sum.missing.join(",")),
];

/// The last hour of the fleet.
pub(super) fn history<'a>(admin: &'a Admin, _: &'a Operands) -> Asked<'a> {
    Box::pin(async {
        let sums = admin.fleet.hour().await;
        let sums = sums.map_err(|error| ClientError::refused(chain(error.as_ref())))?;
        Ok(Table::of(SUMS, &sums))
    })
}

fn count(task: &Task, state: StepState) -> String {
    task.steps.iter().filter(|step| step.state == state).count().to_string()
}

fn time(at_ms: u64) -> String {
    timestamp(UNIX_EPOCH + Duration::from_millis(at_ms))
}
