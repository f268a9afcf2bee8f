//! Packets in memory, run through the engine by one policy after another: what became of each flow,
//! and every question that was asked about it. Expects nothing.

use crate::engine::record::{Event, FlowRecord};
use crate::engine::{Asked, Engine, Frame, Output};
use crate::io::merge::Captures;
use crate::io::pcap::{CaptureReader, Warning, reads_once};
use crate::model::{
    Action, EndpointId, FiveTuple, FlowVerdict, Reason, ScopeId, Span, Timestamp, Verdict,
};
use crate::pipeline::{ReplayOptions, offload};
use crate::policy::Policy;
use crate::ruleset::Date;
use crate::wire::{self, Checksums, Link, Settings};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// As much of one capture is kept in memory.
pub const CAPTURE_LIMIT_BYTES: usize = 1 << 30;
/// Packets dropped before they became a flow are told apart by addresses up to this many.
pub const LOOSE_MAX: usize = 65_536;

const SECS_PER_DAY: u64 = 86_400;

/// Packets of a capture or of a conversation.
#[derive(Clone, Debug)]
pub struct Packets {
    bytes: Vec<u8>,
    frames: Vec<Stored>,
    settings: Settings,
    /// Frames without GWLB encapsulation count as from this endpoint.
    endpoint: Option<EndpointId>,
    warnings: Vec<Warning>,
}

#[derive(Clone, Debug)]
struct Stored {
    at: Timestamp,
    link: Link,
    bytes: Range<usize>,
}

/// What became of one flow, or of packets that never became one.
#[derive(Clone, Debug)]
pub struct Flow {
    /// As the engine tells it.
    pub record: FlowRecord,
    /// Its packets were dropped before they became a flow.
    pub loose: bool,
    /// Every question about it, with the number (from 1) of the packet that led to it.
    pub asked: Vec<(u64, Asked)>,
}

impl Packets {
    /// Reads a capture. Whether its checksums count is told from a sample of it, as `replay` does.
    ///
    /// # Errors
    /// What cannot be read, as text.
    pub fn read(path: &Path, endpoint: Option<EndpointId>) -> Result<Self, String> {
        let name = path.to_string_lossy().into_owned();
        if reads_once(&name) {
            return Err(format!(
                "{name}: can be read once only, and this reads twice: name a file"
            ));
        }
        let relaxed = Settings { checksums: Checksums::Ignore, ..Settings::CAPTURE };
        let opened = Captures::open(std::slice::from_ref(&name));
        let mut sample = opened.map_err(|errors| {
            errors.first().map_or_else(|| "cannot be read".to_owned(), ToString::to_string)
        })?;
        let checksums = match offload(&mut sample, &relaxed).suspected() {
            true => Checksums::Ignore,
            false => Checksums::Verify,
        };
        let settings = Settings { checksums, outer_udp: checksums, ..Settings::CAPTURE };
        let mut packets = Self { settings, ..Self::new(endpoint) };
        let mut reader = CaptureReader::open(&name).map_err(|error| error.to_string())?;
        while let Some(packet) = reader.next_packet().map_err(|error| error.to_string())? {
            if packets.bytes.len().saturating_add(packet.bytes.len()) > CAPTURE_LIMIT_BYTES {
                let most = CAPTURE_LIMIT_BYTES >> 20;
                return Err(format!("{name}: more than {most} MiB of packets"));
            }
            packets.push(packet.at, packet.link, packet.bytes);
        }
        packets.warnings = reader.warnings();
        Ok(packets)
    }

    /// No packets yet, all of them made with right checksums.
    #[must_use]
    pub const fn new(endpoint: Option<EndpointId>) -> Self {
        Self {
            bytes: Vec::new(),
            frames: Vec::new(),
            settings: Settings::CAPTURE,
            endpoint,
            warnings: Vec::new(),
        }
    }

    /// What the user should know about the capture they were read from.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Adds a packet.
    pub fn push(&mut self, at: Timestamp, link: Link, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.frames.push(Stored { at, link, bytes: start..self.bytes.len() });
    }

    /// The endpoint that frames without encapsulation count as from.
    #[must_use]
    pub const fn endpoint(&self) -> Option<EndpointId> {
        self.endpoint
    }

    /// None of the packets, read the same way.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { settings: self.settings, ..Self::new(self.endpoint) }
    }

    /// Every packet with its time and link layer.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, Link, &[u8])> {
        self.frames.iter().map(|frame| {
            let bytes = self.bytes.get(frame.bytes.clone()).unwrap_or_default();
            (frame.at, frame.link, bytes)
        })
    }

    /// How they are read.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Judges all packets by a policy and ends every flow. With a day the packets are moved there:
    /// the first comes at 00:00 UTC, all others as much later as they came.
    #[must_use]
    pub fn judge(&self, policy: &Arc<Policy>, day: Option<Date>) -> Vec<Flow> {
        let mut run = Run::new(self, policy);
        let first = self.frames.iter().map(|frame| frame.at).min().unwrap_or_default();
        let mut scratch = Vec::new();
        for ((at, link, bytes), number) in self.iter().zip(1..) {
            let at = match day {
                Some(day) => midnight(day) + at.since(first),
                None => at,
            };
            scratch.clear();
            scratch.extend_from_slice(bytes);
            run.give(at, link, number, &mut scratch);
        }
        run.finish()
    }
}

