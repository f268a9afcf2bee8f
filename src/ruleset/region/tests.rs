//! The space of flows against a walk over all flows of small worlds: what the algebra calls empty
//! no flow is in, and every flow it names is judged by the production decision as it says.

use super::*;
use crate::model::{
    Action, Addr, ApiId, App, FiveTuple, Ja4, PolicyId, Protocol, RuleId, TlsVersion,
};
use crate::policy::Policy;
use crate::policy::names::{NamePattern, NameSet, TextPattern};
use crate::policy::spec::*;
use proptest::prelude::*;
use std::sync::Arc;

const NAMES: [&str; 5] = ["a.test", "b.a.test", "ab.test", "test", "other.zone"];
const JA4: [[u8; 36]; 2] = [[b'1'; 36], [b'2'; 36]];

fn names(texts: &[&str]) -> Arc<NameSet> {
    Arc::new(NameSet::build(texts.iter().map(|t| NamePattern::parse(t).unwrap())).unwrap())
}

/// Fields of a rule, one letter and one digit each.
pub(crate) fn rule(id: usize, fields: &[(u8, u8)]) -> RuleSpec {
    let mut rule = RuleSpec::new(&format!("r{id}"), Action::Allow);
    for &(field, n) in fields {
        let n = usize::from(n);
        let set = || {
            let all: [&[&str]; 8] = [
                &["a.test"],
                &[".a.test"],
                &["*.test"],
                &["*"],
                &["*b*"],
                &["a*.test", "other.zone"],
                &[".test"],
                &["*a.test", ".zone"],
            ];
            names(all[n % 8])
        };
        let net = |third: u8| match n % 3 {
            0 => vec![format!("10.{third}.0.1/32").parse().unwrap()],
            1 => vec![format!("10.{third}.0.0/31").parse().unwrap()],
            _ => vec!["2001:db8::/32".parse().unwrap()],
        };
        let port = match n % 3 {
            0 => PortRange::one(443),
            1 => PortRange { first: 0, last: 442 },
            _ => PortRange { first: 80, last: 443 },
        };
        match field {
            0 => rule.action = [Action::Allow, Action::Deny, Action::Reject][n % 3],
            1 => {
                let list: [&[u8]; 4] = [&[6], &[17], &[6, 17], &[1, 47]];
                rule.protocols = Some(list[n % 4].iter().map(|p| Protocol(*p)).collect());
            }
            2 => rule.sources = Some(net(0)),
            3 => rule.destinations = Some(net(9)),
            4 => rule.ports = Some(vec![port]),
            5 => rule.icmp = Some(vec![IcmpMatch { kind: 8, code: (n % 2 == 0).then_some(0) }]),
            6 => {
                rule.app =
                    Some([AppMatch::Tls, AppMatch::Quic, AppMatch::Http, AppMatch::Dns][n % 4])
            }
            7 | 8 => rule.domains = Some(set()),
            9 => rule.dns = Some(set()),
            10 => rule.tls.min_version = Some(TlsVersion(0x0302 + (n % 3) as u16)),
            11 => rule.tls.ja4 = Some(vec![Ja4(JA4[0])]),
            12 => rule.midstream = Answer::Allow,
            13 => rule.expires = Some(10),
            16 => rule.answers = Some(net(9)),
            17 => {
                let ids: [&[&str]; 3] = [&["one"], &["one", "two"], &["three"]];
                rule.api_ids =
                    Some(ids[n % 3].iter().filter_map(|id| ApiId::parse(id.as_bytes())).collect());
            }
            14 => {
                rule.domains.get_or_insert_with(|| names(&["*"]));
                rule.bind_dns = true;
            }
            _ => {
                let san = |t: &str| Some(vec![TextPattern::parse(t).unwrap()]);
                rule.tls.client_certificate = Some(CertificateSpec {
                    issuers: (n % 2 == 0).then(|| vec!["CN=one".to_owned()]),
                    names: [None, san("spiffe://one/*"), san(".gw.test"), san("*")][n % 4].clone(),
                    sha256: (n % 5 == 0).then(|| vec![[7; 32]]),
                    in_date: n % 3 == 0,
                });
            }
        }
    }
    if rule.action != Action::Allow {
        rule.expires = None;
    }
    rule
}

