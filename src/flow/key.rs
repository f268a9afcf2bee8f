//! The key of a flow, and its keyed hash. No table and no direction beyond "was it swapped".

use crate::model::{Addr, FiveTuple, Protocol, ScopeId};
use std::fmt;

/// Scope and canonical five-tuple in 40 bytes: the numerically smaller side (address, then port)
/// comes first, so both directions of a flow have one key.
///
/// Words 0 and 1 hold the first address, 2 and 3 the second, 4 both ports, the scope, the
/// protocol and what kind of key this is.
#[derive(Clone, Copy, Debug, Default, PartialOrd, Ord, Eq)]
pub struct FlowKey([u64; 5]);

const FLOW: u64 = 1;
const FRAGMENT: u64 = 2;

impl FlowKey {
    /// What stands where there is no key.
    pub const NONE: Self = Self([0; 5]);

    /// The key of a packet's flow, and whether the packet's sides had to be swapped.
    /// Branch-free: which side is smaller is as good as random on real traffic.
    #[inline]
    #[must_use]
    pub fn new(scope: ScopeId, tuple: &FiveTuple) -> (Self, bool) {
        let (src, dst) = (tuple.src.bits(), tuple.dst.bits());
        let swapped = (dst < src) | ((dst == src) & (tuple.dst_port < tuple.src_port));
        let mask = u64::from(swapped).wrapping_neg();
        let [src_high, src_low] = halves(src);
        let [dst_high, dst_low] = halves(dst);
        let (src_port, dst_port) = (u64::from(tuple.src_port), u64::from(tuple.dst_port));
        let high = (src_high ^ dst_high) & mask;
        let low = (src_low ^ dst_low) & mask;
        let port = (src_port ^ dst_port) & mask;
        let last = (src_port ^ port) << 48 | (dst_port ^ port) << 32;
        let key = Self([
            src_high ^ high,
            src_low ^ low,
            dst_high ^ high,
            dst_low ^ low,
            last | rest(scope, tuple.protocol, FLOW),
        ]);
        (key, swapped)
    }

    /// The key of a train of fragments: directed, with the identification in place of the ports.
    /// Never equal to the key of a flow.
    #[must_use]
    pub(super) fn fragment(
        scope: ScopeId,
        src: Addr,
        dst: Addr,
        protocol: Protocol,
        id: u32,
    ) -> Self {
        let [src_high, src_low] = halves(src.bits());
        let [dst_high, dst_low] = halves(dst.bits());
        let last = u64::from(id) << 32 | rest(scope, protocol, FRAGMENT);
        Self([src_high, src_low, dst_high, dst_low, last])
    }

    /// The five-tuple as a packet saw it that was (or was not) `swapped` to make this key.
    #[must_use]
    pub fn tuple(&self, swapped: bool) -> FiveTuple {
        let [first_high, first_low, second_high, second_low, last] = self.0;
        let tuple = FiveTuple {
            src: address(first_high, first_low),
            dst: address(second_high, second_low),
            src_port: (last >> 48) as u16,
            dst_port: (last >> 32) as u16,
            protocol: self.protocol(),
        };
        if swapped { tuple.reverse() } else { tuple }
    }

    /// The scope the flow lives in.
    #[must_use]
    pub const fn scope(&self) -> ScopeId {
        ScopeId((self.0[4] >> 16) as u16)
    }

    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        Protocol((self.0[4] >> 8) as u8)
    }

    /// Whether this is no key of anything (a free place of a table).
    #[inline]
    pub(super) const fn is_vacant(&self) -> bool {
        self.0[4] as u8 == 0
    }

    /// The keyed hash: three folded multiplications, two of them independent of each other.
    #[inline]
    #[must_use]
    pub fn hash(&self, secret: &Secret) -> FlowHash {
        let [first_high, first_low, second_high, second_low, last] = self.0;
        let key = &secret.0;
        let first = folded_multiply(first_high ^ key[0], first_low ^ key[1]);
        let second = folded_multiply(second_high ^ key[2], second_low ^ key[3]);
        FlowHash(folded_multiply(first ^ last ^ key[4], second ^ key[5]))
    }

    /// Another keyed hash, independent of [`FlowKey::hash`].
    #[inline]
    pub(super) fn shard_hash(&self, secret: &Secret) -> u64 {
        let FlowHash(hash) = self.hash(secret);
        folded_multiply(hash ^ secret.0[5], secret.0[0])
    }
}

impl PartialEq for FlowKey {
    /// One branch instead of one a word.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b, c, d, e], [v, w, x, y, z]) = (self.0, other.0);
        (a ^ v) | (b ^ w) | (c ^ x) | (d ^ y) | (e ^ z) == 0
    }
}

impl std::hash::Hash for FlowKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// A keyed hash of a [`FlowKey`]. The high half chooses a bucket, the lowest 16 bits are the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(pub(super) u64);

impl FlowHash {
    /// What stands where there is no key.
    pub const NONE: Self = Self(0);
}

/// What keys the hash: drawn at start (chosen in tests), so that an outsider cannot make flows
/// that collide. Never printed.
#[derive(Clone)]
pub struct Secret([u64; 6]);

