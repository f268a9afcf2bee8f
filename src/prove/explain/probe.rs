//! A flow that was never captured: its addresses and as many facts as somebody gives. What is not
//! given is unknown, and the decision says whether it matters.

use super::{Explanation, Found, Step, contradiction};
use crate::engine::Asked;
use crate::model::{
    self, Addr, ApiId, App, DomainName, Ech, EndpointId, Fact, Facts, FiveTuple, FlowVerdict, Ja4,
    PolicyId, Protocol, ProxyIdentity, ScopeId, SegmentId, Timestamp, TlsVersion,
};
use crate::policy::spec::SegmentSpec;
use crate::policy::{Bound, Decision, Policy, Query, RecordedTrace};
use crate::ruleset::Loaded;
use crate::ruleset::region::usual_endpoint;
use std::sync::Arc;

const TLS_1_2: TlsVersion = TlsVersion(0x0303);
const TLS_1_3: TlsVersion = TlsVersion(0x0304);
/// Stands for a fingerprint that is not given.
const SOME_JA4: Ja4 = Ja4(*b"t13d0000h0_000000000000_000000000000");

/// A flow with facts.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The endpoint it comes through; without one that of a segment named, or none.
    pub endpoint: Option<EndpointId>,
    /// The segment it comes from; a partner's first endpoint is used.
    pub from: Option<String>,
    /// The segment it goes to, likewise.
    pub to: Option<String>,
    /// Its addresses, ports and protocol.
    pub tuple: FiveTuple,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// The application protocol; [`App::Other`] is none that is recognised.
    pub app: Option<App>,
    /// The name the client asks for; `Some(None)`: it asks for none.
    pub domain: Option<Option<DomainName>>,
    /// Names in DNS questions.
    pub dns: Vec<DomainName>,
    /// An address in the answer to its question.
    pub answer: Option<Addr>,
    /// The API an HTTP request names.
    pub api_id: Option<ApiId>,
    /// The TLS version the server chooses; `Some(None)`: it chooses none, as in a version of QUIC that has
    /// no TLS or cannot be read.
    pub tls_version: Option<Option<TlsVersion>>,
    /// The client's certificate.
    pub certificate: Option<Certificate>,
    /// JA4 fingerprint of the hello.
    pub ja4: Option<Ja4>,
    /// The hello carries Encrypted ClientHello.
    pub ech: Ech,
    /// The PrivateLink endpoint a PROXY header names.
    pub proxy_endpoint: Option<EndpointId>,
    /// The trusted proxy that speaks for `from`, by that segment's first PrivateLink endpoint.
    pub proxy: Option<String>,
    /// The destination was an answer of DNS for the name.
    pub bound: bool,
    /// Met in the middle: what is not given was missed.
    pub midstream: bool,
    /// When.
    pub now: Timestamp,
}

/// What is known of a client's certificate.
#[derive(Clone, Debug)]
pub enum Certificate {
    /// There is none.
    None,
    /// TLS hides it.
    Hidden,
    /// It says this.
    Shown(model::Certificate),
}

impl Probe {
    /// Nothing but addresses.
    #[must_use]
    pub const fn new(tuple: FiveTuple, now: Timestamp) -> Self {
        Self {
            endpoint: None,
            from: None,
            to: None,
            tuple,
            icmp: None,
            app: None,
            domain: None,
            dns: Vec::new(),
            answer: None,
            api_id: None,
            tls_version: None,
            certificate: None,
            ja4: None,
            ech: Ech::None,
            proxy_endpoint: None,
            proxy: None,
            bound: false,
            midstream: false,
            now,
        }
    }

    /// Why the flow is judged as it is: at its first packet, and with all that is given.
    ///
    /// # Errors
    /// What of that cannot be one flow, each with what would be right.
    pub fn explain(&self, ruleset: &Loaded) -> Result<Explanation, Vec<String>> {
        let wrong = contradiction::alone(self);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let policy = &ruleset.policy;
        let endpoint = self.endpoint(ruleset);
        let mut found = Found::new(ruleset, endpoint, self.tuple);
        if let (true, Some((_, to))) = (found.from_proxy, found.pair) {
            self.unmask(&mut found, ruleset, to);
        }
        let wrong = contradiction::sides(self, ruleset, &found);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let scope = policy.scope(endpoint).unwrap_or_default();
        let unknown = policy.unknown_segment();
        let (steps, verdict) = match (found.pair, found.policy) {
            (None, _) => (Vec::new(), Some(unknown)),
            (Some(_), None) => (Vec::new(), Some(Policy::NO_POLICY)),
            (Some(_), Some(block)) => self.ask(policy, block, scope),
        };
        Ok(Explanation { found, steps, verdict, record: None })
    }

