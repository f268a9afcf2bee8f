//! Composes wire, flow, inspect and policy: a batch of frames in, verdicts, answers and events out.
//!
//! The way of a packet is [`Engine::process`] and `judge` below it. No I/O, no clock, no thread.

mod ahead;
mod answer;
mod answers;
#[cfg(test)]
mod attack_tests;
pub mod bindings;
mod candidates;
mod case;
mod cases;
mod counters;
mod datagram;
mod decide;
mod dns_answers;
mod earlier;
#[cfg(test)]
mod earlier_tests;
mod early;
#[cfg(test)]
mod early_tests;
mod entry;
mod expire;
#[cfg(test)]
mod fragment_tests;
mod fragments;
mod frame;
mod gate;
mod gateways;
#[cfg(test)]
mod half_tests;
mod kept;
mod known;
#[cfg(test)]
mod last_tests;
mod limits;
mod midstream;
#[cfg(test)]
mod midstream_tests;
#[cfg(test)]
mod monitor_tests;
mod open;
mod open_usual;
#[cfg(test)]
mod quic_tests;
pub mod record;
mod related;
mod release;
mod reload;
mod scan;
#[cfg(test)]
mod setting_tests;
#[cfg(test)]
mod start_tests;
mod state;
mod story;
mod strangers;
mod stream;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
#[cfg(test)]
mod told_tests;
#[cfg(test)]
mod twin_tests;
#[cfg(test)]
mod upload_tests;
mod volume;
mod waiting;
#[cfg(test)]
mod waiting_tests;
mod watch;

pub use counters::Counters;
pub use frame::{Discard, Extra, Frame, Origin, Output};
pub use gateways::{GATEWAYS_MAX, Gateways};
pub use limits::Limits;
pub use scan::Explanation;
pub use tally::{Load, PAIRS_MAX, PairTally, Tally};
pub use watch::{ASKED_MAX, Asked};

use crate::flow::{FlowHash, FlowId, FlowKey, FlowTable, Found, Secret, Timeouts};
use crate::inspect::dns::lone::lone_facts;
use crate::model::{DomainName, EndpointId, Epoch, Facts, Reason, ScopeId, Timestamp, Verdict};
use crate::policy::{Approach, Policy};
use crate::wire::{self, Body, Packet};
use ahead::{Ahead, GROUP, Next, Prepared, Soon};
use bindings::{Answered, Bindings};
use candidates::Candidates;
use cases::Cases;
use early::Early;
use entry::{Endpoints, Flow};
use fragments::Assembly;
use gate::Gate;
use hashbrown::HashMap;
use open_usual::Seen;
use std::collections::VecDeque;
use std::sync::Arc;
use volume::Asides;

/// One worker's engine: flow state and the policy it is judged by.
#[derive(Debug)]
pub struct Engine {
    policy: Arc<Policy>,
    epoch: Epoch,
    limits: Limits,
    settings: wire::Settings,
    /// The endpoint taken for frames without GWLB encapsulation.
    bare_endpoint: Option<EndpointId>,
    table: FlowTable<Flow>,
    cases: Cases,
    /// Keys the hashes that questions are remembered by.
    asked_names: std::hash::RandomState,
    /// SYNs seen on live flows, by flow; each replaces its flow at the matching SYN+ACK.
    candidates: Candidates,
    asides: Asides,
    endpoints: Endpoints,
    /// The facts of a message with one question, used again for the next.
    question: Option<Box<Facts>>,
    /// What is known of a new flow.
    nothing: Facts,
    /// Sequence numbers of the first bytes of the flow that is being opened. They follow from the SYNs
    /// alone: no other segment says where a stream begins.
    first_bytes: [u32; 2],
    /// The same for flows both of whose sides were seen and whose payload was not, by their place.
    openings: HashMap<usize, [u32; 2]>,
    /// For which of several names a flow ended, by its place.
    denied_names: HashMap<usize, Arc<DomainName>>,
    assembly: Assembly,
    gate: Gate,
    counters: Counters,
    tally: Tally,
    now: Timestamp,
    /// Flows found due at the last look, and how many of them have been seen to.
    due: Vec<FlowId>,
    due_seen: usize,
    draining: bool,
    /// The gateways that are believed; all of them without.
    gateways: Option<Gateways>,
    bindings: Bindings,
    /// Answers let through in the present batch, for other workers.
    learned: Vec<Answered>,
    /// Idle times of flows, as the policy has them.
    timeouts: Timeouts,
    /// Those of policies before, with the last epoch each was in force, oldest first.
    past_timeouts: VecDeque<(u32, Timeouts)>,
    /// What of the present batch has been read but not judged; kept for its room.
    ahead: Option<Box<Ahead>>,
    /// Which of the last eight frames were of no settled flow: one bit each.
    busy: u8,
    /// When the next rule expires.
    next_expiry: Timestamp,
    /// Before this, time brings nothing but fragments to see to.
    wake: Timestamp,
    watch: watch::Watch,
}

