//! One direction of a session: bytes that were read and are not yet written.
//!
//! ```text
//!   0 ...... start ======== judged -------- end ......... SIZE
//!            │ to be written │ not judged    │ free
//! ```
//!
//! A lane that is empty holds no buffer. Invariant: start ≤ judged ≤ end.
//!
//! Of a lane that is *kept*, in an arena, somebody has on record where its bytes are, and goes by
//! that and by what the sockets count if this process dies: bytes that are written or read by
//! [`Lane::written`] and [`Lane::filled`] need no new record. So between two records nothing is
//! changed in place that the last one names: what is rewritten or moved goes to another buffer,
//! and the one before stays until [`Lane::recorded`].

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::buffer::arena::{Arena, Piece};
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
    /// Where its bytes are to be on record.
    arena: Option<&'static Arena>,
    /// What is on record, if that is another one.
    before: Option<Buffer>,
    /// What is on record is not how it stands.
    is_changed: bool,
}

/// Where a lane's bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The piece of the arena; None: there are no bytes.
    pub place: Option<u32>,
    /// See above.
    pub start: usize,
    /// See above.
    pub judged: usize,
    /// See above.
    pub end: usize,
    /// What the sending side does.
    pub source: Source,
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

    /// Its buffers that are in an arena: the one that it has, and the one that is on record.
    pub fn into_pieces(self) -> impl Iterator<Item = Piece> {
        [self.buffer, self.before].into_iter().flatten().filter_map(Buffer::into_piece)
    }

    /// Whether the sending side still sends.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Notes what the sending side does.
    pub fn set_source(&mut self, source: Source) {
        self.is_changed |= self.source != source;
        self.source = source;
    }

    /// What is to be written.
    pub fn pending(&self) -> &[u8] {
        self.slice(self.start..self.judged)
    }

    /// Whether nothing is to be written.
    #[inline]
    pub fn is_drained(&self) -> bool {
        self.start == self.judged
    }

    /// What is not judged yet.
    pub fn unjudged(&self) -> &[u8] {
        self.slice(self.judged..self.end)
    }

    /// Gives the packet whose header starts there among what is not judged this number.
    pub fn number(&mut self, at: usize, sequence: u8) {
        let at = self.judged + at + HEADER - 1;
        assert!(at < self.end, "a header that is at hand");
        let at = at - self.leave();
        if let Some(buffer) = &mut self.buffer {
            buffer[at] = sequence;
        }
    }

    /// Puts these in place of as many unjudged bytes there.
    pub fn patch(&mut self, at: usize, with: [u8; 4]) {
        let at = self.judged + at;
        assert!(at + with.len() <= self.end, "bytes that are at hand");
        let at = at - self.leave();
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
        self.is_changed = true;
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
        self.leave();
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
        self.is_changed = true;
        self.start_over_if_empty();
    }

    /// Puts this in front of what is not judged, in place of what is still to be written; false if
    /// there is no room.
    #[must_use]
    pub fn put_back(&mut self, bytes: &[u8]) -> bool {
        self.leave();
        self.start = self.judged;
        self.hold();
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
        let (at, end) = (self.end, self.end + packets.len());
        self.hold()[at..end].copy_from_slice(packets);
        (self.judged, self.end, self.is_changed) = (end, end, true);
        true
    }

    /// Puts a packet of ours in place of what is not judged yet.
    pub fn say(&mut self, packet: &[u8]) {
        self.leave();
        self.end = self.judged;
        self.compact();
        let (at, end) = (self.end, self.end + packet.len());
        // A lane that is full to the brim has no place for last words; then there are none.
        if let Some(place) = self.hold().get_mut(at..end) {
            place.copy_from_slice(packet);
            (self.judged, self.end, self.is_changed) = (end, end, true);
        }
    }

    /// Forgets everything in it.
    pub fn clear(&mut self) {
        let buffer = self.buffer.take();
        if self.arena.is_some() && self.before.is_none() {
            self.before = buffer;
        }
        (self.start, self.judged, self.end, self.is_changed) = (0, 0, 0, true);
    }

    /// Nobody uses it for a while: it gives its buffer back, if nothing is in it. What is on record
    /// stays until it is not.
    pub fn rest(&mut self) {
        if self.is_empty() && self.buffer.is_some() {
            self.clear();
        }
    }

    /// So many bytes of what is to be written are. Of a lane that is empty for that nothing new is
    /// on record: what is read next is known not to be behind bytes that were written.
    #[inline]
    pub fn written(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.judged, "only what was judged is written");
        self.start_over_if_empty();
    }

    /// The same, by whom no socket counts.
    pub fn taken(&mut self, n: usize) {
        self.written(n);
        self.is_changed |= n > 0;
    }

    /// Where more bytes may be put behind what is there: [`Lane::filled`] tells how many were.
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        if self.arena.is_none() {
            self.compact();
        }
        let (end, most) = (self.end, SIZE - SLACK - usize::from(self.reserve));
        &mut self.hold()[end..most.max(end)]
    }

    /// So many bytes were put into the room. A lane that is empty gives its buffer back.
    #[inline]
    pub fn filled(&mut self, n: usize) {
        self.end += n;
        if self.end == 0 {
            self.buffer = None;
        }
    }

    /// The same, by whom no socket counts.
    pub fn put(&mut self, n: usize) {
        self.is_changed |= n > 0;
        self.filled(n);
    }

    /// Moves what is left to the front. It is short: the start of a packet that is not whole.
    fn compact(&mut self) {
        self.leave();
        if self.start == 0 {
            return;
        }
        if let Some(buffer) = &mut self.buffer {
            buffer.copy_within(self.start..self.end, 0);
        }
        (self.judged, self.end) = (self.judged - self.start, self.end - self.start);
        (self.start, self.is_changed) = (0, true);
    }

    #[inline]
    fn start_over_if_empty(&mut self) {
        if self.start == self.end {
            (self.start, self.judged, self.end) = (0, 0, 0);
        }
    }

    /// Its buffer.
    #[inline]
    fn hold(&mut self) -> &mut Buffer {
        let arena = self.arena;
        self.buffer.get_or_insert_with(|| arena.map_or_else(Buffer::lend, Buffer::lend_from))
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |buffer| &buffer[range])
    }
}

