//! One traffic through engines that take different ways to the same verdicts: by a glimpse of each
//! frame, by every frame parsed at length, and by every flow decided anew at every packet.

use super::record::{Event, FlowRecord};
use super::tests::{ENDPOINT, spec, tuple};
use super::{Engine, Frame, Limits, Output};
use crate::flow::Secret;
use crate::model::{Epoch, FiveTuple, Protocol, Span, Timestamp, Verdict};
use crate::policy::Policy;
use crate::synth::gwlb::Encapsulation;
use crate::synth::packet::{self, Segment, flag};
use crate::wire::{Link, Settings};
use proptest::prelude::*;
use std::sync::Arc;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A packet of the flow of this number.
    Udp { flow: u16, back: bool, len: usize },
    /// A segment so far from where it should start.
    Tcp { flow: u16, back: bool, off: i32, len: usize, flags: u8 },
    /// The frame before once more, with a byte changed.
    Spoiled { at: usize, bits: u8 },
    /// Milliseconds pass.
    Wait(u64),
    /// A ruleset with another idle time of UDP, in seconds.
    Reload(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        8 => Just(flag::ACK),
        2 => Just(flag::ACK | flag::PSH),
        1 => Just(flag::SYN),
        1 => Just(flag::ACK | flag::FIN),
        1 => Just(flag::RST),
        1 => any::<u8>(),
    ];
    let off = prop_oneof![6 => Just(0), 2 => -3_000..3_000, 1 => any::<i32>()];
    prop_oneof![
        6 => (0u16..3, any::<bool>(), 0usize..1_400)
            .prop_map(|(flow, back, len)| Step::Udp { flow, back, len }),
        8 => (0u16..3, any::<bool>(), off, 0usize..1_400, flags)
            .prop_map(|(flow, back, off, len, flags)| Step::Tcp { flow, back, off, len, flags }),
        1 => (82usize..130, 1u8..=255).prop_map(|(at, bits)| Step::Spoiled { at, bits }),
        2 => prop_oneof![0u64..1_000, 20_000u64..200_000].prop_map(Step::Wait),
        1 => (20u64..200).prop_map(Step::Reload),
    ]
}

/// A conversation as both of its sides number it.
#[derive(Clone, Copy)]
struct Talk {
    tuple: FiveTuple,
    next: [u32; 2],
}

impl Talk {
    fn segment(&mut self, back: bool, off: i32, len: usize, flags: u8) -> Vec<u8> {
        let side = usize::from(back);
        let tuple = if back { self.tuple.reverse() } else { self.tuple };
        let (seq, ack) = (self.next[side].wrapping_add_signed(off), self.next[1 - side]);
        let plain = flags == flag::ACK || flags == flag::ACK | flag::PSH;
        if plain && off == 0 {
            self.next[side] = seq.wrapping_add(len as u32);
        }
        let payload = vec![b'x'; len];
        packet::tcp(&tuple, &Segment { seq, ack, flags, payload: &payload })
    }
}

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

struct Twin {
    engine: Engine,
    batch: usize,
    decide_anew: bool,
    /// Frames come without an Ethernet header, so that each is read in full.
    bare: bool,
    waiting: Vec<(Timestamp, Vec<u8>)>,
    verdicts: Vec<(Verdict, Vec<u8>)>,
    records: Vec<FlowRecord>,
    policy: Arc<Policy>,
}

impl Twin {
    fn new(settings: Settings, batch: usize, decide_anew: bool) -> Self {
        let policy = Arc::new(Policy::compile(&spec(), None).unwrap());
        let limits = Limits { flows: 100, ..Limits::default() };
        let engine = Engine::new(Arc::clone(&policy), limits, settings, Secret::new(5, 6));
        let (waiting, verdicts, records) = (Vec::new(), Vec::new(), Vec::new());
        Self { engine, batch, decide_anew, bare: false, waiting, verdicts, records, policy }
    }

    fn without_ethernet(self) -> Self {
        Self { bare: true, ..self }
    }

