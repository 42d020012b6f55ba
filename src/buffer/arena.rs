//! Buffers in memory that outlives this process: which ones are lent is known to this process only,
//! and who comes after it claims those that it is told to be in use.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::LocalKey;

use super::{LONG, SIZE, TRAY};

/// Bytes that a worker keeps for itself of each arena.
const KEPT: usize = 1 << 20;

/// Long pieces are counted from here on: they are found where trays are.
const FIRST_LONG: u32 = 1 << 23;

/// So much of a long piece stays in memory when nobody has it: few are longer. A whole number of
/// pages.
const LONG_KEPT: usize = 128 * 1024;

/// Takes the memory of bytes that are of no more use; they are there, and arbitrary.
pub type Release = fn(&mut [u8]);

/// Pieces with whose they are.
type Kept = RefCell<Vec<(&'static Arena, u32)>>;

thread_local! {
    static BUFFERS: Kept = const { RefCell::new(Vec::new()) };
    static TRAYS: Kept = const { RefCell::new(Vec::new()) };
}

/// What an arena has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For bytes in transit.
    Buffers,
    /// For what they travel in: records, frames.
    Trays,
    /// For frames that are longer.
    Long,
}

impl Kind {
    /// Bytes of a piece.
    pub const fn size(self) -> usize {
        match self {
            Self::Buffers => SIZE,
            Self::Trays => TRAY,
            Self::Long => LONG,
        }
    }

    /// What a tray is whose bytes are in this place.
    pub const fn of_tray(place: u32) -> Self {
        if place < FIRST_LONG { Self::Trays } else { Self::Long }
    }

    /// What the first piece is called.
    pub const fn first(self) -> u32 {
        match self {
            Self::Buffers | Self::Trays => 0,
            Self::Long => FIRST_LONG,
        }
    }

    fn kept(self) -> &'static LocalKey<Kept> {
        match self {
            Self::Buffers => &BUFFERS,
            // None of those that are long, which would be too much.
            Self::Trays | Self::Long => &TRAYS,
        }
    }
}

/// The memory, in pieces of one size.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    kind: Kind,
    pieces: u32,
    release: Release,
    /// For what is too long for a piece of this one.
    longer: Option<&'static Arena>,
    free: Mutex<Free>,
}

// SAFETY: a piece is lent to one owner at a time, who alone uses its bytes; the rest is a mutex.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

#[derive(Debug, Default)]
struct Free {
    given_back: Vec<u32>,
    /// From here on none was ever lent, but for those that were claimed.
    untouched: u32,
    claimed: HashSet<u32>,
}

/// A piece of an arena; dropping it gives it back.
#[derive(Debug)]
pub struct Piece {
    arena: &'static Arena,
    place: u32,
}

impl Arena {
    /// So many pieces from there on, all of which are free.
    ///
    /// # Safety
    ///
    /// The memory is there until the process ends, and nobody else uses it.
    pub unsafe fn over(base: NonNull<u8>, kind: Kind, pieces: u32, release: Release) -> Self {
        Self { base, kind, pieces, release, longer: None, free: Mutex::default() }
    }

    /// What is too long for a piece of it has one of that one.
    #[must_use]
    pub fn with_longer(self, longer: &'static Self) -> Self {
        Self { longer: Some(longer), ..self }
    }

    /// A piece; None if all are lent.
    #[inline]
    pub fn lend(&'static self) -> Option<Piece> {
        let own = self.kind.kept().with_borrow_mut(|list| match list.last() {
            Some((arena, place)) if std::ptr::eq(*arena, self) => {
                let place = *place;
                list.pop();
                Some(place)
            }
            _ => None,
        });
        let place = match own {
            Some(place) => place,
            None => self.free().take(self.pieces)?,
        };
        Some(Piece { arena: self, place })
    }

    /// A piece for what is too long for one of these; None if there is none, or all are lent.
    pub fn lend_longer(&'static self) -> Option<Piece> {
        self.longer?.lend()
    }

    /// This piece, which nobody was lent yet; None if there is none, or it is claimed already.
    pub fn claim(&'static self, place: u32) -> Option<Piece> {
        if let Some(longer) = self.longer
            && place >= longer.kind.first()
        {
            return longer.claim(place);
        }
        let place = place.checked_sub(self.kind.first())?;
        let mut free = self.free();
        let is_free = place < self.pieces && place >= free.untouched;
        (is_free && free.claimed.insert(place)).then(|| Piece { arena: self, place })
    }

    /// What is longer is of no more use, but what of it is claimed; nobody was lent any yet.
    pub fn release_longer(&self) {
        self.longer.into_iter().for_each(Self::release_rest);
    }

    fn release_rest(&'static self) {
        let free = self.free();
        let mut claimed: Vec<u32> = free.claimed.iter().copied().collect();
        claimed.sort_unstable();
        let mut begin = free.untouched;
        for end in claimed.into_iter().chain([self.pieces]) {
            if begin < end {
                (self.release)(self.pieces_mut(begin, end));
            }
            begin = end + 1;
        }
    }

