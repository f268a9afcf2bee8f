//! Test results for people: what failed, what was expected, what happened and the decision that led
//! there; then what no test reached.

use super::mutants::Mutation;
use super::{Case, Failure, Report};
use crate::observe::plural;
use crate::observe::{Layout, text_lines};
use crate::policy::Policy;
use crate::prove::trace::Told;
use crate::ruleset::{Loaded, Place, Sources, TestSuite};
use std::fmt::Write;

/// As many failures of one expectation are shown.
const SHOWN_MAX: usize = 3;
/// As many names of one kind are listed; the rest is counted.
const LISTED_MAX: usize = 20;

/// The results as text, for a screen of so many columns.
#[must_use]
pub fn text(report: &Report, suite: &TestSuite, ruleset: &Loaded, layout: Layout) -> String {
    let mut out = String::new();
    for file in &report.files {
        let failed: Vec<&Case> = file.cases.iter().filter(|case| !case.passed()).collect();
        let failing = !failed.is_empty();
        let word = if failing { "FAIL" } else { "ok  " };
        let _ = writeln!(
            out,
            "{word}  {}  {}, {}",
            suite.sources.name(file.file),
            plural(file.cases.len(), "expectation"),
            plural(file.flows, "flow"),
        );
        for case in failed {
            write_case(&mut out, case, &suite.sources, &ruleset.policy, layout);
        }
        if failing {
            let _ = writeln!(out);
        }
    }
    if !report.files.last().is_some_and(|file| file.cases.iter().any(|case| !case.passed())) {
        let _ = writeln!(out);
    }
    let (cases, failed) = (report.cases(), report.failed());
    let _ = match failed {
        0 => writeln!(out, "passed: {}", plural(cases, "expectation")),
        _ => writeln!(out, "FAILED: {failed} of {}", plural(cases, "expectation")),
    };
    write_coverage(&mut out, report, ruleset);
    out
}

/// What became of mutants as text.
#[must_use]
pub fn mutation_text(mutation: &Mutation, ruleset: &Loaded) -> String {
    let mut out = String::new();
    for survivor in &mutation.survivors {
        let why = match survivor.asked {
            0 => "no test reaches it",
            _ => "no test notices",
        };
        let place = spot(&ruleset.sources, survivor.mutant.place);
        let _ = writeln!(out, "SURVIVED  {place}: {} ({why})", survivor.mutant);
    }
    let killed = mutation.mutants.saturating_sub(mutation.survivors.len());
    let _ = writeln!(out, "mutants: {killed} of {} killed", mutation.mutants);
    out
}

/// `file:line:column` of a place.
#[must_use]
pub fn spot(sources: &Sources, place: Place) -> String {
    let at = sources.line_column(place);
    format!("{}:{}:{}", sources.name(place.file), at.line, at.column)
}

fn write_case(out: &mut String, case: &Case, sources: &Sources, policy: &Policy, layout: Layout) {
    let at = sources.line_column(case.place);
    let _ = writeln!(out, "\n  line {}: {}", at.line, case.title);
    if let Some(description) = &case.description {
        let _ = writeln!(out, "    {description}");
    }
    let mut told = None;
    for failure in case.failures.iter().take(SHOWN_MAX) {
        out.push_str(&failure_text(failure, policy, layout));
        told = told.or(failure.help);
    }
    let hidden = case.failures.len().saturating_sub(SHOWN_MAX).saturating_add(case.more);
    if hidden > 0 {
        let _ = writeln!(out, "    and {} more that {}", hidden, differ(hidden));
    }
    if let Some(help) = told {
        let _ = writeln!(out, "    help      {help}");
    }
}

const fn differ(count: usize) -> &'static str {
    if count == 1 { "is not as expected" } else { "are not as expected" }
}

/// What was expected, what happened, and the last decision about the flow.
#[must_use]
pub(super) fn failure_text(failure: &Failure, policy: &Policy, layout: Layout) -> String {
    let mut out = String::new();
    let Failure { expected, happened, flow, .. } = failure;
    let _ = writeln!(out, "    expected  {expected}\n    happened  {happened}");
    if let Some(flow) = flow {
        let layout = match layout {
            Layout::Columns(columns) => Layout::Columns(columns.saturating_sub(14)),
            Layout::Unbounded => Layout::Unbounded,
        };
        let lines = text_lines([&flow.record], policy, layout);
        for (line, name) in lines.lines().zip(["flow", ""]) {
            let _ = writeln!(out, "    {name:<8}  {}", line.trim_end());
        }
        if let Some((number, asked)) = flow.asked.last()
            && let Some(told) = Told::new(asked, policy)
        {
            let _ = writeln!(out, "    policy    {}, at packet {number}", told.location);
            out.push_str(&told.text(policy, 14));
        }
    }
    out
}

fn write_coverage(out: &mut String, report: &Report, ruleset: &Loaded) {
    let policy = &ruleset.policy;
    let rules: Vec<String> = report
        .coverage
        .unreached_rules()
        .filter_map(|id| policy.rule(id).map(|rule| rule.name.to_string()))
        .collect();
    let otherwise: Vec<String> = report
        .coverage
        .unreached_otherwise()
        .filter_map(|id| policy.policy(id).map(|block| block.location.to_string()))
        .collect();
    let counts = [
        (rules, policy.rules().len(), "rule", "rules"),
        (otherwise, policy.policies().len(), "otherwise", "otherwise"),
    ];
    for (missing, all, one, many) in counts {
        let reached = all.saturating_sub(missing.len());
        let word = if all == 1 { one } else { many };
        let _ = writeln!(out, "reached: {reached} of {all} {word}");
        for name in missing.iter().take(LISTED_MAX) {
            let _ = writeln!(out, "  never decided a flow: {name}");
        }
        if missing.len() > LISTED_MAX {
            let _ = writeln!(out, "  and {} more", missing.len().saturating_sub(LISTED_MAX));
        }
    }
}
