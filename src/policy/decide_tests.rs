//! The decision function against tables of rules and facts, and against a naive twin.

use super::super::decision::{Bound, NoTrace, RecordedTrace};
use super::super::names::{NamePattern, NameSet, TextPattern};
use super::super::spec::{
    Answer, AppMatch, CertificateSpec, EncryptedClientHello, Mode, PortRange, RuleSpec,
};
use super::*;
use crate::model::{
    Addr, ApiId, App, Certificate, Ech, Fact, FiveTuple, Ja4, PolicyId, Protocol, TlsVersion,
};
use std::sync::Arc;

fn names(list: &str) -> Arc<NameSet> {
    let patterns = list.split(',').map(|text| NamePattern::parse(text).unwrap());
    Arc::new(NameSet::build(patterns).unwrap())
}

fn version(text: &str) -> TlsVersion {
    TlsVersion(0x0301 + text.strip_prefix("1.").unwrap().parse::<u16>().unwrap())
}

fn action(text: &str) -> Action {
    *[Action::Allow, Action::Deny, Action::Reject].iter().find(|a| a.name() == text).unwrap()
}

fn app(text: &str) -> App {
    match text {
        "tls" => App::Tls,
        "quic" => App::Quic,
        "http" => App::Http,
        "dns" => App::Dns,
        "ssh" => App::Greeting("ssh"),
        _ => App::Other,
    }
}

/// `id action field=value ...`; a rule is named by its position in verdicts.
fn rule(text: &str) -> RuleSpec {
    let mut words = text.split_whitespace();
    let mut rule = RuleSpec::new(words.next().unwrap(), action(words.next().unwrap()));
    for field in words {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "port" => rule.ports = Some(vec![PortRange::one(value.parse().unwrap())]),
            "names" => rule.domains = Some(names(value)),
            "dns" => rule.dns = Some(names(value)),
            "bind" => rule.bind_dns = true,
            "answers" => rule.answers = Some(vec![value.parse().unwrap()]),
            "api" => rule.api_ids = ApiId::parse(value.as_bytes()).map(|id| vec![id]),
            "in_date" => {
                rule.tls.client_certificate =
                    Some(CertificateSpec { in_date: true, ..CertificateSpec::default() });
            }
            "app" => {
                rule.app = Some(match value {
                    "tls" => AppMatch::Tls,
                    "quic" => AppMatch::Quic,
                    "http" => AppMatch::Http,
                    _ => AppMatch::Dns,
                });
            }
            "min" => rule.tls.min_version = Some(version(value)),
            "ja4" => rule.tls.ja4 = Some(vec![Ja4([value.as_bytes()[0]; 36])]),
            "cert" => {
                rule.tls.client_certificate = Some(CertificateSpec {
                    issuers: (!value.is_empty()).then(|| vec![value.to_owned()]),
                    ..CertificateSpec::default()
                });
            }
            "san" => {
                let names = Some(vec![TextPattern::parse(value).unwrap()]);
                rule.tls.client_certificate =
                    Some(CertificateSpec { names, ..CertificateSpec::default() });
            }
            "midstream" => rule.midstream = Answer::Allow,
            "until" => rule.expires = Some(value.parse().unwrap()),
            other => panic!("{other}"),
        }
    }
    rule
}

fn block(rules: &[&str], otherwise: &str) -> BlockSpec {
    BlockSpec {
        location: String::new(),
        from: Vec::new(),
        to: Vec::new(),
        mode: Mode::Enforce,
        rules: rules.iter().map(|text| rule(text)).collect(),
        otherwise: action(otherwise),
    }
}

fn domain(text: &str) -> DomainName {
    DomainName::from_host(text.as_bytes()).unwrap()
}

fn fact<T>(value: &str, known: impl FnOnce(&str) -> T) -> Fact<T> {
    match value {
        "-" => Fact::Absent,
        "missed" => Fact::Missed,
        value => Fact::Known(known(value)),
    }
}

