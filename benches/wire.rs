//! A frame to its headers: the engine's reader on what GWLB sends, on what takes the long way, and
//! etherparse's slices over the same bytes.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use etherparse::{Ipv4Slice, TcpSlice, UdpSlice};
use lockgate::bench::mix::Mix;
use lockgate::bench::rules::Rules;
use lockgate::bench::tape::Tape;
use lockgate::wire::{self, Link, Packet, Settings};
use std::hint::black_box;

/// Frames of one iteration: few enough to stay in the cache.
const FRAMES: usize = 128;

fn frames(mix: Mix) -> Tape {
    mix.tape(&Rules::new(100), FRAMES)
}

fn read(tape: &Tape, settings: &Settings) -> u32 {
    let mut packet = Packet::NONE;
    let mut sum = 0u32;
    for frame in tape.frames() {
        black_box(wire::read(frame, Link::Ethernet, settings, &mut packet));
        sum = sum.wrapping_add(packet.ip_len);
    }
    sum
}

/// Outer IPv4, UDP, the GENEVE header stepped over, inner IPv4 and transport.
fn theirs(frame: &[u8]) -> Option<(u16, u16)> {
    let outer = Ipv4Slice::from_slice(frame.get(14..)?).ok()?;
    let udp = UdpSlice::from_slice(outer.payload().payload).ok()?;
    let inner = Ipv4Slice::from_slice(udp.payload().get(40..)?).ok()?;
    match inner.header().protocol().0 {
        6 => {
            let tcp = TcpSlice::from_slice(inner.payload().payload).ok()?;
            Some((tcp.source_port(), tcp.destination_port()))
        }
        _ => {
            let udp = UdpSlice::from_slice(inner.payload().payload).ok()?;
            Some((udp.source_port(), udp.destination_port()))
        }
    }
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for mix in [Mix::Small(1_000), Mix::Segments(1_000)] {
        let tape = frames(mix);
        group.bench_function(format!("{mix}/live"), |b| b.iter(|| read(&tape, &Settings::GWLB)));
        group.bench_function(format!("{mix}/glimpse"), |b| {
            let glimpse =
                |frame| wire::glimpse(black_box(frame), Link::Ethernet, black_box(&Settings::GWLB));
            b.iter(|| tape.frames().filter_map(glimpse).map(black_box).count());
        });
        group.bench_function(format!("{mix}/capture"), |b| {
            b.iter(|| read(&tape, &Settings::CAPTURE));
        });
        group.bench_function(format!("{mix}/etherparse"), |b| {
            b.iter(|| tape.frames().filter_map(|frame| theirs(black_box(frame))).count());
        });
    }
    group.finish();
}

fn checksum(c: &mut Criterion) {
    let tape = frames(Mix::Imix);
    let packets: Vec<_> = tape
        .frames()
        .filter_map(|frame| {
            Some((frame, wire::parse(frame, Link::Ethernet, &Settings::GWLB).ok()?))
        })
        .collect();
    let mut group = c.benchmark_group("wire/checksum");
    group.throughput(Throughput::Bytes(tape.frame_bytes()));
    group.bench_function("imix", |b| {
        b.iter(|| {
            packets.iter().filter(|(frame, p)| wire::transport_checksum_ok(frame, p)).count()
        });
    });
    group.finish();
}

criterion_group!(benches, parse, checksum);
criterion_main!(benches);
