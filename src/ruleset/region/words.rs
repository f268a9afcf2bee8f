//! The shortest word that all of some patterns match and none of others does: a search over the
//! product of their automata, made state by state. Knows patterns, not sets of names.

use crate::policy::names::NamePattern;
use std::collections::{HashMap, VecDeque};

/// Most states of one search; beyond that nothing is proved.
pub const STATES_LIMIT: usize = 20_000;

/// One step of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// This byte.
    Byte(u8),
    /// Any one byte.
    One,
    /// Any run of bytes, also none.
    Run,
}

/// A pattern as its steps.
pub(super) type Steps = Vec<Step>;

/// Which words there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alphabet {
    /// Names a client asks for: labels of letters, digits, hyphens and underscores.
    Host,
    /// Names in DNS questions: labels of any bytes.
    Question,
    /// Text of any length, as in alternative names of certificates.
    Text,
}

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// This word, for example.
    Found(String),
    /// There is none.
    Nowhere,
    /// The search came to its bound.
    NotProved,
}

impl Alphabet {
    /// Bytes that stand for themselves where a pattern names them.
    fn letters(self) -> &'static [u8] {
        match self {
            Self::Host => b"abcdefghijklmnopqrstuvwxyz0123456789-_",
            Self::Question => b"abcdefghijklmnopqrstuvwxyz0123456789-_!",
            Self::Text => b"abcdefghijklmnopqrstuvwxyz0123456789-_!:/@.",
        }
    }

    const fn has_labels(self) -> bool {
        !matches!(self, Self::Text)
    }

    /// Whether a word is one of this alphabet, its lengths looked at.
    pub(super) fn admits(self, word: &str) -> bool {
        use crate::model::DomainName;
        match self {
            Self::Host => DomainName::from_host(word.as_bytes())
                .is_ok_and(|name| name.as_bytes() == word.as_bytes()),
            Self::Question => {
                !word.is_empty()
                    && DomainName::from_labels(word.split('.').map(str::as_bytes)).is_ok()
            }
            Self::Text => word.len() <= 253,
        }
    }
}

/// The steps of a name pattern.
pub(super) fn steps_of(pattern: &NamePattern) -> Vec<Steps> {
    let plain = |text: &str| text.bytes().map(Step::Byte).collect::<Steps>();
    let below = |text: &str| {
        let mut steps = vec![Step::One, Step::Run, Step::Byte(b'.')];
        steps.extend(text.bytes().map(Step::Byte));
        steps
    };
    match pattern {
        NamePattern::Any => vec![vec![Step::Run]],
        NamePattern::Exact(name) => vec![plain(name)],
        NamePattern::Suffix(name) => vec![plain(name), below(name)],
        NamePattern::Below(name) => vec![below(name)],
        NamePattern::Glob(glob) => vec![steps_of_glob(glob)],
    }
}

/// The steps of a text in which `*` stands for any run.
pub(super) fn steps_of_glob(glob: &str) -> Steps {
    glob.bytes().map(|b| if b == b'*' { Step::Run } else { Step::Byte(b) }).collect()
}

/// Where a pattern may stand in its steps, a bit each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Marks(Vec<u64>);

impl Marks {
    fn start(steps: &Steps) -> Self {
        let mut marks = Self(vec![0; steps.len() / 64 + 1]);
        marks.set(steps, 0);
        marks
    }

    /// Marks a position, and those that a run of nothing leads to.
    fn set(&mut self, steps: &Steps, at: usize) {
        let mut at = at;
        loop {
            if let Some(word) = self.0.get_mut(at / 64) {
                *word |= 1 << (at % 64);
            }
            if steps.get(at) != Some(&Step::Run) {
                return;
            }
            at += 1;
        }
    }

    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn accepts(&self, steps: &Steps) -> bool {
        self.has(steps.len())
    }

    /// Whether every longer word is accepted too.
    fn is_settled(&self, steps: &Steps) -> bool {
        steps.last() == Some(&Step::Run) && self.has(steps.len().saturating_sub(1))
    }

