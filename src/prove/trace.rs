//! The trace of a decision with names in the place of ids: each rule in order with true, false or
//! unknown and the condition that made it so. What it tells is what `Policy::decide` recorded.

use crate::engine::Asked;
use crate::model::{Action, Facts};
use crate::policy::{Condition, Decision, Needs, Policy, Truth};
use std::fmt::Write;
use std::sync::Arc;

/// One decision, readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Where the policy stands, as `partners/acme.yaml:16`.
    pub location: Arc<str>,
    /// Each rule that was looked at, in order.
    pub rules: Vec<ToldRule>,
    /// What is done where no rule is true.
    pub otherwise: Action,
    /// The answer.
    pub decision: Decision,
}

/// How one rule stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldRule {
    /// Its name.
    pub rule: Arc<str>,
    /// What it asks for.
    pub action: Action,
    /// How it stood.
    pub truth: Truth,
    /// The first condition that made it false or unknown.
    pub condition: Option<Condition>,
}

impl Told {
    /// The trace of a question; none if no policy stands for the pair.
    #[must_use]
    pub fn new(asked: &Asked, policy: &Policy) -> Option<Self> {
        let block = policy.policy(asked.policy?)?;
        let rule = |step: &crate::policy::TraceStep| {
            let info = policy.rule(step.rule)?;
            Some(ToldRule {
                rule: Arc::clone(&info.name),
                action: info.action,
                truth: step.truth,
                condition: step.condition,
            })
        };
        Some(Self {
            location: Arc::clone(&block.location),
            rules: asked.steps.iter().filter_map(rule).collect(),
            otherwise: block.otherwise,
            decision: asked.decision,
        })
    }

    /// The trace as lines, `indent` spaces before each.
    #[must_use]
    pub fn text(&self, policy: &Policy, indent: usize) -> String {
        let widest = self.rules.iter().map(|rule| rule.rule.chars().count()).max().unwrap_or(0);
        let mut out = String::new();
        for step in &self.rules {
            let ToldRule { rule, action, truth, condition } = step;
            let why = condition.map_or_else(String::new, |c| format!("  {}", c.name()));
            let line = format!("{:<7}  {:<6}  {rule:<widest$}{why}", truth.name(), action.name());
            let _ = writeln!(out, "{:indent$}{}", "", line.trim_end());
        }
        if !self.rules.iter().any(|rule| rule.truth == Truth::True) {
            let _ =
                writeln!(out, "{:indent$}{:<7}  {:<6}  otherwise", "", "", self.otherwise.name());
        }
        let _ = writeln!(out, "{:indent$}=> {}", "", decision_text(&self.decision, policy));
        out
    }
}

/// A decision in words.
#[must_use]
pub fn decision_text(decision: &Decision, policy: &Policy) -> String {
    match decision {
        Decision::Pending { needs } => format!("pending: waits for {}", needs_text(*needs)),
        Decision::Final(verdict) => {
            let rule = verdict.rule.and_then(|id| policy.rule(id)).map(|rule| &rule.name);
            match rule {
                Some(rule) => format!("{} by rule {rule}", verdict.action.name()),
                None => format!("{}, reason {}", verdict.action.name(), verdict.reason.name()),
            }
        }
    }
}

/// What an undecided flow waits for.
#[must_use]
pub fn needs_text(needs: Needs) -> String {
    match (needs.client, needs.server) {
        (true, true) => "what the client sends first, and the server's answer",
        (true, false) => "what the client sends first",
        (false, true) => "the server's answer",
        (false, false) => "nothing more",
    }
    .to_owned()
}

/// The facts that are known, in words; `-` if none is.
#[must_use]
pub fn facts_text(facts: &Facts) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut part = |name: &str, fact: Option<String>| {
        parts.extend(fact.map(|value| format!("{name} {value}")));
    };
    part("app", facts.app.known().map(|app| app.name().to_owned()));
    part("domain", facts.domain.known().map(ToString::to_string));
    let questions = facts
        .questions
        .known()
        .map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
    part("dns", questions);
    part("tls_version", facts.tls.version.known().map(ToString::to_string));
    let certificate = facts.tls.client_certificate.known();
    part("client_certificate", certificate.map(|c| c.subject.clone()));
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}