    fn give(&mut self, at: Timestamp, frame: Vec<u8>) {
        self.waiting.push((at, frame));
        if self.waiting.len() >= self.batch {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.decide_anew {
            self.engine.install(Arc::clone(&self.policy));
        }
        let mut out = Output::default();
        let frame = |(at, bytes): &mut (Timestamp, Vec<u8>)| (*at, std::mem::take(bytes));
        let mut held: Vec<_> = self.waiting.iter_mut().map(frame).collect();
        let (link, start) = if self.bare { (Link::RawIp, ETHERNET) } else { (Link::Ethernet, 0) };
        let mut frames: Vec<_> = held
            .iter_mut()
            .map(|(at, bytes)| Frame::new(*at, link, 0, &mut bytes[start..]))
            .collect();
        self.engine.process(&mut frames, &mut out);
        let verdicts: Vec<_> = frames.iter().map(|frame| frame.verdict).collect();
        drop(frames);
        let sent = held.into_iter().map(|(_, bytes)| bytes[ETHERNET..].to_vec());
        self.verdicts.extend(verdicts.into_iter().zip(sent));
        self.waiting.clear();
        self.note(out);
    }

    fn note(&mut self, out: Output) {
        for event in out.events {
            if let Event::FlowEnd(mut record) = event {
                record.epoch = Epoch(0);
                self.records.push(record);
            }
        }
    }

    fn reload(&mut self, udp_secs: u64) {
        self.flush();
        let mut spec = spec();
        spec.defaults.timeouts.udp = Span::from_secs(udp_secs);
        self.policy = Arc::new(Policy::compile(&spec, Some(&self.policy)).unwrap());
        self.engine.install(Arc::clone(&self.policy));
    }

    /// What it says of everything: verdicts with the frames as they left, and all records.
    fn end(mut self) -> Outcome {
        self.flush();
        let mut out = Output::default();
        self.engine.finish(&mut out);
        self.note(out);
        (self.verdicts, self.records)
    }
}

fn run(steps: &[Step], mut twin: Twin) -> Outcome {
    let talk = |flow: u16| {
        let mut tuple = tuple(443, Protocol::TCP);
        tuple.src_port += flow;
        Talk { tuple, next: [1_000, 9_000] }
    };
    let mut talks = [talk(0), talk(1), talk(2)];
    let mut now = Timestamp::from_secs(1_000);
    let around = Encapsulation::of(ENDPOINT);
    let give = |twin: &mut Twin, now: &mut Timestamp, inner: &[u8]| {
        *now = *now + Span::from_millis(1);
        twin.give(*now, around.wrap(inner));
    };
    for talk in &mut talks[..2] {
        give(&mut twin, &mut now, &talk.segment(false, 0, 0, flag::SYN));
        talk.next[0] += 1;
        give(&mut twin, &mut now, &talk.segment(true, 0, 0, flag::SYN | flag::ACK));
        talk.next[1] += 1;
        give(&mut twin, &mut now, &talk.segment(false, 0, 0, flag::ACK));
    }
    for flow in 0..3 {
        let mut tuple = tuple(514, Protocol::UDP);
        tuple.src_port += flow;
        give(&mut twin, &mut now, &packet::udp(&tuple, b"x"));
    }
    let mut last = vec![0; 130];
    for step in steps {
        match *step {
            Step::Udp { flow, back, len } => {
                let mut tuple = tuple(514, Protocol::UDP);
                tuple.src_port += flow;
                let tuple = if back { tuple.reverse() } else { tuple };
                let inner = packet::udp(&tuple, &vec![b'x'; len]);
                last.clone_from(&inner);
                give(&mut twin, &mut now, &inner);
            }
            Step::Tcp { flow, back, off, len, flags } => {
                let inner = talks[usize::from(flow)].segment(back, off, len, flags);
                last.clone_from(&inner);
                give(&mut twin, &mut now, &inner);
            }
            Step::Spoiled { at, bits } => {
                let mut inner = last.clone();
                if let Some(byte) = inner.get_mut(at - 82) {
                    *byte ^= bits;
                }
                give(&mut twin, &mut now, &inner);
            }
            Step::Wait(millis) => now = now + Span::from_millis(millis),
            Step::Reload(udp_secs) => twin.reload(udp_secs),
        }
    }
    twin.end()
}

type Outcome = (Vec<(Verdict, Vec<u8>)>, Vec<FlowRecord>);

fn same(one: &Outcome, other: &Outcome) -> Result<(), TestCaseError> {
    prop_assert_eq!((one.0.len(), one.1.len()), (other.0.len(), other.1.len()));
    for (at, (one, other)) in one.0.iter().zip(&other.0).enumerate() {
        prop_assert_eq!(one, other, "frame {}", at);
    }
    for (one, other) in one.1.iter().zip(&other.1) {
        prop_assert_eq!(one, other);
    }
    Ok(())
}

/// The same step where it only moves open flows on: a new ruleset may judge a flow otherwise that was
/// met in the middle or is over.
fn mild(step: Step) -> Option<Step> {
    Some(match step {
        Step::Tcp { flow, back, off, len, flags } => {
            Step::Tcp { flow: flow % 2, back, off, len, flags: flag::ACK | flags & flag::PSH }
        }
        Step::Wait(millis) => Step::Wait(millis % 100),
        Step::Spoiled { .. } => return None,
        step => step,
    })
}

proptest! {
    #[test]
    fn a_glimpse_and_a_full_reading_agree(
        steps in prop::collection::vec(any_step(), 1..150),
        batch in 1usize..40,
    ) {
        for settings in [Settings::GWLB, Settings::CAPTURE] {
            let glimpsed = run(&steps, Twin::new(settings, batch, false));
            let read = run(&steps, Twin::new(settings, batch, false).without_ethernet());
            same(&glimpsed, &read)?;
        }
    }

    #[test]
    fn a_settled_flow_and_one_decided_at_every_packet_agree(
        steps in prop::collection::vec(any_step(), 1..150),
        batch in 1usize..40,
    ) {
        let steps: Vec<_> = steps.into_iter().filter_map(mild).collect();
        let settled = run(&steps, Twin::new(Settings::GWLB, batch, false));
        same(&settled, &run(&steps, Twin::new(Settings::GWLB, 1, true)))?;
    }
}

/// Without packets of settled flows among them the traffic above would prove nothing.
#[test]
fn most_of_such_traffic_is_of_settled_flows() {
    let steps: Vec<_> = (0..600)
        .map(|number| match number % 2 {
            0 => Step::Udp { flow: 0, back: number % 4 == 2, len: 100 },
            _ => Step::Tcp { flow: 1, back: number % 3 == 0, off: 0, len: 40, flags: flag::ACK },
        })
        .collect();
    let (verdicts, records) = run(&steps, Twin::new(Settings::GWLB, 32, false));
    let forwarded = verdicts.iter().filter(|(verdict, _)| *verdict == Verdict::Forward).count();
    assert!(forwarded >= 590, "{forwarded}");
    assert!(records.iter().any(|record| record.packets() >= 290));
}
