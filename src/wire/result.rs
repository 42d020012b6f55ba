//! Result sets as a server sends them, read as a whole: for answers to questions of our own.
//!
//! Text protocol only. What is relayed is never read this way: it may be of any size.

use super::kind;
use super::packet::lenenc;

/// UNSIGNED_FLAG of a column.
pub const UNSIGNED: u16 = 0x20;

/// The number of the character set `binary`.
pub const BINARY: u16 = 63;

/// Strings in front of the fixed part: catalog, schema, table, org_table, name, org_name.
const STRINGS: usize = 6;

/// Which of them is the name.
const NAME: usize = 4;

/// Bytes of the fixed part, its length in front included.
const FIXED: usize = 13;

/// A column definition (`Protocol::ColumnDefinition41`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// What the statement calls it.
    pub name: Vec<u8>,
    /// MYSQL_TYPE_*.
    pub kind: u8,
    /// Flags, such as [`UNSIGNED`].
    pub flags: u16,
    /// The number of a collation; [`BINARY`] for numbers and bytes.
    pub charset: u16,
    /// Digits behind the point; 31 or 39 where they are not fixed.
    pub decimals: u8,
}

impl Column {
    /// Of a packet's payload; None if it is none. MariaDB's extended types are skipped.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut rest = payload;
        let mut name = &[][..];
        for at in 0..STRINGS {
            let text = take_string(&mut rest)?;
            if at == NAME {
                name = text;
            }
        }
        if rest.len() > FIXED {
            take_string(&mut rest)?;
        }
        let &[0x0C, low, high, _, _, _, _, kind, few, many, decimals, _, _] = rest else {
            return None;
        };
        Some(Self {
            name: name.to_vec(),
            kind,
            flags: u16::from_le_bytes([few, many]),
            charset: u16::from_le_bytes([low, high]),
            decimals,
        })
    }

    /// Whether its values are numbers, written in digits.
    pub fn is_number(&self) -> bool {
        use kind::*;
        matches!(
            self.kind,
            DECIMAL | TINY | SHORT | LONG | FLOAT | DOUBLE | LONGLONG | INT24 | YEAR | NEWDECIMAL
        )
    }
}

/// An answer with rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// What the values are.
    pub columns: Vec<Column>,
    /// The values, a row as long as there are columns; None is NULL.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
}

/// A row of the text protocol with this many columns; None if the payload is none.
pub fn parse_row(payload: &[u8], columns: usize) -> Option<Vec<Option<Vec<u8>>>> {
    let mut rest = payload;
    // Each value takes a byte at least: a false count does not reserve memory.
    let mut row = Vec::with_capacity(columns.min(payload.len()));
    for _ in 0..columns {
        let value = match rest.split_first() {
            Some((0xFB, behind)) => {
                rest = behind;
                None
            }
            _ => Some(take_string(&mut rest)?.to_vec()),
        };
        row.push(value);
    }
    rest.is_empty().then_some(row)
}

fn take_string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, width) = lenenc(rest)?;
    let (text, behind) = rest.get(width..)?.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::put_lenenc_str;
    use super::*;

    fn definition(name: &[u8], extended: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        for text in [&b"def"[..], b"s", b"t", b"o", name, b"n"].into_iter().chain(extended) {
            put_lenenc_str(&mut out, text);
        }
        out.extend(b"\x0c\x2d\0\0\x04\0\0\xf6\x21\x80\x1e\0\0");
        out
    }

    #[test]
    fn a_definition_is_read_with_and_without_extended_types() {
        let read = Column {
            name: b"@a".to_vec(),
            kind: kind::NEWDECIMAL,
            flags: 0x8021,
            charset: 45,
            decimals: 30,
        };
        for extended in [None, Some(&b""[..]), Some(b"\0\x05point")] {
            let payload = definition(b"@a", extended);
            assert_eq!(Column::parse(&payload), Some(read.clone()), "{extended:?}");
            for end in 0..payload.len() {
                assert_eq!(Column::parse(&payload[..end]), None, "{end}");
            }
        }
    }

    #[test]
    fn a_row_has_as_many_values_as_columns() {
        let row = vec![Some(b"x".to_vec()), None, Some(vec![])];
        assert_eq!(parse_row(b"\x01x\xfb\0", 3), Some(row));
        assert_eq!(parse_row(b"\x01x\xfb\0", 2), None);
        assert_eq!(parse_row(b"\x01x\xfb\0", 4), None);
        assert_eq!(parse_row(b"\x02x", 1), None);
        assert_eq!(parse_row(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff", usize::MAX), None);
    }

    proptest! {
        #[test]
        fn any_row_is_read_back(row in prop::collection::vec(
            prop::option::of(prop::collection::vec(any::<u8>(), 0..300)), 0..9,
        )) {
            let mut out = Vec::new();
            for value in &row {
                match value {
                    Some(value) => put_lenenc_str(&mut out, value),
                    None => out.push(0xFB),
                }
            }
            prop_assert_eq!(parse_row(&out, row.len()), Some(row));
        }

        #[test]
        fn no_payload_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            columns in 0..9usize,
        ) {
            let _ = (Column::parse(&bytes), parse_row(&bytes, columns));
        }
    }
}
