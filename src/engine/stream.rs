//! Payload of a TCP flow under inspection: collected in order, shown to the inspector, let go as far
//! as it is decided, held otherwise.

use super::case::Identity;
use super::entry::Mark;
use super::kept::Charge;
use super::state::{Case, Cleared, Inspection, Lane, Stage};
use super::{Engine, Output, Parcel};
use crate::flow::FlowId;
use crate::inspect::stream::StreamHead;
use crate::inspect::{Inspector, Outcome, Progress};
use crate::model::{Action, App, Direction, Fact, Facts, FlowVerdict, Reason, Verdict};
use crate::policy::Decision;
use crate::wire::TcpSegment;

/// Looks at bytes in one go at most this often: a bound against readers that make no headway.
const LOOKS_MAX: usize = 4096;

/// Bytes of one direction that were read and let go, and are kept until they are acknowledged: what a
/// sender may have under way, a window of the usual size of large ones.
const PASSED_BYTES_MAX: usize = 1 << 20;

/// What reading a segment came to.
pub(super) enum Reading {
    /// As far as the lanes are cleared.
    Goes,
    /// The flow ends here.
    Ends(FlowVerdict),
}

impl Engine {
    /// Judges a segment with payload or FIN of a flow that is read.
    pub(super) fn stream(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        segment: &TcpSegment,
        direction: Direction,
        out: &mut Output,
    ) -> Verdict {
        let at = self.case_of(id, true);
        let Some(mut case) = self.cases.take(at) else { return self.without_case(id) };
        let Some(mut inspection) = case.inspection.take() else {
            self.cases.put(at, case);
            return self.uninspected(id);
        };
        let asks_server = self.table.get(id).is_none_or(|flow| flow.stage() != Stage::Following);
        self.miss_other_side(id, &mut inspection, direction);
        let reading = self.read_segment(id, &mut case, &mut inspection, parcel, segment, direction);
        if inspection.done && !asks_server && case.facts.app == Fact::Known(App::Tls) {
            inspection.forget_replies();
        }
        let verdict = match reading {
            Ok(Reading::Goes) => {
                self.pass_or_hold(id, &mut inspection, parcel, segment, direction, out)
            }
            Ok(Reading::Ends(verdict)) => {
                self.end_stream(id, &mut inspection, parcel, direction, verdict, out)
            }
            Err(reason) => Verdict::Drop(reason),
        };
        if self.keeps_reading(id, &inspection) {
            case.inspection = Some(inspection);
        } else {
            self.drop_held(id, &mut inspection, Reason::HeldDiscarded, out);
            self.cases.leave(inspection);
        }
        self.shelve(id, at, case);
        verdict
    }

    /// A packet of a flow for which there is no room to be inspected.
    pub(super) fn without_case(&self, id: FlowId) -> Verdict {
        match self.table.get(id) {
            Some(flow) if flow.stage() == Stage::Final && flow.passes() => Verdict::Forward,
            _ => Verdict::Drop(Reason::LimitInspection),
        }
    }

    /// Collects the segment's bytes and shows the inspector what is in order.
    fn read_segment(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
        parcel: &Parcel<'_>,
        segment: &TcpSegment,
        direction: Direction,
    ) -> Result<Reading, Reason> {
        let lane = direction.of_mut(&mut inspection.lanes);
        let first = segment.seq.wrapping_add(u32::from(segment.flags.syn()));
        if inspection.done {
            // What was read and is not acknowledged yet must not change on its way.
            let known = lane.head.in_order_end().wrapping_sub(first);
            let read = usize::try_from(known).ok().and_then(|known| parcel.payload.get(..known));
            let read = match read {
                Some(read) => read,
                None if (known as i32) > 0 => parcel.payload,
                None => return Ok(Reading::Goes),
            };
            return match lane.head.insert(first, read) {
                Err(Reason::InconsistentRetransmission) if !inspection.unasked => {
                    Ok(Reading::Ends(deny(Reason::InconsistentRetransmission)))
                }
                _ => Ok(Reading::Goes),
            };
        }
        if segment.urgent {
            self.note_denial(id, Reason::UrgentData, Stage::Following);
            if !inspection.unasked {
                return Ok(Reading::Ends(deny(Reason::UrgentData)));
            }
        }
        let stage = self.table.get(id).map_or(Stage::Final, |flow| flow.stage());
        if direction == Direction::Reply
            && (stage == Stage::Following || inspection.unasked)
            && !inspection.inspector.wants().reply
        {
            lane.cleared = Cleared::All;
            lane.head.pass(first.wrapping_add(u32::try_from(parcel.payload.len()).unwrap_or(0)));
            return Ok(Reading::Goes);
        }
        if !inspection.unasked {
            let account = self.table.get(id).map(|flow| flow.account).unwrap_or_default();
            let room = self.cases.kept.has_room(account, self.limits.kept_bytes);
            lane.head.allow_passed(if room { PASSED_BYTES_MAX } else { 0 });
        }
        self.cases.lend_room(&mut lane.head);
        if let Err(reason) = lane.head.insert(first, parcel.payload) {
            if inspection.unasked {
                (inspection.done, case.unread) = (true, true);
                let changed = reason == Reason::InconsistentRetransmission;
                let reason = if changed { reason } else { Reason::LimitInspection };
                self.note_denial(id, reason, Stage::Final);
                return Ok(Reading::Goes);
            }
            return match reason {
                Reason::InconsistentRetransmission => Ok(Reading::Ends(deny(reason))),
                _ => Err(reason),
            };
        }
        Ok(self.read(id, case, inspection, direction, first))
    }

