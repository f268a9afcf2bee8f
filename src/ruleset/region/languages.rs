//! Sets of names as languages: whether some name is in all of these sets and in none of those, and
//! which. Exact: what is found is checked against the sets themselves, and that there is none is
//! said only when every way to be in the sets was closed. At a bound the answer is `NotProved`.

use super::words::{Alphabet, Step, Steps, Word, search, steps_of, steps_of_glob};
use crate::policy::names::{NamePattern, NameSet, TextPattern};
use foldhash::fast::FixedState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Most combinations of entries of several sets that one question looks at.
pub const COMBINATIONS_LIMIT: usize = 4096;
/// Most names that are taken out one by one before a search gives up.
const REFINEMENTS_LIMIT: usize = 64;
/// Sets up to this size are walked rather than indexed.
const INDEX_FROM: usize = 1024;
/// Labels for names that no rule means. The last byte is in no written name.
const FRESH: [&str; 4] = ["www", "some-other", "zq7-x0-unlisted", "q-9zz-k4-unlisted-2"];
/// Stands for a label that no entry holds.
const UNWRITTEN: &str = "*";

/// A set among those a [`Languages`] knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetId(u32);

/// What the names of a set are, in a few bits: two sets whose marks do not meet have no name in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of the last two labels of each entry. Names that meet share them: one is below the other.
    tails: u64,
    /// Of each name, where the set holds single names alone.
    names: Option<u128>,
}

impl Mark {
    /// Of a set that may hold any name.
    pub(super) const ANY: Self = Self { tails: u64::MAX, names: None };

    fn of(set: &NameSet) -> Self {
        if set.is_any() {
            return Self::ANY;
        }
        let hashed = |text: &str| FixedState::with_seed(0).hash_one(text);
        let mut mark = Self { tails: 0, names: Some(0) };
        for entry in set.iter() {
            let (name, single) = match &entry {
                NamePattern::Exact(name) => (name, true),
                NamePattern::Suffix(name) | NamePattern::Below(name) => (name, false),
                NamePattern::Any | NamePattern::Glob(_) => return Self::ANY,
            };
            let mut dots = name.rmatch_indices('.');
            mark.tails |= match (dots.next(), dots.next()) {
                (None, _) => u64::MAX,
                (Some(_), None) => 1 << (hashed(name) & 63),
                (Some(_), Some((dot, _))) => {
                    1 << (hashed(name.get(dot.saturating_add(1)..).unwrap_or_default()) & 63)
                }
            };
            mark.names = mark.names.filter(|_| single).map(|bits| bits | 1 << (hashed(name) & 127));
        }
        mark
    }

    /// Whether the sets may have a name in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        let named = match (self.names, other.names) {
            (Some(own), Some(other)) => own & other != 0,
            _ => true,
        };
        named && self.tails & other.tails != 0
    }
}

/// One kind of set.
#[derive(Clone, Debug)]
enum Members {
    Names(Arc<NameSet>),
    Texts(Vec<TextPattern>),
}

#[derive(Debug)]
struct Known {
    members: Members,
    /// Entries, spelt out when first asked for.
    entries: Option<Arc<[NamePattern]>>,
    /// Hashes of all names above an entry; only of large sets.
    above: Option<Arc<HashSet<Box<str>>>>,
    any: bool,
    len: usize,
    has_patterns: bool,
    mark: Mark,
}

/// Which sets a question is about.
type Key = (Alphabet, Vec<SetId>, Vec<SetId>);

/// All sets of names that rules ask for, each once, and what was found out about them.
#[derive(Debug, Default)]
pub struct Languages {
    sets: Vec<Known>,
    by_address: HashMap<*const NameSet, SetId>,
    /// By fingerprint and length.
    by_content: HashMap<(u64, usize), Vec<SetId>>,
    /// Sets with the same entries as a known one, kept alive for their addresses.
    aliases: Vec<Arc<NameSet>>,
    answers: HashMap<Key, Word>,
}

