//! One list of rules out of groups: in which order they are tried, what they are called, and where
//! that order means something else than Suricata's, which decides by what it knows at each packet.

use super::draft::Draft;
use super::syntax::{Rule, RuleAction};
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
    /// It is about packets of one direction of a flow (`flow`), not of either.
    one_way: bool,
    both_ways: bool,
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
            one_way: rule.last("flow").is_some(),
            both_ways: rule.both_ways,
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
        let mut passing: Vec<&Placed> = Vec::new();
        for rule in &placed {
            note_conflict(rule, &named, findings);
            note_replies(rule, &passing, findings);
            if passing.len() < NAMED_LOOKED_AT && rule.action == RuleAction::Pass && rule.one_way {
                passing.push(rule);
            }
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

/// A rule that drops packets of either direction, behind one that lets those of one direction pass:
/// Suricata drops the replies, and the flow with them. Here the rule before it decides the flow.
fn note_replies(rule: &Placed, passing: &[&Placed], findings: &mut [Finding]) {
    if rule.one_way || !matches!(rule.action, RuleAction::Drop | RuleAction::Reject) {
        return;
    }
    let own = if rule.both_ways { rule.drafts.len() } else { 1 };
    let replies: Vec<Draft> = rule.drafts.iter().take(own).map(Draft::mirrored).collect();
    let asks_client = |r: &Draft| !(r.domains.is_empty() && r.dns.is_empty() && r.ja4.is_empty());
    let unnamed = !replies.iter().any(asks_client);
    let meets = |draft: &Draft| {
        draft.is_plain() && replies.iter().any(|r| !only_from_services(r) && draft.meets(r))
    };
    let other = passing.iter().find(|other| unnamed && other.drafts.iter().any(meets));
    let (Some(other), Some(finding)) = (other, findings.get_mut(rule.finding)) else { return };
    finding.fidelity = finding.fidelity.max(Fidelity::Approximated);
    finding.notes.push(format!(
        "without `flow` Suricata drops with it replies of flows whose first packet sid {} lets pass; \
         here sid {} decides the flow. With `flow:to_server` both do the same",
        other.sid, other.sid
    ));
}

/// Whether it is about flows opened from ports of services alone, which clients do not use.
fn only_from_services(draft: &Draft) -> bool {
    let ports = draft.source_port.values.as_deref();
    ports.is_some_and(|ports| ports.iter().all(|range| range.last < FIRST_CLIENT_PORT))
}

/// Ports below are for services (RFC 6335 section 6).
const FIRST_CLIENT_PORT: u16 = 1024;

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

#[cfg(test)]
mod tests {
    use super::super::{Fidelity, Input, Options, import};

    fn fidelity(rules: &str) -> Vec<Fidelity> {
        let input = Input { name: "x.rules".into(), text: rules.into() };
        let imported = import(&[input], &Options::default()).unwrap();
        imported.findings.iter().map(|finding| finding.fidelity).collect()
    }

    #[test]
    fn a_drop_of_either_direction_behind_a_pass_of_one_is_approximated_where_replies_match() {
        let pass = "pass tcp 10.0.0.0/8 any -> any 443 (flow:to_server; sid:1;)\n";
        let both = "pass tcp 10.0.0.0/8 any -> any 443 (sid:1;)\n";
        for (pass, drop, found) in [
            (pass, "drop ip any any -> any any (sid:2;)", Fidelity::Approximated),
            (pass, "drop tcp any 443 -> 10.1.0.0/16 any (sid:2;)", Fidelity::Approximated),
            (pass, "drop tcp any any <> 10.1.0.0/16 any (sid:2;)", Fidelity::Approximated),
            (pass, "drop tcp any 80 -> 10.1.0.0/16 any (sid:2;)", Fidelity::Exact),
            (pass, "drop tls any any -> 10.1.0.0/16 any (sid:2;)", Fidelity::Approximated),
            (pass, "drop tcp any any -> any 443 (sid:2;)", Fidelity::Exact),
            (pass, "drop ip any any -> any any (flow:to_server; sid:2;)", Fidelity::Exact),
            (both, "drop ip any any -> any any (sid:2;)", Fidelity::Exact),
        ] {
            assert_eq!(fidelity(&format!("{pass}{drop}")), [Fidelity::Exact, found], "{drop}");
        }
    }
}
