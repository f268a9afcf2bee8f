//! What one engine may use. Every bound of the engine that a user can set stands here.

use crate::flow::Timeouts;
use crate::model::Span;

/// Bounds of one engine (of one worker; the instance's totals divided by their number).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Flows known at once.
    pub flows: usize,
    /// Bytes of frames held for undecided flows, in total.
    pub held_bytes: usize,
    /// Bytes of frames held for one flow.
    pub held_bytes_per_flow: usize,
    /// Flows under inspection at once; beyond, a flow that needs inspection is refused.
    pub inspections: usize,
    /// Bytes of one direction of a stream read for the record alone, before reading stops.
    pub unasked_bytes: usize,
    /// Fragmented packets waited for at once.
    pub fragmented: usize,
    /// Answers (RST, ICMP, DNS REFUSED) a second.
    pub answers_per_second: u32,
    /// How long an undecided flow may wait.
    pub pending_timeout: Span,
    /// Idle times of flows.
    pub timeouts: Timeouts,
    /// Names kept for the record of one flow.
    pub names_per_flow: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: 1 << 20,
            held_bytes: 64 << 20,
            held_bytes_per_flow: 96 << 10,
            inspections: 1 << 18,
            unasked_bytes: 64 << 10,
            fragmented: 4096,
            answers_per_second: 1000,
            pending_timeout: Span::from_secs(5),
            timeouts: Timeouts::default(),
            names_per_flow: 256,
        }
    }
}
