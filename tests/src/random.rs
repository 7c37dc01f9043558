//! Numbers that look random.

/// Marsaglia's xorshift64, which gives the same numbers in every run.
pub struct Random(u64);

impl Random {
    /// Each seed has numbers of its own.
    pub fn new(seed: u64) -> Self {
        // A state of zero would stay zero.
        Random(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Any number.
    #[allow(clippy::should_implement_trait, reason = "it doesn't end")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One from 0 on, less than `end`; 0 if there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
