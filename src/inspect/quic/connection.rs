//! The connections of one flow: the keys of each, and how far its hello is. What a datagram means is for
//! the reader above to say.

use super::crypto::{Crypto, STREAM_LIMIT_BYTES};
use super::frame::Piece;
use super::keys::{Plain, Secrets};
use super::packet::{ConnectionId, Packet};
use super::{ROOM_BYTES, Step};
use crate::inspect::bytes::Reader;
use crate::inspect::tls::facts::{self, Fingerprints};
use crate::inspect::tls::hello::{CLIENT_HELLO, ClientHello, Transport};
use crate::inspect::tls::record::{HELLO_LIMIT_BYTES, MESSAGE_HEADER_BYTES};
use crate::model::{Fact, Facts, QuicVersion, Reason, TlsVersion};

/// The most connections of one flow that are known at once. A further one takes the place of the oldest
/// whose hello was read, or else of the oldest.
pub const CONNECTIONS_MAX: usize = 8;

/// A connection whose hello is read, or was.
#[derive(Debug, Default)]
pub(super) struct Connection {
    /// Its number among those of the flow, from 1; 0 is none.
    number: u32,
    version: u32,
    /// The largest packet number of its Initials that were opened.
    largest: u32,
    /// The id the keys come from.
    id: ConnectionId,
    secrets: Secrets,
    /// The server is past Initial packets, and so past a Retry.
    answered: bool,
    /// Its first hello was read, or that before a Retry.
    named: bool,
    /// The facts of the flow are those of its hello.
    told: bool,
    /// How much of the stream is hellos that were read.
    parsed: u32,
    /// Its hellos. Kept after they were read, so that bytes that come again are held against them.
    crypto: Crypto,
}

/// The connections of one flow.
#[derive(Debug, Default)]
pub(super) struct Connections {
    latest: Connection,
    /// What few flows have.
    rest: Option<Box<Rest>>,
}

#[derive(Debug, Default)]
struct Rest {
    /// Where a Retry told the client to go on.
    retry: Option<ConnectionId>,
    /// Those before the latest, oldest first.
    earlier: Vec<Connection>,
}

/// Whose packet was opened.
pub(super) enum Opened {
    /// That of the connection of this number, and the largest number of its packets so far.
    Known {
        connection: u32,
        largest: u32,
    },
    New(New),
    Nobody,
}

/// The first packet of a connection.
pub(super) struct New {
    secrets: Secrets,
    /// Its packet number.
    packet_number: u32,
}

impl Connections {
    /// Knows of none any more; only memory is kept.
    pub(super) fn clear(&mut self) {
        let mut crypto = std::mem::take(&mut self.latest.crypto);
        crypto.clear(ROOM_BYTES);
        self.latest = Connection { crypto, ..Connection::default() };
        self.rest = None;
    }

    /// Brings the memory that it keeps near.
    pub(super) fn prefetch_room(&self) {
        self.latest.crypto.prefetch_room();
    }

