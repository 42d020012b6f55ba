//! Passwords, which the config holds and nobody is shown.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text itself, for the one place that compares it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The same as bytes, if it is a hash. See [`stage2`].
    pub fn stage2(&self) -> Option<[u8; 20]> {
        stage2(self.0.as_bytes())
    }
}

/// `*` and 40 hex digits of SHA1(SHA1(password)), as servers keep it → 20 bytes.
pub fn stage2(hash: &[u8]) -> Option<[u8; 20]> {
    let digits = hash.strip_prefix(b"*")?;
    if digits.len() != 40 {
        return None;
    }
    let mut hash = [0; 20];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let high = (pair[0] as char).to_digit(16)?;
        let low = (pair[1] as char).to_digit(16)?;
        *byte = (high * 16 + low) as u8;
    }
    Some(hash)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What serde says of anything else shows it.
        let text = String::deserialize(deserializer);
        text.map(Self).map_err(|_| D::Error::custom("expected a string in quotes"))
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}
