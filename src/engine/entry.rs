//! The hot state of a flow: 80 bytes that lie with its key in two cache lines of the flow table. What
//! only few flows have (facts, held frames, counts of a second fate) lies elsewhere.

use super::gate::Account;
use super::record::{Ended, Volume};
use super::state::{CaseRef, Stage, UNDECIDED};
use super::tally::PairRef;
use crate::flow::TcpTracker;
use crate::model::{
    Action, Direction, EndpointId, FlowVerdict, Reason, RuleId, SegmentId, Timestamp,
};
use hashbrown::HashMap;

/// No rule decided. Rules have 20 bits ([`crate::policy::RULES_LIMIT`]).
const NO_RULE: u32 = (1 << 21) - 1;
const _: () = assert!(crate::policy::RULES_LIMIT < NO_RULE as usize && Reason::ALL.len() <= 256);

/// The hot state of a flow, inside its table entry.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) tcp: TcpTracker,
    pub(super) start: Timestamp,
    pub(super) last: Timestamp,
    /// Packets of the fate that most of its packets share (see [`Mark::Forwards`]).
    pub(super) tally: [Tally; 2],
    /// Rule in 21 bits, reason in 8, action in 2.
    decision: u32,
    pub(super) case: CaseRef,
    /// Who pays for it.
    pub(super) account: Account,
    pub(super) from: SegmentId,
    pub(super) to: SegmentId,
    pub(super) pair: PairRef,
    pub(super) endpoint: EndpointRef,
    epoch: u16,
    marks: u16,
    icmp: [u8; 2],
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
}

/// Behind the marks: three bits of how the flow ended, two of its stage.
const ENDED_SHIFT: u32 = 10;
const ENDED_BITS: u16 = 0xf;
const STAGE_SHIFT: u32 = 14;

impl Flow {
    /// A flow that begins now, between these segments.
    pub(super) fn begin(now: Timestamp, from: SegmentId, to: SegmentId) -> Self {
        Self { start: now, last: now, from, to, ..Self::default() }
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
    }

    /// The decision as it stands.
    pub(super) fn verdict(&self) -> FlowVerdict {
        let rule = self.decision >> 11;
        let reason = Reason::ALL.get((self.decision >> 3 & 0xff) as usize).copied();
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
        self.decision = rule << 11 | u32::from(verdict.reason as u8) << 3 | action;
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
        number.checked_sub(1).and_then(|at| Ended::ALL.get(at)).copied()
    }

    pub(super) fn set_ended(&mut self, ended: Ended) {
        let number = Ended::ALL.iter().zip(1..).find(|(other, _)| **other == ended);
        let number = number.map_or(0, |(_, number)| number);
        self.marks = self.marks & !(ENDED_BITS << ENDED_SHIFT) | number << ENDED_SHIFT;
    }

    /// How far its decision is.
    #[inline]
    pub(super) const fn stage(&self) -> Stage {
        match self.marks >> STAGE_SHIFT {
            0 => Stage::Pending,
            1 => Stage::Following,
            _ => Stage::Final,
        }
    }

    pub(super) const fn set_stage(&mut self, stage: Stage) {
        let number = match stage {
            Stage::Pending => 0,
            Stage::Following => 1,
            Stage::Final => 2,
        };
        self.marks = self.marks & !(3 << STAGE_SHIFT) | number << STAGE_SHIFT;
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
        const BUSY: u16 =
            Mark::Fresh.bit() | Mark::Read.bit() | Mark::Doubtful.bit() | Mark::BehindProxy.bit();
        matches!(self.stage(), Stage::Final)
            && self.marks & BUSY == 0
            && self.epoch == epoch as u16
            && self.marks & Mark::Forwards.bit() != 0
            && self.passes()
    }

    /// Whether packets pass whatever the verdict says.
    #[inline]
    pub(super) const fn passes(&self) -> bool {
        self.is(Mark::Monitored) || matches!(self.action(), Action::Allow)
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
            tally: [Tally::default(); 2],
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

/// Packets and bytes in one word: 24 bits and 40.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(u64);

impl Tally {
    /// With so many packets of less than so many bytes, the sum has not left its 40 bits. What
    /// comes then is counted beside.
    const PACKETS_MAX: u64 = 1 << 23;
    const BYTES_MAX: u32 = 1 << 17;
    const BYTES: u64 = (1 << 40) - 1;

    pub(super) const fn packets(self) -> u64 {
        self.0 >> 40
    }

    const fn bytes(self) -> u64 {
        self.0 & Self::BYTES
    }

    /// Whether there is room for a packet of so many bytes.
    #[inline]
    pub(super) const fn takes(self, bytes: u32) -> bool {
        self.packets() < Self::PACKETS_MAX && bytes < Self::BYTES_MAX
    }

    /// Counts a packet for which there is room.
    #[inline]
    pub(super) const fn add(&mut self, bytes: u32) {
        self.0 = self.0.wrapping_add(1 << 40).wrapping_add(bytes as u64);
    }
}

/// Packets and bytes of one fate, without a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    packets: u64,
    bytes: u64,
}

/// What few flows have: packets whose fate is not that of the others, and tallies that were full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Aside {
    other: [Count; 2],
    carried: [Count; 2],
}

