//! The hot state of a flow: 80 bytes that lie with its key in two cache lines of the flow table. What
//! only few flows have (facts, held frames, counts of a second fate) lies elsewhere.

use super::gate::Account;
use super::record::Ended;
use super::state::{CaseRef, Stage, UNDECIDED};
use super::tally::PairRef;
use super::volume::{Brief, Carried, Tally};
use crate::flow::TcpTracker;
use crate::model::{
    Action, Direction, EndpointId, FlowVerdict, Reason, RuleId, SegmentId, Span, Timestamp,
};
use hashbrown::HashMap;

/// No rule decided. Rules have 20 bits ([`crate::policy::RULES_LIMIT`]).
const NO_RULE: u32 = (1 << 21) - 1;
/// Behind action and marks of a decision: its reason.
const REASON_SHIFT: u32 = 4;
const REASONS_MAX: usize = 1 << 7;
const RULE_SHIFT: u32 = 11;
const _: () =
    assert!(crate::policy::RULES_LIMIT < NO_RULE as usize && Reason::ALL.len() <= REASONS_MAX);

/// The hot state of a flow, inside its table entry. A packet of a settled IPv4 flow needs the first 40
/// bytes alone, which lie in one cache line with its key; its fields are in the order they are
/// written in.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Flow {
    pub(super) tcp: TcpTracker,
    /// Packets of the fate that most of its packets share (see [`Mark::Forwards`]): the low parts.
    counted: [Brief; 2],
    marks: u16,
    epoch: u16,
    pub(super) pair: PairRef,
    /// Who pays for it.
    pub(super) account: Account,
    // Here the second cache line begins.
    pub(super) start: Timestamp,
    /// When its last packet came, unless [`Mark::Rolling`].
    last: Timestamp,
    /// The high parts of what is counted.
    carried: [Carried; 2],
    /// Rule in 21 bits, reason in 7, [`TOLD`], [`ASIDE`], action in 2.
    decision: u32,
    pub(super) case: CaseRef,
    pub(super) from: SegmentId,
    pub(super) to: SegmentId,
    pub(super) endpoint: EndpointRef,
    icmp: [u8; 2],
}

const _: () = assert!(std::mem::offset_of!(Flow, start) == 40 && size_of::<Flow>() == 80);

/// Where a packet is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Room {
    /// In the low parts, which will be these.
    Here(Brief),
    /// In the high parts too; a packet of so many bytes.
    Behind(u32),
}

/// What is true of a flow or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Mark {
    /// The canonical key runs against the original direction.
    Reversed,
    /// Met in the middle: what passed before is missed.
    Midstream,
    /// Nothing of its payload has been looked at.
    Fresh,
    /// Not enforced: the policy is in monitor mode.
    Monitored,
    /// Its last segment was a RST that the receiver may or may not have obeyed.
    Doubtful,
    /// Its `from` waits for the identity in a PROXY protocol header.
    BehindProxy,
    /// It has an ICMP type and code.
    Icmp,
    /// Its payload is looked at (kept right after every packet that may change it).
    Read,
    /// Its payload was looked at and is of a protocol without names.
    Nameless,
    /// The tally counts forwarded packets; else those that were not.
    Forwards,
    /// Packets pass whatever the verdict says (kept by `set` and `set_verdict`).
    Passes,
    /// Its last packet came as long before its deadline as its idle time is; `last` is older.
    Rolling,
}

/// Behind the marks: two bits of how the flow ended, two of its stage.
const ENDED_SHIFT: u32 = 12;
const ENDED_BITS: u16 = 3;
const STAGE_SHIFT: u32 = 14;
const FOLLOWING: u16 = 1;
const FINAL: u16 = 2;
/// [`Stage::Following`], and of what comes only some is read (see [`Flow::is_half_read`]).
const HALF_READ: u16 = 3;

/// What tells whether anything is left to do for a packet.
const LEFT: u16 = Mark::Fresh.bit()
    | Mark::Read.bit()
    | Mark::Doubtful.bit()
    | Mark::BehindProxy.bit()
    | Mark::Forwards.bit()
    | Mark::Passes.bit()
    | 3 << STAGE_SHIFT;

/// In a decision: something may be counted beside the flow.
const ASIDE: u32 = 1 << 2;

/// In a decision: the start of the flow has been told.
const TOLD: u32 = 1 << 3;

/// How the peers of a flow end it.
const ENDINGS: [Ended; 2] = [Ended::Closed, Ended::Reset];

impl Flow {
    /// Its first packet has just come.
    pub(super) const fn begin_at(&mut self, now: Timestamp) {
        (self.start, self.last) = (now, now);
    }

