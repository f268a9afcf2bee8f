//! Where flows are under two rulesets at once: for every endpoint, which addresses belong to which
//! segments in the old one and in the new one. Looks at no rule.

use crate::model::{EndpointId, PolicyId, ScopeId, SegmentId};
use crate::policy::spec::{CommonEndpoints, Mode, PolicySpec};
use crate::prove::space::Space;
use crate::ruleset::region::{Ranges, Scope, scopes};
use std::collections::{BTreeMap, BTreeSet};

/// What one ruleset has in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// The addresses belong to no two segments that may meet.
    Unknown,
    /// These two segments, and who decides between them.
    Pair { from: SegmentId, to: SegmentId, policy: Option<PolicyId>, monitored: bool },
}

/// Flows that both rulesets see between one pair of segments each.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) endpoint: Option<EndpointId>,
    pub(super) sources: Ranges,
    pub(super) destinations: Ranges,
    pub(super) old: Side,
    pub(super) new: Side,
    /// The PrivateLink endpoint by which a trusted proxy speaks for the sender.
    pub(super) proxied: Option<EndpointId>,
}

/// A segment in each of two rulesets.
type Both = (Option<SegmentId>, Option<SegmentId>);

/// All cells in which some flow is possible under one of the rulesets at least.
pub(super) fn cells(old: &Space<'_>, new: &Space<'_>) -> Vec<Cell> {
    let (old_scopes, new_scopes) = (scopes(old.spec, old.policy), scopes(new.spec, new.policy));
    let find = |scopes: &[Scope], id: Option<ScopeId>| {
        scopes.iter().find(|scope| Some(scope.id) == id).cloned()
    };
    let mut cells = Vec::new();
    let mut seen = BTreeSet::new();
    for endpoint in endpoints(old.spec, new.spec) {
        let ids = (old.policy.scope(endpoint), new.policy.scope(endpoint));
        if !seen.insert(ids) {
            continue;
        }
        let (before, after) = (find(&old_scopes, ids.0), find(&new_scopes, ids.1));
        if before.is_none() && after.is_none() {
            continue;
        }
        of_scope(endpoint, (before.as_ref(), after.as_ref()), (old, new), &mut cells);
    }
    cells
}

/// Every endpoint that is listed anywhere, and none.
fn endpoints(old: &PolicySpec, new: &PolicySpec) -> Vec<Option<EndpointId>> {
    let mut all: Vec<Option<EndpointId>> = Vec::new();
    for spec in [new, old] {
        all.extend(spec.segments.iter().flat_map(|s| &s.endpoints).copied().map(Some));
        if let CommonEndpoints::List(list) = &spec.common {
            all.extend(list.iter().copied().map(Some));
        }
    }
    all.push(None);
    all
}

fn of_scope(
    endpoint: Option<EndpointId>,
    scopes: (Option<&Scope>, Option<&Scope>),
    (old, new): (&Space<'_>, &Space<'_>),
    cells: &mut Vec<Cell>,
) {
    let held = holders(scopes.0, scopes.1);
    for (src, sources) in &held {
        for (dst, destinations) in &held {
            for (from, proxied) in senders(*src, old, new) {
                let side = |space: &Space<'_>, scope: Option<&Scope>, own, from, to| {
                    side(space, scope, own, from, to)
                };
                let before = side(old, scopes.0, src.0, from.0, dst.0);
                let after = side(new, scopes.1, src.1, from.1, dst.1);
                if before == Side::Unknown && after == Side::Unknown {
                    continue;
                }
                cells.push(Cell {
                    endpoint,
                    sources: sources.clone(),
                    destinations: destinations.clone(),
                    old: before,
                    new: after,
                    proxied,
                });
            }
        }
    }
}

/// Addresses by the segments that hold them before and after.
fn holders(old: Option<&Scope>, new: Option<&Scope>) -> Vec<(Both, Ranges)> {
    let none = BTreeMap::new();
    let before = old.map_or(&none, |scope| &scope.held);
    let after = new.map_or(&none, |scope| &scope.held);
    let mut all = Vec::new();
    let mut taken = Ranges::none();
    for (&o, ranges) in before {
        let mut rest = ranges.clone();
        for (&n, others) in after.iter().filter(|(_, others)| others.meets(ranges)) {
            all.push(((Some(o), Some(n)), ranges.and(others)));
            rest = rest.without(others);
        }
        if !rest.is_empty() {
            all.push(((Some(o), None), rest));
        }
        taken = taken.or(ranges);
    }
    for (&n, ranges) in after {
        let rest = ranges.without(&taken);
        if !rest.is_empty() {
            all.push(((None, Some(n)), rest));
        }
    }
    all
}

/// Who may turn out to send, for addresses of a segment: itself, or whom a trusted proxy names.
fn senders(src: Both, old: &Space<'_>, new: &Space<'_>) -> Vec<(Both, Option<EndpointId>)> {
    let is_proxy = |space: &Space<'_>, id: Option<SegmentId>| {
        id.and_then(|id| space.policy.segment(id)).is_some_and(|segment| segment.trusted_proxy)
    };
    let mut senders = vec![(src, None)];
    let (before, after) = (is_proxy(old, src.0), is_proxy(new, src.1));
    if !before && !after {
        return senders;
    }
    let all = old.spec.segments.iter().chain(&new.spec.segments);
    let named: BTreeSet<EndpointId> = all.flat_map(|s| &s.proxy_endpoints).copied().collect();
    let mut known = BTreeSet::new();
    for endpoint in named {
        // Where there is no proxy its header is payload.
        let of = |space: &Space<'_>, proxy: bool, own| {
            if proxy { space.policy.by_proxy_endpoint(endpoint) } else { own }
        };
        let both = (of(old, before, src.0), of(new, after, src.1));
        if known.insert(both) {
            senders.push((both, Some(endpoint)));
        }
    }
    senders
}

/// Who meets whom, if they may. The address decides whether they may, the sender who decides.
fn side(
    space: &Space<'_>,
    scope: Option<&Scope>,
    holder: Option<SegmentId>,
    from: Option<SegmentId>,
    to: Option<SegmentId>,
) -> Side {
    let (Some(scope), Some(holder), Some(from), Some(to)) = (scope, holder, from, to) else {
        return Side::Unknown;
    };
    if scope.owner.is_some_and(|owner| (holder == owner) == (to == owner)) {
        return Side::Unknown;
    }
    let policy = space.policy.block(from, to);
    let monitored = policy.is_some_and(|policy| space.policy.mode(policy) == Mode::Monitor);
    Side::Pair { from, to, policy, monitored }
}
