//! Drives the successor's machine: greets, waits for the data plane, takes over, serves.
//!
//! Invariant: what the predecessor has sent is adopted or refused before anything later is read.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::custody::adopt_all;
use super::or_never;
use super::outgoing::Link;
use super::pump::{Done, Event, Pump, Waits};
use crate::restart::board::Board;
use crate::restart::host::crash::{self, Injected, Side};
use crate::restart::host::fd::nofile;
use crate::restart::host::process::Peer;
use crate::restart::machine::plan::Stage;
use crate::restart::machine::shipment::Ship;
use crate::restart::machine::successor::{Action, Outcome, Successor};
use crate::restart::message::{
    Acks, Frame, Hello, Message, Nack, Parcels, Progress, Reason, Terms,
};
use crate::restart::plane::{Adopted, DataPlane, Listener, Parcel};
use crate::restart::task::{Phase, State, Task, TaskState};
use crate::restart::tie::Part;
use crate::restart::timeouts::Timeouts;
use crate::restart::transport::channel::{Channel, ChannelError, FDS_LOST, Received};
use crate::restart::transport::socket::{self, HandoverSocket, SocketError};
use crate::restart::transport::{disguise, parcels};
use crate::task::{self, Panicked};

/// What a predecessor offers: build the data plane with it, then `Lifecycle::serve`.
#[derive(Debug)]
pub struct Offer {
    machine: Successor,
    channel: Channel,
    predecessor: Option<Peer>,
    timeouts: Timeouts,
    terms: Option<Terms>,
    legacy: Bytes,
    listeners: Vec<Listener>,
}

