//! What is thought of a command under way until more is known: that it may have done anything.
//!
//! That is taken back where a text is read to its end while it passes by, where its server says
//! that it cannot read it, and where what else has failed has changed nothing. Invariant: nothing
//! depends on it, so it crosses no restart: then the worst is thought for good.

use super::effects::{made_by_writes, with_fired};
use super::{Changes, Link, Note, Portable, Programs};
use crate::sql::analysis::{Long, unread};
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
    /// Its text, if that is long.
    long: Option<Long>,
    /// Bytes in front of the text that are still to come.
    skip: usize,
    /// Bytes of its packet that are.
    left: usize,
}

impl Portable {
    /// Nobody takes back any more what was thought of the command before.
    pub(super) fn forget_doubt(&mut self) {
        self.doubt.thought = None;
    }

    /// Behind the command that was asked last, which may have such a text, texts may be read in
    /// other ways.
    pub(super) fn doubt(&mut self, link: &Link, long: Option<Long>) {
        let before = (!link.has_several()).then_some((self.modes, self.is_utf8));
        let thought = Thought { before, long, skip: 0, left: 0 };
        self.doubt.thought = Some(Box::new(thought));
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

    /// The command that was asked last has a packet of this length, none of which has passed, with
    /// so many bytes in front of its text; and no other packet.
    pub(in crate::session) fn begin_rest(&mut self, skip: usize, length: usize) {
        if let Some(thought) = &mut self.doubt.thought
            && thought.long.is_some()
        {
            (thought.skip, thought.left) = (skip, length);
        }
    }

    /// Whether somebody wants to know how the packet under way goes on.
    #[inline]
    pub(in crate::session) fn awaits_rest(&self) -> bool {
        self.doubt.thought.as_ref().is_some_and(|thought| thought.left > 0)
    }

    /// Of the packet under way `rest` bytes have not passed, with which these begin.
    pub(in crate::session) fn handle_rest(
        &mut self,
        (bytes, rest): (&[u8], usize),
        programs: &dyn Programs,
        link: &mut Link,
    ) {
        let Some(thought) = &mut self.doubt.thought else { return };
        // Some may have been looked at before, and left where they are.
        let fresh = rest.checked_sub(thought.left).and_then(|seen| bytes.get(seen..));
        let fresh = fresh.unwrap_or_default();
        let fresh = &fresh[..fresh.len().min(thought.left)];
        let (in_front, text) = fresh.split_at(thought.skip.min(fresh.len()));
        thought.skip -= in_front.len();
        thought.left -= fresh.len();
        if let Some(long) = &mut thought.long {
            long.handle(text);
        }
        if thought.left > 0 {
            return;
        }
        let Some((class, asks, changes)) = thought.long.take().and_then(Long::end) else { return };
        let changes = with_fired(changes, programs) | made_by_writes(class, asks);
        if !changes.intersects(Changes::ANYTHING | Changes::LEXING) {
            self.dispel_doubt();
        }
        link.note_changes(changes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoggedInAs;
    use super::*;
    use crate::session::link::Ended;
    use crate::session::programs::Unread;
    use crate::wire::response::{Dialect, Ending};

    const UTF8: u8 = 45;
    const AUTOCOMMIT: ServerStatus = ServerStatus::Known(2);

    fn session() -> (Portable, Link) {
        let login = LoggedInAs { collation: UTF8, ..LoggedInAs::default() };
        (Portable::new(login), Link::idle(Dialect::default(), AUTOCOMMIT))
    }

    fn ask(portable: &mut Portable, link: &mut Link, sql: &str, is_whole: bool) -> Changes {
        let of = (sql.as_bytes(), &b""[..]);
        portable.handle_statement(of, is_whole, &Unread, link).0.2
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
        // It was read, and failed.
        for sql in ["SET sql_mode = 'nonsense'", "SET SESSION AUTHORIZATION nobody"] {
            let (mut portable, mut link) = session();
            let changes = ask(&mut portable, &mut link, sql, true);
            assert!(portable.modes != 0);
            end(&mut portable, changes, Note::Plain, Ending::Error);
            assert_eq!(portable.modes, 0, "{sql}");
        }
        // What is prepared meanwhile is read as it may be then.
        let (mut portable, mut link) = session();
        let changes = ask(&mut portable, &mut link, "SELEC 1", true);
        portable.handle_prepare(b"SELECT 1", true, b"", &Unread, &mut link);
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

    #[test]
    fn a_text_is_read_to_its_end_in_whatever_pieces() {
        let row = ", (1, 'x')".repeat(50);
        for (tail, is_told) in [("", true), (", (f(1))", false), ("; SELECT 1", false)] {
            let sql = ["INSERT INTO t VALUES (0, 'a')", &row, tail].concat();
            let packet = [b"\x03", sql.as_bytes()].concat();
            for piece in [1, 7, packet.len()] {
                let (mut portable, mut link) = session();
                let before = portable.mark();
                ask(&mut portable, &mut link, &sql[..100], false);
                portable.begin_rest(1, packet.len());
                let mut at = 0;
                while at < packet.len() {
                    assert!(portable.awaits_rest());
                    // Each is looked at twice.
                    let bytes = &packet[at..packet.len().min(at + piece)];
                    for _ in 0..2 {
                        let of = (bytes, packet.len() - at);
                        portable.handle_rest(of, &Unread, &mut link);
                    }
                    at += bytes.len();
                }
                assert!(!portable.awaits_rest());
                assert_eq!(portable.mark() == before, is_told, "{tail} by {piece}");
            }
        }
    }
}
