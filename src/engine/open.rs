//! The first packet of a flow: who it belongs to, whether there is room, what the rules say of what
//! its headers tell.

use super::case::nameless;
use super::decide::Question;
use super::entry::{EndpointRef, Flow, Mark};
use super::gate::Account;
use super::record::{Ended, Event, PacketDrop};
use super::state::Stage;
use super::tally::PairRef;
use super::{Engine, Output, Parcel};
use crate::flow::{FlowHash, FlowId, FlowKey, TcpState, TcpTracker};
use crate::inspect::is_quic_middle;
use crate::model::{
    Action, App, Direction, EndpointId, Fact, Facts, FiveTuple, FlowVerdict, PolicyId, Protocol,
    Reason, SegmentId, Span, Timestamp, Verdict,
};
use crate::policy::spec::Mode;
use crate::policy::{Decision, Located, Opening, Shortlist};
use crate::wire::Body;

/// How long a refused flow is remembered, so that its retries are one record and not many.
pub(super) const REFUSED: Span = Span::from_secs(30);

impl Engine {
    /// Opens a flow with its first packet, unless limits or the middle of a stream forbid.
    pub(super) fn open(&mut self, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        let packet = parcel.packet;
        if !self.intact(parcel) {
            return Verdict::Drop(Reason::TransportChecksum);
        }
        let located = match parcel.approach {
            Some(approach) => approach.located,
            None => self.policy.locate(parcel.scope, packet.tuple.src, packet.tuple.dst),
        };
        let Located::Pair { from, to, from_proxy } = located else {
            return self.stranger(parcel, out);
        };
        let pair = self.tally.pair(from, to);
        self.tally.at(pair);
        if self.draining {
            return Verdict::Drop(Reason::Draining);
        }
        let tcp = match self.first_of(parcel, (from, to)) {
            First::Opens(tcp) => tcp,
            First::Middle => return self.meet_midstream(parcel, (from, to), out),
            First::Refused(reason) => return Verdict::Drop(reason),
        };
        if let Body::Tcp(syn) = packet.body {
            self.first_bytes = [syn.seq.wrapping_add(1), 0];
        }
        // What carries no PROXY header (ICMP) is the proxy's own.
        let carries = matches!(packet.tuple.protocol, Protocol::TCP | Protocol::UDP);
        let reversed = parcel.reversed;
        let behind_proxy = from_proxy && carries;
        let start = Start { from, to, pair, tcp, reversed, behind_proxy, met: None };
        self.admit(&start, parcel, out)
    }

    /// A packet that belongs to no segment: nothing is kept of it.
    pub(super) fn stranger(&mut self, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        let verdict = self.policy.unknown_segment();
        self.refuse(None, parcel, verdict, out);
        let packet = parcel.packet;
        let endpoint = packet.outer.map(|outer| outer.endpoint);
        match self.gate.tell_stranger(endpoint, self.now) {
            Some(held_back) => out.events.push(Event::PacketDropped(PacketDrop {
                at: self.now,
                endpoint,
                tuple: Some(packet.tuple),
                bytes: u32::try_from(parcel.bytes.len()).unwrap_or(u32::MAX),
                reason: verdict.reason,
                held_back,
            })),
            None => self.counters.strangers_held_back += 1,
        }
        Verdict::Drop(verdict.reason)
    }

    /// Finds room for a new flow, decides it by its headers and judges its first packet.
    pub(super) fn admit(
        &mut self,
        start: &Start,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) -> Verdict {
        let endpoint = parcel.packet.outer.map(|outer| outer.endpoint);
        let charge = match self.charge(start.pair, start.from, endpoint) {
            Ok(charge) => charge,
            Err(reason) => return Verdict::Drop(reason),
        };
        let decided = self.decide_start(start, parcel);
        self.place(start, charge, &decided, parcel, out)
    }

