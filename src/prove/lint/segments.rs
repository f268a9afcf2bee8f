//! Segments and sets that nothing uses, segments that hold no address, networks that overlap.

use super::Lint;
use super::dates::of_expired;
use crate::model::{Addr, SegmentId};
use crate::policy::spec::SegmentKind;
use crate::ruleset::region::{Flow, Ground, Ranges, Witness, addresses, boxes};
use crate::ruleset::{Diagnostic, Place};

pub(super) fn check(lint: &mut Lint<'_>) {
    unused_sets(lint);
    for at in 0..lint.loaded.spec.segments.len() {
        let Ok(id) = u16::try_from(at) else { return };
        segment(lint, SegmentId(id));
    }
}

fn unused_sets(lint: &mut Lint<'_>) {
    for set in lint.loaded.places.sets.iter().filter(|set| !set.used) {
        lint.findings.push(
            Diagnostic::warning("unused-set", format!("set `{}` is never used", set.name))
                .at(set.place, "no rule, segment or guardrail names it")
                .help(format!("use it as `${}`, or remove it", set.name)),
        );
    }
}

fn segment(lint: &mut Lint<'_>, id: SegmentId) {
    let Some(spec) = lint.loaded.spec.segments.get(usize::from(id.0)) else { return };
    let place = segment_place(lint, id);
    // A trusted proxy is used by those it speaks for.
    let of_segment =
        |ground: &&Ground| ground.from == id || ground.to == id || ground.proxy == Some(id);
    let grounds: Vec<Ground> = lint.space.grounds.iter().filter(of_segment).cloned().collect();
    if grounds.is_empty() {
        let text = format!("segment `{}` holds no address anywhere", spec.name);
        let taken =
            spec.networks.first().and_then(|net| taken_from(lint, net.network().into(), id));
        let (what, witness) = match taken {
            Some((other, witness)) => (format!("its addresses belong to `{other}`"), witness),
            None => ("no scope holds it together with another segment".to_owned(), None),
        };
        lint.findings.push(
            Diagnostic::warning("segment-without-addresses", text)
                .at(place, what)
                .help("give each network to one segment; the longest network wins")
                .shown_by(witness),
        );
        return;
    }
    let decided = |ground: &Ground| lint.space.policy.block(ground.from, ground.to).is_some();
    // One that a guardrail names stands there so that nothing is allowed to it.
    if grounds.iter().any(decided) || lint.loaded.places.guarded.contains(&spec.name) {
        return;
    }
    let witness = grounds.first().and_then(|ground| {
        let flow = lint.space.any_flow(ground, &mut lint.values)?;
        Some(lint.space.on(ground, flow))
    });
    lint.findings.push(
        Diagnostic::warning(
            "unused-segment",
            format!("no policy is from or to segment `{}`", spec.name),
        )
        .at(place, "all its flows are denied: no-policy")
        .help("write a policy for it, or remove it")
        .shown_by(witness),
    );
}

fn segment_place(lint: &Lint<'_>, id: SegmentId) -> Place {
    lint.loaded.places.segments.get(usize::from(id.0)).map_or_else(Place::default, |s| s.name)
}

/// Who holds an address instead, and a flow from it.
fn taken_from(
    lint: &mut Lint<'_>,
    addr: Addr,
    not: SegmentId,
) -> Option<(String, Option<Witness>)> {
    let holds = |ground: &&Ground| ground.from != not && ground.sources.contains(addr.bits());
    let ground = lint.space.grounds.iter().find(holds)?.clone();
    let name = lint.space.segment(ground.from).to_owned();
    Some((name, flow_from(lint, &ground, addr)))
}

/// A flow of a ground from one address.
fn flow_from(lint: &mut Lint<'_>, ground: &Ground, addr: Addr) -> Option<Witness> {
    let days = Ranges::span(lint.options.today.days().into(), u32::MAX.into());
    let ech = lint.space.spec.defaults.encrypted_client_hello;
    let areas = boxes(&Ranges::one(addr.bits()), &ground.destinations, &days, ech);
    let flow = areas.iter().find_map(|area| Flow::of(area, &mut lint.values))?;
    Some(lint.space.on(ground, flow))
}

/// Shows a warning of loading by a flow, where one does.
pub(super) fn with_witness(lint: &mut Lint<'_>, warning: Diagnostic) -> Diagnostic {
    let Some(place) = warning.label.as_ref().map(|label| label.place) else { return warning };
    let witness = match warning.code {
        "expired" => {
            let policies = lint.loaded.places.policies.iter().enumerate();
            let mut rules = policies.flat_map(|(p, policy)| {
                policy.rules.iter().enumerate().map(move |(r, rule)| (p, r, rule))
            });
            let found = rules.find(|(_, _, rule)| rule.field("expires") == place);
            found.and_then(|(policy, rule, _)| of_expired(lint, policy, rule))
        }
        "partner-inside" => overlap(lint, place),
        _ => None,
    };
    warning.shown_by(witness)
}

/// A flow with an address of the network at a place, as it is judged.
fn overlap(lint: &mut Lint<'_>, place: Place) -> Option<Witness> {
    let segments = &lint.loaded.places.segments;
    let (at, net) = segments.iter().enumerate().find_map(|(at, segment)| {
        let found = segment.networks.iter().find(|(_, p)| *p == place);
        found.map(|(net, _)| (at, *net))
    })?;
    let id = SegmentId(u16::try_from(at).ok()?);
    let partner = lint.loaded.spec.segments.get(at)?;
    debug_assert_eq!(partner.kind, SegmentKind::Partner, "only partners are reported");
    let inside = addresses([&net]);
    let own = |g: &&Ground| g.from == id && g.sources.meets(&inside);
    let other = |g: &&Ground| g.to == id && g.sources.meets(&inside);
    let ground = lint.space.grounds.iter().find(own);
    let ground = ground.or_else(|| lint.space.grounds.iter().find(other))?.clone();
    let first = ground.sources.and(&inside).first()?;
    flow_from(lint, &ground, Addr::v6(first.to_be_bytes()))
}
