//! A lane by itself, and one that is kept while its process may die at any instant.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::buffer::arena::Kind;

fn put(lane: &mut Lane, bytes: &[u8]) {
    lane.room()[..bytes.len()].copy_from_slice(bytes);
    lane.filled(bytes.len());
}

#[test]
fn bytes_are_written_as_far_as_they_are_judged() {
    let mut lane = Lane::default();
    put(&mut lane, b"one two");
    assert_eq!((lane.pending(), lane.unjudged()), (&b""[..], &b"one two"[..]));
    lane.judge(4);
    lane.written(2);
    assert_eq!((lane.pending(), lane.unjudged()), (&b"e "[..], &b"two"[..]));
    put(&mut lane, b" three");
    assert_eq!(lane.bytes(), b"e two three");
    lane.judge(9);
    lane.written(11);
    assert!(lane.is_empty());
    // Nothing came: the buffer goes back.
    lane.room();
    lane.filled(0);
    assert!(lane.buffer.is_none());
}

#[test]
fn a_lane_that_rests_holds_nothing_that_is_on_record_no_more() {
    let mut lane = Lane::default();
    lane.keep_in(Arena::leaked(Kind::Buffers, 4));
    put(&mut lane, b"one");
    lane.judge(3);
    lane.recorded();
    lane.rest();
    assert_eq!(lane.pending(), b"one");
    lane.written(3);
    lane.rest();
    assert!(lane.is_empty() && lane.is_changed() && lane.buffer.is_none());
    assert!(lane.before.is_some(), "it is on record");
    lane.recorded();
    assert!(lane.before.is_none());
    lane.rest();
    assert!(!lane.is_changed(), "there was nothing to be given back");
}

#[test]
fn a_rewritten_stretch_is_judged_with_what_is_before_it() {
    let mut lane = Lane::default();
    put(&mut lane, b"say 4294967295 and more");
    let rewrite = Rewrite { range: 4..14, with: b"7".to_vec() };
    assert!(
        lane.take(Intake { consumed: 14, rewrite: Some(rewrite), is_held: false }),
        "more may be behind"
    );
    assert_eq!((lane.pending(), lane.unjudged()), (&b"say 7"[..], &b" and more"[..]));
    assert!(!lane.take(Intake { consumed: 9, rewrite: None, is_held: false }));
    assert_eq!(lane.pending(), b"say 7 and more");
}

#[test]
fn words_of_ours_stand_behind_what_was_judged() {
    let mut lane = Lane::default();
    put(&mut lane, b"old news");
    lane.judge(4);
    lane.say(b"bye");
    assert_eq!((lane.pending(), lane.unjudged()), (&b"old bye"[..], &b""[..]));
    let mut full = Lane::with(&[0; SIZE], SIZE, Source::Open).expect("it fits");
    full.say(b"bye");
    assert_eq!(full.pending().len(), SIZE, "there is no place for it");
}

#[test]
fn what_was_written_can_be_put_back() {
    let mut lane = Lane::default();
    put(&mut lane, b"one two");
    lane.judge(4);
    lane.written(2);
    assert!(lane.put_back(b"one "));
    assert_eq!((lane.pending(), lane.unjudged()), (&b""[..], &b"one two"[..]));
    lane.judge(7);
    lane.written(7);
    assert!(lane.is_empty() && lane.put_back(b"two"), "an empty one has room");
    assert_eq!(lane.unjudged(), b"two");
    // As much as reads have left room for, whatever was read meanwhile.
    let kept = [b'k'; 8 * 1024];
    let mut lane = Lane::default();
    put(&mut lane, &kept);
    put(&mut lane, &vec![b'x'; SIZE - SLACK - kept.len()]);
    lane.judge(kept.len());
    lane.reserve(kept.len());
    lane.written(kept.len());
    assert!(lane.is_full() && lane.room().is_empty());
    assert!(lane.put_back(&kept));
    assert_eq!(lane.unjudged().len(), SIZE - SLACK);
}

#[test]
fn a_lane_takes_no_more_than_its_buffer() {
    assert!(Lane::with(&[0; SIZE + 1], 0, Source::Open).is_none());
    assert!(Lane::with(&[0; 3], 4, Source::Open).is_none());
    let mut lane = Lane::default();
    assert_eq!(lane.room().len(), SIZE - SLACK);
    put(&mut lane, &[b'x'; SIZE - SLACK]);
    assert!(lane.is_full());
    lane.number(8, 9);
    assert_eq!(lane.bytes()[11], 9);
}

/// What happens to a lane.
#[derive(Clone, Debug)]
enum Step {
    Record,
    Read(usize),
    Write(usize),
    Judge(usize),
    Rewrite(usize, usize, usize),
    Discard(usize),
    PutBack(usize),
    Answer(usize),
    Say(usize),
    Number(usize),
    Patch(usize),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let few = || prop_oneof![0..20_usize, 0..SIZE];
    vec(
        prop_oneof![
            4 => Just(Step::Record),
            5 => few().prop_map(Step::Read),
            5 => few().prop_map(Step::Write),
            5 => few().prop_map(Step::Judge),
            2 => (few(), 0..50_usize, 0..60_usize).prop_map(|(a, b, c)| Step::Rewrite(a, b, c)),
            1 => few().prop_map(Step::Discard),
            1 => (0..900_usize).prop_map(Step::PutBack),
            1 => (0..100_usize).prop_map(Step::Answer),
            1 => (0..60_usize).prop_map(Step::Say),
            1 => few().prop_map(Step::Number),
            1 => few().prop_map(Step::Patch),
            1 => Just(Step::Clear),
        ],
        1..80,
    )
}

