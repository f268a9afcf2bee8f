//! A packet of a known flow.

use super::entry::{Flow, Mark};
use super::record::Ended;
use super::state::{Attention, Stage};
use super::tally::PairRef;
use super::{Engine, Output, Parcel, Prepared, Soon};
use crate::flow::{
    Candidate, FlowId, FlowKey, Likely, Segment, TcpEvent, TcpState, TcpTracker, flag,
};
use crate::inspect::Speech;
use crate::model::{Direction, Protocol, Reason, Span, Timestamp, Verdict};
use crate::wire::{self, Body, Packet, TcpSegment};

impl Engine {
    /// The pair a packet of a settled flow that fits belongs to: then windows, counters and deadline
    /// have been seen to, and it is forwarded. Otherwise nothing has changed.
    #[inline(always)]
    pub(super) fn settled_usual(&mut self, soon: &Soon, frame: &[u8]) -> Option<PairRef> {
        let (now, epoch) = (self.now, self.epoch.0);
        let idle = self.idle_of(soon.key.protocol());
        let mut pair = PairRef::NONE;
        let settled = self.table.visit_likely(soon.likely, &soon.key, now, |flow| {
            pair = flow.pair;
            soon.settle(frame, flow, epoch, now, idle)
        });
        match settled {
            Some(settled) => settled.then_some(pair),
            // If it was opened since, it is found at length.
            None if soon.likely == Likely::ABSENT => None,
            None => self.settled_elsewhere(soon, frame),
        }
    }

    /// The same where the flow is not at the place where it was likely to be.
    #[inline(never)]
    fn settled_elsewhere(&mut self, soon: &Soon, frame: &[u8]) -> Option<PairRef> {
        let (now, epoch) = (self.now, self.epoch.0);
        let idle = self.idle_of(soon.key.protocol());
        let mut pair = PairRef::NONE;
        let settled = self.table.visit_live(&FlowKey::from(soon.key), soon.hash, now, |flow| {
            pair = flow.pair;
            soon.settle(frame, flow, epoch, now, idle)
        });
        settled.then_some(pair)
    }

    /// The idle time of an open flow of TCP or UDP.
    #[inline(always)]
    const fn idle_of(&self, protocol: Protocol) -> Span {
        match protocol {
            Protocol::UDP => self.timeouts.udp,
            _ => self.timeouts.tcp_idle,
        }
    }

    /// As [`Engine::settled_usual`], for a frame that was parsed in full.
    #[inline]
    pub(super) fn settled_packet(&mut self, prepared: &Prepared, frame: &[u8]) -> Option<PairRef> {
        if !prepared.plain {
            return None;
        }
        let (now, epoch, packet) = (self.now, self.epoch.0, &prepared.packet);
        let (tcp, idle) = match &packet.body {
            Body::Tcp(segment) => {
                (Some(super::segment_of(segment, packet)), self.timeouts.tcp_idle)
            }
            Body::Udp => (None, self.timeouts.udp),
            _ => return None,
        };
        let mut pair = PairRef::NONE;
        let settled = self.table.visit_live(&prepared.key, prepared.hash, now, |flow| {
            pair = flow.pair;
            let direction = flow.direction(prepared.reversed);
            let unread = |flow: &Flow| {
                let payload = || packet.payload(frame);
                flow.is_half_read(epoch) && is_unread(direction, tcp.as_ref(), payload)
            };
            if !flow.is_settled(epoch) && !unread(flow) {
                return None;
            }
            settle(flow, direction, packet.ip_len, now, idle, || tcp)
        });
        settled.then_some(pair)
    }

    /// When the last packet of a flow came.
    #[inline]
    pub(super) fn last_packet(&self, protocol: Protocol, due: Timestamp, flow: &Flow) -> Timestamp {
        let timeouts = self.timeouts_at(flow.epoch(self.epoch.0));
        let idle = match protocol {
            Protocol::UDP => timeouts.udp,
            _ => timeouts.tcp_idle,
        };
        flow.last(due, idle)
    }

    /// Writes down when the last packet of a flow came: its deadline or epoch is about to change.
    pub(super) fn note_last(&mut self, id: FlowId) {
        let Some((key, due, flow)) = self.table.entry(id) else { return };
        let last = self.last_packet(key.protocol(), due, flow);
        if let Some(flow) = self.table.get_mut(id) {
            flow.set_last(last);
        }
    }

