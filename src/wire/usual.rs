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

/// Where the bytes start that are as they should be or not, and how many there are.
const SHAPE_START: usize = OUTER - 2;
const SHAPE_LEN: usize = 80;

/// Bytes from the Ethernet type to the inner IPv4 header's first half: as they should be, and which of
/// their bits count. Two words at a time, so that the compiler compares them in vector registers.
struct Shape {
    want: [[u64; 2]; SHAPE_LEN / 16],
    mask: [[u64; 2]; SHAPE_LEN / 16],
}

/// A frame of the usual form whose outer UDP sum is zero, so that nobody has to look at it.
const UNSUMMED: Shape = shape(0xff);
/// One whose outer UDP sum somebody vouches for.
const VOUCHED: Shape = shape(0);

const fn shape(sum: u8) -> Shape {
    let [port_high, port_low] = GENEVE_PORT.to_be_bytes();
    // Each a place, a byte and the bits of it that count.
    let bytes: [(usize, u8, u8); 29] = [
        // Ethernet type; version and length of the IPv4 header.
        (OUTER - 2, 0x08, 0xff),
        (OUTER - 1, 0x00, 0xff),
        (OUTER, 0x45, 0xff),
        // No fragment (RFC 791 section 3.1); UDP.
        (OUTER + 6, 0, 0x3f),
        (OUTER + 7, 0, 0xff),
        (OUTER + 9, Protocol::UDP.0, 0xff),
        (UDP + 2, port_high, 0xff),
        (UDP + 3, port_low, 0xff),
        (UDP + 6, 0, sum),
        (UDP + 7, 0, sum),
        // Version 0 and eight words of options; O bit clear; IPv4.
        (GENEVE, 8, 0xff),
        (GENEVE + 1, 0, 0x80),
        (GENEVE + 2, 0x08, 0xff),
        (GENEVE + 3, 0x00, 0xff),
        // Class, type and length of the three options; not the three reserved bits before the length.
        (OPTIONS, 0x01, 0xff),
        (OPTIONS + 1, 0x08, 0xff),
        (OPTIONS + 2, 1, 0xff),
        (OPTIONS + 3, 2, 0x1f),
        (OPTIONS + 12, 0x01, 0xff),
        (OPTIONS + 13, 0x08, 0xff),
        (OPTIONS + 14, 2, 0xff),
        (OPTIONS + 15, 2, 0x1f),
        (OPTIONS + 24, 0x01, 0xff),
        (OPTIONS + 25, 0x08, 0xff),
        (OPTIONS + 26, 3, 0xff),
        (OPTIONS + 27, 1, 0x1f),
        // Version and length of the inner IPv4 header; no fragment.
        (INNER, 0x45, 0xff),
        (INNER + 6, 0, 0x3f),
        (INNER + 7, 0, 0xff),
    ];
    let (mut want, mut mask) = ([[0; 2]; SHAPE_LEN / 16], [[0; 2]; SHAPE_LEN / 16]);
    let mut rest: &[(usize, u8, u8)] = &bytes;
    while let [(at, byte, bits), behind @ ..] = rest {
        let at = *at - SHAPE_START;
        let (mut wanted, mut counts) = ([0; 8], [0; 8]);
        (wanted[at % 8], counts[at % 8]) = (*byte, *bits);
        want[at / 16][at / 8 % 2] |= u64::from_ne_bytes(wanted);
        mask[at / 16][at / 8 % 2] |= u64::from_ne_bytes(counts);
        rest = behind;
    }
    Shape { want, mask }
}

impl Shape {
    #[inline(always)]
    fn fits(&self, head: &[u8; HEADERS]) -> bool {
        let Some(bytes) = head.get(SHAPE_START..).and_then(<[u8]>::first_chunk::<SHAPE_LEN>) else {
            return false;
        };
        let (words, _) = bytes.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        let mut differs = [0; 2];
        for ((pair, want), mask) in pairs.iter().zip(&self.want).zip(&self.mask) {
            for (((differs, word), want), mask) in differs.iter_mut().zip(pair).zip(want).zip(mask)
            {
                *differs |= (u64::from_ne_bytes(*word) ^ want) & mask;
            }
        }
        let [one, two] = differs;
        one | two == 0
    }
}

