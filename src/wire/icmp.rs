//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, errors with the packet they quote, the rest by type.

use super::bytes::{array_at, u8_at, u16_at, u32_at};
use super::{Body, Fragment};
use crate::model::{Addr, FiveTuple, Protocol, Reason};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

/// Type, code, checksum and four bytes that depend on the type.
pub(super) const HEADER_LEN: usize = 8;

/// IPv6 extension headers of a quoted packet that are walked.
const QUOTED_EXTENSION_LIMIT: usize = super::IPV6_EXTENSION_LIMIT;

/// The packet an ICMP error is about, as far as it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its five-tuple, in the direction in which it travelled.
    pub tuple: FiveTuple,
    /// Its TCP sequence number.
    pub seq: Option<u32>,
    /// A later fragment is quoted: there are no ports.
    pub later_fragment: bool,
}

/// Reads the message in `bytes`, which end with the packet. The identifier of an echo is given
/// back as its ports.
pub(super) fn parse(
    bytes: &[u8],
    protocol: Protocol,
    fragment: Fragment,
) -> Result<((u16, u16), Body), Reason> {
    let (Some([kind, code]), Some(id), true) =
        (array_at(bytes, 0), u16_at(bytes, 4), bytes.len() >= HEADER_LEN)
    else {
        return Err(match fragment {
            Fragment::First { .. } => Reason::FragmentTiny,
            _ => Reason::IcmpHeader,
        });
    };
    let v4 = protocol == Protocol::ICMP;
    let body = match (v4, kind, code) {
        (true, 0, 0) | (false, 129, 0) => Body::Echo { reply: true },
        (true, 8, 0) | (false, 128, 0) => Body::Echo { reply: false },
        // Unreachable, time exceeded, parameter problem. Redirect and source quench are not among
        // them: they are no report about a flow but advice to a host (RFC 6633, RFC 4890).
        (true, 3 | 11 | 12, _) | (false, 1..=4, _) => {
            let rest = bytes.get(HEADER_LEN..).unwrap_or_default();
            let quoted = if v4 { quoted_v4(rest) } else { quoted_v6(rest) };
            Body::IcmpError { kind, code, quoted: quoted? }
        }
        _ => Body::Icmp { kind, code },
    };
    let id = if matches!(body, Body::Echo { .. }) { id } else { 0 };
    Ok(((id, id), body))
}

/// RFC 792: the IP header and 8 bytes at least. The quoted lengths and checksum are not judged,
/// routers on the way change them.
fn quoted_v4(bytes: &[u8]) -> Result<Quoted, Reason> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| Reason::IcmpHeader)?;
    let tuple = FiveTuple {
        src: Addr::v4(header.source()),
        dst: Addr::v4(header.destination()),
        protocol: Protocol(header.protocol().0),
        ..FiveTuple::default()
    };
    let later = header.fragments_offset().value() != 0;
    quoted_transport(tuple, bytes.get(header.slice().len()..).unwrap_or_default(), later)
}

/// RFC 4443 section 3: as much of the packet as fits.
fn quoted_v6(bytes: &[u8]) -> Result<Quoted, Reason> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| Reason::IcmpHeader)?;
    let (src, dst) = (Addr::v6(header.source()), Addr::v6(header.destination()));
    if src.is_v4() || dst.is_v4() {
        return Err(Reason::BadAddress);
    }
    let mut tuple = FiveTuple { src, dst, ..FiveTuple::default() };
    let mut rest = bytes.get(header.slice().len()..).unwrap_or_default();
    let mut next = header.next_header().0;
    for _ in 0..=QUOTED_EXTENSION_LIMIT {
        let units = u8_at(rest, 1).map(usize::from);
        let len = match next {
            0 | 43 | 60 => units.map(|units| units.saturating_add(1).saturating_mul(8)),
            51 => units.map(|units| units.saturating_add(2).saturating_mul(4)),
            44 => Some(8),
            _ => {
                tuple.protocol = Protocol(next);
                return quoted_transport(tuple, rest, false);
            }
        };
        let later = next == 44 && u16_at(rest, 2).ok_or(Reason::IcmpHeader)? & 0xfff8 != 0;
        next = u8_at(rest, 0).ok_or(Reason::IcmpHeader)?;
        rest = len.and_then(|len| rest.get(len..)).ok_or(Reason::IcmpHeader)?;
        if later {
            tuple.protocol = Protocol(next);
            return quoted_transport(tuple, rest, true);
        }
    }
    Err(Reason::IcmpHeader)
}

fn quoted_transport(tuple: FiveTuple, bytes: &[u8], later: bool) -> Result<Quoted, Reason> {
    let mut quoted = Quoted { tuple, seq: None, later_fragment: later };
    if later {
        return Ok(quoted);
    }
    let echo = match tuple.protocol {
        Protocol::TCP | Protocol::UDP => {
            let src_port = u16_at(bytes, 0).ok_or(Reason::IcmpHeader)?;
            let dst_port = u16_at(bytes, 2).ok_or(Reason::IcmpHeader)?;
            quoted.tuple = FiveTuple { src_port, dst_port, ..tuple };
            if tuple.protocol == Protocol::TCP {
                quoted.seq = u32_at(bytes, 4);
            }
            return Ok(quoted);
        }
        Protocol::ICMP if tuple.src.is_v4() => [0, 8],
        Protocol::ICMPV6 if !tuple.src.is_v4() => [128, 129],
        _ => return Ok(quoted),
    };
    if echo.contains(&u8_at(bytes, 0).ok_or(Reason::IcmpHeader)?) {
        let id = u16_at(bytes, 4).ok_or(Reason::IcmpHeader)?;
        quoted.tuple = FiveTuple { src_port: id, dst_port: id, ..tuple };
    }
    Ok(quoted)
}
