//! The coordinator: takes orders one after another, and runs at most one restart at a time.
//!
//! Invariant: RESTART is taken only while this process serves and nothing else is under way;
//! RESTART FORCE always, after whatever is under way has been ended. What is shown on the board
//! follows from what the coordinator does, and never the other way round.

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep_until, timeout};

mod heir;

use super::board::Board;
use super::drive::incoming::{self, Incoming};
use super::drive::or_never;
use super::drive::outgoing::{self, Assignment, Link, Outgoing};
use super::drive::rehearsal::{Failure, Rehearsal};
use super::host::process::{Program, ProgramError};
use super::machine::plan::{self, Demands, Ending, Plan, Stage};
use super::machine::successor;
use super::order::{Answer, Exit, Order, Refusal, Start, reply};
use super::plane::{Accepting, DataPlane};
use super::task::{Mode, Phase, Request, State, TaskId, TaskState, Wish};
use super::transport::channel::Channel;
use super::transport::disguise;
use super::transport::socket::{self, HandoverSocket, Knock};
use crate::config::ExitTimeout;
use crate::task;

/// Orders that may wait for a restart under way.
const ORDERS: usize = 8;

/// After the grace of a stop, sessions get this long to take their error packet.
const CLOSING: Duration = Duration::from_secs(1);

/// A process that is younger does not have itself restarted: its successor might fare like it.
const YOUTH: Duration = Duration::from_secs(10);

/// How a restart ended, and who waits to hear that it was refused.
type Undertaken = (plan::Outcome, Option<Answer<TaskId>>);
/// How a takeover ended, and where the next successor knocks.
type TakenOver = (successor::Outcome, Option<HandoverSocket>);
type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type StopOrders = watch::Receiver<Option<Duration>>;

/// Serves until the process is to exit.
pub(super) async fn serve<D: DataPlane>(
    board: Board,
    plane: Arc<D>,
    start: Start,
    mut orders: mpsc::Receiver<Order>,
    stop: StopOrders,
) -> Exit {
    let mut coordinator = Coordinator {
        board,
        plane,
        stop,
        socket: None,
        is_offline: false,
        job: Job::Serving,
        waiting: None,
        rehearsal: None,
        renewal: None,
        born: Instant::now(),
    };
    coordinator.start(start).await;
    loop {
        if let Job::Over(exit) = coordinator.job {
            return exit;
        }
        let turned = task::caught("coordinator", pin!(coordinator.turn(&mut orders))).await;
        if turned.is_err() {
            coordinator.recover();
        }
    }
}

struct Coordinator<D> {
    board: Board,
    plane: Arc<D>,
    stop: StopOrders,
    socket: Option<HandoverSocket>,
    /// Outside of restarts no clients are taken.
    is_offline: bool,
    job: Job,
    /// RESTART FORCE, or the RESTART that ends a probation: it waits until the job is over.
    waiting: Option<(Wish, Answer<TaskId>)>,
    /// Ends the rehearsal, of which one at a time goes on beside `Serving`; the state is why.
    rehearsal: Option<oneshot::Sender<State>>,
    /// It has panicked, and a process in order is to go on from then on.
    renewal: Option<Instant>,
    born: Instant,
}

/// What is under way.
///
/// ```text
///             ┌───────────── kept ───────────────┐
///             ▼                                  │
///  cold ─► Serving ─ RESTART, FORCE, knock ─► Outgoing ─ committed, stopped, superseded ─► Over
///             ▲ │                                ▲ └ kept, and a stop was ordered ┐         ▲
///    promoted │ └────────── stop ──────────► Stopping ◄───────────────────────────┘         │
///   committed │                                │ ▲ │ FORCE: as in Serving                   │
///             │                                │ │ └──────── emptied, or the grace ends ────┤
///  warm ─► Incoming ─ stopped ─────────────────┼─┘                                          │
///             └ ended: not wanted ─────────────┴────────────────────────────────────────────┘
/// ```
enum Job {
    /// Nothing; clients are served.
    Serving,
    /// A restart: this process is to be succeeded.
    Outgoing {
        task_id: TaskId,
        orders: mpsc::Sender<outgoing::Order>,
        stage: watch::Receiver<Stage>,
        running: Running<Undertaken>,
    },
    /// A takeover: this process succeeds another.
    Incoming {
        orders: mpsc::Sender<incoming::Order>,
        stage: watch::Receiver<Stage>,
        running: Running<TakenOver>,
    },
    /// Sessions end; until then, or they are given up.
    Stopping { until: Instant },
    /// The process is to exit.
    Over(Exit),
}

