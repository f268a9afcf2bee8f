//! The fields of a test file: what a ruleset is expected to do with the flows of a capture, or with
//! flows that are written down. Says nothing about whether they make sense together.

use super::collection::{List, OneOrMany};
use super::decode::{Decode, Fault, Reading, Scalar, record};
use super::quantity::Date;
use super::scalar::{Name, ProtocolWord, Text, clip};
use super::source::At;
use super::suggest::nearest;
use super::term::{Domain, IcmpWord};
use super::yaml::Node;
use crate::model::{ApiId, EndpointId, Reason, TlsVersion};
use crate::policy::spec::{AppMatch, PortRange};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::net::IpAddr;

record! {
    /// Expectations of a lockgate ruleset.
    TestDocument("test", "") {
        /// Version of the language of tests; 1.
        required lockgate_test as "lockgate-test": At<TestVersion>,
        /// For people.
        optional description: At<Text>,
        /// A capture (pcap or pcapng, plain or packed), relative to the ruleset folder.
        optional capture: At<Text>,
        /// Whose traffic a capture without GWLB encapsulation is.
        optional taken_as as "as": AsDoc,
        /// The day (UTC) on which the flows are judged; a capture's own time if left out.
        optional at: At<Date>,
        /// What is expected of the flows of the capture.
        optional expect: List<ExpectDoc>,
        /// Flows without a capture, and what is expected of each.
        optional flows: List<FlowDoc>,
    }
}

record! {
    /// Whose traffic a capture is.
    AsDoc("as", "") {
        /// The GWLB endpoint it would have come through.
        required endpoint: At<EndpointId>,
    }
}

record! {
    /// What is expected of some flows of the capture: one of `flow`, `flows` and `rest`, and what
    /// each of them must be.
    ExpectDoc("expectation", "") {
        /// For people.
        optional description: At<Text>,
        /// Flows by their addresses: `10.20.1.5 -> 10.100.4.7:443/tcp`.
        optional flow: At<FlowPattern>,
        /// Flows by what is known of them.
        optional flows: SelectDoc,
        /// The verdict of every flow that no other expectation selects.
        optional rest: OneOrMany<At<Outcome>>,
        /// allow, deny, reject or pending, or a list of those that are right.
        optional verdict: OneOrMany<At<Outcome>>,
        /// The rule that decided.
        optional rule: At<Name>,
        /// Why.
        optional reason: At<Reason>,
        /// The name that was asked for.
        optional domain: At<Domain>,
        /// The name in a DNS question.
        optional dns: At<Domain>,
        /// How many flows are selected; at least one if left out.
        optional count: At<u64>,
    }
}

record! {
    /// Flows by what is known of them; all fields given must fit.
    SelectDoc("selector", "") {
        /// The segment that opened the flow.
        optional from: OneOrMany<At<Name>>,
        /// The other segment.
        optional to: OneOrMany<At<Name>>,
        /// The GWLB endpoint.
        optional endpoint: OneOrMany<At<EndpointId>>,
        /// Source networks.
        optional source: OneOrMany<At<IpNet>>,
        /// Source ports.
        optional source_port: OneOrMany<At<PortRange>>,
        /// Destination networks.
        optional destination: OneOrMany<At<IpNet>>,
        /// Destination ports.
        optional port: OneOrMany<At<PortRange>>,
        /// Protocols.
        optional protocol: OneOrMany<At<ProtocolWord>>,
        /// The application protocol.
        optional app: At<AppMatch>,
        /// A name that was asked for is one of these.
        optional domain: OneOrMany<At<Domain>>,
        /// A name in a DNS question is one of these.
        optional dns: OneOrMany<At<Domain>>,
        /// The rule that decided.
        optional rule: OneOrMany<At<Name>>,
        /// The verdict.
        optional verdict: OneOrMany<At<Outcome>>,
        /// Why.
        optional reason: OneOrMany<At<Reason>>,
    }
}

record! {
    /// A flow without a capture, and what is expected of it.
    FlowDoc("flow", "") {
        /// For people.
        optional description: At<Text>,
        /// The segment it comes from; its first endpoint is used.
        optional from: At<Name>,
        /// The segment it goes to.
        optional to: At<Name>,
        /// The GWLB endpoint it comes through, where it is not the first of the partner's.
        optional endpoint: At<EndpointId>,
        /// The PrivateLink endpoint a PROXY protocol header names.
        optional proxy_endpoint: At<EndpointId>,
        /// Source address.
        required source: At<Address>,
        /// Source port.
        optional source_port: At<Port>,
        /// Destination address.
        required destination: At<Address>,
        /// Destination port.
        optional port: At<Port>,
        /// tcp, udp, icmp, icmpv6 or a number.
        required protocol: At<ProtocolWord>,
        /// ICMP type; echo-request if left out.
        optional icmp: At<IcmpWord>,
        /// tls, http, quic or dns; where a name is given tls over tcp, quic over udp.
        optional app: At<AppMatch>,
        /// The name the client asks for.
        optional domain: At<Host>,
        /// The name in the DNS question.
        optional dns: At<Host>,
        /// The address its DNS question is answered with; none if left out.
        optional answer: At<Address>,
        /// The API its HTTP request names in `x-apigw-api-id`.
        optional api_id: At<ApiId>,
        /// The TLS version the server chooses; 1.3 if left out, 1.2 with a client certificate.
        optional tls_version: At<TlsVersion>,
        /// The client's certificate; none if left out.
        optional client_certificate: PresentedDoc,
        /// The day (UTC) on which it is judged.
        optional at: At<Date>,
        /// allow, deny or reject, or a list of those that are right.
        required verdict: OneOrMany<At<Outcome>>,
        /// The rule that decides.
        optional rule: At<Name>,
        /// Why.
        optional reason: At<Reason>,
    }
}

