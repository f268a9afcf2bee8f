//! `lockgate explain`: why a flow is judged as it is. No logic of its own.

use super::clock::{date, today};
use super::output::print;
use super::reading::warn;
use super::say::{note, tell};
use crate::model::{
    self, Addr, ApiId, App, DomainName, Ech, EndpointId, FiveTuple, Ja4, Protocol, Span, Timestamp,
    TlsVersion,
};
use crate::prove::explain::{self, Certificate, Explanation, Probe};
use crate::prove::observed::{Packets, midnight};
use crate::ruleset::{self, Date, FlowPattern, Guardrails, Loaded, Options};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The source port of a flow of which none is said.
const SOURCE_PORT: u16 = 40_000;

/// Say why a flow is judged as it is: segments, policy, each rule in order, the decision.
///
/// Either for a flow that is written down (--source, --destination, --protocol, and facts as far as
/// they are known; what is then still open is told, and taken as usual), or for flows of a capture (--capture, --flow): there
/// every decision is told with the packet that led to it. Exit codes: 0 explained, 1 not: the ruleset
/// is refused (but for guardrails that do not hold: these flows show why), the capture cannot be read,
/// no flow fits, what is given contradicts itself.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The ruleset: a folder with lockgate.yaml, or a single file
    ruleset: PathBuf,
    /// How the explanation is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The day (UTC) on which it is judged; today, or a capture's own time, if left out
    #[arg(long, value_name = "DATE", value_parser = date)]
    at: Option<Date>,
    /// The GWLB endpoint the flow comes through, or a capture without encapsulation was taken at
    #[arg(long, value_name = "VPCE")]
    endpoint: Option<EndpointId>,

    /// Explain flows of this capture
    #[arg(long, value_name = "CAPTURE", requires = "flow", conflicts_with = "source")]
    capture: Option<PathBuf>,
    /// Which of them: "10.20.1.5 -> 10.100.4.7:443/tcp"; ports and protocol may be left out
    #[arg(long, value_name = "FLOW", requires = "capture")]
    flow: Option<FlowPattern>,

    #[command(flatten)]
    probe: ProbeArgs,
}

/// A flow that is written down.
#[derive(Args, Debug)]
#[command(next_help_heading = "A flow that is written down")]
struct ProbeArgs {
    /// The segment it comes from; a partner's first endpoint is used
    #[arg(long, value_name = "SEGMENT")]
    from: Option<String>,
    /// The segment it goes to, likewise
    #[arg(long, value_name = "SEGMENT")]
    to: Option<String>,
    /// Source address
    #[arg(long, value_name = "ADDRESS", required_unless_present = "capture")]
    source: Option<IpAddr>,
    /// Source port; 40000 if left out
    #[arg(long, value_name = "PORT")]
    source_port: Option<u16>,
    /// Destination address
    #[arg(long, value_name = "ADDRESS", required_unless_present = "capture")]
    destination: Option<IpAddr>,
    /// tcp, udp, icmp, icmpv6 or a number
    #[arg(long, value_parser = protocol, required_unless_present = "capture")]
    protocol: Option<Protocol>,
    /// Destination port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// ICMP type, or type/code
    #[arg(long, value_name = "TYPE", value_parser = icmp)]
    icmp: Option<(u8, u8)>,
    /// The application protocol
    #[arg(long, value_enum)]
    app: Option<AppChoice>,
    /// The name the client asks for; `none`: it asks for none
    #[arg(long, value_name = "NAME", value_parser = domain)]
    domain: Option<Asked>,
    /// A name in a DNS question
    #[arg(long, value_name = "NAME", value_parser = name)]
    dns: Vec<DomainName>,
    /// An address in the answer to its DNS question: judged as the answer is, when it comes
    #[arg(long, value_name = "ADDRESS", requires = "dns")]
    answer: Option<IpAddr>,
    /// The API an HTTP request in clear text names in x-apigw-api-id
    #[arg(long, value_name = "ID", value_parser = api_id)]
    api_id: Option<ApiId>,
    /// The TLS version the server chooses, such as 1.2; `none`: it chooses none, or QUIC is in a version
    /// that has no TLS or cannot be read
    #[arg(long, value_name = "VERSION", value_parser = version)]
    tls_version: Option<Chosen>,
    /// `present`, `none`, or `hidden` as in TLS 1.3
    #[arg(long, value_enum)]
    client_certificate: Option<CertificateChoice>,
    /// Issuer of the client's certificate, as RFC 4514 writes it
    #[arg(long, value_name = "NAME")]
    certificate_issuer: Option<String>,
    /// A subject alternative name of the client's certificate
    #[arg(long, value_name = "NAME")]
    certificate_san: Vec<String>,
    /// SHA-256 of the client's certificate, in hex
    #[arg(long, value_name = "SHA256", value_parser = sha256)]
    certificate_sha256: Option<Sum>,
    /// Last day (UTC) on which the client's certificate is valid; always, if left out
    #[arg(long, value_name = "DATE", value_parser = date)]
    certificate_until: Option<Date>,
    /// `present`: the name is hidden by Encrypted ClientHello
    #[arg(long, value_enum)]
    ech: Option<EchChoice>,
    /// JA4 fingerprint of the ClientHello
    #[arg(long, value_parser = ja4)]
    ja4: Option<Ja4>,
    /// The PrivateLink endpoint that a PROXY header names
    #[arg(long, value_name = "VPCE")]
    proxy_endpoint: Option<EndpointId>,
    /// The trusted proxy that speaks for the sender
    #[arg(long, value_name = "SEGMENT")]
    proxy: Option<String>,
    /// The destination was an answer of DNS for the name
    #[arg(long)]
    bound: bool,
    /// The flow was met in the middle: what is not given was missed
    #[arg(long)]
    midstream: bool,
}

