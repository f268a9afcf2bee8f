//! What somebody should look at in a ruleset that loads: rules that decide nothing, names that are
//! too wide, ids that lead anywhere, dates, things never used, networks that overlap. Exact, not
//! heuristic: a finding about rules holds for every flow, and shows one.
//!
//! Every finding about traffic carries a witness, a flow that `lockgate explain` accepts. What no
//! flow can show (a set that nothing uses) has none. `docs/check.md` lists the codes.

mod apis;
mod dates;
mod names;
mod protocols;
mod rules;
mod segments;
mod shared;
#[cfg(test)]
pub(in crate::prove) mod tests;

use super::space::Space;
use crate::ruleset::region::Values;
use crate::ruleset::{Date, Diagnostic, Findings, Loaded, PolicyPlaces, RulePlaces};

/// What lint is told besides the ruleset.
#[derive(Clone, Copy, Debug)]
pub struct LintOptions {
    /// The day from which on flows are looked at.
    pub today: Date,
    /// Rules that expire within so many days are reported.
    pub soon_days: u32,
}

/// What every check works with.
struct Lint<'a> {
    loaded: &'a Loaded,
    space: Space<'a>,
    values: Values,
    options: LintOptions,
    findings: Findings,
}

/// The warnings of loading, with witnesses where a flow shows them, and everything lint finds; in
/// the order of their places.
#[must_use]
pub fn lint(loaded: &Loaded, options: LintOptions) -> Vec<Diagnostic> {
    let mut values = Values::default();
    let space = Space::new(&loaded.spec, &loaded.policy, options.today.days(), &mut values);
    let mut lint = Lint { loaded, space, values, options, findings: Findings::default() };
    rules::check(&mut lint);
    dates::check(&mut lint);
    names::check(&mut lint);
    protocols::check(&mut lint);
    apis::check(&mut lint);
    segments::check(&mut lint);
    for warning in &loaded.warnings {
        let warning = segments::with_witness(&mut lint, warning.clone());
        lint.findings.push(warning);
    }
    lint.findings.finish().1
}

impl Lint<'_> {
    /// The places of a policy, but for those of its rules.
    fn policy_places(&self, policy: usize) -> PolicyPlaces {
        let Some(places) = self.loaded.places.policies.get(policy) else {
            return PolicyPlaces::default();
        };
        let (from, otherwise) = (places.from, places.otherwise);
        PolicyPlaces { from, otherwise, rules: Vec::new() }
    }

    fn rule_places(&self, policy: usize, rule: usize) -> RulePlaces {
        let policy = self.loaded.places.policies.get(policy);
        policy.and_then(|p| p.rules.get(rule)).cloned().unwrap_or_default()
    }
}
