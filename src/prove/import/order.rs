//! One list of rules out of groups: in which order they are tried, what they are called, and where
//! that order means something else than Suricata's, which decides by what it knows at each packet.

use super::syntax::{Rule, RuleAction};
use super::translate::Draft;
use super::{Entry, Fidelity, Finding};
use crate::model::Action;
use std::collections::BTreeSet;

/// How many rules with names before one are looked at for an order that means something else.
const NAMED_LOOKED_AT: usize = 2_000;

/// How Suricata orders rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By groups, then as they stand.
    Strict,
    /// Pass, drop, reject, alert; then by `priority`; then as they stand.
    Action,
    /// Drop, pass, reject, alert; then as above.
    DropFirst,
}

impl Order {
    /// The word in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict order",
            Self::Action => "action order",
            Self::DropFirst => "action order with drop first",
        }
    }
}

/// A translated rule on its way to its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    finding: usize,
    group: u32,
    action: RuleAction,
    priority: u64,
    sid: u64,
    group_name: Option<String>,
    message: Option<String>,
    list: Option<u32>,
    pub(super) order: Option<Order>,
    drafts: Vec<Draft>,
}

impl Placed {
    pub(super) fn new(finding: usize, entry: &Entry, rule: &Rule, drafts: Vec<Draft>) -> Self {
        // Suricata's default priority is 3.
        let priority = rule.last("priority").and_then(|text| text.parse().ok()).unwrap_or(3);
        Self {
            finding,
            group: entry.group,
            action: rule.action,
            priority,
            sid: rule.sid().unwrap_or_default(),
            group_name: entry.origin.group.clone(),
            message: rule.message(),
            list: entry.list,
            order: entry.order,
            drafts,
        }
    }

    fn rank(&self, order: Order) -> (u32, u8, u64) {
        let by_action = |first: [RuleAction; 4]| {
            let at = first.iter().position(|action| *action == self.action);
            (0, u8::try_from(at.unwrap_or(3)).unwrap_or(3), self.priority)
        };
        use RuleAction::{Alert, Drop, Pass, Reject};
        match order {
            Order::Strict => (self.group, 0, 0),
            Order::Action => by_action([Pass, Drop, Reject, Alert]),
            Order::DropFirst => by_action([Drop, Pass, Reject, Alert]),
        }
    }
}

/// A rule at its place.
#[derive(Clone, Debug)]
pub struct Named {
    /// Unique.
    pub id: String,
    /// For people.
    pub description: Option<String>,
    /// What it says.
    pub draft: Draft,
}

/// Rules in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct Ordered {
    /// First match decides.
    pub rules: Vec<Named>,
    /// What is behind them.
    pub otherwise: Action,
    /// The order that was taken.
    pub order: Order,
}

impl Ordered {
    pub(super) fn new(
        mut placed: Vec<Placed>,
        order: Order,
        otherwise: Action,
        findings: &mut [Finding],
    ) -> Self {
        placed.sort_by_key(|rule| rule.rank(order));
        let mut rules: Vec<Named> = Vec::new();
        let mut taken = BTreeSet::new();
        let mut list: Option<(u32, Action)> = None;
        let mut named: Vec<&Placed> = Vec::new();
        for rule in &placed {
            note_conflict(rule, &named, findings);
            if named.len() < NAMED_LOOKED_AT && rule.drafts.iter().any(|draft| !draft.is_plain()) {
                named.push(rule);
            }
            let own = rule.list.zip(rule.drafts.first().map(|draft| draft.action));
            if let (true, Some(last), Some(draft)) =
                (own.is_some() && own == list, rules.last_mut(), rule.drafts.first())
                && last.draft.takes(draft)
            {
                note_rule(findings, rule.finding, &last.id);
                continue;
            }
            list = own;
            for draft in &rule.drafts {
                let id = id(rule, &mut taken);
                note_rule(findings, rule.finding, &id);
                let description = rule.message.clone();
                rules.push(Named { id, description, draft: draft.clone() });
            }
        }
        Self { rules, otherwise, order }
    }
}

fn note_rule(findings: &mut [Finding], at: usize, id: &str) {
    if let Some(finding) = findings.get_mut(at) {
        finding.rules.push(id.to_owned());
    }
}

/// `sid-1000`, with its group before if it has one.
fn id(rule: &Placed, taken: &mut BTreeSet<String>) -> String {
    let group = rule.group_name.as_deref().map_or_else(String::new, |name| {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
        name.chars().map(plain).take(60).collect::<String>() + "-"
    });
    let group = group.trim_start_matches('-');
    let plain = format!("{group}sid-{}", rule.sid);
    let mut id = plain.clone();
    for number in 2.. {
        if taken.insert(id.clone()) {
            break;
        }
        id = format!("{plain}-{number}");
    }
    id
}

/// A rule that needs headers only, behind one that needs a name: Suricata takes it at the first
/// packets, before that name is known. Here the rule before it is waited for.
fn note_conflict(rule: &Placed, named: &[&Placed], findings: &mut [Finding]) {
    let Some(draft) = rule.drafts.iter().find(|draft| draft.is_plain()) else { return };
    let differs =
        |other: &Draft| !other.is_plain() && other.action != draft.action && other.meets(draft);
    let other = named.iter().find(|other| other.drafts.iter().any(differs));
    let (Some(other), Some(finding)) = (other, findings.get_mut(rule.finding)) else { return };
    finding.fidelity = finding.fidelity.max(Fidelity::Approximated);
    finding.notes.push(format!(
        "Suricata takes it at a flow's first packets, before the name that sid {} asks for is known; \
         here sid {} comes first as it stands first",
        other.sid, other.sid
    ));
}

impl Draft {
    /// Takes the names of another draft that differs in nothing else.
    fn takes(&mut self, other: &Self) -> bool {
        let bare = |draft: &Self| Self { domains: Vec::new(), dns: Vec::new(), ..draft.clone() };
        let kind = (self.domains.is_empty(), self.dns.is_empty());
        if kind != (other.domains.is_empty(), other.dns.is_empty())
            || kind == (true, true)
            || bare(self) != bare(other)
        {
            return false;
        }
        self.domains.extend(other.domains.iter().cloned());
        self.dns.extend(other.dns.iter().cloned());
        true
    }
}
