//! Buffers in memory that outlives this process: which ones are lent is known to this process only,
//! and who comes after it claims those that it is told to be in use.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SIZE;

/// Pieces that a worker keeps for itself: 1 MiB.
const KEPT: usize = 64;

thread_local! {
    /// With whose they are.
    static FREE: RefCell<Vec<(&'static Arena, u32)>> = const { RefCell::new(Vec::new()) };
}

/// The memory, in pieces of [`SIZE`] bytes.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
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
    pub unsafe fn over(base: NonNull<u8>, pieces: u32) -> Self {
        Self { base, pieces, free: Mutex::default() }
    }

    /// A piece; None if all are lent.
    #[inline]
    pub fn lend(&'static self) -> Option<Piece> {
        let own = FREE.with_borrow_mut(|list| match list.last() {
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

    fn bytes(&self) -> NonNull<[u8; SIZE]> {
        // SAFETY: places are below the number of pieces, all of which are in the memory.
        unsafe { self.arena.base.add(self.place as usize * SIZE).cast() }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let kept = FREE.try_with(|list| {
            let mut list = list.borrow_mut();
            let is_kept = list.len() < KEPT;
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
    pub(crate) fn leaked(pieces: u32) -> &'static Self {
        let memory = Box::leak(vec![0; pieces as usize * SIZE].into_boxed_slice());
        // SAFETY: it is leaked, so it is there for ever and nobody else's.
        let arena = unsafe { Self::over(NonNull::from(memory).cast(), pieces) };
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
        let arena = Arena::leaked(5);
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
