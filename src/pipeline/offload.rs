//! Tells captures that were taken on a sending host with checksum offload: there the sums of that
//! host's packets were not yet made when they were captured, and verifying them would drop all.

use crate::io::merge::Captures;
use crate::io::trains::TrainKey;
use crate::model::Addr;
use crate::wire::{
    self, Fragment, Packet, Settings, header_checksum_ok, reassembled_checksum_ok,
    transport_checksum_ok,
};
use std::collections::{BTreeMap, HashMap};
use std::fmt;

/// As many packets are looked at, from the start.
pub const SAMPLE_PACKETS: u64 = 20_000;

/// As many senders are told apart.
const SENDERS_MAX: usize = 4096;

/// As many packets in fragments are put together at one time.
const TRAINS_MAX: usize = 1024;

/// A sender with fewer wrong packets may as well have been unlucky.
const WRONG_LEAST: u64 = 3;

/// What a sample of packets says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// Packets whose checksums, of IPv4 header and transport, were looked at.
    pub sampled: u64,
    /// Of these, packets with a wrong one.
    pub wrong: u64,
    /// Senders that have never a right one, or only in half of their packets with payload or less:
    /// what goes without payload some cards leave to the host.
    pub senders: u64,
}

impl Offload {
    /// Whether checksums should not be verified. Single wrong packets are a fault or an attempt to
    /// evade; a host that gets every other one wrong leaves them to its network card, and a capture
    /// without a single right one was changed after it was taken.
    #[must_use]
    pub const fn suspected(&self) -> bool {
        self.senders > 0 || (self.sampled > 0 && self.wrong == self.sampled)
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sampled, wrong, senders } = self;
        if *sampled == 0 {
            f.write_str(
                "checksums are verified: no packet has one that could be looked at beforehand",
            )
        } else if self.suspected() {
            write!(
                f,
                "checksums are ignored: {wrong} of {sampled} sampled packets have a wrong one, \
                 {senders} senders in half of theirs or more, as in captures taken with checksum offload"
            )
        } else {
            write!(
                f,
                "checksums are verified: {wrong} of {sampled} sampled packets have a wrong one, no \
                 sign of checksum offload"
            )
        }
    }
}

/// The packets of one sender.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    packets: u64,
    wrong: u64,
    /// Those with payload.
    loaded: u64,
    loaded_wrong: u64,
}

impl Sender {
    /// Whether it leaves its checksums to its network card: it never has a right one, or with payload
    /// only every other time.
    const fn offloads(self) -> bool {
        let never_right = self.wrong == self.packets && self.wrong >= WRONG_LEAST;
        let seldom_right =
            self.loaded_wrong >= WRONG_LEAST && self.loaded_wrong >= self.loaded.div_ceil(2);
        never_right || seldom_right
    }
}

/// A packet in fragments: what is there of it.
#[derive(Debug, Default)]
struct Train {
    first: Option<(Packet, Vec<u8>)>,
    /// What each fragment carries, by where it starts.
    parts: BTreeMap<u16, Vec<u8>>,
    last: bool,
}

impl Train {
    fn add(&mut self, packet: &Packet, frame: &[u8]) {
        let header = usize::from(packet.transport.saturating_sub(packet.ip));
        let carried = packet.inner(frame).get(header..).unwrap_or_default().to_vec();
        match packet.fragment {
            Fragment::Whole => {}
            Fragment::First { .. } => {
                self.first = Some((*packet, frame.to_vec()));
                self.parts.insert(0, carried);
            }
            Fragment::Later { offset, more, .. } => {
                self.parts.insert(offset, carried);
                self.last |= !more;
            }
        }
    }

    /// Whether the sum of the whole packet is right; none while it is not whole.
    fn is_right(&self) -> Option<bool> {
        let (first, frame) = self.first.as_ref().filter(|_| self.last)?;
        let mut body = Vec::new();
        for (offset, carried) in &self.parts {
            if usize::from(*offset) != body.len() {
                return None;
            }
            body.extend_from_slice(carried);
        }
        Some(reassembled_checksum_ok(frame, first, &body))
    }
}

