//! Time passing: flows that ended, undecided flows that waited too long, and the records of both.

use super::Engine;
use super::frame::Output;
use super::record::{Ended, Event, FlowRecord};
use super::state::{CaseRef, Stage};
use crate::flow::{Fate, FlowId};
use crate::model::{Action, App, Epoch, Fact, FiveTuple, Reason, Span, Timestamp};

impl Engine {
    /// Lets time pass up to `now`; it never runs backwards.
    pub(super) fn advance(&mut self, now: Timestamp, out: &mut Output) {
        if now > self.now {
            self.now = now;
            if now >= self.next_expiry {
                self.pass_expiry();
            }
        }
        let due = &mut self.due;
        self.table.expire(self.now, |expired| {
            due.push(expired.id);
            Fate::Keep(Span::ZERO)
        });
        if !self.due.is_empty() {
            self.expire_due(out);
        }
        self.expire_fragments(out);
    }

    /// Lets time pass without frames.
    pub fn tick(&mut self, now: Timestamp, out: &mut Output) {
        self.advance(now, out);
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

    fn expire_due(&mut self, out: &mut Output) {
        let mut due = std::mem::take(&mut self.due);
        for id in due.drain(..) {
            self.expire_flow(id, out);
        }
        self.due = due;
    }

    /// Ends a flow that is past its deadline: undecided ones by their policy's `otherwise`.
    pub(super) fn expire_flow(&mut self, id: FlowId, out: &mut Output) {
        let Some(flow) = self.table.get(id) else { return };
        if flow.stage == Stage::Pending && self.cases.inspects(flow.case) {
            let verdict = self.undecided(flow.policy, Reason::Undecided);
            if let Some(flow) = self.table.get_mut(id) {
                flow.verdict = verdict;
                flow.stage = Stage::Final;
            }
        }
        self.forget(id, Ended::Expired, out);
    }

    /// Ends a flow and writes its record.
    pub(super) fn forget(&mut self, id: FlowId, ended: Ended, out: &mut Output) {
        self.discard_held(id, Reason::HeldDiscarded, out);
        if let Some(mut record) = self.record(id) {
            let refused = record.verdict.is_some_and(|v| v.action != Action::Allow);
            let how = self.table.get(id).and_then(|flow| flow.ended);
            record.ended = Some(match ended {
                Ended::Expired | Ended::EndOfCapture | Ended::Stopped
                    if refused && record.enforced =>
                {
                    Ended::Denied
                }
                Ended::Expired | Ended::EndOfCapture | Ended::Stopped | Ended::Closed => {
                    how.unwrap_or(ended)
                }
                other => other,
            });
            self.counters.end(record.ended.unwrap_or(ended));
            out.events.push(Event::FlowEnd(Box::new(record)));
        }
        self.candidates.remove(&id);
        if let Some(flow) = self.table.remove(id) {
            self.gate.close_flow(flow.account);
            if flow.case != CaseRef::NONE {
                self.cases.close(flow.case);
            }
        }
    }

    /// Tells of a flow's start, where its rule asks for that.
    pub(super) fn start_event(&mut self, id: FlowId, out: &mut Output) {
        let Some(flow) = self.table.get(id) else { return };
        let Some(rule) = flow.verdict.rule else { return };
        if self.policy.rule(rule).is_some_and(|rule| rule.log.at_start())
            && let Some(record) = self.record(id)
        {
            out.events.push(Event::FlowStart(Box::new(record)));
        }
    }

    /// Everything known of a flow.
    pub(super) fn record(&self, id: FlowId) -> Option<FlowRecord> {
        let flow = self.table.get(id)?;
        let key = self.table.key(id)?;
        let mut record = FlowRecord::new(key.scope(), self.tuple_of(id)?, flow.start);
        record.endpoint = flow.endpoint;
        record.from = Some(flow.from);
        record.to = Some(flow.to);
        record.icmp = flow.icmp;
        record.end = flow.last;
        record.volume = flow.volume;
        record.verdict = (flow.stage != Stage::Pending).then_some(flow.verdict);
        record.enforced = !flow.monitored;
        record.midstream = flow.midstream;
        record.epoch = Epoch(flow.epoch);
        let Some(case) = self.cases.get(flow.case) else { return Some(record) };
        let facts = &case.facts;
        record.app = match &facts.app {
            Fact::Known(App::Other) | Fact::Unknown | Fact::Absent | Fact::Missed => None,
            Fact::Known(app) => Some(*app),
        };
        record.names = case.names.clone();
        // Where only answers came by, their questions are what is known.
        let asked = case.questions.first().is_some();
        record.questions = if asked { &case.questions } else { &case.answered }.clone();
        record.ja4 = facts.tls.ja4.known().copied();
        record.ja3 = facts.tls.ja3;
        record.tls_version = facts.tls.version.known().copied();
        record.alpn.clone_from(&facts.tls.alpn);
        record.quic_version = facts.quic_version;
        record.certificate = facts.tls.client_certificate.known().cloned();
        record.ech = facts.tls.ech;
        Some(record)
    }

    /// The five-tuple of a flow in its original direction.
    pub(super) fn tuple_of(&self, id: FlowId) -> Option<FiveTuple> {
        let flow = self.table.get(id)?;
        Some(self.table.key(id)?.tuple(flow.reversed))
    }

    /// Every flow known now.
    pub fn records(&self) -> impl Iterator<Item = FlowRecord> + '_ {
        self.table.iter().filter_map(|(id, _, _)| self.record(id))
    }
}
