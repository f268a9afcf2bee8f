//! Why a flow was refused: the production decision is taken again on what its record tells, and its
//! trace is put into words. Decides nothing by itself.

use crate::model::{Action, Certificate, Protocol, Reason};
use crate::policy::{Condition, Decision, Policy, Query, RecordedTrace, TraceStep, Truth};
use crate::prove::sighting::Sighting;
use crate::prove::trace::day_of;

/// Rules listed of one explanation that are false; those that are not are always listed.
const FALSE_RULES_MAX: usize = 40;

/// The way to a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Where the policy stands; none if no policy stands for the two segments, or the ruleset does
    /// not have them.
    pub policy: Option<String>,
    /// Each rule in order.
    pub steps: Vec<Step>,
    /// The policy's `otherwise`, where it decides.
    pub otherwise: Option<Action>,
    /// Rules that are false and not listed.
    pub left_out: usize,
    /// Whether the rules say of what the record tells what was done. If not, more was known then than
    /// the record tells, or the flow was judged by another ruleset.
    pub agrees: bool,
    /// What it comes to, in sentences.
    pub end: String,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its id.
    pub rule: String,
    /// What it asks for.
    pub action: Action,
    /// How it stood.
    pub truth: Truth,
    /// What made it so, and what the flow had there: `domains: evil.example`.
    pub because: Option<String>,
}

/// Explains a flow by the ruleset it was judged by.
#[must_use]
pub fn explain(sighting: &Sighting, policy: &Policy) -> Explanation {
    let segment = |name: &str| policy.segments().iter().find(|s| *s.name == *name).map(|s| s.id);
    let Some((from, to)) = segment(&sighting.from).zip(segment(&sighting.to)) else {
        let end = "No rule was asked: a side belongs to no segment of this ruleset.".to_owned();
        return Explanation { end, agrees: true, ..Explanation::default() };
    };
    let Some(block) = policy.block(from, to) else {
        let (from, to) = (&sighting.from, &sighting.to);
        let end = format!("No policy stands from {from} to {to}, so everything is denied.");
        return Explanation { end, agrees: true, ..Explanation::default() };
    };
    let query = Query {
        icmp: sighting.icmp,
        midstream: sighting.midstream,
        ..Query::new(block, sighting.tuple, sighting.end)
    };
    let mut trace = RecordedTrace::default();
    let decision = policy.decide(&query, &sighting.facts(), &mut trace);
    let mut explanation = Explanation {
        policy: policy.policy(block).map(|info| info.location.to_string()),
        ..Explanation::default()
    };
    let mut refused = 0_usize;
    for step in &trace.steps {
        if step.truth == Truth::False {
            refused = refused.saturating_add(1);
            if refused > FALSE_RULES_MAX {
                explanation.left_out = explanation.left_out.saturating_add(1);
                continue;
            }
        }
        explanation.steps.extend(self::step(step, sighting, policy));
    }
    let by_rule = decision.verdict().is_some_and(|verdict| verdict.rule.is_some());
    if decision.verdict().is_some() && !by_rule {
        explanation.otherwise = policy.policy(block).map(|info| info.otherwise);
    }
    explanation.agrees = agrees(sighting, &decision, policy);
    explanation.end = end(sighting, &decision, policy);
    if !explanation.agrees {
        explanation.end.push_str(
            " What the record tells does not lead there: more was known then, or other rules were in force.",
        );
    }
    explanation
}

fn step(step: &TraceStep, sighting: &Sighting, policy: &Policy) -> Option<Step> {
    let info = policy.rule(step.rule)?;
    Some(Step {
        rule: info.name.to_string(),
        action: info.action,
        truth: step.truth,
        because: step.condition.map(|condition| because(condition, sighting)),
    })
}

