//! What is known of every session, in memory that outlives the process that carries them.
//!
//! The kernel keeps the write-ahead log: it counts for each TCP socket, beyond any process, what
//! was read and what was written (`position`). So only our own transitions are
//! written down: which state of a session belongs to which positions.
//!
//! ```text
//!   FREE ─ enter ─► REGISTERING ─ first commit ─► LIVE ─ dropped ─► FREE
//!                                                 │  ▲ └ give ─► GIVEN ─ dropped ─► FREE
//!                                                 └──┘ commit: the older of two copies, then its
//!                                                      number; whoever is killed in between has
//!                                                      left the newer one as it was
//! ```
//!
//! Three rules. *State before effect*: nothing is written to a socket before the commit of the
//! state that made those bytes. *Nothing is destroyed that a commit names*: what it points at is
//! written over only once another commit does not. *A place is on record before the kernel may fill
//! it*: the piece of the arena that is read into, by a commit or by [`Slot::fill`].
//!
//! With these, at any instant the last commit and what the kernel has counted are the whole truth:
//!
//! ```text
//!   read since    = consumed(from) − base − counted     bytes stand behind the lane's end
//!   written since = produced(to)   − base − counted     bytes are gone from the lane's start
//! ```
//! Where something is between socket and lane, as TLS, it is the tray next to the socket that is
//! read into and written from; what goes from there to the lane and back is told by commits only.
//!
//! - `layout`: which word stands where; `hot`: those of a session. - `mapping`: the memory. -
//!   `heap`: places for states.
//! - `reader`: what a dead process has left; it trusts nothing. - `standing`: what has become of a
//!   session since its last commit.
//! - `suspects`: which session a process has died of; `deaths`: how those died that have. - `tie`:
//!   the other process of a restart. - `estate`: what is left beside sessions.
//!
//! Invariant: one process writes; who reads comes after its death. It knows nothing of MySQL.

mod deaths;
mod estate;
mod heap;
mod hot;
mod layout;
mod mapping;
mod reader;
mod standing;
mod suspects;
#[cfg(test)]
mod tests;
mod tie;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub use deaths::{Death, Deaths, Lost};
use heap::{Heap, Place};
use hot::{BLOBS, Blob, OWN_STATE, Own, SECRET, Said, Shape, Words};
pub use hot::{Counted, LAYER_WORDS, LEGS, Layers, STATE_WORDS, Stretch, TRAYS, Tray};
use layout::{OWN_LEGS, SLOT, head, slot, state};
pub use layout::{Phase, WORKERS};
use mapping::Mapping;
pub use reader::{Found, Lane, Layer, Left, Standing};
pub use standing::Since;
pub use suspects::{Blame, Origin, Served, Serving, Strikes};
pub use tie::{Part, Tie};

use crate::buffer::arena::{Arena, Kind};
use crate::lock::lock;
use crate::position::{Position, is_unix};

/// The journal of a pair of processes.
#[derive(Debug)]
pub struct Journal {
    memory: Mapping,
    /// For keys, and the estate.
    secrets: Mapping,
    /// Why others might see them there.
    exposure: Option<io::Error>,
    arena: &'static Arena,
    trays: &'static Arena,
    slots: u32,
    heap: Mutex<Heap>,
    secret_heap: Mutex<Heap>,
    free: Mutex<Free>,
    /// The other process is gone.
    is_alone: AtomicBool,
}

/// Slots that are nobody's.
#[derive(Debug, Default)]
struct Free {
    given_back: Vec<u32>,
    /// From here on none was ever used.
    untouched: u32,
}

/// Why a session is not in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unregistered {
    /// All slots are taken.
    Full,
    /// It is not to be known how far one of its sockets was used: it is no TCP or Unix socket, or
    /// never at rest.
    Uncounted,
    /// It has more connections than a slot has room for.
    TooManyLegs,
    /// What is known of it has no place.
    TooLarge,
}

