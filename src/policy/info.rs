//! What is known of segments, policies and rules besides their meaning: names, limits, log
//! settings. For records, reports and limits; no decision reads it.

use super::spec::{Answer, BlockSpec, FlowLog, LimitsSpec, Midstream, Mode, SegmentKind, Selector};
use crate::model::{Action, PolicyId, RuleId, ScopeId, SegmentId};
use std::fmt;
use std::sync::Arc;

/// One segment of a compiled policy.
#[derive(Clone, Debug)]
pub struct SegmentInfo {
    /// Its position.
    pub id: SegmentId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: SegmentKind,
    /// Key and value.
    pub labels: Box<[(String, String)]>,
    /// Its scope, if it has endpoints.
    pub scope: Option<ScopeId>,
    /// Whether its PROXY headers are believed.
    pub trusted_proxy: bool,
    /// What is reserved for it.
    pub limits: LimitsSpec,
    /// Its own answer to flows met in the middle.
    pub midstream: Option<Midstream>,
    /// Who to ask.
    pub owner: Option<Box<str>>,
}

/// One policy of a compiled ruleset.
#[derive(Clone, Debug)]
pub struct BlockInfo {
    /// Its position.
    pub id: PolicyId,
    /// Whom it is for, as [`BlockSpec::name`] has it.
    pub name: Arc<str>,
    /// Where it stands.
    pub location: Arc<str>,
    /// Enforce or monitor.
    pub mode: Mode,
    /// What is done where no rule is true.
    pub otherwise: Action,
    /// Its first rule; the others follow.
    pub first_rule: RuleId,
    /// How many rules it has.
    pub rules: u32,
}

/// One rule of a compiled ruleset.
#[derive(Clone, Debug)]
pub struct RuleInfo {
    /// Its position over all policies.
    pub id: RuleId,
    /// Its name.
    pub name: Arc<str>,
    /// For people.
    pub description: Option<Box<str>>,
    /// The policy it is in.
    pub policy: PolicyId,
    /// What it asks for.
    pub action: Action,
    /// When its flows are recorded.
    pub log: FlowLog,
    /// The answer for facts that were missed.
    pub midstream: Answer,
    /// Last day on which it stands, in days since 1970-01-01 UTC.
    pub expires: Option<u32>,
    /// Where the change was asked for.
    pub ticket: Option<Box<str>>,
}

impl fmt::Display for Selector {
    /// As a ruleset has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment(name) => f.write_str(name),
            Self::Label(key, value) => write!(f, "{key}:{value}"),
            Self::Kind(kind) => write!(f, "kind:{}", kind.name()),
            Self::Any => f.write_str("any"),
        }
    }
}

impl BlockSpec {
    /// What a policy is called wherever one is spoken of: whom it is for, as written (`acme, globex ->
    /// payments`). Where it stands is no part of it, so that it outlives every edit but one of this.
    ///
    /// Two policies of one name select the same pairs, each as specifically as the other: where one
    /// could decide, [`super::ambiguities`] refuses both. What is left of such twins decides nothing.
    #[must_use]
    pub fn name(&self) -> String {
        let side =
            |list: &[Selector]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("{} -> {}", side(&self.from), side(&self.to))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ambiguities;
    use super::super::spec::{PolicySpec, SegmentSpec};
    use super::*;

    fn block(from: Vec<Selector>, to: Vec<Selector>) -> BlockSpec {
        BlockSpec {
            location: String::new(),
            from,
            to,
            mode: Mode::Enforce,
            rules: Vec::new(),
            otherwise: Action::Deny,
        }
    }

    fn segment(name: &str) -> Selector {
        Selector::Segment(name.to_owned())
    }

    #[test]
    fn a_policy_is_called_by_its_selectors_as_they_are_written() {
        let label = Selector::Label("lane".to_owned(), "prod".to_owned());
        let kind = Selector::Kind(SegmentKind::Partner);
        for (from, to, name) in [
            (vec![segment("acme")], vec![segment("payments")], "acme -> payments"),
            (vec![segment("b"), segment("a")], vec![kind], "b, a -> kind:partner"),
            (vec![label], vec![Selector::Any], "lane:prod -> any"),
        ] {
            assert_eq!(block(from, to).name(), name);
        }
    }

    #[test]
    fn twins_of_one_name_are_refused_unless_neither_decides_anything() {
        let kind = || vec![Selector::Kind(SegmentKind::Partner)];
        let any = || vec![Selector::Any];
        let mut spec = PolicySpec {
            segments: vec![SegmentSpec::new("acme", SegmentKind::Partner)],
            policies: vec![block(kind(), any()), block(kind(), any())],
            ..PolicySpec::default()
        };
        assert_eq!(spec.policies[0].name(), spec.policies[1].name());
        assert_eq!(ambiguities(&spec).len(), 1);
        spec.policies.push(block(vec![segment("acme")], any()));
        assert_eq!(ambiguities(&spec), [], "a third one decides for all their pairs");
    }
}