    /// Judges a packet of a known flow.
    pub(super) fn known(&mut self, id: FlowId, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        let Some(flow) = self.table.get(id) else { return GONE };
        if flow.epoch(self.epoch.0) != self.epoch.0 {
            self.decide_again(id, parcel, out);
            self.start_event(id, out);
        }
        let Some(flow) = self.table.get(id) else { return GONE };
        self.tally.at(flow.pair);
        let direction = flow.direction(parcel.reversed);
        if self.pass_over(id, parcel) {
            return Verdict::Forward;
        }
        if let Some(verdict) = self.begin_in_middle(id, parcel, out) {
            return verdict;
        }
        if direction == Direction::Reply && self.opens_refused(id, parcel) {
            self.forget(id, Ended::Replaced, out);
            return self.open(parcel, out);
        }
        let Some(flow) = self.table.get(id) else { return GONE };
        if self.must_verify(flow, parcel.packet) && !self.intact(parcel) {
            return Verdict::Drop(Reason::TransportChecksum);
        }
        let trails = self.trails(id, parcel);
        let verdict = match parcel.packet.body {
            // It is dropped before it changes anything.
            Body::Tcp(_) if trails && parcel.payload.is_empty() => UNDECIDED,
            Body::Tcp(segment) => match self.track(id, parcel, &segment, direction, out) {
                Tracked::Goes => self.tcp_packet(id, parcel, &segment, direction, out),
                Tracked::Ends(verdict) => verdict,
                Tracked::Anew => return self.begin_anew(id, parcel, out),
                Tracked::Replaces(tracker) => {
                    self.forget(id, Ended::Replaced, out);
                    return self.open_replacement(tracker, parcel, out);
                }
            },
            Body::Udp => self.udp_packet(id, parcel, direction, out),
            _ => self.by_verdict(id, parcel, direction, out),
        };
        let verdict = self.without_trailer(id, trails, verdict);
        self.count_packet(id, direction, parcel.packet.ip_len, verdict);
        self.rest(id, parcel.packet.tuple.protocol);
        self.mark_read(id);
        self.start_event(id, out);
        verdict
    }

    /// Writes into a flow whether its payload is looked at from now on, and whether all of it, so that
    /// a packet that nobody reads need not go and see. Only a packet of the flow itself changes that.
    pub(super) fn mark_read(&mut self, id: FlowId) {
        let is_udp = || self.table.key(id).is_some_and(|key| key.protocol() == Protocol::UDP);
        let Some(flow) = self.table.get(id) else { return };
        let met_late = flow.is(Mark::Midstream);
        // Of datagrams in the middle of a flow what begins another is looked for.
        let middle = met_late && flow.stage() == Stage::Following && is_udp();
        let attention = if middle { Attention::Half } else { self.cases.attention(flow.case) };
        let Some(flow) = self.table.get_mut(id) else { return };
        flow.set(Mark::Read, attention != Attention::None);
        flow.set_half_read(attention == Attention::Half && (middle || !met_late));
    }

    /// A packet with payload that no inspection looks at.
    pub(super) fn uninspected(&self, id: FlowId) -> Verdict {
        self.table.get(id).map_or(GONE, unread)
    }

    /// A packet of a flow whose payload is of no interest.
    pub(super) fn by_verdict(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        direction: Direction,
        out: &mut Output,
    ) -> Verdict {
        let Some(flow) = self.table.get(id) else { return GONE };
        if flow.passes() {
            return Verdict::Forward;
        }
        let (account, verdict) = (flow.account, flow.verdict());
        self.refuse_again(account, parcel, direction, verdict, out);
        Verdict::Drop(Reason::FlowDenied)
    }

    fn tcp_packet(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        segment: &TcpSegment,
        direction: Direction,
        out: &mut Output,
    ) -> Verdict {
        let Some(flow) = self.table.get(id) else { return GONE };
        if flow.is_refused() {
            return self.by_verdict(id, parcel, direction, out);
        }
        if !(flow.is(Mark::Fresh) || self.cases.inspects(flow.case)) {
            return unread(flow);
        }
        if segment.flags.rst() {
            return self.peer_reset(id, parcel, segment, direction, out);
        }
        if segment.flags.ack() {
            self.acknowledge(id, direction, segment.ack);
        }
        if parcel.payload.is_empty() && !segment.flags.fin() {
            return Verdict::Forward;
        }
        if parcel.payload.is_empty() && flow_is_fresh(self.table.get(id)) {
            return Verdict::Forward;
        }
        let verdict = self.stream(id, parcel, segment, direction, out);
        if verdict == Verdict::Hold && segment.flags.syn() {
            return self.refuse_syn_data(id, parcel);
        }
        verdict
    }

