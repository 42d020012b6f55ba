//! Which word stands where. Words are 64 bits; places are counted in words but for the heap's.
//!
//! ```text
//!   head     1024 words   what concerns all sessions
//!   slots    96 words each
//!     state, id, count, fds, cookies, bases
//!     fills               where a lane is read into that is empty
//!     hot 0, hot 1        number, which server, where the cold state is, lanes, positions, the
//!                         state that changes with each message, the same number
//!   heap     bytes, from a page boundary on
//!   arena    buffers of lanes, from a page boundary on
//! ```
//! A word of a lane: place (17 bits), start, judged, end (15 bits each), stage (2 bits). A word of
//! a position: bytes read, then written, modulo 2³²: a lane has room for less.
//!
//! The reader is the same image as the writer, so this may change from one version to the next.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::buffer::SIZE;

/// Stores are seen in their order by who comes after the writer's death.
pub(super) const STORE: Ordering = Ordering::Release;

/// Connections of a session that have a place in a slot.
pub(super) const LEGS: usize = 4;

/// Two copies, of which the newer one counts.
pub(super) type Copies<T> = [T; 2];

/// Words of the head.
const HEAD: usize = 1024;

/// Words of a slot.
pub(super) const SLOT: usize = 96;

/// Bytes of heap for each session, of which those are touched that are used.
const HEAP_A_SESSION: usize = 16 * 1024;

const PAGE: usize = 4096;
const WORD: usize = size_of::<u64>();

/// Words of the head.
pub(super) mod head {
    /// See [`Phase`](super::Phase).
    pub(in crate::journal) const PHASE: usize = 1;
    /// The highest id of a session.
    pub(in crate::journal) const HIGHEST_ID: usize = 2;
    /// How many processes have died.
    pub(in crate::journal) const DEATHS: usize = 3;
    /// Slots from here on were never used.
    pub(in crate::journal) const USED: usize = 4;
    /// Two copies of where the estate is: number, place, length, number.
    pub(in crate::journal) const ESTATES: [usize; 2] = [8, 16];
    /// A ring of deaths.
    pub(in crate::journal) const RING: usize = 64;
    /// Sessions that went on.
    pub(in crate::journal) const RESUMED: usize = 5;
    /// Sessions that did not.
    pub(in crate::journal) const LOST: usize = 6;
    /// See [`Cause`](super::Cause).
    pub(in crate::journal) const CAUSE: usize = 7;
    /// Counts up as long as the process's runtime runs.
    pub(in crate::journal) const BEATS: usize = 24;
    /// See `tie`.
    pub(in crate::journal) const TIE: usize = 25;
    /// Deaths by signal; 0: without one.
    pub(in crate::journal) const SIGNALS: usize = 640;
    /// What each thread that serves sessions is at: the session's [`Served`](super::Served), and
    /// how many there were.
    pub(in crate::journal) const WORKERS: usize = 768;
}

/// Threads that serve sessions and are watched.
pub const WORKERS: usize = 128;

/// Deaths that are remembered.
pub(super) const RING: usize = 32;

/// Words of one of them.
pub(super) const DEATH: usize = 16;

/// Words of a slot.
pub(super) mod slot {
    use super::LEGS;

    /// See [`state`](super::state).
    pub(in crate::journal) const STATE: usize = 0;
    /// The session's id.
    pub(in crate::journal) const ID: usize = 1;
    /// Its connections.
    pub(in crate::journal) const COUNT: usize = 2;
    /// Deaths that it may be to blame for.
    pub(in crate::journal) const STRIKES: usize = 3;
    /// Their descriptors.
    pub(in crate::journal) const FDS: usize = 4;
    /// What the kernel calls them.
    pub(in crate::journal) const COOKIES: usize = FDS + LEGS;
    /// What the kernel had counted when we began to: read, written.
    pub(in crate::journal) const BASES: usize = COOKIES + LEGS;
    /// Of each lane: the piece of the arena that it is read into when it is empty.
    pub(in crate::journal) const FILLS: usize = BASES + 2 * LEGS;
    /// Two copies of what changes.
    pub(in crate::journal) const HOTS: [usize; 2] = [24, 60];
}

