//! What a dead process has left. It may have died between any two stores, so nothing is trusted:
//! not that a number is one of a socket, nor that a place is in the heap.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

use nix::libc;
use rustix::net::Shutdown;
use zeroize::Zeroizing;

use super::estate::Kept;
use super::heap::{Heap, Place};
use super::hot::{
    self, BLOBS, Blob, Counted, Hot, LAYER_WORDS, Layers, SECRET, STATE_WORDS, Shape, Stretch,
    TRAYS, Tray,
};
use super::layout::{self, Phase, SLOT, head, slot, state};
use super::standing::{Since, Stand, Use, is_still, stand};
use super::{Annex, Free, Journal, OwnWords, Slot, cookie};
use crate::buffer::arena::Piece;
use crate::lock::lock;
use crate::position::{Mark, is_unix};

/// All that was left.
#[derive(Debug, Default)]
pub struct Left {
    /// Sessions, in no order.
    pub sessions: Vec<Found>,
    /// Sessions of which nothing is on record, or whose sockets are gone.
    pub unknown: u64,
    /// Sessions in the middle of what is not put on record.
    pub unprotected: u64,
    /// What was left beside sessions.
    pub estate: Option<Zeroizing<Vec<u8>>>,
    /// Sessions that are not even tried.
    pub given_up: u64,
    /// The highest id that a session had.
    pub highest_id: u32,
}

impl Left {
    /// All sessions are closed, whatever their state.
    pub fn give_up(&mut self) {
        for found in self.sessions.drain(..) {
            // Whoever reads what is there reads the end, and not that it was thrown away.
            for fd in &found.fds {
                let _ = rustix::net::shutdown(fd, Shutdown::Write);
            }
            self.given_up += 1;
        }
    }
}

/// A session on record.
#[derive(Debug)]
pub struct Found {
    /// Its id.
    pub id: u32,
    /// Its slot, which it may go on with.
    pub slot: Slot,
    /// Its sockets.
    pub fds: Vec<OwnedFd>,
    /// Its state at the last commit: what seldom changes.
    pub cold: Vec<u8>,
    /// It was given to another process.
    pub is_given: bool,
    /// What has become of it since.
    pub standing: Result<Standing, Since>,
}

/// How a session stands.
#[derive(Debug)]
pub struct Standing {
    /// The state that changes with each message.
    pub hot: [u64; STATE_WORDS],
    /// The word beside it.
    pub extra: u64,
    /// What changes too often to be with the rest.
    pub spill: Vec<u8>,
    /// Keys.
    pub secret: Zeroizing<Vec<u8>>,
    /// Client to servers, then each server to the client.
    pub lanes: Vec<Lane>,
    /// How far each connection was used.
    pub counted: Vec<Counted>,
    /// Of each connection, if it is layered.
    pub layers: Vec<Option<Layer>>,
}

/// One direction, with what was read into it and written from it since the last commit.
#[derive(Debug)]
pub struct Lane {
    /// Its buffer, if it has bytes.
    pub piece: Option<Piece>,
    /// Where they are.
    pub stretch: Stretch,
}

/// What is between a socket and the session's bytes.
#[derive(Debug)]
pub struct Layer {
    /// Bytes, each with where they are.
    pub trays: [(Option<Piece>, Tray); TRAYS],
    /// What else there is to be known.
    pub words: [u64; LAYER_WORDS],
}

/// A slot as it was found.
struct Record {
    index: u32,
    id: u32,
    shape: Shape,
    /// Where its annex is.
    annex: Option<Place>,
    hot: Hot,
    number: u64,
    /// Where what it names is in the heap, and in that of secrets.
    places: [Option<Place>; BLOBS],
    fds: Vec<RawFd>,
    /// The slot that does not count beside this one.
    after: Option<u32>,
    is_given: bool,
}

impl Record {
    /// What of it is in the heap.
    fn taken(&self) -> impl Iterator<Item = Place> {
        let [cold, spill, _] = self.places;
        [self.annex, cold, spill].into_iter().flatten()
    }
}

