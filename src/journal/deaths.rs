//! How processes of a pair have died, what became of their sessions, and what those that panicked
//! had to say.
//!
//! Invariant: whoever notes a death, or panics, takes no memory for it.

use std::fmt::{self, Display, Write as _};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Journal;
use super::layout::{self, CODES, DEATH, PANIC, RING, halves, head, pair};

/// Signals that there are.
const SIGNALS: usize = 65;

/// How a process died, and what became of its sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// It has died of a panic.
    pub has_panicked: bool,
    /// Where that was, and what it has said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub panic: String,
}

/// As many suspects of a death are named.
pub(super) const SUSPECTS: usize = 4;

/// Sessions that were lost in a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// Their sockets were just being used, and it is not known how far.
    pub moved: u64,
    /// The other end has ended the connection meanwhile.
    pub ended: u64,
    /// What is on record of them is not understood, or their sockets are not there.
    pub unknown: u64,
    /// Processes have died of them.
    pub deadly: u64,
    /// Processes died again and again, and nobody knew of what.
    pub given_up: u64,
    /// They were in the middle of what is not put on record.
    pub unprotected: u64,
    /// Our side of a connection was shut, and not on record.
    pub shut: u64,
    /// What is on record of them and what has become of their sockets contradict each other.
    pub impossible: u64,
}

/// Deaths since the pair was made, and what became of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// By what waitpid(2) says, those that there were.
    pub by_status: Vec<(i32, u64)>,
    /// Sessions that went on.
    pub resumed: u64,
    /// Sessions that did not.
    pub lost: u64,
}

impl Journal {
    /// What a panic says, in case the process dies of it. No memory is needed for it.
    pub fn note_panic(&self, says: impl Display) {
        self.set_panic(self.deaths_so_far(), says);
    }

    /// Notes that a process has died; if that was of a panic, what was noted of it is what it has
    /// said. No memory is needed for it.
    pub fn note_death(&self, death: &Death) {
        let (signal, code) = (death.status & 0x7F, death.status >> 8 & 0xFF);
        match signal as usize % SIGNALS {
            0 => self.add(self.codes_at() + code as usize, 1),
            signal => self.add(head::SIGNALS + signal, 1),
        }
        self.push_death(self.deaths_so_far(), death);
    }

    /// One that another pair has counted.
    pub fn remember_death(&self, death: &Death) {
        let number = self.deaths_so_far();
        self.set_panic(number, &death.panic);
        self.push_death(number, death);
    }

    fn push_death(&self, number: u64, death: &Death) {
        self.set_death(number, death);
        let next = number.wrapping_add(1);
        // There is what another one has said, so long ago that it is not remembered.
        self.set_panic(next, "");
        self.memory.word(head::DEATHS).store(next, layout::STORE);
    }

    fn deaths_so_far(&self) -> u64 {
        self.memory.get(head::DEATHS).unwrap_or_default()
    }

