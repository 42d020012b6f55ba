//! The server's half of a session: what one server was asked, and how far its answers have come.
//!
//! ```text
//!   ask ─► queue ─► answering (begun: no ─► yes) ─► End ─► the next of the queue
//!                       └─ 0xFB: what is in the queue was data of a file
//! ```
//!
//! A link hears its server's bytes and nothing else; whose turn it is the client's half knows.
//! Invariant: nothing is in the queue while nothing is answered.

mod exchanges;
pub(super) mod hot;
mod refused;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::look::{Ahead, Place, whole};
use super::stamp::Stamp;
use super::watched::Watched;
use crate::sql::analysis::Changes;
use crate::wire::command::Reply;
use crate::wire::id::ServerStatementId;
use crate::wire::packet::{Framer, HEADER, Header, Logical, Start, Step};
use crate::wire::response::{
    Answer, Dialect, Ending, HEAD, ServerStatus, Verdict, changed_rows, warnings,
};

/// Commands that may wait for their answers; the next one is not read before. 64 KiB of state.
const MAX_PIPELINED: usize = 32 * 1024;

/// Which of a session's links: they are numbered as they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkId(u16);

impl LinkId {
    /// The link that the session has logged in by.
    pub const HOME: Self = Self(0);

    /// The one at this place; no session has as many links as it could number.
    pub fn at(place: usize) -> Self {
        Self(u16::try_from(place).unwrap_or(u16::MAX))
    }

    /// Its place among the session's links.
    pub fn place(self) -> usize {
        self.0.into()
    }

    /// Its bit in a set that has one for each link; none for those that it has no room for.
    pub fn bit(self) -> u64 {
        1u64.checked_shl(self.0.into()).unwrap_or(0)
    }
}

/// A command whose answer has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What kind of answer it gets.
    pub reply: Reply,
    /// Of the command's last packet; the first packet of its answer has the next one.
    pub sequence: u8,
    /// The command was an empty packet, which would end a file.
    pub empty: bool,
    /// What becomes of the answer.
    pub note: Note,
    /// It is a statement to be prepared whose parameter is a connection's id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_id: bool,
    /// What it may change of the session; nothing of a session that nobody follows.
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
    /// The last frame of it that a compressed client has sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<u8>,
    /// What it is counted as, if statements are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<Stamp>,
}

impl Asked {
    /// A command whose answer is passed on.
    #[inline]
    pub fn new(reply: Reply, sequence: u8, empty: bool) -> Self {
        let (note, changes, stamp) = (Note::Plain, Changes::default(), None);
        Self { reply, sequence, empty, note, takes_id: false, changes, frame: None, stamp }
    }
}

/// What the session wants to do with an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// If it is OK, the session's database has changed.
    Database,
    /// If it is OK, the session's user has changed.
    User,
    /// If it is OK, a statement is prepared that is remembered.
    Statement,
    /// If it is OK, the session is as one that has just logged in.
    Reset,
    /// It is a PREPARE or DEALLOCATE in text.
    Text,
    /// It may change anything, but not if its server cannot read it.
    Unread,
    /// Nothing; also what another version wants to do with it, as with ids in rows once.
    #[default]
    #[serde(other)]
    Plain,
}

/// A command whose answer is coming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answering {
    answer: Answer,
    sequence: u8,
    begun: bool,
    note: Note,
    /// As of [`Asked`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    takes_id: bool,
    /// As of [`Asked`].
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    changes: Changes,
    /// As of [`Asked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frame: Option<u8>,
    /// As of [`Asked`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stamp: Option<Stamp>,
}

impl Answering {
    /// The first packet of an answer will have the number behind this one.
    fn new(answer: Answer, sequence: u8) -> Self {
        let (note, changes, frame, stamp) = (Note::Plain, Changes::default(), None, None);
        Self { answer, sequence, begun: false, note, takes_id: false, changes, frame, stamp }
    }

    /// What this packet says of a statement that somebody wants to know of.
    fn prepared(&self, head: &[u8]) -> Option<Prepared> {
        let is_remembered = self.takes_id || self.note == Note::Statement;
        let is_wanted = is_remembered || self.stamp.is_some();
        if !is_wanted || self.answer != Answer::Prepare {
            return None;
        }
        // Status, id, columns, parameters.
        let (0, id) = head.split_first()? else { return None };
        let has_columns = *head.get(5..7)? != [0, 0];
        let parameters = u16::from_le_bytes(*head.get(7..)?.first_chunk()?);
        let id = ServerStatementId(u32::from_le_bytes(*id.first_chunk()?));
        let (takes_id, stamp) = (self.takes_id, self.stamp);
        Some(Prepared { id, has_columns, parameters, takes_id, is_remembered, stamp })
    }
}

