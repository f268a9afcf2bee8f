//! A batch: frames in one piece of memory, made once and used again and again.

use crate::engine::{Frame, Output};
use crate::io::pcap::CapturedPacket;
use crate::model::{Timestamp, Verdict};
use crate::wire::Link;

/// Frames in one batch.
pub const BATCH_FRAMES: usize = 256;

/// A batch with more bytes than this takes no further frame.
pub const BATCH_BYTES: usize = 1 << 20;

/// Frames on their way to a worker and back, with what the worker gave.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    /// What came of it besides the verdicts.
    pub out: Output,
}

/// One frame of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) number: u64,
    now: Timestamp,
    pub(super) about: About,
    pub(super) verdict: Verdict,
    start: usize,
    len: usize,
}

/// What a frame has besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) at: Timestamp,
    pub(super) link: Link,
    pub(super) original_len: u32,
}

impl Batch {
    /// Copies a packet into the batch. `number` is its place among all packets of the run, `now` the
    /// time of the run when it comes: its own, or a later one if packets before it had that.
    pub fn push(&mut self, number: u64, now: Timestamp, packet: &CapturedPacket<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packet.bytes);
        let CapturedPacket { at, link, bytes, original_len } = *packet;
        let about = About { at, link, original_len };
        let verdict = Verdict::Hold;
        self.slots.push(Slot { number, now, about, verdict, start, len: bytes.len() });
    }

    /// Whether no further frame should come in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.slots.len() >= BATCH_FRAMES || self.bytes.len() >= BATCH_BYTES
    }

    /// Whether there is no frame in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Forgets frames and results, keeping the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.slots.clear();
        self.out.clear();
    }

    /// Lets `judge` see the frames as the engine takes them, and keeps their verdicts.
    pub(super) fn judge(&mut self, judge: impl FnOnce(&mut [Frame<'_>], &mut Output)) {
        let mut rest = self.bytes.as_mut_slice();
        let mut frames = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            let (bytes, behind) = rest.split_at_mut_checked(slot.len).unwrap_or_default();
            rest = behind;
            frames.push(Frame::new(slot.now, slot.about.link, slot.number, bytes));
        }
        judge(&mut frames, &mut self.out);
        for (slot, frame) in self.slots.iter_mut().zip(&frames) {
            slot.verdict = frame.verdict;
        }
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn bytes(&self, slot: &Slot) -> &[u8] {
        let end = slot.start.saturating_add(slot.len);
        self.bytes.get(slot.start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(bytes: &[u8]) -> CapturedPacket<'_> {
        CapturedPacket { at: Timestamp::ZERO, link: Link::RawIp, bytes, original_len: 0 }
    }

    #[test]
    fn a_batch_is_full_at_its_number_of_frames() {
        let mut batch = Batch::default();
        for count in 1..=BATCH_FRAMES + 1 {
            batch.push(0, Timestamp::ZERO, &packet(&[1]));
            assert_eq!(batch.is_full(), count >= BATCH_FRAMES, "{count}");
        }
        batch.clear();
        assert!(batch.is_empty() && !batch.is_full());
    }

    #[test]
    fn a_batch_is_full_at_its_number_of_bytes() {
        for (len, full) in [(BATCH_BYTES - 1, false), (BATCH_BYTES, true), (BATCH_BYTES + 1, true)]
        {
            let mut batch = Batch::default();
            batch.push(0, Timestamp::ZERO, &packet(&vec![1; len]));
            assert_eq!(batch.is_full(), full, "{len}");
        }
    }

    #[test]
    fn every_frame_has_its_own_bytes_and_keeps_its_verdict() {
        let mut batch = Batch::default();
        for len in [3_usize, 0, 5] {
            batch.push(len as u64, Timestamp::ZERO, &packet(&vec![len as u8; len]));
        }
        batch.judge(|frames, _| {
            for frame in frames {
                assert_eq!(frame.bytes.len() as u64, frame.number);
                frame.bytes.fill(9);
                frame.verdict = Verdict::Forward;
            }
        });
        for (slot, len) in batch.slots().iter().zip([3, 0, 5]) {
            assert_eq!(batch.bytes(slot), vec![9; len]);
            assert_eq!(slot.verdict, Verdict::Forward);
        }
    }
}
