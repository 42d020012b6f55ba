//! What a comment asks of the proxy. ODP's hints, and no others.
//!
//! Anything in a comment that is not one of them asks for nothing.

use crate::sql::is;

/// How current the answer of a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// `READ_CONSISTENCY(WEAK)`: any replica will do.
    Weak,
    /// `READ_CONSISTENCY(STRONG)`.
    Strong,
}

/// The hints of a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints<'a> {
    /// `/*+ READ_CONSISTENCY(…) */`
    pub consistency: Option<Consistency>,
    /// `/*+ TARGET_DB_SERVER='…' */`: what stands between the quotes. It need not be a hint of
    /// the server's, so the `+` may be left out.
    pub target: Option<&'a [u8]>,
    /// `/*FORCE_MASTER*/`
    pub force_master: bool,
    /// `/*+ODP explain_route*/`, or EXPLAIN ROUTE.
    pub explain_route: bool,
}

impl<'a> Hints<'a> {
    /// Reads a comment, without its marks. Of two that contradict each other the last one counts.
    pub(super) fn read(&mut self, comment: &'a [u8]) {
        let (is_hint, comment) = match comment.strip_prefix(b"+") {
            Some(hint) => (true, hint),
            None => (false, comment),
        };
        let mut rest = comment.trim_ascii();
        if !is_hint {
            self.force_master |= is(rest, b"force_master");
            if rest.get(..TARGET.len()).is_some_and(|start| is(start, TARGET)) {
                self.target = target(&rest[TARGET.len()..]).map(|(target, _)| target);
            }
            return;
        }
        while let Some((word, behind)) = next_word(rest) {
            rest = behind;
            if is(word, b"read_consistency") {
                self.consistency = consistency(behind).or(self.consistency);
            } else if is(word, TARGET)
                && let Some((target, behind)) = target(behind)
            {
                self.target = Some(target);
                rest = behind;
            } else if is(word, b"odp") {
                let next = next_word(behind).map(|(word, _)| word);
                self.explain_route |= next.is_some_and(|word| is(word, b"explain_route"));
            } else if is(word, b"force_master") {
                self.force_master = true;
            }
        }
    }
}

const TARGET: &[u8] = b"target_db_server";

/// Behind `READ_CONSISTENCY`: `(WEAK)`.
fn consistency(rest: &[u8]) -> Option<Consistency> {
    let (word, behind) = next_word(rest.trim_ascii_start().strip_prefix(b"(")?)?;
    behind.trim_ascii_start().strip_prefix(b")")?;
    match word {
        _ if is(word, b"weak") => Some(Consistency::Weak),
        _ if is(word, b"strong") => Some(Consistency::Strong),
        _ => None,
    }
}

/// Behind `TARGET_DB_SERVER`: `='…'`.
fn target(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, rest) = rest.split_first().filter(|(quote, _)| matches!(quote, b'\'' | b'"'))?;
    let end = memchr::memchr(*quote, rest)?;
    Some((rest[..end].trim_ascii(), &rest[end + 1..]))
}

fn next_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let start = text.iter().position(is_part)?;
    let rest = &text[start..];
    let length = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
    Some(rest.split_at(length))
}
