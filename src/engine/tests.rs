//! The engine over whole conversations: synthetic frames in, verdicts and records out.

use super::record::{Ended, Event};
use super::{Engine, Frame, Limits, Origin, Output};
use crate::flow::Secret;
use crate::model::{Action, EndpointId, FiveTuple, Protocol, Reason, Timestamp, Verdict};
use crate::policy::Policy;
use crate::policy::spec::{
    BlockSpec, Midstream, Mode, PolicySpec, PortRange, RuleSpec, SegmentKind, SegmentSpec, Selector,
};
use crate::synth::gwlb::Encapsulation;
use crate::synth::packet::{self, Segment, flag};
use crate::synth::session::{Session, Side};
use crate::wire::{Link, Settings};
use std::sync::Arc;

pub(super) const ENDPOINT: EndpointId = EndpointId(0x1234_5678_9abc_def0);
pub(super) const OTHER: EndpointId = EndpointId(0x0fee_ddcc_bbaa_9988);

pub(super) fn spec() -> PolicySpec {
    let mut acme = SegmentSpec::new("acme", SegmentKind::Partner);
    acme.endpoints = vec![ENDPOINT];
    acme.networks = vec!["10.20.0.0/16".parse().unwrap()];
    let mut globex = SegmentSpec::new("globex", SegmentKind::Partner);
    globex.endpoints = vec![OTHER];
    globex.networks = vec!["10.20.0.0/16".parse().unwrap()];
    let mut payments = SegmentSpec::new("payments", SegmentKind::Workload);
    payments.networks = vec!["10.100.0.0/16".parse().unwrap()];
    let rule = |id: &str, action, protocol, port| {
        let mut rule = RuleSpec::new(id, action);
        rule.protocols = Some(vec![protocol]);
        rule.ports = Some(vec![PortRange::one(port)]);
        rule
    };
    let block = BlockSpec {
        location: "test".to_owned(),
        from: vec![Selector::Segment("acme".to_owned())],
        to: vec![Selector::Segment("payments".to_owned())],
        mode: Mode::Enforce,
        rules: vec![
            rule("web", Action::Allow, Protocol::TCP, 443),
            rule("ssh", Action::Reject, Protocol::TCP, 22),
            rule("syslog", Action::Allow, Protocol::UDP, 514),
            rule("snmp", Action::Reject, Protocol::UDP, 161),
        ],
        otherwise: Action::Deny,
    };
    PolicySpec {
        segments: vec![acme, globex, payments],
        policies: vec![block],
        ..PolicySpec::default()
    }
}

pub(super) struct Bench {
    pub(super) engine: Engine,
    now: Timestamp,
    pub(super) sent: Vec<(Origin, Vec<u8>)>,
    pub(super) events: Vec<Event>,
}

impl Bench {
    pub(super) fn new(spec: &PolicySpec) -> Self {
        Self::with(spec, Limits { flows: 1000, ..Limits::default() })
    }

    pub(super) fn with(spec: &PolicySpec, limits: Limits) -> Self {
        let policy = Arc::new(Policy::compile(spec, None).unwrap());
        let engine = Engine::new(policy, limits, Settings::GWLB, Secret::new(1, 2));
        Self { engine, now: Timestamp::from_secs(1_000), sent: Vec::new(), events: Vec::new() }
    }

    pub(super) fn give(&mut self, inner: &[u8]) -> Verdict {
        self.give_from(ENDPOINT, inner)
    }

    pub(super) fn give_from(&mut self, endpoint: EndpointId, inner: &[u8]) -> Verdict {
        let mut bytes = Encapsulation::of(endpoint).wrap(inner);
        self.now = self.now + crate::model::Span::from_millis(1);
        let mut out = Output::default();
        let mut frames = [Frame::new(self.now, Link::Ethernet, 7, &mut bytes)];
        self.engine.process(&mut frames, &mut out);
        self.sent.extend(out.extras.into_iter().map(|extra| (extra.origin, extra.bytes)));
        self.events.extend(out.events);
        frames[0].verdict
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass that no packet and nobody else tells of.
    pub(super) fn skip(&mut self, seconds: u64) {
        self.now = self.now + crate::model::Span::from_secs(seconds);
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now + crate::model::Span::from_secs(seconds);
        let mut out = Output::default();
        self.engine.tick(self.now, &mut out);
        self.sent.extend(out.extras.into_iter().map(|extra| (extra.origin, extra.bytes)));
        self.events.extend(out.events);
    }

    pub(super) fn ended(&self) -> Vec<(Option<Action>, Ended, u64)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::FlowEnd(record) => Some((
                    record.verdict.map(|verdict| verdict.action),
                    record.ended.unwrap(),
                    record.packets(),
                )),
                _ => None,
            })
            .collect()
    }
}