/// A connection that is to be on record.
#[derive(Clone, Copy, Debug)]
pub struct Leg<'a> {
    /// Its socket.
    pub fd: BorrowedFd<'a>,
    /// How far that was used.
    pub counted: Counted,
    /// There is something between it and the session's bytes.
    pub is_layered: bool,
}

/// A session's place in the journal. Dropped, it is nobody's.
#[derive(Debug)]
pub struct Slot {
    journal: Arc<Journal>,
    index: u32,
    shape: Shape,
    words: OwnWords,
    /// Of the last commit.
    number: u64,
    cold: Option<Place>,
    annex: Option<Box<Annex>>,
    /// The last commit is how it stands, with what the kernel has counted since.
    is_live: bool,
}

/// A slot's words, and those of its annex.
#[derive(Clone, Copy, Debug)]
struct OwnWords {
    slot: &'static [AtomicU64; SLOT],
    annex: &'static [AtomicU64],
}

/// What only some sessions have.
#[derive(Debug)]
struct Annex {
    place: Place,
    spill: Option<Place>,
    secret: Option<Place>,
}

/// What is committed of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Commit<'a> {
    /// Which of its servers is spoken with, from 0 on.
    pub current: usize,
    /// Client to servers, then each server to the client: as many as it has connections.
    pub lanes: &'a [Stretch],
    /// How far each connection was used.
    pub counted: &'a [Counted],
    /// Of each connection that is layered.
    pub layers: &'a [Layers],
    /// The state that changes with each message, or nothing if it is what it was.
    pub state: &'a [u64],
    /// A word of a session with an annex.
    pub extra: u64,
    /// The rest of it, if that is not what it was; at first it is to be there.
    pub cold: Option<&'a [u8]>,
    /// Of a session with an annex: what changes too often to be with the rest, if it has changed.
    pub spill: Option<&'a [u8]>,
    /// Of the same: keys, if they are others than before.
    pub secret: Option<&'a [u8]>,
}

