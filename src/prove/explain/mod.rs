//! Why a flow is judged as it is: the segments found, the policy that decides, and the trace of each
//! decision. Everything is asked of the compiled policy; what is added is where it is written.

mod contradiction;
mod facts;
mod find;
mod json;
mod probe;
mod text;

pub use find::{Candidate, Found, Origin, Rival};
pub use json::json;
pub use probe::{Certificate, Probe};
pub use text::text;

use super::observed::{Flow, Packets};
use super::rule_test::fits_pattern;
use crate::engine::Asked;
use crate::engine::record::FlowRecord;
use crate::model::FlowVerdict;
use crate::policy::Policy;
use crate::policy::spec::Mode;
use crate::ruleset::{Date, FlowPattern, Loaded};
use std::sync::Arc;

/// As many flows of a capture are explained in one run.
pub const EXPLAINED_MAX: usize = 100;

/// Why one flow is judged as it is.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Who it belongs to, and which policy decides.
    pub found: Found,
    /// Every question about it, in order.
    pub steps: Vec<Step>,
    /// What was decided; none if it is pending.
    pub verdict: Option<FlowVerdict>,
    /// The flow as it was recorded, if it came from a capture.
    pub record: Option<Box<FlowRecord>>,
}

impl Explanation {
    /// Whether the verdict is only told and everything passes: the policy is in mode monitor.
    #[must_use]
    pub fn monitored(&self, policy: &Policy) -> bool {
        match (&self.record, self.found.policy) {
            (Some(record), _) => !record.enforced,
            (None, Some(block)) => policy.mode(block) == Mode::Monitor,
            (None, None) => false,
        }
    }
}

/// One question to the policy.
#[derive(Clone, Debug)]
pub struct Step {
    /// The packet (from 1) that led to it; none for a flow that was not captured.
    pub packet: Option<u64>,
    /// The question and its answer.
    pub asked: Asked,
}

/// The flows of a capture that fit a pattern, each explained, at most [`EXPLAINED_MAX`]; and how
/// many there are.
#[must_use]
pub fn captured(
    ruleset: &Loaded,
    policy: &Arc<Policy>,
    packets: &Packets,
    pattern: &FlowPattern,
    day: Option<Date>,
) -> (Vec<Explanation>, usize) {
    let flows = packets.judge(policy, day);
    let fitting: Vec<&Flow> =
        flows.iter().filter(|flow| fits_pattern(pattern, &flow.record.tuple)).collect();
    let explain = |flow: &&Flow| of_flow(ruleset, packets, flow);
    (fitting.iter().take(EXPLAINED_MAX).map(explain).collect(), fitting.len())
}

fn of_flow(ruleset: &Loaded, packets: &Packets, flow: &Flow) -> Explanation {
    let record = &flow.record;
    let endpoint = record.endpoint.or_else(|| packets.endpoint());
    let steps = flow
        .asked
        .iter()
        .map(|(number, asked)| Step { packet: Some(*number), asked: asked.clone() });
    // A PROXY header may have named another segment than the address does.
    let mut found = Found::new(ruleset, endpoint, record.tuple);
    if let (Some(from), Some(to), false) = (record.from, record.to, flow.loose) {
        found.decide(ruleset, from, to);
    }
    Explanation {
        found,
        steps: steps.collect(),
        verdict: record.verdict,
        record: Some(Box::new(record.clone())),
    }
}
