//! The decision against every world that is still possible.

use super::*;
use proptest::prelude::*;

const NAMES: [&str; 3] = ["a.example", "b.example", "x.a.example"];

fn random_rule() -> impl Strategy<Value = String> {
    let sides = ["", "port=443", "port=80"];
    let on_name = ["", "", "names=a.example", "names=.a.example", "names=b.example", "names=*"];
    let on_tls = ["", "", "min=1.2", "min=1.3", "app=tls", "app=http"];
    let actions = ["allow", "allow", "deny", "reject"];
    (0..sides.len(), 0..on_name.len(), 0..on_tls.len(), 0..actions.len()).prop_map(
        move |(side, name, tls, action)| {
            format!("r {} {} {} {}", actions[action], sides[side], on_name[name], on_tls[tls])
        },
    )
}

/// Everything that may turn out, for a flow of which nothing is known.
fn worlds() -> Vec<Facts> {
    let mut worlds = vec![facts("app=ssh name=- q=- offered=- ver=-")];
    for name in NAMES.iter().chain(&["-"]) {
        worlds.push(facts(&format!("app=http name={name} q=- offered=- ver=-")));
        for (offered, version) in [("1.1", "1.1"), ("1.2", "1.2"), ("1.3", "1.2"), ("1.3", "1.3")] {
            let tls = format!("app=tls name={name} q=- offered={offered} ver={version}");
            worlds.push(facts(&tls));
        }
    }
    worlds
}

/// What is known before everything is: nothing, the protocol, the hello.
fn partial(world: &Facts, step: u8) -> Facts {
    let mut facts = Facts::default();
    if step >= 1 {
        facts.app = world.app.clone();
    }
    if step >= 2 {
        facts.domain = world.domain.clone();
        facts.tls.offered = world.tls.offered.clone();
    }
    if step >= 3 {
        facts.tls.version = world.tls.version.clone();
    }
    facts
}

/// First match with everything known, written as plainly as can be.
fn naive(spec: &BlockSpec, port: u16, world: &Facts) -> Action {
    let holds = |rule: &RuleSpec| {
        let name = world.domain.known();
        rule.ports.as_ref().is_none_or(|ports| ports[0].first == port)
            && rule.app.is_none_or(|app| world.app.known().is_some_and(|known| app.is(*known)))
            && rule.domains.as_ref().is_none_or(|set| name.is_some_and(|n| set.contains(n)))
            && rule
                .tls
                .min_version
                .is_none_or(|v| world.tls.version.known().is_some_and(|k| *k >= v))
    };
    spec.rules.iter().find(|rule| holds(rule)).map_or(spec.otherwise, |rule| rule.action)
}

proptest! {
    #[test]
    fn a_final_decision_is_right_in_every_world_that_is_still_possible(
        rules in prop::collection::vec(random_rule(), 0..6),
        otherwise in 0_usize..3,
        port in prop::sample::select(vec![443_u16, 80]),
        step in 0_u8..=3,
        pick in any::<prop::sample::Index>(),
    ) {
        let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
        let spec = block(&texts, ["allow", "deny", "reject"][otherwise]);
        let block = Block::build(&spec, RuleId(0));
        let worlds = worlds();
        let seen = partial(pick.get(&worlds), step);
        let decision = decide(&block, &query(port), &seen, &DefaultsSpec::default());
        let possible: Vec<Action> = worlds
            .iter()
            .filter(|world| partial(world, step) == seen)
            .map(|world| naive(&spec, port, world))
            .collect();
        match decision {
            Decision::Final(verdict) => {
                prop_assert!(possible.iter().all(|a| *a == verdict.action), "{possible:?} {rules:?}");
            }
            Decision::Pending { needs } => {
                prop_assert!(step < 3, "pending with everything known {rules:?}");
                prop_assert!(needs.client || needs.server);
                prop_assert!(needs.may_allow || possible.iter().all(|a| *a != Action::Allow));
                prop_assert!(step < 2 || !needs.client, "the hello is known {rules:?}");
            }
        }
    }
}

/// A rule that may ask for anything.
fn any_rule() -> impl Strategy<Value = String> {
    let sides = ["", "", "port=443", "port=80"];
    let on_dns = ["", "dns=a.example", "dns=.a.example", "app=dns dns=*", "answers=10.0.0.0/8"];
    let on_hello =
        ["", "", "names=a.example bind=", "min=1.3", "ja4=x", "cert=CN", "api=abcdefghij"];
    let other =
        ["", "", "", "app=dns", "app=tls", "until=99", "until=100", "midstream=", "in_date="];
    let actions = ["allow", "deny", "reject"];
    (0..sides.len(), 0..on_dns.len(), 0..on_hello.len(), 0..other.len(), 0..actions.len()).prop_map(
        move |(side, dns, hello, other_at, action)| {
            let asks = [sides[side], on_dns[dns], on_hello[hello], other[other_at]];
            format!("r {} {}", actions[action], asks.join(" "))
        },
    )
}

proptest! {
    #[test]
    fn an_opening_is_decided_as_its_flow_and_its_message_are_each_alone(
        rules in prop::collection::vec(any_rule(), 0..8),
        otherwise in 0_usize..3,
        port in prop::sample::select(vec![443_u16, 80]),
        hidden_denies in any::<bool>(),
        name in prop::sample::select(NAMES.to_vec()),
        asks in any::<bool>(),
    ) {
        let texts: Vec<&str> = rules.iter().map(String::as_str).collect();
        let block = Block::build(&block(&texts, ["allow", "deny", "reject"][otherwise]), RuleId(0));
        let mut defaults = DefaultsSpec::default();
        if hidden_denies {
            defaults.encrypted_client_hello = EncryptedClientHello::Deny;
            defaults.client_certificate_not_visible = Answer::Deny;
        }
        let mut message = Facts::default();
        message.settle_without_names(App::Dns);
        message.questions = Fact::Known(vec![domain(name)]);
        let shown = Message { facts: &message, question: &domain(name) };
        let opening = block.decide_opening(&query(port), asks.then_some(shown), &defaults);
        let alone = |facts: &Facts| decide(&block, &query(port), facts, &defaults);
        prop_assert_eq!(opening.flow, alone(&Facts::default()), "{:?}", rules);
        prop_assert_eq!(opening.message, asks.then(|| alone(&message)), "{:?}", rules);
    }
}
