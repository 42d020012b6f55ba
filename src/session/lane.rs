//! One direction of a session: bytes that were read and are not yet written.
//!
//! ```text
//!   0 ...... start ======== judged -------- end ......... SIZE
//!            │ to be written │ not judged    │ free
//! ```
//!
//! A lane that is empty holds no buffer. Invariant: start ≤ judged ≤ end.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::buffer::{Buffer, SIZE};
use crate::wire::packet::HEADER;

/// What to do with the client's bytes that were handed in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// So many were judged; the rest stays with the caller until more come.
    pub consumed: usize,
    /// Of those, these are not passed on as they are but replaced. They are the last ones.
    pub rewrite: Option<Rewrite>,
    /// What is behind waits for an answer, or for the caller: it is not judged now.
    pub is_held: bool,
}

/// Bytes in place of others.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Which of the bytes handed in are replaced.
    pub range: Range<usize>,
    /// By what.
    pub with: Vec<u8>,
}

/// Room that reads leave, so that last words find a place.
const SLACK: usize = 64;

/// By how much a command may grow that is replaced.
pub const GROWTH: u16 = 2 * 1024;

/// Who leaves more has no room to read into.
const MOST_RESERVED: u16 = 12 * 1024;

/// Bytes in transit, and whether more will come.
#[derive(Debug, Default)]
pub struct Lane {
    buffer: Option<Buffer>,
    start: usize,
    judged: usize,
    end: usize,
    source: Source,
    /// Room that reads leave beside [`SLACK`].
    reserve: u16,
}

/// Whether the sending side still sends: Open ─► Ended ─► Closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// It may.
    #[default]
    Open,
    /// It has sent FIN; it is to be passed on behind the last byte.
    Ended,
    /// It has sent FIN, and so have we.
    Closed,
}

impl Lane {
    /// A lane with bytes in it: of those, `judged` are to be written.
    ///
    /// None when there are more than a lane holds.
    pub fn with(bytes: &[u8], judged: usize, source: Source) -> Option<Self> {
        if bytes.len() > SIZE || judged > bytes.len() {
            return None;
        }
        let mut lane = Self { source, ..Self::default() };
        if !bytes.is_empty() {
            let buffer = lane.buffer.insert(Buffer::lend());
            buffer[..bytes.len()].copy_from_slice(bytes);
            (lane.judged, lane.end) = (judged, bytes.len());
        }
        Some(lane)
    }

    /// Whether the sending side still sends.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Notes what the sending side does.
    pub fn set_source(&mut self, source: Source) {
        self.source = source;
    }

    /// What is to be written.
    pub fn pending(&self) -> &[u8] {
        self.slice(self.start..self.judged)
    }

    /// What is not judged yet.
    pub fn unjudged(&self) -> &[u8] {
        self.slice(self.judged..self.end)
    }

    /// Gives the packet whose header starts there among what is not judged this number.
    pub fn number(&mut self, at: usize, sequence: u8) {
        let at = self.judged + at + HEADER - 1;
        assert!(at < self.end, "a header that is at hand");
        if let Some(buffer) = &mut self.buffer {
            buffer[at] = sequence;
        }
    }

    /// Puts these in place of as many unjudged bytes there.
    pub fn patch(&mut self, at: usize, with: [u8; 4]) {
        let at = self.judged + at;
        assert!(at + with.len() <= self.end, "bytes that are at hand");
        if let Some(buffer) = &mut self.buffer {
            buffer[at..at + with.len()].copy_from_slice(&with);
        }
    }

    /// Reads leave so much room from now on, for what grows and what is put back.
    pub fn reserve(&mut self, bytes: usize) {
        self.reserve = u16::try_from(bytes).unwrap_or(u16::MAX).min(MOST_RESERVED);
    }

