//! DNS answers remembered for `bind: dns`: which address was answered for which name, in which scope,
//! until when. An answer is believed if its flow is allowed and asked that very question; nothing is
//! resolved here.

use super::Engine;
use super::state::Case;
use crate::flow::FlowId;
use crate::inspect::dns::answers::{bindings, sole_question};
use crate::inspect::dns::{Header, stream::messages};
use crate::model::{Addr, App, Direction, DomainName, Reason, ScopeId, Span, Timestamp};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher};

/// Answers remembered of one scope; beyond, the oldest is forgotten.
pub const BINDINGS_PER_SCOPE_MAX: usize = 65_536;
/// The shortest time an answer is believed: a client that asked just now connects only after the
/// answer's way back and its own handshake, whatever the answer's time to live (RFC 2181 section 8
/// allows zero, which means "for this transaction").
pub const BINDING_TTL_MIN: Span = Span::from_secs(5);
/// The longest time an answer is believed (RFC 8767 section 4 asks for a cap of days).
pub const BINDING_TTL_MAX: Span = Span::from_secs(86_400);

/// Questions of one flow that are remembered; beyond, the oldest is given up, answered or not.
pub const ASKED_MAX: usize = 1024;

/// The questions of one flow that were let through.
#[derive(Debug, Default)]
pub(super) struct Asked(VecDeque<Waiting>);

/// One question. Clients choose its name and servers want to meet it, so it stands here as a hash that
/// is keyed anew in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    name: u64,
    id: u16,
    kind: u16,
    /// There was no answer yet.
    open: bool,
}

const _: () = assert!(size_of::<Waiting>() == 16);

/// What an answer is to the questions of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nobody asked that.
    Unasked,
    /// It was answered before.
    Again,
    /// The first to its question.
    First,
}

impl Asked {
    /// Whether no question is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no answer is waited for, and all that was asked was one name: then nothing is lost if
    /// the numbers of its questions are forgotten.
    pub(super) fn is_settled(&self) -> bool {
        let first = self.0.front().map(|first| first.name);
        self.0.iter().all(|waiting| !waiting.open && Some(waiting.name) == first)
    }

    fn note(&mut self, question: Waiting) {
        if self.0.len() >= ASKED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(question);
    }

    /// What an answer with the number, name and type of `question` is.
    fn heard(&self, question: Waiting) -> Heard {
        match self.at(question) {
            Some(at) if self.0.get(at).is_some_and(|waiting| waiting.open) => Heard::First,
            Some(_) => Heard::Again,
            None => Heard::Unasked,
        }
    }

    /// Takes in that such an answer was let through. A question that may be answered again stays known.
    fn close(&mut self, question: Waiting, may_come_again: bool) {
        let Some(at) = self.at(question) else { return };
        if !may_come_again {
            self.0.remove(at);
        } else if let Some(waiting) = self.0.get_mut(at) {
            waiting.open = false;
        }
    }

    /// The place of such a question, of one that is open if there is one.
    fn at(&self, question: Waiting) -> Option<usize> {
        let closed = Waiting { open: false, ..question };
        let place = |wanted| self.0.iter().position(|waiting| *waiting == wanted);
        place(question).or_else(|| place(closed))
    }
}

impl Engine {
    /// Takes note of a DNS message that was let through, if some rule binds names to answers, or some
    /// rule of its policy asks where they lead.
    pub(super) fn hear(
        &mut self,
        id: FlowId,
        case: &mut Case,
        direction: Direction,
        message: &[u8],
    ) {
        let judged = self.judges_answers_of(id, case);
        let hears = self.hears(case);
        if !hears && !judged {
            return;
        }
        let (Some(key), Some(question)) = (self.table.key(id), self.waiting(message)) else {
            return;
        };
        if direction == Direction::Original {
            return case.asked.note(question);
        }
        let heard = case.asked.heard(question);
        case.asked.close(question, judged);
        if heard != Heard::First || !hears {
            return;
        }
        let scope = key.scope();
        let (now, learned, known) = (self.now, &mut self.learned, &mut self.bindings);
        // A malformed response binds nothing; its client will not believe it either.
        let _: Result<(), Reason> = bindings(message, |name, address, ttl| {
            let ttl = Span::from_secs(u64::from(ttl)).max(BINDING_TTL_MIN).min(BINDING_TTL_MAX);
            let answer = Answered { scope, name: *name, address, until: now + ttl };
            known.learn(&answer, now);
            learned.push(answer);
        });
    }

