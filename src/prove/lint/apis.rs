//! Allow rules by API id alone. The id is a field that clients write and only API Gateway heeds: what
//! else stands in the segment is reached by whoever writes it.

use super::Lint;
use crate::model::Action;
use crate::prove::space::Stage;
use crate::ruleset::Diagnostic;
use crate::ruleset::region::{Asks, Left, left};

pub(super) fn check(lint: &mut Lint<'_>) {
    for (id, block) in lint.space.policies() {
        let mut stage = None;
        for (at, rule) in block.rules.iter().enumerate() {
            let elsewhere = rule.destinations.is_none() && rule.domains.is_none();
            if rule.action == Action::Allow && rule.api_ids.is_some() && elsewhere {
                let stage = stage.get_or_insert_with(|| lint.space.stage(id));
                report(lint, stage, at);
            }
        }
    }
}

/// Reports a rule, unless those before it leave it no flow.
fn report(lint: &mut Lint<'_>, stage: &Stage, at: usize) {
    let all = lint.space.asks_of(stage.id);
    let (Some(rule), Some(asks)) = (lint.space.rule(stage.id, at), all.get(at)) else { return };
    let earlier: Vec<&Asks> = all.iter().take(at).filter(|other| other.may_meet(asks)).collect();
    let witness = match left(stage.meeting(asks), &earlier, &mut lint.values) {
        Left::Flow(flow) => lint.space.witness(stage.id, *flow),
        Left::NotProved => None,
        Left::Nothing => return,
    };
    let text = format!("rule `{}` takes an API id to any server", rule.id);
    let place = lint.rule_places(stage.id.0 as usize, at).field("api_id");
    lint.findings.push(
        Diagnostic::warning("broad-api-id", text)
            .at(place, "clients write it, and only API Gateway heeds it")
            .help("say by `destinations` or `domains` where the API is")
            .shown_by(witness),
    );
}
