//! What is known of segments, policies and rules besides their meaning: names, limits, log
//! settings. For records, reports and limits; no decision reads it.

use super::spec::{Answer, FlowLog, LimitsSpec, Midstream, Mode, SegmentKind};
use crate::model::{Action, PolicyId, RuleId, ScopeId, SegmentId};
use std::sync::Arc;

/// One segment of a compiled policy.
#[derive(Clone, Debug)]
pub struct SegmentInfo {
    /// Its position.
    pub id: SegmentId,
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub kind: SegmentKind,
    /// Key and value.
    pub labels: Box<[(String, String)]>,
    /// Its scope, if it has endpoints.
    pub scope: Option<ScopeId>,
    /// Whether its PROXY headers are believed.
    pub trusted_proxy: bool,
    /// What is reserved for it.
    pub limits: LimitsSpec,
    /// Its own answer to flows met in the middle.
    pub midstream: Option<Midstream>,
    /// Who to ask.
    pub owner: Option<Box<str>>,
}

/// One policy of a compiled ruleset.
#[derive(Clone, Debug)]
pub struct BlockInfo {
    /// Its position.
    pub id: PolicyId,
    /// Where it stands.
    pub location: Arc<str>,
    /// Enforce or monitor.
    pub mode: Mode,
    /// What is done where no rule is true.
    pub otherwise: Action,
    /// Its first rule; the others follow.
    pub first_rule: RuleId,
    /// How many rules it has.
    pub rules: u32,
}

/// One rule of a compiled ruleset.
#[derive(Clone, Debug)]
pub struct RuleInfo {
    /// Its position over all policies.
    pub id: RuleId,
    /// Its name.
    pub name: Arc<str>,
    /// For people.
    pub description: Option<Box<str>>,
    /// The policy it is in.
    pub policy: PolicyId,
    /// What it asks for.
    pub action: Action,
    /// When its flows are recorded.
    pub log: FlowLog,
    /// The answer for facts that were missed.
    pub midstream: Answer,
    /// Last day on which it stands, in days since 1970-01-01 UTC.
    pub expires: Option<u32>,
    /// Where the change was asked for.
    pub ticket: Option<Box<str>>,
}