impl Engine {
    /// An engine without flows. `secret` keys the flow table's hash (random live, chosen in tests).
    #[must_use]
    pub fn new(
        policy: Arc<Policy>,
        limits: Limits,
        settings: wire::Settings,
        secret: Secret,
    ) -> Self {
        let places = limits.flows;
        Self::with_places(policy, limits, settings, secret, places)
    }

    /// An engine that is told beforehand how many flows there will ever be, and takes memory for no
    /// more. Its limits stay what they are: shares of segments do not depend on `places`.
    #[must_use]
    pub fn with_places(
        policy: Arc<Policy>,
        limits: Limits,
        settings: wire::Settings,
        secret: Secret,
        places: usize,
    ) -> Self {
        Self {
            table: FlowTable::new(limits.flows.min(places), secret),
            cases: Cases::default(),
            asked_names: std::hash::RandomState::new(),
            candidates: Candidates::default(),
            asides: Asides::default(),
            endpoints: Endpoints::default(),
            question: Some(Box::new(lone_facts())),
            nothing: Facts::default(),
            first_bytes: [0; 2],
            openings: HashMap::new(),
            denied_names: HashMap::new(),
            assembly: Assembly::new(limits.fragmented),
            gate: Gate::new(&policy, &limits),
            counters: Counters::default(),
            tally: Tally::new(&policy),
            now: Timestamp::ZERO,
            due: Vec::new(),
            due_seen: 0,
            epoch: Epoch(1),
            bare_endpoint: None,
            draining: false,
            gateways: None,
            watch: watch::Watch::default(),
            bindings: Bindings::default(),
            learned: Vec::new(),
            timeouts: timeouts_of(&policy),
            past_timeouts: VecDeque::new(),
            ahead: Some(Box::default()),
            busy: u8::MAX,
            next_expiry: expiry_after(&policy, Timestamp::ZERO),
            wake: Timestamp::ZERO,
            policy,
            limits,
            settings,
        }
    }

    /// Takes frames without GWLB encapsulation as if they came from `endpoint`.
    #[must_use]
    pub fn with_bare_endpoint(mut self, endpoint: Option<EndpointId>) -> Self {
        self.bare_endpoint = endpoint;
        self
    }

    /// Believes only these gateways: a frame from another outer source is dropped unread.
    #[must_use]
    pub fn with_gateways(mut self, gateways: Gateways) -> Self {
        self.gateways = Some(gateways);
        self
    }

