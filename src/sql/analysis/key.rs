//! Words of up to eight letters as numbers, so that one comparison tells which it is.

/// The word in small letters; 0 if it is longer than eight. No two words of letters, digits and
/// `_` have the same but for the case of letters.
#[inline]
pub(super) const fn key(word: &[u8]) -> u64 {
    let length = word.len();
    let bits = match length {
        1..4 => {
            (word[0] as u64)
                | (word[length / 2] as u64) << (8 * (length / 2))
                | (word[length - 1] as u64) << (8 * (length - 1))
        }
        // Where both halves overlap they say the same.
        4..=8 => four(word, 0) | four(word, length - 4) << (8 * (length - 4)),
        _ => return 0,
    };
    // Only where a byte is.
    bits | 0x2020_2020_2020_2020 >> (64 - 8 * length)
}

const fn four(word: &[u8], at: usize) -> u64 {
    u32::from_le_bytes([word[at], word[at + 1], word[at + 2], word[at + 3]]) as u64
}

/// Compares a key with words, as `match` does.
macro_rules! is_one_of {
    ($key:expr, $($word:literal)|+) => {{
        let key: u64 = $key;
        $(key == const {
            assert!($word.len() <= 8);
            $crate::sql::analysis::key::key($word)
        })||+
    }};
}

pub(super) use is_one_of;
