//! A conversation of the corpus written down packet by packet, with everything a hostile client can
//! set: TTL, options, checksums, fragments. It knows no engine.

use lockgate::model::{FiveTuple, Protocol};
use lockgate::synth::packet::{self, flag};
use std::net::IpAddr;

/// Which IP version a case runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Client,
    Server,
}

/// Hops left in a packet that dies before the server.
pub(crate) const DYING: u8 = 2;
/// The value of timestamps that are not old.
const FRESH: u32 = 1_000_000;

/// One TCP segment, as a client of its own making may send it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seg<'a> {
    /// Sequence number relative to the sender's position.
    pub(crate) at: i32,
    pub(crate) flags: u8,
    pub(crate) payload: &'a [u8],
    pub(crate) hops: u8,
    /// TSval, with the option.
    pub(crate) stamp: Option<u32>,
    pub(crate) broken_sum: bool,
    pub(crate) ack_ahead: u32,
}

impl Default for Seg<'_> {
    fn default() -> Self {
        Self {
            at: 0,
            flags: flag::PSH | flag::ACK,
            payload: &[],
            hops: 64,
            stamp: None,
            broken_sum: false,
            ack_ahead: 0,
        }
    }
}

/// The packets of one flow in the order they reach the engine.
pub(crate) struct Talk {
    pub(crate) family: Family,
    pub(crate) tuple: FiveTuple,
    pub(crate) packets: Vec<Vec<u8>>,
    client: u32,
    server: u32,
    next_id: u32,
}

impl Talk {
    pub(crate) fn new(family: Family, protocol: Protocol, port: u16) -> Self {
        let (src, dst): (IpAddr, IpAddr) = match family {
            Family::V4 => ("10.20.1.5".parse().unwrap(), "10.100.4.7".parse().unwrap()),
            Family::V6 => ("2001:db8:20::5".parse().unwrap(), "2001:db8:100::7".parse().unwrap()),
        };
        let tuple = packet::tuple((src, 40_000), (dst, port), protocol);
        Self { family, tuple, packets: Vec::new(), client: 1000, server: 9000, next_id: 77 }
    }

    /// SYN, SYN+ACK, ACK.
    pub(crate) fn handshake(&mut self) -> &mut Self {
        self.syn(&[]);
        self.syn_ack();
        self.ack(From::Client)
    }

    /// The client's SYN, perhaps with data; data does not move the position.
    pub(crate) fn syn(&mut self, payload: &[u8]) -> &mut Self {
        self.put(From::Client, Seg { flags: flag::SYN, payload, ..Seg::default() });
        self.client += 1;
        self
    }

    pub(crate) fn syn_ack(&mut self) -> &mut Self {
        self.put(From::Server, Seg { flags: flag::SYN | flag::ACK, ..Seg::default() });
        self.server += 1;
        self
    }

    pub(crate) fn ack(&mut self, from: From) -> &mut Self {
        self.put(from, Seg { flags: flag::ACK, ..Seg::default() })
    }

    /// Data at the sender's position, which moves behind it.
    pub(crate) fn send(&mut self, from: From, payload: &[u8]) -> &mut Self {
        self.put(from, Seg { payload, ..Seg::default() });
        self.advance(from, payload.len())
    }

    /// Client data in segments of at most `size` bytes.
    pub(crate) fn send_split(&mut self, payload: &[u8], size: usize) -> &mut Self {
        for part in payload.chunks(size) {
            self.send(From::Client, part);
        }
        self
    }

    /// Moves the sender's position.
    pub(crate) fn advance(&mut self, from: From, bytes: usize) -> &mut Self {
        let bytes = u32::try_from(bytes).unwrap();
        match from {
            From::Client => self.client = self.client.wrapping_add(bytes),
            From::Server => self.server = self.server.wrapping_add(bytes),
        }
        self
    }

    /// Any segment; it moves nothing.
    pub(crate) fn put(&mut self, from: From, seg: Seg<'_>) -> &mut Self {
        let packet = self.segment(from, seg);
        self.packets.push(packet);
        self
    }

