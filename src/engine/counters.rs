//! Plain sums, one number for each verdict and reason. Merged over workers by the reader.

use super::record::Ended;
use crate::model::{Reason, Verdict};

const ENDINGS: usize = Ended::ALL.len();
const REASONS: usize = Reason::ALL.len();

/// What an engine counted since it was made.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Frames judged.
    pub received: u64,
    /// Bytes of them.
    pub received_bytes: u64,
    /// Frames forwarded, those released from holding included.
    pub forwarded: u64,
    /// Frames held when they came.
    pub held: u64,
    /// Held frames that left later.
    pub released: u64,
    /// Answers made.
    pub answers: u64,
    /// Flows opened.
    pub flows: u64,
    /// Frames that belong to no segment and were not told of one by one.
    pub strangers_held_back: u64,
    ended: [u64; ENDINGS],
    dropped: [u64; REASONS],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            received: 0,
            received_bytes: 0,
            forwarded: 0,
            held: 0,
            released: 0,
            answers: 0,
            flows: 0,
            strangers_held_back: 0,
            ended: [0; ENDINGS],
            dropped: [0; REASONS],
        }
    }
}

impl Counters {
    /// Frames dropped for `reason`, held ones that never left included.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Flows that ended in this way.
    #[must_use]
    pub fn ended(&self, how: Ended) -> u64 {
        self.ended.get(how as usize).copied().unwrap_or(0)
    }

    /// Frames dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Frames still held: received, and neither forwarded nor dropped.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.received.saturating_sub(self.forwarded).saturating_sub(self.dropped_total())
    }

    /// Adds what another engine counted.
    pub fn merge(&mut self, other: &Self) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.forwarded += other.forwarded;
        self.held += other.held;
        self.released += other.released;
        self.answers += other.answers;
        self.flows += other.flows;
        self.strangers_held_back += other.strangers_held_back;
        for (sum, more) in self.ended.iter_mut().zip(other.ended) {
            *sum += more;
        }
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
    }

    pub(super) fn count(&mut self, verdict: Verdict, bytes: usize) {
        self.received += 1;
        self.received_bytes += bytes as u64;
        match verdict {
            Verdict::Forward => self.forwarded += 1,
            Verdict::Hold => self.held += 1,
            Verdict::Drop(reason) => self.drop_held(reason),
        }
    }

    pub(super) fn drop_held(&mut self, reason: Reason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub(super) fn end(&mut self, how: Ended) {
        if let Some(count) = self.ended.get_mut(how as usize) {
            *count += 1;
        }
    }

    pub(super) fn release(&mut self) {
        self.released += 1;
        self.forwarded += 1;
    }
}
