//! A session with several links: where its next command goes, and what each link knows.

use super::{Route, Session};
use crate::session::link::{Link, LinkId};
use crate::session::look::{Ahead, Place};
use crate::session::portable::Portable;
use crate::session::portable::prepared::Executed;
use crate::session::routing::{Command, Router, Standpoint, is_own_schema};
use crate::session::transaction::Joined;
use crate::sql::analysis::{Analysis, Asks, Class, Hints, UserVariable};
use crate::sql::ids::{Extent, Named, connections};
use crate::wire::capability as cap;
use crate::wire::command::{Reply, code};
use crate::wire::id::{ClientStatementId, ServerStatementId};
use crate::wire::packet::{HEADER, Header};
use crate::wire::parameter::behind_attributes;
use crate::wire::response::ServerStatus;
use crate::wire::rows::Shape;

impl Session {
    /// The client's next command goes to this link, wherever that is.
    pub fn handle_route(&mut self, link: LinkId) {
        let has_turned = self.turn_to(link);
        debug_assert!(has_turned, "a route is wanted between two commands");
        self.route = Route::Taken;
    }

    /// See [`Conversation::begin_errand`](super::Conversation::begin_errand).
    #[must_use]
    pub fn begin_errand(&mut self) -> bool {
        self.conversation.begin_errand()
    }

    /// The home is asked something by us that gets this kind of answer.
    pub fn ask_errand(&mut self, reply: Reply) {
        self.conversation.ask_errand(reply);
    }

    /// What the home answers to us: so many of the bytes. None for what no server says.
    pub fn hear_errand(&mut self, bytes: &[u8]) -> Option<usize> {
        self.conversation.hear_errand(bytes)
    }

    /// The errand is over, if all was answered: the client's commands go to this link again.
    #[must_use]
    pub fn end_errand(&mut self, then: LinkId) -> bool {
        self.conversation.end_errand(then)
    }

    /// The errand is over, and so is the home.
    pub fn abandon_errand(&mut self) {
        self.conversation.abandon_errand();
    }

