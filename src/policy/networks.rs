//! Networks as rules and segments use them: sets to be contained in, and longest-prefix match.
//! IPv4 lives in its mapped form; an IPv6 network never holds an IPv4 address, however short.

use crate::model::{Addr, SegmentId};
use ipnet::IpNet;

/// First and last address of the IPv4-mapped range (RFC 4291 section 2.5.5.2).
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);
pub(super) const MAPPED_LEN: u8 = 96;
/// Tables with fewer intervals than this are searched without an index.
const INDEX_FROM: usize = 64;

/// A network in the mapped address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefix {
    pub(super) first: u128,
    pub(super) len: u8,
}

impl Prefix {
    pub(super) fn new(net: &IpNet) -> Self {
        let first = Addr::from(net.network()).bits();
        match net {
            IpNet::V4(v4) => Self { first, len: MAPPED_LEN.saturating_add(v4.prefix_len()) },
            IpNet::V6(v6) => Self { first, len: v6.prefix_len() },
        }
    }

    pub(super) const fn is_v4(self) -> bool {
        self.len >= MAPPED_LEN && self.first >> 32 == 0xffff
    }

    pub(super) const fn last(self) -> u128 {
        self.first | !mask(self.len)
    }
}

/// The bits of an address that a prefix length looks at.
pub(super) const fn mask(len: u8) -> u128 {
    match u128::MAX.checked_shr(len as u32) {
        Some(host) => !host,
        None => u128::MAX,
    }
}

/// A condition on an address.
#[derive(Clone, Debug)]
pub(super) enum AddrSet {
    /// Left out.
    Any,
    /// Both ends included.
    One(u128, u128),
    /// Disjoint and ascending.
    Many(Box<[(u128, u128)]>),
}

impl AddrSet {
    pub(super) fn new(nets: Option<&[IpNet]>) -> Self {
        let Some(nets) = nets else { return Self::Any };
        let mut ranges: Vec<(u128, u128)> = nets.iter().flat_map(ranges).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        match merged.as_slice() {
            [one] => Self::One(one.0, one.1),
            _ => Self::Many(merged.into_boxed_slice()),
        }
    }

    /// What is listed, as ranges that do not overlap; `None` is everything.
    pub(super) fn ranges(&self) -> Option<Vec<(u128, u128)>> {
        match self {
            Self::Any => None,
            Self::One(first, last) => Some(vec![(*first, *last)]),
            Self::Many(ranges) => Some(ranges.to_vec()),
        }
    }

    pub(super) fn contains(&self, addr: Addr) -> bool {
        let addr = addr.bits();
        match self {
            Self::Any => true,
            Self::One(first, last) => *first <= addr && addr <= *last,
            Self::Many(ranges) => {
                let after = ranges.partition_point(|range| range.0 <= addr);
                after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|r| addr <= r.1)
            }
        }
    }
}

/// The addresses of a network, without the mapped range if it is IPv6 and covers that.
fn ranges(net: &IpNet) -> impl Iterator<Item = (u128, u128)> {
    let prefix = Prefix::new(net);
    let (first, last) = (prefix.first, prefix.last());
    let split = !prefix.is_v4() && first <= MAPPED.0 && MAPPED.1 <= last;
    let low = if split { (first, MAPPED.0 - 1) } else { (first, last) };
    [Some(low), (split && MAPPED.1 < last).then_some((MAPPED.1 + 1, last))]
        .into_iter()
        .flatten()
        .filter(|(first, last)| first <= last)
}

/// Who holds an address, and by how long a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) segment: SegmentId,
    pub(super) len: u8,
}

/// Longest-prefix match over networks of segments.
#[derive(Clone, Debug, Default)]
pub(super) struct Holders {
    v4: Intervals<u32>,
    v6: Intervals<u128>,
    /// For the upper half of an IPv4 address the first interval that starts in it or later.
    v4_index: Vec<u32>,
}

