//! MariaDB's `client_ed25519`: a signature of the challenge by a key that is made of the password.
//!
//! It is Ed25519 (RFC 8032, 5.1) with the password where that has 32 bytes of seed, and nobody's
//! Ed25519 takes a seed of another length: so the signature is put together here.
//!
//! ```text
//!   h = SHA512(password)     a = h[..32], clamped     A = a·B
//!   r = SHA512(h[32..] + challenge)                   R = r·B
//!   S = r + SHA512(R + A + challenge)·a               the answer is R + S
//! ```
//!
//! Source: MariaDB's documentation, "Authentication Plugin - ed25519", "Connection".

use aws_lc_rs::digest::{Context, SHA512};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use zeroize::Zeroizing;

/// Bytes of a challenge.
const CHALLENGE: usize = 32;

/// The answer to a challenge; None if it is none.
pub(super) fn answer(password: &[u8], challenge: &[u8]) -> Option<Vec<u8>> {
    let mut message = challenge.to_vec();
    if message.len() + 1 == CHALLENGE {
        // Any byte may be its last one, and a NUL there was taken for the end.
        message.push(0);
    }
    (message.len() == CHALLENGE).then(|| sign(password, &message))
}

fn sign(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let hash = sha512(&[secret]);
    let (first, last) = hash.split_at(32);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(first);
    let key = Zeroizing::new(Scalar::from_bytes_mod_order(clamp_integer(*key)));
    let once = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&sha512(&[last, message])));
    let public = EdwardsPoint::mul_base(&key).compress();
    let point = EdwardsPoint::mul_base(&once).compress();
    let hash = sha512(&[point.as_bytes(), public.as_bytes(), message]);
    let proof = *once + Scalar::from_bytes_mod_order_wide(&hash) * *key;
    [point.to_bytes(), proof.to_bytes()].concat()
}

fn sha512(parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut context = Context::new(&SHA512);
    parts.iter().for_each(|part| context.update(part));
    let mut found = Zeroizing::new([0; 64]);
    found.copy_from_slice(context.finish().as_ref());
    found
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::Ed25519KeyPair;

    use super::*;

    /// With 32 bytes of password it is what everybody's Ed25519 does.
    #[test]
    fn a_password_as_long_as_a_seed_signs_as_the_seed_does() {
        for byte in 0..20 {
            let (seed, challenge) = ([byte; 32], [byte ^ 0x5A; CHALLENGE]);
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed");
            assert_eq!(answer(&seed, &challenge).as_deref(), Some(pair.sign(&challenge).as_ref()));
        }
    }

    #[test]
    fn only_a_challenge_is_answered() {
        let first = answer(b"swordfish", &[7; CHALLENGE]).expect("an answer");
        let digits: String = first.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // By the formulas above in big integers.
        assert_eq!((first.len(), &*digits), (64, "5ab0e7bc29c12dfa"));
        let with_nul = [&[1; 31][..], &[0]].concat();
        assert_eq!(answer(b"swordfish", &[1; 31]), answer(b"swordfish", &with_nul));
        for length in [0, 20, 30, 33] {
            assert_eq!(answer(b"swordfish", &vec![1; length]), None);
        }
    }
}
