//! Every capture at hand through the engine, in batches of any size and with any of its checksum
//! settings: the same records, and each packet that is dropped has a reason that
//! `docs/captures.md` explains. Skipped, loudly, where the captures are absent.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use lockgate::engine::record::{Event, FlowRecord};
use lockgate::engine::{Counters, Engine, Frame, Limits, Output};
use lockgate::flow::Secret;
use lockgate::io::merge::Captures;
use lockgate::io::pcap::CaptureReader;
use lockgate::model::{Reason, Timestamp, Verdict};
use lockgate::pipeline::offload;
use lockgate::policy::Policy;
use lockgate::ruleset::{self, Options};
use lockgate::wire::{Checksums, Link, Settings};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn captures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "pcap" || e == "pcapng"))
        .collect();
    if found.is_empty() {
        eprintln!("SKIPPED: no captures at {}", folder.display());
    }
    found.sort();
    found
}

fn survey() -> Arc<Policy> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rulesets/capture-survey");
    Arc::new(ruleset::load(&path, &Options::default()).unwrap().policy)
}

/// As `replay --checksums auto` chooses.
fn settings(path: &Path) -> Settings {
    let relaxed = Settings { checksums: Checksums::Ignore, ..Settings::CAPTURE };
    let suspected = Captures::open(&[path.to_str().unwrap().to_owned()])
        .is_ok_and(|mut captures| offload(&mut captures, &relaxed).suspected());
    let checksums = if suspected { Checksums::Ignore } else { Checksums::Verify };
    Settings { checksums, outer_udp: checksums, ..Settings::CAPTURE }
}

/// Every frame of a capture.
fn frames(path: &Path) -> Vec<(Timestamp, Link, Vec<u8>)> {
    let Ok(mut reader) = CaptureReader::open(path.to_str().unwrap()) else { return Vec::new() };
    let mut frames = Vec::new();
    while let Ok(Some(packet)) = reader.next_packet() {
        frames.push((packet.at, packet.link, packet.bytes.to_vec()));
    }
    frames
}

/// What judging a capture in batches of `size` comes to.
struct Judged {
    verdicts: Vec<Verdict>,
    records: Vec<FlowRecord>,
    counters: Counters,
}

fn judge(
    policy: &Arc<Policy>,
    settings: Settings,
    frames: &[(Timestamp, Link, Vec<u8>)],
    size: usize,
) -> Judged {
    let mut engine =
        Engine::new(Arc::clone(policy), Limits::default(), settings, Secret::new(1, 2));
    let (mut out, mut verdicts) = (Output::default(), Vec::new());
    for (at, part) in frames.chunks(size).enumerate() {
        let mut bytes: Vec<Vec<u8>> = part.iter().map(|(.., bytes)| bytes.clone()).collect();
        let mut given: Vec<Frame<'_>> = Vec::new();
        for ((number, (time, link, _)), bytes) in (at * size..).zip(part).zip(&mut bytes) {
            given.push(Frame::new(*time, *link, number as u64, bytes));
        }
        engine.process(&mut given, &mut out);
        verdicts.extend(given.iter().map(|frame| frame.verdict));
    }
    engine.finish(&mut out);
    let records = out.events.into_iter().filter_map(|event| match event {
        Event::FlowEnd(record) => Some(record),
        _ => None,
    });
    let mut records: Vec<_> = records.collect();
    records.sort_by_key(|record| (record.start, record.tuple, record.scope, record.end));
    Judged { verdicts, records, counters: engine.counters().clone() }
}

#[test]
fn the_size_of_batches_does_not_show() {
    let policy = survey();
    for path in captures("pcaps").into_iter().chain(captures("../shared/captures")) {
        let (settings, frames) = (settings(&path), frames(&path));
        let one = judge(&policy, settings, &frames, 1);
        for size in [7, 64, 256] {
            let many = judge(&policy, settings, &frames, size);
            assert!(one.verdicts == many.verdicts, "{} in batches of {size}", path.display());
            assert!(one.records == many.records, "{} in batches of {size}", path.display());
        }
    }
}

