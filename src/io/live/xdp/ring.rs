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
        let words = [offset(places.producer)?, offset(places.consumer)?];
        Self::over(memory, words, places.flags.map(offset).transpose()?, entries, size)
    }

    /// A ring in this memory: where the words of producer and consumer are, that of the kernel's wishes,
    /// and the first of so many entries.
    fn over(
        memory: Mapping,
        [producer, consumer]: [usize; 2],
        flags: Option<usize>,
        entries: usize,
        size: u32,
    ) -> io::Result<Self> {
        let len = memory.len();
        let words = [Some(producer), Some(consumer), flags];
        let sound = words.into_iter().flatten().all(|at| at % 4 == 0 && at + 4 <= len)
            && entries.is_multiple_of(align_of::<T>())
            && entries + size as usize * size_of::<T>() <= len
            && size.is_power_of_two();
        let shared = Self { producer, consumer, flags, entries, size, entry: PhantomData, memory };
        if sound { Ok(shared) } else { Err(io::Error::other("a ring of no known layout")) }
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        // SAFETY: `over` has checked that the word is aligned and within the mapping, which `self`
        // owns; kernel and we access it as one word only.
        unsafe { AtomicU32::from_ptr(self.memory.start().add(at).cast().as_ptr()) }
    }

    /// Where the entry of an index stands. Within the mapping: the index is taken modulo the size.
    fn entry(&self, index: u32) -> *mut T {
        let at = self.entries + (index & (self.size - 1)) as usize * size_of::<T>();
        // SAFETY: `over` has checked that `size` entries behind `entries` are mapped.
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
        Shared::map(socket, page, places, size).map(Self::of)
    }

    fn of(shared: Shared<T>) -> Self {
        let next = shared.word(shared.consumer).load(Ordering::Relaxed);
        Self { shared, next, end: next }
    }

    /// Looks for entries beyond those known of; how many there are to take. The word it reads is one the
    /// kernel may be writing on another processor, so it is looked at once a batch and not once an entry.
    pub(super) fn look(&mut self) -> u32 {
        // Acquire: the entries the kernel wrote before it moved the index are seen after this.
        self.end = self.shared.word(self.shared.producer).load(Ordering::Acquire);
        self.end.wrapping_sub(self.next)
    }

    /// The next entry of those that were there when last looked for. It is the kernel's again after
    /// [`Self::release`].
    pub(super) fn take(&mut self) -> Option<T> {
        if self.next == self.end {
            return None;
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
        Shared::map(socket, page, places, size).map(Self::of)
    }

    fn of(shared: Shared<T>) -> Self {
        let next = shared.word(shared.producer).load(Ordering::Relaxed);
        let size = shared.size;
        let mut ring = Self { shared, next, end: next };
        ring.room(size);
        ring
    }

    /// How many entries there is room for; `wanted` is what is asked for, so that the kernel's index
    /// is read only where the last look does not suffice.
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        if self.known_room() < wanted {
            // Acquire: the kernel has read what it took before we write there again.
            let taken = self.shared.word(self.shared.consumer).load(Ordering::Acquire);
            self.end = taken.wrapping_add(self.shared.size);
        }
        self.known_room()
    }

    /// How many entries there is room for, without a look at the kernel's index.
    pub(super) const fn known_room(&self) -> u32 {
        self.end.wrapping_sub(self.next)
    }

    /// So many more entries were taken, as what came of them shows: the kernel took each, and read it,
    /// before it put what came of it where it was found. For a ring that is not looked at with
    /// [`Self::room`], which may have counted them already; never more than the ring has.
    pub(super) const fn taken(&mut self, entries: u32) {
        let most = self.shared.size.wrapping_sub(self.known_room());
        let entries = if entries < most { entries } else { most };
        self.end = self.end.wrapping_add(entries);
    }

    /// Writes an entry; only as many as there was [`Self::room`] for, the others are not written.
    /// The kernel sees it after [`Self::publish`].
    pub(super) fn put(&mut self, entry: T) -> bool {
        if self.next == self.end {
            return false;
        }
        // SAFETY: the entry was not published, and it lies before `end`: the kernel has read what stood
        // there, as its index said (`room`) or what came of it shows (`taken`). It is ours.
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

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCER: usize = 0;
    const CONSUMER: usize = 64;
    const FLAGS: usize = 128;
    const ENTRIES: usize = 192;

    /// Four entries in memory of our own; indices begin shortly before they wrap.
    fn shared() -> Shared<u64> {
        let memory = Mapping::private(4096).unwrap();
        let words = [PRODUCER, CONSUMER];
        let shared = Shared::over(memory, words, Some(FLAGS), ENTRIES, 4).unwrap();
        for word in words {
            shared.word(word).store(u32::MAX - 1, Ordering::Relaxed);
        }
        shared
    }

    /// Moves the index of the other side.
    fn advance(shared: &Shared<u64>, word: usize, by: u32) {
        shared.word(word).fetch_add(by, Ordering::Release);
    }

    #[test]
    fn no_more_is_put_than_there_is_room_for() {
        let mut ring = Putting::of(shared());
        assert_eq!(ring.room(4), 4);
        assert_eq!([1, 2, 3, 4, 5].map(|entry| ring.put(entry)), [true, true, true, true, false]);
        assert_eq!(ring.known_room(), 0);
        advance(&ring.shared, CONSUMER, 2);
        assert_eq!(ring.known_room(), 0, "nobody has looked");
        assert_eq!((ring.room(1), ring.room(4)), (2, 2));
        assert_eq!([6, 7, 8].map(|entry| ring.put(entry)), [true, true, false]);
    }

    #[test]
    fn what_is_known_to_be_taken_makes_room_and_never_more_than_the_ring_has() {
        for (claimed, room) in [(0, 0), (1, 1), (3, 3), (4, 4), (5, 4), (u32::MAX, 4)] {
            let mut ring = Putting::of(shared());
            while ring.put(7) {}
            ring.taken(claimed);
            assert_eq!(ring.known_room(), room, "{claimed}");
            let mut put = 0;
            while ring.put(8) {
                put += 1;
            }
            assert_eq!(put, room);
        }
    }

    #[test]
    fn what_was_not_there_at_the_last_look_is_not_taken() {
        let mut ring = Taking::of(shared());
        assert_eq!((ring.look(), ring.take()), (0, None));
        advance(&ring.shared, PRODUCER, 3);
        assert_eq!(ring.take(), None);
        assert_eq!(ring.look(), 3);
        advance(&ring.shared, PRODUCER, 1);
        assert_eq!(std::iter::from_fn(|| ring.take()).count(), 3);
        assert_eq!(ring.look(), 1);
        let consumer = ring.shared.word(CONSUMER).load(Ordering::Relaxed);
        ring.release();
        let moved = ring.shared.word(CONSUMER).load(Ordering::Relaxed).wrapping_sub(consumer);
        assert_eq!(moved, 3, "what was taken, and no more");
    }

    #[test]
    fn a_ring_of_another_layout_is_refused() {
        let over = |words, flags, entries, size| {
            Shared::<u64>::over(Mapping::private(4096).unwrap(), words, flags, entries, size)
        };
        assert!(over([0, 64], None, 4096 - 32, 4).is_ok());
        for (words, flags, entries, size) in [
            ([0, 64], None, 4096 - 24, 4),
            ([2, 64], None, 192, 4),
            ([0, 4093], None, 192, 4),
            ([0, 64], Some(4096), 192, 4),
            ([0, 64], None, 196, 4),
            ([0, 64], None, 192, 3),
        ] {
            assert!(
                over(words, flags, entries, size).is_err(),
                "{words:?} {flags:?} {entries} {size}"
            );
        }
    }
}
