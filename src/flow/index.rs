//! The index of a flow table: from a hash to the few places worth looking at. Holds tags and
//! numbers, never keys.
//!
//! A bucket is one cache line: ten 16-bit tags (0: free), a count, ten 32-bit numbers. What finds
//! its bucket full goes to the next one with room, and each full bucket passed on the way counts
//! it. A search therefore goes on exactly as long as the bucket at hand was ever passed by
//! something still there, an insertion fails only when all buckets are full, and a removal takes
//! its counts back: no tombstones, no rehashing, no lost insertions.

use super::key::FlowHash;
use super::lanes::{first_slot, matches};
use crate::wire::near::{ask_for_large_pages, prefetch};

/// Numbers in one bucket.
#[cfg(test)]
const SLOTS: usize = 10;
/// Numbers a bucket is meant to hold: a load of 0.6, at which about 1 % of them live elsewhere.
const LOAD_SLOTS: usize = 6;
/// Bytes of a large page, and of an index for which one is worth having.
const LARGE_PAGE: usize = 2 << 20;
const LARGE_FROM: usize = 256 << 10;
/// 64-bit words in a bucket, which is one cache line.
const WORDS: usize = 8;

/// Words 0 and 1: tags of slots 0 to 7. Word 2: tags of slots 8 and 9, then the count of
/// numbers that passed by. Words 3 to 7: two numbers each.
pub(super) type Bucket = [u64; WORDS];

/// What the home bucket of a hash tells.
pub(super) enum Guess {
    /// Nearly always the right number.
    Number(u32),
    /// It is in another bucket, if anywhere.
    Elsewhere,
    /// There is none.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Index {
    /// Zeroed by the allocator, so that memory is touched only as flows come; the buckets start
    /// at the first cache line boundary.
    words: Vec<u64>,
    start: usize,
    buckets: usize,
}

impl Index {
    /// Room for `limit` numbers, and more.
    pub(super) fn new(limit: usize) -> Self {
        let buckets = limit.div_ceil(LOAD_SLOTS).max(1);
        let line = WORDS * size_of::<u64>();
        let bytes = buckets.saturating_mul(line);
        // A large page can only back the whole of an aligned one.
        let (align, bytes) = if bytes < LARGE_FROM {
            (line, bytes)
        } else {
            (LARGE_PAGE, bytes.next_multiple_of(LARGE_PAGE))
        };
        let words = vec![0u64; bytes.saturating_add(align) / size_of::<u64>()];
        let start = words.as_ptr().align_offset(align).min(align / size_of::<u64>());
        ask_for_large_pages(words.as_ptr().wrapping_add(start), bytes);
        Self { words, start, buckets }
    }

    /// Bytes of memory, once all of it has been touched.
    pub(super) fn bytes(&self) -> usize {
        self.buckets.saturating_mul(WORDS * size_of::<u64>())
    }

