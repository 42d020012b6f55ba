//! What people see of a restart: the state of the proxy, and the ledger of restart tasks.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::ExitTimeout;
use crate::metrics::pauses::Pauses;
use crate::names::named;

/// The id of a task: counts up for ever, across generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u64);

/// Counts the processes that have served, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl TaskId {
    /// The next one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Generation {
    /// That of the successor.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

named! {
    /// The state of a proxy, as `odp status` shows it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum State {
        Starting = "STARTING",
        Running = "RUNNING",
        Restarting = "RESTARTING",
        Draining = "DRAINING",
        Offline = "OFFLINE",
        Stopping = "STOPPING",
    }
}

named! {
    /// How a restart treats the clients.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Mode {
        /// Nobody notices.
        Restart = "RESTART",
        /// Every client gets 1053 at once.
        Force = "FORCE",
        /// Nothing moves: a successor only says what it would take.
        Rehearse = "REHEARSE",
        /// In a task of a later version: something else. Nobody can ask for it.
        #[serde(other)]
        Unknown = "UNKNOWN",
    }
}

named! {
    /// How a task stands.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[allow(missing_docs)]
    pub enum TaskState {
        InProgress = "IN_PROGRESS",
        Completed = "COMPLETED",
        Failed = "FAILED",
        RolledBack = "ROLLED_BACK",
        /// In a task of a later version: it ended in another way.
        #[serde(other)]
        Unknown = "UNKNOWN",
    }
}

named! {
    /// A phase of the handover, in order. It informs: one of a later version is no reason to fail.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[allow(missing_docs)]
    pub enum Phase {
        Preflight = "PREFLIGHT",
        Hello = "HELLO",
        Warm = "WARM",
        Listen = "LISTEN",
        Canary = "CANARY",
        Sessions = "SESSIONS",
        Accept = "ACCEPT",
        Drain = "DRAIN",
        Probation = "PROBATION",
        Commit = "COMMIT",
        /// Of a later version.
        #[serde(other)]
        Unknown = "UNKNOWN",
    }
}

/// When a restart came to a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The phase.
    pub phase: Phase,
    /// Milliseconds since the restart began.
    pub after_ms: u64,
}

/// One row of SHOW RESTART.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub task_id: TaskId,
    /// RESTART, FORCE or REHEARSE.
    pub mode: Mode,
    /// Whether it is over, and how it ended.
    pub state: TaskState,
    /// Where it is, or where it ended.
    pub phase: Phase,
    /// Where it has been, in order, and where it is. Older versions do not say it, and drop it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Reached>,
    /// The generation that it makes.
    pub generation: Generation,
    /// The process that served before, as a service manager knows it: it, or its keeper.
    pub old_pid: u32,
    /// The same of the process that serves after; 0 until it is known.
    pub new_pid: u32,
    /// The process that served before, if that is its keeper; else 0.
    #[serde(default, skip_serializing_if = "is_none")]
    pub old_carrier: u32,
    /// The same of the process that serves after.
    #[serde(default, skip_serializing_if = "is_none")]
    pub new_carrier: u32,
    /// Milliseconds since the Unix epoch.
    pub started_at_ms: u64,
    /// Milliseconds from start to end, or until now.
    pub elapsed_ms: u64,
    /// Sessions when it began, and those that came in time to move.
    pub sessions: u64,
    /// Sessions that the successor has adopted; in a rehearsal, would adopt.
    pub moved: u64,
    /// Sessions that the predecessor still serves; of a rehearsal that is over, those that it would
    /// still serve: then nothing else has failed.
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
    /// Who has asked for it. Older versions do not say it, and drop it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

impl Task {
    /// One that has just begun, at the epoch, asked for by nobody who is known.
    pub fn begun(task_id: TaskId, mode: Mode, generation: Generation, old_pid: u32) -> Self {
        Self {
            task_id,
            mode,
            state: TaskState::InProgress,
            phase: Phase::Preflight,
            phases: Vec::new(),
            generation,
            old_pid,
            new_pid: 0,
            old_carrier: 0,
            new_carrier: 0,
            started_at_ms: 0,
            elapsed_ms: 0,
            sessions: 0,
            moved: 0,
            draining: 0,
            in_transaction: 0,
            disconnected: 0,
            pauses: Pauses::default(),
            detail: String::new(),
            by: String::new(),
        }
    }

    /// It comes to a phase.
    pub(super) fn reach(&mut self, phase: Phase) {
        self.phase = phase;
        if self.phases.iter().all(|reached| reached.phase != phase) {
            self.phases.push(Reached { phase, after_ms: self.elapsed_ms });
        }
    }

    /// The process that served before, as people see it.
    pub fn predecessor(&self) -> u32 {
        if is_none(&self.old_carrier) { self.old_pid } else { self.old_carrier }
    }

    /// The same of the process that serves after; 0 until it is known.
    pub fn successor(&self) -> u32 {
        if is_none(&self.new_carrier) { self.new_pid } else { self.new_carrier }
    }
}

/// Whether a process is none.
fn is_none(pid: &u32) -> bool {
    *pid == 0
}

/// A restart that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What he wants.
    pub request: Request,
    /// Who he is, as people are told.
    pub by: String,
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

impl Request {
    /// As usual, with the files that this process was started from.
    pub fn of(mode: Mode) -> Self {
        Self { mode, exit_timeout: None, binary: None, config: None }
    }

    /// Wanted by this one.
    pub fn by(self, who: impl Into<String>) -> Wish {
        Wish { request: self, by: who.into() }
    }
}
