//! Tuple space search against a naive first-match scan.

use super::super::classifier::Classifier;
use super::super::matcher::Matcher;
use super::super::spec::IcmpMatch;
use super::*;
use crate::model::{Action, Addr, FiveTuple};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::prelude::*;

/// Rules whose five-tuple matches, by looking at all of them.
fn walked(rules: &[Matcher], probe: Probe<'_>) -> Vec<usize> {
    rules.iter().enumerate().filter(|(_, rule)| rule.matches(probe)).map(|(at, _)| at).collect()
}

fn found(classifier: &Classifier, rules: &[Matcher], probe: Probe<'_>) -> Vec<usize> {
    let mut found = Vec::new();
    let flow = classifier.visit(rules, probe, |at| {
        found.push(at);
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
    fn bits_and_search_find_what_a_walk_finds_in_the_same_order(
        rules in prop::collection::vec(rule(), 0..120),
        tuples in prop::collection::vec((tuple(), 0_u8..3), 1..30),
    ) {
        let matchers: Vec<Matcher> = rules.iter().map(Matcher::new).collect();
        let space = Classifier::Search(TupleSpace::build(&rules));
        let few = matchers.get(..matchers.len().min(128)).unwrap();
        let bits = Classifier::build(&rules[..few.len()], few);
        prop_assert!(matches!(bits, Classifier::Bits(_)));
        for (tuple, kind) in tuples {
            let probe = Probe { tuple: &tuple, icmp: (kind < 2).then_some((kind, 0)) };
            prop_assert_eq!(found(&space, &matchers, probe), walked(&matchers, probe));
            prop_assert_eq!(found(&bits, few, probe), walked(few, probe));
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
        TupleSpace::build(&lens.collect::<Vec<_>>()).tables.len()
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
    assert!(TupleSpace::build(&every).tables.len() <= TABLES_LIMIT);
}

#[test]
fn entries_of_a_rule_end_at_their_limit() {
    let rule = |ports: u16, dsts: u16| RuleSpec {
        destinations: Some((0..dsts).map(|i| format!("10.0.{i}.0/24").parse().unwrap()).collect()),
        ports: Some((0..ports).map(|i| PortRange::one(i * 2)).collect()),
        ..RuleSpec::new("r", Action::Allow)
    };
    for (ports, dsts, entries) in [(16, 15, 240), (16, 16, 256), (16, 17, 17), (17, 16, 16)] {
        assert_eq!(Entry::of(&rule(ports, dsts)).len(), entries, "{ports} {dsts}");
    }
}

#[test]
fn many_rules_of_one_network_are_found_in_order() {
    let rules = vec![to("10.0.0.0/8"); 300];
    let matchers: Vec<Matcher> = rules.iter().map(Matcher::new).collect();
    let tuple = FiveTuple { dst: Addr::v4([10, 1, 1, 1]), ..FiveTuple::default() };
    let probe = Probe { tuple: &tuple, icmp: None };
    let found = found(&Classifier::build(&rules, &matchers), &matchers, probe);
    assert_eq!(found, (0..300).collect::<Vec<_>>());
}

#[test]
fn many_rules_of_one_network_are_told_apart_by_their_ports() {
    let rules: Vec<RuleSpec> = (0..300)
        .map(|port| RuleSpec { ports: Some(vec![PortRange::one(port)]), ..to("10.0.0.0/8") })
        .collect();
    let matchers: Vec<Matcher> = rules.iter().map(Matcher::new).collect();
    let space = TupleSpace::build(&rules);
    let tuple = FiveTuple {
        dst: Addr::v4([10, 1, 1, 1]),
        dst_port: 77,
        protocol: Protocol::TCP,
        ..FiveTuple::default()
    };
    let mut seen = Vec::new();
    let flow = space.visit(&matchers, Probe { tuple: &tuple, icmp: None }, |rule| {
        seen.push(rule);
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
        let flow = Classifier::build(&rules[..count], &matchers).visit(&matchers, probe, |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!((seen, flow), (3, ControlFlow::Break(())));
    }
}
