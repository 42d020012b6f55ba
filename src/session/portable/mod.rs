//! What a session remembers so that it can move to another server.
//!
//! A server tells nearly all of a session's state when it is asked, so nothing of that is kept
//! here: only what no server tells. That is how the client has logged in, its prepared statements
//! ([`prepared`]), what it asks of us ([`wishes`](super::wishes)), and what keeps it where it is
//! (`pins`). A session whose cluster has no way to move it has none of this, and costs nothing.

mod doubt;
mod effects;
mod open;
mod pins;
pub mod prepared;
pub mod texts;

use serde::{Deserialize, Serialize};

use super::link::{self, Ended, Link, LinkId, Note};
use super::programs::Programs;
use super::routing::{Earlier, earlier_warnings, is_one_write, may_write};
use super::watched::Watched;
use super::wishes::Wishes;
use crate::sql::analysis::{
    Analysis, Asks, Changes, Class, Long, UserVariable, analyse, prepared_text, user_variables,
};
use crate::sql::{self, Charset, Extent, Known, Modes};
use crate::wire::capability as cap;
use crate::wire::command::code;
use crate::wire::id::ClientStatementId;
use crate::wire::packet::{HEADER, Header};
use crate::wire::response::{Ending, ServerStatus};
use crate::wire::status;
use doubt::Doubt;
use effects::{
    BY_ROWS, BY_STEPS, STATE, VARIABLES, left_by_failed, made_by_writes, with_called, with_fired,
};
use open::Opened;
pub use pins::Pins;
use prepared::{Executed, Prepared, Reading, Translated, Unmovable};
use texts::{Text, Texts};

/// How a client has logged in: what every server is asked for on its behalf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedInAs {
    /// What both legs can do.
    pub capabilities: u32,
    /// MariaDB's further ones.
    pub extended: u32,
    /// The longest packet that the client takes.
    pub max_packet: u32,
    /// The collation of its log-in.
    pub collation: u8,
}

/// What is remembered of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Portable {
    /// How its client has logged in.
    pub login: LoggedInAs,
    /// Its prepared statements.
    pub(super) prepared: Watched<Prepared>,
    /// Those prepared by PREPARE. [`Pins::TEXT_PREPARE`] is set as long as there may be any: other
    /// versions know no better.
    #[serde(skip_serializing_if = "are_none")]
    texts: Watched<Texts>,
    pins: Pins,
    /// How often modes or character sets may have changed.
    modes: u32,
    /// Whether the client's character set surely is one of UTF-8, or ASCII.
    is_utf8: bool,
    /// How often its state may have changed.
    version: u32,
    /// How often its system variables may have changed.
    variables: u32,
    /// How often something may have been written that a reader has to have.
    writes: u64,
    /// The last answer has left something for SHOW WARNINGS.
    has_diagnostics: bool,
    /// ROW_COUNT() is that of a write.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_rows: bool,
    /// The argument of the last COM_SET_OPTION.
    #[serde(skip_serializing_if = "Option::is_none")]
    option: Option<u16>,
    /// What its client asks of us.
    #[serde(skip_serializing_if = "has_none")]
    wishes: Watched<Option<Box<Wishes>>>,
    /// What is open at its server.
    #[serde(skip_serializing_if = "is_nothing")]
    open: Opened,
    /// What is thought of a command under way.
    #[serde(skip)]
    doubt: Doubt,
}

fn are_none(texts: &Watched<Texts>) -> bool {
    texts.is_default()
}

fn is_nothing(open: &Opened) -> bool {
    open.is_none()
}

fn has_none(wishes: &Watched<Option<Box<Wishes>>>) -> bool {
    wishes.is_none()
}

/// What tells a session from how it was, but for what changes with each statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    login: LoggedInAs,
    pins: Pins,
    modes: u32,
    is_utf8: bool,
    version: u32,
    variables: u32,
    option: Option<u16>,
    editions: [u32; 4],
}

impl Portable {
    /// Of a session that has just logged in.
    pub fn new(login: LoggedInAs) -> Self {
        Self { login, is_utf8: is_utf8(login.collation), ..Self::default() }
    }

