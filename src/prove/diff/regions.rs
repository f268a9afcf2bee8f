//! Rule against rule: for every cell and every pair of an old and a new rule that decide differently,
//! whether some flow is decided by the one before and by the other after.

use super::cells::{Cell, Side, cells};
use super::describe::describe;
use super::order::{Rule, common};
use super::{Change, Outcome};
use crate::model::{Action, FlowVerdict, PolicyId, SegmentId};
use crate::policy::Policy;
use crate::policy::spec::{BlockSpec, EncryptedClientHello, SegmentKind};
use crate::prove::space::Space;
use crate::ruleset::region::{
    Area, Asks, Flow, Left, Ranges, Sides, Values, Witness, boxes, left, pieces,
};
use crate::ruleset::{Date, Loaded};
use std::collections::BTreeMap;

/// Boxes of one region that are put into words.
const PIECES_LIMIT: usize = 64;

/// Who decides: a rule by position, or what stands behind all rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Decider {
    Rule(usize),
    Otherwise,
}

/// What regions of different cells that read the same have in common.
type Key = (Outcome, Outcome, Vec<(&'static str, String)>);

struct Comparison<'a, 'v> {
    old: Space<'a>,
    new: Space<'a>,
    values: &'v mut Values,
    ech: EncryptedClientHello,
    days: Ranges,
    /// The pairs of rules that may decide differently, by policies.
    candidates: BTreeMap<(PolicyId, PolicyId), Vec<(Decider, Decider)>>,
    found: BTreeMap<Key, usize>,
    changes: Vec<Change>,
    not_proved: Vec<String>,
}

/// All regions whose verdict changes, and what was not proved.
pub(super) fn changes(
    old: &Loaded,
    new: &Loaded,
    today: Date,
    values: &mut Values,
) -> (Vec<Change>, Vec<String>) {
    let day = today.days();
    let before = Space::new(&old.spec, &old.policy, day, values);
    let after = Space::new(&new.spec, &new.policy, day, values);
    // Where only one ruleset hides names, flows without hidden names are compared.
    let ech = match (
        old.spec.defaults.encrypted_client_hello,
        new.spec.defaults.encrypted_client_hello,
    ) {
        (EncryptedClientHello::Deny, EncryptedClientHello::Deny) => EncryptedClientHello::Deny,
        _ => EncryptedClientHello::OuterName,
    };
    let all = cells(&before, &after);
    let mut comparison = Comparison {
        old: before,
        new: after,
        values,
        ech,
        days: Ranges::span(day.into(), u32::MAX.into()),
        candidates: BTreeMap::new(),
        found: BTreeMap::new(),
        changes: Vec::new(),
        not_proved: Vec::new(),
    };
    for cell in &all {
        comparison.cell(cell);
    }
    let Comparison { mut changes, mut not_proved, .. } = comparison;
    let rank = |change: &Change| (!change.opens(), !change.closes());
    changes.sort_by(|a, b| {
        (rank(a), &a.partner, &a.new.rule, &a.old.rule).cmp(&(
            rank(b),
            &b.partner,
            &b.new.rule,
            &b.old.rule,
        ))
    });
    not_proved.sort();
    not_proved.dedup();
    (changes, not_proved)
}

/// The rules of a policy, if it is carried out.
fn enforced(side: Side) -> Option<PolicyId> {
    match side {
        Side::Pair { policy: Some(policy), monitored: false, .. } => Some(policy),
        _ => None,
    }
}

impl Comparison<'_, '_> {
    fn cell(&mut self, cell: &Cell) {
        match (enforced(cell.old), enforced(cell.new)) {
            (Some(old), Some(new)) => {
                for (before, after) in self.pairs(old, new) {
                    self.region(cell, Some(before), Some(after));
                }
            }
            (Some(old), None) => {
                for before in deciders(self.old.spec.policies.get(old.0 as usize)) {
                    self.region(cell, Some(before), None);
                }
            }
            (None, Some(new)) => {
                for after in deciders(self.new.spec.policies.get(new.0 as usize)) {
                    self.region(cell, None, Some(after));
                }
            }
            (None, None) => self.region(cell, None, None),
        }
    }

    /// The pairs of rules of two policies that may decide a flow differently. One of the two must
    /// be new, changed, gone or moved: two rules that stand in both, in the same order, cannot
    /// decide the same flow before and after.
    fn pairs(&mut self, old: PolicyId, new: PolicyId) -> Vec<(Decider, Decider)> {
        if let Some(known) = self.candidates.get(&(old, new)) {
            return known.clone();
        }
        let (before, after) = (rules(&self.old, old), rules(&self.new, new));
        let (kept_before, kept_after) = common(&before, &after);
        let mut pairs = Vec::new();
        for i in deciders(self.old.spec.policies.get(old.0 as usize)) {
            for j in deciders(self.new.spec.policies.get(new.0 as usize)) {
                let kept = |decider, list: &[bool]| match decider {
                    Decider::Rule(at) => list.get(at).copied().unwrap_or(false),
                    Decider::Otherwise => true,
                };
                let both_otherwise = i == Decider::Otherwise && j == Decider::Otherwise;
                if kept(i, &kept_before) && kept(j, &kept_after) && !both_otherwise {
                    continue;
                }
                let (a, b) = (action(&self.old, old, i), action(&self.new, new, j));
                let meet = match (asks(&self.old, old, i), asks(&self.new, new, j)) {
                    (Some(a), Some(b)) => a.may_meet(b),
                    _ => true,
                };
                if a != b && meet {
                    pairs.push((i, j));
                }
            }
        }
        self.candidates.insert((old, new), pairs.clone());
        pairs
    }

    fn region(&mut self, cell: &Cell, before: Option<Decider>, after: Option<Decider>) {
        let ends =
            (self.outcome(&self.old, cell.old, before), self.outcome(&self.new, cell.new, after));
        if ends.0.verdict == ends.1.verdict {
            return;
        }
        let (areas, earlier) = self.question(cell, before, after);
        let unwanted: Vec<&Asks> = earlier.iter().collect();
        match left(areas.iter().cloned(), &unwanted, self.values) {
            Left::Nothing => {}
            Left::NotProved => {
                self.not_proved.push(format!("{} before, {} after", ends.0, ends.1));
            }
            Left::Flow(flow) => {
                debug_assert!(self.is_judged_so(cell, &flow, &ends), "{flow:?} {ends:?}");
                let (parts, whole) = pieces(areas, &unwanted, PIECES_LIMIT, self.values);
                let known = cell.old != Side::Unknown && cell.new != Side::Unknown;
                let held = known.then_some((&cell.sources, &cell.destinations));
                let flows = describe(&parts, whole, held, self.values);
                self.add(cell, ends, flows, *flow);
            }
        }
    }

    /// Adds a region, or a pair of segments to one that reads the same.
    fn add(
        &mut self,
        cell: &Cell,
        (old, new): (Outcome, Outcome),
        flows: Vec<(&'static str, String)>,
        flow: Flow,
    ) {
        let (pair, partner) = (self.names(cell), self.partner(cell));
        let key = (old, new, flows);
        if let Some(change) = self.found.get(&key).and_then(|at| self.changes.get_mut(*at)) {
            if change.partner != partner {
                change.partner = None;
            }
            if let Some(pair) = pair.filter(|pair| !change.pairs.contains(pair)) {
                change.pairs.push(pair);
            }
            return;
        }
        let (witness_old, witness) = self.witnesses(cell, flow);
        self.found.insert(key.clone(), self.changes.len());
        let (old, new, flows) = key;
        self.changes.push(Change {
            partner,
            pairs: pair.into_iter().collect(),
            old,
            new,
            flows,
            witness,
            witness_old,
        });
    }

    /// Boxes of the flows that two rules would decide, and the rules that come before either.
    fn question(
        &self,
        cell: &Cell,
        before: Option<Decider>,
        after: Option<Decider>,
    ) -> (Vec<Area>, Vec<Asks>) {
        let mut areas = boxes(&cell.sources, &cell.destinations, &self.days, self.ech);
        let mut earlier: Vec<Asks> = Vec::new();
        for (space, side, decider) in [(&self.old, cell.old, before), (&self.new, cell.new, after)]
        {
            let (Some(policy), Some(decider)) = (enforced(side), decider) else { continue };
            let all = space.asks_of(policy);
            let count = match decider {
                Decider::Rule(at) => at,
                Decider::Otherwise => all.len(),
            };
            if let Some(asks) = asks(space, policy, decider) {
                areas = areas.iter().filter_map(|area| area.and(asks)).collect();
            }
            for asks in all.get(..count).unwrap_or_default() {
                if !earlier.contains(asks) {
                    earlier.push(asks.clone());
                }
            }
        }
        (areas, earlier)
    }

    fn outcome(&self, space: &Space<'_>, side: Side, decider: Option<Decider>) -> Outcome {
        let verdict = |verdict: FlowVerdict| Outcome {
            verdict: verdict.action.name().to_owned(),
            reason: verdict.reason.name().to_owned(),
            rule: None,
            monitored: false,
        };
        match side {
            Side::Unknown => verdict(space.policy.unknown_segment()),
            Side::Pair { policy: None, .. } => verdict(Policy::NO_POLICY),
            Side::Pair { monitored: true, .. } => Outcome {
                verdict: Action::Allow.name().to_owned(),
                reason: "monitor".to_owned(),
                rule: None,
                monitored: true,
            },
            Side::Pair { policy: Some(policy), .. } => {
                let decider = decider.unwrap_or(Decider::Otherwise);
                let rule = match decider {
                    Decider::Rule(at) => space.rule(policy, at).map(|rule| rule.id.clone()),
                    Decider::Otherwise => None,
                };
                let reason = if rule.is_some() { "rule" } else { "otherwise" };
                Outcome {
                    verdict: action(space, policy, decider).name().to_owned(),
                    reason: reason.to_owned(),
                    rule,
                    monitored: false,
                }
            }
        }
    }

    /// Whether the production decision agrees.
    fn is_judged_so(&self, cell: &Cell, flow: &Flow, ends: &(Outcome, Outcome)) -> bool {
        let agrees = |space: &Space<'_>, side, outcome: &Outcome| match enforced(side) {
            Some(policy) => flow
                .decide(space.policy, policy)
                .is_some_and(|verdict| verdict.action.name() == outcome.verdict),
            None => true,
        };
        agrees(&self.old, cell.old, &ends.0) && agrees(&self.new, cell.new, &ends.1)
    }

    /// The segments as the new ruleset has them, else as the old one had.
    fn segments(&self, cell: &Cell) -> Option<(&Space<'_>, SegmentId, SegmentId)> {
        match (cell.new, cell.old) {
            (Side::Pair { from, to, .. }, _) => Some((&self.new, from, to)),
            (_, Side::Pair { from, to, .. }) => Some((&self.old, from, to)),
            _ => None,
        }
    }

    fn names(&self, cell: &Cell) -> Option<(String, String)> {
        let (space, from, to) = self.segments(cell)?;
        Some((space.segment(from).to_owned(), space.segment(to).to_owned()))
    }

    fn partner(&self, cell: &Cell) -> Option<String> {
        let (space, from, to) = self.segments(cell)?;
        let partner = [from, to].into_iter().find(|id| {
            let segment = space.spec.segments.get(usize::from(id.0));
            segment.is_some_and(|segment| segment.kind == SegmentKind::Partner)
        });
        Some(space.segment(partner?).to_owned())
    }

    /// The flow as each ruleset has it.
    fn witnesses(&self, cell: &Cell, flow: Flow) -> (Witness, Witness) {
        let of = |space: &Space<'_>, side: Side, flow: Flow| {
            let pair = match side {
                Side::Pair { from, to, .. } => Some((from, to)),
                Side::Unknown => None,
            };
            let holder = || space.policy.holder(space.policy.scope(cell.endpoint)?, flow.tuple.src);
            let is_proxy = |id: &SegmentId| {
                space.policy.segment(*id).is_some_and(|segment| segment.trusted_proxy)
            };
            // Where there is no proxy its header is payload.
            let proxy = cell.proxied.and_then(|_| holder().filter(is_proxy));
            let unnamed = proxy.is_some() && pair.is_none();
            let proxy_endpoint = cell.proxied.filter(|_| unnamed);
            let sides = Sides { pair, proxy, proxy_endpoint };
            Witness::new(flow, (space.spec, space.policy), cell.endpoint, sides)
        };
        let mut old = of(&self.old, cell.old, flow.clone());
        let mut new = of(&self.new, cell.new, flow);
        // Both are asked of one day, if a rule of either expires.
        let day = old.day.or(new.day);
        (old.day, new.day) = (day, day);
        (old, new)
    }
}

fn rules<'s>(space: &'s Space<'_>, policy: PolicyId) -> Vec<Rule<'s>> {
    let block = space.spec.policies.get(policy.0 as usize);
    let rules = block.map_or(&[][..], |block| block.rules.as_slice());
    space.asks_of(policy).iter().zip(rules).map(|(asks, rule)| (asks, rule.action)).collect()
}

fn deciders(block: Option<&BlockSpec>) -> impl Iterator<Item = Decider> + use<> {
    let rules = block.map_or(0, |block| block.rules.len());
    (0..rules).map(Decider::Rule).chain([Decider::Otherwise])
}

fn action(space: &Space<'_>, policy: PolicyId, decider: Decider) -> Action {
    let block = space.spec.policies.get(policy.0 as usize);
    match decider {
        Decider::Rule(at) => space.rule(policy, at).map_or(Action::Deny, |rule| rule.action),
        Decider::Otherwise => block.map_or(Action::Deny, |block| block.otherwise),
    }
}

fn asks<'s>(space: &'s Space<'_>, policy: PolicyId, decider: Decider) -> Option<&'s Asks> {
    match decider {
        Decider::Rule(at) => space.asks_of(policy).get(at),
        Decider::Otherwise => None,
    }
}
