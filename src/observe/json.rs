//! Flow records and summaries as JSON lines, in the shape of Suricata's EVE where that has a field
//! for it, so that existing collectors understand them. What it has no field for is in `lockgate`.

use super::names::{policy_name, segment_or_unknown};
use super::{Names, Summary};
use crate::engine::record::{Event, FlowRecord, PacketDrop};
use crate::model::{Addr, Ech, Protocol, Reason, Timestamp};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// One record as an object on one line, without the newline.
#[must_use]
pub fn flow_json(record: &FlowRecord, names: &impl Names) -> String {
    typed("flow", record, names)
}

/// One event as an object on one line, without the newline. A flow's end is its record; other events
/// are told apart by `event_type`.
#[must_use]
pub fn event_json(event: &Event, names: &impl Names) -> String {
    match event {
        Event::FlowEnd(record) => typed("flow", record, names),
        Event::FlowStart(record) => typed("flow_start", record, names),
        Event::MessageDenied(record) => typed("message_denied", record, names),
        Event::PacketDropped(drop) => drop_json(drop),
    }
}

fn drop_json(drop: &PacketDrop) -> String {
    let ports = drop.tuple.filter(|tuple| tuple.protocol.has_ports());
    let root = json!({
        "timestamp": drop.at.to_string(),
        "event_type": "drop",
        "src_ip": drop.tuple.map(|tuple| tuple.src.to_string()),
        "src_port": ports.map(|tuple| tuple.src_port),
        "dest_ip": drop.tuple.map(|tuple| tuple.dst.to_string()),
        "dest_port": ports.map(|tuple| tuple.dst_port),
        "proto": drop.tuple.map(|tuple| protocol(tuple.protocol)),
        "drop": {
            "len": drop.bytes,
            "reason": drop.reason.name(),
            "held_back": (drop.held_back > 0).then_some(drop.held_back),
        },
        "lockgate": { "endpoint": drop.endpoint.map(|endpoint| endpoint.to_string()) },
    });
    without_null(root).to_string()
}

/// An object without the fields that have no value, and so are those in it.
fn without_null(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        for value in fields.values_mut() {
            *value = without_null(value.take());
        }
    }
    value
}

fn typed(kind: &str, record: &FlowRecord, names: &impl Names) -> String {
    let [there, back] = record.volume;
    let mut root = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            root.insert(key.to_owned(), value);
        }
    };
    let tuple = &record.tuple;
    let ports = tuple.protocol.has_ports();
    put("timestamp", json!(record.start.to_string()));
    put("event_type", json!(kind));
    put("src_ip", json!(tuple.src.to_string()));
    put("src_port", json!(ports.then_some(tuple.src_port)));
    put("dest_ip", json!(tuple.dst.to_string()));
    put("dest_port", json!(ports.then_some(tuple.dst_port)));
    put("proto", json!(protocol(tuple.protocol)));
    put("ip_v", json!(version(tuple.src)));
    put("icmp_type", json!(record.icmp.map(|(kind, _)| kind)));
    put("icmp_code", json!(record.icmp.map(|(_, code)| code)));
    put("app_proto", json!(record.found.app.map(|app| app.name())));
    put(
        "flow",
        without_null(json!({
            "pkts_toserver": there.packets,
            "pkts_toclient": back.packets,
            "bytes_toserver": there.bytes,
            "bytes_toclient": back.bytes,
            "start": record.start.to_string(),
            "end": record.end.to_string(),
            "age": record.duration().as_secs(),
            "reason": record.ended.map(|ended| ended.name()),
        })),
    );
    put("tls", tls(record));
    put("quic", quic(record));
    put("http", http(record));
    put("dns", dns(record));
    put("lockgate", decision(record, names));
    Value::Object(root).to_string()
}

/// The sums of a run as an object on one line, without the newline.
#[must_use]
pub fn summary_json(summary: &Summary, names: &impl Names) -> String {
    let pairs: Vec<Value> = summary
        .pairs(names)
        .into_iter()
        .map(|((from, to), totals)| {
            json!({
                "from": from,
                "to": to,
                "allow": totals.allow,
                "deny": totals.deny,
                "reject": totals.reject,
                "pending": totals.pending,
                "packets": totals.packets,
                "bytes": totals.bytes,
            })
        })
        .collect();
    let verdicts: Vec<Value> = summary
        .verdicts(names)
        .into_iter()
        .map(|row| {
            json!({
                "verdict": row.action.name(),
                "reason": row.reason.name(),
                "rule": row.rule,
                "policy": row.policy,
                "enforced": row.enforced,
                "flows": row.flows,
            })
        })
        .collect();
    let drops: Map<String, Value> = Reason::ALL
        .iter()
        .filter(|reason| summary.totals.dropped(**reason) > 0)
        .map(|reason| (reason.name().to_owned(), json!(summary.totals.dropped(*reason))))
        .collect();
    let strangers: Vec<Value> = summary
        .strangers()
        .iter()
        .map(|(endpoint, strangers)| {
            json!({
                "endpoint": endpoint.map(|endpoint| endpoint.to_string()),
                "packets": strangers.packets,
                "first": strangers.first.map(|tuple| tuple.to_string()),
            })
        })
        .collect();
    let totals = &summary.totals;
    json!({
        "event_type": "summary",
        "packets": totals.counters.received,
        "bytes": totals.counters.received_bytes,
        "forwarded": totals.counters.forwarded,
        "dropped": totals.counters.dropped_total(),
        "answers": totals.counters.answers,
        "unsupported_link": totals.unsupported,
        "flows": summary.flows(),
        "pairs": pairs,
        "verdicts": verdicts,
        "drops": drops,
        "strangers": strangers,
    })
    .to_string()
}

