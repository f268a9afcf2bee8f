//! Every fuzz target over its corpus, and over thousands of changed copies of it, with an ordinary
//! `cargo test`. The corpus holds what fuzzing once found, and one seed of each kind.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "fuzz/targets.rs"]
mod targets;

use lockgate::inspect::quic::seal::{Initial, crypto_frame};
use lockgate::inspect::quic::version::V1;
use lockgate::inspect::tls::compose::Offer;
use std::fs;
use std::path::Path;

/// Changed copies of each input.
const COPIES: u64 = 300;

/// A changed copy: bytes flipped, cut, doubled, set to edges.
fn changed(input: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % bound.max(1)
    };
    let mut bytes = input.to_vec();
    for _ in 0..1 + roll(4) {
        let at = roll(bytes.len());
        match roll(5) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << roll(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][roll(5)],
            2 => bytes.truncate(at),
            3 => {
                let end = bytes.len().min(at + roll(32));
                let part = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.splice(at..at, part);
            }
            _ => bytes.insert(at, roll(256) as u8),
        }
    }
    bytes
}

/// Pieces of a conversation as the targets read them: `true` is the client.
fn pieces(parts: &[(bool, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (client, part) in parts {
        for piece in part.chunks(0x80) {
            bytes.push(if *client { 0 } else { 0x80 } | (piece.len() - 1) as u8);
            bytes.extend(piece);
        }
    }
    bytes
}

/// A tape of the engine's target: kind, flags, sequence number and payload of each packet.
fn tape(packets: &[(u8, u8, u8, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, flags, seq, payload) in packets {
        bytes.push(0);
        bytes.extend([*kind, 1, payload.len() as u8, *seq, *flags]);
        bytes.extend(*payload);
    }
    bytes
}

/// One seed of each kind, made by the project's own hands.
fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let offer =
        Offer { names: &[b"good.example"], versions: &[0x0304], key_share: 32, ..Offer::default() };
    let hello = offer.records(100).unwrap();
    let get: &[u8] = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n";
    let post: &[u8] = b"POST / HTTP/1.1\r\nHost: good.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let upgrade: &[u8] =
        b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let switching: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    let h2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
        \0\0\x0d\x01\x05\0\0\0\x01\x82\x86\x84\x01\x09a.example";
    let dns: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04good\x07example\0\0\x01\0\x01";
    let answer: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x04good\x07example\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x11\xc0\x2a\0\x01\0\x01\0\0\0\x3c\0\x04\x0a\x64\x04\x07";
    let framed = [&(dns.len() as u16).to_be_bytes()[..], dns].concat();
    let proxy: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x14\x01\x05\x0a\x64\x04\x07\x9c\x40\x01\xbb";
    let starttls: [(bool, &[u8]); 4] = [
        (false, b"220 mail ESMTP\r\n"),
        (true, b"STARTTLS\r\n"),
        (false, b"220 go\r\n"),
        (true, &hello),
    ];
    let packet =
        Initial { version: V1, destination: &[7; 8], padded_to: 1200, ..Initial::default() };
    let initial = packet.seal(&crypto_frame(0, &offer.message().unwrap()).unwrap()).unwrap();
    let quic = [&(initial.len() as u16).to_be_bytes()[..], &initial].concat();
    let (syn, ack, psh) = (2, 0x10, 0x18);
    let opening: [(u8, u8, u8, &[u8]); 3] =
        [(0, syn, 0, b""), (0x10, syn | ack, 0, b""), (0, ack, 1, b"")];
    let flow =
        |payload| tape(&[&opening[..], &[(0, psh, 1, payload), (0x10, ack, 1, b"")]].concat());
    let mut capture = vec![
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0,
    ];
    capture.extend([1, 0, 0, 0, 2, 0, 0, 0, 20, 0, 0, 0, 20, 0, 0, 0]);
    capture.extend([0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    // Kuznetsov's form: another magic, and eight bytes more before each packet.
    let mut modified = capture.clone();
    modified[0..4].copy_from_slice(&[0x34, 0xcd, 0xb2, 0xa1]);
    modified.splice(40..40, [2, 0, 0, 0, 8, 0, 4, 0]);
    vec![
        ("wire", "ipv4", [&[1][..], &capture[40..]].concat()),
        ("tls", "hello", pieces(&[(true, &hello)])),
        ("quic", "initial", quic),
        ("http", "requests", pieces(&[(true, get), (true, post), (true, get)])),
        ("http", "upgrade", pieces(&[(true, upgrade), (false, switching), (true, h2)])),
        ("http2", "request", pieces(&[(true, h2)])),
        ("dns", "query", dns.to_vec()),
        ("dns", "answer", answer.to_vec()),
        ("dns_stream", "two", pieces(&[(true, &framed), (true, &framed)])),
        ("proxy", "v2", pieces(&[(true, &[proxy, get].concat())])),
        ("detection", "hello", hello.clone()),
        ("detection", "request", get.to_vec()),
        ("detection", "query", framed.clone()),
        ("inspector", "hello", pieces(&[(true, &hello)])),
        ("inspector", "requests", pieces(&[(true, get), (true, post)])),
        ("inspector", "upgrade", pieces(&[(true, upgrade), (false, switching), (true, h2)])),
        ("inspector", "starttls", pieces(&starttls)),
        ("inspector", "proxy", pieces(&[(true, &[proxy, get].concat())])),
        ("rules", "evasion", include_bytes!("evasion/lockgate.yaml").to_vec()),
        ("pcap", "one", capture),
        ("pcap", "modified", modified),
        ("engine", "allowed", flow(get)),
        ("engine", "held", flow(&get[..20])),
        ("engine", "denied", flow(b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")),
        ("engine", "datagrams", tape(&[(4 | 2, 0, 0, dns), (4 | 2 | 0x10, 0, 0, answer)])),
    ]
}

#[test]
fn every_target_holds_over_its_corpus_and_changed_copies_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (target, name, bytes) in seeds() {
            let folder = root.join("corpus").join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
    for (target, name, bytes) in seeds() {
        let path = root.join("corpus").join(target).join(name);
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == bytes, "{}: no longer what makes it; UPDATE_GOLDEN=1", path.display());
    }
    for (name, run) in targets::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no fuzz target");
        let folder = root.join("corpus").join(name);
        let mut inputs: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has no seed");
        for (number, path) in (0_u64..).zip(inputs) {
            let input = fs::read(&path).unwrap();
            run(&input);
            for copy in 0..COPIES {
                run(&changed(&input, number * COPIES + copy));
            }
        }
    }
}
