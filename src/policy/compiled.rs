//! The compiled policy as the engine sees it: compiled whole, then only asked. What a question is
//! about and how it is answered stand in the files beside.

use super::decide::Block;
use super::decision::{Approach, Decision, Message, Opening, Query, Toward, Trace};
use super::info::{BlockInfo, RuleInfo, SegmentInfo};
use super::pairs::{Pairs, SEGMENTS_LIMIT};
use super::segments::{Located, Locator};
use super::spec::{BlockSpec, DefaultsSpec, Mode, PolicySpec, RuleSpec, SegmentSpec};
use super::tuple_space::Shortlist;
use crate::model::{
    Action, Addr, DomainName, EndpointId, Facts, FiveTuple, FlowVerdict, PolicyId, ProxyIdentity,
    Reason, RuleId, ScopeId, SegmentId, Timestamp,
};
use std::fmt;

/// Most rules, and most policies, of a ruleset.
pub const RULES_LIMIT: usize = 1 << 20;

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
    locator: Locator,
    pairs: Pairs,
    blocks: Vec<Block>,
    segment_infos: Vec<SegmentInfo>,
    block_infos: Vec<BlockInfo>,
    rule_infos: Vec<RuleInfo>,
    /// Whether a rule asks for a record of the start of its flows; empty if none does.
    starts: Vec<bool>,
    /// Ascending, each once.
    expiries: Vec<Timestamp>,
    defaults: DefaultsSpec,
    binds: bool,
    /// Some rule asks where DNS answers lead.
    judges: bool,
}

impl Policy {
    /// Compiles. Scope ids are those of `previous` for segments that had one there, so that flows
    /// keep their key over a reload.
    ///
    /// # Errors
    /// [`CompileFault`] at the bounds. That names are known and unique, and that no pair of
    /// segments is ambiguous (see [`super::ambiguities`]), is for the caller to check.
    pub fn compile(spec: &PolicySpec, previous: Option<&Self>) -> Result<Self, CompileFault> {
        if spec.segments.len() > SEGMENTS_LIMIT {
            return Err(CompileFault::TooManySegments);
        }
        if rules_of(&spec.policies) > RULES_LIMIT || spec.policies.len() > RULES_LIMIT {
            return Err(CompileFault::TooManyRules);
        }
        let registry = previous.map(|policy| policy.locator.registry.clone()).unwrap_or_default();
        let locator = Locator::build(spec, registry)?;
        let Blocks { blocks, block_infos, rule_infos, expiries } = Blocks::build(&spec.policies);
        let infos = spec.segments.iter().zip(0..);
        Ok(Self {
            judges: blocks.iter().any(Block::judges_answers),
            pairs: Pairs::build(spec),
            segment_infos: infos.map(|(s, id)| segment_info(s, SegmentId(id), &locator)).collect(),
            locator,
            blocks,
            block_infos,
            starts: starts(&rule_infos),
            rule_infos,
            expiries,
            binds: binds(&spec.policies),
            defaults: spec.defaults.clone(),
        })
    }

    /// The same segments, the same policies between them, other rules: what a change would do,
    /// without looking at networks and pairs again. Policies keep their ids, rules get new ones.
    ///
    /// # Errors
    /// [`CompileFault`] at the bounds.
    pub fn with_rules(&self, policies: &[BlockSpec]) -> Result<Self, CompileFault> {
        if rules_of(policies) > RULES_LIMIT || policies.len() > RULES_LIMIT {
            return Err(CompileFault::TooManyRules);
        }
        let Blocks { blocks, block_infos, rule_infos, expiries } = Blocks::build(policies);
        Ok(Self {
            judges: blocks.iter().any(Block::judges_answers),
            pairs: self.pairs.clone(),
            segment_infos: self.segment_infos.clone(),
            locator: self.locator.clone(),
            binds: binds(policies),
            blocks,
            block_infos,
            starts: starts(&rule_infos),
            rule_infos,
            expiries,
            defaults: self.defaults.clone(),
        })
    }

    /// The scope of a packet; `None` is an endpoint that is listed nowhere, or a packet without
    /// one where only listed endpoints are taken.
    #[inline]
    #[must_use]
    pub fn scope(&self, endpoint: Option<EndpointId>) -> Option<ScopeId> {
        self.locator.scope(endpoint)
    }

    /// Whether packets may be in a scope under this ruleset.
    #[must_use]
    pub fn has_scope(&self, scope: ScopeId) -> bool {
        self.locator.has_scope(scope)
    }

    /// Whose the two sides of a packet are.
    #[must_use]
    pub fn locate(&self, scope: ScopeId, src: Addr, dst: Addr) -> Located {
        self.locator.locate(scope, src, dst)
    }

