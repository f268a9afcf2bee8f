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

#[test]
fn a_recorded_test_passes_and_dropped_packets_become_flows() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recorded");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("rules/tests")).unwrap();
    let ruleset = folder.join("rules");
    std::fs::copy("tests/rule_tests/failing/lockgate.yaml", ruleset.join("lockgate.yaml")).unwrap();
    let (ruleset, dropped) = (ruleset.to_str().unwrap(), folder.join("dropped.pcap"));
    let (dropped, capture) = (dropped.to_str().unwrap(), "pcaps/partner-dmz.pcap");
    let replayed = lockgate(&["replay", ruleset, capture, "--write-dropped", dropped]);
    assert_eq!(replayed.status.code(), Some(0));
    for (name, from, extra) in [
        ("day.yaml", capture, &[][..]),
        ("day-flows.yaml", capture, &["--as-flows"][..]),
        ("dropped.yaml", dropped, &[][..]),
        ("dropped-flows.yaml", dropped, &["--as-flows"][..]),
    ] {
        let output = format!("{ruleset}/tests/{name}");
        let fixed = ["test", ruleset, "--record", from, "-o", &output];
        let run = lockgate(&[&fixed[..], extra].concat());
        assert_eq!(run.status.code(), Some(0), "{name}: {}", text(&run.stderr));
    }
    let run = lockgate(&["test", ruleset]);
    assert_eq!(run.status.code(), Some(0), "{}{}", text(&run.stdout), text(&run.stderr));
    let written = std::fs::read_to_string(format!("{ruleset}/tests/dropped-flows.yaml")).unwrap();
    assert!(written.contains("app: tls, domain: admin.payments.example"), "{written}");
    assert!(written.contains("reason: otherwise"), "{written}");
    let again = lockgate(&[
        "test",
        ruleset,
        "--record",
        capture,
        "-o",
        &format!("{ruleset}/tests/day.yaml"),
    ]);
    assert_eq!(again.status.code(), Some(2), "a file that is there is not written over");
}

#[test]
fn what_a_rule_may_ask_is_written_down_with_a_recorded_flow() {
    for (ruleset, capture, told) in [
        ("internal-dns", "acme", "dns: stray.api.payments.example, answer: 10.100.66.6"),
        ("private-apis", "globex", "domain: quotes.payments.example, api_id: gl0b3xq001"),
        ("mutual-tls", "acme", "until: 2"),
    ] {
        let ruleset = format!("rulesets/{ruleset}");
        let capture = format!("{ruleset}/tests/{capture}.pcap");
        let run = lockgate(&["test", &ruleset, "--record", &capture, "--as-flows"]);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        assert!(text(&run.stdout).contains(told), "{told}: {}", text(&run.stdout));
    }
}

#[test]
fn a_source_port_is_recorded_where_a_rule_asks_for_it() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("recorded-ports");
    std::fs::create_dir_all(&folder).unwrap();
    let ruleset = "lockgate: 1
segments:
  acme: { kind: partner, networks: [10.20.0.0/16] }
  inside: { kind: workload, networks: [10.53.0.0/16, 10.100.0.0/16] }
common_endpoints: any
policies:
  - from: acme
    to: inside
    rules:
      - { id: one, action: allow, protocol: tcp, source_ports: [48072] }
";
    std::fs::write(folder.join("lockgate.yaml"), ruleset).unwrap();
    let folder = folder.to_string_lossy();
    let run = lockgate(&["test", &folder, "--record", "pcaps/partner-dmz.pcap", "--as-flows"]);
    assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
    let recorded = text(&run.stdout);
    let of_port: Vec<&str> =
        recorded.lines().filter(|l| l.contains("source_port: 48072")).collect();
    assert!(matches!(of_port.as_slice(), [line] if line.contains("rule: one")), "{recorded}");
    assert_eq!(recorded.matches("source_port").count(), 1, "{recorded}");
    assert_eq!(recorded.matches("rule: one").count(), 1, "{recorded}");
    assert!(!text(&run.stderr).contains("left out"), "{}", text(&run.stderr));
}
