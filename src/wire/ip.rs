//! IPv4 and IPv6 headers with their options and extension headers. Says where the transport
//! starts and whether the packet is a fragment; reassembles nothing.

use super::bytes::u8_at;
use super::{Checksums, Fragment, checksum};
use crate::model::{Addr, FiveTuple, Protocol, Reason};
use etherparse::err::{ipv4, ipv6};
use etherparse::{
    IpAuthHeaderSlice, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice,
};

/// IPv6 extension headers in one packet that are walked.
pub const IPV6_EXTENSION_LIMIT: usize = 8;

const IPV4_HEADER_LEN: usize = 20;
const IPV6_HEADER_LEN: usize = 40;

/// The longest packet either version describes without jumbograms (IPv4: header included).
const PACKET_LIMIT_BYTES: usize = 65_535;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// The version of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V6,
}

impl Version {
    #[inline]
    pub(super) const fn of_nibble(nibble: u8) -> Option<Self> {
        match nibble {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    #[inline]
    pub(super) const fn of_ethertype(ethertype: u16) -> Option<Self> {
        match ethertype {
            0x0800 => Some(Self::V4),
            0x86dd => Some(Self::V6),
            _ => None,
        }
    }
}

/// The room a packet has, and what it means if it is longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    end: usize,
    short: Reason,
    /// Whether a length of zero means "as long as the frame": captures of packets that a network
    /// card would have cut into segments (TSO, BIG TCP) are written so.
    offload: bool,
}

impl Space {
    /// In a captured frame or tunnel, which the snap length may have cut.
    pub(super) const fn capture(end: usize) -> Self {
        Self { end, short: Reason::Truncated, offload: true }
    }

    /// As the outermost packet of a live frame.
    pub(super) const fn outermost(end: usize) -> Self {
        Self { end, short: Reason::Truncated, offload: false }
    }

    /// Inside a GENEVE datagram that is there in full.
    pub(super) const fn gwlb(end: usize) -> Self {
        Self { end, short: Reason::IpLength, offload: false }
    }
}

/// What an IP header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip {
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) protocol: Protocol,
    pub(super) ttl: u8,
    pub(super) fragment: Fragment,
    /// Offset of the header.
    pub(super) header: usize,
    /// Offset of the transport.
    pub(super) transport: usize,
    /// Offset behind the packet.
    pub(super) end: usize,
}

impl Ip {
    #[inline]
    pub(super) const fn tuple(&self, (src_port, dst_port): (u16, u16)) -> FiveTuple {
        FiveTuple { src: self.src, dst: self.dst, src_port, dst_port, protocol: self.protocol }
    }
}

/// Reads the header at `at`, which must be of `version`.
#[inline(always)]
pub(super) fn parse(
    frame: &[u8],
    at: usize,
    version: Version,
    space: &Space,
    checksums: Checksums,
) -> Result<Ip, Reason> {
    let bytes = frame.get(at..space.end).ok_or(space.short)?;
    let ip = match version {
        Version::V4 => v4(bytes, at, space, checksums)?,
        Version::V6 => v6(bytes, at, space)?,
    };
    // RFC 1122 section 3.2.1.3, RFC 4291 section 2.7: no packet comes from a group.
    if is_group(ip.src) {
        return Err(Reason::BadAddress);
    }
    Ok(ip)
}

/// Whether this is a multicast address or the IPv4 limited broadcast address.
#[inline]
pub(super) const fn is_group(addr: Addr) -> bool {
    let octets = addr.octets();
    if addr.is_v4() {
        octets[12] & 0xf0 == 0xe0 || addr.bits() as u32 == u32::MAX
    } else {
        octets[0] == 0xff
    }
}

/// The outer IPv4 header of a live frame, of which less is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct OuterIp {
    pub(super) source: [u8; 4],
    pub(super) protocol: Protocol,
    pub(super) is_fragment: bool,
    /// Offset of the transport.
    pub(super) transport: usize,
    /// Offset behind the packet.
    pub(super) end: usize,
}

/// Reads the outer IPv4 header at `at`.
#[inline]
pub(super) fn outer(frame: &[u8], at: usize, checksums: Checksums) -> Result<OuterIp, Reason> {
    let space = Space::outermost(frame.len());
    let bytes = frame.get(at..).ok_or(space.short)?;
    let (header, total) = v4_header(bytes, &space, checksums)?;
    Ok(OuterIp {
        source: header.source(),
        protocol: Protocol(header.protocol().0),
        is_fragment: header.is_fragmenting_payload(),
        transport: at.saturating_add(header.slice().len()),
        end: at.saturating_add(total),
    })
}

