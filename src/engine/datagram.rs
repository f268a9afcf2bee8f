//! Payload of a UDP flow under inspection: every datagram is shown to the inspector; those of an
//! undecided flow are held.

use super::case::Identity;
use super::early::Early;
use super::entry::{Flow, Mark};
use super::state::{Case, CaseRef, Inspection, Stage};
use super::story::StoryId;
use super::stream::{Reading, deny};
use super::{Engine, Output, Parcel, Soon};
use crate::flow::FlowId;
use crate::inspect::dns::lone::{lone_name, lone_question};
use crate::inspect::proxy::headers_len;
use crate::inspect::{Outcome, Speech};
use crate::model::{
    Action, App, Direction, Fact, Facts, FlowVerdict, PolicyId, Protocol, Reason, Verdict,
};
use crate::policy::Decision;
use crate::wire::{self, Body, Checksums};

/// A client that has sent so many datagrams of no known protocol is not read further for the record
/// alone.
pub(super) const UNNAMED_DATAGRAMS_MAX: u64 = 4;

impl Engine {
    /// Judges a datagram of a flow that is read.
    pub(super) fn datagram(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        direction: Direction,
        out: &mut Output,
    ) -> Verdict {
        if self.is_in_middle(id) {
            return Verdict::Forward;
        }
        if let Some(verdict) = self.lone_question(id, parcel, direction) {
            return verdict;
        }
        if let Some(verdict) = self.overhear(id, parcel, direction) {
            return verdict;
        }
        let at = self.case_of(id, false);
        let Some(mut case) = self.cases.take(at) else { return self.without_case(id) };
        let Some(mut inspection) = case.inspection.take() else {
            self.cases.put(at, case);
            return self.uninspected(id);
        };
        let verdict = self.read_datagram(id, &mut case, &mut inspection, parcel, direction, out);
        let keeps = self.table.get(id).is_some_and(|flow| {
            !inspection.done && (flow.stage() != Stage::Final || flow.passes())
        });
        if keeps {
            case.inspection = Some(inspection);
        } else {
            self.drop_held(id, &mut inspection, Reason::HeldDiscarded, out);
            self.cases.leave(inspection);
        }
        self.shelve(id, at, case);
        verdict
    }

    /// A DNS message with one question that is allowed, of a flow that never asked another: by far the
    /// most frequent message, for which no case is opened. `None`: it is something else, and nothing
    /// has changed.
    fn lone_question(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        direction: Direction,
    ) -> Option<Verdict> {
        let flow = self.table.get(id)?;
        let told = flow.case.story();
        let first = flow.stage() == Stage::Pending && flow.is(Mark::Fresh) && told.is_none();
        let again = flow.stage() == Stage::Following
            && flow.action() == Action::Allow
            && flow.case.speech() == Some(Speech::Dns)
            && told.is_some();
        let other = flow.is(Mark::BehindProxy) || flow.is(Mark::Monitored);
        if !(first || again)
            || other
            || direction == Direction::Reply
            || flow.is(Mark::Midstream)
            || self.policy.reads_answers()
            || self.watch.is_on()
        {
            return None;
        }
        let mut facts = self.question.take()?;
        let verdict = self.decide_lone(id, told, parcel, &mut facts);
        self.question = Some(facts);
        verdict
    }

    fn decide_lone(
        &mut self,
        id: FlowId,
        told: Option<StoryId>,
        parcel: &Parcel<'_>,
        facts: &mut Facts,
    ) -> Option<Verdict> {
        let name = lone_name(facts)?;
        let hash = match parcel.question {
            Some(early) => {
                name.copy_from(&early.name);
                early.hash
            }
            None if lone_question(parcel.payload, name) => {
                self.cases.stories.hash_of_question(name)
            }
            None => return None,
        };
        // Story and rules are looked for one behind the other, so that neither waits for the other's
        // memory.
        let story = self.cases.stories.of_question(name, hash)?;
        if told.is_some_and(|told| told != story) {
            return None;
        }
        let mut question = self.question(id)?;
        question.shortlist = parcel.shortlist(question.policy);
        let Decision::Final(verdict) = self.ask(&question, facts) else { return None };
        if verdict.action != Action::Allow {
            return None;
        }
        self.follow_story(id, (story, told.is_none()), verdict)?;
        self.tally.hit(question.policy, verdict);
        Some(Verdict::Forward)
    }

    /// The question that opens a flow, which passes as it was decided with its flow; nothing has changed
    /// where it does not.
    pub(super) fn follow_question(
        &mut self,
        id: FlowId,
        question: &Early,
        policy: Option<PolicyId>,
        verdict: FlowVerdict,
    ) -> Option<()> {
        if verdict.action != Action::Allow {
            return None;
        }
        let story = self.cases.stories.of_question(&question.name, question.hash)?;
        self.follow_story(id, (story, true), verdict)?;
        self.tally.hit(policy, verdict);
        self.mark_read(id);
        Some(())
    }