impl Languages {
    /// A set of names; sets with the same entries have the same id.
    pub fn names(&mut self, set: &Arc<NameSet>) -> SetId {
        if let Some(&id) = self.by_address.get(&Arc::as_ptr(set)) {
            return id;
        }
        let key = (set.fingerprint(), set.len());
        let same = |id: &&SetId| match self.sets.get(id.0 as usize).map(|known| &known.members) {
            Some(Members::Names(known)) => known.same_as(set),
            _ => false,
        };
        if let Some(&id) = self.by_content.get(&key).and_then(|ids| ids.iter().find(same)) {
            self.aliases.push(Arc::clone(set));
            self.by_address.insert(Arc::as_ptr(set), id);
            return id;
        }
        let has_patterns = set.has_patterns();
        let id = self.push(Known {
            any: set.is_any(),
            len: set.len(),
            members: Members::Names(Arc::clone(set)),
            entries: None,
            above: None,
            has_patterns,
            mark: Mark::of(set),
        });
        // The set is kept alive, so that no other one can take its address.
        self.by_address.insert(Arc::as_ptr(set), id);
        self.by_content.entry(key).or_default().push(id);
        id
    }

    /// A list of patterns over text.
    pub fn texts(&mut self, patterns: &[TextPattern]) -> SetId {
        let same =
            |known: &Known| matches!(&known.members, Members::Texts(list) if list == patterns);
        if let Some(at) = self.sets.iter().position(same) {
            return SetId(u32::try_from(at).unwrap_or(u32::MAX));
        }
        self.push(Known {
            any: false,
            len: patterns.len(),
            members: Members::Texts(patterns.to_vec()),
            entries: None,
            above: None,
            has_patterns: true,
            mark: Mark::ANY,
        })
    }

    fn push(&mut self, known: Known) -> SetId {
        let id = SetId(u32::try_from(self.sets.len()).unwrap_or(u32::MAX));
        self.sets.push(known);
        id
    }

    /// What the names of a set are, in a few bits.
    #[must_use]
    pub fn mark(&self, id: SetId) -> Mark {
        self.sets.get(id.0 as usize).map_or(Mark::ANY, |known| known.mark)
    }

    /// Whether a word is in a set.
    #[must_use]
    pub fn contains(&self, id: SetId, word: &str) -> bool {
        match self.sets.get(id.0 as usize).map(|known| &known.members) {
            Some(Members::Names(set)) => set.contains_bytes(word.as_bytes()),
            Some(Members::Texts(list)) => list.iter().any(|pattern| pattern.matches(word)),
            None => false,
        }
    }

    /// The entries of a set of names; none of a list of texts.
    pub fn entries(&mut self, id: SetId) -> Arc<[NamePattern]> {
        let Some(known) = self.sets.get_mut(id.0 as usize) else { return Arc::default() };
        let Members::Names(set) = &known.members else { return Arc::default() };
        Arc::clone(known.entries.get_or_insert_with(|| set.iter().collect()))
    }

    /// A word that is in all of `wanted` and in none of `unwanted`.
    pub fn word(&mut self, alphabet: Alphabet, wanted: &[SetId], unwanted: &[SetId]) -> Word {
        let any = |id: &SetId| self.sets.get(id.0 as usize).is_some_and(|known| known.any);
        if unwanted.iter().any(|id| any(id) || wanted.contains(id)) {
            return Word::Nowhere;
        }
        let mut wanted: Vec<SetId> = wanted.iter().copied().filter(|id| !any(id)).collect();
        let mut unwanted = unwanted.to_vec();
        for list in [&mut wanted, &mut unwanted] {
            list.sort_unstable();
            list.dedup();
        }
        let key = (alphabet, wanted, unwanted);
        if let Some(known) = self.answers.get(&key) {
            return known.clone();
        }
        let (_, wanted, unwanted) = &key;
        let found = self.look(alphabet, wanted, unwanted);
        self.answers.insert(key, found.clone());
        found
    }

    fn look(&mut self, alphabet: Alphabet, wanted: &[SetId], unwanted: &[SetId]) -> Word {
        let mut by_size = wanted.to_vec();
        by_size.sort_by_key(|id| self.sets.get(id.0 as usize).map_or(0, |known| known.len));
        let Some((&smallest, others)) = by_size.split_first() else {
            return self.look_anywhere(alphabet, unwanted);
        };
        if alphabet == Alphabet::Text {
            return self.search_forms(alphabet, wanted, unwanted);
        }
        let fits =
            |this: &Self, word: &str| alphabet.admits(word) && this.fits(word, wanted, unwanted);
        let own = self.entries(smallest);
        let mut near = Vec::new();
        for other in others {
            near.extend(self.entries_near(*other, smallest));
        }
        for pattern in own.iter().chain(&near) {
            if let Some(word) = examples(pattern).into_iter().find(|word| fits(self, word)) {
                return Word::Found(word);
            }
        }
        let patterned = |id: &SetId| self.sets.get(id.0 as usize).is_some_and(|k| k.has_patterns);
        if wanted.iter().chain(unwanted).any(patterned) {
            return self.search_forms(alphabet, wanted, unwanted);
        }
        // Without patterns every name that is in the sets is an entry, or stands for all names
        // below the longest entry it is below of (its other labels matter to nobody).
        let mut open = own.iter().chain(&near).filter_map(unwritten);
        let open = open.any(|word| self.fits(&word, wanted, unwanted));
        if open { Word::NotProved } else { Word::Nowhere }
    }

