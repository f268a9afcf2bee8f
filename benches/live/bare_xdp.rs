//! The least that reflects GENEVE with AF_XDP: one queue, one socket, a program of six instructions that
//! gives it every frame, addresses swapped in place, the same buffers sent. Written apart from the
//! project's ports, with nothing but libc, to be measured beside them.
#![expect(unsafe_code, reason = "memory shared with the kernel; each block has its proof")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const CHUNK: u64 = 4096;
const CHUNKS: u32 = 4096;
/// Entries of every ring.
const SIZE: u32 = 2048;
const BATCH: u32 = 64;

fn check(returned: i64) -> i32 {
    assert!(returned >= 0, "{}", io::Error::last_os_error());
    returned as i32
}

/// bpf(2) with these words, of which addresses take two.
fn bpf(command: i32, words: &[u32]) -> i32 {
    let (at, len) = (words.as_ptr(), size_of_val(words));
    // SAFETY: the words are laid out as this command's attributes and live through the call, and so
    // does what the addresses in them point at.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, at, len) })
}

fn halves<T>(of: *const T) -> [u32; 2] {
    let address = of.addr() as u64;
    [address as u32, (address >> 32) as u32]
}

/// One ring: the index we move, the one the kernel moves, the word with its wish to be called.
struct Ring<T> {
    ours: *const AtomicU32,
    theirs: *const AtomicU32,
    flags: *const AtomicU32,
    entries: *mut T,
    next: u32,
}

impl<T: Copy> Ring<T> {
    /// Maps a ring of a socket; `puts` says who produces.
    fn map(fd: i32, page: i64, at: libc::xdp_ring_offset, puts: bool) -> Self {
        let len = at.desc as usize + SIZE as usize * size_of::<T>();
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let how = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: the kernel chooses the place.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, access, how, fd, page) };
        assert!(start != libc::MAP_FAILED, "{}", io::Error::last_os_error());
        let word = |offset: u64| start.wrapping_byte_add(offset as usize).cast::<AtomicU32>();
        let (producer, consumer) = (word(at.producer).cast_const(), word(at.consumer).cast_const());
        let (ours, theirs) = if puts { (producer, consumer) } else { (consumer, producer) };
        let entries = start.wrapping_byte_add(at.desc as usize).cast();
        Self { ours, theirs, flags: word(at.flags).cast_const(), entries, next: 0 }
    }

    fn word(at: *const AtomicU32) -> &'static AtomicU32 {
        // SAFETY: the kernel told where its aligned words stand; the mapping is never undone.
        unsafe { &*at }
    }

    fn theirs(&self) -> u32 {
        Self::word(self.theirs).load(Ordering::Acquire)
    }

    fn publish(&self) {
        Self::word(self.ours).store(self.next, Ordering::Release);
    }

    fn wants_call(&self) -> bool {
        Self::word(self.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn entry(&self) -> *mut T {
        self.entries.wrapping_add((self.next % SIZE) as usize)
    }

    fn put(&mut self, value: T) {
        // SAFETY: callers keep no more under way than there are entries, so this one is ours.
        unsafe { self.entry().write(value) };
        self.next = self.next.wrapping_add(1);
    }

    fn take(&mut self) -> T {
        // SAFETY: callers have compared with the producer's index, so this one was written for us.
        let value = unsafe { self.entry().read() };
        self.next = self.next.wrapping_add(1);
        value
    }
}

/// An open socket, its rings and its memory.
pub(crate) struct Reflector {
    socket: i32,
    memory: *mut u8,
    fill: Ring<u64>,
    completion: Ring<u64>,
    receive: Ring<libc::xdp_desc>,
    transmit: Ring<libc::xdp_desc>,
    /// Program and map, for as long as frames shall come.
    _held: [i32; 3],
}

// SAFETY: all of it belongs to who owns it.
unsafe impl Send for Reflector {}

fn option<T>(fd: i32, name: i32, value: &T) {
    let len = size_of::<T>() as u32;
    // SAFETY: the value lives through the call and `len` is its size.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_XDP, name, (&raw const *value).cast(), len) };
    check(set.into());
}

/// Opens queue 0 of an interface.
pub(crate) fn open(interface: u32) -> Reflector {
    let bytes = (u64::from(CHUNKS) * CHUNK) as usize;
    let (access, how) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
    );
    // SAFETY: the kernel chooses the place.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, how, -1, 0) };
    assert!(memory != libc::MAP_FAILED, "{}", io::Error::last_os_error());
    // SAFETY: takes no pointer.
    let socket = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0) }.into());
    // SAFETY: a registration of zeros is one.
    let mut umem: libc::xdp_umem_reg = unsafe { std::mem::zeroed() };
    (umem.addr, umem.len, umem.chunk_size) = (memory.addr() as u64, bytes as u64, CHUNK as u32);
    option(socket, libc::XDP_UMEM_REG, &umem);
    for ring in [
        libc::XDP_UMEM_FILL_RING,
        libc::XDP_UMEM_COMPLETION_RING,
        libc::XDP_RX_RING,
        libc::XDP_TX_RING,
    ] {
        option(socket, ring, &SIZE);
    }
    // SAFETY: offsets of zeros are some.
    let mut at: libc::xdp_mmap_offsets = unsafe { std::mem::zeroed() };
    let mut len = size_of_val(&at) as u32;
    let (name, out) = (libc::XDP_MMAP_OFFSETS, (&raw mut at).cast());
    // SAFETY: the kernel writes `len` bytes at most.
    check(unsafe { libc::getsockopt(socket, libc::SOL_XDP, name, out, &raw mut len) }.into());
    let mut fill = Ring::map(socket, libc::XDP_UMEM_PGOFF_FILL_RING as i64, at.fr, true);
    let page = libc::XDP_UMEM_PGOFF_COMPLETION_RING as i64;
    let completion = Ring::map(socket, page, at.cr, false);
    let receive = Ring::map(socket, libc::XDP_PGOFF_RX_RING, at.rx, false);
    let transmit = Ring::map(socket, libc::XDP_PGOFF_TX_RING, at.tx, true);
    bind(socket, interface);
    (0..SIZE).for_each(|chunk| fill.put(u64::from(chunk) * CHUNK));
    fill.publish();
    let _held = steer(interface, socket);
    Reflector { socket, memory: memory.cast(), fill, completion, receive, transmit, _held }
}

