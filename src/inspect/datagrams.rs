//! The datagrams of one UDP flow: DNS, QUIC, or something without names. Every datagram is looked
//! at until the protocol is known; a flow of something else may become DNS or QUIC later.

use super::detect::dns_datagram;
use super::dns::read_datagram;
use super::progress::{Progress, Wants};
use crate::model::{App, Direction, Facts};

/// Reads the datagrams of one flow.
#[derive(Debug)]
pub(super) enum Datagrams {
    /// None that told the protocol.
    Open {
        /// Whether the flow was called something without names.
        settled: bool,
    },
    Dns,
}

impl Datagrams {
    pub(super) const fn new() -> Self {
        Self::Open { settled: false }
    }

    pub(super) const fn wants(&self) -> Wants {
        Wants::ORIGINAL
    }

    pub(super) fn read(
        &mut self,
        direction: Direction,
        payload: &[u8],
        facts: &mut Facts,
    ) -> Progress {
        match self {
            Self::Open { .. } if direction == Direction::Reply || payload.is_empty() => {
                Progress::more(payload.len())
            }
            Self::Open { settled } => {
                if dns_datagram(payload) {
                    *self = Self::Dns;
                    return read_datagram(direction, payload, facts);
                }
                if std::mem::replace(settled, true) {
                    return Progress::more(payload.len());
                }
                facts.settle_without_names(App::Other);
                Progress::message(payload.len())
            }
            Self::Dns => read_datagram(direction, payload, facts),
        }
    }
}
