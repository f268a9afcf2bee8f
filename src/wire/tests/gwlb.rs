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
