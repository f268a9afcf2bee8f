//! TLS and QUIC readers against what other engines see in public captures: names, JA4, client
//! certificates.
//! No engine and no flow table is under test here; streams are put together by `StreamHead`.

mod others;

use lockgate::inspect::quic::{self, QuicReader};
use lockgate::inspect::tls::TlsReader;
use lockgate::inspect::{Outcome, Progress, StreamHead};
use lockgate::io::pcap::CaptureReader;
use lockgate::model::{Direction, DomainName, Facts, FiveTuple, Protocol, Reason};
use lockgate::wire::{Body, Checksums, Decapsulation, Fragment, Packet, Settings, parse};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Far above any hello, so that no bound of holding shows.
const STREAM_LIMIT_BYTES: usize = 1 << 20;

/// What one five-tuple gave, client first.
#[derive(Debug, Default)]
struct Seen {
    tls: BTreeSet<String>,
    quic: BTreeSet<String>,
    ja4: BTreeSet<String>,
    subjects: BTreeSet<String>,
    issuers: BTreeSet<String>,
    faults: Vec<Reason>,
}

/// One connection of a capture.
#[derive(Default)]
struct Flow {
    client: FiveTuple,
    facts: Facts,
    tls: Option<TlsReader>,
    quic: Option<QuicReader>,
    streams: [Option<StreamHead>; 2],
    over: bool,
    reversed: bool,
    seen: Seen,
}

impl Flow {
    fn note(&mut self, progress: Progress) -> bool {
        let seen = &mut self.seen;
        match progress.outcome {
            Outcome::Message => {
                let name = self.facts.domain.known().map(ToString::to_string);
                let names = if self.tls.is_some() { &mut seen.tls } else { &mut seen.quic };
                names.extend(name);
                seen.ja4.extend(self.facts.tls.ja4.known().map(ToString::to_string));
            }
            Outcome::Fact => {
                if let Some(certificate) = self.facts.tls.client_certificate.known() {
                    seen.subjects.insert(certificate.subject.clone());
                    seen.issuers.insert(certificate.issuer.clone());
                }
            }
            Outcome::Fault(reason) => seen.faults.push(reason),
            _ => {}
        }
        self.over |= matches!(progress.outcome, Outcome::Done | Outcome::Fault(_));
        progress.outcome != Outcome::More && !self.over
    }

    fn segment(&mut self, direction: Direction, packet: &Packet, frame: &[u8]) {
        let Body::Tcp(segment) = packet.body else { return };
        let seq = if segment.flags.syn() { segment.seq.wrapping_add(1) } else { segment.seq };
        let payload = packet.payload(frame);
        let known = self.streams[direction.flip().index()].as_ref().map(StreamHead::in_order_end);
        let missed = known.is_none_or(|end| segment.ack.wrapping_sub(end).cast_signed() > 0);
        if let (true, Some(reader)) = (segment.flags.ack() && missed, self.tls.as_mut()) {
            reader.miss(direction.flip());
        }
        let stream = &mut self.streams[direction.index()];
        if stream.is_none() && (segment.flags.syn() || !payload.is_empty()) {
            *stream = Some(StreamHead::new(seq, STREAM_LIMIT_BYTES));
        }
        let Some(stream) = stream.as_mut().filter(|_| !payload.is_empty()) else { return };
        if stream.insert(seq, payload).is_err() {
            return;
        }
        // Both directions: what one held back may go on when the other was read.
        for direction in [direction, direction.flip(), direction] {
            self.read(direction);
        }
    }

    fn read(&mut self, direction: Direction) {
        loop {
            let Some(stream) = self.streams[direction.index()].as_mut() else { return };
            let bytes = stream.bytes();
            if bytes.is_empty() || self.over {
                return;
            }
            if self.tls.is_none() {
                let hello = matches!(bytes, [22, 3, _, _, _, 1, ..])
                    || matches!(bytes, [0x80..=0xff, _, 1, ..]);
                if !hello {
                    return;
                }
                // Some captures begin with a packet of the server.
                self.tls = Some(TlsReader::new().with_client(direction));
                self.reversed = direction == Direction::Reply;
            }
            let Some(reader) = self.tls.as_mut() else { return };
            let progress = reader.read(direction, bytes, &mut self.facts);
            assert!(progress.consumed <= bytes.len());
            stream.consume(progress.consumed);
            if !self.note(progress) {
                return;
            }
        }
    }

