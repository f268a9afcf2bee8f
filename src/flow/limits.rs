//! How many flows a segment may have, and how fast it may open them. It counts; the flows are
//! elsewhere.

use crate::model::{Reason, SegmentId, Timestamp};

/// Parts of a token: as many as nanoseconds in a second, so that a rate per second is a number of
/// parts per nanosecond and nothing is lost to rounding.
const PARTS: u64 = 1_000_000_000;
/// The highest rate: a full bucket of parts still fits its number.
const RATE_MAX: u32 = u32::MAX;

/// A bucket that fills at a steady rate and holds one second's worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenBucket {
    per_second: u32,
    parts: u64,
    at: Timestamp,
}

impl TokenBucket {
    /// A full bucket of `per_second` tokens.
    #[must_use]
    pub const fn new(per_second: u32) -> Self {
        Self { per_second, parts: (per_second as u64).saturating_mul(PARTS), at: Timestamp::ZERO }
    }

    /// A bucket that never runs dry, for all that a worker can do.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(RATE_MAX)
    }

    /// Takes a token, if there is one. Time that goes backwards adds nothing.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let rate = u64::from(self.per_second);
        let gained = now.since(self.at).as_nanos().saturating_mul(rate);
        self.at = self.at.max(now);
        self.parts = self.parts.saturating_add(gained).min(rate.saturating_mul(PARTS));
        match self.parts.checked_sub(PARTS) {
            Some(parts) => {
                self.parts = parts;
                true
            }
            None => false,
        }
    }

    /// Changes the rate; what is in the bucket stays, as far as it fits.
    pub fn set_rate(&mut self, per_second: u32) {
        self.per_second = per_second;
        self.parts = self.parts.min(u64::from(per_second).saturating_mul(PARTS));
    }
}

/// What one segment may have at one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentLimit {
    /// Flows at a time.
    pub flows: u32,
    /// New flows a second.
    pub new_flows_per_second: u32,
}

impl SegmentLimit {
    /// No limit of its own.
    pub const UNLIMITED: Self = Self { flows: u32::MAX, new_flows_per_second: RATE_MAX };
}

#[derive(Clone, Copy, Debug)]
struct Account {
    flows: u32,
    limit: u32,
    bucket: TokenBucket,
}

impl Account {
    const fn new(limit: SegmentLimit) -> Self {
        let bucket = TokenBucket::new(limit.new_flows_per_second);
        Self { flows: 0, limit: limit.flows, bucket }
    }
}

/// The flows of each segment.
#[derive(Clone, Debug, Default)]
pub struct SegmentFlows {
    accounts: Vec<Account>,
}

impl SegmentFlows {
    /// With the limits of segments 0, 1, and so on.
    #[must_use]
    pub fn new(limits: &[SegmentLimit]) -> Self {
        Self { accounts: limits.iter().copied().map(Account::new).collect() }
    }

    /// Counts a new flow of `segment`. A segment that was never named has no limit and no count.
    ///
    /// # Errors
    /// [`Reason::LimitSegmentFlows`] or [`Reason::LimitNewFlows`]; nothing was counted.
    pub fn open(&mut self, segment: SegmentId, now: Timestamp) -> Result<(), Reason> {
        let Some(account) = self.accounts.get_mut(usize::from(segment.0)) else { return Ok(()) };
        if account.flows >= account.limit {
            return Err(Reason::LimitSegmentFlows);
        }
        if !account.bucket.take(now) {
            return Err(Reason::LimitNewFlows);
        }
        account.flows = account.flows.saturating_add(1);
        Ok(())
    }

    /// Counts a flow of `segment` that ended.
    pub fn close(&mut self, segment: SegmentId) {
        if let Some(account) = self.accounts.get_mut(usize::from(segment.0)) {
            account.flows = account.flows.saturating_sub(1);
        }
    }

    /// Charges a flow to another segment: its true origin became known.
    ///
    /// # Errors
    /// As [`SegmentFlows::open`]; the flow is still charged to `from`.
    pub fn transfer(
        &mut self,
        from: SegmentId,
        to: SegmentId,
        now: Timestamp,
    ) -> Result<(), Reason> {
        if from == to {
            return Ok(());
        }
        self.open(to, now)?;
        self.close(from);
        Ok(())
    }

    /// Flows of `segment` now.
    #[must_use]
    pub fn flows(&self, segment: SegmentId) -> u32 {
        self.accounts.get(usize::from(segment.0)).map_or(0, |account| account.flows)
    }

    /// Takes over new limits after a reload. `before` tells which segment of the old numbering a
    /// new one was; its flows and its bucket's content stay. Flows above a lowered limit live on.
    pub fn reload(
        &mut self,
        limits: &[SegmentLimit],
        mut before: impl FnMut(SegmentId) -> Option<SegmentId>,
    ) {
        let renewed = (0u16..).zip(limits).map(|(number, limit)| {
            let old = before(SegmentId(number))
                .and_then(|old| self.accounts.get(usize::from(old.0)).copied());
            let Some(mut account) = old else { return Account::new(*limit) };
            account.limit = limit.flows;
            account.bucket.set_rate(limit.new_flows_per_second);
            account
        });
        self.accounts = renewed.collect();
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

    #[test]
    fn a_segment_has_its_limit_of_flows_and_not_one_more() {
        let limit = SegmentLimit { flows: 3, new_flows_per_second: 100 };
        let mut flows = SegmentFlows::new(&[limit, SegmentLimit::UNLIMITED]);
        for n in 1..=3 {
            assert_eq!(flows.open(SegmentId(0), at(0)), Ok(()));
            assert_eq!(flows.flows(SegmentId(0)), n);
        }
        assert_eq!(flows.open(SegmentId(0), at(0)), Err(Reason::LimitSegmentFlows));
        assert_eq!(flows.open(SegmentId(1), at(0)), Ok(()));
        flows.close(SegmentId(0));
        assert_eq!(flows.transfer(SegmentId(1), SegmentId(0), at(0)), Ok(()));
        assert_eq!((flows.flows(SegmentId(0)), flows.flows(SegmentId(1))), (3, 0));
    }

    #[test]
    fn new_flows_are_limited_by_the_second() {
        let limit = SegmentLimit { flows: 10, new_flows_per_second: 2 };
        let mut flows = SegmentFlows::new(&[limit]);
        assert_eq!(flows.open(SegmentId(0), at(0)), Ok(()));
        assert_eq!(flows.open(SegmentId(0), at(0)), Ok(()));
        assert_eq!(flows.open(SegmentId(0), at(0)), Err(Reason::LimitNewFlows));
        assert_eq!(flows.open(SegmentId(0), at(500_000_000)), Ok(()));
    }

    #[test]
    fn a_reload_keeps_the_count_of_a_segment_that_moved() {
        let limit = SegmentLimit { flows: 2, new_flows_per_second: 100 };
        let mut flows = SegmentFlows::new(&[limit]);
        flows.open(SegmentId(0), at(0)).unwrap();
        flows.open(SegmentId(0), at(0)).unwrap();
        let lower = SegmentLimit { flows: 1, ..limit };
        flows.reload(&[limit, lower], |new| (new.0 == 1).then_some(SegmentId(0)));
        assert_eq!((flows.flows(SegmentId(0)), flows.flows(SegmentId(1))), (0, 2));
        flows.close(SegmentId(1));
        assert_eq!(flows.open(SegmentId(1), at(0)), Err(Reason::LimitSegmentFlows));
        assert_eq!(flows.open(SegmentId(0), at(0)), Ok(()));
    }
}
