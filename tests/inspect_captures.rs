//! The inspector over captures of others, against the names that other engines saw in them
//! (`expected.jsonl` in the folder that `LOCKGATE_CAPTURES` names). It reads flows the way the
//! engine does, but decides nothing; fragments are not put together.

use lockgate::inspect::{Inspector, Outcome, StreamHead};
use lockgate::io::pcap::CaptureReader;
use lockgate::model::{Addr, App, Direction, Facts, FiveTuple, Protocol};
use lockgate::wire::{Body, Checksums, Fragment, Settings, parse};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Kinds of names in `expected.jsonl`, and of the protocols here.
const KINDS: [(&str, &str); 5] = [
    ("dns", "dns_qnames"),
    ("sni", "sni"),
    ("quic_sni", "quic_sni"),
    ("http_host", "http_hosts"),
    ("http2_authority", "http2_authority"),
];

type Names = BTreeMap<(FiveTuple, &'static str), BTreeSet<String>>;

/// One flow being read.
struct Reading {
    original: FiveTuple,
    inspector: Inspector,
    heads: [Option<StreamHead>; 2],
    facts: Facts,
    done: bool,
}

/// Either orientation of a five-tuple is the same flow.
fn canonical(tuple: FiveTuple) -> FiveTuple {
    tuple.min(tuple.reverse())
}

fn kind_of(app: App) -> Option<&'static str> {
    match app {
        App::Dns => Some("dns"),
        App::Tls => Some("sni"),
        App::Quic => Some("quic_sni"),
        App::Http => Some("http_host"),
        App::Greeting(_) | App::Other => None,
    }
}

impl Reading {
    fn new(original: FiveTuple) -> Self {
        let tcp = original.protocol == Protocol::TCP;
        Self {
            original,
            inspector: if tcp { Inspector::stream() } else { Inspector::datagrams() },
            heads: [None, None],
            facts: Facts::default(),
            done: false,
        }
    }

    fn note(&mut self, outcome: Outcome, names: &mut Names) {
        self.done |= matches!(outcome, Outcome::Done | Outcome::Fault(_));
        let Some(kind) = self.facts.app.known().copied().and_then(kind_of) else { return };
        let found = names.entry((canonical(self.original), kind)).or_default();
        found.extend(self.facts.domain.known().map(|name| name.to_string()));
        found.extend(self.facts.questions.known().into_iter().flatten().map(ToString::to_string));
    }

    fn datagram(&mut self, direction: Direction, payload: &[u8], names: &mut Names) {
        let progress = self.inspector.datagram(direction, payload, &mut self.facts);
        assert!(progress.consumed == 0 || progress.consumed == payload.len());
        self.note(progress.outcome, names);
        // A fault is of one datagram.
        self.done = progress.outcome == Outcome::Done;
    }

    fn segment(&mut self, direction: Direction, seq: u32, payload: &[u8], names: &mut Names) {
        let head =
            self.heads[direction.index()].get_or_insert_with(|| StreamHead::new(seq, 1 << 20));
        if head.insert(seq, payload).is_err() {
            return;
        }
        let (mut turn, mut idle) = (direction, 0);
        while idle < 2 && !self.done {
            let wanted = self.inspector.wants().has(turn);
            let Some(head) = self.heads[turn.index()].as_mut().filter(|h| !h.bytes().is_empty())
            else {
                idle += 1;
                turn = turn.flip();
                continue;
            };
            if !wanted {
                idle += 1;
                turn = turn.flip();
                continue;
            }
            let progress = self.inspector.read(turn, head.bytes(), &mut self.facts);
            head.consume(progress.consumed);
            head.acked(head.read_seq());
            self.note(progress.outcome, names);
            if progress.outcome == Outcome::More && progress.consumed == 0 {
                idle += 1;
                turn = turn.flip();
            } else {
                idle = 0;
            }
        }
    }
}

/// Every name in one capture.
fn names_in(path: &Path) -> Names {
    let ignore = Checksums::Ignore;
    let settings = Settings { checksums: ignore, outer_udp: ignore, ..Settings::CAPTURE };
    let mut reader = CaptureReader::open(&path.to_string_lossy()).expect("a capture");
    let mut flows: HashMap<FiveTuple, Reading> = HashMap::new();
    let mut names = Names::new();
    while let Ok(Some(captured)) = reader.next_packet() {
        let Ok(packet) = parse(captured.bytes, captured.link, &settings) else { continue };
        let payload = packet.payload(captured.bytes);
        if !matches!(packet.fragment, Fragment::Whole) {
            continue;
        }
        let key = canonical(packet.tuple);
        let (seq, fresh) = match packet.body {
            Body::Udp => (0, false),
            Body::Tcp(tcp) => {
                let first = tcp.seq.wrapping_add(u32::from(tcp.flags.syn()));
                (first, tcp.flags.syn() && !tcp.flags.ack())
            }
            _ => continue,
        };
        let known = flows.get(&key).is_some_and(|flow| {
            let direction = direction_of(flow, packet.tuple);
            flow.heads[direction.index()].as_ref().is_some_and(|h| h.read_seq() == seq)
        });
        if fresh && !known {
            flows.remove(&key);
        }
        let flow = flows.entry(key).or_insert_with(|| Reading::new(packet.tuple));
        let direction = direction_of(flow, packet.tuple);
        if flow.done {
            continue;
        }
        if packet.tuple.protocol == Protocol::UDP {
            flow.datagram(direction, payload, &mut names);
        } else if !payload.is_empty() || fresh {
            flow.segment(direction, seq, payload, &mut names);
        }
    }
    names
}

