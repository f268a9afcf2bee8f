//! What may still be used: flows and new flows of each segment, held bytes, answers.
//!
//! A segment's limits are reservations. Segments without limits share what no reservation takes.
//! Accounts go by the segments' names, so that what a flow is charged to outlives a new ruleset.

use super::Limits;
use super::answers::Answers;
use super::strangers::Strangers;
use crate::flow::TokenBucket;
use crate::model::{EndpointId, Reason, SegmentId, Timestamp};
use crate::policy::spec::LimitsSpec;
use crate::policy::{Policy, SegmentInfo};
use hashbrown::HashMap;
use std::sync::Arc;

/// Who pays for a flow: a segment, by a number that no ruleset changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Account(u16);

impl Account {
    /// Its place in lists of all accounts.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The engine's budgets. A segment is charged for the flows it opens.
#[derive(Debug)]
pub(super) struct Gate {
    /// By [`Account`]. A segment that is gone keeps its own while its flows last.
    budgets: Vec<Budget>,
    names: HashMap<Arc<str>, Account>,
    /// By the present policy's [`SegmentId`].
    accounts: Vec<Account>,
    answers: Answers,
    /// ICMP errors about flows that are not known here, which are passed on.
    relayed: Answers,
    strangers: Strangers,
    held_bytes: usize,
    held_limit: usize,
    /// What segments without a limit of their own use together.
    rest: Rest,
}

/// What is shared by the segments that reserved nothing.
#[derive(Debug, Default)]
struct Rest {
    flows: u64,
    flows_limit: u64,
    held_bytes: usize,
    held_limit: usize,
}

#[derive(Debug, Default)]
struct Budget {
    flows: u64,
    flows_limit: Option<u64>,
    rate: Option<TokenBucket>,
    held_bytes: usize,
    held_limit: Option<usize>,
}

impl Gate {
    pub(super) fn new(policy: &Policy, limits: &Limits) -> Self {
        let mut gate = Self {
            budgets: Vec::new(),
            names: HashMap::new(),
            accounts: Vec::new(),
            answers: Answers::new(limits.answers_per_second),
            relayed: Answers::new(limits.answers_per_second),
            strangers: Strangers::new(limits),
            held_bytes: 0,
            held_limit: limits.held_bytes,
            rest: Rest::default(),
        };
        gate.renew(policy, limits);
        gate
    }

    /// Takes over the limits of a new policy; what is in use stays in use.
    pub(super) fn renew(&mut self, policy: &Policy, limits: &Limits) {
        self.budgets.iter_mut().for_each(|budget| budget.limit(LimitsSpec::default(), limits));
        self.accounts =
            policy.segments().iter().map(|segment| self.open(segment, limits)).collect();
        for answers in [&mut self.answers, &mut self.relayed] {
            answers.divide(self.budgets.len(), self.accounts.len());
        }
        let reserved = |limit: fn(&Budget) -> Option<u64>| self.budgets.iter().filter_map(limit);
        let flows: u64 = reserved(|budget| budget.flows_limit).fold(0, u64::saturating_add);
        let held: usize = self
            .budgets
            .iter()
            .filter_map(|budget| budget.held_limit)
            .fold(0, usize::saturating_add);
        let sharing_flows = self.budgets.iter().filter(|budget| budget.flows_limit.is_none());
        let sharing_held = self.budgets.iter().filter(|budget| budget.held_limit.is_none());
        self.rest = Rest {
            flows: sharing_flows.map(|budget| budget.flows).sum(),
            flows_limit: u64::try_from(limits.flows).unwrap_or(u64::MAX).saturating_sub(flows),
            held_bytes: sharing_held.map(|budget| budget.held_bytes).sum(),
            held_limit: limits.held_bytes.saturating_sub(held),
        };
    }

    /// The account of a segment of a new policy, with its limits.
    fn open(&mut self, segment: &SegmentInfo, limits: &Limits) -> Account {
        let next = Account(u16::try_from(self.budgets.len()).unwrap_or(u16::MAX));
        let account = *self.names.entry(Arc::clone(&segment.name)).or_insert(next);
        if account == next && next.0 < u16::MAX {
            self.budgets.push(Budget::default());
        }
        if let Some(budget) = self.budgets.get_mut(usize::from(account.0)) {
            budget.limit(segment.limits, limits);
        }
        account
    }

    /// Who pays for flows from a segment.
    pub(super) fn account(&self, segment: SegmentId) -> Account {
        self.accounts.get(usize::from(segment.0)).copied().unwrap_or(Account(u16::MAX))
    }

