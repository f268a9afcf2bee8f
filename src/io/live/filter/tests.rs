//! The kernel's programs against the parser and the spread they must agree with.

use super::super::assembler::machine::run;
use super::*;
use crate::model::{EndpointId, FiveTuple, Protocol};
use crate::synth::gwlb::Encapsulation;
use crate::synth::packet;
use crate::wire::{self, Checksums, Decapsulation, Link, Settings};
use proptest::prelude::*;

/// Headers are read strictly, sums are not looked at: mutated packets shall get through.
const LAX: Settings = Settings {
    decapsulation: Decapsulation::Gwlb,
    checksums: Checksums::Ignore,
    outer_udp: Checksums::Ignore,
};

fn worker_of(frame: &[u8], spread: &Spread) -> Option<usize> {
    let parsed = wire::parse(frame, Link::Ethernet, &LAX).ok()?;
    Some(spread.collector(&parsed).unwrap_or_else(|| spread.owner(&parsed)))
}

fn agree(inner: &[u8], spread: &Spread) -> bool {
    let frame = Encapsulation::of(EndpointId(5)).wrap(inner);
    let Some(worker) = worker_of(&frame, spread) else { return false };
    assert_eq!(run(&workers(spread), &frame[14..]) as usize, worker, "{inner:02x?}");
    true
}

