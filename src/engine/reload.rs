//! A new ruleset under running flows: swapped whole, each flow decided again at its next packet.

use super::case::nameless;
use super::decide::Question;
use super::entry::{Flow, Mark};
use super::state::{Case, Stage};
use super::tally::PairRef;
use super::{Engine, Output, Parcel, Tally, expiry_after, timeouts_of};
use crate::flow::{FlowId, Timeouts};
use crate::model::{
    Action, App, DomainName, Epoch, Fact, Facts, FlowVerdict, Protocol, ProxyIdentity, Reason,
    SegmentId,
};
use crate::policy::spec::Mode;
use crate::policy::{Decision, Located, Policy};
use std::sync::Arc;

/// A verdict, and the name it was said for where there are several.
type Decided = (FlowVerdict, Option<Arc<DomainName>>);

/// Idle times of rulesets before that are remembered: as many as a flow can tell epochs apart.
const PAST_TIMEOUTS_MAX: usize = 1 << 16;

impl Engine {
    /// Replaces the policy. Flows go on; each is decided again when its next packet comes.
    pub fn install(&mut self, policy: Arc<Policy>) {
        self.gate.renew(&policy, &self.limits);
        self.tally = Tally::new(&policy);
        self.renew_timeouts(timeouts_of(&policy));
        self.next_expiry = expiry_after(&policy, self.now);
        self.wake = self.wake.min(self.next_expiry);
        self.policy = policy;
        self.forget_scopes();
        self.epoch = Epoch(self.epoch.0.wrapping_add(1));
    }

    /// Other idle times from the next epoch on; those before are kept, as flows may still say by them
    /// when their last packet came.
    fn renew_timeouts(&mut self, timeouts: Timeouts) {
        let before = std::mem::replace(&mut self.timeouts, timeouts);
        if before == timeouts {
            return;
        }
        if self.past_timeouts.len() >= PAST_TIMEOUTS_MAX {
            self.past_timeouts.pop_front();
        }
        self.past_timeouts.push_back((self.epoch.0, before));
    }

    /// The idle times that were in force in an epoch.
    pub(super) fn timeouts_at(&self, epoch: u32) -> &Timeouts {
        let at = self.past_timeouts.partition_point(|(last, _)| *last < epoch);
        self.past_timeouts.get(at).map_or(&self.timeouts, |(_, timeouts)| timeouts)
    }

    /// A rule's last day is over: what it allowed is decided again.
    pub(super) fn pass_expiry(&mut self) {
        self.epoch = Epoch(self.epoch.0.wrapping_add(1));
        self.next_expiry = expiry_after(&self.policy, self.now);
    }

    /// Refuses new flows from now on, or takes them again.
    pub fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Decides a flow anew under the present policy, from the facts recorded of it.
    pub(super) fn decide_again(&mut self, id: FlowId, parcel: &Parcel<'_>, out: &mut Output) {
        let was_allowed =
            self.table.get(id).is_some_and(|flow| flow.stage() != Stage::Pending && flow.passes());
        if !self.relocate(id) {
            let verdict = super::stream::deny(Reason::UnknownSegment);
            return self.cut(id, verdict, was_allowed, parcel, out);
        }
        if let Err(reason) = self.read_in_earnest(id) {
            return self.cut(id, super::stream::deny(reason), was_allowed, parcel, out);
        }
        let Some(flow) = self.table.get(id) else { return };
        if flow.stage() == Stage::Pending {
            return;
        }
        if self.is_decided_by_datagram(flow) {
            return self.renumber(id);
        }
        let verdict = self.under_by_name(&self.policy, id);
        let Some(flow) = self.table.get_mut(id) else { return };
        let Some((verdict, name)) = verdict else {
            flow.set_stage(Stage::Pending);
            return;
        };
        if verdict.action == Action::Allow || flow.is(Mark::Monitored) {
            flow.set_verdict(verdict);
            return;
        }
        self.note_denied(id, name);
        self.cut(id, verdict, was_allowed, parcel, out);
    }

