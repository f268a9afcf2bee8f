//! Which live flows are meant: by segment, name, rule, verdict and age. Chooses; does nothing to them.

use super::addresses::Addresses;
use crate::engine::record::FlowRecord;
use crate::model::{Action, Span, Timestamp};
use crate::policy::Policy;
use serde::{Deserialize, Serialize};

/// Every condition must hold; without any, every flow is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Either side is this segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// A name the client asked for is this one, or below it if it starts with a dot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// This rule decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// `allow`, `deny`, `reject` or `pending`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Either address is this one, or one of this network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Addresses>,
    /// At least so old, in seconds since the first packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_seconds: Option<u64>,
    /// At most so old, in seconds since the first packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub younger_than_seconds: Option<u64>,
}

impl Filter {
    /// Whether nothing is asked for, so that every flow is meant.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// The segment or rule that a ruleset does not have: `segment `acne``. Flows may still have it that
    /// were decided under an earlier one.
    #[must_use]
    pub fn unknown(&self, policy: &Policy) -> Option<String> {
        let segment = self
            .segment
            .as_deref()
            .filter(|name| !policy.segments().iter().any(|segment| *segment.name == **name));
        let rule = self.rule.as_deref();
        let rule = rule.filter(|name| !policy.rules().iter().any(|rule| *rule.name == **name));
        let segment = segment.map(|name| format!("segment `{name}`"));
        segment.or_else(|| rule.map(|name| format!("rule `{name}`")))
    }

    /// What of it no flow can have.
    ///
    /// # Errors
    /// The word, and what it should have been.
    pub fn check(&self) -> Result<(), String> {
        match self.verdict.as_deref() {
            None | Some("allow" | "deny" | "reject" | "pending") => Ok(()),
            Some(word) => {
                Err(format!("`{word}` is no verdict; it is allow, deny, reject or pending"))
            }
        }
    }

    /// Whether a flow is meant.
    #[must_use]
    pub fn matches(&self, record: &FlowRecord, policy: &Policy, now: Timestamp) -> bool {
        let age = now.since(record.start);
        let verdict = record.verdict.map(|verdict| verdict.action);
        self.segment.as_ref().is_none_or(|name| {
            [record.from, record.to]
                .into_iter()
                .flatten()
                .filter_map(|id| policy.segment(id))
                .any(|segment| *segment.name == **name)
        }) && self.name.as_ref().is_none_or(|name| names(record, name))
            && self.rule.as_ref().is_none_or(|name| {
                let rule = record.verdict.and_then(|verdict| verdict.rule);
                rule.and_then(|id| policy.rule(id)).is_some_and(|rule| *rule.name == **name)
            })
            && self
                .verdict
                .as_ref()
                .is_none_or(|word| word == verdict.map_or("pending", Action::name))
            && self.address.is_none_or(|addresses| {
                [record.tuple.src, record.tuple.dst].iter().any(|side| addresses.hold(*side))
            })
            && self.older_than_seconds.is_none_or(|secs| age >= Span::from_secs(secs))
            && self.younger_than_seconds.is_none_or(|secs| age <= Span::from_secs(secs))
    }
}

/// Whether a name of the flow is `wanted`, or below it where that starts with a dot.
fn names(record: &FlowRecord, wanted: &str) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    let questions = record.found.questions.all().iter().map(ToString::to_string);
    record.found.hosts().chain(questions).any(|name| match wanted.strip_prefix('.') {
        Some(parent) => name == parent || name.ends_with(&wanted),
        None => name == wanted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DomainName, FiveTuple, FlowVerdict, Reason, RuleId, ScopeId, SegmentId};
    use crate::policy::spec::{PolicySpec, SegmentKind, SegmentSpec};
    use std::sync::Arc;

    fn policy() -> Policy {
        let segments = ["acme", "shop"].map(|name| SegmentSpec::new(name, SegmentKind::Workload));
        let spec = PolicySpec { segments: segments.into(), ..PolicySpec::default() };
        Policy::compile(&spec, None).unwrap()
    }

    fn record() -> FlowRecord {
        let start = Timestamp::from_secs(100);
        let mut record = FlowRecord::new(ScopeId::default(), FiveTuple::default(), start);
        record.from = Some(SegmentId(0));
        record.to = Some(SegmentId(1));
        record
            .found
            .to_mut()
            .names
            .note(&Arc::new(DomainName::from_host(b"api.shop.example").unwrap()));
        let (action, rule, reason) = (Action::Deny, Some(RuleId(9)), Reason::Otherwise);
        record.verdict = Some(FlowVerdict { action, rule, reason });
        record
    }

    #[test]
    fn every_condition_must_hold() {
        let text = |word: &str| Some(word.to_owned());
        let any = Filter::default;
        for (filter, meant) in [
            (any(), true),
            (Filter { segment: text("acme"), ..any() }, true),
            (Filter { segment: text("shop"), ..any() }, true),
            (Filter { segment: text("globex"), ..any() }, false),
            (Filter { name: text("API.shop.example"), ..any() }, true),
            (Filter { name: text(".shop.example"), ..any() }, true),
            (Filter { name: text("shop.example"), ..any() }, false),
            (Filter { name: text(".op.example"), ..any() }, false),
            (Filter { rule: text("web"), ..any() }, false),
            (Filter { verdict: text("deny"), ..any() }, true),
            (Filter { verdict: text("pending"), ..any() }, false),
            (Filter { older_than_seconds: Some(10), ..any() }, true),
            (Filter { older_than_seconds: Some(11), ..any() }, false),
            (Filter { younger_than_seconds: Some(9), ..any() }, false),
            (Filter { younger_than_seconds: Some(10), ..any() }, true),
            (Filter { verdict: text("deny"), segment: text("globex"), ..any() }, false),
        ] {
            let now = Timestamp::from_secs(110);
            assert_eq!(filter.matches(&record(), &policy(), now), meant, "{filter:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let wrong = |filter: Filter| filter.check().unwrap_err();
        let unknown = |filter: Filter| filter.unknown(&policy());
        let acne = Some("acne".to_owned());
        let segment = Filter { segment: acne.clone(), ..Filter::default() };
        assert_eq!(unknown(segment).unwrap(), "segment `acne`");
        let rule = Filter { rule: acne, segment: Some("acme".to_owned()), ..Filter::default() };
        assert_eq!(unknown(rule).unwrap(), "rule `acne`");
        let known = Filter { segment: Some("acme".to_owned()), ..Filter::default() };
        assert_eq!((unknown(known), unknown(Filter::default())), (None, None));
        let verdict = Filter { verdict: Some("allowed".to_owned()), ..Filter::default() };
        assert!(wrong(verdict).contains("no verdict"));
        assert_eq!(Filter::default().check(), Ok(()));
    }
}
