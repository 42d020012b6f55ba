//! A queue of what bytes travel in, records or frames, that holds memory only while something is in
//! it, or is being fetched.
//!
//! As with a lane: of a tray that is *kept*, in an arena, somebody has on record where its bytes
//! are. Bytes that a socket has given ([`Tray::filled`]) or taken ([`Tray::written`]) need no new
//! record. So between two records nothing is changed in place that the last one names: what is
//! moved goes to other memory, and that before stays until [`Tray::recorded`].

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

use super::arena::{Arena, Piece};
use super::{TRAY, keep};

/// A tray for TLS records: two of the largest size, so that one can be read behind another.
pub const RECORDS: usize = 34 * 1024;

/// A tray for frames: one of ours with an incompressible content fits, or a read.
pub const FRAMES: usize = 17 * 1024;

/// Memory that a worker keeps of each size: 1 MiB.
const KEPT: usize = 1 << 20;

type Free = RefCell<Vec<Box<[u8]>>>;

thread_local! {
    static FREE_RECORDS: Free = const { RefCell::new(Vec::new()) };
    static FREE_FRAMES: Free = const { RefCell::new(Vec::new()) };
}

/// A queue of bytes; memory of this process has `SIZE` of them, or more if more come at once.
#[derive(Debug, Default)]
pub struct Tray<const SIZE: usize> {
    memory: Option<Memory>,
    start: usize,
    end: usize,
    /// Where its bytes are to be on record.
    arena: Option<&'static Arena>,
    /// What is on record, if that is another one.
    before: Option<Memory>,
    /// What is on record is not how it stands.
    is_changed: bool,
}

#[derive(Debug)]
enum Memory {
    Own(Box<[u8]>),
    Piece(Piece),
}

impl<const SIZE: usize> Tray<SIZE> {
    /// One with these bytes.
    pub fn with(bytes: &[u8]) -> Self {
        let mut tray = Self::default();
        if !bytes.is_empty() {
            tray.extend(bytes);
        }
        tray
    }

