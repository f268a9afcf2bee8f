//! The flow table: what a lookup costs by number of flows, with and without prefetch, and what
//! opening and expiring a flow costs.
//!
//! `cargo bench --bench flow`. Flows are looked up in an order that defeats every cache.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use lockgate::flow::{
    Fate, FlowHash, FlowId, FlowKey, FlowTable, Secret, Segment, TcpTracker, flag,
};
use lockgate::model::{Addr, Direction, FiveTuple, Protocol, ScopeId, Span, Timestamp};
use std::hint::black_box;

/// State of the size the engine keeps for each flow.
type State = [u64; 10];

const START: Timestamp = Timestamp::from_secs(1_795_000_000);
const TIMEOUT: Span = Span::from_secs(350);
/// Packets looked up in one measurement.
const PACKETS: u32 = 1 << 14;
/// How far ahead of a packet its index bucket, and its entry, are asked for.
const BUCKET_AHEAD: usize = 24;
const ENTRY_AHEAD: usize = 12;

fn tuple(n: u32) -> FiveTuple {
    let [_, net, host, port] = n.to_be_bytes();
    FiveTuple {
        src: Addr::v4([10, 20, net, host]),
        dst: Addr::v4([10, 100, 4, 7]),
        src_port: 40_000 + u16::from(port),
        dst_port: 443,
        protocol: Protocol::TCP,
    }
}

fn filled(flows: u32) -> FlowTable<State> {
    let mut table = FlowTable::new(flows as usize, Secret::new(1, 2));
    for n in 0..flows {
        insert(&mut table, n, START);
    }
    table
}

fn insert(table: &mut FlowTable<State>, n: u32, now: Timestamp) -> Option<FlowId> {
    let (key, _) = FlowKey::new(ScopeId(1), &tuple(n));
    let hash = table.hash(&key);
    table.insert(key, hash, State::default(), now, TIMEOUT).ok()
}

/// One packet's worth of work on its flow.
fn work(table: &mut FlowTable<State>, key: &FlowKey, hash: FlowHash) -> u64 {
    let Some(id) = table.lookup(key, hash) else { return 0 };
    table.touch(id, START, TIMEOUT);
    let Some([packets, ..]) = table.get_mut(id) else { return 0 };
    *packets += 1;
    *packets
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow/lookup");
    group.throughput(Throughput::Elements(u64::from(PACKETS)));
    for (flows, name) in [(1_000, "1k"), (100_000, "100k"), (1_000_000, "1M")] {
        let mut table = filled(flows);
        let mut next = 1u32;
        let mut tuples = move || {
            let draw = |_| {
                next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                tuple(((u64::from(next) * u64::from(flows)) >> 32) as u32)
            };
            (0..PACKETS).map(draw).collect::<Vec<_>>()
        };
        group.bench_function(format!("{name}/plain"), |bencher| {
            bencher.iter_batched_ref(
                &mut tuples,
                |tuples| {
                    tuples.iter().fold(0, |sum, tuple| {
                        let (key, _) = FlowKey::new(ScopeId(1), tuple);
                        let hash = table.hash(&key);
                        work(&mut table, &key, hash).wrapping_add(sum)
                    })
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("{name}/prefetch"), |bencher| {
            bencher.iter_batched_ref(
                &mut tuples,
                |tuples| rolling(&mut table, tuples),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// The engine's way: buckets are asked for first, entries next, then the work is done.
fn rolling(table: &mut FlowTable<State>, tuples: &[FiveTuple]) -> u64 {
    let mut ring = [(FlowKey::default(), table.hash(&FlowKey::default())); 32];
    let mut sum = 0u64;
    for step in 0..tuples.len() + BUCKET_AHEAD {
        if let Some(tuple) = tuples.get(step) {
            let (key, _) = FlowKey::new(ScopeId(1), tuple);
            let hash = table.hash(&key);
            table.prefetch_bucket(hash);
            ring[step % 32] = (key, hash);
        }
        if step >= ENTRY_AHEAD {
            let _ = table.likely(ring[(step - ENTRY_AHEAD) % 32].1, true);
        }
        if step >= BUCKET_AHEAD {
            let (key, hash) = ring[(step - BUCKET_AHEAD) % 32];
            sum = sum.wrapping_add(work(table, &key, hash));
        }
    }
    sum
}

fn open_and_expire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow/open-and-expire");
    group.throughput(Throughput::Elements(u64::from(PACKETS)));
    for (flows, name) in [(100_000, "100k"), (1_000_000, "1M")] {
        let mut table = filled(flows + PACKETS);
        let mut now = START;
        let mut n = flows + PACKETS;
        // Flows come as fast as they go, evenly over the timeout.
        let apart = Span::from_nanos(TIMEOUT.as_nanos() / u64::from(flows));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for _ in 0..PACKETS {
                    now = now + apart;
                    table.expire(now, |expired| {
                        black_box(expired.key);
                        Fate::Remove
                    });
                    n = n.wrapping_add(1) & 0xff_ffff;
                    black_box(insert(&mut table, n, now));
                }
            });
        });
    }
    group.finish();
}

fn tcp(criterion: &mut Criterion) {
    let syn = Segment { flags: flag::SYN, window: 1000, wscale: Some(7), ..Segment::default() };
    let answer = Segment { flags: flag::SYN | flag::ACK, ack: 1, ..syn };
    let data =
        Segment { flags: flag::ACK, seq: 1, ack: 1, window: 1000, wscale: None, payload_len: 1000 };
    let mut tracker = TcpTracker::open(&syn);
    let _ = tracker.observe(Direction::Reply, &answer);
    let _ = tracker.observe(Direction::Original, &Segment { payload_len: 0, ..data });
    let mut data = data;
    criterion.bench_function("flow/tcp/established", |bencher| {
        bencher.iter(|| {
            let there = tracker.observe(Direction::Original, black_box(&data));
            data.seq = data.seq.wrapping_add(data.payload_len);
            let answer = Segment { seq: data.ack, ack: data.seq, payload_len: 0, ..data };
            (there, tracker.observe(Direction::Reply, black_box(&answer)))
        });
    });
}

fn key_and_hash(criterion: &mut Criterion) {
    let table: FlowTable<State> = FlowTable::new(1, Secret::new(1, 2));
    let tuple = tuple(7);
    criterion.bench_function("flow/key-and-hash", |bencher| {
        bencher.iter(|| table.hash(&FlowKey::new(ScopeId(1), black_box(&tuple)).0));
    });
}

criterion_group!(benches, key_and_hash, tcp, lookup, open_and_expire);
criterion_main!(benches);
