//! Rules past their last day, or near it.

use super::Lint;
use crate::model::Action;
use crate::ruleset::region::{Dimension, Flow, Ranges};
use crate::ruleset::{Date, Diagnostic};

pub(super) fn check(lint: &mut Lint<'_>) {
    let today = lint.options.today.days();
    for (id, block) in lint.space.policies() {
        let mut stage = None;
        for (at, rule) in block.rules.iter().enumerate() {
            let Some(last) = rule.expires.filter(|_| rule.action == Action::Allow) else {
                continue;
            };
            let days = i64::from(last).saturating_sub(i64::from(today));
            if days < 0 || days > i64::from(lint.options.soon_days) {
                continue;
            }
            let stage = stage.get_or_insert_with(|| lint.space.stage(id));
            let Some(asks) = lint.space.asks_of(id).get(at) else { continue };
            let flow = stage.meeting(asks).find_map(|area| Flow::of(&area, &mut lint.values));
            let witness = flow.and_then(|flow| lint.space.witness(id, flow));
            let when = match days {
                0 => "after today".to_owned(),
                1 => "after tomorrow".to_owned(),
                days => format!("in {days} days"),
            };
            let place = lint.rule_places(id.0 as usize, at).field("expires");
            lint.findings.push(
                Diagnostic::warning("expires-soon", format!("rule `{}` expires {when}", rule.id))
                    .at(
                        place,
                        format!(
                            "from 00:00 UTC of {} on it matches nothing",
                            Date::from_days(u64::from(last).saturating_add(1))
                        ),
                    )
                    .help("have it renewed, or plan its removal")
                    .shown_by(witness),
            );
        }
    }
}

/// A flow that an expired rule would have decided.
pub(super) fn of_expired(
    lint: &mut Lint<'_>,
    policy: usize,
    rule: usize,
) -> Option<crate::ruleset::region::Witness> {
    let id = crate::model::PolicyId(u32::try_from(policy).ok()?);
    let stage = lint.space.stage(id);
    let mut asks = lint.space.asks_of(id).get(rule)?.clone();
    asks.set(Dimension::Day, None::<Ranges>);
    let flow = stage.meeting(&asks).find_map(|area| Flow::of(&area, &mut lint.values))?;
    lint.space.witness(id, flow)
}
