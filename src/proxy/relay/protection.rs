//! A session's part in the journal: what is on record of it, so that it goes on after a crash.
//!
//! ```text
//!   Off                                     the process has no journal, or the session is closing
//!   Wanted ─ it begins, or waits ─► Registered ─ other connections ─► Wanted
//!      └─ cannot be ─► Unprotected ─ other connections ─► Wanted
//! ```
//!
//! Its sockets are read, written and shut by [`Committed`] only, which there is none of without a
//! commit of all that has changed; whoever takes its connections for something else suspends it
//! first, and if the process dies then, the session is lost. Invariant: dropped before its sockets
//! are.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use smallvec::SmallVec;

use super::leg::Leg;
use super::link::Link;
use super::{Parts, Relay, parcel};
use crate::buffer::arena::Piece;
use crate::journal::{Commit, Counted, Journal, Slot, Standing, Stretch};
use crate::proxy::sessions::handle::Handle;
use crate::proxy::sessions::protection::{Shown, Why};
use crate::session::lane::{Lane, Source, Standing as LaneStanding, Target};

/// See above.
#[derive(Debug, Default)]
pub(in crate::proxy) enum Protection {
    /// Nobody keeps a journal.
    #[default]
    Off,
    /// It is to be entered.
    Wanted(Arc<Journal>),
    /// It is on record.
    Registered(Box<Record>),
    /// It cannot be on record.
    Unprotected(Why, Arc<Journal>),
}

/// What is on record.
#[derive(Debug)]
pub(in crate::proxy) struct Record {
    slot: Slot,
    /// As of which [`Session::version`](crate::session::Session::version) its cold state is.
    version: Option<u64>,
}

impl Protection {
    /// As people see it.
    fn shown(&self) -> Shown {
        match self {
            Self::Off => Shown::Off,
            Self::Wanted(_) => Shown::Soon,
            Self::Registered(..) => Shown::Protected,
            Self::Unprotected(why, _) => Shown::Unprotected(*why),
        }
    }

    /// What is done with its connections from now on is not on record, until the next commit.
    pub(super) fn suspend(&mut self) {
        if let Self::Registered(record) = self {
            record.slot.suspend();
        }
    }

    /// Where this lane is read into is on record.
    #[inline]
    fn announce(&mut self, at: usize, lane: &mut Lane) {
        if let Self::Registered(record) = self
            && record.slot.is_live()
        {
            let slot = &mut record.slot;
            match lane.target() {
                Target::OnRecord => {}
                Target::Piece(place) => slot.fill(at, place),
                Target::Elsewhere => slot.suspend(),
            }
        }
    }
}

/// How a session stands is on record, if it is protected: its sockets may be used.
pub(super) struct Committed<'a>(&'a mut Relay);

impl Committed<'_> {
    /// See [`Leg::poll_drain`]: client to the server that has its commands.
    #[inline]
    pub(super) fn poll_drain_up(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Relay { up, links, session, .. } = self.0;
        links[session.conversation().current().place()].leg.poll_drain(cx, up)
    }

    /// That server to the client.
    #[inline]
    pub(super) fn poll_drain_down(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Relay { client, links, session, .. } = self.0;
        client.poll_drain(cx, &mut links[session.conversation().current().place()].down)
    }

    /// See [`Leg::poll_fill`]: from the client.
    #[inline]
    pub(super) fn poll_fill_up(self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Relay { client, up, protection, .. } = self.0;
        protection.announce(0, up);
        client.poll_fill(cx, up)
    }

    /// From the server that has the client's commands.
    #[inline]
    pub(super) fn poll_fill_down(self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Relay { links, session, protection, .. } = self.0;
        let current = session.conversation().current().place();
        let Link { leg, down, .. } = &mut links[current];
        protection.announce(1 + current, down);
        leg.poll_fill(cx, down)
    }

    /// FIN to that server.
    pub(super) fn shutdown_server(self) {
        let current = self.0.current();
        self.0.links[current].leg.shutdown_write();
    }
}

impl Relay {
    /// From now on it is to be kept in a journal, unless it is already.
    pub(in crate::proxy) fn protect(&mut self, handle: &Handle, journal: &Arc<Journal>) {
        if matches!(self.protection, Protection::Off) {
            self.protection = Protection::Wanted(journal.clone());
        }
        self.show_protection(handle);
    }

    fn show_protection(&self, handle: &Handle) {
        handle.facts().protection = self.protection.shown();
        let slot = match &self.protection {
            Protection::Registered(record) => Some(record.slot.index()),
            Protection::Off | Protection::Wanted(_) | Protection::Unprotected(..) => None,
        };
        handle.set_slot(slot);
    }