    /// The bytes in it.
    pub fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[self.start..self.end])
    }

    /// The same, to be decrypted where they are. Not of one that is kept.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let range = self.start..self.end;
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[range])
    }

    /// How many bytes are in it.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Free bytes behind those that are in it.
    pub fn room(&mut self) -> &mut [u8] {
        let (end, most) = (self.end, self.most());
        &mut self.hold()[end..most]
    }

    /// How many bytes have room in the memory that it has.
    fn most(&mut self) -> usize {
        match self.hold() {
            Memory::Own(memory) => memory.len(),
            // As many records as in memory of this process, or somebody else may not take them.
            Memory::Piece(piece) if SIZE == RECORDS => piece.len().min(RECORDS),
            Memory::Piece(piece) => piece.len(),
        }
    }

    /// So many bytes have been put into the room.
    pub fn put(&mut self, n: usize) {
        self.filled(n);
        self.is_changed |= n > 0;
    }

    /// The same, by a socket.
    pub fn filled(&mut self, n: usize) {
        self.end += n;
        let room = self.memory.as_ref().map_or(0, |memory| memory.len());
        assert!(self.end <= room, "only what was lent is filled");
    }

    /// Takes so many bytes from the front.
    pub fn take(&mut self, n: usize) {
        self.written(n);
        self.is_changed |= n > 0;
        if n > 0 && self.is_empty() && self.is_kept() {
            // It may be on record that they are there.
            let memory = self.memory.take();
            memory.into_iter().for_each(|memory| self.put_away(memory));
        }
    }

    /// The same, by a socket.
    pub fn written(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.end, "only what is there is taken");
        if self.is_empty() {
            // What is put in next goes to where something else is on record.
            self.is_changed |= self.end > 0;
            (self.start, self.end) = (0, 0);
        }
    }

    /// Moves what is there to the front if there is no room for `total` bytes from its start.
    pub fn make_room(&mut self, total: usize) {
        let most = self.most();
        if self.start + total > most || self.end == most {
            self.compact();
        }
    }

    /// Moves what is there to the front.
    pub fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        let (start, len) = (self.start, self.len());
        match self.arena {
            None => {
                if let Some(memory) = &mut self.memory {
                    memory.copy_within(start..start + len, 0);
                }
            }
            Some(_) => self.leave(len),
        }
        (self.start, self.end, self.is_changed) = (0, len, true);
    }

    /// Has room for so many behind those that are in it, however many these are.
    pub fn lengthen(&mut self, more: usize) {
        if self.end + more > self.most() && self.len() + more <= self.most() {
            self.compact();
        }
        // Where they were moved to there may be less room than where they were.
        if self.end + more > self.most() {
            self.grow(self.len() + more);
        }
    }

    /// Puts these behind what is in it, however many they are.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.lengthen(bytes.len());
        let end = self.end;
        self.hold()[end..end + bytes.len()].copy_from_slice(bytes);
        self.put(bytes.len());
    }

    /// How much memory it holds.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.len())
    }

    /// What is left of something long needs no memory that is.
    pub fn shorten(&mut self) {
        let is_long = self.memory.as_ref().is_some_and(|memory| memory.len() > TRAY);
        if is_long && self.is_kept() && self.len() <= SIZE / 2 {
            self.compact();
        }
    }

    /// What is in it goes to memory that is long enough.
    fn grow(&mut self, len: usize) {
        let mut long = lend_long(self.arena, len);
        long[..self.len()].copy_from_slice(self.bytes());
        let len = self.len();
        if let Some(short) = self.memory.replace(long) {
            self.put_away(short);
        }
        (self.start, self.end, self.is_changed) = (0, len, true);
    }

    /// Gives the memory back if nothing is in it, nor on record.
    pub fn settle(&mut self) {
        if self.is_empty() && !(self.is_changed && self.is_kept()) {
            (self.start, self.end) = (0, 0);
            if let Some(memory) = self.memory.take() {
                give_back::<SIZE>(memory);
            }
        }
    }

    fn hold(&mut self) -> &mut Memory {
        let arena = self.arena;
        self.memory.get_or_insert_with(|| lend::<SIZE>(arena))
    }

    /// What is in it goes to the beginning of other memory.
    fn leave(&mut self, len: usize) {
        let mut fresh = lend_for::<SIZE>(self.arena, len);
        fresh[..len].copy_from_slice(self.bytes());
        if let Some(before) = self.memory.replace(fresh) {
            self.put_away(before);
        }
    }

    /// Memory that may be on record.
    fn put_away(&mut self, memory: Memory) {
        match (self.arena, &self.before) {
            (Some(_), None) => self.before = Some(memory),
            _ => give_back::<SIZE>(memory),
        }
    }
}

/// Trays that are kept.
impl<const SIZE: usize> Tray<SIZE> {
    /// Of bytes that somebody has left in this piece, from here to there.
    pub fn found(piece: Option<Piece>, start: usize, end: usize) -> Self {
        let memory = piece.map(Memory::Piece);
        let (arena, before, is_changed) = (None, None, true);
        Self { memory, start, end, arena, before, is_changed }
    }

    /// From now on its bytes are in this arena, as far as that has room.
    pub fn keep_in(&mut self, arena: &'static Arena) {
        self.arena = Some(arena);
        self.is_changed = true;
        if matches!(self.memory, Some(Memory::Own(_))) {
            let len = self.len();
            let mut fresh = lend_for::<SIZE>(self.arena, len);
            fresh[..len].copy_from_slice(self.bytes());
            self.memory.replace(fresh).into_iter().for_each(give_back::<SIZE>);
            (self.start, self.end) = (0, len);
        }
    }

    /// Nobody keeps what it has any more.
    pub fn keep_no_more(&mut self) {
        self.arena = None;
        self.let_go();
        self.settle();
    }

    /// Whether it is kept.
    pub fn is_kept(&self) -> bool {
        self.arena.is_some()
    }

    /// Whether what is on record is not how it stands.
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// How it stands is on record.
    pub fn recorded(&mut self) {
        self.is_changed = false;
        self.let_go();
        self.settle();
    }

