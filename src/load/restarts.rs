//! Asks for restarts, or kills, while the load goes on, and notes when each began and how it ended.
//!
//! An odp is asked by its admin port, and the restart is over when its task is; its window closes
//! when the successor is on probation, for then it is like any proxy that serves. Of anything else
//! there is only a command, and the window stays open for a settling time after it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::kill;
use super::run::Run;
use super::trouble::brief;
use crate::error::chain;
use crate::fleet::port::{AdminPort, Limits, Row, follow};
use crate::metrics::pauses::Pauses;

/// Who is restarted, and how.
#[derive(Clone)]
pub(crate) enum How {
    /// RESTART on admin ports, one after the other.
    Admin(Vec<AdminPort>),
    /// `sh -c COMMAND`.
    Command(String),
    /// SIGKILL to the process that admin ports of this machine name, one after the other.
    Kill(Vec<AdminPort>),
}

/// What is planned.
#[derive(Clone)]
pub(crate) struct Plan {
    /// From the start of one restart to that of the next.
    pub(crate) every: Duration,
    /// How long one may take.
    pub(crate) deadline: Duration,
    /// How long after it a window stays open.
    pub(crate) settle: Duration,
    /// Whom, and by what.
    pub(crate) how: How,
}

/// What is done to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Act {
    /// It is asked to restart.
    Restart,
    /// It is killed.
    Kill,
}

impl Act {
    /// As people call one.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Kill => "kill",
        }
    }

    /// What these are; a run has one kind.
    pub(super) fn of(restarts: &[Restart]) -> Self {
        restarts.first().map_or(Self::Restart, |first| first.act)
    }
}

/// A restart that was asked for, or a kill.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Restart {
    /// Which of them.
    pub(super) act: Act,
    /// The admin port, or `command`.
    pub(super) target: String,
    /// Milliseconds since the start of the load.
    pub(super) began_ms: u64,
    /// When it was over, without the settling time.
    pub(super) ended_ms: u64,
    /// When its window closed: before the end if the successor was on probation.
    pub(super) window_ended_ms: u64,
    /// Why it failed; None if it completed.
    pub(super) failure: Option<String>,
    /// The row of SHOW RESTART, column by column.
    pub(super) task: Vec<(String, String)>,
    /// How long sessions stood still in the proxy; None if it does not say so.
    pub(super) pauses: Option<Pauses>,
    /// The longest wait of each client that was served in the window.
    pub(super) waits: Pauses,
}

impl Restart {
    /// When nothing of it was left but a probation, in milliseconds since the start of the load.
    pub(super) fn served_ms(&self) -> u64 {
        self.ended_ms.min(self.window_ended_ms)
    }

    /// How long that took, in milliseconds.
    pub(super) fn lasted_ms(&self) -> u64 {
        self.served_ms() - self.began_ms
    }
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
                let window = Window::open(&run);
                let outcome = command_restart(command, plan.deadline).await;
                restarts.push(window.conclude("command", plan.settle, outcome).await);
            }
            How::Kill(ports) => {
                for port in ports {
                    let window = Window::open(&run);
                    let outcome = timeout(plan.deadline, kill::crash(port)).await;
                    let late = || anyhow!("nobody serves in its place after {:?}", plan.deadline);
                    let outcome = outcome.unwrap_or_else(|_| Err(late()));
                    let killed = window.conclude(&port.name, plan.settle, outcome).await;
                    restarts.push(Restart { act: Act::Kill, ..killed });
                }
            }
            How::Admin(ports) => {
                for port in ports {
                    let mut window = Window::open(&run);
                    let outcome = admin_restart(port, plan.deadline, |task| {
                        if task.text("phase") == Some("PROBATION") {
                            window.close();
                        }
                    });
                    let outcome = outcome.await;
                    restarts.push(window.conclude(&port.name, plan.settle, outcome).await);
                }
            }
        }
    }
}

/// The time in which what happens counts as the restart's.
struct Window<'a> {
    run: &'a Run,
    began_ms: u64,
    /// When it closed, and the longest wait of each client in it.
    closed: Option<(u64, Pauses)>,
}

impl<'a> Window<'a> {
    fn open(run: &'a Run) -> Self {
        let began_ms = run.tally.elapsed().as_millis() as u64;
        run.tally.window_opened();
        Self { run, began_ms, closed: None }
    }

    fn close(&mut self) -> (u64, Pauses) {
        let tally = &self.run.tally;
        let close = || {
            let waits = tally.window_closed();
            (tally.elapsed().as_millis() as u64, waits)
        };
        self.closed.get_or_insert_with(close).clone()
    }