    /// The first number under `hash` that `is_it` accepts.
    #[inline(always)]
    pub(super) fn find(&self, hash: FlowHash, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets {
            let bucket = self.bucket(at)?;
            let mut candidates = matches(bucket, tag);
            while candidates != 0 {
                let id = number(bucket, first_slot(candidates));
                if is_it(id) {
                    return Some(id);
                }
                candidates &= candidates.wrapping_sub(1);
            }
            if passed_by(bucket) == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Puts `id` under `hash`; false only if every bucket is full.
    #[must_use]
    pub(super) fn insert(&mut self, hash: FlowHash, id: u32) -> bool {
        let home = self.home(hash);
        let mut at = home;
        for distance in 0..self.buckets {
            let next = self.after(at);
            let Some(bucket) = self.bucket_mut(at) else { return false };
            let free = matches(bucket, 0);
            if free != 0 {
                let slot = first_slot(free);
                set_tag(bucket, slot, tag(hash));
                set_number(bucket, slot, id);
                self.count_way(home, distance, 1);
                return true;
            }
            at = next;
        }
        false
    }

    /// Takes `id` out, which was put under `hash`.
    pub(super) fn remove(&mut self, hash: FlowHash, id: u32) -> bool {
        let tag = tag(hash);
        let home = self.home(hash);
        let mut at = home;
        for distance in 0..self.buckets {
            let next = self.after(at);
            let Some(bucket) = self.bucket_mut(at) else { return false };
            let mut candidates = matches(bucket, tag);
            while candidates != 0 {
                let slot = first_slot(candidates);
                if number(bucket, slot) == id {
                    set_tag(bucket, slot, 0);
                    self.count_way(home, distance, -1);
                    return true;
                }
                candidates &= candidates.wrapping_sub(1);
            }
            if passed_by(bucket) == 0 {
                return false;
            }
            at = next;
        }
        false
    }

    /// Brings the bucket of `hash` near.
    #[inline]
    pub(super) fn prefetch(&self, hash: FlowHash) {
        if let Some(bucket) = self.bucket(self.home(hash)) {
            prefetch(bucket);
        }
    }

    /// The first number in the home bucket whose tag fits: nearly always the right one. Where there
    /// is none and there may be one behind, the next bucket is brought near.
    #[inline(always)]
    pub(super) fn guess(&self, hash: FlowHash) -> Guess {
        let at = self.home(hash);
        let Some(bucket) = self.bucket(at) else { return Guess::Nothing };
        let candidates = matches(bucket, tag(hash));
        if candidates != 0 {
            return Guess::Number(number(bucket, first_slot(candidates)));
        }
        if passed_by(bucket) == 0 {
            return Guess::Nothing;
        }
        if let Some(next) = self.bucket(self.after(at)) {
            prefetch(next);
        }
        Guess::Elsewhere
    }

    /// Adds to the counts of the `distance` buckets from `home` on.
    fn count_way(&mut self, home: usize, distance: usize, change: i32) {
        let mut at = home;
        for _ in 0..distance {
            let next = self.after(at);
            if let Some([_, _, word, ..]) = self.bucket_mut(at) {
                let count = ((*word >> 32) as u32).saturating_add_signed(change);
                *word = u64::from(count) << 32 | *word & 0xffff_ffff;
            }
            at = next;
        }
    }

    /// Scales the high half of the hash to the number of buckets: no power of two needed.
    #[inline]
    fn home(&self, FlowHash(hash): FlowHash) -> usize {
        (((hash >> 32).wrapping_mul(self.buckets as u64)) >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        let next = at.wrapping_add(1);
        if next >= self.buckets { 0 } else { next }
    }

    #[inline]
    fn bucket(&self, at: usize) -> Option<&Bucket> {
        self.words.get(self.start..)?.as_chunks::<WORDS>().0.get(at)
    }

    #[inline]
    fn bucket_mut(&mut self, at: usize) -> Option<&mut Bucket> {
        self.words.get_mut(self.start..)?.as_chunks_mut::<WORDS>().0.get_mut(at)
    }
}

/// The tag of a hash; 0 means a free slot, so its place is taken by 1.
#[inline]
const fn tag(FlowHash(hash): FlowHash) -> u64 {
    let tag = hash & 0xffff;
    if tag == 0 { 1 } else { tag }
}

#[inline]
const fn passed_by(bucket: &Bucket) -> u32 {
    (bucket[2] >> 32) as u32
}

#[inline]
fn number(bucket: &Bucket, slot: usize) -> u32 {
    let word = bucket.get(3 + slot / 2).copied().unwrap_or_default();
    (word >> (slot % 2 * 32)) as u32
}

fn set_number(bucket: &mut Bucket, slot: usize, id: u32) {
    set_bits(bucket.get_mut(3 + slot / 2), slot % 2 * 32, 0xffff_ffff, u64::from(id));
}

fn set_tag(bucket: &mut Bucket, slot: usize, tag: u64) {
    set_bits(bucket.get_mut(slot / 4), slot % 4 * 16, 0xffff, tag);
}

fn set_bits(word: Option<&mut u64>, shift: usize, mask: u64, value: u64) {
    if let Some(word) = word {
        *word = *word & !(mask << shift) | value << shift;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::lanes::words;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_cache_lines() {
        for limit in [0, 1, 7, 8, 1000] {
            let index = Index::new(limit);
            let address = std::ptr::from_ref(index.bucket(0).unwrap()).addr();
            assert_eq!(address % 64, 0);
            assert!(index.bucket(index.buckets - 1).is_some());
        }
    }

    #[test]
    fn matching_lanes_are_found_exactly() {
        for tag in [0u64, 1, 0x7fff, 0x8000, 0xffff] {
            for other in [0u64, 1, 2, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff] {
                for slot in 0..SLOTS {
                    let mut bucket = Bucket::default();
                    (0..SLOTS).for_each(|n| set_tag(&mut bucket, n, other));
                    set_tag(&mut bucket, slot, tag);
                    let found = matches(&bucket, tag);
                    let expected = if other == tag { SLOTS as u32 } else { 1 };
                    assert_eq!(found.count_ones(), expected);
                    assert!(other == tag || first_slot(found) == slot);
                    let found = words::matches(&bucket, tag);
                    assert_eq!(found.count_ones(), expected);
                    assert!(other == tag || words::first_slot(found) == slot);
                }
            }
        }
    }

    #[test]
    fn only_a_full_index_refuses_and_it_gives_all_room_back() {
        let mut index = Index::new(21);
        let capacity = index.buckets * SLOTS;
        let same = FlowHash(u64::MAX);
        for round in 0..3 {
            for id in 0..capacity as u32 {
                assert!(index.insert(same, id), "round {round}");
            }
            assert!(!index.insert(same, u32::MAX));
            for id in (0..capacity as u32).rev() {
                assert_eq!(index.find(same, |found| found == id), Some(id));
                assert!(index.remove(same, id));
                assert!(!index.remove(same, id));
            }
            assert!((0..index.buckets).all(|at| passed_by(index.bucket(at).unwrap()) == 0));
        }
    }

    proptest! {
        /// Hashes of few values, so that buckets overflow and tags repeat.
        #[test]
        fn index_agrees_with_a_list(
            ops in prop::collection::vec((any::<bool>(), 0u32..48), 0..300)
        ) {
            let mut index = Index::new(28);
            let mut twin: Vec<(FlowHash, u32)> = Vec::new();
            for (insert, id) in ops {
                let hash = FlowHash(u64::from(id % 4) << 62 | u64::from(id % 3));
                let known = twin.iter().position(|entry| *entry == (hash, id));
                if insert && known.is_none() && twin.len() < index.buckets * SLOTS {
                    prop_assert!(index.insert(hash, id));
                    twin.push((hash, id));
                } else if !insert {
                    prop_assert_eq!(index.remove(hash, id), known.is_some());
                    known.map(|at| twin.swap_remove(at));
                }
                for (hash, id) in &twin {
                    prop_assert_eq!(index.find(*hash, |found| found == *id), Some(*id));
                }
            }
            let passed: u32 = (0..index.buckets).map(|at| passed_by(index.bucket(at).unwrap())).sum();
            if twin.is_empty() { prop_assert_eq!(passed, 0); }
        }
    }
}
