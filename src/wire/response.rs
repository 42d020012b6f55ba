//! Where does this answer end? OK, ERR, EOF, LOCAL INFILE, multi-result, cursors.
//!
//! One [`Answer`] follows the packets that a server sends for one command. It sees the first packet
//! of each logical packet: its length and at most [`HEAD`] bytes. Rows, definitions and parameters
//! are never held. Columns are not counted where EOF packets tell the end, because the 16-bit count
//! of a prepare-OK wraps on real servers.
//!
//! ```text
//!  ResultSets ─┬─ OK ───────────────────────────────┬─ MORE_RESULTS ─► ResultSets
//!  Execute     ├─ 0xFB ─► (client sends a file) ─► ResultSets
//!              ├─ ERR ──► end                        └─ else ─► end
//!              └─ count ─► Definitions ─► Rows ─► terminator ─► as OK
//!                               └─ EOF with CURSOR_EXISTS (Execute) ─► end
//!  Prepare ─── prepare-OK ─► PrepareDefinitions | PrepareUntilEof ─► end      ERR ─► end
//!  Rows (FETCH) ─► terminator ─► end      Fields ─► EOF ─► end      One ─► end
//!  Auth ─► OK | ERR ─► end                Stream ─► EOF | ERR ─► end
//! ```

use serde::{Deserialize, Serialize};

use super::capability as cap;
use super::command::Reply;
use super::packet::{Header, MAX_PAYLOAD, lenenc};
use super::status;

/// How many payload bytes of a packet must be seen: an OK packet up to its warnings.
pub const HEAD: usize = 24;

/// What was negotiated, as far as it changes the shape of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialect {
    /// CLIENT_DEPRECATE_EOF: result sets end with an OK packet, definitions with nothing.
    pub deprecate_eof: bool,
    /// Definitions may be left out (MariaDB's cached metadata, MySQL's optional metadata).
    pub metadata_flag: bool,
    /// MariaDB's progress reports.
    pub progress: bool,
}

impl Dialect {
    /// The dialect of a connection with these capabilities on both legs.
    pub fn new(capabilities: u32, extended: u32) -> Self {
        let mariadb = capabilities & cap::LONG_PASSWORD == 0;
        let cached = mariadb && extended & cap::mariadb::CACHE_METADATA != 0;
        let optional = !mariadb && capabilities & cap::OPTIONAL_METADATA != 0;
        Self {
            deprecate_eof: capabilities & cap::DEPRECATE_EOF != 0,
            metadata_flag: cached || optional,
            progress: mariadb && extended & cap::mariadb::PROGRESS != 0,
        }
    }
}

/// The status flags of the session as the server last told them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerStatus {
    /// From an OK or EOF packet.
    Known(u16),
    /// An ERR packet carries no status: a deadlock ended the transaction, a lock wait did not.
    #[default]
    Unknown,
}

impl ServerStatus {
    /// Whether a statement outside a transaction is one of its own: autocommit.
    pub fn commits_by_itself(self) -> bool {
        matches!(self, Self::Known(flags) if flags & status::AUTOCOMMIT != 0)
    }

    /// Whether a transaction is open, or may be.
    pub fn may_be_in_transaction(self) -> bool {
        match self {
            Self::Known(flags) => flags & (status::IN_TRANS | status::IN_TRANS_READONLY) != 0,
            Self::Unknown => true,
        }
    }
}

/// What one packet meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More packets follow.
    Continues,
    /// A row; more packets follow.
    Row,
    /// The server asks for a file: the client's packets up to an empty one are data.
    LocalInfile,
    /// The answer is over.
    Ends(Ending),
    /// No answer has such a packet here.
    Impossible,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With OK, or with a packet that is neither.
    Ok,
    /// With ERR.
    Error,
    /// With the end of a result set.
    ResultSet,
}

/// How many warnings an OK or EOF packet tells of; 0 for what is neither.
pub fn warnings(head: &[u8], dialect: Dialect) -> u16 {
    let word = |at: usize| Some(u16::from_le_bytes(*head.get(at..)?.first_chunk()?));
    let of_ok = || {
        let (_, affected) = lenenc(head.get(1..)?)?;
        let (_, insert_id) = lenenc(head.get(1 + affected..)?)?;
        word(1 + affected + insert_id + 2)
    };
    let told = match head.first() {
        Some(0xFE) if !dialect.deprecate_eof => word(1),
        Some(0x00 | 0xFE) => of_ok(),
        _ => None,
    };
    told.unwrap_or_default()
}

