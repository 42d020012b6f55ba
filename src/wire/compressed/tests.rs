//! Laws, an independent oracle, and what each malformed frame must give.

use bytes::BytesMut;
use flate2::Compression as ZlibLevel;
use mysql_common::proto::codec::PacketCodec;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::wire::packet::packet;

const KINDS: [Compression; 2] = [Compression::Zlib, Compression::Zstd(ZstdLevel::DEFAULT)];

/// What a peer that holds raw bytes and a decoder has come to.
struct Bench {
    how: Compression,
    decoder: Decoder,
    raw: Vec<u8>,
    plain: Vec<u8>,
    room: usize,
}

impl Bench {
    fn new(how: Compression, room: usize) -> Self {
        let decoder = Decoder::new(how, DecoderState::new());
        Self { how, decoder, raw: Vec::new(), plain: Vec::new(), room }
    }

    /// More raw bytes; everything that can be had of them is had.
    fn feed(&mut self, piece: &[u8]) -> Result<(), Corrupt> {
        self.raw.extend(piece);
        let mut out = vec![0; self.room];
        loop {
            let Decoded { consumed, given } = self.decoder.decode(&self.raw, &mut out)?;
            self.raw.drain(..consumed);
            self.plain.extend(&out[..given]);
            if given == 0 && consumed == 0 {
                return Ok(());
            }
        }
    }

    fn restart(&mut self) {
        let told = serde_json::to_vec(&self.decoder.state()).expect("a decoder can be told");
        let heard = serde_json::from_slice(&told).expect("and heard");
        self.decoder = Decoder::new(self.how, heard);
    }
}

fn decoded(how: Compression, raw: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let mut bench = Bench::new(how, 1 << 16);
    bench.feed(raw)?;
    assert_eq!(bench.raw, b"", "whole frames are consumed");
    Ok(bench.plain)
}

/// One frame with this content, announced as it is or otherwise.
fn frame(sequence: u8, plain: usize, content: &[u8]) -> Vec<u8> {
    let header = FrameHeader { length: content.len(), sequence, plain };
    [&header.encode()[..], content].concat()
}

/// Content as another implementation makes it, of any length.
fn packed(how: Compression, plain: &[u8]) -> Vec<u8> {
    match how {
        Compression::Zlib => {
            use std::io::Write as _;
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), ZlibLevel::fast());
            encoder.write_all(plain).expect("memory takes it");
            encoder.finish().expect("and its end")
        }
        Compression::Zstd(level) => {
            let mut out = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
            zstd_safe::compress(&mut out, plain, u8::from(level).into()).expect("room enough");
            out
        }
    }
}

/// Text that compresses somewhat.
fn text(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"abcdefghijklmnop"[(at * at / 7 + at / 1000) % 16]).collect()
}

fn encoded(how: Compression, plain: &[u8]) -> Vec<u8> {
    let (mut out, mut rest, mut sequence) = (Vec::new(), plain, 0_u8);
    while !rest.is_empty() {
        rest = &rest[encode(how, sequence, rest, &mut out)..];
        sequence = sequence.wrapping_add(1);
    }
    out
}

fn kinds() -> impl Strategy<Value = Compression> {
    (1..=22_u8, any::<bool>()).prop_map(|(level, zstd)| match zstd {
        true => Compression::Zstd(ZstdLevel(level.min(9))),
        false => Compression::Zlib,
    })
}

/// Pieces of text, each in a frame, stored or packed.
fn frames() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    let piece = prop_oneof![
        (0..200_usize).prop_map(text),
        (0..70_000_usize).prop_map(text),
        vec(any::<u8>(), 0..30_000),
    ];
    vec((piece, any::<bool>()), 1..6)
}

