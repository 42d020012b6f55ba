//! Packets and whole answers as the tests see them, and the numbers of the protocol.

use std::collections::BTreeMap;

use odp::wire::packet::lenenc;

/// The longest payload of one packet.
pub(crate) const MAX_PAYLOAD: usize = 0xFF_FFFF;

/// Commands.
pub(crate) mod com {
    pub(crate) const QUIT: u8 = 0x01;
    pub(crate) const INIT_DB: u8 = 0x02;
    pub(crate) const QUERY: u8 = 0x03;
    pub(crate) const FIELD_LIST: u8 = 0x04;
    pub(crate) const REFRESH: u8 = 0x07;
    pub(crate) const STATISTICS: u8 = 0x09;
    pub(crate) const PROCESS_INFO: u8 = 0x0A;
    pub(crate) const PROCESS_KILL: u8 = 0x0C;
    pub(crate) const DEBUG: u8 = 0x0D;
    pub(crate) const PING: u8 = 0x0E;
    pub(crate) const CHANGE_USER: u8 = 0x11;
    pub(crate) const BINLOG_DUMP: u8 = 0x12;
    pub(crate) const REGISTER_SLAVE: u8 = 0x15;
    pub(crate) const PREPARE: u8 = 0x16;
    pub(crate) const EXECUTE: u8 = 0x17;
    pub(crate) const LONG_DATA: u8 = 0x18;
    pub(crate) const CLOSE: u8 = 0x19;
    pub(crate) const RESET: u8 = 0x1A;
    pub(crate) const SET_OPTION: u8 = 0x1B;
    pub(crate) const FETCH: u8 = 0x1C;
    pub(crate) const RESET_CONNECTION: u8 = 0x1F;
    pub(crate) const BULK_EXECUTE: u8 = 0xFA;
}

/// Status flags that the tests look at.
pub(crate) mod status {
    pub(crate) const IN_TRANS: u16 = 0x0001;
    pub(crate) const AUTOCOMMIT: u16 = 0x0002;
    pub(crate) const MORE_RESULTS: u16 = 0x0008;
    pub(crate) const CURSOR_EXISTS: u16 = 0x0040;
    pub(crate) const LAST_ROW_SENT: u16 = 0x0080;
    pub(crate) const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
    pub(crate) const PS_OUT_PARAMS: u16 = 0x1000;
    pub(crate) const IN_TRANS_READONLY: u16 = 0x2000;
    pub(crate) const STATE_CHANGED: u16 = 0x4000;
    pub(crate) const ANSI_QUOTES: u16 = 0x8000;
}

/// A logical packet.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Sequence number of its first chunk.
    pub sequence: u8,
    /// Length of its first chunk.
    pub first: usize,
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &self.payload[..self.payload.len().min(80)];
        write!(f, "#{} ({}) \"{}\"", self.sequence, self.payload.len(), shown.escape_ascii())
    }
}

impl Packet {
    /// The number of an ERR packet.
    pub(crate) fn error(&self) -> Option<u16> {
        match *self.payload {
            [0xFF, a, b, ..] => Some(u16::from_le_bytes([a, b])),
            _ => None,
        }
    }

    pub(super) fn is_eof(&self) -> bool {
        self.payload.first() == Some(&0xFE) && self.payload.len() < 9
    }

    pub(super) fn is_end_of_rows(&self) -> bool {
        self.payload.first() == Some(&0xFE) && self.first < MAX_PAYLOAD
    }

    pub(super) fn is_progress(&self) -> bool {
        self.payload.starts_with(&[0xFF, 0xFF, 0xFF])
    }

    /// The status flags of an OK or EOF packet.
    pub(crate) fn status(&self) -> Option<u16> {
        let word = |at: usize| {
            Some(u16::from_le_bytes([*self.payload.get(at)?, *self.payload.get(at + 1)?]))
        };
        match self.payload.first()? {
            0xFE if self.payload.len() == 5 => word(3),
            0x00 | 0xFE => {
                let (_, affected) = lenenc(&self.payload[1..])?;
                let (_, inserted) = lenenc(&self.payload[1 + affected..])?;
                word(1 + affected + inserted)
            }
            _ => None,
        }
    }
}

