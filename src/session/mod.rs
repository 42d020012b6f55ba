//! What we know about one client. Sans-IO: `handle_*` in, what to pass on out.
//!
//! A [`Session`] reads along and decides for each stretch of bytes: forward it as it is, or put
//! something else in its place. It holds no bytes: what it cannot judge yet it leaves with the
//! caller, whose buffer then starts with it. So a session is frozen at any instant by serialising
//! it together with the caller's two buffers ([`snapshot`]).

pub mod conversation;
#[cfg(test)]
mod laws;
pub mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::metrics::SessionCounters;
use crate::sql::{self, Statement};
use crate::wire::command::code;
use crate::wire::handshake::UNKNOWN_PLUGIN;
use crate::wire::packet::{HEADER, Header, MAX_PAYLOAD, lenenc, packet, put_lenenc_str};
use crate::wire::response::{Dialect, Ending};
use conversation::{ClientPacket, Conversation, Held, Note, ServerPacket, Turn, WHOLE_COMMAND};

/// Who has which id. Clients know the proxy's ids, servers know their own.
pub trait Directory {
    /// The id on this session's server of a connection, by the id its client was shown.
    fn server_thread(&self, connection: u32) -> Option<u32>;
    /// The id a client was shown, by its id on this session's server.
    fn connection(&self, server_thread: u32) -> Option<u32>;
}

/// What to do with the bytes that were handed in.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// So many were judged; the rest stays with the caller until more come.
    pub consumed: usize,
    /// Of those, these are not passed on as they are but replaced. They are the last ones.
    pub rewrite: Option<Rewrite>,
}

/// Bytes in place of others.
#[derive(Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Which of the bytes handed in are replaced.
    pub range: Range<usize>,
    /// By what.
    pub with: Vec<u8>,
}

/// Pipelined commands whose names are remembered; those behind change none.
const MAX_NAMES: usize = 64;

/// What a command that changes them names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Names {
    /// None leaves the user as it is.
    user: Option<Vec<u8>>,
    database: Vec<u8>,
}

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    conversation: Conversation,
    /// The user as the client gave it.
    user: Vec<u8>,
    /// The default database, as far as it was seen to change.
    database: Vec<u8>,
    /// What `user` and `database` become when commands under way succeed, in their order.
    names: VecDeque<Names>,
    /// CLIENT_QUERY_ATTRIBUTES: a statement has parameters before its text.
    query_attributes: bool,
    /// `user` or `database` has changed since somebody asked.
    renamed: bool,
}

impl Session {
    /// A session whose log-in is under way.
    pub fn logging_in(
        dialect: Dialect,
        query_attributes: bool,
        user: &[u8],
        database: &[u8],
    ) -> Self {
        Self {
            conversation: Conversation::logging_in(dialect),
            user: user.to_vec(),
            database: database.to_vec(),
            names: VecDeque::new(),
            query_attributes,
            renamed: true,
        }
    }

    /// Whether the user or the database has changed since this was last asked.
    pub fn take_renamed(&mut self) -> bool {
        std::mem::take(&mut self.renamed)
    }

    /// Which authentication exchanges are left with the caller, to be followed by it once
    /// [`Conversation::is_exchange_due`].
    pub fn hold_exchanges(&mut self, held: Held) {
        self.conversation.hold_exchanges(held);
    }

    /// The caller has followed an exchange up to the server's verdict; the next packet to the
    /// client has this number.
    pub fn handle_exchange(&mut self, next_sequence: u8) {
        self.conversation.handle_exchange(next_sequence);
    }

    /// What was handled last of the client's came in this frame.
    pub fn note_frame(&mut self, frame: u8) {
        self.conversation.note_frame(frame);
    }

    /// The caller passes on this many bytes of the server's current packet by itself.
    pub fn skip_server(&mut self, payload: usize) {
        self.conversation.skip_server(payload);
    }

    /// The protocol state.
    pub fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The user as the client gave it.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The default database, as far as it was seen to change.
    pub fn database(&self) -> &[u8] {
        &self.database
    }

    /// The user that the exchange under way would change to, if that is known.
    pub fn changing_user(&self) -> Option<&[u8]> {
        let names = self.names.front().filter(|_| self.conversation.is_changing_user());
        names?.user.as_deref()
    }

    /// Whether a transaction is open, or may be.
    pub fn may_be_in_transaction(&self) -> bool {
        self.conversation.status().may_be_in_transaction()
    }

