//! What commands do to a session's state, with all that they set going.

use crate::session::programs::Programs;
use crate::sql::Modes;
use crate::sql::analysis::{Asks, Changes, Class, calls};

/// What a text may change, with what the routines may that it calls, and the triggers that those
/// fire. `is_whole`: all of it is at hand.
pub(super) fn with_called(
    mut changes: Changes,
    (sql, is_whole): (&[u8], bool),
    modes: Modes,
    programs: &dyn Programs,
) -> Changes {
    if !changes.intersects(Changes::CALLED) {
        return changes;
    }
    if !is_whole {
        return changes | Changes::ANYTHING;
    }
    changes |= Changes::SEVERAL | Changes::TRIGGERS;
    calls(sql, modes, |name| {
        changes |= name.map_or(Changes::ANYTHING, |name| programs.called(name));
    });
    changes
}

/// What a statement may change, with what triggers may.
pub(super) fn with_fired(changes: Changes, programs: &dyn Programs) -> Changes {
    match changes.intersects(Changes::TRIGGERS) {
        true => changes | programs.fired(),
        false => changes,
    }
}

/// What is left of this by what has failed.
pub(super) fn left_by_failed(changes: Changes) -> Changes {
    match () {
        () if changes.intersects(Changes::SEVERAL) => changes.without(TAKEN_BACK),
        () if changes.intersects(Changes::TRIGGERS) => changes.only(FIRED),
        () => changes.only(BY_ROWS),
    }
}

/// A write that asks for a user variable that there is none of makes it, for the binary log.
pub(super) fn made_by_writes(class: Class, asks: Asks) -> Changes {
    let is_made =
        matches!(class, Class::Write | Class::Ddl) && asks.intersects(Asks::USER_VARIABLES);
    if is_made { Changes::USER_VARIABLES } else { Changes::default() }
}

/// What a statement that fails may have done before.
pub(super) const BY_ROWS: Changes =
    Changes::USER_VARIABLES.with(Changes::USER_LOCK_TAKEN).with(Changes::SEQUENCE);

/// It may have done more before.
pub(super) const BY_STEPS: Changes = Changes::SEVERAL.with(Changes::TRIGGERS);

/// What takes something back, which of several things may not have been done.
const TAKEN_BACK: Changes = Changes::TRANSACTION
    .with(Changes::TABLE_LOCKS_RELEASED)
    .with(Changes::BACKUP_LOCK_RELEASED)
    .with(Changes::USER_LOCKS_RELEASED);

/// The same, where it has fired triggers.
const FIRED: Changes = BY_ROWS
    .with(Changes::TEMPORARY_TABLE_MADE)
    .with(Changes::VARIABLES)
    .with(Changes::LEXING)
    .with(Changes::ROLE);

/// What concerns system variables.
pub(super) const VARIABLES: Changes =
    Changes::ANYTHING.with(Changes::EXECUTED).with(Changes::VARIABLES).with(Changes::LEXING);

/// What other servers of the session have to know.
pub(super) const STATE: Changes = Changes::ANYTHING
    .with(Changes::EXECUTED)
    .with(Changes::VARIABLES)
    .with(Changes::USER_VARIABLES)
    .with(Changes::SCHEMA)
    .with(Changes::ROLE);
