//! Who a packet belongs to: the scope by its endpoint, the segments by its addresses. What two
//! segments may do to each other is not known here.

use super::compiled::CompileFault;
use super::networks::{Held, Holders, Prefix};
use super::spec::{CommonEndpoints, PolicySpec, SegmentKind, SegmentSpec};
use crate::model::{Addr, EndpointId, ScopeId, SegmentId};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::sync::Arc;

/// The scope of endpoints whose traffic is told apart by address alone.
pub const COMMON_SCOPE: ScopeId = ScopeId(0);

/// A scope of as many networks or fewer, those of workload and shared segments included, has them all
/// in one table. More would take much memory where there are many partners.
const ONE_TABLE_MAX: usize = 16;

/// Whose the two sides of a packet are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// Both belong to a segment, and these two may meet in the scope.
    Pair {
        /// The segment of the source.
        from: SegmentId,
        /// The segment of the destination.
        to: SegmentId,
        /// The source is a trusted proxy: who it speaks for is not known before its PROXY header.
        from_proxy: bool,
    },
    /// At least one side belongs nowhere, or the two must not meet in this scope.
    Unknown,
}

/// Scope ids by segment name. An id once given is never given to another name, so flows of a
/// scope that is gone never meet those of a new one.
#[derive(Clone, Debug, Default)]
pub(super) struct ScopeRegistry {
    ids: HashMap<Arc<str>, ScopeId, FixedState>,
}

impl ScopeRegistry {
    fn id(&mut self, name: &str) -> Result<ScopeId, CompileFault> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        let next = self.ids.len().checked_add(1).and_then(|next| u16::try_from(next).ok());
        let id = ScopeId(next.ok_or(CompileFault::TooManyScopes)?);
        self.ids.insert(name.into(), id);
        Ok(id)
    }
}

/// Scopes by endpoint, looked up for every packet: an open table of four times as many places as
/// endpoints. Whoever writes them is trusted, so that the hash need be no secret.
#[derive(Clone, Debug, Default)]
struct Endpoints {
    places: Vec<(EndpointId, Option<ScopeId>)>,
    shift: u32,
}

impl Endpoints {
    /// Of two entries for one endpoint the later one counts.
    fn build(entries: &[(EndpointId, ScopeId)]) -> Self {
        let places = entries.len().saturating_mul(4).next_power_of_two().max(2);
        let shift = u64::BITS - places.trailing_zeros();
        let mut table = Self { places: vec![(EndpointId(0), None); places], shift };
        for &(endpoint, scope) in entries {
            let start = table.home(endpoint);
            let free = (start..places)
                .chain(0..start)
                .find(|&at| table.places.get(at).is_some_and(|p| p.1.is_none() || p.0 == endpoint));
            if let Some(place) = free.and_then(|at| table.places.get_mut(at)) {
                *place = (endpoint, Some(scope));
            }
        }
        table
    }

