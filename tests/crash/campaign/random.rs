//! Chance that can be had again: xorshift.

use std::time::Duration;

/// See above.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Another one for each number.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut random = Self((seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1);
        for _ in 0..8 {
            random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Less than this.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end.max(1)
    }

    /// One of several.
    pub(crate) fn is_one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    /// A pause, which is chance and no wait for anything: what is done next may come at any time.
    pub(crate) fn pause(&mut self, most: Duration) {
        std::thread::sleep(Duration::from_micros(self.below(most.as_micros() as u64)));
    }
}
