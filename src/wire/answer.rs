//! Packets the engine originates: TCP resets, ICMP errors, DNS refusals. Each is a whole frame in
//! the encapsulation of the packet that caused it, since GWLB accepts nothing else: same outer
//! ports, GENEVE header and options, outer addresses swapped, lengths and checksums made anew.
//!
//! Answers to packets behind a tunnel that is not GWLB's are not built: a mirror takes none.

use super::bytes::{array_at, put, u8_at, u16_at};
use super::{Body, Fragment, Link, Outer, Packet, Sum, TcpFlags, checksum, icmp, ip, outer};
use crate::model::{Addr, FiveTuple};
use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};

/// Hops an answer may take.
const TTL: u8 = 64;

/// An ICMP error quotes so much that it is no longer than this (RFC 1812 section 4.3.2.3).
const ICMP_LIMIT_BYTES: usize = 576;

/// An ICMPv6 error fits the minimum MTU (RFC 4443 section 2.4).
const ICMPV6_LIMIT_BYTES: usize = 1_280;

const UDP_HEADER_LEN: usize = 8;
const DNS_HEADER_LEN: usize = 12;

/// Which end of the packet's path an answer goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toward {
    /// Back to the packet's source, as if its destination had spoken.
    Sender,
    /// On to the packet's destination, as if its source had spoken.
    Receiver,
}

/// Whether an answer may be made at all: never to a RST, to an ICMP error, to a later fragment or to
/// a group (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
#[must_use]
pub fn is_answerable(packet: &Packet) -> bool {
    let later = matches!(packet.fragment, Fragment::Later { .. });
    let silent = match packet.body {
        Body::Tcp(segment) => segment.flags.rst(),
        Body::IcmpError { .. } => true,
        _ => false,
    };
    !later && !silent && !ip::is_group(packet.tuple.dst)
}

/// A TCP reset in the packet's connection. With `ack` it carries an acknowledgement.
#[must_use]
pub fn rst(
    frame: &[u8],
    packet: &Packet,
    seq: u32,
    ack: Option<u32>,
    toward: Toward,
) -> Option<Vec<u8>> {
    packet.tcp()?;
    let tuple = directed(packet.tuple, toward);
    let reset = network(tuple).tcp(tuple.src_port, tuple.dst_port, seq, 0).rst();
    let reset = if let Some(ack) = ack { reset.ack(ack) } else { reset };
    let mut inner = Vec::with_capacity(reset.size(0));
    reset.write_to_vec(&mut inner, &[]).ok()?;
    encapsulate(frame, packet, &inner, toward)
}

/// The reset a closed port gives for this very segment (RFC 9293 section 3.10.7.1).
#[must_use]
pub fn rst_to_sender(frame: &[u8], packet: &Packet) -> Option<Vec<u8>> {
    let segment = packet.tcp()?;
    if segment.flags.ack() {
        return rst(frame, packet, segment.ack, None, Toward::Sender);
    }
    let numbers = u32::from(segment.flags.contains(TcpFlags::SYN))
        .wrapping_add(u32::from(segment.flags.fin()))
        .wrapping_add(u32::from(packet.payload_len));
    rst(frame, packet, 0, Some(segment.seq.wrapping_add(numbers)), Toward::Sender)
}

/// ICMP destination unreachable, communication administratively prohibited (RFC 1812 section
/// 5.2.7.1: type 3 code 13; RFC 4443 section 3.1: type 1 code 1).
#[must_use]
pub fn icmp_prohibited(frame: &[u8], packet: &Packet) -> Option<Vec<u8>> {
    let (kind, code) = if packet.tuple.src.is_v4() { (3, 13) } else { (1, 1) };
    icmp_error(frame, packet, kind, code, [0; 4])
}

/// ICMP fragmentation needed (RFC 1191 section 4: type 3 code 4) or ICMPv6 packet too big
/// (RFC 4443 section 3.2: type 2), with the size that passes.
#[must_use]
pub fn too_big(frame: &[u8], packet: &Packet, mtu: u16) -> Option<Vec<u8>> {
    let [high, low] = mtu.to_be_bytes();
    let (kind, code) = if packet.tuple.src.is_v4() { (3, 4) } else { (2, 0) };
    icmp_error(frame, packet, kind, code, [0, 0, high, low])
}