    /// The one question of a message, as it is remembered of its flow.
    fn waiting(&self, message: &[u8]) -> Option<Waiting> {
        let (header, question) = (Header::read(message)?, sole_question(message)?);
        let name = self.asked_names.hash_one(question.name.as_bytes());
        Some(Waiting { name, id: header.id, kind: question.kind, open: true })
    }

    /// Whether a response with `name` in its question answers something its flow asked: by number, name
    /// and type among the questions that are remembered. Of a flow that only ever asked one name no
    /// number need be known, and none is of questions that passed before a rule asked.
    pub(super) fn was_asked(&self, case: &Case, name: &DomainName, message: &[u8]) -> bool {
        let names = &case.questions;
        let named = names.all().iter().any(|asked| **asked == *name);
        if case.asked.is_empty() || (names.all().len() == 1 && names.left_out() == 0) {
            return named;
        }
        self.waiting(message).is_some_and(|question| case.asked.heard(question) != Heard::Unasked)
    }

    /// Whether the messages of a flow are DNS and some rule binds names to their answers.
    pub(super) fn hears(&self, case: &Case) -> bool {
        self.policy.binds() && case.facts.app.known() == Some(&App::Dns)
    }

    /// As [`Engine::hear`], for the messages that a stream's reader has just consumed.
    pub(super) fn hear_stream(
        &mut self,
        id: FlowId,
        case: &mut Case,
        direction: Direction,
        consumed: &[u8],
    ) {
        if self.policy.reads_answers() && case.facts.app.known() == Some(&App::Dns) {
            messages(consumed).for_each(|message| self.hear(id, case, direction, message));
        }
    }

    /// Remembers an answer that another worker let through, if its scope is still there.
    pub fn learn(&mut self, answer: &Answered) {
        if self.policy.has_scope(answer.scope) {
            self.bindings.learn(answer, self.now);
        }
    }

    /// Forgets the answers of scopes that the present ruleset does not have: nobody may use them, and
    /// only new answers of a scope make its old ones go.
    pub(super) fn forget_scopes(&mut self) {
        let policy = &self.policy;
        self.bindings.scopes.retain(|scope, _| policy.has_scope(*scope));
    }
}

/// An answer that was let through: from now on the address stands for the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Where it was seen.
    pub scope: ScopeId,
    /// The name that was asked for.
    pub name: DomainName,
    /// What it was answered with, directly or through aliases.
    pub address: Addr,
    /// When it expires.
    pub until: Timestamp,
}

/// The answers of every scope.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    scopes: HashMap<ScopeId, Scope>,
}

#[derive(Debug, Default)]
struct Scope {
    until: HashMap<Bound, Timestamp>,
    /// Answers in the order they came; one that was refreshed stands here several times.
    order: VecDeque<(Bound, Timestamp)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bound {
    address: Addr,
    name: Box<[u8]>,
}

/// A [`Bound`] whose name lies elsewhere. It hashes as that one does.
struct Probe<'a> {
    address: Addr,
    name: &'a [u8],
}

impl Hash for Probe<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
        self.name.hash(state);
    }
}

impl hashbrown::Equivalent<Bound> for Probe<'_> {
    fn equivalent(&self, bound: &Bound) -> bool {
        self.address == bound.address && self.name == &*bound.name
    }
}

impl Bindings {
    /// Remembers an answer; the later of two times stands.
    pub(super) fn learn(&mut self, answer: &Answered, now: Timestamp) {
        let scope = self.scopes.entry(answer.scope).or_default();
        scope.make_room(now);
        let bound = Bound { address: answer.address, name: answer.name.as_bytes().into() };
        let until = scope.until.entry(bound.clone()).or_insert(answer.until);
        *until = answer.until.max(*until);
        scope.order.push_back((bound, *until));
    }

