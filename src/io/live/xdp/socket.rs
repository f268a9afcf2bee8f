//! One AF_XDP socket on one queue: its four rings, opened, filled, read, written and kicked. Which
//! frames go where is not decided here.
#![expect(unsafe_code, reason = "takes chunks over from the kernel; each block has its proof")]

use super::super::sys;
use super::ring::{CONTINUED, Descriptor, Putting, Taking};
use super::store::Store;
use super::umem::{Chunk, Piece, Umem};
use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING,
    XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Entries of every ring. More chunks in the fill ring than descriptors in the receive ring would not
/// take in more frames, but all of them are used in turn: the fewer, the more of them are in a cache.
pub(super) const RING_ENTRIES: u32 = 2048;
/// Buffers of one frame: 16 fragments and a head are what the kernel puts into one.
const PIECES_MAX: usize = 17;
/// Descriptors the kernel sends at one call, at least; more if it is asked to (Linux 6.17).
const KICK_DESCRIPTORS: u32 = 32;
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
/// Bytes that may be on their way out of one socket.
const SEND_BUFFER_BYTES: i32 = 16 << 20;

/// A frame as it came: in one buffer, or in several.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) head: Piece,
    pub(super) rest: Vec<Piece>,
}

impl Packet {
    pub(super) fn pieces(self) -> impl Iterator<Item = Piece> {
        std::iter::once(self.head).chain(self.rest)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.rest.len()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// A socket and its rings.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
    fill: Putting<u64>,
    completion: Taking<u64>,
    receive: Taking<Descriptor>,
    transmit: Putting<Descriptor>,
    /// Buffers of a frame whose last one is not there yet.
    partial: Vec<Piece>,
    /// The frame under way has more buffers than may be: it is given up.
    overlong: bool,
    /// The driver reads and writes our memory itself, and takes chunks long before frames come.
    zero_copy: bool,
}

/// How a socket is bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding<'s> {
    pub(super) interface: u32,
    pub(super) queue: u32,
    /// Frames may come in several buffers.
    pub(super) frags: bool,
    /// The socket the memory was registered with; none for that one itself.
    pub(super) first: Option<BorrowedFd<'s>>,
    /// The driver is to read and write our memory itself; copies otherwise. Further sockets are as the
    /// first one.
    pub(super) zero_copy: bool,
}

