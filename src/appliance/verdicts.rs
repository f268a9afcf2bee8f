//! What became of the flows that ended, each counted once, as its record has it. Decisions as they are
//! taken, message by message, are the engine's to count.

use super::rulesets::Rulesets;
use crate::engine::record::{Event, FlowRecord};
use crate::model::{Action, Reason};
use crate::observe::Names;
use crate::policy::Policy;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What flows have in common that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verdict {
    /// Action and reason; none if the flow ended undecided.
    pub decided: Option<(Action, Reason)>,
    /// The policy whose last word it was, by name: no rule of it was true.
    pub policy: Option<Arc<str>>,
    /// Whether it was carried out; not in a policy that only monitors.
    pub enforced: bool,
}

/// Flows that ended, by their last verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(BTreeMap<Verdict, u64>);

impl Verdicts {
    /// Counts the flows that ended.
    pub fn note(&mut self, events: &[Event], rulesets: &Rulesets) {
        for event in events {
            let Event::FlowEnd(record) = event else { continue };
            let verdict = Verdict::of(record, rulesets.of(record.epoch));
            self.add(verdict, 1);
        }
    }

    /// Adds those of another worker.
    pub fn merge(&mut self, other: &Self) {
        for (verdict, flows) in other.iter() {
            self.add(verdict.clone(), flows);
        }
    }

    /// Every verdict that was given, and of how many flows.
    pub fn iter(&self) -> impl Iterator<Item = (&Verdict, u64)> {
        self.0.iter().map(|(verdict, flows)| (verdict, *flows))
    }

    fn add(&mut self, verdict: Verdict, more: u64) {
        let flows = self.0.entry(verdict).or_default();
        *flows = flows.saturating_add(more);
    }
}

impl Verdict {
    fn of(record: &FlowRecord, policy: &Policy) -> Self {
        let last_word = record.verdict.is_some_and(|verdict| verdict.rule.is_none());
        let decider = last_word.then(|| policy.policy_of(record)).flatten();
        Self {
            decided: record.verdict.map(|verdict| (verdict.action, verdict.reason)),
            policy: decider.and_then(|id| policy.policy(id)).map(|policy| policy.name.clone()),
            enforced: record.enforced,
        }
    }
}