pub(super) fn tuple(port: u16, protocol: Protocol) -> FiveTuple {
    packet::tuple(
        ("10.20.1.5".parse().unwrap(), 40_000),
        ("10.100.4.7".parse().unwrap(), port),
        protocol,
    )
}

#[test]
fn an_allowed_connection_passes_from_handshake_to_close() {
    let mut bench = Bench::new(&spec());
    let mut session = Session::new(tuple(443, Protocol::TCP));
    let mut packets = session.handshake();
    packets.push(session.send(Side::Client, b"opaque request"));
    packets.push(session.send(Side::Server, b"opaque answer"));
    packets.push(session.fin(Side::Client));
    packets.push(session.fin(Side::Server));
    packets.push(session.ack(Side::Client));
    for packet in &packets {
        assert_eq!(bench.give(packet), Verdict::Forward);
    }
    bench.pass(60);
    assert_eq!(bench.ended(), [(Some(Action::Allow), Ended::Closed, 8)]);
    assert_eq!(bench.engine.flows(), 0);
}

#[test]
fn a_forwarded_frame_is_the_received_one_with_outer_addresses_swapped() {
    let mut bench = Bench::new(&spec());
    let syn = Session::new(tuple(443, Protocol::TCP)).handshake().remove(0);
    let before = Encapsulation::of(ENDPOINT).wrap(&syn);
    let mut after = before.clone();
    let mut frames = [Frame::new(bench.now, Link::Ethernet, 0, &mut after)];
    bench.engine.process(&mut frames, &mut Output::default());
    assert_eq!(after[..6], before[6..12]);
    assert_eq!(after[6..12], before[..6]);
    assert_eq!(after[26..30], before[30..34]);
    assert_eq!(after[30..34], before[26..30]);
    assert_eq!(after[12..26], before[12..26]);
    assert_eq!(after[34..], before[34..]);
}

#[test]
fn a_rejected_connection_is_answered_with_a_reset() {
    let mut bench = Bench::new(&spec());
    let syn = Session::new(tuple(22, Protocol::TCP)).handshake().remove(0);
    assert_eq!(bench.give(&syn), Verdict::Drop(Reason::Rule));
    assert_eq!(bench.sent.len(), 1);
    let parsed = crate::wire::parse(&bench.sent[0].1, Link::Ethernet, &Settings::GWLB).unwrap();
    assert_eq!(parsed.tuple, tuple(22, Protocol::TCP).reverse());
    assert!(parsed.tcp().unwrap().flags.rst());
    assert_eq!(parsed.tcp().unwrap().ack, 1001);
}

#[test]
fn a_rejected_datagram_is_answered_with_icmp() {
    let mut bench = Bench::new(&spec());
    let datagram = packet::udp(&tuple(161, Protocol::UDP), b"x");
    assert_eq!(bench.give(&datagram), Verdict::Drop(Reason::Rule));
    assert_eq!(bench.sent.len(), 1);
}

#[test]
fn what_no_rule_allows_is_denied_in_silence_and_recorded_once() {
    let mut bench = Bench::new(&spec());
    let syn = Session::new(tuple(8080, Protocol::TCP)).handshake().remove(0);
    assert_eq!(bench.give(&syn), Verdict::Drop(Reason::Otherwise));
    assert_eq!(bench.give(&syn), Verdict::Drop(Reason::FlowDenied));
    assert!(bench.sent.is_empty());
    bench.pass(60);
    assert_eq!(bench.ended(), [(Some(Action::Deny), Ended::Denied, 2)]);
}

#[test]
fn partners_with_the_same_addresses_never_meet() {
    let mut bench = Bench::new(&spec());
    let mut session = Session::new(tuple(443, Protocol::TCP));
    let packets = session.handshake();
    assert_eq!(bench.give(&packets[0]), Verdict::Forward);
    assert_eq!(bench.give_from(OTHER, &packets[1]), Verdict::Drop(Reason::Midstream));
    assert_eq!(bench.give_from(OTHER, &packets[0]), Verdict::Drop(Reason::FlowDenied));
    assert_eq!(bench.give(&packets[1]), Verdict::Forward);
}