    fn is_dead(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn after(&self, steps: &Steps, byte: u8) -> Self {
        let mut next = Self(vec![0; self.0.len()]);
        for (at, step) in steps.iter().enumerate().filter(|(at, _)| self.has(*at)) {
            match step {
                Step::Run => next.set(steps, at),
                Step::One => next.set(steps, at + 1),
                Step::Byte(wanted) if *wanted == byte => next.set(steps, at + 1),
                Step::Byte(_) => {}
            }
        }
        next
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    wanted: Vec<Marks>,
    unwanted: Vec<Marks>,
    /// Inside a label that holds something.
    inside: bool,
}

/// Searches. A word that breaks a length limit of names, being the shortest one, proves nothing.
pub(super) fn search(alphabet: Alphabet, wanted: &[&Steps], unwanted: &[&Steps]) -> Word {
    let bytes = bytes_in_play(alphabet, wanted, unwanted);
    let start = State {
        wanted: wanted.iter().map(|s| Marks::start(s)).collect(),
        unwanted: unwanted.iter().map(|s| Marks::start(s)).collect(),
        inside: false,
    };
    // For each state the one it came from and the byte that led here.
    let mut known: HashMap<State, usize> = HashMap::from([(start.clone(), 0)]);
    let mut path: Vec<(usize, u8)> = vec![(0, 0)];
    let mut queue: VecDeque<(State, usize)> = VecDeque::from([(start, 0)]);
    while let Some((state, at)) = queue.pop_front() {
        let complete = state.inside || !alphabet.has_labels();
        let wanted_all = state.wanted.iter().zip(wanted).all(|(marks, s)| marks.accepts(s));
        let unwanted_any = state.unwanted.iter().zip(unwanted).any(|(marks, s)| marks.accepts(s));
        if complete && wanted_all && !unwanted_any {
            let word = spell(&path, at);
            return if alphabet.admits(&word) { Word::Found(word) } else { Word::NotProved };
        }
        for &byte in &bytes {
            let dot = byte == b'.' && alphabet.has_labels();
            if dot && !state.inside {
                continue;
            }
            let next = State {
                wanted: state.wanted.iter().zip(wanted).map(|(m, s)| m.after(s, byte)).collect(),
                unwanted: state
                    .unwanted
                    .iter()
                    .zip(unwanted)
                    .map(|(m, s)| m.after(s, byte))
                    .collect(),
                inside: !dot,
            };
            let hopeless = next.wanted.iter().any(Marks::is_dead)
                || next.unwanted.iter().zip(unwanted).any(|(marks, s)| marks.is_settled(s));
            if hopeless || known.contains_key(&next) {
                continue;
            }
            if known.len() >= STATES_LIMIT {
                return Word::NotProved;
            }
            let number = path.len();
            known.insert(next.clone(), number);
            path.push((at, byte));
            queue.push_back((next, number));
        }
    }
    Word::Nowhere
}

fn spell(path: &[(usize, u8)], mut at: usize) -> String {
    let mut bytes = Vec::new();
    while at != 0 {
        let Some(&(before, byte)) = path.get(at) else { break };
        bytes.push(byte);
        at = before;
    }
    bytes.reverse();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every byte some pattern names, and one that none does: all others behave as that one.
fn bytes_in_play(alphabet: Alphabet, wanted: &[&Steps], unwanted: &[&Steps]) -> Vec<u8> {
    let named =
        |byte: u8| wanted.iter().chain(unwanted).any(|steps| steps.contains(&Step::Byte(byte)));
    let mut bytes: Vec<u8> =
        alphabet.letters().iter().copied().filter(|b| !named(*b)).take(1).collect();
    let own = |byte: &u8| match alphabet {
        Alphabet::Host | Alphabet::Question => alphabet.letters().contains(byte),
        Alphabet::Text => (0x20..0x7f).contains(byte),
    };
    bytes.extend((0..=u8::MAX).filter(own).filter(|b| *b != b'.' && named(*b)));
    bytes.push(b'.');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(pattern: &str) -> Vec<Steps> {
        steps_of(&NamePattern::parse(pattern).unwrap())
    }

    fn find(wanted: &[&str], unwanted: &[&str]) -> Word {
        let wanted: Vec<Steps> = wanted.iter().map(|p| steps(p).remove(0)).collect();
        let unwanted: Vec<Steps> = unwanted.iter().flat_map(|p| steps(p)).collect();
        search(
            Alphabet::Host,
            &wanted.iter().collect::<Vec<_>>(),
            &unwanted.iter().collect::<Vec<_>>(),
        )
    }

    #[test]
    fn words_are_found_where_there_are_any() {
        for (wanted, unwanted, found) in [
            (&["*"][..], &[][..], Some("a")),
            (&["a*.x"], &["*b*"], Some("a.x")),
            (&["a*.x"], &["a.x"], Some("ab.x")),
            (&["a*.x", "*b.x"], &[], Some("ab.x")),
            (&["a*.x", "b*.x"], &[], None),
            (&["*.x"], &["*.x"], None),
            (&["a*x"], &["*x"], None),
            (&["*a*"], &["a*", "*a", "*.*"], Some("bab")),
        ] {
            let expected = found.map_or(Word::Nowhere, |w| Word::Found(w.to_owned()));
            assert_eq!(find(wanted, unwanted), expected, "{wanted:?} {unwanted:?}");
        }
    }

    #[test]
    fn a_word_that_is_too_long_proves_nothing() {
        let long =
            ["a".repeat(63).as_str(), &"b".repeat(63), &"c".repeat(63), &"d".repeat(60)].join(".");
        let pattern = format!("*{long}");
        assert!(matches!(find(&[&pattern], &[]), Word::Found(_)));
        assert_eq!(find(&[&pattern], &[&long]), Word::NotProved);
    }

    #[test]
    fn the_search_ends_at_its_limit() {
        let many: Vec<String> = (0..14).map(|n| format!("*{}*", "ab".repeat(n + 1))).collect();
        let wanted: Vec<Steps> = many.iter().map(|p| steps_of_glob(p)).collect();
        let spread: Vec<Steps> =
            (0..20u8).map(|n| steps_of_glob(&format!("*{}*", char::from(b'a' + n)))).collect();
        let all: Vec<&Steps> = spread.iter().collect();
        assert_eq!(search(Alphabet::Host, &all, &[]), Word::NotProved);
        let few: Vec<&Steps> = wanted.iter().collect();
        assert!(matches!(search(Alphabet::Host, &few, &[]), Word::Found(_)));
    }

    fn pattern() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "a", "b", ".a", "*.a", "a.b", ".a.b", "a*", "*b", "*a*", "a*.b", "*", "*.a.b", "b*a",
            "*.*.b",
        ])
        .prop_map(str::to_owned)
    }

