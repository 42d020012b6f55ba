//! Prepared statements of a session that can move: their texts, so that another server can be asked
//! to prepare them, and ids of ours, so that the client does not notice.
//!
//! ```text
//!   PREPARE ─► preparing ─► known: client's id = server's id
//!                             │ the session moves: prepared again, in their order
//!                             ▼
//!                           known: client's id ─► id on that server; types to be told again
//! ```
//!
//! As long as a session has not moved, every id is the home's and nothing is touched. Other links
//! have *copies*: a statement is prepared there when it is executed there first, and has an id of
//! its own. What types a statement's parameters were last bound to is remembered, as a client tells
//! it only once, and a server that was not told hears it with the next execution.

mod copies;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::session::link::LinkId;
use crate::session::routing::Earlier;
use crate::sql::analysis::Changes;
use crate::wire::command::{COUNT_AVAILABLE, LATEST, code};
use crate::wire::id::{ClientStatementId, ServerStatementId};
use crate::wire::packet::{Header, MAX_PAYLOAD};
use copies::Copied;
pub use copies::Executed;

/// Bytes of texts and types that are remembered of one session.
const MOST_BYTES: usize = 4 << 20;

/// No server's id: it refuses what names it.
const NOBODY: ServerStatementId = ServerStatementId(LATEST - 1);

/// Where COM_STMT_EXECUTE says "flags", and where its parameters start.
const FLAGS: usize = 5;
const PARAMETERS: usize = 10;

/// COM_STMT_EXECUTE: any kind of cursor.
const CURSOR: u8 = 0x07;

/// COM_STMT_BULK_EXECUTE: its types are told, where they start if so.
const SEND_TYPES: u16 = 128;
const BULK_TYPES: usize = 7;

/// The most parameters of a statement that can be bound anew for the client: with their NULLs they
/// are in what is at hand of a command, and their types fit behind it.
const MOST_BOUND: usize = 1000;

/// Prepared statements of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Prepared {
    /// In the order in which they were prepared.
    known: Vec<(ClientStatementId, Statement)>,
    /// What the server was asked to prepare and has not answered.
    preparing: VecDeque<Preparing>,
    /// Ids differ: the session has moved.
    is_mapped: bool,
    /// More was prepared than is remembered, or something that could not be.
    is_forgetful: bool,
}

/// A statement that the server was asked to prepare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Preparing {
    /// None: it is not at hand.
    text: Option<Vec<u8>>,
    /// How it is read.
    reading: Reading,
    /// What its execution may change of the session.
    changes: Changes,
}

/// What the meaning of a text depends on beside the text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The default schema.
    pub schema: Vec<u8>,
    /// How often modes and character sets may have changed in the session.
    pub modes: u32,
    /// Where it is executed the warnings of the statement before it stay, if it has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaves_warnings: bool,
    /// Whether they do is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_leave_warnings: bool,
    /// Its execution writes nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_reads: bool,
    /// It is one write, of which a server that is read-only does nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_one_write: bool,
    /// How often system variables may have changed in the session.
    #[serde(default)]
    pub variables: u32,
}

impl Reading {
    /// Of a text that makes this of the warnings of the statement before it.
    pub fn with(earlier: Earlier) -> Self {
        Self {
            leaves_warnings: earlier == Earlier::Left,
            may_leave_warnings: earlier == Earlier::Unknown,
            ..Self::default()
        }
    }

    /// What its execution makes of the warnings of the statement before it.
    pub fn earlier_warnings(&self) -> Earlier {
        match (self.leaves_warnings, self.may_leave_warnings) {
            (true, _) => Earlier::Left,
            (false, true) => Earlier::Unknown,
            (false, false) => Earlier::PutAway,
        }
    }
}

/// A statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Its id on the server.
    server: ServerStatementId,
    text: Vec<u8>,
    #[serde(default)]
    reading: Reading,
    #[serde(default, skip_serializing_if = "Changes::is_empty")]
    changes: Changes,
    parameters: u16,
    /// Its client was told its columns, and then only what is new of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    keeps_columns: bool,
    /// The types as they were last told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    types: Option<Vec<u8>>,
    /// The server does not know them.
    #[serde(default)]
    is_unbound: bool,
    /// Data of parameters was sent and is not executed yet.
    #[serde(default)]
    has_long_data: bool,
    /// It may have a cursor open.
    #[serde(default)]
    has_cursor: bool,
    /// What other links than the home have of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    copies: Vec<Copied>,
}

