//! What a statement may change in a session, and what it asks of it: two sets of bits.
//!
//! Each bit says *may*: a set is the most that a text allows, never less.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use serde::{Deserialize, Serialize};

macro_rules! bits {
    ($(#[$head:meta])* $set:ident { $($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)? }) => {
        $(#[$head])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $set(u32);

        impl $set {
            const NAMES: &[&str] = &[$($text),+];

            bits!(@ 0; $($(#[$doc])* $name)+);

            /// As a number, of meaning for this build only.
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// The same, back.
            pub const fn of_bits(bits: u32) -> Self {
                Self(bits)
            }

            /// Whether one of these is in here.
            pub const fn intersects(self, others: Self) -> bool {
                self.0 & others.0 != 0
            }

            /// Whether there is nothing in here.
            pub const fn is_empty(&self) -> bool {
                self.0 == 0
            }

            /// What is in here and not in the other.
            pub const fn without(self, others: Self) -> Self {
                Self(self.0 & !others.0)
            }

            /// What is in both.
            pub const fn only(self, others: Self) -> Self {
                Self(self.0 & others.0)
            }

            /// What is in either.
            pub const fn with(self, others: Self) -> Self {
                Self(self.0 | others.0)
            }

            /// The names of what is in here.
            pub fn names(self) -> impl Iterator<Item = &'static str> {
                let named = Self::NAMES.iter().enumerate();
                named.filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| *name)
            }
        }

        impl BitOr for $set {
            type Output = Self;

            fn bitor(self, others: Self) -> Self {
                self.with(others)
            }
        }

        impl BitOrAssign for $set {
            fn bitor_assign(&mut self, others: Self) {
                *self = self.with(others);
            }
        }

        impl fmt::Debug for $set {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_set().entries(self.names()).finish()
            }
        }
    };
    (@ $at:expr; $(#[$doc:meta])* $name:ident $($rest:tt)*) => {
        $(#[$doc])*
        pub const $name: Self = Self(1 << ($at));
        bits!(@ $at + 1; $($rest)*);
    };
    (@ $at:expr;) => {};
}

bits! {
    /// What a statement may change in its session.
    Changes {
        /// Anything at all, all of the others too: a text that is not understood.
        ANYTHING = "anything",
        /// Warnings, ROW_COUNT() and the like. Nearly every statement does, and most of them
        /// nothing else.
        DIAGNOSTICS = "diagnostics",
        /// Several things, one after the other: when one fails those before it are done.
        SEVERAL = "several",
        /// System variables of the session.
        VARIABLES = "variables",
        /// Of these, what the lexing of statements depends on: see [`Modes`](crate::sql::Modes).
        LEXING = "lexing",
        /// `rand_seed1` or `rand_seed2`.
        RANDOM_SEED = "random seed",
        /// User variables.
        USER_VARIABLES = "user variables",
        /// The current database.
        SCHEMA = "schema",
        /// Statements prepared by PREPARE.
        STATEMENTS = "statements",
        /// A temporary table may be there afterwards.
        TEMPORARY_TABLE_MADE = "temporary table made",
        /// A lock of GET_LOCK.
        USER_LOCK_TAKEN = "user lock taken",
        /// All locks of GET_LOCK are given back.
        USER_LOCKS_RELEASED = "user locks released",
        /// LOCK TABLES and the like.
        TABLE_LOCKS_TAKEN = "table locks taken",
        /// UNLOCK TABLES. It ends the global read lock too.
        TABLE_LOCKS_RELEASED = "table locks released",
        /// FLUSH TABLES WITH READ LOCK.
        GLOBAL_READ_LOCK_TAKEN = "global read lock taken",
        /// LOCK INSTANCE FOR BACKUP, BACKUP STAGE, BACKUP LOCK.
        BACKUP_LOCK_TAKEN = "backup lock taken",
        /// UNLOCK INSTANCE, BACKUP UNLOCK, BACKUP STAGE END.
        BACKUP_LOCK_RELEASED = "backup lock released",
        /// HANDLER … OPEN.
        HANDLER_OPENED = "handler opened",
        /// HANDLER … CLOSE, of one.
        HANDLER_CLOSED = "handler closed",
        /// XA START.
        XA = "xa",
        /// XA COMMIT or XA ROLLBACK.
        XA_ENDED = "xa ended",
        /// SET TRANSACTION for the next transaction only.
        NEXT_TRANSACTION = "next transaction",
        /// A transaction begins or ends, be it by itself.
        TRANSACTION = "transaction",
        /// What LASTVAL() of a sequence tells.
        SEQUENCE = "sequence",
        /// LAST_INSERT_ID().
        LAST_INSERT_ID = "last insert id",
        /// The role.
        ROLE = "role",
        /// Counters of SHOW STATUS.
        STATUS = "status",
        /// Whatever the stored routines do that it calls: [`calls`](super::calls) tells which.
        CALLED = "called",
        /// Whatever triggers of the server do in a session: [`program`](super::program) tells of
        /// each.
        TRIGGERS = "triggers",
        /// Whatever a statement does that was prepared by PREPARE.
        EXECUTED = "executed",
        /// One of the user variables that say where statements go: see
        /// [`wishes`](super::wishes::wishes).
        ROUTING = "routing",
        /// Whose session it is, which begins anew as that one's: SET SESSION AUTHORIZATION.
        IDENTITY = "identity",
    }
}

bits! {
    /// What a statement may ask of its session, or of the server it runs on.
    Asks {
        /// Anything: see [`Changes::ANYTHING`].
        ANYTHING = "anything",
        /// What the statement before left: warnings, ROW_COUNT(), FOUND_ROWS().
        DIAGNOSTICS = "diagnostics",
        /// LAST_INSERT_ID() or `@@identity`.
        LAST_INSERT_ID = "last insert id",
        /// User variables.
        USER_VARIABLES = "user variables",
        /// System variables that a session has values of its own of.
        VARIABLES = "variables",
        /// What every server has its own answer to: CONNECTION_ID(), VERSION(), `@@server_id`,
        /// global variables, user locks, system tables.
        SERVER = "server",
        /// LASTVAL() of a sequence.
        SEQUENCE = "sequence",
        /// RAND() without a seed.
        RANDOM = "random",
        /// Tables, which may be temporary ones.
        TABLES = "tables",
        /// Of what the statement before left, FOUND_ROWS().
        FOUND_ROWS = "found rows",
        /// Of what the statement before left, ROW_COUNT().
        ROW_COUNT = "row count",
        /// Of what the statement before left, warnings and errors.
        WARNINGS = "warnings",
    }
}
