//! Rules that decide nothing, or nothing that would not be decided so without them; policies that no
//! flow meets.

use super::Lint;
use crate::model::{Action, PolicyId};
use crate::policy::spec::{BlockSpec, FlowLog, Mode};
use crate::prove::space::Stage;
use crate::ruleset::Diagnostic;
use crate::ruleset::region::{
    Asks, Dimension, Flow, Left, Ranges, Room, Witness, boxes, ipv4, ipv6, left,
};

/// Of so many rules that together hide one, the fewest that do are looked for.
const COVER_LIMIT: usize = 24;
/// So many of the rules that hide one are pointed at.
const SHOWN_LIMIT: usize = 4;

pub(super) fn check(lint: &mut Lint<'_>) {
    for (id, block) in lint.space.policies() {
        let stage = lint.space.stage(id);
        if stage.areas.is_empty() {
            unreachable_policy(lint, id, block);
            continue;
        }
        if block.mode == Mode::Monitor {
            monitor(lint, &stage, block);
        } else if allows_everything(block) {
            open(lint, &stage);
        }
        for at in 0..block.rules.len() {
            check_rule(lint, &stage, block, at);
        }
    }
}

fn unreachable_policy(lint: &mut Lint<'_>, id: PolicyId, block: &BlockSpec) {
    let place = lint.policy_places(id.0 as usize).from;
    let selected =
        |side: &[_], segment: &_| side.iter().any(|s| crate::ruleset::selects(s, segment));
    let segments = || (0u16..).map(crate::model::SegmentId).zip(&lint.space.spec.segments);
    // A pair that the policy selects and another policy decides.
    let pairs = segments().flat_map(|(f, from)| segments().map(move |(t, to)| (f, from, t, to)));
    let mut wanted =
        pairs.filter(|(_, from, _, to)| selected(&block.from, from) && selected(&block.to, to));
    let taken = wanted.find_map(|(f, _, t, _)| {
        let other = lint.space.policy.block(f, t).filter(|other| *other != id)?;
        let ground = lint.space.grounds_of(other).find(|g| g.from == f && g.to == t)?;
        Some((other, ground.clone()))
    });
    let text = "no flow meets this policy";
    let finding = Diagnostic::warning("unreachable-policy", text);
    let finding = match taken {
        Some((other, ground)) => {
            let flow = lint.space.any_flow(&ground, &mut lint.values);
            let witness = flow.map(|flow| lint.space.on(&ground, flow));
            finding
                .at(place, "more specific policies decide between all these segments")
                .also(lint.policy_places(other.0 as usize).from, "this one, for example")
                .help("remove it; the more specific of two policies decides alone")
                .shown_by(witness)
        }
        None => finding
            .at(place, "these segments never meet in one scope")
            .help("partners meet workload and shared segments, in their own scope; all segments meet in the common scope only"),
    };
    lint.findings.push(finding);
}

/// A flow that its rules would not allow.
fn monitor(lint: &mut Lint<'_>, stage: &Stage, block: &BlockSpec) {
    let allows: Vec<&Asks> = lint
        .space
        .asks_of(stage.id)
        .iter()
        .zip(&block.rules)
        .filter(|(_, rule)| rule.action == Action::Allow)
        .map(|(asks, _)| asks)
        .collect();
    let found = if block.otherwise == Action::Allow {
        Left::Nothing
    } else {
        left(stage.areas.iter().cloned(), &allows, &mut lint.values)
    };
    let witness = found.flow().and_then(|flow| lint.space.witness(stage.id, flow));
    let place = lint.policy_places(stage.id.0 as usize).from;
    lint.findings.push(
        Diagnostic::warning("monitor-policy", "this policy only monitors: it lets everything pass")
            .at(place, "mode: monitor")
            .help("write `mode: enforce` once its records show what is to be allowed")
            .shown_by(witness),
    );
}

/// Whether a policy cannot deny any flow.
fn allows_everything(block: &BlockSpec) -> bool {
    let rules = || block.rules.iter().map(|rule| rule.action);
    block.otherwise == Action::Allow && rules().all(|action| action == Action::Allow)
}

fn open(lint: &mut Lint<'_>, stage: &Stage) {
    let found = left(stage.areas.iter().cloned(), &[], &mut lint.values);
    let witness = found.flow().and_then(|flow| lint.space.witness(stage.id, flow));
    let places = lint.policy_places(stage.id.0 as usize);
    lint.findings.push(
        Diagnostic::warning("open-policy", "this policy allows everything")
            .at(places.otherwise.unwrap_or(places.from), "and no rule denies anything")
            .help("write `otherwise: deny`, and a rule for each thing that is to be allowed")
            .shown_by(witness),
    );
}

