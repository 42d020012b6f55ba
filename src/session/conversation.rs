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

use smallvec::{SmallVec, smallvec};

use super::front::{Front, Said, Turn};
use super::link::{Asked, Heard, Link, LinkId};
use super::look::{Ahead, Place};
use crate::wire::command;
use crate::wire::packet::Header;
use crate::wire::response::{Dialect, ServerStatus};

/// The protocol state of one client with its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub(super) front: Front,
    pub(super) links: SmallVec<[Link; 1]>,
    /// Who gets the client's packets, and owes it answers.
    pub(super) current: LinkId,
}

impl Conversation {
    /// A conversation whose log-in is under way: the server's next packet answers it.
    pub fn logging_in(dialect: Dialect) -> Self {
        Self {
            front: Front::logging_in(),
            links: smallvec![Link::logging_in(dialect)],
            current: LinkId::HOME,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::link::Held;
    use crate::wire::authentication::CLEAR;
    use crate::wire::capability as cap;
    use crate::wire::command::code;
    use crate::wire::packet::packet;

    /// A session that has asked for rows.
    fn asked() -> Conversation {
        let mut conversation = Conversation::logging_in(Dialect::new(cap::DEPRECATE_EOF, 0));
        feed(&mut conversation, &packet(2, &[0, 0, 0, 2, 0, 0, 0]));
        let query = packet(0, b"\x03SELECT c FROM t");
        let mut at = 0;
        while conversation.handle_client(&query, &mut at).is_some() {}
        conversation
    }

    /// Bytes that were consumed.
    fn feed(conversation: &mut Conversation, bytes: &[u8]) -> usize {
        let mut at = 0;
        while conversation.handle_server(LinkId::HOME, bytes, &mut at).is_some() {}
        at
    }

    /// MySQL announces the OK behind OUT parameters in front of them, and not in their last EOF.
    #[test]
    fn out_parameters_are_followed_by_another_result() {
        let mut conversation = Conversation::logging_in(Dialect::default());
        feed(&mut conversation, &packet(2, &[0, 0, 0, 2, 0, 0, 0]));
        let execute = packet(0, &[code::STMT_EXECUTE, 1, 0, 0, 0, 0, 1, 0, 0, 0]);
        let mut at = 0;
        while conversation.handle_client(&execute, &mut at).is_some() {}
        let definition = b"\x03def\x00\x00\x00\x01b\x00\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0";
        for (sequence, payload) in [
            (1, &[1][..]),
            (2, definition),
            (3, &[0xFE, 0, 0, 0x0A, 0x10]),
            (4, &[0, 0, 42, 0, 0, 0]),
            (5, &[0xFE, 0, 0, 0x02, 0]),
        ] {
            feed(&mut conversation, &packet(sequence, payload));
            assert!(!conversation.is_idle(), "packet {sequence}");
        }
        feed(&mut conversation, &packet(6, &[0, 0, 0, 2, 0, 0, 0]));
        assert_eq!(conversation.turn(), Turn::Command);
        assert!(conversation.is_idle());
    }

    #[test]
    fn rows_in_any_two_pieces_lead_to_the_same_state() {
        let answer = [
            packet(1, &[1]),
            packet(2, b"\x03def\x00\x00\x00\x01c\x00\x0c\x21\0\x68\x01\0\0\xfe\x01\0\0\0\0"),
            packet(3, b"\x03abc"),
            packet(4, &[0xFB]),
            packet(5, &[0]),
            packet(6, &[b"\xFC\x2C\x01".as_slice(), &[b'x'; 300]].concat()),
            packet(7, b"\x01a"),
        ]
        .concat();
        let end = packet(8, &[0xFE, 0, 0, 2, 0, 0, 0]);
        for cut in 0..=answer.len() {
            let mut conversation = asked();
            let taken = feed(&mut conversation, &answer[..cut]);
            assert_eq!(taken + feed(&mut conversation, &answer[taken..]), answer.len());
            assert_eq!(conversation.injection_sequence(), Some(8), "cut at {cut}");
            feed(&mut conversation, &end);
            assert!(conversation.is_idle(), "cut at {cut}");
        }
    }

    /// Where both connections are plain, a password that is asked for in clear is the caller's
    /// affair: as the first thing in an exchange or later, however the bytes come.
    #[test]
    fn questions_for_passwords_in_clear_are_held() {
        let switch = |name: &[u8], number| packet(number, &[b"\xfe", name, b"\0"].concat());
        let native = switch(b"mysql_native_password", 1);
        for name in [&b"mysql_clear_password"[..], b"mysql_clear", b"mysql_clearly"] {
            let is_clear = name == CLEAR;
            for (before, number) in [(&[][..], 1), (&native[..], 3)] {
                let mut conversation = asked();
                feed(&mut conversation, &packet(1, &[0, 0, 0, 2, 0, 0, 0]));
                conversation.link_mut(LinkId::HOME).hold_exchanges(Held::InClear);
                let (mut said, mut at) = (packet(0, b"\x11me\0\0p\0"), 0);
                while conversation.handle_client(&said, &mut at).is_some() {}
                feed(&mut conversation, before);
                if !before.is_empty() {
                    (said, at) = (packet(2, b"answer"), 0);
                    while conversation.handle_client(&said, &mut at).is_some() {}
                    assert_eq!(at, said.len());
                }
                let asked = switch(name, number);
                let taken = (1..=asked.len()).map(|end| {
                    let mut at = 0;
                    while conversation.handle_server(LinkId::HOME, &asked[..end], &mut at).is_some() {}
                    at
                });
                // What is consumed is not handed in again.
                let taken = taken.take_while(|at| *at == 0).count();
                assert_eq!(taken == asked.len(), is_clear, "{}", name.escape_ascii());
                assert_eq!(conversation.is_exchange_due(), is_clear);
                if is_clear {
                    assert_eq!(conversation.injection_sequence(), Some(number));
                }
            }
        }
    }
}
