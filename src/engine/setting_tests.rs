//! What rulesets set, seen in what the engine does: `bind: dns`, expiry, unknown segments, PROXY
//! identities, reservations.

use super::record::Event;
use super::tests::{Bench, ENDPOINT, OTHER, spec, tuple};
use super::{Frame, Limits, Origin, Output};
use crate::model::{Action, EndpointId, Protocol, Reason, SegmentId, Timestamp, Verdict};
use crate::policy::Policy;
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{PolicySpec, PortRange, RuleSpec, SegmentKind, SegmentSpec};
use crate::synth::gwlb::Encapsulation;
use crate::synth::packet;
use crate::synth::session::{Session, Side};
use crate::synth::speech::Speech;
use crate::wire::Link;
use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, ResourceRecord, TYPE};
use std::sync::Arc;

const NAME: &str = "api.example";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n";

fn names(texts: &[&str]) -> Option<Arc<NameSet>> {
    let patterns = texts.iter().map(|text| NamePattern::parse(text).unwrap());
    Some(Arc::new(NameSet::build(patterns).unwrap()))
}

pub(super) fn binding_spec() -> PolicySpec {
    let mut spec = spec();
    let mut bound = RuleSpec::new("bound", Action::Allow);
    bound.protocols = Some(vec![Protocol::TCP]);
    bound.ports = Some(vec![PortRange::one(80)]);
    bound.domains = names(&[NAME]);
    bound.bind_dns = true;
    let mut dns = RuleSpec::new("dns", Action::Allow);
    dns.ports = Some(vec![PortRange::one(53)]);
    dns.dns = names(&[NAME]);
    spec.policies[0].rules.extend([bound, dns]);
    spec
}

