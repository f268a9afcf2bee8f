//! Tuple space search: rules by the hash of their prefixes, one probe for each pair of prefix
//! lengths. What a key leaves open is checked beside the rule's number where it is simple, else by
//! the rule's own matcher.

use super::filter::Filter;
use super::flat::{FlatKey, FlatTable, Found};
use super::matcher::{Matcher, Probe, merged_ports};
use super::networks::{MAPPED_LEN, Prefix, mask};
use super::spec::{PortRange, RuleSpec};
use crate::model::Protocol;
use hashbrown::{HashMap, HashTable};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Most tables (hash probes of one lookup); beyond, prefix lengths are made coarser.
const TABLES_LIMIT: usize = 32;
/// Most index entries of one rule, but for one for each of its destinations or sources.
const ENTRIES_LIMIT: usize = 256;
/// A port range with more ports than this is not entered port by port.
const PORTS_LIMIT: usize = 16;
/// Rules of one prefix are told apart by port, then by protocol, only when they are more.
const BUCKET_GOAL: usize = 8;

/// What the entries of one hash table have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shape {
    dst_len: u8,
    src_len: u8,
    port: bool,
    protocol: bool,
    family: Family,
}

/// Which addresses can meet an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The same masks where its keys are flat.
    flat: Option<FlatMasks>,
}

/// What a table takes of a five-tuple of IPv4, or of one whose addresses do not matter.
#[derive(Clone, Copy, Debug)]
struct FlatMasks {
    dst: u32,
    src: u32,
    port: u16,
    protocol: u8,
}

/// The rules of one key.
#[derive(Debug)]
struct Bucket {
    key: Key,
    start: u32,
    end: u32,
}

/// Where entries are found: a table and what its shape takes of the five-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    dst: u128,
    src: u128,
    table: u16,
    port: u16,
    protocol: Protocol,
}

/// A rule in a bucket, with what its key leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) rule: u32,
    ports: Option<PortRange>,
    protocol: Option<Protocol>,
    /// There is more to it than key, ports and protocol.
    more: bool,
}

impl Listed {
    /// Stands in a free place.
    pub(super) const NONE: Self = Self { rule: 0, ports: None, protocol: None, more: false };

    fn holds(&self, matchers: &[Matcher], probe: Probe<'_>) -> bool {
        !self.more || matchers.get(self.rule as usize).is_some_and(|rule| rule.matches(probe))
    }

    fn may_match(&self, probe: Probe<'_>) -> bool {
        let tuple = probe.tuple;
        self.protocol.is_none_or(|protocol| protocol == tuple.protocol)
            && self.ports.is_none_or(|p| tuple.protocol.has_ports() && p.contains(tuple.dst_port))
    }
}

/// Hash tables by shape, tried in the order of their first rules.
#[derive(Debug)]
pub(super) struct TupleSpace {
    tables: Vec<Table>,
    filter: Filter,
    flat: FlatTable,
    /// Where in `listed` the rules of flat keys with several begin and end.
    runs: Vec<(u32, u32)>,
    /// The keys that are not flat.
    buckets: HashTable<Bucket>,
    listed: Vec<Listed>,
}

impl TupleSpace {
    pub(super) fn build(rules: &[RuleSpec]) -> Self {
        let mut step = 0;
        let (entries, mut tables) = loop {
            let numbered = rules.iter().zip(0..);
            let of = |(rule, number)| Entry::of(rule).into_iter().map(move |e| (e, number));
            let mut entries: Vec<(Entry, u32)> = numbered.flat_map(of).collect();
            let tables = refine(&mut entries, step);
            if tables.len() <= TABLES_LIMIT {
                break (entries, tables);
            }
            step += 1;
        };
        tables.sort_unstable();
        let position: HashMap<Shape, u16> =
            tables.iter().zip(0..).map(|((_, shape), at)| (*shape, at)).collect();
        let keyed = entries.iter().filter_map(|(entry, number)| {
            let &table = position.get(&entry.shape)?;
            Some((entry.key(table), entry.listed(*number)))
        });
        let mut keyed: Vec<(Key, Listed)> = keyed.collect();
        keyed.sort_unstable();
        keyed.dedup();
        let table = |(first, shape): (u32, Shape)| Table {
            dst_mask: mask(shape.dst_len),
            src_mask: mask(shape.src_len),
            flat: shape.flat(),
            shape,
            first,
        };
        let tables: Vec<Table> = tables.into_iter().map(table).collect();
        let is_flat = |key: &Key| tables.get(usize::from(key.table)).is_some_and(Table::is_flat);
        let flat =
            keyed.chunk_by(|a, b| a.0 == b.0).filter(|run| run.iter().any(|e| is_flat(&e.0)));
        let mut space = Self {
            flat: FlatTable::new(flat.count()),
            runs: Vec::new(),
            tables,
            filter: Filter::new(keyed.len()),
            buckets: HashTable::new(),
            listed: Vec::with_capacity(keyed.len()),
        };
        for run in keyed.chunk_by(|a, b| a.0 == b.0) {
            space.add_run(run);
        }
        space
    }