    /// Charges a new flow to who opens it.
    #[inline]
    pub(super) fn charge(
        &mut self,
        pair: PairRef,
        from: SegmentId,
        endpoint: Option<EndpointId>,
    ) -> Result<Charge, Reason> {
        self.tally.at(pair);
        let account = self.gate.account(from);
        self.gate.open_flow(account, self.now)?;
        match self.endpoints.enter(endpoint) {
            Some(endpoint) => Ok(Charge { account, endpoint }),
            None => {
                self.gate.close_flow(account);
                Err(Reason::LimitFlows)
            }
        }
    }

    /// Gives a flow its place and judges its first packet.
    pub(super) fn place(
        &mut self,
        start: &Start,
        charge: Charge,
        decided: &Decided,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) -> Verdict {
        let icmp = super::icmp_of(parcel.packet, start.reversed == parcel.reversed);
        let Some(id) = self.settle_in((parcel.key, parcel.hash), start, charge, decided) else {
            return Verdict::Drop(Reason::LimitFlows);
        };
        if icmp.is_some()
            && let Some(flow) = self.table.get_mut(id)
        {
            flow.set_icmp(icmp);
        }
        self.first_packet(id, parcel, decided.message, out)
    }

    /// Gives a flow its place in the table; none where that is full.
    #[inline]
    pub(super) fn settle_in(
        &mut self,
        (key, hash): (FlowKey, FlowHash),
        start: &Start,
        charge: Charge,
        &Decided { verdict, monitored, .. }: &Decided,
    ) -> Option<FlowId> {
        let (now, epoch) = (self.now, self.epoch.0);
        let refused = !monitored && verdict.is_some_and(|verdict| verdict.action != Action::Allow);
        let idle = if refused { REFUSED } else { self.idle(&start.tcp, key.protocol()) };
        let opened = self.table.insert_with(key, hash, now, idle, |flow| {
            flow.begin(now, start, monitored);
            flow.set_epoch(epoch);
            (flow.account, flow.endpoint) = (charge.account, charge.endpoint);
            if let Some(verdict) = verdict {
                flow.take_verdict(verdict, Stage::Final);
            }
        });
        let Ok(id) = opened else {
            self.gate.close_flow(charge.account);
            self.endpoints.leave(charge.endpoint);
            return None;
        };
        self.counters.flows += 1;
        self.tally.open(start.pair);
        Some(id)
    }

    /// What is decided of a flow before anything is read of it; with it the question that opens it, if
    /// that was read before.
    fn decide_start(&mut self, start: &Start, parcel: &Parcel<'_>) -> Decided {
        let policy =
            if start.behind_proxy { None } else { self.policy.block(start.from, start.to) };
        let monitored = policy.is_some_and(|policy| self.policy.mode(policy) == Mode::Monitor);
        if start.behind_proxy || start.met.is_some() {
            return Decided { verdict: start.met, message: None, monitored };
        }
        let tuple = &parcel.packet.tuple;
        let along = start.reversed == parcel.reversed;
        let question = Question {
            scope: parcel.scope,
            policy,
            tuple: if along { *tuple } else { tuple.reverse() },
            icmp: super::icmp_of(parcel.packet, along),
            missed: false,
            bound: false,
            shortlist: parcel.shortlist(policy).filter(|_| along),
        };
        let named = matches!(tuple.protocol, Protocol::TCP | Protocol::UDP);
        let opening = if named {
            let asks = along && !monitored && !self.policy.reads_answers();
            self.ask_opening(&question, parcel.question.filter(|_| asks))
        } else {
            Opening { flow: self.ask(&question, &nameless()), message: None }
        };
        let verdict = opening.flow.verdict().copied();
        if let Some(verdict) = verdict {
            self.tally.hit(policy, verdict);
        }
        let message = opening.message.filter(|_| verdict.is_none());
        let message = message.and_then(|message| message.verdict().copied());
        Decided { verdict, message, monitored }
    }

