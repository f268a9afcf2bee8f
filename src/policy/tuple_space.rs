//! Tuple space search: rules by the hash of their prefixes, one probe for each pair of prefix
//! lengths. What a key leaves open is checked beside the rule's number where it is simple, else by
//! the rule's own matcher.

use super::coarse::Coarse;
use super::decision::Toward;
use super::entries::{Entry, Family, Key, Shape, TABLES_LIMIT, refine};
use super::filter::Filter;
use super::flat::{FlatKey, FlatShape, FlatTable};
use super::lanes::Lanes;
use super::listed::{Head, Listed};
use super::matcher::{Matcher, Probe};
use super::networks::{MAPPED_LEN, mask};
use super::spec::RuleSpec;
use crate::model::{Addr, FiveTuple, Protocol};
use hashbrown::{HashMap, HashTable};
use std::ops::ControlFlow;

/// A shape of which some rule has entries.
#[derive(Debug)]
struct Table {
    dst_mask: u128,
    src_mask: u128,
    shape: Shape,
    /// The first rule in it.
    first: u32,
    /// What it takes of a five-tuple where its keys are flat.
    flat: Option<FlatShape>,
}

/// The rules of one key.
#[derive(Debug)]
struct Bucket {
    key: Key,
    start: u32,
    end: u32,
}

/// The rules under one key, in order: the first, which lies with the key, and the others.
type List<'a> = (&'a Listed, &'a [Listed]);

/// Which parts of a policy may hold a rule for a five-tuple: a bit for each table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortlist(u32);

impl Shortlist {
    /// What either of two says.
    const fn or(self, Self(other): Self) -> Self {
        Self(self.0 | other)
    }
}

/// Hash tables by shape, tried in the order of their first rules.
#[derive(Debug)]
pub(super) struct TupleSpace {
    tables: Vec<Table>,
    /// What each takes of a five-tuple where its keys are flat, with its first rule, and those whose keys
    /// are not.
    flat: Vec<(FlatShape, u32)>,
    lanes: Option<Lanes>,
    wide_set: u32,
    /// Tables that packets of IPv4, of IPv6 and of protocols without ports may meet.
    v4: u32,
    v6: u32,
    portless: u32,
    coarse: Coarse,
    filter: Filter,
    places: FlatTable,
    /// The keys that are not flat.
    buckets: HashTable<Bucket>,
    listed: Vec<Listed>,
}

impl TupleSpace {
    /// `heads` are those of `rules`.
    pub(super) fn build(rules: &[RuleSpec], heads: &[Head]) -> Self {
        let mut step = 0;
        let (entries, mut shapes) = loop {
            let numbered = rules.iter().zip(0..);
            let of = |(rule, number)| Entry::of(rule).into_iter().map(move |e| (e, number));
            let mut entries: Vec<(Entry, u32)> = numbered.flat_map(of).collect();
            let shapes = refine(&mut entries, step);
            if shapes.len() <= TABLES_LIMIT {
                break (entries, shapes);
            }
            step += 1;
        };
        shapes.sort_unstable();
        let position: HashMap<Shape, u16> =
            shapes.iter().zip(0..).map(|((_, shape), at)| (*shape, at)).collect();
        let keyed = entries.iter().filter_map(|(entry, number)| {
            let &table = position.get(&entry.shape)?;
            Some((entry.key(table), entry.listed(*number, *heads.get(*number as usize)?)))
        });
        let mut keyed: Vec<(Key, Listed)> = keyed.collect();
        keyed.sort_unstable_by_key(|(key, listed)| (*key, listed.order()));
        keyed.dedup();
        let tables: Vec<Table> = shapes.into_iter().zip(0..).map(Table::new).collect();
        let is_flat = |key: &Key| tables.get(usize::from(key.table)).is_some_and(Table::is_flat);
        let flat_keys =
            keyed.chunk_by(|a, b| a.0 == b.0).filter(|run| run.iter().any(|e| is_flat(&e.0)));
        let which = |holds: &dyn Fn(&Table) -> bool| {
            tables.iter().zip(0..).fold(0, |set, (table, at)| set | u32::from(holds(table)) << at)
        };
        let shape = |table: &Table| table.flat.unwrap_or(FlatShape::NOTHING);
        let shapes: Vec<FlatShape> = tables.iter().map(shape).collect();
        let mut space = Self {
            places: FlatTable::new(flat_keys.count()),
            lanes: Lanes::new(&shapes),
            flat: shapes.into_iter().zip(tables.iter().map(|table| table.first)).collect(),
            wide_set: which(&|table| !table.is_flat()),
            v4: which(&|table| table.shape.family != Family::V6),
            v6: which(&|table| table.shape.family != Family::V4),
            portless: which(&|table| !table.shape.port),
            coarse: coarse(&tables, &keyed),
            filter: Filter::new(keyed.len()),
            tables,
            buckets: HashTable::new(),
            listed: Vec::with_capacity(keyed.len()),
        };
        for run in keyed.chunk_by(|a, b| a.0 == b.0) {
            space.add_run(run);
        }
        space
    }