    /// See [`Mark`]; the rest is [`Portable::hot`]'s.
    #[inline]
    pub(super) fn mark(&self) -> Mark {
        let Self { login, prepared, texts, pins, modes, is_utf8, version, variables, .. } = self;
        let Self { writes: _, has_diagnostics: _, has_rows: _, option, wishes, open, .. } = self;
        Mark {
            login: *login,
            pins: *pins,
            modes: *modes,
            is_utf8: *is_utf8,
            version: *version,
            variables: *variables,
            option: *option,
            editions: [prepared.edition(), texts.edition(), wishes.edition(), open.edition()],
        }
    }

    /// What changes with each statement, as a word: `diagnostics | rows | writes (62)`.
    #[inline]
    pub(super) fn hot(&self) -> u64 {
        u64::from(self.has_diagnostics) | u64::from(self.has_rows) << 1 | self.writes << 2
    }

    /// Stands as this word says.
    pub(super) fn resume(&mut self, word: u64) {
        self.has_diagnostics = word & 1 == 1;
        self.has_rows = word >> 1 & 1 == 1;
        self.writes = word >> 2;
    }

    /// Its prepared statements.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// What keeps it on its server.
    pub fn pins(&self) -> Pins {
        let pins = match self.has_diagnostics {
            true => self.own_pins().with(Pins::DIAGNOSTICS),
            false => self.own_pins(),
        };
        if self.texts.has_other_modes(self.modes) {
            return pins.with(Pins::OTHER_MODES);
        }
        match self.prepared.unmovable(self.modes) {
            None => pins,
            Some(Unmovable::OtherModes) => pins.with(Pins::OTHER_MODES),
            Some(Unmovable::Forgotten) => pins.with(Pins::FORGOTTEN),
            Some(Unmovable::LongData) => pins.with(Pins::LONG_DATA),
            Some(Unmovable::Cursor) => pins.with(Pins::CURSOR),
            Some(Unmovable::Columns) => pins.with(Pins::COLUMNS),
        }
    }

    /// By what its client would notice that its home was asked something by the way.
    pub fn noticed_by(&self) -> Pins {
        let pins = self.pins().only(Pins::NOTICED);
        if self.has_rows { pins.with(Pins::ROW_COUNT) } else { pins }
    }

    /// How often its state may have changed, as far as other servers have to know it.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How often its system variables may have changed.
    pub fn variables(&self) -> u32 {
        self.variables
    }

    /// How often something may have been written that a reader has to have.
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Whether its statements have to go to its home.
    pub fn is_pinned(&self) -> bool {
        // What else keeps it from moving does not keep a read from going elsewhere.
        !self.own_pins().without(Pins::OF_MOVES).is_empty()
    }

    /// What commands have left. A pin without a text is of a PREPARE that nobody has read.
    fn own_pins(&self) -> Pins {
        match self.texts.is_whole() && !self.texts.is_empty() {
            true => self.pins.without(Pins::TEXT_PREPARE),
            false => self.pins,
        }
    }

    /// It has come in a parcel, perhaps of a version that did not remember what was prepared.
    pub(super) fn handle_arrival(&mut self) {
        if self.pins.has(Pins::TEXT_PREPARE) && self.texts.is_empty() {
            self.texts.forget();
        }
    }

    /// Each PREPARE that another server has to hear, with its default schema.
    pub fn texts(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.texts.all()
    }

    /// Whether its client speaks UTF-8, for sure.
    pub(super) fn is_utf8(&self) -> bool {
        self.is_utf8
    }

