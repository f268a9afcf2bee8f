//! Test results as SARIF 2.1.0 (OASIS), as code hosts show them in a pull request: failed
//! expectations, surviving mutants, rules that no test reached, each at its line.

use super::Report;
use super::mutants::Mutation;
use crate::ruleset::{Diagnostic, Loaded, Place, Refused, Sources, TestSuite};
use serde_json::{Value, json};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// Results of one ruleset, for [`sarif`].
#[must_use]
pub(super) fn sarif_results(
    report: &Report,
    mutation: Option<&Mutation>,
    suite: &TestSuite,
    ruleset: &Loaded,
) -> Vec<Value> {
    let mut results = Vec::new();
    for case in report.files.iter().flat_map(|file| &file.cases) {
        for failure in &case.failures {
            let text = format!(
                "{}: expected {}; happened: {}",
                case.title, failure.expected, failure.happened
            );
            results.push(result("test-failed", "error", &text, &suite.sources, case.place));
        }
    }
    for survivor in mutation.iter().flat_map(|mutation| &mutation.survivors) {
        let text = format!("No test notices this change: {}", survivor.mutant);
        let place = survivor.mutant.place;
        results.push(result("mutant-survived", "error", &text, &ruleset.sources, place));
    }
    let policy = &ruleset.policy;
    for info in report.coverage.unreached_rules().filter_map(|id| policy.rule(id)) {
        let block = policy.policy(info.policy);
        let first = block.map_or(0, |block| block.first_rule.0);
        let position = usize::try_from(info.id.0.saturating_sub(first)).unwrap_or(usize::MAX);
        let block = usize::try_from(info.policy.0).unwrap_or(usize::MAX);
        let Some(place) = ruleset.places.rule(block, position) else { continue };
        let text = format!("No test reaches rule {}", info.name);
        results.push(result("rule-not-tested", "note", &text, &ruleset.sources, place.id));
    }
    for id in report.coverage.unreached_otherwise() {
        let at = usize::try_from(id.0).unwrap_or(usize::MAX);
        let Some(place) = ruleset.places.policies.get(at) else { continue };
        let text = "No test reaches this policy's `otherwise`";
        let place = place.otherwise();
        results.push(result("otherwise-not-tested", "note", text, &ruleset.sources, place));
    }
    results
}

/// Results of a ruleset that could not be tested.
#[must_use]
pub(super) fn sarif_refused(refused: &Refused) -> Vec<Value> {
    let of = |error: &Diagnostic| match &error.label {
        Some(label) => result("not-tested", "error", &error.message, &refused.sources, label.place),
        None => json!({
            "ruleId": "not-tested",
            "level": "error",
            "message": { "text": error.message },
        }),
    };
    refused.errors.iter().map(of).collect()
}

/// The document of a run.
#[must_use]
pub(super) fn sarif(results: Vec<Value>) -> Value {
    let rule = |id: &str, text: &str| json!({ "id": id, "shortDescription": { "text": text } });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "lockgate test",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": [
                    rule("test-failed", "A flow is judged otherwise than a test expects"),
                    rule("not-tested", "A ruleset or a test file with a mistake"),
                    rule("mutant-survived", "A change of the ruleset that no test notices"),
                    rule("rule-not-tested", "A rule that decided no tested flow"),
                    rule("otherwise-not-tested", "A policy whose otherwise decided no tested flow"),
                ],
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(id: &str, level: &str, text: &str, sources: &Sources, place: Place) -> Value {
    let at = sources.line_column(place);
    json!({
        "ruleId": id,
        "level": level,
        "message": { "text": text },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": sources.name(place.file) },
            "region": { "startLine": at.line, "startColumn": at.column },
        } }],
    })
}
