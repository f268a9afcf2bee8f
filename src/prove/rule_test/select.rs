//! Which flows an expectation is about, and whether a flow is what is expected.

use crate::engine::record::FlowRecord;
use crate::model::{Action, Addr, FiveTuple, SegmentId};
use crate::policy::Policy;
use crate::policy::spec::PortRange;
use crate::prove::observed::Flow;
use crate::ruleset::{Chosen, Expected, FlowPattern, FlowSelector, Named, Outcome};
use ipnet::IpNet;
use std::net::IpAddr;

/// Whether an expectation that is not about the rest is about this flow.
pub(super) fn is_chosen(chosen: &Chosen, flow: &Flow, policy: &Policy) -> bool {
    match chosen {
        Chosen::Flow(pattern) => fits_pattern(pattern, &flow.record.tuple),
        Chosen::Flows(selector) => fits_selector(selector, &flow.record, policy),
        Chosen::Rest => false,
    }
}

/// Whether a flow has these addresses.
pub fn fits_pattern(pattern: &FlowPattern, tuple: &FiveTuple) -> bool {
    let side = |(address, port): (Option<IpAddr>, Option<u16>), addr: Addr, own: u16| {
        address.is_none_or(|address| Addr::from(address) == addr)
            && port.is_none_or(|port| tuple.protocol.has_ports() && port == own)
    };
    side(pattern.source, tuple.src, tuple.src_port)
        && side(pattern.destination, tuple.dst, tuple.dst_port)
        && pattern.protocol.is_none_or(|protocol| protocol == tuple.protocol)
}

fn fits_selector(selector: &FlowSelector, record: &FlowRecord, policy: &Policy) -> bool {
    let tuple = &record.tuple;
    let network = |networks: &[IpNet], addr: Addr| {
        networks.is_empty() || networks.iter().any(|network| network.contains(&addr.to_ip()))
    };
    let port = |ranges: &[PortRange], port: u16| {
        ranges.is_empty()
            || tuple.protocol.has_ports() && ranges.iter().any(|range| range.contains(port))
    };
    let segment = |names: &[String], id: Option<SegmentId>| {
        names.is_empty() || segment(id, policy).is_some_and(|name| names.iter().any(|n| n == name))
    };
    segment(&selector.from, record.from)
        && segment(&selector.to, record.to)
        && (selector.endpoint.is_empty()
            || record.endpoint.is_some_and(|endpoint| selector.endpoint.contains(&endpoint)))
        && network(&selector.source, tuple.src)
        && network(&selector.destination, tuple.dst)
        && port(&selector.source_port, tuple.src_port)
        && port(&selector.port, tuple.dst_port)
        && (selector.protocol.is_empty() || selector.protocol.contains(&tuple.protocol))
        && selector.app.is_none_or(|app| record.found.app.is_some_and(|found| app.is(found)))
        && selector.domain.as_ref().is_none_or(|set| asked_for(set, record))
        && selector.dns.as_ref().is_none_or(|set| questioned(set, record))
        && (selector.rule.is_empty()
            || rule(record, policy).is_some_and(|name| selector.rule.iter().any(|r| r == name)))
        && (selector.verdict.is_empty() || selector.verdict.contains(&outcome(record)))
        && (selector.reason.is_empty()
            || record.verdict.is_some_and(|verdict| selector.reason.contains(&verdict.reason)))
}

/// Whether a flow is what is expected of it.
pub(super) fn meets(expected: &Expected, record: &FlowRecord, policy: &Policy) -> bool {
    (expected.verdict.is_empty() || expected.verdict.contains(&outcome(record)))
        && expected.rule.as_deref().is_none_or(|name| rule(record, policy) == Some(name))
        && expected.reason.is_none_or(|reason| record.verdict.is_some_and(|v| v.reason == reason))
        && expected.domain.as_ref().is_none_or(|set| asked_for(set, record))
        && expected.dns.as_ref().is_none_or(|set| questioned(set, record))
}

fn asked_for(named: &Named, record: &FlowRecord) -> bool {
    record.found.names.all().iter().any(|name| named.set.contains(name))
}

fn questioned(named: &Named, record: &FlowRecord) -> bool {
    record.found.questions.all().iter().any(|name| named.set.contains(name))
}

/// What was said of a flow.
pub fn outcome(record: &FlowRecord) -> Outcome {
    match record.verdict.map(|verdict| verdict.action) {
        None => Outcome::Pending,
        Some(Action::Allow) => Outcome::Allow,
        Some(Action::Deny) => Outcome::Deny,
        Some(Action::Reject) => Outcome::Reject,
    }
}

/// The name of the rule that decided a flow.
pub fn rule<'p>(record: &FlowRecord, policy: &'p Policy) -> Option<&'p str> {
    let id = record.verdict?.rule?;
    policy.rule(id).map(|rule| &*rule.name)
}

fn segment(id: Option<SegmentId>, policy: &Policy) -> Option<&str> {
    policy.segment(id?).map(|segment| &*segment.name)
}

/// What is expected, in words.
pub(super) fn expected_text(expected: &Expected) -> String {
    let mut text = match expected.verdict.as_slice() {
        [] => "any verdict".to_owned(),
        verdicts => {
            let words: Vec<&str> = verdicts.iter().map(|verdict| verdict.name()).collect();
            words.join(" or ")
        }
    };
    if let Some(rule) = &expected.rule {
        text.push_str(&format!(" by rule {rule}"));
    }
    if let Some(reason) = expected.reason {
        text.push_str(&format!(", reason {}", reason.name()));
    }
    for (what, named) in [("domain", &expected.domain), ("dns", &expected.dns)] {
        if let Some(named) = named {
            text.push_str(&format!(", {what} {}", named.text));
        }
    }
    text
}

/// What happened to a flow, in the same words.
pub(super) fn happened_text(record: &FlowRecord, policy: &Policy) -> String {
    let mut text = outcome(record).name().to_owned();
    match (rule(record, policy), record.verdict) {
        (Some(rule), _) => text.push_str(&format!(" by rule {rule}")),
        (None, Some(verdict)) => text.push_str(&format!(", reason {}", verdict.reason.name())),
        (None, None) => {}
    }
    if !record.enforced {
        text.push_str(" (not enforced: mode monitor)");
    }
    for (what, names) in [("domain", &record.found.names), ("dns", &record.found.questions)] {
        if let Some(first) = names.first() {
            text.push_str(&format!(", {what} {first}"));
        }
        if names.all().len() > 1 {
            text.push_str(&format!(" and {} more", names.all().len().saturating_sub(1)));
        }
    }
    text
}
