//! What the engine keeps for a flow: the hot part inside the flow table's entry, and the case, which
//! only flows with facts or undecided questions have.

use super::bindings::Asked;
use super::frame::Origin;
use super::gate::Account;
use super::record::{Ended, Names, Volume};
use super::tally::PairRef;
use crate::flow::TcpTracker;
use crate::inspect::Inspector;
use crate::inspect::stream::StreamHead;
use crate::model::{
    App, Direction, EndpointId, Fact, Facts, FlowVerdict, PolicyId, Reason, SegmentId, Timestamp,
};
use crate::wire::{Link, Packet};
use std::sync::Arc;

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

/// Position of a case; [`CaseRef::NONE`] where a flow has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CaseRef(pub(super) u32);

impl CaseRef {
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// The hot state of a flow, inside its table entry.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) tcp: TcpTracker,
    pub(super) start: Timestamp,
    pub(super) last: Timestamp,
    pub(super) endpoint: Option<EndpointId>,
    pub(super) volume: [Volume; 2],
    pub(super) verdict: FlowVerdict,
    pub(super) epoch: u32,
    pub(super) case: CaseRef,
    /// Who pays for it.
    pub(super) account: Account,
    pub(super) from: SegmentId,
    pub(super) to: SegmentId,
    pub(super) pair: PairRef,
    pub(super) stage: Stage,
    /// Whether the canonical key runs against the original direction.
    pub(super) reversed: bool,
    /// Met in the middle: what passed before is missed.
    pub(super) midstream: bool,
    /// Nothing of its payload has been looked at.
    pub(super) fresh: bool,
    /// Not enforced: the policy is in monitor mode.
    pub(super) monitored: bool,
    /// A TCP flow whose peers are through with each other, or that was reset.
    pub(super) ended: Option<Ended>,
    pub(super) icmp: Option<(u8, u8)>,
    /// Sequence numbers of the first byte of either direction. They follow from the SYNs alone: no
    /// other segment says where a stream begins.
    pub(super) first_bytes: [u32; 2],
    pub(super) policy: Option<PolicyId>,
    /// Its last segment was a RST that the receiver may or may not have obeyed.
    pub(super) doubtful: bool,
    /// Its `from` waits for the identity in a PROXY protocol header.
    pub(super) behind_proxy: bool,
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
    /// Every name in DNS questions, for the record.
    pub(super) questions: Names,
    /// DNS questions whose answers are to be remembered.
    pub(super) asked: Asked,
    /// The destination was an answer for the name when the flow was last decided.
    pub(super) bound: bool,
    /// Every name in answers that came where questions were due.
    pub(super) answered: Names,
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
            questions: Names::default(),
            asked: Asked::default(),
            bound: false,
            answered: Names::default(),
            inspection: None,
        }
    }

    /// Adds the names of the present facts to the record's.
    pub(super) fn note_names(&mut self) {
        if let Some(name) = self.facts.domain.known() {
            self.names.note(name);
        }
        for name in self.facts.questions.known().into_iter().flatten() {
            self.questions.note(&Arc::new(*name));
        }
        let dns = self.facts.app == Fact::Known(App::Dns);
        for name in std::mem::take(&mut self.facts.noted) {
            let list = if dns { &mut self.answered } else { &mut self.names };
            list.note(&Arc::new(name));
        }
    }
}

/// Cases by position, positions used again.
#[derive(Debug, Default)]
pub(super) struct Cases {
    slots: Vec<Option<Box<Case>>>,
    free: Vec<u32>,
}

impl Cases {
    pub(super) fn open(&mut self, case: Case) -> CaseRef {
        let case = Some(Box::new(case));
        if let Some(at) = self.free.pop() {
            if let Some(slot) = self.slots.get_mut(at as usize) {
                *slot = case;
            }
            return CaseRef(at);
        }
        let at = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(case);
        CaseRef(at)
    }

    pub(super) fn get(&self, at: CaseRef) -> Option<&Case> {
        self.slots.get(at.0 as usize)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, at: CaseRef) -> Option<&mut Case> {
        self.slots.get_mut(at.0 as usize)?.as_deref_mut()
    }

    /// Takes a case out, to work on it beside the rest of the engine; its place stays reserved.
    pub(super) fn take(&mut self, at: CaseRef) -> Option<Box<Case>> {
        self.slots.get_mut(at.0 as usize)?.take()
    }

    /// Puts a taken case back.
    pub(super) fn put(&mut self, at: CaseRef, case: Box<Case>) {
        if let Some(slot) = self.slots.get_mut(at.0 as usize) {
            *slot = Some(case);
        }
    }

    /// Whether the bytes of this flow are still looked at.
    pub(super) fn inspects(&self, at: CaseRef) -> bool {
        self.get(at).is_some_and(|case| case.inspection.is_some())
    }

    /// Gives the place of a taken or finished case free.
    pub(super) fn close(&mut self, at: CaseRef) {
        if let Some(slot) = self.slots.get_mut(at.0 as usize) {
            *slot = None;
            self.free.push(at.0);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

/// The verdict of a flow that nobody has decided yet, as its record would show it.
pub(super) const UNDECIDED: FlowVerdict =
    FlowVerdict { action: crate::model::Action::Deny, rule: None, reason: Reason::Undecided };

impl Default for Flow {
    /// The state of a place that holds no flow.
    fn default() -> Self {
        Self {
            tcp: TcpTracker::default(),
            start: Timestamp::ZERO,
            last: Timestamp::ZERO,
            endpoint: None,
            volume: [Volume::default(); 2],
            verdict: UNDECIDED,
            epoch: 0,
            case: CaseRef::NONE,
            account: Account::default(),
            from: SegmentId(u16::MAX),
            to: SegmentId(u16::MAX),
            pair: PairRef::NONE,
            stage: Stage::Pending,
            reversed: false,
            midstream: false,
            fresh: true,
            monitored: false,
            ended: None,
            icmp: None,
            first_bytes: [0; 2],
            policy: None,
            behind_proxy: false,
            doubtful: false,
        }
    }
}