fn check_rule(lint: &mut Lint<'_>, stage: &Stage, block: &BlockSpec, at: usize) {
    let Some(rule) = block.rules.get(at) else { return };
    if rule.expires.is_some_and(|day| day < lint.options.today.days()) {
        return;
    }
    match deciding(lint, stage, at) {
        Left::Flow(flow) => redundant(lint, stage, block, at, *flow),
        Left::Nothing => dead(lint, stage, block, at),
        Left::NotProved => {
            let places = lint.rule_places(stage.id.0 as usize, at);
            let text = format!("rule `{}`: whether it ever decides was not proved", rule.id);
            lint.findings.push(
                Diagnostic::warning("not-proved", text)
                    .at(places.id, "too many cases")
                    .help("fewer patterns with `*` in one list make the proof possible"),
            );
        }
    }
}

/// A flow that a rule decides: a sample, if that does; else by proof.
fn deciding(lint: &mut Lint<'_>, stage: &Stage, at: usize) -> Left {
    let all = lint.space.asks_of(stage.id);
    let Some(asks) = all.get(at) else { return Left::Nothing };
    for area in stage.meeting(asks) {
        let Some(flow) = Flow::of(&area, &mut lint.values) else { continue };
        let decided = lint.space.decide(stage.id, &flow);
        if decided.is_some_and(|(rule, _)| rule == Some(at)) {
            return Left::Flow(Box::new(flow));
        }
    }
    let earlier: Vec<&Asks> =
        all.get(..at).unwrap_or_default().iter().filter(|other| other.may_meet(asks)).collect();
    left(stage.meeting(asks), &earlier, &mut lint.values)
}

/// A rule that never decides: nothing meets it, or earlier rules take all that does.
fn dead(lint: &mut Lint<'_>, stage: &Stage, block: &BlockSpec, at: usize) {
    let all = lint.space.asks_of(stage.id);
    let (Some(rule), Some(asks)) = (block.rules.get(at), all.get(at).cloned()) else { return };
    let asks = &asks;
    let sample = stage.meeting(asks).find_map(|area| Flow::of(&area, &mut lint.values));
    let Some(sample) = sample else {
        unreachable_rule(lint, stage, block, at);
        return;
    };
    let earlier: Vec<usize> =
        (0..at).filter(|n| all.get(*n).is_some_and(|other| other.may_meet(asks))).collect();
    let cover = cover(lint, stage, asks, &earlier);
    let opposite =
        cover.iter().any(|n| block.rules.get(*n).is_some_and(|other| other.action != rule.action));
    let names: Vec<String> = cover
        .iter()
        .take(SHOWN_LIMIT)
        .filter_map(|n| Some(format!("`{}`", block.rules.get(*n)?.id)))
        .collect();
    let more = cover.len().saturating_sub(SHOWN_LIMIT);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let (take, rules) = if cover.len() == 1 { ("takes", "rule") } else { ("take", "rules") };
    let text = format!(
        "rule `{}` never decides: {rules} {}{more} before it {take} all its flows",
        rule.id,
        names.join(", ")
    );
    let code = if opposite { "contradicted-rule" } else { "shadowed-rule" };
    let policy = stage.id.0 as usize;
    let mut finding = Diagnostic::warning(code, text)
        .at(lint.rule_places(policy, at).id, format!("{} that never happens", rule.action.name()));
    for n in cover.iter().take(SHOWN_LIMIT) {
        let action = block.rules.get(*n).map_or("", |other| other.action.name());
        finding = finding.also(lint.rule_places(policy, *n).id, format!("{action}: decides first"));
    }
    let help = if opposite {
        "the first rule that matches decides; move this rule up, narrow the other, or remove it"
    } else {
        "remove it, or narrow the other"
    };
    let witness = lint.space.witness(stage.id, sample);
    lint.findings.push(finding.help(help).shown_by(witness));
}

/// One rule that takes everything, or the fewest that are found to.
fn cover(lint: &mut Lint<'_>, stage: &Stage, asks: &Asks, earlier: &[usize]) -> Vec<usize> {
    let all = lint.space.asks_of(stage.id);
    let values = &mut lint.values;
    let mut covers = |rules: &[usize]| {
        let rules: Vec<&Asks> = rules.iter().filter_map(|n| all.get(*n)).collect();
        left(stage.meeting(asks), &rules, values) == Left::Nothing
    };
    if let Some(one) = earlier.iter().find(|n| covers(&[**n])) {
        return vec![*one];
    }
    let mut needed = earlier.to_vec();
    if needed.len() <= COVER_LIMIT {
        for n in earlier.iter().rev() {
            let fewer: Vec<usize> = needed.iter().copied().filter(|other| other != n).collect();
            if covers(&fewer) {
                needed = fewer;
            }
        }
    }
    needed
}

