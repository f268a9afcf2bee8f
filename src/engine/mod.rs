//! Composes wire, flow, inspect and policy: a batch of frames in, verdicts, answers and events out.
//!
//! The way of a packet is [`Engine::process`] and `judge` below it. No I/O, no clock, no thread.

mod answer;
pub mod bindings;
mod case;
mod counters;
mod datagram;
mod decide;
mod expire;
mod fragments;
mod frame;
mod gate;
mod gateways;
mod known;
mod limits;
mod midstream;
mod open;
pub mod record;
mod related;
mod release;
mod reload;
mod scan;
#[cfg(test)]
mod setting_tests;
mod state;
mod stream;
mod tally;
#[cfg(test)]
mod tests;
mod watch;

pub use counters::Counters;
pub use frame::{Discard, Extra, Frame, Origin, Output};
pub use gateways::{GATEWAYS_MAX, Gateways};
pub use limits::Limits;
pub use scan::Explanation;
pub use tally::{Load, PAIRS_MAX, PairTally, Tally};
pub use watch::{ASKED_MAX, Asked};

use crate::flow::{Candidate, FlowHash, FlowId, FlowKey, FlowTable, Found, Secret, Timeouts};
use crate::model::{EndpointId, Epoch, Reason, ScopeId, Timestamp, Verdict};
use crate::policy::Policy;
use crate::wire::{self, Body, Packet};
use bindings::{Answered, Bindings};
use fragments::Assembly;
use gate::Gate;
use state::{Cases, Flow};
use std::collections::HashMap;
use std::sync::Arc;

/// How far ahead of judgement frames are parsed, so that the flow table's lines arrive in time.
const LOOKAHEAD: usize = 16;

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
    /// SYNs seen on live flows, by flow; each replaces its flow at the matching SYN+ACK.
    candidates: HashMap<FlowId, Candidate>,
    assembly: Assembly,
    gate: Gate,
    counters: Counters,
    tally: Tally,
    now: Timestamp,
    /// Flows found due, between two looks.
    due: Vec<FlowId>,
    draining: bool,
    /// The gateways that are believed; all of them without.
    gateways: Option<Gateways>,
    bindings: Bindings,
    /// Answers let through in the present batch, for other workers.
    learned: Vec<Answered>,
    /// Idle times of flows, as the policy has them.
    timeouts: Timeouts,
    /// When the next rule expires.
    next_expiry: Timestamp,
    watch: watch::Watch,
}

/// A frame that has been parsed and whose flow's place in the table is on its way to the cache.
#[derive(Clone, Copy)]
struct Prepared {
    packet: Result<Packet, Reason>,
    scope: Option<ScopeId>,
    key: FlowKey,
    hash: FlowHash,
    reversed: bool,
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
        Self {
            table: FlowTable::new(limits.flows, secret),
            cases: Cases::default(),
            candidates: HashMap::new(),
            assembly: Assembly::new(limits.fragmented),
            gate: Gate::new(&policy, &limits),
            counters: Counters::default(),
            tally: Tally::new(&policy),
            now: Timestamp::ZERO,
            due: Vec::new(),
            epoch: Epoch(1),
            bare_endpoint: None,
            draining: false,
            gateways: None,
            watch: watch::Watch::default(),
            bindings: Bindings::default(),
            learned: Vec::new(),
            timeouts: timeouts_of(&policy),
            next_expiry: expiry_after(&policy, Timestamp::ZERO),
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
        let mut ahead: [Option<Prepared>; LOOKAHEAD] = [const { None }; LOOKAHEAD];
        for step in 0..frames.len().saturating_add(LOOKAHEAD) {
            let slot = ahead.get_mut(step % LOOKAHEAD).and_then(Option::take);
            if let (Some(prepared), Some(position)) = (slot, step.checked_sub(LOOKAHEAD))
                && let Some(frame) = frames.get_mut(position)
            {
                frame.verdict = self.judge(frame, &prepared, position, out);
                self.counters.count(frame.verdict, frame.bytes.len());
                self.tally.count(frame.verdict, frame.bytes.len());
            }
            if let Some(frame) = frames.get(step)
                && let Some(slot) = ahead.get_mut(step % LOOKAHEAD)
            {
                *slot = Some(self.prepare(frame));
            }
        }
        out.answers.append(&mut self.learned);
    }

