//! The least that reflects GENEVE on Linux without XDP: a TPACKET_V3 ring, addresses swapped in place,
//! `sendmmsg` from the ring. Written apart from the project's ports, to be measured beside them.
#![expect(unsafe_code, reason = "memory shared with the kernel; each block has its proof")]

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const BLOCK: usize = 1 << 18;
const BLOCKS: usize = 64;
const BATCH: usize = 64;

fn check(returned: i32) -> i32 {
    assert!(returned >= 0, "{}", io::Error::last_os_error());
    returned
}

fn option<T>(fd: i32, name: i32, value: &T) {
    let len = size_of::<T>() as u32;
    // SAFETY: the value lives through the call and `len` is its size.
    check(unsafe { libc::setsockopt(fd, libc::SOL_PACKET, name, (&raw const *value).cast(), len) });
}

/// A packet socket, bound to the interface for these protocols.
fn socket(interface: u32, protocol: u16, prepare: impl FnOnce(i32)) -> i32 {
    // SAFETY: takes no pointer.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) });
    prepare(fd);
    // SAFETY: an address of zeros is one.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface as i32;
    let len = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: the address lives through the call and `len` is its size.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), len) });
    fd
}

/// An open ring, and the socket frames leave by.
pub(crate) struct Reflector {
    receive: i32,
    transmit: i32,
    ring: *mut libc::c_void,
}

/// Opens the ring of an interface.
pub(crate) fn open(interface: u32) -> Reflector {
    let request = libc::tpacket_req3 {
        tp_block_size: BLOCK as u32,
        tp_block_nr: BLOCKS as u32,
        tp_frame_size: 1 << 14,
        tp_frame_nr: (BLOCK / (1 << 14) * BLOCKS) as u32,
        tp_retire_blk_tov: 1,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    let receive = socket(interface, libc::ETH_P_IP as u16, |fd| {
        option(fd, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as i32));
        option(fd, libc::PACKET_RX_RING, &request);
    });
    let transmit = socket(interface, 0, |fd| option(fd, libc::PACKET_QDISC_BYPASS, &1i32));
    let (len, access) = (BLOCK * BLOCKS, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: the kernel chooses the place.
    let ring =
        unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, receive, 0) };
    assert!(ring != libc::MAP_FAILED, "{}", io::Error::last_os_error());
    Reflector { receive, transmit, ring }
}

/// Reflects what comes to UDP 6081 until it is told to stop; gives the number of frames.
pub(crate) fn reflect(reflector: Reflector, stop: &AtomicBool) -> u64 {
    let Reflector { receive, transmit, ring } = reflector;
    let (mut count, mut block) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: the block lies within the ring.
        let start = unsafe { ring.cast::<u8>().add(block * BLOCK) };
        // SAFETY: its status word stands behind version and offset, aligned; only words of it are
        // read and written by either side.
        let status = unsafe { AtomicU32::from_ptr(start.add(8).cast()) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            let mut watched = libc::pollfd { fd: receive, events: libc::POLLIN, revents: 0 };
            // SAFETY: one entry, which lives through the call.
            unsafe { libc::poll(&raw mut watched, 1, 20) };
            continue;
        }
        // SAFETY: the status says that the block is ours.
        count += unsafe { reflect_block(start, transmit) };
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        block = (block + 1) % BLOCKS;
    }
    // SAFETY: made above, used no more.
    unsafe {
        libc::munmap(ring, BLOCK * BLOCKS);
        libc::close(receive);
        libc::close(transmit);
    }
    count
}

/// # Safety
/// The block at `start` is ours and as the kernel fills it.
unsafe fn reflect_block(start: *mut u8, transmit: i32) -> u64 {
    // SAFETY: the caller's promise, for this and all reads below: the header says how many frames
    // there are and where the first is, each frame where its bytes and the next one are.
    unsafe {
        let header = &*start.cast::<libc::tpacket_block_desc>();
        let mut at = start.add(header.hdr.bh1.offset_to_first_pkt as usize);
        let mut vectors: [libc::iovec; BATCH] = std::mem::zeroed();
        let mut filled = 0;
        let mut count = 0;
        for _ in 0..header.hdr.bh1.num_pkts {
            let about = &*at.cast::<libc::tpacket3_hdr>();
            let len = about.tp_snaplen as usize;
            let frame = std::slice::from_raw_parts_mut(at.add(usize::from(about.tp_mac)), len);
            at = at.add(about.tp_next_offset as usize);
            if len < 42 || frame[23] != 17 || frame[36..38] != [0x17, 0xc1] {
                continue;
            }
            frame[..12].rotate_left(6);
            frame[26..34].rotate_left(4);
            vectors[filled] =
                libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
            filled += 1;
            count += 1;
            if filled == BATCH {
                send(transmit, &mut vectors[..filled]);
                filled = 0;
            }
        }
        send(transmit, &mut vectors[..filled]);
        count
    }
}

/// # Safety
/// The vectors point at frames that live through the call.
unsafe fn send(transmit: i32, vectors: &mut [libc::iovec]) {
    // SAFETY: headers of zeros are empty; the caller's promise for what the vectors point at.
    unsafe {
        let mut heads: [libc::mmsghdr; BATCH] = std::mem::zeroed();
        for (head, vector) in heads.iter_mut().zip(vectors.iter_mut()) {
            head.msg_hdr.msg_iov = &raw mut *vector;
            head.msg_hdr.msg_iovlen = 1;
        }
        let mut done = 0;
        while done < vectors.len() {
            let left = (vectors.len() - done) as u32;
            let sent = libc::sendmmsg(transmit, heads.as_mut_ptr().add(done), left, 0);
            done += usize::try_from(sent).unwrap_or(1).max(1);
        }
    }
}
