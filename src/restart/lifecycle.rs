//! The handle of the proxy's life: what admin port, HTTP port and signals hold.
//!
//! It only asks; the desk (`serve`) decides, one thing after another. Invariant: what
//! [`Lifecycle::standing`] and [`Lifecycle::tasks`] show is what the desk last decided.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::desk;
use super::drive::incoming::{self, Offer};
use super::host::fd::{channel_from_stdin, nofile};
use super::ledger::Ledger;
use super::message::Hello;
use super::plane::DataPlane;
use super::task::{Mode, Phase, Request, State, Task, TaskState};
use super::timeouts::Timeouts;
use super::transport::channel::Channel;
use super::transport::{disguise, door};
use crate::config::ExitTimeout;

/// Orders that may wait for the desk.
const ORDERS: usize = 16;

/// How long an order may wait for its answer: longer than any preflight and any end of a hung
/// successor.
const LONGEST_ANSWER: Duration = Duration::from_secs(90);

/// What does not change while a process lives.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file this process was started from; `RESTART` runs what is there then.
    pub binary: PathBuf,
    /// The config file.
    pub config: PathBuf,
    /// The package version.
    pub build: String,
    /// Tells one config from another.
    pub config_hash: String,
    /// Holds the handover socket.
    pub run_dir: PathBuf,
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
    /// Counts processes, from 1.
    pub generation: u64,
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

/// How a process comes to serve.
#[derive(Debug)]
pub enum Start {
    /// There was nobody to succeed; says why.
    Cold(String),
    /// A predecessor hands over.
    Warm(Box<Offer>),
}

/// Why `serve` has ended. The process should exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A successor serves; exit code 0. Says how it came to that.
    Succeeded(String),
    /// It was told to stop and did; exit code 0.
    Stopped,
    /// As a successor it was not wanted; exit code 1.
    Refused(String),
}

/// A handle; all clones are the same.
#[derive(Clone)]
pub struct Lifecycle(Arc<Inner>);

pub(super) struct Inner {
    origin: Origin,
    settings: Box<dyn Fn() -> Settings + Send + Sync>,
    timeouts: Timeouts,
    standing: watch::Sender<Standing>,
    stop: watch::Sender<Option<Duration>>,
    ledger: Mutex<Ledger>,
    binary: Mutex<PathBuf>,
    rehearsing: Arc<tokio::sync::Mutex<()>>,
    orders: mpsc::Sender<Order>,
    desk: Mutex<Option<mpsc::Receiver<Order>>>,
}

/// What the desk is asked.
#[derive(Debug)]
pub(super) enum Order {
    Restart(Request, oneshot::Sender<Result<u64, String>>),
    Rollback(oneshot::Sender<Result<u64, String>>),
    Offline(oneshot::Sender<Result<(), String>>),
    Online(oneshot::Sender<Result<(), String>>),
}

impl Lifecycle {
    /// A process that starts. `settings` is asked at each restart.
    pub fn new(
        origin: Origin,
        timeouts: Timeouts,
        settings: impl Fn() -> Settings + Send + Sync + 'static,
    ) -> Self {
        let (orders, desk) = mpsc::channel(ORDERS);
        let standing =
            Standing { state: State::Starting, phase: None, generation: 1, takes_clients: false };
        Self(Arc::new(Inner {
            binary: Mutex::new(origin.binary.clone()),
            origin,
            settings: Box::new(settings),
            timeouts,
            standing: watch::Sender::new(standing),
            stop: watch::Sender::new(None),
            ledger: Mutex::default(),
            rehearsing: Arc::default(),
            orders,
            desk: Mutex::new(Some(desk)),
        }))
    }

    /// How the proxy stands now.
    pub fn standing(&self) -> Standing {
        *self.0.standing.borrow()
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.standing().state
    }

    /// The phase of the restart, if there is one.
    pub fn phase(&self) -> Option<Phase> {
        self.standing().phase
    }

    /// This process's generation, from 1.
    pub fn generation(&self) -> u64 {
        self.standing().generation
    }

    /// The config file of this process.
    pub fn config_path(&self) -> &std::path::Path {
        &self.0.origin.config
    }

    /// Tells of every change.
    pub fn subscribe(&self) -> watch::Receiver<Standing> {
        self.0.standing.subscribe()
    }

    /// The tasks of this process and its predecessors, newest first.
    pub fn tasks(&self) -> Vec<Task> {
        self.ledger().rows(Instant::now())
    }

    /// RESTART or RESTART FORCE. Answers with the task's id after preflight has passed, or with
    /// why not.
    pub async fn restart(&self, request: Request) -> Result<u64, String> {
        self.ask(|answer| Order::Restart(request, answer)).await
    }

    /// RESTART ROLLBACK: takes back the restart under way. Answers with its id when that has begun.
    pub async fn rollback(&self) -> Result<u64, String> {
        self.ask(Order::Rollback).await
    }