    /// A flow of which nothing else is known goes on by this verdict, as the story says; it may be new
    /// to it.
    fn follow_story(
        &mut self,
        id: FlowId,
        (story, new): (StoryId, bool),
        verdict: FlowVerdict,
    ) -> Option<()> {
        let flow = self.table.get_mut(id)?;
        flow.set(Mark::Fresh, false);
        flow.take_verdict(verdict, Stage::Following);
        flow.case = CaseRef::of_story(story, Some(Speech::Dns));
        if new {
            self.cases.stories.join(story);
        }
        Some(())
    }

    /// What a QUIC server says of a flow whose client's hello was decided: it tells the reader where the
    /// connection is, and nobody else anything.
    fn overhear(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        direction: Direction,
    ) -> Option<Verdict> {
        let flow = self.table.get(id).filter(|flow| flow.stage() == Stage::Following)?;
        let reader = self.cases.reader_mut(flow.case).filter(|_| direction == Direction::Reply)?;
        reader.overhear(parcel.payload);
        Some(Verdict::Forward)
    }

    /// Whether a datagram of a flow that is read tells nothing: it passes as the flow does. What is
    /// sealed is not read at all.
    #[inline]
    fn passes_over(
        &self,
        flow: &Flow,
        direction: Direction,
        payload: &[u8],
        intact: impl FnOnce() -> bool,
    ) -> bool {
        let Some(speech) = flow.case.speech() else { return false };
        let heard = speech == Speech::Dns && self.policy.reads_answers();
        flow.stage() == Stage::Following
            && !heard
            && speech.passes_over(direction, payload)
            && !(direction == Direction::Reply && self.is_shut(flow))
            && (speech == Speech::Quic || intact())
    }

    /// Lets such a datagram of a flow decided in this epoch pass. False: it is something else, and nothing
    /// has changed.
    pub(super) fn pass_over(&mut self, id: FlowId, parcel: &Parcel<'_>) -> bool {
        let Some(flow) = self.table.get(id) else { return false };
        let direction = flow.direction(parcel.reversed);
        if parcel.packet.body != Body::Udp
            || !self.passes_over(flow, direction, parcel.payload, || self.intact(parcel))
        {
            return false;
        }
        self.count_over(id, direction, parcel.packet.ip_len);
        true
    }

    /// The same of a frame of the usual form, most of which need not be read at length for that.
    #[inline]
    pub(super) fn pass_over_usual(&mut self, id: FlowId, soon: &Soon, frame: &[u8]) -> bool {
        if soon.key.protocol() != Protocol::UDP {
            return false;
        }
        let Some(flow) = self.table.get(id) else { return false };
        let (direction, pair) = (flow.direction(soon.reversed), flow.pair);
        let intact = || {
            self.settings.checksums == Checksums::Ignore
                || wire::usual_datagram_is_intact(frame, soon.ip_len)
        };
        let payload = wire::payload_of_usual_datagram(frame, soon.payload_len);
        if flow.epoch(self.epoch.0) != self.epoch.0
            || !self.passes_over(flow, direction, payload, intact)
        {
            return false;
        }
        self.tally.at(pair);
        self.count_over(id, direction, u32::from(soon.ip_len));
        true
    }

    fn count_over(&mut self, id: FlowId, direction: Direction, ip_len: u32) {
        self.count_packet(id, direction, ip_len, Verdict::Forward);
        self.table.touch(id, self.now, self.timeouts.udp);
    }

    fn read_datagram(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
        parcel: &Parcel<'_>,
        direction: Direction,
        out: &mut Output,
    ) -> Verdict {
        let progress = inspection.inspector.datagram(direction, parcel.payload, &mut case.facts);
        inspection.read_bytes = inspection.read_bytes.saturating_add(parcel.payload.len());
        // Not consumed: part of a message that is not complete, and waits for it.
        let waits = progress.consumed < parcel.payload.len();
        self.drop_unread(id, inspection, out);
        if let (Outcome::Refused(reason), false) = (progress.outcome, inspection.unasked) {
            return Verdict::Drop(reason);
        }
        match self.heed_datagram(id, case, inspection, progress.outcome) {
            Reading::Ends(verdict) if self.goes_on(id, case) => {
                // One message of many is refused; the flow goes on without it.
                let at = message_at(case, parcel.payload);
                self.refuse_message(id, case, parcel, (direction, at), verdict, out);
                Verdict::Drop(verdict.reason)
            }
            Reading::Ends(verdict) => {
                self.drop_held(id, inspection, Reason::HeldDenied, out);
                self.end_flow(id, verdict);
                let account = self.table.get(id).map(|flow| flow.account);
                self.refuse(account, parcel, verdict, out);
                Verdict::Drop(verdict.reason)
            }
            Reading::Goes => {
                if direction == Direction::Reply
                    && let Some(verdict) =
                        self.judge_answer(id, case, inspection.unasked, parcel.payload)
                {
                    self.refuse_message(id, case, parcel, (direction, 0), verdict, out);
                    return Verdict::Drop(verdict.reason);
                }
                let message = parcel.payload.get(message_at(case, parcel.payload)..);
                self.hear(id, case, direction, message.unwrap_or_default());
                let stage = self.table.get(id).map_or(Stage::Final, |flow| flow.stage());
                let waits = !inspection.done && (stage == Stage::Pending || waits);
                if waits && !inspection.unasked {
                    return self.hold(id, inspection, parcel, direction, (0, 0));
                }
                if inspection.done || inspection.unasked {
                    self.release_all(id, inspection, parcel.position, out);
                } else if progress.outcome != Outcome::More {
                    self.release_strand(id, inspection, parcel.position, out);
                }
                Verdict::Forward
            }
        }
    }

