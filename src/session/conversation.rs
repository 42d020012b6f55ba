//! The protocol of one client with one server, tracked at every byte.
//!
//! Two framers, the answers that are awaited, and whose turn it is: that is all, about 100 bytes,
//! and it can be serialised at any byte. Commands are forwarded as they come, so pipelining costs
//! nothing. A packet that fits nowhere makes the conversation *opaque*: bytes are copied and
//! boundaries are unknown, which is what a TCP proxy does all the time.
//!
//! ```text
//!            CHANGE_USER                    0xFB from the server
//!   Auth ◄──────────────── Command ──────────────────────────► File
//!     └── OK | ERR ────────►  │  ▲ ◄───── empty packet ──────────┘
//!                  BINLOG_DUMP│  │EOF | ERR
//!                             ▼  │
//!                            Stream          anything impossible, CLONE ─► Opaque
//! ```

mod ahead;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::wire::authentication::CLEAR;
use crate::wire::command::{self, Reply, code};
use crate::wire::packet::{Framer, HEADER, Header, Logical, Step};
use crate::wire::response::{Answer, Dialect, Ending, HEAD, ServerStatus, Verdict};
pub use ahead::{Ahead, Place};

/// Command packets up to this payload are passed on only as a whole, so that they can be looked at
/// and changed in place. No server acts on part of a packet, so nobody can tell.
pub const WHOLE_COMMAND: usize = 1024;

/// Commands that may wait for their answers; the next one is not read before. 64 KiB of state.
const MAX_PIPELINED: usize = 32 * 1024;

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

/// A command whose answer has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    reply: Reply,
    /// Of the command's last packet; the first packet of its answer has the next one.
    sequence: u8,
    /// The command was an empty packet, which would end a file.
    empty: bool,
    note: Note,
    /// It is a statement to be prepared whose parameter is a connection's id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    takes_id: bool,
    /// The last frame of it that a compressed client has sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<u8>,
}

/// What the session wants to do with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// If it is OK, the session's database has changed.
    Database,
    /// If it is OK, the session's user has changed.
    User,
    /// Nothing; also what another version wants to do with it, as with ids in rows once.
    #[default]
    #[serde(other)]
    Plain,
}

/// A command whose answer is coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Current {
    answer: Answer,
    sequence: u8,
    begun: bool,
    note: Note,
    /// As of [`Pending`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    takes_id: bool,
    /// As of [`Pending`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<u8>,
}

impl Current {
    /// The id of the statement, if this packet says that it is prepared and takes an id.
    fn prepared(&self, head: &[u8]) -> Option<u32> {
        if !self.takes_id || self.answer != Answer::Prepare {
            return None;
        }
        let (0, id) = head.split_first()? else { return None };
        Some(u32::from_le_bytes(*id.first_chunk()?))
    }
}

/// A packet from the client that starts a logical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPacket<'a> {
    /// A command, with its header and as much of its payload as was asked for: all of it up to
    /// [`WHOLE_COMMAND`] for those that may be rewritten.
    Command(Header, &'a [u8]),
    /// Anything else.
    Other,
}

/// A packet from the server that starts a logical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPacket {
    /// The last packet of an answer.
    End(Ending, Note),
    /// The statement that takes an id is prepared and has this one; perhaps it is the last packet.
    Prepared(u32, Option<Ending>),
    /// A file is asked for; commands behind are its data, and nothing of them will be answered.
    File,
    /// Anything else.
    Other,
}

/// The protocol state of one client with one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    dialect: Dialect,
    client: Framer,
    server: Framer,
    turn: Turn,
    current: Option<Current>,
    queue: VecDeque<Pending>,
    status: ServerStatus,
    /// The number that the next packet to the client has, if its answer has begun.
    next_sequence: u8,
    /// Definitions are coming that a prepare's wrapped count did not announce.
    #[serde(default)]
    residue: bool,
    /// The client has said COM_QUIT.
    #[serde(default)]
    quit: bool,
    /// Depends on the connections, so whoever has them says it anew.
    #[serde(skip)]
    held: Held,
}

/// Which authentication exchanges are left with the caller: nothing of them is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Held {
    /// None.
    #[default]
    None,
    /// Those in which the server asks for a password in clear, from there on.
    InClear,
    /// All.
    All,
    /// All, and the server is made to ask the client, whatever that has sent with its command.
    Asked,
}

/// Whether a server's packet asks for a password in clear, as far as its beginning tells.
enum Asks {
    InClear,
    Otherwise,
    /// It is too short to tell.
    Perhaps,
}

