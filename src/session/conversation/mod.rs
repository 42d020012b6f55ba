//! The protocol of one client with its servers, tracked at every byte.
//!
//! The client's half ([`Front`]) and a half for each server ([`Link`]), which meet here: about 100
//! bytes with one server, and they can be serialised at any byte. Commands are forwarded as they
//! come, so pipelining costs nothing. A packet that fits nowhere makes the conversation *opaque*:
//! bytes are copied and boundaries are unknown, which is what a TCP proxy does all the time.
//!
//! Invariant: one link at a time owes answers to the client. A command for another one waits until
//! they are had, so answers come in the order of the commands, and a file that is asked for is what
//! the client has sent behind its command.

#[cfg(test)]
mod tests;

use smallvec::{SmallVec, smallvec};

use super::front::{Front, Said, Turn};
use super::link::{Asked, Heard, Held, Link, LinkId};
use super::look::{Ahead, Place};
use crate::wire::command::{self, Reply};
use crate::wire::packet::{Framer, Header};
use crate::wire::response::{Dialect, ServerStatus};

/// The protocol state of one client with its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub(super) front: Front,
    pub(super) links: SmallVec<[Link; 1]>,
    /// Who gets the client's packets, and owes it answers.
    pub(super) current: LinkId,
    /// What the home owes are answers to us; see [`Self::begin_errand`].
    pub(super) errand: bool,
}

impl Conversation {
    /// A conversation whose log-in is under way: the server's next packet answers it.
    pub fn logging_in(dialect: Dialect) -> Self {
        Self {
            front: Front::logging_in(),
            links: smallvec![Link::logging_in(dialect)],
            current: LinkId::HOME,
            errand: false,
        }
    }

    /// The client's half.
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// Who gets the client's packets, and owes it answers.
    pub fn current(&self) -> LinkId {
        self.current
    }

    /// The half of a server.
    pub fn link(&self, link: LinkId) -> &Link {
        &self.links[link.place()]
    }

    pub(super) fn link_mut(&mut self, link: LinkId) -> &mut Link {
        &mut self.links[link.place()]
    }

    fn current_link(&self) -> &Link {
        self.link(self.current)
    }

    /// One link more, over which nothing was said yet.
    pub fn add(&mut self, link: Link) -> LinkId {
        self.links.push(link);
        LinkId::at(self.links.len() - 1)
    }

    /// The session is another user's, and its other links are not.
    pub(super) fn handle_other_user(&mut self) {
        for link in self.links.iter_mut().skip(1) {
            link.knows.is_of_another_user = true;
        }
    }

    /// The client's next command goes to this link; false while another one owes it an answer.
    #[must_use]
    pub fn turn_to(&mut self, link: LinkId) -> bool {
        let is_free = link == self.current || !self.current_link().awaits_answer();
        if is_free {
            self.current = link;
        }
        is_free
    }

    /// Whether both directions stand between two packets, the next of which belong to an exchange
    /// that is left with the caller.
    pub fn is_exchange_due(&self) -> bool {
        let link = self.current_link();
        let between = self.front.is_between_packets() && link.is_between_packets();
        between && link.holds_exchange()
    }

    /// The exchange is over, but for the server's verdict, which is judged as ever. The next packet
    /// to the client has this number.
    pub fn handle_exchange(&mut self, next_sequence: u8) {
        self.front.next_sequence = next_sequence;
        self.link_mut(self.current).handle_exchange();
    }

    /// What the server last said of the session.
    pub fn status(&self) -> ServerStatus {
        self.link(LinkId::HOME).status()
    }

    /// Whose turn it is.
    pub fn turn(&self) -> Turn {
        self.front.turn()
    }

    /// No command is under way and both directions stand between two packets.
    pub fn is_idle(&self) -> bool {
        let link = self.current_link();
        self.turn() == Turn::Command
            && !link.awaits_answer()
            && self.front.is_between_packets()
            && link.is_between_packets()
    }

    /// The client has said COM_QUIT and every answer was had: the server closes without a word.
    pub fn is_over(&self) -> bool {
        self.front.quit && self.is_idle()
    }

    /// A command has been sent whose answer is not over.
    pub fn awaits_answer(&self) -> bool {
        self.current_link().awaits_answer()
    }

    /// The same, and its answer has not begun.
    pub fn is_unanswered(&self) -> bool {
        self.current_link().is_unanswered()
    }

    /// Whether what the answer that is coming decides is the user.
    pub fn is_changing_user(&self) -> bool {
        self.current_link().is_changing_user()
    }

    /// Which authentication exchanges are left with the caller.
    pub fn held(&self) -> Held {
        self.current_link().held
    }

    /// Whether something under way is counted.
    pub fn is_counted(&self) -> bool {
        self.links.iter().any(Link::is_counted)
    }

    /// How many answers are to come that may change the user or the database.
    pub fn names_awaited(&self) -> usize {
        self.current_link().names_awaited()
    }

    /// The sequence number of a packet of ours to the client; None while it is in the middle of
    /// one.
    pub fn injection_sequence(&self) -> Option<u8> {
        match self.turn() {
            Turn::Opaque => None,
            _ => self.current_link().injection_sequence(self.front.next_sequence),
        }
    }

    /// Payload bytes of the server's current packet that are still to come.
    pub fn rest_of_server_packet(&self) -> usize {
        self.current_link().rest_of_packet()
    }

    /// The bytes that were consumed last came in this frame; if they are a command's, it ends there
    /// or later.
    pub fn note_frame(&mut self, frame: u8) {
        if self.turn() != Turn::File {
            self.link_mut(self.current).note_frame(frame);
        }
    }

