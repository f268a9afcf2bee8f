//! What is known of flows that need no case: kept once for all flows of which the same is known, so
//! that a flow decided by name takes no memory of its own. It is no cache of decisions: a story is
//! what was read, not what was said of it.

use super::record::{Found, Names, Told};
use super::state::Case;
use crate::inspect::Speech;
use crate::model::{App, DomainName, Fact, Facts, Ja4};
use crate::wire::near::prefetch;
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::{BuildHasher, Hasher};

/// Stories kept at once; while all are in use, a further flow keeps what is known of it in its case.
pub(super) const STORIES_MAX: usize = 1 << 16;
/// Stories looked at for one that no flow uses, when there is no room for a new one.
const LOOKS_MAX: usize = 64;

/// A story by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoryId(pub(super) u32);

/// What is known of flows.
#[derive(Debug)]
pub(super) struct Story {
    /// Of the message that was decided last.
    pub(super) facts: Facts,
    /// The destination was an answer for the name when that was decided.
    pub(super) bound: bool,
    /// Of datagrams that are decided one by one, some were allowed.
    pub(super) allowed: bool,
    /// How the flow is read on, if it is.
    pub(super) speech: Option<Speech>,
    /// It is read for the record alone.
    pub(super) unasked: bool,
    /// It may have said more.
    pub(super) unread: bool,
    /// The name in the facts is all there is for the record beside them.
    one_name: bool,
}

/// A place for a story: one cache line, in which the most frequent story, that of a flow with one
/// short question, stands whole.
#[derive(Debug)]
#[repr(align(64))]
struct Place {
    hash: u64,
    found: Told,
    rest: Box<Story>,
    /// Flows of which it is true.
    uses: u32,
    /// Length of the only question, where there is nothing else to say; 0 where there is.
    question_len: u8,
    question: [u8; QUESTION_BYTES],
}

/// A question up to this length is short.
const QUESTION_BYTES: usize = 35;
const _: () = assert!(size_of::<Place>() == 64);

/// Stories by what they say.
#[derive(Debug, Default)]
pub(super) struct Stories {
    places: Vec<Place>,
    known: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Where the next look for an unused one begins.
    hand: usize,
}

impl Stories {
    /// The story that says what a case says, of which there is no case from now on. `None`: there is
    /// no room for one more, and the case is as it was.
    pub(super) fn share(&mut self, case: &mut Case, speech: Option<Speech>) -> Option<StoryId> {
        let hash = self.hash(case, speech);
        let unasked = speech.is_some() && case.inspection.as_ref().is_some_and(|i| i.unasked);
        let places = &self.places;
        let same = |&at: &u32| {
            places.get(at as usize).is_some_and(|p| p.hash == hash && p.says(case, speech, unasked))
        };
        if let Some(&at) = self.known.find(hash, same) {
            self.join(StoryId(at));
            return Some(StoryId(at));
        }
        let at = self.room()?;
        let lone = case.lone_question(speech).filter(|_| !unasked).and_then(short);
        let (question_len, question) = lone.unwrap_or((0, [0; QUESTION_BYTES]));
        let place = Place {
            hash,
            found: Told::from(case.found()),
            uses: 1,
            question_len,
            question,
            rest: Box::new(Story {
                one_name: case.has_one_name(),
                facts: std::mem::take(&mut case.facts),
                bound: case.bound,
                allowed: case.allowed,
                speech,
                unasked,
                unread: case.unread,
            }),
        };
        match self.places.get_mut(at as usize) {
            Some(free) => *free = place,
            None => self.places.push(place),
        }
        let places = &self.places;
        let rehash = |&at: &u32| places.get(at as usize).map_or(0, |place| place.hash);
        self.known.insert_unique(hash, at, rehash);
        Some(StoryId(at))
    }

