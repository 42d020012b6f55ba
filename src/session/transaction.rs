//! A transaction of which reads may go to a reader.
//!
//! It is begun at home, as every one is, and what is asked there is asked in it. A reader that
//! reads in it *joins*: it has a transaction of its own meanwhile, so that all of its reads are of
//! one time, and *parts* when that is over. Whoever opens and ends that at the reader says so here.
//!
//! ```text
//!   BEGIN ─► nothing looked at ─► joined: reads go to the reader
//!                      │             │ parts
//!                      └─► home ◄────┘    what looks at data there takes all that follows along
//! ```

use serde::{Deserialize, Serialize};

use super::link::LinkId;
use crate::sql::analysis::{Access, Asks, Changes, Class};

/// What has become of a session's transaction. Of meaning while its home is in one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Transaction {
    begun: Option<Begun>,
    joined: Option<Joined>,
    /// A reader has read in one that only reads, and has parted from it.
    is_torn: bool,
    /// A reader could not go on with one: this session's are the home's from now on.
    stays_home: bool,
}

/// A transaction that was begun by a statement which says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    is_read_only: bool,
    /// Data may have been looked at, or changed, at home.
    is_homes: bool,
    /// The home has said that it is begun.
    is_sure: bool,
}

/// A reader with a transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The place of its link.
    link: usize,
    /// The session's transaction is READ ONLY.
    pub is_read_only: bool,
    /// Of which time its data are is settled.
    pub has_read: bool,
}

impl Joined {
    /// A reader's, which has read nothing yet.
    pub fn new(link: LinkId, is_read_only: bool) -> Self {
        Self { link: link.place(), is_read_only, has_read: false }
    }

    /// Its link.
    pub fn link(self) -> LinkId {
        LinkId::at(self.link)
    }
}

impl Transaction {
    /// As 32 bits: `is_torn | stays_home | begun (4) | joined (3), its link (8)`.
    pub(super) fn bits(&self) -> u32 {
        let Self { begun, joined, is_torn, stays_home } = *self;
        let begun = begun.map_or(0, |Begun { is_read_only, is_homes, is_sure }| {
            1 | u32::from(is_read_only) << 1 | u32::from(is_homes) << 2 | u32::from(is_sure) << 3
        });
        let joined = joined.map_or(0, |Joined { link, is_read_only, has_read }| {
            1 | u32::from(is_read_only) << 1 | u32::from(has_read) << 2 | (link as u32) << 3
        });
        u32::from(is_torn) | u32::from(stays_home) << 1 | begun << 2 | joined << 6
    }

    /// The same, back, of a session with so many links; None if it is of another.
    pub(super) fn of_bits(bits: u32, links: usize) -> Option<Self> {
        let is = |bit: u32| bits >> bit & 1 == 1;
        let begun = Begun { is_read_only: is(3), is_homes: is(4), is_sure: is(5) };
        let link = (bits >> 9) as usize;
        let joined = Joined { link, is_read_only: is(7), has_read: is(8) };
        (link < links).then_some(Self {
            begun: is(2).then_some(begun),
            joined: is(6).then_some(joined),
            is_torn: is(0),
            stays_home: is(1),
        })
    }

    /// The reader that has joined.
    pub fn joined(&self) -> Option<Joined> {
        self.joined
    }

    /// Whether nothing was looked at yet, so that a reader may join.
    pub fn may_be_joined(&self) -> bool {
        let is_open = self.begun.is_some_and(|begun| !begun.is_homes);
        is_open && self.joined.is_none() && !self.stays_home
    }

    /// Whether its data are of a time of which nobody has any more.
    pub fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Whether this session's transactions are the home's.
    pub fn stays_home(&self) -> bool {
        self.stays_home
    }

    /// A reader joins the transaction that is open, or that the next command begins.
    pub(super) fn handle_joined(&mut self, joined: Joined) {
        self.joined = Some(joined);
    }

    /// The reader's transaction is over.
    pub(super) fn handle_parted(&mut self) {
        let parted = self.joined.take();
        self.is_torn |= parted.is_some_and(|joined| joined.is_read_only && joined.has_read);
        self.handle_own_ways();
    }

    /// From now on they are the home's.
    pub(super) fn handle_unfit(&mut self) {
        self.stays_home = true;
    }

    /// A statement goes to this link.
    pub(super) fn handle_statement(
        &mut self,
        (class, asks, changes): (Class, Asks, Changes),
        link: LinkId,
        is_open: bool,
    ) {
        if let Class::Begin { access, .. } = class {
            let is_read_only = access == Access::ReadOnly;
            // Who reads in it has joined before.
            let is_homes = is_read_only && self.joined.is_none();
            self.begun = Some(Begun { is_read_only, is_homes, is_sure: false });
            self.is_torn = false;
            return;
        }
        let may_end = changes.intersects(Changes::TRANSACTION | Changes::ANYTHING);
        if !is_open || may_end && class != Class::Savepoint {
            self.begun = None;
        }
        let is_end = matches!(class, Class::Commit(_) | Class::Rollback(_));
        self.is_torn &= is_open && !is_end;
        let is_write = matches!(class, Class::Write | Class::Ddl | Class::LockingRead);
        if looks_at_data(class, asks) || is_write {
            self.handle_look(link);
        }
        if changes.intersects(Changes::VARIABLES) && self.joined.is_none() {
            // Perhaps of how the next one is to be: a reader's would be like that already.
            self.handle_own_ways();
        }
    }

    /// The one that is open may be of another isolation level or access mode than a reader's would
    /// be, which begins with what the session has now.
    pub(super) fn handle_own_ways(&mut self) {
        self.begun.iter_mut().for_each(|begun| begun.is_homes = true);
    }

