//! How often a thread asks for memory. The allocator is the system's; this only counts.
#![expect(unsafe_code, reason = "an allocator that counts can only be written so; proofs below")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator with a count for each thread. A program that wants the counts makes it its
/// `#[global_allocator]`; one addition to a thread-local number is what that costs an allocation.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

/// How often this thread has asked for memory so far; always 0 where [`Counting`] is not the
/// program's allocator.
#[must_use]
pub fn so_far() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get().wrapping_add(1)));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory that it
// hands out, and allocates nothing itself (a thread-local cell without a destructor).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `place` came from the system's allocator with `layout`, as all memory here does;
        // the caller's promises about `size` are passed on.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from the system's allocator with `layout`, as all memory here does.
        unsafe { System.dealloc(place, layout) }
    }
}
