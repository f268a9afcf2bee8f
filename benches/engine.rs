//! The whole engine over frames that lie in the cache: what its own work costs, memory left aside.
//! `lockgate bench` measures it with memory, beside the floor.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lockgate::bench::load::Load;
use lockgate::bench::mix::Mix;
use lockgate::bench::rules::Rules;
use lockgate::bench::subject::Subject;
use std::sync::Arc;

const RULES: usize = 10_000;
/// Frames of one iteration.
const FRAMES: usize = 256;

fn engine(c: &mut Criterion) {
    let rules = Rules::new(RULES);
    let Ok(policy) = rules.compile() else { return };
    let policy = Arc::new(policy);
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for mix in [Mix::Small(1_000), Mix::Segments(1_000), Mix::Imix] {
        let mut load = Load::of_mix(mix, &rules, FRAMES);
        let mut subject = Subject::new(&policy, load.room, load.gap);
        subject.open(mix, &rules);
        group.bench_function(format!("known/{mix}"), |b| b.iter(|| subject.run(&mut load.tape)));
    }
    for mix in [Mix::Storm, Mix::Dns] {
        let mut load = Load::of_mix(mix, &rules, FRAMES);
        let mut subject = Subject::new(&policy, load.room, load.gap);
        group.bench_function(format!("new/{mix}"), |b| {
            b.iter(|| {
                load.tape.turn();
                subject.run(&mut load.tape)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
