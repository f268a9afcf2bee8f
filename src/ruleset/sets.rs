//! Sets: one kind of thing under a name, from documents and from text files, and the lists of rules
//! in which `$name` stands for them. Whether a rule makes sense is not its subject.

use super::collection::List;
use super::decode::Scalar;
use super::diagnostic::{Diagnostic, Findings};
use super::document::SetDoc;
use super::files::Files;
use super::lists;
use super::scalar::{Name, Text};
use super::source::{At, Place};
use super::suggest::nearest;
use super::term::{Domain, Term};
use crate::policy::names::{NamePattern, NameSet};
use crate::policy::spec::PortRange;
use ipnet::IpNet;
use std::collections::HashMap;
use std::sync::Arc;

/// What a set holds.
#[derive(Clone, Debug)]
pub(super) enum Members {
    Domains(Vec<NamePattern>, Arc<NameSet>),
    Networks(Vec<IpNet>),
    Ports(Vec<PortRange>),
    /// Something is wrong with it, which has been reported.
    Broken,
}

impl Members {
    /// The word of the field that defines this kind.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Domains(..) => "domains",
            Self::Networks(_) => "networks",
            Self::Ports(_) => "ports",
            Self::Broken => "broken",
        }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Domains(patterns, _) => patterns.len(),
            Self::Networks(list) => list.len(),
            Self::Ports(list) => list.len(),
            Self::Broken => 0,
        }
    }
}

/// All sets.
#[derive(Debug, Default)]
pub(super) struct Sets {
    by_name: HashMap<String, (Place, Members)>,
    order: Vec<String>,
}

/// What can be in a set.
pub(super) trait Member: Scalar + Sized {
    type Value: Clone;
    const KIND: &'static str;
    fn value(self) -> Self::Value;
    fn of(members: &Members) -> Option<&[Self::Value]>;
}

impl Member for Domain {
    type Value = NamePattern;
    const KIND: &'static str = "domains";

    fn value(self) -> NamePattern {
        self.0
    }

    fn of(members: &Members) -> Option<&[NamePattern]> {
        match members {
            Members::Domains(list, _) => Some(list),
            _ => None,
        }
    }
}

impl Member for IpNet {
    type Value = Self;
    const KIND: &'static str = "networks";

    fn value(self) -> Self {
        self
    }

    fn of(members: &Members) -> Option<&[Self]> {
        match members {
            Members::Networks(list) => Some(list),
            _ => None,
        }
    }
}

impl Member for PortRange {
    type Value = Self;
    const KIND: &'static str = "ports";

    fn value(self) -> Self {
        self
    }

    fn of(members: &Members) -> Option<&[Self]> {
        match members {
            Members::Ports(list) => Some(list),
            _ => None,
        }
    }
}

impl Sets {
    /// Reads all sets and the files they name.
    pub(super) fn read(
        docs: &[(At<Name>, SetDoc)],
        files: &mut Files,
        findings: &mut Findings,
    ) -> Self {
        let mut sets = Self::default();
        for (name, doc) in docs {
            let members = read_set(name, doc, files, findings);
            sets.order.push(name.value.0.clone());
            sets.by_name.insert(name.value.0.clone(), (name.place, members));
        }
        sets
    }

    /// The networks of a set; none if it is no set of networks.
    pub(super) fn networks(&self, name: &Name) -> &[IpNet] {
        let members = self.by_name.get(&name.0);
        members.and_then(|(_, members)| IpNet::of(members)).unwrap_or_default()
    }

