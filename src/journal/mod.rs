//! What is known of every session, in memory that outlives the process that carries them.
//!
//! The kernel keeps the write-ahead log: it counts for each TCP socket, beyond any process, what
//! was read and what was written (`position`). So only our own transitions are
//! written down: which state of a session belongs to which positions.
//!
//! ```text
//!   FREE ─ enter ─► REGISTERING ─ first commit ─► LIVE ─ dropped ─► FREE
//!                                                 │  ▲
//!                                                 └──┘ commit: the older of two copies, then its
//!                                                      number; whoever is killed in between has
//!                                                      left the newer one as it was
//! ```
//!
//! Three rules. *State before effect*: nothing is written to a socket before the commit of the
//! state that made those bytes. *Nothing is destroyed that a commit names*: what it points at is
//! written over only once another commit does not. *A place is on record before the kernel may fill
//! it*. As long as bytes in transit are not in here, all three come to one: a commit is made where
//! there are none, and a session whose sockets have moved since is not taken up again.
//!
//! - `layout`: which word stands where. - `mapping`: the memory. - `heap`: places for states.
//! - `reader`: what a dead process has left; it trusts nothing.
//! - `suspects`: which session a process has died of.
//!
//! Invariant: one process writes; who reads comes after its death. It knows nothing of MySQL.

mod heap;
mod layout;
mod mapping;
mod reader;
mod suspects;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heap::{Heap, Place};
use layout::{Copies, Hot, LEGS, head, slot, state};
pub use layout::{Counted, Death, Deaths, Lost, Phase, SUSPECTS, WORKERS};
use mapping::Mapping;
pub use reader::{Found, Left, Since};
pub use suspects::{Blame, Origin, Served, Serving, Strikes};

use crate::position::Position;

/// The journal of a pair of processes.
#[derive(Debug)]
pub struct Journal {
    memory: Mapping,
    slots: u32,
    heap: Mutex<Heap>,
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
    /// One of its sockets does not tell how far it was used.
    Uncounted,
    /// It has more connections than a slot has room for.
    TooManyLegs,
    /// What is known of it has no place.
    TooLarge,
}

/// A session's place in the journal. Dropped, it is nobody's.
#[derive(Debug)]
pub struct Slot {
    journal: Arc<Journal>,
    index: u32,
    /// Of the last commit.
    number: u64,
    counted: [Counted; LEGS],
    places: Copies<Option<Place>>,
}

impl Journal {
    /// Memory for so many sessions at most; it takes what is used of it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(sessions: u32) -> io::Result<Self> {
        let memory = Mapping::new(layout::size(sessions))?;
        let heap = Heap::new(layout::heap(sessions), memory.len());
        Ok(Self {
            memory,
            slots: sessions,
            heap: Mutex::new(heap),
            free: Mutex::default(),
            is_alone: AtomicBool::new(false),
        })
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

    /// What is left to whoever comes after this process, beside sessions. What does not fit is not
    /// left.
    pub fn set_estate(&self, estate: &[u8]) {
        let before = self.current(head::ESTATES);
        let place = lock(&self.heap).take(estate.len());
        let Some(place) = place else { return };
        self.memory.write(place.at(), estate);
        let number = before.map_or(0, |(number, _)| number).wrapping_add(1);
        let copy = layout::older(number);
        for (at, value) in layout::estate(copy, number, place.at(), estate.len()) {
            self.memory.word(at).store(value, layout::STORE);
        }
        if let Some((_, before)) = before {
            self.give_back(before);
        }
    }

    /// What was there may be secret.
    fn give_back(&self, place: Place) {
        self.memory.wipe(place.at(), place.len());
        lock(&self.heap).give_back(place);
    }

    /// The last estate: its number and where it is.
    fn current(&self, copies: Copies<usize>) -> Option<(u64, Place)> {
        let (number, at, len) = layout::newest(copies, |at| self.memory.get(at))?;
        Some((number, Place::of(at, len)?))
    }

