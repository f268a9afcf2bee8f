//! Sets of names, up to millions: one hash probe for each label of the name asked for, one pass
//! for all patterns. A set only answers yes or no; which entry matched is not said.

use super::globs::Globs;
use super::pattern::NamePattern;
use crate::model::{DomainName, NAME_LIMIT_BYTES};
use crate::wire::near::prefetch;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::fmt;
use std::hash::{BuildHasher, Hasher};

/// Most bytes the names of one set may take; offsets are 32 bits.
pub const SET_LIMIT_BYTES: usize = 1 << 30;
/// Most patterns with a `*` inside in one set.
pub const GLOBS_LIMIT: usize = 65_536;

/// The name itself matches.
const EXACT: u8 = 1;
/// What is below the name matches.
const BELOW: u8 = 2;
/// Names with this many labels or more share the last bit of the label masks.
const LABEL_BITS: u32 = 63;
/// As many entries are brought near for one name: a name of many labels is not looked for twice.
const NEAR_MAX: u32 = 4;

/// A set of names. About 33 bytes a name of 20 bytes; a lookup allocates nothing.
#[derive(Clone, Default)]
pub struct NameSet {
    /// For each name its flags, its length and its bytes.
    arena: Box<[u8]>,
    /// Offsets into the arena.
    table: HashTable<u32>,
    /// Bit n: some exact name has n labels.
    exact_labels: u64,
    /// Bit n: something below a name of n labels matches.
    below_labels: u64,
    any: bool,
    globs: Option<Globs>,
}

/// Why names make no set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFault {
    /// More than [`SET_LIMIT_BYTES`] bytes of names.
    TooLarge,
    /// More than [`GLOBS_LIMIT`] patterns, or patterns that take too much memory together.
    Patterns,
}

impl fmt::Display for SetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "the names of a set exceed {SET_LIMIT_BYTES} bytes"),
            Self::Patterns => write!(f, "a set has more than {GLOBS_LIMIT} patterns with `*`"),
        }
    }
}

impl std::error::Error for SetFault {}

impl NameSet {
    /// A set of these patterns; repeated ones count once.
    ///
    /// # Errors
    /// [`SetFault`] at the bounds.
    pub fn build(patterns: impl IntoIterator<Item = NamePattern>) -> Result<Self, SetFault> {
        let patterns = patterns.into_iter();
        let mut builder = Builder::with_capacity(patterns.size_hint().0);
        for pattern in patterns {
            builder.add(pattern)?;
        }
        builder.finish()
    }

    /// Whether a name is in the set.
    #[must_use]
    pub fn contains(&self, name: &DomainName) -> bool {
        self.contains_bytes(name.as_bytes())
    }

    /// Whether a name, in lower case without a trailing dot, is in the set.
    #[must_use]
    pub fn contains_bytes(&self, name: &[u8]) -> bool {
        self.any
            || self.contains_suffix(name)
            || self.globs.as_ref().is_some_and(|globs| globs.matches(name))
    }