    /// The story of a flow that asked this one question and is read on. `None`: it is a long name, or
    /// nobody told such a story yet.
    /// `hash` is that of [`Stories::hash_of_question`].
    pub(super) fn of_question(&self, name: &DomainName, hash: u64) -> Option<StoryId> {
        let places = &self.places;
        let same = |&at: &u32| places.get(at as usize).is_some_and(|place| place.asks_only(name));
        self.known.find(hash, same).filter(|_| !name.is_empty()).map(|&at| StoryId(at))
    }

    /// What the story of a flow that asked this one question is found by.
    #[inline]
    pub(super) fn hash_of_question(&self, name: &DomainName) -> u64 {
        self.hash_of(Some(name), None, true)
    }

    /// Brings near what [`Stories::of_question`] will look at.
    #[inline]
    pub(super) fn prefetch_question(&self, hash: u64) {
        let likely = |&at: &u32| {
            self.prefetch(StoryId(at));
            true
        };
        let _ = self.known.find(hash, likely);
    }

    /// It is true of one flow more.
    pub(super) fn join(&mut self, StoryId(at): StoryId) {
        if let Some(place) = self.places.get_mut(at as usize) {
            place.uses = place.uses.saturating_add(1);
        }
    }

    pub(super) fn get(&self, StoryId(at): StoryId) -> Option<&Story> {
        self.places.get(at as usize).map(|place| &*place.rest)
    }

    /// What a story says for the record.
    pub(super) fn found(&self, StoryId(at): StoryId) -> Option<Told> {
        self.places.get(at as usize).map(|place| place.found.clone())
    }

    /// The case of a flow that is read on; what reads it is for the caller to add.
    pub(super) fn retell(&self, StoryId(at): StoryId) -> Option<Case> {
        let place = self.places.get(at as usize)?;
        let mut case = Case::new(place.rest.facts.clone());
        case.names.clone_from(&place.found.names);
        case.host_addresses.clone_from(&place.found.host_addresses);
        case.questions.clone_from(&place.found.questions);
        let Story { bound, allowed, unread, .. } = *place.rest;
        (case.bound, case.allowed, case.unread) = (bound, allowed, unread);
        case.note_bound();
        Some(case)
    }

    /// Brings a story's place near.
    #[inline]
    pub(super) fn prefetch(&self, StoryId(at): StoryId) {
        if let Some(place) = self.places.get(at as usize) {
            prefetch(place);
        }
    }

    /// Brings near what is needed to share what is recorded; the place should be near already.
    #[inline]
    pub(super) fn prefetch_found(&self, StoryId(at): StoryId) {
        if let Some(place) = self.places.get(at as usize) {
            place.found.prefetch();
        }
    }

    /// It is true of one flow less.
    pub(super) fn leave(&mut self, StoryId(at): StoryId) {
        if let Some(place) = self.places.get_mut(at as usize) {
            place.uses = place.uses.saturating_sub(1);
        }
    }

    /// A place for a new story: the next one, or that of a story that no flow uses.
    fn room(&mut self) -> Option<u32> {
        if self.places.len() < STORIES_MAX {
            return u32::try_from(self.places.len()).ok();
        }
        for _ in 0..LOOKS_MAX {
            let at = self.hand;
            self.hand = (self.hand + 1) % STORIES_MAX;
            let Some(place) = self.places.get(at) else { continue };
            if place.uses == 0 {
                let number = u32::try_from(at).ok()?;
                let found = self.known.find_entry(place.hash, |&known| known == number);
                let _ = found.ok()?.remove();
                return Some(number);
            }
        }
        None
    }

    fn hash(&self, case: &Case, speech: Option<Speech>) -> u64 {
        let name = case.names.first().or(case.questions.first());
        self.hash_of(name, case.facts.tls.ja4.known(), speech.is_some())
    }

    /// Names come from clients, so the hash is keyed anew in every process.
    fn hash_of(&self, name: Option<&DomainName>, ja4: Option<&Ja4>, goes_on: bool) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.map_or(&[], DomainName::as_bytes));
        if let Some(Ja4(ja4)) = ja4 {
            hasher.write(ja4);
        }
        hasher.write_u8(u8::from(goes_on));
        hasher.finish()
    }
}

