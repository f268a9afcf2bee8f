//! Two stacks, a bad network and the engine between them, in simulated time from a seed. Whatever
//! passes the engine is looked at.

use crate::stack::{Dice, Heard, Stack};
use lockgate::engine::record::Event;
use lockgate::engine::{Engine, Frame, Limits, Origin, Output};
use lockgate::flow::Secret;
use lockgate::model::{EndpointId, FiveTuple, FlowVerdict, Protocol, Span, Timestamp, Verdict};
use lockgate::policy::Policy;
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet;
use lockgate::wire::{Link, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ENDPOINT: EndpointId = EndpointId(0x1234_5678_9abc_def0);
const OUTER_BYTES: usize = 82;
/// Nothing takes longer.
const END_MS: u64 = 6_000;

/// Marks a frame that was not held.
const FORWARDED: Origin = Origin::Held(u64::MAX);

/// How bad the network is, in percent, and how a stream is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    /// The longest a packet takes, in milliseconds; packets overtake each other.
    pub(crate) delay: u64,
    pub(crate) segment: usize,
}

/// Where a packet is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Engine,
    Client,
    Server,
}

/// What became of the connection.
#[derive(Debug)]
pub(crate) struct Story {
    /// What the server received.
    pub(crate) server: Vec<u8>,
    /// What the client received.
    pub(crate) client: Vec<u8>,
    /// Payload bytes in packets of the client that left the engine.
    pub(crate) leaked: usize,
    pub(crate) verdicts: Vec<Option<FlowVerdict>>,
    /// Both sides were through, or reset.
    pub(crate) through: bool,
    /// Packets the engine dropped, by reason.
    pub(crate) drops: BTreeMap<&'static str, usize>,
}

/// One run.
pub(crate) struct Network {
    engine: Engine,
    dice: Dice,
    weather: Weather,
    client: Stack,
    server: Stack,
    wire: BTreeMap<(u64, u64), (To, Vec<u8>)>,
    sequence: u64,
    number: u64,
    held: BTreeSet<u64>,
    leaked: usize,
    verdicts: Vec<Option<FlowVerdict>>,
    drops: BTreeMap<&'static str, usize>,
}

impl Network {
    pub(crate) fn new(
        policy: &Arc<Policy>,
        port: u16,
        streams: [&[u8]; 2],
        w: Weather,
        seed: u64,
    ) -> Self {
        let tuple: FiveTuple = packet::tuple(
            ("10.20.1.5".parse().unwrap(), 40_000),
            ("10.100.4.7".parse().unwrap(), port),
            Protocol::TCP,
        );
        let [request, answer] = streams;
        let limits = Limits { flows: 100, ..Limits::default() };
        Self {
            engine: Engine::new(Arc::clone(policy), limits, Settings::GWLB, Secret::new(1, 2)),
            dice: Dice::new(seed),
            weather: w,
            client: Stack::new(tuple, true, request, w.segment, Dice::new(seed ^ 1)),
            server: Stack::new(
                tuple.reverse(),
                false,
                answer,
                w.segment.max(100),
                Dice::new(seed ^ 2),
            )
            .answering(request.len()),
            wire: BTreeMap::new(),
            sequence: 0,
            number: 0,
            held: BTreeSet::new(),
            leaked: 0,
            verdicts: Vec::new(),
            drops: BTreeMap::new(),
        }
    }

    /// Runs until both sides are through, or for the longest time.
    pub(crate) fn run(mut self) -> Story {
        let mut now = 0;
        while now < END_MS && !(self.client.is_through() && self.server.is_through()) {
            self.step(now);
            now += 1;
        }
        let through = now < END_MS;
        let mut out = Output::default();
        self.engine.tick(time(END_MS + 20_000), &mut out);
        self.engine.finish(&mut out);
        self.settle(END_MS, &mut out, &[]);
        assert!(self.held.is_empty(), "held for ever: {:?}", self.held);
        assert_eq!(self.engine.counters().waiting(), 0);
        assert_eq!(self.engine.held_bytes(), 0);
        Story {
            server: self.server.received,
            client: self.client.received,
            leaked: self.leaked,
            verdicts: self.verdicts,
            through,
            drops: self.drops,
        }
    }

