//! Our packets against `mysql_common`'s, and the law of the split: a conversation that is cut
//! anywhere, and moved to another process at every cut, is the same conversation.

#[path = "support/nobody.rs"]
mod nobody;

use std::collections::HashMap;

use bytes::BytesMut;
use mysql_common::constants::{CapabilityFlags, StatusFlags};
use mysql_common::io::ParseBuf;
use mysql_common::packets::{
    AuthPlugin, CommonOkPacket, HandshakePacket, HandshakeResponse, OkPacketDeserializer,
};
use mysql_common::proto::codec::PacketCodec;
use mysql_common::proto::{MyDeserialize, MySerialize};
use nobody::Nobody;
use odp::metrics::SessionCounters;
use odp::session::Session;
use odp::session::link::LinkId;
use odp::session::snapshot::SessionSnapshot;
use odp::wire::handshake::{Greeting, LoginResponse, ok};
use odp::wire::packet::{Framer, Step, packet, put_lenenc_str};
use odp::wire::response::{Dialect, ServerStatus};
use proptest::prelude::*;

/// One command with its answer, and whether a transaction is open behind it.
#[derive(Clone, Debug)]
struct Exchange {
    command: Vec<u8>,
    answer: Vec<u8>,
    in_transaction: Option<bool>,
}

/// Numbers the payloads of one direction.
fn packets(first: u8, payloads: &[Vec<u8>]) -> Vec<u8> {
    let numbered = payloads.iter().zip(first..);
    numbered.flat_map(|(payload, sequence)| packet(sequence, payload)).collect()
}

fn definition() -> Vec<u8> {
    let mut out = Vec::new();
    for text in ["def", "", "t", "t", "c", "c"] {
        put_lenenc_str(&mut out, text.as_bytes());
    }
    out.extend([0x0C, 45, 0, 255, 0, 0, 0, 0xFD, 0, 0, 0, 0, 0]);
    out
}

fn terminator(deprecate_eof: bool, status: u16) -> Vec<u8> {
    let [low, high] = status.to_le_bytes();
    match deprecate_eof {
        true => vec![0xFE, 0, 0, low, high, 0, 0],
        false => vec![0xFE, 0, 0, low, high],
    }
}

fn result_set(deprecate_eof: bool, rows: &[Vec<u8>], status: u16) -> Vec<Vec<u8>> {
    let mut out = vec![vec![1], definition()];
    if !deprecate_eof {
        out.push(terminator(false, status));
    }
    for row in rows {
        let mut payload = Vec::new();
        put_lenenc_str(&mut payload, row);
        out.push(payload);
    }
    out.push(terminator(deprecate_eof, status));
    out
}

fn exchange(deprecate_eof: bool) -> impl Strategy<Value = Exchange> {
    let text = proptest::collection::vec(any::<u8>(), 0..40);
    let rows = proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6);
    (0..7, text, rows, any::<bool>(), any::<bool>()).prop_map(
        move |(kind, text, rows, in_transaction, more)| {
            let status = 2 | u16::from(in_transaction);
            let query = |text: &[u8]| packet(0, &[&b"\x03select /* */ "[..], text].concat());
            let done = Some(in_transaction);
            let (command, answer, in_transaction) = match kind {
                0 => (query(&text), vec![ok(300, 70_000, status, 1)], done),
                1 => (query(&text), vec![b"\xFF\x48\x04#HY000No".to_vec()], None),
                2 => {
                    let mut sets = Vec::new();
                    if more {
                        sets = result_set(deprecate_eof, &rows, status | 8);
                    }
                    sets.extend(result_set(deprecate_eof, &rows, status));
                    (query(&text), sets, done)
                }
                3 => (packet(0, b"\x0E"), vec![ok(0, 0, status, 0)], done),
                4 => {
                    let mut prepared = vec![vec![0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]];
                    for _ in 0..2 {
                        prepared.push(definition());
                        if !deprecate_eof {
                            prepared.push(terminator(false, status));
                        }
                    }
                    (packet(0, &[&b"\x16"[..], &text].concat()), prepared, None)
                }
                5 => {
                    // LOAD DATA LOCAL: the file and its end come before the last answer.
                    let file = [packet(2, &[1, 2, 3]), packet(3, b"")].concat();
                    let command = [query(&text), file].concat();
                    (command, vec![b"\xFBname".to_vec(), ok(1, 0, status, 0)], done)
                }
                _ => (packet(0, &[0x19, 1, 0, 0, 0]), vec![], None),
            };
            Exchange { command, answer: packets(1, &answer), in_transaction }
        },
    )
}

