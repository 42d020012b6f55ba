//! Entries for fuzzing: whatever a peer sends, nothing panics.
//!
//! Plain functions over bytes, so that any fuzzer can drive them, and the tests do with a corpus
//! and random mutations of it.

use super::keys::{HalfState, Hidden, Suite, Version};
use super::record::{Opened, Records, RecordsState, Role};

/// Feeds a record layer that has known keys: byte 0 chooses version, suite and role, byte 1 the
/// room for plaintext; of the rest, every stretch is either taken as raw bytes or sealed with the
/// right key first, so that what lies behind the AEAD is reached too.
pub fn record(data: &[u8]) {
    let [choice, room, rest @ ..] = data else { return };
    let Some((mut records, mut peer)) = known_pair(*choice) else { return };
    let mut input = unfold(rest, &mut peer);
    let mut out = vec![0; usize::from(*room) * 80];
    let mut reply = [0; 512];
    loop {
        let consumed = match records.open(&mut input, &mut out) {
            Ok(Opened::Nothing(consumed) | Opened::Out { consumed, .. }) => consumed,
            Ok(Opened::Within { consumed, range }) => {
                assert!(range.end <= consumed, "data lies in its record");
                consumed
            }
            Ok(Opened::Missing(_) | Opened::End) | Err(_) => break,
        };
        input.drain(..consumed);
        let spoken = records.speak(&mut reply);
        assert!(spoken.is_ok(), "what is owed can be said");
    }
    let state = records.state();
    assert!(Records::resume(state).is_some(), "every state can be moved");
}

/// Reads a snapshot; what another process sends is believed as little as a peer.
pub fn snapshot(data: &[u8]) {
    let Ok(state) = serde_json::from_slice::<RecordsState>(data) else { return };
    let Some(mut records) = Records::resume(state) else { return };
    let mut out = [0; 512];
    let _ = records.seal(b"data", &mut out);
    let _ = records.open(&mut [23, 3, 3, 0, 17].repeat(5), &mut out);
}

/// A record layer, and one direction of its peer.
fn known_pair(choice: u8) -> Option<(Records, super::keys::Half)> {
    let version = if choice & 1 == 0 { Version::Tls13 } else { Version::Tls12 };
    let role = if choice & 2 == 0 { Role::Server } else { Role::Client };
    let (suite, key, secret) = match (choice >> 2) % 3 {
        0 => (Suite::Aes128Gcm, 16, 32),
        1 => (Suite::Aes256Gcm, 32, 48),
        _ => (Suite::Chacha20Poly1305, 32, 32),
    };
    let state = HalfState {
        secret: (version == Version::Tls13).then(|| Hidden::new(&vec![1; secret])),
        key: Hidden::new(&vec![2; key]),
        iv: Hidden::new(&[3; 12]),
        sequence: 0,
        spent: 0,
    };
    let records = Records::new(version, suite, role, state.clone(), state.clone())?;
    Some((records, super::keys::Half::new(version, suite, state)?))
}

/// Stretches of `kind length content`: kind 0 is raw, the others are sealed with that type.
fn unfold(mut rest: &[u8], peer: &mut super::keys::Half) -> Vec<u8> {
    let mut input = Vec::new();
    while let [kind, length, content @ ..] = rest {
        let (content, behind) = content.split_at(usize::from(*length).min(content.len()));
        rest = behind;
        if *kind == 0 {
            input.extend_from_slice(content);
            continue;
        }
        let mut sealed = vec![0; peer.sealed_len(content.len())];
        if peer.seal(*kind, content, &mut sealed).is_ok() {
            input.extend_from_slice(&sealed);
        }
    }
    input
}
