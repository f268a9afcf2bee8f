//! Which tables have anything for a destination, by the first half of its IPv4 address alone: most
//! destinations have rules in few tables or in none. A hint: what is there, the tables tell.

/// Tables by the first 16 bits of a destination, in an open field of words. Two halves of one word have
/// its tables together.
#[derive(Debug)]
pub(super) struct Coarse {
    words: Vec<u32>,
    shift: u32,
    /// Tables that are not told apart so.
    always: u32,
}

impl Coarse {
    /// Bits of a destination that tell.
    pub(super) const BITS: u8 = 16;
    /// Words for each different half: of those without rules, one in eight seems to have some.
    const WORDS: usize = 8;

    /// For so many different halves at most.
    pub(super) fn new(halves: usize) -> Self {
        let halves = halves.min(1 << Self::BITS);
        let words = halves.saturating_mul(Self::WORDS).next_power_of_two().max(2);
        Self { words: vec![0; words], shift: u32::BITS - words.trailing_zeros(), always: 0 }
    }

    /// A table has something for destinations that begin so.
    pub(super) fn add(&mut self, destination: u32, table: u8) {
        let at = self.place(destination);
        if let Some(word) = self.words.get_mut(at) {
            *word |= 1 << table;
        }
    }

    /// A table may have something for every destination.
    pub(super) const fn add_always(&mut self, table: u8) {
        self.always |= 1 << table;
    }

    /// The tables that may have something for an IPv4 destination.
    #[inline]
    pub(super) fn tables(&self, destination: u32) -> u32 {
        self.always | self.words.get(self.place(destination)).copied().unwrap_or(u32::MAX)
    }

    /// What is stored is the operator's, so that the hash need be no secret.
    #[inline]
    const fn place(&self, destination: u32) -> usize {
        ((destination >> Self::BITS).wrapping_mul(0x9e37_79b9) >> self.shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_has_its_tables_and_others_have_few() {
        for halves in [0, 1, 256, 1 << 16, 1 << 20] {
            let mut coarse = Coarse::new(halves);
            coarse.add_always(31);
            let of = |n: usize| (n as u32).wrapping_mul(0x2545) << 16 | 7;
            let kept = halves.min(1 << 16);
            (0..kept).for_each(|n| coarse.add(of(n), (n % 31) as u8));
            assert!((0..kept).all(|n| coarse.tables(of(n)) & 1 << (n % 31) != 0));
            assert!((0..kept).all(|n| coarse.tables(of(n)) & 1 << 31 != 0));
            if halves <= 256 {
                let others = (halves..1 << 16).filter(|&n| coarse.tables(of(n)) != 1 << 31).count();
                assert!(others <= 1 << 14, "{others} beside {halves}");
            }
        }
    }
}