#[test]
fn an_unknown_endpoint_and_a_spoofed_address_belong_to_no_segment() {
    let mut bench = Bench::new(&spec());
    let syn = Session::new(tuple(443, Protocol::TCP)).handshake().remove(0);
    let unknown = Verdict::Drop(Reason::UnknownSegment);
    assert_eq!(bench.give_from(EndpointId(1), &syn), unknown);
    let spoofed = packet::tuple(
        ("10.30.1.5".parse().unwrap(), 40_000),
        ("10.100.4.7".parse().unwrap(), 443),
        Protocol::TCP,
    );
    let syn = packet::tcp(&spoofed, &Segment { seq: 1, flags: flag::SYN, ..Segment::default() });
    assert_eq!(bench.give(&syn), unknown);
    assert_eq!(bench.engine.flows(), 0);
}

#[test]
fn a_flow_expires_after_its_idle_time_and_not_before() {
    let mut bench = Bench::new(&spec());
    assert_eq!(bench.give(&packet::udp(&tuple(514, Protocol::UDP), b"<1>x")), Verdict::Forward);
    bench.pass(119);
    assert_eq!(bench.engine.flows(), 1);
    bench.pass(2);
    assert_eq!(bench.engine.flows(), 0);
    assert_eq!(bench.ended(), [(Some(Action::Allow), Ended::Expired, 1)]);
}

