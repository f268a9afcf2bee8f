//! How fast something may happen. It counts; what happens is elsewhere.

use crate::model::Timestamp;

/// Parts of a token: as many as nanoseconds in a second, so that a rate per second is a number of
/// parts per nanosecond and nothing is lost to rounding.
const PARTS: u64 = 1_000_000_000;

/// A bucket that fills at a steady rate and holds one second's worth, or what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    per_second: u32,
    burst: u32,
    parts: u64,
    at: Timestamp,
}

impl TokenBucket {
    /// A full bucket of `per_second` tokens.
    #[must_use]
    pub const fn new(per_second: u32) -> Self {
        Self::with_burst(per_second, per_second)
    }

    /// A full bucket that holds `burst` tokens.
    #[must_use]
    pub const fn with_burst(per_second: u32, burst: u32) -> Self {
        let parts = (burst as u64).saturating_mul(PARTS);
        Self { per_second, burst, parts, at: Timestamp::ZERO }
    }

    /// Takes a token, if there is one. Time that goes backwards adds nothing.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let rate = u64::from(self.per_second);
        let gained = now.since(self.at).as_nanos().saturating_mul(rate);
        self.at = self.at.max(now);
        self.parts = self.parts.saturating_add(gained).min(self.room());
        match self.parts.checked_sub(PARTS) {
            Some(parts) => {
                self.parts = parts;
                true
            }
            None => false,
        }
    }

    /// Changes the rate, and holds one second's worth of it; what is in the bucket stays, as far as it
    /// fits.
    pub fn set_rate(&mut self, per_second: u32) {
        (self.per_second, self.burst) = (per_second, per_second);
        self.parts = self.parts.min(self.room());
    }

    const fn room(&self) -> u64 {
        (self.burst as u64).saturating_mul(PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: u64 = 1_795_000_000_000_000_000;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(START + nanos)
    }

    #[test]
    fn a_bucket_gives_one_second_of_tokens_at_once_and_then_its_rate() {
        for rate in [1u32, 3, 7, 1000] {
            let mut bucket = TokenBucket::new(rate);
            let granted = (0..=rate).filter(|_| bucket.take(at(0))).count();
            assert_eq!(granted, rate as usize);
            let each = 1_000_000_000u64.div_ceil(u64::from(rate));
            assert!(!bucket.take(at(each - 1)));
            assert!(bucket.take(at(each)));
            assert!(!bucket.take(at(each)));
        }
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_its_rate() {
        let mut bucket = TokenBucket::with_burst(2, 5);
        assert_eq!((0..9).filter(|_| bucket.take(at(0))).count(), 5);
        assert_eq!((0..9).filter(|_| bucket.take(at(1_000_000_000))).count(), 2);
        assert_eq!((0..9).filter(|_| bucket.take(at(9_000_000_000))).count(), 5);
    }

    #[test]
    fn a_rate_of_zero_gives_nothing_and_time_going_back_adds_nothing() {
        let mut none = TokenBucket::new(0);
        assert!(!none.take(at(0)) && !none.take(at(u64::from(u32::MAX))));
        let mut one = TokenBucket::new(1);
        assert!(one.take(at(5_000_000_000)));
        assert!(!one.take(at(0)));
        assert!(!one.take(at(5_999_999_999)));
        assert!(one.take(at(6_000_000_000)));
    }

    proptest! {
        /// Over any time, asked however often, a bucket gives what it held and what flowed in,
        /// rounded down.
        #[test]
        fn no_token_is_lost_or_made(rate in 1u32..5_000, step in 1u64..200_000, steps in 1u64..3_000) {
            let mut bucket = TokenBucket::new(rate);
            while bucket.take(at(0)) {}
            let mut granted = 0u64;
            for n in 1..=steps {
                while bucket.take(at(n * step)) { granted += 1; }
            }
            prop_assert_eq!(granted, step * steps * u64::from(rate) / 1_000_000_000);
        }
    }
}
