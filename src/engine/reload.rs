//! A new ruleset under running flows: swapped whole, each flow decided again at its next packet.

use super::state::Stage;
use super::{Engine, Output, Parcel, gate::Gate};
use crate::flow::FlowId;
use crate::model::{Action, App, Epoch, Facts, Reason};
use crate::policy::spec::Mode;
use crate::policy::{Decision, Located, Policy, SegmentInfo};
use std::sync::Arc;

impl Engine {
    /// Replaces the policy. Flows go on; each is decided again when its next packet comes.
    pub fn install(&mut self, policy: Arc<Policy>) {
        let mut gate = Gate::new(&policy, &self.limits);
        let place = |old: &SegmentInfo| {
            policy.segments().iter().find(|new| new.name == old.name).map(|new| new.id)
        };
        let places: Vec<_> = self.policy.segments().iter().map(place).collect();
        gate.inherit(&self.gate, &places);
        self.gate = gate;
        self.policy = policy;
        self.epoch = Epoch(self.epoch.0.wrapping_add(1));
    }

    /// Refuses new flows from now on, or takes them again.
    pub fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Decides a flow anew under the present policy, from the facts recorded of it.
    pub(super) fn decide_again(&mut self, id: FlowId, parcel: &Parcel<'_>, out: &mut Output) {
        let Some(tuple) = self.tuple_of(id) else { return };
        let epoch = self.epoch.0;
        let located = self.policy.locate(parcel.scope, tuple.src, tuple.dst);
        let Some(flow) = self.table.get_mut(id) else { return };
        flow.epoch = epoch;
        let was_allowed = flow.stage != Stage::Pending && flow.passes();
        let Located::Pair { from, to, .. } = located else {
            let verdict = super::stream::deny(Reason::UnknownSegment);
            return self.cut(id, verdict, was_allowed, parcel, out);
        };
        let from = if flow.behind_proxy { flow.from } else { from };
        flow.from = from;
        flow.to = to;
        flow.policy = self.policy.block(from, to);
        flow.monitored = flow.policy.is_some_and(|p| self.policy.mode(p) == Mode::Monitor);
        if flow.stage == Stage::Pending {
            return;
        }
        let (policy, icmp, midstream, at) = (flow.policy, flow.icmp, flow.midstream, flow.case);
        let facts = match self.cases.get(at) {
            _ if midstream => Facts::missed(),
            Some(case) => case.facts.clone(),
            None => {
                let mut facts = Facts::default();
                facts.settle_without_names(App::Other);
                facts
            }
        };
        let verdict = match self.ask(policy, tuple, icmp, &facts, true) {
            Decision::Final(verdict) => verdict,
            Decision::Pending { .. } => self.undecided(policy, Reason::Undecided),
        };
        let Some(flow) = self.table.get_mut(id) else { return };
        if verdict.action == Action::Allow || flow.monitored {
            flow.verdict = verdict;
            return;
        }
        self.cut(id, verdict, was_allowed, parcel, out);
    }

    /// Ends a flow that is no longer allowed: RST to both sides where it was TCP.
    fn cut(
        &mut self,
        id: FlowId,
        verdict: crate::model::FlowVerdict,
        was_allowed: bool,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) {
        self.discard_held(id, Reason::HeldDenied, out);
        self.end_flow(id, verdict);
        if was_allowed {
            let told = crate::model::FlowVerdict { action: Action::Reject, ..verdict };
            let Some(flow) = self.table.get(id) else { return };
            let direction = if flow.reversed == parcel.reversed {
                crate::model::Direction::Original
            } else {
                crate::model::Direction::Reply
            };
            self.reset(id, parcel, direction, told, [None, None], out);
        }
    }

    /// Ends flows chosen by `chosen`; their next packets meet a flow that was ended by command.
    pub fn flush(
        &mut self,
        mut chosen: impl FnMut(&super::record::FlowRecord) -> bool,
        out: &mut Output,
    ) -> usize {
        let ids: Vec<FlowId> = self.table.iter().map(|(id, _, _)| id).collect();
        let mut count = 0;
        for id in ids {
            if self.record(id).is_some_and(|record| chosen(&record)) {
                self.forget(id, super::record::Ended::Flushed, out);
                count += 1;
            }
        }
        count
    }
}