/// A session's buffers by their places: of lanes, of layers.
struct Claims<'a> {
    piece: &'a mut dyn FnMut(u32) -> Option<Piece>,
    tray: &'a mut dyn FnMut(u32) -> Option<Piece>,
    /// Its connections are nobody else's.
    may_shut: bool,
}

impl Slot {
    /// Whether surely nobody has used its session's sockets since the last commit, in whatever
    /// process.
    pub fn is_still(&self, fds: &[OwnedFd]) -> bool {
        let is_unused = |fd: &OwnedFd| !is_unix(fd.as_fd()) || Mark::of(fd.as_fd()).is_unused();
        if !fds.iter().all(is_unused) {
            return false;
        }
        let Some(Record { shape, hot, .. }) = self.journal.record(self.index) else {
            return false;
        };
        let annex = self.journal.annex(self.index, shape);
        is_still(&hot, &self.journal.uses(self.index, annex, fds))
    }

    /// What is on record of its session, whose task has lost its way but not its sockets, nor its
    /// buffers, of lanes and of layers; None if that is not enough to go on with.
    pub fn revisit(
        mut self,
        fds: Vec<OwnedFd>,
        mut pieces: Vec<Piece>,
        mut trays: Vec<Piece>,
    ) -> Option<Found> {
        let Record { id, shape, hot, fds: known, .. } = self.journal.record(self.index)?;
        if !self.is_live || !fds.iter().map(|fd| fd.as_raw_fd()).eq(known) {
            return None;
        }
        let cold = self.journal.memory.read(hot.blobs[0].at, hot.blobs[0].len)?;
        let find = |pieces: &mut Vec<Piece>, place| {
            let at = pieces.iter().position(|piece| piece.place() == place)?;
            Some(pieces.swap_remove(at))
        };
        let claims = Claims {
            piece: &mut |place| find(&mut pieces, place),
            tray: &mut |place| find(&mut trays, place),
            may_shut: true,
        };
        let standing = self.journal.standing((self.index, shape), &hot, &fds, claims);
        self.is_live = standing.is_ok();
        Some(Found { id, slot: self, fds, cold, is_given: false, standing })
    }
}

impl Journal {
    /// Takes over what the writer before has left, which is dead. To be called before anything is
    /// entered; slots that cannot be understood are free from then on.
    pub fn take_over(self: &Arc<Self>) -> Left {
        let mut left = Left {
            estate: self.estate(),
            highest_id: self.memory.get(head::HIGHEST_ID).unwrap_or_default() as u32,
            ..Left::default()
        };
        // Only these pages are there; looking at others would make them.
        let used = self.memory.get(head::USED).unwrap_or_default();
        let used = u32::try_from(used).unwrap_or(u32::MAX).min(self.slots);
        let mut free = Free { given_back: Vec::new(), untouched: used };
        let mut records: HashMap<u32, Record> = HashMap::new();
        let (mut given, mut half_made) = (Vec::new(), Vec::new());
        for index in 0..used {
            let word = |at| self.memory.get(layout::slot_at(index) + at);
            match word(slot::STATE) {
                Some(state::LIVE) => match self.record(index) {
                    Some(record) => drop(records.insert(index, record)),
                    None => {
                        left.unknown += 1;
                        self.forget(index, &mut free);
                    }
                },
                Some(state::GIVEN) => given.push(index),
                state => {
                    // It was used for something that is not on record.
                    if state == Some(state::REGISTERING) {
                        half_made.extend(word(slot::ID));
                    }
                    self.forget(index, &mut free);
                }
            }
        }
        self.forget_outdated(&mut records, &mut free);
        let ids = self.add_given(&mut records, given, &mut free);
        // Whose connections are others may still have its slot of before.
        let has_another = |id: &u64| u32::try_from(*id).is_ok_and(|id| ids.contains(&id));
        left.unprotected += half_made.iter().filter(|id| !has_another(id)).count() as u64;
        let records = self.without_doubles(records, &mut left, &mut free);
        let places = records.iter().flat_map(|record| record.taken());
        let estate = self.estate_place().map(|(_, kept)| kept);
        let places = places.chain(estate.and_then(Kept::usual)).collect();
        *lock(&self.heap) =
            Heap::without(layout::heap(self.slots), layout::arena(self.slots), places);
        let secrets = records.iter().filter_map(|record| record.places[SECRET]);
        let secrets: Vec<Place> = secrets.chain(estate.and_then(Kept::secret)).collect();
        self.wipe_secrets(&secrets);
        *lock(&self.secret_heap) = Heap::without(0, layout::secrets(self.slots), secrets);
        *lock(&self.free) = free;
        for record in records {
            match self.find(record) {
                Some(found) => left.sessions.push(found),
                None => left.unknown += 1,
            }
        }
        // The rest is used again, but what is long may never be.
        self.trays.release_longer();
        left
    }

