//! The handle of the proxy's life: what admin port, HTTP port and signals hold.
//!
//! It only asks; the coordinator decides, one thing after another. Invariant: what
//! [`Lifecycle::standing`] and [`Lifecycle::tasks`] show is what was last decided.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::board::{Board, Origin, Settings, Standing};
use super::coordinator;
use super::drive::incoming::{self, TakeoverError};
use super::host::fd::channel_from_stdin;
use super::order::{Answer, Exit, Order, Refusal, Start};
use super::plane::DataPlane;
use super::task::{Generation, Mode, Phase, Request, State, Task, TaskId, Wish};
use super::timeouts::Timeouts;
use super::transport::channel::Channel;
use super::transport::socket;

/// Orders that may wait for the coordinator.
const ORDERS: usize = 16;

/// How long an order may wait for its answer: longer than any preflight and any end of a hung
/// successor.
const LONGEST_ANSWER: Duration = Duration::from_secs(90);

/// A handle; all clones are the same.
#[derive(Clone)]
pub struct Lifecycle(Arc<Inner>);

struct Inner {
    board: Board,
    stop: watch::Sender<Option<Duration>>,
    orders: mpsc::Sender<Order>,
    coordinator: Mutex<Option<mpsc::Receiver<Order>>>,
}

impl Lifecycle {
    /// A process that starts. `settings` is asked at each restart.
    pub fn new(
        origin: Origin,
        timeouts: Timeouts,
        settings: impl Fn() -> Settings + Send + Sync + 'static,
    ) -> Self {
        let (orders, coordinator) = mpsc::channel(ORDERS);
        Self(Arc::new(Inner {
            board: Board::new(origin, timeouts, settings),
            stop: watch::Sender::new(None),
            orders,
            coordinator: Mutex::new(Some(coordinator)),
        }))
    }

    /// How the proxy stands now.
    pub fn standing(&self) -> Standing {
        self.board().standing()
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.standing().state
    }

    /// The phase of the restart, if there is one.
    pub fn phase(&self) -> Option<Phase> {
        self.standing().phase
    }

    /// This process's generation.
    pub fn generation(&self) -> Generation {
        self.standing().generation
    }

    /// The config file of this process.
    pub fn config_path(&self) -> &Path {
        &self.board().origin().config
    }

    /// The file that the next successor is started from, if none is named.
    pub fn binary(&self) -> PathBuf {
        self.board().binary()
    }

    /// The process that others know: this one, or its keeper.
    pub fn pid(&self) -> u32 {
        self.board().origin().pid
    }

    /// A process of this generation has died, and this one is in its place; these tasks are known.
    pub fn resume(&self, generation: u64, tasks: Vec<Task>) {
        self.board().resume(Generation(generation), tasks);
    }

    /// Tells of every change.
    pub fn subscribe(&self) -> watch::Receiver<Standing> {
        self.board().subscribe()
    }

    /// The tasks of this process and its predecessors, newest first.
    pub fn tasks(&self) -> Vec<Task> {
        self.board().ledger().rows(Instant::now())
    }

    /// What a task was asked by: of the last one that this process was asked for.
    pub fn asked(&self, task: TaskId) -> Option<Request> {
        self.board().asked(task)
    }

    /// RESTART, RESTART FORCE or RESTART REHEARSE. Answers with the task's id after preflight has
    /// passed, or with why not; the task tells the rest.
    pub async fn restart(&self, wish: Wish) -> Result<TaskId, Refusal> {
        self.ask(|answer| match wish.request.mode {
            Mode::Rehearse => Order::Rehearse(wish, answer),
            Mode::Restart | Mode::Force | Mode::Unknown => Order::Restart(wish, answer),
        })
        .await
    }

    /// RESTART ROLLBACK: takes back the restart under way. Answers with its id when that has begun.
    pub async fn rollback(&self) -> Result<TaskId, Refusal> {
        self.ask(Order::Rollback).await
    }

    /// Takes no new clients, but serves those that are there.
    pub async fn offline(&self) -> Result<(), Refusal> {
        self.ask(Order::Offline).await
    }

    /// Takes clients again.
    pub async fn online(&self) -> Result<(), Refusal> {
        self.ask(Order::Online).await
    }

    /// Stops: sessions get 1053 after `grace`, and then `serve` ends. If a successor serves
    /// already, this process only ends sooner.
    pub fn stop(&self, grace: Duration) {
        self.0.stop.send_replace(Some(grace));
    }

    /// `--takeover`: finds the predecessor and gets what it offers. The error is a refusal, or a
    /// predecessor that does not answer.
    pub async fn take_over(&self) -> Result<Start, TakeoverError> {
        if let Some(socket) = channel_from_stdin() {
            return self.take_over_from(socket.map_err(TakeoverError::Stdin)?).await;
        }
        loop {
            let (run_dir, within) =
                (&self.board().origin().run_dir, self.board().timeouts().answer);
            let Some(socket) = socket::call(run_dir, within).await? else {
                return Ok(Start::Cold("there is no predecessor".into()));
            };
            match self.take_over_from(socket).await? {
                // Who died before it gave anything may have left to a successor, who is there now.
                Start::Cold(reason) => tracing::info!(reason, "looking for another predecessor"),
                other @ (Start::Warm(_) | Start::Unfinished(_)) => return Ok(other),
            }
        }
    }

    pub(super) async fn take_over_from(&self, socket: OwnedFd) -> Result<Start, TakeoverError> {
        let channel = Channel::new(socket).map_err(TakeoverError::Socket)?;
        let hello = incoming::hello(self.board());
        let Some(offer) = incoming::greet(channel, hello, self.board().timeouts()).await? else {
            return Ok(Start::Cold("the predecessor died before it handed anything over".into()));
        };
        if let Some(terms) = offer.terms() {
            self.board().succeed(terms);
        }
        Ok(Start::Warm(Box::new(offer)))
    }

    /// Serves until the process is to exit: takes clients, orders and successors. To be called
    /// once; a second call ends at once.
    pub async fn serve<D: DataPlane>(&self, plane: Arc<D>, start: Start) -> Exit {
        let gauged = plane.clone();
        self.board().ledger().set_gauge(move || gauged.pauses());
        let orders = self.0.coordinator.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(orders) = orders else { return Exit::Refused("it serves already".into()) };
        let mut stop = self.0.stop.subscribe();
        // An order to stop that came before anybody listened counts too.
        stop.mark_changed();
        coordinator::serve(self.board().clone(), plane, start, orders, stop).await
    }

    pub(super) fn board(&self) -> &Board {
        &self.0.board
    }

    async fn ask<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let gone = || Refusal::Gone(self.state());
        let asked = async {
            self.0.orders.send(order(answer)).await.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        };
        let late = || Err(Refusal::Late(LONGEST_ANSWER));
        tokio::time::timeout(LONGEST_ANSWER, asked).await.unwrap_or_else(|_| late())
    }
}

impl std::fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lifecycle").field(&self.standing()).finish()
    }
}