    /// Whether a mark is set.
    #[inline]
    pub(super) const fn is(&self, mark: Mark) -> bool {
        self.marks & mark.bit() != 0
    }

    /// Sets a mark, or takes it away.
    #[inline]
    pub(super) const fn set(&mut self, mark: Mark, on: bool) {
        self.marks = if on { self.marks | mark.bit() } else { self.marks & !mark.bit() };
        if matches!(mark, Mark::Monitored) {
            self.set(Mark::Passes, on || matches!(self.action(), Action::Allow));
        }
    }

    /// Sets a mark of a flow that begins, which has none but [`Mark::Fresh`] and [`Mark::Forwards`].
    #[inline(always)]
    pub(super) const fn mark(&mut self, mark: Mark, on: bool) {
        self.marks |= (on as u16) << mark as u8;
    }

    /// The decision as it stands.
    pub(super) fn verdict(&self) -> FlowVerdict {
        let rule = self.decision >> RULE_SHIFT;
        let reason = self.decision as usize >> REASON_SHIFT & (REASONS_MAX - 1);
        let reason = Reason::ALL.get(reason).copied();
        FlowVerdict {
            action: self.action(),
            rule: (rule != NO_RULE).then_some(RuleId(rule)),
            reason: reason.unwrap_or(Reason::Undecided),
        }
    }

    /// Writes a decision down.
    pub(super) fn set_verdict(&mut self, verdict: FlowVerdict) {
        let action = match verdict.action {
            Action::Allow => 0,
            Action::Deny => 1,
            Action::Reject => 2,
        };
        let rule = verdict.rule.map_or(NO_RULE, |rule| rule.0.min(NO_RULE));
        let marks = self.decision & (ASIDE | TOLD);
        let reason = u32::from(verdict.reason as u8);
        self.decision = rule << RULE_SHIFT | reason << REASON_SHIFT | marks | action;
        self.set(Mark::Passes, self.is(Mark::Monitored) || verdict.action == Action::Allow);
    }

    /// Whether something may be counted beside it. It stays so until the flow ends.
    #[inline]
    pub(super) const fn has_aside(&self) -> bool {
        self.decision & ASIDE != 0
    }

    /// From now on something may be counted beside it.
    #[inline]
    pub(super) const fn set_aside(&mut self) {
        self.decision |= ASIDE;
    }

    /// Whether its start has been told.
    pub(super) const fn is_told(&self) -> bool {
        self.decision & TOLD != 0
    }

    /// Its start has been told. It stays so until the flow ends.
    pub(super) const fn set_told(&mut self) {
        self.decision |= TOLD;
    }

    /// What the decision says is to be done.
    #[inline]
    pub(super) const fn action(&self) -> Action {
        match self.decision & 3 {
            0 => Action::Allow,
            1 => Action::Deny,
            _ => Action::Reject,
        }
    }

    /// A TCP flow whose peers are through with each other, or that was reset.
    pub(super) fn ended(&self) -> Option<Ended> {
        let number = usize::from(self.marks >> ENDED_SHIFT & ENDED_BITS);
        number.checked_sub(1).and_then(|at| ENDINGS.get(at)).copied()
    }

    /// Notes that its peers closed it, or that it was reset.
    pub(super) fn set_ended(&mut self, ended: Ended) {
        let number = ENDINGS.iter().zip(1..).find(|(other, _)| **other == ended);
        let number = number.map_or(0, |(_, number)| number);
        self.marks = self.marks & !(ENDED_BITS << ENDED_SHIFT) | number << ENDED_SHIFT;
    }

    /// How far its decision is.
    #[inline]
    pub(super) const fn stage(&self) -> Stage {
        match self.marks >> STAGE_SHIFT {
            0 => Stage::Pending,
            FOLLOWING | HALF_READ => Stage::Following,
            _ => Stage::Final,
        }
    }

    pub(super) const fn set_stage(&mut self, stage: Stage) {
        self.put_stage(match stage {
            Stage::Pending => 0,
            Stage::Following => FOLLOWING,
            Stage::Final => FINAL,
        });
    }

    const fn put_stage(&mut self, number: u16) {
        self.marks = self.marks & !(3 << STAGE_SHIFT) | number << STAGE_SHIFT;
    }

    /// Writes down whether only some of what comes is read, of a flow whose messages are (kept right
    /// after every packet that may change it).
    pub(super) const fn set_half_read(&mut self, half: bool) {
        if matches!(self.stage(), Stage::Following) {
            self.put_stage(if half { HALF_READ } else { FOLLOWING });
        }
    }

