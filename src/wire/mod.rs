//! MySQL on the wire. Pure: no tokio, no clock, no randomness, no logging.
//!
//! Nothing here copies a payload: a packet's header is parsed and at most [`response::HEAD`] bytes
//! of the packet that starts a logical one are looked at. What is needed is looked at in place, so
//! a half-read packet is a few bytes in the caller's buffer and no state of ours.

pub mod authentication;
pub mod command;
pub mod compressed;
pub mod err;
pub mod flavour;
pub mod handshake;
pub mod id;
pub mod packet;
pub mod parameter;
pub mod response;
pub mod result;
pub mod rows;

/// Capability flags (MySQL protocol, "Capabilities Flags"; MariaDB's extended ones are shifted by
/// 32).
///
/// Bit 27 is QUERY_ATTRIBUTES in MySQL and Oracle mode in OceanBase; 25 and 26 are reserved there.
pub mod capability {
    #![allow(missing_docs)]
    pub const LONG_PASSWORD: u32 = 1;
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    pub const COMPRESS: u32 = 1 << 5;
    pub const LOCAL_FILES: u32 = 1 << 7;
    pub const PROTOCOL_41: u32 = 1 << 9;
    pub const SSL: u32 = 1 << 11;
    pub const TRANSACTIONS: u32 = 1 << 13;
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    pub const MULTI_STATEMENTS: u32 = 1 << 16;
    pub const MULTI_RESULTS: u32 = 1 << 17;
    pub const PS_MULTI_RESULTS: u32 = 1 << 18;
    pub const PLUGIN_AUTH: u32 = 1 << 19;
    pub const CONNECT_ATTRS: u32 = 1 << 20;
    pub const PLUGIN_AUTH_LENENC: u32 = 1 << 21;
    pub const EXPIRED_PASSWORDS: u32 = 1 << 22;
    pub const SESSION_TRACK: u32 = 1 << 23;
    pub const DEPRECATE_EOF: u32 = 1 << 24;
    pub const OPTIONAL_METADATA: u32 = 1 << 25;
    pub const ZSTD: u32 = 1 << 26;
    pub const QUERY_ATTRIBUTES: u32 = 1 << 27;
    pub const MULTI_FACTOR: u32 = 1 << 28;
    pub const SSL_VERIFY_SERVER_CERT: u32 = 1 << 30;
    /// What a leg does for itself and is therefore never passed on from the other one.
    pub const OF_THE_LEG: u32 = COMPRESS | SSL | ZSTD | SSL_VERIFY_SERVER_CERT;
    /// What says how a log-in looks, and nothing of what comes after it.
    pub const OF_THE_LOG_IN: u32 =
        LONG_PASSWORD | CONNECT_ATTRS | PLUGIN_AUTH_LENENC | EXPIRED_PASSWORDS | MULTI_FACTOR;

    pub mod mariadb {
        pub const PROGRESS: u32 = 1;
        pub const EXTENDED_TYPES: u32 = 1 << 3;
        pub const CACHE_METADATA: u32 = 1 << 4;
    }
}

/// Server status flags, as in OK and EOF packets.
pub mod status {
    #![allow(missing_docs)]
    pub const IN_TRANS: u16 = 0x0001;
    pub const AUTOCOMMIT: u16 = 0x0002;
    pub const MORE_RESULTS: u16 = 0x0008;
    pub const CURSOR_EXISTS: u16 = 0x0040;
    pub const LAST_ROW_SENT: u16 = 0x0080;
    pub const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
    pub const PS_OUT_PARAMS: u16 = 0x1000;
    pub const IN_TRANS_READONLY: u16 = 0x2000;
}

/// MYSQL_TYPE_*: types of columns and of parameters, as far as somebody tells them apart.
pub mod kind {
    #![allow(missing_docs)]
    pub const DECIMAL: u8 = 0;
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const NULL: u8 = 6;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const YEAR: u8 = 13;
    pub const BOOL: u8 = 244;
    pub const NEWDECIMAL: u8 = 246;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const GEOMETRY: u8 = 255;
}