    fn udp_packet(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        direction: Direction,
        out: &mut Output,
    ) -> Verdict {
        let Some(flow) = self.table.get(id) else { return GONE };
        if flow.is_refused() {
            return self.by_verdict(id, parcel, direction, out);
        }
        if (direction == Direction::Reply || parcel.payload.is_empty()) && self.is_shut(flow) {
            return Verdict::Drop(Reason::FlowDenied);
        }
        if parcel.payload.is_empty() {
            return Self::without_payload(flow, parcel);
        }
        if !(flow.is(Mark::Fresh) || self.cases.inspects(flow.case)) {
            return unread(flow);
        }
        self.datagram(id, parcel, direction, out)
    }

    /// Whether all that a flow asked so far was denied, message by message: nobody is to hear of it.
    #[inline]
    pub(super) fn is_shut(&self, flow: &Flow) -> bool {
        !flow.passes() && flow.stage() == Stage::Following && !self.cases.allowed(flow.case)
    }

    /// Whether something comes behind a packet of an undecided flow that no length of it counts. Zeros,
    /// with which short packets are padded, tell nothing.
    pub(super) fn trails(&self, id: FlowId, parcel: &Parcel<'_>) -> bool {
        let told = |packet: &Packet, frame| packet.trailing(frame).iter().any(|byte| *byte != 0);
        self.table.get(id).is_some_and(Flow::waits)
            && match parcel.parts {
                [] => told(parcel.packet, parcel.bytes),
                parts => parts.iter().any(|part| told(&part.packet, &part.bytes)),
            }
    }

    /// Nothing that trails travels before its flow is decided.
    pub(super) fn without_trailer(&self, id: FlowId, trails: bool, verdict: Verdict) -> Verdict {
        let waits = || self.table.get(id).is_some_and(Flow::waits);
        if trails && verdict == Verdict::Forward && waits() { UNDECIDED } else { verdict }
    }

    /// A datagram that carries nothing. What stands behind it is read by nobody here, so that it does
    /// not travel before its flow is decided.
    pub(super) fn without_payload(flow: &Flow, parcel: &Parcel<'_>) -> Verdict {
        if flow.waits() && parcel.parts.is_empty() && parcel.packet.surplus() > 0 {
            return UNDECIDED;
        }
        Verdict::Forward
    }

    /// Runs the TCP tracker over a segment.
    fn track(
        &mut self,
        id: FlowId,
        parcel: &Parcel<'_>,
        segment: &TcpSegment,
        direction: Direction,
        out: &mut Output,
    ) -> Tracked {
        let input = super::segment_of(segment, parcel.packet);
        let Some(flow) = self.table.get_mut(id) else { return Tracked::Ends(GONE) };
        if segment.flags.syn()
            && segment.flags.ack()
            && let Some(candidate) = self.candidates.get_mut(id)
        {
            if candidate.confirm(direction, &input) {
                return Tracked::Replaces(candidate.tracker);
            }
            // It may answer a SYN before the last one, and so begin what the flow does not know of.
            if direction != candidate.direction && flow.tcp.state() != TcpState::SynSent {
                return Tracked::Ends(Verdict::Drop(Reason::TcpState));
            }
        }
        flow.set(Mark::Doubtful, false);
        let answers = segment.flags.syn() && direction == Direction::Reply;
        let first = answers && flow.tcp.state() == TcpState::SynSent;
        let event = match flow.tcp.observe(direction, &input) {
            Ok(event) => event,
            Err(reason) => return self.unfit(id, direction, &input, reason),
        };
        if first {
            self.begin_reply(id, segment.seq.wrapping_add(1));
        }
        let Some(flow) = self.table.get_mut(id) else { return Tracked::Ends(GONE) };
        let refused = flow.is_refused();
        match event {
            TcpEvent::Reopen => return Tracked::Anew,
            TcpEvent::CandidateSyn { .. } => {
                let noted = self.note_candidate(id, &input, direction);
                let verdict = if refused {
                    self.by_verdict(id, parcel, direction, out)
                } else if !noted {
                    Verdict::Drop(Reason::LimitFlows)
                } else if !parcel.payload.is_empty() {
                    Verdict::Drop(Reason::SynData)
                } else {
                    Verdict::Forward
                };
                return Tracked::Ends(verdict);
            }
            TcpEvent::Closed if flow.ended().is_none() => flow.set_ended(Ended::Closed),
            TcpEvent::Reset => flow.set_ended(Ended::Reset),
            TcpEvent::DoubtfulReset => flow.set(Mark::Doubtful, true),
            _ => {}
        }
        Tracked::Goes
    }