    /// Where it stands between two commands.
    pub fn standpoint(&self) -> Standpoint<'_> {
        let (current, home) = (self.conversation.current(), self.conversation.link(LinkId::HOME));
        let portable = self.portable();
        let status = home.status();
        let mut asked_at = self.asked_at;
        if !home.has_warnings && !self.conversation.link(asked_at.warnings).has_warnings {
            // There are none at home, and perhaps not where one is already.
            let last = asked_at.row_count;
            let has_some = self.conversation.link(last).has_warnings;
            asked_at.warnings = if has_some { LinkId::HOME } else { last };
        }
        Standpoint {
            current,
            knows: self.conversation.link(current).knows(),
            version: portable.map_or(0, Portable::version),
            writes: portable.map_or(0, Portable::writes),
            is_pinned: portable.is_none_or(Portable::is_pinned),
            in_transaction: status.may_be_in_transaction(),
            begins_by_itself: !status.commits_by_itself(),
            is_in_own_schema: is_own_schema(&self.database),
            asked_at,
            like_home: self.like_home(),
            home_has_warnings: home.has_warnings,
            have_warnings: self.have_warnings(),
            transaction: self.transaction,
            wishes: portable.and_then(Portable::wishes),
        }
    }

    /// Links by their places, a bit each, that have the system variables that the home has.
    pub(super) fn like_home(&self) -> u64 {
        let variables = self.portable().map(Portable::variables);
        let links = self.conversation.links.iter().enumerate().skip(1);
        let alike = links.filter(|(_, link)| link.knows.variables == variables);
        alike.fold(LinkId::HOME.bit(), |bits, (place, _)| bits | LinkId::at(place).bit())
    }

    /// Links by their places, a bit each, that may have warnings to show.
    fn have_warnings(&self) -> u64 {
        let links = self.conversation.links.iter().enumerate();
        let have_some = links.filter(|(_, link)| link.has_warnings);
        have_some.fold(0, |bits, (place, _)| bits | LinkId::at(place).bit())
    }

    /// The home has found what the last query has, wherever that was.
    pub fn handle_found_at_home(&mut self) {
        self.asked_at.handle_found_at_home();
    }

    /// The home counts what the last statements have counted, wherever that was.
    pub fn handle_counted_at_home(&mut self) {
        self.asked_at.handle_counted_at_home();
    }

    /// The home has no warnings any more.
    pub fn handle_no_warnings(&mut self) {
        self.conversation.link_mut(LinkId::HOME).has_warnings = false;
    }

    /// The client's next command is answered by the caller: nobody hears of it. So many of the
    /// client's bytes it takes; None if it is not at hand as a whole.
    pub fn handle_own_answer(&mut self, bytes: &[u8]) -> Option<usize> {
        let header = Header::parse(bytes)?;
        let end = HEADER + header.length;
        if bytes.len() < end {
            return None;
        }
        let mut at = 0;
        self.conversation.front.handle(&bytes[..end], &mut at)?;
        self.conversation.front.consume_rest(&bytes[..end], &mut at);
        self.route = Route::Open;
        self.take_asked_again();
        Some(end)
    }

    /// Another link takes the place of one.
    pub fn replace_link(&mut self, at: LinkId, link: Link) {
        *self.conversation.link_mut(at) = link;
        self.forget_copies(at);
    }

    /// A link has none of the session's prepared statements.
    pub fn forget_copies(&mut self, at: LinkId) {
        if let Some(portable) = &mut self.portable {
            portable.prepared.forget_at(at, None);
        }
    }

    /// The copies of prepared statements that the command ends which these bytes begin with: where
    /// they are, and their ids there.
    pub fn copies_ended(&self, bytes: &[u8]) -> Vec<(LinkId, ServerStatementId)> {
        let prepared = self.portable().map(Portable::prepared);
        let head = bytes.get(HEADER..).unwrap_or_default();
        prepared.map(|prepared| prepared.ended_by(head)).unwrap_or_default()
    }

    /// A link has closed these of its prepared statements.
    pub fn handle_closed(&mut self, at: LinkId, ids: &[ServerStatementId]) {
        if let Some(portable) = &mut self.portable {
            portable.prepared.forget_at(at, Some(ids));
        }
    }

    /// The statement that the command executes which these bytes begin with, if a reader may; and
    /// whether system variables are as they were when it was prepared.
    pub fn executed_ahead(&self, bytes: &[u8]) -> Option<(Executed<'_>, bool)> {
        let header = Header::parse(bytes)?;
        let head = bytes.get(HEADER..HEADER + header.length)?;
        if head.first() != Some(&code::STMT_EXECUTE) {
            return None;
        }
        let portable = self.portable()?;
        let executed = portable.executed(head, self.query_attributes)?;
        let is_as_then = executed.reading.variables == portable.variables();
        Some((executed, is_as_then))
    }

    /// A reader has joined the transaction that is open, or that the next command begins.
    pub fn handle_joined(&mut self, joined: Joined) {
        self.transaction.handle_joined(joined);
    }

    /// The reader's part of the transaction is over.
    pub fn handle_parted(&mut self) {
        self.transaction.handle_parted();
    }

    /// A reader cannot go on with the transaction: those to come are the home's.
    pub fn handle_unfit(&mut self) {
        self.transaction.handle_unfit();
    }

    /// A link's server has prepared a statement of the client's, by this id.
    pub fn handle_prepared_at(
        &mut self,
        id: ClientStatementId,
        link: LinkId,
        there: ServerStatementId,
    ) {
        if let Some(portable) = &mut self.portable {
            portable.prepared.prepared_at(id, link, there);
        }
    }

    /// A link was told the session's state in this version.
    pub fn handle_told(&mut self, link: LinkId, version: u32) {
        let variables = self.portable().map(Portable::variables);
        let knows = &mut self.conversation.link_mut(link).knows;
        (knows.told, knows.variables) = (Some(version), variables);
    }

    /// A link cannot be told the session's state in this version.
    pub fn handle_untold(&mut self, link: LinkId, version: u32) {
        self.conversation.link_mut(link).knows.untold = Some(version);
    }

    /// A link has all that was written so far.
    pub fn handle_caught_up(&mut self, link: LinkId) {
        let writes = self.portable().map(Portable::writes);
        self.conversation.link_mut(link).knows.has = writes;
    }

    /// The home's status was asked for.
    pub fn handle_home_status(&mut self, status: ServerStatus) {
        self.conversation.link_mut(LinkId::HOME).status = status;
    }

    /// Whether the client's next command is for another link than the one before, as far as it is
    /// at hand. Nothing is judged of it then.
    pub(super) fn is_elsewhere(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        router: &dyn Router,
    ) -> bool {
        self.conversation.front.consume_rest(bytes, at);
        let before = std::mem::take(&mut self.route);
        let Some(Ahead { at: start, end, place: Place::Begins(_), .. }) =
            self.conversation.client_ahead(&bytes[*at..])
        else {
            return false;
        };
        if before == Route::Taken {
            return false;
        }
        if self.conversation.awaits_answer() {
            self.route = Route::Waits;
            return true;
        }
        let (header, head) = bytes[*at + start..*at + end].split_at(HEADER);
        let is_whole = Header::parse(header).is_some_and(|header| header.length == head.len());
        let command = self.command(head, is_whole);
        let is_elsewhere =
            self.is_refused() || !router.is_for_current(&command, &self.standpoint());
        if is_elsewhere {
            self.route = Route::Wanted;
        }
        is_elsewhere
    }

    /// Whether a statement has a count of attributes before its text.
    pub fn has_query_attributes(&self) -> bool {
        self.query_attributes
    }

    /// What a text of the client's is; None of a session that nobody follows.
    pub fn analyse<'a>(&self, text: &'a [u8]) -> Option<Analysis<'a>> {
        let link = self.conversation.link(LinkId::HOME);
        Some(self.portable.as_ref()?.analyse(text, true, link))
    }

    /// The text of the COM_QUERY that these bytes begin with, if all of it is at hand.
    pub fn text_ahead<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let header = Header::parse(bytes)?;
        let head = bytes.get(HEADER..HEADER + header.length)?;
        let at = self.text_at(head).filter(|_| head.first() == Some(&code::QUERY))?;
        head.get(at..)
    }

    /// The user variables that a text of the client's names, if that can be told.
    pub fn user_variables<'a>(&self, text: &'a [u8]) -> Option<Vec<UserVariable<'a>>> {
        let link = self.conversation.link(LinkId::HOME);
        self.portable.as_ref()?.user_variables(text, link)
    }

    /// How answers of ours look to the client.
    pub fn shape(&self) -> Shape {
        let dialect = self.conversation.link(LinkId::HOME).dialect();
        let login = self.portable.as_ref().map(|portable| portable.login).unwrap_or_default();
        let is_mariadb = login.capabilities & cap::LONG_PASSWORD == 0;
        Shape {
            deprecate_eof: dialect.deprecate_eof,
            metadata_flag: dialect.metadata_flag,
            extended_types: is_mariadb && login.extended & cap::mariadb::EXTENDED_TYPES != 0,
            query_attributes: self.query_attributes,
        }
    }

    /// The status flags that an answer of ours has.
    pub fn flags(&self) -> u16 {
        match self.conversation.status() {
            ServerStatus::Known(flags) => flags,
            ServerStatus::Unknown => 0,
        }
    }

    /// The command that these bytes of the client's begin with, as far as they are at hand.
    pub fn command_ahead<'a>(&'a self, bytes: &'a [u8]) -> Command<'a> {
        let Some(header) = Header::parse(bytes) else { return Command::Other };
        let body = &bytes[HEADER..];
        let head = &body[..body.len().min(header.length).min(self.conversation.front.whole)];
        self.command(head, head.len() == header.length)
    }

    /// A command, as far as it matters where it goes.
    pub fn command<'a>(&'a self, head: &'a [u8], is_whole: bool) -> Command<'a> {
        let text = match (head.first(), self.query_attributes) {
            (Some(&code::QUERY), false) => Some(1),
            (Some(&code::QUERY), true) => behind_attributes(head),
            _ => None,
        };
        match (text, &self.portable) {
            (Some(at), Some(portable)) => {
                let link = self.conversation.link(LinkId::HOME);
                let analysis = portable.analyse(&head[at..], is_whole, link);
                match analysis.class {
                    Class::Admin if is_whole => admin(&head[at..], analysis),
                    _ => Command::Text(analysis),
                }
            }
            (None, Some(portable)) => match head.first() {
                Some(&code::STMT_EXECUTE) if is_whole => {
                    self.execution(portable, head).unwrap_or(Command::Write)
                }
                Some(&code::STMT_CLOSE) if !portable.prepared.ended_by(head).is_empty() => {
                    Command::Close
                }
                Some(&(code::RESET_CONNECTION | code::CHANGE_USER)) => {
                    Command::Reset { has_copies: !portable.prepared.ended_by(head).is_empty() }
                }
                _ => other(head),
            },
            (None, None) => other(head),
            (Some(_), None) => Command::Other,
        }
    }

    /// A COM_STMT_EXECUTE that concerns a reader, as far as its statement's text tells.
    fn execution<'a>(&'a self, portable: &'a Portable, head: &[u8]) -> Option<Command<'a>> {
        let home = self.conversation.link(LinkId::HOME);
        let executed = portable.executed(head, self.query_attributes)?;
        let analysis = portable.analyse(executed.text, true, home);
        // What ends a transaction ends a reader's, too, and looks at nothing. What a reader may
        // know is to be asked of it first.
        let is_told = matches!(analysis.class, Class::Read | Class::Commit(_) | Class::Rollback(_))
            || analysis.asks.intersects(Asks::DIAGNOSTICS);
        is_told.then_some(Command::Execute { analysis, at: executed.at })
    }
}

/// A statement that concerns a server: a KILL, or another.
fn admin<'a>(sql: &[u8], analysis: Analysis<'a>) -> Command<'a> {
    match connections(sql, Extent::Whole)[..] {
        [Named::Id(id, _)] => Command::Kill(id, analysis.hints),
        _ => Command::Text(analysis),
    }
}

/// A command that is no statement's text, by its first byte.
fn other(head: &[u8]) -> Command<'static> {
    if let Some((&code::PROCESS_KILL, id)) = head.split_first()
        && let Some(id) = id.first_chunk()
    {
        return Command::Kill(u32::from_le_bytes(*id).into(), Hints::default());
    }
    match head.first() {
        Some(&code::PING) => Command::Ping,
        Some(
            &(code::QUIT
            | code::INIT_DB
            | code::FIELD_LIST
            | code::STATISTICS
            | code::PROCESS_INFO
            | code::CHANGE_USER
            | code::STMT_PREPARE
            | code::STMT_SEND_LONG_DATA
            | code::STMT_CLOSE
            | code::STMT_RESET
            | code::STMT_FETCH
            | code::SET_OPTION
            | code::RESET_CONNECTION),
        )
        | None => Command::Other,
        Some(_) => Command::Write,
    }
}