impl Asks {
    /// Of bytes that begin with a header.
    fn judge(bytes: &[u8]) -> Self {
        let Some(header) = Header::parse(bytes) else { return Self::Perhaps };
        let payload = &bytes[HEADER..];
        let payload = &payload[..payload.len().min(header.length)];
        let is_whole = payload.len() == header.length;
        match payload.split_first() {
            Some((0xFE | 0x02, name)) if name.starts_with(CLEAR) => Self::InClear,
            Some((0xFE | 0x02, name)) if !is_whole && CLEAR.starts_with(name) => Self::Perhaps,
            None if !is_whole => Self::Perhaps,
            _ => Self::Otherwise,
        }
    }
}

impl Conversation {
    /// A conversation whose log-in is under way: the server's next packet answers it.
    pub fn logging_in(dialect: Dialect) -> Self {
        let answer = Answer::Auth;
        Self {
            dialect,
            client: Framer::default(),
            server: Framer::default(),
            turn: Turn::Auth,
            current: Some(Current {
                answer,
                sequence: 1,
                begun: false,
                note: Note::Plain,
                takes_id: false,
                frame: None,
            }),
            queue: VecDeque::new(),
            status: ServerStatus::Unknown,
            next_sequence: 2,
            residue: false,
            quit: false,
            held: Held::None,
        }
    }

    /// Which authentication exchanges are left with the caller.
    pub fn hold_exchanges(&mut self, held: Held) {
        self.held = held;
    }

    fn holds_all(&self) -> bool {
        matches!(self.held, Held::All | Held::Asked)
    }

    /// Which authentication exchanges are left with the caller.
    pub fn held(&self) -> Held {
        self.held
    }

    /// Whether what the answer that is coming decides is the user.
    pub fn is_changing_user(&self) -> bool {
        self.current.is_some_and(|current| current.note == Note::User)
    }

    /// An exchange is under way that nothing is judged of, up to [`Self::handle_exchange`].
    fn holds_exchange(&self) -> bool {
        let waits = |current: Current| current.answer == Answer::Auth && !current.begun;
        self.holds_all() && self.current.is_some_and(waits)
    }

    /// Leaves an exchange with the caller in which these bytes of the server's ask for a password
    /// in clear; true also as long as that can't be told.
    fn holds_clear_password(&mut self, bytes: &[u8]) -> bool {
        let Some(current) = &mut self.current else { return false };
        if self.held != Held::InClear
            || current.answer != Answer::Auth
            || !self.server.is_between_packets()
        {
            return false;
        }
        match Asks::judge(bytes) {
            Asks::Otherwise => return false,
            Asks::Perhaps => return true,
            Asks::InClear => {}
        }
        self.held = Held::All;
        if current.begun {
            // The exchange begins here.
            *current =
                Current { begun: false, sequence: self.next_sequence.wrapping_sub(1), ..*current };
        }
        true
    }

    /// Whether both directions stand between two packets, the next of which belong to an exchange.
    pub fn is_exchange_due(&self) -> bool {
        let between = self.client.is_between_packets() && self.server.is_between_packets();
        between && self.holds_exchange()
    }

    /// The exchange is over, but for the server's verdict, which is judged as ever. The next packet
    /// to the client has this number.
    pub fn handle_exchange(&mut self, next_sequence: u8) {
        self.next_sequence = next_sequence;
        if let Some(current) = &mut self.current {
            current.begun = true;
        }
    }

    /// What the server last said of the session.
    pub fn status(&self) -> ServerStatus {
        self.status
    }

    /// Whose turn it is.
    pub fn turn(&self) -> Turn {
        self.turn
    }

    /// No command is under way and both directions stand between two packets.
    pub fn is_idle(&self) -> bool {
        self.turn == Turn::Command
            && !self.awaits_answer()
            && self.client.is_between_packets()
            && self.server.is_between_packets()
    }

    /// The client has said COM_QUIT and every answer was had: the server closes without a word.
    pub fn is_over(&self) -> bool {
        self.quit && self.is_idle()
    }

    /// A command has been sent whose answer is not over.
    pub fn awaits_answer(&self) -> bool {
        self.current.is_some()
    }

    /// How many answers are to come that may change the user or the database.
    pub fn names_awaited(&self) -> usize {
        let of_current = self.current.map(|current| current.note);
        let notes = self.queue.iter().map(|pending| pending.note).chain(of_current);
        notes.filter(|note| matches!(note, Note::Database | Note::User)).count()
    }

    /// The sequence number of a packet of ours to the client; None while it is in the middle of
    /// one.
    pub fn injection_sequence(&self) -> Option<u8> {
        if self.turn == Turn::Opaque || !self.server.is_between_packets() {
            return None;
        }
        // Of pipelined commands only the first is being answered.
        Some(match self.current {
            None => 0,
            Some(current) if current.begun => self.next_sequence,
            Some(current) => current.sequence.wrapping_add(1),
        })
    }

