//! What does not fit together in a ruleset: endpoints listed twice, segments without traffic,
//! networks in two segments, limits beyond the instance, defaults out of bounds. Looks at no rule.

use super::diagnostic::{Diagnostic, Findings};
use super::document::{DefaultsDoc, SegmentDoc};
use super::merge::Merged;
use super::places::Places;
use super::scalar::Name;
use super::sets::Sets;
use super::source::{At, Place};
use super::term::{CommonDoc, Term};
use crate::model::{Action, EndpointId, PolicyId, SegmentId, Span};
use crate::policy::ambiguities;
use crate::policy::spec::{CommonEndpoints, PolicySpec, SegmentKind};
use ipnet::IpNet;
use std::collections::HashMap;

/// What one instance can carry; the reservations of all segments must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Flows at one time.
    pub flows: u64,
    /// New flows in one second.
    pub new_flows_per_second: u64,
    /// Bytes of held packets.
    pub held_bytes: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { flows: 4 << 20, new_flows_per_second: 1_000_000, held_bytes: 512 << 20 }
    }
}

/// GWLB ends a flow whose first answer takes longer.
const PENDING_LIMIT: Span = Span::from_secs(30);
/// What a GWLB listener takes as TCP idle timeout.
const TCP_IDLE_SECS: std::ops::RangeInclusive<u64> = 60..=6000;
/// One jumbo frame at least, so that a pending flow can hold its first packet.
const HELD_PER_FLOW: std::ops::RangeInclusive<u64> = 9001..=(16 << 20);

/// For every pair of segments one policy decides.
pub(super) fn check_pairs(spec: &PolicySpec, places: &Places, findings: &mut Findings) {
    for found in ambiguities(spec) {
        let name = |id: SegmentId| spec.segments.get(usize::from(id.0)).map_or("", |s| &s.name);
        let place = |id: PolicyId| {
            places.policies.get(id.0 as usize).map(|policy| policy.from).unwrap_or_default()
        };
        let (from, to) = (name(found.from), name(found.to));
        let text = format!("two equally specific policies decide from `{from}` to `{to}`");
        findings.push(
            Diagnostic::error("ambiguous-policy", text)
                .at(place(found.second), "this one")
                .also(place(found.first), "and this one")
                .help("merge them, or make one more specific: a name before a label before a kind before any, `from` first"),
        );
    }
}

/// Checks everything that needs no rule.
pub(super) fn check(
    merged: &Merged,
    spec: &PolicySpec,
    sets: &Sets,
    capacity: Capacity,
    findings: &mut Findings,
) {
    check_endpoints(merged, findings);
    for (name, doc) in &merged.segments {
        check_segment(name, doc, spec, findings);
    }
    check_networks(merged, spec, sets, findings);
    check_shadows(merged, spec, sets, findings);
    check_limits(merged, capacity, findings);
    check_defaults(&merged.defaults, findings);
    let nowhere = spec.common == CommonEndpoints::None
        || matches!(&spec.common, CommonEndpoints::List(list) if list.is_empty());
    if nowhere && spec.segments.iter().all(|s| s.endpoints.is_empty()) && !findings.has_errors() {
        let finding = Diagnostic::error(
            "no-endpoints",
            "neither a segment nor the common scope has endpoints",
        )
        .help("give a partner `endpoints`, or write `common_endpoints` with a list or `any`");
        let first = merged.segments.first().map(|(name, _)| name.place);
        findings.push(match first {
            Some(place) => finding.at(place, "no packet would belong to any segment"),
            None => finding,
        });
    }
}

/// An endpoint belongs to one segment, or to the common scope.
fn check_endpoints(merged: &Merged, findings: &mut Findings) {
    let mut seen: HashMap<EndpointId, Place> = HashMap::new();
    let common = match &merged.common {
        Some(CommonDoc::List(list)) => list.items.as_slice(),
        _ => &[],
    };
    let of_segments = merged.segments.iter().flat_map(|(_, doc)| {
        [&doc.endpoints, &doc.proxy_endpoints].into_iter().flatten().flat_map(|list| &list.items)
    });
    for endpoint in of_segments.chain(common) {
        let first = *seen.entry(endpoint.value).or_insert(endpoint.place);
        if first != endpoint.place {
            let text = format!("endpoint {} is listed twice", endpoint.value);
            findings.push(
                Diagnostic::error("duplicate-endpoint", text)
                    .at(endpoint.place, "again here")
                    .also(first, "first here")
                    .help("an endpoint belongs to one segment, or to the common scope"),
            );
        }
    }
}

