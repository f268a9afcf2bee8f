//! Flows whose first packet that is seen is not their first, and flows that wait for their decision in
//! vain: who passes, who is told, what is remembered.

use super::half_tests::named;
use super::record::{Ended, Event};
use super::tests::{Bench, ENDPOINT, spec, tuple};
use super::{Origin, Output};
use crate::model::{Action, FiveTuple, Protocol, Reason, Verdict};
use crate::policy::Policy;
use crate::policy::spec::{IcmpMatch, Midstream, PolicySpec};
use crate::synth::packet::{self, Segment, flag};
use crate::synth::session::{Session, Side};
use crate::wire::{self, Settings};
use std::sync::Arc;

const REFUSED: Verdict = Verdict::Drop(Reason::FlowDenied);
/// No rule is true of it.
const REFUSED_BY_NONE: Verdict = Verdict::Drop(Reason::Otherwise);

/// Packets of a protocol without a handshake, and whether the client's are allowed.
fn datagrams(port: u16) -> FiveTuple {
    tuple(port, Protocol::UDP)
}

#[test]
fn a_late_answer_does_not_keep_its_client_out() {
    let mut bench = Bench::new(&spec());
    let asked = datagrams(514);
    let late = packet::udp(&asked.reverse(), b"late");
    assert_eq!(bench.give(&late), Verdict::Drop(Reason::NoPolicy));
    assert_eq!(bench.give(&late), REFUSED, "it opens nothing of its own");
    assert_eq!(bench.give(&packet::udp(&asked, b"<1>x")), Verdict::Forward);
    assert_eq!(bench.give(&late), Verdict::Forward, "it answers now");
    bench.pass(200);
    let ended =
        [(Some(Action::Deny), Ended::Replaced, 2), (Some(Action::Allow), Ended::Expired, 2)];
    assert_eq!(bench.ended(), ended);
}

#[test]
fn nor_does_one_of_a_protocol_without_ports() {
    let mut spec = spec();
    spec.policies[0].rules[0].protocols = Some(vec![Protocol(50)]);
    spec.policies[0].rules[0].ports = None;
    let mut bench = Bench::new(&spec);
    let asked = tuple(0, Protocol(50));
    let asked = FiveTuple { src_port: 0, ..asked };
    let late = packet::other(&asked.reverse(), b"late");
    assert_eq!(bench.give(&late), Verdict::Drop(Reason::NoPolicy));
    assert_eq!(bench.give(&packet::other(&asked, b"sealed")), Verdict::Forward);
    assert_eq!(bench.give(&late), Verdict::Forward);
}

#[test]
fn both_sides_of_what_nobody_allows_are_one_refused_flow() {
    let mut bench = Bench::new(&spec());
    let asked = datagrams(9);
    assert_eq!(bench.give(&packet::udp(&asked, b"x")), Verdict::Drop(Reason::Otherwise));
    for _ in 0..3 {
        assert_eq!(bench.give(&packet::udp(&asked.reverse(), b"y")), REFUSED);
        assert_eq!(bench.give(&packet::udp(&asked, b"x")), REFUSED);
    }
    bench.pass(60);
    assert_eq!(bench.ended(), [(Some(Action::Deny), Ended::Denied, 7)]);
}

#[test]
fn a_damaged_packet_ends_no_refused_flow() {
    let mut bench = Bench::new(&spec());
    let asked = datagrams(514);
    bench.give(&packet::udp(&asked.reverse(), b"late"));
    let mut damaged = packet::udp(&asked, b"<1>x");
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(matches!(bench.give(&damaged), Verdict::Drop(_)));
    assert_eq!(bench.ended(), []);
}

/// A packet with a short header, and one that only looks like it.
fn short() -> Vec<u8> {
    (0..40).map(|n: u8| if n == 0 { 0x4f } else { n.wrapping_mul(37) ^ 0xc5 }).collect()
}

#[test]
fn the_middle_of_a_quic_connection_follows_the_setting() {
    let text = b"REGISTER sip:example.net SIP/2.0\r\n";
    let denied = Verdict::Drop(Reason::Otherwise);
    for (setting, middle) in [
        (Midstream::Deny, denied),
        (Midstream::Allow, Verdict::Forward),
        (Midstream::Adopt, Verdict::Drop(Reason::Midstream)),
    ] {
        let mut named = named(".example");
        named.defaults.midstream = setting;
        for (at, asked) in [datagrams(443), datagrams(443).reverse()].iter().enumerate() {
            let mut bench = Bench::new(&named);
            let middle = if at == 1 && setting == Midstream::Deny {
                Verdict::Drop(Reason::NoPolicy)
            } else {
                middle
            };
            assert_eq!(bench.give(&packet::udp(asked, &short())), middle, "{setting:?} {at}");
            let record = bench.engine.records().next().unwrap();
            assert!(at == 1 && setting == Midstream::Deny || record.tuple.dst_port == 443);
        }
        let mut bench = Bench::new(&named);
        assert_eq!(bench.give(&packet::udp(&datagrams(443), text)), denied, "{setting:?}");
        // As many bytes as a short header needs, one less and one more.
        for (len, verdict) in [(20, denied), (21, middle), (22, middle)] {
            let mut bench = Bench::new(&named);
            assert_eq!(
                bench.give(&packet::udp(&datagrams(443), &short()[..len])),
                verdict,
                "{len}"
            );
        }
    }
}