    fn let_go(&mut self) {
        if let Some(before) = self.before.take() {
            give_back::<SIZE>(before);
        }
    }

    /// Where its bytes are, from where to where; None while they are in no arena.
    pub fn standing(&self) -> Option<(Option<u32>, usize, usize)> {
        match &self.memory {
            Some(memory) if !self.is_empty() => Some((Some(memory.place()?), self.start, self.end)),
            _ => Some((None, 0, 0)),
        }
    }

    /// The piece that is read into next; None: none.
    pub fn place(&mut self) -> Option<u32> {
        self.hold().place()
    }

    /// Its memory that is in an arena: what it has, and what is on record.
    pub fn into_pieces(mut self) -> impl Iterator<Item = Piece> {
        let memory = [self.memory.take(), self.before.take()];
        memory.into_iter().flatten().filter_map(|memory| match memory {
            Memory::Piece(piece) => Some(piece),
            Memory::Own(_) => None,
        })
    }
}

impl<const SIZE: usize> Drop for Tray<SIZE> {
    fn drop(&mut self) {
        self.memory.take().into_iter().for_each(give_back::<SIZE>);
        self.let_go();
    }
}

impl Memory {
    fn place(&self) -> Option<u32> {
        match self {
            Self::Own(_) => None,
            Self::Piece(piece) => Some(piece.place()),
        }
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(memory) => memory,
            Self::Piece(piece) => piece,
        }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Own(memory) => memory,
            Self::Piece(piece) => piece,
        }
    }
}

fn lend<const SIZE: usize>(arena: Option<&'static Arena>) -> Memory {
    if let Some(piece) = arena.and_then(Arena::lend) {
        return Memory::Piece(piece);
    }
    let free = free::<SIZE>().with_borrow_mut(Vec::pop);
    Memory::Own(free.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()))
}

/// The same for so many bytes.
fn lend_for<const SIZE: usize>(arena: Option<&'static Arena>, len: usize) -> Memory {
    let usual = lend::<SIZE>(arena);
    if usual.len() >= len {
        return usual;
    }
    give_back::<SIZE>(usual);
    lend_long(arena, len)
}

/// The same for more than is usual.
fn lend_long(arena: Option<&'static Arena>, len: usize) -> Memory {
    let piece = arena.and_then(Arena::lend_longer).filter(|piece| piece.len() >= len);
    let own = || Memory::Own(vec![0; len.next_power_of_two()].into_boxed_slice());
    piece.map_or_else(own, Memory::Piece)
}

fn give_back<const SIZE: usize>(memory: Memory) {
    // What has grown for a long frame is freed.
    if let Memory::Own(memory) = memory
        && memory.len() == SIZE
    {
        keep(free::<SIZE>(), KEPT / SIZE, memory);
    }
}