/// Why a session's statements keep it where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmovable {
    /// A statement is not remembered.
    Forgotten,
    /// Data of its parameters is with the server.
    LongData,
    /// It has a cursor open.
    Cursor,
    /// It was prepared when modes or character sets were others.
    OtherModes,
    /// The server remembers which columns the client was told.
    Columns,
}

/// What is to be done with a command that names a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Translated {
    /// Nothing.
    AsItIs,
    /// Its header and head are to be replaced by this.
    Replaced(Vec<u8>),
}

impl Prepared {
    /// A COM_STMT_PREPARE; None: its text is not at hand. `changes`: of the session, by each
    /// execution.
    pub fn prepare(&mut self, text: Option<&[u8]>, reading: Reading, changes: Changes) {
        let text = text.map(<[u8]>::to_vec);
        self.preparing.push_back(Preparing { text, reading, changes });
    }

    /// The server would not.
    pub fn refused(&mut self) {
        self.preparing.pop_front();
    }

    /// The server has; the id that the client gets, if that is another one.
    pub fn prepared(
        &mut self,
        server: ServerStatementId,
        parameters: u16,
        keeps_columns: bool,
    ) -> Option<ClientStatementId> {
        let Preparing { text, reading, changes } = self.preparing.pop_front().unwrap_or_default();
        let id = self.free(server);
        let room = MOST_BYTES.saturating_sub(self.bytes());
        match text.filter(|text| text.len() <= room) {
            Some(text) => {
                let known = Statement {
                    server,
                    text,
                    reading,
                    changes,
                    parameters,
                    keeps_columns,
                    ..Statement::default()
                };
                self.known.push((id, known));
            }
            None => self.is_forgetful = true,
        }
        (id.0 != server.0).then_some(id)
    }

    /// An id that the client does not have yet: the server's if that is free.
    fn free(&mut self, server: ServerStatementId) -> ClientStatementId {
        let same = ClientStatementId(server.0);
        let is_known = |id| self.known.iter().any(|(known, _)| *known == id);
        if !self.is_mapped || !is_known(same) {
            return same;
        }
        let most = self.known.iter().map(|(id, _)| id.0).max().unwrap_or_default();
        // Servers count up from 1, so the upper half is free.
        let mut upper = (most.max(1 << 31)..LATEST).map(ClientStatementId);
        upper.find(|id| !is_known(*id)).unwrap_or(same)
    }

    fn bytes(&self) -> usize {
        let of = |statement: &Statement| {
            statement.text.len() + statement.types.as_ref().map_or(0, Vec::len)
        };
        self.known.iter().map(|(_, statement)| of(statement)).sum()
    }

    /// All are forgotten, here and there.
    pub fn clear(&mut self) {
        *self = Self { preparing: std::mem::take(&mut self.preparing), ..Self::default() };
    }

    /// Whether a reader that does not know of ids of ours would send others.
    pub fn is_mapped(&self) -> bool {
        self.is_mapped && !self.known.is_empty()
    }

    /// Whether commands may have to grow.
    pub fn may_grow(&self) -> bool {
        let lacks_types =
            |it: &Statement| it.is_unbound || it.copies.iter().any(|it| it.is_unbound);
        self.known.iter().any(|(_, statement)| lacks_types(statement))
    }

    /// Why the session must stay, if it must. `modes`: as of [`Reading`], now.
    pub fn unmovable(&self, modes: u32) -> Option<Unmovable> {
        let any = |is: fn(&Statement) -> bool| self.known.iter().any(|(_, it)| is(it));
        if self.is_forgetful || any(|it| it.types.is_none() && it.is_unbound) {
            return Some(Unmovable::Forgotten);
        }
        if any(|it| it.has_long_data) {
            return Some(Unmovable::LongData);
        }
        if any(|it| it.has_cursor) {
            return Some(Unmovable::Cursor);
        }
        if any(|it| it.keeps_columns) {
            return Some(Unmovable::Columns);
        }
        let is_other = self.known.iter().any(|(_, it)| it.reading.modes != modes);
        is_other.then_some(Unmovable::OtherModes)
    }