fn any_tuple() -> impl Strategy<Value = FiveTuple> {
    let v4 = |b: [u8; 4]| std::net::IpAddr::from([b[0] & 0x7f, b[1], b[2], b[3]]);
    let v6 = |b: [u8; 16]| {
        let mut b = b;
        b[0] = 0x20;
        std::net::IpAddr::from(b)
    };
    let sides = prop_oneof![
        (any::<[u8; 4]>(), any::<[u8; 4]>()).prop_map(move |(a, b)| (v4(a), v4(b))),
        (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(move |(a, b)| (v6(a), v6(b))),
    ];
    (sides, any::<(u16, u16)>()).prop_map(|((src, dst), (sport, dport))| {
        packet::tuple((src, sport), (dst, dport), Protocol::UDP)
    })
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let segment =
        packet::Segment { seq: 1, ack: 1, flags: packet::flag::ACK, payload: b"payload.." };
    (any_tuple(), 0..4u8).prop_map(move |(tuple, kind)| match kind {
        0 => packet::tcp(&FiveTuple { protocol: Protocol::TCP, ..tuple }, &segment),
        1 => packet::udp(&tuple, b"payload and more of it"),
        _ => packet::echo(&tuple, kind == 2, 7),
    })
}

/// An ICMP error of this type about `quoted`, back to its sender.
fn error(quoted: &[u8], kind: u8) -> Vec<u8> {
    let frame = Encapsulation::of(EndpointId(5)).wrap(quoted);
    let parsed = wire::parse(&frame, Link::Ethernet, &LAX).unwrap();
    let mut made = wire::answer::icmp_prohibited(&frame, &parsed).unwrap();
    let parsed = wire::parse(&made, Link::Ethernet, &LAX).unwrap();
    made[usize::from(parsed.transport)] = kind;
    parsed.inner(&made).to_vec()
}

/// The packet as a fragment: of an IPv4 packet the field itself, of an IPv6 packet a header.
fn fragment(whole: &[u8], field: u16, id: u16) -> Vec<u8> {
    let mut packet = whole.to_vec();
    if packet[0] >> 4 == 4 {
        packet[4..6].copy_from_slice(&id.to_be_bytes());
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        return packet;
    }
    let len = u16::from_be_bytes([packet[4], packet[5]]) + 8;
    packet[4..6].copy_from_slice(&len.to_be_bytes());
    let [high, low] = (field << 3 | field >> 13 & 1).to_be_bytes();
    let [id_high, id_low] = id.to_be_bytes();
    let header = [packet[6], 0, high, low, 0xab, 0xcd, id_high, id_low];
    packet[6] = 44;
    packet.splice(40..40, header);
    packet
}

/// Puts extension headers between an IPv6 header and what follows it.
fn extended(whole: &[u8], kinds: &[u8]) -> Vec<u8> {
    let mut packet = whole.to_vec();
    if packet[0] >> 4 == 4 {
        return packet;
    }
    for kind in kinds.iter().rev() {
        let (len, units) = if *kind == 51 { (16, 2) } else { (16, 1) };
        let mut header = vec![0u8; len];
        header[0] = packet[6];
        header[1] = units;
        // A routing header of a type that may pass, all its segments done.
        header[2] = if *kind == 43 { 4 } else { 0 };
        packet[6] = *kind;
        packet.splice(40..40, header);
        let total = u16::from_be_bytes([packet[4], packet[5]]) + len as u16;
        packet[4..6].copy_from_slice(&total.to_be_bytes());
    }
    packet
}

fn any_spread() -> impl Strategy<Value = Spread> {
    (any::<u32>(), 1usize..=64).prop_map(|(seed, workers)| Spread::new(seed, workers))
}

proptest! {
    #[test]
    fn the_kernel_gives_whole_packets_to_the_worker_of_their_flow(
        inner in any_packet(), spread in any_spread(),
    ) {
        prop_assert!(agree(&inner, &spread));
    }

    #[test]
    fn the_kernel_gathers_fragments(
        inner in any_packet(), spread in any_spread(), id: u16, offset in 0u16..200, more: bool,
    ) {
        // A fragment whose length is no multiple of 8 is the last one.
        let field = if more { 0x2000 | offset } else { offset.max(3) };
        let mut cut = inner;
        if more {
            let keep = if cut[0] >> 4 == 4 { 20 + 8 } else { 40 + 8 };
            cut.truncate(keep);
            if cut[0] >> 4 == 4 {
                cut[2..4].copy_from_slice(&28u16.to_be_bytes());
            } else {
                cut[4..6].copy_from_slice(&8u16.to_be_bytes());
            }
        }
        agree(&fragment(&cut, field, id), &spread);
    }

    #[test]
    fn the_kernel_gives_icmp_errors_to_the_worker_of_the_flow_they_quote(
        inner in any_packet(), spread in any_spread(), kind in 0u8..16, piece in 0u16..3, id: u16,
    ) {
        let quoted = if piece == 0 { inner } else { fragment(&inner, piece * 4, id) };
        let _ = agree(&error(&quoted, kind), &spread);
    }

    #[test]
    fn the_kernel_walks_extension_headers_as_the_parser_does(
        inner in any_packet(), spread in any_spread(),
        kinds in proptest::collection::vec(prop_oneof![Just(0u8), Just(43), Just(51), Just(60)], 0..10),
    ) {
        let _ = agree(&extended(&inner, &kinds), &spread);
    }

    #[test]
    fn the_kernel_agrees_with_the_parser_whatever_the_bytes_are(
        inner in any_packet(), spread in any_spread(), kind in 0u8..6,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut packet = if kind == 0 { inner } else { error(&inner, kind) };
        for (at, byte) in changes {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        agree(&packet, &spread);
    }
}

#[test]
fn extension_headers_up_to_the_limit_are_walked_by_both() {
    let tuple = packet::tuple(
        ("2001:db8::1".parse().unwrap(), 1000),
        ("2001:db8::2".parse().unwrap(), 2000),
        Protocol::UDP,
    );
    let inner = packet::udp(&tuple, b"x");
    let spread = Spread::new(3, 64);
    for kinds in [&[0u8, 60, 43, 51, 60][..], &[0, 43, 51], &[60]] {
        assert!(agree(&extended(&inner, kinds), &spread), "{kinds:?}");
    }
}

#[test]
fn a_datagram_that_is_cut_goes_to_the_first_worker() {
    let tuple = packet::tuple(
        ("10.0.0.1".parse().unwrap(), 1),
        ("10.0.0.2".parse().unwrap(), 2),
        Protocol::UDP,
    );
    let frame = Encapsulation::of(EndpointId(5)).wrap(&packet::udp(&tuple, b""));
    let program = workers(&Spread::new(1, 64));
    assert_ne!(run(&program, &frame[14..]), 0, "else nothing is seen here");
    for len in 0..frame.len() - 14 - 4 {
        assert_eq!(run(&program, &frame[14..14 + len]), 0, "{len}");
    }
}

#[test]
fn only_datagrams_to_our_address_and_port_are_taken() {
    let address = Ipv4Addr::new(10, 99, 0, 2);
    let program = datagrams(address, &[6081]);
    let good = Encapsulation::of(EndpointId(5)).wrap(&[0x45; 20]);
    assert_eq!(run(&program, &good), WHOLE);
    let with = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] ^= byte;
        run(&program, &frame)
    };
    for (at, byte, what) in [
        (12, 1, "EtherType"),
        (23, 1, "protocol"),
        (33, 1, "address"),
        (36, 1, "port"),
        (20, 0x10, "later fragment"),
    ] {
        assert_eq!(with(at, byte), 0, "{what}");
    }
    assert_eq!(with(20, 0x20), WHOLE, "a first fragment is ours, to be refused and counted");
    assert_eq!(with(34, 1), WHOLE, "any source port");
    assert_eq!(run(&datagrams(address, &[4789, 6081]), &good), WHOLE);
    assert_eq!(run(&datagrams(address, &[4789]), &good), 0);
    assert_eq!(run(&nothing(), &good), 0);
}

#[test]
fn programs_fit_the_kernel() {
    for program in [workers(&Spread::new(u32::MAX, 64)), datagrams(Ipv4Addr::BROADCAST, &[1])] {
        assert!(program.len() < libc::BPF_MAXINSNS as usize, "{}", program.len());
    }
}