fn free<const SIZE: usize>() -> &'static LocalKey<Free> {
    if SIZE == RECORDS { &FREE_RECORDS } else { &FREE_FRAMES }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::arena::Kind;

    #[test]
    fn memory_is_held_only_while_bytes_are_in_it() {
        let mut tray = Tray::<RECORDS>::default();
        tray.room();
        tray.settle();
        assert!(tray.memory.is_none());
        tray.room()[..3].copy_from_slice(b"abc");
        tray.put(3);
        tray.take(1);
        tray.settle();
        assert_eq!(tray.bytes(), b"bc");
        tray.take(2);
        tray.settle();
        assert!(tray.memory.is_none());
    }

    #[test]
    fn a_record_finds_room_behind_another() {
        let mut tray = Tray::<RECORDS>::with(&vec![1; RECORDS - 10]);
        tray.take(RECORDS - 20);
        tray.make_room(30);
        assert_eq!(tray.bytes(), [1; 10]);
        assert_eq!(tray.room().len(), RECORDS - 10);
    }

    #[test]
    fn a_long_frame_has_memory_of_its_own() {
        let mut tray = Tray::<FRAMES>::with(&[1; 10]);
        tray.take(4);
        tray.extend(&[2; 100_000]);
        assert_eq!((tray.len(), &tray.bytes()[..7]), (100_006, &[1, 1, 1, 1, 1, 1, 2][..]));
        tray.extend(&[3; 100_000]);
        assert_eq!((tray.len(), tray.bytes()[200_005]), (200_006, 3));
    }

    /// Of what has grown there may be more than an arena's piece, or our own memory, has room for.
    #[test]
    fn what_is_left_of_a_long_frame_finds_room() {
        let arena = Arena::leaked(Kind::Trays, 4);
        let mut tray = Tray::<FRAMES>::default();
        tray.keep_in(arena);
        tray.extend(&[1; 70_000]);
        tray.extend(&[2; 60_000]);
        tray.take(70_000);
        tray.compact();
        assert_eq!((tray.len(), tray.bytes()[59_999]), (60_000, 2));
        tray.take(40_000);
        tray.lengthen(100);
        assert!(tray.room().len() >= 100);
        assert_eq!(tray.bytes(), [2; 20_000]);
    }

    /// Our own memory has less room than a piece that was lent when there were some.
    #[test]
    fn what_was_in_a_piece_finds_room_when_none_is_left() {
        let arena = Arena::leaked(Kind::Trays, 4);
        let mut tray = Tray::<FRAMES>::default();
        tray.keep_in(arena);
        tray.extend(&[1; 30_000]);
        let _all: Vec<Piece> = std::iter::from_fn(|| arena.lend()).collect();
        tray.take(10);
        tray.compact();
        assert_eq!(tray.bytes(), [1; 29_990]);
    }

    /// It can be on record, and what is left of it goes where it is short.
    #[test]
    fn a_long_frame_that_is_kept_has_a_long_piece() {
        let arena = Arena::leaked_with_longer(4, 1);
        let mut tray = Tray::<FRAMES>::with(&[1; 40_000]);
        tray.keep_in(arena);
        let (place, start, end) = tray.standing().expect("a piece");
        assert_eq!((place.map(Kind::of_tray), start, end), (Some(Kind::Long), 0, 40_000));
        tray.recorded();
        tray.lengthen(1);
        assert!(!tray.is_changed() && tray.room().len() > 16_000_000);
        tray.extend(&[2; 3_000_000]);
        tray.recorded();
        tray.shorten();
        assert_eq!((tray.standing().map(|(at, ..)| at), tray.len()), (Some(place), 3_040_000));
        tray.take(3_039_000);
        tray.shorten();
        let (short, ..) = tray.standing().expect("a piece");
        assert_eq!((short.map(Kind::of_tray), tray.bytes()), (Some(Kind::Trays), &[2; 1000][..]));
        assert!(arena.peek(place.expect("one"))[..40_000].iter().all(|it| *it == 1), "on record");
        tray.extend(&[3; 50_000]);
        assert_eq!(tray.standing(), None, "the only one is on record");
        tray.recorded();
        let fresh = arena.lend_longer().expect("it is nobody's any more");
        assert_eq!(Some(fresh.place()), place);
    }

    /// What a record names stays as it is until the next one, whatever is done.
    #[test]
    fn what_is_on_record_is_not_written_over() {
        let arena = Arena::leaked(Kind::Trays, 4);
        let mut tray = Tray::<RECORDS>::with(&vec![7; RECORDS - 10]);
        tray.keep_in(arena);
        tray.take(RECORDS - 30);
        let (place, start, end) = tray.standing().expect("a piece");
        let place = place.expect("bytes");
        tray.recorded();
        tray.make_room(100);
        assert!(tray.is_changed());
        tray.room().fill(9);
        assert_eq!(arena.peek(place)[start..end], [7; 20]);
        let (other, ..) = tray.standing().expect("a piece");
        assert_ne!(other, Some(place));
        tray.recorded();
        assert_eq!(tray.bytes(), [7; 20]);
        // What has grown is on no record.
        tray.extend(&vec![1; RECORDS]);
        assert_eq!(tray.standing(), None);
    }
}
