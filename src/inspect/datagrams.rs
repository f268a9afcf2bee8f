//! The datagrams of one UDP flow: DNS, QUIC, or something without names. Every datagram is looked
//! at, so that a flow of one protocol cannot go on as another unseen.

use super::detect::dns_datagram;
use super::dns::{is_answer, read_datagram};
use super::progress::{Progress, Wants};
use super::proxy::ProxyDatagrams;
use super::quic::{QuicReader, is_client_start, is_short};
use crate::model::{App, Direction, Facts};

/// What a flow of datagrams speaks, where that alone says how to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// DNS, message by message.
    Dns,
    /// A protocol without names, as far as it was told.
    Nameless,
    /// QUIC, whose hello was read. What else was read stays with its reader.
    Quic,
}

impl Speech {
    /// Whether a datagram tells nothing and changes nothing, so that it need not be read.
    #[inline]
    #[must_use]
    pub fn passes_over(self, direction: Direction, payload: &[u8]) -> bool {
        let tells = || direction == Direction::Original && dns_datagram(payload);
        match self {
            Self::Dns => direction == Direction::Reply && is_answer(payload),
            Self::Nameless => direction == Direction::Reply,
            Self::Quic => is_short(payload) && !tells(),
        }
    }
}

/// Reads the datagrams of one flow.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// Reads PROXY headers, if a trusted proxy sends.
    proxy: Option<ProxyDatagrams>,
    protocol: Protocol,
}

/// What the flow was found to be.
#[derive(Debug)]
enum Protocol {
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
        Self { proxy: None, protocol: Protocol::Open { settled: false } }
    }

    pub(super) const fn behind_proxy() -> Self {
        let proxy = Some(ProxyDatagrams::new());
        Self { proxy, protocol: Protocol::Open { settled: false } }
    }

    /// A flow that is known to speak so; of QUIC there is more to know.
    pub(super) const fn speaking(speech: Speech) -> Self {
        let protocol = match speech {
            Speech::Dns => Protocol::Dns,
            Speech::Nameless | Speech::Quic => Protocol::Open { settled: true },
        };
        Self { proxy: None, protocol }
    }

    pub(super) fn speech(&self) -> Option<Speech> {
        match &self.protocol {
            _ if self.proxy.is_some() => None,
            Protocol::Dns => Some(Speech::Dns),
            Protocol::Open { settled } => settled.then_some(Speech::Nameless),
            Protocol::Quic(reader) => reader.is_decided().then_some(Speech::Quic),
        }
    }

    pub(super) fn wants(&self) -> Wants {
        match &self.protocol {
            Protocol::Open { .. } | Protocol::Dns => Wants::ORIGINAL,
            Protocol::Quic(reader) => reader.wants(),
        }
    }

    pub(super) fn read(
        &mut self,
        direction: Direction,
        payload: &[u8],
        facts: &mut Facts,
    ) -> Progress {
        let Some(proxy) = self.proxy.as_mut().filter(|_| direction == Direction::Original) else {
            return self.protocol.read(direction, payload, facts);
        };
        let rest = match proxy.strip(payload, facts) {
            Ok(rest) if !rest.is_empty() => rest,
            Ok(_) => return Progress::fact(payload.len()),
            Err(reason) => return Progress::fault(reason),
        };
        let progress = self.protocol.read(direction, rest, facts);
        match progress.consumed {
            0 => progress,
            _ => Progress::new(payload.len(), progress.outcome),
        }
    }
}

impl Protocol {
    fn read(&mut self, direction: Direction, payload: &[u8], facts: &mut Facts) -> Progress {
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
