//! A session's part in the journal: what is on record of it, so that it goes on after a crash.
//!
//! ```text
//!   Off                                     the process has no journal, or the session is closing
//!   Wanted ─ it begins, or waits ─► Registered ─ other connections ─► Wanted
//!      └─ cannot be ─► Unprotected ─ other connections, or it waits a second later ─► Wanted
//! ```
//!
//! Its sockets are read, written and shut by [`Committed`](committed::Committed) only, which there
//! is none of without a commit of all that has changed; whoever takes its connections for something
//! else suspends it first, and if the process dies then, the session is lost. What its home is
//! asked by the way goes by its lanes ([`errand`](super::errand)). But of what readers are asked,
//! which are servers' links beside the home, nothing is on record, and if the process dies
//! meanwhile, it is that link which is lost. Invariant: dropped before its sockets are.

mod committed;

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use committed::End;
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::leg::Leg;
use super::link::Link;
use super::{Relay, parcel};
use crate::buffer::arena::Piece;
use crate::journal::{
    Commit, Counted, Journal, Layers, Leg as JournalLeg, Slot, Standing, Stretch,
};
use crate::proxy::sessions::handle::Handle;
use crate::proxy::sessions::protection::{Shown, Why};
use crate::session::hot::WORDS as HOT_WORDS;
use crate::session::lane::{Lane, Source, Standing as LaneStanding};
use crate::session::link::LinkId;
use crate::session::numbering::Numbering;

/// Between two tries to put a session on record.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes of keys that sessions of two connections stay below.
const USUAL_KEYS: usize = 512;

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
    /// It could not be on record then.
    Unprotected(Box<Attempt>),
}

/// To be put on record, in vain. Few ever are.
#[derive(Debug)]
pub(in crate::proxy) struct Attempt {
    why: Why,
    journal: Arc<Journal>,
    made: Instant,
}

/// What is left of a session whose task has panicked.
#[derive(Debug)]
pub(in crate::proxy) struct Salvaged {
    /// What is on record of it.
    pub slot: Slot,
    /// Its sockets: the client's, then its servers'.
    pub fds: Vec<OwnedFd>,
    /// Its lanes' buffers.
    pub pieces: Vec<Piece>,
    /// Its layers'.
    pub trays: Vec<Piece>,
}

/// What is on record.
#[derive(Debug)]
pub(in crate::proxy) struct Record {
    slot: Slot,
    /// As of which [`Session::version`](crate::session::Session::version) its cold state is.
    version: Option<u64>,
    /// As of which edition what is kept of it is.
    spilled: u32,
    /// The same of what is between its sockets and lanes.
    editions: u64,
    /// A reader was asked something by the way.
    is_stale: bool,
}

impl Record {
    fn new(slot: Slot) -> Box<Self> {
        Box::new(Self { slot, version: None, spilled: 0, editions: 0, is_stale: false })
    }
}

impl Protection {
    fn in_vain(why: Why, journal: Arc<Journal>) -> Self {
        Self::Unprotected(Box::new(Attempt { why, journal, made: Instant::now() }))
    }

    /// As people see it.
    fn shown(&self) -> Shown {
        match self {
            Self::Off => Shown::Off,
            Self::Wanted(_) => Shown::Soon,
            Self::Registered(record) => Shown::Registered(record.slot.journal().clone()),
            Self::Unprotected(attempt) => Shown::Unprotected(attempt.why),
        }
    }

    /// What is done with its connections from now on is not on record, until the next commit.
    pub(super) fn suspend(&mut self) {
        if let Self::Registered(record) = self {
            record.slot.suspend();
        }
    }

