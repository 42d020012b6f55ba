//! How processes of a pair have died, and what became of their sessions.
//!
//! Invariant: whoever notes a death takes no memory for it.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Journal;
use super::layout::{self, halves, head, pair};

/// Deaths that are remembered.
const RING: usize = 32;

/// Words of one of them.
const DEATH: usize = 16;

/// Signals that there are.
const SIGNALS: usize = 65;

/// How a process died, and what became of its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Death {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Its pid.
    pub pid: u32,
    /// What waitpid(2) says.
    pub status: i32,
    /// Sessions that were on record.
    pub sessions: u64,
    /// Those that went on.
    pub resumed: u64,
    /// From its end until the last of them went on.
    pub resumed_ms: u64,
    /// Those that were lost, by why.
    pub lost: Lost,
    /// Sessions that may be to blame; 0: none.
    pub suspects: [u32; SUSPECTS],
    /// It did not move any more, and was ended for that.
    pub has_hung: bool,
}

/// As many suspects of a death are named.
pub const SUSPECTS: usize = 4;

/// Sessions that were lost in a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// Bytes of theirs were in the process.
    pub moved: u64,
    /// The other end has ended the connection meanwhile.
    pub ended: u64,
    /// What is on record of them is not understood, or their sockets are not there.
    pub unknown: u64,
    /// Processes have died of them.
    pub deadly: u64,
    /// Processes died again and again, and nobody knew of what.
    pub given_up: u64,
}

/// Deaths since the pair was made, and what became of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// By signal, those that there were; 0: without one.
    pub by_signal: Vec<(i32, u64)>,
    /// Sessions that went on.
    pub resumed: u64,
    /// Sessions that did not.
    pub lost: u64,
}

impl Journal {
    /// Notes that a process has died. No memory is needed for it.
    pub fn note_death(&self, death: Death) {
        let signal = (death.status & 0x7F) as usize % SIGNALS;
        self.add(head::SIGNALS + signal, 1);
        self.remember_death(death);
    }

    /// One that another pair has counted.
    pub fn remember_death(&self, death: Death) {
        let number = self.memory.get(head::DEATHS).unwrap_or_default();
        self.set_death(number, death);
        self.memory.word(head::DEATHS).store(number.wrapping_add(1), layout::STORE);
    }

    /// What has become of the sessions of the last one that has died. To be said once.
    pub fn amend_death(&self, amended: impl FnOnce(Death) -> Death) {
        if let Some(last) = self.memory.get(head::DEATHS).and_then(|deaths| deaths.checked_sub(1)) {
            let death = amended(self.death(last));
            self.add(head::RESUMED, death.resumed);
            self.add(head::LOST, death.lost.all());
            self.set_death(last, death);
        }
    }

    /// Only one process writes at a time.
    fn add(&self, at: usize, more: u64) {
        let word = self.memory.word(at);
        word.store(word.load(Ordering::Acquire).wrapping_add(more), layout::STORE);
    }

    /// What there was since the pair was made.
    pub fn totals(&self) -> Deaths {
        let word = |at| self.memory.get(at).unwrap_or_default();
        let signals = (0..SIGNALS).map(|it| (it as i32, word(head::SIGNALS + it)));
        Deaths {
            by_signal: signals.filter(|(_, deaths)| *deaths > 0).collect(),
            resumed: word(head::RESUMED),
            lost: word(head::LOST),
        }
    }

    /// The deaths that are remembered, the last one first.
    pub fn deaths(&self) -> Vec<Death> {
        let deaths = self.memory.get(head::DEATHS).unwrap_or_default();
        let first = deaths.saturating_sub(RING as u64);
        (first..deaths).rev().map(|number| self.death(number)).collect()
    }

    fn death(&self, number: u64) -> Death {
        let word = |at| self.memory.get(death_at(number) + at).unwrap_or_default();
        Death::of(std::array::from_fn::<_, DEATH, _>(word))
    }

    fn set_death(&self, number: u64, death: Death) {
        for (at, word) in death.words().into_iter().enumerate() {
            self.memory.word(death_at(number) + at).store(word, layout::STORE);
        }
    }
}

impl Lost {
    /// All of them.
    pub fn all(self) -> u64 {
        let Self { moved, ended, unknown, deadly, given_up } = self;
        [moved, ended, unknown, deadly, given_up].into_iter().fold(0, u64::wrapping_add)
    }
}

impl Death {
    /// As it stands in the ring.
    fn words(self) -> [u64; DEATH] {
        let Self { at_ms, pid, status, sessions, resumed, resumed_ms, lost, .. } = self;
        let Lost { moved, ended, unknown, deadly, given_up } = lost;
        let ended_as = pair(pid, status as u32);
        let [first, second, third, fourth] = self.suspects;
        let suspects = [pair(first, second), pair(third, fourth)];
        let words = [
            [at_ms, ended_as, sessions, resumed],
            [resumed_ms, moved, ended, unknown],
            [suspects[0], suspects[1], u64::from(self.has_hung), deadly],
            [given_up, 0, 0, 0],
        ];
        std::array::from_fn(|at| words[at / 4][at % 4])
    }

    /// The same, back.
    fn of(words: [u64; DEATH]) -> Self {
        let [at_ms, ended_as, sessions, resumed, resumed_ms, moved, ended, unknown, rest @ ..] =
            words;
        let [suspects, more_suspects, has_hung, deadly, given_up, ..] = rest;
        let ((pid, status), lost) =
            (halves(ended_as), Lost { moved, ended, unknown, deadly, given_up });
        let ((first, second), (third, fourth)) = (halves(suspects), halves(more_suspects));
        Self {
            at_ms,
            pid,
            status: status as i32,
            sessions,
            resumed,
            resumed_ms,
            lost,
            suspects: [first, second, third, fourth],
            has_hung: has_hung != 0,
        }
    }
}

fn death_at(number: u64) -> usize {
    head::RING + DEATH * (number % RING as u64) as usize
}
