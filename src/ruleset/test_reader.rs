//! Test files from their text to the checked model: every rule and segment named there is known to
//! the ruleset, every capture is there to be read. Judges no flow.

use super::collection::{List, OneOrMany};
use super::decode::{Decode, Reading};
use super::diagnostic::{Diagnostic, Findings};
use super::files::Files;
use super::scalar::{Name, ProtocolWord, clip};
use super::source::{At, FileId, Place, Sources};
use super::suggest::nearest;
use super::term::{Domain, IcmpWord};
use super::test_document::{
    ExpectDoc, FlowDoc, PresentedDoc, PresentedFields, SelectDoc, TestDocument,
};
use super::test_file::{
    Chosen, Expectation, Expected, FlowSelector, InlineFlow, Named, Outcome, Presented, TestFile,
    TestSuite,
};
use super::{Loaded, Refused, yaml};
use crate::model::{Addr, App, FiveTuple, Protocol};
use crate::policy::names::NameSet;
use crate::policy::spec::AppMatch;
use std::path::Path;

/// The port a flow without `source_port` comes from.
pub const SOURCE_PORT: u16 = 40_000;

/// Reads the test files of a ruleset folder.
///
/// # Errors
/// Everything that is wrong with them.
pub fn tests(folder: &Path, ruleset: &Loaded) -> Result<TestSuite, Box<Refused>> {
    let mut findings = Findings::default();
    let files = Files::read_tests(folder, &mut findings);
    read(folder, files, findings, ruleset)
}

/// Reads one test file that is already in memory, for a ruleset folder.
///
/// # Errors
/// Everything that is wrong with it.
pub fn tests_text(
    folder: &Path,
    name: &str,
    text: &str,
    ruleset: &Loaded,
) -> Result<TestSuite, Box<Refused>> {
    read(folder, Files::of_text(name, text), Findings::default(), ruleset)
}

fn read(
    folder: &Path,
    files: Files,
    mut findings: Findings,
    ruleset: &Loaded,
) -> Result<TestSuite, Box<Refused>> {
    let mut suite = TestSuite { files: Vec::new(), sources: files.sources };
    for (file, _) in files.documents {
        let Some(source) = suite.sources.get(file) else { continue };
        let mut reading = Reading::default();
        let node = yaml::parse(file, &source.text, &mut reading.findings);
        let document = node.and_then(|node| TestDocument::decode(&node, &mut reading));
        for finding in reading.findings {
            findings.push(finding);
        }
        if let Some(document) = document {
            let mut reader =
                Reader { ruleset, folder, sources: &suite.sources, findings: &mut findings };
            let read = reader.file(file, &document);
            suite.files.push(read);
        }
    }
    if findings.has_errors() {
        let (errors, warnings) = findings.finish();
        return Err(Box::new(Refused { errors, warnings, sources: suite.sources }));
    }
    Ok(suite)
}

