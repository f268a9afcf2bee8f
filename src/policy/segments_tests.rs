//! Who an address belongs to, scope by scope.

use super::*;

const ACME: EndpointId = EndpointId(0xa);
const GLOBEX: EndpointId = EndpointId(0xb);
const OPEN: EndpointId = EndpointId(0xc);
const SHARED: EndpointId = EndpointId(0xd);

fn segment(
    name: &str,
    kind: SegmentKind,
    endpoints: &[EndpointId],
    networks: &[&str],
) -> SegmentSpec {
    let mut segment = SegmentSpec::new(name, kind);
    segment.endpoints = endpoints.to_vec();
    segment.networks = networks.iter().map(|n| n.parse().unwrap()).collect();
    segment
}

fn spec() -> PolicySpec {
    use SegmentKind::{Partner, Shared, Workload};
    let mut proxy = segment("nlb", Shared, &[], &["10.99.1.0/24"]);
    proxy.trusted_proxy = true;
    let mut acme = segment("acme", Partner, &[ACME], &["10.20.0.0/16", "10.100.9.0/24"]);
    acme.proxy_endpoints = vec![EndpointId(0x77)];
    PolicySpec {
        segments: vec![
            acme,
            segment("globex", Partner, &[GLOBEX], &["10.20.0.0/16", "10.100.0.0/16"]),
            segment("open", Partner, &[OPEN], &[]),
            segment("payments", Workload, &[], &["10.100.0.0/16", "2001:db8::/32"]),
            segment("resolvers", Shared, &[], &["10.100.53.0/24"]),
            proxy,
        ],
        common: CommonEndpoints::List(vec![SHARED]),
        ..PolicySpec::default()
    }
}

fn locator(spec: &PolicySpec) -> Locator {
    Locator::build(spec, ScopeRegistry::default()).unwrap()
}

/// `endpoint  source  destination  expected`, expected as `from>to` or `unknown`.
fn table(rows: &str) {
    let spec = spec();
    let locator = locator(&spec);
    let name = |id: SegmentId| spec.segments[usize::from(id.0)].name.clone();
    for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let [endpoint, src, dst, expected] =
            row.split_whitespace().collect::<Vec<_>>().try_into().unwrap();
        let endpoint = match endpoint {
            "acme" => ACME,
            "globex" => GLOBEX,
            "open" => OPEN,
            _ => SHARED,
        };
        let addr = |text: &str| Addr::from(text.parse::<std::net::IpAddr>().unwrap());
        let scope = locator.scope(Some(endpoint)).unwrap();
        let found = match locator.locate(scope, addr(src), addr(dst)) {
            Located::Pair { from, to, from_proxy } => {
                format!("{}{}>{}", name(from), if from_proxy { "*" } else { "" }, name(to))
            }
            Located::Unknown => "unknown".to_owned(),
        };
        assert_eq!(found, expected, "{row}");
    }
}

#[test]
fn a_partners_scope_knows_that_partner_workloads_and_shared_segments_only() {
    table(
        "acme    10.20.1.1    10.100.4.7    acme>payments
         acme    10.100.4.7   10.20.1.1     payments>acme
         acme    10.20.1.1    10.100.53.1   acme>resolvers
         acme    10.20.1.1    10.20.1.2     unknown
         acme    10.100.4.7   10.100.53.1   unknown
         acme    10.21.0.1    10.100.4.7    unknown
         acme    10.20.1.1    192.0.2.1     unknown
         acme    10.20.1.1    2001:db8::1   acme>payments
         globex  10.20.1.1    10.100.4.7    globex>payments",
    );
}

#[test]
fn the_longest_network_wins_and_an_equal_one_stays_with_the_workload() {
    table(
        "acme    10.100.9.1   10.100.4.7    acme>payments
         acme    10.20.1.1    10.100.9.1    unknown
         globex  10.100.4.7   10.20.1.1     payments>globex
         globex  10.100.1.1   10.100.4.7    unknown",
    );
}

#[test]
fn a_partner_without_networks_has_what_nobody_holds() {
    table(
        "open    192.0.2.1    10.100.4.7    open>payments
         open    10.20.1.1    10.100.4.7    open>payments
         open    2001:db9::1  10.100.4.7    open>payments
         open    192.0.2.1    192.0.2.2     unknown
         open    10.100.4.7   10.100.53.1   unknown",
    );
}

