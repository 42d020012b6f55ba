//! What is thought of a command under way until more is known: that it may have done anything.
//!
//! That is taken back where its server says that it cannot read it. Invariant: nothing depends on
//! it, so it crosses no restart: then the worst is thought for good.

use super::{Changes, Link, Note, Portable};
use crate::sql::analysis::unread;
use crate::sql::{self, Known};
use crate::wire::response::ServerStatus;
use crate::wire::status;

/// See above.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    thought: Option<Box<Thought>>,
    /// NO_BACKSLASH_ESCAPES, as the home has told last, if nothing may have changed it since: with
    /// an error it tells nothing.
    no_backslash_escapes: Option<bool>,
}

impl PartialEq for Doubt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Doubt {}

#[derive(Clone, Debug)]
struct Thought {
    /// How texts were read before it, unless another may have been read since in its way.
    before: Option<(u32, bool)>,
}

impl Portable {
    /// Nobody takes back any more what was thought of the command before.
    pub(super) fn forget_doubt(&mut self) {
        self.doubt.thought = None;
    }

    /// Behind the command that was asked last texts may be read in other ways.
    pub(super) fn doubt(&mut self, link: &Link) {
        let before = (!link.has_several()).then_some((self.modes, self.is_utf8));
        self.doubt.thought = Some(Box::new(Thought { before }));
    }

    /// They are not, as it has turned out.
    pub(super) fn dispel_doubt(&mut self) {
        let thought = self.doubt.thought.take();
        if let Some((modes, is_utf8)) = thought.and_then(|thought| thought.before) {
            (self.modes, self.is_utf8) = (modes, is_utf8);
        }
    }

    /// The home has this status behind a command that may have changed this.
    pub(super) fn handle_status(&mut self, status: ServerStatus, changes: Changes) {
        match status {
            ServerStatus::Known(flags) => {
                let is_set = flags & status::NO_BACKSLASH_ESCAPES != 0;
                self.doubt.no_backslash_escapes = Some(is_set);
            }
            ServerStatus::Unknown if changes.intersects(Changes::ANYTHING | Changes::LEXING) => {
                self.doubt.no_backslash_escapes = None;
            }
            ServerStatus::Unknown => {}
        }
    }

    /// Whether a backslash is a character like others to who has this status.
    pub(super) fn no_backslash_escapes(&self, status: ServerStatus) -> Known {
        match status {
            ServerStatus::Known(flags) => (flags & status::NO_BACKSLASH_ESCAPES != 0).into(),
            ServerStatus::Unknown => {
                self.doubt.no_backslash_escapes.map_or(Known::Unknown, Known::from)
            }
        }
    }

    /// A text, asked last, may change this; what more it may that its server cannot read.
    pub(super) fn handle_unsure(&self, sql: &[u8], changes: Changes, link: &mut Link) -> Changes {
        // Of USE something else was noted.
        let is_use = || matches!(sql::inspect(sql), sql::Statement::Use(_));
        if !changes.intersects(Changes::ANYTHING) || is_use() {
            return Changes::default();
        }
        let unread = unread(sql, self.modes_of(link));
        if unread.is_some() {
            link.note(Note::Unread);
        }
        unread.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoggedInAs;
    use super::*;
    use crate::session::link::Ended;
    use crate::wire::response::{Dialect, Ending};

    const UTF8: u8 = 45;
    const AUTOCOMMIT: ServerStatus = ServerStatus::Known(2);

    fn session() -> (Portable, Link) {
        let login = LoggedInAs { collation: UTF8, ..LoggedInAs::default() };
        (Portable::new(login), Link::idle(Dialect::default(), AUTOCOMMIT))
    }

    fn ask(portable: &mut Portable, link: &mut Link, sql: &str, is_whole: bool) -> Changes {
        let of = (sql.as_bytes(), &b""[..]);
        portable.handle_statement(of, is_whole, &Changes::default, link).0.2
    }

    fn end(portable: &mut Portable, changes: Changes, note: Note, ending: Ending) {
        let (diagnostics, rows, stamp) = (None, None, None);
        let status = if ending == Ending::Error { ServerStatus::Unknown } else { AUTOCOMMIT };
        portable.handle_end(Ended { ending, note, changes, diagnostics, rows, stamp }, status);
    }

    #[test]
    fn what_was_not_read_has_changed_no_mode() {
        let (mut portable, mut link) = session();
        let before = portable.mark();
        let changes = ask(&mut portable, &mut link, "SELEC 1", true);
        assert!(changes.intersects(Changes::ANYTHING) && portable.mark() != before);
        end(&mut portable, changes.without(Changes::ANYTHING), Note::Unread, Ending::Error);
        assert_eq!(portable.mark(), before);
        // Its server could read it.
        let changes = ask(&mut portable, &mut link, "SELEC 1", true);
        end(&mut portable, changes, Note::Unread, Ending::Error);
        assert!(portable.is_pinned() && portable.mark() != before);
        // What is prepared meanwhile is read as it may be then.
        let (mut portable, mut link) = session();
        let changes = ask(&mut portable, &mut link, "SELEC 1", true);
        portable.handle_prepare(b"SELECT 1", true, b"", &mut link);
        end(&mut portable, changes.without(Changes::ANYTHING), Note::Unread, Ending::Error);
        assert!(portable.mark() != before && !portable.is_pinned());
    }

    #[test]
    fn behind_an_error_texts_are_read_as_before() {
        for (failed, is_known) in [("INSERT INTO t VALUES (1)", true), ("CALL p()", false)] {
            let (mut portable, mut link) = session();
            end(&mut portable, Changes::default(), Note::Plain, Ending::Ok);
            let changes = ask(&mut portable, &mut link, failed, true);
            end(&mut portable, changes, Note::Plain, Ending::Error);
            link = Link::idle(Dialect::default(), ServerStatus::Unknown);
            let changes = ask(&mut portable, &mut link, r"SELECT 'it\'s'", true);
            assert_eq!(changes.intersects(Changes::ANYTHING), !is_known, "{failed}");
        }
    }
}