/// An IPv4 header that is sound, and the length of its packet.
#[inline(always)]
fn v4_header<'f>(
    bytes: &'f [u8],
    space: &Space,
    checksums: Checksums,
) -> Result<(Ipv4HeaderSlice<'f>, usize), Reason> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|error| match error {
        ipv4::HeaderSliceError::Len(_) => space.short,
        ipv4::HeaderSliceError::Content(ipv4::HeaderError::UnexpectedVersion { .. }) => {
            Reason::IpVersion
        }
        ipv4::HeaderSliceError::Content(_) => Reason::IpLength,
    })?;
    let total = match usize::from(header.total_len()) {
        0 if space.offload => bytes.len(),
        total => total,
    };
    if total < header.slice().len() || total > PACKET_LIMIT_BYTES {
        return Err(Reason::IpLength);
    }
    if total > bytes.len() {
        return Err(space.short);
    }
    if checksums == Checksums::Verify && !checksum::is_valid(header.slice()) {
        return Err(Reason::IpChecksum);
    }
    if header.slice().len() > IPV4_HEADER_LEN {
        options(header.options())?;
    }
    Ok((header, total))
}

#[inline(always)]
fn v4(bytes: &[u8], at: usize, space: &Space, checksums: Checksums) -> Result<Ip, Reason> {
    let (header, total) = v4_header(bytes, space, checksums)?;
    let header_len = header.slice().len();
    let protocol = Protocol(header.protocol().0);
    let fragment = Piece {
        id: u32::from(header.identification()),
        offset: header.fragments_offset().byte_offset(),
        len: total.saturating_sub(header_len),
        more: header.more_fragments(),
        key: protocol,
    };
    Ok(Ip {
        src: Addr::v4(header.source()),
        dst: Addr::v4(header.destination()),
        protocol,
        ttl: header.ttl(),
        fragment: fragment.classify(protocol)?,
        header: at,
        transport: at.saturating_add(header_len),
        end: at.saturating_add(total),
    })
}

/// Walks IPv4 options (RFC 791 section 3.1). Loose and strict source routing are refused: they
/// take the packet past the destination that was judged (RFC 7126 sections 4.3 and 4.4).
#[cold]
fn options(options: &[u8]) -> Result<(), Reason> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;
    let mut rest = options;
    while let Some((&kind, tail)) = rest.split_first() {
        rest = match kind {
            END => return Ok(()),
            NO_OPERATION => tail,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Reason::IpOptions),
            _ => {
                let len = usize::from(*tail.first().ok_or(Reason::IpOptions)?);
                if len < 2 {
                    return Err(Reason::IpOptions);
                }
                rest.get(len..).ok_or(Reason::IpOptions)?
            }
        };
    }
    Ok(())
}

#[inline(always)]
fn v6(bytes: &[u8], at: usize, space: &Space) -> Result<Ip, Reason> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|error| match error {
        ipv6::HeaderSliceError::Len(_) => space.short,
        ipv6::HeaderSliceError::Content(_) => Reason::IpVersion,
    })?;
    let next = Protocol(header.next_header().0);
    let total = match usize::from(header.payload_length()) {
        // A jumbogram (RFC 2675) or what only offload makes.
        0 if next.0 == HOP_BY_HOP => return Err(Reason::IpLength),
        0 if space.offload && next == Protocol::TCP => bytes.len(),
        payload => payload.saturating_add(IPV6_HEADER_LEN),
    };
    if total > PACKET_LIMIT_BYTES.saturating_add(IPV6_HEADER_LEN) {
        return Err(Reason::IpLength);
    }
    let payload = bytes.get(IPV6_HEADER_LEN..total).ok_or(space.short)?;
    let (src, dst) = (Addr::v6(header.source()), Addr::v6(header.destination()));
    // An IPv4-mapped address would meet the flows of IPv4 (RFC 4942 section 2.2).
    if src.is_v4() || dst.is_v4() {
        return Err(Reason::BadAddress);
    }
    let chain = match next.0 {
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION => {
            extensions(payload, next)?
        }
        _ => Chain { protocol: next, len: 0, fragment: Fragment::Whole },
    };
    let transport = at.saturating_add(IPV6_HEADER_LEN).saturating_add(chain.len);
    Ok(Ip {
        src,
        dst,
        protocol: chain.protocol,
        ttl: header.hop_limit(),
        fragment: chain.fragment,
        header: at,
        transport,
        end: at.saturating_add(total),
    })
}

/// Where a chain of extension headers ends.
struct Chain {
    protocol: Protocol,
    len: usize,
    fragment: Fragment,
}

