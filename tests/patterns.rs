//! The shipped connectivity patterns: every folder is whole, documented, built into the binary, and
//! what `lockgate init` makes of it checks; its own tests pass, and leave no mutant of its rules alive.

use lockgate::ruleset::{self, Options, SHIPPED, Shipped};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A capture is small enough to be read in a review.
const CAPTURE_BYTES_MAX: u64 = 120_000;

/// What the page of a pattern tells, in this order.
const SECTIONS: [&str; 4] =
    ["## When to use it", "## What is inspected where", "## What cannot be", "## Files and tests"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder, by their paths from there.
fn below(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

/// Folders of rulesets that have captures of their own: the patterns.
fn patterns() -> Vec<String> {
    let entries = fs::read_dir(root().join("rulesets")).unwrap().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter(|entry| below(&entry.path()).iter().any(|file| file.ends_with(".pcap")))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn lockgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockgate")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder that is not there.
fn fresh(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("init").join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

#[test]
fn every_pattern_is_built_in_whole() {
    let built: BTreeSet<&str> = SHIPPED.iter().map(|shipped| shipped.name).collect();
    let on_disk = patterns();
    assert_eq!(built, on_disk.iter().map(String::as_str).collect(), "src/ruleset/shipped.rs");
    for shipped in SHIPPED {
        let folder = root().join("rulesets").join(shipped.name);
        let files: BTreeSet<String> = shipped.originals().map(|(path, _)| path.into()).collect();
        assert_eq!(files, below(&folder), "{}: src/ruleset/shipped.rs", shipped.name);
        for (path, bytes) in shipped.originals() {
            assert!(fs::read(folder.join(path)).unwrap() == bytes, "{}/{path}", shipped.name);
        }
    }
}

#[test]
fn every_pattern_has_its_page_its_script_and_its_captures() {
    let index = fs::read_to_string(root().join("docs/patterns.md")).unwrap();
    for name in patterns() {
        let folder = root().join("rulesets").join(&name);
        let page = fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(page.starts_with(&format!("# {name}: ")), "{name}: title");
        let mut rest = page.as_str();
        for section in SECTIONS {
            let at =
                rest.find(section).unwrap_or_else(|| panic!("{name}: no `{section}` in order"));
            rest = &rest[at..];
        }
        assert!(page.lines().any(|line| line.starts_with("    ")), "{name}: no picture");
        assert!(page.lines().all(|line| line.chars().count() <= 130), "{name}: a long line");
        assert!(
            index.contains(&format!("](../rulesets/{name}/README.md)")),
            "{name}: docs/patterns.md"
        );
        assert!(root().join(format!("pcaps/patterns/{name}.sh")).is_file(), "{name}: script");
        let files = below(&folder);
        for capture in files.iter().filter(|file| file.ends_with(".pcap")) {
            let size = fs::metadata(folder.join(capture)).unwrap().len();
            assert!(size <= CAPTURE_BYTES_MAX, "{name}/{capture}: {size} bytes");
            let used = files.iter().filter(|file| file.starts_with("tests/")).any(|file| {
                let test = fs::read_to_string(folder.join(file)).unwrap_or_default();
                test.contains(&format!("capture: {capture}"))
            });
            assert!(used, "{name}/{capture}: no test reads it");
        }
    }
}

#[test]
fn links_and_folders_in_the_decision_page_exist() {
    let index = fs::read_to_string(root().join("docs/patterns.md")).unwrap();
    let mut links = 0;
    for target in index.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(root().join("docs").join(target).exists(), "{target}");
        links += 1;
    }
    assert!(links >= SHIPPED.len(), "{links}");
    let known: BTreeSet<String> = fs::read_dir(root().join("rulesets"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let table = index.split("## Which one").nth(1).unwrap().split("\n## ").next().unwrap();
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let take = row.split('|').nth(2).unwrap();
        let names: Vec<&str> = take.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            assert!(known.contains(name), "{name} in {row}");
        }
    }
}

#[test]
fn every_pattern_loads_without_a_warning_and_proves_that_partners_never_meet() {
    for name in patterns() {
        let folder = root().join("rulesets").join(&name);
        let loaded = ruleset::load(&folder, &Options::default());
        let loaded = loaded.unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(loaded.warnings, vec![], "{name}");
        let text = fs::read_to_string(folder.join("lockgate.yaml")).unwrap();
        assert!(text.contains("never: { from: kind:partner, to: kind:partner }"), "{name}");
    }
}

#[test]
fn the_tests_of_every_pattern_pass_and_kill_every_mutant() {
    for name in patterns() {
        let folder = format!("rulesets/{name}");
        let out = lockgate(&["test", "--mutate", &folder]);
        let said = text(&out.stdout);
        assert_eq!(out.status.code(), Some(0), "{name}: {said}{}", text(&out.stderr));
        assert!(said.contains("mutants: ") && !said.contains("SURVIVED"), "{name}: {said}");
    }
}

#[test]
fn captures_of_every_pattern_hold_five_allowed_and_five_denied_flows() {
    for name in patterns() {
        let folder = root().join("rulesets").join(&name);
        let (mut allowed, mut denied) = (0, 0);
        for capture in below(&folder).iter().filter(|file| file.ends_with(".pcap")) {
            let capture = folder.join(capture);
            let out = lockgate(&[
                "replay",
                folder.to_str().unwrap(),
                capture.to_str().unwrap(),
                "--format",
                "json",
            ]);
            assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
            for line in text(&out.stdout).lines() {
                let record: serde_json::Value = serde_json::from_str(line).unwrap();
                match record["lockgate"]["verdict"].as_str() {
                    Some("allow") => allowed += 1,
                    Some("deny" | "reject") => denied += 1,
                    _ => {}
                }
            }
        }
        assert!(allowed >= 5 && denied >= 5, "{name}: {allowed} allowed, {denied} denied");
    }
}

#[test]
fn init_makes_a_ruleset_that_checks_and_nothing_is_overwritten() {
    for shipped in SHIPPED {
        let folder = fresh(shipped.name);
        let path = folder.to_str().unwrap();
        let out = lockgate(&["init", shipped.name, path]);
        assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
        assert!(text(&out.stdout).contains(&format!("lockgate check {path}")));
        let mut expected: BTreeSet<String> = shipped.files().map(|(path, _)| path.into()).collect();
        assert_eq!(below(&folder), expected);
        assert!(expected.remove("lockgate.schema.json"));
        let check = lockgate(&["check", path]);
        assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
        let test = lockgate(&["test", path]);
        assert_eq!(test.status.code(), Some(0), "{}{}", text(&test.stdout), text(&test.stderr));
        let again = lockgate(&["init", shipped.name, path]);
        assert_eq!(again.status.code(), Some(1));
        assert!(text(&again.stderr).contains("holds something already"), "{}", text(&again.stderr));
    }
}

#[test]
fn init_names_the_patterns_there_are() {
    let list = text(&lockgate(&["init", "--list"]).stdout);
    assert_eq!(list.lines().count(), SHIPPED.len());
    let wrong = lockgate(&["init", "inline-dmx", "/nowhere"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("inline-dmz"), "{}", text(&wrong.stderr));
    assert_eq!(lockgate(&["init"]).status.code(), Some(2));
    assert!(Shipped::find("inline-dmx").is_none());
}
