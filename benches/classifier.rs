//! The first packet of a flow against many rules: one policy whose rules have seven destination
//! prefix lengths, a port or any, a protocol; half of the flows meet no rule.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net};
use lockgate::model::{Action, Addr, Facts, FiveTuple, PolicyId, Protocol, Timestamp};
use lockgate::policy::spec::{
    BlockSpec, CommonEndpoints, Mode, PolicySpec, PortRange, RuleSpec, SegmentKind, SegmentSpec,
    Selector,
};
use lockgate::policy::{NoTrace, Policy, Query};
use std::hint::black_box;

const PREFIX_LENS: [u8; 7] = [32, 32, 28, 24, 24, 20, 16];
const PORTS: [u16; 6] = [443, 80, 8443, 5432, 53, 22];

/// A generator whose figures are the same on every machine (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 8) as usize % sides
    }
}

fn rules(count: usize) -> Vec<RuleSpec> {
    let mut dice = Dice(7);
    let rule = |number| {
        let mut rule = RuleSpec::new(&format!("r{number}"), Action::Allow);
        let bits = 0x0a00_0000 | dice.roll(1 << 24) as u32;
        let len = PREFIX_LENS[dice.roll(PREFIX_LENS.len())];
        let net: IpNet = Ipv4Net::new_assert(bits.into(), len).trunc().into();
        rule.destinations = Some(vec![net]);
        if dice.roll(100) >= 45 {
            rule.ports = Some(vec![PortRange::one(PORTS[dice.roll(PORTS.len())])]);
        }
        rule.protocols = Some(vec![[Protocol::TCP, Protocol::UDP][dice.roll(2)]]);
        rule
    };
    (0..count).map(rule).collect()
}

fn spec(rules: Vec<RuleSpec>) -> PolicySpec {
    let mut everywhere = SegmentSpec::new("everywhere", SegmentKind::Shared);
    everywhere.networks = vec!["0.0.0.0/0".parse().unwrap_or_default()];
    PolicySpec {
        segments: vec![everywhere],
        common: CommonEndpoints::Any,
        policies: vec![BlockSpec {
            location: String::new(),
            from: vec![Selector::Any],
            to: vec![Selector::Any],
            mode: Mode::Enforce,
            rules,
            otherwise: Action::Deny,
        }],
        ..PolicySpec::default()
    }
}

fn flows(rules: &[RuleSpec]) -> Vec<FiveTuple> {
    let mut dice = Dice(11);
    let mut flow = || {
        let rule = &rules[dice.roll(rules.len())];
        let hit = dice.roll(2) == 0;
        let net = rule.destinations.as_ref().map_or_else(IpNet::default, |nets| nets[0]);
        let random = Addr::v4([11, dice.roll(256) as u8, dice.roll(256) as u8, 1]);
        let ports = rule.ports.as_ref().map(|ports| ports[0].first);
        FiveTuple {
            src: Addr::v4([10, 20, 1, 5]),
            dst: if hit { net.addr().into() } else { random },
            src_port: 40_000,
            dst_port: ports.unwrap_or(443),
            protocol: rule.protocols.as_ref().map_or(Protocol::TCP, |list| list[0]),
        }
    };
    (0..8192).map(|_| flow()).collect()
}

fn classify(c: &mut Criterion) {
    let facts = Facts::default();
    for count in [16, 64, 100, 1_000, 10_000, 100_000] {
        let rules = rules(count);
        let flows = flows(&rules);
        let Ok(policy) = Policy::compile(&spec(rules), None) else { continue };
        let mut turn = 0;
        c.bench_function(&format!("classifier/{count}"), |b| {
            b.iter(|| {
                turn = (turn + 1) % flows.len();
                let query = Query::new(PolicyId(0), flows[turn], Timestamp::ZERO);
                policy.decide(black_box(&query), &facts, &mut NoTrace)
            });
        });
    }
}

fn compile(c: &mut Criterion) {
    let rules = rules(100_000);
    let mut group = c.benchmark_group("compile");
    group.sample_size(10);
    group.bench_function("100000 rules", |b| {
        b.iter_batched(
            || spec(rules.clone()),
            |spec| Policy::compile(&spec, None).is_ok(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, classify, compile);
criterion_main!(benches);
