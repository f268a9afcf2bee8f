//! The sums of all workers under the names of the ruleset, kept over reloads: what metrics and
//! `ctl status` tell. Adds; measures nothing.

use super::latency::Latency;
use super::verdicts::Verdicts;
use crate::engine::{Counters, Load, Tally};
use crate::io::live::Losses;
use crate::model::{Action, Reason, SegmentId};
use crate::policy::Policy;
use crate::policy::spec::SegmentKind;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The sums of one worker at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What its engine counted.
    pub counters: Counters,
    /// By pair and rule, under the policy in force.
    pub tally: Tally,
    /// That policy.
    pub policy: Arc<Policy>,
    /// By pair and rule, under earlier policies.
    pub past: Arc<Named>,
    /// Flows that ended, by their last verdict.
    pub verdicts: Verdicts,
    /// Flows known.
    pub flows: usize,
    /// The most flows there can be.
    pub flows_limit: usize,
    /// Bytes of the flow table.
    pub table_bytes: usize,
    /// Bytes of held frames.
    pub held_bytes: usize,
    /// Flows and held bytes of each segment.
    pub segments: Vec<(SegmentId, u64, usize)>,
    /// What the port lost.
    pub losses: Losses,
    /// How long packets were judged.
    pub latency: Latency,
    /// Which policy, counted from one.
    pub epoch: u32,
}

/// A segment as sums know it; a reload may give its name to another kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Side {
    /// Its name; `unknown` without a segment.
    pub name: Arc<str>,
    /// Its kind, if it is one.
    pub kind: Option<SegmentKind>,
}

/// Frames of an ordered pair of segments, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairSums {
    /// Forwarded.
    pub forwarded: Load,
    /// Held when they came.
    pub held: Load,
    /// Dropped, by reason.
    pub dropped: BTreeMap<Reason, Load>,
    /// Flows opened.
    pub flows: u64,
}

impl PairSums {
    /// Adds those of another worker or pair.
    pub fn merge(&mut self, other: &Self) {
        self.forwarded.merge(other.forwarded);
        self.held.merge(other.held);
        self.flows = self.flows.saturating_add(other.flows);
        for (reason, load) in &other.dropped {
            self.dropped.entry(*reason).or_default().merge(*load);
        }
    }
}

/// How often something decided, by its name and what it asked for then: a reload may change that, and
/// what was allowed was not denied.
pub type Hits = BTreeMap<(Arc<str>, Action), u64>;

/// Sums by the names of segments and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// By `from` and `to`.
    pub pairs: BTreeMap<(Side, Side), PairSums>,
    /// By rule.
    pub rules: Hits,
    /// Where no rule was true, by the policy's name.
    pub otherwise: Hits,
}

impl Named {
    /// Adds a tally under the names of its policy.
    pub fn add(&mut self, tally: &Tally, policy: &Policy) {
        let unknown: Arc<str> = "unknown".into();
        let side = |id| match policy.segment(id) {
            Some(segment) => Side { name: segment.name.clone(), kind: Some(segment.kind) },
            None => Side { name: unknown.clone(), kind: None },
        };
        for pair in tally.pairs() {
            let sums = self.pairs.entry((side(pair.from), side(pair.to))).or_default();
            sums.forwarded.merge(pair.forwarded);
            sums.held.merge(pair.held);
            sums.flows = sums.flows.saturating_add(pair.flows);
            for (reason, load) in &pair.dropped {
                sums.dropped.entry(*reason).or_default().merge(*load);
            }
        }
        let rules = policy.rules().iter().map(|rule| (&rule.name, rule.action));
        add(&mut self.rules, rules, tally.rules());
        let blocks = policy.policies().iter().map(|block| (&block.name, block.otherwise));
        add(&mut self.otherwise, blocks, tally.otherwise());
    }

