//! Cases by position, and the memory of those that are over, kept for others. What a case says is not
//! known here.

use super::gate::Account;
use super::kept::Kept;
use super::state::{Attention, Case, CaseRef, Inspection};
use super::story::{Stories, StoryId};
use crate::inspect::quic::QuicReader;
use crate::inspect::stream::StreamHead;
use crate::inspect::{Inspector, Speech};
use crate::model::{Facts, Timestamp};
use crate::wire::near::prefetch;

/// What a flow keeps that is read on.
#[derive(Debug)]
enum Slot {
    /// Nothing, or its case is being worked on.
    Empty,
    Case(Box<Case>),
    /// All that is known is told by a story; this reader waits for what may be said yet.
    Told(StoryId, Box<QuicReader>),
}

const _: () = assert!(size_of::<Slot>() == 16);

/// Cases by position, positions used again.
#[derive(Debug, Default)]
pub(super) struct Cases {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Who pays for each slot.
    payers: Vec<Account>,
    /// How many slots each account pays for, by its place.
    paid: Vec<u32>,
    /// Memory of cases that are closed, for the next ones.
    #[expect(clippy::vec_box, reason = "what is kept is the memory that a box owns")]
    spare: Vec<Box<Case>>,
    /// The same of inspections that are over.
    #[expect(clippy::vec_box, reason = "what is kept is the memory that a box owns")]
    idle: Vec<Box<Inspection>>,
    /// The same of streams.
    rooms: Vec<Vec<u8>>,
    /// The same of readers of QUIC, each as a new one.
    #[expect(clippy::vec_box, reason = "what is kept is the memory that a box owns")]
    readers: Vec<Box<QuicReader>>,
    /// What is known of flows that need no case.
    pub(super) stories: Stories,
    /// Bytes kept of all streams.
    pub(super) kept: Kept,
}

/// The last one in so many of the cases there may be is for segments that have less than that.
const SHARES: usize = 4;

/// Closed cases whose memory is kept.
const SPARE_CASES_MAX: usize = 1 << 14;
/// Memory of streams that is kept for others, by number and size of each: that of a full segment.
const ROOMS_MAX: usize = 1 << 12;
const ROOM_BYTES: usize = 2048;
/// Readers of QUIC whose memory is kept.
const READERS_MAX: usize = 1 << 12;

impl Cases {
    /// Whether an account may have one case more, of so many in all: whoever keeps flows that are read
    /// keeps nobody else from having some.
    pub(super) fn has_room(&self, account: Account, limit: usize) -> bool {
        let share = limit / SHARES;
        let own = self.paid.get(account.index()).copied().unwrap_or(0) as usize;
        let left = limit.saturating_sub(self.len());
        left > share || (left > 0 && own < share)
    }

