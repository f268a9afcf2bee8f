//! Which rules of a policy a five-tuple meets, in their order: a walk over few rules, tuple space
//! search over many. An index only; every rule it finds is checked in full, so its answers are
//! those of the walk.

use super::matcher::{Matcher, Probe, merged_ports};
use super::networks::{Prefix, mask};
use super::spec::RuleSpec;
use crate::model::Protocol;
use hashbrown::HashTable;

/// Up to this many rules are walked.
pub(super) const WALK_LIMIT: usize = 64;
/// Most shapes (hash probes of one lookup); beyond, prefix lengths are made coarser.
const SHAPES_LIMIT: usize = 32;
/// Most index entries of one rule, but for one for each of its destinations or sources.
const ENTRIES_LIMIT: usize = 256;
/// A port range with more ports than this is not entered port by port.
const PORTS_LIMIT: usize = 16;

/// Finds the rules that a five-tuple meets.
#[derive(Debug)]
pub(super) enum Classifier {
    /// All rules, one after the other.
    Walk,
    /// Tuple space search.
    Search(TupleSpace),
}

impl Classifier {
    pub(super) fn build(rules: &[RuleSpec]) -> Self {
        if rules.len() <= WALK_LIMIT { Self::Walk } else { Self::Search(TupleSpace::build(rules)) }
    }

    /// Rules that match, by position, in order. Allocates nothing.
    pub(super) fn candidates<'a>(
        &'a self,
        rules: &'a [Matcher],
        probe: Probe<'a>,
    ) -> Candidates<'a> {
        let search = match self {
            Self::Walk => None,
            Self::Search(space) => Some(Search::new(space, probe)),
        };
        Candidates { rules, probe, next: 0, search }
    }
}

/// See [`Classifier::candidates`].
pub(super) struct Candidates<'a> {
    rules: &'a [Matcher],
    probe: Probe<'a>,
    next: usize,
    search: Option<Search<'a>>,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        loop {
            let at = match &mut self.search {
                None => self.next,
                Some(search) => search.next()? as usize,
            };
            self.next = at + 1;
            if self.rules.get(at)?.matches(self.probe) {
                return Some(at);
            }
        }
    }
}

/// What the entries of one hash table have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    dst_len: u8,
    src_len: u8,
    port: bool,
    protocol: bool,
    family: Family,
}

/// Which addresses can meet an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Both,
    V4,
    V6,
}

impl Family {
    const fn of(prefix: Prefix) -> Self {
        if prefix.is_v4() { Self::V4 } else { Self::V6 }
    }

    fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Both, family) | (family, Self::Both) => Some(family),
            (one, other) => (one == other).then_some(one),
        }
    }
}

/// A shape of which some rule has entries.
#[derive(Debug)]
struct Table {
    dst_mask: u128,
    src_mask: u128,
    shape: Shape,
    /// The first rule in it.
    first: u32,
}

/// Rules whose entries have one hash; different keys may share it, the full check tells.
#[derive(Debug)]
struct Bucket {
    hash: u64,
    start: u32,
    end: u32,
}

/// Hash tables by shape, tried in the order of their first rules.
#[derive(Debug)]
pub(super) struct TupleSpace {
    tables: Vec<Table>,
    buckets: HashTable<Bucket>,
    rules: Vec<u32>,
}

impl TupleSpace {
    fn build(rules: &[RuleSpec]) -> Self {
        let mut entries: Vec<(Entry, u32)> = Vec::new();
        for (rule, number) in rules.iter().zip(0..) {
            entries.extend(Entry::of(rule).into_iter().map(|entry| (entry, number)));
        }
        let coarse = (0..).find(|&step| shapes(&entries, step).len() <= SHAPES_LIMIT).unwrap_or(0);
        let mut firsts: Vec<(u32, Shape)> = shapes(&entries, coarse);
        firsts.sort_unstable();
        let position: std::collections::BTreeMap<Shape, usize> =
            firsts.iter().enumerate().map(|(at, (_, shape))| (*shape, at)).collect();
        let mut hashed: Vec<(u64, u32)> = Vec::with_capacity(entries.len());
        for (entry, number) in entries {
            let shape = entry.shape.coarser(coarse);
            let Some(&at) = position.get(&shape) else { continue };
            let hash = key(
                at,
                entry.dst & mask(shape.dst_len),
                entry.src & mask(shape.src_len),
                entry.port,
                if shape.protocol { entry.protocol } else { Protocol(0) },
            );
            hashed.push((hash, number));
        }
        hashed.sort_unstable();
        hashed.dedup();
        let table = |(first, shape): (u32, Shape)| Table {
            dst_mask: mask(shape.dst_len),
            src_mask: mask(shape.src_len),
            shape,
            first,
        };
        let mut space = Self {
            tables: firsts.into_iter().map(table).collect(),
            buckets: HashTable::new(),
            rules: Vec::with_capacity(hashed.len()),
        };
        for run in hashed.chunk_by(|a, b| a.0 == b.0) {
            space.add_run(run);
        }
        space
    }