    /// A slot for a session with these sockets, which have been used so far.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn enter(
        self: &Arc<Self>,
        id: u32,
        legs: &[(BorrowedFd<'_>, Counted)],
    ) -> Result<Slot, Unregistered> {
        if legs.len() > LEGS {
            return Err(Unregistered::TooManyLegs);
        }
        let index = self.take_slot().ok_or(Unregistered::Full)?;
        let mut slot = Slot {
            journal: self.clone(),
            index,
            number: 0,
            counted: [Counted::default(); LEGS],
            places: Copies::default(),
        };
        slot.set(slot::STATE, state::REGISTERING);
        slot.set(slot::ID, u64::from(id));
        slot.set(slot::COUNT, legs.len() as u64);
        slot.set(slot::STRIKES, 0);
        for (leg, (fd, counted)) in legs.iter().enumerate() {
            let (position, cookie) =
                Position::of(*fd).zip(cookie(*fd)).ok_or(Unregistered::Uncounted)?;
            slot.set(slot::FDS + leg, fd.as_raw_fd() as u64);
            slot.set(slot::COOKIES + leg, cookie);
            slot.set(slot::BASES + 2 * leg, position.consumed().wrapping_sub(counted.read));
            slot.set(slot::BASES + 2 * leg + 1, position.produced().wrapping_sub(counted.written));
            slot.counted[leg] = *counted;
        }
        for copy in slot::HOTS {
            slot.set(copy + layout::HOT_FIRST, 0);
            slot.set(copy + layout::HOT_LAST, 0);
        }
        self.memory.word(head::HIGHEST_ID).fetch_max(u64::from(id), layout::STORE);
        Ok(slot)
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
    /// From now on this is the session's state, and its sockets have been used so far.
    ///
    /// # Errors
    ///
    /// There is no place for the state: the slot is to be given up, as what stands there is old.
    pub fn commit(&mut self, state: &[u8], legs: &[Counted]) -> Result<(), Unregistered> {
        let number = self.number + 1;
        let copy = layout::older(number);
        let place = self.place(copy, state.len()).ok_or(Unregistered::TooLarge)?;
        self.journal.memory.write(place.at(), state);
        self.counted[..legs.len().min(LEGS)].copy_from_slice(&legs[..legs.len().min(LEGS)]);
        let hot = Hot { counted: self.counted, at: place.at(), len: state.len() };
        for (at, value) in hot.stores(copy, number) {
            self.set(at, value);
        }
        self.number = number;
        if number == 1 {
            self.set(slot::STATE, state::LIVE);
        }
        Ok(())
    }

    /// Whether nothing was read or written since the last commit.
    pub fn is_at(&self, legs: &[Counted]) -> bool {
        self.number > 0 && self.counted.starts_with(legs)
    }

    /// Which one it is.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Where it is.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// How far its sockets were used at the last commit.
    pub fn counted(&self) -> &[Counted; LEGS] {
        &self.counted
    }

    /// Where this copy of the state is to be.
    fn place(&mut self, copy: usize, len: usize) -> Option<Place> {
        if let Some(place) = self.places[copy] {
            if place.fits(len) {
                return Some(place);
            }
            self.places[copy] = None;
            self.journal.give_back(place);
        }
        self.places[copy] = lock(&self.journal.heap).take(len);
        self.places[copy]
    }

    fn set(&self, at: usize, value: u64) {
        self.journal.memory.word(layout::slot_at(self.index) + at).store(value, layout::STORE);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First of all: from here on nobody takes the session up again.
        self.set(slot::STATE, state::FREE);
        self.places.iter().flatten().for_each(|place| self.journal.give_back(*place));
        lock(&self.journal.free).given_back.push(self.index);
    }
}

/// What the kernel calls a socket, and no other one.
fn cookie(fd: BorrowedFd<'_>) -> Option<u64> {
    rustix::net::sockopt::socket_cookie(fd).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
