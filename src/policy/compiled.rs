//! The compiled policy as the engine sees it.

use super::decision::{Decision, Query, Trace};
use super::info::{BlockInfo, RuleInfo, SegmentInfo};
use super::spec::{DefaultsSpec, Mode, PolicySpec};
use crate::model::{
    Action, Addr, EndpointId, Facts, FlowVerdict, PolicyId, ProxyIdentity, Reason, RuleId, ScopeId,
    SegmentId, Timestamp,
};
use std::fmt;

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

/// Why a specification is not compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompileFault {
    /// More segments than can be numbered.
    TooManySegments,
    /// More segments had endpoints since the start than scopes can be numbered.
    TooManyScopes,
    /// More policies or rules than can be numbered.
    TooManyRules,
}

impl fmt::Display for CompileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManySegments => "too many segments",
            Self::TooManyScopes => "too many scopes",
            Self::TooManyRules => "too many rules",
        })
    }
}

impl std::error::Error for CompileFault {}

/// A compiled ruleset: immutable, shared by all workers.
#[derive(Debug)]
pub struct Policy {
    segments: Vec<SegmentInfo>,
    blocks: Vec<BlockInfo>,
    rules: Vec<RuleInfo>,
    defaults: DefaultsSpec,
}

impl Policy {
    /// Compiles; scope ids are those of `previous` for segments that had one.
    ///
    /// # Errors
    /// [`CompileFault`] at the bounds.
    pub fn compile(spec: &PolicySpec, _previous: Option<&Self>) -> Result<Self, CompileFault> {
        Ok(Self {
            segments: Vec::new(),
            blocks: Vec::new(),
            rules: Vec::new(),
            defaults: spec.defaults.clone(),
        })
    }

    /// The scope of a packet; `None` is an endpoint that is listed nowhere.
    #[must_use]
    pub fn scope(&self, _endpoint: Option<EndpointId>) -> Option<ScopeId> {
        None
    }

    /// Whose the two sides of a packet are.
    #[must_use]
    pub fn locate(&self, _scope: ScopeId, _src: Addr, _dst: Addr) -> Located {
        Located::Unknown
    }

    /// The segment a trusted proxy speaks for: `proxy` itself, the one that lists the endpoint,
    /// or `None` if nobody lists it.
    #[must_use]
    pub fn proxied(&self, proxy: SegmentId, identity: ProxyIdentity) -> Option<SegmentId> {
        match identity {
            ProxyIdentity::Proxy => Some(proxy),
            ProxyIdentity::Endpoint(endpoint) => self.by_proxy_endpoint(endpoint),
        }
    }

    /// The segment that lists a PrivateLink endpoint.
    #[must_use]
    pub fn by_proxy_endpoint(&self, _endpoint: EndpointId) -> Option<SegmentId> {
        None
    }

    /// The policy that decides between two segments.
    #[must_use]
    pub fn block(&self, _from: SegmentId, _to: SegmentId) -> Option<PolicyId> {
        None
    }

    /// Decides.
    pub fn decide<T: Trace>(&self, _query: &Query<'_>, _facts: &Facts, _trace: &mut T) -> Decision {
        Decision::Final(Self::NO_POLICY)
    }

    /// The verdict where no policy stands for a pair of segments.
    pub const NO_POLICY: FlowVerdict =
        FlowVerdict { action: Action::Deny, rule: None, reason: Reason::NoPolicy };

    /// The verdict for what belongs to no segment.
    #[must_use]
    pub const fn unknown_segment(&self) -> FlowVerdict {
        FlowVerdict {
            action: self.defaults.unknown_segment,
            rule: None,
            reason: Reason::UnknownSegment,
        }
    }

    /// The verdict for a flow still pending at the bound of held bytes or time.
    #[must_use]
    pub fn undecided(&self, policy: PolicyId) -> FlowVerdict {
        let action = self.policy(policy).map_or(Action::Deny, |block| block.otherwise);
        FlowVerdict { action, rule: None, reason: Reason::Undecided }
    }

    /// Whether a policy's decisions are carried out.
    #[must_use]
    pub fn mode(&self, policy: PolicyId) -> Mode {
        self.policy(policy).map_or(Mode::Enforce, |block| block.mode)
    }

    /// The next time after `now` at which a rule expires.
    #[must_use]
    pub fn next_expiry(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }

    /// What stands where nothing else is said.
    #[must_use]
    pub const fn defaults(&self) -> &DefaultsSpec {
        &self.defaults
    }

    /// All segments, by id.
    #[must_use]
    pub fn segments(&self) -> &[SegmentInfo] {
        &self.segments
    }

    /// All policies, by id.
    #[must_use]
    pub fn policies(&self) -> &[BlockInfo] {
        &self.blocks
    }

    /// All rules, by id.
    #[must_use]
    pub fn rules(&self) -> &[RuleInfo] {
        &self.rules
    }

    /// One segment.
    #[must_use]
    pub fn segment(&self, id: SegmentId) -> Option<&SegmentInfo> {
        self.segments.get(usize::from(id.0))
    }

    /// One policy.
    #[must_use]
    pub fn policy(&self, id: PolicyId) -> Option<&BlockInfo> {
        self.blocks.get(id.0 as usize)
    }

    /// One rule.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&RuleInfo> {
        self.rules.get(id.0 as usize)
    }
}
