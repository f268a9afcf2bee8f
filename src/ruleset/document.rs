//! The fields of a ruleset document: the written language, from which readers and JSON Schema come.
//! Says nothing about whether a document makes sense.

use super::decode::{Decode, Fault, List, OneOrMany, Reading, Scalar, Table, record};
use super::scalar::{Date, Name, ProtocolWord, SchemaVersion, Sha256, Size, Text, clip};
use super::source::{At, Place};
use super::yaml::{Node, Value};
use crate::model::{Action, EndpointId, Ja4, Span, TlsVersion};
use crate::policy::spec::{
    Answer, AppMatch, EncryptedClientHello, FlowLog, FragmentMode, IcmpMatch, Midstream, Mode,
    PortRange, SegmentKind, Selector,
};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

record! {
    /// One document of a lockgate ruleset.
    Document("document", "") {
        /// Version of the rule language; 1.
        required lockgate: At<SchemaVersion>,
        /// Who packets belong to, by name.
        optional segments: Table<Name, SegmentDoc>,
        /// Endpoints whose traffic is told apart by address alone, or `any`.
        optional common_endpoints: CommonDoc,
        /// Named lists of one kind of thing; `$name` uses them.
        optional sets: Table<Name, SetDoc>,
        /// Who may talk to whom, and how.
        optional policies: List<PolicyDoc>,
        /// What must never be possible; proved when the ruleset is compiled.
        optional guardrails: List<GuardrailDoc>,
        /// What stands where nothing else is said.
        optional defaults: DefaultsDoc,
    }
}

record! {
    /// A segment.
    SegmentDoc("segment", "") {
        /// partner, workload or shared.
        required kind: At<SegmentKind>,
        /// Selectable by policies as `key:value`.
        optional labels: Table<Name, At<Name>>,
        /// GWLB endpoints whose packets are in this segment's scope (GENEVE option type 1).
        optional endpoints: List<At<EndpointId>>,
        /// Networks it holds; a partner without any has every address that nobody else holds.
        optional networks: List<At<Term<IpNet>>>,
        /// PrivateLink endpoints that stand for it in PROXY protocol headers.
        optional proxy_endpoints: List<At<EndpointId>>,
        /// Whether the PROXY protocol headers it sends are believed.
        optional trusted_proxy: At<bool>,
        /// What is reserved for it.
        optional limits: LimitsDoc,
        /// Its own answer to flows met in the middle.
        optional midstream: At<Midstream>,
        /// Who to ask.
        optional owner: At<Text>,
        /// For people.
        optional description: At<Text>,
    }
}

record! {
    /// Reservations of a segment.
    LimitsDoc("limits", "") {
        /// Flows at one time.
        optional flows: At<u64>,
        /// New flows in one second.
        optional new_flows_per_second: At<u64>,
        /// Bytes of held packets.
        optional held_bytes: At<Size>,
    }
}

record! {
    /// A named list of one kind of thing.
    SetDoc("set", "") {
        /// Names.
        optional domains: List<At<Term<Domain>>>,
        /// A text file of names, one a line, relative to the ruleset folder.
        optional domains_file: At<Text>,
        /// Networks.
        optional networks: List<At<Term<IpNet>>>,
        /// A text file of networks, one a line, relative to the ruleset folder.
        optional networks_file: At<Text>,
        /// Ports and ranges of ports.
        optional ports: List<At<Term<PortRange>>>,
        /// For people.
        optional description: At<Text>,
    }
}

record! {
    /// The rules between two groups of segments.
    PolicyDoc("policy", "") {
        /// A segment, a list, a label (`lane:prod`), a kind (`kind:partner`) or `any`.
        required from: OneOrMany<At<Selector>>,
        /// A segment, a list, a label (`lane:prod`), a kind (`kind:partner`) or `any`.
        required to: OneOrMany<At<Selector>>,
        /// enforce, or monitor: record what enforcing would do.
        optional mode: At<Mode>,
        /// Tried in order; the first that is not false decides.
        optional rules: List<RuleDoc>,
        /// Where no rule is true; deny if left out.
        optional otherwise: At<Action>,
        /// For people.
        optional description: At<Text>,
    }
}

