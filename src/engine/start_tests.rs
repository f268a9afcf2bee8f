//! Starts of flows told: once each, as soon as a rule decides that asks for it, whenever that is.

use super::half_tests::named;
use super::record::{Ended, Event};
use super::tests::{Bench, tuple};
use crate::model::{Action, FiveTuple, Protocol, Reason, TlsVersion, Verdict};
use crate::policy::Policy;
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{FlowLog as Log, Mode, PolicySpec, PortRange, RuleSpec};
use crate::synth::packet;
use crate::synth::session::{Session, Side};
use crate::synth::speech::Speech;
use std::sync::Arc;

const GOOD: &str = "api.good.example";

/// Names are allowed over TLS, HTTP, QUIC and DNS; every rule is recorded so.
fn logged(log: Log) -> PolicySpec {
    let mut spec = named(".good.example");
    let mut dns = RuleSpec::new("dns", Action::Allow);
    dns.ports = Some(vec![PortRange::one(53)]);
    let names = NameSet::build([NamePattern::parse(".good.example").unwrap()]).unwrap();
    dns.dns = Some(Arc::new(names));
    spec.policies[0].rules.push(dns);
    spec.policies[0].rules.iter_mut().for_each(|rule| rule.log = log);
    spec
}

/// Port, protocol and speech of everything that a name decides.
fn conversations() -> [(u16, Protocol, Speech<'static>); 5] {
    let tls = Speech::Tls { name: Some(GOOD), version: TlsVersion(0x0303), certificate: None };
    [
        (8443, Protocol::TCP, tls),
        (80, Protocol::TCP, Speech::Http { host: GOOD, api_id: None }),
        (443, Protocol::UDP, Speech::Quic { name: Some(GOOD) }),
        (53, Protocol::UDP, Speech::Dns { name: GOOD, answer: None }),
        (53, Protocol::TCP, Speech::Dns { name: GOOD, answer: None }),
    ]
}

fn from_port(port: u16, (to, protocol): (u16, Protocol)) -> FiveTuple {
    FiveTuple { src_port: port, ..tuple(to, protocol) }
}

/// Lets both sides say everything, `times` times over.
fn speak(bench: &mut Bench, tuple: FiveTuple, speech: &Speech<'_>, times: usize) {
    if tuple.protocol == Protocol::UDP {
        for (side, said) in std::iter::repeat_n(speech.datagrams(), times).flatten() {
            let way = if side == Side::Client { tuple } else { tuple.reverse() };
            bench.give(&packet::udp(&way, &said));
        }
        return;
    }
    let mut session = Session::new(tuple);
    for packet in session.handshake() {
        bench.give(&packet);
    }
    for (side, said) in std::iter::repeat_n(speech.stream(), times).flatten() {
        bench.give(&session.send(side, &said));
    }
}

/// The rules by which flows were told to have started.
fn starts(bench: &Bench) -> Vec<String> {
    let rule = |event: &Event| match event {
        Event::FlowStart(record) => {
            let rule = bench.engine.policy().rule(record.verdict?.rule?)?;
            Some(rule.name.to_string())
        }
        _ => None,
    };
    bench.events.iter().filter_map(rule).collect()
}

#[test]
fn a_flow_that_a_name_decides_is_told_once_as_it_is_decided() {
    for log in [Log::Start, Log::Both] {
        for (port, protocol, speech) in conversations() {
            for times in [1, 3] {
                let mut bench = Bench::new(&logged(log));
                speak(&mut bench, tuple(port, protocol), &speech, times);
                assert_eq!(starts(&bench).len(), 1, "{speech:?}, {times} times");
                let Some(Event::FlowStart(record)) = bench.events.first() else {
                    panic!("{speech:?}: the start comes first")
                };
                let names = if port == 53 { &record.found.questions } else { &record.found.names };
                assert_eq!(names.first().unwrap().to_string(), GOOD, "what decided it is told");
                assert_eq!(record.ended, None);
                bench.pass(10_000);
                assert_eq!((starts(&bench).len(), bench.ended().len()), (1, 1), "{speech:?}");
            }
        }
    }
}

#[test]
fn rules_that_do_not_ask_tell_no_start() {
    for log in [Log::End, Log::None] {
        for (port, protocol, speech) in conversations() {
            let mut bench = Bench::new(&logged(log));
            speak(&mut bench, tuple(port, protocol), &speech, 1);
            bench.pass(10_000);
            assert_eq!(starts(&bench).len(), 0, "{speech:?}");
        }
    }
}

#[test]
fn a_flow_that_its_first_packet_decides_is_told_at_once_allowed_or_denied() {
    let mut bench = Bench::new(&logged(Log::Both));
    let syn = |port| Session::new(tuple(port, Protocol::TCP)).handshake().swap_remove(0);
    for (port, rule) in [(443, "web"), (22, "ssh")] {
        for _ in 0..2 {
            bench.give(&syn(port));
        }
        assert_eq!(starts(&bench).last().unwrap(), rule);
    }
    for (port, rule) in [(514, "syslog"), (161, "snmp")] {
        for _ in 0..2 {
            bench.give(&packet::udp(&tuple(port, Protocol::UDP), b"x"));
        }
        assert_eq!(starts(&bench).last().unwrap(), rule);
    }
    assert_eq!(starts(&bench).len(), 4);
}

#[test]
fn what_a_monitored_policy_would_have_done_is_told_once() {
    let mut spec = logged(Log::Start);
    spec.policies[0].mode = Mode::Monitor;
    let mut bench = Bench::new(&spec);
    for (source, (port, protocol, speech)) in (1000..).zip(conversations()) {
        speak(&mut bench, from_port(source, (port, protocol)), &speech, 2);
    }
    assert_eq!(starts(&bench).len(), conversations().len());
}

#[test]
fn a_denied_question_is_told_behind_the_start_of_its_flow() {
    let mut spec = logged(Log::Start);
    spec.policies[0].otherwise = Action::Allow;
    spec.policies[0].rules.iter_mut().for_each(|rule| {
        if rule.id == "dns" {
            rule.action = Action::Deny;
        }
    });
    let mut bench = Bench::new(&spec);
    speak(&mut bench, tuple(53, Protocol::UDP), &Speech::Dns { name: GOOD, answer: None }, 1);
    let [Event::FlowStart(start), Event::MessageDenied(denied), ..] = &bench.events[..] else {
        panic!("{:?}", bench.events)
    };
    assert_eq!(start.verdict, denied.verdict);
}

#[test]
fn a_flow_denied_by_no_rule_has_no_start_and_its_end_says_why() {
    let mut spec = logged(Log::Start);
    spec.defaults.pending_timeout = crate::model::Span::from_secs(1);
    let mut bench = Bench::new(&spec);
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        bench.give(&packet);
    }
    assert_eq!(bench.give(&session.send(Side::Client, b"GET / HT")), Verdict::Hold);
    bench.pass(2);
    bench.pass(600);
    assert_eq!(starts(&bench).len(), 0);
    let Some(Event::FlowEnd(record)) = bench.events.last() else { panic!("it ended") };
    let verdict = record.verdict.unwrap();
    assert_eq!((record.ended, verdict.reason), (Some(Ended::Denied), Reason::Undecided));
    assert_eq!(verdict.rule, None, "its end is recorded, whatever rules ask for");
}

#[test]
fn a_rule_that_a_reload_puts_over_a_flow_tells_it_once() {
    for (port, protocol, speech) in conversations() {
        let mut bench = Bench::new(&logged(Log::End));
        let way = tuple(port, protocol);
        let mut session = Session::new(way);
        if protocol == Protocol::TCP {
            for packet in session.handshake() {
                bench.give(&packet);
            }
        }
        for round in 0..4 {
            if round == 1 || round == 2 {
                let policy =
                    Policy::compile(&logged(Log::Both), Some(bench.engine.policy())).unwrap();
                bench.engine.install(Arc::new(policy));
            }
            if protocol == Protocol::UDP {
                bench.give(&packet::udp(&way, &speech.datagrams()[0].1));
            } else if round == 0 || port != 8443 {
                bench.give(&session.send(Side::Client, &speech.stream()[0].1));
            } else {
                bench.give(&session.send(Side::Client, b"\x17\x03\x03\x00\x01x"));
            }
            assert_eq!(starts(&bench).len(), round.min(1), "{speech:?}, round {round}");
        }
    }
}
