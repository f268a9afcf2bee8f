//! QUIC flows on which several connections, or what is no QUIC, come side by side: what waits for one
//! name does not pass on another's, and what no name decides does not pass at all.

use super::half_tests::named;
use super::tests::{Bench, OTHER, tuple};
use crate::inspect::quic::CONNECTIONS_MAX;
use crate::inspect::quic::seal::{Initial, crypto_frame};
use crate::inspect::quic::version::V1;
use crate::inspect::tls::compose::Offer;
use crate::model::{EndpointId, FiveTuple, Protocol, Reason, Verdict};
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{
    Answer, CommonEndpoints, Midstream, PolicySpec, PortRange, RuleSpec, SegmentKind, SegmentSpec,
};
use crate::synth::packet;
use crate::synth::speech::{Speech, proxy_header};
use std::sync::Arc;

const GOOD: &[u8] = b"api.good.example";
const EVIL: &[u8] = b"api.evil.example";
const A: &[u8] = &[0xaa; 8];
const B: &[u8] = &[0xbb; 8];
/// An id that a server chose.
const CHOSEN: &[u8] = &[0xcc; 8];

const FORWARD: Verdict = Verdict::Forward;
const HOLD: Verdict = Verdict::Hold;
const MALFORMED: Verdict = Verdict::Drop(Reason::QuicMalformed);
const DENIED: Verdict = Verdict::Drop(Reason::Otherwise);

fn hello(name: &[u8]) -> Vec<u8> {
    Offer { names: &[name], versions: &[0x0304], ..Offer::default() }.message().unwrap()
}

fn sealed(destination: &[u8], frames: &[u8]) -> Vec<u8> {
    of(Initial { destination, ..Initial::default() }, frames)
}

/// A packet in a datagram as long as a server asks for.
fn of(packet: Initial<'_>, frames: &[u8]) -> Vec<u8> {
    Initial { version: V1, padded_to: 1200, ..packet }.seal(frames).unwrap()
}

fn whole(destination: &[u8], name: &[u8]) -> Vec<u8> {
    sealed(destination, &crypto_frame(0, &hello(name)).unwrap())
}

/// The two halves of a hello.
fn halves(destination: &[u8], name: &[u8]) -> [Vec<u8>; 2] {
    let hello = hello(name);
    let (front, back) = hello.split_at(60);
    [(0, front), (60, back)]
        .map(|(offset, part)| sealed(destination, &crypto_frame(offset, part).unwrap()))
}

fn flow() -> FiveTuple {
    tuple(443, Protocol::UDP)
}

impl Bench {
    /// What becomes of a datagram of the client.
    fn say(&mut self, payload: &[u8]) -> Verdict {
        self.give(&packet::udp(&flow(), payload))
    }

    /// How many of what was held was let go.
    fn released(&self) -> usize {
        self.sent.len()
    }

    fn dropped(&self, reason: Reason) -> u64 {
        self.engine.counters().dropped(reason)
    }
}

fn names(name: &str) -> Arc<NameSet> {
    Arc::new(NameSet::build([NamePattern::parse(name).unwrap()]).unwrap())
}

#[test]
fn half_a_hello_waits_for_its_own_name_whatever_is_allowed_beside_it() {
    let [front, back] = halves(B, EVIL);
    for first in [true, false] {
        let mut bench = Bench::new(&named(".good.example"));
        if first {
            assert_eq!(bench.say(&whole(A, GOOD)), FORWARD);
        }
        assert_eq!(bench.say(&front), HOLD);
        for _ in 0..2 {
            assert_eq!(bench.say(&whole(A, GOOD)), FORWARD);
            assert_eq!(bench.say(&[0x45; 60]), FORWARD);
        }
        assert_eq!(bench.say(&whole(CHOSEN, b"www.good.example")), FORWARD);
        assert_eq!(bench.released(), 0);
        assert_eq!(bench.say(&back), DENIED);
        assert_eq!((bench.released(), bench.dropped(Reason::HeldDenied)), (0, 1));
    }
}

