//! A change for people at a terminal.

use super::json::effect;
use super::{Change, Diff, Edit, Field, FlowDiff, Kind, Written};
use std::fmt::Write;

/// Pairs of segments of one region that are listed.
const PAIRS_LIMIT: usize = 6;
/// Flows that are listed.
const FLOWS_LIMIT: usize = 50;

/// The whole change; `old` and `new` are the rulesets as the user named them.
#[must_use]
pub fn text(diff: &Diff, old: &str, new: &str) -> String {
    let mut out = headline(diff) + "\n";
    for (partner, changes) in diff.by_partner() {
        let _ = writeln!(out, "\n{}", partner.unwrap_or("no single partner"));
        for change in changes {
            push_change(&mut out, change, old, new);
        }
    }
    for what in &diff.not_proved {
        let _ = writeln!(out, "\nnot proved: {what}");
    }
    if !diff.written.is_empty() {
        let _ = writeln!(out, "\nwritten differently");
        for written in &diff.written {
            push_written(&mut out, written);
        }
    }
    if let Some(flows) = &diff.flows {
        push_flows(&mut out, flows);
    }
    out
}

/// What changes, in one line.
pub(super) fn headline(diff: &Diff) -> String {
    if diff.is_empty() {
        return "no change".to_owned();
    }
    let (opens, closes) = diff.directions();
    let others = diff.changes.len().saturating_sub(opens).saturating_sub(closes);
    let mut parts = Vec::new();
    let mut count = |n: usize, one: &str, many: &str| {
        if n > 0 {
            parts.push(format!("{n} {}", if n == 1 { one } else { many }));
        }
    };
    count(opens, "region of flows opens", "regions of flows open");
    count(closes, "region closes", "regions close");
    count(others, "region is denied differently", "regions are denied differently");
    let rules =
        |edit| diff.written.iter().filter(|w| w.kind == Kind::Rule && w.edit == edit).count();
    for (edit, word) in [
        (Edit::Added, "added"),
        (Edit::Removed, "removed"),
        (Edit::Changed, "changed"),
        (Edit::Moved, "moved"),
    ] {
        count(rules(edit), &format!("rule {word}"), &format!("rules {word}"));
    }
    if diff.changes.is_empty() {
        parts.insert(0, "no verdict changes".to_owned());
    }
    parts.join(", ")
}

fn push_change(out: &mut String, change: &Change, old: &str, new: &str) {
    let _ = writeln!(out, "  {:<8}{}  =>  {}", effect(change), change.old, change.new);
    for (field, value) in rows(change) {
        let _ = writeln!(out, "          {field:<20}{value}");
    }
    for (label, command) in Diff::examples(change, old, new) {
        let _ = writeln!(out, "          {label:<20}{command}");
    }
}

/// The rows that describe a region.
pub(super) fn rows(change: &Change) -> Vec<(&'static str, String)> {
    let mut rows = vec![("between", pairs(change))];
    rows.extend(change.flows.iter().cloned());
    rows
}

fn pairs(change: &Change) -> String {
    if change.pairs.is_empty() {
        return "addresses of no segment".to_owned();
    }
    let shown = change.pairs.iter().take(PAIRS_LIMIT).map(|(from, to)| format!("{from} -> {to}"));
    let shown: Vec<String> = shown.collect();
    match change.pairs.len().saturating_sub(PAIRS_LIMIT) {
        0 => shown.join(", "),
        more => format!("{} and {more} more pairs", shown.join(", ")),
    }
}

/// What a thing is called.
pub(super) const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Segment => "segment",
        Kind::Policy => "policy",
        Kind::Rule => "rule",
        Kind::Defaults => "defaults",
    }
}

/// What happened, in a word.
pub(super) const fn edit_word(edit: Edit) -> &'static str {
    match edit {
        Edit::Added => "added",
        Edit::Removed => "removed",
        Edit::Changed => "changed",
        Edit::Moved => "moved",
    }
}

fn push_written(out: &mut String, written: &Written) {
    let (kind, edit) = (kind_word(written.kind), edit_word(written.edit));
    let name = if written.kind == Kind::Defaults { "" } else { written.name.as_str() };
    let _ = writeln!(out, "{}", format!("  {edit:<8}{kind} {name}").trim_end());
    for field in written.fields.iter().filter(|_| written.edit != Edit::Removed) {
        let _ = writeln!(out, "          {:<20}{}", field.name, field_text(field));
    }
}

/// What a field said and says.
pub(super) fn field_text(field: &Field) -> String {
    let signed = |sign: char, list: &[String]| {
        list.iter().map(|item| format!("{sign}{item}")).collect::<Vec<_>>()
    };
    let mut all = signed('-', &field.removed);
    all.extend(signed('+', &field.added));
    all.join("  ")
}

fn push_flows(out: &mut String, flows: &FlowDiff) {
    let _ = writeln!(out, "\n{}", flows_headline(flows));
    for flow in flows.changed.iter().take(FLOWS_LIMIT) {
        let names = if flow.names.is_empty() {
            String::new()
        } else {
            format!(" {}", flow.names.join(" "))
        };
        let _ = writeln!(out, "  {} {} {} -> {}{names}", flow.start, flow.flow, flow.from, flow.to);
        let _ = writeln!(out, "          {}  =>  {}", flow.old, flow.new);
    }
    let more = flows.changed.len().saturating_sub(FLOWS_LIMIT);
    if more > 0 {
        let _ = writeln!(out, "  and {more} more; --format json lists them");
    }
}

/// What becomes of real flows, in one line.
pub(super) fn flows_headline(flows: &FlowDiff) -> String {
    let (opens, closes) = flows.directions();
    let total = u64::try_from(flows.changed.len()).unwrap_or(u64::MAX).saturating_add(flows.more);
    let mut line = format!(
        "of {} real flows {total} would be judged differently: {opens} open, {closes} close",
        flows.compared
    );
    if flows.not_compared > 0 {
        let _ = write!(line, "; {} could not be compared", flows.not_compared);
    }
    line
}