/// Reads a frame of the usual form. `None` is any other frame, good or bad.
#[inline(always)]
#[must_use]
pub fn glimpse(frame: &[u8], link: Link, settings: &Settings) -> Option<Glimpse> {
    if link != Link::Ethernet {
        return None;
    }
    let head: &[u8; HEADERS] = frame.first_chunk()?;
    // Of a capture the outer packet is held to what any packet is.
    if settings.decapsulation == Decapsulation::Capture && is_group(u32_at(head, OUTER + 12)?) {
        return None;
    }
    let shape = if settings.outer_udp == Checksums::Ignore { &VOUCHED } else { &UNSUMMED };
    if !shape.fits(head) {
        return None;
    }
    let outer_len = usize::from(u16_at(head, OUTER + 2)?);
    let udp_len = usize::from(u16_at(head, UDP + 4)?);
    let ip_len = u16_at(head, INNER + 2)?;
    let end = OUTER.wrapping_add(outer_len);
    let inner_end = INNER.wrapping_add(usize::from(ip_len));
    let fits =
        (udp_len.wrapping_add(IPV4_LEN) == outer_len) & (end <= frame.len()) & (inner_end == end);
    let sums = checksum::is_valid_ipv4(head, OUTER)? & checksum::is_valid_ipv4(head, INNER)?;
    let src = u32_at(head, INNER + 12)?;
    if !fits || is_group(src) || !(sums || settings.checksums == Checksums::Ignore) {
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

/// As [`super::ip::is_group`].
#[inline(always)]
const fn is_group(addr: u32) -> bool {
    addr >> 28 == 0xe || addr == u32::MAX
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

/// What the UDP datagram in a frame carries that [`glimpse`] has read.
#[inline(always)]
#[must_use]
pub fn payload_of_usual_datagram(frame: &[u8], payload_len: u16) -> &[u8] {
    let behind = frame.get(HEADERS..).unwrap_or_default();
    behind.get(..usize::from(payload_len)).unwrap_or_default()
}

/// Whether the transport checksum of the UDP datagram in a frame is right that [`glimpse`] has read, as
/// [`super::transport_checksum_ok`] has it. `ip_len` is the length of the inner packet.
#[must_use]
pub fn usual_datagram_is_intact(frame: &[u8], ip_len: u16) -> bool {
    let inner = frame.get(INNER..).and_then(|inner| inner.get(..usize::from(ip_len)));
    inner.is_some_and(|inner| {
        let datagram = inner.get(IPV4_LEN..).unwrap_or_default();
        checksum::udp_checksum_ok(inner, datagram, true)
    })
}

/// What the SYN in a frame offers that [`glimpse`] has read, of which a known flow needs nothing: the
/// scale of its windows, as [`TcpSegment::wscale`](super::TcpSegment::wscale) has it. `payload_len` is the
/// length of its data.
#[inline]
#[must_use]
pub fn wscale_of_usual(frame: &[u8], ip_len: u16, payload_len: u16) -> Option<u8> {
    let end = INNER.checked_add(usize::from(ip_len.checked_sub(payload_len)?))?;
    tcp::window_scale(frame.get(TCP_HEADERS..end)?)
}

/// Whether the transport checksum of the TCP segment in a frame is right that [`glimpse`] has read, as
/// [`super::transport_checksum_ok`] has it. `ip_len` is the length of the inner packet.
#[must_use]
pub fn usual_segment_is_intact(frame: &[u8], ip_len: u16) -> bool {
    let inner = frame.get(INNER..).and_then(|inner| inner.get(..usize::from(ip_len)));
    inner.is_some_and(|inner| checksum::tcp_checksum_ok(inner, inner.get(IPV4_LEN..)))
}

/// Everything of a frame that [`glimpse`] has read, into a place that is there: it is large, and is not
/// to be moved. `None`: it has not been read, and the place is as it was.
#[inline(always)]
#[must_use]
pub fn at_length(frame: &[u8], packet: &mut Packet) -> Option<()> {
    let head: &[u8; HEADERS] = frame.first_chunk()?;
    let gwlb = geneve::usual(head.get(OPTIONS..INNER)?)?;
    let ip_len = u16_at(head, INNER + 2)?;
    let (src, dst) = (Addr::v4(array_at(head, INNER + 12)?), Addr::v4(array_at(head, INNER + 16)?));
    let source = Addr::v4(array_at(head, OUTER + 12)?);
    let ttl = u8_at(head, INNER + 8)?;
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
    let payload = u16::try_from(TRANSPORT.checked_add(header_len)?).ok()?;
    let payload_len = u16::try_from(payload_len).ok()?;
    *packet = Packet {
        outer: Some(Outer {
            ip: OUTER as u16,
            geneve: GENEVE as u16,
            endpoint: gwlb.endpoint,
            attachment: gwlb.attachment,
            cookie: gwlb.cookie,
            source,
        }),
        tuple: FiveTuple { src, dst, src_port, dst_port, protocol },
        link: Link::Ethernet,
        network: OUTER as u16,
        ip: INNER as u16,
        ip_len: u32::from(ip_len),
        transport: TRANSPORT as u16,
        payload,
        payload_len,
        ttl,
        fragment: Fragment::Whole,
        body,
    };
    Some(())
}

/// [`super::reflect`] of a frame that [`glimpse`] has read.
#[inline(always)]
pub fn reflect_usual(frame: &mut [u8]) {
    if let Some(head) = frame.first_chunk_mut::<HEADERS>() {
        outer::swap::<6>(head, 0);
        outer::swap::<4>(head, OUTER + 12);
    }
}
