//! What other links than the home have of a session's prepared statements.
//!
//! A client's statement is its home's. A reader's is a *copy*, which the client knows nothing of:
//! it has an id of its own, was told types of its own, and goes when the client's goes.

use serde::{Deserialize, Serialize};

use super::{CURSOR, FLAGS, MOST_BOUND, Prepared, Reading, Statement};
use crate::session::link::LinkId;
use crate::wire::command::{COUNT_AVAILABLE, code};
use crate::wire::id::{ClientStatementId, ServerStatementId};

/// A statement that a reader has prepared, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copied {
    /// The place of its link.
    pub(super) link: usize,
    /// Its id there.
    pub(super) id: ServerStatementId,
    /// That server does not know the types.
    pub(super) is_unbound: bool,
}

/// A statement that a client executes, as another server is to prepare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed<'a> {
    /// Which one it is.
    pub id: ClientStatementId,
    /// Its text.
    pub text: &'a [u8],
    /// How that is read.
    pub reading: &'a Reading,
    /// How many parameters it has.
    pub parameters: u16,
    /// Links by their places, a bit each, that have it.
    pub at: u64,
}

/// Copies of statements at other links than the home.
impl Prepared {
    /// The statement that a COM_STMT_EXECUTE executes, if that can be done over any link that has
    /// it. `modes`: as of [`Reading`], now.
    pub fn executed(
        &self,
        head: &[u8],
        query_attributes: bool,
        modes: u32,
    ) -> Option<Executed<'_>> {
        let id = ClientStatementId::named_by(head)?;
        let (_, statement) = self.known.iter().find(|(known, _)| *known == id)?;
        let Statement { text, reading, parameters, copies, .. } = statement;
        let is_for_any = statement.is_for_any(head, query_attributes) && reading.modes == modes;
        let at = copies.iter().fold(0, |all, copy| all | LinkId::at(copy.link).bit());
        is_for_any.then_some(Executed { id, text, reading, parameters: *parameters, at })
    }

    /// The server of this link has prepared a statement, by this id.
    pub fn prepared_at(&mut self, id: ClientStatementId, link: LinkId, there: ServerStatementId) {
        if let Some((_, statement)) = self.known.iter_mut().find(|(known, _)| *known == id) {
            statement.copies.retain(|copy| copy.link != link.place());
            let is_unbound = statement.parameters > 0;
            statement.copies.push(Copied { link: link.place(), id: there, is_unbound });
        }
    }

    /// The copies that a command ends: where, and their ids there.
    pub fn ended_by(&self, head: &[u8]) -> Vec<(LinkId, ServerStatementId)> {
        let id = ClientStatementId::named_by(head);
        let is_ended = |known: ClientStatementId| match head.first() {
            Some(&code::STMT_CLOSE) => Some(known) == id,
            Some(&(code::RESET_CONNECTION | code::CHANGE_USER)) => true,
            _ => false,
        };
        let ended = self.known.iter().filter(|(known, _)| is_ended(*known));
        let copies = ended.flat_map(|(_, statement)| &statement.copies);
        copies.map(|copy| (LinkId::at(copy.link), copy.id)).collect()
    }

    /// A link does not have these any more; None: any.
    pub fn forget_at(&mut self, link: LinkId, ids: Option<&[ServerStatementId]>) {
        let is_gone = |copy: &Copied| {
            copy.link == link.place() && ids.is_none_or(|ids| ids.contains(&copy.id))
        };
        self.known.iter_mut().for_each(|(_, it)| it.copies.retain(|copy| !is_gone(copy)));
    }

    /// The places of all links that have copies.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.known.iter().flat_map(|(_, statement)| &statement.copies).map(|copy| copy.link)
    }
}

impl Statement {
    /// Whether a COM_STMT_EXECUTE of it can be for another link than the home: nothing is there
    /// that it needs, and each server can be told the types.
    pub(super) fn is_for_any(&self, head: &[u8], query_attributes: bool) -> bool {
        let Some(flags) = head.get(FLAGS) else { return false };
        if self.has_long_data || self.has_cursor || self.keeps_columns || flags & CURSOR != 0 {
            return false;
        }
        let count = usize::from(self.parameters);
        if count == 0 {
            return true;
        }
        let flag = self.types_flag();
        let has_types = match head.get(flag) {
            Some(1) => head.len() >= flag + 1 + 2 * count,
            Some(0) => self.types.is_some(),
            _ => false,
        };
        let has_names = query_attributes && flags & COUNT_AVAILABLE != 0;
        has_types && !has_names && count <= MOST_BOUND
    }
}

