//! Calls to the kernel that no library of ours wraps: packet socket options, classic filters,
//! questions about an interface, many frames sent at once, memory shared with the kernel. Nothing
//! here knows what a packet is.
#![expect(unsafe_code, reason = "system calls and mapped memory; each block has its proof")]

use crate::wire::near;
use libc::{c_int, sock_filter, sock_fprog};
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// Frames of one call to [`send_frames`].
pub(super) const SEND_MAX: usize = 64;

/// A kind of option value that is plain old data: any bytes are a value of it, it holds no pointer
/// the kernel would follow, and it has no padding.
///
/// # Safety
/// Implement it only for types for which that is true.
pub(super) unsafe trait Plain: Copy {}
// SAFETY: integers are plain.
unsafe impl Plain for u32 {}
// SAFETY: integers are plain.
unsafe impl Plain for i32 {}
// SAFETY: four `c_uint`, no padding, no pointer (linux/if_packet.h).
unsafe impl Plain for libc::tpacket_req {}
// SAFETY: two `c_uint`, no padding, no pointer (linux/if_packet.h).
unsafe impl Plain for libc::tpacket_stats {}

fn result(returned: c_int) -> io::Result<c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// A packet socket that receives nothing until it is bound to a protocol.
pub(super) fn packet_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointer.
    let fd =
        result(unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the call above made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a packet socket to an interface; with `receive` it gets all its protocols from now on.
pub(super) fn bind_packet(fd: impl AsFd, interface: u32, receive: bool) -> io::Result<()> {
    let protocol = if receive { libc::ETH_P_ALL as u16 } else { 0 };
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives through the call and `len` is its size.
    let done = unsafe { libc::bind(fd.as_fd().as_raw_fd(), (&raw const address).cast(), len) };
    result(done).map(drop)
}

/// Sets a socket option.
pub(super) fn set_option<T: Plain>(
    fd: impl AsFd,
    level: c_int,
    name: c_int,
    value: T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value lives through the call and `len` is its size; `Plain` says that the kernel
    // finds no pointer in it.
    let done = unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), len)
    };
    result(done).map(drop)
}

/// Reads a socket option.
pub(super) fn option<T: Plain>(fd: impl AsFd, level: c_int, name: c_int) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to the value, and the new length to `len`.
    let done = unsafe {
        let fd = fd.as_fd().as_raw_fd();
        libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &raw mut len)
    };
    result(done)?;
    // SAFETY: it was zeroed, and any bytes are a value of a `Plain` type.
    Ok(unsafe { value.assume_init() })
}

/// Gives a socket a classic program by an option that takes one (`SO_ATTACH_FILTER`,
/// `PACKET_FANOUT_DATA`).
pub(super) fn set_program(
    fd: impl AsFd,
    level: c_int,
    name: c_int,
    program: &[sock_filter],
) -> io::Result<()> {
    let program = sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    let len = size_of::<sock_fprog>() as libc::socklen_t;
    // SAFETY: `program` and the instructions it points at live through the call; the kernel copies
    // them and does not write to them, in spite of the pointer's type.
    let done = unsafe {
        libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, (&raw const program).cast(), len)
    };
    result(done).map(drop)
}

/// Sends frames through a bound packet socket without waiting. Gives how many of them, from the
/// first on, the kernel took; only the first [`SEND_MAX`] are looked at.
///
/// # Errors
/// Why it did not take the first one.
pub(super) fn send_frames(fd: impl AsFd, frames: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = frames.len().min(SEND_MAX);
    // SAFETY: a message header of zeros is one without address, data and flags.
    let mut heads: [libc::mmsghdr; SEND_MAX] = unsafe { zeroed() };
    for (head, frame) in heads.iter_mut().zip(frames) {
        head.msg_hdr.msg_iov = std::ptr::from_ref(frame).cast_mut().cast();
        head.msg_hdr.msg_iovlen = 1;
    }
    // SAFETY: the first `count` headers point at one `IoSlice` each, which has the layout of an
    // `iovec` (its documentation says so) and borrows its bytes beyond this call; the kernel reads
    // them and writes only `msg_len` of the headers, which are ours.
    let sent = unsafe {
        let fd = fd.as_fd().as_raw_fd();
        libc::sendmmsg(fd, heads.as_mut_ptr(), count as u32, libc::MSG_DONTWAIT)
    };
    result(sent).map(|sent| usize::try_from(sent).unwrap_or(0))
}

/// Tells the kernel that there is something in a socket's transmit ring.
///
/// # Errors
/// `EAGAIN` and `EBUSY` where it has more to do and wants another call.
pub(super) fn kick(fd: impl AsFd) -> rustix::io::Result<()> {
    rustix::net::send(fd, &[], rustix::net::SendFlags::DONTWAIT).map(drop)
}

