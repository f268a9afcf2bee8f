//! Which sets of names ask for no name worth the word: `"*"`, a public suffix, a pattern that
//! anybody can register a name for. Serves guardrails; matches no traffic.

use crate::policy::names::{NamePattern, NameSet};
use std::collections::HashMap;
use std::sync::Arc;

/// What a set asks for that anybody can have.
type Part = Option<Arc<NameSet>>;

/// Remembers the answer for each set, because sets are shared by many rules. The sets are kept, so
/// that no other one can take the address of one that was asked for.
#[derive(Debug, Default)]
pub(super) struct Nameless {
    known: HashMap<*const NameSet, (Arc<NameSet>, Part)>,
}

impl Nameless {
    /// The entries of a set that anybody can meet; none if there are none.
    pub(super) fn part(&mut self, set: &Arc<NameSet>) -> Part {
        let (_, part) = self.known.entry(Arc::as_ptr(set)).or_insert_with(|| {
            let mut entries = set.iter().filter(anybody).peekable();
            let any = entries.peek().is_some();
            // At the bounds of sets the whole set stands for its part.
            let part =
                any.then(|| NameSet::build(entries).map_or_else(|_| Arc::clone(set), Arc::new));
            (Arc::clone(set), part)
        });
        part.clone()
    }
}

/// Whether anybody can have a name that matches.
fn anybody(pattern: &NamePattern) -> bool {
    match pattern {
        NamePattern::Any => true,
        NamePattern::Exact(name) | NamePattern::Suffix(name) | NamePattern::Below(name) => {
            !is_registrable(name)
        }
        // The labels behind the last star are the same in every name that matches.
        NamePattern::Glob(glob) => {
            let tail = glob.rsplit('*').next().unwrap_or_default();
            let fixed = tail.split_once('.').map_or("", |(_, labels)| labels);
            !is_registrable(fixed)
        }
    }
}

/// Whether a name is, or is below, a domain that somebody has registered: more than a public
/// suffix. A last label that no list knows counts as a public suffix.
fn is_registrable(name: &str) -> bool {
    psl::domain_str(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_suffixes_and_stars_are_no_names() {
        for (text, expected) in [
            ("*", true),
            (".com", true),
            ("*.co.uk", true),
            ("com", true),
            (".github.io", true),
            (".internal", true),
            ("*payments*", true),
            ("*.*", true),
            ("a*.com", true),
            ("*example.com", true),
            ("api-*.example.com", false),
            ("*.eu.example.com", false),
            (".example.com", false),
            ("*.acme.github.io", false),
            ("api.payments.example", false),
            ("api.example.com", false),
        ] {
            let pattern = NamePattern::parse(text).unwrap();
            assert_eq!(anybody(&pattern), expected, "{text}");
        }
    }

    #[test]
    fn the_entries_anybody_can_meet_are_told_apart() {
        let set = |texts: &[&str]| {
            Arc::new(NameSet::build(texts.iter().map(|t| NamePattern::parse(t).unwrap())).unwrap())
        };
        let mut nameless = Nameless::default();
        assert!(nameless.part(&set(&["a.example.com", ".b.example.com"])).is_none());
        assert_eq!(nameless.part(&set(&["a.example.com", ".com"])).unwrap().len(), 1);
        assert!(nameless.part(&set(&["a.example.com", "*"])).unwrap().is_any());
    }
}
