//! What the next packet of a direction is, before it is judged.
//!
//! Whoever numbers packets and frames for a leg has to know before a packet is passed on what it
//! begins. Invariant: a packet that is seen here is consumed when it is judged, and one that is not
//! seen is not, if no more is handed in than [`Conversation::client_rest`] and its like say.

use super::{Answer, Conversation, HEAD, MAX_PIPELINED, Turn, head, is_definition};
use crate::wire::packet::{HEADER, Header, Logical};

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

impl Conversation {
    /// The client's bytes are left as they are for now.
    fn leaves_client(&self) -> bool {
        self.queue.len() >= MAX_PIPELINED || self.holds_all() && self.turn == Turn::Auth
    }

    /// How many of the client's bytes belong to no packet that is still to be seen.
    pub fn client_rest(&self, bytes: usize) -> usize {
        if self.turn == Turn::Opaque { bytes } else { self.client.rest().min(bytes) }
    }

    /// As [`Self::client_rest`], of the server's.
    pub fn server_rest(&self, bytes: usize) -> usize {
        if self.turn == Turn::Opaque { bytes } else { self.server.rest().min(bytes) }
    }

    /// The client's next packet, if it would be consumed.
    pub fn client_ahead(&self, bytes: &[u8]) -> Option<Ahead> {
        if self.turn == Turn::Opaque || self.leaves_client() {
            return None;
        }
        let (at, header, logical) = self.client.peek(bytes)?;
        let body = &bytes[at + HEADER..];
        let place = match (self.turn, logical) {
            (Turn::Command, Logical::First) => Place::Begins(0),
            (Turn::Command, Logical::Continued) => Place::GoesOn(header.sequence),
            (Turn::File | Turn::Auth, _) => Place::Speech,
            (Turn::Stream | Turn::Opaque, _) => Place::Unasked,
        };
        let wanted = match logical {
            Logical::First => head(self.turn, header, body),
            Logical::Continued => 0,
        };
        whole(bytes, at, header, wanted, place)
    }

    /// The server's next packet, if it would be consumed.
    pub fn server_ahead(&self, bytes: &[u8]) -> Option<Ahead> {
        if self.turn == Turn::Opaque || self.holds_exchange() {
            return None;
        }
        let (at, header, logical) = self.server.peek(bytes)?;
        let (place, wanted) = match (self.current, logical) {
            (_, Logical::Continued) => (Place::GoesOn(self.next_sequence), 0),
            (Some(current), _) if current.begun => (Place::GoesOn(self.next_sequence), HEAD),
            _ if self.is_residue_ahead(header, &bytes[at + HEADER..]) => {
                (Place::GoesOn(self.next_sequence), HEAD)
            }
            (Some(current), _) => (Place::Begins(current.sequence.wrapping_add(1)), HEAD),
            (None, _) if header.sequence == 0 => (Place::Unasked, HEAD),
            (None, _) => (Place::GoesOn(self.next_sequence), HEAD),
        };
        whole(bytes, at, header, wanted, place)
    }

    /// A definition that a prepare's wrapped count did not announce, or the EOF behind them.
    fn is_residue_ahead(&self, header: Header, head: &[u8]) -> bool {
        let is_announced = self.current.is_some_and(|current| current.answer == Answer::Fields);
        let is_eof = header.length < 9 && head.first() == Some(&0xFE);
        is_definition(header, head) && (self.residue || !is_announced)
            || self.residue && is_eof && !self.dialect.deprecate_eof
    }

    /// What a packet of ours to the client would be; None while it is in the middle of one.
    pub fn injection_ahead(&self) -> Option<Place> {
        let sequence = self.injection_sequence()?;
        Some(match self.current {
            None => Place::Unasked,
            Some(current) if current.begun => Place::GoesOn(sequence),
            Some(_) => Place::Begins(sequence),
        })
    }
}

fn whole(bytes: &[u8], at: usize, header: Header, wanted: usize, place: Place) -> Option<Ahead> {
    let body = bytes.len() - at - HEADER;
    let end = at + HEADER + header.length.min(body);
    let is_judged = body >= wanted.min(header.length);
    is_judged.then_some(Ahead { at, end, sequence: header.sequence, place })
}
