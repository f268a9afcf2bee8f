//! Where segments, sets, policies, rules and their conditions were written, for whoever reports about
//! them after the ruleset was read. Holds places, no meaning.

use super::check::written;
use super::collection::List;
use super::document::{PolicyDoc, RuleDoc};
use super::merge::Merged;
use super::sets::Sets;
use super::source::{At, Place};
use super::term::{CertificateDoc, Domain, Term};
use crate::policy::Condition;
use crate::policy::names::NamePattern;
use crate::policy::spec::Selector;
use ipnet::IpNet;
use std::collections::HashSet;

/// The places of a ruleset's policies, by [`crate::model::PolicyId`].
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Each policy.
    pub policies: Vec<PolicyPlaces>,
    /// Each segment, by [`crate::model::SegmentId`].
    pub segments: Vec<SegmentPlaces>,
    /// Each set.
    pub sets: Vec<SetPlaces>,
    /// Segments that a guardrail names.
    pub guarded: Vec<String>,
}

/// The places of a segment.
#[derive(Clone, Debug, Default)]
pub struct SegmentPlaces {
    /// Its name.
    pub name: Place,
    /// Its networks, also those out of sets.
    pub networks: Vec<(IpNet, Place)>,
}

/// The places of a set.
#[derive(Clone, Debug, Default)]
pub struct SetPlaces {
    /// Its name.
    pub name: String,
    /// Where it is defined.
    pub place: Place,
    /// Whether a rule, a segment or a guardrail uses it.
    pub used: bool,
    /// Names that are written in the document itself.
    pub names: Vec<(NamePattern, Place)>,
}

/// An entry of `domains` or `dns`.
#[derive(Clone, Debug)]
pub struct NameTerm {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub written: WrittenName,
}

/// A name as it is written in a rule.
#[derive(Clone, Debug)]
pub enum WrittenName {
    /// A pattern.
    Pattern(NamePattern),
    /// A set, by its position.
    Set(usize),
}

/// The places of one policy.
#[derive(Clone, Debug, Default)]
pub struct PolicyPlaces {
    /// Its `from`.
    pub from: Place,
    /// Its `otherwise`, if it is written.
    pub otherwise: Option<Place>,
    /// Its rules, in order.
    pub rules: Vec<RulePlaces>,
}

/// The places of one rule.
#[derive(Clone, Debug, Default)]
pub struct RulePlaces {
    /// Its id.
    pub id: Place,
    /// Its action.
    pub action: Place,
    /// Its conditions, in the order of the language.
    pub conditions: Vec<(Condition, Place)>,
    /// Names that stand in the rule itself, and sets of names it uses.
    pub names: Vec<NameTerm>,
}

impl Places {
    /// The places of a rule, by its policy and its position there.
    #[must_use]
    pub fn rule(&self, policy: usize, position: usize) -> Option<&RulePlaces> {
        self.policies.get(policy)?.rules.get(position)
    }

    /// With the places of segments and sets, and of the names of rules.
    pub(super) fn complete(mut self, merged: &Merged, sets: &Sets) -> Self {
        let names: Vec<&str> = merged.sets.iter().map(|(name, _)| name.value.0.as_str()).collect();
        let docs = merged.policies.iter().filter(|doc| doc.from.is_some() && doc.to.is_some());
        for (policy, doc) in self.policies.iter_mut().zip(docs) {
            let docs = doc.rules.iter().flat_map(|list| &list.items);
            for (rule, doc) in policy.rules.iter_mut().zip(docs) {
                rule.names = terms(doc, &names);
            }
        }
        let used = used(merged);
        self.segments = merged
            .segments
            .iter()
            .map(|(name, doc)| SegmentPlaces { name: name.place, networks: written(doc, sets) })
            .collect();
        let sets = merged.sets.iter().map(|(name, doc)| SetPlaces {
            name: name.value.0.clone(),
            place: name.place,
            used: used.contains(name.value.0.as_str()),
            names: patterns(doc.domains.as_ref()),
        });
        self.sets = sets.collect();
        let nevers = merged.guardrails.iter().filter_map(|doc| doc.never.as_ref());
        let sides = nevers.flat_map(|never| never.from.iter().chain(&never.to));
        self.guarded = sides
            .flat_map(|side| &side.items)
            .filter_map(|selector| match &selector.value {
                Selector::Segment(name) => Some(name.clone()),
                _ => None,
            })
            .collect();
        self
    }
}

impl PolicyPlaces {
    /// The place of `otherwise`, or of the policy where it is left out.
    #[must_use]
    pub fn otherwise(&self) -> Place {
        self.otherwise.unwrap_or(self.from)
    }

    pub(super) fn of(doc: &PolicyDoc) -> Self {
        Self {
            from: doc.from.as_ref().map_or(doc.place, |from| from.place),
            otherwise: doc.otherwise.as_ref().map(|otherwise| otherwise.place),
            rules: doc.rules.iter().flat_map(|list| &list.items).map(RulePlaces::of).collect(),
        }
    }
}