record! {
    /// A client certificate.
    PresentedFields("client certificate", "") {
        /// Common name of the subject; `client` if left out.
        optional subject: At<Text>,
        /// Common name of the issuer; `lockgate test` if left out.
        optional issuer: At<Text>,
        /// DNS names.
        optional san: OneOrMany<At<Host>>,
        /// Last day (UTC) on which it is valid; 2049-12-31 if left out.
        optional until: At<Date>,
    }
}

/// What is said of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Allowed.
    Allow,
    /// Denied.
    Deny,
    /// Rejected.
    Reject,
    /// Undecided when the capture ended.
    Pending,
}

impl Outcome {
    /// The word used in tests and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Pending => "pending",
        }
    }
}

super::decode::words!("verdict", Outcome {
    "allow" => Self::Allow, "deny" => Self::Deny, "reject" => Self::Reject, "pending" => Self::Pending,
});

/// The version of the language of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TestVersion;

impl Scalar for TestVersion {
    const WHAT: &'static str = "version of tests";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "1" {
            return Ok(Self);
        }
        Err(Fault::new("schema-version", format!("version `{}` of tests is not known", clip(text)))
            .help("write `lockgate-test: 1`"))
    }

    fn schema() -> Schema {
        json_schema!({ "const": 1 })
    }
}

impl Scalar for Reason {
    const WHAT: &'static str = "reason";

    fn parse(text: &str) -> Result<Self, Fault> {
        let known = || Self::ALL.iter().map(|reason| reason.name());
        if let Some(&reason) = Self::ALL.iter().find(|reason| reason.name() == text) {
            return Ok(reason);
        }
        let fault = Fault::new("unknown-word", format!("`{}` is no reason", clip(text)));
        let fault = fault.label("unknown");
        Err(match nearest(text, known()) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("docs/reasons.md has all reasons"),
        })
    }

    fn schema() -> Schema {
        let names: Vec<&str> = Self::ALL.iter().map(|reason| reason.name()).collect();
        json_schema!({ "enum": names })
    }
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) IpAddr);

impl Scalar for Address {
    const WHAT: &'static str = "address";

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map(Self).map_err(|_| {
            Fault::new("bad-address", format!("`{}` is no address", clip(text)))
                .help("write one address, such as 10.20.1.5 or \"2001:db8::5\"")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+$" })
    }
}

/// A single port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(pub(super) u16);

impl Scalar for Port {
    const WHAT: &'static str = "port";

    fn parse(text: &str) -> Result<Self, Fault> {
        let PortRange { first, last } = PortRange::parse(text)?;
        if first == last {
            return Ok(Self(first));
        }
        Err(Fault::new("bad-port", format!("`{}` is a range", clip(text)))
            .help("a flow has one port; write a flow for each port that matters"))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": 65535 })
    }
}

/// A name a client asks for: no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host(pub(super) String);

impl Scalar for Host {
    const WHAT: &'static str = "name";

