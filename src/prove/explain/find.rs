//! Who a flow belongs to, and why: its scope by the endpoint, the longest network on each side, and
//! why one policy decides for the pair and no other. The answers are the compiled policy's.

use crate::model::{Addr, EndpointId, FiveTuple, PolicyId, ScopeId, SegmentId};
use crate::policy::spec::{CommonEndpoints, SegmentKind, SegmentSpec, Selector};
use crate::policy::{COMMON_SCOPE, Located};
use crate::ruleset::{Loaded, selects};
use ipnet::IpNet;
use std::cmp::Reverse;

/// What was found of a flow.
#[derive(Clone, Debug)]
pub struct Found {
    /// The flow.
    pub tuple: FiveTuple,
    /// The endpoint it came through.
    pub endpoint: Option<EndpointId>,
    /// Its scope, and why.
    pub origin: Origin,
    /// Every network that holds the source, the one that counts first.
    pub source: Vec<Candidate>,
    /// The same for the destination.
    pub destination: Vec<Candidate>,
    /// The two segments; none if the flow belongs to nobody.
    pub pair: Option<(SegmentId, SegmentId)>,
    /// The source is a trusted proxy: who it speaks for its PROXY header says.
    pub from_proxy: bool,
    /// The policy that decides.
    pub policy: Option<PolicyId>,
    /// All policies for the pair, the most specific first.
    pub rivals: Vec<Rival>,
}

/// Why a flow is in its scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The endpoint is listed by this segment.
    Segment(String),
    /// The endpoint is one of `common_endpoints`.
    Common,
    /// `common_endpoints: any`.
    Any,
    /// Nobody lists the endpoint.
    Nowhere,
}

/// A segment that could hold an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The segment.
    pub segment: String,
    /// Its longest network with the address; none for a partner that has what nobody else holds.
    pub network: Option<IpNet>,
    /// Whether the segment is looked at in this scope.
    pub looked_at: bool,
}

/// A policy that stands for the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rival {
    /// The policy.
    pub id: PolicyId,
    /// Where it is written.
    pub location: String,
    /// Its most specific selector of the source's segment.
    pub from: Selector,
    /// Its most specific selector of the destination's.
    pub to: Selector,
}

impl Found {
    /// What the policy says of a flow through an endpoint.
    #[must_use]
    pub fn new(ruleset: &Loaded, endpoint: Option<EndpointId>, tuple: FiveTuple) -> Self {
        let (scope, origin) = scope_of(ruleset, endpoint);
        let owner = match &origin {
            Origin::Segment(name) => Some(name.as_str()),
            _ => None,
        };
        let mut found = Self {
            tuple,
            endpoint,
            source: candidates(ruleset, owner, scope, tuple.src),
            destination: candidates(ruleset, owner, scope, tuple.dst),
            origin,
            pair: None,
            from_proxy: false,
            policy: None,
            rivals: Vec::new(),
        };
        let located = scope.map(|scope| ruleset.policy.locate(scope, tuple.src, tuple.dst));
        if let Some(Located::Pair { from, to, from_proxy }) = located {
            found.from_proxy = from_proxy;
            found.decide(ruleset, from, to);
        }
        found
    }

    /// Takes these segments for the two sides.
    pub(super) fn decide(&mut self, ruleset: &Loaded, from: SegmentId, to: SegmentId) {
        self.pair = Some((from, to));
        self.policy = ruleset.policy.block(from, to);
        self.rivals = rivals(ruleset, from, to);
    }
}

fn scope_of(ruleset: &Loaded, endpoint: Option<EndpointId>) -> (Option<ScopeId>, Origin) {
    let scope = ruleset.policy.scope(endpoint);
    let origin = match scope {
        None => Origin::Nowhere,
        Some(COMMON_SCOPE) if ruleset.spec.common == CommonEndpoints::Any => Origin::Any,
        Some(COMMON_SCOPE) => Origin::Common,
        Some(scope) => {
            let owner = ruleset.policy.segments().iter().find(|s| s.scope == Some(scope));
            owner.map_or(Origin::Nowhere, |owner| Origin::Segment(owner.name.to_string()))
        }
    };
    (scope, origin)
}

/// Segments with the address, those that count first, longest network first; at equal length the
/// workload or shared segment before the partner, as the policy has it.
fn candidates(
    ruleset: &Loaded,
    owner: Option<&str>,
    scope: Option<ScopeId>,
    addr: Addr,
) -> Vec<Candidate> {
    let looked_at = |segment: &SegmentSpec| match owner {
        Some(owner) => segment.kind != SegmentKind::Partner || segment.name == owner,
        None => scope.is_some(),
    };
    let mut found: Vec<(bool, u8, bool, Candidate)> = Vec::new();
    for segment in &ruleset.spec.segments {
        let held = segment.networks.iter().filter(|network| network.contains(&addr.to_ip()));
        let network = held.max_by_key(|network| network.prefix_len()).copied();
        let is_owner = owner == Some(segment.name.as_str());
        let rest = is_owner && segment.kind == SegmentKind::Partner && segment.networks.is_empty();
        if network.is_none() && !rest {
            continue;
        }
        let looked_at = looked_at(segment);
        let candidate = Candidate { segment: segment.name.clone(), network, looked_at };
        let len = network.map_or(0, |network| network.prefix_len().saturating_add(1));
        found.push((looked_at, len, !is_owner, candidate));
    }
    found.sort_by_key(|&(looked_at, len, home, _)| Reverse((looked_at, len, home)));
    found.into_iter().map(|(_, _, _, candidate)| candidate).collect()
}

fn rivals(ruleset: &Loaded, from: SegmentId, to: SegmentId) -> Vec<Rival> {
    let segment = |id: SegmentId| ruleset.spec.segments.get(usize::from(id.0));
    let (Some(from), Some(to)) = (segment(from), segment(to)) else { return Vec::new() };
    let best = |selectors: &[Selector], segment: &SegmentSpec| {
        let fitting = selectors.iter().filter(|selector| selects(selector, segment));
        fitting.min_by_key(|selector| level(selector)).cloned()
    };
    let mut all: Vec<Rival> = ruleset
        .spec
        .policies
        .iter()
        .zip(0..)
        .filter_map(|(block, id)| {
            Some(Rival {
                id: PolicyId(id),
                location: block.location.clone(),
                from: best(&block.from, from)?,
                to: best(&block.to, to)?,
            })
        })
        .collect();
    all.sort_by_key(|rival| (level(&rival.from), level(&rival.to)));
    all
}

/// A name before a label before a kind before `any`.
const fn level(selector: &Selector) -> u8 {
    match selector {
        Selector::Segment(_) => 0,
        Selector::Label(..) => 1,
        Selector::Kind(_) => 2,
        Selector::Any => 3,
    }
}