#[test]
fn one_table_and_two_tell_what_a_walk_over_all_networks_tells() {
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    // Networks of all lengths over few addresses: nested, equal, and next to each other.
    let mut network = |bits: u64| match random(4) {
        0 => format!("2001:db8::{:x}/{}", random(bits), 128 - random(9)),
        _ => format!("10.0.0.{}/{}", random(bits), 32 - random(9)),
    };
    for all in [2, ONE_TABLE_MAX - 1, ONE_TABLE_MAX, ONE_TABLE_MAX + 1, 40] {
        for round in 0..40 {
            let networks: Vec<String> = (0..all).map(|_| network(256)).collect();
            let (own, home) = networks.split_at(1 + round % (all - 1));
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            let mut segments = vec![segment("own", SegmentKind::Partner, &[ACME], &own)];
            for (network, kind) in
                home.iter().zip([SegmentKind::Workload, SegmentKind::Shared].iter().cycle())
            {
                segments.push(segment(network, *kind, &[], &[network]));
            }
            let locator =
                locator(&PolicySpec { segments: segments.clone(), ..PolicySpec::default() });
            assert_eq!(locator.owners[1].as_ref().unwrap().with_home, all <= ONE_TABLE_MAX);
            for last in 0..=255 {
                let low = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
                for ip in [
                    std::net::Ipv4Addr::new(10, 0, 0, last as u8).into(),
                    std::net::IpAddr::from(low),
                ] {
                    let held = segments.iter().enumerate().flat_map(|(id, s)| {
                        let of = s.networks.iter().filter(move |n| n.contains(&ip));
                        of.map(move |n| (n.prefix_len(), id > 0, std::cmp::Reverse(id)))
                    });
                    let naive = held.max().map(|(.., id)| SegmentId(id.0 as u16));
                    assert_eq!(locator.find(ScopeId(1), ip.into()), naive, "{ip} {own:?} {home:?}");
                }
            }
        }
    }
}

#[test]
fn the_common_scope_tells_all_segments_by_address() {
    table(
        "common  2001:db8::1  10.100.53.1   payments>resolvers
         common  10.20.1.1    2001:db8::1   acme>payments
         common  192.0.2.1    2001:db8::1   unknown
         common  10.99.1.5    2001:db8::1   nlb*>payments",
    );
}

#[test]
fn scopes_follow_the_endpoint() {
    let mut spec = spec();
    let listed = locator(&spec);
    assert_eq!(listed.scope(Some(SHARED)), Some(COMMON_SCOPE));
    assert_eq!(listed.scope(Some(ACME)), Some(ScopeId(1)));
    assert_eq!(listed.scope(Some(EndpointId(0xff))), None);
    assert_eq!(listed.scope(None), None);
    let kept = [0, 1, 2, 3, 9].map(|scope| listed.has_scope(ScopeId(scope)));
    assert_eq!(kept, [true, true, true, true, false]);
    assert_eq!(listed.by_proxy_endpoint(EndpointId(0x77)), Some(SegmentId(0)));
    assert_eq!(listed.scope_of(SegmentId(1)), Some(ScopeId(2)));
    spec.common = CommonEndpoints::Any;
    let any = locator(&spec);
    assert_eq!(any.scope(Some(EndpointId(0xff))), Some(COMMON_SCOPE));
    assert_eq!(any.scope(None), Some(COMMON_SCOPE));
    assert_eq!(any.scope(Some(ACME)), Some(ScopeId(1)));
    spec.common = CommonEndpoints::None;
    assert_eq!(locator(&spec).scope(None), None);
    assert!(!locator(&spec).has_scope(COMMON_SCOPE));
}

#[test]
fn scope_ids_stay_with_their_name_and_are_never_given_again() {
    let mut spec = spec();
    let first = locator(&spec);
    spec.segments.retain(|s| s.name != "acme");
    spec.segments.push(segment("new", SegmentKind::Partner, &[EndpointId(0x99)], &[]));
    let second = Locator::build(&spec, first.registry.clone()).unwrap();
    assert_eq!(second.scope(Some(GLOBEX)), first.scope(Some(GLOBEX)));
    assert_eq!(second.scope(Some(ACME)), None);
    assert!(!second.has_scope(ScopeId(1)) && second.has_scope(ScopeId(4)));
    let addr = |last| Addr::v4([10, 100, 4, last]);
    assert_eq!(second.locate(ScopeId(1), addr(1), addr(2)), Located::Unknown);
    assert_eq!(second.scope(Some(EndpointId(0x99))), Some(ScopeId(4)));
    spec.segments.push(segment("acme", SegmentKind::Partner, &[ACME], &[]));
    let third = Locator::build(&spec, second.registry.clone()).unwrap();
    assert_eq!(third.scope(Some(ACME)), Some(ScopeId(1)));
}

#[test]
fn scope_ids_end_at_their_limit() {
    let mut registry = ScopeRegistry::default();
    for number in 1..=u16::MAX {
        assert_eq!(registry.id(&number.to_string()), Ok(ScopeId(number)));
    }
    assert_eq!(registry.id("one more"), Err(CompileFault::TooManyScopes));
    assert_eq!(registry.id("7"), Ok(ScopeId(7)));
}
