//! The smallest policy that allows what a monitored partner was seen to do: rules, what they were
//! made from, what somebody should look at. It decides nothing by itself: somebody reads it.
//!
//! ```text
//! sightings ─▶ tally ─▶ draft ─▶ ids, warnings ─▶ write ─▶ ruleset YAML, rule tests
//!               asks     rules                 └─▶ verify: the compiled suggestion judges every ask
//! ```

pub mod draft;
pub mod shared_names;
pub mod tally;
mod verify;
mod write;

pub use verify::{Verified, verify};
pub use write::{Document, documents, single};

use crate::model::Action;
use crate::observe::plural;
use crate::policy::spec::{AppMatch, BlockSpec, Mode, PolicySpec, SegmentKind, Selector};
use draft::{Draft, DraftRule, RuleNames};
use shared_names::{registered, shared_by_many};
use std::collections::{BTreeMap, BTreeSet};
use tally::{Ask, Tallies, Tally};

/// Different owners of names on one address from which on it counts as a front of many.
const OWNERS_OF_A_FRONT: usize = 4;
/// The longest part of a rule's id that a segment's name takes.
const ID_SEGMENT_CHARS: usize = 40;

/// What is suggested.
#[derive(Clone, Debug)]
pub struct Suggestion {
    /// Policies in the order of their segments' names.
    pub policies: Vec<Draft>,
    /// What somebody should look at, most general first.
    pub warnings: Vec<String>,
    /// Flows looked at.
    pub flows: u64,
    /// Flows the rules were made from.
    pub allowed: u64,
}

/// Makes rules of what was seen.
#[must_use]
pub fn suggest(tallies: &Tallies, spec: &PolicySpec) -> Suggestion {
    let mut pairs: BTreeMap<(&str, &str), Vec<(&Ask, &Tally)>> = BTreeMap::new();
    for (ask, tally) in &tallies.asks {
        pairs.entry((&ask.from, &ask.to)).or_default().push((ask, tally));
    }
    let kind = |name: &str| spec.segments.iter().find(|s| s.name == name).map(|s| s.kind);
    let mut ids = BTreeSet::new();
    let mut policies = Vec::new();
    for ((from, to), asks) in &pairs {
        let mut rules = draft::rules(asks, kind(to).unwrap_or(SegmentKind::Shared));
        for rule in &mut rules {
            rule.id = id(from, to, rule, &mut ids);
        }
        policies.push(Draft { from: (*from).to_owned(), to: (*to).to_owned(), rules });
    }
    let allowed = tallies.asks.values().map(|tally| tally.flows).fold(0, u64::saturating_add);
    let warnings = warnings(tallies, &policies);
    Suggestion { policies, warnings, flows: tallies.flows, allowed }
}

/// The same ruleset, but nothing is enforced: what would be denied is seen whole, names and all.
#[must_use]
pub fn watching(spec: &PolicySpec) -> PolicySpec {
    let mut spec = spec.clone();
    for policy in &mut spec.policies {
        policy.mode = Mode::Monitor;
    }
    let everybody = vec![Selector::Any];
    let is_general = |policy: &BlockSpec| policy.from == everybody && policy.to == everybody;
    if !spec.policies.iter().any(is_general) {
        spec.policies.push(BlockSpec {
            location: "watching".to_owned(),
            from: everybody.clone(),
            to: everybody,
            mode: Mode::Monitor,
            rules: Vec::new(),
            otherwise: Action::Deny,
        });
    }
    spec
}

/// An id that says what the rule is for: `acme-payments-tls-443`.
fn id(from: &str, to: &str, rule: &DraftRule, taken: &mut BTreeSet<String>) -> String {
    let short = |name: &str| name.chars().take(ID_SEGMENT_CHARS).collect::<String>();
    let what = match (&rule.names, rule.app, rule.protocols.as_slice()) {
        (RuleNames::Questions(_), _, [one]) => format!("dns-{one}"),
        (RuleNames::Questions(_), ..) => "dns".to_owned(),
        (_, Some(app), _) => word(app).to_owned(),
        (_, None, [one]) => one.to_string(),
        (_, None, _) => "any".to_owned(),
    };
    let mut id = format!("{}-{}-{what}", short(from), short(to));
    if let [port] = rule.ports.as_slice() {
        id.push_str(&format!("-{port}"));
    }
    if rule.action == Action::Deny {
        id.push_str("-others");
    }
    let plain = id.clone();
    for number in 2.. {
        if taken.insert(id.clone()) {
            break;
        }
        id = format!("{plain}-{number}");
    }
    id
}

/// The word of the rule language.
const fn word(app: AppMatch) -> &'static str {
    match app {
        AppMatch::Tls => "tls",
        AppMatch::Quic => "quic",
        AppMatch::Http => "http",
        AppMatch::Dns => "dns",
    }
}

fn warnings(tallies: &Tallies, policies: &[Draft]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (why, flows) in &tallies.left_out {
        warnings.push(format!("no rule for {}: {}", plural(*flows, "flow"), why.explain()));
    }
    for draft in policies {
        for rule in &draft.rules {
            if let RuleNames::Domains(names) = &rule.names {
                for (name, _) in names {
                    if let Some(who) = shared_by_many(name) {
                        warnings.push(format!(
                            "rule {}: `{name}` is shared by many ({who}); the name does not say \
                             whose content it is",
                            rule.id
                        ));
                    }
                }
            }
        }
    }
    warnings.extend(fronts(tallies));
    warnings
}

/// Addresses that answered for names of many owners.
fn fronts(tallies: &Tallies) -> Vec<String> {
    let mut owners: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for ask in tallies.asks.keys() {
        let names = ask.names.iter().map(|name| registered(name));
        owners.entry(ask.destination).or_default().extend(names);
    }
    let many = owners.into_iter().filter(|(_, owners)| owners.len() >= OWNERS_OF_A_FRONT);
    many.map(|(host, owners)| {
        let count = owners.len();
        let some: Vec<&str> = owners.into_iter().take(OWNERS_OF_A_FRONT).collect();
        let some = some.join(", ");
        format!(
            "{host} answered for names of {count} owners ({some}{}): a front that many share, \
             behind which a client may reach another name than the one it shows",
            if count > OWNERS_OF_A_FRONT { ", ..." } else { "" }
        )
    })
    .collect()
}