    /// A segment that does not fit. Where `midstream` lets flows be of which not all was seen, one
    /// that acknowledges what never came by here is taken; its rules decide the flow as ever.
    #[cold]
    fn unfit(
        &mut self,
        id: FlowId,
        direction: Direction,
        segment: &crate::flow::Segment,
        reason: Reason,
    ) -> Tracked {
        let refused = Tracked::Ends(Verdict::Drop(reason));
        let Some((from, to)) = self.table.get(id).map(|flow| (flow.from, flow.to)) else {
            return refused;
        };
        let tolerated = self.tolerates_middle(from, to);
        let Some(flow) = self.table.get_mut(id) else { return refused };
        if !tolerated {
            return refused;
        }
        if flow.tcp.forgive_unseen(direction, segment) {
            let at = flow.case;
            let case = self.cases.get_mut(at);
            if let Some(open) = case.and_then(|case| case.inspection.as_deref_mut()) {
                open.inspector.miss(direction.flip());
            }
            return Tracked::Goes;
        }
        if !flow.tcp.assume_answer(direction, segment) {
            return refused;
        }
        self.begin_reply(id, segment.ack);
        Tracked::Goes
    }

    /// The server's first byte has this sequence number; only data on a SYN was read before.
    fn begin_reply(&mut self, id: FlowId, seq: u32) {
        let Some(flow) = self.table.get(id) else { return };
        if flow.is(Mark::Fresh) {
            let client = flow.tcp.next_seq(Direction::Original);
            self.openings.insert(id.index(), [client, seq]);
        }
        let at = flow.case;
        let Some(case) = self.cases.get_mut(at) else { return };
        if let Some(inspection) = case.inspection.as_deref_mut()
            && let [_, lane] = &mut inspection.lanes
        {
            lane.begin(seq);
        }
    }

    /// False: there is no room for one more.
    fn note_candidate(&mut self, id: FlowId, segment: &Segment, direction: Direction) -> bool {
        let Some(account) = self.table.get(id).map(|flow| flow.account) else { return false };
        // What data it has does not travel.
        let bare = Segment { payload_len: 0, ..*segment };
        self.candidates.note(id, account, Candidate::new(direction, &bare))
    }

    /// A SYN on a flow that is over: the old one ends, a new one opens.
    fn begin_anew(&mut self, id: FlowId, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        self.forget(id, Ended::Closed, out);
        self.open(parcel, out)
    }

    /// Whether the transport checksum of this packet must be right: it can change state, or its
    /// payload is read.
    fn must_verify(&self, flow: &Flow, packet: &Packet) -> bool {
        if flow.is(Mark::Fresh) || flow.stage() != Stage::Final || self.cases.inspects(flow.case) {
            return true;
        }
        match packet.body {
            Body::Tcp(segment) => segment.flags.0 & (flag::SYN | flag::FIN | flag::RST) != 0,
            Body::Udp => false,
            _ => true,
        }
    }

    /// Whether the transport checksum is right, or nobody asks.
    pub(super) fn intact(&self, parcel: &Parcel<'_>) -> bool {
        let right = || match parcel.parts {
            [] => wire::transport_checksum_ok(parcel.bytes, parcel.packet),
            _ => parcel.sums_up,
        };
        self.settings.checksums == wire::Checksums::Ignore || right()
    }

    /// The idle time of a flow as it is now.
    pub(super) fn idle(&self, tcp: &TcpTracker, protocol: Protocol) -> Span {
        match protocol {
            Protocol::TCP => tcp.timeout(&self.timeouts),
            Protocol::UDP => self.timeouts.udp,
            Protocol::ICMP | Protocol::ICMPV6 => self.timeouts.icmp,
            _ => self.timeouts.other,
        }
    }

    /// Sets when a flow ends if nothing more comes. A refused flow is not kept alive by retries.
    pub(super) fn rest(&mut self, id: FlowId, protocol: Protocol) {
        self.note_last(id);
        let Some(flow) = self.table.get(id) else { return };
        if flow.is_refused() {
            return;
        }
        let mut idle = self.idle(&flow.tcp, protocol);
        if flow.is(Mark::Doubtful) {
            // It may have been reset (RFC 5961 section 3.2): its next segment tells.
            idle = idle.min(self.timeouts.tcp_closed);
        }
        if let Some(case) = self.cases.get(flow.case)
            && let Some(inspection) = case.inspection.as_deref()
            && !inspection.held.is_empty()
        {
            idle = idle.min(inspection.deadline.since(self.now));
        }
        self.table.touch(id, self.now, idle);
    }