impl Holders {
    /// Of two segments with the same network the first holds it.
    pub(super) fn build(networks: impl IntoIterator<Item = (Prefix, SegmentId)>) -> Self {
        let (v4, v6): (Vec<_>, Vec<_>) = networks.into_iter().partition(|(net, _)| net.is_v4());
        let mapped = |(net, segment): (Prefix, SegmentId)| {
            (Prefix { first: net.first & 0xffff_ffff, len: net.len }, segment)
        };
        let v4 = flatten(v4.into_iter().map(mapped).collect(), 32);
        let v4 = v4.into_iter().filter_map(|(at, held)| Some((u32::try_from(at).ok()?, held)));
        let mut holders =
            Self { v4: v4.collect(), v6: flatten(v6, 128).into_iter().collect(), v4_index: vec![] };
        if holders.v4.starts.len() >= INDEX_FROM {
            let starts = &holders.v4.starts;
            let before = |top: u32| starts.partition_point(|start| start >> 16 < top);
            holders.v4_index =
                (0..=0x1_0000).map(|t| u32::try_from(before(t)).unwrap_or(u32::MAX)).collect();
        }
        holders
    }

    #[inline]
    pub(super) fn find(&self, addr: Addr) -> Option<Held> {
        if !addr.is_v4() {
            return self.v6.find(addr.bits(), 0, self.v6.starts.len());
        }
        self.find_v4((addr.bits() & 0xffff_ffff) as u32)
    }

    /// The holder of an IPv4 address.
    #[inline]
    pub(super) fn find_v4(&self, addr: u32) -> Option<Held> {
        let top = (addr >> 16) as usize;
        match (self.v4_index.get(top), self.v4_index.get(top + 1)) {
            (Some(&low), Some(&high)) => self.v4.find(addr, low as usize, high as usize),
            _ => self.v4.find(addr, 0, self.v4.starts.len()),
        }
    }
}

/// Where each run of addresses with the same holder starts.
#[derive(Clone, Debug)]
struct Intervals<K> {
    starts: Vec<K>,
    held: Vec<Option<Held>>,
}

impl<K> Default for Intervals<K> {
    fn default() -> Self {
        Self { starts: Vec::new(), held: Vec::new() }
    }
}

impl<K> FromIterator<(K, Option<Held>)> for Intervals<K> {
    fn from_iter<I: IntoIterator<Item = (K, Option<Held>)>>(iter: I) -> Self {
        let (starts, held) = iter.into_iter().unzip();
        Self { starts, held }
    }
}

impl<K: Copy + Ord> Intervals<K> {
    /// The holder of the last interval that starts at or before `addr`, known to be the one
    /// before `low` or one of those up to `high`.
    #[inline]
    fn find(&self, addr: K, low: usize, high: usize) -> Option<Held> {
        if self.starts.is_empty() {
            return None;
        }
        let within = self.starts.get(low..high)?.partition_point(|&start| start <= addr);
        *self.held.get((low + within).checked_sub(1)?)?
    }
}

