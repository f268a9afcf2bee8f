//! What a partner was seen to ask for, added up, and which flows no rule is made of, and why.
//! Writes no rules.

use crate::model::{Action, Addr, FiveTuple, Protocol, Reason, Timestamp, TlsVersion};
use crate::policy::names::NamePattern;
use crate::policy::{NoTrace, Policy, Query};
use crate::prove::sighting::{Sighting, UNKNOWN};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Most different things that are told apart; flows beyond are counted as left out.
pub const ASKS_MAX: usize = 1 << 18;

/// Most different APIs that one rule is said to be about.
pub const APIS_MAX: usize = 8;

/// What a flow asked for: everything a rule could ask of it, without the client's own address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ask {
    /// The segment that asks.
    pub from: Box<str>,
    /// The segment that is asked.
    pub to: Box<str>,
    /// IP protocol.
    pub protocol: Protocol,
    /// The server.
    pub destination: Addr,
    /// The server's port; 0 for protocols without ports.
    pub port: u16,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// The application protocol's word; none if it was not recognised, or is another one within
    /// (CONNECT).
    pub app: Option<Box<str>>,
    /// Names came behind something that has none (STARTTLS, SOCKS).
    pub behind: bool,
    /// Names asked for, in order of the alphabet.
    pub names: Vec<Box<str>>,
    /// Names in DNS questions, likewise.
    pub questions: Vec<Box<str>>,
}

/// How often something was seen, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Flows.
    pub flows: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
    /// Flows in which the client showed a certificate.
    pub certificates: u64,
    /// Those in which it was valid by its dates when the flow began.
    pub in_date: u64,
    /// Flows whose last request named an API.
    pub named_apis: u64,
    /// Which, at most [`APIS_MAX`] and one more.
    pub apis: BTreeSet<Box<str>>,
    /// Flows of which the TLS version is known, and the lowest of those.
    pub versions: Option<(u64, TlsVersion)>,
    /// Start of the first flow.
    pub first: Timestamp,
    /// End of the last flow.
    pub last: Timestamp,
    /// One of the flows, for tests and for people.
    pub example: FiveTuple,
}

impl Tally {
    fn of(sighting: &Sighting) -> Self {
        Self {
            flows: 1,
            packets: sighting.packets(),
            bytes: sighting.bytes(),
            certificates: u64::from(sighting.certificate.is_some()),
            in_date: u64::from(
                sighting
                    .certificate
                    .as_ref()
                    .is_some_and(|c| c.is_in_date(sighting.start.as_secs())),
            ),
            named_apis: u64::from(sighting.api_id.is_some()),
            apis: sighting.api_id.iter().map(|id| id.as_str().into()).collect(),
            versions: sighting.tls_version.map(|version| (1, version)),
            first: sighting.start,
            last: sighting.end,
            example: sighting.tuple,
        }
    }

    /// Both together. The example is that of the earlier one, so that the order does not show.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        let earlier = (self.first, self.example) <= (other.first, other.example);
        Self {
            flows: self.flows.saturating_add(other.flows),
            packets: self.packets.saturating_add(other.packets),
            bytes: self.bytes.saturating_add(other.bytes),
            certificates: self.certificates.saturating_add(other.certificates),
            in_date: self.in_date.saturating_add(other.in_date),
            named_apis: self.named_apis.saturating_add(other.named_apis),
            apis: self.apis.union(&other.apis).take(APIS_MAX.saturating_add(1)).cloned().collect(),
            versions: match (self.versions, other.versions) {
                (Some((some, low)), Some((more, other))) => {
                    Some((some.saturating_add(more), low.min(other)))
                }
                (one, other) => one.or(other),
            },
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            example: if earlier { self.example } else { other.example },
        }
    }
}

/// Why no rule is made of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// It was denied, and the denial was carried out.
    Denied,
    /// The engine refuses it whatever the rules say.
    Refused(Reason),
    /// Nobody answered.
    Unanswered,
    /// It was met in the middle: who opened it is not known.
    Midstream,
    /// A side belongs to no segment.
    UnknownSegment,
    /// It asked for a name that no rule can hold.
    Unwritable,
    /// It asked for more names than its record holds.
    TooManyNames,
    /// It came when [`ASKS_MAX`] different things had been seen.
    Full,
}

impl LeftOut {
    /// What is said of so many flows.
    #[must_use]
    pub fn explain(self) -> String {
        match self {
            Self::Denied => "denied; --denied suggests rules for them too".into(),
            Self::Refused(reason) => {
                let why = reason.explain();
                format!("refused whatever the rules say ({}: {why})", reason.name())
            }
            Self::Unanswered => "never answered; --unanswered suggests rules for them too".into(),
            Self::Midstream => "met in the middle, so that who opened them is not known".into(),
            Self::UnknownSegment => "with a side that belongs to no segment".into(),
            Self::Unwritable => "asking for a name that no rule can hold".into(),
            Self::TooManyNames => "asking for more names than a record holds".into(),
            Self::Full => format!("coming after {ASKS_MAX} different things had been seen"),
        }
    }
}

/// Which flows rules are made of.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only flows from or to these segments; all if empty.
    pub segments: Vec<String>,
    /// Also flows that were denied.
    pub denied: bool,
    /// Also flows that nobody answered.
    pub unanswered: bool,
}

