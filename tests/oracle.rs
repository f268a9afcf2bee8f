//! Names against captures nobody here made, with an independent oracle beside them (`expected.jsonl`;
//! its README says where each name comes from). Skipped, loudly, where the captures are absent.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod others;

use lockgate::engine::record::{Event, FlowRecord};
use lockgate::engine::{Counters, Engine, Frame, Limits, Output};
use lockgate::flow::Secret;
use lockgate::io::pcap::CaptureReader;
use lockgate::model::{Action, Addr, Protocol, QuicVersion, Reason, Timestamp};
use lockgate::policy::Policy;
use lockgate::policy::spec::{
    BlockSpec, CommonEndpoints, Midstream, Mode, PolicySpec, RuleSpec, SegmentKind, SegmentSpec,
    Selector,
};
use lockgate::wire::{Checksums, Decapsulation, Settings};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The kinds of names, as `expected.jsonl` calls them.
const KINDS: [&str; 5] = ["sni", "quic_sni", "http_host", "http2_authority", "dns"];

/// Both sides of a flow and its protocol, in either order.
type Pair = (Addr, u16, Addr, u16, Protocol);

fn folder() -> Option<PathBuf> {
    others::captures("expected.jsonl")
}

/// Everything is allowed by address; names are only recorded.
fn survey() -> Arc<Policy> {
    let mut world = SegmentSpec::new("world", SegmentKind::Shared);
    world.networks = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    let mut spec = PolicySpec {
        segments: vec![world],
        common: CommonEndpoints::Any,
        policies: vec![BlockSpec {
            location: "survey".to_owned(),
            from: vec![Selector::Any],
            to: vec![Selector::Any],
            mode: Mode::Enforce,
            rules: vec![RuleSpec::new("all", Action::Allow)],
            otherwise: Action::Deny,
        }],
        ..PolicySpec::default()
    };
    spec.defaults.midstream = Midstream::Allow;
    Arc::new(Policy::compile(&spec, None).unwrap())
}

/// Reads a capture through the engine; every flow's record and what was counted.
fn run(path: &std::path::Path) -> Option<(Vec<FlowRecord>, Counters)> {
    let settings = Settings {
        decapsulation: Decapsulation::Capture,
        checksums: Checksums::Ignore,
        outer_udp: Checksums::Ignore,
    };
    let mut engine = Engine::new(survey(), Limits::default(), settings, Secret::new(1, 2));
    let mut reader = CaptureReader::open(path.to_str().unwrap()).ok()?;
    let mut out = Output::default();
    let mut number = 0;
    let mut last = Timestamp::ZERO;
    while let Ok(Some(packet)) = reader.next_packet() {
        let mut bytes = packet.bytes.to_vec();
        last = last.max(packet.at);
        number += 1;
        engine.process(&mut [Frame::new(packet.at, packet.link, number, &mut bytes)], &mut out);
    }
    engine.finish(&mut out);
    assert_eq!(engine.counters().waiting(), 0, "{}: a packet is unaccounted for", path.display());
    let records = out
        .events
        .into_iter()
        .filter_map(|event| match event {
            Event::FlowEnd(record) => Some(record),
            _ => None,
        })
        .collect();
    Some((records, engine.counters().clone()))
}

fn pair(record: &FlowRecord) -> Pair {
    let t = record.tuple;
    (t.src, t.src_port, t.dst, t.dst_port, t.protocol)
}

fn flip((a, ap, b, bp, protocol): Pair) -> Pair {
    (b, bp, a, ap, protocol)
}

fn expected_pair(line: &Value) -> Option<Pair> {
    let addr = |key: &str| Some(Addr::from(line[key].as_str()?.parse::<IpAddr>().ok()?));
    let port = |key: &str| u16::try_from(line[key].as_u64()?).ok();
    let protocol = match line["proto"].as_str()? {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        _ => return None,
    };
    Some((addr("src")?, port("sport")?, addr("dst")?, port("dport")?, protocol))
}

/// Which kind of name a flow's names are, by its protocol.
fn kind_of(record: &FlowRecord) -> &'static str {
    use lockgate::model::App;
    match record.found.app {
        Some(App::Quic) => "quic_sni",
        Some(App::Http) => "http",
        _ => "sni",
    }
}

/// The engine behind an oracle: its publications and its programs are no two witnesses.
fn engine_of(source: &str) -> &str {
    if source.starts_with("ndpi") { "ndpi" } else { source }
}

/// How names of one kind compare with the engines'.
#[derive(Default)]
struct Score {
    found: u64,
    /// Names that two engines or more gave and that were not found.
    missed: Vec<String>,
    /// Names that one engine alone gave.
    single_found: u64,
}

/// What the comparison comes to.
#[derive(Default)]
struct Outcome {
    scores: BTreeMap<&'static str, Score>,
    /// Disagreements that `oracle/disagreements.txt` must explain, by kind and capture.
    disagreements: BTreeMap<(String, String), Vec<String>>,
}

