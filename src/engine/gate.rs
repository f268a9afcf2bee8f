//! What may still be used: flows and new flows of each segment, held bytes, answers.

use super::Limits;
use crate::flow::TokenBucket;
use crate::model::{Reason, SegmentId, Timestamp};
use crate::policy::Policy;

/// The engine's budgets. A segment is charged for the flows it opens.
#[derive(Debug)]
pub(super) struct Gate {
    segments: Vec<Budget>,
    answers: TokenBucket,
    held_bytes: usize,
    held_limit: usize,
}

#[derive(Debug)]
struct Budget {
    flows: u64,
    flows_limit: Option<u64>,
    rate: Option<TokenBucket>,
    held_bytes: usize,
    held_limit: Option<usize>,
}

impl Gate {
    pub(super) fn new(policy: &Policy, limits: &Limits) -> Self {
        let segments = policy
            .segments()
            .iter()
            .map(|segment| Budget {
                flows: 0,
                flows_limit: segment.limits.flows,
                rate: segment.limits.new_flows_per_second.map(|per_second| {
                    TokenBucket::new(u32::try_from(per_second).unwrap_or(u32::MAX))
                }),
                held_bytes: 0,
                held_limit: segment
                    .limits
                    .held_bytes
                    .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            })
            .collect();
        Self {
            segments,
            answers: TokenBucket::new(limits.answers_per_second),
            held_bytes: 0,
            held_limit: limits.held_bytes,
        }
    }

    /// Charges a new flow to `segment`.
    pub(super) fn open_flow(&mut self, segment: SegmentId, now: Timestamp) -> Result<(), Reason> {
        let Some(budget) = self.segments.get_mut(usize::from(segment.0)) else { return Ok(()) };
        if budget.flows_limit.is_some_and(|limit| budget.flows >= limit) {
            return Err(Reason::LimitSegmentFlows);
        }
        if budget.rate.as_mut().is_some_and(|rate| !rate.take(now)) {
            return Err(Reason::LimitNewFlows);
        }
        budget.flows += 1;
        Ok(())
    }

    /// Gives a flow of `segment` back.
    pub(super) fn close_flow(&mut self, segment: SegmentId) {
        if let Some(budget) = self.segments.get_mut(usize::from(segment.0)) {
            budget.flows = budget.flows.saturating_sub(1);
        }
    }

    /// Moves a flow's charge once its true segment is known.
    pub(super) fn move_flow(&mut self, from: SegmentId, to: SegmentId) {
        self.close_flow(from);
        if let Some(budget) = self.segments.get_mut(usize::from(to.0)) {
            budget.flows += 1;
        }
    }

    /// Charges held bytes to `segment` and to the total.
    pub(super) fn hold(&mut self, segment: SegmentId, bytes: usize) -> Result<(), Reason> {
        let total = self.held_bytes.saturating_add(bytes);
        if total > self.held_limit {
            return Err(Reason::LimitHeld);
        }
        if let Some(budget) = self.segments.get_mut(usize::from(segment.0)) {
            let held = budget.held_bytes.saturating_add(bytes);
            if budget.held_limit.is_some_and(|limit| held > limit) {
                return Err(Reason::LimitHeld);
            }
            budget.held_bytes = held;
        }
        self.held_bytes = total;
        Ok(())
    }

    /// Gives held bytes back.
    pub(super) fn unhold(&mut self, segment: SegmentId, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes);
        if let Some(budget) = self.segments.get_mut(usize::from(segment.0)) {
            budget.held_bytes = budget.held_bytes.saturating_sub(bytes);
        }
    }

    /// Whether another answer may be sent now.
    pub(super) fn answer(&mut self, now: Timestamp) -> bool {
        self.answers.take(now)
    }

    /// Bytes held now.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes over what is in use; `places` tells where each old segment is now.
    pub(super) fn inherit(&mut self, old: &Self, places: &[Option<SegmentId>]) {
        self.held_bytes = old.held_bytes;
        for (budget, place) in old.segments.iter().zip(places) {
            let Some(new) = place.and_then(|at| self.segments.get_mut(usize::from(at.0))) else {
                continue;
            };
            new.flows = budget.flows;
            new.held_bytes = budget.held_bytes;
        }
    }
}