    fn add_run(&mut self, run: &[(Key, Listed)]) {
        let Some(&(key, first)) = run.first() else { return };
        let here = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let start = here(self.listed.len());
        if self.tables.get(usize::from(key.table)).is_some_and(Table::is_flat) {
            let flat = key.flat();
            self.filter.add(flat.hash());
            if run.len() == 1 {
                return self.flat.add(flat, first, None);
            }
            self.flat.add(flat, first, Some(here(self.runs.len())));
            self.listed.extend(run.iter().map(|(_, listed)| listed));
            self.runs.push((start, here(self.listed.len())));
            return;
        }
        self.listed.extend(run.iter().map(|(_, listed)| listed));
        let bucket = Bucket { key, start, end: here(self.listed.len()) };
        self.filter.add(key.hash());
        self.buckets.insert_unique(key.hash(), bucket, |bucket| bucket.key.hash());
    }

    /// Visits the rules that match, in order, until told to stop. A table is looked at only when
    /// its first rule could come before the best one found.
    pub(super) fn visit(
        &self,
        matchers: &[Matcher],
        probe: Probe<'_>,
        mut visit: impl FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut hashes = [0; TABLES_LIMIT];
        let mut candidates = self.candidates(probe, &mut hashes);
        let mut lists: [&[Listed]; TABLES_LIMIT] = [&[]; TABLES_LIMIT];
        let mut open = 0;
        loop {
            let mut best = u32::MAX;
            for list in lists.iter().take(open) {
                best = best.min(list.first().map_or(u32::MAX, |listed| listed.rule));
            }
            while candidates != 0 {
                let at = candidates.trailing_zeros() as u16;
                let Some(table) = self.tables.get(usize::from(at)) else { break };
                if table.first > best {
                    break;
                }
                candidates &= candidates.wrapping_sub(1);
                let hash = hashes.get(usize::from(at)).copied().unwrap_or_default();
                let list = match table.flat_key(at, probe) {
                    Some(key) => self.look_flat(hash, key),
                    None => self.look(hash, table.key(at, probe)),
                };
                let Some(first) = list.first() else { continue };
                best = best.min(first.rule);
                if let Some(slot) = lists.get_mut(open) {
                    *slot = list;
                    open += 1;
                }
            }
            if best == u32::MAX {
                return ControlFlow::Continue(());
            }
            let mut matches = false;
            for list in lists.iter_mut().take(open) {
                while let [first, rest @ ..] = *list
                    && first.rule == best
                {
                    matches = matches || (first.may_match(probe) && first.holds(matchers, probe));
                    *list = rest;
                }
            }
            if matches {
                visit(best as usize)?;
            }
        }
    }

    /// A bit for each table that may hold something for a probe, whose hashes there go to `hashes`.
    /// The tables do not wait for each other here, as they do where rules are compared.
    fn candidates(&self, probe: Probe<'_>, hashes: &mut [u64; TABLES_LIMIT]) -> u32 {
        let ports = probe.tuple.protocol.has_ports();
        let other = if probe.tuple.dst.is_v4() { Family::V6 } else { Family::V4 };
        let mut candidates = 0;
        for ((table, at), place) in self.tables.iter().zip(0..).zip(hashes.iter_mut()) {
            let flat = table.flat_key(at, probe);
            let hash = flat.map_or_else(|| table.key(at, probe).hash(), FlatKey::hash);
            // Without branches: which of them are met is as good as random.
            let may = self.filter.may_hold(hash)
                & (table.shape.family != other)
                & (ports | !table.shape.port);
            candidates |= u32::from(may) << at;
            *place = hash;
        }
        let mut soon = candidates;
        while soon != 0 {
            // Of a key that is not flat this is another's place, and does no harm.
            let hash = hashes.get(soon.trailing_zeros() as usize).copied().unwrap_or_default();
            self.flat.prefetch(hash);
            soon &= soon.wrapping_sub(1);
        }
        candidates
    }

