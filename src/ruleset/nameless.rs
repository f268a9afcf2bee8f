//! Which sets of names ask for no name worth the word: `"*"`, a public suffix, a pattern that
//! anybody can register a name for. Serves guardrails; matches no traffic.

use crate::policy::names::{NamePattern, NameSet};
use std::collections::HashMap;
use std::sync::Arc;

/// Remembers the answer for each set, because sets are shared by many rules. The sets are kept, so
/// that no other one can take the address of one that was asked for.
#[derive(Debug, Default)]
pub(super) struct Nameless {
    known: HashMap<*const NameSet, (Arc<NameSet>, bool)>,
}

impl Nameless {
    /// Whether some entry of the set can be met by anybody.
    pub(super) fn is(&mut self, set: &Arc<NameSet>) -> bool {
        let (_, nameless) = self.known.entry(Arc::as_ptr(set)).or_insert_with(|| {
            let nameless = set.is_any() || set.iter().any(|pattern| anybody(&pattern));
            (Arc::clone(set), nameless)
        });
        *nameless
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
    fn one_bad_entry_spoils_a_set() {
        let set = |texts: &[&str]| {
            Arc::new(NameSet::build(texts.iter().map(|t| NamePattern::parse(t).unwrap())).unwrap())
        };
        let mut nameless = Nameless::default();
        assert!(!nameless.is(&set(&["a.example.com", ".b.example.com"])));
        assert!(nameless.is(&set(&["a.example.com", ".com"])));
        assert!(nameless.is(&set(&["a.example.com", "*"])));
    }
}