/// Walks IPv6 extension headers (RFC 8200 section 4). Hop-by-hop options stand first, destination
/// options at most twice, the others once. A first fragment holds the whole chain (RFC 7112).
#[cold]
fn extensions(payload: &[u8], first: Protocol) -> Result<Chain, Reason> {
    let mut chain = Chain { protocol: first, len: 0, fragment: Fragment::Whole };
    let (mut destination, mut once) =
        (0u8, [(ROUTING, false), (FRAGMENT, false), (AUTHENTICATION, false)]);
    for position in 0..=IPV6_EXTENSION_LIMIT {
        let kind = chain.protocol.0;
        let in_place = match kind {
            HOP_BY_HOP => position == 0,
            DESTINATION => {
                destination = destination.saturating_add(1);
                destination <= 2
            }
            ROUTING | FRAGMENT | AUTHENTICATION => {
                once.iter_mut().any(|(of, seen)| *of == kind && !std::mem::replace(seen, true))
            }
            _ => return Ok(chain),
        };
        if !in_place || position == IPV6_EXTENSION_LIMIT {
            return Err(Reason::Ipv6Extension);
        }
        extension(&mut chain, payload, kind)?;
        if matches!(chain.fragment, Fragment::Later { .. }) {
            return Ok(chain);
        }
    }
    Err(Reason::Ipv6Extension)
}

/// Steps over one extension header.
fn extension(chain: &mut Chain, payload: &[u8], kind: u8) -> Result<(), Reason> {
    let short = match chain.fragment {
        Fragment::Whole => Reason::Ipv6Extension,
        _ => Reason::FragmentTiny,
    };
    let rest = payload.get(chain.len..).unwrap_or_default();
    let (next, len) = match kind {
        FRAGMENT => {
            let header = Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| short)?;
            let next = Protocol(header.next_header().0);
            let piece = Piece {
                id: header.identification(),
                offset: header.fragment_offset().byte_offset(),
                len: rest.len().saturating_sub(header.slice().len()),
                more: header.more_fragments(),
                key: Protocol(FRAGMENT),
            };
            chain.fragment = piece.classify(next)?;
            (next.0, header.slice().len())
        }
        AUTHENTICATION => {
            let header = IpAuthHeaderSlice::from_slice(rest).map_err(|_| short)?;
            (header.next_header().0, header.slice().len())
        }
        _ => {
            let header = Ipv6RawExtHeaderSlice::from_slice(rest).map_err(|_| short)?;
            if kind == ROUTING && routes_on(header.slice()) {
                return Err(Reason::Ipv6Extension);
            }
            (header.next_header().0, header.slice().len())
        }
    };
    chain.protocol = Protocol(next);
    chain.len = chain.len.saturating_add(len);
    Ok(())
}

/// Whether a routing header sends the packet on past its destination address, or is of the type
/// that must not be used any more (RFC 5095).
fn routes_on(header: &[u8]) -> bool {
    let (kind, segments_left) = (u8_at(header, 2), u8_at(header, 3));
    kind == Some(0) || segments_left != Some(0)
}

/// The fields of one fragment.
struct Piece {
    id: u32,
    offset: u16,
    len: usize,
    more: bool,
    key: Protocol,
}

impl Piece {
    #[inline(always)]
    fn classify(&self, next: Protocol) -> Result<Fragment, Reason> {
        if self.offset == 0 && !self.more {
            return Ok(Fragment::Whole);
        }
        self.check(next)
    }

    /// All but the last fragment are multiples of 8 bytes, none is empty, and none ends behind the
    /// longest packet (RFC 791 section 3.2, RFC 8200 section 4.5). A TCP fragment that starts in
    /// the header rewrites what was judged (RFC 3128).
    #[cold]
    fn check(&self, next: Protocol) -> Result<Fragment, Reason> {
        const TCP_HEADER_LEN: u16 = 20;
        let end = usize::from(self.offset).saturating_add(self.len);
        let in_header = next == Protocol::TCP && (1..TCP_HEADER_LEN).contains(&self.offset);
        if self.len == 0
            || (self.more && !self.len.is_multiple_of(8))
            || end > PACKET_LIMIT_BYTES
            || in_header
        {
            return Err(Reason::FragmentTiny);
        }
        let len = u16::try_from(self.len).map_err(|_| Reason::FragmentTiny)?;
        let Self { id, offset, more, key, .. } = *self;
        Ok(if offset == 0 {
            Fragment::First { id, len, key }
        } else {
            Fragment::Later { id, offset, len, more, key }
        })
    }
}
