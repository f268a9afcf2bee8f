//! Which rules of a policy a five-tuple meets, in their order: bit vectors for few rules, tuple
//! space search for many. Its answers are those of a walk over all rules.

use super::matcher::{Matcher, Probe};
use super::spec::RuleSpec;
use super::tuple_space::TupleSpace;
use crate::model::Addr;
use std::ops::ControlFlow;

/// Up to this many rules have a bit each.
const BITS_LIMIT: usize = u128::BITS as usize;

/// Finds the rules that a five-tuple meets.
#[derive(Debug)]
pub(super) enum Classifier {
    /// A bit for each rule.
    Bits(Box<BitVectors>),
    /// Prefixes hashed.
    Search(TupleSpace),
}

impl Classifier {
    /// `matchers` are those of `rules`.
    pub(super) fn build(rules: &[RuleSpec], matchers: &[Matcher]) -> Self {
        if rules.len() <= BITS_LIMIT {
            Self::Bits(Box::new(BitVectors::build(matchers)))
        } else {
            Self::Search(TupleSpace::build(rules))
        }
    }

    /// Visits the positions of all rules that match, in order, until told to stop. Allocates
    /// nothing.
    pub(super) fn visit(
        &self,
        rules: &[Matcher],
        probe: Probe<'_>,
        mut visit: impl FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match self {
            Self::Bits(bits) => {
                let mut set = bits.find(probe);
                while set != 0 {
                    let at = set.trailing_zeros() as usize;
                    set &= set - 1;
                    let icmp = bits.icmp == 0 || rules.get(at).is_some_and(|r| r.icmp_holds(probe));
                    if icmp {
                        visit(at)?;
                    }
                }
                ControlFlow::Continue(())
            }
            Self::Search(space) => space.visit(rules, probe, visit),
        }
    }
}

/// For each field of the five-tuple, which rules each value of it meets; a flow meets the rules
/// that all its fields meet.
#[derive(Debug)]
pub(super) struct BitVectors {
    protocols: Vector<u8>,
    ports: Vector<u16>,
    source_ports: Vector<u16>,
    destinations: Addresses,
    sources: Addresses,
    /// Rules that ask for no port, the only ones for protocols without.
    portless: u128,
    /// Rules that ask for an ICMP type, which is looked at by itself.
    icmp: u128,
}

impl BitVectors {
    fn build(rules: &[Matcher]) -> Self {
        let bits = |asks: fn(&Matcher) -> bool| {
            rules.iter().zip(0..).fold(0, |set, (rule, at)| set | u128::from(asks(rule)) << at)
        };
        Self {
            protocols: Vector::build(rules.iter().map(|rule| rule.protocols.ranges())),
            ports: Vector::build(rules.iter().map(|rule| rule.ports.ranges())),
            source_ports: Vector::build(rules.iter().map(|rule| rule.source_ports.ranges())),
            destinations: Addresses::build(rules.iter().map(|rule| rule.destinations.ranges())),
            sources: Addresses::build(rules.iter().map(|rule| rule.sources.ranges())),
            portless: bits(|r| r.ports.ranges().is_none() && r.source_ports.ranges().is_none()),
            icmp: bits(|rule| rule.icmp.is_some()),
        }
    }

    fn find(&self, probe: Probe<'_>) -> u128 {
        let tuple = probe.tuple;
        let ports = if tuple.protocol.has_ports() {
            self.ports.find(tuple.dst_port) & self.source_ports.find(tuple.src_port)
        } else {
            self.portless
        };
        let set = ports & self.protocols.find(tuple.protocol.0);
        if set == 0 {
            return 0;
        }
        set & self.destinations.find(tuple.dst) & self.sources.find(tuple.src)
    }
}

/// Addresses of both families, IPv4 by itself: its numbers are compared four times as fast.
#[derive(Debug)]
struct Addresses {
    v4: Vector<u32>,
    all: Vector<u128>,
}

impl Addresses {
    /// From what each rule lists, in ranges that do not overlap, `None` being everything.
    fn build(rules: impl Iterator<Item = Option<Vec<(u128, u128)>>> + Clone) -> Self {
        let (low, high) = (Addr::v4([0; 4]).bits(), Addr::v4([255; 4]).bits());
        let v4 = |&(first, last): &(u128, u128)| {
            let inside = first <= high && last >= low;
            inside.then(|| (first.max(low) as u32, last.min(high) as u32))
        };
        Self {
            v4: Vector::build(
                rules.clone().map(|list| list.map(|ranges| ranges.iter().filter_map(v4).collect())),
            ),
            all: Vector::build(rules),
        }
    }

    fn find(&self, addr: Addr) -> u128 {
        if addr.is_v4() { self.v4.find(addr.bits() as u32) } else { self.all.find(addr.bits()) }
    }
}

/// Runs of values, each with the rules that all its values meet.
#[derive(Debug)]
struct Vector<K> {
    /// Where runs start, ascending; the first starts at zero and is left out.
    starts: Vec<K>,
    /// One more than there are starts.
    sets: Vec<u128>,
}

impl<K: Copy + Ord + Default + Successor> Vector<K> {
    /// From what each rule lists, in ranges that do not overlap, `None` being everything.
    fn build(rules: impl Iterator<Item = Option<Vec<(K, K)>>>) -> Self {
        let mut everywhere = 0;
        let mut turns: Vec<(K, u128)> = Vec::new();
        for (list, at) in rules.zip(0..) {
            let bit = 1 << at;
            let Some(ranges) = list else {
                everywhere |= bit;
                continue;
            };
            for (first, last) in ranges {
                turns.push((first, bit));
                turns.extend(last.successor().map(|after| (after, bit)));
            }
        }
        turns.sort_unstable();
        let mut vector = Self { starts: Vec::new(), sets: vec![everywhere] };
        for run in turns.chunk_by(|a, b| a.0 == b.0) {
            let Some(&(start, _)) = run.first() else { continue };
            let before = vector.sets.last().copied().unwrap_or_default();
            let set = run.iter().fold(before, |set, (_, bit)| set ^ bit);
            if start == K::default() {
                vector.sets = vec![set];
            } else if set != before {
                vector.starts.push(start);
                vector.sets.push(set);
            }
        }
        vector
    }

    fn find(&self, value: K) -> u128 {
        let at = self.starts.partition_point(|start| *start <= value);
        self.sets.get(at).copied().unwrap_or(0)
    }
}

/// The value after a value, if there is one.
trait Successor: Sized {
    fn successor(self) -> Option<Self>;
}

impl Successor for u8 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Successor for u16 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Successor for u32 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Successor for u128 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Action;

    #[test]
    fn rules_have_a_bit_each_up_to_their_limit() {
        for (count, bits) in [(BITS_LIMIT - 1, true), (BITS_LIMIT, true), (BITS_LIMIT + 1, false)] {
            let rules = vec![RuleSpec::new("r", Action::Allow); count];
            let matchers: Vec<Matcher> = rules.iter().map(Matcher::new).collect();
            let classifier = Classifier::build(&rules, &matchers);
            assert_eq!(matches!(classifier, Classifier::Bits(_)), bits, "{count}");
        }
    }

    #[test]
    fn runs_start_and_end_where_ranges_do() {
        let lists = [Some(vec![(0_u8, 9), (20, 20)]), None, Some(vec![(9, 255)]), Some(vec![])];
        let vector = Vector::build(lists.into_iter());
        for (value, set) in
            [(0, 0b011), (8, 0b011), (9, 0b111), (10, 0b110), (20, 0b111), (255, 0b110)]
        {
            assert_eq!(vector.find(value), set, "{value}");
        }
    }
}
