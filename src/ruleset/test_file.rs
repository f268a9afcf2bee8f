//! Test files as a checked model: what is expected of which flows. Read by `test_reader`; judges no
//! flow.

use super::quantity::Date;
use super::source::{FileId, Place, Sources};
use crate::model::{Addr, ApiId, EndpointId, FiveTuple, Protocol, Reason, TlsVersion};
use crate::policy::names::NameSet;
use crate::policy::spec::{AppMatch, PortRange};
use ipnet::IpNet;
use std::path::PathBuf;

pub use super::test_document::{FlowPattern, Outcome, Side};

/// All test files of a ruleset.
#[derive(Debug, Default)]
pub struct TestSuite {
    /// In the order of their names.
    pub files: Vec<TestFile>,
    /// Their texts.
    pub sources: Sources,
}

/// One test file.
#[derive(Debug)]
pub struct TestFile {
    /// Its text.
    pub file: FileId,
    /// Its capture, and where it is named.
    pub capture: Option<(PathBuf, Place)>,
    /// The endpoint a capture without encapsulation is taken from.
    pub endpoint: Option<EndpointId>,
    /// The day on which it is judged.
    pub at: Option<Date>,
    /// What is expected of the capture's flows.
    pub expect: Vec<Expectation>,
    /// Flows that are written down.
    pub flows: Vec<InlineFlow>,
}

/// What is expected of some flows of a capture.
#[derive(Debug)]
pub struct Expectation {
    /// Where it is written.
    pub place: Place,
    /// For people.
    pub description: Option<String>,
    /// Of which flows.
    pub chosen: Chosen,
    /// What each of them must be.
    pub expected: Expected,
    /// How many there must be; at least one if `None`.
    pub count: Option<u64>,
}

/// The flows of an expectation.
#[derive(Debug)]
pub enum Chosen {
    /// Those with these addresses.
    Flow(FlowPattern),
    /// Those of which this is known.
    Flows(Box<FlowSelector>),
    /// Those no other expectation selects.
    Rest,
}

/// What a flow must be; what is `None` or empty is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The verdicts that are right.
    pub verdict: Vec<Outcome>,
    /// The rule that decides.
    pub rule: Option<String>,
    /// Why.
    pub reason: Option<Reason>,
    /// A name that is asked for.
    pub domain: Option<Named>,
    /// A name in a DNS question.
    pub dns: Option<Named>,
}

/// A set of names and how it was written.
#[derive(Clone, Debug, Default)]
pub struct Named {
    /// The names.
    pub set: NameSet,
    /// As written.
    pub text: String,
}

/// Flows by what is known of them; an empty list is not looked at.
#[derive(Debug, Default)]
pub struct FlowSelector {
    /// As written.
    pub text: String,
    /// Segments that opened the flow.
    pub from: Vec<String>,
    /// The other segments.
    pub to: Vec<String>,
    /// Endpoints.
    pub endpoint: Vec<EndpointId>,
    /// Source networks.
    pub source: Vec<IpNet>,
    /// Source ports.
    pub source_port: Vec<PortRange>,
    /// Destination networks.
    pub destination: Vec<IpNet>,
    /// Destination ports.
    pub port: Vec<PortRange>,
    /// Protocols; every one if empty.
    pub protocol: Vec<Protocol>,
    /// The application protocol.
    pub app: Option<AppMatch>,
    /// Names that were asked for.
    pub domain: Option<Named>,
    /// Names in DNS questions.
    pub dns: Option<Named>,
    /// Rules that decided.
    pub rule: Vec<String>,
    /// Verdicts.
    pub verdict: Vec<Outcome>,
    /// Reasons.
    pub reason: Vec<Reason>,
}

/// A flow without a capture.
#[derive(Clone, Debug)]
pub struct InlineFlow {
    /// Where it is written.
    pub place: Place,
    /// For people.
    pub description: Option<String>,
    /// The segment it comes from.
    pub from: Option<String>,
    /// The segment it goes to.
    pub to: Option<String>,
    /// The endpoint it comes through.
    pub endpoint: Option<EndpointId>,
    /// The PrivateLink endpoint of a PROXY protocol header.
    pub proxy_endpoint: Option<EndpointId>,
    /// Its addresses, ports and protocol.
    pub tuple: FiveTuple,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// The application protocol.
    pub app: Option<AppMatch>,
    /// The name the client asks for.
    pub domain: Option<String>,
    /// The name in the DNS question.
    pub dns: Option<String>,
    /// The address its question is answered with.
    pub answer: Option<Addr>,
    /// The API its request names.
    pub api_id: Option<ApiId>,
    /// The TLS version the server chooses.
    pub tls_version: Option<TlsVersion>,
    /// The client's certificate.
    pub client_certificate: Option<Presented>,
    /// The day on which it is judged.
    pub at: Option<Date>,
    /// What it must be.
    pub expected: Expected,
}

/// A client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// Common name of the subject.
    pub subject: String,
    /// Common name of the issuer.
    pub issuer: String,
    /// DNS names.
    pub names: Vec<String>,
    /// Last day on which it is valid.
    pub until: Option<Date>,
}

impl Default for Presented {
    fn default() -> Self {
        Self {
            subject: "client".into(),
            issuer: "lockgate test".into(),
            names: Vec::new(),
            until: None,
        }
    }
}