    /// The given endpoint, or that of the segment named.
    fn endpoint(&self, ruleset: &Loaded) -> Option<EndpointId> {
        let of = |name| segment(ruleset, name).filter(|_| self.proxy.is_none());
        let sides = [of(&self.from), of(&self.to)];
        self.endpoint.or_else(|| usual_endpoint(&ruleset.spec, sides))
    }

    /// Puts the segment a PROXY header names in the place of the proxy's.
    fn unmask(&self, found: &mut Found, ruleset: &Loaded, to: SegmentId) {
        let spoken_for = || segment(ruleset, &self.from)?.proxy_endpoints.first().copied();
        let Some(endpoint) = self.proxy_endpoint.or_else(spoken_for) else { return };
        let identity = ProxyIdentity::Endpoint(endpoint);
        let from = found.pair.and_then(|(proxy, _)| ruleset.policy.proxied(proxy, identity));
        match from {
            Some(from) => found.decide(ruleset, from, to),
            None => {
                found.pair = None;
                found.policy = None;
                found.rivals.clear();
            }
        }
    }

    fn ask(
        &self,
        policy: &Policy,
        block: PolicyId,
        scope: ScopeId,
    ) -> (Vec<Step>, Option<FlowVerdict>) {
        let mut steps = Vec::new();
        if !self.midstream {
            let mut headers = Facts::default();
            if !self.tuple.protocol.has_ports() {
                headers.settle_without_names(App::Other);
            }
            steps.push(self.step(policy, block, scope, headers));
        }
        let open = |steps: &[Step]| {
            steps.last().is_none_or(|step| matches!(step.asked.decision, Decision::Pending { .. }))
        };
        if open(&steps) && (self.midstream || self.tells()) {
            steps.push(self.step(policy, block, scope, self.facts()));
        }
        if open(&steps) && self.tells() {
            let mut facts = self.facts();
            self.settle(&mut facts);
            steps.push(self.step(policy, block, scope, facts));
        }
        if let Some(answer) = self.answer {
            let facts = steps.last().map(|step| step.asked.facts.clone()).unwrap_or_default();
            let answer = Fact::Known(answer);
            steps.push(self.step(policy, block, scope, Facts { answer, ..facts }));
        }
        let verdict = steps.last().and_then(|step| step.asked.decision.verdict().copied());
        (steps, verdict)
    }

    fn step(&self, policy: &Policy, block: PolicyId, scope: ScopeId, facts: Facts) -> Step {
        let bound = |_: &DomainName, _| if self.bound { Bound::Yes } else { Bound::No };
        let query = Query {
            icmp: self.icmp,
            midstream: self.midstream,
            bound: Some(&bound),
            ..Query::new(block, self.tuple, self.now)
        };
        let mut trace = RecordedTrace::default();
        let decision = policy.decide(&query, &facts, &mut trace);
        let asked = Asked {
            at: self.now,
            scope,
            policy: Some(block),
            tuple: self.tuple,
            icmp: self.icmp,
            midstream: self.midstream,
            facts,
            steps: trace.steps,
            decision,
        };
        Step { packet: None, asked }
    }

    /// Whether any fact is given.
    fn tells(&self) -> bool {
        self.app.is_some()
            || self.domain.is_some()
            || !self.dns.is_empty()
            || self.api_id.is_some()
            || self.tls_version.is_some()
            || self.certificate.is_some()
            || self.ja4.is_some()
            || self.ech != Ech::None
    }

    /// The application that is given, or that follows from what is given.
    pub(super) fn application(&self) -> Option<App> {
        let udp = self.tuple.protocol == Protocol::UDP;
        let named = self.domain.as_ref().is_some_and(Option::is_some);
        let hello = self.ja4.is_some() || self.ech != Ech::None;
        let tls = self.tls_version.is_some() || self.certificate.is_some() || hello;
        match self.app {
            Some(app) => Some(app),
            None if !self.dns.is_empty() => Some(App::Dns),
            None if self.api_id.is_some() => Some(App::Http),
            None if udp && (named || tls) => Some(App::Quic),
            None if tls || named => Some(App::Tls),
            None => None,
        }
    }