impl Outcome {
    fn disagree(&mut self, kind: &str, capture: &str, text: String) {
        let key = (kind.to_owned(), capture.to_owned());
        self.disagreements.entry(key).or_default().push(text);
    }
}

#[test]
fn names_agree_with_two_independent_engines() {
    let Some(folder) = folder() else { return };
    let text = std::fs::read_to_string(folder.join("expected.jsonl")).unwrap();
    let mut by_capture: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        by_capture.entry(line["pcap"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    let mut outcome = Outcome::default();
    for (capture, lines) in &by_capture {
        let Some((records, _)) = run(&folder.join(capture)) else { continue };
        compare_capture(capture, lines, &records, &mut outcome);
    }
    let mut missed = Vec::new();
    for (kind, score) in &outcome.scores {
        let (found, single) = (score.found, score.single_found);
        eprintln!(
            "{kind}: {found} agreed found, {} missed; {single} of one engine alone",
            score.missed.len()
        );
        missed.extend(&score.missed);
    }
    assert!(missed.is_empty(), "{} names were missed:\n{missed:#?}", missed.len());
    explain(&outcome);
}

/// Every disagreement with one engine alone is listed with its reason, and nothing else is.
fn explain(outcome: &Outcome) {
    let list = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/disagreements.txt");
    let mut listed = BTreeMap::new();
    let text = std::fs::read_to_string(list).unwrap();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let mut word = || words.next().unwrap().to_owned();
        let (kind, capture, count) = (word(), word(), word().parse::<usize>().unwrap());
        assert!(words.next().is_some(), "no reason: {line}");
        listed.insert((kind, capture), count);
    }
    let mut faults = Vec::new();
    for (key, found) in &outcome.disagreements {
        let expected = listed.remove(key).unwrap_or_default();
        if found.len() != expected {
            faults.push(format!(
                "{key:?}: {} found, {expected} listed\n  {}",
                found.len(),
                found.join("\n  ")
            ));
        }
    }
    faults.extend(listed.keys().map(|key| format!("{key:?} is listed and does not happen")));
    assert!(faults.is_empty(), "disagreements differ from {list}:\n{}", faults.join("\n"));
}

fn compare_capture(capture: &str, lines: &[Value], records: &[FlowRecord], outcome: &mut Outcome) {
    let mut flows: HashMap<Pair, Vec<&FlowRecord>> = HashMap::new();
    for record in records {
        flows.entry(pair(record)).or_default().push(record);
        flows.entry(flip(pair(record))).or_default().push(record);
    }
    let mut listed = BTreeSet::new();
    for line in lines {
        compare(capture, line, &flows, outcome);
        listed.extend(expected_pair(line).map(text_of));
    }
    for record in records {
        let flow = pair(record);
        // The oracles print no multicast DNS (RFC 6762) and no LLMNR (RFC 4795).
        let multicast = [5353, 5355].contains(&record.tuple.dst_port);
        if multicast || [flow, flip(flow)].map(text_of).iter().any(|flow| listed.contains(flow)) {
            continue;
        }
        // A question for the root is one, but the oracles print no name for it.
        for name in record.found.names.all().iter().chain(record.found.questions.all()) {
            if !name.as_bytes().is_empty() {
                outcome.disagree("unlisted", capture, format!("{} {name:?}", text_of(flow)));
            }
        }
    }
}

fn text_of((a, ap, b, bp, protocol): Pair) -> String {
    format!("{a}:{ap} -> {b}:{bp}/{}", protocol.0)
}

fn compare(
    capture: &str,
    line: &Value,
    flows: &HashMap<Pair, Vec<&FlowRecord>>,
    outcome: &mut Outcome,
) {
    let Some(pair) = expected_pair(line) else { return };
    let flow = text_of(pair);
    let (optional, open) = (words(line, "optional"), words(line, "open"));
    let found = flows.get(&pair).map(Vec::as_slice).unwrap_or_default();
    let questions = found.iter().flat_map(|record| record.found.questions.all());
    let questions: BTreeSet<String> = questions.map(|name| name.to_string()).collect();
    let hosts: BTreeSet<String> = found.iter().flat_map(|record| record.found.hosts()).collect();
    let mut known: [BTreeSet<String>; 2] = Default::default();
    for kind in KINDS {
        for (name, sources) in line["agree"][kind].as_object().into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            known[usize::from(kind == "dns")].insert(name.clone());
            let seen = if kind == "dns" { &questions } else { &hosts };
            let needed = !optional.contains(kind);
            let sure = engines(sources).len() > 1;
            let text = format!("{capture} {flow} {kind}: {name} (seen {seen:?})");
            if sure && needed && !seen.contains(&name) && was_refused(found) {
                outcome.disagree("refused", capture, text);
                continue;
            }
            outcome.count(kind, capture, sure, seen.contains(&name), needed.then_some(text));
        }
    }
    for (kind, seen, known) in [("sni", &hosts, &known[0]), ("dns", &questions, &known[1])] {
        for name in seen.difference(known).filter(|name| !name.is_empty() && !open.contains(kind)) {
            outcome.disagree("other-name", capture, format!("{flow} {name}, not {known:?}"));
        }
    }
    compare_facts(capture, line, found, outcome);
    for kind in words(line, "none_of") {
        for record in found.iter().filter(|record| kind_of(record) == kind) {
            if let Some(name) = record.found.hosts().next() {
                outcome.disagree("none", capture, format!("{flow} {kind}: {name}"));
            }
        }
    }
}