impl Answering {
    /// What is counted of it, now that it has ended with this packet. Of what was only prepared
    /// nothing is.
    fn ended(&self, ending: Ending, header: Header, head: &[u8]) -> Option<Stamp> {
        let stamp = match self.answer {
            Answer::Prepare
            | Answer::PrepareDefinitions { .. }
            | Answer::PrepareUntilEof { .. } => {
                return None;
            }
            _ => self.stamp?,
        };
        let changed = if ending == Ending::Ok { changed_rows(head) } else { 0 };
        Some(stamp.ended(header.length, changed))
    }
}

/// A packet from the server that starts a logical one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The last packet of an answer to a command.
    End(Ended),
    /// The last packet of an answer in which the client had a part that was no command.
    Released(Ended),
    /// A statement is prepared that somebody wants to know of; perhaps nothing follows.
    Prepared(Prepared, Option<Ended>),
    /// A file is asked for, which the client has sent already: commands behind it were its data.
    FileSent,
    /// A file is asked for, and the client's packets are its data from now on.
    FileWanted,
    /// What no server says here: it is not followed any more.
    Nonsense,
    /// Anything else.
    Other,
}

/// How an answer has ended, and what of the command that it was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub ending: Ending,
    /// What the session wanted to do with it.
    pub note: Note,
    /// What the command may have changed of the session.
    pub changes: Changes,
    /// Whether SHOW WARNINGS has something to show; None: as before.
    pub diagnostics: Option<bool>,
    /// Whether ROW_COUNT() is that of a write; None: as before.
    pub rows: Option<bool>,
    /// What it is counted as, if it was a statement's.
    pub stamp: Option<Stamp>,
}

/// A statement that is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    /// Its id on the server.
    pub id: ServerStatementId,
    /// Its client was told columns.
    pub has_columns: bool,
    /// How many parameters it has.
    pub parameters: u16,
    /// Its parameter is a connection's id.
    pub takes_id: bool,
    /// Others than who counts its executions want to know of it.
    pub is_remembered: bool,
    /// What its executions are counted as, if they are.
    pub stamp: Option<Stamp>,
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

/// A logged-in connection to one server, or one whose log-in awaits the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub(super) dialect: Dialect,
    pub(super) framer: Framer,
    pub(super) answering: Option<Answering>,
    pub(super) queue: Watched<VecDeque<Asked>>,
    pub(super) status: ServerStatus,
    /// Definitions are coming that a prepare's wrapped count did not announce.
    pub(super) residue: bool,
    /// Depends on the connections, so whoever has them says it anew.
    pub(super) held: Held,
    /// What it has of the session. Of no meaning for the home, where it has all of it.
    pub(super) knows: Watched<Knows>,
    /// SHOW WARNINGS would show something there.
    pub(super) has_warnings: bool,
}

/// What another server than the home has of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Knows {
    /// The version of its state that it was told; None: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub told: Option<u32>,
    /// The version of its system variables that it was told with that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<u32>,
    /// The version of its state that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untold: Option<u32>,
    /// How many of its writes are surely there; None: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub has: Option<u64>,
    /// The session was another user's when this link was made. Snapshots have it elsewhere.
    #[serde(skip)]
    pub is_of_another_user: bool,
}

impl Knows {
    /// Whether it is nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl Link {
    /// A link whose log-in is under way: the server's next packet answers it.
    pub fn logging_in(dialect: Dialect) -> Self {
        Self {
            dialect,
            framer: Framer::default(),
            answering: Some(Answering::new(Answer::Auth, 1)),
            queue: Watched::default(),
            status: ServerStatus::Unknown,
            residue: false,
            held: Held::None,
            knows: Watched::default(),
            has_warnings: false,
        }
    }

    /// A link over which nothing is under way.
    pub fn idle(dialect: Dialect, status: ServerStatus) -> Self {
        Self { answering: None, status, ..Self::logging_in(dialect) }
    }

    /// Whether its server has warnings of one of its statements.
    pub fn has_warnings(&self) -> bool {
        self.has_warnings
    }

    /// What it has of the session.
    pub fn knows(&self) -> Knows {
        *self.knows
    }

    /// What was negotiated.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What the server last said of the session.
    pub fn status(&self) -> ServerStatus {
        self.status
    }