fn direction_of(flow: &Reading, tuple: FiveTuple) -> Direction {
    if flow.original == tuple { Direction::Original } else { Direction::Reply }
}

/// The five-tuple of an expected flow; some have no ports or protocol that counts here.
fn tuple_of(flow: &Value) -> Option<FiveTuple> {
    let addr = |key: &str| Some(Addr::from(flow[key].as_str()?.parse::<IpAddr>().ok()?));
    let port = |key: &str| u16::try_from(flow[key].as_u64()?).ok();
    let protocol = if flow["proto"] == "tcp" { Protocol::TCP } else { Protocol::UDP };
    let (src, dst) = (addr("src")?, addr("dst")?);
    Some(FiveTuple { src, dst, src_port: port("sport")?, dst_port: port("dport")?, protocol })
}

fn texts(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) => BTreeSet::from([text.clone()]),
        Value::Array(list) => list.iter().filter_map(|v| Some(v.as_str()?.to_owned())).collect(),
        _ => BTreeSet::new(),
    }
}

fn holds(value: &Value, wanted: &str) -> bool {
    texts(value).contains(wanted)
}

/// Recall and precision of one kind, with what is missing and what is too much.
#[derive(Default)]
struct Score {
    agreed: usize,
    missing: Vec<String>,
    surplus: Vec<String>,
}

fn judge(folder: &Path) -> BTreeMap<&'static str, Score> {
    let text = fs::read_to_string(folder.join("expected.jsonl")).expect("readable");
    let mut captures: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let flow: Value = serde_json::from_str(line).expect("JSON");
        captures.entry(flow["pcap"].as_str().expect("a name").to_owned()).or_default().push(flow);
    }
    let mut scores: BTreeMap<&'static str, Score> = BTreeMap::new();
    for (capture, flows) in captures {
        let names = names_in(&folder.join(&capture));
        let mut listed: BTreeMap<(FiveTuple, &str), BTreeSet<String>> = BTreeMap::new();
        let mut open = BTreeSet::new();
        for flow in &flows {
            let Some(tuple) = tuple_of(flow).map(canonical) else { continue };
            for (kind, key) in KINDS {
                let score = scores.entry(kind).or_default();
                let kind_here = if kind == "http2_authority" { "http_host" } else { kind };
                let mut wanted = texts(&flow[key]);
                if kind == "http_host" {
                    wanted.extend(texts(&flow["http_host"]));
                }
                listed.entry((tuple, kind_here)).or_default().extend(wanted.iter().cloned());
                if holds(&flow["open"], kind) || holds(&flow["optional"], kind) {
                    open.insert((tuple, kind_here));
                }
                if flow["verdict"][kind] != "agree" || holds(&flow["optional"], kind) {
                    continue;
                }
                let none = BTreeSet::new();
                let found = names.get(&(tuple, kind_here)).unwrap_or(&none);
                score.agreed += 1;
                let missing = wanted.difference(found).map(|n| format!("{capture} {tuple} {n}"));
                score.missing.extend(missing);
            }
        }
        for ((tuple, kind), found) in &names {
            let none = BTreeSet::new();
            let known = listed.get(&(*tuple, *kind)).unwrap_or(&none);
            if !open.contains(&(*tuple, *kind)) {
                let surplus = found.difference(known).map(|n| format!("{capture} {tuple} {n}"));
                scores.entry(kind).or_default().surplus.extend(surplus);
            }
        }
    }
    scores
}

#[test]
fn names_are_those_other_engines_agree_on() {
    let Some(folder) = std::env::var_os("LOCKGATE_CAPTURES").map(PathBuf::from) else {
        eprintln!("SKIPPED: LOCKGATE_CAPTURES names no folder of captures");
        return;
    };
    let mut missing = Vec::new();
    for (kind, score) in judge(&folder) {
        let surplus = score.surplus.len();
        eprintln!("{kind}: {} flows agreed, {surplus} names nobody else gave", score.agreed);
        missing.extend(score.missing.into_iter().map(|name| format!("{kind} {name}")));
    }
    missing.retain(|name| !explained(name));
    assert!(missing.is_empty(), "names others agree on are missing:\n{}", missing.join("\n"));
}

/// Names that are rightly not here: addresses and ports are no names, and the fragments of queries
/// are put together by the engine, not here.
fn explained(missing: &str) -> bool {
    let name = missing.rsplit(' ').next().unwrap_or_default();
    name.parse::<IpAddr>().is_ok() || name.contains(':') || missing.contains("dnscap__frags")
}