    /// Keys in other places than these are of sessions that are over, or were never on record.
    fn wipe_secrets(&self, kept: &[Place]) {
        let used = self.memory.get(head::SECRETS).unwrap_or_default();
        let used = usize::try_from(used).unwrap_or(usize::MAX).min(layout::secrets(self.slots));
        let mut kept: Vec<(usize, usize)> = kept.iter().map(|it| (it.at(), it.end())).collect();
        kept.sort_unstable();
        let mut begin = 0;
        for (at, end) in kept.into_iter().chain([(used, used)]) {
            self.secrets.wipe(begin, at.saturating_sub(begin));
            begin = begin.max(end);
        }
    }

    fn forget(&self, index: u32, free: &mut Free) {
        self.memory.word(layout::slot_at(index) + slot::STATE).store(state::FREE, layout::STORE);
        free.given_back.push(index);
    }

    /// A slot does not count whose session has another one, in which its connections are others.
    fn forget_outdated(&self, records: &mut HashMap<u32, Record>, free: &mut Free) {
        let outdated: Vec<u32> = records
            .values()
            .filter_map(|record| {
                let before = records.get(&record.after?)?;
                let is_same = before.id == record.id && before.index != record.index;
                is_same.then_some(before.index)
            })
            .collect();
        for index in outdated {
            if records.remove(&index).is_some() {
                self.forget(index, free);
            }
        }
    }

    /// Who has come back is on record twice for a moment: where it lives counts. The ids of all.
    fn add_given(
        &self,
        records: &mut HashMap<u32, Record>,
        given: Vec<u32>,
        free: &mut Free,
    ) -> HashSet<u32> {
        let mut ids: HashSet<u32> = records.values().map(|record| record.id).collect();
        for index in given {
            match self.record(index).filter(|record| ids.insert(record.id)) {
                Some(record) => drop(records.insert(index, Record { is_given: true, ..record })),
                None => self.forget(index, free),
            }
        }
        ids
    }

    /// No descriptor is two sessions', and no place: of who lives here above all.
    fn without_doubles(
        &self,
        records: HashMap<u32, Record>,
        left: &mut Left,
        free: &mut Free,
    ) -> Vec<Record> {
        let (mut fds, mut places) = (HashSet::new(), HashSet::new());
        let mut sorted: Vec<Record> = records.into_values().collect();
        sorted.sort_unstable_by_key(|record| (record.is_given, record.index));
        sorted.retain(|record| {
            let is_own = record.fds.iter().all(|fd| fds.insert(*fd))
                && record.taken().all(|place| places.insert(place.at()));
            if !is_own {
                left.unknown += 1;
                self.forget(record.index, free);
            }
            is_own
        });
        sorted
    }

    /// The words of a slot, and of an annex there.
    fn words(&self, index: u32, annex: Option<Place>) -> impl Fn(usize) -> Option<u64> {
        let annex = annex.map(|place| place.at() / size_of::<u64>());
        move |at: usize| match at.checked_sub(SLOT) {
            None => self.memory.get(layout::slot_at(index) + at),
            Some(at) => self.memory.get(annex?.checked_add(at)?),
        }
    }

