//! Explanations as JSON, for programs. The fields are described in `docs/testing.md`.

use super::{Candidate, Explanation, Found, Origin, Step};
use crate::observe::flow_json;
use crate::policy::Policy;
use crate::prove::trace::{Told, facts_told, verdict_json};
use serde_json::{Map, Value, json};

/// One explanation as an object.
#[must_use]
pub fn json(explanation: &Explanation, policy: &Policy) -> Value {
    let record = explanation.record.as_ref();
    let record = record.map(|record| {
        serde_json::from_str::<Value>(&flow_json(record, policy)).unwrap_or_default()
    });
    json!({
        "flow": explanation.found.tuple.to_string(),
        "found": found(&explanation.found, policy),
        "decisions": explanation.steps.iter().map(|s| step(s, policy)).collect::<Vec<_>>(),
        "verdict": explanation.verdict.map(|verdict| verdict_json(&verdict, policy)),
        "monitored": explanation.monitored(policy),
        "record": record,
    })
}

fn found(found: &Found, policy: &Policy) -> Value {
    let name = |id| policy.segment(id).map(|segment| segment.name.to_string());
    let (scope, segment) = match &found.origin {
        Origin::Segment(name) => ("segment", Some(name)),
        Origin::Common => ("common", None),
        Origin::Any => ("common-any", None),
        Origin::Nowhere => ("nowhere", None),
    };
    let rivals = found.rivals.iter().map(|rival| {
        json!({
            "policy": policy.policy(rival.id).map(|block| &*block.name),
            "location": rival.location,
            "from": rival.from.to_string(),
            "to": rival.to.to_string(),
        })
    });
    json!({
        "endpoint": found.endpoint.map(|endpoint| endpoint.to_string()),
        "scope": scope,
        "scope_segment": segment,
        "source": found.source.iter().map(candidate).collect::<Vec<_>>(),
        "destination": found.destination.iter().map(candidate).collect::<Vec<_>>(),
        "from": found.pair.and_then(|(from, _)| name(from)),
        "to": found.pair.and_then(|(_, to)| name(to)),
        "from_proxy": found.from_proxy,
        "policies": rivals.collect::<Vec<_>>(),
    })
}

fn candidate(candidate: &Candidate) -> Value {
    json!({
        "segment": candidate.segment,
        "network": candidate.network.map(|network| network.to_string()),
        "looked_at": candidate.looked_at,
    })
}

fn step(step: &Step, policy: &Policy) -> Value {
    let known: Map<String, Value> = facts_told(&step.asked.facts)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let told = Told::new(&step.asked, policy);
    let waiting: Vec<&str> =
        told.iter().flat_map(Told::waits_for).map(|condition| condition.name()).collect();
    json!({
        "packet": step.packet,
        "time": step.asked.at.to_string(),
        "known": known,
        "unknown": waiting,
        "trace": told.map(|told| told.json(policy)),
    })
}