impl Journal {
    /// Memory for so many sessions at most; it takes what is used of it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(sessions: u32) -> io::Result<Self> {
        let memory = Mapping::new(layout::size(sessions))?;
        let (secrets, exposure) = Mapping::secret(layout::secrets(sessions))?;
        Ok(Self { exposure, ..Self::over(memory, secrets, sessions) })
    }

    fn over(memory: Mapping, secrets: Mapping, sessions: u32) -> Self {
        let heap = Heap::new(layout::heap(sessions), layout::arena(sessions));
        let pieces = layout::pieces(sessions);
        let lasting = |arena| &*Box::leak(Box::new(arena));
        let arena = memory.arena(layout::arena(sessions), Kind::Buffers, pieces);
        let trays = memory.arena(layout::trays(sessions), Kind::Trays, pieces);
        let long = layout::long_pieces(sessions);
        let long = memory.arena(layout::long(sessions), Kind::Long, long);
        Self {
            arena: lasting(arena),
            trays: lasting(trays.with_longer(lasting(long))),
            memory,
            secrets,
            exposure: None,
            slots: sessions,
            heap: Mutex::new(heap),
            secret_heap: Mutex::new(Heap::new(0, layout::secrets(sessions))),
            free: Mutex::default(),
            is_alone: AtomicBool::new(false),
        }
    }

    /// Where bytes in transit are to be.
    pub fn arena(&self) -> &'static Arena {
        self.arena
    }

    /// Why keys are in memory as any other, if they are.
    pub fn exposure(&self) -> Option<&io::Error> {
        self.exposure.as_ref()
    }

    /// Where layers are to have theirs.
    pub fn trays(&self) -> &'static Arena {
        self.trays
    }

    /// Where the process stands that writes.
    pub fn set_phase(&self, phase: Phase) {
        self.memory.word(head::PHASE).store(phase as u64, layout::STORE);
    }

    /// There is nobody any more who would start another process.
    pub fn set_alone(&self) {
        self.is_alone.store(true, Ordering::Relaxed);
    }

    /// Whether somebody would start another process after this one's death.
    pub fn has_keeper(&self) -> bool {
        !self.is_alone.load(Ordering::Relaxed)
    }

    fn write_secret(&self, place: Place, bytes: &[u8]) {
        // First: whoever finds them in a place that no record names knows of the place.
        self.memory.word(head::SECRETS).fetch_max(place.end() as u64, layout::STORE);
        self.secrets.write(place.at(), bytes);
    }

    fn give_back_secret(&self, place: Place) {
        self.secrets.wipe(place.at(), place.len());
        lock(&self.secret_heap).give_back(place);
    }

    /// What was there may be secret.
    fn give_back(&self, place: Place) {
        self.memory.wipe(place.at(), place.len());
        lock(&self.heap).give_back(place);
    }

    /// A slot for a session with these connections. It counts from its first commit on, from when
    /// the one that it had before does not.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn enter(
        self: &Arc<Self>,
        id: u32,
        legs: &[Leg<'_>],
        before: Option<&Slot>,
    ) -> Result<Slot, Unregistered> {
        let count = u8::try_from(legs.len()).map_err(|_| Unregistered::TooManyLegs)?;
        if !(OWN_LEGS..=LEGS).contains(&legs.len()) {
            return Err(Unregistered::TooManyLegs);
        }
        let is_layered = |(at, leg): (usize, &Leg<'_>)| u8::from(leg.is_layered) << at;
        let layered = legs.iter().enumerate().map(is_layered).sum();
        let shape = Shape { count, layered };
        let index = self.take_slot().ok_or(Unregistered::Full)?;
        let mut slot = Slot {
            journal: self.clone(),
            index,
            shape,
            words: OwnWords { slot: self.memory.words(layout::slot_at(index)), annex: &[] },
            number: 0,
            cold: None,
            annex: None,
            is_live: false,
        };
        // First: whoever finds it half made is to know whose it would have been.
        slot.set(slot::ID, u64::from(id));
        slot.set(slot::STATE, state::REGISTERING);
        let annex = slot.make_annex()?;
        slot.set(slot::SHAPE, shape.word(annex));
        let strikes = before.map_or(0, |before| before.words.get(slot::STRIKES));
        slot.set(slot::STRIKES, strikes);
        slot.set(slot::AFTER, before.map_or(0, |before| u64::from(before.index) + 1));
        for (at, Leg { fd, counted, .. }) in legs.iter().enumerate() {
            slot.set(hot::fd_at(at), fd.as_raw_fd() as u64);
            slot.set(hot::cookie_at(at), cookie(*fd).ok_or(Unregistered::Uncounted)?);
            match Position::of(*fd) {
                Some(position) => {
                    let bases = hot::bases_at(at);
                    slot.set(bases, position.consumed().wrapping_sub(counted.read));
                    slot.set(bases + 1, position.produced().wrapping_sub(counted.written));
                }
                None if is_unix(*fd) => slot.end_use(at, *counted),
                None => return Err(Unregistered::Uncounted),
            }
            // The one before may have left something there.
            slot.set(hot::fill_at(at), u64::MAX);
        }
        hot::forget(&mut slot.words);
        self.memory.word(head::HIGHEST_ID).fetch_max(u64::from(id), layout::STORE);
        Ok(slot)
    }

    /// Whether the last commit of this session is how it stands, as whoever came after it would
    /// find it in this slot.
    pub fn is_live(&self, index: u32, id: u32) -> bool {
        let word = |at| self.memory.get(layout::slot_at(index) + at);
        word(slot::STATE) == Some(state::LIVE) && word(slot::ID) == Some(u64::from(id))
    }

    fn take_slot(&self) -> Option<u32> {
        let mut free = lock(&self.free);
        if let Some(index) = free.given_back.pop() {
            return Some(index);
        }
        let index = free.untouched;
        (index < self.slots).then(|| {
            free.untouched += 1;
            self.memory.word(head::USED).store(u64::from(free.untouched), layout::STORE);
            index
        })
    }
}

