//! A capture in memory through reader, sharder, workers and collector: wall time, so it says
//! something on an idle machine only.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lockgate::bench::captures::write_tape;
use lockgate::bench::mix::Mix;
use lockgate::bench::rules::Rules;
use lockgate::bench::shards::Nobody;
use lockgate::io::merge::Captures;
use lockgate::io::pcap::CaptureReader;
use lockgate::pipeline::{ReplayOptions, replay};
use lockgate::wire::Settings;
use std::io::Cursor;
use std::sync::Arc;

const FRAMES: usize = 50_000;

fn pipeline(c: &mut Criterion) {
    let rules = Rules::new(1_000);
    let Ok(policy) = rules.compile() else { return };
    let policy = Arc::new(policy);
    let mut group = c.benchmark_group("pipeline");
    group.throughput(Throughput::Elements(FRAMES as u64));
    group.sample_size(20);
    for mix in [Mix::Small(1_000), Mix::Imix] {
        let Ok(capture) = write_tape(&mix.tape(&rules, FRAMES), Vec::new()) else { continue };
        for workers in [1, 2] {
            let options =
                ReplayOptions { workers, settings: Settings::GWLB, ..ReplayOptions::default() };
            group.bench_function(format!("{mix}/{workers} workers"), |b| {
                b.iter(|| {
                    let source = Box::new(Cursor::new(capture.clone()));
                    let reader = CaptureReader::new("bench", source).ok()?;
                    let mut captures = Captures::new(vec![reader]);
                    replay(&policy, &mut captures, &options, &mut Nobody, &mut |_| {}).ok()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