    /// Shows the inspector what is in order, in this direction and, where that lets it go on, in
    /// the other one. A stream met in the middle need not begin with a message: while nothing is
    /// recognised it is looked at anew from each segment on (from `first`, this one).
    fn read(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
        direction: Direction,
        first: u32,
    ) -> Reading {
        let midstream = self.table.get(id).is_some_and(|flow| flow.is(Mark::Midstream));
        let mut turn = direction;
        let mut idle = 0;
        for _ in 0..LOOKS_MAX {
            let wants = inspection.inspector.wants().has(turn);
            let lane = turn.of_mut(&mut inspection.lanes);
            if inspection.done {
                break;
            }
            let bytes = lane.head.bytes();
            let before = bytes.len();
            if bytes.is_empty() || !wants {
                idle += 1;
                turn = turn.flip();
                if idle == 2 {
                    break;
                }
                continue;
            }
            let mut progress = inspection.inspector.read(turn, bytes, &mut case.facts);
            if midstream && is_nothing(progress.outcome, &case.facts) {
                progress = Progress::more(segment_start(lane, first).unwrap_or(before));
                inspection.inspector = self.fresh_inspector(inspection.unasked);
                self.forget_message(case);
            }
            let consumed = bytes.get(..progress.consumed).unwrap_or_default();
            if let Some(verdict) = self.judge_answers(id, case, inspection.unasked, turn, consumed)
            {
                return Reading::Ends(verdict);
            }
            self.hear_stream(id, case, turn, consumed);
            lane.head.consume(progress.consumed);
            inspection.read_bytes = inspection.read_bytes.saturating_add(progress.consumed);
            if let Some(verdict) = self.heed(id, case, inspection, turn, progress.outcome) {
                return Reading::Ends(verdict);
            }
            let moved = progress.consumed > 0 && progress.consumed <= before;
            if progress.outcome == Outcome::More && !moved {
                idle += 1;
                turn = turn.flip();
                if idle == 2 {
                    break;
                }
            } else {
                idle = 0;
            }
        }
        self.bound_reading(id, case, inspection)
    }

    /// For bytes that begin a protocol anew.
    fn fresh_inspector(&self, unasked: bool) -> Inspector {
        Inspector::stream().with_answers(self.policy.reads_answers()).for_record(unasked)
    }

    /// Takes one outcome of the inspector to heart. A verdict that ends the flow is returned.
    fn heed(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
        turn: Direction,
        outcome: Outcome,
    ) -> Option<FlowVerdict> {
        let asked = !inspection.unasked;
        let verdict = match outcome {
            Outcome::More => None,
            Outcome::Opening => {
                self.let_opening_go(id, case, inspection, turn);
                None
            }
            Outcome::Message => {
                case.note_names();
                self.decide_message(id, case, inspection)
            }
            Outcome::Fact => self.decide_message(id, case, inspection),
            Outcome::Switch => {
                inspection.inspector = self.fresh_inspector(inspection.unasked);
                self.forget_message(case);
                None
            }
            Outcome::Done => {
                inspection.done = true;
                case.close_facts();
                case.note_names();
                self.finish_reading(id, case, inspection)
            }
            Outcome::Fault(reason) | Outcome::Refused(reason) => {
                (inspection.done, case.unread) = (true, true);
                case.close_facts();
                case.note_names();
                self.note_denial(id, reason, Stage::Final);
                asked.then(|| deny(reason))
            }
        };
        if verdict.is_none() {
            self.clear_lanes(id, inspection, turn);
        }
        verdict
    }

