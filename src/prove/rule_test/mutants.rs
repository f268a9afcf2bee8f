//! Mutants: the ruleset with one small change each. A mutant that no test fails under is a change
//! that nobody would notice. Packets are read once; a mutant is judged only by the tests that asked
//! its rule, written flows before captures, until one fails.

use super::judge::passes;
use super::plan::{Plan, Unit};
use crate::model::{Action, PolicyId, Protocol};
use crate::policy::spec::{BlockSpec, CertificateSpec, RuleSpec};
use crate::policy::{Condition, Policy};
use crate::prove::parallel;
use crate::ruleset::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A change of a ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The rule at this position of the policy is gone.
    Delete(usize),
    /// One of its conditions is gone: it matches more.
    Widen(usize, Condition),
    /// Allow becomes deny, deny and reject become allow.
    Reverse(usize),
    /// The same with the policy's `otherwise`.
    ReverseOtherwise,
}

/// One changed ruleset.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The policy that is changed.
    pub policy: PolicyId,
    /// How.
    pub change: Change,
    /// Where what is changed is written.
    pub place: Place,
    /// The rule's name; none for `otherwise`.
    pub rule: Option<String>,
    /// What `otherwise` or the action was and becomes.
    pub action: (Action, Action),
}

/// A mutant that no test notices.
#[derive(Clone, Debug)]
pub struct Survivor {
    /// The mutant.
    pub mutant: Mutant,
    /// How many units asked its policy's rule at all.
    pub asked: usize,
}

/// What became of all mutants.
#[derive(Clone, Debug, Default)]
pub struct Mutation {
    /// How many there were.
    pub mutants: usize,
    /// Those that no test notices, in the order of the ruleset.
    pub survivors: Vec<Survivor>,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.as_deref().unwrap_or_default();
        let (was, becomes) = (self.action.0.name(), self.action.1.name());
        match self.change {
            Change::Delete(_) => write!(f, "rule {rule} deleted"),
            Change::Widen(_, condition) => write!(f, "rule {rule} without `{}`", condition.name()),
            Change::Reverse(_) => write!(f, "rule {rule}: {was} made {becomes}"),
            Change::ReverseOtherwise => write!(f, "otherwise: {was} made {becomes}"),
        }
    }
}

/// What of the ruleset a unit asked.
struct Asked {
    /// Policy and position of every rule that was looked at, with the conditions it failed on; none
    /// of them where it held.
    rules: BTreeMap<(PolicyId, usize), BTreeSet<Option<Condition>>>,
    policies: BTreeSet<PolicyId>,
}

impl Plan<'_> {
    /// Judges every mutant of the ruleset by the tests that asked it. The tests must pass under the
    /// ruleset itself.
    #[must_use]
    pub fn mutate(&self) -> Mutation {
        let asked = parallel::each(self.units.len(), self.workers, |number| {
            self.units.get(number).map(|unit| self.asked(unit))
        });
        let mut order: Vec<(&Unit, &Asked)> =
            self.units.iter().zip(&asked).filter_map(|(u, a)| Some((u, a.as_ref()?))).collect();
        order.sort_by_key(|(unit, _)| unit.packets.len());
        let mutants = self.mutants();
        let survivors = parallel::each(mutants.len(), self.workers, |number| {
            self.survives(mutants.get(number)?, &order)
        });
        let survivors = survivors.into_iter().flatten().collect();
        Mutation { mutants: mutants.len(), survivors }
    }

    /// Every mutant, in the order of the ruleset.
    #[must_use]
    pub fn mutants(&self) -> Vec<Mutant> {
        let mut all = Vec::new();
        for ((block, at), places) in
            self.ruleset.spec.policies.iter().zip(0..).zip(&self.ruleset.places.policies)
        {
            let policy = PolicyId(at);
            for ((rule, position), place) in block.rules.iter().zip(0..).zip(&places.rules) {
                let action = (rule.action, reversed(rule.action));
                let mut add = |change, place| {
                    let rule = Some(rule.id.clone());
                    all.push(Mutant { policy, change, place, rule, action });
                };
                add(Change::Delete(position), place.id);
                add(Change::Reverse(position), place.action);
                for &(condition, place) in &place.conditions {
                    if condition_stands(rule, condition) {
                        add(Change::Widen(position, condition), place);
                    }
                }
            }
            all.push(Mutant {
                policy,
                change: Change::ReverseOtherwise,
                place: places.otherwise(),
                rule: None,
                action: (block.otherwise, reversed(block.otherwise)),
            });
        }
        all
    }

    fn asked(&self, unit: &Unit) -> Asked {
        let policy = self.policy();
        let mut asked = Asked { rules: BTreeMap::new(), policies: BTreeSet::new() };
        for (_, question) in unit.judge(policy).iter().flat_map(|flow| &flow.asked) {
            let Some(info) = question.policy.and_then(|id| policy.policy(id)) else { continue };
            asked.policies.insert(info.id);
            for step in &question.steps {
                let position = step.rule.0.saturating_sub(info.first_rule.0);
                let at = (info.id, usize::try_from(position).unwrap_or(usize::MAX));
                asked.rules.entry(at).or_default().insert(step.condition);
            }
        }
        asked
    }

    /// The mutant, unless a test fails under it.
    fn survives(&self, mutant: &Mutant, order: &[(&Unit, &Asked)]) -> Option<Survivor> {
        let touches = |asked: &Asked| match mutant.change {
            Change::Delete(at) | Change::Widen(at, _) | Change::Reverse(at) => {
                asked.rules.contains_key(&(mutant.policy, at))
            }
            Change::ReverseOtherwise => asked.policies.contains(&mutant.policy),
        };
        let mut touched: Vec<&(&Unit, &Asked)> =
            order.iter().filter(|(_, asked)| touches(asked)).collect();
        touched.sort_by_key(|(unit, asked)| (!likely(mutant, asked), unit.packets.len()));
        for (unit, asked) in &touched {
            let Some(policy) = self.changed(mutant, asked) else { continue };
            if !passes(self, unit, &unit.judge(&policy), &policy) {
                return None;
            }
        }
        Some(Survivor { mutant: mutant.clone(), asked: touched.len() })
    }

    /// The policy with the change, and with the rules of those policies alone that are asked.
    fn changed(&self, mutant: &Mutant, asked: &Asked) -> Option<Arc<Policy>> {
        let blocks = self.ruleset.spec.policies.iter().zip(0..).map(|(block, at)| {
            let id = PolicyId(at);
            let rules = if asked.policies.contains(&id) { block.rules.clone() } else { Vec::new() };
            let mut block = BlockSpec {
                rules,
                location: block.location.clone(),
                from: Vec::new(),
                to: Vec::new(),
                ..*block
            };
            if id == mutant.policy {
                apply(&mut block, mutant.change);
            }
            block
        });
        let blocks: Vec<BlockSpec> = blocks.collect();
        self.policy.with_rules(&blocks).ok().map(Arc::new)
    }
}