    /// Parses a frame and asks the cache for its flow.
    fn prepare(&self, frame: &Frame<'_>) -> Prepared {
        let mut settings = self.settings;
        if frame.vouched {
            settings.outer_udp = wire::Checksums::Ignore;
        }
        let packet = wire::parse(frame.bytes, frame.link, &settings);
        let Ok(parsed) = &packet else { return Prepared::unparsed(packet) };
        if let (Some(gateways), Some(outer)) = (&self.gateways, &parsed.outer)
            && !gateways.believe(outer.source)
        {
            return Prepared::unparsed(Err(Reason::UnknownGateway));
        }
        let endpoint = parsed.outer.map_or(self.bare_endpoint, |outer| Some(outer.endpoint));
        let scope = self.policy.scope(endpoint);
        let (key, reversed) = FlowKey::new(scope.unwrap_or_default(), &parsed.tuple);
        let hash = self.table.hash(&key);
        self.table.prefetch_bucket(hash);
        Prepared { packet, scope, key, hash, reversed }
    }

    /// The way of a packet: headers, scope, fragments, flow, verdict.
    fn judge(
        &mut self,
        frame: &mut Frame<'_>,
        prepared: &Prepared,
        position: usize,
        out: &mut Output,
    ) -> Verdict {
        self.advance(frame.at, out);
        let packet = match prepared.packet {
            Ok(packet) => packet,
            Err(reason) => return Verdict::Drop(reason),
        };
        let parcel = Parcel {
            scope: prepared.scope.unwrap_or_default(),
            key: prepared.key,
            hash: prepared.hash,
            reversed: prepared.reversed,
            packet,
            bytes: frame.bytes,
            payload: packet.payload(frame.bytes),
            number: frame.number,
            position,
            parts: &[],
        };
        let verdict = match packet.body {
            _ if prepared.scope.is_none() => self.stranger(&parcel, out),
            _ if packet.is_fragment() => self.fragment(&parcel, out),
            Body::IcmpError { quoted, .. } => self.related(&parcel, &quoted),
            _ => self.whole(&parcel, out),
        };
        if verdict == Verdict::Forward {
            wire::reflect(frame.bytes, &packet);
        }
        verdict
    }

    /// A whole packet: of a known flow, or the first of a new one.
    fn whole(&mut self, parcel: &Parcel<'_>, out: &mut Output) -> Verdict {
        match self.table.find(&parcel.key, parcel.hash, self.now) {
            Found::Live(id) => self.known(id, parcel, out),
            Found::No => self.open(parcel, out),
            Found::Expired(id) => {
                self.expire_flow(id, out);
                self.open(parcel, out)
            }
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
    packet: Packet,
    /// The frame, or that of the last fragment.
    bytes: &'a [u8],
    payload: &'a [u8],
    number: u64,
    position: usize,
    /// All fragments of the packet, in order; none for a packet that came whole.
    parts: &'a [fragments::Part],
}

impl Prepared {
    fn unparsed(packet: Result<Packet, Reason>) -> Self {
        Self { packet, scope: None, key: FlowKey::default(), hash: FlowHash::NONE, reversed: false }
    }
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

/// ICMP type and code, where the packet has them.
fn icmp_of(packet: &Packet) -> Option<(u8, u8)> {
    match packet.body {
        Body::Icmp { kind, code } => Some((kind, code)),
        Body::Echo { reply } if packet.tuple.src.is_v4() => Some((if reply { 0 } else { 8 }, 0)),
        Body::Echo { reply } => Some((if reply { 129 } else { 128 }, 0)),
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
