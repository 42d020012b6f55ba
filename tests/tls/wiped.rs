//! Where a key was, there is none left: after a move, new keys and the end.
//!
//! Not after a handshake: rustls moves its state about and leaves secrets where it was.

use odp::net::tls::keys::{Half, HalfState, Hidden, Suite, Version};
use odp::net::tls::record::{Records, RecordsState, Role, Update};
use odp::net::tls::wiped::Wiped;

use crate::graveyard::{dig, holds};

fn secret(seed: u8, length: usize) -> Vec<u8> {
    (0..length as u8).map(|at| at.wrapping_mul(37) ^ seed).collect()
}

fn half(seed: u8) -> HalfState {
    HalfState {
        secret: Some(Hidden::new(&secret(seed, 48))),
        key: Hidden::new(&secret(seed + 1, 32)),
        iv: Hidden::new(&secret(seed + 2, 12)),
        sequence: 0,
        spent: 0,
    }
}

#[test]
fn a_freed_key_is_found() {
    let key = secret(200, 32);
    let (_, found) = dig(|| drop(key.clone()));
    assert!(holds(&found, &key), "else the others prove nothing");
    let (_, found) = dig(|| drop(Hidden::new(&key)));
    assert!(!holds(&found, &key));
}

#[test]
fn moves_and_new_keys_leave_none_behind() {
    let suite = Suite::Aes256Gcm;
    let halves = [10, 20, 30].map(half);
    let (_, found) = dig(|| {
        let [read, write, third] = halves.clone();
        let records = Records::new(Version::Tls13, suite, Role::Server, read, write);
        let mut records = records.expect("fitting keys");
        for round in 0..3 {
            // Behind something long, so that the buffer grows with keys in it.
            let mut text = Wiped::default();
            let state = (records.state(), "x".repeat(3000), records.state());
            serde_json::to_writer(&mut text, &state).expect("JSON");
            let text = text.into_inner();
            let (state, ..): (RecordsState, String, RecordsState) =
                serde_json::from_slice(&text).expect("our JSON");
            records = Records::resume(state).expect("our state");
            if round == 1 {
                records.update_keys(Update::Both);
                records.speak(&mut [0; 64]).expect("room");
            }
        }
        let mut reading = Half::new(Version::Tls13, suite, third).expect("fitting keys");
        reading.update().expect("TLS 1.3");
    });
    for HalfState { secret, key, iv, .. } in &halves {
        for hidden in [secret.as_ref(), Some(key), Some(iv)].into_iter().flatten() {
            assert!(!holds(&found, hidden.reveal()), "one of {} bytes", hidden.reveal().len());
        }
    }
}
