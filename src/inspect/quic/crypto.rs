//! The CRYPTO stream of Initial packets (RFC 9000 section 19.6), put together by offset. It knows
//! bytes and offsets, not what they mean.

use crate::model::Reason;
use crate::wire::near;

/// The longest stream that is kept.
pub const STREAM_LIMIT_BYTES: usize = 64 * 1024;
/// The most separate ranges there may be at once.
pub const RANGES_LIMIT: usize = 64;

/// A stream with gaps.
#[derive(Debug, Default)]
pub struct Crypto {
    data: Vec<u8>,
    /// How much is there without a gap, from the start.
    prefix: usize,
    /// What is there behind that: sorted, apart from each other.
    apart: Vec<(usize, usize)>,
}

impl Crypto {
    /// Puts `bytes` at `offset`.
    ///
    /// # Errors
    /// [`Reason::LimitInspection`] at a bound, [`Reason::InconsistentRetransmission`] if bytes
    /// there already are others.
    pub fn insert(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Reason> {
        let start = usize::try_from(offset).map_err(|_| Reason::LimitInspection)?;
        let end = start.checked_add(bytes.len()).ok_or(Reason::LimitInspection)?;
        if end > STREAM_LIMIT_BYTES {
            return Err(Reason::LimitInspection);
        }
        if start == end {
            return Ok(());
        }
        self.compare(start, end, bytes)?;
        if self.data.len() < start {
            self.data.resize(start, 0);
        }
        let inside = self.data.len().min(end).saturating_sub(start);
        let (old, new) = bytes.split_at_checked(inside).unwrap_or((bytes, &[]));
        if let Some(room) = self.data.get_mut(start..).and_then(|room| room.get_mut(..inside)) {
            room.copy_from_slice(old);
        }
        self.data.extend_from_slice(new);
        self.merge(start, end)
    }

    /// What is there without a gap, from the start.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        self.data.get(..self.prefix).unwrap_or_default()
    }

    /// Forgets the stream; memory of at most so many bytes is kept for another one.
    pub fn clear(&mut self, kept_bytes: usize) {
        let mut data = std::mem::take(&mut self.data);
        data.clear();
        if data.capacity() > kept_bytes {
            data = Vec::new();
        }
        *self = Self { data, ..Self::default() };
    }

    /// Brings the memory for a stream near.
    pub fn prefetch_room(&self) {
        near::prefetch_room(&self.data);
    }

    /// Where the last byte ends.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.data.len()
    }

    /// Bytes that are there twice must be the same.
    fn compare(&self, start: usize, end: usize, bytes: &[u8]) -> Result<(), Reason> {
        for &(from, to) in std::iter::once(&(0, self.prefix)).chain(&self.apart) {
            let (from, to) = (from.max(start), to.min(end));
            if from >= to {
                continue;
            }
            let new = bytes.get(from.saturating_sub(start)..to.saturating_sub(start));
            if new != self.data.get(from..to) {
                return Err(Reason::InconsistentRetransmission);
            }
        }
        Ok(())
    }

    fn merge(&mut self, start: usize, end: usize) -> Result<(), Reason> {
        let first = self.apart.partition_point(|range| range.1 < start);
        let last = self.apart.partition_point(|range| range.0 <= end);
        let touched = self.apart.get(first..last).unwrap_or_default();
        let from = touched.first().map_or(start, |range| range.0.min(start));
        let to = touched.last().map_or(end, |range| range.1.max(end));
        let grows = self.prefix > 0 && start <= self.prefix;
        let ranges = self.apart.len().saturating_add(usize::from(self.prefix > 0));
        if touched.is_empty() && !grows && ranges >= RANGES_LIMIT {
            return Err(Reason::LimitInspection);
        }
        if grows || start == 0 {
            self.prefix = self.prefix.max(to);
            self.apart.drain(first..last);
        } else {
            self.apart.splice(first..last, [(from, to)]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_stream_ends_at_its_limit() {
        for (end, fits) in [
            (STREAM_LIMIT_BYTES - 1, true),
            (STREAM_LIMIT_BYTES, true),
            (STREAM_LIMIT_BYTES + 1, false),
        ] {
            let put = Crypto::default().insert(end as u64 - 1, &[1]);
            assert_eq!(put, if fits { Ok(()) } else { Err(Reason::LimitInspection) });
        }
        assert_eq!(Crypto::default().insert(u64::MAX, &[1]), Err(Reason::LimitInspection));
    }

    #[test]
    fn ranges_end_at_their_limit() {
        for (count, fits) in
            [(RANGES_LIMIT - 1, true), (RANGES_LIMIT, true), (RANGES_LIMIT + 1, false)]
        {
            let mut crypto = Crypto::default();
            let put = (0..count).try_for_each(|at| crypto.insert(at as u64 * 2 + 1, &[1]));
            assert_eq!(put, if fits { Ok(()) } else { Err(Reason::LimitInspection) }, "{count}");
        }
    }

    #[test]
    fn the_first_range_counts_among_the_others() {
        for (count, fits) in
            [(RANGES_LIMIT - 1, true), (RANGES_LIMIT, true), (RANGES_LIMIT + 1, false)]
        {
            let mut crypto = Crypto::default();
            let put = (0..count).try_for_each(|at| crypto.insert(at as u64 * 2, &[1]));
            assert_eq!(put, if fits { Ok(()) } else { Err(Reason::LimitInspection) }, "{count}");
            let mut crypto = Crypto::default();
            let put = (0..count).rev().try_for_each(|at| crypto.insert(at as u64 * 2, &[1]));
            assert_eq!(put, if fits { Ok(()) } else { Err(Reason::LimitInspection) }, "{count}");
        }
    }

    #[test]
    fn memory_is_kept_up_to_its_size_and_what_was_in_it_is_not() {
        for (capacity, kept) in [(99, true), (100, true), (101, false)] {
            let mut crypto = Crypto { data: Vec::with_capacity(capacity), ..Crypto::default() };
            crypto.insert(0, b"abc").unwrap();
            crypto.insert(9, b"j").unwrap();
            crypto.clear(100);
            assert_eq!(crypto.data.capacity() > 0, kept, "{capacity}");
            assert_eq!((crypto.prefix(), crypto.end()), (&b""[..], 0));
            crypto.insert(1, b"bcd").unwrap();
            assert_eq!(crypto.prefix(), b"", "the first byte is not there");
        }
    }

    #[test]
    fn an_overlap_that_disagrees_is_told() {
        let mut crypto = Crypto::default();
        crypto.insert(0, b"abcdef").unwrap();
        assert_eq!(crypto.insert(3, b"defghi"), Ok(()));
        assert_eq!(crypto.insert(4, b"Xf"), Err(Reason::InconsistentRetransmission));
        assert_eq!(crypto.prefix(), b"abcdefghi");
    }

    proptest! {
        #[test]
        fn any_order_and_any_overlap_gives_the_stream(
            cuts in prop::collection::vec((0_usize..300, 1_usize..80), 0..60),
        ) {
            let stream: Vec<u8> = (0..300_u32).map(|at| (at * 7 % 251) as u8).collect();
            let mut crypto = Crypto::default();
            let mut there = vec![false; 300];
            for (start, len) in cuts {
                let end = (start + len).min(300);
                crypto.insert(start as u64, &stream[start..end]).unwrap();
                there[start..end].fill(true);
                let prefix = there.iter().position(|byte| !byte).unwrap_or(300);
                prop_assert_eq!(crypto.prefix(), &stream[..prefix]);
            }
        }
    }
}
