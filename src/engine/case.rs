//! Opening a flow's case: what is read of it, from where, and who it turns out to be.

use super::Engine;
use super::entry::Mark;
use super::record::Names;
use super::state::{Case, CaseRef, Inspection, Stage};
use super::story::StoryId;
use crate::flow::FlowId;
use crate::inspect::{Inspector, Speech};
use crate::model::{App, Direction, Fact, Facts, FlowVerdict};
use crate::policy::spec::Mode;

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
        let deadline = self.now + self.policy.defaults().pending_timeout;
        let Some(flow) = self.table.get_mut(id) else { return CaseRef::NONE };
        if let (Some(story), Some(speech)) = (flow.case.story(), flow.case.speech()) {
            return self.open_again(id, story, speech);
        }
        if flow.case != CaseRef::NONE || !flow.is(Mark::Fresh) {
            self.cases.retell(flow.case, deadline);
            return flow.case;
        }
        let account = flow.account;
        if !self.cases.has_room(account, self.limits.inspections) {
            // Nobody waits for a name that is only recorded; others come again.
            let fresh = flow.stage() != Stage::Final;
            flow.set(Mark::Fresh, fresh);
            return CaseRef::NONE;
        }
        flow.set(Mark::Fresh, false);
        let unasked = flow.stage() == Stage::Final || flow.is(Mark::Monitored);
        let inspector = match (flow.is(Mark::BehindProxy), stream) {
            (true, true) => Inspector::stream_behind_proxy(),
            (true, false) => {
                Inspector::datagrams_behind_proxy().with_quic(self.cases.spare_reader())
            }
            (false, true) => Inspector::stream(),
            (false, false) => Inspector::datagrams().with_quic(self.cases.spare_reader()),
        };
        let inspector = inspector.with_answers(self.policy.reads_answers()).for_record(unasked);
        let bound = if unasked { self.limits.unasked_bytes } else { held_bytes };
        let first_bytes = self.openings.remove(&id.index()).unwrap_or(self.first_bytes);
        let mut case = Case::new(Facts::default());
        let inspection = Inspection::of_stream(inspector, first_bytes, bound, unasked, deadline);
        case.inspection = Some(self.cases.inspection(inspection));
        let at = self.cases.open(case, account);
        if let Some(flow) = self.table.get_mut(id) {
            flow.case = at;
        }
        at
    }

    /// The case of a flow whose story told all that is known, and that has more to say.
    fn open_again(&mut self, id: FlowId, told: StoryId, speech: Speech) -> CaseRef {
        let deadline = self.now + self.policy.defaults().pending_timeout;
        let Some(flow) = self.table.get_mut(id) else { return CaseRef::NONE };
        if !self.cases.has_room(flow.account, self.limits.inspections) {
            return CaseRef::NONE;
        }
        let Some(story) = self.cases.stories.get(told) else { return CaseRef::NONE };
        let Some(mut case) = self.cases.stories.retell(told) else { return CaseRef::NONE };
        let inspector = Inspector::speaking(speech).for_record(story.unasked);
        let mut inspection = Inspection::of_stream(inspector, [0; 2], 0, story.unasked, deadline);
        // What was read for the record alone is no more than what came.
        let came = [Direction::Original, Direction::Reply].map(|way| flow.tally(way).bytes());
        inspection.read_bytes = usize::try_from(came.iter().sum::<u64>()).unwrap_or(usize::MAX);
        case.inspection = Some(self.cases.inspection(inspection));
        self.cases.stories.leave(told);
        flow.case = self.cases.open(case, flow.account);
        flow.case
    }

    /// Puts a case back. What it says becomes a story that other flows share, if it says no more than
    /// a story can; of a flow without names even less is kept, a mark on the flow.
    pub(super) fn shelve(&mut self, id: FlowId, at: CaseRef, mut case: Box<Case>) {
        let Some(flow) = self.table.get_mut(id) else { return self.cases.put(at, case) };
        if case.is_nameless() {
            flow.case = CaseRef::NONE;
            flow.set(Mark::Nameless, true);
            return self.cases.close(at);
        }
        let speech = case.speech();
        let told = match (&case.inspection, speech) {
            (Some(_), None) => None,
            _ => self.cases.stories.share(&mut case, speech),
        };
        let Some(story) = told else {
            flow.case = at.speaking(speech);
            return self.cases.put(at, case);
        };
        let open = case.inspection.as_mut().filter(|_| speech == Some(Speech::Quic));
        if let Some(reader) = open.and_then(|open| open.inspector.take_quic()) {
            flow.case = at.speaking(speech);
            self.cases.put_reader(at, story, reader);
        } else {
            flow.case = CaseRef::of_story(story, speech);
            self.cases.close(at);
        }
        self.cases.give_up(case);
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
        let (true, Fact::Known(identity)) = (flow.is(Mark::BehindProxy), &case.facts.proxy) else {
            return Ok(Identity::NotAsked);
        };
        flow.set(Mark::BehindProxy, false);
        let Some(from) = self.policy.proxied(flow.from, *identity) else {
            return Err(self.policy.unknown_segment());
        };
        // Refused or not, it is that segment's.
        flow.from = from;
        flow.pair = self.tally.pair(from, flow.to);
        let account = self.gate.account(from);
        let moved = self.gate.move_flow(flow.account, account, held_bytes, self.now);
        moved.map_err(super::stream::deny)?;
        flow.account = account;
        let policy = self.policy.block(from, flow.to);
        let monitored = policy.is_some_and(|policy| self.policy.mode(policy) == Mode::Monitor);
        flow.set(Mark::Monitored, monitored);
        Ok(Identity::Found)
    }
}

impl Case {
    /// What its flow speaks, if that is all one must know to read on.
    fn speech(&self) -> Option<Speech> {
        let open = self.inspection.as_deref()?;
        let idle = open.held.is_empty() && !open.done && !open.handshake;
        let speech = open.inspector.speech().filter(|_| idle && self.asked.is_settled())?;
        // What is read for the record alone is read up to a bound, which counts what was read.
        let counted = open.unasked && speech != Speech::Dns;
        (!counted && self.answered == Names::default()).then_some(speech)
    }

    /// Whether nothing is read any more, and what was read has no names.
    fn is_nameless(&self) -> bool {
        self.inspection.is_none()
            && self.facts.app.known() == Some(&App::Other)
            && self.names == Names::default()
            && self.questions == Names::default()
            && self.facts == nameless()
    }
}

/// What is known of a protocol without names.
pub(super) fn nameless() -> Facts {
    let mut facts = Facts::default();
    facts.settle_without_names(App::Other);
    facts
}