    /// Decides a message by its facts. `None`: allowed, or still open.
    fn decide_message(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
    ) -> Option<FlowVerdict> {
        match self.identify(id, case, inspection.held_bytes) {
            Err(verdict) => return Some(verdict),
            Ok(Identity::Found) => {
                if let Some(ended) = self.decide_identified(id, case, inspection) {
                    return ended;
                }
            }
            Ok(Identity::NotAsked) => {}
        }
        if self.is_out_of_question(id, inspection.unasked) {
            return None;
        }
        let mut question = self.question(id)?;
        question.bound = self.is_bound(&question, case);
        match self.ask(&question, &case.facts) {
            Decision::Final(verdict) => {
                case.bound = question.bound;
                let flow = self.table.get_mut(id)?;
                if flow.stage() == Stage::Pending || flow.verdict() != verdict {
                    self.tally.hit(question.policy, verdict);
                }
                flow.take_verdict(verdict, Stage::Following);
                inspection.handshake = false;
                inspection.inspector.allow();
                if !flow.passes() {
                    return Some(verdict);
                }
                case.note_bound();
                None
            }
            Decision::Pending { needs } => {
                inspection.handshake = needs.server && needs.may_allow && !needs.client;
                if let Some(flow) = self.table.get_mut(id) {
                    flow.set_stage(Stage::Pending);
                }
                None
            }
        }
    }

    /// Decides a flow whose segment has just become known by what its headers tell, as it would have
    /// been decided at its first packet. `None`: its messages have to be read.
    #[expect(clippy::option_option, reason = "decided or not, and if decided, ended or not")]
    pub(super) fn decide_identified(
        &mut self,
        id: FlowId,
        case: &Case,
        inspection: &mut Inspection,
    ) -> Option<Option<FlowVerdict>> {
        let question = self.question(id)?;
        let facts = Facts { proxy: case.facts.proxy.clone(), ..Facts::default() };
        let decision = self.ask(&question, &facts);
        if let Decision::Final(verdict) = decision {
            self.tally.hit(question.policy, verdict);
        }
        let flow = self.table.get_mut(id)?;
        let Decision::Final(verdict) = decision else {
            inspection.unasked |= flow.is(Mark::Monitored);
            return None;
        };
        flow.take_verdict(verdict, Stage::Final);
        if !flow.passes() {
            return Some(Some(verdict));
        }
        inspection.unasked = true;
        for lane in &mut inspection.lanes {
            lane.cleared = Cleared::All;
        }
        Some(None)
    }

    /// Lets bytes go that open a protocol and are no message, if the flow may still be allowed.
    fn let_opening_go(
        &self,
        id: FlowId,
        case: &Case,
        inspection: &mut Inspection,
        turn: Direction,
    ) {
        let Some(question) = self.question(id) else { return };
        let may_allow = match self.ask(&question, &case.facts) {
            Decision::Pending { needs } => needs.may_allow,
            Decision::Final(verdict) => verdict.action == Action::Allow,
        };
        let lane = turn.of_mut(&mut inspection.lanes);
        if may_allow && lane.cleared != Cleared::All {
            lane.cleared = Cleared::To(lane.head.read_seq());
        }
    }

    /// Nothing more will be read: what is open now is decided with what is known.
    fn finish_reading(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
    ) -> Option<FlowVerdict> {
        let stage = self.table.get(id)?.stage();
        if stage == Stage::Pending {
            let verdict = self.decide_message(id, case, inspection);
            if verdict.is_some() {
                return verdict;
            }
            let flow = self.table.get(id)?;
            if flow.stage() == Stage::Pending && !inspection.unasked {
                return Some(self.deny_undecided(self.policy_of(flow)));
            }
        }
        self.table.get_mut(id)?.set_stage(Stage::Final);
        None
    }

