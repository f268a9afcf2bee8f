//! Looking at every flow of a running engine a piece at a time, so that packets never wait for a
//! large table: listing, ending by command, and what another policy would say of live flows.

use super::decide::Question;
use super::entry::Flow;
use super::entry::Mark;
use super::record::{Ended, FlowRecord};
use super::state::Stage;
use super::{Engine, Output};
use crate::flow::{FlowId, FlowKey, TcpState};
use crate::model::{Epoch, FiveTuple, FlowVerdict, PolicyId, Reason, ScopeId, SegmentId};
use crate::policy::{Decision, Policy, RecordedTrace};

/// How a live flow came to its verdict: the record of it and the trace of its decision now.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The flow.
    pub record: FlowRecord,
    /// The policy that was asked, of the present ruleset; none if none stands for its segments, or while
    /// these are not known.
    pub policy: Option<PolicyId>,
    /// What it says of the facts known now.
    pub decision: Decision,
    /// Every rule looked at on the way.
    pub trace: RecordedTrace,
}

impl Engine {
    /// Places of the flow table; every flow is at one of them.
    #[must_use]
    pub const fn places(&self) -> usize {
        self.table.places()
    }

    /// The most flows there can be.
    #[must_use]
    pub const fn flows_limit(&self) -> usize {
        self.table.limit()
    }

    /// Bytes of memory the flow table takes.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.table.bytes()
    }

    /// Which ruleset is in force, counted from one.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Flows and held bytes charged to each segment.
    pub fn segments_used(&self) -> impl Iterator<Item = (SegmentId, u64, usize)> {
        (0..).map(SegmentId).zip(self.gate.used()).map(|(id, (flows, held))| (id, flows, held))
    }

    /// Flows at `count` places from `from` on.
    pub fn records_at(&self, from: usize, count: usize) -> impl Iterator<Item = FlowRecord> + '_ {
        self.table.range(from, count).filter_map(|(id, _, _)| self.record(id))
    }

    /// How many flows packets still pass for, at `count` places from `from` on. A connection both of
    /// whose sides have sent FIN is over once it is silent for as long as any that is closed: the load
    /// balancer may have forgotten it, and its last acknowledgement with it.
    #[must_use]
    pub fn served_at(&self, from: usize, count: usize) -> usize {
        let passes = |flow: &Flow| flow.stage() != Stage::Final || flow.passes();
        let last = |id: FlowId| {
            let (key, due, flow) = self.table.entry(id)?;
            Some(self.last_packet(key.protocol(), due, flow))
        };
        let over = |id: FlowId, flow: &Flow| {
            flow.tcp.state() == TcpState::LastAck
                && last(id).is_some_and(|last| self.now.since(last) > self.timeouts.tcp_closed)
        };
        self.table
            .range(from, count)
            .filter(|(id, _, flow)| passes(flow) && !over(*id, flow))
            .count()
    }

    /// Ends flows chosen by `chosen` at `count` places from `from` on; gives how many.
    pub fn flush_at(
        &mut self,
        from: usize,
        count: usize,
        mut chosen: impl FnMut(&FlowRecord) -> bool,
        out: &mut Output,
    ) -> usize {
        let ids: Vec<FlowId> = self.table.range(from, count).map(|(id, _, _)| id).collect();
        let mut ended: usize = 0;
        for id in ids {
            if self.record(id).is_some_and(|record| chosen(&record)) {
                self.forget(id, Ended::Flushed, out);
                ended = ended.saturating_add(1);
            }
        }
        ended
    }

    /// What `policy` would say of the flows at `count` places from `from` on, if it were installed
    /// now. Pending flows, and those that are decided message by message, have no verdict to change.
    pub fn preview_at<'a>(
        &'a self,
        policy: &'a Policy,
        from: usize,
        count: usize,
    ) -> impl Iterator<Item = (FlowRecord, FlowVerdict)> + 'a {
        self.table.range(from, count).filter_map(|(id, _, flow)| {
            if self.is_decided_by_datagram(flow) {
                return None;
            }
            let record = self.record(id).filter(|record| record.verdict.is_some())?;
            let verdict = self.under(policy, id)?;
            Some((record, verdict))
        })
    }

    /// The flow of a five-tuple in either direction, with the trace of its decision.
    #[must_use]
    pub fn explain(&self, scope: ScopeId, tuple: &FiveTuple) -> Option<Explanation> {
        let (key, _) = FlowKey::new(scope, tuple);
        let id = self.table.lookup(&key, self.table.hash(&key))?;
        let (record, flow, question) = (self.record(id)?, self.table.get(id)?, self.question(id)?);
        let bound = self.cases.bound(flow.case);
        let mut trace = RecordedTrace::default();
        // A flow that is silent since a reload still has the numbers of the ruleset before.
        let Some((from, to)) = self.placed(&self.policy, id) else {
            let decision = Decision::Final(super::stream::deny(Reason::UnknownSegment));
            return Some(Explanation { record, policy: None, decision, trace });
        };
        let block = self.policy.block(from, to).filter(|_| !flow.is(Mark::BehindProxy));
        let missed = flow.is(Mark::Midstream);
        let question = Question { policy: block, missed, bound, ..question };
        let facts = self.facts_of(flow, &question);
        let decision = self.traced(&self.policy, &question, &facts, &mut trace);
        Some(Explanation { record, policy: block, decision, trace })
    }
}