#[test]
fn a_question_is_no_middle_of_anything_whatever_its_number() {
    for setting in [Midstream::Allow, Midstream::Adopt] {
        let mut spec = super::setting_tests::binding_spec();
        spec.defaults.midstream = setting;
        for number in [0x0001, 0x4f4f, 0x7fff] {
            let mut bench = Bench::new(&spec);
            let mut query = super::setting_tests::query(number);
            assert_eq!(bench.give(&packet::udp(&datagrams(53), &query)), Verdict::Forward);
            assert!(!bench.engine.records().next().unwrap().midstream);
            // Nor is one that nobody would call a question.
            query[2..8].fill(0xff);
            let mut bench = Bench::new(&spec);
            assert!(matches!(bench.give(&packet::udp(&datagrams(53), &query)), Verdict::Drop(_)));
        }
    }
}

#[test]
fn a_rule_that_says_so_takes_the_middle_of_a_quic_connection_on() {
    let mut named = named(".example");
    named.defaults.midstream = Midstream::Adopt;
    for rule in &mut named.policies[0].rules {
        rule.midstream = crate::policy::spec::Answer::Allow;
    }
    for asked in [datagrams(443), datagrams(443).reverse()] {
        let mut bench = Bench::new(&named);
        assert_eq!(bench.give(&packet::udp(&asked, &short())), Verdict::Forward);
        assert_eq!(bench.give(&packet::udp(&asked.reverse(), &short())), Verdict::Forward);
        let record = bench.engine.records().next().unwrap();
        assert_eq!((record.tuple.dst_port, record.midstream), (443, true));
    }
}

#[test]
fn an_echo_reply_is_taken_on_by_the_rule_for_what_asked_for_it() {
    let v6 = packet::tuple(
        ("fd20::5".parse().unwrap(), 7),
        ("fd00::7".parse().unwrap(), 7),
        Protocol::ICMPV6,
    );
    let v4 = FiveTuple { src_port: 7, dst_port: 7, ..tuple(7, Protocol::ICMP) };
    for (echo, kind, other) in [(v4, 8, 0), (v6, 128, 129)] {
        for (asked, verdict) in [(kind, Verdict::Forward), (other, REFUSED_BY_NONE)] {
            let mut spec = spec();
            spec.defaults.midstream = Midstream::Adopt;
            spec.segments[0].networks.push("fd20::/16".parse().unwrap());
            spec.segments[2].networks.push("fd00::/16".parse().unwrap());
            let rule = &mut spec.policies[0].rules[0];
            (rule.protocols, rule.ports) = (Some(vec![echo.protocol]), None);
            rule.icmp = Some(vec![IcmpMatch { kind: asked, code: None }]);
            let mut bench = Bench::new(&spec);
            assert_eq!(bench.give(&packet::echo(&echo.reverse(), true, 1)), verdict, "{asked}");
            let record = bench.engine.records().next().unwrap();
            let request = Some((kind, 0));
            assert_eq!((record.tuple.src, record.icmp), (echo.src, request), "{asked}");
            if verdict != Verdict::Forward {
                continue;
            }
            assert_eq!(bench.give(&packet::echo(&echo, false, 2)), verdict);
            // Decided again, it is the same flow.
            let policy = Policy::compile(&spec, Some(bench.engine.policy())).unwrap();
            bench.engine.install(Arc::new(policy));
            assert_eq!(bench.give(&packet::echo(&echo.reverse(), true, 2)), verdict);
        }
    }
}

#[test]
fn what_headers_allow_is_no_middle_of_anything() {
    let mut spec = spec();
    spec.defaults.midstream = Midstream::Adopt;
    let mut bench = Bench::new(&spec);
    assert_eq!(bench.give(&packet::udp(&datagrams(514), &short())), Verdict::Forward);
    assert!(!bench.engine.records().next().unwrap().midstream);
}

