//! Golden tests of rulesets: every case under `tests/ruleset/` is loaded, and what `lockgate check`
//! would say of it is compared with `<case>.expected`. `UPDATE_GOLDEN=1` writes the files anew.

use lockgate::model::{Action, Addr, EndpointId, Facts, FiveTuple, Protocol, Timestamp};
use lockgate::policy::{Decision, Located, NoTrace, Query};
use lockgate::ruleset::{self, Capacity, Date, Options, Style};
use std::path::{Path, PathBuf};

const CASES: &str = "tests/ruleset";

fn options() -> Options<'static> {
    Options { today: Date::parse_day("2027-01-01"), ..Options::default() }
}

fn said(path: &Path) -> String {
    match ruleset::load(path, &options()) {
        Ok(loaded) => {
            let warnings = ruleset::render(&loaded.warnings, &loaded.sources, Style::PLAIN);
            format!("{warnings}{}", loaded.summary)
        }
        Err(refused) => refused.render(Style::PLAIN),
    }
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(CASES).into_iter().flatten().flatten();
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() || path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    cases.sort();
    cases
}

fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

#[test]
fn every_case_says_what_is_expected() {
    let mut wrong = Vec::new();
    for case in cases() {
        let expected_at = case.with_extension("expected");
        let said = said(&case);
        if updating() {
            std::fs::write(&expected_at, &said).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_at).unwrap_or_default();
        if said != expected {
            wrong.push(format!("--- {}\n{said}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 takes these over:\n{}", wrong.join("\n"));
}

#[test]
fn there_are_many_error_cases_and_each_error_has_a_place_and_says_what_to_do() {
    let mut errors = 0;
    for case in cases() {
        let Err(refused) = ruleset::load(&case, &options()) else { continue };
        errors += 1;
        for error in &refused.errors {
            let label = error.label.as_ref();
            assert!(label.is_some(), "{}: {}", case.display(), error.message);
            let text = error.render(&refused.sources, Style::PLAIN);
            assert!(text.contains("--> "), "{text}");
        }
    }
    assert!(errors >= 30, "{errors}");
}

#[test]
fn shipped_rulesets_load_without_a_warning() {
    for name in ["partner-dmz", "capture-survey"] {
        let path = Path::new("rulesets").join(name);
        let loaded = ruleset::load(&path, &options()).unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(loaded.warnings, vec![], "{name}");
    }
}

#[test]
fn overlapping_partners_are_told_apart_by_their_endpoints() {
    let loaded = ruleset::load(Path::new("rulesets/partner-dmz"), &options()).unwrap();
    let networks = |name: &str| {
        loaded.spec.segments.iter().find(|s| s.name == name).map(|s| s.networks.clone()).unwrap()
    };
    assert!(networks("acme").contains(&networks("globex")[0]));
}

#[test]
fn the_checked_in_schema_is_that_of_the_language() {
    let current = ruleset::schema();
    if updating() {
        std::fs::write(ruleset::SCHEMA_PATH, &current).unwrap();
    }
    let checked_in = std::fs::read_to_string(ruleset::SCHEMA_PATH).unwrap_or_default();
    assert!(checked_in == current, "UPDATE_GOLDEN=1 writes {}", ruleset::SCHEMA_PATH);
}

#[test]
fn shipped_rulesets_compile_to_what_they_say() {
    let dmz = ruleset::load(Path::new("rulesets/partner-dmz"), &options()).unwrap().policy;
    let scope = |id: &str| dmz.scope(Some(id.parse::<EndpointId>().unwrap()));
    let acme = scope("vpce-0a1b2c3d4e5f60718").unwrap();
    let globex = scope("vpce-00000000000c0ffee").unwrap();
    assert_ne!(acme, globex);
    assert_eq!(scope("vpce-0ffffffffffffffff"), None);
    assert_eq!(dmz.scope(None), None);
    let named = |scope, src, dst| match dmz.locate(scope, addr(src), addr(dst)) {
        Located::Pair { from, to, .. } => {
            let name = |id| dmz.segment(id).map(|s| s.name.to_string()).unwrap_or_default();
            format!("{}>{} {}", name(from), name(to), dmz.block(from, to).is_some())
        }
        Located::Unknown => "unknown".to_owned(),
    };
    assert_eq!(named(acme, "10.20.1.5", "10.100.4.7"), "acme>payments true");
    assert_eq!(named(globex, "10.20.1.5", "10.100.4.7"), "globex>payments true");
    assert_eq!(named(globex, "10.53.0.2", "10.20.1.5"), "resolvers>globex false");
    assert_eq!(named(acme, "10.20.1.5", "10.20.1.6"), "unknown");
}

#[test]
fn the_survey_allows_everything_at_once() {
    let survey = ruleset::load(Path::new("rulesets/capture-survey"), &options()).unwrap().policy;
    let scope = survey.scope(None).unwrap();
    let ends = ["10.0.0.1", "192.0.2.1", "224.0.0.251", "fe80::1", "2001:db8::1", "0.0.0.0", "::"];
    for (src, dst) in ends.iter().flat_map(|src| ends.map(|dst| (src, dst))) {
        let (src, dst) = (addr(src), addr(dst));
        if src.is_v4() != dst.is_v4() {
            continue;
        }
        let Located::Pair { from, to, .. } = survey.locate(scope, src, dst) else {
            panic!("{src} {dst} belong nowhere");
        };
        for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol(132)] {
            let query = Query::new(
                survey.block(from, to).unwrap(),
                FiveTuple { src, dst, src_port: 1, dst_port: 2, protocol },
                Timestamp::from_secs(1_800_000_000),
            );
            let decision = survey.decide(&query, &Facts::default(), &mut NoTrace);
            let Decision::Final(verdict) = decision else { panic!("{src} {dst} is pending") };
            assert_eq!(verdict.action, Action::Allow);
        }
    }
}

fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().map(Addr::from).unwrap_or_default()
}

/// `partners` partners with `rules` rules each, as one text.
fn large(partners: usize, rules: usize) -> String {
    let mut text = String::from(
        "lockgate: 1
segments:
  pay: { kind: workload, networks: [10.100.0.0/16] }
",
    );
    for p in 0..partners {
        text += &format!(
            "  p{p}: {{ kind: partner, endpoints: [vpce-0{p:016x}], networks: [10.20.0.0/16] }}\n"
        );
    }
    text += "guardrails:
  - never: { from: kind:partner, to: kind:partner }
  - never: { from: kind:partner, to: kind:workload, ports: [22] }
  - never: { from: kind:partner, to: kind:workload, without: names }
policies:
";
    for p in 0..partners {
        text += &format!("  - from: p{p}\n    to: pay\n    rules:\n");
        for r in 0..rules {
            text += &format!(
                "      - {{ id: p{p}-r{r}, action: allow, protocol: tcp, ports: [443, 8000-80{:02}], \
                 destinations: [10.100.{r}.0/24], domains: [a{r}.p{p}.example.com, .b{r}.example.net], \
                 tls: {{ min_version: \"1.2\" }}, log: both }}\n",
                r % 50
            );
        }
    }
    text
}

#[test]
fn three_hundred_partners_with_ten_thousand_rules_load() {
    let text = large(300, 34);
    let loaded = ruleset::load_text("large.yaml", &text, &options())
        .unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!((loaded.summary.partners, loaded.summary.allow), (300, 10_200));
}

#[test]
fn reservations_fit_exactly_or_not_at_all() {
    let text = "{lockgate: 1, segments: {a: {kind: partner, endpoints: [vpce-00000000000000001], limits: {flows: 60}}, b: {kind: partner, endpoints: [vpce-00000000000000002], limits: {flows: 40}}}}";
    for (flows, fits) in [(99, false), (100, true), (101, true)] {
        let capacity = Capacity { flows, ..Capacity::default() };
        let options = Options { capacity, ..options() };
        assert_eq!(ruleset::load_text("x.yaml", text, &options).is_ok(), fits, "{flows}");
    }
}

#[test]
fn damaged_rulesets_never_panic() {
    let seed = std::fs::read_to_string("rulesets/partner-dmz/partners/acme.yaml").unwrap()
        + "guardrails: [{never: {from: acme, to: any, without: names}}]\ncommon_endpoints: any\n";
    let mut state = 7u64;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let words = [
        "any",
        "$x",
        "*",
        "[]",
        "{}",
        "~",
        "-1",
        "443",
        "allow",
        "kind:partner",
        "\"",
        "\t",
        "é",
        "vpce-0",
        "0.0.0.0/0",
    ];
    for _ in 0..300 {
        let mut tokens: Vec<&str> = seed.split_inclusive([' ', '\n']).collect();
        for _ in 0..3 {
            let (at, word) = (next(tokens.len()), words[next(words.len())]);
            tokens[at] = word;
        }
        let text = tokens.concat();
        if let Err(refused) = ruleset::load_text("x.yaml", &text, &options()) {
            assert!(!refused.errors.is_empty());
            let _ = refused.render(Style::PLAIN);
        }
    }
}
