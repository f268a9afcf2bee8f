//! `lockgate check` at scale: a ruleset of 300 partners, 10 k rules and 1 M names is read, compiled,
//! its guardrails proved, and linted.

use criterion::{Criterion, criterion_group, criterion_main};
use lockgate::prove::diff::diff;
use lockgate::prove::lint::{LintOptions, lint};
use lockgate::ruleset::{self, Date, Options};
use lockgate::synth::ruleset::{Size, ruleset as generate};
use std::path::PathBuf;

const SIZE: Size = Size { partners: 300, rules: 10_000, names: 1_000_000, own_names: 0 };

/// Writes the ruleset below the build folder.
fn written(size: Size) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ruleset-{}", size.rules));
    for (path, text) in generate(size) {
        let path = root.join(path);
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

fn check(c: &mut Criterion) {
    let path = written(SIZE);
    let today = Date::parse_day("2027-01-01").unwrap();
    let options = Options { today: Some(today), ..Options::default() };
    let load = || ruleset::load(&path, &options).unwrap_or_else(|refused| panic!("{refused}"));
    let loaded = load();
    let found = lint(&loaded, LintOptions { today, soon_days: 30 });
    for finding in found.iter().take(3) {
        eprintln!("{}: {}", finding.code, finding.message);
    }
    let mut group = c.benchmark_group("300 partners, 10 k rules, 1 M names");
    group.sample_size(10);
    group.bench_function("read, compile, guardrails", |b| b.iter(load));
    group
        .bench_function("lint", |b| b.iter(|| lint(&loaded, LintOptions { today, soon_days: 30 })));
    let other = load();
    group.bench_function("diff with itself", |b| b.iter(|| diff(&loaded, &other, today)));
    group.finish();
}

criterion_group!(benches, check);
criterion_main!(benches);
