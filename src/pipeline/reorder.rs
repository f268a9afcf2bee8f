//! Puts what workers gave back into the order of the capture. A frame whose fate is open (judged by
//! a worker that is behind, or held for its flow's decision) makes those behind it wait, up to a
//! bound.

use super::batch::{About, Batch};
use crate::engine::{Discard, Extra, Origin};
use crate::io::pcap::CapturedPacket;
use crate::model::{Reason, Verdict};
use crate::wire::Link;
use std::collections::{HashMap, VecDeque};

/// Bytes that may wait for a frame before them. Beyond, order gives way: that frame comes late.
pub const REORDER_LIMIT_BYTES: usize = 256 << 20;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is sent, at once or after holding.
    Forwarded,
    /// The engine made it, caused by the frame of the same number or by its time.
    Answer,
    /// It is not sent, for this reason.
    Dropped(Reason),
    /// It was held, and still is at the end.
    Held,
}

/// A frame whose fate is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled<'a> {
    /// Its place among all packets of the run, from 0.
    pub number: u64,
    /// What became of it.
    pub fate: Fate,
    /// The frame, as it is sent or as it came.
    pub packet: CapturedPacket<'a>,
}

/// Takes settled frames.
pub(super) type Emit<'e, E> = &'e mut dyn FnMut(Settled<'_>) -> Result<(), E>;

pub(super) struct Reorder {
    /// Number of the first entry.
    base: u64,
    entries: VecDeque<Entry>,
    /// Held frames that order no longer waits for.
    passed: HashMap<u64, Kept>,
    /// What came after order had passed it; emitted next.
    late: Vec<(u64, Fate, Kept)>,
    late_count: u64,
    /// Bytes in `entries`.
    bytes: usize,
    limit_bytes: usize,
}

#[derive(Default)]
struct Entry {
    state: State,
    /// What leaves before the frame of this number.
    ahead: Vec<Kept>,
    answers: Vec<Kept>,
}

/// On which side of a frame something made leaves.
#[derive(Clone, Copy)]
enum Place {
    Ahead,
    Behind,
}

#[derive(Default)]
enum State {
    /// Not judged yet.
    #[default]
    Open,
    Held(Kept),
    Done(Fate, Kept),
}

struct Kept {
    about: About,
    bytes: Vec<u8>,
}

impl Reorder {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            base: 0,
            entries: VecDeque::new(),
            passed: HashMap::new(),
            late: Vec::new(),
            late_count: 0,
            bytes: 0,
            limit_bytes,
        }
    }

    /// Takes in what a worker gave for one batch, and emits what is next in order.
    pub(super) fn take<E>(&mut self, batch: &mut Batch, emit: Emit<'_, E>) -> Result<(), E> {
        for slot in batch.slots() {
            let kept = Kept { about: slot.about, bytes: batch.bytes(slot).to_vec() };
            match slot.verdict {
                Verdict::Forward => self.settle(slot.number, Fate::Forwarded, kept),
                Verdict::Drop(reason) => self.settle(slot.number, Fate::Dropped(reason), kept),
                Verdict::Hold => self.hold(slot.number, kept),
            }
        }
        let extras = std::mem::take(&mut batch.out.extras);
        for Extra { before, origin, link, bytes } in extras {
            match origin {
                Origin::Held(number) => self.release(number, Fate::Forwarded, Some(bytes)),
                // It leaves behind its cause, which other workers' frames may follow.
                Origin::Answer => {
                    self.made(batch, before.checked_sub(1), Place::Behind, link, bytes)
                }
                Origin::Overdue => self.made(batch, Some(before), Place::Ahead, link, bytes),
            }
        }
        for &Discard { number, reason } in &batch.out.discards {
            self.release(number, Fate::Dropped(reason), None);
        }
        self.advance(emit)
    }

    /// Emits everything that is left, in order; what is still held as it is. Gives the number of
    /// frames that came late.
    pub(super) fn finish<E>(&mut self, emit: Emit<'_, E>) -> Result<u64, E> {
        while let Some((number, entry)) = self.pop() {
            self.emit_entry(number, entry, emit)?;
        }
        let mut left: Vec<_> = self.passed.drain().collect();
        left.sort_by_key(|(number, _)| *number);
        for (number, kept) in left {
            emit(kept.settled(number, Fate::Held))?;
        }
        Ok(self.late_count)
    }

    fn settle(&mut self, number: u64, fate: Fate, kept: Kept) {
        let len = kept.bytes.len();
        match self.entry(number) {
            Some(entry) => {
                entry.state = State::Done(fate, kept);
                self.bytes = self.bytes.saturating_add(len);
            }
            None => self.come_late(number, fate, kept),
        }
    }

    fn hold(&mut self, number: u64, kept: Kept) {
        let len = kept.bytes.len();
        match self.entry(number) {
            Some(entry) => {
                entry.state = State::Held(kept);
                self.bytes = self.bytes.saturating_add(len);
            }
            None => {
                self.passed.insert(number, kept);
            }
        }
    }

    /// A held frame leaves, as `sent` if that is given, or is dropped.
    fn release(&mut self, number: u64, fate: Fate, sent: Option<Vec<u8>>) {
        let Some(entry) = self.entry(number) else {
            if let Some(Kept { about, bytes }) = self.passed.remove(&number) {
                let bytes = sent.unwrap_or(bytes);
                self.come_late(number, fate, Kept { about, bytes });
            }
            return;
        };
        // A release has the length of what was held: only outer addresses were swapped.
        entry.state = match std::mem::take(&mut entry.state) {
            State::Held(Kept { about, bytes }) => {
                State::Done(fate, Kept { about, bytes: sent.unwrap_or(bytes) })
            }
            other => other,
        };
    }

    /// Takes in a frame that the engine made, next to that at `position` of its batch and at its time;
    /// behind the last where there is none.
    fn made(
        &mut self,
        batch: &Batch,
        position: Option<usize>,
        place: Place,
        link: Link,
        bytes: Vec<u8>,
    ) {
        let near = position.and_then(|position| batch.slots().get(position));
        let place = if near.is_some() { place } else { Place::Behind };
        let Some(near) = near.or(batch.slots().last()) else { return };
        let len = bytes.len();
        let original_len = u32::try_from(len).unwrap_or(u32::MAX);
        let kept = Kept { about: About { at: near.about.at, link, original_len }, bytes };
        match self.entry(near.number) {
            Some(entry) => {
                match place {
                    Place::Ahead => entry.ahead.push(kept),
                    Place::Behind => entry.answers.push(kept),
                }
                self.bytes = self.bytes.saturating_add(len);
            }
            None => self.come_late(near.number, Fate::Answer, kept),
        }
    }

    fn come_late(&mut self, number: u64, fate: Fate, kept: Kept) {
        self.late_count = self.late_count.saturating_add(1);
        self.late.push((number, fate, kept));
    }

    /// Emits from the front as long as fates are known, or the bound asks for it.
    fn advance<E>(&mut self, emit: Emit<'_, E>) -> Result<(), E> {
        for (number, fate, kept) in std::mem::take(&mut self.late) {
            emit(kept.settled(number, fate))?;
        }
        while let Some(front) = self.entries.front() {
            if !matches!(front.state, State::Done(..)) && self.bytes <= self.limit_bytes {
                break;
            }
            let Some((number, entry)) = self.pop() else { break };
            match entry {
                Entry { state: State::Held(kept), ahead, answers } => {
                    self.passed.insert(number, kept);
                    self.emit_entry(number, Entry { state: State::Open, ahead, answers }, emit)?;
                }
                other => self.emit_entry(number, other, emit)?,
            }
        }
        Ok(())
    }

    fn emit_entry<E>(&self, number: u64, entry: Entry, emit: Emit<'_, E>) -> Result<(), E> {
        entry.ahead.iter().try_for_each(|kept| emit(kept.settled(number, Fate::Answer)))?;
        match entry.state {
            State::Open => {}
            State::Held(kept) => emit(kept.settled(number, Fate::Held))?,
            State::Done(fate, kept) => emit(kept.settled(number, fate))?,
        }
        entry.answers.iter().try_for_each(|kept| emit(kept.settled(number, Fate::Answer)))
    }

    /// The entry of a number, made if it is new; none if order has passed it.
    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let place = usize::try_from(number.checked_sub(self.base)?).ok()?;
        while self.entries.len() <= place {
            self.entries.push_back(Entry::default());
        }
        self.entries.get_mut(place)
    }

    fn pop(&mut self) -> Option<(u64, Entry)> {
        let entry = self.entries.pop_front()?;
        let number = self.base;
        self.base = self.base.saturating_add(1);
        let own = match &entry.state {
            State::Open => 0,
            State::Held(kept) | State::Done(_, kept) => kept.bytes.len(),
        };
        let made = entry.ahead.iter().chain(&entry.answers);
        let answers: usize = made.map(|kept| kept.bytes.len()).sum();
        self.bytes = self.bytes.saturating_sub(own.saturating_add(answers));
        Some((number, entry))
    }
}

