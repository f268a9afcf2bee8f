//! ICMP errors: part of the flow they quote, if who sends them may speak of it and they are no longer
//! and no other than errors about it can be. Of a flow that is not known here (GWLB spreads errors
//! differently) they tell the path MTU alone.

use super::decide::Question;
use super::state::Stage;
use super::{Engine, Output, Parcel};
use crate::flow::{FlowId, FlowKey, Found};
use crate::model::{Action, Direction, Facts, Protocol, Reason, SegmentId, Verdict};
use crate::policy::{Decision, Located};
use crate::wire::{Body, Quoted, answer};

const UNRELATED: Verdict = Verdict::Drop(Reason::IcmpUnrelated);

impl Engine {
    /// Judges an ICMP error.
    pub(super) fn related(
        &mut self,
        parcel: &Parcel<'_>,
        quoted: &Quoted,
        out: &mut Output,
    ) -> Verdict {
        let tuple = &parcel.packet.tuple;
        if let Located::Pair { from, to, .. } =
            self.policy.locate(parcel.scope, tuple.src, tuple.dst)
        {
            let pair = self.tally.pair(from, to);
            self.tally.at(pair);
        }
        if !self.intact(parcel) {
            return Verdict::Drop(Reason::TransportChecksum);
        }
        // An error goes to whoever sent what it quotes (RFC 1122 section 3.2.2, RFC 4443 section 2.2):
        // to anyone else its bytes would travel under the name of a flow that is not theirs.
        let strays = tuple.dst != quoted.tuple.src;
        if strays || is_too_long(parcel) || !self.may_speak(parcel, quoted) {
            return UNRELATED;
        }
        match self.flow_of(parcel, quoted) {
            Some((id, direction)) => self.about_known(id, direction, parcel, quoted),
            None => self.about_unknown(parcel, quoted, out),
        }
    }

    /// Whether an error comes from where what it quotes came by: from one of the two segments, or, of
    /// the path MTU (RFC 1191, RFC 8201), from a router whose address is nobody's.
    fn may_speak(&self, parcel: &Parcel<'_>, quoted: &Quoted) -> bool {
        let holder = |addr| self.policy.holder(parcel.scope, addr);
        match holder(parcel.packet.tuple.src) {
            None => tells_mtu(parcel),
            speaker => speaker == holder(quoted.tuple.src) || speaker == holder(quoted.tuple.dst),
        }
    }

    /// The flow of the packet that is quoted, and which way that went. One decided under another
    /// ruleset is none: its next packet decides it anew, and what was decided before counts no more.
    fn flow_of(&self, parcel: &Parcel<'_>, quoted: &Quoted) -> Option<(FlowId, Direction)> {
        let (key, reversed) = FlowKey::new(parcel.scope, &quoted.tuple);
        let Found::Live(id) = self.table.find(&key, self.table.hash(&key), self.now) else {
            return None;
        };
        let flow = self.table.get(id)?;
        (flow.epoch(self.epoch.0) == self.epoch.0).then(|| (id, flow.direction(reversed)))
    }

    /// An error about a packet of a known flow that went this way.
    fn about_known(
        &mut self,
        id: FlowId,
        direction: Direction,
        parcel: &Parcel<'_>,
        quoted: &Quoted,
    ) -> Verdict {
        let Some(flow) = self.table.get(id) else { return UNRELATED };
        self.tally.at(flow.pair);
        // Who makes an error up does not know the numbers of the connection (RFC 5927 section 4.1).
        let fits = quoted.tuple.protocol != Protocol::TCP
            || quoted.seq.is_some_and(|seq| flow.tcp.may_have_sent(direction, seq));
        let verdict = match flow.stage() {
            _ if !fits => UNRELATED,
            // Nothing of the client's travels before its flow is decided.
            Stage::Pending if direction == Direction::Reply => UNRELATED,
            Stage::Following if self.is_shut(flow) => Verdict::Drop(Reason::FlowDenied),
            Stage::Final if !flow.passes() => Verdict::Drop(Reason::FlowDenied),
            _ => Verdict::Forward,
        };
        if verdict == Verdict::Forward {
            self.count_packet(id, direction.flip(), parcel.packet.ip_len, verdict);
        }
        verdict
    }

    /// An error about a flow that is not known here. That a packet was too big must arrive, if the rules
    /// would allow the flow, in either orientation; nothing else of it is needed, and nobody can say
    /// whether the rest is true. It leaves in a frame of our own, one for one.
    fn about_unknown(&mut self, parcel: &Parcel<'_>, quoted: &Quoted, out: &mut Output) -> Verdict {
        if !parcel.parts.is_empty() || !tells_mtu(parcel) {
            return UNRELATED;
        }
        let Some((from, to)) = self.would_allow(parcel, quoted) else { return UNRELATED };
        let Some(frame) = answer::too_big_in_short(parcel.bytes, parcel.packet) else {
            return UNRELATED;
        };
        let speaker = self.policy.holder(parcel.scope, parcel.packet.tuple.src);
        let account = speaker.map(|segment| self.gate.account(segment));
        let pair = self.tally.pair(from, to);
        self.tally.at(pair);
        if self.gate.relay(account, self.now) {
            self.send_answer(Some(frame), &parcel.into(), out);
        }
        UNRELATED
    }

    /// The segments of the flow that an error quotes, if the rules would allow it.
    fn would_allow(&self, parcel: &Parcel<'_>, quoted: &Quoted) -> Option<(SegmentId, SegmentId)> {
        let facts = Facts::missed();
        [quoted.tuple, quoted.tuple.reverse()].into_iter().find_map(|tuple| {
            let Located::Pair { from, to, from_proxy: false } =
                self.policy.locate(parcel.scope, tuple.src, tuple.dst)
            else {
                return None;
            };
            let question = Question {
                scope: parcel.scope,
                policy: self.policy.block(from, to),
                tuple,
                icmp: None,
                missed: true,
                bound: false,
                shortlist: None,
            };
            let decision = self.ask(&question, &facts);
            let allowed =
                matches!(decision, Decision::Final(verdict) if verdict.action == Action::Allow);
            allowed.then_some((from, to))
        })
    }
}

/// Whether more comes with an error than one may hold, bytes behind the packet included.
fn is_too_long(parcel: &Parcel<'_>) -> bool {
    let behind = parcel.packet.trailing(parcel.bytes).len();
    let len = (parcel.packet.ip_len as usize).saturating_add(behind);
    len > answer::icmp_error_limit(parcel.packet.tuple.src.is_v4())
}

/// Whether a packet says that another was too big for a link (RFC 1191 section 4, RFC 4443 section 3.2).
const fn tells_mtu(parcel: &Parcel<'_>) -> bool {
    match parcel.packet.body {
        Body::IcmpError { kind: 3, code: 4, .. } => parcel.packet.tuple.src.is_v4(),
        Body::IcmpError { kind: 2, .. } => !parcel.packet.tuple.src.is_v4(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "related_tests.rs"]
mod tests;