    /// All of them, latest first.
    fn all(&self) -> impl Iterator<Item = &Connection> {
        let earlier = self.rest.as_deref().map(|rest| rest.earlier.iter().rev());
        let latest = Some(&self.latest).filter(|latest| latest.number != 0);
        latest.into_iter().chain(earlier.into_iter().flatten())
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        let earlier = self.rest.as_deref_mut().map(|rest| rest.earlier.iter_mut().rev());
        let latest = Some(&mut self.latest).filter(|latest| latest.number != 0);
        latest.into_iter().chain(earlier.into_iter().flatten())
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Connection> {
        self.all_mut().find(|connection| connection.number == number)
    }

    /// Whether the first hello of the connection of this number was read.
    pub(super) fn is_named(&self, number: u32) -> bool {
        self.all().any(|connection| connection.number == number && connection.named)
    }

    /// A packet of a connection was taken; the largest number of all of them is this.
    pub(super) fn took(&mut self, number: u32, largest: u32) {
        if let Some(connection) = self.get_mut(number) {
            connection.largest = largest;
        }
    }

    /// Whether the connection of this number is known still.
    pub(super) fn knows(&self, number: u32) -> bool {
        self.all().any(|connection| connection.number == number)
    }

    /// The connection that waits for the rest of a hello and began with this id.
    pub(super) fn waiting(&self, id: &ConnectionId) -> Option<u32> {
        let waits = |connection: &&Connection| connection.waits() && connection.id == *id;
        self.all().find(waits).map(|connection| connection.number)
    }

    /// Whether the latest one may yet be sent elsewhere by its server.
    pub(super) const fn expects_retry(&self) -> bool {
        self.latest.number != 0 && !self.latest.answered
    }

    /// The server tells the client to go on elsewhere.
    pub(super) fn retry(&mut self, to: ConnectionId) {
        self.rest.get_or_insert_default().retry = Some(to);
    }

    /// The server is past Initial packets.
    pub(super) const fn answered(&mut self) {
        self.latest.answered |= self.latest.named;
    }

    /// Opens a packet with the keys of the connections there are and with those of its own destination.
    /// A client that got an answer, or a compatible version (RFC 9368), writes to another id with the
    /// keys of the first; a new connection and one after Retry has its own.
    ///
    /// # Errors
    /// [`Reason::QuicMalformed`]: the keys of two open it. That is a forgery, which shows us another hello
    /// than the server.
    pub(super) fn open(&self, packet: &Packet<'_>, plain: &mut Plain) -> Result<Opened, Reason> {
        let mut search = Search { packet, plain, other: None, found: Opened::Nobody };
        let mut is_own = false;
        for connection in self.all().filter(|connection| self.stands(connection, packet.version)) {
            let same_version = connection.version == packet.version;
            let same_id = connection.id == packet.destination;
            is_own |= same_version && same_id;
            if same_id && !same_version {
                continue;
            }
            // Of clients that went on to a compatible version some keep the keys of the first.
            let of_version = || Secrets::client(packet.dialect, connection.id.as_bytes());
            let other = (!same_version).then(of_version);
            for secrets in std::iter::once(connection.secrets).chain(other) {
                if let Some(packet_number) = search.opens(&secrets, Some(connection.largest))? {
                    let largest = connection.largest.max(packet_number);
                    search.found = Opened::Known { connection: connection.number, largest };
                }
            }
        }
        if !is_own {
            let secrets = Secrets::client(packet.dialect, packet.destination.as_bytes());
            if let Some(packet_number) = search.opens(&secrets, None)? {
                search.found = Opened::New(New { secrets, packet_number });
            }
        }
        Ok(search.found)
    }

    /// Whether a connection is the one that others of the same id are, for packets of this version: that
    /// of the version, or the latest.
    fn stands(&self, connection: &Connection, version: u32) -> bool {
        let same = || self.all().filter(|other| other.id == connection.id);
        let of_version = same().find(|other| other.version == version);
        of_version.or_else(|| same().next()).is_none_or(|other| other.number == connection.number)
    }

    /// A new connection on this flow, or the one there is after Retry, whose name may not change. Gives
    /// its number.
    pub(super) fn begin(&mut self, packet: &Packet<'_>, new: New) -> u32 {
        let old = &mut self.latest;
        let retry = self.rest.as_ref().and_then(|rest| rest.retry);
        let retried = retry == Some(packet.destination) && old.named && old.told;
        let number = old.number.wrapping_add(1).max(1);
        let begun = Connection {
            number,
            version: packet.version,
            largest: new.packet_number,
            id: packet.destination,
            secrets: new.secrets,
            named: retried,
            told: retried,
            ..Connection::default()
        };
        if old.number == 0 {
            let crypto = std::mem::take(&mut old.crypto);
            *old = Connection { crypto, ..begun };
            return number;
        }
        old.told &= !retried;
        let old = std::mem::replace(old, begun);
        let earlier = &mut self.rest.get_or_insert_default().earlier;
        earlier.push(old);
        if earlier.len() >= CONNECTIONS_MAX {
            earlier.remove(earlier.iter().position(|old| !old.waits()).unwrap_or(0));
        }
        number
    }

    /// Puts a piece of a connection's stream in its place. All streams of a flow together have no more
    /// bytes than one may have.
    ///
    /// # Errors
    /// As [`Crypto::insert`].
    pub(super) fn insert(&mut self, number: u32, piece: &Piece<'_>) -> Result<(), Reason> {
        let others = self.all().filter(|other| other.number != number);
        let taken: usize = others.map(|other| other.crypto.end()).sum();
        let len = u64::try_from(piece.bytes.len().saturating_add(taken)).unwrap_or(u64::MAX);
        if piece.offset.saturating_add(len) > STREAM_LIMIT_BYTES as u64 {
            return Err(Reason::LimitInspection);
        }
        let Some(connection) = self.get_mut(number) else { return Ok(()) };
        connection.crypto.insert(piece.offset, piece.bytes)
    }

    /// The facts of the flow are those of this connection, or of none (0).
    pub(super) fn tell(&mut self, number: u32) {
        self.all_mut().for_each(|connection| connection.told = connection.number == number);
    }
}

/// The search for the keys that open a packet.
struct Search<'a> {
    packet: &'a Packet<'a>,
    plain: &'a mut Plain,
    /// What another one's keys would show, once some have opened it.
    other: Option<Plain>,
    found: Opened,
}

