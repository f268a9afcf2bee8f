//! The report as a user meets it: one page that says what was seen, fetches nothing, and trusts no
//! text from a packet.

use lockgate::engine::record::Volume;
use lockgate::io::merge::Captures;
use lockgate::model::{Action, Addr, Ech, FiveTuple, Protocol, Reason, Timestamp};
use lockgate::pipeline::ReplayOptions;
use lockgate::prove::gather::gather;
use lockgate::prove::report::{About, FLOWS_OF_DENIAL_MAX, Report, explain, html};
use lockgate::prove::sighting::Sighting;
use lockgate::ruleset::{self, Options};
use lockgate::wire::{Checksums, Settings};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockgate"))
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn page(arguments: &[&str], name: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let out = run(&[&["report"], arguments, &["-o", path.to_str().unwrap()]].concat());
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    fs::read_to_string(path).unwrap()
}

const SHIPPED: [&str; 2] = ["rulesets/partner-dmz", "pcaps/partner-dmz.pcap"];

#[test]
fn the_page_of_the_shipped_capture_is_as_it_was() {
    let found = page(&SHIPPED, "shipped.html");
    let (style, body) = (found.find("<style>").unwrap(), found.find("</style>").unwrap());
    let without_style = format!("{}{}", &found[..style], &found[body..]);
    let path = root().join("tests/report/partner-dmz.html");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &without_style).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(without_style == wanted, "{}; UPDATE_GOLDEN=1 writes it anew", path.display());
}

#[test]
fn nothing_is_fetched_and_nothing_runs() {
    let found = page(&SHIPPED, "fetches.html");
    for bad in ["<script", "http://", "https://", "@import", "url(", "<link", "<img", "javascript:"]
    {
        assert!(!found.contains(bad), "{bad}");
    }
    assert!(found.contains("default-src 'none'"));
}

#[test]
fn a_flow_log_gives_the_page_of_its_capture() {
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.jsonl");
    let replayed = run(&["replay", SHIPPED[0], SHIPPED[1], "--format", "json"]);
    fs::write(&log, &replayed.stdout).unwrap();
    let log = log.to_str().unwrap();
    let by_log = page(&[SHIPPED[0], "--flows", log], "log.html").replace(log, SHIPPED[1]);
    let by_capture = page(&SHIPPED, "capture.html");
    let until =
        |page: &str| page.split("<section aria-labelledby=\"packets\">").next().unwrap().to_owned();
    // Only a replay counts packets.
    let by_log = by_log.split("</main>").next().unwrap().to_owned();
    assert_eq!(by_log.trim_end(), until(&by_capture).trim_end());
}

#[test]
fn the_number_of_workers_does_not_show() {
    let one = page(&[SHIPPED[0], SHIPPED[1], "--workers", "1"], "one.html");
    let many = page(&[SHIPPED[0], SHIPPED[1], "--workers", "5"], "many.html");
    assert!(one == many);
}

/// A flow of a stranger who chose every text in it.
fn hostile(number: u16) -> Sighting {
    let tuple = FiveTuple {
        src: Addr::v4([10, 20, 1, 5]),
        dst: Addr::v4([10, 100, 4, 7]),
        src_port: number,
        dst_port: 443,
        protocol: Protocol::TCP,
    };
    let nasty = "</td><script>alert(1)</script>\"' onload=x \u{202e}\u{0}";
    Sighting {
        from: nasty.into(),
        to: "payments".into(),
        endpoint: None,
        tuple,
        icmp: None,
        start: Timestamp::from_secs(1_795_000_000 + u64::from(number)),
        end: Timestamp::from_secs(1_795_000_000 + u64::from(number)),
        volume: [Volume::default(); 2],
        verdict: Some(Action::Deny),
        reason: Some(Reason::Otherwise),
        rule: Some(nasty.into()),
        enforced: true,
        midstream: false,
        app: Some(nasty.into()),
        names: vec![nasty.into()],
        questions: vec![nasty.into()],
        denied_answer: None,
        api_id: None,
        names_left_out: 0,
        tls_version: None,
        ja4: None,
        certificate: None,
        ech: Ech::None,
    }
}

