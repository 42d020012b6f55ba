//! Commands of a session with several links: whether the next one goes where the one before went.
//!
//! ```text
//!   command at hand ─► Router: for the current link ─► passed on, as ever
//!                         └─► for another one ─► Want::Route: the caller opens that link if it has
//!                                                to, tells it what it lacks, and turns to it
//! ```
//!
//! Asked only between two commands, with no answer outstanding: an answer may open a transaction.
//! Where a session has no router nothing of this is asked.

use std::fmt;
use std::sync::Arc;

use super::link::{Knows, LinkId};
use super::transaction::Transaction;
use super::wishes::Wishes;
use crate::sql::analysis::{Analysis, Asks, Changes, Class, Hints};

/// Says where commands go.
pub trait Router: fmt::Debug + Send + Sync {
    /// Whether a command is for the link that has the client's commands.
    fn is_for_current(&self, command: &Command<'_>, standpoint: &Standpoint<'_>) -> bool;

    /// The session's links are to these servers from now on, by their addresses.
    fn handle_links(&self, servers: &[Arc<str>]);
}

/// A command, as far as it matters where it goes.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// A COM_QUERY.
    Text(Analysis<'a>),
    /// A KILL of the connection with this id.
    Kill(u64, Hints<'a>),
    /// A COM_STMT_EXECUTE that any link may be asked for.
    Execute {
        /// Of the statement's text, which is a read.
        analysis: Analysis<'a>,
        /// Links by their places, a bit each, that have prepared it.
        at: u64,
    },
    /// A COM_STMT_CLOSE of what readers have prepared, too: it is the home's, once they have
    /// closed it.
    Close,
    /// COM_RESET_CONNECTION, COM_CHANGE_USER: the home's, once readers have ended what they have
    /// of the session.
    Reset {
        /// They have prepared statements.
        has_copies: bool,
    },
    /// COM_PING.
    Ping,
    /// Any other that may write: the home's, if that may.
    Write,
    /// Any other: the home's.
    Other,
}

impl Command<'_> {
    /// What it makes of the warnings of the statements before it, if it has none.
    pub fn earlier_warnings(&self) -> Earlier {
        match self {
            Self::Text(Analysis { class, asks, changes, .. })
            | Self::Execute { analysis: Analysis { class, asks, changes, .. }, .. } => {
                earlier_warnings((*class, *asks, *changes))
            }
            Self::Write => Earlier::Unknown,
            Self::Kill(..) | Self::Close | Self::Ping | Self::Other => Earlier::Left,
            Self::Reset { .. } => Earlier::PutAway,
        }
    }
}

/// Where a session stands between two commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standpoint<'a> {
    /// Who has the client's commands.
    pub current: LinkId,
    /// What this link has of the session.
    pub knows: Knows,
    /// The version of the session's state that its home has.
    pub version: u32,
    /// How often the session may have written.
    pub writes: u64,
    /// Something keeps the session on its home.
    pub is_pinned: bool,
    /// A transaction is open at home, or may be.
    pub in_transaction: bool,
    /// A statement outside of a transaction opens one.
    pub begins_by_itself: bool,
    /// The default database is one in which each server keeps what is its own.
    pub is_in_own_schema: bool,
    /// Which links know how the last statements went.
    pub asked_at: Asked,
    /// Links by their places, a bit each, that have the system variables of the session.
    pub like_home: u64,
    /// The home may have warnings to show, be they of an earlier statement than the last.
    pub home_has_warnings: bool,
    /// The links that may, by their places, a bit each.
    pub have_warnings: u64,
    /// What has become of the transaction.
    pub transaction: Transaction,
    /// What the client asks of the proxy.
    pub wishes: Option<&'a Wishes>,
}

/// Which links know how the last statements went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Warnings and errors: of the last statement that had some, or put away those before it.
    pub warnings: LinkId,
    /// ROW_COUNT(): of the last one.
    pub row_count: LinkId,
    /// FOUND_ROWS(): of the last query.
    pub found_rows: LinkId,
    /// The same, before the statement under way: one that fails finds nothing.
    pub(super) found_before: LinkId,
    /// The last one that was executed or prepared: MySQL has then put away all warnings before.
    pub last: LinkId,
    /// What the last statement has done with the warnings of those before it.
    pub(super) earlier: Earlier,
    /// The warnings may have been put away elsewhere meanwhile.
    pub(super) is_unsure: bool,
}