    /// Payload bytes of the server's current packet that are still to come.
    pub fn rest_of_server_packet(&self) -> usize {
        self.server.rest()
    }

    /// Marks the command that was seen last.
    pub fn note(&mut self, note: Note) {
        match (self.queue.back_mut(), &mut self.current) {
            (Some(pending), _) => pending.note = note,
            (None, Some(current)) => current.note = note,
            (None, None) => {}
        }
    }

    /// The statement that is to be prepared, seen last, has a connection's id as its parameter.
    pub fn note_id(&mut self) {
        match (self.queue.back_mut(), &mut self.current) {
            (Some(pending), _) => pending.takes_id = true,
            (None, Some(current)) => current.takes_id = true,
            (None, None) => {}
        }
    }

    /// The bytes that were consumed last came in this frame; if they are a command's, it ends there
    /// or later.
    pub fn note_frame(&mut self, frame: u8) {
        if self.turn == Turn::File {
            return;
        }
        match (self.queue.back_mut(), &mut self.current) {
            (Some(pending), _) => pending.frame = Some(frame),
            (None, Some(current)) if !current.begun => current.frame = Some(frame),
            _ => {}
        }
    }

    /// The frame in which the command ended whose answer is to begin, if that was noted.
    pub fn asked_in_frame(&self) -> Option<u8> {
        self.current.filter(|current| !current.begun)?.frame
    }

    /// The packet just seen is dealt with by the caller, to this many payload bytes.
    pub fn skip_client(&mut self, payload: usize) {
        self.client.skip(payload);
    }

    /// As [`Self::skip_client`], for the server's packet.
    pub fn skip_server(&mut self, payload: usize) {
        self.server.skip(payload);
    }

