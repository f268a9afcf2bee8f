//! Frames that nobody would send: mutated, cut, extended, random. Deterministic.

use super::frames::*;
use super::invariants::{LINKS, check};

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
