//! Flows of several names under a new ruleset, and behind a rule's last day: all they were allowed by
//! must still be.

use super::half_tests::named;
use super::record::{Ended, Event, FlowRecord, RECORD_NAMES_MAX};
use super::tests::{Bench, spec, tuple};
use crate::inspect::quic::seal::{Initial, crypto_frame};
use crate::inspect::quic::version::V1;
use crate::inspect::tls::compose::Offer;
use crate::model::{Action, Protocol, Reason, Verdict};
use crate::policy::Policy;
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{Answer, AppMatch, PolicySpec, PortRange, RuleSpec};
use crate::synth::packet;
use crate::synth::session::{Session, Side};
use std::sync::Arc;

fn names(names: &[&str]) -> Arc<NameSet> {
    let patterns = names.iter().map(|name| NamePattern::parse(name).unwrap());
    Arc::new(NameSet::build(patterns).unwrap())
}

/// Only these names are allowed, by a rule each.
fn allowing(allowed: &[&str]) -> PolicySpec {
    let mut spec = named("nothing.example");
    for (number, name) in allowed.iter().enumerate() {
        let mut rule = RuleSpec::new(&format!("rule{number}"), Action::Allow);
        rule.domains = Some(names(&[name]));
        spec.policies[0].rules.push(rule);
    }
    spec
}

fn install(bench: &mut Bench, spec: &PolicySpec) {
    let policy = Policy::compile(spec, Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(policy));
}

fn hello(name: &str) -> Vec<u8> {
    let names: &[&[u8]] = &[name.as_bytes()];
    let offer = Offer { names, versions: &[0x0304], ..Offer::default() };
    let frame = crypto_frame(0, &offer.message().unwrap()).unwrap();
    // Each name has a connection of its own.
    let destination: Vec<u8> = name.bytes().cycle().take(8).collect();
    let initial =
        Initial { version: V1, destination: &destination, padded_to: 1200, ..Initial::default() };
    packet::udp(&tuple(443, Protocol::UDP), &initial.seal(&frame).unwrap())
}

