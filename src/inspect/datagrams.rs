//! The datagrams of one UDP flow: DNS, QUIC, or something without names. Every datagram is looked
//! at, so that a flow of one protocol cannot go on as another unseen.

use super::detect::dns_datagram;
use super::dns::{Header, is_answer, read_datagram};
use super::progress::{Progress, Wants};
use super::proxy::ProxyDatagrams;
use super::quic::{self, QuicReader, is_client_start, is_middle, is_short};
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

/// What a datagram is part of, of all that may be on its way on one flow at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strand {
    /// Nothing of its own.
    #[default]
    Flow,
    /// QUIC, and no connection whose hello is read.
    Quic,
    /// The QUIC connection of this number.
    Connection(u32),
}

impl Strand {
    /// Whether a datagram that waits as part of `waiting` may go once a message that is part of this was
    /// allowed: a hello waits for its own decision, what is part of none for any.
    #[must_use]
    pub fn frees(self, waiting: Self) -> bool {
        match waiting {
            Self::Flow => true,
            Self::Quic => self != Self::Flow,
            Self::Connection(_) => self == waiting,
        }
    }
}

/// Whether a datagram of a flow of which nothing is known seems to be from the middle of a QUIC
/// connection: neither its beginning nor DNS, text or too short.
#[must_use]
pub fn is_quic_middle(payload: &[u8]) -> bool {
    is_middle(payload) && !dns_datagram(payload)
}

/// Whether a datagram begins what a name decides, whatever its flow was told to be and whichever side
/// sends it: a QUIC connection, or a DNS query.
#[must_use]
pub fn is_beginning(payload: &[u8]) -> bool {
    let asks = || Header::read(payload).is_some_and(|header| !header.is_response());
    quic::begins(payload) || (asks() && dns_datagram(payload))
}

/// Reads the datagrams of one flow.
#[derive(Debug)]
pub(super) struct Datagrams {
    /// Reads PROXY headers, if a trusted proxy sends.
    proxy: Option<ProxyDatagrams>,
    protocol: Protocol,
    /// A reader for QUIC, should the flow turn out to be that.
    spare: Option<Box<QuicReader>>,
    /// What the last datagram was part of.
    strand: Strand,
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
        Self::of(Protocol::Open { settled: false })
    }

    pub(super) const fn behind_proxy() -> Self {
        let mut new = Self::new();
        new.proxy = Some(ProxyDatagrams::new());
        new
    }

    const fn of(protocol: Protocol) -> Self {
        Self { proxy: None, protocol, spare: None, strand: Strand::Flow }
    }

    /// A flow that is known to speak so; of QUIC there is more to know.
    pub(super) const fn speaking(speech: Speech) -> Self {
        match speech {
            Speech::Dns => Self::of(Protocol::Dns),
            Speech::Nameless | Speech::Quic => Self::of(Protocol::Open { settled: true }),
        }
    }

    /// A flow whose QUIC hello this reader has read.
    pub(super) const fn of_quic(reader: Box<QuicReader>) -> Self {
        Self::of(Protocol::Quic(reader))
    }

    /// Will read QUIC with this reader, which is as a new one.
    pub(super) fn lend(&mut self, spare: Option<Box<QuicReader>>) {
        self.spare = spare;
    }

    /// What has read a QUIC flow, or would have.
    pub(super) fn into_quic(self) -> Option<Box<QuicReader>> {
        match self.protocol {
            Protocol::Quic(reader) => Some(reader),
            Protocol::Dns | Protocol::Open { .. } => self.spare,
        }
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
        self.strand = Strand::Flow;
        let Some(proxy) = self.proxy.as_mut().filter(|_| direction == Direction::Original) else {
            return self.read_bare(direction, payload, facts);
        };
        let rest = match proxy.strip(payload, facts) {
            Ok(rest) if !rest.is_empty() => rest,
            Ok(_) => return Progress::fact(payload.len()),
            Err(reason) => return Progress::fault(reason),
        };
        let progress = self.read_bare(direction, rest, facts);
        match progress.consumed {
            0 => progress,
            _ => Progress::new(payload.len(), progress.outcome),
        }
    }

    /// Reads a datagram, or what stands behind its PROXY headers.
    fn read_bare(&mut self, direction: Direction, payload: &[u8], facts: &mut Facts) -> Progress {
        let progress = self.protocol.read(direction, payload, &mut self.spare, facts);
        if let Protocol::Quic(reader) = &self.protocol {
            self.strand = reader.connection().map_or(Strand::Quic, Strand::Connection);
        }
        progress
    }

    /// What the last datagram was part of.
    pub(super) const fn strand(&self) -> Strand {
        self.strand
    }

    /// Whether what a held datagram is part of is read still.
    pub(super) fn reads(&self, strand: Strand) -> bool {
        match (strand, &self.protocol) {
            (Strand::Flow, _) | (Strand::Quic, Protocol::Quic(_)) => true,
            (Strand::Connection(number), Protocol::Quic(reader)) => reader.knows(number),
            _ => false,
        }
    }
}

