//! Trains of IP fragments: the first one's verdict governs the later ones. Nothing is put back
//! together; a fragment travels as it came, once its first one was judged.
//!
//! No two fragments of a train may share a byte, so that what the receiver puts together is what
//! was judged (RFC 5722 asks as much for IPv6, RFC 1858 shows why for IPv4).

use super::table::{Fate, FlowId, FlowTable, Found, Full};
use super::{FlowKey, Secret};
use crate::model::{Addr, Protocol, Reason, ScopeId, Span, Timestamp};

/// How long a train may take from its first seen fragment to its last: the default of the
/// largest deployed receivers, half of what RFC 8200 section 4.5 allows them.
const TIMEOUT: Span = Span::from_secs(30);
/// The largest number of bytes in all fragments of one packet (RFC 791 section 3.1).
const PACKET_MAX: u32 = 65_535;
/// Fragments of one packet: 64 KiB at the smallest sensible MTU of 576.
const PIECES_MAX: usize = 128;

/// Whose fragment it is (RFC 791 section 3.2, RFC 8200 section 4.5), per scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// The packet's scope.
    pub scope: ScopeId,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Protocol of the whole packet.
    pub protocol: Protocol,
    /// Identification; 16 bits in IPv4.
    pub id: u32,
}

impl FragmentKey {
    fn table_key(&self) -> FlowKey {
        FlowKey::fragment(self.scope, self.src, self.dst, self.protocol, self.id)
    }

    /// A keyed hash, so that all fragments of a packet meet in one worker. It leaves out the
    /// scope, as [`symmetric_hash`](super::symmetric_hash) does.
    #[must_use]
    pub fn shard_hash(&self, secret: &Secret) -> u64 {
        let everywhere = Self { scope: ScopeId::default(), ..*self };
        everywhere.table_key().shard_hash(secret)
    }
}

/// Which part of the packet a fragment carries, in bytes behind the unfragmentable headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts.
    pub offset: u32,
    /// How long it is.
    pub len: u32,
    /// Whether others come behind it.
    pub more: bool,
}

/// Bounds of a [`Fragments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Packets under way.
    pub trains: usize,
    /// Fragments of one packet that wait for its first.
    pub parked_per_train: usize,
    /// Fragments that wait, of all packets.
    pub parked: usize,
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self { trains: 4096, parked_per_train: 48, parked: 4096 }
    }
}

/// What to do with a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission<V> {
    /// It is the first one: judge it, then call [`Fragments::decide`].
    First,
    /// Do as with the first one.
    Follows(V),
    /// The first one is not there or not judged: hand it to [`Fragments::park`].
    Waits,
}

/// A fragment to drop, and with it those that waited for the same packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused<T> {
    /// Why.
    pub reason: Reason,
    /// What waited, in order of arrival.
    pub parked: Vec<T>,
}

impl<T> From<Reason> for Refused<T> {
    fn from(reason: Reason) -> Self {
        Self { reason, parked: Vec::new() }
    }
}

/// One packet under way.
#[derive(Debug)]
struct Train<V, T> {
    /// Offset and length of what was seen, in order of offset, never overlapping.
    pieces: Vec<(u16, u16)>,
    seen: u32,
    end: Option<u32>,
    verdict: Option<V>,
    /// Two fragments disagreed: nothing of this packet passes any more.
    spoilt: bool,
    parked: Vec<T>,
}

impl<V, T> Default for Train<V, T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            seen: 0,
            end: None,
            verdict: None,
            spoilt: false,
            parked: Vec::new(),
        }
    }
}

enum Fit {
    New,
    Duplicate,
    Conflict,
    TooMany,
}

impl<V, T> Train<V, T> {
    /// Whether `piece` fits what was seen; if so it now counts as seen.
    fn add(&mut self, piece: Piece) -> Fit {
        let end = piece.offset.saturating_add(piece.len);
        let (Ok(offset), Ok(len)) = (u16::try_from(piece.offset), u16::try_from(piece.len)) else {
            return Fit::Conflict;
        };
        let at = self.pieces.partition_point(|(known, _)| *known < offset);
        if self.pieces.get(at) == Some(&(offset, len)) && (self.end == Some(end)) != piece.more {
            return Fit::Duplicate;
        }
        let reach = |(offset, len): &(u16, u16)| u32::from(*offset).saturating_add((*len).into());
        let before = at.checked_sub(1).and_then(|at| self.pieces.get(at)).map_or(0, reach);
        let next = self.pieces.get(at).map_or(u32::MAX, |(offset, _)| u32::from(*offset));
        let furthest = self.pieces.last().map_or(0, reach);
        let wrong_end = match self.end {
            Some(known) => !piece.more || end > known,
            None => !piece.more && furthest > end,
        };
        if before > piece.offset || end > next || wrong_end {
            return Fit::Conflict;
        }
        if self.pieces.len() >= PIECES_MAX {
            return Fit::TooMany;
        }
        self.pieces.insert(at, (offset, len));
        self.seen = self.seen.saturating_add(piece.len);
        if !piece.more {
            self.end = Some(end);
        }
        Fit::New
    }

    fn is_complete(&self) -> bool {
        self.end == Some(self.seen)
    }
}

/// All packets under way. `V` is what the engine decided about a first fragment, `T` a waiting
/// fragment.
#[derive(Debug)]
pub struct Fragments<V, T> {
    trains: FlowTable<Train<V, T>>,
    limits: FragmentLimits,
    parked: usize,
    /// Of trains that ran out of time before anybody looked; handed out by `expire`.
    late: Vec<T>,
}

