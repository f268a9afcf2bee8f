//! GWLB frames: the vectors, and every way in which a frame can fail RFC 8926 or GWLB's own rules.

use super::frames::*;
use super::*;

#[test]
fn vector_a_is_read_to_the_byte() {
    let packet = live(&hex(SYN_V4)).unwrap();
    let outer = packet.outer.unwrap();
    assert_eq!(outer.endpoint, EndpointId(0x1234_5678_9abc_def0));
    assert_eq!(outer.endpoint.to_string(), "vpce-0123456789abcdef0");
    assert_eq!(outer.attachment, AttachmentId(0x0a1b_2c3d_4e5f_6071));
    assert_eq!(outer.cookie, FlowCookie(0xc0ff_ee01));
    assert_eq!(outer.source.to_string(), "10.99.0.1");
    assert_eq!((outer.ip, outer.geneve), (0, 28));
    assert_eq!(packet.tuple.to_string(), "10.1.0.10:40000 -> 10.2.0.20:443/tcp");
    assert_eq!((packet.ip, packet.ip_len, packet.transport), (68, 60, 88));
    assert_eq!((packet.payload, packet.payload_len, packet.ttl), (128, 0, 64));
    assert_eq!(packet.fragment, Fragment::Whole);
    let segment = *packet.tcp().unwrap();
    let expected = TcpSegment {
        seq: 0x0102_0304,
        ack: 0,
        flags: TcpFlags::SYN,
        window: 0xfaf0,
        wscale: Some(7),
        urgent: false,
    };
    assert_eq!(segment, expected);
    assert_eq!(timestamp(&hex(SYN_V4), &packet), Some((1, 0)));
    assert!(transport_checksum_ok(&hex(SYN_V4), &packet));
}

#[test]
fn vector_b_is_vector_a_with_nothing_but_its_outer_addresses_exchanged() {
    let mut frame = hex(SYN_V4);
    let packet = live(&frame).unwrap();
    reflect(&mut frame, &packet);
    let mut expected = hex(SYN_V4);
    expected[12..20].copy_from_slice(&[10, 99, 0, 2, 10, 99, 0, 1]);
    assert_eq!(frame, expected);
    assert_eq!(frame[10..12], [0x66, 0xa4]);
}

#[test]
fn vector_c_is_read_to_the_byte() {
    let frame = hex(SYN_V6);
    let packet = live(&frame).unwrap();
    let text = "[2001:db8:1::10]:40000 -> [2001:db8:2::20]:443/tcp";
    assert_eq!(packet.tuple.to_string(), text);
    assert_eq!(packet.outer.unwrap().cookie, FlowCookie(0xc0ff_ee01));
    assert_eq!((packet.ip, packet.ip_len, packet.transport), (68, 64, 108));
    assert!(transport_checksum_ok(&frame, &packet));
}

#[test]
fn a_right_outer_udp_sum_is_accepted_and_stays_right_when_reflected() {
    let mut frame = hex(SYN_V4);
    frame[26..28].copy_from_slice(&[0x8f, 0x17]);
    let packet = live(&frame).unwrap();
    reflect(&mut frame, &packet);
    assert!(live(&frame).is_ok());
    frame[27] ^= 1;
    assert_eq!(live(&frame), Err(Reason::OuterChecksum));
    let vouched = Settings { outer_udp: Checksums::Ignore, ..Settings::GWLB };
    assert!(parse(&frame, Link::RawIp, &vouched).is_ok());
}

