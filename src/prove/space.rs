//! A loaded ruleset laid out in the space of all flows: what each rule asks, where the flows of each
//! policy are, and the concrete flow that shows a point. Judges nothing itself: every flow that is
//! handed out has been judged by the production decision function.

use crate::model::{Addr, FlowVerdict, PolicyId, RuleId, SegmentId};
use crate::policy::Policy;
use crate::policy::spec::{BlockSpec, PolicySpec, RuleSpec};
use crate::ruleset::region::{
    Area, Asks, Flow, Ground, Ranges, Room, Values, Witness, boxes, grounds, scopes,
};
use std::collections::BTreeMap;

/// A ruleset in the space of all flows.
#[derive(Debug)]
pub struct Space<'a> {
    /// What it was compiled from.
    pub spec: &'a PolicySpec,
    /// Compiled.
    pub policy: &'a Policy,
    /// What each rule asks, by policy.
    pub asks: Vec<Vec<Asks>>,
    /// Who can meet whom.
    pub grounds: Vec<Ground>,
    /// The grounds of each policy, by position.
    by_policy: BTreeMap<PolicyId, Vec<usize>>,
    /// The days that are looked at.
    days: Ranges,
}

/// The flows of one policy.
#[derive(Debug)]
pub struct Stage {
    /// The policy.
    pub id: PolicyId,
    /// Boxes of its flows, the plainest kinds of flows first.
    pub areas: Vec<Area>,
}

impl<'a> Space<'a> {
    /// Lays a ruleset out; flows are looked at from `first_day` on.
    #[must_use]
    pub fn new(
        spec: &'a PolicySpec,
        policy: &'a Policy,
        first_day: u32,
        values: &mut Values,
    ) -> Self {
        let asks = |block: &BlockSpec, values: &mut Values| {
            block.rules.iter().map(|rule| Asks::new(rule, &spec.defaults, values)).collect()
        };
        let grounds = grounds(spec, &scopes(spec, policy));
        let mut by_policy: BTreeMap<PolicyId, Vec<usize>> = BTreeMap::new();
        for (at, ground) in grounds.iter().enumerate() {
            if let Some(block) = policy.block(ground.from, ground.to) {
                by_policy.entry(block).or_default().push(at);
            }
        }
        Self {
            spec,
            policy,
            asks: spec.policies.iter().map(|block| asks(block, values)).collect(),
            grounds,
            by_policy,
            days: Ranges::span(first_day.into(), u32::MAX.into()),
        }
    }

    /// All policies.
    pub fn policies(&self) -> impl Iterator<Item = (PolicyId, &'a BlockSpec)> + use<'a> {
        (0..).map(PolicyId).zip(&self.spec.policies)
    }

    /// The grounds of a policy.
    pub fn grounds_of(&self, policy: PolicyId) -> impl Iterator<Item = &Ground> {
        let positions = self.by_policy.get(&policy).map_or(&[][..], Vec::as_slice);
        positions.iter().filter_map(|at| self.grounds.get(*at))
    }

    /// The flows of a policy. Grounds with the same senders are one.
    #[must_use]
    pub fn stage(&self, id: PolicyId) -> Stage {
        let mut merged: Vec<(&Ground, Vec<(u128, u128)>)> = Vec::new();
        let mut at: BTreeMap<_, usize> = BTreeMap::new();
        for ground in self.grounds_of(id) {
            let key = (ground.scope, ground.from, ground.proxy);
            let slot = *at.entry(key).or_insert_with(|| {
                merged.push((ground, Vec::new()));
                merged.len().saturating_sub(1)
            });
            if let Some((_, destinations)) = merged.get_mut(slot) {
                destinations.extend(ground.destinations.iter());
            }
        }
        let ech = self.spec.defaults.encrypted_client_hello;
        let areas = merged.into_iter().flat_map(|(ground, destinations)| {
            boxes(&ground.sources, &Ranges::of(destinations), &self.days, ech)
        });
        Stage { id, areas: areas.collect() }
    }

    /// What the rules of a policy ask.
    #[must_use]
    pub fn asks_of(&self, policy: PolicyId) -> &[Asks] {
        self.asks.get(policy.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// The position in its policy of the rule that decides a flow, and the verdict.
    #[must_use]
    pub fn decide(&self, policy: PolicyId, flow: &Flow) -> Option<(Option<usize>, FlowVerdict)> {
        let verdict = flow.decide(self.policy, policy)?;
        Some((verdict.rule.and_then(|rule| self.position(policy, rule)), verdict))
    }

    /// Where a rule stands in its policy.
    #[must_use]
    pub fn position(&self, policy: PolicyId, rule: RuleId) -> Option<usize> {
        let first = self.policy.policy(policy)?.first_rule;
        usize::try_from(rule.0.checked_sub(first.0)?).ok()
    }

    /// A rule of a policy.
    #[must_use]
    pub fn rule(&self, policy: PolicyId, at: usize) -> Option<&'a RuleSpec> {
        self.spec.policies.get(policy.0 as usize)?.rules.get(at)
    }

    /// The name of a segment.
    #[must_use]
    pub fn segment(&self, id: SegmentId) -> &'a str {
        self.spec.segments.get(usize::from(id.0)).map_or("", |segment| &segment.name)
    }

    /// A flow with the segments of a policy between which it goes.
    #[must_use]
    pub fn witness(&self, policy: PolicyId, flow: Flow) -> Option<Witness> {
        let (src, dst) = (flow.tuple.src.bits(), flow.tuple.dst.bits());
        let holds = |g: &&Ground| g.sources.contains(src) && g.destinations.contains(dst);
        let ground = self.grounds_of(policy).find(holds)?;
        Some(self.on(ground, flow))
    }

    /// A flow with the segments of a ground.
    #[must_use]
    pub fn on(&self, ground: &Ground, flow: Flow) -> Witness {
        Witness::new(flow, (self.spec, self.policy), ground.endpoint, ground.sides())
    }

    /// Any flow of a ground.
    #[must_use]
    pub fn any_flow(&self, ground: &Ground, values: &mut Values) -> Option<Flow> {
        let ech = self.spec.defaults.encrypted_client_hello;
        let areas = boxes(&ground.sources, &ground.destinations, &self.days, ech);
        areas.iter().find_map(|area| Flow::of(area, values))
    }

    /// The segment that holds an address in the scope of a ground.
    #[must_use]
    pub fn holder(&self, ground: &Ground, addr: Addr) -> Option<SegmentId> {
        self.policy.holder(ground.scope, addr)
    }
}

impl Stage {
    /// The parts of the boxes that meet a rule.
    pub fn meeting<'s>(&'s self, asks: &'s Asks) -> impl Iterator<Item = Area> + 's {
        self.areas.iter().filter_map(|area| area.and(asks))
    }

    /// Whether any flow meets a rule; `NotProved` at the bound of names.
    #[must_use]
    pub fn room(&self, asks: &Asks, values: &mut Values) -> Room {
        let mut room = Room::None;
        for area in self.meeting(asks) {
            match area.room(values) {
                Room::Some => return Room::Some,
                Room::NotProved => room = Room::NotProved,
                Room::None => {}
            }
        }
        room
    }
}
