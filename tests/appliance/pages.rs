//! The pages and the dashboard against what an instance gives: every metric they name exists, and
//! every metric that exists is described.

use crate::appliance::bench::{ACME, Bench, RULES};
use std::collections::BTreeSet;
use std::fs;

/// Names of all families an instance gives that has seen everything once.
fn families() -> BTreeSet<String> {
    let bench = Bench::with("families", RULES, "logs: { flows: { file: flows.json } }");
    assert!(bench.passes(ACME, 443) && !bench.passes(ACME, 8080));
    let text = bench.get("/metrics").1;
    text.lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(ToOwned::to_owned))
        .collect()
}

/// Words of a text that are names of metrics.
fn named(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("lockgate_") && *word != "lockgate_")
        .map(|word| {
            let parts = ["_bucket", "_sum", "_count"];
            let base = parts.iter().find_map(|part| word.strip_suffix(part));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[test]
fn the_page_and_the_dashboard_name_every_metric_and_no_other() {
    let families = families();
    let page = named(&fs::read_to_string("docs/metrics.md").unwrap());
    assert_eq!(page, families, "docs/metrics.md");
    let text = fs::read_to_string("deploy/grafana-dashboard.json").unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 20);
    let unknown: Vec<_> = named(&text).difference(&families).cloned().collect();
    assert!(unknown.is_empty(), "the dashboard asks for {unknown:?}");
    let unseen: Vec<_> = families.difference(&named(&text)).cloned().collect();
    let elsewhere = [
        "lockgate_policy_installed_seconds",
        "lockgate_start_time_seconds",
        "lockgate_workers_answering",
    ];
    assert_eq!(unseen, elsewhere, "metrics nobody sees on the dashboard");
}

#[test]
fn samples_stand_under_their_family_and_no_label_set_comes_twice() {
    let bench = Bench::new("format", RULES);
    assert!(bench.passes(ACME, 443) && !bench.passes(ACME, 8080));
    let text = bench.get("/metrics").1;
    let (mut family, mut seen) = (String::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&family), "{series} under {family}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(seen.insert(series.to_owned()), "{series} twice");
        }
    }
    assert!(seen.len() > 50);
}
