//! What segments and rules are called, for everything that is written about them.

use crate::engine::record::FlowRecord;
use crate::model::{PolicyId, Reason, RuleId, SegmentId};
use crate::policy::Policy;

/// Gives names to the ids of a compiled policy.
pub trait Names {
    /// A segment's name.
    fn segment(&self, id: SegmentId) -> Option<&str>;
    /// A rule's id as it stands in the ruleset.
    fn rule(&self, id: RuleId) -> Option<&str>;
    /// A policy's name: its selectors as they stand in the ruleset.
    fn policy(&self, id: PolicyId) -> Option<&str>;
    /// The policy that gave a record's verdict; none where it was settled without one.
    fn policy_of(&self, record: &FlowRecord) -> Option<PolicyId>;
}

impl Names for Policy {
    fn segment(&self, id: SegmentId) -> Option<&str> {
        Self::segment(self, id).map(|segment| &*segment.name)
    }

    fn rule(&self, id: RuleId) -> Option<&str> {
        Self::rule(self, id).map(|rule| &*rule.name)
    }

    fn policy(&self, id: PolicyId) -> Option<&str> {
        Self::policy(self, id).map(|policy| &*policy.name)
    }

    fn policy_of(&self, record: &FlowRecord) -> Option<PolicyId> {
        let verdict = record.verdict?;
        match verdict.rule {
            Some(rule) => Self::rule(self, rule).map(|rule| rule.policy),
            None if is_last_word(verdict.reason, record.midstream) => {
                self.block(record.from?, record.to?)
            }
            None => None,
        }
    }
}

/// Whether a verdict without a rule is a policy's `otherwise`, by itself or because a rule could not
/// be true for want of what it asks for. All other such verdicts are given before a policy is asked.
const fn is_last_word(reason: Reason, midstream: bool) -> bool {
    match reason {
        Reason::Otherwise
        | Reason::Undecided
        | Reason::EncryptedClientHello
        | Reason::CertificateNotVisible
        | Reason::CertificateNotInDate
        | Reason::AnswerNotAllowed
        | Reason::NameNotBound => true,
        // Of a flow met in the middle it is the segments' setting, of any other what a rule missed.
        Reason::Midstream => !midstream,
        _ => false,
    }
}

/// A segment's name, or `unknown`.
pub(super) fn segment_or_unknown(names: &impl Names, id: Option<SegmentId>) -> &str {
    id.and_then(|id| names.segment(id)).unwrap_or("unknown")
}

/// The name of the policy that gave a record's verdict.
pub(super) fn policy_name<'n>(names: &'n impl Names, record: &FlowRecord) -> Option<&'n str> {
    names.policy_of(record).and_then(|id| names.policy(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, FiveTuple, FlowVerdict, ScopeId, Timestamp};

    /// Between `acme` and `payments` the second policy decides; its rule has the number 1.
    const RULES: &str = "
lockgate: 1
common_endpoints: any
segments:
  acme: { kind: partner, networks: [10.20.0.0/16] }
  payments: { kind: workload, networks: [10.100.0.0/16] }
policies:
  - { from: any, to: any, rules: [{ id: all, action: allow }] }
  - { from: [acme, kind:partner], to: payments, rules: [{ id: web, action: allow, ports: [443], protocol: tcp }] }
";

    fn policy(test: &str) -> Policy {
        let name = format!("lockgate-names-{test}-{}.yaml", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, RULES).unwrap();
        let loaded = crate::ruleset::load(&file, &crate::ruleset::Options::default());
        std::fs::remove_file(file).unwrap();
        loaded.unwrap().policy
    }

    fn record(reason: Reason, rule: Option<RuleId>) -> FlowRecord {
        let mut record = FlowRecord::new(ScopeId(0), FiveTuple::default(), Timestamp::ZERO);
        (record.from, record.to) = (Some(SegmentId(0)), Some(SegmentId(1)));
        record.verdict = Some(FlowVerdict { action: Action::Deny, rule, reason });
        record
    }

    #[test]
    fn a_verdict_has_the_policy_of_its_rule_or_of_its_pair() {
        let policy = policy("given");
        let mut found = record(Reason::Rule, Some(RuleId(0)));
        assert_eq!(policy_name(&policy, &found), Some("any -> any"));
        found = record(Reason::Otherwise, None);
        assert_eq!(policy_name(&policy, &found), Some("acme, kind:partner -> payments"));
        found.from = None;
        assert_eq!(policy_name(&policy, &found), None);
        found = record(Reason::Rule, Some(RuleId(1)));
        (found.from, found.to) = (None, None);
        assert_eq!(policy_name(&policy, &found), Some("acme, kind:partner -> payments"));
        found.verdict = None;
        assert_eq!(policy_name(&policy, &found), None);
    }

    #[test]
    fn what_is_settled_before_a_policy_is_asked_names_none() {
        let policy = policy("before");
        let named = |midstream| {
            let given = |reason: &&Reason| {
                let record = FlowRecord { midstream, ..record(**reason, None) };
                policy_name(&policy, &record).is_some()
            };
            Reason::ALL.iter().filter(given).map(|reason| reason.name()).collect::<Vec<_>>()
        };
        let otherwise = [
            "otherwise",
            "undecided",
            "encrypted-client-hello",
            "certificate-not-visible",
            "certificate-not-in-date",
            "answer-not-allowed",
            "midstream",
            "name-not-bound",
        ];
        assert_eq!(named(false), otherwise);
        let without = otherwise.into_iter().filter(|name| *name != "midstream");
        assert_eq!(named(true), without.collect::<Vec<_>>(), "there it is the segments' setting");
    }
}
