//! Names asked for against sets of them: suffixes of 20 bytes, half of the names unknown, and a
//! set of patterns with `*`.

use criterion::{Criterion, criterion_group, criterion_main};
use lockgate::model::DomainName;
use lockgate::policy::names::{NamePattern, NameSet};
use std::hint::black_box;

/// Spreads consecutive numbers, so that neighbours in time are none in memory.
const fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

fn name(number: u64) -> String {
    let tld = ["com", "net", "org", "io"][(number % 4) as usize];
    format!("h{:08x}.site{}.{tld}", spread(number) as u32, number % 97)
}

fn asked(count: u64) -> Vec<DomainName> {
    let one = |turn: u64| {
        let known = spread(turn) % count;
        let text = match turn % 4 {
            0 => name(known),
            1 => format!("www.{}", name(known)),
            2 => format!("x{}", name(known)),
            _ => format!("api.y{}", name(known)),
        };
        DomainName::from_host(text.as_bytes()).ok()
    };
    (0..16_384).filter_map(one).collect()
}

fn lookups(c: &mut Criterion) {
    for count in [100, 100_000, 1_000_000] {
        let suffixes = (0..count).map(|number| NamePattern::Suffix(name(number).into()));
        let Ok(set) = NameSet::build(suffixes) else { continue };
        println!("{count} names: {} bytes a name", set.memory_bytes() as u64 / count);
        let asked = asked(count);
        let mut turn = 0;
        c.bench_function(&format!("names/{count}"), |b| {
            b.iter(|| {
                turn = (turn + 1) % asked.len();
                set.contains(black_box(&asked[turn]))
            });
        });
    }
}

fn patterns(c: &mut Criterion) {
    for count in [10, 1_000] {
        let globs = (0..count).map(|n| NamePattern::Glob(format!("*site{n}-*.com").into()));
        let Ok(set) = NameSet::build(globs) else { continue };
        let asked = asked(1_000);
        let mut turn = 0;
        c.bench_function(&format!("names/patterns-{count}"), |b| {
            b.iter(|| {
                turn = (turn + 1) % asked.len();
                set.contains(black_box(&asked[turn]))
            });
        });
    }
}

criterion_group!(benches, lookups, patterns);
criterion_main!(benches);
