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
//!
//! - `layout`: which word stands where. - `mapping`: the memory. - `heap`: places for states.
//! - `reader`: what a dead process has left; it trusts nothing. - `standing`: what has become of a
//!   session since its last commit.
//! - `suspects`: which session a process has died of. - `tie`: the other process of a restart.
//!
//! Invariant: one process writes; who reads comes after its death. It knows nothing of MySQL.

mod heap;
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heap::{Heap, Place};
use layout::{Copies, Hot, LEGS, SLOT, head, slot, state};
pub use layout::{Counted, Death, Deaths, Lost, Phase, STATE_WORDS, SUSPECTS, Stretch, WORKERS};
use mapping::Mapping;
pub use reader::{Found, Lane, Left, Standing};
pub use standing::Since;
pub use suspects::{Blame, Origin, Served, Serving, Strikes};
pub use tie::{Part, Tie};

use crate::buffer::arena::Arena;
use crate::position::Position;

/// The journal of a pair of processes.
#[derive(Debug)]
pub struct Journal {
    memory: Mapping,
    arena: &'static Arena,
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
    words: &'static [AtomicU64; SLOT],
    /// Of the last commit.
    number: u64,
    /// What it says.
    hot: Hot,
    /// Words of its state.
    used: usize,
    cold: Option<Place>,
    /// Where lanes are read into that are empty.
    fills: [Option<u32>; LEGS],
    /// The last commit is how it stands, with what the kernel has counted since.
    is_live: bool,
}

/// What is committed of a session.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Which of its servers is spoken with, from 0 on.
    pub current: usize,
    /// Client to servers, then each server to the client: as many as it has connections.
    pub lanes: &'a [Stretch],
    /// How far each connection was used.
    pub counted: &'a [Counted],
    /// The state that changes with each message, or nothing if it is what it was.
    pub state: &'a [u64],
    /// The rest of it, if that is not what it was; at first it is to be there.
    pub cold: Option<&'a [u8]>,
}

impl Journal {
    /// Memory for so many sessions at most; it takes what is used of it.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn new(sessions: u32) -> io::Result<Self> {
        let memory = Mapping::new(layout::size(sessions))?;
        let heap = Heap::new(layout::heap(sessions), layout::arena(sessions));
        let arena = memory.arena(layout::arena(sessions), layout::pieces(sessions));
        Ok(Self {
            memory,
            arena,
            slots: sessions,
            heap: Mutex::new(heap),
            free: Mutex::default(),
            is_alone: AtomicBool::new(false),
        })
    }

    /// Where bytes in transit are to be.
    pub fn arena(&self) -> &'static Arena {
        self.arena
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
        let hot = Hot {
            count: legs.len(),
            current: 0,
            at: 0,
            len: 0,
            lanes: [Stretch::default(); LEGS],
            counted: [Counted::default(); LEGS],
            state: [0; STATE_WORDS],
        };
        let slot = Slot {
            journal: self.clone(),
            index,
            words: self.memory.words(layout::slot_at(index)),
            number: 0,
            hot,
            used: 0,
            cold: None,
            fills: [None; LEGS],
            is_live: false,
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
        }
        // The one before may have left something there.
        (0..LEGS).for_each(|lane| slot.set(slot::FILLS + lane, u64::MAX));
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
    /// From now on this is how the session stands, and its sockets have been used so far.
    ///
    /// # Errors
    ///
    /// There is no place for it: the slot is to be given up, as what stands there is old.
    pub fn commit(&mut self, commit: &Commit<'_>) -> Result<(), Unregistered> {
        let Commit { current, lanes, counted, state, cold } = *commit;
        let count = self.hot.count;
        if lanes.len() != count || counted.len() != count || state.len() > STATE_WORDS {
            return Err(Unregistered::TooManyLegs);
        }
        let fresh = match cold {
            None => None,
            Some(cold) => Some(self.write(cold).ok_or(Unregistered::TooLarge)?),
        };
        if let (Some(place), Some(cold)) = (fresh, cold) {
            (self.hot.at, self.hot.len) = (place.at(), cold.len());
        }
        self.hot.current = current as u64;
        self.hot.lanes[..count].copy_from_slice(lanes);
        self.hot.counted[..count].copy_from_slice(counted);
        self.hot.state[..state.len()].copy_from_slice(state);
        self.used = self.used.max(state.len());
        let number = self.number + 1;
        let words = self.words;
        self.hot.store(layout::older(number), number, self.used, |at, value| {
            words[at].store(value, layout::STORE);
        });
        self.number = number;
        if !self.is_live {
            self.set(slot::STATE, state::LIVE);
            self.is_live = true;
        }
        if fresh.is_some()
            && let Some(before) = std::mem::replace(&mut self.cold, fresh)
        {
            self.journal.give_back(before);
        }
        Ok(())
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

    /// From now on a lane that is empty is read into this piece of the arena.
    #[inline]
    pub fn fill(&mut self, lane: usize, place: u32) {
        if self.fills[lane] != Some(place) {
            self.fills[lane] = Some(place);
            self.set(slot::FILLS + lane, u64::from(place));
        }
    }

    /// Which one it is.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Where it is.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    fn write(&self, cold: &[u8]) -> Option<Place> {
        let place = lock(&self.journal.heap).take(cold.len())?;
        self.journal.memory.write(place.at(), cold);
        Some(place)
    }

    fn set(&self, at: usize, value: u64) {
        self.words[at].store(value, layout::STORE);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First of all: from here on nobody takes the session up again.
        self.set(slot::STATE, state::FREE);
        if let Some(place) = self.cold {
            self.journal.give_back(place);
        }
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
