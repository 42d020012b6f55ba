//! Drives the successor's machine: greets, waits for the data plane, takes over, serves.
//!
//! Invariant: what the predecessor has sent is adopted or refused before anything later is read.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::custody::{adopt_all, adopt_or_lose};
use super::or_never;
use crate::restart::host::crash::{self, Side};
use crate::restart::host::process::Peer;
use crate::restart::lifecycle::Lifecycle;
use crate::restart::machine::shipment::Size;
use crate::restart::machine::successor::{Action, Outcome, Successor};
use crate::restart::message::{Acks, Frame, Hello, Message, Nack, Reason, Terms};
use crate::restart::plane::{Accepting, Adopted, DataPlane, Listener, Parcel};
use crate::restart::task::{Phase, State, Task};
use crate::restart::timeouts::Timeouts;
use crate::restart::transport::channel::{Channel, ChannelError, FDS_LOST, Received};
use crate::restart::transport::door::{self, Door};
use crate::restart::transport::parcels;

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
    fn keep(&mut self, Received { frame, fds }: Received) -> Result<Message, String> {
        match &frame.message {
            Message::Offer(terms) => {
                self.terms = Some((**terms).clone());
                self.legacy = frame.body;
            }
            Message::Listen(listen) if listen.names.len() == fds.len() => {
                let named = listen.names.iter().cloned().zip(fds);
                self.listeners.extend(named.map(|(name, fd)| Listener { name, fd }));
            }
            Message::Listen(listen) => {
                return Err(format!("{} listeners named, {} came", listen.names.len(), fds.len()));
            }
            _ => {}
        }
        Ok(frame.message)
    }
}

/// HELLO, OFFER, LISTEN. None: the predecessor died before it gave anything.
pub async fn greet(
    channel: Channel,
    hello: Hello,
    timeouts: Timeouts,
) -> Result<Option<Offer>, String> {
    crash::at(Side::Successor, "hello")?;
    let predecessor = door::peer_of(&channel.socket())
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
                if timeout(timeouts.answer, death).await.is_err() {
                    return Err("the predecessor closed the channel".into());
                }
                offer.machine.handle_closed(Instant::now());
            }
            Err(ChannelError::TimedOut) => {
                return Err("the predecessor does not answer HELLO".into());
            }
            Err(error) => return Err(format!("handover: {error}")),
        }
    }
    if let Some(outcome) = offer.machine.outcome() {
        return match outcome {
            Outcome::Ended(reason) => Err(reason.clone()),
            other => Err(format!("{other:?}")),
        };
    }
    crash::at(Side::Successor, "listen")?;
    crash::at(Side::Successor, "warm")?;
    Ok((offer.terms.is_some() || !offer.listeners.is_empty()).then_some(offer))
}

/// What the desk tells a takeover under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
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
pub struct Incoming<D> {
    plane: Arc<D>,
    lifecycle: Lifecycle,
    machine: Successor,
    channel: Channel,
    is_closed: bool,
    predecessor: Option<Peer>,
    timeouts: Timeouts,
    task: Option<Task>,
    arrived: Vec<Parcel>,
    /// Sessions that go on once their ack is on its way.
    adopted: Vec<Adopted>,
    received: Option<Frame>,
    held: HashMap<u32, Parcel>,
    /// The front one is under way; it stays in place while it is awaited: dropped it would lose
    /// what it has frozen.
    works: VecDeque<Work>,
    door: Option<Door>,
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

enum Done {
    Accepting(Accepting),
    Surrendered(Vec<Parcel>),
}

enum Event {
    Received(Result<Received, ChannelError>),
    Ordered(Order),
    Done(Done),
    Died,
    Note(Bytes),
    Timeout,
}

impl<D: DataPlane> Incoming<D> {
    /// The data plane stands.
    pub fn new(plane: Arc<D>, lifecycle: Lifecycle, offer: Offer) -> Self {
        let mut machine = offer.machine;
        let ready = crash::at(Side::Successor, "ready");
        match ready {
            Ok(()) => machine.handle_ready(Instant::now()),
            Err(error) => machine.handle_error(&error),
        }
        Self {
            plane,
            lifecycle,
            machine,
            channel: offer.channel,
            is_closed: false,
            predecessor: offer.predecessor,
            timeouts: offer.timeouts,
            task: offer.terms.map(|terms| terms.task),
            arrived: Vec::new(),
            adopted: Vec::new(),
            received: None,
            held: HashMap::new(),
            works: VecDeque::new(),
            door: None,
        }
    }

