//! Flows out of logs, judged under two rulesets by the production decision function, from the facts
//! their records hold. What a log looks like is known to [`crate::prove::flow_log`].

use super::flows::change;
use super::{FlowDiff, Outcome};
use crate::model::{Action, Addr, DomainName, Facts, FlowVerdict, SegmentId, Timestamp};
use crate::policy::spec::Mode;
use crate::policy::{Bound, Decision, Located, NoTrace, Policy, Query};
use crate::prove::flow_log::{LogFault, LogTotals, read_log};
use crate::prove::sighting::Sighting;
use std::io::BufRead;

/// Judges every flow of a log under both; flows stand at `now`, which decides what has expired. With
/// what the log held.
///
/// # Errors
/// The first line that cannot be read, or is no record.
pub fn of_log(
    old: &Policy,
    new: &Policy,
    (file, lines): (&str, impl BufRead),
    now: Timestamp,
) -> Result<(FlowDiff, LogTotals), LogFault> {
    let mut diff = FlowDiff::default();
    let totals = read_log(file, lines, |flow| {
        let (before, after) = (judge(old, &flow, now), judge(new, &flow, now));
        diff.note(change(&flow, before, after));
    })?;
    Ok((diff, totals))
}

fn judge(policy: &Policy, flow: &Sighting, now: Timestamp) -> Outcome {
    let located = policy
        .scope(flow.endpoint)
        .map_or(Located::Unknown, |scope| policy.locate(scope, flow.tuple.src, flow.tuple.dst));
    let Located::Pair { from, to, from_proxy } = located else {
        return outcome(policy, policy.unknown_segment());
    };
    // Behind a trusted proxy the record says who the sender turned out to be.
    let from = if from_proxy { by_name(policy, &flow.from).unwrap_or(from) } else { from };
    let Some(block) = policy.block(from, to) else { return outcome(policy, Policy::NO_POLICY) };
    if policy.mode(block) == Mode::Monitor {
        let verdict = Action::Allow.name().to_owned();
        return Outcome { verdict, reason: "monitor".to_owned(), rule: None, monitored: true };
    }
    // A log does not say what DNS had answered; the destination counts as answered.
    let bound = |_: &DomainName, _: Addr| Bound::Yes;
    let query = Query {
        icmp: flow.icmp,
        midstream: flow.midstream,
        bound: Some(&bound),
        ..Query::new(block, flow.tuple, now)
    };
    let decide = |facts: &Facts| match policy.decide(&query, facts, &mut NoTrace) {
        Decision::Final(verdict) => verdict,
        Decision::Pending { .. } => policy.otherwise(block),
    };
    // What becomes of a flow with several messages is what becomes of the first not allowed.
    let verdicts: Vec<FlowVerdict> = messages(flow).iter().map(decide).collect();
    let denied = verdicts.iter().find(|verdict| verdict.action != Action::Allow);
    outcome(policy, denied.or(verdicts.first()).copied().unwrap_or(Policy::NO_POLICY))
}

/// What each message of a flow told: one for each name.
fn messages(flow: &Sighting) -> Vec<Facts> {
    let names = flow.names.iter().map(|name| flow.facts_of(Some(name), &[]));
    let questions =
        flow.questions.iter().map(|name| flow.facts_of(None, std::slice::from_ref(name)));
    let all: Vec<Facts> = names.chain(questions).collect();
    if all.is_empty() { vec![flow.facts()] } else { all }
}

fn by_name(policy: &Policy, name: &str) -> Option<SegmentId> {
    policy.segments().iter().find(|segment| &*segment.name == name).map(|segment| segment.id)
}

fn outcome(policy: &Policy, verdict: FlowVerdict) -> Outcome {
    Outcome {
        verdict: verdict.action.name().to_owned(),
        reason: verdict.reason.name().to_owned(),
        rule: verdict.rule.and_then(|rule| policy.rule(rule)).map(|rule| rule.name.to_string()),
        monitored: false,
    }
}