    /// The frame in which the command ended whose answer is to begin, if that was noted.
    pub fn asked_in_frame(&self) -> Option<u8> {
        self.current_link().asked_in_frame()
    }

    /// Consumes bytes up to and including the next header of the client's; None when all that can
    /// be consumed is. `at` moves along.
    #[inline]
    pub fn handle_client<'a>(
        &mut self,
        bytes: &'a [u8],
        at: &mut usize,
    ) -> Option<(Header, &'a [u8])> {
        loop {
            if self.turn() == Turn::Opaque {
                *at = bytes.len();
                return None;
            }
            let link = &mut self.links[self.current.place()];
            if link.is_full() {
                return None;
            }
            if self.front.turn() == Turn::Auth && link.holds_exchanges() {
                self.front.consume_rest(bytes, at);
                return None;
            }
            match self.front.handle(bytes, at)? {
                Said::Command(header, head) => {
                    let code = head.first().copied();
                    let reply = command::reply(code);
                    let (sequence, empty) = (header.sequence, header.length == 0);
                    link.ask(Asked::new(reply, sequence, empty));
                    self.front.handle_command(code, reply);
                    return Some((header, head));
                }
                Said::GoesOn(sequence) => link.go_on_asking(sequence),
                Said::Other => {}
            }
        }
    }

    /// Consumes bytes up to and including the next header of a server's; None when all that can be
    /// consumed is. `at` moves along.
    #[inline]
    pub fn handle_server(&mut self, link: LinkId, bytes: &[u8], at: &mut usize) -> Option<Heard> {
        if self.turn() == Turn::Opaque {
            *at = bytes.len();
            return None;
        }
        let next = &mut self.front.next_sequence;
        let heard = self.links[link.place()].handle(bytes, at, next)?;
        self.front.handle_heard(heard);
        Some(heard)
    }
}

/// Errands: between two of the client's commands the home is asked things by the way. What is said
/// and heard then is nobody's but the caller's; the client's commands wait.
impl Conversation {
    /// From now on the home is asked by us; false while a link owes the client an answer.
    #[must_use]
    pub fn begin_errand(&mut self) -> bool {
        let home = self.link(LinkId::HOME);
        let is_between = home.is_between_packets() && !home.awaits_answer();
        let is_free = self.turn() == Turn::Command && !self.awaits_answer() && is_between;
        if is_free {
            (self.errand, self.current) = (true, LinkId::HOME);
        }
        is_free
    }

    /// Whether the home is asked by us.
    pub fn is_on_errand(&self) -> bool {
        self.errand
    }

    /// The home is asked something that gets this kind of answer.
    pub fn ask_errand(&mut self, reply: Reply) {
        self.link_mut(LinkId::HOME).ask(Asked::new(reply, 0, false));
    }

    /// Consumes what the home answers: so many bytes. None for what no server says.
    pub fn hear_errand(&mut self, bytes: &[u8]) -> Option<usize> {
        let link = self.link_mut(LinkId::HOME);
        let (status, mut at, mut next) = (link.status, 0, 0);
        while link.awaits_answer() {
            match link.handle(bytes, &mut at, &mut next) {
                Some(Heard::Nonsense | Heard::FileWanted | Heard::FileSent) => return None,
                Some(_) => {}
                None => break,
            }
        }
        if !link.awaits_answer() {
            link.framer.consume_payload(bytes, &mut at);
        }
        // What the client's own statements have left is what is known of them.
        link.status = status;
        Some(at)
    }

    /// The client's commands go to this link again, if all that was asked is answered.
    #[must_use]
    pub fn end_errand(&mut self, then: LinkId) -> bool {
        let is_over = !self.awaits_answer() && self.current_link().is_between_packets();
        if is_over {
            (self.errand, self.current) = (false, then);
        }
        is_over
    }

    /// What is not answered yet never will be: the home is lost.
    pub fn abandon_errand(&mut self) {
        let home = self.link_mut(LinkId::HOME);
        (home.framer, home.answering) = (Framer::default(), None);
        home.queue.clear();
        self.errand = false;
    }
}

/// What is to come, for those who number it.
impl Conversation {
    /// How many of the client's bytes belong to no packet that is still to be seen.
    pub fn client_rest(&self, bytes: usize) -> usize {
        let is_opaque = self.turn() == Turn::Opaque;
        if is_opaque { bytes } else { self.front.rest_of_packet().min(bytes) }
    }

    /// As [`Self::client_rest`], of a server's.
    pub fn server_rest(&self, link: LinkId, bytes: usize) -> usize {
        let is_opaque = self.turn() == Turn::Opaque;
        if is_opaque { bytes } else { self.link(link).rest_of_packet().min(bytes) }
    }

    /// The client's next packet, if it would be consumed.
    pub fn client_ahead(&self, bytes: &[u8]) -> Option<Ahead> {
        let link = self.current_link();
        match self.turn() {
            Turn::Opaque => None,
            _ if link.is_full() => None,
            Turn::Auth if link.holds_exchanges() => None,
            _ => self.front.look(bytes),
        }
    }

    /// A server's next packet, if it would be consumed.
    pub fn server_ahead(&self, link: LinkId, bytes: &[u8]) -> Option<Ahead> {
        match self.turn() {
            Turn::Opaque => None,
            _ => self.link(link).look(bytes, self.front.next_sequence),
        }
    }

    /// What a packet of ours to the client would be; None while it is in the middle of one.
    pub fn injection_ahead(&self) -> Option<Place> {
        match self.turn() {
            Turn::Opaque => None,
            _ => self.current_link().injection(self.front.next_sequence),
        }
    }
}