    /// Bytes from the client.
    pub fn handle_client(
        &mut self,
        bytes: &[u8],
        directory: &dyn Directory,
        counters: &SessionCounters,
    ) -> Intake {
        let mut at = 0;
        while let Some(seen) = self.conversation.handle_client(bytes, &mut at) {
            let ClientPacket::Command(header, head) = seen else { continue };
            counters.client_requests.add(1);
            if let Some(with) = self.handle_command(header, head, directory, counters) {
                // What is replaced is at hand: the head, and no payload byte behind it.
                self.conversation.skip_client(head.len());
                let range = at - HEADER..at + head.len();
                return Intake { consumed: range.end, rewrite: Some(Rewrite { range, with }) };
            }
        }
        Intake { consumed: at, rewrite: None }
    }

    /// Bytes from the server.
    pub fn handle_server(
        &mut self,
        bytes: &[u8],
        directory: &dyn Directory,
        counters: &SessionCounters,
    ) -> Intake {
        let mut at = 0;
        let opaque = self.is_opaque();
        while let Some(seen) = self.conversation.handle_server(bytes, &mut at) {
            match seen {
                ServerPacket::Other => {}
                ServerPacket::End(ending, note) => self.handle_end(ending, note, counters),
                ServerPacket::File => self.forget_names(),
                ServerPacket::RowWithId(header, head) => {
                    if let Some((with, payload)) = show_connection(header, head, directory) {
                        self.conversation.skip_server(payload);
                        let range = at - HEADER..at + payload;
                        return Intake {
                            consumed: range.end,
                            rewrite: Some(Rewrite { range, with }),
                        };
                    }
                }
            }
        }
        if self.is_opaque() && !opaque {
            counters.opaque_sessions.add(1);
        }
        Intake { consumed: at, rewrite: None }
    }

    /// Whether the protocol is not followed any more.
    pub fn is_opaque(&self) -> bool {
        self.conversation.turn() == Turn::Opaque
    }

    /// A command; what stands in place of its header and head if they are to be replaced.
    fn handle_command(
        &mut self,
        header: Header,
        head: &[u8],
        directory: &dyn Directory,
        counters: &SessionCounters,
    ) -> Option<Vec<u8>> {
        let whole = header.length <= WHOLE_COMMAND;
        let Some((&command, body)) = head.split_first() else {
            counters.client_other_requests.add(1);
            return None;
        };
        match command {
            code::QUERY => self.handle_statement(header, head, directory, counters),
            code::STMT_PREPARE => {
                counters.client_other_requests.add(1);
                let Statement::Kill(kill) = sql::inspect(body) else { return None };
                let digits = kill.digits.start + 1..kill.digits.end + 1;
                whole.then(|| rewrite_kill(header, head, kill.id, digits, directory))?
            }
            code::PROCESS_KILL => {
                counters.client_other_requests.add(1);
                let id = u32::from_le_bytes(body.try_into().ok()?);
                let thread = directory.server_thread(id)?;
                // Servers ignore what may follow the id; it is passed on behind.
                let parts = [&header.encode()[..], &[code::PROCESS_KILL], &thread.to_le_bytes()];
                Some(parts.concat())
            }
            code::INIT_DB if whole => {
                counters.client_other_requests.add(1);
                self.expect_names(Note::Database, None, body);
                None
            }
            code::CHANGE_USER => {
                counters.client_other_requests.add(1);
                let (user, database) = changed_to(body);
                self.expect_names(Note::User, Some(user), database);
                let is_due = whole && self.conversation.makes_the_server_ask();
                is_due.then(|| unproved(header, head))?
            }
            _ => {
                counters.client_other_requests.add(1);
                None
            }
        }
    }

    fn handle_statement(
        &mut self,
        header: Header,
        head: &[u8],
        directory: &dyn Directory,
        counters: &SessionCounters,
    ) -> Option<Vec<u8>> {
        let text = statement_at(head, self.query_attributes);
        let whole = header.length <= WHOLE_COMMAND;
        let statement = text.map_or(Statement::Other, |at| sql::inspect(&head[at..]));
        match statement {
            Statement::Select | Statement::SelectConnectionId => {
                counters.client_select_requests.add(1)
            }
            Statement::Insert => counters.client_insert_requests.add(1),
            Statement::Update => counters.client_update_requests.add(1),
            Statement::Delete => counters.client_delete_requests.add(1),
            _ => counters.client_other_requests.add(1),
        }
        match statement {
            Statement::Kill(kill) if whole => {
                let start = text?;
                let digits = kill.digits.start + start..kill.digits.end + start;
                rewrite_kill(header, head, kill.id, digits, directory)
            }
            Statement::SelectConnectionId | Statement::ShowProcesslist if whole => {
                self.conversation.note(Note::ConnectionIds);
                None
            }
            Statement::Use(name) if whole => {
                self.expect_names(Note::Database, None, name);
                None
            }
            _ => None,
        }
    }

