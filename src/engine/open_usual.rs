//! The first packet that nearly every flow has, without being read at length: a SYN that carries nothing,
//! or the question of a DNS client. Says what [`Engine::open`] says of it, or nothing.

use super::ahead::{Ahead, Soon};
use super::early::Early;
use super::open::{Charge, Decided, Start};
use super::{Engine, Frame, Output, Parcel};
use crate::flow::{FlowId, FlowKey, Segment, TcpTracker, flag};
use crate::model::{Action, PolicyId, Protocol, Reason, Verdict};
use crate::policy::spec::Mode;
use crate::policy::{Approach, Located, Message, Query};
use crate::wire::{self, Checksums, Packet};

/// A frame of the usual form, and what was read ahead of it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) soon: &'a Soon,
    pub(super) bytes: &'a [u8],
    pub(super) number: u64,
    pub(super) position: usize,
    pub(super) approach: Option<&'a Approach>,
    pub(super) question: Option<&'a Early>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(
        soon: &'a Soon,
        frame: &'a Frame<'_>,
        ahead: &'a Ahead,
        position: usize,
    ) -> Self {
        Self {
            soon,
            bytes: frame.bytes,
            number: frame.number,
            position,
            approach: ahead.approach(position),
            question: ahead.question(position),
        }
    }

    /// The whole packet, once it has been read at length.
    #[inline]
    pub(super) fn parcel(&self, packet: &'a Packet) -> Parcel<'a> {
        let soon = self.soon;
        Parcel {
            scope: soon.key.scope(),
            key: FlowKey::from(soon.key),
            hash: soon.hash,
            reversed: soon.reversed,
            packet,
            payload: packet.payload(self.bytes),
            bytes: self.bytes,
            number: self.number,
            position: self.position,
            parts: &[],
            sums_up: false,
            approach: self.approach,
            question: self.question,
        }
    }
}

impl Engine {
    /// Opens a flow with its first packet. `None`: that is not of the usual kind, and nothing has
    /// changed.
    #[inline]
    pub(super) fn open_usual(&mut self, seen: &Seen<'_>, out: &mut Output) -> Option<Verdict> {
        let (start, policy) = self.start_usual(seen)?;
        let charge = match self.charge(start.pair, start.from, Some(seen.soon.endpoint)) {
            Ok(charge) => charge,
            Err(reason) => return Some(Verdict::Drop(reason)),
        };
        let decided = self.decide_usual(seen, policy);
        if decided.verdict.is_some_and(|verdict| verdict.action != Action::Allow) {
            return Some(self.place_at_length(seen, &start, charge, &decided, out));
        }
        let key = (FlowKey::from(seen.soon.key), seen.soon.hash);
        let Some(id) = self.settle_in(key, &start, charge, &decided) else {
            return Some(Verdict::Drop(Reason::LimitFlows));
        };
        let passes = match (decided.message, seen.question) {
            _ if seen.soon.key.protocol() == Protocol::TCP => true,
            (Some(verdict), Some(question)) => {
                self.follow_question(id, question, Some(policy), verdict).is_some()
            }
            _ => false,
        };
        if !passes {
            return Some(self.first_at_length(id, seen, &decided, out));
        }
        if let Some(flow) = self.table.get_mut(id) {
            flow.count_first(seen.soon.ip_len);
        }
        Some(Verdict::Forward)
    }

    /// How the flow begins, and the policy that decides it; none where there is more to it.
    #[inline]
    fn start_usual(&mut self, seen: &Seen<'_>) -> Option<(Start, PolicyId)> {
        let approach = seen.approach?;
        let Located::Pair { from, to, from_proxy: false } = approach.located else { return None };
        let policy = approach.policy?;
        let tcp = self.usual_opening(seen)?;
        let other = self.draining
            || self.watch.is_on()
            || self.policy.tells_starts()
            || self.policy.mode(policy) == Mode::Monitor
            || (seen.question.is_some() && self.tolerates_middle(from, to));
        if other {
            return None;
        }
        let (pair, reversed) = (self.tally.pair(from, to), seen.soon.reversed);
        Some((Start { from, to, pair, tcp, reversed, behind_proxy: false, met: None }, policy))
    }

    /// The tracker of a flow that begins so, if the packet is whole and of the usual kind.
    #[inline]
    fn usual_opening(&self, seen: &Seen<'_>) -> Option<TcpTracker> {
        const BARE: u8 = flag::SYN | flag::ACK | flag::FIN | flag::RST | flag::URG;
        let soon = seen.soon;
        let trusts = self.settings.checksums == Checksums::Ignore;
        if soon.key.protocol() == Protocol::UDP {
            let asks = seen.question.is_some() && !self.policy.reads_answers();
            let intact =
                asks && (trusts || wire::usual_datagram_is_intact(seen.bytes, soon.ip_len));
            return intact.then(TcpTracker::default);
        }
        let (flags, payload_len) = (soon.tcp.flags.0, soon.payload_len);
        let bare = flags & BARE == flag::SYN && payload_len == 0;
        if !bare || !(trusts || wire::usual_segment_is_intact(seen.bytes, soon.ip_len)) {
            return None;
        }
        let syn = Segment {
            seq: soon.tcp.seq,
            ack: soon.tcp.ack,
            flags,
            window: soon.tcp.window,
            wscale: wire::wscale_of_usual(seen.bytes, soon.ip_len, payload_len),
            payload_len: 0,
        };
        Some(TcpTracker::open(&syn))
    }

    /// What the policy says of the flow, and of the question that opens it.
    #[inline]
    fn decide_usual(&mut self, seen: &Seen<'_>, policy: PolicyId) -> Decided {
        let shortlist = seen.approach.and_then(|approach| approach.shortlist);
        let tuple = seen.soon.key.tuple(seen.soon.reversed);
        let query = Query { shortlist, ..Query::new(policy, tuple, self.now) };
        let message = seen.question.zip(self.question.as_deref());
        let message = message.map(|(asked, facts)| Message { facts, question: &asked.name });
        let opening = self.policy.decide_opening(&query, message);
        let verdict = opening.flow.verdict().copied();
        if let Some(verdict) = verdict {
            self.tally.hit(Some(policy), verdict);
        }
        let message = opening.message.filter(|_| verdict.is_none());
        let message = message.and_then(|message| message.verdict().copied());
        Decided { verdict, message, monitored: false }
    }

    /// Goes on with a packet that has to be read at length after all: it is refused.
    #[inline(never)]
    fn place_at_length(
        &mut self,
        seen: &Seen<'_>,
        start: &Start,
        charge: Charge,
        decided: &Decided,
        out: &mut Output,
    ) -> Verdict {
        let mut packet = Packet::NONE;
        // It was read before, so that it can be read.
        let _ = wire::at_length(seen.bytes, &mut packet);
        self.place(start, charge, decided, &seen.parcel(&packet), out)
    }

    /// The same of one that is looked into: it is not known how its flow goes on.
    #[inline(never)]
    fn first_at_length(
        &mut self,
        id: FlowId,
        seen: &Seen<'_>,
        decided: &Decided,
        out: &mut Output,
    ) -> Verdict {
        let mut packet = Packet::NONE;
        let _ = wire::at_length(seen.bytes, &mut packet);
        self.first_packet(id, &seen.parcel(&packet), decided.message, out)
    }
}