/// Lanes that are kept.
impl Lane {
    /// A lane as somebody has left it, of whose bytes these are on record in their place.
    pub fn found(piece: Option<Piece>, standing: Standing) -> Self {
        let Standing { start, judged, end, source, .. } = standing;
        let buffer = piece.map(Buffer::from);
        Self { buffer, start, judged, end, source, is_changed: true, ..Self::default() }
    }

    /// From now on its bytes are in this arena, as far as that has room.
    pub fn keep_in(&mut self, arena: &'static Arena) {
        self.arena = Some(arena);
        self.is_changed = true;
        if self.buffer.as_ref().is_some_and(|buffer| buffer.place().is_none()) {
            self.leave();
            self.before = None;
        }
    }

    /// Nobody keeps what it has any more.
    pub fn keep_no_more(&mut self) {
        (self.arena, self.before) = (None, None);
    }

    /// Whether what is on record is not how it stands.
    #[inline]
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// How it stands; None while it has bytes that are in no arena.
    #[inline]
    pub fn standing(&self) -> Option<Standing> {
        let Self { start, judged, end, source, .. } = *self;
        let place = match &self.buffer {
            Some(buffer) if end > 0 => Some(buffer.place()?),
            _ => None,
        };
        Some(Standing { place, start, judged, end, source })
    }

    /// How it stands is on record.
    #[inline]
    pub fn recorded(&mut self) {
        self.is_changed = false;
        if self.before.is_some() {
            self.before = None;
        }
    }

    /// Makes room to read into, if what was written has left some in front; to be done before it is
    /// recorded.
    #[inline]
    pub fn make_room(&mut self) {
        let most = SIZE - SLACK - usize::from(self.reserve);
        if self.arena.is_some() && self.start > 0 && self.end + SIZE / 2 > most {
            self.compact();
        }
    }

    /// Where the next read goes, if that is not where bytes are on record already. None: not into
    /// an arena.
    #[inline]
    pub fn target(&mut self) -> Target {
        debug_assert!(!self.is_changed, "what is read is behind what is on record");
        debug_assert!(self.pending().is_empty(), "what is to be written is first");
        if self.end > 0 {
            return Target::OnRecord;
        }
        self.hold().place().map_or(Target::Elsewhere, Target::Piece)
    }

    /// What is done from here on leaves what is on record as it is: it is done to a copy. By how
    /// much what is in it has moved to the front.
    fn leave(&mut self) -> usize {
        let Some(arena) = self.arena else { return 0 };
        if self.before.is_some() || self.buffer.is_none() {
            return 0;
        }
        let mut fresh = Buffer::lend_from(arena);
        let (moved, end) = (self.start, self.end - self.start);
        fresh[..end].copy_from_slice(self.bytes());
        self.before = self.buffer.replace(fresh);
        (self.start, self.judged, self.end) = (0, self.judged - moved, end);
        self.is_changed = true;
        moved
    }
}

/// Where a lane is read into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Behind bytes that are on record.
    OnRecord,
    /// To the beginning of this piece.
    Piece(u32),
    /// To where nobody will find it.
    Elsewhere,
}

#[cfg(test)]
mod tests;
