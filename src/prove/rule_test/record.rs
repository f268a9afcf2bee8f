//! A capture made into a test file that passes: what was seen is what is expected from now on. Either
//! the test names the capture, or it writes its flows down and needs the capture no more.

use super::complete::{address, completed, is_plain};
use super::select::{outcome, rule};
use super::{Plan, Settings, inline};
use crate::engine::record::FlowRecord;
use crate::io::pcap::Warning;
use crate::model::{App, EndpointId, FiveTuple, Reason};
use crate::policy::Policy;
use crate::policy::names::NamePattern;
use crate::policy::spec::AppMatch;
use crate::prove::observed::{Flow, Packets};
use crate::prove::yaml::{list, plain, quoted};
use crate::ruleset::{
    Date, Expected, FlowPattern, InlineFlow, Loaded, Outcome, Place, Presented, SOURCE_PORT, Style,
    tests_text,
};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What is recorded, and how.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    /// The ruleset folder.
    pub folder: &'a Path,
    /// The capture.
    pub capture: &'a Path,
    /// Whose traffic it is, where it has no encapsulation.
    pub endpoint: Option<EndpointId>,
    /// Write flows down instead of naming the capture.
    pub as_flows: bool,
    /// The day on which written flows are judged.
    pub day: Date,
}

/// A test file, and what it does not hold.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its text.
    pub text: String,
    /// Flows of the capture.
    pub flows: usize,
    /// Of these, flows that begin in the middle.
    pub midstream: usize,
    /// Flows that cannot be written down so that the same rule judges them the same way.
    pub left_out: usize,
    /// What the user should know about the capture.
    pub warnings: Vec<Warning>,
}

