//! The configuration as it is written: what is wrong with it is said, with its place, in one run.
//! `UPDATE_GOLDEN=1` writes the files anew.

use lockgate::appliance::config;
use lockgate::ruleset::Style;
use std::fs;
use std::path::Path;

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

#[test]
fn a_file_that_is_not_there_is_named() {
    let refused = config::load(Path::new("/nowhere/appliance.yaml")).unwrap_err();
    assert!(refused.to_string().contains("/nowhere/appliance.yaml"), "{refused}");
}

#[test]
fn bounds_end_where_they_say() {
    let folder = std::env::temp_dir().join(format!("lockgate-bounds-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
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
    fs::remove_dir_all(&folder).unwrap();
}
