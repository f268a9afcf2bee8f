//! How many packets that belong to no segment are told of, one by one: so many of each endpoint that
//! none hides another's, and of the others how many there were. All are counted elsewhere.

use super::Limits;
use crate::flow::TokenBucket;
use crate::model::{EndpointId, Span, Timestamp};
use hashbrown::HashMap;

/// Endpoints with a budget of their own; those beyond share one.
pub(super) const BUDGETS_MAX: usize = 1024;
/// What may be told of an endpoint at once that was silent: so many seconds' worth.
const BURST_SECONDS: u32 = 10;
/// An endpoint that was silent for so long has its whole budget again, and may give its place away.
const FORGOTTEN: Span = Span::from_secs(BURST_SECONDS as u64);

/// What may still be told.
#[derive(Debug)]
pub(super) struct Strangers {
    of_endpoint: HashMap<Option<EndpointId>, Budget>,
    of_others: Budget,
    all: TokenBucket,
    fresh: TokenBucket,
    looked: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Budget {
    bucket: TokenBucket,
    held_back: u64,
    at: Timestamp,
}

impl Strangers {
    pub(super) fn new(limits: &Limits) -> Self {
        let each = limits.strangers_per_endpoint;
        let fresh = TokenBucket::with_burst(each, each.saturating_mul(BURST_SECONDS));
        Self {
            of_endpoint: HashMap::new(),
            of_others: Budget::new(fresh),
            all: TokenBucket::new(limits.strangers_per_second),
            fresh,
            looked: Timestamp::ZERO,
        }
    }

    /// Whether a packet from this endpoint is told of: then how many were not since the one before.
    pub(super) fn tell(&mut self, endpoint: Option<EndpointId>, now: Timestamp) -> Option<u64> {
        if self.of_endpoint.len() >= BUDGETS_MAX && !self.of_endpoint.contains_key(&endpoint) {
            self.make_room(now);
        }
        let room = self.of_endpoint.len() < BUDGETS_MAX;
        let budget = match self.of_endpoint.get_mut(&endpoint) {
            Some(budget) => budget,
            None if room => self.of_endpoint.entry(endpoint).or_insert(Budget::new(self.fresh)),
            None => &mut self.of_others,
        };
        budget.at = budget.at.max(now);
        if budget.bucket.take(now) && self.all.take(now) {
            return Some(std::mem::take(&mut budget.held_back));
        }
        budget.held_back = budget.held_back.saturating_add(1);
        None
    }

    /// Forgets endpoints that have been silent, not too often. What was held back of them is told with
    /// the others'.
    fn make_room(&mut self, now: Timestamp) {
        if now.since(self.looked) < Span::from_secs(1) {
            return;
        }
        self.looked = now;
        let others = &mut self.of_others.held_back;
        self.of_endpoint.retain(|_, budget| {
            let stays = now.since(budget.at) < FORGOTTEN;
            if !stays {
                *others = others.saturating_add(budget.held_back);
            }
            stays
        });
    }
}

impl Budget {
    const fn new(bucket: TokenBucket) -> Self {
        Self { bucket, held_back: 0, at: Timestamp::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strangers(per_second: u32, per_endpoint: u32) -> Strangers {
        Strangers::new(&Limits {
            strangers_per_second: per_second,
            strangers_per_endpoint: per_endpoint,
            ..Limits::default()
        })
    }

    const fn from(number: u64) -> Option<EndpointId> {
        Some(EndpointId(number))
    }

    fn told(strangers: &mut Strangers, number: u64, packets: usize, at: Timestamp) -> usize {
        (0..packets).filter(|_| strangers.tell(from(number), at).is_some()).count()
    }

    #[test]
    fn one_endpoint_does_not_hide_another() {
        let mut strangers = strangers(500, 10);
        let mut of_other = 0;
        for second in 1_000..1_010 {
            let now = Timestamp::from_secs(second);
            told(&mut strangers, 1, 8_000, now);
            of_other += told(&mut strangers, 2, 10, now);
        }
        assert_eq!(of_other, 100);
        assert_eq!(told(&mut strangers, 1, 8_000, Timestamp::from_secs(1_010)), 10);
    }

    #[test]
    fn what_was_held_back_is_told_with_the_next() {
        let mut strangers = strangers(500, 1);
        let now = Timestamp::from_secs(1_000);
        for packets in [9, 10, 11] {
            let now = now + Span::from_secs(packets * 100);
            assert_eq!(
                told(&mut strangers, packets, packets as usize, now),
                packets.min(10) as usize
            );
            let held_back = strangers.tell(from(packets), now + Span::from_secs(1));
            assert_eq!(held_back, Some(packets.saturating_sub(10)), "{packets}");
            assert_eq!(strangers.tell(from(packets), now + Span::from_secs(2)), Some(0));
        }
    }

    #[test]
    fn endpoints_beyond_the_last_budget_share_one_until_others_are_silent() {
        let mut strangers = strangers(u32::MAX, 1);
        let now = Timestamp::from_secs(1_000);
        for number in 0..BUDGETS_MAX as u64 {
            assert_eq!(told(&mut strangers, number, 11, now), 10);
        }
        assert_eq!(told(&mut strangers, 100_000, 11, now), 10);
        assert_eq!(told(&mut strangers, 100_001, 11, now), 0);
        assert_eq!(strangers.of_endpoint.len(), BUDGETS_MAX);
        let later = now + FORGOTTEN;
        assert_eq!(told(&mut strangers, 100_001, 1, later), 1);
        assert_eq!(strangers.of_endpoint.len(), 1);
        let all = BUDGETS_MAX as u64 + 12;
        assert_eq!(strangers.of_others.held_back, all, "nothing is forgotten");
    }
}