/// Whether a unit is likely to notice: the rule held for it, or failed on the very condition that is
/// gone. Only the order depends on it.
fn likely(mutant: &Mutant, asked: &Asked) -> bool {
    let (at, condition) = match mutant.change {
        Change::Delete(at) | Change::Reverse(at) => (at, None),
        Change::Widen(at, condition) => (at, Some(condition)),
        Change::ReverseOtherwise => return true,
    };
    asked.rules.get(&(mutant.policy, at)).is_some_and(|failed| failed.contains(&condition))
}

const fn reversed(action: Action) -> Action {
    match action {
        Action::Allow => Action::Deny,
        Action::Deny | Action::Reject => Action::Allow,
    }
}

fn apply(block: &mut BlockSpec, change: Change) {
    match change {
        Change::Delete(at) if at < block.rules.len() => {
            block.rules.remove(at);
        }
        Change::Widen(at, condition) => {
            if let Some(rule) = block.rules.get_mut(at) {
                widen(rule, condition);
            }
        }
        Change::Reverse(at) => {
            if let Some(rule) = block.rules.get_mut(at) {
                rule.action = reversed(rule.action);
            }
        }
        Change::ReverseOtherwise => block.otherwise = reversed(block.otherwise),
        Change::Delete(_) => {}
    }
}

/// Takes a condition away.
fn widen(rule: &mut RuleSpec, condition: Condition) {
    match condition {
        Condition::Protocol => rule.protocols = None,
        Condition::Sources => rule.sources = None,
        Condition::SourcePorts => rule.source_ports = None,
        Condition::Destinations => rule.destinations = None,
        Condition::Ports => rule.ports = None,
        Condition::Icmp => rule.icmp = None,
        Condition::Expires => rule.expires = None,
        Condition::App => rule.app = None,
        Condition::Domains => {
            rule.domains = None;
            // A binding needs a name.
            rule.bind_dns = false;
        }
        Condition::Dns => {
            rule.dns = None;
            // What is answered is asked of questions that are named.
            rule.answers = None;
        }
        Condition::Answers => rule.answers = None,
        Condition::ApiId => rule.api_ids = None,
        Condition::Bind => rule.bind_dns = false,
        Condition::Ja4 => rule.tls.ja4 = None,
        Condition::MinVersion => rule.tls.min_version = None,
        Condition::ClientCertificate => rule.tls.client_certificate = None,
        Condition::CertificateIssuer => of_certificate(rule, |wanted| wanted.issuers = None),
        Condition::CertificateSan => of_certificate(rule, |wanted| wanted.names = None),
        Condition::CertificateSha256 => of_certificate(rule, |wanted| wanted.sha256 = None),
        Condition::CertificateInDate => of_certificate(rule, |wanted| wanted.in_date = false),
    }
}

fn of_certificate(rule: &mut RuleSpec, widen: impl FnOnce(&mut CertificateSpec)) {
    if let Some(wanted) = &mut rule.tls.client_certificate {
        widen(wanted);
    }
}

/// Whether a rule without a condition is another rule. `protocol: any` asks for nothing, and
/// neither do tcp and udp together where ports are asked for: nothing else has ports.
fn condition_stands(rule: &RuleSpec, condition: Condition) -> bool {
    if condition != Condition::Protocol {
        return true;
    }
    let Some(protocols) = &rule.protocols else { return false };
    let ports = rule.ports.is_some() || rule.source_ports.is_some();
    !(ports && protocols.contains(&Protocol::TCP) && protocols.contains(&Protocol::UDP))
}
