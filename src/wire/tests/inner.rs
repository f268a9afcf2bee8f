//! Inner headers: IP options and extensions, fragments, TCP, UDP, ICMP, and their checksums.

use super::frames::*;
use super::*;
use crate::model::Protocol;

const TCP_SYN: [u8; 20] = [0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0x50, 0x02, 1, 0, 0, 0, 0, 0];
const UDP_EMPTY: [u8; 8] = [0, 1, 0, 2, 0, 8, 0, 0];

/// An IPv4 packet with these options, flags and offset.
fn v4_with(protocol: u8, options: &[u8], fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + options.len();
    let total = u16::try_from(header_len + payload.len()).unwrap();
    let mut packet = vec![0x40 | u8::try_from(header_len / 4).unwrap(), 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 1, 0, 10, 10, 2, 0, 20]);
    packet.extend(options);
    packet.extend(payload);
    fix_header_sum(&mut packet, 0);
    packet
}

fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_with(protocol, &[], 0, payload)
}

/// An IPv6 packet.
fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20]);
    packet.extend(payload);
    packet
}

/// Both through GWLB and bare; they must agree.
fn read(packet: &[u8]) -> Result<Packet, Reason> {
    let inside = live(&gwlb(packet));
    let bare = captured(packet);
    assert_eq!(
        inside.map(|p| (p.tuple, p.body, p.fragment)),
        bare.map(|p| (p.tuple, p.body, p.fragment))
    );
    inside
}

fn reason(packet: &[u8]) -> Option<Reason> {
    read(packet).err()
}

#[test]
fn ipv4_options_are_walked_and_source_routes_refused() {
    for (options, expected) in [
        (&[1, 1, 1, 0][..], None),
        (&[0, 0xff, 0xff, 0xff], None),
        (&[148, 4, 0, 0], None),
        (&[7, 7, 4, 0, 0, 0, 0, 0], None),
        (&[131, 3, 4, 0], Some(Reason::IpOptions)),
        (&[1, 137, 3, 4], Some(Reason::IpOptions)),
        (&[1, 1, 1, 7], Some(Reason::IpOptions)),
        (&[7, 1, 0, 0], Some(Reason::IpOptions)),
        (&[7, 0, 0, 0], Some(Reason::IpOptions)),
        (&[7, 5, 0, 0], Some(Reason::IpOptions)),
        (&[0; 40], None),
    ] {
        assert_eq!(reason(&v4_with(17, options, 0, &UDP_EMPTY)), expected, "{options:?}");
    }
}

#[test]
fn packets_from_groups_and_mapped_addresses_are_refused() {
    for (source, expected) in [
        ([224, 0, 0, 1], Some(Reason::BadAddress)),
        ([239, 255, 255, 255], Some(Reason::BadAddress)),
        ([255, 255, 255, 255], Some(Reason::BadAddress)),
        ([223, 255, 255, 255], None),
        ([240, 0, 0, 1], None),
    ] {
        let mut packet = v4(17, &UDP_EMPTY);
        packet[12..16].copy_from_slice(&source);
        fix_header_sum(&mut packet, 0);
        assert_eq!(reason(&packet), expected, "{source:?}");
    }
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
    for at in [8, 24] {
        let mut packet = v6(17, &UDP_EMPTY);
        packet[at..at + 16].copy_from_slice(&mapped);
        assert_eq!(reason(&packet), Some(Reason::BadAddress));
    }
    let mut packet = v6(17, &UDP_EMPTY);
    packet[8] = 0xff;
    assert_eq!(reason(&packet), Some(Reason::BadAddress));
}

