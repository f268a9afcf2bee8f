//! The datagrams of one UDP flow: DNS, QUIC, or something without names. Every datagram is looked
//! at, so that a flow of one protocol cannot go on as another unseen.

use super::detect::dns_datagram;
use super::dns::read_datagram;
use super::progress::{Progress, Wants};
use super::quic::{QuicReader, is_client_start};
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
    Quic(Box<QuicReader>),
}

impl Datagrams {
    pub(super) const fn new() -> Self {
        Self::Open { settled: false }
    }

    pub(super) fn wants(&self) -> Wants {
        match self {
            Self::Open { .. } | Self::Dns => Wants::ORIGINAL,
            Self::Quic(reader) => reader.wants(),
        }
    }

    pub(super) fn read(
        &mut self,
        direction: Direction,
        payload: &[u8],
        facts: &mut Facts,
    ) -> Progress {
        if direction == Direction::Original && !matches!(self, Self::Dns) {
            if dns_datagram(payload) {
                *self = Self::Dns;
            } else if matches!(self, Self::Open { .. }) && is_client_start(payload) {
                *self = Self::Quic(Box::default());
            }
        }
        match self {
            Self::Dns => read_datagram(direction, payload, facts),
            Self::Quic(reader) => reader.datagram(direction, payload, facts),
            Self::Open { settled } => {
                if direction == Direction::Reply || payload.is_empty() {
                    return Progress::more(payload.len());
                }
                if std::mem::replace(settled, true) {
                    return Progress::more(payload.len());
                }
                facts.settle_without_names(App::Other);
                Progress::message(payload.len())
            }
        }
    }
}
