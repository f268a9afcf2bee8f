//! The key of a flow, and its keyed hash. No table and no direction beyond "was it swapped".

use crate::model::{Addr, FiveTuple, Protocol, ScopeId};
use std::cmp::Ordering;
use std::fmt;

/// Scope and canonical five-tuple in 40 bytes: the numerically smaller side (address, then port)
/// comes first, so both directions of a flow have one key.
///
/// Of an IPv4 flow everything is in [`Near`], so that telling two of them apart takes one line of
/// memory; what is behind is zero. Of any other key the words are the lower half of the first
/// address, then as in `Near`, then the upper half of the first address and both of the second.
#[derive(Clone, Copy, Debug, Default, Eq)]
pub struct FlowKey {
    near: Near,
    far: Far,
}

/// The first two words of a key. Word 0 holds both addresses of an IPv4 flow; word 1 both ports, the
/// scope, the protocol and what kind of key this is.
#[derive(Clone, Copy, Debug, Default, Eq)]
#[repr(transparent)]
pub struct Near([u64; 2]);

/// The other words.
pub(super) type Far = [u64; 3];

const FLOW: u64 = 1;
/// Both addresses are IPv4.
const V4: u64 = 4;
/// The upper half of an IPv4 address in its mapped form, and what is above the address in the lower.
const MAPPED: u64 = 0xffff_0000_0000;

impl Near {
    /// What stands where there is no key.
    pub const NONE: Self = Self([0; 2]);

    /// The key of an IPv4 packet's flow from addresses and ports as numbers, and whether the packet's
    /// sides had to be swapped. Says what [`FlowKey::new`] says.
    #[inline(always)]
    #[must_use]
    pub const fn v4(
        scope: ScopeId,
        protocol: Protocol,
        (src, src_port): (u32, u16),
        (dst, dst_port): (u32, u16),
    ) -> (Self, bool) {
        let one = (src as u64) << 16 | src_port as u64;
        let two = (dst as u64) << 16 | dst_port as u64;
        // Branch-free: which side is smaller is as good as random on real traffic.
        let swapped = two < one;
        let crossed = (one ^ two) & (swapped as u64).wrapping_neg();
        let (first, second) = (one ^ crossed, two ^ crossed);
        let ports = (first & 0xffff) << 48 | (second & 0xffff) << 32;
        let addresses = first >> 16 << 32 | second >> 16;
        (Self([addresses, ports | rest(scope, protocol, FLOW | V4)]), swapped)
    }

    /// The keyed hash of the key this is all of.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, secret: &Secret) -> FlowHash {
        let key = &secret.0;
        // What is behind the ports is known last and comes in last.
        let (ports, rest) = (self.0[1] >> 32, self.0[1] << 32);
        let mixed = folded_multiply(self.0[0] ^ key[0], ports ^ key[1]);
        FlowHash(folded_multiply(mixed ^ rest ^ key[4], key[5]))
    }

    /// The protocol.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        Protocol((self.0[1] >> 8) as u8)
    }

    /// The scope.
    #[inline]
    #[must_use]
    pub const fn scope(&self) -> ScopeId {
        ScopeId((self.0[1] >> 16) as u16)
    }

    /// Source and destination of the IPv4 packet whose flow's key this is all of.
    #[inline]
    #[must_use]
    pub const fn sides(&self, swapped: bool) -> [(u32, u16); 2] {
        let [addresses, last] = self.0;
        let (turn, half) = if swapped { (32, 16) } else { (0, 0) };
        let addresses = addresses.rotate_left(turn);
        let ports = ((last >> 32) as u32).rotate_left(half);
        [((addresses >> 32) as u32, (ports >> 16) as u16), (addresses as u32, ports as u16)]
    }

    /// The five-tuple of that packet, as [`FlowKey::tuple`] has it.
    #[inline]
    #[must_use]
    pub const fn tuple(&self, swapped: bool) -> FiveTuple {
        let [(src, src_port), (dst, dst_port)] = self.sides(swapped);
        FiveTuple {
            src: Addr::v4(src.to_be_bytes()),
            dst: Addr::v4(dst.to_be_bytes()),
            src_port,
            dst_port,
            protocol: self.protocol(),
        }
    }

    /// Whether this is no key of anything (a free place of a table).
    #[inline]
    pub(super) const fn is_vacant(&self) -> bool {
        self.0[1] as u8 == 0
    }

    /// Whether it is all of a key.
    #[inline]
    pub(super) const fn is_v4(&self) -> bool {
        self.0[1] & V4 != 0
    }
}

impl PartialEq for Near {
    /// One branch instead of one a word.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b], [v, w]) = (self.0, other.0);
        (a ^ v) | (b ^ w) == 0
    }
}

impl From<Near> for FlowKey {
    /// The key this is all of.
    fn from(near: Near) -> Self {
        Self { near, far: [0; 3] }
    }
}

