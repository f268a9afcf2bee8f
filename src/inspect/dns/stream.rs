//! DNS over a stream: each message behind its length (RFC 1035 section 4.2.2, RFC 7766 section 8).

use super::{HEADER_BYTES, read_query};
use crate::inspect::bytes::Reader;
use crate::inspect::progress::{Outcome, Progress, Wants};
use crate::model::{Direction, Facts, Reason};

/// Reads the messages of one connection. Keeps nothing between messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct DnsStreamReader;

impl DnsStreamReader {
    /// A connection at the start of a message.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// Reads at most one message. A message of the client is a message to decide; one of the server
    /// is consumed alone, so that the consumed bytes behind the length are that message.
    pub fn read(&mut self, direction: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        let Some(message) = Reader::new(bytes).vec16() else { return self.waiting(bytes) };
        let consumed = message.len().saturating_add(2);
        if direction == Direction::Reply {
            return Progress::more(consumed);
        }
        match read_query(message, facts) {
            Ok(()) => Progress::message(consumed),
            Err(reason) => Progress::new(consumed, Outcome::Fault(reason)),
        }
    }

    /// The client's messages; the server's answers are for who wants to remember them.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        Wants::ORIGINAL
    }

    /// A message that is not there whole: one too short for a header need not be waited for.
    fn waiting(self, bytes: &[u8]) -> Progress {
        match Reader::new(bytes).u16() {
            Some(len) if usize::from(len) < HEADER_BYTES => Progress::fault(Reason::DnsMalformed),
            _ => Progress::more(0),
        }
    }
}

/// The messages in consumed bytes of a DNS stream, each without its length.
pub fn messages(consumed: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut reader = Reader::new(consumed);
    std::iter::from_fn(move || reader.vec16())
}
