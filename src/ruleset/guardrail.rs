//! Guardrails: traffic that must never be possible, held against the rules of every pair of
//! segments. The proof is simple and errs to one side: what it cannot exclude is an error, either a
//! violation with a witness or `not proved`. It reads rules one by one and intersects no names.
//!
//! What it assumes is the worst: allow rules stand whatever their date, what a monitor policy or
//! `midstream: allow` lets through is let through, every address and every fact that a client can
//! choose is chosen.

use super::build::{Built, check_selectors, selectors, selects};
use super::collection::OneOrMany;
use super::diagnostic::{Diagnostic, Findings};
use super::document::{GuardrailDoc, NeverDoc};
use super::nameless::Nameless;
use super::scalar::ProtocolWord;
use super::sets::Sets;
use super::source::{At, Place};
use crate::model::{Action, Protocol, SegmentId};
use crate::policy::Policy;
use crate::policy::spec::{
    Answer, BlockSpec, Midstream, Mode, PortRange, RuleSpec, SegmentKind, SegmentSpec, Selector,
};
use std::collections::BTreeMap;

/// Findings of one guardrail that are shown; the rest is counted.
const SHOWN_LIMIT: usize = 10;

/// The traffic of one guardrail.
struct Region {
    from: Vec<Selector>,
    to: Vec<Selector>,
    protocols: Option<Vec<Protocol>>,
    ports: Option<Vec<PortRange>>,
    without_names: bool,
    place: Place,
}

/// One point of the traffic of a pair: a protocol, and a destination port where it has any.
#[derive(Clone, Copy)]
struct Point {
    protocol: Protocol,
    port: Option<u16>,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}/{port}", self.protocol),
            None => write!(f, "protocol {}", self.protocol),
        }
    }
}

/// Why traffic of a guardrail passes, or may pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leak {
    /// This rule of this policy; `true` where an earlier denial may stop it.
    Rule(usize, usize, bool),
    /// The policy's `otherwise`.
    Otherwise(usize),
    /// The policy only monitors.
    Monitor(usize),
    /// Flows met in the middle are allowed unseen.
    Midstream,
    /// Flows met in the middle are adopted in whichever orientation a rule allows.
    Adopt(usize),
}

/// Proves every guardrail, or reports why not.
pub(super) fn prove(
    docs: &[GuardrailDoc],
    built: &Built,
    policy: &Policy,
    sets: &Sets,
    findings: &mut Findings,
) {
    let mut nameless = Nameless::default();
    for doc in docs {
        let Some(region) = doc.never.as_ref().and_then(|n| region(n, built, sets, findings)) else {
            continue;
        };
        let mut leaks: BTreeMap<Leak, (String, usize)> = BTreeMap::new();
        let segments = &built.spec.segments;
        let numbered = || (0u16..).map(SegmentId).zip(segments);
        for (f, from) in numbered().filter(|(_, s)| is_from(&region.from, s)) {
            for (t, to) in numbered().filter(|(_, s)| any(&region.to, s)) {
                for (leak, point) in
                    leaks_of((f, from), (t, to), &region, built, policy, &mut nameless)
                {
                    let witness = format!("`{}` to `{}`, {point}", from.name, to.name);
                    let entry = leaks.entry(leak).or_insert((witness, 0));
                    entry.1 = entry.1.saturating_add(1);
                }
            }
        }
        report(&region, leaks, built, findings);
    }
}

fn region(doc: &NeverDoc, built: &Built, sets: &Sets, findings: &mut Findings) -> Option<Region> {
    let (from, to) = (doc.from.as_ref()?, doc.to.as_ref()?);
    check_selectors(from, &built.spec.segments, findings);
    check_selectors(to, &built.spec.segments, findings);
    let protocols = doc.protocol.as_ref().and_then(|list: &OneOrMany<At<ProtocolWord>>| {
        let known: Vec<Protocol> = list.items.iter().filter_map(|p| p.value.0).collect();
        (known.len() == list.items.len()).then_some(known)
    });
    Some(Region {
        from: selectors(from),
        to: selectors(to),
        protocols,
        ports: doc.ports.as_ref().map(|list| sets.resolve("guardrail", list, findings)),
        without_names: doc.without.is_some(),
        place: doc.place,
    })
}

fn any(side: &[Selector], segment: &SegmentSpec) -> bool {
    side.iter().any(|selector| selects(selector, segment))
}

/// Behind a trusted proxy may be any partner.
fn is_from(side: &[Selector], segment: &SegmentSpec) -> bool {
    let proxy = segment.trusted_proxy && side.contains(&Selector::Kind(SegmentKind::Partner));
    proxy || any(side, segment)
}