    /// Judges every frame of the batch, in order; forwarded frames are ready to send.
    pub fn process(&mut self, frames: &mut [Frame<'_>], out: &mut Output) {
        let mut ahead = self.ahead.take().unwrap_or_default();
        self.begin_batch(frames, &mut ahead);
        for group in 0..frames.len().div_ceil(GROUP) {
            self.look_ahead(group, frames, &mut ahead);
            self.judge_group(group, frames, &ahead, out);
        }
        self.ahead = Some(ahead);
        self.tally.catch_up();
        out.answers.append(&mut self.learned);
    }

    #[inline(never)]
    fn judge_group(
        &mut self,
        group: usize,
        frames: &mut [Frame<'_>],
        ahead: &Ahead,
        out: &mut Output,
    ) {
        let start = group.saturating_mul(GROUP);
        let Some(frames) = frames.get_mut(start..) else { return };
        for ((frame, next), position) in
            frames.iter_mut().zip(ahead.group(group).iter()).zip(start..)
        {
            self.judge(frame, next, ahead, position, out);
        }
    }

    /// The way of a packet: that of a settled flow at once, any other by headers, scope, fragments,
    /// flow.
    #[inline(always)]
    fn judge(
        &mut self,
        frame: &mut Frame<'_>,
        next: Next<'_>,
        ahead: &Ahead,
        position: usize,
        out: &mut Output,
    ) {
        self.advance(frame.at, position, out);
        let len = frame.bytes.len();
        let settled = match next {
            Next::Usual(soon) => self.settled_usual(soon, frame.bytes),
            Next::Whole(prepared) => self.settled_packet(prepared, frame.bytes),
        };
        self.busy = self.busy << 1 | u8::from(settled.is_none());
        if let Some(pair) = settled {
            match next {
                Next::Usual(_) => wire::reflect_usual(frame.bytes),
                Next::Whole(prepared) => wire::reflect(frame.bytes, &prepared.packet),
            }
            frame.verdict = Verdict::Forward;
            self.counters.count(Verdict::Forward, len);
            self.tally.count_at(pair, Verdict::Forward, len);
            return;
        }
        frame.verdict = match next {
            Next::Usual(soon) => self.judge_at_length(frame, soon, ahead, position, out),
            Next::Whole(prepared) => self.judge_any(frame, prepared, ahead, position, out),
        };
        self.counters.count(frame.verdict, len);
        self.tally.count(frame.verdict, len);
    }

    /// A frame of the usual form that is no packet of a settled flow.
    #[inline(never)]
    fn judge_at_length(
        &mut self,
        frame: &mut Frame<'_>,
        soon: &Soon,
        ahead: &Ahead,
        position: usize,
        out: &mut Output,
    ) -> Verdict {
        let found = self.table.find_near(&soon.key, soon.hash, self.now);
        if let Found::Live(id) = found
            && self.pass_over_usual(id, soon, frame.bytes)
        {
            wire::reflect_usual(frame.bytes);
            return Verdict::Forward;
        }
        let seen = Seen::new(soon, frame, ahead, position);
        let verdict = match found {
            Found::No => self.open_usual(&seen, out),
            Found::Live(_) | Found::Expired(_) => None,
        };
        let verdict = verdict.unwrap_or_else(|| self.meet_at_length(found, &seen, out));
        if verdict == Verdict::Forward {
            wire::reflect_usual(frame.bytes);
        }
        verdict
    }

    /// Reads a packet at length, whose flow may be there.
    #[inline(never)]
    fn meet_at_length(&mut self, found: Found, seen: &Seen<'_>, out: &mut Output) -> Verdict {
        let mut packet = Packet::NONE;
        if wire::at_length(seen.bytes, &mut packet).is_none() {
            return Verdict::Drop(Reason::Truncated);
        }
        self.meet(found, &seen.parcel(&packet), out)
    }

    /// Everything else that is no packet of a settled flow.
    #[inline(never)]
    fn judge_any(
        &mut self,
        frame: &mut Frame<'_>,
        prepared: &Prepared,
        ahead: &Ahead,
        position: usize,
        out: &mut Output,
    ) -> Verdict {
        if let Some(reason) = prepared.fault {
            return Verdict::Drop(reason);
        }
        let packet = &prepared.packet;
        let parcel = Parcel {
            scope: prepared.scope.unwrap_or_default(),
            key: prepared.key,
            hash: prepared.hash,
            reversed: prepared.reversed,
            packet,
            payload: packet.payload(frame.bytes),
            bytes: frame.bytes,
            number: frame.number,
            position,
            parts: &[],
            sums_up: false,
            approach: ahead.approach(position),
            question: None,
        };
        let verdict = match &packet.body {
            _ if prepared.scope.is_none() => self.stranger(&parcel, out),
            _ if packet.is_fragment() => self.fragment(&parcel, out),
            Body::IcmpError { quoted, .. } => self.related(&parcel, quoted, out),
            _ => self.whole(&parcel, out),
        };
        if verdict == Verdict::Forward {
            wire::reflect(frame.bytes, packet);
        }
        verdict
    }

    /// A whole packet: of a known flow, or the first of a new one.
    fn whole(&mut self, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        let found = self.table.find(&parcel.key, parcel.hash, self.now);
        self.meet(found, parcel, out)
    }

    /// A whole packet, and what the flow table has under its key.
    fn meet(&mut self, found: Found, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        match found {
            Found::Live(id) => self.known(id, parcel, out),
            Found::No => self.open(parcel, out),
            Found::Expired(id) if self.expire_flow(id, parcel.position, out) => {
                self.known(id, parcel, out)
            }
            Found::Expired(_) => self.open(parcel, out),
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sums by segment pair and by rule since the policy was installed.
    #[must_use]
    pub const fn tallied(&self) -> &Tally {
        &self.tally
    }

    /// Bytes of frames held now.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.gate.held_bytes()
    }

    /// Flows known now.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.table.len()
    }

    /// Bytes of frames that one undecided flow may hold.
    fn held_bytes_per_flow(&self) -> usize {
        usize::try_from(self.policy.defaults().held_bytes_per_flow).unwrap_or(usize::MAX)
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }
}

/// A whole packet on its way through the engine. A packet that came in fragments is one parcel of
/// several frames.
#[derive(Clone, Copy)]
struct Parcel<'a> {
    scope: ScopeId,
    key: FlowKey,
    hash: FlowHash,
    /// Whether the canonical key runs against this packet.
    reversed: bool,
    packet: &'a Packet,
    /// The frame, or that of the last fragment.
    bytes: &'a [u8],
    payload: &'a [u8],
    number: u64,
    position: usize,
    /// All fragments of the packet, in order; none for a packet that came whole.
    parts: &'a [fragments::Part],
    /// Whether the transport checksum of a packet that came in fragments is right.
    sums_up: bool,
    /// What its addresses say of the flow it may open, if that was looked up before.
    approach: Option<&'a Approach>,
    /// The only question of the DNS message it is, if that was read before.
    question: Option<&'a Early>,
}

/// Idle times, as a policy has them.
fn timeouts_of(policy: &Policy) -> Timeouts {
    let set = policy.defaults().timeouts;
    Timeouts {
        tcp_idle: set.tcp_idle,
        udp: set.udp,
        icmp: set.udp,
        other: set.udp,
        ..Timeouts::default()
    }
}

/// When the next rule of a policy expires; never is far away.
fn expiry_after(policy: &Policy, now: Timestamp) -> Timestamp {
    policy.next_expiry(now).unwrap_or(Timestamp::MAX)
}

/// ICMP type and code of what opened a flow, where it has them, by a packet that travels along its
/// original direction or against it: against a reply travels what asked for it.
fn icmp_of(packet: &Packet, along: bool) -> Option<(u8, u8)> {
    match packet.body {
        Body::Icmp { kind, code } => Some((kind, code)),
        Body::Echo { reply } => {
            let reply = reply && along;
            let kind = if packet.tuple.src.is_v4() { [8, 0] } else { [128, 129] };
            kind.get(usize::from(reply)).map(|kind| (*kind, 0))
        }
        _ => None,
    }
}

/// A TCP segment as the tracker reads it.
fn segment_of(segment: &wire::TcpSegment, packet: &Packet) -> crate::flow::Segment {
    crate::flow::Segment {
        seq: segment.seq,
        ack: segment.ack,
        flags: segment.flags.0,
        window: segment.window,
        wscale: segment.wscale,
        payload_len: u32::from(packet.payload_len),
    }
}