/// The longest ICMP error there may be about such a packet, IP header included (RFC 1812 section
/// 4.3.2.3, RFC 4443 section 2.4).
#[must_use]
pub const fn icmp_error_limit(v4: bool) -> usize {
    if v4 { ICMP_LIMIT_BYTES } else { ICMPV6_LIMIT_BYTES }
}

/// A whole packet that says another was too big, made anew with no more of what it quotes than its
/// receiver needs: the IP header and 8 bytes behind it (RFC 792). Nothing for any other packet, nor for
/// a quote with IP options or extension headers.
#[must_use]
pub fn too_big_in_short(frame: &[u8], packet: &Packet) -> Option<Vec<u8>> {
    let (Body::IcmpError { kind, code, quoted }, Fragment::Whole) = (packet.body, packet.fragment)
    else {
        return None;
    };
    let message = frame.get(usize::from(packet.transport)..)?;
    let rest: [u8; 4] = array_at(message, 4)?;
    let quote = message.get(icmp::HEADER_LEN..)?;
    let tuple = packet.tuple;
    let mut inner = Vec::new();
    match (tuple.src.is_v4(), kind, code) {
        (true, 3, 4) if u8_at(quote, 0) == Some(0x45) => {
            let [_, _, high, low] = rest;
            let step = network(tuple).icmpv4_raw(kind, code, [0, 0, high, low]);
            step.write_to_vec(&mut inner, quote.get(..28)?).ok()?;
        }
        (false, 2, _) if u8_at(quote, 6) == Some(quoted.tuple.protocol.0) => {
            let step = network(tuple).icmpv6_raw(kind, 0, rest);
            step.write_to_vec(&mut inner, quote.get(..48)?).ok()?;
        }
        _ => return None,
    }
    encapsulate(frame, packet, &inner, Toward::Receiver)
}

fn icmp_error(frame: &[u8], packet: &Packet, kind: u8, code: u8, rest: [u8; 4]) -> Option<Vec<u8>> {
    let tuple = directed(packet.tuple, Toward::Sender);
    let original = packet.inner(frame);
    let mut inner = Vec::new();
    if tuple.src.is_v4() {
        let quote = head(original, ICMP_LIMIT_BYTES.saturating_sub(28));
        network(tuple).icmpv4_raw(kind, code, rest).write_to_vec(&mut inner, quote).ok()?;
    } else {
        let quote = head(original, ICMPV6_LIMIT_BYTES.saturating_sub(48));
        network(tuple).icmpv6_raw(kind, code, rest).write_to_vec(&mut inner, quote).ok()?;
    }
    encapsulate(frame, packet, &inner, Toward::Sender)
}

/// The answer REFUSED (RFC 1035 section 4.1.1), the question repeated, for the DNS message a UDP
/// packet carries `at` so many bytes into its payload: towards the sender of a query, or in the
/// place of a response towards its receiver. Nothing for what is the other of the two.
#[must_use]
pub fn dns_refused(frame: &[u8], packet: &Packet, at: usize, toward: Toward) -> Option<Vec<u8>> {
    let (Body::Udp, Fragment::Whole) = (packet.body, packet.fragment) else { return None };
    let message = refusal(packet.payload(frame).get(at..)?, toward)?;
    let tuple = directed(packet.tuple, toward);
    let mut inner = Vec::new();
    let datagram = network(tuple).udp(tuple.src_port, tuple.dst_port);
    datagram.write_to_vec(&mut inner, &message).ok()?;
    encapsulate(frame, packet, &inner, toward)
}

fn refusal(query: &[u8], toward: Toward) -> Option<Vec<u8>> {
    const RESPONSE: u8 = 0x80;
    const OPCODE_AND_RECURSION_DESIRED: u8 = 0x79;
    const REFUSED: u8 = 5;
    let header: [u8; DNS_HEADER_LEN] = array_at(query, 0)?;
    let [id_high, id_low, flags, ..] = header;
    if (flags & RESPONSE != 0) != (toward == Toward::Receiver) {
        return None;
    }
    let question = if u16_at(query, 4) == Some(1) { question_end(query) } else { None };
    let count = u8::from(question.is_some());
    let flags = RESPONSE | flags & OPCODE_AND_RECURSION_DESIRED;
    let mut answer = vec![id_high, id_low, flags, REFUSED, 0, count, 0, 0, 0, 0, 0, 0];
    answer.extend(question.and_then(|end| query.get(DNS_HEADER_LEN..end)).unwrap_or_default());
    Some(answer)
}

