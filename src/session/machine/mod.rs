//! The machine of one client's session: what it makes of bytes from either side.
//!
//! A [`Session`] reads along and decides for each stretch of bytes: forward it as it is, or put
//! something else in its place. It holds no bytes: what it cannot judge yet it leaves with the
//! caller, whose buffer then starts with it. So a session is frozen at any instant by serialising
//! it together with the caller's two buffers ([`snapshot`](super::snapshot)).

#[cfg(test)]
pub(super) mod tests;

mod counting;
mod passing;
pub mod repeat;
mod several;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::change_user;
use super::conversation::Conversation;
use super::front::{Turn, WHOLE_COMMAND};
use super::ids::{self, Directory, Replaced, Statements};
use super::lane::{Intake, Rewrite};
use super::link::{Ended, Heard, Held, Link, LinkId, Note, Prepared};
use super::portable::{LoggedInAs, Pins, Portable};
use super::routing::{Asked, Earlier, is_one_write};
use super::stamp::Counted;
use super::transaction::Transaction;
use super::watched::Watched;
use crate::error::ClientError;
use crate::metrics::SessionCounters;
use crate::sql::analysis::{Changes, Class};
use crate::sql::ids::{Extent, Named, are_likely, connections};
use crate::sql::{self, Statement};
use crate::wire::command::code;
use crate::wire::id::{ClientStatementId, ServerStatementId};
use crate::wire::packet::{HEADER, Header};
use crate::wire::parameter::behind_attributes;
use crate::wire::response::{Dialect, Ending};
use repeat::Kept;

/// What a session cannot do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Follow the authentication exchange of a COM_CHANGE_USER over this link.
    Exchange(LinkId),
    /// Turn to the link that the client's next command is for; see [`super::routing`].
    Route,
}

/// Pipelined commands whose names are remembered; those behind change none.
const MAX_NAMES: usize = 64;

/// What a command that changes them names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    /// None leaves the user as it is.
    pub(super) user: Option<Vec<u8>>,
    pub(super) database: Vec<u8>,
    /// The user's tenant, if it comes with one or leaves one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tenant: Option<Vec<u8>>,
}

impl Names {
    fn schema(database: &[u8]) -> Self {
        Self { user: None, database: database.to_vec(), tenant: None }
    }

    /// Those in the payload of a COM_CHANGE_USER.
    fn of(payload: &[u8], tenant: Option<Vec<u8>>) -> Self {
        let (user, database) = change_user::names(payload);
        Self { user: Some(user.to_vec()), database: database.to_vec(), tenant }
    }
}

/// One client's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub(super) conversation: Conversation,
    /// The user as the server knows it.
    pub(super) user: Watched<Vec<u8>>,
    /// The default database, as far as it was seen to change.
    pub(super) database: Watched<Vec<u8>>,
    /// What `user` and `database` become when commands under way succeed, in their order.
    pub(super) names: Watched<VecDeque<Names>>,
    pub(super) ids: Watched<Statements>,
    /// CLIENT_QUERY_ATTRIBUTES: a statement has parameters before its text.
    pub(super) query_attributes: bool,
    /// `user` or `database` has changed since somebody asked.
    pub(super) renamed: bool,
    /// The tenant that it came to belong to since somebody asked.
    pub(super) joined: Option<Vec<u8>>,
    /// Why its client must not become who it wants to be.
    pub(super) refused: Option<Box<ClientError>>,
    /// What is remembered of it so that it can move to another server; None: it can't.
    pub(super) portable: Option<Box<Watched<Portable>>>,
    pub(super) route: Route,
    pub(super) asked_at: Asked,
    pub(super) kept: Watched<Kept>,
    pub(super) transaction: Transaction,
    /// Where statements are counted; None: nothing was so far.
    pub(super) counted: Option<Box<Counted>>,
}

/// Where the client's next command goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Route {
    /// It is not known.
    #[default]
    Open,
    /// The one before is to be answered first.
    Waits,
    /// Not where the one before went: the caller is asked.
    Wanted,
    /// Where the session stands: the caller has said so.
    Taken,
}