record! {
    /// A rule. A field that is left out matches everything.
    RuleDoc("rule", "id") {
        /// Its name, unique over the ruleset.
        required id: At<Name>,
        /// For people.
        optional description: At<Text>,
        /// allow, deny or reject.
        required action: At<Action>,
        /// tcp, udp, icmp, icmpv6, any, a number, or a list of these.
        optional protocol: OneOrMany<At<ProtocolWord>>,
        /// Source networks and sets.
        optional sources: List<At<Term<IpNet>>>,
        /// Source ports, ranges and sets.
        optional source_ports: List<At<Term<PortRange>>>,
        /// Destination networks and sets.
        optional destinations: List<At<Term<IpNet>>>,
        /// Destination ports, ranges and sets.
        optional ports: List<At<Term<PortRange>>>,
        /// ICMP types, each as number, `type/code` or name.
        optional icmp: List<At<IcmpWord>>,
        /// The application protocol, told from the bytes.
        optional app: At<AppMatch>,
        /// The name the client asks for (SNI, Host, :authority).
        optional domains: List<At<Term<Domain>>>,
        /// Names in DNS questions.
        optional dns: List<At<Term<Domain>>>,
        /// `dns`: the destination must be an unexpired DNS answer for the name.
        optional bind: At<Bind>,
        /// What TLS must tell.
        optional tls: TlsDoc,
        /// The answer of this rule's conditions on facts that were missed; deny if left out.
        optional midstream: At<Answer>,
        /// Last day (UTC) on which the rule stands; only on allow.
        optional expires: At<Date>,
        /// When its flows are recorded; end if left out.
        optional log: At<FlowLog>,
        /// Where the change was asked for.
        optional ticket: At<Text>,
    }
}

record! {
    /// What TLS must tell.
    TlsDoc("tls", "") {
        /// Lowest version the server may choose.
        optional min_version: At<TlsVersion>,
        /// `required`, or what the client's certificate must be.
        optional client_certificate: CertificateDoc,
        /// Fingerprints of the hello, any of which is enough.
        optional ja4: OneOrMany<At<Ja4>>,
    }
}

record! {
    /// What the client's certificate must be.
    CertificateFields("client_certificate", "") {
        /// Issuers in RFC 4514 form.
        optional issuer: OneOrMany<At<Text>>,
        /// Subject alternative names.
        optional san: OneOrMany<At<Text>>,
        /// SHA-256 of the certificate.
        optional sha256: OneOrMany<At<Sha256>>,
    }
}

record! {
    /// What must never be possible.
    GuardrailDoc("guardrail", "") {
        /// The traffic no rule may allow.
        required never: NeverDoc,
        /// For people.
        optional description: At<Text>,
    }
}

record! {
    /// Traffic that no rule may allow.
    NeverDoc("never", "") {
        /// Senders.
        required from: OneOrMany<At<Selector>>,
        /// Receivers.
        required to: OneOrMany<At<Selector>>,
        /// Only these protocols; every one if left out.
        optional protocol: OneOrMany<At<ProtocolWord>>,
        /// Only these destination ports; every one if left out.
        optional ports: List<At<Term<PortRange>>>,
        /// `names`: only where no name (domains or dns) is asked for.
        optional without: At<Without>,
    }
}

record! {
    /// What stands where nothing else is said.
    DefaultsDoc("defaults", "") {
        /// For packets that belong to no segment: deny or reject.
        optional unknown_segment: At<Action>,
        /// track or deny.
        optional fragments: At<FragmentMode>,
        /// deny, reject, allow or adopt.
        optional midstream: At<Midstream>,
        /// outer-name: judge by the name in the clear; or deny.
        optional encrypted_client_hello: At<EncryptedClientHello>,
        /// TLS 1.3 and resumed sessions: deny or allow.
        optional client_certificate_not_visible: At<Answer>,
        /// How long a flow may be pending; below 30 s.
        optional pending_timeout: At<Span>,
        /// How much one pending flow may hold.
        optional held_bytes_per_flow: At<Size>,
        /// When idle flows end.
        optional timeouts: TimeoutsDoc,
    }
}

record! {
    /// When idle flows end.
    TimeoutsDoc("timeouts", "") {
        /// TCP: as the load balancer's listener, 60 s to 6000 s.
        optional tcp_idle: At<Span>,
        /// Everything else; GWLB's is 120 s.
        optional udp: At<Span>,
    }
}

/// A value, or a set of them as `$name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term<T> {
    /// A set's name.
    Set(Name),
    /// A value.
    Value(T),
}

impl<T: Scalar> Scalar for Term<T> {
    const WHAT: &'static str = T::WHAT;

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.strip_prefix('$') {
            Some(name) => Name::parse(name).map(Self::Set),
            None => T::parse(text).map(Self::Value),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "pattern": "^\\$[A-Za-z0-9][A-Za-z0-9._-]*$" },
            T::schema(),
        ] })
    }
}

/// A name pattern as it was written; `names` gives it its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain(pub(super) String);

impl Scalar for Domain {
    const WHAT: &'static str = "name";