    /// Whether every name is in the set.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.any
    }

    /// How many different names and patterns there are; `.x` and `*.x` with `x` count once.
    #[must_use]
    pub fn len(&self) -> usize {
        let globs = self.globs.as_ref().map_or(0, |globs| globs.iter().count());
        self.table.len() + globs + usize::from(self.any)
    }

    /// Whether nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.any && self.table.is_empty() && self.globs.is_none()
    }

    /// Every entry once, names in the order they came, then patterns.
    pub fn iter(&self) -> impl Iterator<Item = NamePattern> {
        let mut at = 0;
        let names = std::iter::from_fn(move || {
            let (flags, name) = entry(&self.arena, at)?;
            at += 2 + name.len();
            let text = Box::from(std::str::from_utf8(name).ok()?);
            Some(match flags {
                EXACT => NamePattern::Exact(text),
                BELOW => NamePattern::Below(text),
                _ => NamePattern::Suffix(text),
            })
        });
        let globs = self.globs.iter().flat_map(Globs::iter);
        let globs = globs.map(|glob| NamePattern::Glob(Box::from(glob)));
        names.chain(globs).chain(self.any.then_some(NamePattern::Any))
    }

    /// Whether a name is listed: by itself, and with all below it.
    #[must_use]
    pub fn lists(&self, name: &[u8]) -> (bool, bool) {
        let flags = self.flags(name);
        (flags & EXACT != 0, flags & BELOW != 0)
    }

    /// The entries with a `*` inside that is more than everything below a name.
    pub fn patterns(&self) -> impl Iterator<Item = NamePattern> {
        let globs = self.globs.iter().flat_map(Globs::iter);
        globs.map(|glob| NamePattern::Glob(Box::from(glob)))
    }

    /// Whether there are such entries.
    #[must_use]
    pub const fn has_patterns(&self) -> bool {
        self.globs.is_some()
    }

    /// A number that is the same for sets with the same entries, in whatever order they came.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut at = 0;
        let mut sum = u64::from(self.any);
        while let Some((flags, name)) = entry(&self.arena, at) {
            at += 2 + name.len();
            sum = sum.wrapping_add(hash(name).rotate_left(u32::from(flags)));
        }
        let globs = self.globs.iter().flat_map(Globs::iter);
        globs.fold(sum, |sum, glob| sum.wrapping_add(hash(glob.as_bytes()).rotate_left(7)))
    }

    /// Whether another set has the same entries.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        let mut at = 0;
        while let Some((flags, name)) = entry(&self.arena, at) {
            at += 2 + name.len();
            if other.flags(name) != flags {
                return false;
            }
        }
        let globs = |set: &Self| -> Vec<Box<str>> {
            set.globs.iter().flat_map(Globs::iter).map(Box::from).collect()
        };
        self.any == other.any
            && self.table.len() == other.table.len()
            && globs(self) == globs(other)
    }

    /// Bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.arena.len()
            + self.table.allocation_size()
            + self.globs.as_ref().map_or(0, Globs::memory_bytes)
            + size_of::<Self>()
    }

    fn contains_suffix(&self, name: &[u8]) -> bool {
        !name.is_empty()
            && !self.table.is_empty()
            && self.any_probe(name, |flag, suffix| self.flags(suffix) & flag != 0)
    }

    /// Brings near what [`NameSet::contains`] will look at for a name, four entries at most.
    pub fn prefetch(&self, name: &DomainName) {
        if self.any {
            return;
        }
        let mut left = NEAR_MAX;
        self.any_probe(name.as_bytes(), |_, suffix| {
            self.prefetch_flags(suffix);
            left = left.saturating_sub(1);
            left == 0
        });
    }

    /// Goes from the last label to the first until `look` says so: each suffix below which something
    /// may match, then the whole name, with the flag that matters there.
    #[inline(always)]
    fn any_probe(&self, name: &[u8], mut look: impl FnMut(u8, &[u8]) -> bool) -> bool {
        // The lowest bits are those of the labels so far: the last one stays however often they are
        // shifted.
        let mut below = self.below_labels.cast_signed() >> 1;
        let mut exact = self.exact_labels.cast_signed() >> 1;
        for at in Dots::of(name) {
            if below & 1 != 0
                && at > 0
                && let Some(suffix) = name.get(at + 1..)
                && look(BELOW, suffix)
            {
                return true;
            }
            (below, exact) = (below >> 1, exact >> 1);
            if below | exact == 0 {
                return false;
            }
        }
        exact & 1 != 0 && look(EXACT, name)
    }

    fn prefetch_flags(&self, name: &[u8]) {
        let likely = |&at: &u32| {
            let at = at as usize;
            let ends = [self.arena.get(at), self.arena.get(at + name.len() + 1)];
            ends.into_iter().flatten().for_each(prefetch);
            true
        };
        let _ = self.table.find(hash(name), likely);
    }

    fn flags(&self, name: &[u8]) -> u8 {
        let same = |&at: &u32| entry(&self.arena, at as usize).is_some_and(|(_, n)| n == name);
        let found = self.table.find(hash(name), same);
        found.and_then(|&at| self.arena.get(at as usize)).copied().unwrap_or(0)
    }
}

/// Where the dots of a name are, from the last to the first, found eight bytes at a time.
struct Dots<'n> {
    name: &'n [u8],
    /// How many bytes are yet to be looked at.
    left: usize,
    /// Behind the eight bytes that were looked at last.
    end: usize,
    /// The highest bit of each of these that is a dot and was not given yet.
    found: u64,
}

impl<'n> Dots<'n> {
    const fn of(name: &'n [u8]) -> Self {
        Self { name, left: name.len(), end: 0, found: 0 }
    }

    /// The last eight bytes of those that are left; where they are fewer, zeros before them.
    #[inline(always)]
    fn word(&self) -> Option<u64> {
        let left = self.name.get(..self.left)?;
        if let Some(word) = left.last_chunk() {
            return Some(u64::from_le_bytes(*word));
        }
        // Fewer are the highest of the first eight of the name; of none at all nothing is left.
        let first =
            self.name.first_chunk().map_or_else(|| short(left), |word| u64::from_le_bytes(*word));
        first.checked_shl(8 * (8 - left.len() as u32))
    }
}

