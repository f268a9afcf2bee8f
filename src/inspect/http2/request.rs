//! What the fields of a header block say of a request: its host, its API, and whether every recipient takes
//! the block for the same request (RFC 9113 sections 8.2 and 8.3), also one that writes it down as
//! HTTP/1 for the server behind it. It keeps no other field.

use crate::inspect::http::line::is_token;
use crate::inspect::http::target::Host;
use crate::inspect::http::{API_ID, api_id};
use crate::model::{ApiId, Fact, Reason};

/// The names of fields that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Name {
    Authority,
    Method,
    Path,
    Scheme,
    Protocol,
    Host,
    Te,
    ApiId,
    Length,
    Regular,
}

/// What was read of a header block.
#[derive(Debug, Default)]
pub(super) struct Request {
    authority: Option<Box<[u8]>>,
    host: Option<Box<[u8]>>,
    api_id: Option<Box<[u8]>>,
    /// The method is CONNECT.
    connects: bool,
    /// `:protocol` is WebSocket, in which no name is asked for (RFC 8441).
    websocket: bool,
    /// One bit for each [`Name`] seen.
    seen: u16,
}

impl Name {
    /// Which name this is. Refused: names that are no lower-case token, pseudo-fields a request does
    /// not have, fields of one HTTP/1 connection (RFC 9113 section 8.2.2).
    pub(super) fn of(name: &[u8]) -> Result<Self, Reason> {
        match name {
            b":authority" => Ok(Self::Authority),
            b":method" => Ok(Self::Method),
            b":path" => Ok(Self::Path),
            b":scheme" => Ok(Self::Scheme),
            b":protocol" => Ok(Self::Protocol),
            b"host" => Ok(Self::Host),
            b"te" => Ok(Self::Te),
            b"content-length" => Ok(Self::Length),
            _ if name == API_ID.as_bytes() => Ok(Self::ApiId),
            b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive"
            | b"proxy-connection" | b"" => Err(Reason::Http2Malformed),
            _ if name.iter().all(|&b| is_token(b) && !b.is_ascii_uppercase()) => Ok(Self::Regular),
            _ => Err(Reason::Http2Malformed),
        }
    }

    /// Whether the value tells where the request goes, or that a tunnel does.
    pub(super) const fn is_told(self) -> bool {
        matches!(self, Self::Authority | Self::Host | Self::ApiId | Self::Method | Self::Protocol)
    }

    /// Whether this is a pseudo-field.
    const fn is_pseudo(self) -> bool {
        matches!(self, Self::Authority | Self::Method | Self::Path | Self::Scheme | Self::Protocol)
    }

    /// Whether a field of this name may have this value: nothing that ends a line, or a word of a
    /// request line, where the request is written down as HTTP/1.
    pub(super) fn check(self, value: &[u8]) -> Result<(), Reason> {
        let fits = match self {
            Self::Method | Self::Scheme | Self::Protocol => {
                !value.is_empty() && value.iter().all(|&b| is_token(b))
            }
            Self::Path => is_path(value),
            Self::Length => !value.is_empty() && value.iter().all(u8::is_ascii_digit),
            Self::Te => value.eq_ignore_ascii_case(b"trailers"),
            Self::Authority | Self::Host | Self::ApiId | Self::Regular => {
                value.iter().all(|&b| b == b'\t' || !b.is_ascii_control())
            }
        };
        if fits { Ok(()) } else { Err(Reason::Http2Malformed) }
    }

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

const PSEUDO: u16 = Name::Authority.bit()
    | Name::Method.bit()
    | Name::Path.bit()
    | Name::Scheme.bit()
    | Name::Protocol.bit();

impl Request {
    /// Takes the next field. Pseudo-fields come first (RFC 9113 section 8.3); they, `host`, the API's id
    /// and the length of the body once.
    pub(super) fn field(&mut self, name: Name, value: &[u8]) -> Result<(), Reason> {
        let late = name.is_pseudo() && self.seen & !PSEUDO != 0;
        let once = name.is_pseudo() || name.is_told() || name == Name::Length;
        if late || (once && self.seen & name.bit() != 0) {
            return Err(Reason::Http2Malformed);
        }
        self.seen |= name.bit();
        let told = match name {
            Name::Authority => &mut self.authority,
            Name::Host => &mut self.host,
            Name::ApiId => &mut self.api_id,
            _ => {
                self.connects |= name == Name::Method && value == b"CONNECT";
                self.websocket |= name == Name::Protocol && value == b"websocket";
                return Ok(());
            }
        };
        *told = Some(Box::from(value));
        Ok(())
    }

    /// The host asked for: `:authority`, or `host` where there is none (RFC 9113 section 8.3.1). Both
    /// must be the same.
    pub(super) fn asked(&self) -> Result<Host<'_>, Reason> {
        if self.seen & Name::Method.bit() == 0 {
            return Err(Reason::Http2Malformed);
        }
        match (parsed(self.authority.as_deref())?, parsed(self.host.as_deref())?) {
            (Some(authority), Some(host)) if authority != host => Err(Reason::Http2Malformed),
            (Some(host), _) | (None, Some(host)) => Ok(host),
            (None, None) => Ok(Host::None),
        }
    }