    fn parse(text: &str) -> Result<Self, Fault> {
        super::names::normal_form(text).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl Scalar for Selector {
    const WHAT: &'static str = "segment";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text == "any" {
            return Ok(Self::Any);
        }
        match text.split_once(':') {
            Some(("kind", kind)) => SegmentKind::parse(kind).map(Self::Kind),
            Some((key, value)) => {
                Ok(Self::Label(Name::parse(key)?.0, Name::parse(value)?.0))
            }
            None => Name::parse(text).map(|name| Self::Segment(name.0)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*(:[A-Za-z0-9][A-Za-z0-9._-]*)?$" })
    }
}

/// An ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IcmpWord {
    /// A type, with or without code.
    Number(IcmpMatch),
    /// A name: the numbers in ICMP (RFC 792) and in ICMPv6 (RFC 4443).
    Named { word: &'static str, v4: Option<u8>, v6: Option<u8> },
}

const ICMP_NAMES: [(&str, Option<u8>, Option<u8>); 6] = [
    ("echo-reply", Some(0), Some(129)),
    ("echo-request", Some(8), Some(128)),
    ("destination-unreachable", Some(3), Some(1)),
    ("packet-too-big", None, Some(2)),
    ("time-exceeded", Some(11), Some(3)),
    ("parameter-problem", Some(12), Some(4)),
];

impl Scalar for IcmpWord {
    const WHAT: &'static str = "ICMP type";

    fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(&(word, v4, v6)) = ICMP_NAMES.iter().find(|(word, ..)| *word == text) {
            return Ok(Self::Named { word, v4, v6 });
        }
        let byte = |s: &str| s.parse::<u8>().ok().filter(|_| s.bytes().all(|b| b.is_ascii_digit()));
        let read = match text.split_once('/') {
            None => byte(text).map(|kind| IcmpMatch { kind, code: None }),
            Some((kind, code)) => {
                byte(kind).zip(byte(code)).map(|(kind, code)| IcmpMatch { kind, code: Some(code) })
            }
        };
        let names = ICMP_NAMES.map(|(word, ..)| word);
        read.map(Self::Number).ok_or_else(|| Fault::word(Self::WHAT, text, &names))
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ICMP_NAMES.map(|(word, ..)| word) },
            { "type": "integer", "minimum": 0, "maximum": 255 },
            { "type": "string", "pattern": "^[0-9]{1,3}/[0-9]{1,3}$" },
        ] })
    }
}

/// What a name is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bind;
super::decode::words!("bind", Bind { "dns" => Self, });

/// What a guardrail's traffic does without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Without;
super::decode::words!("without", Without { "names" => Self, });

/// `any`, or a list of endpoints.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum CommonDoc {
    /// Every endpoint that no segment lists.
    Any(Place),
    /// These.
    List(List<At<EndpointId>>),
}

impl CommonDoc {
    pub(super) const fn place(&self) -> Place {
        match self {
            Self::Any(place) => *place,
            Self::List(list) => list.place,
        }
    }
}

impl Decode for CommonDoc {
    const WHAT: &'static str = "common_endpoints";

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        match &node.value {
            Value::List(_) => List::decode(node, reading).map(Self::List),
            Value::Text(text) if text == "any" => Some(Self::Any(node.place)),
            _ => {
                let what = node.text().map_or_else(|| node.kind().to_owned(), |t| format!("`{}`", clip(t)));
                let message = format!("common_endpoints is `any` or a list of endpoint ids, not {what}");
                reading.error(node.place, Fault::new("wrong-kind", message)
                    .help("write `any` or a list, such as [vpce-0fedcba9876543210]"));
                None
            }
        }
    }
}

impl JsonSchema for CommonDoc {
    fn schema_name() -> Cow<'static, str> {
        "common-endpoints".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "any" }, { "type": "array", "items": EndpointId::schema() }] })
    }
}

/// `required`, or what a certificate must be.
#[derive(Clone, Debug)]
pub(super) enum CertificateDoc {
    /// Any certificate.
    Required,
    /// One like this.
    Like(CertificateFields),
}

impl Decode for CertificateDoc {
    const WHAT: &'static str = "client_certificate";

    fn decode(node: &Node, reading: &mut Reading) -> Option<Self> {
        match node.text() {
            Some("required") => Some(Self::Required),
            Some(other) => {
                let fault = Fault::new("unknown-word", format!("client_certificate is not `{}`", clip(other)));
                let help = "write `required`, or a mapping with issuer, san or sha256";
                reading.error(node.place, fault.help(help));
                None
            }
            None => CertificateFields::decode(node, reading).map(Self::Like),
        }
    }
}

impl JsonSchema for CertificateDoc {
    fn schema_name() -> Cow<'static, str> {
        "client-certificate-condition".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "required" }, generator.subschema_for::<CertificateFields>()] })
    }
}
