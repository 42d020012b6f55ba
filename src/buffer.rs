//! Relay buffers, lent only while bytes are in them.
//!
//! Each worker keeps a few; a session that waits for its peers holds none. So memory follows the
//! number of busy sessions, not the number of sessions.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// Bytes of a buffer.
pub const SIZE: usize = 16 * 1024;

/// Buffers that a worker keeps: 1 MiB.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8; SIZE]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`SIZE`] bytes; dropping it gives it back. What is in it at first is arbitrary.
#[derive(Debug)]
pub struct Buffer(Option<Box<[u8; SIZE]>>);

impl Buffer {
    /// Takes a free one, or makes one.
    pub fn lend() -> Self {
        let free = FREE.with_borrow_mut(Vec::pop);
        Self(Some(free.unwrap_or_else(|| Box::new([0; SIZE]))))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = self.0.take().expect("a buffer is taken only here");
        keep(&FREE, KEPT, buffer);
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
        &self.0.as_ref().expect("a buffer is taken only in drop")[..]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0.as_mut().expect("a buffer is taken only in drop")[..]
    }
}
