//! What cannot hold together in a flow that somebody writes down, and what would be right. A flow that
//! belongs to nobody contradicts nothing; how it is judged is found elsewhere.

use super::{Candidate, Found, Origin, Probe, facts};
use crate::model::{Addr, SegmentId};
use crate::policy::spec::SegmentSpec;
use crate::ruleset::Loaded;

/// As many networks or endpoints of a segment are named as what would be right.
const NAMED_MAX: usize = 3;

/// What is wrong with a flow whoever it belongs to.
pub(super) fn alone(probe: &Probe) -> Vec<String> {
    let mut wrong = Vec::new();
    let tuple = &probe.tuple;
    if tuple.src.is_v4() != tuple.dst.is_v4() {
        let (src, dst) = (tuple.src, tuple.dst);
        wrong.push(format!(
            "source {src} and destination {dst} are of different families: write both as IPv4 or both \
             as IPv6"
        ));
    }
    wrong.extend(facts::wrong(probe));
    wrong
}

/// Where a flow belongs to other segments than those that are named.
pub(super) fn sides(probe: &Probe, ruleset: &Loaded, found: &Found) -> Vec<String> {
    if let Some(wrong) = endpoint(probe, ruleset, found) {
        return vec![wrong];
    }
    let name =
        |id: SegmentId| ruleset.spec.segments.get(usize::from(id.0)).map(|s| s.name.as_str());
    let held = |candidates: &'_ [Candidate]| -> Option<String> {
        candidates.first().filter(|first| first.looked_at).map(|first| first.segment.clone())
    };
    let (from, to) = match found.pair {
        Some((from, to)) => (name(from).map(str::to_owned), name(to).map(str::to_owned)),
        // A proxy speaks for somebody else.
        None if found.from_proxy => (None, held(&found.destination)),
        None => (held(&found.source), held(&found.destination)),
    };
    if let (Some(from), Some(to)) = (&from, &to)
        && from != to
        && (probe.from.as_ref(), probe.to.as_ref()) == (Some(to), Some(from))
    {
        return vec![format!(
            "the flow goes from {from} to {to}, not from {to} to {from}: write `--from {from} --to {to}`, \
             or turn --source and --destination round"
        )];
    }
    let (src, dst) = (probe.tuple.src, probe.tuple.dst);
    let mut wrong = Vec::new();
    let proxy = held(&found.source).filter(|_| probe.proxy.is_some());
    let plain = held(&found.source)
        .filter(|holder| segment(ruleset, holder).is_some_and(|segment| !segment.trusted_proxy));
    if let (Some(endpoint), Some(holder)) = (probe.proxy_endpoint, plain) {
        wrong.push(format!(
            "source {src} is of {holder}, which is no trusted proxy: leave out --proxy-endpoint {endpoint}, \
             or write an address of a trusted proxy"
        ));
    }
    wrong.extend(side(ruleset, "source", "--proxy", src, probe.proxy.as_ref(), proxy.as_ref()));
    let spoken_for = found.from_proxy && from.is_some() && from != held(&found.source);
    match (&probe.from, &from) {
        (Some(wanted), Some(from)) if spoken_for && wanted != from => wrong.push(format!(
            "the PROXY header says that the flow is of {from}, not of {wanted}: write `--from {from}`, or a \
             --proxy-endpoint of {wanted}"
        )),
        (wanted, from) => {
            wrong.extend(side(ruleset, "source", "--from", src, wanted.as_ref(), from.as_ref()));
        }
    }
    wrong.extend(side(ruleset, "destination", "--to", dst, probe.to.as_ref(), to.as_ref()));
    wrong
}

/// An endpoint of one partner, and another partner named.
fn endpoint(probe: &Probe, ruleset: &Loaded, found: &Found) -> Option<String> {
    let (endpoint, Origin::Segment(owner)) = (probe.endpoint?, &found.origin) else { return None };
    let sides = [("--from", &probe.from), ("--to", &probe.to)];
    if sides.iter().any(|(_, name)| name.as_ref() == Some(owner)) {
        return None;
    }
    let other = |(flag, name): (&'static str, &Option<String>)| {
        let segment = segment(ruleset, name.as_ref()?)?;
        (!segment.endpoints.is_empty()).then_some((flag, segment))
    };
    let (flag, other) = sides.into_iter().find_map(other)?;
    Some(format!(
        "endpoint {endpoint} is of {owner}, not of {other}: write `{flag} {owner}`, or an endpoint of \
         {other} ({endpoints})",
        endpoints = listed(&other.endpoints),
        other = other.name,
    ))
}

/// An address that belongs to another segment than the one named.
fn side(
    ruleset: &Loaded,
    what: &str,
    flag: &str,
    addr: Addr,
    wanted: Option<&String>,
    held: Option<&String>,
) -> Option<String> {
    let (wanted, held) = (wanted?, held?);
    if wanted == held {
        return None;
    }
    let networks = segment(ruleset, wanted).map_or(&[][..], |segment| &segment.networks);
    let family = networks.iter().filter(|net| net.addr().is_ipv4() == addr.is_v4());
    let right = match listed(family) {
        none if none.is_empty() => String::new(),
        networks => format!(", or an address of {wanted} ({networks})"),
    };
    Some(format!("{what} {addr} is of {held}, not of {wanted}: write `{flag} {held}`{right}"))
}

fn segment<'r>(ruleset: &'r Loaded, name: &str) -> Option<&'r SegmentSpec> {
    ruleset.spec.segments.iter().find(|segment| segment.name == name)
}

/// The first few of a list.
fn listed(all: impl IntoIterator<Item = impl ToString>) -> String {
    let mut texts: Vec<String> =
        all.into_iter().take(NAMED_MAX.saturating_add(1)).map(|one| one.to_string()).collect();
    if texts.len() > NAMED_MAX {
        texts.truncate(NAMED_MAX);
        texts.push("...".to_owned());
    }
    texts.join(", ")
}