/// Whether an ERR packet says that the server could not read a statement, or that there is none:
/// ER_PARSE_ERROR, ER_EMPTY_QUERY.
pub fn is_unread(head: &[u8]) -> bool {
    let code = head.strip_prefix(&[0xFF]).and_then(|rest| rest.first_chunk());
    matches!(code.map(|code| u16::from_le_bytes(*code)), Some(1064 | 1065))
}

/// Whether an ERR packet says that a statement names or calls something that is not there, or may
/// not be used: before any of it was executed, if it runs no other statements. Unknown columns and
/// tables, wrong numbers of arguments, privileges.
pub fn is_unresolved(head: &[u8]) -> bool {
    let code = head.strip_prefix(&[0xFF]).and_then(|rest| rest.first_chunk());
    let code = code.map(|code| u16::from_le_bytes(*code));
    matches!(code, Some(1044 | 1049 | 1051 | 1052 | 1054 | 1066 | 1109 | 1142 | 1143 | 1146))
        || matches!(code, Some(1064 | 1222 | 1305 | 1370 | 1582..=1584 | 1630 | 4091))
}

/// How many rows were changed, as an OK packet tells; 0 for what is none.
pub fn changed_rows(head: &[u8]) -> u64 {
    let affected = head.strip_prefix(&[0x00]).and_then(lenenc);
    affected.map_or(0, |(affected, _)| affected)
}

/// The answer to one command, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The first packet of a result.
    ResultSets {
        /// It may leave a cursor open.
        execute: bool,
    },
    /// Column definitions, counted: nothing marks their end.
    Definitions {
        /// How many are to come.
        left: u64,
        /// It may leave a cursor open.
        execute: bool,
    },
    /// Column definitions up to an EOF packet.
    DefinitionsUntilEof {
        /// It may leave a cursor open.
        execute: bool,
    },
    /// Rows up to a terminator.
    Rows {
        /// It may leave a cursor open.
        execute: bool,
        /// They are OUT parameters, so another result follows; with EOF packets only the one in
        /// front of them says so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        out: bool,
    },
    /// The first packet of the answer to a prepare.
    Prepare,
    /// Parameter and column definitions, counted.
    PrepareDefinitions {
        /// How many are to come.
        left: u32,
    },
    /// Parameter and column definitions up to this many EOF packets.
    PrepareUntilEof {
        /// How many are to come.
        left: u8,
    },
    /// Definitions up to an EOF packet, without a count.
    Fields,
    /// One packet.
    One,
    /// An authentication exchange.
    Auth,
    /// Packets up to EOF or ERR.
    Stream,
}

impl Answer {
    /// The answer that a command gets; None if it gets none that can be followed.
    pub fn to(reply: Reply) -> Option<Self> {
        Some(match reply {
            Reply::ResultSets => Self::ResultSets { execute: false },
            Reply::Execute => Self::ResultSets { execute: true },
            Reply::Prepare => Self::Prepare,
            Reply::Fetch => Self::Rows { execute: false, out: false },
            Reply::Fields => Self::Fields,
            Reply::One => Self::One,
            Reply::Auth => Self::Auth,
            Reply::Stream => Self::Stream,
            Reply::None | Reply::Foreign => return None,
        })
    }

