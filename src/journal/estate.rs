//! What is left to whoever comes after a process, beside sessions: where that is.
//!
//! There are keys and passwords in it, so it is among secrets. Invariant: what is on record is
//! whole, and what was before is wiped.

use zeroize::Zeroizing;

use super::Journal;
use super::heap::Place;
use super::hot::Blob;
use super::layout::{self, head};
use crate::lock::lock;

/// So many of them would take all the room that there is for secrets.
const SHARE: usize = 8;

/// Of a place in the head: it is one for secrets.
const AMONG_SECRETS: usize = 1 << 63;

/// Where it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    /// Beside states.
    Usual(Place),
    /// Beside keys.
    Secret(Place),
}

impl Journal {
    /// What is left to whoever comes after this process, beside sessions. What does not fit is not
    /// left.
    pub fn set_estate(&self, estate: &[u8]) {
        let before = self.estate_place();
        let Some(kept) = self.keep(estate) else { return };
        let number = before.map_or(0, |(number, _)| number).wrapping_add(1);
        let copy = layout::older(number);
        for (at, value) in layout::estate(copy, number, kept.word(), estate.len()) {
            self.memory.word(at).store(value, layout::STORE);
        }
        match before {
            Some((_, Kept::Usual(place))) => self.give_back(place),
            Some((_, Kept::Secret(place))) => self.give_back_secret(place),
            None => {}
        }
    }

    /// Not among secrets if sessions would have too little room for theirs.
    fn keep(&self, estate: &[u8]) -> Option<Kept> {
        let is_small = estate.len() <= layout::secrets(self.slots) / SHARE;
        let secret = is_small.then(|| lock(&self.secret_heap).take(estate.len())).flatten();
        if let Some(place) = secret {
            self.write_secret(place, estate);
            return Some(Kept::Secret(place));
        }
        let place = lock(&self.heap).take(estate.len())?;
        self.memory.write(place.at(), estate);
        Some(Kept::Usual(place))
    }

    /// The last estate: its number and where it is.
    pub(super) fn estate_place(&self) -> Option<(u64, Kept)> {
        let (number, at, len) = layout::newest(head::ESTATES, |at| self.memory.get(at))?;
        let blob = Blob { at: at & !AMONG_SECRETS, len };
        let kept = match at & AMONG_SECRETS {
            0 => Kept::Usual(self.place(blob).flatten()?),
            _ => Kept::Secret(self.secret_place(blob).flatten()?),
        };
        Some((number, kept))
    }

    /// What was left.
    pub(super) fn estate(&self) -> Option<Zeroizing<Vec<u8>>> {
        let (_, _, len) = layout::newest(head::ESTATES, |at| self.memory.get(at))?;
        let bytes = match self.estate_place()? {
            (_, Kept::Usual(place)) => self.memory.read(place.at(), len),
            (_, Kept::Secret(place)) => self.secrets.read(place.at(), len),
        };
        bytes.map(Zeroizing::new)
    }
}

impl Kept {
    /// As the head has it.
    fn word(self) -> usize {
        match self {
            Self::Usual(place) => place.at(),
            Self::Secret(place) => place.at() | AMONG_SECRETS,
        }
    }

    pub(super) fn usual(self) -> Option<Place> {
        match self {
            Self::Usual(place) => Some(place),
            Self::Secret(_) => None,
        }
    }

    pub(super) fn secret(self) -> Option<Place> {
        match self {
            Self::Secret(place) => Some(place),
            Self::Usual(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::mapping::Mapping;

    /// Where nobody else sees it, unless it is so long that keys of sessions would have no room.
    #[test]
    fn an_estate_is_among_secrets_and_found_there() {
        let mut journal = Arc::new(Journal::new(8).expect("memory"));
        let has = |memory: &Mapping, at, text: &str| {
            let bytes = memory.read(at, 64 * 1024).expect("it is there");
            bytes.windows(text.len()).any(|window| window == text.as_bytes())
        };
        let mut before = "never said";
        for (text, times) in [("swordfish", 7), ("very long", 10_000), ("arsenic", 7)] {
            let estate = text.repeat(times);
            journal.set_estate(estate.as_bytes());
            journal = Arc::new(journal.succeeded());
            let found = journal.take_over().estate.expect("there is one");
            assert_eq!(*found, estate.as_bytes());
            let is_secret = has(&journal.secrets, 0, text);
            assert_eq!(
                (is_secret, has(&journal.memory, layout::heap(8), text)),
                match times {
                    7 => (true, false),
                    _ => (false, true),
                }
            );
            assert!(
                !has(&journal.secrets, 0, before) && !has(&journal.memory, layout::heap(8), before)
            );
            before = text;
        }
    }
}