/// States of a slot.
pub(super) mod state {
    /// Nobody's.
    pub(in crate::journal) const FREE: u64 = 0;
    /// A session's that is being written down.
    pub(in crate::journal) const REGISTERING: u64 = 1;
    /// A session's.
    pub(in crate::journal) const LIVE: u64 = 2;
    /// A session's that was given to another process: whose it is that one says.
    pub(in crate::journal) const GIVEN: u64 = 3;
}

/// Words of a hot copy.
pub(super) const HOT_FIRST: usize = 0;
const HOT_CURRENT: usize = 1;
const HOT_COLD: usize = 2;
const HOT_LANES: usize = 3;
const HOT_COUNTED: usize = HOT_LANES + LEGS;
const HOT_STATE: usize = HOT_COUNTED + LEGS;
pub(super) const HOT_LAST: usize = HOT_STATE + STATE_WORDS;

/// Words of a session's state that changes with each message.
pub const STATE_WORDS: usize = 24;

/// Places of the heap begin at a multiple of this.
const HEAP_UNIT: usize = 256;

/// No piece of the arena.
const NOWHERE: u64 = (1 << 17) - 1;

/// How far a socket was used since we have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Bytes that were read.
    pub read: u64,
    /// Bytes that were written.
    pub written: u64,
}

/// Where the process stands that carries the sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    /// It has not served yet: its start has failed if it dies.
    Starting = 0,
    /// It serves, and nobody else has a part in it: who comes after it goes on.
    Serving = 1,
    /// All is another process's, or it is to stop: nobody goes on after it.
    Restarting = 2,
    /// It has come after one that died, and does not serve yet.
    Resuming = 3,
}

impl Phase {
    /// What a word means; what means nothing is no reason to go on.
    pub(super) fn of(word: u64) -> Self {
        match word {
            1 => Self::Serving,
            2 => Self::Restarting,
            3 => Self::Resuming,
            _ => Self::Starting,
        }
    }
}

/// How a process died, and what became of its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Death {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Its pid.
    pub pid: u32,
    /// What waitpid(2) says.
    pub status: i32,
    /// Sessions that were on record.
    pub sessions: u64,
    /// Those that went on.
    pub resumed: u64,
    /// From its end until the last of them went on.
    pub resumed_ms: u64,
    /// Those that were lost, by why.
    pub lost: Lost,
    /// Sessions that may be to blame; 0: none.
    pub suspects: [u32; SUSPECTS],
    /// It did not move any more, and was ended for that.
    pub has_hung: bool,
}

/// As many suspects of a death are named.
pub const SUSPECTS: usize = 4;

/// Sessions that were lost in a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// Bytes of theirs were in the process.
    pub moved: u64,
    /// The other end has ended the connection meanwhile.
    pub ended: u64,
    /// What is on record of them is not understood, or their sockets are not there.
    pub unknown: u64,
    /// Processes have died of them.
    pub deadly: u64,
    /// Processes died again and again, and nobody knew of what.
    pub given_up: u64,
}

impl Lost {
    /// All of them.
    pub fn all(self) -> u64 {
        let Self { moved, ended, unknown, deadly, given_up } = self;
        [moved, ended, unknown, deadly, given_up].into_iter().fold(0, u64::wrapping_add)
    }
}

impl Death {
    /// As it stands in the ring.
    pub(super) fn words(self) -> [u64; DEATH] {
        let Self { at_ms, pid, status, sessions, resumed, resumed_ms, lost, .. } = self;
        let Lost { moved, ended, unknown, deadly, given_up } = lost;
        let ended_as = pair(pid, status as u32);
        let [first, second, third, fourth] = self.suspects;
        let suspects = [pair(first, second), pair(third, fourth)];
        let words = [
            [at_ms, ended_as, sessions, resumed],
            [resumed_ms, moved, ended, unknown],
            [suspects[0], suspects[1], u64::from(self.has_hung), deadly],
            [given_up, 0, 0, 0],
        ];
        std::array::from_fn(|at| words[at / 4][at % 4])
    }

