//! What every fuzz target does with its bytes: the reader under test, driven as the engine drives it,
//! and what must hold whatever the bytes are. Shared by the targets of cargo-fuzz and by
//! `tests/fuzz_corpus.rs`, which runs the same over the corpus with an ordinary `cargo test`.

use lockgate::engine::{Engine, Frame, Limits, Output};
use lockgate::flow::Secret;
use lockgate::inspect::dns::DnsStreamReader;
use lockgate::inspect::dns::answers::{addresses, answers, bindings, sole_question};
use lockgate::inspect::dns::{lone::lone_question, read_query};
use lockgate::inspect::http::HttpReader;
use lockgate::inspect::http2::Http2Reader;
use lockgate::inspect::quic::QuicReader;
use lockgate::inspect::tls::TlsReader;
use lockgate::inspect::{Inspector, Outcome, Progress, ProxyReader, detect, greeting};
use lockgate::io::pcap::CaptureReader;
use lockgate::model::{
    Direction, DomainName, EndpointId, Facts, FiveTuple, Protocol, Span, Timestamp,
};
use lockgate::policy::Policy;
use lockgate::ruleset::{self, Options, Style};
use lockgate::synth::gwlb::Encapsulation;
use lockgate::synth::packet::{self, Segment};
#[cfg(fuzzing)]
use lockgate::wire::invariants::check;
use lockgate::wire::{Link, Settings};
use std::io::Cursor;
use std::sync::{Arc, OnceLock};

/// What a target does with its bytes.
pub(crate) type Target = fn(&[u8]);

/// Every target, by name.
pub(crate) const TARGETS: [(&str, Target); 13] = [
    ("wire", wire),
    ("tls", tls),
    ("quic", quic),
    ("http", http),
    ("http2", http2),
    ("dns", dns),
    ("dns_stream", dns_stream),
    ("proxy", proxy),
    ("detection", detection),
    ("inspector", inspector),
    ("rules", rules),
    ("pcap", pcap),
    ("engine", engine),
];

/// Any bytes as a frame of any link: the first byte chooses the link, the rest is the frame.
pub(crate) fn wire(data: &[u8]) {
    let Some((first, frame)) = data.split_first() else { return };
    let links =
        [Link::Ethernet, Link::RawIp, Link::Null, Link::Ppp, Link::LinuxSll, Link::LinuxSll2];
    check(frame, links[usize::from(*first) % links.len()]);
}

/// The library's own invariants are built for its tests and for fuzzing; here frames are only read.
#[cfg(not(fuzzing))]
fn check(frame: &[u8], link: Link) {
    for settings in [Settings::GWLB, Settings::CAPTURE] {
        if let Ok(packet) = lockgate::wire::parse(frame, link, &settings) {
            assert_eq!(packet.payload(frame).len(), usize::from(packet.payload_len));
            lockgate::wire::reflect(&mut frame.to_vec(), &packet);
        }
    }
}

/// Looks at one state of the bytes; more than any input of a fuzzer has.
const LOOKS_MAX: usize = 4096;

/// Shows a reader a conversation in growing pieces, as the engine does. `data` is a run of pieces, each
/// a byte whose top bit is the direction and whose rest is a length, and so many bytes.
fn converse(data: &[u8], mut read: impl FnMut(Direction, &[u8], &mut Facts) -> Progress) {
    let mut facts = Facts::default();
    let mut unread: [Vec<u8>; 2] = Default::default();
    let mut rest = data;
    while let Some((head, behind)) = rest.split_first() {
        let direction = if head & 0x80 == 0 { Direction::Original } else { Direction::Reply };
        let len = behind.len().min(1 + usize::from(head & 0x7f));
        let (piece, behind) = behind.split_at(len);
        rest = behind;
        unread[direction.index()].extend_from_slice(piece);
        if !look(direction, &mut unread, &mut facts, &mut read) {
            return;
        }
    }
}

/// Looks until nothing moves; whether reading goes on.
fn look(
    direction: Direction,
    unread: &mut [Vec<u8>; 2],
    facts: &mut Facts,
    read: &mut impl FnMut(Direction, &[u8], &mut Facts) -> Progress,
) -> bool {
    let (mut turn, mut idle) = (direction, 0);
    for _ in 0..LOOKS_MAX {
        let bytes = &mut unread[turn.index()];
        if bytes.is_empty() {
            idle += 1;
        } else {
            let progress = read(turn, bytes, facts);
            assert!(progress.consumed <= bytes.len(), "never more than was shown");
            bytes.drain(..progress.consumed);
            match progress.outcome {
                Outcome::Done | Outcome::Fault(_) | Outcome::Switch => return false,
                Outcome::More if progress.consumed == 0 => idle += 1,
                _ => idle = 0,
            }
        }
        if idle == 2 {
            return true;
        }
        turn = turn.flip();
    }
    panic!("a reader makes no headway and does not say so");
}

