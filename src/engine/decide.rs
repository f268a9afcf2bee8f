//! Asks the policy, and carries out what it says. How rules are evaluated is `policy`'s business.

use super::Engine;
use super::state::{Case, Flow, Stage};
use crate::model::{Action, Facts, FiveTuple, FlowVerdict, PolicyId, Reason};
use crate::policy::{Decision, NoTrace, Query};

impl Engine {
    /// What the policy says of a flow with these facts.
    pub(super) fn ask(
        &self,
        policy: Option<PolicyId>,
        tuple: FiveTuple,
        icmp: Option<(u8, u8)>,
        facts: &Facts,
        midstream: bool,
    ) -> Decision {
        let Some(policy) = policy else {
            return Decision::Final(FlowVerdict {
                action: Action::Deny,
                rule: None,
                reason: Reason::NoPolicy,
            });
        };
        let query = Query { policy, tuple, icmp, now: self.now, midstream, bound: None };
        self.policy.decide(&query, facts, &mut NoTrace)
    }

    /// What becomes of a flow that is still undecided at a bound: its policy's `otherwise`.
    pub(super) fn undecided(&self, policy: Option<PolicyId>, reason: Reason) -> FlowVerdict {
        let action = policy.map_or(Action::Deny, |policy| self.policy.undecided(policy).action);
        FlowVerdict { action, rule: None, reason }
    }
}

impl Flow {
    /// Takes a decision into the flow. In monitor mode the verdict is only written down, and of
    /// several the first denial stays.
    pub(super) fn settle(&mut self, verdict: FlowVerdict, stage: Stage) {
        if self.monitored && self.verdict.action != Action::Allow && self.stage != Stage::Pending {
            return;
        }
        self.verdict = verdict;
        self.stage = stage;
    }

    /// Whether packets pass whatever the verdict says.
    pub(super) const fn passes(&self) -> bool {
        self.monitored || matches!(self.verdict.action, Action::Allow)
    }
}

impl Case {
    /// Nothing more will be read: what is not known will never be.
    pub(super) fn close_facts(&mut self) {
        use crate::model::Fact;
        let facts = &mut self.facts;
        if facts.app.is_unknown() {
            facts.settle_without_names(crate::model::App::Other);
        }
        if facts.tls.version.is_unknown() {
            facts.tls.version = Fact::Absent;
        }
        if facts.domain.is_unknown() {
            facts.domain = Fact::Absent;
        }
        if facts.questions.is_unknown() {
            facts.questions = Fact::Absent;
        }
        if facts.tls.client_certificate.is_unknown() {
            facts.tls.client_certificate = Fact::Absent;
        }
        if facts.tls.offered.is_unknown() {
            facts.tls.offered = Fact::Absent;
        }
        if facts.tls.ja4.is_unknown() {
            facts.tls.ja4 = Fact::Absent;
        }
    }
}
