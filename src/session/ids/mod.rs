//! Ids of connections that a client names: those that the proxy has given become the server's.
//!
//! Clients know a connection by the id in its greeting, which is the proxy's, and by what the
//! server says of ids, which is the server's own and never touched. So only what a client asks is
//! changed, and in it only where an id can stand. By ids of ours nothing grows: they have ten
//! digits, and no server's has more. A home's id that becomes a reader's may, by nine digits, for
//! which reads leave room.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::change_user::Account;
use super::programs::{Programs, Unread};
use super::routing::Router;
use super::stamp::Shapes;
use crate::error::ClientError;
use crate::sql::ids::Named;
use crate::sql::{Extent, explains_route};
use crate::wire::command::{COUNT_AVAILABLE, code};
use crate::wire::id::{ClientStatementId, SessionId, ThreadId};
use crate::wire::kind;
use crate::wire::packet::{Header, MAX_PAYLOAD, lenenc, put_lenenc_str};
use crate::wire::parameter::{Naming, Parameters, value};

/// Ids shown to clients have this bit; servers count from 1, so one never looks like the other.
pub const OURS: u32 = 1 << 31;

/// Who has which id, and who is who. A client's greeting has one of the proxy's ids; servers know
/// their own.
pub trait Directory {
    /// Who says where commands go; None: all to where the one before went.
    fn router(&self) -> Option<&dyn Router> {
        None
    }

    /// Who counts statements; None: nobody.
    fn shapes(&self) -> Option<&dyn Shapes> {
        None
    }

    /// What stored programs of this session's server may change in a session.
    fn programs(&self) -> &dyn Programs {
        &Unread
    }

    /// Whether another server may come to take the writes.
    fn may_be_switched(&self) -> bool {
        false
    }

    /// The id on this session's server of a connection, by the id its client was shown.
    fn server_thread(&self, connection: SessionId) -> Option<ThreadId>;

    /// The id on the link's server of a connection, by the one that it has on the session's home;
    /// None: it is what it is.
    fn thread_elsewhere(&self, _thread: ThreadId) -> Option<ThreadId> {
        None
    }

    /// The statement by which the server tells where this one goes, as it would; None: it does not
    /// concern us, or whoever says where commands go tells that, too.
    fn explained(&self, _sql: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// The account on this session's server that a user's name means; None: it means itself.
    ///
    /// # Errors
    ///
    /// Why this session's client must not become that one.
    fn account(&self, _name: &[u8]) -> Result<Option<Account>, ClientError> {
        Ok(None)
    }
}

/// Prepared statements that are remembered; older ones are forgotten.
const MAX_STATEMENTS: usize = 64;

/// A command that is to be replaced: its start, up to what is not at hand, with its header.
pub(super) type Replaced = Option<Vec<u8>>;

/// The server's id, if this is one of ours, or another server's.
fn thread(id: u64, directory: &dyn Directory) -> Option<ThreadId> {
    let id = u32::try_from(id).ok()?;
    match id & OURS {
        0 => directory.thread_elsewhere(ThreadId(id)),
        _ => directory.server_thread(SessionId(id)),
    }
}

/// A command whose text starts there in the payload.
pub(super) fn in_text(
    command: (Header, &[u8]),
    text: usize,
    named: &[Named],
    directory: &dyn Directory,
) -> Replaced {
    let (_, head) = command;
    let (mut payload, mut done) = (Vec::with_capacity(head.len()), 0);
    for named in named {
        let Named::Id(id, digits) = named else { continue };
        let Some(thread) = thread(*id, directory) else { continue };
        payload.extend(&head[done..text + digits.start]);
        payload.extend(thread.to_string().as_bytes());
        done = text + digits.end;
    }
    payload.extend(&head[done..]);
    (done > 0).then(|| replaced(command, &payload))?
}

/// A COM_QUERY whose text asks where a statement goes.
pub(super) fn explained(
    command: (Header, &[u8]),
    text: usize,
    extent: Extent,
    directory: &dyn Directory,
) -> Replaced {
    let (_, head) = command;
    let asked = explains_route(&head[text..]).filter(|_| extent == Extent::Whole)?;
    replaced(command, &[&head[..text], &directory.explained(asked)?].concat())
}

/// A COM_PROCESS_KILL.
pub(super) fn in_process_kill(command: (Header, &[u8]), directory: &dyn Directory) -> Replaced {
    // Servers ignore what may follow the id.
    let (id, behind) = command.1[1..].split_first_chunk()?;
    let thread = thread(u32::from_le_bytes(*id).into(), directory)?;
    replaced(command, &[&[code::PROCESS_KILL], &thread.0.to_le_bytes()[..], behind].concat())
}

fn replaced((header, head): (Header, &[u8]), payload: &[u8]) -> Replaced {
    // A full packet is continued by the next one, so it must stay one.
    let length = header.length - head.len() + payload.len();
    let packet = || [&Header { length, ..header }.encode()[..], payload].concat();
    (header.length < MAX_PAYLOAD).then(packet)
}

/// Prepared statements whose parameter is an id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Statements {
    /// Those that the server has prepared, the oldest first.
    known: VecDeque<(ClientStatementId, Parameter)>,
    /// What the client has asked to prepare last, if it is one.
    latest: Option<Parameter>,
}