#[test]
fn mac_addresses_are_exchanged_too() {
    let mut frame = ethernet(0x0800, &hex(SYN_V4));
    let packet = parse(&frame, Link::Ethernet, &Settings::GWLB).unwrap();
    assert_eq!((packet.network, packet.ip), (14, 82));
    reflect(&mut frame, &packet);
    assert_eq!(frame[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
    assert_eq!(frame[26..34], [10, 99, 0, 2, 10, 99, 0, 1]);
    assert_eq!(parse(&frame, Link::Ethernet, &Settings::GWLB).unwrap().tuple, packet.tuple);
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Result<Packet, Reason> {
    let mut frame = hex(SYN_V4);
    change(&mut frame);
    fix_header_sum(&mut frame, 0);
    live(&frame)
}

#[test]
fn every_broken_header_has_its_own_reason() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(Reason, Change); 20] = [
        (Reason::GeneveVersion, |f| f[28] |= 0x40),
        (Reason::GeneveControl, |f| f[29] |= 0x80),
        (Reason::GeneveOptionLength, |f| f[28] = 7),
        (Reason::GeneveOptionLength, |f| f[28] = 63),
        (Reason::GeneveOptionSize, |f| f[39] = 1),
        (Reason::GeneveOptionMissing, |f| f[38] = 4),
        (Reason::GeneveOptionRepeated, |f| f[50] = 1),
        (Reason::GeneveCriticalOption, |f| f[62] = 0x83),
        (Reason::GeneveProtocol, |f| f[30..32].copy_from_slice(&[0x86, 0xdd])),
        (Reason::GeneveProtocol, |f| f[30..32].copy_from_slice(&[0x65, 0x58])),
        (Reason::GeneveProtocol, |f| f[68] = 0x65),
        (Reason::GeneveProtocol, |f| f[68] = 0x05),
        (Reason::NotGeneve, |f| f[22..24].copy_from_slice(&[0x12, 0xb5])),
        (Reason::NotGeneve, |f| f[9] = 6),
        (Reason::OuterFragment, |f| f[6] = 0x20),
        (Reason::OuterFragment, |f| f[7] = 0x01),
        (Reason::UdpLength, |f| f[25] = 0x00),
        (Reason::UdpLength, |f| f[25] = 0x07),
        (Reason::UdpLength, |f| f[25] = 0x6d),
        (Reason::IpLength, |f| f[0] = 0x44),
    ];
    for (number, (reason, change)) in cases.into_iter().enumerate() {
        assert_eq!(changed(change), Err(reason), "case {number}");
    }
}

#[test]
fn what_must_be_ignored_is_ignored() {
    let expected = live(&hex(SYN_V4)).unwrap();
    type Change = fn(&mut Vec<u8>);
    let cases: [Change; 7] = [
        |f| f[29] |= 0x7f,
        |f| f[32..36].fill(0xff),
        |f| f[39] |= 0xe0,
        |f| f[1] = 0xff,
        |f| f[8] = 1,
        |f| f[6] = 0,
        |f| f[20..22].fill(0),
    ];
    for (number, change) in cases.into_iter().enumerate() {
        assert_eq!(changed(change), Ok(expected), "case {number}");
    }
}

#[test]
fn an_outer_header_with_options_is_read_and_reflected() {
    let mut frame = hex(SYN_V4);
    frame.splice(20..20, [1, 1, 1, 0]);
    frame[0] = 0x46;
    frame[3] = 0x84;
    fix_header_sum(&mut frame, 0);
    let packet = live(&frame).unwrap();
    assert_eq!((packet.outer.unwrap().geneve, packet.ip), (32, 72));
    reflect(&mut frame, &packet);
    assert_eq!(live(&frame).unwrap().tuple, packet.tuple);
}

#[test]
fn a_wrong_outer_or_inner_header_sum_is_refused_unless_ignored() {
    for at in [10, INNER + 10] {
        let mut frame = hex(SYN_V4);
        frame[at] ^= 0x10;
        assert_eq!(live(&frame), Err(Reason::IpChecksum));
        let ignore = Settings { checksums: Checksums::Ignore, ..Settings::GWLB };
        assert!(parse(&frame, Link::RawIp, &ignore).is_ok());
    }
}

#[test]
fn an_inner_packet_may_be_shorter_than_the_datagram_but_not_longer() {
    let mut inner = inner_of(SYN_V4);
    inner.extend([0; 6]);
    assert_eq!(live(&gwlb(&inner)).unwrap().ip_len, 60);
    for (len, expected) in [(59, Err(Reason::IpLength)), (19, Err(Reason::IpLength)), (60, Ok(60))]
    {
        let inner = inner_of(SYN_V4);
        assert_eq!(live(&gwlb(&inner[..len])).map(|p| p.ip_len), expected);
    }
    assert_eq!(live(&gwlb(&inner_of(SYN_V6)[..63])), Err(Reason::IpLength));
    let empty = outer(GENEVE_PORT, &geneve(&[ENDPOINT, ATTACHMENT, COOKIE], 0x0800, &[]));
    assert_eq!(live(&empty), Err(Reason::IpLength));
}

#[test]
fn what_trails_a_packet_is_what_its_datagram_has_behind_it_and_no_padding_of_the_frame() {
    for tail in [&b""[..], &[0; 6], b"tail"] {
        let mut inner = inner_of(SYN_V4);
        inner.extend(tail);
        let mut frame = gwlb(&inner);
        frame.extend(b"padding");
        let packet = live(&frame).unwrap();
        assert_eq!((packet.ip_len, packet.trailing(&frame)), (60, tail));
    }
    let mut bare = inner_of(SYN_V4);
    bare.extend(b"padding");
    let packet = parse(&bare, Link::RawIp, &Settings::CAPTURE).unwrap();
    assert_eq!(packet.trailing(&bare), b"");
}

#[test]
fn the_largest_inner_packet_is_read() {
    for len in [8_499, 8_500, 8_501] {
        let mut inner = Vec::new();
        let builder = etherparse::PacketBuilder::ipv4([10, 1, 0, 10], [10, 2, 0, 20], 64);
        builder.udp(1, 2).write_to_vec(&mut inner, &vec![7; len - 28]).unwrap();
        let frame = gwlb(&inner);
        let packet = live(&frame).unwrap();
        assert_eq!((packet.ip_len as usize, packet.payload(&frame).len()), (len, len - 28));
        assert!(transport_checksum_ok(&frame, &packet));
    }
}

#[test]
fn ethernet_padding_is_no_part_of_anything() {
    let mut frame = ethernet(0x0800, &hex(SYN_V4));
    let expected = parse(&frame, Link::Ethernet, &Settings::GWLB).unwrap();
    frame.extend([0xaa; 18]);
    assert_eq!(parse(&frame, Link::Ethernet, &Settings::GWLB), Ok(expected));
    assert_eq!(expected.payload(&frame), &[] as &[u8]);
}

#[test]
fn vlan_tags_before_the_outer_header_stay_where_they_are() {
    let mut frame = ethernet(0x88a8, &[0, 5, 0x81, 0, 0, 6, 8, 0]);
    frame.extend(hex(SYN_V4));
    let packet = parse(&frame, Link::Ethernet, &Settings::GWLB).unwrap();
    assert_eq!((packet.network, packet.outer.unwrap().ip), (22, 22));
    let before = frame.clone();
    reflect(&mut frame, &packet);
    assert_eq!(frame[12..34], before[12..34]);
}

#[test]
fn a_frame_cut_anywhere_is_truncated() {
    for text in [SYN_V4, SYN_V6] {
        let frame = hex(text);
        for len in 0..frame.len() {
            assert_eq!(live(&frame[..len]), Err(Reason::Truncated), "{len} bytes");
            assert_eq!(captured(&frame[..len]), Err(Reason::Truncated), "{len} bytes");
        }
    }
}

#[test]
fn what_is_not_geneve_over_ipv4_is_told_apart() {
    let v6 = inner_of(SYN_V6);
    assert_eq!(live(&v6), Err(Reason::NotGeneve));
    assert_eq!(live(&inner_of(SYN_V4)), Err(Reason::NotGeneve));
    let arp = ethernet(0x0806, &[0; 46]);
    assert_eq!(parse(&arp, Link::Ethernet, &Settings::GWLB), Err(Reason::NotIp));
    let wrong = ethernet(0x0800, &v6);
    assert_eq!(parse(&wrong, Link::Ethernet, &Settings::GWLB), Err(Reason::IpVersion));
}

#[test]
fn a_mirror_inside_gwlb_is_one_udp_flow() {
    let mut vxlan = vec![0x08, 0, 0, 0, 0, 0, 1, 0];
    vxlan.extend(ethernet(0x0800, &inner_of(SYN_V4)));
    let frame = gwlb(&outer(VXLAN_PORT, &vxlan));
    for packet in [live(&frame).unwrap(), captured(&frame).unwrap()] {
        assert_eq!((packet.body, packet.tuple.dst_port), (Body::Udp, VXLAN_PORT));
    }
}

#[test]
fn a_capture_of_gwlb_traffic_is_read_as_live_traffic_is() {
    for text in [SYN_V4, SYN_V6] {
        let frame = hex(text);
        for at in 0..frame.len() {
            for bit in 0..8 {
                let mut frame = frame.clone();
                frame[at] ^= 1 << bit;
                let (live, captured) = (live(&frame), captured(&frame));
                // A capture may hold what GWLB does not send: other ports, protocols, fragments.
                let elsewhere = matches!(live, Err(Reason::NotGeneve | Reason::OuterFragment));
                assert!(live == captured || elsewhere || at < 40, "byte {at} bit {bit}");
            }
        }
    }
}
