//! A window that moves over a stream: the bytes being looked at lie in one piece, everything before
//! them is forgotten. Reading is faster than mapping a file, and works for pipes.

use super::PACKET_LIMIT_BYTES;
use std::io::{self, Read};

/// Bytes of a stream that are in memory at once: the largest packet with its headers. Chosen to stay in
/// a second-level cache.
pub const WINDOW_BYTES: usize = PACKET_LIMIT_BYTES + HEADER_ROOM_BYTES;

/// The longest header before a packet's bytes is that of a pcapng block, 28 bytes.
const HEADER_ROOM_BYTES: usize = 64;

pub(super) struct Window {
    source: Box<dyn Read + Send>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Where in the stream `start` is.
    offset: u64,
}

impl Window {
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        let buffer = vec![0; WINDOW_BYTES].into_boxed_slice();
        Self { source, buffer, start: 0, end: 0, offset: 0 }
    }

    /// The first `len` bytes from here on, or as many as there are if the stream ends before.
    /// `len` is at most [`WINDOW_BYTES`]; more are never given.
    pub(super) fn need(&mut self, len: usize) -> io::Result<&[u8]> {
        if self.end.saturating_sub(self.start) < len {
            self.fill(len)?;
        }
        Ok(self.bytes(0, len))
    }

    /// `len` bytes at `at` from here on, as far as they are in memory already.
    pub(super) fn bytes(&self, at: usize, len: usize) -> &[u8] {
        let here = self.buffer.get(self.start..self.end).unwrap_or_default();
        let rest = here.get(at..).unwrap_or_default();
        rest.get(..len).unwrap_or(rest)
    }

    /// Goes forward; false if the stream ends before.
    pub(super) fn skip(&mut self, len: u64) -> io::Result<bool> {
        let mut left = len;
        loop {
            let here = self.end.saturating_sub(self.start);
            let step = here.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.start = self.start.saturating_add(step);
            self.offset = self.offset.saturating_add(step as u64);
            left = left.saturating_sub(step as u64);
            if left == 0 {
                return Ok(true);
            }
            self.fill(1)?;
            if self.start == self.end {
                return Ok(false);
            }
        }
    }

    /// Where in the stream we are.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads until `len` bytes are here, the window is full or the stream ends.
    fn fill(&mut self, len: usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        while self.end < len {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            if room.is_empty() {
                break;
            }
            match self.source.read(room) {
                Ok(0) => break,
                Ok(count) => self.end = self.end.saturating_add(count).min(WINDOW_BYTES),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow pipe may.
    struct Drip(io::Cursor<Vec<u8>>);

    impl Read for Drip {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let one = into.len().min(1);
            self.0.read(&mut into[..one])
        }
    }

    fn window(len: usize) -> Window {
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        Window::new(Box::new(io::Cursor::new(bytes)))
    }

    #[test]
    fn a_slow_source_is_read_until_there_is_enough() {
        let mut window = Window::new(Box::new(Drip(io::Cursor::new(vec![1, 2, 3, 4]))));
        assert_eq!(window.need(3).unwrap(), [1, 2, 3]);
        assert!(window.skip(2).unwrap());
        assert_eq!(window.need(5).unwrap(), [3, 4]);
        assert_eq!(window.offset(), 2);
    }

    #[test]
    fn the_window_holds_its_size_and_no_more() {
        for (len, given) in [
            (WINDOW_BYTES - 1, WINDOW_BYTES - 1),
            (WINDOW_BYTES, WINDOW_BYTES),
            (WINDOW_BYTES + 1, WINDOW_BYTES),
        ] {
            assert_eq!(window(2 * WINDOW_BYTES).need(len).unwrap().len(), given);
        }
    }

    #[test]
    fn skipping_goes_further_than_the_window() {
        let mut window = window(3 * WINDOW_BYTES);
        assert!(window.skip(3 * WINDOW_BYTES as u64 - 1).unwrap());
        assert_eq!(window.need(2).unwrap().len(), 1);
        assert!(!window.skip(2).unwrap());
        assert_eq!(window.offset(), 3 * WINDOW_BYTES as u64);
    }
}