    /// Whether there is room for a command that grows.
    pub fn has_room_to_grow(&self) -> bool {
        SIZE - (self.end - self.start) >= usize::from(GROWTH)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Everything in it: what is to be written, then what is not judged.
    pub fn bytes(&self) -> &[u8] {
        self.slice(self.start..self.end)
    }

    /// So many bytes more are to be written.
    pub fn judge(&mut self, n: usize) {
        self.judged += n;
        assert!(self.judged <= self.end, "a session judges only what it was given");
    }

    /// Does with unjudged bytes what a session has said; true when there may be more to judge,
    /// behind a rewritten packet.
    pub fn take(&mut self, intake: Intake) -> bool {
        let Some(rewrite) = intake.rewrite else {
            self.judge(intake.consumed);
            return false;
        };
        // What is put in place of a packet is no longer than that: ids of ours have ten digits; or
        // reads have left room.
        let spliced = self.splice(&rewrite);
        debug_assert!(spliced, "no room for a rewritten packet");
        let length = if spliced { rewrite.with.len() } else { rewrite.range.len() };
        self.judge(rewrite.range.start + length);
        true
    }

    /// Puts other bytes in place of some of the unjudged ones; false when there is no room.
    #[must_use]
    fn splice(&mut self, rewrite: &Rewrite) -> bool {
        if self.end + rewrite.with.len() > SIZE {
            self.compact();
        }
        let Some(buffer) = &mut self.buffer else { return false };
        let Range { start, end } = rewrite.range;
        let (start, end) = (self.judged + start, self.judged + end);
        let moved_to = start + rewrite.with.len();
        let new_end = moved_to + (self.end - end);
        if new_end > SIZE {
            return false;
        }
        buffer.copy_within(end..self.end, moved_to);
        buffer[start..moved_to].copy_from_slice(&rewrite.with);
        self.end = new_end;
        true
    }

    /// Whether no more can be read before something is judged and written.
    pub fn is_full(&self) -> bool {
        self.end - self.start >= SIZE - SLACK - usize::from(self.reserve)
    }

    /// Takes so many unjudged bytes out: they are passed on to nobody.
    pub fn discard(&mut self, n: usize) {
        let nothing = Rewrite { range: 0..n, with: Vec::new() };
        assert!(self.splice(&nothing), "less takes no room");
        if self.start == self.end {
            (self.start, self.judged, self.end) = (0, 0, 0);
        }
    }

    /// Puts this in front of what is not judged, in place of what is still to be written; false if
    /// there is no room.
    #[must_use]
    pub fn put_back(&mut self, bytes: &[u8]) -> bool {
        self.start = self.judged;
        self.buffer.get_or_insert_with(Buffer::lend);
        self.splice(&Rewrite { range: 0..0, with: bytes.to_vec() })
    }

    /// Puts whole packets of ours behind what is to be written, where nothing unjudged is; false if
    /// there is no room.
    #[must_use]
    pub fn answer(&mut self, packets: &[u8]) -> bool {
        self.compact();
        if self.judged != self.end || self.end + packets.len() > SIZE {
            return false;
        }
        let end = self.end + packets.len();
        let buffer = self.buffer.get_or_insert_with(Buffer::lend);
        buffer[self.end..end].copy_from_slice(packets);
        (self.judged, self.end) = (end, end);
        true
    }

    /// Puts a packet of ours in place of what is not judged yet.
    pub fn say(&mut self, packet: &[u8]) {
        self.end = self.judged;
        self.compact();
        let buffer = self.buffer.get_or_insert_with(Buffer::lend);
        let end = self.end + packet.len();
        // A lane that is full to the brim has no place for last words; then there are none.
        if let Some(place) = buffer.get_mut(self.end..end) {
            place.copy_from_slice(packet);
            (self.judged, self.end) = (end, end);
        }
    }

    /// Forgets everything in it.
    pub fn clear(&mut self) {
        let (source, reserve) = (self.source, self.reserve);
        *self = Self { source, reserve, ..Self::default() };
    }

    /// So many bytes of what is to be written are.
    #[inline]
    pub fn written(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.judged, "only what was judged is written");
        if self.start == self.end {
            (self.start, self.judged, self.end) = (0, 0, 0);
        }
    }

