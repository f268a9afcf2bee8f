//! The outer headers of a GWLB datagram, and the way back: addresses swapped in place, everything
//! else as it came. Both outer checksums are symmetric in source and destination, so they stay.

use super::bytes::array_at;
use super::geneve::{self, GENEVE_PORT};
use super::ip::{self, OuterIp, Version};
use super::parse::narrow;
use super::{Checksums, Link, Packet, Settings, checksum};
use crate::model::{Addr, AttachmentId, EndpointId, FlowCookie, Protocol, Reason};
use etherparse::UdpHeaderSlice;

const UDP_HEADER_LEN: usize = 8;
const MAC_LEN: usize = 6;

/// The GWLB encapsulation of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// Offset of the outer IPv4 header.
    pub ip: u16,
    /// Offset of the GENEVE header.
    pub geneve: u16,
    /// The GWLB endpoint the packet came through.
    pub endpoint: EndpointId,
    /// The attachment of the load balancer to this target.
    pub attachment: AttachmentId,
    /// The load balancer's own mark of the flow; goes back as it came.
    pub cookie: FlowCookie,
    /// The gateway that sent the datagram.
    pub source: Addr,
}

/// An opened GWLB datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    pub(super) outer: Outer,
    /// Offset and version of the inner IP header.
    pub(super) inner: usize,
    pub(super) version: Version,
    /// Offset behind the datagram.
    pub(super) end: usize,
}

/// A UDP datagram of which only the places matter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub(super) dst_port: u16,
    pub(super) payload: usize,
    pub(super) end: usize,
}

/// The UDP header at `at`, in a packet that ends at `end`. The datagram ends where its length
/// says; only a first fragment ends before that.
#[inline(always)]
pub(super) fn datagram(frame: &[u8], at: usize, end: usize, whole: bool) -> Option<Datagram> {
    let header = UdpHeaderSlice::from_slice(frame.get(at..end)?).ok()?;
    let len = usize::from(header.length());
    let datagram_end = at.saturating_add(len);
    if len < UDP_HEADER_LEN || (datagram_end > end && whole) {
        return None;
    }
    let payload = at.saturating_add(UDP_HEADER_LEN);
    Some(Datagram { dst_port: header.destination_port(), payload, end: datagram_end.min(end) })
}

/// Reads the outer IPv4 header at `at`, UDP, GENEVE and its options.
#[inline(always)]
pub(super) fn open(frame: &[u8], at: usize, settings: &Settings) -> Result<Opened, Reason> {
    let ip = ip::outer(frame, at, settings.checksums)?;
    if ip.protocol != Protocol::UDP {
        return Err(Reason::NotGeneve);
    }
    if ip.is_fragment {
        return Err(Reason::OuterFragment);
    }
    let udp = datagram(frame, ip.transport, ip.end, true).ok_or(Reason::UdpLength)?;
    if udp.dst_port != GENEVE_PORT {
        return Err(Reason::NotGeneve);
    }
    if settings.outer_udp == Checksums::Verify && !udp_checksum_ok(frame, at, &ip) {
        return Err(Reason::OuterChecksum);
    }
    let header = geneve::header(frame, udp.payload, udp.end)?;
    let gwlb = geneve::gwlb(header.options)?;
    let version = Version::of_ethertype(header.protocol).ok_or(Reason::GeneveProtocol)?;
    let nibble = frame.get(header.payload..udp.end).and_then(<[u8]>::first).map(|byte| byte >> 4);
    if nibble.is_some_and(|nibble| Version::of_nibble(nibble) != Some(version)) {
        return Err(Reason::GeneveProtocol);
    }
    let outer = Outer {
        ip: narrow(at)?,
        geneve: narrow(udp.payload)?,
        endpoint: gwlb.endpoint,
        attachment: gwlb.attachment,
        cookie: gwlb.cookie,
        source: Addr::v4(ip.source),
    };
    Ok(Opened { outer, inner: header.payload, version, end: udp.end })
}

#[inline(always)]
fn udp_checksum_ok(frame: &[u8], at: usize, ip: &OuterIp) -> bool {
    let datagram = frame.get(ip.transport..ip.end).unwrap_or_default();
    if array_at(datagram, 6) == Some([0, 0]) {
        return true;
    }
    let header = frame.get(at..ip.transport).unwrap_or_default();
    checksum::udp_checksum_ok(header, datagram, true)
}

/// Turns an accepted frame back to the gateway it came from: outer IPv4 addresses swapped, MAC
/// addresses too where there are any; UDP ports, GENEVE header and inner packet as they came. A
/// frame without GWLB encapsulation is left alone.
#[inline]
pub fn reflect(frame: &mut [u8], packet: &Packet) {
    let Some(outer) = packet.outer else { return };
    if packet.link == Link::Ethernet {
        swap::<MAC_LEN>(frame, 0);
    }
    swap::<4>(frame, usize::from(outer.ip).saturating_add(12));
}

/// Exchanges the `N` bytes at `at` with the `N` bytes behind them.
#[inline(always)]
pub(super) fn swap<const N: usize>(frame: &mut [u8], at: usize) {
    let end = at.saturating_add(N.saturating_mul(2));
    let Some((first, behind)) = frame.get_mut(at..end).and_then(<[u8]>::split_first_chunk_mut::<N>)
    else {
        return;
    };
    if let Some(second) = behind.first_chunk_mut::<N>() {
        std::mem::swap(first, second);
    }
}