    /// Whether the DATA of this request is a tunnel (RFC 9113 section 8.5), in which anything may be
    /// asked for. Nobody looks into it.
    pub(super) const fn opens_tunnel(&self) -> bool {
        self.connects && !self.websocket
    }

    /// The API asked for.
    pub(super) fn api_id(&self) -> Fact<ApiId> {
        api_id(self.api_id.as_deref())
    }

    /// Whether this can stand behind a request's body (RFC 9113 section 8.1).
    pub(super) const fn is_trailers(&self) -> bool {
        self.seen & (PSEUDO | Name::Host.bit() | Name::ApiId.bit()) == 0
    }
}

/// Whether this is a path, and no target that names another host where the request is written down as
/// HTTP/1: it begins with a slash, or is the asterisk of OPTIONS (RFC 9113 section 8.3.1).
fn is_path(value: &[u8]) -> bool {
    (value.first() == Some(&b'/') || value == b"*") && value.iter().all(|&b| b > b' ' && b != 0x7f)
}

fn parsed(text: Option<&[u8]>) -> Result<Option<Host<'_>>, Reason> {
    text.map(Host::parse).transpose().map_err(|_| Reason::Http2Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Facts;

    /// The reason a list of fields has, or the host it names.
    fn host(fields: &[(&str, &str)]) -> Result<String, Reason> {
        let mut request = Request::default();
        for (name, value) in fields {
            let name = Name::of(name.as_bytes())?;
            name.check(value.as_bytes())?;
            request.field(name, value.as_bytes())?;
        }
        let mut facts = Facts::default();
        request.asked()?.tell(&mut facts).map_err(|_| Reason::MalformedName)?;
        Ok(facts.domain.known().map_or("-".to_owned(), |name| name.to_string()))
    }

    #[test]
    fn the_host_is_the_authority_or_else_the_field() {
        let method = (":method", "GET");
        assert_eq!(host(&[method, (":authority", "A.example:80")]), Ok("a.example".into()));
        assert_eq!(host(&[method, ("host", "b.example")]), Ok("b.example".into()));
        assert_eq!(host(&[method, (":authority", "c"), ("host", "c:80")]), Ok("c".into()));
        assert_eq!(host(&[method, (":authority", "192.0.2.1")]), Ok("-".into()));
        assert_eq!(host(&[method]), Ok("-".into()));
        for path in ["/", "/a?http://b/", "//b/", "*"] {
            assert_eq!(host(&[method, (":path", path), ("host", "a")]), Ok("a".into()), "{path}");
        }
    }

    #[test]
    fn the_api_is_the_field_once() {
        let mut request = Request::default();
        for (name, value) in [(":method", "GET"), ("x-apigw-api-id", "p4ym3nts01")] {
            request.field(Name::of(name.as_bytes()).unwrap(), value.as_bytes()).unwrap();
        }
        assert_eq!(request.api_id(), Fact::Known(ApiId::parse(b"p4ym3nts01").unwrap()));
        assert!(request.field(Name::ApiId, b"p4ym3nts01").is_err(), "twice");
        assert_eq!(Request::default().api_id(), Fact::Absent);
    }

    #[test]
    fn blocks_that_recipients_read_differently_are_refused() {
        let method = (":method", "GET");
        for fields in [
            &[(":authority", "a")][..],
            &[method, (":authority", "a"), ("host", "b")],
            &[method, (":authority", ""), ("host", "b")],
            &[method, (":authority", "a"), (":authority", "a")],
            &[method, ("host", "a"), ("host", "a")],
            &[method, ("x", "y"), (":authority", "a")],
            &[method, (":status", "200")],
            &[method, (":x", "y")],
            &[method, ("Host", "a")],
            &[method, ("x y", "a")],
            &[method, ("", "a")],
            &[method, ("connection", "close")],
            &[method, ("transfer-encoding", "chunked")],
            &[method, ("te", "chunked")],
            &[method, ("x", "a\r\nhost: b")],
            &[method, ("x", "\0")],
            &[method, (":path", "/ HTTP/1.1")],
            &[method, (":path", "")],
            &[method, (":authority", "a"), (":path", "http://b/")],
            &[method, (":authority", "a"), (":path", "@b/")],
            &[method, (":path", "**")],
            &[method, ("content-length", "1"), ("content-length", "1")],
            &[method, ("content-length", "+1")],
            &[method, ("content-length", "")],
            &[(":method", "GET / HTTP/1.1")],
            &[method, (":scheme", "http://b/ ")],
            &[method, (":authority", "a:b")],
        ] {
            assert_eq!(host(fields), Err(Reason::Http2Malformed), "{fields:?}");
        }
        assert_eq!(host(&[method, (":authority", "u@a")]), Err(Reason::MalformedName));
    }
}