/// How explanations are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// An application protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AppChoice {
    Tls,
    Quic,
    Http,
    Dns,
    /// None that is recognised; it has no name.
    Unknown,
}

/// Encrypted ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EchChoice {
    Present,
}

/// A SHA-256.
#[derive(Clone, Copy, Debug)]
struct Sum([u8; 32]);

/// What is known of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CertificateChoice {
    Present,
    None,
    Hidden,
}

/// A name, or that there is none.
#[derive(Clone, Debug)]
struct Asked(Option<DomainName>);

/// A version of TLS, or that none is chosen.
#[derive(Clone, Copy, Debug)]
struct Chosen(Option<TlsVersion>);

/// Explains; see [`ExplainArgs`] for the exit codes.
#[must_use]
pub(super) fn run(args: &ExplainArgs) -> ExitCode {
    let print = |text: String| print(&text).map_err(|why| format!("error: {why}"));
    match explain(args).and_then(print) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tell(&why);
            ExitCode::FAILURE
        }
    }
}

fn explain(args: &ExplainArgs) -> Result<String, String> {
    let loaded = load(&args.ruleset)?;
    match (&args.capture, &args.flow) {
        (Some(capture), Some(flow)) => captured(args, &loaded, capture, flow),
        _ => {
            let explanation = probe(args, &loaded)?.explain(&loaded).map_err(|wrong| {
                let errors: Vec<String> = wrong.iter().map(|why| format!("error: {why}")).collect();
                errors.join("\n")
            })?;
            Ok(write(args, &[explanation], &loaded))
        }
    }
}

/// Reads the ruleset. Violated guardrails are shown by flows, and those are there to be explained.
fn load(path: &Path) -> Result<Loaded, String> {
    let refused = match ruleset::load(path, &Options::default()) {
        Ok(loaded) => return Ok(loaded),
        Err(refused) => refused,
    };
    let unproved = Options { guardrails: Guardrails::Unproved, ..Options::default() };
    let loaded = ruleset::load(path, &unproved).map_err(|_| refused.to_string())?;
    note(&"the ruleset is refused for its guardrails; `lockgate check` tells why");
    Ok(loaded)
}