    /// Where more bytes may be put behind what is there: [`Lane::filled`] tells how many were.
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        self.compact();
        let end = self.end;
        let buffer = self.buffer.get_or_insert_with(Buffer::lend);
        &mut buffer[end..(SIZE - SLACK - usize::from(self.reserve)).max(end)]
    }

    /// So many bytes were put into the room. A lane that is empty gives its buffer back.
    #[inline]
    pub fn filled(&mut self, n: usize) {
        self.end += n;
        if self.end == 0 {
            self.buffer = None;
        }
    }

    /// Moves what is left to the front. It is short: the start of a packet that is not whole.
    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        if let Some(buffer) = &mut self.buffer {
            buffer.copy_within(self.start..self.end, 0);
        }
        (self.judged, self.end) = (self.judged - self.start, self.end - self.start);
        self.start = 0;
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[range])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(lane: &mut Lane, bytes: &[u8]) {
        lane.room()[..bytes.len()].copy_from_slice(bytes);
        lane.filled(bytes.len());
    }

    #[test]
    fn bytes_are_written_as_far_as_they_are_judged() {
        let mut lane = Lane::default();
        put(&mut lane, b"one two");
        assert_eq!((lane.pending(), lane.unjudged()), (&b""[..], &b"one two"[..]));
        lane.judge(4);
        lane.written(2);
        assert_eq!((lane.pending(), lane.unjudged()), (&b"e "[..], &b"two"[..]));
        put(&mut lane, b" three");
        assert_eq!(lane.bytes(), b"e two three");
        lane.judge(9);
        lane.written(11);
        assert!(lane.is_empty());
        // Nothing came: the buffer goes back.
        lane.room();
        lane.filled(0);
        assert!(lane.buffer.is_none());
    }

    #[test]
    fn a_rewritten_stretch_is_judged_with_what_is_before_it() {
        let mut lane = Lane::default();
        put(&mut lane, b"say 4294967295 and more");
        let rewrite = Rewrite { range: 4..14, with: b"7".to_vec() };
        assert!(
            lane.take(Intake { consumed: 14, rewrite: Some(rewrite), is_held: false }),
            "more may be behind"
        );
        assert_eq!((lane.pending(), lane.unjudged()), (&b"say 7"[..], &b" and more"[..]));
        assert!(!lane.take(Intake { consumed: 9, rewrite: None, is_held: false }));
        assert_eq!(lane.pending(), b"say 7 and more");
    }

    #[test]
    fn words_of_ours_stand_behind_what_was_judged() {
        let mut lane = Lane::default();
        put(&mut lane, b"old news");
        lane.judge(4);
        lane.say(b"bye");
        assert_eq!((lane.pending(), lane.unjudged()), (&b"old bye"[..], &b""[..]));
        let mut full = Lane::with(&[0; SIZE], SIZE, Source::Open).expect("it fits");
        full.say(b"bye");
        assert_eq!(full.pending().len(), SIZE, "there is no place for it");
    }

    #[test]
    fn what_was_written_can_be_put_back() {
        let mut lane = Lane::default();
        put(&mut lane, b"one two");
        lane.judge(4);
        lane.written(2);
        assert!(lane.put_back(b"one "));
        assert_eq!((lane.pending(), lane.unjudged()), (&b""[..], &b"one two"[..]));
        lane.judge(7);
        lane.written(7);
        assert!(lane.is_empty() && lane.put_back(b"two"), "an empty one has room");
        assert_eq!(lane.unjudged(), b"two");
        // As much as reads have left room for, whatever was read meanwhile.
        let kept = [b'k'; 8 * 1024];
        let mut lane = Lane::default();
        put(&mut lane, &kept);
        put(&mut lane, &vec![b'x'; SIZE - SLACK - kept.len()]);
        lane.judge(kept.len());
        lane.reserve(kept.len());
        lane.written(kept.len());
        assert!(lane.is_full() && lane.room().is_empty());
        assert!(lane.put_back(&kept));
        assert_eq!(lane.unjudged().len(), SIZE - SLACK);
    }

    #[test]
    fn a_lane_takes_no_more_than_its_buffer() {
        assert!(Lane::with(&[0; SIZE + 1], 0, Source::Open).is_none());
        assert!(Lane::with(&[0; 3], 4, Source::Open).is_none());
        let mut lane = Lane::default();
        assert_eq!(lane.room().len(), SIZE - SLACK);
        put(&mut lane, &[b'x'; SIZE - SLACK]);
        assert!(lane.is_full());
        lane.number(8, 9);
        assert_eq!(lane.bytes()[11], 9);
    }
}
