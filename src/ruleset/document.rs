//! The fields of a ruleset document: the written language, from which readers and JSON Schema come.
//! Says nothing about whether a document makes sense.

use super::collection::{List, OneOrMany, Table};
use super::decode::record;
use super::quantity::{Date, Size};
use super::scalar::{Name, ProtocolWord, SchemaVersion, Sha256, Text};
use super::source::At;
use super::term::{Bind, CertificateDoc, CommonDoc, Domain, IcmpWord, Term, Without};
use crate::model::{Action, ApiId, EndpointId, Ja4, Span, TlsVersion};
use crate::policy::spec::{
    Answer, AppMatch, EncryptedClientHello, FlowLog, FragmentMode, Midstream, Mode, PortRange,
    SegmentKind, Selector,
};
use ipnet::IpNet;

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
        /// A text file of further ones, one a line, relative to the ruleset folder.
        optional endpoints_file: At<Text>,
        /// Networks it holds; a partner without any has every address that nobody else holds.
        optional networks: List<At<Term<IpNet>>>,
        /// PrivateLink endpoints that stand for it in PROXY protocol headers.
        optional proxy_endpoints: List<At<EndpointId>>,
        /// A text file of further ones, one a line, relative to the ruleset folder.
        optional proxy_endpoints_file: At<Text>,
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
        /// Networks that DNS answers to these questions may lead to; only with `dns`.
        optional answers: List<At<Term<IpNet>>>,
        /// APIs a request in clear text names by `x-apigw-api-id`.
        optional api_id: OneOrMany<At<ApiId>>,
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
        /// `true`: it is valid, by its own dates, when it is shown.
        optional in_date: At<bool>,
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
