//! The live process without a network: workers on ports in memory, and everything an operator has to
//! do with them: health, metrics, reload, drain, control.

mod appliance {
    pub(crate) mod bench;
    mod config;
    mod day;
    mod pages;
    mod text;
    mod told;
}
mod folder;

use appliance::bench::{ACME, Bench, Broken, GLOBEX, RULES, RULES_WITHOUT_WEB, Stuck};
use lockgate::appliance::control::{Request, client};
use lockgate::appliance::filter::Filter;
use lockgate::appliance::supervise::Left;
use lockgate::model::EndpointId;
use serde_json::Value;
use std::time::Duration;

#[test]
fn packets_pass_and_everybody_can_see_it() {
    let bench = Bench::new("see", RULES);
    assert!(bench.passes(ACME, 443));
    assert!(!bench.passes(ACME, 8080));
    let (status, body) = bench.get("/health");
    assert_eq!((status, body.contains("\"healthy\"")), (200, true), "{body}");
    let metrics = bench.get("/metrics").1;
    for line in [
        "lockgate_packets_total{from=\"acme\",to=\"payments\",verdict=\"forward\",reason=\"\"} 1",
        "lockgate_packets_total{from=\"acme\",to=\"payments\",verdict=\"drop\",reason=\"otherwise\"} 1",
        "lockgate_rule_hits_total{rule=\"web\",policy=\"\",action=\"allow\"} 1",
        "lockgate_rule_hits_total{rule=\"otherwise\",policy=\"acme -> payments\",action=\"deny\"} 1",
        "lockgate_drops_total{reason=\"otherwise\"} 1",
        "lockgate_drops_total{reason=\"limit-flows\"} 0",
        "lockgate_flows_opened_total{from=\"acme\",to=\"payments\"} 2",
        "lockgate_healthy 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    assert_eq!(bench.leave(), Left::Asked);
}

#[test]
fn partners_with_the_same_addresses_are_told_apart() {
    let bench = Bench::new("partners", RULES);
    assert!(bench.passes(ACME, 443));
    assert!(!bench.passes(GLOBEX, 443));
    let answer = bench.ask(&Request::Flows { filter: Filter::default(), limit: 10 });
    let segments: Vec<_> =
        answer.items.iter().map(|flow| flow["lockgate"]["from"].as_str().unwrap()).collect();
    assert_eq!(segments, ["acme", "globex"]);
    let filter = Filter { segment: Some("globex".to_owned()), ..Filter::default() };
    let answer = bench.ask(&Request::Flows { filter, limit: 10 });
    assert_eq!((answer.items.len(), &answer.last["matched"]), (1, &Value::from(1)));
}

#[test]
fn a_live_flow_is_as_old_as_filters_take_it_to_be_and_says_how_long_it_is_silent() {
    let bench = Bench::new("age", RULES);
    assert!(bench.passes(ACME, 443) && bench.passes(ACME, 443));
    assert!(bench.passes_from(ACME, 40_001, 443));
    // The clock goes on; nothing comes of either.
    bench.put(Duration::from_secs(13), &[0; 14]);
    bench.until_judged(4);
    let told = |older, younger| {
        let (older_than_seconds, younger_than_seconds) = (older, younger);
        let filter = Filter { older_than_seconds, younger_than_seconds, ..Filter::default() };
        let answer = bench.ask(&Request::Flows { filter, limit: 10 });
        let of = |flow: &Value| {
            let number = |value: &Value| value.as_u64().unwrap();
            (number(&flow["flow"]["age"]), number(&flow["lockgate"]["idle"]))
        };
        answer.items.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(told(None, None), [(12, 11), (10, 10)]);
    assert_eq!(told(Some(11), None), [(12, 11)]);
    assert_eq!(told(None, Some(11)), [(10, 10)]);
    bench.leave();
}

#[test]
fn a_reload_is_foreseen_then_done_and_counts_go_on() {
    let bench = Bench::new("reload", RULES);
    assert!(bench.passes(ACME, 443));
    bench.write_rules(RULES_WITHOUT_WEB);
    let foreseen = bench.ask(&Request::Reload { dry_run: true, limit: 10 });
    assert_eq!((&foreseen.last["changed"], &foreseen.last["cut"]), (&1.into(), &1.into()));
    assert_eq!(foreseen.items[0]["would_be"]["verdict"], "deny");
    assert!(bench.passes(ACME, 443), "nothing was installed");
    let done = bench.ask(&Request::Reload { dry_run: false, limit: 0 });
    assert_eq!(done.last["epoch"], 2);
    assert!(!bench.passes(ACME, 443));
    let metrics = bench.get("/metrics").1;
    for line in [
        "lockgate_rule_hits_total{rule=\"web\",policy=\"\",action=\"allow\"} 1",
        "lockgate_packets_total{from=\"acme\",to=\"payments\",verdict=\"forward\",reason=\"\"} 2",
        "lockgate_policy_epoch 2",
        "lockgate_reloads_total{result=\"installed\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[test]
fn a_policy_keeps_its_name_in_metrics_and_records_wherever_it_stands() {
    let bench = Bench::with("named", RULES, "logs: { flows: { file: flows.json } }");
    let mut flows = std::fs::File::open(bench.folder().join("flows.json")).unwrap();
    let reload = |rules: &str| {
        bench.write_rules(rules);
        assert_eq!(bench.ask(&Request::Reload { dry_run: false, limit: 0 }).last["ok"], true);
    };
    let otherwise = || {
        let metrics = bench.get("/metrics").1;
        let lines = metrics.lines().filter(|line| line.contains("rule=\"otherwise\""));
        lines.map(|line| line.replace("lockgate_rule_hits_total", "")).collect::<Vec<_>>()
    };
    assert!(bench.passes(ACME, 443) && !bench.passes_from(ACME, 1, 80));
    reload(
        &RULES.replace("policies:", "policies:\n  # Two lines that say nothing,\n  # above it."),
    );
    assert!(!bench.passes_from(ACME, 2, 80));
    let one = r#"{rule="otherwise",policy="acme -> payments",action="deny"} 2"#;
    assert_eq!(otherwise(), [one], "one series, wherever the policy stands");
    reload(&RULES.replace("from: acme", "from: [globex, acme]"));
    assert!(!bench.passes_from(ACME, 3, 80));
    let other = r#"{rule="otherwise",policy="globex, acme -> payments",action="deny"} 1"#;
    assert_eq!(otherwise(), [one, other], "for others it is another policy");
    let listed = bench.ask(&Request::Flows { filter: Filter::default(), limit: 10 });
    assert!(listed.items.iter().all(|flow| flow["lockgate"]["policy"].is_string()), "{listed:?}");
    bench.leave();
    let log = std::io::read_to_string(&mut flows).unwrap();
    let told = log.lines().map(|line| {
        let record: Value = serde_json::from_str(line).unwrap();
        let decided = &record["lockgate"];
        let text = |name: &str| decided[name].as_str().unwrap_or("-").to_owned();
        (record["src_port"].as_u64().unwrap(), text("reason"), text("policy"))
    });
    let by = |port, reason: &str, policy: &str| (port, reason.to_owned(), policy.to_owned());
    let mut told: Vec<_> = told.collect();
    told.sort();
    let expected = [
        by(1, "otherwise", "acme -> payments"),
        by(2, "otherwise", "acme -> payments"),
        by(3, "otherwise", "globex, acme -> payments"),
        by(40_000, "rule", "acme -> payments"),
    ];
    assert_eq!(told, expected, "by the ruleset each was judged by");
}

#[test]
fn a_refused_ruleset_leaves_the_old_one_and_is_told_everywhere() {
    let bench = Bench::new("refused", RULES);
    bench.write_rules("lockgate: 1\nsegmnts: {}\n");
    let answer = bench.ask(&Request::Reload { dry_run: false, limit: 0 });
    assert!(!answer.is_ok());
    assert!(answer.last["report"].as_str().unwrap().contains("did you mean `segments`"));
    assert!(bench.passes(ACME, 443));
    let (status, body) = bench.get("/health");
    assert_eq!(status, 200, "the old ruleset serves");
    assert!(body.contains("the ruleset was refused"), "{body}");
    let metrics = bench.get("/metrics").1;
    assert!(metrics.contains("lockgate_reload_refused 1"));
    assert!(metrics.contains("lockgate_reloads_total{result=\"refused\"} 1"));
    bench.write_rules(RULES);
    assert!(bench.ask(&Request::Reload { dry_run: false, limit: 0 }).is_ok());
    assert!(!bench.get("/health").1.contains("refused"));
}

#[test]
fn a_drain_serves_known_flows_refuses_new_ones_and_ends_when_none_is_left() {
    let bench = Bench::with("drain", RULES, "drain: { at_least: 1s }");
    assert!(bench.passes(ACME, 443));
    let drain = Request::Drain { deadline_seconds: None, refuse_new: Some(true), cancel: false };
    let answer = bench.ask(&drain);
    assert_eq!(answer.last["left"], 1);
    let (status, body) = bench.get("/health");
    assert_eq!((status, body.contains("draining")), (503, true), "no_rebalance: at once");
    assert!(bench.passes(ACME, 443), "a known flow is served");
    assert!(!bench.passes_from(ACME, 41_000, 443), "a new one is not");
    bench.forget_flows();
    assert_eq!(bench.wait(), Left::Asked, "no flow is left");
}

#[test]
fn a_drain_under_rebalance_looks_healthy_until_its_deadline() {
    let bench = Bench::with("rebalance", RULES, "drain: { target_failover: rebalance }");
    assert!(bench.passes(ACME, 443));
    let drain = |seconds| Request::Drain {
        deadline_seconds: Some(seconds),
        refuse_new: None,
        cancel: false,
    };
    bench.ask(&drain(600));
    let (status, body) = bench.get("/health");
    assert_eq!((status, body.contains("draining")), (200, true), "{body}");
    assert!(bench.passes_from(ACME, 41_000, 443), "new flows are served");
    bench.ask(&drain(0));
    assert_eq!(bench.get("/health").0, 503);
    assert_eq!(bench.wait(), Left::Asked, "the deadline is over");
}

#[test]
fn a_drain_can_be_called_off() {
    let bench = Bench::new("stay", RULES);
    let drain = Request::Drain { deadline_seconds: None, refuse_new: Some(true), cancel: false };
    assert!(bench.passes(ACME, 443));
    bench.ask(&drain);
    assert!(!bench.passes_from(ACME, 41_000, 443));
    let cancel = Request::Drain { deadline_seconds: None, refuse_new: None, cancel: true };
    assert!(bench.ask(&cancel).is_ok());
    assert_eq!(bench.get("/health").0, 200);
    assert!(bench.passes_from(ACME, 42_000, 443));
    assert!(!bench.ask(&cancel).is_ok(), "there is none any more");
}

#[test]
fn an_interface_that_is_down_is_unhealthy_and_no_end() {
    let mut bench = Bench::new("down", RULES);
    bench.unplug();
    let body = bench.until_unhealthy();
    assert!(body.contains("the interface is down"), "{body}");
    assert_eq!(bench.get("/health").0, 503);
    assert_eq!(bench.leave(), Left::Asked);
}

#[test]
fn a_broken_port_is_the_end_and_a_stuck_one_is_unhealthy() {
    let broken = Bench::on("broken", RULES, "", Box::new(Broken));
    assert_eq!(broken.wait(), Left::Dead);
    let stuck = Bench::on("stuck", RULES, "", Box::new(Stuck));
    let body = stuck.until_unhealthy();
    assert!(body.contains("no progress for"), "{body}");
}

#[test]
fn flush_ends_the_chosen_flows_and_never_all_by_mistake() {
    let bench = Bench::new("flush", RULES);
    assert!(bench.passes(ACME, 443) && !bench.passes(GLOBEX, 443));
    let flush = |filter, all| bench.ask(&Request::Flush { filter, all });
    assert!(!flush(Filter::default(), false).is_ok());
    let wrong = Filter { rule: Some("wbe".to_owned()), ..Filter::default() };
    assert!(flush(wrong, false).last["error"].as_str().unwrap().contains("no rule `wbe`"));
    let web = Filter { rule: Some("web".to_owned()), ..Filter::default() };
    assert_eq!(flush(web, false).last["ended"], 1);
    assert_eq!(flush(Filter::default(), true).last["ended"], 1);
}

#[test]
fn a_partner_put_before_the_others_by_a_reload_meets_no_flow_of_theirs() {
    let bench = Bench::new("scopes", RULES);
    assert!(bench.passes(ACME, 443) && !bench.passes(GLOBEX, 443));
    // In the order of the files and of names it is the first scope, which acme had alone.
    let first = "segments:\n  aachen: { kind: partner, endpoints: [vpce-0aac4e0000000001a], \
                 networks: [10.20.0.0/16] }\n";
    bench.write_rules(&RULES.replace("segments:\n", first));
    assert!(bench.ask(&Request::Reload { dry_run: false, limit: 0 }).is_ok());
    let aachen = EndpointId(0xaac4_e000_0000_001a);
    assert!(!bench.passes(aachen, 443), "the same five-tuple is no flow of acme's");
    assert!(bench.passes(ACME, 443) && !bench.passes(GLOBEX, 443));
    let answer = bench.ask(&Request::Flows { filter: Filter::default(), limit: 10 });
    let told = |flow: &Value| {
        let packets = flow["flow"]["pkts_toserver"].as_u64().unwrap();
        (flow["lockgate"]["from"].as_str().unwrap().to_owned(), packets)
    };
    let flows: Vec<_> = answer.items.iter().map(told).collect();
    let of = |name: &str, packets| (name.to_owned(), packets);
    assert_eq!(flows, [of("acme", 2), of("globex", 2), of("aachen", 1)]);
    assert_eq!(bench.totals().counters.flows, 3, "nobody's flow was opened anew");
    bench.leave();
}

/// One more partner, before all others, and its policy.
const AACHEN: &str = "segments:\n  aachen: { kind: partner, endpoints: [vpce-0aaaaaaaaaaaaaaaa], networks: [10.20.0.0/16] }";
const AACHEN_POLICY: &str = "policies:\n  - { from: aachen, to: payments, rules: [{ id: all, action: deny, protocol: udp }] }";

#[test]
fn explain_tells_of_live_flows_and_of_flows_nobody_has_seen() {
    let bench = Bench::new("explain", RULES);
    assert!(bench.passes(ACME, 443));
    let explain = |flow: &str, segment: &str| {
        let mut asked = lockgate::appliance::control::text::flow(flow).unwrap();
        asked.segment = Some(segment.to_owned());
        bench.ask(&Request::Explain(asked)).last
    };
    let live = explain("10.20.1.5:40000 -> 10.100.4.7:443/udp", "acme");
    assert_eq!((&live["live"], &live["decision"]["rule"]), (&true.into(), &"web".into()));
    assert_eq!(live["policy"], "acme -> payments");
    assert!(live["location"].as_str().unwrap().ends_with("rules.yaml:8"), "{live}");
    let unseen = explain("10.20.1.5:1 -> 10.100.4.7:99/udp", "acme");
    assert_eq!((&unseen["live"], &unseen["decision"]["verdict"]), (&false.into(), &"deny".into()));
    assert_eq!(unseen["trace"][0]["condition"], "ports");
    assert_eq!(unseen["policy"], "acme -> payments");
    assert!(explain("10.20.1.5:1 -> 10.100.4.7:99/udp", "acne")["error"].is_string());
    // Segments, policies and rules have other numbers now, and the flow is silent.
    let onboarded = RULES.replace("segments:", AACHEN).replace("policies:", AACHEN_POLICY);
    bench.write_rules(&onboarded);
    assert_eq!(bench.ask(&Request::Reload { dry_run: false, limit: 0 }).last["ok"], true);
    let live = explain("10.20.1.5:40000 -> 10.100.4.7:443/udp", "acme");
    let (flow, policy) = (&live["flow"]["lockgate"], "acme -> payments");
    assert_eq!((&flow["from"], &flow["rule"]), (&"acme".into(), &"web".into()), "{live}");
    assert_eq!((&flow["policy"], &live["policy"]), (&policy.into(), &policy.into()), "{live}");
    assert_eq!(live["decision"]["rule"], "web");
    bench.write_rules(&onboarded.replace("ports: [443]", "ports: [444]"));
    let foreseen = bench.ask(&Request::Reload { dry_run: true, limit: 10 });
    let flow = &foreseen.items[0]["flow"]["lockgate"];
    assert_eq!((&flow["from"], &flow["policy"]), (&"acme".into(), &policy.into()), "{flow}");
}

#[test]
fn denied_packets_are_kept_where_asked_for() {
    let bench = Bench::with("denied", RULES, "denied_packets: { packets: 4, bytes: 60 }");
    assert!(!bench.passes(ACME, 8080));
    assert!(!bench.passes(ACME, 8080), "this one follows the denial and is not kept");
    let answer = bench.ask(&Request::Denied);
    assert_eq!(answer.items.len(), 1);
    assert_eq!(answer.items[0]["reason"], "otherwise");
    let path = bench.folder().join("denied.pcap");
    lockgate::appliance::control::text::write_capture(&answer, &path).unwrap();
    assert!(std::fs::metadata(path).unwrap().len() > 60);
    let off = Bench::new("denied-off", RULES);
    assert!(!off.ask(&Request::Denied).is_ok());
}

#[test]
fn every_flow_has_its_record_when_the_instance_stops() {
    let bench = Bench::with("records", RULES, "logs: { flows: { file: flows.json } }");
    assert!(bench.passes(ACME, 443) && !bench.passes(ACME, 8080));
    let folder = bench.folder().clone();
    assert_eq!(bench.leave(), Left::Asked);
    let text = std::fs::read_to_string(folder.join("flows.json")).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut ends: Vec<_> = records
        .iter()
        .map(|r| (r["dest_port"].as_u64().unwrap(), r["flow"]["reason"].as_str().unwrap()))
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, [(443, "stopped"), (8080, "denied")]);
    assert_eq!(records[0]["lockgate"]["endpoint"], "vpce-0123456789abcdef0");
}

#[test]
fn a_disk_that_stands_still_costs_records_and_no_packet() {
    /// Writes nothing until it is let go.
    struct Stuck(crossbeam_channel::Receiver<()>);
    impl std::io::Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // Let go for good once the other end is gone.
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (go_on, stuck) = crossbeam_channel::bounded(0);
    let bench = Bench::with_log("disk", RULES, Box::new(Stuck(stuck)), 10);
    for port in 1..=50 {
        assert!(bench.passes_from(ACME, port, 443));
        bench.ask(&Request::Flush { filter: Filter::default(), all: true });
    }
    assert!(bench.passes_from(ACME, 51, 443));
    let all = Request::Flush { filter: Filter::default(), all: true };
    let answer = bench.ask(&all);
    assert_eq!(answer.last["lost_records"], 1, "nobody waits for it any more");
    let said = "1 flow ended\n1 record lost: the queue of the flow log was full\n";
    assert_eq!(lockgate::appliance::control::text::show(&all, &answer, None), said);
    let metrics = bench.get("/metrics").1;
    let lost = "lockgate_flow_log_records_total{result=\"lost\"} 41";
    assert!(metrics.contains(lost), "{metrics}");
    assert!(metrics.contains("lockgate_flow_log_waiting 10"), "{metrics}");
    assert_eq!(bench.get("/health").0, 200, "packets pass");
    drop(go_on);
    assert_eq!(bench.leave(), Left::Asked);
}

#[test]
fn flows_ended_by_command_wait_for_room_in_the_flow_log() {
    struct Slow;
    impl std::io::Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::thread::sleep(Duration::from_millis(5));
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let bench = Bench::with_log("slow", RULES, Box::new(Slow), 10);
    for port in 1..=50 {
        assert!(bench.passes_from(ACME, port, 443));
    }
    let answer = bench.ask(&Request::Flush { filter: Filter::default(), all: true });
    assert_eq!((&answer.last["ended"], &answer.last["lost_records"]), (&50.into(), &0.into()));
    let metrics = bench.get("/metrics").1;
    assert!(metrics.contains("lockgate_flow_log_records_total{result=\"lost\"} 0"), "{metrics}");
    assert_eq!(bench.leave(), Left::Asked);
}

#[test]
fn http_takes_reads_alone_and_no_more_than_its_bounds() {
    let bench = Bench::new("http", RULES);
    for (request, status) in [
        ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /health?x=1 HTTP/1.0\r\n\r\n", 200),
        ("HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("POST /reload HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", 400),
        ("\x16\x03\x01\x02\r\n\r\n", 400),
    ] {
        assert_eq!(bench.raw(request.as_bytes()).0, status, "{request}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000));
    assert_eq!(bench.raw(long.as_bytes()).0, 431);
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(70));
    assert_eq!(bench.raw(many.as_bytes()).0, 431);
}

#[test]
fn who_stays_connected_cannot_keep_the_probes_out() {
    let bench = Bench::new("slow", RULES);
    let idle: Vec<_> =
        (0..lockgate::appliance::http::CONNECTIONS_MAX + 10).map(|_| bench.connect()).collect();
    assert_eq!(bench.get("/health").0, 200);
    drop(idle);
}

#[test]
fn the_control_socket_is_for_its_owner_and_answers_nonsense() {
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new("socket", RULES);
    let socket = bench.folder().join("control.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"nonsense\n{\"command\":\"stutas\"}\n{\"command\":\"status\"}\n").unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["ok"], false);
    assert!(next()["error"].as_str().unwrap().contains("status"));
    let status = next();
    assert_eq!((&status["ok"], &status["healthy"]), (&true.into(), &true.into()));
    assert!(client::ask(&bench.folder().join("nowhere.sock"), &Request::Status).is_err());
}
