//! The four rings of an AF_XDP socket: fill and transmit, into which we put, receive and completion,
//! from which we take (Documentation/networking/af_xdp.rst). Entries are published by an index that
//! only its writer moves.
#![expect(unsafe_code, reason = "memory shared with the kernel; each block has its proof")]

use super::super::sys::Mapping;
use rustix::net::xdp::XdpRingOffset;
use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

/// The kernel wants a call before it goes on.
const NEED_WAKEUP: u32 = 1;

/// A descriptor in the receive and transmit rings (`struct xdp_desc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) len: u32,
    /// [`CONTINUED`] or nothing.
    pub(super) options: u32,
}

/// The packet goes on in the next descriptor.
pub(super) const CONTINUED: u32 = 1;

/// What a ring holds: plain numbers.
///
/// # Safety
/// Implement it only for types of which any bytes are a value.
pub(super) unsafe trait Entry: Copy {}
// SAFETY: a number.
unsafe impl Entry for u64 {}
// SAFETY: three numbers without padding.
unsafe impl Entry for Descriptor {}

/// Memory and places of a ring; the direction is given by who wraps it.
#[derive(Debug)]
struct Shared<T> {
    memory: Mapping,
    producer: usize,
    consumer: usize,
    flags: Option<usize>,
    entries: usize,
    size: u32,
    entry: PhantomData<T>,
}

impl<T: Entry> Shared<T> {
    fn map(
        socket: BorrowedFd<'_>,
        page: u64,
        places: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        let offset = |offset: u64| usize::try_from(offset).map_err(io::Error::other);
        let entries = offset(places.desc)?;
        let len = entries + size as usize * size_of::<T>();
        let memory = Mapping::of_socket(socket, page, len)?;
        let shared = Self {
            producer: offset(places.producer)?,
            consumer: offset(places.consumer)?,
            flags: places.flags.map(offset).transpose()?,
            entries,
            size,
            entry: PhantomData,
            memory,
        };
        let words = [Some(shared.producer), Some(shared.consumer), shared.flags];
        let sound = words.into_iter().flatten().all(|at| at % 4 == 0 && at + 4 <= len)
            && entries.is_multiple_of(align_of::<T>())
            && size.is_power_of_two();
        if sound { Ok(shared) } else { Err(io::Error::other("a ring of no known layout")) }
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: `map` has checked that the word is aligned and within the mapping, which `self`
        // owns; kernel and we access it as one word only.
        unsafe { AtomicU32::from_ptr(self.memory.start().add(at).cast().as_ptr()) }
    }

    /// Where the entry of an index stands. Within the mapping: the index is taken modulo the size.
    fn entry(&self, index: u32) -> *mut T {
        let at = self.entries + (index & (self.size - 1)) as usize * size_of::<T>();
        // SAFETY: `map` has mapped `size` entries behind `entries`.
        unsafe { self.memory.start().add(at).cast().as_ptr() }
    }

    fn wants_call(&self) -> bool {
        self.flags.is_some_and(|at| self.word(at).load(Ordering::Relaxed) & NEED_WAKEUP != 0)
    }
}

/// A ring from which we take.
#[derive(Debug)]
pub(super) struct Taking<T> {
    shared: Shared<T>,
    /// The next entry to take, and the first one that is not there, as far as looked.
    next: u32,
    end: u32,
}

impl<T: Entry> Taking<T> {
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page: u64,
        places: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        let shared = Shared::map(socket, page, places, size)?;
        let next = shared.word(shared.consumer).load(Ordering::Relaxed);
        Ok(Self { shared, next, end: next })
    }

    /// The next entry, if there is one. It is the kernel's again after [`Self::release`].
    pub(super) fn take(&mut self) -> Option<T> {
        if self.next == self.end {
            // Acquire: the entries the kernel wrote before it moved the index are seen after this.
            self.end = self.shared.word(self.shared.producer).load(Ordering::Acquire);
            if self.next == self.end {
                return None;
            }
        }
        // SAFETY: the entry lies before the producer's index and was not released: it is ours. Any
        // bytes are a value of an `Entry`.
        let entry = unsafe { self.shared.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives back the room of all entries taken.
    pub(super) fn release(&mut self) {
        // Release: our reads of the entries come before the kernel's writes to them.
        self.shared.word(self.shared.consumer).store(self.next, Ordering::Release);
    }
}

/// A ring into which we put.
#[derive(Debug)]
pub(super) struct Putting<T> {
    shared: Shared<T>,
    /// The next entry to write, and the first one that may not be, as far as looked.
    next: u32,
    end: u32,
}

impl<T: Entry> Putting<T> {
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page: u64,
        places: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        let shared = Shared::map(socket, page, places, size)?;
        let next = shared.word(shared.producer).load(Ordering::Relaxed);
        Ok(Self { shared, next, end: next })
    }

    /// How many entries there is room for; `wanted` is what is asked for, so that the kernel's index
    /// is read only where the last look does not suffice.
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        if self.end.wrapping_sub(self.next) < wanted {
            // Acquire: the kernel has read what it took before we write there again.
            let taken = self.shared.word(self.shared.consumer).load(Ordering::Acquire);
            self.end = taken.wrapping_add(self.shared.size);
        }
        self.end.wrapping_sub(self.next)
    }

    /// Writes an entry; only as many as there was [`Self::room`] for, the others are not written.
    /// The kernel sees it after [`Self::publish`].
    pub(super) fn put(&mut self, entry: T) -> bool {
        if self.next == self.end {
            return false;
        }
        // SAFETY: the entry lies between the producer's and the consumer's index and was not
        // published: it is ours.
        unsafe { self.shared.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Lets the kernel see all entries put.
    pub(super) fn publish(&mut self) {
        // Release: the entries are written before the index moves.
        self.shared.word(self.shared.producer).store(self.next, Ordering::Release);
    }

    /// Whether the kernel has not taken all that was published.
    pub(super) fn pending(&self) -> bool {
        self.shared.word(self.shared.consumer).load(Ordering::Relaxed) != self.next
    }

    /// Whether the kernel waits for a call before it looks into the ring.
    pub(super) fn wants_call(&self) -> bool {
        self.shared.wants_call()
    }
}
