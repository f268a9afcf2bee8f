//! What both back ends do with a batch before it is judged: its room, its frames, its times.

use crate::engine::Frame;
use crate::model::{Span, Timestamp};
use crate::wire::Link;
use std::time::Duration;

/// Turns the frames of an empty vector into ones of another lifetime; never called.
pub(super) fn unborrowed<'a>(frame: Frame<'_>) -> Frame<'a> {
    Frame::new(frame.at, frame.link, frame.number, &mut [])
}

/// A standard duration as the engine's kind.
pub(super) fn span(duration: Duration) -> Span {
    Span::from_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// A frame that has not been judged, and the next number for it.
#[inline]
pub(super) fn frame<'f>(
    now: Timestamp,
    number: &mut u64,
    vouched: bool,
    bytes: &'f mut [u8],
) -> Frame<'f> {
    let mut frame = Frame::new(now, Link::Ethernet, *number, bytes);
    frame.vouched = vouched;
    *number = number.wrapping_add(1);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_between_batches() {
        let mut bytes = [1u8, 2];
        let mut frames: Vec<Frame<'_>> = Vec::with_capacity(64);
        frames.push(Frame::new(Timestamp::ZERO, Link::Ethernet, 0, &mut bytes));
        let place = frames.as_ptr().addr();
        frames.clear();
        let room: Vec<Frame<'static>> = frames.into_iter().map(unborrowed).collect();
        assert_eq!((room.len(), room.as_ptr().addr()), (0, place));
        assert!(room.capacity() >= 64);
    }
}
