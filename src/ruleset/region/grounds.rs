//! Where flows can be: for every scope which addresses belong to which segment, and which pairs of
//! segments may meet. Asked of the compiled policy, address range by address range.

use super::asks::ipv4;
use super::ranges::Ranges;
use super::witness::Sides;
use crate::model::{Addr, EndpointId, ScopeId, SegmentId};
use crate::policy::spec::{CommonEndpoints, PolicySpec, SegmentKind, SegmentSpec};
use crate::policy::{COMMON_SCOPE, Policy};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// One scope.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its id.
    pub id: ScopeId,
    /// The partner whose endpoints make it; none for the common scope.
    pub owner: Option<SegmentId>,
    /// One of its endpoints; none where any will do.
    pub endpoint: Option<EndpointId>,
    /// The addresses each segment holds in it.
    pub held: BTreeMap<SegmentId, Ranges>,
}

/// Flows between two segments in one scope.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The scope.
    pub scope: ScopeId,
    /// One of its endpoints.
    pub endpoint: Option<EndpointId>,
    /// Who sends the first packet.
    pub from: SegmentId,
    /// Who receives it.
    pub to: SegmentId,
    /// The trusted proxy that speaks for `from`.
    pub proxy: Option<SegmentId>,
    /// Where it comes from.
    pub sources: Ranges,
    /// Where it goes.
    pub destinations: Ranges,
}

impl Ground {
    /// Its segments.
    #[must_use]
    pub const fn sides(&self) -> Sides {
        Sides { pair: Some((self.from, self.to)), proxy: self.proxy, proxy_endpoint: None }
    }
}

/// All scopes of a policy.
#[must_use]
pub fn scopes(spec: &PolicySpec, policy: &Policy) -> Vec<Scope> {
    let mut scopes = Vec::new();
    let home: Vec<&IpNet> = spec
        .segments
        .iter()
        .filter(|segment| segment.kind != SegmentKind::Partner)
        .flat_map(|segment| &segment.networks)
        .collect();
    for (segment, id) in spec.segments.iter().zip(0..).map(|(s, id)| (s, SegmentId(id))) {
        let Some(&endpoint) = segment.endpoints.first() else { continue };
        let Some(scope) = policy.scope(Some(endpoint)) else { continue };
        let nets = home.iter().copied().chain(&segment.networks);
        scopes.push(Scope {
            id: scope,
            owner: Some(id),
            endpoint: Some(endpoint),
            held: held(policy, scope, nets),
        });
    }
    let endpoint = match &spec.common {
        CommonEndpoints::None => return scopes,
        CommonEndpoints::List(list) if list.is_empty() => return scopes,
        CommonEndpoints::List(list) => list.first().copied(),
        CommonEndpoints::Any => None,
    };
    let nets = spec.segments.iter().flat_map(|segment| &segment.networks);
    let held = held(policy, COMMON_SCOPE, nets);
    scopes.push(Scope { id: COMMON_SCOPE, owner: None, endpoint, held });
    scopes
}

/// The endpoint that a flow between segments comes through if none is named: the sender's first, else
/// the receiver's, else the first common one.
#[must_use]
pub fn usual_endpoint(spec: &PolicySpec, sides: [Option<&SegmentSpec>; 2]) -> Option<EndpointId> {
    let first = |segment: &SegmentSpec| segment.endpoints.first().copied();
    let common = || match &spec.common {
        CommonEndpoints::List(list) => list.first().copied(),
        CommonEndpoints::None | CommonEndpoints::Any => None,
    };
    sides.into_iter().flatten().find_map(first).or_else(common)
}

/// An endpoint that is listed nowhere.
pub(super) fn unlisted_endpoint(spec: &PolicySpec) -> Option<EndpointId> {
    let common = match &spec.common {
        CommonEndpoints::List(list) => list.as_slice(),
        CommonEndpoints::None | CommonEndpoints::Any => &[],
    };
    let listed = |id: &EndpointId| {
        common.contains(id) || spec.segments.iter().any(|segment| segment.endpoints.contains(id))
    };
    (1..=u64::MAX).map(EndpointId).find(|id| !listed(id))
}

/// Asks the policy once for every stretch in which no network starts or ends.
fn held<'a>(
    policy: &Policy,
    scope: ScopeId,
    nets: impl Iterator<Item = &'a IpNet>,
) -> BTreeMap<SegmentId, Ranges> {
    let mut starts = vec![0u128];
    for family in [ipv4()] {
        for (first, last) in family.iter() {
            starts.push(first);
            starts.extend(last.checked_add(1));
        }
    }
    for net in nets {
        starts.push(Addr::from(net.network()).bits());
        starts.extend(Addr::from(net.broadcast()).bits().checked_add(1));
    }
    starts.sort_unstable();
    starts.dedup();
    let mut held: BTreeMap<SegmentId, Vec<(u128, u128)>> = BTreeMap::new();
    for (at, &first) in starts.iter().enumerate() {
        let next = starts.get(at.saturating_add(1)).and_then(|next| next.checked_sub(1));
        let last = next.unwrap_or(u128::MAX);
        if let Some(segment) = policy.holder(scope, Addr::v6(first.to_be_bytes())) {
            held.entry(segment).or_default().push((first, last));
        }
    }
    held.into_iter().map(|(segment, ranges)| (segment, Ranges::of(ranges))).collect()
}

/// Every way in which flows can go from one segment to another.
#[must_use]
pub fn grounds(spec: &PolicySpec, scopes: &[Scope]) -> Vec<Ground> {
    let proxied: Vec<SegmentId> = spec
        .segments
        .iter()
        .zip(0..)
        .filter(|(segment, _)| !segment.proxy_endpoints.is_empty())
        .map(|(_, id)| SegmentId(id))
        .collect();
    let is_proxy = |id: SegmentId| {
        spec.segments.get(usize::from(id.0)).is_some_and(|segment| segment.trusted_proxy)
    };
    let mut grounds = Vec::new();
    for scope in scopes {
        let meet = |from: SegmentId, to: SegmentId| {
            scope.owner.is_none_or(|owner| (from == owner) != (to == owner))
        };
        for (&from, sources) in &scope.held {
            for (&to, destinations) in scope.held.iter().filter(|(to, _)| meet(from, **to)) {
                let ground = Ground {
                    scope: scope.id,
                    endpoint: scope.endpoint,
                    from,
                    to,
                    proxy: None,
                    sources: sources.clone(),
                    destinations: destinations.clone(),
                };
                if is_proxy(from) {
                    grounds.extend(proxied.iter().map(|&partner| Ground {
                        from: partner,
                        proxy: Some(from),
                        ..ground.clone()
                    }));
                }
                grounds.push(ground);
            }
        }
    }
    grounds
}