    /// Judges a packet that starts a logical one. `head` is its payload, up to [`HEAD`] bytes.
    #[inline]
    pub fn handle(
        &mut self,
        dialect: Dialect,
        header: Header,
        head: &[u8],
        status: &mut ServerStatus,
    ) -> Verdict {
        let packet = Packet { dialect, length: header.length, head };
        match *self {
            Self::Rows { execute, out } => {
                let verdict = packet.row(status);
                if out && verdict == Verdict::Ends(Ending::ResultSet) {
                    *self = Self::ResultSets { execute };
                    return Verdict::Continues;
                }
                self.after_result(verdict, execute, status)
            }
            Self::ResultSets { execute } => self.first_of_result(packet, execute, status),
            Self::Definitions { left, execute } => {
                if packet.is_err() {
                    return packet.err(status);
                }
                *self = match left {
                    0 | 1 => Self::Rows { execute, out: false },
                    _ => Self::Definitions { left: left - 1, execute },
                };
                Verdict::Continues
            }
            Self::DefinitionsUntilEof { execute } => {
                self.definition_until_eof(packet, execute, status)
            }
            Self::Prepare => self.first_of_prepare(packet, status),
            // Definitions start with 3, so this is no part of them.
            Self::PrepareDefinitions { .. } | Self::PrepareUntilEof { .. } if packet.is_err() => {
                packet.err(status)
            }
            Self::PrepareDefinitions { left } => {
                *self = Self::PrepareDefinitions { left: left.saturating_sub(1) };
                if left <= 1 { Verdict::Ends(Ending::Ok) } else { Verdict::Continues }
            }
            Self::PrepareUntilEof { left } => {
                if !packet.is_eof() {
                    return Verdict::Continues;
                }
                *self = Self::PrepareUntilEof { left: left.saturating_sub(1) };
                if left <= 1 { Verdict::Ends(Ending::Ok) } else { Verdict::Continues }
            }
            Self::Fields if packet.is_terminator() => {
                packet.terminator_status(status);
                Verdict::Ends(Ending::ResultSet)
            }
            Self::Fields if packet.is_err() => packet.err(status),
            Self::Fields => Verdict::Continues,
            Self::One => packet.only(status),
            Self::Auth => packet.auth(status),
            Self::Stream if packet.is_eof() => Verdict::Ends(Ending::Ok),
            Self::Stream if packet.is_err() => packet.err(status),
            Self::Stream => Verdict::Continues,
        }
    }

    fn first_of_result(
        &mut self,
        packet: Packet<'_>,
        execute: bool,
        status: &mut ServerStatus,
    ) -> Verdict {
        match packet.head.first() {
            Some(0x00) => {
                packet.ok_status(status);
                self.after_result(Verdict::Ends(Ending::Ok), execute, status)
            }
            Some(0xFF) if packet.is_progress() => Verdict::Continues,
            Some(0xFF) => packet.err(status),
            Some(0xFB) => Verdict::LocalInfile,
            Some(0xFE) if packet.length < 9 => {
                packet.eof_status(status);
                Verdict::Ends(Ending::Ok)
            }
            Some(_) => self.column_count(packet, execute),
            None => Verdict::Impossible,
        }
    }

    fn column_count(&mut self, packet: Packet<'_>, execute: bool) -> Verdict {
        // A count is at most 9 bytes; with the metadata flag one more follows it.
        let Some((left, width)) = lenenc(packet.head).filter(|_| packet.length <= 10) else {
            return Verdict::Impossible;
        };
        let flag = packet.head.get(width).filter(|_| packet.dialect.metadata_flag);
        let with_definitions = flag != Some(&0);
        *self = match packet.dialect.deprecate_eof {
            true if with_definitions && left > 0 => Self::Definitions { left, execute },
            true => Self::Rows { execute, out: false },
            // Without definitions the EOF behind them still comes.
            false => Self::DefinitionsUntilEof { execute },
        };
        Verdict::Continues
    }

    fn definition_until_eof(
        &mut self,
        packet: Packet<'_>,
        execute: bool,
        status: &mut ServerStatus,
    ) -> Verdict {
        if packet.is_err() {
            return packet.err(status);
        }
        if !packet.is_eof() {
            return Verdict::Continues;
        }
        let flags = packet.eof_flags();
        let announced = status::PS_OUT_PARAMS | status::MORE_RESULTS;
        let out = execute && flags.is_some_and(|flags| flags & announced == announced);
        *self = Self::Rows { execute, out };
        match flags {
            Some(flags) if execute && flags & status::CURSOR_EXISTS != 0 => {
                *status = ServerStatus::Known(flags);
                Verdict::Ends(Ending::ResultSet)
            }
            _ => Verdict::Continues,
        }
    }

    fn first_of_prepare(&mut self, packet: Packet<'_>, status: &mut ServerStatus) -> Verdict {
        let head = packet.head;
        if packet.is_err() {
            return packet.err(status);
        }
        if head.first() != Some(&0x00) || head.len() < 9 {
            return Verdict::Impossible;
        }
        let columns = u16::from_le_bytes([head[5], head[6]]);
        let parameters = u16::from_le_bytes([head[7], head[8]]);
        let with_definitions = head.get(12) != Some(&0) || !packet.dialect.metadata_flag;
        let eofs = u8::from(columns > 0) + u8::from(parameters > 0);
        let definitions = u32::from(columns) + u32::from(parameters);
        match packet.dialect.deprecate_eof {
            true if definitions > 0 && with_definitions => {
                *self = Self::PrepareDefinitions { left: definitions };
                Verdict::Continues
            }
            false if eofs > 0 => {
                *self = Self::PrepareUntilEof { left: eofs };
                Verdict::Continues
            }
            _ => Verdict::Ends(Ending::Ok),
        }
    }

