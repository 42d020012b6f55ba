//! What we say of our own accord, or because we were asked to; and what is kept quiet.

use odp::net::tls::alert::Alert;
use odp::net::tls::keys::{HalfState, Suite, Version};
use odp::net::tls::record::{Opened, RecordError, Records, Role, Update};

use crate::forger::{NewKeys, Sealed, bytes, give, half, hear, records, say, state};
use Role::{Client, Server};
use Version::{Tls12, Tls13};

/// RFC 8446, 4.6.3: "to respond with a single update", that says "update_not_requested".
#[test]
fn many_wishes_for_new_keys_are_one() {
    let (own, both) = (vec![24, 0, 0, 1, 0], vec![24, 0, 0, 1, 1]);
    for (ours, theirs, answers) in [
        (None, vec![0, 0], vec![]),
        (None, vec![1, 0, 1, 1], vec![own.clone()]),
        (Some(Update::Own), vec![1], vec![own.clone()]),
        // The peer has done what we were about to ask for.
        (Some(Update::Both), vec![1], vec![own.clone()]),
        (Some(Update::Both), vec![0], vec![both]),
    ] {
        let mut records = records(Tls13, Server);
        if let Some(update) = ours {
            records.update_keys(update);
        }
        let wishes: Vec<_> = theirs.iter().map(|request| NewKeys(*request, 3)).collect();
        give(&mut records, bytes(Tls13, &wishes));
        let mut peer = half(Tls13);
        let answers: Vec<_> = answers.into_iter().map(|answer| (22, answer)).collect();
        assert_eq!(say(&mut records, &mut peer), answers, "{ours:?}, {theirs:?}");
        let mut out = [0; 64];
        let n = records.seal(b"data", &mut out).expect("room").written;
        assert_eq!(hear(&mut out[..n], &mut peer), [(23, b"data".to_vec())]);
    }
}

/// An answer is not cut off because its reader has said all it had to say; the end follows it.
#[test]
fn a_half_closed_peer_gets_the_rest() {
    for version in [Tls12, Tls13] {
        let mut records = records(version, Server);
        give(&mut records, bytes(version, &[Sealed(21, vec![1, 0])]));
        let mut peer = half(version);
        assert_eq!(say(&mut records, &mut peer), []);
        let mut out = [0; 64];
        let n = records.seal(b"rest", &mut out).expect("room").written;
        assert_eq!(hear(&mut out[..n], &mut peer), [(23, b"rest".to_vec())]);
        records.close();
        assert_eq!(say(&mut records, &mut peer), [(21, vec![1, 0])]);
        assert_eq!(records.seal(b"more", &mut out), Err(RecordError::Closed));
    }
}

/// RFC 8446, 5.3: "If a TLS implementation would need to wrap a sequence number, it MUST either
/// rekey … or terminate the connection." RFC 5246, 6.1: "Sequence numbers … do not wrap."
#[test]
fn sequence_numbers_do_not_wrap() {
    for version in [Tls12, Tls13] {
        let last = HalfState { sequence: u64::MAX, ..state(version) };
        let suite = Suite::Aes128Gcm;
        let records = Records::new(version, suite, Client, last.clone(), last);
        let mut records = records.expect("fitting keys");
        let mut out = [0; 64];
        assert_eq!(records.seal(b"1", &mut out), Err(RecordError::Closed));
        let mut input = bytes(version, &[Sealed(23, vec![1])]);
        let error = records.open(&mut input, &mut out).expect_err("no number is left");
        assert_eq!(error, RecordError::Broken(Alert::InternalError));
    }
}

#[test]
fn a_renegotiation_is_declined_politely() {
    let mut records = records(Tls12, Role::Client);
    let mut input = bytes(Tls12, &[Sealed(22, vec![0, 0, 0, 0])]);
    let mut out = [0; 256];
    assert!(matches!(records.open(&mut input, &mut out), Ok(Opened::Nothing(_))));
    assert_eq!(say(&mut records, &mut half(Tls12)), [(21, vec![1, 100])]);
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
