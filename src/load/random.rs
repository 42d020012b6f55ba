//! Random numbers that are good enough for a load: small, fast, one stream a client.

/// xorshift64*, seeded differently in each run and for each client.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    /// A stream for the client with this number.
    pub(super) fn new(client: u64) -> Self {
        let mut seed = [0; 8];
        // Without entropy all runs are alike, which a load can live with.
        let _ = getrandom::fill(&mut seed);
        Self((u64::from_le_bytes(seed) ^ client.wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1)
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
