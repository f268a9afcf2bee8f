//! Flow logs read back: whole ones, cut ones, torn ones, and what is none.

use super::*;
use crate::engine::record::FlowRecord;
use crate::model::{App, DomainName, FlowVerdict, ScopeId};
use crate::observe::{flow_json, tests::Words};

fn read(text: &str) -> Result<Vec<Sighting>, LogFault> {
    let mut found = Vec::new();
    read_log("x.jsonl", text.as_bytes(), |sighting| found.push(sighting))?;
    Ok(found)
}

#[test]
fn an_address_given_as_the_host_is_read_as_no_name() {
    let mut record = record();
    record.found.to_mut().host_addresses = vec![IpAddr::from([192, 0, 2, 1]).into()];
    let text = flow_json(&record, &Words);
    assert!(text.contains("192.0.2.1"), "{text}");
    let [sighting] = read(&text).unwrap().try_into().unwrap();
    assert_eq!(sighting.names, ["api.example".into(), "two.example".into()]);
}

fn record() -> FlowRecord {
    let tuple = FiveTuple {
        src: IpAddr::from([10, 20, 1, 5]).into(),
        dst: IpAddr::from([10, 100, 4, 7]).into(),
        src_port: 40_000,
        dst_port: 443,
        protocol: Protocol::TCP,
    };
    let mut record = FlowRecord::new(ScopeId(1), tuple, Timestamp::from_secs(1_795_219_199));
    record.found.to_mut().app = Some(App::Tls);
    record.found.to_mut().names.note(&Arc::new(DomainName::from_host(b"api.example").unwrap()));
    record.found.to_mut().names.note(&Arc::new(DomainName::from_host(b"two.example").unwrap()));
    record.found.to_mut().tls_version = Some(TlsVersion(0x0303));
    record.found.to_mut().ja4 = Some(Ja4(*b"t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"));
    record.volume[0].packets = 9;
    record.volume[1].bytes = 77;
    record.verdict =
        Some(FlowVerdict { action: Action::Reject, rule: None, reason: Reason::Otherwise });
    record.found.to_mut().certificate = Some(Arc::new(Certificate {
        subject: "CN=a".into(),
        issuer: "CN=b".into(),
        names: vec!["c".into()],
        sha256: [0xab; 32],
        validity: (1_700_000_000, 1_900_000_000),
    }));
    record.found.to_mut().denied_answer = Some(Addr::v4([10, 110, 1, 20]));
    record
}

#[test]
fn a_record_read_back_is_the_record_seen() {
    let record = record();
    let found = read(&flow_json(&record, &Words)).unwrap();
    assert_eq!(found, [Sighting::of(&record, &Words)]);
}

#[test]
fn an_api_id_is_read_back_and_a_wrong_one_is_named() {
    let mut record = record();
    let found = record.found.to_mut();
    (found.app, found.api_id) = (Some(App::Http), ApiId::parse(b"p4ym3nts01"));
    let text = flow_json(&record, &Words);
    assert_eq!(read(&text).unwrap()[0].api_id, ApiId::parse(b"p4ym3nts01"));
    let fault = read(&text.replace("p4ym3nts01", "two words")).unwrap_err();
    assert_eq!(fault.to_string(), "x.jsonl:1: `two words` is no API id");
}

#[test]
fn a_version_without_a_word_is_read_back_by_its_number() {
    let mut record = record();
    record.found.to_mut().tls_version = Some(TlsVersion(0x7f1c));
    let found = read(&flow_json(&record, &Words)).unwrap();
    assert_eq!(found[0].tls_version, Some(TlsVersion(0x7f1c)));
}

#[test]
fn lines_of_other_kinds_are_counted_and_broken_ones_are_named() {
    let good = flow_json(&record(), &Words);
    let text = format!("{{\"event_type\":\"summary\"}}\n\n{good}\n");
    let totals = read_log("x", text.as_bytes(), |_| {}).unwrap();
    assert_eq!(totals, LogTotals { flows: 1, others: 1, ..LogTotals::default() });
    for (bad, what) in [
        ("nonsense", "x.jsonl:2: no flow record"),
        ("{\"event_type\":\"flow\"}", "missing field"),
        (&good.replace("\"TCP\"", "\"tcpp\""), "`tcpp` is no protocol"),
        (&good.replace("\"reject\"", "\"no\""), "`no` is no verdict"),
        (&good.replace("otherwise", "why"), "`why` is no reason"),
        (&good.replace("abab", "+aba"), "is no SHA-256"),
        (&good.replace("t13d3112h2", "t13d3112h"), "is no JA4 fingerprint: it has 36 characters"),
        (&good.replace("TLS 1.2", "TLS 1.9"), "`TLS 1.9` is no TLS version"),
        (&good.replace("\"ja4\"", "\"ech\":\"no\",\"ja4\""), "`no` is no kind of hidden name"),
        (&good.replace("2023-11-14T", "14.11.2023 "), "`14.11.2023 "),
    ] {
        let fault = read(&format!("{good}\n{bad}\n")).unwrap_err().to_string();
        assert!(fault.contains(what), "{fault}");
    }
}

#[test]
fn a_last_line_that_is_cut_anywhere_is_left_out_and_told() {
    let good = flow_json(&record(), &Words);
    for end in 1..=good.len() {
        let text = format!("{good}\n{}", &good[..end]);
        let totals = read_log("x", text.as_bytes(), |_| {}).unwrap();
        let (flows, cut) = if end < good.len() { (1, Some(2)) } else { (2, None) };
        assert_eq!(totals, LogTotals { flows, cut, ..LogTotals::default() }, "{end}");
    }
    assert!(read(&format!("{good}\nnonsense")).is_err(), "only what begins as a record");
}

#[test]
fn a_line_that_breaks_off_anywhere_is_passed_over_and_counted() {
    let good = flow_json(&record(), &Words);
    let last = good.rfind('}').unwrap();
    for end in 1..=last {
        let text = format!("{good}\n{}\n{good}\n{{\n{good}\n", &good[..end]);
        let totals = read_log("x", text.as_bytes(), |_| {}).unwrap();
        let torn = LogTotals { torn: 2, first_torn: Some(2), ..LogTotals::default() };
        assert_eq!(totals, LogTotals { flows: 3, ..torn }, "{end}");
    }
}

#[test]
fn a_file_of_broken_lines_alone_is_no_flow_log() {
    let good = flow_json(&record(), &Words);
    let half = &good[..good.len() / 2];
    for (text, line) in [
        (format!("{half}\n"), 1),
        (format!("\n{half}\n{half}\n{half}"), 2),
        ("{\n  \"flows\": []\n}\n".to_owned(), 2),
        (format!("{good}\n[1,\n"), 2),
        (format!("{good}\nnonsense}}\n"), 2),
    ] {
        let fault = read(&text).unwrap_err().to_string();
        let place = format!("x.jsonl:{line}: no flow record");
        assert!(fault.starts_with(&place), "{text}: {fault}");
    }
    assert!(read(&format!("{good}\n{half}\n")).is_ok());
}

#[test]
fn a_line_at_the_limit_is_read_and_a_longer_one_is_not() {
    let good = flow_json(&record(), &Words);
    for (len, fits) in
        [(LINE_LIMIT_BYTES - 1, true), (LINE_LIMIT_BYTES, true), (LINE_LIMIT_BYTES + 1, false)]
    {
        let padded = format!("{good}{}", " ".repeat(len - good.len()));
        assert_eq!(read(&padded).is_ok(), fits, "{len}");
    }
}
