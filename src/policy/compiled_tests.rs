//! Compiled policies against the rule language's words on segments and pairs.

use super::super::decision::NoTrace;
use super::super::spec::{CommonEndpoints, SegmentKind, Selector};
use super::*;
use crate::model::{FiveTuple, Protocol};

fn spec() -> PolicySpec {
    let mut acme = SegmentSpec::new("acme", SegmentKind::Partner);
    acme.endpoints = vec![EndpointId(1)];
    acme.networks = vec!["10.20.0.0/16".parse().unwrap()];
    acme.proxy_endpoints = vec![EndpointId(7)];
    acme.owner = Some("someone@bank.example".into());
    let mut payments = SegmentSpec::new("payments", SegmentKind::Workload);
    payments.networks = vec!["10.100.0.0/16".parse().unwrap()];
    let rule = |id: &str, expires| RuleSpec { expires, ..RuleSpec::new(id, Action::Allow) };
    let block = |from: &str, mode, rules| BlockSpec {
        location: "lockgate.yaml:1".into(),
        from: vec![Selector::Segment(from.into())],
        to: vec![Selector::Any],
        mode,
        rules,
        otherwise: Action::Reject,
    };
    PolicySpec {
        segments: vec![acme, payments],
        common: CommonEndpoints::Any,
        policies: vec![
            block("acme", Mode::Enforce, vec![rule("one", Some(9)), rule("two", Some(9))]),
            block("payments", Mode::Monitor, vec![rule("three", Some(4))]),
        ],
        ..PolicySpec::default()
    }
}

#[test]
fn a_packet_finds_its_scope_segments_policy_and_rule() {
    let policy = Policy::compile(&spec(), None).unwrap();
    let scope = policy.scope(Some(EndpointId(1))).unwrap();
    let (src, dst) = (Addr::v4([10, 20, 1, 5]), Addr::v4([10, 100, 4, 7]));
    let Located::Pair { from, to, from_proxy: false } = policy.locate(scope, src, dst) else {
        panic!("both sides are known");
    };
    let block = policy.block(from, to).unwrap();
    let tuple = FiveTuple { src, dst, src_port: 1, dst_port: 2, protocol: Protocol::TCP };
    let query = Query::new(block, tuple, Timestamp::ZERO);
    let decision = policy.decide(&query, &Facts::default(), &mut NoTrace);
    let rule = decision.verdict().and_then(|verdict| verdict.rule).unwrap();
    assert_eq!(policy.rule(rule).map(|info| &*info.name), Some("one"));
}

#[test]
fn ids_lead_to_what_was_specified() {
    let policy = Policy::compile(&spec(), None).unwrap();
    let segment = policy.segment(SegmentId(0)).unwrap();
    assert_eq!((&*segment.name, segment.scope), ("acme", Some(ScopeId(1))));
    assert_eq!(policy.segment(SegmentId(1)).unwrap().scope, None);
    assert_eq!(policy.segment(SegmentId(2)).map(|s| s.id), None);
    let second = policy.policy(PolicyId(1)).unwrap();
    assert_eq!((second.first_rule, second.rules), (RuleId(2), 1));
    assert_eq!(policy.rule(RuleId(2)).map(|rule| rule.policy), Some(PolicyId(1)));
    assert_eq!(policy.mode(PolicyId(0)), Mode::Enforce);
    assert_eq!(policy.mode(PolicyId(1)), Mode::Monitor);
    assert_eq!(policy.proxied(SegmentId(1), ProxyIdentity::Proxy), Some(SegmentId(1)));
    let listed = ProxyIdentity::Endpoint(EndpointId(7));
    assert_eq!(policy.proxied(SegmentId(1), listed), Some(SegmentId(0)));
    let unlisted = ProxyIdentity::Endpoint(EndpointId(8));
    assert_eq!(policy.proxied(SegmentId(1), unlisted), None);
}

#[test]
fn verdicts_without_a_rule_have_their_reason() {
    let policy = Policy::compile(&spec(), None).unwrap();
    let undecided = policy.otherwise(PolicyId(0));
    assert_eq!((undecided.action, undecided.reason), (Action::Reject, Reason::Undecided));
    assert_eq!(policy.unknown_segment().reason, Reason::UnknownSegment);
    let query = Query::new(PolicyId(9), FiveTuple::default(), Timestamp::ZERO);
    let decision = policy.decide(&query, &Facts::default(), &mut NoTrace);
    assert_eq!(decision, Decision::Final(Policy::NO_POLICY));
}

#[test]
fn the_next_expiry_is_midnight_after_the_next_last_day() {
    let policy = Policy::compile(&spec(), None).unwrap();
    let day = |days: u64| Timestamp::from_secs(days * 86_400);
    for (now, next) in [
        (Timestamp::ZERO, Some(day(5))),
        (day(5) - crate::model::Span::from_nanos(1), Some(day(5))),
        (day(5), Some(day(10))),
        (day(10), None),
    ] {
        assert_eq!(policy.next_expiry(now), next, "{now}");
    }
}

#[test]
fn a_reload_keeps_the_scope_of_a_segment() {
    let first = Policy::compile(&spec(), None).unwrap();
    let mut changed = spec();
    let mut early = SegmentSpec::new("early", SegmentKind::Partner);
    early.endpoints = vec![EndpointId(3)];
    changed.segments.insert(0, early);
    let second = Policy::compile(&changed, Some(&first)).unwrap();
    assert_eq!(second.scope(Some(EndpointId(1))), first.scope(Some(EndpointId(1))));
    assert_ne!(second.scope(Some(EndpointId(3))), second.scope(Some(EndpointId(1))));
}

#[test]
fn segments_and_rules_end_at_their_limits() {
    let segments = |count: usize| PolicySpec {
        segments: vec![SegmentSpec::new("s", SegmentKind::Shared); count],
        ..PolicySpec::default()
    };
    for (count, fits) in
        [(SEGMENTS_LIMIT - 1, true), (SEGMENTS_LIMIT, true), (SEGMENTS_LIMIT + 1, false)]
    {
        assert_eq!(Policy::compile(&segments(count), None).is_ok(), fits, "{count}");
    }
    let mut many = spec();
    many.policies[0].rules = vec![RuleSpec::new("r", Action::Deny); RULES_LIMIT];
    assert_eq!(Policy::compile(&many, None).err(), Some(CompileFault::TooManyRules));
    many.policies.pop();
    assert!(Policy::compile(&many, None).is_ok());
    many.policies[0].rules.pop();
    assert!(Policy::compile(&many, None).is_ok());
}