    /// Writes what stands of a flow whose messages are decided one by one as the present ruleset counts
    /// its rules. Where that would say otherwise of the last message, what was done stays, by no rule of
    /// this ruleset.
    fn renumber(&mut self, id: FlowId) {
        let present = self.under(&self.policy, id);
        let Some(flow) = self.table.get_mut(id) else { return };
        let stands = FlowVerdict { rule: None, ..flow.verdict() };
        let same = present.filter(|present| present.action == stands.action);
        flow.set_verdict(same.unwrap_or(stands));
    }

    /// A flow that was read for the record alone is asked about from now on, where the present ruleset
    /// asks for more than its headers tell: its next message is decided like any other.
    ///
    /// # Errors
    /// There is no room to read it.
    fn read_in_earnest(&mut self, id: FlowId) -> Result<(), Reason> {
        let (Some(flow), Some(question)) = (self.table.get(id), self.question(id)) else {
            return Ok(());
        };
        let left_alone = [Mark::Monitored, Mark::Midstream, Mark::BehindProxy];
        let udp = question.tuple.protocol == Protocol::UDP;
        // Each datagram stands for itself, so that one can begin with any of them.
        let anew = udp && flow.is(Mark::Nameless);
        let unasked = anew || self.cases.reads_unasked(flow.case);
        if !unasked || left_alone.iter().any(|mark| flow.is(*mark)) {
            return Ok(());
        }
        let known = self.cases.facts(flow.case);
        let proxy = known.map_or(Fact::Unknown, |facts| facts.proxy.clone());
        let undecided = known.is_none_or(|facts| facts.app.is_unknown());
        let headers = Facts { proxy, ..Facts::default() };
        if let Decision::Final(_) = self.ask_of(&self.policy, &question, &headers) {
            return Ok(());
        }
        if anew && let Some(flow) = self.table.get_mut(id) {
            flow.set(Mark::Nameless, false);
            flow.set(Mark::Fresh, true);
            return Ok(());
        }
        let at = self.case_of(id, !udp);
        let case = self.cases.get_mut(at).ok_or(Reason::LimitInspection)?;
        if let Some(inspection) = case.inspection.as_mut() {
            inspection.ask();
        }
        if let Some(flow) = self.table.get_mut(id) {
            flow.set_stage(if undecided { Stage::Pending } else { Stage::Following });
        }
        Ok(())
    }

    /// Finds the segments and the policy of a flow under the present ruleset. False: it belongs to
    /// none any more.
    fn relocate(&mut self, id: FlowId) -> bool {
        let placed = self.placed(&self.policy, id);
        self.note_last(id);
        let Some(flow) = self.table.get_mut(id) else { return true };
        flow.set_epoch(self.epoch.0);
        flow.pair = PairRef::NONE;
        let Some((from, to)) = placed else {
            // Numbers of the ruleset before would name others in this one.
            (flow.from, flow.to) = (SegmentId(u16::MAX), SegmentId(u16::MAX));
            return false;
        };
        let case = self.cases.get(flow.case);
        let held = case.and_then(|case| case.inspection.as_ref()).map_or(0, |i| i.held_bytes);
        let account = self.gate.account(from);
        self.gate.recharge(flow.account, account, held);
        flow.account = account;
        flow.pair = self.tally.pair(from, to);
        flow.from = from;
        flow.to = to;
        let policy = if flow.is(Mark::BehindProxy) { None } else { self.policy.block(from, to) };
        flow.set(Mark::Monitored, policy.is_some_and(|p| self.policy.mode(p) == Mode::Monitor));
        true
    }

    /// The segments a flow is between under `policy`: by its addresses, and by its proxy's word
    /// where that has been read.
    pub(super) fn placed(&self, policy: &Policy, id: FlowId) -> Option<(SegmentId, SegmentId)> {
        let (key, flow) = (self.table.key(id)?, self.table.get(id)?);
        let tuple = key.tuple(flow.is(Mark::Reversed));
        let identity = match self.cases.facts(flow.case).map(|facts| &facts.proxy) {
            Some(Fact::Known(identity)) => *identity,
            _ => ProxyIdentity::Proxy,
        };
        match policy.locate(key.scope(), tuple.src, tuple.dst) {
            Located::Pair { from, to, from_proxy: true } => {
                policy.proxied(from, identity).map(|from| (from, to))
            }
            Located::Pair { from, to, from_proxy: false } => Some((from, to)),
            Located::Unknown => None,
        }
    }

