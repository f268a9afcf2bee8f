//! Time passing: flows that ended, undecided flows that waited too long, and the records of both.

use super::Engine;
use super::entry::{Flow, Mark};
use super::frame::Output;
use super::open::REFUSED;
use super::record::{Ended, Event, FlowRecord, Told};
use super::state::{Case, CaseRef, Stage};
use crate::flow::{Fate, FlowId, FlowKey};
use crate::model::{Action, Epoch, Reason, Timestamp};
use std::sync::Arc;

/// Flows that end with one packet: few, so that no packet waits long behind them, and more than one,
/// so that flows end at least as fast as they can begin. A flow that is due is over for whatever comes
/// next, whether its record has been written or not.
const DUE_AT_ONCE: usize = 16;
/// How many flows ahead a due one's entry is asked for, then its places in index, wheel and stories, then
/// what its story says.
const PLACE_AHEAD: usize = 16;
const REMOVAL_AHEAD: usize = 8;
const CASE_AHEAD: usize = 4;

impl Engine {
    /// Lets time pass up to `now`, before the frame at `position`; it never runs backwards.
    #[inline]
    pub(super) fn advance(&mut self, now: Timestamp, position: usize, out: &mut Output) {
        let later = now > self.now;
        self.now = self.now.max(now);
        if self.now >= self.wake || self.has_fragments() {
            self.wake_up(later, position, out);
        }
    }

    /// Sees to everything that time brings: expired rules, flows and fragments.
    #[inline(never)]
    fn wake_up(&mut self, later: bool, position: usize, out: &mut Output) {
        if later && self.now >= self.next_expiry {
            self.pass_expiry();
        }
        self.find_due();
        for _ in 0..DUE_AT_ONCE {
            if !self.expire_next(position, out) {
                break;
            }
        }
        self.expire_fragments(out);
        self.wake = if self.due_seen == self.due.len() {
            self.table.next_look().min(self.next_expiry)
        } else {
            Timestamp::ZERO
        };
    }

    /// Finds the flows that are due, once those found before have ended: none is found twice.
    fn find_due(&mut self) {
        if self.due_seen < self.due.len() {
            return;
        }
        self.due.clear();
        self.due_seen = 0;
        let due = &mut self.due;
        self.table.expire(self.now, |expired| {
            due.push(expired.id);
            Fate::Taken
        });
    }

