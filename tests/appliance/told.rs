//! What metrics, records and lists tell of flows: that they agree, by which names, and by which time.

use crate::appliance::bench::{ACME, Bench, GLOBEX, RULES};
use lockgate::appliance::control::{self, Request};
use lockgate::appliance::filter::Filter;
use serde_json::Value;
use std::collections::BTreeMap;

/// Rules under which flows end in every way: by a rule with and without a record, by a policy's last
/// word for several reasons, in a policy that only monitors, without a policy, and undecided.
const EVERY_END: &str = r#"
lockgate: 1
segments:
  acme: { kind: partner, endpoints: [vpce-0123456789abcdef0], networks: [10.20.0.0/16] }
  globex: { kind: partner, endpoints: [vpce-00feeddccbbaa9988], networks: [10.20.0.0/16] }
  payments: { kind: workload, networks: [10.100.0.0/16] }
policies:
  - from: acme
    to: payments
    rules:
      - { id: web, action: allow, protocol: udp, ports: [443] }
      - { id: quiet, action: allow, protocol: udp, ports: [444], log: none }
      - { id: never, action: deny, protocol: udp, ports: [23] }
      - { id: named, action: allow, protocol: tcp, ports: [443], domains: [a.example] }
  - { from: globex, to: payments, mode: monitor }
"#;