enum Event {
    Order(Order),
    Stop,
    Knock(Box<Knock>),
    Outgoing(TaskId, Undertaken),
    Incoming(TakenOver),
    Stopped,
    Renewal,
}

impl<D: DataPlane> Coordinator<D> {
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
                let (shown, stage) = watch::channel(Stage::Moving);
                let (plane, board) = (self.plane.clone(), self.board.clone());
                let incoming = Incoming::new(plane, board, *offer, shown);
                let running = Box::pin(async move { incoming.run(&mut receiver).await });
                self.job = Job::Incoming { orders, stage, running };
            }
            Start::Unfinished(it) => self.finish(*it).await,
        }
    }

    /// Nobody should be there at a cold start.
    async fn open_door(&mut self) {
        let run_dir = &self.board.origin().run_dir;
        let timeouts = self.board.timeouts();
        if let Ok(Some(_)) = socket::call(run_dir, timeouts.again).await {
            tracing::error!(run_dir = %run_dir.display(), "run_dir: another proxy is using it");
            return;
        }
        self.socket = HandoverSocket::if_possible(run_dir, timeouts);
    }

    async fn turn(&mut self, orders: &mut mpsc::Receiver<Order>) {
        match self.next(orders).await {
            Event::Order(order) => self.handle_order(order).await,
            Event::Stop => self.handle_stop().await,
            Event::Knock(knock) => self.handle_knock(*knock).await,
            Event::Outgoing(task_id, (outcome, answer)) => {
                self.job = Job::Serving;
                self.handle_outgoing(task_id, outcome, answer).await;
            }
            Event::Incoming((outcome, socket)) => {
                self.job = Job::Serving;
                self.socket = socket;
                self.handle_incoming(outcome).await;
            }
            Event::Stopped => self.job = Job::Over(Exit::Stopped),
            Event::Renewal => self.renew(),
        }
    }

    /// After a panic: what is under way goes on, and as soon as nothing is, a successor takes over
    /// from a process that can be relied on no more.
    fn recover(&mut self) {
        self.renewal = Some((self.born + YOUTH).max(Instant::now()));
        match self.job {
            Job::Serving => self.show_idle(),
            Job::Stopping { .. } => self.board.show(State::Stopping, None, false),
            Job::Outgoing { .. } | Job::Incoming { .. } | Job::Over(_) => {}
        }
    }

    /// Once: if it does not succeed, an operator has to look into it, and is told.
    fn renew(&mut self) {
        if !self.is_serving() {
            self.renewal = Some(Instant::now() + YOUTH);
            return;
        }
        self.renewal = None;
        tracing::warn!("restarting, because the coordinator has panicked");
        let wish = Request::of(Mode::Restart).by("odp: its coordinator has panicked");
        self.begin(wish, oneshot::channel().0);
    }

    /// Every branch is cancel safe, or stays where it is when another one wins.
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>) -> Event {
        let stopped = stopped(&*self.plane, self.job.stopping());
        let renewed = or_never(self.renewal.map(|at| sleep_until(at.into())));
        tokio::select! {
            biased;
            event = self.job.ended() => event,
            Some(()) = stop_ordered(&mut self.stop) => Event::Stop,
            Some(order) = orders.recv() => Event::Order(order),
            Some(knock) = knocked(&mut self.socket) => Event::Knock(Box::new(knock)),
            () = stopped => Event::Stopped,
            () = renewed => Event::Renewal,
        }
    }

    async fn handle_order(&mut self, order: Order) {
        match order {
            Order::Restart(wish, answer) => match wish.request.mode {
                Mode::Force => self.force(wish, answer),
                Mode::Restart | Mode::Rehearse | Mode::Unknown => self.restart(wish, answer),
            },
            Order::Rehearse(wish, answer) => self.rehearse(wish, answer),
            Order::Rollback(answer) => reply(answer, self.rollback()),
            Order::Offline(answer) => reply(answer, self.switch(Accepting::Control).await),
            Order::Online(answer) => reply(answer, self.switch(Accepting::Yes).await),
        }
    }

    /// Whether all is as usual: only then it can be succeeded.
    fn is_serving(&self) -> bool {
        matches!(self.job, Job::Serving) && !self.is_offline
    }

    fn restart(&mut self, wish: Wish, answer: Answer<TaskId>) {
        match &self.job {
            Job::Serving if !self.is_offline && wish.request.mode == Mode::Restart => {
                self.begin(wish, answer);
            }
            // This process serves, and its predecessor only waits whether it goes on to. Who orders
            // the next restart is content with the last one.
            Job::Incoming { orders, stage, .. }
                if *stage.borrow() == Stage::Probation
                    && self.waiting.is_none()
                    && wish.request.mode == Mode::Restart =>
            {
                // A full queue ends the takeover as well, by what is in it.
                let _ = orders.try_send(incoming::Order::Confirm);
                self.waiting = Some((wish, answer));
            }
            _ => reply(answer, Err(self.not_now("RESTART"))),
        }
    }

    async fn switch(&mut self, accepting: Accepting) -> Result<(), Refusal> {
        let to_online = accepting == Accepting::Yes;
        if !matches!(self.job, Job::Serving) || self.is_offline != to_online {
            return Err(self.not_now(if to_online { "online" } else { "offline" }));
        }
        self.is_offline = !to_online;
        self.plane.accept(accepting).await;
        self.show_idle();
        Ok(())
    }

    fn not_now(&self, what: &'static str) -> Refusal {
        Refusal::NotNow { what, standing: self.board.standing() }
    }

    fn force(&mut self, wish: Wish, answer: Answer<TaskId>) {
        if let Some((_, superseded)) = self.waiting.take() {
            reply(superseded, Err(Refusal::Superseded));
        }
        match &self.job {
            Job::Stopping { .. } => {
                self.plane.undrain();
                self.begin(wish, answer);
            }
            Job::Serving => self.begin(wish, answer),
            // The successor serves: all that is left to force is the end of this process.
            Job::Outgoing { task_id, orders, stage, .. } if *stage.borrow() != Stage::Moving => {
                let sent = orders.try_send(outgoing::Order::DrainNow);
                reply(answer, sent.map(|()| *task_id).map_err(|_| Refusal::TooMany));
            }
            Job::Outgoing { orders, .. } => {
                discard(orders, "ended by RESTART FORCE");
                self.waiting = Some((wish, answer));
            }
            Job::Incoming { orders, .. } => {
                // A full queue holds the same order already.
                let _ = orders.try_send(incoming::Order::Force);
                self.waiting = Some((wish, answer));
            }
            Job::Over(_) => reply(answer, Err(self.not_now("RESTART FORCE"))),
        }
    }

    fn rollback(&self) -> Result<TaskId, Refusal> {
        match &self.job {
            Job::Serving | Job::Stopping { .. } | Job::Over(_) => Err(Refusal::NothingToRollBack),
            Job::Outgoing { task_id, orders, .. } => {
                let reason = "RESTART ROLLBACK".into();
                let ending = Ending { state: TaskState::RolledBack, reason };
                let sent = orders.try_send(outgoing::Order::Rollback(ending));
                sent.map(|()| *task_id).map_err(|_| Refusal::TooMany)
            }
            Job::Incoming { orders, .. } => {
                let newest = self.board.ledger().newest().unwrap_or(TaskId(0));
                let sent = orders.try_send(incoming::Order::Rollback);
                sent.map(|()| newest).map_err(|_| Refusal::TooMany)
            }
        }
    }

    fn rehearse(&mut self, Wish { request, by }: Wish, answer: Answer<TaskId>) {
        if !matches!(self.job, Job::Serving) {
            return reply(answer, Err(self.not_now("RESTART REHEARSE")));
        }
        if self.rehearsal.as_ref().is_some_and(|rehearsal| !rehearsal.is_closed()) {
            return reply(answer, Err(Refusal::Rehearsing));
        }
        let (end, ended) = oneshot::channel();
        self.rehearsal = Some(end);
        let (binary, config) = self.files(&request);
        let task_id = self.board.begin_asked(&request, &by);
        let (plane, board) = (self.plane.clone(), self.board.clone());
        let rehearsal = Rehearsal { plane, board, task_id, binary, config };
        // Not in the coordinator's future: whatever becomes of it, orders are taken.
        task::spawn("understudy", async move {
            let begun = |begun: Result<(), &Failure>| {
                let undone = |failure: &Failure| Refusal::Undone(failure.to_string());
                reply(answer, begun.map(|()| task_id).map_err(undone));
            };
            rehearsal.run(ended, begun).await;
        });
    }

    /// Something begins that a rehearsal must not hold up.
    fn end_rehearsal(&mut self, state: State) {
        if let Some(rehearsal) = self.rehearsal.take() {
            let _ = rehearsal.send(state);
        }
    }

    /// The binary and the config that are asked for, or those of this process.
    fn files(&self, request: &Request) -> (PathBuf, PathBuf) {
        let config = request.config.clone().unwrap_or_else(|| self.board.origin().config.clone());
        let binary = request.binary.clone().unwrap_or_else(|| self.board.binary());
        (absolute(binary), absolute(config))
    }

    fn begin(&mut self, Wish { request, by }: Wish, answer: Answer<TaskId>) {
        let (binary, config) = self.files(&request);
        let task_id = self.board.begin_asked(&request, &by);
        let plan = self.plan(task_id, request.mode, request.exit_timeout);
        let (orders, mut receiver) = mpsc::channel(ORDERS);
        let (shown, stage) = watch::channel(Stage::Moving);
        let (plane, board) = (self.plane.clone(), self.board.clone());
        let running = Box::pin(async move {
            let within = board.timeouts().preflight;
            let program = match preflight(&binary, &config, within, &mut receiver).await {
                Ok(program) => program,
                Err(ending) => return (plan::Outcome::Kept(ending), Some(answer)),
            };
            reply(answer, Ok(task_id));
            let link = match spawn(&program, &config, board.origin().oom_score_adj) {
                Ok(link) => link,
                Err(error) => {
                    let reason = error.to_string();
                    let ending = Ending { state: TaskState::Failed, reason };
                    return (plan::Outcome::Kept(ending), None);
                }
            };
            // From spawn on: preflight has its own deadline.
            let ready_by = Instant::now() + board.settings().rollback_timeout;
            let plan = Plan { ready_by, ..plan };
            let assignment = Assignment { task_id, plan, binary: Some(binary), stage: shown };
            let outgoing = Outgoing::new(plane, board, link, assignment);
            (outgoing.run(&mut receiver).await, None)
        });
        self.job = Job::Outgoing { task_id, orders, stage, running };
    }

    async fn handle_knock(&mut self, knock: Knock) {
        if !self.is_serving() {
            return knock.refuse(&self.not_now("takeover").to_string()).await;
        }
        let Knock { channel, peer, hello } = knock;
        let by = format!("odp run --takeover as process {}", peer.pid());
        let task_id = self.board.begin_task(Mode::Restart, &by);
        let plan = self.plan(task_id, Mode::Restart, None);
        tracing::info!(pid = peer.pid(), build = hello.build, "a successor knocks");
        let (orders, mut receiver) = mpsc::channel(ORDERS);
        let (shown, stage) = watch::channel(Stage::Moving);
        let link = Link { channel, peer: Some(peer), hello: Some(hello) };
        let assignment = Assignment { task_id, plan, binary: None, stage: shown };
        let (plane, board) = (self.plane.clone(), self.board.clone());
        let outgoing = Outgoing::new(plane, board, link, assignment);
        let running = Box::pin(async move { (outgoing.run(&mut receiver).await, None) });
        self.job = Job::Outgoing { task_id, orders, stage, running };
    }

    /// What a task is to be that was opened.
    fn plan(&mut self, task_id: TaskId, mode: Mode, exit_timeout: Option<ExitTimeout>) -> Plan {
        let (settings, timeouts) = (self.board.settings(), self.board.timeouts());
        let census = self.plane.census();
        self.board.update_task(task_id, |task| task.sessions = census.sessions);
        self.board.show(State::Restarting, Some(Phase::Preflight), !self.is_offline);
        self.end_rehearsal(State::Restarting);
        let session_handover = settings.session_handover && mode == Mode::Restart;
        Plan {
            mode,
            session_handover,
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
            demands: Demands {
                versions: disguise::versions(),
                descriptors: if session_handover { census.descriptors() } else { 0 },
            },
            timeouts,
        }
    }

    fn idle_accepting(&self) -> Accepting {
        if self.is_offline { Accepting::Control } else { Accepting::Yes }
    }

    async fn handle_outgoing(
        &mut self,
        task_id: TaskId,
        outcome: plan::Outcome,
        answer: Option<Answer<TaskId>>,
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
                    reply(answer, Err(Refusal::Undone(reason)));
                }
                return;
            }
        };
        tracing::info!(exit, "restart completed");
        // First: whatever may fail yet, another process serves, or none is to.
        self.job = Job::Over(Exit::Succeeded(exit));
        self.board.update_task(task_id, |task| task.state = TaskState::Completed);
        if let Some((_, answer)) = self.waiting.take() {
            reply(answer, Err(Refusal::Succeeded));
        }
        match self.socket.take() {
            Some(socket) if !is_stopped => socket.leave(),
            _ => {}
        }
    }

    async fn handle_kept(&mut self, task_id: TaskId, ending: Ending) {
        tracing::warn!(state = %ending.state, reason = ending.reason, "restart undone");
        self.board.update_task(task_id, |task| {
            task.state = ending.state;
            task.draining = 0;
            task.detail = ending.reason;
        });
        // A successor that was ended at the last moment had opened its own already.
        if self.socket.as_ref().is_some_and(|socket| !socket.is_in_place()) {
            let run_dir = &self.board.origin().run_dir;
            self.socket = HandoverSocket::if_possible(run_dir, self.board.timeouts());
        }
        if let Some((wish, answer)) = self.waiting.take() {
            return self.begin(wish, answer);
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
                self.job = Job::Over(Exit::Refused(reason.clone()));
                if let Some((_, answer)) = self.waiting.take() {
                    reply(answer, Err(Refusal::Undone(reason)));
                }
                return;
            }
            Outcome::Stopped => return self.stop_now().await,
        }
        if let Some((wish, answer)) = self.waiting.take() {
            return self.begin(wish, answer);
        }
        self.show_idle();
    }

    async fn handle_stop(&mut self) {
        match &self.job {
            Job::Serving | Job::Stopping { .. } => self.stop_now().await,
            Job::Outgoing { orders, stage, .. } if *stage.borrow() != Stage::Moving => {
                let _ = orders.try_send(outgoing::Order::Stop);
            }
            Job::Outgoing { orders, .. } => discard(orders, "the proxy was stopped"),
            Job::Incoming { orders, .. } => {
                let _ = orders.try_send(incoming::Order::Stop);
            }
            Job::Over(_) => {}
        }
    }

    async fn stop_now(&mut self) {
        let grace = self.stop.borrow().unwrap_or_default();
        let step = self.board.timeouts().step;
        // First: whatever may fail yet, it ends.
        self.job = Job::Stopping { until: Instant::now() + step + grace + CLOSING };
        self.board.show(State::Stopping, None, false);
        self.end_rehearsal(State::Stopping);
        self.socket = None;
        if timeout(step, self.plane.accept(Accepting::No)).await.is_err() {
            tracing::error!("the data plane does not stop accepting");
        }
        let now = Instant::now();
        self.plane.drain(Some(now + grace));
        self.job = Job::Stopping { until: now + grace + CLOSING };
    }

    fn show_idle(&self) {
        let state = if self.is_offline { State::Offline } else { State::Running };
        self.board.show(state, None, !self.is_offline);
    }
}

