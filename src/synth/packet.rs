//! Inner IP packets with right lengths and checksums, made field by field.

use crate::model::{Addr, FiveTuple, Protocol};
use etherparse::{PacketBuilder, PacketBuilderStep};
use std::net::IpAddr;

/// TCP flag bits as in the header (RFC 9293 section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// What a TCP segment says besides its addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment<'a> {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// [`flag`] bits.
    pub flags: u8,
    /// Payload.
    pub payload: &'a [u8],
}

/// The window every made segment offers.
pub const WINDOW: u16 = 64_000;

/// An IP packet with a TCP segment; the addresses' family decides the IP version.
#[must_use]
pub fn tcp(tuple: &FiveTuple, segment: &Segment<'_>) -> Vec<u8> {
    let has = |bit: u8| segment.flags & bit != 0;
    let mut step = network(tuple, 64).tcp(tuple.src_port, tuple.dst_port, segment.seq, WINDOW);
    if has(flag::ACK) {
        step = step.ack(segment.ack);
    }
    if has(flag::SYN) {
        step = step.syn();
    }
    if has(flag::FIN) {
        step = step.fin();
    }
    if has(flag::RST) {
        step = step.rst();
    }
    if has(flag::PSH) {
        step = step.psh();
    }
    if has(flag::URG) {
        step = step.urg(1);
    }
    let mut bytes = Vec::with_capacity(step.size(segment.payload.len()));
    if step.write(&mut bytes, segment.payload).is_err() {
        bytes.clear();
    }
    bytes
}

/// An IP packet with a UDP datagram.
#[must_use]
pub fn udp(tuple: &FiveTuple, payload: &[u8]) -> Vec<u8> {
    let step = network(tuple, 64).udp(tuple.src_port, tuple.dst_port);
    let mut bytes = Vec::with_capacity(step.size(payload.len()));
    if step.write(&mut bytes, payload).is_err() {
        bytes.clear();
    }
    bytes
}

/// An IP packet with an ICMP or ICMPv6 echo; the tuple's source port is the identifier.
#[must_use]
pub fn echo(tuple: &FiveTuple, reply: bool, sequence: u16) -> Vec<u8> {
    let (id, payload) = (tuple.src_port, [0x6c; 8]);
    let mut bytes = Vec::new();
    let step = network(tuple, 64);
    let written = match (tuple.src.is_v4(), reply) {
        (true, false) => step.icmpv4_echo_request(id, sequence).write(&mut bytes, &payload),
        (true, true) => step.icmpv4_echo_reply(id, sequence).write(&mut bytes, &payload),
        (false, false) => step.icmpv6_echo_request(id, sequence).write(&mut bytes, &payload),
        (false, true) => step.icmpv6_echo_reply(id, sequence).write(&mut bytes, &payload),
    };
    if written.is_err() {
        bytes.clear();
    }
    bytes
}

/// An IP packet with an ICMP or ICMPv6 message of any type, four bytes of zeros behind its checksum.
#[must_use]
pub fn icmp(tuple: &FiveTuple, kind: u8, code: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let step = network(tuple, 64);
    let written = match tuple.src.is_v4() {
        true => step.icmpv4_raw(kind, code, [0; 4]).write(&mut bytes, payload),
        false => step.icmpv6_raw(kind, code, [0; 4]).write(&mut bytes, payload),
    };
    if written.is_err() {
        bytes.clear();
    }
    bytes
}

/// An IP packet of a protocol without ports.
#[must_use]
pub fn other(tuple: &FiveTuple, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let number = etherparse::IpNumber(tuple.protocol.0);
    if network(tuple, 64).write(&mut bytes, number, payload).is_err() {
        bytes.clear();
    }
    bytes
}

/// A five-tuple from its text parts; IPv4 or IPv6 on both sides.
#[must_use]
pub fn tuple(src: (IpAddr, u16), dst: (IpAddr, u16), protocol: Protocol) -> FiveTuple {
    FiveTuple {
        src: Addr::from(src.0),
        dst: Addr::from(dst.0),
        src_port: src.1,
        dst_port: dst.1,
        protocol,
    }
}

fn network(tuple: &FiveTuple, ttl: u8) -> PacketBuilderStep<etherparse::IpHeaders> {
    match (tuple.src.to_ip(), tuple.dst.to_ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => PacketBuilder::ipv4(src.octets(), dst.octets(), ttl),
        _ => PacketBuilder::ipv6(tuple.src.octets(), tuple.dst.octets(), ttl),
    }
}