    /// Goes on with the next result if the status says that there is one.
    fn after_result(&mut self, verdict: Verdict, execute: bool, status: &ServerStatus) -> Verdict {
        match (verdict, status) {
            (Verdict::Ends(Ending::Ok | Ending::ResultSet), ServerStatus::Known(flags))
                if flags & status::MORE_RESULTS != 0 =>
            {
                *self = Self::ResultSets { execute };
                Verdict::Continues
            }
            _ => verdict,
        }
    }
}

/// One packet that starts a logical one.
#[derive(Clone, Copy)]
struct Packet<'a> {
    dialect: Dialect,
    length: usize,
    head: &'a [u8],
}

impl Packet<'_> {
    fn is_err(self) -> bool {
        self.head.first() == Some(&0xFF)
    }

    /// An EOF packet of the old kind. A row can start with 0xFE too, but is then 16 MiB long.
    fn is_eof(self) -> bool {
        self.head.first() == Some(&0xFE) && self.length < 9
    }

    /// What ends rows: EOF, or an OK packet with the header 0xFE under CLIENT_DEPRECATE_EOF.
    fn is_terminator(self) -> bool {
        let longest = if self.dialect.deprecate_eof { MAX_PAYLOAD } else { 9 };
        self.head.first() == Some(&0xFE) && self.length < longest
    }

    /// MariaDB's progress report: an ERR packet with the code 0xFFFF.
    fn is_progress(self) -> bool {
        self.dialect.progress && self.head.starts_with(&[0xFF, 0xFF, 0xFF])
    }

    #[inline]
    fn row(self, status: &mut ServerStatus) -> Verdict {
        match self.head.first() {
            Some(0xFF) if self.is_progress() => Verdict::Continues,
            Some(0xFF) => self.err(status),
            Some(0xFE) if self.is_terminator() => {
                self.terminator_status(status);
                Verdict::Ends(Ending::ResultSet)
            }
            _ => Verdict::Row,
        }
    }

    fn only(self, status: &mut ServerStatus) -> Verdict {
        match self.head.first() {
            Some(0xFF) => return self.err(status),
            Some(0x00) => self.ok_status(status),
            Some(0xFE) => self.terminator_status(status),
            // COM_STATISTICS: a text.
            _ => {}
        }
        Verdict::Ends(Ending::Ok)
    }

    fn auth(self, status: &mut ServerStatus) -> Verdict {
        match self.head.first() {
            Some(0x00) => {
                self.ok_status(status);
                Verdict::Ends(Ending::Ok)
            }
            Some(0xFF) => self.err(status),
            Some(_) => Verdict::Continues,
            None => Verdict::Impossible,
        }
    }

    fn err(self, status: &mut ServerStatus) -> Verdict {
        *status = ServerStatus::Unknown;
        Verdict::Ends(Ending::Error)
    }

    fn terminator_status(self, status: &mut ServerStatus) {
        if self.length < 9 && !self.dialect.deprecate_eof {
            self.eof_status(status);
        } else {
            self.ok_status(status);
        }
    }

    /// OK: header, affected rows, insert id, status flags.
    fn ok_status(self, status: &mut ServerStatus) {
        let flags = || {
            let (_, affected) = lenenc(self.head.get(1..)?)?;
            let at = 1 + affected;
            let (_, insert_id) = lenenc(self.head.get(at..)?)?;
            let at = at + insert_id;
            let bytes = self.head.get(at..at + 2)?;
            Some(u16::from_le_bytes([bytes[0], bytes[1]]))
        };
        *status = flags().map_or(ServerStatus::Unknown, ServerStatus::Known);
    }

    fn eof_flags(self) -> Option<u16> {
        let bytes = self.head.get(3..5)?;
        Some(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// EOF: header, warnings, status flags.
    fn eof_status(self, status: &mut ServerStatus) {
        *status = self.eof_flags().map_or(ServerStatus::Unknown, ServerStatus::Known);
    }
}
