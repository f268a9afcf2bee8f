//! Reads flow logs: the JSON lines that `lockgate replay --format json` and the live engine write
//! (`docs/records.md`). Lines of other kinds are passed over and counted.

use super::sighting::Sighting;
use crate::engine::record::{RECORD_NAMES_MAX, Volume};
use crate::model::{
    Action, Addr, ApiId, Certificate, Ech, FiveTuple, Ja4, Protocol, Reason, Timestamp, TlsVersion,
};
use serde::Deserialize;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::net::IpAddr;
use std::sync::Arc;

/// The longest line that is read; a longer one is a fault.
pub const LINE_LIMIT_BYTES: usize = 1 << 20;
/// Names may be this long as text: every byte written as `\xhh`.
const NAME_TEXT_LIMIT: usize = 4 * crate::model::NAME_LIMIT_BYTES;

/// What is wrong with a flow log.
#[derive(Debug)]
pub struct LogFault {
    /// The file.
    pub file: String,
    /// Its line, the first is 1.
    pub line: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for LogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

impl std::error::Error for LogFault {}

/// What a log held besides flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTotals {
    /// Flows.
    pub flows: u64,
    /// Lines of other kinds.
    pub others: u64,
    /// The last line, if the log ends within it: a crash cuts one short, or a copy made while it
    /// was written.
    pub cut: Option<u64>,
    /// Lines within the log that break off: a disk was full, or a crash came between two runs.
    pub torn: u64,
    /// The first of them.
    pub first_torn: Option<u64>,
}

