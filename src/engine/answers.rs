//! How many answers may be made: of a second's worth one half is for whoever comes first, the other is
//! kept for the segments, for each as much, so that none takes another's. What is no segment's has a
//! part of its own and no more.

use super::gate::Account;
use crate::flow::TokenBucket;
use crate::model::Timestamp;

/// What may still be answered.
#[derive(Debug)]
pub(super) struct Answers {
    per_second: u32,
    common: TokenBucket,
    /// By [`Account`].
    own: Vec<TokenBucket>,
    strangers: TokenBucket,
}

impl Answers {
    /// Room for so many answers a second, of which nobody has a part yet.
    pub(super) const fn new(per_second: u32) -> Self {
        let half = TokenBucket::new(per_second.div_ceil(2));
        Self { per_second, common: half, own: Vec::new(), strangers: half }
    }

    /// Divides the half that is kept among the segments of a new ruleset, rounded up: each has one
    /// answer a second at least. Accounts of segments that are gone keep a part while their flows last.
    pub(super) fn divide(&mut self, accounts: usize, segments: usize) {
        let parts = u32::try_from(segments).unwrap_or(u32::MAX).saturating_add(1);
        let part = self.per_second.div_ceil(2).div_ceil(parts);
        self.strangers.set_rate(part);
        self.own.iter_mut().for_each(|own| own.set_rate(part));
        self.own.resize(accounts.max(self.own.len()), TokenBucket::new(part));
    }

    /// Whether one more may be made for an account now, or for what is no segment's.
    pub(super) fn take(&mut self, account: Option<Account>, now: Timestamp) -> bool {
        let Some(account) = account else { return self.strangers.take(now) };
        let own = self.own.get_mut(account.index());
        own.is_some_and(|own| own.take(now)) || self.common.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Limits;
    use crate::engine::gate::Gate;
    use crate::model::SegmentId;
    use crate::policy::Policy;
    use crate::policy::spec::{PolicySpec, SegmentKind, SegmentSpec};

    /// A gate for three segments, which with the strangers divide 800 answers a second: 400 and 100 each.
    fn gate(segments: &[&str]) -> Gate {
        Gate::new(&policy(segments), &limits())
    }

    fn policy(segments: &[&str]) -> Policy {
        let segments = segments.iter().map(|&name| SegmentSpec::new(name, SegmentKind::Workload));
        let spec = PolicySpec { segments: segments.collect(), ..PolicySpec::default() };
        Policy::compile(&spec, None).unwrap()
    }

    fn limits() -> Limits {
        Limits { answers_per_second: 800, ..Limits::default() }
    }

    const START: Timestamp = Timestamp::from_secs(1_000);

    fn answered(gate: &mut Gate, segment: Option<u16>, asked: usize) -> usize {
        let account = segment.map(|segment| gate.account(SegmentId(segment)));
        (0..asked).filter(|_| gate.answer(account, START)).count()
    }

    #[test]
    fn one_segment_that_is_answered_much_leaves_the_others_their_part() {
        let mut gate = gate(&["a", "b", "c"]);
        assert_eq!(answered(&mut gate, Some(0), 9_000), 500);
        assert_eq!(answered(&mut gate, Some(1), 99), 99);
        assert_eq!(answered(&mut gate, Some(1), 2), 1);
        assert_eq!(answered(&mut gate, Some(2), 9_000), 100);
    }

    #[test]
    fn strangers_take_from_no_segment_and_segments_not_from_them() {
        let mut gate = gate(&["a", "b", "c"]);
        assert_eq!(answered(&mut gate, None, 9_000), 100);
        assert_eq!(answered(&mut gate, Some(0), 9_000), 500);
        let mut gate = self::gate(&["a", "b", "c"]);
        assert_eq!(answered(&mut gate, Some(0), 9_000), 500);
        assert_eq!(answered(&mut gate, None, 9_000), 100);
    }

    #[test]
    fn errors_that_are_passed_on_take_nothing_from_answers() {
        let mut gate = gate(&["a", "b", "c"]);
        let account = gate.account(SegmentId(0));
        assert_eq!((0..9_000).filter(|_| gate.relay(Some(account), START)).count(), 500);
        assert_eq!(answered(&mut gate, Some(0), 9_000), 500);
    }

    #[test]
    fn a_new_ruleset_divides_anew() {
        let mut gate = gate(&["a", "b", "c"]);
        let more = ["a", "b", "c", "d", "e", "f", "g"];
        gate.renew(&policy(&more), &limits());
        assert_eq!(answered(&mut gate, Some(6), 9_000), 450);
        assert!((0..6).all(|segment| answered(&mut gate, Some(segment), 9_000) == 50));
    }

    #[test]
    fn a_limit_of_none_is_none() {
        let limits = Limits { answers_per_second: 0, ..Limits::default() };
        let mut gate = Gate::new(&policy(&["a"]), &limits);
        assert_eq!(answered(&mut gate, Some(0), 9) + answered(&mut gate, None, 9), 0);
    }
}
