//! Relay buffers, lent only while bytes are in them.
//!
//! Each worker keeps a few; a session that waits for its peers holds none. So memory follows the
//! number of busy sessions, not the number of sessions. A session that is to go on after a crash
//! has its buffers in an [`arena`].

pub mod arena;
pub mod tray;

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use arena::{Arena, Piece};

/// Bytes of a buffer.
pub const SIZE: usize = 16 * 1024;

/// Bytes of a tray: two TLS records of the largest size, so that one can be read behind another; or
/// a frame of ours. A whole number of pages.
pub const TRAY: usize = 36 * 1024;

/// Bytes for what is too long for a tray: the longest frame that there can be, and what one read
/// may bring behind it. A whole number of pages.
pub const LONG: usize = (16 << 20) + TRAY;

/// Buffers that a worker keeps: 1 MiB.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8; SIZE]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes; dropping it gives it back. What is in it at first is arbitrary.
#[derive(Debug)]
pub struct Buffer(Memory);

#[derive(Debug)]
enum Memory {
    /// This process's own. It is there but for the instant in which it is given back.
    Own(Option<Box<[u8; SIZE]>>),
    Piece(Piece),
}

impl Buffer {
    /// Takes a free one, or makes one.
    pub fn lend() -> Self {
        let free = FREE.with_borrow_mut(Vec::pop);
        Self(Memory::Own(Some(free.unwrap_or_else(|| Box::new([0; SIZE])))))
    }

    /// One of the arena, if it has one left, else one of this process's own.
    pub fn lend_from(arena: &'static Arena) -> Self {
        arena.lend().map_or_else(Self::lend, Self::from)
    }

    /// The piece of an arena that it is.
    pub fn into_piece(mut self) -> Option<Piece> {
        match std::mem::replace(&mut self.0, Memory::Own(None)) {
            Memory::Piece(piece) => Some(piece),
            own @ Memory::Own(_) => {
                self.0 = own;
                None
            }
        }
    }

    /// Which piece of an arena it is.
    pub fn place(&self) -> Option<u32> {
        match &self.0 {
            Memory::Own(_) => None,
            Memory::Piece(piece) => Some(piece.place()),
        }
    }
}

impl From<Piece> for Buffer {
    fn from(piece: Piece) -> Self {
        Self(Memory::Piece(piece))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // One that was a piece has none.
        if let Memory::Own(Some(buffer)) = std::mem::replace(&mut self.0, Memory::Own(None)) {
            keep(&FREE, KEPT, buffer);
        }
    }
}

/// Puts memory on a list of this thread's, for who needs some next, unless there is enough on it.
pub fn keep<T>(list: &'static LocalKey<RefCell<Vec<T>>>, enough: usize, memory: T) {
    // At the end of a thread its list is gone first; the memory is then freed.
    let _ = list.try_with(|list| {
        let mut list = list.borrow_mut();
        if list.len() < enough {
            list.push(memory);
        }
    });
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Own(buffer) => &buffer.as_ref().expect("a buffer is taken only in drop")[..],
            Memory::Piece(piece) => piece,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Own(buffer) => {
                &mut buffer.as_mut().expect("a buffer is taken only in drop")[..]
            }
            Memory::Piece(piece) => piece,
        }
    }
}
