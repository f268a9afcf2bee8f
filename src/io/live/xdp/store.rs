//! One worker's chunks that are in nobody's hands. A chunk that ends up with another worker, behind a
//! frame handed over, goes home when it was sent, so that no worker runs dry.

use super::super::mailbox::{Mailbox, Post};
use super::socket::Packet;
use super::umem::{CHUNK_BYTES, Chunk, Piece, Umem};
use std::sync::Arc;

/// Bytes at the start of a frame that its judge may change; the outer headers are a tenth of it.
pub(super) const HEADERS_MAX: usize = 512;
/// Joined frames whose room is kept.
const SPARE_MAX: usize = 64;

/// The chunks, and the way home for those of others.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) umem: Arc<Umem>,
    pub(super) free: Vec<Chunk>,
    worker: usize,
    /// Chunks of each worker: numbers below this are the first one's, and so on.
    each: u32,
    home: Option<(Post<Chunk>, Mailbox<Chunk>)>,
    /// Room for frames in several buffers, used again.
    spare: Vec<Vec<u8>>,
}

impl Store {
    pub(super) fn new(umem: Arc<Umem>, worker: usize, free: Vec<Chunk>, each: u32) -> Self {
        Self { umem, free, worker, each: each.max(1), home: None, spare: Vec::new() }
    }

    /// Opens the way home; each mailbox has room for all chunks of its worker.
    pub(super) fn connect(&mut self, post: Post<Chunk>, mailbox: Mailbox<Chunk>) {
        self.home = Some((post, mailbox));
    }

    /// Takes a chunk that is used no more.
    pub(super) fn give_back(&mut self, chunk: Chunk) {
        let owner = (chunk.number() / self.each) as usize;
        match &self.home {
            Some((post, _)) if owner != self.worker => {
                // It has room for all chunks there are of its worker, or that one is gone with all
                // of its sockets.
                let _ = post.put(owner, chunk);
            }
            _ => self.free.push(chunk),
        }
    }

    /// Takes all chunks of a frame.
    pub(super) fn discard(&mut self, packet: Packet) {
        for piece in packet.pieces() {
            self.give_back(piece.chunk);
        }
    }

    /// Takes in what came home.
    pub(super) fn collect(&mut self) {
        let Some((_, mailbox)) = &self.home else { return };
        while let Some(chunk) = mailbox.take() {
            self.free.push(chunk);
        }
    }

    /// A frame with these bytes, in chunks of its own; none if there are too few.
    pub(super) fn copy_of(&mut self, bytes: &[u8]) -> Option<Packet> {
        if self.free.len() < bytes.len().div_ceil(CHUNK_BYTES) {
            return None;
        }
        let mut pieces = bytes.chunks(CHUNK_BYTES).filter_map(|part| {
            let mut piece = Piece::of(self.free.pop()?, part.len());
            self.umem.bytes(&mut piece).copy_from_slice(part);
            Some(piece)
        });
        let head = pieces.next()?;
        Some(Packet { head, rest: pieces.collect() })
    }

    /// The bytes of a frame in several buffers, put together; nothing if it lies in one.
    pub(super) fn join(&mut self, packet: &mut Packet) -> Vec<u8> {
        if packet.rest.is_empty() {
            return Vec::new();
        }
        let mut joined = self.spare.pop().unwrap_or_default();
        for piece in std::iter::once(&mut packet.head).chain(&mut packet.rest) {
            joined.extend_from_slice(self.umem.bytes(piece));
        }
        joined
    }

    /// Puts the beginning of the bytes that were joined back into the buffer it came from: nothing
    /// behind the headers is ever changed in a frame that goes on.
    pub(super) fn part(&self, packet: &mut Packet, joined: &[u8]) {
        let head = self.umem.bytes(&mut packet.head);
        let len = head.len().min(HEADERS_MAX);
        if let Some((to, from)) = head.get_mut(..len).zip(joined.get(..len)) {
            to.copy_from_slice(from);
        }
    }

    /// Takes the room of a joined frame back.
    pub(super) fn reuse(&mut self, mut joined: Vec<u8>) {
        if joined.capacity() > 0 && self.spare.len() < SPARE_MAX {
            joined.clear();
            self.spare.push(joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::mailbox::mailboxes;
    use super::*;

    fn store(chunks: u32) -> Store {
        let (umem, free) = Umem::make(chunks).unwrap();
        let free = free.collect();
        Store::new(Arc::new(umem), 0, free, chunks)
    }

    #[test]
    fn a_frame_is_copied_into_as_many_chunks_as_it_needs() {
        for (len, chunks) in [(1, 1), (CHUNK_BYTES - 1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2)]
        {
            let mut store = store(2);
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let mut packet = store.copy_of(&bytes).unwrap();
            assert_eq!((packet.rest.len() + 1, store.free.len()), (chunks, 2 - chunks), "{len}");
            let joined = store.join(&mut packet);
            let whole = if joined.is_empty() {
                store.umem.bytes(&mut packet.head).to_vec()
            } else {
                joined
            };
            assert_eq!(whole, bytes);
            store.discard(packet);
            assert_eq!(store.free.len(), 2);
        }
        let mut store = store(2);
        assert!(store.copy_of(&vec![0; 2 * CHUNK_BYTES + 1]).is_none());
        assert_eq!(store.free.len(), 2, "nothing is lost where there are too few");
    }

    #[test]
    fn what_was_changed_in_the_headers_of_a_joined_frame_is_changed_in_its_buffers() {
        let mut store = store(3);
        let mut packet = store.copy_of(&vec![1; 2 * CHUNK_BYTES + 5]).unwrap();
        let mut joined = store.join(&mut packet);
        for at in [0, HEADERS_MAX - 1, HEADERS_MAX] {
            joined[at] = 9;
        }
        store.part(&mut packet, &joined);
        joined[HEADERS_MAX] = 1;
        assert_eq!(store.join(&mut packet), joined);
        store.reuse(joined);
        assert!(store.join(&mut packet).capacity() >= 2 * CHUNK_BYTES + 5);
    }

    #[test]
    fn chunks_go_home() {
        let (umem, mut free) = Umem::make(4).unwrap();
        let umem = Arc::new(umem);
        let (post, mut boxes) = mailboxes(2, 2).unwrap();
        let mut stores: Vec<Store> = (0..2)
            .map(|worker| Store::new(umem.clone(), worker, free.by_ref().take(2).collect(), 2))
            .collect();
        for store in stores.iter_mut().rev() {
            store.connect(post.clone(), boxes.pop().unwrap());
        }
        let taken = std::mem::take(&mut stores[0].free);
        for chunk in taken {
            stores[1].give_back(chunk);
        }
        assert_eq!((stores[0].free.len(), stores[1].free.len()), (0, 2));
        stores[0].collect();
        assert_eq!((stores[0].free.len(), stores[1].free.len()), (2, 2));
    }
}