/// What a statement without warnings of its own makes of those of the statements before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Earlier {
    /// They stay.
    #[default]
    Left,
    /// They are gone.
    PutAway,
    /// It depends on what it calls, or on its words.
    Unknown,
}

impl Asked {
    /// All of it at this link.
    pub fn all(link: LinkId) -> Self {
        let earlier = Earlier::PutAway;
        let (warnings, row_count, found_rows, last) = (link, link, link, link);
        let found_before = link;
        Self { warnings, row_count, found_rows, found_before, last, earlier, is_unsure: false }
    }

    /// From [`Asked::places`].
    pub fn of([warnings, row_count, found_rows]: [usize; 3]) -> Self {
        let [warnings, row_count, found_rows] = [warnings, row_count, found_rows].map(LinkId::at);
        let (last, found_before) = (row_count, found_rows);
        Self { warnings, row_count, found_rows, found_before, last, ..Self::default() }
    }

    /// Whether this link knows any of it.
    pub fn is_at(self, link: LinkId) -> bool {
        [self.warnings, self.row_count, self.found_rows].contains(&link)
    }

    /// By the places of the links.
    pub fn places(self) -> [usize; 3] {
        [self.warnings, self.row_count, self.found_rows].map(LinkId::place)
    }

    /// A statement goes to this link.
    pub(super) fn handle_statement(
        &mut self,
        (class, asks): (Class, Asks),
        earlier: Earlier,
        link: LinkId,
    ) {
        // GET DIAGNOSTICS counts nothing.
        if class != Class::Diagnostics || !asks.intersects(Asks::DIAGNOSTICS) {
            self.row_count = link;
        }
        // Of several the first ones may have found some.
        let is_program =
            matches!(class, Class::Multi | Class::Call | Class::Execute | Class::Compound);
        self.found_before = if is_program { link } else { self.found_rows };
        self.handle_bound(earlier, link);
        match found_rows((class, asks)) {
            Found::Some => self.found_rows = link,
            // Before one of the home's that is where it is known already.
            Found::Unknown if link != LinkId::HOME => self.found_rows = link,
            Found::Unknown | Found::Left => {}
        }
    }

    /// A command that is no statement's text goes to a link: it finds nothing.
    pub(super) fn handle_command(&mut self) {
        self.found_before = self.found_rows;
    }

    /// The home counts now what the last statements have counted.
    pub(super) fn handle_counted_at_home(&mut self) {
        self.row_count = LinkId::HOME;
        self.handle_found_at_home();
    }

    /// The home has found now what the last query has.
    pub(super) fn handle_found_at_home(&mut self) {
        (self.found_rows, self.found_before) = (LinkId::HOME, LinkId::HOME);
    }

    /// A prepared statement is executed over this link.
    pub(super) fn handle_executed(&mut self, link: LinkId) {
        (self.row_count, self.found_rows) = (link, link);
    }

    /// The statement under way, over this link, has failed.
    pub(super) fn handle_failure(&mut self, link: LinkId) {
        (self.row_count, self.found_rows) = (link, self.found_before);
    }

    /// A statement is prepared, or executed, over this link.
    pub(super) fn handle_bound(&mut self, earlier: Earlier, link: LinkId) {
        self.last = link;
        self.earlier = earlier;
        if earlier == Earlier::PutAway {
            self.warnings_are_at(link);
        }
    }

    /// Warnings are this link's, if there are any.
    pub(super) fn warnings_are_at(&mut self, link: LinkId) {
        (self.warnings, self.is_unsure) = (link, false);
    }

    /// The one link that knows what is asked; None: it is at several.
    pub fn who_knows(self, asks: Asks) -> Option<LinkId> {
        if self.is_unsure && asks.intersects(Asks::WARNINGS) {
            return None;
        }
        let all = [
            (Asks::WARNINGS, self.warnings),
            (Asks::ROW_COUNT, self.row_count),
            (Asks::FOUND_ROWS, self.found_rows),
        ];
        let mut wanted = all.iter().filter(|(ask, _)| asks.intersects(*ask)).map(|(_, link)| *link);
        let first = wanted.next().unwrap_or(self.row_count);
        wanted.all(|link| link == first).then_some(first)
    }
}

