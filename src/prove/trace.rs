//! The trace of a decision with names in the place of ids: each rule in order with true, false or
//! unknown and the condition that made it so. What it tells is what `Policy::decide` recorded.

use crate::engine::Asked;
use crate::model::{Action, Fact, Facts, FlowVerdict};
use crate::policy::{Condition, Decision, Needs, Policy, Truth};
use crate::ruleset::Date;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

/// One decision, readable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What the policy is called.
    pub policy: Arc<str>,
    /// Where it stands, as `partners/acme.yaml:16`.
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
            policy: Arc::clone(&block.name),
            location: Arc::clone(&block.location),
            rules: asked.steps.iter().filter_map(rule).collect(),
            otherwise: block.otherwise,
            decision: asked.decision,
        })
    }

    /// The conditions that wait for facts, each once, in the order of the rules.
    #[must_use]
    pub fn waits_for(&self) -> Vec<Condition> {
        let mut waiting = Vec::new();
        let unknown = self.rules.iter().filter(|rule| rule.truth == Truth::Unknown);
        for condition in unknown.filter_map(|rule| rule.condition) {
            if !waiting.contains(&condition) {
                waiting.push(condition);
            }
        }
        waiting
    }

    /// The trace as JSON.
    #[must_use]
    pub fn json(&self, policy: &Policy) -> Value {
        let rules = self.rules.iter().map(|step| {
            json!({
                "rule": &*step.rule,
                "action": step.action.name(),
                "truth": step.truth.name(),
                "condition": step.condition.map(Condition::name),
            })
        });
        json!({
            "policy": &*self.policy,
            "location": &*self.location,
            "rules": rules.collect::<Vec<_>>(),
            "otherwise": self.otherwise.name(),
            "decision": decision_json(&self.decision, policy),
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

/// A decision as JSON.
#[must_use]
pub fn decision_json(decision: &Decision, policy: &Policy) -> Value {
    match decision {
        Decision::Pending { needs } => json!({
            "verdict": "pending",
            "waits_for_client": needs.client,
            "waits_for_server": needs.server,
            "may_allow": needs.may_allow,
        }),
        Decision::Final(verdict) => verdict_json(verdict, policy),
    }
}

/// A verdict as JSON.
#[must_use]
pub fn verdict_json(verdict: &FlowVerdict, policy: &Policy) -> Value {
    let rule = verdict.rule.and_then(|id| policy.rule(id)).map(|rule| rule.name.to_string());
    json!({
        "verdict": verdict.action.name(),
        "rule": rule,
        "reason": verdict.reason.name(),
    })
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

/// The day of a time in seconds since the epoch, as rulesets write it.
#[must_use]
pub fn day_of(seconds: i64) -> String {
    Date::from_days(u64::try_from(seconds).unwrap_or(0) / 86_400).to_string()
}

/// Names of a certificate with a space between two. They are whatever the client wrote: what would
/// move the cursor, or be taken for the space, is written as its bytes.
fn alternatives(names: &[String]) -> String {
    let mut text = String::new();
    for (number, name) in names.iter().enumerate() {
        if number > 0 {
            text.push(' ');
        }
        for letter in name.chars() {
            if letter.is_control() || letter.is_whitespace() {
                let mut bytes = [0; 4];
                for byte in letter.encode_utf8(&mut bytes).bytes() {
                    text.push_str(&format!("\\x{byte:02x}"));
                }
            } else {
                text.push(letter);
            }
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The facts that are known, or known not to be there, each with the word tests use for it.
#[must_use]
pub fn facts_told(facts: &Facts) -> Vec<(&'static str, String)> {
    fn told<T>(fact: &Fact<T>, text: impl Fn(&T) -> String) -> Option<String> {
        match fact {
            Fact::Unknown => None,
            Fact::Absent => Some("none".to_owned()),
            Fact::Missed => Some("not to be seen".to_owned()),
            Fact::Known(value) => Some(text(value)),
        }
    }
    let names = |names: &Vec<crate::model::DomainName>| {
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let tls = &facts.tls;
    let shown = tls.client_certificate.known();
    let all = [
        ("app", told(&facts.app, |app| app.name().to_owned())),
        ("domain", told(&facts.domain, ToString::to_string)),
        ("dns", told(&facts.questions, names)),
        ("answer", told(&facts.answer, ToString::to_string)),
        ("api_id", told(&facts.api_id, ToString::to_string).filter(|text| text != "none")),
        ("ja4", told(&tls.ja4, ToString::to_string)),
        ("tls_version", told(&tls.version, ToString::to_string)),
        ("client_certificate", told(&tls.client_certificate, |c| c.subject.clone())),
        ("certificate_issuer", shown.map(|c| c.issuer.clone()).filter(|text| !text.is_empty())),
        ("certificate_san", shown.map(|c| alternatives(&c.names)).filter(|text| !text.is_empty())),
        ("certificate_sha256", shown.filter(|c| c.sha256 != [0; 32]).map(|c| hex(&c.sha256))),
        ("certificate_until", shown.map(|c| day_of(c.validity.1))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_certificate_cannot_pretend_to_be_two_or_move_the_cursor() {
        let names = ["a.example", "urn:b c", "d\u{1b}[2J\n", "\u{85}"].map(str::to_owned);
        assert_eq!(alternatives(&names), "a.example urn:b\\x20c d\\x1b[2J\\x0a \\xc2\\x85");
        assert_eq!(alternatives(&[]), "");
    }
}
