//! Golden tests of lint: every case under `tests/lint/` loads, and what `lockgate check` says of it
//! is compared with `<case>.expected`. `UPDATE_GOLDEN=1` writes the files anew. Every witness is
//! judged by the production decision function.

use lockgate::model::Action;
use lockgate::policy::Located;
use lockgate::prove::lint::{LintOptions, lint};
use lockgate::prove::sarif::sarif;
use lockgate::ruleset::{self, Date, Diagnostic, EXPIRING_DAYS, Loaded, Options, Style};
use std::path::{Path, PathBuf};
use std::process::Command;

const CASES: &str = "tests/lint";

fn today() -> Date {
    Date::parse_day("2027-01-01").unwrap()
}

fn load(path: &Path) -> Loaded {
    let options = Options { today: Some(today()), ..Options::default() };
    ruleset::load(path, &options).unwrap_or_else(|refused| panic!("{refused}"))
}

fn findings(loaded: &Loaded) -> Vec<Diagnostic> {
    lint(loaded, LintOptions { today: today(), soon_days: EXPIRING_DAYS })
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(CASES).into_iter().flatten().flatten();
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    cases.sort();
    cases
}

fn compare(path: &Path, said: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, said).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(said == expected, "UPDATE_GOLDEN=1 takes this over:\n--- {}\n{said}", path.display());
}

#[test]
fn every_case_says_what_is_expected() {
    for case in cases() {
        let loaded = load(&case);
        let said = ruleset::render(&findings(&loaded), &loaded.sources, Style::PLAIN);
        compare(&case.with_extension("expected"), &said);
    }
}

#[test]
fn json_and_sarif_say_the_same() {
    let loaded = load(Path::new("tests/lint/contradicted.yaml"));
    let found = findings(&loaded);
    let json: Vec<_> = found.iter().map(|finding| finding.to_json(&loaded.sources)).collect();
    let json = serde_json::to_string_pretty(&json).unwrap() + "\n";
    compare(Path::new("tests/lint/contradicted.json"), &json);
    let log = serde_json::to_string_pretty(&sarif(&found, &loaded.sources)).unwrap() + "\n";
    let log = log.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    compare(Path::new("tests/lint/contradicted.sarif"), &log);
}

#[test]
fn every_finding_about_traffic_shows_a_flow_that_is_judged() {
    // What no flow can show.
    let things = ["unused-set", "unreachable-policy"];
    let mut shown = 0;
    for case in cases() {
        let loaded = load(&case);
        for finding in findings(&loaded) {
            let Some(witness) = finding.witness else {
                assert!(
                    things.contains(&finding.code) || finding.message.contains("nowhere"),
                    "{}: {}",
                    case.display(),
                    finding.message
                );
                continue;
            };
            shown += 1;
            let scope = loaded.policy.scope(witness.endpoint).unwrap();
            let tuple = witness.flow.tuple;
            let Located::Pair { from, to, .. } = loaded.policy.locate(scope, tuple.src, tuple.dst)
            else {
                assert_eq!(finding.code, "unreachable-rule", "{}", finding.message);
                continue;
            };
            let verdict =
                loaded.policy.block(from, to).and_then(|b| witness.flow.decide(&loaded.policy, b));
            match finding.code {
                "broad-name" | "shared-name" | "broad-api-id" | "expires-soon" | "open-policy" => {
                    assert_eq!(
                        verdict.map(|v| v.action),
                        Some(Action::Allow),
                        "{}",
                        finding.message
                    );
                }
                "monitor-policy" | "unused-segment" => {
                    assert_ne!(
                        verdict.map(|v| v.action),
                        Some(Action::Allow),
                        "{}",
                        finding.message
                    );
                }
                _ => {}
            }
        }
    }
    assert!(shown > 20, "{shown}");
}

/// What a shipped ruleset shows on purpose.
const SHOWN: [(&str, &[&str]); 2] = [
    ("partner-dmz", &["unused-segment", "unused-set"]),
    // It is there to see what a capture holds.
    ("capture-survey", &["open-policy"]),
];

#[test]
fn shipped_rulesets_have_no_other_finding() {
    for entry in std::fs::read_dir("rulesets").unwrap().flatten() {
        let path = entry.path();
        if !path.is_dir() {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let shown =
            SHOWN.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, codes)| codes);
        let loaded = load(&path);
        let found: Vec<Diagnostic> =
            findings(&loaded).into_iter().filter(|f| !shown.contains(&f.code)).collect();
        let said = ruleset::render(&found, &loaded.sources, Style::PLAIN);
        assert_eq!(said, "", "{name}");
    }
}

#[test]
fn every_code_is_described() {
    let text = std::fs::read_to_string("docs/check.md").unwrap();
    for case in cases() {
        for finding in findings(&load(&case)) {
            assert!(text.contains(&format!("`{}`", finding.code)), "{}", finding.code);
        }
    }
}

/// As a user would: the line is copied out of what check says.
#[test]
fn explain_takes_every_witness_and_none_with_its_segments_exchanged() {
    let explain = |arguments: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_lockgate")).args(arguments).output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let refused = std::fs::read_dir("tests/ruleset").unwrap().flatten().map(|entry| entry.path());
    let refused = refused.filter(|path| path.extension().is_some_and(|e| e == "expected"));
    let (mut exchanged, mut guarded) = (0, 0);
    for said in cases().into_iter().map(|case| case.with_extension("expected")).chain(refused) {
        let said = std::fs::read_to_string(said).unwrap_or_default();
        for line in said.lines().filter_map(|line| line.split_once("witness: lockgate ")) {
            let mut arguments: Vec<&str> = line.1.split(' ').collect();
            let (code, errors) = explain(&arguments);
            let note = errors.starts_with("note: the ruleset is refused for its guardrails; ");
            guarded += usize::from(note);
            assert!(code == Some(0) && (errors.is_empty() || note), "{arguments:?}\n{errors}");
            let named = |flag: &str| arguments.iter().position(|argument| *argument == flag);
            let (Some(from), Some(to)) = (named("--from"), named("--to")) else { continue };
            arguments.swap(from + 1, to + 1);
            let (code, errors) = explain(&arguments);
            // What belongs to nobody contradicts nothing.
            if code == Some(1) {
                exchanged += 1;
                assert!(errors.contains("error: ") && errors.contains(": write `--"), "{errors}");
            }
        }
    }
    assert!(exchanged > 20 && guarded > 8, "{exchanged}, {guarded}");
}
