//! The desk: takes orders one after another, and runs at most one restart at a time.
//!
//! Invariant: RESTART is taken only in RUNNING; RESTART FORCE always, after whatever is under way
//! has been ended.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

use super::drive::incoming::{self, Incoming};
use super::drive::outgoing::{self, Outgoing};
use super::host::process::{Peer, Program};
use super::lifecycle::{Exit, Lifecycle, Order, Start};
use super::machine::plan::{self, Ending, Plan};
use super::machine::successor;
use super::plane::{Accepting, DataPlane};
use super::task::{Mode, Phase, Request, State, TaskState};
use super::transport::channel::Channel;
use super::transport::door::{self, Door, Knock};
use crate::config::ExitTimeout;

/// Orders that may wait for a restart under way.
const ORDERS: usize = 8;

/// After the grace of a stop, sessions get this long to take their error packet.
const FAREWELL: Duration = Duration::from_secs(1);

type Answer = oneshot::Sender<Result<u64, String>>;
/// How a restart ended, and who waits to hear that it was refused.
type Undertaken = (plan::Outcome, Option<Answer>);
/// How a takeover ended, and where the next successor knocks.
type TakenOver = (successor::Outcome, Option<Door>);
type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Serves until the process is to exit.
pub async fn serve<D: DataPlane>(
    lifecycle: Lifecycle,
    plane: Arc<D>,
    start: Start,
    mut orders: mpsc::Receiver<Order>,
) -> Exit {
    let stop = lifecycle.stop_orders();
    let mut desk = Desk {
        lifecycle,
        plane,
        stop,
        door: None,
        job: Job::None,
        is_offline: false,
        waiting: None,
        stopping: None,
        exit: None,
    };
    desk.start(start).await;
    loop {
        if let Some(exit) = desk.exit.take() {
            return exit;
        }
        desk.turn(&mut orders).await;
    }
}

struct Desk<D> {
    lifecycle: Lifecycle,
    plane: Arc<D>,
    stop: watch::Receiver<Option<Duration>>,
    door: Option<Door>,
    job: Job,
    is_offline: bool,
    /// RESTART FORCE waits until the job is ended.
    waiting: Option<(Request, Answer)>,
    /// When to give up on sessions that do not end.
    stopping: Option<Instant>,
    exit: Option<Exit>,
}

/// What is under way.
enum Job {
    None,
    Outgoing { task_id: u64, orders: mpsc::Sender<outgoing::Order>, running: Running<Undertaken> },
    Incoming { orders: mpsc::Sender<incoming::Order>, running: Running<TakenOver> },
}

enum Event {
    Order(Order),
    Stop(Duration),
    Knock(Box<Knock>),
    Outgoing(u64, Undertaken),
    Incoming(TakenOver),
    Stopped,
}

impl<D: DataPlane> Desk<D> {
    async fn start(&mut self, start: Start) {
        match start {
            Start::Cold(reason) => {
                tracing::info!(reason, pid = std::process::id(), "cold start");
                self.plane.accept(Accepting::Yes).await;
                self.open_door().await;
                self.show_idle();
            }
            Start::Warm(offer) => {
                let (orders, mut receiver) = mpsc::channel(ORDERS);
                let incoming = Incoming::new(self.plane.clone(), self.lifecycle.clone(), *offer);
                let running = Box::pin(async move { incoming.run(&mut receiver).await });
                self.job = Job::Incoming { orders, running };
            }
        }
    }

    /// Nobody should be there at a cold start.
    async fn open_door(&mut self) {
        let run_dir = &self.lifecycle.origin().run_dir;
        let timeouts = self.lifecycle.timeouts();
        if let Ok(Some(_)) = door::call(run_dir, timeouts.again).await {
            tracing::error!(run_dir = %run_dir.display(), "run_dir: another proxy is using it");
            return;
        }
        self.door = Door::if_possible(run_dir, timeouts);
    }

    async fn turn(&mut self, orders: &mut mpsc::Receiver<Order>) {
        match self.next(orders).await {
            Event::Order(order) => self.handle_order(order).await,
            Event::Stop(grace) => self.handle_stop(grace).await,
            Event::Knock(knock) => self.handle_knock(*knock).await,
            Event::Outgoing(task_id, (outcome, answer)) => {
                self.job = Job::None;
                self.handle_outgoing(task_id, outcome, answer).await;
            }
            Event::Incoming((outcome, door)) => {
                self.job = Job::None;
                self.door = door;
                self.handle_incoming(outcome).await;
            }
            Event::Stopped => self.exit = Some(Exit::Stopped),
        }
    }

