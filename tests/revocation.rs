//! Revocation in the pattern `transit-gateway`: connections of its captures are under way when their
//! rule, their policies or their partner's file is taken out of the ruleset. Each is cut at its next
//! packet, both sides are told, and the record says why and under which epoch.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop where it stands")]

use lockgate::engine::record::{Ended, Event, FlowRecord};
use lockgate::engine::{Engine, Frame, Limits, Origin, Output};
use lockgate::flow::Secret;
use lockgate::io::pcap::CaptureReader;
use lockgate::model::{Action, FiveTuple, Reason, Span, Timestamp, Verdict};
use lockgate::policy::Policy;
use lockgate::ruleset::{self, FlowPattern, Options, Shipped};
use lockgate::wire::{self, Link, Settings, TcpFlags};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PATTERN: &str = "transit-gateway";
const NEWCO: &str = "partners/newco.yaml";
/// The epoch of the ruleset that is installed over the first.
const SECOND: u32 = 2;

/// The pattern in a folder of its own, changed.
fn changed(name: &str, change: impl Fn(String) -> Option<String>) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("revocation").join(name);
    let _ = fs::remove_dir_all(&folder);
    for (path, bytes) in Shipped::find(PATTERN).unwrap().files() {
        let text = String::from_utf8(bytes.to_vec());
        let bytes = match (path == NEWCO, text) {
            (true, Ok(text)) => match change(text) {
                Some(text) => text.into_bytes(),
                None => continue,
            },
            _ => bytes.into_owned(),
        };
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn policy(folder: &Path, before: Option<&Policy>) -> Arc<Policy> {
    let loaded = ruleset::load(folder, &Options::default()).unwrap_or_else(|why| panic!("{why}"));
    Arc::new(Policy::compile(&loaded.spec, before).unwrap())
}

/// The newco file without the rule of this id, which stands on one line or on several.
fn without_rule(text: &str, id: &str) -> String {
    let mut kept = Vec::new();
    let mut within = false;
    for line in text.lines() {
        let starts = line.trim_start().starts_with("- ") || line.starts_with("    otherwise");
        within = if starts { line.contains(&format!("id: {id}")) } else { within };
        if !within || line.trim().is_empty() {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// The frames of one flow of a capture of the pattern, a day earlier than they were: on the last day
/// of the rule that expires in between.
fn frames(capture: &str, flow: &str) -> Vec<(Timestamp, Link, Vec<u8>, FiveTuple)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rulesets").join(PATTERN);
    let path = root.join("tests").join(capture);
    let mut reader = CaptureReader::open(path.to_str().unwrap()).unwrap();
    let wanted: FlowPattern = flow.parse().unwrap();
    let mut frames: Vec<(Timestamp, Link, Vec<u8>, FiveTuple)> = Vec::new();
    while let Some(packet) = reader.next_packet().unwrap() {
        let parsed = wire::parse(packet.bytes, packet.link, &Settings::CAPTURE).unwrap();
        let tuple = parsed.tuple;
        let is = |tuple: FiveTuple| {
            Some(tuple.dst.to_ip()) == wanted.destination.0
                && Some(tuple.dst_port) == wanted.destination.1
                && Some(tuple.src.to_ip()) == wanted.source.0
        };
        let first = frames.first().map_or(tuple, |(.., first)| *first);
        if (is(tuple) || is(tuple.reverse())) && (tuple == first || tuple.reverse() == first) {
            let at = Timestamp::ZERO + packet.at.since(Timestamp::from_secs(86_400));
            frames.push((at, packet.link, packet.bytes.to_vec(), tuple));
        }
    }
    assert!(frames.len() > 8, "{capture} {flow}: {} frames", frames.len());
    frames
}

/// What became of a connection whose ruleset changed after so many of its frames.
struct Cut {
    /// Verdicts of the frames from there on.
    after: Vec<Verdict>,
    /// Resets that were sent: to whom, and with which sequence number.
    resets: Vec<(FiveTuple, u32)>,
    record: FlowRecord,
    last: Timestamp,
}

fn revoke(capture: &str, flow: &str, frames_before: usize, folder: &Path) -> Cut {
    let shipped = changed("shipped", Some);
    let before = policy(&shipped, None);
    let after = policy(folder, Some(&before));
    let mut engine = Engine::new(before, Limits::default(), Settings::CAPTURE, Secret::new(1, 2));
    let mut out = Output::default();
    let (mut verdicts, mut resets, mut records) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = Timestamp::ZERO;
    for (number, (at, link, bytes, _)) in frames(capture, flow).into_iter().enumerate() {
        if number == frames_before {
            engine.install(Arc::clone(&after));
        }
        let mut bytes = bytes;
        let mut given = [Frame::new(at, link, 1, &mut bytes)];
        engine.process(&mut given, &mut out);
        let verdict = given[0].verdict;
        if number < frames_before {
            assert_ne!(verdict, Verdict::Drop(Reason::FlowDenied), "frame {number}");
            assert!(out.extras.iter().all(|extra| extra.origin != Origin::Answer));
        } else {
            verdicts.push(verdict);
        }
        for extra in out.extras.iter().filter(|extra| extra.origin == Origin::Answer) {
            let packet = wire::parse(&extra.bytes, extra.link, &Settings::CAPTURE).unwrap();
            let segment = packet.tcp().expect("a reset");
            assert!(segment.flags.contains(TcpFlags::RST));
            resets.push((packet.tuple, segment.seq));
        }
        records.append(&mut out.events);
        out.clear();
        last = at;
    }
    engine.tick(last + Span::from_secs(3600), &mut out);
    engine.finish(&mut out);
    records.append(&mut out.events);
    let mut ended = records.into_iter().filter_map(|event| match event {
        Event::FlowEnd(record) => Some(record),
        _ => None,
    });
    let record = ended.next().expect("a record");
    assert_eq!(ended.count(), 0, "one flow");
    Cut { after: verdicts, resets, record, last }
}

#[test]
fn a_deleted_rule_cuts_the_connection_it_allowed() {
    let folder = changed("rule", |text| Some(without_rule(&text, "newco-sync")));
    let flow = "10.120.1.5 -> 10.100.4.20:5432/tcp";
    let all = frames("revoked.pcap", flow);
    let cut = revoke("revoked.pcap", flow, 8, &folder);
    assert!(cut.after.iter().all(|verdict| matches!(verdict, Verdict::Drop(_))), "{:?}", cut.after);
    let original = all[0].3;
    let told: Vec<FiveTuple> = cut.resets.iter().map(|(tuple, _)| *tuple).take(2).collect();
    assert_eq!(told, [original, original.reverse()], "the server first, then the client");
    let verdict = cut.record.verdict.unwrap();
    assert_eq!((verdict.action, verdict.reason), (Action::Reject, Reason::Otherwise));
    assert_eq!(cut.record.epoch.0, SECOND, "under the ruleset that came");
    assert_eq!(cut.record.ended, Some(Ended::Denied));
    let [there, _] = cut.record.volume;
    assert!(there.forwarded_packets < there.packets, "{there:?}");
    assert!(cut.record.end <= cut.last);
}

#[test]
fn deleted_policies_cut_connections_of_both_directions() {
    let folder = changed("policies", |text| {
        Some(text.split("\npolicies:").next().unwrap_or_default().to_owned())
    });
    for (capture, flow, reason) in [
        ("newco.pcap", "10.120.1.5 -> 10.100.4.7:443/tcp", Reason::Otherwise),
        ("newco.pcap", "10.100.4.7 -> 10.120.1.5:443/tcp", Reason::NoPolicy),
        ("newco.pcap", "10.100.4.7 -> 10.120.1.22:22/tcp", Reason::NoPolicy),
    ] {
        let cut = revoke(capture, flow, 7, &folder);
        assert!(cut.after.iter().all(|verdict| matches!(verdict, Verdict::Drop(_))), "{flow}");
        assert!(cut.resets.len() >= 2, "{flow}: {:?}", cut.resets);
        let sides: Vec<bool> = cut.resets.iter().map(|(t, _)| *t == cut.record.tuple).collect();
        assert_eq!(sides[..2], [true, false], "{flow}: the server first, then the client");
        assert_eq!(cut.record.verdict.unwrap().reason, reason, "{flow}");
        assert_eq!((cut.record.epoch.0, cut.record.ended), (SECOND, Some(Ended::Denied)), "{flow}");
    }
}

#[test]
fn a_deleted_file_leaves_its_endpoint_to_nobody() {
    let folder = changed("file", |_| None);
    let cut = revoke("revoked.pcap", "10.120.1.5 -> 10.100.4.20:5432/tcp", 8, &folder);
    let expected = Verdict::Drop(Reason::UnknownSegment);
    assert!(cut.after.iter().all(|verdict| *verdict == expected), "{:?}", cut.after);
}

#[test]
fn a_ruleset_that_still_allows_a_connection_costs_it_no_packet() {
    let folder = changed("others", |text| {
        let text = without_rule(&text, "newco-api");
        Some(without_rule(&text, "to-newco-files"))
    });
    let cut = revoke("revoked.pcap", "10.120.1.5 -> 10.100.4.20:5432/tcp", 8, &folder);
    assert!(cut.after.iter().all(|verdict| *verdict == Verdict::Forward), "{:?}", cut.after);
    assert!(cut.resets.is_empty());
    let record = cut.record;
    assert_eq!((record.epoch.0, record.ended), (SECOND, Some(Ended::Closed)));
    assert!(record.volume.iter().all(|volume| volume.forwarded_packets == volume.packets));
}