    /// Charges a new flow.
    ///
    /// # Errors
    /// The limit that is reached; nothing was charged.
    pub(super) fn open_flow(&mut self, account: Account, now: Timestamp) -> Result<(), Reason> {
        let Some(budget) = self.budgets.get_mut(usize::from(account.0)) else { return Ok(()) };
        if budget.flows_limit.is_some_and(|limit| budget.flows >= limit) {
            return Err(Reason::LimitSegmentFlows);
        }
        if budget.flows_limit.is_none() && self.rest.flows >= self.rest.flows_limit {
            return Err(Reason::LimitFlows);
        }
        if budget.rate.as_mut().is_some_and(|rate| !rate.take(now)) {
            return Err(Reason::LimitNewFlows);
        }
        budget.flows += 1;
        self.rest.flows += u64::from(budget.flows_limit.is_none());
        Ok(())
    }

    /// Gives a flow back.
    pub(super) fn close_flow(&mut self, account: Account) {
        let Some(budget) = self.budgets.get_mut(usize::from(account.0)) else { return };
        budget.flows = budget.flows.saturating_sub(1);
        if budget.flows_limit.is_none() {
            self.rest.flows = self.rest.flows.saturating_sub(1);
        }
    }

    /// Moves a flow's charge, and that of what it holds, once its true segment is known.
    ///
    /// # Errors
    /// The limit of the other segment that is reached; the flow is still charged to `from`.
    pub(super) fn move_flow(
        &mut self,
        from: Account,
        to: Account,
        held_bytes: usize,
        now: Timestamp,
    ) -> Result<(), Reason> {
        if from == to {
            return Ok(());
        }
        self.open_flow(to, now)?;
        self.unhold(from, held_bytes);
        if let Err(reason) = self.hold(to, held_bytes) {
            self.close_flow(to);
            return self.hold(from, held_bytes).and(Err(reason));
        }
        self.close_flow(from);
        Ok(())
    }

    /// Moves a flow's charge to where a new ruleset puts it, whatever the limits there are: a flow
    /// that is known is not refused.
    pub(super) fn recharge(&mut self, from: Account, to: Account, held_bytes: usize) {
        if from == to {
            return;
        }
        self.unhold(from, held_bytes);
        self.close_flow(from);
        self.held_bytes = self.held_bytes.saturating_add(held_bytes);
        let Some(budget) = self.budgets.get_mut(usize::from(to.0)) else { return };
        budget.flows += 1;
        budget.held_bytes = budget.held_bytes.saturating_add(held_bytes);
        self.rest.flows += u64::from(budget.flows_limit.is_none());
        if budget.held_limit.is_none() {
            self.rest.held_bytes = self.rest.held_bytes.saturating_add(held_bytes);
        }
    }

    /// Charges held bytes to an account and to the total.
    ///
    /// # Errors
    /// [`Reason::LimitHeld`]; nothing was charged.
    pub(super) fn hold(&mut self, account: Account, bytes: usize) -> Result<(), Reason> {
        let total = self.held_bytes.saturating_add(bytes);
        if total > self.held_limit {
            return Err(Reason::LimitHeld);
        }
        if let Some(budget) = self.budgets.get_mut(usize::from(account.0)) {
            let held = budget.held_bytes.saturating_add(bytes);
            if budget.held_limit.is_some_and(|limit| held > limit) {
                return Err(Reason::LimitHeld);
            }
            if budget.held_limit.is_none() {
                let shared = self.rest.held_bytes.saturating_add(bytes);
                if shared > self.rest.held_limit {
                    return Err(Reason::LimitHeld);
                }
                self.rest.held_bytes = shared;
            }
            budget.held_bytes = held;
        }
        self.held_bytes = total;
        Ok(())
    }

    /// Gives held bytes back.
    pub(super) fn unhold(&mut self, account: Account, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        let Some(budget) = self.budgets.get_mut(usize::from(account.0)) else { return };
        budget.held_bytes = budget.held_bytes.saturating_sub(bytes);
        if budget.held_limit.is_none() {
            self.rest.held_bytes = self.rest.held_bytes.saturating_sub(bytes);
        }
    }

    /// Whether another answer about a flow of this account, or about what is no segment's, may be sent
    /// now.
    pub(super) fn answer(&mut self, account: Option<Account>, now: Timestamp) -> bool {
        self.answers.take(account, now)
    }

    /// Whether another ICMP error about a flow that is not known here may be passed on now, for who
    /// sends it.
    pub(super) fn relay(&mut self, account: Option<Account>, now: Timestamp) -> bool {
        self.relayed.take(account, now)
    }

