//! QUIC in datagrams: the ClientHello inside a client's Initial packets. Opens nothing else.

mod connection;
#[cfg(test)]
mod connection_tests;
pub mod crypto;
pub mod frame;
pub mod gquic;
pub mod keys;
pub mod packet;
pub mod seal;
#[cfg(test)]
mod tests;
pub mod version;

pub use connection::CONNECTIONS_MAX;
pub use packet::may_hold_initial;
pub use version::is_long_header_initial;

use super::progress::{Progress, Wants};
use super::tls::facts::{self, Fingerprints};
use super::tls::hello::ClientHello;
use crate::model::{App, Direction, Facts, QuicVersion, Reason};
use connection::{Connections, Opened};
use frame::Frames;
use keys::{Plain, Secrets};
use packet::{Invariant, Packet};
use version::Kind;

/// The most Initial packets that are opened before a hello is complete.
pub const INITIALS_LIMIT: u16 = 64;
/// The least bytes of a datagram with a client's Initial (RFC 9000 section 14.1).
const FIRST_DATAGRAM_BYTES: usize = 1200;
/// The most memory of a stream that a reader keeps when it is used again: that of a large hello.
pub const ROOM_BYTES: usize = 2048;

/// Reads the QUIC datagrams of one flow.
#[derive(Debug, Default)]
pub struct QuicReader {
    fingerprints: Fingerprints,
    /// A message was complete; what can hold no hello passes.
    decided: bool,
    /// Initial packets opened since a hello was complete.
    initials: u16,
    /// The connection of the last datagram; 0 is none.
    last: u32,
    /// The version decided on that cannot be read or has its hello in the clear.
    plain_version: Option<u32>,
    connections: Connections,
}

/// What a packet means for its datagram; the highest of all its packets counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// It belongs to what was decided.
    Pass,
    /// It waits for the rest of a hello.
    Wait,
    /// A hello is complete.
    Message,
}

/// Why a datagram goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Its flow ends with it.
    Fault(Reason),
    /// It alone: no server takes it for the beginning of anything, or nobody can tell what it begins.
    Refused(Reason),
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Fault(reason)
    }
}

impl QuicReader {
    /// A flow whose client sends first; all fingerprints are made.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes only these fingerprints.
    #[must_use]
    pub fn with_fingerprints(mut self, fingerprints: Fingerprints) -> Self {
        self.fingerprints = fingerprints;
        self
    }

    /// Becomes as a new one for another flow, of which it knows nothing; only memory is kept.
    pub fn renew(&mut self) {
        let mut connections = std::mem::take(&mut self.connections);
        connections.clear();
        *self = Self { connections, ..Self::default() };
    }

    /// Brings the memory that it keeps near.
    pub fn prefetch_room(&self) {
        self.connections.prefetch_room();
    }

