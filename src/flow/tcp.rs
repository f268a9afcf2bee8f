//! What a connection tracker between two TCPs can know: which segments are possible, and what
//! became of the connection. It holds no bytes and reassembles nothing.
//!
//! Windows are checked as in Guido van Rooij, "Real Stateful TCP Packet Filtering in IP Filter"
//! (2000): what a side may send follows from what the other has acknowledged and offered. Four
//! bounds, for a segment from S to R:
//!
//! 1. it starts no later than the last byte R has offered room for;
//! 2. it ends no earlier than one window before the last byte S has sent;
//! 3. it acknowledges nothing that R has not sent;
//! 4. it acknowledges nothing older than a window before what R has sent.

use super::Timeouts;
use crate::model::{Direction, Reason, Span};
use std::num::NonZeroU8;

/// TCP flag bits as on the wire (RFC 9293 section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
}

/// What the tracker needs of a TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Flags, see [`flag`].
    pub flags: u8,
    /// Window field as on the wire.
    pub window: u16,
    /// Window scale option; looked at only where SYN is set.
    pub wscale: Option<u8>,
    /// Bytes of data.
    pub payload_len: u32,
}

impl Segment {
    const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// The sequence number behind this segment; SYN and FIN take one each (RFC 9293 section 3.4).
    const fn end(&self) -> u32 {
        let marks = self.has(flag::SYN) as u32 + self.has(flag::FIN) as u32;
        self.seq.wrapping_add(self.payload_len).wrapping_add(marks)
    }
}

/// Where a connection stands. The names are those of RFC 9293 section 3.3.2, seen from between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// SYN seen.
    SynSent,
    /// SYN seen from both sides.
    SimultaneousOpen,
    /// SYN and SYN+ACK seen.
    SynReceived,
    /// Handshake complete, or adopted.
    Established,
    /// One side has sent FIN.
    FinWait,
    /// One side has sent FIN and the other acknowledged it; data may still go the other way.
    CloseWait,
    /// Both sides have sent FIN.
    LastAck,
    /// Both FINs are acknowledged.
    TimeWait,
    /// Nothing was ever seen.
    #[default]
    Closed,
    /// Ended by RST.
    Reset,
}

/// What a segment did to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpEvent {
    /// It fits.
    Accepted,
    /// It completed the handshake.
    Established,
    /// It was the first FIN.
    Closing,
    /// It acknowledged the last FIN.
    Closed,
    /// A RST at exactly the next sequence number: the connection is over.
    Reset,
    /// A RST inside the window, but not at its edge. A receiver that follows RFC 5961 section 3.2
    /// answers with a challenge and goes on, others are reset: pass it, keep the flow, and give
    /// it [`Timeouts::tcp_closed`] until its next segment.
    DoubtfulReset,
    /// A SYN on a live connection, with another sequence number while the handshake goes on: pass
    /// it, open a [`Candidate`].
    CandidateSyn {
        /// Its sequence number.
        seq: u32,
    },
    /// A SYN on a connection that is over: forget it and open a new flow.
    Reopen,
}

/// One direction: what its sender sends and may send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Side {
    /// Behind the last byte sent.
    end: u32,
    /// Behind the last byte the other side has offered room for.
    max_end: u32,
}

/// The state of one connection, in 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTracker {
    sides: [Side; 2],
    /// The largest window each side has offered, in units of its scale.
    max_windows: [u16; 2],
    /// Low half of the initial sequence number of the original direction.
    isn: u16,
    /// Window scales, original in the low four bits; [`NO_SCALE`] for not offered.
    scales: u8,
    /// State, plus one, in the low four bits; above it [`FIN`] and [`UNSEEN`] of each side.
    status: NonZeroU8,
}

/// In a SYN without the option; scales end at 14 (RFC 7323 section 2.3).
const NO_SCALE: u8 = 15;
const SCALE_MAX: u8 = 14;
/// The side has sent FIN; once both have: its FIN is not acknowledged yet.
const FIN: u8 = 0x10;
/// Nothing of an adopted connection was seen from this side yet.
const UNSEEN: u8 = 0x40;
const ANY_UNSEEN: u8 = UNSEEN | UNSEEN << 1;
/// An acknowledgement may always be this old: the largest window without scaling and a segment.
const ACK_WINDOW_MIN: u32 = 66_000;

mod observe;
mod windows;

impl Default for TcpTracker {
    fn default() -> Self {
        let mut tracker = Self {
            sides: [Side::default(); 2],
            max_windows: [0; 2],
            isn: 0,
            scales: 0,
            status: NonZeroU8::MIN,
        };
        tracker.set_state(TcpState::Closed);
        tracker
    }
}