    /// Runs it to its end. The task in the ledger is as the outcome says; the handover socket is
    /// open if this process serves on, and could open one.
    pub async fn run(mut self, orders: &mut mpsc::Receiver<Order>) -> (Outcome, Option<Door>) {
        loop {
            self.act().await;
            self.report();
            if let Some(outcome) = self.machine.outcome().cloned() {
                self.finish().await;
                self.close_task(&outcome);
                return (outcome, self.door);
            }
            match self.next(orders).await {
                Event::Received(received) => self.handle_received(received),
                Event::Ordered(Order::Force) => self.machine.handle_force(Instant::now()),
                Event::Ordered(Order::Rollback) => self.machine.handle_rollback(),
                Event::Ordered(Order::Confirm) => self.machine.handle_confirm(),
                Event::Ordered(Order::Stop) => self.machine.handle_stop(),
                Event::Done(done) => {
                    self.works.pop_front();
                    self.handle_done(done);
                }
                Event::Died => {
                    self.predecessor = None;
                    self.hear_out().await;
                    self.machine.handle_closed(Instant::now());
                }
                Event::Note(body) => {
                    self.machine.handle_told();
                    self.send(Frame { message: Message::Note {}, body }).await;
                }
                Event::Timeout => {
                    self.hear_out().await;
                    if self.plane.census().logging_in == 0 {
                        self.machine.handle_all_logged_in(Instant::now());
                    }
                    self.machine.handle_timeout(Instant::now());
                }
            }
        }
    }