/// A chain of extension headers around a UDP datagram.
fn chain(kinds: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (place, kind) in kinds.iter().enumerate() {
        let next = kinds.get(place + 1).copied().unwrap_or(17);
        match kind {
            51 => payload.extend([next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
            43 => payload.extend([next, 0, 3, 0, 0, 0, 0, 0]),
            _ => payload.extend([next, 0, 0, 0, 0, 0, 0, 0]),
        }
    }
    payload.extend(UDP_EMPTY);
    v6(kinds.first().copied().unwrap_or(17), &payload)
}

#[test]
fn ipv6_extension_headers_are_walked_in_their_order() {
    for (kinds, accepted) in [
        (&[0][..], true),
        (&[60], true),
        (&[0, 60, 43, 44, 51, 60], true),
        (&[60, 60], true),
        (&[60, 60, 60], false),
        (&[60, 0], false),
        (&[0, 0], false),
        (&[43, 43], false),
        (&[44, 44], false),
        (&[51, 51], false),
    ] {
        let found = read(&chain(kinds));
        let expected = if accepted { Ok(Body::Udp) } else { Err(Reason::Ipv6Extension) };
        assert_eq!(found.map(|p| p.body), expected, "{kinds:?}");
        if let Ok(packet) = found {
            assert_eq!((packet.tuple.src_port, packet.payload_len), (1, 0));
        }
    }
}

#[test]
fn every_chain_in_order_is_shorter_than_the_limit() {
    // Hop-by-hop, routing, fragment and authentication once, destination options twice.
    const { assert!(IPV6_EXTENSION_LIMIT >= 6) }
    assert!(read(&chain(&[0, 60, 43, 44, 51, 60])).is_ok());
    for position in 0..6 {
        let mut longer = vec![0, 60, 43, 44, 51, 60];
        longer.insert(position, 60);
        assert_eq!(reason(&chain(&longer)), Some(Reason::Ipv6Extension));
    }
}

#[test]
fn routing_headers_that_route_on_are_refused() {
    for (kind, segments_left, expected) in [
        (0, 0, Some(Reason::Ipv6Extension)),
        (0, 1, Some(Reason::Ipv6Extension)),
        (2, 1, Some(Reason::Ipv6Extension)),
        (4, 1, Some(Reason::Ipv6Extension)),
        (4, 0, None),
    ] {
        let mut payload = vec![17, 0, kind, segments_left, 0, 0, 0, 0];
        payload.extend(UDP_EMPTY);
        assert_eq!(reason(&v6(43, &payload)), expected);
    }
}

#[test]
fn extension_headers_that_are_cut_are_refused() {
    for kind in [0, 43, 44, 51, 60] {
        let whole = chain(&[kind]);
        let len = if kind == 51 { 12 } else { 8 };
        for kept in usize::from(kind == 0)..len {
            let packet = v6(kind, &whole[40..40 + kept]);
            assert_eq!(reason(&packet), Some(Reason::Ipv6Extension), "{kind} {kept}");
        }
    }
    assert_eq!(reason(&v6(60, &[17, 2, 0, 0, 0, 0, 0, 0])), Some(Reason::Ipv6Extension));
    assert_eq!(read(&v6(59, &[])).unwrap().body, Body::Other);
    assert_eq!(reason(&v6(0, &[])), Some(Reason::IpLength));
}

#[test]
fn ipv4_fragments_are_classified() {
    let mut tcp = TCP_SYN.to_vec();
    tcp.extend([9; 12]);
    let key = Protocol::TCP;
    let id = 0x1234;
    let first = read(&v4_with(6, &[], 0x2000, &tcp)).unwrap();
    assert_eq!(first.fragment, Fragment::First { id, len: 32, key });
    assert_eq!((first.tuple.src_port, first.payload_len), (1, 12));
    let later = read(&v4_with(6, &[], 0x2003, &[0; 16])).unwrap();
    assert_eq!(later.fragment, Fragment::Later { id, offset: 24, len: 16, more: true, key });
    assert_eq!((later.tuple.src_port, later.body, later.payload_len), (0, Body::Other, 16));
    let last = read(&v4_with(6, &[], 0x0003, &[0; 5])).unwrap();
    assert_eq!(last.fragment, Fragment::Later { id, offset: 24, len: 5, more: false, key });
    assert!(last.is_fragment() && !read(&v4(6, &tcp)).unwrap().is_fragment());
}

#[test]
fn tiny_and_impossible_fragments_are_refused() {
    let tiny = Some(Reason::FragmentTiny);
    let mut udp = vec![0, 1, 0, 2, 1, 0, 0, 0];
    for (protocol, fragment, payload, expected) in [
        (6, 0x2000, &TCP_SYN[..8], tiny),
        (6, 0x2000, &TCP_SYN[..16], tiny),
        (6, 0x2001, &[0; 8], tiny),
        (6, 0x0002, &[0; 8], tiny),
        (6, 0x0003, &[0; 8], None),
        (17, 0x0001, &[0; 8], None),
        (17, 0x2001, &[0; 9], tiny),
        (17, 0x2001, &[], tiny),
        (17, 0x0001, &[], tiny),
        (17, 0x1fff, &[0; 7], None),
        (17, 0x1fff, &[0; 8], tiny),
        (17, 0x2000, &udp, None),
        (1, 0x2000, &[8, 0, 0, 0, 0, 1, 0, 1], None),
    ] {
        let packet = v4_with(protocol, &[], fragment, payload);
        assert_eq!(reason(&packet), expected, "{protocol} {fragment:04x} {}", payload.len());
    }
    udp[4..6].copy_from_slice(&[0, 8]);
    assert_eq!(reason(&v4_with(17, &[], 0x2000, &udp)), Some(Reason::UdpLength));
}

fn v6_fragment(next: u8, offset_and_flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut fragment = vec![next, 0];
    fragment.extend(offset_and_flags.to_be_bytes());
    fragment.extend([0xde, 0xad, 0xbe, 0xef]);
    fragment.extend(payload);
    v6(44, &fragment)
}

#[test]
fn ipv6_fragments_are_classified() {
    let key = Protocol(44);
    let id = 0xdead_beef;
    let mut tcp = TCP_SYN.to_vec();
    tcp.extend([9; 4]);
    let first = read(&v6_fragment(6, 1, &tcp)).unwrap();
    assert_eq!(first.fragment, Fragment::First { id, len: 24, key });
    assert_eq!((first.tuple.dst_port, first.payload_len), (2, 4));
    let later = read(&v6_fragment(60, 24 | 1, &[0; 8])).unwrap();
    assert_eq!(later.fragment, Fragment::Later { id, offset: 24, len: 8, more: true, key });
    let atomic = read(&v6_fragment(6, 0, &TCP_SYN)).unwrap();
    assert_eq!(atomic.fragment, Fragment::Whole);
}

#[test]
fn a_first_ipv6_fragment_holds_the_whole_chain() {
    let tiny = Some(Reason::FragmentTiny);
    assert_eq!(reason(&v6_fragment(6, 1, &TCP_SYN[..16])), tiny);
    assert_eq!(reason(&v6_fragment(60, 1, &[6, 2, 0, 0, 0, 0, 0, 0])), tiny);
    assert_eq!(reason(&v6_fragment(60, 1, &[6, 0, 0, 0, 0, 0, 0, 0])), tiny);
    assert_eq!(reason(&v6_fragment(6, 8, &[0; 4])), tiny);
    let mut chain = vec![17, 0, 0, 0, 0, 0, 0, 0];
    chain.extend([0, 1, 0, 2, 1, 0, 0, 0]);
    let first = read(&v6_fragment(60, 1, &chain)).unwrap();
    let expected = Fragment::First { id: 0xdead_beef, len: 16, key: Protocol(44) };
    assert_eq!((first.fragment, first.tuple.src_port), (expected, 1));
}

#[test]
fn udp_lengths_are_held_against_the_packet() {
    for (len, payload_len) in
        [(0, None), (7, None), (8, Some(0)), (11, Some(3)), (12, Some(4)), (13, None)]
    {
        let mut udp = vec![0, 1, 0, 2, 0, len, 0, 0];
        udp.extend([1, 2, 3, 4]);
        let expected = payload_len.ok_or(Reason::UdpLength);
        assert_eq!(read(&v4(17, &udp)).map(|p| p.payload_len), expected, "{len}");
        assert_eq!(read(&v6(17, &udp)).map(|p| p.payload_len), expected, "{len}");
    }
    for len in 0..8 {
        assert_eq!(reason(&v4(17, &UDP_EMPTY[..len])), Some(Reason::UdpLength));
    }
}

#[test]
fn tcp_headers_are_held_against_the_packet() {
    for (words, expected) in
        [(4, Some(Reason::TcpHeader)), (5, None), (6, None), (7, Some(Reason::TcpHeader))]
    {
        let mut tcp = TCP_SYN.to_vec();
        tcp.extend([0; 4]);
        tcp[12] = words << 4;
        assert_eq!(reason(&v4(6, &tcp)), expected);
    }
    for len in 0..20 {
        assert_eq!(reason(&v4(6, &TCP_SYN[..len])), Some(Reason::TcpHeader));
    }
    let mut tcp = TCP_SYN;
    for (flags, expected) in [(0x03, true), (0x06, true), (0, true), (0x01, true), (0x10, false)] {
        tcp[13] = flags;
        assert_eq!(reason(&v4(6, &tcp)), expected.then_some(Reason::TcpFlags));
    }
    tcp[13] = 0x30;
    assert!(read(&v4(6, &tcp)).unwrap().tcp().unwrap().urgent);
}

#[test]
fn echo_has_its_identifier_as_ports() {
    for (packet, reply) in [
        (v4(1, &[8, 0, 0, 0, 0xab, 0xcd, 0, 1]), false),
        (v4(1, &[0, 0, 0, 0, 0xab, 0xcd, 0, 1]), true),
        (v6(58, &[128, 0, 0, 0, 0xab, 0xcd, 0, 1]), false),
        (v6(58, &[129, 0, 0, 0, 0xab, 0xcd, 0, 1]), true),
    ] {
        let packet = read(&packet).unwrap();
        assert_eq!(packet.body, Body::Echo { reply });
        assert_eq!((packet.tuple.src_port, packet.tuple.dst_port), (0xabcd, 0xabcd));
    }
    let redirect = read(&v4(1, &[5, 1, 0, 0, 1, 2, 3, 4])).unwrap();
    assert_eq!(redirect.body, Body::Icmp { kind: 5, code: 1 });
    assert_eq!(redirect.tuple.src_port, 0);
    for len in 0..8 {
        assert_eq!(reason(&v4(1, &[8, 0, 0, 0, 0, 1, 0, 1][..len])), Some(Reason::IcmpHeader));
    }
    // The other version's ICMP is a protocol like any other.
    assert_eq!(read(&v4(58, &[128])).unwrap().body, Body::Other);
    assert_eq!(read(&v6(1, &[8])).unwrap().body, Body::Other);
}

fn icmp_error(kind: u8, quoted: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 1, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    message
}

fn quoted(packet: &[u8]) -> Result<Quoted, Reason> {
    match read(packet)?.body {
        Body::IcmpError { quoted, code: 1, .. } => Ok(quoted),
        other => panic!("{other:?}"),
    }
}

#[test]
fn icmp_errors_quote_the_flow_they_are_about() {
    let found = quoted(&v4(1, &icmp_error(3, &inner_of(SYN_V4)[..28]))).unwrap();
    assert_eq!(found.tuple.to_string(), "10.1.0.10:40000 -> 10.2.0.20:443/tcp");
    assert_eq!((found.seq, found.later_fragment), (Some(0x0102_0304), false));
    let found = quoted(&v6(58, &icmp_error(2, &inner_of(SYN_V6)))).unwrap();
    assert_eq!(found.tuple, captured(&inner_of(SYN_V6)).unwrap().tuple);
    assert_eq!(found.seq, Some(0x0102_0304));

    let echo = v4(1, &[8, 0, 0, 0, 0xab, 0xcd, 0, 1]);
    assert_eq!(quoted(&v4(1, &icmp_error(11, &echo))).unwrap().tuple.src_port, 0xabcd);
    let later = v4_with(17, &[], 0x0010, &[0xff; 8]);
    let found = quoted(&v4(1, &icmp_error(11, &later))).unwrap();
    assert_eq!((found.later_fragment, found.tuple.src_port), (true, 0));
    let other = quoted(&v4(1, &icmp_error(12, &v4(47, &[0; 8])))).unwrap();
    assert_eq!(other.tuple.protocol, Protocol(47));
}

#[test]
fn quoted_ipv6_extension_headers_are_walked() {
    let found = quoted(&v6(58, &icmp_error(1, &chain(&[0, 60, 43, 51])))).unwrap();
    assert_eq!((found.tuple.protocol, found.tuple.dst_port), (Protocol::UDP, 2));
    let found = quoted(&v6(58, &icmp_error(1, &v6_fragment(6, 1, &TCP_SYN)))).unwrap();
    assert_eq!((found.tuple.dst_port, found.seq), (2, Some(3)));
    let found = quoted(&v6(58, &icmp_error(1, &v6_fragment(6, 8, &TCP_SYN)))).unwrap();
    assert_eq!((found.later_fragment, found.tuple.protocol), (true, Protocol::TCP));
    for (headers, expected) in [
        (IPV6_EXTENSION_LIMIT - 1, None),
        (IPV6_EXTENSION_LIMIT, None),
        (IPV6_EXTENSION_LIMIT + 1, Some(Reason::IcmpHeader)),
    ] {
        let packet = v6(58, &icmp_error(1, &chain(&vec![60; headers])));
        assert_eq!(quoted(&packet).err(), expected, "{headers} headers");
    }
}

#[test]
fn a_quotation_that_names_no_flow_is_refused() {
    let syn = inner_of(SYN_V4);
    for len in 0..24 {
        let packet = v4(1, &icmp_error(3, &syn[..len]));
        assert_eq!(quoted(&packet), Err(Reason::IcmpHeader), "{len} bytes");
    }
    let syn = inner_of(SYN_V6);
    for len in 0..44 {
        assert_eq!(quoted(&v6(58, &icmp_error(1, &syn[..len]))), Err(Reason::IcmpHeader));
    }
    assert_eq!(quoted(&v4(1, &icmp_error(3, &syn))), Err(Reason::IcmpHeader));
    let mut mapped = syn;
    mapped[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    assert_eq!(quoted(&v6(58, &icmp_error(1, &mapped))), Err(Reason::BadAddress));
}

#[test]
fn any_changed_bit_of_a_segment_breaks_its_checksum() {
    for text in [SYN_V4, SYN_V6] {
        let frame = hex(text);
        let packet = live(&frame).unwrap();
        for at in usize::from(packet.transport)..frame.len() {
            let mut frame = frame.clone();
            frame[at] ^= 0x01;
            assert!(!transport_checksum_ok(&frame, &packet), "byte {at}");
        }
    }
}

#[test]
fn checksums_of_each_protocol_are_judged() {
    let packets = |payload: &[u8]| {
        let v4 = || etherparse::PacketBuilder::ipv4([10, 1, 0, 1], [10, 2, 0, 2], 64);
        let v6 = || etherparse::PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64);
        let mut all = [const { Vec::new() }; 6];
        v4().tcp(1, 2, 3, 4).syn().write_to_vec(&mut all[0], payload).unwrap();
        v6().tcp(1, 2, 3, 4).syn().write_to_vec(&mut all[1], payload).unwrap();
        v4().udp(1, 2).write_to_vec(&mut all[2], payload).unwrap();
        v6().udp(1, 2).write_to_vec(&mut all[3], payload).unwrap();
        v4().icmpv4_echo_request(1, 2).write_to_vec(&mut all[4], payload).unwrap();
        v6().icmpv6_echo_request(1, 2).write_to_vec(&mut all[5], payload).unwrap();
        all
    };
    for payload in [&[][..], &[1], &[1, 2], &[1, 2, 3], &[0xff; 1_400]] {
        for bytes in packets(payload) {
            let packet = read(&bytes).unwrap();
            let mut frame = gwlb(&bytes);
            assert!(transport_checksum_ok(&frame, &packet));
            let last = frame.len() - 1;
            frame[last] ^= 0x80;
            assert!(!transport_checksum_ok(&frame, &packet));
        }
    }
}

#[test]
fn udp_without_a_checksum_is_right_over_ipv4_and_wrong_over_ipv6() {
    for (packet, expected) in [(v4(17, &UDP_EMPTY), true), (v6(17, &UDP_EMPTY), false)] {
        let frame = gwlb(&packet);
        assert_eq!(transport_checksum_ok(&frame, &live(&frame).unwrap()), expected);
    }
}

#[test]
fn what_cannot_be_summed_is_not_called_wrong() {
    for packet in [v4(47, &[1, 2, 3]), v4_with(6, &[], 0x0003, &[1, 2]), v4(132, &[0; 12])] {
        let frame = gwlb(&packet);
        assert!(transport_checksum_ok(&frame, &live(&frame).unwrap()));
    }
}
