//! Flows from a trusted proxy as the engine meets them: whose they are, in every cut of the header's
//! bytes, over TCP and UDP. How a header is read is tested beside its reader.

use lockgate::engine::record::{Event, FlowRecord};
use lockgate::engine::{Engine, Frame, Limits, Output};
use lockgate::flow::Secret;
use lockgate::model::{Action, EndpointId, FiveTuple, Protocol, Reason, Span, Timestamp, Verdict};
use lockgate::policy::Policy;
use lockgate::ruleset::{self, Options};
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet;
use lockgate::synth::session::{Session, Side};
use lockgate::wire::{Link, Settings, parse};
use std::sync::Arc;

const COMMON: EndpointId = EndpointId(0x00d0);
const ACME: u64 = 0xac;
const GLOBEX: u64 = 0xbe;
const UNLISTED: u64 = 0xdd;

const RULESET: &str = "
lockgate: 1
common_endpoints: [vpce-000000000000000d0]
segments:
  nlb: { kind: shared, networks: [10.99.1.0/24], trusted_proxy: true }
  pay: { kind: workload, networks: [10.100.0.0/16] }
  acme: { kind: partner, proxy_endpoints: [vpce-000000000000000ac] }
  globex: { kind: partner, proxy_endpoints: [vpce-000000000000000be] }
policies:
  - from: acme
    to: pay
    rules:
      - { id: acme-web, action: allow, protocol: tcp, ports: [80], domains: [pay.example] }
      - { id: acme-dns, action: allow, protocol: udp, ports: [53], dns: [.pay.example] }
    otherwise: reject
  - from: globex
    to: pay
    mode: monitor
    rules:
      - { id: globex-web, action: allow, protocol: tcp, ports: [80], domains: [other.example] }
  - from: nlb
    to: pay
    rules:
      - { id: nlb-check, action: allow, protocol: tcp, ports: [8090] }
      - { id: nlb-ping, action: allow, protocol: icmp }
";

struct Bench {
    engine: Engine,
    policy: Arc<Policy>,
    now: Timestamp,
    answers: Vec<Vec<u8>>,
    records: Vec<FlowRecord>,
}

impl Bench {
    fn new() -> Self {
        let loaded = ruleset::load_text("proxy.yaml", RULESET, &Options::default());
        let policy = Arc::new(loaded.unwrap_or_else(|refused| panic!("{refused}")).policy);
        let limits = Limits { flows: 100, ..Limits::default() };
        let engine = Engine::new(Arc::clone(&policy), limits, Settings::GWLB, Secret::new(1, 2));
        let now = Timestamp::from_secs(1_000);
        Self { engine, policy, now, answers: Vec::new(), records: Vec::new() }
    }

    fn take(&mut self, out: Output) {
        self.answers.extend(out.extras.into_iter().map(|extra| extra.bytes));
        self.records.extend(out.events.into_iter().filter_map(|event| match event {
            Event::FlowEnd(record) => Some(record),
            _ => None,
        }));
    }

    fn give(&mut self, inner: &[u8]) -> Verdict {
        let mut bytes = Encapsulation::of(COMMON).wrap(inner);
        self.now = self.now + Span::from_millis(1);
        let mut out = Output::default();
        let mut frames = [Frame::new(self.now, Link::Ethernet, 7, &mut bytes)];
        self.engine.process(&mut frames, &mut out);
        let verdict = frames[0].verdict;
        self.take(out);
        verdict
    }

    /// The one flow given, once it has ended: whose it was, what became of it and why.
    fn told(mut self) -> (String, Option<Action>, Option<Reason>) {
        self.now = self.now + Span::from_secs(4_000);
        let mut out = Output::default();
        self.engine.tick(self.now, &mut out);
        self.take(out);
        assert_eq!(self.records.len(), 1);
        let record = &self.records[0];
        let from = record.from.and_then(|id| self.policy.segment(id));
        let from = from.map_or_else(String::new, |segment| segment.name.to_string());
        (from, record.verdict.map(|v| v.action), record.verdict.map(|v| v.reason))
    }
}

fn flow(port: u16, protocol: Protocol) -> FiveTuple {
    let (nlb, pay) = ("10.99.1.10".parse().unwrap(), "10.100.4.7".parse().unwrap());
    packet::tuple((nlb, 40_000), (pay, port), protocol)
}

/// A header for a consumer's endpoint, or the proxy's own (LOCAL).
fn header(endpoint: Option<u64>, family: u8) -> Vec<u8> {
    let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    let Some(endpoint) = endpoint else { return [bytes, vec![0x20, 0, 0, 0]].concat() };
    let mut body = vec![192, 168, 10, 5, 10, 100, 4, 7, 0xca, 0xf2, 0, 80];
    let id = EndpointId(endpoint).to_string();
    body.extend([0xea, 0, id.len() as u8 + 1, 1]);
    body.extend(id.as_bytes());
    bytes.extend([0x21, family, 0, body.len() as u8]);
    [bytes, body].concat()
}