pub(crate) fn spec(rules: Vec<RuleSpec>, otherwise: Action, defaults: u8) -> PolicySpec {
    let mut acme = SegmentSpec::new("acme", SegmentKind::Partner);
    acme.networks = vec!["10.0.0.0/30".parse().unwrap(), "2001:db8:1::/64".parse().unwrap()];
    let mut work = SegmentSpec::new("work", SegmentKind::Workload);
    work.networks = vec!["10.9.0.0/30".parse().unwrap(), "2001:db8:9::/64".parse().unwrap()];
    let mut spec = PolicySpec {
        segments: vec![acme, work],
        common: CommonEndpoints::Any,
        policies: vec![BlockSpec {
            location: String::new(),
            from: vec![Selector::Segment("acme".into())],
            to: vec![Selector::Segment("work".into())],
            mode: Mode::Enforce,
            rules,
            otherwise,
        }],
        ..PolicySpec::default()
    };
    if defaults & 1 == 1 {
        spec.defaults.encrypted_client_hello = EncryptedClientHello::Deny;
    }
    if defaults & 2 == 2 {
        spec.defaults.client_certificate_not_visible = Answer::Allow;
    }
    spec
}

/// Every way in which the facts of a flow may turn out.
fn facts(ech_denied: bool) -> Vec<Flow> {
    let base = Flow {
        tuple: FiveTuple::default(),
        icmp: None,
        day: 0,
        app: Some(App::Other),
        domain: Shown::Nothing,
        question: Shown::Nothing,
        version: None,
        ja4: None,
        certificate: None,
        hides_certificate: false,
        bound: false,
        api_id: None,
        answer: None,
        numbers: [0; super::asks::NUMBERS],
    };
    let named = || NAMES.iter().map(|n| Shown::Name((*n).to_owned()));
    let mut all = vec![base.clone(), Flow { app: None, ..base.clone() }];
    let led = [None, Some("10.9.0.1"), Some("10.9.0.2"), Some("2001:db8::1"), Some("::1")];
    for answer in led.map(|to| to.map(|to| Addr::from(to.parse::<std::net::IpAddr>().unwrap()))) {
        let dns = Flow { app: Some(App::Dns), answer, ..base.clone() };
        all.extend(
            named().chain([Shown::Nothing]).map(|question| Flow { question, ..dns.clone() }),
        );
    }
    let hidden = ech_denied.then_some(Shown::Hidden);
    for domain in named().chain([Shown::Nothing]).chain(hidden) {
        for bound in [false, true] {
            if bound && !matches!(domain, Shown::Name(_)) {
                continue;
            }
            let flow = Flow { domain: domain.clone(), bound, ..base.clone() };
            if domain != Shown::Hidden {
                all.push(Flow { app: Some(App::Quic), ..flow.clone() });
                for id in ["", "one", "two", "three", "four"] {
                    let api_id = ApiId::parse(id.as_bytes());
                    all.push(Flow { app: Some(App::Http), api_id, ..flow.clone() });
                }
            }
            for ja4 in JA4 {
                let hello = Flow { ja4: Some(Ja4(ja4)), ..flow.clone() };
                let quic = Flow {
                    app: Some(App::Quic),
                    version: Some(TlsVersion(0x0304)),
                    ..hello.clone()
                };
                all.push(Flow { hides_certificate: true, ..quic });
                let tls = Flow { app: Some(App::Tls), ..hello };
                for version in [0x0302, 0x0303, 0x0304] {
                    let tls = Flow { version: Some(TlsVersion(version)), ..tls.clone() };
                    all.push(Flow { hides_certificate: true, ..tls.clone() });
                    if version == 0x0304 {
                        continue;
                    }
                    all.push(tls.clone());
                    for (issuer, names, sum, in_date) in [
                        ("CN=one", vec!["spiffe://one/x"], [7; 32], true),
                        ("CN=two", vec!["a.gw.test", "spiffe://two"], [8; 32], true),
                        ("CN=one", vec![], [8; 32], true),
                        ("CN=one", vec!["spiffe://one/x"], [7; 32], false),
                        ("CN=two", vec![], [8; 32], false),
                    ] {
                        let certificate = Some(ShownCertificate {
                            issuer: issuer.to_owned(),
                            names: names.iter().map(|n| (*n).to_owned()).collect(),
                            sha256: String::new(),
                            in_date,
                            sum,
                        });
                        all.push(Flow { certificate, ..tls.clone() });
                    }
                }
                all.push(Flow { version: None, ..tls });
            }
        }
    }
    all
}