impl Slot {
    /// A place for what has none in the slot, all zeroes: where it begins.
    fn make_annex(&mut self) -> Result<usize, Unregistered> {
        let words = self.shape.annex();
        if words == 0 {
            return Ok(0);
        }
        let place = lock(&self.journal.heap).take(words * size_of::<u64>());
        let place = place.ok_or(Unregistered::TooLarge)?;
        self.journal.memory.wipe(place.at(), place.len());
        self.words.annex = self.journal.memory.slice(place.at() / size_of::<u64>(), words);
        self.annex = Some(Box::new(Annex { place, spill: None, secret: None }));
        Ok(place.at())
    }

    /// From now on this is how the session stands, and its sockets have been used so far.
    ///
    /// # Errors
    ///
    /// There is no place for it: the slot is to be given up, as what stands there is old.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<(), Unregistered> {
        let Commit { current, lanes, counted, layers, state, extra, .. } = *commit;
        let mut said = Said { current, lanes, counted, state, extra, layers, blobs: [None; BLOBS] };
        if !said.fits(self.shape) {
            return Err(Unregistered::TooManyLegs);
        }
        let fresh = match commit.cold.or(commit.spill).or(commit.secret) {
            None => [None; BLOBS],
            Some(_) => self.write_blobs(commit, &mut said.blobs)?,
        };
        let number = self.number + 1;
        hot::store(self.shape, number, &said, &mut self.words);
        self.completed(number);
        if said.blobs.iter().any(Option::is_some) {
            self.give_back_blobs(said.blobs, fresh);
        }
        Ok(())
    }

    /// The same of a session with one server and nothing between its sockets and bytes, of which
    /// only this has changed, as it does with each message; the state, if that has. False if it is
    /// no such session.
    #[inline]
    pub fn commit_message(
        &mut self,
        lanes: [Stretch; OWN_LEGS],
        counted: [Counted; OWN_LEGS],
        state: Option<[u64; OWN_STATE]>,
    ) -> bool {
        if self.shape != Shape::PLAIN_PAIR || self.number == 0 {
            return false;
        }
        let number = self.number + 1;
        let own = Own { current: 0, lanes, counted, state, cold: None };
        hot::store_own(number, &own, &mut self.words);
        self.completed(number);
        true
    }

    /// This commit is the last one.
    #[inline]
    fn completed(&mut self, number: u64) {
        self.number = number;
        if !self.is_live {
            self.set(slot::STATE, state::LIVE);
            self.is_live = true;
        }
    }

    /// The slot that its session had before is given up.
    pub fn settle(&mut self) {
        self.set(slot::AFTER, 0);
    }

    /// What happens from now on is not on record, until the next commit.
    pub fn suspend(&mut self) {
        if self.is_live {
            self.set(slot::STATE, state::REGISTERING);
            self.is_live = false;
        }
    }

    /// Whether the last commit is how it stands, with what the kernel has counted since.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.is_live
    }

    /// From now on a lane, or a layer, that is empty is read into this piece of its arena.
    #[inline]
    pub fn fill(&mut self, leg: usize, place: u32) {
        let (at, place) = (hot::fill_at(leg), u64::from(place));
        if self.words.get(at) != place {
            self.words.put(at, place);
        }
    }

    /// A Unix socket, of whose use the kernel counts nothing, is about to be read or written:
    /// whoever finds it so cannot know how far.
    #[inline]
    pub fn begin_use(&mut self, leg: usize) {
        let at = hot::bases_at(leg);
        self.words.put(at, self.words.get(at) | layout::IN_USE);
    }

    /// It was, so far in all.
    #[inline]
    pub fn end_use(&mut self, leg: usize, counted: Counted) {
        let at = hot::bases_at(leg);
        self.words.put(at + 1, counted.written);
        self.words.put(at, counted.read & !layout::IN_USE);
    }

    /// Which one it is.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Where it is.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Whether there is room for what only some sessions have.
    pub fn has_annex(&self) -> bool {
        self.annex.is_some()
    }

    fn set(&mut self, at: usize, value: u64) {
        self.words.put(at, value);
    }

    /// Puts what has no fixed size where nothing is that the last commit names; nothing is no blob.
    fn write_blobs(
        &self,
        commit: &Commit<'_>,
        blobs: &mut [Option<Blob>; BLOBS],
    ) -> Result<[Option<Place>; BLOBS], Unregistered> {
        let Journal { memory, heap, secret_heap, .. } = &*self.journal;
        let all = [commit.cold, commit.spill, commit.secret];
        let from = [heap, heap, secret_heap];
        let mut fresh = [None; BLOBS];
        for (at, (bytes, heap)) in all.into_iter().zip(from).enumerate() {
            let Some(bytes) = bytes else { continue };
            blobs[at] = Some(Blob::default());
            if bytes.is_empty() {
                continue;
            }
            let place = lock(heap).take(bytes.len());
            let Some(place) = place else {
                self.give_back(fresh);
                return Err(Unregistered::TooLarge);
            };
            match at {
                SECRET => self.journal.write_secret(place, bytes),
                _ => memory.write(place.at(), bytes),
            }
            (fresh[at], blobs[at]) = (Some(place), Some(Blob { at: place.at(), len: bytes.len() }));
        }
        Ok(fresh)
    }

    /// Those that the last commit does not name any more; it names these.
    fn give_back_blobs(
        &mut self,
        named: [Option<Blob>; BLOBS],
        [cold, spill, secret]: [Option<Place>; BLOBS],
    ) {
        let mut old = [None; BLOBS];
        if named[0].is_some() {
            old[0] = std::mem::replace(&mut self.cold, cold);
        }
        if let Some(annex) = &mut self.annex {
            let own = [(&mut annex.spill, spill), (&mut annex.secret, secret)];
            for (at, (own, fresh)) in (1..).zip(own) {
                if named[at].is_some() {
                    old[at] = std::mem::replace(own, fresh);
                }
            }
        }
        self.give_back(old);
    }

    fn give_back(&self, [cold, spill, secret]: [Option<Place>; BLOBS]) {
        let usual = [cold, spill].into_iter().flatten();
        usual.for_each(|place| self.journal.give_back(place));
        secret.into_iter().for_each(|place| self.journal.give_back_secret(place));
    }
}

