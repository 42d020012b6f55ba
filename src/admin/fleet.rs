//! RESTART FLEET and SHOW FLEET: tasks over several proxies, by the words of the admin port.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::execute::Answer;
use super::show::{Operands, timestamp};
use super::table::{Columns, Table};
use super::{Admin, Caller};
use crate::config::ExitTimeout;
use crate::error::{ClientError, chain};
use crate::fleet::hour::Sum;
use crate::fleet::tasks::{Mode, Refused, Rehearsal, Request, Step, StepState, Task};

/// What may follow RESTART FLEET.
pub(super) const EXPECTED: &str = "expected FORCE, BATCH, CANARY, PAUSE, MAX_ERROR_PERCENT, \
    STOP_ON_FAILURE, REHEARSAL, CLUSTER, PROXIES, EXIT_TIMEOUT, BINARY or CONFIG; or STOP, \
    ROLLBACK or RETRY, and perhaps the id of a task; or REHEARSE, CLUSTER and PROXIES";

/// RESTART FLEET …
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A new task.
    Start(Request),
    /// REHEARSE: each says what it would not move, and nothing is restarted. Only of a cluster, and
    /// of proxies by their names.
    Rehearse(Request),
    /// Of a task; None is the newest.
    Of(Word, Option<u64>),
}

/// What is to become of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It begins nothing more.
    Stop,
    /// What was restarted runs again what it ran before.
    RollBack,
    /// It goes on from where it has failed or was stopped.
    Retry,
}

impl Word {
    /// As operators say them.
    pub const ALL: [(&str, Self); 3] =
        [("stop", Self::Stop), ("rollback", Self::RollBack), ("retry", Self::Retry)];
}

/// Sets an option of a task by its name.
pub fn set(request: &mut Request, option: &str, value: &str) -> Result<(), ClientError> {
    let wrong = |expected: &str| ClientError::wrong_value(option, value, expected);
    let count = |from: usize| {
        let count = value.parse().ok().filter(|count| (from..=1000).contains(count));
        count.ok_or_else(|| wrong(&format!("expected {from} to 1000")))
    };
    let flag = || match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "1" => Ok(true),
        "off" | "false" | "0" => Ok(false),
        _ => Err(wrong("expected 'on' or 'off'")),
    };
    match option {
        "batch" => request.batch = count(1)?,
        "canary" => request.canary = count(0)?,
        "pause" => request.pause = value.parse().map_err(|error: String| wrong(&error))?,
        "max_error_percent" => {
            let percent = value.parse().ok().filter(|percent| *percent <= 100);
            request.max_error_percent = percent.ok_or_else(|| wrong("expected 0 to 100"))?;
        }
        "stop_on_failure" => request.stop_on_failure = flag()?,
        "rehearsal" => request.rehearsal = flag()?,
        "cluster" if value.is_empty() => return Err(wrong("expected the name of a cluster")),
        "cluster" => request.cluster = Some(value.to_owned()),
        "proxies" => {
            let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
            request.proxies = names.map(str::to_owned).collect();
        }
        "exit_timeout" => {
            let timeout: Result<ExitTimeout, String> = match value {
                "0" => Ok(ExitTimeout::After(Duration::ZERO)),
                other => other.parse(),
            };
            request.exit_timeout = Some(timeout.map_err(|error| wrong(&error))?);
        }
        "binary" => request.binary = Some(absolute(value).map_err(wrong)?),
        "config" => request.config = Some(absolute(value).map_err(wrong)?),
        _ => return Err(ClientError::syntax(format!("RESTART FLEET: '{option}': {EXPECTED}"))),
    }
    Ok(())
}

/// Every proxy has a working directory of its own.
fn absolute(value: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(value);
    path.is_absolute().then_some(path).ok_or("expected an absolute path")
}

/// Carries out an order.
pub(super) async fn carry_out(
    admin: &Admin,
    caller: &Caller,
    order: Order,
) -> Result<Answer, ClientError> {
    let by = caller.who();
    let refused = |refused: Refused| ClientError::refused(refused.to_string());
    let tasks = &admin.fleet;
    let (id, what) = match order {
        Order::Start(request) => (tasks.start(request, &by).await.map_err(refused)?, "begun"),
        Order::Rehearse(request) => {
            let count = tasks.rehearse(&request).await.map_err(refused)?;
            let what = if count == 1 { "proxy is" } else { "proxies are" };
            let info = format!("{count} {what} being asked; SHOW FLEET REHEARSALS tells the rest");
            return Ok(Answer::Done { id: 0, info });
        }
        Order::Of(word, id) => {
            let id = match id {
                Some(id) => Some(id),
                None => tasks.list().await.first().map(|task| task.id),
            };
            let id = id.ok_or_else(|| ClientError::refused("there is no fleet task"))?;
            let done = match word {
                Word::Stop => (tasks.stop(id, &by).await, "begins nothing more"),
                Word::RollBack => (tasks.roll_back(id, &by).await, "is being rolled back"),
                Word::Retry => (tasks.retry(id, &by).await, "goes on"),
            };
            done.0.map_err(refused)?;
            (id, done.1)
        }
    };
    let info = format!("fleet task {id} {what}; SHOW FLEET TASK {id} tells how it goes");
    Ok(Answer::Done { id, info })
}

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

/// Every proxy of a task with what it has gone through, a row each.
pub(super) fn steps<'a>(admin: &'a Admin, operands: &'a Operands) -> Asked<'a> {
    Box::pin(async {
        let tasks = admin.fleet.list().await;
        let asked = operands.like.as_deref();
        let found = match asked {
            Some(asked) => tasks.iter().find(|task| asked.parse() == Ok(task.id)),
            None => tasks.first(),
        };
        let none = || format!("there is no fleet task {}", asked.unwrap_or_default());
        let task = found.ok_or_else(|| ClientError::refused(none().trim_end()))?;
        Ok(steps_of(task))
    })
}

fn steps_of(task: &Task) -> Table {
    let columns =
        ["proxy", "address", "coordinates", "state", "phase", "begun_at", "ended_at", "detail"];
    let mut table = Table::with_columns(&columns);
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
        columns.extend(["last_restart_id", "fleet_task"]);
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
                    row.extend([last("task_id"), of_fleet]);
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

/// The mode of a task that is asked for by a word.
pub(super) fn force(request: &mut Request) {
    request.mode = Mode::Force;
}

fn count(task: &Task, state: StepState) -> String {
    task.steps.iter().filter(|step| step.state == state).count().to_string()
}

fn time(at_ms: u64) -> String {
    timestamp(UNIX_EPOCH + Duration::from_millis(at_ms))
}
