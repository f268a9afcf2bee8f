//! Tests of ICMP errors: who may say what of whose flow, and how long.

use crate::engine::Limits;
use crate::engine::record::Event;
use crate::engine::tests::{Bench, spec, tuple};
use crate::model::{Addr, FiveTuple, Protocol, Reason, Verdict};
use crate::policy::spec::PolicySpec;
use crate::synth::packet::{self, Segment, flag};
use crate::synth::session::{Session, Side};
use crate::wire::{Body, Link, Settings, parse};

const CLIENT: [u8; 4] = [10, 20, 1, 5];
const SERVER: [u8; 4] = [10, 100, 4, 7];
/// In the network of neither segment, nor of any other.
const ROUTER: [u8; 4] = [192, 0, 2, 1];
const UNRELATED: Verdict = Verdict::Drop(Reason::IcmpUnrelated);
const UNREACHABLE: (u8, u8) = (3, 3);
const TOO_BIG: (u8, u8) = (3, 4);

fn error(from: [u8; 4], to: [u8; 4], (kind, code): (u8, u8), about: &[u8]) -> Vec<u8> {
    let tuple = FiveTuple {
        src: Addr::v4(from),
        dst: Addr::v4(to),
        protocol: Protocol::ICMP,
        ..FiveTuple::default()
    };
    packet::icmp(&tuple, kind, code, about)
}

fn segment(tuple: &FiveTuple, seq: u32, payload: &[u8]) -> Vec<u8> {
    packet::tcp(tuple, &Segment { seq, ack: 1, flags: flag::ACK, payload })
}

fn established(bench: &mut Bench) -> Session {
    let mut session = Session::new(tuple(443, Protocol::TCP));
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    session
}

#[test]
fn an_error_is_no_longer_than_one_may_be() {
    let mut bench = Bench::new(&spec());
    let session = established(&mut bench);
    let seq = session.seq(Side::Client);
    for (len, expected) in [(575, Verdict::Forward), (576, Verdict::Forward), (577, UNRELATED)] {
        let about = segment(&tuple(443, Protocol::TCP), seq, &vec![7; len - 28 - 40]);
        let error = error(SERVER, CLIENT, UNREACHABLE, &about);
        assert_eq!(error.len(), len);
        assert_eq!(bench.give(&error), expected, "{len}");
    }
    let about = segment(&tuple(443, Protocol::TCP), seq, &[7; 507]);
    let whole = error(SERVER, CLIENT, UNREACHABLE, &about);
    assert_eq!(bench.give(&[&whole[..], b"e"].concat()), Verdict::Forward, "576 with what trails");
    assert_eq!(bench.give(&[&whole[..], b"ev"].concat()), UNRELATED);
}

#[test]
fn who_is_neither_of_the_two_speaks_of_no_flow_but_a_router_of_its_path_mtu() {
    let mut bench = Bench::new(&spec());
    let session = established(&mut bench);
    let about = session.ack(Side::Client);
    assert_eq!(bench.give(&error(ROUTER, CLIENT, UNREACHABLE, &about)), UNRELATED);
    assert_eq!(bench.give(&error(ROUTER, CLIENT, TOO_BIG, &about)), Verdict::Forward);
    assert_eq!(bench.give(&error(SERVER, CLIENT, UNREACHABLE, &about)), Verdict::Forward);
    let mut three = spec();
    let mut third = three.segments[0].clone();
    third.name = "third".to_owned();
    third.endpoints.clear();
    third.networks = vec!["192.0.2.0/24".parse().unwrap()];
    third.kind = crate::policy::spec::SegmentKind::Shared;
    three.segments.push(third);
    let mut bench = Bench::new(&three);
    let about = established(&mut bench).ack(Side::Client);
    assert_eq!(bench.give(&error(ROUTER, CLIENT, TOO_BIG, &about)), UNRELATED, "another's");
}

#[test]
fn an_error_quotes_what_was_sent_of_late() {
    let mut bench = Bench::new(&spec());
    let session = established(&mut bench);
    let next = session.seq(Side::Client);
    for (seq, expected) in [
        (next, Verdict::Forward),
        (next.wrapping_add(1), UNRELATED),
        (next.wrapping_sub(66_000), Verdict::Forward),
        (next.wrapping_sub(66_001), UNRELATED),
        (next.wrapping_add(1 << 31), UNRELATED),
    ] {
        let about = segment(&tuple(443, Protocol::TCP), seq, b"");
        let error = error(SERVER, CLIENT, TOO_BIG, &about);
        assert_eq!(bench.give(&error), expected, "{}", seq.wrapping_sub(next) as i32);
    }
}