    /// Whether another packet that belongs to no segment is told of now: then how many of its endpoint
    /// were not since the one before.
    pub(super) fn tell_stranger(
        &mut self,
        endpoint: Option<EndpointId>,
        now: Timestamp,
    ) -> Option<u64> {
        self.strangers.tell(endpoint, now)
    }

    /// Flows and held bytes charged to each segment, in the order of their ids.
    pub(super) fn used(&self) -> impl Iterator<Item = (u64, usize)> {
        self.accounts.iter().map(|account| {
            let budget = self.budgets.get(usize::from(account.0));
            budget.map_or((0, 0), |budget| (budget.flows, budget.held_bytes))
        })
    }

    /// Bytes held now.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }
}

impl Budget {
    /// Takes over a segment's limits, divided among the engines that share them.
    fn limit(&mut self, own: LimitsSpec, limits: &Limits) {
        let share = |total: u64| total.div_ceil(limits.engines.max(1));
        let rate = |total: u64| u32::try_from(share(total)).unwrap_or(u32::MAX);
        self.flows_limit = own.flows.map(share);
        self.held_limit =
            own.held_bytes.map(|bytes| usize::try_from(share(bytes)).unwrap_or(usize::MAX));
        match (&mut self.rate, own.new_flows_per_second.map(rate)) {
            (Some(bucket), Some(rate)) => bucket.set_rate(rate),
            (bucket, rate) => *bucket = rate.map(TokenBucket::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::spec::{PolicySpec, SegmentKind, SegmentSpec};

    fn policy(segments: &[(&str, Option<u64>)]) -> Policy {
        let segments = segments.iter().map(|&(name, flows)| {
            let mut segment = SegmentSpec::new(name, SegmentKind::Workload);
            segment.limits = LimitsSpec { flows, held_bytes: flows, ..LimitsSpec::default() };
            segment
        });
        let spec = PolicySpec { segments: segments.collect(), ..PolicySpec::default() };
        Policy::compile(&spec, None).unwrap()
    }

    fn limits(total: usize) -> Limits {
        Limits { flows: total, held_bytes: total, ..Limits::default() }
    }

    fn opened(gate: &mut Gate, segment: u16) -> u64 {
        let account = gate.account(SegmentId(segment));
        (0..100).take_while(|_| gate.open_flow(account, Timestamp::ZERO).is_ok()).count() as u64
    }

    #[test]
    fn what_is_reserved_is_there_and_the_rest_is_shared() {
        let mut gate = Gate::new(&policy(&[("a", Some(3)), ("b", None), ("c", None)]), &limits(10));
        assert_eq!(opened(&mut gate, 1), 7);
        assert_eq!(opened(&mut gate, 2), 0);
        assert_eq!(opened(&mut gate, 0), 3);
    }

    #[test]
    fn a_flow_is_given_back_to_who_paid_whatever_ruleset_stands_then() {
        let limits = limits(10);
        let mut gate = Gate::new(&policy(&[("b", Some(2)), ("c", Some(2))]), &limits);
        let paid = gate.account(SegmentId(0));
        assert_eq!(opened(&mut gate, 0), 2);
        gate.renew(&policy(&[("a", Some(2)), ("b", Some(2)), ("c", Some(2))]), &limits);
        assert_eq!(opened(&mut gate, 1), 0, "b is full still");
        gate.close_flow(paid);
        assert_eq!(opened(&mut gate, 1), 1);
        assert_eq!(opened(&mut gate, 2), 2);
    }

    #[test]
    fn a_segment_that_is_gone_uses_the_rest_until_its_flows_end() {
        let limits = limits(4);
        let mut gate = Gate::new(&policy(&[("a", Some(3)), ("b", None)]), &limits);
        let paid = gate.account(SegmentId(0));
        assert_eq!(opened(&mut gate, 0), 3);
        gate.renew(&policy(&[("b", None)]), &limits);
        assert_eq!(opened(&mut gate, 0), 1);
        gate.close_flow(paid);
        assert_eq!(opened(&mut gate, 0), 1);
    }

    #[test]
    fn held_bytes_end_at_the_limit_of_a_segment_of_the_rest_and_of_all() {
        for (bytes, fits) in [(2, true), (3, true), (4, false)] {
            let mut gate = Gate::new(&policy(&[("a", Some(3)), ("b", None)]), &limits(6));
            for segment in [0, 1] {
                let account = gate.account(SegmentId(segment));
                assert_eq!(gate.hold(account, bytes).is_ok(), fits, "{bytes}");
                if fits {
                    gate.unhold(account, bytes);
                }
            }
            assert_eq!(gate.held_bytes(), 0);
        }
    }
}