    fn all_words() -> Vec<String> {
        let mut words = vec![String::new()];
        let mut all = Vec::new();
        for _ in 0..6 {
            words = words
                .iter()
                .flat_map(|w| ["a", "b", "c", "."].map(|c| format!("{w}{c}")))
                .collect();
            all.extend(words.iter().filter(|w| Alphabet::Host.admits(w)).cloned());
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn no_word_is_missed_and_none_is_made_up(
            wanted in prop::collection::vec(pattern(), 1..3),
            unwanted in prop::collection::vec(pattern(), 0..4),
        ) {
            let parse = |list: &[String]| list.iter().map(|p| NamePattern::parse(p).unwrap()).collect::<Vec<_>>();
            let (wants, not) = (parse(&wanted), parse(&unwanted));
            let unwanted: Vec<Steps> = not.iter().flat_map(steps_of).collect();
            let fits = |w: &str| {
                wants.iter().all(|p| p.matches(w.as_bytes())) && !not.iter().any(|p| p.matches(w.as_bytes()))
            };
            // A pattern with two forms is searched form by form.
            let mut outcome = Word::Nowhere;
            let forms: Vec<Vec<Steps>> = wants.iter().map(steps_of).collect();
            for first in &forms[0] {
                for second in forms.get(1).unwrap_or(&vec![vec![Step::Run]]) {
                    let found = search(Alphabet::Host, &[first, second], &unwanted.iter().collect::<Vec<_>>());
                    if outcome == Word::Nowhere { outcome = found }
                }
            }
            match outcome {
                Word::Found(word) => prop_assert!(fits(&word), "{}", word),
                Word::Nowhere => prop_assert!(!all_words().iter().any(|w| fits(w))),
                Word::NotProved => prop_assert!(false, "not proved"),
            }
        }
    }
}
