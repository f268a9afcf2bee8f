//! What the two sides of a conversation say: TLS handshakes, QUIC Initial packets, HTTP requests,
//! DNS questions, PROXY headers. Bytes without packets around them.

use super::session::Side;
use super::x509;
use crate::inspect::proxy;
use crate::inspect::quic::seal::{Initial, crypto_frame};
use crate::inspect::tls::compose::Offer;
use crate::model::{Addr, ApiId, EndpointId, Protocol, TlsVersion};

/// TLS 1.3, which hides certificates.
const TLS_1_3: u16 = 0x0304;
/// QUIC version 1 (RFC 9000).
const QUIC_V1: u32 = 1;
/// A client's first datagram is at least so long (RFC 9000 section 14.1).
const INITIAL_BYTES: usize = 1200;

pub use super::x509::Shown;

/// What is said on a connection, or in datagrams.
#[derive(Clone, Copy, Debug)]
pub enum Speech<'a> {
    /// Bytes of no protocol that is recognised.
    Opaque,
    /// A TLS handshake.
    Tls {
        /// Server name.
        name: Option<&'a str>,
        /// What the server chooses.
        version: TlsVersion,
        /// What the client shows, if it is asked to.
        certificate: Option<Shown<'a>>,
    },
    /// An HTTP/1.1 request.
    Http {
        /// Host field.
        host: &'a str,
        /// The API it names.
        api_id: Option<&'a ApiId>,
    },
    /// A QUIC Initial packet.
    Quic {
        /// Server name.
        name: Option<&'a str>,
    },
    /// A DNS question for an address.
    Dns {
        /// The name asked for.
        name: &'a str,
        /// The address in the answer; none: an answer without any.
        answer: Option<Addr>,
    },
}

impl Speech<'_> {
    /// What is said over a stream, in turns.
    #[must_use]
    pub fn stream(&self) -> Vec<(Side, Vec<u8>)> {
        match *self {
            Self::Tls { name, version, certificate } => tls(name, version.0, certificate),
            Self::Http { host, api_id } => {
                let field = |id: &ApiId| format!("x-apigw-api-id: {id}\r\n");
                let field = api_id.map_or_else(String::new, field);
                let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{field}\r\n").into_bytes();
                let answer = b"HTTP/1.1 204 No Content\r\n\r\n".to_vec();
                vec![(Side::Client, request), (Side::Server, answer)]
            }
            Self::Dns { name, answer } => [(Side::Client, None), (Side::Server, Some(answer))]
                .map(|(side, answer)| (side, with_length(&dns(name, answer))))
                .into(),
            Self::Quic { .. } | Self::Opaque => opaque(),
        }
    }

    /// What is said in datagrams, in turns.
    #[must_use]
    pub fn datagrams(&self) -> Vec<(Side, Vec<u8>)> {
        match *self {
            Self::Quic { name } => vec![(Side::Client, quic(name).unwrap_or_default())],
            Self::Dns { name, answer } => [(Side::Client, None), (Side::Server, Some(answer))]
                .map(|(side, answer)| (side, dns(name, answer)))
                .into(),
            Self::Tls { .. } | Self::Http { .. } | Self::Opaque => opaque(),
        }
    }
}

/// A PROXY protocol v2 header for TCP or UDP over IPv4; with the AWS TLV of a VPC endpoint if one is
/// given.
#[must_use]
pub fn proxy_header(endpoint: Option<EndpointId>, protocol: Protocol) -> Vec<u8> {
    let transport = if protocol == Protocol::UDP { 0x12 } else { 0x11 };
    let mut body = vec![10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 1, 0xbb];
    if let Some(endpoint) = endpoint {
        let text = endpoint.to_string();
        body.push(0xea);
        body.extend(length16(text.len().saturating_add(1)));
        body.push(1);
        body.extend(text.into_bytes());
    }
    [&proxy::SIGNATURE[..], &[0x21, transport], &length16(body.len()), &body].concat()
}

fn opaque() -> Vec<(Side, Vec<u8>)> {
    vec![(Side::Client, vec![0xb7; 24]), (Side::Server, vec![0xd9; 24])]
}

