//! Drives the predecessor's machine: its successor, its data plane, and what was given out.
//!
//! Invariant: a frozen session is held until it is thawed or the successor's; and what is the
//! successor's is in custody until it is its for good.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::custody::{Custody, Reclaimed, adopt_all};
use super::pump::{Done, Event, Pump, Waits};
use crate::restart::board::Board;
use crate::restart::host::crash::{self, Injected, Side};
use crate::restart::host::process::Peer;
use crate::restart::machine::plan::{Ending, Outcome, Plan, Stage};
use crate::restart::machine::predecessor::{Action, Predecessor};
use crate::restart::machine::shipment::Ship;
use crate::restart::message::{Frame, Hello, Listen, Message, Progress, Reason, Terms};
use crate::restart::plane::{Accepting, Adopted, DataPlane, Parcel, Report};
use crate::restart::task::{Phase, State, Task, TaskId, TaskState};
use crate::restart::tie::Part;
use crate::restart::transport::channel::{Channel, ChannelError, Received};
use crate::restart::transport::parcels;
use crate::task::{self, Panicked};

/// Listeners in one message.
const LISTENERS: usize = 200;

/// A heartbeat that does not fit within this is left out.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// Why a restart is undone in which this process has lost its way.
const PANICKED: &str = "the predecessor panicked";

/// What the coordinator tells a restart under way.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Take everything back.
    Rollback(Ending),
    /// End the successor; what it has is lost.
    Discard(Ending),
    /// In DRAIN: whoever is left goes now.
    DrainNow,
    /// From DRAIN on: both processes stop.
    Stop,
}

/// A successor that is there.
#[derive(Debug)]
pub(crate) struct Link {
    /// The way to it.
    pub channel: Channel,
    /// Its process, if it can be watched.
    pub peer: Option<Peer>,
    /// What it has said, if it has knocked.
    pub hello: Option<Hello>,
}

/// What one restart is about.
#[derive(Debug)]
pub(crate) struct Assignment {
    /// Where people follow it.
    pub task_id: TaskId,
    /// What it is to be.
    pub plan: Plan,
    /// The file that the successor was started from, if this process did that.
    pub binary: Option<PathBuf>,
    /// Where the coordinator looks how far it is.
    pub stage: watch::Sender<Stage>,
}

