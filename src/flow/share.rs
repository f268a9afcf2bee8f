//! Who has how many of what there is only so much of. It counts; what is shared is elsewhere.

use std::collections::HashMap;
use std::hash::Hash;

/// A bound that several share, none of whom can take it from the others: each may have as many as are
/// still free. One alone has half, two a third each, and there is room for whoever comes next (dynamic
/// thresholds, Choudhury and Hahne 1998).
#[derive(Clone, Debug)]
pub struct Shares<K> {
    /// Of those who have any.
    counts: HashMap<K, usize>,
    total: usize,
    limit: usize,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    /// Nobody has any of `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { counts: HashMap::new(), total: 0, limit }
    }

    /// Whether `who` may have one more.
    #[must_use]
    pub fn has_room(&self, who: K) -> bool {
        let free = self.limit.saturating_sub(self.total);
        self.counts.get(&who).copied().unwrap_or(0) < free
    }

    /// `who` has one more.
    pub fn enter(&mut self, who: K) {
        let count = self.counts.entry(who).or_default();
        *count = count.saturating_add(1);
        self.total = self.total.saturating_add(1);
    }

    /// `who` has one less.
    pub fn leave(&mut self, who: K) {
        let Some(count) = self.counts.get_mut(&who) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.counts.remove(&who);
        }
        self.total = self.total.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all there is for `who`; how many that is.
    fn fill(shares: &mut Shares<u8>, who: u8) -> usize {
        let mut taken = 0;
        while shares.has_room(who) {
            shares.enter(who);
            taken += 1;
        }
        taken
    }

    #[test]
    fn one_has_half_at_most_and_leaves_room_for_the_next() {
        for (limit, half) in [(0, 0), (1, 1), (2, 1), (3, 2), (4096, 2048), (4097, 2049)] {
            let mut shares = Shares::new(limit);
            assert_eq!(fill(&mut shares, 1), half, "{limit}");
        }
        let mut shares = Shares::new(1000);
        assert_eq!([1, 2, 3, 4].map(|who| fill(&mut shares, who)), [500, 250, 125, 63]);
        assert_eq!(fill(&mut shares, 1), 0);
    }

    #[test]
    fn several_that_take_turns_have_the_same() {
        let mut shares = Shares::new(1000);
        let mut taken = [0; 4];
        while (0..4).any(|who| shares.has_room(who)) {
            for who in (0..4).filter(|who| shares.has_room(*who)).collect::<Vec<u8>>() {
                shares.enter(who);
                taken[usize::from(who)] += 1;
            }
        }
        assert_eq!(taken, [200; 4]);
        assert!(shares.has_room(9));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_nothing_is_left_behind() {
        let mut shares = Shares::new(10);
        assert_eq!(fill(&mut shares, 1), 5);
        (0..5).for_each(|_| shares.leave(1));
        shares.leave(1);
        assert!(shares.counts.is_empty());
        assert_eq!((shares.total, fill(&mut shares, 1)), (0, 5));
    }
}