/// TLS, both directions.
pub(crate) fn tls(data: &[u8]) {
    let mut reader = TlsReader::new();
    converse(data, |direction, bytes, facts| reader.read(direction, bytes, facts));
}

/// HTTP/1, both directions.
pub(crate) fn http(data: &[u8]) {
    let mut reader = HttpReader::new();
    converse(data, |direction, bytes, facts| reader.read(direction, bytes, facts));
}

/// HTTP/2 in the clear, both directions.
pub(crate) fn http2(data: &[u8]) {
    let mut reader = Http2Reader::new();
    converse(data, |direction, bytes, facts| reader.read(direction, bytes, facts));
}

/// DNS over a stream, both directions.
pub(crate) fn dns_stream(data: &[u8]) {
    let mut reader = DnsStreamReader::new();
    converse(data, |direction, bytes, facts| reader.read(direction, bytes, facts));
}

/// PROXY protocol headers.
pub(crate) fn proxy(data: &[u8]) {
    let mut reader = ProxyReader::new();
    converse(data, |direction, bytes, facts| reader.read(direction, bytes, facts));
}

/// The whole inspector over a stream, and over a stream behind a proxy.
pub(crate) fn inspector(data: &[u8]) {
    for mut reader in [Inspector::stream(), Inspector::stream_behind_proxy()] {
        converse(data, |direction, bytes, facts| {
            let progress = reader.read(direction, bytes, facts);
            assert_ne!(progress.outcome, Outcome::Switch, "the inspector switches by itself");
            progress
        });
    }
}

/// One DNS message: as a query, as an answer, name by name.
pub(crate) fn dns(data: &[u8]) {
    let (mut facts, mut name) = (Facts::default(), DomainName::empty());
    let well = detect::dns_datagram(data) && read_query(data, &mut facts).is_ok();
    let asked = facts.questions.known().map_or(&[][..], Vec::as_slice);
    let alone = if let ([asked], true) = (asked, well) { Some(asked) } else { None };
    let read = lone_question(data, &mut name).then_some(&name);
    assert_eq!(read, alone, "in one pass, and at length");
    let _ = sole_question(data);
    let _ = answers(data, |_, _, _| ());
    let _ = bindings(data, |_, _, _| ());
    let _ = addresses(data);
}

/// Datagrams of one flow, each behind its length in two bytes whose top bit is the direction.
pub(crate) fn quic(data: &[u8]) {
    let (mut reader, mut facts, mut rest) = (QuicReader::new(), Facts::default(), data);
    let mut all = Inspector::datagrams();
    let mut shared = Facts::default();
    while let Some(([high, low], behind)) = rest.split_first_chunk() {
        let direction = if high & 0x80 == 0 { Direction::Original } else { Direction::Reply };
        let len = usize::from(u16::from_be_bytes([high & 0x7f, *low])).min(behind.len());
        let (datagram, behind) = behind.split_at(len);
        rest = behind;
        let progress = reader.datagram(direction, datagram, &mut facts);
        assert!(progress.consumed <= datagram.len());
        all.datagram(direction, datagram, &mut shared);
    }
}

/// The protocol told from first bytes never depends on how many there are, once it is told.
pub(crate) fn detection(data: &[u8]) {
    let whole = detect::client(data);
    let greeted = greeting::recognise(data);
    for end in 0..data.len().min(64) {
        let early = detect::client(&data[..end]);
        assert!(early == detect::Detection::Unsure || early == whole, "{early:?}, then {whole:?}");
        let early = greeting::recognise(&data[..end]);
        let sure = early == greeting::Greeting::Unsure || early == greeted;
        assert!(sure, "{early:?}, then {greeted:?}");
    }
    let _ = detect::dns_datagram(data);
}

/// A ruleset of one file: compiled, or refused with something to read.
pub(crate) fn rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(refused) = ruleset::load_text("fuzz.yaml", text, &Options::default()) {
        assert!(!refused.render(Style::PLAIN).is_empty(), "a refusal says why");
    }
}