impl Recording<'_> {
    /// The test file. It has been run and passes.
    ///
    /// # Errors
    /// If the capture cannot be read or holds no flow, or the ruleset refuses the test.
    pub fn record(&self, ruleset: &Loaded) -> Result<Recorded, String> {
        let packets = Packets::read(self.capture, self.endpoint)?;
        let policy = Policy::compile(&ruleset.spec, None).map_err(|fault| fault.to_string())?;
        let policy = Arc::new(policy);
        let flows = packets.judge(&policy, None);
        if flows.is_empty() {
            return Err(format!("{}: no flow in it", self.capture.display()));
        }
        let midstream = flows.iter().filter(|flow| in_the_middle(&flow.record)).count();
        let (text, left_out) = if self.as_flows {
            self.flows(ruleset, &policy, &completed(&packets).judge(&policy, None))
        } else {
            (self.expectations(&flows, &policy), 0)
        };
        self.verify(&text, ruleset)?;
        let warnings = packets.warnings().to_vec();
        Ok(Recorded { text, flows: flows.len(), midstream, left_out, warnings })
    }

    fn verify(&self, text: &str, ruleset: &Loaded) -> Result<(), String> {
        let suite = tests_text(self.folder, "recorded.yaml", text, ruleset)
            .map_err(|refused| refused.render(Style::PLAIN))?;
        let settings = Settings { at: None, today: self.day, workers: 1 };
        let plan = Plan::new(ruleset, &suite, &settings)
            .map_err(|errors| crate::ruleset::render(&errors, &suite.sources, Style::PLAIN))?;
        match plan.run().failed() {
            0 => Ok(()),
            failed => Err(format!("{failed} of the recorded expectations do not hold:\n{text}")),
        }
    }

    fn head(&self) -> String {
        let name = self.capture.file_name().unwrap_or_default().to_string_lossy();
        format!(
            "# Recorded from {}; every line holds under the ruleset as it was.\nlockgate-test: 1\n",
            one_word(&name)
        )
    }

    fn expectations(&self, flows: &[Flow], policy: &Policy) -> String {
        let mut out = self.head();
        let capture = relative(self.folder, self.capture);
        let _ = writeln!(out, "capture: {}", quoted(&capture.to_string_lossy()));
        if let Some(endpoint) = self.endpoint {
            let _ = writeln!(out, "as: {{ endpoint: {endpoint} }}");
        }
        let _ = writeln!(out, "expect:");
        let all: Vec<&FlowRecord> = flows.iter().map(|flow| &flow.record).collect();
        let mut written = BTreeSet::new();
        for record in &all {
            let line = expectation(record, &all, policy);
            if written.insert(line.clone()) {
                let _ = writeln!(out, "  - {{ {line} }}");
            }
        }
        let _ = writeln!(out, "  - {{ flows: {{}}, count: {} }}", all.len());
        out
    }

    fn flows(&self, ruleset: &Loaded, policy: &Arc<Policy>, flows: &[Flow]) -> (String, usize) {
        let mut out = self.head();
        let _ = writeln!(out, "at: {}\nflows:", self.day);
        let mut written = BTreeSet::new();
        let mut left_out = 0;
        for flow in flows {
            let Some(inline) = self.inline(&flow.record, ruleset) else {
                left_out += 1;
                continue;
            };
            let holds = |inline: &InlineFlow| {
                let judged = inline::packets(inline, ruleset, self.day)
                    .map(|packets| packets.judge(policy, None))
                    .unwrap_or_default();
                let first = judged.first();
                first.is_some_and(|j| said(&j.record, policy) == said(&flow.record, policy))
            };
            // Its source port is written down only where it matters.
            let usual = usual_port(&inline);
            let Some(inline) = [usual, inline].into_iter().find(holds) else {
                left_out += 1;
                continue;
            };
            let line = format!("{}, {}", inline_text(&inline), said_text(&flow.record, policy));
            if written.insert(line.clone()) {
                let _ = writeln!(out, "  - {{ {line} }}");
            }
        }
        (out, left_out)
    }

    /// A flow as a test writes it down; none if no test can.
    fn inline(&self, record: &FlowRecord, ruleset: &Loaded) -> Option<InlineFlow> {
        let name = |id: crate::model::SegmentId| {
            ruleset.policy.segment(id).map(|segment| segment.name.to_string())
        };
        let host = |name: &crate::model::DomainName| match NamePattern::parse(&name.to_string()) {
            Ok(NamePattern::Exact(name)) => Some(String::from(name)),
            _ => None,
        };
        let app = match record.found.app {
            Some(App::Tls) => Some(AppMatch::Tls),
            Some(App::Quic) => Some(AppMatch::Quic),
            Some(App::Http) => Some(AppMatch::Http),
            Some(App::Dns) => Some(AppMatch::Dns),
            _ => None,
        };
        let tls = app == Some(AppMatch::Tls);
        let certificate =
            record.found.certificate.as_ref().filter(|_| tls).map(|shown| Presented {
                subject: shown.subject.clone(),
                issuer: shown.issuer.clone(),
                names: shown.names.clone(),
                until: u64::try_from(shown.validity.1)
                    .ok()
                    .map(|last| Date::from_days(last / 86_400)),
            });
        let usual = [record.from, record.to].into_iter().flatten().find_map(|id| {
            ruleset.spec.segments.get(usize::from(id.0))?.endpoints.first().copied()
        });
        let endpoint = record.endpoint.or(self.endpoint);
        is_plain(&record.tuple).then(|| InlineFlow {
            place: Place::default(),
            description: None,
            from: record.from.and_then(name),
            to: record.to.and_then(name),
            endpoint: endpoint.filter(|&endpoint| Some(endpoint) != usual),
            proxy_endpoint: None,
            tuple: record.tuple,
            icmp: record.icmp,
            app,
            domain: record.found.names.first().and_then(host),
            dns: record.found.questions.first().and_then(host),
            answer: record.found.denied_answer.filter(|_| app == Some(AppMatch::Dns)),
            api_id: record.found.api_id.clone().filter(|_| app == Some(AppMatch::Http)),
            tls_version: record.found.tls_version.filter(|_| tls),
            client_certificate: certificate,
            at: None,
            expected: Expected::default(),
        })
    }
}

/// A flow from the port that one without `source_port` comes from.
fn usual_port(flow: &InlineFlow) -> InlineFlow {
    let ports = flow.tuple.protocol.has_ports();
    let src_port = if ports { SOURCE_PORT } else { flow.tuple.src_port };
    InlineFlow { tuple: FiveTuple { src_port, ..flow.tuple }, ..flow.clone() }
}

fn in_the_middle(record: &FlowRecord) -> bool {
    record.midstream || record.verdict.is_some_and(|verdict| verdict.reason == Reason::Midstream)
}

/// What is said of a flow, to be compared.
fn said<'p>(record: &FlowRecord, policy: &'p Policy) -> (Outcome, Option<&'p str>, Option<Reason>) {
    (outcome(record), rule(record, policy), record.verdict.map(|verdict| verdict.reason))
}

fn said_text(record: &FlowRecord, policy: &Policy) -> String {
    let (outcome, rule, reason) = said(record, policy);
    match (rule, reason) {
        (Some(rule), _) => format!("verdict: {}, rule: {rule}", outcome.name()),
        (None, Some(reason)) => format!("verdict: {}, reason: {}", outcome.name(), reason.name()),
        (None, None) => format!("verdict: {}", outcome.name()),
    }
}

