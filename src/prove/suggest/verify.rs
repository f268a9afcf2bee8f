//! Holds a suggestion against what it was made from: the compiled policy, by the production
//! decision, judges every ask. What was seen must be allowed, what was denied must stay denied.

use super::tally::{Ask, Tallies, Tally};
use crate::model::{Action, App, DomainName, Fact, Facts, FlowVerdict};
use crate::policy::{Decision, NoTrace, Policy, Query};
use crate::prove::sighting::domain_name;
use std::sync::Arc;

/// How a suggestion stands against what was seen. Asks, not flows: each stands for all flows that
/// asked for the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Asks that are allowed, or pass undecided because they brought no data.
    pub allowed: u64,
    /// Asks that are not although they should be, a few of them.
    pub missing: Vec<Ask>,
    /// Asks that are allowed although they should not be, a few of them.
    pub opened: Vec<Ask>,
}

/// As many examples of each kind are kept.
const EXAMPLES_MAX: usize = 8;

/// Judges everything seen by the policy compiled from the suggestion.
#[must_use]
pub fn verify(tallies: &Tallies, policy: &Policy) -> Verified {
    let mut verified = Verified::default();
    for (ask, tally) in &tallies.asks {
        if passes(ask, tally, policy) || is_undecided(ask, tally, policy) {
            verified.allowed = verified.allowed.saturating_add(1);
        } else if verified.missing.len() < EXAMPLES_MAX {
            verified.missing.push(ask.clone());
        }
    }
    for (ask, tally) in &tallies.unwanted {
        let wanted_too = tallies.asks.contains_key(ask);
        if !wanted_too && passes(ask, tally, policy) && verified.opened.len() < EXAMPLES_MAX {
            verified.opened.push(ask.clone());
        }
    }
    verified
}

fn query<'a>(ask: &Ask, tally: &Tally, policy: &Policy) -> Option<Query<'a>> {
    let segment = |name: &str| policy.segments().iter().find(|s| *s.name == *name).map(|s| s.id);
    let (from, to) = segment(&ask.from).zip(segment(&ask.to))?;
    let block = policy.block(from, to)?;
    Some(Query { icmp: ask.icmp, ..Query::new(block, tally.example, tally.last) })
}

/// Whether a flow of which nothing is known but its headers waits for more.
fn is_undecided(ask: &Ask, tally: &Tally, policy: &Policy) -> bool {
    let nothing = ask.app.is_none() && ask.names.is_empty() && ask.questions.is_empty();
    let Some(query) = query(ask, tally, policy).filter(|_| nothing) else { return false };
    matches!(policy.decide(&query, &Facts::default(), &mut NoTrace), Decision::Pending { .. })
}

/// Whether every message of the flow is allowed.
fn passes(ask: &Ask, tally: &Tally, policy: &Policy) -> bool {
    let Some(query) = query(ask, tally, policy) else { return false };
    let allowed = |facts: &Facts| match policy.decide(&query, facts, &mut NoTrace) {
        Decision::Final(FlowVerdict { action, .. }) => action == Action::Allow,
        Decision::Pending { .. } => false,
    };
    let mut bare = Facts::default();
    bare.settle_without_names(match ask.app.as_deref() {
        Some("tls") => App::Tls,
        Some("quic") => App::Quic,
        Some("http") => App::Http,
        Some("dns") => App::Dns,
        _ => App::Other,
    });
    if let Some((_, lowest)) = tally.versions {
        bare.tls.version = Fact::Known(lowest);
    }
    let names: Vec<DomainName> = ask.names.iter().filter_map(|name| domain_name(name)).collect();
    let questions: Vec<DomainName> =
        ask.questions.iter().filter_map(|name| domain_name(name)).collect();
    if names.is_empty() && questions.is_empty() {
        return allowed(&bare);
    }
    let names_pass = names.into_iter().all(|name| {
        let domain = Fact::Known(Arc::new(name));
        allowed(&Facts { domain, ..bare.clone() })
    });
    let asks = Facts { questions: Fact::Known(questions.clone()), ..bare.clone() };
    names_pass && (questions.is_empty() || allowed(&asks))
}
