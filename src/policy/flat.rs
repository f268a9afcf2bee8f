//! The hash table of keys that take twelve bytes, which those of IPv4 rules do: key and first rule in
//! half a cache line, so that nearly every look-up reads one place. What a key means is not known here.

use super::decision::Toward;
use super::listed::Listed;
use crate::model::FiveTuple;
use crate::wire::near::{ask_for_large_pages, prefetch};

/// What a table takes of a five-tuple, where twelve bytes hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlatKey {
    /// The last 32 bits of source and destination.
    addresses: u64,
    /// Table, protocol and destination port.
    rest: u32,
}

/// What a table takes of a five-tuple: the bits of the key that count, and its number.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlatShape {
    addresses: u64,
    rest: u32,
    /// The number of the table, where it stands in a key.
    table: u32,
}

const TABLE_SHIFT: u32 = 24;
/// `rest` of a free place: no table has this number.
const FREE: u32 = u32::MAX;

/// The last 32 bits of both addresses.
#[inline]
pub(super) const fn flat_addresses(dst: u128, src: u128) -> u64 {
    (src as u64) << 32 | dst as u32 as u64
}

/// Port and protocol as they stand in a key.
#[inline]
pub(super) const fn flat_rest(port: u16, protocol: u8) -> u32 {
    (protocol as u32) << 16 | port as u32
}

impl FlatShape {
    /// What table number `table` takes: these bits.
    pub(super) const fn new(addresses: u64, rest: u32, table: u8) -> Self {
        Self { addresses, rest, table: (table as u32) << TABLE_SHIFT }
    }

    /// The bits of the addresses and of the rest that count, and what stands for the table in the rest.
    pub(super) const fn parts(self) -> [u64; 3] {
        [self.addresses, self.rest as u64, self.table as u64]
    }

    /// Of a table whose keys are not flat.
    pub(super) const NOTHING: Self = Self { addresses: 0, rest: 0, table: 0 };
}

impl FlatKey {
    #[inline]
    pub(super) const fn new(addresses: u64, rest: u32, table: u8) -> Self {
        Self { addresses, rest: rest | (table as u32) << TABLE_SHIFT }
    }

    /// All of a five-tuple that any table takes.
    #[inline]
    pub(super) fn of(tuple: &FiveTuple) -> Self {
        let addresses = flat_addresses(tuple.dst.bits(), tuple.src.bits());
        Self::new(addresses, flat_rest(tuple.dst_port, tuple.protocol.0), 0)
    }

    /// The same of an IPv4 packet.
    #[inline]
    pub(super) const fn toward(toward: &Toward) -> Self {
        let addresses = (toward.src as u64) << 32 | toward.dst as u64;
        Self::new(addresses, flat_rest(toward.dst_port, toward.protocol.0), 0)
    }

    /// What a table takes of it.
    #[inline]
    pub(super) const fn within(self, shape: &FlatShape) -> Self {
        let rest = self.rest & shape.rest | shape.table;
        Self { addresses: self.addresses & shape.addresses, rest }
    }

    /// Odd numbers: of destination, source and the rest, which have 32 bits, and of their sum. What is
    /// stored is the operator's, and a shared hash costs a comparison, not the answer, so they need be
    /// no secret.
    pub(super) const FACTORS: [u64; 4] =
        [0x243f_6a89, 0x85a3_08d3, 0x1319_8a2f, 0x9e37_79b9_7f4a_7c15];

    /// Of products that vector registers have for several keys at once ([`super::lanes`]).
    #[inline]
    pub(super) const fn hash(self) -> u64 {
        let [dst, src, other, all_of_it] = Self::FACTORS;
        let sum = (self.addresses & 0xffff_ffff)
            .wrapping_mul(dst)
            .wrapping_add((self.addresses >> 32).wrapping_mul(src))
            .wrapping_add((self.rest as u64).wrapping_mul(other));
        let product = (sum ^ sum >> 32).wrapping_mul(all_of_it);
        product ^ product >> 32
    }

    /// The addresses, and the rest.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) const fn parts(self) -> [u64; 2] {
        [self.addresses, self.rest as u64]
    }
}

