//! Where policies, rules and their conditions were written, for whoever reports about them after the
//! ruleset was read. Holds places, no meaning.

use super::document::{PolicyDoc, RuleDoc};
use super::source::Place;
use crate::policy::Condition;

/// The places of a ruleset's policies, by [`crate::model::PolicyId`].
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Each policy.
    pub policies: Vec<PolicyPlaces>,
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
}

impl Places {
    /// The places of a rule, by its policy and its position there.
    #[must_use]
    pub fn rule(&self, policy: usize, position: usize) -> Option<&RulePlaces> {
        self.policies.get(policy)?.rules.get(position)
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
    fn of(doc: &RuleDoc) -> Self {
        let tls = doc.tls.as_ref();
        let ja4 = tls.and_then(|tls| tls.ja4.as_ref()).map(|list| list.place);
        let min_version = tls.and_then(|tls| tls.min_version.as_ref()).map(|at| at.place);
        let certificate = tls.filter(|tls| tls.client_certificate.is_some()).map(|tls| tls.place);
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
            (Condition::Bind, doc.bind.as_ref().map(|at| at.place)),
            (Condition::Ja4, ja4),
            (Condition::MinVersion, min_version),
            (Condition::ClientCertificate, certificate),
        ];
        let written = |(condition, place): (Condition, Option<Place>)| Some((condition, place?));
        Self {
            id: doc.id.as_ref().map_or(doc.place, |id| id.place),
            action: doc.action.as_ref().map_or(doc.place, |action| action.place),
            conditions: conditions.into_iter().filter_map(written).collect(),
        }
    }
}