    fn record(&self, index: u32) -> Option<Record> {
        let own = self.words(index, None);
        let (shape, annex) = Shape::of(own(slot::SHAPE)?)?;
        let annex = match shape.annex() * size_of::<u64>() {
            0 => None,
            len => Some(self.place(Blob { at: annex, len }).flatten()?),
        };
        let word = self.words(index, annex);
        let (number, hot) = Hot::newest(shape, &word)?;
        let [cold, spill, secret] = hot.blobs;
        let places = [self.place(cold)?, self.place(spill)?, self.secret_place(secret)?];
        let fd = |leg| RawFd::try_from(word(hot::fd_at(leg))?).ok();
        let fds = (0..shape.legs()).map(fd).collect::<Option<Vec<_>>>()?;
        let id = u32::try_from(word(slot::ID)?).ok()?;
        let after = word(slot::AFTER)?.checked_sub(1).and_then(|it| u32::try_from(it).ok());
        Some(Record { index, id, shape, annex, hot, number, places, fds, after, is_given: false })
    }

    /// Where in the heap a blob is, if it is one; None if it is nowhere.
    pub(super) fn place(&self, blob: Blob) -> Option<Option<Place>> {
        place_within(blob, layout::heap(self.slots), layout::arena(self.slots))
    }

    /// The same of secrets.
    pub(super) fn secret_place(&self, blob: Blob) -> Option<Option<Place>> {
        place_within(blob, 0, layout::secrets(self.slots))
    }

    /// The session of a record; None if one of its sockets is not there any more.
    fn find(self: &Arc<Self>, record: Record) -> Option<Found> {
        let Record { index, id, shape, annex, hot, number, places, fds, is_given, .. } = record;
        let [cold_place, spill, secret] = places;
        let mut slot = Slot {
            journal: self.clone(),
            index,
            shape,
            words: OwnWords {
                slot: self.memory.words(layout::slot_at(index)),
                annex: match annex {
                    None => &[],
                    Some(at) => self.memory.slice(at.at() / size_of::<u64>(), shape.annex()),
                },
            },
            number,
            cold: cold_place,
            annex: annex.map(|place| Box::new(Annex { place, spill, secret })),
            is_live: true,
        };
        let word = self.words(index, annex);
        for (leg, fd) in fds.iter().enumerate() {
            // SAFETY: whatever it is, it stays open meanwhile: nobody else runs yet.
            let borrowed = unsafe { BorrowedFd::borrow_raw(*fd) };
            if !is_open(*fd) || cookie(borrowed) != word(hot::cookie_at(leg)) {
                return None;
            }
        }
        // SAFETY: it is the socket that is on record, which nobody else owns: the process that did
        // is dead, and no two slots have the same.
        let own = |fd: RawFd| unsafe { OwnedFd::from_raw_fd(fd) };
        let fds: Vec<OwnedFd> = fds.into_iter().map(own).collect();
        let cold = self.memory.read(hot.blobs[0].at, hot.blobs[0].len)?;
        let claims = Claims {
            piece: &mut |place| self.arena.claim(place),
            tray: &mut |place| self.trays.claim(place),
            may_shut: !is_given,
        };
        let standing = self.standing((index, shape), &hot, &fds, claims);
        slot.is_live = standing.is_ok() && !is_given;
        slot.settle();
        Some(Found { id, slot, fds, cold, is_given, standing })
    }