    /// Every branch is cancel safe, or stays where it is when another one wins.
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>) -> Event {
        let deadline = self.machine.poll_timeout();
        let may_tell = self.machine.may_tell();
        tokio::select! {
            biased;
            received = self.channel.recv(), if !self.is_closed => Event::Received(received),
            Some(order) = orders.recv() => Event::Ordered(order),
            done = or_never(self.works.front_mut()) => Event::Done(done),
            _ = or_never(self.predecessor.as_mut().map(Peer::gone)) => Event::Died,
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()),
                if deadline.is_some() =>
            {
                Event::Timeout
            }
            note = self.plane.tell(), if may_tell => Event::Note(note),
        }
    }

    /// Handles all that has arrived.
    async fn hear_out(&mut self) {
        while !self.is_closed
            && let Some(received) = self.channel.try_recv()
        {
            self.handle_received(received);
            self.act().await;
        }
    }

    fn handle_received(&mut self, received: Result<Received, ChannelError>) {
        let now = Instant::now();
        let Received { frame, fds } = match received {
            Ok(received) => received,
            Err(ChannelError::Closed) => {
                self.is_closed = true;
                return self.machine.handle_closed(now);
            }
            Err(ChannelError::FdsLost(Some(frame))) => return self.refuse_batch(&frame.message),
            Err(error) => return self.machine.handle_error(&error.to_string()),
        };
        if let Err(error) = crash_on(&frame.message) {
            return self.machine.handle_error(&error);
        }
        if let Message::Note {} = &frame.message {
            self.plane.hear(&frame.body);
        }
        if let Message::Parcels(it) = &frame.message {
            match parcels::unpack(&it.parcels, fds, &frame.body) {
                Some(parcels) => self.arrived = parcels,
                None => return self.machine.handle_error("PARCELS whose parts do not add up"),
            }
        }
        let message = frame.message.clone();
        self.received = Some(frame);
        self.machine.handle_message(&message, now);
    }

    /// Fds that were lost on the way are a matter of one batch, not of the whole handover.
    fn refuse_batch(&mut self, message: &Message) {
        let Message::Parcels(it) = message else {
            return self.machine.handle_error(FDS_LOST);
        };
        let nack = |id| Nack { id, reason: FDS_LOST.into() };
        let refused = it.parcels.iter().map(|entry| nack(entry.id)).collect();
        let lost = Some(FDS_LOST.into());
        self.machine.handle_adopted(Acks { refused, lost, ..Acks::default() });
    }

    fn handle_done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Accepting(accepting) => self.machine.handle_accepting(accepting, now),
            Done::Surrendered(parcels) => {
                let sizes: Vec<_> =
                    parcels.iter().map(|it| Size { id: it.id, fds: it.fds.len() }).collect();
                self.held.extend(parcels.into_iter().map(|parcel| (parcel.id, parcel)));
                self.machine.handle_surrendered(&sizes, now);
            }
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
                self.send(Frame { message, body: self.plane.own_counters() }).await;
            }
            Action::Send(message) => self.send(message.into()).await,
            Action::KeepOffer | Action::KeepListeners => {}
            Action::Adopt => {
                let arrived = std::mem::take(&mut self.arrived);
                let (acks, adopted) = adopt_all(&*self.plane, Side::Successor, arrived);
                self.adopted.extend(adopted);
                self.machine.handle_adopted(acks);
            }
            Action::KeepProgress => self.keep_progress(),
            Action::Accept(accepting) => {
                let plane = self.plane.clone();
                self.works.push_back(Box::pin(async move {
                    plane.accept(accepting).await;
                    Done::Accepting(accepting)
                }));
            }
            Action::Surrender(wanted) => {
                let plane = self.plane.clone();
                self.works.push_back(Box::pin(async move {
                    let parcels = plane.surrender(wanted.class, wanted.n, &wanted.except).await;
                    Done::Surrendered(parcels)
                }));
            }
            Action::SendParcels(ids) => {
                let (plane, within) = (&*self.plane, self.timeouts.answer);
                match parcels::send(&self.channel, plane, &self.held, &ids, within).await {
                    Err(ChannelError::Congested(_)) => {
                        self.machine.handle_congestion(ids, Instant::now());
                    }
                    Err(error) => tracing::warn!(%error, "sessions were not given back"),
                    Ok(()) => {}
                }
            }
            Action::Thaw(ids) => {
                for parcel in ids.iter().filter_map(|id| self.held.remove(id)) {
                    adopt_or_lose(&*self.plane, parcel);
                }
            }
            Action::Release(ids) => {
                for id in &ids {
                    self.plane.released(*id);
                    self.held.remove(id);
                }
            }
            Action::KillPredecessor => match &self.predecessor {
                Some(peer) => peer.kill(),
                None => self.machine.handle_closed(Instant::now()),
            },
            Action::OpenDoor => {
                self.door = Door::if_possible(&self.lifecycle.origin().run_dir, self.timeouts);
            }
        }
    }

    async fn send(&mut self, frame: Frame) {
        let kind = frame.message.kind();
        match self.channel.send(&frame, &[], self.timeouts.answer).await {
            // A closed channel is told by reading, after all that was said before.
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(error) => tracing::warn!(kind, %error, "the predecessor does not take a message"),
        }
        let crash = match kind {
            "ACKS" => {
                std::mem::take(&mut self.adopted).into_iter().for_each(Adopted::go_on);
                crash::at(Side::Successor, "acked")
            }
            "ACCEPTED" => crash::at(Side::Successor, "accepted"),
            "COMMITTED" => crash::at(Side::Successor, "committed"),
            _ => Ok(()),
        };
        if let Err(error) = crash {
            self.machine.handle_error(&error);
        }
    }

    fn keep_progress(&mut self) {
        let Some(Frame { message, body }) = self.received.take() else { return };
        let (Message::Progress(it) | Message::Commit(it)) = message else { return };
        self.plane.inherit_counters(&body);
        self.task = Some(it.task.clone());
        self.lifecycle.ledger().put(it.task);
    }

    /// What the data plane was still asked for is waited for.
    async fn finish(&mut self) {
        while let Some(mut work) = self.works.pop_front() {
            match timeout(self.timeouts.step, &mut work).await {
                Ok(done) => {
                    self.handle_done(done);
                    self.act().await;
                }
                Err(_) => tracing::error!("the data plane does not answer"),
            }
        }
        self.plane.part();
    }

    fn report(&self) {
        let own = self.machine.phase();
        let theirs = self.task.as_ref().map(|task| task.phase);
        let theirs = theirs.filter(|phase| *phase != Phase::Unknown);
        let phase = theirs.map_or(own, |phase| phase.max(own));
        if self.machine.is_serving() {
            self.lifecycle.show(State::Draining, Some(phase), true);
        } else if self.machine.outcome().is_none() {
            self.lifecycle.show(State::Starting, Some(own), false);
        }
    }

    fn close_task(&self, outcome: &Outcome) {
        use crate::restart::task::TaskState;
        let Some(task_id) = self.task.as_ref().map(|task| task.task_id) else { return };
        self.lifecycle.update_task(task_id, |task| match outcome {
            Outcome::Committed => {
                task.state = TaskState::Completed;
                task.phase = Phase::Commit;
                task.draining = 0;
            }
            Outcome::Promoted(reason) => {
                task.state = TaskState::Failed;
                task.new_pid = std::process::id();
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

fn crash_on(message: &Message) -> Result<(), String> {
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