    /// Whether a hello was read, so that what can hold none passes.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        self.decided
    }

    /// The connection that the last datagram was of, if it was of one whose hello is read, or was.
    #[must_use]
    pub const fn connection(&self) -> Option<u32> {
        if self.last == 0 { None } else { Some(self.last) }
    }

    /// Whether the connection of this number is known still. One that is not will never be told of.
    #[must_use]
    pub fn knows(&self, connection: u32) -> bool {
        self.connections.knows(connection)
    }

    /// Which directions tell more. Replies need not wait: they are read for Retry.
    #[must_use]
    pub const fn wants(&self) -> Wants {
        if self.connections.expects_retry() { Wants::BOTH } else { Wants::ORIGINAL }
    }

    /// Reads one datagram. Consumed whole, it is a message, or belongs to the one decided last; not
    /// consumed, it is part of a hello (or behind one) that is not complete, that of
    /// [`QuicReader::connection`]. Once a flow is decided only datagrams for which
    /// [`may_hold_initial`] is true need to come here.
    pub fn datagram(
        &mut self,
        direction: Direction,
        payload: &[u8],
        facts: &mut Facts,
    ) -> Progress {
        self.last = 0;
        if direction == Direction::Reply {
            self.overhear(payload);
            return Progress::more(payload.len());
        }
        match self.read(payload, facts) {
            Ok(Step::Pass) => Progress::more(payload.len()),
            Ok(Step::Wait) => Progress::more(0),
            Ok(Step::Message) => {
                self.decided = true;
                self.initials = 0;
                Progress::message(payload.len())
            }
            Err(Stop::Fault(reason)) => Progress::fault(reason),
            Err(Stop::Refused(reason)) => Progress::refused(reason),
        }
    }

    fn read(&mut self, payload: &[u8], facts: &mut Facts) -> Result<Step, Stop> {
        if let Some(version) = gquic::version(payload) {
            return Ok(self.read_plain(version, gquic::hello(payload), facts)?);
        }
        match Invariant::version(payload) {
            None if payload.first().is_some_and(|first| first & 0x80 != 0) => {
                Err(Stop::Fault(Reason::QuicMalformed))
            }
            None if self.decided => Ok(Step::Pass),
            None => Ok(Step::Wait),
            // Version negotiation comes from servers only (RFC 9000 section 17.2.1).
            Some(0) => Err(Stop::Fault(Reason::QuicMalformed)),
            // On a QUIC flow other protocols have the fixed bit clear (RFC 9443 section 3).
            Some(version)
                if self.decided
                    && !version::is_plausible(version)
                    && payload.first().is_some_and(|first| first & 0x40 == 0) =>
            {
                Ok(Step::Pass)
            }
            Some(version) if version::dialect(version).is_none() => {
                Ok(self.read_plain(version, None, facts)?)
            }
            Some(_) => self.read_packets(payload, facts),
        }
    }

    /// A version whose hello is in the clear, or cannot be read.
    fn read_plain(
        &mut self,
        version: u32,
        hello: Option<gquic::Hello<'_>>,
        facts: &mut Facts,
    ) -> Result<Step, Reason> {
        let again = self.decided && self.plain_version == Some(version);
        if again && hello.is_none() {
            return Ok(Step::Pass);
        }
        let hello = ClientHello { name: hello.and_then(|hello| hello.name), ..Default::default() };
        if again {
            return facts::again(facts, &hello).map(|()| Step::Pass);
        }
        self.connections.tell(0);
        self.plain_version = Some(version);
        let name = facts::name(&hello);
        facts.settle_without_names(App::Quic);
        facts.quic_version.get_or_insert(QuicVersion(version));
        facts.domain = name?;
        Ok(Step::Message)
    }

    /// The packets of a datagram, one behind the other (RFC 9000 section 12.2).
    fn read_packets(&mut self, payload: &[u8], facts: &mut Facts) -> Result<Step, Stop> {
        let mut rest = payload;
        let mut step = Step::Pass;
        let mut together = None;
        let small = payload.len() < FIRST_DATAGRAM_BYTES;
        while rest.first().is_some_and(|first| first & 0x80 != 0) {
            let packet = Packet::read(rest).ok_or(Reason::QuicMalformed)?;
            // Packets of several connections must not share a datagram.
            let connection = (packet.version, packet.destination);
            if *together.get_or_insert(connection) != connection {
                return Err(Stop::Fault(Reason::QuicMalformed));
            }
            let next = match packet.kind {
                Kind::Initial => self.initial(&packet, small, facts),
                Kind::ZeroRtt | Kind::Handshake => Ok(self.other_packet(&packet)?),
                Kind::Retry => Err(Stop::Fault(Reason::QuicMalformed)),
            };
            step = match next {
                Ok(next) => step.max(next),
                // What was read of it will not be told again.
                Err(Stop::Refused(reason)) if step == Step::Message => {
                    return Err(Stop::Fault(reason));
                }
                Err(stop) => return Err(stop),
            };
            rest = packet.rest;
        }
        Ok(step)
    }

    /// A packet without a hello. No server can open it before the Initial of its connection.
    fn other_packet(&mut self, packet: &Packet<'_>) -> Result<Step, Reason> {
        if let Some(number) = self.connections.waiting(&packet.destination) {
            self.belongs(number)?;
            return Ok(Step::Wait);
        }
        Ok(if self.decided { Step::Pass } else { Step::Wait })
    }

    /// The datagram is of this connection, and so of no other.
    fn belongs(&mut self, number: u32) -> Result<(), Reason> {
        if self.last != 0 && self.last != number {
            return Err(Reason::QuicMalformed);
        }
        self.last = number;
        Ok(())
    }

    fn initial(
        &mut self,
        packet: &Packet<'_>,
        small: bool,
        facts: &mut Facts,
    ) -> Result<Step, Stop> {
        self.initials = self.initials.saturating_add(1);
        if self.initials > INITIALS_LIMIT {
            return Err(Stop::Fault(Reason::LimitInspection));
        }
        let mut plain = Plain::default();
        let opened = self.connections.open(packet, &mut plain)?;
        let named = match &opened {
            Opened::Known { connection, .. } => self.connections.is_named(*connection),
            Opened::New(_) | Opened::Nobody => false,
        };
        let nobody = matches!(opened, Opened::Nobody);
        // A server discards what is small (RFC 9000 section 14.1): it begins nothing there. What no keys
        // open may be of a connection that is known no more, whose name was another.
        if (small && !named) || (nobody && self.decided) {
            return Err(self.refuse(Reason::QuicMalformed));
        }
        let number = match opened {
            Opened::Known { connection, largest } => {
                self.connections.took(connection, largest);
                connection
            }
            Opened::New(new) => self.connections.begin(packet, new),
            Opened::Nobody => return Err(Stop::Fault(Reason::QuicMalformed)),
        };
        self.belongs(number)?;
        let google = packet.dialect.google;
        let plain = plain.bytes();
        let mut frames = if google { Frames::google(plain) } else { Frames::new(plain) };
        while let Some(piece) = frames.next_piece().map_err(|()| Reason::QuicMalformed)? {
            self.connections.insert(number, &piece)?;
        }
        let fingerprints = self.fingerprints;
        let Some(connection) = self.connections.get_mut(number) else { return Ok(Step::Wait) };
        let step = connection.hellos(fingerprints, facts)?;
        match step {
            Step::Message => {
                self.connections.tell(number);
                self.plain_version = None;
            }
            Step::Pass => self.initials = 0,
            Step::Wait => {}
        }
        Ok(step)
    }

    /// A packet whose datagram goes nowhere; on a decided flow it does not count.
    fn refuse(&mut self, reason: Reason) -> Stop {
        if self.decided {
            self.initials = 0;
        }
        Stop::Refused(reason)
    }

    /// Reads one datagram of the server: where a Retry leads, and that Initial packets are over.
    pub fn overhear(&mut self, payload: &[u8]) {
        let mut rest = payload;
        while let Some(packet) = Packet::read(rest) {
            match packet.kind {
                Kind::Retry => self.connections.retry(packet.source),
                Kind::Handshake => self.connections.answered(),
                Kind::Initial | Kind::ZeroRtt => {}
            }
            rest = packet.rest;
        }
    }
}