/// A caller as the relay is one: what was not judged comes again, with more behind it.
#[derive(Default)]
struct Caller {
    kept: [Vec<u8>; 2],
    passed: [Vec<u8>; 2],
}

impl Caller {
    fn feed(&mut self, session: &mut Session, side: usize, bytes: &[u8], count: &SessionCounters) {
        let kept = &mut self.kept[side];
        kept.extend(bytes);
        let judged = match side {
            0 => {
                let intake = session.handle_client(kept, &Nobody, count);
                assert_eq!(intake.rewrite, None);
                intake.consumed
            }
            _ => session.handle_server(LinkId::HOME, kept, count).consumed,
        };
        self.passed[side].extend(kept.drain(..judged));
    }
}

fn logged_in(deprecate_eof: bool) -> (Session, SessionCounters) {
    let dialect = Dialect { deprecate_eof, ..Dialect::default() };
    let mut session = Session::logging_in(dialect, false, b"u", b"d");
    let counters = SessionCounters::default();
    session.handle_server(LinkId::HOME, &packet(2, &ok(0, 0, 2, 0)), &counters);
    assert!(session.conversation().is_idle());
    (session, counters)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..400)
}

/// To another process and back: nothing may be lost.
fn moved(session: Session) -> Session {
    let json = serde_json::to_vec(&SessionSnapshot::from(session)).expect("it is JSON");
    let snapshot: SessionSnapshot = serde_json::from_slice(&json).expect("it was written so");
    snapshot.into()
}