    /// What is done with the connection of a link from now on is not on record.
    pub(super) fn lend(&mut self, link: LinkId) {
        match self {
            Self::Registered(record) if link == LinkId::HOME => record.slot.suspend(),
            Self::Registered(record) => record.is_stale = true,
            Self::Off | Self::Wanted(_) | Self::Unprotected(_) => {}
        }
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
            Protection::Off | Protection::Wanted(_) | Protection::Unprotected(_) => None,
        };
        handle.set_slot(slot);
    }

    /// After a panic of its task, in which it is not to be relied on: what is on record of it, its
    /// sockets, and its buffers. Given back if there is nothing on record.
    pub(in crate::proxy) fn salvage(mut self) -> Result<Salvaged, Box<Self>> {
        let Protection::Registered(record) = std::mem::take(&mut self.protection) else {
            return Err(self.into());
        };
        let slot = record.slot;
        let mut salvaged = Salvaged { slot, fds: vec![], pieces: vec![], trays: vec![] };
        let Self { client, up, links, .. } = self;
        let mut legs = vec![client];
        salvaged.pieces.extend(up.into_pieces());
        for Link { leg, down, .. } in links {
            legs.push(leg);
            salvaged.pieces.extend(down.into_pieces());
        }
        for leg in legs {
            // Without one of them it is not the session that is on record.
            let Ok((fd, trays)) = leg.into_pieces() else { continue };
            salvaged.fds.push(fd);
            salvaged.trays.extend(trays);
        }
        Ok(salvaged)
    }

    /// It goes on as it stands, in the slot that it had. False if that is another session's.
    #[must_use]
    pub(in crate::proxy) fn take_up(&mut self, slot: Slot, standing: Standing) -> bool {
        let Standing { hot, extra, spill, secret, lanes, counted, layers } = standing;
        let legs = 1 + self.links.len();
        if [lanes.len(), counted.len(), layers.len()] != [legs; 3] {
            return false;
        }
        if self.session.resume(&hot, spill).is_none() {
            return false;
        }
        self.take_up_errand();
        self.numbering = self.numbering.map(|fresh| Numbering::of_word(extra).unwrap_or(fresh));
        let mut keys = &secret[..];
        for (at, layer) in layers.into_iter().enumerate() {
            let end = at.checked_sub(1).map_or(End::Client, End::Server);
            let leg = self.leg_at(end);
            let is_found = match layer {
                None => !leg.is_layered(),
                Some(layer) => leg.take_up(layer, &mut keys).is_some(),
            };
            if !is_found {
                return false;
            }
            leg.keep_in(slot.journal().trays());
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
        let (version, spilled) = (Some(self.session.version()), self.session.spill().1);
        let editions = self.editions();
        let record = Record { slot, version, spilled, editions, is_stale: false };
        self.protection = Protection::Registered(Box::new(record));
        true
    }

    /// Whoever uses its connections from now on says so, where the kernel does not.
    pub(in crate::proxy) fn take(&self) {
        self.all_legs().for_each(|leg| leg.stream().take());
    }

    /// It is given to somebody else as it stands: what is on record of it, which stays.
    pub(in crate::proxy) fn give(&mut self, handle: &Handle) -> Option<Slot> {
        self.all_legs().for_each(|leg| leg.stream().give());
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
            Protection::Off | Protection::Wanted(_) | Protection::Unprotected(_) => None,
        }
    }

    /// It is lost if the process dies from now on.
    pub(super) fn protect_no_more(&mut self, handle: &Handle) {
        if !matches!(self.protection, Protection::Off) {
            // Before the slot is somebody else's.
            handle.set_slot(None);
            self.protection = Protection::Off;
            self.keep_no_more();
        }
    }

    fn keep_no_more(&mut self) {
        self.lanes_mut().for_each(Lane::keep_no_more);
        self.legs_mut().for_each(Leg::keep_no_more);
    }

    /// It is on record no more, and is to be again.
    fn start_over(&mut self) {
        self.protection = match std::mem::take(&mut self.protection) {
            Protection::Off => Protection::Off,
            Protection::Registered(record) => Protection::Wanted(record.slot.journal().clone()),
            Protection::Wanted(journal) => Protection::Wanted(journal),
            Protection::Unprotected(attempt) => Protection::Wanted(attempt.journal),
        };
        self.keep_no_more();
    }

    /// Its connections are others from now on; those that it had before are still open. What was on
    /// record counts until they are.
    pub(super) fn handle_connections(&mut self, handle: &Handle) {
        let before = match std::mem::take(&mut self.protection) {
            Protection::Off => return,
            Protection::Registered(record) => record,
            it @ (Protection::Wanted(_) | Protection::Unprotected(_)) => {
                self.protection = it;
                return self.start_over();
            }
        };
        let journal = before.slot.journal().clone();
        self.register(&journal, Some(&before.slot), handle);
        drop(before);
        if let Protection::Registered(record) = &mut self.protection {
            record.slot.settle();
        }
    }

    /// Puts it on record, if it is to be and is not. What could not be may be later: places are
    /// given back, sockets come to rest.
    pub(super) fn record(&mut self, handle: &Handle) {
        let journal = match &self.protection {
            Protection::Off | Protection::Registered(_) => return,
            Protection::Unprotected(attempt) if attempt.made.elapsed() < AGAIN => return,
            Protection::Unprotected(attempt) => &attempt.journal,
            Protection::Wanted(journal) => journal,
        };
        if self.closing.is_some() {
            return;
        }
        let journal = journal.clone();
        self.register(&journal, None, handle);
    }

    /// The same before it is relayed. What cannot be now may be when it waits.
    pub(in crate::proxy) fn record_at_once(&mut self, handle: &Handle) {
        let Protection::Wanted(journal) = &self.protection else { return };
        if self.closing.is_some() {
            return;
        }
        let journal = journal.clone();
        if let Ok(slot) = self.enter(&journal, None, handle) {
            self.begin_record(slot, handle);
            self.show_protection(handle);
        }
    }

    fn register(&mut self, journal: &Arc<Journal>, before: Option<&Slot>, handle: &Handle) {
        match self.enter(journal, before, handle) {
            Ok(slot) => self.begin_record(slot, handle),
            Err(why) => {
                self.protection = Protection::in_vain(why, journal.clone());
                self.keep_no_more();
            }
        }
        self.show_protection(handle);
    }

    fn begin_record(&mut self, slot: Slot, handle: &Handle) {
        let journal = slot.journal().clone();
        let (arena, trays) = (journal.arena(), journal.trays());
        self.protection = Protection::Registered(Record::new(slot));
        self.lanes_mut().for_each(|lane| lane.keep_in(arena));
        self.legs_mut().for_each(|leg| leg.keep_in(trays));
        self.write_down(handle);
    }

    fn write_down(&mut self, handle: &Handle) {
        let written = match self.write_message() {
            true => Some(Ok(())),
            false => self.write_all(handle),
        };
        match written {
            Some(Ok(())) => {
                self.session.wipe_mark();
                self.lanes_mut().for_each(Lane::recorded);
            }
            // An arena is used up: what is here is in nobody's sight until it is gone.
            None => self.protection.suspend(),
            Some(Err(why)) => {
                self.start_over();
                if let Protection::Wanted(journal) = std::mem::take(&mut self.protection) {
                    self.protection = Protection::in_vain(why, journal);
                }
                self.show_protection(handle);
            }
        }
    }

    /// What most commits are: of a session with one server and nothing between its sockets and
    /// lanes, where only that has changed which does with each message. False if this is none.
    #[inline]
    fn write_message(&mut self) -> bool {
        let Self { client, up, links, session, protection, .. } = self;
        let (Protection::Registered(record), [Link { leg, down, .. }]) = (protection, &links[..])
        else {
            return false;
        };
        if record.is_stale || !record.slot.is_live() {
            return false;
        }
        let state = session.is_marked();
        if state && record.version != Some(session.version()) {
            return false;
        }
        let (Some(up), Some(down)) = (stretch(up), stretch(down)) else { return false };
        let counted = [client.counted(), leg.counted()];
        let state = state.then(|| session.hot_of_one());
        record.slot.commit_message([up, down], counted, state)
    }

    /// None while some of it is where nobody finds it. By itself, as it needs much of a stack.
    #[inline(never)]
    fn write_all(&mut self, handle: &Handle) -> Option<Result<(), Why>> {
        let downs = self.links.iter().map(|link| &link.down);
        let lanes: SmallVec<[Stretch; 2]> =
            std::iter::once(&self.up).chain(downs).map(stretch).collect::<Option<_>>()?;
        let counted: SmallVec<[Counted; 2]> = self.all_legs().map(Leg::counted).collect();
        let layered = self.all_legs().filter(|leg| leg.is_layered());
        let layers: SmallVec<[Layers; 2]> = layered.map(Leg::layers).collect::<Option<_>>()?;
        let written = self.write_lanes(handle, &lanes, &counted, &layers);
        if written.is_ok() && !layers.is_empty() {
            self.legs_mut().for_each(Leg::recorded);
        }
        Some(written)
    }

    fn write_lanes(
        &mut self,
        handle: &Handle,
        lanes: &[Stretch],
        counted: &[Counted],
        layers: &[Layers],
    ) -> Result<(), Why> {
        let Protection::Registered(record) = &self.protection else { return Ok(()) };
        let (mut hot, mut state, mut version) = ([0; HOT_WORDS], &[][..], record.version);
        let (spill, edition) = self.session.spill();
        let is_spilled = record.slot.has_annex() && edition != record.spilled;
        if self.session.is_marked() || version.is_none() {
            let count = self.session.hot(&mut hot).ok_or(Why::TooLarge)?;
            state = &hot[..count];
            version = Some(self.session.version());
        }
        let editions = if layers.is_empty() { 0 } else { self.editions() };
        let is_rekeyed =
            !layers.is_empty() && (record.version.is_none() || editions != record.editions);
        let secret = is_rekeyed.then(|| self.secret());
        let is_cold = version != record.version || is_rekeyed;
        let cold = match is_cold {
            true => Some(parcel::cold(self, handle).ok_or(Why::TooLarge)?),
            false => None,
        };
        let commit = Commit {
            current: self.session.conversation().current().place(),
            lanes,
            counted,
            layers,
            state,
            extra: self.numbering.map_or(0, Numbering::word),
            cold: cold.as_deref().map(|state| &state[..]),
            spill: is_spilled.then_some(spill),
            secret: secret.as_deref().map(|keys| &keys[..]),
        };
        let Self { protection: Protection::Registered(record), client, links, .. } = self else {
            return Ok(());
        };
        if record.is_stale || !record.slot.is_live() {
            // Of Unix sockets that were used by the way nobody has counted how far.
            for (at, leg) in legs(client, links).enumerate() {
                if leg.stream().is_unix() {
                    record.slot.end_use(at, leg.counted());
                }
            }
        }
        record.slot.commit(&commit)?;
        (record.version, record.spilled, record.is_stale) = (version, edition, false);
        record.editions = editions;
        Ok(())
    }

    /// How often anything between its sockets and lanes may have changed that seldom does.
    fn editions(&self) -> u64 {
        self.all_legs().map(|leg| u64::from(leg.edition())).sum()
    }

    /// The keys of its connections, in their order.
    fn secret(&self) -> Zeroizing<Vec<u8>> {
        let mut keys = Zeroizing::new(Vec::with_capacity(USUAL_KEYS));
        self.all_legs().for_each(|leg| leg.append_keys(&mut keys));
        keys
    }

    /// No byte of it is in this process, and both sides may still speak.
    pub(super) fn is_quiet(&self) -> bool {
        let is_quiet = |lane: &Lane| lane.is_empty() && lane.source() == Source::Open;
        self.closing.is_none()
            && is_quiet(&self.up)
            && self.links.iter().all(|link| is_quiet(&link.down))
    }

    fn all_legs(&self) -> impl Iterator<Item = &Leg> {
        legs(&self.client, &self.links)
    }

    fn legs_mut(&mut self) -> impl Iterator<Item = &mut Leg> {
        std::iter::once(&mut self.client).chain(self.links.iter_mut().map(|link| &mut link.leg))
    }

    fn lanes_mut(&mut self) -> impl Iterator<Item = &mut Lane> {
        std::iter::once(&mut self.up).chain(self.links.iter_mut().map(|link| &mut link.down))
    }

    fn enter(
        &self,
        journal: &Arc<Journal>,
        before: Option<&Slot>,
        handle: &Handle,
    ) -> Result<Slot, Why> {
        let mut legs: SmallVec<[_; 2]> = SmallVec::new();
        for leg in self.all_legs() {
            let (fd, counted) = (leg.stream().as_fd(), leg.counted());
            legs.push(JournalLeg { fd, counted, is_layered: leg.is_layered() });
        }
        Ok(journal.enter(handle.id.0, &legs, before)?)
    }
}

/// The client's, then its servers'.
fn legs<'a>(client: &'a Leg, links: &'a [Link]) -> impl Iterator<Item = &'a Leg> {
    std::iter::once(client).chain(links.iter().map(|link| &link.leg))
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
