//! What hostile peers and hosts nearby try on flows that are known: second connections that nobody
//! tells of, ICMP errors about flows that are not theirs, floods of what is over.

use super::record::Event;
use super::tests::{Bench, ENDPOINT, OTHER, spec, tuple};
use crate::inspect::tls::compose::Offer;
use crate::model::{Action, Addr, ApiId, EndpointId, FiveTuple, Protocol, Reason, Verdict};
use crate::policy::Policy;
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{Mode, PolicySpec, PortRange, RuleSpec, Selector};
use crate::synth::packet::{self, Segment, flag};
use crate::synth::session::{Session, Side};
use crate::synth::speech::Speech;
use crate::wire::{Body, Link, Settings, Sum, parse};
use std::sync::Arc;

/// The first rule asks for a name.
fn named() -> PolicySpec {
    let mut spec = spec();
    spec.policies[0].rules[0].domains = Some(names("api.example"));
    spec
}

fn names(name: &str) -> Arc<NameSet> {
    Arc::new(NameSet::build([NamePattern::parse(name).unwrap()]).unwrap())
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n";

fn established(bench: &mut Bench, tuple: FiveTuple) -> Session {
    let mut session = Session::new(tuple);
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    session
}

fn segment(tuple: &FiveTuple, seq: u32, ack: u32, flags: u8) -> Vec<u8> {
    packet::tcp(tuple, &Segment { seq, ack, flags, payload: &[] })
}

#[test]
fn an_answer_that_may_be_to_a_syn_before_the_last_one_does_not_pass() {
    let mut bench = Bench::new(&named());
    let web = tuple(443, Protocol::TCP);
    let mut session = established(&mut bench, web);
    assert_eq!(bench.give(&session.send(Side::Client, REQUEST)), Verdict::Forward);
    let (client, server) = (session.seq(Side::Client), session.seq(Side::Server));
    // The server takes the first one. The second dies behind the engine.
    for syn in [client - 20, client + 90_000] {
        assert_eq!(bench.give(&segment(&web, syn, 0, flag::SYN)), Verdict::Forward);
    }
    let answer = segment(&web.reverse(), server - 500, client - 19, flag::SYN | flag::ACK);
    assert_eq!(bench.give(&answer), Verdict::Drop(Reason::TcpState));
    assert_eq!(bench.give(&session.ack(Side::Server)), Verdict::Forward, "the flow goes on");
}

#[test]
fn syns_whose_answers_could_not_be_told_do_not_pass_and_take_nothing_from_another_segment() {
    let share = super::candidates::CANDIDATES_MAX / 2;
    let limits = super::Limits { flows: 4 * share, ..super::Limits::default() };
    let mut spec = spec();
    spec.policies[0].from.push(Selector::Segment("globex".to_owned()));
    let mut bench = Bench::with(&spec, limits);
    let flow = |number: usize| FiveTuple {
        src: Addr::v4([10, 20, (number >> 8) as u8, number as u8]),
        ..tuple(443, Protocol::TCP)
    };
    let mut second = |endpoint, number: usize| {
        let mut session = Session::new(flow(number));
        for packet in session.handshake() {
            assert_eq!(bench.give_from(endpoint, &packet), Verdict::Forward);
        }
        let again = segment(&flow(number), session.seq(Side::Client) + 9, 0, flag::SYN);
        bench.give_from(endpoint, &again)
    };
    for number in 0..=share + 1 {
        let full = number >= share;
        let expected = if full { Verdict::Drop(Reason::LimitFlows) } else { Verdict::Forward };
        assert_eq!(second(ENDPOINT, number), expected, "{number}");
    }
    assert!((0..share / 2).all(|number| second(OTHER, number) == Verdict::Forward));
}

/// An ICMP error from one address to another about a packet.
fn error(from: [u8; 4], to: [u8; 4], about: &[u8]) -> Vec<u8> {
    let tuple = FiveTuple {
        src: Addr::v4(from),
        dst: Addr::v4(to),
        protocol: Protocol::ICMP,
        ..FiveTuple::default()
    };
    let message = packet::icmp(&tuple, 3, 3, about);
    let read = parse(&message, Link::RawIp, &Settings::CAPTURE).unwrap();
    assert!(matches!(read.body, Body::IcmpError { .. }));
    message
}

const CLIENT: [u8; 4] = [10, 20, 1, 5];
const SERVER: [u8; 4] = [10, 100, 4, 7];
const UNRELATED: Verdict = Verdict::Drop(Reason::IcmpUnrelated);

#[test]
fn an_error_goes_to_whoever_sent_what_it_quotes_and_to_nobody_else() {
    let mut bench = Bench::new(&spec());
    let web = tuple(443, Protocol::TCP);
    let session = established(&mut bench, web);
    let (there, back) = (session.ack(Side::Client), session.ack(Side::Server));
    assert_eq!(bench.give(&error([10, 100, 0, 1], CLIENT, &there)), Verdict::Forward);
    assert_eq!(bench.give(&error(CLIENT, SERVER, &back)), Verdict::Forward);
    // Bytes of the sender's choice, under the name of a flow of its own, to a host it may not talk to.
    for about in [&there, &back] {
        assert_eq!(bench.give(&error(CLIENT, [10, 100, 9, 9], about)), UNRELATED);
        assert_eq!(bench.give(&error(SERVER, [10, 20, 9, 9], about)), UNRELATED);
    }
    assert_eq!(bench.give(&error(CLIENT, SERVER, &there)), UNRELATED, "nor back to the receiver");
    let unknown = FiveTuple { src_port: 9, ..web };
    let unknown = segment(&unknown, 1, 0, flag::ACK);
    assert_eq!(bench.give(&error(CLIENT, [10, 100, 9, 9], &unknown)), UNRELATED, "nor invented");
}

#[test]
fn no_error_carries_bytes_of_the_client_before_its_flow_is_decided_or_after_it_was_revoked() {
    let mut bench = Bench::new(&named());
    let mut session = established(&mut bench, tuple(443, Protocol::TCP));
    let (there, back) = (session.ack(Side::Client), session.ack(Side::Server));
    assert_eq!(bench.give(&error(CLIENT, SERVER, &back)), UNRELATED);
    assert_eq!(bench.give(&error(SERVER, CLIENT, &there)), Verdict::Forward, "of its SYN");
    assert_eq!(bench.give(&session.send(Side::Client, REQUEST)), Verdict::Forward);
    assert_eq!(bench.give(&error(CLIENT, SERVER, &back)), Verdict::Forward);
    let mut revoked = named();
    revoked.policies[0].rules.remove(0);
    let policy = Policy::compile(&revoked, Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(policy));
    assert_eq!(bench.give(&error(CLIENT, SERVER, &back)), UNRELATED);
}

#[test]
fn flows_that_are_over_at_once_are_found_once_however_slowly_packets_come() {
    const FLOWS: usize = 2_000;
    let limits = super::Limits { flows: 2 * FLOWS, ..super::Limits::default() };
    let mut bench = Bench::with(&spec(), limits);
    let datagram = |number: usize| {
        let src = Addr::v4([10, 20, (number >> 8) as u8, number as u8]);
        packet::udp(&FiveTuple { src, ..tuple(514, Protocol::UDP) }, b"<1>x")
    };
    for number in 0..FLOWS {
        assert_eq!(bench.give(&datagram(number)), Verdict::Forward);
    }
    bench.skip(1_000);
    for second in 0..20 {
        bench.give(&datagram(9_999));
        let left = bench.engine.due.len() - bench.engine.due_seen;
        assert!(left <= FLOWS, "{second}: {left}");
        bench.skip(1);
    }
    bench.pass(1);
    let ended = bench.events.iter().filter(|event| matches!(event, Event::FlowEnd(_))).count();
    assert_eq!((ended, bench.engine.flows()), (FLOWS, 1));
}

const EVIL: &[u8] = b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";

fn install(bench: &mut Bench, spec: &PolicySpec) {
    let policy = Policy::compile(spec, Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(policy));
}

/// Rulesets under which nobody asks for the name of a web server's or a resolver's flow.
fn unasking() -> [PolicySpec; 2] {
    let mut ports = named();
    ports.policies[0].rules[0].domains = None;
    let mut dns = ports.policies[0].rules[0].clone();
    dns.id = "dns".to_owned();
    dns.protocols = Some(vec![Protocol::UDP]);
    dns.ports = Some(vec![PortRange::one(53)]);
    ports.policies[0].rules.push(dns);
    let mut monitor = asking();
    monitor.policies[0].mode = Mode::Monitor;
    [ports, monitor]
}

fn asking() -> PolicySpec {
    let mut asking = named();
    let mut dns = asking.policies[0].rules[0].clone();
    dns.id = "dns".to_owned();
    dns.protocols = Some(vec![Protocol::UDP]);
    dns.ports = Some(vec![PortRange::one(53)]);
    dns.dns = dns.domains.take();
    asking.policies[0].rules.push(dns);
    asking
}

#[test]
fn what_was_read_for_the_record_alone_is_asked_for_once_a_new_ruleset_asks() {
    for before in unasking() {
        // Before the first request, within it, between two, within the second.
        let both = [REQUEST, REQUEST].concat();
        for sent in [0, 20, REQUEST.len(), REQUEST.len() + 20] {
            for (rest, passes) in [(REQUEST, true), (EVIL, false)] {
                let mut bench = Bench::new(&before);
                let mut session = established(&mut bench, tuple(443, Protocol::TCP));
                if sent > 0 {
                    let request = session.send(Side::Client, &both[..sent]);
                    assert_eq!(bench.give(&request), Verdict::Forward);
                    assert_eq!(bench.give(&session.ack(Side::Server)), Verdict::Forward);
                }
                install(&mut bench, &asking());
                let rest = &rest[sent % REQUEST.len()..];
                let verdict = bench.give(&session.send(Side::Client, rest));
                let mode = before.policies[0].mode;
                assert_eq!(verdict == Verdict::Forward, passes, "{mode:?} {sent} {verdict:?}");
            }
        }
    }
}

#[test]
fn questions_of_a_flow_that_nobody_asked_about_are_judged_once_a_new_ruleset_asks() {
    let question = |name| {
        let said = Speech::Dns { name, answer: None }.datagrams();
        packet::udp(&tuple(53, Protocol::UDP), &said[0].1)
    };
    for before in unasking() {
        let mut bench = Bench::new(&before);
        let (good, evil) = (question("api.example"), question("evil.example"));
        assert_eq!(bench.give(&good), Verdict::Forward);
        assert_eq!(bench.give(&good), Verdict::Forward);
        install(&mut bench, &asking());
        let mode = before.policies[0].mode;
        assert!(matches!(bench.give(&evil), Verdict::Drop(_)), "{mode:?}");
        let said = Speech::Dns { name: "api.example", answer: Some(Addr::v4([192, 0, 2, 1])) };
        let answer = packet::udp(&tuple(53, Protocol::UDP).reverse(), &said.datagrams()[1].1);
        assert_eq!(bench.give(&answer), Verdict::Forward, "{mode:?}: what was allowed is answered");
        assert_eq!(bench.give(&good), Verdict::Forward, "{mode:?}");
        assert!(matches!(bench.give(&evil), Verdict::Drop(_)), "{mode:?}");
    }
}

#[test]
fn nobody_hears_of_a_flow_all_of_whose_questions_were_denied() {
    let flow = tuple(53, Protocol::UDP);
    let said = |name, index: usize| {
        let said = Speech::Dns { name, answer: Some(Addr::v4([192, 0, 2, 1])) }.datagrams();
        let (side, bytes) = &said[index];
        let tuple = if *side == Side::Client { flow } else { flow.reverse() };
        packet::udp(&tuple, bytes)
    };
    let mut surplus = packet::udp(&flow, b"surplus!");
    surplus[24..26].copy_from_slice(&8u16.to_be_bytes());
    surplus[26..28].fill(0);
    let others = [
        error(CLIENT, SERVER, &said("evil.example", 1)),
        error(SERVER, CLIENT, &said("evil.example", 0)),
        said("evil.example", 1),
        packet::udp(&flow.reverse(), &[0xff; 40]),
        packet::udp(&flow.reverse(), &[]),
        surplus,
    ];
    let shut = Verdict::Drop(Reason::FlowDenied);
    let (good, evil) = (said("api.example", 0), said("evil.example", 0));
    // Whatever the order, and with a story of the same question that was allowed elsewhere or not.
    for (asked, opens) in [
        (vec![&evil], false),
        (vec![&evil, &evil], false),
        (vec![&evil, &good], true),
        (vec![&good, &evil], true),
        (vec![&good], true),
        (vec![&evil, &good, &evil], true),
    ] {
        let mut bench = Bench::new(&asking());
        for question in &asked {
            bench.give(question);
        }
        for (number, other) in others.iter().enumerate() {
            let expected = if opens { Verdict::Forward } else { shut };
            assert_eq!(bench.give(other), expected, "{} {number}", asked.len());
        }
    }
}

#[test]
fn a_flow_of_no_known_protocol_is_looked_at_again_once_a_new_ruleset_asks() {
    let [before, _] = unasking();
    let mut after = before.clone();
    let mut denied = after.policies[0].rules.last().unwrap().clone();
    (denied.id, denied.action) = ("denied".to_owned(), Action::Deny);
    denied.dns = Some(names("evil.example"));
    after.policies[0].rules.insert(0, denied);
    let mut bench = Bench::new(&before);
    let opaque = packet::udp(&tuple(53, Protocol::UDP), b"opaque");
    for _ in 0..6 {
        assert_eq!(bench.give(&opaque), Verdict::Forward);
    }
    install(&mut bench, &after);
    let said = Speech::Dns { name: "evil.example", answer: None }.datagrams();
    let evil = packet::udp(&tuple(53, Protocol::UDP), &said[0].1);
    assert_eq!(bench.give(&opaque), Verdict::Forward);
    assert!(matches!(bench.give(&evil), Verdict::Drop(_)));
}

#[test]
fn names_that_went_by_unread_are_missed_under_a_new_ruleset() {
    for before in unasking() {
        let mut bench = Bench::with(
            &before,
            super::Limits { unasked_bytes: 100, flows: 10, ..super::Limits::default() },
        );
        let mut session = established(&mut bench, tuple(443, Protocol::TCP));
        for _ in 0..5 {
            assert_eq!(bench.give(&session.send(Side::Client, REQUEST)), Verdict::Forward);
            assert_eq!(bench.give(&session.ack(Side::Server)), Verdict::Forward);
        }
        install(&mut bench, &asking());
        assert_ne!(bench.give(&session.send(Side::Client, EVIL)), Verdict::Forward);
        assert_ne!(bench.give(&session.send(Side::Client, EVIL)), Verdict::Forward);
    }
}

#[test]
fn nothing_behind_an_empty_datagram_travels_before_its_flow_is_decided() {
    let mut bench = Bench::new(&asking());
    let dns = tuple(53, Protocol::UDP);
    let mut empty = packet::udp(&dns, &[]);
    assert_eq!(bench.give(&empty), Verdict::Forward);
    // Behind the datagram, within the packet: its length says nothing of it.
    let mut behind = packet::udp(&dns, b"surplus!");
    behind[24..26].copy_from_slice(&8u16.to_be_bytes());
    behind[26..28].fill(0);
    for _ in 0..2 {
        assert_eq!(bench.give(&behind), Verdict::Drop(Reason::Undecided));
    }
    let mut bench = Bench::new(&asking());
    assert_eq!(bench.give(&behind), Verdict::Drop(Reason::Undecided), "nor as the first");
    empty[26..28].fill(0);
    assert_eq!(bench.give(&empty), Verdict::Forward);
}

#[test]
fn nothing_behind_a_packet_travels_before_its_flow_is_decided() {
    let undecided = Verdict::Drop(Reason::Undecided);
    let trailing = |packet: &[u8], tail: &[u8]| [packet, tail].concat();
    let mut bench = Bench::new(&named());
    let web = tuple(443, Protocol::TCP);
    let mut session = Session::new(web);
    for packet in session.handshake() {
        for _ in 0..2 {
            assert_eq!(bench.give(&trailing(&packet, b"\0\0!")), undecided);
        }
        assert_eq!(bench.give(&trailing(&packet, &[0; 6])), Verdict::Forward, "padding");
    }
    // What is dropped ends nothing.
    let reset = segment(&web, session.seq(Side::Client), 0, flag::RST);
    let finish = session.raw(Side::Client, flag::FIN | flag::ACK, &[]);
    for end in [reset, finish] {
        assert_eq!(bench.give(&trailing(&end, b"evil")), undecided);
    }
    let request = session.send(Side::Client, REQUEST);
    assert_eq!(bench.give(&request), Verdict::Forward);
    assert_eq!(bench.give(&session.ack(Side::Server)), Verdict::Forward);
    assert_eq!(bench.give(&trailing(&session.ack(Side::Client), b"told")), Verdict::Forward);
    // Datagrams that carry nothing, first and later; and a flow that its first packet decides.
    let empty = trailing(&packet::udp(&tuple(53, Protocol::UDP), &[]), b"evil");
    let mut bench = Bench::new(&asking());
    assert_eq!([bench.give(&empty), bench.give(&empty)], [undecided; 2]);
    let decided = trailing(&packet::udp(&tuple(514, Protocol::UDP), b"<1>x"), b"more");
    assert_eq!(bench.give(&decided), Verdict::Forward);
    let mut monitored = named();
    monitored.policies[0].mode = Mode::Monitor;
    let mut bench = Bench::new(&monitored);
    for packet in Session::new(web).handshake() {
        assert_eq!(bench.give(&trailing(&packet, b"tail")), Verdict::Forward);
    }
}

/// An IPv4 packet in two fragments, the first with 40 bytes of what it carries.
fn in_fragments(packet: &[u8]) -> [Vec<u8>; 2] {
    let part = |offset: u16, more: bool, carried: &[u8]| {
        let mut part = [&packet[..20], carried].concat();
        part[2..4].copy_from_slice(&(20 + carried.len() as u16).to_be_bytes());
        part[6..8].copy_from_slice(&((offset / 8) | (u16::from(more) << 13)).to_be_bytes());
        part[10..12].copy_from_slice(&[0, 0]);
        let sum = Sum::default().bytes(&part[..20]).finish();
        part[10..12].copy_from_slice(&sum);
        part
    };
    [part(0, true, &packet[20..60]), part(40, false, &packet[60..])]
}

#[test]
fn an_error_in_fragments_is_judged_as_one_that_came_whole() {
    let mut spec = spec();
    let mut any_icmp = RuleSpec::new("icmp", Action::Allow);
    any_icmp.protocols = Some(vec![Protocol::ICMP]);
    spec.policies[0].rules.push(any_icmp);
    let mut bench = Bench::new(&spec);
    let web = tuple(443, Protocol::TCP);
    let session = established(&mut bench, web);
    let [back, other] =
        [session.ack(Side::Server), segment(&tuple(8080, Protocol::TCP), 1, 0, flag::ACK)];
    let mut last = |about: &[u8]| {
        let [first, rest] = in_fragments(&error(CLIENT, SERVER, about));
        assert_eq!(bench.give(&first), Verdict::Hold);
        bench.give(&rest)
    };
    assert_eq!(last(&back), Verdict::Forward, "of its own flow");
    assert_eq!(last(&other), UNRELATED, "of none");
    assert_eq!(bench.engine.flows(), 1, "an error opens no flow");
}

#[test]
fn what_a_request_named_is_not_said_of_the_tunnel_it_opens() {
    let mut spec = named();
    spec.policies[0].rules[0].api_ids = Some(vec![ApiId::parse(b"a1b2").unwrap()]);
    let mut bench = Bench::new(&spec);
    let mut session = established(&mut bench, tuple(443, Protocol::TCP));
    let connect = b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\nX-Apigw-Api-Id: a1b2\r\n\r\n";
    assert_eq!(bench.give(&session.send(Side::Client, connect)), Verdict::Forward);
    let agreed = session.send(Side::Server, b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(bench.give(&agreed), Verdict::Forward);
    let offer = Offer { names: &[b"api.example"], ..Offer::default() };
    let hello = offer.records(1 << 14).unwrap();
    let within = bench.give(&session.send(Side::Client, &hello));
    assert_eq!(within, Verdict::Drop(Reason::Otherwise), "TLS names no API");
}

#[test]
fn what_is_kept_of_streams_that_nobody_asks_about_has_a_bound_over_all_of_them() {
    // A record that promises a long hello.
    let head = [22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3];
    let beginning = [&head[..], &[3; 990]].concat();
    for (total, kept) in [(5_999, 2_000), (6_000, 3_000), (6_001, 3_000)] {
        let limits = super::Limits { flows: 1000, kept_bytes: total, ..Default::default() };
        let mut bench = Bench::with(&spec(), limits);
        for number in 0..5 {
            let flow = FiveTuple { src_port: 40_000 + number, ..tuple(443, Protocol::TCP) };
            let mut session = established(&mut bench, flow);
            assert_eq!(bench.give(&session.send(Side::Client, &beginning)), Verdict::Forward);
        }
        assert_eq!(bench.engine.cases.kept.total(), kept, "{total}");
        bench.pass(1000);
        assert_eq!(bench.engine.cases.kept.total(), 0);
    }
}

#[test]
fn whoever_keeps_flows_that_are_read_leaves_a_quarter_of_the_room_to_others() {
    let mut spec = named();
    let mut block = spec.policies[0].clone();
    block.from = vec![Selector::Segment("globex".to_owned())];
    spec.policies.push(block);
    for (limit, most, left) in [(1, 1, 0), (3, 3, 0), (4, 3, 1), (7, 6, 1), (8, 6, 2), (9, 7, 2)] {
        let limits = super::Limits { flows: 1000, inspections: limit, ..Default::default() };
        let mut bench = Bench::with(&spec, limits);
        let mut held = |endpoint, count: u16| {
            let mut held = 0;
            for number in 0..count {
                let flow = FiveTuple { src_port: 40_000 + number, ..tuple(443, Protocol::TCP) };
                let mut session = Session::new(flow);
                session.handshake().iter().for_each(|p| assert_forwarded(&mut bench, endpoint, p));
                let verdict = bench.give_from(endpoint, &session.send(Side::Client, b"GET /"));
                held += usize::from(verdict == Verdict::Hold);
            }
            held
        };
        assert_eq!(held(ENDPOINT, 20), most, "{limit}");
        assert_eq!(held(OTHER, 20), left, "{limit}");
        bench.pass(1000);
        let mut held = |endpoint| {
            let mut session = Session::new(tuple(443, Protocol::TCP));
            session.handshake().iter().for_each(|p| assert_forwarded(&mut bench, endpoint, p));
            bench.give_from(endpoint, &session.send(Side::Client, b"GET /"))
        };
        assert_eq!(held(ENDPOINT), Verdict::Hold, "what is over makes room");
    }
}

fn assert_forwarded(bench: &mut Bench, endpoint: EndpointId, packet: &[u8]) {
    assert_eq!(bench.give_from(endpoint, packet), Verdict::Forward);
}
