//! Asks the processor to bring memory near before it is needed. The one place of the engine with
//! `unsafe`; a no-op on processors other than x86-64.
#![expect(unsafe_code, reason = "prefetch and madvise have no safe wrapper; proofs below")]

use std::sync::Arc;

/// Cache line, in bytes.
const LINE: usize = 64;

/// Bytes of a frame that hold all its headers, where they are those GWLB sends: 82 outer, 20 inner IPv4
/// and 20 TCP.
const HEADERS: usize = 122;

/// Brings the headers of a frame near.
#[inline(always)]
pub fn prefetch_headers(frame: &[u8]) {
    let start = frame.as_ptr().cast::<i8>();
    line(start);
    line(start.wrapping_add(LINE));
    // Where a frame starts late in a line, its headers reach into a third one.
    if start.addr() % LINE + HEADERS > 2 * LINE {
        line(start.wrapping_add(HEADERS));
    }
}

/// Brings the last byte of so many behind the headers of a frame near, if it is not far behind them;
/// what is in front of it came with the headers.
#[inline]
pub fn prefetch_payload(frame: &[u8], len: usize) {
    let end = HEADERS.saturating_add(len).min(3 * LINE);
    line(frame.as_ptr().cast::<i8>().wrapping_add(end.saturating_sub(1)));
}

/// The longest run of bytes that is asked for in one go: a datagram that goes by Ethernet.
pub const RUN_BYTES: usize = 1536;

/// Brings bytes near, at most [`RUN_BYTES`] of them.
#[inline]
pub fn prefetch_bytes(bytes: &[u8]) {
    run(bytes.as_ptr(), bytes.len());
}

/// Brings the memory of a vector near, at most [`RUN_BYTES`] of it, whether it is in use or not.
#[inline]
pub fn prefetch_room(bytes: &Vec<u8>) {
    run(bytes.as_ptr(), bytes.capacity());
}

#[inline]
fn run(start: *const u8, len: usize) {
    for offset in (0..len.min(RUN_BYTES)).step_by(LINE) {
        line(start.cast::<i8>().wrapping_add(offset));
    }
}

/// Asks the system to back memory by large pages, of which far fewer must be looked up: for tables
/// that are read all over. Where it will not, nothing changes.
pub fn ask_for_large_pages<T>(place: *const T, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        let page = rustix::param::page_size();
        let start = place.addr().next_multiple_of(page);
        let skipped = start.saturating_sub(place.addr());
        let whole = bytes.saturating_sub(skipped) / page * page;
        let address = place.cast_mut().cast::<u8>().wrapping_add(skipped).cast();
        // SAFETY: MADV_HUGEPAGE changes how pages are backed, never what is in them (madvise(2)), so
        // it is harmless whatever lies at the address; an address that is not mapped is an error,
        // which is nothing to us.
        let _ = unsafe { madvise(address, whole, Advice::LinuxHugepage) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (place, bytes);
}

/// Brings the counts of those that share something near: two words in front of it.
#[inline]
pub fn prefetch_counts<T>(shared: &Arc<T>) {
    line(Arc::as_ptr(shared).cast::<i8>().wrapping_sub(2 * size_of::<usize>()));
}

/// Brings every cache line of `place` near.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
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
        prefetch_headers(&place);
        prefetch_counts(&Arc::new(place));
        prefetch_headers(&[]);
        prefetch_payload(&[], usize::MAX);
        ask_for_large_pages(place.as_ptr(), place.len());
        let large = vec![7u8; 1 << 22];
        ask_for_large_pages(large.as_ptr(), large.len());
        assert!(large.iter().all(|byte| *byte == 7));
        assert_eq!(place, [7u8; 200]);
    }
}
