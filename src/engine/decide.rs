//! Asks the policy, and carries out what it says. How rules are evaluated is `policy`'s business.

use super::early::Early;
use super::entry::{Flow, Mark};
use super::state::{Case, Stage};
use super::stream::deny;
use super::{Asked, Engine};
use crate::flow::FlowId;
use crate::model::{
    Action, Addr, DomainName, Fact, Facts, FiveTuple, FlowVerdict, PolicyId, Reason, ScopeId,
};
use crate::policy::{
    Bound, Decision, Message, NoTrace, Opening, Policy, Query, RecordedTrace, Shortlist, Trace,
};

/// What is asked about a flow, apart from its facts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) scope: ScopeId,
    pub(super) policy: Option<PolicyId>,
    pub(super) tuple: FiveTuple,
    pub(super) icmp: Option<(u8, u8)>,
    /// What is not known has passed unseen.
    pub(super) missed: bool,
    /// The destination was an answer for the name when that was decided.
    pub(super) bound: bool,
    /// Where the rules are, if that was looked up before.
    pub(super) shortlist: Option<Shortlist>,
}

impl Engine {
    /// What the policy says of a flow with these facts.
    pub(super) fn ask(&self, question: &Question, facts: &Facts) -> Decision {
        if self.watch.is_on() && question.policy.is_some() {
            return self.ask_watched(question, facts);
        }
        self.ask_of(&self.policy, question, facts)
    }

    /// What `policy`, which need not be the one in force, says of it.
    pub(super) fn ask_of(&self, policy: &Policy, question: &Question, facts: &Facts) -> Decision {
        self.traced(policy, question, facts, &mut NoTrace)
    }

    /// The same, with every rule looked at on the way.
    pub(super) fn traced<T: Trace>(
        &self,
        policy: &Policy,
        question: &Question,
        facts: &Facts,
        trace: &mut T,
    ) -> Decision {
        let Some(block) = question.policy else { return Decision::Final(Policy::NO_POLICY) };
        let bound = |name: &DomainName, address: Addr| {
            let holds = || self.bindings.holds(question.scope, name, address, self.now);
            if question.bound || holds() { Bound::Yes } else { Bound::No }
        };
        let query = Query { bound: Some(&bound), ..self.query(question, block) };
        policy.decide(&query, facts, trace)
    }

    /// What the policy says of a new TCP or UDP flow, and of the DNS question that opens it.
    pub(super) fn ask_opening(&self, question: &Question, asked: Option<&Early>) -> Opening {
        if self.watch.is_on() {
            return Opening { flow: self.ask(question, &self.nothing), message: None };
        }
        let Some(block) = question.policy else {
            return Opening { flow: Decision::Final(Policy::NO_POLICY), message: None };
        };
        let facts = self.question.as_deref();
        let message =
            asked.zip(facts).map(|(asked, facts)| Message { facts, question: &asked.name });
        // No name of a DNS question is looked for among answers.
        self.policy.decide_opening(&self.query(question, block), message)
    }

    /// A question as a policy takes it, which no answers are known to.
    fn query(&self, question: &Question, policy: PolicyId) -> Query<'static> {
        Query {
            policy,
            tuple: question.tuple,
            icmp: question.icmp,
            now: self.now,
            midstream: question.missed,
            bound: None,
            shortlist: question.shortlist,
        }
    }

    /// The same, written down.
    #[cold]
    fn ask_watched(&self, question: &Question, facts: &Facts) -> Decision {
        let mut trace = RecordedTrace::default();
        let decision = self.traced(&self.policy, question, facts, &mut trace);
        self.watch.note(Asked {
            at: self.now,
            scope: question.scope,
            policy: question.policy,
            tuple: question.tuple,
            icmp: question.icmp,
            midstream: question.missed,
            facts: facts.clone(),
            steps: trace.steps,
            decision,
        });
        decision
    }

    /// The policy of a flow: that of its segments, none while its identity is waited for.
    pub(super) fn policy_of(&self, flow: &Flow) -> Option<PolicyId> {
        if flow.is(Mark::BehindProxy) { None } else { self.policy.block(flow.from, flow.to) }
    }

    /// The same, none either under a ruleset newer than its last packet: nobody has looked yet which
    /// policy is its own.
    pub(super) fn present_policy_of(&self, flow: &Flow) -> Option<PolicyId> {
        if flow.epoch(self.epoch.0) == self.epoch.0 { self.policy_of(flow) } else { None }
    }

    /// What to ask the policy about a flow.
    pub(super) fn question(&self, id: FlowId) -> Option<Question> {
        let flow: &Flow = self.table.get(id)?;
        let key = self.table.key(id)?;
        Some(Question {
            scope: key.scope(),
            policy: self.policy_of(flow),
            tuple: key.tuple(flow.is(Mark::Reversed)),
            icmp: flow.icmp(),
            missed: false,
            bound: false,
            shortlist: None,
        })
    }

    /// Whether a flow's messages are read for the record alone.
    pub(super) fn is_out_of_question(&self, id: FlowId, unasked: bool) -> bool {
        self.table
            .get(id)
            .is_none_or(|flow| flow.is(Mark::Midstream) || (unasked && !flow.is(Mark::Monitored)))
    }

    /// Whether the destination is an answer for the name of the present message, or was when the flow
    /// was allowed by that name before, where some rule asks.
    pub(super) fn is_bound(&self, question: &Question, case: &Case) -> bool {
        self.policy.binds()
            && case.facts.domain.known().is_some_and(|name| {
                case.bound_names.all().contains(name)
                    || self.bindings.holds(question.scope, name, question.tuple.dst, self.now)
            })
    }

    /// Writes down for what a flow would be denied now, were its policy enforced; of several the first
    /// stays. Nothing of a flow that is enforced, or about which nothing is asked any more.
    pub(super) fn note_denial(&mut self, id: FlowId, reason: Reason, stage: Stage) {
        let Some(flow) = self.table.get_mut(id) else { return };
        let asked = !flow.is(Mark::Midstream) && flow.stage() != Stage::Final;
        if flow.is(Mark::Monitored) && asked {
            flow.take_verdict(deny(reason), stage);
        }
    }

    /// What becomes of a flow of which something is held and that is still undecided at a bound: its
    /// policy's `otherwise`, as far as that denies. A rule that may yet deny what was asked for stands
    /// open, or the flow would have been decided: padding or patience must not carry a denied name past
    /// it.
    pub(super) fn deny_undecided(&self, policy: Option<PolicyId>) -> FlowVerdict {
        let otherwise = policy.map(|policy| self.policy.otherwise(policy).action);
        let action = otherwise.filter(|action| *action != Action::Allow).unwrap_or(Action::Deny);
        FlowVerdict { action, rule: None, reason: Reason::Undecided }
    }
}

impl Flow {
    /// Takes a decision into the flow. In monitor mode the verdict is only written down, and of
    /// several the first denial stays.
    pub(super) fn take_verdict(&mut self, verdict: FlowVerdict, stage: Stage) {
        if self.is(Mark::Monitored)
            && self.action() != Action::Allow
            && self.stage() != Stage::Pending
        {
            return;
        }
        self.set_verdict(verdict);
        self.set_stage(stage);
    }
}

impl Case {
    /// Takes in that its flow was allowed by the present message, whose name its destination may be an
    /// answer for.
    pub(super) fn note_bound(&mut self) {
        if self.bound
            && let Fact::Known(name) = &self.facts.domain
        {
            self.bound_names.note(name);
        }
    }

    /// Nothing more will be read: what is not known will never be.
    pub(super) fn close_facts(&mut self) {
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
