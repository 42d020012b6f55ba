//! Drives the predecessor's machine: its channel, its successor's process, its data plane.
//!
//! Invariant: a frozen session is in custody until it is thawed or the successor's for good; a
//! future of the data plane that gives sessions out is never dropped before it has ended.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::custody::{Custody, Reclaimed, adopt_all, adopt_or_lose};
use super::or_never;
use crate::restart::host::crash::{self, Side};
use crate::restart::host::process::Peer;
use crate::restart::lifecycle::Lifecycle;
use crate::restart::machine::plan::{Ending, Outcome, Plan};
use crate::restart::machine::predecessor::{Action, Predecessor};
use crate::restart::machine::shipment::Size;
use crate::restart::message::{Frame, Hello, Listen, Message, Progress, Reason, Terms};
use crate::restart::plane::{Accepting, Adopted, DataPlane, Parcel};
use crate::restart::task::{Phase, State, Task};
use crate::restart::transport::channel::{Channel, ChannelError, Received};
use crate::restart::transport::parcels;

/// Listeners in one message.
const LISTENERS: usize = 200;

/// A heartbeat that does not fit within this is left out.
const HEARTBEAT: Duration = Duration::from_millis(20);

/// What the desk tells a restart under way.
#[derive(Clone, Debug)]
pub enum Order {
    /// Take everything back.
    Rollback(Ending),
    /// End the successor; what it has is lost.
    Discard(Ending),
    /// In DRAIN: whoever is left goes now.
    DrainNow,
    /// From DRAIN on: both processes stop.
    Stop,
}

/// A restart whose successor is there.
pub struct Outgoing<D> {
    plane: Arc<D>,
    lifecycle: Lifecycle,
    task_id: u64,
    binary: Option<PathBuf>,
    machine: Predecessor,
    channel: Channel,
    is_closed: bool,
    peer: Option<Peer>,
    custody: Custody,
    reclaimed: Option<Reclaimed>,
    has_returned: bool,
    returned: Vec<Parcel>,
    /// The front one is under way; it stays in place while it is awaited: dropped it would lose
    /// what it has frozen.
    works: VecDeque<Work>,
    end: Option<Work>,
    is_emptied: bool,
    shown: Option<Phase>,
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What the data plane, or the end of the successor, has come to.
enum Done {
    Accepting(Accepting),
    Surrendered(Vec<Parcel>),
    Gone(String),
}

/// What happens next.
enum Event {
    Received(Result<Received, ChannelError>),
    Ordered(Order),
    Done(Done),
    Ended(Done),
    Died(String),
    Emptied,
    Note(Bytes),
    Timeout,
}

impl<D: DataPlane> Outgoing<D> {
    /// The successor is connected, and has said HELLO if it has knocked. `binary` is the file that
    /// it was started from, if this process did that.
    pub fn new(
        plane: Arc<D>,
        lifecycle: Lifecycle,
        task_id: u64,
        link: (Channel, Peer, Option<Hello>),
        (plan, binary): (Plan, Option<PathBuf>),
    ) -> Self {
        let now = Instant::now();
        let (channel, peer, hello) = link;
        let mut machine = Predecessor::new(plan, now);
        if let Some(hello) = hello {
            machine.handle_message(&Message::Hello(hello), now);
        }
        let new_pid = peer.pid();
        lifecycle.update_task(task_id, |task| task.new_pid = new_pid);
        Self {
            plane,
            lifecycle,
            task_id,
            binary,
            machine,
            channel,
            is_closed: false,
            peer: Some(peer),
            custody: Custody::default(),
            reclaimed: None,
            has_returned: false,
            returned: Vec::new(),
            works: VecDeque::new(),
            end: None,
            is_emptied: false,
            shown: None,
        }
    }