/// Why the offer could not be made.
#[derive(Debug, thiserror::Error)]
enum OfferError {
    #[error("listeners: {0}")]
    Listeners(#[source] io::Error),
    #[error("its task is lost")]
    TaskLost,
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Injected(#[from] Injected),
}

/// A restart whose successor is there.
pub(crate) struct Outgoing<D> {
    pump: Pump<D>,
    board: Board,
    task_id: TaskId,
    binary: Option<PathBuf>,
    stage: watch::Sender<Stage>,
    machine: Predecessor,
    custody: Custody,
    reclaimed: Option<Reclaimed>,
    has_returned: bool,
    returned: Vec<Parcel>,
    is_emptied: bool,
    shown: Option<Phase>,
}

impl<D: DataPlane> Outgoing<D> {
    /// The successor is connected.
    pub(crate) fn new(plane: Arc<D>, board: Board, link: Link, assignment: Assignment) -> Self {
        let now = Instant::now();
        let Link { channel, mut peer, hello } = link;
        let Assignment { task_id, plan, binary, stage } = assignment;
        let mut machine = Predecessor::new(plan, now);
        let (mut new_pid, mut new_carrier) = (peer.as_ref().map_or(0, Peer::pid), 0);
        if let Some(hello) = hello {
            if hello.carrier != 0 {
                (new_pid, new_carrier) = (hello.pid, hello.carrier);
                peer.iter_mut().for_each(|peer| carry(peer, hello.carrier));
            }
            machine.handle_message(&Message::Hello(hello), now);
        }
        board.update_task(task_id, |task| {
            (task.new_pid, task.new_carrier) = (new_pid, new_carrier);
        });
        Self {
            pump: Pump::new(plane, channel, peer, board.timeouts()),
            board,
            task_id,
            binary,
            stage,
            machine,
            custody: Custody::default(),
            reclaimed: None,
            has_returned: false,
            returned: Vec::new(),
            is_emptied: false,
            shown: None,
        }
    }

    /// The process before this one has died in a restart, and had given these sessions out.
    pub(crate) fn heir(
        plane: Arc<D>,
        board: Board,
        link: Link,
        assignment: Assignment,
        held: Vec<Parcel>,
    ) -> Self {
        let machine = Predecessor::heir(
            assignment.plan.clone(),
            held.iter().map(|parcel| parcel.id),
            Instant::now(),
        );
        let mut heir = Self { machine, ..Self::new(plane, board, link, assignment) };
        heir.custody.watch(&held);
        heir.pump.hold(held);
        heir.pump.tie(Part::Predecessor);
        heir
    }

    /// Runs it to its end.
    pub(crate) async fn run(mut self, orders: &mut mpsc::Receiver<Order>) -> Outcome {
        let mut panics = 0;
        loop {
            let stepped = task::caught("handover", pin!(self.step(orders))).await;
            match stepped {
                Ok(None) => {}
                Ok(Some(outcome)) => return self.conclude(outcome),
                Err(Panicked) => {
                    panics += 1;
                    match panics {
                        1 => self.machine.handle_error(PANICKED.into(), Instant::now()),
                        2 => self.machine.handle_channel_error(PANICKED),
                        _ => return self.abandon().await,
                    }
                }
            }
        }
    }

    async fn step(&mut self, orders: &mut mpsc::Receiver<Order>) -> Option<Outcome> {
        self.act().await;
        if self.machine.is_alone() {
            self.pump.plane.conclude();
        }
        self.report();
        if let Some(outcome) = self.machine.outcome().cloned() {
            self.finish().await;
            return Some(outcome);
        }
        let waits = Waits {
            until: self.machine.poll_timeout(),
            for_notes: self.machine.may_tell(),
            for_empty: self.machine.is_draining() && !self.is_emptied,
        };
        let event = self.pump.next(orders, waits).await;
        self.handle(event).await;
        None
    }

    /// The last resort: nothing here can be relied on any more, so whatever is frozen goes on where
    /// it can. Before COMMIT that is here, without the successor.
    async fn abandon(&mut self) -> Outcome {
        if self.machine.phase() == Some(Phase::Commit) {
            self.pump.settle_all();
            return Outcome::Superseded(PANICKED.into());
        }
        let held = self.pump.abandon().await;
        self.reclaimed = self.custody.reclaim(&*self.pump.plane, held);
        self.pump.plane.undrain();
        let accept = self.pump.plane.accept(self.machine.accepting());
        if timeout(self.board.timeouts().step, accept).await.is_err() {
            tracing::error!("the data plane does not accept");
        }
        self.pump.plane.part();
        let ending = Ending { state: TaskState::Failed, reason: PANICKED.into() };
        self.conclude(Outcome::Kept(ending))
    }

    /// Says of a restart that was undone what it has cost.
    fn conclude(&self, outcome: Outcome) -> Outcome {
        match (outcome, self.reclaimed) {
            (Outcome::Kept(Ending { state, reason }), Some(Reclaimed { alive, all })) => {
                let reason = format!("{reason}; of {all} sessions that it had, {alive} go on here");
                Outcome::Kept(Ending { state, reason })
            }
            (other, _) => other,
        }
    }

    async fn handle(&mut self, event: Event<Order>) {
        match event {
            Event::Received(received) => self.handle_received(*received).await,
            Event::Ordered(order) => self.handle_order(order),
            Event::Done(done) => self.handle_done(done),
            Event::Ended(how) => {
                self.hear_out().await;
                self.machine.handle_gone(Some(&how.to_string()));
            }
            Event::Died(how) => {
                self.hear_out().await;
                self.machine.handle_channel_error(&format!("the successor died ({how})"));
            }
            Event::Emptied => {
                self.is_emptied = true;
                self.machine.handle_emptied(Instant::now());
            }
            Event::Note(body) => {
                self.machine.handle_told();
                self.send(Frame { message: Message::Note {}, body }).await;
            }
            Event::Timeout => {
                // What the other side had said counts more than the clock.
                self.hear_out().await;
                self.machine.handle_timeout(Instant::now());
            }
        }
    }

    /// Handles all that has arrived.
    async fn hear_out(&mut self) {
        while let Some(received) = self.pump.try_recv() {
            self.handle_received(received).await;
            self.act().await;
        }
    }

    async fn handle_received(&mut self, received: Result<Received, ChannelError>) {
        let now = Instant::now();
        let Received { frame, fds } = match received {
            Ok(received) => received,
            Err(ChannelError::Closed) => return self.handle_closed().await,
            Err(error) => return self.machine.handle_channel_error(&error.to_string()),
        };
        if let Err(error) = crash_on(&frame.message) {
            return self.machine.handle_error(error.to_string(), now);
        }
        match &frame.message {
            Message::Hello(hello) if hello.carrier != 0 => {
                self.pump.peer.iter_mut().for_each(|peer| carry(peer, hello.carrier));
                self.pump.tie_again(Part::Predecessor);
                self.board.update_task(self.task_id, |task| task.new_carrier = hello.carrier);
            }
            // Before anything is given.
            Message::Ready {} => self.pump.tie(Part::Predecessor),
            Message::Note {} => self.pump.plane.hear(&frame.body),
            Message::Returned {} => {
                self.pump.plane.credit_counters(&frame.body);
                self.has_returned = true;
            }
            Message::Parcels(it) => match parcels::unpack(&it.parcels, fds, &frame.body) {
                Some(parcels) => self.returned.extend(parcels),
                None => tracing::error!("sessions that came back are malformed"),
            },
            _ => {}
        }
        self.machine.handle_message(&frame.message, now);
    }

    /// The end of the channel comes just before the end of the process, which says more.
    async fn handle_closed(&mut self) {
        self.pump.close();
        let within = self.board.timeouts().again * 10;
        let died = match &mut self.pump.peer {
            Some(peer) => timeout(within, peer.gone()).await.ok(),
            None => None,
        };
        let Some(how) = died else { return self.machine.handle_closed(Instant::now()) };
        self.pump.peer = None;
        self.machine.handle_channel_error(&format!("the successor died ({how})"));
    }

    fn handle_order(&mut self, order: Order) {
        match order {
            Order::Rollback(ending) => self.machine.handle_abort(ending, Instant::now()),
            Order::Discard(ending) => self.machine.handle_discard(ending),
            Order::DrainNow => self.machine.drain_now(Instant::now()),
            Order::Stop => self.machine.stop(Instant::now()),
        }
    }

    fn handle_done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Accepting(accepting) => {
                let crash = match accepting {
                    Accepting::No => crash::at(Side::Predecessor, "closed"),
                    Accepting::Yes | Accepting::Control => Ok(()),
                };
                match crash {
                    Ok(()) => self.machine.handle_accepting(accepting, now),
                    Err(error) => self.machine.handle_error(error.to_string(), now),
                }
            }
            Done::Surrendered(parcels) => {
                self.custody.watch(&parcels);
                let sizes = self.pump.hold(parcels);
                self.machine.handle_surrendered(&sizes, now);
                self.crash_at("frozen");
            }
            Done::Panicked => self.machine.handle_error(PANICKED.into(), now),
        }
    }