    fn add_run(&mut self, run: &[(Key, Listed)]) {
        let Some((&(key, first), others)) = run.split_first() else { return };
        let here = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let start = here(self.listed.len());
        if self.tables.get(usize::from(key.table)).is_some_and(Table::is_flat) {
            let flat = key.flat();
            self.filter.add(flat.hash());
            self.places.add(flat, first, (start, here(others.len())));
            return self.listed.extend(others.iter().map(|(_, listed)| listed));
        }
        self.listed.extend(run.iter().map(|(_, listed)| listed));
        let bucket = Bucket { key, start, end: here(self.listed.len()) };
        self.filter.add(key.hash());
        self.buckets.insert_unique(key.hash(), bucket, |bucket| bucket.key.hash());
    }

    /// The tables that may hold something for a five-tuple, whose places there are brought near.
    pub(super) fn shortlist(&self, tuple: &FiveTuple) -> Shortlist {
        if let Some(toward) = Toward::of(tuple) {
            return self.shortlist_v4(&toward);
        }
        let there = if tuple.dst.is_v4() { self.v4 } else { self.v6 };
        let open = there & self.with_ports(tuple.protocol);
        if self.takes_all(open) {
            return Shortlist(open);
        }
        self.flat_of(open, FlatKey::of(tuple)).or(self.wide_of(open, tuple))
    }

    /// The same for an IPv4 packet.
    #[inline]
    pub(super) fn shortlist_v4(&self, toward: &Toward) -> Shortlist {
        let there = self.v4 & self.coarse.tables(toward.dst);
        let open = there & self.with_ports(toward.protocol);
        if self.takes_all(open) {
            return Shortlist(open);
        }
        let flat = self.flat_of(open, FlatKey::toward(toward));
        if open & self.wide_set == 0 {
            return flat;
        }
        let v4 = |addr: u32| Addr::v4(addr.to_be_bytes());
        flat.or(self.wide_of(
            open,
            &FiveTuple {
                src: v4(toward.src),
                dst: v4(toward.dst),
                src_port: 0,
                dst_port: toward.dst_port,
                protocol: toward.protocol,
            },
        ))
    }

    /// The tables that packets of a protocol may meet.
    #[inline]
    const fn with_ports(&self, protocol: Protocol) -> u32 {
        if protocol.has_ports() { u32::MAX } else { self.portless }
    }

    /// To look into a few places costs less than to know which of them are taken.
    #[inline]
    const fn takes_all(&self, open: u32) -> bool {
        self.places.is_small() && open & self.wide_set == 0
    }

