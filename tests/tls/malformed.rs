//! Records that no good peer sends, each with the alert it must get; and no input panics.

use odp::net::tls::alert::Alert;
use odp::net::tls::fuzz;
use odp::net::tls::handshake::{Handshake, Step};
use odp::net::tls::keys::{Half, HalfState, Hidden, Suite, Version};
use odp::net::tls::record::{Opened, RecordError, Records, Role};
use proptest::prelude::*;

use crate::support::{cells, client_config, localhost, server_config};
use Role::{Client, Server};
use Version::{Tls12, Tls13};

fn state(version: Version) -> HalfState {
    HalfState {
        secret: (version == Tls13).then(|| Hidden::new(&[1; 32])),
        key: Hidden::new(&[2; 16]),
        iv: Hidden::new(&[3; 12]),
        sequence: 0,
        spent: 0,
    }
}

fn records(version: Version, role: Role) -> Records {
    let state = state(version);
    Records::new(version, Suite::Aes128Gcm, role, state.clone(), state).expect("fitting keys")
}

/// What the peer of the above would seal, and what it hears.
fn half(version: Version) -> Half {
    Half::new(version, Suite::Aes128Gcm, state(version)).expect("fitting keys")
}

/// What a peer sends.
enum Sent {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// A record of this type, well sealed.
    Sealed(u8, Vec<u8>),
    /// So many of those.
    Many(usize, u8, Vec<u8>),
}
use Sent::{Many, Raw, Sealed};

/// A TLS 1.3 record with this whole TLSInnerPlaintext, made with the AEAD itself: no sender of ours
/// could be talked into it.
fn inner(text: &[u8]) -> Sent {
    use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[2; 16]).expect("a key"));
    let [high, low] = (text.len() as u16 + 16).to_be_bytes();
    let header = [23, 3, 3, high, low];
    let mut body = text.to_vec();
    let nonce = Nonce::assume_unique_for_key([3; 12]);
    key.seal_in_place_append_tag(nonce, Aad::from(header), &mut body).expect("sealed");
    Raw([&header[..], &body].concat())
}

fn bytes(version: Version, sent: &[Sent]) -> Vec<u8> {
    let mut peer = half(version);
    let mut all = Vec::new();
    let mut seal = |all: &mut Vec<u8>, kind: u8, content: &[u8]| {
        let mut out = vec![0; peer.sealed_len(content.len())];
        peer.seal(kind, content, &mut out).expect("room");
        all.extend_from_slice(&out);
    };
    for sent in sent {
        match sent {
            Raw(bytes) => all.extend_from_slice(bytes),
            Sealed(kind, content) => seal(&mut all, *kind, content),
            Many(count, kind, content) => (0..*count).for_each(|_| seal(&mut all, *kind, content)),
        }
    }
    all
}

/// The first error that the bytes lead to.
fn judge(version: Version, role: Role, sent: &[Sent], room: usize) -> Option<RecordError> {
    let mut records = records(version, role);
    let mut input = bytes(version, sent);
    let mut out = vec![0; room];
    loop {
        match records.open(&mut input, &mut out) {
            Ok(Opened::Missing(_) | Opened::End) => return None,
            Ok(Opened::Nothing(n) | Opened::Out { consumed: n, .. }) => drop(input.drain(..n)),
            Ok(Opened::Within { consumed, .. }) => drop(input.drain(..consumed)),
            Err(error) => {
                check_last_words(records, version, error);
                return Some(error);
            }
        }
    }
}

/// The peer is told, in a record that it can read; then there is silence.
fn check_last_words(mut records: Records, version: Version, error: RecordError) {
    let mut out = [0; 1024];
    let n = records.speak(&mut out).expect("room");
    let mut words = &mut out[..n];
    let mut peer = half(version);
    let mut last = None;
    while let Some((header, rest)) = words.split_first_chunk_mut::<5>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let (body, rest) = rest.split_at_mut(length);
        let mut plain = [0; 64];
        let opened = peer.open(*header, body, &mut plain).expect("a good record");
        last = Some((opened.kind, plain[..opened.length].to_vec()));
        words = rest;
    }
    match error {
        RecordError::Broken(alert) => assert_eq!(last, Some((21, vec![2, alert.code()]))),
        _ => assert_eq!(last, None),
    }
    assert!(records.seal(b"more", &mut out).is_err(), "nothing is said behind an alert");
    assert_eq!(records.open(&mut [], &mut []), Ok(Opened::End), "nor heard");
}

