//! What the engine keeps of a flow beside its entry in the flow table: the case, which only flows with
//! facts or undecided questions have. Where cases are kept is elsewhere.

use super::bindings::Asked;
use super::frame::Origin;
use super::kept::Charge;
use super::record::{Names, RECORD_NAMES_MAX};
use super::story::StoryId;
use crate::inspect::stream::StreamHead;
use crate::inspect::{Inspector, Speech, Strand};
use crate::model::{Addr, App, Direction, Fact, Facts, FlowVerdict, Reason, Timestamp};
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

    pub(super) const fn new(story: bool, number: u32, speech: Option<Speech>) -> Self {
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

    /// The place of its case.
    pub(super) const fn place(self) -> Option<usize> {
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
    /// What it is part of (datagrams only).
    pub(super) strand: Strand,
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
    /// The names of messages that were allowed while the destination was an answer for them.
    pub(super) bound_names: Names,
    /// Of datagrams that are decided one by one, some were allowed.
    pub(super) allowed: bool,
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
    /// What of its streams is charged, and to whom.
    pub(super) charged: Charge,
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
            bound_names: Names::default(),
            allowed: false,
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

/// The verdict of a flow that nobody has decided yet, as its record would show it.
pub(super) const UNDECIDED: FlowVerdict =
    FlowVerdict { action: crate::model::Action::Deny, rule: None, reason: Reason::Undecided };
