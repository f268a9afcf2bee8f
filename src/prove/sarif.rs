//! Findings as a SARIF 2.1.0 log (OASIS, "Static Analysis Results Interchange Format"), which code
//! hosts show in a pull request. Judges nothing.

use crate::ruleset::{Diagnostic, Label, Place, Severity, Sources};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One log of one run.
#[must_use]
pub fn sarif<'a>(findings: impl IntoIterator<Item = &'a Diagnostic>, sources: &Sources) -> Value {
    let findings: Vec<&Diagnostic> = findings.into_iter().collect();
    let codes: BTreeSet<&str> = findings.iter().map(|finding| finding.code).collect();
    let rules: Vec<Value> = codes
        .iter()
        .map(|code| json!({ "id": code, "shortDescription": { "text": code.replace('-', " ") } }))
        .collect();
    let results: Vec<Value> = findings.iter().map(|finding| result(finding, sources)).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "lockgate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Diagnostic, sources: &Sources) -> Value {
    let mut text = finding.message.clone();
    for help in &finding.help {
        text.push_str("\nHelp: ");
        text.push_str(help);
    }
    if let Some(witness) = &finding.witness {
        text.push_str(&format!("\nWitness: {}", witness.command(sources.root())));
    }
    let mut result = json!({
        "ruleId": finding.code,
        "level": match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": { "text": text },
        "locations": finding.label.iter().map(|l| location(l, sources)).collect::<Vec<_>>(),
        "relatedLocations": finding.related.iter().map(|l| location(l, sources)).collect::<Vec<_>>(),
    });
    if let (Some(witness), Some(fields)) = (&finding.witness, result.as_object_mut()) {
        fields.insert("properties".to_owned(), json!({ "witness": witness.to_json() }));
    }
    result
}

fn location(label: &Label, sources: &Sources) -> Value {
    let place = label.place;
    let (start, end) =
        (sources.line_column(place), sources.line_column(Place { start: place.end, ..place }));
    json!({
        "physicalLocation": {
            "artifactLocation": { "uri": sources.name(place.file) },
            "region": {
                "startLine": start.line,
                "startColumn": start.column,
                "endLine": end.line,
                "endColumn": end.column,
            },
        },
        "message": { "text": label.text },
    })
}