impl Job {
    /// Waits for the end of what runs, which stays where it is when it is not waited for any more.
    async fn ended(&mut self) -> Event {
        match self {
            Self::Serving | Self::Stopping { .. } | Self::Over(_) => pending().await,
            Self::Outgoing { task_id, running, .. } => {
                let undertaken = task::caught("job", running).await;
                Event::Outgoing(*task_id, undertaken.unwrap_or_else(|_| undone()))
            }
            Self::Incoming { running, .. } => {
                let taken_over = task::caught("job", running).await;
                Event::Incoming(taken_over.unwrap_or_else(|_| {
                    (successor::Outcome::Ended("the successor panicked".into()), None)
                }))
            }
        }
    }

    /// When to give up on sessions that do not end; None while they need not.
    fn stopping(&self) -> Option<Instant> {
        match self {
            Self::Stopping { until } => Some(*until),
            Self::Serving | Self::Outgoing { .. } | Self::Incoming { .. } | Self::Over(_) => None,
        }
    }
}

/// A restart that has panicked, and brought nothing in order itself.
fn undone() -> Undertaken {
    let reason = "the predecessor panicked".into();
    (plan::Outcome::Kept(Ending { state: TaskState::Failed, reason }), None)
}

/// Waits until no session is left, or until they are given up. Cancel safe.
async fn stopped<D: DataPlane>(plane: &D, until: Option<Instant>) {
    let Some(until) = until else { return pending().await };
    tokio::select! {
        () = plane.emptied() => {}
        () = sleep_until(until.into()) => {}
    }
}