    /// ICMP type and code of its first packet.
    pub(super) fn icmp(&self) -> Option<(u8, u8)> {
        let [kind, code] = self.icmp;
        self.is(Mark::Icmp).then_some((kind, code))
    }

    pub(super) fn set_icmp(&mut self, icmp: Option<(u8, u8)>) {
        self.set(Mark::Icmp, icmp.is_some());
        let (kind, code) = icmp.unwrap_or_default();
        self.icmp = [kind, code];
    }

    /// The epoch it was decided in, given the present one: the last with these low bits. A flow
    /// without a packet for 65 536 rulesets is long forgotten.
    pub(super) const fn epoch(&self, now: u32) -> u32 {
        now.wrapping_sub((now as u16).wrapping_sub(self.epoch) as u32)
    }

    pub(super) const fn set_epoch(&mut self, epoch: u32) {
        self.epoch = epoch as u16;
    }

    /// The way a packet goes whose key was, or was not, reversed.
    #[inline]
    pub(super) fn direction(&self, reversed: bool) -> Direction {
        if self.is(Mark::Reversed) == reversed { Direction::Original } else { Direction::Reply }
    }

    /// Whether nothing but windows and counters is left to do for its packets.
    #[inline]
    pub(super) const fn is_settled(&self, epoch: u32) -> bool {
        const SETTLED: u16 = Mark::Forwards.bit() | Mark::Passes.bit() | FINAL << STAGE_SHIFT;
        self.marks & LEFT == SETTLED && self.epoch == epoch as u16
    }

    /// Whether nothing but windows and counters is left to do for its packets that nobody reads: of
    /// TCP those that bring nothing from the original side, of QUIC those with a short header.
    #[inline]
    pub(super) const fn is_half_read(&self, epoch: u32) -> bool {
        const HALF: u16 =
            Mark::Read.bit() | Mark::Forwards.bit() | Mark::Passes.bit() | HALF_READ << STAGE_SHIFT;
        self.marks & LEFT == HALF && self.epoch == epoch as u16
    }

    /// Whether packets pass whatever the verdict says.
    #[inline]
    pub(super) const fn passes(&self) -> bool {
        self.is(Mark::Passes)
    }

    /// When its last packet came, given its deadline and the idle time that its last packet set.
    #[inline]
    pub(super) fn last(&self, deadline: Timestamp, idle: Span) -> Timestamp {
        if self.is(Mark::Rolling) {
            Timestamp::from_nanos(deadline.as_nanos().saturating_sub(idle.as_nanos()))
        } else {
            self.last
        }
    }

    /// Its last packet came at `last`.
    #[inline]
    pub(super) const fn set_last(&mut self, last: Timestamp) {
        self.last = last;
        self.set(Mark::Rolling, false);
    }

    /// Room to count a packet; none where it has to be counted beside.
    #[inline(always)]
    pub(super) fn room(&self, direction: Direction, bytes: u32) -> Option<Room> {
        let counted = self.counted.get(direction.index()).copied().unwrap_or_default();
        match counted.and(bytes) {
            Some(more) => Some(Room::Here(more)),
            None => self.takes(direction, bytes).then_some(Room::Behind(bytes)),
        }
    }

    /// Counts a packet where there is room for it, of a settled flow whose deadline moves on by its
    /// idle time.
    #[inline(always)]
    pub(super) fn roll(&mut self, direction: Direction, room: Room) {
        self.marks |= Mark::Rolling.bit();
        match room {
            Room::Here(more) => {
                if let Some(counted) = self.counted.get_mut(direction.index()) {
                    *counted = more;
                }
            }
            Room::Behind(bytes) => self.carry(direction, bytes),
        }
    }

    /// Counts the first packet of a flow that begins, of at most 64 KiB, which is forwarded.
    #[inline]
    pub(super) fn count_first(&mut self, bytes: u16) {
        let [original, _] = &mut self.counted;
        *original = Brief::one(bytes);
    }

    /// Whether a packet may be counted here.
    #[cold]
    pub(super) fn takes(&self, direction: Direction, bytes: u32) -> bool {
        self.tally(direction).takes(bytes)
    }

    /// Counts a packet for which there is room.
    #[cold]
    pub(super) fn carry(&mut self, direction: Direction, bytes: u32) {
        let mut tally = self.tally(direction);
        tally.add(bytes);
        self.set_tally(direction, tally);
    }