/// Counts beside the flows' own, by the place of the flow.
#[derive(Debug, Default)]
pub(super) struct Asides(HashMap<usize, Aside>);

impl Asides {
    /// Counts a packet that was forwarded, or was not.
    pub(super) fn count(
        &mut self,
        place: usize,
        flow: &mut Flow,
        direction: Direction,
        bytes: u32,
        forwarded: bool,
    ) {
        if flow.is(Mark::Forwards) != forwarded {
            if !forwarded && !flow.is_refused() {
                return self.change(place, direction, |count| count.add(bytes));
            }
            self.turn(place, flow, forwarded);
        }
        let Some(tally) = flow.tally.get_mut(direction.index()) else { return };
        if tally.takes(bytes) {
            return tally.add(bytes);
        }
        let full = std::mem::take(tally);
        let aside = self.0.entry(place).or_default();
        if let Some(carried) = aside.carried.get_mut(direction.index()) {
            carried.take(full);
            carried.add(bytes);
        }
    }

    /// A packet that was counted as not forwarded is forwarded now.
    pub(super) fn release(
        &mut self,
        place: usize,
        flow: &mut Flow,
        direction: Direction,
        bytes: u32,
    ) {
        if !flow.is(Mark::Forwards) {
            self.turn(place, flow, true);
        }
        self.change(place, direction, |count| {
            count.packets = count.packets.saturating_sub(1);
            count.bytes = count.bytes.saturating_sub(u64::from(bytes));
        });
        self.count(place, flow, direction, bytes, true);
    }

    /// Forgets a flow.
    pub(super) fn forget(&mut self, place: usize) {
        if !self.0.is_empty() {
            self.0.remove(&place);
        }
    }

    /// What was seen and forwarded of a flow.
    pub(super) fn volume(&self, place: usize, flow: &Flow) -> [Volume; 2] {
        let aside = self.0.get(&place).copied().unwrap_or_default();
        let side = |at: usize| {
            let tally = flow.tally.get(at).copied().unwrap_or_default();
            let mut same = aside.carried.get(at).copied().unwrap_or_default();
            same.take(tally);
            let other = aside.other.get(at).copied().unwrap_or_default();
            let forwarded = if flow.is(Mark::Forwards) { same } else { other };
            Volume {
                packets: same.packets.saturating_add(other.packets),
                bytes: same.bytes.saturating_add(other.bytes),
                forwarded_packets: forwarded.packets,
                forwarded_bytes: forwarded.bytes,
            }
        };
        [side(0), side(1)]
    }

    /// From now on the tally counts the other fate.
    fn turn(&mut self, place: usize, flow: &mut Flow, forwards: bool) {
        flow.set(Mark::Forwards, forwards);
        let empty = flow.tally == [Tally::default(); 2];
        if empty && !self.0.contains_key(&place) {
            return;
        }
        let aside = self.0.entry(place).or_default();
        for (tally, carried) in flow.tally.iter_mut().zip(&mut aside.carried) {
            carried.take(std::mem::take(tally));
        }
        std::mem::swap(&mut aside.other, &mut aside.carried);
        self.tidy(place);
    }

    fn change(&mut self, place: usize, direction: Direction, change: impl FnOnce(&mut Count)) {
        if let Some(count) = self.0.entry(place).or_default().other.get_mut(direction.index()) {
            change(count);
        }
        self.tidy(place);
    }

    fn tidy(&mut self, place: usize) {
        if self.0.get(&place) == Some(&Aside::default()) {
            self.0.remove(&place);
        }
    }
}

impl Count {
    fn add(&mut self, bytes: u32) {
        self.packets = self.packets.saturating_add(1);
        self.bytes = self.bytes.saturating_add(u64::from(bytes));
    }

