//! The Internet checksum (RFC 1071), over headers and over whole segments.

use super::bytes::{array_at, u16_at};
use super::{Fragment, Packet};
use crate::model::Protocol;

/// Bytes from which on they are summed in lanes, which take some effort to set up.
const LONG_BYTES: usize = 256;

/// A ones'-complement sum on its way. 64-bit words are added, which leaves the sum by 16-bit words
/// right, as 2^16 - 1 divides 2^64 - 1; their bytes stand in little-endian order, which does too
/// (RFC 1071 section 2 (B)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u128);

impl Sum {
    /// Adds bytes that start at an even offset of what is summed.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        if bytes.len() >= LONG_BYTES {
            return self.long(bytes);
        }
        self.short(bytes)
    }

    #[inline(always)]
    fn short(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let sum = words.iter().fold(self, |sum, word| sum.word(u64::from_le_bytes(*word)));
        sum.word(match bytes.last_chunk() {
            // What is left, fewer than eight, are the upper ones of these: no branch waits for how many.
            Some(last) => u64::from_le_bytes(*last) >> 8 >> (56 - 8 * rest.len()),
            None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        })
    }

    /// Adds many bytes: small words in lanes, so that the compiler adds many at once.
    #[inline(never)]
    fn long(self, bytes: &[u8]) -> Self {
        // The last of them is left over, so that eight bytes are left at least.
        let chunks = bytes.as_chunks::<64>().0.split_last().map_or(&[][..], |(_, before)| before);
        let rest = bytes.get(chunks.as_flattened().len()..).unwrap_or_default();
        self.word(in_lanes(chunks)).short(rest)
    }

    /// Adds a 16-bit number.
    #[inline]
    #[must_use]
    pub fn number(self, number: u16) -> Self {
        self.word(u64::from(u16::from_le_bytes(number.to_be_bytes())))
    }

    /// Carries gather in the upper half, which no input there is can fill.
    #[inline(always)]
    const fn word(self, word: u64) -> Self {
        Self(self.0.wrapping_add(word as u128))
    }

    /// The checksum as it stands in a header.
    #[inline]
    #[must_use]
    pub const fn finish(self) -> [u8; 2] {
        let mut sum = self.fold();
        sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
        sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
        (!(sum as u16)).to_le_bytes()
    }

    /// Whether what was summed, its own checksum included, is right.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        let sum = self.fold();
        sum != 0 && is_multiple(sum)
    }

    /// Whether the sum is right once these bytes are added.
    #[inline(never)]
    fn is_right_with(self, bytes: &[u8]) -> bool {
        self.bytes(bytes).is_valid()
    }

    #[inline]
    const fn fold(self) -> u64 {
        let (sum, carry) = (self.0 as u64).overflowing_add((self.0 >> 64) as u64);
        // After a carry the sum is far from full: this one has none.
        sum.wrapping_add(carry as u64)
    }
}

#[inline(never)]
fn in_lanes(chunks: &[[u8; 64]]) -> u64 {
    let mut lanes = [0u64; 16];
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<4>().0) {
            *lane = lane.wrapping_add(u64::from(u32::from_le_bytes(*word)));
        }
    }
    lanes.into_iter().fold(0, u64::wrapping_add)
}

/// Whether a header that holds its own checksum is right.
#[inline(always)]
pub(super) fn is_valid(header: &[u8]) -> bool {
    // An IPv4 header without options, which nearly all are: five words and no loop.
    let Ok(header) = <&[u8; 20]>::try_from(header) else {
        return Sum::default().bytes(header).is_valid();
    };
    let (words, _) = header.as_chunks::<4>();
    let words = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word)));
    Sum(words.sum::<u64>().into()).is_valid()
}

/// What 2^16 - 1 is to be multiplied by to make one, modulo 2^64: a number times this is small just where
/// it is a multiple (Hacker's Delight, section 10-17).
const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
const _: () = assert!(INVERSE.wrapping_mul(0xffff) == 1);

/// Whether 2^16 - 1 divides a sum: with its own checksum, that of right bytes, unless all are zero.
#[inline(always)]
const fn is_multiple(sum: u64) -> bool {
    sum.wrapping_mul(INVERSE) <= u64::MAX / 0xffff
}

/// Whether the IPv4 header without options at `at` is right.
#[inline(always)]
pub(super) fn is_valid_ipv4<const N: usize>(bytes: &[u8; N], at: usize) -> Option<bool> {
    let first = u64::from_ne_bytes(array_at(bytes, at)?);
    let second = u64::from_ne_bytes(array_at(bytes, at.wrapping_add(8))?);
    let third = u32::from_ne_bytes(array_at(bytes, at.wrapping_add(16))?);
    // Zero it cannot be, as the first byte of a header is not.
    let (sum, one) = first.overflowing_add(second);
    let (sum, two) = sum.overflowing_add(u64::from(third) + u64::from(one));
    // After a carry the sum is far from full: this one has none.
    let sum = sum.wrapping_add(u64::from(two));
    Some(is_multiple(sum))
}