fn decision(record: &FlowRecord, names: &impl Names) -> Value {
    let verdict = record.verdict;
    let [there, back] = record.volume;
    let mut decision = json!({
        "from": segment_or_unknown(names, record.from),
        "to": segment_or_unknown(names, record.to),
        "verdict": verdict.map_or("pending", |verdict| verdict.action.name()),
        "reason": verdict.map(|verdict| verdict.reason.name()),
        "rule": verdict.and_then(|verdict| verdict.rule).and_then(|rule| names.rule(rule)),
        "policy": policy_name(names, record),
        "enforced": record.enforced,
        "midstream": record.midstream,
        "endpoint": record.endpoint.map(|endpoint| endpoint.to_string()),
        "forwarded_toserver": there.forwarded_packets,
        "forwarded_toclient": back.forwarded_packets,
        "epoch": record.epoch.0,
    });
    if let Some(fields) = decision.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        if let Some(name) = &record.found.denied_name {
            fields.insert("denied_name".to_owned(), json!(name.to_string()));
        }
        let left_out =
            record.found.names.left_out().saturating_add(record.found.questions.left_out());
        if left_out > 0 {
            fields.insert("names_left_out".to_owned(), json!(left_out));
        }
    }
    decision
}

fn texts(names: &crate::engine::record::Names) -> Vec<String> {
    names.all().iter().map(ToString::to_string).collect()
}

fn tls(record: &FlowRecord) -> Value {
    let mut tls = Map::new();
    let is_tls = record.found.app.is_some_and(|app| matches!(app.name(), "tls" | "quic"));
    let names: Vec<String> = record.found.hosts().collect();
    if let (true, Some(first)) = (is_tls, names.first()) {
        tls.insert("sni".to_owned(), json!(first));
    }
    if is_tls && names.len() > 1 {
        tls.insert("names".to_owned(), json!(names));
    }
    if let Some(version) = record.found.tls_version {
        tls.insert("version".to_owned(), json!(format!("TLS {version}").replace("TLS SSL", "SSL")));
    }
    if let Some(ja4) = record.found.ja4 {
        tls.insert("ja4".to_owned(), json!(ja4.to_string()));
    }
    if let Some(ja3) = record.found.ja3.as_ref().and_then(|ja3| std::str::from_utf8(ja3).ok()) {
        tls.insert("ja3".to_owned(), json!({ "hash": ja3 }));
    }
    if let Some(alpn) = &record.found.alpn {
        tls.insert("alpn".to_owned(), json!(alpn));
    }
    match record.found.ech {
        Ech::None => {}
        Ech::Present => drop(tls.insert("ech".to_owned(), json!("present"))),
        Ech::Esni => drop(tls.insert("ech".to_owned(), json!("esni"))),
    }
    if let Some(certificate) = &record.found.certificate {
        let client = json!({
            "subject": certificate.subject,
            "issuerdn": certificate.issuer,
            "subjectaltname": certificate.names,
            "sha256": hex(&certificate.sha256),
            "notbefore": time(certificate.validity.0),
            "notafter": time(certificate.validity.1),
        });
        tls.insert("client".to_owned(), client);
    }
    object(tls)
}

/// A time in seconds since the epoch; nothing on this wire is older.
fn time(seconds: i64) -> String {
    Timestamp::from_secs(u64::try_from(seconds).unwrap_or(0)).to_string()
}

fn quic(record: &FlowRecord) -> Value {
    record.found.quic_version.map_or(Value::Null, |version| match version.0 {
        1 => json!({ "version": "1" }),
        0x6b33_43cf => json!({ "version": "2" }),
        other => json!({ "version": format!("{other:#010x}") }),
    })
}

fn http(record: &FlowRecord) -> Value {
    let names: Vec<String> = record.found.hosts().collect();
    let elsewhere = record.found.app.is_some_and(|app| matches!(app.name(), "tls" | "quic"));
    let mut http = match names.first() {
        // A protocol that is none that is known may still name a host as HTTP does.
        Some(_) if elsewhere => Value::Null,
        Some(first) if names.len() > 1 => json!({ "hostname": first, "hostnames": names }),
        Some(first) => json!({ "hostname": first }),
        None if record.found.api_id.is_some() => json!({}),
        None => Value::Null,
    };
    if let (Some(id), Some(fields)) = (&record.found.api_id, http.as_object_mut()) {
        fields.insert("apigw_api_id".to_owned(), json!(id.as_str()));
    }
    http
}

fn dns(record: &FlowRecord) -> Value {
    let questions = texts(&record.found.questions);
    let mut dns = Map::new();
    if !questions.is_empty() {
        dns.insert("rrnames".to_owned(), json!(questions));
    }
    if let Some(address) = record.found.denied_answer {
        dns.insert("denied_answer".to_owned(), json!(address.to_string()));
    }
    object(dns)
}

fn object(map: Map<String, Value>) -> Value {
    if map.is_empty() { Value::Null } else { Value::Object(map) }
}

fn version(addr: Addr) -> u8 {
    if addr.is_v4() { 4 } else { 6 }
}

/// Upper case, as EVE has it.
fn protocol(protocol: Protocol) -> String {
    match protocol {
        Protocol::ICMPV6 => "IPv6-ICMP".to_owned(),
        other => other.to_string().to_uppercase(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
