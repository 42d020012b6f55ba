//! What keeps a session on its server: state that nobody can carry, and what is not known.
//!
//! A pin is set by what a command may have done, once it was answered, and taken back by what
//! surely undoes it. Whether there are temporary tables the server tells when it is asked.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sql::analysis::Changes;

/// Reasons to stay, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pins(u32);

macro_rules! pins {
    ($($(#[doc = $doc:literal])* $name:ident = $bit:literal: $reason:literal,)*) => {
        impl Pins {
            $($(#[doc = $doc])* pub const $name: Self = Self(1 << $bit);)*

            /// Each with what people are told.
            const ALL: &[(Self, &str)] = &[$((Self::$name, $reason)),*];
        }
    };
}

pins! {
    /// GET_LOCK.
    USER_LOCK = 0: "user lock",
    /// LOCK TABLES, FLUSH TABLES t WITH READ LOCK.
    TABLE_LOCK = 1: "LOCK TABLES",
    /// FLUSH TABLES WITH READ LOCK.
    GLOBAL_LOCK = 2: "FLUSH TABLES WITH READ LOCK",
    /// LOCK INSTANCE FOR BACKUP, BACKUP STAGE.
    BACKUP_LOCK = 3: "backup lock",
    /// HANDLER … OPEN.
    HANDLER = 4: "HANDLER",
    /// Between XA START and the XA COMMIT or XA ROLLBACK of that branch. Others may begin in
    /// between: MySQL takes what is prepared out of the session, but not to other servers.
    XA = 5: "XA transaction",
    /// SET TRANSACTION for the next one only.
    NEXT_TRANSACTION = 6: "SET TRANSACTION for the next transaction",
    /// LASTVAL, PREVIOUS VALUE FOR.
    SEQUENCE = 7: "last value of a sequence",
    /// PREPARE in text, of what is not known.
    TEXT_PREPARE = 8: "PREPARE",
    /// A temporary table; told by the lexer, or the server.
    TEMPORARY_TABLE = 9: "temporary table",
    /// A procedure, a stored function, a statement that is too long: nobody knows.
    UNKNOWN = 10: "a statement that may have done anything",
    /// COM_STMT_SEND_LONG_DATA before its COM_STMT_EXECUTE.
    LONG_DATA = 11: "long data pending",
    /// A cursor.
    CURSOR = 12: "open cursor",
    /// A prepared statement that is too long, or one too many.
    FORGOTTEN = 13: "prepared statements that are not remembered",
    /// A replica is streamed to.
    STREAM = 14: "binlog dump",
    /// The generator of RAND() was set.
    RANDOM = 15: "rand_seed",
    /// Its statements were prepared under other modes or character sets than are in force.
    OTHER_MODES = 16: "statements prepared under another sql_mode or character set",
    /// FLUSH STATUS: the counter that tells of temporary tables was reset.
    STATUS = 18: "FLUSH STATUS",
    /// SHOW WARNINGS would show something: until the next statement.
    DIAGNOSTICS = 17: "warnings or an error of its last statement",
    /// ROW_COUNT() of a write: until the next statement.
    ROW_COUNT = 19: "ROW_COUNT() of its last statement",
    /// MARIADB_CLIENT_CACHE_METADATA: a server tells the columns of a prepared statement once.
    COLUMNS = 20: "columns that its server does not tell again",
    /// XA START while another branch had begun: which of them are left is not known.
    BRANCHES = 22: "XA transactions",
    /// It is another user's than the one that has logged in, until there is a log-in again.
    IDENTITY = 21: "SET SESSION AUTHORIZATION",
}

impl Pins {
    /// What a question puts away, or must not stand in.
    pub const NOTICED: Self = Self(
        Self::DIAGNOSTICS.0
            | Self::ROW_COUNT.0
            | Self::XA.0
            | Self::NEXT_TRANSACTION.0
            | Self::STREAM.0
            | Self::UNKNOWN.0,
    );

    /// What keeps a session from moving, and none of its reads from going elsewhere: who asks for
    /// the last value of a sequence asks the home.
    pub const OF_MOVES: Self = Self::SEQUENCE;

    /// From [`Pins::bits`].
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As a number.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether nothing keeps the session.
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// Both sets.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// What is in both sets.
    #[must_use]
    pub fn only(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// The set without those.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether any of those is in it.
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    /// What a command that has changed this leaves, besides those that were there.
    #[must_use]
    pub fn after(self, changes: Changes) -> Self {
        let released = RELEASED.iter().filter(|(change, _)| changes.intersects(*change));
        let set = SET.iter().filter(|(change, _)| changes.intersects(*change));
        // Of a branch that was prepared nothing is known any more.
        let is_another = self.has(Self::XA) && changes.intersects(Changes::XA);
        let others = if is_another { Self::BRANCHES } else { Self::default() };
        let without = released.fold(self, |pins, (_, pin)| pins.without(*pin));
        set.fold(without.with(others), |pins, (_, pin)| pins.with(*pin))
    }
}

/// What a change sets.
const SET: &[(Changes, Pins)] = &[
    (Changes::USER_LOCK_TAKEN, Pins::USER_LOCK),
    (Changes::TABLE_LOCKS_TAKEN, Pins::TABLE_LOCK),
    (Changes::GLOBAL_READ_LOCK_TAKEN, Pins::GLOBAL_LOCK),
    (Changes::BACKUP_LOCK_TAKEN, Pins::BACKUP_LOCK),
    (Changes::HANDLER_OPENED, Pins::HANDLER),
    (Changes::XA, Pins::XA),
    (Changes::NEXT_TRANSACTION, Pins::NEXT_TRANSACTION),
    (Changes::SEQUENCE, Pins::SEQUENCE),
    (Changes::STATEMENTS, Pins::TEXT_PREPARE),
    (Changes::TEMPORARY_TABLE_MADE, Pins::TEMPORARY_TABLE),
    (Changes::RANDOM_SEED, Pins::RANDOM),
    (Changes::STATUS, Pins::STATUS),
    (Changes::IDENTITY, Pins::IDENTITY),
    (Changes::ANYTHING, Pins::UNKNOWN),
    // Those whose texts are known were told apart before.
    (Changes::EXECUTED, Pins::UNKNOWN),
];

/// What a change takes back. Of several temporary tables one may be left; handlers are counted.
const RELEASED: &[(Changes, Pins)] = &[
    (Changes::TABLE_LOCKS_RELEASED, Pins::TABLE_LOCK),
    (Changes::TABLE_LOCKS_RELEASED, Pins::GLOBAL_LOCK),
    (Changes::BACKUP_LOCK_RELEASED, Pins::BACKUP_LOCK),
    (Changes::TRANSACTION, Pins::NEXT_TRANSACTION),
    (Changes::XA_ENDED, Pins::XA),
    (Changes::USER_LOCKS_RELEASED, Pins::USER_LOCK),
];

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = Self::ALL.iter().filter(|(pin, _)| self.has(*pin));
        for (at, (_, reason)) in reasons.enumerate() {
            write!(f, "{}{reason}", if at > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