    /// What a text is.
    pub(super) fn analyse<'a>(&self, sql: &'a [u8], is_whole: bool, link: &Link) -> Analysis<'a> {
        analyse(sql, extent(is_whole), self.modes_of(link))
    }

    /// Which user variables a text names.
    pub(super) fn user_variables<'a>(
        &self,
        sql: &'a [u8],
        link: &Link,
    ) -> Option<Vec<UserVariable<'a>>> {
        user_variables(sql, self.modes_of(link))
    }

    /// What becomes of the warnings of the statement before where this text is prepared.
    pub(super) fn earlier_warnings(&self, sql: &[u8], link: &Link) -> Earlier {
        let Analysis { class, asks, changes, .. } = self.analyse(sql, true, link);
        earlier_warnings((class, asks, changes))
    }

    /// The argument of the COM_SET_OPTION that another server has to hear, too.
    pub fn option(&self) -> Option<u16> {
        self.option
    }

    /// What its client asks of us, if it asks for anything.
    pub fn wishes(&self) -> Option<&Wishes> {
        self.wishes.as_deref().filter(|wishes| !wishes.is_empty())
    }

    /// A COM_QUERY; `is_whole`: all of its text is at hand. What it is, asks and changes; and what
    /// it makes of the warnings of those before it.
    pub(super) fn handle_statement(
        &mut self,
        (sql, schema): (&[u8], &[u8]),
        is_whole: bool,
        programs: &dyn Programs,
        link: &mut Link,
    ) -> ((Class, Asks, Changes), Earlier) {
        let Analysis { mut changes, class, asks, name, .. } = self.analyse(sql, is_whole, link);
        let mut earlier = earlier_warnings((class, asks, changes));
        match class {
            Class::Prepare => {
                let (made, by_text) = self.handle_text(name, (sql, schema), programs, link);
                changes |= made;
                earlier = by_text;
            }
            Class::Deallocate => {
                self.texts.deallocate(name);
                link.note(Note::Text);
            }
            Class::Xa(xa) => {
                changes = open::handle_xa(&mut self.open, (xa, name), changes, self.pins);
            }
            Class::Ddl if sql::defines_program(sql) => programs.handle_definition(),
            _ if changes.intersects(Changes::EXECUTED) => {
                let executed = name.map_or(Changes::ANYTHING, |name| self.texts.changes(name));
                let executed = open::handle_executed(&mut self.open, executed);
                changes = changes.without(Changes::EXECUTED) | executed;
                let by_text = name.and_then(|name| self.texts.earlier_warnings(name));
                earlier = by_text.unwrap_or(Earlier::Unknown);
            }
            _ => {}
        }
        changes = with_called(changes, (sql, is_whole), self.modes_of(link), programs);
        if is_whole {
            changes |= self.handle_unsure(sql, changes, link);
        }
        changes = with_fired(changes, programs);
        if class == Class::Use && !matches!(sql::inspect(sql), sql::Statement::Use(_)) {
            // To which database is not known.
            changes |= Changes::ANYTHING;
        }
        changes |= made_by_writes(class, asks);
        self.writes += u64::from(may_write(class, changes));
        if changes.intersects(Changes::ROUTING) {
            let modes = self.modes_of(link);
            self.wishes.get_or_insert_default().handle_statement(sql, modes);
        }
        // Whether it succeeds or not: one too many only keeps a session that has statements.
        self.forget_doubt();
        if changes.intersects(Changes::ANYTHING | Changes::LEXING) {
            let is_told = !is_whole && !changes.intersects(Changes::ROUTING);
            let modes = self.modes_of(link);
            self.doubt(link, is_told.then(|| Long::new(class, modes)).flatten());
            self.modes = self.modes.wrapping_add(1);
            // If it fails it was so before, or is not known.
            self.is_utf8 = self.is_utf8 && keeps_utf8(sql);
        }
        link.note_changes(changes);
        ((class, asks, changes), earlier)
    }

    /// A PREPARE of a statement of this name; what it changes beside that, and what it makes of
    /// warnings.
    fn handle_text(
        &mut self,
        name: Option<&[u8]>,
        (sql, schema): (&[u8], &[u8]),
        programs: &dyn Programs,
        link: &mut Link,
    ) -> (Changes, Earlier) {
        link.note(Note::Text);
        let modes = self.modes_of(link);
        let text = prepared_text(sql, modes);
        let (Some(name), Some(text)) = (name, text) else {
            self.texts.prepare(name, None);
            return (Changes::default(), Earlier::Unknown);
        };
        let Analysis { mut changes, class, asks, .. } = analyse(&text, Extent::Whole, modes);
        let earlier = earlier_warnings((class, asks, changes));
        changes |= made_by_writes(class, asks);
        changes = with_called(changes, (&text, true), modes, programs);
        let reading =
            Reading { schema: schema.to_vec(), modes: self.modes, ..Reading::with(earlier) };
        // Of what its execution would ask of us nothing is known, so then all is the home's.
        let text = Text::new(name, sql, reading, changes);
        let text = text.filter(|_| !changes.intersects(Changes::ROUTING));
        self.texts.prepare(Some(name), text);
        // A variable that is set is made when the statement is prepared.
        (changes.only(Changes::USER_VARIABLES), earlier)
    }

    /// A COM_STMT_PREPARE, with this default schema.
    pub(super) fn handle_prepare(
        &mut self,
        sql: &[u8],
        is_whole: bool,
        schema: &[u8],
        programs: &dyn Programs,
        link: &mut Link,
    ) {
        self.forget_doubt();
        let Analysis { mut changes, class, asks, .. } = self.analyse(sql, is_whole, link);
        let earlier = earlier_warnings((class, asks, changes));
        changes |= made_by_writes(class, asks);
        changes = with_called(changes, (sql, is_whole), self.modes_of(link), programs);
        let reading = Reading {
            schema: schema.to_vec(),
            modes: self.modes,
            only_reads: !may_write(class, changes),
            is_one_write: is_one_write(class),
            variables: self.variables,
            ..Reading::with(earlier)
        };
        self.prepared.prepare(is_whole.then_some(sql), reading, changes);
        // A variable that is set is made when the statement is prepared.
        link.note_changes(changes.only(Changes::USER_VARIABLES));
        link.note(Note::Statement);
    }

    /// A statement is prepared; the id that the client gets if it is not the server's.
    pub(super) fn handle_prepared(
        &mut self,
        prepared: link::Prepared,
    ) -> Option<ClientStatementId> {
        let link::Prepared { id, has_columns, parameters, .. } = prepared;
        let tells_once = self.login.extended & cap::mariadb::CACHE_METADATA != 0;
        self.prepared.prepared(id, parameters, has_columns && tells_once)
    }

    /// The statement that a COM_STMT_EXECUTE executes, if that can be done over any link.
    pub(super) fn executed(&self, head: &[u8], query_attributes: bool) -> Option<Executed<'_>> {
        self.prepared.executed(head, query_attributes, self.modes)
    }

    /// Whether a COM_STMT_EXECUTE can be asked again as it is, and is one write.
    pub(super) fn executes_one_write(&self, head: &[u8]) -> bool {
        self.prepared.executes_one_write(head)
    }

    /// Any other command, of which this may be sent in its place; what is sent.
    pub(super) fn handle_command(
        &mut self,
        (header, head): (Header, &[u8]),
        replaced: Option<Vec<u8>>,
        query_attributes: bool,
        programs: &dyn Programs,
        (at, link): (LinkId, &mut Link),
    ) -> Option<Vec<u8>> {
        self.forget_doubt();
        match head.first() {
            Some(&code::INIT_DB) => {
                link.note_changes(Changes::SCHEMA);
                return replaced;
            }
            Some(&code::SET_OPTION) => {
                let option = head.get(1..).and_then(|it| it.first_chunk());
                self.option = option.map(|option| u16::from_le_bytes(*option));
            }
            Some(&(code::BINLOG_DUMP | code::BINLOG_DUMP_GTID | code::TABLE_DUMP)) => {
                self.pins = self.pins.with(Pins::STREAM);
            }
            Some(
                &(code::STMT_EXECUTE
                | code::STMT_BULK_EXECUTE
                | code::STMT_SEND_LONG_DATA
                | code::STMT_RESET
                | code::STMT_FETCH
                | code::STMT_CLOSE),
            ) => {}
            _ => return replaced,
        }
        let (header, head) = match &replaced {
            None => (header, head),
            Some(with) => (Header::parse(with)?, &with[HEADER..]),
        };
        self.writes += u64::from(!self.prepared.only_reads(head));
        let changes = open::handle_executed(&mut self.open, self.prepared.changes(head));
        let changes = with_fired(changes, programs);
        if changes.intersects(Changes::ANYTHING | Changes::LEXING) {
            self.modes = self.modes.wrapping_add(1);
            self.is_utf8 = false;
        }
        if changes.intersects(Changes::ROUTING) {
            let text = self.prepared.text(head).unwrap_or_default();
            // Of the modes in which it was prepared nothing is known any more.
            self.wishes.get_or_insert_default().handle_statement(text, Modes::default());
        }
        link.note_changes(changes);
        match self.prepared.translate((header, head), query_attributes, at) {
            Translated::AsItIs => replaced,
            Translated::Replaced(with) => Some(with),
        }
    }

    /// A command was answered.
    pub(super) fn handle_end(&mut self, ended: Ended, status: ServerStatus) {
        let Ended { ending, note, changes, diagnostics, rows, stamp: _ } = ended;
        self.has_diagnostics = diagnostics.unwrap_or(self.has_diagnostics);
        self.has_rows = rows.unwrap_or(self.has_rows);
        if let ServerStatus::Known(flags) = status
            && flags & status::LAST_ROW_SENT != 0
        {
            self.prepared.cursors_end();
        }
        if note == Note::Text {
            self.texts.answered(ending != Ending::Error);
        }
        let is_any = changes.intersects(Changes::ANYTHING);
        if note == Note::Unread && !is_any {
            self.dispel_doubt();
        }
        self.handle_status(status, changes);
        if changes.intersects(Changes::ROUTING)
            && let Some(wishes) = &mut *self.wishes
        {
            wishes.handle_end(ended);
        }
        match (note, ending) {
            (Note::Statement, Ending::Error) => self.prepared.refused(),
            (Note::User, Ending::Ok) => {
                self.begin_anew(Pins::default());
                self.option = None;
            }
            // Whose session it is stays.
            (Note::Reset, Ending::Ok) => self.begin_anew(self.pins.only(Pins::IDENTITY)),
            (_, Ending::Ok) if changes.intersects(Changes::IDENTITY) && !is_any => {
                self.begin_anew(Pins::IDENTITY);
            }
            // What failed has changed nothing, unless it is more than one thing, or was done row by
            // row before the one that failed.
            (_, Ending::Error) if !changes.intersects(Changes::ANYTHING | BY_STEPS | BY_ROWS) => {
                self.dispel_doubt();
            }
            _ => {
                let failed = ending == Ending::Error && !changes.intersects(Changes::ANYTHING);
                let changes = if failed { left_by_failed(changes) } else { changes };
                if failed && !changes.intersects(Changes::LEXING) {
                    self.dispel_doubt();
                }
                self.pins = open::handle_end(&mut self.open, changes, self.pins).after(changes);
                if note == Note::Text && self.texts.is_empty() {
                    self.pins = self.pins.without(Pins::TEXT_PREPARE);
                }
                if changes.intersects(STATE) {
                    self.version = self.version.wrapping_add(1);
                }
                if changes.intersects(VARIABLES) {
                    self.variables = self.variables.wrapping_add(1);
                }
            }
        }
    }

    /// The session is as one that has just begun, but for these pins.
    fn begin_anew(&mut self, pins: Pins) {
        self.prepared.clear();
        self.texts.clear();
        self.version = self.version.wrapping_add(1);
        self.variables = self.variables.wrapping_add(1);
        // What a replica hears goes on until its connection ends.
        self.pins = pins;
        *self.open = None;
        self.has_diagnostics = false;
        self.has_rows = false;
        *self.wishes = None;
        self.modes = self.modes.wrapping_add(1);
        // MySQL goes to the server's own character set.
        self.is_utf8 = false;
    }
}

