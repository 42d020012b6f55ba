//! What a client can ask, and what kind of answer each command gets.
//!
//! The table covers every COM_* of MySQL 5.7 to 9 and MariaDB; a code that nobody knows gets one
//! packet (ERR 1047) from any server, and so does an empty packet.

use serde::{Deserialize, Serialize};

/// Command codes: the first payload byte of a command packet.
#[allow(missing_docs)]
pub mod code {
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_INFO: u8 = 0x0A;
    pub const PROCESS_KILL: u8 = 0x0C;
    pub const PING: u8 = 0x0E;
    pub const CHANGE_USER: u8 = 0x11;
    pub const BINLOG_DUMP: u8 = 0x12;
    pub const TABLE_DUMP: u8 = 0x13;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_RESET: u8 = 0x1A;
    pub const SET_OPTION: u8 = 0x1B;
    pub const STMT_FETCH: u8 = 0x1C;
    pub const DAEMON: u8 = 0x1D;
    pub const BINLOG_DUMP_GTID: u8 = 0x1E;
    pub const RESET_CONNECTION: u8 = 0x1F;
    pub const CLONE: u8 = 0x20;
    pub const STMT_BULK_EXECUTE: u8 = 0xFA;
}

/// The statement that MariaDB's clients execute when they do not know its id yet: what was prepared
/// last.
pub const LATEST: u32 = u32::MAX;

/// COM_STMT_EXECUTE: "PARAMETER_COUNT_AVAILABLE": the count is told, and query attributes may be
/// among them.
pub const COUNT_AVAILABLE: u8 = 0x08;

/// The kind of answer a command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// None at all.
    None,
    /// OK, ERR, LOCAL INFILE request or result sets.
    ResultSets,
    /// The same, but it may stop after the definitions with a cursor open.
    Execute,
    /// Prepare-OK with definitions, or ERR.
    Prepare,
    /// Rows of a cursor, no definitions.
    Fetch,
    /// Definitions without a count.
    Fields,
    /// One packet.
    One,
    /// An authentication exchange.
    Auth,
    /// Packets without end, until EOF or ERR.
    Stream,
    /// A protocol of its own that is not followed.
    Foreign,
}

/// The kind of answer to a command packet that starts with this byte; None is an empty packet.
pub fn reply(code: Option<u8>) -> Reply {
    match code {
        Some(code::QUERY | code::STMT_BULK_EXECUTE | code::PROCESS_INFO) => Reply::ResultSets,
        Some(code::STMT_EXECUTE) => Reply::Execute,
        Some(code::QUIT | code::STMT_SEND_LONG_DATA | code::STMT_CLOSE) => Reply::None,
        Some(code::STMT_PREPARE) => Reply::Prepare,
        Some(code::STMT_FETCH) => Reply::Fetch,
        Some(code::FIELD_LIST) => Reply::Fields,
        Some(code::CHANGE_USER) => Reply::Auth,
        Some(code::BINLOG_DUMP | code::BINLOG_DUMP_GTID | code::TABLE_DUMP | code::DAEMON) => {
            Reply::Stream
        }
        Some(code::CLONE) => Reply::Foreign,
        _ => Reply::One,
    }
}
