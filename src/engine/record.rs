//! The record of a flow and the events made of it: what the engine tells about its flows, in plain
//! values. It is not how they are written down (`observe`) and not what the engine keeps a flow by.

use crate::model::{
    Addr, ApiId, App, Certificate, DomainName, Ech, EndpointId, Epoch, FiveTuple, FlowVerdict, Ja4,
    QuicVersion, Reason, ScopeId, SegmentId, Span, Timestamp, TlsVersion, Verdict,
};
use crate::wire::near::prefetch_counts;
use std::ops::Deref;
use std::sync::Arc;

/// As many different names, and as many different questions, are recorded of one flow; a name
/// beyond is judged like any other and only counted.
pub const RECORD_NAMES_MAX: usize = 32;

/// Names of one kind in the order they were first seen, each once, at most [`RECORD_NAMES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    seen: Vec<Arc<DomainName>>,
    left_out: u32,
}

impl Names {
    /// None.
    pub(super) const NONE: Self = Self { seen: Vec::new(), left_out: 0 };

    /// Notes a name, unless it was noted before or there is no room.
    pub fn note(&mut self, name: &Arc<DomainName>) {
        if self.seen.contains(name) {
            return;
        }
        if self.seen.len() < RECORD_NAMES_MAX {
            self.seen.push(Arc::clone(name));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// Notes a name that nobody else has.
    pub fn note_new(&mut self, name: &DomainName) {
        if !self.seen.iter().any(|seen| **seen == *name) {
            self.note(&Arc::new(*name));
        }
    }

    /// The names, in the order they were first seen.
    #[must_use]
    pub fn all(&self) -> &[Arc<DomainName>] {
        &self.seen
    }

    /// The first name seen.
    #[must_use]
    pub fn first(&self) -> Option<&DomainName> {
        self.seen.first().map(AsRef::as_ref)
    }

    /// How many sightings of further names found no room (one name may be counted again).
    #[must_use]
    pub const fn left_out(&self) -> u32 {
        self.left_out
    }
}

/// Packets and bytes of one direction of a flow. Bytes are those of inner IP packets, headers
/// included, so that encapsulation does not change them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Packets seen.
    pub packets: u64,
    /// Bytes seen.
    pub bytes: u64,
    /// Packets forwarded; the others were dropped, or are still held.
    pub forwarded_packets: u64,
    /// Bytes forwarded.
    pub forwarded_bytes: u64,
}

/// How a flow's state came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// TCP closed by both sides.
    Closed,
    /// TCP reset by a side, or by us.
    Reset,
    /// Nothing came for as long as the flow's timeout.
    Expired,
    /// Denied or rejected.
    Denied,
    /// Ended by command.
    Flushed,
    /// Another connection took over its five-tuple.
    Replaced,
    /// Still going when the capture ended.
    EndOfCapture,
    /// Still going when the instance stopped.
    Stopped,
}

impl Ended {
    /// Every way, in the order of declaration.
    pub const ALL: &'static [Self] = &[
        Self::Closed,
        Self::Reset,
        Self::Expired,
        Self::Denied,
        Self::Flushed,
        Self::Replaced,
        Self::EndOfCapture,
        Self::Stopped,
    ];

    /// The stable word used in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::Flushed => "flushed",
            Self::Replaced => "replaced",
            Self::EndOfCapture => "end-of-capture",
            Self::Stopped => "stopped",
        }
    }
}

/// What the payload of a flow told. Flows that told the same share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The application protocol, if it was recognised.
    pub app: Option<App>,
    /// Names the client asked for.
    pub names: Names,
    /// Addresses the client gave where a name belongs, each once, at most [`RECORD_NAMES_MAX`].
    pub host_addresses: Vec<Addr>,
    /// Of several names the one for which the flow was ended when it was decided again: after a reload,
    /// or a rule's last day.
    pub denied_name: Option<Arc<DomainName>>,
    /// Names in DNS questions.
    pub questions: Names,
    /// The address for which the last DNS answer was denied.
    pub denied_answer: Option<Addr>,
    /// The API the last HTTP request named.
    pub api_id: Option<ApiId>,
    /// JA4 fingerprint of the ClientHello.
    pub ja4: Option<Ja4>,
    /// JA3 fingerprint of the ClientHello, hex characters.
    pub ja3: Option<[u8; 32]>,
    /// The TLS version the server chose; what the client offers is not told here.
    pub tls_version: Option<TlsVersion>,
    /// First ALPN protocol offered.
    pub alpn: Option<Box<str>>,
    /// QUIC version of the client's first Initial packet.
    pub quic_version: Option<QuicVersion>,
    /// The client's certificate, where it could be seen.
    pub certificate: Option<Arc<Certificate>>,
    /// Encrypted ClientHello.
    pub ech: Ech,
}

impl Found {
    /// What the client gave as the host, as text: names, then addresses, which to rules are none.
    pub fn hosts(&self) -> impl Iterator<Item = String> + '_ {
        let names = self.names.all().iter().map(ToString::to_string);
        names.chain(self.host_addresses.iter().map(ToString::to_string))
    }
}

/// What was found, shared by the flows of which the same was; nothing takes no memory and no count.
#[derive(Clone, Debug, Default)]
pub struct Told(Option<Arc<Found>>);