impl Portable {
    /// How the server reads texts, as far as that is known.
    fn modes_of(&self, link: &Link) -> Modes {
        let no_backslash_escapes = self.no_backslash_escapes(link.status());
        let charset = if self.is_utf8 { Charset::Utf8 } else { Charset::Other };
        Modes { ansi_quotes: Known::Unknown, no_backslash_escapes, charset }
    }
}

fn extent(is_whole: bool) -> Extent {
    if is_whole { Extent::Whole } else { Extent::Beginning }
}

/// Whether a collation of a log-in is of `ascii`, `utf8mb3` or `utf8mb4`. A log-in has room for the
/// lowest ones only.
fn is_utf8(collation: u8) -> bool {
    matches!(collation, 11 | 33 | 45 | 46 | 65 | 83 | 192..=215 | 223..=247 | 255)
}

/// Whether this is `SET NAMES utf8mb4`, or the like, and nothing else; or of literals only.
fn keeps_utf8(sql: &[u8]) -> bool {
    let is_blank =
        |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'\'' | b'"' | b';' | b'=');
    let words: Vec<_> = sql.split(is_blank).filter(|word| !word.is_empty()).collect();
    let is = |at: usize, names: &[&str]| {
        let word: Option<&&[u8]> = words.get(at);
        word.is_some_and(|word| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes())))
    };
    let is_simple = words.iter().all(|word| word.iter().all(|byte| is_word(*byte)));
    let is_named =
        is(0, &["set"]) && is(1, &["names"]) && is(2, &["utf8", "utf8mb3", "utf8mb4", "ascii"]);
    // How literals compare is not how a text is read.
    let is_of_literals = is(0, &["set"])
        && is(1, &["collation_connection", "character_set_connection"])
        && words.len() == 3;
    let names = is_named && (words.len() == 3 || words.len() == 5 && is(3, &["collate"]));
    is_simple && (names || is_of_literals)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::super::programs::Unread;
    use super::*;
    use crate::wire::response::Dialect;

    /// Of a version that remembered no texts.
    #[test]
    fn what_was_prepared_before_it_came_keeps_it() {
        let mut portable = Portable { pins: Pins::TEXT_PREPARE, ..Portable::default() };
        assert!(portable.is_pinned(), "by one that nobody has read");
        portable.handle_arrival();
        let mut link = Link::idle(Dialect::default(), ServerStatus::Known(0));
        for (sql, changes) in [
            ("PREPARE a FROM 'SELECT 1'", Changes::STATEMENTS),
            ("DEALLOCATE PREPARE a", Changes::default()),
            ("DEALLOCATE PREPARE b", Changes::default()),
        ] {
            portable.handle_statement((sql.as_bytes(), b""), true, &Unread, &mut link);
            let (ending, note) = (Ending::Ok, Note::Text);
            let (diagnostics, rows, stamp) = (None, None, None);
            let ended = Ended { ending, note, changes, diagnostics, rows, stamp };
            portable.handle_end(ended, ServerStatus::Known(0));
            assert!(portable.is_pinned(), "{sql}");
        }
    }

    /// A session that is another user's stays where it is, also when it is reset.
    #[test]
    fn whose_session_it_is_keeps_it_until_a_log_in() {
        let mut portable = Portable::new(LoggedInAs::default());
        let mut end = |note, ending, changes| {
            let (diagnostics, rows, stamp) = (None, None, None);
            let ended = Ended { ending, note, changes, diagnostics, rows, stamp };
            portable.handle_end(ended, ServerStatus::Known(0));
            portable.pins().to_string()
        };
        let of = |sql: &'static str| analyse(sql.as_bytes(), Extent::Whole, Modes::default());
        let changes = of("SET SESSION AUTHORIZATION u").changes;
        let alone = Pins::IDENTITY.to_string();
        assert_eq!(alone, "SET SESSION AUTHORIZATION");
        // No server of before MariaDB 12 knows it.
        assert_eq!(end(Note::Database, Ending::Error, changes), "");
        assert_eq!(end(Note::Plain, Ending::Ok, Changes::HANDLER_OPENED), "HANDLER");
        assert_eq!(end(Note::Database, Ending::Ok, changes), alone, "it has begun anew");
        assert_eq!(
            end(Note::Plain, Ending::Ok, Changes::ANYTHING),
            format!("{}, {alone}", Pins::UNKNOWN)
        );
        assert_eq!(end(Note::Reset, Ending::Ok, Changes::default()), alone);
        assert_eq!(end(Note::User, Ending::Ok, Changes::default()), "");
        // Among several it is not known how far they have come.
        let several = of("SET SESSION AUTHORIZATION u; SELECT").changes;
        assert!(end(Note::Database, Ending::Error, several).contains(&alone));
        assert_eq!(end(Note::Reset, Ending::Ok, Changes::default()), alone);
    }

    #[test]
    fn what_surely_keeps_utf8() {
        for sql in [
            "SET NAMES utf8mb4",
            "set names 'utf8';",
            "SET NAMES utf8 COLLATE utf8_bin",
            "SET collation_connection = 'latin1_swedish_ci'",
            "SET character_set_connection=latin1",
        ] {
            assert!(keeps_utf8(sql.as_bytes()), "{sql}");
        }
        for sql in [
            "SET NAMES latin1",
            "SET NAMES utf8mb4, sql_mode = ''",
            "SET NAMES utf8mb4 /* */",
            "SET NAMES utf8mb4; SET NAMES gbk",
            "SET CHARACTER SET utf8",
            "SET character_set_client = gbk",
            "SET collation_connection = utf8_bin, character_set_client = gbk",
            "",
        ] {
            assert!(!keeps_utf8(sql.as_bytes()), "{sql}");
        }
    }
}
