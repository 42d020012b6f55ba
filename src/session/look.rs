//! What the next packet of a direction is, before it is judged.
//!
//! Whoever numbers packets and frames for a leg has to know before a packet is passed on what it
//! begins. Invariant: a packet that is seen here is consumed when it is judged, and one that is not
//! seen is not, if no more is handed in than what is left of the packet before it.

use crate::wire::packet::{HEADER, Header};

/// A packet whose header is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Where the header stands in the bytes.
    pub at: usize,
    /// Where the packet ends, or the bytes.
    pub end: usize,
    /// Its number as it is.
    pub sequence: u8,
    /// What it is.
    pub place: Place,
}

/// What a packet is in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A command, or the first packet of an answer. The number it should have.
    Begins(u8),
    /// It goes on with what the same side said before, and should have this number.
    GoesOn(u8),
    /// The client's part in the answer to a command: data of a file, or of an authentication.
    Speech,
    /// Nothing asked for it.
    Unasked,
}

/// The packet with this header, if as much of its payload is at hand as it is judged by.
pub(super) fn whole(
    bytes: &[u8],
    at: usize,
    header: Header,
    wanted: usize,
    place: Place,
) -> Option<Ahead> {
    let body = bytes.len() - at - HEADER;
    let end = at + HEADER + header.length.min(body);
    let is_judged = body >= wanted.min(header.length);
    is_judged.then_some(Ahead { at, end, sequence: header.sequence, place })
}