impl Protocol {
    fn read(
        &mut self,
        direction: Direction,
        payload: &[u8],
        spare: &mut Option<Box<QuicReader>>,
        facts: &mut Facts,
    ) -> Progress {
        if direction == Direction::Original && !matches!(self, Self::Dns) {
            if dns_datagram(payload) {
                *self = Self::Dns;
            } else if matches!(self, Self::Open { .. }) && is_client_start(payload) {
                *self = Self::Quic(spare.take().unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use super::super::quic::seal::{Initial, crypto_frame};
    use super::super::quic::version::V1;
    use super::super::tls::compose::Offer;
    use super::*;
    use proptest::prelude::*;

    /// A reader that speaks so, and what it has told.
    fn speaking(speech: Speech) -> (Datagrams, Facts) {
        let mut facts = Facts::default();
        if speech != Speech::Quic {
            facts.settle_without_names(App::Other);
            return (Datagrams::speaking(speech), facts);
        }
        let hello = Offer { names: &[b"a.example"], versions: &[0x0304], ..Offer::default() };
        let frame = crypto_frame(0, &hello.message().unwrap()).unwrap();
        let initial =
            Initial { version: V1, destination: &[7; 8], padded_to: 1200, ..Initial::default() };
        let mut reader = Datagrams::new();
        reader.read(Direction::Original, &initial.seal(&frame).unwrap(), &mut facts);
        (reader, facts)
    }

    /// Bytes, some of them behind the header of a DNS question or answer, or as a long header.
    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
        let start = prop::sample::select(vec![
            Vec::new(),
            query.to_vec(),
            query.iter().enumerate().map(|(at, b)| if at == 2 { 0x81 } else { *b }).collect(),
            vec![0xc3, 0, 0, 0, 1, 8],
            vec![0x09, 0, 0, 0, 0, 0, 0, 0, 0, b'Q', b'0', b'4', b'3'],
        ]);
        (start, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(a, b)| [a, b].concat())
    }

    proptest! {
        #[test]
        fn what_is_passed_over_tells_its_reader_nothing(
            payload in payload(),
            speech in prop::sample::select(vec![Speech::Dns, Speech::Nameless, Speech::Quic]),
            direction in prop::sample::select(vec![Direction::Original, Direction::Reply]),
        ) {
            let (mut reader, mut facts) = speaking(speech);
            prop_assert_eq!(reader.speech(), Some(speech));
            if speech.passes_over(direction, &payload) {
                let before = facts.clone();
                let progress = reader.read(direction, &payload, &mut facts);
                prop_assert_eq!(progress, Progress::more(payload.len()));
                prop_assert_eq!((facts, reader.speech()), (before, Some(speech)));
            }
        }
    }
}