    /// Whether `address` was answered for `name` in `scope` and may still be used.
    pub(super) fn holds(
        &self,
        scope: ScopeId,
        name: &DomainName,
        address: Addr,
        now: Timestamp,
    ) -> bool {
        let probe = Probe { address, name: name.as_bytes() };
        let until = self.scopes.get(&scope).and_then(|scope| scope.until.get(&probe));
        until.is_some_and(|&until| now < until)
    }

    /// Answers remembered now, expired ones among them until their room is needed.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.scopes.values().map(|scope| scope.until.len()).sum()
    }
}

impl Scope {
    /// Forgets what is expired at the front of the line, and the oldest where all room is taken.
    /// The line is at most twice as long as the table.
    fn make_room(&mut self, now: Timestamp) {
        while let Some((_, until)) = self.order.front() {
            let crowded = self.until.len() >= BINDINGS_PER_SCOPE_MAX
                || self.order.len() >= 2 * BINDINGS_PER_SCOPE_MAX;
            if now < *until && !crowded {
                return;
            }
            let Some((bound, until)) = self.order.pop_front() else { return };
            if self.until.get(&bound).is_some_and(|&last| last == until) {
                self.until.remove(&bound);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: ScopeId = ScopeId(1);

    fn answer(number: u32, until: u64) -> Answered {
        Answered {
            scope: SCOPE,
            name: DomainName::from_host(b"api.example").unwrap(),
            address: Addr::v4(number.to_be_bytes()),
            until: Timestamp::from_secs(until),
        }
    }

    fn holds(bindings: &Bindings, answer: &Answered, now: u64) -> bool {
        bindings.holds(answer.scope, &answer.name, answer.address, Timestamp::from_secs(now))
    }

    #[test]
    fn an_answer_holds_for_its_name_its_address_and_its_scope_until_it_expires() {
        let mut bindings = Bindings::default();
        let told = answer(1, 60);
        bindings.learn(&told, Timestamp::ZERO);
        for (now, expected) in [(59, true), (60, false), (61, false)] {
            assert_eq!(holds(&bindings, &told, now), expected, "{now}");
        }
        let elsewhere = Answered { scope: ScopeId(2), ..told };
        assert!(!holds(&bindings, &elsewhere, 1));
        let named = Answered { name: DomainName::from_host(b"example").unwrap(), ..told };
        assert!(!holds(&bindings, &named, 1));
        assert!(!holds(&bindings, &answer(2, 60), 1));
    }

    #[test]
    fn a_later_answer_prolongs_and_an_earlier_one_does_not_shorten() {
        let mut bindings = Bindings::default();
        for until in [60, 90, 30] {
            bindings.learn(&answer(1, until), Timestamp::ZERO);
        }
        assert!(holds(&bindings, &answer(1, 0), 89));
        bindings.learn(&answer(2, 200), Timestamp::from_secs(70));
        assert!(holds(&bindings, &answer(1, 0), 89), "a stale entry of the line took it away");
    }

    #[test]
    fn the_oldest_answer_of_a_scope_goes_when_there_is_no_room() {
        let limit = u32::try_from(BINDINGS_PER_SCOPE_MAX).unwrap();
        for (count, first_holds) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
            let mut bindings = Bindings::default();
            for number in 0..count {
                bindings.learn(&answer(number, 600), Timestamp::ZERO);
            }
            assert_eq!(holds(&bindings, &answer(0, 600), 1), first_holds, "{count}");
            assert!(holds(&bindings, &answer(count - 1, 600), 1));
            assert!(bindings.len() <= BINDINGS_PER_SCOPE_MAX);
        }
    }

    #[test]
    fn one_answer_told_over_and_over_takes_no_more_than_its_share() {
        let mut bindings = Bindings::default();
        for second in 0..(3 * BINDINGS_PER_SCOPE_MAX as u64) {
            bindings.learn(&answer(1, second + 1000), Timestamp::from_secs(1));
        }
        assert_eq!(bindings.len(), 1);
        assert!(bindings.scopes[&SCOPE].order.len() <= 2 * BINDINGS_PER_SCOPE_MAX);
        assert!(holds(&bindings, &answer(1, 0), 1001));
    }
}