/// A lane, what is on record of it, and what the kernel would have counted since.
struct Kept {
    lane: Lane,
    arena: &'static Arena,
    recorded: Standing,
    pending: Vec<u8>,
    unjudged: Vec<u8>,
    read: Vec<u8>,
    written: usize,
    fill: Option<u32>,
    next: u8,
}

impl Kept {
    fn record(&mut self) {
        self.recorded = self.lane.standing().expect("the arena has room");
        self.lane.recorded();
        (self.pending, self.unjudged) =
            (self.lane.pending().to_vec(), self.lane.unjudged().to_vec());
        (self.read, self.written) = (Vec::new(), 0);
    }

    /// What is to be written is first.
    fn read(&mut self, n: usize) {
        self.write(usize::MAX);
        self.lane.make_room();
        if self.lane.is_changed() {
            self.record();
        }
        match self.lane.target() {
            Target::OnRecord => {}
            Target::Piece(place) => self.fill = Some(place),
            Target::Elsewhere => panic!("the arena has room"),
        }
        let room = self.lane.room();
        let n = n.min(room.len());
        for byte in &mut room[..n] {
            self.next = self.next.wrapping_add(1);
            *byte = self.next;
        }
        self.read.extend_from_slice(&room[..n]);
        self.lane.filled(n);
    }

    fn write(&mut self, n: usize) {
        if self.lane.is_changed() {
            self.record();
        }
        let n = n.min(self.lane.pending().len());
        self.lane.written(n);
        self.written += n;
    }

    fn step(&mut self, step: Step) {
        let lane = &mut self.lane;
        let unjudged = lane.unjudged().len();
        match step {
            Step::Record => self.record(),
            Step::Read(n) => self.read(n),
            Step::Write(n) => self.write(n),
            Step::Judge(n) => lane.judge(n.min(unjudged)),
            Step::Rewrite(at, replaced, with) if unjudged > 0 => {
                let at = at.min(unjudged);
                let range = at..(at + replaced).min(unjudged);
                let fits = lane.bytes().len() + with <= SIZE;
                if fits {
                    let (consumed, with) = (range.end, vec![0xEE; with]);
                    let rewrite = Some(Rewrite { range, with });
                    lane.take(Intake { consumed, rewrite, is_held: false });
                }
            }
            Step::Discard(n) if unjudged > 0 => lane.discard(n.min(unjudged)),
            Step::PutBack(n) => drop(lane.put_back(&vec![0xDD; n])),
            Step::Answer(n) => drop(lane.answer(&vec![0xCC; n])),
            Step::Say(n) => lane.say(&vec![0xBB; n]),
            Step::Number(at) if at + HEADER <= unjudged => lane.number(at, 0xAA),
            Step::Patch(at) if at + 4 <= unjudged => lane.patch(at, [0x99; 4]),
            Step::Clear => lane.clear(),
            Step::Rewrite(..) | Step::Discard(_) | Step::Number(_) | Step::Patch(_) => {}
        }
    }

    /// Who comes after the process finds what was on record, less what was written, and what was
    /// read behind it; whatever others did with pieces that are theirs.
    fn check(&self) {
        let others: Vec<Piece> = std::iter::from_fn(|| self.arena.lend()).collect();
        for mut other in others {
            other.fill(0x55);
        }
        let Standing { place, start, judged, end, .. } = self.recorded;
        let is_drained = start + self.written == end;
        let (place, [start, judged, end]) = match is_drained {
            true => (self.fill, [0; 3]),
            false => (place, [start + self.written, judged, end]),
        };
        let found = place.map_or(Vec::new(), |place| self.arena.peek(place));
        let pending = &self.pending[self.written..];
        let unjudged = [&self.unjudged[..], &self.read].concat();
        if !pending.is_empty() || !unjudged.is_empty() {
            assert_eq!(&found[start..judged], pending);
            assert_eq!(&found[judged..end + self.read.len()], unjudged);
        }
    }
}

proptest! {
    #[test]
    fn a_lane_that_is_kept_can_be_had_again_at_any_instant(
        steps in steps(),
        reserve in prop_oneof![Just(0), 0..20_000_usize],
    ) {
        let arena = Arena::leaked(Kind::Buffers, 4);
        let mut lane = Lane::default();
        lane.reserve(reserve);
        lane.keep_in(arena);
        let recorded = lane.standing().expect("it is empty");
        let (pending, unjudged, read) = (Vec::new(), Vec::new(), Vec::new());
        let (written, fill, next) = (0, None, 0);
        let mut kept =
            Kept { lane, arena, recorded, pending, unjudged, read, written, fill, next };
        kept.record();
        for step in steps {
            kept.step(step);
            kept.check();
        }
        kept.record();
        kept.check();
    }
}
