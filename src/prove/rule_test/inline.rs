//! A flow that a test writes down, made into the packets a gateway would have sent: the engine judges
//! it as it would judge the real one.

use crate::model::{EndpointId, FiveTuple, Protocol, ScopeId, Span, TlsVersion};
use crate::policy::spec::{AppMatch, CommonEndpoints};
use crate::policy::{COMMON_SCOPE, Located};
use crate::prove::observed::{Packets, midnight};
use crate::ruleset::{Date, Diagnostic, InlineFlow, Loaded, Presented};
use crate::synth::conversation::Conversation;
use crate::synth::gwlb::Encapsulation;
use crate::synth::speech::{Shown, Speech};
use crate::wire::Link;

/// Hours after midnight at which a flow without a time is judged.
const NOON: Span = Span::from_secs(12 * 3600);
/// Time between two of its packets.
const STEP: Span = Span::from_millis(1);

/// The packets of a flow, judged at noon of a day.
///
/// # Errors
/// If nothing says where the flow comes from, or a field asks for what its protocol does not carry.
pub(super) fn packets(
    flow: &InlineFlow,
    ruleset: &Loaded,
    day: Date,
) -> Result<Packets, Box<Diagnostic>> {
    let endpoint = endpoint(flow, ruleset)?;
    let shown = flow.client_certificate.as_ref();
    let conversation = Conversation {
        tuple: flow.tuple,
        icmp: flow.icmp,
        proxy: proxy(flow, ruleset, endpoint),
        speech: speech(flow, shown)?,
    };
    let mut packets = Packets::new(None);
    let around = endpoint.map(Encapsulation::of);
    let mut at = midnight(day) + NOON;
    for inner in conversation.packets() {
        match &around {
            Some(around) => packets.push(at, Link::Ethernet, &around.wrap(&inner)),
            None => packets.push(at, Link::RawIp, &inner),
        }
        at = at + STEP;
    }
    Ok(packets)
}

/// The endpoint a flow comes through; none is a packet without encapsulation.
fn endpoint(flow: &InlineFlow, ruleset: &Loaded) -> Result<Option<EndpointId>, Box<Diagnostic>> {
    if flow.endpoint.is_some() {
        return Ok(flow.endpoint);
    }
    let of = |name: &Option<String>| {
        let segment = ruleset.spec.segments.iter().find(|s| Some(&s.name) == name.as_ref())?;
        segment.endpoints.first().copied()
    };
    let partner = of(&flow.from).or_else(|| of(&flow.to));
    if let Some(endpoint) = partner.filter(|_| flow.proxy_endpoint.is_none()) {
        return Ok(Some(endpoint));
    }
    match &ruleset.spec.common {
        CommonEndpoints::Any => Ok(None),
        CommonEndpoints::List(list) if !list.is_empty() => Ok(list.first().copied()),
        _ => Err(Box::new(
            Diagnostic::error("bad-flow", "nothing says where this flow comes from")
                .at(flow.place, "through which endpoint?")
                .help("name the partner in `from` or `to`, or give an `endpoint`"),
        )),
    }
}

/// The PROXY header of a flow from a trusted proxy: with the endpoint the test names, or without one.
fn proxy(
    flow: &InlineFlow,
    ruleset: &Loaded,
    endpoint: Option<EndpointId>,
) -> Option<Option<EndpointId>> {
    let FiveTuple { src, dst, .. } = flow.tuple;
    let scope: ScopeId = ruleset.policy.scope(endpoint).unwrap_or(COMMON_SCOPE);
    match ruleset.policy.locate(scope, src, dst) {
        Located::Pair { from_proxy: true, .. } => Some(flow.proxy_endpoint),
        _ => flow.proxy_endpoint.map(Some),
    }
}

fn speech<'a>(
    flow: &'a InlineFlow,
    certificate: Option<&'a Presented>,
) -> Result<Speech<'a>, Box<Diagnostic>> {
    let name = flow.domain.as_deref();
    let shown: Option<Shown<'a>> = certificate.map(|c| Shown {
        subject: &c.subject,
        issuer: &c.issuer,
        names: &c.names,
        until: c.until,
    });
    let version = flow.tls_version.unwrap_or(match shown {
        Some(_) => TlsVersion(0x0303),
        None => TlsVersion(0x0304),
    });
    let tls = shown.is_some() || flow.tls_version.is_some();
    let tcp = flow.tuple.protocol == Protocol::TCP;
    let wrong = |text: &str, help: &str| {
        Err(Box::new(Diagnostic::error("bad-flow", text).at(flow.place, "this flow").help(help)))
    };
    match (flow.app, tcp) {
        (Some(AppMatch::Tls), false) => wrong("TLS runs over tcp", "write `protocol: tcp`"),
        (Some(AppMatch::Http), false) => wrong("HTTP runs over tcp", "write `protocol: tcp`"),
        (Some(AppMatch::Quic), true) => wrong("QUIC runs over udp", "write `protocol: udp`"),
        (Some(AppMatch::Http | AppMatch::Dns | AppMatch::Quic), _) if tls => {
            wrong("`tls_version` and `client_certificate` are of TLS", "write `app: tls`")
        }
        (_, false) if tls => wrong(
            "`tls_version` and `client_certificate` are of TLS over tcp",
            "write `protocol: tcp`",
        ),
        (Some(AppMatch::Http), _) => match name {
            Some(host) => Ok(Speech::Http { host, api_id: flow.api_id.as_ref() }),
            None => wrong("an HTTP request has a host", "add `domain`"),
        },
        (Some(AppMatch::Dns), _) if flow.dns.is_none() => {
            wrong("a DNS message has a question", "add `dns`")
        }
        (Some(AppMatch::Tls), _) => Ok(Speech::Tls { name, version, certificate: shown }),
        (Some(AppMatch::Quic), _) => Ok(Speech::Quic { name }),
        (_, _) if flow.dns.is_some() => Ok(flow
            .dns
            .as_deref()
            .map_or(Speech::Opaque, |name| Speech::Dns { name, answer: flow.answer })),
        (_, true) if tls || name.is_some() => Ok(Speech::Tls { name, version, certificate: shown }),
        (_, false) if name.is_some() => Ok(Speech::Quic { name }),
        _ => Ok(Speech::Opaque),
    }
}
