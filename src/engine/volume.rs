//! Packets and bytes of flows: in two words of the hot state, and beside it what few flows have, counts
//! of a second fate and counts that were full.

use super::entry::{Flow, Mark};
use super::record::Volume;
use crate::model::Direction;
use hashbrown::HashMap;

/// Packets and bytes in one word: 24 bits and 40.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(u64);

/// The low 10 bits of the packets, and the low 22 of the bytes, of a tally.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Brief(u32);

/// The high 14 bits of the packets, and the high 18 of the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried(u32);

impl Brief {
    const BYTES_BITS: u32 = 22;
    const BYTES: u32 = (1 << Self::BYTES_BITS) - 1;
    const PACKETS_BITS: u32 = u32::BITS - Self::BYTES_BITS;
    const PACKETS: u32 = (1 << Self::PACKETS_BITS) - 1;

    /// One packet.
    #[inline(always)]
    pub(super) const fn one(bytes: u16) -> Self {
        Self(1 << Self::BYTES_BITS | bytes as u32)
    }

    /// With a packet more; none where that does not fit.
    #[inline(always)]
    pub(super) const fn and(self, bytes: u32) -> Option<Self> {
        let sum = (self.0 & Self::BYTES).wrapping_add(bytes);
        let fits = self.0 >> Self::BYTES_BITS != Self::PACKETS
            && bytes < Tally::BYTES_MAX
            && sum <= Self::BYTES;
        let more = self.0.wrapping_add(1 << Self::BYTES_BITS).wrapping_add(bytes);
        if fits { Some(Self(more)) } else { None }
    }
}

impl Carried {
    const BYTES_BITS: u32 = 40 - Brief::BYTES_BITS;
    const BYTES: u32 = (1 << Self::BYTES_BITS) - 1;
}

impl Tally {
    /// With so many packets of less than so many bytes, the sum has not left its 40 bits. What
    /// comes then is counted beside.
    const PACKETS_MAX: u64 = 1 << 23;
    const BYTES_MAX: u32 = 1 << 17;
    const BYTES: u64 = (1 << 40) - 1;

    pub(super) const fn of(Brief(low): Brief, Carried(high): Carried) -> Self {
        let packets =
            (high >> Carried::BYTES_BITS) << Brief::PACKETS_BITS | low >> Brief::BYTES_BITS;
        let (high, low) = (high & Carried::BYTES, low & Brief::BYTES);
        let bytes = (high as u64) << Brief::BYTES_BITS | low as u64;
        Self((packets as u64) << 40 | bytes)
    }

    pub(super) const fn parts(self) -> (Brief, Carried) {
        let (packets, bytes) = (self.packets() as u32, self.bytes());
        let low = (packets & Brief::PACKETS) << Brief::BYTES_BITS | bytes as u32 & Brief::BYTES;
        let high = (bytes >> Brief::BYTES_BITS) as u32;
        (Brief(low), Carried(packets >> Brief::PACKETS_BITS << Carried::BYTES_BITS | high))
    }

    pub(super) const fn packets(self) -> u64 {
        self.0 >> 40
    }

    pub(super) const fn bytes(self) -> u64 {
        self.0 & Self::BYTES
    }

    /// Whether there is room for a packet of so many bytes.
    pub(super) const fn takes(self, bytes: u32) -> bool {
        self.packets() < Self::PACKETS_MAX && bytes < Self::BYTES_MAX
    }

    /// Counts a packet for which there is room.
    pub(super) const fn add(&mut self, bytes: u32) {
        self.0 = self.0.wrapping_add(1 << 40).wrapping_add(bytes as u64);
    }
}

/// Packets and bytes of one fate, without a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    packets: u64,
    bytes: u64,
}

/// What few flows have: packets whose fate is not that of the others, and tallies that were full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Aside {
    other: [Count; 2],
    carried: [Count; 2],
}

/// Counts beside the flows' own, by the place of the flow.
#[derive(Debug, Default)]
pub(super) struct Asides(HashMap<usize, Aside>);