impl<V: Copy, T> Fragments<V, T> {
    /// None under way.
    #[must_use]
    pub fn new(limits: FragmentLimits, secret: Secret) -> Self {
        let trains = FlowTable::new(limits.trains, secret);
        Self { trains, limits, parked: 0, late: Vec::new() }
    }

    /// Packets under way.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.trains.len()
    }

    /// Whether no packet is under way.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.trains.is_empty()
    }

    /// Fragments that wait.
    #[must_use]
    pub const fn parked(&self) -> usize {
        self.parked
    }

    /// Takes note of a fragment and says what to do with it.
    ///
    /// # Errors
    /// [`Reason::FragmentTiny`] for a length that fits no fragment; [`Reason::FragmentOverlap`]
    /// for one that was there already (it alone is dropped), that shares bytes with another or
    /// disagrees about the end (nothing of its packet passes any more);
    /// [`Reason::LimitFragments`].
    pub fn accept(
        &mut self,
        key: &FragmentKey,
        piece: Piece,
        now: Timestamp,
    ) -> Result<Admission<V>, Refused<T>> {
        check_length(key.protocol, piece)?;
        let id = self.open(key, now).map_err(|Full| Reason::LimitFragments)?;
        let Some(train) = self.trains.get_mut(id) else { return Err(overlap()) };
        if train.spoilt {
            return Err(overlap());
        }
        match train.add(piece) {
            Fit::New => {}
            Fit::Duplicate => return Err(overlap()),
            Fit::TooMany => return Err(Reason::LimitFragments.into()),
            Fit::Conflict => {
                train.spoilt = true;
                train.pieces = Vec::new();
                let parked = std::mem::take(&mut train.parked);
                self.parked = self.parked.saturating_sub(parked.len());
                return Err(Refused { reason: Reason::FragmentOverlap, parked });
            }
        }
        let Some(verdict) = train.verdict else {
            return Ok(if piece.offset == 0 { Admission::First } else { Admission::Waits });
        };
        if train.is_complete() {
            self.trains.remove(id);
        }
        Ok(Admission::Follows(verdict))
    }

    /// Keeps a fragment that `accept` told to wait.
    ///
    /// # Errors
    /// [`Reason::LimitFragments`] and the fragment: too many wait, for this packet or at all.
    pub fn park(&mut self, key: &FragmentKey, fragment: T) -> Result<(), (Reason, T)> {
        let room = self.parked < self.limits.parked;
        let table_key = key.table_key();
        let id = self.trains.lookup(&table_key, self.trains.hash(&table_key));
        let train = id.and_then(|id| self.trains.get_mut(id));
        match train.filter(|train| room && train.parked.len() < self.limits.parked_per_train) {
            Some(train) => {
                train.parked.push(fragment);
                self.parked = self.parked.saturating_add(1);
                Ok(())
            }
            None => Err((Reason::LimitFragments, fragment)),
        }
    }

    /// The first fragment was judged: what waited for it, in order of arrival, is to be treated
    /// alike, as will be what comes later.
    pub fn decide(&mut self, key: &FragmentKey, verdict: V) -> Vec<T> {
        let table_key = key.table_key();
        let hash = self.trains.hash(&table_key);
        let Some(id) = self.trains.lookup(&table_key, hash) else { return Vec::new() };
        let Some(train) = self.trains.get_mut(id) else { return Vec::new() };
        train.verdict = Some(verdict);
        let parked = std::mem::take(&mut train.parked);
        self.parked = self.parked.saturating_sub(parked.len());
        if train.is_complete() && !train.spoilt {
            self.trains.remove(id);
        }
        parked
    }

    /// Forgets packets that took too long; hands out what waited for a first fragment that never
    /// came, to be dropped as [`Reason::FragmentIncomplete`].
    pub fn expire(&mut self, now: Timestamp, mut drop: impl FnMut(T)) {
        let mut gone = self.late.len();
        self.late.drain(..).for_each(&mut drop);
        self.trains.expire(now, |expired| {
            gone = gone.saturating_add(expired.state.parked.len());
            expired.state.parked.drain(..).for_each(&mut drop);
            Fate::Remove
        });
        self.parked = self.parked.saturating_sub(gone);
    }

    fn open(&mut self, key: &FragmentKey, now: Timestamp) -> Result<FlowId, Full> {
        let key = key.table_key();
        let hash = self.trains.hash(&key);
        match self.trains.find(&key, hash, now) {
            Found::Live(id) => return Ok(id),
            Found::Expired(id) => {
                self.late.extend(self.trains.remove(id).into_iter().flat_map(|old| old.parked));
            }
            Found::No => {}
        }
        self.trains.insert(key, hash, Train::default(), now, TIMEOUT)
    }
}

const fn overlap<T>() -> Refused<T> {
    Refused { reason: Reason::FragmentOverlap, parked: Vec::new() }
}

/// All but the last carry a multiple of eight bytes (RFC 791 section 3.1), none carries nothing
/// or reaches beyond a packet's end, and the first one holds the transport header (RFC 1858
/// section 3, RFC 7112 for IPv6).
fn check_length(protocol: Protocol, piece: Piece) -> Result<(), Reason> {
    let header = match protocol {
        Protocol::TCP => 20,
        Protocol::UDP | Protocol::ICMP | Protocol::ICMPV6 => 8,
        _ => 1,
    };
    let fits = piece.len >= if piece.offset == 0 { header } else { 1 }
        && (!piece.more || piece.len.is_multiple_of(8))
        && piece.offset.is_multiple_of(8)
        && piece.offset.checked_add(piece.len).is_some_and(|end| end <= PACKET_MAX);
    if fits { Ok(()) } else { Err(Reason::FragmentTiny) }
}

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