type Case = (&'static str, Version, Role, Vec<Sent>, Alert);

const UNEXPECTED: Alert = Alert::UnexpectedMessage;

/// Broken headers and ciphertexts.
fn broken_records() -> Vec<Case> {
    let flipped = |version, at: usize| {
        let mut record = bytes(version, &[Sealed(23, b"hello".to_vec())]);
        record[at] ^= 1;
        vec![Raw(record)]
    };
    vec![
        // The header.
        ("plaintext alert", Tls13, Server, vec![Raw(vec![21, 3, 3, 0, 2, 1, 0])], UNEXPECTED),
        ("change_cipher_spec", Tls13, Client, vec![Raw(vec![20, 3, 3, 0, 1, 1])], UNEXPECTED),
        ("change_cipher_spec", Tls12, Client, vec![Raw(vec![20, 3, 3, 0, 1, 1])], UNEXPECTED),
        ("not TLS", Tls13, Server, vec![Raw(b"SELECT 1".to_vec())], UNEXPECTED),
        ("not TLS", Tls12, Server, vec![Raw(b"SELECT 1".to_vec())], UNEXPECTED),
        ("old version", Tls12, Server, vec![Raw(vec![23, 3, 1, 0, 1])], Alert::ProtocolVersion),
        ("too long", Tls13, Server, vec![Raw(vec![23, 3, 3, 65, 1])], Alert::RecordOverflow),
        ("too long", Tls12, Server, vec![Raw(vec![23, 3, 3, 72, 1])], Alert::RecordOverflow),
        // The AEAD.
        ("empty", Tls13, Server, vec![Raw(vec![23, 3, 3, 0, 0])], Alert::BadRecordMac),
        ("empty", Tls12, Server, vec![Raw(vec![23, 3, 3, 0, 0])], Alert::BadRecordMac),
        (
            "no room for a tag",
            Tls12,
            Server,
            vec![Raw([23, 3, 3, 0, 20].into_iter().chain([0; 20]).collect())],
            Alert::BadRecordMac,
        ),
        ("flipped text", Tls13, Server, flipped(Tls13, 6), Alert::BadRecordMac),
        ("flipped tag", Tls13, Server, flipped(Tls13, 26), Alert::BadRecordMac),
        ("flipped explicit nonce", Tls12, Server, flipped(Tls12, 6), Alert::BadRecordMac),
        ("flipped text", Tls12, Server, flipped(Tls12, 14), Alert::BadRecordMac),
        (
            "replayed",
            Tls13,
            Server,
            vec![Raw(bytes(Tls13, &[Sealed(23, vec![1])])), Sealed(23, vec![1])],
            Alert::BadRecordMac,
        ),
        (
            "other type",
            Tls12,
            Server,
            {
                let mut record = bytes(Tls12, &[Sealed(23, vec![1])]);
                record[0] = 22;
                vec![Raw(record)]
            },
            Alert::BadRecordMac,
        ),
    ]
}

/// Broken plaintexts and alerts.
fn broken_contents() -> Vec<Case> {
    vec![
        // The inner plaintext.
        ("only padding", Tls13, Server, vec![inner(&[0; 100])], UNEXPECTED),
        ("nothing inside", Tls13, Server, vec![inner(&[])], UNEXPECTED),
        (
            "2^14 + 1 bytes",
            Tls13,
            Server,
            vec![inner(&[&[1; (1 << 14) + 1][..], &[23]].concat())],
            Alert::RecordOverflow,
        ),
        (
            "too much padding",
            Tls13,
            Server,
            vec![inner(&[&[1, 23][..], &[0; 1 << 14]].concat())],
            Alert::RecordOverflow,
        ),
        ("inner change_cipher_spec", Tls13, Server, vec![Sealed(20, vec![1])], UNEXPECTED),
        ("unknown type", Tls13, Server, vec![Sealed(99, vec![1])], UNEXPECTED),
        // Alerts.
        ("empty alert", Tls13, Server, vec![inner(&[21])], UNEXPECTED),
        ("empty alert", Tls12, Server, vec![Sealed(21, vec![])], UNEXPECTED),
        ("half an alert", Tls13, Server, vec![Sealed(21, vec![2])], Alert::DecodeError),
        ("two alerts", Tls13, Server, vec![Sealed(21, vec![1, 90, 1, 90])], Alert::DecodeError),
        ("level 3", Tls12, Server, vec![Sealed(21, vec![3, 40])], Alert::IllegalParameter),
    ]
}

fn ticket(length: usize) -> Vec<u8> {
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    let mut message = vec![4, high, middle, low];
    message.resize(4 + length.min(600), 7);
    message
}

/// Handshake messages that are wrong here.
fn broken_messages() -> Vec<Case> {
    let key_update = |request: u8| vec![24, 0, 0, 1, request];
    vec![
        // Handshake messages.
        ("empty handshake", Tls13, Server, vec![inner(&[22])], UNEXPECTED),
        ("empty handshake", Tls12, Server, vec![Sealed(22, vec![])], UNEXPECTED),
        (
            "request_update 2",
            Tls13,
            Server,
            vec![Sealed(22, key_update(2))],
            Alert::IllegalParameter,
        ),
        (
            "long KeyUpdate",
            Tls13,
            Server,
            vec![Sealed(22, vec![24, 0, 0, 2, 0, 0])],
            Alert::DecodeError,
        ),
        ("empty KeyUpdate", Tls13, Server, vec![Sealed(22, vec![24, 0, 0, 0])], Alert::DecodeError),
        (
            "KeyUpdate not at the end",
            Tls13,
            Server,
            vec![Sealed(22, [key_update(0), key_update(0)].concat())],
            UNEXPECTED,
        ),
        ("KeyUpdate in TLS 1.2", Tls12, Server, vec![Sealed(22, key_update(0))], UNEXPECTED),
        (
            "interleaved data",
            Tls13,
            Server,
            vec![Sealed(22, vec![24, 0]), Sealed(23, vec![1])],
            UNEXPECTED,
        ),
        (
            "interleaved alert",
            Tls13,
            Server,
            vec![Sealed(22, vec![24, 0]), Sealed(21, vec![1, 0])],
            UNEXPECTED,
        ),
        ("ClientHello", Tls13, Server, vec![Sealed(22, vec![1, 0, 0, 1])], UNEXPECTED),
        ("Finished", Tls13, Client, vec![Sealed(22, vec![20, 0, 0, 1])], UNEXPECTED),
        ("CertificateRequest", Tls13, Client, vec![Sealed(22, vec![13, 0, 0, 1])], UNEXPECTED),
    ]
}

/// Handshake messages that only the other side, or nobody, sends at such a length.
fn misplaced_messages() -> Vec<Case> {
    vec![
        ("ticket for a server", Tls13, Server, vec![Sealed(22, ticket(200))], UNEXPECTED),
        (
            "ticket of 16 MiB",
            Tls13,
            Client,
            vec![Sealed(22, ticket(0xFF_FFFF))],
            Alert::DecodeError,
        ),
        (
            "HelloRequest with a body",
            Tls12,
            Client,
            vec![Sealed(22, vec![0, 0, 0, 1])],
            Alert::DecodeError,
        ),
        (
            "ClientHello of 16 MiB",
            Tls12,
            Server,
            vec![Sealed(22, vec![1, 255, 255, 255])],
            Alert::DecodeError,
        ),
        (
            "HelloRequest for a server",
            Tls12,
            Server,
            vec![Sealed(22, vec![0, 0, 0, 0])],
            UNEXPECTED,
        ),
    ]
}

/// Records that are right one by one, but too many.
fn work_for_nothing() -> Vec<Case> {
    vec![
        ("empty records", Tls13, Server, vec![Many(33, 23, vec![])], UNEXPECTED),
        ("empty records", Tls12, Server, vec![Many(33, 23, vec![])], UNEXPECTED),
        ("warnings", Tls12, Client, vec![Many(33, 21, vec![1, 100])], UNEXPECTED),
        ("HelloRequests", Tls12, Client, vec![Many(33, 22, vec![0, 0, 0, 0])], UNEXPECTED),
        ("tickets", Tls13, Client, vec![Many(33, 22, ticket(200))], UNEXPECTED),
        (
            "byte by byte",
            Tls13,
            Client,
            vec![Sealed(22, vec![4, 0, 2, 0]), Many(33, 22, vec![1])],
            UNEXPECTED,
        ),
    ]
}

#[test]
fn each_malformed_record_gets_its_alert() {
    let cases = [
        broken_records(),
        broken_contents(),
        broken_messages(),
        misplaced_messages(),
        work_for_nothing(),
    ];
    for (name, version, role, sent, alert) in cases.into_iter().flatten() {
        for room in [0, 64, 1 << 15] {
            let error = judge(version, role, &sent, room);
            assert_eq!(error, Some(RecordError::Broken(alert)), "{name}, {version:?}, room {room}");
        }
    }
}

#[test]
fn what_is_unusual_but_right_is_taken() {
    let ticket = [&[4, 0, 0, 200][..], &[7; 200]].concat();
    let cases: Vec<(&str, Version, Role, Vec<Sent>)> = vec![
        (
            "any version number",
            Tls13,
            Server,
            vec![Raw({
                // It is part of the additional data, so only an unfinished record shows it.
                vec![23, 9, 9, 0, 40]
            })],
        ),
        ("padding", Tls13, Server, vec![inner(&[&[1, 23][..], &[0; 16_000]].concat())]),
        ("a full record", Tls13, Server, vec![Sealed(23, vec![1; 1 << 14])]),
        ("a full record", Tls12, Server, vec![Sealed(23, vec![1; 1 << 14])]),
        (
            "some empty records",
            Tls13,
            Server,
            vec![Many(32, 23, vec![]), Sealed(23, vec![1]), Many(32, 23, vec![])],
        ),
        ("user_canceled", Tls13, Server, vec![Sealed(21, vec![1, 90])]),
        ("a warning", Tls12, Server, vec![Sealed(21, vec![1, 90])]),
        (
            "a KeyUpdate in pieces",
            Tls13,
            Server,
            vec![Sealed(22, vec![24]), Sealed(22, vec![0, 0, 1, 1])],
        ),
        (
            "two tickets in one record",
            Tls13,
            Client,
            vec![Sealed(22, [&ticket[..], &ticket].concat())],
        ),
        (
            "a ticket in pieces",
            Tls13,
            Client,
            vec![
                Sealed(22, ticket[..3].to_vec()),
                Sealed(22, ticket[3..90].to_vec()),
                Sealed(22, ticket[90..].to_vec()),
            ],
        ),
        ("HelloRequest", Tls12, Client, vec![Sealed(22, vec![0, 0, 0, 0])]),
        ("ClientHello", Tls12, Server, vec![Sealed(22, [&[1, 0, 0, 60][..], &[7; 60]].concat())]),
    ];
    for (name, version, role, sent) in cases {
        for room in [0, 64, 1 << 15] {
            assert_eq!(judge(version, role, &sent, room), None, "{name}, {version:?}");
        }
    }
}

#[test]
fn fatal_alerts_end_a_session_at_once() {
    for (version, content, alert) in [
        (Tls13, [2, 40], Alert::HandshakeFailure),
        (Tls13, [1, 20], Alert::BadRecordMac),
        (Tls13, [1, 200], Alert::Other(200)),
        (Tls12, [2, 20], Alert::BadRecordMac),
    ] {
        let sent = [Sealed(21, content.to_vec())];
        let error = judge(version, Role::Server, &sent, 64);
        assert_eq!(error, Some(RecordError::Told(alert)));
    }
}

#[test]
fn a_renegotiation_is_declined_politely() {
    let mut records = records(Tls12, Role::Client);
    let mut input = bytes(Tls12, &[Sealed(22, vec![0, 0, 0, 0])]);
    let mut out = [0; 256];
    assert!(matches!(records.open(&mut input, &mut out), Ok(Opened::Nothing(_))));
    let n = records.speak(&mut out).expect("room");
    let (header, body) = out[..n].split_first_chunk_mut::<5>().expect("a record");
    let mut plain = [0; 16];
    let opened = half(Tls12).open(*header, body, &mut plain).expect("a good record");
    assert_eq!((opened.kind, &plain[..opened.length]), (21, &[1, 100][..]));
    assert!(records.seal(b"data", &mut out).is_ok(), "and life goes on");
}

#[test]
fn spent_keys_are_replaced_and_without_a_way_to_that_the_session_ends() {
    for (version, spent) in [(Tls13, 1 << 33), (Tls12, 1 << 34)] {
        let mut worn = state(version);
        worn.spent = spent - 2;
        let suite = Suite::Aes128Gcm;
        let records = Records::new(version, suite, Role::Client, state(version), worn);
        let mut records = records.expect("fitting keys");
        let mut out = [0; 256];
        let plain_len = half(version).sealed_len(1);
        let sealed = records.seal(b"1", &mut out).expect("the last one");
        assert_eq!((sealed.taken, sealed.written), (1, plain_len));
        let sealed = records.seal(b"2", &mut out).expect("a word on it");
        match version {
            // A KeyUpdate, then the data under new keys.
            Tls13 => assert_eq!((sealed.taken, sealed.written > plain_len), (1, true)),
            Tls12 => {
                assert_eq!((sealed.taken, sealed.written), (0, half(version).sealed_len(2)));
                assert_eq!(records.seal(b"2", &mut out), Err(RecordError::Spent));
            }
        }
    }
}

#[test]
fn keys_are_never_shown() {
    let records = records(Tls13, Role::Server);
    let shown = format!("{records:?} {:?}", records.state());
    assert!(shown.contains("***") && !shown.contains("2, 2"), "{shown}");
    let text = serde_json::to_string(&records.state()).expect("JSON");
    assert!(text.contains(&"02".repeat(16)), "a snapshot has them: {text}");
    assert!(text.len() < 600, "{} bytes", text.len());
}

/// A session that is well-formed in the eyes of `fuzz::record`.
fn stretches() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0_u8), Just(20), Just(21), Just(22), Just(23), any::<u8>()];
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..80),
        Just(vec![24, 0, 0, 1, 0]),
        Just(vec![24, 0, 0, 1, 1]),
        Just(vec![4, 0, 0, 9, 1]),
        Just(vec![1, 0]),
        Just(vec![23, 3, 3, 0, 30]),
    ];
    prop::collection::vec((kind, content), 0..12).prop_map(|stretches| {
        let fold = |(kind, content): (u8, Vec<u8>)| [vec![kind, content.len() as u8], content];
        stretches.into_iter().flat_map(fold).flatten().collect()
    })
}

