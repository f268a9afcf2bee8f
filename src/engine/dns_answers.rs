//! DNS answers judged on their way back, address by address, where a rule asks where they may lead. An
//! answer that is denied does not reach its client. What was answered is remembered elsewhere
//! (`bindings`).

use super::Engine;
use super::entry::Mark;
use super::state::{Case, Stage};
use super::stream::deny;
use crate::flow::FlowId;
use crate::inspect::dns::answers::addresses;
use crate::inspect::dns::stream::messages;
use crate::inspect::dns::{Header, answers::sole_question};
use crate::model::{Action, Addr, App, Direction, DomainName, Fact, FlowVerdict, Reason};
use crate::policy::Decision;
use hashbrown::HashSet;

impl Engine {
    /// Judges the answers in bytes of a DNS stream that its reader has just consumed. `None`: they
    /// may go on, or these are none.
    pub(super) fn judge_answers(
        &mut self,
        id: FlowId,
        case: &mut Case,
        unasked: bool,
        turn: Direction,
        consumed: &[u8],
    ) -> Option<FlowVerdict> {
        if turn == Direction::Original || case.facts.app.known() != Some(&App::Dns) {
            return None;
        }
        messages(consumed).find_map(|message| self.judge_answer(id, case, unasked, message))
    }

    /// Judges one message of the server: each of its addresses, by every rule, as an answer to its
    /// question; of addresses that no rule tells apart the first. One without addresses leads nowhere and goes on. `None`: it may. The address that
    /// was denied stays among the facts, for the record, until the next question.
    pub(super) fn judge_answer(
        &mut self,
        id: FlowId,
        case: &mut Case,
        unasked: bool,
        message: &[u8],
    ) -> Option<FlowVerdict> {
        if case.facts.app.known() != Some(&App::Dns)
            || !Header::read(message).is_some_and(Header::is_response)
        {
            return None;
        }
        if !self.judges_answers_of(id, case) || self.is_out_of_question(id, unasked) {
            return None;
        }
        let question = self.question(id)?;
        let policy = question.policy?;
        let verdict = match (addresses(message), answered(case, message)) {
            (Err(reason), _) => deny(reason),
            (Ok(addresses), _) if addresses.is_empty() => return None,
            (Ok(_), None) => deny(Reason::DnsMalformed),
            (Ok(addresses), Some(name)) if !self.was_asked(case, &name, message) => {
                case.facts.answer = addresses.first().map_or(Fact::Unknown, |a| Fact::Known(*a));
                deny(Reason::AnswerNotAllowed)
            }
            (Ok(addresses), Some(name)) => {
                let mut facts = case.facts.clone();
                facts.questions = Fact::Known(vec![name]);
                let mut runs = HashSet::new();
                let mut differ =
                    |address: &Addr| runs.insert(self.policy.answer_run(policy, *address));
                let denied = addresses.into_iter().filter(|a| differ(a)).find_map(|address| {
                    facts.answer = Fact::Known(address);
                    match self.ask(&question, &facts) {
                        Decision::Final(verdict) if verdict.action == Action::Allow => None,
                        Decision::Final(verdict) => Some(verdict),
                        Decision::Pending { .. } => Some(self.deny_undecided(question.policy)),
                    }
                });
                case.facts.answer = if denied.is_some() { facts.answer } else { Fact::Unknown };
                denied?
            }
        };
        self.tally.hit(question.policy, verdict);
        let flow = self.table.get_mut(id)?;
        if flow.is(Mark::Monitored) {
            flow.take_verdict(verdict, Stage::Following);
            return None;
        }
        Some(verdict)
    }
}

impl Engine {
    /// Whether the messages of a flow are DNS and some rule of its policy asks where answers lead.
    pub(super) fn judges_answers_of(&self, id: FlowId, case: &Case) -> bool {
        case.facts.app.known() == Some(&App::Dns)
            && self.policy.reads_answers()
            && self
                .table
                .get(id)
                .and_then(|flow| self.policy_of(flow))
                .is_some_and(|policy| self.policy.judges_answers(policy))
    }
}

