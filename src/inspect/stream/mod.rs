//! One direction of a TCP flow under inspection: bytes put in order and kept until the receiver
//! acknowledged them, so that nothing that was read can be changed by a retransmission. Reads no
//! protocol and holds no frames.

mod gaps;

use crate::model::Reason;
use gaps::Gaps;

pub use gaps::GAP_PIECES_LIMIT;

/// What became of a segment's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The in-order stream grew by this many bytes.
    InOrder(usize),
    /// Kept behind a gap.
    BehindGap,
    /// Nothing new: every byte was there before, with the same value, or was acknowledged.
    Duplicate,
}

/// Bytes of one direction from the first one not yet released.
#[derive(Clone, Debug)]
pub struct StreamHead {
    /// In-order bytes; those before `start` are released.
    kept: Vec<u8>,
    start: usize,
    /// How many of the kept bytes are consumed.
    consumed: usize,
    /// Sequence number of the first kept byte.
    base: u32,
    /// How many of the kept bytes the receiver acknowledged.
    acked: usize,
    gaps: Gaps,
    limit: usize,
    /// So many of the consumed bytes do not count against the limit.
    passed: usize,
}

impl StreamHead {
    /// A stream whose first byte has this sequence number; at most `limit` bytes are kept, but for what
    /// [`Self::allow_passed`] says.
    #[must_use]
    pub const fn new(initial_seq: u32, limit: usize) -> Self {
        Self {
            kept: Vec::new(),
            start: 0,
            consumed: 0,
            base: initial_seq,
            acked: 0,
            gaps: Gaps::new(),
            limit,
            passed: 0,
        }
    }

    /// From now on so many bytes that are consumed, and kept until they are acknowledged, do not count
    /// against the limit.
    pub const fn allow_passed(&mut self, bytes: usize) {
        self.passed = bytes;
    }

    /// The sequence number of the first byte, where that was not known when the stream was made.
    /// Bytes that were taken before are forgotten.
    pub fn begin(&mut self, initial_seq: u32) {
        let kept = self.take_room();
        *self = Self { kept, passed: self.passed, ..Self::new(initial_seq, self.limit) };
    }

    /// Whether there is no memory for bytes yet.
    #[must_use]
    pub const fn has_no_room(&self) -> bool {
        self.kept.capacity() == 0
    }

    /// Memory for bytes to come, for a stream that has none.
    pub fn give_room(&mut self, mut room: Vec<u8>) {
        room.clear();
        if self.has_no_room() {
            self.kept = room;
        }
    }

    /// The memory of a stream that keeps no bytes, or is over, for another one.
    #[must_use]
    pub fn take_room(&mut self) -> Vec<u8> {
        (self.start, self.consumed, self.acked) = (0, 0, 0);
        let mut room = std::mem::take(&mut self.kept);
        room.clear();
        room
    }

    /// Everything before `seq` goes by unread. What was passed before stays so: segments may come
    /// in any order.
    pub fn pass(&mut self, seq: u32) {
        if self.forward(seq).is_some_and(|count| count > self.in_order_len()) {
            self.begin(seq);
        } else {
            self.consumed = self.in_order_len();
        }
    }

    /// Takes the bytes of a segment. Those at places already filled are compared, unless the
    /// receiver acknowledged them: it ignores another copy.
    ///
    /// # Errors
    /// [`Reason::InconsistentRetransmission`] if a byte differs; [`Reason::LimitHeld`] if in-order
    /// bytes, [`Reason::HeldGap`] if bytes behind a gap, do not fit. After an error the stream is
    /// as before.
    pub fn insert(&mut self, seq: u32, bytes: &[u8]) -> Result<Inserted, Reason> {
        let (at, bytes) = self.behind_acked(seq, bytes);
        let end = self.in_order_len();
        if at > end {
            return self.insert_behind_gap(at, bytes);
        }
        let overlap = bytes.len().min(end.saturating_sub(at));
        let Some((old, new)) = bytes.split_at_checked(overlap) else {
            return Ok(Inserted::Duplicate);
        };
        if self.in_order(at, overlap) != old {
            return Err(Reason::InconsistentRetransmission);
        }
        if new.is_empty() {
            return Ok(Inserted::Duplicate);
        }
        self.append(end, new)
    }