pub(super) fn query(id: u16) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet.questions.push(Question::new(
        Name::new(NAME).unwrap(),
        QTYPE::TYPE(TYPE::A),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().unwrap()
}

fn response(id: u16, ttl: u32) -> Vec<u8> {
    let mut packet = Packet::new_reply(id);
    packet.questions.push(Question::new(
        Name::new(NAME).unwrap(),
        QTYPE::TYPE(TYPE::A),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    let data = RData::A(A { address: u32::from_be_bytes([10, 100, 4, 7]) });
    packet.answers.push(ResourceRecord::new(Name::new(NAME).unwrap(), CLASS::IN, ttl, data));
    packet.build_bytes_vec().unwrap()
}

fn resolve(bench: &mut Bench, asked: u16, answered: u16, ttl: u32) {
    let mut tuple = tuple(53, Protocol::UDP);
    tuple.src_port = 30_000 + asked;
    assert_eq!(bench.give(&packet::udp(&tuple, &query(asked))), Verdict::Forward);
    let reply = packet::udp(&tuple.reverse(), &response(answered, ttl));
    assert_eq!(bench.give(&reply), Verdict::Forward);
}

/// The verdict of a request for the name, sent to the last byte's address from a port of its own.
fn request(bench: &mut Bench, port: u16, last: u8) -> Verdict {
    let mut tuple = tuple(80, Protocol::TCP);
    tuple.src_port = port;
    tuple.dst = std::net::IpAddr::from([10, 100, 4, last]).into();
    let mut session = Session::new(tuple);
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    bench.give(&session.send(Side::Client, REQUEST))
}

const NOT_BOUND: Verdict = Verdict::Drop(Reason::NameNotBound);

#[test]
fn a_bound_name_is_allowed_to_the_address_it_was_answered_with_and_to_no_other() {
    let mut bench = Bench::new(&binding_spec());
    assert_eq!(request(&mut bench, 1, 7), NOT_BOUND, "before any answer");
    resolve(&mut bench, 1, 1, 60);
    assert_eq!(request(&mut bench, 2, 7), Verdict::Forward);
    assert_eq!(request(&mut bench, 3, 8), NOT_BOUND, "another address");
    bench.pass(61);
    assert_eq!(request(&mut bench, 4, 7), NOT_BOUND, "the answer has expired");
}

#[test]
fn a_flow_stays_bound_to_a_name_whose_answer_expired_and_to_no_other_name() {
    const FURTHER: &[u8] = b"GET / HTTP/1.1\r\nHost: www.example\r\n\r\n";
    let mut spec = binding_spec();
    let bound = spec.policies[0].rules.iter_mut().find(|rule| rule.bind_dns).unwrap();
    bound.domains = names(&[NAME, "www.example"]);
    let mut bench = Bench::new(&spec);
    resolve(&mut bench, 1, 1, 10);
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    for _ in 0..3 {
        assert_eq!(bench.give(&session.send(Side::Client, REQUEST)), Verdict::Forward);
        bench.pass(30);
    }
    assert_eq!(request(&mut bench, 4, 7), NOT_BOUND, "a flow of its own");
    assert_eq!(bench.give(&session.send(Side::Client, FURTHER)), NOT_BOUND);
}

#[test]
fn a_response_that_nobody_asked_for_binds_nothing() {
    let mut bench = Bench::new(&binding_spec());
    resolve(&mut bench, 1, 2, 60);
    assert_eq!(request(&mut bench, 1, 7), NOT_BOUND);
}

#[test]
fn an_answer_without_time_to_live_still_serves_the_client_that_asked() {
    let mut bench = Bench::new(&binding_spec());
    resolve(&mut bench, 1, 1, 0);
    assert_eq!(request(&mut bench, 1, 7), Verdict::Forward);
    bench.pass(5);
    assert_eq!(request(&mut bench, 2, 7), NOT_BOUND);
}

#[test]
fn answers_over_a_stream_bind_however_they_are_cut() {
    for size in [1, 7, 4096] {
        let mut bench = Bench::new(&binding_spec());
        let mut session = Session::new(tuple(53, Protocol::TCP));
        for packet in session.handshake() {
            bench.give(&packet);
        }
        for (side, message) in [(Side::Client, query(9)), (Side::Server, response(9, 60))] {
            let mut framed = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
            framed.extend(message);
            for packet in session.send_split(side, &framed, size) {
                assert!(!matches!(bench.give(&packet), Verdict::Drop(_)));
            }
        }
        assert_eq!(request(&mut bench, 1, 7), Verdict::Forward, "pieces of {size}");
    }
}

#[test]
fn an_engine_is_told_of_the_answers_that_another_one_let_through() {
    let (mut bench, mut other) = (Bench::new(&binding_spec()), Bench::new(&binding_spec()));
    let dns = tuple(53, Protocol::UDP);
    let mut out = Output::default();
    for inner in [packet::udp(&dns, &query(1)), packet::udp(&dns.reverse(), &response(1, 60))] {
        let mut bytes = Encapsulation::of(ENDPOINT).wrap(&inner);
        let mut frames = [Frame::new(Timestamp::from_secs(1_000), Link::Ethernet, 1, &mut bytes)];
        bench.engine.process(&mut frames, &mut out);
    }
    assert_eq!(out.answers.len(), 1);
    other.engine.learn(&out.answers[0]);
    assert_eq!(request(&mut other, 1, 7), Verdict::Forward);
}

#[test]
fn a_flow_that_was_bound_outlives_the_answer_over_a_reload() {
    let mut bench = Bench::new(&binding_spec());
    resolve(&mut bench, 1, 1, 60);
    let mut tuple = tuple(80, Protocol::TCP);
    tuple.src_port = 9;
    let mut session = Session::new(tuple);
    for packet in session.handshake() {
        bench.give(&packet);
    }
    assert_eq!(bench.give(&session.send(Side::Client, REQUEST)), Verdict::Forward);
    bench.pass(100);
    let policy = Policy::compile(&binding_spec(), Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(policy));
    assert_eq!(bench.give(&session.send(Side::Server, b"HTTP/1.1 200 OK\r\n")), Verdict::Forward);
    assert_eq!(request(&mut bench, 10, 7), NOT_BOUND, "a new flow has to ask again");
}

#[test]
fn a_scope_that_a_reload_removes_takes_its_answers_with_it() {
    let mut bench = Bench::new(&binding_spec());
    resolve(&mut bench, 1, 1, 600);
    assert_eq!(request(&mut bench, 1, 7), Verdict::Forward);
    let mut without = binding_spec();
    without.segments[0].endpoints.clear();
    reload(&mut bench, &without);
    assert_eq!(bench.engine.bindings.len(), 0);
    // Another worker, a batch behind, has still heard of one.
    let late = super::bindings::Answered {
        scope: crate::model::ScopeId(1),
        name: crate::model::DomainName::from_host(NAME.as_bytes()).unwrap(),
        address: crate::model::Addr::v4([10, 100, 4, 7]),
        until: Timestamp::from_secs(9_999),
    };
    bench.engine.learn(&late);
    reload(&mut bench, &binding_spec());
    assert_eq!(request(&mut bench, 2, 7), NOT_BOUND);
    resolve(&mut bench, 3, 3, 600);
    reload(&mut bench, &binding_spec());
    assert_eq!(request(&mut bench, 4, 7), Verdict::Forward, "a scope that stays keeps them");
}

#[test]
fn a_rule_that_expires_ends_what_it_allowed_at_midnight() {
    let mut spec = spec();
    spec.policies[0].rules[2].expires = Some(0);
    let mut bench = Bench::new(&spec);
    let syslog = packet::udp(&tuple(514, Protocol::UDP), b"<1>x");
    assert_eq!(bench.give(&syslog), Verdict::Forward);
    for _ in 0..2000 {
        bench.pass(85);
        if bench.now() >= Timestamp::from_secs(86_300) {
            break;
        }
        assert_eq!(bench.give(&syslog), Verdict::Forward);
    }
    bench.pass(99);
    assert!(matches!(bench.give(&syslog), Verdict::Drop(_)), "the day after");
}

#[test]
fn an_unknown_segment_is_told_of_and_answered_where_the_ruleset_says_so() {
    for (action, answers) in [(Action::Deny, 0), (Action::Reject, 1)] {
        let mut spec = spec();
        spec.defaults.unknown_segment = action;
        let mut bench = Bench::new(&spec);
        let syn = Session::new(tuple(443, Protocol::TCP)).handshake().remove(0);
        let stranger = EndpointId(1);
        assert_eq!(bench.give_from(stranger, &syn), Verdict::Drop(Reason::UnknownSegment));
        assert_eq!(bench.sent.len(), answers, "{action:?}");
        let Some(Event::PacketDropped(told)) = bench.events.first() else { panic!("nobody told") };
        assert_eq!((told.endpoint, told.reason), (Some(stranger), Reason::UnknownSegment));
    }
}

#[test]
fn no_more_strangers_are_told_of_than_there_is_room_for() {
    for (limit, told) in [(1, 1), (2, 2), (3, 2)] {
        let limits = Limits { strangers_per_second: limit, ..Limits::default() };
        let mut bench = Bench::with(&spec(), limits);
        let syn = Session::new(tuple(443, Protocol::TCP)).handshake().remove(0);
        bench.give_from(EndpointId(1), &syn);
        bench.give_from(EndpointId(2), &syn);
        assert_eq!(bench.events.len(), told, "limit {limit}");
        assert_eq!(bench.engine.counters().dropped(Reason::UnknownSegment), 2);
    }
}

/// A PROXY protocol v2 header whose AWS TLV names an endpoint.
fn proxy_header(endpoint: EndpointId) -> Vec<u8> {
    let mut tail = vec![10, 1, 1, 1, 10, 2, 2, 2, 0x10, 0, 0x01, 0xbb];
    let id = format!("\u{1}{endpoint}");
    tail.extend([0xea, 0, u8::try_from(id.len()).unwrap()]);
    tail.extend(id.as_bytes());
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend(u16::try_from(tail.len()).unwrap().to_be_bytes());
    header.extend(tail);
    header
}

fn proxied_spec() -> PolicySpec {
    let mut spec = spec();
    let mut proxy = SegmentSpec::new("nlb", SegmentKind::Shared);
    proxy.networks = vec!["10.20.99.0/24".parse().unwrap()];
    proxy.trusted_proxy = true;
    spec.segments.push(proxy);
    spec.segments[0].proxy_endpoints = vec![EndpointId(0x77)];
    spec.segments[0].endpoints.clear();
    spec.segments[1].endpoints.clear();
    spec.common = crate::policy::spec::CommonEndpoints::Any;
    spec.segments[0].networks.clear();
    spec.segments[1].networks = vec!["10.21.0.0/16".parse().unwrap()];
    spec
}

fn behind_proxy(bench: &mut Bench, port: u16, endpoint: EndpointId) -> Verdict {
    let mut tuple = tuple(443, Protocol::TCP);
    tuple.src = std::net::IpAddr::from([10, 20, 99, 5]).into();
    tuple.src_port = port;
    let mut session = Session::new(tuple);
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    let mut bytes = proxy_header(endpoint);
    bytes.extend(b"opaque");
    bench.give(&session.send(Side::Client, &bytes))
}

#[test]
fn an_endpoint_in_a_proxy_header_that_nobody_lists_is_an_unknown_segment() {
    let mut bench = Bench::new(&proxied_spec());
    assert_eq!(behind_proxy(&mut bench, 1, EndpointId(0x77)), Verdict::Forward);
    let unknown = Verdict::Drop(Reason::UnknownSegment);
    assert_eq!(behind_proxy(&mut bench, 2, EndpointId(0x78)), unknown);
}

#[test]
fn a_flow_behind_a_proxy_is_charged_to_the_partner_it_turns_out_to_be() {
    for (limit, second) in [
        (0, Verdict::Drop(Reason::LimitSegmentFlows)),
        (1, Verdict::Drop(Reason::LimitSegmentFlows)),
        (2, Verdict::Forward),
    ] {
        let mut spec = proxied_spec();
        spec.segments[0].limits.flows = Some(limit);
        let mut bench = Bench::new(&spec);
        behind_proxy(&mut bench, 1, EndpointId(0x77));
        assert_eq!(behind_proxy(&mut bench, 2, EndpointId(0x77)), second, "limit {limit}");
        let from: Vec<_> = bench.engine.records().map(|record| record.from).collect();
        assert_eq!(from, [Some(SegmentId(0)); 2], "refused or not, it is the partner's");
    }
}

#[test]
fn what_a_segment_reserves_is_not_taken_by_the_others() {
    let mut spec = spec();
    spec.segments[0].limits.flows = Some(2);
    let mut twin = spec.policies[0].clone();
    twin.from = vec![crate::policy::spec::Selector::Segment("globex".to_owned())];
    for rule in &mut twin.rules {
        rule.id.push_str("-globex");
    }
    spec.policies.push(twin);
    let mut bench = Bench::with(&spec, Limits { flows: 4, ..Limits::default() });
    let syslog = |port| {
        let mut tuple = tuple(514, Protocol::UDP);
        tuple.src_port = port;
        packet::udp(&tuple, b"<1>x")
    };
    let flood: Vec<Verdict> = (1..=3).map(|port| bench.give_from(OTHER, &syslog(port))).collect();
    let full = Verdict::Drop(Reason::LimitFlows);
    assert_eq!(flood, [Verdict::Forward, Verdict::Forward, full]);
    let reserved: Vec<Verdict> = (1..=3).map(|port| bench.give(&syslog(port))).collect();
    let over = Verdict::Drop(Reason::LimitSegmentFlows);
    assert_eq!(reserved, [Verdict::Forward, Verdict::Forward, over]);
}

#[test]
fn reservations_are_divided_among_engines() {
    for (engines, allowed) in [(1, 4), (2, 2), (3, 2), (4, 1)] {
        let mut spec = spec();
        spec.segments[0].limits.flows = Some(4);
        let mut bench = Bench::with(&spec, Limits { engines, ..Limits::default() });
        let passed = (0..6)
            .filter(|port| {
                let mut tuple = tuple(514, Protocol::UDP);
                tuple.src_port = 5000 + port;
                bench.give(&packet::udp(&tuple, b"<1>x")) == Verdict::Forward
            })
            .count();
        assert_eq!(passed, allowed, "{engines} engines");
    }
}

#[test]
fn idle_times_and_waiting_times_are_those_of_the_ruleset() {
    let mut spec = binding_spec();
    spec.defaults.timeouts.udp = crate::model::Span::from_secs(30);
    spec.defaults.pending_timeout = crate::model::Span::from_secs(2);
    let mut bench = Bench::new(&spec);
    bench.give(&packet::udp(&tuple(514, Protocol::UDP), b"<1>x"));
    bench.pass(31);
    assert_eq!(bench.engine.flows(), 0);
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        bench.give(&packet);
    }
    assert_eq!(bench.give(&session.send(Side::Client, b"GET / HT")), Verdict::Hold);
    assert!(bench.engine.held_bytes() > 0);
    bench.pass(3);
    assert_eq!(bench.engine.held_bytes(), 0);
}

fn reload(bench: &mut Bench, spec: &PolicySpec) {
    let policy = Policy::compile(spec, Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(policy));
}

#[test]
fn a_new_ruleset_leaves_a_resolver_flow_alone_whose_last_question_was_denied() {
    let mut bench = Bench::new(&binding_spec());
    let dns = tuple(53, Protocol::UDP);
    let mut other = query(1);
    other[13] = b'x';
    assert_eq!(bench.give(&packet::udp(&dns, &other)), Verdict::Drop(Reason::Otherwise));
    reload(&mut bench, &binding_spec());
    assert_eq!(bench.give(&packet::udp(&dns, &query(2))), Verdict::Forward);
}

#[test]
fn a_new_ruleset_that_asks_for_names_waits_for_those_of_flows_without_payload() {
    let mut bench = Bench::new(&spec());
    let mut session = Session::new(tuple(443, Protocol::TCP));
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    let mut changed = spec();
    changed.policies[0].rules[0].domains = names(&[NAME]);
    reload(&mut bench, &changed);
    assert_eq!(bench.give(&session.ack(Side::Client)), Verdict::Forward);
    assert_eq!(bench.give(&session.send(Side::Client, &REQUEST[..20])), Verdict::Hold);
    assert_eq!(bench.give(&session.send(Side::Client, &REQUEST[20..])), Verdict::Forward);
}

#[test]
fn a_new_ruleset_keeps_who_a_flow_behind_a_proxy_is_from() {
    let mut bench = Bench::new(&proxied_spec());
    let mut proxied = tuple(443, Protocol::TCP);
    proxied.src = std::net::IpAddr::from([10, 20, 99, 5]).into();
    let mut session = Session::new(proxied);
    for packet in session.handshake() {
        bench.give(&packet);
    }
    let header = proxy_header(EndpointId(0x77));
    assert_eq!(bench.give(&session.send(Side::Client, &header)), Verdict::Forward);
    let mut changed = proxied_spec();
    changed.segments.rotate_left(1);
    reload(&mut bench, &changed);
    assert_eq!(bench.give(&session.send(Side::Client, b"opaque")), Verdict::Forward);
    let mut without = proxied_spec();
    without.segments[0].proxy_endpoints.clear();
    reload(&mut bench, &without);
    let cut = bench.give(&session.send(Side::Client, b"opaque"));
    assert!(matches!(cut, Verdict::Drop(_)), "{cut:?}");
}

/// How the flow to port 80 ended, by its record.
fn outcome(bench: &Bench) -> Option<(Action, Reason)> {
    bench.events.iter().find_map(|event| match event {
        Event::FlowEnd(record) => record.verdict.map(|verdict| (verdict.action, verdict.reason)),
        _ => None,
    })
}

#[test]
fn what_is_undecided_at_a_bound_is_denied_on_the_wire_and_in_the_record() {
    const BOUND: u32 = 4096;
    for (otherwise, ends) in [
        (Action::Allow, Action::Deny),
        (Action::Deny, Action::Deny),
        (Action::Reject, Action::Reject),
    ] {
        let mut spec = spec();
        let mut named = RuleSpec::new("named", Action::Deny);
        if otherwise != Action::Allow {
            named.action = Action::Allow;
        }
        named.domains = names(&[NAME]);
        spec.policies[0].rules = vec![named];
        spec.policies[0].otherwise = otherwise;
        spec.defaults.held_bytes_per_flow = BOUND;
        // One byte at the bound, one byte before it; the latter waits until its time is over.
        for (len, at_bound) in [(BOUND - 1, false), (BOUND, true)] {
            let mut bench = Bench::new(&spec);
            let mut session = Session::new(tuple(80, Protocol::TCP));
            for packet in session.handshake() {
                assert_eq!(bench.give(&packet), Verdict::Forward);
            }
            let mut head = b"GET / HTTP/1.1\r\nX: ".to_vec();
            head.resize(usize::try_from(len).unwrap(), b'x');
            let mut last = None;
            for packet in session.send_split(Side::Client, &head, 1024) {
                last = Some(bench.give(&packet));
                assert_ne!(last, Some(Verdict::Forward), "{otherwise:?}");
            }
            let told = last == Some(Verdict::Drop(Reason::Undecided));
            assert_eq!(told, at_bound, "{otherwise:?}, {len} bytes: {last:?}");
            bench.pass(600);
            assert_eq!(outcome(&bench), Some((ends, Reason::Undecided)), "{otherwise:?}, {len}");
            let held = |origin: &Origin| matches!(origin, Origin::Held(_));
            let left = bench.sent.iter().filter(|(origin, _)| held(origin)).count();
            assert_eq!(left, 0, "{otherwise:?}, {len} bytes: nothing held goes");
        }
    }
}

#[test]
fn an_undecided_flow_of_which_nothing_is_held_ends_as_otherwise_is_written() {
    let newest = crate::model::TlsVersion(0x0304);
    for otherwise in [Action::Allow, Action::Deny, Action::Reject] {
        let mut spec = spec();
        let allows = otherwise != Action::Allow;
        let mut rule = RuleSpec::new("newest", if allows { Action::Allow } else { Action::Deny });
        rule.tls.min_version = Some(newest);
        spec.policies[0].rules = vec![rule];
        spec.policies[0].otherwise = otherwise;
        let mut bench = Bench::new(&spec);
        let mut session = Session::new(tuple(443, Protocol::TCP));
        for packet in session.handshake() {
            bench.give(&packet);
        }
        let said = Speech::Tls { name: None, version: newest, certificate: None };
        let (_, hello) = said.stream().remove(0);
        assert_eq!(bench.give(&session.send(Side::Client, &hello)), Verdict::Forward);
        bench.pass(9_999);
        assert_eq!(outcome(&bench), Some((otherwise, Reason::Undecided)), "no answer came");
    }
}