    /// Adds what was seen to that of other flows of the same client.
    fn end(self, all: &mut BTreeMap<FiveTuple, Seen>) {
        let client = if self.reversed { self.client.reverse() } else { self.client };
        let seen = all.entry(client).or_default();
        seen.tls.extend(self.seen.tls);
        seen.quic.extend(self.seen.quic);
        seen.ja4.extend(self.seen.ja4);
        seen.subjects.extend(self.seen.subjects);
        seen.issuers.extend(self.seen.issuers);
        seen.faults.extend(self.seen.faults);
    }

    fn datagram(&mut self, direction: Direction, payload: &[u8]) {
        if self.quic.is_none() && direction == Direction::Original && quic::is_client_start(payload)
        {
            self.quic = Some(QuicReader::new());
        }
        let Some(reader) = self.quic.as_mut().filter(|_| !self.over) else { return };
        let progress = reader.datagram(direction, payload, &mut self.facts);
        self.note(progress);
    }
}

/// Captures whose client certificates are not seen: of one direction, so that nothing shows that the
/// server went on; behind STARTTLS, which is not for these readers.
const CERTIFICATES_UNSEEN: [&str; 2] = [
    "ndpi__tls_client_certificate_with_missing_server_one.pcapng",
    "zeek__tls__xmpp-dialback-starttls.pcap",
];

/// Everything a capture holds, by client-first five-tuple.
fn inspect(path: &Path) -> BTreeMap<FiveTuple, Seen> {
    let settings = Settings {
        decapsulation: Decapsulation::Capture,
        checksums: Checksums::Ignore,
        outer_udp: Checksums::Ignore,
    };
    let mut flows: BTreeMap<FiveTuple, Flow> = BTreeMap::new();
    let mut all: BTreeMap<FiveTuple, Seen> = BTreeMap::new();
    let Ok(mut reader) = CaptureReader::open(path.to_str().unwrap()) else { return all };
    while let Ok(Some(captured)) = reader.next_packet() {
        let frame = captured.bytes;
        let Ok(packet) = parse(frame, captured.link, &settings) else { continue };
        if packet.fragment != Fragment::Whole {
            continue;
        }
        let key = packet.tuple.min(packet.tuple.reverse());
        let opens = packet.tcp().is_some_and(|tcp| tcp.flags.syn() && !tcp.flags.ack());
        if opens && let Some(old) = flows.remove(&key) {
            old.end(&mut all);
        }
        let flow =
            flows.entry(key).or_insert_with(|| Flow { client: packet.tuple, ..Flow::default() });
        let from_client = flow.client == packet.tuple;
        let direction = if from_client { Direction::Original } else { Direction::Reply };
        match packet.tuple.protocol {
            Protocol::TCP => flow.segment(direction, &packet, frame),
            Protocol::UDP => flow.datagram(direction, packet.payload(frame)),
            _ => {}
        }
    }
    for flow in flows.into_values() {
        flow.end(&mut all);
    }
    all
}

fn strings(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) => BTreeSet::from([text.to_lowercase()]),
        Value::Array(all) => all.iter().flat_map(strings).collect(),
        _ => BTreeSet::new(),
    }
}

fn lists(flow: &Value, list: &str, kind: &str) -> bool {
    flow[list].as_array().is_some_and(|all| all.iter().any(|one| one == kind))
}

fn tuple(flow: &Value) -> Option<FiveTuple> {
    let port = |key: &str| u16::try_from(flow[key].as_u64()?).ok();
    let address = |key: &str| Some(flow[key].as_str()?.parse::<std::net::IpAddr>().ok()?.into());
    Some(FiveTuple {
        src: address("src")?,
        dst: address("dst")?,
        src_port: port("sport")?,
        dst_port: port("dport")?,
        protocol: if flow["proto"] == "tcp" { Protocol::TCP } else { Protocol::UDP },
    })
}

