//! Which keys are surely in no hash table: a bit for each key, by its hash alone.

/// Tells in one look that no table has a key: two bits for each key, by its hash, in one word.
#[derive(Debug)]
pub(super) struct Filter {
    words: Vec<u64>,
    mask: u64,
}

impl Filter {
    /// Bits for each key: one key in fifty that is not there seems to be.
    const BITS: usize = 16;

    /// For so many keys.
    pub(super) fn new(keys: usize) -> Self {
        let words = keys.saturating_mul(Self::BITS).div_ceil(64).next_power_of_two();
        Self { words: vec![0; words], mask: (words as u64).wrapping_sub(1) }
    }

    /// Adds the key of this hash.
    pub(super) fn add(&mut self, hash: u64) {
        if let Some(word) = self.words.get_mut((hash >> 32 & self.mask) as usize) {
            *word |= 1 << (hash & 63) | 1 << (hash >> 6 & 63);
        }
    }

    /// The words, as many as a power of two: that of a hash is told by its high half.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether a key of this hash may be there: 1 if so, else 0.
    #[inline(always)]
    pub(super) fn may_hold(&self, hash: u64) -> u64 {
        let word = self.words.get((hash >> 32 & self.mask) as usize).copied().unwrap_or_default();
        word >> (hash & 63) & word >> (hash >> 6 & 63) & 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_may_be_there_and_of_others_few() {
        let hash = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for keys in [0, 1, 1000] {
            let mut filter = Filter::new(keys);
            (0..keys as u64).for_each(|n| filter.add(hash(n)));
            assert!((0..keys as u64).all(|n| filter.may_hold(hash(n)) == 1));
            let others = (10_000..20_000).filter(|&n| filter.may_hold(hash(n)) == 1).count();
            assert!(others <= 300, "{others} of 10000 beside {keys}");
        }
    }
}
