//! The other process of a restart, as whoever comes after this one is to know it.
//!
//! Invariant: it is on record before a session is given or taken, and until no session can be the
//! other process's any more.

use std::os::fd::RawFd;

use super::layout::{self, Phase, head, slot, state};
use super::{Journal, Slot};

/// The other process of a restart, while sessions of either may be the other's: whoever comes after
/// this one finds it by these descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tie {
    /// What this process is in the restart.
    pub part: Part,
    /// The way to the other one.
    pub channel: RawFd,
    /// Its id.
    pub pid: u32,
    /// Tells of its end; of its keeper's, if it has one.
    pub process: Option<RawFd>,
    /// Tells of the end of the process that such a keeper has.
    pub carrier: Option<RawFd>,
}

/// What a process is in a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It gives its sessions away.
    Predecessor,
    /// It takes them over.
    Successor,
}

/// Words of a tie.
const WORDS: usize = 5;

impl Tie {
    /// As it stands in the head; the first word says that there is one.
    fn words(self) -> [u64; WORDS] {
        let Self { part, channel, pid, process, carrier } = self;
        let part = match part {
            Part::Predecessor => 1,
            Part::Successor => 2,
        };
        let word = |fd: Option<RawFd>| fd.map_or(u64::MAX, |fd| fd as u64);
        [part, word(Some(channel)), u64::from(pid), word(process), word(carrier)]
    }

    /// The same, back; None: there is none.
    fn of([part, channel, pid, process, carrier]: [u64; WORDS]) -> Option<Self> {
        let part = match part {
            1 => Part::Predecessor,
            2 => Part::Successor,
            _ => return None,
        };
        let fd = |word: u64| RawFd::try_from(word).ok();
        let (channel, pid) = (fd(channel)?, u32::try_from(pid).ok()?);
        Some(Self { part, channel, pid, process: fd(process), carrier: fd(carrier) })
    }
}

impl Journal {
    /// From here on sessions may be another process's, or come from there; if this one dies, who
    /// comes after it brings that in order.
    pub fn tie(&self, tie: Tie) {
        let [part, rest @ ..] = tie.words();
        self.memory.word(head::TIE).store(0, layout::STORE);
        for (at, word) in rest.into_iter().enumerate() {
            self.memory.word(head::TIE + 1 + at).store(word, layout::STORE);
        }
        self.memory.word(head::TIE).store(part, layout::STORE);
        self.set_phase(Phase::Serving);
    }

    /// There is no other process any more, or it has no part in what is here.
    pub fn untie(&self) {
        self.memory.word(head::TIE).store(0, layout::STORE);
    }

    /// To whom the process was tied that has died.
    pub fn tied(&self) -> Option<Tie> {
        Tie::of(std::array::from_fn(|at| self.memory.get(head::TIE + at).unwrap_or_default()))
    }
}

impl Slot {
    /// The session is given to another process as it stands, in its last commit. What is on record
    /// stays until it is known whose it is. False if nothing is.
    pub fn give(&mut self) -> bool {
        if self.is_live {
            self.set(slot::STATE, state::GIVEN);
            self.is_live = false;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_is_found_as_it_was_made() {
        let journal = Journal::new(1).expect("memory");
        assert_eq!(journal.tied(), None);
        let tie =
            Tie { part: Part::Predecessor, channel: 7, pid: 4711, process: Some(0), carrier: None };
        for tie in [tie, Tie { part: Part::Successor, process: None, carrier: Some(9), ..tie }] {
            journal.tie(tie);
            assert_eq!(journal.tied(), Some(tie));
            assert_eq!(journal.phase(), Phase::Serving);
        }
        journal.untie();
        assert_eq!(journal.tied(), None);
    }
}