/// A whole answer.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// Progress reports left out.
    pub packets: Vec<Packet>,
    /// Where the rows of each result set stand in `packets`.
    pub(super) row_sets: Vec<std::ops::Range<usize>>,
    pub(super) definitions: Vec<std::ops::Range<usize>>,
    /// It stopped because the server wants the lines of a file.
    pub wants_file: bool,
    /// Progress reports that came.
    pub progress: usize,
}

impl Reply {
    /// The number of the ERR packet that ended it.
    pub(crate) fn error(&self) -> Option<u16> {
        self.last().error()
    }

    /// The packet that ended it.
    pub(crate) fn last(&self) -> &Packet {
        self.packets.last().expect("an answer has a packet")
    }

    /// The status flags at its end; panics if it ended in an ERR.
    pub(crate) fn status(&self) -> u16 {
        self.last().status().unwrap_or_else(|| panic!("no status in {:?}", self.last()))
    }

    /// Whether a transaction is open at its end.
    pub(crate) fn in_transaction(&self) -> bool {
        self.status() & status::IN_TRANS != 0
    }

    /// How many result sets it has.
    pub(crate) fn sets(&self) -> usize {
        self.row_sets.len()
    }

    /// How many rows its result sets have in all.
    pub(crate) fn row_count(&self) -> usize {
        self.row_sets.iter().map(|rows| rows.len()).sum()
    }

    /// The text rows of all its result sets.
    pub(crate) fn rows(&self) -> Vec<Vec<Option<Vec<u8>>>> {
        let packets = self.row_sets.iter().flat_map(|rows| &self.packets[rows.clone()]);
        packets.map(|packet| text_row(&packet.payload)).collect()
    }

    /// The first column of the first row as text.
    pub(crate) fn text(&self) -> String {
        let row = self.rows().into_iter().next().expect("a row");
        let value = row.into_iter().next().flatten().expect("a value that is not NULL");
        String::from_utf8_lossy(&value).into_owned()
    }

    /// The first row as text, with blanks between its values, and this for NULL.
    pub(crate) fn line(&self, null: &str) -> String {
        let text = |value: Option<Vec<u8>>| match value {
            None => null.to_owned(),
            Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        let row = self.rows().into_iter().next().expect("a row");
        row.into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    /// Column names of the first result set.
    pub(crate) fn columns(&self) -> Vec<String> {
        let Some(range) = self.definitions.first() else { return Vec::new() };
        // catalog, schema, table, org_table, name
        let name = |packet: &Packet| text_row(&packet.payload[..])[4].clone();
        let names = self.packets[range.clone()].iter().map(name);
        names.map(|name| String::from_utf8_lossy(&name.unwrap_or_default()).into_owned()).collect()
    }

    /// Rows as column name → text; NULL is left out.
    pub(crate) fn named_rows(&self) -> Vec<BTreeMap<String, String>> {
        let columns = self.columns();
        let named = |row: Vec<Option<Vec<u8>>>| {
            let cells = columns.iter().cloned().zip(row);
            let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
            cells.filter_map(|(name, value)| Some((name, text(value?)))).collect()
        };
        self.rows().into_iter().map(named).collect()
    }
}

/// Length-encoded strings up to the first that does not fit (a definition's fixed part).
fn text_row(mut bytes: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut row = Vec::new();
    while let Some(&first) = bytes.first() {
        if first == 0xFB {
            row.push(None);
            bytes = &bytes[1..];
            continue;
        }
        let Some((length, width)) = lenenc(bytes) else { break };
        let Some(value) = bytes.get(width..width + length as usize) else { break };
        row.push(Some(value.to_vec()));
        bytes = &bytes[width + length as usize..];
    }
    row
}