/// Reads every flow of a log. Lines that break off within a record are left out and counted, the last
/// one and others.
///
/// # Errors
/// The first line that cannot be read, or is neither a record nor the beginning of one; or that
/// breaks off, where there is no other line.
pub fn read_log(
    file: &str,
    mut input: impl BufRead,
    mut take: impl FnMut(Sighting),
) -> Result<LogTotals, LogFault> {
    let mut totals = LogTotals::default();
    let mut line = Vec::new();
    let mut torn = None;
    for number in 1.. {
        let fault = |what: String| LogFault { file: file.to_owned(), line: number, what };
        line.clear();
        let limit = u64::try_from(LINE_LIMIT_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        let read = io::Read::by_ref(&mut input).take(limit).read_until(b'\n', &mut line);
        if read.map_err(|error| fault(format!("cannot be read ({error})")))? == 0 {
            break;
        }
        if line.len() > LINE_LIMIT_BYTES {
            return Err(fault(format!("the line is longer than {LINE_LIMIT_BYTES} bytes")));
        }
        match sighting(&line).map_err(fault)? {
            Parsed::Flow(sighting) => {
                totals.flows = totals.flows.saturating_add(1);
                take(*sighting);
            }
            Parsed::Other => totals.others = totals.others.saturating_add(1),
            Parsed::Blank => {}
            Parsed::Cut(_) if !line.ends_with(b"\n") => totals.cut = Some(number),
            Parsed::Cut(what) => {
                totals.torn = totals.torn.saturating_add(1);
                totals.first_torn = totals.first_torn.or(Some(number));
                torn = torn.or_else(|| Some(fault(what)));
            }
        }
    }
    match torn {
        Some(fault) if totals.flows == 0 && totals.others == 0 => Err(fault),
        _ => Ok(totals),
    }
}

enum Parsed {
    Flow(Box<Sighting>),
    Other,
    Blank,
    /// It breaks off within an object; what is wrong with it, read as a whole line.
    Cut(String),
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    event_type: Option<std::borrow::Cow<'a, str>>,
}

/// A line as it is written; names as in `docs/records.md`.
#[derive(Deserialize)]
struct Line {
    src_ip: IpAddr,
    #[serde(default)]
    src_port: u16,
    dest_ip: IpAddr,
    #[serde(default)]
    dest_port: u16,
    proto: String,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    app_proto: Option<Box<str>>,
    flow: FlowPart,
    #[serde(default)]
    tls: TlsPart,
    #[serde(default)]
    http: HttpPart,
    #[serde(default)]
    dns: DnsPart,
    lockgate: Decision,
}

#[derive(Deserialize)]
struct FlowPart {
    #[serde(default)]
    pkts_toserver: u64,
    #[serde(default)]
    pkts_toclient: u64,
    #[serde(default)]
    bytes_toserver: u64,
    #[serde(default)]
    bytes_toclient: u64,
    start: String,
    end: String,
}

#[derive(Default, Deserialize)]
struct TlsPart {
    sni: Option<Box<str>>,
    names: Option<Vec<Box<str>>>,
    version: Option<String>,
    ja4: Option<String>,
    ech: Option<String>,
    client: Option<ClientPart>,
}

#[derive(Deserialize)]
struct ClientPart {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    issuerdn: String,
    #[serde(default)]
    subjectaltname: Vec<String>,
    #[serde(default)]
    sha256: String,
    notbefore: Option<String>,
    notafter: Option<String>,
}

#[derive(Default, Deserialize)]
struct HttpPart {
    hostname: Option<Box<str>>,
    hostnames: Option<Vec<Box<str>>>,
    apigw_api_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct DnsPart {
    #[serde(default)]
    rrnames: Vec<Box<str>>,
    denied_answer: Option<IpAddr>,
}

#[derive(Deserialize)]
struct Decision {
    from: Box<str>,
    to: Box<str>,
    verdict: String,
    reason: Option<String>,
    rule: Option<Box<str>>,
    enforced: bool,
    #[serde(default)]
    midstream: bool,
    endpoint: Option<String>,
    #[serde(default)]
    forwarded_toserver: u64,
    #[serde(default)]
    forwarded_toclient: u64,
    #[serde(default)]
    names_left_out: u64,
}

fn sighting(line: &[u8]) -> Result<Parsed, String> {
    if line.trim_ascii().is_empty() {
        return Ok(Parsed::Blank);
    }
    // In a text that breaks off, the line break would be another fault.
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let no_record = |error: serde_json::Error| format!("no flow record of lockgate: {error}");
    let kind: Kind<'_> = match serde_json::from_slice(line) {
        Err(error) if error.is_eof() && line.starts_with(b"{") => {
            return Ok(Parsed::Cut(no_record(error)));
        }
        read => read.map_err(no_record)?,
    };
    if kind.event_type.as_deref() != Some("flow") {
        return Ok(Parsed::Other);
    }
    let line: Line = serde_json::from_slice(line).map_err(no_record)?;
    line.into_sighting().map(|sighting| Parsed::Flow(Box::new(sighting)))
}

impl Line {
    fn into_sighting(self) -> Result<Sighting, String> {
        let (start, end) = (time(&self.flow.start)?, time(&self.flow.end)?);
        let decision = self.lockgate;
        let endpoint = decision
            .endpoint
            .as_deref()
            .map(|text| text.parse().map_err(|_| format!("`{text}` is no GWLB endpoint id")));
        let volume = |packets, bytes, forwarded_packets| Volume {
            packets,
            bytes,
            forwarded_packets,
            forwarded_bytes: 0,
        };
        let flow = &self.flow;
        Ok(Sighting {
            from: decision.from,
            to: decision.to,
            endpoint: endpoint.transpose()?,
            tuple: FiveTuple {
                src: self.src_ip.into(),
                dst: self.dest_ip.into(),
                src_port: self.src_port,
                dst_port: self.dest_port,
                protocol: protocol(&self.proto)?,
            },
            icmp: self.icmp_type.map(|kind| (kind, self.icmp_code.unwrap_or(0))),
            start,
            end,
            volume: [
                volume(flow.pkts_toserver, flow.bytes_toserver, decision.forwarded_toserver),
                volume(flow.pkts_toclient, flow.bytes_toclient, decision.forwarded_toclient),
            ],
            verdict: verdict(&decision.verdict)?,
            reason: decision.reason.as_deref().map(reason).transpose()?,
            rule: decision.rule,
            enforced: decision.enforced,
            midstream: decision.midstream,
            app: self.app_proto,
            names: bounded(named(
                self.tls
                    .names
                    .or_else(|| self.tls.sni.map(|name| vec![name]))
                    .or(self.http.hostnames)
                    .or_else(|| self.http.hostname.map(|name| vec![name]))
                    .unwrap_or_default(),
            ))?,
            questions: bounded(self.dns.rrnames)?,
            names_left_out: decision.names_left_out,
            denied_answer: self.dns.denied_answer.map(Addr::from),
            api_id: self.http.apigw_api_id.as_deref().map(api_id).transpose()?,
            tls_version: self.tls.version.as_deref().map(tls_version).transpose()?,
            ja4: self.tls.ja4.as_deref().map(ja4).transpose()?,
            certificate: self
                .tls
                .client
                .map(|client| client.certificate().map(Arc::new))
                .transpose()?,
            ech: self.tls.ech.as_deref().map_or(Ok(Ech::None), ech)?,
        })
    }
}

impl ClientPart {
    fn certificate(self) -> Result<Certificate, String> {
        let sha256 = match self.sha256.as_str() {
            "" => [0; 32],
            text => Certificate::parse_sha256(text)
                .ok_or_else(|| format!("`{text}` is no SHA-256 of a certificate"))?,
        };
        Ok(Certificate {
            subject: self.subject,
            issuer: self.issuerdn,
            names: self.subjectaltname,
            sha256,
            validity: (
                seconds(self.notbefore.as_deref(), 0)?,
                seconds(self.notafter.as_deref(), i64::MAX)?,
            ),
        })
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|fault| format!("`{text}` is {fault}"))
}

/// A time in seconds since the epoch.
fn seconds(text: Option<&str>, otherwise: i64) -> Result<i64, String> {
    let time = text.map(time).transpose()?;
    Ok(time.and_then(|time| i64::try_from(time.as_secs()).ok()).unwrap_or(otherwise))
}

/// The names among the hosts of a record; an address is none.
fn named(mut hosts: Vec<Box<str>>) -> Vec<Box<str>> {
    hosts.retain(|host| Addr::from_host(host.as_bytes()).is_none());
    hosts
}

fn bounded(names: Vec<Box<str>>) -> Result<Vec<Box<str>>, String> {
    if names.iter().any(|name| name.len() > NAME_TEXT_LIMIT) {
        return Err(format!("a name is longer than {NAME_TEXT_LIMIT} characters"));
    }
    Ok(names.into_iter().take(RECORD_NAMES_MAX).collect())
}

/// Upper case as EVE has it; numbers for what has no word.
fn protocol(text: &str) -> Result<Protocol, String> {
    match text {
        "TCP" => Ok(Protocol::TCP),
        "UDP" => Ok(Protocol::UDP),
        "ICMP" => Ok(Protocol::ICMP),
        "IPv6-ICMP" => Ok(Protocol::ICMPV6),
        _ => match text.parse() {
            Ok(number) => Ok(Protocol(number)),
            Err(_) => {
                Err(format!("`{text}` is no protocol; TCP, UDP, ICMP, IPv6-ICMP or a number"))
            }
        },
    }
}

fn verdict(text: &str) -> Result<Option<Action>, String> {
    match text {
        "pending" => Ok(None),
        "allow" => Ok(Some(Action::Allow)),
        "deny" => Ok(Some(Action::Deny)),
        "reject" => Ok(Some(Action::Reject)),
        _ => Err(format!("`{text}` is no verdict; allow, deny, reject or pending")),
    }
}

fn reason(text: &str) -> Result<Reason, String> {
    let found = Reason::ALL.iter().find(|reason| reason.name() == text);
    found.copied().ok_or_else(|| format!("`{text}` is no reason"))
}

fn api_id(text: &str) -> Result<ApiId, String> {
    ApiId::parse(text.as_bytes()).ok_or_else(|| format!("`{text}` is no API id"))
}

fn ja4(text: &str) -> Result<Ja4, String> {
    let bytes = text.as_bytes().try_into();
    bytes.map(Ja4).map_err(|_| format!("`{text}` is no JA4 fingerprint: it has 36 characters"))
}

fn ech(text: &str) -> Result<Ech, String> {
    match text {
        "present" => Ok(Ech::Present),
        "esni" => Ok(Ech::Esni),
        _ => Err(format!("`{text}` is no kind of hidden name; present or esni")),
    }
}

/// The number on the wire for what has no word.
fn tls_version(text: &str) -> Result<TlsVersion, String> {
    let number = match text {
        "SSL 3.0" => Some(0x0300),
        "TLS 1.0" => Some(0x0301),
        "TLS 1.1" => Some(0x0302),
        "TLS 1.2" => Some(0x0303),
        "TLS 1.3" => Some(0x0304),
        _ => text.strip_prefix("TLS 0x").and_then(|hex| u16::from_str_radix(hex, 16).ok()),
    };
    number.map(TlsVersion).ok_or_else(|| format!("`{text}` is no TLS version"))
}

#[cfg(test)]
#[path = "flow_log_tests.rs"]
mod tests;
