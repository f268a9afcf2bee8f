//! The flow table: a bounded map from keys to states with exact deadlines. It does not know what
//! a flow is, and it never throws one out to make room for another.
//!
//! Entries are cache-aligned and never move; the index is buckets of tags; timers are a wheel
//! that is looked at when time passes, not when packets do. At 80 bytes of state an entry takes
//! 128 bytes, its timer 8, its share of the index 11.

mod expiry;

pub use expiry::{Expired, Fate};

use super::index::{Guess, Index};
use super::key::{Far, FlowHash, FlowKey, Near, Secret};
use super::wheel::{Wheel, tick, tick_start};
use crate::model::{Span, Timestamp};
use crate::wire::near::{ask_for_large_pages, prefetch};

/// More flows than this no table holds.
pub const FLOWS_MAX: usize = 1 << 28;

/// Entries are allocated this many at a time: 32 MiB at 128 bytes, nearly all of it in large pages.
const CHUNK: usize = 1 << CHUNK_SHIFT;
const CHUNK_SHIFT: u32 = 18;

/// Names an entry of a table until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(u32);

impl FlowId {
    /// A small number, unique among the entries now in the table, below the table's limit.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// An entry that probably is the one looked for; nothing is lost if it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Likely(u32);

impl Likely {
    /// No entry that is known yet.
    pub const NONE: Self = Self(u32::MAX);
    /// There was none when this was asked.
    pub const ABSENT: Self = Self(u32::MAX - 1);

    /// Whether there is one.
    #[inline]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 < Self::ABSENT.0
    }
}

/// The table has as many entries as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What a table has under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    No,
    /// An entry whose deadline is still ahead.
    Live(FlowId),
    /// An entry whose deadline has passed, not yet visited by `expire`: remove it, then go on as
    /// if there were nothing.
    Expired(FlowId),
}

/// One entry; with 80 bytes of state two cache lines. The first 40 bytes of a state that is laid out
/// in order lie in the first line, with all of an IPv4 flow's key.
#[derive(Debug)]
#[repr(C, align(128))]
struct Slot<S> {
    near: Near,
    /// Nanoseconds since the epoch. In a free slot the number of the next free one.
    deadline: u64,
    state: S,
    far: Far,
}

impl<S: Default> Slot<S> {
    /// A place without an entry.
    fn free() -> Self {
        let (near, far) = FlowKey::NONE.parts();
        Self { near, deadline: NO_PLACE, state: S::default(), far }
    }
}

impl<S> Slot<S> {
    #[inline]
    const fn key(&self) -> FlowKey {
        FlowKey::from_parts(self.near, self.far)
    }

    /// The hash of its key.
    #[inline]
    fn hash(&self, secret: &Secret) -> FlowHash {
        if self.near.is_v4() { self.near.hash(secret) } else { self.key().hash(secret) }
    }
}

/// See the module documentation. `S::default()` is what a free place holds.
#[derive(Debug)]
pub struct FlowTable<S> {
    index: Index,
    chunks: Vec<Vec<Slot<S>>>,
    wheel: Wheel,
    secret: Secret,
    limit: usize,
    len: usize,
    /// Places used at least once.
    touched: usize,
    /// First of the freed places, linked through their `deadline`.
    free: u64,
    expiring: Vec<(u64, u32)>,
}

/// End of the list of freed places.
const NO_PLACE: u64 = u64::MAX;

impl<S: Default> FlowTable<S> {
    /// A table for at most `limit` entries (and never more than [`FLOWS_MAX`]). Memory is
    /// reserved now and touched as entries come.
    #[must_use]
    pub fn new(limit: usize, secret: Secret) -> Self {
        let limit = limit.min(FLOWS_MAX);
        Self {
            index: Index::new(limit),
            chunks: Vec::with_capacity(limit.div_ceil(CHUNK)),
            wheel: Wheel::new(limit),
            secret,
            limit,
            len: 0,
            touched: 0,
            free: NO_PLACE,
            expiring: Vec::new(),
        }
    }

