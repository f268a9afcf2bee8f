//! Guardrails: traffic that must never be possible, held against the rules of every pair of
//! segments in the space of all flows. A violation is shown by a flow; what comes to a bound is
//! `not proved`, an error too.
//!
//! What a proof assumes is the worst: allow rules stand whatever their date, what a monitor policy,
//! `midstream: allow` or an undecided flow under `otherwise: allow` lets through is let through,
//! every address and every fact is chosen by the client.

use super::build::{Built, check_selectors, selectors, selects};
use super::collection::OneOrMany;
use super::diagnostic::{Diagnostic, Findings};
use super::document::{GuardrailDoc, NeverDoc};
use super::nameless::Nameless;
use super::region::{
    Area, Asks, Dimension, Flow, Ground, Left, MISSED, NameDimension, Ranges, Values, Witness,
    boxes, grounds, left, ports, scopes,
};
use super::scalar::ProtocolWord;
use super::sets::Sets;
use super::source::{At, Place};
use crate::model::{Action, PolicyId, Protocol, SegmentId};
use crate::policy::Policy;
use crate::policy::spec::{
    Answer, BlockSpec, Midstream, Mode, PortRange, RuleSpec, SegmentKind, SegmentSpec, Selector,
};
use std::collections::BTreeMap;

/// Findings of one guardrail that are shown; the rest is counted.
const SHOWN_LIMIT: usize = 10;

/// The traffic of one guardrail.
struct Region {
    from: Vec<Selector>,
    to: Vec<Selector>,
    protocols: Option<Ranges>,
    ports: Option<Ranges>,
    without_names: bool,
    place: Place,
}

/// Why traffic of a guardrail passes, or may pass.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Leak {
    /// This rule of this policy.
    Rule(usize, usize),
    /// Whether this rule lets anything pass was not proved.
    NotProved(usize, usize),
    /// The policy's `otherwise`.
    Otherwise(usize),
    /// The policy only monitors.
    Monitor(usize),
    /// Flows met in the middle are allowed unseen.
    Midstream,
    /// Flows met in the middle are adopted in whichever orientation a rule allows.
    Adopt(usize),
}

/// Everything a proof works with.
struct Proof<'a> {
    built: &'a Built,
    policy: &'a Policy,
    grounds: Vec<Ground>,
    /// What each rule asks, whatever its date.
    asks: Vec<Vec<Asks>>,
    values: Values,
    nameless: Nameless,
}

/// How a guardrail fails: a flow, and between how many pairs of segments.
type Leaks = BTreeMap<Leak, (Option<Witness>, usize)>;

/// Proves every guardrail, or reports why not.
pub(super) fn prove(
    docs: &[GuardrailDoc],
    built: &Built,
    policy: &Policy,
    sets: &Sets,
    findings: &mut Findings,
) {
    if docs.is_empty() {
        return;
    }
    let mut values = Values::default();
    let spec = &built.spec;
    let timeless = |rule: &RuleSpec, values: &mut Values| {
        let mut asks = Asks::new(rule, &spec.defaults, values);
        asks.set(Dimension::Day, None);
        asks
    };
    let asks = spec
        .policies
        .iter()
        .map(|block| block.rules.iter().map(|rule| timeless(rule, &mut values)).collect())
        .collect();
    let mut proof = Proof {
        built,
        policy,
        grounds: grounds(spec, &scopes(spec, policy)),
        asks,
        values,
        nameless: Nameless::default(),
    };
    for doc in docs {
        let Some(region) = doc.never.as_ref().and_then(|n| region(n, built, sets, findings)) else {
            continue;
        };
        let leaks = proof.leaks(&region);
        report(&region, leaks, built, findings);
    }
}

fn region(doc: &NeverDoc, built: &Built, sets: &Sets, findings: &mut Findings) -> Option<Region> {
    let (from, to) = (doc.from.as_ref()?, doc.to.as_ref()?);
    check_selectors(from, &built.spec.segments, findings);
    check_selectors(to, &built.spec.segments, findings);
    let protocols = doc.protocol.as_ref().and_then(|list: &OneOrMany<At<ProtocolWord>>| {
        let known: Vec<Protocol> = list.items.iter().filter_map(|p| p.value.0).collect();
        (known.len() == list.items.len()).then_some(known)
    });
    let list: Option<Vec<PortRange>> =
        doc.ports.as_ref().map(|list| sets.resolve("guardrail", list, findings));
    Some(Region {
        from: selectors(from),
        to: selectors(to),
        protocols: protocols
            .map(|list| Ranges::of(list.iter().map(|p| (u128::from(p.0), u128::from(p.0))))),
        ports: list.as_deref().map(ports),
        without_names: doc.without.is_some(),
        place: doc.place,
    })
}

