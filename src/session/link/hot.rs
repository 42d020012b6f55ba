//! What of a link changes with each message, in three words; the rest is [`Link::version`]'s.

use super::{Answering, Link, Note};
use crate::sql::analysis::Changes;
use crate::wire::packet::Framer;
use crate::wire::response::{Answer, ServerStatus};

/// Words of a link.
pub(in crate::session) const WORDS: usize = 3;

impl Link {
    /// What changes, as words.
    #[inline]
    pub(in crate::session) fn hot(&self) -> [u64; WORDS] {
        // What is not here is what `version` tells of, or does not cross a restart.
        let Self {
            dialect: _,
            framer,
            answering,
            queue: _,
            status,
            residue,
            held: _,
            knows,
            has_warnings,
        } = self;
        let status = match *status {
            ServerStatus::Unknown => 0,
            ServerStatus::Known(flags) => u64::from(flags) << 1 | 1,
        };
        let flags = u64::from(*residue)
            | u64::from(*has_warnings) << 1
            | u64::from(knows.is_of_another_user) << 2;
        let [answer, left] = answering.as_ref().map_or([0, 0], answering_words);
        [framer.word() | flags << 33 | status << 36, answer, left]
    }

    /// How often what seldom changes may have.
    #[inline]
    pub(in crate::session) fn version(&self) -> u32 {
        self.queue.edition().wrapping_add(self.knows.edition())
    }

    /// Stands as these words say; None if they say nothing that can be.
    pub(in crate::session) fn resume(&mut self, words: [u64; WORDS]) -> Option<()> {
        let [first, answer, left] = words;
        self.framer = Framer::of_word(first)?;
        self.residue = first >> 33 & 1 == 1;
        self.has_warnings = first >> 34 & 1 == 1;
        self.knows.is_of_another_user = first >> 35 & 1 == 1;
        self.status = match first >> 36 {
            0 => ServerStatus::Unknown,
            known if known & 1 == 1 => ServerStatus::Known(u16::try_from(known >> 1).ok()?),
            _ => return None,
        };
        self.answering = match answer & 1 {
            0 => None,
            _ => Some(answering(answer, left)?),
        };
        Some(())
    }
}

/// `1 | kind (4) | its two flags | begun | takes_id | sequence (8) | note (3) | frame (9)`, and in
/// the upper half what is changed; then how much is left.
#[inline]
fn answering_words(answering: &Answering) -> [u64; 2] {
    // What is under way when the process dies is not counted.
    let Answering { answer, sequence, begun, note, takes_id, changes, frame, stamp: _ } =
        *answering;
    let (kind, [execute, out], left) = match answer {
        Answer::ResultSets { execute } => (0, [execute, false], 0),
        Answer::Definitions { left, execute } => (1, [execute, false], left),
        Answer::DefinitionsUntilEof { execute } => (2, [execute, false], 0),
        Answer::Rows { execute, out } => (3, [execute, out], 0),
        Answer::Prepare => (4, [false; 2], 0),
        Answer::PrepareDefinitions { left } => (5, [false; 2], u64::from(left)),
        Answer::PrepareUntilEof { left } => (6, [false; 2], u64::from(left)),
        Answer::Fields => (7, [false; 2], 0),
        Answer::One => (8, [false; 2], 0),
        Answer::Auth => (9, [false; 2], 0),
        Answer::Stream => (10, [false; 2], 0),
    };
    let note: u64 = match note {
        Note::Plain => 0,
        Note::Database => 1,
        Note::User => 2,
        Note::Statement => 3,
        Note::Reset => 4,
        Note::Text => 5,
        Note::Unread => 6,
    };
    let frame = frame.map_or(0, |frame| u64::from(frame) << 1 | 1);
    let flags =
        u64::from(execute) | u64::from(out) << 1 | u64::from(begun) << 2 | u64::from(takes_id) << 3;
    let word = 1 | kind << 1 | flags << 5 | u64::from(sequence) << 9 | note << 17 | frame << 20;
    [word | u64::from(changes.bits()) << 32, left]
}

fn answering(word: u64, left: u64) -> Option<Answering> {
    let is = |bit: u32| word >> bit & 1 == 1;
    let (execute, out) = (is(5), is(6));
    let answer = match word >> 1 & 0xF {
        0 => Answer::ResultSets { execute },
        1 => Answer::Definitions { left, execute },
        2 => Answer::DefinitionsUntilEof { execute },
        3 => Answer::Rows { execute, out },
        4 => Answer::Prepare,
        5 => Answer::PrepareDefinitions { left: u32::try_from(left).ok()? },
        6 => Answer::PrepareUntilEof { left: u8::try_from(left).ok()? },
        7 => Answer::Fields,
        8 => Answer::One,
        9 => Answer::Auth,
        10 => Answer::Stream,
        _ => return None,
    };
    let note = match word >> 17 & 7 {
        0 => Note::Plain,
        1 => Note::Database,
        2 => Note::User,
        3 => Note::Statement,
        4 => Note::Reset,
        5 => Note::Text,
        6 => Note::Unread,
        _ => return None,
    };
    Some(Answering {
        answer,
        sequence: (word >> 9) as u8,
        begun: is(7),
        note,
        takes_id: is(8),
        changes: Changes::of_bits((word >> 32) as u32),
        frame: is(20).then_some((word >> 21) as u8),
        stamp: None,
    })
}