/// Every way in which traffic of the region passes between two segments, each once.
fn leaks_of(
    (f, from): (SegmentId, &SegmentSpec),
    (t, to): (SegmentId, &SegmentSpec),
    region: &Region,
    built: &Built,
    policy: &Policy,
    nameless: &mut Nameless,
) -> Vec<(Leak, Point)> {
    let mut found: Vec<(Leak, Point)> = Vec::new();
    let block = |f, t| {
        let n = policy.block(f, t)?.0 as usize;
        Some((n, built.spec.policies.get(n)?))
    };
    let points = |block: Option<&BlockSpec>| points(region, block);
    let first = points(None).first().copied();
    let midstream = |s: &SegmentSpec| s.midstream.unwrap_or(built.spec.defaults.midstream);
    let either = |way: Midstream| midstream(from) == way || midstream(to) == way;
    if let Some(first) = first.filter(|_| either(Midstream::Allow)) {
        found.push((Leak::Midstream, first));
    }
    if let Some((n, reverse)) = block(t, f).filter(|_| either(Midstream::Adopt)) {
        let opens = reverse.mode == Mode::Monitor
            || reverse.otherwise == Action::Allow
            || reverse.rules.iter().any(|rule| rule.action == Action::Allow);
        if let Some(first) = first.filter(|_| opens) {
            found.push((Leak::Adopt(n), first));
        }
    }
    let Some((n, block)) = block(f, t) else { return found };
    for point in points(Some(block)) {
        if block.mode == Mode::Monitor {
            found.push((Leak::Monitor(n), point));
            break;
        }
        let leak = scan(n, block, point, (from, to), region, nameless);
        if let Some(leak) = leak.filter(|leak| found.iter().all(|(known, _)| known != leak)) {
            found.push((leak, point));
        }
    }
    found
}

/// Walks the rules at one point.
fn scan(
    number: usize,
    block: &BlockSpec,
    point: Point,
    ends: (&SegmentSpec, &SegmentSpec),
    region: &Region,
    nameless: &mut Nameless,
) -> Option<Leak> {
    let mut denied_in_part = false;
    for (position, rule) in block.rules.iter().enumerate() {
        if !may_match(rule, point, ends) {
            continue;
        }
        if rule.action != Action::Allow {
            if is_unconditional(rule) {
                return None;
            }
            denied_in_part = true;
            continue;
        }
        let asks_for_name = region.without_names
            && rule.midstream == Answer::Deny
            && [&rule.domains, &rule.dns].into_iter().flatten().any(|set| !nameless.is(set));
        if !asks_for_name {
            return Some(Leak::Rule(number, position, denied_in_part));
        }
    }
    (block.otherwise == Action::Allow).then_some(Leak::Otherwise(number))
}

/// Whether a rule can match at a point for these segments, its other conditions taken as met.
fn may_match(rule: &RuleSpec, point: Point, (from, to): (&SegmentSpec, &SegmentSpec)) -> bool {
    let protocol = rule.protocols.as_ref().is_none_or(|list| list.contains(&point.protocol));
    let port = match (&rule.ports, point.port) {
        (None, _) => true,
        (Some(ranges), Some(port)) => ranges.iter().any(|r| r.contains(port)),
        (Some(_), None) => false,
    };
    let source_ports = rule.source_ports.is_none() || point.port.is_some();
    let is_icmp = matches!(point.protocol, Protocol::ICMP | Protocol::ICMPV6);
    let icmp = rule.icmp.is_none() || is_icmp;
    let stream = matches!(point.protocol, Protocol::TCP | Protocol::UDP);
    let inspected = stream || (rule.domains.is_none() && rule.dns.is_none() && rule.app.is_none());
    // Behind a proxy the source address is the proxy's, so that a segment with PrivateLink
    // endpoints can be the sender from any address.
    let sources = !from.proxy_endpoints.is_empty() || overlaps(rule.sources.as_deref(), from);
    protocol
        && port
        && source_ports
        && icmp
        && inspected
        && sources
        && overlaps(rule.destinations.as_deref(), to)
}

/// Whether networks of a rule can hold an address of a segment.
fn overlaps(networks: Option<&[ipnet::IpNet]>, segment: &SegmentSpec) -> bool {
    let Some(networks) = networks else { return true };
    let own = &segment.networks;
    own.is_empty() || networks.iter().any(|a| own.iter().any(|b| a.contains(b) || b.contains(a)))
}

/// Whether a rule depends on nothing but protocol and destination port.
fn is_unconditional(rule: &RuleSpec) -> bool {
    rule.sources.is_none()
        && rule.source_ports.is_none()
        && rule.destinations.is_none()
        && rule.icmp.is_none()
        && rule.app.is_none()
        && rule.domains.is_none()
        && rule.dns.is_none()
        && !rule.bind_dns
        && rule.tls.min_version.is_none()
        && rule.tls.client_certificate.is_none()
        && rule.tls.ja4.is_none()
        && rule.expires.is_none()
}