/// Whether a datagram has a short header and no other: its reader passes it over once a hello was
/// read.
#[inline]
#[must_use]
pub fn is_short(datagram: &[u8]) -> bool {
    datagram.first().is_none_or(|first| first & 0x80 == 0) && gquic::version(datagram).is_none()
}

/// The least bytes of a packet with a short header: the first byte, then as much as its protection
/// samples from (RFC 9001 section 5.4.2).
const SHORT_BYTES_MIN: usize = 21;

/// Whether a datagram seems to be from the middle of a QUIC connection: a short header with its fixed bit
/// (RFC 9000 section 17.3.1) before bytes that are no text.
#[must_use]
pub fn is_middle(datagram: &[u8]) -> bool {
    let text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
    match datagram.first_chunk::<SHORT_BYTES_MIN>() {
        Some(start) => start[0] & 0xc0 == 0x40 && !start.iter().all(text),
        None => false,
    }
}

/// Whether a datagram can be the first of a QUIC client: an Initial packet of a version that can be
/// read, or a full-size long header of another version that is in use.
#[must_use]
pub fn is_client_start(datagram: &[u8]) -> bool {
    if gquic::version(datagram).is_some() {
        return true;
    }
    let Some(version) = Invariant::version(datagram) else { return false };
    if version::dialect(version).is_some() {
        let mut rest = datagram;
        // A 0-RTT packet may come before its Initial, in its datagram or in another.
        while let Some(packet) = Packet::read(rest) {
            match packet.kind {
                Kind::Initial | Kind::ZeroRtt => return true,
                _ => rest = packet.rest,
            }
        }
        return false;
    }
    version::is_plausible(version) && datagram.len() >= FIRST_DATAGRAM_BYTES
}

/// Whether a datagram begins a connection by a packet whose name can be told, whichever side sends it: a
/// client's first Initial opens with the keys of the id it is sent to, and no other packet does.
#[must_use]
pub fn begins(datagram: &[u8]) -> bool {
    if gquic::version(datagram).is_some() {
        return gquic::hello(datagram).is_some();
    }
    let Some(version) = Invariant::version(datagram) else { return false };
    if version::dialect(version).is_none() {
        return is_client_start(datagram);
    }
    let (mut rest, mut plain) = (datagram, Plain::default());
    while let Some(packet) = Packet::read(rest) {
        let keys = || Secrets::client(packet.dialect, packet.destination.as_bytes()).keys();
        if packet.kind == Kind::Initial
            && keys().is_some_and(|keys| keys.open(&packet, None, &mut plain).is_some())
        {
            return true;
        }
        rest = packet.rest;
    }
    false
}