    /// Judges the first packet of a flow that has just got its place.
    pub(super) fn first_packet(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        message: Option<FlowVerdict>,
        out: &mut Output,
    ) -> Verdict {
        if let Some(verdict) = message
            && let Some((question, approach)) = parcel.question.zip(parcel.approach)
            && self.follow_question(id, question, approach.policy, verdict).is_some()
        {
            self.count_packet(id, Direction::Original, parcel.packet.ip_len, Verdict::Forward);
            self.start_event(id, out);
            return Verdict::Forward;
        }
        let Some(flow) = self.table.get(id) else { return Verdict::Drop(Reason::LimitFlows) };
        let direction = flow.direction(parcel.reversed);
        if flow.is_refused() {
            let (account, verdict) = (flow.account, flow.verdict());
            self.refuse(Some(account), parcel, verdict, out);
            let dropped = Verdict::Drop(verdict.reason);
            self.count_packet(id, direction, parcel.packet.ip_len, dropped);
            self.start_event(id, out);
            return Verdict::Drop(verdict.reason);
        }
        let unread = parcel.payload.is_empty();
        let trails = self.trails(id, parcel);
        let verdict = match parcel.packet.body {
            Body::Udp if unread => Self::without_payload(flow, parcel),
            _ if unread => Verdict::Forward,
            Body::Tcp(segment) => self.stream(id, parcel, &segment, direction, out),
            Body::Udp => self.datagram(id, parcel, direction, out),
            _ => Verdict::Forward,
        };
        let verdict = self.without_trailer(id, trails, verdict);
        self.count_packet(id, direction, parcel.packet.ip_len, verdict);
        if !unread {
            self.rest(id, parcel.packet.tuple.protocol);
            self.mark_read(id);
        }
        self.keep_opening(id);
        self.start_event(id, out);
        if verdict == Verdict::Hold && parcel.packet.tcp().is_some_and(|tcp| tcp.flags.syn()) {
            let verdict = self.refuse_syn_data(id, parcel);
            self.forget(id, Ended::Denied, out);
            return verdict;
        }
        verdict
    }

    /// Keeps where the streams of a flow begin that was not met at its SYN, until they are read.
    fn keep_opening(&mut self, id: FlowId) {
        let Some(flow) = self.table.get(id) else { return };
        let met_late = !matches!(flow.tcp.state(), TcpState::SynSent | TcpState::Closed);
        if flow.is(Mark::Fresh) && met_late {
            self.openings.insert(id.index(), self.first_bytes);
        }
    }

    /// Whether a packet from the other side of a refused flow opens a flow of its own. Without a
    /// handshake the first packet that is seen need not have been the first: a late answer must not
    /// keep its client out.
    pub(super) fn opens_refused(&self, id: FlowId, parcel: &Parcel<'_>) -> bool {
        let handshake = !matches!(parcel.packet.body, Body::Udp | Body::Other);
        if handshake || !self.table.get(id).is_some_and(Flow::is_refused) || !self.intact(parcel) {
            return false;
        }
        let tuple = parcel.packet.tuple;
        let Located::Pair { from, to, from_proxy } =
            self.policy.locate(parcel.scope, tuple.src, tuple.dst)
        else {
            return false;
        };
        from_proxy || self.may_open(parcel, (from, to))
    }

    /// Whether a flow that this packet opened would not be refused by its headers.
    fn may_open(&self, parcel: &Parcel<'_>, (from, to): (SegmentId, SegmentId)) -> bool {
        let question = self.question_of(parcel, parcel.packet.tuple, (from, to));
        let decision = match parcel.packet.body {
            Body::Other => self.ask(&question, &nameless()),
            _ => self.ask(&question, &self.nothing),
        };
        match decision {
            Decision::Final(verdict) => {
                let monitors = |id| self.policy.mode(id) == Mode::Monitor;
                verdict.action == Action::Allow || question.policy.is_some_and(monitors)
            }
            Decision::Pending { .. } => true,
        }
    }

    /// What is to be asked about a flow that this packet opens, between these two.
    fn question_of(
        &self,
        parcel: &Parcel<'_>,
        tuple: FiveTuple,
        (from, to): (SegmentId, SegmentId),
    ) -> Question {
        Question {
            scope: parcel.scope,
            policy: self.policy.block(from, to),
            tuple,
            icmp: None,
            missed: false,
            bound: false,
            shortlist: None,
        }
    }

