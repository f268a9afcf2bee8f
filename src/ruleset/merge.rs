//! The documents of a ruleset made one: what is defined twice, and what a partner's file may hold.
//! Looks at no meaning beyond names.

use super::collection::List;
use super::decode::{Decode, Reading};
use super::diagnostic::{Diagnostic, Findings};
use super::document::{DefaultsDoc, Document, GuardrailDoc, PolicyDoc, SegmentDoc, SetDoc};
use super::files::{Files, Role};
use super::scalar::Name;
use super::source::{At, Place};
use super::term::CommonDoc;
use super::yaml;
use crate::policy::spec::{SegmentKind, Selector};
use std::collections::HashMap;

/// Everything the documents say.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) segments: Vec<(At<Name>, SegmentDoc)>,
    pub(super) sets: Vec<(At<Name>, SetDoc)>,
    pub(super) policies: Vec<PolicyDoc>,
    pub(super) guardrails: Vec<GuardrailDoc>,
    pub(super) defaults: DefaultsDoc,
    pub(super) common: Option<CommonDoc>,
    /// A document could not be read at all: what it defines is not known.
    pub(super) is_partial: bool,
}

/// Reads and merges all documents.
pub(super) fn merge(files: &Files, findings: &mut Findings) -> Merged {
    let mut merged = Merged::default();
    let mut defaults_at: Option<Place> = None;
    for &(file, role) in &files.documents {
        let Some(source) = files.sources.get(file) else { continue };
        let mut reading = Reading::default();
        let node = yaml::parse(file, &source.text, &mut reading.findings);
        let document = node.and_then(|node| Document::decode(&node, &mut reading));
        for finding in reading.findings {
            findings.push(finding);
        }
        let Some(document) = document else {
            merged.is_partial = true;
            continue;
        };
        if role == Role::Partner {
            check_partner(&document, findings);
        }
        merged.segments.extend(document.segments.into_iter().flat_map(|t| t.entries));
        merged.sets.extend(document.sets.into_iter().flat_map(|t| t.entries));
        merged.policies.extend(items(document.policies));
        merged.guardrails.extend(items(document.guardrails));
        if let Some(defaults) = document.defaults {
            match defaults_at {
                Some(first) => findings.push(once("defaults", defaults.place, first)),
                None => defaults_at = Some(defaults.place),
            }
            merged.defaults = defaults;
        }
        if let Some(common) = document.common_endpoints {
            if let Some(first) = &merged.common {
                findings.push(once("common_endpoints", common.place(), first.place()));
            }
            merged.common = Some(common);
        }
    }
    unique("segment", merged.segments.iter().map(|(name, _)| name), findings);
    unique("set", merged.sets.iter().map(|(name, _)| name), findings);
    let rules = merged.policies.iter().filter_map(|p| p.rules.as_ref());
    unique("rule", rules.flat_map(|r| &r.items).filter_map(|r| r.id.as_ref()), findings);
    merged
}

fn items<T>(list: Option<List<T>>) -> Vec<T> {
    list.map_or_else(Vec::new, |list| list.items)
}

fn once(what: &str, again: Place, first: Place) -> Diagnostic {
    Diagnostic::error("duplicate-name", format!("{what} may be given once in a ruleset"))
        .at(again, "again here")
        .also(first, "first here")
        .help("keep one of them, in lockgate.yaml")
}

/// Reports names that occur twice, at both places.
fn unique<'a>(what: &str, names: impl Iterator<Item = &'a At<Name>>, findings: &mut Findings) {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    for name in names {
        let first = *seen.entry(&name.value.0).or_insert(name.place);
        if first != name.place {
            let text = format!("{what} `{}` is defined twice", name.value.0);
            findings.push(
                Diagnostic::error("duplicate-name", text)
                    .at(name.place, "again here")
                    .also(first, "first here")
                    .help(format!("give every {what} of the ruleset its own name")),
            );
        }
    }
}

/// A file under `partners/` defines one partner's segment and only policies from or to it, so that
/// it can be reviewed alone.
fn check_partner(document: &Document, findings: &mut Findings) {
    let segments = document.segments.as_ref().map_or(&[][..], |t| t.entries.as_slice());
    let own = segments.first();
    for (name, segment) in segments.iter().skip(1) {
        let text =
            format!("segment `{}`: a file under partners/ defines one segment", name.value.0);
        let finding = Diagnostic::error("partner-file", text).at(name.place, "a second one");
        let finding = match own {
            Some((first, _)) => finding.also(first.place, "the first one"),
            None => finding,
        };
        let other = segment.kind.as_ref().is_some_and(|k| k.value != SegmentKind::Partner);
        findings.push(finding.help(if other {
            "workload and shared segments stand in lockgate.yaml"
        } else {
            "give every partner its own file"
        }));
    }
    match own {
        None => findings.push(
            Diagnostic::error("partner-file", "a file under partners/ defines a partner's segment")
                .at(first_place(document), "no segment in this file")
                .help("add `segments:` with one segment of kind partner"),
        ),
        Some((name, segment)) => {
            if let Some(kind) = segment.kind.as_ref().filter(|k| k.value != SegmentKind::Partner) {
                let text =
                    format!("segment `{}`: a file under partners/ defines a partner", name.value.0);
                findings.push(
                    Diagnostic::error("partner-file", text)
                        .at(kind.place, "another kind")
                        .help("segments of other kinds stand in lockgate.yaml"),
                );
            }
            for policy in document.policies.iter().flat_map(|p| &p.items) {
                check_partner_policy(policy, name, findings);
            }
        }
    }
    let misplaced = [
        ("guardrails", document.guardrails.as_ref().map(|g| g.place)),
        ("defaults", document.defaults.as_ref().map(|d| d.place)),
        ("common_endpoints", document.common_endpoints.as_ref().map(CommonDoc::place)),
    ];
    for (what, place) in misplaced {
        let Some(place) = place else { continue };
        findings.push(
            Diagnostic::error("partner-file", format!("{what} cannot stand in a partner's file"))
                .at(place, "concerns everybody")
                .help("move it to lockgate.yaml"),
        );
    }
}

fn check_partner_policy(policy: &PolicyDoc, own: &At<Name>, findings: &mut Findings) {
    let (Some(from), Some(to)) = (&policy.from, &policy.to) else { return };
    let is_own = |side: &[At<Selector>]| matches!(side, [At { value: Selector::Segment(name), .. }] if *name == own.value.0);
    if is_own(&from.items) || is_own(&to.items) {
        return;
    }
    let text = format!("this policy is neither from nor to `{}`", own.value.0);
    findings.push(
        Diagnostic::error("partner-file", text)
            .at(from.place, "from")
            .also(own.place, "the segment of this file")
            .help("a file under partners/ holds only policies whose `from` or `to` is its own segment; others stand in lockgate.yaml"),
    );
}

fn first_place(document: &Document) -> Place {
    document.lockgate.as_ref().map_or(document.place, |version| version.place)
}
