//! What a statement may do to a session, and what it asks of it. Pure; one pass, no allocation.
//!
//! It is no parser: it reads the words that begin a statement, and of the rest only what matters
//! (calls, variables, locking clauses). What it is not sure of it takes for the worst. It sees the
//! text and nothing else: that triggers and routines may do something it says, and [`program`] what
//! the body of one may do. What a view does is not in here.
//!
//! Invariant: [`Class::Read`] is said only of a whole statement that is a query and nothing else,
//! of which every function is known to be pure on every server.

mod bits;
mod functions;
mod hints;
mod key;
mod long;
mod named;
mod prepared;
mod programs;
mod scan;
mod set;
mod several;
mod statement;
mod transaction;
mod unread;
pub mod wishes;

pub use bits::{Asks, Changes};
pub use hints::{Consistency, Hints};
pub use long::Long;
pub use named::{UserVariable, user_variables};
pub use prepared::prepared_text;
pub use programs::{Program, program};
use scan::Scan;
pub use several::{calls, statements};
pub use unread::unread;

use super::lexer::{Extent, Modes};

/// What kind of statement a text is.
///
/// Where [`Changes::ANYTHING`] is said too, it is the kind of what the text begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// A query that any server with the same data and the same session answers in the same way,
    /// and that leaves nothing behind. User and system variables it may ask for.
    Read,
    /// A query that may not be one: see what it changes and asks.
    Select,
    /// A query with FOR UPDATE, FOR SHARE, or LOCK IN SHARE MODE.
    LockingRead,
    /// INSERT, REPLACE, UPDATE, DELETE, LOAD.
    Write,
    /// It changes definitions, accounts or rights.
    Ddl,
    /// BEGIN or START TRANSACTION.
    Begin {
        /// READ ONLY or READ WRITE.
        access: Access,
        /// WITH CONSISTENT SNAPSHOT.
        consistent_snapshot: bool,
    },
    /// COMMIT.
    Commit(Completion),
    /// ROLLBACK, of all of the transaction.
    Rollback(Completion),
    /// SAVEPOINT, RELEASE SAVEPOINT, ROLLBACK TO SAVEPOINT.
    Savepoint,
    /// XA.
    Xa(Xa),
    /// SET.
    Set,
    /// USE.
    Use,
    /// SHOW or HELP.
    Show,
    /// EXPLAIN and the like, of what is not executed or only reads.
    Explain,
    /// PREPARE.
    Prepare,
    /// EXECUTE, also EXECUTE IMMEDIATE.
    Execute,
    /// DEALLOCATE PREPARE or DROP PREPARE.
    Deallocate,
    /// CALL.
    Call,
    /// DO.
    Do,
    /// HANDLER.
    Handler,
    /// LOCK, UNLOCK or BACKUP.
    Lock,
    /// GET DIAGNOSTICS, SIGNAL or RESIGNAL.
    Diagnostics,
    /// FLUSH, KILL, CHECK TABLE and other things that concern a server.
    Admin,
    /// Several statements.
    Multi,
    /// A block of statements, which is no beginning of a transaction.
    Compound,
    /// Not known.
    #[default]
    Unknown,
}

/// The access mode of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// As the session has it.
    Default,
    /// READ ONLY
    ReadOnly,
    /// READ WRITE
    ReadWrite,
}

/// What follows the end of a transaction. None: as `completion_type` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// AND CHAIN, or AND NO CHAIN: another transaction begins at once.
    pub chain: Option<bool>,
    /// RELEASE, or NO RELEASE: the session ends.
    pub release: Option<bool>,
}

/// Statements about XA transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xa {
    /// XA START or XA BEGIN.
    Start,
    /// XA END.
    End,
    /// XA PREPARE.
    Prepare,
    /// XA COMMIT.
    Commit,
    /// XA ROLLBACK.
    Rollback,
    /// XA RECOVER.
    Recover,
}

/// What the text of a statement tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Analysis<'a> {
    /// What it is.
    pub class: Class,
    /// What it may change in its session.
    pub changes: Changes,
    /// What it may ask of its session or server.
    pub asks: Asks,
    /// What its comments ask of the proxy.
    pub hints: Hints<'a>,
    /// The database of USE, the statement of PREPARE, EXECUTE and DEALLOCATE, the branch of XA,
    /// the text behind EXPLAIN ROUTE.
    /// None where it does not stand there plainly, as with a quote in it.
    pub name: Option<&'a [u8]>,
}

impl Analysis<'_> {
    /// Whether this may be changed.
    pub fn may_change(&self, changes: Changes) -> bool {
        self.changes.intersects(changes | Changes::ANYTHING | Changes::CALLED)
    }

    /// Whether this may be asked.
    pub fn may_ask(&self, asks: Asks) -> bool {
        self.asks.intersects(asks | Asks::ANYTHING)
    }
}

/// Tells what a statement is. Of a beginning it tells only what holds however it goes on.
pub fn analyse(sql: &[u8], extent: Extent, modes: Modes) -> Analysis<'_> {
    let mut scan = Scan::new(sql, extent, modes);
    let class = scan.text();
    const SETS: Changes = Changes::USER_VARIABLES.with(Changes::CALLED).with(Changes::ANYTHING);
    if scan.names_wish && scan.changes.intersects(SETS) {
        scan.changes |= Changes::ROUTING;
    }
    let Scan { changes, asks, hints, name, .. } = scan;
    Analysis { class, changes, asks, hints, name }
}

#[cfg(test)]
mod tests;
