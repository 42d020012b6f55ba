//! Who logs in to a server, and by what.
//!
//! Invariant: what proves it is never shown, and leaves no copy behind.

use std::fmt;

use zeroize::Zeroizing;

/// The name of an account, and what proves that it is ours to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The account's name.
    pub user: Vec<u8>,
    /// What is known of its password.
    pub password: Password,
}

/// What is known of a password.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// The password itself, good for every plugin.
    Clear(Zeroizing<Vec<u8>>),
    /// SHA1(password): good for any challenge of `mysql_native_password`, and for nothing else.
    Native(Zeroizing<[u8; 20]>),
    /// SHA256(password): good for any challenge of `caching_sha2_password` on a server that has the
    /// account in its cache.
    Sha2(Zeroizing<[u8; 32]>),
    /// Only what it answers to one challenge.
    Once(Once),
}

/// An answer to one challenge, and good for no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Once {
    /// By this plugin.
    pub plugin: Vec<u8>,
    /// What it is to.
    pub challenge: Vec<u8>,
    /// What was answered.
    pub answer: Zeroizing<Vec<u8>>,
}

impl Once {
    /// The answer, if it is to this challenge.
    pub fn to(&self, plugin: &[u8], challenge: &[u8]) -> Option<Vec<u8>> {
        let is_it = self.plugin == plugin && self.challenge == challenge;
        is_it.then(|| self.answer.to_vec())
    }
}

impl Credentials {
    /// By the password itself.
    pub fn clear(user: &str, password: &str) -> Self {
        let password = Zeroizing::new(password.as_bytes().to_vec());
        Self { user: user.into(), password: Password::Clear(password) }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "Clear(***)",
            Self::Native(_) => "Native(***)",
            Self::Sha2(_) => "Sha2(***)",
            Self::Once(_) => "Once(***)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_not_shown() {
        let shown = format!("{:?}", Credentials::clear("app", "swordfish"));
        assert!(!shown.contains("swordfish") && shown.contains("Clear(***)"), "{shown}");
        let hashes =
            [Password::Native(Zeroizing::new([77; 20])), Password::Sha2(Zeroizing::new([77; 32]))];
        for hash in hashes {
            assert!(!format!("{hash:?}").contains("77"));
        }
    }
}