    /// Every branch is cancel safe, or stays where it is when another one wins.
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>) -> Event {
        let (stop, plane, stopping) = (&mut self.stop, &self.plane, self.stopping);
        let stopped = async {
            match stopping {
                Some(until) => tokio::select! {
                    () = plane.emptied() => {}
                    () = sleep_until(until.into()) => {}
                },
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            event = self.job.ended() => event,
            Some(grace) = stop_order(stop) => Event::Stop(grace),
            Some(order) = orders.recv() => Event::Order(order),
            Some(knock) = knocked(&mut self.door) => Event::Knock(Box::new(knock)),
            () = stopped => Event::Stopped,
        }
    }

    async fn handle_order(&mut self, order: Order) {
        match order {
            Order::Restart(request, answer) => match request.mode {
                Mode::Restart if self.lifecycle.state() == State::Running => {
                    self.begin(request, answer);
                }
                Mode::Restart if self.is_on_probation() => self.confirm(request, answer),
                Mode::Restart | Mode::Rehearse | Mode::Unknown => {
                    reply(answer, Err(self.not_now("RESTART")));
                }
                Mode::Force => self.force(request, answer).await,
            },
            Order::Rollback(answer) => self.rollback(answer).await,
            Order::Offline(answer) => {
                let result = self.switch(State::Running, Accepting::Control).await;
                reply(answer, result);
            }
            Order::Online(answer) => {
                let result = self.switch(State::Offline, Accepting::Yes).await;
                reply(answer, result);
            }
        }
    }

    /// Whether this process serves, and its predecessor only waits whether it goes on to.
    fn is_on_probation(&self) -> bool {
        matches!(self.job, Job::Incoming { .. })
            && self.waiting.is_none()
            && self.lifecycle.standing().phase == Some(Phase::Probation)
    }

    /// Who orders the next restart is content with the last one.
    fn confirm(&mut self, request: Request, answer: Answer) {
        if let Job::Incoming { orders, .. } = &self.job {
            // A full queue ends the takeover as well, by what is in it.
            let _ = orders.try_send(incoming::Order::Confirm);
            self.waiting = Some((request, answer));
        }
    }

    async fn switch(&mut self, from: State, accepting: Accepting) -> Result<(), String> {
        if self.lifecycle.state() != from {
            let what = if accepting == Accepting::Yes { "online" } else { "offline" };
            return Err(self.not_now(what));
        }
        self.is_offline = accepting != Accepting::Yes;
        self.plane.accept(accepting).await;
        self.show_idle();
        Ok(())
    }

    fn not_now(&self, what: &str) -> String {
        format!("{what} refused: {}", self.lifecycle.standing())
    }

    async fn force(&mut self, request: Request, answer: Answer) {
        if let Some((_, superseded)) = self.waiting.take() {
            reply(superseded, Err("another RESTART FORCE came".into()));
        }
        match &self.job {
            Job::None => {
                if self.stopping.take().is_some() {
                    self.plane.undrain();
                }
                self.begin(request, answer);
            }
            // The successor serves: all that is left to force is the end of this process.
            Job::Outgoing { task_id, orders, .. } if self.lifecycle.state() == State::Draining => {
                let task_id = *task_id;
                let sent = orders.try_send(outgoing::Order::DrainNow);
                reply(answer, sent.map(|()| task_id).map_err(|_| "too many orders".into()));
            }
            Job::Outgoing { .. } => {
                self.waiting = Some((request, answer));
                self.discard("ended by RESTART FORCE");
            }
            Job::Incoming { orders, .. } => {
                // A full queue holds the same order already.
                let _ = orders.try_send(incoming::Order::Force);
                self.waiting = Some((request, answer));
            }
        }
    }

    fn discard(&self, reason: &str) {
        if let Job::Outgoing { orders, .. } = &self.job {
            let ending = Ending { state: TaskState::Failed, reason: reason.into() };
            // A full queue ends it as well, by what is in it.
            let _ = orders.try_send(outgoing::Order::Discard(ending));
        }
    }

    async fn rollback(&mut self, answer: Answer) {
        let late = |_| "too many orders".to_owned();
        let result = match &self.job {
            Job::None => Err("there is no restart to roll back".into()),
            Job::Outgoing { task_id, orders, .. } => {
                let reason = "RESTART ROLLBACK".into();
                let ending = Ending { state: TaskState::RolledBack, reason };
                let sent = orders.try_send(outgoing::Order::Rollback(ending));
                sent.map(|()| *task_id).map_err(|error| late(error.to_string()))
            }
            Job::Incoming { orders, .. } => {
                let newest = self.lifecycle.tasks().first().map_or(0, |task| task.task_id);
                let sent = orders.try_send(incoming::Order::Rollback);
                sent.map(|()| newest).map_err(|error| late(error.to_string()))
            }
        };
        reply(answer, result);
    }

    fn begin(&mut self, request: Request, answer: Answer) {
        let (task_id, plan) = self.plan(request.mode, request.exit_timeout);
        let binary = absolute(request.binary.unwrap_or_else(|| self.lifecycle.binary()));
        let config = absolute(request.config.unwrap_or(self.lifecycle.origin().config.clone()));
        let (orders, mut receiver) = mpsc::channel(ORDERS);
        let (plane, lifecycle) = (self.plane.clone(), self.lifecycle.clone());
        let running = Box::pin(async move {
            let within = lifecycle.timeouts().preflight;
            let program = match preflight(&binary, &config, within, &mut receiver).await {
                Ok(program) => program,
                Err(ending) => return (plan::Outcome::Kept(ending), Some(answer)),
            };
            reply(answer, Ok(task_id));
            let link = match spawn(&program, &config) {
                Ok((channel, peer)) => (channel, peer, None),
                Err(reason) => {
                    let ending = Ending { state: TaskState::Failed, reason };
                    return (plan::Outcome::Kept(ending), None);
                }
            };
            // From spawn on: preflight has its own deadline.
            let ready_by = Instant::now() + lifecycle.settings().rollback_timeout;
            let terms = (Plan { ready_by, ..plan }, Some(binary));
            let outgoing = Outgoing::new(plane, lifecycle, task_id, link, terms);
            (outgoing.run(&mut receiver).await, None)
        });
        self.job = Job::Outgoing { task_id, orders, running };
    }

    async fn handle_knock(&mut self, knock: Knock) {
        if self.lifecycle.state() != State::Running {
            return knock.refuse(&self.not_now("takeover")).await;
        }
        let (task_id, plan) = self.plan(Mode::Restart, None);
        let Knock { channel, peer, hello } = knock;
        tracing::info!(pid = peer.pid(), build = hello.build, "a successor knocks");
        let link = (channel, peer, Some(hello));
        let (orders, mut receiver) = mpsc::channel(ORDERS);
        let (plane, lifecycle) = (self.plane.clone(), self.lifecycle.clone());
        let outgoing = Outgoing::new(plane, lifecycle, task_id, link, (plan, None));
        let running = Box::pin(async move { (outgoing.run(&mut receiver).await, None) });
        self.job = Job::Outgoing { task_id, orders, running };
    }

    /// Opens a task and says what it is to be.
    fn plan(&mut self, mode: Mode, exit_timeout: Option<ExitTimeout>) -> (u64, Plan) {
        let (settings, timeouts) = (self.lifecycle.settings(), self.lifecycle.timeouts());
        let task_id = self.lifecycle.begin_task(mode);
        let census = self.plane.census();
        let sessions = census.sessions;
        self.lifecycle.update_task(task_id, |task| task.sessions = sessions);
        let phase = Some(Phase::Preflight);
        self.lifecycle.show(State::Restarting, phase, !self.is_offline);
        let plan = Plan {
            mode,
            session_handover: settings.session_handover && mode == Mode::Restart,
            exit_timeout: match exit_timeout.unwrap_or(settings.exit_timeout) {
                ExitTimeout::Never => None,
                ExitTimeout::After(timeout) => Some(timeout),
            },
            ready_by: Instant::now() + settings.rollback_timeout,
            accepting: self.idle_accepting(),
            probation: match mode {
                Mode::Restart => settings.probation,
                Mode::Force | Mode::Rehearse | Mode::Unknown => Duration::ZERO,
            },
            fds: census.descriptors(),
            timeouts,
        };
        (task_id, plan)
    }

    fn idle_accepting(&self) -> Accepting {
        if self.is_offline { Accepting::Control } else { Accepting::Yes }
    }

    async fn handle_outgoing(
        &mut self,
        task_id: u64,
        outcome: plan::Outcome,
        answer: Option<Answer>,
    ) {
        use plan::Outcome;
        let is_stopped = outcome == Outcome::Stopped;
        let exit = match outcome {
            Outcome::Committed => "everything is the successor's".to_owned(),
            Outcome::Superseded(reason) => format!("the successor went on alone: {reason}"),
            Outcome::Stopped => "the proxy was stopped".to_owned(),
            Outcome::Kept(ending) => {
                let reason = ending.reason.clone();
                self.handle_kept(task_id, ending).await;
                // Only now: who hears it may look at the task, or try again.
                if let Some(answer) = answer {
                    reply(answer, Err(reason));
                }
                return;
            }
        };
        self.lifecycle.update_task(task_id, |task| task.state = TaskState::Completed);
        if let Some((_, answer)) = self.waiting.take() {
            reply(answer, Err("a successor serves already: ask it".into()));
        }
        match self.door.take() {
            Some(door) if !is_stopped => door.leave(),
            _ => {}
        }
        tracing::info!(exit, "restart completed");
        self.exit = Some(Exit::Succeeded(exit));
    }

    async fn handle_kept(&mut self, task_id: u64, ending: Ending) {
        tracing::warn!(state = %ending.state, reason = ending.reason, "restart undone");
        self.lifecycle.update_task(task_id, |task| {
            task.state = ending.state;
            task.draining = 0;
            task.detail = ending.reason;
        });
        // A successor that was ended at the last moment had opened its own already.
        if self.door.as_ref().is_some_and(|door| !door.is_in_place()) {
            let origin = self.lifecycle.origin();
            self.door = Door::if_possible(&origin.run_dir, self.lifecycle.timeouts());
        }
        if let Some((request, answer)) = self.waiting.take() {
            return self.begin(request, answer);
        }
        let is_stopped = self.stop.borrow().is_some();
        if is_stopped {
            return self.stop_now().await;
        }
        self.show_idle();
    }

    async fn handle_incoming(&mut self, outcome: successor::Outcome) {
        use successor::Outcome;
        match outcome {
            Outcome::Committed => tracing::info!("takeover completed"),
            Outcome::Promoted(reason) => tracing::warn!(reason, "serving without the predecessor"),
            Outcome::Ended(reason) => {
                if let Some((_, answer)) = self.waiting.take() {
                    reply(answer, Err(reason.clone()));
                }
                self.exit = Some(Exit::Refused(reason));
                return;
            }
            Outcome::Stopped => return self.stop_now().await,
        }
        if let Some((request, answer)) = self.waiting.take() {
            return self.begin(request, answer);
        }
        self.show_idle();
    }

    async fn handle_stop(&mut self, _grace: Duration) {
        match &self.job {
            Job::None => self.stop_now().await,
            Job::Outgoing { orders, .. } if self.lifecycle.state() == State::Draining => {
                let _ = orders.try_send(outgoing::Order::Stop);
            }
            Job::Outgoing { .. } => self.discard("the proxy was stopped"),
            Job::Incoming { orders, .. } => {
                let _ = orders.try_send(incoming::Order::Stop);
            }
        }
    }

    async fn stop_now(&mut self) {
        let grace = self.stop.borrow().unwrap_or_default();
        self.lifecycle.show(State::Stopping, None, false);
        self.door = None;
        let step = self.lifecycle.timeouts().step;
        if timeout(step, self.plane.accept(Accepting::No)).await.is_err() {
            tracing::error!("the data plane does not stop accepting");
        }
        let now = Instant::now();
        self.plane.drain(Some(now + grace));
        self.stopping = Some(now + grace + FAREWELL);
    }

    fn show_idle(&self) {
        let state = if self.is_offline { State::Offline } else { State::Running };
        self.lifecycle.show(state, None, !self.is_offline);
    }
}

