//! Names against captures nobody here made, with an independent oracle beside them (`expected.jsonl`;
//! its README says where each name comes from). Skipped, loudly, where the captures are absent.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use lockgate::engine::record::{Event, FlowRecord};
use lockgate::engine::{Counters, Engine, Frame, Limits, Output};
use lockgate::flow::Secret;
use lockgate::io::pcap::CaptureReader;
use lockgate::model::{Action, Addr, Protocol, Reason, Timestamp};
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

/// So many names are known to be missed; the figure only ever goes down.
const MISSED_MAX: usize = 1000;

/// Both sides of a flow and its protocol, in either order.
type Pair = (Addr, u16, Addr, u16, Protocol);

fn folder() -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/captures");
    if path.join("expected.jsonl").exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: no captures at {}", path.display());
    None
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
            Event::FlowEnd(record) => Some(*record),
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

fn kind_of(record: &FlowRecord) -> &'static str {
    use lockgate::model::App;
    match record.app {
        Some(App::Quic) => "quic_sni",
        Some(App::Http) => "http",
        _ => "sni",
    }
}

#[derive(Default)]
struct Score {
    found: u64,
    missed: Vec<String>,
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
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (capture, lines) in &by_capture {
        let Some((records, _)) = run(&folder.join(capture)) else { continue };
        let mut flows: HashMap<Pair, Vec<&FlowRecord>> = HashMap::new();
        for record in &records {
            flows.entry(pair(record)).or_default().push(record);
            flows.entry(flip(pair(record))).or_default().push(record);
        }
        for line in lines {
            compare(capture, line, &flows, &mut scores, &mut wrong);
        }
    }
    for (kind, score) in &scores {
        eprintln!("{kind}: {} found, {} missed", score.found, score.missed.len());
    }
    for line in scores.values().flat_map(|score| &score.missed).chain(&wrong) {
        eprintln!("  {line}");
    }
    assert!(wrong.is_empty(), "{} names where there must be none or another", wrong.len());
    let missed: usize = scores.values().map(|score| score.missed.len()).sum();
    assert!(missed <= MISSED_MAX, "{missed} names were missed");
}

fn compare(
    capture: &str,
    line: &Value,
    flows: &HashMap<Pair, Vec<&FlowRecord>>,
    scores: &mut BTreeMap<&str, Score>,
    wrong: &mut Vec<String>,
) {
    let Some(pair) = expected_pair(line) else { return };
    let optional: BTreeSet<&str> =
        line["optional"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let found = flows.get(&pair).map(Vec::as_slice).unwrap_or_default();
    let names = |of: fn(&FlowRecord) -> &lockgate::engine::record::Names| -> BTreeSet<String> {
        found.iter().flat_map(|record| of(record).all()).map(|name| name.to_string()).collect()
    };
    let (names, questions) = (names(|record| &record.names), names(|record| &record.questions));
    for kind in KINDS {
        let agreed = &line["agree"][kind];
        let score = scores.entry(kind).or_default();
        for (name, _) in agreed.as_object().into_iter().flatten() {
            let seen = if kind == "dns" { &questions } else { &names };
            if seen.contains(&name.to_ascii_lowercase()) {
                score.found += 1;
            } else if !optional.contains(kind) && is_name(name) {
                score.missed.push(format!("{capture} {pair:?} {kind}: {name} (seen {seen:?})"));
            }
        }
    }
    for kind in line["none_of"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        for record in found.iter().filter(|record| kind_of(record) == kind) {
            if let Some(name) = record.names.first() {
                wrong.push(format!("{capture} {pair:?} {kind}: {name} where there is none"));
            }
        }
    }
}

/// What the oracles print as a host may be an address, which is no name.
fn is_name(text: &str) -> bool {
    lockgate::model::DomainName::from_host(text.as_bytes()).is_ok() || text.contains('\\')
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
