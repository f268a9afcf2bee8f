//! The head of an HTTP/1 message: start line and fields, read line by line, going on where the last
//! look stopped. Nothing is kept but places and what frames the body; what recipients are known to
//! read differently is refused (RFC 9112 section 11.2). It does not read bodies.

use super::fields::{FieldFault, Fields};
use super::line::{self, Ambiguous, Ending};
use super::target::{Host, Unclear};
use crate::model::Reason;

/// The longest head, in bytes, with its last line end.
pub const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// The most field lines of a head, and of the trailers of a body.
pub const FIELDS_LIMIT: usize = 256;
/// The longest method.
pub const METHOD_LIMIT_BYTES: usize = 32;

/// A place in the bytes of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    start: usize,
    end: usize,
}

impl Place {
    /// From the first byte to behind the last.
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The bytes at this place.
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.end).unwrap_or_default()
    }
}

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// `method SP target SP version` (RFC 9112 section 3).
    Request { method: Method, target: Place, version: Version },
    /// `version SP status SP reason` (RFC 9112 section 4).
    Answer { status: u16, version: Version },
}

/// The methods that change how a message or its answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Its answer opens a tunnel (RFC 9110 section 9.3.6).
    Connect,
    /// Its answer has no body (RFC 9110 section 9.3.2).
    Head,
    /// Any other.
    Other,
}

/// The version of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// Which message a head belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Answer,
}

/// A head on its way; complete once [`Head::read`] gives its length.
#[derive(Clone, Debug)]
pub(super) struct Head {
    kind: Kind,
    line: usize,
    seen: usize,
    ending: Option<Ending>,
    start: Option<Start>,
    pub(super) fields: Fields,
}

impl Head {
    /// Nothing read yet.
    #[inline]
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, line: 0, seen: 0, ending: None, start: None, fields: Fields::default() }
    }

    /// The first line, once read.
    pub(super) const fn start(&self) -> Option<Start> {
        self.start
    }

    /// Reads on. `bytes` start at the head's first byte, every time. The head's length, once all of
    /// it is there.
    #[inline]
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, Reason> {
        let window = bytes.get(..HEAD_LIMIT_BYTES).unwrap_or(bytes);
        let (mut start, mut seen) = (self.line, self.seen);
        loop {
            let Some(found) = line::find(window, &mut seen)? else {
                (self.line, self.seen) = (start, seen);
                return self.incomplete(window);
            };
            // A head whose lines end in both ways is cut differently by those who take a bare LF
            // for a line end and those who do not; one with bare LFs alone is refused by the latter.
            if self.ending.is_some_and(|ending| ending != found.ending) {
                return Err(Reason::HttpMalformed);
            }
            let text = Place::new(start, found.end);
            (start, seen) = (found.next, found.next);
            if self.start.is_none() {
                self.ending = Some(found.ending);
                self.start = Some(self.first_line(window, text)?);
            } else if text.start == text.end {
                return Ok(Some(found.next));
            } else {
                self.fields.add(text.of(window), text.start, self.kind)?;
            }
        }
    }

    #[cold]
    fn incomplete(&self, window: &[u8]) -> Result<Option<usize>, Reason> {
        if self.start.is_none() {
            self.check_beginning(window)?;
        }
        if window.len() == HEAD_LIMIT_BYTES { Err(Reason::LimitInspection) } else { Ok(None) }
    }

    /// Whether an incomplete first line can still become one, so that other protocols are not held
    /// until the head's bound.
    fn check_beginning(&self, bytes: &[u8]) -> Result<(), Reason> {
        let fits = match self.kind {
            Kind::Answer => bytes.iter().zip(b"HTTP/1.").all(|(a, b)| a == b),
            Kind::Request => {
                match bytes.iter().take(METHOD_LIMIT_BYTES).position(|&b| !line::is_token(b)) {
                    Some(end) => end > 0 && bytes.get(end) == Some(&b' '),
                    None => matches!(bytes.get(METHOD_LIMIT_BYTES), None | Some(b' ')),
                }
            }
        };
        if fits { Ok(()) } else { Err(Reason::HttpMalformed) }
    }

    fn first_line(&self, bytes: &[u8], text: Place) -> Result<Start, Reason> {
        match self.kind {
            Kind::Request => request_line(bytes, text),
            Kind::Answer => status_line(text.of(bytes)),
        }
        .ok_or(Reason::HttpMalformed)
    }

    /// Whether a request is for the host of this name, written without port or trailing dot, in the
    /// field alone, and has neither a body nor anything else that is told.
    #[inline]
    pub(super) fn is_plain(&self, bytes: &[u8], name: &[u8]) -> bool {
        let Some(Start::Request { method: Method::Other, target, .. }) = self.start else {
            return false;
        };
        let Fields {
            count: _,
            host: Some(host),
            api_id: None,
            length: None,
            transfer: None,
            upgrade: None,
        } = self.fields
        else {
            return false;
        };
        target.of(bytes).first() == Some(&b'/') && host.of(bytes).eq_ignore_ascii_case(name)
    }

    /// The host a request is for: the field's where the target has none; where both have one they
    /// must be the same, since recipients differ in which one they believe.
    #[inline]
    pub(super) fn host<'b>(&self, bytes: &'b [u8]) -> Result<Host<'b>, Reason> {
        let Some(Start::Request { method, target, .. }) = self.start else {
            return Err(Reason::HttpMalformed);
        };
        let field = self.fields.host.map(|place| Host::parse(place.of(bytes))).transpose()?;
        let target = target.of(bytes);
        let named = match target.first() {
            Some(b'/') => None,
            Some(b'*') if target.len() == 1 => None,
            _ if method == Method::Connect => Some(Host::parse(target)?),
            _ => Some(Host::of_absolute(target)?),
        };
        match (named, field) {
            (Some(named), Some(field)) if named != field => Err(Reason::HttpMalformed),
            (Some(host), _) | (None, Some(host)) => Ok(host),
            (None, None) => Ok(Host::None),
        }
    }
}

