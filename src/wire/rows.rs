//! A table as an answer, and how it goes over the wire: text or binary, with or without EOF.

use crate::wire::handshake::LoginResponse;
use crate::wire::packet::{packet, put_lenenc, put_lenenc_str};
use crate::wire::{self, capability};

/// MYSQL_TYPE_VAR_STRING: every column is one, so text and binary rows hold the same strings.
const VAR_STRING: u8 = 0xFD;

/// utf8mb4_general_ci.
const COLLATION: u16 = 45;

/// A result set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Names.
    pub columns: Vec<String>,
    /// Values; None is NULL.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Names of columns, and what stands in each of the row of a `T`.
pub(super) type Columns<T> = [(&'static str, fn(&T) -> String)];

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// For COM_QUERY.
    Text,
    /// For COM_STMT_EXECUTE.
    Binary,
}

impl Table {
    /// A row for each of these.
    pub(super) fn of<T>(columns: &Columns<T>, rows: &[T]) -> Self {
        let row = |of: &T| columns.iter().map(|(_, value)| Some(value(of))).collect();
        Self {
            columns: columns.iter().map(|(name, _)| (*name).to_owned()).collect(),
            rows: rows.iter().map(row).collect(),
        }
    }

    /// A table without rows.
    pub(super) fn with_columns(columns: &[&str]) -> Self {
        Self { columns: columns.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// The table without these columns.
    pub(super) fn without(mut self, names: &[&str]) -> Self {
        let keeps: Vec<_> =
            self.columns.iter().map(|column| !names.contains(&column.as_str())).collect();
        let keep = |at: usize| keeps[at];
        self.columns = retained(self.columns, keep);
        self.rows = self.rows.into_iter().map(|row| retained(row, keep)).collect();
        self
    }

    /// Adds a row.
    pub(super) fn push<const N: usize>(&mut self, values: [String; N]) {
        self.rows.push(values.into_iter().map(Some).collect());
    }
}

/// What was negotiated, as far as it changes the shape of answers. A client that has come to the
/// clients' port was greeted in a server's name, and may have chosen anything that server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dialect {
    /// CLIENT_DEPRECATE_EOF.
    pub deprecate_eof: bool,
    /// A flag behind the column count says that definitions follow.
    pub metadata_flag: bool,
    /// MariaDB's extended type information: one more string in each definition.
    pub extended_types: bool,
    /// Two counts stand before the text of a statement.
    pub query_attributes: bool,
}

impl Dialect {
    /// Of a login response to a greeting that offered so much.
    pub(super) fn of(response: &LoginResponse, offered: u32) -> Self {
        let chosen = response.capabilities & offered;
        let legs = wire::response::Dialect::new(chosen, response.extended);
        let mariadb = chosen & capability::LONG_PASSWORD == 0;
        Self {
            deprecate_eof: legs.deprecate_eof,
            metadata_flag: legs.metadata_flag,
            extended_types: mariadb && response.extended & capability::mariadb::EXTENDED_TYPES != 0,
            query_attributes: chosen & capability::QUERY_ATTRIBUTES != 0,
        }
    }
}

fn retained<T>(values: Vec<T>, keep: impl Fn(usize) -> bool) -> Vec<T> {
    values.into_iter().enumerate().filter(|(at, _)| keep(*at)).map(|(_, value)| value).collect()
}

/// Writes packets with running sequence numbers.
pub(super) struct Writer {
    out: Vec<u8>,
    sequence: u8,
    dialect: Dialect,
}

impl Writer {
    /// The first packet gets this number.
    pub(super) fn new(sequence: u8, dialect: Dialect) -> Self {
        Self { out: Vec::new(), sequence, dialect }
    }

    /// All packets.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// One packet. Its payload is short: no value of ours comes near 16 MiB.
    pub(super) fn put(&mut self, payload: &[u8]) {
        self.out.extend(packet(self.sequence, payload));
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// A result set.
    pub(super) fn table(&mut self, table: &Table, encoding: Encoding, status: u16) {
        let mut count = Vec::new();
        put_lenenc(&mut count, table.columns.len() as u64);
        if self.dialect.metadata_flag {
            count.push(1);
        }
        self.put(&count);
        self.definitions(&table.columns);
        if !self.dialect.deprecate_eof {
            self.eof(status);
        }
        for row in &table.rows {
            self.put(&match encoding {
                Encoding::Text => text_row(row),
                Encoding::Binary => binary_row(row),
            });
        }
        self.end(status);
    }

    /// Column definitions.
    pub(super) fn definitions(&mut self, columns: &[String]) {
        let extended = self.dialect.extended_types;
        columns.iter().for_each(|name| self.put(&definition(name, extended)));
    }

    /// What ends definitions of a prepare.
    pub(super) fn end_of_definitions(&mut self, status: u16) {
        if !self.dialect.deprecate_eof {
            self.eof(status);
        }
    }

    /// What ends rows.
    pub(super) fn end(&mut self, status: u16) {
        if !self.dialect.deprecate_eof {
            return self.eof(status);
        }
        let [low, high] = status.to_le_bytes();
        self.put(&[0xFE, 0, 0, low, high, 0, 0]);
    }

    fn eof(&mut self, status: u16) {
        let [low, high] = status.to_le_bytes();
        self.put(&[0xFE, 0, 0, low, high]);
    }
}

fn definition(name: &str, extended: bool) -> Vec<u8> {
    let mut out = Vec::new();
    put_lenenc_str(&mut out, b"def");
    for empty in [b""; 3] {
        put_lenenc_str(&mut out, empty);
    }
    put_lenenc_str(&mut out, name.as_bytes());
    put_lenenc_str(&mut out, name.as_bytes());
    if extended {
        put_lenenc_str(&mut out, b"");
    }
    out.push(0x0C);
    out.extend(COLLATION.to_le_bytes());
    out.extend(1024u32.to_le_bytes());
    out.push(VAR_STRING);
    out.extend([0; 5]);
    out
}

fn text_row(row: &[Option<String>]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in row {
        match value {
            Some(value) => put_lenenc_str(&mut out, value.as_bytes()),
            None => out.push(0xFB),
        }
    }
    out
}

/// Header, a bit for each NULL (the first two bits are not used), then the values.
fn binary_row(row: &[Option<String>]) -> Vec<u8> {
    let mut out = vec![0; 1 + (row.len() + 9) / 8];
    for (at, value) in row.iter().enumerate() {
        match value {
            Some(value) => put_lenenc_str(&mut out, value.as_bytes()),
            None => out[1 + (at + 2) / 8] |= 1 << ((at + 2) % 8),
        }
    }
    out
}
