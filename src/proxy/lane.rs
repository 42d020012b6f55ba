//! One direction of a session: bytes that were read and are not yet written.
//!
//! ```text
//!   0 ...... start ======== judged -------- end ......... SIZE
//!            │ to be written │ not judged    │ free
//! ```
//!
//! A lane that is empty holds no buffer. Invariant: start ≤ judged ≤ end.

use std::io;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};

use super::leg::Leg;
use crate::net::buffer::{Buffer, SIZE};
use crate::session::Rewrite;
use crate::wire::packet::HEADER;

/// Room that reads leave, so that last words find a place.
const SLACK: usize = 64;

/// Bytes in transit, and whether more will come.
#[derive(Debug, Default)]
pub struct Lane {
    buffer: Option<Buffer>,
    start: usize,
    judged: usize,
    end: usize,
    source: Source,
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

    /// Puts other bytes in place of some of the unjudged ones; false when there is no room.
    #[must_use]
    pub fn splice(&mut self, rewrite: &Rewrite) -> bool {
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
        self.end - self.start >= SIZE - SLACK
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
        *self = Self { source: self.source, ..Self::default() };
    }

    /// Writes what is to be written; ready when the socket has all of it.
    #[inline]
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut Leg) -> Poll<io::Result<()>> {
        while self.start < self.judged {
            let n = ready!(to.poll_write(cx, self.slice(self.start..self.judged)))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += n;
        }
        if self.start == self.end {
            (self.start, self.judged, self.end) = (0, 0, 0);
        }
        // TLS and compression may hold on to what it has taken.
        to.poll_flush(cx)
    }

    /// Reads more behind what is there; 0 is the end of the stream.
    #[inline]
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut Leg) -> Poll<io::Result<usize>> {
        self.compact();
        let end = self.end;
        let buffer = self.buffer.get_or_insert_with(Buffer::lend);
        let filled = from.poll_read(cx, &mut buffer[end..SIZE - SLACK]);
        match filled {
            Poll::Ready(Ok(n)) => self.end += n,
            _ if end == 0 => self.buffer = None,
            _ => {}
        }
        filled
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