    /// What the addresses of a flow's first packet say. Rules for it are brought near, so that it is
    /// decided sooner when its turn comes.
    #[must_use]
    pub fn approach(&self, scope: ScopeId, tuple: &FiveTuple) -> Approach {
        match Toward::of(tuple) {
            Some(toward) => self.approach_v4(scope, &toward),
            None => {
                let located = self.locate(scope, tuple.src, tuple.dst);
                self.approach_by(located, |block| block.shortlist(tuple))
            }
        }
    }

    /// The same of an IPv4 packet.
    #[inline]
    #[must_use]
    pub fn approach_v4(&self, scope: ScopeId, toward: &Toward) -> Approach {
        let located = self.locator.locate_v4(scope, toward.src, toward.dst);
        self.approach_by(located, |block| block.shortlist_v4(toward))
    }

    #[inline(always)]
    fn approach_by(
        &self,
        located: Located,
        shortlist: impl FnOnce(&Block) -> Shortlist,
    ) -> Approach {
        let policy = match located {
            Located::Pair { from, to, from_proxy: false } => self.block(from, to),
            Located::Pair { .. } | Located::Unknown => None,
        };
        let block = policy.and_then(|policy| self.blocks.get(policy.0 as usize));
        Approach { located, policy, shortlist: block.map(shortlist) }
    }

    /// Brings near what the rules of a policy compare a DNS question with.
    pub fn prefetch_question(&self, policy: PolicyId, question: &DomainName) {
        if let Some(block) = self.blocks.get(policy.0 as usize) {
            block.prefetch_question(question);
        }
    }

