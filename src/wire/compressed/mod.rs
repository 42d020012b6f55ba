//! The compressed protocol: packets of both directions travel in frames.
//!
//! ```text
//!   3 bytes: length of the content   1: sequence number   3: its length once inflated, 0: stored
//!   content: a piece of the stream of packets, whose boundaries are not the frames'
//! ```
//!
//! A frame stands for itself: there is no dictionary across frames, so what a [`Decoder`] holds can
//! be had again from the raw bytes of the frame that is under way. [`encode_to`] holds nothing.
//! Invariant: the pieces that bytes come in change nothing of what comes out.

mod decode;
mod engine;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use decode::{Decoded, Decoder, DecoderState};

/// Bytes of a frame's header.
pub const HEADER: usize = 7;

/// What a length of 3 bytes can say.
pub const MAX_CONTENT: usize = 0xFF_FFFF;

/// As much plain text is put into one frame of ours: what servers do, and enough for a good ratio.
pub const MAX_PLAIN: usize = 16 * 1024;

/// Content below this length is stored, not compressed (MySQL: `MIN_COMPRESS_LENGTH`).
const MIN_COMPRESSED: usize = 50;

/// How a leg compresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// zlib (RFC 1950), at the level that servers use.
    Zlib,
    /// zstd (RFC 8878), at this level.
    Zstd(ZstdLevel),
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Zlib => "zlib",
            Self::Zstd(_) => "zstd",
        })
    }
}

/// A level of zstd, 1 to 22.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct ZstdLevel(u8);

impl ZstdLevel {
    /// What clients ask for when they are told nothing.
    pub const DEFAULT: Self = Self(3);
}

/// The level is not one of zstd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("zstd level {0}, expected 1 to 22")]
pub struct NotALevel(u8);

impl TryFrom<u8> for ZstdLevel {
    type Error = NotALevel;

    fn try_from(level: u8) -> Result<Self, NotALevel> {
        match level {
            1..=22 => Ok(Self(level)),
            _ => Err(NotALevel(level)),
        }
    }
}

impl From<ZstdLevel> for u8 {
    fn from(level: ZstdLevel) -> Self {
        level.0
    }
}

/// What is wrong with a frame. Nothing behind it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The content is no compressed data, or its checksum is wrong.
    #[error("a frame that cannot be inflated")]
    Content,
    /// The content is empty, but was announced to become something.
    #[error("an empty frame that announces {announced} bytes")]
    Empty {
        /// Bytes announced.
        announced: usize,
    },
    /// The content ends before its end mark, or becomes less than was announced.
    #[error("a frame that announces {announced} bytes and holds less")]
    Less {
        /// Bytes announced.
        announced: usize,
    },
    /// The content becomes more than was announced.
    #[error("a frame that announces {announced} bytes and holds more")]
    More {
        /// Bytes announced.
        announced: usize,
    },
    /// Something stands behind the end mark of the content.
    #[error("{bytes} bytes behind the end of a frame's content")]
    Surplus {
        /// How many.
        bytes: usize,
    },
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of content.
    pub length: usize,
    /// The frame's number.
    pub sequence: u8,
    /// Bytes that the content becomes; 0 says that it is stored as it is.
    pub plain: usize,
}

impl FrameHeader {
    /// The header at the start of `bytes`, if it is all there.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, sequence, d, e, f] = bytes.first_chunk::<HEADER>()?;
        let length = u32::from_le_bytes([a, b, c, 0]) as usize;
        let plain = u32::from_le_bytes([d, e, f, 0]) as usize;
        Some(Self { length, sequence, plain })
    }

    /// The seven bytes.
    pub fn encode(self) -> [u8; HEADER] {
        assert!(self.length.max(self.plain) <= MAX_CONTENT, "frames of ours are short");
        let [a, b, c, _] = (self.length as u32).to_le_bytes();
        let [d, e, f, _] = (self.plain as u32).to_le_bytes();
        [a, b, c, self.sequence, d, e, f]
    }
}

/// Appends one frame with the start of `plain` to `out`: as much as fits, which is returned.
#[cfg(test)]
pub fn encode(how: Compression, sequence: u8, plain: &[u8], out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.resize(start + HEADER + plain.len().min(MAX_PLAIN), 0);
    let (taken, length) = encode_to(how, sequence, plain, &mut out[start..]);
    out.truncate(start + length);
    taken
}

/// Writes one frame with the start of `plain` to the front of `out`, which has room for it as it
/// is: how much of it is in the frame, and how long that is.
pub fn encode_to(how: Compression, sequence: u8, plain: &[u8], out: &mut [u8]) -> (usize, usize) {
    let plain = &plain[..plain.len().min(MAX_PLAIN)];
    let (header, content) = out.split_at_mut(HEADER);
    let content = &mut content[..plain.len()];
    // No longer than what it stands for, or it is of no use.
    let packed = match plain.len() >= MIN_COMPRESSED {
        true => engine::deflate(how, plain, content),
        false => None,
    };
    let frame = match packed {
        Some(length) => FrameHeader { length, sequence, plain: plain.len() },
        None => {
            content.copy_from_slice(plain);
            FrameHeader { length: plain.len(), sequence, plain: 0 }
        }
    };
    header.copy_from_slice(&frame.encode());
    (plain.len(), HEADER + frame.length)
}