fn captured(
    args: &ExplainArgs,
    loaded: &Loaded,
    capture: &Path,
    flow: &FlowPattern,
) -> Result<String, String> {
    let packets = Packets::read(capture, args.endpoint).map_err(|why| format!("error: {why}"))?;
    warn(packets.warnings());
    let policy = crate::policy::Policy::compile(&loaded.spec, None);
    let policy = Arc::new(policy.map_err(|fault| format!("error: {fault}"))?);
    let (explained, all) = explain::captured(loaded, &policy, &packets, flow, args.at);
    if all == 0 {
        return Err(format!(
            "error: no flow of {} is {flow}; `lockgate replay` lists its flows",
            capture.display()
        ));
    }
    let text = write(args, &explained, loaded);
    if all > explained.len() {
        note(&format_args!("{} of {all} flows are explained", explained.len()));
    }
    Ok(text)
}

fn write(args: &ExplainArgs, explained: &[Explanation], loaded: &Loaded) -> String {
    let policy = &loaded.policy;
    match args.format {
        Format::Text => {
            let texts: Vec<String> = explained.iter().map(|e| explain::text(e, policy)).collect();
            texts.join("\n\n")
        }
        Format::Json => {
            let flows: Vec<_> = explained.iter().map(|e| explain::json(e, policy)).collect();
            format!("{:#}\n", json!({ "flows": flows }))
        }
    }
}

fn probe(args: &ExplainArgs, loaded: &Loaded) -> Result<Probe, String> {
    let given = &args.probe;
    let missing = || "error: --source, --destination and --protocol are needed".to_owned();
    let (source, destination) = given.source.zip(given.destination).ok_or_else(missing)?;
    let protocol = given.protocol.ok_or_else(missing)?;
    arguments(given, protocol)?;
    for name in [&given.from, &given.to, &given.proxy].into_iter().flatten() {
        if !loaded.spec.segments.iter().any(|segment| segment.name == *name) {
            return Err(format!("error: the ruleset has no segment `{name}`"));
        }
    }
    let port = |port: u16| if protocol.has_ports() { port } else { 0 };
    let tuple = FiveTuple {
        src: Addr::from(source),
        dst: Addr::from(destination),
        src_port: port(given.source_port.unwrap_or(SOURCE_PORT)),
        dst_port: port(given.port.unwrap_or(0)),
        protocol,
    };
    Ok(Probe {
        endpoint: args.endpoint,
        from: given.from.clone(),
        to: given.to.clone(),
        proxy: given.proxy.clone(),
        ech: if given.ech.is_some() { Ech::Present } else { Ech::None },
        icmp: given.icmp.or(match protocol {
            Protocol::ICMP => Some((8, 0)),
            Protocol::ICMPV6 => Some((128, 0)),
            _ => None,
        }),
        app: given.app.map(AppChoice::asked),
        domain: given.domain.as_ref().map(|asked| asked.0),
        dns: given.dns.clone(),
        answer: given.answer.map(Addr::from),
        api_id: given.api_id.clone(),
        tls_version: given.tls_version.map(|chosen| chosen.0),
        certificate: certificate(given),
        ja4: given.ja4,
        proxy_endpoint: given.proxy_endpoint,
        bound: given.bound,
        midstream: given.midstream,
        ..Probe::new(tuple, noon(args.at))
    })
}

/// What a flow of a protocol lacks, or cannot have.
fn arguments(given: &ProbeArgs, protocol: Protocol) -> Result<(), String> {
    let ports = given.port.is_some() || given.source_port.is_some();
    if protocol.has_ports() && given.port.is_none() {
        return Err(format!("error: a flow of protocol {protocol} needs --port"));
    }
    if ports && !protocol.has_ports() {
        return Err(format!(
            "error: a flow of protocol {protocol} has no ports: leave out --port and --source-port, or write \
             `--protocol tcp`"
        ));
    }
    if given.icmp.is_some() && ![Protocol::ICMP, Protocol::ICMPV6].contains(&protocol) {
        return Err(format!(
            "error: a flow of protocol {protocol} has no ICMP type: leave out --icmp, or write `--protocol icmp`"
        ));
    }
    let unseen = [CertificateChoice::None, CertificateChoice::Hidden];
    if given.client_certificate.is_some_and(|c| unseen.contains(&c)) && given.shows_certificate() {
        return Err(
            "error: nothing is known of a certificate that is not there or hidden: leave out \
             --certificate-issuer, -san, -sha256 and -until, or write `--client-certificate present`"
                .to_owned(),
        );
    }
    Ok(())
}

