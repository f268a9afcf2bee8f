//! Tuple space search against a naive first-match scan.

use super::super::spec::{IcmpMatch, PortRange};
use super::*;
use crate::model::{Action, Addr, FiveTuple};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

/// Rules whose five-tuple matches, by looking at all of them.
fn walked(rules: &[Matcher], probe: Probe<'_>) -> Vec<usize> {
    rules.iter().enumerate().filter(|(_, rule)| rule.matches(probe)).map(|(at, _)| at).collect()
}

/// The head of every rule; what it says is of no account here.
const HEAD: Head = Head { action: Action::Allow, plain: false };

fn build(rules: &[RuleSpec]) -> TupleSpace {
    TupleSpace::build(rules, &vec![HEAD; rules.len()])
}

/// What is found, whether the tables are looked at side by side or one by one.
fn found(space: &mut TupleSpace, rules: &[Matcher], probe: Probe<'_>) -> Vec<usize> {
    let lanes = space.lanes.take();
    let one_by_one = found_as_it_is(space, rules, probe);
    space.lanes = lanes;
    let found = found_as_it_is(space, rules, probe);
    assert_eq!(found, one_by_one);
    found
}

fn found_as_it_is(space: &TupleSpace, rules: &[Matcher], probe: Probe<'_>) -> Vec<usize> {
    let mut found = Vec::new();
    let flow = space.visit(rules, probe, space.shortlist(probe.tuple), |listed| {
        found.push(listed.rule as usize);
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue());
    found
}

/// Networks nested in each other around a few addresses, so that rules overlap.
fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u32..16, 0_u8..=32).prop_map(|(near, len)| {
        let bits = 0x0a64_0000 | near << 14 | near;
        Ipv4Net::new(bits.into(), len).unwrap().trunc().into()
    });
    let v6 = (0_u128..4, 0_u8..=128).prop_map(|(near, len)| {
        let bits = 0x2001_0db8_u128 << 96 | near << 60 | near;
        Ipv6Net::new(bits.into(), len).unwrap().trunc().into()
    });
    prop_oneof![4 => v4, 1 => v6]
}

fn port_range() -> impl Strategy<Value = PortRange> {
    (0_u16..12, 0_u16..30).prop_map(|(first, more)| PortRange {
        first: 440 + first,
        last: 440 + first + if more < 20 { 0 } else { more * 100 },
    })
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    let protocol = prop::sample::select(vec![Protocol(6), Protocol(17), Protocol(1)]);
    (
        prop::option::of(prop::collection::vec(network(), 0..3)),
        prop::option::weighted(0.3, prop::collection::vec(network(), 0..3)),
        prop::option::of(prop::collection::vec(port_range(), 0..3)),
        prop::option::of(prop::collection::vec(protocol, 0..3)),
        prop::option::weighted(0.1, 0_u8..2),
    )
        .prop_map(|(destinations, sources, ports, protocols, icmp)| RuleSpec {
            destinations,
            sources,
            ports,
            protocols,
            icmp: icmp.map(|kind| vec![IcmpMatch { kind, code: None }]),
            ..RuleSpec::new("r", Action::Allow)
        })
}

fn tuple() -> impl Strategy<Value = FiveTuple> {
    let addr = |v6: bool, near: u32, low: u32| {
        if v6 {
            let near = u128::from(near % 4);
            let bits = 0x2001_0db8_u128 << 96 | near << 60 | near;
            return Addr::v6(bits.to_be_bytes());
        }
        Addr::v4((0x0a64_0000 | near << 14 | near ^ low).to_be_bytes())
    };
    let protocol = prop::sample::select(vec![6_u8, 17, 1, 132]);
    let side = || (0_u32..16, 0_u32..4);
    (prop::bool::weighted(0.2), side(), side(), 438_u16..455, protocol).prop_map(
        move |(v6, src, dst, dst_port, protocol)| FiveTuple {
            src: addr(v6, src.0, src.1),
            dst: addr(v6, dst.0, dst.1),
            src_port: 40_000,
            dst_port,
            protocol: Protocol(protocol),
        },
    )
}