    #[inline]
    fn home(&self, EndpointId(id): EndpointId) -> usize {
        (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    #[inline(always)]
    fn find(&self, endpoint: EndpointId) -> Option<ScopeId> {
        let start = self.home(endpoint);
        let (there, scope) = *self.places.get(start)?;
        // Nearly always it is there, or nothing is.
        if there == endpoint || scope.is_none() { scope } else { self.find_behind(start, endpoint) }
    }

    #[cold]
    fn find_behind(&self, start: usize, endpoint: EndpointId) -> Option<ScopeId> {
        let (before, behind) = self.places.split_at_checked(start)?;
        for (there, scope) in behind.iter().chain(before) {
            if *there == endpoint || scope.is_none() {
                return *scope;
            }
        }
        None
    }
}

/// Everything that tells segments.
#[derive(Clone, Debug)]
pub(super) struct Locator {
    by_endpoint: Endpoints,
    by_proxy_endpoint: HashMap<EndpointId, SegmentId, FixedState>,
    /// Unlisted endpoints and bare packets are in the common scope.
    common_any: bool,
    /// Some endpoint is in the common scope.
    common: bool,
    /// Networks of all segments, for the common scope.
    all: Holders,
    /// Networks of workload and shared segments, for every other scope.
    home: Holders,
    /// By scope id.
    owners: Vec<Option<Owner>>,
    /// By segment id.
    trusted_proxy: Vec<bool>,
    pub(super) registry: ScopeRegistry,
}

/// The segment whose endpoints make a scope.
#[derive(Clone, Debug)]
struct Owner {
    segment: SegmentId,
    networks: Holders,
    /// Those of workload and shared segments are among the networks.
    with_home: bool,
    /// A partner without networks: what nobody else holds is its own.
    rest: bool,
}

impl Locator {
    pub(super) fn build(
        spec: &PolicySpec,
        mut registry: ScopeRegistry,
    ) -> Result<Self, CompileFault> {
        let numbered = || spec.segments.iter().zip(0..).map(|(s, id)| (s, SegmentId(id)));
        let networks = |(segment, id): (&SegmentSpec, SegmentId)| {
            let prefixes: Vec<Prefix> = segment.networks.iter().map(Prefix::new).collect();
            prefixes.into_iter().map(move |prefix| (prefix, id))
        };
        let mut by_endpoint: Vec<(EndpointId, ScopeId)> = Vec::new();
        if let CommonEndpoints::List(list) = &spec.common {
            by_endpoint.extend(list.iter().map(|&endpoint| (endpoint, COMMON_SCOPE)));
        }
        let home: Vec<(Prefix, SegmentId)> =
            numbered().filter(|(s, _)| s.kind != SegmentKind::Partner).flat_map(networks).collect();
        let mut by_proxy_endpoint = HashMap::default();
        let mut owners: Vec<Option<Owner>> = Vec::new();
        for (segment, id) in numbered() {
            by_proxy_endpoint.extend(segment.proxy_endpoints.iter().map(|&e| (e, id)));
            if segment.endpoints.is_empty() {
                continue;
            }
            let scope = registry.id(&segment.name)?;
            by_endpoint.extend(segment.endpoints.iter().map(|&e| (e, scope)));
            let at = usize::from(scope.0);
            if owners.len() <= at {
                owners.resize_with(at + 1, || None);
            }
            if let Some(slot) = owners.get_mut(at) {
                let with_home = home.len() + segment.networks.len() <= ONE_TABLE_MAX;
                // Of equal networks the first counts, which is none of the owner's.
                let others = home.iter().copied().filter(|_| with_home);
                *slot = Some(Owner {
                    segment: id,
                    networks: Holders::build(others.chain(networks((segment, id)))),
                    with_home,
                    rest: segment.kind == SegmentKind::Partner && segment.networks.is_empty(),
                });
            }
        }
        Ok(Self {
            by_endpoint: Endpoints::build(&by_endpoint),
            by_proxy_endpoint,
            common_any: spec.common == CommonEndpoints::Any,
            common: spec.common != CommonEndpoints::None,
            all: Holders::build(numbered().flat_map(networks)),
            home: Holders::build(home),
            owners,
            trusted_proxy: spec.segments.iter().map(|s| s.trusted_proxy).collect(),
            registry,
        })
    }

    #[inline]
    pub(super) fn scope(&self, endpoint: Option<EndpointId>) -> Option<ScopeId> {
        let listed = endpoint.and_then(|endpoint| self.by_endpoint.find(endpoint));
        listed.or(self.common_any.then_some(COMMON_SCOPE))
    }

    /// Whether packets may be in a scope.
    pub(super) fn has_scope(&self, scope: ScopeId) -> bool {
        if scope == COMMON_SCOPE {
            return self.common;
        }
        self.owners.get(usize::from(scope.0)).is_some_and(Option::is_some)
    }

    pub(super) fn scope_of(&self, segment: SegmentId) -> Option<ScopeId> {
        let owns = |owner: &Option<Owner>| owner.as_ref().is_some_and(|o| o.segment == segment);
        self.owners.iter().zip(0..).find(|(owner, _)| owns(owner)).map(|(_, id)| ScopeId(id))
    }

    pub(super) fn by_proxy_endpoint(&self, endpoint: EndpointId) -> Option<SegmentId> {
        self.by_proxy_endpoint.get(&endpoint).copied()
    }

    /// The segment that holds an address in a scope; whom it may meet is another question.
    pub(super) fn find(&self, scope: ScopeId, addr: Addr) -> Option<SegmentId> {
        if scope == COMMON_SCOPE {
            return self.all.find(addr).map(|held| held.segment);
        }
        let owner = self.owners.get(usize::from(scope.0)).and_then(Option::as_ref)?;
        self.holder(owner, |nets| nets.find(addr))
    }

    pub(super) fn locate(&self, scope: ScopeId, src: Addr, dst: Addr) -> Located {
        self.locate_by(scope, |nets| nets.find(src), |nets| nets.find(dst))
    }

    /// The same of IPv4 addresses.
    #[inline]
    pub(super) fn locate_v4(&self, scope: ScopeId, src: u32, dst: u32) -> Located {
        self.locate_by(scope, |nets| nets.find_v4(src), |nets| nets.find_v4(dst))
    }

    /// Whose the two sides are that are found so.
    #[inline(always)]
    fn locate_by(
        &self,
        scope: ScopeId,
        src: impl Fn(&Holders) -> Option<Held>,
        dst: impl Fn(&Holders) -> Option<Held>,
    ) -> Located {
        let pair = if scope == COMMON_SCOPE {
            let of = |held: Option<Held>| held.map(|held| held.segment);
            of(src(&self.all)).zip(of(dst(&self.all)))
        } else {
            let owner = self.owners.get(usize::from(scope.0)).and_then(Option::as_ref);
            owner.and_then(|owner| {
                let pair = self.holder(owner, src).zip(self.holder(owner, dst));
                pair.filter(|&(from, to)| (from == owner.segment) != (to == owner.segment))
            })
        };
        let Some((from, to)) = pair else { return Located::Unknown };
        let from_proxy = self.trusted_proxy.get(usize::from(from.0)).copied().unwrap_or(false);
        Located::Pair { from, to, from_proxy }
    }

    /// The longest network wins; between equals the workload or shared segment, so that a partner
    /// never takes an address by writing the same network.
    #[inline(always)]
    fn holder(&self, owner: &Owner, find: impl Fn(&Holders) -> Option<Held>) -> Option<SegmentId> {
        let mut held = find(&owner.networks);
        if !owner.with_home
            && let Some(home) = find(&self.home)
            && held.is_none_or(|own| own.len <= home.len)
        {
            held = Some(home);
        }
        held.map(|held| held.segment).or(owner.rest.then_some(owner.segment))
    }
}

#[cfg(test)]
#[path = "segments_tests.rs"]
mod tests;
