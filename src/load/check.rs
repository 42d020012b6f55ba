//! Right or wrong: compares answers with what they must be. Pure, so that it can be tested itself.

use super::rows::Rows;
use super::trouble::brief;

/// The answer must be exactly these rows.
pub(super) fn rows(question: &str, got: &Rows, expected: &[&[&str]]) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!("{question}: expected {} rows, got {}", expected.len(), got.len()));
    }
    for (got, expected) in got.iter().zip(expected) {
        let columns = got.len() == expected.len();
        if !columns {
            let (expected, got) = (expected.len(), got.len());
            return Err(format!("{question}: expected {expected} columns, got {got}"));
        }
        if let Some((expected, got)) = expected.iter().zip(got).find(|(one, other)| one != other) {
            let (expected, got) = (short(expected), short(got));
            return Err(format!("{question}: expected '{expected}', got '{got}'"));
        }
    }
    Ok(())
}

/// The row must be this state; otherwise it says what was lost.
pub(super) fn state(got: &Rows, expected: &[(&str, String)]) -> Result<(), String> {
    let [row] = &got[..] else { return Err(format!("state: expected a row, got {}", got.len())) };
    number("columns of a state", row.len() as u64, expected.len() as u64)?;
    let pairs = expected.iter().zip(row);
    let lost =
        pairs.filter(|((_, expected), got)| expected != *got).map(|((name, expected), got)| {
            format!("{name} (expected '{}', got '{}')", short(expected), short(got))
        });
    let lost: Vec<String> = lost.collect();
    if lost.is_empty() { Ok(()) } else { Err(format!("lost: {}", lost.join(", "))) }
}

/// A text must be this one.
pub(super) fn text(question: &str, got: &str, expected: &str) -> Result<(), String> {
    if got == expected {
        return Ok(());
    }
    Err(format!("{question}: expected '{}', got '{}'", brief(expected), brief(got)))
}

/// A number must be this one.
pub(super) fn number(question: &str, got: u64, expected: u64) -> Result<(), String> {
    if got == expected {
        return Ok(());
    }
    Err(format!("{question}: expected {expected}, got {got}"))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", brief(&text[..end])),
        None => brief(text),
    }
}

/// FNV-1a over rows: catches a byte that differs, a row that is missing, twice or out of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checksum {
    sum: u64,
    rows: u64,
}

impl Checksum {
    /// Of no rows.
    pub(super) fn new() -> Self {
        Self { sum: 0xCBF2_9CE4_8422_2325, rows: 0 }
    }

    /// Adds the next row.
    pub(super) fn add(&mut self, id: u64, payload: &[u8]) {
        self.rows += 1;
        for byte in id.to_le_bytes().iter().chain(payload) {
            self.sum = (self.sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    /// The answer must have had the rows of `expected`.
    pub(super) fn verdict(&self, expected: &Self) -> Result<(), String> {
        number("rows of a large result", self.rows, expected.rows)?;
        if self.sum == expected.sum {
            return Ok(());
        }
        let (expected, got) = (expected.sum, self.sum);
        Err(format!("checksum of a large result: expected {expected:016x}, got {got:016x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[&[&str]]) -> Rows {
        rows.iter().map(|row| row.iter().map(|text| (*text).into()).collect()).collect()
    }

    #[test]
    fn the_right_answer_passes() {
        let got = answer(&[&["c1m1", "7"], &["c1m1", "8"]]);
        assert_eq!(rows("q", &got, &[&["c1m1", "7"], &["c1m1", "8"]]), Ok(()));
        assert_eq!(rows("q", &answer(&[]), &[]), Ok(()));
    }

    #[test]
    fn an_answer_meant_for_another_client_is_caught() {
        let got = answer(&[&["c2m1", "7"]]);
        let verdict = rows("select", &got, &[&["c1m1", "7"]]);
        assert_eq!(verdict, Err("select: expected 'c1m1', got 'c2m1'".into()));
    }

    #[test]
    fn rows_and_columns_too_many_or_too_few_are_caught() {
        let expected: &[&[&str]] = &[&["a", "b"]];
        for got in [answer(&[]), answer(&[&["a", "b"], &["a", "b"]])] {
            assert!(rows("q", &got, expected).is_err());
        }
        for got in [answer(&[&["a"]]), answer(&[&["a", "b", "c"]])] {
            assert!(rows("q", &got, expected).is_err());
        }
    }

    #[test]
    fn what_is_lost_of_a_state_is_named() {
        let expected = [("zone", "+01:00".to_owned()), ("mode", "ANSI".to_owned())];
        assert_eq!(state(&answer(&[&["+01:00", "ANSI"]]), &expected), Ok(()));
        let lost = state(&answer(&[&["SYSTEM", "ANSI"]]), &expected).unwrap_err();
        assert_eq!(lost, "lost: zone (expected '+01:00', got 'SYSTEM')");
        let lost = state(&answer(&[&["SYSTEM", ""]]), &expected).unwrap_err();
        assert!(lost.contains("zone") && lost.contains("mode"), "{lost}");
        for got in [answer(&[]), answer(&[&["+01:00"]])] {
            assert!(state(&got, &expected).is_err());
        }
    }

    #[test]
    fn null_is_not_a_number() {
        assert!(rows("@mark", &answer(&[&["NULL"]]), &[&["5"]]).is_err());
    }

    #[test]
    fn a_large_result_with_one_bit_turned_or_two_rows_swapped_is_caught() {
        let mut expected = Checksum::new();
        (1..=100).for_each(|id| expected.add(id, b"payload"));
        let sum = |change: &dyn Fn(u64) -> (u64, &'static [u8])| {
            let mut sum = Checksum::new();
            (1..=100).map(change).for_each(|(id, payload)| sum.add(id, payload));
            sum
        };
        assert_eq!(sum(&|id| (id, b"payload")).verdict(&expected), Ok(()));
        assert!(
            sum(&|id| (id, if id == 50 { b"paxload" } else { b"payload" }))
                .verdict(&expected)
                .is_err()
        );
        let swapped = |id| match id {
            10 => (11, &b"payload"[..]),
            11 => (10, &b"payload"[..]),
            id => (id, &b"payload"[..]),
        };
        assert!(sum(&swapped).verdict(&expected).is_err());
        assert!(Checksum::new().verdict(&expected).is_err());
    }
}