/// Where the first question ends. Compressed names are not followed: a first question has none.
fn question_end(query: &[u8]) -> Option<usize> {
    /// Labels of a name of at most 255 bytes (RFC 1035 section 2.3.4), the root's included.
    const LABEL_LIMIT: usize = 128;
    const TYPE_AND_CLASS_LEN: usize = 4;
    let mut at = DNS_HEADER_LEN;
    for _ in 0..LABEL_LIMIT {
        let len = u8_at(query, at)?;
        at = at.checked_add(1)?.checked_add(usize::from(len))?;
        match len {
            0 => {
                let end = at.checked_add(TYPE_AND_CLASS_LEN)?;
                return (end <= query.len()).then_some(end);
            }
            1..=63 => {}
            _ => return None,
        }
    }
    None
}

const fn directed(tuple: FiveTuple, toward: Toward) -> FiveTuple {
    match toward {
        Toward::Sender => tuple.reverse(),
        Toward::Receiver => tuple,
    }
}

fn head(bytes: &[u8], limit: usize) -> &[u8] {
    bytes.get(..limit).unwrap_or(bytes)
}

fn network(tuple: FiveTuple) -> PacketBuilderStep<IpHeaders> {
    let v4 = |addr: Addr| {
        let [.., a, b, c, d] = addr.octets();
        [a, b, c, d]
    };
    if tuple.src.is_v4() {
        PacketBuilder::ipv4(v4(tuple.src), v4(tuple.dst), TTL)
    } else {
        PacketBuilder::ipv6(tuple.src.octets(), tuple.dst.octets(), TTL)
    }
}

/// Puts an inner packet behind the headers of the frame that caused it.
fn encapsulate(frame: &[u8], packet: &Packet, inner: &[u8], toward: Toward) -> Option<Vec<u8>> {
    if packet.network != packet.outer.map_or(packet.ip, |outer| outer.ip) {
        return None;
    }
    let headers = frame.get(..usize::from(packet.ip))?;
    let mut answer = Vec::with_capacity(headers.len().saturating_add(inner.len()));
    answer.extend_from_slice(headers);
    answer.extend_from_slice(inner);
    if let Some(outer) = packet.outer {
        outer::reflect(&mut answer, packet);
        refresh(&mut answer, &outer)?;
    } else if packet.link == Link::Ethernet && toward == Toward::Sender {
        outer::swap::<6>(&mut answer, 0);
    }
    Some(answer)
}

/// Outer lengths and checksums for what is now behind them. A UDP checksum of zero stays zero
/// (RFC 8926 section 3.3 lets the sender choose).
fn refresh(answer: &mut [u8], outer: &Outer) -> Option<()> {
    let ip = usize::from(outer.ip);
    let udp = usize::from(outer.geneve).checked_sub(UDP_HEADER_LEN)?;
    let ip_len = u16::try_from(answer.len().checked_sub(ip)?).ok()?;
    let udp_len = u16::try_from(answer.len().checked_sub(udp)?).ok()?;
    put(answer, ip.checked_add(2)?, &ip_len.to_be_bytes());
    put(answer, ip.checked_add(10)?, &[0, 0]);
    let header_sum = Sum::default().bytes(answer.get(ip..udp)?).finish();
    put(answer, ip.checked_add(10)?, &header_sum);

    put(answer, udp.checked_add(4)?, &udp_len.to_be_bytes());
    let sum_at = udp.checked_add(6)?;
    if array_at(answer, sum_at)? != [0, 0] {
        put(answer, sum_at, &[0, 0]);
        let sum = checksum::udp_checksum(answer.get(ip..udp)?, answer.get(udp..)?)?;
        put(answer, sum_at, &sum);
    }
    Some(())
}