/// What is known of the parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Parameter {
    /// Its type, as of the last execution that told one.
    kind: Option<u8>,
}

impl Statements {
    /// Whether nothing is to be remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && self.latest.is_none()
    }

    /// A statement is being prepared; whether its parameter is an id.
    pub(super) fn prepare(&mut self, takes_id: bool) {
        self.latest = takes_id.then(Parameter::default);
    }

    /// The server has prepared one that takes an id.
    pub(super) fn insert(&mut self, statement: ClientStatementId) {
        if self.known.len() == MAX_STATEMENTS {
            self.known.pop_front();
        }
        self.known.push_back((statement, self.latest.unwrap_or_default()));
    }

    /// A COM_STMT_CLOSE.
    pub(super) fn close(&mut self, head: &[u8]) {
        let closed = ClientStatementId::named_by(head);
        self.known.retain(|(statement, _)| Some(*statement) != closed);
    }

    /// A COM_STMT_EXECUTE.
    pub(super) fn execute(
        &mut self,
        command: (Header, &[u8]),
        query_attributes: bool,
        directory: &dyn Directory,
    ) -> Replaced {
        let (_, head) = command;
        let parameters = parameters(head, query_attributes);
        let statement = ClientStatementId::named_by(head)?;
        let parameter = match statement {
            ClientStatementId::LATEST => self.latest.as_mut()?,
            _ => &mut self.known.iter_mut().find(|(known, _)| *known == statement)?.1,
        };
        let parameters = parameters?;
        parameter.kind = parameters.first_kind().or(parameter.kind);
        let at = parameters.first_value()?;
        let (told, with) = with_thread(head, at, parameter.kind?, directory)?;
        replaced(command, &[&head[..at], &with, &head[told..]].concat())
    }
}

/// "statement_id, flags, iteration_count", perhaps the count of parameters and attributes, and the
/// parameters.
fn parameters(head: &[u8], query_attributes: bool) -> Option<Parameters<'_>> {
    const FLAGS: usize = 5;
    const FIXED: usize = 10;
    if !query_attributes {
        return Parameters::parse(head, FIXED, 1, Naming::Unnamed);
    }
    if head.get(FLAGS)? & COUNT_AVAILABLE == 0 {
        return None;
    }
    let (count, width) = lenenc(head.get(FIXED..)?)?;
    let count = usize::try_from(count).ok().filter(|count| (1..=head.len()).contains(count))?;
    Parameters::parse(head, FIXED + width, count, Naming::Named)
}

/// What stands in place of the value there, and where that ends; None if it is no id of ours.
fn with_thread(
    head: &[u8],
    at: usize,
    kind: u8,
    directory: &dyn Directory,
) -> Option<(usize, Vec<u8>)> {
    let place = value(head, at, kind)?;
    let (bytes, end) = (&head[place.clone()], place.end);
    let thread = |id| thread(id, directory).map(|thread| thread.0);
    let with = match kind {
        kind::LONG | kind::INT24 => {
            thread(u32::from_le_bytes(bytes.try_into().ok()?).into())?.to_le_bytes().to_vec()
        }
        kind::LONGLONG => {
            u64::from(thread(u64::from_le_bytes(bytes.try_into().ok()?))?).to_le_bytes().to_vec()
        }
        // Numbers of JavaScript.
        kind::DOUBLE => {
            let number = f64::from_le_bytes(bytes.try_into().ok()?);
            let id = number as u32;
            let is_id = f64::from(id) == number;
            f64::from(thread(id.into()).filter(|_| is_id)?).to_le_bytes().to_vec()
        }
        kind::TINY | kind::SHORT | kind::FLOAT | kind::NULL | kind::YEAR | kind::BOOL => {
            return None;
        }
        _ => {
            let digits = std::str::from_utf8(bytes).ok()?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let id = digits.parse().ok().filter(|_| is_number)?;
            let mut text = Vec::new();
            put_lenenc_str(&mut text, thread(id)?.to_string().as_bytes());
            text
        }
    };
    Some((end, with))
}

#[cfg(test)]
mod tests;
