//! Captures that lack the beginning of their connections, such as those of dropped packets: each TCP
//! flow that starts behind its handshake gets one, so that its bytes can be judged as a flow's first.

use crate::model::{Addr, EndpointId, FiveTuple, Protocol};
use crate::prove::observed::Packets;
use crate::synth::gwlb::Encapsulation;
use crate::synth::packet::{Segment, flag, tcp};
use crate::wire::{self, Body, Link, TcpSegment};
use std::collections::HashSet;

/// The packets with the handshakes that are missing.
#[must_use]
pub(super) fn completed(packets: &Packets) -> Packets {
    let mut known: HashSet<(Option<EndpointId>, FiveTuple)> = HashSet::new();
    let mut complete = packets.emptied();
    for (at, link, bytes) in packets.iter() {
        if let Ok(packet) = wire::parse(bytes, link, &packets.settings())
            && let Body::Tcp(segment) = packet.body
        {
            let endpoint = packet.outer.map(|outer| outer.endpoint);
            let tuple = packet.tuple;
            let first = known.insert((endpoint, tuple.min(tuple.reverse())));
            if first && !segment.flags.syn() && !segment.flags.rst() {
                for inner in handshake(&tuple, &segment) {
                    match endpoint.map(Encapsulation::of) {
                        Some(around) => complete.push(at, Link::Ethernet, &around.wrap(&inner)),
                        None => complete.push(at, Link::RawIp, &inner),
                    }
                }
            }
        }
        complete.push(at, link, bytes);
    }
    complete
}

/// The handshake in front of a segment. The side with the higher port opened the connection, as far
/// as one packet tells.
fn handshake(tuple: &FiveTuple, segment: &TcpSegment) -> [Vec<u8>; 3] {
    let from_client = (tuple.src_port, tuple.src) >= (tuple.dst_port, tuple.dst);
    let (client, seq, ack) = match from_client {
        true => (*tuple, segment.seq, segment.ack),
        false => (tuple.reverse(), segment.ack, segment.seq),
    };
    let before = |number: u32| number.wrapping_sub(1);
    let packet =
        |tuple: &FiveTuple, seq, ack, flags| tcp(tuple, &Segment { seq, ack, flags, payload: &[] });
    [
        packet(&client, before(seq), 0, flag::SYN),
        packet(&client.reverse(), before(ack), seq, flag::SYN | flag::ACK),
        packet(&client, seq, ack, flag::ACK),
    ]
}

/// Whether a tuple can be written down as a flow of a test.
pub(super) const fn is_plain(tuple: &FiveTuple) -> bool {
    matches!(tuple.protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6)
        && tuple.src.is_v4() == tuple.dst.is_v4()
}

/// An address as a test writes it: IPv6 in quotes.
pub(super) fn address(addr: Addr) -> String {
    if addr.is_v4() { addr.to_string() } else { format!("\"{addr}\"") }
}
