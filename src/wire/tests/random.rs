//! Frames that nobody would send: mutated, cut, extended, random. Deterministic.

use super::frames::*;
use super::invariants::{LINKS, check};
use super::{Checksums, Link, Settings, glimpse};
use crate::model::{Addr, EndpointId, FiveTuple, Protocol};
use crate::synth::gwlb::Encapsulation;
use crate::synth::packet::{self, Segment};

/// The generator of Marsaglia, "Xorshift RNGs" (2003), 64 bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let inner = [inner_of(SYN_V4), inner_of(SYN_V6)];
    let mut seeds = vec![hex(SYN_V4), hex(SYN_V6)];
    let mut vxlan = vec![0x08, 0, 0, 0, 0, 0, 1, 0];
    vxlan.extend(ethernet(0x0800, &inner[0]));
    seeds.push(outer(super::VXLAN_PORT, &vxlan));
    let mut dns = Vec::new();
    let query = b"\xbe\xef\x01\x00\0\x01\0\0\0\0\0\0\x03api\x07example\0\0\x01\0\x01";
    let builder = etherparse::PacketBuilder::ipv4([10, 1, 0, 10], [10, 53, 0, 1], 64).udp(53, 53);
    builder.write_to_vec(&mut dns, query).unwrap();
    seeds.push(gwlb(&dns));
    let syn = hex(SYN_V4);
    let unreachable = super::answer::icmp_prohibited(&syn, &live(&syn).unwrap());
    seeds.extend(unreachable);
    seeds.extend(inner);
    seeds
}

fn mutate(frame: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..random.below(4) {
        let at = random.below(frame.len());
        if let Some(byte) = frame.get_mut(at) {
            *byte = match random.below(3) {
                0 => *byte ^ 1 << random.below(8),
                1 => random.next() as u8,
                _ => [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            };
        }
    }
    match random.below(8) {
        0 => frame.truncate(random.below(frame.len() + 1)),
        1 => frame.extend((0..random.below(40)).map(|i| i as u8)),
        _ => {}
    }
}

/// Repairs the header sums, so that a mutation is judged by what it changed.
fn repair(frame: &mut [u8], at: usize) {
    if frame.len() > at + 60 && frame[at] >> 4 == 4 && frame[at] & 0x0f >= 5 {
        fix_header_sum(frame, at);
    }
}

#[test]
fn mutated_frames_break_no_invariant() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let seeds = seeds();
    for _ in 0..60_000 {
        let mut frame = seeds[random.below(seeds.len())].clone();
        mutate(&mut frame, &mut random);
        if random.below(4) > 0 {
            repair(&mut frame, 0);
            repair(&mut frame, INNER);
        }
        check(&frame, super::Link::RawIp);
        let framed = ethernet(
            if frame.first().is_some_and(|b| b >> 4 == 6) { 0x86dd } else { 0x0800 },
            &frame,
        );
        check(&framed, super::Link::Ethernet);
    }
}

/// The fields of a frame of the usual form by which two readings could differ: lengths, versions,
/// flags, options, protocol, checksums, addresses and ports. All behind the Ethernet addresses.
#[test]
fn usual_frames_with_fields_changed_break_no_invariant() {
    let mut random = Random(0xd1b5_4a32_d192_ed03);
    let tuple = |port| FiveTuple {
        src: Addr::v4([10, 1, 0, 10]),
        dst: Addr::v4([10, 53, 0, 1]),
        src_port: 40_000,
        dst_port: port,
        protocol: Protocol::UDP,
    };
    let segment = Segment { seq: 7, ack: 9, flags: 0x18, payload: b"twelve bytes" };
    let inner = [packet::tcp(&tuple(443), &segment), packet::udp(&tuple(53), b"twelve bytes")];
    let seeds = inner.map(|inner| Encapsulation::of(EndpointId(7)).wrap(&inner));
    let settings = Settings { outer_udp: Checksums::Ignore, ..Settings::GWLB };
    let (mut taken, mut refused) = (0, 0);
    for round in 0..60_000 {
        let mut frame = seeds[random.below(2)].clone();
        for _ in 0..=random.below(3) {
            let at = 12 + random.below(frame.len() - 12);
            frame[at] = match random.below(4) {
                0 => frame[at] ^ 1 << random.below(8),
                1 => random.next() as u8,
                2 => frame[at].wrapping_add(1).wrapping_sub(2 * (random.below(2) as u8)),
                _ => [0, 1, 0x45, 0x46, 0x80, 0xe0, 0xff][random.below(7)],
            };
        }
        match random.below(8) {
            0 => frame.truncate(random.below(frame.len() + 1)),
            1 => frame.extend((0..random.below(40)).map(|i| i as u8)),
            _ => {}
        }
        for at in [14, 82] {
            if frame.len() < at + 20 || frame[at] & 0x0f != 5 || random.below(8) == 0 {
                continue;
            }
            fix_header_sum(&mut frame, at);
            if round % 8 == 0 {
                // The identification makes the sum zero, which is written in two ways.
                frame[at + 4..at + 6].fill(0);
                fix_header_sum(&mut frame, at);
                frame.copy_within(at + 10..at + 12, at + 4);
                frame[at + 10..at + 12].fill([0, 0xff][random.below(2)]);
            }
        }
        match glimpse(&frame, Link::Ethernet, &settings) {
            Some(_) => taken += 1,
            None => refused += 1,
        }
        check(&frame, Link::Ethernet);
    }
    assert!(taken > 6_000 && refused > 6_000, "{taken} {refused}");
}

#[test]
fn random_bytes_break_no_invariant() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..20_000 {
        let frame: Vec<u8> = (0..random.below(120)).map(|_| random.next() as u8).collect();
        for link in LINKS {
            check(&frame, link);
        }
    }
}
