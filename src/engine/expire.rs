//! Time passing: flows that ended, undecided flows that waited too long, and the records of both.

use super::Engine;
use super::entry::{Flow, Mark};
use super::frame::Output;
use super::record::{Ended, Event, FlowRecord, Found};
use super::state::{Case, CaseRef, Stage};
use crate::flow::{Fate, FlowId};
use crate::model::{Action, Epoch, Reason, Timestamp};
use std::sync::Arc;

/// Flows that end with one packet: few, so that no packet waits long behind them, and more than one,
/// so that flows end at least as fast as they can begin. A flow that is due is over for whatever comes
/// next, whether its record has been written or not.
const DUE_AT_ONCE: usize = 16;
/// How many flows ahead a due one's entry, and its place in the index, are asked for.
const PLACE_AHEAD: usize = 8;
const INDEX_AHEAD: usize = 4;

impl Engine {
    /// Lets time pass up to `now`; it never runs backwards.
    #[inline]
    pub(super) fn advance(&mut self, now: Timestamp, out: &mut Output) {
        let later = now > self.now;
        self.now = self.now.max(now);
        if self.now >= self.wake || self.has_fragments() {
            self.wake_up(later, out);
        }
    }

    /// Sees to everything that time brings: expired rules, flows and fragments.
    #[inline(never)]
    fn wake_up(&mut self, later: bool, out: &mut Output) {
        if later && self.now >= self.next_expiry {
            self.pass_expiry();
        }
        self.find_due();
        self.expire_due(DUE_AT_ONCE, out);
        self.expire_fragments(out);
        self.wake = if self.due.is_empty() {
            self.table.next_look().min(self.next_expiry)
        } else {
            Timestamp::ZERO
        };
    }

    /// Finds the flows that are due, once those found before have ended: none is found twice.
    fn find_due(&mut self) {
        if self.due.is_empty() {
            let due = &mut self.due;
            self.table.expire(self.now, |expired| {
                due.push_back(expired.id);
                Fate::Overdue
            });
        }
    }

    /// Lets time pass without frames.
    pub fn tick(&mut self, now: Timestamp, out: &mut Output) {
        self.advance(now, out);
        self.expire_due(usize::MAX, out);
        self.find_due();
        self.expire_due(usize::MAX, out);
    }

    /// Ends every flow: the capture is over.
    pub fn finish(&mut self, out: &mut Output) {
        self.end_all(Ended::EndOfCapture, out);
    }

    /// Ends every flow: the instance stops.
    pub fn stop(&mut self, out: &mut Output) {
        self.end_all(Ended::Stopped, out);
    }

    fn end_all(&mut self, how: Ended, out: &mut Output) {
        let ids: Vec<FlowId> = self.table.iter().map(|(id, _, _)| id).collect();
        for id in ids {
            self.forget(id, how, out);
        }
        self.drop_fragments(out);
    }

    /// Ends flows found due, so many of them at most; a later packet sees to the others.
    fn expire_due(&mut self, at_once: usize, out: &mut Output) {
        let mut due = std::mem::take(&mut self.due);
        let now_due = due.len().min(at_once);
        for (at, &id) in due.iter().enumerate().take(now_due) {
            let ahead = |by: usize| due.get(at.saturating_add(by)).copied();
            if let Some(soon) = ahead(PLACE_AHEAD) {
                self.table.prefetch_place(soon);
            }
            if let Some(flow) = ahead(INDEX_AHEAD + 2).and_then(|id| self.table.get(id)) {
                self.cases.prefetch_place(flow.case);
            }
            if let Some(flow) = ahead(INDEX_AHEAD).and_then(|id| self.table.get(id)) {
                self.cases.prefetch(flow.case);
            }
            if let Some(next) = ahead(INDEX_AHEAD) {
                self.table.prefetch_index(next);
            }
            // Since it was found due it may have met its next packet, and given its place away.
            if self.table.deadline(id).is_some_and(|deadline| deadline <= self.now) {
                self.expire_flow(id, out);
            }
        }
        due.drain(..now_due);
        self.due = due;
    }

    /// Ends a flow that is past its deadline: undecided ones by their policy's `otherwise`.
    pub(super) fn expire_flow(&mut self, id: FlowId, out: &mut Output) {
        let Some(flow) = self.table.get(id) else { return };
        if flow.stage() == Stage::Pending && self.cases.inspects(flow.case) {
            let verdict = self.undecided(self.policy_of(flow), Reason::Undecided);
            if let Some(flow) = self.table.get_mut(id) {
                flow.set_verdict(verdict);
                flow.set_stage(Stage::Final);
            }
        }
        self.forget(id, Ended::Expired, out);
    }

