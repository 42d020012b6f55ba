//! Laws: the pieces that bytes come in change nothing, nor does a restart between two of them, and
//! nothing that anybody says makes a session panic or lose a byte.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::metrics::Totals;
use crate::session::hot::{ONE, WORDS};
use crate::session::snapshot::SessionSnapshot;
use crate::wire::capability as cap;
use crate::wire::packet::packet;

/// Bytes of one side, in order with the other's.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub way: usize,
    pub bytes: Vec<u8>,
}

/// Commands and answers that fit, each perhaps asked before the answer to the one before.
fn conversation(capabilities: u32) -> impl Strategy<Value = Vec<Said>> {
    let traces: Vec<(Vec<u8>, Vec<u8>)> = traces()
        .into_iter()
        // A replica's packets are no commands.
        .filter(|trace| trace.capabilities == capabilities && trace.asked.first() != Some(&0x12))
        .map(|trace| {
            let payloads: Vec<&[u8]> = trace.answer.iter().map(Vec::as_slice).collect();
            (packet(0, trace.asked), numbered(1, &payloads))
        })
        .chain([(packet(0, b"\x19\x01\0\0\0"), Vec::new())])
        .chain(rewritten())
        .collect();
    vec((0..traces.len(), any::<bool>()), 1..12).prop_map(move |chosen| {
        let (mut said, mut owed) = (Vec::new(), Vec::new());
        for (at, pipelined) in chosen {
            let (asked, answer) = &traces[at];
            said.push(Said { way: UP, bytes: asked.clone() });
            owed.extend_from_slice(answer);
            // Behind a change of user a client's packets may be answers to the server's questions.
            if !pipelined || asked.get(HEADER) == Some(&code::CHANGE_USER) {
                said.push(Said { way: DOWN, bytes: std::mem::take(&mut owed) });
            }
        }
        said.push(Said { way: DOWN, bytes: owed });
        said
    })
}