#[test]
fn the_end_of_a_connection_that_is_not_known_passes_where_its_middle_may() {
    for (setting, verdict) in [
        (Midstream::Deny, Verdict::Drop(Reason::Midstream)),
        (Midstream::Reject, Verdict::Drop(Reason::Midstream)),
        (Midstream::Allow, Verdict::Forward),
        (Midstream::Adopt, Verdict::Forward),
    ] {
        let mut spec = spec();
        spec.defaults.midstream = setting;
        let mut bench = Bench::new(&spec);
        let rst = Segment { seq: 7, ack: 9, flags: flag::RST | flag::ACK, payload: b"" };
        let rst = packet::tcp(&tuple(443, Protocol::TCP), &rst);
        assert_eq!(bench.give(&rst), verdict, "{setting:?}");
        assert_eq!(bench.sent.len(), 0, "a reset is never answered");
        assert_eq!(bench.engine.flows(), usize::from(verdict == Verdict::Forward));
        bench.pass(60);
        assert_eq!(bench.engine.flows(), 0, "and soon forgotten");
    }
}

/// A connection that is held, and its next segment.
fn waiting(spec: &PolicySpec) -> (Bench, Vec<u8>) {
    let mut bench = Bench::new(spec);
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        bench.give(&packet);
    }
    assert_eq!(bench.give(&session.send(Side::Client, b"GET / HT")), Verdict::Hold);
    (bench, session.send(Side::Client, b"TP/1.1\r\nHost: a.example\r\n\r\n"))
}

/// The flags and the receiver of every answer.
fn answers(bench: &Bench) -> Vec<(u8, u16)> {
    let segment = |(origin, bytes): &(Origin, Vec<u8>)| {
        assert_eq!(*origin, Origin::Overdue);
        let packet = wire::parse(bytes, wire::Link::Ethernet, &Settings::GWLB).unwrap();
        assert!(wire::transport_checksum_ok(bytes, &packet));
        (packet.tcp().unwrap().flags.0, packet.tuple.dst_port)
    };
    bench.sent.iter().map(segment).collect()
}

#[test]
fn whoever_waits_in_vain_is_told_and_stays_refused() {
    const RST: u8 = flag::RST | flag::ACK;
    for (otherwise, told) in
        [(Action::Deny, &[(RST, 80)][..]), (Action::Reject, &[(RST, 80), (RST, 40_000)])]
    {
        let mut named = named(".example");
        named.policies[0].otherwise = otherwise;
        let (mut bench, next) = waiting(&named);
        bench.pass(6);
        assert_eq!(answers(&bench), told, "{otherwise:?}");
        assert_eq!((bench.engine.held_bytes(), bench.engine.flows()), (0, 1));
        assert_eq!(bench.ended(), [], "it is remembered");
        assert_eq!(bench.give(&next), REFUSED, "what comes later is of the same flow");
        bench.pass(60);
        assert_eq!(bench.ended(), [(Some(otherwise), Ended::Denied, 5)]);
    }
}

#[test]
fn a_packet_that_comes_when_time_is_up_meets_the_refusal() {
    let (mut bench, next) = waiting(&named(".example"));
    bench.skip(6);
    assert_eq!(bench.give(&next), REFUSED);
    assert_eq!(answers(&bench).len(), 1);
    assert_eq!(bench.engine.flows(), 1);
}

#[test]
fn a_refusal_that_is_noticed_late_is_remembered_from_when_time_was_up() {
    let over = Verdict::Drop(Reason::Midstream);
    // Five seconds of waiting, thirty of being remembered.
    for (seconds, verdict) in [(34, REFUSED), (35, over), (36, over)] {
        let (mut bench, next) = waiting(&named(".example"));
        bench.skip(seconds);
        assert_eq!(bench.give(&next), verdict, "{seconds}");
        assert_eq!(answers(&bench).len(), 1, "{seconds}");
    }
}

#[test]
fn whoever_waits_under_a_ruleset_that_is_gone_is_denied() {
    let named = named(".example");
    let (mut bench, _) = waiting(&named);
    let mut other = named.clone();
    other.segments.rotate_left(1);
    let policy = Policy::compile(&other, Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(policy));
    bench.pass(6);
    assert_eq!(answers(&bench).len(), 1);
    let mut out = Output::default();
    bench.engine.finish(&mut out);
    let verdict = out.events.iter().find_map(|event| match event {
        Event::FlowEnd(record) => record.verdict,
        _ => None,
    });
    assert_eq!(verdict.map(|v| (v.action, v.reason)), Some((Action::Deny, Reason::Undecided)));
    assert!(bench.give_from(ENDPOINT, &packet::udp(&datagrams(514), b"x")) == Verdict::Forward);
}