    /// Any segment as an IP packet.
    pub(crate) fn segment(&self, from: From, seg: Seg<'_>) -> Vec<u8> {
        let (tuple, position, other) = match from {
            From::Client => (self.tuple, self.client, self.server),
            From::Server => (self.tuple.reverse(), self.server, self.client),
        };
        let mut segment = Vec::new();
        segment.extend(tuple.src_port.to_be_bytes());
        segment.extend(tuple.dst_port.to_be_bytes());
        segment.extend(position.wrapping_add_signed(seg.at).to_be_bytes());
        let acks = seg.flags & flag::ACK != 0;
        let ack = if acks { other.wrapping_add(seg.ack_ahead) } else { 0 };
        segment.extend(ack.to_be_bytes());
        segment.push(if seg.stamp.is_some() { 8 << 4 } else { 5 << 4 });
        segment.push(seg.flags);
        segment.extend(packet::WINDOW.to_be_bytes());
        segment.extend([0, 0]);
        segment.extend(u16::from(seg.flags & flag::URG != 0).to_be_bytes());
        if let Some(stamp) = seg.stamp {
            segment.extend([1, 1, 8, 10]);
            segment.extend(stamp.to_be_bytes());
            segment.extend([0; 4]);
        }
        segment.extend(seg.payload);
        let sum = transport_sum(&tuple, &segment);
        let sum = if seg.broken_sum { sum ^ 0x5555 } else { sum };
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        ip(&tuple, seg.hops, None, &segment)
    }

    /// A timestamp that is not old.
    pub(crate) const fn fresh(&self) -> Option<u32> {
        Some(FRESH)
    }

    /// A UDP datagram.
    pub(crate) fn datagram(&mut self, from: From, payload: &[u8]) -> &mut Self {
        let tuple = if from == From::Client { self.tuple } else { self.tuple.reverse() };
        self.packets.push(packet::udp(&tuple, payload));
        self
    }

    /// The client's data in one segment, in fragments that start at these payload offsets of the
    /// IP packet (multiples of 8), sent in the order given by `order`.
    pub(crate) fn fragments(
        &mut self,
        payload: &[u8],
        cuts: &[usize],
        order: &[usize],
    ) -> &mut Self {
        let whole = self.segment(From::Client, Seg { payload, ..Seg::default() });
        let body = self.body(&whole).to_vec();
        let id = self.next_id;
        self.next_id += 1;
        let ends = cuts.iter().skip(1).copied().chain([body.len()]);
        let parts: Vec<(usize, usize)> = cuts.iter().copied().zip(ends).collect();
        for &at in order {
            let (start, end) = parts[at];
            self.fragment(id, start, end < body.len(), &body[start..end]);
        }
        self.advance(From::Client, payload.len())
    }

    /// One fragment of a packet of the client.
    pub(crate) fn fragment(
        &mut self,
        id: u32,
        offset: usize,
        more: bool,
        bytes: &[u8],
    ) -> &mut Self {
        let packet = ip(&self.tuple, 64, Some((id, offset, more)), bytes);
        self.packets.push(packet);
        self
    }

    /// What is behind the IP header.
    pub(crate) fn body<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        &packet[if self.family == Family::V4 { 20 } else { 40 }..]
    }
}

/// An IP packet around `body`, perhaps a fragment (id, offset, more).
fn ip(tuple: &FiveTuple, hops: u8, part: Option<(u32, usize, bool)>, body: &[u8]) -> Vec<u8> {
    let protocol = tuple.protocol.0;
    let mut bytes = Vec::new();
    if let (IpAddr::V4(src), IpAddr::V4(dst)) = (tuple.src.to_ip(), tuple.dst.to_ip()) {
        bytes.extend([0x45, 0]);
        bytes.extend(u16::try_from(body.len() + 20).unwrap().to_be_bytes());
        let (id, field) = part.map_or((1, 0), |(id, offset, more)| {
            (id, u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 })
        });
        bytes.extend((id as u16).to_be_bytes());
        bytes.extend(field.to_be_bytes());
        bytes.extend([hops, protocol, 0, 0]);
        bytes.extend(src.octets());
        bytes.extend(dst.octets());
        let sum = !fold(sum16(&bytes));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    } else {
        let extra = if part.is_some() { 8 } else { 0 };
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(u16::try_from(body.len() + extra).unwrap().to_be_bytes());
        bytes.extend([if part.is_some() { 44 } else { protocol }, hops]);
        bytes.extend(tuple.src.octets());
        bytes.extend(tuple.dst.octets());
        if let Some((id, offset, more)) = part {
            bytes.extend([protocol, 0]);
            bytes.extend((u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes());
            bytes.extend(id.to_be_bytes());
        }
    }
    bytes.extend(body);
    bytes
}

/// The checksum of a TCP segment whose own field is zero (RFC 9293 section 3.1).
fn transport_sum(tuple: &FiveTuple, segment: &[u8]) -> u16 {
    let pseudo = |of: IpAddr| match of {
        IpAddr::V4(v4) => sum16(&v4.octets()),
        IpAddr::V6(v6) => sum16(&v6.octets()),
    };
    let len = u32::try_from(segment.len()).unwrap();
    let sum = pseudo(tuple.src.to_ip()) + pseudo(tuple.dst.to_ip()) + u32::from(tuple.protocol.0);
    !fold(sum + len + sum16(segment))
}

fn sum16(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