/// Every flow of the small world.
pub(crate) fn flows(ech_denied: bool) -> Vec<Flow> {
    let facts = facts(ech_denied);
    let addr = |text: &str| Addr::from(text.parse::<std::net::IpAddr>().unwrap());
    let sides = [
        ("10.0.0.1", "10.9.0.1"),
        ("10.0.0.1", "10.9.0.2"),
        ("10.0.0.2", "10.9.0.1"),
        ("2001:db8:1::1", "2001:db8:9::1"),
    ];
    let mut all = Vec::new();
    for (src, dst) in sides {
        for protocol in [1, 6, 17, 47] {
            let protocol = Protocol(protocol);
            for port in if protocol.has_ports() { &[79_u16, 80, 443][..] } else { &[0] } {
                let src_port = if protocol.has_ports() { 40_000 } else { 0 };
                let tuple = FiveTuple {
                    src: addr(src),
                    dst: addr(dst),
                    src_port,
                    dst_port: *port,
                    protocol,
                };
                for flow in &facts {
                    let fits = match flow.app {
                        Some(App::Other) => true,
                        Some(App::Tls | App::Http) => protocol == Protocol::TCP,
                        Some(App::Quic) => protocol == Protocol::UDP,
                        _ => protocol.has_ports(),
                    };
                    for day in [10, 11] {
                        let icmp = (protocol == Protocol::ICMP).then_some((8, day as u8 - 10));
                        if fits {
                            all.push(Flow { tuple, day, icmp, ..flow.clone() });
                        }
                    }
                }
            }
        }
    }
    all
}

pub(crate) fn random_rules() -> impl Strategy<Value = Vec<Vec<(u8, u8)>>> {
    prop::collection::vec(prop::collection::vec((0_u8..18, 0_u8..16), 0..5), 1..6)
}

/// The flows of a policy that meet the first rule and none of the others.
fn remaining(
    spec: &PolicySpec,
    policy: &Policy,
    values: &mut Values,
    wanted: &Asks,
    unwanted: &[&Asks],
) -> Left {
    let all = grounds(spec, &scopes(spec, policy));
    let ground = all.iter().find(|g| g.from.0 == 0 && g.to.0 == 1).unwrap();
    let days = Ranges::span(0, 1000);
    let ech = spec.defaults.encrypted_client_hello;
    let areas = boxes(&ground.sources, &ground.destinations, &days, ech);
    left(areas.iter().filter_map(|area| area.and(wanted)), unwanted, values)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_rule_decides_a_flow_exactly_if_the_algebra_finds_one(
        rules in random_rules(),
        defaults in 0_u8..4,
    ) {
        let rules: Vec<RuleSpec> = rules.iter().enumerate().map(|(id, fields)| rule(id, fields)).collect();
        let spec = spec(rules, Action::Deny, defaults);
        let policy = Policy::compile(&spec, None).unwrap();
        let mut values = Values::default();
        let mut asks: Vec<Asks> = spec.policies[0].rules.iter()
            .map(|rule| Asks::new(rule, &spec.defaults, &mut values)).collect();
        let mut decided = vec![0_usize; asks.len() + 1];
        for flow in flows(defaults & 1 == 1) {
            let verdict = flow.decide(&policy, PolicyId(0)).expect("settled");
            decided[verdict.rule.map_or(asks.len(), |rule| rule.0 as usize)] += 1;
        }
        asks.push(Asks::default());
        for (at, seen) in decided.iter().enumerate() {
            let earlier: Vec<&Asks> = asks[..at].iter().collect();
            match remaining(&spec, &policy, &mut values, &asks[at], &earlier) {
                Left::NotProved => prop_assert!(false, "not proved"),
                Left::Nothing => prop_assert_eq!(*seen, 0, "rule {} of {:?}", at, spec.policies[0].rules),
                Left::Flow(flow) => {
                    let verdict = flow.decide(&policy, PolicyId(0)).expect("settled");
                    let rule = (at + 1 < asks.len()).then_some(RuleId(at as u32));
                    prop_assert_eq!(verdict.rule, rule, "{:?}", flow);
                    let first = asks.iter().position(|asks| flow.meets(asks, &values));
                    prop_assert_eq!(first, Some(at), "{:?}", flow);
                }
            }
        }
    }
}

#[test]
fn boxes_end_at_their_limit() {
    // Every rule cuts one port out of the middle of each of two dimensions: pieces multiply.
    let mut values = Values::default();
    let cut = |n: u16| {
        let mut rule = RuleSpec::new("r", Action::Deny);
        rule.ports = Some(vec![PortRange::one(n * 7 + 1)]);
        rule.source_ports = Some(vec![PortRange { first: n * 3, last: 60_000 }]);
        rule.sources = Some(vec![format!("10.0.{n}.0/24").parse().unwrap()]);
        rule
    };
    let spec = spec(vec![], Action::Deny, 0);
    let policy = Policy::compile(&spec, None).unwrap();
    let rules: Vec<Asks> =
        (0..8).map(|n| Asks::new(&cut(n), &spec.defaults, &mut values)).collect();
    let all: Vec<&Asks> = rules.iter().collect();
    let found = remaining(&spec, &policy, &mut values, &Asks::default(), &all);
    assert!(matches!(found, Left::Flow(_)));
}