#[test]
fn an_allowed_hello_lets_its_own_first_half_go_and_no_other() {
    let mut bench = Bench::new(&named(".good.example"));
    let [evil, _] = halves(A, EVIL);
    let [front, back] = halves(B, GOOD);
    assert_eq!(bench.say(&evil), HOLD);
    assert_eq!(bench.say(&front), HOLD);
    assert_eq!(bench.say(&back), FORWARD);
    assert_eq!(bench.released(), 1);
    bench.pass(600);
    assert_eq!((bench.released(), bench.dropped(Reason::HeldDiscarded)), (1, 1));
}

#[test]
fn what_is_no_quic_lets_no_half_hello_go() {
    let mut spec = named(".good.example");
    let mut dns = RuleSpec::new("dns", crate::model::Action::Allow);
    dns.protocols = Some(vec![Protocol::UDP]);
    dns.ports = Some(vec![PortRange::one(443)]);
    dns.dns = Some(names(".good.example"));
    spec.policies[0].rules.push(dns);
    let question = Speech::Dns { name: "api.good.example", answer: None }.datagrams().remove(0).1;
    let mut google = b"\x09\x01\x02\x03\x04\x05\x06\x07\x08Q043".to_vec();
    google.extend([0; 13]);
    google.extend(*b"CHLO\x01\0\0\0SNI\0\x10\0\0\0api.good.example");
    let [front, back] = halves(B, EVIL);
    for (other, given_up) in [(question, 1), (google, 0)] {
        let mut bench = Bench::new(&spec);
        assert_eq!(bench.say(&whole(A, GOOD)), FORWARD);
        assert_eq!(bench.say(&front), HOLD);
        assert_eq!(bench.say(&other), FORWARD);
        assert_eq!(bench.released(), 0);
        assert_eq!(bench.dropped(Reason::HeldDiscarded), given_up);
        assert!(matches!(bench.say(&back), Verdict::Drop(_)));
        assert_eq!(bench.released(), 0);
    }
}

/// Behind a load balancer, for the partner of the first segment.
fn proxied() -> PolicySpec {
    let mut spec = named(".good.example");
    let mut proxy = SegmentSpec::new("nlb", SegmentKind::Shared);
    proxy.networks = vec!["10.20.1.0/24".parse().unwrap()];
    proxy.trusted_proxy = true;
    spec.segments.push(proxy);
    spec.segments[0].proxy_endpoints = vec![EndpointId(0x77)];
    spec.segments[0].endpoints.clear();
    spec.segments[0].networks.clear();
    spec.segments[1].endpoints = vec![OTHER];
    spec.segments[1].networks = vec!["10.21.0.0/16".parse().unwrap()];
    spec.common = CommonEndpoints::Any;
    spec
}

#[test]
fn a_proxy_header_alone_lets_no_half_hello_go() {
    let header = proxy_header(Some(EndpointId(0x77)), Protocol::UDP);
    let [front, back] = halves(B, EVIL);
    for repeated in [true, false] {
        let mut bench = Bench::new(&proxied());
        assert_eq!(bench.say(&[header.clone(), whole(A, GOOD)].concat()), FORWARD);
        let behind = |part: &[u8]| match repeated {
            true => [&header, part].concat(),
            false => part.to_vec(),
        };
        assert_eq!(bench.say(&behind(&front)), HOLD);
        assert_eq!(bench.say(&header), FORWARD);
        assert_eq!(bench.released(), 0);
        assert_eq!(bench.say(&behind(&back)), DENIED);
        assert_eq!(bench.released(), 0);
    }
    let mut bench = Bench::new(&proxied());
    assert_eq!(bench.say(&header), HOLD);
    assert_eq!(bench.say(&whole(A, GOOD)), FORWARD);
    assert_eq!(bench.released(), 1, "a header that came first goes with the hello behind it");
}

