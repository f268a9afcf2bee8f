//! Lint against a walk over all flows of small worlds: what it says of a rule holds for every flow.

use super::*;
use crate::model::{Action, PolicyId};
use crate::policy::Policy;
use crate::policy::spec::{PolicySpec, RuleSpec};
use crate::ruleset::region::tests::{flows, random_rules, rule, spec};
use crate::ruleset::{Places, Sources, Summary};
use proptest::prelude::*;

pub(in crate::prove) fn loaded(spec: PolicySpec) -> Loaded {
    Loaded {
        policy: Policy::compile(&spec, None).unwrap(),
        spec,
        summary: Summary::default(),
        warnings: Vec::new(),
        sources: Sources::default(),
        places: Places::default(),
    }
}

fn findings(loaded: &Loaded) -> Vec<Diagnostic> {
    lint(loaded, LintOptions { today: Date::from_days(10), soon_days: 0 })
}

/// The position of the rule a finding is about.
fn about(finding: &Diagnostic) -> usize {
    let name = finding.message.split('`').nth(1).unwrap();
    name.strip_prefix('r').unwrap().parse().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_said_of_a_rule_holds_for_every_flow(rules in random_rules(), defaults in 0_u8..4) {
        let rules: Vec<RuleSpec> = rules.iter().enumerate().map(|(id, fields)| rule(id, fields)).collect();
        let loaded = loaded(spec(rules, Action::Deny, defaults));
        let all = flows(defaults & 1 == 1);
        for finding in findings(&loaded) {
            match finding.code {
                "shadowed-rule" | "contradicted-rule" | "unreachable-rule" => {
                    let at = about(&finding);
                    for flow in &all {
                        let rule = flow.decide(&loaded.policy, PolicyId(0)).unwrap().rule;
                        prop_assert!(rule.is_none_or(|rule| rule.0 as usize != at), "{}", finding.message);
                    }
                    let witness = finding.witness.clone().expect("a flow shows it");
                    let decided = witness.flow.decide(&loaded.policy, PolicyId(0)).unwrap().rule;
                    prop_assert!(finding.code == "unreachable-rule" || decided.unwrap().0 < at as u32);
                }
                "redundant-rule" => {
                    let at = about(&finding);
                    let mut without = loaded.spec.clone();
                    without.policies[0].rules.remove(at);
                    let fewer = Policy::compile(&without, None).unwrap();
                    for flow in &all {
                        let before = flow.decide(&loaded.policy, PolicyId(0)).unwrap().action;
                        let after = flow.decide(&fewer, PolicyId(0)).unwrap().action;
                        prop_assert_eq!(before, after, "{} {:?}", finding.message, flow);
                    }
                }
                _ => {}
            }
            if let Some(witness) = &finding.witness {
                prop_assert!(witness.flow.decide(&loaded.policy, PolicyId(0)).is_some());
            }
        }
    }

    #[test]
    fn what_changes_nothing_is_said_to(rules in random_rules(), again in 0_usize..5) {
        // A rule said twice: the second never decides, unless the first one does not either.
        let mut rules: Vec<RuleSpec> = rules.iter().enumerate().map(|(id, fields)| rule(id, fields)).collect();
        let mut copy = rules[again % rules.len()].clone();
        let at = rules.len();
        copy.id = format!("r{at}");
        rules.push(copy);
        let loaded = loaded(spec(rules, Action::Deny, 0));
        let said = findings(&loaded);
        let codes = ["shadowed-rule", "contradicted-rule", "unreachable-rule"];
        prop_assert!(said.iter().any(|f| codes.contains(&f.code) && about(f) == at));
    }
}