impl FlowKey {
    /// What stands where there is no key.
    pub const NONE: Self = Self { near: Near::NONE, far: [0; 3] };

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
        let addresses = [src_high ^ high, src_low ^ low, dst_high ^ high, dst_low ^ low];
        (Self::of(addresses, last | rest(scope, tuple.protocol, FLOW)), swapped)
    }

    #[inline]
    const fn of([first_high, first_low, second_high, second_low]: [u64; 4], last: u64) -> Self {
        let other = first_high | second_high | (first_low ^ MAPPED | second_low ^ MAPPED) >> 32;
        if other == 0 {
            let addresses = first_low << 32 | second_low & 0xffff_ffff;
            return Self { near: Near([addresses, last | V4]), far: [0; 3] };
        }
        Self { near: Near([first_low, last]), far: [first_high, second_high, second_low] }
    }

    /// The halves of the first and the second address, then the last word.
    #[inline]
    const fn words(&self) -> [u64; 5] {
        let [low, last] = self.near.0;
        if self.near.is_v4() {
            return [0, MAPPED | low >> 32, 0, MAPPED | low & 0xffff_ffff, last & !V4];
        }
        let [first_high, second_high, second_low] = self.far;
        [first_high, low, second_high, second_low, last]
    }

    /// A key from its two parts.
    #[inline]
    pub(super) const fn from_parts(near: Near, far: Far) -> Self {
        Self { near, far }
    }

    /// Its two parts.
    #[inline]
    pub(super) const fn parts(&self) -> (Near, Far) {
        (self.near, self.far)
    }

    /// Whether it is the key of these two parts; of an IPv4 key the second is not looked at.
    #[inline(always)]
    pub(super) fn is(&self, near: &Near, far: &Far) -> bool {
        self.near == *near && (self.near.is_v4() || self.far == *far)
    }

    /// The five-tuple as a packet saw it that was (or was not) `swapped` to make this key.
    #[must_use]
    pub fn tuple(&self, swapped: bool) -> FiveTuple {
        if self.near.is_v4() {
            return self.near.tuple(swapped);
        }
        let [first_high, first_low, second_high, second_low, last] = self.words();
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
        self.near.scope()
    }

    /// The protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.near.protocol()
    }

    /// Whether this is no key of anything (a free place of a table).
    #[inline]
    pub(super) const fn is_vacant(&self) -> bool {
        self.near.is_vacant()
    }

    /// The keyed hash: two folded multiplications, or three of which two are independent of each
    /// other.
    #[inline]
    #[must_use]
    pub const fn hash(&self, secret: &Secret) -> FlowHash {
        if self.near.is_v4() {
            return self.near.hash(secret);
        }
        let [first_high, first_low, second_high, second_low, last] = self.words();
        let key = &secret.0;
        let first = folded_multiply(first_high ^ key[0], first_low ^ key[1]);
        let second = folded_multiply(second_high ^ key[2], second_low ^ key[3]);
        FlowHash(folded_multiply(first ^ last ^ key[4], second ^ key[5]))
    }

    /// Another keyed hash, independent of [`FlowKey::hash`].
    #[inline]
    pub(super) const fn shard_hash(&self, secret: &Secret) -> u64 {
        let FlowHash(hash) = self.hash(secret);
        folded_multiply(hash ^ secret.0[5], secret.0[0])
    }
}

impl PartialEq for FlowKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.near, &other.far)
    }
}

impl PartialOrd for FlowKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FlowKey {
    /// By addresses, ports, scope and protocol.
    fn cmp(&self, other: &Self) -> Ordering {
        self.words().cmp(&other.words())
    }
}

impl std::hash::Hash for FlowKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.words().hash(state);
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

    proptest! {
        #[test]
        fn a_key_read_from_numbers_is_the_key_of_the_tuple(
            (src, dst, protocol, scope) in (0u32..4, 0u32..4, any::<u8>(), any::<u16>()),
            (src_port, dst_port) in (0u16..3, 0u16..3),
        ) {
            let protocol = Protocol(protocol);
            let [from, to] = [src, dst].map(|addr| Addr::v4(addr.to_be_bytes()));
            let tuple = FiveTuple { src: from, dst: to, src_port, dst_port, protocol };
            let (near, swapped) =
                Near::v4(ScopeId(scope), protocol, (src, src_port), (dst, dst_port));
            let secret = Secret::new(3, 4);
            let (key, key_swapped) = FlowKey::new(ScopeId(scope), &tuple);
            prop_assert_eq!((FlowKey::from(near), swapped), (key, key_swapped));
            prop_assert_eq!(near.hash(&secret), key.hash(&secret));
            prop_assert!(key.is(&near, &[9; 3]), "what is behind an IPv4 key is not looked at");
        }

        #[test]
        fn keys_are_in_the_order_of_their_tuples(a in any_tuple(), b in any_tuple()) {
            let key = |tuple| FlowKey::new(ScopeId(1), tuple).0;
            let (a, b) = (key(&a), key(&b));
            let order = |key: &FlowKey| {
                let tuple = key.tuple(false);
                (tuple.src, tuple.dst, tuple.src_port, tuple.dst_port, tuple.protocol)
            };
            prop_assert_eq!(a.cmp(&b), order(&a).cmp(&order(&b)));
        }
    }

    #[test]
    fn a_key_is_forty_bytes_and_never_vacant() {
        assert_eq!(size_of::<FlowKey>(), 40);
        let (key, _) = FlowKey::new(ScopeId(0), &FiveTuple::default());
        assert!(!key.is_vacant());
        assert!(FlowKey::default().is_vacant());
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
