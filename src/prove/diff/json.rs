//! A change as one JSON object.

use super::{Change, Diff};
use serde_json::{Map, Value, json};

/// One object; `docs/diff.md` describes it.
#[must_use]
pub fn json(diff: &Diff) -> Value {
    let (opens, closes) = diff.directions();
    json!({
        "changed": !diff.is_empty(),
        "opens": opens,
        "closes": closes,
        "regions": diff.changes.iter().map(change).collect::<Vec<_>>(),
        "not_proved": diff.not_proved,
        "written": diff.written,
        "flows": diff.flows,
    })
}

fn change(change: &Change) -> Value {
    let flows: Map<String, Value> =
        change.flows.iter().map(|(field, text)| ((*field).to_owned(), json!(text))).collect();
    let pairs: Vec<Value> =
        change.pairs.iter().map(|(from, to)| json!({ "from": from, "to": to })).collect();
    json!({
        "partner": change.partner,
        "effect": effect(change),
        "pairs": pairs,
        "old": change.old,
        "new": change.new,
        "flows": flows,
        "witness": change.witness.to_json(),
        "witness_old": change.witness_old.to_json(),
    })
}

/// What a region does, in one word.
pub(super) fn effect(change: &Change) -> &'static str {
    if change.opens() {
        "opens"
    } else if change.closes() {
        "closes"
    } else {
        "changes"
    }
}