#[test]
fn texts_of_strangers_stay_texts() {
    let loaded = ruleset::load(&root().join(SHIPPED[0]), &Options::default()).unwrap();
    let mut report = Report::default();
    report.add(&hostile(1));
    let about = About { ruleset: "<b>".into(), inputs: vec!["<i>&".into()] };
    let found = html(&report, &loaded.policy, &about);
    assert!(!found.contains("<script"), "a name became markup");
    assert!(
        !found.contains("<b>") || !found.contains("Ruleset</dt><dd><b>"),
        "a path became markup"
    );
    assert!(!found.contains('\u{202e}') && !found.contains('\u{0}'));
    assert!(found.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn a_page_over_much_stays_a_page() {
    let loaded = ruleset::load(&root().join(SHIPPED[0]), &Options::default()).unwrap();
    let mut report = Report::default();
    for number in 0..60_000_u32 {
        let mut flow = hostile(u16::try_from(number % 60_000).unwrap());
        flow.from = format!("segment-{}", number % 300).into();
        flow.names = vec![format!("name-{}.example", number % 20_000).into()];
        flow.rule = None;
        report.add(&flow);
    }
    assert!(report.denials.values().all(|denial| denial.first.len() <= FLOWS_OF_DENIAL_MAX));
    let found = html(&report, &loaded.policy, &About::default());
    assert!(found.len() < 2 << 20, "{} bytes", found.len());
    assert!(found.contains("60\u{202f}000"), "all flows are counted");
}

#[test]
fn the_way_shown_to_a_verdict_leads_to_it() {
    let shared = std::env::var_os("LOCKGATE_CAPTURES")
        .map_or_else(|| root().join("../shared/captures"), PathBuf::from);
    let mut files = vec![root().join(SHIPPED[1])];
    match fs::read_dir(&shared) {
        Ok(entries) => files.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "pcap" || e == "pcapng")),
        ),
        Err(_) => eprintln!("SKIPPED in part: no captures in {}", shared.display()),
    }
    let rules = "lockgate: 1\ncommon_endpoints: any\nsegments:\n  all: { kind: shared, networks: [0.0.0.0/0, \"::/0\"] }\n\
        policies:\n  - from: all\n    to: all\n    rules:\n\
        \x20     - { id: names, action: allow, domains: [.google.com, .example.com], tls: { min_version: \"1.2\" } }\n\
        \x20     - { id: dns, action: allow, dns: [.com] }\n\
        \x20     - { id: web, action: reject, app: http }\n\
        \x20     - { id: ssh, action: allow, protocol: tcp, ports: [22] }\n";
    let broad = ruleset::load_text("broad.yaml", rules, &Options::default()).unwrap().policy;
    let shipped = ruleset::load(&root().join(SHIPPED[0]), &Options::default()).unwrap().policy;
    let (mut explained, mut astray) = (0, Vec::new());
    for policy in [Arc::new(shipped), Arc::new(broad)] {
        for file in &files {
            let mut captures = Captures::open(&[file.to_str().unwrap().to_owned()]).unwrap();
            let ignore = Checksums::Ignore;
            let settings = Settings { checksums: ignore, outer_udp: ignore, ..Settings::CAPTURE };
            let options = ReplayOptions { settings, ..ReplayOptions::default() };
            let mut flows = Vec::new();
            gather(&policy, &mut captures, &options, |flow| flows.push(flow), &mut |_| {});
            for flow in flows.iter().filter(|flow| flow.verdict != Some(Action::Allow)) {
                if matches!(flow.reason, Some(Reason::Rule | Reason::Otherwise)) {
                    explained += 1;
                    let found = explain(flow, &policy);
                    if !found.agrees {
                        let name = file.file_name().unwrap().to_string_lossy().into_owned();
                        let (tuple, app, names) = (flow.tuple, &flow.app, &flow.names);
                        astray.push(format!("{name}: {tuple} {app:?} {names:?}: {}", found.end));
                    }
                }
            }
        }
    }
    assert!(explained >= 7, "{explained} flows were explained");
    let count = astray.len();
    assert!(astray.is_empty(), "{count} of {explained} lead elsewhere:\n{}", astray.join("\n"));
}

#[test]
fn an_empty_capture_gives_a_page_that_says_so() {
    let loaded = ruleset::load(&root().join(SHIPPED[0]), &Options::default()).unwrap();
    let found = html(&Report::default(), &loaded.policy, &About::default());
    assert!(found.contains("No flow was seen."));
}
