//! QUIC in datagrams: the ClientHello inside a client's Initial packets. Opens nothing else.

pub mod crypto;
pub mod frame;
pub mod gquic;
pub mod keys;
pub mod packet;
pub mod seal;
#[cfg(test)]
mod tests;
pub mod version;

pub use packet::may_hold_initial;
pub use version::is_long_header_initial;

use super::bytes::Reader;
use super::progress::{Progress, Wants};
use super::tls::facts::{self, Fingerprints};
use super::tls::hello::{CLIENT_HELLO, ClientHello, Transport};
use super::tls::record::{HELLO_LIMIT_BYTES, MESSAGE_HEADER_BYTES};
use crate::model::{App, Direction, Fact, Facts, QuicVersion, Reason, TlsVersion};
use crypto::Crypto;
use frame::Frames;
use keys::{Plain, Secrets};
use packet::{ConnectionId, Invariant, Packet};
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
    /// The version decided on that cannot be read or has its hello in the clear.
    plain_version: Option<u32>,
    /// Where a Retry told the client to go on.
    retry: Option<ConnectionId>,
    connection: Option<Connection>,
    /// The hellos of that connection. Kept after they were read, so that bytes that come again are held
    /// against them.
    crypto: Crypto,
    /// Initial packets opened since a hello was complete.
    initials: u16,
}

/// The connection whose hello is read, or was.
#[derive(Debug)]
struct Connection {
    version: u32,
    /// The id the keys come from.
    id: ConnectionId,
    secrets: Secrets,
    /// The server is past Initial packets, and so past a Retry.
    answered: bool,
    /// How much of the stream is hellos that were read.
    parsed: usize,
    named: bool,
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

/// Whose packet was opened.
enum Opened {
    Current,
    New(Secrets),
    Nobody,
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
        let mut crypto = std::mem::take(&mut self.crypto);
        crypto.clear(ROOM_BYTES);
        *self = Self { crypto, ..Self::default() };
    }

    /// Brings the memory that it keeps near.
    pub fn prefetch_room(&self) {
        self.crypto.prefetch_room();
    }

    /// Whether a hello was read, so that what can hold none passes.
    #[must_use]
    pub const fn is_decided(&self) -> bool {
        self.decided
    }

    /// Which directions tell more. Replies need not wait: they are read for Retry.
    #[must_use]
    pub fn wants(&self) -> Wants {
        match &self.connection {
            Some(connection) if !connection.answered => Wants::BOTH,
            _ => Wants::ORIGINAL,
        }
    }