#[test]
fn an_engine_has_as_many_places_as_it_was_told_and_no_more_than_its_limit() {
    for (places, limit) in [(2, 1000), (1000, 2), (2, 2)] {
        let limits = Limits { flows: limit, ..Limits::default() };
        let mut bench = Bench::with(&spec(), limits.clone());
        let policy = Arc::new(Policy::compile(&spec(), None).unwrap());
        let secret = Secret::new(1, 2);
        bench.engine = Engine::with_places(policy, limits, Settings::GWLB, secret, places);
        let flow = |port| FiveTuple { src_port: port, ..tuple(514, Protocol::UDP) };
        let verdicts = [1, 2, 3].map(|port| bench.give(&packet::udp(&flow(port), b"<1>x")));
        let full = Verdict::Drop(Reason::LimitFlows);
        assert_eq!(verdicts, [Verdict::Forward, Verdict::Forward, full], "{places} {limit}");
    }
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_old_ones() {
    let limits = Limits { flows: 2, ..Limits::default() };
    let mut bench = Bench::with(&spec(), limits);
    let datagram = |host: u8| {
        let tuple = packet::tuple(
            (std::net::IpAddr::from([10, 20, 1, host]), 514),
            ("10.100.4.7".parse().unwrap(), 514),
            Protocol::UDP,
        );
        packet::udp(&tuple, b"<1>x")
    };
    assert_eq!(bench.give(&datagram(1)), Verdict::Forward);
    assert_eq!(bench.give(&datagram(2)), Verdict::Forward);
    assert_eq!(bench.give(&datagram(3)), Verdict::Drop(Reason::LimitFlows));
    assert_eq!(bench.give(&datagram(1)), Verdict::Forward);
}

#[test]
fn a_segment_has_no_more_flows_than_it_may() {
    for (limit, allowed) in [(1, 1), (2, 2), (3, 2)] {
        let mut spec = spec();
        spec.segments[0].limits.flows = Some(limit);
        let mut bench = Bench::new(&spec);
        let passed = (0..2)
            .filter(|port| {
                let mut tuple = tuple(514, Protocol::UDP);
                tuple.src_port = 5000 + port;
                bench.give(&packet::udp(&tuple, b"<1>x")) == Verdict::Forward
            })
            .count();
        assert_eq!(passed, allowed, "limit {limit}");
    }
}

#[test]
fn the_middle_of_a_connection_follows_the_setting() {
    for (setting, verdict, answers) in [
        (Midstream::Deny, Verdict::Drop(Reason::Midstream), 0),
        (Midstream::Reject, Verdict::Drop(Reason::Midstream), 1),
        (Midstream::Allow, Verdict::Forward, 0),
        (Midstream::Adopt, Verdict::Forward, 0),
    ] {
        let mut spec = spec();
        spec.defaults.midstream = setting;
        let mut bench = Bench::new(&spec);
        let mut session = Session::new(tuple(443, Protocol::TCP));
        session.handshake();
        assert_eq!(bench.give(&session.send(Side::Client, b"x")), verdict, "{setting:?}");
        assert_eq!(bench.sent.len(), answers, "{setting:?}");
    }
}

#[test]
fn in_the_middle_a_request_tells_who_is_the_client_whatever_the_ports() {
    for (payload, is_client) in
        [(&b"GET / HTTP/1.1\r\nHost: 192.0.2.7\r\n\r\n"[..], true), (b"HTTP/1.1 200 OK\r\n", false)]
    {
        let mut spec = spec();
        spec.defaults.midstream = Midstream::Allow;
        let mut bench = Bench::new(&spec);
        let mut tuple = tuple(50_000, Protocol::TCP);
        tuple.src_port = 8868;
        let mut session = Session::new(tuple);
        session.handshake();
        assert_eq!(bench.give(&session.send(Side::Client, payload)), Verdict::Forward);
        let record = bench.engine.records().next().unwrap();
        assert_eq!(record.tuple.src_port == 8868, is_client);
        let hosts: Vec<String> = record.found.hosts().collect();
        assert_eq!(hosts, if is_client { &["192.0.2.7"][..] } else { &[] });
        assert_eq!(record.found.names.first(), None, "an address is no name");
    }
}

#[test]
fn a_packet_with_a_wrong_checksum_changes_nothing() {
    let mut bench = Bench::new(&spec());
    let mut syn = Session::new(tuple(443, Protocol::TCP)).handshake().remove(0);
    let last = syn.len() - 3;
    syn[last] ^= 0xff;
    assert_eq!(bench.give(&syn), Verdict::Drop(Reason::TransportChecksum));
    assert_eq!(bench.engine.flows(), 0);
}

#[test]
fn data_outside_the_window_is_dropped() {
    let mut bench = Bench::new(&spec());
    let mut session = Session::new(tuple(443, Protocol::TCP));
    for packet in session.handshake() {
        bench.give(&packet);
    }
    let far = Segment {
        seq: session.seq(Side::Client).wrapping_add(1_000_000),
        ack: session.seq(Side::Server),
        flags: flag::ACK,
        payload: b"x",
    };
    let segment = packet::tcp(&tuple(443, Protocol::TCP), &far);
    assert_eq!(bench.give(&segment), Verdict::Drop(Reason::TcpWindow));
}

#[test]
fn a_new_ruleset_cuts_what_it_no_longer_allows_and_keeps_the_rest() {
    let mut bench = Bench::new(&spec());
    let mut web = Session::new(tuple(443, Protocol::TCP));
    for packet in web.handshake() {
        bench.give(&packet);
    }
    let syslog = packet::udp(&tuple(514, Protocol::UDP), b"<1>x");
    bench.give(&syslog);
    let mut changed = spec();
    changed.policies[0].rules.remove(0);
    let policy = Policy::compile(&changed, Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(policy));
    assert_eq!(bench.give(&syslog), Verdict::Forward);
    assert!(matches!(bench.give(&web.send(Side::Client, b"x")), Verdict::Drop(_)));
    assert_eq!(bench.sent.len(), 2, "a reset to both sides");
}

#[test]
fn monitor_mode_passes_everything_and_says_what_enforcing_would_do() {
    let mut spec = spec();
    spec.policies[0].mode = Mode::Monitor;
    let mut bench = Bench::new(&spec);
    let syn = Session::new(tuple(8080, Protocol::TCP)).handshake().remove(0);
    assert_eq!(bench.give(&syn), Verdict::Forward);
    bench.pass(400);
    assert_eq!(bench.ended(), [(Some(Action::Deny), Ended::Expired, 1)]);
}

#[test]
fn every_packet_is_accounted_for() {
    let mut bench = Bench::new(&spec());
    let mut session = Session::new(tuple(443, Protocol::TCP));
    for packet in session.handshake() {
        bench.give(&packet);
    }
    bench.give(&[0; 3]);
    bench.give(&packet::udp(&tuple(9, Protocol::UDP), b"x"));
    let counters = bench.engine.counters();
    assert_eq!(counters.received, 5);
    assert_eq!(counters.forwarded + counters.dropped_total(), 5);
    assert_eq!(counters.waiting(), 0);
}

#[test]
fn a_preview_tells_what_an_installation_would_do_and_changes_nothing() {
    let mut bench = Bench::new(&spec());
    let mut web = Session::new(tuple(443, Protocol::TCP));
    for packet in web.handshake() {
        bench.give(&packet);
    }
    bench.give(&web.send(Side::Client, b"SSH-2.0-x\r\n"));
    bench.give(&packet::udp(&tuple(514, Protocol::UDP), b"<1>x"));
    let mut changed = spec();
    changed.policies[0].rules.remove(0);
    let policy = Policy::compile(&changed, Some(bench.engine.policy())).unwrap();
    let foreseen: Vec<_> = bench
        .engine
        .preview_at(&policy, 0, 1000)
        .map(|(record, verdict)| (record.tuple.dst_port, record.verdict.unwrap().action, verdict))
        .map(|(port, was, verdict)| (port, was, verdict.action, verdict.reason))
        .collect();
    assert_eq!(
        foreseen,
        [
            (443, Action::Allow, Action::Deny, Reason::Otherwise),
            (514, Action::Allow, Action::Allow, Reason::Rule),
        ]
    );
    assert_eq!(bench.give(&web.send(Side::Client, b"x")), Verdict::Forward);
    bench.engine.install(Arc::new(policy));
    assert!(matches!(bench.give(&web.send(Side::Client, b"x")), Verdict::Drop(_)));
}

#[test]
fn a_walk_in_pieces_meets_every_flow_once_and_ends_the_chosen_ones() {
    let mut bench = Bench::new(&spec());
    for host in 1..=10_u8 {
        let mut tuple = tuple(514, Protocol::UDP);
        tuple.src_port = 1000 + u16::from(host);
        bench.give(&packet::udp(&tuple, b"<1>x"));
    }
    let (mut seen, mut out) = (Vec::new(), Output::default());
    for from in (0..bench.engine.places()).step_by(3) {
        seen.extend(bench.engine.records_at(from, 3).map(|record| record.tuple.src_port));
    }
    assert_eq!(seen, (1001..=1010).collect::<Vec<u16>>());
    let served: usize = (0..10).step_by(3).map(|from| bench.engine.served_at(from, 3)).sum();
    assert_eq!(served, 10);
    let even = |record: &super::record::FlowRecord| record.tuple.src_port.is_multiple_of(2);
    let ended: usize =
        (0..10).step_by(3).map(|from| bench.engine.flush_at(from, 3, even, &mut out)).sum();
    assert_eq!((ended, bench.engine.flows(), out.events.len()), (5, 5, 5));
    assert_eq!(bench.engine.counters().ended(Ended::Flushed), 5);
}

#[test]
fn packets_count_for_their_pair_and_decisions_for_their_rule() {
    let mut bench = Bench::new(&spec());
    let syslog = packet::udp(&tuple(514, Protocol::UDP), b"<1>x");
    bench.give(&syslog);
    bench.give(&syslog);
    bench.give(&packet::udp(&tuple(9, Protocol::UDP), b"x"));
    bench.give_from(OTHER, &syslog);
    let frame = Encapsulation::of(ENDPOINT).wrap(&syslog).len() as u64;
    let tally = bench.engine.tallied();
    let [acme, globex] = tally.pairs() else { panic!("{:?}", tally.pairs()) };
    assert_eq!((acme.forwarded.packets, acme.forwarded.bytes, acme.flows), (2, 2 * frame, 2));
    assert_eq!(acme.dropped[0].0, Reason::Otherwise);
    assert_eq!(globex.dropped[0].0, Reason::NoPolicy);
    assert_eq!((tally.rules(), tally.otherwise()), (&[0, 0, 1, 0][..], &[1][..]));
}

#[test]
fn a_frame_from_an_unknown_gateway_is_dropped_unread() {
    let mut bench = Bench::new(&spec());
    let syslog = packet::udp(&tuple(514, Protocol::UDP), b"<1>x");
    for (gateway, verdict) in [
        ("10.99.0.1/32", Verdict::Forward),
        ("10.99.0.2/32", Verdict::Drop(Reason::UnknownGateway)),
    ] {
        let gateways = super::Gateways::new(&[gateway.parse().unwrap()]);
        bench.engine = bench.engine.with_gateways(gateways);
        assert_eq!(bench.give(&syslog), verdict);
    }
}

#[test]
fn what_a_segment_may_have_is_divided_among_workers() {
    let mut spec = spec();
    spec.segments[0].limits.flows = Some(5);
    for (workers, flows) in [(1, 5), (2, 3), (8, 1)] {
        let limits = Limits { flows: 1000, ..Limits::default() }.share(workers);
        let mut bench = Bench::with(&spec, limits);
        for port in 1000..1010 {
            let mut tuple = tuple(514, Protocol::UDP);
            tuple.src_port = port;
            bench.give(&packet::udp(&tuple, b"<1>x"));
        }
        assert_eq!(bench.engine.flows(), flows, "{workers} workers");
        assert_eq!(bench.engine.segments_used().next().unwrap().1, flows as u64);
    }
}
