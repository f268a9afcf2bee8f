//! The appliance's configuration: one YAML document, checked whole before anything is opened. Reads
//! no ruleset and opens nothing.

mod document;
mod scalar;

pub use scalar::{Failover, LogFormat, LogLevel, NewFlows, Pairs, Percent};

use crate::engine::{GATEWAYS_MAX, Limits};
use crate::io::live::{Backend, Mode, PortSettings, RING_BYTES, WORKERS_MAX};
use crate::model::{EndpointId, Span};
use crate::ruleset::{At, Capacity, Diagnostic, Findings, Refused, single};
use document::{Document, DrainDoc, LimitsDoc, LogsDoc};
use ipnet::Ipv4Net;
use schemars::generate::SchemaSettings;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the schema is checked in, from the root of the repository.
pub const SCHEMA_PATH: &str = "deploy/appliance.schema.json";
/// The control socket where none is named.
pub const CONTROL_SOCKET: &str = "/run/lockgate/control.sock";
/// Where health and metrics listen where nothing is said.
const HEALTH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// Records that may wait for the disk where nothing is said.
const LOG_QUEUE: usize = 1 << 16;
/// More records than this never wait.
pub const LOG_QUEUE_MAX: usize = 1 << 22;
/// More packets of denied flows are never kept.
pub const DENIED_PACKETS_MAX: usize = 1 << 16;
/// The most bytes kept of a packet of a denied flow.
pub const DENIED_BYTES_MAX: u64 = 1 << 16;
/// More flows than this are no instance's.
const FLOWS_MAX: u64 = 1 << 28;
/// How long known flows are served where nothing is said: the target group's own default.
const DRAIN: Span = Span::from_secs(300);
/// How long it is unhealthy before it goes: two probes 5 s apart, as `deploy/` has them, and the time each
/// may take.
const DRAIN_AT_LEAST: Span = Span::from_secs(15);

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// The ruleset.
    pub ruleset: PathBuf,
    /// How ports are opened.
    pub port: PortSettings,
    /// Who is believed; all in passive mode where none are named.
    pub gateways: Option<Vec<Ipv4Net>>,
    /// Passive mode: whose packets without GENEVE are.
    pub endpoint: Option<EndpointId>,
    /// Bounds of the whole instance. Times and sizes that a ruleset gives stand in for these.
    pub limits: Limits,
    /// What segments may reserve.
    pub capacity: Capacity,
    /// Where health listens.
    pub health: SocketAddr,
    /// Where metrics listen, if elsewhere.
    pub metrics: Option<SocketAddr>,
    /// What metrics tell apart of the two segments of a flow.
    pub pairs: Pairs,
    /// Lossy from this share on.
    pub max_loss: Percent,
    /// The control socket.
    pub control: PathBuf,
    /// The flow log.
    pub flow_log: Option<FlowLogConfig>,
    /// The process log.
    pub log_format: LogFormat,
    /// The process log.
    pub log_level: LogLevel,
    /// Whether a change of the ruleset's files is enough for a reload.
    pub watch: bool,
    /// How the instance leaves.
    pub drain: DrainConfig,
    /// Packets of denied flows that are kept, over all workers.
    pub denied_packets: usize,
    /// Bytes kept of each.
    pub denied_bytes: usize,
    /// Who the process becomes.
    pub user: Option<String>,
}

/// Where flow records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowLogConfig {
    /// The file; none is standard output.
    pub file: Option<PathBuf>,
    /// Records that may wait.
    pub queue: usize,
}

/// How the instance leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainConfig {
    /// The target group's setting.
    pub failover: Failover,
    /// How long known flows are served at most.
    pub deadline: Duration,
    /// How long it is unhealthy before it goes, though no flow is left; never beyond the deadline.
    pub at_least: Duration,
    /// What becomes of new flows.
    pub new_flows: NewFlows,
}

/// Reads and checks a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, Box<Refused>> {
    let mut findings = Findings::default();
    let (document, sources) = single::read::<Document>(path, &mut findings);
    let config = document.and_then(|document| check(path, &document, &mut findings));
    let refused = findings.has_errors();
    let (errors, warnings) = findings.finish();
    match config {
        Some(config) if !refused => Ok(config),
        _ => Err(Box::new(Refused { errors, warnings, sources })),
    }
}

/// The schema as it is checked in, with a newline at its end.
#[must_use]
pub fn schema() -> String {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>();
    schema.insert("title".to_owned(), "lockgate appliance".into());
    format!("{}\n", serde_json::to_string_pretty(&schema).unwrap_or_default())
}

