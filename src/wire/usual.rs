//! The frame GWLB sends nearly always, read in one piece at fixed places: Ethernet, IPv4 and GENEVE
//! without surprises, then IPv4 with TCP or UDP. Says the same as [`super::parse`] or nothing; it
//! refuses no frame itself.

use super::bytes::{array_at, u8_at, u16_at, u32_at};
use super::geneve::{self, GENEVE_PORT};
use super::tcp::{self, TcpFlags};
use super::{
    Body, Checksums, Decapsulation, Fragment, Link, Outer, Packet, Settings, checksum, outer,
};
use crate::model::{Addr, EndpointId, FiveTuple, Protocol};

/// Headers up to the inner UDP header's end, and to the end of a TCP header without options.
const HEADERS: usize = 110;
const TCP_HEADERS: usize = 122;

/// Offsets of the outer IPv4 header, UDP, GENEVE, its options, the inner IPv4 header, its transport.
const OUTER: usize = 14;
const UDP: usize = 34;
const GENEVE: usize = 42;
const OPTIONS: usize = 50;
const INNER: usize = 82;
const TRANSPORT: usize = 102;

/// An IPv4 header without options.
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;
const TCP_LEN: usize = 20;

/// What a packet of a known flow needs of a frame of the usual form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glimpse {
    /// The GWLB endpoint the packet came through.
    pub endpoint: EndpointId,
    /// The gateway that sent the datagram.
    pub gateway: [u8; 4],
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Inner source address and port.
    pub src: (u32, u16),
    /// Inner destination address and port.
    pub dst: (u32, u16),
    /// Length of the inner packet with its IP header.
    pub ip_len: u16,
    /// Length of what the transport carries.
    pub payload_len: u16,
    /// Of a TCP segment; zeros of a UDP datagram.
    pub tcp: TcpGlimpse,
}

/// The fixed part of a TCP header, but for what a known flow does not need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpGlimpse {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; counts only with ACK.
    pub ack: u32,
    /// Window, not scaled.
    pub window: u16,
    /// Flags.
    pub flags: TcpFlags,
}

/// Four or eight bytes at a fixed place, as they should be, in the machine's own byte order.
#[derive(Clone, Copy)]
struct Shape<T> {
    at: usize,
    want: T,
    mask: T,
}

/// Ethernet type; version and length of the IPv4 header.
const START: Shape<u64> =
    eight(OUTER - 2, [0x08, 0x00, 0x45, 0, 0, 0, 0, 0], [0xff, 0xff, 0xff, 0, 0, 0, 0, 0]);
/// No fragment (RFC 791 section 3.1); UDP.
const WHOLE: Shape<u32> = four(OUTER + 6, [0, 0, 0, Protocol::UDP.0], [0x3f, 0xff, 0, 0xff]);
/// The destination port, by itself and with no sum, so that nobody has to look at that.
const UNSUMMED: Shape<u64> = to_geneve([0xff, 0xff]);
const VOUCHED: Shape<u64> = to_geneve([0, 0]);
/// Version 0 and eight words of options; O bit clear; IPv4.
const TUNNEL: Shape<u32> = four(GENEVE, [8, 0, 0x08, 0x00], [0xff, 0x80, 0xff, 0xff]);
/// Class, type and length of the three options; not the three reserved bits before the length.
const ENDPOINT: Shape<u32> = four(OPTIONS, [0x01, 0x08, 1, 2], OPTION);
const ATTACHMENT: Shape<u32> = four(OPTIONS + 12, [0x01, 0x08, 2, 2], OPTION);
const COOKIE: Shape<u32> = four(OPTIONS + 24, [0x01, 0x08, 3, 1], OPTION);
const OPTION: [u8; 4] = [0xff, 0xff, 0xff, 0x1f];
/// Version and length of the inner IPv4 header; no fragment.
const INSIDE: Shape<u64> =
    eight(INNER, [0x45, 0, 0, 0, 0, 0, 0, 0], [0xff, 0, 0, 0, 0, 0, 0x3f, 0xff]);

const fn four(at: usize, want: [u8; 4], mask: [u8; 4]) -> Shape<u32> {
    Shape { at, want: u32::from_ne_bytes(want), mask: u32::from_ne_bytes(mask) }
}

const fn eight(at: usize, want: [u8; 8], mask: [u8; 8]) -> Shape<u64> {
    Shape { at, want: u64::from_ne_bytes(want), mask: u64::from_ne_bytes(mask) }
}

const fn to_geneve([high, low]: [u8; 2]) -> Shape<u64> {
    let [port_high, port_low] = GENEVE_PORT.to_be_bytes();
    let mask = [0, 0, 0xff, 0xff, 0, 0, high, low];
    eight(UDP, [0, 0, port_high, port_low, 0, 0, 0, 0], mask)
}

impl Shape<u64> {
    /// Zero if the frame is of this shape.
    #[inline(always)]
    fn differs(&self, head: &[u8; HEADERS]) -> Option<u64> {
        Some((u64::from_ne_bytes(array_at(head, self.at)?) ^ self.want) & self.mask)
    }
}

impl Shape<u32> {
    /// Zero if the frame is of this shape.
    #[inline(always)]
    fn differs(&self, head: &[u8; HEADERS]) -> Option<u64> {
        let differs = (u32::from_ne_bytes(array_at(head, self.at)?) ^ self.want) & self.mask;
        Some(u64::from(differs))
    }
}