    /// Takes no new clients, but serves those that are there.
    pub async fn offline(&self) -> Result<(), String> {
        self.ask(Order::Offline).await
    }

    /// Takes clients again.
    pub async fn online(&self) -> Result<(), String> {
        self.ask(Order::Online).await
    }

    /// Stops: sessions get 1053 after `grace`, and then `serve` ends. If a successor serves
    /// already, this process only ends sooner.
    pub fn stop(&self, grace: Duration) {
        self.0.stop.send_replace(Some(grace));
    }

    /// `--takeover`: finds the predecessor and gets what it offers. The error is a refusal, or a
    /// predecessor that does not answer.
    pub async fn take_over(&self) -> Result<Start, String> {
        if let Some(socket) = channel_from_stdin() {
            let socket = socket.map_err(|error| format!("standard input: {error}"))?;
            return self.take_over_from(socket).await;
        }
        loop {
            let within = self.0.timeouts.answer;
            let Some(socket) = door::call(&self.0.origin.run_dir, within).await? else {
                return Ok(Start::Cold("there is no predecessor".into()));
            };
            match self.take_over_from(socket).await? {
                // Who died before it gave anything may have left to a successor, who is there now.
                Start::Cold(reason) => tracing::info!(reason, "looking for another predecessor"),
                warm @ Start::Warm(_) => return Ok(warm),
            }
        }
    }

    pub(super) async fn take_over_from(&self, socket: OwnedFd) -> Result<Start, String> {
        let channel = Channel::new(socket).map_err(|error| error.to_string())?;
        let hello = Hello {
            versions: disguise::versions(),
            build: self.0.origin.build.clone(),
            pid: std::process::id(),
            config_hash: self.0.origin.config_hash.clone(),
            nofile: nofile(),
        };
        let Some(offer) = incoming::greet(channel, hello, self.0.timeouts).await? else {
            return Ok(Start::Cold("the predecessor died before it handed anything over".into()));
        };
        if let Some(terms) = offer.terms() {
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
            let generation = terms.generation;
            self.0.standing.send_modify(|standing| standing.generation = generation);
        }
        Ok(Start::Warm(Box::new(offer)))
    }

    /// Serves until the process is to exit: takes clients, orders and successors. To be called
    /// once; a second call ends at once.
    pub async fn serve<D: DataPlane>(&self, plane: Arc<D>, start: Start) -> Exit {
        let gauged = plane.clone();
        self.ledger().set_gauge(move || gauged.pauses());
        let orders = self.0.desk.lock().unwrap_or_else(PoisonError::into_inner).take();
        match orders {
            Some(orders) => desk::serve(self.clone(), plane, start, orders).await,
            None => Exit::Refused("it serves already".into()),
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    pub(super) fn binary(&self) -> PathBuf {
        self.0.binary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn settings(&self) -> Settings {
        (self.0.settings)()
    }

    pub(super) fn timeouts(&self) -> Timeouts {
        self.0.timeouts
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop_orders(&self) -> watch::Receiver<Option<Duration>> {
        let mut orders = self.0.stop.subscribe();
        // One that came before anybody listened counts too.
        orders.mark_changed();
        orders
    }

    /// Shows a state; logs it if it is another.
    pub(super) fn show(&self, state: State, phase: Option<Phase>, takes_clients: bool) {
        let changed = self.0.standing.send_if_modified(|standing| {
            let next = Standing { state, phase, takes_clients, ..*standing };
            std::mem::replace(standing, next) != next
        });
        if changed {
            let phase = phase.map(tracing::field::display);
            tracing::info!(%state, phase, generation = self.generation(), "lifecycle");
        }
    }

    /// Changes a task; one whose state is final is closed.
    pub(super) fn update_task(&self, task_id: u64, change: impl FnOnce(&mut Task)) {
        self.ledger().update(task_id, change);
    }

    /// The right to rehearse, which one at a time has.
    pub(super) fn try_rehearse(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        self.0.rehearsing.clone().try_lock_owned().ok()
    }

    /// Opens a task.
    pub(super) fn begin_task(&self, mode: Mode) -> u64 {
        let next = self.generation() + 1;
        self.ledger().begin(mode, next, Instant::now())
    }

    async fn ask<T>(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Order,
    ) -> Result<T, String> {
        let (answer, answered) = oneshot::channel();
        let gone = || format!("the proxy does not take orders in state {}", self.state());
        let asked = async {
            self.0.orders.send(order(answer)).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        };
        let late = || Err(format!("no answer within {LONGEST_ANSWER:?}"));
        tokio::time::timeout(LONGEST_ANSWER, asked).await.unwrap_or_else(|_| late())
    }
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lifecycle").field(&self.standing()).finish()
    }
}
