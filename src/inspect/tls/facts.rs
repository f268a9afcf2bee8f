//! A ClientHello to facts: the name, what is offered, fingerprints. Shared by TLS and QUIC.

use super::hello::{ClientHello, Transport};
use super::{fingerprint, ja4};
use crate::model::{Addr, App, DomainName, Fact, Facts, NameFault, Reason, TlsFacts};
use std::sync::Arc;

/// Which fingerprints are made of a hello. They cost more than all else that is read of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fingerprints {
    /// None: no rule and no log asks. The fact is `Missed`.
    None,
    /// JA4 alone.
    Ja4,
    /// JA4 and JA3.
    #[default]
    Both,
}

/// The facts of the first hello of a connection. Facts of other protocols are reset; a PROXY
/// identity stays.
///
/// # Errors
/// [`Reason::MalformedName`] if the name is none; everything else is in `facts` all the same.
pub fn first(
    facts: &mut Facts,
    hello: &ClientHello<'_>,
    transport: Transport,
    fingerprints: Fingerprints,
) -> Result<(), Reason> {
    let (domain, named) = match name(hello) {
        Ok(domain) => (domain, Ok(())),
        Err(reason) => {
            facts.noted.extend(as_written(hello));
            (Fact::Absent, Err(reason))
        }
    };
    let unnamed = domain == Fact::Absent;
    let app = if transport == Transport::Quic { App::Quic } else { App::Tls };
    let (ja4, ja3) = match fingerprints {
        Fingerprints::None => (Fact::Missed, None),
        Fingerprints::Ja4 => (Fact::Known(ja4::ja4(hello, transport)), None),
        Fingerprints::Both => {
            let (ja4, ja3) = fingerprint::both(hello, transport);
            (Fact::Known(ja4), Some(ja3))
        }
    };
    facts.app = Fact::Known(app);
    facts.questions = Fact::Absent;
    facts.domain = domain;
    facts.host_address = hello.name.filter(|_| unnamed).and_then(Addr::from_host);
    facts.tls = TlsFacts {
        offered: Fact::Known(hello.offered()),
        ech: hello.ech,
        alpn: hello.protocol().map(|protocol| String::from_utf8_lossy(protocol).into()),
        ja4,
        ja3,
        ..TlsFacts::default()
    };
    named
}

/// What a hello has where a name should be, for the record.
#[cold]
fn as_written(hello: &ClientHello<'_>) -> Option<DomainName> {
    DomainName::from_labels(hello.name?.split(|byte| *byte == b'.')).ok()
}

/// A further hello of the same connection (RFC 8446 section 4.1.2: after a HelloRetryRequest only
/// named extensions may change, the name not among them).
///
/// # Errors
/// [`Reason::NameChanged`], or [`Reason::MalformedName`].
pub fn again(facts: &Facts, hello: &ClientHello<'_>) -> Result<(), Reason> {
    if name(hello)? == facts.domain { Ok(()) } else { Err(Reason::NameChanged) }
}

/// The name a hello asks for; an IP literal is none (RFC 6066 section 3).
///
/// # Errors
/// [`Reason::MalformedName`].
#[inline]
pub fn name(hello: &ClientHello<'_>) -> Result<Fact<Arc<DomainName>>, Reason> {
    let Some(host) = hello.name else { return Ok(Fact::Absent) };
    match DomainName::from_host(host) {
        Ok(name) => Ok(Fact::Known(Arc::new(name))),
        Err(NameFault::Address) => Ok(Fact::Absent),
        Err(_) => Err(Reason::MalformedName),
    }
}
