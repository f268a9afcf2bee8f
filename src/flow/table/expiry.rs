//! Entries whose time is over: which they are, in which order, and what becomes of them. Where timers are
//! kept is the wheel's business.

use super::super::wheel::{SPAN_TICKS, tick};
use super::{FlowId, FlowTable, Slot};
use crate::flow::FlowKey;
use crate::model::{Span, Timestamp};
use crate::wire::near::prefetch;

/// Room kept for sorting what expires in one tick.
const EXPIRING_KEPT: usize = 1 << 12;
/// Entries brought near before the one whose deadline is looked at.
const SORTED_AHEAD: usize = 8;

/// An entry whose deadline has passed.
#[derive(Debug)]
pub struct Expired<'a, S> {
    /// Its name, valid until the visit is over (and after, if kept).
    pub id: FlowId,
    /// Its key.
    pub key: FlowKey,
    /// When it expired.
    pub deadline: Timestamp,
    /// Its state.
    pub state: &'a mut S,
}

/// What becomes of an expired entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes.
    Remove,
    /// It stays for so long from now on.
    Keep(Span),
    /// It stays, and the visitor sees to it: removes it, or gives its timer back
    /// ([`FlowTable::give_back`]). Until then it is not visited again.
    Taken,
}

impl<S: Default> FlowTable<S> {
    /// Visits the entries whose deadline lies in a tick (268 ms) that is over at `now`, once
    /// each, tick by tick and within a tick by deadline and key. Costs nothing while the tick
    /// lasts, so it may be called for every packet; what is visited, and in which order, depends
    /// on deadlines alone as long as none is farther away than the wheel reaches (2.4 hours).
    #[inline]
    pub fn expire(&mut self, now: Timestamp, visit: impl FnMut(Expired<'_, S>) -> Fate) {
        if tick(now.as_nanos()) > self.wheel.cursor() {
            self.expire_ticks(now, visit);
        }
    }

    fn expire_ticks(&mut self, now: Timestamp, mut visit: impl FnMut(Expired<'_, S>) -> Fate) {
        let end = tick(now.as_nanos());
        let first = self.wheel.cursor();
        // However far time jumped, each slot is looked at once.
        let last = end.min(first.saturating_add(SPAN_TICKS));
        let mut expiring = std::mem::take(&mut self.expiring);
        for at in first..last {
            if self.len == 0 {
                break;
            }
            self.sort_out(at, last, end, &mut expiring);
            for (deadline, id) in expiring.drain(..) {
                let Some(slot) = self.slot_mut(id) else { continue };
                let (key, state) = (slot.key(), &mut slot.state);
                let deadline = Timestamp::from_nanos(deadline);
                match visit(Expired { id: FlowId(id), key, deadline, state }) {
                    Fate::Remove => self.forget(id, key.hash(&self.secret)),
                    Fate::Keep(span) => {
                        slot.deadline = (now + span).as_nanos();
                        self.wheel.link_from(end, id, tick((now + span).as_nanos()));
                    }
                    Fate::Taken => self.wheel.detach(id),
                }
            }
        }
        expiring.shrink_to(EXPIRING_KEPT);
        self.expiring = expiring;
        self.wheel.skip_to(end);
    }

    /// Empties the slot of tick `at`: what is due goes to `expiring`, in order; what is due at a
    /// later tick before `last` goes there, to be visited in the same call; what is not due
    /// before `end` goes to where it belongs once time stands at `end`.
    fn sort_out(&mut self, at: u64, last: u64, end: u64, expiring: &mut Vec<(u64, u32)>) {
        let mut next = self.wheel.take(at);
        let mut ahead = next;
        for _ in 0..SORTED_AHEAD {
            ahead = self.bring_next(ahead);
        }
        while let Some(id) = next {
            ahead = self.bring_next(ahead);
            next = self.wheel.after(id);
            let Some(deadline) = self.slot(id).map(|slot| slot.deadline) else { continue };
            let due = tick(deadline);
            if due >= end {
                self.wheel.link_from(end, id, due);
            } else if at < due && due < last {
                self.wheel.link_from(at, id, due);
            } else {
                expiring.push((deadline, id));
            }
        }
        let key = |id| self.slot(id).map(Slot::key);
        expiring.sort_unstable_by(|(one, first), (other, second)| {
            one.cmp(other).then_with(|| key(*first).cmp(&key(*second)))
        });
    }

    /// Brings the entry of a timer in a slot that was taken near; gives the one behind it.
    #[inline]
    fn bring_next(&self, id: Option<u32>) -> Option<u32> {
        let id = id?;
        if let Some(slot) = self.slot(id) {
            prefetch(&slot.near);
        }
        self.wheel.after(id)
    }
}
