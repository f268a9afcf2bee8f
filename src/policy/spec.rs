//! What a policy is compiled from: plain values, already checked and resolved by whoever reads
//! rulesets. No files, no locations in files beyond one text for reports, no behaviour.
//!
//! `None` in a condition means that it was left out and matches everything; an empty list matches
//! nothing, so that a set that lost its last member never opens a rule.

use super::names::{NameSet, TextPattern};
use crate::model::{Action, ApiId, App, EndpointId, Ja4, Protocol, Span, TlsVersion};
use ipnet::IpNet;
use std::sync::Arc;

/// A whole ruleset.
#[derive(Clone, Debug, Default)]
pub struct PolicySpec {
    /// Segments in the order of their [`crate::model::SegmentId`].
    pub segments: Vec<SegmentSpec>,
    /// Which endpoints are in the common scope.
    pub common: CommonEndpoints,
    /// Policies in the order of their [`crate::model::PolicyId`].
    pub policies: Vec<BlockSpec>,
    /// What stands where nothing else is said.
    pub defaults: DefaultsSpec,
}

/// Endpoints whose traffic is told apart by address alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CommonEndpoints {
    /// None; a packet without encapsulation belongs nowhere.
    #[default]
    None,
    /// Every endpoint that no segment lists, and packets without encapsulation.
    Any,
    /// These.
    List(Vec<EndpointId>),
}

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentKind {
    /// A third party.
    Partner,
    /// An application of one's own.
    Workload,
    /// What everybody uses: resolvers, proxies.
    Shared,
}

impl SegmentKind {
    /// The word used in rules and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Workload => "workload",
            Self::Shared => "shared",
        }
    }
}

/// One segment.
#[derive(Clone, Debug)]
pub struct SegmentSpec {
    /// Its name, unique.
    pub name: String,
    /// What it is.
    pub kind: SegmentKind,
    /// Key and value, selectable by policies.
    pub labels: Vec<(String, String)>,
    /// GWLB endpoints whose packets are in this segment's scope.
    pub endpoints: Vec<EndpointId>,
    /// Networks it holds; none for a partner means every address nobody else holds.
    pub networks: Vec<IpNet>,
    /// PrivateLink endpoints that stand for it in PROXY protocol headers.
    pub proxy_endpoints: Vec<EndpointId>,
    /// Whether its PROXY headers are believed.
    pub trusted_proxy: bool,
    /// What is reserved for it.
    pub limits: LimitsSpec,
    /// Its own answer to flows met in the middle.
    pub midstream: Option<Midstream>,
    /// Who to ask.
    pub owner: Option<String>,
}

impl SegmentSpec {
    /// A segment that holds nothing yet.
    #[must_use]
    pub fn new(name: &str, kind: SegmentKind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            labels: Vec::new(),
            endpoints: Vec::new(),
            networks: Vec::new(),
            proxy_endpoints: Vec::new(),
            trusted_proxy: false,
            limits: LimitsSpec::default(),
            midstream: None,
            owner: None,
        }
    }
}

/// Reservations of a segment; `None` shares the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsSpec {
    /// Flows at one time.
    pub flows: Option<u64>,
    /// New flows in one second.
    pub new_flows_per_second: Option<u64>,
    /// Bytes of held packets.
    pub held_bytes: Option<u64>,
}

/// Whom a policy is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Selector {
    /// A segment by name.
    Segment(String),
    /// Every segment with this label.
    Label(String, String),
    /// Every segment of this kind.
    Kind(SegmentKind),
    /// Every segment.
    Any,
}

/// Whether a policy's decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// They are recorded only; everything passes at once.
    Monitor,
}

/// One policy: who talks to whom, and the rules between them.
#[derive(Clone, Debug)]
pub struct BlockSpec {
    /// Where it stands, for reports (`partners/acme.yaml:12`).
    pub location: String,
    /// Senders of a flow's first packet.
    pub from: Vec<Selector>,
    /// Receivers.
    pub to: Vec<Selector>,
    /// Enforce or monitor.
    pub mode: Mode,
    /// Tried in order.
    pub rules: Vec<RuleSpec>,
    /// What is done where no rule is true.
    pub otherwise: Action,
}

/// Both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

impl PortRange {
    /// A range of one.
    #[must_use]
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether a port is inside.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// ICMP or ICMPv6 messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IcmpMatch {
    /// The type.
    pub kind: u8,
    /// The code; `None` is any.
    pub code: Option<u8>,
}

/// What a rule may ask of the application protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AppMatch {
    /// TLS over a stream.
    Tls,
    /// QUIC.
    Quic,
    /// HTTP in clear text.
    Http,
    /// DNS.
    Dns,
}

impl AppMatch {
    /// Whether this is the protocol.
    #[must_use]
    pub const fn is(self, app: App) -> bool {
        matches!(
            (self, app),
            (Self::Tls, App::Tls)
                | (Self::Quic, App::Quic)
                | (Self::Http, App::Http)
                | (Self::Dns, App::Dns)
        )
    }
}

/// The way a rule, or a default, leans where a fact can no longer be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// Towards forwarding: an allow rule counts as true, a deny or reject rule as false.
    Allow,
    /// Towards dropping: an allow rule counts as false, a deny or reject rule as true.
    #[default]
    Deny,
}

/// When a flow is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlowLog {
    /// Never.
    None,
    /// When it is decided.
    Start,
    /// When it ends.
    #[default]
    End,
    /// Both times.
    Both,
}

impl FlowLog {
    /// Whether a record is made when the flow is decided.
    #[must_use]
    pub const fn at_start(self) -> bool {
        matches!(self, Self::Start | Self::Both)
    }