    /// The texts with their default schemas, in the order in which another server is to prepare
    /// them.
    pub fn texts(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.known.iter().map(|(_, statement)| (&*statement.text, &*statement.reading.schema))
    }

    /// Another server has prepared them, in the order of [`Prepared::texts`], by these ids; false
    /// if they are not the same statements there.
    #[must_use]
    pub fn moved(&mut self, ids: &[(ServerStatementId, u16)]) -> bool {
        let is_same = self.known.len() == ids.len()
            && self.known.iter().zip(ids).all(|((_, it), (_, count))| it.parameters == *count);
        if is_same {
            for ((_, statement), (server, _)) in self.known.iter_mut().zip(ids) {
                statement.server = *server;
                statement.is_unbound = statement.types.is_some();
            }
            self.is_mapped = true;
        }
        is_same
    }

    /// What a COM_STMT_EXECUTE makes of the warnings of the statement before it.
    pub fn earlier_warnings(&self, head: &[u8]) -> Earlier {
        let id = ClientStatementId::named_by(head);
        let known = self.known.iter().find(|(known, _)| Some(*known) == id);
        let of_known = |(_, statement): &(_, Statement)| statement.reading.earlier_warnings();
        known.map_or(Earlier::Unknown, of_known)
    }

    /// The text of the statement that a COM_STMT_EXECUTE names.
    pub fn text(&mut self, head: &[u8]) -> Option<&[u8]> {
        self.find(ClientStatementId::named_by(head)?).map(|statement| &*statement.text)
    }

    fn find(&mut self, id: ClientStatementId) -> Option<&mut Statement> {
        if id == ClientStatementId::LATEST {
            // What is being prepared is the server's affair.
            return match self.preparing.is_empty() {
                true => self.known.last_mut().map(|(_, statement)| statement),
                false => None,
            };
        }
        self.known.iter_mut().find(|(known, _)| *known == id).map(|(_, statement)| statement)
    }

    /// What a command that names a statement may change of the session.
    pub fn changes(&mut self, head: &[u8]) -> Changes {
        if !matches!(head.first(), Some(&(code::STMT_EXECUTE | code::STMT_BULK_EXECUTE))) {
            return Changes::default();
        }
        let statement = ClientStatementId::named_by(head).and_then(|id| self.find(id));
        statement.map_or(Changes::ANYTHING, |statement| statement.changes)
    }

    /// Whether a command that names a statement surely writes nothing.
    pub fn only_reads(&mut self, head: &[u8]) -> bool {
        let is_run = matches!(
            head.first(),
            Some(&(code::STMT_EXECUTE | code::STMT_BULK_EXECUTE | code::STMT_FETCH))
        );
        if !is_run {
            return true;
        }
        let statement = ClientStatementId::named_by(head).and_then(|id| self.find(id));
        statement.is_some_and(|statement| statement.reading.only_reads)
    }

    /// Whether a COM_STMT_EXECUTE is all that its statement needs, and is one write.
    pub fn executes_one_write(&self, head: &[u8]) -> bool {
        let id = ClientStatementId::named_by(head);
        let known = self.known.iter().find(|(known, _)| Some(*known) == id);
        known.is_some_and(|(_, statement)| {
            statement.reading.is_one_write && !statement.has_long_data && !statement.has_cursor
        })
    }