impl Socket {
    /// Opens and binds a socket; it receives once it is in the program's map and filled.
    pub(super) fn open(umem: &Umem, binding: Binding<'_>) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        if binding.first.is_none() {
            sockopt::set_xdp_umem_reg(&fd, umem.registration())?;
        }
        sockopt::set_xdp_umem_fill_ring_size(&fd, RING_ENTRIES)?;
        sockopt::set_xdp_umem_completion_ring_size(&fd, RING_ENTRIES)?;
        sockopt::set_xdp_rx_ring_size(&fd, RING_ENTRIES)?;
        sockopt::set_xdp_tx_ring_size(&fd, RING_ENTRIES)?;
        // Beyond the system's limit where that is allowed, else up to it.
        sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER_BYTES).or_else(
            |_| sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDBUF, SEND_BUFFER_BYTES),
        )?;
        // Where it is not known, a call for each 32 does the same.
        let _ = sys::set_option(&fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, RING_ENTRIES);
        let at = sockopt::xdp_mmap_offsets(&fd)?;
        let socket = fd.as_fd();
        let fill = Putting::map(socket, XDP_UMEM_PGOFF_FILL_RING, &at.fr, RING_ENTRIES)?;
        let completion = Taking::map(socket, XDP_UMEM_PGOFF_COMPLETION_RING, &at.cr, RING_ENTRIES)?;
        let receive = Taking::map(socket, XDP_PGOFF_RX_RING, &at.rx, RING_ENTRIES)?;
        let transmit = Putting::map(socket, XDP_PGOFF_TX_RING, &at.tx, RING_ENTRIES)?;
        bind_to(&fd, binding)?;
        let (partial, overlong) = (Vec::new(), false);
        let zero_copy = sockopt::xdp_options(&fd)
            .is_ok_and(|options| options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY));
        Ok(Self { fd, fill, completion, receive, transmit, partial, overlong, zero_copy })
    }

    /// Whether the driver reads and writes our memory itself.
    pub(super) const fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Frames lost before they came to the ring, since the socket was opened.
    pub(super) fn overruns(&self) -> u64 {
        sockopt::xdp_statistics(&self.fd).map_or(0, |counted| {
            counted.rx_dropped.saturating_add(counted.rx_ring_full.unwrap_or(0))
        })
    }

    /// Gives the kernel chunks to receive into, as many as there are beyond `keep` and room for, until
    /// `share` of them wait there.
    pub(super) fn refill(&mut self, free: &mut Vec<Chunk>, keep: usize, share: u32) {
        let spare = u32::try_from(free.len().saturating_sub(keep)).unwrap_or(u32::MAX);
        let room =
            if self.zero_copy { self.fill.room(RING_ENTRIES) } else { self.fill.known_room() };
        let waiting = RING_ENTRIES.saturating_sub(room);
        let wanted = room.min(spare).min(share.saturating_sub(waiting));
        if wanted == 0 {
            return;
        }
        for _ in 0..wanted {
            let Some(chunk) = free.pop() else { break };
            // There is room for it, so it is put; from here on it is the kernel's.
            self.fill.put(chunk.address());
        }
        self.fill.publish();
    }

    /// Whether the driver has to be called before it looks for chunks.
    pub(super) fn wants_call(&self) -> bool {
        self.fill.wants_call()
    }

    /// Looks for frames; how many buffers there are.
    pub(super) fn look(&mut self) -> u32 {
        self.receive.look()
    }

    /// The next frame of those found. Chunks of frames that cannot be are given back to the store.
    pub(super) fn receive(&mut self, store: &mut Store) -> Option<Packet> {
        while let Some(descriptor) = self.receive.take() {
            if !self.zero_copy {
                // The kernel took a chunk for it just now: no need to look how many it took.
                self.fill.taken(1);
            }
            // SAFETY: the kernel put the descriptor into the receive ring, and it is taken once.
            let piece = unsafe { store.umem.piece(descriptor.address, descriptor.len) };
            let Some(piece) = piece else { continue };
            let last = descriptor.options & CONTINUED == 0;
            if self.partial.is_empty() && last && !self.overlong {
                return Some(Packet { head: piece, rest: Vec::new() });
            }
            if self.overlong || self.partial.len() >= PIECES_MAX {
                self.overlong = !last;
                store.give_back(piece.chunk);
                self.partial.drain(..).for_each(|piece| store.give_back(piece.chunk));
                continue;
            }
            self.partial.push(piece);
            if last {
                let mut pieces = self.partial.drain(..);
                let head = pieces.next();
                let rest = pieces.collect();
                return head.map(|head| Packet { head, rest });
            }
        }
        None
    }

    /// Lets the kernel use the room of what was received.
    pub(super) fn received(&mut self) {
        self.receive.release();
    }

    /// Puts a frame into the transmit ring; gives it back where there is no room.
    pub(super) fn send(&mut self, packet: Packet) -> Result<(), Packet> {
        let count = packet.count();
        if self.transmit.room(count) < count {
            return Err(packet);
        }
        let mut left = count;
        for piece in packet.pieces() {
            left -= 1;
            let options = if left > 0 { CONTINUED } else { 0 };
            let len = u32::try_from(piece.len()).unwrap_or(0);
            // There is room for it, so it is put; from here on its chunk is the kernel's.
            self.transmit.put(Descriptor { address: piece.address(), len, options });
        }
        Ok(())
    }

    /// Takes back the chunks of frames that were sent.
    pub(super) fn sent(&mut self, store: &mut Store) {
        if self.completion.look() == 0 {
            return;
        }
        while let Some(address) = self.completion.take() {
            // SAFETY: the kernel put the address into the completion ring, and it is taken once.
            if let Some(chunk) = unsafe { store.umem.chunk(address) } {
                store.give_back(chunk);
            }
        }
        self.completion.release();
    }

    /// Has the kernel send what was put into the transmit ring; what it does not take now it is
    /// told of again with the next call.
    pub(super) fn kick(&mut self) {
        self.transmit.publish();
        let mut calls = RING_ENTRIES / KICK_DESCRIPTORS;
        while calls > 0 && self.transmit.pending() && self.transmit.wants_call() {
            calls -= 1;
            match sys::kick(&self.fd) {
                // It sent as many as it does at one call.
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(_) => return,
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Asked for neither way the kernel would choose by itself, and not tell why it copies.
fn bind_to(fd: &OwnedFd, binding: Binding<'_>) -> io::Result<()> {
    let address = |flags| SocketAddrXdp::new(flags, binding.interface, binding.queue);
    if let Some(shared_umem_fd) = binding.first {
        let addr = address(SocketAddrXdpFlags::XDP_SHARED_UMEM);
        return Ok(bind(fd, &SocketAddrXdpWithSharedUmem { addr, shared_umem_fd })?);
    }
    let mut flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
    flags |= if binding.zero_copy {
        SocketAddrXdpFlags::XDP_ZEROCOPY
    } else {
        SocketAddrXdpFlags::XDP_COPY
    };
    if binding.frags {
        flags |= SocketAddrXdpFlags::XDP_USE_SG;
    }
    Ok(bind(fd, &address(flags))?)
}
