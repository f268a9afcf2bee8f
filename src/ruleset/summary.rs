//! What a ruleset holds, counted for people and programs. Judges nothing.

use super::quantity::Date;
use super::sets::Sets;
use crate::model::Action;
use crate::policy::spec::{CommonEndpoints, Mode, PolicySpec, SegmentKind};
use serde::Serialize;
use std::fmt;

/// Rules that expire within so many days are listed.
pub const EXPIRING_DAYS: u32 = 30;

/// Counts of a ruleset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Documents read.
    pub documents: usize,
    /// Segments of kind partner.
    pub partners: usize,
    /// Segments of kind workload.
    pub workloads: usize,
    /// Segments of kind shared.
    pub shared: usize,
    /// GWLB endpoints of partners.
    pub endpoints: usize,
    /// Endpoints of the common scope; `any` as none.
    pub common_endpoints: Option<usize>,
    /// Policies.
    pub policies: usize,
    /// Of these, policies that only monitor.
    pub monitoring: usize,
    /// Rules that allow.
    pub allow: usize,
    /// Rules that deny.
    pub deny: usize,
    /// Rules that reject.
    pub reject: usize,
    /// Rules that ask for a name.
    pub named: usize,
    /// Guardrails.
    pub guardrails: usize,
    /// Sets.
    pub sets: Vec<SetCount>,
    /// Reserved by all segments together: flows, new flows a second, held bytes.
    pub reserved: [u64; 3],
    /// Rules that have expired or will within [`EXPIRING_DAYS`].
    pub expiring: Vec<Expiring>,
}

/// One set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetCount {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: &'static str,
    /// How many.
    pub members: usize,
}

/// One rule near its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expiring {
    /// Its id.
    pub rule: String,
    /// Days until the last day on which it stands; negative if that has passed.
    pub days: i64,
}

impl Summary {
    pub(super) fn new(
        spec: &PolicySpec,
        sets: &Sets,
        documents: usize,
        guardrails: usize,
        today: Option<Date>,
    ) -> Self {
        let kind = |kind| spec.segments.iter().filter(|s| s.kind == kind).count();
        let rules = || spec.policies.iter().flat_map(|p| &p.rules);
        let action = |action| rules().filter(|r| r.action == action).count();
        let sum = |pick: fn(&crate::policy::spec::LimitsSpec) -> Option<u64>| {
            let all = spec.segments.iter().filter_map(|s| pick(&s.limits));
            all.fold(0u64, u64::saturating_add)
        };
        let expiring = rules().filter_map(|rule| {
            let days = i64::from(rule.expires?).saturating_sub(i64::from(today?.days()));
            (days <= i64::from(EXPIRING_DAYS)).then(|| Expiring { rule: rule.id.clone(), days })
        });
        Self {
            documents,
            partners: kind(SegmentKind::Partner),
            workloads: kind(SegmentKind::Workload),
            shared: kind(SegmentKind::Shared),
            endpoints: spec.segments.iter().map(|s| s.endpoints.len()).sum(),
            common_endpoints: match &spec.common {
                CommonEndpoints::None => Some(0),
                CommonEndpoints::List(list) => Some(list.len()),
                CommonEndpoints::Any => None,
            },
            policies: spec.policies.len(),
            monitoring: spec.policies.iter().filter(|p| p.mode == Mode::Monitor).count(),
            allow: action(Action::Allow),
            deny: action(Action::Deny),
            reject: action(Action::Reject),
            named: rules().filter(|r| r.domains.is_some() || r.dns.is_some()).count(),
            guardrails,
            sets: sets
                .counts()
                .map(|(name, kind, members)| SetCount { name: name.to_owned(), kind, members })
                .collect(),
            reserved: [sum(|l| l.flows), sum(|l| l.new_flows_per_second), sum(|l| l.held_bytes)],
            expiring: expiring.collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let common = self.common_endpoints.map_or("any".to_owned(), |n| n.to_string());
        writeln!(f, "documents   {}", self.documents)?;
        writeln!(
            f,
            "segments    {} partner, {} workload, {} shared",
            self.partners, self.workloads, self.shared
        )?;
        writeln!(f, "endpoints   {} of partners, {common} common", self.endpoints)?;
        writeln!(f, "policies    {}, {} of them only monitor", self.policies, self.monitoring)?;
        writeln!(
            f,
            "rules       {} allow, {} deny, {} reject; {} ask for a name",
            self.allow, self.deny, self.reject, self.named
        )?;
        writeln!(f, "guardrails  {} proved", self.guardrails)?;
        let [flows, rate, held] = self.reserved;
        writeln!(f, "reserved    {flows} flows, {rate} new flows/s, {held} held bytes")?;
        for set in &self.sets {
            writeln!(f, "set         {}: {} {}", set.name, set.members, set.kind)?;
        }
        for rule in &self.expiring {
            match rule.days {
                days if days < 0 => writeln!(f, "expired     {}", rule.rule)?,
                days => writeln!(f, "expires     {} in {days} days", rule.rule)?,
            }
        }
        Ok(())
    }
}