fn stream(how: Compression, frames: &[(Vec<u8>, bool)]) -> Vec<u8> {
    let one = |(n, (plain, stored)): (usize, &(Vec<u8>, bool))| match *stored || plain.is_empty() {
        true => frame(n as u8, 0, plain),
        false => frame(n as u8, plain.len(), &packed(how, plain)),
    };
    frames.iter().enumerate().flat_map(one).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn pieces_and_restarts_change_nothing(
        how in kinds(),
        frames in frames(),
        lengths in vec(prop_oneof![1..20_usize, 1..40_000_usize], 1..20),
        room in prop_oneof![1..100_usize, 1..20_000_usize],
        restarts in vec(any::<bool>(), 1..10),
    ) {
        let raw = stream(how, &frames);
        let expected: Vec<u8> = frames.iter().flat_map(|(plain, _)| plain.clone()).collect();
        let mut bench = Bench::new(how, room);
        let (mut rest, mut at) = (&raw[..], 0);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(lengths[at % lengths.len()].min(rest.len()));
            bench.feed(piece).expect("whole frames");
            if restarts[at % restarts.len()] {
                bench.restart();
            }
            (rest, at) = (behind, at + 1);
        }
        prop_assert_eq!(bench.raw, b"");
        prop_assert_eq!(bench.decoder.sequence(), frames.len() as u8 - 1);
        prop_assert!(bench.plain == expected, "the text is another one");
    }

    #[test]
    fn pieces_of_damaged_frames_end_alike(
        how in kinds(),
        frames in frames(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        lengths in vec(1..5000_usize, 1..20),
    ) {
        let mut raw = stream(how, &frames);
        for (at, byte) in damage {
            *at.get_mut(&mut raw) = byte;
        }
        let whole = {
            let mut bench = Bench::new(how, 1 << 14);
            let end = bench.feed(&raw);
            (end, bench.plain)
        };
        let mut bench = Bench::new(how, 1 << 14);
        let (mut rest, mut lengths) = (&raw[..], lengths.iter().cycle());
        let mut end = Ok(());
        while end.is_ok() && !rest.is_empty() {
            let n = rest.len().min(*lengths.next().expect("there is one"));
            end = bench.feed(&rest[..n]);
            rest = &rest[n..];
            bench.restart();
        }
        prop_assert_eq!(end, whole.0);
        // How much is given before the damage is found depends on the pieces; what, does not.
        let common = whole.1.len().min(bench.plain.len());
        prop_assert!(bench.plain[..common] == whole.1[..common], "not the same text");
    }

    #[test]
    fn what_is_encoded_is_decoded(how in kinds(), frames in frames()) {
        let plain: Vec<u8> = frames.into_iter().flat_map(|(plain, _)| plain).collect();
        let raw = encoded(how, &plain);
        let headers = plain.len().div_ceil(MAX_PLAIN) * HEADER;
        prop_assert!(raw.len() <= plain.len() + headers, "never longer than stored");
        prop_assert!(decoded(how, &raw).expect("frames of ours") == plain);
    }

    /// mysql_common's codec knows zlib only, and cuts off the end of what does not get shorter by
    /// it, as it makes room for no more than the content: short ones.
    #[test]
    fn the_oracle_agrees(
        payloads in vec(prop_oneof![0..40_usize, 1000..40_000_usize].prop_map(text), 1..5),
    ) {
        let mut codec = PacketCodec::default();
        codec.compress(ZlibLevel::default());
        for payload in &payloads {
            codec.reset_seq_id();
            let mut raw = BytesMut::new();
            codec.encode(&mut &payload[..], &mut raw).expect("a packet");
            let heard = decoded(Compression::Zlib, &raw).expect("frames of the oracle's");
            prop_assert!(heard == packet(0, payload));

            codec.reset_seq_id();
            let mut raw = BytesMut::from(&encoded(Compression::Zlib, &heard)[..]);
            let mut packets = Vec::new();
            // It takes one frame a call.
            for _ in 0..heard.len().div_ceil(MAX_PLAIN) {
                codec.decode(&mut raw, &mut packets).expect("frames of ours");
            }
            prop_assert!(&packets == payload);
        }
    }
}