fn check_segment(name: &At<Name>, doc: &SegmentDoc, spec: &PolicySpec, findings: &mut Findings) {
    let Some(kind) = &doc.kind else { return };
    let about = format!("segment `{}`", name.value.0);
    let partner = kind.value == SegmentKind::Partner;
    let has = |list: &Option<super::collection::List<At<EndpointId>>>| {
        list.as_ref().is_some_and(|l| !l.is_empty)
    };
    if let Some(list) = doc.endpoints.as_ref().filter(|_| !partner) {
        let text = format!("{about}: only a partner has endpoints of its own");
        findings.push(
            Diagnostic::error("endpoints-of-others", text)
                .at(list.place, "its own scope")
                .also(kind.place, "not a partner")
                .help("list shared inspection endpoints under `common_endpoints`"),
        );
    }
    if let Some(proxy) = doc.trusted_proxy.as_ref().filter(|t| t.value && partner) {
        let text = format!("{about}: a partner's PROXY headers cannot be believed");
        findings.push(
            Diagnostic::error("trusted-partner", text)
                .at(proxy.place, "it could claim to be any other partner")
                .also(kind.place, "a partner")
                .help(
                    "make the load balancer in front a shared segment with `trusted_proxy: true`",
                ),
        );
    }
    let networks = doc.networks.as_ref().is_some_and(|l| !l.is_empty);
    if !partner && !networks {
        let text = format!("{about} holds no network");
        findings.push(
            Diagnostic::error("no-networks", text)
                .at(name.place, "nothing would belong to it")
                .help("give it `networks`"),
        );
    }
    if partner && !has(&doc.endpoints) && !has(&doc.proxy_endpoints) {
        let common = spec.common != CommonEndpoints::None;
        if !(networks && common) {
            let text = format!("{about} can never be told");
            findings.push(
                Diagnostic::error("no-endpoints", text)
                    .at(name.place, "neither endpoints nor networks in a common scope")
                    .help("give it `endpoints` or `proxy_endpoints`; or `networks`, with `common_endpoints`"),
            );
        }
    }
}

/// The same network in two segments that are looked at together: workload and shared segments in
/// every scope, all segments in the common one.
fn check_networks(merged: &Merged, spec: &PolicySpec, sets: &Sets, findings: &mut Findings) {
    let mut seen: HashMap<IpNet, (&str, Place)> = HashMap::new();
    for (name, doc) in &merged.segments {
        let Some(kind) = &doc.kind else { continue };
        if kind.value == SegmentKind::Partner && spec.common == CommonEndpoints::None {
            continue;
        }
        for (net, place) in written(doc, sets) {
            let (other, first) = *seen.entry(net).or_insert((&name.value.0, place));
            if first == place {
                continue;
            }
            let (text, help) = if other == name.value.0 {
                (format!("segment `{other}`: network {net} is listed twice"), "keep one of them")
            } else {
                (
                    format!("network {net} is in `{other}` and in `{}`", name.value.0),
                    "these segments are told apart by address alone; give each network to one of them",
                )
            };
            findings.push(
                Diagnostic::error("duplicate-network", text)
                    .at(place, "again here")
                    .also(first, "first here")
                    .help(help),
            );
        }
    }
}

/// A partner's network inside a workload's: in the partner's scope one of the two would take the
/// other's addresses.
fn check_shadows(merged: &Merged, spec: &PolicySpec, sets: &Sets, findings: &mut Findings) {
    let is_partner =
        |doc: &SegmentDoc| doc.kind.as_ref().is_none_or(|kind| kind.value == SegmentKind::Partner);
    let (partners, homes): (Vec<_>, Vec<_>) =
        merged.segments.iter().partition(|(_, doc)| is_partner(doc));
    let homes: HashMap<IpNet, (&At<Name>, Place)> = homes
        .into_iter()
        .flat_map(|(name, doc)| written(doc, sets).into_iter().map(move |(n, p)| (n, (name, p))))
        .collect();
    for (name, doc) in partners {
        for (net, place) in written(doc, sets) {
            // Equal networks in the common scope are an error already.
            let least =
                if spec.common == CommonEndpoints::None { Some(net) } else { net.supernet() };
            let around = std::iter::successors(least, IpNet::supernet);
            let Some((home, other)) = around.filter_map(|net| homes.get(&net)).next() else {
                continue;
            };
            let text = format!(
                "segment `{}`: network {net} lies in a network of `{}`",
                name.value.0, home.value.0
            );
            findings.push(
                Diagnostic::warning("partner-inside", text)
                    .at(place, "the partner's")
                    .also(*other, "around it")
                    .help("the longer network wins, between equals the partner loses; give each address to one of them"),
            );
        }
    }
}

