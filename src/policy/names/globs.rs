//! All patterns of a set searched at once: one Aho-Corasick pass over the longest literal piece of
//! each, then a check of the few patterns whose piece was found.

use super::pattern::glob_matches;
use super::set::SetFault;
use aho_corasick::AhoCorasick;
use std::collections::BTreeMap;

/// Remembers which pieces were found, so that a piece that repeats in a name is followed once.
const SEEN_SLOTS: usize = 64;

/// The patterns of a set.
#[derive(Clone, Debug)]
pub(super) struct Globs {
    pieces: AhoCorasick,
    /// For each piece the patterns that hold it.
    holders: Box<[Box<[Box<str>]>]>,
}

impl Globs {
    /// From patterns that each hold at least one byte other than `*`.
    pub(super) fn build(patterns: Vec<Box<str>>) -> Result<Option<Self>, SetFault> {
        let mut by_piece: BTreeMap<Box<str>, Vec<Box<str>>> = BTreeMap::new();
        for pattern in patterns {
            let piece = pattern.split('*').max_by_key(|piece| piece.len()).unwrap_or_default();
            by_piece.entry(piece.into()).or_default().push(pattern);
        }
        if by_piece.is_empty() {
            return Ok(None);
        }
        let pieces =
            AhoCorasick::new(by_piece.keys().map(|p| &**p)).map_err(|_| SetFault::Patterns)?;
        let holders = by_piece.into_values().map(|mut patterns| {
            patterns.sort_unstable();
            patterns.dedup();
            patterns.into_boxed_slice()
        });
        Ok(Some(Self { pieces, holders: holders.collect() }))
    }

    /// Whether any pattern matches.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let mut seen = [usize::MAX; SEEN_SLOTS];
        for found in self.pieces.find_overlapping_iter(name) {
            let piece = found.pattern().as_usize();
            if let Some(slot) = seen.get_mut(piece % SEEN_SLOTS) {
                if *slot == piece {
                    continue;
                }
                *slot = piece;
            }
            let holders = self.holders.get(piece).map_or(&[][..], |h| &**h);
            if holders.iter().any(|pattern| glob_matches(pattern.as_bytes(), name)) {
                return true;
            }
        }
        false
    }

    /// Every pattern.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.holders.iter().flat_map(|holders| holders.iter().map(|pattern| &**pattern))
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.pieces.memory_usage() + self.iter().map(|p| p.len() + 32).sum::<usize>()
    }
}
