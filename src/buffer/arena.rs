//! Buffers in memory that outlives this process: which ones are lent is known to this process only,
//! and who comes after it claims those that it is told to be in use.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::LocalKey;

use super::{SIZE, TRAY};

/// Bytes that a worker keeps for itself of each arena.
const KEPT: usize = 1 << 20;

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
}

impl Kind {
    /// Bytes of a piece.
    pub const fn size(self) -> usize {
        match self {
            Self::Buffers => SIZE,
            Self::Trays => TRAY,
        }
    }

    fn kept(self) -> &'static LocalKey<Kept> {
        match self {
            Self::Buffers => &BUFFERS,
            Self::Trays => &TRAYS,
        }
    }
}

/// The memory, in pieces of one size.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    kind: Kind,
    pieces: u32,
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
    pub unsafe fn over(base: NonNull<u8>, kind: Kind, pieces: u32) -> Self {
        Self { base, kind, pieces, free: Mutex::default() }
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

    /// This piece, which nobody was lent yet; None if there is none, or it is claimed already.
    pub fn claim(&'static self, place: u32) -> Option<Piece> {
        let mut free = self.free();
        let is_free = place < self.pieces && place >= free.untouched;
        (is_free && free.claimed.insert(place)).then(|| Piece { arena: self, place })
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
        self.place
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
        let arena = unsafe { Self::over(NonNull::from(memory).cast(), kind, pieces) };
        Box::leak(Box::new(arena))
    }

    /// What stands in a piece, whosever it is.
    pub(crate) fn peek(&'static self, place: u32) -> Vec<u8> {
        let piece = std::mem::ManuallyDrop::new(Piece { arena: self, place });
        piece.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
