//! The words of a decision: what is asked, what comes out, how a rule stood. No rule is evaluated
//! here.

use super::segments::Located;
use super::tuple_space::Shortlist;
use crate::model::{
    Addr, DomainName, Facts, FiveTuple, FlowVerdict, PolicyId, Protocol, RuleId, Timestamp,
};

/// Tells whether an address is an unexpired DNS answer for a name in the flow's scope.
pub type BindingLookup<'a> = dyn Fn(&DomainName, Addr) -> Bound + 'a;

/// Whether an address was answered for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It was, and the answer has not expired.
    Yes,
    /// It was not, or too long ago.
    No,
}

/// What is asked of a policy, apart from the facts.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The policy of the flow's pair of segments.
    pub policy: PolicyId,
    /// The flow in its original direction.
    pub tuple: FiveTuple,
    /// ICMP type and code of the packet.
    pub icmp: Option<(u8, u8)>,
    /// Engine time; rules expire by it.
    pub now: Timestamp,
    /// The flow was met in the middle, or its bytes are gone: what is unknown counts as missed,
    /// so the answer is never pending.
    pub midstream: bool,
    /// DNS answers, for `bind: dns`; without it nothing is bound.
    pub bound: Option<&'a BindingLookup<'a>>,
    /// Where rules for this five-tuple are in this policy, if that was looked up before
    /// ([`Approach`]); it changes no answer.
    pub shortlist: Option<Shortlist>,
}

/// What the addresses of a flow's first packet say, before anything is decided.
#[derive(Clone, Copy, Debug)]
pub struct Approach {
    /// Whose its two sides are.
    pub located: Located,
    /// The policy that decides between them. None: there is none, or who the flow is from waits for
    /// a PROXY protocol header.
    pub policy: Option<PolicyId>,
    /// Where that policy's rules for it are.
    pub shortlist: Option<Shortlist>,
}

/// What of an IPv4 packet's headers tells where its rules are.
#[derive(Clone, Copy, Debug)]
pub struct Toward {
    /// Source address.
    pub src: u32,
    /// Destination address.
    pub dst: u32,
    /// Destination port; 0 where the protocol has none.
    pub dst_port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl Toward {
    /// What a five-tuple says; none of an IPv6 packet.
    #[inline]
    #[must_use]
    pub const fn of(tuple: &FiveTuple) -> Option<Self> {
        let v4 = tuple.src.is_v4() && tuple.dst.is_v4();
        let (src, dst) = (tuple.src.bits() as u32, tuple.dst.bits() as u32);
        let toward = Self { src, dst, dst_port: tuple.dst_port, protocol: tuple.protocol };
        if v4 { Some(toward) } else { None }
    }
}

impl Query<'_> {
    /// A question about a new flow, without DNS answers.
    #[must_use]
    pub const fn new(policy: PolicyId, tuple: FiveTuple, now: Timestamp) -> Self {
        Self { policy, tuple, icmp: None, now, midstream: false, bound: None, shortlist: None }
    }
}

/// What an undecided flow waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Some of it is in what the client sends first (name, protocol, TLS offer).
    pub client: bool,
    /// Some of it comes with the server's answer (TLS version, client certificate).
    pub server: bool,
    /// At least one outcome still possible is allow.
    pub may_allow: bool,
}

impl Needs {
    /// What either of two waits for.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            client: self.client || other.client,
            server: self.server || other.server,
            may_allow: self.may_allow || other.may_allow,
        }
    }
}

/// The outcome of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// More facts are needed.
    Pending {
        /// Which.
        needs: Needs,
    },
    /// Decided, for the flow or for its present message.
    Final(FlowVerdict),
}

impl Decision {
    /// The verdict, if decided.
    #[must_use]
    pub const fn verdict(&self) -> Option<&FlowVerdict> {
        match self {
            Self::Final(verdict) => Some(verdict),
            Self::Pending { .. } => None,
        }
    }
}

