//! What must hold for any bytes at all; run by the mutation test and by the fuzz target.

use super::answer::{self, Toward};
use super::{
    Checksums, Fragment, Link, Packet, Settings, TcpGlimpse, at_length, glimpse, parse, reflect,
    reflect_usual, timestamp, transport_checksum_ok, usual_datagram_is_intact,
};
use crate::model::{Addr, FiveTuple, Protocol, Reason};

/// Every link a frame can start with.
pub const LINKS: [Link; 6] =
    [Link::Ethernet, Link::RawIp, Link::Null, Link::Ppp, Link::LinuxSll, Link::LinuxSll2];

/// Reads one frame as a live one and as a captured one, and does with it all that can be done.
///
/// # Panics
///
/// If an invariant is broken.
pub fn check(frame: &[u8], link: Link) {
    let vouched = Settings { outer_udp: Checksums::Ignore, ..Settings::GWLB };
    let unsummed = Settings { checksums: Checksums::Ignore, ..Settings::GWLB };
    for settings in [Settings::GWLB, Settings::CAPTURE, vouched, unsummed] {
        let parsed = parse(frame, link, &settings);
        assert_eq!(parsed, super::parse::general(frame, link, &settings), "two readings");
        a_glimpse_says_the_same(frame, link, &settings, &parsed);
        if let Ok(packet) = parsed {
            assert_eq!(packet.link, link);
            places_are_within(frame, &packet);
            reflection_is_its_own_inverse(frame, &packet, &settings);
            answers_are_sound(frame, &packet, &settings);
            let _ = (transport_checksum_ok(frame, &packet), timestamp(frame, &packet));
        }
    }
}

/// What a glimpse accepts is accepted in full, and each number it gives is that of the full reading.
fn a_glimpse_says_the_same(
    frame: &[u8],
    link: Link,
    settings: &Settings,
    parsed: &Result<Packet, Reason>,
) {
    let Some(glimpse) = glimpse(frame, link, settings) else { return };
    let mut packet = Packet::NONE;
    let at_length = at_length(frame, &mut packet).map(|()| packet);
    assert_eq!(at_length.ok_or(Reason::Truncated), *parsed);
    let Ok(packet) = parsed else { return };
    let read = packet.outer.map(|outer| (outer.endpoint, outer.source));
    assert_eq!(read, Some((glimpse.endpoint, Addr::v4(glimpse.gateway))));
    let side = |(addr, port): (u32, u16)| (Addr::v4(addr.to_be_bytes()), port);
    let ((src, src_port), (dst, dst_port)) = (side(glimpse.src), side(glimpse.dst));
    let protocol = glimpse.protocol;
    assert_eq!(packet.tuple, FiveTuple { src, dst, src_port, dst_port, protocol });
    assert!(!packet.is_fragment());
    assert_eq!((packet.ip_len, packet.payload_len), (glimpse.ip_len.into(), glimpse.payload_len));
    if protocol == Protocol::UDP {
        let intact = usual_datagram_is_intact(frame, glimpse.ip_len);
        assert_eq!(intact, transport_checksum_ok(frame, packet));
    }
    let tcp = packet.tcp().map_or_else(TcpGlimpse::default, |segment| TcpGlimpse {
        seq: segment.seq,
        ack: segment.ack,
        window: segment.window,
        flags: segment.flags,
    });
    assert_eq!(glimpse.tcp, tcp);
    assert_eq!(packet.tcp().is_some(), protocol == Protocol::TCP);
    let (mut one, mut other) = (frame.to_vec(), frame.to_vec());
    reflect(&mut one, packet);
    reflect_usual(&mut other);
    assert_eq!(one, other);
}

fn places_are_within(frame: &[u8], packet: &Packet) {
    assert!(packet.network <= packet.ip && packet.ip < packet.transport);
    assert!(packet.transport <= packet.payload);
    assert_eq!(packet.inner(frame).len(), packet.ip_len as usize);
    assert_eq!(packet.payload(frame).len(), usize::from(packet.payload_len));
    let end = usize::from(packet.ip) + packet.ip_len as usize;
    assert!(usize::from(packet.payload) + usize::from(packet.payload_len) <= end);
    assert_eq!(packet.tuple.src.is_v4(), packet.tuple.dst.is_v4());
    if let Fragment::Later { offset, .. } = packet.fragment {
        assert_ne!(offset, 0);
    }
    if let Some(outer) = packet.outer {
        assert!(outer.ip < outer.geneve && outer.geneve < packet.ip);
    }
}

fn reflection_is_its_own_inverse(frame: &[u8], packet: &Packet, settings: &Settings) {
    let mut turned = frame.to_vec();
    reflect(&mut turned, packet);
    assert_eq!(packet.inner(&turned), packet.inner(frame));
    if let (Some(outer), Ok(back)) = (packet.outer, parse(&turned, packet.link, settings)) {
        assert_eq!(back.tuple, packet.tuple);
        assert_eq!(back.outer.map(|o| o.endpoint), Some(outer.endpoint));
    }
    reflect(&mut turned, packet);
    assert_eq!(turned, frame);
}

fn answers_are_sound(frame: &[u8], packet: &Packet, settings: &Settings) {
    let answers = [
        answer::rst(frame, packet, 1, Some(2), Toward::Sender),
        answer::rst(frame, packet, 1, None, Toward::Receiver),
        answer::rst_to_sender(frame, packet),
        answer::icmp_prohibited(frame, packet),
        answer::too_big(frame, packet, 1_280),
        answer::dns_refused(frame, packet, 0, Toward::Sender),
        answer::dns_refused(frame, packet, 0, Toward::Receiver),
    ];
    for bytes in answers.into_iter().flatten() {
        // Whoever answers from a group's address is not heard; the engine asks first.
        if !answer::is_answerable(packet) {
            continue;
        }
        match parse(&bytes, packet.link, settings) {
            Ok(read) => assert!(transport_checksum_ok(&bytes, &read)),
            // The outer destination was a group, which a live queue never gets.
            Err(Reason::BadAddress) => assert!(packet.outer.is_some()),
            Err(reason) => assert!(opens_otherwise(packet), "{reason:?}"),
        }
    }
}

/// An answer to a port of a tunnel is, in a capture, taken for that tunnel.
fn opens_otherwise(packet: &Packet) -> bool {
    let ports = [packet.tuple.src_port, packet.tuple.dst_port];
    packet.outer.is_none()
        && ports.iter().any(|port| [super::GENEVE_PORT, super::VXLAN_PORT].contains(port))
}
