//! What is shown of a proxy's life: how it stands, and the ledger of its restart tasks; with what
//! does not change while the process lives.
//!
//! Coordinator and drivers write here, operators read. Invariant: nobody decides by what is shown.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::ledger::Ledger;
use super::message::Terms;
use super::task::{Generation, Mode, Phase, Request, State, Task, TaskId, TaskState};
use super::timeouts::Timeouts;
use crate::config::ExitTimeout;

/// What does not change while a process lives.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file this process was started from; `RESTART` runs what is there then.
    pub binary: PathBuf,
    /// The config file.
    pub config: PathBuf,
    /// The package version.
    pub build: String,
    /// The process that others know: this one, or its keeper.
    pub pid: u32,
    /// Tells one config from another.
    pub config_hash: String,
    /// Holds the handover socket.
    pub run_dir: PathBuf,
    /// What a successor is to be worth to the kernel when memory is short, if not what we are.
    pub oom_score_adj: Option<i32>,
}

impl Origin {
    /// This process, if its keeper is the one that others know; else 0.
    pub(super) fn carrier(&self) -> u32 {
        let own = std::process::id();
        if self.pid == own { 0 } else { own }
    }
}

/// What may change by ALTER PROXYCONFIG; asked for at each restart.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `hot_upgrade_exit_timeout`.
    pub exit_timeout: ExitTimeout,
    /// `hot_upgrade_rollback_timeout`.
    pub rollback_timeout: Duration,
    /// `hot_upgrade_probation`.
    pub probation: Duration,
    /// `session_handover`.
    pub session_handover: bool,
}

/// How the proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The state.
    pub state: State,
    /// The phase of the restart, if there is one.
    pub phase: Option<Phase>,
    /// This process's.
    pub generation: Generation,
    /// Whether a load balancer should send clients here (`/readyz`).
    pub takes_clients: bool,
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.phase {
            Some(phase) => write!(f, "state is {}, phase {phase}", self.state),
            None => write!(f, "state is {}", self.state),
        }
    }
}

/// A handle; all clones are the same.
#[derive(Clone)]
pub(super) struct Board(Arc<Inner>);

struct Inner {
    origin: Origin,
    settings: Box<dyn Fn() -> Settings + Send + Sync>,
    timeouts: Timeouts,
    standing: watch::Sender<Standing>,
    ledger: Mutex<Ledger>,
    binary: Mutex<PathBuf>,
}

impl Board {
    /// Of a process that starts. `settings` is asked at each restart.
    pub(super) fn new(
        origin: Origin,
        timeouts: Timeouts,
        settings: impl Fn() -> Settings + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            binary: Mutex::new(origin.binary.clone()),
            origin,
            settings: Box::new(settings),
            timeouts,
            standing: watch::Sender::new(Standing {
                state: State::Starting,
                phase: None,
                generation: Generation(1),
                takes_clients: false,
            }),
            ledger: Mutex::default(),
        }))
    }

    /// How the proxy stands now.
    pub(super) fn standing(&self) -> Standing {
        *self.0.standing.borrow()
    }

    /// This process's generation.
    pub(super) fn generation(&self) -> Generation {
        self.standing().generation
    }

    /// Tells of every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    /// What this process was started with.
    pub(super) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// The file that the next successor is started from.
    pub(super) fn binary(&self) -> PathBuf {
        self.0.binary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What operators want now.
    pub(super) fn settings(&self) -> Settings {
        (self.0.settings)()
    }

    /// How long to wait for what.
    pub(super) fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    /// The tasks of this process and its predecessors.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a state; logs it if it is another.
    pub(super) fn show(&self, state: State, phase: Option<Phase>, takes_clients: bool) {
        let changed = self.0.standing.send_if_modified(|standing| {
            let next = Standing { state, phase, takes_clients, ..*standing };
            std::mem::replace(standing, next) != next
        });
        if changed {
            let phase = phase.map(tracing::field::display);
            tracing::info!(%state, phase, generation = self.generation().0, "lifecycle");
        }
    }

    /// Opens a task for what somebody has asked for.
    pub(super) fn begin_asked(&self, request: &Request, by: &str) -> TaskId {
        let task_id = self.begin_task(request.mode, by);
        self.ledger().remember(task_id, request.clone());
        task_id
    }

    /// What was asked for by a task, if it was the last one, and this process was asked.
    pub(super) fn asked(&self, task_id: TaskId) -> Option<Request> {
        self.ledger().asked(task_id)
    }

    /// Opens a task that somebody has asked for.
    pub(super) fn begin_task(&self, mode: Mode, by: &str) -> TaskId {
        let kind = (mode, self.generation().next());
        let task_id = self.ledger().begin(self.origin().pid, kind, Instant::now());
        self.update_task(task_id, |task| {
            task.old_carrier = self.origin().carrier();
            by.clone_into(&mut task.by);
        });
        task_id
    }

    /// One of the tasks as it stands.
    pub(super) fn task(&self, task_id: TaskId) -> Option<Task> {
        self.ledger().task(task_id, Instant::now())
    }

    /// Changes a task; one whose state is final is closed.
    pub(super) fn update_task(&self, task_id: TaskId, change: impl FnOnce(&mut Task)) {
        self.ledger().update(task_id, change);
    }

    /// This process is of a generation that another one was of before, which knew these tasks.
    pub(super) fn resume(&self, generation: Generation, tasks: Vec<Task>) {
        let mut ledger = self.ledger();
        for mut task in tasks {
            if task.state == TaskState::InProgress {
                task.state = TaskState::Failed;
                task.detail = "ended by a crash of the proxy".into();
            }
            ledger.put(task);
        }
        drop(ledger);
        self.0.standing.send_modify(|standing| standing.generation = generation);
    }

    /// Goes on where a predecessor is: its tasks, the next generation, its binary.
    pub(super) fn succeed(&self, terms: &Terms) {
        let mut ledger = self.ledger();
        for mut task in terms.tasks.iter().cloned() {
            // A rehearsal, which ends when a restart begins: nobody is left to tell more of it.
            if task.state == TaskState::InProgress {
                task.state = TaskState::Failed;
                task.detail = "ended by a restart".into();
            }
            ledger.put(task);
        }
        ledger.put(terms.task.clone());
        ledger.gauge_task(terms.task.task_id);
        drop(ledger);
        if let Some(binary) = &terms.binary {
            *self.0.binary.lock().unwrap_or_else(PoisonError::into_inner) = binary.clone();
        }
        self.0.standing.send_modify(|standing| standing.generation = terms.generation);
    }
}
