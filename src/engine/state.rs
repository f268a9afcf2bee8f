//! What the engine keeps of a flow beside its entry in the flow table: the case, which only flows with
//! facts or undecided questions have.

use super::bindings::Asked;
use super::frame::Origin;
use super::gate::Account;
use super::record::{Names, RECORD_NAMES_MAX};
use super::story::{Stories, StoryId};
use crate::inspect::quic::QuicReader;
use crate::inspect::stream::StreamHead;
use crate::inspect::{Inspector, Speech};
use crate::model::{Addr, App, Direction, Fact, Facts, FlowVerdict, Reason, Timestamp};
use crate::wire::near::prefetch;
use crate::wire::{Link, Packet};

/// How far the decision about a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Undecided: payload is held.
    Pending,
    /// The last message was allowed; later ones are decided anew.
    Following,
    /// Decided for good.
    Final,
}

/// Where the rest of what is known of a flow is: in a case of its own, in a story that flows share,
/// or nowhere ([`CaseRef::NONE`]). It also says what datagrams the flow may send unlooked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CaseRef(u32);

impl CaseRef {
    pub(super) const NONE: Self = Self(u32::MAX);

    const STORY: u32 = 1 << 31;
    const SPEECH_SHIFT: u32 = 29;
    const NUMBER: u32 = (1 << Self::SPEECH_SHIFT) - 1;

    const fn new(story: bool, number: u32, speech: Option<Speech>) -> Self {
        let speech = match speech {
            None => 0,
            Some(Speech::Dns) => 1,
            Some(Speech::Nameless) => 2,
            Some(Speech::Quic) => 3,
        };
        let kind = if story { Self::STORY } else { 0 };
        Self(kind | speech << Self::SPEECH_SHIFT | number & Self::NUMBER)
    }

    /// What the flow speaks, as far as that alone tells how to read on.
    #[inline]
    pub(super) const fn speech(self) -> Option<Speech> {
        match self.0 >> Self::SPEECH_SHIFT & 3 {
            _ if self.0 == u32::MAX => None,
            1 => Some(Speech::Dns),
            2 => Some(Speech::Nameless),
            3 => Some(Speech::Quic),
            _ => None,
        }
    }

    const fn place(self) -> Option<usize> {
        if self.0 & Self::STORY == 0 { Some((self.0 & Self::NUMBER) as usize) } else { None }
    }

    /// The story it names.
    pub(super) const fn story(self) -> Option<StoryId> {
        if self.0 & Self::STORY != 0 && self.0 != u32::MAX {
            Some(StoryId(self.0 & Self::NUMBER))
        } else {
            None
        }
    }

    /// A story, of a flow that goes on to speak.
    pub(super) const fn of_story(StoryId(number): StoryId, speech: Option<Speech>) -> Self {
        Self::new(true, number, speech)
    }

    /// The same case, whose flow speaks so now.
    pub(super) const fn speaking(self, speech: Option<Speech>) -> Self {
        Self::new(false, self.0, speech)
    }
}

/// A frame kept until its flow is decided.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) number: u64,
    pub(super) link: Link,
    pub(super) direction: Direction,
    /// Its sequence number (streams only).
    pub(super) start: u32,
    /// Stream position behind its last payload byte (streams only).
    pub(super) end: u32,
    pub(super) packet: Packet,
    pub(super) bytes: Vec<u8>,
}

impl Held {
    pub(super) const fn origin(&self) -> Origin {
        Origin::Held(self.number)
    }
}

/// How far one direction of a stream may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cleared {
    /// Up to this sequence number.
    To(u32),
    /// All of it.
    All,
}

/// What of a flow's payload is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attention {
    /// Nothing.
    None,
    /// Of a stream what its original side sends, and nothing else ever will be; of QUIC what can open
    /// a connection.
    Half,
    /// All.
    All,
}

/// One direction of a stream under inspection.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) head: StreamHead,
    pub(super) cleared: Cleared,
    /// Sequence number of the first byte of all.
    pub(super) first: u32,
}

