//! How often a thread asks for memory, and how much of it is there. The allocator is the system's;
//! this only counts.
#![expect(unsafe_code, reason = "an allocator that counts can only be written so; proofs below")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator with a count for each thread. A program that wants the counts makes it its
/// `#[global_allocator]`; an addition to two thread-local numbers is what that costs an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

/// How often this thread has asked for memory so far; always 0 where [`Counting`] is not the
/// program's allocator.
#[must_use]
pub fn so_far() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// Bytes this thread has asked for and not given back; what other threads gave back for it counts as
/// still there. Says something as a difference only, and 0 where [`Counting`] is not the allocator.
#[must_use]
pub fn bytes_held() -> isize {
    HELD.with(Cell::get)
}

fn count(bytes: usize) {
    ALLOCATIONS.with(|count| count.set(count.get().wrapping_add(1)));
    HELD.with(|held| held.set(held.get().wrapping_add_unsigned(bytes)));
}

fn given_back(bytes: usize) {
    HELD.with(|held| held.set(held.get().wrapping_sub_unsigned(bytes)));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory that it
// hands out, and allocates nothing itself (thread-local cells without a destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        given_back(layout.size());
        count(size);
        // SAFETY: `place` came from the system's allocator with `layout`, as all memory here does;
        // the caller's promises about `size` are passed on.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        given_back(layout.size());
        // SAFETY: `place` came from the system's allocator with `layout`, as all memory here does.
        unsafe { System.dealloc(place, layout) }
    }
}