    /// Which flat tables of `open` may hold something. Without branches within a table: which of them
    /// hold something is as good as random.
    #[inline]
    fn flat_of(&self, open: u32, whole: FlatKey) -> Shortlist {
        let mut open = open & !self.wide_set;
        if let Some(lanes) = &self.lanes {
            return Shortlist(lanes.may_hold(open, whole, &self.filter, &self.places));
        }
        let mut may = 0;
        while open != 0 {
            let at = open.trailing_zeros();
            open &= open.wrapping_sub(1);
            let Some((shape, _)) = self.flat.get(at as usize) else { break };
            let hash = whole.within(shape).hash();
            let holds = self.filter.may_hold(hash);
            self.places.prefetch(hash, holds);
            may |= (holds as u32) << at;
        }
        Shortlist(may)
    }

    /// Which other tables of `open` may hold something.
    #[inline(never)]
    fn wide_of(&self, open: u32, tuple: &FiveTuple) -> Shortlist {
        let mut open = open & self.wide_set;
        let mut may = 0;
        while open != 0 {
            let at = open.trailing_zeros();
            open &= open.wrapping_sub(1);
            let Some(table) = self.tables.get(at as usize) else { break };
            may |= (self.filter.may_hold(table.key(at as u8, tuple).hash()) as u32) << at;
        }
        Shortlist(may)
    }

    /// Visits the rules that match, in order, until told to stop.
    pub(super) fn visit(
        &self,
        matchers: &[Matcher],
        probe: Probe<'_>,
        shortlist: Shortlist,
        mut visit: impl FnMut(&Listed) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // Nearly always the first is the last that is asked for, or there is no other.
        let Some(first) = self.next::<false>(0, matchers, probe, shortlist) else {
            return ControlFlow::Continue(());
        };
        visit(first)?;
        let Some(second) = self.next::<true>(first.rule, matchers, probe, shortlist) else {
            return ControlFlow::Continue(());
        };
        visit(second)?;
        self.visit_behind(second.rule, matchers, probe, shortlist, visit)
    }

    /// The first rule that matches, or the first behind one that was visited. A table is looked at only
    /// when its first rule could come before the best one found.
    #[inline]
    fn next<const BEHIND: bool>(
        &self,
        visited: u32,
        matchers: &[Matcher],
        probe: Probe<'_>,
        Shortlist(mut left): Shortlist,
    ) -> Option<&Listed> {
        let whole = FlatKey::of(probe.tuple);
        let mut best: Option<&Listed> = None;
        let mut before = u32::MAX;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            let Some((shape, first)) = self.flat.get(at as usize) else { break };
            if *first > before {
                break;
            }
            let list = if self.wide_set >> at & 1 == 0 {
                self.flat_list(whole.within(shape))
            } else {
                self.look(at, probe.tuple)
            };
            let list = if BEHIND { list.and_then(|list| behind(list, visited)) } else { list };
            let Some((first, others)) = list else { continue };
            // Whether the first matches is as good as random, so that there is no branch; whether that is
            // all is not: nearly always it matches, or is the only one.
            let comes_before = first.rule < before;
            let matches = comes_before & first.may_match(probe.tuple) & !first.asks_more();
            best = if matches { Some(first) } else { best };
            before = if matches { first.rule } else { before };
            if matches | !comes_before | (others.is_empty() & !first.asks_more()) {
                continue;
            }
            let mut listed = std::iter::once(first).chain(others);
            let listed =
                listed.find(|listed| listed.rule >= before || listed.matches(matchers, probe));
            if let Some(listed) = listed.filter(|listed| listed.rule < before) {
                (best, before) = (Some(listed), listed.rule);
            }
        }
        best
    }

    /// Goes on behind a rule that was visited, over rules that may be many.
    #[inline(never)]
    fn visit_behind(
        &self,
        visited: u32,
        matchers: &[Matcher],
        probe: Probe<'_>,
        Shortlist(mut candidates): Shortlist,
        mut visit: impl FnMut(&Listed) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let whole = FlatKey::of(probe.tuple);
        let mut lists: [Option<List<'_>>; TABLES_LIMIT] = [None; TABLES_LIMIT];
        let mut open = 0;
        loop {
            let firsts = lists.iter().take(open).flatten().map(|(first, _)| first.rule);
            let mut best = firsts.min().unwrap_or(u32::MAX);
            while candidates != 0 {
                let at = candidates.trailing_zeros();
                let Some((shape, first)) = self.flat.get(at as usize) else { break };
                if *first > best {
                    break;
                }
                candidates &= candidates.wrapping_sub(1);
                let list = if self.wide_set >> at & 1 == 0 {
                    self.flat_list(whole.within(shape))
                } else {
                    self.look(at, probe.tuple)
                };
                let Some(list) = list.and_then(|list| behind(list, visited)) else { continue };
                best = best.min(list.0.rule);
                if let Some(slot) = lists.get_mut(open) {
                    *slot = Some(list);
                    open += 1;
                }
            }
            if best == u32::MAX {
                return ControlFlow::Continue(());
            }
            let mut matching = None;
            for list in lists.iter_mut().take(open) {
                while let Some((first, others)) = *list
                    && first.rule == best
                {
                    if matching.is_none() && first.matches(matchers, probe) {
                        matching = Some(first);
                    }
                    *list = others.split_first();
                }
            }
            if let Some(listed) = matching {
                visit(listed)?;
            }
        }
    }

    /// The rules under a flat key.
    #[inline(always)]
    fn flat_list(&self, key: FlatKey) -> Option<List<'_>> {
        let (first, start, more) = self.places.find(key.hash(), key)?;
        let end = start.saturating_add(more);
        Some((first, self.listed.get(start as usize..end as usize).unwrap_or_default()))
    }

    /// The rules that table number `at`, whose keys are not flat, has under what it takes of a five-tuple.
    #[inline(never)]
    fn look(&self, at: u32, tuple: &FiveTuple) -> Option<List<'_>> {
        let key = self.tables.get(at as usize)?.key(at as u8, tuple);
        let found = self.buckets.find(key.hash(), |bucket| bucket.key == key)?;
        self.listed.get(found.start as usize..found.end as usize)?.split_first()
    }
}