/// What a good rustls peer would send first, cut and altered.
fn altered(mut first: Vec<u8>, alterations: &[(usize, u8)], cut: usize) -> Vec<u8> {
    for (at, with) in alterations {
        let at = at % first.len();
        first[at] = *with;
    }
    first.truncate(1 + cut % first.len());
    first
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_record_panics(choice in any::<[u8; 2]>(), rest in stretches()) {
        fuzz::record(&[&choice[..], &rest].concat());
    }

    #[test]
    fn no_bytes_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::record(&data);
        fuzz::snapshot(&data);
    }

    #[test]
    fn no_snapshot_panics(at in any::<usize>(), with in any::<u8>()) {
        let text = serde_json::to_vec(&records(Tls13, Role::Server).state()).expect("JSON");
        let alterations = [(at, b'0' + with % 10)];
        let whole = text.len() - 1;
        fuzz::snapshot(&altered(text, &alterations, whole));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// rustls is trusted with that; how we feed it is not.
    #[test]
    fn no_handshake_panics(
        cell in 0..6_usize,
        alterations in prop::collection::vec((any::<usize>(), any::<u8>()), 0..4),
        cut in any::<usize>(),
        piece in 1..400_usize,
    ) {
        let cell = cells()[cell];
        let mut client = Handshake::connect(&client_config(cell), localhost()).expect("a client");
        prop_assert_eq!(client.step().ok(), Some(Step::Read));
        let hello = std::mem::take(&mut client.output);
        let mut server = Handshake::accept(&server_config(cell), &hello).expect("a server");
        prop_assert_eq!(server.step().ok(), Some(Step::Read));
        let flight = altered(std::mem::take(&mut server.output), &alterations, cut);
        for piece in flight.chunks(piece) {
            client.handle_input(piece).expect("not too much");
            if client.step().is_err() {
                break;
            }
        }
        let answer = [client.output, altered(hello, &alterations, cut)].concat();
        for piece in altered(answer, &alterations, cut).chunks(piece) {
            server.handle_input(piece).expect("not too much");
            if server.step().is_err() {
                break;
            }
        }
        let mut server = Handshake::accept(&server_config(cell), &[]).expect("a server");
        server.handle_input(&flight).expect("not too much");
        let _ = server.step();
    }
}