    fn step(&mut self, now: u64) {
        for packet in self.client.speak(now).into_iter().chain(self.server.speak(now)) {
            self.travel(now, To::Engine, packet);
        }
        let later = self.wire.split_off(&(now + 1, 0));
        let due = std::mem::replace(&mut self.wire, later);
        let mut batch = Vec::new();
        for (to, packet) in due.into_values() {
            match to {
                To::Engine => batch.push(packet),
                To::Client => {
                    let answer = self.client.hear(&Heard::read(&packet));
                    answer.into_iter().for_each(|packet| self.travel(now, To::Engine, packet));
                }
                To::Server => {
                    let answer = self.server.hear(&Heard::read(&packet));
                    answer.into_iter().for_each(|packet| self.travel(now, To::Engine, packet));
                }
            }
        }
        self.judge(now, &batch);
    }

    /// Loses, copies and delays a packet.
    fn travel(&mut self, now: u64, to: To, packet: Vec<u8>) {
        if self.dice.percent(self.weather.loss) {
            return;
        }
        let copies = if self.dice.percent(self.weather.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let at = now + 1 + self.dice.roll(self.weather.delay);
            self.sequence += 1;
            self.wire.insert((at, self.sequence), (to, packet.clone()));
        }
    }

    /// Gives the engine what arrived, all at once.
    fn judge(&mut self, now: u64, batch: &[Vec<u8>]) {
        let mut frames: Vec<Vec<u8>> =
            batch.iter().map(|packet| Encapsulation::of(ENDPOINT).wrap(packet)).collect();
        let mut given = Vec::new();
        for bytes in &mut frames {
            self.number += 1;
            given.push(Frame::new(time(now), Link::Ethernet, self.number, bytes));
        }
        let mut out = Output::default();
        self.engine.process(&mut given, &mut out);
        self.settle(now, &mut out, &given);
    }

    /// Sends on what leaves the engine, in its order.
    fn settle(&mut self, now: u64, out: &mut Output, given: &[Frame<'_>]) {
        let mut extras = out.extras.drain(..).peekable();
        let mut leaving = Vec::new();
        for (position, frame) in given.iter().enumerate() {
            while let Some(extra) = extras.next_if(|extra| extra.before <= position) {
                leaving.push((extra.origin, extra.bytes));
            }
            match frame.verdict {
                Verdict::Forward => leaving.push((FORWARDED, frame.bytes.to_vec())),
                Verdict::Hold => assert!(self.held.insert(frame.number), "held twice"),
                Verdict::Drop(reason) => *self.drops.entry(reason.name()).or_default() += 1,
            }
        }
        leaving.extend(extras.map(|extra| (extra.origin, extra.bytes)));
        let mut released = BTreeMap::new();
        for (origin, bytes) in leaving {
            let inner = &bytes[OUTER_BYTES..];
            let from_client = inner[12..16] == [10, 20, 1, 5];
            if let Origin::Held(number) = origin
                && origin != FORWARDED
            {
                assert!(self.held.remove(&number), "frame {number} leaves and was not held");
                let before = released.insert(from_client, number).unwrap_or(0);
                assert!(before < number, "held frames leave as they came: {before}, {number}");
            }
            if from_client {
                self.leaked += Heard::read(inner).payload.len();
            }
            self.travel(now, if from_client { To::Server } else { To::Client }, inner.to_vec());
        }
        for discard in out.discards.drain(..) {
            assert!(self.held.remove(&discard.number), "discarded and not held");
            *self.drops.entry(discard.reason.name()).or_default() += 1;
        }
        for event in out.events.drain(..) {
            if let Event::FlowEnd(record) = event {
                self.verdicts.push(record.verdict);
            }
        }
    }
}

fn time(ms: u64) -> Timestamp {
    Timestamp::from_secs(1_000) + Span::from_millis(ms)
}
