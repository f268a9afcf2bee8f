//! The configuration as it is written: what is wrong with it is said, with its place, in one run.
//! `UPDATE_GOLDEN=1` writes the files anew.

use crate::folder::Folder;
use lockgate::appliance::config;
use lockgate::ruleset::Style;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn golden(path: &Path, said: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, said).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert!(said == expected, "UPDATE_GOLDEN=1 takes this over as {}:\n{said}", path.display());
}

#[test]
fn every_wrong_configuration_says_what_is_expected() {
    let mut cases = 0;
    for entry in fs::read_dir("tests/appliance/config").unwrap().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|ending| ending == "yaml") {
            let refused = config::load(&path).expect_err("wrong on purpose");
            assert!(refused.errors.iter().all(|error| error.label.is_some()));
            golden(&path.with_extension("expected"), &refused.render(Style::PLAIN));
            cases += 1;
        }
    }
    assert!(cases >= 3, "{cases}");
}

#[test]
fn the_example_is_good_and_the_schema_is_what_is_checked_in() {
    let config = config::load(Path::new("deploy/appliance.yaml")).unwrap();
    assert_eq!(config.ruleset, Path::new("/etc/lockgate/ruleset"));
    assert_eq!(config.gateways.unwrap().len(), 1);
    golden(Path::new(config::SCHEMA_PATH), &config::schema());
}

/// `lockgate run` with further arguments.
fn run(arguments: &[&str], config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockgate"));
    command.arg("run").args(arguments).arg("--config").arg(config).output().unwrap()
}

#[test]
fn a_check_reads_the_ruleset_as_a_start_does() {
    let mut codes = Vec::new();
    for name in ["capacity", "good", "not-here", "refused", "warned"] {
        let path = Path::new("tests/appliance/check").join(name).with_extension("yaml");
        let out = run(&["--check"], &path);
        let said = String::from_utf8(out.stderr).unwrap();
        golden(&path.with_extension("expected"), &said);
        assert!(out.stdout.is_empty());
        codes.push((name, out.status.code().unwrap()));
        if !out.status.success() {
            let started = run(&[], &path);
            let told = String::from_utf8(started.stderr).unwrap();
            assert_eq!(started.status.code(), Some(1));
            // All but the line of the check itself.
            let findings = said.trim_end().rsplit_once('\n').unwrap().0;
            assert!(told.contains(findings.trim_end()), "{told}");
        }
    }
    let expected = [("capacity", 1), ("good", 0), ("not-here", 0), ("refused", 1), ("warned", 0)];
    assert_eq!(codes, expected);
}

#[test]
fn a_link_to_a_ruleset_that_leads_nowhere_is_no_ruleset_of_another_machine() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dangling");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let config = folder.join("a.yaml");
    let text = "appliance: 1\nruleset: current\ninterface: eth0\ngateways: [10.99.0.1]\n";
    fs::write(&config, text).unwrap();
    assert!(run(&["--check"], &config).status.success());
    std::os::unix::fs::symlink("2026-11-21", folder.join("current")).unwrap();
    let out = run(&["--check"], &config);
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(!out.status.success() && said.contains("current: refused, 1 error\n"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let refused = config::load(Path::new("/nowhere/appliance.yaml")).unwrap_err();
    assert!(refused.to_string().contains("/nowhere/appliance.yaml"), "{refused}");
}

#[test]
fn bounds_end_where_they_say() {
    let folder = Folder::new("bounds");
    let path = folder.join("appliance.yaml");
    let good = |more: &str| {
        let text = "appliance: 1\nruleset: r\ninterface: eth0\n";
        let gateways = if more.contains("gateways") { "" } else { "gateways: [10.99.0.1]\n" };
        fs::write(&path, format!("{text}{gateways}{more}\n")).unwrap();
        config::load(&path).is_ok()
    };
    for (more, expected) in [
        ("workers: 0", false),
        ("workers: 1", true),
        ("workers: 64", true),
        ("workers: 65", false),
        ("mode: passive", true),
        ("mode: passive\nworkers: 1", true),
        ("mode: passive\nworkers: 2", false),
        ("ring: 1MiB", true),
        ("ring: 1023KiB", false),
        ("limits: { flows: 0 }", false),
        ("limits: { flows: 268435456 }", true),
        ("limits: { flows: 268435457 }", false),
        ("denied_packets: { packets: 65536 }", true),
        ("denied_packets: { packets: 65537 }", false),
        ("drain: { deadline: 60s, at_least: 59s }", true),
        ("drain: { deadline: 60s, at_least: 60s }", true),
        ("drain: { deadline: 60s, at_least: 61s }", false),
        // The usual 15 s are no demand.
        ("drain: { deadline: 1s }", true),
        ("logs: { flows: { file: f, queue: 4194304 } }", true),
        ("logs: { flows: { file: f, queue: 4194305 } }", false),
    ] {
        assert_eq!(good(more), expected, "{more}");
    }
    let gateways = |count: usize| {
        let all: Vec<_> = (0..count).map(|n| format!("10.0.{n}.1")).collect();
        format!("gateways: [{}]", all.join(", "))
    };
    for (count, expected) in [(63, true), (64, true), (65, false)] {
        assert_eq!(good(&gateways(count)), expected, "{count}");
    }
}