/// Reads a frame of the usual form. `None` is any other frame, good or bad.
#[inline(always)]
#[must_use]
pub fn glimpse(frame: &[u8], link: Link, settings: &Settings) -> Option<Glimpse> {
    if link != Link::Ethernet || settings.decapsulation != Decapsulation::Gwlb {
        return None;
    }
    let head: &[u8; HEADERS] = frame.first_chunk()?;
    let port = if settings.outer_udp == Checksums::Ignore { VOUCHED } else { UNSUMMED };
    let shape = START.differs(head)?
        | WHOLE.differs(head)?
        | port.differs(head)?
        | TUNNEL.differs(head)?
        | ENDPOINT.differs(head)?
        | ATTACHMENT.differs(head)?
        | COOKIE.differs(head)?
        | INSIDE.differs(head)?;
    if shape != 0 {
        return None;
    }
    let outer_len = usize::from(u16_at(head, OUTER + 2)?);
    let udp_len = usize::from(u16_at(head, UDP + 4)?);
    let ip_len = u16_at(head, INNER + 2)?;
    let end = OUTER.wrapping_add(outer_len);
    let inner_end = INNER.wrapping_add(usize::from(ip_len));
    let fits =
        (udp_len.wrapping_add(IPV4_LEN) == outer_len) & (end <= frame.len()) & (inner_end <= end);
    let sums = checksum::is_valid_ipv4(head, OUTER)? & checksum::is_valid_ipv4(head, INNER)?;
    let src = u32_at(head, INNER + 12)?;
    let group = src >> 28 == 0xe || src == u32::MAX;
    if !fits || group || !(sums || settings.checksums == Checksums::Ignore) {
        return None;
    }
    let transport_len = usize::from(ip_len).checked_sub(IPV4_LEN)?;
    let protocol = Protocol(u8_at(head, INNER + 9)?);
    let (payload_len, tcp) = match protocol {
        Protocol::UDP => {
            let len = usize::from(u16_at(head, TRANSPORT + 4)?);
            let payload_len = len.checked_sub(UDP_LEN).filter(|_| len <= transport_len)?;
            (payload_len, TcpGlimpse::default())
        }
        Protocol::TCP => segment(frame, transport_len)?,
        _ => return None,
    };
    Some(Glimpse {
        endpoint: EndpointId(u64::from_be_bytes(array_at(head, OPTIONS + 4)?)),
        gateway: array_at(head, OUTER + 12)?,
        protocol,
        src: (src, u16_at(head, TRANSPORT)?),
        dst: (u32_at(head, INNER + 16)?, u16_at(head, TRANSPORT + 2)?),
        ip_len,
        payload_len: payload_len as u16,
        tcp,
    })
}

/// The TCP header of the usual form: its length is right and a connection can produce its flags.
#[inline(always)]
fn segment(frame: &[u8], transport_len: usize) -> Option<(usize, TcpGlimpse)> {
    let head: &[u8; TCP_HEADERS] = frame.first_chunk()?;
    let header_len = usize::from(u8_at(head, TRANSPORT + 12)? >> 4).wrapping_mul(4);
    let flags = TcpFlags(u8_at(head, TRANSPORT + 13)?);
    if header_len < TCP_LEN || header_len > transport_len || !flags.are_sane() {
        return None;
    }
    let tcp = TcpGlimpse {
        seq: u32_at(head, TRANSPORT + 4)?,
        ack: u32_at(head, TRANSPORT + 8)?,
        window: u16_at(head, TRANSPORT + 14)?,
        flags,
    };
    Some((transport_len.wrapping_sub(header_len), tcp))
}

/// Everything of a frame that [`glimpse`] has read.
#[inline]
#[must_use]
pub fn at_length(frame: &[u8]) -> Option<Packet> {
    let head: &[u8; HEADERS] = frame.first_chunk()?;
    let gwlb = geneve::usual(head.get(OPTIONS..INNER)?)?;
    let ip_len = u16_at(head, INNER + 2)?;
    let (src, dst) = (Addr::v4(array_at(head, INNER + 12)?), Addr::v4(array_at(head, INNER + 16)?));
    let protocol = Protocol(u8_at(head, INNER + 9)?);
    let transport = frame.get(TRANSPORT..INNER.checked_add(usize::from(ip_len))?)?;
    let ((src_port, dst_port), header_len, payload_len, body) = if protocol == Protocol::UDP {
        let payload_len = usize::from(u16_at(transport, 4)?).checked_sub(UDP_LEN)?;
        let ports = (u16_at(transport, 0)?, u16_at(transport, 2)?);
        (ports, UDP_LEN, payload_len, Body::Udp)
    } else {
        let (ports, header_len, segment) = tcp::parse(transport, Fragment::Whole).ok()?;
        (ports, header_len, transport.len().checked_sub(header_len)?, Body::Tcp(segment))
    };
    Some(Packet {
        outer: Some(Outer {
            ip: OUTER as u16,
            geneve: GENEVE as u16,
            endpoint: gwlb.endpoint,
            attachment: gwlb.attachment,
            cookie: gwlb.cookie,
            source: Addr::v4(array_at(head, OUTER + 12)?),
        }),
        tuple: FiveTuple { src, dst, src_port, dst_port, protocol },
        link: Link::Ethernet,
        network: OUTER as u16,
        ip: INNER as u16,
        ip_len: u32::from(ip_len),
        transport: TRANSPORT as u16,
        payload: u16::try_from(TRANSPORT.checked_add(header_len)?).ok()?,
        payload_len: u16::try_from(payload_len).ok()?,
        ttl: u8_at(head, INNER + 8)?,
        fragment: Fragment::Whole,
        body,
    })
}

/// [`super::reflect`] of a frame that [`glimpse`] has read.
#[inline(always)]
pub fn reflect_usual(frame: &mut [u8]) {
    if let Some(head) = frame.first_chunk_mut::<HEADERS>() {
        outer::swap::<6>(head, 0);
        outer::swap::<4>(head, OUTER + 12);
    }
}