impl TcpTracker {
    /// From the SYN (without ACK) that opens a connection; its sender is the original side. Data
    /// on it (TCP Fast Open, RFC 7413) counts as sent.
    #[must_use]
    pub fn open(syn: &Segment) -> Self {
        let mut tracker = Self::default();
        tracker.set_state(TcpState::SynSent);
        tracker.isn = syn.seq as u16;
        tracker.begin(Direction::Original, syn);
        tracker
    }

    /// From a segment in the middle of a connection, sent in `direction`. Until the other side is
    /// seen its segments are believed; windows count as scaled by 14, as the true scale was only
    /// in the SYN.
    #[must_use]
    pub fn adopt(direction: Direction, segment: &Segment) -> Self {
        let mut tracker = Self { scales: SCALE_MAX << 4 | SCALE_MAX, ..Self::default() };
        tracker.set_state(TcpState::Established);
        tracker.set_bit(UNSEEN, Direction::Original, true);
        tracker.set_bit(UNSEEN, Direction::Reply, true);
        tracker.side_mut(direction).end = segment.end();
        let other = tracker.side_mut(direction.flip());
        *other = Side { end: segment.ack, max_end: segment.ack };
        tracker.meet(direction, segment);
        tracker.account(direction, segment);
        tracker.close_step(direction, segment);
        if segment.has(flag::RST) {
            tracker.set_state(TcpState::Reset);
        }
        tracker
    }

    /// Takes the client's acknowledgement of a SYN+ACK that was not seen for that answer: the
    /// connection is as good as adopted, but for the client's sequence numbers, which are known.
    /// Tells whether it can be one; if not, nothing has changed.
    pub fn assume_answer(&mut self, direction: Direction, segment: &Segment) -> bool {
        let end = self.side(Direction::Original).end;
        let sent = end.wrapping_sub(u32::from(self.isn)) as u16;
        let behind_syn = end.wrapping_sub(segment.seq) < u32::from(sent.max(1));
        let plain = segment.has(flag::ACK) && !segment.has(flag::SYN) && !segment.has(flag::RST);
        let fits = self.state() == TcpState::SynSent
            && direction == Direction::Original
            && plain
            && behind_syn;
        if !fits {
            return false;
        }
        // Whether the server scales its windows is not known; the client's scale is.
        let client = self.scales & 0x0f;
        self.scales = if client == NO_SCALE { 0 } else { SCALE_MAX << 4 | client };
        self.set_state(TcpState::Established);
        self.set_bit(UNSEEN, Direction::Original, true);
        self.set_bit(UNSEEN, Direction::Reply, true);
        *self.side_mut(Direction::Reply) = Side { end: segment.ack, max_end: segment.ack };
        self.meet(direction, segment);
        self.account(direction, segment);
        self.close_step(direction, segment);
        true
    }

    /// Takes an acknowledgement of bytes that were not seen, in a segment that fits otherwise: they
    /// came by another way, or the capture lost them. Tells whether that is what is wrong with
    /// `segment`; if not, nothing has changed.
    pub fn forgive_unseen(&mut self, direction: Direction, segment: &Segment) -> bool {
        let receiver = self.side(direction.flip()).end;
        let ahead = windows::after(segment.ack, receiver);
        let plain = segment.flags & (flag::SYN | flag::RST | flag::ACK) == flag::ACK;
        let open = matches!(
            self.state(),
            TcpState::Established | TcpState::FinWait | TcpState::CloseWait | TcpState::LastAck
        );
        if !(open && plain && ahead) || self.check_seq(direction, segment).is_err() {
            return false;
        }
        let unseen = self.side_mut(direction.flip());
        *unseen = Side { end: segment.ack, max_end: segment.ack };
        self.account(direction, segment);
        self.close_step(direction, segment);
        true
    }

    /// Whether nothing of this side was seen yet of a connection that goes on all the same.
    #[must_use]
    pub const fn is_unseen(&self, direction: Direction) -> bool {
        self.bit(UNSEEN, direction)
    }

    /// Where the connection stands.
    #[must_use]
    pub const fn state(&self) -> TcpState {
        match (self.status.get() & 0x0f).wrapping_sub(1) {
            0 => TcpState::SynSent,
            1 => TcpState::SimultaneousOpen,
            2 => TcpState::SynReceived,
            3 => TcpState::Established,
            4 => TcpState::FinWait,
            5 => TcpState::CloseWait,
            6 => TcpState::LastAck,
            7 => TcpState::TimeWait,
            8 => TcpState::Closed,
            _ => TcpState::Reset,
        }
    }

