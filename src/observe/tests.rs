//! Records as text, JSON and CSV, and the summary of a run.

use super::summary::STRANGERS_MAX;
use super::*;
use crate::engine::record::{Ended, FlowRecord, PacketDrop};
use crate::model::{
    Action, Addr, App, DomainName, EndpointId, FiveTuple, FlowVerdict, Ja4, PolicyId, Protocol,
    QuicVersion, Reason, RuleId, ScopeId, SegmentId, Timestamp, TlsVersion,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Segments `acme` and `payments`, one rule.
pub(crate) struct Words;

impl Names for Words {
    fn segment(&self, id: SegmentId) -> Option<&str> {
        ["acme", "payments"].get(usize::from(id.0)).copied()
    }

    fn rule(&self, id: RuleId) -> Option<&str> {
        ["acme-payments-api"].get(id.0 as usize).copied()
    }

    fn policy(&self, id: PolicyId) -> Option<&str> {
        ["acme -> payments", "kind:partner -> any"].get(id.0 as usize).copied()
    }

    fn policy_of(&self, record: &FlowRecord) -> Option<PolicyId> {
        let verdict = record.verdict.filter(|verdict| verdict.reason != Reason::NoPolicy)?;
        Some(PolicyId(u32::from(verdict.rule.is_none())))
    }
}

fn name(text: &str) -> Arc<DomainName> {
    Arc::new(DomainName::from_host(text.as_bytes()).unwrap())
}

fn allowed() -> FlowRecord {
    let tuple = FiveTuple {
        src: Addr::v4([10, 20, 1, 5]),
        dst: Addr::v4([10, 100, 4, 7]),
        src_port: 40_000,
        dst_port: 443,
        protocol: Protocol::TCP,
    };
    let mut record = FlowRecord::new(ScopeId(1), tuple, Timestamp::from_secs(1_795_219_199));
    record.end = Timestamp::from_secs(1_795_219_202);
    record.from = Some(SegmentId(0));
    record.to = Some(SegmentId(1));
    record.endpoint = Some(EndpointId(0xa1b2_c3d4_e5f6_0718));
    record.volume[0].packets = 12;
    record.volume[0].bytes = 3_210;
    record.volume[0].forwarded_packets = 12;
    record.volume[1].packets = 9;
    record.volume[1].bytes = 14_000;
    let (action, reason) = (Action::Allow, Reason::Rule);
    record.verdict = Some(FlowVerdict { action, rule: Some(RuleId(0)), reason });
    record.found.to_mut().app = Some(App::Tls);
    record.found.to_mut().names.note(&name("api.payments.example"));
    record.found.to_mut().tls_version = Some(TlsVersion(0x0304));
    record.found.to_mut().ja4 = Some(Ja4(*b"t13d1516h2_8daaf6152771_b186095e22b6"));
    record.ended = Some(Ended::Closed);
    record
}

fn denied() -> FlowRecord {
    let mut src = [0; 16];
    src[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    let tuple = FiveTuple {
        src: Addr::v6(src),
        dst: Addr::v6([0xfd; 16]),
        src_port: 50_000,
        dst_port: 53,
        protocol: Protocol::UDP,
    };
    let mut record = FlowRecord::new(ScopeId(0), tuple, Timestamp::from_secs(5));
    let (action, reason) = (Action::Deny, Reason::NoPolicy);
    record.verdict = Some(FlowVerdict { action, rule: None, reason });
    record.volume[0].packets = 1;
    record.found.to_mut().questions.note(&name("one.example"));
    record.found.to_mut().questions.note(&name("two.example"));
    record
}

fn pinged() -> FlowRecord {
    let (src, dst) = (Addr::v4([10, 0, 0, 1]), Addr::v4([10, 0, 0, 2]));
    let protocol = Protocol::ICMP;
    let tuple = FiveTuple { src, dst, src_port: 7, dst_port: 7, protocol };
    let mut record = FlowRecord::new(ScopeId(0), tuple, Timestamp::ZERO);
    record.icmp = Some((8, 0));
    record.enforced = false;
    let (action, reason) = (Action::Reject, Reason::Otherwise);
    record.verdict = Some(FlowVerdict { action, rule: None, reason });
    record
}

#[test]
fn text_without_a_screen_is_one_line_for_each_flow_and_aligned() {
    let text = text_lines(&[allowed(), denied(), pinged()], &Words, Layout::Unbounded);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    for part in [
        "allow ",
        "acme > payments",
        "10.20.1.5:40000 > 10.100.4.7:443/tcp",
        "api.payments.example",
        "acme-payments-api",
        "12/9 pkts  3.2K/14K",
    ] {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
    assert!(lines[1].contains("[2001:db8::]:50000 > [fdfd:"), "{}", lines[1]);
    assert!(lines[1].contains("one.example +1") && lines[1].contains("no-policy"));
    assert!(lines[2].starts_with("(reject)") && lines[2].contains("10.0.0.2/icmp 8.0"));
    let column = |line: &str| line.find(" pkts").map(|at| line[..at].rfind("  ").unwrap());
    assert!(lines.iter().all(|line| column(line) == column(lines[0])), "{text}");
}

#[test]
fn text_fits_the_screen_at_every_width() {
    let mut long = allowed();
    let host = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
    let found = long.found.to_mut();
    found.names = crate::engine::record::Names::default();
    found.names.note(&name(&host));
    for columns in [60, 80, 100, NARROW_BELOW - 1, NARROW_BELOW, 140, 200] {
        let text = text_lines(&[long.clone(), denied()], &Words, Layout::Columns(columns));
        let per_flow = if columns < NARROW_BELOW { 2 } else { 1 };
        assert_eq!(text.lines().count(), 2 * per_flow, "{columns}");
        for line in text.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line}");
        }
        assert!(text.contains('…') && text.contains("12/9 pkts"), "{columns}: {text}");
    }
}

#[test]
fn at_80_columns_an_ordinary_flow_is_shown_whole() {
    let text = text_lines(&[allowed()], &Words, Layout::Columns(80));
    assert_eq!(
        text,
        "allow   acme > payments  10.20.1.5:40000 > 10.100.4.7:443/tcp\n        \
         api.payments.example  acme-payments-api  12/9 pkts  3.2K/14K\n"
    );
}

#[test]
fn json_has_the_shape_of_eve() {
    let json: Value = serde_json::from_str(&flow_json(&allowed(), &Words)).unwrap();
    for (pointer, value) in [
        ("/event_type", "flow"),
        ("/timestamp", "2026-11-20T23:59:59.000000000Z"),
        ("/src_ip", "10.20.1.5"),
        ("/proto", "TCP"),
        ("/app_proto", "tls"),
        ("/tls/sni", "api.payments.example"),
        ("/tls/version", "TLS 1.3"),
        ("/flow/reason", "closed"),
        ("/lockgate/from", "acme"),
        ("/lockgate/verdict", "allow"),
        ("/lockgate/rule", "acme-payments-api"),
        ("/lockgate/policy", "acme -> payments"),
        ("/lockgate/endpoint", "vpce-0a1b2c3d4e5f60718"),
    ] {
        assert_eq!(json.pointer(pointer).and_then(Value::as_str), Some(value), "{pointer}");
    }
    assert_eq!(json.pointer("/flow/bytes_toclient"), Some(&Value::from(14_000)));
    assert_eq!(json.pointer("/dest_port"), Some(&Value::from(443)));
    let json: Value = serde_json::from_str(&flow_json(&pinged(), &Words)).unwrap();
    assert_eq!(json.pointer("/src_port"), None);
    assert_eq!(json.pointer("/icmp_type"), Some(&Value::from(8)));
    assert_eq!(json.pointer("/lockgate/from"), Some(&Value::from("unknown")));
}

#[test]
fn csv_has_as_many_fields_as_its_header_and_quotes_what_needs_it() {
    struct Odd;
    impl Names for Odd {
        fn segment(&self, _: SegmentId) -> Option<&str> {
            Some("a,\"b\"")
        }
        fn rule(&self, _: RuleId) -> Option<&str> {
            None
        }
        fn policy(&self, _: PolicyId) -> Option<&str> {
            Some("a, b -> c")
        }
        fn policy_of(&self, _: &FlowRecord) -> Option<PolicyId> {
            Some(PolicyId(0))
        }
    }
    let fields = CSV_HEADER.split(',').count();
    for record in [allowed(), denied(), pinged()] {
        assert_eq!(csv_line(&record, &Words).split(',').count(), fields);
    }
    assert!(csv_line(&allowed(), &Odd).contains(",\"a,\"\"b\"\"\",\"a,\"\"b\"\"\","));
    assert!(csv_line(&allowed(), &Odd).ends_with(",\"a, b -> c\"\n"));
    assert!(csv_line(&denied(), &Words).contains("one.example two.example"));
}

fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            keys(value, into);
        }),
        Value::Array(items) => items.iter().for_each(|item| keys(item, into)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/records.md");
    let documentation = std::fs::read_to_string(path).unwrap();
    let mut full = allowed();
    full.found.to_mut().quic_version = Some(QuicVersion(1));
    full.found.to_mut().ja3 = Some([b'a'; 32]);
    full.found.to_mut().alpn = Some("h2".into());
    full.found.to_mut().ech = crate::model::Ech::Present;
    (0..40).for_each(|n| full.found.to_mut().names.note(&name(&format!("n{n}.example"))));
    full.found.to_mut().certificate = Some(Arc::new(crate::model::Certificate {
        subject: "CN=a".into(),
        issuer: "CN=b".into(),
        names: vec![],
        sha256: [7; 32],
        validity: (0, 0),
    }));
    let mut http = full.clone();
    http.found.to_mut().app = Some(App::Http);
    let mut summary = Summary::default();
    summary.add(&full, &Words);
    summary.add_stranger(&stranger(7));
    let mut fields: BTreeSet<String> =
        CSV_HEADER.trim_end().split(',').map(ToOwned::to_owned).collect();
    for line in [full, http, denied(), pinged()]
        .iter()
        .map(|record| flow_json(record, &Words))
        .chain([summary_json(&summary, &Words)])
    {
        keys(&serde_json::from_str(&line).unwrap(), &mut fields);
    }
    for field in fields {
        assert!(documentation.contains(&format!("`{field}`")), "{field} is not in docs/records.md");
    }
}

