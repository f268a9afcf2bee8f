//! A suggestion as files: one ruleset document, or a folder with a file for each partner, and rule
//! tests beside. Every text that comes from packets has passed the name parser before.

use super::draft::{Draft, DraftRule, RuleNames};
use super::tally::Tally;
use super::{Suggestion, word};
use crate::model::{Action, Protocol, Timestamp};
use crate::policy::spec::{
    Answer, AppMatch, CommonEndpoints, DefaultsSpec, EncryptedClientHello, FragmentMode, Midstream,
    Mode, PolicySpec, SegmentKind, SegmentSpec,
};
use crate::prove::yaml::{list, plain, ports, wrapped};
use std::collections::BTreeSet;
use std::fmt::Write;

/// A file of the suggestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Relative to the folder.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Tests of one rule at most; names beyond are left to the rule.
const TESTS_OF_RULE_MAX: usize = 20;
/// A name nobody can have (RFC 6761 section 6.4).
const UNSEEN: &str = "not-seen.invalid";
/// Columns of comments that explain.
const WIDTH: usize = 98;

/// The suggestion as one document that is a ruleset by itself.
#[must_use]
pub fn single(suggestion: &Suggestion, spec: &PolicySpec, mode: Mode) -> String {
    let mut out = head(suggestion);
    out.push_str("lockgate: 1\n");
    common(&mut out, spec);
    out.push_str("\nsegments:\n");
    for segment in needed(suggestion, spec) {
        self::segment(&mut out, segment);
    }
    out.push_str("\npolicies:\n");
    for draft in &suggestion.policies {
        policy(&mut out, draft, mode);
    }
    if suggestion.policies.is_empty() {
        out.truncate(out.len() - 1);
        out.push_str(" []\n");
    }
    defaults(&mut out, spec);
    out
}

/// The suggestion as a ruleset folder: `lockgate.yaml`, a file for each partner, and tests.
#[must_use]
pub fn documents(suggestion: &Suggestion, spec: &PolicySpec, mode: Mode) -> Vec<Document> {
    let needed = needed(suggestion, spec);
    let file_of = |draft: &Draft| partner_of(draft, spec);
    let partners: BTreeSet<&str> = suggestion.policies.iter().filter_map(file_of).collect();
    let mut root = head(suggestion);
    root.push_str("lockgate: 1\n");
    common(&mut root, spec);
    root.push_str("\nsegments:\n");
    for segment in needed.iter().filter(|s| !partners.contains(s.name.as_str())) {
        self::segment(&mut root, segment);
    }
    let rest: Vec<&Draft> =
        suggestion.policies.iter().filter(|draft| file_of(draft).is_none()).collect();
    if !rest.is_empty() {
        root.push_str("\npolicies:\n");
        rest.iter().for_each(|draft| policy(&mut root, draft, mode));
    }
    defaults(&mut root, spec);
    let mut documents = vec![Document { path: "lockgate.yaml".into(), text: root }];
    for partner in partners {
        let mut text =
            String::from("# Suggested by `lockgate suggest`; read it before it ships.\n");
        text.push_str("lockgate: 1\n\nsegments:\n");
        needed.iter().filter(|s| s.name == partner).for_each(|s| self::segment(&mut text, s));
        text.push_str("\npolicies:\n");
        let own = suggestion.policies.iter().filter(|draft| file_of(draft) == Some(partner));
        own.for_each(|draft| policy(&mut text, draft, mode));
        documents.push(Document { path: format!("partners/{partner}.yaml"), text });
    }
    if let Some(text) = tests(suggestion) {
        documents.push(Document { path: "tests/suggested.yaml".into(), text });
    }
    documents
}

/// The partner whose file a policy stands in: the one that asks, else the one that is asked.
fn partner_of<'s>(draft: &Draft, spec: &'s PolicySpec) -> Option<&'s str> {
    let partner = |name: &str| {
        let found = spec.segments.iter().find(|s| s.name == name);
        found.filter(|s| s.kind == SegmentKind::Partner).map(|s| s.name.as_str())
    };
    partner(&draft.from).or_else(|| partner(&draft.to))
}

