//! MariaDB's `parsec`: a signature by a key that is made of the password and a salt.
//!
//! ```text
//!   server: 32 bytes of challenge ─► we: nothing, so that it tells the salt
//!   server: 'P', n, salt          ─► we: 32 bytes of our own, and the signature of both
//!   key = PBKDF2-HMAC-SHA512(password, salt, 1024 << n times), a seed of Ed25519
//! ```
//!
//! Source: MariaDB's documentation, "Authentication Plugin - PARSEC".

use std::num::NonZeroU32;

use aws_lc_rs::pbkdf2::{self, PBKDF2_HMAC_SHA512};
use aws_lc_rs::signature::Ed25519KeyPair;
use zeroize::Zeroizing;

/// The plugin's name.
pub(super) const PARSEC: &[u8] = b"parsec";

/// Bytes of a challenge, the server's and ours.
const CHALLENGE: usize = 32;

/// The largest n that servers have; it bounds what a server can make us do.
const MOST: u8 = 3;

/// The answer to a challenge and a salt; None if they are none.
pub(super) fn answer(
    password: &[u8],
    challenge: &[u8],
    told: &[u8],
    own: [u8; CHALLENGE],
) -> Option<Vec<u8>> {
    let [b'P', n @ 0..=MOST, salt @ ..] = told else { return None };
    let times = NonZeroU32::new(1024 << n)?;
    let mut seed = Zeroizing::new([0; 32]);
    pbkdf2::derive(PBKDF2_HMAC_SHA512, times, salt, password, &mut *seed);
    let key = Ed25519KeyPair::from_seed_unchecked(&*seed).ok()?;
    let mut both = challenge.to_vec();
    if both.len() + 1 == CHALLENGE {
        // Any byte may be its last one, and a NUL there was taken for the end.
        both.push(0);
    }
    both.extend(own);
    (both.len() == 2 * CHALLENGE).then(|| [&own[..], key.sign(&both).as_ref()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_server_says_is_answered() {
        let own = [7; CHALLENGE];
        let answered = |challenge: &[u8], told: &[u8]| answer(b"swordfish", challenge, told, own);
        let with_nul = [&[1; 31][..], &[0]].concat();
        let first = answered(&[1; 32], b"P\0salt").expect("an answer");
        assert_eq!((first.len(), &first[..CHALLENGE]), (96, &own[..]));
        assert_ne!(answered(&[1; 32], b"P\x01salt"), Some(first));
        assert_eq!(answered(&with_nul, b"P\0salt"), answered(&[1; 31], b"P\0salt"));
        for told in [&b"P\x04salt"[..], b"Q\0salt", b"P", b""] {
            assert_eq!(answered(&[1; 32], told), None, "{told:?}");
        }
        assert_eq!(answered(&[1; 30], b"P\0salt"), None);
    }
}
