//! Statements as they are counted: a stamp goes with each command, and comes back with the end of
//! its answer. Where nobody counts nothing is done.

use super::{Session, extent};
use crate::session::link::Link;
use crate::session::stamp::{Finished, MOST_PREPARED, Prepared, Shapes, Stamp};
use crate::sql::digest::Digest;
use crate::sql::{Charset, Known, Modes};
use crate::wire::command::code;
use crate::wire::id::ClientStatementId;
use crate::wire::packet::Header;
use crate::wire::response::{Ending, ServerStatus};
use crate::wire::status;

impl Session {
    /// What was counted since it was last taken.
    pub fn finished(&self) -> &[Finished] {
        self.counted.as_ref().map_or(&[], |counted| &counted.finished)
    }

    /// It was counted.
    pub fn forget_finished(&mut self) {
        if let Some(counted) = &mut self.counted {
            counted.finished.clear();
        }
    }

    /// The statement whose answer is coming.
    #[inline]
    pub fn running(&self) -> Option<Stamp> {
        self.conversation.link(self.conversation.current).stamp()
    }

    /// A command goes to the link at hand.
    pub(super) fn stamp(&mut self, header: Header, head: &[u8], shapes: &dyn Shapes) {
        let Some((&command, body)) = head.split_first() else { return };
        let id = || ClientStatementId::named_by(head);
        let extent = extent(header, head);
        let digest = match command {
            code::QUERY => {
                let sql = self.text_at(head).and_then(|at| head.get(at..));
                sql.map_or(Digest::REST, |sql| shapes.digest(sql, extent, self.modes()))
            }
            code::STMT_PREPARE => {
                let digest = shapes.digest(body, extent, self.modes());
                self.counted.get_or_insert_default().prepared.latest = digest;
                digest
            }
            code::STMT_EXECUTE | code::STMT_BULK_EXECUTE => {
                let digest = |id| self.counted.as_ref().map(|it| it.prepared.digest(id));
                id().and_then(digest).unwrap_or_default()
            }
            code::STMT_CLOSE | code::RESET_CONNECTION | code::CHANGE_USER => {
                return self.forget_prepared(id().filter(|_| command == code::STMT_CLOSE));
            }
            _ => return,
        };
        self.counted.get_or_insert_default();
        let stamp = Stamp::new(digest, shapes.now_us());
        self.conversation.link_mut(self.conversation.current).note_stamp(stamp);
    }

    /// The statement of this id is closed; None: all are.
    fn forget_prepared(&mut self, id: Option<ClientStatementId>) {
        let Some(counted) = self.counted.as_mut().filter(|it| !it.prepared.is_empty()) else {
            return;
        };
        match id {
            Some(id) => drop(counted.prepared.known.remove(&id)),
            None => *counted.prepared = Prepared::default(),
        }
    }

    /// A statement is prepared, which the client knows by this id.
    pub(super) fn stamp_prepared(&mut self, id: ClientStatementId, stamp: Option<Stamp>) {
        if let (Some(stamp), Some(counted)) = (stamp, &mut self.counted)
            && counted.prepared.known.len() < MOST_PREPARED
        {
            counted.prepared.known.insert(id, stamp.digest);
        }
    }

    /// An answer has ended.
    #[inline]
    pub(super) fn finish(&mut self, stamp: Option<Stamp>, ending: Ending) {
        if let (Some(stamp), Some(counted)) = (stamp, &mut self.counted) {
            counted.finished.push(Finished { stamp, is_error: ending == Ending::Error });
        }
    }

    /// How the server will read a text, as far as that is known.
    fn modes(&self) -> Modes {
        let link = self.conversation.link(self.conversation.current);
        let charset = match self.portable() {
            Some(portable) if portable.is_utf8() => Charset::Utf8,
            _ => Charset::Other,
        };
        let no_backslash_escapes = no_backslash_escapes(link);
        Modes { ansi_quotes: Known::Unknown, no_backslash_escapes, charset }
    }
}

/// Commands on their way may change it.
fn no_backslash_escapes(link: &Link) -> Known {
    match link.status() {
        _ if link.has_several() => Known::Unknown,
        ServerStatus::Known(flags) => (flags & status::NO_BACKSLASH_ESCAPES != 0).into(),
        ServerStatus::Unknown => Known::Unknown,
    }
}

#[cfg(test)]
mod tests;