impl Asides {
    /// Counts a packet that was forwarded, or was not.
    pub(super) fn count(
        &mut self,
        place: usize,
        flow: &mut Flow,
        direction: Direction,
        bytes: u32,
        forwarded: bool,
    ) {
        if flow.is(Mark::Forwards) != forwarded {
            if !forwarded && !flow.is_refused() {
                return self.change(place, flow, direction, |count| count.add(bytes));
            }
            self.turn(place, flow, forwarded);
        }
        if flow.takes(direction, bytes) {
            return flow.carry(direction, bytes);
        }
        let full = flow.take_tally(direction);
        let aside = self.of(place, flow);
        if let Some(carried) = aside.carried.get_mut(direction.index()) {
            carried.take(full);
            carried.add(bytes);
        }
    }

    /// A packet that was counted as not forwarded is forwarded now.
    pub(super) fn release(
        &mut self,
        place: usize,
        flow: &mut Flow,
        direction: Direction,
        bytes: u32,
    ) {
        if !flow.is(Mark::Forwards) {
            self.turn(place, flow, true);
        }
        self.change(place, flow, direction, |count| {
            count.packets = count.packets.saturating_sub(1);
            count.bytes = count.bytes.saturating_sub(u64::from(bytes));
        });
        self.count(place, flow, direction, bytes, true);
    }

    /// Forgets a flow.
    pub(super) fn forget(&mut self, place: usize, flow: &Flow) {
        if flow.has_aside() {
            self.0.remove(&place);
        }
    }

    /// What was seen and forwarded of a flow.
    pub(super) fn volume(&self, place: usize, flow: &Flow) -> [Volume; 2] {
        let forwards = flow.is(Mark::Forwards);
        let alone = |direction| Volume::alone(flow.tally(direction), forwards);
        // Nearly all flows have nothing beside them, and need not go and see.
        let aside = if flow.has_aside() { self.0.get(&place) } else { None };
        let Some(aside) = aside else {
            return [alone(Direction::Original), alone(Direction::Reply)];
        };
        let side = |direction: Direction| {
            let at = direction.index();
            let tally = flow.tally(direction);
            let mut same = aside.carried.get(at).copied().unwrap_or_default();
            same.take(tally);
            let other = aside.other.get(at).copied().unwrap_or_default();
            let forwarded = if flow.is(Mark::Forwards) { same } else { other };
            Volume {
                packets: same.packets.saturating_add(other.packets),
                bytes: same.bytes.saturating_add(other.bytes),
                forwarded_packets: forwarded.packets,
                forwarded_bytes: forwarded.bytes,
            }
        };
        [side(Direction::Original), side(Direction::Reply)]
    }

    /// From now on the tally counts the other fate.
    fn turn(&mut self, place: usize, flow: &mut Flow, forwards: bool) {
        flow.set(Mark::Forwards, forwards);
        let both = [Direction::Original, Direction::Reply];
        let empty = both.iter().all(|way| flow.tally(*way) == Tally::default());
        if empty && !(flow.has_aside() && self.0.contains_key(&place)) {
            return;
        }
        let aside = self.of(place, flow);
        for (way, carried) in both.into_iter().zip(&mut aside.carried) {
            carried.take(flow.take_tally(way));
        }
        std::mem::swap(&mut aside.other, &mut aside.carried);
        self.tidy(place);
    }

    /// What is counted beside a flow.
    fn of(&mut self, place: usize, flow: &mut Flow) -> &mut Aside {
        flow.set_aside();
        self.0.entry(place).or_default()
    }

    fn change(
        &mut self,
        place: usize,
        flow: &mut Flow,
        direction: Direction,
        change: impl FnOnce(&mut Count),
    ) {
        if let Some(count) = self.of(place, flow).other.get_mut(direction.index()) {
            change(count);
        }
        self.tidy(place);
    }

    fn tidy(&mut self, place: usize) {
        if self.0.get(&place) == Some(&Aside::default()) {
            self.0.remove(&place);
        }
    }
}

impl Volume {
    /// What is counted in a flow alone, all of one fate.
    #[inline]
    const fn alone(tally: Tally, forwards: bool) -> Self {
        let (packets, bytes) = (tally.packets(), tally.bytes());
        let (forwarded_packets, forwarded_bytes) = if forwards { (packets, bytes) } else { (0, 0) };
        Self { packets, bytes, forwarded_packets, forwarded_bytes }
    }
}

impl Count {
    fn add(&mut self, bytes: u32) {
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::from(bytes));
    }

    fn take(&mut self, tally: Tally) {
        self.packets = self.packets.saturating_add(tally.packets());
        self.bytes = self.bytes.saturating_add(tally.bytes());
    }
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
