//! From the merged documents to the specification a policy is compiled from, with the place of
//! everything that later checks point at. Sees each segment and policy by itself.

use super::collection::{List, OneOrMany};
use super::diagnostic::{Diagnostic, Findings};
use super::document::{DefaultsDoc, PolicyDoc, SegmentDoc};
use super::merge::Merged;
use super::places::{Places, PolicyPlaces};
use super::quantity::Date;
use super::rules;
use super::scalar::Name;
use super::sets::Sets;
use super::source::{At, Place, Sources};
use super::suggest::nearest;
use super::term::CommonDoc;
use crate::model::{Action, EndpointId};
use crate::policy::spec::{
    BlockSpec, CommonEndpoints, DefaultsSpec, LimitsSpec, PolicySpec, SegmentKind, SegmentSpec,
    Selector,
};

/// A specification and the places it came from.
#[derive(Debug, Default)]
pub(super) struct Built {
    pub(super) spec: PolicySpec,
    pub(super) places: Places,
}

/// Builds; what cannot be built has been reported and is left out.
pub(super) fn build(
    merged: &Merged,
    sets: &Sets,
    sources: &Sources,
    today: Option<Date>,
    findings: &mut Findings,
) -> Built {
    let mut built = Built::default();
    for (name, doc) in &merged.segments {
        built.spec.segments.push(segment(name, doc, sets, findings));
    }
    built.spec.common = match &merged.common {
        None => CommonEndpoints::None,
        Some(CommonDoc::Any(_)) => CommonEndpoints::Any,
        Some(CommonDoc::List(list)) => CommonEndpoints::List(values(list)),
    };
    for doc in &merged.policies {
        policy(doc, &mut built, sets, sources, today, findings);
    }
    built.spec.defaults = defaults(&merged.defaults);
    built
}

fn values(list: &List<At<EndpointId>>) -> Vec<EndpointId> {
    list.items.iter().map(|e| e.value).collect()
}

fn segment(name: &At<Name>, doc: &SegmentDoc, sets: &Sets, findings: &mut Findings) -> SegmentSpec {
    // Without a kind, which has been reported, the segment is still known by its name.
    let kind = doc.kind.as_ref().map_or(SegmentKind::Workload, |k| k.value);
    let about = format!("segment `{}`", name.value.0);
    let mut spec = SegmentSpec::new(&name.value.0, kind);
    if let Some(labels) = &doc.labels {
        let pairs = labels.entries.iter();
        spec.labels = pairs.map(|(k, v)| (k.value.0.clone(), v.value.0.clone())).collect();
    }
    spec.endpoints = doc.endpoints.as_ref().map(values).unwrap_or_default();
    spec.proxy_endpoints = doc.proxy_endpoints.as_ref().map(values).unwrap_or_default();
    spec.networks = match &doc.networks {
        Some(list) if list.is_empty => Vec::new(),
        Some(list) => sets.resolve(&about, list, findings),
        None => Vec::new(),
    };
    spec.trusted_proxy = doc.trusted_proxy.as_ref().is_some_and(|t| t.value);
    if let Some(limits) = &doc.limits {
        spec.limits = LimitsSpec {
            flows: limits.flows.as_ref().map(|n| n.value),
            new_flows_per_second: limits.new_flows_per_second.as_ref().map(|n| n.value),
            held_bytes: limits.held_bytes.as_ref().map(|n| n.value.0),
        };
    }
    spec.midstream = doc.midstream.as_ref().map(|m| m.value);
    spec.owner = doc.owner.as_ref().map(|o| o.value.0.clone());
    spec
}

fn policy(
    doc: &PolicyDoc,
    built: &mut Built,
    sets: &Sets,
    sources: &Sources,
    today: Option<Date>,
    findings: &mut Findings,
) {
    let mut specs = Vec::new();
    for rule in doc.rules.iter().flat_map(|list| &list.items) {
        specs.push(rules::rule(rule, sets, today, findings));
    }
    let (Some(from), Some(to)) = (&doc.from, &doc.to) else { return };
    check_selectors(from, &built.spec.segments, findings);
    check_selectors(to, &built.spec.segments, findings);
    let line = sources.line_column(from.place).line;
    built.places.policies.push(PolicyPlaces::of(doc));
    built.spec.policies.push(BlockSpec {
        location: format!("{}:{line}", sources.name(from.place.file)),
        from: selectors(from),
        to: selectors(to),
        mode: doc.mode.as_ref().map(|m| m.value).unwrap_or_default(),
        rules: specs,
        otherwise: doc.otherwise.as_ref().map_or(Action::Deny, |o| o.value),
    });
}