    /// A command that names a statement, over this link: notes what it means, and says what the
    /// server gets.
    pub fn translate(
        &mut self,
        (header, head): (Header, &[u8]),
        query_attributes: bool,
        link: LinkId,
    ) -> Translated {
        let (Some(&command), Some(id)) = (head.first(), ClientStatementId::named_by(head)) else {
            return Translated::AsItIs;
        };
        let is_mapped = self.is_mapped;
        let Some(statement) = self.find(id) else { return Translated::AsItIs };
        let server = match (link, id) {
            (LinkId::HOME, ClientStatementId::LATEST) => ServerStatementId(LATEST),
            (LinkId::HOME, _) => statement.server,
            _ => statement.copy(link).map_or(NOBODY, |copy| copy.id),
        };
        let grown = match command {
            code::STMT_EXECUTE => statement.execute(head, query_attributes, link),
            code::STMT_BULK_EXECUTE => statement.execute_bulk(head),
            code::STMT_SEND_LONG_DATA => {
                statement.has_long_data = true;
                None
            }
            code::STMT_RESET => {
                (statement.has_long_data, statement.has_cursor) = (false, false);
                None
            }
            _ => None,
        };
        if command == code::STMT_CLOSE {
            self.known.retain(|(known, _)| *known != id);
        }
        let mut payload = match grown {
            Some(grown) => grown,
            None if server.0 != id.0 && (is_mapped || link != LinkId::HOME) => head.to_vec(),
            None => return Translated::AsItIs,
        };
        payload[1..5].copy_from_slice(&server.0.to_le_bytes());
        let length = header.length - head.len() + payload.len();
        if length >= MAX_PAYLOAD || header.length >= MAX_PAYLOAD && payload.len() != head.len() {
            return Translated::AsItIs;
        }
        Translated::Replaced([&Header { length, ..header }.encode()[..], &payload].concat())
    }

    /// A cursor has given its last row.
    pub fn cursors_end(&mut self) {
        self.known.iter_mut().for_each(|(_, statement)| statement.has_cursor = false);
    }
}

impl Statement {
    /// Where COM_STMT_EXECUTE says whether types are told; behind it they are.
    fn types_flag(&self) -> usize {
        PARAMETERS + usize::from(self.parameters).div_ceil(8)
    }

    /// What a link that is not the home has of it.
    fn copy(&mut self, link: LinkId) -> Option<&mut Copied> {
        self.copies.iter_mut().find(|copy| copy.link == link.place())
    }

    /// Whether a link's server lacks the types.
    fn is_unbound_at(&mut self, link: LinkId) -> Option<&mut bool> {
        match link {
            LinkId::HOME => Some(&mut self.is_unbound),
            _ => self.copy(link).map(|copy| &mut copy.is_unbound),
        }
    }

    /// The server of this link was told types, and no other; None: they are not at hand.
    fn bind(&mut self, types: Option<Vec<u8>>, link: LinkId) {
        if types.is_none() || types != self.types {
            self.copies.iter_mut().for_each(|copy| copy.is_unbound = true);
            self.is_unbound = link != LinkId::HOME || self.is_unbound;
        }
        // Those that are not at hand cannot be told another server.
        let is_unbound = types.is_none();
        self.types = types;
        if let Some(there) = self.is_unbound_at(link) {
            *there = is_unbound;
        }
    }

    /// A COM_STMT_EXECUTE; what it is with the types that the server does not know.
    fn execute(&mut self, head: &[u8], query_attributes: bool, link: LinkId) -> Option<Vec<u8>> {
        self.has_long_data = false;
        self.has_cursor = head.get(FLAGS)? & CURSOR != 0;
        let count = usize::from(self.parameters);
        // Attributes come with a count and names of their own each time, and with all types.
        if count == 0 || query_attributes && head[FLAGS] & COUNT_AVAILABLE != 0 {
            return None;
        }
        let flag = self.types_flag();
        let types = flag + 1;
        match head.get(flag) {
            Some(1) => {
                self.bind(head.get(types..types + 2 * count).map(<[u8]>::to_vec), link);
                None
            }
            Some(0) if self.is_unbound_at(link).is_some_and(|it| *it) => {
                let told = self.types.as_ref().filter(|_| count <= MOST_BOUND)?;
                let told = [&head[..flag], &[1], &told[..], &head[types..]].concat();
                self.is_unbound_at(link).into_iter().for_each(|it| *it = false);
                Some(told)
            }
            _ => None,
        }
    }

