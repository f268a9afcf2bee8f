//! Which live flows are meant: by segment, name, rule, verdict and age. Chooses; does nothing to them.

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
    /// Either address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<std::net::IpAddr>,
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

    /// What of it cannot be meant under `policy`: a segment or rule that there is not.
    ///
    /// # Errors
    /// The word, and what it should have been.
    pub fn check(&self, policy: &Policy) -> Result<(), String> {
        if let Some(name) = &self.segment
            && !policy.segments().iter().any(|segment| *segment.name == **name)
        {
            return Err(format!("there is no segment `{name}`"));
        }
        if let Some(name) = &self.rule
            && !policy.rules().iter().any(|rule| *rule.name == **name)
        {
            return Err(format!("there is no rule `{name}`"));
        }
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
            && self.address.is_none_or(|address| {
                [record.tuple.src, record.tuple.dst].iter().any(|side| side.to_ip() == address)
            })
            && self.older_than_seconds.is_none_or(|secs| age >= Span::from_secs(secs))
            && self.younger_than_seconds.is_none_or(|secs| age <= Span::from_secs(secs))
    }
}

/// Whether a name of the flow is `wanted`, or below it where that starts with a dot.
fn names(record: &FlowRecord, wanted: &str) -> bool {
    let wanted = wanted.to_ascii_lowercase();
    let all = record.names.all().iter().chain(record.questions.all());
    all.map(|name| name.to_string()).any(|name| match wanted.strip_prefix('.') {
        Some(parent) => name == parent || name.ends_with(&wanted),
        None => name == wanted,
    })
}