    /// Consumes bytes up to and including the next header of the client's that starts a logical
    /// packet; None when all that can be consumed is. `at` moves along.
    #[inline]
    pub fn handle_client<'a>(
        &mut self,
        bytes: &'a [u8],
        at: &mut usize,
    ) -> Option<ClientPacket<'a>> {
        if self.turn == Turn::Opaque {
            *at = bytes.len();
            return None;
        }
        if self.queue.len() >= MAX_PIPELINED {
            return None;
        }
        if self.holds_all() && self.turn == Turn::Auth {
            self.client.consume_payload(bytes, at);
            return None;
        }
        let turn = self.turn;
        let start = match self.client.next(bytes, at, |header, body| head(turn, header, body)) {
            Step::Packet(start) => start,
            Step::NeedMore => return None,
        };
        if matches!(turn, Turn::File | Turn::Auth) {
            self.next_sequence = start.header.sequence.wrapping_add(1);
        }
        if start.logical == Logical::Continued {
            self.continue_command(start.header);
            return Some(ClientPacket::Other);
        }
        match turn {
            Turn::Command => {
                self.begin_command(start.header, start.head.first().copied());
                Some(ClientPacket::Command(start.header, start.head))
            }
            Turn::File if start.header.length == 0 => {
                self.turn = Turn::Command;
                Some(ClientPacket::Other)
            }
            Turn::File | Turn::Auth | Turn::Stream | Turn::Opaque => Some(ClientPacket::Other),
        }
    }

    /// Consumes bytes up to and including the next header of the server's; None when all that can
    /// be consumed is. `at` moves along.
    #[inline]
    pub fn handle_server(&mut self, bytes: &[u8], at: &mut usize) -> Option<ServerPacket> {
        if self.turn == Turn::Opaque {
            *at = bytes.len();
            return None;
        }
        if self.holds_exchange() {
            self.server.consume_payload(bytes, at);
            return None;
        }
        self.skip_rows(bytes, at);
        if self.turn == Turn::Auth {
            // What is left of the packet before.
            self.server.consume_payload(bytes, at);
            if self.holds_clear_password(&bytes[*at..]) {
                return None;
            }
        }
        let start = match self.server.next(bytes, at, |_, _| HEAD) {
            Step::Packet(start) => start,
            Step::NeedMore => return None,
        };
        self.next_sequence = start.header.sequence.wrapping_add(1);
        if start.logical == Logical::Continued {
            return Some(ServerPacket::Other);
        }
        Some(self.judge(start.header, start.head))
    }

    /// Most packets of most answers are rows that nobody looks at.
    #[inline]
    fn skip_rows(&mut self, bytes: &[u8], at: &mut usize) {
        let Some(Current { answer: Answer::Rows { .. }, begun: true, .. }) = self.current else {
            return;
        };
        if let Some(sequence) = self.server.skip_rows(bytes, at) {
            self.next_sequence = sequence.wrapping_add(1);
        }
    }

    #[inline]
    fn judge(&mut self, header: Header, head: &[u8]) -> ServerPacket {
        if !self.current.is_some_and(|current| current.begun) && self.is_residue(header, head) {
            return ServerPacket::Other;
        }
        let Some(current) = &mut self.current else {
            self.handle_unasked(header, head);
            return ServerPacket::Other;
        };
        current.begun = true;
        let (note, prepared) = (current.note, current.prepared(head));
        let verdict = current.answer.handle(self.dialect, header, head, &mut self.status);
        match verdict {
            Verdict::Continues => {
                prepared.map_or(ServerPacket::Other, |id| ServerPacket::Prepared(id, None))
            }
            Verdict::Row => ServerPacket::Other,
            Verdict::LocalInfile => {
                self.begin_file();
                ServerPacket::File
            }
            Verdict::Ends(ending) => {
                self.end_answer();
                match prepared {
                    Some(id) => ServerPacket::Prepared(id, Some(ending)),
                    None => ServerPacket::End(ending, note),
                }
            }
            Verdict::Impossible => {
                self.turn = Turn::Opaque;
                ServerPacket::Other
            }
        }
    }

    /// Definitions that a wrapped count did not announce, and the EOF behind them, come before the
    /// answer proper.
    fn is_residue(&mut self, header: Header, head: &[u8]) -> bool {
        let announced = self.current.is_some_and(|current| {
            let first = header.sequence == current.sequence.wrapping_add(1);
            first && current.answer == Answer::Fields
        });
        let definition = !announced && is_definition(header, head);
        let eof = !self.dialect.deprecate_eof && header.length < 9 && head.first() == Some(&0xFE);
        let end = self.residue && eof;
        self.residue = definition;
        definition || end
    }

    /// A packet that answers nothing: a notice before the server closes (ERR, sequence 0).
    fn handle_unasked(&mut self, header: Header, head: &[u8]) {
        let is_notice = head.first() == Some(&0xFF) && header.sequence == 0;
        if !is_notice {
            self.turn = Turn::Opaque;
        }
    }

    fn begin_command(&mut self, header: Header, code: Option<u8>) {
        let reply = command::reply(code);
        let empty = header.length == 0;
        self.quit |= code == Some(code::QUIT);
        let (sequence, note) = (header.sequence, Note::Plain);
        let pending = Pending { reply, sequence, empty, note, takes_id: false, frame: None };
        if self.current.is_some() {
            // Those without an answer are kept too: a file request would take them for data.
            self.queue.push_back(pending);
        } else {
            self.begin_answer(pending);
        }
        match reply {
            Reply::Auth => self.turn = Turn::Auth,
            Reply::Stream => self.turn = Turn::Stream,
            Reply::Foreign => self.turn = Turn::Opaque,
            _ => {}
        }
    }

    fn continue_command(&mut self, header: Header) {
        match (self.queue.back_mut(), &mut self.current) {
            (Some(pending), _) => pending.sequence = header.sequence,
            (None, Some(current)) if !current.begun => current.sequence = header.sequence,
            _ => {}
        }
    }

    fn begin_answer(&mut self, pending: Pending) {
        let Pending { reply, sequence, note, takes_id, frame, .. } = pending;
        let begun = false;
        self.current = Answer::to(reply).map(|answer| Current {
            answer,
            sequence,
            begun,
            note,
            takes_id,
            frame,
        });
    }

    fn end_answer(&mut self) {
        let ended = self.current.take().map(|current| current.answer);
        if matches!(ended, Some(Answer::Auth | Answer::Stream)) {
            self.turn = Turn::Command;
        }
        while self.current.is_none()
            && let Some(pending) = self.queue.pop_front()
        {
            self.begin_answer(pending);
        }
    }

    /// The server takes what follows for file data, also what was meant to be commands.
    fn begin_file(&mut self) {
        while let Some(pending) = self.queue.pop_front() {
            if pending.empty {
                return;
            }
        }
        self.turn = Turn::File;
    }
}

/// How much of a client's packet must be at hand.
#[inline]
fn head(turn: Turn, header: Header, body: &[u8]) -> usize {
    if turn != Turn::Command {
        return 0;
    }
    match body.first() {
        Some(
            &(code::QUERY
            | code::STMT_PREPARE
            | code::STMT_EXECUTE
            | code::INIT_DB
            | code::CHANGE_USER),
        ) => header.length.min(WHOLE_COMMAND),
        Some(&(code::PROCESS_KILL | code::STMT_CLOSE)) => 5,
        _ => 1,
    }
}

/// A column definition starts with the catalog, which is always `def`.
fn is_definition(header: Header, head: &[u8]) -> bool {
    header.length > 10 && head.starts_with(b"\x03def")
}
