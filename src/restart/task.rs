//! What people see of a restart: the state of the proxy, and the ledger of restart tasks.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::ExitTimeout;
use crate::metrics::pauses::Pauses;

/// The state of a proxy, as `odp status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum State {
    Starting,
    Running,
    Restarting,
    Draining,
    Offline,
    Stopping,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Restarting => "RESTARTING",
            Self::Draining => "DRAINING",
            Self::Offline => "OFFLINE",
            Self::Stopping => "STOPPING",
        })
    }
}

/// How a restart treats the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Mode {
    /// Nobody notices.
    Restart,
    /// Every client gets 1053 at once.
    Force,
    /// Nothing moves: a successor only says what it would take.
    Rehearse,
    /// In a task of a later version: something else. Nobody can ask for it.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Restart => "RESTART",
            Self::Force => "FORCE",
            Self::Rehearse => "REHEARSE",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum TaskState {
    InProgress,
    Completed,
    Failed,
    RolledBack,
    /// In a task of a later version: it ended in another way.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for TaskState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// A phase of the handover, in order. It informs: one of a later version is no reason to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Phase {
    Preflight,
    Hello,
    Warm,
    Listen,
    Canary,
    Sessions,
    Accept,
    Drain,
    Probation,
    Commit,
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Preflight => "PREFLIGHT",
            Self::Hello => "HELLO",
            Self::Warm => "WARM",
            Self::Listen => "LISTEN",
            Self::Canary => "CANARY",
            Self::Sessions => "SESSIONS",
            Self::Accept => "ACCEPT",
            Self::Drain => "DRAIN",
            Self::Probation => "PROBATION",
            Self::Commit => "COMMIT",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// One row of SHOW RESTART.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Counts up for ever, across generations.
    pub task_id: u64,
    /// RESTART, FORCE or REHEARSE.
    pub mode: Mode,
    /// Whether it is over, and how it ended.
    pub state: TaskState,
    /// Where it is, or where it ended.
    pub phase: Phase,
    /// The generation that it makes.
    pub generation: u64,
    /// The process that served before.
    pub old_pid: u32,
    /// The process that serves after; 0 until it is known.
    pub new_pid: u32,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Milliseconds from start to end, or until now.
    pub elapsed_ms: u64,
    /// Sessions when it began, and those that came in time to move.
    pub sessions: u64,
    /// Sessions that the successor has adopted; in a rehearsal, would adopt.
    pub moved: u64,
    /// Sessions that the predecessor still serves.
    pub draining: u64,
    /// Those of them in a transaction.
    pub in_transaction: u64,
    /// Sessions closed with 1053.
    pub disconnected: u64,
    /// How long sessions stood still, those included that came back. Older versions do not say it.
    #[serde(default)]
    pub pauses: Pauses,
    /// What is going on, or why it failed.
    pub detail: String,
}

impl Task {
    /// One that has just begun, at the epoch.
    pub fn begun(task_id: u64, mode: Mode, generation: u64, old_pid: u32) -> Self {
        Self {
            task_id,
            mode,
            state: TaskState::InProgress,
            phase: Phase::Preflight,
            generation,
            old_pid,
            new_pid: 0,
            started_at_ms: 0,
            elapsed_ms: 0,
            sessions: 0,
            moved: 0,
            draining: 0,
            in_transaction: 0,
            disconnected: 0,
            pauses: Pauses::default(),
            detail: String::new(),
        }
    }
}

/// What RESTART asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// RESTART or RESTART FORCE.
    pub mode: Mode,
    /// Instead of `hot_upgrade_exit_timeout`.
    pub exit_timeout: Option<ExitTimeout>,
    /// Instead of the file this process was started from.
    pub binary: Option<PathBuf>,
    /// Instead of the config this process was started with.
    pub config: Option<PathBuf>,
}
