//! Rule tests as a user meets them: the shipped rulesets are held by their own tests and mutants, and
//! what the binary says is compared with golden files. `UPDATE_GOLDEN=1` writes those anew.

use lockgate::ruleset;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn lockgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockgate")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The shipped rulesets that have tests.
fn tested() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("rulesets").unwrap().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = entries.filter(|path| path.join("tests").is_dir()).collect();
    all.sort();
    all
}

#[test]
fn no_change_of_a_shipped_ruleset_goes_unnoticed_by_its_tests() {
    let rulesets = tested();
    assert!(rulesets.contains(&PathBuf::from("rulesets/partner-dmz")));
    for path in rulesets {
        let run = lockgate(&["test", "--mutate", path.to_str().unwrap()]);
        let said = text(&run.stdout) + &text(&run.stderr);
        assert_eq!(run.status.code(), Some(0), "{}:\n{said}", path.display());
        assert!(said.contains(" killed\n"), "{said}");
    }
}

#[test]
fn the_schema_of_tests_is_checked_in() {
    let path = Path::new(ruleset::TEST_SCHEMA_PATH);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, ruleset::test_schema()).unwrap();
    }
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(checked_in, ruleset::test_schema(), "UPDATE_GOLDEN=1 writes it anew");
}
