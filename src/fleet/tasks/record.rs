//! A task as it is kept and shown: what was asked for, and how far each proxy is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{ExitTimeout, Span};
use crate::names::named;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// How clients are treated.
    pub mode: Mode,
    /// Instead of what each proxy's config says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_timeout: Option<ExitTimeout>,
    /// The program that takes over, on the machine of each proxy; None is its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binary: Option<PathBuf>,
    /// The config, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// So many at a time.
    pub batch: usize,
    /// So many first, before all others; 0: none.
    pub canary: usize,
    /// For so long those that were restarted are watched before it goes on.
    pub pause: Span,
    /// Percent by which more of their answers may be errors meanwhile than before.
    pub max_error_percent: u32,
    /// Whether it stops at the first failure.
    pub stop_on_failure: bool,
    /// Whether each is asked first what it would not take over.
    pub rehearsal: bool,
    /// Only those that serve this cluster; None: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Only these; empty: all.
    pub proxies: Vec<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            mode: Mode::Restart,
            exit_timeout: None,
            binary: None,
            config: None,
            batch: 1,
            canary: 1,
            pause: Span(std::time::Duration::from_secs(5)),
            max_error_percent: 5,
            stop_on_failure: true,
            rehearsal: true,
            cluster: None,
            proxies: Vec::new(),
        }
    }
}

named! {
    /// How clients are treated.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Mode {
        /// Nobody notices.
        Restart = "RESTART",
        /// Each gets an error, at once.
        Force = "FORCE",
    }
}

named! {
    /// How a task stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum State {
        /// It goes on.
        InProgress = "IN_PROGRESS",
        /// Every proxy is restarted, and well.
        Completed = "COMPLETED",
        /// One is not; those behind it were left alone.
        Failed = "FAILED",
        /// An operator has stopped it.
        Stopped = "STOPPED",
        /// Those that were restarted run again what they ran before.
        RolledBack = "ROLLED_BACK",
    }
}

named! {
    /// What a task is about.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Stage {
        /// Each proxy is asked what it would not take over; nothing is restarted.
        Rehearsal = "REHEARSAL",
        /// They are restarted.
        Rolling = "ROLLING",
        /// They are restarted into what they ran before.
        RollingBack = "ROLLING_BACK",
    }
}

named! {
    /// How a proxy stands in it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum StepState {
        Waiting = "WAITING",
        Rehearsing = "REHEARSING",
        Rehearsed = "REHEARSED",
        Restarting = "RESTARTING",
        Restarted = "RESTARTED",
        Watched = "WATCHED",
        Done = "DONE",
        Failed = "FAILED",
        /// Its restart is being taken back.
        Undoing = "UNDOING",
        Returning = "RETURNING",
        RolledBack = "ROLLED_BACK",
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Counts up, at this proxy.
    pub id: u64,
    /// What was asked for.
    pub request: Request,
    /// By whom.
    pub by: String,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// The same, when it ended.
    pub ended_at_ms: Option<u64>,
    /// How it stands.
    pub state: State,
    /// What it is about.
    pub stage: Stage,
    /// An operator has asked it to begin nothing more.
    pub is_stopping: bool,
    /// The proxies, in order; the one that coordinates is the last.
    pub steps: Vec<Step>,
    /// Why it ended, or what it waits for.
    pub detail: String,
}

/// A proxy's part in a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What people call the proxy.
    pub proxy: String,
    /// Its admin port.
    pub address: String,
    /// Whether it is the one that coordinates.
    pub coordinates: bool,
    /// How it stands.
    pub state: StepState,
    /// What it ran before the task.
    pub before: Option<Build>,
    /// How it stood before the restart that was asked for last.
    pub mark: Option<Mark>,
    /// What it has gone through.
    pub phases: Vec<Phase>,
    /// What is going on, or why it failed.
    pub detail: String,
}

/// What a proxy runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Of the program.
    pub version: String,
    /// The program's file; empty: it is not known.
    pub binary: String,
    /// The config's file.
    pub config: String,
}

/// By what a restart is told from those before it, whatever the clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The proxy's.
    pub generation: u64,
    /// The newest of its restart tasks; 0: there was none.
    pub last_task: u64,
    /// Answers until then, and how many of them were errors.
    pub answers: Answers,
}

/// What clients got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// All.
    pub all: u64,
    /// Errors among them.
    pub errors: u64,
}

/// Something that a proxy has gone through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// REHEARSE, RESTART, WATCH, ROLLBACK.
    pub name: String,
    /// Milliseconds since the Unix epoch.
    pub begun_at_ms: u64,
    /// The same, when it ended.
    pub ended_at_ms: Option<u64>,
    /// How it ended.
    pub detail: String,
}
