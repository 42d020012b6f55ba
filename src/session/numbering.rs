//! Numbers of packets and frames where the legs have different ones. Pure: it sees a leg's frames
//! by [`Frames`] only.
//!
//! Without compression a packet's number is one more than that of the packet before it, whoever
//! sent that. With compression nobody checks it: frames are numbered and checked, and what stands
//! in the packets starts with the frame's number and jumps whenever the sender flushes. So when a
//! leg is compressed, packets are judged one at a time and get the numbers that the other leg
//! expects, and a leg hears of what begins when all before it is with it.

use serde::{Deserialize, Serialize};

use super::conversation::Conversation;
use super::lane::Lane;
use super::link::LinkId;
use super::look::{Ahead, Place};
use super::machine::Session;
use crate::error::ClientError;
use crate::wire::packet::HEADER;

/// The frames of a leg, as far as their numbers matter. A leg without compression has none.
pub trait Frames {
    /// Whether it has any.
    fn is_framed(&self) -> bool;
    /// What is written next starts a command.
    fn begin_command(&mut self);
    /// What is written next answers what was heard last. Its first frame's number.
    fn begin_reply(&mut self) -> Option<u8>;
    /// The same for what was heard up to this frame: others may have come behind it.
    fn begin_reply_to(&mut self, frame: u8) -> Option<u8>;
    /// The number of the frame that was read last; all of one read is of one frame.
    fn frame(&self) -> Option<u8>;
    /// Something has come since a frame of ours was written last.
    fn has_heard(&self) -> bool;
    /// What is written next is the same side's still, unless the other one was heard meanwhile.
    fn go_on(&mut self);
    /// What came in is not understood, and that has ended it.
    fn is_corrupt(&self) -> bool;
}

/// A leg that has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Frames for Plain {
    fn is_framed(&self) -> bool {
        false
    }

    fn begin_command(&mut self) {}

    fn begin_reply(&mut self) -> Option<u8> {
        None
    }

    fn begin_reply_to(&mut self, _: u8) -> Option<u8> {
        None
    }

    fn frame(&self) -> Option<u8> {
        None
    }

    fn has_heard(&self) -> bool {
        false
    }

    fn go_on(&mut self) {}

    fn is_corrupt(&self) -> bool {
        false
    }
}

/// What both legs have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    /// The number of the next packet to the server, if it goes on with the one before it.
    up_next: u8,
    /// The same, if it goes on with a packet of the server's that has come since.
    after_server: Option<u8>,
    /// The client has taken part in an answer since the server's last packet.
    spoken: bool,
}

/// How much of a lane is to be judged at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Unjudged bytes up to here.
    pub end: usize,
    /// Nothing is judged behind them for now.
    pub is_last: bool,
}

impl Bound {
    /// All there is.
    #[inline]
    pub fn whole(lane: &Lane) -> Self {
        Self { end: lane.unjudged().len(), is_last: true }
    }
}

impl Numbering {
    /// None when every packet can keep its number.
    pub fn between(client: &impl Frames, server: &impl Frames) -> Option<Self> {
        let any = client.is_framed() || server.is_framed();
        any.then(Self::default)
    }

    /// As a word: `1 | spoken | up_next (8) | after_server (9)`.
    #[inline]
    pub fn word(self) -> u64 {
        let Self { up_next, after_server, spoken } = self;
        let after = after_server.map_or(0, |after| u64::from(after) << 1 | 1);
        1 | u64::from(spoken) << 1 | u64::from(up_next) << 2 | after << 10
    }

    /// The same, back; None if there is none.
    pub fn of_word(word: u64) -> Option<Self> {
        let is = |bit: u32| word >> bit & 1 == 1;
        is(0).then_some(Self {
            up_next: (word >> 2) as u8,
            after_server: is(10).then_some((word >> 11) as u8),
            spoken: is(1),
        })
    }

    /// An exchange was had over the client's leg by somebody else.
    pub fn hear(&mut self, client: &impl Frames) {
        self.spoken = client.has_heard();
    }

