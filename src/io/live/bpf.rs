//! bpf(2): a map of sockets, programs, and the links that put them on an interface. All of them are
//! descriptors; when the process goes, the programs go. What they do is written elsewhere.
#![expect(unsafe_code, reason = "the bpf system call; each block has its proof")]

use super::sys::Mapping;
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// One instruction (RFC 9669 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    pub(super) code: u8,
    registers: u8,
    pub(super) offset: i16,
    number: i32,
}

impl Instruction {
    pub(super) const fn new(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Self {
        // Two four-bit fields in the machine's own bit order.
        let registers =
            if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        Self { code, registers, offset, number }
    }

    /// `to =` the map of this descriptor: 64 bits, in two instructions.
    pub(super) const fn map(to: u8, descriptor: i32) -> [Self; 2] {
        const OF_DESCRIPTOR: u8 = 1;
        Self::load_64(to, OF_DESCRIPTOR, descriptor)
    }

    /// `to =` where the only value of the map of this descriptor stands.
    pub(super) const fn map_value(to: u8, descriptor: i32) -> [Self; 2] {
        const OF_VALUE: u8 = 2;
        Self::load_64(to, OF_VALUE, descriptor)
    }

    const fn load_64(to: u8, kind: u8, number: i32) -> [Self; 2] {
        const LOAD_64: u8 = 0x18;
        [Self::new(LOAD_64, to, kind, 0, number), Self::new(0, 0, 0, 0, 0)]
    }
}

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_XSKMAP: u32 = 17;
/// A process may map the map's memory.
const MAPPABLE: u32 = 1 << 10;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;
/// The program can handle frames in several buffers.
const HAS_FRAGS: u32 = 1 << 5;
const FLAG_SKB_MODE: u32 = 1 << 1;
const FLAG_DRIVER_MODE: u32 = 1 << 2;

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To decide where a frame goes, XDP; with `frags` also one that came in several buffers.
    Xdp {
        /// Whether those are taken.
        frags: bool,
    },
    /// To decide behind packet sockets whether the kernel gets a frame, tc.
    Ingress,
}

/// Where a program is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// XDP in the driver, before the kernel makes anything of a frame.
    Driver,
    /// XDP behind the driver, on what the kernel made: any interface can.
    Generic,
    /// Behind packet sockets and before everything else (tcx, since Linux 6.6).
    Ingress,
}

/// The members of `union bpf_attr` that are used; the kernel takes a prefix of the union.
#[derive(Clone, Copy)]
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct MapUpdate {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    count: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach: u32,
    flags: u32,
}

/// Calls bpf(2).
///
/// # Safety
/// Every address in `attributes` is valid for what `command` does with it.
unsafe fn call<T: Copy>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    let size = libc::c_uint::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the attributes live through the call and `size` is theirs; the addresses in them are
    // the caller's promise.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(done).map_err(io::Error::other)
}

fn owned(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: called with what bpf(2) just returned for a command that makes a descriptor.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

/// A map from queue numbers to AF_XDP sockets.
pub(super) fn socket_map(queues: u32) -> io::Result<OwnedFd> {
    make_map(MapCreate {
        map_type: MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues,
        flags: 0,
    })
}

fn make_map(attributes: MapCreate) -> io::Result<OwnedFd> {
    // SAFETY: there is no address in it.
    unsafe { call(MAP_CREATE, &attributes) }.map(owned)
}

/// A number that a program adds to and we read; both without calling the other.
#[derive(Debug)]
pub(super) struct Counter {
    map: OwnedFd,
    memory: Mapping,
}

impl Counter {
    /// A number that is zero.
    pub(super) fn make() -> io::Result<Self> {
        let map = make_map(MapCreate {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: size_of::<u64>() as u32,
            max_entries: 1,
            flags: MAPPABLE,
        })?;
        let memory = Mapping::of_socket(map.as_fd(), 0, size_of::<u64>())?;
        Ok(Self { map, memory })
    }

    /// The number now.
    pub(super) fn value(&self) -> u64 {
        // SAFETY: the mapping starts at a page with the map's only value, an aligned number that its
        // program changes atomically; it lives as long as `self`.
        let number = unsafe { AtomicU64::from_ptr(self.memory.start().cast().as_ptr()) };
        number.load(Ordering::Relaxed)
    }
}

impl AsFd for Counter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Puts a socket into the map.
pub(super) fn set_socket(map: impl AsFd, queue: u32, socket: impl AsFd) -> io::Result<()> {
    let value = number(socket.as_fd());
    let attributes = MapUpdate {
        map: number(map.as_fd()),
        padding: 0,
        key: std::ptr::from_ref(&queue).addr() as u64,
        value: std::ptr::from_ref(&value).addr() as u64,
        flags: 0,
    };
    // SAFETY: key and value are four bytes each, as the map was made, and live through the call.
    unsafe { call(MAP_UPDATE_ELEM, &attributes) }.map(drop)
}

/// Loads a program.
pub(super) fn load(code: &[Instruction], kind: Kind) -> io::Result<OwnedFd> {
    let (prog_type, flags, expected_attach) = match kind {
        Kind::Xdp { frags: true } => (PROG_TYPE_XDP, HAS_FRAGS, ATTACH_XDP),
        Kind::Xdp { frags: false } => (PROG_TYPE_XDP, 0, ATTACH_XDP),
        Kind::Ingress => (PROG_TYPE_SCHED_CLS, 0, ATTACH_TCX_INGRESS),
    };
    let license = c"Apache-2.0";
    // SAFETY: all its members are integers, for which zero is a value.
    let mut attributes: ProgLoad = unsafe { zeroed() };
    attributes.prog_type = prog_type;
    attributes.count = u32::try_from(code.len()).map_err(io::Error::other)?;
    attributes.code = code.as_ptr().addr() as u64;
    attributes.license = license.as_ptr().addr() as u64;
    attributes.flags = flags;
    for (to, from) in attributes.name.iter_mut().zip(b"lockgate") {
        *to = *from;
    }
    attributes.expected_attach = expected_attach;
    // SAFETY: `code` is that many instructions of the layout the kernel reads, the license ends with
    // a zero, no log is asked for; the kernel only reads, during the call.
    unsafe { call(PROG_LOAD, &attributes) }.map(owned)
}

/// Puts a program on an interface until the link is closed.
pub(super) fn link(program: impl AsFd, interface: u32, place: Place) -> io::Result<OwnedFd> {
    let (attach, flags) = match place {
        Place::Driver => (ATTACH_XDP, FLAG_DRIVER_MODE),
        Place::Generic => (ATTACH_XDP, FLAG_SKB_MODE),
        Place::Ingress => (ATTACH_TCX_INGRESS, 0),
    };
    let program = number(program.as_fd());
    let attributes = LinkCreate { program, interface, attach, flags };
    // SAFETY: there is no address in it.
    unsafe { call(LINK_CREATE, &attributes) }.map(owned)
}