fn noon(day: Option<Date>) -> Timestamp {
    midnight(day.unwrap_or_else(today)) + Span::from_secs(12 * 3600)
}

fn certificate(given: &ProbeArgs) -> Option<Certificate> {
    match given.client_certificate {
        Some(CertificateChoice::None) => Some(Certificate::None),
        Some(CertificateChoice::Hidden) => Some(Certificate::Hidden),
        None if !given.shows_certificate() => None,
        Some(CertificateChoice::Present) | None => Some(Certificate::Shown(model::Certificate {
            subject: "CN=client".to_owned(),
            issuer: given.certificate_issuer.clone().unwrap_or_default(),
            names: given.certificate_san.clone(),
            sha256: given.certificate_sha256.map_or([0; 32], |sum| sum.0),
            validity: (0, given.certificate_until.map_or(i64::MAX, last_second)),
        })),
    }
}

/// The last second of a day, in seconds since the epoch.
fn last_second(day: Date) -> i64 {
    let next = midnight(day) + Span::from_secs(24 * 3600);
    i64::try_from(next.as_secs()).map_or(i64::MAX, |next| next.saturating_sub(1))
}

impl ProbeArgs {
    /// Whether anything is said of what a certificate shows.
    const fn shows_certificate(&self) -> bool {
        self.certificate_issuer.is_some()
            || self.certificate_sha256.is_some()
            || self.certificate_until.is_some()
            || !self.certificate_san.is_empty()
    }
}

impl AppChoice {
    const fn asked(self) -> App {
        match self {
            Self::Tls => App::Tls,
            Self::Quic => App::Quic,
            Self::Http => App::Http,
            Self::Dns => App::Dns,
            Self::Unknown => App::Other,
        }
    }
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let wrong = || format!("`{text}` is no protocol; write tcp, udp, icmp, icmpv6 or a number");
    Ok(match text {
        "tcp" => Protocol::TCP,
        "udp" => Protocol::UDP,
        "icmp" => Protocol::ICMP,
        "icmpv6" => Protocol::ICMPV6,
        _ => Protocol(text.parse().map_err(|_| wrong())?),
    })
}

fn icmp(text: &str) -> Result<(u8, u8), String> {
    let (kind, code) = text.split_once('/').unwrap_or((text, "0"));
    let read = kind.parse().ok().zip(code.parse().ok());
    read.ok_or_else(|| format!("`{text}` is no ICMP type; write 8 or 3/1"))
}

fn name(text: &str) -> Result<DomainName, String> {
    let labels = text.trim_end_matches('.').split('.').map(str::as_bytes);
    DomainName::from_labels(labels).map_err(|_| format!("`{text}` is no name"))
}

fn api_id(text: &str) -> Result<ApiId, String> {
    let id = ApiId::parse(text.as_bytes());
    id.ok_or_else(|| format!("`{text}` is no API id: it has letters, digits and hyphens"))
}

fn sha256(text: &str) -> Result<Sum, String> {
    let sum = model::Certificate::parse_sha256(text);
    sum.map(Sum).ok_or_else(|| format!("`{text}` is no SHA-256: it has 64 hex digits"))
}

fn domain(text: &str) -> Result<Asked, String> {
    if text == "none" {
        return Ok(Asked(None));
    }
    let name = DomainName::from_host(text.as_bytes());
    name.map(|name| Asked(Some(name))).map_err(|_| format!("`{text}` is no name"))
}

fn version(text: &str) -> Result<Chosen, String> {
    let number = match text {
        "none" => return Ok(Chosen(None)),
        "SSL 3.0" => 0x0300,
        "1.0" => 0x0301,
        "1.1" => 0x0302,
        "1.2" => 0x0303,
        "1.3" => 0x0304,
        _ => return Err(format!("`{text}` is no TLS version; write 1.2 or 1.3")),
    };
    Ok(Chosen(Some(TlsVersion(number))))
}

fn ja4(text: &str) -> Result<Ja4, String> {
    let bytes = text.as_bytes().try_into();
    bytes.map(Ja4).map_err(|_| format!("`{text}` is no JA4 fingerprint: it has 36 characters"))
}
