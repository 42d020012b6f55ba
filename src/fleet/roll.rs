//! Restarts of one or many proxies, so many at a time, and no further after the first failure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::hung::{self, Again};
use super::port::{Admin, AdminPort, Limits, Row, Trouble, follow, quoted};
use super::progress::Progress;
use crate::config::ExitTimeout;

/// How long nothing may be heard of a restart, while one process follows the other.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a proxy may take to be RUNNING once its restart is completed, or it was started.
const SETTLING: Duration = Duration::from_secs(30);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What is asked of each proxy.
pub(crate) struct Order {
    what: What,
    /// The statement that says so.
    statement: String,
    binary: Option<PathBuf>,
    config: Option<PathBuf>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A restart that no client notices.
    Restart,
    /// A restart in every state, and at once. A proxy that does not answer is killed and started
    /// again; its config, if that is known.
    Force(Option<PathBuf>),
    /// Nothing moves: the new program says what it would refuse.
    Rehearsal,
}

impl Order {
    /// Of a program and a config by absolute paths on the machine of the proxy, or else its own.
    pub(crate) fn new(
        what: What,
        exit_timeout: Option<ExitTimeout>,
        binary: Option<PathBuf>,
        config: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let mut statement = String::from(match &what {
            What::Restart => "RESTART",
            What::Force(_) => "RESTART FORCE",
            What::Rehearsal => "RESTART REHEARSE",
        });
        if let Some(timeout) = exit_timeout {
            statement.push_str(&format!(" EXIT_TIMEOUT={}", quoted(&timeout.to_string())));
        }
        for (name, path) in [("BINARY", &binary), ("CONFIG", &config)] {
            if let Some(path) = path {
                statement.push_str(&format!(" {name}={}", quoted(utf8(path)?)));
            }
        }
        Ok(Self { what, statement, binary, config })
    }

    /// As the admin port takes it.
    pub(super) fn statement(&self) -> &str {
        &self.statement
    }
}

fn utf8(path: &Path) -> anyhow::Result<&str> {
    path.to_str().with_context(|| format!("{}: expected UTF-8", path.display()))
}

/// Restarts them in order, `batch` at a time; true if one failed. What is under way then is seen
/// to its end, and nothing new is begun; a rehearsal harms nobody, so all are asked.
pub(crate) async fn roll(
    ports: Vec<AdminPort>,
    order: Order,
    batch: usize,
    progress: impl Progress,
) -> bool {
    let (order, progress) = (Arc::new(order), Arc::new(progress));
    let mut waiting = ports.into_iter();
    let mut under_way = JoinSet::new();
    let mut failed = false;
    loop {
        let goes_on = !failed || order.what == What::Rehearsal;
        while goes_on && under_way.len() < batch {
            let Some(port) = waiting.next() else { break };
            let (order, progress) = (order.clone(), progress.clone());
            under_way.spawn(async move {
                let outcome = restart(&port, &order, &*progress).await;
                let ok = outcome.is_ok();
                progress.ended(&port.name, outcome);
                ok
            });
        }
        // Each is bounded by the deadlines below, or by those of the proxy while it answers.
        match under_way.join_next().await {
            Some(ok) => failed |= !ok.unwrap_or(false),
            None => break,
        }
    }
    for port in waiting {
        progress.left_alone(&port.name);
    }
    failed
}

/// One proxy; what is to be said of its restart.
pub(super) async fn restart(
    port: &AdminPort,
    order: &Order,
    progress: &impl Progress,
) -> anyhow::Result<String> {
    let begun = Instant::now();
    progress.says(&port.name, "asking");
    let how = match (ask(port, order, progress).await, &order.what) {
        (Ok((admin, task)), What::Rehearsal) => {
            let row = completed(port, admin, task, progress).await?;
            let detail = row.text("detail").unwrap_or_default();
            return Ok(format!("task {task}: {detail}; nothing has moved"));
        }
        (Ok((admin, task)), What::Restart | What::Force(_)) => {
            watch(port, admin, task, progress).await?
        }
        (Err(Trouble::Silent(waited)), What::Force(known)) => {
            progress.says(&port.name, &format!("no answer in {waited:?}: it hangs; killing it"));
            let again = Again { binary: order.binary.as_deref(), config: order.config.as_deref() };
            hung::revive(port, known.as_deref(), again, progress).await?
        }
        (Err(trouble @ Trouble::Silent(_)), What::Restart | What::Rehearsal) => {
            bail!("{trouble}; if it hangs, --force kills it and starts it again")
        }
        (Err(trouble), _) => return Err(trouble.into()),
    };
    progress.says(&port.name, "waiting for RUNNING");
    let proxy = running(port).await?;
    let text = |name| proxy.text(name).unwrap_or("?");
    let (pid, version) = (text("pid"), text("version"));
    let took = begun.elapsed().as_secs_f64();
    Ok(format!("RUNNING in {took:.1} s as pid {pid}, version {version}; {how}"))
}