    /// The verdict of a decided flow under `policy`, from the facts recorded of it; none while not a
    /// byte of payload has passed that a rule asks for: it is waited for like that of a new flow.
    pub(super) fn under(&self, policy: &Policy, id: FlowId) -> Option<FlowVerdict> {
        self.under_by_name(policy, id).map(|(verdict, _)| verdict)
    }

    /// The same, and for which of several names it is no longer allowed: all that it was allowed by
    /// must be.
    fn under_by_name(&self, policy: &Policy, id: FlowId) -> Option<Decided> {
        let Some((from, to)) = self.placed(policy, id) else {
            return Some((super::stream::deny(Reason::UnknownSegment), None));
        };
        let (flow, question) = (self.table.get(id)?, self.question(id)?);
        let block = if flow.is(Mark::BehindProxy) { None } else { policy.block(from, to) };
        let bound = self.cases.bound(flow.case);
        let question = Question { policy: block, missed: !flow.is(Mark::Fresh), bound, ..question };
        let mut facts = self.facts_of(flow, &question);
        if question.tuple.protocol == Protocol::TCP
            && block.is_some_and(|block| policy.judges_answers(block))
            && self.misses_answers(flow)
        {
            facts.answer = Fact::Missed;
        }
        let enforced = block.is_some_and(|block| policy.mode(block) == Mode::Enforce);
        if enforced && self.cases.unread(flow.case) {
            facts.miss_messages();
        }
        let verdict = match self.ask_of(policy, &question, &facts) {
            Decision::Final(verdict) => verdict,
            Decision::Pending { .. } if flow.is(Mark::Fresh) => return None,
            Decision::Pending { .. } => policy.otherwise(block?),
        };
        if verdict.action == Action::Allow {
            let revoked = self.revoked(policy, id, &question, &facts);
            return revoked.or(Some((verdict, None)));
        }
        let several = self.found(flow.case, self.cases.get(flow.case)).names.all().len() > 1;
        let name = facts.domain.known().filter(|_| several);
        Some((verdict, name.cloned()))
    }

    /// Whether the answers of a DNS stream went by unread, as no rule asked where they lead, and will
    /// go on to: nobody can tell where in one the next bytes begin.
    fn misses_answers(&self, flow: &Flow) -> bool {
        let inspection = self.cases.get(flow.case).and_then(|case| case.inspection.as_deref());
        self.cases.facts(flow.case).is_some_and(|facts| facts.app.known() == Some(&App::Dns))
            && inspection.is_none_or(|open| !open.inspector.is_shown_answers())
    }

    /// Whether each datagram of a flow is decided for itself: nothing of an earlier decision stands.
    pub(super) fn is_decided_by_datagram(&self, flow: &Flow) -> bool {
        let reads = |case: &Case| {
            case.inspection.as_deref().is_some_and(|open| open.inspector.is_datagrams())
        };
        let dns = || self.cases.facts(flow.case).is_some_and(|f| f.app.known() == Some(&App::Dns));
        flow.stage() == Stage::Following
            && (flow.case.speech().is_some() || self.cases.get(flow.case).is_some_and(reads))
            && dns()
    }

    /// What is recorded of a flow's facts. What nobody looked at is missed.
    pub(super) fn facts_of(&self, flow: &Flow, question: &Question) -> Facts {
        let named = matches!(question.tuple.protocol, Protocol::TCP | Protocol::UDP);
        match self.cases.facts(flow.case) {
            _ if !named => nameless(),
            None if flow.is(Mark::Nameless) && !flow.is(Mark::Midstream) => nameless(),
            // What an answer led to was of that answer alone.
            Some(facts) if !flow.is(Mark::Midstream) => {
                Facts { answer: Fact::Unknown, ..facts.clone() }
            }
            None if flow.is(Mark::Fresh) && !flow.is(Mark::Midstream) => Facts::default(),
            _ => Facts::missed(),
        }
    }

