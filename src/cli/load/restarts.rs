//! Asks for restarts while the load goes on, and notes when each began and how it ended.
//!
//! An odp is asked by its admin port, and the restart is over when its task is. Of anything else
//! there is only a command, and the window stays open for a settling time after it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Row, Value};
use serde::Serialize;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client::Run;
use super::trouble::brief;

/// How often a task is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long one conversation with an admin port may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Who is restarted, and how.
#[derive(Clone)]
pub(super) enum How {
    /// RESTART on admin ports, one after the other.
    Admin(Vec<AdminPort>),
    /// `sh -c COMMAND`.
    Command(String),
}

/// An admin port and how to log in there.
#[derive(Clone)]
pub(super) struct AdminPort {
    /// HOST:PORT, as it was given.
    pub(super) name: String,
    /// With user and password.
    pub(super) opts: Opts,
}

/// What is planned.
#[derive(Clone)]
pub(super) struct Plan {
    /// From the start of one restart to that of the next.
    pub(super) every: Duration,
    /// How long one may take.
    pub(super) deadline: Duration,
    /// How long after it a window stays open.
    pub(super) settle: Duration,
    pub(super) how: How,
}

/// A restart that was asked for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Restart {
    /// The admin port, or `command`.
    pub(super) target: String,
    /// Milliseconds since the start of the load.
    pub(super) began_ms: u64,
    /// When it was over, without the settling time.
    pub(super) ended_ms: u64,
    /// When its window closed.
    pub(super) window_ended_ms: u64,
    /// Why it failed; None if it completed.
    pub(super) failure: Option<String>,
    /// The row of SHOW RESTART, column by column.
    pub(super) task: Vec<(String, String)>,
}

/// Restarts until `stop`, and waits for the last one.
pub(super) async fn run(run: Arc<Run>, plan: Plan, stop: CancellationToken) -> Vec<Restart> {
    let mut restarts = Vec::new();
    let mut next = Instant::now() + plan.every;
    loop {
        tokio::select! {
            // After a slow restart the next is due at once; the end of the load comes before it.
            biased;
            () = stop.cancelled() => return restarts,
            () = tokio::time::sleep_until(next.into()) => {}
        }
        // The next is counted from this one's start, but never more than one behind.
        next = (next + plan.every).max(Instant::now());
        match &plan.how {
            How::Command(command) => {
                let outcome = command_restart(command, plan.deadline);
                restarts.push(watch(&run, "command", plan.settle, outcome).await);
            }
            How::Admin(ports) => {
                for port in ports {
                    let outcome = admin_restart(port, plan.deadline);
                    restarts.push(watch(&run, &port.name, plan.settle, outcome).await);
                }
            }
        }
    }
}

type Columns = Vec<(String, String)>;

/// Runs one restart with its window open.
async fn watch(
    run: &Run,
    target: &str,
    settle: Duration,
    restart: impl Future<Output = anyhow::Result<Columns>>,
) -> Restart {
    let began_ms = run.tally.elapsed().as_millis() as u64;
    run.tally.window_opened();
    let outcome = restart.await;
    let ended_ms = run.tally.elapsed().as_millis() as u64;
    sleep(settle).await;
    run.tally.window_closed();
    let window_ended_ms = run.tally.elapsed().as_millis() as u64;
    let (task, failure) = verdict(outcome);
    let target = target.to_owned();
    Restart { target, began_ms, ended_ms, window_ended_ms, failure, task }
}

/// The task, and why it is not as it should be.
fn verdict(outcome: anyhow::Result<Columns>) -> (Columns, Option<String>) {
    match outcome {
        Ok(task) if unfinished(&task) => {
            let word = |name| column(&task, name).unwrap_or_default();
            let phase =
                column(&task, "phase").map_or(String::new(), |phase| format!(" in {phase}"));
            let failure = format!("{}{phase}: {}", word("state"), word("detail"));
            (task, Some(failure))
        }
        Ok(task) => (task, None),
        Err(error) => (Vec::new(), Some(brief(format!("{error:#}")))),
    }
}

async fn command_restart(command: &str, deadline: Duration) -> anyhow::Result<Columns> {
    let mut child = tokio::process::Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("sh")?;
    let status = timeout(deadline, child.wait())
        .await
        .with_context(|| format!("the command did not end in {deadline:?}"))??;
    if !status.success() {
        bail!("the command ended with {status}");
    }
    Ok(Vec::new())
}

