//! Composes wire, flow, inspect and policy: a batch of frames in, verdicts, answers and events out.
//!
//! The way of a packet is [`Engine::process`] and `judge` below it. No I/O, no clock, no thread.

mod answer;
pub mod bindings;
mod case;
mod counters;
mod datagram;
mod decide;
mod entry;
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
mod shared_names;
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
use entry::{Asides, Endpoints, Flow};
use fragments::Assembly;
use gate::Gate;
use hashbrown::HashMap;
use shared_names::SharedNames;
use state::Cases;
use std::sync::Arc;

/// How far ahead of judgement a frame's headers are asked for.
const HEADERS_AHEAD: usize = 32;
/// How far ahead frames are parsed and the index of the flow table is asked for.
const LOOKAHEAD: usize = 16;
/// How far ahead the flow's entry is asked for.
const ENTRY_AHEAD: usize = 8;

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
    asides: Asides,
    endpoints: Endpoints,
    shared_names: SharedNames,
    /// Sequence numbers of the first bytes of the flow that is being opened. They follow from the SYNs
    /// alone: no other segment says where a stream begins.
    first_bytes: [u32; 2],
    /// The same for flows both of whose sides were seen and whose payload was not, by their place.
    openings: HashMap<usize, [u32; 2]>,
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
    /// Before this, time brings nothing but fragments to see to.
    wake: Timestamp,
    watch: watch::Watch,
}

/// A frame that has been parsed and whose flow's place in the table is on its way to the cache.
struct Prepared {
    packet: Packet,
    /// Why it could not be parsed; then nothing else here counts.
    fault: Option<Reason>,
    /// A whole TCP or UDP packet in a known scope.
    plain: bool,
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
            candidates: HashMap::new(),
            asides: Asides::default(),
            endpoints: Endpoints::default(),
            shared_names: SharedNames::default(),
            first_bytes: [0; 2],
            openings: HashMap::new(),
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
        let mut ahead: [Prepared; LOOKAHEAD] = [const { Prepared::NONE }; LOOKAHEAD];
        for frame in frames.iter().take(HEADERS_AHEAD) {
            wire::near::prefetch_headers(frame.bytes);
        }
        for step in 0..frames.len().saturating_add(LOOKAHEAD) {
            if let Some(frame) = frames.get(step.saturating_add(HEADERS_AHEAD)) {
                wire::near::prefetch_headers(frame.bytes);
            }
            if let Some(soon) = ahead.get(step.wrapping_sub(LOOKAHEAD - ENTRY_AHEAD) % LOOKAHEAD) {
                self.table.prefetch_entry(soon.hash);
            }
            let Some(prepared) = ahead.get_mut(step % LOOKAHEAD) else { return };
            if let Some(position) = step.checked_sub(LOOKAHEAD)
                && let Some(frame) = frames.get_mut(position)
            {
                frame.verdict = self.judge(frame, prepared, position, out);
                self.counters.count(frame.verdict, frame.bytes.len());
                self.tally.count(frame.verdict, frame.bytes.len());
            }
            if let Some(frame) = frames.get(step) {
                self.prepare(frame, prepared);
            }
        }
        out.answers.append(&mut self.learned);
    }

    /// Parses a frame and asks the cache for its flow.
    #[inline(always)]
    fn prepare(&self, frame: &Frame<'_>, prepared: &mut Prepared) {
        let mut settings = self.settings;
        if frame.vouched {
            settings.outer_udp = wire::Checksums::Ignore;
        }
        prepared.fault = wire::read(frame.bytes, frame.link, &settings, &mut prepared.packet);
        prepared.plain = false;
        if prepared.fault.is_some() {
            return;
        }
        let packet = &prepared.packet;
        if let (Some(gateways), Some(outer)) = (&self.gateways, &packet.outer)
            && !gateways.believe(outer.source)
        {
            prepared.fault = Some(Reason::UnknownGateway);
            return;
        }
        let endpoint = packet.outer.map_or(self.bare_endpoint, |outer| Some(outer.endpoint));
        prepared.scope = self.policy.scope(endpoint);
        (prepared.key, prepared.reversed) =
            FlowKey::new(prepared.scope.unwrap_or_default(), &packet.tuple);
        prepared.hash = self.table.hash(&prepared.key);
        prepared.plain = prepared.scope.is_some()
            && !packet.is_fragment()
            && matches!(packet.body, Body::Tcp(_) | Body::Udp);
        self.table.prefetch_bucket(prepared.hash);
    }

    /// The way of a packet: headers, scope, fragments, flow, verdict.
    #[inline(always)]
    fn judge(
        &mut self,
        frame: &mut Frame<'_>,
        prepared: &Prepared,
        position: usize,
        out: &mut Output,
    ) -> Verdict {
        self.advance(frame.at, out);
        if prepared.plain && self.settled_packet(prepared) {
            wire::reflect(frame.bytes, &prepared.packet);
            return Verdict::Forward;
        }
        self.judge_any(frame, prepared, position, out)
    }

    /// Everything that is no packet of a settled flow.
    #[inline(never)]
    fn judge_any(
        &mut self,
        frame: &mut Frame<'_>,
        prepared: &Prepared,
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
        };
        let verdict = match &packet.body {
            _ if prepared.scope.is_none() => self.stranger(&parcel, out),
            _ if packet.is_fragment() => self.fragment(&parcel, out),
            Body::IcmpError { quoted, .. } => self.related(&parcel, quoted),
            _ => self.whole(&parcel, out),
        };
        if verdict == Verdict::Forward {
            wire::reflect(frame.bytes, packet);
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
    packet: &'a Packet,
    /// The frame, or that of the last fragment.
    bytes: &'a [u8],
    payload: &'a [u8],
    number: u64,
    position: usize,
    /// All fragments of the packet, in order; none for a packet that came whole.
    parts: &'a [fragments::Part],
}

impl Prepared {
    const NONE: Self = Self {
        packet: Packet::NONE,
        fault: None,
        plain: false,
        scope: None,
        key: FlowKey::NONE,
        hash: FlowHash::NONE,
        reversed: false,
    };
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