/// Whether a selector stands for a segment.
#[must_use]
pub fn selects(selector: &Selector, segment: &SegmentSpec) -> bool {
    match selector {
        Selector::Segment(name) => segment.name == *name,
        Selector::Label(key, value) => segment.labels.iter().any(|(k, v)| k == key && v == value),
        Selector::Kind(kind) => segment.kind == *kind,
        Selector::Any => true,
    }
}

/// The selectors of one side.
pub(super) fn selectors(side: &OneOrMany<At<Selector>>) -> Vec<Selector> {
    side.items.iter().map(|s| s.value.clone()).collect()
}

/// Reports selectors that stand for no segment.
pub(super) fn check_selectors(
    side: &OneOrMany<At<Selector>>,
    segments: &[SegmentSpec],
    findings: &mut Findings,
) {
    if side.is_empty {
        let text = "this list names no segment";
        findings.push(Diagnostic::error("empty-list", text).at(side.place, "empty"));
    }
    for selector in &side.items {
        if segments.iter().any(|segment| selects(&selector.value, segment)) {
            continue;
        }
        let finding = match &selector.value {
            Selector::Segment(name) => {
                let finding =
                    Diagnostic::error("unknown-segment", format!("there is no segment `{name}`"))
                        .at(selector.place, "unknown");
                match nearest(name, segments.iter().map(|s| s.name.as_str())) {
                    Some(near) => finding.help(format!("did you mean `{near}`?")),
                    None => finding.help("segments are defined under `segments:`"),
                }
            }
            Selector::Label(key, value) => unknown_label(key, value, selector.place, segments),
            Selector::Kind(SegmentKind::Partner) | Selector::Any => continue,
            Selector::Kind(kind) => {
                let text = format!("there is no segment of kind {}", kind.name());
                Diagnostic::warning("unused-selector", text).at(selector.place, "selects nothing")
            }
        };
        findings.push(finding);
    }
}

fn unknown_label(key: &str, value: &str, place: Place, segments: &[SegmentSpec]) -> Diagnostic {
    let labels: Vec<String> =
        segments.iter().flat_map(|s| &s.labels).map(|(k, v)| format!("{k}:{v}")).collect();
    let finding =
        Diagnostic::error("unknown-label", format!("no segment has the label `{key}:{value}`"))
            .at(place, "unknown");
    match nearest(&format!("{key}:{value}"), labels.iter().map(String::as_str)) {
        Some(near) => finding.help(format!("did you mean `{near}`?")),
        None => finding.help("labels stand under a segment's `labels:`, as `lane: prod`"),
    }
}

fn defaults(doc: &DefaultsDoc) -> DefaultsSpec {
    let mut spec = DefaultsSpec::default();
    let DefaultsDoc {
        place: _,
        written: _,
        unknown_segment,
        fragments,
        midstream,
        encrypted_client_hello,
        client_certificate_not_visible,
        pending_timeout,
        held_bytes_per_flow,
        timeouts,
    } = doc;
    if let Some(v) = unknown_segment {
        spec.unknown_segment = v.value;
    }
    if let Some(v) = fragments {
        spec.fragments = v.value;
    }
    if let Some(v) = midstream {
        spec.midstream = v.value;
    }
    if let Some(v) = encrypted_client_hello {
        spec.encrypted_client_hello = v.value;
    }
    if let Some(v) = client_certificate_not_visible {
        spec.client_certificate_not_visible = v.value;
    }
    if let Some(v) = pending_timeout {
        spec.pending_timeout = v.value;
    }
    if let Some(v) = held_bytes_per_flow {
        spec.held_bytes_per_flow = u32::try_from(v.value.0).unwrap_or(u32::MAX);
    }
    if let Some(v) = timeouts.as_ref().and_then(|t| t.tcp_idle.as_ref()) {
        spec.timeouts.tcp_idle = v.value;
    }
    if let Some(v) = timeouts.as_ref().and_then(|t| t.udp.as_ref()) {
        spec.timeouts.udp = v.value;
    }
    spec
}