    /// The given facts; what follows from them is known too.
    fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        let app = match self.application() {
            Some(app @ (App::Tls | App::Quic | App::Http | App::Dns)) => app,
            None if self.midstream => return facts,
            // No name and no protocol that would have one.
            other => {
                facts.settle_without_names(other.unwrap_or(App::Other));
                return facts;
            }
        };
        facts.tls.ech = self.ech;
        facts.app = Fact::Known(app);
        facts.domain = match &self.domain {
            Some(Some(name)) => Fact::Known(Arc::new(*name)),
            Some(None) => Fact::Absent,
            None if app == App::Dns => Fact::Absent,
            None => Fact::Unknown,
        };
        facts.questions = match self.dns.as_slice() {
            [] if app == App::Dns => Fact::Unknown,
            [] => Fact::Absent,
            names => Fact::Known(names.to_vec()),
        };
        if app == App::Http {
            facts.api_id = self.api_id.clone().map_or(Fact::Absent, Fact::Known);
        }
        self.tls_facts(app, &mut facts);
        facts
    }

    /// Settles what is left: no name that was not given, TLS 1.3 (1.2 where the certificate is seen), a
    /// certificate that TLS 1.3 hides and that nobody showed before, a fingerprint no rule lists.
    fn settle(&self, facts: &mut Facts) {
        let tls = &mut facts.tls;
        if facts.domain.is_unknown() {
            facts.domain = Fact::Absent;
        }
        if facts.questions.is_unknown() {
            facts.questions = Fact::Absent;
        }
        if tls.offered.is_unknown() {
            tls.offered = Fact::Known(TLS_1_3);
        }
        if tls.version.is_unknown() {
            let seen = matches!(tls.client_certificate, Fact::Known(_) | Fact::Absent);
            tls.version = Fact::Known(if seen { TLS_1_2 } else { TLS_1_3 });
        }
        if tls.client_certificate.is_unknown() {
            let hides = tls.version.known().is_some_and(|version| *version >= TLS_1_3);
            tls.client_certificate = if hides { Fact::Missed } else { Fact::Absent };
        }
        if tls.ja4.is_unknown() {
            tls.ja4 = Fact::Known(SOME_JA4);
        }
    }

    fn tls_facts(&self, app: App, facts: &mut Facts) {
        if !matches!(app, App::Tls | App::Quic) {
            facts.tls.offered = Fact::Absent;
            facts.tls.version = Fact::Absent;
            facts.tls.client_certificate = Fact::Absent;
            facts.tls.ja4 = Fact::Absent;
            return;
        }
        // QUIC is TLS 1.3 (RFC 9001 section 4.2), which hides certificates.
        let quic = (app == App::Quic).then_some(TLS_1_3);
        if quic.is_some() && self.tls_version == Some(None) {
            let name = std::mem::take(&mut facts.domain);
            facts.settle_without_names(app);
            facts.domain = name;
            return;
        }
        if facts.domain != Fact::Unknown || self.tls_version.is_some() {
            // The hello was read; it offers the newest version.
            facts.tls.offered = Fact::Known(TLS_1_3);
        }
        if let Some(version) = self.tls_version.or(quic.map(Some)) {
            facts.tls.version = version.map_or(Fact::Absent, Fact::Known);
        }
        facts.tls.client_certificate = match &self.certificate {
            Some(Certificate::None) => Fact::Absent,
            Some(Certificate::Hidden) => Fact::Missed,
            Some(Certificate::Shown(shown)) => Fact::Known(Arc::new(shown.clone())),
            None if quic.is_some() => Fact::Missed,
            None => Fact::Unknown,
        };
        if let Some(ja4) = self.ja4 {
            facts.tls.ja4 = Fact::Known(ja4);
        }
    }
}

/// The segment of a name.
fn segment<'r>(ruleset: &'r Loaded, name: &Option<String>) -> Option<&'r SegmentSpec> {
    ruleset.spec.segments.iter().find(|segment| Some(&segment.name) == name.as_ref())
}
