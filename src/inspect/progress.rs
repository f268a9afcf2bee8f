//! How far a reader got with the bytes it was shown, and which direction it wants next. Shared by
//! every reader of this room; it says nothing of verdicts.

use crate::model::{Direction, Reason};

/// What one look at bytes gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that need not be shown again; what is behind them is shown again with more behind it.
    /// Never more than was shown. A datagram is never shown again and is consumed whole or not at
    /// all: one that is not consumed is part of a message that is not complete, and waits for it.
    pub consumed: usize,
    /// What those bytes meant.
    pub outcome: Outcome,
}

/// What the bytes read so far mean for the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// More bytes are needed, of this direction or of the other. Bytes consumed belong to the
    /// message decided last. If something was consumed, what is left is shown again at once, in
    /// both directions: a body may end where the next head is already there, and an answer may
    /// free bytes of the other side that waited for it.
    More,
    /// The bytes consumed are no part of a message, but the other side waits for them before
    /// there can be one (HTTP/2's preface and SETTINGS, RFC 9113 section 3.4). They may go while
    /// the decision is pending, if it may still allow. As after `More`, what is left is shown
    /// again.
    Opening,
    /// The bytes behind `consumed`, and all bytes of the other direction not yet consumed, are a
    /// new protocol, to be detected anew (after CONNECT, an upgrade). Bytes consumed belong to
    /// the message decided last.
    Switch,
    /// The facts of a message are complete and `consumed` ends at the message's head: decide, then
    /// let bytes up to `consumed` go and read on.
    Message,
    /// The facts grew without a new message (the ServerHello's version, a client certificate):
    /// decide again.
    Fact,
    /// Nothing later in this flow can be a new message: neither direction is read any more.
    Done,
    /// Malformed, or a bound was reached: inspection of the flow ends with this reason.
    Fault(Reason),
    /// This datagram must go nowhere, for this reason, and changes nothing: whoever it is for would make
    /// nothing of it, or nobody can tell what. Never of a stream.
    Refused(Reason),
}

impl Progress {
    /// `consumed` bytes and what they meant.
    #[must_use]
    pub const fn new(consumed: usize, outcome: Outcome) -> Self {
        Self { consumed, outcome }
    }

    /// More bytes are needed behind those not consumed.
    #[must_use]
    pub const fn more(consumed: usize) -> Self {
        Self::new(consumed, Outcome::More)
    }

    /// A message's facts are complete.
    #[must_use]
    pub const fn message(consumed: usize) -> Self {
        Self::new(consumed, Outcome::Message)
    }

    /// The facts grew.
    #[must_use]
    pub const fn fact(consumed: usize) -> Self {
        Self::new(consumed, Outcome::Fact)
    }

    /// Inspection is over.
    #[must_use]
    pub const fn done(consumed: usize) -> Self {
        Self::new(consumed, Outcome::Done)
    }

    /// Inspection ends with a reason; nothing is consumed.
    #[must_use]
    pub const fn fault(reason: Reason) -> Self {
        Self::new(0, Outcome::Fault(reason))
    }

    /// A datagram goes nowhere; nothing is consumed.
    #[must_use]
    pub const fn refused(reason: Reason) -> Self {
        Self::new(0, Outcome::Refused(reason))
    }
}

/// Which directions must be read, and so held, before more can be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wants {
    /// The way of the flow's first packet.
    pub original: bool,
    /// The other way.
    pub reply: bool,
}

impl Wants {
    /// Neither direction.
    pub const NOTHING: Self = Self { original: false, reply: false };
    /// Both directions.
    pub const BOTH: Self = Self { original: true, reply: true };
    /// The original direction alone.
    pub const ORIGINAL: Self = Self { original: true, reply: false };
    /// The reply direction alone.
    pub const REPLY: Self = Self { original: false, reply: true };

    /// One direction alone.
    #[must_use]
    pub const fn only(direction: Direction) -> Self {
        match direction {
            Direction::Original => Self::ORIGINAL,
            Direction::Reply => Self::REPLY,
        }
    }

    /// Whether bytes of `direction` are wanted.
    #[must_use]
    pub const fn has(self, direction: Direction) -> bool {
        match direction {
            Direction::Original => self.original,
            Direction::Reply => self.reply,
        }
    }

    /// Whether neither direction is wanted.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        !self.original && !self.reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wanting_one_direction_is_not_wanting_the_other() {
        for direction in [Direction::Original, Direction::Reply] {
            assert!(Wants::only(direction).has(direction));
            assert!(!Wants::only(direction).has(direction.flip()));
        }
        assert!(Wants::NOTHING.is_nothing());
        assert!(!Wants::BOTH.is_nothing());
    }

    #[test]
    fn a_fault_consumes_nothing() {
        assert_eq!(Progress::fault(Reason::TlsMalformed).consumed, 0);
    }
}
