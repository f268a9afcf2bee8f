//! What a change of a ruleset does: which flows change their verdict, region by region, each with a
//! flow that shows it; what was written differently; and which of yesterday's real flows would be
//! judged differently. Both rulesets are asked by the production decision function.
//!
//! ```text
//! old, new ─▶ cells: who meets whom under both ─▶ regions: rule against rule ─▶ Change
//!          ─▶ structure: rules, segments, sets, defaults ─▶ Written
//! captures, flow logs ─▶ flows: judged under both ─▶ FlowChange
//! ```

mod cells;
mod describe;
mod flows;
mod html;
mod json;
mod log;
mod markdown;
mod order;
mod regions;
mod structure;
#[cfg(test)]
mod tests;
mod text;

pub use flows::{CHANGED_LIMIT, FLOWS_LIMIT, FlowChange, FlowDiff, FlowFault, Judged, replayed};
pub use html::html;
pub use json::json;
pub use log::of_log;
pub use markdown::{COMMENT_LIMIT_BYTES, markdown};
pub use structure::{Edit, Field, Kind, Written};
pub use text::text;

use crate::model::Action;
use crate::ruleset::region::{Values, Witness};
use crate::ruleset::{Date, Loaded};
use serde::Serialize;

/// What becomes of flows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Outcome {
    /// allow, deny or reject.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// The rule that decides, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The policy only monitors: everything passes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub monitored: bool,
}

impl Outcome {
    /// Whether flows pass.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.verdict == Action::Allow.name()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.rule {
            _ if self.monitored => write!(f, "{} (policy only monitors)", self.verdict),
            Some(rule) => write!(f, "{} by {rule}", self.verdict),
            None => write!(f, "{} ({})", self.verdict, self.reason),
        }
    }
}

/// Flows whose verdict changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The partner it is about; none between segments of other kinds.
    pub partner: Option<String>,
    /// Pairs of segments, sender first. Empty where the addresses belong to no segment.
    pub pairs: Vec<(String, String)>,
    /// What the old ruleset does with them.
    pub old: Outcome,
    /// What the new one does.
    pub new: Outcome,
    /// Which flows, in words: a field and what is asked of it.
    pub flows: Vec<(&'static str, String)>,
    /// One of them, as the new ruleset has it.
    pub witness: Witness,
    /// The same flow as the old one has it.
    pub witness_old: Witness,
}

impl Change {
    /// Whether something passes that did not.
    #[must_use]
    pub fn opens(&self) -> bool {
        self.new.allows() && !self.old.allows()
    }

    /// Whether something that passed does so no longer.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.old.allows() && !self.new.allows()
    }
}

/// Everything a change does.
#[derive(Clone, Debug, Default)]
pub struct Diff {
    /// Regions of flows, those that open first, then by partner and rule.
    pub changes: Vec<Change>,
    /// Pairs of rules for which a bound was met.
    pub not_proved: Vec<String>,
    /// What is written differently.
    pub written: Vec<Written>,
    /// Real flows, if any were given.
    pub flows: Option<FlowDiff>,
}

impl Diff {
    /// Whether nothing changes: no verdict, and nothing that is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
            && self.not_proved.is_empty()
            && self.written.is_empty()
            && self.flows.as_ref().is_none_or(|flows| flows.changed.is_empty())
    }

    /// How many regions open and how many close.
    #[must_use]
    pub fn directions(&self) -> (usize, usize) {
        let count = |which: fn(&Change) -> bool| self.changes.iter().filter(|c| which(c)).count();
        (count(Change::opens), count(Change::closes))
    }

    /// How to ask for the example of a region: the new ruleset, and where the old one has it between
    /// other segments, that one too. A label and a command each; the rulesets are as the user named them.
    fn examples(change: &Change, old: &str, new: &str) -> Vec<(&'static str, String)> {
        let mut all = vec![("for example", change.witness.command(new))];
        if change.witness.arguments() != change.witness_old.arguments() {
            all.push(("before that", change.witness_old.command(old)));
        }
        all
    }

    /// The regions of each partner, in their order.
    #[must_use]
    pub fn by_partner(&self) -> Vec<(Option<&str>, Vec<&Change>)> {
        let mut groups: Vec<(Option<&str>, Vec<&Change>)> = Vec::new();
        for change in &self.changes {
            let partner = change.partner.as_deref();
            match groups.iter_mut().find(|(known, _)| *known == partner) {
                Some((_, list)) => list.push(change),
                None => groups.push((partner, vec![change])),
            }
        }
        groups
    }
}

/// Compares two rulesets; flows are looked at from `today` on.
#[must_use]
pub fn diff(old: &Loaded, new: &Loaded, today: Date) -> Diff {
    let mut values = Values::default();
    let (changes, not_proved) = regions::changes(old, new, today, &mut values);
    Diff { changes, not_proved, written: structure::written(old, new), flows: None }
}
