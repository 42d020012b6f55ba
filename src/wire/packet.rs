//! Packets: a 4-byte header (payload length in 3 bytes, sequence number in 1), then the payload.
//!
//! A payload of 16 MiB − 1 is continued by the next packet; the packets up to the first shorter one
//! are one *logical* packet. [`Framer`] walks a stream without holding any of it: its state is the
//! number of payload bytes that are still to come. Invariant: feeding a stream in any pieces visits
//! the same packets and consumes the same bytes in the end.

use serde::{Deserialize, Serialize};

/// Bytes of a packet header.
pub const HEADER: usize = 4;

/// The payload length that says "continued in the next packet".
pub const MAX_PAYLOAD: usize = 0xFF_FFFF;

/// A packet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload in this packet.
    pub length: usize,
    /// The sequence number; it wraps at 256 and starts anew with each command.
    pub sequence: u8,
}

impl Header {
    /// The header at the start of `bytes`, if it is all there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, sequence] = bytes.first_chunk::<HEADER>()?;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        Some(Self { length, sequence })
    }

    /// The four bytes.
    pub fn encode(self) -> [u8; HEADER] {
        assert!(self.length <= MAX_PAYLOAD, "a longer payload is the caller's to split");
        let [a, b, c, _] = (self.length as u32).to_le_bytes();
        [a, b, c, self.sequence]
    }
}

/// One packet as a byte vector: header and payload. For payloads that are known to be short.
pub fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend(Header { length: payload.len(), sequence }.encode());
    out.extend(payload);
    out
}

/// A packet that starts in the bytes at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start<'a> {
    /// Its header.
    pub header: Header,
    /// Whether it begins a logical packet, or goes on with one.
    pub logical: Logical,
    /// The first bytes of the payload: as many as were asked for, or all of it.
    pub head: &'a [u8],
}

/// Where a physical packet stands in its logical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logical {
    /// It is the first, or the only one.
    First,
    /// The packet before it was full.
    Continued,
}

/// What [`Framer::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A packet starts here; its header is consumed, its payload follows.
    Packet(Start<'a>),
    /// All of the bytes that can be consumed now are; what is left is the start of a packet that is
    /// too short to be judged.
    NeedMore,
}

/// Walks the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framer {
    /// Payload bytes of the current packet that are still to come.
    left: u32,
    /// The current packet is full, so the next one goes on with its logical packet.
    continued: bool,
}

impl Framer {
    /// As a word, of 33 bits.
    #[inline]
    pub fn word(&self) -> u64 {
        u64::from(self.left) | u64::from(self.continued) << 32
    }

    /// From the lowest 33 bits of a word; None if no payload is so long.
    pub fn of_word(word: u64) -> Option<Self> {
        let left = word as u32;
        (left as usize <= MAX_PAYLOAD).then_some(Self { left, continued: word >> 32 & 1 == 1 })
    }

    /// Whether the stream stands between two logical packets.
    pub fn is_between_packets(&self) -> bool {
        self.left == 0 && !self.continued
    }

    /// Payload bytes of the current packet that are still to come.
    pub fn rest(&self) -> usize {
        self.left as usize
    }

    /// The next header, if it is at hand: where it stands in `bytes`, and whether its packet begins
    /// a logical one.
    pub fn peek(&self, bytes: &[u8]) -> Option<(usize, Header, Logical)> {
        let at = self.rest();
        let header = Header::parse(bytes.get(at..)?)?;
        let logical = if self.continued { Logical::Continued } else { Logical::First };
        Some((at, header, logical))
    }

    /// The caller deals with this many bytes of the current payload itself.
    pub fn skip(&mut self, payload: usize) {
        self.left = self.left.saturating_sub(payload as u32);
    }

    /// Consumes what is at hand of the current payload; moves `at` along.
    #[inline]
    pub fn consume_payload(&mut self, bytes: &[u8], at: &mut usize) {
        let payload = (self.left as usize).min(bytes.len() - *at);
        self.left -= payload as u32;
        *at += payload;
    }

    /// Consumes the rest of the current payload and a run of packets whose first byte says that
    /// they are rows, the last one perhaps in part; moves `at` along. The sequence number of the
    /// last one, if there is one, and how many there were.
    ///
    /// 0xFE and 0xFF may start something else: those, and empty packets, are left to
    /// [`Self::next`].
    #[inline]
    pub fn skip_rows(&mut self, bytes: &[u8], at: &mut usize) -> Option<(u8, u64)> {
        self.consume_payload(bytes, at);
        if !self.is_between_packets() {
            return None;
        }
        let (mut last, mut rows) = (None, 0);
        while let Some(&[a, b, c, sequence, first]) = bytes[*at..].first_chunk() {
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            if first >= 0xFE || length == 0 || length == MAX_PAYLOAD {
                break;
            }
            (last, rows) = (Some(sequence), rows + 1);
            let end = *at + HEADER + length;
            if end > bytes.len() {
                self.left = (end - bytes.len()) as u32;
                *at = bytes.len();
                break;
            }
            *at = end;
        }
        last.map(|last| (last, rows))
    }

    /// Consumes the rest of the current payload and the next header, moving `at` behind them.
    ///
    /// `head` tells, from the header of a packet that starts a logical one, how many bytes of its
    /// payload must be at hand before it can be judged. Fewer, and the packet is left unconsumed.
    #[inline]
    pub fn next<'a>(
        &mut self,
        bytes: &'a [u8],
        at: &mut usize,
        head: impl FnOnce(Header, &[u8]) -> usize,
    ) -> Step<'a> {
        self.consume_payload(bytes, at);
        let rest = &bytes[*at..];
        if self.left > 0 {
            return Step::NeedMore;
        }
        let Some(header) = Header::parse(rest) else { return Step::NeedMore };
        let body = &rest[HEADER..];
        let (logical, wanted) = match self.continued {
            true => (Logical::Continued, 0),
            false => (Logical::First, head(header, body).min(header.length)),
        };
        let Some(head) = body.get(..wanted) else { return Step::NeedMore };
        self.left = header.length as u32;
        self.continued = header.length == MAX_PAYLOAD;
        *at += HEADER;
        Step::Packet(Start { header, logical, head })
    }
}

/// A length-encoded integer at the start of `bytes` and how many bytes it takes.
///
/// None when it is cut off, or starts with 0xFB (NULL) or 0xFF.
#[inline]
pub fn lenenc(bytes: &[u8]) -> Option<(u64, usize)> {
    let width = match *bytes.first()? {
        short @ 0..=0xFA => return Some((short.into(), 1)),
        0xFC => 2,
        0xFD => 3,
        0xFE => 8,
        0xFB | 0xFF => return None,
    };
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(bytes.get(1..=width)?);
    Some((u64::from_le_bytes(wide), 1 + width))
}

/// Appends a length-encoded integer.
pub fn put_lenenc(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0xFA => out.push(value as u8),
        0xFB..=0xFFFF => {
            out.push(0xFC);
            out.extend(&value.to_le_bytes()[..2]);
        }
        0x1_0000..=0xFF_FFFF => {
            out.push(0xFD);
            out.extend(&value.to_le_bytes()[..3]);
        }
        _ => {
            out.push(0xFE);
            out.extend(value.to_le_bytes());
        }
    }
}

/// Appends a length-encoded string.
pub fn put_lenenc_str(out: &mut Vec<u8>, text: &[u8]) {
    put_lenenc(out, text.len() as u64);
    out.extend(text);
}