fn check(path: &Path, document: &Document, findings: &mut Findings) -> Option<Config> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = |text: &str| folder.join(text);
    let text = |field: &Option<At<crate::ruleset::scalar::Text>>| {
        field.as_ref().map(|text| text.value.0.clone())
    };
    let port = port(document, findings);
    let gateways = gateways(document, findings);
    let drain = drain(document, port.mode, findings);
    let limits = limits(document.limits.as_ref(), findings);
    let logs = document.logs.clone().unwrap_or_default();
    let process = logs.process.clone().unwrap_or_default();
    let health = document.health.clone().unwrap_or_default();
    let health_listen = health.listen.map_or(HEALTH, |at| at.value);
    let metrics = document.metrics.clone().unwrap_or_default();
    let denied = document.denied_packets.clone().unwrap_or_default();
    if let (Some(endpoint), Mode::Inline) = (&document.endpoint, port.mode) {
        let fault = Diagnostic::error("endpoint-inline", "`endpoint` is for passive mode")
            .at(endpoint.place, "inline packets carry their endpoint")
            .help("remove it, or write `mode: passive`");
        findings.push(fault);
    }
    Some(Config {
        path: path.to_owned(),
        ruleset: file(&text(&document.ruleset)?),
        port,
        gateways,
        endpoint: document.endpoint.map(|at| at.value),
        capacity: limits.1,
        limits: limits.0,
        health: health_listen,
        metrics: metrics.listen.map(|at| at.value).filter(|metrics| *metrics != health_listen),
        pairs: metrics.pairs.map_or(Pairs::Segments, |at| at.value),
        max_loss: health.max_loss.map_or(Percent::whole(1), |at| at.value),
        control: text(&document.control).map_or_else(|| CONTROL_SOCKET.into(), |text| file(&text)),
        flow_log: flow_log(&logs, folder, findings),
        log_format: process.format.map_or(LogFormat::Text, |at| at.value),
        log_level: process.level.map_or(LogLevel::Info, |at| at.value),
        watch: document.reload.as_ref().and_then(|r| r.watch).is_some_and(|at| at.value),
        drain,
        denied_packets: bounded(
            denied.packets.as_ref(),
            0,
            0..=DENIED_PACKETS_MAX as u64,
            "packets of denied flows",
            findings,
        ),
        denied_bytes: bounded(
            denied.bytes.map(|at| At { value: at.value.0, place: at.place }).as_ref(),
            256,
            0..=DENIED_BYTES_MAX,
            "bytes of a denied flow's packet",
            findings,
        ),
        user: text(&document.user),
    })
}

fn port(document: &Document, findings: &mut Findings) -> PortSettings {
    let name = document.interface.as_ref().map_or("", |name| name.value.0.as_str());
    let mut port = PortSettings::on(name);
    port.address = document.address.map(|at| at.value);
    if let Some(mode) = document.mode {
        port.mode = mode.value;
    }
    port.workers = workers(document, port.mode, findings);
    let ring = &RING_BYTES;
    if let Some(asked) = document.ring {
        let bytes = usize::try_from(asked.value.0).unwrap_or(usize::MAX);
        if ring.contains(&bytes) {
            port.ring_bytes = bytes;
        } else {
            let (from, to) = (ring.start() >> 20, ring.end() >> 20);
            let fault = Diagnostic::error("bad-ring", "a ring of this size cannot be")
                .at(asked.place, "out of bounds")
                .help(format!("write {from}MiB to {to}MiB"));
            findings.push(fault);
        }
    }
    if let Some(backend) = document.backend {
        port.backend = backend.value;
        if (backend.value, port.mode) == (Backend::AfXdp, Mode::Passive) {
            let fault = Diagnostic::error("passive-backend", "AF_XDP is not for mirrored traffic")
                .at(backend.place, "with `mode: passive`")
                .help("remove it: mirrored traffic is read from a packet socket");
            findings.push(fault);
        }
    }
    if let Some(spin) = document.spin {
        port.spin = Duration::from_nanos(spin.value.as_nanos());
    }
    port
}

