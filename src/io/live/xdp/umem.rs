//! The memory frames lie in: chunks of one page, shared by all sockets and the kernel. Who holds a
//! [`Chunk`] holds its bytes alone; chunks are made once and only moved after that.
#![expect(unsafe_code, reason = "memory shared with the kernel; each block has its proof")]

use super::super::sys::Mapping;
use rustix::net::xdp::{XdpUmemReg, XdpUmemRegFlags};
use std::io;

/// Bytes of one chunk: what the kernel takes at most, and what drivers ask for.
pub(super) const CHUNK_BYTES: usize = 4096;

/// One chunk, by number. There is never more than one of a number: it is neither copied nor made
/// again but from what the kernel gives back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk(u32);

impl Chunk {
    pub(super) const fn number(&self) -> u32 {
        self.0
    }

    /// Where it starts in the memory, as the kernel counts.
    pub(super) const fn address(&self) -> u64 {
        self.0 as u64 * CHUNK_BYTES as u64
    }
}

/// A frame, or a part of one, within its chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) chunk: Chunk,
    offset: u16,
    len: u16,
}

impl Piece {
    /// `len` bytes at the start of a chunk; at most the chunk.
    pub(super) fn of(chunk: Chunk, len: usize) -> Self {
        Self { chunk, offset: 0, len: u16::try_from(len.min(CHUNK_BYTES)).unwrap_or(0) }
    }

    pub(super) const fn address(&self) -> u64 {
        self.chunk.address() + self.offset as u64
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }
}

/// The memory.
#[derive(Debug)]
pub(super) struct Umem {
    memory: Mapping,
    chunks: u32,
}

// SAFETY: bytes are reached only through a `Piece` that is borrowed mutably (or shared, for reading),
// and there is one for each chunk: no two threads reach the same bytes.
unsafe impl Sync for Umem {}

impl Umem {
    /// Memory of so many chunks, and all of them.
    pub(super) fn make(chunks: u32) -> io::Result<(Self, impl Iterator<Item = Chunk>)> {
        let bytes = usize::try_from(chunks).ok().and_then(|n| n.checked_mul(CHUNK_BYTES));
        let bytes = bytes.ok_or_else(|| io::Error::other("more chunks than memory"))?;
        let memory = Mapping::private(bytes)?;
        Ok((Self { memory, chunks }, (0..chunks).map(Chunk)))
    }

    /// How it is made known to the kernel.
    pub(super) fn registration(&self) -> XdpUmemReg {
        XdpUmemReg {
            addr: self.memory.start().as_ptr().addr() as u64,
            len: self.memory.len() as u64,
            chunk_size: CHUNK_BYTES as u32,
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        }
    }

    /// The piece a descriptor tells of. Nothing if it cannot be: it ends outside its chunk, or there
    /// is no such chunk.
    ///
    /// # Safety
    /// The kernel gave this address and length in a ring, which says that the chunk is no longer its
    /// own, and this is called once for it.
    pub(super) unsafe fn piece(&self, address: u64, len: u32) -> Option<Piece> {
        let offset = address % CHUNK_BYTES as u64;
        if offset + u64::from(len) > CHUNK_BYTES as u64 {
            return None;
        }
        // SAFETY: the caller's promise.
        let chunk = unsafe { self.chunk(address) }?;
        Some(Piece { chunk, offset: u16::try_from(offset).ok()?, len: u16::try_from(len).ok()? })
    }

    /// The chunk an address lies in, if there is one.
    ///
    /// # Safety
    /// As for [`Self::piece`].
    pub(super) unsafe fn chunk(&self, address: u64) -> Option<Chunk> {
        let number = u32::try_from(address / CHUNK_BYTES as u64).ok()?;
        (number < self.chunks).then_some(Chunk(number))
    }

    /// The bytes of a piece.
    pub(super) fn bytes<'p>(&'p self, piece: &'p mut Piece) -> &'p mut [u8] {
        let at = piece.chunk.number() as usize * CHUNK_BYTES + usize::from(piece.offset);
        // SAFETY: the chunk is one of the memory's (made by `make` or `chunk`), and the piece ends
        // within it (made by `of` or `piece`), so the bytes are mapped; the mapping lives as long as
        // `self`. The chunk is with us and not with the kernel as long as the piece is, the piece is
        // the only one of its chunk, and it is borrowed mutably for as long as the slice lives.
        unsafe {
            let start = self.memory.start().add(at);
            std::slice::from_raw_parts_mut(start.as_ptr(), piece.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_within_their_chunk_and_the_memory() {
        let (umem, _chunks) = Umem::make(2).unwrap();
        for (address, len, there) in [
            (0, 4096, true),
            (0, 4097, false),
            (4095, 1, true),
            (4095, 2, false),
            (4096, 4096, true),
            (8191, 1, true),
            (8192, 0, false),
            (u64::MAX, 0, false),
        ] {
            // SAFETY: no kernel is involved and the pieces are dropped at once.
            let piece = unsafe { umem.piece(address, len) };
            assert_eq!(piece.is_some(), there, "{address} {len}");
        }
    }

    #[test]
    fn every_chunk_has_bytes_of_its_own() {
        let (umem, chunks) = Umem::make(3).unwrap();
        let mut pieces: Vec<Piece> = chunks.map(|chunk| Piece::of(chunk, CHUNK_BYTES)).collect();
        for (value, piece) in (1u8..).zip(&mut pieces) {
            umem.bytes(piece).fill(value);
        }
        for (value, piece) in (1u8..).zip(&mut pieces) {
            assert!(umem.bytes(piece).iter().all(|byte| *byte == value));
        }
    }
}
