//! Statements prepared by PREPARE: what was said, so that another server can be told.
//!
//! ```text
//!   PREPARE ─► pending ─► known by its name      DEALLOCATE ─► pending ─► gone
//!                 └─ refused: what had the name may be gone, or not: nobody knows
//! ```
//!
//! Invariant: where a text is not known that the server may have, `Texts::is_whole` is false.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::prepared::Reading;
use crate::session::routing::Earlier;
use crate::sql::analysis::Changes;

/// Bytes that are remembered of one session.
const MOST_BYTES: usize = 1 << 20;

/// Statements prepared by PREPARE, of one session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Texts {
    /// In the order in which they were prepared.
    known: Vec<Text>,
    /// What the server was told and has not answered.
    pending: VecDeque<Pending>,
    /// There may be others.
    is_forgetful: bool,
}

/// A statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Text {
    /// In small letters, as servers make no difference.
    name: Vec<u8>,
    /// All of the PREPARE.
    sql: Vec<u8>,
    reading: Reading,
    /// What its execution may change of the session.
    changes: Changes,
}

/// What the server was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Pending {
    Prepare(Text),
    Deallocate(Vec<u8>),
    /// A PREPARE or DEALLOCATE of which nothing more is remembered than the name, if that.
    Unknown(Option<Vec<u8>>),
}

impl Text {
    /// Of a PREPARE of this name; None where names may be alike that are not the same.
    pub(super) fn new(name: &[u8], sql: &[u8], reading: Reading, changes: Changes) -> Option<Self> {
        let is_plain = name.is_ascii() && !name.is_empty();
        is_plain.then(|| Self {
            name: name.to_ascii_lowercase(),
            sql: sql.to_vec(),
            reading,
            changes,
        })
    }

    fn bytes(&self) -> usize {
        self.name.len() + self.sql.len() + self.reading.schema.len()
    }
}

impl Texts {
    /// A PREPARE of this name, if that is known; None: its text is not.
    pub(super) fn prepare(&mut self, name: Option<&[u8]>, text: Option<Text>) {
        let name = name.filter(|name| name.is_ascii()).map(<[u8]>::to_ascii_lowercase);
        self.pending.push_back(text.map_or(Pending::Unknown(name), Pending::Prepare));
    }

    /// A DEALLOCATE; None: of nobody knows which.
    pub(super) fn deallocate(&mut self, name: Option<&[u8]>) {
        let name = name.filter(|name| name.is_ascii());
        self.pending.push_back(
            name.map_or(Pending::Unknown(None), |it| Pending::Deallocate(it.to_ascii_lowercase())),
        );
    }

    /// The oldest of these was answered.
    pub(super) fn answered(&mut self, is_done: bool) {
        match self.pending.pop_front() {
            Some(Pending::Prepare(text)) => {
                let had_one = self.remove(&text.name);
                let room = MOST_BYTES.saturating_sub(self.known.iter().map(Text::bytes).sum());
                match is_done {
                    true if text.bytes() <= room => self.known.push(text),
                    true => self.is_forgetful = true,
                    // A text that cannot be prepared takes the place of the one before.
                    false => self.is_forgetful |= had_one,
                }
            }
            Some(Pending::Deallocate(name)) if is_done => {
                self.remove(&name);
            }
            Some(Pending::Deallocate(_)) => {}
            Some(Pending::Unknown(Some(name))) => {
                self.is_forgetful |= self.remove(&name) || is_done
            }
            Some(Pending::Unknown(None)) | None => self.is_forgetful = true,
        }
    }

    /// Whether there was one of this name.
    fn remove(&mut self, name: &[u8]) -> bool {
        let before = self.known.len();
        self.known.retain(|known| known.name != name);
        self.known.len() < before
    }

    /// There may be some that are not remembered.
    pub(super) fn forget(&mut self) {
        self.is_forgetful = true;
    }

    /// All are gone.
    pub(super) fn clear(&mut self) {
        *self = Self { pending: std::mem::take(&mut self.pending), ..Self::default() };
    }

