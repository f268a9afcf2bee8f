//! How rules are entered in hash tables: under which keys, in tables of which shapes. How they are found
//! there is not known here.

use super::flat::{FlatKey, FlatShape, flat_addresses, flat_rest};
use super::listed::{Head, Listed};
use super::matcher::merged_ports;
use super::networks::{MAPPED_LEN, Prefix, mask};
use super::spec::{PortRange, RuleSpec};
use crate::model::Protocol;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// Most tables (hash probes of one lookup); beyond, prefix lengths are made coarser.
pub(super) const TABLES_LIMIT: usize = 32;
/// Most index entries of one rule, but for one for each of its destinations or sources.
const ENTRIES_LIMIT: usize = 256;
/// A port range with more ports than this is not entered port by port.
const PORTS_LIMIT: usize = 16;
/// Rules of one prefix are told apart by port, then by protocol, only when they are more.
const BUCKET_GOAL: usize = 8;

/// What the entries of one hash table have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Shape {
    pub(super) dst_len: u8,
    pub(super) src_len: u8,
    pub(super) port: bool,
    pub(super) protocol: bool,
    pub(super) family: Family,
}

/// Which addresses can meet an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
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

/// One key under which a rule is found; what its shape leaves out is zero.
pub(super) struct Entry {
    pub(super) shape: Shape,
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
    pub(super) fn of(rule: &RuleSpec) -> Vec<Self> {
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

    pub(super) const fn key(&self, table: u16) -> Key {
        Key { dst: self.dst, src: self.src, table, port: self.port, protocol: self.protocol }
    }

    pub(super) const fn listed(&self, rule: u32, head: Head) -> Listed {
        Listed::new(rule, head, self.ports_listed, self.protocol_listed, self.more)
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
    /// What a table of this shape, which is number `table`, takes of a five-tuple if its keys are flat:
    /// then only IPv4 packets meet it, whose addresses differ in their last 32 bits alone, or it asks
    /// for no address.
    pub(super) fn flat(self, table: u8) -> Option<FlatShape> {
        let fits = |len: u8| len == 0 || (self.family == Family::V4 && len >= MAPPED_LEN);
        let port = if self.port { u16::MAX } else { 0 };
        let protocol = if self.protocol { u8::MAX } else { 0 };
        let addresses = flat_addresses(mask(self.dst_len), mask(self.src_len));
        (fits(self.dst_len) && fits(self.src_len))
            .then(|| FlatShape::new(addresses, flat_rest(port, protocol), table))
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
pub(super) fn refine(entries: &mut [(Entry, u32)], step: u32) -> Vec<(u32, Shape)> {
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

/// Where entries are found: a table and what its shape takes of the five-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) dst: u128,
    pub(super) src: u128,
    pub(super) table: u16,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

impl Key {
    pub(super) const fn flat(&self) -> FlatKey {
        FlatKey::new(
            flat_addresses(self.dst, self.src),
            flat_rest(self.port, self.protocol.0),
            self.table as u8,
        )
    }

    /// What is stored is the operator's, and a shared hash costs a comparison, not the answer, so
    /// the constants need be no secret.
    #[inline]
    pub(super) const fn hash(&self) -> u64 {
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
mod tests {
    use super::*;
    use crate::model::Action;

    #[test]
    fn entries_of_a_rule_end_at_their_limit() {
        let rule = |ports: u16, dsts: u16| RuleSpec {
            destinations: Some(
                (0..dsts).map(|i| format!("10.0.{i}.0/24").parse().unwrap()).collect(),
            ),
            ports: Some((0..ports).map(|i| PortRange::one(i * 2)).collect()),
            ..RuleSpec::new("r", Action::Allow)
        };
        for (ports, dsts, entries) in [(16, 15, 240), (16, 16, 256), (16, 17, 17), (17, 16, 16)] {
            assert_eq!(Entry::of(&rule(ports, dsts)).len(), entries, "{ports} {dsts}");
        }
    }
}
