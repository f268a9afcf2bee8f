//! Flows over time in bins that grow wider as time passes, so that a second and a month are both a
//! picture. Knows no HTML.

use super::Outcome;
use crate::model::{Span, Timestamp};
use std::collections::BTreeMap;

/// Most bins of a timeline.
pub const BINS_MAX: usize = 72;

/// Widths a bin may have, in milliseconds. Each is a multiple of the one before, so that bins put
/// together are bins, and the order in which flows come does not show.
const WIDTHS_MS: &[u64] = &[
    1,
    5,
    10,
    50,
    100,
    500,
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    10_800_000,
    21_600_000,
    43_200_000,
    86_400_000,
    604_800_000,
    2_419_200_000,
    31_449_600_000,
    314_496_000_000,
    3_144_960_000_000,
];

/// Flows by the time they began.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Position in [`WIDTHS_MS`].
    width: usize,
    /// Flows by number of the bin since the epoch, then by position in [`Outcome::ALL`].
    bins: BTreeMap<u64, [u64; 5]>,
}

/// One bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bin {
    /// Its beginning.
    pub start: Timestamp,
    /// By position in [`Outcome::ALL`].
    pub flows: [u64; 5],
}

impl Timeline {
    /// Adds a flow.
    pub fn add(&mut self, at: Timestamp, outcome: Outcome) {
        let bin = self.bin(at);
        if let Some(count) = self.bins.entry(bin).or_default().get_mut(outcome.index()) {
            *count = count.saturating_add(1);
        }
        while self.span() > BINS_MAX as u64 && self.width < WIDTHS_MS.len().saturating_sub(1) {
            self.widen();
        }
    }

    /// How wide a bin is.
    #[must_use]
    pub fn width(&self) -> Span {
        Span::from_millis(self.width_ms())
    }

    /// All bins from the first to the last, empty ones between them too.
    #[must_use]
    pub fn bins(&self) -> Vec<Bin> {
        let (Some((&first, _)), Some((&last, _))) =
            (self.bins.first_key_value(), self.bins.last_key_value())
        else {
            return Vec::new();
        };
        let start = |bin: u64| {
            Timestamp::from_nanos(bin.saturating_mul(self.width_ms()).saturating_mul(1_000_000))
        };
        // No more than the bound even if the widest bins are not wide enough.
        (first..=last)
            .take(BINS_MAX)
            .map(|bin| Bin {
                start: start(bin),
                flows: self.bins.get(&bin).copied().unwrap_or([0; 5]),
            })
            .collect()
    }

    fn width_ms(&self) -> u64 {
        WIDTHS_MS.get(self.width).copied().unwrap_or(1)
    }

    fn bin(&self, at: Timestamp) -> u64 {
        at.as_nanos() / 1_000_000 / self.width_ms()
    }

    fn span(&self) -> u64 {
        let ends = self.bins.first_key_value().zip(self.bins.last_key_value());
        ends.map_or(0, |((first, _), (last, _))| last - first + 1)
    }

    fn widen(&mut self) {
        let old = self.width_ms();
        self.width = self.width.saturating_add(1);
        let new = self.width_ms();
        for (bin, flows) in std::mem::take(&mut self.bins) {
            let sums = self.bins.entry(bin.saturating_mul(old) / new).or_default();
            for (sum, more) in sums.iter_mut().zip(flows) {
                *sum = sum.saturating_add(more);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(timeline: &Timeline) -> u64 {
        timeline.bins().iter().flat_map(|bin| bin.flows).sum()
    }

    #[test]
    fn bins_grow_so_that_there_are_never_more_than_the_limit() {
        for (spacing_ms, flows) in [(1, 71), (1, 72), (1, 73), (997, 5_000), (86_400_000, 900)] {
            let mut timeline = Timeline::default();
            for number in 0..flows {
                let at = Timestamp::from_nanos(number * spacing_ms * 1_000_000);
                timeline.add(at, Outcome::Allowed);
            }
            assert!(timeline.bins().len() <= BINS_MAX, "{flows} flows");
            assert_eq!(total(&timeline), flows);
        }
    }

    #[test]
    fn every_width_is_a_multiple_of_the_one_before() {
        assert!(WIDTHS_MS.windows(2).all(|pair| pair[1] > pair[0] && pair[1] % pair[0] == 0));
    }

    #[test]
    fn the_order_of_flows_does_not_show() {
        let (mut there, mut back) = (Timeline::default(), Timeline::default());
        let times: Vec<u64> = (0..500).map(|n| n * n * 1_000_000).collect();
        times.iter().for_each(|t| there.add(Timestamp::from_nanos(*t), Outcome::Denied));
        times.iter().rev().for_each(|t| back.add(Timestamp::from_nanos(*t), Outcome::Denied));
        assert_eq!(there.bins(), back.bins());
    }
}
