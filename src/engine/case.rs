//! Opening a flow's case: what is read of it, from where, and who it turns out to be.

use super::Engine;
use super::state::{Case, CaseRef, Inspection, Stage};
use crate::flow::FlowId;
use crate::inspect::Inspector;
use crate::model::{Fact, Facts, FlowVerdict};

/// Whether a PROXY protocol header has just told who a flow is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// It has.
    Found,
    /// The flow is from no proxy, its identity is known, or not yet.
    NotAsked,
}

impl Engine {
    /// The case of a flow, opened if its payload has not been looked at.
    pub(super) fn case_of(&mut self, id: FlowId, stream: bool) -> CaseRef {
        let held_bytes = self.held_bytes_per_flow();
        let Some(flow) = self.table.get_mut(id) else { return CaseRef::NONE };
        if flow.case != CaseRef::NONE || !flow.fresh {
            return flow.case;
        }
        if self.cases.len() >= self.limits.inspections {
            // Nobody waits for a name that is only recorded; others come again.
            flow.fresh = flow.stage != Stage::Final;
            return CaseRef::NONE;
        }
        flow.fresh = false;
        let unasked = flow.stage == Stage::Final || flow.monitored;
        let deadline = self.now + self.policy.defaults().pending_timeout;
        let inspector = match (flow.behind_proxy, stream) {
            (true, true) => Inspector::stream_behind_proxy(),
            (true, false) => Inspector::datagrams_behind_proxy(),
            (false, true) => Inspector::stream(),
            (false, false) => Inspector::datagrams(),
        };
        let inspector = inspector.with_answers(self.policy.binds()).for_record(unasked);
        let bound = if unasked { self.limits.unasked_bytes } else { held_bytes };
        let first_bytes = flow.first_bytes;
        let mut case = Case::new(Facts::default());
        case.inspection =
            Some(Box::new(Inspection::of_stream(inspector, first_bytes, bound, unasked, deadline)));
        let at = self.cases.open(case);
        if let Some(flow) = self.table.get_mut(id) {
            flow.case = at;
        }
        at
    }

    /// Gives a flow from a trusted proxy the segment its PROXY protocol header names.
    ///
    /// # Errors
    /// The verdict that ends the flow: nobody lists the endpoint, or its segment has no room.
    pub(super) fn identify(
        &mut self,
        id: FlowId,
        case: &Case,
        held_bytes: usize,
    ) -> Result<Identity, FlowVerdict> {
        let Some(flow) = self.table.get_mut(id) else { return Ok(Identity::NotAsked) };
        let (true, Fact::Known(identity)) = (flow.behind_proxy, &case.facts.proxy) else {
            return Ok(Identity::NotAsked);
        };
        flow.behind_proxy = false;
        let Some(from) = self.policy.proxied(flow.from, *identity) else {
            return Err(self.policy.unknown_segment());
        };
        let account = self.gate.account(from);
        let moved = self.gate.move_flow(flow.account, account, held_bytes, self.now);
        moved.map_err(super::stream::deny)?;
        flow.account = account;
        flow.from = from;
        flow.pair = self.tally.pair(from, flow.to);
        flow.policy = self.policy.block(from, flow.to);
        flow.monitored = flow
            .policy
            .is_some_and(|policy| self.policy.mode(policy) == crate::policy::spec::Mode::Monitor);
        Ok(Identity::Found)
    }
}
