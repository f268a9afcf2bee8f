//! The first packets of denied flows, kept to be looked at: a ring that forgets the oldest. Off
//! unless asked for.

use crate::engine::Frame;
use crate::io::live::Skew;
use crate::model::{Reason, Timestamp, Verdict};
use crate::wire::Link;
use std::collections::VecDeque;

/// A packet that was not forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// When it came.
    pub at: Timestamp,
    /// The link layer its bytes start with.
    pub link: Link,
    /// Why it was dropped.
    pub reason: Reason,
    /// Its length as received.
    pub original_len: u32,
    /// Its beginning.
    pub bytes: Vec<u8>,
}

/// The last packets that were dropped, but for those that follow a flow's denial.
#[derive(Debug)]
pub struct Ring {
    kept: VecDeque<Kept>,
    packets: usize,
    bytes: usize,
}

impl Ring {
    /// Keeps `packets` packets, the first `bytes` bytes of each.
    #[must_use]
    pub const fn new(packets: usize, bytes: usize) -> Self {
        Self { kept: VecDeque::new(), packets, bytes }
    }

    /// Notes what a batch dropped, as the system's time has it.
    pub fn note(&mut self, frames: &[Frame<'_>], skew: Skew) {
        if self.packets == 0 {
            return;
        }
        for frame in frames {
            let Verdict::Drop(reason) = frame.verdict else { continue };
            if reason == Reason::FlowDenied {
                continue;
            }
            while self.kept.len() >= self.packets {
                self.kept.pop_front();
            }
            let bytes = frame.bytes.get(..self.bytes.min(frame.bytes.len())).unwrap_or_default();
            self.kept.push_back(Kept {
                at: skew.apply(frame.at),
                link: frame.link,
                reason,
                original_len: u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX),
                bytes: bytes.to_vec(),
            });
        }
    }

    /// What is kept now, oldest first.
    #[must_use]
    pub fn kept(&self) -> Vec<Kept> {
        self.kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_packet_goes_when_there_is_no_room() {
        for (count, kept) in [(0, 0), (2, 2), (3, 3), (4, 3)] {
            let mut ring = Ring::new(3, 2);
            for number in 0..count {
                let mut bytes = [number, 1, 2];
                let mut frame = Frame::new(Timestamp::ZERO, Link::RawIp, 0, &mut bytes);
                frame.verdict = Verdict::Drop(Reason::Otherwise);
                ring.note(&[frame], Skew::NONE);
            }
            let all = ring.kept();
            assert_eq!(all.len(), kept);
            assert!(all.iter().all(|kept| kept.bytes.len() == 2 && kept.original_len == 3));
            assert_eq!(all.last().map(|kept| kept.bytes[0]), count.checked_sub(1));
        }
    }

    #[test]
    fn what_passes_and_what_follows_a_denial_is_not_kept() {
        let mut ring = Ring::new(3, 2);
        for verdict in [Verdict::Forward, Verdict::Hold, Verdict::Drop(Reason::FlowDenied)] {
            let mut bytes = [0];
            let mut frame = Frame::new(Timestamp::ZERO, Link::RawIp, 0, &mut bytes);
            frame.verdict = verdict;
            ring.note(&[frame], Skew::NONE);
        }
        assert_eq!(ring.kept(), []);
    }
}
