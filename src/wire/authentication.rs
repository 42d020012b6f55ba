//! What a server says between the login response and its verdict.
//!
//! Plugins speak in packets of their own; the protocol only tells a change of the plugin and the
//! verdict apart from them. Sources: MySQL protocol, "Authentication Phase" (`AuthSwitchRequest`,
//! `AuthMoreData`, `AuthNextFactor`), "Caching_sha2_password information", and
//! reference implementations of `sha256_password`.

use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Challenge and answer by SHA-1.
pub const NATIVE: &[u8] = b"mysql_native_password";
/// The same as it was before MySQL 4.1.
pub const OLD: &[u8] = b"mysql_old_password";
/// MariaDB's signatures.
pub const ED25519: &[u8] = b"client_ed25519";
/// Challenge and answer by SHA-256, from a cache; without the cache the password itself.
pub const CACHING_SHA2: &[u8] = b"caching_sha2_password";
/// The password itself, by TLS or by RSA.
pub const SHA256: &[u8] = b"sha256_password";
/// The password itself, as it is.
pub const CLEAR: &[u8] = b"mysql_clear_password";
/// Questions and answers of PAM: passwords, as they are.
pub const DIALOG: &[u8] = b"dialog";

/// caching_sha2_password's data of an `AuthMoreData`: the answer was right, OK follows.
pub const FAST_OK: &[u8] = &[3];
/// caching_sha2_password's data of an `AuthMoreData`: the password is wanted.
pub const FULL: &[u8] = &[4];
/// What asks a server of caching_sha2_password for its RSA key.
pub const CACHING_SHA2_KEY: &[u8] = &[2];
/// The same for sha256_password.
pub const SHA256_KEY: &[u8] = &[1];

/// SHA1(password), out of an answer of [`NATIVE`] to this challenge: "SHA1(password) XOR
/// SHA1(challenge + SHA1(SHA1(password)))". None if the answer was given to another password than
/// the one with this SHA1(SHA1(password)); that takes as long.
pub fn native_stage1(
    answer: &[u8],
    challenge: &[u8],
    stage2: &[u8; 20],
) -> Option<Zeroizing<[u8; 20]>> {
    let mask = Sha1::new().chain_update(challenge).chain_update(stage2).finalize();
    let mut stage1 = Zeroizing::new([0; 20]);
    stage1.iter_mut().zip(answer).zip(mask).for_each(|((out, a), b)| *out = a ^ b);
    let is_it = Sha1::digest(*stage1).ct_eq(stage2);
    (answer.len() == stage1.len() && bool::from(is_it)).then_some(stage1)
}

/// A server's packet in an authentication exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told<'a> {
    /// OK or ERR: it is over.
    Verdict,
    /// Another plugin goes on: `AuthSwitchRequest` or `AuthNextFactor`.
    Plugin {
        /// Its name.
        name: &'a [u8],
        /// Its challenge, without the NUL at its end.
        challenge: &'a [u8],
    },
    /// Data of the plugin's, out of an `AuthMoreData`.
    More(&'a [u8]),
    /// Data of the plugin's, as it is.
    Other,
}

impl<'a> Told<'a> {
    /// What the payload says; `factors` with MULTI_FACTOR_AUTHENTICATION, without which nothing but
    /// a plugin's data begins with 2.
    pub fn parse(payload: &'a [u8], factors: bool) -> Self {
        match payload {
            [0x00 | 0xFF, ..] => Self::Verdict,
            [0xFE, rest @ ..] => Self::plugin(rest),
            [0x02, rest @ ..] if factors => Self::plugin(rest),
            [0x01, rest @ ..] => Self::More(rest),
            _ => Self::Other,
        }
    }

    fn plugin(rest: &'a [u8]) -> Self {
        let at = memchr::memchr(0, rest).unwrap_or(rest.len());
        let challenge = rest.get(at + 1..).unwrap_or_default();
        Self::Plugin {
            name: &rest[..at],
            challenge: challenge.strip_suffix(&[0]).unwrap_or(challenge),
        }
    }
}

/// Whether a plugin's answer says that there is no password.
pub fn is_empty(answer: &[u8]) -> bool {
    matches!(answer, [] | [0])
}

/// Whether a plugin's first answer is one to a challenge, from which nobody learns the password. A
/// client that knows no plugins, whose name is empty, answers as [`NATIVE`] or [`OLD`] does.
pub fn hides_password(plugin: &[u8], answer: &[u8]) -> bool {
    let length = match plugin {
        NATIVE => 20,
        OLD => 8,
        CACHING_SHA2 => 32,
        ED25519 => 64,
        b"" if answer.len() == 8 => 8,
        b"" => 20,
        _ => return false,
    };
    answer.len() == length
}

/// The payload of an `AuthMoreData`.
pub fn more_data(data: &[u8]) -> Vec<u8> {
    [&[1], data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_hide_the_password() {
        let cases: [(&[u8], usize, bool); 12] = [
            (NATIVE, 20, true),
            (NATIVE, 9, false),
            (CACHING_SHA2, 32, true),
            // A clear password of a client that takes TLS for enough.
            (CACHING_SHA2, 9, false),
            (ED25519, 64, true),
            (OLD, 8, true),
            (b"", 20, true),
            (b"", 8, true),
            (b"", 9, false),
            (SHA256, 20, false),
            (CLEAR, 20, false),
            (b"whatever", 32, false),
        ];
        for (plugin, length, hides) in cases {
            let name = String::from_utf8_lossy(plugin);
            assert_eq!(hides_password(plugin, &vec![7; length]), hides, "{name}, {length}");
        }
    }

    #[test]
    fn packets_are_told_apart() {
        let switch = b"\xfemysql_native_password\0abcdefghijklmnopqrst\0";
        let name = b"mysql_native_password".as_slice();
        let challenge = b"abcdefghijklmnopqrst".as_slice();
        let cases: &[(&[u8], bool, Told<'_>)] = &[
            (&[0, 0, 0, 2, 0, 0, 0], false, Told::Verdict),
            (b"\xff\x15\x04#28000no", false, Told::Verdict),
            (switch, false, Told::Plugin { name, challenge }),
            (b"\xfe", false, Told::Plugin { name: b"", challenge: b"" }),
            (
                b"\xfeclient_ed25519",
                false,
                Told::Plugin { name: b"client_ed25519", challenge: b"" },
            ),
            (b"\x02x\0y\0", true, Told::Plugin { name: b"x", challenge: b"y" }),
            // PAM's way of asking for a password.
            (b"\x02Password: ", false, Told::Other),
            (&[1, 3], false, Told::More(FAST_OK)),
            (&[1], false, Told::More(&[])),
            (&[], false, Told::Other),
        ];
        for (payload, factors, told) in cases {
            assert_eq!(Told::parse(payload, *factors), *told, "{payload:?}");
        }
    }
}
