//! A report over what was seen: who talked to whom, what was asked for, what was denied and why,
//! which rules were used. Collected here, written as one HTML page beside. It reads no files.
//!
//! Everything it keeps is bounded, so that a page over a day of traffic stays a page.

mod chart;
mod denials;
mod explain;
mod matrix;
mod page;
mod tables;
mod text;
mod timeline;

pub use explain::{Explanation, Step, explain};
pub use page::{About, html};
pub use timeline::{BINS_MAX, Timeline};

use crate::engine::Counters;
use crate::model::{Action, Protocol, Reason, Timestamp};
use crate::prove::sighting::Sighting;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Most different names told apart.
pub const NAMES_MAX: usize = 1 << 16;
/// Most different denials told apart.
pub const DENIALS_MAX: usize = 1 << 14;
/// Flows listed of one denial.
pub const FLOWS_OF_DENIAL_MAX: usize = 20;
/// Most pairs of segments; a ruleset's own bound on segments keeps it far below.
pub const PAIRS_MAX: usize = 1 << 16;
/// Most rules told apart that the ruleset does not have (flow logs of another one).
pub const RULES_MAX: usize = 1 << 16;

/// What became of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Allowed.
    Allowed,
    /// It passed because its policy only monitors; enforced it would not have.
    Watched,
    /// Denied.
    Denied,
    /// Rejected.
    Rejected,
    /// It ended before it was decided.
    Undecided,
}

impl Outcome {
    /// Every one, in the order in which they are shown.
    pub const ALL: [Self; 5] =
        [Self::Allowed, Self::Watched, Self::Denied, Self::Rejected, Self::Undecided];

    /// What became of this flow.
    #[must_use]
    pub fn of(sighting: &Sighting) -> Self {
        match (sighting.verdict, sighting.enforced) {
            (None, _) => Self::Undecided,
            (Some(Action::Allow), _) => Self::Allowed,
            (Some(_), false) => Self::Watched,
            (Some(Action::Deny), true) => Self::Denied,
            (Some(Action::Reject), true) => Self::Rejected,
        }
    }

    /// The word for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Watched => "would be denied",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Undecided => "undecided",
        }
    }

    /// The word in the page's style.
    #[must_use]
    const fn class(self) -> &'static str {
        match self {
            Self::Allowed => "allow",
            Self::Watched => "watch",
            Self::Denied => "deny",
            Self::Rejected => "reject",
            Self::Undecided => "pending",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// Flows by outcome, and what they carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// By position in [`Outcome::ALL`].
    pub flows: [u64; 5],
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
}

impl Sums {
    fn add(&mut self, sighting: &Sighting) {
        if let Some(count) = self.flows.get_mut(Outcome::of(sighting).index()) {
            *count = count.saturating_add(1);
        }
        self.packets = self.packets.saturating_add(sighting.packets());
        self.bytes = self.bytes.saturating_add(sighting.bytes());
    }

    /// All flows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.flows.iter().copied().fold(0, u64::saturating_add)
    }

    /// Flows with one outcome.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.flows.get(outcome.index()).copied().unwrap_or(0)
    }

    /// Flows that were, or would be, denied or rejected.
    #[must_use]
    pub fn refused(&self) -> u64 {
        [Outcome::Watched, Outcome::Denied, Outcome::Rejected]
            .iter()
            .map(|outcome| self.of(*outcome))
            .fold(0, u64::saturating_add)
    }
}

/// Flows that were refused for the same thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DenialKey {
    /// What became of them.
    pub outcome: Outcome,
    /// The segment that asked.
    pub from: Box<str>,
    /// The segment that was asked.
    pub to: Box<str>,
    /// IP protocol.
    pub protocol: Protocol,
    /// The server's port; for ICMP its type; else 0.
    pub port: u16,
    /// The name asked for last, or the first question.
    pub name: Option<Box<str>>,
    /// Why.
    pub reason: Option<Reason>,
    /// The rule that decided.
    pub rule: Option<Box<str>>,
}

/// How often something was refused, and the first flows of it.
#[derive(Clone, Debug, Default)]
pub struct Denial {
    /// Flows.
    pub flows: u64,
    /// The earliest of them, at most [`FLOWS_OF_DENIAL_MAX`].
    pub first: Vec<Sighting>,
}

/// What a rule did.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    /// Flows it decided.
    pub flows: u64,
    /// Bytes of both directions of those.
    pub bytes: u64,
    /// End of the last one.
    pub last: Timestamp,
}