    /// A command has been sent whose answer is not over.
    pub fn awaits_answer(&self) -> bool {
        self.answering.is_some()
    }

    /// The same, and its answer has not begun.
    pub fn is_unanswered(&self) -> bool {
        self.answering.is_some_and(|answering| !answering.begun)
    }

    /// Whether the server stands between two packets.
    pub fn is_between_packets(&self) -> bool {
        self.framer.is_between_packets()
    }

    /// Payload bytes of the current packet that are still to come.
    pub fn rest_of_packet(&self) -> usize {
        self.framer.rest()
    }

    /// The packet under way is dealt with by the caller, to this many payload bytes.
    pub fn skip(&mut self, payload: usize) {
        self.framer.skip(payload);
    }

    /// Whether what the answer that is coming decides is the user.
    pub fn is_changing_user(&self) -> bool {
        self.answering.is_some_and(|answering| answering.note == Note::User)
    }

    /// How many answers are to come that may change the user or the database.
    pub fn names_awaited(&self) -> usize {
        let of_answer = self.answering.map(|answering| answering.note);
        let notes = self.queue.iter().map(|asked| asked.note).chain(of_answer);
        notes.filter(|note| matches!(note, Note::Database | Note::User)).count()
    }

    /// The number of a packet of ours to the client, of whom `next` is the next one; None while the
    /// server is in the middle of one.
    pub fn injection_sequence(&self, next: u8) -> Option<u8> {
        // Of pipelined commands only the first is being answered.
        self.is_between_packets().then_some(match self.answering {
            None => 0,
            Some(answering) if answering.begun => next,
            Some(answering) => answering.sequence.wrapping_add(1),
        })
    }

    /// The frame in which the command ended whose answer is to begin, if that was noted.
    pub fn asked_in_frame(&self) -> Option<u8> {
        self.answering.filter(|answering| !answering.begun)?.frame
    }

    /// So many commands wait that no more is to be asked for now.
    pub fn is_full(&self) -> bool {
        self.queue.len() >= MAX_PIPELINED
    }
}

/// Asking.
impl Link {
    /// A command is on its way to the server.
    #[inline]
    pub fn ask(&mut self, asked: Asked) {
        if self.answering.is_some() {
            // Those without an answer are kept too: a file request would take them for data.
            self.queue.push_back(asked);
        } else {
            self.begin_answer(asked);
        }
    }

    /// The command that was asked last goes on in a packet with this number.
    pub fn go_on_asking(&mut self, sequence: u8) {
        match self.asked_last() {
            Some(Last::Waiting(asked)) => asked.sequence = sequence,
            Some(Last::Answering(answering)) if !answering.begun => answering.sequence = sequence,
            _ => {}
        }
    }

    /// Marks the command that was asked last.
    pub fn note(&mut self, note: Note) {
        match self.asked_last() {
            Some(Last::Waiting(asked)) => asked.note = note,
            Some(Last::Answering(answering)) => answering.note = note,
            None => {}
        }
    }

    /// The statement that is to be prepared, asked last, has a connection's id as its parameter.
    pub fn note_id(&mut self) {
        match self.asked_last() {
            Some(Last::Waiting(asked)) => asked.takes_id = true,
            Some(Last::Answering(answering)) => answering.takes_id = true,
            None => {}
        }
    }

    /// The command that was asked last may change this of the session.
    pub fn note_changes(&mut self, changes: Changes) {
        match self.asked_last() {
            Some(Last::Waiting(asked)) => asked.changes = changes,
            Some(Last::Answering(answering)) => answering.changes = changes,
            None => {}
        }
    }

    /// The command that was asked last is counted as this.
    pub fn note_stamp(&mut self, stamp: Stamp) {
        let rest = self.framer.rest();
        match self.asked_last() {
            Some(Last::Waiting(asked)) => asked.stamp = Some(stamp),
            Some(Last::Answering(answering)) => answering.stamp = Some(stamp.behind(rest)),
            None => {}
        }
    }

    /// What is counted of the statement whose answer is coming.
    pub fn stamp(&self) -> Option<Stamp> {
        self.answering?.stamp
    }

    /// Whether something under way is counted.
    pub fn is_counted(&self) -> bool {
        self.stamp().is_some() || self.queue.iter().any(|asked| asked.stamp.is_some())
    }