fn any(side: &[Selector], segment: &SegmentSpec) -> bool {
    side.iter().any(|selector| selects(selector, segment))
}

/// Behind a trusted proxy may be any partner.
fn is_from(side: &[Selector], segment: &SegmentSpec) -> bool {
    let proxy = segment.trusted_proxy && side.contains(&Selector::Kind(SegmentKind::Partner));
    proxy || any(side, segment)
}

impl Region {
    /// As what a rule would ask.
    fn asks(&self) -> Asks {
        let mut asks = Asks::default();
        asks.set(Dimension::Protocol, self.protocols.clone());
        asks.set(Dimension::Port, self.ports.clone());
        asks
    }

    /// The same for flows in the opposite direction.
    fn reversed(&self) -> Asks {
        let mut asks = Asks::default();
        asks.set(Dimension::Protocol, self.protocols.clone());
        asks.set(Dimension::SourcePort, self.ports.clone());
        asks
    }
}

impl<'a> Proof<'a> {
    /// Every way in which traffic of a region passes.
    fn leaks(&mut self, region: &Region) -> Leaks {
        let mut leaks = Leaks::new();
        let segments = &self.built.spec.segments;
        let segment = |id: SegmentId| segments.get(usize::from(id.0));
        for ground in self.grounds.clone() {
            let (Some(from), Some(to)) = (segment(ground.from), segment(ground.to)) else {
                continue;
            };
            if !is_from(&region.from, from) || !any(&region.to, to) {
                continue;
            }
            // For packets either way: the first of the two segments that has a setting.
            let default = self.built.spec.defaults.midstream;
            let ways = [(from, to), (to, from)]
                .map(|(first, second)| first.midstream.or(second.midstream).unwrap_or(default));
            let found = self.leaks_of(&ground, ways, region);
            for (leak, flow) in found {
                let entry = leaks.entry(leak).or_insert((None, 0));
                entry.1 = entry.1.saturating_add(1);
                if entry.0.is_none() {
                    entry.0 = flow.map(|flow| self.witness(&ground, flow));
                }
            }
        }
        leaks
    }

    /// A proof holds on any day: none is stated.
    fn witness(&self, ground: &Ground, flow: Flow) -> Witness {
        let ruleset = (&self.built.spec, self.policy);
        let witness = Witness::new(flow, ruleset, ground.endpoint, ground.sides());
        Witness { day: None, ..witness }
    }

    fn leaks_of(
        &mut self,
        ground: &Ground,
        ways: [Midstream; 2],
        region: &Region,
    ) -> Vec<(Leak, Option<Flow>)> {
        let wanted = region.asks();
        let areas = self.boxes(&ground.sources, &ground.destinations, &wanted);
        let mut found = Vec::new();
        if areas.is_empty() {
            return found;
        }
        if ways.contains(&Midstream::Allow) {
            let unseen = unseen();
            let mut all = areas.iter().filter_map(|area| area.and(&unseen));
            let flow = all.find_map(|area| Flow::of(&area, &mut self.values));
            found.extend(flow.map(|flow| (Leak::Midstream, Some(flow))));
        }
        if ways.contains(&Midstream::Adopt) {
            found.extend(self.adopted(ground, region));
        }
        let Some((number, block)) = self.block(ground.from, ground.to) else { return found };
        if block.mode == Mode::Monitor {
            let flow = areas.iter().find_map(|area| Flow::of(area, &mut self.values));
            found.push((Leak::Monitor(number), flow));
            return found;
        }
        for at in 0..block.rules.len() {
            let variants = self.variants(number, at, region.without_names);
            found.extend(self.leak_of_rule(number, at, &variants, &areas));
        }
        if block.otherwise == Action::Allow {
            found.extend(self.leak_of_otherwise(number, &areas));
        }
        found
    }

    fn boxes(&self, sources: &Ranges, destinations: &Ranges, wanted: &Asks) -> Vec<Area> {
        let ech = self.built.spec.defaults.encrypted_client_hello;
        let all = boxes(sources, destinations, &Ranges::one(0), ech);
        all.iter().filter_map(|area| area.and(wanted)).collect()
    }