    /// Ends a flow that is no longer allowed: RST to both sides where it was TCP.
    fn cut(
        &mut self,
        id: FlowId,
        verdict: crate::model::FlowVerdict,
        was_allowed: bool,
        parcel: &Parcel<'_>,
        out: &mut Output,
    ) {
        self.discard_held(id, Reason::HeldDenied, out);
        self.end_flow(id, verdict);
        if was_allowed {
            let told = crate::model::FlowVerdict { action: Action::Reject, ..verdict };
            let Some(flow) = self.table.get(id) else { return };
            let direction = flow.direction(parcel.reversed);
            self.reset(id, &parcel.into(), direction, told, [None, None], out);
        }
    }

    /// Ends flows chosen by `chosen`; their next packets meet a flow that was ended by command.
    pub fn flush(
        &mut self,
        mut chosen: impl FnMut(&super::record::FlowRecord) -> bool,
        out: &mut Output,
    ) -> usize {
        let ids: Vec<FlowId> = self.table.iter().map(|(id, _, _)| id).collect();
        let mut count = 0;
        for id in ids {
            if self.record(id).is_some_and(|record| chosen(&record)) {
                self.forget(id, super::record::Ended::Flushed, out);
                count += 1;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Event;
    use super::super::tests::{Bench, spec, tuple};
    use super::*;
    use crate::policy::names::{NamePattern, NameSet};
    use crate::policy::spec::{PortRange, RuleSpec};
    use crate::synth::packet;
    use crate::synth::speech::Speech;

    #[test]
    fn a_record_after_a_reload_has_the_rule_that_decided_and_none_that_took_its_number() {
        let rule = |id: &str, action, name: &str| {
            let mut rule = RuleSpec::new(id, action);
            rule.ports = Some(vec![PortRange::one(53)]);
            rule.dns = Some(Arc::new(NameSet::build([NamePattern::parse(name).unwrap()]).unwrap()));
            rule
        };
        let mut before = spec();
        before.policies[0].rules.insert(0, rule("bad", Action::Deny, "bad.example"));
        before.policies[0].rules.insert(0, rule("good", Action::Allow, "good.example"));
        let mut moved = before.clone();
        moved.policies[0].rules.insert(0, rule("new", Action::Allow, "new.example"));
        let mut without = before.clone();
        without.policies[0].rules.retain(|rule| rule.id != "bad" && rule.id != "good");
        without.policies[0].rules.push(rule("bad", Action::Allow, "bad.example"));
        let tuple = tuple(53, Protocol::UDP);
        let said = |name| Speech::Dns { name, answer: None }.datagrams();
        for (name, after, action, told) in [
            ("good.example", &moved, Action::Allow, Some("good")),
            ("bad.example", &moved, Action::Deny, Some("bad")),
            ("good.example", &without, Action::Allow, None),
            ("bad.example", &without, Action::Deny, None),
        ] {
            let mut bench = Bench::new(&before);
            bench.give(&packet::udp(&tuple, &said("good.example")[0].1));
            bench.give(&packet::udp(&tuple, &said(name)[0].1));
            let policy = Arc::new(Policy::compile(after, Some(bench.engine.policy())).unwrap());
            bench.engine.install(Arc::clone(&policy));
            bench.give(&packet::udp(&tuple.reverse(), &said("good.example")[1].1));
            bench.pass(900);
            let Some(Event::FlowEnd(record)) = bench.events.last() else { panic!("it ended") };
            let verdict = record.verdict.unwrap();
            let rule = verdict.rule.map(|id| policy.rule(id).unwrap().name.to_string());
            assert_eq!((verdict.action, rule.as_deref()), (action, told), "{name}");
        }
    }
}