/// What the kernel says of an interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct InterfaceState {
    /// The largest IP packet it sends.
    pub(super) mtu: u32,
    /// Whether it is up.
    pub(super) up: bool,
}

/// Asks for the state of an interface by name.
pub(super) fn interface_state(fd: impl AsFd, name: &str) -> io::Result<InterfaceState> {
    let mut request = request(name);
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel reads the name and writes the union; the request lives through the call.
    result(unsafe { libc::ioctl(fd, libc::SIOCGIFMTU, &raw mut request) })?;
    // SAFETY: the call above has written this member, which is an integer.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    // SAFETY: as above.
    result(unsafe { libc::ioctl(fd, libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: the call above has written this member, which is an integer.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(InterfaceState { mtu: u32::try_from(mtu).unwrap_or(0), up: flags & libc::IFF_UP != 0 })
}

/// Whether the interface of this number is up and running: an administrator's wish, and a carrier or a
/// driver that does not tell of any.
///
/// # Errors
/// `ENODEV` if there is none.
pub(super) fn interface_runs(fd: impl AsFd, index: u32) -> io::Result<bool> {
    const RUNS: c_int = libc::IFF_UP | libc::IFF_RUNNING;
    let mut request = request("");
    request.ifr_ifru.ifru_ifindex = index.cast_signed();
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the kernel reads the number and writes the name, terminated, which is how the next call
    // asks; the request lives through both.
    result(unsafe { libc::ioctl(fd, libc::SIOCGIFNAME, &raw mut request) })?;
    // SAFETY: the kernel reads the name and writes the union.
    result(unsafe { libc::ioctl(fd, libc::SIOCGIFFLAGS, &raw mut request) })?;
    // SAFETY: the call above has written this member, which is an integer.
    let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    Ok(flags & RUNS == RUNS)
}

/// How many queues an interface receives on (`ethtool --show-channels`); one if it does not tell.
pub(super) fn receive_queues(fd: impl AsFd, name: &str) -> u32 {
    /// `struct ethtool_channels`: the command, four maxima, four counts.
    #[repr(C)]
    struct Channels {
        command: u32,
        maxima: [u32; 4],
        receive: u32,
        transmit: u32,
        other: u32,
        combined: u32,
    }
    const GET_CHANNELS: u32 = 0x3c;
    let mut channels = Channels {
        command: GET_CHANNELS,
        maxima: [0; 4],
        receive: 0,
        transmit: 0,
        other: 0,
        combined: 0,
    };
    let mut request = request(name);
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    // SAFETY: the kernel reads the name and the command, and writes the structure, whose layout is
    // the one of this command (linux/ethtool.h); both live through the call.
    let asked = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if asked < 0 {
        return 1;
    }
    channels.receive.saturating_add(channels.combined).max(1)
}

/// Whether the card takes VLAN tags off frames (`ethtool --show-features`, rx-vlan-offload).
pub(super) fn takes_tags_off(fd: impl AsFd, name: &str) -> bool {
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    const GET_FLAGS: u32 = 0x25;
    const RECEIVES_WITHOUT_TAG: u32 = 1 << 8;
    let mut value = Value { command: GET_FLAGS, data: 0 };
    let mut request = request(name);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads the name and the command, and writes the structure, whose layout is
    // the one of this command (linux/ethtool.h); both live through the call.
    let asked = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    asked >= 0 && value.data & RECEIVES_WITHOUT_TAG != 0
}

/// A request about an interface, without its question.
fn request(name: &str) -> libc::ifreq {
    // SAFETY: a request of zeros has an empty name and no pointer.
    let mut request: libc::ifreq = unsafe { zeroed() };
    // The last byte stays zero: the kernel reads the name up to it.
    let room = request.ifr_name.split_last_mut().map(|(_, room)| room).unwrap_or_default();
    for (to, from) in room.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}

/// Memory shared with the kernel, unmapped when dropped.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory belongs to the process, not to a thread; whoever owns the mapping alone makes
// pointers into it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes that a socket offers at `offset`.
    pub(super) fn of_socket(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        Self::map(Some(fd), offset, len, libc::MAP_SHARED | libc::MAP_POPULATE)
    }

    /// Maps `len` bytes of zeros, in large pages where the system has them. They are there once they are
    /// touched.
    pub(super) fn private(len: usize) -> io::Result<Self> {
        let mapping = Self::map(None, 0, len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS)?;
        near::ask_for_large_pages(mapping.start.as_ptr(), len);
        Ok(mapping)
    }

    fn map(fd: Option<BorrowedFd<'_>>, offset: u64, len: usize, flags: c_int) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: without MAP_FIXED the kernel chooses a place that nothing of ours uses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { start, len })
    }

    /// Where it starts; page-aligned, readable and writable for [`Self::len`] bytes as long as the
    /// mapping lives.
    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// How many bytes it has.
    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length and nobody can point into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