    fn parse(text: &str) -> Result<Self, Fault> {
        use crate::policy::names::NamePattern;
        match super::names::parse(text)? {
            NamePattern::Exact(name) => Ok(Self(name.into())),
            _ => Err(Fault::new("bad-domain", format!("`{}` is a pattern", clip(text)))
                .help("a flow asks for one name; write that name")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// One side of a [`FlowPattern`]; what is `None` may be anything.
pub type Side = (Option<IpAddr>, Option<u16>);

/// Flows by addresses, as tests and `explain` write them: `10.20.1.5 -> 10.100.4.7:443/tcp`. Ports
/// and protocol may be left out; `any` stands for every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowPattern {
    /// The side that opened the flow.
    pub source: Side,
    /// The other side.
    pub destination: Side,
    /// The protocol.
    pub protocol: Option<crate::model::Protocol>,
}

impl std::fmt::Display for FlowPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let side = |f: &mut std::fmt::Formatter<'_>, (address, port): Side| match (address, port) {
            (None, None) => f.write_str("any"),
            (None, Some(port)) => write!(f, "any:{port}"),
            (Some(address), None) => write!(f, "{address}"),
            (Some(IpAddr::V6(address)), Some(port)) => write!(f, "[{address}]:{port}"),
            (Some(address), Some(port)) => write!(f, "{address}:{port}"),
        };
        side(f, self.source)?;
        f.write_str(" -> ")?;
        side(f, self.destination)?;
        self.protocol.map_or(Ok(()), |protocol| write!(f, "/{protocol}"))
    }
}

impl std::str::FromStr for FlowPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A line of `replay` has it with a lone `>`.
        let (source, rest) = text
            .split_once("->")
            .or_else(|| text.split_once('>'))
            .ok_or("there is no `->` between source and destination")?;
        let (destination, protocol) = match rest.rsplit_once('/') {
            None => (rest, None),
            Some((destination, word)) => match ProtocolWord::parse(word.trim()) {
                Ok(ProtocolWord(protocol)) => (destination, protocol),
                Err(_) => return Err(format!("`{}` is no protocol", clip(word.trim()))),
            },
        };
        Ok(Self { source: side(source)?, destination: side(destination)?, protocol })
    }
}

fn side(text: &str) -> Result<Side, String> {
    let text = text.trim();
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err(format!("`{}` is no port", clip(port))),
        },
        None if text.parse::<IpAddr>().is_ok() => (text, None),
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let address = match host {
        "any" => None,
        _ => Some(host.parse().map_err(|_| format!("`{}` is no address", clip(host)))?),
    };
    let read = |port: &str| port.parse().map_err(|_| format!("`{}` is no port", clip(port)));
    Ok((address, port.map(read).transpose()?))
}

impl Scalar for FlowPattern {
    const WHAT: &'static str = "flow";

    fn parse(text: &str) -> Result<Self, Fault> {
        text.parse().map_err(|why: String| {
            Fault::new("bad-flow", format!("`{}` is no flow", clip(text))).label(why).help(
                "write \"10.20.1.5 -> 10.100.4.7:443/tcp\"; ports and protocol may be left out",
            )
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "->" })
    }
}

/// `present`, or what the certificate says.
#[derive(Clone, Debug)]
pub(super) enum PresentedDoc {
    /// Any certificate.
    Any,
    /// One that says this.
    Like(PresentedFields),
}

impl Decode for PresentedDoc {
    const WHAT: &'static str = "client_certificate";

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        match node.text() {
            Some("present") => Some(Self::Any),
            Some(other) => {
                let text = format!("client_certificate is not `{}`", clip(other));
                let help = "write `present`, or a mapping with subject, issuer, san or until";
                reading.error(node.place, Fault::new("unknown-word", text).help(help));
                None
            }
            None => PresentedFields::decode(node, reading).map(Self::Like),
        }
    }
}

impl JsonSchema for PresentedDoc {
    fn schema_name() -> Cow<'static, str> {
        "presented-certificate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "present" }, generator.subschema_for::<PresentedFields>()] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    #[test]
    fn flows_are_written_with_as_much_as_is_known() {
        let v4 = |a, b, c, d| Some(IpAddr::from([a, b, c, d]));
        for (text, source, destination, protocol) in [
            (
                "10.20.1.5 -> 10.100.4.7:443/tcp",
                (v4(10, 20, 1, 5), None),
                (v4(10, 100, 4, 7), Some(443)),
                Some(Protocol::TCP),
            ),
            ("10.20.1.5:4000->any", (v4(10, 20, 1, 5), Some(4000)), (None, None), None),
            ("10.20.1.5:4000 > any", (v4(10, 20, 1, 5), Some(4000)), (None, None), None),
            ("any:1 -> any:2/17", (None, Some(1)), (None, Some(2)), Some(Protocol::UDP)),
            (
                "2001:db8::5 -> [2001:db8::7]:443/any",
                ("2001:db8::5".parse().ok(), None),
                ("2001:db8::7".parse().ok(), Some(443)),
                None,
            ),
        ] {
            let pattern = FlowPattern { source, destination, protocol };
            assert_eq!(text.parse(), Ok(pattern), "{text}");
            assert_eq!(pattern.to_string().parse(), Ok(pattern), "{text}");
        }
    }

    #[test]
    fn what_is_no_flow_says_why() {
        for (text, why) in [
            ("10.20.1.5", "there is no `->` between source and destination"),
            ("10.20.1.5 -> x:443", "`x` is no address"),
            ("10.20.1.5 -> 10.0.0.1:https/tcp", "`https` is no port"),
            ("10.20.1.5 -> 10.0.0.1/tpc", "`tpc` is no protocol"),
            ("-> 10.0.0.1", "`` is no address"),
        ] {
            assert_eq!(text.parse::<FlowPattern>(), Err(why.to_owned()), "{text}");
        }
    }
}
