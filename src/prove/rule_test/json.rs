//! Test results as one JSON object: every expectation with its place, what failed with the flow and
//! the decision that led there, coverage and mutants. The fields are described in `docs/testing.md`.

use super::mutants::Mutation;
use super::{Case, Failure, FileReport, Report};
use crate::observe::flow_json;
use crate::policy::Policy;
use crate::prove::trace::Told;
use crate::ruleset::{Loaded, Place, Sources, TestSuite};
use serde_json::{Value, json};

/// The results of one ruleset.
#[must_use]
pub fn json(
    report: &Report,
    mutation: Option<&Mutation>,
    suite: &TestSuite,
    ruleset: &Loaded,
) -> Value {
    let survived = mutation.is_some_and(|mutation| !mutation.survivors.is_empty());
    json!({
        "ok": report.passed() && !survived,
        "expectations": report.cases(),
        "failed": report.failed(),
        "files": report.files.iter().map(|f| file(f, suite, &ruleset.policy)).collect::<Vec<_>>(),
        "coverage": coverage(report, &ruleset.policy),
        "mutants": mutation.map(|mutation| mutants(mutation, ruleset)),
    })
}

/// File, line and column of a place.
pub(super) fn spot(sources: &Sources, place: Place) -> Value {
    let at = sources.line_column(place);
    json!({ "file": sources.name(place.file), "line": at.line, "column": at.column })
}

fn file(report: &FileReport, suite: &TestSuite, policy: &Policy) -> Value {
    let cases = report.cases.iter().map(|c| case(c, &suite.sources, policy));
    json!({
        "file": suite.sources.name(report.file),
        "packets": report.packets,
        "flows": report.flows,
        "expectations": cases.collect::<Vec<_>>(),
    })
}

fn case(case: &Case, sources: &Sources, policy: &Policy) -> Value {
    json!({
        "place": spot(sources, case.place),
        "title": case.title,
        "description": case.description,
        "passed": case.passed(),
        "selected": case.selected,
        "failures": case.failures.iter().map(|f| failure(f, policy)).collect::<Vec<_>>(),
        "more_failures": case.more,
    })
}

fn failure(failure: &Failure, policy: &Policy) -> Value {
    let record = failure.flow.as_ref().map(|flow| {
        serde_json::from_str::<Value>(&flow_json(&flow.record, policy)).unwrap_or_default()
    });
    let last = failure.flow.as_ref().and_then(|flow| flow.asked.last());
    let decision = last.and_then(|(number, asked)| {
        let mut value = Told::new(asked, policy)?.json(policy);
        value["packet"] = json!(number);
        Some(value)
    });
    json!({
        "expected": failure.expected,
        "happened": failure.happened,
        "help": failure.help,
        "flow": record,
        "decision": decision,
    })
}

fn coverage(report: &Report, policy: &Policy) -> Value {
    let rules: Vec<Value> = policy
        .rules()
        .iter()
        .zip(&report.coverage.rules)
        .map(|(rule, decided)| json!({ "rule": &*rule.name, "decided": decided }))
        .collect();
    let otherwise: Vec<Value> = policy
        .policies()
        .iter()
        .zip(&report.coverage.otherwise)
        .map(|(block, decided)| {
            let (policy, location) = (&*block.name, &*block.location);
            json!({ "policy": policy, "location": location, "decided": decided })
        })
        .collect();
    json!({ "rules": rules, "otherwise": otherwise })
}

fn mutants(mutation: &Mutation, ruleset: &Loaded) -> Value {
    let survivors: Vec<Value> = mutation
        .survivors
        .iter()
        .map(|survivor| {
            json!({
                "mutant": survivor.mutant.to_string(),
                "place": spot(&ruleset.sources, survivor.mutant.place),
                "reached": survivor.asked > 0,
            })
        })
        .collect();
    json!({
        "mutants": mutation.mutants,
        "killed": mutation.mutants.saturating_sub(mutation.survivors.len()),
        "survivors": survivors,
    })
}
