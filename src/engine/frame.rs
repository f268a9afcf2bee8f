//! What goes into the engine and what comes out of it. No behaviour.

use super::bindings::Answered;
use super::record::Event;
use crate::model::{Reason, Timestamp, Verdict};
use crate::wire::Link;

/// One received frame. The engine judges it where it lies: a forwarded frame has its outer
/// addresses swapped in place and is ready to be sent from the same buffer.
#[derive(Debug)]
pub struct Frame<'a> {
    /// When it was received.
    pub at: Timestamp,
    /// The link layer its bytes start with.
    pub link: Link,
    /// All its bytes.
    pub bytes: &'a mut [u8],
    /// Whether network card or kernel vouch for its outer UDP checksum, which is then not read again.
    pub vouched: bool,
    /// The sender's number for it, kept through holding so that a release can be told apart.
    pub number: u64,
    /// What is to be done with it; [`Verdict::Drop`] until judged.
    pub verdict: Verdict,
}

impl<'a> Frame<'a> {
    /// A frame that has not been judged.
    pub fn new(at: Timestamp, link: Link, number: u64, bytes: &'a mut [u8]) -> Self {
        Self { at, link, bytes, vouched: false, number, verdict: Verdict::Drop(Reason::Truncated) }
    }
}

/// What an extra frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A frame held earlier, leaving now; the number it came with.
    Held(u64),
    /// An answer the engine made itself (RST, ICMP, DNS REFUSED) to the frame before it.
    Answer,
    /// The same where no frame caused it: the time of what waited was up.
    Overdue,
}

/// A frame to send that is none of the batch's own.
#[derive(Debug, PartialEq, Eq)]
pub struct Extra {
    /// It is sent before the frame at this position of the batch (the batch's length: after all).
    pub before: usize,
    /// Where it comes from.
    pub origin: Origin,
    /// The link layer its bytes start with.
    pub link: Link,
    /// The whole frame.
    pub bytes: Vec<u8>,
}

/// A frame that was held and will never be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// The number it came with.
    pub number: u64,
    /// Why it does not leave.
    pub reason: Reason,
}

/// Everything a batch gives besides the verdicts of its own frames. Emptied by the caller and used
/// again.
#[derive(Debug, Default)]
pub struct Output {
    /// Frames to send, in order of `before`.
    pub extras: Vec<Extra>,
    /// Held frames that will not leave.
    pub discards: Vec<Discard>,
    /// Flows that began or ended.
    pub events: Vec<Event>,
    /// DNS answers that were let through and that rules may ask for. Where several engines share a
    /// policy, each is told of the others' by [`super::Engine::learn`] before the frames of this batch
    /// leave, so that no client can act on an answer earlier than every engine knows it.
    pub answers: Vec<Answered>,
}

impl Output {
    /// Empties it, keeping its room.
    pub fn clear(&mut self) {
        self.extras.clear();
        self.discards.clear();
        self.events.clear();
        self.answers.clear();
    }
}
