//! Flows met in the middle: after a restart, a rebalance, a drain elsewhere.

use super::decide::Question;
use super::entry::Mark;
use super::open::Start;
use super::record::Ended;
use super::state::{Inspection, Stage};
use super::{Engine, Output, Parcel};
use crate::flow::{FlowId, TcpTracker};
use crate::inspect::{detect, is_beginning};
use crate::model::{Action, Direction, Facts, FiveTuple, FlowVerdict, Reason, SegmentId, Verdict};
use crate::policy::spec::Midstream;
use crate::policy::{Decision, Located};
use crate::wire::Body;

/// Who of the two sides of a packet seems to have opened its flow.
struct Sides {
    from: SegmentId,
    to: SegmentId,
    /// The packet travels in the original direction.
    forward: bool,
}

impl Engine {
    /// A packet from the middle of an unknown flow, by the setting of its segments.
    pub(super) fn meet_midstream(
        &mut self,
        parcel: &Parcel<'_>,
        (from, to): (SegmentId, SegmentId),
        out: &mut Output,
    ) -> Verdict {
        let guess = self.guess(parcel, from, to);
        let (sides, verdict) = match self.midstream_of(from, to) {
            Midstream::Deny => (guess, fixed(Action::Deny, Reason::Midstream)),
            Midstream::Reject => (guess, fixed(Action::Reject, Reason::Midstream)),
            Midstream::Allow => (guess, fixed(Action::Allow, Reason::Midstream)),
            Midstream::Adopt => self.adopt(parcel, from, to, guess),
        };
        self.open_midstream(sides, verdict, parcel, out)
    }

    /// The SYN+ACK of a candidate: its flow, which the packet travels against, opens with the tracker as
    /// it is.
    pub(super) fn open_replacement(
        &mut self,
        tracker: TcpTracker,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) -> Verdict {
        let tuple = parcel.packet.tuple;
        let Located::Pair { from, to, from_proxy: behind_proxy } =
            self.policy.locate(parcel.scope, tuple.dst, tuple.src)
        else {
            return Verdict::Drop(Reason::UnknownSegment);
        };
        self.first_bytes =
            [tracker.next_seq(Direction::Original), tracker.next_seq(Direction::Reply)];
        let pair = self.tally.pair(from, to);
        let reversed = !parcel.reversed;
        let start = Start { from, to, pair, tcp: tracker, reversed, behind_proxy, met: None };
        self.admit(&start, parcel, out)
    }

    /// The setting of the first of the two segments that has one, else the ruleset's.
    pub(super) fn midstream_of(&self, from: SegmentId, to: SegmentId) -> Midstream {
        let of = |id| self.policy.segment(id).and_then(|segment| segment.midstream);
        of(from).or_else(|| of(to)).unwrap_or(self.policy.defaults().midstream)
    }

    /// Whether the middle of a flow between two segments may pass.
    pub(super) fn tolerates_middle(&self, from: SegmentId, to: SegmentId) -> bool {
        matches!(self.midstream_of(from, to), Midstream::Allow | Midstream::Adopt)
    }

    /// Judges both orientations; exactly one must be allowed.
    fn adopt(
        &self,
        parcel: &Parcel<'_>,
        from: SegmentId,
        to: SegmentId,
        guess: Sides,
    ) -> (Sides, FlowVerdict) {
        let tuple = parcel.packet.tuple;
        let forward = self.orientation(parcel, tuple, from, to);
        let backward = self.orientation(parcel, tuple.reverse(), to, from);
        let sides = |forward: bool| {
            let (from, to) = if forward { (from, to) } else { (to, from) };
            Sides { from, to, forward }
        };
        match (forward.action, backward.action) {
            (Action::Allow, Action::Allow) => {
                (guess, fixed(Action::Deny, Reason::MidstreamAmbiguous))
            }
            (Action::Allow, _) => (sides(true), forward),
            (_, Action::Allow) => (sides(false), backward),
            _ => (sides(guess.forward), if guess.forward { forward } else { backward }),
        }
    }