impl Words for OwnWords {
    #[inline]
    fn get(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Relaxed)
    }

    #[inline]
    fn put(&mut self, at: usize, value: u64) {
        self.word(at).store(value, layout::STORE);
    }

    #[inline]
    fn put_all<const N: usize>(&mut self, at: usize, values: [u64; N]) {
        let words = self.slot.get(at..).and_then(|words| words.first_chunk::<N>());
        let words = words.expect("words of a slot");
        for (word, value) in words.iter().zip(values) {
            word.store(value, layout::STORE);
        }
    }
}

impl OwnWords {
    #[inline]
    fn word(&self, at: usize) -> &'static AtomicU64 {
        match at.checked_sub(SLOT) {
            None => &self.slot[at],
            Some(at) => &self.annex[at],
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First of all: from here on nobody takes the session up again.
        self.set(slot::STATE, state::FREE);
        let (spill, secret) = match self.annex.take() {
            None => (None, None),
            Some(annex) => {
                self.journal.give_back(annex.place);
                (annex.spill, annex.secret)
            }
        };
        let cold = self.cold.take();
        self.give_back([cold, spill, secret]);
        lock(&self.journal.free).given_back.push(self.index);
    }
}

/// What the kernel calls a socket, and no other one.
fn cookie(fd: BorrowedFd<'_>) -> Option<u64> {
    rustix::net::sockopt::socket_cookie(fd).ok()
}