    /// How far the client's bytes may be judged, the next packet of which gets its number; None if
    /// nothing may be.
    pub fn bound_up(
        &mut self,
        session: &Session,
        lane: &mut Lane,
        server: &mut impl Frames,
    ) -> Option<Bound> {
        let unjudged = lane.unjudged();
        if session.is_opaque() && !number_opaque(unjudged, server) {
            return None;
        }
        let conversation = session.conversation();
        let Some(ahead) = conversation.client_ahead(unjudged) else {
            return Some(Bound { end: conversation.client_rest(unjudged.len()), is_last: true });
        };
        // A command starts a frame, so everything before it goes first.
        let is_behind = ahead.at > 0 || !lane.pending().is_empty();
        if server.is_framed() && is_behind && matches!(ahead.place, Place::Begins(_)) {
            return Some(Bound { end: ahead.at, is_last: true });
        }
        let sequence = self.number_up(&ahead, server);
        // With compression a server looks at its frames' numbers only, and the client's own ones
        // tell how its answers are to be numbered.
        if !server.is_framed() {
            lane.number(ahead.at, sequence);
        }
        Some(Bound { end: ahead.end, is_last: false })
    }

    /// As [`Numbering::bound_up`], of a server's bytes.
    pub fn bound_down(
        &mut self,
        session: &Session,
        link: LinkId,
        lane: &mut Lane,
        client: &mut impl Frames,
    ) -> Bound {
        if session.is_opaque() {
            client.go_on();
        }
        let conversation = session.conversation();
        let unjudged = lane.unjudged();
        let Some(ahead) = conversation.server_ahead(link, unjudged) else {
            return Bound { end: conversation.server_rest(link, unjudged.len()), is_last: true };
        };
        let is_behind = ahead.at > 0 || !lane.pending().is_empty();
        let begins = self.spoken || !matches!(ahead.place, Place::GoesOn(_));
        if client.is_framed() && is_behind && begins {
            return Bound { end: ahead.at, is_last: true };
        }
        let asked_in = conversation.asked_in_frame();
        if let Some(sequence) = number_for(client, ahead.place, self.spoken, asked_in) {
            lane.number(ahead.at, sequence);
        }
        self.after_server = Some(ahead.sequence.wrapping_add(1));
        self.spoken = false;
        Bound { end: ahead.end, is_last: false }
    }

    fn number_up(&mut self, ahead: &Ahead, server: &mut impl Frames) -> u8 {
        let sequence = match ahead.place {
            Place::Begins(sequence) => {
                server.begin_command();
                sequence
            }
            Place::GoesOn(_) => self.up_next,
            Place::Speech => {
                server.go_on();
                self.spoken = true;
                self.after_server.take().unwrap_or(self.up_next)
            }
            // A replica's notes start anew each time.
            Place::Unasked => {
                server.begin_command();
                ahead.sequence
            }
        };
        self.up_next = sequence.wrapping_add(1);
        sequence
    }
}

/// Boundaries are not known, but a first number of 0 is a command's as a rule. False while it is
/// not at hand.
fn number_opaque(unjudged: &[u8], server: &mut impl Frames) -> bool {
    if server.has_heard() {
        match unjudged.get(HEADER - 1) {
            Some(0) => server.begin_command(),
            Some(_) => server.go_on(),
            None => return false,
        }
    }
    true
}

/// The packet with these words to the client; None while that is in the middle of one.
pub fn last_words(
    words: &ClientError,
    conversation: &Conversation,
    numbering: Option<Numbering>,
    client: &mut impl Frames,
) -> Option<Vec<u8>> {
    let place = conversation.injection_ahead()?;
    let spoken = numbering.is_some_and(|numbering| numbering.spoken);
    let asked_in = conversation.asked_in_frame();
    Some(words.packet(number_for(client, place, spoken, asked_in).unwrap_or_default()))
}

/// Tells the client's leg what comes, and the number that its packet has there; None leaves it.
/// `asked_in`: the frame in which the command ended that is answered.
fn number_for(
    client: &mut impl Frames,
    place: Place,
    spoken: bool,
    asked_in: Option<u8>,
) -> Option<u8> {
    match place {
        // It is the answer to whatever was in the frame.
        Place::Unasked if client.is_corrupt() => client.begin_reply(),
        Place::Unasked => {
            client.begin_command();
            None
        }
        Place::GoesOn(sequence) if !spoken => Some(sequence),
        Place::Begins(sequence) | Place::GoesOn(sequence) => {
            let number = match (place, asked_in) {
                // More commands may have come since, each of which starts with frame 0.
                (Place::Begins(_), Some(frame)) => client.begin_reply_to(frame),
                _ => client.begin_reply(),
            };
            Some(number.unwrap_or(sequence))
        }
        Place::Speech => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_told_in_a_word_is_heard(
            up_next: u8, after_server: Option<u8>, spoken: bool, word: u64,
        ) {
            let numbering = Numbering { up_next, after_server, spoken };
            prop_assert_eq!(Numbering::of_word(numbering.word()), Some(numbering));
            prop_assert!(Numbering::of_word(0).is_none());
            Numbering::of_word(word);
        }
    }
}
