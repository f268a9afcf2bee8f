//! GENEVE (RFC 8926) and the three options of GWLB. Option types other than those are skipped,
//! unless they are critical.

use super::bytes::{array_at, u8_at, u16_at, u32_at};
use crate::model::{AttachmentId, EndpointId, FlowCookie, Reason};

/// UDP destination port of GENEVE (RFC 8926 section 3.3).
pub const GENEVE_PORT: u16 = 6081;

/// The option class of GWLB, one of Amazon's.
pub const GWLB_OPTION_CLASS: u16 = 0x0108;

/// Protocol type of an Ethernet payload (RFC 8926 section 3.4).
pub(super) const ETHERNET: u16 = 0x6558;

const HEADER_LEN: usize = 8;
const OPTION_HEADER_LEN: usize = 4;

/// An unknown option whose type has this bit drops the packet (RFC 8926 section 3.5).
const CRITICAL: u8 = 0x80;

/// Option types of GWLB; their lengths in 4-byte words never change (RFC 8926 section 3.5.1).
const ENDPOINT: u8 = 1;
const ATTACHMENT: u8 = 2;
const COOKIE: u8 = 3;

/// The base header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'f> {
    pub(super) options: &'f [u8],
    pub(super) protocol: u16,
    /// Offset of what it carries.
    pub(super) payload: usize,
}

/// What GWLB says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gwlb {
    pub(super) endpoint: EndpointId,
    pub(super) attachment: AttachmentId,
    pub(super) cookie: FlowCookie,
}

/// Reads the base header in the datagram `at..end`. Reserved bits and the network identifier are
/// not looked at; the C bit says nothing that the options do not say.
#[inline(always)]
pub(super) fn header(frame: &[u8], at: usize, end: usize) -> Result<Header<'_>, Reason> {
    let bytes = frame.get(at..end).ok_or(Reason::Truncated)?;
    let base: [u8; 4] = array_at(bytes, 0).ok_or(Reason::Truncated)?;
    let [first, flags, type_high, type_low] = base;
    if first >> 6 != 0 {
        return Err(Reason::GeneveVersion);
    }
    if flags & 0x80 != 0 {
        return Err(Reason::GeneveControl);
    }
    let options_len = usize::from(first & 0x3f).saturating_mul(4);
    let options_end = HEADER_LEN.saturating_add(options_len);
    if bytes.len() < HEADER_LEN {
        return Err(Reason::Truncated);
    }
    Ok(Header {
        options: bytes.get(HEADER_LEN..options_end).ok_or(Reason::GeneveOptionLength)?,
        protocol: u16::from_be_bytes([type_high, type_low]),
        payload: at.saturating_add(options_end),
    })
}

/// The three options, each exactly once, of exact length, in any order, among others that are
/// not critical.
#[inline(always)]
pub(super) fn gwlb(options: &[u8]) -> Result<Gwlb, Reason> {
    usual(options).map_or_else(|| walk(options), Ok)
}

/// The form GWLB sends: the three in order and nothing else. Everything else takes the long way.
#[inline(always)]
pub(super) fn usual(options: &[u8]) -> Option<Gwlb> {
    /// Class, type and length; not the three reserved bits before the length.
    const MASK: u32 = 0xffff_ff1f;
    let options: &[u8; 32] = options.try_into().ok()?;
    let head = |at| Some(u32_at(options, at)? & MASK);
    if head(0)? != 0x0108_0102 || head(12)? != 0x0108_0202 || head(24)? != 0x0108_0301 {
        return None;
    }
    Some(Gwlb {
        endpoint: EndpointId(u64_at(options, 4)?),
        attachment: AttachmentId(u64_at(options, 16)?),
        cookie: FlowCookie(u32_at(options, 28)?),
    })
}

#[cold]
fn walk(options: &[u8]) -> Result<Gwlb, Reason> {
    let (mut endpoint, mut attachment, mut cookie) = (None, None, None);
    for option in Options(options) {
        let (class, kind, data) = option?;
        match (class, kind) {
            (GWLB_OPTION_CLASS, ENDPOINT) => once(&mut endpoint, data, u64::from_be_bytes)?,
            (GWLB_OPTION_CLASS, ATTACHMENT) => once(&mut attachment, data, u64::from_be_bytes)?,
            (GWLB_OPTION_CLASS, COOKIE) => once(&mut cookie, data, u32::from_be_bytes)?,
            (_, kind) if kind & CRITICAL != 0 => return Err(Reason::GeneveCriticalOption),
            _ => {}
        }
    }
    let (Some(endpoint), Some(attachment), Some(cookie)) = (endpoint, attachment, cookie) else {
        return Err(Reason::GeneveOptionMissing);
    };
    Ok(Gwlb {
        endpoint: EndpointId(endpoint),
        attachment: AttachmentId(attachment),
        cookie: FlowCookie(cookie),
    })
}

fn once<T, const N: usize>(
    slot: &mut Option<T>,
    data: &[u8],
    read: impl Fn([u8; N]) -> T,
) -> Result<(), Reason> {
    let data: [u8; N] = data.try_into().map_err(|_| Reason::GeneveOptionSize)?;
    if slot.is_some() {
        return Err(Reason::GeneveOptionRepeated);
    }
    *slot = Some(read(data));
    Ok(())
}

/// Whether any option is of GWLB's class, one that is cut included.
pub(super) fn has_gwlb_option(options: &[u8]) -> bool {
    let mut rest = options;
    while let Some(class) = u16_at(rest, 0) {
        if class == GWLB_OPTION_CLASS {
            return true;
        }
        rest = split(rest).map_or(&[], |(_, behind)| behind);
    }
    false
}

/// Whether the options of a tunnel that is not GWLB's add up to the header's length.
pub(super) fn add_up(options: &[u8]) -> bool {
    Options(options).all(|option| option.is_ok())
}

/// Class, type and data.
type GeneveOption<'f> = (u16, u8, &'f [u8]);

/// Walks options. Every step takes at least 4 of at most 252 bytes.
struct Options<'f>(&'f [u8]);

impl<'f> Iterator for Options<'f> {
    type Item = Result<GeneveOption<'f>, Reason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (option, rest) = split(self.0).unzip();
        self.0 = rest.unwrap_or_default();
        Some(option.ok_or(Reason::GeneveOptionLength))
    }
}

/// One option and what is behind it; nothing if it is longer than what is there.
fn split(options: &[u8]) -> Option<(GeneveOption<'_>, &[u8])> {
    let (class, kind) = (u16_at(options, 0)?, u8_at(options, 2)?);
    let len = usize::from(u8_at(options, 3)? & 0x1f).saturating_mul(4);
    let (option, rest) = options.split_at_checked(OPTION_HEADER_LEN.saturating_add(len))?;
    Some(((class, kind, option.get(OPTION_HEADER_LEN..)?), rest))
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests;
