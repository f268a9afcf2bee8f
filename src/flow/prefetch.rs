//! Asks the processor to bring memory near before it is needed. The one place of this room with
//! `unsafe`; a no-op on processors other than x86-64.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "the prefetch instruction has no safe wrapper; proof below")
)]

/// Cache line, in bytes.
const LINE: usize = 64;

/// Brings every cache line of `place` near.
#[inline(always)]
pub(super) fn prefetch<T>(place: &T) {
    let start = std::ptr::from_ref(place).cast::<i8>();
    let mut offset = 0;
    while offset < size_of::<T>() {
        line(start.wrapping_add(offset));
        offset += LINE;
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn line(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: PREFETCHT0 is a hint: it reads no value, changes no architectural state and faults
    // on no address whatsoever (Intel SDM volume 2, "PREFETCHh"). Its target feature, SSE, is
    // part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn line(_address: *const i8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefetching_changes_nothing() {
        let place = [7u8; 200];
        prefetch(&place);
        prefetch(&());
        assert_eq!(place, [7u8; 200]);
    }
}