    /// The rules under a flat key.
    #[inline]
    fn look_flat(&self, hash: u64, key: FlatKey) -> &[Listed] {
        match self.flat.find(hash, key) {
            Found::Nothing => &[],
            Found::One(listed) => std::slice::from_ref(listed),
            Found::Run(run) => {
                let run = self.runs.get(run as usize).copied().unwrap_or_default();
                self.listed.get(run.0 as usize..run.1 as usize).unwrap_or_default()
            }
        }
    }

    /// The rules under a key.
    fn look(&self, hash: u64, key: Key) -> &[Listed] {
        let found = self.buckets.find(hash, |bucket| bucket.key == key);
        let range = found.map(|bucket| bucket.start as usize..bucket.end as usize);
        range.and_then(|range| self.listed.get(range)).unwrap_or_default()
    }
}

impl Table {
    const fn is_flat(&self) -> bool {
        self.flat.is_some()
    }

    /// What this table, which is number `at`, takes of a probe, where its keys are flat.
    #[inline]
    fn flat_key(&self, at: u16, probe: Probe<'_>) -> Option<FlatKey> {
        let (tuple, masks) = (probe.tuple, self.flat?);
        Some(FlatKey {
            dst: tuple.dst.bits() as u32 & masks.dst,
            src: tuple.src.bits() as u32 & masks.src,
            port: tuple.dst_port & masks.port,
            protocol: tuple.protocol.0 & masks.protocol,
            table: at as u8,
        })
    }

    /// What this table, which is number `at`, takes of a probe.
    #[inline]
    fn key(&self, at: u16, probe: Probe<'_>) -> Key {
        let (tuple, shape) = (probe.tuple, self.shape);
        Key {
            dst: tuple.dst.bits() & self.dst_mask,
            src: tuple.src.bits() & self.src_mask,
            table: at,
            port: if shape.port { tuple.dst_port } else { 0 },
            protocol: if shape.protocol { tuple.protocol } else { Protocol(0) },
        }
    }
}

/// One key under which a rule is found; what its shape leaves out is zero.
struct Entry {
    shape: Shape,
    dst: u128,
    src: u128,
    port: u16,
    protocol: Protocol,
    ports_listed: Option<PortRange>,
    protocol_listed: Option<Protocol>,
    /// Key, ports and protocol do not say all that the rule asks for.
    more: bool,
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
        let range = match rule.ports.as_deref().map(merged_ports).as_deref() {
            Some([range]) => Some(*range),
            _ => None,
        };
        let open_ports = ports == [None] && rule.ports.is_some() && range.is_none();
        let open_protocols = protocols == [None] && rule.protocols.is_some();
        let open_sources = srcs == [None] && rule.sources.is_some();
        let more = open_ports
            || open_protocols
            || open_sources
            || rule.source_ports.is_some()
            || rule.icmp.is_some();
        let mut entries = Vec::with_capacity(count(dsts.len(), srcs.len(), 1, 1));
        for &dst in &dsts {
            for &src in &srcs {
                let sides = ports.iter().flat_map(|port| protocols.iter().map(move |n| (port, n)));
                let entry = |(&port, &n)| {
                    let mut entry = Self::new(dst, src, port, n)?;
                    entry.ports_listed = port.map(PortRange::one).or(range);
                    entry.more = more;
                    Some(entry)
                };
                entries.extend(sides.filter_map(entry));
            }
        }
        entries
    }

    const fn key(&self, table: u16) -> Key {
        Key { dst: self.dst, src: self.src, table, port: self.port, protocol: self.protocol }
    }

    const fn listed(&self, rule: u32) -> Listed {
        Listed { rule, ports: self.ports_listed, protocol: self.protocol_listed, more: self.more }
    }

    /// Leaves out what the new shape does.
    fn reshape(&mut self, shape: Shape) {
        self.more |= shape.prefixes() != self.shape.prefixes();
        self.shape = shape;
        self.dst &= mask(shape.dst_len);
        self.src &= mask(shape.src_len);
        if !shape.port {
            self.port = 0;
        }
        if !shape.protocol {
            self.protocol = Protocol(0);
        }
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
            ports_listed: None,
            protocol_listed: protocol,
            more: false,
        })
    }
}

const ANYWHERE: Prefix = Prefix { first: 0, len: 0 };

