//! Two legs, or a leg and raw frames, over a socket pair.

use std::future::poll_fn;
use std::io::Write as _;
use std::task::Waker;

use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::buffer::arena::{Arena, Kind};
use crate::journal::{LAYER_WORDS, Layer, Layers, Tray as Stretch};
use crate::net::tls::stream::Unloaded;
use crate::proxy::relay::leg::*;
use crate::wire::compressed::{FrameHeader, ZstdLevel, encode};

const KINDS: [Compression; 2] = [Compression::Zlib, Compression::Zstd(ZstdLevel::DEFAULT)];

/// A leg and the raw other end.
fn against_raw(how: Compression) -> (Leg, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    (Leg::compressed(Stream::from(ours), how, 0, &[]), theirs)
}

async fn write(leg: &mut Leg, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let n = poll_fn(|cx| leg.poll_write(cx, bytes)).await.expect("the peer reads");
        bytes = &bytes[n..];
    }
    poll_fn(|cx| leg.poll_flush(cx)).await.expect("the peer reads");
}

async fn read(leg: &mut Leg) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let n = poll_fn(|cx| leg.poll_read(cx, &mut buffer)).await.expect("the peer writes");
    buffer[..n].to_vec()
}

/// As much as one frame of ours takes, and no compression shortens.
fn noise() -> Vec<u8> {
    noise_of(MAX_PLAIN)
}