/// What a statement makes of the warnings of those before it, if it has none: those of MariaDB stay
/// where no table is used.
pub fn earlier_warnings((class, asks, changes): (Class, Asks, Changes)) -> Earlier {
    let of_calls = match asks.intersects(Asks::ANYTHING) {
        true => Earlier::Unknown,
        false => Earlier::Left,
    };
    match class {
        _ if asks.intersects(Asks::WARNINGS) => Earlier::Left,
        // A sequence is a table.
        _ if asks.intersects(Asks::SEQUENCE) || changes.intersects(Changes::SEQUENCE) => {
            Earlier::PutAway
        }
        Class::Write | Class::Handler => Earlier::PutAway,
        Class::Call | Class::Execute | Class::Multi | Class::Compound | Class::Unknown => {
            Earlier::Unknown
        }
        _ if asks.intersects(Asks::TABLES) => Earlier::PutAway,
        Class::Read
        | Class::Select
        | Class::LockingRead
        | Class::Explain
        | Class::Set
        | Class::Use
        | Class::Do
        | Class::Begin { .. }
        | Class::Commit(_)
        | Class::Rollback(_)
        | Class::Savepoint
        | Class::Xa(_)
        | Class::Diagnostics
        | Class::Prepare
        | Class::Deallocate => of_calls,
        Class::Lock if changes.intersects(Changes::TABLE_LOCKS_TAKEN) => Earlier::PutAway,
        Class::Lock if changes.intersects(Changes::TABLE_LOCKS_RELEASED) => Earlier::Left,
        Class::Lock | Class::Admin | Class::Ddl | Class::Show => Earlier::Unknown,
    }
}

/// What a statement makes of FOUND_ROWS().
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It has found some, or none.
    Some,
    /// It is that of the query before.
    Left,
    /// It depends on its words.
    Unknown,
}

/// What a statement that does not fail makes of FOUND_ROWS().
pub fn found_rows((class, asks): (Class, Asks)) -> Found {
    match class {
        _ if asks.intersects(Asks::ANYTHING) => Found::Some,
        Class::Read | Class::Select | Class::LockingRead => Found::Some,
        Class::Multi | Class::Call | Class::Execute | Class::Compound | Class::Unknown => {
            Found::Some
        }
        Class::Show if asks.intersects(Asks::WARNINGS) => Found::Left,
        Class::Show | Class::Explain => Found::Unknown,
        // Of a subquery whose value is known beforehand, such as MAX(id), nothing is read.
        Class::Set | Class::Do if asks.intersects(Asks::TABLES) => Found::Unknown,
        Class::Set
        | Class::Do
        | Class::Use
        | Class::Write
        | Class::Begin { .. }
        | Class::Commit(_)
        | Class::Rollback(_)
        | Class::Savepoint
        | Class::Xa(_)
        | Class::Ddl
        | Class::Prepare
        | Class::Deallocate
        | Class::Diagnostics
        | Class::Handler
        | Class::Lock
        | Class::Admin => Found::Left,
    }
}

/// Whether a statement may have written what others read.
pub(super) fn may_write(class: Class, changes: Changes) -> bool {
    let only_reads = matches!(
        class,
        Class::Read
            | Class::Select
            | Class::LockingRead
            | Class::Show
            | Class::Set
            | Class::Use
            | Class::Explain
            | Class::Diagnostics
            | Class::Do
            | Class::Savepoint
            | Class::Rollback(_)
    );
    !only_reads || changes.intersects(Changes::ANYTHING | Changes::CALLED | Changes::SEQUENCE)
}

/// Whether a statement is one write, of which a server that is read-only does nothing.
pub(super) fn is_one_write(class: Class) -> bool {
    matches!(class, Class::Write | Class::Ddl)
}

/// Whether each server keeps what is its own in the database of this name.
pub(super) fn is_own_schema(name: &[u8]) -> bool {
    const OWN: [&[u8]; 5] =
        [b"information_schema", b"performance_schema", b"mysql", b"sys", b"oceanbase"];
    OWN.iter().any(|own| name.eq_ignore_ascii_case(own))
}