#[test]
fn short_content_is_stored_and_long_content_packed() {
    for how in KINDS {
        for (length, stored) in [(0, true), (1, true), (49, true), (50, false), (16_384, false)] {
            let mut out = b"before".to_vec();
            assert_eq!(encode(how, 7, &vec![b'a'; length], &mut out), length);
            let header = FrameHeader::parse(&out[6..]).expect("a header");
            assert_eq!(header.sequence, 7);
            assert_eq!(header.plain == 0, stored, "{how:?}, {length} bytes");
            assert_eq!(out.len(), 6 + HEADER + header.length);
        }
        // Nothing is gained by packing noise.
        let noise: Vec<u8> =
            (0..500_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let mut out = Vec::new();
        encode(how, 0, &noise, &mut out);
        assert!(out.len() <= HEADER + noise.len());
        // What does not fit into one frame is left to the next.
        assert_eq!(encode(how, 0, &text(MAX_PLAIN + 1), &mut out), MAX_PLAIN);
    }
}

#[test]
fn each_malformed_frame_gives_its_error() {
    for how in KINDS {
        let plain = text(1000);
        let good = packed(how, &plain);
        let mut bad_checksum = good.clone();
        *bad_checksum.last_mut().expect("not empty") ^= 1;
        let surplus = [&good[..], b"xyz"].concat();
        let bomb = packed(how, &vec![0; 100_000]);
        let table = [
            ("no compressed data", frame(0, 9, b"what is this?"), Corrupt::Content),
            ("empty", frame(0, 5, b""), Corrupt::Empty { announced: 5 }),
            ("less", frame(0, 1001, &good), Corrupt::Less { announced: 1001 }),
            ("more", frame(0, 999, &good), Corrupt::More { announced: 999 }),
            ("much more", frame(0, 7, &bomb), Corrupt::More { announced: 7 }),
            ("cut off", frame(0, 1000, &good[..good.len() - 5]), Corrupt::Less { announced: 1000 }),
            ("surplus", frame(0, 1000, &surplus), Corrupt::Surplus { bytes: 3 }),
        ];
        for (name, raw, error) in table {
            assert_eq!(decoded(how, &raw), Err(error), "{how:?}: {name}");
        }
        if how == Compression::Zlib {
            // zstd's own checksum is not asked for by servers.
            assert_eq!(decoded(how, &frame(0, 1000, &bad_checksum)), Err(Corrupt::Content));
        }
        // The other kind's content.
        let other = if how == KINDS[0] { KINDS[1] } else { KINDS[0] };
        let raw = frame(0, 1000, &packed(other, &plain));
        assert_eq!(decoded(how, &raw), Err(Corrupt::Content), "{how:?}");
    }
}

#[test]
fn a_window_larger_than_a_frame_is_refused() {
    // A zstd frame header without content size: descriptor 0, window 2^30.
    let content = [&[0x28, 0xB5, 0x2F, 0xFD, 0x00, 20 << 3][..], &[0; 20]].concat();
    let raw = frame(0, 1000, &content);
    assert_eq!(decoded(KINDS[1], &raw), Err(Corrupt::Content));
}

#[test]
fn empty_frames_and_many_in_a_row_are_skipped() {
    for how in KINDS {
        let raw = [frame(3, 0, b""), frame(4, 0, b"ab"), frame(5, 0, b""), frame(6, 0, b"c")];
        assert_eq!(decoded(how, &raw.concat()).expect("frames"), b"abc");
    }
}

#[test]
fn the_longest_frame_is_taken_in_small_pieces() {
    for how in KINDS {
        let mut plain = text(1024).repeat(16 * 1024);
        plain.truncate(MAX_CONTENT);
        let raw = frame(0, plain.len(), &packed(how, &plain));
        let mut bench = Bench::new(how, 16 * 1024);
        let mut rest = &raw[..];
        while !rest.is_empty() {
            let n = rest.len().min(300_000);
            bench.feed(&rest[..n]).expect("a frame");
            rest = &rest[n..];
        }
        assert!(bench.plain == plain, "{how:?}");
    }
}

#[test]
fn levels_of_zstd_are_1_to_22() {
    assert_eq!(ZstdLevel::try_from(0), Err(NotALevel(0)));
    assert_eq!(ZstdLevel::try_from(23), Err(NotALevel(23)));
    for level in 1..=22 {
        let level = ZstdLevel::try_from(level).expect("a level");
        let raw = encoded(Compression::Zstd(level), &text(20_000));
        assert_eq!(decoded(Compression::Zstd(level), &raw).expect("frames"), text(20_000));
    }
    assert!(serde_json::from_str::<Compression>(r#"{"Zstd":99}"#).is_err());
}
