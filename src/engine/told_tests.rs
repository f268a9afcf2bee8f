//! QUIC flows of which a story and a reader are kept: they are judged and recorded as those with a case.

use super::half_tests::named;
use super::record::Event;
use super::state::Case;
use super::story::STORIES_MAX;
use super::tests::{Bench, tuple};
use crate::inspect::quic::seal::{Initial, crypto_frame};
use crate::inspect::quic::version::{V1, V2};
use crate::inspect::tls::compose::Offer;
use crate::model::{Direction, DomainName, Facts, Protocol, Reason, Verdict};
use crate::policy::Policy;
use crate::synth::packet;
use std::sync::Arc;

const ID: &[u8] = &[7; 8];

fn hello(name: &[u8]) -> Vec<u8> {
    Offer { names: &[name], versions: &[0x0304], ..Offer::default() }.message().unwrap()
}

fn initial(version: u32, destination: &[u8], frames: &[u8]) -> Vec<u8> {
    let packet = Initial { version, destination, padded_to: 1200, ..Initial::default() };
    packet.seal(frames).unwrap()
}

/// Even numbers below `sides`, the same in every run.
fn below(state: &mut u64, sides: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % sides
}

/// What both sides of a flow may say: hellos of several connections, whole and in parts, what servers
/// answer, and what is no QUIC at all.
fn sayings() -> Vec<(Direction, Vec<u8>)> {
    let good = hello(b"api.good.example");
    let (front, back) = good.split_at(60);
    let frames = [
        crypto_frame(0, &good).unwrap(),
        crypto_frame(0, &hello(b"www.good.example")).unwrap(),
        crypto_frame(0, &hello(b"www.evil.example")).unwrap(),
        crypto_frame(0, front).unwrap(),
        crypto_frame(front.len(), back).unwrap(),
        vec![1],
    ];
    let ids = [(V1, ID), (V1, b"elsewhere"), (V2, ID)];
    let sealed = ids.iter().flat_map(|&(version, id)| {
        frames.iter().map(move |frames| (Direction::Original, initial(version, id, frames)))
    });
    let long = |first: u8| {
        [&[first, 0, 0, 0, 1, 4, 1, 2, 3, 4, 9], &b"elsewhere"[..], &[2, 0xee, 0xee]].concat()
    };
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    let others = [
        (Direction::Reply, long(0xc0)),
        (Direction::Reply, long(0xe0)),
        (Direction::Reply, long(0xf0)),
        (Direction::Reply, vec![0x45; 90]),
        (Direction::Reply, vec![0xc5; 90]),
        (Direction::Original, long(0xe0)),
        (Direction::Original, vec![0x45; 40]),
        (Direction::Original, vec![0xc5; 40]),
        (Direction::Original, question.to_vec()),
    ];
    sealed.chain(others).collect()
}

impl Bench {
    /// Leaves no room for stories, so that flows keep what is known of them.
    fn without_stories(mut self) -> Self {
        for number in 0..STORIES_MAX {
            let mut case = Case::new(Facts::default());
            case.names.note_new(&DomainName::from_host(format!("n{number}").as_bytes()).unwrap());
            self.engine.cases.stories.share(&mut case, None).unwrap();
        }
        self
    }

    /// How many flows keep a reader and no case.
    fn told(&mut self) -> usize {
        let cases: Vec<_> = self.engine.table.iter().map(|(_, _, flow)| flow.case).collect();
        cases.into_iter().filter(|at| self.engine.cases.reader_mut(*at).is_some()).count()
    }
}

#[test]
fn a_flow_whose_hello_was_decided_keeps_no_case_until_it_says_more() {
    let mut bench = Bench::new(&named(".good.example"));
    let tuple = tuple(443, Protocol::UDP);
    let give = |bench: &mut Bench, payload: &[u8]| bench.give(&packet::udp(&tuple, payload));
    let frame = crypto_frame(0, &hello(b"api.good.example")).unwrap();
    for _ in 0..2 {
        assert_eq!(give(&mut bench, &initial(V1, ID, &frame)), Verdict::Forward);
        assert_eq!((bench.told(), bench.engine.cases.len()), (1, 1));
    }
    let answer = packet::udp(&tuple.reverse(), &[0xc5; 1200]);
    assert_eq!(bench.give(&answer), Verdict::Forward);
    assert_eq!(bench.told(), 1);
    let other = crypto_frame(0, &hello(b"www.good.example")).unwrap();
    let changed = Verdict::Drop(Reason::InconsistentRetransmission);
    assert_eq!(give(&mut bench, &initial(V1, ID, &other)), changed);
    assert_eq!(bench.told(), 0);
    bench.pass(600);
    assert_eq!(bench.engine.cases.len(), 0);
    let Some(Event::FlowEnd(record)) = bench.events.last() else { panic!("it ended") };
    assert_eq!(record.found.names.first().unwrap().to_string(), "api.good.example");
}

#[test]
fn flows_are_judged_and_recorded_the_same_with_a_story_as_with_a_case() {
    let mut benches = [
        Bench::new(&named(".good.example")),
        Bench::new(&named(".good.example")).without_stories(),
    ];
    let sayings = sayings();
    let mut dice = 7;
    let mut told = 0;
    for number in 0..1200_u16 {
        let tuple = tuple(443, Protocol::UDP);
        let tuple = crate::model::FiveTuple { src_port: 10_000 + number, ..tuple };
        let first = below(&mut dice, 6);
        for turn in 0..10 {
            let at = if turn == 0 { first } else { below(&mut dice, sayings.len()) };
            let Some((direction, payload)) = sayings.get(at) else { continue };
            let original = *direction == Direction::Original;
            let tuple = if original { tuple } else { tuple.reverse() };
            let inner = packet::udp(&tuple, payload);
            let [one, other] = benches.each_mut().map(|bench| bench.give(&inner));
            assert_eq!(one, other, "flow {number}, turn {turn}, saying {at}");
            told += benches[0].told();
            assert_eq!(benches[1].told(), 0);
        }
        if number % 50 == 49 {
            let name = if number % 100 == 99 { ".good.example" } else { "www.good.example" };
            for bench in &mut benches {
                let policy = Policy::compile(&named(name), Some(bench.engine.policy())).unwrap();
                bench.engine.install(Arc::new(policy));
            }
        }
        for bench in &mut benches {
            bench.pass(if number % 7 == 6 { 300 } else { 1 });
        }
        assert!(benches[0].events == benches[1].events, "flow {number}");
        assert!(benches[0].sent == benches[1].sent, "flow {number}");
    }
    assert!(told > 1000, "{told}");
}