    /// Whether a command waits behind the one whose answer is coming.
    pub fn has_several(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The command that was asked last ends in this frame, or a later one.
    pub fn note_frame(&mut self, frame: u8) {
        match self.asked_last() {
            Some(Last::Waiting(asked)) => asked.frame = Some(frame),
            Some(Last::Answering(answering)) if !answering.begun => answering.frame = Some(frame),
            _ => {}
        }
    }

    fn asked_last(&mut self) -> Option<Last<'_>> {
        match self.queue.is_empty() {
            true => self.answering.as_mut().map(Last::Answering),
            false => self.queue.back_mut().map(Last::Waiting),
        }
    }

    fn begin_answer(&mut self, asked: Asked) {
        let Asked { reply, sequence, note, takes_id, changes, frame, stamp, empty: _ } = asked;
        // As in `note_stamp`: what is left of the packet before is no part of its answer.
        let stamp = stamp.map(|stamp| stamp.behind(self.framer.rest()));
        self.answering = Answer::to(reply).map(|answer| Answering {
            note,
            takes_id,
            changes,
            frame,
            stamp,
            ..Answering::new(answer, sequence)
        });
    }
}

enum Last<'a> {
    Waiting(&'a mut Asked),
    Answering(&'a mut Answering),
}

/// Hearing.
impl Link {
    /// Consumes bytes up to and including the next header; None when all that can be consumed is.
    /// `at` moves along, and so does `next`, the number of the next packet to the client.
    #[inline]
    pub fn handle(&mut self, bytes: &[u8], at: &mut usize, next: &mut u8) -> Option<Heard> {
        let before = *at;
        let start = self.next_start(bytes, at, next);
        if let Some(stamp) = self.answering.as_mut().and_then(|it| it.stamp.as_mut()) {
            stamp.handle_bytes(*at - before);
        }
        let start = start?;
        *next = start.header.sequence.wrapping_add(1);
        Some(match start.logical {
            Logical::Continued => Heard::Other,
            Logical::First => self.judge(start.header, start.head),
        })
    }

    /// The next header that somebody looks at.
    #[inline]
    fn next_start<'a>(
        &mut self,
        bytes: &'a [u8],
        at: &mut usize,
        next: &mut u8,
    ) -> Option<Start<'a>> {
        if self.holds_exchange() {
            self.framer.consume_payload(bytes, at);
            return None;
        }
        match self.answering.map(|answering| (answering.answer, answering.begun)) {
            // Most packets of most answers are rows that nobody looks at.
            Some((Answer::Rows { .. }, true)) => {
                if let Some((sequence, rows)) = self.framer.skip_rows(bytes, at) {
                    *next = sequence.wrapping_add(1);
                    self.count_rows(rows);
                }
            }
            Some((Answer::Auth, _)) => {
                // What is left of the packet before.
                self.framer.consume_payload(bytes, at);
                if self.holds_clear_password(&bytes[*at..], *next) {
                    return None;
                }
            }
            _ => {}
        }
        match self.framer.next(bytes, at, |_, _| HEAD) {
            Step::Packet(start) => Some(start),
            Step::NeedMore => None,
        }
    }

    #[inline]
    fn count_rows(&mut self, rows: u64) {
        if let Some(stamp) = self.answering.as_mut().and_then(|it| it.stamp.as_mut()) {
            stamp.rows += rows;
        }
    }

    #[inline]
    fn judge(&mut self, header: Header, head: &[u8]) -> Heard {
        if !self.has_begun() && self.take_residue(header, head) {
            return Heard::Other;
        }
        let Some(answering) = &mut self.answering else { return unasked(header, head) };
        if !answering.begun {
            answering.handle_first(head);
        }
        answering.begun = true;
        let prepared = answering.prepared(head);
        match answering.answer.handle(self.dialect, header, head, &mut self.status) {
            Verdict::Continues => {
                prepared.map_or(Heard::Other, |prepared| Heard::Prepared(prepared, None))
            }
            Verdict::Row => {
                self.count_rows(1);
                Heard::Other
            }
            Verdict::LocalInfile => self.begin_file(),
            Verdict::Ends(ending) => match (prepared, self.end_answer(ending, header, head)) {
                (Some(prepared), Heard::End(ended)) => Heard::Prepared(prepared, Some(ended)),
                (_, heard) => heard,
            },
            Verdict::Impossible => Heard::Nonsense,
        }
    }

    /// `header` and `head`: of the packet that ends it.
    fn end_answer(&mut self, ending: Ending, header: Header, head: &[u8]) -> Heard {
        let ended = self.answering.take();
        let stamp = ended.and_then(|answering| answering.ended(ending, header, head));
        let diagnostics = match ended.map(|answering| answering.answer) {
            Some(Answer::One | Answer::Stream) if ending != Ending::Error => None,
            _ => Some(ending == Ending::Error || warnings(head, self.dialect) != 0),
        };
        let rows = match ended.map(|answering| answering.answer) {
            Some(Answer::ResultSets { .. } | Answer::One) => Some(changed_rows(head) > 0),
            Some(Answer::Rows { .. }) => Some(false),
            _ => None,
        };
        let note = ended.map(|answering| answering.note).unwrap_or_default();
        let changes = ended.map(|answering| answering.changes).unwrap_or_default();
        while self.answering.is_none()
            && !self.queue.is_empty()
            && let Some(asked) = self.queue.pop_front()
        {
            self.begin_answer(asked);
        }
        match ended.map(|answering| answering.answer) {
            Some(Answer::Auth | Answer::Stream) => {
                Heard::Released(Ended { ending, note, changes, diagnostics, rows, stamp })
            }
            _ => Heard::End(Ended { ending, note, changes, diagnostics, rows, stamp }),
        }
    }

    /// The server takes what follows for file data, also what was meant to be commands.
    fn begin_file(&mut self) -> Heard {
        while let Some(asked) = self.queue.pop_front() {
            if asked.empty {
                return Heard::FileSent;
            }
        }
        Heard::FileWanted
    }

    fn has_begun(&self) -> bool {
        self.answering.is_some_and(|answering| answering.begun)
    }

    /// Definitions that a wrapped count did not announce, and the EOF behind them, come before the
    /// answer proper.
    fn take_residue(&mut self, header: Header, head: &[u8]) -> bool {
        let is_first = self
            .answering
            .is_some_and(|answering| header.sequence == answering.sequence.wrapping_add(1));
        let residue = self.residue(header, head, is_first);
        self.residue = residue == Some(Residue::Definition);
        residue.is_some()
    }

    /// `is_first`: the packet has the number of an answer's first.
    fn residue(&self, header: Header, head: &[u8], is_first: bool) -> Option<Residue> {
        let is_fields = self.answering.is_some_and(|answering| answering.answer == Answer::Fields);
        let is_announced = is_fields && is_first;
        let is_eof = header.length < 9 && head.first() == Some(&0xFE);
        if !is_announced && is_definition(header, head) {
            return Some(Residue::Definition);
        }
        (self.residue && is_eof && !self.dialect.deprecate_eof).then_some(Residue::End)
    }

    /// What the server's next packet is, if it would be consumed.
    pub fn look(&self, bytes: &[u8], next: u8) -> Option<Ahead> {
        if self.holds_exchange() {
            return None;
        }
        let (at, header, logical) = self.framer.peek(bytes)?;
        let (place, wanted) = match (self.answering, logical) {
            (_, Logical::Continued) => (Place::GoesOn(next), 0),
            (Some(answering), _) if answering.begun => (Place::GoesOn(next), HEAD),
            // Its number may not be the one that it should have.
            _ if self.residue(header, &bytes[at + HEADER..], !self.residue).is_some() => {
                (Place::GoesOn(next), HEAD)
            }
            (Some(answering), _) => (Place::Begins(answering.sequence.wrapping_add(1)), HEAD),
            (None, _) if header.sequence == 0 => (Place::Unasked, HEAD),
            (None, _) => (Place::GoesOn(next), HEAD),
        };
        whole(bytes, at, header, wanted, place)
    }

    /// What a packet of ours to the client would be; None while the server is in the middle of one.
    pub fn injection(&self, next: u8) -> Option<Place> {
        let sequence = self.injection_sequence(next)?;
        Some(match self.answering {
            None => Place::Unasked,
            Some(answering) if answering.begun => Place::GoesOn(sequence),
            Some(_) => Place::Begins(sequence),
        })
    }
}

/// What comes behind the answer to a prepare whose counts have wrapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Residue {
    Definition,
    End,
}

/// A column definition starts with the catalog, which is always `def`.
fn is_definition(header: Header, head: &[u8]) -> bool {
    header.length > 10 && head.starts_with(b"\x03def")
}

/// A packet that answers nothing: a notice before the server closes (ERR, sequence 0).
fn unasked(header: Header, head: &[u8]) -> Heard {
    let is_notice = head.first() == Some(&0xFF) && header.sequence == 0;
    if is_notice { Heard::Other } else { Heard::Nonsense }
}
