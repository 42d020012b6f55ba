//! Which word stands where. Words are 64 bits; places are counted in words but for the heap's.
//!
//! ```text
//!   head     1024 words   what concerns all sessions
//!   slots    48 words each, see `hot`
//!   heap     bytes, from a page boundary on: states, annexes
//!   arena    buffers of lanes, from a page boundary on
//!   trays    the same of what is between them and sockets
//!   long     the same of what is too long for those
//!   panics   words: what those say that processes die of
//!   codes    words: how many have ended with each
//! ```
//! The reader is the same image as the writer, so this may change from one version to the next.

use std::sync::atomic::Ordering;

use crate::buffer::arena::Kind;

/// Stores are seen in their order by who comes after the writer's death.
pub(super) const STORE: Ordering = Ordering::Release;

/// Two copies, of which the newer one counts.
pub(super) type Copies<T> = [T; 2];

/// Words of the head.
const HEAD: usize = 1024;

/// Words of a slot.
pub(super) const SLOT: usize = 48;

/// Connections that have a place in a slot.
pub(super) const OWN_LEGS: usize = 2;

/// No piece of the arena.
pub(super) const NOWHERE: u64 = (1 << 17) - 1;

/// The most pieces that have a name.
const MOST_PIECES: u32 = NOWHERE as u32;

/// Bytes of heap for each session, of which those are touched that are used.
const HEAP_A_SESSION: usize = 16 * 1024;

/// Bytes of secrets for each session.
const SECRETS_A_SESSION: usize = 512;

/// The fewest and the most long trays, for as many frames at once: they take memory only where they
/// are used, but all of them have addresses, and a name of 13 bits.
const LONG_PIECES: (u32, u32) = (64, 1024);

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
    /// From here on, in bytes, no key was ever written down.
    pub(in crate::journal) const SECRETS: usize = 32;
    /// Deaths by signal; see `codes` of those without one.
    pub(in crate::journal) const SIGNALS: usize = 640;
    /// What each thread that serves sessions is at: the session's [`Served`](super::Served), and
    /// how many there were.
    pub(in crate::journal) const WORKERS: usize = 768;
}

/// Of a Unix socket's count of bytes that were read, which stands where others have what the kernel
/// had counted: the socket is being used.
pub(super) const IN_USE: u64 = 1 << 63;

/// Threads that serve sessions and are watched.
pub const WORKERS: usize = 128;

/// Deaths that are remembered.
pub(super) const RING: usize = 32;

/// Words of one of them.
pub(super) const DEATH: usize = 16;

/// Bytes of what a panic says; the rest is left out.
pub(super) const PANIC: usize = 256;

/// The same in words, for each death that is remembered.
pub(super) const PANICS: usize = RING * (PANIC / size_of::<u64>());

/// Codes that a process may end with.
pub(super) const CODES: usize = 256;

/// Words of a slot.
pub(super) mod slot {
    /// See [`state`](super::state).
    pub(in crate::journal) const STATE: usize = 0;
    /// The session's id.
    pub(in crate::journal) const ID: usize = 1;
    /// Its connections and its annex.
    pub(in crate::journal) const SHAPE: usize = 2;
    /// Deaths that it may be to blame for.
    pub(in crate::journal) const STRIKES: usize = 3;
    /// Descriptors of connections.
    pub(in crate::journal) const FDS: usize = 4;
    /// What the kernel calls them.
    pub(in crate::journal) const COOKIES: usize = FDS + super::OWN_LEGS;
    /// What the kernel had counted when we began to: read, written.
    pub(in crate::journal) const BASES: usize = COOKIES + super::OWN_LEGS;
    /// The piece of the arena that is read into when there are no bytes.
    pub(in crate::journal) const FILLS: usize = BASES + 2 * super::OWN_LEGS;
    /// The slot, and one, that does not count any more if this one does: it is the same session's,
    /// which had other connections then.
    pub(in crate::journal) const AFTER: usize = FILLS + super::OWN_LEGS;
    /// Two copies of what changes.
    pub(in crate::journal) const HOTS: [usize; 2] = [16, 32];
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

/// Two numbers in one word.
pub(super) fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The same, back.
pub(super) fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
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
    slots.saturating_mul(2).saturating_add(64).min(MOST_PIECES)
}

/// Where trays begin, in bytes. There are as many.
pub(super) fn trays(slots: u32) -> usize {
    arena(slots) + pieces(slots) as usize * Kind::Buffers.size()
}

/// Where long ones begin, in bytes.
pub(super) fn long(slots: u32) -> usize {
    (trays(slots) + pieces(slots) as usize * Kind::Trays.size()).next_multiple_of(PAGE)
}

/// How many there are.
pub(super) fn long_pieces(slots: u32) -> u32 {
    let (fewest, most) = LONG_PIECES;
    (slots / 8).clamp(fewest, most)
}

/// Where panics begin, in bytes.
pub(super) fn panics(slots: u32) -> usize {
    long(slots) + long_pieces(slots) as usize * Kind::Long.size()
}

/// Where deaths by exit code begin, in bytes.
pub(super) fn codes(slots: u32) -> usize {
    panics(slots) + PANICS * WORD
}

/// Bytes of a journal.
pub(super) fn size(slots: u32) -> usize {
    codes(slots) + CODES * WORD
}

/// Bytes for what is secret.
pub(super) fn secrets(slots: u32) -> usize {
    (slots as usize * SECRETS_A_SESSION).max(256 * 1024)
}