    /// The restart is over.
    async fn conclude(
        mut self,
        target: &str,
        settle: Duration,
        outcome: anyhow::Result<Row>,
    ) -> Restart {
        let ended_ms = self.run.tally.elapsed().as_millis() as u64;
        sleep(settle).await;
        let (window_ended_ms, waits) = self.close();
        let (task, failure) = verdict(outcome);
        let (target, pauses, began_ms) = (target.to_owned(), pauses(&task), self.began_ms);
        let (act, task) = (Act::Restart, task.0);
        Restart { act, target, began_ms, ended_ms, window_ended_ms, failure, task, pauses, waits }
    }
}

fn pauses(task: &Row) -> Option<Pauses> {
    Pauses::from_columns(task.text("pause_buckets_us")?, task.number("pause_max_us")?)
}

/// The task, and why it is not as it should be.
fn verdict(outcome: anyhow::Result<Row>) -> (Row, Option<String>) {
    match outcome {
        Ok(task) if task.text("state").is_some_and(|state| state != "COMPLETED") => {
            let word = |name| task.text(name).unwrap_or_default();
            let phase = task.text("phase").map_or(String::new(), |phase| format!(" in {phase}"));
            let failure = format!("{}{phase}: {}", word("state"), word("detail"));
            (task, Some(failure))
        }
        Ok(task) => (task, None),
        Err(error) => (Row::default(), Some(brief(chain(error.as_ref())))),
    }
}

async fn command_restart(command: &str, deadline: Duration) -> anyhow::Result<Row> {
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
    Ok(Row::default())
}

async fn admin_restart(
    port: &AdminPort,
    deadline: Duration,
    seen: impl FnMut(&Row),
) -> anyhow::Result<Row> {
    let begun = Instant::now();
    let mut admin = port.connect().await.with_context(|| format!("admin port {}", port.name))?;
    let task = admin.restart("RESTART").await.context("RESTART")?;
    let left = deadline.saturating_sub(begun.elapsed());
    let limits = Limits { silence: left, whole: Some(left) };
    follow(port, admin, task, limits, seen).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::fake::{FakeAdmin, Step};

    const DEADLINE: Duration = Duration::from_secs(20);

    async fn ask(steps: Vec<Step>, deadline: Duration) -> (Row, Option<String>) {
        let admin = FakeAdmin::start(steps).await;
        verdict(admin_restart(&admin.port(), deadline, |_| {}).await)
    }

    #[tokio::test]
    async fn a_restart_is_over_when_its_task_is() {
        let steps = vec![
            Step::Accepted(8),
            // The old task is still the only one at the first look.
            Step::Task(7, "COMPLETED", ""),
            Step::Task(8, "IN_PROGRESS", "moving"),
            Step::Task(8, "COMPLETED", "moved 3"),
        ];
        let (task, failure) = ask(steps, DEADLINE).await;
        assert_eq!(failure, None);
        assert_eq!(task.number("task_id"), Some(8));
        assert_eq!(task.text("detail"), Some("moved 3"));
    }

    #[tokio::test]
    async fn an_admin_connection_that_ends_with_its_process_is_made_again() {
        let steps = vec![
            Step::Accepted(1),
            Step::HangUp,
            Step::Task(1, "IN_PROGRESS", ""),
            Step::HangUp,
            Step::Task(1, "COMPLETED", ""),
        ];
        let (task, failure) = ask(steps, DEADLINE).await;
        assert_eq!((task.number("task_id"), failure), (Some(1), None));
    }

    #[tokio::test]
    async fn a_restart_that_is_rolled_back_is_a_failure() {
        let steps = vec![Step::Accepted(2), Step::Task(2, "ROLLED_BACK", "not ready")];
        let (_, failure) = ask(steps, DEADLINE).await;
        assert_eq!(failure.as_deref(), Some("ROLLED_BACK: not ready"));
    }

    #[tokio::test]
    async fn a_refused_restart_says_why() {
        let (_, failure) = ask(vec![Step::Refused("not now")], DEADLINE).await;
        assert!(failure.as_deref().is_some_and(|text| text.contains("not now")), "{failure:?}");
    }

    #[tokio::test]
    async fn a_restart_that_never_ends_is_given_up() {
        let mut steps = vec![Step::Accepted(1)];
        steps.extend(vec![Step::Task(1, "IN_PROGRESS", ""); 1000]);
        let (_, failure) = ask(steps, Duration::from_millis(300)).await;
        assert!(failure.as_deref().is_some_and(|text| text.contains("not over")), "{failure:?}");
    }
}
