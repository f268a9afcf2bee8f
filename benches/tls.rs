//! ClientHello to name: whole, post-quantum and in two segments, with fingerprints, and what the
//! general parser of another crate takes for the same bytes.

use criterion::{Criterion, criterion_group, criterion_main};
use lockgate::inspect::tls::compose::Offer;
use lockgate::inspect::tls::hello::ClientHello;
use lockgate::inspect::tls::{Fingerprints, TlsReader};
use lockgate::model::{Direction, Facts};
use std::hint::black_box;

fn hello(key_share: usize) -> Vec<u8> {
    let offer = Offer {
        names: &[b"api.payments.example"],
        versions: &[0x0a0a, 0x0304, 0x0303],
        protocols: &[b"h2", b"http/1.1"],
        key_share,
        extensions: &[(0x1a1a, b""), (0x0017, b""), (0xff01, b"\0"), (0x0023, b"")],
        ..Offer::default()
    };
    offer.records(16_384).unwrap_or_default()
}

fn name(c: &mut Criterion, title: &str, bytes: &[u8], fingerprints: Fingerprints) {
    c.bench_function(title, |b| {
        b.iter(|| {
            let mut facts = Facts::default();
            let mut reader = TlsReader::new().with_fingerprints(fingerprints);
            black_box(reader.read(Direction::Original, black_box(bytes), &mut facts));
            facts
        });
    });
}

fn tls(c: &mut Criterion) {
    let short = hello(32);
    let long = hello(1216);
    c.bench_function("tls/walk", |b| {
        let body = short.get(9..).unwrap_or_default();
        b.iter(|| ClientHello::read(black_box(body)));
    });
    name(c, "tls/name", &short, Fingerprints::None);
    name(c, "tls/name, post-quantum", &long, Fingerprints::None);
    name(c, "tls/name and ja4", &short, Fingerprints::Ja4);
    name(c, "tls/name, ja4 and ja3", &short, Fingerprints::Both);
    c.bench_function("tls/name, two segments", |b| {
        b.iter(|| {
            let mut facts = Facts::default();
            let mut reader = TlsReader::new().with_fingerprints(Fingerprints::None);
            let first = long.get(..1400).unwrap_or_default();
            black_box(reader.read(Direction::Original, black_box(first), &mut facts));
            black_box(reader.read(Direction::Original, black_box(&long), &mut facts));
            facts
        });
    });
    c.bench_function("tls-parser/name", |b| b.iter(|| theirs(black_box(&short))));
}

/// The name as tls-parser finds it.
fn theirs(bytes: &[u8]) -> Option<Vec<u8>> {
    let (_, record) = tls_parser::parse_tls_plaintext(bytes).ok()?;
    for message in &record.msg {
        let tls_parser::TlsMessage::Handshake(tls_parser::TlsMessageHandshake::ClientHello(hello)) =
            message
        else {
            continue;
        };
        let (_, extensions) = tls_parser::parse_tls_extensions(hello.ext?).ok()?;
        for extension in extensions {
            if let tls_parser::TlsExtension::SNI(names) = extension {
                return names.first().map(|(_, name)| name.to_vec());
            }
        }
    }
    None
}

criterion_group!(benches, tls);
criterion_main!(benches);