fn request(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// A DNS query for an A record.
fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn tcp(port: u16, payload: &[u8], step: usize) -> Bench {
    let mut bench = Bench::new();
    let mut session = Session::new(flow(port, Protocol::TCP));
    let handshake = session.handshake();
    for packet in handshake.iter().chain(&session.send_split(Side::Client, payload, step)) {
        bench.give(packet);
    }
    bench
}

const ALLOWED: (Option<Action>, Option<Reason>) = (Some(Action::Allow), Some(Reason::Rule));

#[test]
fn a_header_names_its_partner_in_every_cut_of_its_bytes() {
    let payload = [header(Some(ACME), 0x11), request("pay.example")].concat();
    for step in 1..=payload.len() {
        let (from, action, reason) = tcp(80, &payload, step).told();
        assert_eq!((from.as_str(), (action, reason)), ("acme", ALLOWED), "by {step}");
    }
}

#[test]
fn nothing_of_a_request_leaves_before_its_name_is_allowed() {
    let payload = [header(Some(ACME), 0x11), request("secret.example")].concat();
    let mut bench = tcp(80, &[], 1);
    let mut session = Session::new(flow(80, Protocol::TCP));
    let _ = session.handshake();
    for packet in session.send_split(Side::Client, &payload, 9) {
        assert_ne!(bench.give(&packet), Verdict::Forward);
    }
    let (from, action, reason) = bench.told();
    assert_eq!((from.as_str(), action), ("acme", Some(Action::Reject)));
    assert_eq!(reason, Some(Reason::Otherwise));
}

#[test]
fn an_endpoint_that_no_segment_lists_belongs_nowhere() {
    let payload = [header(Some(UNLISTED), 0x11), request("pay.example")].concat();
    let (_, action, reason) = tcp(80, &payload, 50).told();
    assert_eq!((action, reason), (Some(Action::Deny), Some(Reason::UnknownSegment)));
    let mut bench = Bench::new();
    let datagram = [header(Some(UNLISTED), 0x12), query("a.pay.example")].concat();
    let verdict = bench.give(&packet::udp(&flow(53, Protocol::UDP), &datagram));
    assert_eq!(verdict, Verdict::Drop(Reason::UnknownSegment));
}

#[test]
fn no_header_and_the_proxys_own_are_told_apart() {
    let (_, action, reason) = tcp(80, &request("pay.example"), 50).told();
    assert_eq!((action, reason), (Some(Action::Deny), Some(Reason::ProxyHeaderMissing)));
    let (from, action, reason) = tcp(8090, &header(None, 0), 50).told();
    assert_eq!((from.as_str(), (action, reason)), ("nlb", ALLOWED));
    let (from, action, _) = tcp(80, &header(None, 0), 50).told();
    assert_eq!((from.as_str(), action), ("nlb", Some(Action::Deny)));
}

#[test]
fn a_second_header_in_the_clients_own_bytes_gives_it_no_other_name() {
    let forged = [header(Some(ACME), 0x11), header(Some(GLOBEX), 0x11), request("other.example")];
    let (from, action, _) = tcp(80, &forged.concat(), 50).told();
    assert_eq!((from.as_str(), action), ("acme", Some(Action::Reject)));
}

#[test]
fn a_partner_that_is_only_monitored_waits_for_nothing_behind_the_header() {
    let mut bench = tcp(80, &[], 1);
    let mut session = Session::new(flow(80, Protocol::TCP));
    let _ = session.handshake();
    assert_eq!(
        bench.give(&session.send(Side::Client, &header(Some(GLOBEX), 0x11))),
        Verdict::Forward
    );
    assert_eq!(bench.give(&session.send(Side::Client, b"GET / HT")), Verdict::Forward);
    assert_eq!(
        bench.give(&session.send(Side::Client, b"TP/1.1\r\nHost: no.example\r\n\r\n")),
        Verdict::Forward
    );
    let (from, action, _) = bench.told();
    assert_eq!((from.as_str(), action), ("globex", Some(Action::Deny)));
}

#[test]
fn datagrams_are_judged_by_what_stands_behind_their_header() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, header: &[u8], name: &str| {
        let payload = [header, &query(name)].concat();
        bench.give(&packet::udp(&flow(53, Protocol::UDP), &payload))
    };
    let acme = header(Some(ACME), 0x12);
    assert_eq!(ask(&mut bench, &acme, "a.pay.example"), Verdict::Forward);
    assert_eq!(ask(&mut bench, &acme, "b.elsewhere.example"), Verdict::Drop(Reason::Otherwise));
    assert_eq!(ask(&mut bench, &[], "c.pay.example"), Verdict::Forward, "first datagram alone");
    let other = header(Some(GLOBEX), 0x12);
    let changed = Verdict::Drop(Reason::ProxyHeaderMalformed);
    assert_eq!(ask(&mut bench, &other, "d.pay.example"), changed);
    assert_eq!(ask(&mut bench, &[], "e.elsewhere.example"), Verdict::Drop(Reason::Otherwise));
    assert_eq!(ask(&mut bench, &acme, "f.pay.example"), Verdict::Forward);

    // The refusal answers the question, not the header in front of it.
    let refused = bench.answers.first().unwrap();
    let packet = parse(refused, Link::Ethernet, &Settings::GWLB).unwrap();
    let answer = packet.payload(refused);
    assert_eq!(answer[..4], [0x12, 0x34, 0x81, 5]);
    assert_eq!(answer[12..], query("b.elsewhere.example")[12..]);
}

#[test]
fn a_malformed_message_does_not_end_the_reading_of_a_dns_flow() {
    let mut bench = Bench::new();
    let acme = header(Some(ACME), 0x12);
    let mut give = |payload: &[u8]| {
        bench.give(&packet::udp(&flow(53, Protocol::UDP), &[&acme, payload].concat()))
    };
    assert_eq!(give(&query("a.pay.example")), Verdict::Forward);
    assert_eq!(give(&query("a.pay.example")[..20]), Verdict::Drop(Reason::DnsMalformed));
    assert_eq!(give(&query("b.elsewhere.example")), Verdict::Drop(Reason::Otherwise));
    assert_eq!(give(&query("c.pay.example")), Verdict::Forward);
}

#[test]
fn what_carries_no_header_is_the_proxys_own() {
    let mut bench = Bench::new();
    let ping = packet::echo(&flow(0, Protocol::ICMP), false, 1);
    assert_eq!(bench.give(&ping), Verdict::Forward);
    assert_eq!(bench.told().0, "nlb");
}