/// Points that stand for all traffic of the region: each protocol that is named anywhere, and in
/// each the lowest port of every stretch in which no rule's answer changes.
fn points(region: &Region, block: Option<&BlockSpec>) -> Vec<Point> {
    let rules = block.map_or(&[][..], |b| b.rules.as_slice());
    let mut protocols = vec![Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6];
    protocols.extend(rules.iter().flat_map(|r| r.protocols.iter().flatten()).copied());
    protocols.extend(region.protocols.iter().flatten().copied());
    // One that nobody names stands for all others.
    protocols.extend((0..=255).rev().map(Protocol).find(|p| !protocols.contains(p)));
    protocols.sort_unstable();
    protocols.dedup();
    let mut starts = vec![0u16];
    let ranges = rules.iter().flat_map(|r| r.ports.iter().flatten());
    for range in ranges.chain(region.ports.iter().flatten()) {
        starts.push(range.first);
        starts.extend(range.last.checked_add(1));
    }
    starts.sort_unstable();
    starts.dedup();
    let mut points = Vec::new();
    for protocol in protocols {
        if region.protocols.as_ref().is_some_and(|list| !list.contains(&protocol)) {
            continue;
        }
        if !protocol.has_ports() {
            if region.ports.is_none() {
                points.push(Point { protocol, port: None });
            }
            continue;
        }
        let inside = |port: &&u16| {
            region.ports.as_ref().is_none_or(|list| list.iter().any(|r| r.contains(**port)))
        };
        points
            .extend(starts.iter().filter(inside).map(|&port| Point { protocol, port: Some(port) }));
    }
    points
}

fn report(
    region: &Region,
    leaks: BTreeMap<Leak, (String, usize)>,
    built: &Built,
    findings: &mut Findings,
) {
    let total = leaks.len();
    for (leak, (witness, pairs)) in leaks.into_iter().take(SHOWN_LIMIT) {
        let more = match pairs {
            0 | 1 => String::new(),
            n => format!(" and {} more pairs of segments", n.saturating_sub(1)),
        };
        findings.push(finding(leak, region, &format!("{witness}{more}"), built));
    }
    if total > SHOWN_LIMIT {
        let text =
            format!("the guardrail fails in {} more ways", total.saturating_sub(SHOWN_LIMIT));
        findings.push(Diagnostic::error("guardrail", text).at(region.place, "never"));
    }
}

fn finding(leak: Leak, region: &Region, witness: &str, built: &Built) -> Diagnostic {
    let policy = |n: usize| built.places.policies.get(n).map(|p| p.from).unwrap_or_default();
    let names = if region.without_names { " without asking for a name" } else { "" };
    let violated = |how: &str| {
        Diagnostic::error(
            "guardrail-violated",
            format!("guardrail violated: {how}{names}: {witness}"),
        )
        .at(region.place, "this must never be possible")
    };
    match leak {
        Leak::Rule(block, position, in_part) => {
            let rule = built.spec.policies.get(block).and_then(|b| b.rules.get(position));
            let id = rule.map_or("", |r| r.id.as_str());
            let place = built.places.rule(block, position).map(|r| r.id).unwrap_or_default();
            if in_part {
                let text = format!("guardrail not proved: rule `{id}` may allow{names}: {witness}");
                return Diagnostic::error("guardrail-not-proved", text)
                    .at(region.place, "this must never be possible")
                    .also(place, "allowed here, unless an earlier rule with conditions denies it")
                    .help("deny it in a rule of protocol and ports alone, or narrow this rule");
            }
            let finding = violated(&format!("rule `{id}` allows it")).also(place, "allowed here");
            finding.help(if region.without_names {
                "give the rule `domains` or `dns` with names below a registrable domain, and no `midstream: allow`"
            } else {
                "remove or narrow the rule"
            })
        }
        Leak::Otherwise(n) => violated("`otherwise: allow`")
            .also(policy(n), "this policy allows what no rule denies")
            .help("write `otherwise: deny`"),
        Leak::Monitor(n) => violated("a policy in mode monitor lets everything pass")
            .also(policy(n), "this policy")
            .help("write `mode: enforce`"),
        Leak::Midstream => violated("flows met in the middle are allowed unseen")
            .help("write `midstream: deny` for these segments or in `defaults`"),
        Leak::Adopt(n) => {
            let text = format!(
                "guardrail not proved: a flow met in the middle may be adopted backwards: {witness}"
            );
            Diagnostic::error("guardrail-not-proved", text)
                .at(region.place, "this must never be possible")
                .also(policy(n), "the opposite direction is allowed here")
                .help("write `midstream: deny` for these segments or in `defaults`")
        }
    }
}