#[test]
fn of_a_flow_that_is_not_known_only_that_a_packet_was_too_big_arrives_and_no_more_than_it_needs() {
    let mut bench = Bench::new(&spec());
    let about = segment(&tuple(443, Protocol::TCP), 1, &[7; 400]);
    for kind in [(3, 0), UNREACHABLE, (11, 0), (12, 0)] {
        assert_eq!(bench.give(&error(SERVER, CLIENT, kind, &about)), UNRELATED);
    }
    assert!(bench.sent.is_empty());
    for from in [SERVER, ROUTER] {
        assert_eq!(bench.give(&error(from, CLIENT, TOO_BIG, &about)), UNRELATED);
        let (_, frame) = bench.sent.pop().expect("one for one");
        let read = parse(&frame, Link::Ethernet, &Settings::GWLB).unwrap();
        assert!(matches!(read.body, Body::IcmpError { kind: 3, code: 4, .. }));
        assert_eq!(read.ip_len, 20 + 8 + 20 + 8);
        assert_eq!((read.tuple.src, read.tuple.dst), (Addr::v4(from), Addr::v4(CLIENT)));
        assert!(crate::wire::transport_checksum_ok(&frame, &read));
    }
    let options = [&[0x46][..], &about[1..20], b"evil", &about[20..]].concat();
    assert_eq!(bench.give(&error(SERVER, CLIENT, TOO_BIG, &options)), UNRELATED);
    let refused = segment(&tuple(9, Protocol::TCP), 1, b"");
    assert_eq!(bench.give(&error(SERVER, CLIENT, TOO_BIG, &refused)), UNRELATED);
    assert!(bench.sent.is_empty());
}

#[test]
fn errors_are_counted_with_their_flow_and_pair() {
    let mut bench = Bench::new(&spec());
    let session = established(&mut bench);
    let about = session.ack(Side::Client);
    let load = |bench: &Bench| {
        let pair = &bench.engine.tallied().pairs()[0];
        let dropped: u64 = pair.dropped.iter().map(|(_, load)| load.packets).sum();
        (pair.forwarded.packets, dropped)
    };
    let (before, _) = load(&bench);
    assert_eq!(bench.give(&error(SERVER, CLIENT, UNREACHABLE, &about)), Verdict::Forward);
    assert_eq!(load(&bench), (before + 1, 0));
    let made_up = segment(&tuple(443, Protocol::TCP), session.seq(Side::Client) + 1, b"");
    assert_eq!(bench.give(&error(SERVER, CLIENT, UNREACHABLE, &made_up)), UNRELATED);
    assert_eq!(load(&bench), (before + 1, 1));
    bench.pass(1_000_000);
    let ended = bench.events.iter().find_map(|event| match event {
        Event::FlowEnd(record) => Some(record.packets()),
        _ => None,
    });
    assert_eq!(ended, Some(before + 1));
}

#[test]
fn a_flood_of_errors_leaves_the_answers_to_others() {
    let limits = Limits { flows: 1_000, answers_per_second: 8, ..Limits::default() };
    let mut bench = Bench::with(&rejecting(), limits);
    for port in 0..200 {
        let unknown = FiveTuple { src_port: 1_000 + port, ..tuple(443, Protocol::TCP) };
        let about = segment(&unknown, 1, b"");
        assert_eq!(bench.give(&error(SERVER, CLIENT, TOO_BIG, &about)), UNRELATED);
    }
    let relayed = std::mem::take(&mut bench.sent).len();
    assert!((4..=8).contains(&relayed), "{relayed}");
    let syn = Session::new(tuple(23, Protocol::TCP)).handshake().remove(0);
    assert!(matches!(bench.give(&syn), Verdict::Drop(_)));
    assert_eq!(bench.sent.len(), 1);
}

fn rejecting() -> PolicySpec {
    let mut spec = spec();
    spec.policies[0].otherwise = crate::model::Action::Reject;
    spec
}
