//! How long packets are in the engine: a histogram with fixed bounds, one for each worker.

use std::time::Duration;

/// Upper bounds in nanoseconds; the last bucket has none.
pub const BOUNDS_NS: [u64; 17] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
];

/// Counts by bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    counts: [u64; BOUNDS_NS.len() + 1],
    sum_ns: u64,
}

impl Latency {
    /// `packets` packets were judged as one batch in `took`; each counts with the whole batch's time,
    /// because none leaves before the last is judged.
    pub fn record(&mut self, took: Duration, packets: u64) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS_NS.partition_point(|bound| *bound < ns);
        if let Some(count) = self.counts.get_mut(at) {
            *count = count.saturating_add(packets);
        }
        self.sum_ns = self.sum_ns.saturating_add(ns.saturating_mul(packets));
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.counts.iter_mut().zip(other.counts) {
            *sum = sum.saturating_add(more);
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// For each bound how many took at most that long; the last is all of them.
    #[must_use]
    pub fn cumulative(&self) -> [u64; BOUNDS_NS.len() + 1] {
        let mut sum = 0_u64;
        self.counts.map(|count| {
            sum = sum.saturating_add(count);
            sum
        })
    }

    /// Time of all together, in nanoseconds.
    #[must_use]
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let mut latency = Latency::default();
        for (ns, packets) in [(999, 1), (1_000, 1), (1_001, 1), (1_000_000_001, 5)] {
            latency.record(Duration::from_nanos(ns), packets);
        }
        let counts = latency.cumulative();
        assert_eq!((counts[0], counts[1], counts[16], counts[17]), (2, 3, 3, 8));
        assert_eq!(latency.sum_ns(), 999 + 1_000 + 1_001 + 5_000_000_005);
    }
}