    /// A name in none of the sets.
    fn look_anywhere(&self, alphabet: Alphabet, unwanted: &[SetId]) -> Word {
        let names = ["www.example", "www.any-other.test", "zq7-x0.unlisted-k4", "q9zz"];
        let found =
            names.iter().find(|name| alphabet.admits(name) && self.fits(name, &[], unwanted));
        match found {
            Some(name) => Word::Found((*name).to_owned()),
            None => self.refine(alphabet, &[&vec![Step::Run]], unwanted),
        }
    }

    fn fits(&self, word: &str, wanted: &[SetId], unwanted: &[SetId]) -> bool {
        wanted.iter().all(|id| self.contains(*id, word))
            && !unwanted.iter().any(|id| self.contains(*id, word))
    }

    /// The entries of a set that may narrow those of a smaller one.
    fn entries_near(&mut self, id: SetId, smaller: SetId) -> Vec<NamePattern> {
        let entries = self.entries(id);
        let near = self.entries(smaller);
        if entries.len() >= INDEX_FROM {
            let above = self.above(id, &entries);
            let below_of = |pattern: &NamePattern| match pattern {
                NamePattern::Exact(_) => false,
                NamePattern::Suffix(name) | NamePattern::Below(name) => above.contains(&**name),
                NamePattern::Any | NamePattern::Glob(_) => true,
            };
            if !near.iter().any(below_of) {
                return entries
                    .iter()
                    .filter(|p| matches!(p, NamePattern::Glob(_)))
                    .cloned()
                    .collect();
            }
        }
        entries.to_vec()
    }

    fn above(&mut self, id: SetId, entries: &[NamePattern]) -> Arc<HashSet<Box<str>>> {
        let Some(known) = self.sets.get_mut(id.0 as usize) else { return Arc::default() };
        let index = known.above.get_or_insert_with(|| {
            let mut above: HashSet<Box<str>> = HashSet::new();
            for pattern in entries {
                let (NamePattern::Exact(name)
                | NamePattern::Suffix(name)
                | NamePattern::Below(name)) = pattern
                else {
                    continue;
                };
                let mut rest: &str = name;
                while let Some((_, parent)) = rest.split_once('.') {
                    if !above.insert(parent.into()) {
                        break;
                    }
                    rest = parent;
                }
            }
            Arc::new(above)
        });
        Arc::clone(index)
    }

    /// With patterns in play: every combination of forms of the wanted sets, by automata. Single
    /// names were tried before.
    fn search_forms(&mut self, alphabet: Alphabet, wanted: &[SetId], unwanted: &[SetId]) -> Word {
        let forms: Vec<Vec<Steps>> = wanted.iter().map(|id| self.forms(*id, unwanted)).collect();
        let combinations = forms.iter().fold(1usize, |n, list| n.saturating_mul(list.len()));
        if combinations > COMBINATIONS_LIMIT {
            return Word::NotProved;
        }
        let mut not_proved = false;
        for number in 0..combinations {
            let mut rest = number;
            let mut chosen: Vec<&Steps> = Vec::with_capacity(forms.len());
            for list in &forms {
                chosen.extend(list.get(rest % list.len()));
                rest /= list.len();
            }
            match self.refine(alphabet, &chosen, unwanted) {
                Word::Nowhere => {}
                Word::NotProved => not_proved = true,
                found @ Word::Found(_) => return found,
            }
        }
        if not_proved { Word::NotProved } else { Word::Nowhere }
    }

    /// What of a set is more than one name and not below a name that is unwanted with all below it.
    fn forms(&mut self, id: SetId, unwanted: &[SetId]) -> Vec<Steps> {
        if let Some(Known { members: Members::Texts(list), .. }) = self.sets.get(id.0 as usize) {
            return list.iter().flat_map(text_steps).collect();
        }
        let entries = self.entries(id);
        let open = entries.iter().filter(|pattern| !self.is_covered(pattern, unwanted));
        let forms = open.flat_map(steps_of).filter(|steps| !is_single(steps));
        forms.take(COMBINATIONS_LIMIT + 1).collect()
    }