    /// Runs it to its end.
    pub async fn run(mut self, orders: &mut mpsc::Receiver<Order>) -> Outcome {
        loop {
            self.act().await;
            self.report();
            if let Some(outcome) = self.machine.outcome().cloned() {
                self.finish().await;
                return self.conclude(outcome);
            }
            let event = self.next(orders).await;
            self.handle(event).await;
        }
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

    /// Every branch is cancel safe, or stays where it is when another one wins.
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>) -> Event {
        let deadline = self.machine.poll_timeout();
        let may_tell = self.machine.may_tell();
        let watches_emptied = self.machine.is_draining() && !self.is_emptied;
        tokio::select! {
            biased;
            received = self.channel.recv(), if !self.is_closed => Event::Received(received),
            Some(order) = orders.recv() => Event::Ordered(order),
            done = or_never(self.works.front_mut()) => Event::Done(done),
            done = or_never(self.end.as_mut()) => Event::Ended(done),
            how = or_never(self.peer.as_mut().map(Peer::gone)) => Event::Died(how),
            () = self.plane.emptied(), if watches_emptied => Event::Emptied,
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()),
                if deadline.is_some() =>
            {
                Event::Timeout
            }
            note = self.plane.tell(), if may_tell => Event::Note(note),
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Received(received) => self.handle_received(received).await,
            Event::Ordered(order) => self.handle_order(order),
            Event::Done(done) => {
                self.works.pop_front();
                self.handle_done(done);
            }
            Event::Ended(done) => {
                self.end = None;
                self.hear_out().await;
                self.handle_done(done);
            }
            Event::Died(how) => {
                self.peer = None;
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
        while !self.is_closed
            && let Some(received) = self.channel.try_recv()
        {
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
            return self.machine.handle_error(error, now);
        }
        if let Message::Note {} = &frame.message {
            self.plane.hear(&frame.body);
        }
        if let Message::Returned {} = &frame.message {
            self.plane.credit_counters(&frame.body);
            self.has_returned = true;
        }
        if let Message::Parcels(it) = &frame.message {
            match parcels::unpack(&it.parcels, fds, &frame.body) {
                Some(parcels) => self.returned.extend(parcels),
                None => tracing::error!("sessions that came back are malformed"),
            }
        }
        self.machine.handle_message(&frame.message, now);
    }

    /// The end of the channel comes just before the end of the process, which says more.
    async fn handle_closed(&mut self) {
        self.is_closed = true;
        let within = self.lifecycle.timeouts().again * 10;
        let died = match &mut self.peer {
            Some(peer) => timeout(within, peer.gone()).await.ok(),
            None => None,
        };
        let Some(how) = died else { return self.machine.handle_closed() };
        self.peer = None;
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
                    Err(error) => self.machine.handle_error(error, now),
                }
            }
            Done::Surrendered(parcels) => {
                let sizes: Vec<_> =
                    parcels.iter().map(|it| Size { id: it.id, fds: it.fds.len() }).collect();
                self.custody.hold(parcels);
                self.machine.handle_surrendered(&sizes, now);
                if let Err(error) = crash::at(Side::Predecessor, "frozen") {
                    self.machine.handle_error(error, now);
                }
            }
            Done::Gone(how) => self.machine.handle_gone(Some(&how)),
        }
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
                    self.send_counters(self.lifecycle.timeouts().answer).await;
                }
                self.send(message.into()).await;
            }
            Action::SendOffer { version } => self.send_offer(version).await,
            Action::SendProgress => self.send_progress().await,
            Action::SendCommit => self.send_commit().await,
            Action::SendParcels(ids) => self.send_parcels(ids).await,
            Action::Surrender(wanted) => {
                // Before anybody is frozen: at first they are as many as there are sessions.
                self.send_news().await;
                let plane = self.plane.clone();
                self.works.push_back(Box::pin(async move {
                    let parcels = plane.surrender(wanted.class, wanted.n, &wanted.except).await;
                    Done::Surrendered(parcels)
                }));
            }
            Action::Thaw(ids) => self.thaw(&ids),
            Action::Park(ids) => self.park(&ids),
            Action::Forget(ids) => self.custody.forget(&ids),
            Action::Reclaim(unacknowledged) => {
                let reclaimed = self.custody.reclaim(&*self.plane, &unacknowledged);
                // Of what it did not give back when it could, the clients had left.
                self.reclaimed = reclaimed.filter(|_| !self.has_returned);
            }
            Action::AdoptReturned => self.adopt_returned().await,
            Action::Accept(accepting) => {
                let plane = self.plane.clone();
                self.works.push_back(Box::pin(async move {
                    plane.accept(accepting).await;
                    Done::Accepting(accepting)
                }));
            }
            Action::Drain(deadline) => {
                self.is_emptied = false;
                self.plane.drain(deadline);
            }
            Action::Undrain => self.plane.undrain(),
            Action::EndSuccessor(reason) => self.end_successor(reason).await,
        }
    }

    async fn send_news(&mut self) {
        let within = self.lifecycle.timeouts().answer;
        if let Err(error) = parcels::send_news(&self.channel, &*self.plane, within).await {
            self.handle_send_error(&error);
        }
    }

    async fn send(&mut self, frame: Frame) {
        let within = self.lifecycle.timeouts().answer;
        if let Err(error) = self.channel.send(&frame, &[], within).await {
            self.handle_send_error(&error);
        }
    }

    /// A closed channel is told by reading, after all that the other side had said before.
    fn handle_send_error(&mut self, error: &ChannelError) {
        if !matches!(error, ChannelError::Closed) {
            self.machine.handle_channel_error(&format!("the successor hangs: {error}"));
        }
    }

    async fn send_offer(&mut self, version: u16) {
        if let Err(error) = self.try_send_offer(version).await {
            self.machine.handle_error(error, Instant::now());
        }
    }

    async fn try_send_offer(&mut self, version: u16) -> Result<(), String> {
        let within = self.lifecycle.timeouts().answer;
        let listeners = self.plane.listeners().map_err(|error| format!("listeners: {error}"))?;
        let terms = self.terms(version, listeners.len())?;
        let offer = Message::Offer(Box::new(terms));
        let frame = Frame { message: offer, body: self.plane.legacy() };
        self.channel.send(&frame, &[], within).await.map_err(|error| error.to_string())?;
        crash::at(Side::Predecessor, "listen")?;
        for some in listeners.chunks(LISTENERS) {
            let names = some.iter().map(|listener| listener.name.clone()).collect();
            let fds: Vec<_> = some.iter().map(|listener| listener.fd.as_fd()).collect();
            let frame = Frame::from(Message::Listen(Listen { names }));
            self.channel.send(&frame, &fds, within).await.map_err(|error| error.to_string())?;
        }
        crash::at(Side::Predecessor, "warm")
    }

    fn terms(&self, version: u16, listeners: usize) -> Result<Terms, String> {
        let ledger = self.lifecycle.ledger();
        let mut tasks = ledger.rows(Instant::now());
        tasks.retain(|task| task.task_id != self.task_id);
        let task = ledger.task(self.task_id, Instant::now()).ok_or("its task is lost")?;
        Ok(Terms {
            version,
            build: self.lifecycle.origin().build.clone(),
            pid: std::process::id(),
            generation: self.lifecycle.generation() + 1,
            listeners,
            sessions: self.plane.census().sessions,
            binary: self.binary.clone(),
            task,
            tasks,
        })
    }

    async fn send_progress(&mut self) {
        let crash = match self.machine.phase() {
            Some(Phase::Drain) => crash::at(Side::Predecessor, "drain"),
            Some(Phase::Probation) => crash::at(Side::Predecessor, "probation"),
            _ => Ok(()),
        };
        if let Err(error) = crash {
            return self.machine.handle_error(error, Instant::now());
        }
        self.send_counters(HEARTBEAT).await;
    }

    async fn send_counters(&mut self, within: Duration) {
        self.update_task();
        let Some(task) = self.task() else { return };
        let message = Message::Progress(Progress { task });
        let frame = Frame { message, body: self.plane.counters() };
        // A full socket is no error yet: silence is noticed by its own clock.
        if let Err(error) = self.channel.send(&frame, &[], within).await {
            tracing::trace!(%error, "progress was not sent");
        }
    }

    async fn send_commit(&mut self) {
        if let Err(error) = crash::at(Side::Predecessor, "commit") {
            return self.machine.handle_uncommitted(error, Instant::now());
        }
        self.update_task();
        let Some(task) = self.task() else { return };
        let message = Message::Commit(Progress { task });
        self.send(Frame { message, body: self.plane.counters() }).await;
    }

    async fn send_parcels(&mut self, ids: Vec<u32>) {
        if let Err(error) = crash::at(Side::Predecessor, "send") {
            return self.machine.handle_error(error, Instant::now());
        }
        let within = self.lifecycle.timeouts().answer;
        match parcels::send(&self.channel, &*self.plane, self.custody.held(), &ids, within).await {
            Ok(()) => {}
            Err(error @ ChannelError::Congested(_)) => {
                self.machine.handle_congestion(ids, &error.to_string(), Instant::now());
            }
            Err(error) => self.handle_send_error(&error),
        }
        if let Err(error) = crash::at(Side::Predecessor, "sent") {
            self.machine.handle_error(error, Instant::now());
        }
    }

    fn thaw(&mut self, ids: &[u32]) {
        for parcel in ids.iter().filter_map(|id| self.custody.take(*id)) {
            adopt_or_lose(&*self.plane, parcel);
        }
    }

    fn park(&mut self, ids: &[u32]) {
        for id in ids {
            self.plane.released(*id);
            self.custody.park(*id);
        }
    }

    async fn adopt_returned(&mut self) {
        let ids: Vec<_> = self.returned.iter().map(|parcel| parcel.id).collect();
        self.custody.forget(&ids);
        let returned = std::mem::take(&mut self.returned);
        let (acks, adopted) = adopt_all(&*self.plane, Side::Predecessor, returned);
        if !self.is_closed {
            self.send(Message::Acks(acks).into()).await;
        }
        adopted.into_iter().for_each(Adopted::go_on);
    }

    async fn end_successor(&mut self, reason: String) {
        let timeouts = self.lifecycle.timeouts();
        let abort = Message::Abort(Reason { reason });
        if let Err(error) = self.channel.send(&abort.into(), &[], HEARTBEAT).await {
            tracing::debug!(%error, "ABORT was not sent");
        }
        match self.peer.take() {
            Some(peer) => {
                self.end = Some(Box::pin(async move { Done::Gone(peer.end(timeouts).await) }));
            }
            None => self.machine.handle_gone(None),
        }
    }

    /// What the data plane was still asked for is waited for, and taken back if need be.
    async fn finish(&mut self) {
        let within = self.lifecycle.timeouts().step;
        while let Some(mut work) = self.works.pop_front() {
            match timeout(within, &mut work).await {
                Ok(done) => {
                    self.handle_done(done);
                    self.act().await;
                }
                Err(_) => {
                    tracing::error!("the data plane does not answer");
                    tokio::spawn(settle(self.plane.clone(), work));
                }
            }
        }
        self.plane.part();
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
        match phase {
            Some(Phase::Drain | Phase::Probation | Phase::Commit) => {
                self.lifecycle.show(State::Draining, phase, false);
            }
            Some(_) | None => {
                let takes_clients = self.machine.accepting() == Accepting::Yes;
                self.lifecycle.show(State::Restarting, phase, takes_clients);
            }
        }
    }

    fn update_task(&self) {
        let (phase, moved) = (self.machine.phase(), self.machine.moved());
        let note = self.machine.note();
        let census = self.plane.census();
        self.lifecycle.update_task(self.task_id, |task| {
            task.phase = phase.unwrap_or(task.phase);
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
        self.lifecycle.ledger().task(self.task_id, Instant::now())
    }
}

fn crash_on(message: &Message) -> Result<(), String> {
    match message {
        Message::Hello(_) => crash::at(Side::Predecessor, "hello"),
        Message::Ready {} => crash::at(Side::Predecessor, "ready"),
        Message::Acks(_) => crash::at(Side::Predecessor, "acked"),
        Message::Accepted {} => crash::at(Side::Predecessor, "accepted"),
        Message::Committed {} => crash::at(Side::Predecessor, "committed"),
        _ => Ok(()),
    }
}

async fn settle<D: DataPlane>(plane: Arc<D>, work: Work) {
    if let Done::Surrendered(parcels) = work.await {
        parcels.into_iter().for_each(|parcel| adopt_or_lose(&*plane, parcel));
    }
}
