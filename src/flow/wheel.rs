//! A timing wheel of intrusive lists: which entries to look at, and when. It knows ticks and
//! numbers; the exact deadlines are the table's.

use crate::wire::near::prefetch;

/// A tick is 2^28 ns, 268 ms.
const TICK_SHIFT: u32 = 28;
/// Ticks around: 2.4 hours. What is due later waits in the last slot and is moved on from there.
pub(super) const SPAN_TICKS: u64 = 1 << 15;

/// No entry.
const NONE: u32 = u32::MAX;
/// Marks `previous` as the number of a slot; so entries are below it. [`NONE`] stands there of what is
/// in no list.
const HEAD: u32 = 1 << 31;

/// Neighbours of an entry in its slot.
#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

#[derive(Debug)]
pub(super) struct Wheel {
    heads: Vec<u32>,
    /// Previous and next of each entry. Zeroed by the allocator and touched as entries come.
    links: Vec<[u32; 2]>,
    /// All ticks before this one have been visited.
    cursor: u64,
}

/// The tick a time in nanoseconds falls into.
pub(super) const fn tick(nanos: u64) -> u64 {
    nanos >> TICK_SHIFT
}

/// When a tick begins, in nanoseconds.
pub(super) const fn tick_start(tick: u64) -> u64 {
    if tick > u64::MAX >> TICK_SHIFT { u64::MAX } else { tick << TICK_SHIFT }
}

impl Wheel {
    /// For entries 0 to `limit`, exclusive, which is at most 2^31.
    pub(super) fn new(limit: usize) -> Self {
        Self { heads: vec![NONE; SPAN_TICKS as usize], links: vec![[0; 2]; limit], cursor: 0 }
    }

    /// Bytes of memory, once all of it has been touched.
    pub(super) fn bytes(&self) -> usize {
        let links = self.links.len().saturating_mul(size_of::<[u32; 2]>());
        links.saturating_add(self.heads.len().saturating_mul(size_of::<u32>()))
    }

    /// The first tick not yet visited.
    pub(super) const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Moves on to `tick` without visiting anything.
    pub(super) fn skip_to(&mut self, tick: u64) {
        self.cursor = self.cursor.max(tick);
    }

    /// Links `id`, which is in no list, to be visited at `tick`: not before, and not later unless
    /// that tick has passed or is farther away than the wheel reaches.
    pub(super) fn link(&mut self, id: u32, tick: u64) {
        self.link_from(self.cursor, id, tick);
    }

    /// As [`Wheel::link`], for when `cursor` will be the first tick not yet visited.
    pub(super) fn link_from(&mut self, cursor: u64, id: u32, tick: u64) {
        let last = cursor.saturating_add(SPAN_TICKS - 1);
        let slot = tick.clamp(cursor, last) % SPAN_TICKS;
        let Some(head) = self.heads.get_mut(slot as usize) else { return };
        let next = std::mem::replace(head, id);
        self.set(id, Link { previous: HEAD | slot as u32, next });
        if let Some([previous, _]) = self.links.get_mut(next as usize) {
            *previous = id;
        }
    }

    /// Takes `id` out of its list, if it is in one.
    pub(super) fn unlink(&mut self, id: u32) {
        let Some(&[previous, next]) = self.links.get(id as usize) else { return };
        if previous == NONE {
            return;
        }
        if previous & HEAD != 0 {
            if let Some(head) = self.heads.get_mut((previous & !HEAD) as usize) {
                *head = next;
            }
        } else if let Some([_, after]) = self.links.get_mut(previous as usize) {
            *after = next;
        }
        if let Some([before, _]) = self.links.get_mut(next as usize) {
            *before = previous;
        }
    }

    /// Notes that `id`, whose slot was taken, is in no list.
    pub(super) fn detach(&mut self, id: u32) {
        self.set(id, Link { previous: NONE, next: NONE });
    }

    /// Whether `id` was detached and not linked since.
    pub(super) fn is_detached(&self, id: u32) -> bool {
        self.links.get(id as usize).is_some_and(|&[previous, _]| previous == NONE)
    }

    /// Empties the slot of `tick`; its entries follow by [`Wheel::after`].
    pub(super) fn take(&mut self, tick: u64) -> Option<u32> {
        let head = self.heads.get_mut((tick % SPAN_TICKS) as usize)?;
        entry(std::mem::replace(head, NONE))
    }

    /// What came behind `id` in the slot that was taken. Ask before `id` is linked anew.
    pub(super) fn after(&self, id: u32) -> Option<u32> {
        self.links.get(id as usize).and_then(|&[_, next]| entry(next))
    }

    /// Brings what is needed to link or unlink `id` near.
    #[inline]
    pub(super) fn prefetch(&self, id: u32) {
        if let Some(link) = self.links.get(id as usize) {
            prefetch(link);
        }
    }

    fn set(&mut self, id: u32, Link { previous, next }: Link) {
        if let Some(link) = self.links.get_mut(id as usize) {
            *link = [previous, next];
        }
    }
}

fn entry(id: u32) -> Option<u32> {
    (id != NONE).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(wheel: &mut Wheel, tick: u64) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut next = wheel.take(tick);
        while let Some(id) = next {
            next = wheel.after(id);
            ids.push(id);
        }
        ids
    }

    #[test]
    fn entries_leave_from_anywhere_in_a_list() {
        for gone in 0..3 {
            let mut wheel = Wheel::new(3);
            (0..3).for_each(|id| wheel.link(id, 5));
            wheel.unlink(gone);
            let expected: Vec<u32> = (0..3).rev().filter(|id| *id != gone).collect();
            assert_eq!(slot(&mut wheel, 5), expected);
            assert!(slot(&mut wheel, 5).is_empty());
        }
    }

    #[test]
    fn ticks_behind_and_beyond_go_to_the_nearest_slot() {
        let mut wheel = Wheel::new(4);
        wheel.skip_to(100);
        wheel.link(0, 7);
        wheel.link(1, 100 + SPAN_TICKS - 1);
        wheel.link(2, 100 + SPAN_TICKS);
        wheel.link(3, u64::MAX);
        assert_eq!(slot(&mut wheel, 100), [0]);
        assert_eq!(slot(&mut wheel, 99), [3, 2, 1]);
    }
}