/// Why packets of these captures are dropped, by reason.
const WHY: &[(Reason, &str)] = &[
    (
        Reason::NotIp,
        "ARP, LLDP, spanning tree, PPPoE discovery and the like; MPLS that holds no IP",
    ),
    (Reason::TransportChecksum, "single wrong sums in captures whose other sums are right"),
    (Reason::IpChecksum, "fuzzed headers"),
    (
        Reason::TcpWindow,
        "captures taken on both sides of a firewall that rewrites sequence numbers (mercury__capture2: \
         its second copy of each packet fits no window of the first), two servers that answered one \
         SYN (tcp-fastopen-10), resets with sequence numbers of their own",
    ),
    (Reason::Truncated, "cut by the snap length inside the headers, broken or fuzzed lengths"),
    (Reason::FragmentIncomplete, "fragments whose others are not in the capture"),
    (Reason::IpVersion, "broken or fuzzed version nibbles, also inside MPLS"),
    (Reason::UdpLength, "fuzzed or deliberately wrong lengths"),
    (Reason::TcpState, "fuzzed flags; data behind a FIN"),
    (Reason::BadAddress, "packets made with a multicast source inside GTP"),
    (Reason::TcpClosed, "segments behind a RST or behind the end of a connection"),
    (Reason::FragmentOverlap, "copies of fragments, and captures made to overlap"),
    (Reason::TcpFlags, "flags that no connection produces"),
    (Reason::FragmentTiny, "first fragments without a whole TCP header, odd lengths"),
    (Reason::Midstream, "resets of flows that are not in the capture"),
    (Reason::TcpHeader, "header lengths that are wrong"),
    (Reason::IpLength, "a fuzzed length"),
    (Reason::IpOptions, "a fuzzed option"),
    (Reason::GeneveProtocol, "ARP inside GENEVE"),
    (Reason::Ipv6Extension, "malformed extension headers"),
    (Reason::GeneveOptionLength, "GENEVE options that do not add up"),
    (Reason::GeneveCriticalOption, "a critical GENEVE option that is not known"),
    (Reason::TooDeep, "tunnels inside tunnels beyond what is followed"),
    (Reason::IcmpHeader, "ICMP errors that quote too little"),
    (Reason::IcmpUnrelated, "ICMP errors about flows that are not in the capture"),
    (Reason::VxlanHeader, "VXLAN headers without their flag"),
];

/// The page: packets read, and what became of them by reason.
fn page(total: &Counters, files: usize, worst: &BTreeMap<Reason, (usize, String)>) -> String {
    let mut text = String::from(
        "# Captures of other projects, read to their end\n\n\
         What `lockgate replay rulesets/capture-survey CAPTURE` makes of the captures beside the project, none of\n\
         which was made for it. Checked by `tests/captures.rs`; `UPDATE_GOLDEN=1 cargo test --test captures`\n\
         writes it anew.\n\n\
         Read are pcap (times in micro- or nanoseconds, and the modified form of old Linux systems, magic\n\
         `a1b2cd34`) and pcapng, in both byte orders, as they are or packed with gzip or zstd.\n\n",
    );
    let dropped = total.dropped_total();
    writeln!(
        text,
        "{files} captures, {} packets: {} forwarded, {dropped} dropped.\n",
        total.received, total.forwarded
    )
    .unwrap();
    text.push_str("| reason | packets | most of them in | why |\n| --- | ---: | --- | --- |\n");
    let mut rows: Vec<_> =
        Reason::ALL.iter().filter(|reason| total.dropped(**reason) > 0).collect();
    rows.sort_by_key(|reason| std::cmp::Reverse(total.dropped(**reason)));
    for reason in rows {
        let why =
            WHY.iter().find(|(known, _)| known == reason).map_or("NOT EXPLAINED", |(_, why)| why);
        let file = worst.get(reason).map_or("", |(_, file)| file);
        writeln!(text, "| `{}` | {} | {file} | {why} |", reason.name(), total.dropped(*reason))
            .unwrap();
    }
    text
}

#[test]
fn every_dropped_packet_has_a_reason_that_is_explained() {
    let (policy, files) = (survey(), captures("../shared/captures"));
    if files.is_empty() {
        return;
    }
    let (mut total, mut worst) = (Counters::default(), BTreeMap::<Reason, (usize, String)>::new());
    for path in &files {
        let judged = judge(&policy, settings(path), &frames(path), 64);
        assert_eq!(judged.counters.waiting(), 0, "{}", path.display());
        for reason in Reason::ALL {
            let count = usize::try_from(judged.counters.dropped(*reason)).unwrap();
            let known = worst.get(reason).map_or(0, |(known, _)| *known);
            if count > known {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                worst.insert(*reason, (count, name));
            }
        }
        total.merge(&judged.counters);
    }
    let page = page(&total, files.len(), &worst);
    assert!(!page.contains("NOT EXPLAINED"), "{page}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/captures.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(page, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
}
