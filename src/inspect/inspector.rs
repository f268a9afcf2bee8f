//! One flow's inspector: tells the protocol from the bytes and hands them to its reader.

use super::{Outcome, Progress, Wants};
use crate::model::{App, Direction, Facts};

/// Reads one flow.
#[derive(Debug, Default)]
pub struct Inspector {}

impl Inspector {
    /// A TCP stream of unknown protocol.
    #[must_use]
    pub fn stream() -> Self {
        Self {}
    }

    /// A TCP stream that starts with a PROXY protocol header.
    #[must_use]
    pub fn stream_behind_proxy() -> Self {
        Self {}
    }

    /// UDP datagrams.
    #[must_use]
    pub fn datagrams() -> Self {
        Self {}
    }

    /// Reads in-order bytes of one direction of a stream.
    pub fn read(&mut self, _: Direction, bytes: &[u8], facts: &mut Facts) -> Progress {
        facts.settle_without_names(App::Other);
        Progress::new(bytes.len(), Outcome::Done)
    }

    /// Reads one datagram.
    pub fn datagram(&mut self, _: Direction, payload: &[u8], facts: &mut Facts) -> Progress {
        facts.settle_without_names(App::Other);
        Progress::new(payload.len(), Outcome::Done)
    }

    /// The directions that must be read next.
    #[must_use]
    pub fn wants(&self) -> Wants {
        Wants::BOTH
    }
}