impl Secret {
    /// From 128 random bits.
    #[must_use]
    pub fn new(first: u64, second: u64) -> Self {
        let mut state = first;
        let mut key = || {
            // A step of SplitMix64, crossed with the other half of the seed; odd, so that no
            // factor of a multiplication is zero for the all-zero key.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            folded_multiply(z ^ (z >> 31), second ^ state.rotate_left(32)) ^ second | 1
        };
        Self([key(), key(), key(), key(), key(), key()])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A keyed hash that is the same for both directions and leaves out the scope: which worker owns
/// a flow. Independent of [`FlowKey::hash`], so that one worker's flows still spread over all
/// buckets of its table.
#[inline]
#[must_use]
pub fn symmetric_hash(tuple: &FiveTuple, secret: &Secret) -> u64 {
    FlowKey::new(ScopeId::default(), tuple).0.shard_hash(secret)
}

#[inline]
const fn folded_multiply(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

#[inline]
const fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

const fn address(high: u64, low: u64) -> Addr {
    Addr::v6((((high as u128) << 64) | low as u128).to_be_bytes())
}

#[inline]
const fn rest(scope: ScopeId, protocol: Protocol, kind: u64) -> u64 {
    (scope.0 as u64) << 16 | (protocol.0 as u64) << 8 | kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_tuple() -> impl Strategy<Value = FiveTuple> {
        // Few values, so that equal sides and equal addresses come up.
        let addr = prop_oneof![
            (0u8..3).prop_map(|last| Addr::v4([10, 0, 0, last])),
            any::<[u8; 16]>().prop_map(Addr::v6),
        ];
        (addr.clone(), addr, 0u16..3, 0u16..3, any::<u8>()).prop_map(
            |(src, dst, src_port, dst_port, protocol)| FiveTuple {
                src,
                dst,
                src_port,
                dst_port,
                protocol: Protocol(protocol),
            },
        )
    }

    proptest! {
        #[test]
        fn both_directions_have_one_key_and_one_hash(tuple in any_tuple(), scope: u16) {
            let secret = Secret::new(1, 2);
            let (there, there_swapped) = FlowKey::new(ScopeId(scope), &tuple);
            let (back, back_swapped) = FlowKey::new(ScopeId(scope), &tuple.reverse());
            prop_assert_eq!(there, back);
            prop_assert_eq!(there_swapped ^ back_swapped, tuple != tuple.reverse());
            prop_assert_eq!(there.hash(&secret), back.hash(&secret));
            prop_assert_eq!(symmetric_hash(&tuple, &secret),
                symmetric_hash(&tuple.reverse(), &secret));
        }

        #[test]
        fn a_key_gives_its_tuple_back(tuple in any_tuple(), scope: u16) {
            let (key, swapped) = FlowKey::new(ScopeId(scope), &tuple);
            prop_assert_eq!(key.tuple(swapped), tuple);
            prop_assert_eq!(key.scope(), ScopeId(scope));
            let canonical = key.tuple(false);
            prop_assert!((canonical.src, canonical.src_port) <= (canonical.dst, canonical.dst_port));
        }

        #[test]
        fn different_tuples_or_scopes_have_different_keys(a in any_tuple(), b in any_tuple()) {
            let same = a == b || a == b.reverse();
            let key = |scope, tuple| FlowKey::new(ScopeId(scope), tuple).0;
            prop_assert_eq!(key(1, &a) == key(1, &b), same);
            prop_assert_ne!(key(1, &a), key(2, &a));
        }
    }

    #[test]
    fn a_key_is_forty_bytes_and_never_vacant() {
        assert_eq!(size_of::<FlowKey>(), 40);
        let (key, _) = FlowKey::new(ScopeId(0), &FiveTuple::default());
        assert!(!key.is_vacant());
        assert!(FlowKey::default().is_vacant());
        let unset = Addr::default();
        let fragment = FlowKey::fragment(ScopeId(0), unset, unset, Protocol(0), 0);
        assert!(!fragment.is_vacant());
        assert_ne!(fragment, key);
    }

    /// Sequential flows, as a scan makes them, over every part of the hash that is used: the
    /// fullest of 4096 cells with 16 expected each stays near what chance gives (about 35).
    #[test]
    fn sequential_flows_spread_evenly_over_buckets_tags_and_workers() {
        let secret = Secret::new(0, 0);
        let mut cells = [[0u32; 4096]; 3];
        for n in 0..65_536u32 {
            let [_, net, host, port] = n.to_be_bytes();
            let tuple = FiveTuple {
                src: Addr::v4([10, 0, net, host]),
                dst: Addr::v4([10, 1, 0, 1]),
                src_port: u16::from(port),
                dst_port: 443,
                protocol: Protocol::TCP,
            };
            let FlowHash(hash) = FlowKey::new(ScopeId(0), &tuple).0.hash(&secret);
            cells[0][(hash >> 52) as usize] += 1;
            cells[1][(hash & 0xfff) as usize] += 1;
            cells[2][(symmetric_hash(&tuple, &secret) >> 52) as usize] += 1;
        }
        for part in cells {
            assert!(part.iter().max() < Some(&45), "{:?}", part.iter().max());
        }
    }

    #[test]
    fn the_secret_decides_the_hash_and_is_not_printed() {
        let (key, _) = FlowKey::new(ScopeId(3), &FiveTuple::default());
        assert_ne!(key.hash(&Secret::new(1, 2)), key.hash(&Secret::new(1, 3)));
        assert_ne!(key.hash(&Secret::new(1, 2)), key.hash(&Secret::new(2, 2)));
        assert_eq!(format!("{:?}", Secret::new(1, 2)), "Secret(..)");
    }
}
