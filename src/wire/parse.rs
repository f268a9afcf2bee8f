//! One frame to one [`Packet`]: opens what encapsulates it, reads the inner headers. Transport
//! checksums are not looked at here (see [`super::transport_checksum_ok`]).

use super::ip::{self, Ip, Space, Version};
use super::usual::{at_length, glimpse};
use super::{Fragment, Link, Outer, Packet, geneve, link, outer, transport, vxlan};
use crate::model::{Protocol, Reason};

/// Tunnels inside each other that are followed in a capture.
pub const ENCAPSULATION_LIMIT: usize = 4;

/// What a frame may be wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decapsulation {
    /// Only what GWLB sends: IPv4, UDP 6081, GENEVE with exactly one of each of the three options.
    Gwlb,
    /// As a capture has it. GENEVE with an option of Amazon's class is held to what `Gwlb` asks;
    /// other GENEVE and VXLAN are opened; everything else is bare IP.
    Capture,
}

/// Whether checksums are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// A wrong sum is a drop.
    Verify,
    /// Sums are not looked at: somebody else vouches for them, or offload never made them.
    Ignore,
}

/// How frames are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What a frame may be wrapped in.
    pub decapsulation: Decapsulation,
    /// IPv4 header sums, outer and inner; the engine asks the same setting before it calls
    /// [`super::transport_checksum_ok`].
    pub checksums: Checksums,
    /// The non-zero outer UDP sum (RFC 8926 section 3.3); `Ignore` where NIC or kernel vouch.
    pub outer_udp: Checksums,
}

impl Settings {
    /// What a live target uses: strict, everything verified.
    pub const GWLB: Self = Self {
        decapsulation: Decapsulation::Gwlb,
        checksums: Checksums::Verify,
        outer_udp: Checksums::Verify,
    };

    /// What a replay uses: any encapsulation, everything verified.
    pub const CAPTURE: Self = Self { decapsulation: Decapsulation::Capture, ..Self::GWLB };
}

/// Reads one frame. Never allocates, never panics.
///
/// # Errors
///
/// The reason to drop it.
#[inline]
pub fn parse(frame: &[u8], link: Link, settings: &Settings) -> Result<Packet, Reason> {
    let mut packet = Packet::NONE;
    match read(frame, link, settings, &mut packet) {
        None => Ok(packet),
        Some(reason) => Err(reason),
    }
}

/// As [`parse`], into a place that is there; the reason to drop the frame, if there is one. Then the
/// place is as it was.
#[inline]
pub fn read(frame: &[u8], link: Link, settings: &Settings, packet: &mut Packet) -> Option<Reason> {
    if usual(frame, link, settings, packet).is_some() {
        return None;
    }
    match general(frame, link, settings) {
        Ok(general) => *packet = general,
        Err(reason) => return Some(reason),
    }
    None
}

/// A frame of the usual form.
#[inline]
fn usual(frame: &[u8], link: Link, settings: &Settings, packet: &mut Packet) -> Option<()> {
    glimpse(frame, link, settings)?;
    at_length(frame, packet)
}

/// Any frame, header by header.
#[inline(never)]
pub(super) fn general(frame: &[u8], link: Link, settings: &Settings) -> Result<Packet, Reason> {
    let (network, version) = link::network(frame, link)?;
    match settings.decapsulation {
        Decapsulation::Gwlb => {
            if version != Version::V4 {
                return Err(Reason::NotGeneve);
            }
            let opened = outer::open(frame, network, settings)?;
            finish_gwlb(frame, link, network, &opened, settings)
        }
        Decapsulation::Capture => capture(frame, link, network, version, settings),
    }
}

