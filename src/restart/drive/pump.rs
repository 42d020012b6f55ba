//! What both drivers do alike: they wait for the channel, the other process, orders, the data plane
//! and the clock, and hold the sessions that are frozen.
//!
//! Invariant: a frozen session is held until it is thawed or the other side's; a future of the data
//! plane that gives sessions out is never dropped before it has ended.

use std::collections::{HashMap, VecDeque};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::custody::adopt_or_lose;
use super::or_never;
use crate::restart::host::process::{End, Peer};
use crate::restart::machine::shipment::{Size, Wanted};
use crate::restart::message::Frame;
use crate::restart::plane::{Accepting, DataPlane, Parcel};
use crate::restart::tie::{Other, Part, Tie};
use crate::restart::timeouts::Timeouts;
use crate::restart::transport::channel::{Channel, ChannelError, Received};
use crate::restart::transport::parcels;
use crate::task;

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;
type Ending = Pin<Box<dyn Future<Output = End> + Send>>;

/// What the data plane has come to.
pub(crate) enum Done {
    /// It accepts so.
    Accepting(Accepting),
    /// It gives these out.
    Surrendered(Vec<Parcel>),
    /// It panicked, and must not be polled again.
    Panicked,
}

/// What happens next.
pub(crate) enum Event<Order> {
    /// The other side says something, or closed its end.
    Received(Box<Result<Received, ChannelError>>),
    /// The coordinator says something.
    Ordered(Order),
    /// The data plane has done what it was asked.
    Done(Done),
    /// The other process was ended.
    Ended(End),
    /// It has ended.
    Died(End),
    /// The data plane has no session left.
    Emptied,
    /// The data plane has something to tell that of the other side.
    Note(Bytes),
    /// The time that was waited for.
    Timeout,
}

/// What is waited for beside what always is.
pub(crate) struct Waits {
    /// A time.
    pub until: Option<Instant>,
    /// That the data plane has something to tell.
    pub for_notes: bool,
    /// That the data plane has no session left.
    pub for_empty: bool,
}

/// One side of a handover: the data plane, and the way to the other side.
pub(crate) struct Pump<D> {
    /// The data plane here.
    pub plane: Arc<D>,
    /// Whatever is known of the other process.
    pub peer: Option<Peer>,
    channel: Channel,
    is_closed: bool,
    is_tied: bool,
    timeouts: Timeouts,
    /// Frozen, and nobody else's yet.
    held: HashMap<u32, Parcel>,
    /// The front one is under way; it stays in place while it is awaited: dropped it would lose
    /// what it has frozen.
    works: VecDeque<Work>,
    ending: Option<Ending>,
}