impl Kept {
    fn settled(&self, number: u64, fate: Fate) -> Settled<'_> {
        let About { at, link, original_len } = self.about;
        let packet = CapturedPacket { at, link, bytes: &self.bytes, original_len };
        Settled { number, fate, packet }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    type Seen = Vec<(u64, Fate, usize)>;

    /// Frames as (number, verdict, length), extras as (origin, length) before the second frame,
    /// discarded numbers.
    fn batch(frames: &[(u64, Verdict, usize)], extras: &[(Origin, usize)], gone: &[u64]) -> Batch {
        let mut batch = Batch::default();
        for &(number, _, len) in frames {
            let bytes = &vec![1; len];
            let at = Timestamp::from_secs(number);
            let packet = CapturedPacket { at, link: Link::RawIp, bytes, original_len: 9 };
            batch.push(number, at, &packet);
        }
        batch.judge(|judged, out| {
            for (frame, &(_, verdict, _)) in judged.iter_mut().zip(frames) {
                frame.verdict = verdict;
            }
            for &(origin, len) in extras {
                let (link, bytes) = (Link::RawIp, vec![2; len]);
                out.extras.push(Extra { before: 1, origin, link, bytes });
            }
            let discard = |&number| Discard { number, reason: Reason::HeldDenied };
            out.discards.extend(gone.iter().map(discard));
        });
        batch
    }