/// What was judged of a server's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// So many, which are passed on.
    pub consumed: usize,
    /// Bytes behind them that are not what the client is to see: where among those handed in, and
    /// what stands there.
    pub patch: Option<(usize, [u8; 4])>,
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
            user: user.to_vec().into(),
            database: database.to_vec().into(),
            names: Watched::default(),
            ids: Watched::default(),
            query_attributes,
            renamed: true,
            joined: None,
            refused: None,
            portable: None,
            route: Route::Open,
            asked_at: Asked::default(),
            kept: Watched::default(),
            transaction: Transaction::default(),
            counted: None,
        }
    }

    /// From now on all is remembered that the session needs to move to another server.
    pub fn follow(&mut self, login: LoggedInAs) {
        self.portable = Some(Box::new(Portable::new(login).into()));
        self.conversation.front.look_at_long_commands();
    }

    /// What is remembered for a move, if anything is.
    pub fn portable(&self) -> Option<&Portable> {
        self.portable.as_ref().map(|portable| &***portable)
    }

    /// Whether it stands where it could go on with another server: nothing is under way, nobody
    /// waits for anything, and no transaction is open.
    pub fn is_between_commands(&self) -> bool {
        self.conversation.is_idle() && !self.conversation.is_over() && !self.may_be_in_transaction()
    }

    /// Whether a command of the client's is at hand that does not go on its way yet.
    pub fn holds_command(&self) -> bool {
        matches!(self.route, Route::Waits | Route::Wanted)
    }

    /// Whether commands of the client's may have to grow on their way.
    pub fn may_grow(&self) -> bool {
        self.portable.as_ref().is_some_and(|portable| portable.prepared.may_grow())
    }

    /// It goes on with another server, which has prepared its statements by these ids, in their
    /// order; false if it does not: they are not the same.
    #[must_use]
    pub fn move_home(&mut self, home: Link, statements: &[(ServerStatementId, u16)]) -> bool {
        let Some(portable) = &mut self.portable else { return false };
        let has_moved = portable.prepared.moved(statements);
        if has_moved {
            *self.conversation.link_mut(LinkId::HOME) = home;
        }
        has_moved
    }

    /// Whether the user or the database has changed since somebody asked.
    pub fn is_renamed(&self) -> bool {
        self.renamed
    }

    /// The same, for the last time.
    pub fn take_renamed(&mut self) -> bool {
        std::mem::take(&mut self.renamed)
    }

    /// The tenant that it has come to belong to since this was last asked, if it has.
    pub fn take_joined(&mut self) -> Option<Vec<u8>> {
        self.joined.take()
    }

    /// Why the user must not change as the command wants whose exchange is due.
    pub fn take_refused(&mut self) -> Option<ClientError> {
        self.refused.take().map(|error| *error)
    }

    /// One link more, which is logged in as the first one was.
    pub fn add_link(&mut self, link: Link) -> LinkId {
        let at = self.conversation.add(link);
        self.forget_copies(at);
        at
    }

    /// The client's next command goes to this link; false while another one owes it an answer.
    #[must_use]
    pub fn turn_to(&mut self, link: LinkId) -> bool {
        self.conversation.turn_to(link)
    }

    /// Which authentication exchanges over a link are left with the caller, to be followed by it
    /// once [`Session::poll_want`] says so.
    pub fn hold_exchanges(&mut self, link: LinkId, held: Held) {
        self.conversation.link_mut(link).hold_exchanges(held);
    }

    /// What the session cannot do by itself, and is to be done before it goes on.
    pub fn poll_want(&self) -> Option<Want> {
        let link = self.conversation.current();
        if self.conversation.is_exchange_due() {
            return Some(Want::Exchange(link));
        }
        (self.route == Route::Wanted).then_some(Want::Route)
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

    /// The caller passes on this many bytes of the current link's packet by itself.
    pub fn skip_server(&mut self, payload: usize) {
        self.current_link().skip(payload);
    }

    /// The link that has the client's commands.
    fn current_link(&mut self) -> &mut Link {
        self.conversation.link_mut(self.conversation.current())
    }

    /// The protocol state.
    pub fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The user as the server knows it.
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
        loop {
            self.read_on(&bytes[at..], directory);
            let is_held = match directory.router() {
                Some(router) => self.is_elsewhere(bytes, &mut at, router),
                // Somebody has to say where to.
                None => self.is_refused(),
            };
            if is_held {
                return Intake { consumed: at, rewrite: None, is_held: true };
            }
            let Some((header, head)) = self.conversation.handle_client(bytes, &mut at) else {
                break;
            };
            self.keep(header, head);
            if let Some(shapes) = directory.shapes() {
                self.stamp(header, head, shapes);
            }
            let uncounted;
            let is_again = self.take_asked_again();
            let counters = match is_again {
                false => counters,
                true => {
                    uncounted = SessionCounters::default();
                    &uncounted
                }
            };
            counters.client_requests.add(1);
            let replaced = self.handle_command(header, head, directory, counters);
            if is_again {
                self.forget_kept();
            }
            if let Some(with) = replaced {
                // What is replaced is at hand: the head, and no payload byte behind it.
                self.conversation.front.skip(head.len());
                let range = at - HEADER..at + head.len();
                let rewrite = Some(Rewrite { range: range.clone(), with });
                return Intake { consumed: range.end, rewrite, is_held: false };
            }
        }
        Intake { consumed: at, rewrite: None, is_held: false }
    }

    /// Bytes from a server; how many of them were judged, and what the client is to see in place of
    /// some that follow.
    pub fn handle_server(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        counters: &SessionCounters,
    ) -> Judged {
        let mut at = 0;
        let opaque = self.is_opaque();
        while let Some(heard) = self.conversation.handle_server(link, bytes, &mut at) {
            match heard {
                Heard::Other | Heard::Nonsense => {}
                Heard::End(ended) | Heard::Released(ended) => self.handle_end(ended, counters),
                Heard::Prepared(prepared, ended) => {
                    let id = self.handle_prepared(prepared);
                    if let Some(ended) = ended {
                        self.handle_end(Ended { note: Note::Plain, ..ended }, counters);
                    }
                    if let Some(id) = id {
                        // The id stands behind the packet's first byte.
                        let patch = Some((at + 1, id.0.to_le_bytes()));
                        return Judged { consumed: at, patch };
                    }
                }
                Heard::FileSent | Heard::FileWanted => self.forget_names(),
            }
        }
        self.release();
        if self.is_opaque() && !opaque {
            counters.opaque_sessions.add(1);
        }
        Judged { consumed: at, patch: None }
    }

    /// A statement is prepared; the id that the client gets if it is not the server's.
    fn handle_prepared(&mut self, prepared: Prepared) -> Option<ClientStatementId> {
        let Prepared { id, takes_id, is_remembered, stamp, .. } = prepared;
        let portable = self.portable.as_mut().filter(|_| is_remembered);
        let own = portable.and_then(|portable| portable.handle_prepared(prepared));
        let known = own.unwrap_or(ClientStatementId(id.0));
        if takes_id {
            self.ids.insert(known);
        }
        self.stamp_prepared(known, stamp);
        own
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
    ) -> Replaced {
        if head.first() == Some(&code::QUERY) {
            return self.handle_statement(header, head, directory, counters);
        }
        counters.client_other_requests.add(1);
        let (&command, body) = head.split_first()?;
        let mut replaced = None;
        self.note_asked(command, head);
        match command {
            code::STMT_PREPARE => return self.handle_prepare(header, head, directory),
            code::STMT_EXECUTE => {
                if self.portable().is_some_and(|portable| portable.executes_one_write(head)) {
                    self.keep_write(header, head, directory);
                }
                if !self.ids.is_empty() {
                    replaced = self.ids.execute((header, head), self.query_attributes, directory);
                }
            }
            code::STMT_CLOSE if !self.ids.is_empty() => self.ids.close(head),
            code::RESET_CONNECTION => {
                *self.ids = Statements::default();
                self.current_link().note(Note::Reset);
            }
            code::PROCESS_KILL => return ids::in_process_kill((header, head), directory),
            code::INIT_DB if header.length <= WHOLE_COMMAND => {
                self.expect_names(Note::Database, Names::schema(body));
            }
            code::CHANGE_USER => return self.handle_change_user(header, head, directory),
            _ => {}
        }
        match &mut self.portable {
            None => replaced,
            Some(portable) => {
                let at = self.conversation.current;
                let link = (at, self.conversation.link_mut(at));
                let (programs, attributes) = (directory.programs(), self.query_attributes);
                portable.handle_command((header, head), replaced, attributes, programs, link)
            }
        }
    }

    /// Who must not become whom he names is kept waiting by the server, until he is told.
    fn handle_change_user(
        &mut self,
        header: Header,
        head: &[u8],
        directory: &dyn Directory,
    ) -> Replaced {
        *self.ids = Statements::default();
        let held = self.conversation.held();
        let (user, _) = change_user::names(head);
        let account = directory.account(user).and_then(|account| match account {
            None => Ok(None),
            Some(account) => {
                change_user::told(header, head, &account).map(|told| Some((told, account.tenant)))
            }
        });
        match account {
            Ok(None) => {
                self.expect_names(Note::User, Names::of(head, None));
                change_user::withhold(header, head, held)
            }
            Ok(Some((told, tenant))) => {
                self.expect_names(Note::User, Names::of(&told, Some(tenant)));
                let length = header.length - head.len() + told.len();
                let header = Header { length, ..header };
                let whole = || [&header.encode()[..], &told].concat();
                change_user::withhold(header, &told, held).or_else(|| Some(whole()))
            }
            Err(error) => {
                self.refused = Some(error.into());
                self.current_link().hold_exchanges(Held::Asked);
                change_user::withhold(header, head, Held::Asked)
            }
        }
    }

    /// Where the text of a COM_QUERY begins, if that can be told.
    pub(super) fn text_at(&self, head: &[u8]) -> Option<usize> {
        if self.query_attributes { behind_attributes(head) } else { Some(1) }
    }

    fn handle_statement(
        &mut self,
        header: Header,
        head: &[u8],
        directory: &dyn Directory,
        counters: &SessionCounters,
    ) -> Replaced {
        let text = self.text_at(head);
        let sql = text.map_or(&[][..], |at| &head[at..]);
        let statement = sql::inspect(sql);
        let counter = match statement {
            Statement::Select => &counters.client_select_requests,
            Statement::Insert => &counters.client_insert_requests,
            Statement::Update => &counters.client_update_requests,
            Statement::Delete => &counters.client_delete_requests,
            Statement::Use(_) | Statement::Other => &counters.client_other_requests,
        };
        counter.add(1);
        if statement == Statement::Other && sql::is_definition(sql) {
            counters.client_ddl_requests.add(1);
        }
        let extent = extent(header, head);
        if let (Statement::Use(name), Extent::Whole) = (&statement, extent) {
            self.expect_names(Note::Database, Names::schema(name));
        }
        if let Some(portable) = &mut self.portable {
            let link = self.conversation.link_mut(self.conversation.current);
            let (programs, is_whole) = (directory.programs(), extent == Extent::Whole);
            let schema = self.names.back().map_or(&*self.database, |names| &names.database);
            let is_one_shot = portable.pins().has(Pins::NEXT_TRANSACTION);
            let handle = |portable: &mut Portable| {
                portable.handle_statement((sql, schema), is_whole, programs, link)
            };
            let (of, earlier) = portable.edit(Portable::mark, handle);
            if of.2.intersects(Changes::IDENTITY) {
                self.expect_names(Note::Database, Names::schema(b""));
            }
            let current = self.conversation.current;
            self.asked_at.handle_statement((of.0, of.1), earlier, current);
            let is_open = self.conversation.status().may_be_in_transaction();
            self.transaction.handle_statement(of, current, is_open);
            if is_one_shot && matches!(of.0, Class::Begin { .. }) {
                self.transaction.handle_own_ways();
            }
            if is_one_write(of.0) {
                self.keep_write(header, head, directory);
            }
        }
        // A reader is asked by its own ids what names a connection by those of the home.
        let is_elsewhere =
            self.conversation.current != LinkId::HOME && statement == Statement::Other;
        let replaced = if is_elsewhere || are_likely(&statement, sql) {
            ids::in_text((header, head), text?, &connections(sql, extent), directory)
        } else {
            ids::explained((header, head), text?, extent, directory)
        };
        if extent == Extent::Beginning && replaced.is_none() {
            self.begin_rest(header, text);
        }
        replaced
    }

    /// An answer over the link at hand has ended.
    fn note_ended(&mut self, Ended { ending, diagnostics, .. }: Ended) {
        if self.portable.is_none() {
            return;
        }
        if ending == Ending::Error {
            self.asked_at.handle_failure(self.conversation.current);
        }
        if self.conversation.current == LinkId::HOME {
            self.transaction.handle_end(ending == Ending::Error);
        }
        let Some(has_warnings) = diagnostics else { return };
        let current = self.conversation.current;
        match self.asked_at.earlier {
            Earlier::Left | Earlier::Unknown if has_warnings => {
                self.asked_at.warnings_are_at(current);
                self.current_link().has_warnings = true;
            }
            Earlier::PutAway => {
                self.asked_at.warnings_are_at(current);
                self.current_link().has_warnings = has_warnings;
            }
            Earlier::Unknown => {
                let at = self.asked_at.warnings;
                let are_there = self.conversation.link(at).has_warnings;
                self.asked_at.is_unsure |= at != current && are_there;
            }
            Earlier::Left => {}
        }
    }

    /// A command other than a statement's text goes to the link at hand.
    fn note_asked(&mut self, command: u8, head: &[u8]) {
        if self.portable.is_none() {
            return;
        }
        let link = self.conversation.current;
        let home = self.conversation.link(LinkId::HOME);
        self.asked_at.handle_command();
        match command {
            code::RESET_CONNECTION | code::CHANGE_USER => self.asked_at = Asked::all(link),
            code::STMT_EXECUTE | code::STMT_BULK_EXECUTE => {
                let earlier = |it: &Portable| it.prepared.earlier_warnings(head);
                let earlier = self.portable.as_ref().map_or(Earlier::Unknown, |it| earlier(it));
                self.asked_at.handle_bound(earlier, link);
                self.asked_at.handle_executed(link);
                self.transaction.handle_look(link);
            }
            code::STMT_PREPARE => {
                let earlier = |it: &Portable| it.earlier_warnings(&head[1..], home);
                let earlier = self.portable.as_ref().map_or(Earlier::Unknown, |it| earlier(it));
                self.asked_at.handle_bound(earlier, link);
            }
            code::INIT_DB | code::FIELD_LIST | code::STMT_FETCH => {
                self.asked_at.row_count = link;
                self.asked_at.earlier = Earlier::Left;
                if command == code::FIELD_LIST {
                    // MySQL warns that nobody should use it.
                    self.asked_at.last = link;
                }
            }
            _ => self.asked_at.earlier = Earlier::Left,
        }
    }

    fn handle_prepare(
        &mut self,
        header: Header,
        head: &[u8],
        directory: &dyn Directory,
    ) -> Replaced {
        let sql = &head[1..];
        // It is one statement, so of those that are known by their first word none takes an id.
        let named = match sql::inspect(sql) {
            Statement::Other => connections(sql, extent(header, head)),
            _ => Vec::new(),
        };
        let takes_id = named.contains(&Named::Parameter);
        if takes_id || !self.ids.is_empty() {
            self.ids.prepare(takes_id);
        }
        if takes_id {
            self.current_link().note_id();
        }
        if let Some(portable) = &mut self.portable {
            let link = self.conversation.link_mut(self.conversation.current);
            let schema = self.names.back().map_or(&*self.database, |names| &names.database);
            let is_whole = header.length == head.len();
            portable.handle_prepare(sql, is_whole, schema, directory.programs(), link);
        }
        ids::in_text((header, head), 1, &named, directory)
    }

    fn handle_end(&mut self, ended: Ended, counters: &SessionCounters) {
        let Ended { ending, note, .. } = ended;
        let counter = match ending {
            Ending::Ok => &counters.server_ok_responses,
            Ending::Error => &counters.server_error_responses,
            Ending::ResultSet => &counters.server_resultset_responses,
        };
        counter.add(1);
        self.finish(ended.stamp, ending);
        self.note_ended(ended);
        if let Some(portable) = &mut self.portable {
            let status = self.conversation.links[LinkId::HOME.place()].status();
            portable.edit(Portable::mark, |portable| portable.handle_end(ended, status));
        }
        match note {
            Note::Reset if ending == Ending::Ok => self.transaction = Transaction::default(),
            Note::Plain | Note::Statement | Note::Reset | Note::Text | Note::Unread => {}
            Note::Database | Note::User => {
                let names = self.names.pop_front();
                let names = names.filter(|_| ending == Ending::Ok);
                if let Some(Names { user, database, tenant }) = names {
                    if let Some(user) = user {
                        *self.user = user;
                    }
                    *self.database = database;
                    self.joined = tenant.or_else(|| self.joined.take());
                    self.renamed = true;
                    if note == Note::User {
                        self.transaction = Transaction::default();
                        self.conversation.handle_other_user();
                    }
                }
            }
        }
    }

    /// The command seen last changes these if it succeeds.
    fn expect_names(&mut self, note: Note, names: Names) {
        if self.names.len() < MAX_NAMES {
            self.names.push_back(names);
            self.current_link().note(note);
        }
    }

    /// Commands have become file data: the foremost ones.
    fn forget_names(&mut self) {
        let forgotten = self.names.len().saturating_sub(self.conversation.names_awaited());
        if forgotten > 0 {
            self.names.drain(..forgotten);
        }
    }
}

/// How much of a command is looked at.
fn extent(header: Header, head: &[u8]) -> Extent {
    if header.length == head.len() { Extent::Whole } else { Extent::Beginning }
}