/// Conditions that no flow of the policy meets.
fn unreachable_rule(lint: &mut Lint<'_>, stage: &Stage, block: &BlockSpec, at: usize) {
    let all = lint.space.asks_of(stage.id);
    let (Some(rule), Some(asks)) = (block.rules.get(at), all.get(at).cloned()) else { return };
    let asks = &asks;
    if stage.room(asks, &mut lint.values) == Room::NotProved {
        return;
    }
    let outside = |dimension| {
        asks.number(dimension).is_some_and(|wanted| {
            stage.areas.iter().all(|area| !area.number(dimension).meets(wanted))
        })
    };
    let (field, what) = if outside(Dimension::Destination) {
        ("destinations", "no receiving segment holds any of these addresses")
    } else if outside(Dimension::Source) {
        ("sources", "no sending segment holds any of these addresses")
    } else {
        ("", "its conditions are never met together")
    };
    let places = lint.rule_places(stage.id.0 as usize, at);
    let help = if field.is_empty() {
        "no flow can show all of this at once; make two rules, or remove it"
    } else {
        "write addresses that belong to the segments of this policy, or remove the rule"
    };
    let witness = as_written(lint, stage, asks)
        .or_else(|| super::protocols::without_facts(lint, stage, asks.clone()))
        .or_else(|| {
            let flow = stage.areas.iter().find_map(|area| Flow::of(area, &mut lint.values))?;
            lint.space.witness(stage.id, flow)
        });
    lint.findings.push(
        Diagnostic::warning("unreachable-rule", format!("rule `{}` can never match", rule.id))
            .at(places.field(field), what)
            .also(lint.policy_places(stage.id.0 as usize).from, "for flows between these segments")
            .help(help)
            .shown_by(witness),
    );
}

/// A flow as the rule describes it, wherever its addresses belong.
fn as_written(lint: &mut Lint<'_>, stage: &Stage, asks: &Asks) -> Option<Witness> {
    let ground = lint.space.grounds_of(stage.id).next()?.clone();
    let anywhere = |asked: Option<&Ranges>, own: &Ranges| match asked {
        Some(asked) if !asked.meets(own) => asked.clone(),
        _ => own.clone(),
    };
    let src = anywhere(asks.number(Dimension::Source), &ground.sources);
    let mut dst = anywhere(asks.number(Dimension::Destination), &ground.destinations);
    if !(src.meets(&ipv4()) && dst.meets(&ipv4()) || src.meets(&ipv6()) && dst.meets(&ipv6())) {
        dst = asks.number(Dimension::Destination).cloned().unwrap_or_else(|| src.clone());
    }
    let days = Ranges::span(lint.options.today.days().into(), u32::MAX.into());
    let ech = lint.space.spec.defaults.encrypted_client_hello;
    let areas = boxes(&src, &dst, &days, ech);
    let flow = areas
        .iter()
        .filter_map(|area| area.and(asks))
        .find_map(|area| Flow::of(&area, &mut lint.values))?;
    Some(lint.space.on(&ground, flow))
}

/// Whether a rule's flows would be decided and recorded the same without it.
fn redundant(lint: &mut Lint<'_>, stage: &Stage, block: &BlockSpec, at: usize, flow: Flow) {
    let all = lint.space.asks_of(stage.id);
    let (Some(rule), Some(asks)) = (block.rules.get(at), all.get(at)) else { return };
    let same = |n: usize| {
        block.rules.get(n).is_some_and(|other| other.action == rule.action && other.log == rule.log)
    };
    let otherwise_same = block.otherwise == rule.action && rule.log == FlowLog::default();
    // A denial that `otherwise` would also make stands there by intention: it has a name.
    let falls_through = otherwise_same && rule.action == Action::Allow;
    let start = at.saturating_add(1);
    let takes = |other: &Asks| other.may_meet(asks) && flow.meets(other, &lint.values);
    let next = (start..all.len()).find(|n| all.get(*n).is_some_and(takes));
    if !next.map_or(falls_through, same) {
        return;
    }
    let later: Vec<usize> = (start..all.len())
        .filter(|n| all.get(*n).is_some_and(|other| other.may_meet(asks)))
        .collect();
    let mut taken: Vec<&Asks> =
        all.get(..at).unwrap_or_default().iter().filter(|other| other.may_meet(asks)).collect();
    for n in &later {
        let Some(other) = all.get(*n) else { continue };
        if !same(*n) {
            let both = stage.meeting(asks).filter_map(|area| area.and(other));
            if left(both, &taken, &mut lint.values) != Left::Nothing {
                return;
            }
        }
        taken.push(other);
    }
    if !falls_through && left(stage.meeting(asks), &taken, &mut lint.values) != Left::Nothing {
        return;
    }
    let policy = stage.id.0 as usize;
    let (other, place) = match next.and_then(|n| Some((n, block.rules.get(n)?))) {
        Some((n, other)) => (format!("rule `{}`", other.id), lint.rule_places(policy, n).id),
        None => ("`otherwise`".to_owned(), lint.policy_places(policy).from),
    };
    let text = format!("rule `{}` changes nothing: {other} decides the same without it", rule.id);
    let witness = lint.space.witness(stage.id, flow);
    lint.findings.push(
        Diagnostic::warning("redundant-rule", text)
            .at(lint.rule_places(policy, at).id, "may as well not be there")
            .also(place, format!("{} all the same", rule.action.name()))
            .help("remove it, or narrow what comes after it")
            .shown_by(witness),
    );
}
