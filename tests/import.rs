//! Import as a user meets it, and the promise it makes: a rule called exact decides flows of real
//! captures as Suricata decided them.

mod others;

use lockgate::io::merge::Captures;
use lockgate::model::{Action, Protocol};
use lockgate::pipeline::ReplayOptions;
use lockgate::prove::gather::gather;
use lockgate::prove::import::{Fidelity, Imported, Input, Options, Order, import, ruleset};
use lockgate::prove::sighting::Sighting;
use lockgate::ruleset;
use lockgate::wire::{Checksums, Settings};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn golden(name: &str, found: &str) {
    let path = root().join("tests/import").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{}; UPDATE_GOLDEN=1 writes it anew", path.display());
}

fn run(arguments: &[&str]) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .arg("import")
        .args(arguments)
        .current_dir(root().join("tests/import"))
        .output();
    program.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_line_says_what_became_of_it() {
    let home = ["--var", "HOME_NET=10.0.0.0/8"];
    for (name, arguments) in [
        ("egress", vec!["egress.rules"]),
        ("egress-strict", vec!["egress.rules", "--order", "strict", "--otherwise", "deny"]),
        ("domain-list", vec!["domain-list.json"]),
        (
            "policy",
            vec![
                "policy/policy.json",
                "policy/edge.json",
                "policy/tuples.json",
                "policy/names.json",
            ],
        ),
        ("cloudformation", vec!["cloudformation.json"]),
    ] {
        let given =
            if name.starts_with("egress") || name == "cloudformation" { &home[..] } else { &[] };
        let out = run(&[&arguments[..], given].concat());
        assert_eq!(out.status.code(), Some(0), "{name}: {}", text(&out.stderr));
        golden(&format!("{name}.report"), &text(&out.stderr));
        golden(&format!("{name}.yaml"), &text(&out.stdout));
        let loaded = ruleset::load_text(name, &text(&out.stdout), &ruleset::Options::default());
        loaded.unwrap_or_else(|refused| panic!("{name}: {refused}"));
    }
}