/// The shortest expectation that is about this flow and holds for every flow it is about: by
/// addresses, by name, by source port, or with every verdict there was.
fn expectation(record: &FlowRecord, all: &[&FlowRecord], policy: &Policy) -> String {
    let tuple = &record.tuple;
    let ports = tuple.protocol.has_ports();
    let pattern = |source_port: Option<u16>| FlowPattern {
        source: (Some(tuple.src.to_ip()), source_port.filter(|_| ports)),
        destination: (Some(tuple.dst.to_ip()), ports.then_some(tuple.dst_port)),
        protocol: Some(tuple.protocol),
    };
    let like = |pattern: &FlowPattern| -> Vec<&&FlowRecord> {
        all.iter().filter(|other| super::fits_pattern(pattern, &other.tuple)).collect()
    };
    let agree = |flows: &[&&FlowRecord]| {
        flows.iter().all(|other| said(other, policy) == said(record, policy))
    };
    let line = |pattern: &FlowPattern, count: usize| {
        let said = said_text(record, policy);
        format!("flow: {}, {said}, count: {count}", quoted(&pattern.to_string()))
    };
    let short = pattern(None);
    let same = like(&short);
    if agree(&same) {
        return line(&short, same.len());
    }
    for (what, names, own) in [
        ("domain", record.found.names.first(), false),
        ("dns", record.found.questions.first(), true),
    ] {
        let Some(name) = names.filter(|name| NamePattern::parse(&name.to_string()).is_ok()) else {
            continue;
        };
        let asks = |other: &FlowRecord| {
            let names = if own { &other.found.questions } else { &other.found.names };
            names.all().iter().any(|other| **other == *name)
        };
        let named: Vec<&&FlowRecord> = same.iter().copied().filter(|o| asks(o)).collect();
        if agree(&named) {
            let selector = select(tuple, what, &name.to_string());
            let said = said_text(record, policy);
            return format!("flows: {{ {selector} }}, {said}, count: {}", named.len());
        }
    }
    let long = pattern(Some(tuple.src_port));
    let same = like(&long);
    if agree(&same) {
        return line(&long, same.len());
    }
    let verdicts: BTreeSet<&str> = same.iter().map(|other| outcome(other).name()).collect();
    let pattern = quoted(&long.to_string());
    format!("flow: {pattern}, verdict: {}, count: {}", list(verdicts), same.len())
}

fn select(tuple: &FiveTuple, what: &str, name: &str) -> String {
    let mut text = format!(
        "source: {}, destination: {}, protocol: {}",
        address(tuple.src),
        address(tuple.dst),
        tuple.protocol
    );
    if tuple.protocol.has_ports() {
        let _ = write!(text, ", port: {}", tuple.dst_port);
    }
    let _ = write!(text, ", {what}: {}", plain(name));
    text
}

fn inline_text(flow: &InlineFlow) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut part = |key: &str, value: Option<String>| {
        parts.extend(value.map(|value| format!("{key}: {value}")));
    };
    let tuple = &flow.tuple;
    let ports = tuple.protocol.has_ports();
    part("from", flow.from.as_deref().map(plain));
    part("to", flow.to.as_deref().map(plain));
    part("endpoint", flow.endpoint.map(|endpoint| endpoint.to_string()));
    part("source", Some(address(tuple.src)));
    let own_port = ports && tuple.src_port != SOURCE_PORT;
    part("source_port", own_port.then(|| tuple.src_port.to_string()));
    part("destination", Some(address(tuple.dst)));
    part("protocol", Some(tuple.protocol.to_string()));
    part("port", ports.then(|| tuple.dst_port.to_string()));
    part("icmp", flow.icmp.map(|(kind, code)| quoted(&format!("{kind}/{code}"))));
    let app = flow.app.map(|app| match app {
        AppMatch::Tls => "tls",
        AppMatch::Quic => "quic",
        AppMatch::Http => "http",
        AppMatch::Dns => "dns",
    });
    part("app", app.map(str::to_owned));
    part("domain", flow.domain.as_deref().map(plain));
    part("dns", flow.dns.as_deref().map(plain));
    part("answer", flow.answer.map(address));
    part("api_id", flow.api_id.as_ref().map(|id| plain(id.as_str())));
    part("tls_version", flow.tls_version.map(|version| quoted(&version.to_string())));
    let certificate = flow.client_certificate.as_ref().map(|shown| {
        let names = if shown.names.is_empty() {
            String::new()
        } else {
            format!(", san: {}", list(&shown.names))
        };
        let until = shown.until.map_or_else(String::new, |until| format!(", until: {until}"));
        format!(
            "{{ subject: {}, issuer: {}{names}{until} }}",
            quoted(&shown.subject),
            quoted(&shown.issuer)
        )
    });
    part("client_certificate", certificate);
    parts.join(", ")
}

/// A path as seen from a folder.
fn relative(folder: &Path, path: &Path) -> PathBuf {
    let (Ok(from), Ok(to)) = (folder.canonicalize(), path.canonicalize()) else {
        return path.to_owned();
    };
    let shared = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

/// A name fit for a comment.
fn one_word(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).collect()
}
