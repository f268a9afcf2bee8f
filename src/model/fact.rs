//! What is known of a flow. Facts only ever grow: unknown, then known, absent or missed.

use super::{Addr, DomainName, EndpointId, Protocol};
use std::fmt;
use std::sync::Arc;

/// One thing that may become known about a flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fact<T> {
    /// Not yet known; more bytes may tell.
    #[default]
    Unknown,
    /// Known not to exist (a hello without a server name, a protocol without names).
    Absent,
    /// Its bytes passed before anybody looked (a flow met in the middle).
    Missed,
    /// Known.
    Known(T),
}

impl<T> Fact<T> {
    /// The value, if known.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }

    /// Whether more bytes may still tell.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// The application protocol, told from bytes, never from the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum App {
    /// TLS over a stream.
    Tls,
    /// QUIC.
    Quic,
    /// HTTP/1 or HTTP/2 in clear text.
    Http,
    /// DNS over UDP or TCP.
    Dns,
    /// A protocol recognised by the greeting of its server (SSH, SMTP, FTP, ...); it has no name.
    Greeting(&'static str),
    /// None that is recognised.
    Other,
}

impl App {
    /// The word used in rules and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Http => "http",
            Self::Dns => "dns",
            Self::Greeting(name) => name,
            Self::Other => "unknown",
        }
    }

    /// Whether a protocol carries it: TLS and HTTP in clear text a stream, QUIC datagrams (RFC 9000),
    /// DNS both (RFC 1035 section 4.2), greetings a stream.
    #[must_use]
    pub fn carried_by(self, protocol: Protocol) -> bool {
        match self {
            Self::Tls | Self::Http | Self::Greeting(_) => protocol == Protocol::TCP,
            Self::Quic => protocol == Protocol::UDP,
            Self::Dns => protocol.has_ports(),
            Self::Other => true,
        }
    }
}

/// A TLS protocol version as on the wire (RFC 8446 section 4.1.2); SSL 3.0 is 0x0300.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsVersion(pub u16);

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0x0300 => f.write_str("SSL 3.0"),
            minor @ 0x0301..=0x0304 => write!(f, "1.{}", minor - 0x0301),
            other => write!(f, "0x{other:04x}"),
        }
    }
}

/// A JA4 fingerprint of a ClientHello, 36 characters (FoxIO JA4, the BSD-licensed TLS client part).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ja4(pub [u8; 36]);

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or("?"))
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The API a request is for at an API Gateway endpoint that leads to many: its `x-apigw-api-id`
/// field, which is read in clear text alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApiId(Box<str>);

impl ApiId {
    /// The longest that is taken; API Gateway's own have ten characters.
    pub const LIMIT_BYTES: usize = 64;

    /// An id of letters, digits and hyphens, at most [`Self::LIMIT_BYTES`] of them. Letters of either
    /// case are different.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let fits = (1..=Self::LIMIT_BYTES).contains(&text.len());
        let plain = text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        let text = std::str::from_utf8(text).ok().filter(|_| fits && plain)?;
        Some(Self(text.into()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a ClientHello carries Encrypted ClientHello. GREASE cannot be told from the real thing
/// for certain (draft-ietf-tls-esni section 6.2), so presence is all that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ech {
    /// No such extension.
    #[default]
    None,
    /// The extension is there, real or GREASE; the name in the clear is the outer one.
    Present,
    /// The older encrypted server name (draft-ietf-tls-esni-02): there is no name in the clear.
    Esni,
}

/// The client's certificate where it can be seen (TLS 1.2 and older).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Subject in RFC 4514 order.
    pub subject: String,
    /// Issuer in RFC 4514 order.
    pub issuer: String,
    /// DNS, e-mail, URI and IP subject alternative names as text.
    pub names: Vec<String>,
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// Validity in seconds since the epoch, first and last.
    pub validity: (i64, i64),
}

impl Certificate {
    /// Whether it is valid by its dates, both included (RFC 5280 section 4.1.2.5), so many seconds
    /// after the epoch.
    #[must_use]
    pub fn is_in_date(&self, now: u64) -> bool {
        let (first, last) = self.validity;
        i64::try_from(now).is_ok_and(|now| (first..=last).contains(&now))
    }

