//! Sets of numbers as ranges: addresses, ports, protocols, days and numbered facts alike. What a
//! number means is not known here.

use std::sync::Arc;

/// Numbers, as ranges with both ends included: disjoint, ascending, none next to each other. Cheap
/// to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges(Arc<[(u128, u128)]>);

impl Ranges {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One number.
    #[must_use]
    pub fn one(number: u128) -> Self {
        Self::span(number, number)
    }

    /// Everything from `first` to `last`; nothing if they are the wrong way round.
    #[must_use]
    pub fn span(first: u128, last: u128) -> Self {
        if first > last { Self::none() } else { Self([(first, last)].into()) }
    }

    /// The union of ranges in any order; those the wrong way round hold nothing.
    #[must_use]
    pub fn of(ranges: impl IntoIterator<Item = (u128, u128)>) -> Self {
        let mut list: Vec<(u128, u128)> = ranges.into_iter().filter(|(a, b)| a <= b).collect();
        list.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(list.len());
        for (first, last) in list {
            match merged.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged.into())
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest number.
    #[must_use]
    pub fn first(&self) -> Option<u128> {
        self.0.first().map(|range| range.0)
    }

    /// The highest number.
    #[must_use]
    pub fn last(&self) -> Option<u128> {
        self.0.last().map(|range| range.1)
    }

    /// Whether a number is inside.
    #[must_use]
    pub fn contains(&self, number: u128) -> bool {
        let after = self.0.partition_point(|range| range.0 <= number);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|r| number <= r.1)
    }

    /// Whether some number is in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            if x.1 < y.0 {
                a.next();
            } else if y.1 < x.0 {
                b.next();
            } else {
                return true;
            }
        }
        false
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        if Arc::ptr_eq(&self.0, &other.0) {
            return self.clone();
        }
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&x), Some(&&y)) = (a.peek(), b.peek()) {
            let (first, last) = (x.0.max(y.0), x.1.min(y.1));
            if first <= last {
                both.push((first, last));
            }
            if x.1 < y.1 {
                a.next();
            } else {
                b.next();
            }
        }
        if both.as_slice() == &*self.0 { self.clone() } else { Self(both.into()) }
    }

    /// What is in either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self::of(self.iter().chain(other.iter()))
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        if !self.meets(other) {
            return self.clone();
        }
        let mut left = Vec::new();
        let mut holes = other.0.iter().peekable();
        for &(first, last) in &*self.0 {
            let mut from = Some(first);
            while let (Some(start), Some(&&(low, high))) = (from, holes.peek()) {
                if high < start {
                    holes.next();
                    continue;
                }
                if low > last {
                    break;
                }
                if let Some(end) = low.checked_sub(1).filter(|end| start <= *end) {
                    left.push((start, end));
                }
                from = high.checked_add(1).filter(|next| *next <= last);
                if from.is_some() {
                    holes.next();
                }
            }
            left.extend(from.map(|start| (start, last)));
        }
        Self(left.into())
    }

    /// The first of the wanted numbers that is inside, else the lowest one.
    #[must_use]
    pub fn pick(&self, wanted: &[u128]) -> Option<u128> {
        wanted.iter().copied().find(|number| self.contains(*number)).or_else(|| self.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some() -> impl Strategy<Value = Ranges> {
        prop::collection::vec((0_u128..20, 0_u128..20), 0..5).prop_map(Ranges::of)
    }

    proptest! {
        #[test]
        fn every_number_is_where_the_algebra_says(a in some(), b in some()) {
            for n in 0..21 {
                let (x, y) = (a.contains(n), b.contains(n));
                prop_assert_eq!(a.and(&b).contains(n), x && y);
                prop_assert_eq!(a.or(&b).contains(n), x || y);
                prop_assert_eq!(a.without(&b).contains(n), x && !y);
            }
            prop_assert_eq!(a.meets(&b), !a.and(&b).is_empty());
            prop_assert_eq!(a.without(&b).or(&a.and(&b)), a);
        }
    }

    #[test]
    fn the_ends_of_all_numbers_are_safe() {
        let all = Ranges::span(0, u128::MAX);
        let most = all.without(&Ranges::one(u128::MAX)).without(&Ranges::one(0));
        assert_eq!(most, Ranges::span(1, u128::MAX - 1));
        assert!(all.without(&all).is_empty());
        assert_eq!(all.pick(&[]), Some(0));
        assert_eq!(Ranges::span(3, 9).pick(&[1, 5]), Some(5));
    }
}