impl RulePlaces {
    /// The place of a condition by its field; of the id if it is not there.
    #[must_use]
    pub fn field(&self, name: &str) -> Place {
        let found = self.conditions.iter().find(|(condition, _)| condition.name() == name);
        found.map_or(self.id, |(_, place)| *place)
    }

    fn of(doc: &RuleDoc) -> Self {
        let tls = doc.tls.as_ref();
        let ja4 = tls.and_then(|tls| tls.ja4.as_ref()).map(|list| list.place);
        let min_version = tls.and_then(|tls| tls.min_version.as_ref()).map(|at| at.place);
        let certificate = tls.filter(|tls| tls.client_certificate.is_some()).map(|tls| tls.place);
        let like = tls.and_then(|tls| match &tls.client_certificate {
            Some(CertificateDoc::Like(fields)) => Some(fields),
            _ => None,
        });
        let issuer = like.and_then(|fields| fields.issuer.as_ref()).map(|list| list.place);
        let san = like.and_then(|fields| fields.san.as_ref()).map(|list| list.place);
        let sha256 = like.and_then(|fields| fields.sha256.as_ref()).map(|list| list.place);
        let in_date = like.and_then(|fields| fields.in_date.as_ref()).map(|at| at.place);
        let conditions = [
            (Condition::Protocol, doc.protocol.as_ref().map(|list| list.place)),
            (Condition::Sources, doc.sources.as_ref().map(|list| list.place)),
            (Condition::SourcePorts, doc.source_ports.as_ref().map(|list| list.place)),
            (Condition::Destinations, doc.destinations.as_ref().map(|list| list.place)),
            (Condition::Ports, doc.ports.as_ref().map(|list| list.place)),
            (Condition::Icmp, doc.icmp.as_ref().map(|list| list.place)),
            (Condition::Expires, doc.expires.as_ref().map(|at| at.place)),
            (Condition::App, doc.app.as_ref().map(|at| at.place)),
            (Condition::Domains, doc.domains.as_ref().map(|list| list.place)),
            (Condition::Dns, doc.dns.as_ref().map(|list| list.place)),
            (Condition::Answers, doc.answers.as_ref().map(|list| list.place)),
            (Condition::ApiId, doc.api_id.as_ref().map(|list| list.place)),
            (Condition::Bind, doc.bind.as_ref().map(|at| at.place)),
            (Condition::Ja4, ja4),
            (Condition::MinVersion, min_version),
            (Condition::ClientCertificate, certificate),
            (Condition::CertificateIssuer, issuer),
            (Condition::CertificateSan, san),
            (Condition::CertificateSha256, sha256),
            (Condition::CertificateInDate, in_date),
        ];
        let there = |(condition, place): (Condition, Option<Place>)| Some((condition, place?));
        Self {
            id: doc.id.as_ref().map_or(doc.place, |id| id.place),
            action: doc.action.as_ref().map_or(doc.place, |action| action.place),
            conditions: conditions.into_iter().filter_map(there).collect(),
            names: Vec::new(),
        }
    }
}

fn patterns(list: Option<&List<At<Term<Domain>>>>) -> Vec<(NamePattern, Place)> {
    let items = list.iter().flat_map(|list| &list.items);
    let pattern = |term: &At<Term<Domain>>| match &term.value {
        Term::Value(domain) => Some((domain.0.clone(), term.place)),
        Term::Set(_) => None,
    };
    items.filter_map(pattern).collect()
}

fn terms(doc: &RuleDoc, sets: &[&str]) -> Vec<NameTerm> {
    let names = doc.domains.iter().chain(&doc.dns).flat_map(|list| &list.items);
    let term = |term: &At<Term<Domain>>| {
        let written = match &term.value {
            Term::Value(domain) => WrittenName::Pattern(domain.0.clone()),
            Term::Set(name) => WrittenName::Set(sets.iter().position(|set| *set == name.0)?),
        };
        Some(NameTerm { place: term.place, written })
    };
    names.filter_map(term).collect()
}

/// The sets that anything uses.
fn used(merged: &Merged) -> HashSet<&str> {
    fn names<T>(list: Option<&List<At<Term<T>>>>) -> impl Iterator<Item = &str> {
        let items = list.into_iter().flat_map(|list| &list.items);
        items.filter_map(|term| match &term.value {
            Term::Set(name) => Some(name.0.as_str()),
            Term::Value(_) => None,
        })
    }
    let mut used = HashSet::new();
    for (_, doc) in &merged.segments {
        used.extend(names(doc.networks.as_ref()));
    }
    for never in merged.guardrails.iter().filter_map(|doc| doc.never.as_ref()) {
        used.extend(names(never.ports.as_ref()));
    }
    for rule in merged.policies.iter().flat_map(|p| &p.rules).flat_map(|rules| &rules.items) {
        used.extend(names(rule.sources.as_ref()));
        used.extend(names(rule.destinations.as_ref()));
        used.extend(names(rule.source_ports.as_ref()));
        used.extend(names(rule.ports.as_ref()));
        used.extend(names(rule.domains.as_ref()));
        used.extend(names(rule.dns.as_ref()));
    }
    used
}