/// What is not passed on as it came, or changes what is remembered.
fn rewritten() -> Vec<(Vec<u8>, Vec<u8>)> {
    let ok = packet(1, &[0, 0, 0, 2, 0, 0, 0]);
    let execute = |statement: u32, parameter: &[u8]| {
        let statement = statement.to_le_bytes();
        packet(0, &[&[0x17], &statement[..], &[0, 1, 0, 0, 0, 0], parameter].concat())
    };
    vec![
        (packet(0, b"\x03KILL 2147483655"), ok.clone()),
        (packet(0, b"\x03SELECT 1; /*! KILL 2147483655 */"), ok.clone()),
        (packet(0, b"\x16KILL ?"), packet(1, &[0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        (execute(9, b"\x01\x08\x80\x07\0\0\x80\0\0\0\0"), ok.clone()),
        (execute(9, b"\0\x07\0\0\x80\0\0\0\0"), ok.clone()),
        (execute(u32::MAX, b"\x01\xFD\0\x0A2147483655"), ok.clone()),
        (packet(0, b"\x19\x09\0\0\0"), Vec::new()),
        (packet(0, b"\x1F"), ok.clone()),
        (packet(0, b"\x02shop"), ok.clone()),
        (packet(0, b"\x11you\0\0there\0"), ok),
    ]
}

fn dialects() -> impl Strategy<Value = u32> {
    prop_oneof![Just(OLD), Just(NEW)]
}

pub(crate) fn conversations() -> impl Strategy<Value = (u32, Vec<Said>)> {
    dialects().prop_flat_map(|capabilities| (Just(capabilities), conversation(capabilities)))
}

fn garbage() -> impl Strategy<Value = Vec<Said>> {
    // Lengths of packets that are short enough to come to an end, and commands that exist.
    let packets = (0..40_usize, any::<u8>(), vec(any::<u8>(), 0..40))
        .prop_map(|(length, n, body)| [&[length as u8, 0, 0, n][..], &body].concat());
    let commands = (0..0x21_u8, vec(any::<u8>(), 0..30))
        .prop_map(|(code, body)| packet(0, &[&[code][..], &body].concat()));
    let bytes = prop_oneof![packets, commands, vec(any::<u8>(), 0..60)];
    vec((UP..=DOWN, bytes).prop_map(|(way, bytes)| Said { way, bytes }), 0..20)
}

/// What came of it: what was passed on each way, the session, what it counted.
type Outcome = ([Vec<u8>; 2], Session, Totals);

/// Everything as it was said.
fn at_once(capabilities: u32, said: &[Said]) -> Outcome {
    in_pieces(capabilities, said, &[usize::MAX], Restart::Never)
}

#[derive(Clone, Copy, PartialEq)]
enum Restart {
    Never,
    AfterEachPiece,
}

fn in_pieces(capabilities: u32, said: &[Said], lengths: &[usize], restart: Restart) -> Outcome {
    talk(Bench::new(capabilities, 0), said, lengths, |session| {
        if restart == Restart::AfterEachPiece {
            *session = heard(&told(session));
        }
    })
}

fn told(session: &Session) -> Vec<u8> {
    serde_json::to_vec(&SessionSnapshot::from(session.clone())).expect("a session can be told")
}

fn heard(told: &[u8]) -> Session {
    serde_json::from_slice::<SessionSnapshot>(told).expect("and heard").into()
}

/// What is on record of a session whose process dies behind every so many pieces.
struct Recorded {
    every: usize,
    pieces: usize,
    version: Option<u64>,
    told: Vec<u8>,
}

impl Recorded {
    fn new(every: usize) -> Self {
        Self { every, pieces: 0, version: None, told: Vec::new() }
    }

    fn handle(&mut self, session: &mut Session) {
        if self.version != Some(session.version()) {
            (self.version, self.told) = (Some(session.version()), told(session));
        }
        let mut words = [0; WORDS];
        let count = session.hot(&mut words).expect("it has few links");
        if count == ONE {
            assert_eq!(words[..count], session.hot_of_one());
        }
        self.pieces += 1;
        if self.pieces.is_multiple_of(self.every) {
            let spill = session.spill().0.to_vec();
            *session = heard(&self.told);
            session.resume(&words[..count], spill).expect("its own words");
            self.version = Some(session.version());
        }
    }
}

/// All of it in pieces of these lengths, in turn, and the way of each.
pub(crate) fn in_lengths(said: &[Said], lengths: &[usize], mut say: impl FnMut(usize, &[u8])) {
    let mut lengths = lengths.iter().cycle();
    for Said { way, bytes } in said {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = *lengths.next().expect("there is one");
            let (piece, left) = rest.split_at(length.clamp(1, rest.len()));
            rest = left;
            say(*way, piece);
        }
    }
}

/// Says all of it in pieces, and does this behind each.
fn talk(
    mut bench: Bench,
    said: &[Said],
    lengths: &[usize],
    mut behind: impl FnMut(&mut Session),
) -> Outcome {
    in_lengths(said, lengths, |way, piece| {
        let _ = if way == UP { bench.client(piece) } else { bench.server(piece) };
        behind(&mut bench.session);
    });
    // What is held back is part of what a restart takes along.
    for way in [UP, DOWN] {
        let held = std::mem::take(&mut bench.unjudged[way]);
        bench.passed[way].extend(held);
    }
    bench.session.take_renamed();
    (bench.passed, bench.session, bench.counters.totals())
}

fn all_of(said: &[Said], way: usize) -> Vec<u8> {
    said.iter().filter(|said| said.way == way).flat_map(|said| said.bytes.clone()).collect()
}

proptest! {
    #[test]
    fn pieces_and_restarts_change_nothing(
        (capabilities, said) in conversations(),
        lengths in vec(1..40_usize, 1..20),
    ) {
        let expected = at_once(capabilities, &said);
        prop_assert!(expected.1.conversation().is_idle(), "{:?}", expected.1);
        prop_assert_eq!(&in_pieces(capabilities, &said, &[1], Restart::Never), &expected);
        prop_assert_eq!(&in_pieces(capabilities, &said, &lengths, Restart::Never), &expected);
        prop_assert_eq!(
            &in_pieces(capabilities, &said, &lengths, Restart::AfterEachPiece),
            &expected
        );
    }

    /// What seldom changes is written down only when it has, the rest each time.
    #[test]
    fn a_session_goes_on_from_what_is_on_record(
        (capabilities, said) in conversations(),
        lengths in vec(1..40_usize, 1..20),
        every in 1..5_usize,
        is_followed in any::<bool>(),
    ) {
        let bench = || {
            let mut bench = Bench::new(capabilities, 0);
            if is_followed {
                bench.session.follow(LoggedInAs::default());
            }
            bench
        };
        let expected = talk(bench(), &said, &lengths, |_| ());
        let mut recorded = Recorded::new(every);
        let got = talk(bench(), &said, &lengths, |session| recorded.handle(session));
        prop_assert_eq!(&got, &expected);
    }

    #[test]
    fn garbage_goes_on_from_what_is_on_record(
        capabilities in dialects(),
        said in garbage(),
        lengths in vec(1..20_usize, 1..20),
        words in vec(any::<u64>(), 0..30),
    ) {
        let expected = at_once(capabilities, &said);
        let mut recorded = Recorded::new(1);
        let bench = Bench::new(capabilities, 0);
        let got = talk(bench, &said, &lengths, |session| recorded.handle(session));
        prop_assert_eq!(&got, &expected);
        // Nor does it trust words.
        let _ = got.1.clone().resume(&words, Vec::new());
    }

    #[test]
    fn pieces_of_garbage_change_nothing_and_none_is_lost(
        capabilities in dialects(),
        said in garbage(),
        lengths in vec(1..20_usize, 1..20),
    ) {
        let expected = at_once(capabilities, &said);
        let got = in_pieces(capabilities, &said, &lengths, Restart::AfterEachPiece);
        prop_assert_eq!(&got, &expected);
        // No id of ours is among bytes as short as these.
        prop_assert_eq!(&got.0[UP], &all_of(&said, UP));
        prop_assert_eq!(&got.0[DOWN], &all_of(&said, DOWN));
    }

    #[test]
    fn pieces_of_damaged_conversations_change_nothing(
        (capabilities, mut said) in conversations(),
        damage in vec(any::<(prop::sample::Index, prop::sample::Index, u8)>(), 1..4),
        lengths in vec(1..40_usize, 1..20),
    ) {
        for (which, at, byte) in damage {
            let bytes = &mut which.get_mut(&mut said).bytes;
            if !bytes.is_empty() {
                *at.get_mut(bytes) = byte;
            }
        }
        let expected = at_once(capabilities, &said);
        let got = in_pieces(capabilities, &said, &lengths, Restart::AfterEachPiece);
        prop_assert_eq!(&got, &expected);
    }

    #[test]
    fn negotiated_answers_never_panic(
        capabilities in any::<u32>(),
        extended in any::<u32>(),
        said in garbage(),
    ) {
        let capabilities = capabilities & !cap::QUERY_ATTRIBUTES;
        let mut bench = Bench::logging_in(capabilities, extended);
        for Said { way, bytes } in &said {
            let _ = if *way == UP { bench.client(bytes) } else { bench.server(bytes) };
        }
    }
}