    /// Lets time pass without frames. What leaves for it leaves behind those of the batch before.
    pub fn tick(&mut self, now: Timestamp, out: &mut Output) {
        self.advance(now, usize::MAX, out);
        self.expire_due(out);
        self.find_due();
        self.expire_due(out);
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

    /// Ends the flows found due.
    fn expire_due(&mut self, out: &mut Output) {
        while self.expire_next(usize::MAX, out) {}
    }

    /// Ends the next of the flows found due; false: there is none.
    fn expire_next(&mut self, position: usize, out: &mut Output) -> bool {
        self.look_ahead_of_due();
        let Some(&id) = self.due.get(self.due_seen) else { return false };
        self.due_seen = self.due_seen.saturating_add(1);
        // Since it was found due it may have met its next packet, and given its place away.
        let is_over = self.table.deadline(id).is_some_and(|deadline| deadline <= self.now);
        if !is_over || self.expire_flow(id, position, out) {
            self.table.give_back(id);
        }
        true
    }

    /// Brings near what is needed to end the flows that are due next, a step at a time.
    #[inline]
    fn look_ahead_of_due(&self) {
        let due = self.due.get(self.due_seen..).unwrap_or_default();
        if let Some(&id) = due.get(PLACE_AHEAD) {
            self.table.prefetch_place(id);
        }
        if let Some(&id) = due.get(REMOVAL_AHEAD)
            && let Some(flow) = self.table.prefetch_removal(id)
            && flow.case != CaseRef::NONE
        {
            self.cases.prefetch_place(flow.case);
        }
        if let Some(&id) = due.get(CASE_AHEAD)
            && let Some(flow) = self.table.get(id)
            && flow.case != CaseRef::NONE
        {
            self.cases.prefetch(flow.case);
        }
    }

    /// Ends a flow that is past its deadline, before the frame at `position`: what waits for a decision
    /// by its policy's `otherwise`. True: it is known on, as one that was refused for that, or as it was
    /// decided before something of it had to wait.
    pub(super) fn expire_flow(&mut self, id: FlowId, position: usize, out: &mut Output) -> bool {
        let Some((key, due, flow)) = self.table.entry(id) else { return false };
        let undecided = flow.stage() == Stage::Pending && self.cases.inspects(flow.case);
        let open = self.cases.get(flow.case).and_then(|case| case.inspection.as_deref());
        if open.is_some_and(|open| !open.held.is_empty()) {
            if self.outlives_waiting(key.protocol(), flow) {
                if self.stop_waiting(id, out) {
                    return true;
                }
            } else if self.end_waiting(id, position, out) {
                // However late that is noticed, it is remembered from when its time was up.
                self.table.touch(id, due, REFUSED);
                if due + REFUSED > self.now {
                    return true;
                }
            }
        } else if undecided {
            let policy = self.present_policy_of(flow);
            let verdict = policy.map(|policy| self.policy.otherwise(policy));
            let verdict = verdict.unwrap_or(self.deny_undecided(None));
            if let Some(flow) = self.table.get_mut(id) {
                flow.set_verdict(verdict);
                flow.set_stage(Stage::Final);
            }
        }
        self.forget(id, Ended::Expired, out);
        false
    }

    /// Ends a flow and writes its record.
    pub(super) fn forget(&mut self, id: FlowId, ended: Ended, out: &mut Output) {
        let Some(at) = self.table.get(id).map(|flow| flow.case) else { return };
        let found = if at == CaseRef::NONE { Told::default() } else { self.close(id, at, out) };
        let Some((key, due, flow)) = self.table.entry(id) else { return };
        let ended = flow.ends_as(ended);
        let record = self.record_of(id, (key, due, flow), found, Some(ended));
        let (account, endpoint) = (flow.account, flow.endpoint);
        self.asides.forget(id.index(), flow);
        self.counters.end(ended);
        out.events.push(Event::FlowEnd(record));
        self.candidates.forget(id);
        if !self.denied_names.is_empty() {
            self.denied_names.remove(&id.index());
        }
        if !self.openings.is_empty() {
            self.openings.remove(&id.index());
        }
        self.table.discard(id);
        self.gate.close_flow(account);
        self.endpoints.leave(endpoint);
    }

    /// Closes the case of a flow that ends, or its part in a story; gives what its payload told.
    #[inline(never)]
    fn close(&mut self, id: FlowId, at: CaseRef, out: &mut Output) -> Told {
        let mut case = self.cases.take(at);
        if let Some(inspection) = case.as_mut().and_then(|case| case.inspection.as_mut()) {
            self.drop_held(id, inspection, Reason::HeldDiscarded, out);
        }
        let found = self.found(at, case.as_deref());
        self.cases.close(at);
        if let Some(case) = case {
            self.cases.give_up(case);
        }
        found
    }

    /// Tells of a flow's start once, as soon as a rule decides it that asks for that.
    #[inline]
    pub(super) fn start_event(&mut self, id: FlowId, out: &mut Output) {
        if self.policy.tells_starts() {
            self.tell_start(id, None, out);
        }
    }

    /// The same of a flow whose case is worked on beside the engine.
    pub(super) fn start_event_with(&mut self, id: FlowId, case: &Case, out: &mut Output) {
        if self.policy.tells_starts() {
            self.tell_start(id, Some(case), out);
        }
    }

    #[inline(never)]
    fn tell_start(&mut self, id: FlowId, case: Option<&Case>, out: &mut Output) {
        let Some(flow) = self.table.get(id) else { return };
        // What is undecided may still have a verdict: that of its message before.
        if flow.stage() == Stage::Pending || flow.is_told() {
            return;
        }
        if !flow.verdict().rule.is_some_and(|rule| self.policy.tells_start(rule)) {
            return;
        }
        let record = match case {
            Some(case) => self.record_with(id, case),
            None => self.record(id),
        };
        if let (Some(record), Some(flow)) = (record, self.table.get_mut(id)) {
            flow.set_told();
            out.events.push(Event::FlowStart(record));
        }
    }

    /// Everything known of a flow.
    pub(super) fn record(&self, id: FlowId) -> Option<FlowRecord> {
        let at = self.table.get(id)?.case;
        Some(self.record_of(id, self.table.entry(id)?, self.found(at, self.cases.get(at)), None))
    }

    /// The same of a flow whose case is worked on beside the engine.
    pub(super) fn record_with(&self, id: FlowId, case: &Case) -> Option<FlowRecord> {
        Some(self.record_of(id, self.table.entry(id)?, Told::from(case.found()), None))
    }

    /// What the payload of a flow told.
    pub(super) fn found(&self, at: CaseRef, case: Option<&Case>) -> Told {
        let stories = &self.cases.stories;
        match (self.cases.story(at).and_then(|story| stories.found(story)), case) {
            (Some(found), _) => found,
            (None, Some(case)) => Told::from(case.found()),
            (None, None) => Told::default(),
        }
    }

    /// What is known of a flow, with what its payload told; and how it ended, if it does now. Written
    /// once, where it stays.
    #[inline(always)]
    fn record_of(
        &self,
        id: FlowId,
        (key, due, flow): (FlowKey, Timestamp, &Flow),
        mut found: Told,
        ended: Option<Ended>,
    ) -> FlowRecord {
        if !self.denied_names.is_empty()
            && let Some(name) = self.denied_names.get(&id.index())
        {
            found.to_mut().denied_name = Some(Arc::clone(name));
        }
        FlowRecord {
            scope: key.scope(),
            endpoint: self.endpoints.get(flow.endpoint),
            from: Some(flow.from),
            to: Some(flow.to),
            tuple: key.tuple(flow.is(Mark::Reversed)),
            icmp: flow.icmp(),
            start: flow.start,
            end: self.last_packet(key.protocol(), due, flow),
            volume: self.asides.volume(id.index(), flow),
            verdict: (flow.stage() != Stage::Pending).then(|| flow.verdict()),
            enforced: !flow.is(Mark::Monitored),
            midstream: flow.is(Mark::Midstream),
            found,
            epoch: Epoch(flow.epoch(self.epoch.0)),
            ended,
        }
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