    /// The same, back.
    pub(super) fn of(words: [u64; DEATH]) -> Self {
        let [at_ms, ended_as, sessions, resumed, resumed_ms, moved, ended, unknown, rest @ ..] =
            words;
        let [suspects, more_suspects, has_hung, deadly, given_up, ..] = rest;
        let ((pid, status), lost) =
            (halves(ended_as), Lost { moved, ended, unknown, deadly, given_up });
        let ((first, second), (third, fourth)) = (halves(suspects), halves(more_suspects));
        Self {
            at_ms,
            pid,
            status: status as i32,
            sessions,
            resumed,
            resumed_ms,
            lost,
            suspects: [first, second, third, fourth],
            has_hung: has_hung != 0,
        }
    }
}

/// Two numbers in one word.
pub(super) fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The same, back.
pub(super) fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Signals that there are.
pub(super) const SIGNALS: usize = 65;

/// Deaths since the pair was made, and what became of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// By signal, those that there were; 0: without one.
    pub by_signal: Vec<(i32, u64)>,
    /// Sessions that went on.
    pub resumed: u64,
    /// Sessions that did not.
    pub lost: u64,
}

/// One direction of a session: where its bytes are, in which buffer. From `start` to `judged` they
/// are to be written, from there to `end` they are not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The piece of the arena; None: there are no bytes.
    pub place: Option<u32>,
    /// See above.
    pub start: usize,
    /// See above.
    pub judged: usize,
    /// See above.
    pub end: usize,
    /// Whether more will come, as the writer calls it.
    pub stage: u8,
}

impl Stretch {
    #[inline]
    pub(super) fn word(self) -> u64 {
        let place = self.place.map_or(NOWHERE, u64::from);
        let at = |offset: usize, shift: u32| (offset as u64) << shift;
        place
            | at(self.start, 17)
            | at(self.judged, 32)
            | at(self.end, 47)
            | u64::from(self.stage) << 62
    }

    /// None if it is no lane's.
    pub(super) fn of(word: u64) -> Option<Self> {
        let place = word & NOWHERE;
        let at = |shift: u32| (word >> shift & 0x7FFF) as usize;
        let (start, judged, end) = (at(17), at(32), at(47));
        let place = (place != NOWHERE).then_some(place as u32);
        let is_sound = start <= judged && judged <= end && end <= SIZE;
        let is_whole = is_sound && (place.is_some() || end == 0);
        is_whole.then_some(Self { place, start, judged, end, stage: (word >> 62) as u8 })
    }
}

/// What a commit says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hot {
    /// Connections.
    pub count: usize,
    /// Which of the servers is spoken with.
    pub current: u64,
    /// Where the cold state begins, in bytes.
    pub at: usize,
    /// How long it is.
    pub len: usize,
    /// Client to servers, then each server to the client.
    pub lanes: [Stretch; LEGS],
    /// Of each connection.
    pub counted: [Counted; LEGS],
    /// The state that changes with each message.
    pub state: [u64; STATE_WORDS],
}

impl Counted {
    #[inline]
    fn word(self) -> u64 {
        self.read & 0xFFFF_FFFF | self.written << 32
    }

    /// As it is known modulo 2³².
    fn of(word: u64) -> Self {
        Self { read: word & 0xFFFF_FFFF, written: word >> 32 }
    }
}