/// Follows tunnels until there is none.
#[inline(never)]
fn capture(
    frame: &[u8],
    link: Link,
    network: usize,
    version: Version,
    settings: &Settings,
) -> Result<Packet, Reason> {
    let (mut at, mut version) = (network, version);
    let mut space = Space::capture(frame.len());
    for _ in 0..=ENCAPSULATION_LIMIT {
        let ip = ip::parse(frame, at, version, &space, settings.checksums)?;
        match tunnel(frame, &ip, settings)? {
            Tunnel::None => return finish(frame, link, network, None, &ip),
            Tunnel::Gwlb(opened) => return finish_gwlb(frame, link, network, &opened, settings),
            Tunnel::Plain { inner, inner_version, end } => {
                (at, version, space) = (inner, inner_version, Space::capture(end));
            }
        }
    }
    Err(Reason::TooDeep)
}

enum Tunnel {
    None,
    Gwlb(outer::Opened),
    Plain { inner: usize, inner_version: Version, end: usize },
}

/// What a packet of a capture carries, told by its UDP destination port.
fn tunnel(frame: &[u8], ip: &Ip, settings: &Settings) -> Result<Tunnel, Reason> {
    if ip.protocol != Protocol::UDP || matches!(ip.fragment, Fragment::Later { .. }) {
        return Ok(Tunnel::None);
    }
    let whole = matches!(ip.fragment, Fragment::Whole);
    let Some(datagram) = outer::datagram(frame, ip.transport, ip.end, whole) else {
        return Ok(Tunnel::None);
    };
    match datagram.dst_port {
        geneve::GENEVE_PORT if !whole => Err(Reason::OuterFragment),
        geneve::GENEVE_PORT => {
            let header = geneve::header(frame, datagram.payload, datagram.end)?;
            if geneve::has_gwlb_option(header.options) {
                if !ip.src.is_v4() {
                    return Err(Reason::NotGeneve);
                }
                return outer::open(frame, ip.header, settings).map(Tunnel::Gwlb);
            }
            if !geneve::add_up(header.options) {
                return Err(Reason::GeneveOptionLength);
            }
            let (inner, inner_version) = match header.protocol {
                geneve::ETHERNET => link::ethernet(frame, header.payload)?,
                other => {
                    (header.payload, Version::of_ethertype(other).ok_or(Reason::GeneveProtocol)?)
                }
            };
            Ok(Tunnel::Plain { inner, inner_version, end: datagram.end })
        }
        vxlan::VXLAN_PORT if whole => {
            let ethernet = vxlan::payload(frame, datagram.payload, datagram.end)?;
            let (inner, inner_version) = link::ethernet(frame, ethernet)?;
            Ok(Tunnel::Plain { inner, inner_version, end: datagram.end })
        }
        _ => Ok(Tunnel::None),
    }
}

#[inline(always)]
fn finish_gwlb(
    frame: &[u8],
    link: Link,
    network: usize,
    opened: &outer::Opened,
    settings: &Settings,
) -> Result<Packet, Reason> {
    let space = Space::gwlb(opened.end);
    let ip = ip::parse(frame, opened.inner, opened.version, &space, settings.checksums)?;
    finish(frame, link, network, Some(opened.outer), &ip)
}

#[inline(always)]
fn finish(
    frame: &[u8],
    link: Link,
    network: usize,
    outer: Option<Outer>,
    ip: &Ip,
) -> Result<Packet, Reason> {
    let transport = transport::parse(frame, ip)?;
    Ok(Packet {
        outer,
        tuple: ip.tuple(transport.ports),
        link,
        network: narrow(network)?,
        ip: narrow(ip.header)?,
        ip_len: u32::try_from(ip.end.saturating_sub(ip.header)).map_err(|_| Reason::IpLength)?,
        transport: narrow(ip.transport)?,
        payload: narrow(transport.payload)?,
        payload_len: u16::try_from(transport.payload_len).map_err(|_| Reason::IpLength)?,
        ttl: ip.ttl,
        fragment: ip.fragment,
        body: transport.body,
    })
}

/// An offset as it is kept; headers that start beyond 64 KiB are not followed.
#[inline]
pub(super) fn narrow(offset: usize) -> Result<u16, Reason> {
    u16::try_from(offset).map_err(|_| Reason::TooDeep)
}
