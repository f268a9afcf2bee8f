//! The receive ring of a packet socket (TPACKET_V2): slots of one size in memory that the kernel
//! fills and we give back, in order. Sending and judging are not done here.
//!
//! Each slot has a status word. While it is [`libc::TP_STATUS_KERNEL`] the slot is the kernel's; once
//! [`libc::TP_STATUS_USER`] is set it is ours until we write the first again (Documentation/networking/
//! packet_mmap.rst).
#![expect(unsafe_code, reason = "memory shared with the kernel; each block has its proof")]

use super::super::sys::{self, Mapping};
use libc::{TPACKET_ALIGNMENT, TPACKET2_HDRLEN, tpacket_req, tpacket2_hdr};
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of one block, which holds whole slots.
const BLOCK_BYTES: usize = 128 << 10;
/// Room before a frame, so that a VLAN tag the kernel took off can be put back where it was.
const RESERVE: usize = 16;
const VLAN_TAG: usize = 4;
const MAC_ADDRESSES: usize = 12;
const ETHERNET_HEADER: usize = 14;
/// The tag's protocol where the kernel does not tell (802.1Q).
const VLAN_PROTOCOL: u16 = 0x8100;

/// What the kernel says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    /// NIC or kernel have checked its outermost transport checksum.
    pub(super) checksum_valid: bool,
    /// Its outermost transport checksum is not made yet: it never was on a wire.
    pub(super) checksum_missing: bool,
    /// It was longer than its slot.
    pub(super) cut: bool,
}

/// The ring and where we are in it.
#[derive(Debug)]
pub(super) struct Ring {
    memory: Mapping,
    slot_bytes: usize,
    slots_per_block: usize,
    slots: usize,
    /// The slot that is read next.
    next: usize,
}

impl Ring {
    /// Makes the ring of a packet socket, in about `bytes` of memory, for frames of an interface
    /// with this MTU.
    pub(super) fn open(fd: impl AsFd, bytes: usize, mtu: u32) -> io::Result<Self> {
        // Its layout: header, sockaddr_ll, then the network header at a multiple of 16 that leaves
        // at least 16 bytes for the link header, and the reserve before that (tpacket_rcv()).
        let network = (TPACKET2_HDRLEN + 16).next_multiple_of(TPACKET_ALIGNMENT) + RESERVE;
        let longest = usize::try_from(mtu).map_err(io::Error::other)? + VLAN_TAG;
        let slot_bytes = (network + longest).next_multiple_of(TPACKET_ALIGNMENT);
        let slots_per_block = BLOCK_BYTES / slot_bytes;
        let blocks = bytes / BLOCK_BYTES;
        let slots = slots_per_block * blocks;
        if slots == 0 {
            return Err(io::Error::other("frames of this MTU do not fit a block of the ring"));
        }
        let number = |n: usize| u32::try_from(n).map_err(io::Error::other);
        let request = tpacket_req {
            tp_block_size: number(BLOCK_BYTES)?,
            tp_block_nr: number(blocks)?,
            tp_frame_size: number(slot_bytes)?,
            tp_frame_nr: number(slots)?,
        };
        let version = libc::tpacket_versions::TPACKET_V2 as u32;
        sys::set_option(&fd, libc::SOL_PACKET, libc::PACKET_VERSION, version)?;
        sys::set_option(&fd, libc::SOL_PACKET, libc::PACKET_RESERVE, RESERVE as u32)?;
        sys::set_option(&fd, libc::SOL_PACKET, libc::PACKET_RX_RING, request)?;
        let memory = Mapping::of_socket(fd.as_fd(), 0, BLOCK_BYTES * blocks)?;
        Ok(Self { memory, slot_bytes, slots_per_block, slots, next: 0 })
    }

    /// How many frames are there, counted up to `limit`.
    pub(super) fn ready(&self, limit: usize) -> usize {
        (0..limit.min(self.slots)).take_while(|ahead| self.is_ready(self.after(*ahead))).count()
    }

    /// The next `count` frames; `count` is what [`Self::ready`] gave.
    pub(super) fn frames(&mut self, count: usize) -> Frames<'_> {
        Frames { at: self.next, left: count.min(self.slots), ring: self }
    }

    /// Gives the next `count` frames back to the kernel.
    pub(super) fn release(&mut self, count: usize) {
        for ahead in 0..count.min(self.slots) {
            let status = self.status(self.after(ahead));
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.next = self.after(count.min(self.slots));
    }

    const fn after(&self, ahead: usize) -> usize {
        (self.next + ahead) % self.slots
    }

    /// Where a slot starts. `slot < self.slots`, so it lies wholly within the mapping.
    const fn slot(&self, slot: usize) -> NonNull<u8> {
        let block = slot / self.slots_per_block;
        let offset = block * BLOCK_BYTES + slot % self.slots_per_block * self.slot_bytes;
        debug_assert!(offset + self.slot_bytes <= self.memory.len());
        // SAFETY: a block has room for `slots_per_block` slots and the mapping for all blocks, so
        // offset and slot end within it.
        unsafe { self.memory.start().add(offset) }
    }

    fn status(&self, slot: usize) -> &AtomicU32 {
        // SAFETY: the slot starts with a tpacket2_hdr, whose first member is the status word. Slots
        // start at multiples of TPACKET_ALIGNMENT (16), so it is aligned; it lives as long as the
        // mapping, which `self` owns; kernel and we access it as one word only.
        unsafe { AtomicU32::from_ptr(self.slot(slot).cast().as_ptr()) }
    }

    fn is_ready(&self, slot: usize) -> bool {
        // Acquire: what the kernel wrote to the slot before it set the status is seen after this.
        self.status(slot).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }
}

