//! The client's half of a session: what its packets are, and how the next one to it is numbered.
//!
//! ```text
//!            CHANGE_USER                    0xFB from the server
//!   Auth ◄──────────────── Command ──────────────────────────► File
//!     └── OK | ERR ────────►  │  ▲ ◄───── empty packet ──────────┘
//!                  BINLOG_DUMP│  │EOF | ERR
//!                             ▼  │
//!                            Stream          anything impossible, CLONE ─► Opaque
//! ```
//!
//! It does not know who answers. Invariant: a command is told exactly once, with its first packet.

use serde::{Deserialize, Serialize};

use super::link::Heard;
use super::look::{Ahead, Place, whole};
use crate::wire::command::{Reply, code};
use crate::wire::packet::{Framer, HEADER, Header, Logical, Step};

/// Command packets up to this payload are passed on only as a whole, so that they can be looked at
/// and changed in place. No server acts on part of a packet, so nobody can tell.
pub const WHOLE_COMMAND: usize = 1024;

/// The same of texts of statements, in which an id of ours may stand anywhere; and of all commands
/// of a session of which more is remembered: what longer ones do is not known.
pub const LONG_COMMAND: usize = 8 * 1024;

/// What the client's packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// Commands.
    Command,
    /// Data of LOAD DATA LOCAL INFILE, up to an empty packet.
    File,
    /// Answers of an authentication exchange.
    Auth,
    /// Whatever a replica sends while it is streamed to.
    Stream,
    /// The protocol is not followed any more.
    Opaque,
}

/// A packet from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A command, with its header and as much of its payload as was asked for: all of it up to
    /// [`WHOLE_COMMAND`] or [`LONG_COMMAND`] for those that may be rewritten.
    Command(Header, &'a [u8]),
    /// The command goes on in another packet, with this number.
    GoesOn(u8),
    /// Anything else.
    Other,
}

/// The client, as far as its packets tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Front {
    pub(super) framer: Framer,
    pub(super) turn: Turn,
    /// The number that the next packet to the client has, if its answer has begun.
    pub(super) next_sequence: u8,
    /// It has said COM_QUIT.
    pub(super) quit: bool,
    /// So much of a command is to be at hand.
    pub(super) whole: usize,
}

impl Front {
    /// A client whose log-in is under way: the server has the word.
    pub fn logging_in() -> Self {
        let (framer, turn, whole) = (Framer::default(), Turn::Auth, WHOLE_COMMAND);
        Self { framer, turn, next_sequence: 2, quit: false, whole }
    }

    /// Longer commands are passed on as a whole, too.
    pub fn look_at_long_commands(&mut self) {
        self.whole = LONG_COMMAND;
    }

    /// What its packets are.
    pub fn turn(&self) -> Turn {
        self.turn
    }

    /// Whether it stands between two packets.
    pub fn is_between_packets(&self) -> bool {
        self.framer.is_between_packets()
    }

    /// The packet under way is dealt with by the caller, to this many payload bytes.
    pub fn skip(&mut self, payload: usize) {
        self.framer.skip(payload);
    }

    /// Payload bytes of the current packet that are still to come.
    pub fn rest_of_packet(&self) -> usize {
        self.framer.rest()
    }

    /// Consumes what is left of the packet under way, and nothing behind it.
    pub fn consume_rest(&mut self, bytes: &[u8], at: &mut usize) {
        self.framer.consume_payload(bytes, at);
    }

    /// Consumes bytes up to and including the next header; None when all that can be consumed is.
    /// `at` moves along.
    #[inline]
    pub fn handle<'a>(&mut self, bytes: &'a [u8], at: &mut usize) -> Option<Said<'a>> {
        let (turn, whole) = (self.turn, self.whole);
        let head = |header: Header, body: &[u8]| head(turn, whole, header, body);
        let start = match self.framer.next(bytes, at, head) {
            Step::Packet(start) => start,
            Step::NeedMore => return None,
        };
        let Header { length, sequence } = start.header;
        if matches!(turn, Turn::File | Turn::Auth) {
            self.next_sequence = sequence.wrapping_add(1);
        }
        Some(match (turn, start.logical) {
            (_, Logical::Continued) => Said::GoesOn(sequence),
            (Turn::Command, Logical::First) => Said::Command(start.header, start.head),
            (Turn::File, Logical::First) if length == 0 => {
                self.turn = Turn::Command;
                Said::Other
            }
            (Turn::File | Turn::Auth | Turn::Stream | Turn::Opaque, Logical::First) => Said::Other,
        })
    }

    /// A command was seen that gets this kind of answer.
    #[inline]
    pub fn handle_command(&mut self, code: Option<u8>, reply: Reply) {
        self.quit |= code == Some(code::QUIT);
        match reply {
            Reply::Auth => self.turn = Turn::Auth,
            Reply::Stream => self.turn = Turn::Stream,
            Reply::Foreign => self.become_opaque(),
            _ => {}
        }
    }

    /// What a server's packet means for the client's next one.
    #[inline]
    pub fn handle_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Other | Heard::End(..) | Heard::Prepared(..) | Heard::FileSent => {}
            Heard::Released(..) => self.turn = Turn::Command,
            Heard::FileWanted => self.turn = Turn::File,
            Heard::Nonsense => self.become_opaque(),
        }
    }

    /// Where packets end is not known any more, and not looked at.
    fn become_opaque(&mut self) {
        (self.turn, self.framer) = (Turn::Opaque, Framer::default());
    }

    /// The client's next packet, if it would be consumed.
    pub fn look(&self, bytes: &[u8]) -> Option<Ahead> {
        let (at, header, logical) = self.framer.peek(bytes)?;
        let place = match (self.turn, logical) {
            (Turn::Command, Logical::First) => Place::Begins(0),
            (Turn::Command, Logical::Continued) => Place::GoesOn(header.sequence),
            (Turn::File | Turn::Auth, _) => Place::Speech,
            (Turn::Stream | Turn::Opaque, _) => Place::Unasked,
        };
        let wanted = match logical {
            Logical::First => head(self.turn, self.whole, header, &bytes[at + HEADER..]),
            Logical::Continued => 0,
        };
        whole(bytes, at, header, wanted, place)
    }
}

/// How much of a client's packet must be at hand.
#[inline]
fn head(turn: Turn, whole: usize, header: Header, body: &[u8]) -> usize {
    if turn != Turn::Command {
        return 0;
    }
    match body.first() {
        Some(&(code::QUERY | code::STMT_PREPARE)) => header.length.min(LONG_COMMAND),
        Some(
            &(code::STMT_EXECUTE | code::INIT_DB | code::STMT_BULK_EXECUTE | code::CHANGE_USER),
        ) => header.length.min(whole),
        Some(&code::SET_OPTION) => header.length.min(3),
        // Ids.
        Some(
            &(code::PROCESS_KILL
            | code::STMT_CLOSE
            | code::STMT_RESET
            | code::STMT_FETCH
            | code::STMT_SEND_LONG_DATA),
        ) => header.length.min(5),
        _ => 1,
    }
}
