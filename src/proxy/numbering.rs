//! Numbers of packets and frames where the legs have different ones.
//!
//! Without compression a packet's number is one more than that of the packet before it, whoever
//! sent that. With compression nobody checks it: frames are numbered and checked, and what stands
//! in the packets starts with the frame's number and jumps whenever the sender flushes. So when a
//! leg is compressed, packets are judged one at a time and get the numbers that the other leg
//! expects, and a leg hears of what begins when all before it is with it.

use serde::{Deserialize, Serialize};

use super::frontend::{Others, Relay, Surroundings, apply};
use super::leg::Leg;
use crate::error::ClientError;
use crate::session::conversation::{Ahead, Conversation, Place};
use crate::wire::packet::HEADER;

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

impl Numbering {
    /// None when every packet can keep its number.
    pub fn between(client: &Leg, server: &Leg) -> Option<Self> {
        let any = client.compression().is_some() || server.compression().is_some();
        any.then(Self::default)
    }

    /// An exchange was had over the client's leg by somebody else.
    pub fn hear(&mut self, client: &Leg) {
        self.spoken = client.has_heard();
    }
}

impl Relay {
    /// As `judge_up`: whether anything was judged.
    pub(super) fn judge_up_numbered(&mut self, around: Surroundings<'_>) -> bool {
        let mut any = false;
        loop {
            let ahead = self.session.conversation().client_ahead(self.up.unjudged());
            // A command starts a frame, so everything before it goes first.
            let is_framed = self.server.compression().is_some();
            let waits = ahead.is_some_and(|ahead| {
                let is_behind = ahead.at > 0 || !self.up.pending().is_empty();
                is_framed && is_behind && matches!(ahead.place, Place::Begins(_))
            });
            let end = match ahead {
                Some(ahead) if waits => ahead.at,
                Some(ahead) => {
                    self.number_up(&ahead);
                    ahead.end
                }
                None => self.session.conversation().client_rest(self.up.unjudged().len()),
            };
            if self.session.is_opaque() && !self.number_opaque_up() {
                return any;
            }
            let others = Others { registry: around.registry, server: &self.server_name };
            let unjudged = &self.up.unjudged()[..end];
            let intake = self.session.handle_client(unjudged, &others, &around.handle.counters);
            if intake.consumed > 0 {
                any = true;
                self.client.frame().into_iter().for_each(|frame| self.session.note_frame(frame));
            }
            apply(&mut self.up, intake);
            if waits || ahead.is_none() {
                return any;
            }
        }
    }

    /// As `judge_down`.
    pub(super) fn judge_down_numbered(&mut self, around: Surroundings<'_>) {
        loop {
            let ahead = self.session.conversation().server_ahead(self.down.unjudged());
            let spoken = self.numbering.is_some_and(|numbering| numbering.spoken);
            let is_framed = self.client.compression().is_some();
            let waits = ahead.is_some_and(|ahead| {
                let is_behind = ahead.at > 0 || !self.down.pending().is_empty();
                is_framed && is_behind && (spoken || !matches!(ahead.place, Place::GoesOn(_)))
            });
            let end = match ahead {
                Some(ahead) if waits => ahead.at,
                Some(ahead) => {
                    self.number_down(&ahead, spoken);
                    ahead.end
                }
                None => self.session.conversation().server_rest(self.down.unjudged().len()),
            };
            if self.session.is_opaque() {
                self.client.go_on();
            }
            let unjudged = &self.down.unjudged()[..end];
            let judged = self.session.handle_server(unjudged, &around.handle.counters);
            self.down.judge(judged);
            if waits || ahead.is_none() {
                return;
            }
        }
    }

    fn number_up(&mut self, ahead: &Ahead) {
        let Some(numbering) = &mut self.numbering else { return };
        let sequence = match ahead.place {
            Place::Begins(sequence) => {
                self.server.begin_command();
                sequence
            }
            Place::GoesOn(_) => numbering.up_next,
            Place::Speech => {
                self.server.go_on();
                numbering.spoken = true;
                numbering.after_server.take().unwrap_or(numbering.up_next)
            }
            // A replica's notes start anew each time.
            Place::Unasked => {
                self.server.begin_command();
                ahead.sequence
            }
        };
        numbering.up_next = sequence.wrapping_add(1);
        // With compression a server looks at its frames' numbers only, and the client's own ones
        // tell how its answers are to be numbered.
        if self.server.compression().is_none() {
            self.up.number(ahead.at, sequence);
        }
    }

    fn number_down(&mut self, ahead: &Ahead, spoken: bool) {
        if let Some(numbering) = &mut self.numbering {
            numbering.after_server = Some(ahead.sequence.wrapping_add(1));
            numbering.spoken = false;
        }
        let asked_in = self.session.conversation().asked_in_frame();
        if let Some(sequence) = number_for(&mut self.client, ahead.place, spoken, asked_in) {
            self.down.number(ahead.at, sequence);
        }
    }

    /// Boundaries are not known, but a first number of 0 is a command's as a rule. False while it
    /// is not at hand.
    fn number_opaque_up(&mut self) -> bool {
        if self.server.has_heard() {
            match self.up.unjudged().get(HEADER - 1) {
                Some(0) => self.server.begin_command(),
                Some(_) => self.server.go_on(),
                None => return false,
            }
        }
        true
    }
}

/// The packet with these words to the client; None while that is in the middle of one.
pub fn last_words(
    words: &ClientError,
    conversation: &Conversation,
    numbering: Option<Numbering>,
    client: &mut Leg,
) -> Option<Vec<u8>> {
    let place = conversation.injection_ahead()?;
    let spoken = numbering.is_some_and(|numbering| numbering.spoken);
    let asked_in = conversation.asked_in_frame();
    Some(words.packet(number_for(client, place, spoken, asked_in).unwrap_or_default()))
}

/// Tells the client's leg what comes, and the number that its packet has there; None leaves it.
/// `asked_in`: the frame in which the command ended that is answered.
fn number_for(client: &mut Leg, place: Place, spoken: bool, asked_in: Option<u8>) -> Option<u8> {
    match place {
        // It is the answer to whatever was in the frame.
        Place::Unasked if client.corrupt().is_some() => client.begin_reply(),
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