impl Lane {
    /// Starts at a sequence number that has only now become known; nothing was read.
    pub(super) fn begin(&mut self, seq: u32) {
        self.head.begin(seq);
        self.first = seq;
        if self.cleared != Cleared::All {
            self.cleared = Cleared::To(seq);
        }
    }
}

/// What is known of a flow beyond its hot state, and what waits for its decision.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) facts: Facts,
    /// Every name the client asked for, for the record.
    pub(super) names: Names,
    /// Every address it gave where a name belongs, for the record.
    pub(super) host_addresses: Vec<Addr>,
    /// Every name in DNS questions, for the record.
    pub(super) questions: Names,
    /// DNS questions whose answers are to be remembered.
    pub(super) asked: Asked,
    /// The destination was an answer for the name when the flow was last decided.
    pub(super) bound: bool,
    /// Every name in answers that came where questions were due.
    pub(super) answered: Names,
    /// Reading for the record alone ended before the flow did: it may have said more.
    pub(super) unread: bool,
    pub(super) inspection: Option<Box<Inspection>>,
}

/// The live part of a case: gone once nothing more is read.
#[derive(Debug)]
pub(super) struct Inspection {
    pub(super) inspector: Inspector,
    /// The two directions of a stream; unused for datagrams.
    pub(super) lanes: [Lane; 2],
    /// Frames waiting for the decision, in the order they came.
    pub(super) held: Vec<Held>,
    pub(super) held_bytes: usize,
    /// When an undecided flow ends.
    pub(super) deadline: Timestamp,
    /// Nobody asked: read for the record alone, never holds.
    pub(super) unasked: bool,
    /// What was read so far, for the bound of reading for the record alone.
    pub(super) read_bytes: usize,
    /// What is kept of its streams, as last counted.
    pub(super) kept_bytes: usize,
    /// Nothing more is read; what was read is still compared with retransmissions until the
    /// receiver has acknowledged it.
    pub(super) done: bool,
    /// Undecided, but what the reader consumes may pass: the server's answer is waited for.
    pub(super) handshake: bool,
}

impl Case {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            facts,
            names: Names::default(),
            host_addresses: Vec::new(),
            questions: Names::default(),
            asked: Asked::default(),
            bound: false,
            answered: Names::default(),
            unread: false,
            inspection: None,
        }
    }

    /// Adds the names of the present facts to the record's.
    pub(super) fn note_names(&mut self) {
        if let Fact::Known(name) = &self.facts.domain {
            self.names.note(name);
        }
        if let Some(address) = self.facts.host_address.take()
            && self.host_addresses.len() < RECORD_NAMES_MAX
            && !self.host_addresses.contains(&address)
        {
            self.host_addresses.push(address);
        }
        for name in self.facts.questions.known().into_iter().flatten() {
            self.questions.note_new(name);
        }
        let dns = self.facts.app == Fact::Known(App::Dns);
        for name in std::mem::take(&mut self.facts.noted) {
            let list = if dns { &mut self.answered } else { &mut self.names };
            list.note_new(&name);
        }
    }
}

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
    kept_bytes: usize,
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

    /// Opens the case of such a flow again, at the same place; what reads on is read by until
    /// `deadline`. False: it is no such flow.
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

    /// Takes in that what is kept of a stream has changed, from so many bytes to so many.
    pub(super) fn count_kept(&mut self, (before, now): (usize, usize)) {
        self.kept_bytes = self.kept_bytes.saturating_sub(before).saturating_add(now);
    }

    /// Bytes kept of all streams.
    pub(super) const fn kept_bytes(&self) -> usize {
        self.kept_bytes
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
        self.readers.pop()
    }

    fn keep_reader(&mut self, mut reader: Box<QuicReader>) {
        if self.readers.len() < READERS_MAX {
            reader.renew();
            self.readers.push(reader);
        }
    }

    /// Keeps the memory of an inspection that is over.
    pub(super) fn leave(&mut self, mut inspection: Box<Inspection>) {
        self.count_kept((inspection.kept_bytes, 0));
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

/// The verdict of a flow that nobody has decided yet, as its record would show it.
pub(super) const UNDECIDED: FlowVerdict =
    FlowVerdict { action: crate::model::Action::Deny, rule: None, reason: Reason::Undecided };

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
}