    fn heed_datagram(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
        outcome: Outcome,
    ) -> Reading {
        let asked = !inspection.unasked;
        match outcome {
            Outcome::More | Outcome::Opening | Outcome::Refused(_) => {
                let enough = inspection.read_bytes > self.limits.unasked_bytes;
                if !asked && (enough || self.tells_nothing(id, case)) && !self.hears(case) {
                    (inspection.done, case.unread) = (true, enough);
                }
                Reading::Goes
            }
            Outcome::Message | Outcome::Fact | Outcome::Switch => {
                case.note_names();
                self.decide_datagram(id, case, inspection)
            }
            Outcome::Done => {
                inspection.done = true;
                case.close_facts();
                case.note_names();
                let reading = self.decide_datagram(id, case, inspection);
                if let Some(flow) = self.table.get_mut(id)
                    && matches!(reading, Reading::Goes)
                {
                    flow.set_stage(Stage::Final);
                }
                reading
            }
            // A fault is of this datagram alone; its flow is read on, if it goes on.
            Outcome::Fault(reason) => {
                case.note_names();
                self.note_denial(id, reason, Stage::Following);
                if asked { Reading::Ends(deny(reason)) } else { Reading::Goes }
            }
        }
    }

    fn decide_datagram(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
    ) -> Reading {
        match self.identify(id, case, inspection.held_bytes) {
            Err(verdict) => return Reading::Ends(verdict),
            Ok(Identity::Found) => {
                if let Some(ended) = self.decide_identified(id, case, inspection) {
                    return ended.map_or(Reading::Goes, Reading::Ends);
                }
            }
            Ok(Identity::NotAsked) => {}
        }
        let Some(mut question) = self.question(id) else { return Reading::Goes };
        if self.is_out_of_question(id, inspection.unasked) {
            return Reading::Goes;
        }
        question.bound = self.is_bound(&question, case);
        case.bound = question.bound;
        let decision = match self.ask(&question, &case.facts) {
            Decision::Final(verdict) => verdict,
            Decision::Pending { .. } if inspection.done => self.deny_undecided(question.policy),
            Decision::Pending { .. } => {
                if let Some(flow) = self.table.get_mut(id) {
                    flow.set_stage(Stage::Pending);
                }
                return Reading::Goes;
            }
        };
        self.tally.hit(question.policy, decision);
        let Some(flow) = self.table.get_mut(id) else { return Reading::Goes };
        // It may have been allowed by its headers, before a rule asked for more.
        case.allowed |= flow.stage() == Stage::Following && flow.action() == Action::Allow;
        if flow.is(Mark::Monitored) || decision.action == crate::model::Action::Allow {
            case.allowed = true;
            case.note_bound();
            let denied =
                flow.stage() == Stage::Following && flow.action() != crate::model::Action::Allow;
            if !denied || flow.is(Mark::Monitored) {
                flow.take_verdict(decision, Stage::Following);
            }
            return Reading::Goes;
        }
        Reading::Ends(decision)
    }

    /// Whether a flow that nobody asks about has sent enough datagrams of no known protocol.
    fn tells_nothing(&self, id: FlowId, case: &Case) -> bool {
        case.facts.app.known() == Some(&App::Other)
            && self.table.get(id).is_some_and(|flow| {
                let original = flow.tally(Direction::Original);
                !flow.is(Mark::Monitored)
                    && original.packets().saturating_add(1) >= UNNAMED_DATAGRAMS_MAX
            })
    }

    /// Whether a denied message leaves its flow alive: DNS questions are refused one by one.
    fn goes_on(&self, id: FlowId, case: &Case) -> bool {
        let dns = case.facts.app.known() == Some(&App::Dns);
        dns && self.table.get(id).is_some()
    }
}

/// Where a datagram's own message starts: behind PROXY headers, if the flow came with one.
fn message_at(case: &Case, payload: &[u8]) -> usize {
    match case.facts.proxy {
        Fact::Known(_) => headers_len(payload),
        _ => 0,
    }
}
