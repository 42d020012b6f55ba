//! Room for TLS records, lent only while bytes are in it.

use std::cell::RefCell;

use crate::buffer::keep;

/// Two records of the largest size, so that one can be read behind another.
pub(super) const SIZE: usize = 34 * 1024;

/// Pieces of memory that a worker keeps: 1 MiB.
const KEPT: usize = 30;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8; SIZE]>>> = const { RefCell::new(Vec::new()) };
}

/// A queue of bytes that holds memory only while it holds bytes, or while they are being fetched.
#[derive(Debug, Default)]
pub(super) struct RecordBuffer {
    memory: Option<Box<[u8; SIZE]>>,
    start: usize,
    end: usize,
}

impl RecordBuffer {
    /// A buffer with these bytes; None when there are too many.
    pub(super) fn with(bytes: &[u8]) -> Option<Self> {
        let mut buffer = Self::default();
        if !bytes.is_empty() {
            buffer.room().get_mut(..bytes.len())?.copy_from_slice(bytes);
            buffer.fill(bytes.len());
        }
        Some(buffer)
    }

    /// The bytes in it.
    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[self.start..self.end])
    }

    /// The bytes in it, to be decrypted where they are.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        let range = self.start..self.end;
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[range])
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Free bytes behind those that are in it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let memory = self.memory.get_or_insert_with(|| {
            FREE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Box::new([0; SIZE]))
        });
        &mut memory[self.end..]
    }

    /// So many bytes have been put into the room.
    pub(super) fn fill(&mut self, n: usize) {
        self.end += n;
        assert!(self.end <= SIZE, "only what was lent is filled");
    }

    /// Takes so many bytes from the front.
    pub(super) fn take(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.end, "only what is there is taken");
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves what is there to the front if there is no room for `total` bytes from its start.
    pub(super) fn make_room(&mut self, total: usize) {
        if self.start + total > SIZE || self.end == SIZE {
            if let Some(memory) = &mut self.memory {
                memory.copy_within(self.start..self.end, 0);
            }
            (self.start, self.end) = (0, self.end - self.start);
        }
    }

    /// Gives the memory back if nothing is in it.
    pub(super) fn settle(&mut self) {
        if !self.is_empty() {
            return;
        }
        (self.start, self.end) = (0, 0);
        if let Some(memory) = self.memory.take() {
            keep(&FREE, KEPT, memory);
        }
    }
}

impl Drop for RecordBuffer {
    fn drop(&mut self) {
        self.take(self.end - self.start);
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_held_only_while_bytes_are_in_it() {
        let mut buffer = RecordBuffer::default();
        buffer.room();
        buffer.settle();
        assert!(buffer.memory.is_none());
        buffer.room()[..3].copy_from_slice(b"abc");
        buffer.fill(3);
        buffer.take(1);
        buffer.settle();
        assert_eq!(buffer.bytes(), b"bc");
        buffer.take(2);
        buffer.settle();
        assert!(buffer.memory.is_none());
    }

    #[test]
    fn a_record_finds_room_behind_another() {
        let mut buffer = RecordBuffer::with(&vec![1; SIZE - 10]).expect("room");
        buffer.take(SIZE - 20);
        buffer.make_room(30);
        assert_eq!(buffer.bytes(), [1; 10]);
        assert_eq!(buffer.room().len(), SIZE - 10);
        assert!(RecordBuffer::with(&vec![0; SIZE + 1]).is_none());
    }
}
