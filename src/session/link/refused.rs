//! Statements that a server refuses before it does anything of them.

use super::{Answering, Note};
use crate::sql::analysis::Changes;
use crate::wire::response::{is_unread, is_unresolved};

/// Who may say of a statement of theirs what a server says of this one.
const BY_OTHERS: Changes =
    Changes::ANYTHING.with(Changes::SEVERAL).with(Changes::TRIGGERS).with(Changes::EXECUTED);

/// What is left of one that did nothing: an error, and somebody who waits to hear of it.
const LEFT: Changes = Changes::DIAGNOSTICS.with(Changes::ROUTING);

impl Answering {
    /// The first packet of the answer begins like this.
    #[inline]
    pub(super) fn handle_first(&mut self, head: &[u8]) {
        if head.first() != Some(&0xFF) {
            return;
        }
        if self.note == Note::Unread && is_unread(head) {
            self.changes = self.changes.without(Changes::ANYTHING);
        } else if is_unresolved(head) && !self.changes.intersects(BY_OTHERS) {
            self.changes = self.changes.only(LEFT);
        }
    }
}