fn noise_of(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn sequence_of_next(peer: &mut UnixStream) -> u8 {
    let mut header = [0; HEADER];
    peer.read_exact(&mut header).await.expect("a frame");
    let header = FrameHeader::parse(&header).expect("seven bytes");
    peer.read_exact(&mut vec![0; header.length]).await.expect("its content");
    header.sequence
}

async fn send(peer: &mut UnixStream, sequence: u8, plain: &[u8]) {
    let mut frame = Vec::new();
    encode(Compression::Zlib, sequence, plain, &mut frame);
    peer.write_all(&frame).await.expect("the leg reads");
}

/// The same leg as another process would have it.
fn moved(leg: Leg) -> Leg {
    let Parts { stream, compression, .. } = leg.into_parts().expect("a socket");
    let compression = compression.map(|(state, bytes)| {
        let told = serde_json::to_vec(&state).expect("a leg can be told");
        let heard: LegState = serde_json::from_slice(&told).expect("and heard");
        heard.check(bytes.len()).expect("it can go on");
        (heard, bytes)
    });
    Leg::from_parts(Stream::from_parts(stream).expect("a socket"), compression)
}

/// Sends `text` from one leg to another, in pieces, and takes both apart again and again, whatever
/// is under way in them; what came.
async fn transfer(how: Option<Compression>, text: &[u8], pieces: &[usize]) -> Vec<u8> {
    let (from, to) = UnixStream::pair().expect("a pair of sockets");
    let leg = |stream| match how {
        Some(how) => Leg::compressed(Stream::from(stream), how, 0, &[]),
        None => Leg::plain(Stream::from(stream)),
    };
    let (mut from, mut to) = (leg(from), leg(to));
    let (mut rest, mut came) = (text, Vec::new());
    let mut pieces = pieces.iter().cycle();
    while came.len() < text.len() {
        let n = *pieces.next().expect("there is one");
        let mut buffer = vec![0; n];
        poll_fn(|cx| {
            let piece = &rest[..n.min(rest.len())];
            let mut moves = false;
            if !piece.is_empty()
                && let Poll::Ready(taken) = from.poll_write(cx, piece)
            {
                rest = &rest[taken.expect("the peer reads")..];
                moves = true;
            }
            let _ = from.poll_flush(cx);
            if let Poll::Ready(given) = to.poll_read(cx, &mut buffer) {
                came.extend(&buffer[..given.expect("the peer writes")]);
                moves = true;
            }
            if moves { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        (from, to) = (moved(from), moved(to));
    }
    came
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn legs_that_move_all_the_time_lose_nothing(
        kind in 0..3_usize,
        length in 1..300_000_usize,
        pieces in proptest::collection::vec(prop_oneof![1..100_usize, 1..60_000_usize], 1..8),
    ) {
        let text: Vec<u8> = (0..length).map(|at| b"abcdefg"[at * at / 11 % 7]).collect();
        let length = pieces.iter().sum::<usize>() * 30;
        let text = &text[..text.len().min(length)];
        let came = runtime().block_on(transfer(KINDS.get(kind).copied(), text, &pieces));
        prop_assert!(came == text);
    }
}

proptest! {
    /// Whatever is on record of it: it is refused, or goes on as far as it can.
    #[test]
    fn what_is_taken_up_may_be_anything(
        kind in 0..2_usize,
        words in proptest::collection::vec(prop_oneof![0..20_u64, any::<u64>()], LAYER_WORDS),
        place in 0..3_u64,
        (start, end) in (0..buffer::TRAY, 0..=buffer::TRAY),
        front in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let arena = Arena::leaked(Kind::Trays, 2);
        let runtime = runtime();
        let _entered = runtime.enter();
        let (mut leg, _peer) = against_raw(KINDS[kind]);
        let (start, mut piece) = (start.min(end), arena.lend().expect("a piece"));
        let n = front.len().min(end - start);
        piece[start..start + n].copy_from_slice(&front[..n]);
        let incoming = Stretch { place: Some(piece.place()), start, end };
        let mut trays = std::array::from_fn(|_| (None, Stretch::default()));
        trays[0] = (Some(piece), incoming);
        let words: Vec<u64> = words.into_iter().map(|word| word & !3 | place).collect();
        let words = words.try_into().expect("as many");
        if leg.take_up(Layer { trays, words }, &mut &[][..]).is_some() {
            leg.keep_in(arena);
            let mut lane = Lane::default();
            while let Ok(Unloaded::Data(1..)) = leg.unload(&mut lane) {
                lane.clear();
            }
            let _ = (leg.load(&mut lane), leg.layers());
        }
    }
}

/// One frame with all of this.
fn long_frame(how: Compression, plain: &[u8]) -> Vec<u8> {
    let content = match how {
        Compression::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).expect("memory takes it");
            encoder.finish().expect("and its end")
        }
        Compression::Zstd(_) => {
            let mut out = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
            zstd_safe::compress(&mut out, plain, 3).expect("room enough");
            out
        }
    };
    let header = FrameHeader { length: content.len(), sequence: 0, plain: plain.len() };
    [&header.encode()[..], &content].concat()
}

/// What is on record of a leg between two reads, and nothing else, in another process.
fn found(leg: Leg, how: Compression, arena: &'static Arena) -> Leg {
    let Layers { trays, words } = leg.layers().expect("all of it is in the arena");
    let (fd, mut pieces) = leg.into_pieces().expect("a socket");
    let trays = trays.map(|stretch| {
        let is_it = |piece: &Piece| Some(piece.place()) == stretch.place;
        (pieces.iter().position(is_it).map(|at| pieces.swap_remove(at)), stretch)
    });
    let mut leg = Leg::compressed(Stream::from_fd(fd).expect("a socket"), how, 0, &[]);
    leg.take_up(Layer { trays, words }, &mut &[][..]).expect("it is a leg's");
    leg.keep_in(arena);
    leg
}

/// Frames that no tray has room for, one behind the other; the process dies at each read.
#[tokio::test]
async fn long_frames_are_on_record_at_each_read() {
    // Some third of it is saved.
    let text: Vec<u8> = noise_of(600_000).into_iter().map(|byte| byte & 0x1F).collect();
    for how in KINDS {
        let arena = Arena::leaked_with_longer(8, 2);
        let (mut leg, mut peer) = against_raw(how);
        leg.keep_in(arena);
        let sent: Vec<u8> = [10, 300_000, 70_000, text.len()]
            .into_iter()
            .flat_map(|length| long_frame(how, &text[..length]))
            .collect();
        let writing = tokio::spawn(async move { peer.write_all(&sent).await.map(|()| peer) });
        let (mut came, mut reads, mut lane) = (Vec::new(), 0, Lane::default());
        while came.len() < 370_010 + text.len() {
            match leg.unload(&mut lane).expect("it is sound") {
                Unloaded::Data(_) => {
                    came.extend_from_slice(lane.unjudged());
                    lane.clear();
                }
                Unloaded::End | Unloaded::Missing => {
                    leg.recorded();
                    leg.target();
                    poll_fn(|cx| leg.pull(cx)).await.expect("the peer writes");
                    leg = found(leg, how, arena);
                    reads += 1;
                }
            }
        }
        let expected = [&text[..10], &text[..300_000], &text[..70_000], &text].concat();
        assert!(came == expected && reads > 10, "{how}: {reads} reads");
        drop(writing.await.expect("it lives").expect("all of it was read"));
        assert_eq!(leg.compressor.as_ref().expect("it is compressed").incoming.held(), 0);
    }
}

#[tokio::test]
async fn commands_start_at_0_and_answers_go_on() {
    let (mut leg, mut peer) = against_raw(Compression::Zlib);
    // As a client: two commands, the second in two frames; then the file that was asked for.
    for (text, frames) in [(10, &[0][..]), (20_000, &[0, 1])] {
        leg.begin_command();
        write(&mut leg, &vec![b'x'; text]).await;
        for frame in frames {
            assert_eq!(sequence_of_next(&mut peer).await, *frame);
        }
    }
    send(&mut peer, 2, b"a file, please").await;
    read(&mut leg).await;
    for frame in [3, 4, 5] {
        leg.go_on();
        write(&mut leg, b"data").await;
        assert_eq!(sequence_of_next(&mut peer).await, frame);
    }
    // As a server, to a command that was asked while the answer to another was on its way.
    send(&mut peer, 0, b"one").await;
    read(&mut leg).await;
    assert_eq!(leg.begin_reply(), Some(1));
    write(&mut leg, b"rows").await;
    send(&mut peer, 0, b"two").await;
    read(&mut leg).await;
    write(&mut leg, b"more rows").await;
    assert_eq!(leg.begin_reply(), Some(1));
    write(&mut leg, b"ok").await;
    for frame in [1, 2, 1] {
        assert_eq!(sequence_of_next(&mut peer).await, frame);
    }
}

#[tokio::test]
async fn compression_starts_behind_the_verdict() {
    let (ours, mut peer) = UnixStream::pair().expect("a pair of sockets");
    let mut leg = moved(Leg::compressed(Stream::from(ours), Compression::Zlib, 7, &[]));
    write(&mut leg, b"verdict").await;
    let mut verdict = [0; 7];
    peer.read_exact(&mut verdict).await.expect("the verdict");
    assert_eq!(&verdict, b"verdict");
    send(&mut peer, 0, b"ping").await;
    assert_eq!(read(&mut leg).await, b"ping");
    leg.begin_reply();
    write(&mut leg, b"pong").await;
    assert_eq!(sequence_of_next(&mut peer).await, 1);
}

#[tokio::test]
async fn idle_legs_hold_no_memory_and_busy_ones_one_frame() {
    for how in KINDS {
        let (mut leg, mut peer) = against_raw(how);
        write(&mut leg, &[b'x'; 5000]).await;
        sequence_of_next(&mut peer).await;
        send(&mut peer, 0, b"short").await;
        read(&mut leg).await;
        let compressor = leg.compressor.as_ref().expect("it is compressed");
        assert_eq!(compressor.incoming.held(), 0);
        assert_eq!(compressor.outgoing.held(), 0);
        assert!(size_of::<Compressor>() <= 512, "{}", size_of::<Compressor>());
        // A peer that reads nothing: after some frames no more is taken.
        let noise = noise();
        let mut cx = Context::from_waker(Waker::noop());
        let mut taken = 0;
        while let Poll::Ready(n) = leg.poll_write(&mut cx, &noise) {
            taken += n.expect("the peer is there");
            assert!(taken < 64 << 20, "the leg takes without end");
        }
        let compressor = leg.compressor.as_ref().expect("it is compressed");
        assert!(compressor.outgoing.len() <= MAX_OUTGOING);
        assert!(compressor.outgoing.held() <= FRAMES);
    }
}

/// As a client's leg and as a server's: a frame is longer than the socket's buffer, so its start is
/// written and its rest moves, again and again, until all of it has come.
#[tokio::test]
async fn a_frame_that_is_half_written_goes_on_where_it_stands() {
    let noise = noise();
    for (how, number) in KINDS.into_iter().flat_map(|how| [(how, 0), (how, 7)]) {
        let (mut leg, mut peer) = against_raw(how);
        socket2::SockRef::from(leg.stream()).set_send_buffer_size(1).expect("a narrow socket");
        match number {
            0 => leg.begin_command(),
            _ => {
                send(&mut peer, number - 1, b"a command").await;
                read(&mut leg).await;
                assert_eq!(leg.begin_reply(), Some(number));
            }
        }
        let (mut frame, mut came) = (Vec::new(), Vec::<u8>::new());
        encode(how, number, &noise, &mut frame);
        let taken = poll_fn(|cx| leg.poll_write(cx, &noise)).await.expect("the peer reads");
        assert_eq!(taken, noise.len());
        let mut half_written = 0;
        while came.len() < frame.len() {
            let (state, held) = leg.compression_parts().expect("it is compressed");
            assert!(frame.ends_with(&held) && state.incoming == 0);
            half_written += usize::from((1..frame.len()).contains(&held.len()));
            leg = moved(leg);
            let mut buffer = [0; 512];
            tokio::select! {
                biased;
                flushed = poll_fn(|cx| leg.poll_flush(cx)), if !held.is_empty() => {
                    flushed.expect("the peer reads");
                }
                n = peer.read(&mut buffer) => came.extend(&buffer[..n.expect("the leg is there")]),
            }
        }
        assert!(half_written > 0, "{how}: all {} bytes fitted at once", frame.len());
        assert!(came == frame, "{how}");
    }
}

#[tokio::test]
async fn a_corrupt_frame_ends_the_leg_for_good() {
    let (mut leg, mut peer) = against_raw(Compression::Zlib);
    send(&mut peer, 0, b"good").await;
    peer.write_all(&[3, 0, 0, 1, 9, 0, 0, 1, 2, 3]).await.expect("the leg reads");
    assert_eq!(read(&mut leg).await, b"good");
    for _ in 0..2 {
        let mut buffer = [0; 10];
        let error = poll_fn(|cx| leg.poll_read(cx, &mut buffer)).await.expect_err("a bad frame");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
    assert_eq!(leg.corrupt(), Some(Corrupt::Content));
}

#[test]
fn states_that_do_not_fit_their_bytes_are_refused() {
    let state = LegState {
        compression: Compression::Zlib,
        decoder: DecoderState::new(),
        incoming: 10,
        next: 0,
        heard: false,
        plain: 0,
    };
    assert!(state.check(10).is_ok());
    assert!(state.check(9).is_err());
    assert!(state.check(10 + MAX_OUTGOING + 1).is_err());
    assert!(LegState { incoming: 1 << 25, ..state }.check(1 << 25).is_err());
}