    /// Ends a flow and writes its record.
    pub(super) fn forget(&mut self, id: FlowId, ended: Ended, out: &mut Output) {
        let at = self.table.get(id).map_or(CaseRef::NONE, |flow| flow.case);
        let mut case = self.cases.take(at);
        if let Some(inspection) = case.as_mut().and_then(|case| case.inspection.as_mut()) {
            self.drop_held(id, inspection, Reason::HeldDiscarded, out);
        }
        let found = self.found(at, case.as_deref());
        if let Some(record) = self.record_of(id, found, Some(ended)) {
            self.counters.end(record.ended.unwrap_or(ended));
            out.events.push(Event::FlowEnd(record));
        }
        self.candidates.forget(id);
        self.asides.forget(id.index());
        if !self.openings.is_empty() {
            self.openings.remove(&id.index());
        }
        if let Some(flow) = self.table.remove(id) {
            self.gate.close_flow(flow.account);
            self.endpoints.leave(flow.endpoint);
        }
        if at != CaseRef::NONE {
            self.cases.close(at);
        }
        if let Some(case) = case {
            self.cases.give_up(case);
        }
    }

    /// Tells of a flow's start, where its rule asks for that.
    pub(super) fn start_event(&mut self, id: FlowId, out: &mut Output) {
        let Some(flow) = self.table.get(id) else { return };
        let Some(rule) = flow.verdict().rule else { return };
        if self.policy.tells_start(rule)
            && let Some(record) = self.record(id)
        {
            out.events.push(Event::FlowStart(record));
        }
    }

    /// Everything known of a flow.
    pub(super) fn record(&self, id: FlowId) -> Option<FlowRecord> {
        let at = self.table.get(id)?.case;
        self.record_of(id, self.found(at, self.cases.get(at)), None)
    }

    /// The same of a flow whose case is worked on beside the engine.
    pub(super) fn record_with(&self, id: FlowId, case: &Case) -> Option<FlowRecord> {
        self.record_of(id, Arc::new(case.found()), None)
    }

    /// What the payload of a flow told.
    fn found(&self, at: CaseRef, case: Option<&Case>) -> Arc<Found> {
        let stories = &self.cases.stories;
        match (at.story().and_then(|story| stories.found(story)), case) {
            (Some(found), _) => found,
            (None, Some(case)) => Arc::new(case.found()),
            (None, None) => stories.nothing(),
        }
    }

    /// What is known of a flow, with what its payload told; and how it ended, if it does now. Written
    /// once, where it stays.
    #[inline(always)]
    fn record_of(&self, id: FlowId, found: Arc<Found>, ended: Option<Ended>) -> Option<FlowRecord> {
        let flow = self.table.get(id)?;
        let key = self.table.key(id)?;
        Some(FlowRecord {
            scope: key.scope(),
            endpoint: self.endpoints.get(flow.endpoint),
            from: Some(flow.from),
            to: Some(flow.to),
            tuple: key.tuple(flow.is(Mark::Reversed)),
            icmp: flow.icmp(),
            start: flow.start,
            end: self.last_packet(id, flow),
            volume: self.asides.volume(id.index(), flow),
            verdict: (flow.stage() != Stage::Pending).then(|| flow.verdict()),
            enforced: !flow.is(Mark::Monitored),
            midstream: flow.is(Mark::Midstream),
            found,
            epoch: Epoch(flow.epoch(self.epoch.0)),
            ended: ended.map(|ended| flow.ends_as(ended)),
        })
    }

    /// Every flow known now.
    pub fn records(&self) -> impl Iterator<Item = FlowRecord> + '_ {
        self.table.iter().filter_map(|(id, _, _)| self.record(id))
    }
}

impl Flow {
    /// How a flow has ended whose state ends so.
    fn ends_as(&self, ended: Ended) -> Ended {
        let decided = self.stage() != Stage::Pending && self.action() != Action::Allow;
        match ended {
            Ended::Expired | Ended::EndOfCapture | Ended::Stopped
                if decided && !self.is(Mark::Monitored) =>
            {
                Ended::Denied
            }
            Ended::Expired | Ended::EndOfCapture | Ended::Stopped | Ended::Closed => {
                self.ended().unwrap_or(ended)
            }
            other => other,
        }
    }
}