#[cfg(test)]
mod tests {
    use super::super::NOBODY;
    use super::super::tests::{command, execute, translate, translate_at, with};
    use super::*;
    use crate::wire::command::LATEST;

    #[test]
    fn a_copy_has_an_id_and_types_of_its_own() {
        let reader = LinkId::at(1);
        let mut prepared = with(&[("a", 1, 1), ("b", 2, 0)]);
        let executed = |prepared: &Prepared, payload: &[u8]| {
            prepared.executed(payload, false, 0).map(|executed| (executed.id.0, executed.at))
        };
        assert_eq!(executed(&prepared, &execute(1, None)), None, "no types are known");
        assert_eq!(executed(&prepared, &execute(1, Some([3, 0]))), Some((1, 0)));
        prepared.prepared_at(ClientStatementId(1), reader, ServerStatementId(40));
        assert!(prepared.may_grow());
        let payload = execute(1, Some([3, 0]));
        assert_eq!(executed(&prepared, &payload), Some((1, 0b10)));
        let expected = Some(execute(40, Some([3, 0])));
        assert_eq!(translate_at(&mut prepared, &payload, reader), expected);
        // The home has not heard of the types, which the reader now knows.
        assert_eq!(translate_at(&mut prepared, &execute(1, None), reader), Some(execute(40, None)));
        assert_eq!(translate(&mut prepared, &execute(1, None)), Some(payload.clone()));
        assert_eq!(translate(&mut prepared, &execute(1, None)), None);
        assert!(!prepared.may_grow());
        // Others at home are others at the reader.
        assert_eq!(translate(&mut prepared, &execute(1, Some([8, 0]))), None);
        let expected = Some(execute(40, Some([8, 0])));
        assert_eq!(translate_at(&mut prepared, &execute(1, None), reader), expected);
        assert_eq!(prepared.ended_by(&command(code::STMT_CLOSE, 2, b"")), []);
        for ends in [command(code::STMT_CLOSE, 1, b""), vec![code::RESET_CONNECTION]] {
            assert_eq!(prepared.ended_by(&ends), [(reader, ServerStatementId(40))]);
        }
        prepared.forget_at(reader, Some(&[ServerStatementId(41)]));
        assert_eq!(prepared.places().collect::<Vec<_>>(), [1]);
        prepared.forget_at(reader, None);
        assert_eq!(executed(&prepared, &execute(1, None)), Some((1, 0)));
        assert_eq!(
            translate_at(&mut prepared, &execute(1, None), reader),
            Some(execute(NOBODY.0, None))
        );
    }

    #[test]
    fn what_is_with_the_home_alone_is_executed_there() {
        let mut prepared = with(&[("a", 1, 1)]);
        translate(&mut prepared, &execute(1, Some([3, 0])));
        let is_for_any = |prepared: &Prepared, payload: &[u8], modes| {
            prepared.executed(payload, false, modes).is_some()
        };
        assert!(is_for_any(&prepared, &execute(1, None), 0));
        assert!(!is_for_any(&prepared, &execute(1, None), 1), "other modes");
        assert!(!is_for_any(&prepared, &execute(LATEST, None), 0));
        let mut cursor = execute(1, None);
        cursor[FLAGS] = 1;
        assert!(!is_for_any(&prepared, &cursor, 0));
        translate(&mut prepared, &cursor);
        assert!(!is_for_any(&prepared, &execute(1, None), 0), "its cursor is open");
        translate(&mut prepared, &command(code::STMT_RESET, 1, b""));
        assert!(is_for_any(&prepared, &execute(1, None), 0));
        translate(&mut prepared, &command(code::STMT_SEND_LONG_DATA, 1, b"\0\0data"));
        assert!(!is_for_any(&prepared, &execute(1, None), 0), "long data");
        let mut counted = execute(1, Some([3, 0]));
        counted[FLAGS] = COUNT_AVAILABLE;
        translate(&mut prepared, &command(code::STMT_RESET, 1, b""));
        assert!(prepared.executed(&counted, true, 0).is_none(), "attributes");
    }
}