/// The message that opens a flow, where it is a DNS query with one question.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it tells beside its question.
    pub facts: &'a Facts,
    /// What it asks.
    pub question: &'a DomainName,
}

/// What is decided of a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// By its headers alone.
    pub flow: Decision,
    /// Of the message that opens it, if it was shown.
    pub message: Option<Decision>,
}

/// How a condition or a rule stands against what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It depends on facts that are not known yet.
    Unknown,
}

impl Truth {
    /// True or false.
    #[must_use]
    pub const fn of(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }

    /// The word used in traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::True => "true",
            Self::False => "false",
            Self::Unknown => "unknown",
        }
    }
}

/// The conditions of a rule, in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// `protocol`
    Protocol,
    /// `sources`
    Sources,
    /// `source_ports`
    SourcePorts,
    /// `destinations`
    Destinations,
    /// `ports`
    Ports,
    /// `icmp`
    Icmp,
    /// `expires`
    Expires,
    /// `app`
    App,
    /// `domains`
    Domains,
    /// `dns`
    Dns,
    /// `answers`
    Answers,
    /// `api_id`
    ApiId,
    /// `bind: dns`
    Bind,
    /// `tls.ja4`
    Ja4,
    /// `tls.min_version`
    MinVersion,
    /// `tls.client_certificate`: that there is one.
    ClientCertificate,
    /// `tls.client_certificate.issuer`
    CertificateIssuer,
    /// `tls.client_certificate.san`
    CertificateSan,
    /// `tls.client_certificate.sha256`
    CertificateSha256,
    /// `tls.client_certificate.in_date`
    CertificateInDate,
}

impl Condition {
    /// The field of the rule language.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Sources => "sources",
            Self::SourcePorts => "source_ports",
            Self::Destinations => "destinations",
            Self::Ports => "ports",
            Self::Icmp => "icmp",
            Self::Expires => "expires",
            Self::App => "app",
            Self::Domains => "domains",
            Self::Dns => "dns",
            Self::Answers => "answers",
            Self::ApiId => "api_id",
            Self::Bind => "bind",
            Self::Ja4 => "tls.ja4",
            Self::MinVersion => "tls.min_version",
            Self::ClientCertificate => "tls.client_certificate",
            Self::CertificateIssuer => "tls.client_certificate.issuer",
            Self::CertificateSan => "tls.client_certificate.san",
            Self::CertificateSha256 => "tls.client_certificate.sha256",
            Self::CertificateInDate => "tls.client_certificate.in_date",
        }
    }
}

/// Watches a decision being taken.
pub trait Trace {
    /// Whether anybody watches. If so every rule is looked at in order, not only those the
    /// classifier finds; the outcome is the same.
    const WATCHES: bool;

    /// A DNS question is judged from here on; only for messages with several.
    fn question(&mut self, name: &DomainName) {
        let _ = name;
    }

    /// How a rule stood, and the first condition that made it so unless it is true.
    fn rule(&mut self, rule: RuleId, truth: Truth, condition: Option<Condition>);
}

/// Nobody watches; costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    const WATCHES: bool = false;

    fn rule(&mut self, _: RuleId, _: Truth, _: Option<Condition>) {}
}

/// Keeps everything, for people.
#[derive(Clone, Debug, Default)]
pub struct RecordedTrace {
    /// One for each rule looked at, in order.
    pub steps: Vec<TraceStep>,
}

/// How one rule stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// The rule.
    pub rule: RuleId,
    /// How it stood.
    pub truth: Truth,
    /// The first condition that made it false or unknown.
    pub condition: Option<Condition>,
}

impl Trace for RecordedTrace {
    const WATCHES: bool = true;

    fn rule(&mut self, rule: RuleId, truth: Truth, condition: Option<Condition>) {
        self.steps.push(TraceStep { rule, truth, condition });
    }
}
