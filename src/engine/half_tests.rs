//! Flows of which only some packets are read: the others pass at once, and what is read is judged as
//! ever.

use super::record::{Ended, Event};
use super::tests::{Bench, spec, tuple};
use crate::model::{Action, Protocol, Reason, TlsVersion, Verdict};
use crate::policy::Policy;
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::{PolicySpec, PortRange, RuleSpec};
use crate::synth::packet;
use crate::synth::session::{Session, Side};
use crate::synth::speech::Speech;
use std::sync::Arc;

/// Names below `name` are allowed, on these ports of TCP and UDP.
pub(super) fn named(name: &str) -> PolicySpec {
    let mut spec = spec();
    let names = Arc::new(NameSet::build([NamePattern::parse(name).unwrap()]).unwrap());
    for (id, protocol, port) in
        [("http", Protocol::TCP, 80), ("tls", Protocol::TCP, 8443), ("quic", Protocol::UDP, 443)]
    {
        let mut rule = RuleSpec::new(id, Action::Allow);
        rule.protocols = Some(vec![protocol]);
        rule.ports = Some(vec![PortRange::one(port)]);
        rule.domains = Some(Arc::clone(&names));
        spec.policies[0].rules.push(rule);
    }
    spec
}

impl Bench {
    /// Whether a packet is forwarded without being looked at.
    fn passes_at_once(&mut self, inner: &[u8]) -> bool {
        let verdict = self.give(inner);
        verdict == Verdict::Forward && self.engine.busy & 1 == 0
    }

    /// The reason for which flows or messages were denied last.
    fn denied(&self) -> Option<Reason> {
        self.events.iter().rev().find_map(|event| match event {
            Event::FlowEnd(record) if record.ended == Some(Ended::Denied) => {
                record.verdict.map(|verdict| verdict.reason)
            }
            _ => None,
        })
    }
}

fn request(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// A connection whose first request was allowed and is acknowledged.
fn asked(bench: &mut Bench) -> Session {
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        assert_eq!(bench.give(&packet), Verdict::Forward);
    }
    let packet = session.send(Side::Client, &request("api.good.example"));
    assert_eq!(bench.give(&packet), Verdict::Forward);
    assert!(!bench.passes_at_once(&session.ack(Side::Server)), "it ends what is kept");
    session
}

#[test]
fn answers_pass_at_once_and_the_next_request_is_judged() {
    let mut bench = Bench::new(&named(".good.example"));
    let mut session = asked(&mut bench);
    for _ in 0..3 {
        assert!(bench.passes_at_once(&session.send(Side::Server, &[b'x'; 1400])));
        assert!(bench.passes_at_once(&session.ack(Side::Client)));
    }
    let again = session.send(Side::Client, &request("www.good.example"));
    assert!(!bench.passes_at_once(&again));
    assert!(!bench.passes_at_once(&session.send(Side::Server, b"HTTP/1.1 204 No\r\n\r\n")));
    assert!(bench.passes_at_once(&session.ack(Side::Client)));
    let other = session.send(Side::Client, &request("www.bad.example"));
    assert!(matches!(bench.give(&other), Verdict::Drop(_)));
    bench.pass(600);
    assert_eq!(bench.ended()[0].0, Some(Action::Deny));
}

#[test]
fn answers_wait_for_what_was_read_to_be_acknowledged() {
    let mut bench = Bench::new(&named(".good.example"));
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        bench.give(&packet);
    }
    let mut early = session;
    let first = session.send(Side::Client, &request("api.good.example"));
    assert_eq!(bench.give(&first), Verdict::Forward);
    assert!(!bench.passes_at_once(&early.send(Side::Server, &[b'x'; 100])));
    let changed = early.send(Side::Client, &request("api.evil.example"));
    assert!(matches!(bench.give(&changed), Verdict::Drop(_)));
    bench.pass(600);
    assert_eq!(bench.denied(), Some(Reason::InconsistentRetransmission));
}

#[test]
fn an_answer_that_would_pass_at_once_is_decided_again_after_a_reload() {
    let mut bench = Bench::new(&named(".good.example"));
    let mut session = asked(&mut bench);
    assert!(bench.passes_at_once(&session.send(Side::Server, &[b'x'; 1400])));
    let other = Policy::compile(&named(".other.example"), Some(bench.engine.policy())).unwrap();
    bench.engine.install(Arc::new(other));
    let answer = session.send(Side::Server, &[b'x'; 1400]);
    assert!(matches!(bench.give(&answer), Verdict::Drop(_)));
}

#[test]
fn an_answer_that_decides_what_the_client_says_next_is_read() {
    let mut bench = Bench::new(&named(".good.example"));
    let mut session = Session::new(tuple(80, Protocol::TCP));
    for packet in session.handshake() {
        bench.give(&packet);
    }
    let upgrade = b"GET / HTTP/1.1\r\nHost: a.good.example\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(bench.give(&session.send(Side::Client, upgrade)), Verdict::Forward);
    bench.give(&session.ack(Side::Server));
    assert!(!bench.passes_at_once(&session.send(Side::Server, b"HTTP/1.1 101 Go\r\n\r\n")));
}

#[test]
fn behind_the_server_hello_everything_passes_at_once() {
    let mut bench = Bench::new(&named(".good.example"));
    let mut session = Session::new(tuple(8443, Protocol::TCP));
    for packet in session.handshake() {
        bench.give(&packet);
    }
    let said = Speech::Tls {
        name: Some("api.good.example"),
        version: TlsVersion(0x0304),
        certificate: None,
    };
    for (turn, (side, bytes)) in said.stream().into_iter().enumerate() {
        let (other, read) =
            (if side == Side::Client { Side::Server } else { Side::Client }, turn < 2);
        let packet = session.send(side, &bytes);
        assert_eq!(bench.passes_at_once(&packet), !read, "turn {turn}");
        let acknowledged = turn > 0;
        assert_eq!(bench.passes_at_once(&session.ack(other)), acknowledged, "turn {turn}");
    }
}

#[test]
fn short_headers_pass_at_once_and_another_connection_is_judged() {
    let mut bench = Bench::new(&named(".good.example"));
    let tuple = tuple(443, Protocol::UDP);
    let hello = |name| Speech::Quic { name: Some(name) }.datagrams().remove(0).1;
    assert_eq!(bench.give(&packet::udp(&tuple, &hello("api.good.example"))), Verdict::Forward);
    let protected = packet::udp(&tuple, &[0x45; 1200]);
    for _ in 0..3 {
        assert!(bench.passes_at_once(&protected));
        assert!(bench.passes_at_once(&packet::udp(&tuple.reverse(), &[0x45; 1200])));
    }
    assert!(!bench.passes_at_once(&packet::udp(&tuple.reverse(), &[0xc5; 1200])));
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
    assert!(!bench.passes_at_once(&packet::udp(&tuple, question)));
}