    fn is_covered(&self, pattern: &NamePattern, unwanted: &[SetId]) -> bool {
        let tail = match pattern {
            NamePattern::Any => return false,
            NamePattern::Exact(_) => return true,
            NamePattern::Suffix(name) | NamePattern::Below(name) => name,
            // The labels behind the last star are those of every name that matches.
            NamePattern::Glob(glob) => {
                let tail = glob.rsplit('*').next().unwrap_or_default();
                tail.split_once('.').map_or("", |(_, labels)| labels)
            }
        };
        let above = std::iter::successors(Some(tail), |name| Some(name.split_once('.')?.1));
        let mut above = above.filter(|name| !name.is_empty());
        above.any(|name| {
            unwanted.iter().any(|id| match self.sets.get(id.0 as usize).map(|k| &k.members) {
                Some(Members::Names(set)) => set.lists(name.as_bytes()).1,
                _ => false,
            })
        })
    }

    /// Searches with the patterns of the unwanted sets, and takes out their names one by one as
    /// they are met.
    fn refine(&self, alphabet: Alphabet, wanted: &[&Steps], unwanted: &[SetId]) -> Word {
        let mut out: Vec<Steps> = Vec::new();
        for id in unwanted {
            match self.sets.get(id.0 as usize).map(|known| &known.members) {
                Some(Members::Names(set)) => out.extend(set.patterns().flat_map(|p| steps_of(&p))),
                Some(Members::Texts(list)) => out.extend(list.iter().flat_map(text_steps)),
                None => {}
            }
        }
        for _ in 0..REFINEMENTS_LIMIT {
            let word = match search(alphabet, wanted, &out.iter().collect::<Vec<_>>()) {
                Word::Found(word) => word,
                other => return other,
            };
            let before = out.len();
            for set in unwanted.iter().filter_map(|id| self.sets.get(id.0 as usize)) {
                if let Members::Names(set) = &set.members {
                    out.extend(holding(set, &word).iter().flat_map(steps_of));
                }
            }
            if out.len() == before {
                return Word::Found(word);
            }
        }
        Word::NotProved
    }
}

/// The names of a set that hold a word: itself, or one above it.
fn holding(set: &NameSet, word: &str) -> Vec<NamePattern> {
    let mut found = Vec::new();
    let mut rest = Some(word);
    while let Some(name) = rest {
        let (exact, below) = set.lists(name.as_bytes());
        if below && name != word {
            found.push(NamePattern::Below(name.into()));
        }
        if exact && name == word {
            found.push(NamePattern::Exact(name.into()));
        }
        rest = name.split_once('.').map(|(_, parent)| parent);
    }
    found
}

fn is_single(steps: &Steps) -> bool {
    steps.iter().all(|step| matches!(step, Step::Byte(_)))
}

fn text_steps(pattern: &TextPattern) -> Vec<Steps> {
    match pattern.as_name() {
        Some(name) => steps_of(name),
        None => vec![steps_of_glob(&pattern.to_string())],
    }
}

/// Names that an entry matches: the plainest ones first.
fn examples(pattern: &NamePattern) -> Vec<String> {
    let below = |name: &str| FRESH.map(|label| format!("{label}.{name}"));
    match pattern {
        NamePattern::Any => FRESH.map(|label| format!("{label}.example")).to_vec(),
        NamePattern::Exact(name) => vec![name.to_string()],
        NamePattern::Suffix(name) => below(name).into_iter().chain([name.to_string()]).collect(),
        NamePattern::Below(name) => below(name).to_vec(),
        NamePattern::Glob(glob) => {
            let runs = std::iter::once("").chain(FRESH).chain(["any.other"]);
            let whole =
                glob.strip_prefix('*').map_or_else(|| glob.to_string(), |g| format!("www.{g}"));
            let whole =
                whole.strip_suffix('*').map_or_else(|| whole.clone(), |g| format!("{g}.example"));
            std::iter::once(whole.replace('*', ""))
                .chain(runs.map(|run| glob.replace('*', run).trim_matches('.').to_owned()))
                .collect()
        }
    }
}

/// What is below an entry by a label that nobody wrote.
fn unwritten(pattern: &NamePattern) -> Option<String> {
    match pattern {
        NamePattern::Suffix(name) | NamePattern::Below(name) => Some(format!("{UNWRITTEN}.{name}")),
        NamePattern::Any | NamePattern::Exact(_) | NamePattern::Glob(_) => None,
    }
}

#[cfg(test)]
#[path = "languages_tests.rs"]
mod tests;