impl Hot {
    /// What is to be stored for it, in this order; places are those of the slot. Of the state so
    /// many words, the others are as they were.
    #[inline]
    pub(super) fn store(
        &self,
        copy: usize,
        number: u64,
        words: usize,
        mut put: impl FnMut(usize, u64),
    ) {
        let base = slot::HOTS[copy];
        put(base + HOT_FIRST, number);
        put(base + HOT_CURRENT, self.current);
        put(base + HOT_COLD, ((self.at / HEAP_UNIT) as u64) << 32 | self.len as u64);
        for leg in 0..self.count.min(LEGS) {
            put(base + HOT_LANES + leg, self.lanes[leg].word());
            put(base + HOT_COUNTED + leg, self.counted[leg].word());
        }
        for (at, word) in self.state.iter().enumerate().take(words) {
            put(base + HOT_STATE + at, *word);
        }
        put(base + HOT_LAST, number);
    }

    /// The newest whole copy of a slot with so many connections, and its number.
    pub(super) fn newest(count: usize, word: impl Fn(usize) -> Option<u64>) -> Option<(u64, Self)> {
        let whole = |base: &usize| {
            let number = word(base + HOT_FIRST)?;
            (number > 0 && word(base + HOT_LAST)? == number).then_some((number, *base))
        };
        let (number, base) = slot::HOTS.iter().filter_map(whole).max()?;
        let mut lanes = [Stretch::default(); LEGS];
        let mut counted = [Counted::default(); LEGS];
        for leg in 0..count.min(LEGS) {
            lanes[leg] = Stretch::of(word(base + HOT_LANES + leg)?)?;
            counted[leg] = Counted::of(word(base + HOT_COUNTED + leg)?);
        }
        let mut state = [0; STATE_WORDS];
        for (at, state) in state.iter_mut().enumerate() {
            *state = word(base + HOT_STATE + at)?;
        }
        let (current, cold) = (word(base + HOT_CURRENT)?, word(base + HOT_COLD)?);
        let at = usize::try_from(cold >> 32).ok()?.checked_mul(HEAP_UNIT)?;
        let len = usize::try_from(cold & 0xFFFF_FFFF).ok()?;
        Some((number, Self { count, current, at, len, lanes, counted, state }))
    }
}

/// Which copy the commit with this number writes over.
pub(super) fn older(number: u64) -> usize {
    (number % 2) as usize
}

/// What is to be stored for an estate, in this order.
pub(super) fn estate(copy: usize, number: u64, at: usize, len: usize) -> [(usize, u64); 4] {
    let base = head::ESTATES[copy];
    [(base, number), (base + 1, at as u64), (base + 2, len as u64), (base + 3, number)]
}

/// The newest whole one of these copies: number, place, length.
pub(super) fn newest(
    copies: Copies<usize>,
    word: impl Fn(usize) -> Option<u64>,
) -> Option<(u64, usize, usize)> {
    let whole = |base: usize| {
        let number = word(base)?;
        let (at, len) = (word(base + 1)?, word(base + 2)?);
        let is_whole = number > 0 && word(base + 3)? == number;
        is_whole.then_some((number, usize::try_from(at).ok()?, usize::try_from(len).ok()?))
    };
    copies.into_iter().filter_map(whole).max()
}

/// The first word of a slot.
pub(super) fn slot_at(index: u32) -> usize {
    HEAD + SLOT * index as usize
}

/// Where the heap begins, in bytes.
pub(super) fn heap(slots: u32) -> usize {
    (slot_at(slots) * WORD).next_multiple_of(PAGE)
}

/// Where the arena begins, in bytes.
pub(super) fn arena(slots: u32) -> usize {
    heap(slots) + (slots as usize * HEAP_A_SESSION).max(4 << 20)
}

/// Buffers in the arena: two for each session, of which those are touched that are used at once.
pub(super) fn pieces(slots: u32) -> u32 {
    slots.saturating_mul(2).saturating_add(64).min(NOWHERE as u32)
}

/// Bytes of a journal.
pub(super) fn size(slots: u32) -> usize {
    arena(slots) + pieces(slots) as usize * SIZE
}
