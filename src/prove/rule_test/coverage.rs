//! Which rules decided a tested flow, and which never did.

use crate::model::{PolicyId, Reason, RuleId};
use crate::policy::{Decision, Policy};
use crate::prove::observed::Flow;

/// How often every rule and every `otherwise` decided a tested flow or one of its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Decisions by rule, by [`RuleId`].
    pub rules: Vec<u64>,
    /// Decisions by `otherwise`, by [`PolicyId`].
    pub otherwise: Vec<u64>,
}

impl Coverage {
    pub(super) fn new<'f>(flows: impl IntoIterator<Item = &'f Flow>, policy: &Policy) -> Self {
        let mut coverage = Self {
            rules: vec![0; policy.rules().len()],
            otherwise: vec![0; policy.policies().len()],
        };
        for flow in flows {
            let mut last = None;
            for (_, asked) in &flow.asked {
                last = asked.policy;
                if let Decision::Final(verdict) = asked.decision {
                    coverage.count(verdict.rule, asked.policy);
                }
            }
            // Decided by a bound, without a question.
            if flow.record.verdict.is_some_and(|verdict| verdict.reason == Reason::Undecided) {
                coverage.count(None, last);
            }
        }
        coverage
    }

    fn count(&mut self, rule: Option<RuleId>, policy: Option<PolicyId>) {
        let slot = match (rule, policy) {
            (Some(rule), _) => self.rules.get_mut(rule.0 as usize),
            (None, Some(policy)) => self.otherwise.get_mut(policy.0 as usize),
            (None, None) => None,
        };
        if let Some(slot) = slot {
            *slot = slot.saturating_add(1);
        }
    }

    /// Rules that decided nothing.
    pub fn unreached_rules(&self) -> impl Iterator<Item = RuleId> {
        self.rules.iter().zip(0..).filter(|(count, _)| **count == 0).map(|(_, id)| RuleId(id))
    }

    /// Policies whose `otherwise` decided nothing.
    pub fn unreached_otherwise(&self) -> impl Iterator<Item = PolicyId> {
        self.otherwise.iter().zip(0..).filter(|(count, _)| **count == 0).map(|(_, id)| PolicyId(id))
    }
}