fn request(session: &mut Session, host: &str) -> Vec<u8> {
    session.send(Side::Client, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
}

fn begun(bench: &mut Bench) -> Session {
    let mut session = Session::new(tuple(80, Protocol::TCP));
    session.handshake().iter().for_each(|packet| assert_eq!(bench.give(packet), Verdict::Forward));
    session
}

/// The record of the only flow, which ends now.
fn record(bench: &mut Bench) -> FlowRecord {
    bench.pass(600);
    let ended = bench.events.iter().filter_map(|event| match event {
        Event::FlowEnd(record) => Some(record.clone()),
        _ => None,
    });
    let [record] = ended.collect::<Vec<_>>().try_into().unwrap();
    record
}

const TWO: [&str; 2] = ["api.example", "www.example"];

#[test]
fn all_that_a_flow_was_allowed_by_must_still_be_after_a_reload() {
    for (left, denied) in [(&TWO[..], None), (&TWO[1..], Some(TWO[0])), (&TWO[..1], Some(TWO[1]))] {
        for quic in [false, true] {
            let mut bench = Bench::new(&allowing(&TWO));
            let next = if quic {
                TWO.iter().for_each(|name| assert_eq!(bench.give(&hello(name)), Verdict::Forward));
                packet::udp(&tuple(443, Protocol::UDP), &[0x45; 40])
            } else {
                let mut session = begun(&mut bench);
                for name in TWO {
                    assert_eq!(bench.give(&request(&mut session, name)), Verdict::Forward);
                }
                session.ack(Side::Client)
            };
            install(&mut bench, &allowing(left));
            let expected =
                if denied.is_some() { Verdict::Drop(Reason::FlowDenied) } else { Verdict::Forward };
            assert_eq!(bench.give(&next), expected, "{quic} {left:?}");
            let record = record(&mut bench);
            let name = record.found.denied_name.as_ref().map(ToString::to_string);
            assert_eq!(name.as_deref(), denied, "{quic}");
            let verdict = record.verdict.unwrap();
            assert_eq!(verdict.rule.is_none() && verdict.action == Action::Deny, denied.is_some());
            assert_eq!(record.ended == Some(Ended::Denied), denied.is_some());
        }
    }
}

#[test]
fn what_only_an_expired_rule_allowed_ends_though_another_name_came_later() {
    let mut spec = allowing(&TWO[1..]);
    let mut old = RuleSpec::new("old", Action::Allow);
    old.protocols = Some(vec![Protocol::UDP]);
    old.expires = Some(0);
    spec.policies[0].rules.insert(0, old);
    for (asked, ends) in [(TWO, true), ([TWO[1]; 2], false)] {
        let mut bench = Bench::new(&spec);
        asked.iter().for_each(|name| assert_eq!(bench.give(&hello(name)), Verdict::Forward));
        let sealed = packet::udp(&tuple(443, Protocol::UDP), &[0x45; 40]);
        for _ in 0..24 * 60 {
            bench.skip(60);
            bench.give(&sealed);
        }
        assert_eq!(bench.give(&sealed) != Verdict::Forward, ends, "{asked:?}");
    }
}

#[test]
fn a_request_that_led_to_another_protocol_is_asked_about_as_what_it_was() {
    let within = |targets: &[&str]| {
        let mut spec = spec();
        for (id, app, allowed) in
            [("proxy", AppMatch::Http, targets), ("tunnel", AppMatch::Tls, &TWO[1..])]
        {
            let mut rule = RuleSpec::new(id, Action::Allow);
            rule.ports = Some(vec![PortRange::one(80)]);
            rule.app = Some(app);
            rule.domains = Some(names(allowed));
            spec.policies[0].rules.push(rule);
        }
        spec
    };
    for (targets, passes) in [(&TWO[..1], true), (&["other.example"][..], false)] {
        let mut bench = Bench::new(&within(&TWO[..1]));
        let mut session = begun(&mut bench);
        let connect = b"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n";
        let agreed = b"HTTP/1.1 200 OK\r\n\r\n";
        let offer = Offer { names: &[TWO[1].as_bytes()], ..Offer::default() };
        let hello = offer.records(1 << 14).unwrap();
        for (side, bytes) in
            [(Side::Client, &connect[..]), (Side::Server, agreed), (Side::Client, &hello)]
        {
            assert_eq!(bench.give(&session.send(side, bytes)), Verdict::Forward);
        }
        install(&mut bench, &within(targets));
        assert_eq!(bench.give(&session.ack(Side::Server)) == Verdict::Forward, passes);
        let name = record(&mut bench).found.denied_name.as_ref().map(ToString::to_string);
        assert_eq!(name.as_deref(), (!passes).then_some(TWO[0]));
    }
}

#[test]
fn names_beyond_those_that_are_kept_are_missed_after_a_reload() {
    for count in [RECORD_NAMES_MAX - 1, RECORD_NAMES_MAX, RECORD_NAMES_MAX + 1] {
        for midstream in [Answer::Deny, Answer::Allow] {
            let mut spec = allowing(&[".example"]);
            spec.policies[0].rules.last_mut().unwrap().midstream = midstream;
            let mut bench = Bench::new(&spec);
            let mut session = begun(&mut bench);
            for number in 0..count {
                let host = format!("n{number}.example");
                assert_eq!(bench.give(&request(&mut session, &host)), Verdict::Forward);
                assert_eq!(bench.give(&session.ack(Side::Server)), Verdict::Forward);
            }
            install(&mut bench, &spec);
            let passes = count <= RECORD_NAMES_MAX || midstream == Answer::Allow;
            let verdict = bench.give(&session.ack(Side::Client));
            assert_eq!(verdict == Verdict::Forward, passes, "{count} {midstream:?}");
        }
    }
}