impl Place {
    /// Whether there is nothing else to say than that this was asked.
    #[inline]
    fn asks_only(&self, name: &DomainName) -> bool {
        let len = usize::from(self.question_len);
        len == name.len() && self.question.get(..len) == Some(name.as_bytes())
    }

    fn says(&self, case: &Case, speech: Option<Speech>, unasked: bool) -> bool {
        let rest = &*self.rest;
        prefetch(rest);
        let one_name = case.has_one_name();
        let same_record = || {
            self.found.names == case.names
                && self.found.host_addresses == case.host_addresses
                && self.found.questions == *case.recorded_questions()
        };
        rest.speech == speech
            && rest.unasked == unasked
            && (rest.bound, rest.allowed) == (case.bound, case.allowed)
            && rest.unread == case.unread
            && rest.one_name == one_name
            && (one_name || same_record())
            && rest.facts == case.facts
    }
}

/// A short question with its length.
fn short(name: &DomainName) -> Option<(u8, [u8; QUESTION_BYTES])> {
    let mut question = [0; QUESTION_BYTES];
    question.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some((u8::try_from(name.len()).ok()?, question))
}

impl Case {
    /// All that is recorded of it.
    pub(super) fn found(&self) -> Found {
        let facts = &self.facts;
        Found {
            app: match &facts.app {
                Fact::Known(App::Other) | Fact::Unknown | Fact::Absent | Fact::Missed => None,
                Fact::Known(app) => Some(*app),
            },
            names: self.names.clone(),
            host_addresses: self.host_addresses.clone(),
            denied_name: None,
            questions: self.recorded_questions().clone(),
            denied_answer: facts.answer.known().copied(),
            api_id: facts.api_id.known().cloned(),
            ja4: facts.tls.ja4.known().copied(),
            ja3: facts.tls.ja3,
            tls_version: facts.tls.version.known().copied(),
            alpn: facts.tls.alpn.clone(),
            quic_version: facts.quic_version,
            certificate: facts.tls.client_certificate.known().cloned(),
            ech: facts.tls.ech,
        }
    }

    /// The only question of a flow, if there is nothing else to say of it but that it was allowed.
    fn lone_question(&self, speech: Option<Speech>) -> Option<&DomainName> {
        let [name] = self.facts.questions.known()?.as_slice() else { return None };
        let mut questions = Names::default();
        questions.note_new(name);
        let mut facts = Facts::default();
        facts.settle_without_names(App::Dns);
        facts.questions = self.facts.questions.clone();
        let lone = speech == Some(Speech::Dns)
            && self.allowed
            && !(self.bound || self.unread)
            && self.names == Names::default()
            && self.host_addresses.is_empty()
            && self.questions == questions
            && self.facts == facts;
        lone.then_some(name)
    }

    /// Whether the name in the facts is all there is for the record beside them.
    fn has_one_name(&self) -> bool {
        let name = self.facts.domain.known().map(std::slice::from_ref);
        name.is_some_and(|name| self.names.all() == name && self.names.left_out() == 0)
            && self.host_addresses.is_empty()
            && *self.recorded_questions() == Names::default()
    }