/// How often we said what was expected.
#[derive(Debug, Default)]
struct Score {
    right: usize,
    optional_missed: usize,
    differences: Vec<String>,
}

impl Score {
    fn count(&mut self, flow: &Value, kind: &str, ours: &BTreeSet<String>) {
        let mut expected = strings(&flow[kind]);
        if kind.ends_with("sni") {
            // What is no name here: addresses, a name with a port.
            expected.retain(|name| DomainName::from_host(name.as_bytes()).is_ok());
        }
        let ours: BTreeSet<String> = ours.iter().map(|text| text.to_lowercase()).collect();
        if expected.is_empty() && ours.is_empty() {
            return;
        }
        if ours == expected {
            self.right += 1;
        } else if lists(flow, "optional", kind) && ours.is_subset(&expected) {
            self.optional_missed += 1;
        } else {
            let (src, dst) = (&flow["src"], &flow["dst"]);
            let ports = (&flow["sport"], &flow["dport"]);
            let what = format!(
                "{} {src} {dst} {ports:?} {kind} expected {expected:?} got {ours:?} {}",
                flow["pcap"], flow["verdict"][kind]
            );
            self.differences.push(what);
        }
    }
}

#[test]
fn names_fingerprints_and_certificates_are_those_other_engines_see() {
    let Some(folder) = others::captures("expected.jsonl") else { return };
    let text = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    let mut by_capture: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let flow: Value = serde_json::from_str(line).unwrap();
        by_capture.entry(flow["pcap"].as_str().unwrap().to_owned()).or_default().push(flow);
    }
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let mut unexpected = Vec::new();
    for (capture, flows) in &by_capture {
        let mut seen = inspect(&folder.join(capture));
        if flows.iter().any(|flow| flow["run_only"] == true) {
            continue;
        }
        for flow in flows {
            let Some(tuple) = tuple(flow) else { continue };
            let ours = seen.remove(&tuple).unwrap_or_default();
            for (kind, ours) in [
                ("sni", &ours.tls),
                ("quic_sni", &ours.quic),
                ("tls_client_cert_subject", &ours.subjects),
                ("tls_client_cert_issuer", &ours.issuers),
            ] {
                scores.entry(kind).or_default().count(flow, kind, ours);
            }
            if !ours.ja4.is_empty() && flow["verdict"]["ja4"] == "agree" {
                scores.entry("ja4").or_default().count(flow, "ja4", &ours.ja4);
            } else if !ours.ja4.is_empty() && !flow["ja4"].is_null() {
                scores.entry("ja4, one engine").or_default().count(flow, "ja4", &ours.ja4);
            }
            if !ours.faults.is_empty() {
                println!("{capture} {tuple}: {:?}", ours.faults);
            }
        }
        for (tuple, ours) in seen {
            if !ours.tls.is_empty() || !ours.quic.is_empty() {
                unexpected.push(format!("{capture} {tuple}: {ours:?}"));
            } else if !ours.faults.is_empty() {
                println!("{capture} {tuple}: {:?} (nothing expected)", ours.faults);
            }
        }
    }
    for (kind, score) in &mut scores {
        println!("{kind}: {} right, {} optional missed", score.right, score.optional_missed);
        if kind.starts_with("tls_client_cert") {
            let explained = |text: &String| CERTIFICATES_UNSEEN.iter().any(|c| text.contains(c));
            score.differences.retain(|text| !explained(text));
        }
        // Where one engine stands alone it often is wrong: Suricata writes the `_` of JA4 without
        // signature algorithms, nDPI takes other letters of ALPN.
        if *kind == "ja4, one engine" {
            println!("  and {} otherwise", score.differences.len());
            score.differences.clear();
        }
        assert!(score.differences.is_empty(), "{kind}: {:#?}", score.differences);
        assert!(score.right > 0, "{kind}: nothing was compared");
    }
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}