/// Which tables have anything for which destinations.
fn coarse(tables: &[Table], keyed: &[(Key, Listed)]) -> Coarse {
    let told = |table: &Table| {
        table.shape.family == Family::V4 && table.shape.dst_len >= MAPPED_LEN + Coarse::BITS
    };
    let of = |key: &Key| tables.get(usize::from(key.table)).is_some_and(told);
    let halves = keyed.iter().map(|(key, _)| key).filter(|key| of(key));
    let mut different: Vec<u32> =
        halves.clone().map(|key| key.dst as u32 >> Coarse::BITS).collect();
    different.sort_unstable();
    different.dedup();
    let mut coarse = Coarse::new(different.len());
    for key in halves {
        coarse.add(key.dst as u32, key.table as u8);
    }
    for (_, at) in tables.iter().zip(0..).filter(|(table, _)| !told(table)) {
        coarse.add_always(at);
    }
    coarse
}

/// What of a list comes behind a rule.
fn behind((first, others): List<'_>, rule: u32) -> Option<List<'_>> {
    if first.rule > rule {
        return Some((first, others));
    }
    let passed = others.partition_point(|listed| listed.rule <= rule);
    others.get(passed..)?.split_first()
}

impl Table {
    fn new(((first, shape), number): ((u32, Shape), u8)) -> Self {
        Self {
            dst_mask: mask(shape.dst_len),
            src_mask: mask(shape.src_len),
            flat: shape.flat(number),
            shape,
            first,
        }
    }

    const fn is_flat(&self) -> bool {
        self.flat.is_some()
    }

    /// What this table, which is number `at`, takes of a five-tuple.
    #[inline]
    fn key(&self, at: u8, tuple: &FiveTuple) -> Key {
        let shape = self.shape;
        Key {
            dst: tuple.dst.bits() & self.dst_mask,
            src: tuple.src.bits() & self.src_mask,
            table: u16::from(at),
            port: if shape.port { tuple.dst_port } else { 0 },
            protocol: if shape.protocol { tuple.protocol } else { Protocol(0) },
        }
    }
}

#[cfg(test)]
#[path = "tuple_space_tests.rs"]
mod tests;