/// What is told of a flow whose payload told nothing.
static NOTHING: Found = Found {
    app: None,
    names: Names::NONE,
    host_addresses: Vec::new(),
    denied_name: None,
    questions: Names::NONE,
    denied_answer: None,
    api_id: None,
    ja4: None,
    ja3: None,
    tls_version: None,
    alpn: None,
    quic_version: None,
    certificate: None,
    ech: Ech::None,
};

impl Told {
    /// Brings near what is needed to share it.
    #[inline]
    pub(super) fn prefetch(&self) {
        if let Some(shared) = &self.0 {
            prefetch_counts(shared);
        }
    }

    /// What was found, to change for this flow alone.
    pub fn to_mut(&mut self) -> &mut Found {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl Deref for Told {
    type Target = Found;

    fn deref(&self) -> &Found {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl From<Found> for Told {
    fn from(found: Found) -> Self {
        Self(Some(Arc::new(found)))
    }
}

impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Told {}

/// Everything that is told about one flow, both directions in one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// The scope its state was kept in.
    pub scope: ScopeId,
    /// The GWLB endpoint of its first packet; none for captures without encapsulation.
    pub endpoint: Option<EndpointId>,
    /// The segment of the side that sent the first packet, if it is known.
    pub from: Option<SegmentId>,
    /// The other side's segment, if it is known.
    pub to: Option<SegmentId>,
    /// As the first packet had it.
    pub tuple: FiveTuple,
    /// ICMP type and code of the first packet.
    pub icmp: Option<(u8, u8)>,
    /// Time of the first packet.
    pub start: Timestamp,
    /// Time of the last packet so far.
    pub end: Timestamp,
    /// What was seen and forwarded, by [`crate::model::Direction::index`].
    pub volume: [Volume; 2],
    /// The decision; none while the flow is pending.
    pub verdict: Option<FlowVerdict>,
    /// Whether the verdict was carried out; false in monitor mode, where it says what enforcing
    /// would have done.
    pub enforced: bool,
    /// The flow was met in the middle.
    pub midstream: bool,
    /// What its payload told.
    pub found: Told,
    /// The ruleset the verdict stands under.
    pub epoch: Epoch,
    /// How the flow ended; none in [`Event::FlowStart`].
    pub ended: Option<Ended>,
}

impl FlowRecord {
    /// A record of a flow of which only its first packet's headers are known.
    #[must_use]
    pub fn new(scope: ScopeId, tuple: FiveTuple, start: Timestamp) -> Self {
        Self {
            scope,
            endpoint: None,
            from: None,
            to: None,
            tuple,
            icmp: None,
            start,
            end: start,
            volume: [Volume::default(); 2],
            verdict: None,
            enforced: true,
            midstream: false,
            found: Told::default(),
            epoch: Epoch::default(),
            ended: None,
        }
    }

    /// From the first packet to the last.
    #[must_use]
    pub const fn duration(&self) -> Span {
        self.end.since(self.start)
    }

    /// Packets of both directions.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        let [original, reply] = self.volume;
        original.packets.saturating_add(reply.packets)
    }

    /// Bytes of both directions.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        let [original, reply] = self.volume;
        original.bytes.saturating_add(reply.bytes)
    }
}

/// Something the engine tells while it runs, in the order it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A flow was decided for the first time (rules with `log: start` or `log: both`).
    FlowStart(FlowRecord),
    /// A flow ended; every flow has one of these.
    FlowEnd(FlowRecord),
    /// One message of a flow was denied while the flow goes on (a DNS question).
    MessageDenied(FlowRecord),
    /// A packet that belongs to no flow was dropped.
    PacketDropped(PacketDrop),
}

/// A dropped packet that belongs to no flow, as far as it could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketDrop {
    /// When it came.
    pub at: Timestamp,
    /// Its endpoint, if it was encapsulated and readable.
    pub endpoint: Option<EndpointId>,
    /// Its five-tuple, if its headers could be read.
    pub tuple: Option<FiveTuple>,
    /// Its length as captured.
    pub bytes: u32,
    /// Why.
    pub reason: Reason,
    /// How many such packets of its endpoint were not told of since the one before.
    pub held_back: u64,
}

impl PacketDrop {
    /// What the packet met, as a verdict.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        Verdict::Drop(self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Arc<DomainName> {
        Arc::new(DomainName::from_host(text.as_bytes()).unwrap())
    }

    #[test]
    fn names_are_kept_once_in_the_order_they_came() {
        let mut names = Names::default();
        for text in ["b.example", "a.example", "b.example"] {
            names.note(&name(text));
        }
        assert_eq!(names.all(), [name("b.example"), name("a.example")]);
        assert_eq!(names.first(), Some(&*name("b.example")));
    }

    #[test]
    fn names_beyond_the_limit_are_only_counted() {
        for (count, left_out) in
            [(RECORD_NAMES_MAX - 1, 0), (RECORD_NAMES_MAX, 0), (RECORD_NAMES_MAX + 1, 1)]
        {
            let mut names = Names::default();
            for number in 0..count {
                names.note(&name(&format!("n{number}.example")));
            }
            assert_eq!(names.all().len(), count.min(RECORD_NAMES_MAX));
            assert_eq!(names.left_out(), left_out);
        }
    }

    #[test]
    fn ways_to_end_have_words_of_their_own() {
        let words: std::collections::HashSet<_> = Ended::ALL.iter().map(|e| e.name()).collect();
        assert_eq!(words.len(), Ended::ALL.len());
    }
}