    /// Whether there surely are none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty() && !self.is_forgetful
    }

    /// Whether there is nothing to keep of it.
    pub(super) fn is_default(&self) -> bool {
        self.is_empty() && self.pending.is_empty()
    }

    /// Whether all that there are are known.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_forgetful && self.pending.is_empty()
    }

    /// Whether one was prepared in other modes than these: as of [`Reading`].
    pub(super) fn has_other_modes(&self, modes: u32) -> bool {
        self.known.iter().any(|text| text.reading.modes != modes)
    }

    /// What the execution of this one may change of the session. One that there is none of the
    /// server refuses: if it does not, that may have been anything.
    pub(super) fn changes(&self, name: &[u8]) -> Changes {
        if !self.is_whole() {
            // Of two PREPAREs under way the later counts, and neither may come to anything.
            return Changes::ANYTHING;
        }
        self.find(name).map_or(Changes::EXECUTED, |text| text.changes)
    }

    /// Whether the execution of this one leaves the warnings of the statements before it.
    pub(super) fn earlier_warnings(&self, name: &[u8]) -> Option<Earlier> {
        self.find(name).map(|text| text.reading.earlier_warnings())
    }

    fn find(&self, name: &[u8]) -> Option<&Text> {
        self.known.iter().find(|text| text.name.eq_ignore_ascii_case(name))
    }

    /// What is to be said to another server, each with the default schema in which it is.
    pub fn all(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.known.iter().map(|text| (&*text.sql, &*text.reading.schema))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, sql: &str) -> Option<Text> {
        Text::new(name.as_bytes(), sql.as_bytes(), Reading::default(), Changes::SCHEMA)
    }

    fn prepare(texts: &mut Texts, name: &str, sql: &str) {
        texts.prepare(Some(name.as_bytes()), text(name, sql));
    }

    fn told(texts: &Texts) -> Vec<String> {
        texts.all().map(|(sql, _)| String::from_utf8_lossy(sql).into_owned()).collect()
    }

    #[test]
    fn what_was_prepared_is_known_until_it_is_gone() {
        let mut texts = Texts::default();
        prepare(&mut texts, "a", "1");
        prepare(&mut texts, "B", "2");
        assert!(!texts.is_whole() && told(&texts).is_empty());
        texts.answered(true);
        texts.answered(true);
        assert!(texts.is_whole());
        assert_eq!(told(&texts), ["1", "2"]);
        assert_eq!(texts.changes(b"b"), Changes::SCHEMA);
        assert_eq!(texts.changes(b"c"), Changes::EXECUTED);
        // Another one of that name stands at the end.
        prepare(&mut texts, "A", "3");
        texts.answered(true);
        assert_eq!(told(&texts), ["2", "3"]);
        texts.deallocate(Some(b"b"));
        texts.answered(true);
        texts.deallocate(Some(b"b"));
        texts.answered(false);
        prepare(&mut texts, "c", "wrong");
        texts.answered(false);
        assert!(texts.is_whole());
        assert_eq!(told(&texts), ["3"]);
        texts.deallocate(Some(b"a"));
        texts.answered(true);
        assert!(texts.is_empty());
    }

    #[test]
    fn what_is_not_known_is_said() {
        for (name, is_done) in [("a", true), ("a", false)] {
            let mut texts = Texts::default();
            prepare(&mut texts, name, "1");
            texts.answered(true);
            // From a variable, or in the place of one that may be gone.
            let wrong = text(name, "wrong").filter(|_| !is_done);
            texts.prepare(Some(name.as_bytes()), wrong);
            texts.answered(is_done);
            assert!(!texts.is_whole(), "{name} {is_done}");
            texts.clear();
            assert!(texts.is_whole());
        }
        // One that was never there is not there now.
        let mut texts = Texts::default();
        texts.prepare(Some(b"a"), None);
        texts.answered(false);
        assert!(texts.is_whole());
        let mut texts = Texts::default();
        prepare(&mut texts, "a", &"x".repeat(MOST_BYTES));
        texts.answered(true);
        assert!(!texts.is_whole() && told(&texts).is_empty());
        assert_eq!(text("\u{e9}", "1"), None);
    }
}