impl Job {
    async fn ended(&mut self) -> Event {
        match self {
            Self::None => pending().await,
            Self::Outgoing { task_id, running, .. } => Event::Outgoing(*task_id, running.await),
            Self::Incoming { running, .. } => Event::Incoming(running.await),
        }
    }
}

/// What the new binary says to the new config; the desk may call it off.
async fn preflight(
    binary: &Path,
    config: &Path,
    within: Duration,
    orders: &mut mpsc::Receiver<outgoing::Order>,
) -> Result<Program, Ending> {
    let failed = |reason: String| Ending { state: TaskState::Failed, reason };
    let judged = async {
        let program = Program::open(binary).map_err(failed)?;
        program.check(config, within).await.map_err(failed)?;
        Ok(program)
    };
    tokio::select! {
        biased;
        ending = discarded(orders) => Err(ending),
        judged = judged => judged,
    }
}

fn spawn(program: &Program, config: &Path) -> Result<(Channel, Peer), String> {
    let (ours, theirs) = Channel::pair().map_err(|error| error.to_string())?;
    let channel = Channel::new(ours).map_err(|error| error.to_string())?;
    Ok((channel, program.spawn(config, theirs)?))
}

async fn discarded(orders: &mut mpsc::Receiver<outgoing::Order>) -> Ending {
    use outgoing::Order;
    loop {
        match orders.recv().await {
            Some(Order::Rollback(ending) | Order::Discard(ending)) => return ending,
            Some(Order::DrainNow | Order::Stop) => {}
            None => pending().await,
        }
    }
}

async fn knocked(door: &mut Option<Door>) -> Option<Knock> {
    match door {
        Some(door) => Some(door.knock().await),
        None => pending().await,
    }
}

/// The next order to stop; None if there can be none any more.
async fn stop_order(stop: &mut watch::Receiver<Option<Duration>>) -> Option<Duration> {
    loop {
        stop.changed().await.ok()?;
        if let Some(grace) = *stop.borrow_and_update() {
            return Some(grace);
        }
    }
}

/// Nobody may be waiting any more.
fn reply<T>(answer: oneshot::Sender<Result<T, String>>, result: Result<T, String>) {
    let _ = answer.send(result);
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
