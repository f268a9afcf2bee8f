//! Explanations for people: who the flow belongs to, which policy decides, and each decision rule by
//! rule.

use super::{Candidate, Explanation, Found, Origin, Step};
use crate::model::Addr;
use crate::policy::Decision;
use crate::policy::Policy;
use crate::policy::spec::Selector;
use crate::prove::trace::{Told, decision_text, facts_told};
use std::fmt::Write;

/// Columns that facts keep to, where none of them is longer.
const COLUMNS: usize = 80;
/// Where facts begin.
const INDENT: usize = 13;

/// One explanation as text.
#[must_use]
pub fn text(explanation: &Explanation, policy: &Policy) -> String {
    let mut out = String::new();
    let found = &explanation.found;
    let _ = writeln!(out, "flow         {}", found.tuple);
    let _ = writeln!(out, "endpoint     {}", origin(found));
    side(&mut out, "source", found.tuple.src, &found.source, found);
    side(&mut out, "destination", found.tuple.dst, &found.destination, found);
    pair(&mut out, found, policy);
    let mut before: Vec<(&'static str, String)> = Vec::new();
    let mut last: Option<&Step> = None;
    let mut turn = usize::from(explanation.steps.first().is_some_and(|s| s.asked.midstream));
    for one in &explanation.steps {
        // A question that was asked again with the same facts says nothing new.
        let repeated = last.is_some_and(|last| {
            last.asked.facts == one.asked.facts && last.asked.steps == one.asked.steps
        });
        if !repeated {
            step(&mut out, one, turn, &mut before, policy);
            turn = turn.saturating_add(1);
        }
        last = Some(one);
    }
    let verdict = match explanation.verdict {
        Some(verdict) => decision_text(&Decision::Final(verdict), policy),
        None => "pending".to_owned(),
    };
    let note = if explanation.monitored(policy) { " (not enforced: mode monitor)" } else { "" };
    let _ = writeln!(out, "\nverdict      {verdict}{note}");
    out
}

fn origin(found: &Found) -> String {
    let endpoint = found.endpoint.map_or_else(|| "none".to_owned(), |e| e.to_string());
    match &found.origin {
        Origin::Segment(name) => format!(
            "{endpoint}: listed by {name}; only {name}, workload and shared segments are looked at"
        ),
        Origin::Common => {
            format!("{endpoint}: one of common_endpoints; every segment is looked at")
        }
        Origin::Any => format!("{endpoint}: common_endpoints is any; every segment is looked at"),
        Origin::Nowhere => format!("{endpoint}: listed nowhere"),
    }
}

fn side(out: &mut String, what: &str, addr: Addr, candidates: &[Candidate], found: &Found) {
    let mut all = candidates.iter();
    let chosen = candidates.first().filter(|candidate| candidate.looked_at);
    match chosen {
        Some(candidate) => {
            all.next();
            let _ = writeln!(out, "{what:<11}  {addr}: {}", held(candidate));
        }
        None => {
            let nobody = match found.origin {
                Origin::Nowhere => "nobody is looked for",
                _ => "in no network that is looked at",
            };
            let _ = writeln!(out, "{what:<11}  {addr}: {nobody}");
        }
    }
    for other in all {
        let why = if other.looked_at { "shorter" } else { "not looked at here" };
        let _ = writeln!(out, "{:13}also {}, {why}", "", held(other));
    }
}

fn held(candidate: &Candidate) -> String {
    match candidate.network {
        Some(network) => format!("{} by {network}", candidate.segment),
        None => format!("{}, which has what nobody else holds", candidate.segment),
    }
}

fn pair(out: &mut String, found: &Found, policy: &Policy) {
    let name = |id| policy.segment(id).map_or("unknown", |segment| &*segment.name);
    let Some((from, to)) = found.pair else {
        let why = match &found.origin {
            Origin::Segment(name) => {
                format!(
                    "nobody: exactly one side must be {name}, the other a workload or shared segment"
                )
            }
            _ => "nobody: each side must be in a segment".to_owned(),
        };
        let _ = writeln!(out, "segments     {why}");
        return;
    };
    let _ = writeln!(out, "segments     {} -> {}", name(from), name(to));
    if found.from_proxy {
        let _ = writeln!(
            out,
            "{:13}the source is a trusted proxy: its PROXY header names the segment",
            ""
        );
    }
    let Some(first) = found.rivals.first() else {
        let _ = writeln!(out, "policy       none for this pair");
        return;
    };
    let line = |from: &Selector, to: &Selector| format!("{from} -> {to}");
    let _ = writeln!(out, "policy       {}  {}", first.location, line(&first.from, &first.to));
    for rival in found.rivals.iter().skip(1) {
        let _ = writeln!(
            out,
            "{:13}before {}  {}, less specific",
            "",
            rival.location,
            line(&rival.from, &rival.to)
        );
    }
}

/// Facts in lines for a screen of [`COLUMNS`], under one another; a longer fact has a line of its own.
fn lines_of(facts: &[String]) -> String {
    let (mut text, mut column) = (String::new(), INDENT);
    for (number, fact) in facts.iter().enumerate() {
        let len = fact.chars().count();
        if number > 0 {
            // The fact, the space before it and a comma behind it.
            let fits = column.saturating_add(len).saturating_add(2) <= COLUMNS;
            text.push(',');
            if fits {
                text.push(' ');
                column = column.saturating_add(2);
            } else {
                text.push('\n');
                text.push_str(&" ".repeat(INDENT));
                column = INDENT;
            }
        }
        text.push_str(fact);
        column = column.saturating_add(len);
    }
    text
}

fn step(
    out: &mut String,
    step: &Step,
    turn: usize,
    before: &mut Vec<(&'static str, String)>,
    policy: &Policy,
) {
    let known = facts_told(&step.asked.facts);
    let new: Vec<String> = known
        .iter()
        .filter(|fact| !before.contains(fact))
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let new = match (new.is_empty(), before.is_empty()) {
        (true, true) => "nothing but its headers".to_owned(),
        (true, false) => "nothing new".to_owned(),
        (false, _) => lines_of(&new),
    };
    let when = match step.packet {
        Some(number) => format!("packet {number} at {}", step.asked.at),
        None if turn == 0 => "at first".to_owned(),
        None if turn == 1 => "with what is given".to_owned(),
        None => "with what is usual for the rest".to_owned(),
    };
    let _ = writeln!(out, "\n{when}\n  known now: {new}");
    if let Some(told) = Told::new(&step.asked, policy) {
        let waiting: Vec<&str> = told.waits_for().into_iter().map(|c| c.name()).collect();
        if !waiting.is_empty() {
            let _ = writeln!(out, "  unknown:   {}", waiting.join(", "));
        }
        out.push_str(&told.text(policy, 4));
    }
    *before = known;
}
