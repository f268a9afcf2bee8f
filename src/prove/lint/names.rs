//! Allow rules whose names are not their partner's: public suffixes, networks shared by many,
//! patterns that anybody can register a name for.

use super::Lint;
use super::shared::{Width, width};
use crate::model::{Action, PolicyId};
use crate::policy::names::{NamePattern, NameSet};
use crate::prove::space::Stage;
use crate::ruleset::region::{Asks, Left, NameDimension, Witness, left};
use crate::ruleset::{Diagnostic, Place, WrittenName};
use std::collections::HashSet;
use std::sync::Arc;

/// So many entries of one set are reported; the rest is counted.
const SHOWN_LIMIT: usize = 5;

pub(super) fn check(lint: &mut Lint<'_>) {
    let mut reported: HashSet<usize> = HashSet::new();
    for (id, block) in lint.space.policies() {
        let mut stage = None;
        for (at, rule) in block.rules.iter().enumerate() {
            if rule.action != Action::Allow || (rule.domains.is_none() && rule.dns.is_none()) {
                continue;
            }
            for term in lint.rule_places(id.0 as usize, at).names {
                let stage = stage.get_or_insert_with(|| lint.space.stage(id));
                match term.written {
                    WrittenName::Pattern(pattern) => {
                        if width(&pattern).is_some() {
                            report(lint, stage, at, &pattern, term.place, None);
                        }
                    }
                    WrittenName::Set(set) => {
                        if reported.insert(set) {
                            of_set(lint, stage, at, set, term.place);
                        }
                    }
                }
            }
        }
    }
}

/// The entries of a set, reported where a rule first uses it.
fn of_set(lint: &mut Lint<'_>, stage: &Stage, at: usize, set: usize, used: Place) {
    let Some(rule) = lint.space.rule(stage.id, at) else { return };
    let Some(places) = lint.loaded.places.sets.get(set).cloned() else { return };
    // A list that is one set shares that set; else its entries are among those of the rule.
    let Some(names) = rule.domains.as_ref().or(rule.dns.as_ref()) else { return };
    let wide: Vec<NamePattern> = names
        .iter()
        .filter(|pattern| width(pattern).is_some())
        .filter(|pattern| places.names.is_empty() || places.names.iter().any(|(p, _)| p == pattern))
        .collect();
    for pattern in wide.iter().take(SHOWN_LIMIT) {
        let written = places.names.iter().find(|(known, _)| known == pattern);
        let place = written.map_or(places.place, |(_, place)| *place);
        report(lint, stage, at, pattern, place, Some(used));
    }
    let more = wide.len().saturating_sub(SHOWN_LIMIT);
    if more > 0 {
        let text = format!("set `{}` has {more} more names of this kind", places.name);
        lint.findings.push(
            Diagnostic::warning("broad-name", text)
                .at(places.place, "this set")
                .also(used, "used here"),
        );
    }
}

fn report(
    lint: &mut Lint<'_>,
    stage: &Stage,
    at: usize,
    pattern: &NamePattern,
    place: Place,
    used: Option<Place>,
) {
    let (Some(rule), Some(width)) = (lint.space.rule(stage.id, at), width(pattern)) else { return };
    let (code, what, help) = match width {
        Width::Every => (
            "broad-name",
            "matches every name".to_owned(),
            "list the names that are needed; `lockgate suggest` proposes them from captures",
        ),
        Width::Public("") => (
            "broad-name",
            "anybody can register a name that matches".to_owned(),
            "let the pattern end in a domain of the partner",
        ),
        Width::Public(suffix) => (
            "broad-name",
            format!("`{suffix}` is a public suffix: anybody can register a name below it"),
            "name the domain that is meant",
        ),
        Width::Shared(network) => (
            "shared-name",
            format!("`{network}` is shared by many: anybody can have a name below it"),
            "name the host that is meant",
        ),
    };
    let text = format!("rule `{}` allows names of strangers: {pattern}", rule.id);
    let witness = stranger(lint, stage.id, stage, at, pattern);
    let mut finding = Diagnostic::warning(code, text).at(place, what).help(help).shown_by(witness);
    if let Some(used) = used {
        finding = finding.also(used, "used here");
    }
    lint.findings.push(finding);
}

/// A flow to a name of the pattern that the rule allows.
fn stranger(
    lint: &mut Lint<'_>,
    id: PolicyId,
    stage: &Stage,
    at: usize,
    pattern: &NamePattern,
) -> Option<Witness> {
    let all = lint.space.asks_of(id);
    let asks = all.get(at)?;
    let set = Arc::new(NameSet::build([pattern.clone()]).ok()?);
    let set = lint.values.languages.names(&set);
    let dimension = if asks.name(NameDimension::Domain).is_some() {
        NameDimension::Domain
    } else {
        NameDimension::Question
    };
    let mut only = Asks::default();
    let mut ask = asks.name(dimension)?.within(set, &lint.values.languages);
    (ask.missed, ask.hidden) = (false, false);
    only.set_name(dimension, Some(ask));
    let earlier: Vec<&Asks> = all.get(..at)?.iter().filter(|other| other.may_meet(asks)).collect();
    let both = stage.meeting(asks).filter_map(|area| area.and(&only));
    match left(both, &earlier, &mut lint.values) {
        Left::Flow(flow) => lint.space.witness(id, *flow),
        Left::Nothing | Left::NotProved => None,
    }
}