/// The networks of a segment, each with the place of its words or of its set's name.
pub(super) fn written(doc: &SegmentDoc, sets: &Sets) -> Vec<(IpNet, Place)> {
    let mut all = Vec::new();
    for term in doc.networks.iter().flat_map(|list| &list.items) {
        match &term.value {
            Term::Value(net) => all.push((*net, term.place)),
            Term::Set(name) => all.extend(sets.networks(name).iter().map(|net| (*net, term.place))),
        }
    }
    all
}

/// Reservations must fit what the instance has.
fn check_limits(merged: &Merged, capacity: Capacity, findings: &mut Findings) {
    type Pick = fn(&SegmentDoc) -> Option<(u64, Place)>;
    let flows: Pick = |doc| doc.limits.as_ref()?.flows.as_ref().map(|n| (n.value, n.place));
    let rate: Pick =
        |doc| doc.limits.as_ref()?.new_flows_per_second.as_ref().map(|n| (n.value, n.place));
    let held: Pick = |doc| doc.limits.as_ref()?.held_bytes.as_ref().map(|n| (n.value.0, n.place));
    for (what, total, pick) in [
        ("flows", capacity.flows, flows),
        ("new_flows_per_second", capacity.new_flows_per_second, rate),
        ("held_bytes", capacity.held_bytes, held),
    ] {
        let mut sum = 0u64;
        let mut largest: Option<(u64, Place, &str)> = None;
        for (name, doc) in &merged.segments {
            let Some((value, place)) = pick(doc) else { continue };
            sum = sum.saturating_add(value);
            if largest.is_none_or(|(most, ..)| value > most) {
                largest = Some((value, place, &name.value.0));
            }
            if value == 0 {
                let text = format!("segment `{}`: a reservation of no {what}", name.value.0);
                findings.push(
                    Diagnostic::error("limit-zero", text)
                        .at(place, "nothing would pass")
                        .help("leave it out to share what is not reserved"),
                );
            }
        }
        let Some((most, place, name)) = largest.filter(|_| sum > total) else { continue };
        let text = format!("the segments reserve {sum} {what}, the instance has {total}");
        findings.push(
            Diagnostic::error("limits-exceed-instance", text)
                .at(place, format!("the largest: {most} for `{name}`"))
                .help("lower reservations, or leave them out to share what is not reserved"),
        );
    }
}

fn check_defaults(doc: &DefaultsDoc, findings: &mut Findings) {
    let mut bad = |place: Place, text: String, help: &str| {
        findings.push(Diagnostic::error("bad-default", text).at(place, "out of bounds").help(help));
    };
    if let Some(v) = doc.unknown_segment.as_ref().filter(|v| v.value == Action::Allow) {
        let text = "defaults: what belongs to no segment cannot be allowed".to_owned();
        bad(v.place, text, "write deny or reject");
    }
    if let Some(v) = &doc.pending_timeout
        && (v.value >= PENDING_LIMIT || v.value == Span::ZERO)
    {
        let text = "defaults: pending_timeout is not below 30 s".to_owned();
        bad(v.place, text, "GWLB itself ends a flow without a first answer after 30 s; write 5s");
    }
    if let Some(v) = &doc.held_bytes_per_flow
        && !HELD_PER_FLOW.contains(&v.value.0)
    {
        let text = "defaults: held_bytes_per_flow is out of bounds".to_owned();
        bad(v.place, text, "from 9001 B (one jumbo frame) to 16MiB; 96KiB holds any ClientHello");
    }
    let Some(timeouts) = &doc.timeouts else { return };
    if let Some(v) = &timeouts.tcp_idle
        && !(TCP_IDLE_SECS.contains(&v.value.as_secs()) && v.value <= Span::from_secs(6000))
    {
        let text = "defaults: tcp_idle is not from 60 s to 6000 s".to_owned();
        bad(v.place, text, "write what the load balancer's listener has; 350s unless changed");
    }
    if let Some(v) = &timeouts.udp
        && (v.value < Span::from_secs(1) || v.value > Span::from_secs(6000))
    {
        let text = "defaults: udp is not from 1 s to 6000 s".to_owned();
        bad(v.place, text, "behind GWLB flows other than TCP end after 120s");
    }
}
