//! Which of a bucket's tags are the one looked for: all compared at once, in vector registers where the
//! processor is known to have them. Nothing else of the index.
#![expect(unsafe_code, reason = "vector instructions have no safe wrapper; proof below")]

use super::index::Bucket;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use words::{first_slot, matches};

/// One bit for each slot whose tag is `tag`; see [`first_slot`] for which.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn matches(bucket: &Bucket, tag: u64) -> u64 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_cvtsi64_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set_epi64x,
        _mm_set1_epi16,
    };
    /// Slots 0 to 9; the lanes behind are the count.
    const SLOTS: u64 = 0x3ff;
    let [first, second, third, ..] = *bucket;
    // SAFETY: these instructions work on registers alone. Their target feature, SSE2, is part of
    // x86-64.
    let mask = unsafe {
        let wanted = _mm_set1_epi16((tag as u16).cast_signed());
        let low = _mm_set_epi64x(second.cast_signed(), first.cast_signed());
        let high = _mm_cvtsi64_si128(third.cast_signed());
        let (low, high) = (_mm_cmpeq_epi16(low, wanted), _mm_cmpeq_epi16(high, wanted));
        _mm_movemask_epi8(_mm_packs_epi16(low, high))
    };
    u64::from(mask.cast_unsigned()) & SLOTS
}

/// The slot of the lowest bit.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) const fn first_slot(candidates: u64) -> usize {
    candidates.trailing_zeros() as usize
}

/// The same in three words.
#[cfg(any(test, not(target_arch = "x86_64")))]
pub(super) mod words {
    use super::Bucket;

    const LANES: u64 = 0x0001_0001_0001_0001;
    const LANE_LOW: u64 = 0x7fff_7fff_7fff_7fff;

    /// One bit for each slot whose tag is `tag`; see [`first_slot`] for which.
    #[inline]
    pub(in super::super) const fn matches(bucket: &Bucket, tag: u64) -> u64 {
        let wanted = tag.wrapping_mul(LANES);
        let last = zero_lanes(bucket[2] ^ wanted) & 0xffff_ffff;
        zero_lanes(bucket[0] ^ wanted) >> 15 | zero_lanes(bucket[1] ^ wanted) >> 14 | last >> 13
    }

    /// The highest bit of every 16-bit lane that is zero, exactly (no borrow crosses a lane).
    #[inline]
    const fn zero_lanes(word: u64) -> u64 {
        !(((word & LANE_LOW) + LANE_LOW) | word | LANE_LOW)
    }

    /// The slot of the lowest bit: bit 16 * lane + word stands for slot 4 * word + lane.
    #[inline]
    pub(in super::super) const fn first_slot(candidates: u64) -> usize {
        let bit = candidates.trailing_zeros() as usize;
        (bit % 16) * 4 + bit / 16
    }
}
