//! Real flows under two rulesets: captures are replayed by the production engine under both, and the
//! records of the same flow are compared. Reads no flow logs; those are next door in `log`.

use super::Outcome;
use crate::io::merge::Captures;
use crate::io::pcap::{CaptureError, Warning};
use crate::model::{EndpointId, FiveTuple, Reason, Timestamp};
use crate::pipeline::ReplayOptions;
use crate::policy::Policy;
use crate::prove::gather::gather;
use crate::prove::sighting::{Sighting, UNKNOWN};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// Most flows of one run that are compared; the others are counted.
pub const FLOWS_LIMIT: usize = 1 << 20;
/// Most changed flows that are kept; the others are counted.
pub const CHANGED_LIMIT: usize = 10_000;

/// What a ruleset makes of a flow.
pub type Judged = Outcome;

/// A flow that is judged differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowChange {
    /// Time of its first packet.
    pub start: String,
    /// Its five-tuple.
    pub flow: String,
    /// Segments, as the new ruleset has them where it knows them.
    pub from: String,
    /// The receiving segment.
    pub to: String,
    /// The names it asked for.
    pub names: Vec<String>,
    /// What the old ruleset makes of it.
    pub old: Judged,
    /// What the new one makes of it.
    pub new: Judged,
}

/// What two rulesets make of the same flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FlowDiff {
    /// Flows that were compared.
    pub compared: u64,
    /// Flows that were not: beyond a bound, or seen under one ruleset only (a flow that is ended
    /// early may come as two).
    pub not_compared: u64,
    /// Flows whose verdict differs.
    pub changed: Vec<FlowChange>,
    /// Changed flows that were not kept.
    pub more: u64,
}

/// Why flows could not be compared.
#[derive(Debug)]
pub enum FlowFault {
    /// Captures that cannot be read, or not to their end.
    Captures(Vec<CaptureError>),
}

impl std::fmt::Display for FlowFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Captures(errors) = self;
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for FlowFault {}

impl FlowDiff {
    /// Notes a flow that was judged twice.
    pub(super) fn note(&mut self, change: FlowChange) {
        self.compared = self.compared.saturating_add(1);
        if change.old.verdict == change.new.verdict {
            return;
        }
        if self.changed.len() < CHANGED_LIMIT {
            self.changed.push(change);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Adds what another comparison found.
    pub fn merge(&mut self, other: Self) {
        self.compared = self.compared.saturating_add(other.compared);
        self.not_compared = self.not_compared.saturating_add(other.not_compared);
        self.more = self.more.saturating_add(other.more);
        let room = CHANGED_LIMIT.saturating_sub(self.changed.len());
        let beyond = other.changed.len().saturating_sub(room);
        self.more = self.more.saturating_add(u64::try_from(beyond).unwrap_or(u64::MAX));
        self.changed.extend(other.changed.into_iter().take(room));
    }

    /// How many flows pass that did not, and how many no longer do.
    #[must_use]
    pub fn directions(&self) -> (usize, usize) {
        let count =
            |which: fn(&FlowChange) -> bool| self.changed.iter().filter(|c| which(c)).count();
        (count(|c| c.new.allows() && !c.old.allows()), count(|c| c.old.allows() && !c.new.allows()))
    }
}

/// Replays captures under two policies and compares flow by flow; with what the user should know about
/// the captures.
///
/// # Errors
/// [`FlowFault`] if a capture cannot be opened, or not be read to its end: of what comes behind
/// nobody could say that it is judged as before.
pub fn replayed(
    old: &Arc<Policy>,
    new: &Arc<Policy>,
    captures: &[String],
    options: &ReplayOptions,
) -> Result<(FlowDiff, Vec<Warning>), FlowFault> {
    let mut left_out = 0u64;
    let mut warnings = Vec::new();
    let mut run = |policy: &Arc<Policy>| -> Result<Vec<Sighting>, FlowFault> {
        let mut captures = Captures::open(captures).map_err(FlowFault::Captures)?;
        let (mut seen, mut beyond) = (Vec::new(), 0u64);
        let take = |flow| {
            if seen.len() < FLOWS_LIMIT {
                seen.push(flow);
            } else {
                beyond = beyond.saturating_add(1);
            }
        };
        gather(policy, &mut captures, options, take, &mut |_| ());
        warnings = captures.warnings();
        let faults = captures.into_faults();
        if !faults.is_empty() {
            return Err(FlowFault::Captures(faults));
        }
        left_out = left_out.max(beyond);
        Ok(seen)
    };
    let (before, mut after) = (run(old)?, run(new)?);
    let mut diff = FlowDiff { not_compared: left_out, ..FlowDiff::default() };
    let mut by_key: HashMap<Key, Vec<Sighting>> = HashMap::new();
    for flow in before {
        by_key.entry(key(&flow)).or_default().push(flow);
    }
    after.sort_by_key(key);
    for flow in &after {
        match by_key.get_mut(&key(flow)).and_then(Vec::pop) {
            Some(known) => {
                let segments = if flow.from.as_ref() == UNKNOWN { &known } else { flow };
                diff.note(change(segments, judged(&known), judged(flow)));
            }
            None => diff.not_compared = diff.not_compared.saturating_add(1),
        }
    }
    let alone: usize = by_key.values().map(Vec::len).sum();
    diff.not_compared = diff.not_compared.saturating_add(u64::try_from(alone).unwrap_or(u64::MAX));
    Ok((diff, warnings))
}

/// The same flow in two runs.
type Key = (Timestamp, FiveTuple, Option<EndpointId>);

fn key(flow: &Sighting) -> Key {
    (flow.start, flow.tuple, flow.endpoint)
}

/// A flow with what becomes of it under both.
pub(super) fn change(flow: &Sighting, old: Judged, new: Judged) -> FlowChange {
    FlowChange {
        start: flow.start.to_string(),
        flow: flow.tuple.to_string(),
        from: flow.from.to_string(),
        to: flow.to.to_string(),
        names: flow.names.iter().chain(&flow.questions).map(ToString::to_string).collect(),
        old,
        new,
    }
}

/// What became of a flow; one that only a monitor policy saw passed.
fn judged(flow: &Sighting) -> Judged {
    let rule = flow.rule.as_ref().map(ToString::to_string);
    let (verdict, reason) = match flow.verdict {
        None => ("pending", "undecided"),
        Some(_) if !flow.enforced => ("allow", "monitor"),
        Some(action) => (action.name(), flow.reason.map_or("", Reason::name)),
    };
    Outcome {
        verdict: verdict.to_owned(),
        reason: reason.to_owned(),
        rule,
        monitored: reason == "monitor",
    }
}
