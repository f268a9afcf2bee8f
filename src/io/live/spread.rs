//! Which worker a frame belongs to: a keyed hash that is the same for both directions of a flow.
//! The kernel computes it too (see [`super::filter`]), so it is made of what classic BPF can do:
//! 32-bit words, no loop. Who keeps the flows is not decided here.

use crate::model::{Addr, FiveTuple, Protocol};
use crate::wire::{self, Body, Checksums, Link, Packet, Settings};

/// Odd numbers with well spread bits; any would do, the seed keys the hash.
pub(super) const MIX_FIRST: u32 = 0x9e37_79b1;
pub(super) const MIX_SECOND: u32 = 0x85eb_ca77;
/// How far a product is shifted onto itself, so that its upper bits reach the lower ones.
pub(super) const FOLD: u32 = 15;

/// How frames are read here; the worker that judges them verifies everything.
pub(super) const SORTING: Settings =
    Settings { checksums: Checksums::Ignore, outer_udp: Checksums::Ignore, ..Settings::GWLB };

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To the worker of its flow.
    Worker(usize),
    /// It is a fragment, and this worker gathers its packet.
    Collector(usize),
    /// Nowhere in particular: it will be refused.
    Anywhere,
}

/// Spreads flows over workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) seed: u32,
    pub(super) workers: u32,
}

impl Spread {
    /// `workers` is at least one and at most [`super::WORKERS_MAX`].
    pub(super) fn new(seed: u32, workers: usize) -> Self {
        Self { seed, workers: u32::try_from(workers).unwrap_or(1).max(1) }
    }

    /// Where an Ethernet frame goes.
    #[inline]
    pub(super) fn place(&self, frame: &[u8]) -> Place {
        self.usual(frame).map_or_else(|| self.unusual(frame), Place::Worker)
    }

    /// The worker of a whole TCP or UDP packet without extension headers.
    #[inline]
    fn usual(&self, frame: &[u8]) -> Option<usize> {
        let inner = frame.get(inner_at(frame)?..)?;
        let (src, dst, protocol, ports) = match inner.first()? >> 4 {
            4 if inner.get(6)? & 0x3f == 0 && *inner.get(7)? == 0 => {
                let [src, dst] = inner.get(12..20)?.as_chunks::<4>().0 else { return None };
                let ports = usize::from(inner.first()? & 0x0f) * 4;
                (Addr::v4(*src), Addr::v4(*dst), *inner.get(9)?, ports)
            }
            6 => {
                let [src, dst] = inner.get(8..40)?.as_chunks::<16>().0 else { return None };
                (Addr::v6(*src), Addr::v6(*dst), *inner.get(6)?, 40)
            }
            _ => return None,
        };
        let protocol = Protocol(protocol);
        if !protocol.has_ports() {
            return None;
        }
        let [a, b, c, d]: [u8; 4] = inner.get(ports..)?.first_chunk().copied()?;
        let (src_port, dst_port) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(self.flow(&FiveTuple { src, dst, src_port, dst_port, protocol }))
    }

    #[cold]
    fn unusual(&self, frame: &[u8]) -> Place {
        let Ok(packet) = wire::parse(frame, Link::Ethernet, &SORTING) else {
            return Place::Anywhere;
        };
        self.collector(&packet).map_or_else(|| Place::Worker(self.owner(&packet)), Place::Collector)
    }

    /// The worker of the flow a packet belongs to; an ICMP error belongs to the flow it quotes.
    pub(super) fn owner(&self, packet: &Packet) -> usize {
        match packet.body {
            Body::IcmpError { quoted, .. } => self.flow(&quoted.tuple),
            _ => self.flow(&packet.tuple),
        }
    }

    /// The worker that gathers the fragments of a packet; none for a whole packet.
    pub(super) fn collector(&self, packet: &Packet) -> Option<usize> {
        let train = crate::io::trains::TrainKey::of(packet)?;
        let pair = self.side(train.src, 0).wrapping_add(self.side(train.dst, 0));
        let hash = mix(pair ^ u32::from(train.protocol.0), MIX_FIRST);
        Some(self.scale(mix(hash ^ train.id, MIX_SECOND)))
    }