    /// Counts a packet into its flow.
    pub(super) fn count_packet(
        &mut self,
        id: FlowId,
        direction: Direction,
        ip_len: u32,
        verdict: Verdict,
    ) {
        let now = self.now;
        let Some(flow) = self.table.get_mut(id) else { return };
        flow.set_last(now);
        let forwarded = verdict == Verdict::Forward;
        self.asides.count(id.index(), flow, direction, ip_len, forwarded);
    }
}

impl Soon {
    #[inline(always)]
    fn settle(
        &self,
        frame: &[u8],
        flow: &mut Flow,
        epoch: u32,
        now: Timestamp,
        idle: Span,
    ) -> Option<Span> {
        if !flow.is_settled(epoch) && !self.passes_half_read(frame, flow, epoch) {
            return None;
        }
        let direction = flow.direction(self.reversed);
        settle(flow, direction, u32::from(self.ip_len), now, idle, || self.segment())
    }

    /// Whether nobody reads this packet of a flow of which only some are read. Apart from the way of
    /// settled flows, which is the shorter for it.
    #[inline(never)]
    fn passes_half_read(&self, frame: &[u8], flow: &Flow, epoch: u32) -> bool {
        let direction = flow.direction(self.reversed);
        let payload = || wire::payload_of_usual_datagram(frame, self.payload_len);
        flow.is_half_read(epoch) && is_unread(direction, self.segment().as_ref(), payload)
    }

    #[inline(always)]
    fn segment(&self) -> Option<Segment> {
        (self.key.protocol() == Protocol::TCP).then_some(Segment {
            seq: self.tcp.seq,
            ack: self.tcp.ack,
            flags: self.tcp.flags.0,
            window: self.tcp.window,
            wscale: None,
            payload_len: u32::from(self.payload_len),
        })
    }
}

/// Whether a packet of a half-read flow is of those that nobody reads.
#[inline]
fn is_unread<'a>(
    direction: Direction,
    tcp: Option<&Segment>,
    datagram: impl FnOnce() -> &'a [u8],
) -> bool {
    match tcp {
        Some(segment) => direction == Direction::Reply || segment.payload_len == 0,
        None => Speech::Quic.passes_over(direction, datagram()),
    }
}

/// The idle time of a flow after this packet, which nobody reads, has been counted and fits; none
/// where another hand is needed. Then nothing has changed.
#[inline(always)]
fn settle(
    flow: &mut Flow,
    direction: Direction,
    bytes: u32,
    now: Timestamp,
    idle: Span,
    tcp: impl FnOnce() -> Option<Segment>,
) -> Option<Span> {
    // At the end of time a deadline would not tell when the packet came.
    now.as_nanos().checked_add(idle.as_nanos())?;
    let room = flow.room(direction, bytes)?;
    if let Some(segment) = tcp()
        && !flow.tcp.observe_plain(direction, &segment)
    {
        return None;
    }
    flow.roll(direction, room);
    Some(idle)
}

impl Flow {
    /// Whether it is undecided and enforced, so that nothing of it travels yet.
    fn waits(&self) -> bool {
        self.stage() == Stage::Pending && !self.is(Mark::Monitored)
    }
}

/// Of a packet that must not travel before its flow is decided.
const UNDECIDED: Verdict = Verdict::Drop(Reason::Undecided);

/// Of a packet whose flow is not in the table any more: nobody allowed it.
const GONE: Verdict = Verdict::Drop(Reason::FlowDenied);

/// A packet of a flow that nobody reads: what is decided passes, what is not never does.
const fn unread(flow: &Flow) -> Verdict {
    match flow.stage() {
        Stage::Pending => Verdict::Drop(Reason::Undecided),
        Stage::Following | Stage::Final => Verdict::Forward,
    }
}

fn flow_is_fresh(flow: Option<&Flow>) -> bool {
    flow.is_some_and(|flow| flow.is(Mark::Fresh))
}

/// What the tracker makes of a segment.
enum Tracked {
    /// It goes on to inspection.
    Goes,
    /// Its verdict stands.
    Ends(Verdict),
    /// It opens a new flow in the place of one that is over.
    Anew,
    /// It completes the handshake of a candidate.
    Replaces(TcpTracker),
}
