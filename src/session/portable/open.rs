//! What is open at a session's server that one statement ends: a branch of XA, and handlers.
//!
//! Invariant: nothing is taken for ended that may be open still.

use serde::{Deserialize, Serialize};

use super::Pins;
use crate::session::watched::Watched;
use crate::sql::analysis::{Changes, Xa};

/// The longest name of a branch that is remembered: two times 64 bytes in hexadecimal digits, and a
/// number.
const LONGEST: usize = 300;

/// See above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Open {
    /// What the last XA START named that was asked while no branch was open.
    branch: Option<Vec<u8>>,
    /// How many handlers are open at most; 0 of a session that has some: not known.
    handlers: u16,
}

/// What is open of a session; None: nothing, or it is not known.
pub(super) type Opened = Watched<Option<Box<Open>>>;

/// An XA of this branch is asked that may change this; what it may for sure.
pub(super) fn handle_xa(
    open: &mut Opened,
    (xa, branch): (Xa, Option<&[u8]>),
    changes: Changes,
    pins: Pins,
) -> Changes {
    let known = open.as_ref().and_then(|open| open.branch.as_deref());
    match xa {
        Xa::Start if !pins.has(Pins::XA) => {
            let branch = branch.filter(|branch| branch.len() <= LONGEST);
            open.get_or_insert_default().branch = branch.map(<[u8]>::to_vec);
            changes
        }
        // It may be another's.
        Xa::Commit | Xa::Rollback if branch.is_none() || branch != known => {
            changes.without(Changes::XA_ENDED)
        }
        Xa::Start | Xa::End | Xa::Prepare | Xa::Commit | Xa::Rollback | Xa::Recover => changes,
    }
}

/// A statement that was prepared may change this; what it may for sure. Which branch it names is
/// not known.
pub(super) fn handle_executed(open: &mut Opened, changes: Changes) -> Changes {
    if changes.intersects(Changes::XA) && open.is_some() {
        open.get_or_insert_default().branch = None;
    }
    changes.without(Changes::XA_ENDED)
}

/// What has changed this has succeeded; what it leaves of these pins.
pub(super) fn handle_end(open: &mut Opened, changes: Changes, pins: Pins) -> Pins {
    let handlers = open.as_ref().map_or(0, |open| open.handlers);
    if changes.intersects(Changes::HANDLER_OPENED) {
        let is_known =
            !changes.intersects(Changes::ANYTHING) && (handlers > 0 || !pins.has(Pins::HANDLER));
        let more = handlers.checked_add(1).filter(|_| is_known);
        open.get_or_insert_default().handlers = more.unwrap_or_default();
    } else if changes.intersects(Changes::HANDLER_CLOSED) && handlers > 0 {
        open.get_or_insert_default().handlers = handlers - 1;
        if handlers == 1 {
            return pins.without(Pins::HANDLER);
        }
    }
    pins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::analysis::{Class, analyse};
    use crate::sql::{Extent, Modes};

    /// What keeps a session that has asked this, with success unless it begins with `!`.
    fn kept_by(statements: &[&str]) -> String {
        let (mut open, mut pins) = (Opened::default(), Pins::default());
        for statement in statements {
            let sql = statement.trim_start_matches('!');
            let analysis = analyse(sql.as_bytes(), Extent::Whole, Modes::USUAL);
            let changes = match analysis.class {
                Class::Xa(xa) => handle_xa(&mut open, (xa, analysis.name), analysis.changes, pins),
                _ => analysis.changes,
            };
            if sql == *statement {
                pins = handle_end(&mut open, changes, pins).after(changes);
            }
        }
        pins.to_string()
    }

    #[test]
    fn a_branch_keeps_the_session_until_it_ends() {
        let (one, several) = (Pins::XA.to_string(), Pins::BRANCHES.to_string());
        let both = Pins::XA.with(Pins::BRANCHES).to_string();
        let table: &[(&[&str], &str)] = &[
            (&["XA RECOVER"], ""),
            (&["XA COMMIT 'a'"], ""),
            (&["!XA START 'a'"], ""),
            (&["XA START 'a'"], &one),
            (&["XA START 'a'", "XA END 'a'"], &one),
            (&["XA START 'a'", "XA END 'a'", "XA PREPARE 'a'"], &one),
            (&["XA START 'a'", "XA END 'a'", "XA PREPARE 'a'", "XA COMMIT 'a'"], ""),
            (&["XA BEGIN 'a','b',1", "XA END 'a','b',1", "XA ROLLBACK 'a','b',1"], ""),
            (&["XA START 'a'", "XA END 'a'", "XA COMMIT 'a' ONE PHASE"], ""),
            (&["XA START 'a'", "!XA COMMIT 'a'"], &one),
            (&["XA START 'a'", "XA COMMIT 'b'"], &one),
            (&["XA START X'61'", "XA COMMIT '61'"], &one),
            (&["XA START 'a'", "XA PREPARE 'a'", "XA RECOVER", "BEGIN", "COMMIT"], &one),
            (&["XA START 'a'", "XA PREPARE 'a'", "!XA START 'b'", "XA COMMIT 'a'"], ""),
            (&["XA START 'a'", "XA PREPARE 'a'", "XA START 'b'"], &both),
            (&["XA START 'a'", "XA PREPARE 'a'", "XA START 'b'", "XA COMMIT 'b'"], &both),
            (&["XA START 'a'", "XA PREPARE 'a'", "XA START 'b'", "XA COMMIT 'a'"], &several),
            (&["XA START 'a'", "XA COMMIT 'a'", "XA START 'b'", "XA COMMIT 'b'"], ""),
        ];
        for (statements, kept) in table {
            assert_eq!(kept_by(statements), *kept, "{statements:?}");
        }
    }

    #[test]
    fn handlers_are_counted() {
        let table: &[(&[&str], bool)] = &[
            (&["HANDLER t OPEN"], true),
            (&["HANDLER t OPEN", "HANDLER t CLOSE"], false),
            (&["HANDLER d.t OPEN AS `h`", "HANDLER `h` READ FIRST", "HANDLER `h` CLOSE"], false),
            (&["HANDLER t OPEN", "!HANDLER t CLOSE"], true),
            (&["HANDLER t OPEN", "!HANDLER t OPEN", "HANDLER t CLOSE"], false),
            (&["HANDLER t OPEN", "HANDLER u OPEN", "HANDLER t CLOSE"], true),
            (&["HANDLER t OPEN", "HANDLER u OPEN", "HANDLER t CLOSE", "HANDLER u CLOSE"], false),
            (&["HANDLER close OPEN", "HANDLER close READ FIRST"], true),
            (&["HANDLER t OPEN", "HANDLER t READ k = (1) WHERE close"], true),
            (&["HANDLER t OPEN; SELECT 1", "HANDLER t CLOSE"], true),
        ];
        for (statements, is_kept) in table {
            let kept = kept_by(statements);
            assert_eq!(kept.contains("HANDLER"), *is_kept, "{statements:?}: {kept}");
        }
    }

    /// Of a version that did not count.
    #[test]
    fn who_came_with_handlers_keeps_them() {
        let mut open = Opened::default();
        let pins = handle_end(&mut open, Changes::HANDLER_OPENED, Pins::HANDLER);
        assert_eq!(handle_end(&mut open, Changes::HANDLER_CLOSED, pins), Pins::HANDLER);
    }
}