impl Shape {
    /// The masks of its keys, if they are flat: then only IPv4 packets meet it, whose addresses differ
    /// in their last 32 bits alone, or it asks for no address.
    fn flat(self) -> Option<FlatMasks> {
        let all = |asks: bool| if asks { u32::MAX } else { 0 };
        let fits = |len: u8| len == 0 || (self.family == Family::V4 && len >= MAPPED_LEN);
        (fits(self.dst_len) && fits(self.src_len)).then(|| FlatMasks {
            dst: mask(self.dst_len) as u32,
            src: mask(self.src_len) as u32,
            port: all(self.port) as u16,
            protocol: all(self.protocol) as u8,
        })
    }

    const fn prefixes(self) -> (u8, u8, Family) {
        (self.dst_len, self.src_len, self.family)
    }

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

/// Makes prefix lengths coarser and leaves port and protocol out of the keys where prefixes alone
/// tell rules apart well enough. Gives the shapes that are left, each with its first rule.
fn refine(entries: &mut [(Entry, u32)], step: u32) -> Vec<(u32, Shape)> {
    for (entry, _) in entries.iter_mut() {
        entry.reshape(entry.shape.coarser(step));
    }
    entries.sort_by_key(|(entry, _)| entry.shape.prefixes());
    let mut firsts: BTreeMap<Shape, u32> = BTreeMap::new();
    for group in entries.chunk_by_mut(|a, b| a.0.shape.prefixes() == b.0.shape.prefixes()) {
        let bare = |shape: Shape| Shape { port: false, protocol: false, ..shape };
        let by_port = |shape: Shape| Shape { protocol: false, ..shape };
        if longest(group, bare) <= BUCKET_GOAL {
            group.iter_mut().for_each(|(entry, _)| entry.reshape(bare(entry.shape)));
        } else if longest(group, by_port) <= BUCKET_GOAL {
            group.iter_mut().for_each(|(entry, _)| entry.reshape(by_port(entry.shape)));
        }
        for (entry, number) in group {
            let first = firsts.entry(entry.shape).or_insert(*number);
            *first = (*first).min(*number);
        }
    }
    firsts.into_iter().map(|(shape, first)| (first, shape)).collect()
}

/// The most entries of one key, were the shapes so.
fn longest(group: &[(Entry, u32)], reshaped: impl Fn(Shape) -> Shape) -> usize {
    let mut counts: HashMap<Key, usize> = HashMap::with_capacity(group.len());
    for (entry, _) in group {
        let shape = reshaped(entry.shape);
        let key = Key {
            port: if shape.port { entry.port } else { 0 },
            protocol: if shape.protocol { entry.protocol } else { Protocol(0) },
            ..entry.key(u16::from(shape.port) | u16::from(shape.protocol) << 1)
        };
        *counts.entry(key).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

/// Every port of a list by itself, or none if they are too many.
fn single_ports(list: &[PortRange]) -> Vec<Option<u16>> {
    let merged = merged_ports(list);
    let count: usize = merged.iter().map(|r| usize::from(r.last - r.first) + 1).sum();
    if count > PORTS_LIMIT {
        return vec![None];
    }
    merged.iter().flat_map(|range| range.first..=range.last).map(Some).collect()
}

impl Key {
    const fn flat(&self) -> FlatKey {
        FlatKey {
            dst: self.dst as u32,
            src: self.src as u32,
            port: self.port,
            protocol: self.protocol.0,
            table: self.table as u8,
        }
    }

    /// What is stored is the operator's, and a shared hash costs a comparison, not the answer, so
    /// the constants need be no secret.
    #[inline]
    const fn hash(&self) -> u64 {
        let (dst, src) = (self.dst, self.src);
        let rest = (self.table as u64) << 24 | (self.port as u64) << 8 | self.protocol.0 as u64;
        let dst =
            fold(dst as u64 ^ 0x243f_6a88_85a3_08d3, (dst >> 64) as u64 ^ 0x1319_8a2e_0370_7344);
        // Most rules ask for no source.
        let src = if src == 0 {
            0
        } else {
            fold(src as u64 ^ 0xa409_3822_299f_31d0, (src >> 64) as u64 ^ 0x082e_fa98_ec4e_6c89)
        };
        fold(dst ^ rest ^ 0x4528_21e6_38d0_1377, src ^ 0xbe54_66cf_34e9_0c6c)
    }
}

const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
#[path = "tuple_space_tests.rs"]
mod tests;