/// Everything collected.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All flows.
    pub sums: Sums,
    /// Start of the first flow.
    pub first: Option<Timestamp>,
    /// End of the last flow.
    pub last: Timestamp,
    /// By ordered pair of segments.
    pub pairs: BTreeMap<(Box<str>, Box<str>), Sums>,
    /// By name that clients asked servers for.
    pub names: BTreeMap<Box<str>, Sums>,
    /// By name in DNS questions.
    pub questions: BTreeMap<Box<str>, Sums>,
    /// What was refused.
    pub denials: BTreeMap<DenialKey, Denial>,
    /// What rules did, by their id.
    pub rules: BTreeMap<Box<str>, Hits>,
    /// Flows that found no room in one of the above.
    pub crowded: u64,
    /// Flows over time.
    pub timeline: Timeline,
    /// What the engines counted, if captures were replayed.
    pub counters: Option<Counters>,
}

impl Report {
    /// Adds a flow.
    pub fn add(&mut self, sighting: &Sighting) {
        self.sums.add(sighting);
        self.first = Some(self.first.map_or(sighting.start, |first| first.min(sighting.start)));
        self.last = self.last.max(sighting.end);
        self.timeline.add(sighting.start, Outcome::of(sighting));
        let mut room = true;
        let pair = (sighting.from.clone(), sighting.to.clone());
        room &= bounded(&mut self.pairs, pair, PAIRS_MAX, |sums| sums.add(sighting));
        for name in &sighting.names {
            let sums = |sums: &mut Sums| sums.add(sighting);
            room &= bounded(&mut self.names, name.clone(), NAMES_MAX, sums);
        }
        for name in &sighting.questions {
            let sums = |sums: &mut Sums| sums.add(sighting);
            room &= bounded(&mut self.questions, name.clone(), NAMES_MAX, sums);
        }
        if let Some(rule) = &sighting.rule {
            room &= bounded(&mut self.rules, rule.clone(), RULES_MAX, |hits| {
                hits.flows = hits.flows.saturating_add(1);
                hits.bytes = hits.bytes.saturating_add(sighting.bytes());
                hits.last = hits.last.max(sighting.end);
            });
        }
        if let Some(key) = denial_key(sighting) {
            room &= bounded(&mut self.denials, key, DENIALS_MAX, |denial| denial.add(sighting));
        }
        if !room {
            self.crowded = self.crowded.saturating_add(1);
        }
    }
}

impl Denial {
    /// Keeps the earliest flows, whatever the order they come in.
    fn add(&mut self, sighting: &Sighting) {
        self.flows = self.flows.saturating_add(1);
        let key = |flow: &Sighting| (flow.start, flow.tuple, flow.end);
        let at = self.first.partition_point(|kept| key(kept) <= key(sighting));
        if at < FLOWS_OF_DENIAL_MAX {
            self.first.truncate(FLOWS_OF_DENIAL_MAX.saturating_sub(1));
            self.first.insert(at, sighting.clone());
        }
    }
}

/// What a refused flow was refused for; none for others.
fn denial_key(sighting: &Sighting) -> Option<DenialKey> {
    let outcome = Outcome::of(sighting);
    if matches!(outcome, Outcome::Allowed | Outcome::Undecided) {
        return None;
    }
    let tuple = &sighting.tuple;
    let port = match sighting.icmp {
        Some((kind, _)) => u16::from(kind),
        None if tuple.protocol.has_ports() => tuple.dst_port,
        None => 0,
    };
    Some(DenialKey {
        outcome,
        from: sighting.from.clone(),
        to: sighting.to.clone(),
        protocol: tuple.protocol,
        port,
        name: sighting.names.last().or(sighting.questions.first()).cloned(),
        reason: sighting.reason,
        rule: sighting.rule.clone(),
    })
}

/// Changes an entry, which is made if there is room. Whether there was.
fn bounded<K: Ord, V: Default>(
    map: &mut BTreeMap<K, V>,
    key: K,
    limit: usize,
    change: impl FnOnce(&mut V),
) -> bool {
    let room = map.len() < limit;
    match map.entry(key) {
        Entry::Occupied(mut entry) => change(entry.get_mut()),
        Entry::Vacant(entry) if room => change(entry.insert(V::default())),
        Entry::Vacant(_) => return false,
    }
    true
}