    fn block(&self, from: SegmentId, to: SegmentId) -> Option<(usize, &'a BlockSpec)> {
        let PolicyId(number) = self.policy.block(from, to)?;
        let number = usize::try_from(number).ok()?;
        let built: &'a Built = self.built;
        Some((number, built.spec.policies.get(number)?))
    }

    fn rule(&self, block: usize, at: usize) -> Option<(&RuleSpec, &Asks)> {
        let rule = self.built.spec.policies.get(block)?.rules.get(at)?;
        Some((rule, self.asks.get(block)?.get(at)?))
    }

    /// The parts of a rule that let traffic of a guardrail pass. Where names must be asked for,
    /// only names that anybody can have, and flows of which nothing was seen.
    fn variants(&mut self, block: usize, at: usize, without_names: bool) -> Vec<Asks> {
        let Some((rule, asks)) = self.rule(block, at) else { return Vec::new() };
        if rule.action != Action::Allow {
            return Vec::new();
        }
        let asks = asks.clone();
        let named = rule.domains.is_some() || rule.dns.is_some();
        if !without_names || !named {
            return vec![asks];
        }
        let (domains, dns, midstream) = (rule.domains.clone(), rule.dns.clone(), rule.midstream);
        let mut variants = Vec::new();
        for (dimension, set) in [(NameDimension::Domain, domains), (NameDimension::Question, dns)] {
            let Some(strangers) = set.and_then(|set| self.nameless.part(&set)) else { continue };
            let mut part = asks.clone();
            if let Some(ask) = part.name(dimension).copied() {
                let set = self.values.languages.names(&strangers);
                part.set_name(dimension, Some(ask.within(set, &self.values.languages)));
                variants.push(part);
            }
        }
        if midstream == Answer::Allow {
            let mut part = asks;
            part.set(Dimension::App, Some(Ranges::one(MISSED)));
            variants.push(part);
        }
        variants
    }

    fn leak_of_rule(
        &mut self,
        block: usize,
        at: usize,
        variants: &[Asks],
        areas: &[Area],
    ) -> Option<(Leak, Option<Flow>)> {
        let all = self.asks.get(block)?;
        let rules = &self.built.spec.policies.get(block)?.rules;
        let denials =
            rules.iter().zip(all).take(at).filter(|(rule, _)| rule.action != Action::Allow);
        let denials: Vec<&Asks> = denials.map(|(_, asks)| asks).collect();
        let mut not_proved = None;
        for asks in variants {
            let meeting = areas.iter().filter_map(|area| area.and(asks));
            match left(meeting, &denials, &mut self.values) {
                Left::Flow(flow) => return Some((Leak::Rule(block, at), Some(*flow))),
                Left::Nothing => {}
                Left::NotProved => not_proved = Some((Leak::NotProved(block, at), None)),
            }
        }
        not_proved
    }

    /// What reaches `otherwise`. What stays undecided comes to it too, and is no more than this: a
    /// flow without any name meets no rule that waits for one.
    fn leak_of_otherwise(&mut self, number: usize, areas: &[Area]) -> Option<(Leak, Option<Flow>)> {
        let all: Vec<&Asks> = self.asks.get(number)?.iter().collect();
        match left(areas.iter().cloned(), &all, &mut self.values) {
            Left::Flow(flow) => Some((Leak::Otherwise(number), Some(*flow))),
            Left::NotProved => Some((Leak::Otherwise(number), None)),
            Left::Nothing => None,
        }
    }

    /// Whether the opposite direction allows a flow that would be taken for it.
    fn adopted(&mut self, ground: &Ground, region: &Region) -> Option<(Leak, Option<Flow>)> {
        let (number, block) = self.block(ground.to, ground.from)?;
        let (monitors, otherwise) = (block.mode == Mode::Monitor, block.otherwise);
        let rules = block.rules.len();
        let mut wanted = region.reversed();
        wanted.set(Dimension::App, Some(Ranges::one(MISSED)));
        let areas = self.boxes(&ground.destinations, &ground.sources, &wanted);
        let flow = if monitors {
            areas.iter().find_map(|area| Flow::of(area, &mut self.values))
        } else {
            let by_rule = (0..rules).find_map(|at| {
                let variants = self.variants(number, at, false);
                self.leak_of_rule(number, at, &variants, &areas)
            });
            let all: Vec<&Asks> = self.asks.get(number)?.iter().collect();
            match by_rule {
                Some((_, flow)) => flow,
                None if otherwise == Action::Allow => {
                    left(areas.iter().cloned(), &all, &mut self.values).flow()
                }
                None => None,
            }
        };
        let mut flow = flow?;
        flow.tuple = flow.tuple.reverse();
        Some((Leak::Adopt(number), Some(flow)))
    }
}