/// What a message answers: its question, of which it has one (RFC 9619 section 4). The messages that
/// follow the first of a zone transfer may have none (RFC 5936 section 2.2); then it is the only one
/// its flow ever asked, if there is such a one.
fn answered(case: &Case, message: &[u8]) -> Option<DomainName> {
    if Header::read(message)?.questions > 0 {
        return sole_question(message).map(|question| question.name);
    }
    match case.questions.all() {
        [name] if case.questions.left_out() == 0 => Some(**name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::bindings::ASKED_MAX;
    use crate::engine::record::Event;
    use crate::engine::tests::{Bench, spec, tuple};
    use crate::inspect::dns::answers::ADDRESS_LIMIT;
    use crate::model::{Action, Protocol, Reason, Verdict};
    use crate::policy::Policy;
    use crate::policy::names::{NamePattern, NameSet};
    use crate::policy::spec::{Mode, PolicySpec, PortRange, RuleSpec};
    use crate::synth::packet;
    use crate::synth::session::{Session, Side};
    use crate::synth::speech::Speech;
    use crate::wire::{Link, Settings, answer, parse};
    use std::sync::Arc;

    const NAME: &str = "api.example";
    const FREE: &str = "free.example";
    const REFUSED: u8 = 5;

    fn guarded(otherwise: Action) -> PolicySpec {
        let mut spec = spec();
        let mut rule = RuleSpec::new("names", Action::Allow);
        rule.ports = Some(vec![PortRange::one(53)]);
        let names = NameSet::build([NamePattern::parse(NAME).unwrap()]).unwrap();
        rule.dns = Some(Arc::new(names));
        rule.answers = Some(vec!["10.100.4.0/24".parse().unwrap()]);
        spec.policies[0].rules.push(rule);
        spec.policies[0].otherwise = otherwise;
        spec
    }

    /// A question and its answer, as datagrams.
    fn exchange(last: [u8; 2]) -> [Vec<u8>; 2] {
        let address = std::net::IpAddr::from([10, 100, last[0], last[1]]).into();
        let said = Speech::Dns { name: NAME, answer: Some(address) }.datagrams();
        let tuple = tuple(53, Protocol::UDP);
        [packet::udp(&tuple, &said[0].1), packet::udp(&tuple.reverse(), &said[1].1)]
    }

    /// What the records of denied messages say: question, address, reason.
    fn denied(bench: &Bench) -> Vec<(String, String, Reason)> {
        let denied = bench.events.iter().filter_map(|event| match event {
            Event::MessageDenied(record) => Some((
                record.found.questions.first()?.to_string(),
                record.found.denied_answer?.to_string(),
                record.verdict?.reason,
            )),
            _ => None,
        });
        denied.collect()
    }

    #[test]
    fn an_answer_that_leads_elsewhere_is_refused_alone_and_the_flow_goes_on() {
        for (otherwise, told) in [(Action::Reject, 1), (Action::Deny, 0)] {
            let mut bench = Bench::new(&guarded(otherwise));
            let [question, good] = exchange([4, 7]);
            let [_, bad] = exchange([5, 7]);
            assert_eq!(bench.give(&question), Verdict::Forward);
            assert_eq!(bench.give(&good), Verdict::Forward);
            assert_eq!(bench.give(&question), Verdict::Forward);
            assert_eq!(bench.give(&bad), Verdict::Drop(Reason::AnswerNotAllowed));
            let expected = (NAME.to_owned(), "10.100.5.7".to_owned(), Reason::AnswerNotAllowed);
            assert_eq!(denied(&bench), [expected]);
            assert_eq!(bench.sent.len(), told, "{otherwise:?}");
            for (_, frame) in &bench.sent {
                let packet = parse(frame, Link::Ethernet, &Settings::GWLB).unwrap();
                assert_eq!(packet.tuple, tuple(53, Protocol::UDP).reverse(), "to the client");
                assert_eq!(packet.payload(frame)[3] & 0xf, REFUSED);
                assert!(answer::is_answerable(&packet));
            }
            assert_eq!(bench.give(&question), Verdict::Forward);
            assert_eq!(bench.give(&good), Verdict::Forward, "the flow goes on");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_does_not_come_back_and_an_empty_one_does() {
        let mut bench = Bench::new(&guarded(Action::Reject));
        let tuple = tuple(53, Protocol::UDP);
        let said = Speech::Dns { name: NAME, answer: None }.datagrams();
        assert_eq!(bench.give(&packet::udp(&tuple, &said[0].1)), Verdict::Forward);
        assert_eq!(bench.give(&packet::udp(&tuple.reverse(), &said[1].1)), Verdict::Forward);
        let mut cut = said[1].1.clone();
        cut[7] = 1;
        let cut = packet::udp(&tuple.reverse(), &cut);
        assert_eq!(bench.give(&cut), Verdict::Drop(Reason::DnsMalformed));
    }

    #[test]
    fn no_byte_of_an_answer_over_a_stream_comes_back_before_it_is_judged() {
        for size in [1, 7, 4096] {
            for (third, passes) in [(4, true), (5, false)] {
                let mut bench = Bench::new(&guarded(Action::Reject));
                let mut session = Session::new(tuple(53, Protocol::TCP));
                for packet in session.handshake() {
                    bench.give(&packet);
                }
                let address = std::net::IpAddr::from([10, 100, third, 7]).into();
                let said = Speech::Dns { name: NAME, answer: Some(address) }.stream();
                for packet in session.send_split(Side::Client, &said[0].1, size) {
                    assert!(!matches!(bench.give(&packet), Verdict::Drop(_)));
                }
                let replies = session.send_split(Side::Server, &said[1].1, size);
                let verdicts: Vec<Verdict> =
                    replies.iter().map(|reply| bench.give(reply)).collect();
                let last = verdicts.last().copied();
                if passes {
                    assert_eq!(last, Some(Verdict::Forward), "pieces of {size}");
                    continue;
                }
                assert_eq!(last, Some(Verdict::Drop(Reason::AnswerNotAllowed)), "{size}");
                assert!(!verdicts.contains(&Verdict::Forward), "pieces of {size}");
                assert_eq!(
                    bench.sent.iter().filter(|(o, _)| *o == super::super::Origin::Answer).count(),
                    2
                );
            }
        }
    }

    /// A question, or an answer with its address, in which some other name may stand.
    fn message(id: u16, names: &[&'static str], answer: Option<[u8; 4]>) -> Vec<u8> {
        use simple_dns::rdata::{A, RData};
        use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, ResourceRecord, TYPE};
        let mut message = match answer {
            Some(_) => Packet::new_reply(id),
            None => Packet::new_query(id),
        };
        for name in names {
            let name = Name::new_unchecked(name);
            let (kind, class) = (QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN));
            message.questions.push(Question::new(name, kind, class, false));
        }
        if let Some(address) = answer {
            let data = RData::A(A { address: u32::from_be_bytes(address) });
            let name = Name::new_unchecked(NAME);
            message.answers.push(ResourceRecord::new(name, CLASS::IN, 9, data));
        }
        message.build_bytes_vec().unwrap()
    }

    #[test]
    fn of_addresses_that_no_rule_tells_apart_one_is_judged() {
        let tuple = tuple(53, Protocol::UDP);
        let answered = |last: [u8; 4]| {
            let mut bench = Bench::new(&guarded(Action::Reject));
            bench.engine = bench.engine.watched();
            bench.give(&packet::udp(&tuple, &message(1, &[NAME], None)));
            bench.engine.take_asked();
            let mut answer = message(1, &[NAME], Some([10, 100, 4, 0]));
            // All of it but the address: name, type, class, time and length.
            let record = answer.split_off(answer.len() - (NAME.len() + 2 + 14));
            let record = &record[..record.len() - 4];
            for host in (0..).take(ADDRESS_LIMIT - 1) {
                answer.extend_from_slice(record);
                answer.extend([10, 100, 4, host as u8]);
            }
            answer.extend_from_slice(record);
            answer.extend(last);
            let records = u16::try_from(ADDRESS_LIMIT).unwrap();
            answer[6..8].copy_from_slice(&records.to_be_bytes());
            let verdict = bench.give(&packet::udp(&tuple.reverse(), &answer));
            (verdict, bench.engine.take_asked().len())
        };
        assert_eq!(answered([10, 100, 4, 9]), (Verdict::Forward, 1));
        let refused = Verdict::Drop(Reason::AnswerNotAllowed);
        assert_eq!(answered([10, 100, 5, 0]), (refused, 2));
        assert_eq!(answered([10, 100, 3, 255]), (refused, 2));
    }

    #[test]
    fn an_answer_without_its_question_is_judged_only_if_there_is_no_doubt_which_it_was() {
        let bad = BAD;
        let tuple = tuple(53, Protocol::UDP);
        let judged = |asked: &[&'static str], answer: &[u8]| {
            let mut bench = Bench::new(&half_guarded());
            for (id, &name) in (1..).zip(asked) {
                let question = packet::udp(&tuple, &message(id, &[name], None));
                assert_eq!(bench.give(&question), Verdict::Forward);
            }
            bench.give(&packet::udp(&tuple.reverse(), answer))
        };
        let unasked = message(1, &[], bad);
        let both = message(1, &[FREE, NAME], bad);
        let malformed = Verdict::Drop(Reason::DnsMalformed);
        assert_eq!(judged(&[NAME], &unasked), Verdict::Drop(Reason::AnswerNotAllowed));
        assert_eq!(judged(&[FREE], &unasked), Verdict::Forward);
        assert_eq!(judged(&[NAME, FREE], &unasked), malformed, "the last one was not the one");
        assert_eq!(judged(&[FREE], &both), malformed);
        assert_eq!(judged(&[NAME, FREE], &message(2, &[FREE], bad)), Verdict::Forward);
    }

    /// A policy that asks where answers for `NAME` lead, and not of those for `FREE`.
    fn half_guarded() -> PolicySpec {
        let mut spec = guarded(Action::Reject);
        let mut rule = spec.policies[0].rules.last().unwrap().clone();
        rule.id = "free".to_owned();
        let names = NameSet::build([NamePattern::parse(FREE).unwrap()]).unwrap();
        (rule.dns, rule.answers) = (Some(Arc::new(names)), None);
        spec.policies[0].rules.push(rule);
        spec
    }

    const BAD: Option<[u8; 4]> = Some([10, 100, 5, 7]);
    const GOOD: Option<[u8; 4]> = Some([10, 100, 4, 7]);
    const REFUSAL: Verdict = Verdict::Drop(Reason::AnswerNotAllowed);

    #[test]
    fn an_answer_to_what_nobody_asked_does_not_come_back() {
        let to = tuple(53, Protocol::UDP);
        // What was asked, the answer, and whether it passes.
        let name = NAME.to_ascii_uppercase().leak();
        let mut other_type = message(1, &[FREE], BAD);
        other_type[12 + FREE.len() + 3] = 28;
        for (asked, answer, passes) in [
            (&[NAME][..], message(1, &[FREE], BAD), false),
            (&[NAME], message(1, &[FREE], GOOD), false),
            (&[NAME, FREE], message(1, &[FREE], BAD), false),
            (&[NAME, FREE], message(3, &[FREE], BAD), false),
            (&[NAME, FREE], message(2, &[FREE], BAD), true),
            (&[FREE, NAME], other_type.clone(), false),
            (&[FREE], other_type, true),
            (&[FREE], message(9, &[FREE], BAD), true),
            (&[NAME, FREE], message(1, &[name], GOOD), true),
            (&[name, FREE], message(1, &[NAME], GOOD), true),
        ] {
            let mut bench = Bench::new(&half_guarded());
            for (id, &name) in (1..).zip(asked) {
                let question = packet::udp(&to, &message(id, &[name], None));
                assert_eq!(bench.give(&question), Verdict::Forward);
            }
            let given = bench.give(&packet::udp(&to.reverse(), &answer));
            assert_eq!(given, if passes { Verdict::Forward } else { REFUSAL }, "{asked:?}");
            // Only the last question is told for the record, and where the answer led.
            assert_eq!(denied(&bench).len(), usize::from(!passes));
            let empty = Speech::Dns { name: "other.example", answer: None }.datagrams();
            let empty = packet::udp(&to.reverse(), &empty[1].1);
            assert_eq!(bench.give(&empty), Verdict::Forward, "it leads nowhere");
        }
    }

    #[test]
    fn a_question_may_be_answered_twice_and_after_an_answer_that_was_refused() {
        let to = tuple(53, Protocol::UDP);
        for asked in [&[NAME][..], &[NAME, FREE]] {
            let mut bench = Bench::new(&half_guarded());
            for (id, &name) in (1..).zip(asked) {
                bench.give(&packet::udp(&to, &message(id, &[name], None)));
            }
            let mut answer =
                |answer| bench.give(&packet::udp(&to.reverse(), &message(1, &[NAME], answer)));
            assert_eq!(answer(BAD), REFUSAL);
            assert_eq!([answer(GOOD), answer(GOOD)], [Verdict::Forward; 2]);
            assert_eq!(answer(BAD), REFUSAL);
            let spoofed = message(1, &[FREE], BAD);
            assert_eq!(bench.give(&packet::udp(&to.reverse(), &spoofed)), REFUSAL);
        }
    }

    #[test]
    fn answers_are_known_to_the_last_questions_of_a_flow_and_beyond_to_none() {
        let to = tuple(53, Protocol::UDP);
        let limit = u16::try_from(ASKED_MAX).unwrap();
        for (further, first) in
            [(limit - 2, Verdict::Forward), (limit - 1, Verdict::Forward), (limit, REFUSAL)]
        {
            let mut bench = Bench::new(&half_guarded());
            bench.give(&packet::udp(&to, &message(0, &[NAME], None)));
            for id in 1..=further {
                bench.give(&packet::udp(&to, &message(id, &[FREE], None)));
            }
            let answer = message(0, &[NAME], GOOD);
            assert_eq!(bench.give(&packet::udp(&to.reverse(), &answer)), first, "{further}");
            let last = message(further, &[FREE], BAD);
            assert_eq!(bench.give(&packet::udp(&to.reverse(), &last)), Verdict::Forward);
        }
    }

    #[test]
    fn questions_over_a_stream_are_known_like_those_of_datagrams() {
        for (id, name, last) in
            [(1, FREE, REFUSAL), (3, FREE, REFUSAL), (2, FREE, Verdict::Forward)]
        {
            let mut bench = Bench::new(&half_guarded());
            let mut session = Session::new(tuple(53, Protocol::TCP));
            for packet in session.handshake() {
                bench.give(&packet);
            }
            let framed = |message: Vec<u8>| {
                let len = u16::try_from(message.len()).unwrap();
                [&len.to_be_bytes()[..], &message].concat()
            };
            let both = [(1, NAME), (2, FREE)].map(|(id, n)| framed(message(id, &[n], None)));
            let good = framed(message(1, &[NAME], GOOD));
            let answer = framed(message(id, &[name], BAD));
            assert_eq!(bench.give(&session.send(Side::Client, &both.concat())), Verdict::Forward);
            assert_eq!(bench.give(&session.send(Side::Server, &good)), Verdict::Forward);
            let answer = session.send(Side::Server, &answer);
            assert_eq!(bench.give(&answer), last, "{id}");
            if last == Verdict::Forward {
                assert_eq!(bench.give(&answer), last, "retransmitted");
            }
        }
    }

    #[test]
    fn a_stream_whose_answers_went_by_unread_ends_once_a_rule_asks_where_they_lead() {
        let mut before = guarded(Action::Reject);
        before.policies[0].rules.last_mut().unwrap().answers = None;
        let mut bench = Bench::new(&before);
        let mut session = Session::new(tuple(53, Protocol::TCP));
        for packet in session.handshake() {
            bench.give(&packet);
        }
        let address = std::net::IpAddr::from([10, 100, 5, 7]).into();
        let said = Speech::Dns { name: NAME, answer: Some(address) }.stream();
        assert_eq!(bench.give(&session.send(Side::Client, &said[0].1)), Verdict::Forward);
        assert_eq!(bench.give(&session.send(Side::Server, &said[1].1)), Verdict::Forward);
        let policy = Policy::compile(&guarded(Action::Reject), Some(bench.engine.policy()));
        bench.engine.install(Arc::new(policy.unwrap()));
        let question = bench.give(&session.send(Side::Client, &said[0].1));
        let answer = bench.give(&session.send(Side::Server, &said[1].1));
        assert!(matches!((question, answer), (Verdict::Drop(_), Verdict::Drop(_))), "{answer:?}");
    }

    #[test]
    fn an_answer_is_only_written_down_where_a_policy_monitors() {
        let mut spec = guarded(Action::Reject);
        spec.policies[0].mode = Mode::Monitor;
        let mut bench = Bench::new(&spec);
        for packet in exchange([5, 7]) {
            assert_eq!(bench.give(&packet), Verdict::Forward);
        }
        bench.pass(1_000);
        let ended = bench.ended();
        assert_eq!(ended.first().and_then(|(action, ..)| *action), Some(Action::Reject));
    }

    #[test]
    fn answers_of_policies_that_do_not_ask_are_not_looked_at() {
        let mut spec = guarded(Action::Reject);
        spec.policies[0].rules.last_mut().unwrap().answers = None;
        let mut bench = Bench::new(&spec);
        for packet in exchange([5, 7]) {
            assert_eq!(bench.give(&packet), Verdict::Forward);
        }
    }
}