    /// These pieces, which nobody has.
    #[expect(clippy::mut_from_ref, reason = "they are memory beside this")]
    fn pieces_mut(&self, begin: u32, end: u32) -> &mut [u8] {
        let size = self.kind.size();
        // SAFETY: places are below the number of pieces, all of which are in the memory, whose
        // values are all valid; nobody has one of these, nor is lent one while the caller has
        // the lock.
        unsafe {
            let first = self.base.add(begin as usize * size);
            NonNull::slice_from_raw_parts(first, (end - begin) as usize * size).as_mut()
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Free {
    fn take(&mut self, pieces: u32) -> Option<u32> {
        if let Some(place) = self.given_back.pop() {
            return Some(place);
        }
        while self.untouched < pieces {
            let place = self.untouched;
            self.untouched += 1;
            if !self.claimed.remove(&place) {
                return Some(place);
            }
        }
        None
    }

    fn give_back(&mut self, place: u32) {
        // One that was claimed, and that no count has reached yet.
        if place < self.untouched || !self.claimed.remove(&place) {
            self.given_back.push(place);
        }
    }
}

impl Piece {
    /// Which one it is.
    pub fn place(&self) -> u32 {
        self.arena.kind.first() + self.place
    }

    fn bytes(&self) -> NonNull<[u8]> {
        let size = self.arena.kind.size();
        // SAFETY: places are below the number of pieces, all of which are in the memory.
        let first = unsafe { self.arena.base.add(self.place as usize * size) };
        NonNull::slice_from_raw_parts(first, size)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let kind = self.arena.kind;
        if kind == Kind::Long {
            (self.arena.release)(&mut self[LONG_KEPT..]);
        }
        let kept = kind.kept().try_with(|list| {
            let mut list = list.borrow_mut();
            let is_kept = list.len() < KEPT / kind.size();
            if is_kept {
                list.push((self.arena, self.place));
            }
            is_kept
        });
        if !kept.unwrap_or(false) {
            self.arena.free().give_back(self.place);
        }
    }
}

impl Deref for Piece {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the memory is there until the process ends, all its values are valid, and this
        // piece is nobody else's.
        unsafe { self.bytes().as_ref() }
    }
}

impl DerefMut for Piece {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { self.bytes().as_mut() }
    }
}

#[cfg(test)]
impl Arena {
    /// One for a test.
    pub(crate) fn leaked(kind: Kind, pieces: u32) -> &'static Self {
        let memory = Box::leak(vec![0; pieces as usize * kind.size()].into_boxed_slice());
        // SAFETY: it is leaked, so it is there for ever and nobody else's.
        let arena = unsafe { Self::over(NonNull::from(memory).cast(), kind, pieces, wipe) };
        Box::leak(Box::new(arena))
    }

    /// One with trays, and so many long ones.
    pub(crate) fn leaked_with_longer(pieces: u32, long: u32) -> &'static Self {
        let memory = Box::leak(vec![0; pieces as usize * TRAY].into_boxed_slice());
        // SAFETY: as above.
        let arena = unsafe { Self::over(NonNull::from(memory).cast(), Kind::Trays, pieces, wipe) };
        Box::leak(Box::new(arena.with_longer(Self::leaked(Kind::Long, long))))
    }

    /// What stands in a piece, whosever it is.
    pub(crate) fn peek(&'static self, place: u32) -> Vec<u8> {
        if let Some(longer) = self.longer
            && place >= FIRST_LONG
        {
            return longer.peek(place);
        }
        let place = place - self.kind.first();
        let piece = std::mem::ManuallyDrop::new(Piece { arena: self, place });
        piece.to_vec()
    }
}

/// What an arena of a test gives back.
#[cfg(test)]
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody has them when they are given back, and none but those that somebody has stay.
    #[test]
    fn long_pieces_are_found_where_trays_are_and_their_memory_is_given_back() {
        let arena = Arena::leaked_with_longer(2, 3);
        let mut long = arena.lend_longer().expect("a piece");
        let place = long.place();
        assert_eq!((Kind::of_tray(place), long.len()), (Kind::Long, LONG));
        assert_eq!(Kind::of_tray(arena.lend().expect("a piece").place()), Kind::Trays);
        long.fill(7);
        drop(long);
        let left = arena.peek(place);
        assert!(left[..LONG_KEPT].iter().all(|it| *it == 7));
        assert!(left[LONG_KEPT..].iter().all(|it| *it == 0));
        assert!(arena.lend_longer().expect("a piece").place() == place, "it is used again");
    }

    #[test]
    fn what_was_left_and_nobody_claims_is_given_back() {
        let arena = Arena::leaked_with_longer(3, 3);
        let first = Kind::Long.first();
        for at in 0..3 {
            arena.pieces_mut(at, at + 1).fill(7);
            arena.longer.expect("it has one").pieces_mut(at, at + 1).fill(7);
        }
        let claimed = [arena.claim(1), arena.claim(first + 2)].map(|it| it.expect("it is free"));
        assert!(arena.claim(first + 2).is_none() && arena.claim(first + 3).is_none());
        arena.release_longer();
        for (place, left) in [(0, 7), (1, 7), (first, 0), (first + 1, 0), (first + 2, 7)] {
            assert!(arena.peek(place).iter().all(|it| *it == left), "{place}");
        }
        drop(claimed);
    }

    #[test]
    fn no_piece_is_lent_twice() {
        let arena = Arena::leaked(Kind::Buffers, 5);
        let (claimed, other) = (arena.claim(3), arena.claim(1));
        assert!(claimed.is_some() && other.is_some());
        assert!(arena.claim(3).is_none() && arena.claim(5).is_none());
        drop(other);
        let mut lent: Vec<Piece> = std::iter::from_fn(|| arena.lend()).collect();
        let mut places: Vec<u32> = lent.iter().map(Piece::place).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 4]);
        for (at, piece) in lent.iter_mut().enumerate() {
            piece.fill(at as u8);
        }
        assert!(lent.iter().enumerate().all(|(at, piece)| piece.iter().all(|it| *it == at as u8)));
        drop(lent.pop());
        assert!(arena.lend().is_some());
        drop(claimed);
    }
}
