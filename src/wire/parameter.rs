//! Parameters as COM_STMT_EXECUTE has them, and COM_QUERY in front of its text.
//!
//! ```text
//!   NULLs: a bit each │ 1 │ type of each, with a name? │ values of those that are not NULL
//!   NULLs: a bit each │ 0 │ values, of the types of the last time
//! ```

use std::ops::Range;

use super::kind;
use super::packet::lenenc;

/// Whether each parameter has a name, as query attributes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// They have none.
    Unnamed,
    /// Each has one; that of a statement's own parameter is empty.
    Named,
}

/// Parameters, with the places of their parts in the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    bytes: &'a [u8],
    naming: Naming,
    count: usize,
    nulls: usize,
    /// None if they are those of the last time.
    types: Option<usize>,
    values: usize,
}

impl<'a> Parameters<'a> {
    /// So many that start there. None if that is cut off, or nothing that a server takes.
    pub fn parse(bytes: &'a [u8], nulls: usize, count: usize, naming: Naming) -> Option<Self> {
        let flag = nulls.checked_add(count.div_ceil(8))?;
        let mut parameters = Self { bytes, naming, count, nulls, types: None, values: flag + 1 };
        match bytes.get(flag)? {
            0 => Some(parameters),
            1 => {
                let types = flag + 1;
                parameters.types = Some(types);
                parameters.values =
                    (0..count).try_fold(types, |at, _| Some(parameters.kind(at)?.1))?;
                Some(parameters)
            }
            _ => None,
        }
    }

    /// The type of the first one, if it is told.
    pub fn first_kind(&self) -> Option<u8> {
        Some(self.kind(self.types?)?.0)
    }

    /// Where the first one's value starts; None if it is NULL.
    pub fn first_value(&self) -> Option<usize> {
        (self.count > 0 && !self.is_null(0)?).then_some(self.values)
    }

    /// Where all of them end. None if they are cut off, or of no known type.
    pub fn end(&self) -> Option<usize> {
        let (mut types, mut at) = (self.types?, self.values);
        for n in 0..self.count {
            let (kind, behind) = self.kind(types)?;
            types = behind;
            if !self.is_null(n)? {
                at = value(self.bytes, at, kind)?.end;
            }
        }
        Some(at)
    }

    fn is_null(&self, n: usize) -> Option<bool> {
        Some(self.bytes.get(self.nulls + n / 8)? >> (n % 8) & 1 == 1)
    }

    /// A type, and where the next one stands.
    fn kind(&self, at: usize) -> Option<(u8, usize)> {
        // The other byte says whether it is unsigned.
        let [kind, _] = *self.bytes.get(at..)?.first_chunk()?;
        let behind = at + 2;
        Some(match self.naming {
            Naming::Unnamed => (kind, behind),
            Naming::Named => (kind, text(self.bytes, behind)?.end),
        })
    }
}

/// Where a value's bytes stand, without what tells their length.
pub fn value(bytes: &[u8], at: usize, kind: u8) -> Option<Range<usize>> {
    let width = match kind {
        kind::NULL => 0,
        kind::TINY | kind::BOOL => 1,
        kind::SHORT | kind::YEAR => 2,
        kind::LONG | kind::INT24 | kind::FLOAT => 4,
        kind::LONGLONG | kind::DOUBLE => 8,
        // Texts, and what starts with its length as they do: times and everything else.
        _ => return text(bytes, at),
    };
    (bytes.len() >= at + width).then_some(at..at + width)
}

fn text(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let (length, width) = lenenc(bytes.get(at..)?)?;
    let start = at + width;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

/// Where the text of a COM_QUERY starts, behind its query attributes: "parameter_count,
/// parameter_set_count (always 1)", and parameters if there are any.
pub fn behind_attributes(payload: &[u8]) -> Option<usize> {
    let (count, width) = lenenc(payload.get(1..)?)?;
    let sets = 1 + width;
    let (1, width) = lenenc(payload.get(sets..)?)? else { return None };
    match count {
        0 => Some(sets + width),
        _ => {
            let count = usize::try_from(count).ok().filter(|count| *count <= payload.len())?;
            Parameters::parse(payload, sets + width, count, Naming::Named)?.end()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A type, a name, and a value unless it is NULL.
    type Attribute = (u8, &'static [u8], Option<&'static [u8]>);

    /// Attributes as a client writes them.
    fn query(attributes: &[Attribute], text: &[u8]) -> Vec<u8> {
        let mut payload = vec![3, attributes.len() as u8, 1];
        if !attributes.is_empty() {
            let mut nulls = vec![0; attributes.len().div_ceil(8)];
            for (n, (.., value)) in attributes.iter().enumerate() {
                nulls[n / 8] |= u8::from(value.is_none()) << (n % 8);
            }
            payload.extend(nulls);
            payload.push(1);
            for (kind, name, _) in attributes {
                payload.extend([*kind, 0, name.len() as u8]);
                payload.extend(*name);
            }
            attributes.iter().for_each(|(.., value)| payload.extend(value.unwrap_or_default()));
        }
        [&payload, text].concat()
    }

    #[test]
    fn the_text_starts_behind_every_attribute() {
        let one: &[Attribute] = &[
            (kind::TINY, b"a", Some(b"1")),
            (kind::SHORT, b"b", Some(b"12")),
            (kind::LONG, b"", Some(b"1234")),
            (kind::LONGLONG, b"d", Some(b"12345678")),
            (kind::FLOAT, b"e", Some(b"1234")),
            (kind::DOUBLE, b"f", Some(b"12345678")),
            (0xFE, b"g", Some(b"\x03abc")),
            (0xFD, b"h", None),
            // A time: its length, and so many bytes.
            (12, b"i", Some(b"\x04abcd")),
        ];
        let text = b"KILL 1";
        for many in 0..=one.len() {
            for payload in [query(&one[..many], text), query(&one[one.len() - many..], text)] {
                let start = payload.len() - text.len();
                assert_eq!(behind_attributes(&payload), Some(start), "{many}");
                for cut in 0..start {
                    assert_eq!(behind_attributes(&payload[..cut]), None, "{many}, {cut}");
                }
            }
        }
    }

    #[test]
    fn first_parameters_are_found() {
        let execute = b"\x00\x01\x08\x80abcdefgh";
        let parameters = Parameters::parse(execute, 0, 1, Naming::Unnamed).expect("one");
        assert_eq!(parameters.first_kind(), Some(kind::LONGLONG));
        assert_eq!(parameters.first_value(), Some(4));
        let again = Parameters::parse(b"\x00\x00abcdefgh", 0, 1, Naming::Unnamed).expect("one");
        assert_eq!((again.first_kind(), again.first_value()), (None, Some(2)));
        let null = Parameters::parse(b"\x01\x01\x08\x80", 0, 1, Naming::Unnamed).expect("one");
        assert_eq!(null.first_value(), None);
        assert!(Parameters::parse(b"\x00\x02\x08\x80", 0, 1, Naming::Unnamed).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_into_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            count in 0..1000_usize,
        ) {
            behind_attributes(&bytes);
            for naming in [Naming::Unnamed, Naming::Named] {
                if let Some(parameters) = Parameters::parse(&bytes, 1, count, naming) {
                    parameters.end().inspect(|end| assert!(*end <= bytes.len()));
                    parameters.first_value();
                }
            }
        }
    }
}