impl Search<'_> {
    /// The number of the packet, if these keys open it.
    fn opens(&mut self, secrets: &Secrets, largest: Option<u32>) -> Result<Option<u32>, Reason> {
        let keys = secrets.keys().ok_or(Reason::QuicMalformed)?;
        let nobody = matches!(self.found, Opened::Nobody);
        let plain = if nobody { &mut *self.plain } else { self.other.get_or_insert_default() };
        match keys.open(self.packet, largest, plain) {
            Some(_) if !nobody => Err(Reason::QuicMalformed),
            packet_number => Ok(packet_number),
        }
    }
}

impl Connection {
    /// Whether a hello of it is not complete.
    fn waits(&self) -> bool {
        !self.named || self.crypto.end() > self.parsed as usize
    }

    /// Reads the hellos that are complete: the first and, after a HelloRetryRequest, one more.
    pub(super) fn hellos(
        &mut self,
        fingerprints: Fingerprints,
        facts: &mut Facts,
    ) -> Result<Step, Reason> {
        let mut step = Step::Pass;
        while let Some((body, end)) = message(self.crypto.prefix(), self.parsed as usize)? {
            let hello = ClientHello::read(body).ok_or(Reason::TlsMalformed)?;
            if self.named {
                self.keeps_name(&hello, facts)?;
            }
            if !self.told {
                let named = facts::first(facts, &hello, Transport::Quic, fingerprints);
                facts.quic_version.get_or_insert(QuicVersion(self.version));
                // RFC 9001 section 4.2: never older than TLS 1.3, which hides certificates.
                facts.tls.version = Fact::Known(TlsVersion(0x0304));
                facts.tls.client_certificate = Fact::Missed;
                named?;
            }
            (self.named, self.told) = (true, true);
            self.parsed = u32::try_from(end).map_err(|_| Reason::LimitInspection)?;
            step = Step::Message;
        }
        if step != Step::Message && self.waits() {
            step = Step::Wait;
        }
        Ok(step)
    }

    /// A further hello asks for the name of the first, which is that of the facts after a Retry.
    fn keeps_name(&self, hello: &ClientHello<'_>, facts: &Facts) -> Result<(), Reason> {
        if self.parsed == 0 {
            return facts::again(facts, hello);
        }
        let first = message(self.crypto.prefix(), 0)?;
        let first = first.and_then(|(body, _)| ClientHello::read(body));
        let first = first.ok_or(Reason::TlsMalformed)?;
        if facts::name(&first)? == facts::name(hello)? { Ok(()) } else { Err(Reason::NameChanged) }
    }
}

/// The body of the hello that starts at `start`, and where it ends; none while it is not complete.
fn message(stream: &[u8], start: usize) -> Result<Option<(&[u8], usize)>, Reason> {
    let mut reader = Reader::new(stream.get(start..).unwrap_or_default());
    let (Some(kind), Some(len)) = (reader.u8(), reader.u24()) else { return Ok(None) };
    if kind != CLIENT_HELLO {
        return Err(Reason::TlsMalformed);
    }
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > HELLO_LIMIT_BYTES {
        return Err(Reason::LimitInspection);
    }
    let end = start.saturating_add(MESSAGE_HEADER_BYTES).saturating_add(len);
    Ok(reader.take(len).map(|body| (body, end)))
}
