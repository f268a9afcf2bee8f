//! Captures: other tunnels, their depth, offload, cut frames.

use super::frames::*;
use super::*;

fn vxlan(inner: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x08, 0, 0, 0, 0, 0, 1, 0];
    datagram.extend(ethernet(0x0800, inner));
    outer(VXLAN_PORT, &datagram)
}

#[test]
fn bare_packets_have_no_encapsulation() {
    let packet = captured(&inner_of(SYN_V4)).unwrap();
    assert_eq!((packet.outer, packet.network, packet.ip), (None, 0, 0));
    let mut frame = inner_of(SYN_V4);
    reflect(&mut frame, &packet);
    assert_eq!(frame, inner_of(SYN_V4));
}

#[test]
fn vxlan_is_opened() {
    let packet = captured(&vxlan(&inner_of(SYN_V4))).unwrap();
    assert_eq!(packet.tuple.to_string(), "10.1.0.10:40000 -> 10.2.0.20:443/tcp");
    assert_eq!((packet.outer, packet.ip), (None, 50));
    let mut frame = vxlan(&inner_of(SYN_V4));
    frame[28] = 0;
    assert_eq!(captured(&frame), Err(Reason::VxlanHeader));
}

#[test]
fn geneve_of_others_is_opened_with_any_payload() {
    let syn = inner_of(SYN_V4);
    let foreign: &[u8] = &[0x01, 0x02, 0x80, 1, 1, 2, 3, 4];
    for options in [&[][..], &[foreign]] {
        for (protocol, inner) in
            [(0x0800, syn.clone()), (0x86dd, inner_of(SYN_V6)), (0x6558, ethernet(0x0800, &syn))]
        {
            let frame = outer(GENEVE_PORT, &geneve(options, protocol, &inner));
            let packet = captured(&frame).unwrap();
            assert_eq!((packet.outer, packet.tuple.dst_port), (None, 443));
        }
    }
    let arp = outer(GENEVE_PORT, &geneve(&[], 0x6558, &ethernet(0x0806, &[0; 28])));
    assert_eq!(captured(&arp), Err(Reason::NotIp));
    let mpls = outer(GENEVE_PORT, &geneve(&[], 0x8847, &syn));
    assert_eq!(captured(&mpls), Err(Reason::GeneveProtocol));
    let cut = outer(GENEVE_PORT, &geneve(&[&foreign[..4]], 0x0800, &syn));
    assert!(captured(&cut).is_err());
}

#[test]
fn one_option_of_gwlb_asks_for_all_three() {
    let inner = inner_of(SYN_V4);
    for options in [&[ENDPOINT][..], &[ATTACHMENT, COOKIE]] {
        let frame = outer(GENEVE_PORT, &geneve(options, 0x0800, &inner));
        assert_eq!(captured(&frame), Err(Reason::GeneveOptionMissing));
    }
    let frame = outer(GENEVE_PORT, &geneve(&[ENDPOINT, ATTACHMENT, COOKIE], 0x6558, &inner));
    assert_eq!(captured(&frame), Err(Reason::GeneveProtocol));
}

#[test]
fn gwlb_over_ipv6_does_not_exist() {
    let datagram = geneve(&[ENDPOINT, ATTACHMENT, COOKIE], 0x0800, &inner_of(SYN_V4));
    let builder = etherparse::PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64).udp(1, GENEVE_PORT);
    let mut frame = Vec::new();
    builder.write_to_vec(&mut frame, &datagram).unwrap();
    assert_eq!(captured(&frame), Err(Reason::NotGeneve));
}

#[test]
fn a_mirrored_gwlb_packet_keeps_its_endpoint() {
    let packet = captured(&vxlan(&hex(SYN_V4))).unwrap();
    let outer = packet.outer.unwrap();
    assert_eq!((outer.endpoint, outer.ip), (EndpointId(0x1234_5678_9abc_def0), 50));
}

#[test]
fn tunnels_are_followed_up_to_the_limit() {
    for (depth, expected) in [
        (ENCAPSULATION_LIMIT - 1, Ok(443)),
        (ENCAPSULATION_LIMIT, Ok(443)),
        (ENCAPSULATION_LIMIT + 1, Err(Reason::TooDeep)),
    ] {
        let frame = (0..depth).fold(inner_of(SYN_V4), |inner, _| vxlan(&inner));
        assert_eq!(captured(&frame).map(|p| p.tuple.dst_port), expected);
    }
}

#[test]
fn a_length_of_zero_means_offload_in_captures_and_nothing_live() {
    let mut frame = inner_of(SYN_V4);
    frame[2..4].fill(0);
    fix_header_sum(&mut frame, 0);
    assert_eq!(captured(&frame).unwrap().ip_len, 60);
    assert_eq!(live(&gwlb(&frame)), Err(Reason::IpLength));
    let mut frame = inner_of(SYN_V6);
    frame[4..6].fill(0);
    assert_eq!(captured(&frame).unwrap().ip_len, 64);
    assert_eq!(live(&gwlb(&frame)), Err(Reason::TcpHeader));
    frame.resize(65_536 + 40, 0);
    assert_eq!(captured(&frame), Err(Reason::IpLength));
}

#[test]
fn a_packet_cut_by_the_snap_length_is_truncated() {
    let frame = ethernet(0x0800, &inner_of(SYN_V4));
    for len in 0..frame.len() {
        let cut = parse(&frame[..len], Link::Ethernet, &Settings::CAPTURE);
        assert_eq!(cut, Err(Reason::Truncated), "{len} bytes");
    }
}

#[test]
fn a_fragment_of_a_geneve_datagram_is_refused() {
    let mut frame = hex(SYN_V4);
    frame[6] = 0x20;
    frame[25] += 8;
    frame.truncate(124);
    frame[3] = 124;
    fix_header_sum(&mut frame, 0);
    assert_eq!(captured(&frame), Err(Reason::OuterFragment));
}
