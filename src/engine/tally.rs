//! What is counted by segment pair and by rule, for the metrics of a running instance. Sums alone:
//! nothing is decided by them.

use crate::model::{FlowVerdict, PolicyId, Reason, SegmentId, Verdict};
use crate::policy::Policy;
use crate::wire::near::prefetch;
use hashbrown::HashMap;

/// Ordered pairs of segments that are told apart; packets of further ones are counted in the totals
/// alone.
pub const PAIRS_MAX: usize = 1 << 14;

/// A pair's place in the tally; [`PairRef::NONE`] for packets that belong to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PairRef(u16);

impl PairRef {
    pub(super) const NONE: Self = Self(u16::MAX);
}

/// Frames and their bytes, encapsulation included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Frames.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Load {
    fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Adds another sum.
    pub const fn merge(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Frames of one ordered pair of segments: those of flows the first one opened, both directions.
#[derive(Clone, Debug)]
pub struct PairTally {
    /// Who opened the flows.
    pub from: SegmentId,
    /// Who answered.
    pub to: SegmentId,
    /// Frames forwarded, those released from holding included.
    pub forwarded: Load,
    /// Frames held when they came; each is counted again when it leaves or is dropped.
    pub held: Load,
    /// Flows opened.
    pub flows: u64,
    /// Frames dropped, by reason, in no useful order.
    pub dropped: Vec<(Reason, Load)>,
}

/// Sums by pair and by rule since the policy was installed.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pairs: Vec<PairTally>,
    /// Where a pair is, by both its segments in one word.
    places: HashMap<u32, u16>,
    rules: Vec<u64>,
    otherwise: Vec<u64>,
    /// The rule that decided last, which is not counted yet: its count is on its way.
    last: Option<u32>,
    /// The pair of the packet that is being judged.
    at: Option<u16>,
    /// Pairs that were met, each where its segments say, so that most are found in one look.
    met: Vec<(u32, PairRef)>,
}

/// Places for pairs that were met.
const MET: usize = 1 << MET_BITS;
const MET_BITS: u32 = 8;

impl Tally {
    /// Every pair that has been seen.
    #[must_use]
    pub fn pairs(&self) -> &[PairTally] {
        &self.pairs
    }

    /// How many flows each rule decided, by rule id. A flow whose later messages another rule decides
    /// counts for both; of DNS over UDP every message counts.
    #[must_use]
    pub fn rules(&self) -> &[u64] {
        &self.rules
    }

    /// How often no rule was true and `otherwise` decided, by policy id.
    #[must_use]
    pub fn otherwise(&self) -> &[u64] {
        &self.otherwise
    }

