//! One traffic of DNS through engines that read questions ahead and one that never does, because its
//! frames are not of the usual form: the same verdicts, records and frames.

use super::record::{Event, FlowRecord};
use super::tests::{ENDPOINT, spec, tuple};
use super::{Engine, Frame, Limits, Output};
use crate::flow::Secret;
use crate::model::{Action, Protocol, Timestamp, Verdict};
use crate::policy::Policy;
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{PolicySpec, PortRange, RuleSpec};
use crate::synth::gwlb::Encapsulation;
use crate::synth::packet;
use crate::wire::{Link, Settings};
use proptest::prelude::*;
use std::sync::Arc;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Time between two frames.
const GAP_MILLIS: u64 = 100;

/// A datagram of DNS, or nearly so.
#[derive(Clone, Debug)]
struct Datagram {
    flow: u16,
    port: u16,
    name: &'static str,
    back: bool,
    /// A byte of the message, and what is changed in it.
    spoiled: Option<(prop::sample::Index, u8)>,
}

fn any_datagram() -> impl Strategy<Value = Datagram> {
    let names = [
        "api.good.example",
        "API.Good.example",
        "good.example",
        "x.evil.example",
        "a.name.that.is.too.long.to.be.a.short.one.good.example",
    ];
    (
        0u16..40,
        prop_oneof![4 => Just(53), 1 => Just(5353)],
        prop::sample::select(names.to_vec()),
        prop::bool::weighted(0.3),
        prop::option::weighted(0.2, (any::<prop::sample::Index>(), 1u8..)),
    )
        .prop_map(|(flow, port, name, back, spoiled)| Datagram {
            flow,
            port,
            name,
            back,
            spoiled,
        })
}

impl Datagram {
    fn packet(&self) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, if self.back { 0x81 } else { 1 }, 0, 0, 1];
        message.extend_from_slice(&[0; 6]);
        for label in self.name.split('.') {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.extend_from_slice(&[0, 0, 1, 0, 1]);
        if let Some((at, bits)) = &self.spoiled {
            let at = at.index(message.len());
            message[at] ^= bits;
        }
        let mut tuple = tuple(self.port, Protocol::UDP);
        tuple.src_port += self.flow;
        packet::udp(&if self.back { tuple.reverse() } else { tuple }, &message)
    }
}

/// Allows questions below one name on two ports.
fn asking() -> PolicySpec {
    let mut spec = spec();
    let names = NameSet::build([NamePattern::parse(".good.example").unwrap()]).unwrap();
    let mut rule = RuleSpec::new("dns", Action::Allow);
    rule.protocols = Some(vec![Protocol::UDP]);
    rule.ports = Some(vec![PortRange::one(53), PortRange::one(5353)]);
    rule.dns = Some(Arc::new(names));
    spec.policies[0].rules.push(rule);
    spec
}

type Outcome = (Vec<(Verdict, Vec<u8>)>, Vec<FlowRecord>);

/// What an engine says of all; `bare` takes the Ethernet headers away.
fn run(datagrams: &[Datagram], batch: usize, bare: bool) -> Outcome {
    let policy = Arc::new(Policy::compile(&asking(), None).unwrap());
    let limits = Limits { flows: 100, ..Limits::default() };
    let mut engine = Engine::new(policy, limits, Settings::GWLB, Secret::new(5, 6));
    let around = Encapsulation::of(ENDPOINT);
    let (link, start) = if bare { (Link::RawIp, ETHERNET) } else { (Link::Ethernet, 0) };
    let (mut verdicts, mut out) = (Vec::new(), Output::default());
    for (datagrams, number) in datagrams.chunks(batch).zip(0..) {
        let mut held: Vec<_> =
            datagrams.iter().map(|datagram| around.wrap(&datagram.packet())).collect();
        let at = |place: u64| {
            Timestamp::from_nanos(
                1_000_000_000 + (number * batch as u64 + place) * GAP_MILLIS * 1_000_000,
            )
        };
        let mut frames: Vec<_> = held
            .iter_mut()
            .zip(0..)
            .map(|(bytes, place)| Frame::new(at(place), link, 0, &mut bytes[start..]))
            .collect();
        engine.process(&mut frames, &mut out);
        let judged: Vec<_> = frames.iter().map(|frame| frame.verdict).collect();
        drop(frames);
        let sent = held.into_iter().map(|bytes| bytes[ETHERNET..].to_vec());
        verdicts.extend(judged.into_iter().zip(sent));
    }
    engine.finish(&mut out);
    let records = out.events.into_iter().filter_map(|event| match event {
        Event::FlowEnd(record) => Some(record),
        _ => None,
    });
    (verdicts, records.collect())
}

proptest! {
    #[test]
    fn a_question_read_ahead_and_one_that_was_not_are_judged_the_same(
        datagrams in prop::collection::vec(any_datagram(), 1..150),
        batch in 1usize..40,
    ) {
        let ahead = run(&datagrams, batch, false);
        prop_assert_eq!(&ahead, &run(&datagrams, batch, true));
        prop_assert_eq!(&ahead, &run(&datagrams, 1, false));
    }
}

/// Without flows of one question that is allowed the traffic above would prove nothing.
#[test]
fn many_flows_ask_one_question_that_was_asked_before() {
    let ask =
        |flow| Datagram { flow, port: 53, name: "api.good.example", back: false, spoiled: None };
    let datagrams: Vec<_> = (0..40).map(ask).collect();
    for bare in [false, true] {
        let (verdicts, records) = run(&datagrams, 16, bare);
        assert!(verdicts.iter().all(|(verdict, _)| *verdict == Verdict::Forward));
        assert_eq!(records.len(), 40);
        let questions =
            |record: &FlowRecord| record.found.questions.first().map(ToString::to_string);
        assert!(records.iter().all(|r| questions(r).as_deref() == Some("api.good.example")));
    }
}