#[derive(Clone, Debug)]
#[repr(align(32))]
struct Place {
    addresses: u64,
    rest: u32,
    /// Where those of its rules are listed that come after the first, and how many they are.
    start: u32,
    more: u32,
    first: Listed,
}

const _: () = assert!(size_of::<Place>() == 32);

/// Tables of at most so many places, 32 KiB, are small.
const SMALL_PLACES: usize = 1 << 10;

/// Keys by their hash, open and without removal.
#[derive(Debug)]
pub(super) struct FlatTable {
    places: Vec<Place>,
    mask: u64,
}

impl FlatTable {
    /// Room for so many keys: half of the places are taken at most; a quarter while that is little
    /// memory.
    pub(super) fn new(keys: usize) -> Self {
        let sparse = keys.saturating_mul(4).saturating_add(1).next_power_of_two();
        let dense = keys.saturating_mul(2).saturating_add(1).next_power_of_two();
        let count = if sparse <= SMALL_PLACES { sparse } else { dense };
        let free = Place { addresses: 0, rest: FREE, start: 0, more: 0, first: Listed::NONE };
        let places = vec![free; count];
        ask_for_large_pages(places.as_ptr(), places.len().saturating_mul(size_of::<Place>()));
        Self { places, mask: (count as u64).wrapping_sub(1) }
    }

    /// Adds a key that is not there, with its first rule and where the others are listed.
    pub(super) fn add(&mut self, key: FlatKey, first: Listed, (start, more): (u32, u32)) {
        let mut at = key.hash() & self.mask;
        for _ in 0..self.places.len() {
            let Some(place) = self.places.get_mut(at as usize) else { return };
            if place.rest == FREE {
                let FlatKey { addresses, rest } = key;
                *place = Place { addresses, rest, start, more, first };
                return;
            }
            at = at.wrapping_add(1) & self.mask;
        }
    }

    /// What is under a key: its first rule, where the others are listed, and how many they are.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: FlatKey) -> Option<(&Listed, u32, u32)> {
        let mut at = hash & self.mask;
        for _ in 0..self.places.len() {
            let place = self.places.get(at as usize)?;
            if (place.addresses, place.rest) == (key.addresses, key.rest) {
                return Some((&place.first, place.start, place.more));
            }
            if place.rest == FREE {
                return None;
            }
            at = at.wrapping_add(1) & self.mask;
        }
        None
    }

    /// Whether all of it is little memory.
    #[inline]
    pub(super) const fn is_small(&self) -> bool {
        self.places.len() <= SMALL_PLACES
    }

    /// Brings the place of a key near if `wanted` is 1. Without a branch: if it is 0 the first place is
    /// asked for, which is near.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64, wanted: u64) {
        self.prefetch_at(hash & self.mask & wanted.wrapping_neg());
    }

    /// Brings a place near.
    #[inline(always)]
    pub(super) fn prefetch_at(&self, at: u64) {
        if let Some(place) = self.places.get(at as usize) {
            prefetch(place);
        }
    }

    /// The bits of a hash that tell the place.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) const fn mask(&self) -> u64 {
        self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_nothing_else() {
        for count in [0, 1, 4, 5, 6, 1000] {
            let mut table = FlatTable::new(count);
            let key = |n: usize| FlatKey::new(n as u64 / 3, flat_rest(n as u16 % 3, 6), 1);
            for n in 0..count {
                let mut listed = Listed::NONE;
                listed.rule = n as u32;
                table.add(key(n), listed, (n as u32, n as u32 % 2));
            }
            for n in 0..count {
                let (listed, start, more) = table.find(key(n).hash(), key(n)).unwrap();
                assert_eq!((listed.rule, start, more), (n as u32, n as u32, n as u32 % 2));
                let other = FlatKey { rest: key(n).rest ^ 3 << TABLE_SHIFT, ..key(n) };
                assert!(table.find(other.hash(), other).is_none());
            }
        }
    }

    #[test]
    fn a_table_is_small_up_to_its_bound() {
        for (count, small) in [(510, true), (511, true), (512, false)] {
            let table = FlatTable::new(count);
            assert_eq!((table.is_small(), table.places.len() <= SMALL_PLACES), (small, small));
            assert!(table.places.len() >= 2 * count, "{count}");
        }
    }
}