async fn admin_restart(port: &AdminPort, deadline: Duration) -> anyhow::Result<Columns> {
    let until = Instant::now() + deadline;
    let mut conn = connect(port).await?;
    let last = newest(&mut conn).await?.map_or(0, |task| task_id(&task));
    timeout(ANSWER, conn.query_drop("RESTART")).await.context("RESTART was not answered")??;
    let mut open = Some(conn);
    loop {
        // The admin port moves to the successor too; a connection to it may end with its process.
        let look = match open.take() {
            Some(conn) => Ok(conn),
            None => connect(port).await,
        };
        let seen = match look {
            Ok(mut conn) => {
                let task = newest(&mut conn).await;
                if task.is_ok() {
                    open = Some(conn);
                }
                task
            }
            Err(error) => Err(error),
        };
        if let Ok(Some(task)) = &seen
            && task_id(task) > last
            && column(task, "state") != Some("IN_PROGRESS")
        {
            quit(open).await;
            return Ok(task.clone());
        }
        if Instant::now() >= until {
            seen?;
            bail!("the restart was not over in {deadline:?}");
        }
        sleep(LOOK).await;
    }
}

async fn connect(port: &AdminPort) -> anyhow::Result<Conn> {
    let conn = timeout(ANSWER, Conn::new(port.opts.clone())).await;
    let conn = conn.with_context(|| format!("{}: no answer in {ANSWER:?}", port.name))?;
    conn.with_context(|| format!("admin port {}", port.name))
}

async fn quit(conn: Option<Conn>) {
    if let Some(conn) = conn {
        let _ = timeout(Duration::from_secs(1), conn.disconnect()).await;
    }
}

/// The newest task: SHOW RESTART has it first.
async fn newest(conn: &mut Conn) -> anyhow::Result<Option<Columns>> {
    let row: Option<Row> =
        timeout(ANSWER, conn.query_first("SHOW RESTART")).await.context("SHOW RESTART")??;
    Ok(row.map(|row| {
        let names: Vec<String> =
            row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
        names.into_iter().zip(row.unwrap_raw().iter().map(text)).collect()
    }))
}

fn text(value: &Option<Value>) -> String {
    match value {
        None | Some(Value::NULL) => String::new(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(other) => other.as_sql(true),
    }
}

fn column<'a>(task: &'a Columns, name: &str) -> Option<&'a str> {
    task.iter().find(|(column, _)| column == name).map(|(_, value)| value.as_str())
}

fn task_id(task: &Columns) -> u64 {
    column(task, "task_id").and_then(|id| id.parse().ok()).unwrap_or_default()
}

/// Whether there is a task and it ended otherwise than it should.
fn unfinished(task: &Columns) -> bool {
    column(task, "state").is_some_and(|state| state != "COMPLETED")
}

#[cfg(test)]
mod tests {
    use super::super::fake_admin::{FakeAdmin, Step};
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn ask(steps: Vec<Step>, deadline: Duration) -> (Columns, Option<String>) {
        let admin = FakeAdmin::start(steps).await;
        let opts = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(admin.port)
            .user(Some("root"));
        let opts = super::super::target::direct(opts);
        let port = AdminPort { name: "fake".into(), opts };
        verdict(admin_restart(&port, deadline).await)
    }

    #[tokio::test]
    async fn a_restart_is_over_when_its_task_is() {
        let steps = vec![
            Step::Task(7, "COMPLETED", ""),
            Step::Accepted,
            // The old task is still the newest at the first look.
            Step::Task(7, "COMPLETED", ""),
            Step::Task(8, "IN_PROGRESS", "moving"),
            Step::Task(8, "COMPLETED", "moved 3"),
        ];
        let (task, failure) = ask(steps, DEADLINE).await;
        assert_eq!(failure, None);
        assert_eq!(task_id(&task), 8);
        assert_eq!(column(&task, "detail"), Some("moved 3"));
    }

    #[tokio::test]
    async fn an_admin_connection_that_ends_with_its_process_is_made_again() {
        let steps = vec![
            Step::NoTask,
            Step::Accepted,
            Step::HangUp,
            Step::Task(1, "IN_PROGRESS", ""),
            Step::HangUp,
            Step::Task(1, "COMPLETED", ""),
        ];
        let (task, failure) = ask(steps, DEADLINE).await;
        assert_eq!((task_id(&task), failure), (1, None));
    }

    #[tokio::test]
    async fn a_restart_that_is_rolled_back_is_a_failure() {
        let steps = vec![
            Step::Task(1, "COMPLETED", ""),
            Step::Accepted,
            Step::Task(2, "ROLLED_BACK", "not ready"),
        ];
        let (_, failure) = ask(steps, DEADLINE).await;
        assert_eq!(failure.as_deref(), Some("ROLLED_BACK: not ready"));
    }

    #[tokio::test]
    async fn a_refused_restart_says_why() {
        let (_, failure) = ask(vec![Step::NoTask, Step::Refused("not now")], DEADLINE).await;
        assert!(failure.as_deref().is_some_and(|text| text.contains("not now")), "{failure:?}");
    }

    #[tokio::test]
    async fn a_restart_that_never_ends_is_given_up() {
        let mut steps = vec![Step::NoTask, Step::Accepted];
        steps.extend(vec![Step::Task(1, "IN_PROGRESS", ""); 1000]);
        let (_, failure) = ask(steps, Duration::from_millis(300)).await;
        assert!(failure.as_deref().is_some_and(|text| text.contains("not over")), "{failure:?}");
    }
}