    /// The worker of a flow, whichever way it is looked at. Only TCP and UDP have ports here: all
    /// else between two hosts goes to one worker.
    #[inline]
    pub(super) fn flow(&self, tuple: &FiveTuple) -> usize {
        let ports = match tuple.protocol {
            Protocol::TCP | Protocol::UDP => (tuple.src_port, tuple.dst_port),
            _ => (0, 0),
        };
        let pair = self.side(tuple.src, ports.0).wrapping_add(self.side(tuple.dst, ports.1));
        self.scale(mix(pair ^ u32::from(tuple.protocol.0), MIX_FIRST))
    }

    #[inline]
    fn side(&self, addr: Addr, port: u16) -> u32 {
        let bits = addr.bits();
        let word = |shift: u32| (bits >> shift) as u32;
        let step = |sum: u32, word: u32| mix(sum ^ word, MIX_FIRST);
        let sum = if addr.is_v4() {
            step(self.seed, word(0))
        } else {
            [96, 64, 32, 0].into_iter().map(word).fold(self.seed, step)
        };
        mix(sum.wrapping_add(u32::from(port)), MIX_SECOND)
    }

    /// The upper bits of the product spread evenly, whatever the number of workers.
    #[inline]
    const fn scale(&self, hash: u32) -> usize {
        ((hash >> 16).wrapping_mul(self.workers) >> 16) as usize
    }
}

/// Where the inner packet of an Ethernet frame starts, if it is GENEVE without a VLAN tag.
#[inline]
pub(super) fn inner_at(frame: &[u8]) -> Option<usize> {
    const ETHERNET_HEADER: usize = 14;
    let &[0x08, 0x00, first] = frame.get(12..=ETHERNET_HEADER)? else { return None };
    let udp = ETHERNET_HEADER + usize::from(first & 0x0f) * 4;
    Some(udp + 16 + usize::from(frame.get(udp + 8)? & 0x3f) * 4)
}

#[inline]
const fn mix(word: u32, by: u32) -> u32 {
    let product = word.wrapping_mul(by);
    product ^ (product >> FOLD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuple(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> FiveTuple {
        FiveTuple {
            src: Addr::v4(src),
            dst: Addr::v4(dst),
            src_port: ports.0,
            dst_port: ports.1,
            protocol: Protocol::TCP,
        }
    }

    proptest! {
        #[test]
        fn both_directions_of_a_flow_have_one_worker(
            src: [u8; 16], dst: [u8; 16], v4: bool, ports: (u16, u16), protocol: u8, seed: u32,
            workers in 1usize..64,
        ) {
            let addr = |bytes: [u8; 16]| match v4 {
                true => Addr::v4([bytes[0], bytes[1], bytes[2], bytes[3]]),
                false => Addr::v6(bytes),
            };
            let there = FiveTuple {
                src: addr(src), dst: addr(dst), src_port: ports.0, dst_port: ports.1,
                protocol: Protocol(protocol),
            };
            let spread = Spread::new(seed, workers);
            prop_assert_eq!(spread.flow(&there), spread.flow(&there.reverse()));
            prop_assert!(spread.flow(&there) < workers);
        }
    }

    #[test]
    fn workers_get_like_shares_of_flows_that_differ_little() {
        let spread = Spread::new(7, 8);
        let mut shares = [0u32; 8];
        for port in 0..4000 {
            shares[spread.flow(&tuple([10, 0, 0, 1], [10, 0, 0, 2], (port, 443)))] += 1;
        }
        for host in 0..4000u16 {
            let [high, low] = host.to_be_bytes();
            shares[spread.flow(&tuple([10, 1, high, low], [10, 0, 0, 2], (40_000, 443)))] += 1;
        }
        assert!(shares.iter().all(|share| (850..1150).contains(share)), "{shares:?}");
    }

    #[test]
    fn the_seed_changes_who_meets_whom() {
        let meets = |seed| {
            let spread = Spread::new(seed, 2);
            (0..64)
                .map(|port| spread.flow(&tuple([1, 1, 1, 1], [2, 2, 2, 2], (port, 443))))
                .collect()
        };
        let (first, second): (Vec<usize>, Vec<usize>) = (meets(1), meets(2));
        assert_ne!(first, second);
    }
}
