//! The few fields of a head that name the host or frame the body, each held to one form, so that
//! every recipient frames alike (RFC 9112 sections 6 and 11.2). Values are not kept, only where
//! the host stands.

use super::head::{FIELDS_LIMIT, Kind, Place};
use super::line::{self, Ambiguous};
use super::target::Host;
use crate::model::{DomainName, Facts};

/// What the fields of one head say.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) count: usize,
    /// Where the value of Host stands.
    pub(super) host: Option<Place>,
    /// Where the value of `x-apigw-api-id` stands.
    pub(super) api_id: Option<Place>,
    /// Content-Length.
    pub(super) length: Option<u64>,
    /// Transfer-Encoding.
    pub(super) transfer: Option<Transfer>,
    /// Upgrade.
    pub(super) upgrade: Option<Upgrade>,
}

/// What Transfer-Encoding says; anything else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transfer {
    /// The last coding is `chunked`.
    Chunked,
}

/// What Upgrade says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upgrade {
    /// `websocket` is among the protocols, and it is the only one.
    pub(super) websocket_alone: bool,
}

/// Why a field cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldFault {
    /// Recipients would read it differently.
    Ambiguous,
    /// More than [`FIELDS_LIMIT`] field lines.
    TooMany,
}

/// Notes the first host a refused head names, as the most lenient recipient would find it: for the
/// record, never for a decision.
#[cold]
pub(in crate::inspect) fn note_stray_host(head: &[u8], facts: &mut Facts) {
    let head = head.get(..STRAY_LIMIT_BYTES).unwrap_or(head);
    // A line without its end may be the beginning of another name.
    let lines = head.split_inclusive(|b| *b == b'\n').skip(1);
    let mut lines = lines.filter_map(|line| line.strip_suffix(b"\n"));
    let value = lines.find_map(|text| {
        let (name, value) = text.split_at_checked(5)?;
        name.eq_ignore_ascii_case(b"host:").then(|| line::trim(value.trim_ascii_end()))
    });
    facts.noted.clear();
    match value.map(Host::parse) {
        Some(Ok(Host::Name(name))) => facts.noted.extend(DomainName::from_host(name)),
        Some(Ok(Host::Address(address))) => facts.host_address = Some(address),
        _ => {}
    }
}

/// How far into a refused head its host is looked for.
const STRAY_LIMIT_BYTES: usize = 8192;

impl From<Ambiguous> for FieldFault {
    fn from(_: Ambiguous) -> Self {
        Self::Ambiguous
    }
}

impl Fields {
    /// Takes one field line, which starts at `start` of the head.
    #[inline]
    pub(super) fn add(&mut self, line: &[u8], start: usize, kind: Kind) -> Result<(), FieldFault> {
        self.count = self.count.saturating_add(1);
        if self.count > FIELDS_LIMIT {
            return Err(FieldFault::TooMany);
        }
        let (name, value) = line::field(line)?;
        let taken = match name.len() {
            4 if kind == Kind::Request && name.eq_ignore_ascii_case(b"host") => {
                once(&mut self.host, line, line::trim(value), start)
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade(line::trim(value)),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.length(line, line::trim(value))
            }
            14 if kind == Kind::Request && name.eq_ignore_ascii_case(API_ID.as_bytes()) => {
                once(&mut self.api_id, line, line::trim(value), start)
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer(line, line::trim(value))
            }
            _ => true,
        };
        if taken { Ok(()) } else { Err(FieldFault::Ambiguous) }
    }

    /// Digits and nothing else, once: no list, no sign (RFC 9112 section 6.3, item 5).
    fn length(&mut self, line: &[u8], value: &[u8]) -> bool {
        let number = value.iter().try_fold(0_u64, |sum, digit| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit.wrapping_sub(b'0')))?;
            sum.checked_mul(10)?.checked_add(digit)
        });
        // Above 2^63 recipients that count in signed numbers differ.
        let length = number.filter(|&n| !value.is_empty() && i64::try_from(n).is_ok());
        length.is_some_and(|n| self.length.replace(n).is_none()) && !line.contains(&b'\t')
    }

    /// Codings of the registry with `chunked` last, in one field line and in plain spelling.
    fn transfer(&mut self, line: &[u8], value: &[u8]) -> bool {
        let mut codings = value.rsplit(|&b| b == b',').map(line::trim);
        let last = codings.next().is_some_and(|c| c.eq_ignore_ascii_case(b"chunked"));
        let known = codings.all(|coding| {
            [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"]
                .iter()
                .any(|name| coding.eq_ignore_ascii_case(name))
        });
        let once = self.transfer.replace(Transfer::Chunked).is_none();
        last && known && once && !line.contains(&b'\t')
    }

    fn upgrade(&mut self, value: &[u8]) -> bool {
        let websocket_alone = self.upgrade.is_none() && value.eq_ignore_ascii_case(b"websocket");
        self.upgrade = Some(Upgrade { websocket_alone });
        true
    }
}

/// The field by which a request names an API, at an endpoint of API Gateway that leads to many.
pub(in crate::inspect) const API_ID: &str = "x-apigw-api-id";

/// A field that tells where a request goes, once, whatever it says; a second one is read by some and
/// not by others (RFC 9112 section 3.2).
fn once(slot: &mut Option<Place>, line: &[u8], value: &[u8], start: usize) -> bool {
    let before = line.len().saturating_sub(line.trim_ascii_end().len());
    let end = start.saturating_add(line.len()).saturating_sub(before);
    let place = Place::new(end.saturating_sub(value.len()), end);
    !line.contains(&b'\t') && slot.replace(place).is_none()
}

/// Whether a trailer of this name would change what was read of the head, were it merged into it,
/// which RFC 9110 section 6.5.1 forbids and some recipients do.
pub(super) fn is_forbidden_trailer(name: &[u8]) -> bool {
    [&b"host"[..], API_ID.as_bytes(), b"content-length", b"transfer-encoding"]
        .iter()
        .any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}
