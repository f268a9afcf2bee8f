//! The byte-exact frames all tests start from, and their pieces.

use super::*;

/// IPv4 SYN 10.1.0.10:40000 -> 10.2.0.20:443 as GWLB wraps it, from the outer IP header on.
pub(super) const SYN_V4: &str = "
    45 00 00 80 00 00 40 00 ff 11 66 a4 0a 63 00 01 0a 63 00 02 c8 22 17 c1 00 6c 00 00 08 00 08 00
    00 00 00 00 01 08 01 02 12 34 56 78 9a bc de f0 01 08 02 02 0a 1b 2c 3d 4e 5f 60 71 01 08 03 01
    c0 ff ee 01 45 00 00 3c 12 34 40 00 40 06 14 68 0a 01 00 0a 0a 02 00 14 9c 40 01 bb 01 02 03 04
    00 00 00 00 a0 02 fa f0 7b 94 00 00 02 04 21 0c 04 02 08 0a 00 00 00 01 00 00 00 00 01 03 03 07";

/// The IPv6 twin.
pub(super) const SYN_V6: &str = "
    45 00 00 84 00 00 40 00 ff 11 66 a0 0a 63 00 01 0a 63 00 02 c8 22 17 c1 00 70 00 00 08 00 86 dd
    00 00 00 00 01 08 01 02 12 34 56 78 9a bc de f0 01 08 02 02 0a 1b 2c 3d 4e 5f 60 71 01 08 03 01
    c0 ff ee 01 60 00 00 00 00 18 06 40 20 01 0d b8 00 01 00 00 00 00 00 00 00 00 00 10 20 01 0d b8
    00 02 00 00 00 00 00 00 00 00 00 20 9c 40 01 bb 01 02 03 04 00 00 00 00 60 02 fa f0 84 4b 00 00
    02 04 20 f8";

/// Offset of the inner packet in a frame that starts with the outer IP header.
pub(super) const INNER: usize = 68;

pub(super) fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

pub(super) fn inner_of(text: &str) -> Vec<u8> {
    hex(text).split_off(INNER)
}

/// The options of [`SYN_V4`], one by one.
pub(super) const ENDPOINT: &[u8] =
    &[0x01, 0x08, 1, 2, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0];
pub(super) const ATTACHMENT: &[u8] =
    &[0x01, 0x08, 2, 2, 0x0a, 0x1b, 0x2c, 0x3d, 0x4e, 0x5f, 0x60, 0x71];
pub(super) const COOKIE: &[u8] = &[0x01, 0x08, 3, 1, 0xc0, 0xff, 0xee, 0x01];

/// Outer IPv4 and UDP around a GENEVE datagram, sums right.
pub(super) fn outer(destination_port: u16, datagram: &[u8]) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ipv4([10, 99, 0, 1], [10, 99, 0, 2], 255)
        .udp(51_234, destination_port);
    let mut frame = Vec::new();
    builder.write_to_vec(&mut frame, datagram).unwrap();
    frame
}

/// GENEVE with these options around an inner packet.
pub(super) fn geneve(options: &[&[u8]], protocol: u16, inner: &[u8]) -> Vec<u8> {
    let options = options.concat();
    let mut datagram = vec![u8::try_from(options.len() / 4).unwrap(), 0];
    datagram.extend(protocol.to_be_bytes());
    datagram.extend([0; 4]);
    datagram.extend(options);
    datagram.extend(inner);
    datagram
}

/// What GWLB would send for an inner packet.
pub(super) fn gwlb(inner: &[u8]) -> Vec<u8> {
    let protocol = if inner[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
    outer(GENEVE_PORT, &geneve(&[ENDPOINT, ATTACHMENT, COOKIE], protocol, inner))
}

/// An Ethernet header in front.
pub(super) fn ethernet(ethertype: u16, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ethertype.to_be_bytes());
    frame.extend(rest);
    frame
}

/// Makes the IPv4 header sum at `at` right again.
pub(super) fn fix_header_sum(frame: &mut [u8], at: usize) {
    let len = usize::from(frame[at] & 0x0f) * 4;
    frame[at + 10..at + 12].fill(0);
    let sum = Sum::default().bytes(&frame[at..at + len]).finish();
    frame[at + 10..at + 12].copy_from_slice(&sum);
}

pub(super) fn live(frame: &[u8]) -> Result<Packet, Reason> {
    parse(frame, Link::RawIp, &Settings::GWLB)
}

pub(super) fn captured(frame: &[u8]) -> Result<Packet, Reason> {
    parse(frame, Link::RawIp, &Settings::CAPTURE)
}
