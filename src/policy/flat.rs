//! The hash table of keys that take twelve bytes, which those of IPv4 rules do: key and first rule in
//! half a cache line, so that nearly every look-up reads one place. What a key means is not known here.

use super::tuple_space::Listed;
use crate::wire::near::{ask_for_large_pages, prefetch};

/// What a table takes of a five-tuple, where twelve bytes hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlatKey {
    pub(super) dst: u32,
    pub(super) src: u32,
    pub(super) port: u16,
    pub(super) protocol: u8,
    /// Number of the table; [`FREE`] in a free place.
    pub(super) table: u8,
}

const FREE: u8 = u8::MAX;
/// The key has one rule.
const ALONE: u32 = u32::MAX;

impl FlatKey {
    /// What is stored is the operator's, and a shared hash costs a comparison, not the answer, so the
    /// constants need be no secret.
    #[inline]
    pub(super) const fn hash(self) -> u64 {
        let addresses = self.dst as u64 | (self.src as u64) << 32;
        let rest = self.port as u64 | (self.protocol as u64) << 16 | (self.table as u64) << 24;
        let product = (addresses ^ 0x243f_6a88_85a3_08d3) as u128
            * (rest.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1319_8a2e_0370_7344) as u128;
        product as u64 ^ (product >> 64) as u64
    }
}

#[derive(Clone, Debug)]
#[repr(align(32))]
struct Place {
    key: FlatKey,
    /// Which run of rules the key has, or [`ALONE`].
    run: u32,
    first: Listed,
}

const _: () = assert!(size_of::<Place>() == 32);

/// What is found under a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Nothing,
    One(&'a Listed),
    /// A run of rules, by its number.
    Run(u32),
}

/// Keys by their hash, open and without removal.
#[derive(Debug)]
pub(super) struct FlatTable {
    places: Vec<Place>,
    mask: u64,
}

impl FlatTable {
    /// Room for so many keys, of which four in five places are taken at most.
    pub(super) fn new(keys: usize) -> Self {
        let count = keys.saturating_mul(5).div_ceil(4).saturating_add(1).next_power_of_two();
        let key = FlatKey { dst: 0, src: 0, port: 0, protocol: 0, table: FREE };
        let places = vec![Place { key, run: ALONE, first: Listed::NONE }; count];
        ask_for_large_pages(places.as_ptr(), places.len().saturating_mul(size_of::<Place>()));
        Self { places, mask: (count as u64).wrapping_sub(1) }
    }

    /// Adds a key that is not there: with its only rule, or with its first and a run of all.
    pub(super) fn add(&mut self, key: FlatKey, first: Listed, run: Option<u32>) {
        let mut at = key.hash() & self.mask;
        for _ in 0..self.places.len() {
            let Some(place) = self.places.get_mut(at as usize) else { return };
            if place.key.table == FREE {
                *place = Place { key, run: run.unwrap_or(ALONE), first };
                return;
            }
            at = at.wrapping_add(1) & self.mask;
        }
    }

    /// What is under a key.
    #[inline]
    pub(super) fn find(&self, hash: u64, key: FlatKey) -> Found<'_> {
        let mut at = hash & self.mask;
        for _ in 0..self.places.len() {
            let Some(place) = self.places.get(at as usize) else { return Found::Nothing };
            if place.key == key {
                return if place.run == ALONE {
                    Found::One(&place.first)
                } else {
                    Found::Run(place.run)
                };
            }
            if place.key.table == FREE {
                return Found::Nothing;
            }
            at = at.wrapping_add(1) & self.mask;
        }
        Found::Nothing
    }

    /// Brings the place of a key near.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(place) = self.places.get((hash & self.mask) as usize) {
            prefetch(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_and_nothing_else() {
        for count in [0, 1, 4, 5, 6, 1000] {
            let mut table = FlatTable::new(count);
            let key = |n: usize| FlatKey {
                dst: n as u32 / 3,
                src: 0,
                port: n as u16 % 3,
                protocol: 6,
                table: 1,
            };
            for n in 0..count {
                let mut listed = Listed::NONE;
                listed.rule = n as u32;
                table.add(key(n), listed, (n % 2 == 1).then_some(n as u32));
            }
            for n in 0..count {
                match table.find(key(n).hash(), key(n)) {
                    Found::One(listed) => assert_eq!((listed.rule, n % 2), (n as u32, 0)),
                    Found::Run(run) => assert_eq!((run, n % 2), (n as u32, 1)),
                    Found::Nothing => panic!("{n} of {count}"),
                }
                let other = FlatKey { table: 2, ..key(n) };
                assert!(matches!(table.find(other.hash(), other), Found::Nothing));
            }
        }
    }
}