impl Iterator for Dots<'_> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            self.found = dots(self.word()?);
            self.end = self.left;
            self.left = self.left.saturating_sub(8);
        }
        let behind = self.found.leading_zeros();
        self.found ^= 1 << 63 >> behind;
        self.end.checked_sub(1 + behind as usize / 8)
    }
}

/// A name shorter than a word, the first byte lowest.
#[cold]
fn short(name: &[u8]) -> u64 {
    name.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The highest bit of every byte that is a dot, exactly (no carry crosses a byte).
#[inline(always)]
const fn dots(word: u64) -> u64 {
    const LOW: u64 = u64::MAX / 0xff * 0x7f;
    let other = word ^ (u64::MAX / 0xff * b'.' as u64);
    !(((other & LOW) + LOW) | other | LOW)
}

impl fmt::Debug for NameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameSet({} entries)", self.len())
    }
}

/// A set while it grows.
#[derive(Default)]
struct Builder {
    arena: Vec<u8>,
    set: NameSet,
    globs: Vec<Box<str>>,
}

impl Builder {
    fn with_capacity(names: usize) -> Self {
        let mut builder = Self::default();
        builder.set.table.reserve(names.min(SET_LIMIT_BYTES / 4), |_| 0);
        builder
    }

    fn add(&mut self, pattern: NamePattern) -> Result<(), SetFault> {
        match pattern {
            NamePattern::Any => self.set.any = true,
            NamePattern::Exact(name) => self.add_name(name.as_bytes(), EXACT)?,
            NamePattern::Suffix(name) => self.add_name(name.as_bytes(), EXACT | BELOW)?,
            NamePattern::Below(name) => self.add_name(name.as_bytes(), BELOW)?,
            NamePattern::Glob(glob) => {
                if self.globs.len() == GLOBS_LIMIT {
                    return Err(SetFault::Patterns);
                }
                if glob.bytes().all(|b| b == b'*') {
                    self.set.any = true;
                } else {
                    self.globs.push(glob);
                }
            }
        }
        Ok(())
    }

    fn add_name(&mut self, name: &[u8], flags: u8) -> Result<(), SetFault> {
        let Ok(len) = u8::try_from(name.len()) else { return Err(SetFault::TooLarge) };
        if self.arena.len() + name.len() + 2 > SET_LIMIT_BYTES || name.len() > NAME_LIMIT_BYTES {
            return Err(SetFault::TooLarge);
        }
        let bit = label_bit(1 + name.iter().filter(|&&b| b == b'.').count() as u32);
        self.set.exact_labels |= if flags & EXACT != 0 { bit } else { 0 };
        self.set.below_labels |= if flags & BELOW != 0 { bit } else { 0 };
        let arena = &mut self.arena;
        let same = |&at: &u32| entry(arena, at as usize).is_some_and(|(_, n)| n == name);
        if let Some(&at) = self.set.table.find(hash(name), same) {
            if let Some(known) = arena.get_mut(at as usize) {
                *known |= flags;
            }
            return Ok(());
        }
        let at = u32::try_from(arena.len()).map_err(|_| SetFault::TooLarge)?;
        arena.extend_from_slice(&[flags, len]);
        arena.extend_from_slice(name);
        let rehash = |&at: &u32| hash(entry(arena, at as usize).map_or(&[], |(_, n)| n));
        self.set.table.insert_unique(hash(name), at, rehash);
        Ok(())
    }

    fn finish(mut self) -> Result<NameSet, SetFault> {
        let arena = self.arena.into_boxed_slice();
        let rehash = |&at: &u32| hash(entry(&arena, at as usize).map_or(&[], |(_, n)| n));
        self.set.table.shrink_to_fit(rehash);
        self.set.globs = Globs::build(self.globs)?;
        self.set.arena = arena;
        Ok(self.set)
    }
}

/// Flags and name of the entry at an offset.
fn entry(arena: &[u8], at: usize) -> Option<(u8, &[u8])> {
    let [flags, len, rest @ ..] = arena.get(at..)? else { return None };
    Some((*flags, rest.get(..usize::from(*len))?))
}

const fn label_bit(labels: u32) -> u64 {
    1 << if labels < LABEL_BITS { labels } else { LABEL_BITS }
}

/// The seed is fixed: what is stored is the operator's, so a client cannot fill a bucket.
fn hash(name: &[u8]) -> u64 {
    let mut hasher = FixedState::with_seed(0).build_hasher();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