/// Whether packets of a client were dropped, so that what they ask for never reached the server.
fn was_refused(found: &[&FlowRecord]) -> bool {
    found.iter().any(|record| record.volume[0].forwarded_packets < record.volume[0].packets)
}

fn words<'a>(line: &'a Value, key: &str) -> BTreeSet<&'a str> {
    line[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The engines among the sources of a name.
fn engines(sources: &Value) -> BTreeSet<&str> {
    sources.as_array().into_iter().flatten().filter_map(Value::as_str).map(engine_of).collect()
}

impl Outcome {
    /// Counts one thing an engine printed; `needed` describes it, unless leaving it out is no fault.
    fn count(
        &mut self,
        kind: &'static str,
        capture: &str,
        sure: bool,
        found: bool,
        needed: Option<String>,
    ) {
        let score = self.scores.entry(kind).or_default();
        match (found, sure, needed) {
            (true, true, _) => score.found += 1,
            (true, false, _) => score.single_found += 1,
            (false, true, Some(text)) => score.missed.push(text),
            (false, false, Some(text)) => self.disagree(kind, capture, text),
            (false, _, None) => {}
        }
    }
}

/// What else the engines print of a flow: fingerprint, QUIC version, the client's certificate.
fn compare_facts(capture: &str, line: &Value, found: &[&FlowRecord], outcome: &mut Outcome) {
    let tunnelled = words(line, "tags").iter().any(|tag| tag.starts_with("tunnel:"));
    let mut check = |kind, wanted: BTreeSet<String>, sure, seen: BTreeSet<String>| {
        let flow = expected_pair(line).map(text_of).unwrap_or_default();
        let text = format!("{capture} {flow} {kind}: {wanted:?} (seen {seen:?})");
        let found = !wanted.is_disjoint(&seen);
        outcome.count(kind, capture, sure, found, (!tunnelled).then_some(text));
    };
    if let Some(prints) = line["agree"]["ja4"].as_object() {
        let sources: BTreeSet<&str> = prints.values().flat_map(engines).collect();
        let sure = prints.len() == 1 && sources.len() > 1;
        let seen = found.iter().filter_map(|record| Some(record.found.ja4?.to_string())).collect();
        check("ja4", prints.keys().cloned().collect(), sure, seen);
    }
    if let Some(version) = line["quic_version"].as_str() {
        let seen = found.iter().filter_map(|record| record.found.quic_version).map(quic_version);
        check("quic-version", [version.to_owned()].into(), true, seen.collect());
    }
    let certificates = found.iter().filter_map(|record| record.found.certificate.as_deref());
    if let Some(wanted) = line["tls_client_cert_subject"].as_str() {
        let seen = certificates.clone().map(|shown| shown.subject.clone()).collect();
        check("certificate-subject", [wanted.to_owned()].into(), true, seen);
    }
    if let Some(wanted) = line["tls_client_cert_issuer"].as_str() {
        let seen = certificates.map(|shown| shown.issuer.clone()).collect();
        check("certificate-issuer", [wanted.to_owned()].into(), true, seen);
    }
}

/// As the engines print it: Google's versions before TLS are text.
fn quic_version(version: QuicVersion) -> String {
    match version.0.to_be_bytes() {
        text @ [b'Q', b'0', ..] => String::from_utf8_lossy(&text).into_owned(),
        _ => format!("0x{:08x}", version.0),
    }
}

#[test]
fn every_capture_is_read_to_its_end_without_a_fault() {
    let Some(folder) = folder() else { return };
    let mut total = Counters::default();
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        let path = entry.path();
        let is_capture = path.extension().is_some_and(|e| e == "pcap" || e == "pcapng");
        if let Some((_, counters)) = is_capture.then(|| run(&path)).flatten() {
            total.merge(&counters);
        }
    }
    eprintln!("{} frames, {} forwarded", total.received, total.forwarded);
    for reason in Reason::ALL {
        if total.dropped(*reason) > 0 {
            eprintln!("  {:28} {}", reason.name(), total.dropped(*reason));
        }
    }
    assert_eq!(total.waiting(), 0);
    assert!(total.received > 60_000 || total.received == 0, "{} frames", total.received);
}