#[test]
fn a_hello_that_the_server_discards_names_nothing() {
    let mut bench = Bench::new(&named(".good.example"));
    // The server takes the last packet for 0x101, and discards the one before for its size.
    let ping = of(Initial { destination: A, number: 0x100, ..Initial::default() }, &[1]);
    let small = Initial { destination: A, number: 1, number_bytes: 1, ..Initial::default() };
    let small = Initial { version: V1, padded_to: 300, ..small };
    let small = small.seal(&crypto_frame(0, &hello(GOOD)).unwrap()).unwrap();
    let last = Initial { destination: A, number: 0x101, number_bytes: 1, ..Initial::default() };
    assert_eq!(bench.say(&ping), HOLD);
    assert_eq!(bench.say(&small), MALFORMED);
    assert_eq!(bench.say(&of(last, &crypto_frame(0, &hello(EVIL)).unwrap())), DENIED);
    assert_eq!(bench.released(), 0);
    let mut bench = Bench::new(&named(".good.example"));
    let alone = Initial { version: V1, destination: A, padded_to: 1199, ..Initial::default() };
    let alone = alone.seal(&crypto_frame(0, &hello(GOOD)).unwrap()).unwrap();
    assert_eq!(bench.say(&alone), MALFORMED);
    assert_eq!(bench.say(&whole(A, GOOD)), FORWARD, "the flow is not lost for that");
}

#[test]
fn an_initial_that_nobody_can_open_does_not_pass_on_the_name_of_another() {
    let mut bench = Bench::new(&named(".good.example"));
    assert_eq!(bench.say(&whole(A, GOOD)), FORWARD);
    let forged = Initial { destination: B, keyed_by: Some(CHOSEN), ..Initial::default() };
    let forged = of(forged, &crypto_frame(0, &hello(EVIL)).unwrap());
    for _ in 0..100 {
        assert_eq!(bench.say(&forged), MALFORMED);
    }
    assert_eq!(bench.say(&[0x45; 60]), FORWARD, "the flow goes on");
}

#[test]
fn a_hello_over_packets_whose_numbers_go_round_is_allowed() {
    let mut bench = Bench::new(&named(".good.example"));
    let hello = hello(GOOD);
    let part = |number, offset: usize, bytes: &[u8]| {
        let packet = Initial { destination: A, number, number_bytes: 1, ..Initial::default() };
        of(packet, &crypto_frame(offset, bytes).unwrap())
    };
    assert_eq!(bench.say(&part(0xff, 0, &hello[..60])), HOLD);
    assert_eq!(bench.say(&part(0x100, 60, &hello[60..])), FORWARD);
    assert_eq!(bench.released(), 1);
}

/// What the client of connection `A` sends after a HelloRetryRequest, `number_bytes` of its packet
/// number written.
fn second_hello(name: &[u8], number: u32, number_bytes: usize) -> Vec<u8> {
    let frame = crypto_frame(hello(GOOD).len(), &hello(name)).unwrap();
    let keyed_by = Some(A);
    of(
        Initial { destination: CHOSEN, keyed_by, number, number_bytes, ..Initial::default() },
        &frame,
    )
}

#[test]
fn a_second_hello_is_read_whatever_came_between() {
    for (name, verdict) in [(GOOD, FORWARD), (EVIL, Verdict::Drop(Reason::NameChanged))] {
        let mut bench = Bench::new(&named(".good.example"));
        assert_eq!(bench.say(&whole(A, GOOD)), FORWARD);
        assert_eq!(bench.say(&whole(B, b"www.good.example")), FORWARD);
        assert_eq!(bench.say(&second_hello(name, 1, 0)), verdict);
        let mut bench = Bench::new(&named(".good.example"));
        let first = Initial { destination: A, number: 0x100, ..Initial::default() };
        assert_eq!(bench.say(&of(first, &crypto_frame(0, &hello(GOOD)).unwrap())), FORWARD);
        assert_eq!(bench.say(&second_hello(name, 0x101, 1)), verdict);
    }
}

