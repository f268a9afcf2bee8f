//! QUIC Initial to name, and its parts; the look at a packet of a decided flow.

use criterion::{Criterion, criterion_group, criterion_main};
use lockgate::inspect::quic::keys::{Keys, Plain};
use lockgate::inspect::quic::packet::Packet;
use lockgate::inspect::quic::seal::{Initial, crypto_frame};
use lockgate::inspect::quic::version::{V1, dialect};
use lockgate::inspect::quic::{QuicReader, may_hold_initial};
use lockgate::inspect::tls::Fingerprints;
use lockgate::inspect::tls::compose::Offer;
use lockgate::model::{Direction, Facts};
use std::hint::black_box;

const ID: &[u8] = &[0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

fn hello(key_share: usize) -> Option<Vec<u8>> {
    let names: &[&[u8]] = &[b"api.payments.example"];
    Offer { names, versions: &[0x0304], protocols: &[b"h3"], key_share, ..Offer::default() }
        .message()
}

fn seal(number: u32, offset: usize, part: &[u8]) -> Option<Vec<u8>> {
    let initial =
        Initial { version: V1, destination: ID, number, padded_to: 1200, ..Initial::default() };
    initial.seal(&crypto_frame(offset, part)?)
}

fn read(datagrams: &[Vec<u8>]) -> Facts {
    let mut facts = Facts::default();
    let mut reader = QuicReader::new().with_fingerprints(Fingerprints::None);
    for datagram in datagrams {
        black_box(reader.datagram(Direction::Original, black_box(datagram), &mut facts));
    }
    facts
}

fn quic(c: &mut Criterion) {
    let (Some(short), Some(long)) = (hello(32), hello(1216)) else { return };
    let (front, back) = long.split_at(900);
    let (Some(one), Some(first), Some(second)) =
        (seal(0, 0, &short), seal(0, 0, front), seal(1, 900, back))
    else {
        return;
    };
    let datagrams = [one.clone()];
    c.bench_function("quic/name", |b| b.iter(|| read(&datagrams)));
    let datagrams = [first, second];
    c.bench_function("quic/name, two packets", |b| b.iter(|| read(&datagrams)));
    let Some(dialect) = dialect(V1) else { return };
    c.bench_function("quic/keys", |b| b.iter(|| Keys::client(dialect, black_box(ID))));
    let (Some(keys), Some(packet)) = (Keys::client(dialect, ID), Packet::read(&one)) else {
        return;
    };
    let mut plain = Plain::default();
    c.bench_function("quic/open", |b| {
        b.iter(|| keys.open(black_box(&packet), None, &mut plain));
    });
    let short = [0x45_u8; 1200];
    c.bench_function("quic/decided, short header", |b| {
        b.iter(|| may_hold_initial(black_box(&short)));
    });
}

criterion_group!(benches, quic);
criterion_main!(benches);
