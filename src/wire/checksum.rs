//! The Internet checksum (RFC 1071), over headers and over whole segments.

use super::bytes::{array_at, u16_at};
use super::{Fragment, Packet};
use crate::model::Protocol;

/// A ones'-complement sum on its way. Numbers are added in the machine's own byte order, which
/// leaves the sum right (RFC 1071 section 2 (B)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes that start at an even offset of what is summed. At most 4 GiB in all.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // Wide chunks let the compiler add many words at once.
        let (wide, rest) = bytes.as_chunks::<64>();
        let mut lanes = [0u64; 16];
        for chunk in wide {
            for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<4>().0) {
                *lane = lane.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
            }
        }
        let (words, rest) = rest.as_chunks::<4>();
        let words = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word)));
        let mut tail = [0; 4];
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
        let tail = u64::from(u32::from_ne_bytes(tail));
        Self(lanes.into_iter().chain(words).fold(self.0.wrapping_add(tail), u64::wrapping_add))
    }

    /// Adds a 16-bit number.
    #[inline]
    #[must_use]
    pub fn number(self, number: u16) -> Self {
        Self(self.0.wrapping_add(u64::from(u16::from_ne_bytes(number.to_be_bytes()))))
    }

    /// The checksum as it stands in a header.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> [u8; 2] {
        (!self.fold()).to_ne_bytes()
    }

    /// Whether what was summed, its own checksum included, is right.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }

    #[inline]
    const fn fold(self) -> u16 {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
        sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
        sum as u16
    }
}

/// Whether a header that holds its own checksum is right.
#[inline(always)]
pub(super) fn is_valid(header: &[u8]) -> bool {
    // An IPv4 header without options, which nearly all are: five words and no loop.
    let Ok(header) = <&[u8; 20]>::try_from(header) else {
        return Sum::default().bytes(header).is_valid();
    };
    let (words, _) = header.as_chunks::<4>();
    Sum(words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum()).is_valid()
}

/// What 2^16 - 1 is to be multiplied by to make one, modulo 2^64: a number times this is small just where
/// it is a multiple (Hacker's Delight, section 10-17).
const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
const _: () = assert!(INVERSE.wrapping_mul(0xffff) == 1);

/// Whether the IPv4 header without options at `at` is right.
#[inline(always)]
pub(super) fn is_valid_ipv4<const N: usize>(bytes: &[u8; N], at: usize) -> Option<bool> {
    let first = u64::from_ne_bytes(array_at(bytes, at)?);
    let second = u64::from_ne_bytes(array_at(bytes, at.wrapping_add(8))?);
    let third = u32::from_ne_bytes(array_at(bytes, at.wrapping_add(16))?);
    // The sum of 64-bit words with their carries is, taken by 16-bit words, the same sum: 2^16 - 1
    // divides 2^64 - 1. It is right where that divides it too; zero it cannot be, as the first byte of
    // a header is not.
    let (sum, one) = first.overflowing_add(second);
    let (sum, two) = sum.overflowing_add(u64::from(third) + u64::from(one));
    // After a carry the sum is far from full: this one has none.
    let sum = sum.wrapping_add(u64::from(two));
    Some(sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff)
}

/// The pseudo-header of an IPv4 or IPv6 header (RFC 9293 section 3.1, RFC 8200 section 8.1):
/// addresses, length, protocol. Nothing where `ip` is no IP header.
fn pseudo_header(ip: &[u8], protocol: Protocol, len: usize) -> Option<Sum> {
    let addresses = match ip.first()? >> 4 {
        4 => ip.get(12..20)?,
        _ => ip.get(8..40)?,
    };
    let sum = Sum::default().bytes(addresses).number(u16::from(protocol.0));
    u16::try_from(len).ok().map(|len| sum.number(len))
}

/// Whether the IPv4 header checksum of a packet is right; IPv6 has none.
#[must_use]
pub fn header_checksum_ok(frame: &[u8], packet: &Packet) -> bool {
    let inner = packet.inner(frame);
    match inner.first() {
        Some(first) if first >> 4 == 4 => {
            let len = usize::from(first & 0x0f).saturating_mul(4);
            inner.get(..len).is_some_and(is_valid)
        }
        _ => true,
    }
}