    /// Reads one datagram. Consumed whole, it is a message, or belongs to the one decided last; not
    /// consumed, it is part of a hello (or behind one) that is not complete. Once a flow is decided
    /// only datagrams for which [`may_hold_initial`] is true need to come here.
    pub fn datagram(
        &mut self,
        direction: Direction,
        payload: &[u8],
        facts: &mut Facts,
    ) -> Progress {
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
            Err(reason) => Progress::fault(reason),
        }
    }

    fn read(&mut self, payload: &[u8], facts: &mut Facts) -> Result<Step, Reason> {
        if let Some(version) = gquic::version(payload) {
            return self.read_plain(version, gquic::hello(payload), facts);
        }
        match Invariant::version(payload) {
            None if payload.first().is_some_and(|first| first & 0x80 != 0) => {
                Err(Reason::QuicMalformed)
            }
            None => Ok(self.other_packet()),
            // Version negotiation comes from servers only (RFC 9000 section 17.2.1).
            Some(0) => Err(Reason::QuicMalformed),
            // On a QUIC flow other protocols have the fixed bit clear (RFC 9443 section 3).
            Some(version)
                if self.decided
                    && !version::is_plausible(version)
                    && payload.first().is_some_and(|first| first & 0x40 == 0) =>
            {
                Ok(Step::Pass)
            }
            Some(version) if version::dialect(version).is_none() => {
                self.read_plain(version, None, facts)
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
        self.connection = None;
        self.crypto.clear(ROOM_BYTES);
        self.plain_version = Some(version);
        let name = facts::name(&hello);
        facts.settle_without_names(App::Quic);
        facts.quic_version.get_or_insert(QuicVersion(version));
        facts.domain = name?;
        Ok(Step::Message)
    }

    /// The packets of a datagram, one behind the other (RFC 9000 section 12.2).
    fn read_packets(&mut self, payload: &[u8], facts: &mut Facts) -> Result<Step, Reason> {
        let mut rest = payload;
        let mut step = Step::Pass;
        let mut together = None;
        while rest.first().is_some_and(|first| first & 0x80 != 0) {
            let packet = Packet::read(rest).ok_or(Reason::QuicMalformed)?;
            // Packets of several connections must not share a datagram.
            let connection = (packet.version, packet.destination);
            if *together.get_or_insert(connection) != connection {
                return Err(Reason::QuicMalformed);
            }
            step = step.max(match packet.kind {
                Kind::Initial => self.initial(&packet, facts)?,
                Kind::ZeroRtt | Kind::Handshake => self.other_packet(),
                Kind::Retry => return Err(Reason::QuicMalformed),
            });
            rest = packet.rest;
        }
        Ok(step)
    }

    /// A packet without a hello. No server can open it before the Initial that was read.
    const fn other_packet(&self) -> Step {
        if self.decided { Step::Pass } else { Step::Wait }
    }

    fn initial(&mut self, packet: &Packet<'_>, facts: &mut Facts) -> Result<Step, Reason> {
        self.initials = self.initials.saturating_add(1);
        if self.initials > INITIALS_LIMIT {
            return Err(Reason::LimitInspection);
        }
        let mut plain = Plain::default();
        match self.open(packet, &mut plain)? {
            Opened::Current => {}
            Opened::New(secrets) => self.begin(packet, secrets),
            // Neither its own connection id nor the first one's keys open it: no server takes it
            // for a new connection.
            Opened::Nobody if self.decided => {
                self.initials = 0;
                return Ok(Step::Pass);
            }
            Opened::Nobody => return Err(Reason::QuicMalformed),
        }
        let fingerprints = self.fingerprints;
        let Some(connection) = &mut self.connection else { return Ok(Step::Wait) };
        let google = packet.dialect.google;
        let plain = plain.bytes();
        let mut frames = if google { Frames::google(plain) } else { Frames::new(plain) };
        while let Some(piece) = frames.next_piece().map_err(|()| Reason::QuicMalformed)? {
            self.crypto.insert(piece.offset, piece.bytes)?;
        }
        let step = connection.hellos(&self.crypto, fingerprints, facts)?;
        if step == Step::Pass {
            self.initials = 0;
        }
        Ok(step)
    }

    /// Opens a packet with the keys of the connection there is, with those of its own destination,
    /// or not at all. A client that got an answer, or a compatible version (RFC 9368), writes to
    /// another id with the keys of the first; a new connection and one after Retry has its own.
    /// Both opening it is a forgery that shows us another hello than the server.
    fn open(&self, packet: &Packet<'_>, plain: &mut Plain) -> Result<Opened, Reason> {
        let make = |id: &ConnectionId| Secrets::client(packet.dialect, id.as_bytes());
        let opens = |secrets: &Secrets, plain: &mut Plain| match secrets.keys() {
            Some(keys) => Ok(keys.open(packet, plain).is_some()),
            None => Err(Reason::QuicMalformed),
        };
        let Some(connection) = &self.connection else {
            let secrets = make(&packet.destination);
            let opened = opens(&secrets, plain)?;
            return Ok(if opened { Opened::New(secrets) } else { Opened::Nobody });
        };
        let same_version = connection.version == packet.version;
        let current = if same_version { connection.secrets } else { make(&connection.id) };
        let by_current = opens(&current, plain)?;
        if connection.id == packet.destination && same_version {
            return Ok(if by_current { Opened::Current } else { Opened::Nobody });
        }
        let secrets = make(&packet.destination);
        let mut own = Plain::default();
        let by_own = opens(&secrets, &mut own)?;
        if connection.id == packet.destination {
            // The same id with another version, as after version negotiation.
            return Ok(if by_own { Opened::New(secrets) } else { Opened::Nobody });
        }
        match (by_own, by_current) {
            (true, true) => Err(Reason::QuicMalformed),
            (true, false) => {
                *plain = own;
                Ok(Opened::New(secrets))
            }
            (false, true) => Ok(Opened::Current),
            (false, false) => Ok(Opened::Nobody),
        }
    }

    /// A new connection on this flow, or the one there is after Retry, whose name may not change.
    fn begin(&mut self, packet: &Packet<'_>, secrets: Secrets) {
        let retried = self.retry == Some(packet.destination);
        let named = retried && self.connection.as_ref().is_some_and(|old| old.named);
        self.crypto.clear(ROOM_BYTES);
        self.connection = Some(Connection {
            version: packet.version,
            id: packet.destination,
            secrets,
            answered: false,
            parsed: 0,
            named,
        });
        self.plain_version = None;
    }

    /// Reads one datagram of the server: where a Retry leads, and that Initial packets are over.
    pub fn overhear(&mut self, payload: &[u8]) {
        let mut rest = payload;
        while let Some(packet) = Packet::read(rest) {
            match packet.kind {
                Kind::Retry => self.retry = Some(packet.source),
                Kind::Handshake => {
                    if let Some(connection) = &mut self.connection
                        && connection.named
                    {
                        connection.answered = true;
                    }
                }
                Kind::Initial | Kind::ZeroRtt => {}
            }
            rest = packet.rest;
        }
    }
}

impl Connection {
    /// Reads the hellos that are complete: the first and, after a HelloRetryRequest, one more.
    fn hellos(
        &mut self,
        crypto: &Crypto,
        fingerprints: Fingerprints,
        facts: &mut Facts,
    ) -> Result<Step, Reason> {
        let mut step = Step::Pass;
        loop {
            let mut reader = Reader::new(crypto.prefix());
            reader.take(self.parsed);
            let mut ahead = reader;
            let (Some(kind), Some(len)) = (ahead.u8(), ahead.u24()) else { break };
            if kind != CLIENT_HELLO {
                return Err(Reason::TlsMalformed);
            }
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            if len > HELLO_LIMIT_BYTES {
                return Err(Reason::LimitInspection);
            }
            let Some(body) = ahead.take(len) else { break };
            let hello = ClientHello::read(body).ok_or(Reason::TlsMalformed)?;
            if self.named {
                facts::again(facts, &hello)?;
            } else {
                let named = facts::first(facts, &hello, Transport::Quic, fingerprints);
                facts.quic_version.get_or_insert(QuicVersion(self.version));
                // RFC 9001 section 4.2: never older than TLS 1.3, which hides certificates.
                facts.tls.version = Fact::Known(TlsVersion(0x0304));
                facts.tls.client_certificate = Fact::Missed;
                named?;
            }
            self.named = true;
            self.parsed = self.parsed.saturating_add(MESSAGE_HEADER_BYTES).saturating_add(len);
            step = Step::Message;
        }
        if step != Step::Message && (!self.named || crypto.end() > self.parsed) {
            step = Step::Wait;
        }
        Ok(step)
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