/// Samples the first packets of captures.
#[must_use]
pub fn offload(captures: &mut Captures, settings: &Settings) -> Offload {
    let mut senders: HashMap<Addr, Sender> = HashMap::new();
    let mut trains: HashMap<TrainKey, Train> = HashMap::new();
    let mut found = Offload::default();
    let mut looked = 0;
    while looked < SAMPLE_PACKETS
        && let Some(captured) = captures.next_packet()
    {
        looked += 1;
        if usize::try_from(captured.original_len).is_ok_and(|len| len > captured.bytes.len()) {
            continue;
        }
        let Ok(packet) = wire::parse(captured.bytes, captured.link, settings) else { continue };
        let sums_up = match TrainKey::of(&packet) {
            None => transport_checksum_ok(captured.bytes, &packet),
            Some(key) => {
                if trains.len() >= TRAINS_MAX && !trains.contains_key(&key) {
                    continue;
                }
                let train = trains.entry(key).or_default();
                train.add(&packet, captured.bytes);
                let Some(right) = train.is_right() else { continue };
                trains.remove(&key);
                right
            }
        };
        let right = header_checksum_ok(captured.bytes, &packet) && sums_up;
        let wrong = u64::from(!right);
        found.sampled += 1;
        found.wrong += wrong;
        let room = senders.len() < SENDERS_MAX;
        if let Some(sender) = match senders.get_mut(&packet.tuple.src) {
            None if room => Some(senders.entry(packet.tuple.src).or_default()),
            known => known,
        } {
            sender.packets += 1;
            sender.wrong += wrong;
            if packet.payload_len > 0 {
                sender.loaded += 1;
                sender.loaded_wrong += wrong;
            }
        }
    }
    found.senders = senders.values().filter(|sender| sender.offloads()).count() as u64;
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::pcap::{CaptureReader, CaptureWriter, CapturedPacket, Format};
    use crate::model::{Protocol, Timestamp};
    use crate::synth::packet;
    use crate::wire::{Checksums, Link};
    use std::io::Cursor;

    /// A datagram of 24 bytes in fragments of 16 and 16, its sum right or not.
    fn fragments(id: u16, right: bool) -> [Vec<u8>; 2] {
        let (client, server) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let tuple = packet::tuple((client, 4000), (server, 53), Protocol::UDP);
        let mut whole = packet::udp(&tuple, &[7; 24]);
        whole[27] ^= u8::from(!right);
        [(0_u16, 20..36, 0x2000_u16), (2, 36..52, 0)].map(|(offset, bytes, more)| {
            let mut part = whole[..20].to_vec();
            part[2..4].copy_from_slice(&36_u16.to_be_bytes());
            part[4..6].copy_from_slice(&id.to_be_bytes());
            part[6..8].copy_from_slice(&(offset | more).to_be_bytes());
            part[10..12].fill(0);
            let words = part.as_chunks::<2>().0.iter();
            let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            part[10..12].copy_from_slice(&sum.to_be_bytes());
            part.extend_from_slice(&whole[bytes]);
            part
        })
    }

    fn sample(packets: &[Vec<u8>]) -> Offload {
        let mut writer = CaptureWriter::new(Vec::new(), Format::for_name("a.pcap"));
        for bytes in packets {
            let original_len = u32::try_from(bytes.len()).unwrap();
            let at = Timestamp::ZERO;
            writer.write(&CapturedPacket { at, link: Link::RawIp, bytes, original_len }).unwrap();
        }
        let file = Box::new(Cursor::new(writer.finish().unwrap()));
        let mut captures = Captures::new(vec![CaptureReader::new("a", file).unwrap()]);
        offload(&mut captures, &Settings { checksums: Checksums::Ignore, ..Settings::CAPTURE })
    }

    #[test]
    fn packets_in_fragments_are_looked_at_once_they_are_whole() {
        let right = fragments(1, true);
        assert_eq!(sample(&right), Offload { sampled: 1, wrong: 0, senders: 0 });
        assert_eq!(sample(&[right[1].clone(), right[0].clone()]).sampled, 1, "in any order");
        assert_eq!(sample(&right[..1]).sampled, 0, "the rest is missing");
        let unmade = (1..=3).flat_map(|id| fragments(id, false));
        let found = sample(&unmade.collect::<Vec<_>>());
        assert_eq!(found, Offload { sampled: 3, wrong: 3, senders: 1 });
        assert!(found.suspected());
    }

    #[test]
    fn a_flood_of_first_fragments_is_not_kept() {
        let count = u16::try_from(TRAINS_MAX).unwrap();
        for (others, sampled) in [(count - 1, 1), (count, 0)] {
            let mut packets: Vec<_> =
                (0..others).map(|id| fragments(id, true)[0].clone()).collect();
            packets.extend(fragments(u16::MAX, true));
            assert_eq!(sample(&packets).sampled, sampled, "{others}");
        }
    }
}