/// Sends the statement to a proxy that has shown that it answers.
async fn ask(
    port: &AdminPort,
    order: &Order,
    progress: &impl Progress,
) -> Result<(Admin, u64), Trouble> {
    let mut admin = port.connect().await?;
    if let Some(detour) = admin.detour() {
        progress.says(&port.name, detour);
    }
    admin.ping().await?;
    let task = admin.restart(&order.statement).await?;
    Ok((admin, task))
}

/// Whether a proxy would be restarted, and what its clients would notice. Sessions that cannot move
/// are no failure: they go on in the old process until the exit timeout.
pub(super) async fn rehearse(
    port: &AdminPort,
    order: &Order,
    progress: &impl Progress,
) -> anyhow::Result<String> {
    until_none_rehearses(port).await?;
    let (admin, task) = ask(port, order, progress).await?;
    let row = followed(port, admin, task, progress).await?;
    if row.number("draining").unwrap_or_default() == 0 {
        well(&row, task)?;
    }
    Ok(format!("task {task}: {}", row.text("detail").unwrap_or_default()))
}

/// A proxy rehearses for one at a time: for an operator whose dialog is open, or for a coordinator
/// that has died since.
async fn until_none_rehearses(port: &AdminPort) -> Result<(), Trouble> {
    let until = Instant::now() + SILENCE;
    let mut admin = port.connect().await?;
    let is_rehearsal = |row: &Row| {
        row.text("mode") == Some("REHEARSE") && row.text("state") == Some("IN_PROGRESS")
    };
    while admin.tasks().await?.iter().any(is_rehearsal) && Instant::now() < until {
        sleep(LOOK).await;
    }
    admin.quit().await;
    Ok(())
}

/// Follows a restart to its completion.
pub(super) async fn watch(
    port: &AdminPort,
    admin: Admin,
    task: u64,
    progress: &impl Progress,
) -> anyhow::Result<String> {
    let row = completed(port, admin, task, progress).await?;
    let text = |name| row.text(name).unwrap_or_default();
    let (moved, sessions, cut) = (text("moved"), text("sessions"), text("disconnected"));
    Ok(format!("task {task}: {moved} of {sessions} sessions moved, {cut} disconnected"))
}

async fn completed(
    port: &AdminPort,
    admin: Admin,
    task: u64,
    progress: &impl Progress,
) -> anyhow::Result<Row> {
    let row = followed(port, admin, task, progress).await?;
    well(&row, task)?;
    Ok(row)
}

async fn followed(
    port: &AdminPort,
    admin: Admin,
    task: u64,
    progress: &impl Progress,
) -> anyhow::Result<Row> {
    let limits = Limits { silence: SILENCE, whole: None };
    follow(port, admin, task, limits, |row| progress.shows(&port.name, row)).await
}

fn well(row: &Row, task: u64) -> anyhow::Result<()> {
    let text = |name| row.text(name).unwrap_or_default();
    if text("state") != "COMPLETED" {
        bail!("task {task} is {} in {}: {}", text("state"), text("phase"), text("detail"));
    }
    Ok(())
}

/// Waits until the proxy says RUNNING.
pub(super) async fn running(port: &AdminPort) -> anyhow::Result<Row> {
    let until = Instant::now() + SETTLING;
    loop {
        let seen = port.proxy().await;
        if let Ok(proxy) = &seen
            && proxy.text("state") == Some("RUNNING")
        {
            return Ok(proxy.clone());
        }
        if Instant::now() >= until {
            let proxy = seen.with_context(|| format!("it is not RUNNING after {SETTLING:?}"))?;
            bail!("it is {} after {SETTLING:?}", proxy.text("state").unwrap_or("in no state"));
        }
        sleep(LOOK).await;
    }
}