    fn add_run(&mut self, run: &[(u64, u32)]) {
        let Some(&(hash, _)) = run.first() else { return };
        let here = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let start = here(self.rules.len());
        self.rules.extend(run.iter().map(|(_, number)| number));
        let bucket = Bucket { hash, start, end: here(self.rules.len()) };
        self.buckets.insert_unique(hash, bucket, |bucket| bucket.hash);
    }

    /// The rules that one table holds for a probe.
    fn look(&self, at: usize, table: &Table, probe: Probe<'_>) -> &[u32] {
        let tuple = probe.tuple;
        let shape = table.shape;
        let other = if tuple.dst.is_v4() { Family::V6 } else { Family::V4 };
        if shape.family == other || (shape.port && !tuple.protocol.has_ports()) {
            return &[];
        }
        let hash = key(
            at,
            tuple.dst.bits() & table.dst_mask,
            tuple.src.bits() & table.src_mask,
            if shape.port { tuple.dst_port } else { 0 },
            if shape.protocol { tuple.protocol } else { Protocol(0) },
        );
        let found = self.buckets.find(hash, |bucket| bucket.hash == hash);
        let range = found.map(|bucket| bucket.start as usize..bucket.end as usize);
        range.and_then(|range| self.rules.get(range)).unwrap_or_default()
    }
}

/// A lookup under way: the lists found so far, and the tables not yet looked at.
struct Search<'a> {
    space: &'a TupleSpace,
    probe: Probe<'a>,
    lists: [&'a [u32]; SHAPES_LIMIT],
    open: usize,
    next_table: usize,
}

impl<'a> Search<'a> {
    fn new(space: &'a TupleSpace, probe: Probe<'a>) -> Self {
        Self { space, probe, lists: [&[]; SHAPES_LIMIT], open: 0, next_table: 0 }
    }

    /// The next rule in order. A table is looked at only when its first rule could come before
    /// the best one found.
    fn next(&mut self) -> Option<u32> {
        let lists = self.lists.get(..self.open).unwrap_or_default();
        let mut best = lists.iter().filter_map(|list| list.first()).min().copied();
        while let Some(table) = self.space.tables.get(self.next_table)
            && best.is_none_or(|best| table.first <= best)
        {
            let list = self.space.look(self.next_table, table, self.probe);
            self.next_table += 1;
            let Some(&first) = list.first() else { continue };
            if let Some(slot) = self.lists.get_mut(self.open) {
                *slot = list;
                self.open += 1;
            }
            best = Some(best.map_or(first, |best| best.min(first)));
        }
        let best = best?;
        for list in self.lists.iter_mut().take(self.open) {
            if let [first, rest @ ..] = list
                && *first == best
            {
                *list = rest;
            }
        }
        Some(best)
    }
}

/// One key under which a rule is found.
struct Entry {
    shape: Shape,
    dst: u128,
    src: u128,
    port: u16,
    protocol: Protocol,
}