    /// Empty sums for a policy.
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            rules: vec![0; policy.rules().len()],
            otherwise: vec![0; policy.policies().len()],
            met: vec![(u32::MAX, PairRef::NONE); MET],
            ..Self::default()
        }
    }

    /// The place of a pair.
    #[inline]
    pub(super) fn pair(&mut self, from: SegmentId, to: SegmentId) -> PairRef {
        let both = u32::from(from.0) << 16 | u32::from(to.0);
        let home = (both.wrapping_mul(0x9e37_79b9) >> (u32::BITS - MET_BITS)) as usize;
        match self.met.get(home) {
            Some((met, pair)) if *met == both => *pair,
            _ => self.meet(home, from, to),
        }
    }

    /// Finds the place of a pair or makes one, and remembers it.
    #[inline(never)]
    fn meet(&mut self, home: usize, from: SegmentId, to: SegmentId) -> PairRef {
        let both = u32::from(from.0) << 16 | u32::from(to.0);
        let pair = self.find(both, from, to);
        if let Some(met) = self.met.get_mut(home).filter(|_| pair != PairRef::NONE) {
            *met = (both, pair);
        }
        pair
    }

    fn find(&mut self, both: u32, from: SegmentId, to: SegmentId) -> PairRef {
        if let Some(at) = self.places.get(&both) {
            return PairRef(*at);
        }
        let Some(at) =
            u16::try_from(self.pairs.len()).ok().filter(|_| self.pairs.len() < PAIRS_MAX)
        else {
            return PairRef::NONE;
        };
        let (forwarded, held) = (Load::default(), Load::default());
        self.pairs.push(PairTally { from, to, forwarded, held, flows: 0, dropped: Vec::new() });
        self.places.insert(both, at);
        PairRef(at)
    }

    /// The packet that is being judged belongs to this pair.
    #[inline]
    pub(super) const fn at(&mut self, pair: PairRef) {
        self.at = Some(pair.0);
    }

    /// The packet that was being judged has its verdict.
    #[inline]
    pub(super) fn count(&mut self, verdict: Verdict, bytes: usize) {
        if let Some(at) = self.at.take() {
            self.count_at(PairRef(at), verdict, bytes);
        }
    }

    /// A frame of a pair was forwarded, held or dropped.
    #[inline]
    pub(super) fn count_at(&mut self, pair: PairRef, verdict: Verdict, bytes: usize) {
        let Some(pair) = self.pairs.get_mut(usize::from(pair.0)) else { return };
        match verdict {
            Verdict::Forward => pair.forwarded.add(bytes),
            Verdict::Hold => pair.held.add(bytes),
            Verdict::Drop(reason) => {
                match pair.dropped.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, load)) => load.add(bytes),
                    None => pair.dropped.push((reason, Load { packets: 1, bytes: bytes as u64 })),
                }
            }
        }
    }

    /// A flow of a pair was opened.
    pub(super) fn open(&mut self, pair: PairRef) {
        if let Some(pair) = self.pairs.get_mut(usize::from(pair.0)) {
            pair.flows += 1;
        }
    }

    /// A flow was decided, or a message of it otherwise than those before.
    pub(super) fn hit(&mut self, policy: Option<PolicyId>, verdict: FlowVerdict) {
        match (verdict.rule, policy) {
            (Some(rule), _) => {
                self.catch_up();
                if let Some(count) = self.rules.get(rule.0 as usize) {
                    prefetch(count);
                }
                self.last = Some(rule.0);
            }
            (None, Some(policy)) if verdict.reason == Reason::Otherwise => {
                if let Some(count) = self.otherwise.get_mut(policy.0 as usize) {
                    *count += 1;
                }
            }
            _ => {}
        }
    }

    /// Counts what is not counted yet: before anybody asks.
    #[inline]
    pub(super) fn catch_up(&mut self) {
        if let Some(count) = self.last.take().and_then(|rule| self.rules.get_mut(rule as usize)) {
            *count += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_end_at_their_limit() {
        let mut tally = Tally::default();
        let pair = |n: usize| (SegmentId((n / 256) as u16), SegmentId((n % 256) as u16));
        for n in 0..PAIRS_MAX - 1 {
            tally.pair(pair(n).0, pair(n).1);
        }
        let last = pair(PAIRS_MAX - 1);
        assert_ne!(tally.pair(last.0, last.1), PairRef::NONE);
        let beyond = pair(PAIRS_MAX);
        assert_eq!(tally.pair(beyond.0, beyond.1), PairRef::NONE);
        assert_ne!(tally.pair(last.0, last.1), PairRef::NONE);
    }

    #[test]
    fn pairs_that_share_a_home_are_told_apart() {
        let mut tally = Tally { met: vec![(u32::MAX, PairRef::NONE); MET], ..Tally::default() };
        let mut first = Vec::new();
        for round in 0..3 {
            for n in 0..4 * MET {
                let pair = tally.pair(SegmentId((n / 32) as u16), SegmentId((n % 32) as u16));
                if round == 0 {
                    first.push(pair);
                }
                assert_eq!((pair, Some(&pair)), (PairRef(n as u16), first.get(n)));
            }
        }
        assert_eq!(tally.pairs().len(), 4 * MET);
    }

    #[test]
    fn a_packet_counts_for_the_pair_it_was_placed_at_and_only_once() {
        let mut tally = Tally::default();
        let pair = tally.pair(SegmentId(0), SegmentId(1));
        tally.at(pair);
        tally.count(Verdict::Forward, 100);
        tally.count(Verdict::Forward, 100);
        tally.at(pair);
        tally.count(Verdict::Drop(Reason::TcpWindow), 60);
        tally.count_at(PairRef::NONE, Verdict::Forward, 9);
        let [pair] = tally.pairs() else { panic!("one pair") };
        assert_eq!(pair.forwarded, Load { packets: 1, bytes: 100 });
        assert_eq!(pair.dropped, [(Reason::TcpWindow, Load { packets: 1, bytes: 60 })]);
    }
}