    /// Reads a SHA-256: 64 hex digits, with or without colons.
    #[must_use]
    pub fn parse_sha256(text: &str) -> Option<[u8; 32]> {
        let mut digits = text.chars().filter(|&c| c != ':').map(|c| c.to_digit(16));
        let mut sum = [0; 32];
        for byte in &mut sum {
            let (high, low) = (digits.next()??, digits.next()??);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        digits.next().is_none().then_some(sum)
    }
}

/// What TLS tells besides the name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// Highest version the client offers.
    pub offered: Fact<TlsVersion>,
    /// The version the server chose (ServerHello, supported_versions considered).
    pub version: Fact<TlsVersion>,
    /// The client's certificate, once CertificateVerify and the server's ChangeCipherSpec were seen.
    /// `Absent`: the handshake ended without one. `Missed`: TLS 1.3 or a resumed session hides it.
    pub client_certificate: Fact<Arc<Certificate>>,
    /// Fingerprint of the hello.
    pub ja4: Fact<Ja4>,
    /// JA3 of the hello, 32 hex characters (MD5, an identifier, not a protection).
    pub ja3: Option<[u8; 32]>,
    /// Encrypted ClientHello.
    pub ech: Ech,
    /// First ALPN protocol offered.
    pub alpn: Option<Box<str>>,
}

/// A QUIC version number as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuicVersion(pub u32);

/// Who a trusted proxy's PROXY protocol v2 header says the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyIdentity {
    /// A PrivateLink endpoint (AWS TLV 0xEA, subtype 1), text form `vpce-0` and 16 hex digits.
    Endpoint(EndpointId),
    /// A header without that TLV, or a LOCAL command: the proxy speaks for itself.
    Proxy,
}

/// Everything known of a flow, or of the message of a flow that is being decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The application protocol.
    pub app: Fact<App>,
    /// The name the client asks for: TLS or QUIC SNI, HTTP Host, `:authority`.
    pub domain: Fact<Arc<DomainName>>,
    /// The names of a DNS message's questions, of which every one must be allowed.
    pub questions: Fact<Vec<DomainName>>,
    /// An address in the DNS answer that is judged. `Unknown` while the question is: its answer is
    /// judged when it comes.
    pub answer: Fact<Addr>,
    /// The API an HTTP request names. `Absent`: it names none, or none that an id can be.
    pub api_id: Fact<ApiId>,
    /// What TLS (also inside QUIC) tells.
    pub tls: TlsFacts,
    /// The QUIC version of the client's first Initial; one that cannot be read is known too.
    pub quic_version: Option<QuicVersion>,
    /// What a PROXY protocol header said, for flows from a trusted proxy.
    pub proxy: Fact<ProxyIdentity>,
    /// Names in bytes that are no message: a malformed request, an answer where a question was due.
    /// For the record alone, no rule sees them.
    pub noted: Vec<DomainName>,
    /// The address the client gives where a name belongs. For the record alone: to rules an address
    /// is no name.
    pub host_address: Option<Addr>,
}

impl Facts {
    /// Nothing is known and nothing will be: the flow was met in the middle.
    #[must_use]
    pub fn missed() -> Self {
        Self {
            app: Fact::Missed,
            domain: Fact::Missed,
            questions: Fact::Missed,
            answer: Fact::Missed,
            api_id: Fact::Missed,
            tls: TlsFacts {
                offered: Fact::Missed,
                version: Fact::Missed,
                client_certificate: Fact::Missed,
                ja4: Fact::Missed,
                ..TlsFacts::default()
            },
            quic_version: None,
            proxy: Fact::Missed,
            noted: Vec::new(),
            host_address: None,
        }
    }

    /// Messages may have gone by unread behind those that are known. TLS has but one that counts, and
    /// what has no names has none.
    pub fn miss_messages(&mut self) {
        if !matches!(self.app, Fact::Known(App::Tls | App::Other)) {
            self.domain = Fact::Missed;
            self.questions = Fact::Missed;
            self.answer = Fact::Missed;
            self.api_id = Fact::Missed;
        }
    }

    /// Known to be a protocol without names: everything about names is absent.
    pub fn settle_without_names(&mut self, app: App) {
        self.app = Fact::Known(app);
        self.domain = Fact::Absent;
        self.questions = Fact::Absent;
        self.answer = Fact::Unknown;
        self.api_id = Fact::Absent;
        self.tls.offered = Fact::Absent;
        self.tls.version = Fact::Absent;
        self.tls.client_certificate = Fact::Absent;
        self.tls.ja4 = Fact::Absent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_64_hex_digits_and_nothing_else() {
        let plain = "0aF".repeat(21) + "e";
        let sum = Certificate::parse_sha256(&plain);
        assert_eq!(sum.map(|sum| [sum[0], sum[31]]), Some([0x0a, 0xfe]));
        assert_eq!(Certificate::parse_sha256(&format!("0a:{}", &plain[2..])), sum);
        let cut = &plain[1..];
        for wrong in [cut, &format!("{plain}0"), &format!("+{cut}"), &format!("é{cut}"), ""] {
            assert_eq!(Certificate::parse_sha256(wrong), None, "{wrong}");
        }
    }
}
