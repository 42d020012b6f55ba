//! Records that no good peer sends, each with the alert it must get; and odd ones that are right.

use odp::net::tls::alert::Alert;
use odp::net::tls::keys::Version;
use odp::net::tls::record::{Opened, RecordError, Records, Role};

use crate::forger::{Many, NewKeys, Raw, Sealed, Sent, bytes, data12, half, inner, records, say};
use Role::{Client, Server};
use Version::{Tls12, Tls13};

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
    let last = say(&mut records, &mut half(version)).pop();
    let mut out = [0; 1024];
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
        ("change_cipher_spec", Tls13, Server, vec![Raw(vec![20, 3, 3, 0, 1, 1])], UNEXPECTED),
        ("old version", Tls12, Client, vec![Raw(vec![23, 3, 4, 0, 1])], Alert::ProtocolVersion),
        ("2^14 + 257", Tls13, Server, vec![Raw(vec![23, 3, 3, 65, 1])], Alert::RecordOverflow),
        ("2^14 + 2049", Tls12, Server, vec![Raw(vec![23, 3, 3, 72, 1])], Alert::RecordOverflow),
        ("2^14 + 257", Tls12, Server, vec![Raw(vec![23, 3, 3, 65, 1])], Alert::RecordOverflow),
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
        ("2^14 + 1 bytes", Tls12, Server, vec![data12(&[1; (1 << 14) + 1])], Alert::RecordOverflow),
        ("inner change_cipher_spec", Tls13, Server, vec![Sealed(20, vec![1])], UNEXPECTED),
        ("unknown type", Tls13, Server, vec![Sealed(99, vec![1])], UNEXPECTED),
        // Alerts.
        ("empty alert", Tls13, Server, vec![inner(&[21])], UNEXPECTED),
        ("empty alert", Tls12, Server, vec![Sealed(21, vec![])], UNEXPECTED),
        ("half an alert", Tls13, Server, vec![Sealed(21, vec![2])], Alert::DecodeError),
        ("half an alert", Tls12, Server, vec![Sealed(21, vec![1])], Alert::DecodeError),
        ("two alerts", Tls12, Server, vec![Sealed(21, vec![1, 90, 1, 90])], Alert::DecodeError),
        ("two alerts", Tls13, Server, vec![Sealed(21, vec![1, 90, 1, 90])], Alert::DecodeError),
        ("level 3", Tls12, Server, vec![Sealed(21, vec![3, 40])], Alert::IllegalParameter),
    ]
}

/// The header of a NewSessionTicket, and its body as far as it goes.
fn ticket_of(length: usize, body: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    [&[4, high, middle, low], body].concat()
}

/// A NewSessionTicket with a nonce of 3 bytes, a ticket of so many, and an extension.
fn ticket(length: usize) -> Vec<u8> {
    let [high, low] = (length as u16).to_be_bytes();
    let body = [
        &[0, 0, 14, 16, 1, 2, 3, 4, 3, 0, 0, 1, high, low][..],
        &vec![7; length],
        &[0, 8, 0, 42, 0, 4, 0, 0, 0, 0],
    ]
    .concat();
    ticket_of(body.len(), &body)
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
        (
            "KeyUpdate and half a message",
            Tls13,
            Client,
            vec![Sealed(22, [&key_update(0)[..], &[4]].concat())],
            UNEXPECTED,
        ),
        (
            "old keys behind KeyUpdate",
            Tls13,
            Server,
            vec![Sealed(22, key_update(0)), Sealed(23, vec![1])],
            Alert::BadRecordMac,
        ),
        (
            "KeyUpdate as data",
            Tls13,
            Server,
            vec![Sealed(22, vec![24, 0]), Sealed(23, vec![0, 1, 0])],
            UNEXPECTED,
        ),
        ("EndOfEarlyData", Tls13, Server, vec![Sealed(22, vec![5, 0, 0, 0])], UNEXPECTED),
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
            vec![Sealed(22, ticket_of(0xFF_FFFF, &[7; 600]))],
            Alert::DecodeError,
        ),
        (
            "short ticket",
            Tls13,
            Client,
            vec![Sealed(22, ticket_of(13, &[0; 13]))],
            Alert::DecodeError,
        ),
        (
            "empty ticket",
            Tls13,
            Client,
            vec![Sealed(22, ticket_of(14, &[0, 0, 0, 1, 0, 0, 0, 1, 1, 9, 0, 0, 0, 0]))],
            Alert::DecodeError,
        ),
        (
            "ticket longer than its message",
            Tls13,
            Client,
            vec![Sealed(22, ticket_of(14, &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 9, 7, 0, 0]))],
            Alert::DecodeError,
        ),
        (
            "ticket shorter than its message",
            Tls13,
            Client,
            vec![Sealed(22, ticket_of(15, &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 7, 0, 0, 9]))],
            Alert::DecodeError,
        ),
        ("ticket in TLS 1.2", Tls12, Client, vec![Sealed(22, ticket(200))], UNEXPECTED),
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
        ("new keys", Tls13, Server, (0..33).map(|n| NewKeys(n % 2, 0)).collect(), UNEXPECTED),
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

type Fine = (&'static str, Version, Role, Vec<Sent>);

/// Records that are odd, alerts that end nothing.
fn unusual_records() -> Vec<Fine> {
    vec![
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
        ("2^14 + 256", Tls13, Server, vec![Raw(vec![23, 3, 3, 65, 0])]),
        (
            "padding to the brim",
            Tls13,
            Server,
            vec![inner(&[&[1, 23][..], &[0; (1 << 14) - 1]].concat())],
        ),
        ("user_canceled", Tls13, Server, vec![Sealed(21, vec![1, 90])]),
        (
            "garbage behind close_notify",
            Tls13,
            Server,
            vec![Sealed(21, vec![1, 90]), Sealed(21, vec![1, 0]), Raw(b"garbage".to_vec())],
        ),
        ("a warning", Tls12, Server, vec![Sealed(21, vec![1, 90])]),
    ]
}

/// Handshake messages that come late or cut.
fn unusual_messages() -> Vec<Fine> {
    let ticket = ticket(200);
    vec![
        (
            "new keys, then more",
            Tls13,
            Server,
            (0..40)
                .flat_map(|n| [NewKeys(n % 2, usize::from(n % 5)), Sealed(23, vec![n])])
                .chain((0..32).map(|_| NewKeys(1, 0)))
                .collect(),
        ),
        (
            "a ticket before a KeyUpdate",
            Tls13,
            Client,
            vec![Sealed(22, [&ticket[..], &[24, 0, 0, 1, 1]].concat())],
        ),
        ("a ticket of 60 KiB", Tls13, Client, split(&ticket_of(60_000, &[7; 60_000]))),
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
    ]
}

#[test]
fn what_is_unusual_but_right_is_taken() {
    for (name, version, role, sent) in unusual_records().into_iter().chain(unusual_messages()) {
        for room in [0, 64, 1 << 15] {
            assert_eq!(judge(version, role, &sent, room), None, "{name}, {version:?}");
        }
    }
}

/// One handshake message in records that are as long as can be.
fn split(message: &[u8]) -> Vec<Sent> {
    message.chunks(1 << 14).map(|part| Sealed(22, part.to_vec())).collect()
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