/// The frames of a batch, where the kernel put them.
#[derive(Debug)]
pub(super) struct Frames<'r> {
    ring: &'r mut Ring,
    at: usize,
    left: usize,
}

impl<'r> Iterator for Frames<'r> {
    type Item = (About, &'r mut [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 || !self.ring.is_ready(self.at) {
            return None;
        }
        let slot = self.ring.slot(self.at);
        // SAFETY: the status says that the slot is ours, and it starts with a header (see
        // `status`). The header is plain numbers and is copied out, so no reference to it stays.
        let header = unsafe { slot.cast::<tpacket2_hdr>().read() };
        // SAFETY: the slot is ours until `release`, which needs the ring that is borrowed for 'r.
        // `at` moves on below and stops after at most all slots, so no slot is given twice. The
        // slice is the slot without its header, which nobody reads any more; its bytes were all
        // written by the kernel or are zero since the mapping was made.
        let bytes: &'r mut [u8] = unsafe {
            std::slice::from_raw_parts_mut(
                slot.add(size_of::<tpacket2_hdr>()).as_ptr(),
                self.ring.slot_bytes - size_of::<tpacket2_hdr>(),
            )
        };
        self.at = (self.at + 1) % self.ring.slots;
        self.left -= 1;
        Some((about(&header), frame(bytes, &header)))
    }
}

const fn about(header: &tpacket2_hdr) -> About {
    About {
        checksum_valid: header.tp_status & libc::TP_STATUS_CSUM_VALID != 0,
        checksum_missing: header.tp_status & libc::TP_STATUS_CSUMNOTREADY != 0,
        cut: header.tp_len > header.tp_snaplen,
    }
}

/// The frame within its slot, with its VLAN tag if it came with one; empty if the header says what
/// cannot be.
fn frame<'s>(slot: &'s mut [u8], header: &tpacket2_hdr) -> &'s mut [u8] {
    let start = usize::from(header.tp_mac).checked_sub(size_of::<tpacket2_hdr>());
    let len = usize::try_from(header.tp_snaplen).ok();
    let end = start.zip(len).and_then(|(start, len)| start.checked_add(len));
    let (Some(start), Some(end)) = (start, end) else { return &mut [] };
    if header.tp_status & libc::TP_STATUS_VLAN_VALID == 0 || end < start + ETHERNET_HEADER {
        return slot.get_mut(start..end).unwrap_or_default();
    }
    let known = header.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if known { header.tp_vlan_tpid } else { VLAN_PROTOCOL };
    let Some(tagged) = start.checked_sub(VLAN_TAG).and_then(|from| slot.get_mut(from..end)) else {
        return &mut [];
    };
    tagged.copy_within(VLAN_TAG..VLAN_TAG + MAC_ADDRESSES, 0);
    let tag = [protocol.to_be_bytes(), header.tp_vlan_tci.to_be_bytes()];
    if let Some(place) = tagged.get_mut(MAC_ADDRESSES..MAC_ADDRESSES + VLAN_TAG) {
        place.copy_from_slice(tag.as_flattened());
    }
    tagged
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = size_of::<tpacket2_hdr>();

    fn header(status: u32, mac: u16, len: u32) -> tpacket2_hdr {
        tpacket2_hdr {
            tp_status: status,
            tp_len: len,
            tp_snaplen: len,
            tp_mac: mac,
            tp_net: 0,
            tp_sec: 0,
            tp_nsec: 0,
            tp_vlan_tci: 0x2005,
            tp_vlan_tpid: 0x88a8,
            tp_padding: [0; 4],
        }
    }

    #[test]
    fn a_frame_is_where_its_header_says() {
        let mut slot: Vec<u8> = (0..200).collect();
        let mac = HEADER as u16 + 50;
        assert_eq!(frame(&mut slot, &header(libc::TP_STATUS_USER, mac, 3)), [50, 51, 52]);
    }

    #[test]
    fn a_vlan_tag_is_put_back_where_it_was() {
        let mut slot: Vec<u8> = (0..200).collect();
        let mac = HEADER as u16 + 50;
        let status = libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
        let tagged = frame(&mut slot, &header(status, mac, 20)).to_vec();
        let expected: Vec<u8> = (50..62).chain([0x88, 0xa8, 0x20, 0x05]).chain(62..70).collect();
        assert_eq!(tagged, expected);
        let mut slot: Vec<u8> = (0..200).collect();
        let old = frame(&mut slot, &header(libc::TP_STATUS_VLAN_VALID, mac, 20)).to_vec();
        assert_eq!(old[12..14], [0x81, 0x00], "an old kernel tells no protocol");
    }

    #[test]
    fn a_header_that_cannot_be_gives_no_bytes() {
        let mut slot = vec![0; 200];
        for (mac, len) in [(0, 4), (HEADER as u16, 201), (u16::MAX, 1), (HEADER as u16, u32::MAX)] {
            assert!(frame(&mut slot, &header(0, mac, len)).is_empty(), "{mac} {len}");
        }
        let status = libc::TP_STATUS_VLAN_VALID;
        for (before, bytes) in [(VLAN_TAG - 1, 0), (VLAN_TAG, 24), (VLAN_TAG + 1, 24)] {
            let mac = (HEADER + before) as u16;
            assert_eq!(frame(&mut slot, &header(status, mac, 20)).len(), bytes, "{before}");
        }
    }
}
