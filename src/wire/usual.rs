//! The frame GWLB sends nearly always, read in one piece at fixed places: Ethernet, IPv4 and GENEVE
//! without surprises, then IPv4 with TCP or UDP. Says the same as [`super::parse`] or nothing; it
//! refuses no frame itself.

use super::bytes::{array_at, u8_at, u16_at};
use super::{
    Body, Checksums, Decapsulation, Fragment, Link, Outer, Packet, Settings, checksum, geneve, ip,
    tcp,
};
use crate::model::{Addr, FiveTuple, Protocol};

/// Headers up to the inner UDP header's end.
const HEADERS: usize = 110;

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
/// More fragments, and the fragment offset (RFC 791 section 3.1).
const FRAGMENT: u16 = 0x3fff;

/// Reads a frame of the usual form into `packet`. `None` is any other frame, good or bad; then
/// `packet` is as it was.
#[inline(always)]
pub(super) fn usual(
    frame: &[u8],
    link: Link,
    settings: &Settings,
    packet: &mut Packet,
) -> Option<()> {
    if link != Link::Ethernet || settings.decapsulation != Decapsulation::Gwlb {
        return None;
    }
    let head: &[u8; HEADERS] = frame.first_chunk()?;
    let end = outer_end(head, settings)?;
    let gwlb = geneve::usual(head.get(OPTIONS..INNER)?)?;
    let inner_len = u16_at(head, INNER + 2)?;
    let inner_end = INNER.checked_add(usize::from(inner_len))?;
    let whole = u16_at(head, INNER + 6)? & FRAGMENT == 0;
    if end > frame.len() || inner_end > end || !whole || u8_at(head, INNER)? != 0x45 {
        return None;
    }
    let verify = settings.checksums == Checksums::Verify;
    if verify
        && (!checksum::is_valid(head.get(OUTER..UDP)?)
            || !checksum::is_valid(head.get(INNER..TRANSPORT)?))
    {
        return None;
    }
    let (src, dst) = (Addr::v4(array_at(head, INNER + 12)?), Addr::v4(array_at(head, INNER + 16)?));
    if ip::is_group(src) {
        return None;
    }
    let protocol = Protocol(u8_at(head, INNER + 9)?);
    let transport = frame.get(TRANSPORT..inner_end)?;
    let ((src_port, dst_port), header_len, payload_len, body) = match protocol {
        Protocol::UDP => {
            let len = usize::from(u16_at(transport, 4)?);
            let payload_len = len.checked_sub(UDP_LEN).filter(|_| len <= transport.len())?;
            let ports = (u16_at(transport, 0)?, u16_at(transport, 2)?);
            (ports, UDP_LEN, payload_len, Body::Udp)
        }
        Protocol::TCP => {
            let (ports, header_len, segment) = tcp::parse(transport, Fragment::Whole).ok()?;
            (ports, header_len, transport.len().checked_sub(header_len)?, Body::Tcp(segment))
        }
        _ => return None,
    };
    let payload = u16::try_from(TRANSPORT.checked_add(header_len)?).ok()?;
    let payload_len = u16::try_from(payload_len).ok()?;
    let (ttl, source) = (u8_at(head, INNER + 8)?, Addr::v4(array_at(head, OUTER + 12)?));
    // Field by field: a packet is too large to be made elsewhere and moved.
    packet.outer = Some(Outer {
        ip: OUTER as u16,
        geneve: GENEVE as u16,
        endpoint: gwlb.endpoint,
        attachment: gwlb.attachment,
        cookie: gwlb.cookie,
        source,
    });
    packet.tuple = FiveTuple { src, dst, src_port, dst_port, protocol };
    packet.link = link;
    packet.network = OUTER as u16;
    packet.ip = INNER as u16;
    packet.ip_len = u32::from(inner_len);
    packet.transport = TRANSPORT as u16;
    packet.payload = payload;
    packet.payload_len = payload_len;
    packet.ttl = ttl;
    packet.fragment = Fragment::Whole;
    packet.body = body;
    Some(())
}

/// Where the outer packet ends, if it is one of the usual form around a GENEVE header with an IPv4
/// packet behind eight words of options.
#[inline(always)]
fn outer_end(head: &[u8; HEADERS], settings: &Settings) -> Option<usize> {
    // Ethernet type, then version and header length.
    if array_at(head, OUTER - 2)? != [0x08, 0x00, 0x45] {
        return None;
    }
    let len = usize::from(u16_at(head, OUTER + 2)?);
    let udp_len = usize::from(u16_at(head, UDP + 4)?);
    // Nobody has to look at the sum: it is zero, or was vouched for.
    let sum = settings.outer_udp == Checksums::Ignore || u16_at(head, UDP + 6)? == 0;
    let [first, flags, type_high, type_low] = array_at(head, GENEVE)?;
    let usual = u16_at(head, OUTER + 6)? & FRAGMENT == 0
        && u8_at(head, OUTER + 9)? == Protocol::UDP.0
        && u16_at(head, UDP + 2)? == geneve::GENEVE_PORT
        && udp_len.checked_add(IPV4_LEN) == Some(len)
        && sum
        && [first, flags & 0x80, type_high, type_low] == [8, 0, 0x08, 0x00];
    usual.then_some(OUTER.saturating_add(len))
}