/// The pseudo-header of an IPv4 or IPv6 header (RFC 9293 section 3.1, RFC 8200 section 8.1):
/// addresses, length, protocol. Nothing where `ip` is no IP header.
fn pseudo_header(ip: &[u8], protocol: Protocol, len: usize) -> Option<Sum> {
    let sum = match ip.first_chunk::<20>()? {
        header @ [0x40..=0x4f, ..] => {
            Sum::default().word(u64::from_le_bytes(array_at(header, 12)?))
        }
        _ => Sum::default().bytes(ip.get(8..40)?),
    };
    // A number of 32 bits counts as its two halves do.
    let numbers = u32::from(u16::try_from(len).ok()?).wrapping_add(u32::from(protocol.0));
    Some(sum.word(u64::from(numbers.swap_bytes())))
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
    start.is_some_and(|sum| sum.is_right_with(segment))
}

/// Whether the checksum of a TCP segment is right (RFC 9293 section 3.1).
pub(super) fn tcp_checksum_ok(ip: &[u8], segment: Option<&[u8]>) -> bool {
    let Some(segment) = segment else { return false };
    pseudo_header(ip, Protocol::TCP, segment.len()).is_some_and(|sum| sum.is_right_with(segment))
}

/// Zero means "no checksum" over IPv4 (RFC 768); over IPv6 it is refused (RFC 8200 section 8.1).
/// Only the bytes that the UDP length counts are summed.
pub(super) fn udp_checksum_ok(ip: &[u8], datagram: &[u8], is_v4: bool) -> bool {
    let Some(len) = u16_at(datagram, 4).map(usize::from) else { return false };
    let Some(datagram) = datagram.get(..len) else { return false };
    match array_at(datagram, 6) {
        Some([0, 0]) => is_v4,
        _ => pseudo_header(ip, Protocol::UDP, len).is_some_and(|s| s.is_right_with(datagram)),
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

    /// The sum as RFC 1071 section 1 has it: 16-bit words one by one.
    fn naive(bytes: &[u8]) -> [u8; 2] {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (!(sum as u16)).to_be_bytes()
    }

    #[test]
    fn every_length_from_every_start_sums_as_the_definition_says() {
        // Long runs of ones carry.
        let some = |at: u32| {
            if at / 40 % 3 == 1 { 0xff } else { (at.wrapping_mul(0x9e37_79b1) >> 24) as u8 }
        };
        let bytes: Vec<u8> = (0..700).map(some).collect();
        for start in 0..17 {
            for len in 0..=600 {
                let bytes = &bytes[start..][..len];
                let sum = Sum::default().bytes(bytes);
                assert_eq!(sum.finish(), naive(bytes), "{len} bytes from {start}");
                assert_eq!(sum.is_valid(), naive(bytes) == [0, 0], "{len} bytes from {start}");
                let whole = sum.number(u16::from_be_bytes(sum.finish()));
                assert!(whole.is_valid(), "{len} bytes from {start}");
            }
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
    fn zeros_alone_are_never_right_and_ones_always_are() {
        for len in [1, 2, 7, 8, 9, 20, LONG_BYTES - 1, LONG_BYTES, LONG_BYTES + 1, 65_535] {
            assert!(!Sum::default().bytes(&vec![0; len]).is_valid(), "{len}");
            let ones = vec![0xff; len];
            assert_eq!(Sum::default().bytes(&ones).finish(), naive(&ones), "{len}");
            assert_eq!(Sum::default().bytes(&ones).is_valid(), len % 2 == 0, "{len}");
        }
    }

    #[test]
    fn a_pseudo_header_is_the_sum_of_what_it_is_made_of() {
        for (ip, addresses) in [([0x45; 40], 12..20), ([0x60; 40], 8..40)] {
            let mut ip = ip;
            ip.iter_mut().enumerate().skip(1).for_each(|(at, byte)| *byte = 255 - at as u8);
            for len in [0, 1, 8, 255, 256, 0xffee, 0xffef, 0xfff0, 0xffff] {
                let mut written = ip[addresses.clone()].to_vec();
                written.extend_from_slice(&[0, 17]);
                written.extend_from_slice(&(len as u16).to_be_bytes());
                let sum = pseudo_header(&ip, Protocol::UDP, len).unwrap();
                assert_eq!(sum.finish(), naive(&written), "{len}");
            }
            assert!(pseudo_header(&ip, Protocol::UDP, 65_536).is_none());
            assert!(pseudo_header(&ip[..addresses.end - 1], Protocol::UDP, 8).is_none());
            assert!(pseudo_header(&ip[..addresses.end], Protocol::UDP, 8).is_some());
        }
    }
}
