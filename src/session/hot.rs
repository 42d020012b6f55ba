//! What of a session changes with each message, as a few words that can be written down before
//! each use of a socket; and whether the rest has changed, which is told by a snapshot.
//!
//! Words: one of the client's half, one of where statements went, one of what the last one has
//! left, three for each link. Invariant: a session from a snapshot that was taken at one version,
//! which then resumes words of the same version, is the session whose words they are.

use super::front::{Front, Turn};
use super::link::{LinkId, hot};
use super::machine::Session;
use super::machine::repeat::Kept;
use super::routing::{Asked, Earlier};
use super::transaction::Transaction;
use crate::wire::packet::Framer;

/// Words of the session itself.
const OWN: usize = 3;

/// Links of a session that can be told in words.
pub const MOST_LINKS: usize = 7;

/// Words of a session that has no further links.
pub const ONE: usize = OWN + hot::WORDS;

/// The most words.
pub const WORDS: usize = OWN + MOST_LINKS * hot::WORDS;

impl Session {
    /// What changes with each message, into the first of these words: so many. None if it does not
    /// fit.
    pub fn hot(&self, words: &mut [u64; WORDS]) -> Option<usize> {
        let links = &self.conversation.links;
        if links.len() > MOST_LINKS {
            return None;
        }
        words[..OWN].copy_from_slice(&self.own_words());
        for (link, words) in links.iter().zip(words[OWN..].chunks_exact_mut(hot::WORDS)) {
            words.copy_from_slice(&link.hot());
        }
        Some(OWN + links.len() * hot::WORDS)
    }

    /// The same of a session that has no further links.
    #[inline]
    pub fn hot_of_one(&self) -> [u64; ONE] {
        let home = &self.conversation.links[LinkId::HOME.place()];
        let ([a, b, c], [d, e, f]) = (self.own_words(), home.hot());
        [a, b, c, d, e, f]
    }

    #[inline]
    fn own_words(&self) -> [u64; OWN] {
        // What is not here is what `version` tells of, or does not cross a restart.
        let Self {
            conversation,
            user: _,
            database: _,
            names: _,
            ids: _,
            query_attributes: _,
            renamed: _,
            joined: _,
            refused: _,
            portable,
            route: _,
            asked_at,
            kept,
            transaction,
            counted: _,
        } = self;
        let current = conversation.current.place();
        let [warnings, row_count, found_rows] = asked_at.places().map(|place| place as u64);
        let earlier = match asked_at.earlier {
            Earlier::Left => 0,
            Earlier::PutAway => 1,
            Earlier::Unknown => 2,
        };
        let further = warnings
            | row_count << 8
            | found_rows << 16
            | earlier << 24
            | u64::from(asked_at.is_unsure) << 26
            | u64::from(kept.is_again) << 27
            | u64::from(conversation.errand) << 28
            | u64::from(kept.is_refused) << 29
            | u64::from(transaction.bits()) << 32;
        [
            front(&conversation.front) | (current as u64) << 48,
            further,
            portable.as_ref().map_or(0, |portable| portable.hot()),
        ]
    }

    /// How often the rest of it may have changed.
    #[inline]
    pub fn version(&self) -> u64 {
        let own = [
            self.user.edition(),
            self.database.edition(),
            self.names.edition(),
            self.ids.edition(),
            self.portable.as_ref().map_or(0, |portable| portable.edition()),
            self.counted.as_ref().map_or(0, |counted| counted.prepared.edition()),
        ];
        let links = self.conversation.links.iter().map(|link| u64::from(link.version()));
        own.into_iter().map(u64::from).sum::<u64>() + links.sum::<u64>()
    }

    /// What is kept for another server than the one that was asked, and which edition of that it
    /// is: with each read over a link that is not the home's it is another one.
    #[inline]
    pub fn spill(&self) -> (&[u8], u32) {
        (&self.kept.command, self.kept.edition())
    }

    /// Stands as these words say, and keeps this; None if they say nothing that can be.
    pub fn resume(&mut self, words: &[u64], spill: Vec<u8>) -> Option<()> {
        let (own, of_links) = words.split_at_checked(OWN)?;
        let conversation = &mut self.conversation;
        let count = conversation.links.len();
        let place = |place: u64| usize::try_from(place).ok().filter(|place| *place < count);
        resume_front(&mut conversation.front, own[0])?;
        conversation.current = LinkId::at(place(own[0] >> 48)?);
        conversation.errand = own[1] >> 28 & 1 == 1;
        let earlier = match own[1] >> 24 & 3 {
            0 => Earlier::Left,
            1 => Earlier::PutAway,
            2 => Earlier::Unknown,
            _ => return None,
        };
        let is_unsure = own[1] >> 26 & 1 == 1;
        let places = [0, 8, 16].map(|shift| place(own[1] >> shift & 0xFF));
        let [Some(warnings), Some(row_count), Some(found_rows)] = places else { return None };
        self.asked_at =
            Asked { earlier, is_unsure, ..Asked::of([warnings, row_count, found_rows]) };
        let [is_again, is_refused] = [27, 29].map(|bit| own[1] >> bit & 1 == 1);
        *self.kept = Kept { command: spill, is_again, is_refused };
        self.transaction = Transaction::of_bits((own[1] >> 32) as u32, count)?;
        if let Some(portable) = &mut self.portable {
            portable.resume(own[2]);
        }
        let mut of_links = of_links.chunks_exact(hot::WORDS);
        for link in &mut conversation.links {
            let words = of_links.next()?.first_chunk::<{ hot::WORDS }>()?;
            link.resume(*words)?;
        }
        Some(())
    }
}

/// `framer (33) | turn (3) | quit | next number (8)`
#[inline]
fn front(front: &Front) -> u64 {
    // How much of a command is looked at follows from the rest.
    let Front { framer, turn, next_sequence, quit, whole: _ } = front;
    let turn: u64 = match turn {
        Turn::Command => 0,
        Turn::File => 1,
        Turn::Auth => 2,
        Turn::Stream => 3,
        Turn::Opaque => 4,
    };
    framer.word() | turn << 33 | u64::from(*quit) << 36 | u64::from(*next_sequence) << 37
}

fn resume_front(front: &mut Front, word: u64) -> Option<()> {
    front.framer = Framer::of_word(word)?;
    front.turn = match word >> 33 & 7 {
        0 => Turn::Command,
        1 => Turn::File,
        2 => Turn::Auth,
        3 => Turn::Stream,
        4 => Turn::Opaque,
        _ => return None,
    };
    front.quit = word >> 36 & 1 == 1;
    front.next_sequence = (word >> 37) as u8;
    Some(())
}