    /// In-order bytes that were not consumed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.kept.get(self.start.saturating_add(self.consumed)..).unwrap_or_default()
    }

    /// The first `count` unread bytes need not be shown again. They are kept until acknowledged.
    pub fn consume(&mut self, count: usize) {
        self.consumed = self.consumed.saturating_add(count).min(self.in_order_len());
        self.release();
    }

    /// The receiver acknowledged everything before `ack`. An acknowledgement from before the kept
    /// bytes says nothing new. Tells whether it lies beyond the in-order bytes: the receiver has
    /// bytes that were never seen here, and the stream cannot be read on.
    pub fn acked(&mut self, ack: u32) -> bool {
        let Some(count) = self.forward(ack) else { return false };
        let end = self.in_order_len();
        self.acked = self.acked.max(count.min(end));
        self.release();
        count > end
    }

    /// Bytes kept: unread, consumed but not acknowledged, and behind gaps.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.in_order_len().saturating_add(self.gaps.len())
    }

    /// How many more bytes are kept than the limit, as [`Self::allow_passed`] lets there be.
    #[must_use]
    pub const fn bytes_over_limit(&self) -> usize {
        self.held_bytes().saturating_sub(self.limit)
    }

    /// Those that count against the limit.
    fn counted_bytes(&self) -> usize {
        self.held_bytes().saturating_sub(self.consumed.min(self.passed))
    }

    /// Bytes kept behind gaps.
    #[must_use]
    pub const fn gap_bytes(&self) -> usize {
        self.gaps.len()
    }

    /// Sequence number of the first unread byte.
    #[must_use]
    pub const fn read_seq(&self) -> u32 {
        self.base.wrapping_add(self.consumed as u32)
    }

    /// Sequence number behind the last in-order byte.
    #[must_use]
    pub const fn in_order_end(&self) -> u32 {
        self.base.wrapping_add(self.in_order_len() as u32)
    }

    const fn in_order_len(&self) -> usize {
        self.kept.len().saturating_sub(self.start)
    }

    fn in_order(&self, at: usize, len: usize) -> &[u8] {
        let from = self.start.saturating_add(at);
        self.kept.get(from..from.saturating_add(len)).unwrap_or_default()
    }

    /// How far `seq` lies at or behind the first kept byte; `None` if before it. Sequence numbers
    /// compare within half their circle (RFC 9293 section 3.4).
    const fn forward(&self, seq: u32) -> Option<usize> {
        let distance = seq.wrapping_sub(self.base);
        if distance < 1 << 31 { Some(distance as usize) } else { None }
    }

    /// Cuts off what lies before the first byte that is kept and not acknowledged.
    fn behind_acked<'a>(&self, seq: u32, bytes: &'a [u8]) -> (usize, &'a [u8]) {
        let (at, before) = match self.forward(seq) {
            Some(at) => (at, self.acked.saturating_sub(at)),
            None => {
                let before = self.base.wrapping_sub(seq) as usize;
                (0, before.saturating_add(self.acked))
            }
        };
        (at.max(self.acked), bytes.get(before..).unwrap_or_default())
    }

    fn insert_behind_gap(&mut self, at: usize, bytes: &[u8]) -> Result<Inserted, Reason> {
        if bytes.is_empty() {
            return Ok(Inserted::Duplicate);
        }
        let room = self.limit.saturating_sub(self.counted_bytes());
        // A position in the stream, which never moves, unlike one in the kept bytes.
        let seq = self.base.wrapping_add(u32::try_from(at).map_err(|_| Reason::HeldGap)?);
        let added = self.gaps.insert(self.base, seq, bytes, room)?;
        Ok(if added == 0 { Inserted::Duplicate } else { Inserted::BehindGap })
    }

    /// Appends new bytes at the in-order end, and what was kept behind the gap they close.
    fn append(&mut self, end: usize, new: &[u8]) -> Result<Inserted, Reason> {
        let seq = self.in_order_end();
        let shared = self.gaps.compare(seq, new)?;
        let grown = new.len().saturating_sub(shared);
        if self.counted_bytes().saturating_add(grown) > self.limit {
            return Err(Reason::LimitHeld);
        }
        self.kept.extend_from_slice(new);
        while let Some(piece) = self.gaps.take_reached(self.base, self.in_order_end()) {
            self.kept.extend_from_slice(&piece);
        }
        Ok(Inserted::InOrder(self.in_order_len().saturating_sub(end)))
    }

    /// Lets go of bytes that are consumed and acknowledged. They are moved out only when they are
    /// half of the buffer, so each byte is moved at most once on average.
    fn release(&mut self) {
        let done = self.consumed.min(self.acked);
        if done == 0 {
            return;
        }
        self.consumed = self.consumed.saturating_sub(done);
        self.acked = self.acked.saturating_sub(done);
        self.base = self.base.wrapping_add(done as u32);
        self.start = self.start.saturating_add(done).min(self.kept.len());
        if self.start.saturating_mul(2) >= self.kept.len() {
            self.kept.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests;
