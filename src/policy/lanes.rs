//! Which tables of the classifier may hold a rule for a five-tuple, eight tables at once where the
//! processor has registers for that. Says what a walk over the tables one by one says.
#![expect(unsafe_code, reason = "vector instructions have no safe wrapper; proofs below")]

use super::filter::Filter;
use super::flat::{FlatKey, FlatShape, FlatTable};

/// Tables in a register.
const LANES: usize = 8;

/// What tables take of a five-tuple, where this processor looks at eight of them at once.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Chunk>);

/// Eight tables; those behind the last take nothing.
#[derive(Debug, Default)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there is no such processor"))]
struct Chunk {
    addresses: [u64; LANES],
    rest: [u64; LANES],
    table: [u64; LANES],
}

impl Lanes {
    /// `None`: this processor looks at one table at a time.
    pub(super) fn new(shapes: &[FlatShape]) -> Option<Self> {
        let chunk = |shapes: &[FlatShape]| {
            let mut chunk = Chunk::default();
            for (lane, shape) in shapes.iter().enumerate() {
                let parts = shape.parts();
                let places = [&mut chunk.addresses, &mut chunk.rest, &mut chunk.table];
                for (place, part) in places.into_iter().zip(parts) {
                    if let Some(place) = place.get_mut(lane) {
                        *place = part;
                    }
                }
            }
            chunk
        };
        is_wide().then(|| Self(shapes.chunks(LANES).map(chunk).collect()))
    }

    /// The tables of `open` that may have the key, whose places there are brought near.
    #[inline]
    pub(super) fn may_hold(
        &self,
        open: u32,
        key: FlatKey,
        filter: &Filter,
        places: &FlatTable,
    ) -> u32 {
        let mut may = 0;
        let mut left = open;
        for (chunk, first) in self.0.iter().zip((0..u32::BITS).step_by(LANES)) {
            if left as u8 != 0 {
                may |= u32::from(chunk.may_hold(left as u8, key, filter, places)) << first;
            }
            left >>= LANES;
        }
        may
    }
}

#[cfg(target_arch = "x86_64")]
fn is_wide() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")
}

#[cfg(not(target_arch = "x86_64"))]
const fn is_wide() -> bool {
    false
}

#[cfg(not(target_arch = "x86_64"))]
impl Chunk {
    /// There is no [`Lanes`] to ask.
    fn may_hold(&self, open: u8, _: FlatKey, _: &Filter, _: &FlatTable) -> u8 {
        open
    }
}

#[cfg(target_arch = "x86_64")]
impl Chunk {
    #[inline]
    fn may_hold(&self, open: u8, key: FlatKey, filter: &Filter, places: &FlatTable) -> u8 {
        // SAFETY: a chunk is made by `Lanes::new` alone, once `is_wide` has found both features.
        let (may, at) = unsafe { self.look(open, key, filter.words(), places.mask()) };
        for at in at {
            places.prefetch_at(at);
        }
        may
    }