    /// After a panic of its task, in which it is not to be relied on: what is on record of it, its
    /// sockets, and its buffers. Given back if there is nothing on record.
    pub(in crate::proxy) fn salvage(
        mut self,
    ) -> Result<(Slot, Vec<OwnedFd>, Vec<Piece>), Box<Self>> {
        let Protection::Registered(record) = std::mem::take(&mut self.protection) else {
            return Err(self.into());
        };
        let slot = record.slot;
        let Ok(Parts { client, up, links, .. }) = self.into_parts() else {
            return Ok((slot, Vec::new(), Vec::new()));
        };
        let (mut fds, mut pieces) = (vec![client.stream.fd], Vec::new());
        pieces.extend(up.into_pieces());
        for link in links {
            fds.push(link.leg.stream.fd);
            pieces.extend(link.down.into_pieces());
        }
        Ok((slot, fds, pieces))
    }

    /// It goes on as it stands, in the slot that it had. False if that is another session's.
    #[must_use]
    pub(in crate::proxy) fn take_up(&mut self, slot: Slot, standing: Standing) -> bool {
        let Standing { hot, lanes, counted } = standing;
        if lanes.len() != 1 + self.links.len() || counted.len() != lanes.len() {
            return false;
        }
        if self.session.resume(&hot).is_none() {
            return false;
        }
        for (at, (lane, counted)) in lanes.into_iter().zip(counted).enumerate() {
            let Stretch { place, start, judged, end, stage } = lane.stretch;
            let Some(source) = source(stage) else { return false };
            let standing = LaneStanding { place, start, judged, end, source };
            let mut lane = Lane::found(lane.piece, standing);
            lane.keep_in(slot.journal().arena());
            let (own, leg) = match at.checked_sub(1) {
                None => (&mut self.up, &mut self.client),
                Some(link) => {
                    let Link { down, leg, .. } = &mut self.links[link];
                    (down, leg)
                }
            };
            *own = lane;
            leg.resume_count(counted);
        }
        self.reserve_room();
        let version = Some(self.session.version());
        self.protection = Protection::Registered(Box::new(Record { slot, version }));
        true
    }

    /// It is given to somebody else as it stands: what is on record of it, which stays.
    pub(in crate::proxy) fn give(&mut self, handle: &Handle) -> Option<Slot> {
        if let Protection::Registered(_) = self.protection {
            // Also what was read and written since: whoever comes after a crash is to see whether
            // the other one has used its connections.
            self.write_down(handle);
        }
        let mut slot = self.leave_record()?;
        slot.give().then_some(slot)
    }

    /// The same of one that was given before, and taken up again.
    pub(in crate::proxy) fn leave_record(&mut self) -> Option<Slot> {
        match std::mem::take(&mut self.protection) {
            Protection::Registered(record) => Some(record.slot),
            Protection::Off | Protection::Wanted(_) | Protection::Unprotected(..) => None,
        }
    }

    /// It is lost if the process dies from now on.
    pub(super) fn protect_no_more(&mut self) {
        if !matches!(self.protection, Protection::Off) {
            self.protection = Protection::Off;
            self.lanes_mut().for_each(Lane::keep_no_more);
        }
    }

    /// Its connections are others from now on.
    pub(super) fn start_over(&mut self) {
        self.protection = match std::mem::take(&mut self.protection) {
            Protection::Off => Protection::Off,
            Protection::Registered(record) => Protection::Wanted(record.slot.journal().clone()),
            Protection::Wanted(journal) | Protection::Unprotected(_, journal) => {
                Protection::Wanted(journal)
            }
        };
        self.lanes_mut().for_each(Lane::keep_no_more);
    }

    /// Puts it on record, if it is to be and is not.
    pub(super) fn record(&mut self, handle: &Handle) {
        let Some((journal, entered)) = self.try_enter(handle) else { return };
        match entered {
            Ok(slot) => self.register(slot, handle),
            Err(why) => self.protection = Protection::Unprotected(why, journal),
        }
        self.show_protection(handle);
    }

    /// The same before it is relayed. What cannot be now may be when it waits.
    pub(in crate::proxy) fn record_at_once(&mut self, handle: &Handle) {
        if let Some((_, Ok(slot))) = self.try_enter(handle) {
            self.register(slot, handle);
            self.show_protection(handle);
        }
    }

    fn try_enter(&self, handle: &Handle) -> Option<(Arc<Journal>, Result<Slot, Why>)> {
        let Protection::Wanted(journal) = &self.protection else { return None };
        self.closing.is_none().then(|| (journal.clone(), self.enter(journal, handle)))
    }