/// Whether the TCP, UDP, ICMP or ICMPv6 checksum of a packet is right. The engine asks for
/// packets that can change state. A fragment cannot be judged alone and other protocols have no
/// checksum that is known here: both are `true`.
#[must_use]
pub fn transport_checksum_ok(frame: &[u8], packet: &Packet) -> bool {
    if packet.fragment != Fragment::Whole {
        return true;
    }
    let inner = packet.inner(frame);
    let header_len = usize::from(packet.transport).saturating_sub(usize::from(packet.ip));
    inner.get(header_len..).is_some_and(|segment| segment_ok(inner, packet, segment))
}

/// The same of a packet that came in fragments: the first of them, and what all of them carry.
#[must_use]
pub fn reassembled_checksum_ok(frame: &[u8], first: &Packet, carried: &[u8]) -> bool {
    segment_ok(first.inner(frame), first, carried)
}

fn segment_ok(inner: &[u8], packet: &Packet, segment: &[u8]) -> bool {
    let is_v4 = packet.tuple.src.is_v4();
    let with_pseudo_header = match packet.tuple.protocol {
        Protocol::UDP => return udp_checksum_ok(inner, segment, is_v4),
        Protocol::TCP => true,
        Protocol::ICMPV6 if !is_v4 => true,
        Protocol::ICMP if is_v4 => false,
        _ => return true,
    };
    let start = if with_pseudo_header {
        pseudo_header(inner, packet.tuple.protocol, segment.len())
    } else {
        Some(Sum::default())
    };
    start.is_some_and(|sum| sum.bytes(segment).is_valid())
}

/// Zero means "no checksum" over IPv4 (RFC 768); over IPv6 it is refused (RFC 8200 section 8.1).
/// Only the bytes that the UDP length counts are summed.
pub(super) fn udp_checksum_ok(ip: &[u8], datagram: &[u8], is_v4: bool) -> bool {
    let Some(len) = u16_at(datagram, 4).map(usize::from) else { return false };
    let Some(datagram) = datagram.get(..len) else { return false };
    match array_at(datagram, 6) {
        Some([0, 0]) => is_v4,
        _ => pseudo_header(ip, Protocol::UDP, len).is_some_and(|s| s.bytes(datagram).is_valid()),
    }
}

/// The checksum of a UDP datagram whose checksum field is zero, as it is written: a sum of zero
/// is written as all ones (RFC 768).
pub(super) fn udp_checksum(ip: &[u8], datagram: &[u8]) -> Option<[u8; 2]> {
    let sum = pseudo_header(ip, Protocol::UDP, datagram.len())?.bytes(datagram).finish();
    Some(if sum == [0, 0] { [0xff, 0xff] } else { sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_rfc_1071_comes_out() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).finish(), (!0xddf2u16).to_be_bytes());
    }

    #[test]
    fn every_length_sums_as_the_definition_says() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..bytes.len() {
            let mut naive = 0u32;
            for pair in bytes[..len].chunks(2) {
                naive += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
                naive = (naive & 0xffff) + (naive >> 16);
            }
            let expected = !(naive as u16);
            assert_eq!(Sum::default().bytes(&bytes[..len]).finish(), expected.to_be_bytes());
        }
    }

    #[test]
    fn a_header_is_right_by_either_sum() {
        let mut header = [0u8; 20];
        let mut state = 1u64;
        for round in 0..20_000u32 {
            for (at, byte) in header.iter_mut().enumerate() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(at as u64 | 1);
                // Long runs of ones carry.
                *byte = if state >> 62 == 0 { 0xff } else { (state >> 40) as u8 };
            }
            header[0] = 0x45;
            if round % 2 == 0 {
                header[10..12].fill(0);
                let sum = Sum::default().bytes(&header).finish();
                header[10..12].copy_from_slice(&sum);
                assert!(is_valid(&header));
            }
            assert_eq!(is_valid_ipv4(&header, 0), Some(is_valid(&header)), "{header:02x?}");
        }
    }

    #[test]
    fn the_carries_of_the_longest_packet_are_kept() {
        let ones = vec![0xff; 65_535];
        assert_eq!(Sum::default().bytes(&ones).finish(), [0x00, 0xff]);
    }
}