    /// The tables of `open` that may have the key, and its places there; of others the first place.
    #[target_feature(enable = "avx512f,avx512dq")]
    fn look(&self, open: u8, key: FlatKey, words: &[u64], places: u64) -> (u8, [u64; LANES]) {
        use std::arch::x86_64::{
            _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_epi64, _mm512_mask_i64gather_epi64,
            _mm512_mask_test_epi64_mask, _mm512_maskz_and_epi64, _mm512_mul_epu32,
            _mm512_mullo_epi64, _mm512_or_si512, _mm512_set1_epi64, _mm512_setzero_si512,
            _mm512_srli_epi64, _mm512_srlv_epi64, _mm512_storeu_epi64, _mm512_xor_si512,
        };
        if !words.len().is_power_of_two() {
            return (open, [0; LANES]);
        }
        let all = |word: u64| _mm512_set1_epi64(word.cast_signed());
        // SAFETY: an array of eight words is as large as what is read of it.
        let load = |words: &[u64; LANES]| unsafe { _mm512_loadu_epi64(words.as_ptr().cast()) };
        let [addresses, rest] = key.parts();
        let addresses = _mm512_and_si512(all(addresses), load(&self.addresses));
        let rest = _mm512_and_si512(all(rest), load(&self.rest));
        let rest = _mm512_or_si512(rest, load(&self.table));
        let [dst, src, other, all_of_it] = FlatKey::FACTORS.map(all);
        let sum = _mm512_add_epi64(
            _mm512_mul_epu32(addresses, dst),
            _mm512_mul_epu32(_mm512_srli_epi64::<32>(addresses), src),
        );
        let sum = _mm512_add_epi64(sum, _mm512_mul_epu32(rest, other));
        let folded = _mm512_xor_si512(sum, _mm512_srli_epi64::<32>(sum));
        let product = _mm512_mullo_epi64(folded, all_of_it);
        let hash = _mm512_xor_si512(product, _mm512_srli_epi64::<32>(product));
        let last = (words.len() as u64).wrapping_sub(1);
        let at = _mm512_and_si512(_mm512_srli_epi64::<32>(hash), all(last));
        // SAFETY: there are `last + 1` words, a power of two, and no bit of `at` is set that is not in
        // `last`, so that every word read is one of them.
        let word = unsafe {
            let none = _mm512_setzero_si512();
            _mm512_mask_i64gather_epi64::<8>(none, open, at, words.as_ptr().cast())
        };
        let bit = |shift| _mm512_srlv_epi64(word, _mm512_and_si512(shift, all(63)));
        let both = _mm512_and_si512(bit(hash), bit(_mm512_srli_epi64::<6>(hash)));
        let may = _mm512_mask_test_epi64_mask(open, both, all(1));
        let mut at = [0; LANES];
        // SAFETY: an array of eight words is as large as what is written to it.
        unsafe {
            let places = _mm512_maskz_and_epi64(may, hash, all(places));
            _mm512_storeu_epi64(at.as_mut_ptr().cast::<i64>(), places);
        }
        (may, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::listed::Listed;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tables_side_by_side_and_one_by_one_agree(
            shapes in prop::collection::vec((any::<u64>(), any::<u32>()), 1..=32),
            keys in prop::collection::vec((any::<u64>(), 0u32..1 << 24, 0usize..32), 0..40),
            others in prop::collection::vec((any::<u64>(), 0u32..1 << 24), 1..20),
            open: u32,
        ) {
            let shape = |((addresses, rest), table): (&(u64, u32), u8)| {
                FlatShape::new(*addresses, rest & 0x00ff_ffff, table)
            };
            let shapes: Vec<FlatShape> = shapes.iter().zip(0..).map(shape).collect();
            let (mut filter, mut places) = (Filter::new(keys.len()), FlatTable::new(keys.len()));
            for (addresses, rest, at) in &keys {
                let whole = FlatKey::new(*addresses, *rest, 0);
                let key = whole.within(&shapes[at % shapes.len()]);
                filter.add(key.hash());
                places.add(key, Listed::NONE, (0, 0));
            }
            let Some(lanes) = Lanes::new(&shapes) else {
                eprintln!("SKIPPED: this processor looks at one table at a time");
                return Ok(());
            };
            let open = open & (u32::MAX >> (32 - shapes.len()));
            let known = keys.iter().map(|(addresses, rest, _)| (*addresses, *rest));
            for (addresses, rest) in known.chain(others) {
                let key = FlatKey::new(addresses, rest, 0);
                let one_by_one = shapes.iter().zip(0..).fold(0, |may, (shape, at)| {
                    may | (filter.may_hold(key.within(shape).hash()) as u32) << at
                });
                prop_assert_eq!(lanes.may_hold(open, key, &filter, &places), open & one_by_one);
            }
        }
    }
}