fn bind(socket: i32, interface: u32) {
    // SAFETY: an address of zeros is one.
    let mut address: libc::sockaddr_xdp = unsafe { std::mem::zeroed() };
    address.sxdp_family = libc::AF_XDP as u16;
    address.sxdp_flags = libc::XDP_USE_NEED_WAKEUP | libc::XDP_USE_SG;
    address.sxdp_ifindex = interface;
    let len = size_of_val(&address) as u32;
    // SAFETY: the address lives through the call and `len` is its size.
    check(unsafe { libc::bind(socket, (&raw const address).cast(), len) }.into());
}

/// A map with the socket, a program that gives every frame to it, and the link to the interface.
fn steer(interface: u32, socket: i32) -> [i32; 3] {
    const XSKMAP: u32 = 17;
    let map = bpf(0, &[XSKMAP, 4, 4, 1]);
    let (key, value) = (0_u32, socket);
    let ([key0, key1], [value0, value1]) = (halves(&raw const key), halves(&raw const value));
    bpf(2, &[map as u32, 0, key0, key1, value0, value1, 0, 0]);
    // r2 = queue; r1 = map (two words of eight bytes); r3 = XDP_PASS; redirect_map; exit.
    let code: [u64; 6] = [
        0x0000_0000_0010_1261,
        0x0000_0000_0000_1118 | (map as u64) << 32,
        0,
        0x0000_0002_0000_03b7,
        0x0000_0033_0000_0085,
        0x0000_0000_0000_0095,
    ];
    let license = c"Apache-2.0";
    let ([code0, code1], [license0, license1]) = (halves(code.as_ptr()), halves(license.as_ptr()));
    let (xdp, frags, attach) = (6, 1 << 5, 37);
    let (log, name) = ([0; 4], [0; 4]);
    let head = [xdp, code.len() as u32, code0, code1, license0, license1];
    let tail = [0, frags];
    let words = [&head[..], &log, &tail, &name, &[0, attach]].concat();
    let program = bpf(5, &words);
    let driver = 1 << 2;
    let link = bpf(28, &[program as u32, interface, attach, driver]);
    [map, program, link]
}

impl Reflector {
    /// Reflects until it is told to stop; gives the number of frames.
    pub(crate) fn reflect(mut self, stop: &AtomicBool) -> u64 {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            self.refill();
            let there = self.receive.theirs().wrapping_sub(self.receive.next).min(BATCH);
            if there == 0 {
                let mut watched =
                    libc::pollfd { fd: self.socket, events: libc::POLLIN, revents: 0 };
                // SAFETY: one entry, which lives through the call.
                unsafe { libc::poll(&raw mut watched, 1, 20) };
                continue;
            }
            for _ in 0..there {
                count += self.turn();
            }
            self.receive.publish();
            self.transmit.publish();
            self.kick();
        }
        // SAFETY: made above, used no more.
        self._held.iter().chain([&self.socket]).for_each(|fd| unsafe {
            libc::close(*fd);
        });
        count
    }

    /// What was sent may be filled again.
    fn refill(&mut self) {
        while self.completion.next != self.completion.theirs() {
            let chunk = self.completion.take();
            self.fill.put(chunk / CHUNK * CHUNK);
        }
        self.completion.publish();
        self.fill.publish();
    }

    /// One buffer: the first of a frame has the addresses. Gives one for the last of a frame.
    fn turn(&mut self) -> u64 {
        let buffer = self.receive.take();
        let continued = buffer.options & libc::XDP_PKT_CONTD != 0;
        let start = self.memory.wrapping_add(buffer.addr as usize);
        // SAFETY: the kernel gave this buffer of the memory to us, and it has this length.
        let frame = unsafe { std::slice::from_raw_parts_mut(start, buffer.len as usize) };
        // A later buffer of a frame looks different: it has the payload of this benchmark.
        if frame.len() >= 42 && frame[12..14] == [8, 0] && frame[36..38] == [0x17, 0xc1] {
            frame[..12].rotate_left(6);
            frame[26..34].rotate_left(4);
        }
        self.transmit.put(buffer);
        u64::from(!continued)
    }

    /// In copy mode the kernel sends 32 buffers at a call.
    fn kick(&self) {
        while self.transmit.theirs() != self.transmit.next && self.transmit.wants_call() {
            let (fd, none, to) = (self.socket, std::ptr::null(), std::ptr::null());
            // SAFETY: no bytes and no address are handed over.
            let sent = unsafe { libc::sendto(fd, none, 0, libc::MSG_DONTWAIT, to, 0) };
            let busy = [Some(libc::EAGAIN), Some(libc::EBUSY), Some(libc::ENOBUFS)];
            assert!(
                sent >= 0 || busy.contains(&io::Error::last_os_error().raw_os_error()),
                "{}",
                io::Error::last_os_error()
            );
        }
    }
}