    /// Tells a flow's inspector if nothing came of the side that a segment goes to, though it is there.
    pub(super) fn miss_other_side(
        &self,
        id: FlowId,
        inspection: &mut Inspection,
        direction: Direction,
    ) {
        let other = direction.flip();
        if self.table.get(id).is_some_and(|flow| flow.tcp.is_unseen(other)) {
            inspection.inspector.miss(other);
        }
    }

    /// Whether a flow of datagrams that passes was met in the middle. Nothing of it is read but what
    /// begins another, for which what has a short header is not looked at.
    pub(super) fn is_in_middle(&mut self, id: FlowId) -> bool {
        let Some(flow) = self.table.get_mut(id).filter(|flow| flow.is(Mark::Midstream)) else {
            return false;
        };
        flow.set(Mark::Fresh, false);
        flow.set_stage(Stage::Following);
        true
    }

    /// What begins with a name on a flow of datagrams that was met in the middle is a flow of its own,
    /// whichever side sends it, and decided by that name. None: it is no such flow, or the datagram
    /// begins nothing.
    pub(super) fn begin_in_middle(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) -> Option<Verdict> {
        let middle = self.table.get(id)?.is(Mark::Midstream) && parcel.packet.body == Body::Udp;
        if !middle || !is_beginning(parcel.payload) || !self.intact(parcel) {
            return None;
        }
        if self.draining {
            return Some(Verdict::Drop(Reason::Draining));
        }
        self.forget(id, Ended::Replaced, out);
        Some(self.open(parcel, out))
    }

    fn orientation(
        &self,
        parcel: &Parcel<'_>,
        tuple: FiveTuple,
        from: SegmentId,
        to: SegmentId,
    ) -> FlowVerdict {
        let policy = self.policy.block(from, to);
        let question = Question {
            scope: parcel.scope,
            policy,
            tuple,
            icmp: super::icmp_of(parcel.packet, tuple == parcel.packet.tuple),
            missed: true,
            bound: false,
            shortlist: None,
        };
        match self.ask(&question, &Facts::missed()) {
            Decision::Final(verdict) => verdict,
            Decision::Pending { .. } => self.deny_undecided(policy),
        }
    }

    /// Who opened the flow, as far as one packet tells: a SYN+ACK comes from the server, a
    /// ClientHello or a request from the client, and what comes from the lower port most likely from
    /// the server. Of datagrams only the middle of QUIC connections comes here.
    fn guess(&self, parcel: &Parcel<'_>, from: SegmentId, to: SegmentId) -> Sides {
        let tuple = parcel.packet.tuple;
        let answer = match parcel.packet.body {
            Body::Tcp(segment) if segment.flags.syn() => true,
            Body::Tcp(_) => tuple.src_port < tuple.dst_port && !detect::asks(parcel.payload),
            Body::Udp => tuple.src_port < tuple.dst_port,
            Body::Echo { reply } => reply,
            _ => false,
        };
        let (from, to) = if answer { (to, from) } else { (from, to) };
        Sides { from, to, forward: !answer }
    }

    fn open_midstream(
        &mut self,
        sides: Sides,
        verdict: FlowVerdict,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) -> Verdict {
        let Sides { from, to, forward } = sides;
        let mut tcp = TcpTracker::default();
        if let Body::Tcp(segment) = parcel.packet.body {
            let direction = if forward { Direction::Original } else { Direction::Reply };
            let input = super::segment_of(&segment, parcel.packet);
            tcp = TcpTracker::adopt(direction, &input);
            let first = [segment.seq, segment.ack];
            self.first_bytes = if forward { first } else { [segment.ack, segment.seq] };
        }
        self.tally.hit(self.policy.block(from, to), verdict);
        let pair = self.tally.pair(from, to);
        let reversed = parcel.reversed == forward;
        let met = Some(verdict);
        let start = Start { from, to, pair, tcp, reversed, behind_proxy: false, met };
        self.admit(&start, parcel, out)
    }
}

const fn fixed(action: Action, reason: Reason) -> FlowVerdict {
    FlowVerdict { action, rule: None, reason }
}