/// `app=tls name=a.example ver=1.2 ...`; `-` is absent.
fn facts(text: &str) -> Facts {
    let mut facts = Facts::default();
    for field in text.split_whitespace() {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "missed" => facts = Facts::missed(),
            "app" => facts.app = fact(value, app),
            "name" => facts.domain = fact(value, |v| Arc::new(domain(v))),
            "q" => facts.questions = fact(value, |v| v.split('+').map(domain).collect()),
            "answer" => {
                let address = |v: &str| Addr::from(v.parse::<std::net::IpAddr>().unwrap());
                facts.answer = fact(value, address);
            }
            "api" => facts.api_id = fact(value, |v| ApiId::parse(v.as_bytes()).unwrap()),
            "noq" => facts.questions = Fact::Known(Vec::new()),
            "offered" => facts.tls.offered = fact(value, version),
            "ver" => facts.tls.version = fact(value, version),
            "ja4" => facts.tls.ja4 = fact(value, |v| Ja4([v.as_bytes()[0]; 36])),
            "ech" => facts.tls.ech = Ech::Present,
            "cert" => {
                facts.tls.client_certificate = fact(value, |v| {
                    Arc::new(Certificate {
                        subject: "CN=client".into(),
                        issuer: v.to_owned(),
                        names: vec!["gw.acme.example".into()],
                        sha256: [7; 32],
                        validity: (0, 0),
                    })
                });
            }
            other => panic!("{other}"),
        }
    }
    facts
}

fn tuple(port: u16) -> FiveTuple {
    FiveTuple {
        src: Addr::v4([10, 20, 1, 5]),
        dst: Addr::v4([10, 100, 4, 7]),
        src_port: 40_000,
        dst_port: port,
        protocol: Protocol::TCP,
    }
}

fn query(port: u16) -> Query<'static> {
    Query::new(PolicyId(0), tuple(port), Timestamp::from_secs(100 * 86_400))
}

/// `pending` with what is needed, or action, rule position or `otherwise`, and reason if special.
fn told(decision: Decision) -> String {
    match decision {
        Decision::Pending { needs } => {
            let word = |on, word| if on { word } else { "" };
            let (client, server) = (word(needs.client, " client"), word(needs.server, " server"));
            format!("pending{client}{server}{}", word(needs.may_allow, " allow"))
        }
        Decision::Final(verdict) => {
            let rule = verdict.rule.map_or("otherwise".into(), |rule| rule.0.to_string());
            let usual = matches!(verdict.reason, Reason::Rule | Reason::Otherwise);
            let reason = if usual { "" } else { verdict.reason.name() };
            format!("{} {rule} {reason}", verdict.action.name()).trim_end().to_owned()
        }
    }
}

fn decide(block: &Block, query: &Query<'_>, facts: &Facts, defaults: &DefaultsSpec) -> Decision {
    let decision = block.decide(query, facts, defaults, &mut NoTrace);
    let traced = block.decide(query, facts, defaults, &mut RecordedTrace::default());
    assert_eq!(decision, traced, "a watched decision is the same");
    decision
}

/// Rows `port | facts | expected` against rules and `otherwise`.
fn table(rules: &[&str], otherwise: &str, rows: &str) {
    table_with(rules, otherwise, &DefaultsSpec::default(), rows);
}

fn table_with(rules: &[&str], otherwise: &str, defaults: &DefaultsSpec, rows: &str) {
    let block = Block::build(&block(rules, otherwise), RuleId(0));
    for row in rows.lines().filter(|row| !row.trim().is_empty()) {
        let [port, known, expected] =
            row.split('|').map(str::trim).collect::<Vec<_>>().try_into().unwrap();
        let decision = decide(&block, &query(port.parse().unwrap()), &facts(known), defaults);
        assert_eq!(told(decision), expected, "{rules:?} {row}");
    }
}

#[test]
fn the_first_rule_that_is_not_false_decides() {
    table(
        &["a allow port=443 names=.good.example", "b reject port=22", "c allow port=80"],
        "deny",
        "443 |                              | pending client allow
         443 | app=tls name=x.good.example  | allow 0
         443 | app=tls name=bad.example     | deny otherwise
         443 | app=tls name=-               | deny otherwise
         443 | app=ssh                      | deny otherwise
         443 | app=unknown                  | deny otherwise
         443 | app=dns q=x.good.example     | deny otherwise
         22  |                              | reject 1
         80  |                              | allow 2
         25  |                              | deny otherwise",
    );
}