/// Ends a restart whose successor does not serve yet.
fn discard(orders: &mpsc::Sender<outgoing::Order>, reason: &str) {
    let ending = Ending { state: TaskState::Failed, reason: reason.into() };
    // A full queue ends it as well, by what is in it.
    let _ = orders.try_send(outgoing::Order::Discard(ending));
}

/// What the new binary says to the new config; the coordinator may call it off.
async fn preflight(
    binary: &Path,
    config: &Path,
    within: Duration,
    orders: &mut mpsc::Receiver<outgoing::Order>,
) -> Result<Program, Ending> {
    let judged = async {
        let program = Program::open(binary)?;
        program.check(config, within).await?;
        Ok(program)
    };
    let failed =
        |error: ProgramError| Ending { state: TaskState::Failed, reason: error.to_string() };
    tokio::select! {
        biased;
        ending = discarded(orders) => Err(ending),
        judged = judged => judged.map_err(failed),
    }
}

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
enum SpawnError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Program(#[from] ProgramError),
}

fn spawn(program: &Program, config: &Path, score: Option<i32>) -> Result<Link, SpawnError> {
    let (ours, theirs) = Channel::pair()?;
    let channel = Channel::new(ours)?;
    Ok(Link { channel, peer: Some(program.spawn(config, theirs, score)?), hello: None })
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

async fn knocked(socket: &mut Option<HandoverSocket>) -> Option<Knock> {
    match socket {
        Some(socket) => Some(socket.knock().await),
        None => pending().await,
    }
}

/// The next order to stop; None if there can be none any more.
async fn stop_ordered(stop: &mut StopOrders) -> Option<()> {
    loop {
        stop.changed().await.ok()?;
        if stop.borrow_and_update().is_some() {
            return Some(());
        }
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
