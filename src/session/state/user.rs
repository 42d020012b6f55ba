//! User variables: their values with everything that tells one from another, and the literal that
//! makes the same value on another server.
//!
//! Metadata tells the type and not the collation; CHARSET() and COLLATION() tell that and not the
//! type. So both are asked. Values come as bytes: else they would be converted to the session's
//! character set for results.

use super::text::{SELECT, is_number, is_word, put_hex, put_name};
use crate::wire::kind;
use crate::wire::result::{Column, UNSIGNED};

/// The type of a user variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BIGINT.
    Signed,
    /// BIGINT UNSIGNED.
    Unsigned,
    /// DECIMAL.
    Decimal,
    /// DOUBLE.
    Double,
    /// Characters or bytes.
    Text,
    /// MariaDB's geometry.
    Geometry,
}

impl Kind {
    /// Of the column that reads the variable.
    pub fn of(column: &Column) -> Self {
        match column.kind {
            kind::GEOMETRY => Self::Geometry,
            kind::DOUBLE | kind::FLOAT => Self::Double,
            kind::DECIMAL | kind::NEWDECIMAL => Self::Decimal,
            _ if !column.is_number() => Self::Text,
            _ if column.flags & UNSIGNED != 0 => Self::Unsigned,
            _ => Self::Signed,
        }
    }
}

/// The value of a user variable.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct UserValue {
    /// Its type, NULL or not.
    pub kind: Kind,
    /// Digits, or bytes in the value's character set.
    pub value: Option<Vec<u8>>,
    /// Character set.
    pub charset: Vec<u8>,
    /// Collation.
    pub collation: Vec<u8>,
}

/// The question for the types of these: those of its columns, of which there is no row.
pub(super) fn types_of(names: &[Vec<u8>]) -> Vec<u8> {
    select(names, |sql, name| put_variable(sql, name), b" LIMIT 0")
}

/// The question for the values of these, whose types are known.
pub(super) fn values_of(named: &[(Vec<u8>, Kind)]) -> Vec<u8> {
    select(named, |sql, (name, kind)| put_reading(sql, name, *kind), b" LIMIT 1")
}

/// What that was answered with, in their order; None if it was another question.
pub(super) fn values_told(
    named: &[(Vec<u8>, Kind)],
    row: Vec<Option<Vec<u8>>>,
) -> Option<Vec<UserValue>> {
    if row.len() != named.len() * 3 {
        return None;
    }
    let mut row = row.into_iter();
    let mut next = || row.next().flatten();
    let value = |&(_, kind): &(_, Kind)| {
        let (value, charset, collation) = (next(), next(), next());
        let [charset, collation] = [charset, collation].map(Option::unwrap_or_default);
        UserValue { kind, value, charset, collation }
    };
    Some(named.iter().map(value).collect())
}

fn select<T>(all: &[T], put: impl Fn(&mut Vec<u8>, &T), limit: &[u8]) -> Vec<u8> {
    let mut sql = SELECT.as_bytes().to_vec();
    for (at, it) in all.iter().enumerate() {
        if at > 0 {
            sql.extend(b", ");
        }
        put(&mut sql, it);
    }
    sql.extend(limit);
    sql
}

/// The columns that read a variable whose type is known: its own bytes, not converted; digits in
/// UTF-8, which MySQL else writes in character_set_connection.
fn put_reading(sql: &mut Vec<u8>, name: &[u8], kind: Kind) {
    let value: [&[u8]; 2] = match kind {
        Kind::Text | Kind::Geometry => [b"CAST(", b" AS BINARY), "],
        Kind::Signed | Kind::Unsigned | Kind::Decimal | Kind::Double => {
            [b"CAST(CONVERT(", b" USING utf8mb4) AS BINARY), "]
        }
    };
    let charset: [&[u8]; 2] = [b"CAST(CONVERT(CHARSET(", b") USING utf8mb4) AS BINARY), "];
    let collation: [&[u8]; 2] = [b"CAST(CONVERT(COLLATION(", b") USING utf8mb4) AS BINARY)"];
    for [before, behind] in [value, charset, collation] {
        sql.extend(before);
        put_variable(sql, name);
        sql.extend(behind);
    }
}

/// `` @`name` ``.
pub fn put_variable(sql: &mut Vec<u8>, name: &[u8]) {
    sql.push(b'@');
    put_name(sql, name);
}

/// Bytes in a statement beside the value.
const AROUND: usize = 256;

impl UserValue {
    /// Appends statements that give a variable this value, none much longer than `limit`; None if
    /// there is no such literal. The last one may be put in one SET with others.
    pub fn assignments(&self, name: &[u8], limit: usize) -> Option<Vec<Vec<u8>>> {
        let short = self.value.as_ref().is_none_or(|value| value.len() * 2 + AROUND <= limit);
        if short || self.kind != Kind::Text {
            let mut sql = Vec::new();
            put_variable(&mut sql, name);
            sql.push(b'=');
            if let (None, Some(before)) = (&self.value, self.before_null()) {
                self.with(before).put(&mut sql)?;
                sql.extend(b", ");
                put_variable(&mut sql, name);
                sql.push(b'=');
            }
            self.put(&mut sql)?;
            return Some(vec![sql]);
        }
        self.pieces(name, limit)
    }