#[test]
fn every_flow_that_ended_counts_once_under_the_verdict_of_its_record() {
    let bench = Bench::with("verdicts", EVERY_END, "logs: { flows: { file: flows.json } }");
    let mut flows = std::fs::File::open(bench.folder().join("flows.json")).unwrap();
    for (endpoint, port) in
        [(ACME, 443), (ACME, 444), (ACME, 444), (ACME, 23), (ACME, 80), (GLOBEX, 80)]
    {
        bench.passes_from(endpoint, 1000 + port, port);
    }
    bench.passes_from(ACME, 7, 80);
    bench.opens(8, &[]);
    bench.opens(9, &[0x16, 3, 1, 2, 0, 1]); // The beginning of a hello, and no more.
    bench.forget_flows();
    bench.until_flows_are(0);
    let metrics = bench.get("/metrics").1;
    bench.leave();
    let prefix = "lockgate_flow_verdicts_total";
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(prefix));
    let told: BTreeMap<String, u64> = lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(labels, flows)| (labels.to_owned(), flows.parse().unwrap()))
        .collect();
    let mut records: BTreeMap<String, u64> = BTreeMap::new();
    for line in std::io::read_to_string(&mut flows).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let decided = &record["lockgate"];
        let text = |name: &str| decided[name].as_str().unwrap_or_default().to_owned();
        let policy = if decided["rule"].is_null() { text("policy") } else { String::new() };
        let (verdict, reason, enforced) = (text("verdict"), text("reason"), &decided["enforced"]);
        let labels = format!(
            r#"{{verdict="{verdict}",reason="{reason}",policy="{policy}",enforced="{enforced}"}}"#
        );
        *records.entry(labels).or_default() += 1;
    }
    // The rule that asks for no record.
    *records
        .entry(r#"{verdict="allow",reason="rule",policy="",enforced="true"}"#.to_owned())
        .or_default() += 1;
    assert_eq!(told, records, "{metrics}");
    let ended = metrics.lines().filter(|line| line.starts_with("lockgate_flows_ended_total{"));
    let ended = ended.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    assert_eq!(ended.sum::<u64>(), told.values().sum::<u64>());
    let of = |labels: &str| told.get(labels).copied();
    let acme = r#"policy="acme -> payments",enforced="true"}"#;
    assert_eq!(of(&format!(r#"{{verdict="deny",reason="otherwise",{acme}"#)), Some(2));
    assert_eq!(of(&format!(r#"{{verdict="deny",reason="undecided",{acme}"#)), Some(1), "{told:?}");
    let pending = r#"{verdict="pending",reason="",policy="",enforced="true"}"#;
    assert_eq!(of(pending), Some(1), "{told:?}");
}

#[test]
fn flows_of_a_partner_that_a_reload_removed_are_listed_as_what_they_were_until_they_end() {
    let both = RULES.replace("from: acme", "from: [acme, globex]");
    let bench = Bench::new("offboarded", &both);
    assert!(bench.passes(ACME, 443) && bench.passes(GLOBEX, 443));
    let of = |segment: &str| {
        let filter = Filter { segment: Some(segment.to_owned()), ..Filter::default() };
        bench.ask(&Request::Flows { filter, limit: 10 })
    };
    let first = of("globex");
    assert_eq!((&first.last["matched"], &first.last["earlier"]), (&1.into(), &0.into()));
    let left: Vec<&str> = RULES.lines().filter(|line| !line.contains("globex")).collect();
    bench.write_rules(&left.join("\n"));
    assert!(bench.ask(&Request::Reload { dry_run: false, limit: 0 }).is_ok());
    assert!(!bench.passes(GLOBEX, 443), "nothing of theirs passes");
    let known = of("globex");
    assert_eq!((&known.last["matched"], &known.last["earlier"]), (&1.into(), &1.into()));
    assert_eq!(known.last["gone"], "segment `globex`");
    assert_eq!(known.items[0]["lockgate"]["from"], "globex");
    let filter = Filter { segment: Some("globex".to_owned()), ..Filter::default() };
    let said = control::text::show(&Request::Flows { filter, limit: 10 }, &known, Some(140));
    let told = "the ruleset has no segment `globex` any more; all decided by an earlier ruleset: ";
    assert!(said.contains(told), "{said}");
    assert_eq!(of("acme").last["gone"], Value::Null);
    let never = of("globeks");
    assert_eq!(
        (never.is_ok(), never.last["error"].as_str()),
        (false, Some("there is no segment `globeks`, and no live flow of an earlier one"))
    );
    bench.forget_flows();
    bench.until_flows_are(0);
    assert!(!of("globex").is_ok(), "its last flow has ended");
}

#[test]
fn records_are_stamped_by_the_system_time_however_it_was_set_and_no_flow_ends_of_that() {
    let more = "logs: { flows: { file: flows.json } }\ndenied_packets: { packets: 5 }";
    let bench = Bench::with("stamps", RULES, more);
    let mut flows = std::fs::File::open(bench.folder().join("flows.json")).unwrap();
    let started = || {
        let answer = bench.ask(&Request::Flows { filter: Filter::default(), limit: 10 });
        let flow = &answer.items[0];
        let text = |value: &Value| value.as_str().unwrap()[..16].to_owned();
        (text(&flow["flow"]["start"]), flow["flow"]["age"].as_u64().unwrap())
    };
    assert!(bench.passes(ACME, 443));
    assert_eq!(started(), ("2027-01-15T08:00".to_owned(), 0));
    bench.set_system_time(3 * 3600);
    assert_eq!(started(), ("2027-01-15T11:00".to_owned(), 0), "no older than before");
    assert!(
        bench.get("/health").1.contains("the system's time was set by +10800 s since the start")
    );
    assert!(bench.passes(ACME, 443), "the flow goes on");
    assert!(!bench.passes(ACME, 80));
    let kept = bench.ask(&Request::Denied).items[0]["at_ns"].as_u64().unwrap();
    assert_eq!(kept / 3_600_000_000_000 % 24, 11);
    bench.set_system_time(-86_400);
    assert_eq!(started().0, "2027-01-14T08:00");
    bench.set_system_time(0);
    assert!(!bench.get("/health").1.contains("system's time"));
    bench.set_system_time(60);
    bench.leave();
    let log = std::io::read_to_string(&mut flows).unwrap();
    assert_eq!(log.lines().count(), 2);
    for line in log.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        for stamp in [&record["timestamp"], &record["flow"]["start"], &record["flow"]["end"]] {
            assert!(stamp.as_str().unwrap().starts_with("2027-01-15T08:01"), "{line}");
        }
    }
}

#[test]
fn metrics_tell_no_more_of_pairs_than_they_are_asked_to() {
    for (pairs, from, to) in [
        ("segments", "acme", "payments"),
        ("partners", "acme", "kind:workload"),
        ("none", "any", "any"),
    ] {
        let bench = Bench::with(pairs, RULES, &format!("metrics: {{ pairs: {pairs} }}"));
        assert!(bench.passes(ACME, 443) && !bench.passes(ACME, 80));
        let metrics = bench.get("/metrics").1;
        for line in [
            format!("lockgate_flows_opened_total{{from=\"{from}\",to=\"{to}\"}} 2"),
            format!(
                "lockgate_packets_total{{from=\"{from}\",to=\"{to}\",verdict=\"forward\",reason=\"\"}} 1"
            ),
        ] {
            assert!(metrics.contains(&line), "{line} in\n{metrics}");
        }
        // What the page counts one by one, and what is there whatever the ruleset.
        let counted =
            ["packets_total{", "bytes_total{", "opened_total{", "hits_total{", "verdicts_total{"];
        let counted = [&counted[..], &["_segment_", "drops_total{", "worker_silent"]].concat();
        let others = metrics.lines().filter(|line| !line.starts_with('#'));
        let others = others.filter(|line| !counted.iter().any(|word| line.contains(word)));
        assert!((30..60).contains(&others.count()), "docs/metrics.md says fewer than 60");
    }
}

#[test]
fn flows_are_chosen_by_an_address_or_a_network() {
    let bench = Bench::new("networks", RULES);
    assert!(bench.passes(ACME, 443));
    for (addresses, matched) in [
        ("10.20.1.5", 1),
        ("10.20.0.0/16", 1),
        ("10.100.4.6/31", 1),
        ("10.20.1.6/31", 0),
        ("::/0", 0),
    ] {
        let filter = Filter { address: Some(addresses.parse().unwrap()), ..Filter::default() };
        let answer = bench.ask(&Request::Flows { filter, limit: 10 });
        assert_eq!(answer.last["matched"], matched, "{addresses}");
    }
}