    fn register(&mut self, slot: Slot, handle: &Handle) {
        let arena = slot.journal().arena();
        self.protection = Protection::Registered(Box::new(Record { slot, version: None }));
        self.lanes_mut().for_each(|lane| lane.keep_in(arena));
        self.write_down(handle);
    }

    /// Puts on record what has changed: then its sockets may be used.
    #[inline]
    pub(super) fn commit(&mut self, handle: &Handle) -> Committed<'_> {
        if let Protection::Registered(record) = &self.protection {
            let is_changed = !record.slot.is_live()
                || self.session.is_marked()
                || self.up.is_changed()
                || self.links.iter().any(|link| link.down.is_changed());
            if is_changed {
                self.write_down(handle);
            }
        }
        Committed(self)
    }

    fn write_down(&mut self, handle: &Handle) {
        let downs = self.links.iter().map(|link| &link.down);
        let lanes: Option<SmallVec<[Stretch; 2]>> =
            std::iter::once(&self.up).chain(downs).map(stretch).collect();
        let counted: SmallVec<[Counted; 2]> = self.all_legs().map(Leg::counted).collect();
        let Some(lanes) = lanes else {
            // The arena is used up: what is here is in nobody's sight until it is gone.
            return self.protection.suspend();
        };
        match self.write_lanes(handle, &lanes, &counted) {
            Ok(()) => {
                self.session.wipe_mark();
                self.lanes_mut().for_each(Lane::recorded);
            }
            Err(why) => {
                self.start_over();
                if let Protection::Wanted(journal) = std::mem::take(&mut self.protection) {
                    self.protection = Protection::Unprotected(why, journal);
                }
                self.show_protection(handle);
            }
        }
    }

    fn write_lanes(
        &mut self,
        handle: &Handle,
        lanes: &[Stretch],
        counted: &[Counted],
    ) -> Result<(), Why> {
        let Protection::Registered(record) = &self.protection else { return Ok(()) };
        let (mut hot, mut version) = (None, record.version);
        if self.session.is_marked() || version.is_none() {
            hot = Some(self.session.hot().ok_or(Why::TooLarge)?);
            version = Some(self.session.version());
        }
        let is_cold = version != record.version;
        let cold = is_cold.then(|| parcel::cold(self, handle)).transpose();
        let cold = cold.map_err(|_| Why::TooLarge)?;
        let cold = cold.as_deref().map(|state| &state[..]);
        let state = hot.as_ref().map_or(&[][..], |(words, count)| &words[..*count]);
        let commit = Commit { current: self.current(), lanes, counted, state, cold };
        let Protection::Registered(record) = &mut self.protection else { return Ok(()) };
        record.slot.commit(&commit)?;
        record.version = version;
        Ok(())
    }

    /// No byte of it is in this process, and both sides may still speak.
    pub(super) fn is_quiet(&self) -> bool {
        let is_quiet = |lane: &Lane| lane.is_empty() && lane.source() == Source::Open;
        self.closing.is_none()
            && is_quiet(&self.up)
            && self.links.iter().all(|link| is_quiet(&link.down))
    }

    fn all_legs(&self) -> impl Iterator<Item = &Leg> {
        std::iter::once(&self.client).chain(self.links.iter().map(|link: &Link| &link.leg))
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.up).chain(self.links.iter_mut().map(|link| &mut link.down))
    }

    fn enter(&self, journal: &Arc<Journal>, handle: &Handle) -> Result<Slot, Why> {
        if self.links.len() > 1 {
            return Err(Why::SeveralServers);
        }
        for leg in self.all_legs() {
            if leg.stream().tls().is_some() {
                return Err(Why::Tls);
            }
            if leg.compression().is_some() {
                return Err(Why::Compression);
            }
        }
        let legs: SmallVec<[_; 2]> =
            self.all_legs().map(|leg| (leg.stream().as_fd(), leg.counted())).collect();
        Ok(journal.enter(handle.id.0, &legs)?)
    }
}

/// None while it has bytes that are in no arena.
#[inline]
fn stretch(lane: &Lane) -> Option<Stretch> {
    let LaneStanding { place, start, judged, end, source } = lane.standing()?;
    let stage = match source {
        Source::Open => 0,
        Source::Ended => 1,
        Source::Closed => 2,
    };
    Some(Stretch { place, start, judged, end, stage })
}

fn source(stage: u8) -> Option<Source> {
    match stage {
        0 => Some(Source::Open),
        1 => Some(Source::Ended),
        2 => Some(Source::Closed),
        _ => None,
    }
}
