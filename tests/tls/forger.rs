//! A peer that has our keys and seals what no good one would; and hears what it is told.

use odp::net::tls::keys::{Half, HalfState, Hidden, Suite, Version};
use odp::net::tls::record::{Opened, Records, Role};

use Version::Tls13;

pub(crate) fn state(version: Version) -> HalfState {
    HalfState {
        secret: (version == Tls13).then(|| Hidden::new(&[1; 32])),
        key: Hidden::new(&[2; 16]),
        iv: Hidden::new(&[3; 12]),
        sequence: 0,
        spent: 0,
    }
}

pub(crate) fn records(version: Version, role: Role) -> Records {
    let state = state(version);
    Records::new(version, Suite::Aes128Gcm, role, state.clone(), state).expect("fitting keys")
}

/// What the peer of the above would seal, and what it hears.
pub(crate) fn half(version: Version) -> Half {
    Half::new(version, Suite::Aes128Gcm, state(version)).expect("fitting keys")
}

/// What a peer sends.
pub(crate) enum Sent {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// A record of this type, well sealed.
    Sealed(u8, Vec<u8>),
    /// So many of those.
    Many(usize, u8, Vec<u8>),
    /// A KeyUpdate with this request, cut there; what follows is under the new keys.
    NewKeys(u8, usize),
}
pub(crate) use Sent::{Many, NewKeys, Raw, Sealed};

/// What the AEAD itself makes of a record that no sender of ours could be talked into.
fn seal_by_hand<const N: usize>(additional: [u8; N], text: &[u8]) -> Vec<u8> {
    use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[2; 16]).expect("a key"));
    let mut body = text.to_vec();
    let nonce = Nonce::assume_unique_for_key([3; 12]);
    key.seal_in_place_append_tag(nonce, Aad::from(additional), &mut body).expect("sealed");
    body
}

/// A TLS 1.3 record with this whole TLSInnerPlaintext.
pub(crate) fn inner(text: &[u8]) -> Sent {
    let [high, low] = (text.len() as u16 + 16).to_be_bytes();
    let header = [23, 3, 3, high, low];
    Raw([&header[..], &seal_by_hand(header, text)].concat())
}

/// A TLS 1.2 record of data with this plaintext.
pub(crate) fn data12(text: &[u8]) -> Sent {
    let [high, low] = (text.len() as u16).to_be_bytes();
    let body = seal_by_hand([0, 0, 0, 0, 0, 0, 0, 0, 23, 3, 3, high, low], text);
    let [high, low] = (body.len() as u16 + 8).to_be_bytes();
    Raw([&[23, 3, 3, high, low][..], &[3; 8], &body].concat())
}

/// Seals one record more.
fn seal(peer: &mut Half, all: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let mut out = vec![0; peer.sealed_len(content.len())];
    peer.seal(kind, content, &mut out).expect("room");
    all.extend_from_slice(&out);
}

pub(crate) fn bytes(version: Version, sent: &[Sent]) -> Vec<u8> {
    let (mut peer, mut all) = (half(version), Vec::new());
    for sent in sent {
        match sent {
            Raw(bytes) => all.extend_from_slice(bytes),
            Sealed(kind, content) => seal(&mut peer, &mut all, *kind, content),
            Many(count, kind, content) => {
                (0..*count).for_each(|_| seal(&mut peer, &mut all, *kind, content));
            }
            NewKeys(request, cut) => {
                let message = [24, 0, 0, 1, *request];
                for part in [&message[..*cut], &message[*cut..]] {
                    if !part.is_empty() {
                        seal(&mut peer, &mut all, 22, part);
                    }
                }
                peer.update().expect("TLS 1.3");
            }
        }
    }
    all
}

/// What we say to the peer that is `half(version)`, record by record: type and content. Our
/// KeyUpdates change the peer's keys.
pub(crate) fn say(records: &mut Records, peer: &mut Half) -> Vec<(u8, Vec<u8>)> {
    let mut out = [0; 1024];
    let n = records.speak(&mut out).expect("room");
    hear(&mut out[..n], peer)
}

pub(crate) fn hear(mut bytes: &mut [u8], peer: &mut Half) -> Vec<(u8, Vec<u8>)> {
    let mut said = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk_mut::<5>() {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let (body, rest) = rest.split_at_mut(length);
        let mut plain = vec![0; length];
        let opened = peer.open(*header, body, &mut plain).expect("a good record");
        if opened.kind == 22 {
            peer.update().expect("TLS 1.3");
        }
        said.push((opened.kind, plain[..opened.length].to_vec()));
        bytes = rest;
    }
    said
}

/// Gives all of it to a record layer that finds no fault with it.
pub(crate) fn give(records: &mut Records, mut input: Vec<u8>) {
    while !input.is_empty() {
        match records.open(&mut input, &mut [0; 64]) {
            Ok(Opened::Nothing(n) | Opened::Out { consumed: n, .. }) => drop(input.drain(..n)),
            Ok(Opened::End) => return,
            other => panic!("{other:?}"),
        }
    }
}