    /// The segment that holds an address in a scope; whom it may meet there is for
    /// [`Policy::locate`] to say.
    #[must_use]
    pub fn holder(&self, scope: ScopeId, addr: Addr) -> Option<SegmentId> {
        self.locator.find(scope, addr)
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
    pub fn by_proxy_endpoint(&self, endpoint: EndpointId) -> Option<SegmentId> {
        self.locator.by_proxy_endpoint(endpoint)
    }

    /// The policy that decides between two segments.
    #[must_use]
    pub fn block(&self, from: SegmentId, to: SegmentId) -> Option<PolicyId> {
        self.pairs.block(from, to)
    }

    /// Decides a flow, or the message of it that `facts` tell of. Without any facts a final
    /// answer holds for every message of the flow.
    pub fn decide<T: Trace>(&self, query: &Query<'_>, facts: &Facts, trace: &mut T) -> Decision {
        match self.blocks.get(query.policy.0 as usize) {
            Some(block) => block.decide(query, facts, &self.defaults, trace),
            None => Decision::Final(Self::NO_POLICY),
        }
    }

    /// Decides a new flow by its headers alone, and with it the message that opens it: says of each what
    /// [`Policy::decide`] says, in one walk over the rules.
    #[must_use]
    pub fn decide_opening(&self, query: &Query<'_>, message: Option<Message<'_>>) -> Opening {
        match self.blocks.get(query.policy.0 as usize) {
            Some(block) => block.decide_opening(query, message, &self.defaults),
            None => {
                let decision = Decision::Final(Self::NO_POLICY);
                Opening { flow: decision, message: message.map(|_| decision) }
            }
        }
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

    /// The verdict of a policy's `otherwise` for a flow that nothing decided in time.
    #[must_use]
    pub fn otherwise(&self, policy: PolicyId) -> FlowVerdict {
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
    pub fn next_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        let passed = self.expiries.partition_point(|&expiry| expiry <= now);
        self.expiries.get(passed).copied()
    }

    /// Whether some rule asks that the destination be a DNS answer for the name.
    #[must_use]
    pub const fn binds(&self) -> bool {
        self.binds
    }

    /// Whether some rule of a policy asks where DNS answers lead.
    #[must_use]
    pub fn judges_answers(&self, policy: PolicyId) -> bool {
        self.blocks.get(policy.0 as usize).is_some_and(Block::judges_answers)
    }

    /// Which run of addresses a DNS answer is in: of those in one run every rule of the policy says the
    /// same.
    #[must_use]
    pub fn answer_run(&self, policy: PolicyId, addr: Addr) -> usize {
        self.blocks.get(policy.0 as usize).map_or(0, |block| block.answer_run(addr))
    }

    /// Whether DNS answers are read at all: some rule binds names to them, or asks where they lead.
    #[must_use]
    pub const fn reads_answers(&self) -> bool {
        self.binds || self.judges
    }

    /// What stands where nothing else is said.
    #[must_use]
    pub const fn defaults(&self) -> &DefaultsSpec {
        &self.defaults
    }

    /// All segments, by id.
    #[must_use]
    pub fn segments(&self) -> &[SegmentInfo] {
        &self.segment_infos
    }

    /// All policies, by id.
    #[must_use]
    pub fn policies(&self) -> &[BlockInfo] {
        &self.block_infos
    }

    /// All rules, by id.
    #[must_use]
    pub fn rules(&self) -> &[RuleInfo] {
        &self.rule_infos
    }

    /// Whether some rule asks for a record of the start of its flows.
    #[inline]
    #[must_use]
    pub const fn tells_starts(&self) -> bool {
        !self.starts.is_empty()
    }

    /// Whether a rule asks for a record of the start of its flows.
    #[inline]
    #[must_use]
    pub fn tells_start(&self, id: RuleId) -> bool {
        self.starts.get(id.0 as usize).copied().unwrap_or(false)
    }

    /// One segment.
    #[must_use]
    pub fn segment(&self, id: SegmentId) -> Option<&SegmentInfo> {
        self.segment_infos.get(usize::from(id.0))
    }

    /// One policy.
    #[must_use]
    pub fn policy(&self, id: PolicyId) -> Option<&BlockInfo> {
        self.block_infos.get(id.0 as usize)
    }

    /// One rule.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&RuleInfo> {
        self.rule_infos.get(id.0 as usize)
    }
}

/// Whether some rule binds names to DNS answers.
fn binds(policies: &[BlockSpec]) -> bool {
    policies.iter().flat_map(|block| &block.rules).any(|rule| rule.bind_dns)
}

/// Which rules ask for records of starts.
fn starts(rules: &[RuleInfo]) -> Vec<bool> {
    let starts = rules.iter().map(|rule| rule.log.at_start());
    if starts.clone().any(|asks| asks) { starts.collect() } else { Vec::new() }
}

/// How many rules all policies have together.
fn rules_of(policies: &[BlockSpec]) -> usize {
    policies.iter().map(|block| block.rules.len()).fold(0, usize::saturating_add)
}

/// What of a policy depends on its rules alone.
struct Blocks {
    blocks: Vec<Block>,
    block_infos: Vec<BlockInfo>,
    rule_infos: Vec<RuleInfo>,
    expiries: Vec<Timestamp>,
}

impl Blocks {
    fn build(policies: &[BlockSpec]) -> Self {
        let mut blocks = Vec::with_capacity(policies.len());
        let mut block_infos = Vec::with_capacity(policies.len());
        let mut rule_infos: Vec<RuleInfo> = Vec::with_capacity(rules_of(policies));
        for (block, id) in policies.iter().zip(0..) {
            let info = block_info(block, PolicyId(id), rule_infos.len());
            blocks.push(Block::build(block, info.first_rule));
            for (rule, id) in block.rules.iter().zip(info.first_rule.0..) {
                rule_infos.push(rule_info(rule, RuleId(id), info.id));
            }
            block_infos.push(info);
        }
        let mut expiries: Vec<Timestamp> = blocks.iter().flat_map(Block::ends).collect();
        expiries.sort_unstable();
        expiries.dedup();
        Self { blocks, block_infos, rule_infos, expiries }
    }
}

fn segment_info(spec: &SegmentSpec, id: SegmentId, locator: &Locator) -> SegmentInfo {
    SegmentInfo {
        id,
        name: spec.name.as_str().into(),
        kind: spec.kind,
        labels: spec.labels.clone().into_boxed_slice(),
        scope: locator.scope_of(id),
        trusted_proxy: spec.trusted_proxy,
        limits: spec.limits,
        midstream: spec.midstream,
        owner: spec.owner.as_deref().map(Box::from),
    }
}

fn block_info(spec: &BlockSpec, id: PolicyId, first_rule: usize) -> BlockInfo {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    BlockInfo {
        id,
        name: spec.name().into(),
        location: spec.location.as_str().into(),
        mode: spec.mode,
        otherwise: spec.otherwise,
        first_rule: RuleId(number(first_rule)),
        rules: number(spec.rules.len()),
    }
}

fn rule_info(spec: &RuleSpec, id: RuleId, policy: PolicyId) -> RuleInfo {
    RuleInfo {
        id,
        name: spec.id.as_str().into(),
        description: spec.description.as_deref().map(Box::from),
        policy,
        action: spec.action,
        log: spec.log,
        midstream: spec.midstream,
        expires: spec.expires,
        ticket: spec.ticket.as_deref().map(Box::from),
    }
}

#[cfg(test)]
#[path = "compiled_tests.rs"]
mod tests;