/// Every segment but partners that have no part in it: they are told apart by their endpoints, so
/// their traffic belongs nowhere without them, unless addresses alone tell segments apart.
fn needed<'s>(suggestion: &Suggestion, spec: &'s PolicySpec) -> Vec<&'s SegmentSpec> {
    let takes_part =
        |name: &str| suggestion.policies.iter().any(|d| d.from == name || d.to == name);
    let by_address = spec.common != CommonEndpoints::None || suggestion.policies.is_empty();
    let keep =
        |s: &&SegmentSpec| s.kind != SegmentKind::Partner || by_address || takes_part(&s.name);
    spec.segments.iter().filter(keep).collect()
}

fn head(suggestion: &Suggestion) -> String {
    let Suggestion { flows, allowed, warnings, .. } = suggestion;
    let mut out = format!(
        "# Suggested by `lockgate suggest`: the smallest policy that allows {allowed} of {flows} \
         flows seen.\n# Read it before it ships.\n"
    );
    for warning in warnings {
        out.push_str("#\n");
        for line in wrapped(warning, WIDTH - 4) {
            let _ = writeln!(out, "# {line}");
        }
    }
    out
}

fn common(out: &mut String, spec: &PolicySpec) {
    let _ = match &spec.common {
        CommonEndpoints::None => return,
        CommonEndpoints::Any => writeln!(out, "\ncommon_endpoints: any"),
        CommonEndpoints::List(endpoints) => {
            writeln!(out, "\ncommon_endpoints: {}", list(endpoints.iter()))
        }
    };
}

fn segment(out: &mut String, segment: &SegmentSpec) {
    let _ = writeln!(out, "  {}:\n    kind: {}", plain(&segment.name), segment.kind.name());
    if !segment.labels.is_empty() {
        let labels: Vec<String> =
            segment.labels.iter().map(|(k, v)| format!("{}: {}", plain(k), plain(v))).collect();
        let _ = writeln!(out, "    labels: {{ {} }}", labels.join(", "));
    }
    for (field, endpoints) in
        [("endpoints", &segment.endpoints), ("proxy_endpoints", &segment.proxy_endpoints)]
    {
        if !endpoints.is_empty() {
            let _ = writeln!(out, "    {field}: {}", list(endpoints.iter()));
        }
    }
    if !segment.networks.is_empty() {
        let _ = writeln!(out, "    networks: {}", list(segment.networks.iter()));
    }
    if segment.trusted_proxy {
        out.push_str("    trusted_proxy: true\n");
    }
    let limits = &segment.limits;
    let numbers = [
        ("flows", limits.flows),
        ("new_flows_per_second", limits.new_flows_per_second),
        ("held_bytes", limits.held_bytes),
    ];
    let numbers: Vec<String> =
        numbers.iter().filter_map(|(name, n)| n.map(|n| format!("{name}: {n}"))).collect();
    if !numbers.is_empty() {
        let _ = writeln!(out, "    limits: {{ {} }}", numbers.join(", "));
    }
    match segment.midstream {
        None => {}
        Some(Midstream::Allow) => out.push_str(
            "    midstream: deny   # it was allow, which opens more than the rules say\n",
        ),
        Some(other) => drop(writeln!(out, "    midstream: {}", midstream(other))),
    }
    if let Some(owner) = &segment.owner {
        let _ = writeln!(out, "    owner: {}", plain(owner));
    }
}

const fn midstream(word: Midstream) -> &'static str {
    match word {
        Midstream::Deny => "deny",
        Midstream::Reject => "reject",
        Midstream::Allow => "allow",
        Midstream::Adopt => "adopt",
    }
}