#[test]
fn a_flow_is_not_pending_when_every_outcome_is_the_same() {
    table(
        &["a allow names=a.example", "b allow names=b.example"],
        "allow",
        "443 | | allow otherwise",
    );
    table(&["a deny names=a.example"], "deny", "443 | | deny otherwise");
    table(&["a allow names=a.example", "b allow"], "deny", "443 | | allow 1");
    table(&["a deny names=a.example", "b allow"], "deny", "443 | | pending client allow");
    table(&["a reject names=a.example"], "deny", "443 | | pending client");
    table(&["a reject names=a.example", "b deny", "c allow"], "allow", "443 | | pending client");
}

#[test]
fn any_name_asks_for_a_name_to_be_there() {
    table(
        &["a allow names=*"],
        "deny",
        "443 | app=tls name=a.example | allow 0
         443 | app=tls name=-         | deny otherwise
         443 | app=tls                | pending client allow",
    );
}

#[test]
fn applications_are_told_from_facts() {
    table(
        &["a allow app=http", "b reject app=tls", "c allow app=dns", "d allow app=quic"],
        "deny",
        "1 | app=http    | allow 0
         1 | app=tls     | reject 1
         1 | app=dns     | allow 2
         1 | app=quic    | allow 3
         1 | app=ssh     | deny otherwise
         1 | app=unknown | deny otherwise
         1 | app=-       | deny otherwise
         1 |             | pending client allow",
    );
}

#[test]
fn a_question_goes_on_and_its_answer_is_judged() {
    table(
        &[
            "a allow dns=.a.example answers=10.60.1.0/24",
            "b reject dns=.b.example answers=10.0.0.0/8",
        ],
        "deny",
        "53 |                                             | pending client allow
         53 | app=dns q=x.a.example                       | allow 0
         53 | app=dns q=x.a.example answer=10.60.1.5      | allow 0
         53 | app=dns q=x.a.example answer=10.60.2.5      | deny otherwise answer-not-allowed
         53 | app=dns q=x.a.example answer=2001:db8::1    | deny otherwise answer-not-allowed
         53 | app=dns q=x.b.example                       | deny otherwise
         53 | app=dns q=x.b.example answer=10.60.1.5      | reject 1
         53 | app=dns q=x.b.example answer=192.0.2.1      | deny otherwise
         53 | app=dns q=x.c.example answer=10.60.1.5      | deny otherwise
         53 | app=tls name=x.a.example                    | deny otherwise
         53 | missed                                      | reject 1 midstream",
    );
    let guard = ["a reject dns=* answers=10.0.0.0/8", "b allow dns=*"];
    table(
        &guard,
        "deny",
        "53 | app=dns q=x.a.example                  | allow 1
         53 | app=dns q=x.a.example answer=192.0.2.1 | allow 1
         53 | app=dns q=x.a.example answer=10.0.0.1  | reject 0",
    );
}

#[test]
fn a_request_names_its_api_in_clear_text() {
    table(
        &["a allow names=*.example api=p4ym3nts01"],
        "deny",
        "80 |                                        | pending client allow
         80 | app=http name=a.example api=p4ym3nts01 | allow 0
         80 | app=http name=a.example api=P4YM3NTS01 | deny otherwise
         80 | app=http name=a.example api=-          | deny otherwise
         80 | app=tls name=a.example                 | deny otherwise
         80 | app=tls name=a.example api=p4ym3nts01  | deny otherwise
         80 | missed                                 | deny otherwise midstream",
    );
}

