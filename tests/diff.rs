//! Golden tests of `lockgate diff`: every folder under `tests/diff/` holds an old and a new ruleset,
//! and what is said of the change in each form. `UPDATE_GOLDEN=1` writes the files anew.

use lockgate::pipeline::ReplayOptions;
use lockgate::policy::{Located, Policy};
use lockgate::prove::diff::{Diff, diff, html, json, markdown, of_log, replayed, text};
use lockgate::ruleset::{self, Date, Loaded, Options};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CASES: &str = "tests/diff";

fn load(path: &Path) -> Loaded {
    ruleset::load(path, &Options::default()).unwrap_or_else(|refused| panic!("{refused}"))
}

fn today() -> Date {
    Date::parse_day("2027-01-01").unwrap()
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(CASES).into_iter().flatten().flatten();
    let mut cases: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

/// Both rulesets and the change, with the flow log if there is one.
fn compared(case: &Path) -> (Loaded, Loaded, Diff) {
    let (old, new) = (load(&case.join("old.yaml")), load(&case.join("new.yaml")));
    let mut diff = diff(&old, &new, today());
    if let Ok(log) = std::fs::File::open(case.join("flows.jsonl")) {
        let now = lockgate::model::Timestamp::from_secs(u64::from(today().days()) * 86_400);
        let log = ("flows.jsonl", std::io::BufReader::new(log));
        diff.flows = Some(of_log(&old.policy, &new.policy, log, now).unwrap().0);
    }
    (old, new, diff)
}

#[test]
fn every_case_says_what_is_expected() {
    for case in cases() {
        let (_, _, diff) = compared(&case);
        for (name, said) in [
            ("expected.txt", text(&diff, "old", "new")),
            ("expected.json", format!("{:#}\n", json(&diff))),
            ("expected.md", markdown(&diff, "old", "new")),
            ("expected.html", without_style(&html(&diff, "old", "new"))),
        ] {
            let path = case.join(name);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::write(&path, &said).unwrap();
            }
            let expected = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                said == expected,
                "UPDATE_GOLDEN=1 takes this over:\n--- {}\n{said}",
                path.display()
            );
        }
    }
}

/// What becomes of a witness, judged from its addresses on.
fn verdict(policy: &Policy, diff: &lockgate::prove::diff::Change) -> (String, Option<String>) {
    let flow = &diff.witness.flow;
    let located = policy
        .scope(diff.witness.endpoint)
        .map_or(Located::Unknown, |scope| policy.locate(scope, flow.tuple.src, flow.tuple.dst));
    let verdict = match located {
        Located::Unknown => policy.unknown_segment(),
        Located::Pair { from, to, .. } => match policy.block(from, to) {
            None => Policy::NO_POLICY,
            Some(block) if policy.mode(block) == lockgate::policy::spec::Mode::Monitor => {
                return ("allow".to_owned(), None);
            }
            Some(block) => flow.decide(policy, block).unwrap(),
        },
    };
    let rule = verdict.rule.and_then(|rule| policy.rule(rule)).map(|rule| rule.name.to_string());
    (verdict.action.name().to_owned(), rule)
}

#[test]
fn every_witness_is_judged_as_its_region_says() {
    let mut shown = 0;
    for case in cases() {
        let (old, new, diff) = compared(&case);
        // What a PROXY header says is not in the addresses.
        for change in diff.changes.iter().filter(|change| change.witness.proxy.is_none()) {
            shown += 1;
            let (before, after) = (verdict(&old.policy, change), verdict(&new.policy, change));
            assert_eq!(before, (change.old.verdict.clone(), change.old.rule.clone()), "{change:?}");
            assert_eq!(after, (change.new.verdict.clone(), change.new.rule.clone()), "{change:?}");
        }
    }
    assert!(shown > 8, "{shown}");
}

/// As a user would: the arguments are copied out of what diff says, for either ruleset.
#[test]
fn explain_takes_the_witnesses_of_either_ruleset_and_judges_them_as_told() {
    let explained = |ruleset: PathBuf, arguments: Vec<String>| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lockgate"));
        command.args(["explain", "--format", "json"]).arg(ruleset).args(&arguments);
        if !arguments.contains(&"--at".to_owned()) {
            command.args(["--at", &today().to_string()]);
        }
        let out = command.output().unwrap();
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        let said: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        said.pointer("/flows/0").cloned().unwrap()
    };
    for case in cases() {
        let (_, _, diff) = compared(&case);
        for change in &diff.changes {
            for (name, witness, outcome) in [
                ("old.yaml", &change.witness_old, &change.old),
                ("new.yaml", &change.witness, &change.new),
            ] {
                let said = explained(case.join(name), witness.arguments());
                let text = |at: &str| said.pointer(at).and_then(|v| v.as_str()).map(str::to_owned);
                let verdict = text("/verdict/verdict").zip(text("/verdict/reason"));
                let told = (verdict, text("/verdict/rule"), text("/found/from"), text("/found/to"));
                let unknown = outcome.reason == "unknown-segment";
                assert_eq!(unknown, witness.from.is_none() || witness.to.is_none(), "{witness:?}");
                let sides = (witness.from.clone(), witness.to.clone());
                let verdict = (outcome.verdict.clone(), outcome.reason.clone());
                assert_eq!(said["monitored"], outcome.monitored, "{witness:?}");
                if outcome.monitored {
                    continue; // What enforcing would say is no part of the change.
                }
                let right = (Some(verdict), outcome.rule.clone(), sides.0, sides.1);
                assert_eq!(told, right, "{} {name} {witness:?} {said:#}", case.display());
            }
        }
    }
}

/// The shipped ruleset with one word changed, over the shipped capture.
#[test]
fn a_capture_shows_which_real_flows_a_change_touches() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("diff-partner-dmz");
    for name in ["lockgate.yaml", "partners/acme.yaml", "partners/globex.yaml", "lists/card.txt"] {
        let text = std::fs::read_to_string(Path::new("rulesets/partner-dmz").join(name)).unwrap();
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = text.replace("min_version: \"1.2\"", "min_version: \"1.3\"");
        std::fs::write(path, text).unwrap();
    }
    let (old, new) = (load(Path::new("rulesets/partner-dmz")), load(&root));
    let captures = ["pcaps/partner-dmz.pcap".to_owned()];
    let options = ReplayOptions::default();
    let policies = (Arc::new(old.policy), Arc::new(new.policy));
    let (same, _) = replayed(&policies.0, &policies.0, &captures, &options).unwrap();
    assert!(same.compared > 5 && same.changed.is_empty() && same.not_compared == 0, "{same:?}");
    let (found, _) = replayed(&policies.0, &policies.1, &captures, &options).unwrap();
    assert_eq!(found.directions(), (0, 2));
    for flow in &found.changed {
        assert_eq!(flow.old.rule.as_deref(), Some("acme-payments-api"), "{flow:?}");
        assert!(flow.names.iter().all(|name| name.ends_with("payments.example")), "{flow:?}");
    }
}

/// All pages share one style, which says nothing of a change.
fn without_style(page: &str) -> String {
    let (style, body) = (page.find("<style>").unwrap(), page.find("</style>").unwrap());
    format!("{}{}", &page[..style], &page[body..])
}

#[test]
fn pages_need_nothing_else() {
    for case in cases() {
        let (_, _, diff) = compared(&case);
        let page = html(&diff, "old", "new");
        for word in ["http://", "https://", "<script", "url(", "@import"] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