/// The first moment of a day.
#[must_use]
pub const fn midnight(day: Date) -> Timestamp {
    Timestamp::from_secs((day.days() as u64).saturating_mul(SECS_PER_DAY))
}

/// Where a flow's state is kept: its scope, and its five-tuple in one of both orientations.
type Key = (ScopeId, FiveTuple);

fn key(scope: ScopeId, tuple: FiveTuple) -> Key {
    (scope, tuple.min(tuple.reverse()))
}

/// One run of the engine.
struct Run<'a> {
    packets: &'a Packets,
    policy: &'a Arc<Policy>,
    engine: Engine,
    out: Output,
    now: Timestamp,
    records: Vec<FlowRecord>,
    asked: HashMap<Key, Vec<(u64, Asked)>>,
    dropped: HashMap<(Key, Reason), FlowRecord>,
}

impl<'a> Run<'a> {
    fn new(packets: &'a Packets, policy: &'a Arc<Policy>) -> Self {
        let options = ReplayOptions::default();
        let (limits, secret) = (options.limits, options.secret);
        // A packet opens one flow at most. A run of few packets is made thousands of times for mutants.
        let (policy_of, places) = (Arc::clone(policy), packets.len());
        let engine = Engine::with_places(policy_of, limits, packets.settings, secret, places)
            .with_bare_endpoint(packets.endpoint)
            .watched();
        Self {
            packets,
            policy,
            engine,
            out: Output::default(),
            now: Timestamp::ZERO,
            records: Vec::new(),
            asked: HashMap::new(),
            dropped: HashMap::new(),
        }
    }

    fn give(&mut self, at: Timestamp, link: Link, number: u64, bytes: &mut [u8]) {
        self.now = self.now.max(at);
        let head = wire::parse(bytes, link, &self.packets.settings).ok().map(|packet| {
            let endpoint = packet.outer.map_or(self.packets.endpoint, |o| Some(o.endpoint));
            (endpoint, packet.tuple)
        });
        let mut frames = [Frame::new(self.now, link, number, bytes)];
        self.engine.process(&mut frames, &mut self.out);
        let [Frame { verdict, .. }] = frames;
        self.take();
        for asked in self.engine.take_asked() {
            self.asked.entry(key(asked.scope, asked.tuple)).or_default().push((number, asked));
        }
        let (Verdict::Drop(reason), Some((endpoint, tuple))) = (verdict, head) else { return };
        let scope = self.policy.scope(endpoint).unwrap_or_default();
        let of = (key(scope, tuple), reason);
        if self.dropped.len() >= LOOSE_MAX && !self.dropped.contains_key(&of) {
            return;
        }
        let now = self.now;
        let record = self.dropped.entry(of).or_insert_with(|| {
            let verdict = FlowVerdict { action: Action::Deny, rule: None, reason };
            let verdict = Some(verdict);
            FlowRecord { endpoint, verdict, ..FlowRecord::new(scope, tuple, now) }
        });
        record.end = now;
        let [there, back] = &mut record.volume;
        let volume = if record.tuple == tuple { there } else { back };
        volume.packets = volume.packets.saturating_add(1);
    }

    /// Keeps the records of flows that ended.
    fn take(&mut self) {
        for event in self.out.events.drain(..) {
            if let Event::FlowEnd(record) = event {
                self.records.push(record);
            }
        }
        self.out.clear();
    }

    fn finish(mut self) -> Vec<Flow> {
        self.engine.tick(self.now, &mut self.out);
        self.engine.finish(&mut self.out);
        self.take();
        let known: std::collections::HashSet<Key> =
            self.records.iter().map(|record| key(record.scope, record.tuple)).collect();
        let loose = self.dropped.into_iter().filter(|((key, _), _)| !known.contains(key));
        let loose: Vec<FlowRecord> = loose.map(|(_, record)| record).collect();
        let flow = |record: FlowRecord, loose: bool| {
            let asked = self.asked.get(&key(record.scope, record.tuple));
            // Another flow of the same addresses may have come before or after.
            let during = |asked: &&(u64, Asked)| {
                record.start <= asked.1.at && asked.1.at <= record.end + Span::from_nanos(1)
            };
            let asked = asked.into_iter().flatten().filter(during).cloned().collect();
            Flow { record, loose, asked }
        };
        let mut flows: Vec<Flow> = Vec::with_capacity(self.records.len());
        flows.extend(self.records.into_iter().map(|record| flow(record, false)));
        flows.extend(loose.into_iter().map(|record| flow(record, true)));
        flows.sort_by_key(|flow| {
            let record = &flow.record;
            let reason = record.verdict.map(|verdict| verdict.reason);
            (record.start, record.tuple, record.scope, record.end, reason)
        });
        flows
    }
}