fn policy(out: &mut String, draft: &Draft, mode: Mode) {
    let _ = writeln!(out, "  - from: {}\n    to: {}", plain(&draft.from), plain(&draft.to));
    out.push_str(match mode {
        Mode::Enforce => "    mode: enforce\n    rules:\n",
        Mode::Monitor => "    mode: monitor\n    rules:\n",
    });
    draft.rules.iter().for_each(|rule| self::rule(out, rule));
    out.push_str("    otherwise: deny\n");
}

fn rule(out: &mut String, rule: &DraftRule) {
    if let Some(tally) = &rule.tally {
        let _ = writeln!(out, "      # {}", seen(tally));
    }
    for note in &rule.notes {
        for line in wrapped(note, WIDTH - 8) {
            let _ = writeln!(out, "      # {line}");
        }
    }
    let action = rule.action.name();
    let _ = writeln!(out, "      - id: {}\n        action: {action}", plain(&rule.id));
    let protocols: Vec<String> = rule.protocols.iter().map(ToString::to_string).collect();
    let _ = match protocols.as_slice() {
        [one] => writeln!(out, "        protocol: {one}"),
        many => writeln!(out, "        protocol: [{}]", many.join(", ")),
    };
    if let Some(destinations) = &rule.destinations {
        let _ = writeln!(out, "        destinations: {}", list(destinations.iter()));
    }
    if !rule.ports.is_empty() {
        let _ = writeln!(out, "        ports: [{}]", ports(&rule.ports));
    }
    if !rule.icmp.is_empty() {
        let types: Vec<String> = rule.icmp.iter().map(|message| icmp(*message, rule)).collect();
        let _ = writeln!(out, "        icmp: [{}]", types.join(", "));
    }
    if let Some(app) = rule.app {
        let _ = writeln!(out, "        app: {}", word(app));
    }
    match &rule.names {
        RuleNames::No => {}
        RuleNames::Any => out.push_str("        domains: [\"*\"]\n"),
        RuleNames::Domains(names) => counted(out, "domains", names),
        RuleNames::Questions(names) => counted(out, "dns", names),
    }
    if let Some(version) = rule.min_version {
        let _ = writeln!(out, "        tls: {{ min_version: \"{version}\" }}");
    }
}

/// An echo request by its name, others by type and code.
fn icmp((kind, code): (u8, u8), rule: &DraftRule) -> String {
    let echo = match rule.protocols.as_slice() {
        [Protocol::ICMP] => 8,
        [Protocol::ICMPV6] => 128,
        _ => return format!("\"{kind}/{code}\""),
    };
    if (kind, code) == (echo, 0) { "echo-request".into() } else { format!("\"{kind}/{code}\"") }
}

fn counted(out: &mut String, field: &str, names: &[(Box<str>, Tally)]) {
    let _ = writeln!(out, "        {field}:");
    let texts: Vec<String> = names.iter().map(|(name, _)| plain(name)).collect();
    let width = texts.iter().map(String::len).max().unwrap_or(0).min(60);
    for (text, (_, tally)) in texts.iter().zip(names) {
        let _ = writeln!(out, "          - {text:width$}  # {}", seen(tally));
    }
}

/// `3 flows, 2026-11-21 15:41:37 to 15:42:01`.
fn seen(tally: &Tally) -> String {
    let (first, last) = (moment(tally.first), moment(tally.last));
    let flows = if tally.flows == 1 { "flow" } else { "flows" };
    let when = match (first.split_once(' '), last.split_once(' ')) {
        _ if first == last => first,
        (Some((day, _)), Some((same, clock))) if day == same => format!("{first} to {clock}"),
        _ => format!("{first} to {last}"),
    };
    format!("{} {flows}, {when}", tally.flows)
}

/// To the second, UTC.
fn moment(time: Timestamp) -> String {
    time.to_string().replace('T', " ").chars().take(19).collect()
}