/// Nested prefixes as disjoint runs over a space of `bits` bits, each with its innermost holder.
fn flatten(mut nets: Vec<(Prefix, SegmentId)>, bits: u8) -> Vec<(u128, Option<Held>)> {
    nets.sort_by_key(|(net, _)| (net.first, net.len));
    nets.dedup_by_key(|(net, _)| *net);
    let space_last = !mask(128 - bits);
    let last_of = |net: Prefix| net.first | (!mask(net.len) & space_last);
    let mut runs: Vec<(u128, Option<Held>)> = Vec::with_capacity(nets.len() * 2 + 1);
    let mut open: Vec<(u128, Held)> = Vec::new();
    let start = |runs: &mut Vec<(u128, Option<Held>)>, at: u128, held: Option<Held>| match runs
        .last_mut()
    {
        Some(run) if run.0 == at => run.1 = held,
        _ => runs.push((at, held)),
    };
    for (net, segment) in nets {
        while let Some(&(last, _)) = open.last().filter(|(last, _)| *last < net.first) {
            open.pop();
            start(&mut runs, last + 1, open.last().map(|(_, held)| *held));
        }
        let held = Held { segment, len: net.len };
        start(&mut runs, net.first, Some(held));
        open.push((last_of(net), held));
    }
    while let Some((last, _)) = open.pop() {
        if last < space_last {
            start(&mut runs, last + 1, open.last().map(|(_, held)| *held));
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addr(text: &str) -> Addr {
        text.parse::<std::net::IpAddr>().unwrap().into()
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    #[test]
    fn an_ipv6_network_never_holds_an_ipv4_address() {
        for short in ["::/0", "::/8", "::/80"] {
            let set = AddrSet::new(Some(&nets(&[short])));
            assert!(!set.contains(addr("10.0.0.1")), "{short}");
            assert!(set.contains(addr("::1")), "{short}");
            let holders = Holders::build([(Prefix::new(&nets(&[short])[0]), SegmentId(1))]);
            assert_eq!(holders.find(addr("10.0.0.1")), None);
            assert!(holders.find(addr("::1")).is_some());
        }
        let v4 = AddrSet::new(Some(&nets(&["0.0.0.0/0"])));
        assert!(v4.contains(addr("255.255.255.255")) && !v4.contains(addr("::1")));
    }

    #[test]
    fn an_empty_list_holds_nothing_and_no_list_everything() {
        assert!(!AddrSet::new(Some(&[])).contains(addr("10.0.0.1")));
        assert!(AddrSet::new(None).contains(addr("10.0.0.1")));
    }

    #[test]
    fn the_longest_prefix_holds_up_to_the_ends_of_the_space() {
        let build = |texts: &[&str]| {
            let nets = nets(texts);
            Holders::build(nets.iter().zip(0..).map(|(n, i)| (Prefix::new(n), SegmentId(i))))
        };
        let holders = build(&["255.0.0.0/8", "255.255.255.255/32", "0.0.0.0/1", "ffff::/16"]);
        let of = |text: &str| holders.find(addr(text)).map(|held| held.segment.0);
        assert_eq!(of("255.255.255.255"), Some(1));
        assert_eq!(of("255.255.255.254"), Some(0));
        assert_eq!(of("0.0.0.0"), Some(2));
        assert_eq!(of("127.255.255.255"), Some(2));
        assert_eq!(of("128.0.0.0"), None);
        assert_eq!(of("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), Some(3));
        assert_eq!(of("fffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), None);
    }

    fn network() -> impl Strategy<Value = IpNet> {
        let v4 = (any::<u32>(), 0_u8..=32, 0_u32..4).prop_map(|(bits, len, near)| {
            let bits = if near > 0 { 0x0a00_0000 | (bits & 0xff03) } else { bits };
            ipnet::Ipv4Net::new(bits.into(), len).unwrap().trunc().into()
        });
        let v6 = (any::<u128>(), 0_u8..=128, any::<bool>()).prop_map(|(bits, len, low)| {
            let bits = if low { bits & 0xffff_ffff_ffff } else { bits };
            ipnet::Ipv6Net::new(bits.into(), len).unwrap().trunc().into()
        });
        prop_oneof![3 => v4, 1 => v6]
    }

    fn holds(net: &IpNet, addr: Addr) -> bool {
        let mapped = |v6: &std::net::Ipv6Addr| v6.to_ipv4_mapped().is_some();
        match net {
            // A prefix written inside the mapped range is the IPv4 network it maps.
            IpNet::V6(v6) if v6.prefix_len() >= 96 && mapped(&v6.network()) => {
                v6.contains(&std::net::Ipv6Addr::from(addr.octets()))
            }
            net => net.contains(&addr.to_ip()),
        }
    }

    proptest! {
        #[test]
        fn sets_and_holders_agree_with_a_walk_over_all_networks(
            nets in prop::collection::vec(network(), 0..90),
            picks in prop::collection::vec((any::<prop::sample::Index>(), any::<u128>(), 0_u8..3), 1..30),
        ) {
            let set = AddrSet::new(Some(&nets));
            let holders = Holders::build(
                nets.iter().zip(0..).map(|(n, i)| (Prefix::new(n), SegmentId(i))),
            );
            for (pick, noise, how) in picks {
                let probe = if nets.is_empty() {
                    Addr::v6(noise.to_be_bytes())
                } else {
                    let prefix = Prefix::new(pick.get(&nets));
                    let bits = match how {
                        0 => prefix.first,
                        1 => prefix.last(),
                        _ => prefix.first | (noise & !mask(prefix.len)),
                    };
                    Addr::v6(bits.to_be_bytes())
                };
                prop_assert_eq!(set.contains(probe), nets.iter().any(|n| holds(n, probe)));
                let naive = nets.iter().enumerate().filter(|(_, n)| holds(n, probe))
                    .min_by_key(|(i, n)| (std::cmp::Reverse(Prefix::new(n).len), *i))
                    .map(|(i, _)| i as u16);
                prop_assert_eq!(holders.find(probe).map(|held| held.segment.0), naive);
            }
        }
    }
}