    /// Whether the connection is over and a SYN opens a new one.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state(), TcpState::TimeWait | TcpState::Closed | TcpState::Reset)
    }

    /// How long the connection may now be idle.
    #[must_use]
    pub const fn timeout(&self, timeouts: &Timeouts) -> Span {
        match self.state() {
            TcpState::SynSent | TcpState::SimultaneousOpen | TcpState::SynReceived => {
                timeouts.tcp_half_open
            }
            TcpState::Established => timeouts.tcp_idle,
            TcpState::FinWait | TcpState::CloseWait => timeouts.tcp_closing,
            TcpState::LastAck => timeouts.tcp_last_ack,
            TcpState::TimeWait | TcpState::Closed | TcpState::Reset => timeouts.tcp_closed,
        }
    }

    /// The sequence number behind the last byte the side of `direction` has sent.
    #[must_use]
    pub const fn next_seq(&self, direction: Direction) -> u32 {
        self.side(direction).end
    }

    /// Whether what the side of `direction` has sent and may still wait for an acknowledgement of can
    /// begin a segment at `seq`: what somebody says who has seen such a segment (RFC 5927 section 4.1).
    /// Nothing is known of a side that was never seen.
    #[must_use]
    pub fn may_have_sent(&self, direction: Direction, seq: u32) -> bool {
        self.bit(UNSEEN, direction) || self.is_recent(direction, seq)
    }

    /// Ends the connection, as if it had been reset.
    pub fn reset(&mut self) {
        self.set_state(TcpState::Reset);
    }

    /// What `segment` does to the connection. After an error nothing has changed.
    ///
    /// # Errors
    /// [`Reason::TcpWindow`] outside the window, [`Reason::TcpState`] where the state does not
    /// allow such a segment, [`Reason::TcpClosed`] once the connection is over.
    #[inline]
    pub fn observe(&mut self, direction: Direction, segment: &Segment) -> Result<TcpEvent, Reason> {
        if self.observe_plain(direction, segment) {
            return Ok(TcpEvent::Accepted);
        }
        self.observe_rare(direction, segment)
    }

    /// As [`TcpTracker::observe`], for a segment with nothing but ACK on an established connection
    /// both of whose sides were seen. False: it is another one, or does not fit, and nothing has
    /// changed.
    #[inline]
    pub fn observe_plain(&mut self, direction: Direction, segment: &Segment) -> bool {
        const SEEN_AND_ESTABLISHED: u8 = TcpState::Established as u8 + 1;
        let plain = segment.flags & (flag::SYN | flag::FIN | flag::RST | flag::ACK) == flag::ACK;
        let open = self.status.get() & (0x0f | ANY_UNSEEN) == SEEN_AND_ESTABLISHED;
        if !plain || !open || self.check(direction, segment).is_err() {
            return false;
        }
        self.account(direction, segment);
        true
    }

    const fn side(&self, direction: Direction) -> &Side {
        let [original, reply] = &self.sides;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    const fn side_mut(&mut self, direction: Direction) -> &mut Side {
        let [original, reply] = &mut self.sides;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// State and side bits are kept apart: this changes the state alone.
    fn set_state(&mut self, state: TcpState) {
        let bits = self.status.get() & 0xf0;
        self.status = NonZeroU8::MIN.saturating_add(state as u8) | bits;
    }

    const fn bit(&self, bit: u8, direction: Direction) -> bool {
        self.status.get() & (bit << direction as u8) != 0
    }

    fn set_bit(&mut self, bit: u8, direction: Direction, on: bool) {
        let (mask, low) = (bit << direction as u8, self.status.get() & 0x0f);
        let bits = self.status.get() & 0xf0;
        let bits = if on { bits | mask } else { bits & !mask };
        self.status = NonZeroU8::new(low).unwrap_or(NonZeroU8::MIN) | bits;
    }
}

/// A second connection on the five-tuple of a live one, until its SYN+ACK tells that the server
/// took it (the load balancer may have ended the old flow without our seeing it). The engine keeps
/// it beside the flow, offers it each SYN+ACK before the flow's own tracker, and on `true` starts
/// the flow anew with [`Candidate::tracker`]. Until then the old flow goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The new connection; its original side sent the second SYN.
    pub tracker: TcpTracker,
    /// Which way, in terms of the old flow, the second SYN went.
    pub direction: Direction,
}

impl Candidate {
    /// From the segment that gave [`TcpEvent::CandidateSyn`].
    #[must_use]
    pub fn new(direction: Direction, syn: &Segment) -> Self {
        Self { tracker: TcpTracker::open(syn), direction }
    }

    /// Whether `segment`, going in `direction` of the old flow, is the SYN+ACK of this candidate;
    /// its tracker has then taken the step.
    #[must_use]
    pub fn confirm(&mut self, direction: Direction, segment: &Segment) -> bool {
        direction != self.direction
            && segment.has(flag::SYN | flag::ACK)
            && !segment.has(flag::RST)
            && self.tracker.observe(Direction::Reply, segment).is_ok()
    }
}

#[cfg(test)]
mod tests;
