//! The first packet of a flow: who it belongs to, whether there is room, what the rules say of what
//! its headers tell.

use super::case::nameless;
use super::decide::Question;
use super::entry::{Flow, Mark};
use super::record::{Ended, Event, PacketDrop};
use super::state::Stage;
use super::tally::PairRef;
use super::{Engine, Output, Parcel};
use crate::flow::{FlowId, TcpState, TcpTracker};
use crate::model::{Protocol, Reason, Span, Verdict};
use crate::policy::spec::Mode;
use crate::policy::{Decision, Located};
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
        let tuple = packet.tuple;
        let Located::Pair { from, to, from_proxy } =
            self.policy.locate(parcel.scope, tuple.src, tuple.dst)
        else {
            return self.stranger(parcel, out);
        };
        let pair = self.tally.pair(from, to);
        self.tally.at(pair);
        if self.draining {
            return Verdict::Drop(Reason::Draining);
        }
        let tcp = match Self::first_segment(parcel) {
            First::Opens(tcp) => tcp,
            First::Middle => return self.meet_midstream(parcel, (from, to), out),
            First::Refused(reason) => return Verdict::Drop(reason),
        };
        let mut flow = self.blank(parcel, from, to);
        flow.tcp = tcp;
        flow.pair = pair;
        if let Body::Tcp(syn) = packet.body {
            self.first_bytes = [syn.seq.wrapping_add(1), 0];
        }
        // What carries no PROXY header (ICMP) is the proxy's own.
        let carries = matches!(tuple.protocol, Protocol::TCP | Protocol::UDP);
        flow.set(Mark::BehindProxy, from_proxy && carries);
        self.admit(flow, parcel, out)
    }

    /// A packet that belongs to no segment: nothing is kept of it.
    pub(super) fn stranger(&mut self, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        let verdict = self.policy.unknown_segment();
        self.refuse(parcel, verdict, out);
        if self.gate.tell_stranger(self.now) {
            let packet = parcel.packet;
            out.events.push(Event::PacketDropped(PacketDrop {
                at: self.now,
                endpoint: packet.outer.map(|outer| outer.endpoint),
                tuple: Some(packet.tuple),
                bytes: u32::try_from(parcel.bytes.len()).unwrap_or(u32::MAX),
                reason: verdict.reason,
            }));
        }
        Verdict::Drop(verdict.reason)
    }

    /// Decides a new flow by its headers, finds room for it and judges its first packet.
    pub(super) fn admit(
        &mut self,
        mut flow: Flow,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) -> Verdict {
        let tuple = if flow.is(Mark::Reversed) == parcel.reversed {
            parcel.packet.tuple
        } else {
            parcel.packet.tuple.reverse()
        };
        let policy = self.policy_of(&flow);
        let monitored = policy.is_some_and(|policy| self.policy.mode(policy) == Mode::Monitor);
        flow.set(Mark::Monitored, monitored);
        if !flow.is(Mark::BehindProxy) && !flow.is(Mark::Midstream) {
            let named = matches!(tuple.protocol, Protocol::TCP | Protocol::UDP);
            let question = Question {
                scope: parcel.scope,
                policy,
                tuple,
                icmp: flow.icmp(),
                missed: false,
                bound: false,
            };
            let decision = if named {
                self.ask(&question, &self.nothing)
            } else {
                self.ask(&question, &nameless())
            };
            if let Decision::Final(verdict) = decision {
                flow.settle(verdict, Stage::Final);
                self.tally.hit(policy, verdict);
            }
        }
        let charged = self.gate.account(flow.from);
        flow.account = charged;
        if flow.pair == PairRef::NONE {
            flow.pair = self.tally.pair(flow.from, flow.to);
        }
        let pair = flow.pair;
        self.tally.at(pair);
        if let Err(reason) = self.gate.open_flow(charged, self.now) {
            return Verdict::Drop(reason);
        }
        let Some(endpoint) = self.endpoints.enter(parcel.packet.outer.map(|outer| outer.endpoint))
        else {
            self.gate.close_flow(charged);
            return Verdict::Drop(Reason::LimitFlows);
        };
        flow.endpoint = endpoint;
        let refused = flow.is_refused();
        let idle = if refused { REFUSED } else { self.idle(&flow, tuple.protocol) };
        let Ok(id) = self.table.insert(parcel.key, parcel.hash, flow, self.now, idle) else {
            self.gate.close_flow(charged);
            self.endpoints.leave(endpoint);
            return Verdict::Drop(Reason::LimitFlows);
        };
        self.counters.flows += 1;
        self.tally.open(pair);
        self.first_packet(id, parcel, out)
    }

    /// Judges the first packet of a flow that has just got its place.
    fn first_packet(&mut self, id: FlowId, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        let Some(flow) = self.table.get(id) else { return Verdict::Drop(Reason::LimitFlows) };
        let direction = flow.direction(parcel.reversed);
        if flow.is_refused() {
            let verdict = flow.verdict();
            self.refuse(parcel, verdict, out);
            self.tally(id, direction, parcel.packet, Verdict::Drop(verdict.reason));
            self.start_event(id, out);
            return Verdict::Drop(verdict.reason);
        }
        let decided = flow.stage() == Stage::Final;
        let verdict = match parcel.packet.body {
            Body::Udp if parcel.payload.is_empty() => Self::without_payload(flow, parcel),
            _ if parcel.payload.is_empty() => Verdict::Forward,
            Body::Tcp(segment) => self.stream(id, parcel, &segment, direction, out),
            Body::Udp => self.datagram(id, parcel, direction, out),
            _ => Verdict::Forward,
        };
        self.tally(id, direction, parcel.packet, verdict);
        self.rest(id, parcel.packet.tuple.protocol);
        self.mark_read(id);
        self.keep_opening(id);
        if decided {
            self.start_event(id, out);
        }
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

    /// What a flow's first packet is to TCP.
    fn first_segment(parcel: &Parcel<'_>) -> First {
        match parcel.packet.body {
            Body::Tcp(segment) if segment.flags.syn() && !segment.flags.ack() => {
                First::Opens(TcpTracker::open(&super::segment_of(&segment, parcel.packet)))
            }
            Body::Tcp(segment) if segment.flags.rst() => First::Refused(Reason::Midstream),
            Body::Tcp(_) | Body::Echo { reply: true } => First::Middle,
            _ => First::Opens(TcpTracker::default()),
        }
    }
}

/// What the first packet of an unknown flow is.
enum First {
    Opens(TcpTracker),
    Middle,
    Refused(Reason),
}
