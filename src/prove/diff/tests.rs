//! Regions of a change against a walk over all flows of small worlds.

use super::*;
use crate::model::PolicyId;
use crate::policy::Policy;
use crate::policy::spec::RuleSpec;
use crate::prove::lint::tests::loaded;
use crate::ruleset::region::Flow;
use crate::ruleset::region::tests::{flows, random_rules, rule, spec};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Verdict and rule before and after.
type Ends = (String, Option<String>, String, Option<String>);

fn decided(policy: &Policy, flow: &Flow) -> (String, Option<String>) {
    let verdict = flow.decide(policy, PolicyId(0)).unwrap();
    let rule = verdict.rule.and_then(|rule| policy.rule(rule)).map(|rule| rule.name.to_string());
    (verdict.action.name().to_owned(), rule)
}

fn ends(old: &Policy, new: &Policy, flow: &Flow) -> Ends {
    let ((a, b), (c, d)) = (decided(old, flow), decided(new, flow));
    (a, b, c, d)
}

/// What is done, where, and the fields of a new rule.
type RuleEdit = (u8, u8, Vec<(u8, u8)>);

/// The rules after one to three edits.
fn edited(rules: &[RuleSpec], edits: &[RuleEdit]) -> Vec<RuleSpec> {
    let mut rules = rules.to_vec();
    for (number, (edit, at, fields)) in edits.iter().enumerate() {
        let at = usize::from(*at) % (rules.len() + 1);
        match edit % 3 {
            0 => rules.insert(at, rule(90 + number, fields)),
            1 if at < rules.len() => drop(rules.remove(at)),
            _ if at + 1 < rules.len() => rules.swap(at, at + 1),
            _ => {}
        }
    }
    rules
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_region_is_told_exactly_if_a_flow_changes_its_verdict(
        rules in random_rules(),
        edits in prop::collection::vec(
            (0_u8..3, 0_u8..6, prop::collection::vec((0_u8..16, 0_u8..16), 0..4)), 1..4),
        otherwise in 0_usize..9,
        defaults in 0_u8..4,
    ) {
        let rules: Vec<RuleSpec> = rules.iter().enumerate().map(|(id, fields)| rule(id, fields)).collect();
        let after = edited(&rules, &edits);
        let actions = [Action::Deny, Action::Reject, Action::Allow];
        let old = loaded(spec(rules, actions[otherwise % 3], defaults));
        let new = loaded(spec(after, actions[otherwise / 3], defaults));
        let diff = diff(&old, &new, Date::from_days(10));
        prop_assert_eq!(&diff.not_proved, &Vec::<String>::new());
        let mut told = BTreeSet::new();
        for change in &diff.changes {
            let ends = ends(&old.policy, &new.policy, &change.witness.flow);
            let said = (
                change.old.verdict.clone(), change.old.rule.clone(),
                change.new.verdict.clone(), change.new.rule.clone(),
            );
            prop_assert_eq!(&ends, &said, "{:?}", change.witness.flow);
            prop_assert!(told.insert(said));
        }
        for flow in flows(defaults & 1 == 1) {
            let ends = ends(&old.policy, &new.policy, &flow);
            if ends.0 != ends.2 {
                prop_assert!(told.contains(&ends), "{:?} {:?}", ends, flow);
            }
        }
    }

    #[test]
    fn the_same_ruleset_changes_nothing(rules in random_rules(), defaults in 0_u8..4) {
        let rules: Vec<RuleSpec> = rules.iter().enumerate().map(|(id, fields)| rule(id, fields)).collect();
        let old = loaded(spec(rules.clone(), Action::Deny, defaults));
        let new = loaded(spec(rules, Action::Deny, defaults));
        let diff = diff(&old, &new, Date::from_days(10));
        prop_assert!(diff.is_empty(), "{:?}", diff);
    }
}