    fn run(limit: usize, batches: Vec<Batch>) -> (Seen, u64) {
        let mut seen = Vec::new();
        let mut emit = |s: Settled<'_>| {
            seen.push((s.number, s.fate, s.packet.bytes.len()));
            Ok::<(), ()>(())
        };
        let mut reorder = Reorder::new(limit);
        for mut batch in batches {
            reorder.take(&mut batch, &mut emit).unwrap();
        }
        let late = reorder.finish(&mut emit).unwrap();
        assert_eq!(reorder.bytes, 0);
        (seen, late)
    }

    const GO: Verdict = Verdict::Forward;

    #[test]
    fn frames_of_two_workers_come_in_the_order_of_the_capture() {
        let batches = vec![
            batch(&[(1, GO, 1), (3, GO, 3)], &[], &[]),
            batch(&[(0, GO, 9), (2, GO, 2)], &[], &[]),
        ];
        let go = |number, len| (number, Fate::Forwarded, len);
        assert_eq!(run(100, batches), (vec![go(0, 9), go(1, 1), go(2, 2), go(3, 3)], 0));
    }

    #[test]
    fn held_frames_take_their_place_when_their_fate_is_known() {
        let batches = vec![
            batch(&[(0, Verdict::Hold, 1), (1, Verdict::Hold, 1), (2, GO, 2)], &[], &[]),
            batch(&[(3, GO, 3)], &[(Origin::Held(0), 1), (Origin::Answer, 7)], &[1]),
            batch(&[(4, Verdict::Hold, 4)], &[], &[]),
        ];
        let expected = vec![
            (0, Fate::Forwarded, 1),
            (1, Fate::Dropped(Reason::HeldDenied), 1),
            (2, Fate::Forwarded, 2),
            (3, Fate::Forwarded, 3),
            (3, Fate::Answer, 7),
            (4, Fate::Held, 4),
        ];
        assert_eq!(run(100, batches), (expected, 0));
    }

    #[test]
    fn what_was_made_leaves_next_to_what_it_was_made_for_whatever_comes_between() {
        let made = [(Origin::Answer, 7), (Origin::Overdue, 8)];
        let mut others = [(1, GO, 1), (2, Verdict::Drop(Reason::Rule), 2)]
            .map(|frame| batch(&[frame], &[], &[]));
        let [one, two] = &mut others;
        let batches = vec![
            std::mem::take(one),
            batch(&[(0, GO, 9), (3, GO, 3)], &made, &[]),
            std::mem::take(two),
        ];
        let expected = vec![
            (0, Fate::Forwarded, 9),
            (0, Fate::Answer, 7),
            (1, Fate::Forwarded, 1),
            (2, Fate::Dropped(Reason::Rule), 2),
            (3, Fate::Answer, 8),
            (3, Fate::Forwarded, 3),
        ];
        assert_eq!(run(100, batches), (expected, 0));
        let last = vec![batch(&[(0, GO, 9)], &made, &[])];
        let expected = vec![(0, Fate::Forwarded, 9), (0, Fate::Answer, 7), (0, Fate::Answer, 8)];
        assert_eq!(run(100, last), (expected, 0));
    }

    #[test]
    fn order_gives_way_beyond_the_bound_and_nothing_is_lost() {
        for (limit, late) in [(9, 1), (10, 0), (11, 0)] {
            let batches = vec![
                batch(&[(0, Verdict::Hold, 4), (1, GO, 6)], &[], &[]),
                batch(&[(2, GO, 0)], &[(Origin::Held(0), 4)], &[]),
            ];
            let (mut seen, count) = run(limit, batches);
            assert_eq!((count, seen[0].0), (late, late), "limit {limit}");
            seen.sort_by_key(|s| s.0);
            let numbers: Vec<u64> = seen.iter().map(|s| s.0).collect();
            assert_eq!(numbers, [0, 1, 2]);
        }
    }
}