impl From<Unclear> for Reason {
    fn from(_: Unclear) -> Self {
        Self::HttpMalformed
    }
}

impl From<Ambiguous> for Reason {
    fn from(_: Ambiguous) -> Self {
        Self::HttpMalformed
    }
}

impl From<FieldFault> for Reason {
    fn from(fault: FieldFault) -> Self {
        match fault {
            FieldFault::Ambiguous => Self::HttpMalformed,
            FieldFault::TooMany => Self::LimitInspection,
        }
    }
}

/// One space on each side of the target, none in it (RFC 9112 section 3); anything else is where
/// recipients begin to guess.
fn request_line(bytes: &[u8], text: Place) -> Option<Start> {
    let line = text.of(bytes);
    let space = line.iter().position(|&b| !line::is_token(b))?;
    let (method, rest) = line.split_at_checked(space)?;
    let rest = rest.strip_prefix(b" ")?;
    let (target, version) = rest.split_at_checked(rest.len().checked_sub(" HTTP/1.x".len())?)?;
    let version = version_of(version.strip_prefix(b" ")?)?;
    let odd = target.is_empty() || target.iter().fold(false, |odd, &b| odd | (b <= b' '));
    if odd || method.is_empty() || method.len() > METHOD_LIMIT_BYTES {
        return None;
    }
    let start = text.start.checked_add(space)?.checked_add(1)?;
    let target = Place::new(start, start.checked_add(target.len())?);
    let method = match method {
        b"CONNECT" => Method::Connect,
        b"HEAD" => Method::Head,
        _ => Method::Other,
    };
    Some(Start::Request { method, target, version })
}

/// A reason phrase may be missing, with or without its space (RFC 9112 section 4).
fn status_line(line: &[u8]) -> Option<Start> {
    let (version, rest) = line.split_at_checked("HTTP/1.x".len())?;
    let version = version_of(version)?;
    let (status, reason) = rest.strip_prefix(b" ")?.split_first_chunk::<3>()?;
    if !matches!(reason.first(), None | Some(b' ')) || !status.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = status.iter().fold(0_u16, |sum, &digit| {
        sum.saturating_mul(10).saturating_add(u16::from(digit.wrapping_sub(b'0')))
    });
    (status >= 100).then_some(Start::Answer { status, version })
}

const fn version_of(text: &[u8]) -> Option<Version> {
    match text {
        b"HTTP/1.1" => Some(Version::Http11),
        b"HTTP/1.0" => Some(Version::Http10),
        _ => None,
    }
}