/// What checking needs besides the document.
struct Reader<'a> {
    ruleset: &'a Loaded,
    folder: &'a Path,
    sources: &'a Sources,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn file(&mut self, file: FileId, doc: &TestDocument) -> TestFile {
        let capture = doc.capture.as_ref().map(|written| {
            let path = self.folder.join(&written.value.0);
            if !path.is_file() {
                let text = format!("there is no capture {}", path.display());
                self.findings.push(
                    Diagnostic::error("missing-capture", text)
                        .at(written.place, "no such file")
                        .help("paths are relative to the ruleset folder"),
                );
            }
            (path, written.place)
        });
        let as_place = doc.taken_as.as_ref().map(|taken| taken.place);
        let expect_place = doc.expect.as_ref().map(|list| list.place);
        for (place, what) in [(as_place, "as"), (expect_place, "expect")] {
            if let Some(place) = place.filter(|_| doc.capture.is_none()) {
                let text = format!("`{what}` is about a capture, and there is none");
                self.findings.push(
                    Diagnostic::error("no-capture", text)
                        .at(place, "of which capture?")
                        .help("name one: `capture: ../../pcaps/acme.pcap`"),
                );
            }
        }
        if items(&doc.expect).is_empty() && items(&doc.flows).is_empty() {
            let finding = Diagnostic::error("empty-test", "this file expects nothing");
            self.findings.push(finding.at(doc.place, "neither `expect` nor `flows`").help(
                "list what is expected of a capture's flows under `expect`, or flows under `flows`",
            ));
        }
        TestFile {
            file,
            capture,
            endpoint: doc.taken_as.as_ref().and_then(|t| t.endpoint.as_ref()).map(|e| e.value),
            at: doc.at.as_ref().map(|at| at.value),
            expect: items(&doc.expect).iter().filter_map(|e| self.expectation(e)).collect(),
            flows: items(&doc.flows).iter().filter_map(|f| self.flow(f)).collect(),
        }
    }

    fn expectation(&mut self, doc: &ExpectDoc) -> Option<Expectation> {
        let given = [doc.flow.is_some(), doc.flows.is_some(), doc.rest.is_some()];
        let selector = doc.flows.as_ref().map(|selector| self.selector(selector));
        let rule = doc.rule.as_ref().and_then(|rule| self.rule(rule));
        if Self::unread(doc) {
            return None;
        }
        if given.iter().filter(|&&given| given).count() != 1 {
            let text = "an expectation is about one of `flow`, `flows` and `rest`";
            let finding = Diagnostic::error("bad-expectation", text);
            self.findings.push(finding.at(doc.place, "this one").help(
                "write `flow: \"10.20.1.5 -> 10.100.4.7:443/tcp\"`, `flows: { domain: .example }` or `rest: deny`",
            ));
            return None;
        }
        let mut expected = Expected {
            verdict: outcomes(doc.verdict.as_ref()),
            rule,
            reason: doc.reason.as_ref().map(|reason| reason.value),
            domain: doc.domain.as_ref().map(|name| self.names(std::slice::from_ref(name))),
            dns: doc.dns.as_ref().map(|name| self.names(std::slice::from_ref(name))),
        };
        let chosen = match (&doc.flow, selector) {
            (Some(pattern), _) => Chosen::Flow(pattern.value),
            (_, Some(selector)) => Chosen::Flows(Box::new(selector)),
            _ => {
                expected.verdict = outcomes(doc.rest.as_ref());
                Chosen::Rest
            }
        };
        let nothing = doc.verdict.is_none()
            && doc.rest.is_none()
            && doc.rule.is_none()
            && doc.reason.is_none()
            && doc.domain.is_none()
            && doc.dns.is_none()
            && doc.count.is_none();
        if let (Some(_), Some(verdict)) = (&doc.rest, &doc.verdict) {
            let finding = Diagnostic::error("bad-expectation", "`rest` is a verdict itself");
            self.findings.push(
                finding.at(verdict.place, "a second one").help("write `rest: deny`, no `verdict`"),
            );
        }
        if nothing {
            let finding = Diagnostic::error("bad-expectation", "this expects nothing");
            self.findings.push(
                finding
                    .at(doc.place, "no verdict, rule, reason or count")
                    .help("add `verdict: allow`, `deny` or `reject`"),
            );
        }
        Some(Expectation {
            place: doc.place,
            description: doc.description.as_ref().map(|text| text.value.0.clone()),
            chosen,
            expected,
            count: doc.count.as_ref().map(|count| count.value),
        })
    }

    /// Whether something of an expectation could not be read, which has been reported.
    fn unread(doc: &ExpectDoc) -> bool {
        let read = [
            doc.description.is_some(),
            doc.flow.is_some(),
            doc.flows.is_some(),
            doc.rest.is_some(),
            doc.verdict.is_some(),
            doc.rule.is_some(),
            doc.reason.is_some(),
            doc.domain.is_some(),
            doc.dns.is_some(),
            doc.count.is_some(),
        ];
        read.iter().filter(|&&read| read).count() < doc.written
    }

    fn selector(&mut self, doc: &SelectDoc) -> FlowSelector {
        let protocols: Option<Vec<Protocol>> =
            all(doc.protocol.as_ref()).map(|word: &ProtocolWord| word.0).collect();
        FlowSelector {
            text: self.selector_text(doc),
            from: self.segments(doc.from.as_ref()),
            to: self.segments(doc.to.as_ref()),
            endpoint: all(doc.endpoint.as_ref()).copied().collect(),
            source: all(doc.source.as_ref()).copied().collect(),
            source_port: all(doc.source_port.as_ref()).copied().collect(),
            destination: all(doc.destination.as_ref()).copied().collect(),
            port: all(doc.port.as_ref()).copied().collect(),
            protocol: protocols.unwrap_or_default(),
            app: doc.app.as_ref().map(|app| app.value),
            domain: doc.domain.as_ref().map(|list| self.names(&list.items)),
            dns: doc.dns.as_ref().map(|list| self.names(&list.items)),
            rule: doc
                .rule
                .iter()
                .flat_map(|list| &list.items)
                .filter_map(|rule| self.rule(rule))
                .collect(),
            verdict: outcomes(doc.verdict.as_ref()),
            reason: all(doc.reason.as_ref()).copied().collect(),
        }
    }

    /// A selector as it was written.
    fn selector_text(&self, doc: &SelectDoc) -> String {
        let fields = [
            ("from", self.written(doc.from.as_ref())),
            ("to", self.written(doc.to.as_ref())),
            ("endpoint", self.written(doc.endpoint.as_ref())),
            ("source", self.written(doc.source.as_ref())),
            ("source_port", self.written(doc.source_port.as_ref())),
            ("destination", self.written(doc.destination.as_ref())),
            ("port", self.written(doc.port.as_ref())),
            ("protocol", self.written(doc.protocol.as_ref())),
            ("app", doc.app.as_ref().map(|app| one_line(self.sources.slice(app.place)))),
            ("domain", self.written(doc.domain.as_ref())),
            ("dns", self.written(doc.dns.as_ref())),
            ("rule", self.written(doc.rule.as_ref())),
            ("verdict", self.written(doc.verdict.as_ref())),
            ("reason", self.written(doc.reason.as_ref())),
        ];
        let given = fields.into_iter().filter_map(|(name, text)| Some((name, text?)));
        let parts: Vec<String> = given.map(|(name, text)| format!("{name} {text}")).collect();
        if parts.is_empty() { "all flows".to_owned() } else { parts.join(", ") }
    }

    fn written<T>(&self, list: Option<&OneOrMany<At<T>>>) -> Option<String> {
        let items = list?.items.iter().map(|item| one_line(self.sources.slice(item.place)));
        Some(items.collect::<Vec<_>>().join(" or "))
    }

    fn flow(&mut self, doc: &FlowDoc) -> Option<InlineFlow> {
        self.check_flow(doc);
        let protocol = doc.protocol.as_ref()?;
        let Some(number) = protocol.value.0 else {
            let finding = Diagnostic::error("bad-flow", "a flow has one protocol");
            self.findings.push(finding.at(protocol.place, "every one").help("write tcp or udp"));
            return None;
        };
        let port = |port: &Option<At<super::test_document::Port>>| port.as_ref().map(|p| p.value.0);
        let (source_port, port) = match number.has_ports() {
            true => (port(&doc.source_port).unwrap_or(SOURCE_PORT), port(&doc.port)?),
            false => (0, 0),
        };
        Some(InlineFlow {
            place: doc.place,
            description: doc.description.as_ref().map(|text| text.value.0.clone()),
            from: doc.from.as_ref().and_then(|name| self.segment(name)),
            to: doc.to.as_ref().and_then(|name| self.segment(name)),
            endpoint: doc.endpoint.as_ref().map(|endpoint| endpoint.value),
            proxy_endpoint: doc.proxy_endpoint.as_ref().map(|endpoint| endpoint.value),
            tuple: FiveTuple {
                src: Addr::from(doc.source.as_ref()?.value.0),
                dst: Addr::from(doc.destination.as_ref()?.value.0),
                src_port: source_port,
                dst_port: port,
                protocol: number,
            },
            icmp: icmp(number, doc.icmp.as_ref()),
            app: doc.app.as_ref().map(|app| app.value),
            domain: doc.domain.as_ref().map(|name| name.value.0.clone()),
            dns: doc.dns.as_ref().map(|name| name.value.0.clone()),
            answer: doc.answer.as_ref().map(|answer| Addr::from(answer.value.0)),
            api_id: doc.api_id.as_ref().map(|id| id.value.clone()),
            tls_version: doc.tls_version.as_ref().map(|version| version.value),
            client_certificate: doc.client_certificate.as_ref().map(presented),
            at: doc.at.as_ref().map(|at| at.value),
            expected: Expected {
                verdict: outcomes(doc.verdict.as_ref()),
                rule: doc.rule.as_ref().and_then(|rule| self.rule(rule)),
                reason: doc.reason.as_ref().map(|reason| reason.value),
                ..Expected::default()
            },
        })
    }

    /// What a written flow lacks, or cannot be.
    fn check_flow(&mut self, doc: &FlowDoc) {
        let protocol = doc.protocol.as_ref().and_then(|protocol| protocol.value.0);
        let mut wrong = |place: Place, text: &str, label: &str, help: &str| {
            self.findings.push(Diagnostic::error("bad-flow", text).at(place, label).help(help));
        };
        if protocol.is_some_and(Protocol::has_ports) && doc.port.is_none() {
            let text = "this flow needs `port`";
            wrong(doc.place, text, "`port` is missing here", "name the destination port");
        }
        if let (Some(source), Some(destination)) = (&doc.source, &doc.destination)
            && source.value.0.is_ipv4() != destination.value.0.is_ipv4()
        {
            let text = "source and destination are of different families";
            wrong(
                destination.place,
                text,
                "not the family of the source",
                "write both as IPv4 or both as IPv6",
            );
        }
        if let (Some(domain), Some(_)) = (&doc.domain, &doc.dns) {
            let text = "a flow asks for a name, or asks DNS for one";
            wrong(domain.place, text, "this and `dns`", "write two flows");
        }
        if let Some(answer) = doc.answer.as_ref().filter(|_| doc.dns.is_none()) {
            let text = "`answer` answers a DNS question";
            wrong(answer.place, text, "nothing is asked", "add `dns`");
        }
        if let Some(id) = doc.api_id.as_ref()
            && doc.app.as_ref().is_none_or(|app| app.value != AppMatch::Http)
        {
            let text = "`api_id` is a field of HTTP requests in clear text";
            wrong(id.place, text, "of what request?", "write `app: http`, and `domain`");
        }
        if let (Some(written), Some(protocol)) = (&doc.app, protocol.filter(|p| p.has_ports()))
            && let Some((app, other)) = not_over(written.value, protocol)
        {
            let text = format!("{app} is carried by {other}, not by {protocol}");
            let help = format!("write `protocol: {other}`, or another `app`");
            wrong(written.place, &text, "not over this protocol", &help);
        }
        let named = doc.domain.is_some() || doc.dns.is_some() || doc.app.is_some();
        if named && protocol.is_some_and(|protocol| !protocol.has_ports()) {
            let text = "only tcp and udp carry names";
            wrong(doc.place, text, "this flow", "remove `domain`, `dns` and `app`");
        }
    }

    fn rule(&mut self, written: &At<Name>) -> Option<String> {
        let name = &written.value.0;
        let rules = || self.ruleset.policy.rules().iter().map(|rule| &*rule.name);
        if rules().any(|rule| rule == name) {
            return Some(name.clone());
        }
        let near = nearest(name, rules()).map(str::to_owned);
        let text = format!("the ruleset has no rule `{}`", clip(name));
        let finding = Diagnostic::error("unknown-rule", text).at(written.place, "unknown");
        self.findings.push(match near {
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => finding.help("`reason: otherwise` is for flows that no rule decides"),
        });
        None
    }

    fn segment(&mut self, written: &At<Name>) -> Option<String> {
        let name = &written.value.0;
        let segments = || self.ruleset.policy.segments().iter().map(|segment| &*segment.name);
        if segments().any(|segment| segment == name) {
            return Some(name.clone());
        }
        let near = nearest(name, segments()).map(str::to_owned);
        let text = format!("the ruleset has no segment `{}`", clip(name));
        let finding = Diagnostic::error("unknown-segment", text).at(written.place, "unknown");
        self.findings.push(match near {
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => finding.help("segments are defined under `segments:` of the ruleset"),
        });
        None
    }

    fn segments(&mut self, list: Option<&OneOrMany<At<Name>>>) -> Vec<String> {
        list.into_iter().flat_map(|list| &list.items).filter_map(|n| self.segment(n)).collect()
    }

    fn names(&mut self, written: &[At<Domain>]) -> Named {
        let patterns = written.iter().map(|name| name.value.0.clone());
        let texts: Vec<String> =
            written.iter().map(|name| one_line(self.sources.slice(name.place))).collect();
        let set = NameSet::build(patterns).unwrap_or_else(|fault| {
            let finding = Diagnostic::error("limit-names", fault.to_string());
            let place = written.first().map(|name| name.place).unwrap_or_default();
            self.findings.push(finding.at(place, "this one"));
            NameSet::default()
        });
        Named { set, text: texts.join(", ") }
    }
}