    /// Opens a case that `account` pays for until it is closed, whoever its flow is charged to later.
    pub(super) fn open(&mut self, case: Case, account: Account) -> CaseRef {
        if self.paid.len() <= account.index() {
            self.paid.resize(account.index().saturating_add(1), 0);
        }
        if let Some(paid) = self.paid.get_mut(account.index()) {
            *paid = paid.saturating_add(1);
        }
        let case = Slot::Case(self.case(case));
        if let Some(at) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(at as usize) {
                *slot = case;
            }
            if let Some(payer) = self.payers.get_mut(at as usize) {
                *payer = account;
            }
            return CaseRef::new(false, at, None);
        }
        let at = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(case);
        self.payers.push(account);
        CaseRef::new(false, at, None)
    }

    /// A case in memory that another left, if there is some.
    fn case(&mut self, case: Case) -> Box<Case> {
        match self.spare.pop() {
            Some(mut spare) => {
                *spare = case;
                spare
            }
            None => Box::new(case),
        }
    }

    fn slot(&self, at: CaseRef) -> Option<&Slot> {
        self.slots.get(at.place()?)
    }

    fn slot_mut(&mut self, at: CaseRef) -> Option<&mut Slot> {
        self.slots.get_mut(at.place()?)
    }

    /// The case of a flow; none of one whose story tells all that is known.
    pub(super) fn get(&self, at: CaseRef) -> Option<&Case> {
        match self.slot(at)? {
            Slot::Case(case) => Some(case),
            Slot::Empty | Slot::Told(..) => None,
        }
    }

    pub(super) fn get_mut(&mut self, at: CaseRef) -> Option<&mut Case> {
        match self.slot_mut(at)? {
            Slot::Case(case) => Some(case),
            Slot::Empty | Slot::Told(..) => None,
        }
    }

    /// Takes a case out, to work on it beside the rest of the engine; its place stays reserved.
    pub(super) fn take(&mut self, at: CaseRef) -> Option<Box<Case>> {
        let slot = self.slot_mut(at)?;
        match std::mem::replace(slot, Slot::Empty) {
            Slot::Case(case) => Some(case),
            other => {
                *slot = other;
                None
            }
        }
    }

    /// Puts a taken case back.
    pub(super) fn put(&mut self, at: CaseRef, case: Box<Case>) {
        if let Some(slot) = self.slot_mut(at) {
            *slot = Slot::Case(case);
        }
    }

    /// Leaves a flow whose case was taken nothing but its story and what goes on reading.
    pub(super) fn put_reader(&mut self, at: CaseRef, story: StoryId, reader: Box<QuicReader>) {
        if let Some(slot) = self.slot_mut(at) {
            *slot = Slot::Told(story, reader);
        }
    }

    /// What goes on reading a flow whose story tells all that is known.
    pub(super) fn reader_mut(&mut self, at: CaseRef) -> Option<&mut QuicReader> {
        match self.slot_mut(at)? {
            Slot::Told(_, reader) => Some(reader),
            Slot::Empty | Slot::Case(_) => None,
        }
    }

    /// Opens the case of such a flow again, at the same place; what it may hold waits until `deadline`.
    /// False: it is no such flow.
    pub(super) fn retell(&mut self, at: CaseRef, deadline: Timestamp) -> bool {
        let Some(story) = self.slot(at).and_then(Slot::story) else { return false };
        let Some(mut case) = self.stories.retell(story) else { return false };
        let Some(slot) = self.slot_mut(at) else { return false };
        let Slot::Told(_, reader) = std::mem::replace(slot, Slot::Empty) else { return false };
        self.stories.leave(story);
        let inspector = Inspector::of_quic(reader);
        let inspection = Inspection::of_stream(inspector, [0; 2], 0, false, deadline);
        case.inspection = Some(self.inspection(inspection));
        let case = self.case(case);
        self.put(at, case);
        true
    }

    /// The story that tells all that is known of a flow.
    pub(super) fn story(&self, at: CaseRef) -> Option<StoryId> {
        at.story().or_else(|| self.slot(at)?.story())
    }

    /// What is known of a flow's facts.
    pub(super) fn facts(&self, at: CaseRef) -> Option<&Facts> {
        match self.story(at) {
            Some(story) => self.stories.get(story).map(|story| &story.facts),
            None => self.get(at).map(|case| &case.facts),
        }
    }

    /// Whether the destination was an answer for the name when the flow was last decided.
    pub(super) fn bound(&self, at: CaseRef) -> bool {
        match self.story(at) {
            Some(story) => self.stories.get(story).is_some_and(|story| story.bound),
            None => self.get(at).is_some_and(|case| case.bound),
        }
    }

    /// Whether some of the datagrams of this flow, which are decided one by one, were allowed.
    pub(super) fn allowed(&self, at: CaseRef) -> bool {
        match self.story(at) {
            Some(story) => self.stories.get(story).is_some_and(|story| story.allowed),
            None => self.get(at).is_some_and(|case| case.allowed),
        }
    }

    /// Whether messages of this flow may have gone by unread, those behind the last that is known.
    pub(super) fn unread(&self, at: CaseRef) -> bool {
        match self.story(at) {
            Some(story) => self.stories.get(story).is_some_and(|story| story.unread),
            None => self.get(at).is_some_and(|case| case.unread),
        }
    }

    /// Whether the bytes of this flow are looked at for the record alone.
    pub(super) fn reads_unasked(&self, at: CaseRef) -> bool {
        let told = at.speech().and(self.story(at)).and_then(|story| self.stories.get(story));
        match told {
            Some(story) => story.unasked,
            None => self.get(at).and_then(|c| c.inspection.as_ref()).is_some_and(|i| i.unasked),
        }
    }

    /// What of this flow is still looked at.
    pub(super) fn attention(&self, at: CaseRef) -> Attention {
        if let Some(speech) = at.speech() {
            return if speech == Speech::Quic { Attention::Half } else { Attention::All };
        }
        match self.get(at).and_then(|case| case.inspection.as_deref()) {
            None => Attention::None,
            Some(open) if open.reads_half() => Attention::Half,
            Some(_) => Attention::All,
        }
    }

    /// Whether the bytes of this flow are still looked at.
    pub(super) fn inspects(&self, at: CaseRef) -> bool {
        at.speech().is_some() || self.get(at).is_some_and(|case| case.inspection.is_some())
    }

    /// Gives the place of a taken or finished case free, or the flow's part in a story up.
    pub(super) fn close(&mut self, at: CaseRef) {
        if let Some(story) = at.story() {
            return self.stories.leave(story);
        }
        let Some(place) = at.place() else { return };
        let Some(slot) = self.slots.get_mut(place) else { return };
        let left = std::mem::replace(slot, Slot::Empty);
        self.free.push(place as u32);
        let payer = self.payers.get(place).map(|account| account.index());
        if let Some(paid) = payer.and_then(|payer| self.paid.get_mut(payer)) {
            *paid = paid.saturating_sub(1);
        }
        match left {
            Slot::Case(case) => self.give_up(case),
            Slot::Told(story, reader) => {
                self.stories.leave(story);
                self.keep_reader(reader);
            }
            Slot::Empty => {}
        }
    }

    /// Keeps the memory of a case that was taken and is over.
    pub(super) fn give_up(&mut self, mut case: Box<Case>) {
        if let Some(inspection) = case.inspection.take() {
            self.leave(inspection);
        }
        if self.spare.len() < SPARE_CASES_MAX {
            *case = Case::new(Facts::default());
            self.spare.push(case);
        }
    }

    /// An inspection in memory that another left, if there is some.
    pub(super) fn inspection(&mut self, inspection: Inspection) -> Box<Inspection> {
        match self.idle.pop() {
            Some(mut idle) => {
                *idle = inspection;
                idle
            }
            None => Box::new(inspection),
        }
    }

    /// Gives a stream that has none the memory of another one, if there is some.
    pub(super) fn lend_room(&mut self, head: &mut StreamHead) {
        if head.has_no_room()
            && let Some(room) = self.rooms.pop()
        {
            head.give_room(room);
        }
    }

    /// Keeps the memory of a stream for another one.
    pub(super) fn keep_room(&mut self, room: Vec<u8>) {
        if (1..=ROOM_BYTES).contains(&room.capacity()) && self.rooms.len() < ROOMS_MAX {
            self.rooms.push(room);
        }
    }

    /// A reader of QUIC in memory that another left, if there is some.
    pub(super) fn spare_reader(&mut self) -> Option<Box<QuicReader>> {
        let reader = self.readers.pop();
        // It was left long ago. So were the next ones, which are asked for meanwhile.
        if let [.., behind, next] = &*self.readers {
            next.prefetch_room();
            prefetch(&**behind);
        }
        reader
    }

    fn keep_reader(&mut self, mut reader: Box<QuicReader>) {
        if self.readers.len() < READERS_MAX {
            reader.renew();
            self.readers.push(reader);
        }
    }

    /// Keeps the memory of an inspection that is over.
    pub(super) fn leave(&mut self, mut inspection: Box<Inspection>) {
        self.kept.count(inspection.charged, (inspection.charged.0, 0));
        if let Some(reader) = inspection.inspector.take_quic() {
            self.keep_reader(reader);
        }
        for lane in &mut inspection.lanes {
            self.keep_room(lane.head.take_room());
        }
        if self.idle.len() < SPARE_CASES_MAX {
            // What it holds of its own goes at once.
            *inspection =
                Inspection::of_stream(Inspector::stream(), [0; 2], 0, true, Timestamp::ZERO);
            self.idle.push(inspection);
        }
    }

    /// Brings the place of a case near, whose case itself is asked for next.
    #[inline]
    pub(super) fn prefetch_place(&self, at: CaseRef) {
        if let Some(story) = at.story() {
            self.stories.prefetch(story);
        }
        if let Some(slot) = at.place().and_then(|at| self.slots.get(at)) {
            prefetch(slot);
        }
    }

    /// Brings a case near; its place should be near already.
    #[inline]
    pub(super) fn prefetch(&self, at: CaseRef) {
        match (at.story(), self.slot(at)) {
            (Some(story), _) => self.stories.prefetch_found(story),
            (None, Some(Slot::Case(case))) => prefetch(&**case),
            (None, Some(Slot::Told(story, reader))) => {
                self.stories.prefetch(*story);
                prefetch(&**reader);
            }
            (None, Some(Slot::Empty) | None) => {}
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl Slot {
    const fn story(&self) -> Option<StoryId> {
        match self {
            Self::Told(story, _) => Some(*story),
            Self::Empty | Self::Case(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_streams_is_kept_up_to_its_size_and_number() {
        for (bytes, kept) in [(0, 0), (ROOM_BYTES - 1, 1), (ROOM_BYTES, 1), (ROOM_BYTES + 1, 0)] {
            let mut cases = Cases::default();
            cases.keep_room(Vec::with_capacity(bytes));
            assert_eq!(cases.rooms.len(), kept, "{bytes}");
        }
        let mut cases = Cases::default();
        (0..=ROOMS_MAX).for_each(|_| cases.keep_room(vec![1]));
        assert_eq!(cases.rooms.len(), ROOMS_MAX);
        let mut head = StreamHead::new(7, 100);
        cases.lend_room(&mut head);
        assert_eq!((head.bytes(), cases.rooms.len()), (&b""[..], ROOMS_MAX - 1));
        cases.lend_room(&mut head);
        assert_eq!(cases.rooms.len(), ROOMS_MAX - 1, "it has some");
    }

    #[test]
    fn readers_are_kept_up_to_their_number() {
        for count in [READERS_MAX - 1, READERS_MAX, READERS_MAX + 1] {
            let mut cases = Cases::default();
            (0..count).for_each(|_| cases.keep_reader(Box::default()));
            assert_eq!(cases.readers.len(), count.min(READERS_MAX));
        }
        let mut cases = Cases::default();
        cases.keep_reader(Box::default());
        assert!(cases.spare_reader().is_some());
        assert!(cases.spare_reader().is_none());
    }
}
