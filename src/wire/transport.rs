//! The transport header of an inner packet: ports, where its payload starts and how long it is.

use super::ip::Ip;
use super::{Body, Fragment, icmp, tcp};
use crate::model::{Protocol, Reason};
use etherparse::UdpHeaderSlice;

const UDP_HEADER_LEN: usize = 8;

/// What a transport header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transport {
    /// Source and destination; both the identifier for ICMP echo.
    pub(super) ports: (u16, u16),
    /// Offset of the payload.
    pub(super) payload: usize,
    pub(super) payload_len: usize,
    pub(super) body: Body,
}

/// Reads the header behind an IP header.
#[inline(always)]
pub(super) fn parse(frame: &[u8], ip: &Ip) -> Result<Transport, Reason> {
    let bytes = frame.get(ip.transport..ip.end).ok_or(Reason::IpLength)?;
    let at = |ports, header_len: usize, body| Transport {
        ports,
        payload: ip.transport.saturating_add(header_len),
        payload_len: bytes.len().saturating_sub(header_len),
        body,
    };
    if matches!(ip.fragment, Fragment::Later { .. }) {
        return Ok(at((0, 0), 0, Body::Other));
    }
    match ip.protocol {
        Protocol::TCP => {
            let (ports, header_len, segment) = tcp::parse(bytes, ip.fragment)?;
            Ok(at(ports, header_len, Body::Tcp(segment)))
        }
        Protocol::UDP => udp(bytes, ip),
        Protocol::ICMP if ip.src.is_v4() => {
            let (ports, body) = icmp::parse(bytes, ip.protocol, ip.fragment)?;
            Ok(at(ports, icmp::HEADER_LEN, body))
        }
        Protocol::ICMPV6 if !ip.src.is_v4() => {
            let (ports, body) = icmp::parse(bytes, ip.protocol, ip.fragment)?;
            Ok(at(ports, icmp::HEADER_LEN, body))
        }
        _ => Ok(at((0, 0), 0, Body::Other)),
    }
}

/// A UDP length of zero, below its header or beyond the packet is refused; what stands behind a
/// shorter length is surplus that no receiver reads as payload (RFC 9868).
#[inline]
fn udp(bytes: &[u8], ip: &Ip) -> Result<Transport, Reason> {
    let first = matches!(ip.fragment, Fragment::First { .. });
    let short = if first { Reason::FragmentTiny } else { Reason::UdpLength };
    let header = UdpHeaderSlice::from_slice(bytes).map_err(|_| short)?;
    let len = usize::from(header.length());
    let fits = if first { len > bytes.len() } else { len <= bytes.len() };
    if len < UDP_HEADER_LEN || !fits {
        return Err(Reason::UdpLength);
    }
    Ok(Transport {
        ports: (header.source_port(), header.destination_port()),
        payload: ip.transport.saturating_add(UDP_HEADER_LEN),
        payload_len: len.min(bytes.len()).saturating_sub(UDP_HEADER_LEN),
        body: Body::Udp,
    })
}