    /// What has become of a session since a commit.
    fn standing(
        &self,
        (index, shape): (u32, Shape),
        hot: &Hot,
        fds: &[OwnedFd],
        claims: Claims<'_>,
    ) -> Result<Standing, Since> {
        let annex = self.annex(index, shape);
        let word = self.words(index, annex);
        let word = |at| word(at).unwrap_or(u64::MAX);
        let fills: Vec<u64> = (0..shape.legs()).map(|leg| word(hot::fill_at(leg))).collect();
        let uses = self.uses(index, annex, fds);
        let Stand { lanes, counted, layers, broken } = stand(hot, &fills, &uses)?;
        let broken = fds.iter().zip(broken).filter(|(_, is_broken)| *is_broken && claims.may_shut);
        for (fd, _) in broken {
            // What comes of it now is meant for nobody.
            let _ = rustix::net::shutdown(fd, Shutdown::Both);
        }
        let Claims { piece, tray, may_shut: _ } = claims;
        let lane = |stretch: Stretch| -> Result<Lane, Since> {
            Ok(Lane { piece: claimed(stretch.place, &mut *piece)?, stretch })
        };
        let lanes = lanes.into_iter().map(lane).collect::<Result<_, Since>>()?;
        let mut layer = |Layers { trays, words }: Layers| -> Result<Layer, Since> {
            let mut found = trays.map(|tray| (None, tray));
            for (piece, stretch) in &mut found {
                *piece = claimed(stretch.place, &mut *tray)?;
            }
            Ok(Layer { trays: found, words })
        };
        let layers = layers.into_iter().map(|it| it.map(&mut layer).transpose());
        let layers = layers.collect::<Result<_, Since>>()?;
        let [_, spill, secret] = hot.blobs;
        let spill = self.memory.read(spill.at, spill.len).ok_or(Since::Impossible)?;
        let secret = self.secrets.read(secret.at, secret.len).ok_or(Since::Impossible)?;
        let secret = Zeroizing::new(secret);
        Ok(Standing { hot: hot.state, extra: hot.extra, spill, secret, lanes, counted, layers })
    }

    /// How far each connection was used since we began to count.
    fn uses(&self, index: u32, annex: Option<Place>, fds: &[OwnedFd]) -> Vec<Result<Use, Since>> {
        let word = self.words(index, annex);
        let word = |at| word(at).unwrap_or(u64::MAX);
        let used = |(leg, fd): (usize, &OwnedFd)| {
            let bases = hot::bases_at(leg);
            Use::of(fd.as_fd(), [word(bases), word(bases + 1)])
        };
        fds.iter().enumerate().map(used).collect()
    }

    /// Where the annex of a slot is, if it has one.
    fn annex(&self, index: u32, shape: Shape) -> Option<Place> {
        let shape_word = self.memory.get(layout::slot_at(index) + slot::SHAPE)?;
        let (_, at) = Shape::of(shape_word)?;
        self.place(Blob { at, len: shape.annex() * size_of::<u64>() }).flatten()
    }

    /// Where the process stands, or stood, that writes.
    pub fn phase(&self) -> Phase {
        Phase::of(self.memory.get(head::PHASE).unwrap_or_default())
    }

    /// Closes every descriptor that belongs to no session on record and is none of these: what the
    /// dead process has left open. Those of them that are open, in their order.
    ///
    /// # Errors
    ///
    /// What is open cannot be told.
    pub fn sweep(&self, left: &Left, keep: &[RawFd]) -> std::io::Result<Vec<Option<OwnedFd>>> {
        let mut open = HashSet::new();
        for entry in std::fs::read_dir("/proc/self/fd")? {
            open.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
        }
        let of_sessions = left.sessions.iter().flat_map(|found| &found.fds);
        let own = [0, 1, 2, self.memory.fd(), self.secrets.fd()];
        for fd in of_sessions.map(|fd| fd.as_raw_fd()).chain(own) {
            open.remove(&fd);
        }
        // SAFETY: who owned it is dead, it is no session's, and each is taken once.
        let own = |fd: &RawFd| open.remove(fd).then(|| unsafe { OwnedFd::from_raw_fd(*fd) });
        let kept = keep.iter().map(own).collect();
        for fd in open {
            // SAFETY: who owned it is dead; the one that listed them is closed already, and the
            // kernel then says so.
            unsafe { libc::close(fd) };
        }
        Ok(kept)
    }
}

/// Where a blob is, between these two; there is none of no length.
fn place_within(Blob { at, len }: Blob, begin: usize, end: usize) -> Option<Option<Place>> {
    if len == 0 {
        return Some(None);
    }
    let is_inside = at >= begin && at.checked_add(len)? <= end;
    Place::of(at, len).filter(|place| is_inside && at + place.len() <= end).map(Some)
}

/// A buffer by its place, if there is one.
fn claimed(
    place: Option<u32>,
    claim: &mut dyn FnMut(u32) -> Option<Piece>,
) -> Result<Option<Piece>, Since> {
    match place {
        None => Ok(None),
        Some(place) => claim(place).map(Some).ok_or(Since::Impossible),
    }
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: it only asks.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}