/// Why there was no takeover.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The channel that was given as standard input cannot be used.
    #[error("standard input: {0}")]
    Stdin(#[source] io::Error),
    /// The handover socket is not one of ours.
    #[error(transparent)]
    HandoverSocket(#[from] SocketError),
    /// The channel cannot be watched.
    #[error(transparent)]
    Socket(io::Error),
    /// The predecessor does not answer.
    #[error("the predecessor does not answer HELLO")]
    Silent,
    /// It closed the channel, and lives.
    #[error("the predecessor closed the channel")]
    Closed,
    /// What it says is not understood, or did not arrive.
    #[error("handover: {0}")]
    Channel(#[source] ChannelError),
    /// Not as many listeners as it named.
    #[error("{named} listeners named, {came} came")]
    Listeners {
        /// How many it named.
        named: usize,
        /// How many came.
        came: usize,
    },
    /// It does not want to be succeeded; in its own words.
    #[error("{0}")]
    Refused(String),
    /// It came to an end before it had begun.
    #[error("{0:?}")]
    Over(Outcome),
    /// By a test.
    #[error(transparent)]
    Injected(#[from] Injected),
}

impl Offer {
    /// The listening sockets, by name; what the config no longer names may be dropped, the
    /// predecessor's duplicate is its own affair. Empty at the second call.
    pub fn listeners(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.listeners)
    }

    /// What `DataPlane::legacy` of the predecessor has returned.
    pub fn legacy(&self) -> Bytes {
        self.legacy.clone()
    }

    /// The terms; None if the predecessor died before it named them.
    pub(in crate::restart) fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Says that this process cannot take over, and why; the predecessor's task shows it.
    pub async fn refuse(self, reason: &str) {
        let message = Message::Refuse(Reason { reason: reason.into() });
        if let Err(error) = self.channel.send(&message.into(), &[], self.timeouts.answer).await {
            tracing::debug!(%error, "the predecessor did not hear the refusal");
        }
    }

    async fn act(&mut self) -> Result<(), ChannelError> {
        while let Some(action) = self.machine.poll_action() {
            if let Action::Send(message) = action {
                self.channel.send(&message.into(), &[], self.timeouts.answer).await?;
            }
        }
        Ok(())
    }

    /// Takes what came with a message. All that can come before READY is OFFER and LISTEN.
    fn keep(&mut self, Received { frame, fds }: Received) -> Result<Message, TakeoverError> {
        match &frame.message {
            Message::Offer(terms) => {
                self.terms = Some((**terms).clone());
                let kept = self.predecessor.as_mut().map(|peer| peer.is_kept_by(terms.pid));
                if let Some(Err(error)) = kept {
                    tracing::debug!(%error, "the predecessor's keeper is not watched");
                }
                self.legacy = frame.body;
            }
            Message::Listen(listen) if listen.names.len() == fds.len() => {
                let named = listen.names.iter().cloned().zip(fds);
                self.listeners.extend(named.map(|(name, fd)| Listener { name, fd }));
            }
            Message::Listen(listen) => {
                let (named, came) = (listen.names.len(), fds.len());
                return Err(TakeoverError::Listeners { named, came });
            }
            _ => {}
        }
        Ok(frame.message)
    }
}

/// What this process is, as a successor.
pub(crate) fn hello(board: &Board) -> Hello {
    let origin = board.origin();
    Hello {
        versions: disguise::versions(),
        build: origin.build.clone(),
        pid: origin.pid,
        config_hash: origin.config_hash.clone(),
        nofile: nofile(),
        carrier: origin.carrier(),
    }
}

/// HELLO, OFFER, LISTEN. None: the predecessor died before it gave anything.
pub(crate) async fn greet(
    channel: Channel,
    hello: Hello,
    timeouts: Timeouts,
) -> Result<Option<Offer>, TakeoverError> {
    crash::at(Side::Successor, "hello")?;
    let predecessor = socket::peer_of(&channel.socket())
        .inspect_err(|error| tracing::debug!(%error, "the predecessor's process is not watched"));
    let mut offer = Offer {
        machine: Successor::new(hello, timeouts, Instant::now()),
        channel,
        predecessor: predecessor.ok(),
        timeouts,
        terms: None,
        legacy: Bytes::new(),
        listeners: Vec::new(),
    };
    while !offer.machine.is_warm() && offer.machine.outcome().is_none() {
        let sent = offer.act().await;
        let received = match sent {
            Ok(()) => offer.channel.recv_within(timeouts.silence).await,
            Err(error) => Err(error),
        };
        match received {
            Ok(received) => {
                let message = offer.keep(received)?;
                offer.machine.handle_message(&message, Instant::now());
            }
            Err(ChannelError::Closed) => {
                // The channel closes before the listening sockets do; whoever binds must wait.
                let death = or_never(offer.predecessor.as_mut().map(Peer::gone));
                timeout(timeouts.answer, death).await.map_err(|_| TakeoverError::Closed)?;
                offer.machine.handle_closed(Instant::now());
            }
            Err(ChannelError::TimedOut) => return Err(TakeoverError::Silent),
            Err(error) => return Err(TakeoverError::Channel(error)),
        }
    }
    match offer.machine.outcome() {
        Some(Outcome::Ended(reason)) => return Err(TakeoverError::Refused(reason.clone())),
        Some(other) => return Err(TakeoverError::Over(other.clone())),
        None => {}
    }
    crash::at(Side::Successor, "listen")?;
    crash::at(Side::Successor, "warm")?;
    Ok((offer.terms.is_some() || !offer.listeners.is_empty()).then_some(offer))
}

/// Why a takeover is called off in which this process has lost its way.
const PANICKED: &str = "the successor panicked";

/// What the coordinator tells a takeover under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The predecessor is to end at once.
    Force,
    /// The predecessor is to take everything back.
    Rollback,
    /// The predecessor need not wait for the end of the probation.
    Confirm,
    /// This process stops.
    Stop,
}

/// A takeover whose data plane stands.
pub(crate) struct Incoming<D> {
    pump: Pump<D>,
    board: Board,
    stage: watch::Sender<Stage>,
    machine: Successor,
    timeouts: Timeouts,
    task: Option<Task>,
    arrived: Vec<Parcel>,
    /// What came with the last PROGRESS or COMMIT.
    progress: Option<(Progress, Bytes)>,
    /// Sessions that go on once their ack is on its way.
    adopted: Vec<Adopted>,
    socket: Option<HandoverSocket>,
}

impl<D: DataPlane> Incoming<D> {
    /// The data plane stands. The coordinator looks at `stage` how far it is.
    pub(crate) fn new(
        plane: Arc<D>,
        board: Board,
        offer: Offer,
        stage: watch::Sender<Stage>,
    ) -> Self {
        let Offer { mut machine, channel, predecessor, timeouts, terms, .. } = offer;
        match crash::at(Side::Successor, "ready") {
            Ok(()) => machine.handle_ready(Instant::now()),
            Err(error) => machine.handle_error(&error.to_string()),
        }
        let pump = Pump::new(plane, channel, predecessor, timeouts);
        Self { task: terms.map(|terms| terms.task), ..Self::over(pump, board, machine, stage) }
    }

    /// The process before this one has died in a takeover, and had given these sessions back.
    pub(crate) fn heir(
        plane: Arc<D>,
        board: Board,
        (link, hello): (Link, Hello),
        held: Vec<Parcel>,
        stage: watch::Sender<Stage>,
    ) -> Self {
        let timeouts = board.timeouts();
        let given = held.iter().map(|parcel| parcel.id);
        let machine = Successor::heir(hello, given, timeouts, Instant::now());
        let Link { channel, peer, .. } = link;
        let mut pump = Pump::new(plane, channel, peer, timeouts);
        pump.hold(held);
        Self::over(pump, board, machine, stage)
    }

    fn over(
        mut pump: Pump<D>,
        board: Board,
        machine: Successor,
        stage: watch::Sender<Stage>,
    ) -> Self {
        // Before anything is taken.
        pump.tie(Part::Successor);
        Self {
            pump,
            timeouts: board.timeouts(),
            board,
            stage,
            machine,
            task: None,
            arrived: Vec::new(),
            progress: None,
            adopted: Vec::new(),
            socket: None,
        }
    }

    /// Runs it to its end. The task in the ledger is as the outcome says; the handover socket is
    /// open if this process serves on, and could open one.
    pub(crate) async fn run(
        mut self,
        orders: &mut mpsc::Receiver<Order>,
    ) -> (Outcome, Option<HandoverSocket>) {
        let mut has_panicked = false;
        loop {
            let stepped = task::caught("takeover", pin!(self.step(orders))).await;
            match stepped {
                Ok(None) => {}
                Ok(Some(outcome)) => {
                    self.close_task(&outcome);
                    return (outcome, self.socket);
                }
                // The predecessor learns it, and takes everything back.
                Err(Panicked) if !has_panicked => {
                    has_panicked = true;
                    self.machine.handle_error(PANICKED);
                }
                // It learns it by the end of this process.
                Err(Panicked) => return (Outcome::Ended(PANICKED.into()), self.socket),
            }
        }
    }

    async fn step(&mut self, orders: &mut mpsc::Receiver<Order>) -> Option<Outcome> {
        self.act().await;
        self.report();
        if let Some(outcome) = self.machine.outcome().cloned() {
            self.finish().await;
            return Some(outcome);
        }
        let waits = Waits {
            until: self.machine.poll_timeout(),
            for_notes: self.machine.may_tell(),
            for_empty: false,
        };
        let event = self.pump.next(orders, waits).await;
        self.handle(event).await;
        None
    }

    async fn handle(&mut self, event: Event<Order>) {
        match event {
            Event::Received(received) => self.hear(*received).await,
            Event::Ordered(Order::Force) => self.machine.handle_force(Instant::now()),
            Event::Ordered(Order::Rollback) => self.machine.handle_rollback(),
            Event::Ordered(Order::Confirm) => self.machine.handle_confirm(),
            Event::Ordered(Order::Stop) => self.machine.handle_stop(),
            Event::Done(done) => self.handle_done(done),
            Event::Died(_) | Event::Ended(_) => {
                self.hear_out().await;
                self.machine.handle_closed(Instant::now());
            }
            Event::Note(body) => {
                self.machine.handle_told();
                self.send(Frame { message: Message::Note {}, body }).await;
            }
            // Not waited for: this side takes over, and may well have nobody yet.
            Event::Emptied => {}
            Event::Timeout => {
                self.hear_out().await;
                if self.pump.plane.census().logging_in == 0 {
                    self.machine.handle_all_logged_in(Instant::now());
                }
                self.machine.handle_timeout(Instant::now());
            }
        }
    }

    /// Handles all that has arrived.
    async fn hear_out(&mut self) {
        while let Some(received) = self.pump.try_recv() {
            self.hear(received).await;
            self.act().await;
        }
    }

    async fn hear(&mut self, received: Result<Received, ChannelError>) {
        match received {
            Err(ChannelError::Closed) => self.handle_closed().await,
            other => self.handle_received(other),
        }
    }

    /// The channel ends with the predecessor; with one that has a keeper, also when the process
    /// that comes after it has no use for a successor.
    async fn handle_closed(&mut self) {
        self.pump.close();
        let is_heir = self.machine.is_heir();
        let keeper = self.pump.peer.as_mut().filter(|peer| is_heir || peer.has_keeper());
        let goes_on = match keeper {
            Some(peer) => timeout(self.timeouts.answer, peer.gone()).await.is_err(),
            None => false,
        };
        match goes_on {
            true => self.machine.handle_outlived(Instant::now()),
            false => self.machine.handle_closed(Instant::now()),
        }
    }

    fn handle_received(&mut self, received: Result<Received, ChannelError>) {
        let now = Instant::now();
        let Received { frame: Frame { message, body }, fds } = match received {
            Ok(received) => received,
            Err(ChannelError::FdsLost(Some(frame))) => return self.refuse_batch(&frame.message),
            Err(error) => return self.machine.handle_error(&error.to_string()),
        };
        if let Err(error) = crash_on(&message) {
            return self.machine.handle_error(&error.to_string());
        }
        match &message {
            Message::Note {} => self.pump.plane.hear(&body),
            Message::Parcels(it) => match parcels::unpack(&it.parcels, fds, &body) {
                Some(parcels) => self.arrived = parcels,
                None => return self.machine.handle_error("PARCELS whose parts do not add up"),
            },
            Message::Progress(it) | Message::Commit(it) => self.progress = Some((it.clone(), body)),
            _ => {}
        }
        self.machine.handle_message(&message, now);
    }

    /// Fds that were lost on the way are a matter of one batch, not of the whole handover.
    fn refuse_batch(&mut self, message: &Message) {
        let Message::Parcels(Parcels { parcels }) = message else {
            return self.machine.handle_error(FDS_LOST);
        };
        let nack = |id| Nack { id, reason: FDS_LOST.into() };
        let refused = parcels.iter().map(|entry| nack(entry.id)).collect();
        let lost = Some(FDS_LOST.into());
        self.machine.handle_adopted(Acks { refused, lost, ..Acks::default() });
    }

    fn handle_done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Accepting(accepting) => self.machine.handle_accepting(accepting, now),
            Done::Surrendered(parcels) => {
                let sizes = self.pump.hold(parcels);
                self.machine.handle_surrendered(&sizes, now);
            }
            Done::Panicked => self.machine.handle_error(PANICKED),
        }
    }

    async fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.perform(action).await;
        }
    }

    async fn perform(&mut self, action: Action) {
        match action {
            Action::Send(message @ Message::Returned {}) => {
                self.send(Frame { message, body: self.pump.plane.own_counters() }).await;
            }
            Action::Send(message @ Message::Committed {}) => {
                // Before the predecessor knows it and leaves.
                self.pump.plane.own();
                self.board.show(State::Running, None, true);
                self.send(message.into()).await;
            }
            Action::Send(message) => self.send(message.into()).await,
            Action::Adopt => {
                let arrived = std::mem::take(&mut self.arrived);
                let (acks, adopted) = adopt_all(&*self.pump.plane, Side::Successor, arrived);
                self.adopted.extend(adopted);
                self.machine.handle_adopted(acks);
            }
            Action::KeepProgress => self.keep_progress(),
            Action::Accept(accepting) => self.pump.accept(accepting),
            Action::Ship(Ship::Surrender(wanted)) => self.pump.surrender(wanted),
            Action::Ship(Ship::Send(ids)) => self.give_back(ids).await,
            Action::Ship(Ship::Thaw(ids)) => self.pump.thaw(&ids),
            Action::Release(ids) => {
                for id in &ids {
                    self.pump.plane.released(*id);
                    self.pump.take(*id);
                }
            }
            Action::KillPredecessor => match &self.pump.peer {
                Some(peer) => peer.kill(),
                None => self.machine.handle_closed(Instant::now()),
            },
            Action::OpenSocket => {
                self.socket =
                    HandoverSocket::if_possible(&self.board.origin().run_dir, self.timeouts);
            }
        }
    }

    async fn give_back(&mut self, ids: Vec<u32>) {
        let passed = crash::at(Side::Successor, "send");
        match self.pump.send_parcels(&ids).await {
            Err(ChannelError::Congested(_)) => {
                self.machine.handle_congestion(ids, Instant::now());
            }
            Err(error) => tracing::warn!(%error, "sessions were not given back"),
            Ok(()) => {}
        }
        if let Err(error) = passed.and_then(|()| crash::at(Side::Successor, "sent")) {
            self.machine.handle_error(&error.to_string());
        }
    }

    async fn send(&mut self, frame: Frame) {
        match self.pump.send(&frame).await {
            // A closed channel is told by reading, after all that was said before.
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(error) => {
                let kind = frame.message.name();
                tracing::warn!(kind, %error, "the predecessor does not take a message");
            }
        }
        let crash = match frame.message {
            Message::Acks(_) => {
                std::mem::take(&mut self.adopted).into_iter().for_each(Adopted::go_on);
                crash::at(Side::Successor, "acked")
            }
            Message::Accepted {} => crash::at(Side::Successor, "accepted"),
            Message::Committed {} => crash::at(Side::Successor, "committed"),
            _ => Ok(()),
        };
        if let Err(error) = crash {
            self.machine.handle_error(&error.to_string());
        }
    }

    fn keep_progress(&mut self) {
        let Some((Progress { task }, counters)) = self.progress.take() else { return };
        self.pump.plane.inherit_counters(&counters);
        self.task = Some(task.clone());
        self.board.ledger().put(task);
    }

    /// What the data plane was still asked for is waited for.
    async fn finish(&mut self) {
        while let Some(done) = self.pump.last_done().await {
            self.handle_done(done);
            self.act().await;
        }
        self.pump.plane.part();
    }

    fn report(&self) {
        let own = self.machine.phase();
        let theirs = self.task.as_ref().map(|task| task.phase);
        let theirs = theirs.filter(|phase| *phase != Phase::Unknown);
        let phase = theirs.map_or(own, |phase| phase.max(own));
        self.stage.send_replace(self.machine.stage(phase));
        if self.machine.is_serving() {
            self.board.show(State::Draining, Some(phase), true);
        } else if self.machine.outcome().is_none() {
            self.board.show(State::Starting, Some(own), false);
        }
    }

    fn close_task(&self, outcome: &Outcome) {
        let Some(task_id) = self.task.as_ref().map(|task| task.task_id) else { return };
        self.board.update_task(task_id, |task| match outcome {
            Outcome::Committed => {
                task.state = TaskState::Completed;
                task.reach(Phase::Commit);
                task.draining = 0;
            }
            Outcome::Promoted(reason) => {
                task.state = TaskState::Failed;
                let own = self.board.origin();
                (task.new_pid, task.new_carrier) = (own.pid, own.carrier());
                let (phase, lost) = (task.phase, task.draining);
                task.detail = format!(
                    "{reason} in {phase}; the successor serves on, without up to {lost} sessions"
                );
            }
            Outcome::Ended(reason) => {
                task.state = TaskState::Failed;
                task.detail.clone_from(reason);
            }
            Outcome::Stopped => {
                task.state = TaskState::Failed;
                task.detail = "stopped".into();
            }
        });
    }
}

fn crash_on(message: &Message) -> Result<(), Injected> {
    match message {
        Message::Parcels(_) => crash::at(Side::Successor, "parcels"),
        Message::Go {} => crash::at(Side::Successor, "go"),
        Message::Progress(it) if it.task.phase == Phase::Probation => {
            crash::at(Side::Successor, "probation")
        }
        Message::Commit(_) => crash::at(Side::Successor, "commit"),
        _ => Ok(()),
    }
}