impl Entry {
    /// The keys of a rule: every combination of what it lists, or fewer dimensions if that would
    /// be too many.
    fn of(rule: &RuleSpec) -> Vec<Self> {
        let prefixes = |nets: &Option<Vec<ipnet::IpNet>>| match nets {
            None => vec![None],
            Some(nets) => nets.iter().map(|net| Some(Prefix::new(net))).collect(),
        };
        let dsts = prefixes(&rule.destinations);
        let mut srcs = prefixes(&rule.sources);
        let mut ports = rule.ports.as_ref().map_or(vec![None], |list| single_ports(list));
        let mut protocols: Vec<Option<Protocol>> =
            rule.protocols.as_ref().map_or(vec![None], |l| l.iter().copied().map(Some).collect());
        let count = |d: usize, s: usize, p: usize, n: usize| {
            d.saturating_mul(s).saturating_mul(p).saturating_mul(n)
        };
        let full = |s: usize, p: usize, n: usize| count(dsts.len(), s, p, n) > ENTRIES_LIMIT;
        if full(srcs.len(), ports.len(), protocols.len()) {
            protocols = vec![None];
        }
        if full(srcs.len(), ports.len(), 1) {
            ports = vec![None];
        }
        if full(srcs.len(), 1, 1) && dsts != [None] {
            srcs = vec![None];
        }
        let mut entries = Vec::with_capacity(count(dsts.len(), srcs.len(), 1, 1));
        for &dst in &dsts {
            for &src in &srcs {
                let sides = ports.iter().flat_map(|port| protocols.iter().map(move |n| (port, n)));
                entries.extend(sides.filter_map(|(&port, &n)| Self::new(dst, src, port, n)));
            }
        }
        entries
    }

    /// `None` if no packet has both addresses.
    fn new(
        dst: Option<Prefix>,
        src: Option<Prefix>,
        port: Option<u16>,
        protocol: Option<Protocol>,
    ) -> Option<Self> {
        let family = |side: Option<Prefix>| side.map_or(Family::Both, Family::of);
        let family = family(dst).with(family(src))?;
        let (dst, src) = (dst.unwrap_or(ANYWHERE), src.unwrap_or(ANYWHERE));
        let shape = Shape {
            dst_len: dst.len,
            src_len: src.len,
            port: port.is_some(),
            protocol: protocol.is_some(),
            family,
        };
        Some(Self {
            shape,
            dst: dst.first,
            src: src.first,
            port: port.unwrap_or(0),
            protocol: protocol.unwrap_or(Protocol(0)),
        })
    }
}

const ANYWHERE: Prefix = Prefix { first: 0, len: 0 };

impl Shape {
    /// The same shape with fewer different prefix lengths. At the last step five lengths of the
    /// destination and whether there is a port are all that is left: ten shapes.
    fn coarser(self, step: u32) -> Self {
        let (dst, src) = match step {
            0 => return self,
            1 => (4, 8),
            2 => (8, 16),
            3 => (16, 32),
            _ => {
                let dst_len = self.dst_len / 32 * 32;
                let port = self.port;
                return Self { dst_len, src_len: 0, port, protocol: false, family: Family::Both };
            }
        };
        Self { dst_len: self.dst_len / dst * dst, src_len: self.src_len / src * src, ..self }
    }
}

/// The shapes of all entries, each with its first rule.
fn shapes(entries: &[(Entry, u32)], step: u32) -> Vec<(u32, Shape)> {
    let mut firsts = std::collections::BTreeMap::new();
    for (entry, number) in entries {
        let first = firsts.entry(entry.shape.coarser(step)).or_insert(*number);
        *first = (*first).min(*number);
    }
    firsts.into_iter().map(|(shape, first)| (first, shape)).collect()
}

/// Every port of a list by itself, or none if they are too many.
fn single_ports(list: &[super::spec::PortRange]) -> Vec<Option<u16>> {
    let merged = merged_ports(list);
    let count: usize = merged.iter().map(|r| usize::from(r.last - r.first) + 1).sum();
    if count > PORTS_LIMIT {
        return vec![None];
    }
    merged.iter().flat_map(|range| range.first..=range.last).map(Some).collect()
}

/// Mixes a key. What is stored is the operator's, and a shared hash costs a check, not the
/// answer, so the constants need be no secret.
fn key(table: usize, dst: u128, src: u128, port: u16, protocol: Protocol) -> u64 {
    let rest = (table as u64) << 24 | u64::from(port) << 8 | u64::from(protocol.0);
    let dst = fold(dst as u64 ^ 0x243f_6a88_85a3_08d3, (dst >> 64) as u64 ^ 0x1319_8a2e_0370_7344);
    let src = fold(src as u64 ^ 0xa409_3822_299f_31d0, (src >> 64) as u64 ^ 0x082e_fa98_ec4e_6c89);
    fold(dst ^ rest ^ 0x4528_21e6_38d0_1377, src ^ 0xbe54_66cf_34e9_0c6c)
}

const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
#[path = "classifier_tests.rs"]
mod tests;