/// An application that a protocol does not carry: its name, and the protocol that does.
fn not_over(app: AppMatch, protocol: Protocol) -> Option<(&'static str, Protocol)> {
    let apps = [App::Tls, App::Quic, App::Http, App::Dns];
    let app = apps.into_iter().find(|known| app.is(*known))?;
    let other = [Protocol::TCP, Protocol::UDP].into_iter().find(|p| app.carried_by(*p))?;
    (!app.carried_by(protocol)).then_some((app.name(), other))
}

fn items<T>(list: &Option<List<T>>) -> &[T] {
    list.as_ref().map_or(&[], |list| list.items.as_slice())
}

fn all<T>(list: Option<&OneOrMany<At<T>>>) -> impl Iterator<Item = &T> {
    list.into_iter().flat_map(|list| &list.items).map(|item| &item.value)
}

fn outcomes(list: Option<&OneOrMany<At<Outcome>>>) -> Vec<Outcome> {
    all(list).copied().collect()
}

/// The message of an ICMP flow: its number in this protocol, or an echo request.
fn icmp(protocol: Protocol, word: Option<&At<IcmpWord>>) -> Option<(u8, u8)> {
    let v6 = match protocol {
        Protocol::ICMP => false,
        Protocol::ICMPV6 => true,
        _ => return None,
    };
    let echo = if v6 { 128 } else { 8 };
    Some(match word.map(|word| word.value) {
        None => (echo, 0),
        Some(IcmpWord::Number(number)) => (number.kind, number.code.unwrap_or(0)),
        Some(IcmpWord::Named { v4, v6: six, .. }) => (if v6 { six } else { v4 }.unwrap_or(echo), 0),
    })
}

fn presented(doc: &PresentedDoc) -> Presented {
    let mut certificate = Presented::default();
    let PresentedDoc::Like(PresentedFields { subject, issuer, san, until, .. }) = doc else {
        return certificate;
    };
    if let Some(subject) = subject {
        certificate.subject.clone_from(&subject.value.0);
    }
    if let Some(issuer) = issuer {
        certificate.issuer.clone_from(&issuer.value.0);
    }
    certificate.until = until.as_ref().map(|until| until.value);
    certificate.names = all(san.as_ref()).map(|host| host.0.clone()).collect();
    certificate
}

/// A written text on one line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