proptest! {
    #[test]
    fn what_a_walk_finds_is_found_in_the_same_order(
        rules in prop::collection::vec(rule(), 0..120),
        tuples in prop::collection::vec((tuple(), 0_u8..3), 1..30),
    ) {
        let matchers: Vec<Matcher> = rules.iter().map(Matcher::new).collect();
        let mut space = build(&rules);
        for (tuple, kind) in tuples {
            let probe = Probe { tuple: &tuple, icmp: (kind < 2).then_some((kind, 0)) };
            prop_assert_eq!(found(&mut space, &matchers, probe), walked(&matchers, probe));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn among_so_many_rules_that_a_filter_tells_where_to_look_the_same_are_found(
        mut rules in prop::collection::vec(rule(), 1..200),
        tuples in prop::collection::vec((tuple(), 0_u8..3), 30),
    ) {
        // Hosts that nobody asks for, each a key of its own.
        rules.extend((0..600_u32).map(|n| to(&Ipv4Net::new((n << 8).into(), 32).unwrap().to_string())));
        let matchers: Vec<Matcher> = rules.iter().map(Matcher::new).collect();
        let mut space = build(&rules);
        prop_assert!(!space.places.is_small());
        for (tuple, kind) in tuples {
            let probe = Probe { tuple: &tuple, icmp: (kind < 2).then_some((kind, 0)) };
            prop_assert_eq!(found(&mut space, &matchers, probe), walked(&matchers, probe));
        }
    }
}

fn to(network: &str) -> RuleSpec {
    RuleSpec {
        destinations: Some(vec![network.parse().unwrap()]),
        ..RuleSpec::new("r", Action::Allow)
    }
}

#[test]
fn prefix_lengths_are_made_coarser_at_the_limit_of_tables() {
    let tables = |count: u32| {
        let lens = (0..count).map(|i| to(&format!("2001:db8::/{}", 32 + i)));
        build(&lens.collect::<Vec<_>>()).tables.len()
    };
    let limit = TABLES_LIMIT as u32;
    assert_eq!(tables(limit - 1), TABLES_LIMIT - 1);
    assert_eq!(tables(limit), TABLES_LIMIT);
    assert!(tables(limit + 1) < TABLES_LIMIT);
    let mut every: Vec<RuleSpec> = Vec::new();
    for len in 0..=128 {
        let mut rule = to(&format!("2001:db8::/{len}"));
        rule.sources = Some(vec![format!("2001:db9::/{}", 128 - len).parse().unwrap()]);
        rule.ports = (len % 2 == 0).then(|| vec![PortRange::one(443)]);
        rule.protocols = (len % 3 == 0).then(|| vec![Protocol::TCP]);
        every.push(rule);
    }
    assert!(build(&every).tables.len() <= TABLES_LIMIT);
}

#[test]
fn many_rules_of_one_network_are_found_in_order() {
    let rules = vec![to("10.0.0.0/8"); 300];
    let matchers: Vec<Matcher> = rules.iter().map(Matcher::new).collect();
    let tuple = FiveTuple { dst: Addr::v4([10, 1, 1, 1]), ..FiveTuple::default() };
    let probe = Probe { tuple: &tuple, icmp: None };
    let found = found(&mut build(&rules), &matchers, probe);
    assert_eq!(found, (0..300).collect::<Vec<_>>());
}

#[test]
fn many_rules_of_one_network_are_told_apart_by_their_ports() {
    let rules: Vec<RuleSpec> = (0..300)
        .map(|port| RuleSpec { ports: Some(vec![PortRange::one(port)]), ..to("10.0.0.0/8") })
        .collect();
    let matchers: Vec<Matcher> = rules.iter().map(Matcher::new).collect();
    let space = build(&rules);
    let tuple = FiveTuple {
        dst: Addr::v4([10, 1, 1, 1]),
        dst_port: 77,
        protocol: Protocol::TCP,
        ..FiveTuple::default()
    };
    let mut seen = Vec::new();
    let probe = Probe { tuple: &tuple, icmp: None };
    let flow = space.visit(&matchers, probe, space.shortlist(&tuple), |listed| {
        seen.push(listed.rule);
        ControlFlow::Continue(())
    });
    assert_eq!((seen, flow), (vec![77], ControlFlow::Continue(())));
}

#[test]
fn a_visit_ends_when_told() {
    let rules = vec![to("10.0.0.0/8"); 200];
    for count in [10, 200] {
        let matchers: Vec<Matcher> = rules.iter().take(count).map(Matcher::new).collect();
        let tuple = FiveTuple { dst: Addr::v4([10, 1, 1, 1]), ..FiveTuple::default() };
        let probe = Probe { tuple: &tuple, icmp: None };
        let mut seen = 0;
        let space = build(&rules[..count]);
        let flow = space.visit(&matchers, probe, space.shortlist(&tuple), |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((seen, flow), (3, ControlFlow::Break(())));
    }
}
