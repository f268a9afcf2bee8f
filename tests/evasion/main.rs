//! The evasion corpus: what clients do to show the engine one thing and the server another. Every
//! case runs packet by packet and in batches, over IPv4 and IPv6, and stands in `verdicts.txt` with
//! its verdict, its reasons and what reached the server. `evil.example` never does.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod dns;
mod fragments;
mod http;
mod quic;
mod server;
mod talk;
mod tcp;
mod tls;

use lockgate::engine::record::{Event, FlowRecord};
use lockgate::engine::{Engine, Frame, Limits, Origin, Output};
use lockgate::flow::Secret;
use lockgate::model::{EndpointId, Reason, Span, Timestamp, Verdict};
use lockgate::ruleset::{self, Options};
use lockgate::synth::gwlb::Encapsulation;
use lockgate::wire::{Link, Settings};
use server::Server;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use talk::{Family, Talk};

const ENDPOINT: EndpointId = EndpointId(0x1234_5678_9abc_def0);
/// Ethernet, IPv4, UDP, GENEVE with the three GWLB options.
const OUTER_BYTES: usize = 14 + 20 + 8 + 40;
/// Batch sizes that must make no difference; the last one takes a whole case.
const BATCHES: [usize; 4] = [1, 2, 7, 4096];
/// In every payload that must not arrive.
const FORBIDDEN: &[u8] = b"evil";

/// One case.
pub(crate) struct Case {
    /// What is tried.
    name: &'static str,
    /// Why its verdict is right.
    why: &'static str,
    talk: fn(Family) -> Talk,
}

/// A case as the tables of this folder write it.
pub(crate) const fn case(name: &'static str, why: &'static str, talk: fn(Family) -> Talk) -> Case {
    Case { name, why, talk }
}

/// What a case came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    flows: Vec<String>,
    drops: BTreeMap<&'static str, usize>,
    packets: usize,
    bytes: usize,
    readings: [Vec<u8>; 3],
}

fn engine() -> Engine {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evasion/lockgate.yaml");
    let loaded = ruleset::load(&path, &Options::default())
        .unwrap_or_else(|refused| panic!("{}", refused.render(ruleset::Style::PLAIN)));
    Engine::new(Arc::new(loaded.policy), Limits::default(), Settings::GWLB, Secret::new(1, 2))
}

fn run(talk: &Talk, batch: usize) -> Outcome {
    let (mut engine, mut out) = (engine(), Output::default());
    let mut frames: Vec<Vec<u8>> =
        talk.packets.iter().map(|packet| Encapsulation::of(ENDPOINT).wrap(packet)).collect();
    let (mut server, mut drops) = (Server::default(), BTreeMap::new());
    let client = talk.tuple.src;
    let mut arrive = |frame: &[u8]| {
        let inner = &frame[OUTER_BYTES..];
        let src = if inner[0] >> 4 == 4 { &inner[12..16] } else { &inner[8..24] };
        if client.octets().ends_with(src) {
            server.take(inner);
        }
    };
    let mut now = Timestamp::from_secs(1_000);
    for (at, part) in frames.chunks_mut(batch).enumerate() {
        let mut given: Vec<Frame<'_>> = Vec::new();
        for (number, bytes) in (at * batch..).zip(part) {
            now = now + Span::from_millis(1);
            given.push(Frame::new(now, Link::Ethernet, number as u64, bytes));
        }
        engine.process(&mut given, &mut out);
        let mut extras = out.extras.drain(..).peekable();
        for (position, frame) in given.iter().enumerate() {
            while let Some(extra) = extras.next_if(|extra| extra.before <= position) {
                if matches!(extra.origin, Origin::Held(_)) {
                    arrive(&extra.bytes);
                }
            }
            match frame.verdict {
                Verdict::Forward => arrive(frame.bytes),
                Verdict::Drop(reason) => *drops.entry(reason.name()).or_default() += 1,
                Verdict::Hold => {}
            }
        }
        extras
            .filter(|extra| matches!(extra.origin, Origin::Held(_)))
            .for_each(|e| arrive(&e.bytes));
    }
    engine.tick(now + Span::from_secs(20), &mut out);
    engine.finish(&mut out);
    for extra in out.extras.iter().filter(|extra| matches!(extra.origin, Origin::Held(_))) {
        arrive(&extra.bytes);
    }
    for discard in &out.discards {
        *drops.entry(discard.reason.name()).or_default() += 1;
    }
    let counted = engine.counters();
    assert_eq!(counted.received, counted.forwarded + counted.dropped_total(), "every frame, once");
    let flows = out.events.iter().filter_map(|event| match event {
        Event::FlowEnd(record) => Some(flow_text(&engine, record)),
        _ => None,
    });
    let readings = server.readings();
    Outcome {
        flows: flows.collect(),
        drops,
        packets: server.packets,
        bytes: server.bytes,
        readings,
    }
}