proptest! {
    #[test]
    fn a_conversation_that_is_cut_and_moved_is_the_same(
        (deprecate_eof, exchanges) in any::<bool>().prop_flat_map(|deprecate_eof| {
            let exchanges = proptest::collection::vec(exchange(deprecate_eof), 1..8);
            (Just(deprecate_eof), exchanges)
        }),
        cuts in proptest::collection::vec(1usize..50, 1..40),
    ) {
        let (mut whole, counted) = logged_in(deprecate_eof);
        let (mut cut, counted_cut) = logged_in(deprecate_eof);
        let (mut one, mut other) = (Caller::default(), Caller::default());
        let mut cuts = cuts.iter().copied().cycle();
        for Exchange { command, answer, in_transaction } in &exchanges {
            for (side, bytes) in [command, answer].into_iter().enumerate() {
                one.feed(&mut whole, side, bytes, &counted);
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (piece, behind) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                    other.feed(&mut cut, side, piece, &counted_cut);
                    cut = moved(cut);
                    rest = behind;
                }
            }
            // Renaming is no part of what moves.
            whole.take_renamed();
            cut.take_renamed();
            prop_assert_eq!(&whole, &cut);
            prop_assert!(!whole.is_opaque());
            prop_assert!(!whole.conversation().awaits_answer());
            if let Some(open) = in_transaction {
                let status = ServerStatus::Known(2 | u16::from(*open));
                prop_assert_eq!(whole.conversation().status(), status);
            }
        }
        prop_assert_eq!(&one.passed, &other.passed);
        prop_assert_eq!(counted.totals(), counted_cut.totals());
        let commands: Vec<u8> = exchanges.iter().flat_map(|it| it.command.clone()).collect();
        let answers: Vec<u8> = exchanges.iter().flat_map(|it| it.answer.clone()).collect();
        prop_assert_eq!(one.passed, [commands, answers]);
    }

    #[test]
    fn packets_are_framed_as_the_codec_frames_them(
        payloads in proptest::collection::vec(bytes(), 1..20),
    ) {
        let mut codec = PacketCodec::default();
        let mut stream = BytesMut::new();
        for payload in &payloads {
            codec.encode(&mut &payload[..], &mut stream).expect("it fits");
        }
        let (mut framer, mut at, mut found) = (Framer::default(), 0, Vec::new());
        while let Step::Packet(start) = framer.next(&stream, &mut at, |header, _| header.length) {
            found.push(start.head.to_vec());
        }
        prop_assert_eq!(found, payloads);
    }

    #[test]
    fn greetings_are_those_of_the_oracle(
        version in "[0-9.]{1,10}(-MariaDB)?",
        id: u32,
        salt in proptest::collection::vec(1u8..=255, 20),
        capabilities: u32,
    ) {
        let capabilities = capabilities
            | CapabilityFlags::CLIENT_PLUGIN_AUTH.bits()
            | CapabilityFlags::CLIENT_SECURE_CONNECTION.bits()
            // Without it MariaDB's capabilities stand in bytes the oracle leaves 0.
            | 1;
        let theirs = HandshakePacket::new(
            10,
            version.as_bytes(),
            id,
            salt[..8].try_into().expect("8 bytes"),
            Some([&salt[8..], &[0]].concat()),
            CapabilityFlags::from_bits_retain(capabilities),
            45,
            StatusFlags::SERVER_STATUS_AUTOCOMMIT,
            Some(&b"mysql_native_password"[..]),
        );
        let mut bytes = Vec::new();
        theirs.serialize(&mut bytes);
        let ours = Greeting::parse(&bytes).expect("a greeting");
        prop_assert_eq!(&ours.version[..], version.as_bytes());
        prop_assert_eq!((ours.connection_id, ours.capabilities), (id, capabilities));
        prop_assert_eq!(&ours.salt, &salt);
        prop_assert_eq!(&ours.plugin[..], &b"mysql_native_password"[..]);
        prop_assert_eq!(ours.encode(), bytes);
    }

    #[test]
    fn login_responses_are_those_of_the_oracle(
        user in "[a-z]{0,12}",
        database in proptest::option::of("[a-z]{1,12}"),
        auth in proptest::collection::vec(any::<u8>(), 0..40),
        attribute in proptest::option::of("[a-z]{1,300}"),
        lenenc: bool,
    ) {
        let mut capabilities = CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_PLUGIN_AUTH
            | CapabilityFlags::CLIENT_LONG_PASSWORD;
        if lenenc {
            capabilities |= CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA;
        }
        let attributes = attribute.as_ref().map(|it| HashMap::from([("k".to_owned(), it.clone())]));
        if attributes.is_some() {
            capabilities |= CapabilityFlags::CLIENT_CONNECT_ATTRS;
        }
        let theirs = HandshakeResponse::new(
            Some(&auth[..]),
            (8, 0, 30),
            Some(user.as_bytes()),
            database.as_ref().map(|it| it.as_bytes()),
            Some(AuthPlugin::CachingSha2Password),
            capabilities,
            attributes,
            1 << 24,
        );
        let mut bytes = Vec::new();
        theirs.serialize(&mut bytes);
        let ours = LoginResponse::parse(&bytes).expect("a login response");
        prop_assert_eq!(&ours.user[..], user.as_bytes());
        prop_assert_eq!(ours.database.as_deref(), database.as_ref().map(|it| it.as_bytes()));
        prop_assert_eq!(&ours.auth, &auth);
        prop_assert_eq!(ours.plugin.as_deref(), Some(&b"caching_sha2_password"[..]));
        let value = attribute.as_ref().map(|it| (&b"k"[..], it.as_bytes()));
        prop_assert_eq!(ours.attributes(), value.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(ours.encode(), bytes);
    }

    #[test]
    fn ok_packets_are_those_of_the_oracle(
        affected: u64,
        insert_id: u64,
        status in 0u16..4,
        warnings: u16,
    ) {
        let bytes = ok(affected, insert_id, status, warnings);
        let capabilities = CapabilityFlags::CLIENT_PROTOCOL_41;
        let read = OkPacketDeserializer::<CommonOkPacket>::deserialize(
            capabilities,
            &mut ParseBuf(&bytes),
        );
        let read = read.expect("an OK packet").into_inner();
        prop_assert_eq!(read.affected_rows(), affected);
        prop_assert_eq!(read.last_insert_id().unwrap_or(0), insert_id);
        prop_assert_eq!(read.status_flags().bits(), status);
        prop_assert_eq!(read.warnings(), warnings);
    }
}