fn stranger(endpoint: u64) -> PacketDrop {
    PacketDrop {
        at: Timestamp::ZERO,
        endpoint: Some(EndpointId(endpoint)),
        tuple: Some(allowed().tuple),
        bytes: 128,
        reason: Reason::UnknownSegment,
        held_back: 0,
    }
}

#[test]
fn packets_of_no_segment_are_listed_by_endpoint_as_long_as_there_is_room() {
    for (endpoints, left_out) in
        [(STRANGERS_MAX - 1, false), (STRANGERS_MAX, false), (STRANGERS_MAX + 1, true)]
    {
        let mut summary = Summary::default();
        for endpoint in 0..endpoints {
            summary.add_stranger(&stranger(endpoint as u64));
        }
        summary.add_stranger(&stranger(0));
        let text = summary.text(&Words, None);
        assert!(text.contains("vpce-00000000000000000"), "{text}");
        assert_eq!(text.contains("others"), left_out, "{endpoints}");
        assert_eq!(summary.strangers()[&Some(EndpointId(0))].packets, 2);
    }
}

#[test]
fn a_summary_adds_up_and_names_pairs_and_reasons() {
    let mut summary = Summary::default();
    for record in [allowed(), allowed(), denied(), pinged()] {
        summary.add(&record, &Words);
    }
    assert_eq!(summary.flows(), 4);
    let pairs = summary.pairs(&Words);
    let pair = pairs[&("acme".to_owned(), "payments".to_owned())];
    assert_eq!((pair.allow, pair.packets, pair.bytes), (2, 42, 34_420));
    let text = summary.text(&Words, Some(80));
    for part in [
        "acme",
        "no-policy",
        "acme-payments-api",
        "kind:partner -> any",
        "(reject)",
        "0 packets (0 bytes), 4 flows",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains("dropped for"), "no drops, no table");
    assert!(text.lines().skip(1).all(|line| line.chars().count() <= 80), "{text}");
}