    fn handle_end(&mut self, ending: Ending, note: Note, counters: &SessionCounters) {
        match ending {
            Ending::Ok => counters.server_ok_responses.add(1),
            Ending::Error => counters.server_error_responses.add(1),
            Ending::ResultSet => counters.server_resultset_responses.add(1),
        }
        match note {
            Note::Plain | Note::ConnectionIds => {}
            Note::Database | Note::User => {
                let names = self.names.pop_front();
                if let Some(Names { user, database }) = names.filter(|_| ending == Ending::Ok) {
                    self.user = user.unwrap_or_else(|| std::mem::take(&mut self.user));
                    self.database = database;
                    self.renamed = true;
                }
            }
        }
    }

    /// The command seen last changes these if it succeeds.
    fn expect_names(&mut self, note: Note, user: Option<&[u8]>, database: &[u8]) {
        if self.names.len() < MAX_NAMES {
            let (user, database) = (user.map(<[u8]>::to_vec), database.to_vec());
            self.names.push_back(Names { user, database });
            self.conversation.note(note);
        }
    }

    /// Commands have become file data: the foremost ones.
    fn forget_names(&mut self) {
        let forgotten = self.names.len().saturating_sub(self.conversation.names_awaited());
        self.names.drain(..forgotten);
    }
}

/// The user and the database of a COM_CHANGE_USER: "string<NUL> user, int<1> auth_plugin_data_len,
/// string<$len> auth_plugin_data, string<NUL> schema name".
fn changed_to(body: &[u8]) -> (&[u8], &[u8]) {
    let until_nul = |bytes| <[u8]>::split(bytes, |byte| *byte == 0).next().unwrap_or_default();
    let user = until_nul(body);
    let rest = body.get(user.len() + 1..).unwrap_or_default();
    let database = rest.split_first().and_then(|(length, rest)| rest.get(usize::from(*length)..));
    (user, database.map_or(&[][..], until_nul))
}

/// A COM_CHANGE_USER that proves nothing, so that the server has to ask; None if that cannot be
/// made of it. "string<NUL> user, string<lenenc> auth_response, string<NUL> schema, int<2>
/// character_set, string<NUL> auth_plugin_name, connection attributes".
fn unproved(header: Header, head: &[u8]) -> Option<Vec<u8>> {
    let until_nul = |at: usize| Some(at + head.get(at..)?.iter().position(|byte| *byte == 0)? + 1);
    let auth = until_nul(1)?;
    let schema = auth + 1 + usize::from(*head.get(auth)?);
    let character_set = until_nul(schema)?;
    let plugin = character_set + 2;
    let attributes = until_nul(plugin)?;
    let parts = [&head[..auth], &[0], &head[schema..plugin], UNKNOWN_PLUGIN, b"\0"];
    let payload = [&parts.concat(), &head[attributes..]].concat();
    // There may be no room for a longer one; a shorter one has proved something.
    (payload.len() <= head.len()).then(|| packet(header.sequence, &payload))
}

/// Where the text of a COM_QUERY starts. With query attributes two counts stand before it; a
/// statement that has attributes is not looked into.
fn statement_at(head: &[u8], query_attributes: bool) -> Option<usize> {
    match query_attributes {
        false => Some(1),
        true => (head.get(1..3)? == [0, 1]).then_some(3),
    }
}

/// The KILL with the server's id in it; None when the id is not one of ours.
fn rewrite_kill(
    header: Header,
    payload: &[u8],
    id: u64,
    digits: Range<usize>,
    directory: &dyn Directory,
) -> Option<Vec<u8>> {
    let thread = directory.server_thread(u32::try_from(id).ok()?)?.to_string();
    let parts = [&payload[..digits.start], thread.as_bytes(), &payload[digits.end..]];
    Some(packet(header.sequence, &parts.concat()))
}

/// The start of a row with the id its client knows, and how much of the payload that replaces.
fn show_connection(
    header: Header,
    head: &[u8],
    directory: &dyn Directory,
) -> Option<(Vec<u8>, usize)> {
    let (length, width) = lenenc(head)?;
    let end = width + usize::try_from(length).ok()?;
    let digits = std::str::from_utf8(head.get(width..end)?).ok()?;
    let connection = directory.connection(digits.parse().ok()?)?.to_string();
    let longer = header.length - end + 1 + connection.len();
    if header.length == MAX_PAYLOAD || longer >= MAX_PAYLOAD {
        return None;
    }
    let mut with = Header { length: longer, sequence: header.sequence }.encode().to_vec();
    put_lenenc_str(&mut with, connection.as_bytes());
    Some((with, end))
}