/// What differs from what stands where nothing is said.
fn defaults(out: &mut String, spec: &PolicySpec) {
    let (given, usual) = (&spec.defaults, DefaultsSpec::default());
    let mut lines = Vec::new();
    if given.unknown_segment != usual.unknown_segment {
        lines.push(format!("unknown_segment: {}", given.unknown_segment.name()));
    }
    if given.fragments == FragmentMode::Deny {
        lines.push("fragments: deny".into());
    }
    match given.midstream {
        Midstream::Deny => {}
        Midstream::Allow => {
            lines.push(
                "midstream: deny   # it was allow, which opens more than the rules say".into(),
            );
        }
        other => lines.push(format!("midstream: {}", midstream(other))),
    }
    if given.encrypted_client_hello == EncryptedClientHello::Deny {
        lines.push("encrypted_client_hello: deny".into());
    }
    if given.client_certificate_not_visible == Answer::Allow {
        lines.push("client_certificate_not_visible: allow".into());
    }
    if given.pending_timeout != usual.pending_timeout {
        lines.push(format!("pending_timeout: {}ms", given.pending_timeout.as_millis()));
    }
    if given.held_bytes_per_flow != usual.held_bytes_per_flow {
        lines.push(format!("held_bytes_per_flow: {}", given.held_bytes_per_flow));
    }
    if given.timeouts != usual.timeouts {
        let (tcp, udp) = (given.timeouts.tcp_idle.as_millis(), given.timeouts.udp.as_millis());
        lines.push(format!("timeouts: {{ tcp_idle: {tcp}ms, udp: {udp}ms }}"));
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "\ndefaults:\n  {}", lines.join("\n  "));
    }
}

/// For every rule flows that it allows, and one beside it that it does not; none if no rule is about
/// a flow that can be written down.
fn tests(suggestion: &Suggestion) -> Option<String> {
    let mut out = String::from(
        "# Suggested by `lockgate suggest`: what was seen is allowed, and something beside it is not.\n\
         lockgate-test: 1\nflows:\n",
    );
    let head = out.len();
    for draft in &suggestion.policies {
        for rule in draft.rules.iter().filter(|rule| rule.action == Action::Allow) {
            tests_of(&mut out, draft, rule);
        }
    }
    (out.len() > head).then_some(out)
}

fn tests_of(out: &mut String, draft: &Draft, rule: &DraftRule) {
    let mut line = |tally: &Tally, what: Option<String>, ends: &str| {
        let (from, to, tuple) = (plain(&draft.from), plain(&draft.to), &tally.example);
        let (src, dst) = (plain(&tuple.src.to_string()), plain(&tuple.dst.to_string()));
        let _ = write!(out, "  - {{ from: {from}, to: {to}, source: {src}, destination: {dst},");
        let _ = write!(out, "\n      protocol: {}", tuple.protocol);
        if tuple.protocol.has_ports() {
            let _ = write!(out, ", port: {}", tuple.dst_port);
        }
        if let Some(what) = what {
            let _ = write!(out, ", {what}");
        }
        let _ = writeln!(out, ", {ends} }}");
    };
    let allowed = format!("verdict: allow, rule: {}", plain(&rule.id));
    let app = rule.app.map(|app| format!("app: {}", word(app)));
    let (field, names) = match &rule.names {
        RuleNames::Domains(names) => ("domain", names.as_slice()),
        RuleNames::Questions(names) => ("dns", names.as_slice()),
        RuleNames::No | RuleNames::Any => ("", &[][..]),
    };
    let asked = |name: &str| {
        let app = app.as_ref().map_or_else(String::new, |app| format!("{app}, "));
        Some(format!("{app}{field}: {}", plain(name)))
    };
    for (name, tally) in names.iter().take(TESTS_OF_RULE_MAX) {
        line(tally, asked(name), &allowed);
    }
    if let Some((_, tally)) = names.first() {
        line(tally, asked(UNSEEN), "verdict: deny");
    } else if let Some(tally) = rule.tally.as_ref().filter(|_| rule.app != Some(AppMatch::Http)) {
        // A flow that is written down has a host if it is HTTP.
        let message = rule.icmp.first().map(|message| format!("icmp: {}", icmp(*message, rule)));
        line(tally, message.or(app), &allowed);
    }
}
