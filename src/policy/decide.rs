//! The one decision: a policy's rules in order, three-valued, first match. `explain` prints the
//! trace of this very function.
//!
//! The first rule that is not false decides. If it is true, its action is taken. If it is unknown,
//! every action that is still possible counts: those of the unknown rules up to the first true
//! one, and of that one (or of `otherwise`). If they are all the same the flow is decided now, in
//! the name of that last one: no rule is said to have decided that may yet be false; else it is
//! pending. Deny and reject are different
//! outcomes. Facts of different rules are taken to be independent, which can only prolong a
//! pending flow, never change its outcome.

use super::conditions::{Case, Conditions, Seen, Standing};
use super::decision::{
    Condition, Decision, Message, Needs, NoTrace, Opening, Query, Toward, Trace, Truth,
};
use super::listed::Head;
use super::matcher::{Matcher, Probe};
use super::names::NameSet;
use super::spec::{BlockSpec, DefaultsSpec, RuleSpec};
use super::tuple_space::{Shortlist, TupleSpace};
use crate::model::{
    Action, Addr, DomainName, Facts, FiveTuple, FlowVerdict, Reason, RuleId, Timestamp,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The rules of one policy, compiled.
#[derive(Debug)]
pub(super) struct Block {
    first: RuleId,
    otherwise: Action,
    heads: Box<[Head]>,
    matchers: Box<[Matcher]>,
    conditions: Box<[Conditions]>,
    classifier: TupleSpace,
    /// Some rule asks for what only the server's answer tells.
    asks_server: bool,
    /// Where DNS answers lead, if some rule asks: addresses between two of these, ascending, are the
    /// same to every rule.
    answer_edges: Option<Box<[u128]>>,
    /// Names that rules ask DNS questions for: the first few different sets.
    question_sets: Box<[Arc<NameSet>]>,
}

/// As many sets are brought near for a DNS question.
const QUESTION_SETS_MAX: usize = 2;

impl Block {
    pub(super) fn build(spec: &BlockSpec, first: RuleId) -> Self {
        let rules = &spec.rules;
        let matchers: Box<[Matcher]> = rules.iter().map(Matcher::new).collect();
        let conditions: Box<[Conditions]> = rules.iter().map(Conditions::new).collect();
        let heads: Box<[Head]> = rules.iter().zip(&conditions).map(Head::new).collect();
        Self {
            first,
            otherwise: spec.otherwise,
            classifier: TupleSpace::build(rules, &heads),
            heads,
            matchers,
            asks_server: rules.iter().any(|rule| {
                rule.tls.min_version.is_some() || rule.tls.client_certificate.is_some()
            }),
            answer_edges: answer_edges(rules, &conditions),
            question_sets: question_sets(rules),
            conditions,
        }
    }

    /// Where rules for a five-tuple are, brought near.
    #[inline]
    pub(super) fn shortlist(&self, tuple: &FiveTuple) -> Shortlist {
        self.classifier.shortlist(tuple)
    }

    /// The same for an IPv4 packet.
    #[inline]
    pub(super) fn shortlist_v4(&self, toward: &Toward) -> Shortlist {
        self.classifier.shortlist_v4(toward)
    }

    /// Brings near what the first rules that ask for DNS questions compare one with.
    pub(super) fn prefetch_question(&self, question: &DomainName) {
        for set in &self.question_sets {
            set.prefetch(question);
        }
    }

    /// When rules expire, in the order of the rules.
    pub(super) fn ends(&self) -> impl Iterator<Item = Timestamp> {
        self.conditions.iter().filter_map(|conditions| conditions.ends)
    }

    /// Whether some rule asks where a DNS answer leads.
    pub(super) const fn judges_answers(&self) -> bool {
        self.answer_edges.is_some()
    }

    /// Which of the runs of addresses that no rule tells apart an answer is in.
    pub(super) fn answer_run(&self, addr: Addr) -> usize {
        let edges = self.answer_edges.as_deref().unwrap_or_default();
        edges.partition_point(|edge| *edge <= addr.bits())
    }

    /// Decides a flow or its present message. A DNS message is decided question by question: it
    /// is what its first question that is not allowed is, and pending before it is allowed.
    pub(super) fn decide<T: Trace>(
        &self,
        query: &Query<'_>,
        facts: &Facts,
        defaults: &DefaultsSpec,
        trace: &mut T,
    ) -> Decision {
        let case = |question| Case { query, facts, defaults, question };
        match facts.questions.known().map_or(&[][..], Vec::as_slice) {
            [] => self.judge(&case(Case::no_question(query, facts)), trace),
            [question] => self.judge(&case(Seen::Known(question)), trace),
            questions => {
                let judge =
                    |question, trace: &mut T| self.judge(&case(Seen::Known(question)), trace);
                worst(questions, judge, trace)
            }
        }
    }

    /// Decides a new flow by its headers, and the message that opens it by what it tells, in one walk:
    /// a rule that stands open for the flow is looked at again for the message, any other stands as it
    /// does. Says what [`Block::decide`] says of each.
    pub(super) fn decide_opening(
        &self,
        query: &Query<'_>,
        message: Option<Message<'_>>,
        defaults: &DefaultsSpec,
    ) -> Opening {
        let case = message.map(|Message { facts, question }| {
            let question = Seen::Known(question);
            Case { query, facts, defaults, question }
        });
        let mut flow = Judgement::default();
        let mut told = case.is_some().then(Judgement::default);
        self.walk::<NoTrace>(query, |at, Head { action, plain }, _| {
            let rule = self.rule(at);
            let conditions = if plain { None } else { self.conditions.get(at) };
            let standing = conditions.map_or(Standing::HOLDS, |c| c.stand_opening(query.now));
            flow.take(rule, action, &standing);
            if let (Some(told), Some(case)) = (&mut told, &case) {
                match conditions {
                    Some(conditions) if standing.truth == Truth::Unknown => {
                        told.take(rule, action, &conditions.stand(case));
                    }
                    _ => told.take(rule, action, &standing),
                }
            }
            let ends = |judgement: &Judgement| judgement.ends(self.asks_server);
            if ends(&flow) && told.as_ref().is_none_or(ends) {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        Opening {
            flow: flow.settle(self.otherwise),
            message: told.map(|told| told.settle(self.otherwise)),
        }
    }

    fn judge<T: Trace>(&self, case: &Case<'_>, trace: &mut T) -> Decision {
        let mut judgement = Judgement::default();
        self.walk::<T>(case.query, |at, Head { action, plain }, failing| {
            let rule = self.rule(at);
            let standing = match (failing, self.conditions.get(at)) {
                (Some(condition), _) => Standing::refused(condition, None),
                (None, Some(conditions)) if !plain => conditions.stand(case),
                (None, _) => Standing::HOLDS,
            };
            trace.rule(rule, standing.truth, standing.condition);
            judgement.take(rule, action, &standing);
            let ends = if T::WATCHES {
                judgement.decided.is_some()
            } else {
                judgement.ends(self.asks_server)
            };
            if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        judgement.settle(self.otherwise)
    }

    /// The rule at a place of this policy.
    #[inline]
    fn rule(&self, at: usize) -> RuleId {
        RuleId(self.first.0.saturating_add(u32::try_from(at).unwrap_or(u32::MAX)))
    }

    /// Visits rules in order, each with its first five-tuple condition that fails: watched, all
    /// of them; else those that match.
    fn walk<T: Trace>(
        &self,
        query: &Query<'_>,
        mut visit: impl FnMut(usize, Head, Option<Condition>) -> ControlFlow<()>,
    ) {
        let probe = Probe { tuple: &query.tuple, icmp: query.icmp };
        let _: ControlFlow<()> = if T::WATCHES {
            let mut all = self.matchers.iter().zip(&self.heads).enumerate();
            all.try_for_each(|(at, (rule, head))| visit(at, *head, rule.failing(probe)))
        } else {
            let shortlist = query.shortlist.unwrap_or_else(|| self.shortlist(probe.tuple));
            self.classifier.visit(&self.matchers, probe, shortlist, |listed| {
                visit(listed.rule as usize, listed.head, None)
            })
        };
    }
}

/// Where the addresses that some rule asks DNS answers for begin, and what is behind them.
fn answer_edges(rules: &[RuleSpec], conditions: &[Conditions]) -> Option<Box<[u128]>> {
    if rules.iter().all(|rule| rule.answers.is_none()) {
        return None;
    }
    let ranges = conditions.iter().flat_map(Conditions::answers);
    let mut edges: Vec<u128> =
        ranges.flat_map(|(first, last)| [Some(first), last.checked_add(1)]).flatten().collect();
    edges.sort_unstable();
    edges.dedup();
    Some(edges.into_boxed_slice())
}

/// The first few different sets of names that rules ask DNS questions for.
fn question_sets(rules: &[RuleSpec]) -> Box<[Arc<NameSet>]> {
    let mut sets: Vec<Arc<NameSet>> = Vec::new();
    for set in rules.iter().filter_map(|rule| rule.dns.as_ref()) {
        if sets.len() == QUESTION_SETS_MAX {
            break;
        }
        if !sets.iter().any(|known| Arc::ptr_eq(known, set)) {
            sets.push(Arc::clone(set));
        }
    }
    sets.into_boxed_slice()
}

impl Head {
    fn new((rule, conditions): (&RuleSpec, &Conditions)) -> Self {
        Self { action: rule.action, plain: conditions.always_hold() }
    }
}

/// What the rules visited so far say.
#[derive(Default)]
struct Judgement {
    /// Of the rules that may yet be true.
    possible: Possible,
    /// Of the first rule that is true.
    decided: Option<FlowVerdict>,
    /// Why the first rule was false that was so for want of something seen.
    hint: Option<Reason>,
}

impl Judgement {
    /// Takes in how the next rule stands; nothing once one was true.
    #[inline]
    fn take(&mut self, rule: RuleId, action: Action, standing: &Standing) {
        if self.decided.is_some() {
            return;
        }
        let reason = standing.cause.unwrap_or(Reason::Rule);
        let verdict = FlowVerdict { action, rule: Some(rule), reason };
        match standing.truth {
            Truth::True => self.decided = Some(verdict),
            Truth::False => self.hint = self.hint.or(standing.cause),
            Truth::Unknown => self.possible.add(verdict, standing.needs),
        }
    }

    /// Whether no further rule can make a difference.
    #[inline]
    const fn ends(&self, asks_server: bool) -> bool {
        self.decided.is_some() || self.possible.cannot_change(asks_server)
    }

    fn settle(self, otherwise: Action) -> Decision {
        let last = self.decided.unwrap_or_else(|| {
            let hint = self.hint.filter(|_| otherwise != Action::Allow);
            let reason = hint.unwrap_or(Reason::Otherwise);
            FlowVerdict { action: otherwise, rule: None, reason }
        });
        self.possible.settle(last)
    }
}

/// The outcomes that are still possible.
#[derive(Default)]
struct Possible {
    /// That of the first rule that may be true.
    first: Option<FlowVerdict>,
    /// Another differs from it.
    differ: bool,
    needs: Needs,
}

impl Possible {
    fn add(&mut self, verdict: FlowVerdict, needs: Needs) {
        let first = self.first.get_or_insert(verdict);
        self.differ |= first.action != verdict.action;
        self.needs = self.needs.or(needs);
        self.needs.may_allow |= verdict.action == Action::Allow;
    }

    /// Whether no further rule can make a difference to a pending flow or to what it needs.
    const fn cannot_change(&self, asks_server: bool) -> bool {
        let needs = self.needs;
        self.differ && needs.may_allow && needs.client && (needs.server || !asks_server)
    }

    fn settle(mut self, last: FlowVerdict) -> Decision {
        let Some(first) = self.first else { return Decision::Final(last) };
        if !self.differ && first.action == last.action {
            return Decision::Final(last);
        }
        self.needs.may_allow |= last.action == Action::Allow;
        Decision::Pending { needs: self.needs }
    }
}

/// The decision of a message with several questions.
fn worst<'a, T: Trace>(
    questions: &'a [DomainName],
    judge: impl Fn(&'a DomainName, &mut T) -> Decision,
    trace: &mut T,
) -> Decision {
    let mut allowed: Option<Decision> = None;
    let mut pending: Option<Needs> = None;
    for question in questions {
        trace.question(question);
        match judge(question, trace) {
            Decision::Pending { needs } => pending = Some(pending.unwrap_or_default().or(needs)),
            Decision::Final(verdict) if verdict.action == Action::Allow => {
                allowed = allowed.or(Some(Decision::Final(verdict)));
            }
            denied @ Decision::Final(_) => return denied,
        }
    }
    match (pending, allowed) {
        (None, Some(allowed)) => allowed,
        (needs, _) => Decision::Pending { needs: needs.unwrap_or_default() },
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