    fn take(&mut self, tally: Tally) {
        self.packets = self.packets.saturating_add(tally.packets());
        self.bytes = self.bytes.saturating_add(tally.bytes());
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
}

/// Endpoints with flows at one time; beyond, their flows are refused for want of room.
pub(super) const ENDPOINTS_MAX: usize = 65_535;

impl Endpoints {
    /// Another flow comes through `endpoint`; `None`: there is no room for one endpoint more.
    pub(super) fn enter(&mut self, endpoint: Option<EndpointId>) -> Option<EndpointRef> {
        let Some(endpoint) = endpoint else { return Some(EndpointRef::NONE) };
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
mod tests {
    use super::*;
    use Direction::{Original, Reply};

    #[test]
    fn the_state_of_a_flow_takes_eighty_bytes() {
        assert_eq!(size_of::<Flow>(), 80);
    }

    #[test]
    fn marks_actions_and_endings_do_not_touch_each_other() {
        let mut flow = Flow::default();
        assert!(flow.is(Mark::Fresh) && flow.is(Mark::Forwards) && !flow.is(Mark::Reversed));
        assert_eq!(flow.verdict(), UNDECIDED);
        for &ended in Ended::ALL {
            for action in [Action::Allow, Action::Deny, Action::Reject] {
                let verdict = FlowVerdict { action, rule: Some(RuleId(7)), reason: Reason::Rule };
                flow.set_verdict(verdict);
                flow.set_ended(ended);
                flow.set(Mark::Nameless, true);
                assert_eq!((flow.verdict(), flow.ended()), (verdict, Some(ended)));
                assert!(flow.is(Mark::Nameless) && flow.is(Mark::Fresh));
                flow.set(Mark::Nameless, false);
                assert!(!flow.is(Mark::Nameless) && flow.is(Mark::Forwards));
            }
        }
        flow.set_icmp(Some((3, 1)));
        assert_eq!(flow.icmp(), Some((3, 1)));
        flow.set_icmp(None);
        assert_eq!(flow.icmp(), None);
    }

    #[test]
    fn an_epoch_is_told_by_its_low_half() {
        let mut flow = Flow::default();
        for (set, now) in [(1, 1), (1, 65_536), (65_535, 65_537), (70_000, 135_535)] {
            flow.set_epoch(set);
            assert_eq!(flow.epoch(now), set, "{set} {now}");
        }
    }

    #[test]
    fn every_packet_is_counted_whatever_became_of_it() {
        let (mut flow, mut asides) = (Flow::default(), Asides::default());
        asides.count(0, &mut flow, Original, 100, true);
        asides.count(0, &mut flow, Original, 50, false);
        asides.count(0, &mut flow, Reply, 10, true);
        let [there, back] = asides.volume(0, &flow);
        assert_eq!((there.packets, there.bytes), (2, 150));
        assert_eq!((there.forwarded_packets, there.forwarded_bytes), (1, 100));
        assert_eq!((back.packets, back.forwarded_bytes), (1, 10));
        asides.release(0, &mut flow, Original, 50);
        let [there, _] = asides.volume(0, &flow);
        assert_eq!((there.packets, there.forwarded_packets, there.forwarded_bytes), (2, 2, 150));
        assert!(asides.0.is_empty(), "nothing is left beside the flow");
    }

    #[test]
    fn a_flow_that_is_refused_keeps_what_it_forwarded_before() {
        let (mut flow, mut asides) = (Flow::default(), Asides::default());
        asides.count(3, &mut flow, Original, 40, true);
        flow.set_stage(Stage::Final);
        for _ in 0..5 {
            asides.count(3, &mut flow, Original, 60, false);
        }
        let [there, _] = asides.volume(3, &flow);
        assert_eq!((there.packets, there.bytes), (6, 340));
        assert_eq!((there.forwarded_packets, there.forwarded_bytes), (1, 40));
        asides.forget(3);
        assert!(asides.0.is_empty());
    }

    #[test]
    fn a_flow_refused_from_the_start_needs_nothing_beside_it() {
        let (mut flow, mut asides) = (Flow::default(), Asides::default());
        flow.set_stage(Stage::Final);
        asides.count(0, &mut flow, Original, 60, false);
        assert!(asides.0.is_empty());
        assert_eq!(asides.volume(0, &flow)[0].packets, 1);
        assert_eq!(asides.volume(0, &flow)[0].forwarded_packets, 0);
    }

    #[test]
    fn a_tally_is_carried_over_when_it_is_full() {
        let limit = Tally::PACKETS_MAX;
        for (packets, bytes) in
            [(limit - 1, 65_575), (limit, 65_575), (limit + 1, 65_575), (3, 1 << 17)]
        {
            let (mut flow, mut asides) = (Flow::default(), Asides::default());
            for _ in 0..packets {
                asides.count(0, &mut flow, Reply, bytes, true);
            }
            let [_, back] = asides.volume(0, &flow);
            assert_eq!((back.packets, back.bytes), (packets, packets * u64::from(bytes)));
            assert_eq!(asides.0.is_empty(), packets <= limit && bytes < Tally::BYTES_MAX);
        }
    }

    #[test]
    fn an_endpoint_has_its_number_as_long_as_it_has_flows() {
        let mut endpoints = Endpoints::default();
        let one = endpoints.enter(Some(EndpointId(1))).unwrap();
        assert_eq!(endpoints.enter(Some(EndpointId(1))), Some(one));
        assert_eq!(endpoints.enter(None), Some(EndpointRef::NONE));
        assert_eq!(endpoints.get(one), Some(EndpointId(1)));
        assert_eq!(endpoints.get(EndpointRef::NONE), None);
        endpoints.leave(one);
        endpoints.leave(one);
        assert_eq!(endpoints.enter(Some(EndpointId(2))), Some(one));
        assert_eq!(endpoints.get(one), Some(EndpointId(2)));
    }

    #[test]
    fn one_endpoint_too_many_finds_no_room() {
        let mut endpoints = Endpoints::default();
        for number in 0..ENDPOINTS_MAX as u64 {
            assert!(endpoints.enter(Some(EndpointId(number))).is_some(), "{number}");
        }
        assert_eq!(endpoints.enter(Some(EndpointId(u64::MAX))), None);
        assert!(endpoints.enter(Some(EndpointId(5))).is_some());
    }
}