    /// Whether a datagram seems to be from the middle of a QUIC connection, of which it is for a name to
    /// say whether it is allowed, whoever opened it.
    fn is_middle_of_quic(&self, parcel: &Parcel<'_>, (from, to): (SegmentId, SegmentId)) -> bool {
        if !is_quic_middle(parcel.payload) {
            return false;
        }
        let quic = Facts { app: Fact::Known(App::Quic), ..Facts::default() };
        let tuple = parcel.packet.tuple;
        let allowed = |verdict: FlowVerdict| verdict.action == Action::Allow;
        match self.ask(&self.question_of(parcel, tuple, (from, to)), &quic) {
            Decision::Pending { .. } => true,
            Decision::Final(verdict) if allowed(verdict) => false,
            Decision::Final(_) => {
                let back = self.question_of(parcel, tuple.reverse(), (to, from));
                matches!(self.ask(&back, &quic), Decision::Pending { .. })
            }
        }
    }

    /// What a flow's first packet is. Where the middle of flows may pass, that of a QUIC connection is
    /// told from its beginning, and what ends a connection passes too.
    fn first_of(&self, parcel: &Parcel<'_>, (from, to): (SegmentId, SegmentId)) -> First {
        match parcel.packet.body {
            Body::Tcp(segment) if segment.flags.syn() && !segment.flags.ack() => {
                First::Opens(TcpTracker::open(&super::segment_of(&segment, parcel.packet)))
            }
            Body::Tcp(segment) if segment.flags.rst() && !self.tolerates_middle(from, to) => {
                First::Refused(Reason::Midstream)
            }
            Body::Tcp(_) | Body::Echo { reply: true } => First::Middle,
            Body::Udp
                if self.tolerates_middle(from, to)
                    && self.is_middle_of_quic(parcel, (from, to)) =>
            {
                First::Middle
            }
            _ => First::Opens(TcpTracker::default()),
        }
    }
}

/// How a flow begins, as its first packet tells.
pub(super) struct Start {
    pub(super) from: SegmentId,
    pub(super) to: SegmentId,
    pub(super) pair: PairRef,
    pub(super) tcp: TcpTracker,
    /// The canonical key runs against the original direction.
    pub(super) reversed: bool,
    /// Who it is from waits for the identity in a PROXY protocol header.
    pub(super) behind_proxy: bool,
    /// Met in the middle: what was decided of it.
    pub(super) met: Option<FlowVerdict>,
}

/// What a flow is charged to while it lasts.
#[derive(Clone, Copy)]
pub(super) struct Charge {
    account: Account,
    endpoint: EndpointRef,
}

/// What is decided of a flow by its first packet.
pub(super) struct Decided {
    /// By its headers; none while it is pending.
    pub(super) verdict: Option<FlowVerdict>,
    /// Of the question that opens a pending flow, if that was asked about too.
    pub(super) message: Option<FlowVerdict>,
    /// Its policy is not enforced.
    pub(super) monitored: bool,
}

/// What the first packet of an unknown flow is.
enum First {
    Opens(TcpTracker),
    Middle,
    Refused(Reason),
}

impl Parcel<'_> {
    /// Where rules of a policy for this packet are, if that was looked up before.
    pub(super) fn shortlist(&self, policy: Option<PolicyId>) -> Option<Shortlist> {
        self.approach.filter(|approach| approach.policy == policy)?.shortlist
    }
}

impl Flow {
    /// In the state of a place that holds no flow: begins now.
    #[inline]
    fn begin(&mut self, now: Timestamp, start: &Start, monitored: bool) {
        self.begin_at(now);
        self.tcp = start.tcp;
        (self.from, self.to, self.pair) = (start.from, start.to, start.pair);
        self.mark(Mark::Reversed, start.reversed);
        self.mark(Mark::BehindProxy, start.behind_proxy);
        self.mark(Mark::Midstream, start.met.is_some());
        // Undecided, it passes nothing but what monitoring lets pass.
        self.mark(Mark::Monitored, monitored);
        self.mark(Mark::Passes, monitored);
    }
}