    /// Moves the lanes' clearance to what the present decision covers.
    fn clear_lanes(&self, id: FlowId, inspection: &mut Inspection, turn: Direction) {
        let Some(flow) = self.table.get(id) else { return };
        let wants = inspection.inspector.wants();
        if inspection.unasked || inspection.done && flow.passes() {
            for lane in &mut inspection.lanes {
                lane.cleared = Cleared::All;
            }
            return;
        }
        if flow.stage() == Stage::Pending && !inspection.handshake {
            return;
        }
        let lane = turn.of_mut(&mut inspection.lanes);
        if lane.cleared != Cleared::All {
            lane.cleared = Cleared::To(lane.head.read_seq());
        }
        if flow.stage() == Stage::Following
            && !wants.reply
            && let [_, reply] = &mut inspection.lanes
        {
            reply.cleared = Cleared::All;
        }
    }

    /// Ends what was read long enough without a decision.
    fn bound_reading(
        &mut self,
        id: FlowId,
        case: &mut Case,
        inspection: &mut Inspection,
    ) -> Reading {
        let unread: usize = inspection.lanes.iter().map(|lane| lane.head.bytes().len()).sum();
        let account = self.table.get(id).map(|flow| flow.account).unwrap_or_default();
        let (before, now) = inspection.charge(account);
        self.cases.kept.count(before, now);
        if inspection.unasked {
            let read = inspection.read_bytes.saturating_add(unread);
            let enough = read > self.limits.unasked_bytes && !self.hears(case);
            if enough || self.cases.kept.is_over(account, self.limits.kept_bytes) {
                (inspection.done, case.unread) = (true, true);
                case.close_facts();
            }
            return Reading::Goes;
        }
        let Some(flow) = self.table.get(id) else { return Reading::Goes };
        if !inspection.done && unread >= self.held_bytes_per_flow() {
            return Reading::Ends(self.deny_undecided(self.policy_of(flow)));
        }
        Reading::Goes
    }

    /// Forgets what belonged to the message before: the bytes that follow are a new protocol.
    fn forget_message(&self, case: &mut Case) {
        let proxy = case.facts.proxy.clone();
        case.facts = Facts { proxy, ..Facts::default() };
    }

    /// Lets the segment go if all of it is cleared, holds it otherwise.
    fn pass_or_hold(
        &mut self,
        id: FlowId,
        inspection: &mut Inspection,
        parcel: &Parcel<'_>,
        segment: &TcpSegment,
        direction: Direction,
        out: &mut Output,
    ) -> Verdict {
        self.release_decided(id, inspection, parcel, out);
        let end = end_of(segment, parcel.payload.len());
        let lane = direction.of(&inspection.lanes);
        if lane.lies_in_front(end, parcel.payload.len()) && !inspection.unasked {
            return Verdict::Drop(Reason::TcpWindow);
        }
        let fin_waits =
            segment.flags.fin() && inspection.held.iter().any(|held| held.direction == direction);
        let clear = lane.cleared.covers(end) || (parcel.payload.is_empty() && !fin_waits);
        if clear && !fin_waits {
            return Verdict::Forward;
        }
        let duplicate = inspection.held.iter().any(|held| {
            held.direction == direction && held.start == segment.seq && held.end == end
        });
        if duplicate {
            return Verdict::Drop(Reason::HeldDuplicate);
        }
        self.hold(id, inspection, parcel, direction, (segment.seq, end))
    }

    /// The other side has these bytes: nothing below `ack` need be compared any more.
    pub(super) fn acknowledge(&mut self, id: FlowId, direction: Direction, ack: u32) {
        let Some(flow) = self.table.get(id) else { return };
        let (at, account) = (flow.case, flow.account);
        let Some(case) = self.cases.get_mut(at) else { return };
        let Some(inspection) = case.inspection.as_mut() else { return };
        direction.flip().of_mut(&mut inspection.lanes).head.acked(ack);
        let kept = inspection.kept_bytes();
        let (before, now) = inspection.charge(account);
        let over = inspection.done && inspection.held.is_empty() && kept == 0;
        let rooms = (kept == 0).then(|| inspection.lanes.each_mut().map(|l| l.head.take_room()));
        self.cases.kept.count(before, now);
        rooms.into_iter().flatten().for_each(|room| self.cases.keep_room(room));
        if over && let Some(case) = self.cases.get_mut(at) {
            if let Some(inspection) = case.inspection.take() {
                self.cases.leave(inspection);
            }
            if let Some(case) = self.cases.take(at) {
                self.shelve(id, at, case);
            }
        }
    }

