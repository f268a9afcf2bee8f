//! Flow records as CSV (RFC 4180), one line a flow, the fields of `docs/records.md`.

use super::Names;
use super::names::policy_name;
use crate::engine::record::FlowRecord;

/// The first line.
pub const CSV_HEADER: &str = "start,end,from,to,endpoint,protocol,source,source_port,destination,\
destination_port,icmp_type,icmp_code,app,names,questions,verdict,enforced,rule,reason,packets_to_server,\
packets_to_client,bytes_to_server,bytes_to_client,forwarded_to_server,forwarded_to_client,\
tls_version,ja4,midstream,ended,policy\n";

/// One record as a line.
#[must_use]
pub fn csv_line(record: &FlowRecord, names: &impl Names) -> String {
    let [there, back] = record.volume;
    let tuple = &record.tuple;
    let verdict = record.verdict;
    let ports = tuple.protocol.has_ports();
    let fields = [
        record.start.to_string(),
        record.end.to_string(),
        record.from.and_then(|id| names.segment(id)).unwrap_or_default().to_owned(),
        record.to.and_then(|id| names.segment(id)).unwrap_or_default().to_owned(),
        optional(record.endpoint),
        tuple.protocol.to_string(),
        tuple.src.to_string(),
        optional(ports.then_some(tuple.src_port)),
        tuple.dst.to_string(),
        optional(ports.then_some(tuple.dst_port)),
        optional(record.icmp.map(|(kind, _)| kind)),
        optional(record.icmp.map(|(_, code)| code)),
        record.found.app.map_or("", |app| app.name()).to_owned(),
        joined(record.found.hosts()),
        joined(record.found.questions.all().iter().map(ToString::to_string)),
        verdict.map_or("pending", |verdict| verdict.action.name()).to_owned(),
        record.enforced.to_string(),
        verdict.and_then(|v| v.rule).and_then(|id| names.rule(id)).unwrap_or_default().to_owned(),
        verdict.map_or("", |verdict| verdict.reason.name()).to_owned(),
        there.packets.to_string(),
        back.packets.to_string(),
        there.bytes.to_string(),
        back.bytes.to_string(),
        there.forwarded_packets.to_string(),
        back.forwarded_packets.to_string(),
        optional(record.found.tls_version),
        optional(record.found.ja4),
        record.midstream.to_string(),
        record.ended.map_or("", |ended| ended.name()).to_owned(),
        policy_name(names, record).unwrap_or_default().to_owned(),
    ];
    let quoted: Vec<String> = fields.iter().map(|field| quote(field)).collect();
    quoted.join(",") + "\n"
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Names in the order they were seen, with a space between.
fn joined(names: impl Iterator<Item = String>) -> String {
    names.collect::<Vec<_>>().join(" ")
}

fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
