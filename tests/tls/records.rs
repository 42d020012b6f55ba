//! The record layer against rustls: every suite, both roles, any cut, moved at any byte.

use odp::net::tls::keys::Version;
use odp::net::tls::record::Update;
use proptest::prelude::*;

use crate::support::{Cell, Ours, Theirs, cells, we_connect, we_serve};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Act {
    /// We send so many bytes.
    Speak(usize),
    /// rustls sends so many bytes.
    Listen(usize),
    /// We put new keys into use.
    OurKeys(bool),
    /// rustls does, and asks us to.
    TheirKeys,
    /// We move.
    Move,
    /// Bytes for us are cut into pieces of so many, and we move between any two of them.
    Cut(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let length = prop_oneof![0..64usize, 16_000..17_000usize, 0..60_000usize];
    prop_oneof![
        4 => length.clone().prop_map(Act::Speak),
        4 => length.prop_map(Act::Listen),
        1 => any::<bool>().prop_map(Act::OurKeys),
        1 => Just(Act::TheirKeys),
        2 => Just(Act::Move),
        1 => (1..5000usize).prop_map(Act::Cut),
    ]
}

/// Bytes that tell where in the stream they stand.
fn stream(from: usize, length: usize) -> Vec<u8> {
    (from..from + length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

struct Pair {
    ours: Ours,
    theirs: Theirs,
    sent: [usize; 2],
    cut: usize,
}

impl Pair {
    fn new((ours, theirs): (Ours, Theirs)) -> Self {
        Self { ours, theirs, sent: [0; 2], cut: usize::MAX }
    }

    fn play(&mut self, act: &Act) {
        let is_tls13 = self.ours.records.version() == Version::Tls13;
        match *act {
            Act::Speak(length) => {
                let bytes = stream(self.sent[0], length);
                self.sent[0] += length;
                self.ours.write(&bytes);
                let output = self.ours.output();
                assert_eq!(self.theirs.feed(&output).expect("good records"), bytes);
            }
            Act::Listen(length) => {
                let bytes = stream(self.sent[1], length);
                self.sent[1] += length;
                let mut received = Vec::new();
                // rustls' own buffer is bounded.
                for part in bytes.chunks(16_384) {
                    self.theirs.write(part);
                    received.extend(self.deliver());
                }
                assert_eq!(received, bytes);
            }
            Act::OurKeys(both) => {
                let update = if both { Update::Both } else { Update::Own };
                self.ours.records.update_keys(update);
            }
            Act::TheirKeys if is_tls13 => self.theirs.refresh_keys(),
            Act::TheirKeys => {}
            Act::Move => self.ours.freeze(),
            Act::Cut(piece) => self.cut = piece,
        }
    }

    fn deliver(&mut self) -> Vec<u8> {
        let output = self.theirs.output();
        let mut received = Vec::new();
        for piece in output.chunks(self.cut) {
            received.extend(self.ours.feed(piece).expect("good records"));
            if self.cut < usize::MAX {
                self.ours.freeze();
            }
        }
        received
    }
}

fn play(pair: (Ours, Theirs), room: usize, acts: &[Act]) {
    let mut pair = Pair::new(pair);
    pair.ours.room = room;
    // What came with the handshake: tickets.
    assert_eq!(pair.ours.feed(&[]).expect("tickets at the most"), b"");
    acts.iter().for_each(|act| pair.play(act));
    [Act::Speak(10), Act::Listen(10), Act::Speak(10)].iter().for_each(|act| pair.play(act));
    pair.ours.records.close();
    let output = pair.ours.output();
    pair.theirs.feed(&output).expect("close_notify");
    pair.theirs.close();
    assert_eq!(pair.deliver(), b"");
    assert!(pair.ours.ended, "close_notify was heard");
}

fn cell() -> impl Strategy<Value = Cell> {
    prop::sample::select(cells())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn we_serve_a_rustls_client(
        cell in cell(),
        chunk in prop_oneof![1..40usize, 1000..9000usize],
        room in prop_oneof![1..200usize, 16_000..17_000usize],
        acts in prop::collection::vec(act(), 0..16),
    ) {
        play(we_serve(cell, chunk), room, &acts);
    }

    #[test]
    fn we_connect_to_a_rustls_server(
        cell in cell(),
        chunk in prop_oneof![1..40usize, 1000..9000usize],
        room in prop_oneof![1..200usize, 16_000..17_000usize],
        acts in prop::collection::vec(act(), 0..16),
    ) {
        play(we_connect(cell, chunk), room, &acts);
    }
}

/// Every cell, with a KeyUpdate before, during and after a move, in both directions.
#[test]
fn keys_change_around_a_move() {
    for cell in cells() {
        for pair in [we_serve(cell, 4096), we_connect(cell, 4096)] {
            let acts = [
                Act::TheirKeys,
                Act::Listen(100),
                Act::OurKeys(true),
                Act::Move,
                Act::Speak(20_000),
                Act::Listen(1),
                Act::TheirKeys,
                Act::Cut(1),
                Act::Listen(300),
                Act::OurKeys(false),
                Act::Speak(1),
                Act::Cut(7),
                Act::TheirKeys,
                Act::TheirKeys,
                Act::Listen(300),
                Act::Move,
                Act::Speak(40_000),
            ];
            play(pair, 1 << 15, &acts);
        }
    }
}

/// Megabytes, moved at every 64 KiB.
#[test]
fn megabytes_arrive_across_moves() {
    for cell in cells() {
        let mut pair = Pair::new(we_serve(cell, 4096));
        pair.ours.feed(&[]).expect("nothing");
        for round in 0..32 {
            pair.play(&Act::Speak(65_536));
            pair.play(&Act::Listen(65_536));
            if round % 5 == 0 {
                pair.play(&Act::OurKeys(true));
                pair.play(&Act::TheirKeys);
            }
            pair.play(&Act::Move);
        }
        assert_eq!(pair.sent, [32 * 65_536; 2]);
    }
}