/// A capture of either format, packed or not, read to its end.
pub(crate) fn pcap(data: &[u8]) {
    let source = Box::new(Cursor::new(data.to_vec()));
    let Ok(mut reader) = CaptureReader::new("fuzz.pcap", source) else { return };
    // A packet has sixteen bytes of header at least; packed ones may be many.
    for _ in 0..1 << 16 {
        match reader.next_packet() {
            Ok(Some(packet)) => check(packet.bytes, packet.link),
            Ok(None) | Err(_) => break,
        }
    }
    let _ = reader.warnings();
}

/// Flows and held bytes an engine under fuzzing may have: small, so that they are reached.
const FLOWS_MAX: usize = 8;
const HELD_MAX: usize = 4096;
const ENDPOINT: EndpointId = EndpointId(0x1234_5678_9abc_def0);

fn policy() -> Arc<Policy> {
    static POLICY: OnceLock<Arc<Policy>> = OnceLock::new();
    Arc::clone(POLICY.get_or_init(|| {
        let text = include_str!("../evasion/lockgate.yaml");
        let loaded = ruleset::load_text("lockgate.yaml", text, &Options::default());
        Arc::new(loaded.unwrap_or_else(|refused| panic!("{}", refused.render(Style::PLAIN))).policy)
    }))
}

/// The whole engine: frames as they are, and segments and datagrams of a few flows, at any time.
pub(crate) fn engine(data: &[u8]) {
    let limits = Limits {
        flows: FLOWS_MAX,
        held_bytes: HELD_MAX,
        fragmented: 4,
        inspections: 6,
        ..Limits::default()
    };
    let mut engine = Engine::new(policy(), limits, Settings::GWLB, Secret::new(3, 4));
    let (mut out, mut now, mut rest) = (Output::default(), Timestamp::from_secs(1_000), data);
    let mut given = 0_u64;
    while !rest.is_empty() {
        let mut batch = Vec::new();
        let size = 1 + usize::from(rest[0] & 7);
        rest = &rest[1..];
        while batch.len() < size
            && let Some((frame, wait, behind)) = next_frame(rest)
        {
            now = now + Span::from_millis(wait);
            batch.push((now, frame));
            rest = behind;
        }
        let mut frames: Vec<Frame<'_>> = Vec::new();
        for (at, bytes) in &mut batch {
            given += 1;
            frames.push(Frame::new(*at, Link::Ethernet, given, bytes));
        }
        engine.process(&mut frames, &mut out);
        assert!(out.extras.iter().all(|extra| extra.before <= frames.len()));
        assert!(engine.flows() <= FLOWS_MAX, "flows stay below their limit");
        assert!(engine.held_bytes() <= HELD_MAX, "held bytes stay below their limit");
        let counters = engine.counters();
        assert_eq!(counters.received, given);
        assert!(counters.waiting() <= given);
        out = Output::default();
        if batch.is_empty() {
            break;
        }
    }
    engine.finish(&mut out);
    let counters = engine.counters();
    assert_eq!(counters.waiting(), 0, "what waited is accounted for");
    assert_eq!(
        counters.forwarded + counters.dropped_total(),
        given,
        "frames in, frames accounted for"
    );
    assert_eq!((engine.flows(), engine.held_bytes()), (0, 0));
}

/// The next frame of a fuzzed tape: what it is, how long it waited, its length, its bytes.
fn next_frame(tape: &[u8]) -> Option<(Vec<u8>, u64, &[u8])> {
    let (&[kind, wait, len, seq, flags], behind) = tape.split_first_chunk()?;
    let (bytes, rest) = behind.split_at(behind.len().min(usize::from(len)));
    let wait = u64::from(wait) * if kind & 0x40 == 0 { 1 } else { 1_000 };
    if kind & 0x80 != 0 {
        return Some((bytes.to_vec(), wait, rest));
    }
    let ports = [80, 443, 53, 25];
    let port = ports[usize::from(kind & 3)];
    let protocol = if kind & 4 == 0 { Protocol::TCP } else { Protocol::UDP };
    let tuple: FiveTuple = packet::tuple(
        ([10, 20, 1, 5].into(), 40_000 + u16::from(kind >> 3 & 1)),
        ([10, 100, 4, 7].into(), port),
        protocol,
    );
    let reply = kind & 0x10 != 0;
    let tuple = if reply { tuple.reverse() } else { tuple };
    let inner = if protocol == Protocol::UDP {
        packet::udp(&tuple, bytes)
    } else {
        let (seq, ack) = (1_000 + u32::from(seq), 1_000 + u32::from(flags >> 6) * 64);
        packet::tcp(&tuple, &Segment { seq, ack, flags: flags & 0x3f, payload: bytes })
    };
    Some((Encapsulation::of(ENDPOINT).wrap(&inner), wait, rest))
}
