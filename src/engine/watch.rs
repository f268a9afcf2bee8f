//! Every question to the policy written down with its facts and its trace, for tests and
//! explanations. Off unless asked for; packets of decided flows ask nothing, so they cost nothing.

use super::Engine;
use crate::model::{Facts, FiveTuple, PolicyId, ScopeId, Timestamp};
use crate::policy::{Decision, TraceStep};
use std::cell::RefCell;

/// As many questions are kept between two calls of [`Engine::take_asked`].
pub const ASKED_MAX: usize = 65_536;

/// One question to the policy, and its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Engine time.
    pub at: Timestamp,
    /// The scope the flow's state is kept in.
    pub scope: ScopeId,
    /// The policy of the flow's pair of segments, if one stands.
    pub policy: Option<PolicyId>,
    /// The flow in its original direction.
    pub tuple: FiveTuple,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// What was unknown counted as missed.
    pub midstream: bool,
    /// What was known.
    pub facts: Facts,
    /// How each rule stood, up to the one that decided.
    pub steps: Vec<TraceStep>,
    /// The answer.
    pub decision: Decision,
}

/// What was asked since it was last taken; none while nobody watches.
#[derive(Debug, Default)]
pub(super) struct Watch(Option<RefCell<Vec<Asked>>>);

impl Watch {
    pub(super) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn note(&self, asked: Asked) {
        if let Some(list) = &self.0
            && let Ok(mut list) = list.try_borrow_mut()
            && list.len() < ASKED_MAX
        {
            list.push(asked);
        }
    }
}

impl Engine {
    /// Writes down every question to the policy from now on.
    #[must_use]
    pub fn watched(mut self) -> Self {
        self.watch = Watch(Some(RefCell::default()));
        self
    }

    /// The questions since the last call, at most [`ASKED_MAX`].
    pub fn take_asked(&mut self) -> Vec<Asked> {
        self.watch.0.as_mut().map(|list| std::mem::take(list.get_mut())).unwrap_or_default()
    }
}