/// Verdict, and rule or reason.
fn flow_text(engine: &Engine, record: &FlowRecord) -> String {
    let Some(verdict) = record.verdict else { return "pending".to_owned() };
    let rule = verdict.rule.and_then(|rule| engine.policy().rule(rule));
    let cause = match (verdict.reason, rule) {
        (Reason::Rule, Some(rule)) => format!("rule {}", rule.name),
        (reason, _) => reason.name().to_owned(),
    };
    format!("{}, {cause}", verdict.action.name())
}

/// What a case comes to, whatever the batches; what must not be is added to `faults`.
fn judge(case: &Case, family: Family, faults: &mut Vec<String>) -> Outcome {
    let talk = (case.talk)(family);
    let outcome = run(&talk, 1);
    let through = |reading: &Vec<u8>| reading.windows(FORBIDDEN.len()).any(|p| p == FORBIDDEN);
    if outcome.readings.iter().any(through) {
        faults.push(format!("{} {family:?}: it got through", case.name));
    }
    for batch in BATCHES {
        let other = run(&talk, batch);
        if other != outcome {
            faults.push(format!("{} {family:?}, batches of {batch}: {other:?}", case.name));
        }
    }
    outcome
}

fn table(faults: &mut Vec<String>) -> String {
    let groups = [
        ("TCP: what is inserted, changed, reordered", tcp::CASES),
        ("IP fragments", fragments::CASES),
        ("TLS", tls::CASES),
        ("HTTP/1 and HTTP/2", http::CASES),
        ("DNS", dns::CASES),
        ("QUIC", quic::CASES),
    ];
    let mut text = String::from(
        "What the engine makes of each case of the evasion corpus. `arrived` counts payload bytes and\n\
         packets that a server got; drops are those of packets, by reason.\n",
    );
    for (title, cases) in groups {
        writeln!(text, "\n== {title}").unwrap();
        for case in cases {
            let outcome = judge(case, Family::V4, faults);
            let other = judge(case, Family::V6, faults);
            if outcome != other {
                faults.push(format!("{}: over IPv6 {other:?}", case.name));
            }
            let drops: Vec<_> =
                outcome.drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            writeln!(text, "\n{}", case.name).unwrap();
            writeln!(text, "    {}", outcome.flows.join("; ")).unwrap();
            writeln!(text, "    arrived {} in {}", outcome.bytes, outcome.packets).unwrap();
            if !drops.is_empty() {
                writeln!(text, "    dropped {}", drops.join(", ")).unwrap();
            }
            writeln!(text, "    {}", case.why).unwrap();
        }
    }
    text
}

#[test]
fn every_case_is_seen_through_or_denied_as_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/evasion/verdicts.txt");
    let mut faults = Vec::new();
    let table = table(&mut faults);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (new, old)) in table.lines().zip(known.lines()).enumerate() {
        assert_eq!(new, old, "line {} of {}", number + 1, path.display());
    }
    assert_eq!(table.lines().count(), known.lines().count(), "lines of {}", path.display());
}
