//! What is answered to a server's challenge. Pure.
//!
//! ```text
//!   mysql_native_password   SHA1(password) XOR SHA1(challenge + SHA1(SHA1(password)))
//!   caching_sha2_password   SHA256(password) XOR SHA256(SHA256(SHA256(password)) + challenge)
//! ```
//!
//! Sources: MySQL protocol, "Native Authentication", "Caching_sha2_password information". No
//! password is answered by nothing.

use aws_lc_rs::digest::{self, SHA256};
use sha1::{Digest as _, Sha1};
use zeroize::Zeroizing;

use crate::proxy::accounts::credentials::Password;

/// What `mysql_native_password` is answered; None if what is known of the password does not do.
pub(super) fn native(password: &Password, challenge: &[u8]) -> Option<Vec<u8>> {
    let stage1 = match password {
        Password::Clear(password) if password.is_empty() => return Some(Vec::new()),
        Password::Clear(password) => Zeroizing::new(Sha1::digest(&**password).into()),
        Password::Native(stage1) => stage1.clone(),
        Password::Sha2(_) | Password::Once(_) => return None,
    };
    let stage2: [u8; 20] = Sha1::digest(*stage1).into();
    let mask: [u8; 20] = Sha1::new().chain_update(challenge).chain_update(stage2).finalize().into();
    Some(xor(&*stage1, &mask))
}

/// What `caching_sha2_password` is answered; None if what is known of the password does not do.
pub(super) fn caching_sha2(password: &Password, challenge: &[u8]) -> Option<Vec<u8>> {
    let once = match password {
        Password::Clear(password) if password.is_empty() => return Some(Vec::new()),
        Password::Clear(password) => Zeroizing::new(sha256(&[password])),
        Password::Sha2(once) => once.clone(),
        Password::Native(_) | Password::Once(_) => return None,
    };
    let twice = sha256(&[&*once]);
    Some(xor(&*once, &sha256(&[&twice, challenge])))
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let found = context.finish();
    found.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(one, other)| one ^ other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &[u8] = b"abcdefghijklmnopqrst";

    fn clear(password: &str) -> Password {
        Password::Clear(Zeroizing::new(password.into()))
    }

    /// The client library is the other opinion.
    #[test]
    fn clients_answer_the_same() {
        use mysql_common::scramble;
        for password in ["x", "swordfish", "a password of more than forty bytes, so as to be sure"]
        {
            let known = clear(password);
            let native_answer = scramble::scramble_native(CHALLENGE, password.as_bytes());
            let native_answer = native_answer.map(|it| it.to_vec());
            assert_eq!(native(&known, CHALLENGE), native_answer, "{password}");
            let sha2_answer = scramble::scramble_sha256(CHALLENGE, password.as_bytes());
            let sha2_answer = sha2_answer.map(|it| it.to_vec());
            assert_eq!(caching_sha2(&known, CHALLENGE), sha2_answer, "{password}");
        }
    }

    #[test]
    fn a_hash_answers_what_its_password_does() {
        let stage1 = Zeroizing::new(Sha1::digest("swordfish").into());
        let sha2 = Zeroizing::new(sha256(&[b"swordfish"]));
        let (stage1, sha2) = (Password::Native(stage1), Password::Sha2(sha2));
        let known = clear("swordfish");
        assert_eq!(native(&stage1, CHALLENGE), native(&known, CHALLENGE));
        assert_eq!(caching_sha2(&sha2, CHALLENGE), caching_sha2(&known, CHALLENGE));
        assert_eq!((native(&sha2, CHALLENGE), caching_sha2(&stage1, CHALLENGE)), (None, None));
    }

    #[test]
    fn no_password_is_answered_by_nothing() {
        assert_eq!(native(&clear(""), CHALLENGE), Some(Vec::new()));
        assert_eq!(caching_sha2(&clear(""), CHALLENGE), Some(Vec::new()));
    }
}