    /// Whether a record is made when the flow ends.
    #[must_use]
    pub const fn at_end(self) -> bool {
        matches!(self, Self::End | Self::Both)
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleSpec {
    /// Its name, unique over the ruleset.
    pub id: String,
    /// For people.
    pub description: Option<String>,
    /// What it asks for.
    pub action: Action,
    /// Any of these protocols.
    pub protocols: Option<Vec<Protocol>>,
    /// Source address in any of these.
    pub sources: Option<Vec<IpNet>>,
    /// Source port in any of these; TCP and UDP only.
    pub source_ports: Option<Vec<PortRange>>,
    /// Destination address in any of these.
    pub destinations: Option<Vec<IpNet>>,
    /// Destination port in any of these; TCP and UDP only.
    pub ports: Option<Vec<PortRange>>,
    /// Any of these messages; ICMP and ICMPv6 only.
    pub icmp: Option<Vec<IcmpMatch>>,
    /// The application protocol.
    pub app: Option<AppMatch>,
    /// The name the client asks for.
    pub domains: Option<Arc<NameSet>>,
    /// The name of each DNS question.
    pub dns: Option<Arc<NameSet>>,
    /// The address in the DNS answer is in any of these; until the answer comes it is taken to be.
    pub answers: Option<Vec<IpNet>>,
    /// An HTTP request in clear text names any of these APIs.
    pub api_ids: Option<Vec<ApiId>>,
    /// The destination must be an unexpired DNS answer for the name.
    pub bind_dns: bool,
    /// What TLS must tell.
    pub tls: TlsSpec,
    /// The answer for facts that were missed.
    pub midstream: Answer,
    /// Last day on which the rule stands, in days since 1970-01-01 UTC.
    pub expires: Option<u32>,
    /// When its flows are recorded.
    pub log: FlowLog,
    /// Where the change was asked for.
    pub ticket: Option<String>,
}

impl RuleSpec {
    /// A rule that matches everything.
    #[must_use]
    pub fn new(id: &str, action: Action) -> Self {
        Self {
            id: id.to_owned(),
            description: None,
            action,
            protocols: None,
            sources: None,
            source_ports: None,
            destinations: None,
            ports: None,
            icmp: None,
            app: None,
            domains: None,
            dns: None,
            answers: None,
            api_ids: None,
            bind_dns: false,
            tls: TlsSpec::default(),
            midstream: Answer::Deny,
            expires: None,
            log: FlowLog::default(),
            ticket: None,
        }
    }
}

/// What a rule asks of TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsSpec {
    /// The version the server chose is at least this.
    pub min_version: Option<TlsVersion>,
    /// The client showed a certificate like this.
    pub client_certificate: Option<CertificateSpec>,
    /// The hello has any of these fingerprints.
    pub ja4: Option<Vec<Ja4>>,
}

/// What a client certificate must be. A certificate there must be in any case; within a list any
/// entry is enough, and every list given must be met.
#[derive(Clone, Debug, Default)]
pub struct CertificateSpec {
    /// Issuers in RFC 4514 form, compared byte for byte.
    pub issuers: Option<Vec<String>>,
    /// Subject alternative names.
    pub names: Option<Vec<TextPattern>>,
    /// SHA-256 of the DER.
    pub sha256: Option<Vec<[u8; 32]>>,
    /// It is valid, by its own dates, when the rule is judged.
    pub in_date: bool,
}

/// What is done with fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FragmentMode {
    /// A fragment travels once its first one was judged.
    #[default]
    Track,
    /// Dropped.
    Deny,
}

/// What is done with flows met in the middle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Midstream {
    /// Dropped.
    #[default]
    Deny,
    /// Dropped and answered.
    Reject,
    /// Forwarded.
    Allow,
    /// Judged in both orientations, adopted if exactly one is allowed.
    Adopt,
}

/// What is done with names behind Encrypted ClientHello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncryptedClientHello {
    /// The name in the clear counts.
    #[default]
    OuterName,
    /// The name counts as hidden: no rule allows by it.
    Deny,
}

/// Defaults of a ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultsSpec {
    /// For packets that belong to no segment; deny or reject.
    pub unknown_segment: Action,
    /// Fragments.
    pub fragments: FragmentMode,
    /// Flows met in the middle.
    pub midstream: Midstream,
    /// Encrypted ClientHello.
    pub encrypted_client_hello: EncryptedClientHello,
    /// Rules that ask for a client certificate where TLS hides it.
    pub client_certificate_not_visible: Answer,
    /// How long a flow may be pending.
    pub pending_timeout: Span,
    /// How much one pending flow may hold.
    pub held_bytes_per_flow: u32,
    /// When idle flows end.
    pub timeouts: TimeoutsSpec,
}

impl Default for DefaultsSpec {
    fn default() -> Self {
        Self {
            unknown_segment: Action::Deny,
            fragments: FragmentMode::default(),
            midstream: Midstream::default(),
            encrypted_client_hello: EncryptedClientHello::default(),
            client_certificate_not_visible: Answer::Deny,
            pending_timeout: Span::from_secs(5),
            held_bytes_per_flow: 96 * 1024,
            timeouts: TimeoutsSpec::default(),
        }
    }
}

/// Idle timeouts, those of GWLB unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutsSpec {
    /// TCP.
    pub tcp_idle: Span,
    /// Everything else.
    pub udp: Span,
}

impl Default for TimeoutsSpec {
    fn default() -> Self {
        Self { tcp_idle: Span::from_secs(350), udp: Span::from_secs(120) }
    }
}