    /// Adds sums of another worker or an earlier policy.
    pub fn merge(&mut self, other: &Self) {
        for (names, more) in &other.pairs {
            self.pairs.entry(names.clone()).or_default().merge(more);
        }
        for (own, theirs) in
            [(&mut self.rules, &other.rules), (&mut self.otherwise, &other.otherwise)]
        {
            for (of, more) in theirs {
                let hits = own.entry(of.clone()).or_default();
                *hits = hits.saturating_add(*more);
            }
        }
    }

    /// Forgets rules and policies that `policy` does not have and nothing was counted for, so that
    /// years of reloads leave no trail.
    pub fn forget_silent(&mut self) {
        self.rules.retain(|_, hits| *hits > 0);
        self.otherwise.retain(|_, hits| *hits > 0);
    }
}

fn add<'p>(sums: &mut Hits, names: impl Iterator<Item = (&'p Arc<str>, Action)>, hits: &[u64]) {
    for ((name, action), more) in names.zip(hits) {
        let hits = sums.entry((name.clone(), action)).or_default();
        *hits = hits.saturating_add(*more);
    }
}

/// The sums of all workers.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// What the engines counted.
    pub counters: Counters,
    /// By pair and rule.
    pub named: Named,
    /// Flows that ended, by their last verdict.
    pub verdicts: Verdicts,
    /// Flows known.
    pub flows: usize,
    /// The most flows there can be.
    pub flows_limit: usize,
    /// Bytes of the flow tables.
    pub table_bytes: usize,
    /// Bytes of held frames.
    pub held_bytes: usize,
    /// Flows and held bytes of each segment.
    pub segments: BTreeMap<Arc<str>, (u64, usize)>,
    /// What the ports lost.
    pub losses: Losses,
    /// How long packets were judged.
    pub latency: Latency,
    /// Which policy, counted from one; reaching a rule's last day counts too.
    pub epoch: u32,
}

impl Totals {
    /// Adds a worker.
    pub fn add(&mut self, worker: &Snapshot) {
        self.counters.merge(&worker.counters);
        self.named.merge(&worker.past);
        self.named.add(&worker.tally, &worker.policy);
        self.verdicts.merge(&worker.verdicts);
        self.flows = self.flows.saturating_add(worker.flows);
        self.flows_limit = self.flows_limit.saturating_add(worker.flows_limit);
        self.table_bytes = self.table_bytes.saturating_add(worker.table_bytes);
        self.held_bytes = self.held_bytes.saturating_add(worker.held_bytes);
        self.losses.add(&worker.losses);
        self.latency.merge(&worker.latency);
        self.epoch = self.epoch.max(worker.epoch);
        for (id, flows, held) in &worker.segments {
            let Some(segment) = worker.policy.segment(*id) else { continue };
            let sums = self.segments.entry(segment.name.clone()).or_default();
            sums.0 = sums.0.saturating_add(*flows);
            sums.1 = sums.1.saturating_add(*held);
        }
    }

    /// Frames dropped for `reason` that belong to no pair of segments.
    #[must_use]
    pub fn dropped_alone(&self, reason: Reason) -> u64 {
        let paired = self.named.pairs.values().filter_map(|sums| sums.dropped.get(&reason));
        let paired = paired.fold(0_u64, |sum, load| sum.saturating_add(load.packets));
        self.counters.dropped(reason).saturating_sub(paired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rule_allowed_stays_allowed_when_a_reload_makes_it_deny() {
        let name: Arc<str> = "api".into();
        let mut present = Named::default();
        add(&mut present.rules, [(&name, Action::Allow)].into_iter(), &[93]);
        present.forget_silent();
        add(&mut present.rules, [(&name, Action::Deny)].into_iter(), &[0]);
        let mut all = Named::default();
        all.merge(&present);
        all.merge(&present);
        let hits = |action| all.rules[&(name.clone(), action)];
        assert_eq!((hits(Action::Allow), hits(Action::Deny)), (186, 0));
        all.forget_silent();
        assert_eq!(all.rules.len(), 1);
    }
}