    /// What is counted of one direction.
    pub(super) fn tally(&self, direction: Direction) -> Tally {
        let low = self.counted.get(direction.index()).copied().unwrap_or_default();
        let high = self.carried.get(direction.index()).copied().unwrap_or_default();
        Tally::of(low, high)
    }

    fn set_tally(&mut self, direction: Direction, tally: Tally) {
        let (low, high) = tally.parts();
        if let Some(counted) = self.counted.get_mut(direction.index()) {
            *counted = low;
        }
        if let Some(carried) = self.carried.get_mut(direction.index()) {
            *carried = high;
        }
    }

    /// Takes what is counted of one direction away.
    pub(super) fn take_tally(&mut self, direction: Direction) -> Tally {
        let tally = self.tally(direction);
        self.set_tally(direction, Tally::default());
        tally
    }

    /// Whether it was denied or rejected for good.
    #[inline]
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.stage(), Stage::Final) && !self.passes()
    }
}

impl Default for Flow {
    /// The state of a place that holds no flow.
    fn default() -> Self {
        let mut flow = Self {
            tcp: TcpTracker::default(),
            start: Timestamp::ZERO,
            last: Timestamp::ZERO,
            counted: [Brief::default(); 2],
            carried: [Carried::default(); 2],
            decision: 0,
            case: CaseRef::NONE,
            account: Account::default(),
            from: SegmentId(u16::MAX),
            to: SegmentId(u16::MAX),
            pair: PairRef::NONE,
            endpoint: EndpointRef::NONE,
            epoch: 0,
            marks: Mark::Fresh.bit() | Mark::Forwards.bit(),
            icmp: [0; 2],
        };
        flow.set_verdict(UNDECIDED);
        flow
    }
}

impl Mark {
    #[inline]
    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// An endpoint by a small number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndpointRef(u16);

impl EndpointRef {
    pub(super) const NONE: Self = Self(u16::MAX);
}

/// The endpoints that flows came through, each once, while it has flows.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    known: Vec<(EndpointId, u32)>,
    numbers: HashMap<EndpointId, u16>,
    free: Vec<u16>,
    /// Numbers of endpoints that were met, each where its id says; a hint.
    met: Vec<u16>,
}

/// Places for endpoints that were met.
const MET: usize = 1 << MET_BITS;
const MET_BITS: u32 = 8;

/// Endpoints with flows at one time; beyond, their flows are refused for want of room.
pub(super) const ENDPOINTS_MAX: usize = 65_535;

impl Endpoints {
    /// Another flow comes through `endpoint`; `None`: there is no room for one endpoint more.
    #[inline]
    pub(super) fn enter(&mut self, endpoint: Option<EndpointId>) -> Option<EndpointRef> {
        let Some(endpoint) = endpoint else { return Some(EndpointRef::NONE) };
        let home = endpoint.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - MET_BITS);
        if let Some(&number) = self.met.get(home as usize)
            && let Some((known, flows)) = self.known.get_mut(usize::from(number))
            && *known == endpoint
            && *flows > 0
        {
            *flows = flows.saturating_add(1);
            return Some(EndpointRef(number));
        }
        let entered = self.enter_at_length(endpoint)?;
        self.met.resize(MET, u16::MAX);
        if let Some(met) = self.met.get_mut(home as usize) {
            *met = entered.0;
        }
        Some(entered)
    }

    #[inline(never)]
    fn enter_at_length(&mut self, endpoint: EndpointId) -> Option<EndpointRef> {
        if let Some(&number) = self.numbers.get(&endpoint) {
            if let Some((_, flows)) = self.known.get_mut(usize::from(number)) {
                *flows = flows.saturating_add(1);
            }
            return Some(EndpointRef(number));
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.known.len() >= ENDPOINTS_MAX => return None,
            None => {
                self.known.push((endpoint, 0));
                u16::try_from(self.known.len().saturating_sub(1)).ok()?
            }
        };
        *self.known.get_mut(usize::from(number))? = (endpoint, 1);
        self.numbers.insert(endpoint, number);
        Some(EndpointRef(number))
    }

    /// A flow has ended.
    pub(super) fn leave(&mut self, EndpointRef(number): EndpointRef) {
        let Some((endpoint, flows)) = self.known.get_mut(usize::from(number)) else { return };
        *flows = flows.saturating_sub(1);
        if *flows == 0 {
            self.numbers.remove(endpoint);
            self.free.push(number);
        }
    }

    /// The endpoint of this number.
    pub(super) fn get(&self, EndpointRef(number): EndpointRef) -> Option<EndpointId> {
        self.known.get(usize::from(number)).map(|(endpoint, _)| *endpoint)
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
