//! Messages as each version has written them, and what they mean.

mod golden;

use proptest::prelude::*;

use super::*;

fn datagram(head: &str, body: &[u8]) -> Bytes {
    let mut out = b"ODPH\x01\x00\x00\x00".to_vec();
    out.extend_from_slice(&(head.len() as u32).to_le_bytes());
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
    out.into()
}

#[test]
fn unknown_fields_are_skipped_and_unknown_kinds_named() {
    let known = datagram(r#"{"kind":"REFUSE","reason":"x","colour":[1,{"a":2}]}"#, b"");
    let reason = Reason { reason: "x".into() };
    assert_eq!(Frame::decode(&known), Ok(Message::Refuse(reason).into()));
    let unknown = datagram(r#"{"kind":"TELEPORT","to":"moon"}"#, b"");
    assert_eq!(Frame::decode(&unknown), Err(DecodeError::UnknownKind("TELEPORT".into())));
    let http = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(Frame::decode(&http), Err(DecodeError::NotOurs));
}

#[test]
fn versions_agree_on_the_newest_that_both_speak() {
    let versions = |min, max| Versions { min, max };
    assert_eq!(versions(1, 3).common(versions(2, 5)), Some(3));
    assert_eq!(versions(1, 3).common(versions(3, 3)), Some(3));
    assert_eq!(versions(1, 2).common(versions(3, 4)), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Frame::decode(&bytes.into());
    }

    #[test]
    fn arbitrary_heads_never_panic(
        kind in proptest::sample::select(Message::NAMES),
        fields in r#"[a-z0-9{}\[\]":, -]{0,60}"#,
        body in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let _ = Frame::decode(&datagram(&format!(r#"{{"kind":"{kind}",{fields}}}"#), &body));
    }

    #[test]
    fn decode_inverts_encode(
        ids in proptest::collection::vec(any::<u32>(), 0..50),
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let entry = |id: &u32| Entry { id: *id, fds: 2, state: 3, bytes: 4 };
        let message = Message::Parcels(Parcels { parcels: ids.iter().map(entry).collect() });
        let frame = Frame { message, body: body.into() };
        let datagram = [&frame.encode_head()[..], &frame.body].concat();
        prop_assert_eq!(Frame::decode(&datagram.into()), Ok(frame));
    }
}