    fn keeps_reading(&self, id: FlowId, inspection: &Inspection) -> bool {
        let Some(flow) = self.table.get(id) else { return false };
        if flow.stage() == Stage::Final && !flow.passes() {
            return false;
        }
        !inspection.done
            || !inspection.held.is_empty()
            || (!inspection.unasked
                && inspection.lanes.iter().any(|lane| lane.head.held_bytes() > 0))
    }
}

impl Lane {
    /// Whether a payload that ends at `end` lies in front of the stream: at the SYN's own place, as
    /// the byte of a keep-alive (RFC 9293 section 3.8.4), or before. No receiver reads it.
    fn lies_in_front(&self, end: u32, payload: usize) -> bool {
        payload > 0 && (self.first.wrapping_sub(end) as i32) >= 0
    }
}

impl Cleared {
    /// Whether everything before `end` may travel.
    pub(super) const fn covers(self, end: u32) -> bool {
        match self {
            Self::All => true,
            Self::To(limit) => (limit.wrapping_sub(end) as i32) >= 0,
        }
    }
}

impl Inspection {
    /// Whether this is a stream whose replies nobody will ever read, and nothing that was read waits
    /// for anything: neither for a decision nor to be acknowledged.
    pub(super) fn reads_half(&self) -> bool {
        let [original, reply] = &self.lanes;
        !self.done
            && self.held.is_empty()
            && reply.cleared == Cleared::All
            && original.head.held_bytes() == 0
            && reply.head.held_bytes() == 0
            && self.inspector.is_through_with_replies()
    }

    /// What a TLS server said was not asked for, so that nobody minds if it says something else when it
    /// repeats itself.
    fn forget_replies(&mut self) {
        let [_, reply] = &mut self.lanes;
        reply.head.begin(reply.head.in_order_end());
    }

    /// What was read for the record alone is asked for from now on: what is not read waits.
    pub(super) fn ask(&mut self) {
        self.unasked = false;
        self.inspector.set_for_record(false);
        let reads = self.inspector.wants().reply;
        let [original, reply] = &mut self.lanes;
        original.cleared = Cleared::To(original.head.read_seq());
        if reads {
            reply.cleared = Cleared::To(reply.head.read_seq());
        }
    }

    /// An inspection of a stream whose directions start at these sequence numbers.
    pub(super) fn of_stream(
        inspector: Inspector,
        first_bytes: [u32; 2],
        bound: usize,
        unasked: bool,
        deadline: crate::model::Timestamp,
    ) -> Self {
        let lane = |seq: u32| Lane {
            first: seq,
            head: StreamHead::new(seq, bound),
            cleared: if unasked { Cleared::All } else { Cleared::To(seq) },
        };
        Self {
            inspector,
            lanes: first_bytes.map(lane),
            held: Vec::new(),
            held_bytes: 0,
            deadline,
            unasked,
            read_bytes: 0,
            charged: Charge::default(),
            done: false,
            handshake: false,
        }
    }
}

/// Whether bytes were no protocol that is known.
fn is_nothing(outcome: Outcome, facts: &Facts) -> bool {
    matches!(outcome, Outcome::Message | Outcome::Done | Outcome::Fault(_))
        && matches!(facts.app, Fact::Known(App::Other) | Fact::Unknown)
}

/// Where in the unread bytes the segment that starts at `first` begins, if behind their start.
fn segment_start(lane: &Lane, first: u32) -> Option<usize> {
    let at = usize::try_from(first.wrapping_sub(lane.head.read_seq())).ok()?;
    (1..lane.head.bytes().len()).contains(&at).then_some(at)
}

/// The sequence number behind a segment's payload. A FIN may travel once all before it may.
fn end_of(segment: &TcpSegment, payload: usize) -> u32 {
    let payload = u32::try_from(payload).unwrap_or(u32::MAX);
    segment.seq.wrapping_add(u32::from(segment.flags.syn())).wrapping_add(payload)
}

/// A denial for a reason of ours.
pub(super) const fn deny(reason: Reason) -> FlowVerdict {
    FlowVerdict { action: Action::Deny, rule: None, reason }
}
