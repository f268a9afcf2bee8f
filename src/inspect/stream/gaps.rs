//! Bytes of a stream that came before those in front of them: pieces in order, never overlapping.

use crate::model::Reason;

/// Pieces kept behind gaps in one direction of a flow.
pub const GAP_PIECES_LIMIT: usize = 64;

/// Out-of-order pieces, sorted by their place in the stream. Two pieces never share a byte.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    pieces: Vec<(u32, Vec<u8>)>,
    len: usize,
}

impl Gaps {
    pub(super) const fn new() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }

    /// Bytes in all pieces.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// How many of `bytes`, which start at `seq`, are here already.
    ///
    /// # Errors
    /// [`Reason::InconsistentRetransmission`] if one of them differs.
    pub(super) fn compare(&self, seq: u32, bytes: &[u8]) -> Result<usize, Reason> {
        let mut shared = 0_usize;
        for (start, piece) in &self.pieces {
            let (ours, theirs) = overlap(*start, piece, seq, bytes);
            if ours != theirs {
                return Err(Reason::InconsistentRetransmission);
            }
            shared = shared.saturating_add(ours.len());
        }
        Ok(shared)
    }

    /// Keeps those of `bytes` that are not here; says how many. `base` is a sequence number before
    /// every piece, from which order is told; at most `room` bytes are added.
    pub(super) fn insert(
        &mut self,
        base: u32,
        seq: u32,
        bytes: &[u8],
        room: usize,
    ) -> Result<usize, Reason> {
        let shared = self.compare(seq, bytes)?;
        let added = bytes.len().saturating_sub(shared);
        if added == 0 {
            return Ok(0);
        }
        let fresh = self.missing(seq, bytes);
        if added > room || self.pieces.len().saturating_add(fresh.len()) > GAP_PIECES_LIMIT {
            return Err(Reason::HeldGap);
        }
        self.pieces.extend(fresh);
        self.pieces.sort_by_key(|(start, _)| start.wrapping_sub(base));
        self.len = self.len.saturating_add(added);
        Ok(added)
    }

    /// The part of the first piece behind `end`, once the in-order bytes reach it.
    pub(super) fn take_reached(&mut self, base: u32, end: u32) -> Option<Vec<u8>> {
        let reach = end.wrapping_sub(base);
        let (start, _) = self.pieces.first()?;
        let before = reach.checked_sub(start.wrapping_sub(base))?;
        let (_, mut piece) = self.pieces.remove(0);
        self.len = self.len.saturating_sub(piece.len());
        piece.drain(..piece.len().min(before as usize));
        Some(piece)
    }

    /// The parts of `bytes` between the pieces.
    fn missing(&self, seq: u32, bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut fresh = Vec::new();
        let mut at = 0_usize;
        for (start, piece) in &self.pieces {
            let offset = start.wrapping_sub(seq).cast_signed();
            let ahead = usize::try_from(offset).unwrap_or(0).min(bytes.len());
            push_range(&mut fresh, seq, bytes, at, ahead);
            let behind = i64::from(offset).saturating_add(piece.len() as i64);
            at = at.max(usize::try_from(behind).unwrap_or(0));
        }
        push_range(&mut fresh, seq, bytes, at, bytes.len());
        fresh
    }
}

fn push_range(out: &mut Vec<(u32, Vec<u8>)>, seq: u32, bytes: &[u8], from: usize, to: usize) {
    if let Some(part) = bytes.get(from..to)
        && !part.is_empty()
    {
        out.push((seq.wrapping_add(from as u32), part.to_vec()));
    }
}

/// The parts of two runs of bytes that lie at the same places.
fn overlap<'a>(a_seq: u32, a: &'a [u8], b_seq: u32, b: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let distance = b_seq.wrapping_sub(a_seq).cast_signed();
    let skip = distance.unsigned_abs() as usize;
    let (a, b) = if distance >= 0 {
        (a.get(skip..).unwrap_or_default(), b)
    } else {
        (a, b.get(skip..).unwrap_or_default())
    };
    let len = a.len().min(b.len());
    (a.get(..len).unwrap_or_default(), b.get(..len).unwrap_or_default())
}