    /// Passes a crash point; false if it is an error.
    fn crash_at(&mut self, point: &'static str) -> bool {
        let crash = crash::at(Side::Predecessor, point);
        if let Err(error) = &crash {
            self.machine.handle_error(error.to_string(), Instant::now());
        }
        crash.is_ok()
    }

    async fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.perform(action).await;
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Send(message) => {
                if matches!(message, Message::Go {}) {
                    self.send_news().await;
                    // Whoever asks the successor first must not hear of less than was told here.
                    self.send_counters(Report::Full, self.board.timeouts().answer).await;
                }
                self.send(message.into()).await;
            }
            Action::SendOffer { version } => {
                if let Err(error) = self.send_offer(version).await {
                    self.machine.handle_error(error.to_string(), Instant::now());
                }
            }
            Action::SendProgress => self.send_progress().await,
            Action::SendCommit => self.send_commit().await,
            Action::Ship(ship) => self.ship(ship).await,
            Action::Park(ids) => self.park(&ids),
            Action::Forget(ids) => self.custody.forget(&ids),
            Action::Reclaim(unacknowledged) => {
                let pump = &mut self.pump;
                let held: Vec<_> = unacknowledged.iter().filter_map(|id| pump.take(*id)).collect();
                let reclaimed = self.custody.reclaim(&*pump.plane, held);
                // Of what it did not give back when it could, the clients had left.
                self.reclaimed = reclaimed.filter(|_| !self.has_returned);
            }
            Action::AdoptReturned => self.adopt_returned().await,
            Action::Accept(accepting) => self.pump.accept(accepting),
            Action::Drain(deadline) => {
                self.is_emptied = false;
                self.pump.plane.drain(deadline);
            }
            Action::Undrain => self.pump.plane.undrain(),
            Action::EndSuccessor { reason, because } => {
                tracing::debug!(because, "the successor is ended");
                self.end_successor(reason).await;
            }
        }
    }

    async fn ship(&mut self, ship: Ship) {
        match ship {
            Ship::Surrender(wanted) => {
                // Before anybody is frozen: at first they are as many as there are sessions.
                self.send_news().await;
                self.pump.surrender(wanted);
            }
            Ship::Send(ids) => self.send_parcels(ids).await,
            Ship::Thaw(ids) => {
                self.custody.forget(&ids);
                self.pump.thaw(&ids);
            }
        }
    }

    async fn send_news(&mut self) {
        let sent = self.pump.send_news().await;
        self.handle_sent(sent);
    }

    async fn send(&mut self, frame: Frame) {
        let sent = self.pump.send(&frame).await;
        self.handle_sent(sent);
    }

    /// A closed channel is told by reading, after all that the other side had said before.
    fn handle_sent(&mut self, sent: Result<(), ChannelError>) {
        match sent {
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(error) => {
                self.machine.handle_channel_error(&format!("the successor hangs: {error}"));
            }
        }
    }

    async fn send_offer(&mut self, version: u16) -> Result<(), OfferError> {
        let listeners = self.pump.plane.listeners().map_err(OfferError::Listeners)?;
        let terms = self.terms(version, listeners.len()).ok_or(OfferError::TaskLost)?;
        let message = Message::Offer(Box::new(terms));
        self.pump.send(&Frame { message, body: self.pump.plane.legacy() }).await?;
        crash::at(Side::Predecessor, "listen")?;
        let within = self.board.timeouts().answer;
        for some in listeners.chunks(LISTENERS) {
            let names = some.iter().map(|listener| listener.name.clone()).collect();
            let fds: Vec<_> = some.iter().map(|listener| listener.fd.as_fd()).collect();
            let frame = Frame::from(Message::Listen(Listen { names }));
            self.pump.channel().send(&frame, &fds, within).await?;
        }
        Ok(crash::at(Side::Predecessor, "warm")?)
    }

    fn terms(&self, version: u16, listeners: usize) -> Option<Terms> {
        let mut tasks = self.board.ledger().rows(Instant::now());
        tasks.retain(|task| task.task_id != self.task_id);
        Some(Terms {
            version,
            build: self.board.origin().build.clone(),
            pid: self.board.origin().pid,
            generation: self.board.generation().next(),
            listeners,
            sessions: self.pump.plane.census().sessions,
            binary: self.binary.clone(),
            task: self.task()?,
            tasks,
        })
    }

    async fn send_progress(&mut self) {
        let may_send = match self.machine.phase() {
            Some(Phase::Drain) => self.crash_at("drain"),
            Some(Phase::Probation) => self.crash_at("probation"),
            _ => true,
        };
        if may_send {
            self.send_counters(Report::Brief, HEARTBEAT).await;
        }
    }

    async fn send_counters(&mut self, report: Report, within: Duration) {
        self.update_task();
        let Some(task) = self.task() else { return };
        let message = Message::Progress(Progress { task });
        let frame = Frame { message, body: self.pump.plane.counters(report) };
        // A full socket is no error yet: silence is noticed by its own clock.
        if let Err(error) = self.pump.send_within(&frame, within).await {
            tracing::trace!(%error, "progress was not sent");
        }
    }

    async fn send_commit(&mut self) {
        if let Err(error) = crash::at(Side::Predecessor, "commit") {
            return self.machine.handle_uncommitted(error.to_string(), Instant::now());
        }
        self.update_task();
        let Some(task) = self.task() else { return };
        // Before the successor can have it: it goes on alone if this process dies.
        self.pump.plane.conclude();
        let message = Message::Commit(Progress { task });
        self.send(Frame { message, body: self.pump.plane.counters(Report::Full) }).await;
    }

    async fn send_parcels(&mut self, ids: Vec<u32>) {
        if !self.crash_at("send") {
            return;
        }
        match self.pump.send_parcels(&ids).await {
            Err(error @ ChannelError::Congested(_)) => {
                self.machine.handle_congestion(ids, &error.to_string(), Instant::now());
            }
            sent => self.handle_sent(sent),
        }
        self.crash_at("sent");
    }

    fn park(&mut self, ids: &[u32]) {
        for id in ids {
            self.pump.plane.released(*id);
            if let Some(parcel) = self.pump.take(*id) {
                self.custody.park(parcel);
            }
        }
    }

    async fn adopt_returned(&mut self) {
        let ids: Vec<_> = self.returned.iter().map(|parcel| parcel.id).collect();
        self.custody.forget(&ids);
        let returned = std::mem::take(&mut self.returned);
        let (acks, adopted) = adopt_all(&*self.pump.plane, Side::Predecessor, returned);
        // Of those that were given by a process that has died: where they are is known now.
        acks.adopted.iter().for_each(|id| drop(self.pump.take(*id)));
        if !self.pump.is_closed() {
            self.send(Message::Acks(acks).into()).await;
        }
        adopted.into_iter().for_each(Adopted::go_on);
    }

    async fn end_successor(&mut self, reason: String) {
        let abort = Message::Abort(Reason { reason }).into();
        if let Err(error) = self.pump.send_within(&abort, HEARTBEAT).await {
            tracing::debug!(%error, "ABORT was not sent");
        }
        if !self.pump.end_peer() {
            self.machine.handle_gone(None);
        }
    }

    /// What the data plane was still asked for is waited for, and taken back if need be.
    async fn finish(&mut self) {
        while let Some(done) = self.pump.last_done().await {
            self.handle_done(done);
            self.act().await;
        }
        self.pump.plane.part();
        self.update_task();
    }

    /// Keeps ledger and state at what the machine does.
    fn report(&mut self) {
        let phase = self.machine.phase();
        if phase == self.shown || self.machine.outcome().is_some() {
            return;
        }
        self.shown = phase;
        self.update_task();
        let stage = self.machine.stage();
        self.stage.send_replace(stage);
        match stage {
            Stage::Draining | Stage::Probation => self.board.show(State::Draining, phase, false),
            Stage::Moving => {
                let takes_clients = self.machine.accepting() == Accepting::Yes;
                self.board.show(State::Restarting, phase, takes_clients);
            }
        }
    }

    fn update_task(&self) {
        let (phase, moved) = (self.machine.phase(), self.machine.moved());
        let note = self.machine.note();
        let census = self.pump.plane.census();
        self.board.update_task(self.task_id, |task| {
            task.reach(phase.unwrap_or(task.phase));
            task.moved = moved;
            task.draining = census.sessions;
            task.in_transaction = census.in_transaction;
            task.disconnected = census.disconnected;
            if let Some(note) = note {
                task.detail = note.into();
            }
        });
    }

    fn task(&self) -> Option<Task> {
        self.board.task(self.task_id)
    }
}

/// A successor is carried by this process of its pair.
fn carry(peer: &mut Peer, carrier: u32) {
    if let Err(error) = peer.is_carried_by(carrier) {
        tracing::warn!(carrier, %error, "the successor's process cannot be watched");
    }
}

fn crash_on(message: &Message) -> Result<(), Injected> {
    match message {
        Message::Hello(_) => crash::at(Side::Predecessor, "hello"),
        Message::Ready {} => crash::at(Side::Predecessor, "ready"),
        Message::Acks(_) => crash::at(Side::Predecessor, "acked"),
        Message::Accepted {} => crash::at(Side::Predecessor, "accepted"),
        Message::Committed {} => crash::at(Side::Predecessor, "committed"),
        _ => Ok(()),
    }
}