#[test]
fn a_second_hello_of_a_connection_that_is_known_no_more_does_not_pass() {
    for (between, verdict) in [
        (CONNECTIONS_MAX - 2, Verdict::Drop(Reason::NameChanged)),
        (CONNECTIONS_MAX - 1, Verdict::Drop(Reason::NameChanged)),
        (CONNECTIONS_MAX, MALFORMED),
    ] {
        let mut bench = Bench::new(&named(".good.example"));
        assert_eq!(bench.say(&whole(A, GOOD)), FORWARD);
        for number in 0..between {
            let id = [u8::try_from(number).unwrap(); 8];
            assert_eq!(bench.say(&whole(&id, GOOD)), FORWARD);
        }
        assert_eq!(bench.say(&second_hello(EVIL, 1, 0)), verdict, "{between}");
    }
}

#[test]
fn what_is_held_of_a_connection_that_is_given_up_is_dropped() {
    for (halves_held, given_up) in
        [(CONNECTIONS_MAX - 1, 0), (CONNECTIONS_MAX, 0), (CONNECTIONS_MAX + 1, 1)]
    {
        let mut bench = Bench::new(&named(".good.example"));
        for number in 0..halves_held {
            let id = [u8::try_from(number).unwrap(); 8];
            assert_eq!(bench.say(&halves(&id, GOOD)[0]), HOLD);
        }
        assert_eq!(bench.dropped(Reason::HeldDiscarded), given_up, "{halves_held}");
        assert_eq!(bench.released(), 0);
    }
}

/// Some rule allows what is met in the middle, or the setting does.
fn met_in_the_middle() -> [PolicySpec; 2] {
    let mut adopting = named(".good.example");
    adopting.defaults.midstream = Midstream::Adopt;
    adopting.policies[0].rules.last_mut().unwrap().midstream = Answer::Allow;
    let mut allowing = named(".good.example");
    allowing.defaults.midstream = Midstream::Allow;
    [adopting, allowing]
}

/// A packet with a short header of a connection that is not known.
fn middle(len: u8) -> Vec<u8> {
    (0..len).map(|n| if n == 0 { 0x4f } else { n.wrapping_mul(37) ^ 0xc5 }).collect()
}

#[test]
fn a_connection_that_begins_in_the_middle_of_a_flow_is_decided_by_its_name() {
    for spec in met_in_the_middle() {
        for (name, verdict) in [(GOOD, FORWARD), (EVIL, DENIED)] {
            for before in [1, 2, 9] {
                for reversed in [false, true] {
                    let mut bench = Bench::new(&spec);
                    for _ in 0..before {
                        let seen = if reversed { flow().reverse() } else { flow() };
                        assert_eq!(bench.give(&packet::udp(&seen, &middle(40))), FORWARD);
                    }
                    assert_eq!(bench.say(&whole(A, name)), verdict, "{before}");
                    bench.pass(600);
                    assert_eq!(bench.ended().len(), 2, "the middle was a flow of its own");
                }
            }
        }
    }
}

#[test]
fn the_middle_of_a_flow_passes_at_once_and_its_own_long_headers_too() {
    for spec in met_in_the_middle() {
        let mut bench = Bench::new(&spec);
        assert_eq!(bench.say(&middle(40)), FORWARD);
        for _ in 0..9 {
            assert_eq!(bench.say(&middle(60)), FORWARD);
            assert_eq!(bench.engine.busy & 1, 0, "unread");
        }
        let going_on = Initial { destination: CHOSEN, keyed_by: Some(A), ..Initial::default() };
        assert_eq!(bench.say(&of(going_on, &[2, 0, 0, 0, 0])), FORWARD);
        let from_server = packet::udp(&flow().reverse(), &whole(A, EVIL)[..1100]);
        assert_eq!(bench.give(&from_server), FORWARD);
        assert_eq!(bench.say(&middle(60)), FORWARD);
        assert_eq!((bench.engine.busy & 1, bench.engine.flows()), (0, 1));
    }
}

#[test]
fn while_draining_nothing_begins_in_the_middle_of_a_flow_that_goes_on() {
    let [_, allowing] = met_in_the_middle();
    let mut bench = Bench::new(&allowing);
    assert_eq!(bench.say(&middle(40)), FORWARD);
    bench.engine.drain(true);
    assert_eq!(bench.say(&whole(A, GOOD)), Verdict::Drop(Reason::Draining));
    assert_eq!(bench.say(&middle(40)), FORWARD);
}