/// Everything seen, added up.
#[derive(Clone, Debug, Default)]
pub struct Tallies {
    wanted: Wanted,
    /// What rules are made of.
    pub asks: BTreeMap<Ask, Tally>,
    /// What no rule is made of although one could be: it must stay denied.
    pub unwanted: BTreeMap<Ask, Tally>,
    /// Flows no rule is made of.
    pub left_out: BTreeMap<LeftOut, u64>,
    /// Flows looked at.
    pub flows: u64,
    /// Flows of segments nobody asked about.
    pub others: u64,
}

impl Tallies {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(wanted: Wanted) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Adds a flow that this policy judged. A denied DNS question leaves its flow going on, so each
    /// question of an enforced flow is judged again, and those that were denied are not wanted.
    pub fn add_judged(&mut self, mut sighting: Sighting, policy: &Policy) {
        let several = sighting.questions.len() > 1 && sighting.enforced && !self.wanted.denied;
        if several && sighting.verdict == Some(Action::Allow) {
            let questions = std::mem::take(&mut sighting.questions);
            let allowed = |question: &str| {
                let mut one = sighting.clone();
                one.questions = vec![question.into()];
                decide(&one, policy).is_none_or(|action| action == Action::Allow)
            };
            sighting.questions = questions.into_iter().filter(|q| allowed(q)).collect();
        }
        self.add(&sighting);
    }

    /// Adds a flow.
    pub fn add(&mut self, sighting: &Sighting) {
        let about = |name: &String| **name == *sighting.from || **name == *sighting.to;
        if !self.wanted.segments.is_empty() && !self.wanted.segments.iter().any(about) {
            self.others = self.others.saturating_add(1);
            return;
        }
        self.flows = self.flows.saturating_add(1);
        let left_out = self.left_out(sighting);
        let into = match left_out {
            None => &mut self.asks,
            Some(LeftOut::Denied | LeftOut::Unanswered) => &mut self.unwanted,
            Some(why) => return self.leave_out(why),
        };
        let (ask, tally) = (ask(sighting), Tally::of(sighting));
        let room = into.len() < ASKS_MAX;
        match into.entry(ask) {
            Entry::Occupied(mut known) => *known.get_mut() = known.get().with(&tally),
            Entry::Vacant(place) if room => drop(place.insert(tally)),
            Entry::Vacant(_) => return self.leave_out(LeftOut::Full),
        }
        if let Some(why) = left_out {
            self.leave_out(why);
        }
    }

    fn leave_out(&mut self, why: LeftOut) {
        let count = self.left_out.entry(why).or_default();
        *count = count.saturating_add(1);
    }

    fn left_out(&self, sighting: &Sighting) -> Option<LeftOut> {
        let names = || sighting.names.iter().chain(&sighting.questions);
        if &*sighting.from == UNKNOWN || &*sighting.to == UNKNOWN {
            return Some(LeftOut::UnknownSegment);
        }
        if sighting.midstream {
            return Some(LeftOut::Midstream);
        }
        if let Some(reason) = sighting.reason.filter(|reason| !follows_rules(*reason)) {
            return Some(LeftOut::Refused(reason));
        }
        if sighting.names_left_out > 0 {
            return Some(LeftOut::TooManyNames);
        }
        let unnamed = sighting.app.as_deref() == Some("dns") && sighting.questions.is_empty();
        if unnamed || !names().all(|name| is_writable(name)) {
            return Some(LeftOut::Unwritable);
        }
        let denied = sighting.enforced && !matches!(sighting.verdict, Some(Action::Allow) | None);
        if denied && !self.wanted.denied {
            return Some(LeftOut::Denied);
        }
        let [_, back] = sighting.volume;
        let unanswered = sighting.tuple.protocol == Protocol::TCP && back.packets == 0;
        (unanswered && !self.wanted.unanswered).then_some(LeftOut::Unanswered)
    }
}

/// What the policy says of a flow now; none if no policy stands for its segments.
fn decide(sighting: &Sighting, policy: &Policy) -> Option<Action> {
    let segment = |name: &str| policy.segments().iter().find(|s| *s.name == *name).map(|s| s.id);
    let (from, to) = segment(&sighting.from).zip(segment(&sighting.to))?;
    let query = Query::new(policy.block(from, to)?, sighting.tuple, sighting.end);
    let decision = policy.decide(&query, &sighting.facts(), &mut NoTrace);
    decision.verdict().map(|verdict| verdict.action)
}

/// Whether a verdict with this reason would be another one under other rules.
const fn follows_rules(reason: Reason) -> bool {
    matches!(reason, Reason::Rule | Reason::Otherwise | Reason::NoPolicy | Reason::Undecided)
}

/// Whether a name can stand in a rule and mean itself alone.
fn is_writable(name: &str) -> bool {
    matches!(NamePattern::parse(name), Ok(NamePattern::Exact(exact)) if *exact == *name)
}

fn ask(sighting: &Sighting) -> Ask {
    let sorted = |names: &[Box<str>]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        names
    };
    let tuple = &sighting.tuple;
    let named = !sighting.names.is_empty();
    let app = sighting.app.as_deref();
    let behind = named && !matches!(app, Some("tls" | "quic" | "http"));
    let tunnel = named && app == Some("http") && sighting.ja4.is_some();
    Ask {
        from: sighting.from.clone(),
        to: sighting.to.clone(),
        protocol: tuple.protocol,
        destination: tuple.dst,
        port: if tuple.protocol.has_ports() { tuple.dst_port } else { 0 },
        icmp: sighting.icmp,
        app: sighting.app.clone().filter(|_| !behind && !tunnel),
        behind,
        names: sorted(&sighting.names),
        questions: sorted(&sighting.questions),
    }
}