impl<D: DataPlane> Pump<D> {
    /// Between this data plane and that process.
    pub(crate) fn new(
        plane: Arc<D>,
        channel: Channel,
        peer: Option<Peer>,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            plane,
            peer,
            channel,
            is_closed: false,
            is_tied: false,
            timeouts,
            held: HashMap::new(),
            works: VecDeque::new(),
            ending: None,
        }
    }

    /// What happens next. Every branch is cancel safe, or stays where it is when another one wins.
    pub(crate) async fn next<Order>(
        &mut self,
        orders: &mut mpsc::Receiver<Order>,
        waits: Waits,
    ) -> Event<Order> {
        let Waits { until, for_notes, for_empty } = waits;
        let event = tokio::select! {
            biased;
            received = self.channel.recv(), if !self.is_closed => {
                Event::Received(Box::new(received))
            }
            Some(order) = orders.recv() => Event::Ordered(order),
            done = or_never(self.works.front_mut().map(whole)) => Event::Done(done),
            end = or_never(self.ending.as_mut()) => Event::Ended(end),
            end = or_never(self.peer.as_mut().map(Peer::gone)) => Event::Died(end),
            () = self.plane.emptied(), if for_empty => Event::Emptied,
            () = sleep_until(until.unwrap_or_else(Instant::now).into()), if until.is_some() => {
                Event::Timeout
            }
            note = self.plane.tell(), if for_notes => Event::Note(note),
        };
        match &event {
            Event::Done(_) => drop(self.works.pop_front()),
            Event::Ended(_) => self.ending = None,
            Event::Died(_) => self.peer = None,
            _ => {}
        }
        event
    }

    /// What has arrived already.
    pub(crate) fn try_recv(&mut self) -> Option<Result<Received, ChannelError>> {
        if self.is_closed { None } else { self.channel.try_recv() }
    }

    /// The other side has closed its end: nothing more is read.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether it has.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// From here on sessions may be the other side's: whoever comes after this process is to find
    /// it.
    pub(crate) fn tie(&mut self, part: Part) {
        let other = self.peer.as_ref().map(Peer::to_leave);
        let other = other.unwrap_or(Other { pid: 0, process: None, carrier: None });
        let channel = self.channel.socket().as_raw_fd();
        self.plane.tie(Tie { part, channel, other });
        self.is_tied = true;
    }

    /// The other side's process is another one.
    pub(crate) fn tie_again(&mut self, part: Part) {
        if self.is_tied {
            self.tie(part);
        }
    }

    /// Sends a frame without fds.
    pub(crate) async fn send(&mut self, frame: &Frame) -> Result<(), ChannelError> {
        self.send_within(frame, self.timeouts.answer).await
    }

    /// The same, but for not so long.
    pub(crate) async fn send_within(
        &mut self,
        frame: &Frame,
        within: Duration,
    ) -> Result<(), ChannelError> {
        self.channel.send(frame, &[], within).await
    }

    /// The channel, for frames with fds.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Tells the other side which sessions are here, before it gets some or may take clients.
    pub(crate) async fn send_news(&mut self) -> Result<(), ChannelError> {
        parcels::send_news(&self.channel, &*self.plane, self.timeouts.answer).await
    }

    /// Sends frozen sessions in one message; they stay held.
    pub(crate) async fn send_parcels(&mut self, ids: &[u32]) -> Result<(), ChannelError> {
        parcels::send(&self.channel, &*self.plane, &self.held, ids, self.timeouts.answer).await
    }

    /// Has the data plane start or stop taking clients.
    pub(crate) fn accept(&mut self, accepting: Accepting) {
        let plane = self.plane.clone();
        self.works.push_back(Box::pin(async move {
            plane.accept(accepting).await;
            Done::Accepting(accepting)
        }));
    }

    /// Has the data plane freeze sessions.
    pub(crate) fn surrender(&mut self, wanted: Wanted) {
        let plane = self.plane.clone();
        self.works.push_back(Box::pin(async move {
            Done::Surrendered(plane.surrender(wanted.class, wanted.n, &wanted.except).await)
        }));
    }

    /// Ends the other process; false if it is gone already.
    pub(crate) fn end_peer(&mut self) -> bool {
        let timeouts = self.timeouts;
        let ending = self.peer.take().map(|peer| -> Ending { Box::pin(peer.end(timeouts)) });
        let is_there = ending.is_some();
        self.ending = self.ending.take().or(ending);
        is_there
    }

    /// Holds frozen sessions.
    pub(crate) fn hold(&mut self, parcels: Vec<Parcel>) -> Vec<Size> {
        let size = |it: &Parcel| Size { id: it.id, fds: it.fds.len() };
        let sizes = parcels.iter().map(size).collect();
        self.held.extend(parcels.into_iter().map(|parcel| (parcel.id, parcel)));
        sizes
    }

    /// Gives a frozen session up.
    pub(crate) fn take(&mut self, id: u32) -> Option<Parcel> {
        self.held.remove(&id)
    }

    /// Goes on with frozen sessions here.
    pub(crate) fn thaw(&mut self, ids: &[u32]) {
        for parcel in ids.iter().filter_map(|id| self.held.remove(id)) {
            adopt_or_lose(&*self.plane, parcel);
        }
    }

    /// What the data plane was still asked for, one after another. What takes too long is taken
    /// back when it comes.
    pub(crate) async fn last_done(&mut self) -> Option<Done> {
        while let Some(mut work) = self.works.pop_front() {
            match timeout(self.timeouts.step, whole(&mut work)).await {
                Ok(done) => return Some(done),
                Err(_) => {
                    tracing::error!("the data plane does not answer");
                    self.settle(work);
                }
            }
        }
        None
    }

    /// Gives up on the other side: it is ended, what the data plane was still asked for is taken
    /// back when it comes, and whatever is frozen is the caller's.
    pub(crate) async fn abandon(&mut self) -> Vec<Parcel> {
        self.settle_all();
        self.end_peer();
        if let Some(ending) = self.ending.take() {
            // It may be the one that panicked; then it was signalled all the same.
            drop(task::caught("end", ending).await);
        }
        self.held.drain().map(|(_, parcel)| parcel).collect()
    }

    /// What the data plane was still asked for is not waited for.
    pub(crate) fn settle_all(&mut self) {
        for work in std::mem::take(&mut self.works) {
            self.settle(work);
        }
    }

    fn settle(&self, work: Work) {
        task::spawn("settle", settle(self.plane.clone(), work));
    }
}

/// What a work comes to, if only that it panicked.
async fn whole(work: &mut Work) -> Done {
    task::caught("data plane", work).await.unwrap_or(Done::Panicked)
}

async fn settle<D: DataPlane>(plane: Arc<D>, mut work: Work) {
    if let Done::Surrendered(parcels) = whole(&mut work).await {
        parcels.into_iter().for_each(|parcel| adopt_or_lose(&*plane, parcel));
    }
}