    /// The hash of `key` in this table.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> FlowHash {
        key.hash(&self.secret)
    }

    /// The hash of the key that `near` is all of.
    #[inline(always)]
    #[must_use]
    pub const fn hash_near(&self, near: &Near) -> FlowHash {
        near.hash(&self.secret)
    }

    /// Entries in the table, expired ones that were not visited yet included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most entries there can be.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of memory in use: entries of the chunks begun, timers and index in full.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let entries = self.chunks.iter().map(Vec::capacity).sum::<usize>();
        let fixed = self.index.bytes().saturating_add(self.wheel.bytes());
        entries.saturating_mul(size_of::<Slot<S>>()).saturating_add(fixed)
    }

    /// The entry under `key`, whether or not its deadline has passed.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: &FlowKey, hash: FlowHash) -> Option<FlowId> {
        self.index.find(hash, |id| self.holds(id, key)).map(FlowId)
    }

    /// The entry under `key`, and whether its deadline has passed: at `now == deadline` it has.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &FlowKey, hash: FlowHash, now: Timestamp) -> Found {
        match self.lookup(key, hash) {
            None => Found::No,
            Some(id) if self.deadline(id) <= Some(now) => Found::Expired(id),
            Some(id) => Found::Live(id),
        }
    }

    /// Lets `visit` see the state of the entry under `key`, if its deadline is ahead. What it gives
    /// is the entry's new time from `now` on, as for [`FlowTable::touch`]; with `None` the deadline
    /// stays. True if it gave a time.
    #[inline]
    pub fn visit_live(
        &mut self,
        key: &FlowKey,
        hash: FlowHash,
        now: Timestamp,
        visit: impl FnOnce(&mut S) -> Option<Span>,
    ) -> bool {
        let Some(id) = self.index.find(hash, |id| self.holds(id, key)) else { return false };
        let Some(slot) = self.slot_mut(id).filter(|slot| slot.deadline > now.as_nanos()) else {
            return false;
        };
        let Some(timeout) = visit(&mut slot.state) else { return false };
        let deadline = (now + timeout).as_nanos();
        let before = std::mem::replace(&mut slot.deadline, deadline);
        if tick(deadline) < tick(before) {
            self.advance_timer(id, deadline);
        }
        true
    }

    /// As [`FlowTable::visit_live`], for the whole key of an IPv4 flow and the entry it probably is;
    /// none where it is another.
    #[inline(always)]
    pub fn visit_likely(
        &mut self,
        Likely(id): Likely,
        key: &Near,
        now: Timestamp,
        visit: impl FnOnce(&mut S) -> Option<Span>,
    ) -> Option<bool> {
        let slot = self.slot_mut(id).filter(|slot| slot.near == *key)?;
        if slot.deadline <= now.as_nanos() {
            return Some(false);
        }
        let Some(timeout) = visit(&mut slot.state) else { return Some(false) };
        let deadline = (now + timeout).as_nanos();
        let before = std::mem::replace(&mut slot.deadline, deadline);
        if tick(deadline) < tick(before) {
            self.advance_timer(id, deadline);
        }
        Some(true)
    }

    /// As [`FlowTable::find`], for the whole key of an IPv4 flow.
    #[inline]
    #[must_use]
    pub fn find_near(&self, key: &Near, hash: FlowHash, now: Timestamp) -> Found {
        let holds = |id| self.slot(id).is_some_and(|slot| slot.near == *key);
        match self.index.find(hash, holds).map(FlowId) {
            None => Found::No,
            Some(id) if self.deadline(id) <= Some(now) => Found::Expired(id),
            Some(id) => Found::Live(id),
        }
    }

    /// Adds an entry that is due at `now + timeout`.
    ///
    /// `key` must not be in the table and `hash` must be its hash here.
    ///
    /// # Errors
    /// The table is full; nothing has changed and `state` is gone.
    pub fn insert(
        &mut self,
        key: FlowKey,
        hash: FlowHash,
        state: S,
        now: Timestamp,
        timeout: Span,
    ) -> Result<FlowId, Full> {
        self.insert_with(key, hash, now, timeout, |place| *place = state)
    }

    /// The same for a state that is written where it stays: `fill` is given `S::default()` there.
    ///
    /// # Errors
    /// The table is full; nothing has changed.
    pub fn insert_with(
        &mut self,
        key: FlowKey,
        hash: FlowHash,
        now: Timestamp,
        timeout: Span,
        fill: impl FnOnce(&mut S),
    ) -> Result<FlowId, Full> {
        debug_assert_eq!(hash, self.hash(&key), "a hash of another table or key");
        debug_assert_eq!(self.lookup(&key, hash), None, "the key is in the table");
        if self.len >= self.limit || key.is_vacant() {
            return Err(Full);
        }
        if self.len == 0 {
            self.wheel.skip_to(tick(now.as_nanos()));
        }
        let deadline = (now + timeout).as_nanos();
        let id = self.place().ok_or(Full)?;
        if !self.index.insert(hash, id) {
            self.vacate(id);
            return Err(Full);
        }
        if let Some(slot) = self.slot_mut(id) {
            (slot.near, slot.far) = key.parts();
            slot.deadline = deadline;
            fill(&mut slot.state);
        }
        self.len = self.len.saturating_add(1);
        self.wheel.link(id, tick(deadline));
        Ok(FlowId(id))
    }

    /// Takes an entry out; `None` if there is none of that name.
    pub fn remove(&mut self, FlowId(id): FlowId) -> Option<S> {
        let state = std::mem::take(self.get_mut(FlowId(id))?);
        self.discard(FlowId(id));
        Some(state)
    }

    /// Takes an entry out, if there is one of that name; its state is gone.
    #[inline]
    pub fn discard(&mut self, FlowId(id): FlowId) {
        let Some(slot) = self.slot(id).filter(|slot| !slot.near.is_vacant()) else { return };
        let hash = slot.hash(&self.secret);
        self.wheel.unlink(id);
        self.forget(id, hash);
    }

    /// The state of an entry.
    #[inline]
    #[must_use]
    pub fn get(&self, FlowId(id): FlowId) -> Option<&S> {
        self.slot(id).filter(|slot| !slot.near.is_vacant()).map(|slot| &slot.state)
    }

    /// The state of an entry, to change.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, FlowId(id): FlowId) -> Option<&mut S> {
        self.slot_mut(id).filter(|slot| !slot.near.is_vacant()).map(|slot| &mut slot.state)
    }

    /// The key of an entry.
    #[inline]
    #[must_use]
    pub fn key(&self, FlowId(id): FlowId) -> Option<FlowKey> {
        self.slot(id).map(Slot::key).filter(|key| !key.is_vacant())
    }

    /// When an entry expires.
    #[inline]
    #[must_use]
    pub fn deadline(&self, FlowId(id): FlowId) -> Option<Timestamp> {
        let slot = self.slot(id).filter(|slot| !slot.near.is_vacant())?;
        Some(Timestamp::from_nanos(slot.deadline))
    }

    /// Sets an entry's deadline to `now + timeout`. A later deadline than before costs one write;
    /// only an earlier one (the state of the connection changed) moves the entry's timer.
    #[inline]
    pub fn touch(&mut self, FlowId(id): FlowId, now: Timestamp, timeout: Span) {
        let deadline = (now + timeout).as_nanos();
        let Some(slot) = self.slot_mut(id).filter(|slot| !slot.near.is_vacant()) else { return };
        let before = std::mem::replace(&mut slot.deadline, deadline);
        if tick(deadline) < tick(before) {
            self.advance_timer(id, deadline);
        }
    }

    #[cold]
    fn advance_timer(&mut self, id: u32, deadline: u64) {
        self.wheel.unlink(id);
        self.wheel.link(id, tick(deadline));
    }

    /// Gives the timer of an entry back that a visitor took ([`Fate::Taken`]) and did not remove: it is
    /// visited when it is due, a tick later at the earliest. Nothing where no timer was taken.
    pub fn give_back(&mut self, FlowId(id): FlowId) {
        let Some(slot) = self.slot(id).filter(|slot| !slot.near.is_vacant()) else { return };
        let deadline = slot.deadline;
        if self.wheel.is_detached(id) {
            self.wheel.link(id, tick(deadline));
        }
    }

    /// When [`FlowTable::expire`] is to be called next; before, it would find nothing.
    #[must_use]
    pub const fn next_look(&self) -> Timestamp {
        Timestamp::from_nanos(tick_start(self.wheel.cursor().saturating_add(1)))
    }

    /// Brings the entry near that is to be removed soon.
    #[inline]
    pub fn prefetch_place(&self, FlowId(id): FlowId) {
        if let Some(slot) = self.slot(id) {
            prefetch(slot);
        }
    }

    /// Brings the place near that the next new entry takes, which may have been free for long.
    #[inline]
    fn prefetch_free(&self) {
        if let Some((id, slot)) =
            u32::try_from(self.free).ok().and_then(|id| Some((id, self.slot(id)?)))
        {
            prefetch(slot);
            self.wheel.prefetch(id);
        }
    }

    /// Brings what else is needed to remove an entry near, and gives its state; the entry itself should
    /// be near already.
    #[inline]
    pub fn prefetch_removal(&self, FlowId(id): FlowId) -> Option<&S> {
        let slot = self.slot(id)?;
        self.index.prefetch(slot.hash(&self.secret));
        self.wheel.prefetch(id);
        Some(&slot.state)
    }

    /// An entry: its key, its deadline and its state.
    #[inline]
    #[must_use]
    pub fn entry(&self, FlowId(id): FlowId) -> Option<(FlowKey, Timestamp, &S)> {
        let slot = self.slot(id).filter(|slot| !slot.near.is_vacant())?;
        Some((slot.key(), Timestamp::from_nanos(slot.deadline), &slot.state))
    }

    /// Brings the index bucket of `hash` near.
    #[inline]
    pub fn prefetch_bucket(&self, hash: FlowHash) {
        self.index.prefetch(hash);
    }

    /// The entry that `hash` most likely names, whose first line is brought near, or `all` of it; its
    /// bucket should be near already.
    #[inline(always)]
    pub fn likely(&self, hash: FlowHash, all: bool) -> Likely {
        let id = match self.index.guess(hash) {
            Guess::Number(id) => id,
            Guess::Elsewhere => return Likely::NONE,
            Guess::Nothing => return Likely::ABSENT,
        };
        if let Some(slot) = self.slot(id) {
            prefetch(&slot.near);
            if all {
                prefetch(&slot.far);
            }
        }
        Likely(id)
    }

    /// All entries, in no useful order.
    pub fn iter(&self) -> impl Iterator<Item = (FlowId, FlowKey, &S)> {
        let slots = self.chunks.iter().flatten();
        (0u32..)
            .zip(slots)
            .filter(|(_, slot)| !slot.near.is_vacant())
            .map(|(id, slot)| (FlowId(id), slot.key(), &slot.state))
    }

    /// Entries at places `from` and on, `count` places at most: with [`Self::places`] a way to walk
    /// a large table a piece at a time.
    pub fn range(&self, from: usize, count: usize) -> impl Iterator<Item = (FlowId, FlowKey, &S)> {
        (from..from.saturating_add(count).min(self.touched)).filter_map(|place| {
            let id = u32::try_from(place).ok()?;
            let slot = self.slot(id).filter(|slot| !slot.near.is_vacant())?;
            Some((FlowId(id), slot.key(), &slot.state))
        })
    }

    /// Places that have held an entry at some time; every entry is at one of them.
    #[must_use]
    pub const fn places(&self) -> usize {
        self.touched
    }

    /// Takes an entry out whose timer is in no list.
    fn forget(&mut self, id: u32, hash: FlowHash) {
        let known = self.index.remove(hash, id);
        debug_assert!(known, "an entry that the index does not hold");
        self.len = self.len.saturating_sub(1);
        self.vacate(id);
    }

    /// Finds a place, the last one freed first: its lines may still be near.
    fn place(&mut self) -> Option<u32> {
        if self.free != NO_PLACE {
            let id = self.free as u32;
            self.free = self.slot(id)?.deadline;
            self.prefetch_free();
            return Some(id);
        }
        let id = self.touched;
        if id & (CHUNK - 1) == 0 {
            let room = CHUNK.min(self.limit.saturating_sub(id));
            let chunk: Vec<Slot<S>> = Vec::with_capacity(room);
            ask_for_large_pages(chunk.as_ptr(), room.saturating_mul(size_of::<Slot<S>>()));
            self.chunks.push(chunk);
        }
        self.chunks.last_mut()?.push(Slot::free());
        self.touched = id.saturating_add(1);
        u32::try_from(id).ok()
    }

    fn vacate(&mut self, id: u32) {
        let free = self.free;
        let Some(slot) = self.slot_mut(id) else { return };
        *slot = Slot { deadline: free, ..Slot::free() };
        self.free = u64::from(id);
    }

    #[inline(always)]
    fn holds(&self, id: u32, key: &FlowKey) -> bool {
        self.slot(id).is_some_and(|slot| key.is(&slot.near, &slot.far))
    }

    #[inline]
    fn slot(&self, id: u32) -> Option<&Slot<S>> {
        self.chunks.get((id >> CHUNK_SHIFT) as usize)?.get(id as usize & (CHUNK - 1))
    }

    #[inline]
    fn slot_mut(&mut self, id: u32) -> Option<&mut Slot<S>> {
        self.chunks.get_mut((id >> CHUNK_SHIFT) as usize)?.get_mut(id as usize & (CHUNK - 1))
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