    /// The questions for the record: where only answers came by, theirs are what is known.
    fn recorded_questions(&self) -> &Names {
        if self.questions.first().is_some() { &self.questions } else { &self.answered }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DomainName;
    use std::sync::Arc;

    fn case(number: usize) -> Case {
        let mut facts = Facts::default();
        facts.settle_without_names(App::Dns);
        let mut case = Case::new(facts);
        let name = DomainName::from_host(format!("n{number}.example").as_bytes()).unwrap();
        case.questions.note(&Arc::new(name));
        case
    }

    #[test]
    fn the_same_is_told_once_and_told_again_whole() {
        let mut stories = Stories::default();
        let first = stories.share(&mut case(1), None).unwrap();
        assert_eq!(stories.share(&mut case(1), None), Some(first));
        assert_ne!(stories.share(&mut case(1), Some(Speech::Dns)), Some(first));
        let mut bound = case(1);
        bound.bound = true;
        assert_ne!(stories.share(&mut bound, None), Some(first));
        assert_ne!(stories.share(&mut case(2), None), Some(first));
        let again = stories.retell(first).unwrap();
        assert_eq!((&again.facts, &again.questions), (&case(1).facts, &case(1).questions));
        assert_eq!(again.found(), *stories.found(first).unwrap());
    }

    fn of_question(stories: &Stories, name: &DomainName) -> Option<StoryId> {
        let hash = stories.hash_of_question(name);
        stories.prefetch_question(hash);
        stories.of_question(name, hash)
    }

    #[test]
    fn a_short_question_alone_is_found_by_its_name() {
        let mut stories = Stories::default();
        for (len, is_short) in [(34, true), (35, true), (36, false)] {
            let name = DomainName::from_host("a".repeat(len).as_bytes()).unwrap();
            assert_eq!(of_question(&stories, &name), None, "nobody told of it");
            let mut case = case(0);
            case.questions = Names::default();
            case.questions.note_new(&name);
            case.facts.questions = Fact::Known(vec![name]);
            case.allowed = true;
            let told = stories.share(&mut case, Some(Speech::Dns));
            assert_eq!(of_question(&stories, &name), told.filter(|_| is_short), "{len}");
        }
    }

    #[test]
    fn a_question_with_more_to_say_is_not_found_by_its_name() {
        let name = DomainName::from_host(b"n1.example").unwrap();
        let asked = || {
            let mut case = case(1);
            case.facts.questions = Fact::Known(vec![name]);
            case.allowed = true;
            case
        };
        let mut denied = asked();
        denied.allowed = false;
        let mut bound = asked();
        bound.bound = true;
        let mut named = asked();
        named.names.note_new(&name);
        let mut proxied = asked();
        proxied.facts.proxy = Fact::Known(crate::model::ProxyIdentity::Proxy);
        let mut earlier = asked();
        earlier.questions.note_new(&DomainName::from_host(b"n2.example").unwrap());
        for mut case in [denied, bound, named, proxied, earlier] {
            let mut stories = Stories::default();
            stories.share(&mut case, Some(Speech::Dns)).unwrap();
            assert_eq!(of_question(&stories, &name), None, "{case:?}");
        }
        let mut stories = Stories::default();
        stories.share(&mut asked(), None).unwrap();
        assert_eq!(of_question(&stories, &name), None, "it is not read on");
    }

    #[test]
    fn beyond_the_limit_stories_in_use_stay_and_unused_ones_make_room() {
        for count in [STORIES_MAX - 1, STORIES_MAX, STORIES_MAX + 1] {
            let mut stories = Stories::default();
            let told = (0..count).filter(|&n| stories.share(&mut case(n), None).is_some()).count();
            assert_eq!(told, count.min(STORIES_MAX));
        }
        let mut stories = Stories::default();
        let ids: Vec<_> =
            (0..STORIES_MAX).filter_map(|n| stories.share(&mut case(n), None)).collect();
        let mut further = case(STORIES_MAX);
        assert_eq!(stories.share(&mut further, None), None);
        assert_eq!(further.facts, case(0).facts, "it is as it was");
        let unused = ids[LOOKS_MAX + 7];
        stories.leave(unused);
        let found = (0..STORIES_MAX / LOOKS_MAX).find_map(|_| stories.share(&mut further, None));
        assert_eq!(found, Some(unused));
        assert_eq!(stories.share(&mut case(LOOKS_MAX + 7), None), None, "it was forgotten");
        assert_eq!(stories.share(&mut case(3), None), Some(ids[3]));
    }
}