fn tls(name: Option<&str>, version: u16, shown: Option<Shown<'_>>) -> Vec<(Side, Vec<u8>)> {
    let names: Vec<&[u8]> = name.iter().map(|name| name.as_bytes()).collect();
    let offer = Offer { names: &names, versions: &[TLS_1_3, 0x0303, 0x0302], ..Offer::default() };
    let hello = offer.records(16_384).unwrap_or_default();
    let data = |side| (side, record(23, &[0x5e; 32]));
    if version >= TLS_1_3 {
        let answer = [record(22, &server_hello(version)), record(20, &[1])].concat();
        let go_on = (Side::Client, [record(20, &[1]), record(23, &[0x5e; 40])].concat());
        return vec![(Side::Client, hello), (Side::Server, answer), go_on, data(Side::Server)];
    }
    let mut flight = server_hello(version);
    flight.extend(handshake(11, &[0, 0, 0]));
    let mut client = Vec::new();
    if let Some(shown) = &shown {
        // CertificateRequest, Certificate, CertificateVerify (RFC 5246 section 7.4).
        flight.extend(handshake(13, &[1, 1, 0, 0, 0, 0]));
        let der = x509::certificate(shown);
        let entry = [&length24(der.len())[..], &der].concat();
        client.extend(handshake(11, &[&length24(entry.len())[..], &entry].concat()));
    }
    flight.extend(handshake(14, &[]));
    client.extend(handshake(16, &[6; 66]));
    if shown.is_some() {
        client.extend(handshake(15, &[7; 70]));
    }
    let finished = [record(20, &[1]), record(22, &[0xee; 40])].concat();
    vec![
        (Side::Client, hello),
        (Side::Server, record(22, &flight)),
        (Side::Client, [record(22, &client), finished.clone()].concat()),
        (Side::Server, finished),
        data(Side::Client),
        data(Side::Server),
    ]
}

fn server_hello(version: u16) -> Vec<u8> {
    let legacy = version.min(0x0303).to_be_bytes();
    let mut body = legacy.to_vec();
    body.extend([9; 32]);
    body.extend([0, 0x13, 0x01, 0]);
    if version >= TLS_1_3 {
        let [high, low] = version.to_be_bytes();
        body.extend([0, 6, 0, 43, 0, 2, high, low]);
    }
    handshake(2, &body)
}

fn quic(name: Option<&str>) -> Option<Vec<u8>> {
    let names: Vec<&[u8]> = name.iter().map(|name| name.as_bytes()).collect();
    let offer = Offer {
        names: &names,
        versions: &[TLS_1_3],
        protocols: &[b"h3"],
        key_share: 32,
        ..Offer::default()
    };
    let frames = crypto_frame(0, &offer.message()?)?;
    let initial = Initial {
        version: QUIC_V1,
        destination: b"lockgate",
        padded_to: INITIAL_BYTES,
        ..Initial::default()
    };
    initial.seal(&frames)
}

/// A question for an address (RFC 1035 section 4.1), or the answer to it, with an address or none.
fn dns(name: &str, answer: Option<Option<Addr>>) -> Vec<u8> {
    let flags: [u8; 2] = if answer.is_some() { [0x81, 0x80] } else { [0x01, 0x00] };
    let address = answer.flatten();
    let mut message = vec![0x6c, 0x67];
    message.extend(flags);
    message.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    let kind = if address.is_none_or(Addr::is_v4) { 1 } else { 28 };
    message.extend([0, kind, 0, 1]);
    if let Some(address) = address {
        // The name again, by a pointer to the question; a minute to live.
        message.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60]);
        let octets = address.octets();
        let octets = octets.get(if address.is_v4() { 12.. } else { 0.. }).unwrap_or_default();
        message.extend(length16(octets.len()));
        message.extend_from_slice(octets);
    }
    message
}

fn record(content: u8, payload: &[u8]) -> Vec<u8> {
    [&[content, 3, 3], &length16(payload.len())[..], payload].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], &length24(body.len())[..], body].concat()
}

fn with_length(message: &[u8]) -> Vec<u8> {
    [&length16(message.len())[..], message].concat()
}

fn length16(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

fn length24(len: usize) -> [u8; 3] {
    let [_, length @ ..] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    length
}