    /// A long string is put together as bytes, as a character might be cut in two, and then said
    /// to be what it is.
    fn pieces(&self, name: &[u8], limit: usize) -> Option<Vec<Vec<u8>>> {
        let step = (limit.saturating_sub(AROUND) / 2).max(AROUND);
        let mut assignments = Vec::new();
        for (at, piece) in self.value.as_ref()?.chunks(step).enumerate() {
            let mut sql = Vec::with_capacity(piece.len() * 2 + AROUND);
            put_variable(&mut sql, name);
            sql.push(b'=');
            if at > 0 {
                sql.extend(b"CONCAT(");
                put_variable(&mut sql, name);
                sql.push(b',');
            }
            sql.extend(b"_binary ");
            put_hex(&mut sql, piece);
            if at > 0 {
                sql.push(b')');
            }
            assignments.push(sql);
        }
        if self.charset != b"binary" {
            let mut sql = Vec::new();
            put_variable(&mut sql, name);
            sql.extend(b"=CONVERT(");
            put_variable(&mut sql, name);
            sql.extend(b" USING ");
            sql.extend(self.word(&self.charset)?);
            sql.extend(b") COLLATE ");
            sql.extend(self.word(&self.collation)?);
            assignments.push(sql);
        }
        Some(assignments)
    }

    /// Appends an expression with this value.
    pub fn put(&self, sql: &mut Vec<u8>) -> Option<()> {
        let Some(value) = &self.value else { return self.put_null(sql) };
        match self.kind {
            Kind::Text => self.put_text(sql, value),
            Kind::Geometry => put_geometry(sql, value),
            Kind::Signed => put_cast(sql, value, b"SIGNED"),
            Kind::Unsigned => put_cast(sql, value, b"UNSIGNED"),
            Kind::Decimal => {
                // As it is: what is calculated with it is as wide as it was written.
                sql.extend(Some(value).filter(|value| is_number(value))?);
                sql.extend((!value.contains(&b'.')).then_some(b'.'));
                Some(())
            }
            Kind::Double => {
                sql.extend(Some(value).filter(|value| is_number(value))?);
                if !value.contains(&b'e') {
                    sql.extend(b"e0");
                }
                Some(())
            }
        }
    }

    /// A NULL that remembers what it was. NULLIF of a value with itself has its type and collation.
    fn put_null(&self, sql: &mut Vec<u8>) -> Option<()> {
        let like = match self.kind {
            // Characters in every character set, however wide.
            Kind::Text if self.charset != b"binary" => self.with(b"\0\0\0 "),
            Kind::Text | Kind::Geometry => {
                sql.extend(b"NULL");
                return Some(());
            }
            Kind::Signed | Kind::Unsigned | Kind::Decimal | Kind::Double => self.with(b"0"),
        };
        sql.extend(b"NULLIF(");
        like.put(sql)?;
        sql.push(b',');
        like.put(sql)?;
        sql.push(b')');
        Some(())
    }

    /// The value that must be there first for a NULL to be of this type: MySQL's has the sign of
    /// what was there, MariaDB's is a geometry if that was one.
    fn before_null(&self) -> Option<&'static [u8]> {
        const POINT: &[u8] = b"\0\0\0\0\x01\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        match self.kind {
            Kind::Signed | Kind::Unsigned => Some(b"0"),
            Kind::Geometry => Some(POINT),
            Kind::Decimal | Kind::Double | Kind::Text => None,
        }
    }

    fn with(&self, value: &[u8]) -> Self {
        Self { value: Some(value.to_vec()), ..self.clone() }
    }

    fn put_text(&self, sql: &mut Vec<u8>, value: &[u8]) -> Option<()> {
        sql.push(b'_');
        sql.extend(self.word(&self.charset)?);
        sql.push(b' ');
        put_hex(sql, value);
        if self.charset != b"binary" {
            sql.extend(b" COLLATE ");
            sql.extend(self.word(&self.collation)?);
        }
        Some(())
    }

    fn word<'a>(&self, name: &'a [u8]) -> Option<&'a [u8]> {
        Some(name).filter(|name| is_word(name))
    }
}

fn put_cast(sql: &mut Vec<u8>, digits: &[u8], to: &[u8]) -> Option<()> {
    sql.extend(b"CAST('");
    sql.extend(Some(digits).filter(|digits| is_number(digits))?);
    sql.extend(b"' AS ");
    sql.extend(to);
    sql.push(b')');
    Some(())
}

/// Four bytes of SRID stand before the WKB.
fn put_geometry(sql: &mut Vec<u8>, value: &[u8]) -> Option<()> {
    let (srid, wkb) = value.split_first_chunk::<4>()?;
    sql.extend(b"ST_GeomFromWKB(_binary ");
    put_hex(sql, wkb);
    sql.extend(format!(",{})", u32::from_le_bytes(*srid)).as_bytes());
    Some(())
}