/// As many as processors if nothing is said; mirrored traffic has one.
fn workers(document: &Document, mode: Mode, findings: &mut Findings) -> usize {
    if mode == Mode::Passive {
        if let Some(asked) = document.workers.filter(|asked| asked.value != 1) {
            let fault = Diagnostic::error("passive-workers", "mirrored traffic has one worker")
                .at(asked.place, "with `mode: passive`")
                .help("remove it; mirror to several instances where one does not suffice");
            findings.push(fault);
        }
        return 1;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let bounds = 1..=WORKERS_MAX as u64;
    bounded(document.workers.as_ref(), cores as u64, bounds, "workers", findings)
}

/// Inline, nobody is believed who is not named.
fn gateways(document: &Document, findings: &mut Findings) -> Option<Vec<Ipv4Net>> {
    let passive = document.mode.is_some_and(|at| at.value == Mode::Passive);
    let Some(list) = &document.gateways else {
        if !passive {
            let fault = Diagnostic::error("no-gateways", "configuration needs `gateways`")
                .help("list the load balancer's node addresses, or the networks of its subnets: GENEVE carries no authentication, so packets from anybody else must be dropped");
            findings.push(match &document.interface {
                Some(interface) => fault.at(interface.place, "who may send to this interface?"),
                None => fault,
            });
        }
        return None;
    };
    if list.is_empty {
        let fault = Diagnostic::error("no-gateways", "nobody would be believed")
            .at(list.place, "this list is empty")
            .help("list the load balancer's node addresses, or the networks of its subnets");
        findings.push(fault);
    }
    if list.items.len() > GATEWAYS_MAX {
        let text = format!("{} gateways are more than {GATEWAYS_MAX}", list.items.len());
        let fault = Diagnostic::error("limit-gateways", text).at(list.place, "too many");
        findings.push(fault.help("write the networks of the load balancer's subnets"));
    }
    Some(list.items.iter().map(|at| at.value).collect())
}

fn limits(document: Option<&LimitsDoc>, findings: &mut Findings) -> (Limits, Capacity) {
    let usual = Limits::default();
    let none = LimitsDoc::default();
    let document = document.unwrap_or(&none);
    let mut of = |field: Option<&At<u64>>, usual: usize, most: u64, what: &str| {
        bounded(field, usual as u64, 1..=most, what, findings)
    };
    let flows = of(document.flows.as_ref(), usual.flows, FLOWS_MAX, "flows");
    let inspections =
        of(document.inspections.as_ref(), usual.inspections, FLOWS_MAX, "inspections");
    let fragmented = of(document.fragmented.as_ref(), usual.fragmented, 1 << 20, "fragmented");
    let answers = of(
        document.answers_per_second.as_ref(),
        usual.answers_per_second as usize,
        10_000_000,
        "answers in one second",
    );
    let held_bytes = document
        .held_bytes
        .map_or(usual.held_bytes, |at| usize::try_from(at.value.0).unwrap_or(usize::MAX));
    let capacity = Capacity {
        flows: flows as u64,
        held_bytes: held_bytes as u64,
        new_flows_per_second: document
            .new_flows_per_second
            .map_or(Capacity::default().new_flows_per_second, |at| at.value),
    };
    let answers_per_second = u32::try_from(answers).unwrap_or(u32::MAX);
    let limits = Limits { flows, held_bytes, inspections, fragmented, answers_per_second, ..usual };
    (limits, capacity)
}

fn flow_log(logs: &LogsDoc, folder: &Path, findings: &mut Findings) -> Option<FlowLogConfig> {
    let log = logs.flows.as_ref()?;
    let file = log.file.as_ref()?;
    let queue = 1..=LOG_QUEUE_MAX as u64;
    Some(FlowLogConfig {
        file: (file.value.0 != "-").then(|| folder.join(&file.value.0)),
        queue: bounded(log.queue.as_ref(), LOG_QUEUE as u64, queue, "records that wait", findings),
    })
}

fn drain(document: &Document, mode: Mode, findings: &mut Findings) -> DrainConfig {
    let none = DrainDoc::default();
    let document = document.drain.as_ref().unwrap_or(&none);
    let deadline = document.deadline.map_or(DRAIN, |at| at.value);
    // Nobody waits for what a mirror's instance would send.
    let usual = if mode == Mode::Passive { Span::from_secs(0) } else { DRAIN_AT_LEAST };
    if let Some(least) = document.at_least.filter(|least| least.value > deadline) {
        let fault =
            Diagnostic::error("drain-at-least", "`at_least` is above the drain's `deadline`")
                .at(least.place, "longer than the whole drain")
                .help("write less than the deadline, or a later deadline");
        findings.push(fault);
    }
    let least = document.at_least.map_or(usual, |at| at.value);
    DrainConfig {
        failover: document.target_failover.map_or(Failover::NoRebalance, |at| at.value),
        deadline: Duration::from_nanos(deadline.as_nanos()),
        at_least: Duration::from_nanos(least.as_nanos()),
        new_flows: document.new_flows.map_or(NewFlows::Serve, |at| at.value),
    }
}

/// A number within its bounds, or the usual one.
fn bounded(
    field: Option<&At<u64>>,
    usual: u64,
    bounds: std::ops::RangeInclusive<u64>,
    what: &str,
    findings: &mut Findings,
) -> usize {
    let value = field.map_or(usual, |at| at.value);
    if let Some(at) = field.filter(|at| !bounds.contains(&at.value)) {
        let text = format!("{} {what} cannot be", at.value);
        let help = format!("write {} to {}", bounds.start(), bounds.end());
        findings.push(
            Diagnostic::error("out-of-bounds", text).at(at.place, "out of bounds").help(help),
        );
    }
    usize::try_from(value.clamp(*bounds.start(), *bounds.end())).unwrap_or(usize::MAX)
}