#[test]
fn the_report_for_programs_is_json_and_strictness_fails() {
    let ruleset = Path::new(env!("CARGO_TARGET_TMPDIR")).join("imported.yaml");
    let output = ruleset.to_str().unwrap();
    let out = run(&["domain-list.json", "--format", "json", "--output", output]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    golden("domain-list.report.json", &text(&out.stdout));
    let strict = run(&["domain-list.json", "--strict", "--output", output]);
    assert_eq!(strict.status.code(), Some(1), "one target is refused");
    assert_eq!(run(&["domain-list.json", "--format", "json"]).status.code(), Some(1));
    let nothing = run(&["../suggest/partner-dmz.yaml", "no/such.rules"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(text(&nothing.stderr).contains("no/such.rules"), "{}", text(&nothing.stderr));
}

#[test]
fn an_import_that_fails_writes_nothing() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("import-nothing");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let (rules, output) = (folder.join("a.rules"), folder.join("a.yaml"));
    let (rules, to) = (rules.to_str().unwrap(), output.to_str().unwrap());
    let good = "drop tcp any any -> any 23 (sid:1;)\n";
    let refused = "drop ssh any any -> any any (sid:2;)\n";
    let alert = "alert tcp any any -> any 80 (sid:3;)\n";
    let both = format!("{good}{refused}");
    for (text_of, flag, why) in [
        ("", None, "there is no rule in"),
        ("# a comment\n", Some("--strict"), "there is no rule in"),
        ("{}", None, "a.rules"),
        (refused, None, "not one rule can be taken over of"),
        (alert, None, "not one rule decides anything of"),
        (&both, Some("--strict"), "1 rule is refused or only approximated"),
    ] {
        fs::write(rules, text_of).unwrap();
        for arguments in [vec![rules], vec![rules, "-o", to]] {
            let arguments: Vec<&str> = arguments.into_iter().chain(flag).collect();
            let out = run(&arguments);
            let said = text(&out.stderr);
            assert_eq!(out.status.code(), Some(1), "{text_of}: {said}");
            assert!(said.contains(why) && out.stdout.is_empty(), "{text_of}: {said}");
            assert!(!output.exists(), "{text_of}");
        }
    }
    fs::write(rules, &both).unwrap();
    assert_eq!(run(&[rules, "-o", to]).status.code(), Some(0));
    assert!(output.exists());
}

/// Pieces that rules are made of, good ones and bad ones.
const PIECES: &[&str] = &[
    "pass ",
    "drop ",
    "reject ",
    "alert ",
    "tls ",
    "http ",
    "dns ",
    "tcp ",
    "ip ",
    "icmp ",
    "quic ",
    "any ",
    "-> ",
    "<> ",
    "$HOME_NET ",
    "$EXTERNAL_NET ",
    "!$HOME_NET ",
    "$NONE ",
    "[10.0.0.0/8,!10.1.0.0/16] ",
    "[!1.2.3.4] ",
    "::/0 ",
    "443 ",
    "[80,443:500] ",
    "!22 ",
    ":1024 ",
    "(",
    ")",
    "sid:1;",
    "sid:18446744073709551616;",
    "tls.sni; ",
    "http.host; ",
    "dns.query; ",
    "quic.sni; ",
    "ja4.hash; ",
    "dotprefix; ",
    "content:\".a.example\"; ",
    "content:!\"b\"; ",
    "content:\"|61 62|\"; ",
    "content:\"|6|\"; ",
    "content:\"*\"; ",
    "content:\"ü\"; ",
    "startswith; ",
    "endswith; ",
    "nocase; ",
    "bsize:10; ",
    "depth:10; ",
    "offset:1; ",
    "distance:0; ",
    "pcre:\"/^(a|b)?\\.c$/i\"; ",
    "pcre:\"/((((((((((a/\"; ",
    "flow:to_server,established; ",
    "flow:to_client; ",
    "flow:not_established; ",
    "itype:8; ",
    "icode:0; ",
    "ip_proto:!6; ",
    "ip_proto:gre; ",
    "priority:1; ",
    "msg:\"x: # \\\"\"; ",
    "\\\n",
    "\n",
    "# ",
    "${x}",
    "\u{202e}",
    "\0",
    ";;",
];

proptest! {
    /// Whatever is read, nothing panics, and what is written is a ruleset.
    #[test]
    fn what_is_imported_always_compiles(picks in prop::collection::vec(0..PIECES.len(), 0..60), alerts: bool) {
        let text: String = picks.iter().filter_map(|at| PIECES.get(*at)).copied().collect();
        compiles(text, alerts);
    }

    #[test]
    fn whole_rules_always_compile(
        heads in prop::collection::vec((0..12_usize, 0..20_usize), 1..6),
        options in prop::collection::vec(27..60_usize, 0..8),
        alerts: bool,
    ) {
        let mut text = String::new();
        for (number, (protocol, side)) in heads.iter().enumerate() {
            let piece = |at: usize| PIECES.get(at).copied().unwrap_or_default();
            let options: String = options.iter().map(|at| piece(*at)).collect();
            let (action, protocol) = (piece(protocol % 4), piece(4 + protocol % 7));
            let source = piece(14 + side % 7);
            text += &format!("{action}{protocol}{source}any -> any any ({options} sid:{number};)\n");
        }
        compiles(text, alerts);
    }

    #[test]
    fn any_json_is_read_or_refused(targets in prop::collection::vec(".{0,12}", 0..5), kind in 0..5_usize, strict: bool) {
        let kind = ["ALLOWLIST", "DENYLIST", "REJECTLIST", "ALERTLIST", "x"].get(kind);
        let order = if strict { "STRICT_ORDER" } else { "DEFAULT_ACTION_ORDER" };
        let group = serde_json::json!({
            "RuleVariables": { "IPSets": { "HOME_NET": { "Definition": ["10.0.0.0/8"] } } },
            "RulesSource": { "RulesSourceList": {
                "Targets": targets, "TargetTypes": ["TLS_SNI", "HTTP_HOST"], "GeneratedRulesType": kind,
            }},
            "StatefulRuleOptions": { "RuleOrder": order },
        });
        compiles(group.to_string(), false);
    }
}

fn compiles(text: String, alerts: bool) {
    let variables = [("HOME_NET".to_owned(), "[10.0.0.0/8,fd00::/8]".to_owned())];
    let options = Options { variables: variables.into(), alerts, ..Options::default() };
    let Ok(imported) = import(&[Input { name: "x".into(), text: text.clone() }], &options) else {
        return;
    };
    let written = ruleset(&imported);
    let loaded = ruleset::load_text("x.yaml", &written, &ruleset::Options::default());
    loaded.unwrap_or_else(|refused| panic!("{text}\n{refused}\n{written}"));
}

fn imported(rules: &[String], order: Order, alerts: bool) -> Imported {
    // Variables as Suricata's own configuration has them.
    let variables =
        [("HOME_NET", "[192.168.0.0/16,10.0.0.0/8,172.16.0.0/12]"), ("EXTERNAL_NET", "!$HOME_NET")];
    let options = Options {
        variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        order: Some(order),
        alerts,
        ..Options::default()
    };
    let input = Input { name: "rules".into(), text: rules.join("\n") };
    import(&[input], &options).unwrap()
}

fn judged(imported: &Imported, capture: &Path) -> Vec<Sighting> {
    let text = ruleset(imported);
    let loaded = ruleset::load_text("imported.yaml", &text, &ruleset::Options::default());
    let policy = Arc::new(loaded.unwrap_or_else(|refused| panic!("{refused}\n{text}")).policy);
    let mut flows = Vec::new();
    let mut captures = Captures::open(&[capture.to_str().unwrap().to_owned()]).unwrap();
    let ignore = Checksums::Ignore;
    let settings = Settings { checksums: ignore, outer_udp: ignore, ..Settings::CAPTURE };
    let options = ReplayOptions { settings, ..ReplayOptions::default() };
    gather(&policy, &mut captures, &options, |flow| flows.push(flow), &mut |_| {});
    flows
}

/// What is compared of one case.
#[derive(Default)]
struct Row {
    fidelities: BTreeMap<Fidelity, usize>,
    /// Of exact rules.
    compared: usize,
    /// Of approximated rules, and how many of them agree.
    near: (usize, usize),
    differences: Vec<String>,
}

/// Whether a rule alone matches something where Suricata wrote alerts, and nothing where it did not.
fn compare_alerts(rules: &[String], alerts: &Value, capture: &Path, row: &mut Row) {
    for rule in rules {
        let alone = imported(std::slice::from_ref(rule), Order::Action, true);
        let finding = alone.findings.first().unwrap();
        *row.fidelities.entry(finding.fidelity).or_default() += 1;
        if !matches!(finding.fidelity, Fidelity::Exact | Fidelity::Approximated) {
            continue;
        }
        let matched = judged(&alone, capture).iter().filter(|flow| flow.rule.is_some()).count();
        let sid = finding.sid.unwrap().to_string();
        let alerted = alerts.get(&sid).and_then(Value::as_u64).unwrap_or(0);
        let same = (matched > 0) == (alerted > 0);
        if finding.fidelity == Fidelity::Approximated {
            row.near = (row.near.0 + 1, row.near.1 + usize::from(same));
            continue;
        }
        row.compared += 1;
        if !same {
            row.differences.push(format!("sid {sid}: {alerted} alerts, {matched} flows here"));
        }
    }
}

/// Whether flows get the verdict Suricata gave them, where every rule that decides is exact.
fn compare_verdicts(
    all: &Imported,
    actions: &[Value],
    capture: &Path,
    tunnelled: bool,
    row: &mut Row,
) {
    for finding in &all.findings {
        *row.fidelities.entry(finding.fidelity).or_default() += 1;
    }
    let lossy = all.count(Fidelity::Refused) + all.count(Fidelity::Approximated);
    if lossy > 0 {
        return;
    }
    let flows = judged(all, capture);
    for action in actions {
        let text = |at: usize| action[at].as_str().unwrap_or_default().to_owned();
        let port = |at: usize| action[at].as_u64().unwrap_or(0);
        let (src, dst) = (text(1), text(3));
        let found = flows.iter().find(|flow| {
            let tuple = &flow.tuple;
            let same = |a: &str, b: lockgate::model::Addr| a.parse() == Ok(b.to_ip());
            let ports = tuple.protocol == Protocol::ICMP
                || (u64::from(tuple.src_port), u64::from(tuple.dst_port)) == (port(2), port(4));
            same(&src, tuple.src) && same(&dst, tuple.dst) && ports
        });
        if found.is_none() && tunnelled {
            // What is a tunnel's outside to one is not seen by the other.
            continue;
        }
        row.compared += 1;
        let wanted = text(5);
        let here = found.and_then(|flow| flow.verdict).map(|verdict| match verdict {
            Action::Allow => "pass",
            Action::Deny | Action::Reject => "drop",
        });
        if here != Some(wanted.as_str()) {
            row.differences.push(format!("{src} > {dst}: {wanted}, here {here:?}"));
        }
    }
}

#[test]
fn exact_rules_decide_as_suricata_does() {
    let Some(folder) = others::captures("rules_expected.jsonl") else { return };
    let lines = fs::read_to_string(folder.join("rules_expected.jsonl")).unwrap();
    let mut table = String::from(
        "case                                     exact  approximated  refused  no verdict  compared  agree\n",
    );
    let (mut compared, mut agree, mut offences) = (0, 0, Vec::new());
    for line in lines.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let rules: Vec<String> = case["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r.as_str().unwrap().to_owned())
            .collect();
        let name = case["case"].as_str().unwrap();
        let mut row = Row::default();
        if case.get("must_reject").is_some() {
            for finding in &imported(&rules, Order::Action, true).findings {
                *row.fidelities.entry(finding.fidelity).or_default() += 1;
                row.compared += 1;
                if finding.fidelity != Fidelity::Refused {
                    row.differences.push("Suricata refuses it".into());
                }
            }
        } else {
            let capture = folder.join(case["pcap"].as_str().unwrap());
            let observed = &case["observed"];
            let actions = observed["flow_actions"].as_array().unwrap();
            if rules.iter().all(|rule| rule.starts_with("alert")) {
                compare_alerts(&rules, &observed["alerts"], &capture, &mut row);
            } else {
                let first = case.pointer("/config/action-order/0").and_then(Value::as_str);
                let order = if first == Some("drop") { Order::DropFirst } else { Order::Action };
                let tunnelled = case["category"].as_str().unwrap().contains("tunnels");
                let all = imported(&rules, order, false);
                compare_verdicts(&all, actions, &capture, tunnelled, &mut row);
            }
        }
        let count = |fidelity| row.fidelities.get(&fidelity).copied().unwrap_or(0);
        let good = row.compared - row.differences.len();
        let _ = writeln!(
            table,
            "{name:<40} {:>5} {:>13} {:>8} {:>11} {:>16} {good:>6} {:>23} {:>6}",
            count(Fidelity::Exact),
            count(Fidelity::Approximated),
            count(Fidelity::Refused),
            count(Fidelity::NoVerdict),
            row.compared,
            row.near.0,
            row.near.1,
        );
        compared += row.compared;
        agree += good;
        offences.extend(row.differences.iter().map(|difference| format!("{name}: {difference}")));
    }
    let _ = writeln!(table, "exact rules: {agree} of {compared} comparisons agree");
    eprint!("{table}");
    assert!(offences.is_empty(), "{}\n{table}", offences.join("\n"));
    golden("agreement.txt", &table);
}