    /// What has become of the sessions of the last one that has died. To be said once.
    pub fn amend_death(&self, amended: impl FnOnce(Death) -> Death) {
        if let Some(last) = self.deaths_so_far().checked_sub(1) {
            let death = amended(self.death(last));
            self.add(head::RESUMED, death.resumed);
            self.add(head::LOST, death.lost.all());
            self.set_death(last, &death);
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
        let signals = (1..SIGNALS).map(|it| (it as i32, word(head::SIGNALS + it)));
        let codes = (0..CODES).map(|it| ((it as i32) << 8, word(self.codes_at() + it)));
        Deaths {
            by_status: signals.chain(codes).filter(|(_, deaths)| *deaths > 0).collect(),
            resumed: word(head::RESUMED),
            lost: word(head::LOST),
        }
    }

    /// The deaths that are remembered, the last one first.
    pub fn deaths(&self) -> Vec<Death> {
        let deaths = self.deaths_so_far();
        let first = deaths.saturating_sub(RING as u64);
        (first..deaths).rev().map(|number| self.death(number)).collect()
    }

    fn death(&self, number: u64) -> Death {
        let word = |at| self.memory.get(death_at(number) + at).unwrap_or_default();
        let death = Death::of(std::array::from_fn::<_, DEATH, _>(word));
        let panic = if death.has_panicked { self.panic(number) } else { String::new() };
        Death { panic, ..death }
    }

    fn set_death(&self, number: u64, death: &Death) {
        for (at, word) in death.words().into_iter().enumerate() {
            self.memory.word(death_at(number) + at).store(word, layout::STORE);
        }
    }

    fn panic(&self, number: u64) -> String {
        let words = (0..PANIC / size_of::<u64>())
            .filter_map(|at| self.memory.get(self.panic_at(number) + at));
        let bytes: Vec<u8> =
            words.flat_map(u64::to_le_bytes).take_while(|byte| *byte != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn set_panic(&self, number: u64, says: impl Display) {
        let mut said = Said { bytes: [0; PANIC], len: 0 };
        // What does not fit is left out.
        let _ = write!(said, "{says}");
        for (at, bytes) in said.bytes.as_chunks().0.iter().enumerate() {
            let word = self.memory.word(self.panic_at(number) + at);
            word.store(u64::from_le_bytes(*bytes), layout::STORE);
        }
    }

    fn codes_at(&self) -> usize {
        layout::codes(self.slots) / size_of::<u64>()
    }

    fn panic_at(&self, number: u64) -> usize {
        let place = number as usize % RING;
        layout::panics(self.slots) / size_of::<u64>() + place * (PANIC / size_of::<u64>())
    }
}

/// A text of limited length.
struct Said {
    bytes: [u8; PANIC],
    len: usize,
}

impl fmt::Write for Said {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = (0..=text.len().min(room.len())).rfind(|len| text.is_char_boundary(*len));
        let len = len.unwrap_or_default();
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        if len == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl Lost {
    /// All of them.
    pub fn all(self) -> u64 {
        let Self { moved, ended, unknown, deadly, given_up, unprotected, shut, impossible } = self;
        let all = [moved, ended, unknown, deadly, given_up, unprotected, shut, impossible];
        all.into_iter().fold(0, u64::wrapping_add)
    }
}

impl Death {
    /// As it stands in the ring.
    fn words(&self) -> [u64; DEATH] {
        let Self { at_ms, pid, status, sessions, resumed, resumed_ms, lost, .. } = *self;
        let Lost { moved, ended, unknown, deadly, given_up, unprotected, shut, impossible } = lost;
        let ended_as = pair(pid, status as u32);
        let [first, second, third, fourth] = self.suspects;
        let suspects = [pair(first, second), pair(third, fourth)];
        let flags = u64::from(self.has_hung) | u64::from(self.has_panicked) << 1;
        let words = [
            [at_ms, ended_as, sessions, resumed],
            [resumed_ms, moved, ended, unknown],
            [suspects[0], suspects[1], flags, deadly],
            [given_up, unprotected, shut, impossible],
        ];
        std::array::from_fn(|at| words[at / 4][at % 4])
    }

    /// The same, back, but for what a panic has said.
    fn of(words: [u64; DEATH]) -> Self {
        let [at_ms, ended_as, sessions, resumed, resumed_ms, moved, ended, unknown, rest @ ..] =
            words;
        let [suspects, more_suspects, flags, deadly, given_up, unprotected, shut, impossible] =
            rest;
        let lost = Lost { moved, ended, unknown, deadly, given_up, unprotected, shut, impossible };
        let (pid, status) = halves(ended_as);
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
            has_hung: flags & 1 != 0,
            has_panicked: flags & 2 != 0,
            panic: String::new(),
        }
    }
}

fn death_at(number: u64) -> usize {
    head::RING + DEATH * (number % RING as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panicked(pid: u32) -> Death {
        Death { pid, has_panicked: true, ..Death::default() }
    }

    #[test]
    fn what_a_panic_says_is_known_of_who_dies_of_it_and_of_nobody_else() {
        let journal = Journal::new(1).expect("memory");
        for pid in 1..100 {
            journal.note_panic(format_args!("{pid} was caught"));
            journal.note_panic(format_args!("the text of {pid}"));
            journal.note_death(&Death { has_panicked: pid % 2 == 0, ..panicked(pid) });
            journal.amend_death(|death| Death { resumed: 7, ..death });
        }
        journal.note_death(&panicked(100));
        let deaths = journal.deaths();
        assert_eq!((deaths[0].pid, &deaths[0].panic[..]), (100, ""), "it has said nothing");
        for Death { pid, panic, .. } in &deaths[1..] {
            let expected = if pid % 2 == 0 { format!("the text of {pid}") } else { String::new() };
            assert_eq!(*panic, expected);
        }
        let heir = Journal::new(9).expect("memory");
        deaths.iter().rev().for_each(|death| heir.remember_death(death));
        assert_eq!(heir.deaths(), deaths);
    }

    #[test]
    fn deaths_are_counted_by_signal_and_by_exit_code() {
        let journal = Journal::new(1).expect("memory");
        assert_eq!(journal.totals(), Deaths::default());
        for status in [9, 101 << 8, 1 << 8, 101 << 8, 255 << 8, 64, 9] {
            journal.note_death(&Death { status, ..Death::default() });
        }
        let by_status = vec![(9, 2), (64, 1), (1 << 8, 1), (101 << 8, 2), (255 << 8, 1)];
        assert_eq!(journal.totals().by_status, by_status);
    }

    #[test]
    fn each_number_is_found_where_it_was_put() {
        let lost = Lost {
            moved: 1,
            ended: 2,
            unknown: 4,
            deadly: 8,
            given_up: 16,
            unprotected: 32,
            shut: 64,
            impossible: 128,
        };
        assert_eq!(lost.all(), 255);
        let (suspects, has_hung) = ([3, 4, 5, 6], true);
        let ended = Death { at_ms: 7, pid: 8, status: 9, sessions: 10, ..Death::default() };
        let death = Death { resumed: 11, resumed_ms: 12, lost, suspects, has_hung, ..ended };
        for has_panicked in [false, true] {
            let death = Death { has_panicked, ..death.clone() };
            assert_eq!(Death::of(death.words()), death);
        }
    }

    #[test]
    fn a_long_text_ends_where_a_character_does() {
        let journal = Journal::new(1).expect("memory");
        for (text, len) in [("x".repeat(999), PANIC), ("€".repeat(999), PANIC / 3 * 3)] {
            journal.note_panic(&text);
            journal.note_death(&panicked(7));
            assert_eq!(journal.deaths()[0].panic, text[..len]);
        }
    }

    /// As a death: words may have been written to while others were.
    #[test]
    fn whatever_stands_there_is_a_text() {
        let journal = Journal::new(1).expect("memory");
        journal.note_death(&panicked(7));
        for at in 0..layout::PANICS {
            let word = journal.memory.word(layout::panics(1) / size_of::<u64>() + at);
            word.store(0xFF80_C3FF_F0E2_80FF, layout::STORE);
        }
        assert!(journal.deaths()[0].panic.starts_with('\u{FFFD}'));
    }
}
