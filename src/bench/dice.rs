//! A generator whose figures are the same on every machine (SplitMix64). Not for secrets.

/// See the module documentation.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A sequence of its own for each seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 even bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `sides`; 0 if that is 0.
    pub const fn below(&mut self, sides: usize) -> usize {
        (((self.bits() as u128) * (sides as u128)) >> 64) as usize
    }

    /// Whether something happens that happens so many times in a hundred.
    pub const fn percent(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// A length between `least` and `most` whose tail is long (Pareto, shape 1.2).
    pub fn pareto(&mut self, least: usize, most: usize) -> usize {
        let even = ((self.bits() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        ((least as f64 * even.powf(-1.0 / 1.2)) as usize).min(most)
    }
}
