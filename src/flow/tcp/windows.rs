//! The arithmetic of windows: which segments fit, and how they move the bounds.

use super::{ACK_WINDOW_MIN, NO_SCALE, SCALE_MAX, Segment, Side, TcpTracker, UNSEEN, flag};
use crate::model::{Direction, Reason};

/// The largest window there is (RFC 7323 section 2.3).
const LOOSE_WINDOW: u32 = 0xffff << SCALE_MAX;

/// Whether `a` is ahead of `b` on the circle of sequence numbers (RFC 9293 section 3.4).
pub(super) const fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

/// The one farther ahead on the circle of sequence numbers.
const fn later(a: u32, b: u32) -> u32 {
    if after(a, b) { a } else { b }
}

impl TcpTracker {
    /// The four bounds of the module documentation.
    #[inline]
    pub(super) fn check(&self, direction: Direction, segment: &Segment) -> Result<(), Reason> {
        self.check_seq(direction, segment)?;
        if segment.has(flag::ACK) { self.check_ack(direction, segment.ack) } else { Ok(()) }
    }

    /// Bounds 1 and 2. A keep-alive (RFC 9293 section 3.8.4) repeats the last sequence number and
    /// stays within them, as does the probe of a closed window (section 3.8.6.1).
    #[inline]
    pub(super) fn check_seq(&self, direction: Direction, segment: &Segment) -> Result<(), Reason> {
        let sender = self.side(direction);
        let oldest = sender.end.wrapping_sub(self.max_window(direction.flip()).max(1));
        if after(segment.seq, sender.max_end) || after(oldest, segment.end()) {
            return Err(Reason::TcpWindow);
        }
        Ok(())
    }

    /// Whether `seq` lies among what was sent last: as much of it as the other side ever had room for.
    pub(super) fn is_recent(&self, direction: Direction, seq: u32) -> bool {
        let end = self.side(direction).end;
        let room = self.max_window(direction.flip()).max(ACK_WINDOW_MIN);
        !after(seq, end) && !after(end.wrapping_sub(room), seq)
    }

    /// Bounds 3 and 4.
    #[inline]
    pub(super) fn check_ack(&self, direction: Direction, ack: u32) -> Result<(), Reason> {
        let receiver = self.side(direction.flip());
        let window = self.max_window(direction).max(ACK_WINDOW_MIN);
        if after(ack, receiver.end) || after(receiver.end.wrapping_sub(window), ack) {
            return Err(Reason::TcpWindow);
        }
        Ok(())
    }

    /// Moves the bounds by a segment that fits.
    #[inline]
    pub(super) fn account(&mut self, direction: Direction, segment: &Segment) {
        let end = segment.end();
        let scale = self.scale(direction.flip());
        let sender = self.side_mut(direction);
        if after(end, sender.end) {
            let before = later(sender.max_end, sender.end);
            sender.end = end;
            if after(end, before) {
                // More was sent than there was room for, and may be sent again: bound 2 must
                // reach as much further back. Bound 1 stays; what starts behind it is refused.
                self.widen(direction.flip(), end.wrapping_sub(before).div_ceil(1 << scale));
            }
        }
        if !segment.has(flag::ACK) {
            return;
        }
        let window = self.offered(direction, segment);
        let units = window.div_ceil(1 << self.scale(direction));
        let known = self.max_windows.get_mut(direction.index());
        if let (Some(known), Ok(units)) = (known, u16::try_from(units)) {
            *known = units.max(*known);
        }
        // A probe's one byte is sent, so that what follows it may start behind it.
        let room = segment.ack.wrapping_add(window.max(1));
        let receiver = self.side_mut(direction.flip());
        if after(room, receiver.max_end) {
            receiver.max_end = room;
        }
    }

    /// Starts a side from its SYN.
    pub(super) fn begin(&mut self, direction: Direction, syn: &Segment) {
        let scale = syn.wscale.map_or(NO_SCALE, |scale| scale.min(SCALE_MAX));
        let shift = if direction == Direction::Original { 0 } else { 4 };
        self.scales = self.scales & !(0x0f << shift) | scale << shift;
        let end = syn.end();
        *self.side_mut(direction) = Side { end, max_end: end };
        if let Some(window) = self.max_windows.get_mut(direction.index()) {
            *window = syn.window;
        }
    }

    /// Both SYNs have been seen: scaling holds in both directions or in none (RFC 7323 section
    /// 2.2), and each side may send what the other's SYN offered, which is never scaled.
    pub(super) fn settle_windows(&mut self) {
        if self.scales >> 4 == NO_SCALE || self.scales & 0x0f == NO_SCALE {
            self.scales = 0;
        }
        for direction in [Direction::Original, Direction::Reply] {
            let scale = self.scale(direction);
            let Some(window) = self.max_windows.get_mut(direction.index()) else { continue };
            let offered = u32::from(*window).max(1);
            *window = offered.div_ceil(1 << scale) as u16;
            let receiver = self.side_mut(direction.flip());
            receiver.max_end = receiver.end.wrapping_add(offered);
        }
    }

    /// A segment of an adopted connection of which one side was never seen: what it says is
    /// believed. Once the second side is met, the first may send what that one offers.
    pub(super) fn meet(&mut self, direction: Direction, segment: &Segment) {
        self.set_bit(UNSEEN, direction, false);
        let alone = self.bit(UNSEEN, direction.flip());
        let sender = self.side_mut(direction);
        sender.end = later(sender.end, segment.end());
        sender.max_end = if alone {
            sender.end.wrapping_add(LOOSE_WINDOW)
        } else {
            later(sender.max_end, sender.end)
        };
        let receiver = self.side_mut(direction.flip());
        if segment.has(flag::ACK) {
            receiver.end = later(receiver.end, segment.ack);
        }
        if !alone {
            receiver.max_end = receiver.end;
        }
    }

    /// The window a segment offers, in bytes.
    fn offered(&self, direction: Direction, segment: &Segment) -> u32 {
        let scale = if segment.has(flag::SYN) { 0 } else { self.scale(direction) };
        u32::from(segment.window) << scale
    }

    /// The largest window the side of `direction` has offered, in bytes.
    fn max_window(&self, direction: Direction) -> u32 {
        let units = self.max_windows.get(direction.index()).copied().unwrap_or_default();
        u32::from(units) << self.scale(direction)
    }

    fn widen(&mut self, direction: Direction, units: u32) {
        if let Some(window) = self.max_windows.get_mut(direction.index()) {
            *window = window.saturating_add(u16::try_from(units).unwrap_or(u16::MAX));
        }
    }

    pub(super) const fn scale(&self, direction: Direction) -> u8 {
        let scale = match direction {
            Direction::Original => self.scales & 0x0f,
            Direction::Reply => self.scales >> 4,
        };
        if scale == NO_SCALE { 0 } else { scale }
    }
}