/// A condition, and what the flow had.
fn because(condition: Condition, sighting: &Sighting) -> String {
    let tuple = &sighting.tuple;
    let had = match condition {
        Condition::Protocol => tuple.protocol.to_string(),
        Condition::Sources => tuple.src.to_string(),
        Condition::SourcePorts => tuple.src_port.to_string(),
        Condition::Destinations => tuple.dst.to_string(),
        Condition::Ports if tuple.protocol.has_ports() => tuple.dst_port.to_string(),
        Condition::Ports => "none".into(),
        Condition::Icmp => sighting
            .icmp
            .map_or_else(|| "none".into(), |(kind, code)| format!("type {kind}, code {code}")),
        Condition::Expires => "the rule has expired".into(),
        Condition::App => sighting.app.as_deref().unwrap_or("not recognised").into(),
        Condition::Domains => sighting.names.last().map_or("no name was asked for", |n| n).into(),
        Condition::Dns if sighting.questions.is_empty() => "no DNS question".into(),
        Condition::Dns => sighting.questions.join(", "),
        Condition::Answers => {
            sighting.denied_answer.map_or_else(|| "no answer".into(), |addr| addr.to_string())
        }
        Condition::ApiId => {
            sighting.api_id.as_ref().map_or_else(|| "none was named".into(), ToString::to_string)
        }
        Condition::Bind => "no answer of DNS gave this address for the name".into(),
        Condition::Ja4 => sighting.ja4.map_or_else(|| "none".into(), |ja4| ja4.to_string()),
        Condition::MinVersion => {
            sighting.tls_version.map_or_else(|| "the server chose none".into(), |v| v.to_string())
        }
        Condition::ClientCertificate => match &sighting.certificate {
            Some(certificate) => certificate.subject.clone(),
            None => "none was seen".into(),
        },
        Condition::CertificateIssuer
        | Condition::CertificateSan
        | Condition::CertificateSha256
        | Condition::CertificateInDate => match &sighting.certificate {
            Some(certificate) => of_certificate(condition, certificate),
            None => "none was seen".into(),
        },
    };
    format!("{}: {had}", condition.name())
}

fn of_certificate(condition: Condition, certificate: &Certificate) -> String {
    match condition {
        Condition::CertificateIssuer => certificate.issuer.clone(),
        Condition::CertificateSan if certificate.names.is_empty() => "none".into(),
        Condition::CertificateSan => certificate.names.join(", "),
        Condition::CertificateSha256 => {
            certificate.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
        }
        _ => format!("valid until {}", day_of(certificate.validity.1)),
    }
}

/// Whether a verdict that came from the rules comes from them again. One that did not is not asked for.
fn agrees(sighting: &Sighting, decision: &Decision, policy: &Policy) -> bool {
    if !matches!(sighting.reason, Some(Reason::Rule | Reason::Otherwise)) {
        return true;
    }
    let Some(verdict) = decision.verdict() else { return false };
    let rule = verdict.rule.and_then(|id| policy.rule(id)).map(|info| &*info.name);
    Some(verdict.action) == sighting.verdict && rule == sighting.rule.as_deref()
}

/// What became of it, and whether the rules say the same of what the record tells.
fn end(sighting: &Sighting, decision: &Decision, policy: &Policy) -> String {
    let reason = sighting.reason.unwrap_or(Reason::Undecided);
    let verdict = sighting.verdict.unwrap_or(Action::Deny);
    let would =
        if sighting.enforced { "" } else { " It passed, because the policy only monitors." };
    let rule = sighting.rule.as_deref();
    match reason {
        Reason::Rule => {
            let rule = rule.unwrap_or("?");
            format!("Rule {rule} is the first that is true: {}.{would}", verdict.name())
        }
        Reason::Otherwise => {
            format!(
                "No rule is true, so the policy's otherwise decides: {}.{would}",
                verdict.name()
            )
        }
        _ => {
            let alone = decision.verdict().filter(|found| found.action != verdict);
            let rules = alone.map_or_else(String::new, |found| {
                let by = found.rule.and_then(|id| policy.rule(id)).map(|info| info.name.clone());
                let by = by.map_or_else(|| "otherwise".into(), |name| format!("rule {name}"));
                format!(" The rules alone would {} it ({by}).", found.action.name())
            });
            let why = reason.explain();
            format!("{} ({}): {}.{rules}{would}", why, reason.name(), verdict.name())
        }
    }
}

/// What a flow's protocol and port are called: `443/tcp`, `icmp type 8`.
#[must_use]
pub(super) fn service(protocol: Protocol, port: u16) -> String {
    match protocol {
        _ if protocol.has_ports() => format!("{port}/{protocol}"),
        Protocol::ICMP | Protocol::ICMPV6 => format!("{protocol} type {port}"),
        _ => format!("protocol {protocol}"),
    }
}