    /// Name, kind and number of members of every set, in the order of the documents.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, &'static str, usize)> {
        self.order.iter().filter_map(|name| {
            let (_, members) = self.by_name.get(name)?;
            Some((name.as_str(), members.kind(), members.len()))
        })
    }

    /// The values of a list in which sets may stand; an empty list is an error, because it would
    /// match nothing.
    pub(super) fn resolve<M: Member + Clone>(
        &self,
        about: &str,
        list: &List<At<Term<M>>>,
        findings: &mut Findings,
    ) -> Vec<M::Value> {
        if list.is_empty {
            let text = format!("{about}: this list is empty and matches nothing");
            findings.push(
                Diagnostic::error("empty-list", text)
                    .at(list.place, "empty")
                    .help("leave the field out to match everything"),
            );
        }
        let mut values = Vec::new();
        for term in &list.items {
            match &term.value {
                Term::Value(value) => values.push(value.clone().value()),
                Term::Set(name) => {
                    if let Some(members) = self.lookup(about, name, M::KIND, term.place, findings) {
                        values.extend(M::of(members).unwrap_or_default().iter().cloned());
                    }
                }
            }
        }
        values
    }

    /// The names of a list, compiled. A list that is one set shares that set.
    pub(super) fn names(
        &self,
        about: &str,
        list: &List<At<Term<Domain>>>,
        findings: &mut Findings,
    ) -> Arc<NameSet> {
        if let [At { value: Term::Set(name), place }] = list.items.as_slice() {
            return match self.lookup(about, name, Domain::KIND, *place, findings) {
                Some(Members::Domains(_, set)) => Arc::clone(set),
                _ => Arc::default(),
            };
        }
        let patterns = self.resolve(about, list, findings);
        build(about, patterns, list.place, findings)
    }

    /// A set by name, if it is of the wanted kind.
    fn lookup(
        &self,
        about: &str,
        name: &Name,
        kind: &'static str,
        place: Place,
        findings: &mut Findings,
    ) -> Option<&Members> {
        let Some((defined, members)) = self.by_name.get(&name.0) else {
            let finding =
                Diagnostic::error("unknown-set", format!("{about}: there is no set `{}`", name.0))
                    .at(place, "unknown");
            findings.push(match nearest(&name.0, self.order.iter().map(String::as_str)) {
                Some(near) => finding.help(format!("did you mean `${near}`?")),
                None => finding.help("sets are defined under `sets:`"),
            });
            return None;
        };
        if matches!(members, Members::Broken) {
            return None;
        }
        if members.kind() != kind {
            let text = format!("{about}: set `{}` holds {}, not {kind}", name.0, members.kind());
            findings.push(
                Diagnostic::error("wrong-set-kind", text)
                    .at(place, format!("{kind} are wanted here"))
                    .also(*defined, format!("a set of {}", members.kind()))
                    .help(format!("use a set of {kind}")),
            );
            return None;
        }
        Some(members)
    }
}

fn build(
    about: &str,
    patterns: Vec<NamePattern>,
    place: Place,
    findings: &mut Findings,
) -> Arc<NameSet> {
    NameSet::build(patterns).map(Arc::new).unwrap_or_else(|fault| {
        findings.push(
            Diagnostic::error("limit-names", format!("{about}: {fault}"))
                .at(place, "too many names"),
        );
        Arc::default()
    })
}

/// One set: of one kind, with at least one member.
fn read_set(name: &At<Name>, doc: &SetDoc, files: &mut Files, findings: &mut Findings) -> Members {
    let about = format!("set `{}`", name.value.0);
    let kinds: Vec<&str> = [
        ("domains", doc.domains.is_some() || doc.domains_file.is_some()),
        ("networks", doc.networks.is_some() || doc.networks_file.is_some()),
        ("ports", doc.ports.is_some()),
    ]
    .into_iter()
    .filter_map(|(kind, there)| there.then_some(kind))
    .collect();
    match kinds.as_slice() {
        ["domains"] => {
            let values =
                values(&about, doc.domains.as_ref(), doc.domains_file.as_ref(), files, findings);
            let set = build(&about, values.clone(), name.place, findings);
            Members::Domains(values, set)
        }
        ["networks"] => Members::Networks(values(
            &about,
            doc.networks.as_ref(),
            doc.networks_file.as_ref(),
            files,
            findings,
        )),
        ["ports"] => Members::Ports(values(&about, doc.ports.as_ref(), None, files, findings)),
        // What was written instead has been reported.
        [] if doc.written > usize::from(doc.description.is_some()) => Members::Broken,
        [] => {
            findings.push(
                Diagnostic::error("empty-set", format!("{about} holds nothing"))
                    .at(name.place, "no members")
                    .help("give it domains, domains_file, networks, networks_file or ports"),
            );
            Members::Broken
        }
        several => {
            findings.push(
                Diagnostic::error("mixed-set", format!("{about} holds {}", several.join(" and ")))
                    .at(name.place, "a set holds one kind of thing")
                    .help("make a set for each kind"),
            );
            Members::Broken
        }
    }
}

/// The members of a set from its list and its file.
fn values<M: Member + Clone>(
    about: &str,
    list: Option<&List<At<Term<M>>>>,
    file: Option<&At<Text>>,
    files: &mut Files,
    findings: &mut Findings,
) -> Vec<M::Value> {
    let mut values = Vec::new();
    for term in list.iter().flat_map(|list| &list.items) {
        match &term.value {
            Term::Value(value) => values.push(value.clone().value()),
            Term::Set(inner) => findings.push(
                Diagnostic::error(
                    "nested-set",
                    format!("{about}: a set cannot hold `${}`", inner.0),
                )
                .at(term.place, "a set inside a set")
                .help("name both sets where they are used"),
            ),
        }
    }
    if let Some(list) = list.filter(|list| list.is_empty) {
        findings.push(
            Diagnostic::error("empty-set", format!("{about}: this list is empty"))
                .at(list.place, "no members")
                .help("a set without members would make its rules match nothing"),
        );
    }
    if let Some(path) = file {
        let listed = lists::read::<M>(about, path, files, findings);
        values.extend(listed.into_iter().map(|member| member.value.value()));
    }
    values
}