    /// A statement that may look at data goes to this link.
    pub(super) fn handle_look(&mut self, link: LinkId) {
        match (&mut self.joined, &mut self.begun) {
            (Some(joined), _) if joined.link == link.place() => joined.has_read = true,
            (_, Some(begun)) if link == LinkId::HOME => begun.is_homes = true,
            _ => {}
        }
    }

    /// The home has answered.
    pub(super) fn handle_end(&mut self, is_error: bool) {
        self.begun = self.begun.filter(|begun| begun.is_sure || !is_error);
        self.begun.iter_mut().for_each(|begun| begun.is_sure = true);
    }

    /// Whether there is nothing to be known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nobody goes on with it who does not know of readers.
    pub fn is_joined(&self) -> bool {
        self.joined.is_some() || self.is_torn
    }
}

/// Whether a statement may look at data, so that in a transaction it matters of which time those
/// are.
pub fn looks_at_data(class: Class, asks: Asks) -> bool {
    let is_about_others = matches!(
        class,
        Class::Show
            | Class::Explain
            | Class::Write
            | Class::Ddl
            | Class::Admin
            | Class::Lock
            | Class::Savepoint
            | Class::Begin { .. }
            | Class::Commit(_)
            | Class::Rollback(_)
            | Class::Use
            | Class::Prepare
            | Class::Deallocate
            | Class::Diagnostics
    );
    !is_about_others && asks.intersects(Asks::TABLES | Asks::ANYTHING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::analysis::analyse;
    use crate::sql::{Extent, Modes};

    /// `>`: to the reader, `+`: a reader joins, `-`: it parts, `!`: and fails, `.`: not in one.
    fn after(steps: &[&str]) -> Transaction {
        let (mut transaction, reader) = (Transaction::default(), LinkId::at(1));
        for step in steps {
            let sql = step.trim_start_matches(['>', '!', '.']);
            let link = if step.starts_with('>') { reader } else { LinkId::HOME };
            match sql {
                "+" => transaction.handle_joined(Joined::new(reader, true)),
                "-" => transaction.handle_parted(),
                _ => {
                    let of = analyse(sql.as_bytes(), Extent::Whole, Modes::USUAL);
                    let of = (of.class, of.asks, of.changes);
                    transaction.handle_statement(of, link, !step.starts_with('.'));
                    transaction.handle_end(step.starts_with('!'));
                }
            }
        }
        transaction
    }

    #[test]
    fn what_looks_at_data_at_home_keeps_readers_out() {
        for (steps, may_be_joined) in [
            (&["BEGIN"][..], true),
            (&["START TRANSACTION"], true),
            (&["BEGIN", "SET @a = 1", "SELECT 1", "SHOW TABLES", "SAVEPOINT a"], true),
            (&[], false),
            (&["BEGIN", ".SELECT 1"], false),
            (&["!BEGIN"], false),
            (&["BEGIN", "!SELECT nothing"], true),
            (&["BEGIN", "SELECT n FROM t"], false),
            (&["BEGIN", "SELECT n FROM t FOR UPDATE"], false),
            (&["BEGIN", "!UPDATE t SET n = 1"], false),
            (&["BEGIN", "SET @a = (SELECT n FROM t)"], false),
            (&["BEGIN", "SELECT f()"], false),
            (&["BEGIN", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"], false),
            (&["BEGIN", "SET SESSION TRANSACTION READ ONLY", "COMMIT", "BEGIN"], true),
            (&["BEGIN", "SET tx_read_only = 1"], false),
            (&["BEGIN", "CALL p()"], false),
            (&["BEGIN", "COMMIT"], false),
            (&["BEGIN", "COMMIT AND CHAIN"], false),
            (&["BEGIN", "CREATE TABLE x (n INT)"], false),
            (&["BEGIN", "ROLLBACK TO a"], true),
            (&["BEGIN", "SET autocommit = 0"], false),
            (&["BEGIN", "UPDATE t SET n = 1", "BEGIN"], true),
            (&["START TRANSACTION READ ONLY"], false),
            (&["BEGIN", "+"], false),
            (&["BEGIN", "+", "-"], false),
            (&["BEGIN", "+", "-", "BEGIN"], true),
        ] {
            assert_eq!(after(steps).may_be_joined(), may_be_joined, "{steps:?}");
        }
    }

    #[test]
    fn what_was_read_elsewhere_is_missed_until_the_end() {
        let begin = ["+", "START TRANSACTION READ ONLY"];
        for (steps, is_torn) in [
            (&["-", "SELECT n FROM t"][..], false),
            (&[">SELECT n FROM t", "-", "!CREATE TABLE x (n INT)"], true),
            (&[">SELECT n FROM t", "-", "CREATE TABLE x (n INT)", ".SELECT 1"], false),
            (&[">SELECT n FROM t", "-", "COMMIT AND CHAIN"], false),
            (&[">SELECT n FROM t", "-", "BEGIN"], false),
        ] {
            assert_eq!(after(&[&begin[..], steps].concat()).is_torn(), is_torn, "{steps:?}");
        }
    }

    #[test]
    fn who_has_joined_has_read_once_it_was_asked() {
        for (steps, has_read) in [
            (&["+", "START TRANSACTION READ ONLY"][..], Some(false)),
            (&["+", "START TRANSACTION READ ONLY", "SELECT 1", "SET @a = 1"], Some(false)),
            (&["+", "START TRANSACTION READ ONLY", ">SELECT n FROM t"], Some(true)),
            (&["BEGIN", "+", ">SELECT nothing FROM t"], Some(true)),
            (&["BEGIN", "+", ">SELECT n FROM t", "-"], None),
        ] {
            let joined = after(steps).joined();
            assert_eq!(joined.map(|joined| joined.has_read), has_read, "{steps:?}");
        }
    }
}
