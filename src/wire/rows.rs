//! Result sets as a server writes them: text or binary, with or without EOF.
//!
//! Every column is a string: both encodings then hold the same values.

use super::handshake::LoginResponse;
use super::packet::{packet, put_lenenc, put_lenenc_str};
use super::{capability, response};

/// MYSQL_TYPE_VAR_STRING.
const VAR_STRING: u8 = 0xFD;

/// utf8mb4_general_ci.
const COLLATION: u16 = 45;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// For COM_QUERY.
    Text,
    /// For COM_STMT_EXECUTE.
    Binary,
}

/// What was negotiated, as far as it changes the shape of answers. A client that has come to the
/// clients' port was greeted in a server's name, and may have chosen anything that server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// CLIENT_DEPRECATE_EOF.
    pub deprecate_eof: bool,
    /// A flag behind the column count says that definitions follow.
    pub metadata_flag: bool,
    /// MariaDB's extended type information: one more string in each definition.
    pub extended_types: bool,
    /// Two counts stand before the text of a statement.
    pub query_attributes: bool,
}

impl Shape {
    /// Of a login response to a greeting that offered so much.
    pub fn of(response: &LoginResponse, offered: u32) -> Self {
        let chosen = response.capabilities & offered;
        let legs = response::Dialect::new(chosen, response.extended);
        let mariadb = chosen & capability::LONG_PASSWORD == 0;
        Self {
            deprecate_eof: legs.deprecate_eof,
            metadata_flag: legs.metadata_flag,
            extended_types: mariadb && response.extended & capability::mariadb::EXTENDED_TYPES != 0,
            query_attributes: chosen & capability::QUERY_ATTRIBUTES != 0,
        }
    }
}

/// Writes packets with running sequence numbers.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
    sequence: u8,
    shape: Shape,
}

impl Writer {
    /// The first packet gets this number.
    pub fn new(sequence: u8, shape: Shape) -> Self {
        Self { out: Vec::new(), sequence, shape }
    }

    /// All packets.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// One packet. Its payload is short: no value of ours comes near 16 MiB.
    pub fn put(&mut self, payload: &[u8]) {
        self.out.extend(packet(self.sequence, payload));
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// A result set; None is NULL.
    pub fn result_set(
        &mut self,
        columns: &[String],
        rows: &[Vec<Option<String>>],
        encoding: Encoding,
        status: u16,
    ) {
        let mut count = Vec::new();
        put_lenenc(&mut count, columns.len() as u64);
        if self.shape.metadata_flag {
            count.push(1);
        }
        self.put(&count);
        self.definitions(columns);
        if !self.shape.deprecate_eof {
            self.eof(status);
        }
        for row in rows {
            self.put(&match encoding {
                Encoding::Text => text_row(row),
                Encoding::Binary => binary_row(row),
            });
        }
        self.end(status);
    }

    /// Column definitions.
    pub fn definitions(&mut self, columns: &[String]) {
        let extended = self.shape.extended_types;
        columns.iter().for_each(|name| self.put(&definition(name, extended)));
    }

    /// What ends definitions of a prepare.
    pub fn end_of_definitions(&mut self, status: u16) {
        if !self.shape.deprecate_eof {
            self.eof(status);
        }
    }

    /// What ends rows.
    pub fn end(&mut self, status: u16) {
        if !self.shape.deprecate_eof {
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

#[cfg(test)]
mod tests {
    use super::super::packet::{HEADER, Header};
    use super::*;

    const STATUS: u16 = 2;

    /// The payloads of an answer with one row.
    fn payloads(shape: Shape, encoding: Encoding) -> Vec<Vec<u8>> {
        let columns = ["a", "b"].map(String::from);
        let mut writer = Writer::new(1, shape);
        writer.result_set(&columns, &[vec![Some("x".into()), None]], encoding, STATUS);
        let bytes = writer.into_bytes();
        let (mut payloads, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((header, behind)) = rest.split_at_checked(HEADER) {
            let header = Header::parse(header).expect("a header");
            assert_eq!(usize::from(header.sequence), payloads.len() + 1);
            let (payload, next) = behind.split_at(header.length);
            payloads.push(payload.to_vec());
            rest = next;
        }
        payloads
    }

    #[test]
    fn what_was_negotiated_shapes_the_answer() {
        const EOF: &[u8] = b"\xfe\0\0\x02\0";
        const OK: &[u8] = b"\xfe\0\0\x02\0\0\0";
        let plain = payloads(Shape::default(), Encoding::Text);
        assert_eq!((plain.len(), &plain[0][..]), (6, &[2][..]));
        assert_eq!((&plain[3][..], &plain[5][..]), (EOF, EOF));
        let shape = Shape { deprecate_eof: true, metadata_flag: true, ..Shape::default() };
        let short = payloads(shape, Encoding::Text);
        assert_eq!((short.len(), &short[0][..], &short[4][..]), (5, &[2, 1][..], OK));
        let shape = Shape { extended_types: true, ..Shape::default() };
        let long = payloads(shape, Encoding::Text);
        assert_eq!(long[1].len(), plain[1].len() + 1);
    }

    #[test]
    fn a_definition_names_its_column_and_a_string() {
        let definition = &payloads(Shape::default(), Encoding::Text)[1];
        let fixed = b"\x0c\x2d\0\0\x04\0\0\xfd\0\0\0\0\0";
        assert_eq!(definition[..], [b"\x03def\0\0\0\x01a\x01a", &fixed[..]].concat());
    }

    #[test]
    fn rows_are_text_or_binary() {
        assert_eq!(payloads(Shape::default(), Encoding::Text)[4], b"\x01x\xfb");
        // The second column is NULL: its bit is the fourth.
        assert_eq!(payloads(Shape::default(), Encoding::Binary)[4], b"\0\x08\x01x");
    }

    #[test]
    fn the_bits_of_nulls_go_on_in_the_next_byte() {
        let row = vec![None; 7];
        assert_eq!(binary_row(&row), [0, 0xFC, 1]);
    }
}