/// Flows of which nothing was seen.
fn unseen() -> Asks {
    let mut asks = Asks::default();
    asks.set(Dimension::App, Some(Ranges::one(MISSED)));
    asks
}

fn report(region: &Region, leaks: Leaks, built: &Built, findings: &mut Findings) {
    let total = leaks.len();
    for (leak, (witness, pairs)) in leaks.into_iter().take(SHOWN_LIMIT) {
        findings.push(finding(leak, region, witness, pairs, built));
    }
    if total > SHOWN_LIMIT {
        let text =
            format!("the guardrail fails in {} more ways", total.saturating_sub(SHOWN_LIMIT));
        findings.push(Diagnostic::error("guardrail", text).at(region.place, "never"));
    }
}

/// The flow in short, and how many more pairs of segments there are.
fn example(witness: Option<&Witness>, pairs: usize) -> String {
    let Some(witness) = witness else { return String::new() };
    let tuple = &witness.flow.tuple;
    let what = if tuple.protocol.has_ports() {
        format!("{}/{}", tuple.protocol, tuple.dst_port)
    } else {
        format!("protocol {}", tuple.protocol)
    };
    let more = match pairs {
        0 | 1 => String::new(),
        2 => " and one more pair of segments".to_owned(),
        n => format!(" and {} more pairs of segments", n.saturating_sub(1)),
    };
    let side = |name: &Option<String>| name.clone().unwrap_or_default();
    format!(": `{}` to `{}`, {what}{more}", side(&witness.from), side(&witness.to))
}

fn finding(
    leak: Leak,
    region: &Region,
    witness: Option<Witness>,
    pairs: usize,
    built: &Built,
) -> Diagnostic {
    let policy = |n: usize| built.places.policies.get(n).map(|p| p.from).unwrap_or_default();
    let place = |block: usize, at: usize| {
        built.places.rule(block, at).map(|rule| rule.id).unwrap_or_default()
    };
    let id = |block: usize, at: usize| {
        let rule = built.spec.policies.get(block).and_then(|b| b.rules.get(at));
        rule.map_or("", |rule| rule.id.as_str())
    };
    let names = if region.without_names { " without asking for a name" } else { "" };
    let example = example(witness.as_ref(), pairs);
    let violated = |how: &str| {
        Diagnostic::error(
            "guardrail-violated",
            format!("guardrail violated: {how}{names}{example}"),
        )
        .at(region.place, "this must never be possible")
    };
    let finding = match leak {
        Leak::Rule(block, at) => violated(&format!("rule `{}` allows it", id(block, at)))
            .also(place(block, at), "allowed here")
            .help(if region.without_names {
                "give the rule `domains` or `dns` with names below a registrable domain, and no `midstream: allow`"
            } else {
                "remove or narrow the rule"
            }),
        Leak::NotProved(block, at) => {
            let text = format!(
                "guardrail not proved: whether rule `{}` allows it{names} is too much to work out",
                id(block, at)
            );
            Diagnostic::error("guardrail-not-proved", text)
                .at(region.place, "this must never be possible")
                .also(place(block, at), "may be allowed here")
                .help("use fewer patterns with `*` in this rule and those before it")
        }
        Leak::Otherwise(n) => violated("`otherwise: allow`")
            .also(policy(n), "this policy allows what no rule denies")
            .help("write `otherwise: deny`"),
        Leak::Monitor(n) => violated("a policy in mode monitor lets everything pass")
            .also(policy(n), "this policy")
            .help("write `mode: enforce`"),
        Leak::Midstream => violated("flows met in the middle are allowed unseen")
            .help("write `midstream: deny` for these segments or in `defaults`"),
        Leak::Adopt(n) => violated("a flow met in the middle is adopted backwards")
            .also(policy(n), "the opposite direction is allowed here")
            .help("write `midstream: deny` for these segments or in `defaults`"),
    };
    finding.shown_by(witness)
}