#[test]
fn addresses_between_two_edges_are_answered_alike_and_those_beside_an_edge_are_not() {
    let rules = ["a allow dns=* answers=10.1.0.0/16", "b reject dns=* answers=::/0"];
    let block = Block::build(&block(&rules, "deny"), RuleId(0));
    let runs = [
        vec!["::", "::1", "::fffe:ffff:ffff"],
        vec!["0.0.0.0", "10.0.255.255"],
        vec!["10.1.0.0", "10.1.2.3", "10.1.255.255"],
        vec!["10.2.0.0", "255.255.255.255"],
        vec!["::1:0:0:0", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ];
    let mut before = None;
    for run in &runs {
        let answers = run.iter().map(|address| {
            let known = facts(&format!("app=dns q=x.example answer={address}"));
            let query = query(53);
            let decided = block.decide(&query, &known, &DefaultsSpec::default(), &mut NoTrace);
            let address: std::net::IpAddr = address.parse().unwrap();
            (block.answer_run(address.into()), decided)
        });
        let mut answers: Vec<_> = answers.collect();
        answers.dedup();
        assert_eq!(answers.len(), 1, "{run:?}");
        assert_ne!(before, Some(answers[0]), "{run:?}");
        before = Some(answers[0]);
    }
}

#[test]
fn a_certificate_is_in_date_between_its_dates() {
    let block = Block::build(&block(&["a allow in_date"], "deny"), RuleId(0));
    let (first, last) = (1_000, 2_000);
    let mut known = facts("app=tls name=- offered=1.2 ver=1.2 cert=x");
    let Fact::Known(shown) = &known.tls.client_certificate else { panic!("shown") };
    let shown = Certificate { validity: (first, last), ..(**shown).clone() };
    known.tls.client_certificate = Fact::Known(Arc::new(shown));
    for (now, expected) in [
        (999, "deny otherwise certificate-not-in-date"),
        (1_000, "allow 0"),
        (2_000, "allow 0"),
        (2_001, "deny otherwise certificate-not-in-date"),
    ] {
        let query = Query { now: Timestamp::from_secs(now), ..query(443) };
        let decision = decide(&block, &query, &known, &DefaultsSpec::default());
        assert_eq!(told(decision), expected, "{now}");
    }
    let hidden = facts("app=tls name=- offered=1.3 ver=1.3");
    let decision = decide(&block, &query(443), &hidden, &DefaultsSpec::default());
    assert_eq!(told(decision), "deny otherwise certificate-not-visible");
}

#[test]
fn every_question_of_a_message_must_be_allowed() {
    let rules = [
        "a allow port=53 dns=.a.example",
        "b allow port=53 dns=.b.example",
        "c reject dns=.c.example",
    ];
    table(
        &rules,
        "deny",
        "53 |                                  | pending client allow
         53 | app=dns                          | pending client allow
         53 | app=dns q=x.a.example            | allow 0
         53 | app=dns q=x.a.example+y.b.example | allow 0
         53 | app=dns q=y.b.example+x.a.example | allow 1
         53 | app=dns q=x.a.example+z.example   | deny otherwise
         53 | app=dns q=x.a.example+x.c.example+z.example | reject 2
         53 | app=dns noq                      | deny otherwise
         53 | app=dns q=-                      | deny otherwise
         53 | app=tls name=x.a.example         | deny otherwise",
    );
}

#[test]
fn the_version_is_that_of_the_server_but_the_offer_may_settle_it() {
    table(
        &["a allow min=1.2"],
        "deny",
        "443 |                            | pending client allow
         443 | app=tls                    | pending client allow
         443 | app=tls offered=1.3        | pending server allow
         443 | app=tls offered=1.1        | deny otherwise
         443 | app=tls offered=1.3 ver=1.1 | deny otherwise
         443 | app=tls offered=1.3 ver=1.2 | allow 0
         443 | app=quic                   | allow 0
         443 | app=http                   | deny otherwise
         443 | app=tls offered=- ver=-    | deny otherwise",
    );
}

#[test]
fn name_and_version_together_wait_for_both_sides() {
    table(
        &["a allow names=a.example min=1.2 port=443"],
        "deny",
        "443 |                                         | pending client allow
         443 | app=tls name=a.example offered=1.3       | pending server allow
         443 | app=tls name=b.example offered=1.3       | deny otherwise
         443 | app=tls name=a.example ver=1.3           | allow 0",
    );
    table(
        &["a allow min=1.2", "b allow names=a.example"],
        "deny",
        "443 | app=tls offered=1.3 | pending client server allow",
    );
}

#[test]
fn client_certificates_are_compared_or_their_default_answers() {
    let rows = "443 | app=tls                             | pending client allow
         443 | app=tls offered=1.2                     | pending server allow
         443 | app=tls offered=1.2 ver=1.2 cert=CN=CA  | allow 0
         443 | app=tls offered=1.2 ver=1.2 cert=CN=X   | deny otherwise
         443 | app=tls offered=1.2 ver=1.2 cert=-      | deny otherwise";
    table(&["a allow cert=CN=CA"], "deny", rows);
    let hidden = "443 | app=tls offered=1.3 ver=1.3       | {}
         443 | app=tls offered=1.3 ver=1.2 cert=missed | {}
         443 | app=quic                                | {}";
    let deny = "deny otherwise certificate-not-visible";
    table(&["a allow cert"], "deny", &hidden.replace("{}", deny));
    let mut defaults = DefaultsSpec::default();
    table_with(
        &["a deny cert"],
        "allow",
        &defaults,
        &hidden.replace("{}", "deny 0 certificate-not-visible"),
    );
    defaults.client_certificate_not_visible = Answer::Allow;
    table_with(&["a allow cert"], "deny", &defaults, &hidden.replace("{}", "allow 0"));
    table(&["a allow san=.acme.example"], "deny", "443 | app=tls ver=1.2 cert=X | allow 0");
    table(&["a allow san=.other.example"], "deny", "443 | app=tls ver=1.2 cert=X | deny otherwise");
}

#[test]
fn fingerprints_are_compared() {
    table(
        &["a deny ja4=x"],
        "allow",
        "443 | app=tls ja4=x | deny 0
         443 | app=tls ja4=y | allow otherwise
         443 | app=http      | allow otherwise
         443 | app=tls       | pending client allow",
    );
}

#[test]
fn a_missed_fact_is_answered_by_the_rules_own_midstream() {
    table(
        &["a allow names=a.example port=443", "b allow names=b.example port=80 midstream"],
        "deny",
        "443 | missed                | deny otherwise midstream
         443 | missed name=a.example | allow 0
         80  | missed                | allow 1
         80  | missed name=x.example | deny otherwise
         22  | missed                | deny otherwise",
    );
    table(&["a deny names=bad.example", "b allow"], "deny", "443 | missed | deny 0 midstream");
    table(&["a deny names=bad.example midstream", "b allow"], "deny", "443 | missed | allow 1");
    table(&["a allow names=a.example", "b allow"], "deny", "443 | missed | allow 1");
    table(&["a allow names=a.example", "b deny", "c allow"], "deny", "443 | missed | deny 1");
}

#[test]
fn a_flow_met_in_the_middle_is_never_pending() {
    let spec =
        block(&["a allow names=a.example", "b allow dns=a.example", "c allow min=1.2"], "deny");
    let block = Block::build(&spec, RuleId(0));
    let query = Query { midstream: true, ..query(443) };
    let decided = |text: &str| told(decide(&block, &query, &facts(text), &DefaultsSpec::default()));
    assert_eq!(decided(""), "deny otherwise midstream");
    assert_eq!(decided("app=tls name=a.example"), "allow 0");
    assert_eq!(decided("app=tls offered=1.3"), "deny otherwise midstream");
}

#[test]
fn an_encrypted_hello_hides_the_name_if_the_ruleset_says_so() {
    let mut defaults = DefaultsSpec::default();
    let rules = ["a allow names=a.example port=443", "b deny names=b.example", "c allow port=80"];
    let row = |text: &str| text.to_owned();
    table_with(&rules, "deny", &defaults, &row("443 | app=tls ech name=a.example | allow 0"));
    defaults.encrypted_client_hello = EncryptedClientHello::Deny;
    table_with(
        &rules,
        "deny",
        &defaults,
        "443 | app=tls ech name=a.example | deny 1 encrypted-client-hello
         443 | app=tls name=a.example     | allow 0
         80  | app=tls ech name=a.example | deny 1 encrypted-client-hello",
    );
    table_with(
        &rules[..1],
        "deny",
        &defaults,
        "443 | app=tls ech name=a.example | deny otherwise encrypted-client-hello",
    );
    table_with(&["a allow"], "deny", &defaults, "443 | app=tls ech name=a.example | allow 0");
}

#[test]
fn a_bound_rule_asks_for_a_dns_answer() {
    let spec = block(&["a allow names=.a.example bind"], "deny");
    let block = Block::build(&spec, RuleId(0));
    let bound = |name: &DomainName, addr: Addr| {
        assert_eq!(addr, tuple(443).dst);
        if name.as_bytes() == b"x.a.example" { Bound::Yes } else { Bound::No }
    };
    let query = Query { bound: Some(&bound), ..query(443) };
    let decided = |text: &str| told(decide(&block, &query, &facts(text), &DefaultsSpec::default()));
    assert_eq!(decided("app=tls"), "pending client allow");
    assert_eq!(decided("app=tls name=x.a.example"), "allow 0");
    assert_eq!(decided("app=tls name=y.a.example"), "deny otherwise name-not-bound");
    assert_eq!(decided("app=tls name=x.b.example"), "deny otherwise");
    let without = super::super::decision::Query { bound: None, ..query };
    let decision =
        decide(&block, &without, &facts("app=tls name=x.a.example"), &DefaultsSpec::default());
    assert_eq!(told(decision), "deny otherwise name-not-bound");
}

#[test]
fn a_rule_is_false_from_midnight_after_its_last_day() {
    let block = Block::build(&block(&["a allow until=100"], "deny"), RuleId(0));
    let end = 101 * 86_400;
    for (secs, expected) in [(0, "allow 0"), (end - 1, "allow 0"), (end, "deny otherwise")] {
        let query = Query { now: Timestamp::from_secs(secs), ..query(443) };
        let decision = decide(&block, &query, &Facts::default(), &DefaultsSpec::default());
        assert_eq!(told(decision), expected, "{secs}");
    }
    assert_eq!(block.ends().collect::<Vec<_>>(), [Timestamp::from_secs(end)]);
}

#[test]
fn a_trace_names_what_made_each_rule_false_or_unknown() {
    let spec = block(
        &[
            "a allow port=22",
            "b allow until=5",
            "c allow names=a.example port=443",
            "d allow app=tls",
            "e allow",
        ],
        "deny",
    );
    let block = Block::build(&spec, RuleId(10));
    let mut trace = RecordedTrace::default();
    block.decide(
        &query(443),
        &facts("app=tls name=b.example"),
        &DefaultsSpec::default(),
        &mut trace,
    );
    let told: Vec<_> = trace
        .steps
        .iter()
        .map(|s| (s.rule.0, s.truth.name(), s.condition.map(Condition::name)))
        .collect();
    assert_eq!(
        told,
        [
            (10, "false", Some("ports")),
            (11, "false", Some("expires")),
            (12, "false", Some("domains")),
            (13, "true", None),
        ]
    );
    trace.steps.clear();
    block.decide(&query(443), &Facts::default(), &DefaultsSpec::default(), &mut trace);
    let last = trace.steps.last().unwrap();
    assert_eq!((last.rule, last.truth, last.condition), (RuleId(14), Truth::True, None));
    assert!(trace.steps.iter().any(|s| s.condition == Some(Condition::App)));
}

#[path = "decide_worlds_tests.rs"]
mod worlds;

#[test]
fn each_set_of_questions_is_asked_for_ahead_once_up_to_their_number() {
    let rules = |count: usize| -> Vec<RuleSpec> {
        let sets: Vec<_> = (0..count).map(|at| names(&format!("n{at}.example"))).collect();
        let rule = |set: &Arc<NameSet>| RuleSpec { dns: Some(Arc::clone(set)), ..rule("r allow") };
        sets.iter().flat_map(|set| [rule(set), rule(set)]).collect()
    };
    for (count, kept) in [(0, 0), (1, 1), (QUESTION_SETS_MAX, 2), (QUESTION_SETS_MAX + 1, 2)] {
        assert_eq!(question_sets(&rules(count)).len(), kept, "{count}");
    }
}