    /// A COM_STMT_BULK_EXECUTE; the same.
    fn execute_bulk(&mut self, head: &[u8]) -> Option<Vec<u8>> {
        self.has_long_data = false;
        let flags = u16::from_le_bytes(*head.get(FLAGS..)?.first_chunk()?);
        let count = usize::from(self.parameters);
        if flags & SEND_TYPES != 0 {
            let types = head.get(BULK_TYPES..BULK_TYPES + 2 * count).map(<[u8]>::to_vec);
            self.bind(types, LinkId::HOME);
            return None;
        }
        let told = self.types.as_ref().filter(|_| self.is_unbound && count <= MOST_BOUND)?;
        self.is_unbound = false;
        let flags = (flags | SEND_TYPES).to_le_bytes();
        Some([&head[..FLAGS], &flags, told, &head[BULK_TYPES..]].concat())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn header(payload: &[u8]) -> Header {
        Header { length: payload.len(), sequence: 0 }
    }

    pub(super) fn command(code: u8, id: u32, rest: &[u8]) -> Vec<u8> {
        [&[code][..], &id.to_le_bytes(), rest].concat()
    }

    /// A COM_STMT_EXECUTE of one parameter, with its type or without.
    pub(super) fn execute(id: u32, types: Option<[u8; 2]>) -> Vec<u8> {
        let mut rest = vec![0, 1, 0, 0, 0, 0];
        match types {
            Some(types) => rest.extend([&[1][..], &types].concat()),
            None => rest.push(0),
        }
        rest.extend(b"\x03abc");
        command(code::STMT_EXECUTE, id, &rest)
    }

    pub(super) fn translate(prepared: &mut Prepared, payload: &[u8]) -> Option<Vec<u8>> {
        translate_at(prepared, payload, LinkId::HOME)
    }

    pub(super) fn translate_at(
        prepared: &mut Prepared,
        payload: &[u8],
        link: LinkId,
    ) -> Option<Vec<u8>> {
        match prepared.translate((header(payload), payload), false, link) {
            Translated::AsItIs => None,
            Translated::Replaced(with) => {
                let header = Header::parse(&with).expect("a header");
                assert_eq!(header.length, with.len() - 4);
                Some(with[4..].to_vec())
            }
        }
    }

    pub(super) fn with(texts: &[(&str, u32, u16)]) -> Prepared {
        let mut prepared = Prepared::default();
        for (text, id, parameters) in texts {
            prepared.prepare(Some(text.as_bytes()), Reading::default(), Changes::default());
            assert_eq!(prepared.prepared(ServerStatementId(*id), *parameters, false), None);
        }
        prepared
    }

    #[test]
    fn nothing_is_touched_before_the_session_moves() {
        let mut prepared = with(&[("a", 1, 1), ("b", 2, 1)]);
        for payload in [execute(1, Some([253, 0])), execute(1, None), execute(2, None)] {
            assert_eq!(translate(&mut prepared, &payload), None);
        }
        for code in [code::STMT_CLOSE, code::STMT_RESET, code::STMT_FETCH] {
            assert_eq!(translate(&mut prepared, &command(code, 1, b"")), None);
        }
        assert!(!prepared.is_mapped());
        assert_eq!(prepared.texts().collect::<Vec<_>>(), [(&b"b"[..], &b""[..])]);
    }

    #[test]
    fn ids_are_the_clients_own_after_a_move() {
        let mut prepared = with(&[("a", 1, 1), ("b", 7, 1)]);
        assert!(prepared.moved(&[(ServerStatementId(7), 1), (ServerStatementId(9), 1)]));
        let moved = |payload: &[u8], id: u32| {
            let mut moved = payload.to_vec();
            moved[1..5].copy_from_slice(&id.to_le_bytes());
            Some(moved)
        };
        let payload = execute(1, Some([253, 0]));
        assert_eq!(translate(&mut prepared, &payload), moved(&payload, 7));
        let fetch = command(code::STMT_FETCH, 7, &[1, 0, 0, 0]);
        assert_eq!(translate(&mut prepared, &fetch), moved(&fetch, 9));
        // One more: its id is one that the client has for another.
        prepared.prepare(Some(b"c"), Reading::default(), Changes::default());
        let id = prepared.prepared(ServerStatementId(7), 0, false).expect("another id").0;
        assert!(id > 7 && id != LATEST);
        let close = command(code::STMT_CLOSE, 1, b"");
        assert_eq!(translate(&mut prepared, &close), moved(&close, 7));
        let close = command(code::STMT_CLOSE, id, b"");
        assert_eq!(translate(&mut prepared, &close), moved(&close, 7));
        // Now that it is free the server's own will do.
        prepared.prepare(Some(b"d"), Reading::default(), Changes::default());
        assert_eq!(prepared.prepared(ServerStatementId(1), 0, false), None);
    }

    #[test]
    fn types_are_told_again() {
        let mut prepared = with(&[("a", 1, 1)]);
        assert_eq!(translate(&mut prepared, &execute(1, Some([253, 0]))), None);
        assert!(prepared.moved(&[(ServerStatementId(1), 1)]));
        assert!(prepared.may_grow());
        assert_eq!(translate(&mut prepared, &execute(1, None)), Some(execute(1, Some([253, 0]))));
        assert_eq!(translate(&mut prepared, &execute(1, None)), None, "the server knows them");
        assert!(!prepared.may_grow());
        // It may tell new ones first.
        assert!(prepared.moved(&[(ServerStatementId(1), 1)]));
        assert_eq!(translate(&mut prepared, &execute(1, Some([8, 0]))), None);
        assert_eq!(translate(&mut prepared, &execute(1, None)), None);
        // In bulk.
        assert!(prepared.moved(&[(ServerStatementId(1), 1)]));
        let bulk = command(code::STMT_BULK_EXECUTE, 1, &[0, 0, 0, 5]);
        let told = command(code::STMT_BULK_EXECUTE, 1, &[128, 0, 8, 0, 0, 5]);
        assert_eq!(translate(&mut prepared, &bulk), Some(told));
    }

    #[test]
    fn what_the_server_alone_has_keeps_the_session() {
        let mut prepared = with(&[("a", 1, 1)]);
        assert_eq!(prepared.unmovable(0), None);
        translate(&mut prepared, &command(code::STMT_SEND_LONG_DATA, 1, b"\0\0data"));
        assert_eq!(prepared.unmovable(0), Some(Unmovable::LongData));
        translate(&mut prepared, &execute(1, Some([253, 0])));
        assert_eq!(prepared.unmovable(0), None);
        let mut cursor = execute(1, None);
        cursor[FLAGS] = 1;
        translate(&mut prepared, &cursor);
        assert_eq!(prepared.unmovable(0), Some(Unmovable::Cursor));
        prepared.cursors_end();
        assert_eq!(prepared.unmovable(0), None);
        prepared.prepare(None, Reading::default(), Changes::default());
        assert_eq!(prepared.prepared(ServerStatementId(2), 0, false), None);
        assert_eq!(prepared.unmovable(0), Some(Unmovable::Forgotten));
        prepared.clear();
        assert_eq!(prepared.unmovable(0), None);
    }

    #[test]
    fn columns_that_are_told_once_are_those_of_one_server() {
        let mut prepared = with(&[("a", 1, 0)]);
        prepared.prepare(Some(b"b"), Reading::default(), Changes::default());
        assert_eq!(prepared.prepared(ServerStatementId(2), 0, true), None);
        assert_eq!(prepared.unmovable(0), Some(Unmovable::Columns));
        assert!(prepared.executed(&execute(1, None), false, 0).is_some());
        assert!(prepared.executed(&execute(2, None), false, 0).is_none());
        translate(&mut prepared, &command(code::STMT_CLOSE, 2, b""));
        assert_eq!(prepared.unmovable(0), None);
    }

    #[test]
    fn what_was_prepared_last_has_an_id_of_its_own() {
        let mut prepared = with(&[("a", 1, 0), ("b", 2, 1)]);
        translate(&mut prepared, &execute(LATEST, Some([3, 0])));
        assert!(prepared.moved(&[(ServerStatementId(5), 0), (ServerStatementId(6), 1)]));
        // The server has prepared them in the same order.
        assert_eq!(
            translate(&mut prepared, &execute(LATEST, None)),
            Some(execute(LATEST, Some([3, 0])))
        );
        assert!(
            !prepared.moved(&[(ServerStatementId(1), 0), (ServerStatementId(2), 0)]),
            "another statement"
        );
        assert!(!prepared.moved(&[(ServerStatementId(1), 0)]));
    }

    #[test]
    fn a_refused_one_is_none() {
        let mut prepared = Prepared::default();
        prepared.prepare(Some(b"x"), Reading::default(), Changes::default());
        prepared.prepare(Some(b"y"), Reading::default(), Changes::default());
        prepared.refused();
        assert_eq!(prepared.prepared(ServerStatementId(1), 0, false), None);
        assert_eq!(prepared.texts().collect::<Vec<_>>(), [(&b"y"[..], &b""[..])]);
    }
}
